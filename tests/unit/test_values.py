"""Values are made, compared, shown and refused as those of the standard library's dataclasses."""

import dataclasses
import threading
from collections.abc import Callable
from functools import cached_property
from types import SimpleNamespace
from typing import Any

import pytest

from reconciler.model import values

MAKERS: dict[str, Any] = {"ours": values.dataclass, "standard": dataclasses.dataclass}


def _classes(maker: Any) -> SimpleNamespace:
    """The same classes by either maker."""

    @maker(frozen=True, slots=True)
    class Point:
        x: int
        y: int = 0
        note: str = dataclasses.field(default="", compare=False)
        hidden: str = dataclasses.field(default="h", repr=False)

    @maker(frozen=True)
    class Single:
        name: str
        labels: dict[str, str] = dataclasses.field(default_factory=dict, compare=False)

        @cached_property
        def upper(self) -> str:
            return self.name.upper()

    @maker(frozen=True)
    class Longer(Single):
        """It has one field more."""

        length: int = dataclasses.field(default=0, kw_only=True)
        doubled: int = dataclasses.field(init=False)

        def __post_init__(self) -> None:
            object.__setattr__(self, "doubled", self.length * 2)

    @maker(frozen=True, slots=True, order=True)
    class Version:
        major: int
        minor: int

    @maker
    class Mutable:
        items: list[int] = dataclasses.field(default_factory=list)

    @maker(frozen=True, eq=False)
    class Same:
        name: str

    @maker(frozen=True, slots=True)
    class Empty:
        pass

    local = locals()
    return SimpleNamespace(**{name: one for name, one in local.items() if isinstance(one, type)})


def _same(inspect: Callable[[Any], Any]) -> None:
    """Both makers' classes give the same."""
    shown = {name: inspect(_classes(maker)) for name, maker in MAKERS.items()}
    assert shown["ours"] == shown["standard"]


def _error_of(work: Callable[[], Any]) -> tuple[str, str]:
    with pytest.raises((TypeError, ValueError, AttributeError)) as caught:
        work()
    return type(caught.value).__name__, str(caught.value)


def test_values_are_shown_as_the_standard_librarys_are() -> None:
    _same(
        lambda made: [
            repr(one)
            for one in (
                made.Point(1, note="n"),
                made.Single("a", {"k": "v"}),
                made.Longer("a", length=2),
                made.Mutable([1]),
                made.Empty(),
            )
        ]
    )


def test_values_are_equal_where_their_compared_fields_are() -> None:
    def inspect(made: Any) -> list[bool]:
        point = made.Point(1, 2, "n")
        return [
            point == made.Point(1, 2, "other"),
            point == made.Point(1, 3),
            point == (1, 2),
            made.Single("a", {}) == made.Single("a", {"k": "v"}),
            made.Single("a") == made.Longer("a"),
            made.Longer("a", length=1) == made.Longer("a", length=2),
            made.Same("a") == made.Same("a"),
            made.Empty() == made.Empty(),
        ]

    _same(inspect)


def test_values_hash_by_their_compared_fields() -> None:
    def inspect(made: Any) -> list[bool]:
        return [
            hash(made.Point(1, 2, "n")) == hash(made.Point(1, 2)) == hash((1, 2, "h")),
            hash(made.Single("a", {"k": "v"})) == hash(("a",)),
            hash(made.Empty()) == hash(()),
            made.Mutable.__hash__ is None,
            hash(one := made.Same("a")) == object.__hash__(one),
        ]

    assert inspect(_classes(values.dataclass)) == [True] * 5
    _same(inspect)


def test_values_are_ordered_where_that_is_asked_for() -> None:
    def inspect(made: Any) -> list[Any]:
        one, two = made.Version(1, 2), made.Version(1, 10)
        refused = _error_of(lambda: made.Point(1) < made.Point(2))
        return [
            one < two,
            one <= two,
            one > two,
            one >= two,
            one <= made.Version(1, 2),
            min([two, one]).minor,
            refused,
        ]

    _same(inspect)


@pytest.mark.parametrize(
    "work",
    [
        lambda made: made.Point(),
        lambda made: made.Point(1, 2, "n", "h", 5),
        lambda made: made.Point(1, z=2),
        lambda made: made.Longer("a", {}, 3),
        lambda made: setattr(made.Point(1), "x", 2),
        lambda made: setattr(made.Single("a"), "name", "b"),
        lambda made: delattr(made.Point(1), "x"),
        lambda made: dataclasses.replace(made.Longer("a"), doubled=3),
    ],
)
def test_what_is_refused_is_refused_in_the_same_words(work: Callable[[Any], Any]) -> None:
    _same(lambda made: _error_of(lambda: work(made)))


def test_fields_replace_and_asdict_work() -> None:
    def inspect(made: Any) -> list[Any]:
        longer = made.Longer("a", length=2)
        return [
            [one.name for one in dataclasses.fields(made.Longer)],
            dataclasses.asdict(dataclasses.replace(longer, length=5)),
            dataclasses.is_dataclass(made.Empty),
            made.Point.__match_args__,
            made.Single("a").upper,
            made.Mutable().items is made.Mutable().items,
            hasattr(made.Point(1), "__dict__"),
        ]

    _same(inspect)


def test_first_values_made_by_many_threads_at_once_are_whole() -> None:
    for _ in range(20):
        made = _classes(values.dataclass)
        together = threading.Barrier(8)
        found: list[Any] = []

        def make(made: Any = made, together: Any = together, found: Any = found) -> None:
            together.wait()
            found.append(made.Point(1, 2))

        threads = [threading.Thread(target=make) for _ in range(8)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        assert found == [made.Point(1, 2)] * 8

"""`dataclass`, as in the standard library, with a faster definition of each class.

The standard library compiles six functions for each class at import. That takes half a millisecond
for each class, a fifth of the time of a small command. Here all classes share their functions, and
`__init__` is compiled when the first value of a class is made. A type checker sees the decorator of
the standard library.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

__all__ = ["dataclass"]

_COMPARISONS: Final = ("__lt__", "__le__", "__gt__", "__ge__")

if TYPE_CHECKING:
    from dataclasses import dataclass
else:

    def dataclass(
        cls: type[Any] | None = None,
        *,
        frozen: bool = False,
        slots: bool = False,
        eq: bool = True,
        order: bool = False,
    ) -> Any:
        """Like `dataclasses.dataclass`: `fields`, `replace` and `asdict` work the same.

        A value of a frozen class with slots cannot be pickled or copied.
        """

        def define(cls: type[Any]) -> type[Any]:
            made = dataclasses.dataclass(init=False, repr=False, eq=False, slots=slots)(cls)
            _define_methods(made, frozen=frozen, eq=eq, order=order)
            return made

        return define if cls is None else define(cls)


def _define_methods(cls: type[Any], *, frozen: bool, eq: bool, order: bool) -> None:
    compared = [one for one in dataclasses.fields(cls) if one.compare]
    as_tuple = _reader_of(tuple(one.name for one in compared))
    methods: dict[str, Any] = {"__init__": _first_init(cls), "__repr__": _repr}
    if eq:
        methods |= {"__eq__": _comparison(operator.eq, as_tuple), "__hash__": None}
    if eq and frozen:
        methods["__hash__"] = lambda self: hash(as_tuple(self))
    if order:
        methods |= {name: _comparison(getattr(operator, name), as_tuple) for name in _COMPARISONS}
    if frozen:
        methods |= {"__setattr__": _refuse_to_set, "__delattr__": _refuse_to_delete}
    for name, method in methods.items():
        if name not in cls.__dict__ or (name == "__hash__" and cls.__dict__[name] is None):
            setattr(cls, name, method)


def _first_init(cls: type[Any]) -> Callable[..., None]:
    """An `__init__` that replaces itself with the real one. Threads may call it concurrently."""

    def init(self: Any, *arguments: Any, **named: Any) -> None:
        made = _make_init(cls)
        setattr(cls, "__init__", made)  # noqa: B010 - mypy forbids the assignment
        made(self, *arguments, **named)

    return init


def _make_init(cls: type[Any]) -> Any:
    """The `__init__` that sets the fields; it has the parameters of the standard library's."""
    names: dict[str, Any] = {"_set": object.__setattr__, "_MISSING": dataclasses.MISSING}
    plain, keyword, lines = ["self"], ["*"], []
    for one in dataclasses.fields(cls):
        default, value = _default_of(one, names)
        if one.init:
            (keyword if one.kw_only else plain).append(
                f"{one.name}={default}" if default else one.name
            )
        if value:
            lines.append(f"_set(self, {one.name!r}, {value})")
    if hasattr(cls, "__post_init__"):
        lines.append("self.__post_init__()")
    parameters = ", ".join(plain + (keyword if len(keyword) > 1 else []))
    exec(f"def __init__({parameters}):\n " + "\n ".join(lines or ["pass"]), names)  # noqa: S102 - as the standard library does
    made = names["__init__"]
    made.__qualname__ = f"{cls.__qualname__}.__init__"
    return made


def _default_of(one: dataclasses.Field[Any], names: dict[str, Any]) -> tuple[str, str]:
    """The default of a parameter and the value of its field, as code; each may be empty."""
    if one.default_factory is not dataclasses.MISSING:
        made = f"_make_{one.name}"
        names[made] = one.default_factory
        return (
            "_MISSING",
            f"{made}() if {one.name} is _MISSING else {one.name}" if one.init else f"{made}()",
        )
    if one.default is not dataclasses.MISSING:
        default = f"_default_{one.name}"
        names[default] = one.default
        return default, one.name if one.init else default
    return "", one.name if one.init else ""


def _reader_of(names: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]]:
    """A function that returns these fields of a value as a tuple."""
    if len(names) > 1:
        return operator.attrgetter(*names)
    return lambda value: tuple(getattr(value, name) for name in names)


def _comparison(
    compare: Callable[[Any, Any], bool], as_tuple: Callable[[Any], tuple[Any, ...]]
) -> Callable[[Any, object], Any]:
    def compare_values(self: Any, other: object) -> Any:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return compare(as_tuple(self), as_tuple(other))

    return compare_values


def _repr(self: Any) -> str:
    shown = (
        f"{one.name}={getattr(self, one.name)!r}" for one in dataclasses.fields(self) if one.repr
    )
    return f"{type(self).__qualname__}({', '.join(shown)})"


def _refuse_to_set(_: object, name: str, value: object) -> None:  # noqa: ARG001 - Python's signature
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_to_delete(_: object, name: str) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")

"""What a fleet says of a single member, laid over what its template makes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from reconciler.errors import ManifestInvalid
from reconciler.manifests.yaml_text import SourceMap
from reconciler.model import ABSENT, Finding, Json, Path, SourceLocation
from reconciler.text.json_text import is_same


def lay_over(value: Json, override: Json) -> Json:
    """The value with an override laid over it, as JSON Merge Patch (RFC 7396) has it.

    Mappings are joined, null takes a name away, and anything else takes the place of what is
    there. Neither is changed; what need not differ is shared.
    """
    if not isinstance(override, dict):
        return override
    joined = dict(value) if isinstance(value, dict) else {}
    for name, below in override.items():
        if below is None:
            joined.pop(name, None)
        else:
            joined[name] = lay_over(joined.get(name), below)
    return joined


def make_overrides(before: Json, after: Json, path: Path = ()) -> Iterator[tuple[Path, Json]]:
    """What an override must hold, by path, to make one value of another.

    Raises ManifestInvalid where none can: null in an override takes something away.
    """
    if isinstance(before, dict) and isinstance(after, dict):
        yield from (((*path, name), None) for name in before if name not in after)
        for name, value in after.items():
            yield from make_overrides(before.get(name, ABSENT), value, (*path, name))
    elif not is_same(before, after):
        if _holds_null(after):
            raise ManifestInvalid((_NULL,))
        yield path, after


def _holds_null(value: Json) -> bool:
    """Whether null stands where an override would take it for a removal: lists are laid whole."""
    if isinstance(value, dict):
        return any(map(_holds_null, value.values()))
    return value is None


_NULL: Final = Finding(
    "an override cannot set something to null",
    next_step="Change the template or the item by hand.",
)


class OverlaidPlaces(Mapping[str, SourceLocation]):
    """Where the values of a member stand: in its override, or in the template below."""

    def __init__(self, override: SourceMap, template: SourceMap) -> None:
        self._override = override
        self._template = template

    def __getitem__(self, pointer: str) -> SourceLocation:
        if pointer.startswith("/spec/") and pointer in self._override:
            return self._override[pointer]
        return self._template[pointer]

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def find_nearest(self, pointer: str) -> SourceLocation:
        """Where a value stands, or the nearest thing around it."""
        while pointer and pointer not in self:
            pointer = pointer.rpartition("/")[0]
        return self[pointer]

"""Applies a fleet's override of a single member to the result of its template."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from reconciler.errors import ManifestInvalid
from reconciler.manifests.yaml_text import SourceMap
from reconciler.model import ABSENT, Finding, Json, Path, SourceLocation
from reconciler.text.json_text import is_same


def lay_over(value: Json, override: Json) -> Json:
    """Returns the value with an override applied, by JSON Merge Patch (RFC 7396).

    Mappings are merged, null removes a name, and any other value replaces the present one. Neither
    argument is changed; equal parts are shared.
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
    """Yields what an override must hold, by path, to change one value into another.

    Raises ManifestInvalid if that is not possible, because null in an override removes a name.
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
    """Whether an override would read a null as a removal; lists are replaced as a whole."""
    if isinstance(value, dict):
        return any(map(_holds_null, value.values()))
    return value is None


_NULL: Final = Finding(
    "an override cannot set a value to null",
    next_step="Change the template or the item by hand.",
)


class OverlaidPlaces(Mapping[str, SourceLocation]):
    """The source locations of a member's values: in its override, or in the template."""

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
        """Returns the location of a value, or of its nearest parent that exists."""
        while pointer and pointer not in self:
            pointer = pointer.rpartition("/")[0]
        return self[pointer]

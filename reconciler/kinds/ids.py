"""Makes the ids of a kind from parts, and splits ids into parts.

People write the parts in a manifest or in the project's defaults, or they copy a whole id. Each
kind has one form for all three. The kinds use this module; it knows no vendor.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field
from string import Formatter
from typing import Final
from urllib.parse import quote

from reconciler.document.pointers import format_pointer
from reconciler.errors import ManifestInvalid, Rejected
from reconciler.model import Finding, Json, Manifest, Path
from reconciler.model.values import dataclass
from reconciler.text.patterns import compile_lazily

_SEGMENT: Final = compile_lazily(r"[^/?#%\x00-\x20\x7f\ud800-\udfff]+")
_PLAIN: Final = re.compile(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+")


@dataclass(frozen=True, slots=True)
class IdForm:
    """An id is `scope` with its parts filled in, then `below`, then the part `name`.

    `pattern` matches what people may write as an id, with one group for each part. For messages,
    `noun` is the thing that has such an id, `example` is one id, and `advice` says where people
    find the parts. `defaults` holds the parts that people may leave out.
    """

    noun: str
    scope: str
    below: str
    pattern: re.Pattern[str]
    example: str
    advice: str = ""
    defaults: Mapping[str, str] = field(default_factory=dict)
    _demanded: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        # Every resource needs these parts, so they are computed once.
        parts = tuple(part for _, part, _, _ in Formatter().parse(self.scope) if part)
        object.__setattr__(self, "_demanded", parts)

    def make(self, manifest: Manifest, given: Mapping[str, Json], at: Path) -> str:
        """Return the id. Raises ManifestInvalid with each part that is missing `at` that place."""
        missing = [part for part in self._demanded if not given.get(part)]
        if missing:
            raise ManifestInvalid(tuple(self._miss(manifest, at, part) for part in missing))
        return f"{self.scope.format_map(given)}{self.below}{given['name']}"

    def split(self, resource_id: str) -> dict[str, str]:
        """Return the parts of an id; empty if the text is not an id."""
        found = self.pattern.fullmatch(resource_id)
        return {part: said for part, said in found.groupdict().items() if said} if found else {}

    def get_scope(self, resource_id: str) -> str:
        """Return the id of the collection that contains the resource."""
        return resource_id.rpartition(self.below)[0]

    def refuse(self, resource_id: str) -> ManifestInvalid:
        """Return the error for text that is not an id."""
        finding = Finding(
            f"is not the id of {self.noun}",
            subject=resource_id,
            next_step=f"Use an id such as {self.example}, or only the name.",
        )
        return ManifestInvalid((finding,))

    def _miss(self, manifest: Manifest, at: Path, part: str) -> Finding:
        here = f"Set {'.'.join(map(str, at))}.{part} here, or spec.defaults.{part} in the project"
        return Finding(
            f"{part} is not set",
            subject=str(manifest.address),
            place=manifest.place(format_pointer(at)) if manifest.file else None,
            next_step=f"{here} file.{self.advice}",
        )


def quote_path(path: str, noun: str) -> str:
    """Return an id as the path of a call.

    Raises Rejected if a segment could change the path, such as `..`. `noun` names the kind of id
    in the message.
    """
    if _PLAIN.fullmatch(path):
        return path
    segments = path.strip("/").split("/")
    for segment in segments:
        if segment in {".", ".."} or not _SEGMENT.fullmatch(segment.replace(" ", "_")):
            raise Rejected(f"{path} is not a valid {noun}", next_step="Correct spec.resource.")
    return "/" + "/".join(quote(segment, safe="-._~()") for segment in segments)

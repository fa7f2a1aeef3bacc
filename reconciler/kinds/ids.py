"""How the ids of a kind are made of parts, and taken apart again.

Where a resource is, people say by parts: in a manifest, in the project's defaults, or in an id that
they copied from somewhere. Each kind has one form for all of them.
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

_SEGMENT: Final = re.compile(r"[^/?#%\x00-\x20\x7f\ud800-\udfff]+")
_PLAIN: Final = re.compile(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+")


@dataclass(frozen=True, slots=True)
class IdForm:
    """An id is `scope` with its parts filled in, then `below`, then the part `name`.

    `pattern` finds the parts, each a group, in what people may give for an id. `noun` says what
    has such an id, `example` how it reads, `advice` where its parts are found; `defaults` holds
    parts that need not be given.
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
        # Asked for at every resource, so it is worked out once.
        parts = tuple(part for _, part, _, _ in Formatter().parse(self.scope) if part)
        object.__setattr__(self, "_demanded", parts)

    def make(self, manifest: Manifest, given: Mapping[str, Json], at: Path) -> str:
        """The id; raises ManifestInvalid naming each part that is not given `at` that place."""
        missing = [part for part in self._demanded if not given.get(part)]
        if missing:
            raise ManifestInvalid(tuple(self._miss(manifest, at, part) for part in missing))
        return f"{self.scope.format_map(given)}{self.below}{given['name']}"

    def split(self, resource_id: str) -> dict[str, str]:
        """The parts that an id names; none for what is no id."""
        found = self.pattern.fullmatch(resource_id)
        return {part: said for part, said in found.groupdict().items() if said} if found else {}

    def get_scope(self, resource_id: str) -> str:
        """The id of what holds the resource."""
        return resource_id.rpartition(self.below)[0]

    def refuse(self, resource_id: str) -> ManifestInvalid:
        """What is said of that which is no id."""
        finding = Finding(
            f"is no id of {self.noun}",
            subject=resource_id,
            next_step=f"It reads {self.example}, or is the name alone.",
        )
        return ManifestInvalid((finding,))

    def _miss(self, manifest: Manifest, at: Path, part: str) -> Finding:
        here = f"Set {'.'.join(map(str, at))}.{part} here, or spec.defaults.{part} in the project"
        return Finding(
            f"no {part} is given",
            subject=str(manifest.address),
            place=manifest.place(format_pointer(at)) if manifest.file else None,
            next_step=f"{here} file.{self.advice}",
        )


def quote_path(path: str, noun: str) -> str:
    """An id as the path of a call; raises Rejected where a segment leads elsewhere than it says.

    `noun` is what it is no proper one of.
    """
    if _PLAIN.fullmatch(path):
        return path
    segments = path.strip("/").split("/")
    for segment in segments:
        if segment in {".", ".."} or not _SEGMENT.fullmatch(segment.replace(" ", "_")):
            raise Rejected(f"{path} is no {noun}", next_step="Correct spec.resource.")
    return "/" + "/".join(quote(segment, safe="-._~()") for segment in segments)

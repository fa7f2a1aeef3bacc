"""Checks `spec.moved` of the project file: the entries must not contradict one another.

The loader calls it. Whether an entry fits the manifests and the ledger is checked where these are
known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Final

from reconciler.manifests.references import Found
from reconciler.manifests.yaml_text import SourceMap
from reconciler.model import Address, Finding, Json, Manifest, SourceLocation
from reconciler.plans.history import resolve_moves

_KEEP_ONE: Final = Finding("", next_step="Keep one of the two entries.")


def check_moved(document: Json) -> Iterator[Found]:
    """Yield a finding for each entry that contradicts another one or itself.

    `document` is a project file's document that fits its schema.
    """
    entries = _read_entries(document)
    ends = resolve_moves({old: new for _, old, new in entries})
    first_from: dict[Address, str] = {}
    first_to: dict[Address, str] = {}
    for pointer, old, new in entries:
        if first_from.setdefault(old, pointer) != pointer:
            yield f"{pointer}/from", replace(_KEEP_ONE, message=f"{old} is moved twice")
        elif first_to.setdefault(new, pointer) != pointer:
            said = f"two addresses are moved to {new}: an address names one resource"
            yield f"{pointer}/to", replace(_KEEP_ONE, message=said)
        elif old.kind != new.kind:
            said = f"{old} is of another kind than {new}"
            step = "A resource keeps its kind: name an address of the same kind."
            yield f"{pointer}/to", Finding(said, next_step=step)
        elif ends[old] is None:
            said = f"{old} is moved in a circle, back to itself"
            yield f"{pointer}/from", Finding(said, next_step="Remove one entry of the circle.")


def place_moved(document: Json, places: SourceMap) -> Mapping[Address, SourceLocation]:
    """Return the place of each entry, by its old address."""
    return {
        old: places.find_nearest(f"{pointer}/from") for pointer, old, _ in _read_entries(document)
    }


def check_still_declared(
    moved_places: Mapping[Address, SourceLocation],
    manifests: Mapping[Address, Manifest],
    place_of: Callable[[Manifest], SourceLocation],
) -> Iterator[Finding]:
    """Yield a finding for each old address that a manifest still declares."""
    for old, place in moved_places.items():
        if old in manifests:
            yield Finding(
                "was moved to another address, and a manifest still declares it",
                subject=str(old),
                place=place,
                detail=(f"It is declared on {place_of(manifests[old])}.",),
                next_step="Remove the entry from spec.moved, or the manifest.",
            )


def _read_entries(document: Json) -> list[tuple[str, Address, Address]]:
    """Return the pointer, the old and the new address of each entry, in the order of the file."""
    given = (document.get("spec") or {}).get("moved", ())
    return [
        (f"/spec/moved/{number}", Address.parse(one["from"]), Address.parse(one["to"]))
        for number, one in enumerate(given)
    ]

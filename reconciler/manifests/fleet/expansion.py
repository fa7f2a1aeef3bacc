"""A fleet's manifest, made into those of its members."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from reconciler.document.pointers import format_pointer
from reconciler.manifests.fleet.checks import Surroundings
from reconciler.manifests.fleet.findings import Tally
from reconciler.manifests.fleet.items import Items, check_formulas, read_items
from reconciler.manifests.fleet.mould import Cast, Mould, TooLarge, make_mould
from reconciler.manifests.fleet.rollout import check_waves, make_rollout
from reconciler.manifests.folder import Folder
from reconciler.manifests.schema import MOST, unknown_word
from reconciler.manifests.yaml_text import Places, say_name
from reconciler.model import Address, Finding, Json, Manifest, Member, Place, Rollout

_TEMPLATE: Final = "/spec/template"
_SUGGESTED: Final = 20
_MOST_TOLD: Final = 100_000


@dataclass(frozen=True)
class Source:
    """A fleet's manifest, checked against its schema. `schemas` are those of the kinds."""

    folder: Folder
    file: Path
    document: Json
    places: Places
    schemas: Mapping[str, str]


@dataclass
class Expansion:
    """What is made of a fleet: its members, in the order of the items, and what is wrong.

    `definitions` are the files that were taken in.
    """

    rollout: Rollout
    members: list[Manifest] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    definitions: set[str] = field(default_factory=set)


def expand(source: Source) -> Expansion:
    """Make a fleet's members; what is wrong with many of them is found once."""
    spec, places = source.document["spec"], source.places
    fleet = Address("Fleet", source.document["metadata"]["name"])
    expansion = Expansion(make_rollout(fleet, spec))
    items = read_items(source.folder, source.file, spec["items"], places)
    found = [*items.findings, *_check_spec(source)]
    kind = spec["template"]["kind"]
    if kind in source.schemas:
        schema = source.schemas[kind]
        around = Surroundings(source.folder, source.file, schema, items, expansion.definitions)
        mould, wrong = make_mould(around, source.document, places)
        found += wrong
        if not found:
            found += _make_members(source, mould, items, expansion)
    expansion.findings += (replace(one, subject=one.subject or str(fleet)) for one in found)
    return expansion


def _check_spec(source: Source) -> Iterator[Finding]:
    spec, places = source.document["spec"], source.places
    for pointer, finding in check_waves(spec.get("waves", ("100%",))):
        yield replace(finding, place=places.nearest(pointer))
    kind = spec["template"]["kind"]
    if kind not in source.schemas:
        unknown = unknown_word("kind", kind, list(source.schemas))
        if kind in {"Fleet", "Project"}:
            unknown = replace(unknown, message=f"a template makes no {kind}")
        yield replace(unknown, place=places[f"{_TEMPLATE}/kind"])


def _make_members(
    source: Source, mould: Mould, items: Items, expansion: Expansion
) -> Iterator[Finding]:
    """Fill the mould with each item; the members go into the expansion."""
    tally, names, told, ended = Tally(), dict[str, Place](), 0, False
    fleet = expansion.rollout.fleet
    file = source.folder.name(source.file)
    digest = source.folder.files[file]
    same = replace(_SAME, place=source.places[f"{_TEMPLATE}/metadata/name"])
    for item in items.all:
        try:
            cast = mould.cast(item)
        except TooLarge:
            place = source.places[_TEMPLATE]
            yield Finding(_TOO_LARGE, place=place, next_step="Make several fleets of it.")
            return
        member = Member(fleet, item.number, item.place)
        subject = f"{mould.kind}/{cast.name}" if cast.name else str(fleet)
        for problem in dict.fromkeys(cast.problems):
            tally.add(problem, subject, member)
        told += len(cast.problems)
        ended = told > _MOST_TOLD or len(cast.problems) >= MOST
        if ended:
            yield Finding(_TOO_MANY, place=source.places[_TEMPLATE])
            break
        first = names.setdefault(cast.name, item.place)
        if cast.name and first is not item.place:
            tally.add(same, subject, member, first)
        elif not cast.problems:
            expansion.members.append(_make_manifest(cast, member, file, digest))
    yield from tally.tell()
    yield from check_formulas(items, mould.find_used())
    if "" not in names and not ended:
        yield from _check_overrides(source, names, [one.address.name for one in expansion.members])


def _make_manifest(cast: Cast, member: Member, file: str, digest: str) -> Manifest:
    return Manifest(
        address=Address(cast.document["kind"], cast.name),
        spec=cast.document["spec"],
        file=file,
        digest=digest,
        labels=cast.document["metadata"].get("labels", {}),
        places=cast.places,
        member=member,
    )


def _check_overrides(
    source: Source, names: Collection[str], good: Collection[str]
) -> Iterator[Finding]:
    """Overrides of members that there are not; the first of them with a `good` name near it."""
    unknown = [name for name in source.document["spec"].get("overrides", {}) if name not in names]
    for number, name in enumerate(unknown):
        near = difflib.get_close_matches(name, good, n=1) if number < _SUGGESTED else []
        yield Finding(
            f"no member is called {say_name(name, 'that')}",
            place=source.places[f"/spec/overrides{format_pointer((name,))}"],
            next_step=f'Did you mean "{near[0]}"?' if near else "Take it out, or correct it.",
        )


_SAME: Final = Finding(
    "the name is that of an earlier item",
    next_step="Let the names differ, or take out what stands twice.",
)
_TOO_MANY: Final = "its members have too many errors; those of later items are not told"
_TOO_LARGE: Final = "its members together would take more than 256 MB"

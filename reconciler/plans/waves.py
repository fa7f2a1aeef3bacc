"""Orders the steps of a plan: lower waves first, sources before their copies, deletions last.

Deletions run after all other steps, with the highest wave first, so that a replacement exists
before the old resource is deleted. The members of a fleet are divided into stages within that
order, so that a common fault fails only a few members. The planner and the apply call this module.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from reconciler.model import Action, Address, Finding, LastApplied, Manifest, Member, Rollout, Step
from reconciler.model.values import dataclass


@dataclass(frozen=True, slots=True)
class Wave:
    """Steps that may run in parallel; `number` is the wave that the manifests declare."""

    number: int
    steps: tuple[Step, ...]


def arrange(steps: Sequence[Step]) -> tuple[Wave, ...]:
    """Return the steps in waves; the steps of one wave keep their order."""
    makers = _find_makers(steps)
    groups: dict[tuple[bool, int, int], list[Step]] = {}
    for step in steps:
        gone = step.action is Action.DELETE
        key = (gone, -step.wave if gone else step.wave, _depth(step, makers))
        groups.setdefault(key, []).append(step)
    return tuple(
        Wave(group[0].wave, tuple(group)) for _, group in sorted(groups.items(), key=_first)
    )


def _first(item: tuple[tuple[bool, int, int], list[Step]]) -> tuple[bool, int, int]:
    return item[0]


def assign_stages(steps: Sequence[Step], rollouts: Iterable[Rollout]) -> list[Step]:
    """Return the same steps; each member of a fleet gets its stage.

    A member must already have its fleet and its wave. Stages are filled in the order of waves,
    then sources before their copies, then in the order of items. Deletions get separate stages of
    the same sizes after all other stages: first members without an item, then the last item
    first. So the order of stages never contradicts the order of `arrange`.
    """
    makers = _find_makers(steps)
    given = {one.fleet: one for one in rollouts}
    fleets: dict[Address, list[Step]] = {}
    for step in steps:
        if step.fleet is not None:
            fleets.setdefault(step.fleet, []).append(step)

    def place(step: Step) -> tuple[int, int, float, Address]:
        number = step.member.number if step.member else math.inf
        return step.wave, _depth(step, makers), number, step.resource.address

    stages: dict[Address, int] = {}
    for fleet, members in fleets.items():
        sizes = given.get(fleet, Rollout(fleet)).sizes
        members.sort(key=place)
        coming = [step for step in members if step.action is not Action.DELETE]
        going = [step for step in reversed(members) if step.action is Action.DELETE]
        stage_sizes = (*split(sizes, len(coming)), *split(sizes, len(going)))
        for step, stage in zip((*coming, *going), _number(stage_sizes), strict=True):
            stages[step.resource.address] = stage
    return [step.copy_with(stage=stages.get(step.resource.address, 0)) for step in steps]


def split(sizes: Sequence[int | str], total: int) -> tuple[int, ...]:
    """Return the number of members in each wave; no wave is empty, and the last takes the rest.

    A size is the number of members that are done when the wave ends. A percentage is rounded up.
    """
    found: list[int] = []
    for end in (*(_count(size, total) for size in sizes[:-1]), total):
        if min(end, total) > sum(found):
            found.append(min(end, total) - sum(found))
    return tuple(found)


def _count(size: int | str, total: int) -> int:
    if isinstance(size, int):
        return size
    from fractions import Fraction  # noqa: PLC0415 - only fleets need it

    return max(1, math.ceil(Fraction(size.rstrip("%")) * total / 100))


def _number(sizes: Sequence[int]) -> list[int]:
    """Return the wave number of each member, from 0."""
    return [number for number, size in enumerate(sizes) for _ in range(size)]


def _find_makers(steps: Iterable[Step]) -> Mapping[str, Step]:
    return {step.resource.id.casefold(): step for step in steps}


def _depth(step: Step, makers: Mapping[str, Step]) -> int:
    """Count the steps of the same wave that must run before: its source and that one's sources."""
    depth, known = 0, {step.resource.id.casefold()}
    while step.source is not None:
        source = step.source.id.casefold()
        maker = makers.get(source)
        if maker is None or source in known or maker.wave != step.wave:
            break
        if maker.action is Action.DELETE:
            break
        known.add(source)
        step, depth = maker, depth + 1
    return depth


def group_members(
    manifests: Iterable[Manifest], last_applied_by_address: Mapping[Address, LastApplied]
) -> Mapping[Address, list[Address]]:
    """Return the members of each fleet: those declared now, and those that the ledger records."""
    declared = {one.address: one.member.fleet if one.member else None for one in manifests}
    remembered = {
        address: last_applied.fleet for address, last_applied in last_applied_by_address.items()
    }
    found: dict[Address, list[Address]] = {}
    for address, fleet in sorted({**remembered, **declared}.items()):
        if fleet is not None:
            found.setdefault(fleet, []).append(address)
    return found


def find_members(
    address: Address,
    manifests: Iterable[Manifest],
    last_applied_by_address: Mapping[Address, LastApplied],
) -> list[Address]:
    """Return the members of a fleet; for any other address, the address alone."""
    return list(group_members(manifests, last_applied_by_address).get(address, [address]))


def stage_members(
    steps: Sequence[Step], rollouts: Iterable[Rollout]
) -> tuple[list[Step], tuple[Rollout, ...]]:
    """Return the steps with their stages, and the rollout of each fleet that has steps.

    A fleet that no manifest declares now has a single stage.
    """
    fleets = sorted({step.fleet for step in steps if step.fleet is not None})
    given = {one.fleet: one for one in rollouts}
    used = tuple(given.get(fleet, Rollout(fleet)) for fleet in fleets)
    return assign_stages(steps, used), used


def compute_pause(steps: Sequence[Step], rollouts: Iterable[Rollout]) -> float:
    """Return the least number of seconds that the pauses between the waves of fleets take.

    A rollback of members has steps of a fleet, and no waves.
    """
    last = {one.fleet: 0 for one in rollouts}
    for step in steps:
        if step.fleet in last:
            last[step.fleet] = max(last[step.fleet], step.stage)
    return max((last[one.fleet] * one.pause_s for one in rollouts), default=0.0)


def describe_item(member: Member) -> str:
    """Return a sentence that says which item a member is made from."""
    return f"Item {member.number} is on {member.place}."


def name_items(findings: Iterable[Finding], manifests: Iterable[Manifest]) -> Iterator[Finding]:
    """Yield the findings; a finding about a member also names its item."""
    members = {str(one.address): one.member for one in manifests if one.member is not None}
    return (name_item(finding, members.get(finding.subject)) for finding in findings)


def name_item(finding: Finding, member: Member | None) -> Finding:
    """Return the finding with the item of its member; unchanged without a member."""
    if member is None or describe_item(member) in finding.detail:
        return finding
    return replace(finding, detail=(*finding.detail, describe_item(member)))

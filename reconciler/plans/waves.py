"""The order of steps: lower waves first, what others are made from before them, deletions last.

Deletions go in the opposite order of waves, after all else: what takes the place of a resource is
there before the resource goes. The members of a fleet have waves of their own within that order,
its stages, so that what is wrong with all of them shows at a few.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from reconciler.model import Action, Address, Finding, LastApplied, Manifest, Member, Rollout, Step
from reconciler.model.values import dataclass


@dataclass(frozen=True, slots=True)
class Wave:
    """Steps that may run side by side; `number` is what people gave them."""

    number: int
    steps: tuple[Step, ...]


def arrange(steps: Sequence[Step]) -> tuple[Wave, ...]:
    """The steps in waves; within one, in the order given."""
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
    """The same steps, each member of a fleet with its stage; it must have its fleet and its wave.

    Stages are filled in the order of waves, with what others are made from first, then in that of
    items. Deletions have stages of their own
    after those of all else, of the same sizes, the last item first; of what has no item any more
    before that. So the order of stages never contradicts that of `arrange`.
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
    """How many each wave of so many members has; none is empty, and the last takes the rest.

    A size says how many are done when its wave ends; a percentage is rounded up.
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
    """The number of its wave, from 0, for one member after another."""
    return [number for number, size in enumerate(sizes) for _ in range(size)]


def _find_makers(steps: Iterable[Step]) -> Mapping[str, Step]:
    return {step.resource.id.casefold(): step for step in steps}


def _depth(step: Step, makers: Mapping[str, Step]) -> int:
    """How many steps of the same wave must come before: what it is made from, and so on."""
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
    """The members of each fleet: what is made from it now, and what is remembered to have been."""
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
    """The members of a fleet; of anything else, the address alone."""
    return list(group_members(manifests, last_applied_by_address).get(address, [address]))


def stage_members(
    steps: Sequence[Step], rollouts: Iterable[Rollout]
) -> tuple[list[Step], tuple[Rollout, ...]]:
    """The steps, each member of a fleet with its stage, and how each of those fleets goes.

    A fleet that no manifest tells of any more goes at once.
    """
    fleets = sorted({step.fleet for step in steps if step.fleet is not None})
    given = {one.fleet: one for one in rollouts}
    used = tuple(given.get(fleet, Rollout(fleet)) for fleet in fleets)
    return assign_stages(steps, used), used


def compute_pause(steps: Sequence[Step], rollouts: Iterable[Rollout]) -> float:
    """For how many seconds at least it is waited between the waves of fleets."""
    last = {one.fleet: 0 for one in rollouts}
    for step in steps:
        if step.fleet is not None:
            last[step.fleet] = max(last[step.fleet], step.stage)
    return max((last[one.fleet] * one.pause_s for one in rollouts), default=0.0)


def describe_item(member: Member) -> str:
    """Which item a member is made from, as a sentence."""
    return f"Item {member.number} is on {member.place}."


def name_items(findings: Iterable[Finding], manifests: Iterable[Manifest]) -> Iterator[Finding]:
    """The findings, those of members with the item that each is made from."""
    members = {str(one.address): one.member for one in manifests if one.member is not None}
    return (name_item(finding, members.get(finding.subject)) for finding in findings)


def name_item(finding: Finding, member: Member | None) -> Finding:
    """The finding with the item of the member that it is about, if it is about one."""
    if member is None or describe_item(member) in finding.detail:
        return finding
    return replace(finding, detail=(*finding.detail, describe_item(member)))

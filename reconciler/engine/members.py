"""The members of fleets: which there are, which item each is made from, and its wave."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from reconciler.model import Address, Finding, Manifest, Member, Memory, Rollout, Step
from reconciler.plans.waves import assign_stages


def group_members(
    manifests: Iterable[Manifest], memories: Mapping[Address, Memory]
) -> Mapping[Address, list[Address]]:
    """The members of each fleet: what is made from it now, and what is remembered to have been."""
    declared = {one.address: one.member.fleet if one.member else None for one in manifests}
    remembered = {address: memory.fleet for address, memory in memories.items()}
    found: dict[Address, list[Address]] = {}
    for address, fleet in sorted({**remembered, **declared}.items()):
        if fleet is not None:
            found.setdefault(fleet, []).append(address)
    return found


def find_members(
    address: Address, manifests: Iterable[Manifest], memories: Mapping[Address, Memory]
) -> list[Address]:
    """The members of a fleet; of anything else, the address alone."""
    return list(group_members(manifests, memories).get(address, [address]))


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


def find_pause(steps: Sequence[Step], rollouts: Iterable[Rollout]) -> float:
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

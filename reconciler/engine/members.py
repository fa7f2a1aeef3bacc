"""The members of fleets: which there are, which item each is made from, and its wave."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from reconciler.model import Address, Finding, Manifest, Memory, Rollout, Step
from reconciler.waves import assign_stages


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
    steps: Sequence[Step], manifests: Iterable[Manifest], rollouts: Iterable[Rollout]
) -> tuple[list[Step], tuple[Rollout, ...]]:
    """The steps, each member of a fleet with its item and its stage; and how each fleet goes.

    Every step must have its fleet. A fleet that no manifest tells of any more goes at once.
    """
    made = {one.address: one for one in manifests if one.member is not None}
    numbers = {address: one.member.number for address, one in made.items() if one.member}
    fleets = sorted({step.fleet for step in steps if step.fleet is not None})
    given = {one.fleet: one for one in rollouts}
    used = tuple(given.get(fleet, Rollout(fleet)) for fleet in fleets)
    told = [
        replace(step, item=describe_item(made[step.resource.address]))
        if step.fleet is not None and step.resource.address in made
        else step
        for step in steps
    ]
    return assign_stages(told, numbers, used), used


def find_pause(steps: Sequence[Step], rollouts: Iterable[Rollout]) -> float:
    """For how many seconds at least it is waited between the waves of fleets."""
    last = {one.fleet: 0 for one in rollouts}
    for step in steps:
        if step.fleet is not None:
            last[step.fleet] = max(last[step.fleet], step.stage)
    return max((last[one.fleet] * one.pause_s for one in rollouts), default=0.0)


def describe_item(manifest: Manifest) -> str:
    """`row 17 of manifests/locations.csv, line 18`; empty for what is no member."""
    if manifest.member is None:
        return ""
    place = manifest.member.place
    word = "item" if place.file == manifest.file else "row"
    return f"{word} {manifest.member.number} of {place.file}, line {place.line}"


def name_items(findings: Iterable[Finding], manifests: Iterable[Manifest]) -> Iterator[Finding]:
    """The findings, those of members with the item that each is made from."""
    made = {str(one.address): describe_item(one) for one in manifests if one.member is not None}
    return (name_item(finding, made.get(finding.subject, "")) for finding in findings)


def name_item(finding: Finding, item: str) -> Finding:
    """The finding of a member with its item, as `describe_item` says it."""
    said = f"It is {item}."
    if not item or said in finding.detail:
        return finding
    return replace(finding, detail=(*finding.detail, said))

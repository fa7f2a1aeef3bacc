"""What a plan or a drift report is asked for, and which resources that means."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from reconciler.engine.observe import Mode
from reconciler.engine.runtime import Runtime
from reconciler.errors import ManifestInvalid
from reconciler.model import (
    Address,
    Finding,
    GuardLimits,
    Inputs,
    Manifest,
    Resource,
    Rollout,
    Snapshot,
)
from reconciler.model.values import dataclass
from reconciler.plans.waves import group_members, name_items
from reconciler.text.suggestions import suggest


@dataclass(frozen=True)
class PlanRequest:
    """What a plan is asked for.

    `targets` limits it to these addresses and `excluded` leaves some out; `allowed` lifts guards
    (`guard` or `guard=ADDRESS`), `rotate` names addresses whose secrets are written again. The
    address of a fleet stands for all its members. `whole` says that all manifests of the project
    are there: only then is something that the ledger remembers an orphan, which `prune` destroys.
    `destroy` takes all away. `rollouts` are those of the fleets whose members are among the
    manifests.
    """

    manifests: Sequence[Manifest]
    defaults: Mapping[str, str]
    limits: GuardLimits
    inputs: Inputs
    targets: Collection[Address] = ()
    excluded: Collection[Address] = ()
    allowed: Collection[str] = ()
    rotate: Collection[Address] = ()
    whole: bool = True
    prune: bool = False
    destroy: bool = False
    refresh: Mode = "auto"
    rollouts: Sequence[Rollout] = ()


def resolve_request(request: PlanRequest, snapshot: Snapshot) -> PlanRequest:
    """The same order, with the members of each fleet that it names beside the fleet itself.

    Raises ManifestInvalid with every address that nothing bears. What is only remembered bears its
    address where it may be destroyed.
    """
    last_applied_by_address = (
        snapshot.last_applied_by_address if request.prune or request.destroy else {}
    )
    fleets = group_members(request.manifests, last_applied_by_address)
    known = {*fleets, *(one.address for one in request.manifests), *last_applied_by_address}
    known.update(one.fleet for one in request.rollouts)
    named = (*request.targets, *request.excluded, *request.rotate)
    unknown = [_no_such_address(str(at), known) for at in named if at not in known]
    lifted = [text.partition("=")[2] for text in request.allowed if "=" in text]
    names = frozenset(map(str, known))
    unknown += [_no_such_address(at, known) for at in lifted if at not in names]
    if unknown:
        raise ManifestInvalid(tuple(unknown))
    return replace(
        request,
        targets=_expand_addresses(request.targets, fleets),
        excluded=_expand_addresses(request.excluded, fleets),
        rotate=_expand_addresses(request.rotate, fleets),
        allowed=frozenset(_expand_guards(request.allowed, fleets)),
    )


def _expand_addresses(
    addresses: Iterable[Address], fleets: Mapping[Address, Sequence[Address]]
) -> frozenset[Address]:
    """The addresses themselves too: a fleet without members must not come to mean everything."""
    return frozenset(one for at in addresses for one in (at, *fleets.get(at, ())))


def _expand_guards(
    allowed: Iterable[str], fleets: Mapping[Address, Sequence[Address]]
) -> Iterator[str]:
    named = {str(fleet): members for fleet, members in fleets.items()}
    for text in allowed:
        yield text
        guard, _, address = text.partition("=")
        yield from (f"{guard}={member}" for member in named.get(address, ()))


def select_manifests(request: PlanRequest) -> list[Manifest]:
    """The manifests that are targeted, by address; the order must be resolved."""
    found = [
        manifest
        for manifest in request.manifests
        if manifest.address not in request.excluded
        and (not request.targets or manifest.address in request.targets)
    ]
    return sorted(found, key=lambda manifest: manifest.address)


def _no_such_address(address: str, known: Collection[Address]) -> Finding:
    near = suggest(address, sorted(map(str, known)))
    return Finding(
        "no manifest declares this address",
        subject=address,
        next_step=f"Did you mean {near}?" if near else "Targets read Kind/name.",
    )


def identify_resources(
    runtime: Runtime, manifests: Sequence[Manifest], defaults: Mapping[str, str]
) -> list[Resource]:
    """The resources of manifests, in their order; raises ManifestInvalid for two of one."""
    found: list[Resource] = []
    obstacles: list[Finding] = []
    first: dict[str, Manifest] = {}
    for manifest in manifests:
        try:
            resource = runtime.kinds[manifest.address.kind].identify(manifest, defaults)
        except ManifestInvalid as error:
            obstacles.extend(error.findings())
            continue
        other = first.setdefault(resource.id.casefold(), manifest)
        if other is not manifest:
            obstacles.append(_same_resource(manifest, other, resource))
        found.append(resource)
    if obstacles:
        raise ManifestInvalid(tuple(name_items(obstacles, manifests)))
    return found


def _same_resource(manifest: Manifest, other: Manifest, resource: Resource) -> Finding:
    where = other.member.place if other.member else other.place("/spec/resource")
    return Finding(
        f"two manifests declare {resource.short_id}",
        subject=str(manifest.address),
        place=manifest.place("/spec/resource"),
        detail=(f"{other.address} declares it too, on {where}.",),
        next_step="Keep one of the two, or give them different names in spec.resource.",
    )

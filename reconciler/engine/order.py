"""What a plan or a drift report is asked for, and which resources that means."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from reconciler.engine.hands import Hands
from reconciler.engine.observe import Mode
from reconciler.errors import ManifestInvalid
from reconciler.model import Address, Finding, GuardLimits, Inputs, Manifest, Resource, Rollout


@dataclass(frozen=True)
class Order:
    """What a plan is asked for.

    `targets` limits it to these addresses and `excluded` leaves some out; `allowed` lifts guards
    (`guard` or `guard=ADDRESS`), `rotate` names addresses whose secrets are written again. `whole`
    says that all manifests of the project are there: only then is something that the ledger
    remembers an orphan, which `prune` destroys. `destroy` takes all away. `rollouts` are those of
    the fleets whose members are among the manifests.
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


def choose(order: Order) -> list[Manifest]:
    """The manifests that are targeted, by address; a target that nothing bears is an error."""
    known = {manifest.address for manifest in order.manifests}
    named = (*order.targets, *order.excluded, *order.rotate)
    unknown = tuple(_no_such_address(at, known) for at in named if at not in known)
    if unknown:
        raise ManifestInvalid(unknown)
    chosen = known.intersection(order.targets or known).difference(order.excluded)
    found = (manifest for manifest in order.manifests if manifest.address in chosen)
    return sorted(found, key=lambda manifest: manifest.address)


def _no_such_address(address: Address, known: Collection[Address]) -> Finding:
    near = difflib.get_close_matches(str(address), sorted(map(str, known)), n=1)
    return Finding(
        "no manifest declares this address",
        subject=str(address),
        next_step=f"Did you mean {near[0]}?" if near else "Targets read Kind/name.",
    )


def identify(
    hands: Hands, manifests: Sequence[Manifest], defaults: Mapping[str, str]
) -> list[Resource]:
    """The resources of manifests, in their order; raises ManifestInvalid for two of one."""
    found: list[Resource] = []
    obstacles: list[Finding] = []
    first: dict[str, Manifest] = {}
    for manifest in manifests:
        try:
            resource = hands.kinds[manifest.address.kind].identify(manifest, defaults)
        except ManifestInvalid as error:
            obstacles.extend(error.findings())
            continue
        other = first.setdefault(resource.id.casefold(), manifest)
        if other is not manifest:
            obstacles.append(_same_resource(manifest, other, resource))
        found.append(resource)
    if obstacles:
        raise ManifestInvalid(tuple(obstacles))
    return found


def _same_resource(manifest: Manifest, other: Manifest, resource: Resource) -> Finding:
    return Finding(
        f"two manifests declare {resource.short_id}",
        subject=str(manifest.address),
        place=manifest.place("/spec/resource"),
        detail=(f"{other.address} declares it too, on {other.place('/spec/resource')}.",),
        next_step="Keep one of the two, or give them different names in spec.resource.",
    )

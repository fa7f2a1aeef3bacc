"""The request for a plan or a drift report, and the resources that it selects.

It must not read a service. The planner, the drift report and the rebuild call it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from typing import TYPE_CHECKING, TypeAlias

from reconciler.engine.observe import Mode
from reconciler.engine.runtime import Runtime
from reconciler.errors import ManifestInvalid, Unplannable
from reconciler.model import (
    Address,
    Finding,
    GuardLimits,
    IgnoreRule,
    Inputs,
    Json,
    Manifest,
    Plan,
    Resource,
    Rollout,
    Snapshot,
    SourceLocation,
    UnreadFile,
)
from reconciler.model.policies import Policy, PolicyContext
from reconciler.model.values import dataclass
from reconciler.plans.waves import group_members, name_items
from reconciler.ports import Kind
from reconciler.text.suggestions import ask, suggest

if TYPE_CHECKING:  # start-up: few projects have a retraining
    from reconciler.model.training import Retraining

Identify: TypeAlias = Callable[[Manifest, Mapping[str, Json]], Resource]


@dataclass(frozen=True)
class PlanRequest:
    """The request for a plan.

    `targets` limits the plan to these addresses, and `excluded` leaves addresses out. `allowed`
    allows guards (`guard` or `guard=ADDRESS`). `rotate` names the addresses whose secrets are
    written again. The address of a fleet means all its members. `whole` is True if all manifests
    of the project are present. Only then is a resource without a manifest an orphan, which
    `prune` destroys. `destroy` deletes all resources. `rollouts` has one entry for each fleet
    with members among the manifests. `retrainings` have the gates of new models. `unread` are files
    that may declare resources and were not read: `prune` destroys none of these. `notes` are
    warnings about what was read; they become a part of the plan. `moved_places` has the place of
    each entry of `spec.moved`, by the old address. `policies` judge the steps; `policy_context` has
    what they need to know and the planner does not. `find_approvers` returns the principals whose
    signed approvals count for a plan; None if the command takes no approvals. `ignored` are the
    rules about findings of drift that are accepted. A drift report does not read the
    resources that `postponed` has, and says why by its text.
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
    retrainings: Sequence[Retraining] = ()
    unread: Sequence[UnreadFile] = ()
    notes: Sequence[Finding] = ()
    moved_places: Mapping[Address, SourceLocation] = field(default_factory=dict)
    policies: Sequence[Policy] = ()
    policy_context: PolicyContext = PolicyContext()
    find_approvers: Callable[[Plan], Collection[str]] | None = None
    ignored: Sequence[IgnoreRule] = ()
    postponed: Mapping[Address, str] = field(default_factory=dict)


def load_snapshot(runtime: Runtime, request: PlanRequest) -> Snapshot:
    """Return the ledger's snapshot for the resources that the addresses of all manifests mean.

    What the ledger records of another resource is not said of them. Raises ManifestInvalid for a
    `moved` entry that gives the state of one resource to the manifest of another.
    """
    loaded = runtime.ledger.load()
    meant = list(find_meant(runtime.identify, request.manifests, request.defaults))
    snapshot = loaded.of_resources(meant)
    ids = {one.address: one.id for one in meant}
    wrong = tuple(
        Finding(
            f"{old} is not {new}: the ledger records another resource than the manifest names",
            subject=str(new),
            place=request.moved_places.get(old),
            detail=(
                f"The ledger records: {loaded.last_applied_by_address[new].id}",
                f"The manifest names:  {ids[new]}",
            ),
            next_step="Remove the entry from spec.moved, or name that resource in spec.resource.",
        )
        for new, old in loaded.moved.items()
        if new in ids and new not in snapshot.last_applied_by_address
    )
    if wrong:
        raise ManifestInvalid(wrong)
    return snapshot


def find_meant(
    identify: Identify, manifests: Iterable[Manifest], defaults: Mapping[str, Json]
) -> Iterator[Resource]:
    """Yield the resource of each manifest that names one."""
    for manifest in manifests:
        with contextlib.suppress(ManifestInvalid, Unplannable):
            yield identify(manifest, defaults)


def identify_offline(kinds: Mapping[str, Kind]) -> Identify:
    """Return the `identify` of the kinds, which looks up no name."""
    return lambda manifest, defaults: kinds[manifest.address.kind].identify(manifest, defaults)


def resolve_request(request: PlanRequest, snapshot: Snapshot) -> PlanRequest:
    """Return the request with the members of each named fleet beside the fleet itself.

    Raises ManifestInvalid with every unknown address. The address of a resource that only the
    ledger records is known where the plan may destroy it.
    """
    last_applied_by_address = (
        snapshot.last_applied_by_address if request.prune or request.destroy else {}
    )
    fleets = group_members(request.manifests, last_applied_by_address)
    known = {*fleets, *(one.address for one in request.manifests), *last_applied_by_address}
    known.update(one.fleet for one in request.rollouts)
    named = (*request.targets, *request.excluded, *request.rotate)
    # No address is proposed to a plan that destroys what it names, or to the lifting of a guard.
    proposed = () if request.prune or request.destroy else sorted(map(str, known))
    unknown = [_no_such_address(str(at), proposed) for at in named if at not in known]
    lifted = [text.partition("=")[2] for text in request.allowed if "=" in text]
    names = frozenset(map(str, known))
    unknown += [_no_such_address(at, ()) for at in lifted if at not in names]
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
    """Return the addresses and the members of fleets.

    A fleet stays in the result: without members it would select everything.
    """
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
    """Return the targeted manifests, by address; the request must be resolved."""
    found = [
        manifest
        for manifest in request.manifests
        if manifest.address not in request.excluded
        and (not request.targets or manifest.address in request.targets)
    ]
    return sorted(found, key=lambda manifest: manifest.address)


def _no_such_address(address: str, proposed: Sequence[str]) -> Finding:
    near = suggest(address, proposed)
    return Finding(
        "no manifest declares this address",
        subject=address,
        next_step=ask(address, near, "{}") if near else "See the addresses: reconciler list",
    )


def identify_resources(
    runtime: Runtime, manifests: Sequence[Manifest], defaults: Mapping[str, str]
) -> list[Resource]:
    """Return the resources of manifests, in the same order.

    Raises ManifestInvalid if two manifests declare the same resource.
    """
    found: list[Resource] = []
    obstacles: list[Finding] = []
    first: dict[str, Manifest] = {}
    for manifest in manifests:
        try:
            resource = runtime.identify(manifest, defaults)
        except (ManifestInvalid, Unplannable) as error:
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

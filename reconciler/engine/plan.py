"""Making a plan: read, bind, compare, look at the models, judge.

Everything that keeps a plan from being made is found in one run and raised together; what
merely forbids applying it is kept in the plan.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from reconciler import guards
from reconciler.drift import explain_changes
from reconciler.engine.hands import Hands
from reconciler.engine.models import look_at_models
from reconciler.engine.observe import Observation, observe
from reconciler.errors import ManifestInvalid, ReconcilerError, Unplannable
from reconciler.estimate import estimate
from reconciler.model import (
    ABSENT,
    Absent,
    Action,
    Address,
    Cause,
    Estimate,
    Finding,
    GuardLimits,
    Inputs,
    Json,
    Manifest,
    Plan,
    Reason,
    Refresh,
    Refreshing,
    Resource,
    SecretReference,
    Snapshot,
    Step,
)
from reconciler.plan import Wish, find_not_observable, make_removal, make_step


@dataclass(frozen=True)
class Order:
    """What a plan is asked for.

    `targets` limits it to these addresses and `excluded` leaves some out; `allowed` lifts guards
    (`guard` or `guard=ADDRESS`), `rotate` names addresses whose secrets are written again. `whole`
    says that all manifests of the project are there: only then is something that the ledger
    remembers an orphan, which `prune` destroys. `destroy` takes all away.
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
    refresh: str = "full"


@dataclass
class _Draft:
    """What has come together so far; only `make_plan` holds one."""

    wishes: list[Wish] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    unchanged: list[Resource] = field(default_factory=list)
    obstacles: list[Finding] = field(default_factory=list)


def make_plan(hands: Hands, order: Order) -> Plan:
    """The plan that leads from what is live to what the manifests declare.

    Raises ManifestInvalid or Unplannable with every obstacle that was found.
    """
    chosen = _choose(order)
    resources = _identify(hands, chosen, order.defaults)
    snapshot = hands.ledger.load()
    orphans = _find_orphans(order, snapshot)
    # What was renamed without saying so is still declared, under another address.
    kept = {resource.id.casefold() for resource in resources}
    leaving = [one for one in orphans if one.id.casefold() not in kept]
    leaving = leaving if order.prune or order.destroy else []
    calls = hands.calls
    for resource in (*resources, *leaving):
        hands.emit(Refreshing(resource))
    seen = observe(hands, [*resources, *leaving])
    draft = _Draft()
    for manifest, resource in zip(chosen, resources, strict=True):
        if order.destroy:
            _draft_removal(draft, seen[resource], Reason("", Cause.DESTROY, "--destroy"))
        else:
            _draft_one(hands, order, snapshot, draft, manifest, seen[resource])
    for resource in leaving:
        gone = Reason("", Cause.ORPHAN, "no manifest names it any more")
        _draft_removal(draft, seen[resource], gone)
    if draft.obstacles:
        raise Unplannable(tuple(draft.obstacles))
    steps, found = look_at_models(hands, draft.steps, draft.wishes, order.limits.blobs)
    judged = guards.judge(steps, order.limits, len(snapshot.memories), order.allowed)
    told = tuple(one for one in found if not guards.is_allowed(one, order.allowed))
    return Plan(
        steps=tuple(steps),
        unchanged=tuple(draft.unchanged),
        findings=(*judged, *told),
        inputs=order.inputs,
        refresh=Refresh(order.refresh, len(seen), len(seen), hands.calls - calls),
        made_at=hands.clock().strftime("%Y-%m-%dT%H:%M:%SZ"),
        baseline="kept" if snapshot.known else "lost",
        orphans=tuple(one for one in orphans if one not in leaving),
        not_observable=_hidden(draft.wishes),
        estimate=_estimate(hands, steps, hands.calls - calls),
    )


def _estimate(hands: Hands, steps: Sequence[Step], spent: int) -> Estimate:
    """What the apply will take where it follows at once; kinds are told apart by their pace."""
    found = [
        estimate(
            [step for step in steps if step.resource.address.kind == name],
            provider.pace,
            hands.parallelism,
            spent,
        )
        for name, provider in hands.providers.items()
    ]
    return Estimate(
        writes=sum(one.writes for one in found),
        reads=sum(one.reads for one in found),
        seconds=sum(one.seconds for one in found),
    )


def _find_orphans(order: Order, snapshot: Snapshot) -> list[Resource]:
    """What the ledger remembers and no manifest names, by address."""
    declared = {manifest.address for manifest in order.manifests}
    if not order.whole or order.targets:
        return []
    gone = sorted(set(snapshot.memories) - declared - set(order.excluded))
    return [Resource(address, snapshot.memories[address].id) for address in gone]


def _draft_removal(draft: _Draft, seen: Observation, because: Reason) -> None:
    """Take a resource away, where there is one."""
    if seen.live is None:
        draft.obstacles.extend(one for one in (seen.finding,) if one)
    elif seen.live is ABSENT:
        draft.unchanged.append(seen.resource)
    else:
        draft.steps.append(make_removal(seen.resource, seen.live.document, because))


def _hidden(wishes: Sequence[Wish]) -> Mapping[str, tuple[str, ...]]:
    named = {str(wish.resource.address): find_not_observable(wish) for wish in wishes}
    return {address: pointers for address, pointers in named.items() if pointers}


def _choose(order: Order) -> list[Manifest]:
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


def _identify(
    hands: Hands, manifests: Sequence[Manifest], defaults: Mapping[str, str]
) -> list[Resource]:
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


def _draft_one(
    hands: Hands,
    order: Order,
    snapshot: Snapshot,
    draft: _Draft,
    manifest: Manifest,
    seen: Observation,
) -> None:
    if seen.live is None:
        draft.obstacles.extend(one for one in (seen.finding,) if one)
        return
    document: Json | Absent = ABSENT if seen.live is ABSENT else seen.live.document
    kind = hands.kinds[manifest.address.kind]
    declared = kind.bind(manifest, document)
    secrets = {
        pointer: SecretReference(**given)
        for pointer, given in manifest.spec.get("secrets", {}).items()
    }
    wish = Wish(
        resource=seen.resource,
        schema=kind.field,
        live=document,
        declared=declared,
        secrets=secrets,
        memory=snapshot.memories.get(manifest.address),
        ledger_known=snapshot.known,
        rotate=manifest.address in order.rotate,
    )
    step = None if declared.findings else make_step(wish)
    draft.obstacles.extend(declared.findings)
    draft.wishes.append(wish)
    if step is None:
        draft.unchanged.append(seen.resource)
        return
    draft.obstacles.extend(_obstacles(hands, manifest, step))
    draft.steps.append(
        replace(step, labels=manifest.labels, because=tuple(explain_changes(wish, step.changes)))
    )


def _obstacles(hands: Hands, manifest: Manifest, step: Step) -> Iterator[Finding]:
    """What would stop the step at the service, found before the first call is made."""
    due = dict(step.secrets)
    kind = hands.kinds[manifest.address.kind]
    if step.action is Action.UPDATE:
        yield from kind.find_refusals(manifest, step.before)
    if step.extent == "whole":
        forced = tuple(
            f"{at} cannot be changed in place, so it is replaced." for at in step.replace_paths
        )
        for finding in kind.find_missing(manifest, step):
            yield replace(finding, detail=(*finding.detail, *forced))
    for pointer, reference in due.items():
        try:
            hands.resolve(reference)
        except ReconcilerError as error:
            place = manifest.place("/spec/secrets/" + pointer.replace("~", "~0").replace("/", "~1"))
            for finding in error.findings():
                yield replace(finding, subject=str(manifest.address), place=place)

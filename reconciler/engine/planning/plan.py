"""Making a plan: read, bind, compare, look at the models, judge.

Everything that keeps a plan from being made is found in one run and raised together; what
merely forbids applying it is kept in the plan.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from reconciler.document.pointers import format_pointer
from reconciler.document.schema import Field
from reconciler.engine.blob_checks import look_at_models
from reconciler.engine.observe import Observation, Survey, observe
from reconciler.engine.planning.selection import Order, choose, identify, resolve
from reconciler.engine.planning.sources import Seed, find_seeds, look_at_copies, tell_source
from reconciler.engine.runtime import Hands
from reconciler.errors import ReconcilerError, Unplannable
from reconciler.model import (
    ABSENT,
    Absent,
    Address,
    Cause,
    Declared,
    Estimate,
    Finding,
    Folded,
    Json,
    Manifest,
    Member,
    ModelReference,
    Plan,
    Reason,
    Resource,
    SecretReference,
    Snapshot,
    Step,
)
from reconciler.plans import guards
from reconciler.plans.estimate import estimate
from reconciler.plans.reasons import explain_changes, format_author
from reconciler.plans.step import Wish, make_removal, make_step
from reconciler.plans.waves import find_pause, name_items, stage_members
from reconciler.ports import ChecksScopes, ChecksSteps, ClonesFrom, Kind, KnowsOwner, ShowsPeers


@dataclass
class _Draft:
    """What has come together so far; only `make_plan` holds one."""

    hands: Hands
    order: Order
    wishes: list[Wish] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    unchanged: list[Resource] = field(default_factory=list)
    obstacles: list[Finding] = field(default_factory=list)
    hidden: dict[str, tuple[str, ...]] = field(default_factory=dict)
    last_set: dict[str, Mapping[str, str]] = field(default_factory=dict)
    owners: dict[Address, str] = field(default_factory=dict)
    doubts: list[Finding] = field(default_factory=list)

    def add(self, step: Step, seen: Observation) -> None:
        """Take in a step that is all told: from now on its documents are seldom asked for."""
        self.owners.update(find_owners(self.hands, self.order, [step]))
        self.steps.append(step.fold(seen.document if isinstance(seen.document, Folded) else None))

    def take(self, findings: Iterable[Finding]) -> None:
        """What refuses the plan and can be allowed, or only warns, is kept in it."""
        for found in findings:
            kept = found.guard or found.severity == "warning"
            (self.doubts if kept else self.obstacles).append(found)


def make_plan(hands: Hands, order: Order) -> Plan:
    """The plan that leads from what is live to what the manifests declare.

    Raises ManifestInvalid or Unplannable with every obstacle that was found.
    """
    snapshot = hands.ledger.load()
    order = resolve(order, snapshot)
    chosen = choose(order)
    resources = identify(hands, chosen, order.defaults)
    orphans = _find_orphans(order, snapshot)
    # What was renamed without saying so is still declared, under another address.
    kept = {resource.id.casefold() for resource in resources}
    leaving = [one for one in orphans if one.id.casefold() not in kept]
    leaving = leaving if order.prune or order.destroy else []
    calls = hands.calls
    seen = observe(hands, [*resources, *leaving], order.refresh)
    draft = _Draft(hands, order)
    wanted = dict(zip(resources, chosen, strict=True))
    seeds, seen = find_seeds(hands, order, wanted, seen)
    _draft_wanted(draft, snapshot, wanted, seen, seeds)
    for resource in leaving:
        gone = Reason("", Cause.ORPHAN, "no manifest names it any more")
        memory = snapshot.memories[resource.address]
        _draft_removal(draft, seen[resource], gone, memory.wave, memory.fleet)
    draft.take(find_conflicts(hands, draft.steps, wanted, order))
    copied, missing = look_at_copies(hands, draft.steps)
    if draft.obstacles or missing:
        raise Unplannable(tuple(name_items((*draft.obstacles, *missing), chosen)))
    refresh = replace(seen.refresh, calls=hands.calls - calls)
    staged, rollouts = stage_members(copied, order.rollouts)
    steps, found = look_at_models(hands, staged, draft.wishes, order.limits.blobs)
    known = len(snapshot.memories)
    judged = guards.judge(steps, order.limits, known, order.allowed, draft.owners)
    told = guards.lift((*draft.doubts, *found), order.allowed)
    return Plan(
        steps=tuple(steps),
        unchanged=tuple(draft.unchanged),
        findings=tuple(name_items((*judged, *told, *_tell_open(snapshot, seen)), chosen)),
        inputs=order.inputs,
        refresh=refresh,
        made_at=hands.clock().strftime("%Y-%m-%dT%H:%M:%SZ"),
        baseline="kept" if snapshot.known else "lost",
        orphans=tuple(one for one in orphans if one not in leaving),
        not_observable=draft.hidden,
        last_set=draft.last_set,
        estimate=estimate_steps(hands, steps, refresh.calls, find_pause(steps, rollouts)),
        rollouts=rollouts,
    )


def _draft_wanted(
    draft: _Draft,
    snapshot: Snapshot,
    wanted: Mapping[Resource, Manifest],
    seen: Survey,
    seeds: Mapping[Resource, Seed],
) -> None:
    """What the manifests want, each of its resource; where all is to go, that it goes."""
    hands, order = draft.hands, draft.order
    for resource, manifest in wanted.items():
        if order.destroy:
            because = Reason("", Cause.DESTROY, "--destroy")
            wave, member = manifest.spec.get("wave", 0), manifest.member
            fleet = member.fleet if member else None
            _draft_removal(draft, seen[resource], because, wave, fleet, member)
        else:
            wish = make_wish(hands, order, snapshot, manifest, seen[resource], seeds.get(resource))
            _draft_one(hands, draft, manifest, seen[resource], wish, seeds.get(resource))


def _tell_open(snapshot: Snapshot, seen: Survey) -> Iterator[Finding]:
    """What somebody began, of which nobody has written down yet what came of it."""
    asked = {resource.id.casefold() for resource in seen.seen}
    for intent in snapshot.open:
        if intent.id.casefold() in asked:
            yield Finding(
                f"an apply by {intent.by} has begun to {intent.action} it, at {intent.at},"
                " and has not told how that ended",
                subject=str(intent.address),
                next_step="If nobody is applying now, it was cut off: apply finds out first.",
                severity="warning",
            )


def find_owners(hands: Hands, order: Order, steps: Sequence[Step]) -> Mapping[Address, str]:
    """Who else manages what a step would change, where somebody does."""
    owners: dict[Address, str] = {}
    for step in steps:
        kind = hands.kinds[step.resource.address.kind]
        if isinstance(kind, KnowsOwner) and step.before is not ABSENT:
            owner = kind.find_owner(step.before, order.inputs.project)
            owners |= {step.resource.address: owner} if owner else {}
    return owners


def estimate_steps(
    hands: Hands, steps: Sequence[Step], spent: int, pause_s: float = 0.0
) -> Estimate:
    """What the apply will take where it follows at once; kinds are told apart by their pace."""
    by_kind: dict[str, list[Step]] = {}
    for step in steps:
        by_kind.setdefault(step.resource.address.kind, []).append(step)
    found = [
        estimate(of_kind, hands.timing(name), hands.parallelism, spent)
        for name, of_kind in by_kind.items()
    ]
    return Estimate(
        writes=sum(one.writes for one in found),
        reads=sum(one.reads for one in found),
        seconds=sum(one.seconds for one in found) + pause_s,
    )


def _find_orphans(order: Order, snapshot: Snapshot) -> list[Resource]:
    """What the ledger remembers and no manifest names, by address.

    Targets leave alone what they do not name, and it is not told.
    """
    declared = {manifest.address for manifest in order.manifests}
    if not order.whole:
        return []
    gone = set(snapshot.memories) - declared - set(order.excluded)
    if order.targets:
        gone &= set(order.targets)
    return [snapshot.memories[address].resource(address) for address in sorted(gone)]


def _draft_removal(
    draft: _Draft,
    seen: Observation,
    because: Reason,
    wave: int,
    fleet: Address | None,
    member: Member | None = None,
) -> None:
    """Take a resource away, where there is one."""
    if seen.document is None:
        draft.obstacles.extend(one for one in (seen.finding,) if one)
    elif isinstance(seen.document, Absent):
        draft.unchanged.append(seen.resource)
    else:
        gone = make_removal(seen.resource, seen.document.open(), because)
        draft.add(gone.having(wave=wave, fleet=fleet, member=member), seen)


def find_hidden(wishes: Sequence[Wish]) -> Mapping[str, tuple[str, ...]]:
    """What each wish declares and the service never shows, by address."""
    return {
        str(wish.resource.address): wish.not_observable for wish in wishes if wish.not_observable
    }


def find_last_set(wishes: Sequence[Wish]) -> Mapping[str, Mapping[str, str]]:
    """When and by whom what the service does not show was last set, as far as it is remembered."""
    said = {
        str(wish.resource.address): {
            pointer: format_author(wish.memory)
            for pointer in wish.not_observable
            if pointer in wish.memory.owned or pointer in wish.memory.secrets
        }
        for wish in wishes
        if wish.memory is not None
    }
    return {address: pointers for address, pointers in said.items() if pointers}


def find_conflicts(
    hands: Hands, steps: Sequence[Step], wanted: Mapping[Resource, Manifest], order: Order
) -> Iterator[Finding]:
    """What speaks against the steps of each scope together, beside all that is there."""
    scopes: dict[tuple[str, str], list[Step]] = {}
    for step in steps:
        kind = hands.kinds[step.resource.address.kind]
        scopes.setdefault((kind.name, kind.scope(step.resource)), []).append(step)
    for (name, _), found in scopes.items():
        kind, provider = hands.kinds[name], hands.providers[name]
        if isinstance(kind, ChecksScopes):
            peers: Sequence[Json] = ()
            if isinstance(provider, ShowsPeers) and order.refresh != "none":
                peers = provider.find_peers(found[0].resource)
            named = [(wanted.get(step.resource), step) for step in found]
            yield from kind.check_scope(named, peers)


def _draft_one(
    hands: Hands,
    draft: _Draft,
    manifest: Manifest,
    seen: Observation,
    wish: Wish | None,
    seed: Seed | None,
) -> None:
    if wish is None or (seed is not None and seed.obstacles):
        draft.obstacles.extend(one for one in (seen.finding,) if one)
        draft.obstacles.extend(seed.obstacles if seed is not None else ())
        return
    step = None if wish.declared.findings else make_step(wish)
    draft.obstacles.extend(wish.declared.findings)
    draft.hidden.update(find_hidden([wish]))
    draft.last_set.update(find_last_set([wish]))
    # What is live is not asked for again, and that of thousands would fill the memory.
    draft.wishes.append(replace(wish, live=ABSENT))
    if step is None:
        draft.unchanged.append(seen.resource)
        return
    step = tell_source(hands, step, seed)
    draft.take(find_obstacles(hands, manifest, step, wish.declared.models))
    told = step.having(
        labels=manifest.labels,
        because=tuple(explain_changes(wish, step.changes)),
        wave=manifest.spec.get("wave", 0),
        fleet=manifest.member.fleet if manifest.member else None,
        member=manifest.member,
    )
    draft.add(told, seen)


def find_obstacles(
    hands: Hands, manifest: Manifest, step: Step, models: Sequence[ModelReference]
) -> Iterator[Finding]:
    """What would stop the step at the service, found before the first call is made."""
    kind = hands.kinds[manifest.address.kind]
    forced = tuple(
        f"{at} cannot be changed in place, so it is replaced." for at in step.replace_paths
    )
    for finding in kind.check_step(manifest, step) if isinstance(kind, ChecksSteps) else ():
        detail = finding.detail if finding.guard else (*finding.detail, *forced)
        yield replace(finding, detail=detail)
    yield from _find_unsealed(kind.field, manifest, step)
    for pointer, reference in step.secrets:
        try:
            hands.resolve(reference)
        except ReconcilerError as error:
            place = manifest.place(_find_reference(models, pointer))
            for finding in error.findings():
                yield replace(finding, subject=str(manifest.address), place=place)


def _find_reference(models: Sequence[ModelReference], pointer: str) -> str:
    """Where a manifest refers to a secret: by its place, or beside the model that it opens."""
    for model in models:
        if model.sas is not None and model.entry and format_pointer(model.sas_path) == pointer:
            return f"{model.entry}/sas"
    return format_pointer(("spec", "secrets", pointer))


def _find_unsealed(root: Field, manifest: Manifest, step: Step) -> Iterator[Finding]:
    """Credentials declared in the clear over cipher text: no plan may hold them."""
    for change in step.changes:
        sealed = root.at(change.path).is_sealed(change.after)
        if change.sealed_by and isinstance(change.after, dict) and not sealed:
            pointer = format_pointer(change.path)
            yield Finding(
                f"{pointer} is a credential, which the service keeps sealed;"
                " it stands here in the clear",
                subject=str(manifest.address),
                place=manifest.place(f"/spec/definition{pointer}"),
                next_step="Leave it out: what is not declared stays as it is.",
            )


def make_wish(
    hands: Hands,
    order: Order,
    snapshot: Snapshot,
    manifest: Manifest,
    seen: Observation,
    seed: Seed | None = None,
) -> Wish | None:
    """What a manifest wants of what was seen; None where that could not be read."""
    if seen.document is None:
        return None
    document = seen.document.open() if isinstance(seen.document, Folded) else ABSENT
    kind = hands.kinds[manifest.address.kind]
    return Wish(
        resource=seen.resource,
        schema=kind.field,
        live=document,
        declared=_bind(kind, manifest, document, seed),
        secrets={
            pointer: SecretReference(**given)
            for pointer, given in manifest.spec.get("secrets", {}).items()
        },
        memory=snapshot.memories.get(manifest.address),
        ledger_known=snapshot.known,
        rotate=manifest.address in order.rotate,
    )


def _bind(kind: Kind, manifest: Manifest, live: Json | Absent, seed: Seed | None) -> Declared:
    if live is ABSENT and seed is not None and isinstance(kind, ClonesFrom):
        return kind.bind_clone(manifest, seed.document)
    return kind.bind(manifest, live)

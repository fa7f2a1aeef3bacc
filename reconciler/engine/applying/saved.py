"""Judges a saved plan by the project as it is now: its guards, its manifests and its ledger.

A plan file is only a claim about what is protected: anyone can compute its digest. So each guard
is judged again over the steps that the apply will run. The apply command calls this module before
the first write. It sends no write.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from reconciler.document.diff import same
from reconciler.document.pointers import find, format_pointer, split_pointer
from reconciler.engine.applying.admission import expand_fleets
from reconciler.engine.blob_checks import check_planned_models
from reconciler.engine.planning.selection import PlanRequest
from reconciler.engine.planning.step_checks import check_conflicts
from reconciler.engine.runtime import Runtime
from reconciler.errors import ManifestInvalid, StalePlan, Unplannable
from reconciler.model import (
    ABSENT,
    Absent,
    Action,
    Address,
    Finding,
    Json,
    LastApplied,
    Manifest,
    ModelReference,
    Path,
    Plan,
    Resource,
    Step,
)
from reconciler.model.values import dataclass
from reconciler.plans import guards
from reconciler.plans.evidence import PLAN_AGAIN
from reconciler.plans.waves import name_item
from reconciler.ports import ChecksSteps, ClonesFrom, Kind


def judge_saved_plan(runtime: Runtime, plan: Plan, request: PlanRequest) -> Plan:
    """Return the plan with every finding of the guards now, and only the lifts that hold.

    `request` has the limits and the manifests of the project as they are now; its flags are not
    used. A plan that refuses itself stays as it is. Raises Unplannable for a step that
    the service would refuse, and StalePlan for one that neither manifests nor ledger lead to.
    """
    if plan.refused:
        return plan
    declared = {one.address: one for one in request.manifests}
    remembered = runtime.ledger.load().last_applied_by_address
    steps = _check_claims(runtime, plan.steps, request, declared, remembered)
    permitted = guards.permit(plan.inputs.allowed, request.limits)
    allowed = expand_fleets(permitted, plan.steps)
    found = tuple(_judge(runtime, plan, request, declared, remembered))
    obstacles = tuple(one for one in found if one.severity == "error" and not one.guard)
    if obstacles:
        raise Unplannable(obstacles)
    refused = (one for one in guards.allow(found, allowed) if one.severity == "error")
    return replace(
        plan,
        steps=steps,
        findings=(*plan.findings, *refused),
        inputs=replace(plan.inputs, allowed=tuple(sorted(permitted))),
    )


def _check_claims(
    runtime: Runtime,
    steps: Sequence[Step],
    request: PlanRequest,
    declared: Mapping[Address, Manifest],
    remembered: Mapping[Address, LastApplied],
) -> tuple[Step, ...]:
    """Return the steps with only the owned paths that something besides the plan confirms.

    Raises StalePlan for an id, a token or a source that the project does not have now.
    """
    stale: list[Finding] = []
    confirmed: list[Step] = []
    for step in steps:
        address = step.resource.address
        claim = _Claim(runtime, step, declared.get(address), remembered.get(address))
        stale.extend(name_item(one, step.member) for one in claim.check(request, declared))
        confirmed.append(claim.confirm())
    if stale:
        raise StalePlan(tuple(stale))
    return tuple(confirmed)


@dataclass(frozen=True)
class _Claim:
    """One step of a saved plan, with its manifest and its last applied state as they are now."""

    runtime: Runtime
    step: Step
    manifest: Manifest | None
    last_applied: LastApplied | None

    @property
    def kind(self) -> Kind:
        return self.runtime.kinds[self.step.resource.address.kind]

    def check(
        self, request: PlanRequest, declared: Mapping[Address, Manifest]
    ) -> Iterator[Finding]:
        """Yield a finding for an id, a token or a source that the project does not have."""
        resource = self.step.resource
        yield from self._check_name(request)
        known = list(self._identify(request))
        ours = [one for one in known if one.id.casefold() == resource.id.casefold()]
        if known and not ours:
            yield self._differ("the id", resource.id)
        located = self.kind.locate(resource.address, resource.id, request.defaults)
        if str(resource.token) not in {str(one.token) for one in ours or [located]}:
            yield self._differ("the token", str(resource.token))
        source = self.step.source
        if self.step.action is Action.CREATE and self.manifest is not None:
            wanted = self._find_source(self.manifest, request, declared)
            if (source.id if source else "").casefold() != wanted.casefold():
                yield self._differ("the source", source.id if source else "no other resource")

    def _check_name(self, request: PlanRequest) -> Iterator[Finding]:
        """Yield a finding if a name in the manifest now means another id than that of the plan."""
        manifest, resource = self.manifest, self.step.resource
        if manifest is None or self.step.action is Action.DELETE:
            return
        named = self.runtime.find_named_part(manifest, request.defaults)
        if named is None:
            return
        now = self.runtime.identify(manifest, request.defaults)
        if now.id.casefold() != resource.id.casefold():
            yield Finding(
                f'Saved plan is stale: the {named.noun} "{named.name}" is another one now',
                subject=str(resource.address),
                detail=(f"The plan changes: {resource.id}", f"The name means:   {now.id}"),
                next_step=PLAN_AGAIN,
            )

    def _identify(self, request: PlanRequest) -> Iterator[Resource]:
        if self.last_applied is not None:
            yield self.last_applied.resource(self.step.resource.address)
        if self.manifest is not None:
            with contextlib.suppress(ManifestInvalid):
                yield self.runtime.identify(self.manifest, request.defaults)

    def _find_source(
        self, manifest: Manifest, request: PlanRequest, declared: Mapping[Address, Manifest]
    ) -> str:
        """Return the id of the source that the manifest names now; empty without one."""
        if not isinstance(self.kind, ClonesFrom):
            return ""
        try:
            named = self.kind.find_source(manifest, request.defaults)
            if isinstance(named, Address):
                return self.runtime.identify(declared[named], request.defaults).id
        except (ManifestInvalid, KeyError):
            return ""
        return named.id if named is not None else ""

    def _differ(self, what: str, said: str) -> Finding:
        return Finding(
            f"Saved plan is stale: neither the manifests nor the ledger have {what} of the plan",
            subject=str(self.step.resource.address),
            detail=(said,),
            next_step=PLAN_AGAIN,
        )

    def confirm(self) -> Step:
        """Return the step with the owned paths that a change, the ledger or the manifest has.

        The others are not remembered: who made the file may have added them.
        """
        changed = {format_pointer(change.path) for change in self.step.changes}
        owned = (one for one in self.step.owned_paths if one not in changed)
        left = [one for one in owned if not self._is_written(split_pointer(one))]
        if left and self.last_applied is not None:
            known = self.last_applied.owned
            left = [one for one in left if not self._holds(one, known.get(one, ABSENT))]
        if left and self.manifest is not None:
            document = self.kind.bind(self.manifest, self.step.before).document
            left = [one for one in left if not self._holds(one, find(document, split_pointer(one)))]
        if not left:
            return self.step
        kept = tuple(one for one in self.step.owned_paths if one not in left)
        return self.step.copy_with(owned_paths=kept)

    def _is_written(self, path: Path) -> bool:
        """Whether a change of the step, which is shown, has the value of a place."""
        return any(
            change.path[: len(path)] == path
            or (
                path[: len(change.path)] == change.path
                and find(change.after, path[len(change.path) :]) is not ABSENT
            )
            for change in self.step.changes
        )

    def _holds(self, pointer: str, value: Json | Absent) -> bool:
        """Whether somebody else has this place; where live does not show it, also this value."""
        path = split_pointer(pointer)
        shown = find(self.step.before, path) is not ABSENT
        return value is not ABSENT and (
            shown or same(self.kind.field.at(path), value, find(self.step.after, path))
        )


def _judge(
    runtime: Runtime,
    plan: Plan,
    request: PlanRequest,
    declared: Mapping[Address, Manifest],
    remembered: Mapping[Address, LastApplied],
) -> Iterator[Finding]:
    """Yield what the guards and the kinds say against the steps, as if nothing were lifted."""
    named = {step.resource: Manifest(step.resource.address, {}, "", "") for step in plan.steps}
    managed = _count_managed(plan.steps, declared, remembered)
    yield from guards.check_guards(plan.steps, request.limits, managed, ())
    yield from guards.check_unread(_list_leaving(plan.steps, declared), request.unread)
    for step in plan.steps:
        kind = runtime.kinds[step.resource.address.kind]
        if step.action is not Action.DELETE and isinstance(kind, ChecksSteps):
            found = kind.check_step(named[step.resource], step)
            yield from (name_item(one, step.member) for one in found)
    for step in plan.steps:
        if step.action is Action.DELETE:
            named.pop(step.resource)
    yield from check_conflicts(runtime, plan.steps, named)
    references = dict(_bind_models(runtime, plan.steps, declared))
    yield from check_planned_models(runtime, plan.steps, references, request.limits.blobs)


def _count_managed(
    steps: Sequence[Step],
    declared: Collection[Address],
    remembered: Mapping[Address, LastApplied],
) -> int:
    """Return how many resources a percentage is taken of; no read is made for this.

    A step without a manifest counts if its resource exists.
    """
    made = [step.resource.address for step in steps if step.action is Action.CREATE]
    changed = [step.resource.address for step in steps if step.action is not Action.CREATE]
    return guards.count_managed((*declared, *changed), made, remembered)


def _list_leaving(steps: Sequence[Step], declared: Collection[Address]) -> list[Resource]:
    """Return the resources that a plan prunes: no manifest declares them now.

    A plan that deletes a declared resource as well is one of --destroy, which prunes nothing.
    """
    gone = [step.resource for step in steps if step.action is Action.DELETE]
    return [] if any(one.address in declared for one in gone) else gone


def _bind_models(
    runtime: Runtime, steps: Sequence[Step], declared: Mapping[Address, Manifest]
) -> Iterator[tuple[Resource, Sequence[ModelReference]]]:
    """Yield the models that the manifests declare now, for each step that writes a model."""
    for step in steps:
        manifest = declared.get(step.resource.address)
        if step.models and manifest is not None:
            kind = runtime.kinds[manifest.address.kind]
            live = step.before if step.before is not ABSENT else step.after
            yield step.resource, kind.bind(manifest, live).models

"""Checks a plan before the first write of an apply.

A saved plan may only do what a plan of these kinds can do. The limit of calls must be sufficient,
the secrets must be available, and live must still meet the preconditions of the plan. These
checks write nothing. The apply command and `apply_plan` call them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from reconciler.document.diff import diff, is_omitted, make_change
from reconciler.document.patch import apply_changes
from reconciler.document.pointers import copy_along, find, format_pointer, set_at, split_pointer
from reconciler.document.schema import Field
from reconciler.engine.observe import ObservedResources, observe
from reconciler.engine.runtime import Runtime, knows_owner
from reconciler.engine.step_parts import list_parts
from reconciler.errors import (
    ManifestInvalid,
    PlanInvalid,
    PlanRefused,
    ReconcilerError,
    StalePlan,
    Unplannable,
)
from reconciler.model import (
    ABSENT,
    Absent,
    Action,
    Address,
    Change,
    Fact,
    Finding,
    Inputs,
    LastApplied,
    Live,
    Plan,
    Resource,
    SecretReference,
    Step,
    Verb,
)
from reconciler.model.values import dataclass
from reconciler.plans import guards
from reconciler.plans.evidence import PLAN_AGAIN, check_done, check_stale
from reconciler.plans.history import CHECKS
from reconciler.plans.parts import join_parts
from reconciler.plans.step import list_leaves
from reconciler.plans.waves import name_item
from reconciler.ports import ClonesFrom, Kind


def check_admission(plan: Plan, kinds: Mapping[str, Kind], name: str) -> None:
    """Raise PlanInvalid for a plan that this program cannot have made; `name` is its file."""
    for step in plan.steps:
        for what in _check_step_admission(step.open(), kinds):
            raise PlanInvalid(
                f"not a plan that this reconciler made: {step.resource.address}: {what}",
                subject=name,
                next_step=f"Make a new plan: reconciler plan --out {name}",
            )


def _check_step_admission(step: Step, kinds: Mapping[str, Kind]) -> Iterator[str]:
    """Yield invalid ids, secrets at visible places, and writes that the patch does not cover."""
    kind = kinds.get(step.resource.address.kind)
    if kind is None:
        yield "unknown kind"
        return
    ids = [step.resource.id] + ([step.source.id] if step.source is not None else [])
    yield from (
        f"{one} is not a resource id" for one in ids if not _is_id(kind, step.resource.address, one)
    )
    for pointer, reference in step.secrets:
        if not kind.field.at(split_pointer(pointer)).secret:
            yield f"{pointer} is not the place of a secret"
        yield from _check_signature(kind.field, step, pointer, reference)
    for path in map(split_pointer, step.owned_paths):
        if path not in list_leaves(kind.field.at(path), find(step.after, path), path):
            yield f"{format_pointer(path)} is not a value that can be declared"
    if step.action is not Action.DELETE:
        for change in step.changes:
            yield from _check_change(kind.field, step, change)
        yield from _check_result(kind.field, step)
    yield from _check_region(kind, step)


def _check_change(root: Field, step: Step, change: Change) -> Iterator[str]:
    """Yield what the schema says otherwise about a change than the plan."""
    field, pointer = root.at(change.path), format_pointer(change.path)
    if change.verb is not Verb.WRITE:
        made = make_change(field, change.path, change.verb, change.before, change.after)
        if made.sealed_by != change.sealed_by:
            yield f"the patch does not test the whole value at {pointer}"
        elif made != change:
            yield f"the change of {pointer} is not described as the schema describes it"
        return
    secret = isinstance(change.after, SecretReference)
    again = field.model and any(one.called for one in step.changes)
    hidden = again or field.write_only or is_omitted(root, change.path, step.before)
    if not (field.secret if secret else hidden):
        yield f"{pointer} must be written by the patch"
    if change != replace(_PLAIN, path=change.path, after=change.after, sensitive=secret):
        yield f"the change of {pointer} is not described as the schema describes it"


_PLAIN: Final = Change((), Verb.WRITE, ABSENT, None)


def _check_signature(
    root: Field, step: Step, pointer: str, reference: SecretReference
) -> Iterator[str]:
    """Yield a message for a secret that goes along and is not the signature of a model."""
    path = split_pointer(pointer)
    if any(change.path == path and change.after == reference for change in step.changes):
        return
    owned = (split_pointer(one) for one in step.owned_paths)
    if not any(one[:-1] == path[:-1] and root.at(one).model for one in owned):
        yield f"{pointer} is not the place of a model's signature"


def _check_result(root: Field, step: Step) -> Iterator[str]:
    """Yield the places where the definition after the step is not what its changes make."""
    made = apply_changes(step.ops, step.before)
    for change in step.changes:
        if change.verb is Verb.WRITE and not isinstance(change.after, SecretReference):
            made = copy_along(made, [change.path])
            set_at(made, change.path, change.after)
    for other in diff(root, made, step.after):
        yield f"{format_pointer(other.path)} is not what the changes make of it"
    changed = {change.path for change in step.changes}
    for path in map(split_pointer, step.owned_paths) if step.models else ():
        hidden = root.at(path).model and is_omitted(root, path, step.before)
        if hidden and step.before is not ABSENT and path not in changed:
            yield f"{format_pointer(path)} is sent, and no change shows it"


def _check_region(kind: Kind, step: Step) -> Iterator[str]:
    """Yield a message for a source that the kind does not have, or for the wrong region of it."""
    source = step.source
    if step.action is Action.REPLACE and isinstance(kind, ClonesFrom):
        region = kind.find_region(step.before, step.after)
        if region != (source.region if source is not None else ""):
            yield "its source does not match its new region"
    elif source is not None:
        known = isinstance(kind, ClonesFrom) and {"", kind.find_region({}, step.after)}
        if not known or source.region not in known:
            yield "its source does not match its region"


def _is_id(kind: Kind, address: Address, resource_id: str) -> bool:
    """Whether a text is a complete resource id of the kind."""
    try:
        located = kind.locate(address, resource_id, {})
    except ManifestInvalid:
        return False
    return located.id.casefold() == resource_id.rstrip("/").casefold()


def check_calls(runtime: Runtime, plan: Plan) -> None:
    """Raise TooManyCalls if the apply needs more calls than the limit still allows."""
    runtime.rate_limiter.check(plan.estimate.reads + plan.estimate.writes)


def check_secrets(runtime: Runtime, steps: Sequence[Step]) -> None:
    """Raise Unplannable with every secret that cannot be resolved; no secret is kept."""
    missing: list[Finding] = []
    for step in steps:
        for _, reference in step.secrets:
            try:
                runtime.resolve(reference)
            except ReconcilerError as error:
                subject, detail = str(step.resource.address), (f"{reference}",)
                found = (replace(one, subject=subject, detail=detail) for one in error.findings())
                missing.extend(name_item(one, step.member) for one in found)
    if missing:
        raise Unplannable(tuple(missing))


@dataclass(frozen=True)
class CheckedSteps:
    """The steps of a plan after they were compared with live.

    `left` are the steps to do. `done` are those that an earlier run has done and that still hold.
    `gone` are the deletions of resources that are already gone. `begun` has, for each step in
    `left` of which an earlier run has done a part, the number of its writes that are done.
    """

    left: Sequence[Step]
    done: Sequence[Step]
    gone: Sequence[Step]
    begun: Mapping[Resource, int]


def check_steps(
    runtime: Runtime,
    steps: Sequence[Step],
    before: Mapping[Resource, LastApplied],
    inputs: Inputs,
    facts: Mapping[tuple[str, str], Fact],
) -> CheckedSteps:
    """Read the resource of every step, and sort the steps.

    `before` has what the ledger recorded for each step that an earlier run of the plan has done, or
    of which it has done some writes; `facts` say whether its checks have passed. Such a step is
    done again if live again meets its preconditions.

    Raises StalePlan if live does not meet the preconditions of a step or cannot be read. Raises
    PlanRefused if live names another manager; the document of the plan need not be live any more.
    """
    sources = {step.resource: _find_regional(step) for step in steps}
    named = [step.resource for step in steps]
    seen = observe(runtime, [*named, *(one for one in sources.values() if one)])
    unread = tuple(one.finding for one in seen.seen.values() if one.finding is not None)
    if unread:
        raise StalePlan(unread)
    stale: list[Finding] = []
    left: list[Step] = []
    done: list[Step] = []
    gone: list[Step] = []
    begun: dict[Resource, int] = {}
    owners: dict[Address, str] = {}
    for step in steps:
        live = seen[step.resource].live
        if live is None:
            continue
        judged = _judge_step(runtime, step, live, before.get(step.resource), facts)
        if judged.done:
            done.append(step)
        elif live is ABSENT and step.action is Action.DELETE:
            gone.append(step)
        else:
            left.append(step)
            begun |= {step.resource: judged.begun} if judged.begun else {}
            owners |= _find_owner(runtime, step, live, inputs.project)
            stale.extend(judged.stale)
            stale.extend(_check_source(step, sources[step.resource], seen))
    if stale:
        raise StalePlan(tuple(stale))
    found = guards.allow(guards.check_owners(left, owners), expand_fleets(inputs.allowed, left))
    refused = tuple(one for one in found if one.severity == "error")
    if refused:
        raise PlanRefused(refused)
    return CheckedSteps(left, done, gone, begun)


@dataclass(frozen=True)
class _Judged:
    """Whether a step is done, or how many of its writes are, and why live does not fit the plan."""

    done: bool = False
    begun: int = 0
    stale: tuple[Finding, ...] = ()


def _judge_step(
    runtime: Runtime,
    step: Step,
    live: Live | Absent,
    last_applied: LastApplied | None,
    facts: Mapping[tuple[str, str], Fact],
) -> _Judged:
    """Compare a step with live, and with what an earlier run of the plan recorded of it."""
    kind = runtime.kinds[step.resource.address.kind]
    rest = _find_rest(kind, step, last_applied, facts) if last_applied is not None else None
    missed = tuple(check_stale(kind.field, step, live))
    if last_applied is None:
        return _Judged(stale=missed)
    if rest is not None and rest.step is not None:
        changed = tuple(check_stale(kind.field, rest.step, live))
    else:
        changed = tuple(check_done(kind.field, step, last_applied, live))
    if changed:
        return _Judged(stale=changed if missed else ())
    return _Judged(done=rest is None, begun=0 if rest is None else rest.done)


@dataclass(frozen=True)
class _Rest:
    """What an earlier run of the plan has left of a step of several writes.

    `done` writes are done, and `step` has the others; None if only checks are left.
    """

    done: int
    step: Step | None


def _find_rest(
    kind: Kind, step: Step, last_applied: LastApplied, facts: Mapping[tuple[str, str], Fact]
) -> _Rest | None:
    """Return what an earlier run has left of a step; None if it has left nothing.

    After a failed check the run has reverted the step, so that it has done nothing of it.
    """
    parts = list_parts(kind, step) if last_applied.parts else ()
    if not parts:
        return None
    number = last_applied.part
    if last_applied.parts == len(parts) and 0 < number < len(parts):
        return _Rest(number, join_parts(kind.field, step.open(), parts[number:]))
    if number != len(parts):
        return _Rest(0, step)
    proven = facts.get((CHECKS, str(step.resource.address)))
    said = proven.data if proven is not None else {}
    has_passed = said.get("passed") is True and said.get("step_digest") == last_applied.step_digest
    return None if has_passed or not parts[-1].write.checks else _Rest(number, None)


def _find_owner(
    runtime: Runtime, step: Step, live: Live | Absent, project: str
) -> Mapping[Address, str]:
    """Return the other manager that live names, by the address of the step; empty without one."""
    kind = runtime.kinds[step.resource.address.kind]
    if isinstance(live, Absent) or not knows_owner(kind):
        return {}
    owner = kind.find_owner(live.document, project)
    return {step.resource.address: owner} if owner else {}


def _check_source(
    step: Step, regional: Resource | None, seen: ObservedResources
) -> Iterator[Finding]:
    if regional is not None and step.source is not None and seen[regional].document is ABSENT:
        said = f"Saved plan is stale: {step.source.name}, which it starts from, is gone"
        yield Finding(said, subject=str(step.resource.address), next_step=PLAN_AGAIN)


def expand_fleets(allowed: Collection[str], steps: Iterable[Step]) -> frozenset[str]:
    """Return the values of `--allow`; the value for a fleet is also that of each member."""
    named = [one.partition("=") for one in allowed if "=" in one]
    members = (
        f"{guard}={step.resource.address}"
        for step in (steps if named else ())
        for guard, _, address in named
        if address == str(step.fleet)
    )
    return frozenset((*allowed, *members))


def _find_regional(step: Step) -> Resource | None:
    """Return the source whose regional copy provides the sealed secrets; it must still exist.

    Returns None if the step needs no other resource. All other values are in the plan.
    """
    source = step.source
    if source is None or not source.region or source.id == step.resource.id:
        return None
    return Resource(step.resource.address, source.id)

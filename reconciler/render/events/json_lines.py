"""Renders what happens during a command as JSON lines, with Terraform's message types and ours.

Each function returns one message without its time; `write_line` formats the message as a line.
No message contains a value of a resource. `schemas/output/events.schema.json` defines the form.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Final

from reconciler.model import (
    Action,
    Address,
    Agenda,
    CheckEnded,
    CheckStarted,
    CheckWaiting,
    CycleEnded,
    CycleStarted,
    DataUploaded,
    Drift,
    Finding,
    FleetStopped,
    IntentResolved,
    JobReported,
    Json,
    LockAwaited,
    ModelVerified,
    Outcome,
    Plan,
    Refreshed,
    Refreshing,
    Resource,
    Retrying,
    RevertStarted,
    RollbackStarted,
    RunJoined,
    ShownEvent,
    Step,
    StepDone,
    StepDoubted,
    StepFailed,
    StepHalted,
    StepSkipped,
    StepStarted,
    StepWaiting,
    Throttling,
    WavePaused,
    WaveStarted,
    WriteDelayed,
    WriteDone,
    WriteStarted,
)
from reconciler.model.watch import Cycle
from reconciler.plans.plan_file import has_drifted
from reconciler.render.events.console import describe
from reconciler.render.events.outcome import sum_up_outcome
from reconciler.render.events.writes import list_write_fields
from reconciler.render.findings import describe_diagnostic
from reconciler.render.plan.text import count_actions
from reconciler.render.words.colour import Paint
from reconciler.render.words.escape import cut, escape
from reconciler.text.counting import count

FORM: Final = "1.0"
_PLAIN: Final = Paint()
_LONGEST: Final = 600
_TYPES: Final[Mapping[type, str]] = {
    Agenda: "agenda",
    Refreshing: "refresh_start",
    LockAwaited: "lock_awaited",
    IntentResolved: "step_settled",
    WaveStarted: "wave_start",
    WavePaused: "wave_pause",
    FleetStopped: "fleet_stopped",
    StepStarted: "apply_start",
    StepWaiting: "apply_progress",
    StepDoubted: "step_doubted",
    StepDone: "apply_complete",
    StepFailed: "apply_errored",
    StepSkipped: "step_skipped",
    WriteDelayed: "write_delayed",
    WriteStarted: "write_start",
    WriteDone: "write_complete",
    CheckStarted: "check_start",
    CheckWaiting: "check_progress",
    RevertStarted: "revert_start",
    StepHalted: "step_halted",
    ModelVerified: "model_verified",
    RollbackStarted: "rollback_start",
    Retrying: "retrying",
    Throttling: "throttling",
    JobReported: "job_progress",
    DataUploaded: "data_upload",
    RunJoined: "run_joined",
    CycleStarted: "cycle_start",
    CycleEnded: "cycle_end",
}
_PLANNED: Final[Mapping[Action, str]] = {
    Action.CREATE: "Plan to create",
    Action.UPDATE: "Plan to update",
    Action.REPLACE: "Plan to replace",
    Action.DELETE: "Plan to delete",
    Action.FORGET: "Plan to forget",
}


def write_line(message: Json, at: datetime) -> str:
    """Returns the message as one line of ASCII, with the time in UTC."""
    stamp = at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    said = {**message, "@timestamp": stamp}
    return json.dumps(said, sort_keys=True, separators=(",", ":")) + "\n"


def describe_version(version: str, environment: str = "") -> Json:
    """Returns the first message: the program's version, and the version of the message format."""
    where = {"environment": environment} if environment else {}
    return _message("version", f"Reconciler {version}", reconciler=version, ui=FORM, **where)


def describe_note(said: str, level: str = "info") -> Json:
    """Returns a message that is neither an event nor a finding."""
    return _message("log", said, level)


def describe_finding(finding: Finding) -> Json:
    """Returns the message of an error or a warning."""
    word, level = ("Error", "error") if finding.severity == "error" else ("Warning", "warn")
    said = f"{word}: {escape(cut(finding.message, _LONGEST))}"
    return _message("diagnostic", said, level, diagnostic=describe_diagnostic(finding))


def describe_plan(plan: Plan) -> Iterator[Json]:
    """Yields messages for the drift, the planned changes, and their number."""
    for step in plan.steps:
        if has_drifted(step):
            change = {"resource": _resource(step.resource.address), "action": "update"}
            said = f"{_name(step.resource)}: Drift detected (update)"
            yield _message("resource_drift", said, change=change)
    for step in plan.steps:
        said = f"{_name(step.resource)}: {_PLANNED[step.action]}"
        yield _message("planned_change", said, change=_change(step))
    actions = [step.action for step in plan.steps]
    changes = _count(
        sum(action in {Action.CREATE, Action.REPLACE} for action in actions),
        sum(action is Action.UPDATE for action in actions),
        sum(action in {Action.DELETE, Action.REPLACE} for action in actions),
        "plan",
    )
    environment = plan.inputs.environment
    where = {"environment": environment} if environment else {}
    yield _message("change_summary", count_actions(plan), changes=changes, **where)


def describe_end(outcome: Outcome, word: str, halted: str = "") -> Json:
    """Returns the last message: what was done, and the outcome in one word."""
    return _end(outcome, word, sum_up_outcome(outcome, halted), "info")


def describe_failure(word: str, said: str) -> Json:
    """Returns the last message after an error outside of the apply itself."""
    return _end(Outcome(), word, escape(cut(said, _LONGEST)), "error")


def _end(outcome: Outcome, word: str, said: str, level: str) -> Json:
    changes = _count(len(outcome.added), len(outcome.changed), len(outcome.destroyed), "apply")
    changes |= {
        "failed": len(outcome.failures),
        "not_started": len(outcome.not_started),
        "restored": len(outcome.rolled_back),
        "unrestored": len(outcome.unrestored),
    }
    if outcome.unfinished:
        changes["unfinished"] = len(outcome.unfinished)
    if outcome.unproven:
        changes["unproven"] = len(outcome.unproven)
    stopped = [
        {
            "fleet": str(one.fleet),
            "failed": one.failed,
            "max_failures": one.max_failures,
            "not_started": len(one.not_started),
        }
        for one in outcome.stopped
    ]
    return _message("change_summary", said, level, changes=changes, outcome=word, stopped=stopped)


def describe_event(event: ShownEvent) -> Json:
    """Returns the message of an event. Every event has a message."""
    return _message(_type(event), _format_message(event), **_list_fields(event))


def _type(event: ShownEvent) -> str:
    if isinstance(event, Refreshed):
        return "refresh_errored" if event.failed else "refresh_complete"
    if isinstance(event, CheckEnded):
        return "check_complete" if event.passed else "check_errored"
    return _TYPES[type(event)]


def _format_message(event: ShownEvent) -> str:
    match event:
        case Agenda(reads=reads, steps=()):
            return f"{count(reads, 'service')} to read"
        case Agenda(steps=steps):
            return f"{count(len(steps), 'step')} to apply"
        case CycleStarted(id=cycle, environment=environment):
            where = f" in {escape(environment)}" if environment else ""
            return f"Cycle {cycle} started{where}"
        case Refreshed(resource, failed):
            return f"{_name(resource)}: Refresh {'failed' if failed else 'complete'}"
        case _:
            return describe(event, _PLAIN) or ""


def _list_fields(event: ShownEvent) -> dict[str, Json]:  # noqa: C901, PLR0911, PLR0912 - one a kind
    """The fields of the message in addition to its text."""
    match event:
        case Agenda(reads, steps):
            return {"agenda": {"reads": reads, "steps": len(steps)}}
        case LockAwaited(lock_owner, seconds):
            return {"lock": asdict(lock_owner), "seconds": seconds}
        case WaveStarted(wave, steps, None):
            return {"wave": {"number": wave, "steps": steps}}
        case WaveStarted(wave, steps, fleet, waves):
            of = {"fleet": str(fleet), "waves": waves}
            return {"wave": {"number": wave, "steps": steps, **of}}
        case WavePaused(fleet, seconds):
            return {"pause": {"fleet": str(fleet), "seconds": seconds}}
        case FleetStopped(fleet, failed, most):
            return {"stopped": {"fleet": str(fleet), "failed": failed, "max_failures": most}}
        case RollbackStarted(steps):
            return {"rollback": {"steps": steps}}
        case Retrying(subject, reason, seconds) | Throttling(subject, reason, seconds):
            call = {"subject": subject, "reason": cut(reason, _LONGEST), "seconds": seconds}
            return {"call": call}
        case JobReported() | DataUploaded() | RunJoined():
            return _describe_training(event)
        case CycleStarted(cycle_id, environment):
            where = {"environment": environment} if environment else {}
            return {"cycle": cycle_id, **where}
        case CycleEnded(cycle):
            return {"cycle": cycle.id, "summary": _sum_up_cycle(cycle)}
        case ModelVerified(resource, proof, reason):
            hook = {"resource": _resource(resource.address), **_identity(resource)}
            return {"hook": {**hook, "proof": proof, "reason": cut(reason, _LONGEST)}}
        case (
            WriteDelayed()
            | WriteStarted()
            | WriteDone()
            | CheckStarted()
            | CheckWaiting()
            | CheckEnded()
            | RevertStarted()
            | StepHalted()
        ):
            hook = {"resource": _resource(event.resource.address), **_identity(event.resource)}
            return {"hook": {**hook, **list_write_fields(event)}}
        case Refreshing(resource) | Refreshed(resource):
            return {"hook": {"resource": _resource(resource.address), **_identity(resource)}}
        case _:
            return {"hook": _hook(event)}


def _describe_training(event: JobReported | DataUploaded | RunJoined) -> dict[str, Json]:
    said: dict[str, Json] = {"retraining": str(event.retraining)}
    if isinstance(event, DataUploaded):
        return {"upload": {**said, "file": event.file, "uri": event.uri, "existed": event.existed}}
    said |= {"run": event.run}
    if isinstance(event, RunJoined):
        return {"joined": said}
    said |= {"job": event.job, "state": event.state}
    return {"job": {**said, "elapsed_seconds": int(event.elapsed)}}


def describe_drift(finding: Drift, *, ended: bool = False) -> Json:
    """Returns the message of a difference that is new in a cycle, or that exists no longer."""
    pointer = f" {escape(cut(finding.pointer, _LONGEST))}" if finding.pointer else ""
    said = f"{_name(finding.resource)}: {finding.verdict.value}{pointer}"
    drift: dict[str, Json] = {
        "key": finding.key,
        "state": "ended" if ended else "found",
        "resource": _resource(finding.resource.address),
        **_identity(finding.resource),
        "verdict": finding.verdict.value,
        "severity": finding.verdict.severity,
        "pointer": finding.pointer,
        "since": finding.since,
    }
    return _message("drift", f"{said} has ended" if ended else said, drift=drift)


def _sum_up_cycle(cycle: Cycle) -> Json:
    said: dict[str, Json] = {
        "outcome": cycle.outcome.value,
        "started_at": cycle.started_at,
        "ended_at": cycle.ended_at,
        "applied": [str(one) for one in cycle.applied],
        "quarantined": [str(one) for one in cycle.quarantined],
        "left": len(cycle.left),
        "errors": len(cycle.errors),
    }
    if cycle.environment:
        said["environment"] = cycle.environment
    if cycle.report is not None:
        counted = Counter(one.verdict.value for one in cycle.report.statuses)
        said["resources"] = dict(sorted(counted.items()))
        said["calls"] = cycle.report.refresh.calls
    if cycle.leader is not None:
        said["leader"] = asdict(cycle.leader)
    times = {"plan_seconds": cycle.plan_s, "apply_seconds": cycle.apply_s}
    return {**said, **{name: round(one, 3) for name, one in times.items() if one is not None}}


def _hook(
    event: IntentResolved
    | StepStarted
    | StepWaiting
    | StepDoubted
    | StepDone
    | StepFailed
    | StepSkipped,
) -> Json:
    hook: dict[str, Json] = {
        "resource": _resource(event.resource.address),
        "action": event.action.value,
        **_identity(event.resource),
    }
    match event:
        case StepDone(elapsed=elapsed, proof=proof):
            hook["elapsed_seconds"] = int(elapsed)
            hook |= {"proof": cut(proof, _LONGEST)} if proof else {}
        case StepWaiting(elapsed=elapsed):
            hook["elapsed_seconds"] = int(elapsed)
        case StepDoubted(reason=reason) | StepSkipped(reason=reason):
            hook["reason"] = cut(reason, _LONGEST)
        case IntentResolved(result=result, note=note):
            hook |= {"fate": result.value, "note": cut(note, _LONGEST)}
        case _:
            pass
    return hook


def _change(step: Step) -> Json:
    change = {"resource": _resource(step.resource.address), "action": step.action.value}
    return {**change, "reason": step.reason} if step.reason else change


def _resource(address: Address) -> Json:
    return {
        "addr": str(address),
        "module": "",
        "resource": str(address),
        "implied_provider": "reconciler",
        "resource_type": address.kind,
        "resource_name": address.name,
        "resource_key": None,
    }


def _identity(resource: Resource) -> dict[str, Json]:
    return {"id_key": "id", "id_value": resource.id}


def _count(add: int, change: int, remove: int, operation: str) -> dict[str, Json]:
    return {"add": add, "change": change, "import": 0, "remove": remove, "operation": operation}


def _name(resource: Resource) -> str:
    return escape(str(resource.address))


def _message(kind: str, said: str, level: str = "info", **fields: Json) -> Json:
    return {
        "@level": level,
        "@message": said,
        "@module": "reconciler.ui",
        "type": kind,
        **fields,
    }

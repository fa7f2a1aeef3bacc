"""Renders events as lines for people, in Terraform's words, and as a progress bar for many steps.

The command line calls it for each event. It writes to no stream and reads no clock of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, TypeAlias, assert_never

from reconciler.model import (
    Action,
    Agenda,
    CheckEnded,
    CheckStarted,
    CycleEnded,
    CycleStarted,
    DataUploaded,
    FleetStopped,
    IntentResolved,
    JobReported,
    LockAwaited,
    LockOwner,
    ModelVerified,
    Refreshed,
    Refreshing,
    Retrying,
    RollbackStarted,
    RunJoined,
    ShownEvent,
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
from reconciler.model.training import JobState
from reconciler.render.events.progress import ProgressBar
from reconciler.render.events.writes import WriteEvent, describe_write
from reconciler.render.plan.rollout import describe_stop
from reconciler.render.words.colour import Paint
from reconciler.render.words.escape import cut, escape
from reconciler.text.counting import count
from reconciler.text.durations import show_elapsed

_STARTS = {
    Action.CREATE: "Creating...",
    Action.UPDATE: "Modifying...",
    Action.REPLACE: "Replacing...",
    Action.DELETE: "Destroying...",
}
_GOES_ON = {
    Action.CREATE: "Still creating...",
    Action.UPDATE: "Still modifying...",
    Action.REPLACE: "Still replacing...",
    Action.DELETE: "Still destroying...",
}
_ENDS = {
    Action.CREATE: "Creation complete after",
    Action.UPDATE: "Modifications complete after",
    Action.REPLACE: "Replacement complete after",
    Action.DELETE: "Destruction complete after",
}


_MOST_NAMED: Final = 20
# Above this number, a bar is more useful than the lines.
_BAR_ABOVE: Final = 10
_YIELDS: Final = "it releases the lock after the steps that run"
_LONGEST: Final = 600
# A pause of less would be shown as 0.0s; in seconds.
_SHORTEST: Final = 0.05


# What a bar of steps replaces.
_IN_BAR: Final = (
    StepStarted,
    StepDone,
    StepSkipped,
    WriteDelayed,
    WriteStarted,
    WriteDone,
    CheckStarted,
)


class Console:
    """Renders events one after another, and counts those that are too many to list.

    With a `clock`, which returns seconds, it shows more than ten reads or steps as a bar. The bar
    then replaces the lines of reads and steps without a problem.
    """

    def __init__(self, paint: Paint, clock: Callable[[], float] | None = None) -> None:
        self._paint = paint
        self._clock = clock
        self._names_reads = True
        self._reads: ProgressBar | None = None
        self._steps: ProgressBar | None = None

    def describe(self, event: ShownEvent) -> str | None:
        """Returns the line of an event; None if the event needs no line or the bar shows it."""
        if isinstance(event, Agenda):
            return self._open(event)
        self._count(event)
        passed = isinstance(event, CheckEnded) and event.passed
        in_bar = (passed or isinstance(event, _IN_BAR)) and self._steps is not None
        if in_bar or (isinstance(event, Refreshing) and not self._names_reads):
            return None
        return describe(event, self._paint)

    def draw(self, width: int) -> str:
        """Returns the bar, narrower than `width` columns; "" without a bar."""
        shown = self._reads or self._steps
        if shown is None or self._clock is None:
            return ""
        return shown.draw(self._clock(), width, self._paint)

    def _open(self, agenda: Agenda) -> str | None:
        if agenda.steps:
            self._steps = self._begin("Applying", len(agenda.steps))
            return None
        self._reads = self._begin("Refreshing", agenda.reads)
        self._names_reads = self._reads is None and agenda.reads <= _MOST_NAMED
        many = f"Refreshing state of {count(agenda.reads, 'service')}..."
        return None if self._names_reads else many

    def _begin(self, name: str, total: int) -> ProgressBar | None:
        """A bar for `total` things; None if they are few, or if the terminal cannot redraw."""
        if self._clock is None or total <= _BAR_ABOVE:
            return None
        return ProgressBar(name, total, self._clock())

    def _count(self, event: ShownEvent) -> None:
        """Updates the bars with an event, and removes a bar that is complete."""
        match event:
            case Refreshed(failed=failed):
                self._reads = _advance(self._reads, failed=failed)
            case StepStarted() if self._clock is not None:
                self._reads = None
                if self._steps is not None:
                    self._steps.begin(self._clock())
            case StepDone():
                self._steps = _advance(self._steps)
            case StepFailed():
                self._steps = _advance(self._steps, failed=True)
            case StepSkipped() | StepHalted():
                self._steps = _advance(self._steps, skipped=True)
            case RollbackStarted(steps):
                self._steps = self._begin("Rolling back", steps)
            case _:
                return


def _advance(
    progress_bar: ProgressBar | None, *, failed: bool = False, skipped: bool = False
) -> ProgressBar | None:
    if progress_bar is None:
        return None
    progress_bar.failed += failed
    progress_bar.skipped += skipped
    progress_bar.done += not (failed or skipped)
    return progress_bar if progress_bar.ended < progress_bar.total else None


def describe(event: ShownEvent, paint: Paint) -> str | None:  # noqa: C901, PLR0911, PLR0912 - one a kind
    """Returns the line of an event; None if the event needs no line."""
    match event:
        case Agenda() | Refreshed() | CycleStarted():
            return None
        case CycleEnded(cycle):
            from reconciler.render.events.cycles import describe_cycle  # noqa: PLC0415 - for watch

            return describe_cycle(cycle)
        case WaveStarted(wave, steps, None):
            return f"{paint('bold', f'Wave {wave}:')} {count(steps, 'step')}"
        case WaveStarted() | WavePaused() | FleetStopped():
            subject = paint("bold", escape(str(event.fleet)) + ":")
            return f"{subject} {_describe_of_fleet(event, paint)}"
        case RollbackStarted(steps):
            said = f"{count(steps, 'step')}, in reverse order"
            return f"{paint('bold', 'Rolling back:')} {said}"
        case LockAwaited(lock_owner, seconds):
            retry = f"retrying in {show_elapsed(math.ceil(seconds))}"
            said = f"{describe_lock_owner(lock_owner)}; {_YIELDS if lock_owner.yields else retry}"
            return f"{paint('bold', 'Acquiring the lock of the ledger:')} {said}"
        case Retrying(subject, reason, seconds):
            said = f"{_line(reason)}; retrying {_describe_pause(seconds)}"
            return f"{paint('bold', escape(subject) + ':')} {said}"
        case Throttling(subject, reason, seconds):
            said = f"{_line(reason)}; the next request is in {show_elapsed(math.ceil(seconds))}"
            return f"{paint('bold', escape(subject) + ':')} {said}"
        case JobReported(retraining, _, job, state, elapsed):
            subject = paint("bold", escape(str(retraining)) + ":")
            shown = "Queued" if state == JobState.NOT_STARTED else _line(state)
            return f"{subject} job {_line(job)}: {shown} [{show_elapsed(elapsed)} elapsed]"
        case RunJoined(retraining, run, submitted):
            subject = paint("bold", escape(str(retraining)) + ":")
            if not submitted:
                return f"{subject} run {_line(run)} has no job yet; it is submitted now"
            said = f"run {_line(run)} continues with its original data"
            return f"{subject} {said}; --again starts a new run"
        case DataUploaded(retraining, file, uri, existed):
            subject = paint("bold", escape(str(retraining)) + ":")
            done = "is already at" if existed else "uploaded to"
            return f"{subject} {_line(file)} {done} {_line(uri)}"
        case _:
            resource = event.resource
            named = isinstance(event, Refreshing | StepStarted | StepDone)
            name = f" [{escape(resource.short_id)}]" if named else ""
            subject = paint("bold", escape(str(resource.address)) + ":")
            return f"{subject} {_describe_of_resource(event, paint)}{name}"


def _describe_of_fleet(event: WaveStarted | WavePaused | FleetStopped, paint: Paint) -> str:
    match event:
        case WaveStarted(wave, steps, waves=waves):
            return f"Wave {wave} of {waves}: {count(steps, 'member')}"
        case WavePaused(seconds=seconds):
            return f"The next wave starts in {show_elapsed(math.ceil(seconds))}"
        case FleetStopped(failed=failed, max_failures=most):
            stopped = paint("red", "Stopped:")
            return f"{stopped} {describe_stop(failed, most)}; no further member is started"
    assert_never(event)


_OfResource: TypeAlias = (
    Refreshing
    | IntentResolved
    | StepStarted
    | StepWaiting
    | StepDoubted
    | StepDone
    | StepFailed
    | StepSkipped
    | ModelVerified
    | WriteEvent
)


def _describe_of_resource(event: _OfResource, paint: Paint) -> str:  # noqa: PLR0911 - one a kind
    match event:
        case Refreshing():
            return "Refreshing state..."
        case IntentResolved(result=result, note=note):
            return f"Interrupted step: {result}{f' ({_line(note)})' if note else ''}"
        case StepStarted(action=action):
            return _STARTS[action]
        case StepWaiting(action=action, elapsed=elapsed):
            return f"{_GOES_ON[action]} [{show_elapsed(elapsed)} elapsed]"
        case StepDoubted(reason=reason):
            return f"Reading again: {_line(reason)}"
        case StepDone(action=action, elapsed=elapsed, proof=proof):
            return f"{_ENDS[action]} {show_elapsed(elapsed)}{f'; {_line(proof)}' if proof else ''}"
        case StepFailed(finding=finding):
            return f"{paint('red', 'Failed:')} {escape(cut(finding.message, _LONGEST))}"
        case StepSkipped(reason=reason):
            return f"Skipped: {_line(reason)}"
        case ModelVerified(proof=proof, reason=reason):
            return f"The last applied model: {_line(proof)}: {_line(reason)}"
        case _:
            return describe_write(event, paint)


def describe_lock_owner(lock_owner: LockOwner) -> str:
    """Returns the owner of a lock: the operation, the user, the host and the start time."""
    why = f" for {_line(lock_owner.why)}" if lock_owner.why else ""
    where = f"{_line(lock_owner.host)}, process {lock_owner.pid}"
    return f"held{why} by {_line(lock_owner.who)} on {where}, since {_line(lock_owner.since)}"


def _line(text: str) -> str:
    return escape(cut(text.rstrip("."), _LONGEST))


def _describe_pause(seconds: float) -> str:
    """Returns `in 2s`, `in 0.4s`, or `at once` for a pause that would be shown as 0."""
    if seconds < _SHORTEST:
        return "at once"
    return f"in {seconds:.1f}s" if seconds < 1 else f"in {show_elapsed(seconds)}"

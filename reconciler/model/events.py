"""The events of a running command, as a closed union.

The engine and the transport report them; the sinks of the command line print them. An event never
holds a secret.
"""

from __future__ import annotations

from typing import TypeAlias

from reconciler.model.core import Action, Address, Finding, Resource
from reconciler.model.ledger import LockOwner, StepResult
from reconciler.model.values import dataclass
from reconciler.model.watch import Cycle


@dataclass(frozen=True, slots=True)
class Agenda:
    """The first event: the number of reads or the steps, so that a sink can show progress."""

    reads: int = 0
    steps: tuple[tuple[Address, Action], ...] = ()


@dataclass(frozen=True, slots=True)
class Refreshing:
    """The read of a resource has started."""

    resource: Resource


@dataclass(frozen=True, slots=True)
class Refreshed:
    """The read of a resource has ended; `failed` says that it returned no document."""

    resource: Resource
    failed: bool = False


@dataclass(frozen=True, slots=True)
class StepStarted:
    """A step has started; its first call follows."""

    resource: Resource
    action: Action


@dataclass(frozen=True, slots=True)
class StepWaiting:
    """A step still runs after `elapsed` seconds."""

    resource: Resource
    action: Action
    elapsed: float


@dataclass(frozen=True, slots=True)
class StepDone:
    """A step is done, and a read has verified it; `elapsed` is in seconds.

    `proof` says which model answers, where it was proven by its answers.
    """

    resource: Resource
    action: Action
    elapsed: float
    proof: str = ""


@dataclass(frozen=True, slots=True)
class StepFailed:
    """A step failed; `finding` holds the error and the next step."""

    resource: Resource
    action: Action
    finding: Finding


@dataclass(frozen=True, slots=True)
class Retrying:
    """A call is sent again in `seconds`, because of `reason`."""

    subject: str
    reason: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Throttling:
    """The calls that `subject` names are held back for `seconds`, because of `reason`."""

    subject: str
    reason: str
    seconds: float


@dataclass(frozen=True, slots=True)
class CallEnded:
    """A call to a service has ended; for metrics, and not shown.

    `outcome` is `ok`, `throttled` (the service refuses it for now), `refused` (any other 4xx, or a
    redirect), `failed` (5xx) or `lost` (without a whole answer, or not sent).
    """

    method: str
    outcome: str


@dataclass(frozen=True, slots=True)
class LockAwaited:
    """Another process holds the lock; the next try is in `seconds`.

    An owner that yields is asked more often, and reported again after `seconds`.
    """

    lock_owner: LockOwner
    seconds: float


@dataclass(frozen=True, slots=True)
class IntentResolved:
    """The result of an open intent is now known: `result`, and in `note` the evidence."""

    resource: Resource
    action: Action
    result: StepResult
    note: str


@dataclass(frozen=True, slots=True)
class StepDoubted:
    """The service's report on a step is not trusted, because of `reason`; live is read instead."""

    resource: Resource
    action: Action
    reason: str


@dataclass(frozen=True, slots=True)
class StepSkipped:
    """A step is not needed, because of `reason`: it is already done, or the resource is gone."""

    resource: Resource
    action: Action
    reason: str


@dataclass(frozen=True, slots=True)
class WriteDelayed:
    """One of several writes of a step is sent in `seconds`, at the earliest."""

    resource: Resource
    number: int
    count: int
    title: str
    seconds: float


@dataclass(frozen=True, slots=True)
class WriteStarted:
    """One of several writes of a step starts.

    `number` counts from 1; it is 0 for a write that reverts others after a failed check.
    """

    resource: Resource
    number: int
    count: int
    title: str


@dataclass(frozen=True, slots=True)
class WriteDone:
    """One of several writes of a step is done, and a read has verified it."""

    resource: Resource
    number: int
    count: int
    title: str
    elapsed: float


@dataclass(frozen=True, slots=True)
class CheckStarted:
    """A check before or after a write starts; its first call follows."""

    resource: Resource
    title: str


@dataclass(frozen=True, slots=True)
class CheckWaiting:
    """A check still runs after `elapsed` seconds; `seen` is what it has seen, or empty."""

    resource: Resource
    title: str
    seen: str
    elapsed: float


@dataclass(frozen=True, slots=True)
class CheckEnded:
    """A check has passed or failed; `seen` is what it has seen, or why it failed."""

    resource: Resource
    title: str
    passed: bool
    seen: str
    elapsed: float


@dataclass(frozen=True, slots=True)
class RevertStarted:
    """A check or a write of a step has failed, and other writes revert it to a safe state."""

    resource: Resource
    writes: int


@dataclass(frozen=True, slots=True)
class StepHalted:
    """A step stops between two of its writes, because nothing more may start now."""

    resource: Resource
    action: Action
    done: int
    count: int


@dataclass(frozen=True, slots=True)
class ModelVerified:
    """The proof that an earlier apply left open was made: its result, with the reason."""

    resource: Resource
    proof: str
    reason: str


@dataclass(frozen=True, slots=True)
class WaveStarted:
    """The steps of a wave start; it is reported only when there is more than one wave.

    With a `fleet` it is one of the `waves` of that fleet, counted from 1.
    """

    wave: int
    steps: int
    fleet: Address | None = None
    waves: int = 0


@dataclass(frozen=True, slots=True)
class WavePaused:
    """A wave of a fleet has ended; the next one starts in `seconds`."""

    fleet: Address
    seconds: float


@dataclass(frozen=True, slots=True)
class FleetStopped:
    """More members of a fleet have failed than it allows: no further step of it starts."""

    fleet: Address
    failed: int
    max_failures: int


@dataclass(frozen=True, slots=True)
class RollbackStarted:
    """The finished steps are undone in reverse order; each undo is reported as a step."""

    steps: int


@dataclass(frozen=True, slots=True)
class JobReported:
    """What a training job does now; `elapsed` is the seconds since this command follows it.

    `state` is the service's word, or "Submitted".
    """

    retraining: Address
    run: str
    job: str
    state: str
    elapsed: float


@dataclass(frozen=True, slots=True)
class RunJoined:
    """An open run of an earlier command is followed, with the data of that time.

    If its job was not `submitted`, the data and the manifest of now are used.
    """

    retraining: Address
    run: str
    submitted: bool = True


@dataclass(frozen=True, slots=True)
class DataUploaded:
    """A local file was uploaded as an input of a training job, or was there already."""

    retraining: Address
    file: str
    uri: str
    existed: bool = False


@dataclass(frozen=True, slots=True)
class CycleStarted:
    """A cycle of `watch` has started; until it ends, all events belong to it.

    `environment` is empty in a project without environments.
    """

    id: str
    environment: str


@dataclass(frozen=True, slots=True)
class CycleEnded:
    """A cycle of `watch` has ended."""

    cycle: Cycle


ShownEvent: TypeAlias = (
    Agenda
    | Refreshing
    | Refreshed
    | LockAwaited
    | IntentResolved
    | WaveStarted
    | WavePaused
    | FleetStopped
    | StepStarted
    | StepWaiting
    | StepDoubted
    | StepDone
    | StepFailed
    | StepSkipped
    | WriteDelayed
    | WriteStarted
    | WriteDone
    | CheckStarted
    | CheckWaiting
    | CheckEnded
    | RevertStarted
    | StepHalted
    | ModelVerified
    | RollbackStarted
    | JobReported
    | DataUploaded
    | RunJoined
    | Retrying
    | Throttling
    | CycleStarted
    | CycleEnded
)

Event: TypeAlias = ShownEvent | CallEnded

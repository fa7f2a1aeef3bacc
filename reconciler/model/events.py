"""What happens while a command runs, as a closed union."""

from __future__ import annotations

from typing import TypeAlias

from reconciler.model.core import Action, Address, Finding, Resource
from reconciler.model.ledger import LockOwner, StepResult
from reconciler.model.values import dataclass


@dataclass(frozen=True, slots=True)
class Agenda:
    """The first event: what is about to happen, so that a face can draw its frame."""

    reads: int = 0
    steps: tuple[tuple[Address, Action], ...] = ()


@dataclass(frozen=True, slots=True)
class Refreshing:
    """A resource is being read."""

    resource: Resource


@dataclass(frozen=True, slots=True)
class Refreshed:
    """The read of a resource has ended; `failed` where nothing was learned."""

    resource: Resource
    failed: bool = False


@dataclass(frozen=True, slots=True)
class StepStarted:
    """A step has begun; its first call follows."""

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
    """A step was done and proven by reading back; `elapsed` in seconds."""

    resource: Resource
    action: Action
    elapsed: float


@dataclass(frozen=True, slots=True)
class StepFailed:
    """A step failed; `finding` says what happened and what to do."""

    resource: Resource
    action: Action
    finding: Finding


@dataclass(frozen=True, slots=True)
class Retrying:
    """A call is tried again in `seconds`, because of `reason`."""

    subject: str
    reason: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Throttling:
    """None of the calls that `subject` names goes for `seconds`, whoever asks, by `reason`."""

    subject: str
    reason: str
    seconds: float


@dataclass(frozen=True, slots=True)
class LockAwaited:
    """Somebody else holds the lock; it is tried again in `seconds`."""

    lock_owner: LockOwner
    seconds: float


@dataclass(frozen=True, slots=True)
class IntentResolved:
    """A step that an earlier run began was looked at again: what became of it, and how it shows."""

    resource: Resource
    action: Action
    result: StepResult
    note: str


@dataclass(frozen=True, slots=True)
class StepDoubted:
    """What the service says of a step is not believed, by `reason`; live is read until it shows."""

    resource: Resource
    action: Action
    reason: str


@dataclass(frozen=True, slots=True)
class StepSkipped:
    """A step need not be done, by `reason`: this plan has done it before, or it is gone already."""

    resource: Resource
    action: Action
    reason: str


@dataclass(frozen=True, slots=True)
class WaveStarted:
    """The steps of a wave begin; told only where there is more than one wave.

    With a `fleet` it is one of the `waves` of that fleet, counted from 1.
    """

    wave: int
    steps: int
    fleet: Address | None = None
    waves: int = 0


@dataclass(frozen=True, slots=True)
class WavePaused:
    """A wave of a fleet has ended; the next one begins in `seconds`."""

    fleet: Address
    seconds: float


@dataclass(frozen=True, slots=True)
class FleetStopped:
    """More members of a fleet have failed than it allows: nothing more of it is begun."""

    fleet: Address
    failed: int
    max_failures: int


@dataclass(frozen=True, slots=True)
class RollbackStarted:
    """What was done is undone, in reverse order; each undoing is told as a step of its own."""

    steps: int


Event: TypeAlias = (
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
    | RollbackStarted
    | Retrying
    | Throttling
)

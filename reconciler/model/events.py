"""What happens while a command runs, as a closed union."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from reconciler.model.words import Action, Address, Finding, Resource


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


Event: TypeAlias = (
    Agenda | Refreshing | StepStarted | StepWaiting | StepDone | StepFailed | Retrying | Throttling
)

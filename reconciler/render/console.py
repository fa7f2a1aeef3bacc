"""Events as the lines that a person follows, in Terraform's words."""

from __future__ import annotations

import math
from typing import Final, assert_never

from reconciler.model import (
    Action,
    Agenda,
    Event,
    Refreshing,
    Resource,
    Retrying,
    StepDone,
    StepFailed,
    StepStarted,
    StepWaiting,
    Throttling,
)
from reconciler.render.counting import count
from reconciler.render.escape import escape
from reconciler.render.paint import Paint

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


class Console:
    """Tells events one after another; what is too many to be named is counted."""

    def __init__(self, paint: Paint) -> None:
        self._paint = paint
        self._names_reads = True

    def describe(self, event: Event) -> str | None:
        """The line of an event, or None for one that needs none."""
        match event:
            case Agenda(reads=reads):
                self._names_reads = reads <= _MOST_NAMED
                many = f"Refreshing state of {count(reads, 'service')}..."
                return None if self._names_reads else many
            case Refreshing() if not self._names_reads:
                return None
            case _:
                return describe(event, self._paint)


def describe(event: Event, paint: Paint) -> str | None:  # noqa: PLR0911 - one a kind of event
    """The line of an event, or None for one that needs none."""
    match event:
        case Agenda():
            return None
        case Refreshing(resource):
            return _line(resource, "Refreshing state...", paint)
        case StepStarted(resource, action):
            return _line(resource, _STARTS[action], paint)
        case StepWaiting(resource, action, elapsed):
            said = f"{_GOES_ON[action]} [{_seconds(elapsed)} elapsed]"
            return _line(resource, said, paint, named=False)
        case StepDone(resource, action, elapsed):
            return _line(resource, f"{_ENDS[action]} {_seconds(elapsed)}", paint)
        case StepFailed(resource, _, finding):
            said = f"{paint('red', 'Failed:')} {escape(finding.message)}"
            return _line(resource, said, paint, named=False)
        case Retrying(subject, reason, seconds):
            said = f"{escape(reason.rstrip('.'))}; trying again in {_seconds(seconds)}"
            return f"{paint('bold', escape(subject) + ':')} {said}"
        case Throttling(subject, reason, seconds):
            said = (
                f"{escape(reason.rstrip('.'))}; the next one goes in {_seconds(math.ceil(seconds))}"
            )
            return f"{paint('bold', escape(subject) + ':')} {said}"
    assert_never(event)


def _line(resource: Resource, said: str, paint: Paint, *, named: bool = True) -> str:
    name = f" [{escape(resource.short_id)}]" if named else ""
    return f"{paint('bold', str(resource.address) + ':')} {said}{name}"


def _seconds(elapsed: float) -> str:
    minutes, seconds = divmod(int(elapsed), 60)
    return f"{minutes}m{seconds}s" if minutes else f"{seconds}s"

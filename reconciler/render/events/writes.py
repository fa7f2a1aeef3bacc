"""Renders the events of a step of several writes: its writes, its checks, and its revert.

The console and the JSON lines of events call it.
"""

from __future__ import annotations

import math
from typing import Final, TypeAlias, assert_never

from reconciler.model import (
    CheckEnded,
    CheckStarted,
    CheckWaiting,
    Json,
    RevertStarted,
    StepHalted,
    WriteDelayed,
    WriteDone,
    WriteStarted,
)
from reconciler.render.words.colour import Paint
from reconciler.render.words.escape import cut, escape
from reconciler.text.counting import count
from reconciler.text.durations import show_elapsed

WriteEvent: TypeAlias = (
    WriteDelayed
    | WriteStarted
    | WriteDone
    | CheckStarted
    | CheckWaiting
    | CheckEnded
    | RevertStarted
    | StepHalted
)
_Seen: TypeAlias = CheckWaiting | CheckEnded
_LONGEST: Final = 600


def describe_write(event: WriteEvent, paint: Paint) -> str:  # noqa: PLR0911 - one a kind
    """Returns what an event says about its resource, without the name of the resource."""
    match event:
        case WriteDelayed(seconds=seconds):
            pause = f"Pause of {show_elapsed(math.ceil(seconds))}"
            return f"{pause}, then write {event.number} of {event.count}: {_title(event)}"
        case WriteStarted():
            return f"{_number(event)}: {_title(event)}..."
        case WriteDone(elapsed=elapsed):
            return f"{_number(event)} complete after {show_elapsed(elapsed)}: {_title(event)}"
        case CheckStarted():
            return f"Check: {_title(event)}..."
        case CheckWaiting(elapsed=elapsed):
            said = f"Check still runs: {_title(event)}{_seen(event)}"
            return f"{said} [{show_elapsed(elapsed)} elapsed]"
        case CheckEnded(passed=passed, elapsed=elapsed):
            word = paint("green", "passed") if passed else paint("red", "failed")
            said = f"Check {word} after {show_elapsed(elapsed)}"
            return f"{said}: {_title(event)}{_seen(event)}"
        case RevertStarted(writes=writes):
            return f"Reverting in {count(writes, 'write')}"
        case StepHalted(done=done, count=total):
            return f"Stopped after {done} of {count(total, 'write')}; apply goes on with the rest"
    assert_never(event)


def _number(event: WriteDelayed | WriteStarted | WriteDone) -> str:
    return f"Write {event.number} of {event.count}" if event.number else "Reverting write"


def _title(event: WriteDelayed | WriteStarted | WriteDone | CheckStarted | _Seen) -> str:
    return escape(cut(event.title, _LONGEST))


def _seen(event: _Seen) -> str:
    return f": {escape(cut(event.seen.rstrip('.'), _LONGEST))}" if event.seen else ""


def list_write_fields(event: WriteEvent) -> dict[str, Json]:  # noqa: PLR0911 - one a kind
    """Returns the fields of an event's message, without those of its resource."""
    match event:
        case WriteDelayed(number=number, count=total, title=title, seconds=seconds):
            return {"write": _write(number, total, title), "seconds": seconds}
        case WriteStarted(number=number, count=total, title=title):
            return {"write": _write(number, total, title)}
        case WriteDone(number=number, count=total, title=title, elapsed=elapsed):
            return {"write": _write(number, total, title), "elapsed_seconds": int(elapsed)}
        case CheckStarted(title=title):
            return {"check": cut(title, _LONGEST)}
        case (
            CheckWaiting(title=title, seen=seen, elapsed=elapsed)
            | CheckEnded(title=title, seen=seen, elapsed=elapsed)
        ):
            said = {"check": cut(title, _LONGEST), "seen": cut(seen, _LONGEST)}
            return {**said, "elapsed_seconds": int(elapsed)}
        case RevertStarted(writes=writes):
            return {"writes": writes}
        case StepHalted(action=action, done=done, count=total):
            return {"action": action.value, "done": done, "writes": total}
    assert_never(event)


def _write(number: int, total: int, title: str) -> Json:
    return {"number": number, "count": total, "title": cut(title, _LONGEST)}

"""Events told to whoever looks on; what goes wrong there stays there.

A face is a stream and how it is written to. One that cannot be written to any more is let go: an
apply must end, and be recorded, whether anybody looks on or not.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final, Protocol, TextIO

from reconciler.model import Event, Json
from reconciler.render.events.console import Console
from reconciler.render.events.json_lines import describe_event, write_line
from reconciler.render.words.colour import Paint

CLEAR: Final = "\r\x1b[K"
# A terminal is drawn over no more often than an eye sees.
_DRAWN_EVERY_S: Final = 0.1


class EventSink(Protocol):
    """Somewhere that events are told."""

    def emit(self, event: Event) -> None:
        """Tell one event; whatever is raised is not heard of again."""
        ...

    def clear_line(self) -> None:
        """Leave the screen ready for something else."""
        ...


class Emitter:
    """Tells events to one face, one after another, from any thread; never raises an error."""

    def __init__(self, sink: EventSink) -> None:
        self._sink = sink
        self._lock = threading.RLock()

    def __call__(self, event: Event) -> None:
        """Tell an event."""
        # A face is no reason for an apply to end: neither a stream that is gone nor a defect is.
        with self._lock, contextlib.suppress(Exception):
            self._sink.emit(event)

    def clear_line(self) -> None:
        """Leave the screen ready for something else."""
        with self._lock, contextlib.suppress(Exception):
            self._sink.clear_line()


class ConsoleSink:
    """Lines on stderr, and a bar below them where it is a terminal that can be drawn over.

    `width` gives the columns of that terminal now; None for what is none.
    """

    def __init__(
        self,
        stream: TextIO,
        paint: Paint,
        *,
        width: Callable[[], int] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream
        self._console = Console(paint, clock if width else None)
        self._width = width
        self._clock = clock
        self._drawn_at = 0.0
        self._progressed = False
        self.drawn = False

    def emit(self, event: Event) -> None:
        """Print the line of an event above the bar, and draw the bar anew."""
        line = self._console.describe(event)
        bar = self._console.draw(self._width()) if self._width else ""
        now = self._clock()
        soon = self.drawn and now - self._drawn_at < _DRAWN_EVERY_S
        if not line and bar and soon:
            return
        text = (CLEAR if self.drawn else "") + (f"{line}\n" if line else "") + bar
        self.drawn, self._drawn_at = bool(bar), now
        self._progressed = self._progressed or bool(line)
        self._write(text)

    def clear_line(self) -> None:
        """Take the bar away, and leave a blank line between the progress and what follows."""
        text = (CLEAR if self.drawn else "") + ("\n" if self._progressed else "")
        self.drawn = self._progressed = False
        self._write(text)

    def _write(self, text: str) -> None:
        if text:
            self._stream.write(text)
            self._stream.flush()


class JsonLinesSink:
    """JSON lines on stdout. `broken` once one could not be written: then nobody is told more."""

    def __init__(
        self, stream: TextIO, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._stream = stream
        self._clock = clock
        self._ended = False
        self.broken = False

    def emit(self, event: Event) -> None:
        """Print the line of an event."""
        self.write(describe_event(event))

    def clear_line(self) -> None:
        """Nothing stands between two lines."""

    def end(self, message: Json) -> None:
        """Print the last message; there is only one."""
        if not self._ended:
            self._ended = True
            self.write(message)

    def write(self, message: Json) -> None:
        """Print one message."""
        if self.broken:
            return
        try:
            self._stream.write(write_line(message, self._clock()))
            self._stream.flush()
        except (OSError, ValueError):
            self.broken = True
            silence(self._stream)


def silence(stream: TextIO) -> None:
    """Whoever read this stream is gone; let nothing complain about that at exit."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def get_width(stream: TextIO, environment: Mapping[str, str]) -> Callable[[], int] | None:
    """The columns of a terminal that can be drawn over, asked anew each time; None for none."""
    dumb = environment.get("TERM", "dumb") == "dumb"
    logged = environment.get("CI", "").lower() not in {"", "0", "false"}
    if dumb or logged or not stream.isatty():
        return None

    def width() -> int:
        try:
            return os.get_terminal_size(stream.fileno()).columns or 80
        except OSError:
            return 80

    return width

"""The sinks of events: text on stderr for people, JSON lines on stdout for programs.

A sink that can no longer write is ignored. An apply must finish and be recorded with or without a
reader, so an error of a sink never reaches the engine.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from traceback import format_tb
from typing import Final, Protocol, TextIO

from reconciler.model import CallEnded, Event, Json, ShownEvent
from reconciler.render.events.console import Console
from reconciler.render.events.json_lines import describe_event, write_line
from reconciler.render.words.colour import Paint

_LOG: Final = logging.getLogger(__name__)
CLEAR: Final = "\r\x1b[K"
# The progress bar is drawn at most this often: a person sees no faster change.
_DRAWN_EVERY_S: Final = 0.1


class EventSink(Protocol):
    """Writes events to one stream."""

    def emit(self, event: ShownEvent) -> None:
        """Write one event; the emitter ignores every exception."""
        ...

    def clear_line(self) -> None:
        """Remove the progress bar before other text is printed."""
        ...


class Emitter:
    """Writes events to one sink, one at a time, from any thread; never raises.

    Each of the `observers` gets each event too, before the sink.
    """

    def __init__(self, sink: EventSink) -> None:
        self.observers: list[Callable[[Event], None]] = []
        self._sink = sink
        self._lock = threading.RLock()

    def __call__(self, event: Event) -> None:
        """Write an event."""
        if not self.observers and isinstance(event, CallEnded):
            return
        with self._lock:
            for observe in self.observers:
                try:
                    observe(event)
                except Exception as error:  # noqa: BLE001 - an observer ends nothing
                    _LOG.debug(
                        "%s\n%s", type(error).__name__, "".join(format_tb(error.__traceback__))
                    )
            # Neither a closed stream nor a defect of the sink may end an apply.
            if not isinstance(event, CallEnded):
                with contextlib.suppress(Exception):
                    self._sink.emit(event)

    def clear_line(self) -> None:
        """Remove the progress bar before other text is printed."""
        with self._lock, contextlib.suppress(Exception):
            self._sink.clear_line()


class ConsoleSink:
    """Lines on stderr, and a progress bar below them on a terminal that can redraw a line.

    `width` returns the current columns of that terminal; None when stderr is not a terminal.
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

    def emit(self, event: ShownEvent) -> None:
        """Print the line of an event above the progress bar, and draw the bar again."""
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
        """Remove the bar, and print a blank line between the progress and other text."""
        text = (CLEAR if self.drawn else "") + ("\n" if self._progressed else "")
        self.drawn = self._progressed = False
        self._write(text)

    def _write(self, text: str) -> None:
        if text:
            self._stream.write(text)
            self._stream.flush()


class JsonLinesSink:
    """JSON lines on stdout. `broken` is True after a failed write; then no more is written.

    `cycle` is the id of the running cycle of `watch`, which each line then has.
    """

    def __init__(
        self, stream: TextIO, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._stream = stream
        self._clock = clock
        self._ended = False
        self.broken = False
        self.cycle = ""

    def emit(self, event: ShownEvent) -> None:
        """Print the line of an event."""
        self.write(describe_event(event))

    def clear_line(self) -> None:
        """Do nothing: JSON lines have no progress bar."""

    def end(self, message: Json) -> None:
        """Print the last message; a second call prints nothing."""
        if not self._ended:
            self._ended = True
            self.write(message)

    def write(self, message: Json) -> None:
        """Print one message."""
        if self.broken:
            return
        said = {**message, "cycle": self.cycle} if self.cycle else message
        try:
            self._stream.write(write_line(said, self._clock()))
            self._stream.flush()
        except (OSError, ValueError):
            self.broken = True
            silence(self._stream)


def silence(stream: TextIO) -> None:
    """Send a stream to the null device: its reader is gone, and the flush at exit must not fail."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def get_width(stream: TextIO, environment: Mapping[str, str]) -> Callable[[], int] | None:
    """A function that returns the current columns of a terminal; None for any other stream.

    A dumb terminal and the log of a CI run cannot redraw a line, so they give None too.
    """
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

"""Decides whether a new step may start: not after an interruption or on a closed stdout.

Before the first write, Ctrl-C ends the command. After it, the first Ctrl-C lets the running steps
finish and be recorded, and the second one ends the process at once.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, Final, TextIO

from reconciler.errors import ReconcilerError
from reconciler.render.events.outcome import INTERRUPTED

CLOSED: Final = "stdout was closed"
_SOON: Final = (
    "Interrupt received. Finishing the running steps; press Ctrl-C again to end at once.\n"
)
_OPEN: Final = (
    "The ledger has an open intent for each running step; the next run checks them first."
)
_SIGNALS: Final = ("SIGINT", "SIGTERM", "SIGHUP")
_STDERR: Final = 2


class SignalReceived(KeyboardInterrupt):
    """A signal ends the command; not KeyboardInterrupt itself, so that `python -m` exits with 130.

    After a KeyboardInterrupt of exactly that class has passed through `exec` of a text, Python ends
    such a process by SIGINT even if it was handled. `dataclass` executes texts at import.
    """


class Interruption:
    """Receives signals; the engine asks it before each new step.

    `is_output_open` says whether stdout still has a reader. `clear` returns the text that must be
    written to stderr before a new line. `number` is the first signal; 0 before it. If `hasty` is
    set, each signal after it ends the process at once, and not only SIGINT. `end_reads` is called
    before a command that only reads is ended.
    """

    def __init__(
        self,
        is_output_open: Callable[[], bool] = lambda: True,
        clear: Callable[[], str] = lambda: "",
        abort: Callable[[int], Any] = os._exit,
    ) -> None:
        self._is_output_open, self._clear, self._abort = is_output_open, clear, abort
        self._writing = False
        self.interrupted = False
        self.number = 0
        self.hasty = False
        self.end_reads: Callable[[], None] = lambda: None

    def halted(self) -> str:
        """Why no new step may start, or "" when it may."""
        if self.interrupted:
            return INTERRUPTED
        return "" if self._is_output_open() else CLOSED

    def check(self) -> None:
        """Raise ReconcilerError after a signal."""
        if self.interrupted:
            raise ReconcilerError("was interrupted")

    def note_writing(self, *, writing: bool = True) -> None:
        """Note that from now on a step may be running, or that none is running any more."""
        self._writing = writing

    def abort(self, code: int) -> None:
        """End the process at once, without any clean-up."""
        self._abort(code)

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Handle the signals that end a command, for the duration of the block.

        A signal that the parent process set to be ignored stays ignored.
        """
        before: dict[signal.Signals, Any] = {}
        for number in (getattr(signal, name, None) for name in _SIGNALS):
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, self.receive)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def receive(self, number: int, _: FrameType | None) -> None:
        """Handle a signal: end a command that only reads, let a write finish, abort on the second.

        It takes no lock and uses no Python stream: the interrupted code may hold either.
        """
        again, self.interrupted = self.interrupted, True
        self.number = self.number or number
        if not again and self._writing:
            self._write_stderr(_SOON)
        elif not again:
            self.end_reads()
            raise SignalReceived
        elif number == signal.SIGINT or self.hasty:
            self._write_stderr(f"Aborted. {_OPEN}\n" if self._writing else "Aborted.\n")
            self._abort(128 + number)

    def _write_stderr(self, text: str) -> None:
        """Write to stderr only when it does not block: a slow reader must not delay the signal."""
        with contextlib.suppress(OSError):
            if select.select([], [_STDERR], [], 0)[1]:
                os.write(_STDERR, (self._clear() + text).encode())


def is_closed(stream: TextIO | None) -> bool:
    """Whether the stream has no reader: a pipe without a reader, a lost terminal."""
    if stream is None or stream.closed:
        return True
    try:
        number = stream.fileno()
    except (OSError, ValueError):
        return False  # a stream in memory has no file descriptor
    if not hasattr(select, "poll"):
        return False
    watched = select.poll()
    watched.register(number, 0)
    return bool(watched.poll(0))

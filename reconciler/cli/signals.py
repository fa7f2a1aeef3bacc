"""Whether anything more may be begun: an interruption and a closed stdout say no.

While nothing is written, Ctrl-C ends a command as it ends any other. Once something may be in
flight, the first finishes and records it, and the second ends at once.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, Final, TextIO

from reconciler.render.events.outcome import INTERRUPTED

CLOSED: Final = "stdout was closed"
_SOON: Final = (
    "Interrupt received. Finishing what is in flight; press Ctrl-C again to abort at once.\n"
)
_OPEN: Final = "What was in flight is in the ledger as begun; the next run looks at it first."
_SIGNALS: Final = ("SIGINT", "SIGTERM", "SIGHUP")
_STDERR: Final = 2


class Interruption:
    """Hears signals, and is asked by whoever is about to begin something.

    `is_output_open` says whether what is told still reaches anybody; `clear` gives what must be
    written to stderr before a line of its own.
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

    def halted(self) -> str:
        """Why nothing more may be begun, or "" while everything may."""
        if self.interrupted:
            return INTERRUPTED
        return "" if self._is_output_open() else CLOSED

    def note_writing(self) -> None:
        """From now on something may be in flight."""
        self._writing = True

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Take the signals that end a command, as long as the block runs.

        What whoever started us has told us to ignore stays ignored.
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
        """What a signal does: it ends what only reads, finishes what writes, and at last aborts.

        It takes no lock and touches no stream of Python's: whoever holds one may wait for us.
        """
        again, self.interrupted = self.interrupted, True
        if not again and self._writing:
            self._write_stderr(_SOON)
        elif not again:
            raise KeyboardInterrupt
        elif number == signal.SIGINT:
            self._write_stderr(f"Aborted. {_OPEN}\n" if self._writing else "Aborted.\n")
            self._abort(130)

    def _write_stderr(self, text: str) -> None:
        """Only where it can be written now: a reader that stands still must not hold us up."""
        with contextlib.suppress(OSError):
            if select.select([], [_STDERR], [], 0)[1]:
                os.write(_STDERR, (self._clear() + text).encode())


def is_closed(stream: TextIO | None) -> bool:
    """Whether nobody can read what is written: a pipe without a reader, a lost terminal."""
    if stream is None or stream.closed:
        return True
    try:
        number = stream.fileno()
    except (OSError, ValueError):
        return False  # it lies in memory
    if not hasattr(select, "poll"):
        return False
    watched = select.poll()
    watched.register(number, 0)
    return bool(watched.poll(0))

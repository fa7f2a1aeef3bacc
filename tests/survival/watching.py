"""A `watch` as a process of its own: what it prints, how it is held up, and how it ends."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from reconciler.ledgers.leadership import TERM
from reconciler.ledgers.lock import Heartbeat
from tests.e2e.world import begin_command, clean_environment
from tests.fork_server import Process

WITHIN_S = 120.0
# Another term, and a time of day that jumps every few seconds: both as the process finds them.
_LAUNCHER = """
import datetime, itertools, sys, threading, time
lease_s, renew_s, jump_s = map(float, sys.argv[1:4])
del sys.argv[1:4]
if jump_s:
    offset, real, real_time = [0.0], datetime.datetime, time.time
    class Kind(type):
        def __instancecheck__(self, one):
            return isinstance(one, real)
    class Jumping(real, metaclass=Kind):
        @classmethod
        def now(cls, tz=None):
            return real.now(tz) + datetime.timedelta(seconds=offset[0])
    datetime.datetime, time.time = Jumping, lambda: real_time() + offset[0]
    def jump():
        for offset[0] in itertools.cycle([7200.0, -86400.0, 0.0, 2678400.0, -60.0]):
            time.sleep(jump_s)
    threading.Thread(target=jump, daemon=True).start()
from reconciler.ledgers import leadership
from reconciler.ledgers.lock import Heartbeat
leadership.lead_in_folder.__defaults__ = (Heartbeat(lease_s, renew_s),)
leadership.lead_in_container.__defaults__ = (Heartbeat(lease_s, renew_s),)
if lease_s < 30:
    from reconciler.ledgers.file import FileLedger
    FileLedger.__init__.__defaults__ = (None, Heartbeat(lease_s, renew_s))
"""
_RUN = "from reconciler.cli import main; sys.exit(main())"


@dataclass(frozen=True)
class CycleSeen:
    """A cycle as its lines show it; times are those of `WatchProcess.lines`."""

    id: str
    started: float
    ended: float
    outcome: str
    applied: tuple[str, ...]
    quarantined: tuple[str, ...]


@dataclass
class WatchProcess:
    """A running `watch --format json`. `lines` are those that it has printed, with their times.

    A time is when a line was printed, in seconds of this machine, however late it is read here. If
    the time of day `jumps` for the process, it is when the line is read.
    """

    process: "Process | subprocess.Popen[str]"
    errors: Path
    jumps: bool = False
    lines: list[tuple[float, Any]] = field(default_factory=list)
    _ended: bool = False
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def __post_init__(self) -> None:
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def said(self) -> str:
        """The last of what it printed, for people."""
        return "\n".join(json.dumps(line) for _, line in self.lines[-8:]) + self.errors.read_text()

    def wait_for(self, happens: Callable[[], Any], within_s: float = WITHIN_S) -> Any:
        """Wait until a line makes this true; returns it. Fails after a time."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or happens(), within_s)
            happened = happens()
            assert happened, f"it does not happen: {self.said}"
            return happened

    def cycles(self) -> list[CycleSeen]:
        """The cycles that have ended, without those of a standby."""
        begun = {one["cycle"]: at for at, one in list(self.lines) if one["type"] == "cycle_start"}
        return [
            CycleSeen(
                one["cycle"],
                begun.get(one["cycle"], at),
                at,
                one["summary"]["outcome"],
                tuple(one["summary"]["applied"]),
                tuple(one["summary"]["quarantined"]),
            )
            for at, one in list(self.lines)
            if one["type"] == "cycle_end" and one["summary"]["outcome"] != "standby"
        ]

    def leads(self, since: float = 0.0) -> bool:
        """Whether it has begun a cycle since a time."""
        return any(at >= since and one["type"] == "cycle_start" for at, one in list(self.lines))

    def writes(self, since: float = 0.0) -> bool:
        """Whether it has begun a step since a time."""
        return any(at >= since and one["type"] == "apply_start" for at, one in list(self.lines))

    def stands_by(self, since: float = 0.0) -> bool:
        """Whether it has reported since a time that another process leads."""
        return any(
            at >= since and one["type"] == "cycle_end" and one["summary"]["outcome"] == "standby"
            for at, one in list(self.lines)
        )

    def ends(self, outcome: str, since: float = 0.0) -> bool:
        """Whether a cycle that began after a time has ended so."""
        return any(one.started >= since and one.outcome == outcome for one in self.cycles())

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process."""
        self.process.send_signal(number)

    @contextmanager
    def held_up(self) -> Iterator[None]:
        """Hold the process up while the block runs."""
        self.stop()
        try:
            yield
        finally:
            self.send(signal.SIGCONT)

    def stop(self) -> None:
        """Hold the process up; it does nothing more when this returns."""
        self.send(signal.SIGSTOP)
        if isinstance(self.process, Process):
            self.process.wait_until_stopped()
        else:
            os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End the process by a signal; returns its code."""
        self.process.send_signal(number)
        code = self.process.wait(WITHIN_S)
        self._reader.join(WITHIN_S)
        return code

    def measure_kb(self) -> int:
        """The memory that the process occupies now, in kB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if "VmRSS" in line)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for text in self.process.stdout:
            with self._changed:
                line = json.loads(text)
                printed = datetime.fromisoformat(line["@timestamp"]).timestamp()
                self.lines.append((time.time() if self.jumps else printed, line))
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()


@contextmanager
def run_watch(
    folder: Path,
    *flags: str,
    heartbeat: Heartbeat = TERM,
    jump_s: float = 0.0,
    measured: bool = False,
) -> Iterator[WatchProcess]:
    """A `watch` in a folder; it is dead afterwards. Its time of day jumps each `jump_s` seconds.

    If its memory is `measured`, it is not forked from a process that has imported more.
    """
    given = [str(one) for one in (heartbeat.lease_s, heartbeat.renew_s, jump_s)]
    errors = folder.parent / f"errors-{time.monotonic_ns()}"
    with (
        errors.open("wb") as file,
        _begin(
            folder,
            (*given, "watch", "--format", "json", *flags),
            file,
            forked=not (jump_s or measured),
        ) as process,
    ):
        watch = WatchProcess(process, errors, jump_s > 0.0)
        try:
            yield watch
        finally:
            process.kill()
            process.wait()
            watch._reader.join(WITHIN_S)


def _begin(
    folder: Path, arguments: Sequence[str], errors: IO[bytes], *, forked: bool
) -> "Process | subprocess.Popen[str]":
    """Begin a watch; a forked one has imported all before its time can jump."""
    if forked:
        return begin_command(folder, *arguments, stderr=errors, before=_LAUNCHER)
    return subprocess.Popen(
        [sys.executable, "-c", _LAUNCHER + _RUN, *arguments],
        cwd=folder,
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
    )

"""Whether anything more may be begun: signals, and a stdout that nobody reads."""

import io
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from reconciler.cli.signals import Interruption, is_closed

ABORT = (
    "Aborted. The ledger has an open intent for each running step; the next run checks them"
    " first.\n"
)
SOON = "Interrupt received. Finishing the running steps; press Ctrl-C again to end at once.\n"


@contextmanager
def stderr_kept() -> Iterator[list[str]]:
    """What goes to the descriptor itself, past Python's streams."""
    said: list[str] = []
    reading, writing = os.pipe()
    before = os.dup(2)
    os.dup2(writing, 2)
    os.close(writing)
    try:
        yield said
    finally:
        os.dup2(before, 2)
        os.close(before)
        with os.fdopen(reading) as read:
            said.append(read.read())


def heard(*signals: int, writing: bool) -> tuple[str, list[int], Interruption]:
    codes: list[int] = []
    interruption = Interruption(abort=codes.append)
    if writing:
        interruption.note_writing()
    with stderr_kept() as said, interruption.listening():
        for number in signals:
            os.kill(os.getpid(), number)
    return said[0], codes, interruption


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_what_only_reads_ends_at_once(number: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        heard(number, writing=False)


def test_a_command_that_is_ended_within_an_exec_exits_with_its_own_code(tmp_path: Path) -> None:
    (tmp_path / "command.py").write_text(
        "import os, signal, sys\n"
        "from reconciler.cli.signals import Interruption\n"
        "try:\n"
        "    with Interruption().listening():\n"
        "        exec('os.kill(os.getpid(), signal.SIGINT)')\n"
        "except KeyboardInterrupt:\n"
        "    sys.exit(130)\n"
    )
    done = subprocess.run([sys.executable, "-m", "command"], cwd=tmp_path, check=False)
    assert done.returncode == 130


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_what_writes_is_asked_to_finish(number: int) -> None:
    said, codes, interruption = heard(number, writing=True)
    assert (said, codes, interruption.halted()) == (SOON, [], "interrupted")


def test_the_second_ctrl_c_aborts() -> None:
    assert heard(signal.SIGINT, signal.SIGINT, writing=True)[:2] == (SOON + ABORT, [130])
    assert heard(signal.SIGTERM, signal.SIGINT, writing=True)[:2] == (SOON + ABORT, [130])


def test_sigterm_counts_once_however_often_it_comes() -> None:
    assert heard(signal.SIGTERM, signal.SIGTERM, writing=True)[:2] == (SOON, [])
    assert heard(signal.SIGINT, signal.SIGTERM, writing=True)[:2] == (SOON, [])


def test_signals_are_given_back_and_what_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        kept = signal.getsignal(signal.SIGTERM)
        with Interruption().listening():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) is not kept
        assert signal.getsignal(signal.SIGTERM) is kept
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_stderr_that_nobody_empties_does_not_hold_a_signal_up() -> None:
    reading, writing = os.pipe()
    before = os.dup(2)
    os.set_blocking(writing, False)
    try:
        with suppress(BlockingIOError):
            while True:
                os.write(writing, b"x" * 4096)
        os.set_blocking(writing, True)
        os.dup2(writing, 2)
        codes: list[int] = []
        interruption = Interruption(abort=codes.append)
        interruption.note_writing()
        interruption.receive(signal.SIGINT, None)
        interruption.receive(signal.SIGINT, None)
    finally:
        os.dup2(before, 2)
        for one in (before, reading, writing):
            os.close(one)
    assert codes == [130]


def test_nothing_more_is_begun_once_nobody_hears() -> None:
    listens = True
    interruption = Interruption(lambda: listens)
    assert interruption.halted() == ""
    listens = False
    assert interruption.halted() == "stdout was closed"
    interruption.interrupted = True
    assert interruption.halted() == "interrupted"


def test_a_pipe_is_closed_once_its_reader_is_gone() -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as stream:
        assert not is_closed(stream)
        os.close(reading)
        assert is_closed(stream)
    assert is_closed(stream)
    assert is_closed(None)


def test_a_terminal_is_closed_once_it_hangs_up() -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as stream:
        assert not is_closed(stream)
        os.close(ours)
        assert is_closed(stream)


def test_a_file_and_what_lies_in_memory_are_open() -> None:
    with open(os.devnull, "w") as stream:  # noqa: PTH123 - a stream as Python opens stdout
        assert not is_closed(stream)
    assert not is_closed(io.StringIO())

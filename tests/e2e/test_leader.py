"""`watch` and a person on one ledger: the person goes first, in real commands and processes."""

import json
import signal
import subprocess
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from reconciler.errors import LedgerConflict
from reconciler.ledgers.file import FileLedger
from reconciler.ledgers.leadership import lead_in_folder
from tests.contract.homes import hear, lock_owner, run_beside
from tests.e2e.world import Emulator, Project, begin_command

pytestmark = pytest.mark.e2e

APPLY = ("apply", "--auto-approve", "--patience", "1s")
NOTE = ".reconciler/lock.waiting.json"


@pytest.fixture
def changed(project: Project, own_group: Emulator) -> Project:
    """A project with one change to apply."""
    own_group.deploy("a", own_group.model_uri("old"))
    project.manifest("a", own_group.model_uri("new"))
    return project


def hold_as_watch(folder: Path) -> Callable[[Connection], None]:
    """Work of a loop that holds the ledger's lock until a command waits for it, or until it ends."""

    def work(line: Connection) -> None:
        pause = threading.Event()
        with FileLedger(folder / ".reconciler").lock(
            lock_owner("loop", why="watch"), 0, lambda _: None
        ) as lease:
            line.send("held")
            polite = line.recv()
            while not lease.is_wanted():
                pause.wait(0.02)
            line.send("wanted")
            if not polite:
                line.recv()
        line.send("released")

    return work


def test_an_apply_waits_for_watch_though_it_waits_for_no_lock(
    changed: Project, own_group: Emulator
) -> None:
    with run_beside(hold_as_watch(changed.folder)) as (_, line):
        hear(line)
        line.send(True)
        done = changed.run(*APPLY)
        assert hear(line) == "wanted"
    assert done.code == 0, done.said
    assert "Acquiring the lock of the ledger: held for watch by ci on " in done.said
    assert "it releases the lock after the steps that run" in done.said
    assert own_group.model("a") == own_group.model_uri("new")
    assert not (changed.folder / NOTE).exists()


def test_json_lines_say_for_whom_an_apply_waits(changed: Project) -> None:
    with run_beside(hold_as_watch(changed.folder)) as (_, line):
        hear(line)
        line.send(True)
        done = changed.run(*APPLY, "--json")
    assert done.code == 0, done.said
    waits = [one for one in map(json.loads, done.out.splitlines()) if one["type"] == "lock_awaited"]
    assert [one["lock"]["why"] for one in waits] == ["watch"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_apply_that_waits_for_watch_ends_at_once_and_leaves_no_note(
    changed: Project, own_group: Emulator, number: signal.Signals
) -> None:
    with run_beside(hold_as_watch(changed.folder)) as (_, line):
        hear(line)
        line.send(False)
        with begin_command(changed.folder, *APPLY, stderr=subprocess.STDOUT) as process:
            assert hear(line) == "wanted"
            process.send_signal(number)
            said, _ = process.communicate(timeout=60)
        assert process.returncode == 130, said
        assert "Traceback" not in said
        assert not (changed.folder / NOTE).exists()
        line.send("end")
        assert hear(line) == "released"
    assert own_group.model("a") == own_group.model_uri("old")


def test_the_ledger_is_verified_and_unlocked_beside_a_leader(changed: Project) -> None:
    folder = changed.folder / ".reconciler"
    term = lead_in_folder(folder).acquire(lock_owner("leader", why="watch"))
    assert term is not None
    with FileLedger(folder).lock(lock_owner("loop", why="watch"), 0, lambda _: None) as lease:
        (changed.folder / NOTE).touch()
        refused = changed.run("force-unlock", "leader", "--force")
        assert refused.code == 1
        assert "no lock has the id leader: the lock is held for watch by ci on" in refused.err
        unlocked = changed.run("force-unlock", "loop", "--force")
        assert unlocked.code == 0, unlocked.said
        with pytest.raises(LedgerConflict):
            lease.check()
    assert term.is_held()
    assert changed.run(*APPLY).code == 0
    for command in (("ledger", "verify"), ("ledger", "compact"), ("plan", "--detailed-exitcode")):
        done = changed.run(*command)
        assert done.code == 0, done.said
    assert term.is_held()
    term.release()

"""Two who would apply at once, and a holder of the lock who is killed or held up."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.survival.fleet import APPLY
from tests.survival.kills import ORDERLY, Harness
from tests.survival.nursery import Nursery
from tests.survival.places import End
from tests.survival.verdict import Story, check_story

HELD = 5
_PATIENT = ("--lock-timeout", "120s")
_WITHIN_S = 60.0
MET = f"two at once: {[0, HELD]}"
_IDLE = "Resources: 0 added, 0 changed, 0 destroyed."


def race(harness: Harness, rival: Nursery, *flags: str) -> Story:
    """Two applies begin at the same moment: one does the work, the other nothing.

    The other says who holds the lock; only with a --lock-timeout, or where it came too late to
    meet anybody, it finds nothing to do.
    """
    with _story(harness) as finish:
        for nursery in (harness.nursery, rival):
            nursery.start(harness.fleet.folder, *APPLY, *flags)
        ended = sorted((harness.nursery.wait(), rival.wait()), key=lambda one: one.code)
        wrong = harness.fleet.compare()
        codes = [one.code for one in ended]
        if codes != [0, 0] and (flags or codes != [0, HELD]):
            wrong.append(f"they ended with {codes}: {ended[0].said}{ended[1].said}")
        worked = [one for one in ended if "Apply complete!" in one.out and _IDLE not in one.out]
        if len(worked) != 1:
            wrong.append(f"{len(worked)} of 2 did the work")
        return finish(f"two at once{', one waits' if flags else ''}: {codes}", wrong)


def kill_lock_owner(harness: Harness, rival: Nursery) -> Story:
    """Somebody waits for the lock when its holder is killed: he takes it, and goes on.

    The holder is held up amid its work, so that the other begins to wait before it is killed.
    """
    place = harness.list_places().index("answered PATCH kept") + 1
    with _story(harness) as finish:
        harness.note.unlink(missing_ok=True)
        end = End(place, by=signal.SIGSTOP)
        pid = harness.nursery.start(harness.fleet.folder, *ORDERLY, note=harness.note, end=end)
        try:
            _await(lambda: _is_stopped(pid))
            rival.start(harness.fleet.folder, *APPLY, *_PATIENT)
            _await(lambda: "Acquiring the lock" in rival.read_err())
        finally:
            os.kill(pid, signal.SIGKILL)  # whoever waits for its end would wait for ever
        first, second = harness.nursery.wait(), rival.wait()
        wrong = harness.fleet.compare()
        if (first.code, second.code) != (-signal.SIGKILL, 0):
            wrong.append(f"they ended with {first.code} and {second.code}: {second.said}")
        return finish("the holder is killed, another waits", wrong)


def stop_lock_owner(harness: Harness, rival: Nursery) -> Story:
    """A holder who is held up for more than a minute loses the lock, and notices when he goes on.

    He is held up as he follows an operation, which is where most of the time goes.
    """
    place = harness.list_places().index("answered PATCH kept") + 1
    with _story(harness) as finish:
        note = harness.note
        note.unlink(missing_ok=True)
        pid = harness.nursery.start(
            harness.fleet.folder, *ORDERLY, note=note, end=End(place, by=signal.SIGSTOP)
        )
        try:
            _await(lambda: _is_stopped(pid))
            second = rival.run(harness.fleet.folder, *APPLY, *_PATIENT)
        finally:
            os.kill(pid, signal.SIGCONT)
        first = harness.nursery.wait()
        wrong = harness.fleet.compare()
        if second.code != 0 or first.code == 0:
            wrong.append(
                f"they ended with {first.code} and {second.code}: {first.said}{second.said}"
            )
        return finish("the holder is held up", wrong)


@contextlib.contextmanager
def _story(harness: Harness) -> Iterator[Callable[[str, list[str]], Story]]:
    """Declare the other state; gives what ends the story with its verdict."""
    traffic = harness.fleet.traffic.begin()
    before = harness.fleet.count_done()
    old = harness.tip()

    def finish(title: str, wrong: list[str]) -> Story:
        more = check_story(harness.fleet, harness.nursery, old, traffic, before)
        return Story(title, title, [*wrong, *more])

    yield finish


def _await(happens: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _WITHIN_S
    while not happens():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.005)


def _is_stopped(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat").read_text()
    return stat.rpartition(")")[2].split()[0] == "T"

"""A power cut: of the ledger there is only its beginning, while the services are as they are."""

from collections.abc import Iterator
from pathlib import Path

from tests.survival.fleet import APPLY, DeclaredService, model
from tests.survival.kills import Harness
from tests.survival.verdict import Story, check_silence

NAMES = ("changed", "changed-too", "deleted")


def cut_everywhere(harness: Harness) -> Iterator[Story]:
    """Every line of a ledger missing, begun, there by half and there but for its end.

    The lock is as it was when the power went: it remembers the end that the run before had left.
    That end was on the disk before the lock remembered it.
    """
    file = harness.fleet.ledger_file
    locks = _write_history(harness)
    data = file.read_bytes()
    for cut in _find_cuts(data):
        lock = next(lock for size, lock in reversed(locks) if size <= cut)
        yield _cut(harness, data[:cut], lock, f"cut at byte {cut} of {len(data)}")


def _write_history(harness: Harness) -> list[tuple[int, bytes]]:
    """Two applies over services that were there before: what of them is declared can be read.

    Returns the size of the ledger and the lock before each run and at the end; an empty lock is
    none.
    """
    locks = [(0, b"")]
    for name in NAMES:
        harness.fleet.emulator.deploy(name, model("old"))
    for names, shown in ((NAMES, "one"), (NAMES[:-1], "two")):
        harness.fleet.declare(dict.fromkeys(names, DeclaredService(model(shown), whole=False)))
        ended = harness.nursery.run(harness.fleet.folder, *APPLY)
        assert ended.code == 0, ended.said
        file = harness.fleet.ledger_file
        locks.append((file.stat().st_size, _lock_of(file).read_bytes()))
    return locks


def _lock_of(file: Path) -> Path:
    return file.with_name("lock.json")


def _find_cuts(data: bytes) -> list[int]:
    cuts: set[int] = set()
    start = 0
    for line in data.splitlines(keepends=True):
        cuts |= {start, start + 1, start + len(line) // 2, start + len(line) - 1}
        start += len(line)
    return sorted(cuts)


def _cut(harness: Harness, data: bytes, lock: bytes, title: str) -> Story:
    """What is live is as declared: whatever the ledger has forgotten, nothing is written."""
    file = harness.fleet.ledger_file
    file.write_bytes(data)
    _lock_of(file).unlink(missing_ok=True)
    if lock:
        _lock_of(file).write_bytes(lock)
    traffic = harness.fleet.traffic.begin()
    ended = harness.nursery.run(harness.fleet.folder, *APPLY)
    wrong = [] if ended.code == 0 else [f"the next apply ended with {ended.code}: {ended.said}"]
    wrong += [f"it sent {effect}" for effect in traffic.effects()]
    wrong += [*harness.fleet.compare(), *check_silence(harness.fleet, harness.nursery)]
    return Story(title, title, wrong)

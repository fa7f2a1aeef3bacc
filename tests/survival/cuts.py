"""A power cut: of the ledger there is only its beginning, while the services are as they are."""

from collections.abc import Iterator
from pathlib import Path

from tests.survival.fleet import APPLY, DeclaredService, model
from tests.survival.kills import Harness
from tests.survival.verdict import Story, check_silence

NAMES = ("changed", "changed-too", "deleted")


def cut_everywhere(harness: Harness) -> Iterator[Story]:
    """Every line of a ledger missing, begun, there by half and there but for its end."""
    file = harness.fleet.ledger_file
    _write_history(harness)
    data = file.read_bytes()
    for cut in _find_cuts(data):
        yield _cut(harness, file, data, cut)


def _write_history(harness: Harness) -> None:
    """Two applies over services that were there before: what of them is declared can be read."""
    for name in NAMES:
        harness.fleet.emulator.deploy(name, model("old"))
    for names, shown in ((NAMES, "one"), (NAMES[:-1], "two")):
        harness.fleet.declare(dict.fromkeys(names, DeclaredService(model(shown), whole=False)))
        ended = harness.nursery.run(harness.fleet.folder, *APPLY)
        assert ended.code == 0, ended.said


def _find_cuts(data: bytes) -> list[int]:
    cuts: set[int] = set()
    start = 0
    for line in data.splitlines(keepends=True):
        cuts |= {start, start + 1, start + len(line) // 2, start + len(line) - 1}
        start += len(line)
    return sorted(cuts)


def _cut(harness: Harness, file: Path, data: bytes, cut: int) -> Story:
    """What is live is as declared: whatever the ledger has forgotten, nothing is written."""
    file.write_bytes(data[:cut])
    traffic = harness.fleet.traffic.begin()
    ended = harness.nursery.run(harness.fleet.folder, *APPLY)
    wrong = [] if ended.code == 0 else [f"the next apply ended with {ended.code}: {ended.said}"]
    wrong += [f"it sent {effect}" for effect in traffic.effects()]
    wrong += [*harness.fleet.compare(), *check_silence(harness.fleet, harness.nursery)]
    title = f"cut at byte {cut} of {len(data)}"
    return Story(title, title, wrong)

"""What a ledger costs as it grows: reading all of it, and writing one more step."""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from reconciler.ledgers.chain import START, chain_head_after, join
from reconciler.ledgers.file import FileLedger
from reconciler.model import Address
from tests.benchmarks.measure import Figure, take_turns, time_call
from tests.ledgers import make_entry, make_intent

SMALL, LARGE = 10_000, 100_000
RESOURCES = 5_000
WRITES = 50


def _fill(folder: Path, entries: int) -> FileLedger:
    """A ledger of so many steps, each with its intent, of thousands of resources in turn."""
    uri = "https://acct.blob.core.windows.net/models/2026-11-20.ilearner"
    patch = ({"op": "replace", "path": "/properties/assets/asset3/locationInfo/uri", "value": uri},)
    intent = make_intent(patch=patch, inverse=patch, owned_paths=(patch[0]["path"],))
    entry = make_entry(owned={patch[0]["path"]: uri})
    end = START
    with (folder / "ledger.jsonl").open("wb") as file:
        for number in range(entries):
            address = Address("WebService", f"s{number % RESOURCES}")
            # A resource is recorded by its id: two addresses of one id are one resource.
            own = f"/x/{address.name}"
            line = join(end, replace(intent, address=address, id=own))
            end = chain_head_after(line[:-1])
            file.write(line)
            line = join(end, replace(entry, address=address, id=own, intent=end.sequence))
            end = chain_head_after(line[:-1])
            file.write(line)
    return FileLedger(folder)


def measure_reading() -> Figure:
    """Loading, a thousand steps' share of it: the same however many there are."""
    return _compare("ledger of 100,000 steps, read", _load, 1.3)


def measure_writing() -> Figure:
    """An intent and its outcome, durable: the same however long the ledger is."""
    return _compare("ledger of 100,000 steps, 50 more", lambda ledger, _: _write(ledger), 1.3)


def _compare(name: str, work: Callable[[FileLedger, int], float], goal: float) -> Figure:
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        small, large = _fill(Path(one), SMALL), _fill(Path(other), LARGE)
        sizes = [Path(folder, "ledger.jsonl").stat().st_size for folder in (one, other)]
        assert sizes[1] / sizes[0] < 1.02 * LARGE / SMALL
        medians = take_turns(lambda: work(large, LARGE), lambda: work(small, SMALL), 5)
    return Figure(name, *medians, "the same of 10,000", goal)


def _load(ledger: FileLedger, entries: int) -> float:
    def load() -> None:
        assert len(ledger.load().last_applied_by_address) == RESOURCES

    return time_call(load) * 1000 / entries


def _write(ledger: FileLedger) -> float:
    def write() -> None:
        for _ in range(WRITES):
            ledger.record(make_entry("s1", intent=ledger.intend(make_intent("s1"))))

    return time_call(write)

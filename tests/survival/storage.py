"""The same with the ledger in blob storage, whose lease is the lock."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.world import Emulator
from tests.survival.kills import Harness, make_harnesses, prepare, run_stories
from tests.survival.places import End
from tests.survival.verdict import Story

_CHANGING = ("about to send P", "about to send DELETE", "answered P", "answered DELETE")
_KEEPING = ("before ledger.intend", "after ledger.intend", "before ledger.record")


@contextmanager
def open_stored(folder: Path, emulator: Emulator, count: int) -> Iterator[list[Harness]]:
    """Lanes whose ledgers lie in one container at the emulator's storage."""
    container = f"{emulator.blob}/devstoreaccount1/reconciler"
    with make_harnesses(folder, emulator, count, container) as harnesses:
        yield harnesses


def die_where_it_counts(harnesses: list[Harness], most: int) -> Iterator[Story]:
    """At most so many stories of runs that are killed about a write or a line of the ledger."""
    places = prepare(harnesses)
    counting = [
        number
        for number, name in enumerate(places, 1)
        if name.startswith(_CHANGING) or name in _KEEPING
    ]
    chosen = counting[:: max(1, -(-len(counting) // most))]
    return run_stories(harnesses, [(End(number),) for number in chosen])

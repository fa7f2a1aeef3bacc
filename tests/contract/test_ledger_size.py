"""The size of a ledger: what is refused, what a compaction still reads, and what memory it takes."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.errors import LedgerInvalid
from reconciler.ledgers import blob_client, blob_copy, chain, line_file
from reconciler.model import Event
from tests.contract.homes import Folder, Home, lock_owner
from tests.contract.test_ledger import entry
from tests.ledgers import make_fact

pytestmark = pytest.mark.contract
LONG = "x" * 50_000


def trace(work: Callable[[], object]) -> int:
    """The most bytes that some work holds at one time."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def silent(_: Event) -> None:
    """Nobody listens."""


def fill(home: Home, lines: int, folder: Path) -> None:
    """As many long lines. A container gets them from a file, in a few calls instead of hundreds."""
    if not isinstance(home, Folder):
        source = Folder(folder)
        fill(source, lines, folder)
        found = source.read_lines()
        parts = [b"".join(found[at : at + 20]) for at in range(0, lines, 20)]
        home.open().record(entry("a"))
        home.replace_lines(parts)
        return
    with home.open().lock(lock_owner(), 0, silent) as lease:
        for number in range(lines):
            home.open().record(
                make_fact(
                    subject=f"Retraining/{number % 2}",
                    data={"details": LONG},
                    fence=lease.lock_owner.fence,
                )
            )


def test_a_ledger_that_takes_too_long_to_read_is_refused_until_it_is_compacted(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abcdef":
        home.open().record(entry(name))
    monkeypatch.setattr(chain, "MOST_BYTES", len(b"".join(home.read_lines())) - 1)
    with pytest.raises(LedgerInvalid, match="MiB since its last checkpoint") as caught:
        home.open().load()
    assert "reconciler ledger compact" in caught.value.next_step
    assert home.open().compact()
    assert len(home.open().load().last_applied_by_address) == 6
    assert home.open().verify().findings == ()


def test_the_lines_of_a_ledger_are_not_held_in_memory(
    home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(blob_copy, "_LEAST_FILE", 250_000)
    for module in (blob_client, blob_copy, line_file):
        monkeypatch.setattr(module, "_PART", 250_000)
    fill(home, 100, tmp_path / "source")
    ledger = home.open()
    ledger.load()  # imports and connections
    assert trace(ledger.load) < 4_000_000
    assert trace(lambda: list(ledger.entries())) < 4_000_000
    assert trace(ledger.verify) < 4_000_000
    assert ledger.compact()
    assert trace(ledger.verify) < 4_000_000, "an archive is read by lines too"


def test_an_end_without_a_line_is_not_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line_file, "LONGEST", 100_000)
    home = Folder(tmp_path / "ledger")
    home.open().record(entry("a"))
    with (home.folder / "ledger.jsonl").open("ab") as file:
        file.write(b"x" * 1_000_000)
    with pytest.raises(LedgerInvalid, match="the last line of the ledger is longer than"):
        home.open().load()
    with pytest.raises(LedgerInvalid, match="the last line of the ledger is longer than"):
        home.open().record(entry("b"))
    assert [one.severity for one in home.open().verify().findings] == ["error"]

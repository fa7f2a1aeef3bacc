"""The end of a ledger: what its lock remembers of it, and what is found because of that."""

import json
from collections.abc import Callable

import pytest

from reconciler.errors import LedgerInvalid
from reconciler.ledgers.chain import digest_line, seal
from reconciler.model import Event
from tests.contract.homes import Home, hear, hold, lock_owner, run_beside, write
from tests.contract.test_ledger import entry, outcome
from tests.ledgers import make_fact, make_intent

pytestmark = pytest.mark.contract


def silent(_: Event) -> None:
    """Nobody listens."""


def apply(home: Home, *names: str) -> None:
    """A run that holds the lock and records steps."""
    with home.open().lock(lock_owner(), 0, silent) as lease:
        ledger, fence = home.open(), lease.lock_owner.fence
        for name in names:
            number = ledger.intend(make_intent(name, fence=fence))
            ledger.record(outcome(number, name, fence=fence))


def chain_anew(lines: list[bytes]) -> list[bytes]:
    """The lines with digests that are right again, the last one by another author."""
    chained: list[bytes] = []
    for number, line in enumerate(lines):
        said = json.loads(line)
        del said["digest"]
        if number == len(lines) - 1:
            said["by"] = "mallory"
        if chained:
            said["previous"] = digest_line(chained[-1][:-1])
        chained.append(seal(said) + b"\n")
    return chained


HARMS: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "changed": lambda lines: [*lines[:-1], lines[-1].replace(b'"by":"ci"', b'"by":"me"')],
    "chained anew": chain_anew,
    "cut": lambda lines: lines[:-1],
    "cut by two": lambda lines: lines[:-2],
    "emptied": lambda _: [],
}


@pytest.mark.parametrize("harm", HARMS)
def test_a_harmed_end_is_found_until_the_ledger_is_moved_away(home: Home, harm: str) -> None:
    apply(home, "a", "b")
    home.replace_lines(HARMS[harm](home.read_lines()))
    (found,) = home.open().verify().findings
    assert (found.severity, "ledger rebuild" in found.next_step) == ("error", True)
    for _ in range(2):  # the first refusal must not make it right
        with pytest.raises(LedgerInvalid), home.open().lock(lock_owner(), 0, silent):
            pass
    if harm != "emptied":
        with pytest.raises(LedgerInvalid):
            home.open().load()
    home.open().set_aside()
    apply(home, "c")
    assert home.open().verify().findings == ()
    assert len(home.open().load().last_applied_by_address) == 1


def test_a_ledger_that_is_gone_is_missed(home: Home) -> None:
    apply(home, "a")
    sequence = len(home.read_lines())
    home.remove()
    (found,) = home.open().verify().findings
    assert found.message == f"the ledger is empty, and its lock remembers sequence {sequence}"
    with pytest.raises(LedgerInvalid), home.open().lock(lock_owner(), 0, silent):
        pass
    assert home.open().load().known is False  # a plan needs no ledger
    assert home.open().set_aside() == ""
    apply(home, "b")
    assert home.open().verify().findings == ()


def test_what_a_killed_run_wrote_is_kept_and_the_next_run_remembers_it(home: Home) -> None:
    apply(home, "a")
    with run_beside(hold(home)) as (process, line):
        hear(line)
        line.send(write)
        assert hear(line) == "done"
        process.kill()
        process.join()
    assert home.open().verify().findings == ()
    apply(home, "b")
    lines = home.read_lines()
    assert home.open().verify().findings == ()
    home.replace_lines(chain_anew(lines))
    assert [one.severity for one in home.open().verify().findings] == ["error"]


def test_a_line_before_later_ones_is_compared_too(home: Home) -> None:
    """Lines that no lock remembers yet follow the line that it remembers."""
    apply(home, "a")
    remembered = len(home.read_lines())
    home.open().record(entry("later"))
    lines = home.read_lines()
    harmed = chain_anew(lines[:remembered])
    later = json.loads(lines[-1])
    del later["digest"]
    home.replace_lines([*harmed, seal({**later, "previous": digest_line(harmed[-1][:-1])}) + b"\n"])
    (found,) = home.open().verify().findings
    assert f"the line with sequence {remembered} was changed" in found.message
    with pytest.raises(LedgerInvalid, match="was changed"):
        home.open().load()
    with pytest.raises(LedgerInvalid, match="was changed"):
        home.open().lock(lock_owner(), 0, silent)


def test_a_compaction_keeps_the_end_that_is_remembered(home: Home) -> None:
    apply(home, "a", "b")
    home.open().compact()  # a run that is killed before it releases its lock
    assert home.open().verify().findings == ()
    apply(home, "c")
    assert home.open().verify().findings == ()
    assert len(home.open().load().last_applied_by_address) == 3


def test_a_run_that_loses_lines_does_not_forget_them(home: Home) -> None:
    apply(home, "a")
    with home.open().lock(lock_owner(), 0, silent):
        home.replace_lines(home.read_lines()[:1])
    with pytest.raises(LedgerInvalid, match="the last lines of the ledger are missing"):
        home.open().lock(lock_owner(), 0, silent)


def test_verify_reports_the_head(home: Home) -> None:
    assert (home.open().verify().sequence, home.open().verify().digest) == (0, "")
    apply(home, "a")
    lines, verify_report = home.read_lines(), home.open().verify()
    assert (verify_report.sequence, verify_report.digest) == (
        len(lines),
        digest_line(lines[-1][:-1]),
    )


@pytest.mark.parametrize("left", [b"", None], ids=["empty", "gone"])
def test_a_ledger_without_lines_says_what_it_has_lost(home: Home, left: bytes | None) -> None:
    assert home.open().load().lost is None
    apply(home, "a", "b")
    assert home.open().load().lost is None
    sequence = json.loads(home.read_lines()[-1])["sequence"]
    if left is None:
        home.remove()
    else:
        home.replace_lines([])
    snapshot = home.open().load()
    assert snapshot.lost is not None
    assert (snapshot.known, snapshot.lost.severity) == (False, "warning")
    said = f"the ledger is empty, and its lock remembers sequence {sequence}"
    assert said in snapshot.lost.message
    assert "ledger rebuild" in snapshot.lost.next_step


def test_a_ledger_with_facts_alone_has_lost_nothing(home: Home) -> None:
    """A project that was retrained before its first apply."""
    with home.open().lock(lock_owner(), 0, silent) as lease:
        home.open().record(make_fact(fence=lease.lock_owner.fence))
    snapshot = home.open().load()
    assert (snapshot.known, snapshot.lost) == (False, None)

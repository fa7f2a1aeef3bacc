"""What every ledger must do; the suite runs over each implementation."""

import contextlib
import multiprocessing
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from reconciler.errors import LedgerConflict, LedgerInvalid
from reconciler.model import Action, Address, Entry, LastApplied, StepResult
from reconciler.ports import Ledger
from tests.contract.homes import Home
from tests.ledgers import make_entry, make_fact, make_intent

pytestmark = pytest.mark.contract
CENSUS = Address("WebService", "census")
FLEET = Address("Fleet", "bike-rental")


def entry(name: str = "census", action: Action = Action.UPDATE, **more: Any) -> Entry:
    """One with values that a careless writer would lose."""
    patch = ({"op": "replace", "path": "/a~1b", "value": "ä\ud800\n"},)
    inverse = ({"op": "replace", "path": "/a~1b", "value": None},)
    owned = {"/a~1b": [1, 1.0, True, None, ""]}
    given = {"patch": patch, "inverse": inverse, "owned": owned, "secrets": {"/key": "2026-q4"}}
    return make_entry(name, action, **{**given, **more})


def outcome(intent: int, name: str = "census", **more: Any) -> Entry:
    return make_entry(name, intent=intent, **more)


def test_without_an_entry_nothing_is_known(home: Home) -> None:
    ledger = home.open()
    snapshot = ledger.load()
    assert (snapshot.known, snapshot.last_applied_by_address, snapshot.open, snapshot.fence) == (
        False,
        {},
        (),
        0,
    )
    assert list(ledger.entries()) == []
    assert (ledger.find_lock_owner(), ledger.compact(), ledger.set_aside()) == (None, "", "")
    verify_report = ledger.verify()
    assert (verify_report.entries, verify_report.intents, verify_report.findings) == (0, 0, ())


def test_what_was_recorded_is_remembered_by_the_next_one(home: Home) -> None:
    reported = entry(
        digests={"/model": "sha256:1"}, baseline={"/x": {"digest": "sha256:2"}}, wave=3
    )
    reported = replace(reported, fleet=FLEET)
    home.open().record(reported)
    snapshot = home.open().load()
    assert snapshot.known
    last_applied = snapshot.last_applied_by_address[CENSUS]
    assert last_applied == LastApplied(
        id="/x/census",
        owned={"/a~1b": [1, 1.0, True, None, ""]},
        secrets={"/key": "2026-q4"},
        at=reported.at,
        by=reported.by,
        commit=reported.commit,
        sequence=last_applied.sequence,
        digests={"/model": "sha256:1"},
        baseline={"/x": {"digest": "sha256:2"}},
        wave=3,
        plan_digest=reported.plan_digest,
        step_digest=reported.step_digest,
        fleet=FLEET,
    )
    assert [type(one) for one in last_applied.owned["/a~1b"]][:3] == [int, float, bool]


def test_the_last_entry_of_a_resource_counts(home: Home) -> None:
    for by in ("a", "b"):
        home.open().record(entry(by=by))
    home.open().record(entry("other"))
    last_applied_by_address = home.open().load().last_applied_by_address
    assert last_applied_by_address[CENSUS].by == "b"
    assert len(last_applied_by_address) == 2


def states(home: Home) -> dict[str, tuple[str, str]]:
    found = home.open().load().last_applied_by_address
    return {address.name: (state.id, state.created) for address, state in found.items()}


@pytest.mark.parametrize("compacted", [False, True])
def test_an_address_that_means_another_resource_keeps_what_it_meant_before(
    home: Home, compacted: bool
) -> None:
    for name in ("one", "two"):
        intent = home.open().intend(make_intent(id=f"/x/{name}", created="then"))
        home.open().record(outcome(intent, id=f"/x/{name}", created=f"since {name}"))
    if compacted:
        assert home.open().compact()
    assert states(home) == {
        "census": ("/x/two", "since two"),
        "census.former": ("/x/one", "since one"),
    }
    assert home.open().load().former == {Address("WebService", "census.former"): CENSUS}
    home.open().record(entry(id="/X/ONE"))
    assert states(home) == {"census": ("/X/ONE", ""), "census.former": ("/x/two", "since two")}
    home.open().record(entry("census.former", Action.DELETE, id="/x/two"))
    assert states(home) == {"census": ("/X/ONE", "")}
    assert home.open().verify().findings == ()


@pytest.mark.parametrize("action", [Action.DELETE, Action.FORGET])
def test_what_is_gone_is_not_remembered_and_the_ledger_is_known(home: Home, action: Action) -> None:
    home.open().record(entry(action=Action.CREATE))
    home.open().record(entry(action=action))
    snapshot = home.open().load()
    assert (snapshot.known, snapshot.last_applied_by_address) == (True, {})


def test_entries_come_back_as_they_were_given_oldest_first(home: Home) -> None:
    reported = [entry("a"), entry("b", note="why", fence=0), entry("a", by="z", step_digest="s")]
    for one in reported:
        home.open().record(one)
    given = [replace(one, sequence=number) for number, one in enumerate(reported, start=1)]
    assert list(home.open().entries()) == given
    assert list(home.open().entries(Address("WebService", "a"))) == [given[0], given[2]]


def test_an_intent_is_open_until_its_outcome_is_written(home: Home) -> None:
    intent = make_intent(
        patch=({"op": "add", "path": "/x", "value": "ä\ud800"},),
        inverse=({"op": "remove", "path": "/x"},),
        owned_paths=("/x", "/y"),
        absences=("/z",),
        secrets={"/key": "q4"},
        digests={"/model": "sha256:1"},
        stamp="2026",
        body="whole",
        wave=2,
        fleet=FLEET,
        attempt=3,
    )
    number = home.open().intend(intent)
    begun = replace(intent, sequence=number)
    assert home.open().load().open == (begun,)
    assert home.open().load().known
    assert home.open().load().last_applied_by_address == {}
    home.open().record(outcome(number, owned={"/x": 1}))
    snapshot = home.open().load()
    assert snapshot.open == ()
    last_applied = snapshot.last_applied_by_address[CENSUS]
    assert (last_applied.owned, last_applied.wave, last_applied.step_digest) == (
        {"/x": 1},
        2,
        "sha256:1",
    )
    assert last_applied.fleet == FLEET
    (reported,) = home.open().entries()
    assert (reported.patch, reported.inverse) == (intent.patch, intent.inverse)
    assert (reported.intent, reported.step_digest, reported.wave) == (number, "sha256:1", 2)
    assert reported.fleet == FLEET


def test_the_number_and_the_title_of_one_of_several_writes_are_kept(home: Home) -> None:
    ledger = home.open()
    intent = make_intent(title="traffic: green 10 %", part=2, parts=3)
    intent = replace(intent, sequence=ledger.intend(intent))
    assert home.open().load().open == (intent,)
    ledger.record(Entry.closing(intent, "2026-11-20T12:00:01Z", 0))
    (written,) = home.open().entries()
    assert (written.part, written.parts, written.title) == (2, 3, "traffic: green 10 %")
    last_applied = home.open().load().last_applied_by_address[CENSUS]
    assert (last_applied.part, last_applied.parts) == (2, 3)
    ledger.compact()
    assert home.open().load().last_applied_by_address[CENSUS].part == 2


@pytest.mark.parametrize("result", [StepResult.NOT_DONE, StepResult.UNKNOWN])
def test_what_was_not_done_closes_its_intent_and_changes_no_memory(
    home: Home, result: StepResult
) -> None:
    ledger = home.open()
    ledger.record(entry(by="before"))
    number = ledger.intend(make_intent(action=Action.DELETE))
    ledger.record(outcome(number, action=Action.DELETE, result=result, note="live is as it was"))
    snapshot = home.open().load()
    assert (snapshot.open, snapshot.last_applied_by_address[CENSUS].by) == ((), "before")
    reported = list(home.open().entries())[-1]
    assert (reported.result, reported.note) == (result, "live is as it was")


def test_each_intent_of_a_resource_needs_its_own_outcome(home: Home) -> None:
    ledger = home.open()
    first, second, other = (ledger.intend(make_intent(name)) for name in ("a", "a", "b"))
    assert [one.sequence for one in home.open().load().open] == [first, second, other]
    ledger.record(outcome(second, "a"))
    assert [one.sequence for one in home.open().load().open] == [first, other]
    ledger.record(outcome(first, "a"))
    assert [one.sequence for one in home.open().load().open] == [other]


def test_a_writer_of_an_earlier_lock_is_refused(home: Home) -> None:
    ledger = home.open()
    number = ledger.intend(make_intent(fence=4))
    home.open().intend(make_intent("b", fence=7))
    for late in (make_intent(fence=4), make_intent(fence=6)):
        with pytest.raises(LedgerConflict, match="another process acquired the lock"):
            ledger.intend(late)
    with pytest.raises(LedgerConflict, match="its number is now 7, and ours was 4"):
        ledger.record(outcome(number, fence=4))
    ledger.record(entry("unlocked"))  # fence 0: of no lock
    with pytest.raises(LedgerConflict):
        ledger.record(outcome(number, fence=6))
    ledger.record(outcome(number, fence=7))
    assert home.open().load().fence == 7
    assert home.open().verify().findings == ()


def test_what_was_renamed_is_remembered_and_open_by_its_new_address(home: Home) -> None:
    old, new = Address("WebService", "old"), Address("WebService", "new")
    home.open().record(entry("old"))
    number = home.open().intend(make_intent("old"))
    ledger = home.open(moved={old: new})
    snapshot = ledger.load()
    assert set(snapshot.last_applied_by_address) == {new}
    assert [one.address for one in snapshot.open] == [new]
    ledger.record(outcome(number, "new"))
    assert ledger.load().open == ()
    assert ledger.verify().findings == ()


def seed(ledger: Ledger, fence: int = 2) -> None:
    """Some of everything: remembered, gone, open, failed."""
    for name in ("a", "b", "c"):
        patch = ({"op": "remove", "path": "/x"},)
        number = ledger.intend(make_intent(name, patch=patch, fence=fence, fleet=FLEET))
        ledger.record(outcome(number, name, owned={"/n": name}, fence=fence))
    ledger.record(entry("b", Action.DELETE))
    number = ledger.intend(make_intent("c", fence=fence + 1))
    ledger.record(outcome(number, "c", result=StepResult.UNKNOWN, fence=fence + 1))
    ledger.intend(make_intent("d", wave=4, fleet=FLEET, fence=fence + 1))


def test_compacting_forgets_nothing_and_stays_provable(home: Home) -> None:
    seed(home.open())
    before, entries = home.open().load(), list(home.open().entries())
    for round_ in range(3):
        assert home.open().compact()
        assert home.open().load() == before, round_
        assert list(home.open().entries()) == entries
        verify_report = home.open().verify()
        assert (verify_report.entries, verify_report.intents, verify_report.findings) == (
            len(entries),
            5 + round_,
            (),
        )
        home.open().record(outcome(home.open().intend(make_intent("e")), "e"))
        before, entries = home.open().load(), list(home.open().entries())
    (left,) = before.open
    home.open().record(outcome(left.sequence, "d", owned={"/x": 1}, fence=3))
    snapshot = home.open().load()
    assert (snapshot.open, snapshot.fence) == ((), 3)
    remembered = snapshot.last_applied_by_address[Address("WebService", "d")]
    assert (remembered.wave, remembered.fleet) == (4, FLEET)
    assert home.open().verify().findings == ()
    with pytest.raises(LedgerConflict):
        home.open().intend(make_intent(fence=2))


def test_a_ledger_that_is_open_elsewhere_goes_on_after_a_compaction(home: Home) -> None:
    one, other = home.open(), home.open()
    one.record(entry("a"))
    other.record(entry("b"))
    assert one.compact()
    other.record(entry("c"))
    one.record(entry("d"))
    assert other.compact()
    one.record(entry("e"))
    assert [reported.address.name for reported in home.open().entries()] == list("abcde")
    assert home.open().verify().findings == ()


def test_an_outcome_without_its_intent_is_found(home: Home) -> None:
    ledger = home.open()
    number = ledger.intend(make_intent("a"))
    ledger.record(outcome(number, "b"))
    ledger.record(outcome(number, "a"))
    ledger.record(entry("c"))
    verify_report = home.open().verify()
    assert (verify_report.entries, verify_report.intents) == (3, 1)
    wrong, twice = verify_report.findings
    assert "is the outcome of an intent of WebService/a, and of WebService/b" in wrong.message
    assert f"is the outcome of line {number}, which is not an open intent" in twice.message
    assert wrong.place is not None
    assert twice.place is not None
    assert (wrong.place.line, twice.place.line) == (2, 3)
    for read in (home.open().load, lambda: list(home.open().entries())):
        with pytest.raises(LedgerInvalid, match="line 2 of the ledger is the outcome of an intent"):
            read()


def test_an_outcome_of_a_closed_intent_is_refused(home: Home) -> None:
    ledger = home.open()
    number = ledger.intend(make_intent("a"))
    for _ in range(2):
        ledger.record(outcome(number, "a"))
    with pytest.raises(
        LedgerInvalid, match=f"line 3 .* line {number}, which is not an open intent"
    ):
        home.open().load()


def test_what_is_set_aside_is_kept_and_a_ledger_begins_anew(home: Home) -> None:
    busy = home.open()
    seed(busy)
    kept = home.open().set_aside()
    assert "aside" in kept
    assert home.open().load().known is False
    busy.record(entry("new"))
    assert [one.address.name for one in home.open().entries()] == ["new"]
    assert home.open().verify().findings == ()


def test_an_entry_may_be_some_megabytes_long(home: Home) -> None:
    patch = ({"op": "add", "path": "/x", "value": "x" * 3_000_000},)
    large = entry("large", owned={"/x": "ä" * 3_000_000}, patch=patch)
    home.open().record(large)
    home.open().record(entry("small"))
    assert next(home.open().entries()) == replace(large, sequence=1)
    assert len(home.open().load().last_applied_by_address) == 2


def test_threads_of_one_process_may_write_at_once(home: Home) -> None:
    ledger = home.open()
    numbers: list[int] = []

    def work(name: str) -> None:
        for step in range(5):
            number = ledger.intend(make_intent(f"{name}-{step}"))
            ledger.record(outcome(number, f"{name}-{step}"))
            numbers.append(number)

    threads = [threading.Thread(target=work, args=(f"t{number}",)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(numbers)) == 30
    snapshot = home.open().load()
    assert (len(snapshot.last_applied_by_address), snapshot.open) == (30, ())
    assert home.open().verify().findings == ()


def _write_many(home: Home, name: str, count: int, half: Any = None) -> None:
    """Record so many entries, the second half of them once `half` is set."""
    for number in range(count):
        if half is not None and number == count // 2:
            assert half.wait(60)
        home.open().record(entry(f"{name}-{number}"))


def _start(work: Callable[..., None], *given: Any) -> Any:
    process = multiprocessing.get_context("fork").Process(target=work, args=given)
    process.start()
    return process


# Fewer writers with fewer lines hold the same in every run.
@pytest.mark.parametrize(
    ("writers", "lines"), [(3, 8), pytest.param(4, 15, marks=pytest.mark.slow)]
)
def test_processes_that_write_at_once_lose_nothing(home: Home, writers: int, lines: int) -> None:
    processes = [_start(_write_many, home, f"p{number}", lines) for number in range(writers)]
    known = 0
    while any(process.is_alive() for process in processes):
        seen = len(home.open().load().last_applied_by_address)
        assert seen >= known
        known = seen
        time.sleep(0.02)  # the writers need the processor too
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert len({one.address for one in home.open().entries()}) == writers * lines
    assert home.open().verify().findings == ()


# Four moments hold the same in every run, of which the last is as late.
@pytest.mark.parametrize(
    "moments", [range(1, 8, 2), pytest.param(range(8), marks=pytest.mark.slow)]
)
def test_a_writer_that_is_killed_loses_only_what_it_had_not_recorded(
    home: Home, moments: range
) -> None:
    for number in moments:
        process = _start(_write_many, home, f"k{number}", 10_000)
        time.sleep(0.05 + 0.03 * number)
        process.kill()
        process.join()
        known = list(home.open().entries())
        home.open().record(entry(f"after-{number}"))
        assert [one.address for one in home.open().entries()][: len(known)] == [
            one.address for one in known
        ]
    assert sum(one.address.name.startswith("after-") for one in home.open().entries()) == len(
        moments
    )
    assert [one.severity for one in home.open().verify().findings] == []


def test_compacting_beside_writers_loses_nothing(home: Home) -> None:
    compacted = multiprocessing.get_context("fork").Event()
    processes = [_start(_write_many, home, f"p{number}", 12, compacted) for number in range(2)]
    archives = set()
    while any(process.is_alive() for process in processes):
        with contextlib.suppress(LedgerInvalid):  # somebody writes to it all the time
            archives.add(home.open().compact())
            compacted.set()
        home.open().load()
        time.sleep(0.02)  # the writers need the processor too
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert archives
    assert len(list(home.open().entries())) == 24
    assert home.open().verify().findings == ()


def test_the_last_fact_of_a_topic_and_a_subject_counts(home: Home) -> None:
    data = {"run": "1", "metrics": {"AUC": 0.9}, "ä\n": [None, 1.0]}
    home.open().record(make_fact(data={"run": "0"}))
    home.open().record(make_fact(data=data))
    home.open().record(make_fact("evaluation", "sha256:1"))
    facts = home.open().load().facts
    assert set(facts) == {("job", "Retraining/census"), ("evaluation", "sha256:1")}
    last = facts["job", "Retraining/census"]
    assert last == make_fact(data=data, sequence=last.sequence)
    assert [one.data["run"] for one in home.open().facts("job")] == ["0", "1"]


def test_facts_say_nothing_about_resources(home: Home) -> None:
    home.open().record(make_fact())
    snapshot = home.open().load()
    assert (snapshot.known, snapshot.last_applied_by_address) == (False, {})
    home.open().record(entry())
    assert [one.address for one in home.open().entries()] == [CENSUS]
    report = home.open().verify()
    assert (report.entries, report.facts, report.findings) == (1, 1, ())


def test_facts_outlive_a_compaction(home: Home) -> None:
    home.open().record(entry())
    for run in ("0", "1"):
        home.open().record(make_fact(data={"run": run}))
    before = home.open().load()
    assert home.open().compact()
    after = home.open().load()
    assert after.facts == before.facts
    home.open().record(make_fact(data={"run": "2"}))
    assert home.open().load().facts["job", "Retraining/census"].data == {"run": "2"}
    assert [one.data["run"] for one in home.open().facts("job")] == ["0", "1", "2"]
    assert home.open().verify().findings == ()


def test_a_fact_of_a_lock_that_was_lost_is_refused(home: Home) -> None:
    ledger = home.open()
    ledger.intend(make_intent(fence=2))
    with pytest.raises(LedgerConflict):
        ledger.record(make_fact(fence=1))
    assert ledger.load().facts == {}


def test_every_line_names_the_environment_of_its_ledger(home: Home) -> None:
    ledger = home.open(environment="dev")
    number = ledger.intend(make_intent())
    ledger.record(outcome(number))
    ledger.record(make_fact())
    ledger.record(entry("other"))
    assert [b'"environment":"dev"' in line for line in home.read_lines()] == [True] * 4
    assert {one.environment for one in ledger.entries()} == {"dev"}
    assert {one.environment for one in ledger.load().facts.values()} == {"dev"}
    ledger.compact()
    again = home.open(environment="dev")
    states = again.load().last_applied_by_address.values()
    assert {one.environment for one in states} == {"dev"}
    assert again.verify().findings == ()


@pytest.mark.parametrize("compacted", [False, True])
@pytest.mark.parametrize("other", ["prod", ""])
def test_a_ledger_of_another_environment_is_refused(
    home: Home, other: str, *, compacted: bool
) -> None:
    home.open(environment="dev").record(entry())
    if compacted:
        home.open(environment="dev").compact()
    ledger = home.open(environment=other)
    for read in (ledger.load, lambda: list(ledger.entries()), ledger.compact):
        with pytest.raises(LedgerInvalid) as refused:
            read()
        here = f'this is "{other}"' if other else "this has none"
        assert f'belongs to the environment "dev", and {here}' in str(refused.value)
        assert "Restore" not in refused.value.next_step
    assert {one.severity for one in ledger.verify().findings} == {"error"}


def test_a_ledger_without_an_environment_can_be_taken_over(home: Home) -> None:
    home.open().record(entry())
    before = home.read_lines()
    assert b"environment" not in before[0]
    ledger = home.open(environment="prod")
    ledger.record(entry("other"))
    assert home.read_lines()[:1] == before
    assert {one.environment for one in ledger.entries()} == {"", "prod"}
    assert ledger.verify().findings == ()

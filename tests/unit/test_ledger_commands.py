"""What the commands over a ledger do to it: take in, begin anew, unlock; over one in memory."""

import json
from pathlib import Path

import pytest

from reconciler.cli.commands.force_unlock import find_named
from reconciler.cli.commands.ledger import record_all, record_missing, rename_taken_in
from reconciler.document.pointers import set_at, split_pointer
from reconciler.engine.applying.journal import Author
from reconciler.engine.planning.plan import make_plan
from reconciler.engine.planning.selection import PlanRequest
from reconciler.engine.rebuild import rebuild_entries
from reconciler.errors import LedgerConflict, ReconcilerError, Unavailable, Unplannable
from reconciler.model import Action, Address, Finding, VerifyReport
from reconciler.render.ledger import (
    is_whole,
    render_rebuilt_entries,
    render_verify_report,
    verify_report_document,
)
from reconciler.render.words.colour import Paint
from tests.ledgers import MemoryLedger, make_entry, make_intent
from tests.outputs import check_output
from tests.unit.test_engine import LOCK_OWNER, NEW, OLD, World
from tests.unit.test_rollback import CALLS, CENSUS, URI, apply, ordered, spec, world_after

AUTHOR = Author("ann", "desk", "beef123", "")


def test_what_could_not_be_recorded_is_taken_in_once() -> None:
    ledger = MemoryLedger()
    ledger.record(make_entry(at="2026-11-20T10:00:00Z", step_digest="sha256:a"))
    lost = [
        make_entry(at="2026-11-20T10:00:00Z", step_digest="sha256:a"),
        make_entry(at="2026-11-20T10:00:00Z", step_digest="sha256:b", fence=7),
        make_entry("other", at="2026-11-20T10:00:00Z", step_digest="sha256:a"),
    ]
    for expected in (2, 0):
        with ledger.lock(LOCK_OWNER, 0.0, lambda _: None) as lease:
            assert record_missing(ledger, lease, lost) == expected
    assert [line.fence for line in ledger.lines] == [0, 1, 1], "under the lock of now"


def test_what_another_run_has_found_out_meanwhile_is_not_taken_in_again() -> None:
    ledger = MemoryLedger()
    number = ledger.intend(make_intent(step_digest="sha256:a"))
    lost = make_entry(intent=number, step_digest="sha256:a", at="2026-11-20T10:00:00Z")
    ledger.record(make_entry(intent=number, step_digest="sha256:a", at="2026-11-20T11:00:00Z"))
    with ledger.lock(LOCK_OWNER, 0.0, lambda _: None) as lease:
        assert record_missing(ledger, lease, [lost]) == 0


def test_what_is_taken_in_closes_its_own_intent_and_no_other() -> None:
    ledger = MemoryLedger()
    ours = ledger.intend(make_intent(step_digest="sha256:a"))
    theirs = ledger.intend(make_intent("other", step_digest="sha256:b"))
    lost = [
        make_entry(intent=ours, step_digest="sha256:a", at="1"),
        make_entry(intent=theirs, step_digest="sha256:c", at="2"),
        make_entry(intent=99, step_digest="sha256:d", at="3"),
    ]
    with ledger.lock(LOCK_OWNER, 0.0, lambda _: None) as lease:
        assert record_missing(ledger, lease, lost) == 3
    assert [entry.intent for entry in ledger.entries()] == [ours, 0, 0]
    assert [intent.sequence for intent in ledger.load().open] == [theirs]


def test_a_lock_that_is_gone_stops_what_writes() -> None:
    ledger = MemoryLedger()
    ledger.record(make_entry())
    for write in (
        lambda lease: record_missing(ledger, lease, [make_entry("other")]),
        lambda lease: record_all(ledger, lease, [make_entry("other")]),
    ):
        with ledger.lock(LOCK_OWNER, 0.0, lambda _: None) as lease:
            ledger.unlock(LOCK_OWNER.id)
            with pytest.raises(LedgerConflict):
                write(lease)
        assert [entry.address.name for entry in ledger.entries()] == ["census"]


def test_a_file_that_was_taken_in_is_renamed_over_no_other(tmp_path: Path) -> None:
    names = []
    for number in range(3):
        file = tmp_path / "errored.ledger.json"
        file.write_text(str(number))
        names.append(rename_taken_in(file).name)
    assert names == [
        "errored.ledger.json.recovered",
        "errored.ledger.json.recovered-2",
        "errored.ledger.json.recovered-3",
    ]
    assert [(tmp_path / name).read_text() for name in names] == ["0", "1", "2"]


def test_a_whole_chain_and_a_broken_one_are_told() -> None:
    whole = VerifyReport(1204, 1, ())
    assert render_verify_report(whole, Paint()) == (
        "The ledger holds: 1,204 entries, 1 intent, chain intact."
    )
    warning = Finding("a torn line was set aside", severity="warning")
    assert is_whole(VerifyReport(1, 1, (warning,)))
    bad = Finding("line 7 does not follow the line before it", subject="l.jsonl:7", next_step="X")
    broken = VerifyReport(1, 0, (bad, warning))
    said = render_verify_report(broken, Paint())
    assert said.startswith("The ledger holds: 1 entry, 0 intents, chain broken.")
    assert "Error: l.jsonl:7: line 7 does not follow" in said
    assert not is_whole(broken)
    for verify_report, recovered in ((whole, None), (broken, 3)):
        document = verify_report_document(verify_report, recovered)
        check_output(json.loads(json.dumps(document)), "ledger")
        assert document["whole"] == (verify_report is whole)
    assert verify_report_document(broken, 3)["recovered"] == 3


def rebuilt(world: World, request: PlanRequest) -> str:
    """Rebuild the ledger of a world; returns what is told."""
    found = rebuild_entries(world.runtime(), request, AUTHOR)
    with world.ledger.lock(LOCK_OWNER, 0.0, world.events.append) as lease:
        world.ledger.set_aside()
        record_all(world.ledger, lease, [one.entry for one in found if one.entry])
    return render_rebuilt_entries(found, {Address("WebService", "orphan")})


def test_a_plan_after_a_rebuild_has_the_same_changes() -> None:
    key = "/properties/keys/primary"
    given = {**spec(NEW, 20), "secrets": {key: {"env": "KEY", "version": "v2"}}}
    world = world_after(given)
    set_at(world.documents["census"], split_pointer(CALLS), 7)
    before = make_plan(world.runtime(), ordered(given))
    said = rebuilt(world, ordered(given))
    after = make_plan(world.runtime(), ordered(given))
    assert [step.ops for step in after.steps] == [step.ops for step in before.steps] != []
    assert [step.secrets for step in after.steps] == [step.secrets for step in before.steps]
    (entry,) = world.ledger.entries()
    assert (entry.action, entry.by, entry.commit) == (Action.ADOPT, "ann", "beef123")
    assert (entry.owned, entry.secrets) == ({URI: NEW}, {key: "v2"})
    assert entry.baseline["/location"] == "southcentralus"
    assert not {URI, CALLS} & set(entry.baseline)
    assert len(world.ledger.archives) == 1
    for line in (
        "<= WebService/census [census]: 1 value remembered",
        "left out, the live value differs: properties.realtimeConfiguration.maxConcurrentCalls",
        "assumed to be as declared: properties.keys.primary version v2",
        "not known: who applied what, and when",
        "not known: which bytes were applied at properties.assets.asset3.locationInfo.uri",
        "the ledger will not remember: WebService/orphan",
    ):
        assert line in said


def test_without_any_change_a_plan_after_a_rebuild_is_silent_and_knows_who_moves_next() -> None:
    world = world_after(spec(NEW, 20))
    rebuilt(world, ordered(spec(NEW, 20)))
    assert make_plan(world.runtime(), ordered(spec(NEW, 20))).steps == ()
    set_at(world.documents["census"], split_pointer(CALLS), 7)
    (step,) = make_plan(world.runtime(), ordered(spec(NEW, 20))).steps
    assert step.reasons[0].cause.value == "drift"


def test_a_service_that_is_not_there_is_not_remembered() -> None:
    world = world_after(spec(NEW, 20))
    world.documents.clear()
    assert "WebService/census [census] does not exist: nothing" in rebuilt(world, ordered(spec()))
    assert world.ledger.lines == []


def test_what_is_never_shown_is_not_said_to_be_remembered() -> None:
    world = world_after()
    given = {"definition": {"properties": {"commitmentPlan": {"id": "/plans/p"}}}}
    apply(world, given)
    assert "never returns it: properties.commitmentPlan.id" in rebuilt(world, ordered(given))
    (entry,) = world.ledger.entries()
    assert entry.owned == {}


def test_nothing_is_remembered_where_anything_could_not_be_read() -> None:
    world = world_after(spec(NEW, 20))
    world.fails = {"census": Unavailable("no answer", status=500)}
    with pytest.raises(Unplannable):
        rebuild_entries(world.runtime(), ordered(spec()), AUTHOR)
    world.fails = {}
    wrong = {"trainedModels": {"No such": {"uri": OLD}}}
    with pytest.raises(Unplannable, match="no trained model is named"):
        rebuild_entries(world.runtime(), ordered(wrong), AUTHOR)


def test_a_lock_is_taken_away_by_its_id_alone() -> None:
    ledger = MemoryLedger()
    with pytest.raises(ReconcilerError, match="is not locked"):
        find_named(ledger, "1")
    with ledger.lock(LOCK_OWNER, 0.0, lambda _: None):
        assert find_named(ledger, LOCK_OWNER.id).who == "ci"
        with pytest.raises(ReconcilerError, match="held for apply by ci on builder") as caught:
            find_named(ledger, "2")
        assert caught.value.next_step.endswith(f"force-unlock {LOCK_OWNER.id}")


def test_a_rebuilt_resource_is_in_history_as_adopted() -> None:
    world = world_after(spec(NEW, 20))
    rebuilt(world, ordered(spec(NEW, 20)))
    (entry,) = world.ledger.entries(CENSUS)
    assert (entry.action.symbol, entry.note) == ("<=", "rebuilt from what was live")

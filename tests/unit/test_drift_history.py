"""What a drift report knows of earlier runs: what is new, since when, and the trend."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import process_time
from typing import Any

import pytest

from reconciler.engine.drift import report_drift
from reconciler.engine.planning.plan import make_plan
from reconciler.errors import LedgerInvalid, Unavailable
from reconciler.ledgers.drift_history import NAME, HistoryFile, StoredDriftHistory
from reconciler.model import (
    Address,
    Cause,
    DriftPast,
    DriftReport,
    DriftRun,
    Finding,
    Outcome,
    Reason,
    SourceLocation,
    Verdict,
)
from reconciler.plans.drift_file import drift_document
from reconciler.plans.drift_history import MOST_OPEN, add_run, date_finding, find_overwritten
from reconciler.render.drift.html import render_drift_page
from reconciler.render.drift.markdown import render_drift_markdown
from reconciler.render.drift.text import render_drift
from reconciler.render.events.outcome import render_outcome
from reconciler.render.words.colour import Paint
from reconciler.text.json_text import canonical
from tests.ledgers import MemoryHistory
from tests.outputs import check_output
from tests.unit.test_drift import applied, move, only, swap
from tests.unit.test_engine import NEW, OLD, Ledger, World, carry_out, make_request, run, world_of

__all__ = ["applied"]  # a fixture
A = Address("WebService", "a")
NOW = "2026-11-21T00:00:00Z"


def report(world: World, day: int, *names: str, **more: Any) -> DriftReport:
    """The report of one day; `listed` also lists what no manifest names."""
    runtime = replace(
        world.runtime(), clock=lambda: datetime(2026, 11, 20, tzinfo=UTC) + timedelta(days=day)
    )
    listed = more.pop("listed", False)
    asked = make_request(*(names or ("a", "b")), uri=NEW, refresh="full", **more)
    return report_drift(runtime, asked, list_unmanaged=listed)


def dates(reported: DriftReport) -> list[tuple[str, bool]]:
    return [(one.since[:10], one.is_new) for one in reported.findings]


def test_a_finding_is_new_once_and_keeps_its_date(applied: World) -> None:
    swap(applied, "a", OLD)
    assert dates(report(applied, 0)) == [("2026-11-20", True)]
    assert dates(report(applied, 3)) == [("2026-11-20", False)]
    swap(applied, "a", NEW)
    assert dates(report(applied, 4)) == []
    swap(applied, "a", OLD)
    assert dates(report(applied, 5)) == [("2026-11-25", True)]


def test_another_value_is_another_finding(applied: World) -> None:
    swap(applied, "a", OLD)
    report(applied, 0)
    swap(applied, "a", OLD.replace("old", "older"))
    assert dates(report(applied, 1)) == [("2026-11-21", True)]


def test_what_a_run_does_not_look_at_keeps_its_date(applied: World) -> None:
    swap(applied, "a", OLD)
    report(applied, 0)
    assert dates(report(applied, 1, targets=[Address("WebService", "b")])) == []
    applied.fails["a"] = Unavailable("no answer", status=500)
    assert dates(report(applied, 2)) == [("2026-11-22", True)]
    applied.fails.clear()
    assert dates(report(applied, 3)) == [("2026-11-20", False)]


def test_an_unmanaged_service_keeps_its_date_in_runs_that_do_not_list_it(applied: World) -> None:
    applied.add("z")
    assert dates(report(applied, 0, listed=True)) == [("2026-11-20", True)]
    assert dates(report(applied, 1)) == []
    assert dates(report(applied, 2, listed=True)) == [("2026-11-20", False)]
    del applied.documents["z"]
    report(applied, 3, listed=True)
    assert applied.history.past.since == {}


def test_a_clock_that_was_ahead_gives_no_date_in_the_future(applied: World) -> None:
    swap(applied, "a", OLD)
    report(applied, 9)
    assert dates(report(applied, 2)) == [("2026-11-22", False)]
    assert dates(report(applied, 3)) == [("2026-11-22", False)]


def test_runs_are_counted_and_a_run_over_a_part_is_not(applied: World) -> None:
    report(applied, 0)
    swap(applied, "a", OLD)
    report(applied, 1, targets=[A])
    report(applied, 2, excluded=[A])
    report(applied, 3, whole=False)
    reported = report(applied, 4)
    assert [(one.at[:10], dict(one.counts)) for one in reported.runs] == [
        ("2026-11-20", {Verdict.IN_SYNC: 2}),
        ("2026-11-24", {Verdict.IN_SYNC: 1, Verdict.MODEL_SWAPPED: 1}),
    ]
    document = json.loads(canonical(drift_document(reported)))
    check_output(document, "drift")
    assert document["runs"][1] == {
        "at": "2026-11-24T00:00:00Z",
        "commit": "",
        "counts": {"in sync": 1, "model-swapped": 1},
    }
    assert (document["history"], document["findings"][0]["is_new"]) == ("kept", False)


def test_new_known_age_and_trend_are_in_each_form_for_people(applied: World) -> None:
    report(applied, 0)
    swap(applied, "a", OLD)
    report(applied, 1)
    move(applied, "b", title="another")
    reported = report(applied, 3)
    for shown in (render_drift(reported, paint=Paint()), render_drift_markdown(reported)):
        assert "first seen 2026-11-21, 2 d ago" in shown
        assert "first seen 2026-11-23 (new)" in shown
        assert "Findings: 1 new, 1 known; the oldest was first seen 2 d ago.\n" in shown
        assert "Trend: 0 1 2 not in sync in the last 3 runs.\n" in shown


def test_unmanaged_services_are_not_in_the_trend(applied: World) -> None:
    applied.add("z")
    report(applied, 0)
    shown = render_drift(report(applied, 1, listed=True), paint=Paint())
    assert "Trend: 0 0 not in sync in the last 2 runs." in shown


def test_without_a_ledger_nothing_is_kept(applied: World) -> None:
    applied.ledger = Ledger()
    reported = report(applied, 0, "a", "c")
    assert (reported.baseline, len(reported.runs)) == ("lost", 1)
    assert applied.history.past.runs == ()


ERROR = LedgerInvalid("the drift history cannot be read: no leave", subject="drift/history.jsonl")


def test_a_history_that_cannot_be_read_is_a_warning_and_is_not_overwritten(applied: World) -> None:
    swap(applied, "a", OLD)
    report(applied, 0)
    kept, applied.history.error = applied.history.past, ERROR
    reported = report(applied, 1)
    assert dates(reported) == [("2026-11-21", True)]
    assert reported.outcome == "drift"
    assert reported.history_lost is not None
    assert (reported.history_lost.severity, reported.history_lost.message) == (
        "warning",
        ERROR.message,
    )
    assert drift_document(reported)["history"] == "lost"
    assert applied.history.past is kept


def test_a_part_that_was_lost_is_reported(applied: World) -> None:
    lost = Finding("a line", place=SourceLocation("h", 3, 1), severity="warning")
    applied.history.past = replace(applied.history.past, lost=lost)
    assert report(applied, 0).history_lost is lost
    assert report(applied, 1).history_lost is None


def test_what_was_sent_is_kept_for_what_is_open(applied: World) -> None:
    swap(applied, "a", OLD)
    key = only(report(applied, 0)).key
    applied.history.note_sent([key])
    report(applied, 1)
    assert applied.history.past.sent == {key}
    swap(applied, "a", NEW)
    report(applied, 2)
    assert applied.history.past.sent == set()


@pytest.mark.parametrize("more", [0, 5])
def test_the_open_findings_are_bounded(more: int) -> None:
    since = {f"{number:024x}": "2026-11-20T00:00:00Z" for number in range(MOST_OPEN + more)}
    past = add_run(DriftPast(), DriftPast(), DriftRun("2026-11-20T00:00:00Z", "", {}), since)
    assert len(past.since) == MOST_OPEN


def fix(world: World, day: int, *names: str, **more: Any) -> Outcome:
    """An apply of one day, with what it plans."""
    now = datetime(2026, 11, 20, tzinfo=UTC) + timedelta(days=day)
    runtime = replace(world.runtime(), clock=lambda: now)
    plan = make_plan(runtime, make_request(*names, uri=NEW, refresh="full", **more))
    return carry_out(runtime, plan)


def test_an_apply_keeps_the_drift_that_no_report_had(applied: World) -> None:
    swap(applied, "a", OLD)
    with_key = only(report(replace_history(applied), 0)).key
    assert fix(applied, 1, "a", "b").unkept == ()
    reported = report(applied, 2)
    assert (reported.outcome, applied.uri("a")) == ("in-sync", NEW)
    (found,) = reported.overwritten
    assert (found.key, found.verdict, found.since) == (
        with_key,
        Verdict.MODEL_SWAPPED,
        "2026-11-21T00:00:00Z",
    )
    document = json.loads(canonical(drift_document(reported)))
    check_output(document, "drift")
    assert document["overwritten"] == [
        {
            "address": "WebService/a",
            "key": with_key,
            "verdict": "model-swapped",
            "pointer": "/properties/assets/asset3/locationInfo/uri",
            "at": "2026-11-21T00:00:00Z",
            "by": "2026-11-21 by ci@4f1c2aa",
        }
    ]
    line = (
        "WebService/a model-swapped properties.assets.asset3.locationInfo.uri:"
        " 2026-11-21 by ci@4f1c2aa; reconciler history WebService/a"
    )
    text = render_drift(reported, paint=Paint())
    assert "Overwritten by an apply before a report had it: 1 finding of the last 7 days." in text
    assert f"\n  {line}" in text
    assert f"- `{line}`" in render_drift_markdown(reported)
    assert "Overwritten by an apply before a report had it" in render_drift_page([reported])


def replace_history(world: World) -> World:
    """The same world with a history of its own, so that a report leaves no trace."""
    return replace(world, history=MemoryHistory())


def test_what_a_report_had_is_not_kept_again(applied: World) -> None:
    swap(applied, "a", OLD)
    report(applied, 0)
    fix(applied, 1, "a", "b")
    assert report(applied, 2).overwritten == ()


def test_what_was_overwritten_is_shown_for_a_week(applied: World) -> None:
    swap(applied, "a", OLD)
    fix(applied, 0, "a")
    assert len(report(applied, 7).overwritten) == 1
    assert report(applied, 8).overwritten == ()


def test_the_history_has_it_before_the_first_write(
    applied: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    swap(applied, "a", OLD)
    seen: list[int] = []
    write = applied.write

    def watch(*given: Any) -> Any:
        seen.append(len(applied.history.past.overwritten))
        return write(*given)

    monkeypatch.setattr(applied, "write", watch)
    fix(applied, 0, "a")
    assert seen == [1]


def test_what_an_apply_did_not_overwrite_is_a_finding_and_not_listed(applied: World) -> None:
    swap(applied, "a", OLD)
    applied.lies.add("a")
    assert fix(applied, 0, "a").failures
    reported = report(applied, 1)
    assert (len(reported.findings), reported.overwritten) == (1, ())


def test_a_service_that_was_gone_and_a_conflict_are_kept_too(applied: World) -> None:
    swap(applied, "b", OLD)
    runtime, newer = applied.runtime(), NEW.replace("new", "newer")
    (step,) = make_plan(runtime, make_request("b", uri=newer, refresh="full")).steps
    gone = step.copy_with(reasons=(Reason("", Cause.GONE),))
    kept = list(
        find_overwritten([step, gone], lambda _: runtime.kinds["WebService"].field, "ci", NOW)
    )
    assert [one.verdict for one in kept] == [Verdict.CONFLICT, Verdict.MISSING]
    reported = report_drift(runtime, make_request("b", uri=newer, refresh="full"))
    assert kept[0].key == only(reported).key
    del applied.documents["b"]
    reported = report_drift(runtime, make_request("b", uri=newer, refresh="full"))
    assert kept[1].key == only(reported).key


def test_a_pending_change_is_no_drift(applied: World) -> None:
    runtime = applied.runtime()
    planned = make_plan(runtime, make_request("a", uri=NEW.replace("new", "newer")))
    fields = runtime.kinds["WebService"].field
    assert planned.steps
    assert list(find_overwritten(planned.steps, lambda _: fields, "ci", NOW)) == []


def test_a_history_that_takes_nothing_is_a_warning_of_the_apply(applied: World) -> None:
    swap(applied, "a", OLD)
    applied.history.error = ERROR
    done = fix(applied, 0, "a")
    assert (len(done.changed), done.failures) == (1, ())
    (warning,) = done.unkept
    assert warning.severity == "warning"
    assert "does not show what this apply has overwritten" in warning.detail[0]
    assert warning.message in render_outcome(done, paint=Paint())
    # Without drift nothing is to be kept.
    assert fix(applied, 1, "a").unkept == ()


@pytest.mark.slow  # it reports 5,000 services
def test_the_history_of_5000_findings_costs_little(tmp_path: Path) -> None:
    names = [f"s{number:04}" for number in range(5_000)]
    world = world_of(*names)
    history = StoredDriftHistory(HistoryFile(tmp_path))
    runtime = replace(world.runtime(), drift_history=history)
    run(world, names[0])
    swap(world, names[0], OLD)
    asked = make_request(*names, uri=NEW)
    begun = process_time()
    reported = report_drift(runtime, asked)
    whole = process_time() - begun
    assert (len(reported.findings), reported.baseline) == (5_000, "kept")
    costs: list[float] = []
    while len(costs) < 4 and not (costs and costs[-1] < whole / 5):  # this machine may be busy
        begun = process_time()
        past = history.load()
        for one in reported.findings:
            date_finding(one, past, NOW)
        history.append(reported.runs[-1], past.since)
        costs.append(process_time() - begun)
    assert costs[-1] < whole / 5
    assert (tmp_path / NAME).stat().st_size < 200_000

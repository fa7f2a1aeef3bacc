"""What a drift report knows of earlier runs: what is new, since when, and the trend."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from reconciler.engine.drift import report_drift
from reconciler.errors import LedgerInvalid, Unavailable
from reconciler.model import (
    Address,
    DriftPast,
    DriftReport,
    DriftRun,
    Finding,
    SourceLocation,
    Verdict,
)
from reconciler.plans.drift_file import drift_document
from reconciler.plans.drift_history import MOST_OPEN, add_run
from reconciler.render.drift.markdown import render_drift_markdown
from reconciler.render.drift.text import render_drift
from reconciler.render.words.colour import Paint
from reconciler.text.json_text import canonical
from tests.outputs import check_output
from tests.unit.test_drift import applied, move, only, swap
from tests.unit.test_engine import NEW, OLD, Ledger, World, make_request

__all__ = ["applied"]  # a fixture
A = Address("WebService", "a")


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

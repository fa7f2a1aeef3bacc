"""The page of `watch`: which reports it shows, and that an old one is never called in sync."""

from dataclasses import replace

from reconciler.cli.watch_telemetry import ReportPage
from reconciler.model import Finding, Verdict
from reconciler.model.watch import CycleOutcome
from tests.cycles import cycle, report

READ = cycle(CycleOutcome.IN_SYNC, report("", a=Verdict.IN_SYNC))
FAILED = cycle(CycleOutcome.FAILED, errors=(Finding("the ledger is away", subject="<img src=x>"),))


def show(page: ReportPage) -> str:
    found = page.find()
    assert found is not None
    return found.decode()


def is_green(text: str) -> bool:
    return '<span class="light calm"' in text


def test_there_is_no_page_before_the_first_report() -> None:
    page = ReportPage()
    assert page.find() is None
    page.note_cycle(cycle(CycleOutcome.INTERRUPTED))
    page.note_cycle(FAILED)
    assert page.find() is None


def test_the_last_report_is_shown_and_rendered_once() -> None:
    page = ReportPage()
    page.note_cycle(READ)
    text = show(page)
    assert is_green(text)
    assert page.find() is page.find()
    page.note_cycle(cycle(CycleOutcome.DRIFT, report("", a=Verdict.DRIFTED)))
    assert not is_green(show(page))


def test_after_a_failed_cycle_the_older_report_is_not_green() -> None:
    page = ReportPage()
    page.note_cycle(READ)
    # The environment of this project has no name.
    page.note_cycle(replace(FAILED, environment=""))
    text = show(page)
    assert not is_green(text)
    assert "<title>No new report. " in text
    assert "The last run made no report: the one below is older" in text
    assert "the ledger is away" in text
    assert "<img" not in text
    page.note_cycle(READ)
    assert is_green(show(page))
    page.note_cycle(cycle(CycleOutcome.INTERRUPTED))
    assert is_green(show(page))


def test_an_environment_that_never_had_a_report_is_named() -> None:
    page = ReportPage()
    page.note_cycle(cycle(CycleOutcome.IN_SYNC, report("dev", a=Verdict.IN_SYNC)))
    page.note_cycle(FAILED)
    text = show(page)
    assert not is_green(text)
    assert "No drift report of prod" in text
    page.select(["dev"])
    assert is_green(show(page))


def test_a_report_that_is_too_old_is_not_green() -> None:
    page = ReportPage()
    page.note_cycle(READ)
    assert is_green(show(page))
    late = page.find("no cycle has read anything for 31 min")
    assert late is not None
    assert not is_green(late.decode())
    assert "no cycle has read anything for 31 min" in late.decode()
    assert page.find("no cycle has read anything for 32 min") is late
    assert is_green(show(page))


def test_a_process_in_standby_shows_no_report() -> None:
    page = ReportPage()
    page.note_cycle(cycle(CycleOutcome.IN_SYNC, report("prod", a=Verdict.IN_SYNC)))
    page.note_cycle(cycle(CycleOutcome.STANDBY))
    assert page.find() is None

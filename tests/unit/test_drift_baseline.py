"""`--baseline` and `--new-only`: what counts as new, and which files are no baseline."""

import json
from dataclasses import replace
from typing import Any

import pytest

from reconciler.errors import ReconcilerError, Unavailable
from reconciler.model import DriftReport
from reconciler.plans import drift_baseline
from reconciler.plans.drift_baseline import compare_with, leave_out_known, read_baseline
from reconciler.plans.drift_file import drift_document
from reconciler.render.drift.html import render_drift_page
from reconciler.render.drift.markdown import render_drift_markdown
from reconciler.render.drift.sarif import render_sarif
from reconciler.render.drift.sections import join_reports
from reconciler.render.drift.text import render_drift
from reconciler.render.junit import render_drift_junit
from reconciler.render.words.colour import Paint
from reconciler.text.json_text import canonical
from tests.outputs import check_output
from tests.unit.test_drift import applied, move, swap
from tests.unit.test_drift_history import report
from tests.unit.test_engine import OLD, World

__all__ = ["applied"]  # a fixture


def save(*reports: DriftReport) -> bytes:
    """The reports as `--out FILE.json` saves them."""
    if len(reports) == 1:
        return canonical(drift_document(reports[0])).encode()
    return join_reports("json", reports, [], "drift", Paint()).encode()


def read(data: bytes, project: str = "p", environment: str = "") -> frozenset[str]:
    return read_baseline(data, project, environment, "base.json")


def of(environment: str, made: DriftReport) -> DriftReport:
    return replace(made, inputs=replace(made.inputs, environment=environment))


def test_what_the_baseline_has_is_known_and_what_it_lacks_is_new(applied: World) -> None:
    swap(applied, "a", OLD)
    keys = read(save(report(applied, 0)))
    move(applied, "b", title="another")
    later = compare_with(report(applied, 1), keys)
    assert [one.is_new for one in later.findings] == [False, True]
    # The history knows both by now, and the baseline decides.
    later = compare_with(report(applied, 2), keys)
    assert [one.is_new for one in later.findings] == [False, True]
    assert [one.since[:10] for one in later.findings] == ["2026-11-20", "2026-11-21"]


def test_only_new_findings_count(applied: World) -> None:
    swap(applied, "a", OLD)
    report(applied, 0)
    known = leave_out_known(report(applied, 1))
    assert (known.outcome, len(known.findings), len(known.known)) == ("in-sync", 0, 1)
    move(applied, "b", title="another")
    both = leave_out_known(report(applied, 2))
    assert (both.outcome, len(both.findings), len(both.known)) == ("drift", 1, 1)
    document = json.loads(save(both))
    check_output(document, "drift")
    assert [one["address"] for one in document["known"]] == ["WebService/a"]
    # A baseline that was saved with --new-only has all keys.
    assert read(save(both)) == {one.key for one in (*both.findings, *both.known)}


def test_incomplete_evidence_counts_although_it_is_known(applied: World) -> None:
    applied.fails["a"] = Unavailable("no answer", status=500)
    report(applied, 0)
    later = leave_out_known(report(applied, 1))
    assert (later.outcome, later.known) == ("evidence-incomplete", ())


def test_each_form_counts_what_is_left_out_and_never_says_in_sync(applied: World) -> None:
    swap(applied, "a", OLD)
    report(applied, 0)
    known = leave_out_known(report(applied, 3))
    said = "Left out: 1 known finding, which --new-only does not count; the oldest was first seen"
    text, markdown = render_drift(known, paint=Paint()), render_drift_markdown(known)
    for shown in (text, markdown):
        assert "No new drift. 1 of 2 services in sync." in shown
        assert f"{said} 3 d ago." in shown
        assert "model-swapped" not in shown
    page = render_drift_page([known])
    assert "1 of 2 services is not in sync" in page
    assert said in page
    (result,) = json.loads(render_sarif([known]))["runs"][0]["results"]
    assert (result["ruleId"], result["baselineState"]) == ("model-swapped", "unchanged")
    junit = render_drift_junit([known], "")
    assert 'skipped="1"' in junit
    assert "is known since 2026-11-20T00:00:00Z" in junit


def test_a_resource_with_new_and_known_findings_shows_the_new_ones(applied: World) -> None:
    move(applied, "a", title="another")
    report(applied, 0)
    move(applied, "a", description="somebody")
    text = render_drift(leave_out_known(report(applied, 1)), paint=Paint())
    assert "properties.description" in text
    assert "properties.title" not in text


def test_a_report_of_all_environments_is_a_baseline_of_each(applied: World) -> None:
    dev = of("dev", report(applied, 0))
    swap(applied, "a", OLD)
    prod = of("prod", report(applied, 0))
    saved = save(dev, prod)
    assert read(saved, environment="dev") == frozenset()
    assert read(saved, environment="prod") == {prod.findings[0].key}
    with pytest.raises(ReconcilerError, match='has no report of the environment "test"'):
        read(saved, environment="test")
    with pytest.raises(ReconcilerError, match="has no report of a project without") as caught:
        read(saved)
    assert "--env" not in str(caught.value.next_step)


def test_what_was_ignored_then_is_known_now(applied: World) -> None:
    swap(applied, "a", OLD)
    made = report(applied, 0)
    ignored = replace(made, findings=(), ignored=made.findings)
    assert read(save(ignored)) == set()  # a finding without a rule is left out
    document = json.loads(save(made))
    document["ignored"], document["findings"] = document["findings"], []
    assert read(json.dumps(document).encode()) == {made.findings[0].key}


def edit(saved: bytes, **more: Any) -> bytes:
    return json.dumps({**json.loads(saved), **more}).encode()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda _: b"", "it is not JSON"),
        (lambda _: b"# Drift", "it is not JSON"),
        (lambda _: b"\xff\xfe{}", "it is not JSON"),
        (lambda _: b"[" * 100_000, "it is not JSON"),
        (lambda _: b"[]", "is not a drift report"),
        (lambda _: b"{}", "is not a drift report"),
        (lambda _: b'{"environments": 7}', "is not a drift report"),
        (lambda _: b'{"environments": [7]}', "is not a drift report"),
        (lambda _: b'{"format_version": "1.0", "plan_digest": "x", "findings": []}', "is a plan"),
        (lambda _: b'{"environments": [{"plan": {}}]}', "is not a drift report"),
        (lambda _: b'{"version": "2.1.0", "runs": []}', "as SARIF"),
        (lambda old: edit(old, format_version="1.0"), "older version, whose findings have no"),
        (lambda old: edit(old, format_version="2.0"), "newer version"),
        (lambda old: edit(old, format_version="x"), "is not a drift report"),
        (lambda old: edit(old, format_version=None), "is not a drift report"),
        (lambda old: edit(old, format_version="1." + "9" * 5000), "is not a drift report"),
        (lambda old: edit(old, inputs={"project": "q"}), 'project "q", and this is "p"'),
        (lambda old: edit(old, inputs=7), 'of the project ""'),
        (
            lambda old: edit(old, inputs={"project": "p", "environment": "dev"}),
            'of the environment "dev", and this is a project without environments',
        ),
        (lambda old: edit(old, findings=7), "is not a drift report"),
        (lambda old: edit(old, findings=[7]), "is not a drift report"),
        (lambda old: edit(old, findings=[{}]), "a finding has no key"),
        (lambda old: edit(old, findings=[{"key": 7}]), "a finding has no key"),
        (lambda old: edit(old, findings=[{"key": "a" * 23}]), "a finding has no key"),
        (lambda _: b'{"findings": [' + b"[]," * 3_000_000 + b"[]]}", "holds too many values"),
    ],
    ids=range(25),
)
def test_what_is_no_baseline_is_named_with_the_next_step(
    applied: World, change: Any, said: str
) -> None:
    with pytest.raises(ReconcilerError) as caught:
        read(change(save(report(applied, 0))))
    error = caught.value
    assert said in error.message, error.message
    assert (error.subject, bool(error.next_step)) == ("base.json", True)


def test_a_newer_minor_version_is_read(applied: World) -> None:
    swap(applied, "a", OLD)
    newer = edit(save(report(applied, 0)), format_version="1.9", more={"later": 1})
    assert len(read(newer)) == 1


def test_what_is_too_long_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drift_baseline, "MOST_BYTES", 10)
    with pytest.raises(ReconcilerError, match="is longer than"):
        read(b" " * 11)

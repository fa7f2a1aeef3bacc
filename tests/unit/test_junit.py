"""The JUnit of plans and drift reports, read back by a reader of others."""

import junitparser
import pytest

from reconciler.model import (
    ABSENT,
    Address,
    Drift,
    DriftReport,
    FailedReport,
    Finding,
    Plan,
    Refresh,
    Resource,
    ResourceStatus,
    SourceLocation,
    Verdict,
)
from reconciler.render.junit import (
    Suite,
    make_drift_suite,
    make_findings_suite,
    make_plan_suite,
    render_drift_junit,
    render_junit,
)
from tests.drift_reports import finding, report, rule
from tests.plans import NEW, live, step
from tests.plans import plan as a_plan


def read(*suites: Suite) -> junitparser.JUnitXml:
    return junitparser.JUnitXml.fromstring(render_junit("reconciler plan", suites).encode())


def plan_with(*findings: Finding) -> Plan:
    spec = {"trainedModels": {"Census Model [trained model]": {"uri": NEW}}}
    return a_plan(step(live(), spec, name="a"), step(live(), spec, name="b"), findings=findings)


def test_one_test_is_one_resource() -> None:
    place = SourceLocation("manifests/a.yaml", 9, 3)
    finding = Finding(
        "the plan deletes", "WebService/a", place, ("more",), "Allow it.", guard="deletes"
    )
    document = read(make_plan_suite("census prod", plan_with(finding), "services"))
    assert (document.tests, document.failures, document.errors) == (2, 1, 0)
    (suite,) = document
    first, second = suite
    assert (first.name, second.name) == ("WebService/a", "WebService/b")
    assert first.classname == "census.prod.WebService"
    assert first._elem.get("file") == "services/manifests/a.yaml"
    assert first._elem.get("line") == "9"
    (failure,) = first.result
    assert isinstance(failure, junitparser.Failure)
    assert (failure.type, failure.message) == ("deletes", "the plan deletes")
    assert "on manifests/a.yaml:9:3" in (failure.text or "")
    assert "Allow it." in (failure.text or "")
    assert second.is_passed


def test_a_warning_fails_nothing() -> None:
    document = read(make_plan_suite("x", plan_with(Finding("careful", severity="warning"))))
    assert (document.tests, document.failures) == (2, 0)


def test_several_problems_of_one_resource_are_one_failure() -> None:
    found = [Finding(f"wrong {number}", "WebService/a", guard="updates") for number in range(3)]
    document = read(make_plan_suite("x", plan_with(*found)))
    assert document.failures == 1
    (failure,) = next(iter(next(iter(document)))).result
    assert failure.message == "wrong 0 (and 2 other problems)"
    assert "wrong 2" in (failure.text or "")


def test_a_project_that_cannot_be_read_has_a_test() -> None:
    found = Finding("is not YAML", "manifests/a.yaml", SourceLocation("manifests/a.yaml", 1, 1))
    document = read(make_findings_suite("x", [found, Finding("other")], ""))
    assert [one.name for one in next(iter(document))] == ["manifests/a.yaml", "project"]
    assert document.failures == 2
    assert read(make_findings_suite("x", [], "")).tests == 1


@pytest.mark.parametrize(
    "text", ["\x1b[31m", "\x00", "\ufffe", "a\u202eb", "]]>", "<b a='\"'>&", "\ud800"]
)
def test_text_that_xml_forbids_is_escaped(text: str) -> None:
    finding = Finding(f"message {text}", f"WebService/{text}", detail=(text,), guard="deletes")
    document = render_junit("x", [make_plan_suite(text, plan_with(finding), text)])
    assert junitparser.JUnitXml.fromstring(document.encode()).failures == 1


def test_drift_fails_and_incomplete_evidence_is_an_error() -> None:
    names = {"a": None, "b": Verdict.DRIFTED, "c": Verdict.INCOMPLETE, "d": Verdict.NOT_OBSERVABLE}
    resources = {name: Resource(Address("WebService", name), f"/x/{name}") for name in names}
    report = DriftReport(
        tuple(ResourceStatus(one, Verdict.IN_SYNC) for one in resources.values()),
        tuple(
            Drift(
                resources[name],
                verdict,
                "/properties/description",
                "old",
                "new",
                hidden=name == "c",
            )
            for name, verdict in names.items()
            if verdict
        ),
        plan_with().inputs,
        Refresh("auto", 1, 1, 1),
        "2026-11-23T03:17:00Z",
        "kept",
    )
    document = read(make_drift_suite("drift prod", report))
    assert (document.tests, document.failures, document.errors) == (4, 1, 1)
    suite = next(iter(document))
    assert suite.timestamp == "2026-11-23T03:17:00"
    by_name = {one.name: one for one in suite}
    assert by_name["WebService/d"].is_passed
    (failure,) = by_name["WebService/b"].result
    assert failure.message == "drifted at /properties/description"
    assert '"new"' in (failure.text or "")
    (error,) = by_name["WebService/c"].result
    assert isinstance(error, junitparser.Error)
    assert '"new"' not in (error.text or "")


@pytest.mark.parametrize("verdict", [Verdict.INCOMPLETE, Verdict.UNMANAGED, Verdict.FAILED])
def test_a_finding_without_a_place_in_the_definition_shows_no_values(verdict: Verdict) -> None:
    whole = finding("a", verdict, pointer="", remembered=ABSENT, live=ABSENT, declared=ABSENT)
    ((case,),) = read(make_drift_suite("drift prod", report(whole)))
    (result,) = case.result
    assert "(absent)" not in (result.text or "")
    assert "reconciler apply --target WebService/a" in (result.text or "")


def test_five_thousand_resources_are_one_small_file() -> None:
    found = [Finding("x", f"WebService/{number}", guard="updates") for number in range(5_000)]
    document = render_junit("x", [make_findings_suite("y", found, "")])
    assert junitparser.JUnitXml.fromstring(document.encode()).failures == 5_000
    assert len(document) < 2_000_000


def drift_suite(*reports: DriftReport, folder: str = "") -> junitparser.TestSuite:
    document = junitparser.JUnitXml.fromstring(render_drift_junit(reports, folder).encode())
    assert document.name == "reconciler drift"
    return next(iter(document))


def test_an_ignored_finding_is_a_skipped_test_with_its_reason() -> None:
    ignored = (finding("a", rule=rule()), finding("b", rule=rule()))
    suite = drift_suite(report(finding("b", Verdict.MISSING), ignored=ignored, in_sync=["c"]))
    assert (suite.tests, suite.failures, suite.errors, suite.skipped) == (3, 1, 0, 1)
    by_name = {one.name: one for one in suite}
    (skipped,) = by_name["WebService/a"].result
    assert isinstance(skipped, junitparser.Skipped)
    assert "the load test runs until Friday" in skipped.message
    assert "until 2026-12-04 (ml-team)" in skipped.message
    assert by_name["WebService/b"].is_failure
    assert by_name["WebService/c"].is_passed


def test_rules_that_have_expired_fail_one_test_at_their_file() -> None:
    suite = drift_suite(report(in_sync=["a"], expired=(rule(), rule())), folder="services/ml")
    assert (suite.tests, suite.failures) == (2, 1)
    (one,) = (one for one in suite if one.is_failure)
    assert (one.name, one._elem.get("file")) == (".driftignore", "services/ml/.driftignore")
    assert "the load test runs until Friday (until 2026-12-04, ml-team)" in (
        one.result[0].text or ""
    )


def test_a_drifted_resource_names_its_place() -> None:
    (one,) = drift_suite(report(finding("a"), environment="prod"), folder="services/ml")
    assert (one.classname, one.name) == ("drift.census.prod.WebService", "WebService/a")
    assert one._elem.get("file") == "services/ml/manifests/a.yaml"
    assert one._elem.get("line") == "9"
    assert one._elem.get("time") == "0"


def test_the_time_of_a_suite_is_how_long_its_report_took() -> None:
    dev, prod = report(environment="dev", seconds=1.25), report(environment="prod", seconds=2)
    document = junitparser.JUnitXml.fromstring(render_drift_junit([dev, prod]).encode())
    assert [one.time for one in document] == [1.25, 2]
    assert document.time == 3.25


def test_each_environment_is_a_suite_and_one_without_a_report_fails() -> None:
    made = report(in_sync=["a"], environment="dev")
    failed = FailedReport("prod", (Finding("is not YAML", "a.yaml"),))
    document = junitparser.JUnitXml.fromstring(render_drift_junit([made], "", [failed]).encode())
    assert [one.name for one in document] == ["drift census dev", "drift census prod"]
    assert (document.tests, document.failures) == (2, 1)


def test_names_are_stable_and_unique_even_where_they_are_cut() -> None:
    names = [f"{'n' * 600}{end}{'n' * 400}" for end in "ab"] + ["c\x01", "c\\x01"]
    first = [one.name for one in drift_suite(report(*map(finding, names)))]
    again = [one.name for one in drift_suite(report(*map(finding, reversed(names))))]
    assert len(set(first)) == len(names)
    assert sorted(first) == sorted(again)


@pytest.mark.parametrize(
    "text", ["\x1b[31m", "\x00", "\ufffe", "a\u202eb", "]]>", "<img src=x>", "@all", "\ud800"]
)
def test_a_hostile_drift_report_can_be_read(text: str) -> None:
    one = finding(text, live=text, note=text, place=SourceLocation(text, 1, 1))
    ignored = finding("x", rule=rule(reason=text, owner=text))
    suite = drift_suite(report(one, environment=text, ignored=(ignored,)))
    assert (suite.failures, suite.skipped) == (1, 1)

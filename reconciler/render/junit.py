"""Renders plans and drift reports as JUnit XML, which each CI system shows as tests.

One test is one resource. It has no standard: these are the attributes that Azure Pipelines, GitLab
and Jenkins all read. Names are stable, because they are compared between branches.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from reconciler.model import (
    Drift,
    DriftReport,
    FailedReport,
    Finding,
    IgnoreRule,
    Plan,
    SourceLocation,
    Verdict,
)
from reconciler.model.values import dataclass
from reconciler.render.drift.history import describe_rule
from reconciler.render.drift.text import list_values
from reconciler.render.words.escape import cut, escape
from reconciler.text.counting import count

_MOST_TEXT: Final = 4_000
_MOST_LINE: Final = 300
# Findings that belong to no resource are those of one test with this name.
_PROJECT: Final = "project"


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a test fails; with `is_error` it could not be decided."""

    type: str
    message: str
    text: str
    is_error: bool = False


@dataclass(frozen=True, slots=True)
class JUnitCase:
    """A resource. `file` is relative to the top of the repository; `line` counts from 1.

    `skipped` says why problems of it do not count; a test with other problems fails all the same.
    """

    name: str
    problems: tuple[Problem, ...] = ()
    file: str = ""
    line: int = 0
    skipped: str = ""


@dataclass(frozen=True, slots=True)
class Suite:
    """The tests of one environment; `at` is a time in UTC, and `seconds` how long they took."""

    name: str
    tests: tuple[JUnitCase, ...]
    at: str = ""
    seconds: float = 0.0


def render_junit(name: str, suites: Sequence[Suite]) -> str:
    """Returns the document of some suites; `name` is that of the whole."""
    every = [one for suite in suites for one in suite.tests]
    counted = _count(every, sum(suite.seconds for suite in suites))
    root = Element("testsuites", {"name": name, **counted})
    for number, suite in enumerate(suites):
        _add_suite(root, suite, number)
    indent(root)
    body = tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{body}\n'


def _count(every: Sequence[JUnitCase], seconds: float) -> dict[str, str]:
    """The attributes that count, of which some readers demand each."""
    errors = sum(_is_error(one) for one in every)
    failures = sum(bool(one.problems) for one in every) - errors
    skipped = sum(bool(one.skipped) and not one.problems for one in every)
    counts = {"tests": len(every), "failures": failures, "errors": errors, "skipped": skipped}
    return {**{name: str(number) for name, number in counts.items()}, "time": f"{seconds:.3f}"}


def _is_error(test: JUnitCase) -> bool:
    return bool(test.problems) and all(one.is_error for one in test.problems)


def _add_suite(root: Element, suite: Suite, number: int) -> None:
    when = {"timestamp": suite.at.removesuffix("Z")} if suite.at else {}
    named = {
        "name": _clean(suite.name),
        **_count(suite.tests, suite.seconds),
        **when,
        "id": str(number),
    }
    parent = SubElement(root, "testsuite", named)
    for test, name in zip(suite.tests, _name_tests(suite.tests), strict=True):
        attributes = {
            "classname": _clean(f"{suite.name}.{test.name.partition('/')[0]}".replace(" ", ".")),
            "name": name,
            **({"file": _clean(test.file), "line": str(test.line)} if test.file else {}),
            "time": "0",
        }
        child = SubElement(parent, "testcase", attributes)
        if test.problems:
            _add_problem(child, test)
        elif test.skipped:
            SubElement(child, "skipped", {"message": _clean(test.skipped)})


def _name_tests(tests: Sequence[JUnitCase]) -> Iterator[str]:
    """The names, each once: what is cut or escaped to the same text gets a digest of its own."""
    names = [_clean(test.name) for test in tests]
    shared = {name for name, number in Counter(names).items() if number > 1}
    for test, name in zip(tests, names, strict=True):
        digest = hashlib.sha256(test.name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
        yield f"{name} {digest}" if name in shared else name


def _add_problem(parent: Element, test: JUnitCase) -> None:
    """Add the one element that every reader shows; the text has all problems."""
    grave = [one for one in test.problems if not one.is_error] or list(test.problems)
    left = len(test.problems) - 1
    message = grave[0].message + (f" (and {count(left, 'other problem')})" if left else "")
    kind = "error" if _is_error(test) else "failure"
    attributes = {"type": _clean(grave[0].type), "message": _clean(message)}
    text = "\n\n".join([*(one.text for one in test.problems), *filter(None, [test.skipped])])
    lines = cut(text, _MOST_TEXT).split("\n")
    SubElement(parent, kind, attributes).text = "\n".join(map(_allow, lines))


def _clean(text: str) -> str:
    """A bounded text on one line."""
    return _allow(cut(text, _MOST_LINE))


def _allow(line: str) -> str:
    """A line without the characters that XML 1.0 forbids, even escaped."""
    return escape(line).replace("\ufffe", "\ufffd").replace("\uffff", "\ufffd")


def make_plan_suite(name: str, plan: Plan, folder: str = "") -> Suite:
    """The suite of a plan: a finding with the severity error fails the test of its resource.

    `folder` is the folder of the project, relative to the top of the repository.
    """
    resources = [step.resource for step in plan.steps] + list(plan.unchanged)
    names = sorted({str(one.address) for one in resources})
    return Suite(name, tuple(_make_tests(names, plan.findings, folder)), plan.made_at)


def make_findings_suite(name: str, findings: Sequence[Finding], folder: str, at: str = "") -> Suite:
    """The suite of a project that cannot be planned."""
    return Suite(name, tuple(_make_tests((), findings, folder)), at)


def _make_tests(
    names: Iterable[str], findings: Sequence[Finding], folder: str
) -> Iterator[JUnitCase]:
    errors: dict[str, list[Finding]] = {name: [] for name in names}
    for one in findings:
        if one.severity == "error":
            errors.setdefault(one.subject or _PROJECT, []).append(one)
    errors = errors or {_PROJECT: []}
    for name, found in errors.items():
        place = next((one.place for one in found if one.place is not None), None)
        problems = tuple(map(_make_problem, found))
        yield JUnitCase(name, problems, _join_path(folder, place), place.line if place else 0)


def _make_problem(finding: Finding) -> Problem:
    place = (f"on {finding.place}",) if finding.place is not None else ()
    lines = [finding.message, *place, *finding.detail, finding.next_step]
    return Problem(finding.guard or "invalid", finding.message, "\n".join(filter(None, lines)))


def render_drift_junit(
    reports: Sequence[DriftReport], folder: str = "", failed: Sequence[FailedReport] = ()
) -> str:
    """Returns the document of some drift reports, with a suite for each environment."""
    project = next((one.inputs.project for one in reports), "")
    suites = [
        make_drift_suite(name_drift_suite(project, one.inputs.environment), one, folder)
        for one in reports
    ]
    suites += [
        make_findings_suite(name_drift_suite(project, one.environment), one.findings, folder)
        for one in failed
    ]
    return render_junit("reconciler drift", suites)


def name_drift_suite(project: str, environment: str) -> str:
    """The name of the suite of a drift report."""
    return " ".join(filter(None, ["drift", project, environment]))


def make_drift_suite(name: str, report: DriftReport, folder: str = "") -> Suite:
    """The suite of a drift report: drift fails a test, and incomplete evidence is an error.

    A resource of which no finding counts, because it is ignored or known, is a skipped test with
    the reason. The rules that have expired fail a test of their own. `folder` is the folder of the
    project, relative to the top of the repository.
    """
    found: dict[str, list[Drift]] = {str(one.resource.address): [] for one in report.statuses}
    for drift in (*report.findings, *report.ignored, *report.known):
        if drift.verdict is not Verdict.NOT_OBSERVABLE:
            found.setdefault(str(drift.resource.address), []).append(drift)
    left_out = {id(one) for one in (*report.ignored, *report.known)}
    tests = [
        _make_drift_test(address, found[address], left_out, folder) for address in sorted(found)
    ]
    if report.expired:
        tests.append(_make_expired_test(report.expired, folder))
    return Suite(name, tuple(tests), report.made_at, report.seconds)


def _make_expired_test(rules: Sequence[IgnoreRule], folder: str) -> JUnitCase:
    """The test of the rules that have expired: it fails until they are renewed or removed."""
    place = rules[0].place
    problems = tuple(
        Problem("ignore-expired", f"{one.place} has expired", describe_rule(one)) for one in rules
    )
    return JUnitCase(place.file, problems, _join_path(folder, place), place.line)


def _make_drift_test(
    address: str, findings: Sequence[Drift], left_out: Collection[int], folder: str
) -> JUnitCase:
    """The test of a resource; `left_out` are the ids of the findings that do not count."""
    place = next((one.place for one in findings if one.place is not None), None)
    problems = tuple(_describe_drift(one) for one in findings if id(one) not in left_out)
    reasons = dict.fromkeys(_describe_left_out(one) for one in findings if id(one) in left_out)
    return JUnitCase(
        address,
        problems,
        _join_path(folder, place),
        place.line if place else 0,
        "; ".join(reasons),
    )


def _describe_left_out(drift: Drift) -> str:
    where = f" at {drift.pointer}" if drift.pointer else ""
    rule = drift.rule
    if rule is None:
        return f"{drift.verdict.value}{where} is known since {drift.since}"
    return (
        f"{drift.verdict.value}{where} is ignored until {rule.until} ({rule.owner}): {rule.reason}"
    )


def _join_path(folder: str, place: SourceLocation | None) -> str:
    return f"{folder}/{place.file}".lstrip("/") if place else ""


def _describe_drift(drift: Drift) -> Problem:
    where = f" at {drift.pointer}" if drift.pointer else ""
    message = f"{drift.verdict.value}{where}"
    shown = list_values([drift]) if drift.pointer and not drift.hidden else {}
    lines = [f"{what}: {value}" for what, (value, _) in shown.items()]
    text = "\n".join(filter(None, [message, drift.note, *lines, *drift.commands]))
    return Problem(drift.verdict.value, message, text, is_error=drift.verdict is Verdict.INCOMPLETE)

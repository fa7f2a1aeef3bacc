"""Renders the results of `policy test` as text and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Final

from reconciler.model import Json
from reconciler.model.policies import PolicyRule
from reconciler.plans.policy_tests import CaseResult, PolicyFinding
from reconciler.render.words.colour import Paint
from reconciler.render.words.escape import cut, escape
from reconciler.text.counting import agree, count

_MOST: Final = 300
_INDENT: Final = " " * 10


def render_policy_tests(
    results: Sequence[CaseResult], not_judging: Sequence[PolicyRule], paint: Paint
) -> str:
    """Returns a line for each case, what differs in those that failed, and the counts."""
    lines: list[str] = []
    file = ""
    for result in results:
        if result.case.place.file != file:
            file = result.case.place.file
            lines += ["", escape(file)] if lines else [escape(file)]
        word = paint("green", "passed") if result.passed else paint("red", "FAILED")
        lines.append(f"  {word}  {_line(result.case.name)}")
        lines += [f"{_INDENT}{one}" for one in _explain(result)]
    return "\n".join([*lines, "", *_warn(not_judging, paint), _sum_up(results, paint)])


def _explain(result: CaseResult) -> Iterator[str]:
    if result.passed:
        return
    place = result.case.place
    yield f"on line {place.line}, column {place.column}"
    if result.problem:
        yield _line(result.problem)
    for one in result.missing:
        yield f"expected, and not found: {_describe(one)}"
    for one in result.unexpected:
        yield f"found, and not expected: {_describe(one)}"


def _describe(finding: PolicyFinding) -> str:
    policy = f'policy "{finding.policy}", ' if finding.policy else ""
    return _line(
        f'{policy}rule "{finding.rule}": {finding.resource or "any resource"} is {finding.result}'
    )


def _line(text: str) -> str:
    return escape(cut(text, _MOST))


def _warn(not_judging: Sequence[PolicyRule], paint: Paint) -> Iterator[str]:
    if not_judging:
        number = len(not_judging)
        yield (
            f"{paint('yellow', 'Warning:')} {count(number, 'rule')}"
            f" {agree(number, 'judges', 'judge')} no change of any case:"
        )
        yield from (f"  {escape(f'{one.policy}/{one.name}')}" for one in not_judging)
        yield ""


def _sum_up(results: Sequence[CaseResult], paint: Paint) -> str:
    failed = sum(not one.passed for one in results)
    passed = count(len(results) - failed, "case")
    if failed:
        return f"{paint('red', 'Failed!')} {passed} passed, {failed} failed."
    return f"{paint('green', 'Success!')} {passed} passed."


def policy_tests_document(results: Sequence[CaseResult], not_judging: Sequence[PolicyRule]) -> Json:
    """Returns the results as JSON."""
    return {
        "format_version": "1.0",
        "outcome": "passed" if all(one.passed for one in results) else "failed",
        "cases": [
            {
                "name": one.case.name,
                "place": asdict(one.case.place),
                "passed": one.passed,
                "missing": [asdict(each) for each in one.missing],
                "unexpected": [asdict(each) for each in one.unexpected],
                **({"problem": one.problem} if one.problem else {}),
            }
            for one in results
        ],
        "not_judged": [{"policy": one.policy, "rule": one.name} for one in not_judging],
    }

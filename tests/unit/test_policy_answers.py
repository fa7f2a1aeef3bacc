"""What the command of --policy-command prints: an answer, or an error and never a pass."""

import json
from typing import Any

import pytest

from reconciler.model import Finding
from reconciler.plans.policy_answers import read_answer

NEXT = "Change what is planned. No flag and no approval lifts this."


def read(answer: Any, code: int = 0) -> tuple[Finding, ...]:
    return read_answer(answer if isinstance(answer, str) else json.dumps(answer), "judge", code)


def short(found: tuple[Finding, ...]) -> list[tuple[str, str, str]]:
    return [(one.severity, one.subject, one.message) for one in found]


def test_a_list_of_results_is_read() -> None:
    found = read(
        [{"msg": "a\n  b\n\nc", "resource": "WebService/x"}, {"msg": "d", "severity": "warn"}]
    )
    assert found == (
        Finding("judge: a", "WebService/x", None, ("b", "c"), NEXT, "error", "policy-command"),
        Finding("judge: d", "", None, (), "", "warning", "policy-command"),
    )
    assert read([]) == ()


def test_the_results_of_conftest_are_read() -> None:
    results = [
        {
            "filename": "-",
            "namespace": "main",
            "successes": 2,
            "failures": [
                {"msg": "no owner", "metadata": {"resource": "WebService/x", "query": "data.main.deny"}}
            ],
            "warnings": [{"msg": "old"}],
            "exceptions": [{"msg": "known"}],
        },
        {"filename": "-", "namespace": "other", "successes": 1, "failures": None},
    ]  # fmt: skip
    assert short(read(results, 1)) == [
        ("error", "WebService/x", "judge: no owner"),
        ("warning", "", "judge: old"),
        ("warning", "", "judge: known (an exception of the policy)"),
    ]
    assert read([{"filename": "-", "successes": 1}]) == ()


@pytest.mark.parametrize("more", [{}, {"successes": 0, "failures": [], "warnings": []}])
def test_results_of_no_rule_are_a_warning(more: dict[str, Any]) -> None:
    assert short(read([{"filename": "-", "namespace": "main", **more}])) == [
        ("warning", "", "judge: no rule has judged the plan: check its namespace")
    ]


@pytest.mark.parametrize(
    ("answer", "code", "why"),
    [
        ("", 0, "it prints nothing"),
        (" \n", 2, "its exit code is 2, and it prints nothing"),
        ("", -9, "signal 9 ended it, and it prints nothing"),
        ("all is well", 0, "it does not print JSON"),
        ("Error: x", 1, "its exit code is 1, and it does not print JSON"),
        ("[NaN]", 0, "it does not print JSON"),
        ("[]", 1, "its exit code is 1, and it names no reason"),
        ([{"filename": "-", "successes": 3}], 1, "its exit code is 1, and it names no reason"),
        ({"msg": "x"}, 0, "its JSON is not a list of results"),
        ("true", 0, "its JSON is not a list of results"),
        (["x"], 0, "its JSON is not a list of results"),
        ([{}], 0, "a result has no msg"),
        ([{"msg": ""}], 0, "a result has no msg"),
        ([{"msg": 3}], 0, "a result has no msg"),
        ([{"msg": "x", "severty": "warn"}], 0, "a result has the unknown names severty"),
        ([{"msg": "x", "severity": "fatal"}], 0, "the severity of a result is not error or warn"),
        ([{"msg": "x", "resource": 3}], 0, "the resource of a result is not text"),
        ([{"filename": "-"}, {"msg": "x"}], 0, "a result is not one of conftest"),
        ([{"failures": "none"}], 0, "the failures of a result are not a list"),
        ([{"failures": ["x"]}], 0, "the failures of a result are not a list"),
        ([{"failures": [{"message": "x"}]}], 0, "a result has no msg"),
        ([{"successes": "3"}], 0, "the number of successes is not a number"),
    ],
)
def test_anything_else_is_not_an_answer(answer: Any, code: int, why: str) -> None:
    with pytest.raises(ValueError) as failed:
        read(answer, code)
    assert str(failed.value) == why


def test_many_findings_are_counted_and_a_refusal_among_them_is_kept() -> None:
    warnings = [{"msg": str(number), "severity": "warn"} for number in range(1200)]
    found = read([*warnings, {"msg": "x"}])
    assert len(found) == 1001
    assert short(found)[-1] == ("error", "", "judge: 201 more findings")
    assert short(read(warnings))[-1] == ("warning", "", "judge: 200 more findings")
    assert len(read([{"msg": "x" * 100_000}])[0].message) < 2100

"""The cases of `policy test`: how they are read, run and shown."""

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from reconciler.manifests.folder import Folder
from reconciler.manifests.policies import load_policies
from reconciler.manifests.policy_tests import load_policy_tests
from reconciler.model.policies import Policy
from reconciler.package_data import read_schema
from reconciler.plans.policy_tests import CaseResult, list_not_judging, run_case
from reconciler.render.policy_tests import policy_tests_document, render_policy_tests
from reconciler.render.words.colour import Paint

POLICY = """apiVersion: reconciler/v1
kind: Policy
metadata: {name: production}
spec:
  match: {environment: prod}
  rules:
  - {name: keep, denyDeletes: true}
  - {name: team, severity: warn, match: {labels: {tier: gold}}, message: m, require: {properties: {labels: {required: [team]}}}}
  - {name: gates, requireGate: true, when: {properties: {model: {minItems: 1}}}}
  - {name: owners, requireOwners: [ana@x, bo@x], match: {kind: Endpoint}}
---
apiVersion: reconciler/v1
kind: Policy
metadata: {name: windows}
spec:
  lift: allow
  rules:
  - {name: office, match: {environment: office}, changeWindow: {hours: 08:00-16:00}}
"""
HEAD = "apiVersion: reconciler/v1\nkind: PolicyTest\nmetadata: {name: t}\nspec:\n  cases:\n"


def policies(tmp_path: Path) -> tuple[Policy, ...]:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "p.yaml").write_text(POLICY)
    made, found = load_policies(Folder(tmp_path))
    assert found == ()
    return made


def load(tmp_path: Path, text: str) -> list[str]:
    file = tmp_path / "tests.yaml"
    file.write_text(text)
    _, found = load_policy_tests(file)
    return [f"{one.place} {one.subject}: {one.message} | {one.next_step}" for one in found]


def run(tmp_path: Path, *cases: str) -> list[CaseResult]:
    (tmp_path / "tests.yaml").write_text(HEAD + "".join(f"  - {one}\n" for one in cases))
    (test,), found = load_policy_tests(tmp_path / "tests.yaml")
    assert found == ()
    made = policies(tmp_path)
    return [run_case(made, case) for case in test.cases]


def case(changes: str, expect: str, context: str = "environment: prod") -> str:
    return f"{{name: c, changes: [{changes}], context: {{{context}}}, expect: [{expect}]}}"


GATE = "{rule: AUC min 0.8, verdict: pass}"
MODEL = "address: WebService/x, model: [{name: m, after: 'https://a.example/m'"


@pytest.mark.parametrize(
    ("changes", "expect", "context"),
    [
        ("{address: WebService/x}", "", "environment: prod"),
        ("{address: WebService/x, change: {actions: [delete]}}", "", "environment: dev"),
        ("{address: WebService/x, change: {actions: [delete]}, labels: {}}", "{rule: keep}", "environment: prod"),
        # The labels of what is deleted are not known, so every match of labels takes it.
        ("{address: WebService/x, change: {actions: [delete]}}", "{rule: keep}, {rule: team, result: warned}", "environment: prod"),
        ("{address: WebService/x, change: {actions: [delete]}, labels: {}}", "{policy: production, rule: keep, resource: WebService/x, result: refused}", "environment: prod"),
        ("{address: WebService/x, change: {actions: [delete]}, labels: {}}", "{rule: keep, result: lifted}", "environment: prod, approvers: [ana@x]"),
        ("{address: WebService/x, labels: {tier: gold}}", "{rule: team, result: warned}", "environment: prod"),
        (f"{{{MODEL}}}]}}", "{rule: gates}", "environment: prod"),
        (f"{{{MODEL}, gates: [{GATE}]}}]}}", "", "environment: prod"),
        (f"{{{MODEL}, gates: [{{rule: r, verdict: fail, refuses: true}}]}}]}}", "{rule: gates}", "environment: prod"),
        ("{address: Endpoint/x}, {address: Endpoint/y}", "{rule: owners, resource: Endpoint/y}, {rule: owners}", "environment: prod"),
        ("{address: Endpoint/x}", "", "environment: prod, approvers: [bo@x], authors: [Ana@x]"),
        ("{address: Endpoint/x}", "{rule: owners}", "environment: prod, approvers: [bo@x], authors: [Bo@X]"),
        ("{address: Endpoint/x}", "{rule: office}", "environment: office, now: '2026-11-30T16:00:00Z'"),
        ("{address: Endpoint/x}", "{rule: office, result: lifted}", "environment: office, now: '2026-11-30T16:00Z', allow: [policy=Endpoint/x]"),
        ("{address: Endpoint/x}", "", "environment: office, now: '2026-11-30T12:00:00Z'"),
    ],
)  # fmt: skip
def test_a_case_with_the_findings_that_it_expects_passes(
    tmp_path: Path, changes: str, expect: str, context: str
) -> None:
    (result,) = run(tmp_path, case(changes, expect, context))
    assert result.passed, result


def test_a_case_fails_for_each_finding_too_many_and_too_few(tmp_path: Path) -> None:
    deleted = "{address: WebService/x, change: {actions: [delete]}, labels: {}}"
    more, other, twice, result = run(
        tmp_path,
        case(deleted, ""),
        case(deleted, "{rule: keep, resource: WebService/y}"),
        case(deleted, "{rule: keep}, {rule: keep}"),
        case(deleted, "{rule: keep, result: lifted}"),
    )
    assert ([one.rule for one in more.unexpected], more.missing) == (["keep"], [])
    assert [one.resource for one in other.missing] == ["WebService/y"]
    assert [one.resource for one in other.unexpected] == ["WebService/x"]
    assert (len(twice.missing), len(twice.unexpected)) == (1, 0)
    assert [one.result for one in result.missing] == ["lifted"]
    assert not any(one.passed for one in (more, other, twice, result))


def test_a_window_is_not_judged_by_the_clock_of_the_machine(tmp_path: Path) -> None:
    (result,) = run(tmp_path, case("{address: Endpoint/x}", "", "environment: office"))
    assert not result.passed
    assert result.problem.startswith("the change window windows/office judges it: set context.now")


def test_the_results_are_shown_as_text_and_as_json(tmp_path: Path) -> None:
    deleted = "{address: WebService/x, change: {actions: [delete]}, labels: {}}"
    results = run(
        tmp_path,
        case(deleted, "{rule: keep}"),
        case(deleted, "{policy: other, rule: keep}").replace("name: c", 'name: "\\e[31m <b>"'),
        case("{address: Endpoint/x}", "", "environment: office"),
    )
    (tmp_path / "other").mkdir()
    left = list(list_not_judging(policies(tmp_path / "other"), results))
    text = render_policy_tests(results, left, Paint()).replace(str(tmp_path), "…")
    assert text == (
        """…/tests.yaml
  passed  c
  FAILED  \\x1b[31m <b>
          on line 7, column 6
          expected, and not found: policy "other", rule "keep": any resource is refused
          found, and not expected: policy "production", rule "keep": WebService/x is refused
  FAILED  c
          on line 8, column 6
          the change window windows/office judges it: set context.now, so that the result does not depend on the clock

Warning: 3 rules judge no change of any case:
  production/team
  production/gates
  production/owners

Failed! 1 case passed, 2 failed."""
    )
    document = policy_tests_document(results, left)
    Draft202012Validator(read_schema("output/policy-test")).validate(document)
    assert json.loads(json.dumps(document))["outcome"] == "failed"
    assert render_policy_tests(results[:1], [], Paint()).endswith("Success! 1 case passed.")
    assert policy_tests_document(results[:1], [])["outcome"] == "passed"


AT = "tests.yaml:6:"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{^chnage: {}, address: WebService/x}", 'unknown property of a plan "chnage" | Did you mean "change"?'),
        ("{address: WebService/x, change: {^action: [delete]}}", 'unknown property of a plan "action" | Did you mean "actions"?'),
        ("{address: WebService/x, change: {^actions: [destroy]}}", "is not what a plan has here | See a plan"),
        ("{address: WebService/x, change: {^actions: delete}}", "is not what a plan has here"),
        ("{address: WebService/x, ^change: delete}", "is not what a plan has here"),
        ("{address: WebService/x, model: [^{after: x}]}", "lacks name | See a plan"),
        ("{address: WebService/x, ^model: x}", "is not what a plan has here"),
        ("{address: WebService/x, labels: {^a: 3}}", "is not what a plan has here"),
        ("{^address: x}", "address does not match the required pattern"),
        ("^{}", "changes[0] lacks address"),
    ],
)  # fmt: skip
def test_a_change_that_no_plan_has_is_refused_at_its_place(
    tmp_path: Path, text: str, said: str
) -> None:
    line = f"  - {{name: c, expect: [], changes: [{text}]}}\n"
    found = load(tmp_path, HEAD + line.replace("^", ""))
    expected = f"{tmp_path}/{AT}{line.index('^') + 1} PolicyTest: {said}"
    assert any(one.startswith(expected) for one in found), found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no cases | Begin it with: apiVersion: reconciler/v1, kind: PolicyTest"),
        ("apiVersion: reconciler/v1\nkind: PolicyTests\n", 'unknown kind of test "PolicyTests" | Did you mean "PolicyTest"?'),
        ("cases: []\n", "unknown kind of test | Known: PolicyTest."),
        ("apiVersion: reconciler/v1\nkind: PolicyTest\nmetadata: {name: t}\nspec: {cases: []}\n", "cases must not be empty"),
        (f"{HEAD}  - {{name: c, expect: []}}\n", "needs exactly one of changes or plan"),
        (f"{HEAD}  - {{name: c, plan: a, expect: [{{rul: keep}}]}}\n", 'unknown field "rul" | Did you mean "rule"?'),
        (f"{HEAD}  - {{name: c, plan: a, context: {{now: '2026-13-30T12:00:00Z'}}, expect: []}}\n", "is not a time"),
        (f"{HEAD}  - {{name: c, plan: a, context: {{now: 'now'}}, expect: []}}\n", "now does not match"),
        (f"{HEAD}  - {{name: c, plan: a, context: {{allow: [deletes]}}, expect: []}}\n", "allow[0] does not match"),
        ("a: [", "is not YAML"),
    ],
)  # fmt: skip
def test_a_file_without_valid_cases_is_refused(tmp_path: Path, text: str, said: str) -> None:
    found = load(tmp_path, text)
    assert any(said in one for one in found), found


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    for name, why in (("none.yaml", "does not exist"), (".", "is not a file")):
        _, (found,) = load_policy_tests(tmp_path / name)
        assert found.message == f"the file of cases {why}"

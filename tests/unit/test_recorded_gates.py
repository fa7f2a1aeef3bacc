"""A plan judges a new model by what is recorded, and by the rules of the manifests now."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import pytest
from jsonschema import Draft202012Validator

from reconciler.document.pointers import format_pointer
from reconciler.engine.gate_checks import compare_verdicts, find_settled, judge_models
from reconciler.model import (
    ABSENT,
    Address,
    Cause,
    Fact,
    Finding,
    Inputs,
    JudgedRule,
    LastApplied,
    ModelReference,
    Plan,
    Resource,
    Rollout,
    Step,
)
from reconciler.model.training import GateRule, Promotion, Retraining, TrainingBlob
from reconciler.package_data import read_schema
from reconciler.plans.changes_digest import digest_of_changes
from reconciler.plans.guards import allow, require_reason
from reconciler.plans.plan_file import digest_of_plan, plan_document, read_plan
from reconciler.plans.step import make_removal
from reconciler.render.plan.groups import group_plan
from reconciler.render.plan.markdown import render_plan_markdown
from reconciler.render.plan.rows import describe_gates
from reconciler.render.plan.text import render_plan, render_plan_json
from reconciler.render.words.colour import Paint
from tests.e2e.world import MODEL, definition
from tests.golden import check
from tests.ledgers import make_entry, make_fact
from tests.plans import FLEET, NEW, OLD, ORPHAN, SPEC, live, member, plan, step
from tests.unit.test_engine import World
from tests.unit.test_html import check_page

ADDRESS = Address("WebService", "census")
BEFORE, AFTER = f"sha256:1b4f0e98{'0' * 56}", f"sha256:9f86d081{'0' * 56}"
BLOB = TrainingBlob("a", "https://a/b")
MIN = GateRule("AUC", min=0.85)
REGRESSION = GateRule("AUC", max_regression=0.01)
MARGIN = GateRule("AUC", margin=0.02)
PLAIN = Paint()
NUMBERS = {
    "candidate": 0.88,
    "live": 0.9,
    "difference": -0.02,
    "low": -0.03,
    "high": -0.01,
    "rows": 400.0,
}
COMPARED = {"rule": "AUC margin 0.5", "verdict": "pass", "reason": "", "numbers": NUMBERS}


def retraining(
    *gate: GateRule, name: str = "census", promotes_to: Address = ADDRESS, model: str = MODEL
) -> Retraining:
    return Retraining(
        Address("Retraining", name), BLOB, BLOB, gate=gate, promote=(Promotion(promotes_to, model),)
    )


def evaluation(digest: str, auc: float, run: str = "r2", **more: object) -> Fact:
    data = {"retraining": "Retraining/census", "run": run, "metrics": {"AUC": auc}}
    source = {"evaluation": f"https://acct.example.org/{run}.csv", "parent": BEFORE}
    return make_fact("evaluation", digest, data={**data, **source, **more})


def update(digest: str = AFTER, before: str = BEFORE) -> Step:
    made = step(live(realtimeConfiguration={"maxConcurrentCalls": 10}), SPEC)
    trust = "streamed" if digest else ""
    model = replace(made.models[0], digest_before=before, digest_after=digest, trust=trust)
    return replace(made, models=(model,))


def judge(
    made: Step,
    retrainings: Sequence[Retraining],
    facts: Iterable[Fact],
    last_applied: Mapping[Address, LastApplied] | None = None,
    pins: Mapping[Resource, Sequence[ModelReference]] | None = None,
) -> tuple[list[tuple[str, str, bool]], tuple[Finding, ...]]:
    """The rule, the verdict and whether it refuses, for each rule; and the findings."""
    known = {(one.topic, one.subject): one for one in facts}
    (judged,), found = judge_models([made], retrainings, known, last_applied or {}, pins or {})
    said = [(one.rule, one.verdict, one.refuses) for one in judged.models[0].gates]
    return said, found


def verdicts(made: Step, *gate: GateRule, facts: Iterable[Fact] = ()) -> list[str]:
    return [verdict for _, verdict, _ in judge(made, [retraining(*gate)], facts)[0]]


def test_the_numbers_are_recorded_and_the_rules_are_those_of_now() -> None:
    facts = [evaluation(AFTER, 0.88), evaluation(BEFORE, 0.9, "r1")]
    assert verdicts(update(), MIN, REGRESSION, facts=facts) == ["pass", "fail"]
    assert verdicts(update(), GateRule("auc", min=0.9), facts=facts) == ["fail"]
    assert verdicts(update(), GateRule("AUC", max_regression=0.02), facts=facts) == ["pass"]


def test_a_refusal_names_the_retraining_the_rule_the_numbers_and_the_flags() -> None:
    facts = [evaluation(AFTER, 0.8), evaluation(BEFORE, 0.9, "r1")]
    _, (found,) = judge(update(), [retraining(MIN, REGRESSION)], facts)
    assert (found.guard, found.subject, found.severity) == ("gate", str(ADDRESS), "error")
    judged = f'trained model "{MODEL}", Retraining/census: fail'
    assert found.detail == (
        f"{judged}: AUC min 0.85: AUC 0.8",
        f"{judged}: AUC maxRegression 0.01: AUC 0.9 -> 0.8 (-0.1)",
    )
    assert found.next_step.endswith('--allow gate=WebService/census --reason "WHY"')


def test_a_model_without_an_evaluation_is_refused_unless_it_is_the_first() -> None:
    accepting = replace(MIN, accepts_first=True)
    assert judge(update(), [retraining(accepting)], [])[0] == [
        ("AUC min 0.85", "not evaluated", True)
    ]
    assert verdicts(update(""), MIN, facts=[evaluation(AFTER, 0.9)]) == ["not evaluated"]
    assert verdicts(update(), MIN, facts=[evaluation(BEFORE, 0.9)]) == ["not evaluated"]
    created = step(ABSENT, {**SPEC, "definition": definition(OLD)})
    assert verdicts(created, MIN) == []


def test_the_first_model_is_judged_by_its_own_numbers_only() -> None:
    created = step(ABSENT, {**SPEC, "definition": definition(OLD)})
    created = replace(
        created, models=(replace(created.models[0], digest_after=AFTER, trust="streamed"),)
    )
    facts = [evaluation(AFTER, 0.8)]
    assert judge(created, [retraining(MIN, REGRESSION, MARGIN)], facts)[0] == [
        ("AUC min 0.85", "fail", True)
    ]


def test_a_model_in_service_that_was_never_evaluated_is_not_a_baseline() -> None:
    facts = [evaluation(AFTER, 0.9)]
    accepting = replace(REGRESSION, accepts_first=True)
    assert judge(update(), [retraining(REGRESSION, accepting)], facts)[0] == [
        ("AUC maxRegression 0.01", "no baseline", True),
        ("AUC maxRegression 0.01", "no baseline", False),
    ]


def test_a_metric_that_was_not_recorded_is_not_evaluated() -> None:
    assert verdicts(update(), GateRule("Recall", min=0), facts=[evaluation(AFTER, 0.9)]) == [
        "not evaluated"
    ]


@pytest.mark.parametrize(
    ("margin", "verdict"), [(0.05, "pass"), (0.005, "fail"), (0.02, "inconclusive")]
)
def test_a_recorded_comparison_is_judged_by_the_margin_of_now(margin: float, verdict: str) -> None:
    facts = [evaluation(AFTER, 0.9, gates=[COMPARED])]
    assert verdicts(update(), GateRule("AUC", margin=margin), facts=facts) == [verdict]


def test_a_comparison_of_an_error_is_turned_round() -> None:
    error = {**COMPARED, "rule": "Mean Absolute Error margin 1"}
    facts = [evaluation(AFTER, 0.9, gates=[error])]
    rule = GateRule("mean_absolute_error", margin=0.005)
    assert verdicts(update(), rule, facts=facts) == ["pass"]


def test_a_comparison_with_another_model_than_the_one_in_service_says_nothing() -> None:
    facts = [evaluation(AFTER, 0.9, gates=[COMPARED], parent=f"sha256:{'3' * 64}")]
    wide = GateRule("AUC", margin=0.05)
    assert verdicts(update(), wide, facts=facts) == ["no baseline"]
    assert verdicts(update(before=""), wide, facts=facts) == ["no baseline"]
    assert verdicts(update(), wide, facts=[evaluation(AFTER, 0.9)]) == ["no baseline"]


@pytest.mark.parametrize(
    "said",
    [
        {**COMPARED, "numbers": {"low": 1}},
        {**COMPARED, "numbers": {"rows": "many"}},
        {**COMPARED, "numbers": None},
        {"rule": "AUC margin 0.02"},
        {**COMPARED, "numbers": {}, "verdict": "fine"},
    ],
)
def test_a_recorded_comparison_that_cannot_be_read_does_not_pass(said: object) -> None:
    facts = [evaluation(AFTER, 0.9, gates=[said, 7, {"rule": 5}])]
    assert verdicts(update(), MARGIN, facts=facts) == ["no baseline"]


def test_too_few_rows_stay_inconclusive() -> None:
    few = {"rule": "AUC margin 0.02", "verdict": "inconclusive", "reason": "12 rows"}
    facts = [evaluation(AFTER, 0.9, gates=[{**few, "numbers": {"rows": 12.0}}])]
    assert verdicts(update(), MARGIN, facts=facts) == ["inconclusive"]


def test_a_row_that_was_not_recorded_is_named() -> None:
    made = retraining(replace(MIN, row=2))
    _, (found,) = judge(update(), [made], [evaluation(AFTER, 0.9)])
    assert found.detail[0].endswith("the recorded evaluation has no AUC in row 2")


def test_a_row_is_judged_by_its_own_number() -> None:
    second = {"rule": "AUC min 0.1", "row": 2, "numbers": {"candidate": 0.5}}
    facts = [evaluation(AFTER, 0.9, gates=[second])]
    assert verdicts(update(), replace(MIN, row=2), facts=facts) == ["fail"]
    assert verdicts(update(), replace(MIN, row=1), facts=facts) == ["not evaluated"]
    assert verdicts(update(), replace(MIN, row={"Model": "x"}), facts=facts) == ["not evaluated"]
    # A comparison on rows has another number, and its rule may name a row too.
    compared = {"rule": "AUC margin 0.1", "row": 2, "numbers": {"candidate": 0.99}}
    facts = [evaluation(AFTER, 0.9, gates=[second, compared])]
    assert verdicts(update(), replace(MIN, row=2), facts=facts) == ["fail"]
    named = {**second, "row": {"Model": "x"}}
    facts = [evaluation(AFTER, 0.5, gates=[{**named, "numbers": {"candidate": 0.9}}])]
    assert verdicts(update(), replace(MIN, row={"Model": "x"}), facts=facts) == ["pass"]


def test_a_model_of_the_last_apply_is_not_new() -> None:
    pointer = format_pointer(update().models[0].path)
    entry = make_entry(owned={pointer: NEW}, digests={pointer: AFTER})
    applied = {ADDRESS: LastApplied.of(entry)}
    assert judge(update(before=""), [retraining(MIN)], [], applied)[0] == []
    other = {ADDRESS: LastApplied.of(replace(entry, digests={pointer: BEFORE}))}
    assert judge(update(), [retraining(MIN)], [], other)[0] != []
    unknown = {ADDRESS: LastApplied.of(replace(entry, digests={pointer: ""}))}
    assert judge(update(""), [retraining(MIN)], [], unknown)[0] == []


def test_a_pin_is_the_digest_of_a_model_that_is_not_looked_up() -> None:
    made = update("")
    pinned = ModelReference(MODEL, NEW, made.models[0].path, sha256=AFTER.partition(":")[2].upper())
    facts = [evaluation(AFTER, 0.9)]
    assert judge(made, [retraining(MIN)], facts, pins={made.resource: [pinned]})[0] == [
        ("AUC min 0.85", "pass", False)
    ]
    elsewhere = replace(pinned, uri=OLD)
    assert judge(made, [retraining(MIN)], facts, pins={made.resource: [elsewhere]})[0] == [
        ("AUC min 0.85", "not evaluated", True)
    ]


@pytest.mark.parametrize("trust", ["metadata", "md5", "none", ""])
def test_a_digest_that_an_uploader_can_write_is_not_that_of_an_evaluated_model(trust: str) -> None:
    made = update()
    made = replace(made, models=(replace(made.models[0], trust=trust),))
    facts = {("evaluation", AFTER): evaluation(AFTER, 0.9)}
    (judged,), (found,) = judge_models([made], [retraining(MIN)], facts, {}, {})
    (said,) = judged.models[0].gates
    assert said.reason == "its bytes are not known: set sha256 beside its uri"
    assert "set sha256 beside its uri" in found.detail[0]


def test_only_the_retraining_that_promotes_to_the_model_judges_it() -> None:
    facts = [evaluation(AFTER, 0.8)]
    for other in (
        retraining(MIN, promotes_to=Address("WebService", "other")),
        retraining(MIN, model="Another [trained model]"),
        retraining(),
    ):
        assert judge(update(), [other], facts)[0] == []
    both = [retraining(GateRule("AUC", min=0.5)), retraining(MIN, name="other")]
    # The one that has trained the model judges it; of a foreign model, each of them.
    assert judge(update(), both, facts)[0] == [("AUC min 0.5", "pass", False)]
    foreign = [evaluation(AFTER, 0.8, retraining="Retraining/gone")]
    assert [one for _, one, _ in judge(update(), both, foreign)[0]] == ["pass", "fail"]


def test_a_model_that_goes_to_another_place_is_judged_by_the_one_in_service() -> None:
    anywhere = [retraining(GateRule("AUC", max_regression=0.1), MIN, model="")]
    facts = [evaluation(AFTER, 0.88), evaluation(BEFORE, 0.9)]
    # The model in service is at another place, and the step adds this one.
    pointer = format_pointer(update().models[0].path)
    entry = make_entry(owned={"/blue": OLD}, digests={"/blue": BEFORE})
    applied = {ADDRESS: LastApplied.of(entry)}
    assert judge(update(before=""), anywhere, facts, applied)[0] == [
        ("AUC maxRegression 0.1", "pass", False),
        ("AUC min 0.85", "pass", False),
    ]
    assert [one for _, one, _ in judge(update(before=""), anywhere, facts)[0]] == [
        "no baseline",
        "pass",
    ]
    assert judge(update(before=""), anywhere, [], applied)[0][1][1:] == ("not evaluated", True)
    # It is not new if any place had it.
    for owned, digests, judged in (
        ({"/blue": NEW}, {"/blue": AFTER}, False),
        ({"/blue": OLD}, {"/blue": AFTER}, False),
        ({"/blue": NEW}, {"/blue": ""}, False),
        ({"/blue": NEW}, {"/blue": BEFORE}, True),
        ({"/blue": OLD}, {"/blue": ""}, True),
        ({pointer: OLD}, {}, True),
        ({"/green": OLD}, {"/green": BEFORE, "/blue": AFTER}, True),
    ):
        had = {ADDRESS: LastApplied.of(replace(entry, owned=owned, digests=digests))}
        assert bool(judge(update(before=""), anywhere, facts, had)[0]) is judged, (owned, digests)
    unknown = {ADDRESS: LastApplied.of(replace(entry, digests={"/blue": ""}))}
    assert judge(update("", before=""), anywhere, facts, unknown)[1] != ()


def test_verdicts_that_a_step_claims_are_not_believed() -> None:
    claimed = JudgedRule(Address("Retraining", "census"), "AUC min 0", "pass", False, "")
    made = update()
    made = replace(made, models=(replace(made.models[0], gates=(claimed,)),))
    assert judge(made, [], [])[0] == []
    (judged,), _ = judge_models([made], [], {}, {}, {})
    (stale,) = compare_verdicts([made], [judged])
    assert "the gate decides otherwise about its new model now" in stale.message
    assert list(compare_verdicts([judged], [judged])) == []
    # A plan of an earlier version shows no verdicts.
    assert list(compare_verdicts([judged], [made])) == []
    refused = replace(made.models[0], gates=(replace(claimed, refuses=True),))
    assert len(list(compare_verdicts([judged], [replace(made, models=(refused,))]))) == 1


def test_what_was_judged_before_is_settled() -> None:
    made, pointer = update(), format_pointer(update().models[0].path)
    world = World()
    done = {ADDRESS: LastApplied.of(make_entry(plan_digest="sha256:1"))}
    assert find_settled(world.runtime(), [made], "sha256:1", done) == {ADDRESS}
    assert find_settled(world.runtime(), [made], "sha256:2", done) == set()
    back = replace(made, reasons=tuple(replace(one, cause=Cause.ROLLBACK) for one in made.reasons))
    assert find_settled(world.runtime(), [back], "sha256:2", {}) == set()
    world.ledger.record(make_entry(owned={pointer: NEW}))
    assert find_settled(world.runtime(), [back], "sha256:2", {}) == {ADDRESS}
    assert find_settled(world.runtime(), [made], "sha256:2", {}) == set()


def test_a_gate_is_not_lifted_without_a_reason() -> None:
    _, found = judge(update(), [retraining(MIN)], [])
    allowed = {"gate=WebService/census", "deletes"}
    assert allow(found, require_reason(allowed, ""))[0].severity == "error"
    assert require_reason(allowed, "") == {"deletes"}
    assert allow(found, require_reason(allowed, "why"))[0].severity == "warning"


def digest_of(number: int) -> str:
    return f"sha256:{number:064x}"


def fleet_member(number: int) -> Step:
    made = member(number)
    model = replace(made.models[0], digest_after=digest_of(number), trust="streamed")
    return replace(made, models=(model,))


def judged_plan(*, lifted: bool) -> Plan:
    """A service with a worse model, and a fleet in which two members have one."""
    steps = (update(), *(fleet_member(number) for number in range(1, 13)))
    facts = [
        evaluation(AFTER, 0.82, gates=[COMPARED]),
        evaluation(BEFORE, 0.9, "r1"),
        *(
            evaluation(digest_of(number), 0.8 if number in {5, 9} else 0.9 + number / 1000)
            for number in range(1, 13)
        ),
    ]
    retrainings = [
        retraining(MIN, replace(REGRESSION, accepts_first=True), MARGIN),
        *(
            retraining(
                MIN, name=f"loc{number:03}", promotes_to=fleet_member(number).resource.address
            )
            for number in range(1, 13)
        ),
    ]
    known = {(one.topic, one.subject): one for one in facts}
    judged, found = judge_models(steps, retrainings, known, {}, {})
    why = "The campaign starts today; see \x1b[31m`@all` <b>|"
    inputs = Inputs("p", {}, allowed=("gate",), reason=why) if lifted else Inputs("p", {})
    findings = allow(found, require_reason(inputs.allowed, inputs.reason))
    made = replace(plan(*judged, findings=findings), inputs=inputs)
    return replace(made, rollouts=(Rollout(FLEET, (1, "100%")),))


def test_a_refused_gate_is_shown_in_every_format() -> None:
    made = judged_plan(lifted=False)
    check("gate-refused", render_plan(made, paint=PLAIN))
    check("gate-refused-comment", render_plan_markdown(made))
    check_page("gate-refused-page", made)


def test_a_lifted_gate_is_shown_in_every_format_with_its_reason() -> None:
    made = judged_plan(lifted=True)
    check("gate-lifted", render_plan(made, paint=PLAIN))
    check("gate-lifted-comment", render_plan_markdown(made))
    check_page("gate-lifted-page", made)


def test_a_member_that_is_refused_is_never_shown_as_one_that_passes() -> None:
    groups = [one for one in group_plan(judged_plan(lifted=True)) if one.fleet is not None]
    assert sorted(len(one.steps) for one in groups) == [1, 1, 10]


@pytest.mark.parametrize(
    ("rule", "numbers", "said"),
    [
        ("AUC min 0.8", [(0.7, None), (0.79999999, None)], "0.7 to 0.79999999"),
        ("AUC min 0.8", [(0.7, None), (0.7, None)], "0.7"),
        ("AUC maxRegression 0.02", [(0.85, 0.9), (0.8, 0.9)], "0.8 to 0.85 (-0.1 to -0.05)"),
        (
            "Mean Absolute Error maxRegression 2",
            [(7.0, 4.9), (6.0, 3.999999999)],
            "6 to 7 (+2.000000001 to +2.1)",
        ),
        ("AUC maxRegression 0.02", [(0.85, 0.9), (0.8, None)], "0.8 to 0.85"),
    ],
)
def test_the_numbers_of_many_models_are_a_range(
    rule: str, numbers: Sequence[tuple[float, float | None]], said: str
) -> None:
    models = []
    for number, (candidate, before) in enumerate(numbers):
        held = {"candidate": candidate, "live": before}
        given = tuple((name, one) for name, one in held.items() if one is not None)
        judged = JudgedRule(Address("Retraining", "r"), rule, "fail", True, f"{number}", given)
        models.append(replace(update().models[0], gates=(judged,)))
    first, *_ = describe_gates(models[0], models)
    assert first == f"gate fail: {rule}: {said}"


def test_a_plan_with_verdicts_is_read_back() -> None:
    made = judged_plan(lifted=True)
    again = read_plan(render_plan_json(made))[0]
    assert [one.models for one in again.steps] == [one.models for one in made.steps]
    assert again.inputs == made.inputs
    document = json.loads(render_plan_json(made))
    Draft202012Validator(read_schema("output/plan")).validate(document)
    other = replace(made, inputs=replace(made.inputs, reason="another"))
    assert digest_of_plan(other) != digest_of_plan(made)
    assert digest_of_changes(other) == digest_of_changes(made)


def test_a_plan_without_verdicts_has_no_key_for_them() -> None:
    document = plan_document(plan(update()))
    assert "gates" not in document["resource_changes"][0]["model"][0]
    assert "reason" not in document["inputs"]


def test_a_thousand_refused_models_hide_no_removal_in_a_comment() -> None:
    gates = (JudgedRule(Address("Retraining", "x"), "AUC min 0.85", "fail", True, "AUC 0.8"),)
    made = [fleet_member(number) for number in range(1, 1001)]
    steps = [replace(one, models=(replace(one.models[0], gates=gates),)) for one in made]
    gone = make_removal(Resource(Address("WebService", "retired"), "/x/retired"), live(), ORPHAN)
    findings = [Finding("no", subject=str(one.resource.address), guard="gate") for one in steps]
    comment = render_plan_markdown(plan(*steps, gone, findings=tuple(findings)))
    assert "`WebService/retired`: **destroy**" in comment
    assert "`gate fail: AUC min 0.85: AUC 0.8`" in comment
    assert len(comment) < 60_000

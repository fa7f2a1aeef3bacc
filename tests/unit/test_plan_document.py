"""A saved plan is the plan: reloaded, it is the same to the byte."""

import json
from dataclasses import replace

import pytest
from hypothesis import example, given
from jsonschema import Draft202012Validator

from reconciler.document.normalize import normalize
from reconciler.errors import PlanInvalid
from reconciler.model import (
    ABSENT,
    Address,
    Check,
    Declared,
    Inputs,
    Json,
    Plan,
    Refresh,
    Resource,
    SecretReference,
    Write,
)
from reconciler.package_data import read_schema
from reconciler.plans.changes_digest import digest_of_one
from reconciler.plans.plan_file import digest_of, digest_of_step, plan_document, read_plan
from reconciler.plans.reasons import explain_changes
from reconciler.plans.step import Comparison, make_step
from reconciler.text.json_text import canonical
from tests.property.documents import documents
from tests.property.fields import EVERY_KEYWORD as FIELD

RESOURCE = Resource(Address("WebService", "census"), "/subscriptions/s/x/census")
SCHEMA = Draft202012Validator(read_schema("output/plan"))
DOCUMENTS = documents(FIELD).map(lambda made: normalize(FIELD, made))


def make_plan(live: Json, declared: Json, *, exact: bool = False) -> Plan:
    comparison = Comparison(
        RESOURCE,
        FIELD,
        live,
        Declared(declared, exact=exact),
        secrets={"/key": SecretReference(env="KEY", version="2026-q4")},
    )
    step = make_step(comparison)
    if step is not None:
        step = replace(step, reasons=tuple(explain_changes(comparison, step.changes)))
    return Plan(
        steps=(step,) if step else (),
        unchanged=() if step else (RESOURCE,),
        findings=(),
        inputs=Inputs("census", {"a.yaml": "sha256:0"}, cloud="http://127.0.0.1:1"),
        refresh=Refresh("full", 1, 1, 1),
        made_at="2026-11-20T12:00:00Z",
        baseline="kept",
    )


@example(
    {"parts": [{"name": "b"}, {"name": "a"}, {"name": "c"}]}, {"parts": [{"name": "a", "size": 0}]}
)
@example(
    {"id": "", "calls": 0, "limits": {}, "plan": {"id": "/subscriptions/S/x/Y"}},
    {"location": "southcentralus", "limits": {}, "plan": {"id": "/subscriptions/s/X/y"}},
)
@given(DOCUMENTS, DOCUMENTS)
def test_a_plan_read_back_is_the_same_to_the_byte(live: Json, declared: Json) -> None:
    for before, exact in ((live, False), (live, True), (ABSENT, False)):
        text = canonical(plan_document(make_plan(before, declared, exact=exact)))
        assert list(SCHEMA.iter_errors(json.loads(text))) == []
        again, digest = read_plan(text)
        assert canonical(plan_document(again)) == text
        assert digest == json.loads(text)["plan_digest"]


def test_one_changed_byte_is_refused() -> None:
    text = canonical(plan_document(make_plan({"calls": 4}, {"calls": 20})))
    changed = text.replace('"value":20', '"value":21')
    assert changed != text
    with pytest.raises(PlanInvalid, match="changed"):
        read_plan(changed)


@pytest.mark.parametrize("text", ["", "no json", "[]", "{}", '{"plan_digest": "sha256:0"}'])
def test_what_is_no_plan_is_refused(text: str) -> None:
    with pytest.raises(PlanInvalid):
        read_plan(text)


def test_a_plan_of_a_later_format_is_refused() -> None:
    document = plan_document(make_plan({"calls": 4}, {"calls": 20}))
    with pytest.raises(PlanInvalid, match="format"):
        read_plan(canonical({**document, "format_version": "2.0"}))


def test_the_schema_of_a_plan_takes_nothing_else() -> None:
    document = json.loads(canonical(plan_document(make_plan({"calls": 4}, {"calls": 20}))))
    document["resource_changes"][0]["surprise"] = 1
    (error,) = SCHEMA.iter_errors(document)
    assert "'surprise' was unexpected" in error.message


def test_a_name_with_a_line_end_in_it_has_its_place_in_a_plan() -> None:
    document = json.loads(canonical(plan_document(make_plan(ABSENT, {"tags": {"one\ntwo": "x"}}))))
    (change,) = document["resource_changes"]
    assert change["owns"] == ["/tags/one\ntwo"]
    assert list(SCHEMA.iter_errors(document)) == []


def test_the_writes_and_the_strategy_of_a_step_are_read_back() -> None:
    plan = make_plan({"calls": 4}, {"calls": 20})
    probe = Check("answers 20 calls", {"sort": "probe", "count": 20})
    writes = (
        Write("create green", sends=("parts", "a/b")),
        Write("traffic: green 10 %", wait_s=60.0, requires=(probe,), checks=(probe, probe)),
    )
    (step,) = plan.steps
    staged = step.copy_with(strategy={"steps": [10, 100]}, writes=writes)
    text = canonical(plan_document(replace(plan, steps=(staged,))))
    assert list(SCHEMA.iter_errors(json.loads(text))) == []
    (again,) = read_plan(text)[0].steps
    assert (again.strategy, again.writes) == (staged.strategy, writes)
    assert digest_of_one(staged) != digest_of_one(step)
    assert digest_of_step(staged) != digest_of_step(step)


def test_the_digest_that_a_step_of_a_saved_plan_keeps_is_that_of_its_text() -> None:
    text = canonical(plan_document(make_plan({"calls": 4}, {"calls": 20})))
    (step,) = read_plan(text)[0].steps
    (said,) = json.loads(text)["resource_changes"]
    assert digest_of_step(step) == digest_of(said) == digest_of_step(step.open())
    assert digest_of_step(step.copy_with(wave=7)) == digest_of({**said, "wave": 7})
    assert digest_of_step(replace(step, wave=7)) == digest_of({**said, "wave": 7})


def test_a_step_with_one_write_has_no_key_for_them() -> None:
    (change,) = plan_document(make_plan({"calls": 4}, {"calls": 20}))["resource_changes"]
    assert not {"strategy", "writes"} & change.keys()

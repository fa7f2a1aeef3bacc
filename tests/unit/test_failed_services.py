"""A service whose last operation failed: each plan of it says so, and what happens next."""

import json
from typing import Any

import pytest

from reconciler.document.schema import find_failure
from reconciler.engine.drift import report_drift
from reconciler.engine.planning.plan import make_plan
from reconciler.engine.planning.step_checks import check_state
from reconciler.kinds.web_service import KIND
from reconciler.model import ABSENT, Json, Plan, Resource, Verdict
from reconciler.plans.plan_file import encode_plan
from reconciler.plans.step import make_removal
from reconciler.render.drift.markdown import render_drift_markdown
from reconciler.render.drift.text import render_drift
from reconciler.render.plan.html import render_plan_html
from reconciler.render.plan.markdown import render_plan_markdown
from reconciler.render.plan.text import render_plan
from reconciler.render.words.colour import Paint
from tests.plans import ORPHAN, SPEC, live, step
from tests.unit.test_engine import NEW, OLD, World, make_request

SAID = "properties.provisioningState is Failed: the service reports that its last operation failed"
UPDATED, KEPT = "The apply changes it in place", "The apply does not change it"


def plan_of(state: str, uri: str, **more: Any) -> Plan:
    world = World()
    world.add("a")
    world.documents["a"]["properties"]["provisioningState"] = state
    return make_plan(world.runtime(), make_request("a", uri=uri, **more))


@pytest.mark.parametrize(("uri", "then"), [(NEW, UPDATED), (OLD, KEPT)])
def test_every_face_says_so_and_what_happens_next(uri: str, then: str) -> None:
    made = plan_of("Failed", uri)
    assert made.outcome == ("changes" if uri == NEW else "no-changes")
    (finding,) = json.loads(encode_plan(made))["findings"]
    assert (finding["message"], finding["severity"]) == (SAID, "warning")
    assert finding["next_step"].startswith(then)
    for text in (
        render_plan(made, paint=Paint()),
        render_plan(made, paint=Paint(), summary=True),
        render_plan_markdown(made),
        render_plan_html(made),
    ):
        assert "WebService/a" in text
        assert SAID in text
        assert then in text


def test_a_destroyed_one_is_named_too() -> None:
    made = plan_of("Failed", OLD, destroy=True)
    assert any(one.message == SAID and "destroys it" in one.next_step for one in made.findings)


@pytest.mark.parametrize("state", ["Succeeded", "Provisioning", "Unknown", "failed", ""])
def test_another_state_is_not_reported(state: str) -> None:
    assert plan_of(state, NEW).findings == ()


@pytest.mark.parametrize("document", [ABSENT, {}, {"properties": None}, {"properties": []}, None])
def test_a_document_without_a_state_is_not_failed(document: Json) -> None:
    assert find_failure(KIND.field, document) == ""


def test_the_next_step_is_that_of_the_action() -> None:
    before = live(provisioningState="Failed")
    replaced = step(before, {**SPEC, "definition": {"location": "West Europe"}})
    removed = make_removal(Resource(replaced.resource.address, "/x/a"), before, ORPHAN)
    said = [
        one.next_step
        for made in (replaced, removed)
        for one in check_state(KIND.field, made.resource, before, made)
    ]
    assert said == ["The apply destroys it, and creates it again.", "The apply destroys it."]


def test_a_failed_service_is_not_in_sync() -> None:
    world = World()
    for name, state in (("a", "Failed"), ("b", "Succeeded")):
        world.add(name)
        world.documents[name]["properties"]["provisioningState"] = state
    report = report_drift(world.runtime(), make_request("a", "b", uri=OLD))
    assert [one.verdict for one in report.statuses] == [Verdict.FAILED, Verdict.IN_SYNC]
    (finding,) = report.findings
    assert (finding.note, report.outcome) == (SAID, "drift")
    for text in (render_drift(report, paint=Paint()), render_drift_markdown(report)):
        assert "1 failed" in text
        assert SAID in text
        assert "reconciler plan --target WebService/a" in text

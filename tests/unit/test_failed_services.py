"""A service whose last operation failed: each plan of it says so, and what happens next."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from reconciler.document.diff import diff
from reconciler.document.identity import read_creation_time
from reconciler.document.schema import find_failure
from reconciler.engine.drift import report_drift
from reconciler.engine.planning.plan import make_plan
from reconciler.engine.planning.step_checks import check_state
from reconciler.kinds.online_endpoint import KIND as ONLINE
from reconciler.kinds.web_service import KIND
from reconciler.model import ABSENT, Json, Live, Plan, Resource, Verdict
from reconciler.plans.evidence import assess_intent
from reconciler.plans.plan_file import encode_plan
from reconciler.plans.step import make_removal, make_step
from reconciler.render.drift.markdown import render_drift_markdown
from reconciler.render.drift.text import render_drift
from reconciler.render.plan.html import render_plan_html
from reconciler.render.plan.markdown import render_plan_markdown
from reconciler.render.plan.text import render_plan
from reconciler.render.words.colour import Paint
from tests import online_endpoints
from tests.ledgers import make_intent
from tests.plans import ORPHAN, SPEC, live, step
from tests.unit.test_engine import NEW, OLD, World, make_request

NOW = datetime(2026, 11, 20, tzinfo=UTC)
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


# A separate part: the deployment of an online endpoint.


def online(state: str, name: str = "green") -> Json:
    return online_endpoints.endpoint(
        {"blue": 100},
        online_endpoints.deployment(),
        online_endpoints.deployment(name, "2", provisioningState=state),
    )


def test_a_part_that_failed_is_named() -> None:
    state = "deployments.green.properties.provisioningState is Failed"
    assert find_failure(ONLINE.field, online("Failed")).startswith(f"{state}: ")
    assert find_failure(ONLINE.field, online("Updating")) == ""
    odd: list[Json] = [[], {"a": None}, None]
    for deployments in odd:
        assert find_failure(ONLINE.field, {"deployments": deployments}) == ""


@pytest.mark.parametrize(
    ("state", "sent"),
    [("Failed", True), ("Canceled", True), ("Succeeded", False), ("Updating", False)],
)
def test_a_declared_part_that_failed_is_sent_again(state: str, *, sent: bool) -> None:
    declared = {"deployments": {"green": {**online_endpoints.GREEN}}}
    made = make_step(online_endpoints.compare(online(state), **declared))
    changes = () if made is None else made.changes
    above = ("deployments", "green", "properties", "provisioningState")
    assert [(one.path, one.before, one.after) for one in changes] == [
        (above, state, "Succeeded")
    ] * sent
    others = {"deployments": {"blue": {**online_endpoints.BLUE}}}
    assert make_step(online_endpoints.compare(online(state), **others)) is None


def test_an_endpoint_that_failed_is_sent_again_by_who_declares_it() -> None:
    before = online_endpoints.endpoint({}, provisioningState="Failed")
    made = make_step(online_endpoints.compare(before, auth_mode="key"))
    assert made is not None
    assert [(one.path[-1], one.after) for one in made.changes] == [
        ("provisioningState", "Succeeded")
    ]
    assert make_step(online_endpoints.compare(before)) is None


def test_no_change_leads_to_a_failed_state() -> None:
    """To undo a repair, the rest of it is undone."""
    repaired, failed = online("Succeeded"), online("Failed")
    assert list(diff(ONLINE.field, repaired, failed)) == []
    green = failed["deployments"]["green"]
    green["sku"] = {**green["sku"], "capacity": 7}
    assert [one.path[-1] for one in diff(ONLINE.field, repaired, failed)] == ["capacity"]


@pytest.mark.parametrize("before", [online("Succeeded", "red"), online("Failed")])
def test_a_part_that_failed_does_not_prove_its_write(before: Json) -> None:
    declared = {"deployments": {"green": {**online_endpoints.GREEN}}}
    made = make_step(online_endpoints.compare(before, **declared))
    assert made is not None
    created = read_creation_time(ONLINE.field, before)
    intent = make_intent(patch=made.ops, absences=made.absences, created=created)
    # Another part may have failed long ago.
    red = online("Failed", "red")["deployments"]["red"]
    for state, done in (("Failed", False), ("Canceled", False), ("Succeeded", True)):
        document = online(state)
        document["deployments"]["red"] = red
        seen = Live(document, None, NOW)
        for start in (Live(before, None, NOW), None):
            found = assess_intent(ONLINE.field, intent, seen, start)
            assert (found.result == "done") is done, found.note

"""What proves the commitment plan of a service: its plan's list, page by page."""

from typing import Any

import pytest

from reconciler.errors import ServiceError
from reconciler.kinds.web_service.requirements import COMMITMENT_PLAN
from tests.scripted import Answer, Call
from tests.wire.test_provider import serving
from tests.wire.test_web_service import RESOURCE

PLAN = "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearning/commitmentPlans/a b"
LIST = PLAN.replace(" ", "%20") + "/commitmentAssociations?api-version=2016-05-01-preview"


def association(resource_id: Any) -> Any:
    return {"name": "x", "properties": {"associatedResourceId": resource_id}}


@pytest.mark.parametrize(
    ("items", "confirmed"),
    [
        ([association(RESOURCE.id.upper() + "/")], True),
        ([association(RESOURCE.id + "2"), association(None), {}, "x", None], False),
        ([], False),
    ],
)
def test_a_plan_confirms_the_services_that_it_lists(items: list[Any], confirmed: bool) -> None:
    def script(call: Call, number: int) -> Answer:
        assert call.method == "GET"
        if number:
            return Answer(200, {"value": items})
        link = f"http://{call.headers['Host']}{LIST}&%24skiptoken=a%2Fb"
        return Answer(200, {"value": [association("/other")], "nextLink": link})

    with serving(script) as (provider, server):
        assert provider.confirms(RESOURCE, COMMITMENT_PLAN, PLAN) is confirmed
        assert [call.target for call in server.calls] == [LIST, f"{LIST}&%24skiptoken=a%2Fb"]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("properties", "title"), PLAN),
        (COMMITMENT_PLAN, "/plan"),
        (COMMITMENT_PLAN, f"{PLAN}/commitmentAssociations"),
        (COMMITMENT_PLAN, f"{PLAN}?x=1"),
        (COMMITMENT_PLAN, PLAN.replace("commitmentPlans", "webServices")),
        (COMMITMENT_PLAN, PLAN.replace("a b", "..")),
        (COMMITMENT_PLAN, PLAN.replace("/s/", "/../")),
        (COMMITMENT_PLAN, None),
    ],
)
def test_nothing_else_is_asked_for(path: tuple[str, ...], value: Any) -> None:
    with serving(lambda *_: Answer(500, None)) as (provider, server):
        assert provider.confirms(RESOURCE, path, value) is False
        assert server.calls == []


@pytest.mark.parametrize("status", [403, 404])
def test_a_plan_that_cannot_be_read_proves_nothing(status: int) -> None:
    with (
        serving(lambda *_: Answer(status, {"error": {"code": "X", "message": "no"}})) as (one, _),
        pytest.raises(ServiceError),
    ):
        one.confirms(RESOURCE, COMMITMENT_PLAN, PLAN)

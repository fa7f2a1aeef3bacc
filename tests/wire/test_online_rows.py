"""Rows of a table at an online endpoint: which deployment, in which form, and what answers mean."""

import json
from typing import Any

import pytest

from reconciler.errors import ReconcilerError, ServiceMissing, Unavailable
from reconciler.kinds.online_endpoint import KIND
from reconciler.model import Address, Json, Resource
from reconciler.ports import Scores, Trains
from tests.access import access
from tests.scripted import Answer, Call, Script, run_scripted
from tests.wire.arm import ENDPOINT, Arm, deployment, endpoint

RESOURCE = Resource(Address("OnlineEndpoint", "census"), ENDPOINT)
COLUMNS = ("age", "city")
ROWS = (("21", "Ulm"), ("45.5", ""), ("1e2", "7"))


def score(
    script: Script, rows: Any = ROWS, traffic: Json = None
) -> tuple[list[dict[str, str]], list[Call]]:
    """The answers to rows, and the scoring calls that were sent."""
    arm = Arm(endpoint(traffic or {"blue": 10, "green": 90}), {"blue": deployment()})
    scored: list[Call] = []

    def serve(call: Call, number: int) -> Answer:
        if call.target == "/score":
            scored.append(call)
            return script(call, len(scored) - 1)
        if "/listKeys?" in call.target:
            return Answer(200, {"primaryKey": "PLANTED-key-0123456789"})
        return arm.answer(call, number)

    with run_scripted(serve) as server:
        arm.endpoint["properties"]["scoringUri"] = f"{server.url}/score"
        provider = KIND.connect(access(server.url))
        assert isinstance(provider, Scores)
        assert not isinstance(provider, Trains)
        found = provider.open_scorer(RESOURCE, 1.0).score(COLUMNS, rows)
    return [dict(one) for one in found], scored


def one_each(call: Call, _: int) -> Answer:
    """A number for each row of either form."""
    body = json.loads(call.body)
    rows = body["data"] if "data" in body else body["input_data"]["data"]
    return Answer(200, [0.5] * len(rows))


def test_rows_go_to_the_deployment_with_the_most_traffic_in_the_form_of_mlflow() -> None:
    found, (call,) = score(one_each)
    usual = {"Scored Labels": "0.5", "Scored Probabilities": "0.5"}
    assert found == [usual] * 3
    assert call.headers["azureml-model-deployment"] == "green"
    rows = [[21, "Ulm"], [45.5, ""], [100, 7]]
    table = {"columns": ["age", "city"], "index": [0, 1, 2], "data": rows}
    assert json.loads(call.body) == {"input_data": table}


def test_a_script_that_reads_another_form_is_asked_in_that_form_from_then_on() -> None:
    def script(call: Call, number: int) -> Answer:
        return one_each(call, number) if "data" in json.loads(call.body) else Answer(424, b"")

    found, calls = score(script, ROWS * 50)
    assert len(found) == 150
    assert [[*json.loads(call.body)] for call in calls] == [["input_data"], ["data"], ["data"]]


@pytest.mark.parametrize(
    ("answer", "number"),
    [
        ([0.25], "0.25"),
        ([1], "1.0"),
        ({"predictions": [0.25]}, "0.25"),
        ([[0.75, 0.25]], "0.25"),
        ([{"income": 0.25}], "0.25"),
    ],
)
def test_an_answer_is_one_number_for_each_row(answer: Json, number: str) -> None:
    found, _ = score(lambda *_: Answer(200, answer), ROWS[:1])
    assert found[0]["Scored Probabilities"] == number


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, [0.5, 0.5]),
        Answer(200, {"error": "no"}),
        Answer(200, ["a"]),
        Answer(200, [True]),
        Answer(200, [None]),
        Answer(200, []),
        Answer(404),
        Answer(424),
        Answer(200, [0.5], {"x-ms-run-function-failed": "True"}),
    ],
)
def test_any_other_answer_is_unusable(answer: Answer) -> None:
    with pytest.raises(Unavailable, match="green does not score rows") as failed:
        score(lambda *_: answer, ROWS[:1])
    assert "scoring script" in failed.value.next_step


def test_without_traffic_no_model_is_in_service() -> None:
    with pytest.raises(ReconcilerError, match="no deployment has traffic"):
        score(one_each, traffic={"blue": 0})


def test_an_endpoint_that_does_not_exist_has_no_model() -> None:
    with run_scripted(Arm().answer) as server:
        provider = KIND.connect(access(server.url))
        assert isinstance(provider, Scores)
        with pytest.raises(ServiceMissing):
            provider.open_scorer(RESOURCE)

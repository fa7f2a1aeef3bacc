"""What each deployment of an online endpoint serves, by its document and by its answers."""

from typing import Any

import pytest

from reconciler.errors import ServiceMissing
from reconciler.kinds.online_endpoint import KIND
from reconciler.model import Json, Manifest, Resource
from reconciler.plans.proof import Proof, Serving, judge_serving
from reconciler.ports import ShowsServing
from tests.access import access
from tests.scripted import Answer, Call, run_scripted
from tests.wire.arm import ENDPOINT, Arm, deployment, endpoint
from tests.wire.arm import SCOPE as W
from tests.wire.test_online_probes import RESOURCE as ELSEWHERE
from tests.wire.test_online_probes import Score, answer

RESOURCE = Resource(ELSEWHERE.address, ENDPOINT)
SAMPLE: Json = {"request": {"data": [[1]]}, "expect": [0.25], "count": 3}
SPEC: Json = {
    "traffic": {"green": 100},
    "deployments": {"green": {"model": "azureml:census:2"}},
    "rollout": {"probe": SAMPLE},
}


KEYS = Answer(200, {"primaryKey": "PLANTED-key-0123456789"})


def named(call: Call) -> str:
    """The deployment that a call names, "" without one."""
    return call.headers.get("azureml-model-deployment", "")


def asked(call: Call) -> str:
    """The deployment that answers a call: the one that it names, or green."""
    return named(call) or "green"


def by_name(call: Call, _: int) -> Answer:
    """Green answers as expected, and blue otherwise."""
    return answer(asked(call), [0.25 if asked(call) == "green" else 0.75])


def show(
    score: Score = by_name, spec: Json = None, shown: Json = None, **green: Any
) -> tuple[Serving, list[Call]]:
    """What an endpoint with blue and green serves; `green` changes properties of green."""
    deployments = {"blue": deployment("blue", 1), "green": deployment("green", 2, **green)}
    arm = Arm(endpoint({"green": 100} if shown is None else shown), deployments)
    scored: list[Call] = []

    def serve(call: Call, number: int) -> Answer:
        if call.target == "/score":
            scored.append(call)
            return score(call, len(scored) - 1)
        if "/listKeys?" in call.target:
            return KEYS
        return arm.answer(call, number)

    with run_scripted(serve) as server:
        arm.endpoint["properties"]["scoringUri"] = f"{server.url}/score"
        provider = KIND.connect(access(server.url))
        assert isinstance(provider, ShowsServing)
        manifest = Manifest(RESOURCE.address, SPEC if spec is None else spec, "c.yaml", "sha256:0")
        return provider.show_serving(RESOURCE, manifest), scored


def list_signs(serving: Serving, name: str = "green") -> dict[str, tuple[str, str]]:
    (found,) = (one for one in serving.deployments if one.name == name)
    return {sign.source: (sign.state.value, sign.said) for sign in found.signs}


def test_all_signs_of_what_is_declared_agree() -> None:
    serving, scored = show()
    assert list_signs(serving) == {
        "model id": ("agrees", "the document names azureml:census:2"),
        "mounted directory": (
            "agrees",
            "the service has mounted /var/azureml-app/azureml-models/census/2",
        ),
        "deployment": ("agrees", "green answered 3 of 3 calls to it"),
        "answer": ("agrees", "green answered 3 calls as spec.rollout.probe.expect"),
    }
    assert [(one.name, one.share, one.uri) for one in serving.deployments] == [
        ("blue", 0, "azureml:census:1"),
        ("green", 100, "azureml:census:2"),
    ]
    assert (serving.traffic.state, serving.traffic.said) == (
        "agrees",
        "the answers fit the traffic: green 20 of 20 calls",
    )
    assert judge_serving(serving)[0] is Proof.PROVEN
    assert len(scored) == 26, "three to each deployment, and 20"


def test_what_is_not_declared_is_shown_and_not_judged() -> None:
    serving, _ = show()
    assert list_signs(serving, "blue") == {
        "model id": (
            "shown",
            "the document names azureml:census:1, and the manifest no model of it",
        ),
        "mounted directory": (
            "agrees",
            "the service has mounted /var/azureml-app/azureml-models/census/1",
        ),
        "deployment": ("agrees", "blue answered 3 of 3 calls to it"),
        "answer": (
            "unknown",
            "the declared answer is that of the declared deployments with traffic",
        ),
    }


@pytest.mark.parametrize(
    ("green", "source", "state", "said"),
    [
        (
            {"model": f"{W}/models/census/versions/1"},
            "model id",
            "differs",
            "the document names azureml:census:1, and the manifest azureml:census:2",
        ),
        (
            {"environmentVariables": {"AZUREML_MODEL_DIR": "/var/azureml-models/census/1"}},
            "mounted directory",
            "differs",
            "the service has mounted /var/azureml-models/census/1",
        ),
        (
            {"environmentVariables": {}},
            "mounted directory",
            "unknown",
            "the service shows no AZUREML_MODEL_DIR",
        ),
        (
            {"provisioningState": "Failed"},
            "model id",
            "unknown",
            "the document names azureml:census:2, and its state is Failed",
        ),
        ({"model": None}, "model id", "unknown", "the document names no model"),
    ],
)
def test_a_document_that_says_otherwise(
    green: dict[str, Json], source: str, state: str, said: str
) -> None:
    serving, _ = show(**green)
    assert list_signs(serving)[source] == (state, said)
    proof = judge_serving(serving)[0]
    assert (proof is Proof.OTHER) == (state == "differs")


def test_a_canary_with_wrong_numbers_is_found() -> None:
    serving, _ = show(lambda call, _: answer(asked(call), [0.5]))
    assert list_signs(serving)["answer"] == (
        "differs",
        "green does not answer as spec.rollout.probe.expect: /0 is 0.5, and 0.25 is expected",
    )
    assert judge_serving(serving)[0] is Proof.OTHER


def test_a_router_that_ignores_its_document_is_found() -> None:
    serving, _ = show(lambda call, n: by_name(call, n) if named(call) else answer("blue"))
    assert serving.traffic.state == "differs"
    assert "blue answered 1 of 1 call, and it has no traffic" in serving.traffic.said
    assert judge_serving(serving)[0] is Proof.OTHER


def test_traffic_that_is_not_the_declared_one_is_found() -> None:
    spec = {**SPEC, "traffic": {"green": 50, "blue": 50}}
    serving, _ = show(spec=spec)
    assert serving.traffic.state == "differs"


def test_one_answer_for_several_models_proves_none_of_them_wrong() -> None:
    models = {"green": {"model": "azureml:census:2"}, "blue": {"model": "azureml:census:1"}}
    spec = {**SPEC, "traffic": {"green": 50, "blue": 50}, "deployments": models}
    turns = ["blue", "green"]
    serving, _ = show(
        lambda call, n: by_name(call, n) if named(call) else answer(turns[n % 2]),
        spec,
        {"green": 50, "blue": 50},
    )
    assert list_signs(serving)["answer"][0] == "agrees"
    assert list_signs(serving, "blue")["answer"] == (
        "unknown",
        "several models have traffic, and one answer is declared",
    )
    assert judge_serving(serving)[0] is Proof.INCONCLUSIVE


def test_a_deployment_that_does_not_answer_is_unknown() -> None:
    serving, scored = show(
        lambda call, _: Answer(424) if asked(call) == "blue" else by_name(call, 0)
    )
    assert list_signs(serving, "blue")["deployment"] == (
        "unknown",
        "blue: its container answers with an error (status 424)",
    )
    assert sum(asked(one) == "blue" for one in scored) == 1, "verify waits for nothing"
    assert judge_serving(serving)[0] is Proof.PROVEN


def test_without_a_sample_nothing_is_asked() -> None:
    spec = {"traffic": {"green": 100}, "deployments": SPEC["deployments"]}
    serving, scored = show(spec=spec)
    assert scored == []
    why = "the manifest declares no spec.rollout.probe.request"
    assert list_signs(serving)["answer"] == ("unknown", why)
    assert (serving.traffic.state, serving.traffic.said) == ("unknown", why)
    assert judge_serving(serving)[0] is Proof.INCONCLUSIVE


def test_without_an_expected_answer_the_model_is_not_proven() -> None:
    spec = {**SPEC, "rollout": {"probe": {"request": {}, "count": 1}}}
    serving, _ = show(spec=spec)
    assert list_signs(serving)["deployment"][0] == "agrees"
    assert list_signs(serving)["answer"] == (
        "unknown",
        "the manifest declares no spec.rollout.probe.expect",
    )


def test_without_the_right_to_a_key_the_document_is_still_shown() -> None:
    arm = Arm(endpoint({"blue": 100}), {"blue": deployment()})
    with run_scripted(arm.answer) as server:
        arm.endpoint["properties"]["scoringUri"] = f"{server.url}/score"
        provider = KIND.connect(access(server.url))
        assert isinstance(provider, ShowsServing)
        manifest = Manifest(RESOURCE.address, SPEC, "c.yaml", "sha256:0")
        serving = provider.show_serving(RESOURCE, manifest)
    assert list_signs(serving, "blue")["model id"][0] == "shown"
    assert list_signs(serving, "blue")["answer"][0] == "unknown"


def test_an_endpoint_that_does_not_exist_is_missing() -> None:
    with run_scripted(Arm().answer) as server:
        provider = KIND.connect(access(server.url))
        assert isinstance(provider, ShowsServing)
        with pytest.raises(ServiceMissing):
            provider.show_serving(RESOURCE, Manifest(RESOURCE.address, SPEC, "c", "sha256:0"))

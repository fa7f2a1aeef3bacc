"""What is sent to online endpoints, each body held against the published description."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.contract.azureml import flatten
from tests.e2e.online_world import deployment
from tests.e2e.world import run
from tests.wire.arm import SCOPE, Arm, run_arm

pytestmark = pytest.mark.contract
Json = Any
NAMES = {
    ("PUT", False): "OnlineEndpointTrackedResource",
    ("PATCH", False): "PartialMinimalTrackedResourceWithIdentity",
    ("PUT", True): "OnlineDeploymentTrackedResource",
    ("PATCH", True): "PartialMinimalTrackedResourceWithSku",
}
PROBE = {"initial_delay": 20, "period": 30, "timeout": 4, "success_threshold": 1}
# Each setting that a manifest knows.
WHOLE = deployment(
    2,
    environment_variables={"WORKER_COUNT": "2", "TOKEN": {"env": "TOKEN"}},
    request_settings={"request_timeout_ms": 5000, "max_concurrent_requests_per_instance": 2},
    liveness_probe={**PROBE, "failure_threshold": 3},
    readiness_probe={**PROBE, "failure_threshold": 4},
    app_insights_enabled=True,
    egress_public_network_access="enabled",
    scale_settings={"type": "default"},
    data_collector={
        "collections": {
            "model_inputs": {"enabled": True, "data": "azureml:inputs:1", "sampling_rate": 0.5}
        },
        "rolling_rate": "hour",
    },
    description="D",
    tags={"a": "b"},
    properties={"own": "1"},
)
ROLLOUT = {"steps": [10, 100], "pause": "0s", "keepOld": "0s"}


def find_read_only(schema: Json, document: Json, at: str = "") -> list[str]:
    """The places of a body that only the service may write."""
    if not isinstance(document, dict) or not isinstance(schema, dict):
        return []
    known: Json = schema.get("properties") or next(
        (one["properties"] for one in schema.get("anyOf", ()) if "properties" in one), {}
    )
    found = []
    for name, value in document.items():
        below = known.get(name, {})
        found += [f"{at}/{name}"] if below.get("readOnly") else []
        found += find_read_only(below, value, f"{at}/{name}")
    return found


def make_schema(method: str, *, of_deployment: bool) -> Json:
    schema = flatten({"$ref": f"#/definitions/{NAMES[method, of_deployment]}"})
    if of_deployment and method == "PUT":
        schema["properties"]["properties"] = flatten(
            {"$ref": "#/definitions/ManagedOnlineDeployment"}
        )
    return schema


def test_every_body_of_a_whole_life_is_as_published(tmp_path: Path) -> None:
    arm = Arm()
    (tmp_path / "manifests").mkdir()
    with run_arm(arm) as server:
        (tmp_path / "reconciler.yaml").write_text(
            "apiVersion: reconciler/v1\nkind: Project\nmetadata: {name: p}\nspec:\n"
            f"  cloud: {{resourceManager: '{server.url}'}}\n"
            "  defaults: {subscription: s, resourceGroup: rg, workspace: ws}\n"
            "  guards: {blobs: skip}\n"
        )
        whole = {
            "auth_mode": "aml_token",
            "public_network_access": "enabled",
            "description": "E",
            "tags": {"team": "a"},
            "properties": {"own": "1"},
            "identity": {"type": "system_assigned"},
        }
        blue = {**whole, "traffic": {"blue": 100}, "deployments": {"blue": WHOLE}}
        scaled = {
            **blue,
            "tags": {"team": "b"},
            "deployments": {"blue": {**WHOLE, "instance_count": 4}},
        }
        green = {**whole, "traffic": {"green": 100}, "deployments": {"green": WHOLE}}
        for spec in (blue, scaled, {**green, "rollout": ROLLOUT}):
            document = {
                "apiVersion": "reconciler/v1",
                "kind": "OnlineEndpoint",
                "metadata": {"name": "census"},
                "spec": spec,
            }
            (tmp_path / "manifests" / "census.yaml").write_text(json.dumps(document))
            done = run(tmp_path, "apply", "--auto-approve", env={"TOKEN": "t0ken/of+tests"})
            assert done.code == 0, done.said
        sent = [one for one in server.calls if one.method in {"PUT", "PATCH"}]
    seen = set()
    for call in sent:
        path, body = call.target.partition("?")[0].removeprefix(SCOPE), json.loads(call.body)
        of_deployment = "/deployments/" in path
        schema = make_schema(call.method, of_deployment=of_deployment)
        faults = [error.message[:200] for error in Draft202012Validator(schema).iter_errors(body)]
        assert faults == [], (call.method, path)
        assert find_read_only(schema, body) == [], (call.method, path)
        seen.add((call.method, of_deployment))
    assert seen == NAMES.keys()


def test_what_only_the_service_may_write_is_found() -> None:
    schema = make_schema("PUT", of_deployment=True)
    assert find_read_only(schema, {"id": "x", "properties": {"provisioningState": "x"}}) == [
        "/id",
        "/properties/provisioningState",
    ]

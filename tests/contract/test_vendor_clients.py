"""The vendor's clients against the emulator, over HTTPS and without any patch of them."""

import json

import pytest

from tests.contract.azureml import PROVIDER, Json
from tests.contract.foreign import run_vendor
from tests.e2e.world import SUBSCRIPTION, run_emulator

pytestmark = pytest.mark.contract
WORKSPACE = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg/providers/{PROVIDER}/workspaces/ws"


def play(client: str, part: str, *options: str) -> Json:
    """What a client saw of a part that it plays against an emulator of its own."""
    with run_emulator("--tls", "--no-blob", *options) as running:
        certificate = running.certificate
        said = run_vendor(client, running.url, running.token, part, certificate=certificate)
    return json.loads(said.splitlines()[-1])


def test_azure_mgmt_lives_a_whole_life() -> None:
    paged = ("--switch=list-page-size=1", "--switch=online-page-size=1")
    seen = play("by_azure_mgmt.py", "life", "--operation-seconds=0.1", *paged)
    raw = seen.pop("raw")
    log = seen.pop("log")
    assert seen == {
        "models": ["2", "1"],
        "container": ["2", "3"],
        "created": "Succeeded",
        "traffic": {"blue": 90, "green": 10},
        "tags": {"team": "risk"},
        "size": [3, 3, 50],
        "keys": 2,
        "listed": ["census"],
        "deployments": ["blue", "green"],
        "kept": ["HttpResponseError", "BadRequest", "DeploymentHasTraffic"],
        "left": ["green"],
        "missing": ["ResourceNotFoundError", "NotFound", "NoSuchEndpoint"],
    }
    assert raw["properties"]["model"] == f"{WORKSPACE}/models/census/versions/2"
    mounted = raw["properties"]["environmentVariables"]["AZUREML_MODEL_DIR"]
    assert mounted == "/var/azureml-app/azureml-models/census/2"
    assert raw["sku"] == {"name": "Default", "tier": "Standard", "capacity": 3}
    assert "ModelDownload: Succeeded" in log


def test_azure_ai_ml_lives_a_whole_life() -> None:
    # The client polls a deployment that is not ready at once every five seconds.
    seen = play("by_azure_ai_ml.py", "life", "--operation-seconds=0")
    (blue,), (green,) = seen.pop("answers")
    assert 0 <= blue < 1
    assert 0 <= green < 1
    assert blue != green
    log = seen.pop("log")
    assert "Model Directory: /var/azureml-app/azureml-models/census/2\n" in log
    assert "POST /score 200" in log
    old, new = seen.pop("old keys"), seen.pop("new keys")
    assert seen == {
        "model 1": f"{WORKSPACE}/models/census/versions/1",
        "model 2": f"{WORKSPACE}/models/census/versions/2",
        "latest": "2",
        "models": ["1", "2"],
        "created": ["Succeeded", {}, "system_assigned"],
        "blue": ["Succeeded", 1, 20000],
        "model of blue": f"{WORKSPACE}/models/census/versions/1",
        "traffic": {"blue": 100},
        # The client leaves out a share of 0 where it sends one.
        "shifts": [{"blue": 90, "green": 10}, {"green": 100}],
        "sizes": [3, 2],
        "left": ["green"],
        "listed": ["census"],
        "gone": [],
        "missing": "NotFound",
    }
    # The client sends the present key as the new one; the strict reading makes another all the same.
    assert new[0] == old[0]
    assert new[1] not in old

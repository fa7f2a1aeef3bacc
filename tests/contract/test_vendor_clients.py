"""The vendor's clients against the emulator, over HTTPS and without any patch of them."""

import json
from pathlib import Path

import pytest

from tests.contract.azureml import PROVIDER, Json
from tests.contract.faulty import fired, on, write_faults
from tests.contract.foreign import run_vendor
from tests.e2e.online_world import deployment, open_online
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


@pytest.mark.slow  # azure-mgmt makes the same calls in every run
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


FAULTS = (
    on("crash-container", "PUT", "deployments/bad", times=1),
    on("busy", "PUT", "deployments/busy", times=1),
    on("no-quota", "PUT", "deployments/big", times=1),
    on("throttle", "GET", r"onlineEndpoints\?", times=1),
)


def play_faults(client: str, folder: Path) -> tuple[Json, list[str]]:
    """What a client saw, and the sorts of faults that its calls met."""
    file, log = write_faults(folder, *FAULTS), folder / "log.jsonl"
    options = ("--operation-seconds=0", f"--faults={file}", f"--log={log}")
    seen = play(client, "faults", *options)
    return seen, [fault for _, _, fault in fired(folder)]


def test_azure_mgmt_says_what_goes_wrong(tmp_path: Path) -> None:
    seen, met = play_faults("by_azure_mgmt.py", tmp_path)
    assert met == ["crash-container", "busy", "no-quota", "throttle"]
    assert seen == {
        "bad": ["HttpResponseError", "BadArgument", ""],
        "busy": ["ResourceExistsError", "Conflict", ""],
        "big": ["HttpResponseError", "BadRequest", "InferencingClientCreateDeploymentFailed"],
        "state": "Failed",
        "good": "Succeeded",
        # It waits as long as Retry-After says, and sends the call again.
        "listed": ["census"],
    }


@pytest.mark.slow  # the same faults meet azure-mgmt in every run
def test_azure_ai_ml_says_what_goes_wrong(tmp_path: Path) -> None:
    seen, met = play_faults("by_azure_ai_ml.py", tmp_path)
    assert met == ["crash-container", "busy", "throttle"]
    assert seen["token"] == "Bearer"
    assert seen["failed"][0] == "HttpResponseError"
    assert "User container has crashed or terminated" in seen["failed"][1]
    assert seen["state"] == "Failed"
    assert "UserContainerStart: Failed" in seen["log"]
    assert "ModuleNotFoundError" in seen["log"]
    assert seen["busy"][0] == "ResourceExistsError"
    assert "Updating provisioning state" in seen["busy"][1]
    assert seen["throttled"] == ["census"]


# azure-mgmt reads the same replies in every run, and test_online_bodies holds what apply sends.
@pytest.mark.slow
def test_azure_ai_ml_reads_what_apply_made(tmp_path: Path) -> None:
    with open_online(tmp_path / "online", None, "--tls") as online:
        emulator = online.workspace.emulator
        online.environment["REQUESTS_CA_BUNDLE"] = emulator.certificate
        deployments = {
            "blue": deployment(1, instance_count=2),
            "green": deployment(2, instance_type="Standard_F4s_v2"),
        }
        shares = {"blue": 90, "green": 10}
        online.declare(tags={"team": "risk"}, traffic=shares, deployments=deployments)
        online.apply()
        place = (emulator.url, emulator.token, "read", "census")
        said = run_vendor("by_azure_ai_ml.py", *place, certificate=emulator.certificate)
        # The client writes the whole document in its own spelling, which is not a change.
        assert online.changes() == []
        assert online.run("drift").code == 0
    seen = json.loads(said.splitlines()[-1])
    (answer,) = seen.pop("answer")
    assert 0 <= answer < 1
    assert seen == {
        "auth_mode": "key",
        "traffic": shares,
        "tags": {"team": "risk"},
        "deployments": {
            name: {
                "model": f"{WORKSPACE}/models/census/versions/{version}",
                "environment": f"{WORKSPACE}/environments/sklearn/versions/3",
                "instance_type": size,
                "instance_count": count,
                "state": "Succeeded",
            }
            for name, version, size, count in (
                ("blue", 1, "Standard_DS3_v2", 2),
                ("green", 2, "Standard_F4s_v2", 1),
            )
        },
    }

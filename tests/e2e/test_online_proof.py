"""Probes and proofs of an online endpoint, by commands, beside the emulator."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.contract.azureml import SUBSCRIPTION, Ml, read, run_ml
from tests.contract.faulty import on, write_faults
from tests.e2e.online_world import deployment, open_online
from tests.e2e.world import Done, pass_time, run, run_emulator
from tests.golden import check
from tests.storage import open_storage, upload_model

pytestmark = pytest.mark.e2e
SAMPLE = {"data": [[21, 10, 60], [45, 13, 40]]}
GREEN = """\
apiVersion: reconciler/v1
kind: OnlineEndpoint
metadata: {name: census}
spec:
  auth_mode: key
  traffic: {green: 100}
  deployments:
    green:
      model: azureml:census:2
      environment: azureml:sklearn:3
      code_configuration: {code: azureml:score:1, scoring_script: score.py}
      instance_type: Standard_F4s_v2
  rollout:
    steps: [10, 100]
    probe: {request: sample.json, expect: golden.json, count: 5}
"""
BLUE = GREEN.replace("traffic: {green: 100}", "traffic: {blue: 100}").replace(
    "    green:", "    blue:"
)


@dataclass
class Online:
    """A project about one endpoint, whose deployments blue and green serve two versions."""

    folder: Path
    ml: Ml

    @property
    def manifest(self) -> Path:
        return self.folder / "manifests" / "census.yaml"

    def write(self, text: str) -> None:
        (self.folder / "manifests").mkdir(exist_ok=True)
        self.manifest.write_text(text)

    def expect(self, answer: Any) -> None:
        (self.folder / "manifests" / "golden.json").write_text(json.dumps(answer))

    def run(self, *arguments: str, **env: str) -> Done:
        return run(self.folder, *arguments, env=env)

    def verify(self) -> Any:
        done = self.run("verify", "OnlineEndpoint/census", "--format", "json")
        return json.loads(done.out)["resources"][0]

    @property
    def key(self) -> str:
        return str(read(self.ml.call("POST", self.ml.path(tail="/listKeys")))["primaryKey"])

    def score(self, name: str) -> Any:
        headers = {"Authorization": f"Bearer {self.key}", "azureml-model-deployment": name}
        url = self.ml.get()["properties"]["scoringUri"]
        return requests.post(url, json=SAMPLE, headers=headers, timeout=60).json()

    def deploy(self, name: str, version: int) -> None:
        root = self.ml.root
        code = {"codeId": f"{root}/codes/score/versions/1", "scoringScript": "score.py"}
        self.ml.deploy(
            name,
            model=f"{root}/models/census/versions/{version}",
            environmentId=f"{root}/environments/sklearn/versions/3",
            codeConfiguration=code,
        )


def make_online(
    folder: Path, ml: Ml, mode: str = "Key", uri: str = "azureml://jobs/j/outputs/o/paths/m.pkl"
) -> Online:
    """The models are the output of a job, so that their bytes are not known."""
    for version in (1, 2, 3):
        path = f"{ml.root}/models/census/versions/{version}"
        body = {"properties": {"modelUri": uri, "modelType": "custom_model"}}
        assert ml.call("PUT", path, body).status_code == 201
    ml.put(properties={"authMode": mode})
    online = Online(folder, ml)
    online.deploy("blue", 1)
    online.deploy("green", 2)
    ml.put(properties={"authMode": mode, "traffic": {"green": 100}})
    defaults = f"{{subscription: {SUBSCRIPTION}, resourceGroup: rg, workspace: {ml.workspace}}}"
    (folder / "reconciler.yaml").write_text(
        "apiVersion: reconciler/v1\nkind: Project\nmetadata: {name: p}\nspec:\n"
        f'  cloud: {{resourceManager: "{ml.url}", blob: "{ml.url}"}}\n  defaults: {defaults}\n'
        "  guards: {blobs: skip}\n"
    )
    online.write(GREEN)
    (folder / "manifests" / "sample.json").write_text(json.dumps(SAMPLE))
    return online


@pytest.fixture(scope="module")
def shared() -> Iterator[Ml]:
    with run_ml("--seed=1") as ml:
        yield ml


@pytest.fixture
def online(shared: Ml, tmp_path: Path) -> Online:
    """An endpoint in a workspace of its own; the golden answer is that of green."""
    name = tmp_path.name.replace("_", "-")[:30]
    own = Ml(shared.url, workspace=name, region=name)
    made = make_online(tmp_path, own)
    made.expect(made.score("green"))
    return made


def test_verify_says_what_each_deployment_serves_and_how_it_is_known(online: Online) -> None:
    done = online.run("verify", "OnlineEndpoint/census")
    assert done.code == 0
    check("verify-online", done.out.rstrip("\n"))
    assert online.key not in done.said


def test_verify_finds_a_deployment_that_answers_otherwise(online: Online) -> None:
    online.expect([0.5, 0.5])
    found = online.verify()
    assert found["proof"] == "other model serves"
    assert found["reason"].startswith(
        "green: answer differs: green does not answer as manifests/golden.json: /0 is "
    )
    assert online.run("verify", "--all", "-detailed-exitcode").code == 6


def test_verify_finds_a_model_that_is_not_the_declared_one(online: Online) -> None:
    online.deploy("green", 3)
    found = online.verify()
    assert found["reason"] == (
        "green: model id differs: the document names azureml:census:3, and the manifest"
        " azureml:census:2"
    )
    signs = {one["source"]: one["state"] for one in found["serving"]["deployments"][1]["signs"]}
    assert signs == {
        "model id": "differs",
        "mounted directory": "agrees",
        "deployment": "agrees",
        "answer": "differs",
        "digest": "unknown",
    }


def test_verify_finds_a_router_whose_traffic_is_another_one(online: Online) -> None:
    online.ml.route(blue=50, green=50)
    found = online.verify()
    assert found["serving"]["traffic"]["state"] == "differs"
    assert found["proof"] == "other model serves"


def test_verify_without_an_endpoint_is_unreachable(online: Online) -> None:
    online.write(GREEN.replace("name: census", "name: other"))
    done = online.run("verify", "OnlineEndpoint/other")
    assert "OnlineEndpoint/other: unreachable: does not exist" in done.out


def test_a_wrong_model_is_stopped_at_the_probe(online: Online) -> None:
    online.write(
        GREEN.replace("traffic: {green: 100}", "traffic: {blue: 100}")
        .replace("    green:", "    blue:")
        .replace("census:2", "census:3")
    )
    before = online.ml.get()["properties"]["traffic"]
    done = online.run("apply", "-auto-approve")
    assert done.code == 1
    assert (
        "Error: OnlineEndpoint/census: blue does not answer as manifests/golden.json" in done.said
    )
    for line in ("status 200", "request id ", "call 1 of 5", "log of blue: "):
        assert f"\n  {line}" in done.said
    assert online.ml.get()["properties"]["traffic"] == before == {"green": 100}
    assert online.key not in done.said


def test_a_right_model_is_rolled_out_on_answers(online: Online) -> None:
    online.write(BLUE)
    done = online.run("apply", "-auto-approve", RECONCILER_LOG="debug")
    assert done.code == 0, done.said
    assert "blue answered 5 calls as manifests/golden.json" in done.said
    assert "the answers fit the traffic: blue 20 of 20 calls" in done.said
    assert online.key not in done.said
    kept = [one for one in (online.folder / ".reconciler").rglob("*") if one.is_file()]
    assert kept
    assert not [one for one in kept if online.key.encode() in one.read_bytes()]
    assert online.verify()["proof"] == "proven"


def test_a_version_that_is_not_registered_is_found_before_the_first_write(online: Online) -> None:
    online.write(
        GREEN.replace("green: 100", "red: 100")
        .replace("    green:", "    red:")
        .replace("census:2", "census:9")
    )
    done = online.run("plan")
    assert done.code == 1
    assert "deployment red: the model azureml:census:9 does not exist" in done.said
    assert "on manifests/census.yaml line 9, column 7" in done.said
    assert "Register it, or name another version. The latest one is 3." in done.said


def test_no_key_goes_to_a_host_whose_certificate_is_not_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with run_emulator("--no-blob", "--tls", "--operation-seconds=0") as running:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(running.certificate))
        online = make_online(tmp_path, Ml(running.url))
        online.expect(online.score("green"))
        assert online.verify()["proof"] == "proven"
        monkeypatch.delenv("REQUESTS_CA_BUNDLE")
        found = online.verify()
        assert found["proof"] == "unreachable"
        assert "certificate" in found["reason"]


@pytest.mark.parametrize("mode", ["AMLToken", "AADToken"])
def test_an_endpoint_with_tokens_is_probed_too(shared: Ml, tmp_path: Path, mode: str) -> None:
    own = Ml(shared.url, workspace=f"w-{mode.lower()}", region=f"r-{mode.lower()}")
    online = make_online(tmp_path, own, mode)
    word = {"AMLToken": "aml_token", "AADToken": "aad_token"}[mode]
    online.write(GREEN.replace("auth_mode: key", f"auth_mode: {word}"))
    online.expect([1, 2])
    found = online.verify()
    signs = {one["source"]: one["state"] for one in found["serving"]["deployments"][1]["signs"]}
    assert (signs["deployment"], signs["answer"]) == ("agrees", "differs")


@pytest.mark.parametrize(
    ("do", "said"),
    [
        ("failed-script", "its container answers with an error (status 424)"),
        ("wrong-answers", "does not answer as manifests/golden.json"),
    ],
)
def test_a_deployment_that_fails_is_named_with_its_log(tmp_path: Path, do: str, said: str) -> None:
    faults = write_faults(tmp_path, on(do, "PUT", "deployments/blue"))
    with run_ml("--seed=1", f"--faults={faults}") as ml:
        online = make_online(tmp_path, ml)
        online.expect(online.score("green"))
        online.write(BLUE)
        done = online.run("apply", "-auto-approve", "--patience", "0s")
        assert done.code == 1
        assert said in done.said
        assert "log of blue: " in done.said
        assert ml.get()["properties"]["traffic"] == {"green": 100}


@pytest.mark.usefixtures("hurried_calls")
def test_a_router_that_ignores_its_traffic_is_found_and_the_traffic_goes_back(
    tmp_path: Path,
) -> None:
    # The calls that set the stage have another version, so that the fault leaves them.
    path = r"onlineEndpoints/census\?api-version=2024-04-01"
    faults = write_faults(tmp_path, on("ignored-traffic", "PUT", path))
    with run_ml("--seed=1", f"--faults={faults}") as ml:
        online = make_online(tmp_path, replace(ml, version="2024-10-01"))
        online.expect(online.score("green"))
        online.write(BLUE)
        done = online.run("apply", "-auto-approve", "--patience", "0s")
        assert done.code == 1
        assert "the answers do not fit the traffic: blue answered 0 of 145 calls" in done.said
        assert "green answered 145 of 145 calls, and " in done.said
        assert ml.get()["properties"]["traffic"] == {"green": 100}
        assert "Then it was reverted: traffic back: green 100 %" in done.said


@pytest.mark.parametrize(
    ("do", "path"),
    [("warm-up", "deployments/blue"), ("stale-traffic", r"onlineEndpoints/census\?")],
)
def test_what_lags_is_waited_for(tmp_path: Path, do: str, path: str) -> None:
    faults = write_faults(tmp_path, on(do, "PUT", path, seconds=1.3))
    with run_ml("--seed=1", f"--faults={faults}") as ml:
        online = make_online(tmp_path, ml)
        pass_time(ml.url, 60)
        online.expect(online.score("green"))
        online.write(BLUE)
        done = online.run("apply", "-auto-approve", "--patience", "60s")
        assert done.code == 0, done.said
        assert ml.get()["properties"]["traffic"] == {"blue": 100}


def test_the_bytes_of_a_model_are_compared_with_the_pinned_ones(tmp_path: Path) -> None:
    with run_emulator(f"--blob-url={open_storage()}", "--operation-seconds=0") as running:
        ml = Ml(running.url, workspace="bytes")
        store = read(ml.call("GET", f"{ml.root}/datastores/workspaceblobstore"))["properties"]
        address = f"{store['protocol']}://{store['endpoint']}/{store['accountName']}"
        blob = f"{address}/{store['containerName']}/m/new.ilearner"
        place = "azureml://datastores/workspaceblobstore/paths/m/new.ilearner"
        digest = upload_model(blob, b"the bytes of the model", {}).removeprefix("sha256:")
        online = make_online(tmp_path, ml, uri=place)
        online.expect(online.score("green"))

        def find_digest(pin: str = "") -> tuple[str, str]:
            more = f"\n      sha256: '{pin}'" if pin else ""
            online.write(GREEN.replace("model: azureml:census:2", f"model: azureml:census:2{more}"))
            (sign,) = (
                one
                for one in online.verify()["serving"]["deployments"][1]["signs"]
                if one["source"] == "digest"
            )
            return sign["state"], sign["said"]

        said = f"sha256:{digest}, computed from every byte"
        assert find_digest(digest) == ("agrees", said)
        assert find_digest("0" * 64) == (
            "differs",
            f"{said}, and sha256:{'0' * 64} is expected",
        )
        assert find_digest()[0] == "shown"


@pytest.mark.usefixtures("hurried_calls")
def test_what_a_script_prints_of_its_environment_is_in_no_output(tmp_path: Path) -> None:
    secret = "s3cr3t-tok3n/1"
    faults = write_faults(tmp_path, on("failed-script", "PUT", "deployments/green"))
    variables = {"A": "1", "TOKEN": {"env": "TOKEN"}}
    with open_online(tmp_path / "online", None, f"--faults={faults}") as online:
        online.environment["TOKEN"] = secret
        online.declare(traffic={"blue": 100}, deployments={"blue": deployment(1)})
        online.apply()
        for name, content in (("sample.json", '{"data": [[1, 2]]}'), ("golden.json", "[0.5]")):
            (online.folder / "manifests" / name).write_text(content)
        online.declare(
            traffic={"green": 100},
            deployments={"green": deployment(2, environment_variables=variables)},
            rollout={
                "steps": [100],
                "pause": "0s",
                "probe": {"request": "sample.json", "expect": "golden.json", "count": 2},
            },
        )
        # The second run sends nothing, so that it knows the value from the service alone.
        for _ in range(2):
            done = online.run("apply", "--auto-approve", "--patience", "0s")
            assert done.code == 1
            assert "No module named 'sklearn' (environment: A=1," in done.said
            assert secret not in done.said
        for file in online.folder.rglob("*"):
            if file.is_file():
                assert secret not in file.read_text(errors="replace"), file

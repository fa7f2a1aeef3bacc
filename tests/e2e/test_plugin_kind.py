"""A kind of another vendor, installed as a distribution of its own: every command knows it."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.world import Done, run

pytestmark = pytest.mark.e2e
PLUGIN = Path(__file__).parents[1] / "plugin_kind"
BLOBS = "https://acct.blob.example/models"
PROJECT = """
apiVersion: reconciler/v1
kind: Project
metadata: {{name: shelf}}
spec:
  cloud: {{modelshelf: "{url}"}}
  defaults: {{team: growth}}
  guards: {{blobs: skip}}
"""
DEPLOYMENT = """
apiVersion: reconciler/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  model: {{uri: "{model}"}}
  definition: {{replicas: {replicas}}}
"""
RETRAINING = """
apiVersion: reconciler/v1
kind: Retraining
metadata: {{name: one}}
spec:
  service: {{url: "https://train.example/services/s", apiKey: {{env: KEY}}}}
  outputs:
    model: {{port: model, uri: "https://acct.blob.core.windows.net/m/${{run}}.ilearner"}}
    evaluation: {{port: evaluation, uri: "https://acct.blob.core.windows.net/m/${{run}}.csv"}}
  promote: [{{resource: Deployment/one, trainedModel: {model}}}]
"""
FLEET = """
apiVersion: reconciler/v1
kind: Fleet
metadata: {{name: stations}}
spec:
  items: {{list: [{{code: a}}, {{code: b}}, {{code: c}}]}}
  template:
    kind: Deployment
    metadata: {{name: "station-${{code}}"}}
    spec: {{model: {{uri: "{blobs}/{day}-${{code}}.bin"}}}}
"""


@dataclass
class Shelf:
    """A project with deployments, and the server that holds them."""

    folder: Path
    url: str
    site: Path

    def write(self, day: str, replicas: int = 2) -> None:
        """Manifests of one deployment and a fleet of three, each with the model of a day."""
        manifests = self.folder / "manifests"
        manifests.mkdir(exist_ok=True)
        (self.folder / "reconciler.yaml").write_text(PROJECT.format(url=self.url))
        one = DEPLOYMENT.format(name="one", model=f"{BLOBS}/{day}.bin", replicas=replicas)
        (manifests / "one.yaml").write_text(one)
        (manifests / "stations.yaml").write_text(FLEET.format(blobs=BLOBS, day=day))

    def begin(self, *words: str) -> subprocess.Popen[str]:
        environment = {**os.environ, "PYTHONPATH": str(self.site), "NO_COLOR": "1"}
        return subprocess.Popen(
            [sys.executable, "-m", "reconciler", "--chdir", str(self.folder), *words],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def spawn(self, *words: str, code: int = 0) -> str:
        """A command as a process of its own."""
        process = self.begin(*words)
        out, err = process.communicate()
        return _judge(words, Done(process.returncode, out, err), code)

    def run(self, *words: str, code: int = 0) -> str:
        """A command within this process, which sees the distribution as long as it runs."""
        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(self.site)
            return _judge(words, run(self.folder, *words, env={"NO_COLOR": "1"}), code)

    def call(self, method: str, name: str, body: Any = None) -> Any:
        url = f"{self.url}/teams/growth/deployments{name}"
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(url, data, method=method)) as reply:
            return json.load(reply)

    @property
    def models(self) -> dict[str, str]:
        return {one["name"]: one["model"].rpartition("/")[2] for one in self.call("GET", "")}


def _judge(words: tuple[str, ...], done: Done, code: int) -> str:
    assert done.code == code, f"{words}: {done.said}"
    return done.out if "json" in words else done.said


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the plugin's distribution is installed, beside reconciler's."""
    target = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--target", str(target), str(PLUGIN)], check=True)
    return target


@pytest.fixture
def shelf(tmp_path: Path, site: Path, request: pytest.FixtureRequest) -> Iterator[Shelf]:
    most = getattr(request, "param", "inf")
    server = [sys.executable, str(PLUGIN / "server.py"), most]
    with subprocess.Popen(server, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = f"http://127.0.0.1:{process.stdout.readline().strip()}"
        made = Shelf(tmp_path, url, site)
        made.write("monday")
        yield made
        process.kill()


def test_a_plan_is_made_applied_and_empty(shelf: Shelf) -> None:
    plan = json.loads(
        shelf.spawn("plan", "--format", "json", "--out", str(shelf.folder / "p.json"))
    )
    assert [one["change"]["actions"] for one in plan["resource_changes"]] == [["create"]] * 4
    shelf.spawn("apply", str(shelf.folder / "p.json"))
    assert shelf.models == {
        "one": "monday.bin",
        **{f"station-{code}": f"monday-{code}.bin" for code in "abc"},
    }
    assert "No changes." in shelf.spawn("plan", "--detailed-exitcode")
    assert "Deployment/one" in shelf.spawn("history")
    shelf.spawn("ledger", "verify")


@pytest.mark.parametrize("shelf", ["1"], indirect=True)
def test_an_apply_that_was_killed_goes_on(shelf: Shelf) -> None:
    apply = shelf.begin("apply", "--auto-approve", "--parallelism", "1")
    while not shelf.models:
        time.sleep(0.05)
    apply.send_signal(signal.SIGKILL)
    apply.communicate()
    assert len(shelf.models) == 1
    shelf.call("POST", "")
    shelf.run("apply", "--auto-approve")
    assert len(shelf.models) == 4
    shelf.run("plan", "--detailed-exitcode")


def test_drift_says_what_was_moved_and_accepts_it(shelf: Shelf) -> None:
    shelf.run("apply", "--auto-approve")
    theirs = {**shelf.call("GET", "/one"), "model": f"{BLOBS}/theirs.bin"}
    shelf.call("PUT", "/one", theirs)
    found = json.loads(shelf.run("drift", "--format", "json", "--detailed-exitcode", code=2))
    verdicts = [(one["address"], one["verdict"]) for one in found["findings"]]
    assert verdicts == [("Deployment/one", "model-swapped")]
    shelf.run("drift", "--accept", "Deployment/one")
    assert "theirs.bin" in (shelf.folder / "manifests" / "one.yaml").read_text()
    shelf.run("plan", "--detailed-exitcode")


def test_what_is_there_is_imported_and_exported(shelf: Shelf) -> None:
    shelf.run("apply", "--auto-approve")
    shelf.call("PUT", "/extra", {"model": f"{BLOBS}/extra.bin", "replicas": 3})
    shelf.call("PUT", "/more", {"model": f"{BLOBS}/more.bin", "note": "kept"})
    shelf.run("import", "Deployment/extra", "/teams/growth/deployments/extra")
    shelf.run("export", "--all")
    assert "replicas: 3" in (shelf.folder / "manifests" / "extra.yaml").read_text()
    assert "note: kept" in (shelf.folder / "manifests" / "more.yaml").read_text()
    shelf.run("plan", "--detailed-exitcode")


def test_a_rollback_brings_the_former_model_back(shelf: Shelf) -> None:
    shelf.run("apply", "--auto-approve")
    shelf.write("tuesday")
    shelf.run("apply", "--auto-approve")
    assert shelf.models["station-a"] == "tuesday-a.bin"
    shelf.run("rollback", "Deployment/one", "--auto-approve")
    assert shelf.models["one"] == "monday.bin"


def test_its_own_guard_refuses_until_it_is_allowed(shelf: Shelf) -> None:
    shelf.run("apply", "--auto-approve")
    shelf.write("monday", replicas=0)
    said = shelf.run("plan", "--detailed-exitcode", code=3)
    assert "--allow idle=Deployment/one" in said
    assert "idle" in shelf.run("plan", "--help")
    shelf.run("apply", "--auto-approve", "--allow", "idle=Deployment/one")
    assert shelf.call("GET", "/one")["replicas"] == 0


def test_its_models_can_be_promoted(shelf: Shelf) -> None:
    retraining = shelf.folder / "manifests" / "retraining.yaml"
    retraining.write_text(RETRAINING.format(model="model"))
    assert "valid" in shelf.run("validate")
    retraining.write_text(RETRAINING.format(model="another"))
    said = shelf.run("validate", code=1)
    assert 'Deployment/one does not declare a trained model "another"' in said
    assert 'It declares "model".' in said


def test_its_schema_and_its_settings_are_known(shelf: Shelf) -> None:
    assert json.loads(shelf.run("schema", "Deployment"))["title"] == "Deployment"
    assert "replicas" in shelf.run("schema", "Deployment", "--fields")
    assert "modelshelf" in shelf.run("schema", "Project")
    project = shelf.folder / "reconciler.yaml"
    project.write_text(project.read_text().replace(f'{{modelshelf: "{shelf.url}"}}', "azure"))
    said = shelf.run("plan", code=1)
    assert "spec.cloud gives no address of modelshelf" in said

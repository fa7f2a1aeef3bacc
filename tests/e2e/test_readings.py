"""The story under every reading of what is not known of the service."""

import json
from pathlib import Path
from typing import Any

import pytest

from reconciler.emulator import SWITCHES
from tests.e2e.world import Project, definition, run_emulator
from tests.storage import upload_model

pytestmark = pytest.mark.e2e
# The first value of a switch is its default, which every other test takes.
READINGS = [
    {s.name: s.values[min(n, len(s.values) - 1)] for s in SWITCHES if s.values} for n in (0, 1, 2)
]
ENV = {"STORAGE_KEY": "planted-storage"}


@pytest.mark.parametrize("reading", READINGS[1:], ids=["second", "third"])
def test_a_model_a_tag_and_a_key_are_changed_under_every_reading(
    reading: dict[str, str], tmp_path: Path
) -> None:
    switches = [f"--switch={name}={value}" for name, value in reading.items()]
    with run_emulator("--operation-seconds=0.3", "--switch=list-page-size=1", *switches) as world:
        old, new = world.model_uri("read-old"), world.model_uri("read-new")
        for uri in (old, new):
            upload_model(uri, uri.encode(), {})
        world.put_plan()
        world.deploy("census", old, readOnly=False)
        project = Project(tmp_path, world, blobs="required")
        more = (
            "  definition: {tags: {team: growth}, properties: {description: Predicts income}}\n"
            "  secrets: {/properties/keys/primary: {env: CENSUS_KEY, version: v1}}"
        )
        project.manifest("census", new, more=more)
        env = {"CENSUS_KEY": "planted-key"}
        planned = project.run("plan", "--format", "json", env=env)
        (change,) = json.loads(planned.out)["resource_changes"]
        assert change["change"]["actions"] == ["update"]
        applied = project.run("apply", "--auto-approve", env=env)
        assert "0 added, 1 changed, 0 destroyed." in applied.out, applied.said
        live = world.get("census")
        assert live["tags"]["team"] == "growth"
        assert live["properties"]["description"] == "Predicts income"
        assert live["properties"]["assets"]["asset3"]["locationInfo"]["uri"] == new
        assert {"asset1", "asset3"} <= set(live["properties"]["assets"])
        assert project.run("plan", "--detailed-exitcode", env=env).code == 0


@pytest.mark.parametrize("reading", READINGS, ids=["first", "second", "third"])
def test_a_service_is_made_moved_to_another_plan_and_destroyed_under_every_reading(
    reading: dict[str, str], tmp_path: Path
) -> None:
    switches = [f"--switch={name}={value}" for name, value in reading.items()]
    with run_emulator("--operation-seconds=0.1", *switches) as world:
        uri = world.model_uri("read-made")
        upload_model(uri, uri.encode(), {})
        standard = world.put_plan()
        premium = world.put_plan(f"{standard}-premium")
        project = Project(tmp_path, world)
        body = definition(uri)
        del body["properties"]["storageAccount"]["key"]
        declare(project, body)
        made = project.run("apply", "--auto-approve", env=ENV)
        assert "1 added, 0 changed, 0 destroyed." in made.out, made.said
        assert project.run("plan", "--detailed-exitcode", env=ENV).code == 0

        body["properties"]["commitmentPlan"]["id"] = premium
        declare(project, body)
        refused = project.run("apply", "--auto-approve", env=ENV)
        assert "has another commitment plan" in refused.err, refused.said
        version = "?api-version=2016-05-01-preview"
        associations = f"{world.url}{standard}/commitmentAssociations"
        _, listed, _ = world.send("GET", f"{associations}{version}")
        move = f"{associations}/{listed['value'][0]['name']}/move{version}"
        assert world.send("POST", move, {"destinationPlanId": premium})[0] == 200
        assert project.run("plan", "--detailed-exitcode", env=ENV).code == 0

        destroyed = project.run(
            "apply", "--auto-approve", "--destroy", "--allow", "deletes", env=ENV
        )
        assert "0 added, 0 changed, 1 destroyed." in destroyed.out, destroyed.said
        assert world.send("GET", world.path("census"))[0] == 404


@pytest.mark.parametrize("reading", ["bare", "wrapped"])
def test_a_service_of_the_preview_is_managed_like_any_other(reading: str, tmp_path: Path) -> None:
    with run_emulator("--no-blob", f"--switch=preview-parameters={reading}") as world:
        body = definition("https://acct.blob.core.windows.net/m/old.ilearner")
        nodes = body["properties"]["package"]["nodes"]
        for node in nodes.values():
            given = node.get("parameters", {})
            node["parameters"] = {name: one["value"] for name, one in given.items()}
        nodes["node1"]["parameters"] = {"Data Type": "String"}
        url = f"{world.url}{world.path('census')}?api-version=2016-05-01-preview"
        world.finish(world.send("PUT", url, body)[2]["Azure-AsyncOperation"])
        project = Project(tmp_path, world)
        exported = project.run("export", "WebService/census", "--full", "--force")
        assert exported.code == 0, exported.said
        assert project.run("plan", "--detailed-exitcode").code == 0
        file = project.folder / "manifests" / "census.yaml"
        file.write_text(file.read_text().replace("old.ilearner", "new.ilearner"))
        applied = project.run("apply", "--auto-approve")
        assert "0 added, 1 changed" in applied.out, applied.said
        assert world.model("census").endswith("new.ilearner")
        shown = world.send("GET", url)[1]["properties"]["package"]["nodes"]["node1"]
        assert shown["parameters"] == {"Data Type": "String"}
        assert project.run("plan", "--detailed-exitcode").code == 0


def declare(project: Project, body: Any) -> None:
    file = project.folder / "manifests" / "census.definition.json"
    file.write_text(json.dumps(body))
    secret = "  secrets: {/properties/storageAccount/key: {env: STORAGE_KEY, version: v1}}"
    project.manifest("census", "", more=f"  definition: {{file: {file.name}}}\n{secret}")

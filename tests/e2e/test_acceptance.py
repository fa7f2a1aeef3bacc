"""drift --accept: live's value goes into the manifest, and every other character stays."""

import json
import os
from pathlib import Path

import pytest

from tests.e2e.world import MODEL, Project, definition
from tests.storage import upload_model

pytestmark = pytest.mark.e2e
MANIFEST = """\
# Two services in one file.
apiVersion: reconciler/v1
kind: WebService
metadata: {{name: other}}   # not this one
spec:
  definition: {{properties: {{description: "kept"}}}}
---
apiVersion: reconciler/v1
kind: WebService
metadata:
  name: census   # this one
spec:
  trainedModels:
    '{model}':
      uri: '{uri}'   # the model of this week
  definition:
    properties:
      realtimeConfiguration: {{maxConcurrentCalls: 20}} # agreed with growth
      description:   "Predicts"
"""


@pytest.fixture
def applied(project: Project) -> Project:
    world = project.emulator
    for name in ("census", "other"):
        world.deploy(name, world.model_uri("old"))
    file(project).write_text(MANIFEST.format(model=MODEL, uri=world.model_uri("new")))
    assert project.run("apply", "--auto-approve").code == 0
    return project


def file(project: Project) -> Path:
    return project.folder / "manifests" / "census.yaml"


def silent(project: Project) -> bool:
    return project.run("plan", "--refresh=full", "--detailed-exitcode").code == 0


def test_what_moved_is_written_and_all_else_stays(applied: Project) -> None:
    world = applied.emulator
    world.patch(
        "census", realtimeConfiguration={"maxConcurrentCalls": 11}, description="It's: new # here"
    )
    assets = world.get("census")["properties"]["assets"]
    assets["asset3"]["locationInfo"]["uri"] = world.model_uri("swapped")
    world.patch("census", assets=assets)
    before = file(applied).read_text()
    done = applied.run("drift", "--accept", "WebService/census")
    assert done.code == 0, done.said
    assert done.out == "  manifests/census.yaml\n\n3 values accepted into 1 file.\n"
    wanted = before.replace("maxConcurrentCalls: 20", "maxConcurrentCalls: 11")
    wanted = wanted.replace(world.model_uri("new"), world.model_uri("swapped"))
    wanted = wanted.replace('"Predicts"', '"It\'s: new # here"')
    assert file(applied).read_text() == wanted
    assert silent(applied)
    assert applied.run("drift", "--refresh=full", "--detailed-exitcode").code == 0


def test_what_nobody_declared_is_declared_then(applied: Project) -> None:
    applied.emulator.patch("census", title="Moved")
    assert applied.run("drift", "--accept", "WebService/census").code == 0
    assert "title: Moved" in file(applied).read_text()
    assert silent(applied)


def test_a_definition_file_is_edited_where_it_declares(project: Project) -> None:
    world = project.emulator
    body = definition(world.model_uri("old"))
    world.deploy("census", world.model_uri("old"))
    body["properties"]["storageAccount"].pop("key")
    project.manifest("census", "", more="  definition: {file: census.definition.json}")
    beside = project.folder / "manifests" / "census.definition.json"
    text = json.dumps({"Location": body["location"], "Properties": body["properties"]}, indent=3)
    beside.write_text(text)
    manifest = (project.folder / "manifests" / "census.yaml").read_text()
    assert project.run("apply", "--auto-approve", "--refresh=full").code == 0
    world.patch("census", description="Moved")
    done = project.run("drift", "--accept", "WebService/census")
    assert done.code == 0, done.said
    assert "manifests/census.definition.json" in done.out
    assert beside.read_text() == text.replace(
        json.dumps(body["properties"]["description"]), '"Moved"'
    )
    assert (project.folder / "manifests" / "census.yaml").read_text() == manifest
    assert silent(project)


def test_a_pin_follows_the_model_that_is_live(project: Project) -> None:
    world = project.emulator
    project.blobs = "required"
    project.write_project()
    new, other = (world.model_uri(f"{name}-{world.group}") for name in ("new", "other"))
    pinned = upload_model(new, b"one", os.environ).removeprefix("sha256:")
    wanted = upload_model(other, b"two", os.environ).removeprefix("sha256:")
    world.deploy("census", world.model_uri("old"))
    manifest = project.manifest("census", new)
    manifest.write_text(manifest.read_text().replace("'}", f"', sha256: {pinned}}}"))
    assert project.run("apply", "--auto-approve").code == 0
    assets = world.get("census")["properties"]["assets"]
    assets["asset3"]["locationInfo"]["uri"] = other
    world.patch("census", assets=assets)
    assert project.run("drift", "--accept", "WebService/census").code == 0
    assert other in manifest.read_text()
    assert wanted in manifest.read_text()
    upload_model(other, b"overwritten", os.environ)
    assert project.run("drift", "--refresh=full", "--detailed-exitcode").code == 2
    assert project.run("drift", "--accept", "WebService/census").code == 0
    assert wanted not in manifest.read_text()
    assert project.run("drift", "--refresh=full", "--detailed-exitcode").code == 0


def test_what_no_manifest_can_hold_leaves_every_file_as_it_was(applied: Project) -> None:
    world = applied.emulator
    world.patch("census", description="AccountKey=cGxhbnRlZA", title="fine")
    before = file(applied).read_bytes()
    done = applied.run("drift", "--accept", "WebService/census")
    assert done.code == 1
    assert "Error: WebService/census: " in done.err
    assert "manifests/census.yaml" in done.err
    assert file(applied).read_bytes() == before


def test_there_may_be_nothing_to_accept(applied: Project) -> None:
    done = applied.run("drift", "--accept", "WebService/census")
    assert done.code == 1
    assert "no live value has drifted since the last apply" in done.err
    wrong = applied.run("drift", "--accept", "WebService/cencus")
    assert "Did you mean WebService/census?" in wrong.err
    assert '--accept "census" is not an address' in applied.run("drift", "--accept", "census").err

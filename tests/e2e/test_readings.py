"""The story under every reading of what is not known of the service."""

import json
from pathlib import Path

import pytest

from reconciler.blobs import upload_model
from reconciler.emulator import SWITCHES
from tests.e2e.world import Project, run_emulator

pytestmark = pytest.mark.e2e
# The first value of a switch is its default, which every other test takes.
READINGS = [
    {s.name: s.values[min(n, len(s.values) - 1)] for s in SWITCHES if s.values} for n in (1, 2)
]


@pytest.mark.parametrize("reading", READINGS, ids=["second", "third"])
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

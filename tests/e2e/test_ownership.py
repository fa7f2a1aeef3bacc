"""`ownership: exact` over a real socket: removed, proven, and told where it cannot be."""

import json
from pathlib import Path
from typing import Any

import pytest

from reconciler.emulator import SWITCHES
from tests.e2e.world import Done, Emulator, Project, definition, run_emulator

pytestmark = pytest.mark.e2e
READINGS = [
    {s.name: s.values[min(n, len(s.values) - 1)] for s in SWITCHES if s.values} for n in (0, 1, 2)
]
OLD, NEW = (f"https://acct.blob.core.windows.net/m/{name}.ilearner" for name in ("old", "new"))
ENV = {"STORAGE_KEY": "planted-storage", "ONE": "planted-one", "TWO": "planted-two"}
FILLED = ("exposeSampleData", "realtimeConfiguration", "diagnostics")
SECRETS = """\
  ownership: exact
  secrets:
    /properties/storageAccount/key: {env: STORAGE_KEY, version: v1}
    /properties/keys/primary: {env: ONE, version: v1}
    /properties/keys/secondary: {env: TWO, version: v1}
"""


def declare(project: Project, body: Any, *, secrets: str = SECRETS, models: str = "") -> None:
    """An exact manifest whose definition file holds `body`."""
    body["properties"]["storageAccount"].pop("key", None)
    file = project.folder / "manifests" / "census.definition.json"
    file.write_text(json.dumps(body, indent=1))
    project.manifest(
        "census", models, more=f"  definition: {{file: census.definition.json}}\n{secrets}"
    )


def run(project: Project, *arguments: str) -> Done:
    return project.run(*arguments, env=ENV)


def keys(world: Emulator) -> Any:
    return world.send("GET", world.path("census") + "/listKeys")[1]


@pytest.mark.parametrize("reading", READINGS, ids=["strictest", "second", "third"])
def test_what_is_not_declared_is_removed_under_every_reading(
    reading: dict[str, str], tmp_path: Path
) -> None:
    reading = {**reading, "model-uri": "trust"}
    switches = [f"--switch={name}={value}" for name, value in reading.items()]
    with run_emulator("--operation-seconds=0.1", "--no-blob", *switches) as world:
        world.put_plan()
        project = Project(tmp_path, world)
        stray = definition(OLD)
        stray["tags"] |= {"stray": "1"}
        stray["properties"] |= {"keys": {"primary": "theirs", "secondary": "theirs too"}}
        stray["properties"]["assets"]["asset9"] = {
            "name": "Nobody's",
            "type": "Module",
            "locationInfo": {"uri": "aml://module/9"},
        }
        world.write("PUT", "census", stray)
        wanted = definition(OLD)
        del wanted["properties"]["description"]
        declare(project, wanted, models=NEW)
        planned = run(project, "plan", "--out", "p.plan", "--detailed-exitcode")
        assert planned.code == 2, planned.said
        assert "sent as the whole definition: it is not known whether" in planned.out
        assert "- tags.stray" in planned.out
        assert "- properties.assets.asset9" in planned.out
        saved = json.loads((project.folder / "p.plan").read_text())
        (change,) = saved["resource_changes"]
        assert (change["change"]["actions"], change["extent"]) == (["update"], "whole")
        applied = run(project, "apply", "p.plan")
        assert "0 added, 1 changed, 0 destroyed." in applied.out, applied.said
        live = world.get("census")
        assert live["tags"] == {"owner": "growth"}
        assert set(live["properties"]["assets"]) == {"asset1", "asset2", "asset3"}
        assert world.model("census") == NEW
        assert live["properties"].get("description", "") == ""
        assert keys(world) == {"primary": "planted-one", "secondary": "planted-two"}
        silent = run(project, "plan", "--detailed-exitcode")
        assert silent.code == 0, silent.said


def test_all_that_a_put_needs_and_nobody_gives_is_told_at_once(project: Project) -> None:
    world = project.emulator
    world.deploy("census", world.model_uri("old"), title="Stray")
    wanted = definition(world.model_uri("old"))
    del wanted["properties"]["title"], wanted["properties"]["commitmentPlan"]
    declare(project, wanted, secrets="  ownership: exact\n")
    before = world.get("census")
    done = run(project, "plan")
    assert done.code == 1
    assert done.err.count("the whole definition cannot be sent without") == 4
    for pointer in ("keys/primary", "keys/secondary", "storageAccount/key"):
        assert f"spec.secrets: {{/properties/{pointer}: {{env: NAME}}}}" in done.err
    assert done.err.count("on manifests/census.yaml line 6, column 3") == 4
    assert world.get("census") == before


def test_an_exact_manifest_never_takes_the_graph_away(project: Project) -> None:
    world = project.emulator
    world.deploy("census", world.model_uri("old"))
    project.manifest("census", world.model_uri("new"), more=SECRETS)
    done = run(project, "plan")
    assert done.code == 1
    assert "ownership: exact needs the whole definition: properties.package is not" in done.err
    assert "reconciler export WebService/census --full" in done.err
    assert run(project, "export", "WebService/census", "--full", "--force").code == 0
    file = project.folder / "manifests" / "census.yaml"
    file.write_text(file.read_text().replace("spec:\n", "spec:\n  ownership: exact\n"))
    assert run(project, "plan", "--detailed-exitcode").code == 0


@pytest.mark.parametrize("reading", ["settings", "recorded", "documented"])
@pytest.mark.parametrize("exists", [True, False], ids=["removed", "created"])
def test_what_the_service_fills_in_stays_and_causes_no_change(
    reading: str, exists: bool, tmp_path: Path
) -> None:
    with run_emulator(
        "--operation-seconds=0.1", "--no-blob", f"--switch=put-fills={reading}"
    ) as world:
        project = Project(tmp_path, world)
        if exists:
            world.deploy("census", OLD, title="Stray", exposeSampleData=True)
        wanted = definition(OLD)
        for name in ("title", *FILLED):
            wanted["properties"].pop(name, None)
        declare(project, wanted)
        planned = run(project, "plan")
        assert not [name for name in FILLED if f"- properties.{name}" in planned.out], planned.out
        applied = run(project, "apply", "--auto-approve")
        assert applied.code == 0, applied.said
        live = world.get("census")["properties"]
        assert "title" not in live
        silent = run(project, "plan", "--detailed-exitcode")
        assert silent.code == 0, silent.said
        assert run(project, "drift", "--detailed-exitcode").code == 0
        # Declared, it is a value like any other.
        wanted["properties"] |= {
            "exposeSampleData": not live["exposeSampleData"],
            "realtimeConfiguration": {"maxConcurrentCalls": 20},
            "diagnostics": {"level": "Error"},
        }
        declare(project, wanted)
        assert "0 added, 1 changed" in run(project, "apply", "--auto-approve").out
        shown = world.get("census")["properties"]
        assert {name: shown[name] for name in FILLED} == {
            name: wanted["properties"][name] for name in FILLED
        }
        assert run(project, "plan", "--detailed-exitcode").code == 0


def test_what_moved_under_the_plan_of_a_removal_stops_it(project: Project) -> None:
    world = project.emulator
    world.deploy("census", world.model_uri("old"), title="Stray")
    wanted = definition(world.model_uri("old"))
    del wanted["properties"]["title"]
    declare(project, wanted)
    assert run(project, "plan", "--out", "p.plan").code == 0
    world.patch("census", title="Mine now")
    done = run(project, "apply", "p.plan")
    assert (done.code, "/properties/title has changed" in done.err) == (1, True), done.said
    assert world.get("census")["properties"]["title"] == "Mine now"


def test_secrets_of_a_whole_write_are_remembered_with_their_version(project: Project) -> None:
    world = project.emulator
    world.deploy("census", world.model_uri("old"), title="Stray")
    wanted = definition(world.model_uri("old"))
    del wanted["properties"]["title"]
    declare(project, wanted)
    assert run(project, "apply", "--auto-approve").code == 0
    ledger = (project.folder / ".reconciler" / "ledger.jsonl").read_text()
    secrets = json.loads(ledger.splitlines()[-1])["secrets"]
    assert secrets == dict.fromkeys(
        (f"/properties/{at}" for at in ("keys/primary", "keys/secondary", "storageAccount/key")),
        "v1",
    )
    assert "planted" not in ledger

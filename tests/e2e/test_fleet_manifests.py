"""Fleets by the command line: counted, planned, applied, and a member taken over as it is live."""

import json
from pathlib import Path

import pytest

from tests.e2e.world import MODEL, Project, definition, run

pytestmark = pytest.mark.e2e
PROJECT = "apiVersion: reconciler/v1\nkind: Project\nmetadata: {name: p}\nspec: {cloud: emulator}\n"
FLEET = """\
apiVersion: reconciler/v1
kind: Fleet
metadata: {name: bikes}
spec:
  items: {csv: bikes.csv}   # from the register of locations
  template:
    kind: WebService
    metadata: {name: "loc${code}"}
    spec:
      trainedModels:
        MODEL: {uri: "MODELS/${code}.ilearner"}
      definition: {properties: {description: "Location ${code}"}}
"""
ROWS = "code\n001\n002\n"


def write(folder: Path, fleet: str = FLEET, rows: str = ROWS) -> Path:
    """The fleet's manifest with its items, in a project that is there or is made."""
    (folder / "manifests").mkdir(exist_ok=True)
    if not (folder / "reconciler.yaml").exists():
        (folder / "reconciler.yaml").write_text(PROJECT)
    file = folder / "manifests" / "bikes.yaml"
    file.write_text(fleet.replace("MODELS", "https://acct.blob.core.windows.net/m"))
    (folder / "manifests" / "bikes.csv").write_text(rows)
    return file


def test_validate_counts_members_and_fleets(tmp_path: Path) -> None:
    fleet = FLEET.replace("MODEL:", "M:")
    write(tmp_path, fleet, "code\n" + "".join(f"{number:04}\n" for number in range(1000)))
    other = (
        fleet.replace("bikes}", "cars}")
        .replace("loc", "car")
        .replace("{csv: bikes.csv}", "{list: [{code: 1}]}")
    )
    (tmp_path / "manifests" / "cars.yaml").write_text(other.replace("MODELS", "https://a/m"))
    (tmp_path / "manifests" / "one.yaml").write_text(
        "apiVersion: reconciler/v1\nkind: WebService\nmetadata: {name: one}\nspec: {}\n"
    )
    done = run(tmp_path, "validate")
    counted = "1,002 resources, with 1,001 members of 2 fleets among them, in 5 files"
    assert (done.code, done.out) == (0, f"Success! The configuration is valid: {counted}.\n")


def test_what_is_wrong_with_rows_is_told_to_machines_too(tmp_path: Path) -> None:
    write(tmp_path, FLEET.replace("MODEL:", "M:"), "code\n001\nno name\nnor this\n")
    reported = json.loads(run(tmp_path, "validate", "--json").out)
    assert (reported["valid"], reported["error_count"]) == (False, 1)
    (name,) = reported["diagnostics"]
    assert name["address"] == "Fleet/bikes"
    assert name["summary"].startswith("2 members: name does not match the required pattern")
    assert "manifests/bikes.csv:3:1, manifests/bikes.csv:4:1" in name["detail"]


def test_nothing_is_planned_while_a_row_is_wrong(project: Project) -> None:
    write(project.folder, FLEET.replace("MODEL:", "M:"), "code\n001\nno name\n")
    done = project.run("apply", "--auto-approve")
    assert done.code == 1
    assert "WebService/no name" not in done.out
    assert "Item 2 is on manifests/bikes.csv:3:1." in done.err
    world = project.emulator
    assert world.send("GET", world.path("loc001"))[0] == 404


def test_an_empty_fleet_needs_leave(project: Project) -> None:
    write(project.folder, FLEET.replace("MODEL:", "M:"), "code\n")
    done = project.run("plan")
    assert (done.code, "the fleet has no items" in done.err) == (1, True)
    assert project.run("plan", "--allow", "empty").code == 0


@pytest.fixture
def applied(project: Project) -> Path:
    """The file of a fleet whose two members are as it says."""
    world = project.emulator
    for name in ("loc001", "loc002"):
        world.deploy(name, world.model_uri("old"))
    file = write(project.folder, FLEET.replace("MODEL:", f"{MODEL}:"))
    assert project.run("apply", "--auto-approve").code == 0
    assert silent(project)
    return file


def silent(project: Project) -> bool:
    return project.run("plan", "--refresh=full", "--detailed-exitcode").code == 0


def test_what_moved_on_a_member_becomes_its_override(project: Project, applied: Path) -> None:
    world = project.emulator
    assert world.get("loc002")["properties"]["description"] == "Location 002"
    before = applied.read_text()
    world.patch("loc002", description="It's ${new}")
    assets = world.get("loc002")["properties"]["assets"]
    assets["asset3"]["locationInfo"]["uri"] = world.model_uri("swapped")
    world.patch("loc002", assets=assets)
    done = project.run("drift", "--accept", "WebService/loc002")
    assert done.code == 0, done.said
    assert "2 values accepted into 1 file." in done.out
    after = applied.read_text()
    assert after.startswith(before)
    added = after.removeprefix(before)
    assert added.startswith("  overrides:\n    loc002:\n")
    assert "It''s $${new}" in added
    assert world.model_uri("swapped") in added
    assert silent(project)
    world.patch("loc002", description="Moved again")
    assert project.run("drift", "--accept", "WebService/loc002").code == 0
    assert applied.read_text() == after.replace("It''s $${new}", "Moved again")
    assert silent(project)


def test_members_are_made_from_a_definition_file(project: Project) -> None:
    body = definition("https://acct.blob.core.windows.net/m/${code}.ilearner")
    body["properties"]["storageAccount"].pop("key")
    body["properties"]["description"] = "Location ${code}"
    (project.folder / "manifests" / "bike.json").write_text(json.dumps(body))
    (project.folder / "key").write_text("k")
    start = FLEET[: FLEET.index("      trainedModels")]
    fleet = (
        f"{start}      definition: {{file: bike.json}}\n"
        "      secrets: {/properties/storageAccount/key: {file: ../key}}\n"
    )
    write(project.folder, fleet)
    done = project.run("apply", "--auto-approve")
    assert done.code == 0, done.said
    assert project.emulator.get("loc001")["properties"]["description"] == "Location 001"
    assert silent(project)

"""New services made from others, here and in another region: the initial deployment."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.world import MODEL, Done, Emulator, Project, definition, run_emulator

pytestmark = pytest.mark.e2e
OLD, NEW = (f"https://acct.blob.core.windows.net/m/{name}.ilearner" for name in ("old", "new"))
ENV = {"WEST_KEY": "planted-west-storage"}
WEST = "West Central US"
COMMITMENT = "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearning/commitmentPlans"
GIVEN = f"""\
  secrets: {{/properties/storageAccount/key: {{env: WEST_KEY, version: v1}}}}
  definition:
    from: {{address: WebService/census}}
    properties:
      description: In the west
      commitmentPlan: {{id: {COMMITMENT}/west}}
"""
TO_WEST = (
    GIVEN.replace("    properties:\n", f"    location: {WEST}\n    properties:\n")
    + "      storageAccount: {name: weststorage}\n"
)


def deploy(world: Emulator, name: str = "census", model: str = OLD) -> None:
    """A service with a secret that is sealed to its region."""
    body = definition(model)
    nodes = body["properties"]["package"]["nodes"]
    nodes["node1"]["parameters"]["Password"] = {"value": "x", "certificateThumbprint": "A" * 40}
    world.write("PUT", name, body)


def declare(project: Project, more: str, model: str = NEW) -> None:
    project.manifest("census")
    project.manifest("west", model, more=more)


def run(project: Project, *arguments: str) -> Done:
    return project.run(*arguments, env=ENV)


def password(document: Any) -> Any:
    return document["properties"]["package"]["nodes"]["node1"]["parameters"]["Password"]


def without_own(document: Any) -> Any:
    """What a service has that another one made from it has too."""
    properties = dict(document["properties"])
    for name in ("createdOn", "modifiedOn", "swaggerLocation", "description", "assets", "package"):
        del properties[name]
    return {"tags": document["tags"], "properties": properties}


def copy_for(world: Emulator, name: str, region: str) -> int:
    url = f"{world.url}{world.path(name)}?api-version=2017-01-01&region={region}"
    return world.send("GET", url)[0]


def make_copy(world: Emulator, name: str, region: str) -> None:
    tail = f"/CreateRegionalBlob?api-version=2017-01-01&region={region}"
    status, _, headers = world.send("POST", f"{world.url}{world.path(name)}{tail}")
    assert status == 202
    while world.send("GET", headers["Azure-AsyncOperation"])[1]["status"] == "Provisioning":
        pass


def plan(project: Project) -> Any:
    planned = run(project, "plan", "--format", "json")
    (change,) = json.loads(planned.out)["resource_changes"]
    return change


@pytest.mark.parametrize("by", ["address", "resource"])
def test_a_service_is_made_from_another_one_as_it_is_live(project: Project, by: str) -> None:
    world = project.emulator
    deploy(world)
    before = world.get("census")
    said = {"address": "WebService/census", "resource": "{name: census}"}[by]
    declare(project, GIVEN.replace("{address: WebService/census}", f"{{{by}: {said}}}"))
    planned = run(project, "plan", "--out", "p.plan", "--detailed-exitcode")
    assert planned.code == 2, planned.said
    name = {"address": "WebService/census", "resource": "census"}[by]
    assert f"# (from {name}, as it is live now)" in planned.out
    assert "Plan: 1 to add, 0 to change, 0 to destroy." in planned.out
    (change,) = json.loads((project.folder / "p.plan").read_text())["resource_changes"]
    assert change["source"] == {
        "id": world.path("census"),
        "name": name,
        "region": "",
        "copy": "",
    }
    applied = run(project, "apply", "p.plan")
    assert "1 added, 0 changed, 0 destroyed." in applied.out, applied.said
    made = world.get("west")
    assert world.model("west") == NEW
    assert made["properties"]["description"] == "In the west"
    assert without_own(made) == without_own(before)
    assert world.get("census") == before
    assert run(project, "plan", "--detailed-exitcode").code == 0


def test_once_it_is_there_the_source_declares_nothing(project: Project) -> None:
    world = project.emulator
    deploy(world)
    declare(project, GIVEN)
    assert run(project, "apply", "--auto-approve").code == 0
    ledger = (project.folder / ".reconciler" / "ledger.jsonl").read_text().splitlines()
    assert set(json.loads(ledger[-1])["owned"]) == {
        "/properties/description",
        "/properties/commitmentPlan/id",
        "/properties/assets/asset3/locationInfo/uri",
    }
    world.patch("census", title="Another")
    world.patch("west", title="Mine")
    assert run(project, "plan", "--detailed-exitcode").code == 0
    world.write("DELETE", "census", None)
    only_west = run(project, "plan", "--target", "WebService/west", "--detailed-exitcode")
    assert only_west.code == 0, only_west.said


@pytest.mark.parametrize("copied", [False, True])
def test_secrets_for_another_region_are_those_of_the_services_copy(
    project: Project, copied: bool
) -> None:
    world = project.emulator
    deploy(world)
    assert password(world.get("census"))["certificateThumbprint"].startswith("AB5C39")
    if copied:
        make_copy(world, "census", "westcentralus")
    declare(project, TO_WEST)
    planned = run(project, "plan", "--out", "p.plan")
    state = "exists" if copied else "is created first"
    assert f"secrets come from its copy for westcentralus, which {state}" in planned.out
    assert copy_for(world, "census", "westcentralus") == (200 if copied else 404)
    saved = json.loads((project.folder / "p.plan").read_text())
    (change,) = saved["resource_changes"]
    assert change["source"]["region"] == "westcentralus"
    assert change["source"]["copy"] == ("there" if copied else "missing")
    assert saved["estimate"]["writes"] == (1 if copied else 2)
    # Both services and the list; then the source once more, and its copy, to compare the two.
    assert saved["refresh"]["calls"] == 5
    stamp = world.get("census")["properties"]["modifiedOn"]
    applied = run(project, "apply", "p.plan")
    assert "1 added, 0 changed, 0 destroyed." in applied.out, applied.said
    made = world.get("west")
    assert made["location"] == WEST
    assert made["properties"]["storageAccount"] == {"name": "weststorage"}
    assert password(made)["certificateThumbprint"].startswith("189FFC")
    assert (world.get("census")["properties"]["modifiedOn"] == stamp) is copied
    assert run(project, "plan", "--detailed-exitcode").code == 0


def test_a_copy_of_what_the_source_was_is_made_anew(project: Project) -> None:
    world = project.emulator
    deploy(world)
    make_copy(world, "census", "westcentralus")
    assert plan_source(project)["copy"] == "there"
    world.patch("census", title="Another")
    assert plan_source(project)["copy"] == "missing"


def plan_source(project: Project) -> Any:
    declare(project, TO_WEST)
    return plan(project)["source"]


def test_all_that_is_not_taken_over_is_told_at_once(project: Project) -> None:
    world = project.emulator
    deploy(world)
    declare(project, f"  definition: {{from: {{address: WebService/census}}, location: {WEST}}}")
    done = run(project, "plan")
    assert done.code == 1
    for name in ("storageAccount.name", "storageAccount.key", "commitmentPlan.id"):
        assert f"cannot be created without properties.{name}" in done.err
    assert done.err.count("cannot be created without") == 3
    assert done.err.count("The region westcentralus needs its own.") == 2
    declare(project, "  definition: {from: {address: WebService/census}}")
    here = run(project, "plan")
    assert here.err.count("cannot be created without") == 2
    assert "It cannot be copied from WebService/census" in here.err
    assert copy_for(world, "census", "westcentralus") == 404


def test_a_source_that_is_not_there_is_never_taken_for_empty(project: Project) -> None:
    declare(project, GIVEN)
    (project.folder / "manifests" / "census.yaml").write_text(
        "apiVersion: reconciler/v1\nkind: WebService\nmetadata: {name: census}\n"
        "spec: {definition: {tags: {a: b}}}\n"
    )
    done = run(project, "plan", "--target", "WebService/west")
    assert done.code == 1
    assert "starts from WebService/census, which does not exist" in done.err
    assert "on manifests/west.yaml line 9, column 5" in done.err
    assert "Create that first, or name another source." in done.err


def test_a_source_that_is_gone_voids_the_plan_only_where_it_is_still_needed(
    project: Project,
) -> None:
    world = project.emulator
    for more, name in ((TO_WEST, "far.plan"), (GIVEN, "near.plan")):
        deploy(world)
        declare(project, more)
        assert run(project, "plan", "--out", name).code == 0
        world.write("DELETE", "census", None)
    far = run(project, "apply", "far.plan", "--detailed-exitcode")
    assert (far.code, "WebService/census, which it starts from, is gone" in far.err) == (4, True)
    assert world.send("GET", world.path("west"))[0] == 404
    near = run(project, "apply", "near.plan")
    assert "1 added" in near.out, near.said
    assert world.model("west") == NEW


def test_what_was_reviewed_is_what_is_made(project: Project) -> None:
    world = project.emulator
    deploy(world)
    declare(project, TO_WEST)
    assert run(project, "plan", "--out", "p.plan").code == 0
    world.patch("census", title="Moved since")
    applied = run(project, "apply", "p.plan")
    assert "1 added" in applied.out, applied.said
    made = world.get("west")
    assert made["properties"]["title"] == "Census income"
    assert password(made)["certificateThumbprint"].startswith("189FFC")


def test_a_service_moves_to_another_region_and_its_copy_is_taken_before_it_goes(
    tmp_path: Path,
) -> None:
    log = tmp_path / "calls.jsonl"
    with run_emulator("--operation-seconds=0.1", "--no-blob", "--log", str(log)) as world:
        project = Project(tmp_path / "project", world)
        deploy(world, "west")
        moved = TO_WEST.replace("    from: {address: WebService/census}\n", "")
        project.manifest("west", NEW, more=moved)
        refused = run(project, "plan")
        assert "secrets come from its copy for westcentralus, which is created" in refused.out
        assert "--allow replace=WebService/west" in refused.out
        start = len(log.read_text().splitlines())
        applied = run(project, "apply", "--auto-approve", "--allow", "replace=WebService/west")
        assert "1 added, 0 changed, 1 destroyed." in applied.out, applied.said
        calls = [json.loads(line) for line in log.read_text().splitlines()[start:]]
        assert [one["method"] for one in calls if one["method"] != "GET"] == [
            "POST",
            "DELETE",
            "PUT",
        ]
        made = world.get("west")
        assert (made["location"], world.model("west")) == (WEST, NEW)
        assert password(made)["certificateThumbprint"].startswith("189FFC")
        assert run(project, "plan", "--detailed-exitcode").code == 0


def test_a_move_that_lacks_what_the_region_needs_deletes_nothing(project: Project) -> None:
    world = project.emulator
    deploy(world, "west")
    project.manifest("west", more=f"  definition: {{location: {WEST}}}")
    before = world.get("west")
    done = run(project, "apply", "--auto-approve", "--allow", "replace=WebService/west")
    assert done.code == 1
    assert done.err.count("cannot be created without") == 3
    assert world.get("west") == before


def test_a_source_that_changes_in_the_same_apply_is_not_in_its_way(tmp_path: Path) -> None:
    with run_emulator("--operation-seconds=0.3", "--no-blob") as world:
        project = Project(tmp_path, world)
        deploy(world)
        project.manifest("west", NEW, more=TO_WEST)
        project.manifest("census", NEW)
        applied = run(project, "apply", "--auto-approve")
        assert "1 added, 1 changed, 0 destroyed." in applied.out, applied.said
        assert world.model("census") == world.model("west") == NEW


def test_a_source_may_be_made_from_another_one(project: Project) -> None:
    world = project.emulator
    deploy(world)
    declare(project, GIVEN)
    chained = GIVEN.replace("WebService/census", "WebService/west")
    project.manifest("third", NEW, more=chained)
    first = run(project, "plan")
    assert "starts from WebService/west, which does not exist" in first.err
    assert run(project, "apply", "--auto-approve", "--target", "WebService/west").code == 0
    second = run(project, "apply", "--auto-approve")
    assert "1 added" in second.out, second.said
    assert world.get("third")["properties"]["description"] == "In the west"


def test_a_model_is_looked_for_among_those_of_the_source(project: Project) -> None:
    deploy(project.emulator)
    project.manifest("census")
    project.manifest("west", NEW, more=GIVEN, named="Census Model")
    done = run(project, "plan")
    assert f'The service has: "{MODEL}".' in done.err
    assert f'Did you mean "{MODEL}"?' in done.err

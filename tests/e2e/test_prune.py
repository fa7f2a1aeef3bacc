"""What no manifest names any more: told, destroyed on demand, or forgotten."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.e2e.world import Project

pytestmark = pytest.mark.e2e


@pytest.fixture
def applied(project: Project) -> Project:
    """Three services under management."""
    world = project.emulator
    for name in "abc":
        world.deploy(name, world.model_uri("old"))
        project.manifest(name, world.model_uri("new"))
    assert project.run("apply", "--auto-approve").code == 0
    return project


def remove(project: Project, *names: str) -> None:
    for name in names:
        Path(project.folder, "manifests", f"{name}.yaml").unlink()


def exists(project: Project, name: str) -> bool:
    return project.emulator.send("GET", project.emulator.path(name))[0] == 200


def test_an_orphan_is_told_and_left_as_it_is(applied: Project) -> None:
    remove(applied, "b")
    planned = applied.run("plan", "--detailed-exitcode")
    assert planned.code == 0
    assert (
        "1 orphan: in the ledger, and no manifest declares it.\n  WebService/b [b]\n" in planned.out
    )
    assert "--prune" in planned.out
    reported = json.loads(applied.run("plan", "--format", "json").out)
    assert [one["address"] for one in reported["orphans"]] == ["WebService/b"]
    for part in (("--target", "WebService/a"), ("manifests/a.yaml",)):
        assert "orphan" not in applied.run("plan", *part).out


def test_prune_is_refused_by_the_guard_and_then_done(applied: Project) -> None:
    remove(applied, "b")
    refused = applied.run("apply", "--prune", "--auto-approve", "--detailed-exitcode")
    assert refused.code == 3
    assert "- resource" in refused.out
    assert "no manifest names it any more" in refused.out
    assert "--allow deletes" in refused.err
    assert exists(applied, "b")
    done = applied.run("apply", "--prune", "--auto-approve", "--allow", "deletes")
    assert "Resources: 0 added, 0 changed, 1 destroyed." in done.out
    assert not exists(applied, "b")
    assert exists(applied, "a")
    silent = applied.run("plan", "--prune", "--detailed-exitcode")
    assert (silent.code, "orphan" in silent.out) == (0, False)


def test_a_pruning_plan_can_be_saved_and_what_is_gone_by_then_is_no_obstacle(
    applied: Project,
) -> None:
    remove(applied, "b")
    assert applied.run("plan", "--prune", "--allow=deletes", "--out", "p.json").code == 0
    applied.emulator.write("DELETE", "b", None)
    done = applied.run("apply", "p.json", "--detailed-exitcode")
    assert (done.code, "it is already gone" in done.err) == (0, True)
    assert "orphan" not in applied.run("plan").out


def test_destroy_takes_all_away(applied: Project) -> None:
    remove(applied, "c")
    refused = applied.run("plan", "--destroy", "--detailed-exitcode")
    assert refused.code == 3
    assert "Plan: 0 to add, 0 to change, 3 to destroy." in refused.out
    kept = applied.run("plan", "-destroy", "--exclude", "WebService/a", "--allow", "deletes")
    assert "2 to destroy" in kept.out
    done = applied.run("apply", "--destroy", "--auto-approve", "--allow", "deletes")
    assert "3 destroyed." in done.out
    assert not any(exists(applied, name) for name in "abc")


def test_a_project_that_is_emptied_is_refused_until_it_is_meant(applied: Project) -> None:
    remove(applied, "a", "b", "c")
    refused = applied.run("plan", "--prune")
    assert (refused.code, "--allow empty" in refused.err) == (1, True)
    meant = applied.run("plan", "--prune", "--allow", "empty", "--allow", "deletes")
    assert "3 to destroy" in meant.out


def test_what_is_forgotten_is_deleted_nowhere_and_remembered_no_more(applied: Project) -> None:
    remove(applied, "b")
    done = applied.run("forget", "WebService/b")
    assert done.out == "  . WebService/b\n\nForgotten. Nothing was deleted.\n"
    assert exists(applied, "b")
    assert "orphan" not in applied.run("plan").out
    again = applied.run("forget", "WebService/b")
    assert (again.code, "is not in the ledger" in again.err) == (1, True)
    near = applied.run("forget", "WebService/aa")
    assert (near.code, "WebService/a?" in near.err) == (1, False)
    assert applied.run("forget", "nobody").code == 1


def rename(project: Project) -> None:
    remove(project, "b")
    file = project.manifest("renamed", project.emulator.model_uri("new"))
    file.write_text(file.read_text() + "  resource: {name: b}\n")


def test_a_file_in_another_folder_and_a_commented_manifest_keep_what_they_declare(
    applied: Project,
) -> None:
    manifests = applied.folder / "manifests"
    (applied.folder / "other").mkdir()
    (manifests / "b.yaml").rename(applied.folder / "other" / "b.yaml")
    lines = (manifests / "c.yaml").read_text().splitlines()
    (manifests / "c.yaml").write_text("".join(f"# {line}\n" for line in lines))
    refused = applied.run("plan", "--prune", "--allow", "deletes", "--detailed-exitcode")
    assert refused.code == 3
    assert "WebService/b: may be declared in other/b.yaml, which is not read" in refused.out
    assert "WebService/c: may be declared in manifests/c.yaml, which is not read" in refused.out
    assert (
        "Warning: manifests/c.yaml: is not read: a manifest in it is commented out" in refused.out
    )
    meant = applied.run("plan", "--prune", "--allow", "deletes", "--allow", "unread")
    assert "2 to destroy" in meant.out


def test_what_was_renamed_without_saying_so_is_never_pruned(applied: Project) -> None:
    rename(applied)
    planned = applied.run("plan", "--prune", "--allow", "deletes")
    assert "No changes." in planned.out
    assert "1 orphan" in planned.out


def test_what_was_moved_keeps_its_memory(applied: Project) -> None:
    rename(applied)
    file = applied.folder / "reconciler.yaml"
    moved = "  moved: [{from: WebService/b, to: WebService/renamed}]\n"
    file.write_text(file.read_text() + moved)
    planned = applied.run("plan", "--prune", "--detailed-exitcode")
    assert (planned.code, "orphan" in planned.out) == (0, False)
    applied.emulator.deploy("b", applied.emulator.model_uri("old"))
    assert "# drift: was" in applied.run("plan").out
    file.write_text(file.read_text().replace("WebService/renamed", "renamed"))
    wrong = applied.run("validate")
    assert (wrong.code, "An address has the form Kind/name" in wrong.out) == (1, True)


def point(project: Project, name: str, service: str) -> None:
    """Have the manifest of an address name another service."""
    file = project.manifest(name, project.emulator.model_uri("new"))
    file.write_text(file.read_text() + f"  resource: {{name: {service}}}\n")


@pytest.mark.parametrize("applied_since", [False, True])
@pytest.mark.parametrize("address", ["WebService/b", "WebService/b.former"])
def test_what_an_address_meant_before_is_an_orphan_and_can_be_forgotten(
    applied: Project, address: str, applied_since: bool
) -> None:
    applied.emulator.deploy("other", applied.emulator.model_uri("old"))
    point(applied, "b", "other")
    if applied_since:
        assert applied.run("apply", "--auto-approve").code == 0
    assert "1 orphan: in the ledger, and no manifest declares it.\n  WebService/b.former [b]\n" in (
        applied.run("plan").out
    )
    listed = json.loads(applied.run("list", "--format", "json").out)["resources"]
    ids = {one["address"]: one["id"].rpartition("/")[2] for one in listed}
    assert (ids["WebService/b"], ids["WebService/b.former"]) == ("other", "b")
    exported = json.loads(applied.run("export", "WebService/b.former", "--format", "json").out)
    assert exported["name"] == "b"
    done = applied.run("forget", address)
    assert done.code == 0, done.said
    assert "Forgotten. Nothing was deleted." in done.out
    assert "1 orphan" not in applied.run("plan").out
    assert exists(applied, "b")


def test_projects_that_share_a_ledger_each_know_their_own_services(applied: Project) -> None:
    """The same manifests for two resource groups: what is recorded of one is not said of the other."""
    world, folder = applied.emulator, applied.folder
    text = (folder / "reconciler.yaml").read_text()
    (folder / "prod.yaml").write_text(text.replace(world.group, f"{world.group}-prod"))
    prod = replace(world, group=f"{world.group}-prod")
    for name in "abc":
        prod.deploy(name, world.model_uri("old"))
    planned = applied.run("--project", "prod.yaml", "plan")
    assert "# drift: was" not in planned.out
    assert "Plan: 0 to add, 3 to change, 0 to destroy." in planned.out
    assert "3 orphans" in planned.out
    assert applied.run("--project", "prod.yaml", "apply", "--auto-approve").code == 0
    for file in ("reconciler.yaml", "prod.yaml"):
        silent = applied.run("--project", file, "plan", "--detailed-exitcode")
        assert (silent.code, "3 orphans" in silent.out) == (0, True)
    world.deploy("a", world.model_uri("other"))
    assert "# drift: was" in applied.run("plan").out
    assert "No changes." in applied.run("--project", "prod.yaml", "plan").out


def test_a_resource_is_moved_only_to_the_manifest_that_names_it(applied: Project) -> None:
    remove(applied, "b")
    applied.manifest("renamed", applied.emulator.model_uri("new"))
    file = applied.folder / "reconciler.yaml"
    file.write_text(
        f"{file.read_text()}  moved: [{{from: WebService/b, to: WebService/renamed}}]\n"
    )
    for command in ("plan", "drift"):
        refused = applied.run(command)
        assert refused.code == 1
        assert "WebService/b is not WebService/renamed" in refused.err
        assert "on reconciler.yaml line 8, column 12" in refused.err

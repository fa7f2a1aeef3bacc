"""Services that are live, brought into manifests: plan afterwards is empty."""

import json
from pathlib import Path

import jsonpatch
import pytest

from tests.e2e.world import SUBSCRIPTION, Project, definition, run, run_emulator
from tests.storage import upload_model

pytestmark = pytest.mark.e2e


def test_all_services_are_exported_and_plan_is_empty(project: Project) -> None:
    world = project.emulator
    for name in ("census", "Iris.2016", "_odd"):
        world.deploy(name, world.model_uri(name), description=f"Predicts {name}: no")
    done = project.run("export", "--all")
    assert done.out.splitlines() == [
        "  manifests/Iris.2016.yaml",
        "  manifests/census.yaml",
        "  manifests/service_odd.yaml",
        "",
        "3 services exported. Nothing was changed.",
    ]
    text = (project.folder / "manifests" / "census.yaml").read_text()
    assert text == (
        "apiVersion: reconciler/v1\nkind: WebService\nmetadata:\n  name: census\nspec:\n"
        "  trainedModels:\n    Census Model [trained model]:\n"
        f"      uri: {world.model_uri('census')}\n"
        "  definition:\n    tags:\n      owner: growth\n    properties:\n"
        "      description: 'Predicts census: no'\n"
        "      realtimeConfiguration:\n        maxConcurrentCalls: 10\n"
        "      diagnostics:\n        level: None\n"
    )
    planned = project.run("plan", "--detailed-exitcode")
    assert (planned.code, "compared 3 services" in planned.out) == (0, True), planned.said
    again = project.run("export", "--all")
    assert again.out == "\n0 services exported. Nothing was changed.\n"


def test_the_whole_definition_goes_into_a_file_beside(project: Project) -> None:
    world = project.emulator
    world.deploy("census", world.model_uri("old"))
    assert project.run("export", "WebService/census", "--full").code == 0
    text = (project.folder / "manifests" / "census.yaml").read_text()
    assert "file: census.definition.json" in text
    assert "#     /properties/storageAccount/key: {env: STORAGEACCOUNT_KEY}" in text
    whole = json.loads((project.folder / "manifests" / "census.definition.json").read_text())
    assert {"asset1", "asset3"} <= set(whole["properties"]["assets"])
    assert not {"modifiedOn", "keys"} & set(whole["properties"])
    assert project.run("plan", "--detailed-exitcode").code == 0


def test_nothing_is_written_over_without_force(project: Project) -> None:
    world = project.emulator
    world.deploy("census", world.model_uri("old"))
    file = project.manifest("census", world.model_uri("new"))
    before = file.read_text()
    refused = project.run("export", "WebService/census")
    assert (refused.code, "WebService/census: is declared already" in refused.err) == (1, True)
    assert "on manifests/census.yaml line 3, column 12" in refused.err
    assert "Nothing was written." in refused.err
    assert file.read_text() == before
    assert project.run("export", "WebService/census", "--force").code == 0
    assert project.run("plan", "--detailed-exitcode").code == 0


def keep(project: Project) -> dict[str, str]:
    files = (one for one in project.folder.rglob("*") if one.suffix in {".yaml", ".json", ".csv"})
    return {str(one.relative_to(project.folder)): one.read_text() for one in files}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("import", "WebService/census", "census"), "is declared already"),
        (("import", "WebService/alias", "census"), "declared already, as WebService/census"),
        (("import", "WebService/alias", "CENSUS"), "declared already, as WebService/census"),
        (("import", "WebService/census", "other"), "is declared already"),
        (
            ("import", "WebService/alias", "census", "--folder", "manifests/new"),
            "as WebService/cens",
        ),
        (
            ("import", "WebService/alias", "census", "--force"),
            "declared already, as WebService/cens",
        ),
        (("import", "WebService/alias", "member"), "declared already, as WebService/member"),
        (("export", "WebService/member", "--force"), "is declared already"),
        (("export", "Fleet/all"), "is declared already"),
        (("export", "WebService/census", "--folder", "manifests/new"), "is declared already"),
        (("export", "WebService/other", "WebService/census"), "is declared already"),
    ],
)
def test_what_is_declared_is_not_written_again(
    project: Project, arguments: tuple[str, ...], said: str
) -> None:
    world = project.emulator
    for name in ("census", "other", "member"):
        world.deploy(name, world.model_uri("old"))
    project.manifest("census", world.model_uri("old"))
    (project.folder / "manifests" / "fleet.yaml").write_text(
        "apiVersion: reconciler/v1\nkind: Fleet\nmetadata: {name: all}\nspec:\n"
        "  items: {list: [{name: member}]}\n  template:\n    kind: WebService\n"
        "    metadata: {name: '${name}'}\n    spec: {definition: {tags: {owner: growth}}}\n"
    )
    before = keep(project)
    done = project.run(*arguments)
    assert (done.code, said in done.err) == (1, True), done.said
    assert "  on manifests/" in done.err
    assert "Nothing was written." in done.err
    assert keep(project) == before
    assert not (project.folder / "manifests" / "new").exists()


def test_an_address_that_the_ledger_records_is_not_given_to_another_service(
    project: Project,
) -> None:
    world = project.emulator
    for name in ("census", "other"):
        world.deploy(name, world.model_uri("old"))
    file = project.manifest("alias", world.model_uri("new"), more="  resource: {name: census}")
    assert project.run("apply", "--auto-approve").code == 0
    file.unlink()
    project.manifest("other", world.model_uri("old"))
    refused = project.run("import", "WebService/alias", "other", "--folder", "manifests/a")
    assert refused.code == 1
    (project.folder / "manifests" / "other.yaml").unlink()
    refused = project.run("import", "WebService/alias", "other")
    assert "the ledger records this address for another service" in refused.err, refused.said
    assert "reconciler forget WebService/alias" in refused.err
    done = project.run("export", "--all")
    assert done.out.splitlines()[:2] == ["  manifests/alias.yaml", "  manifests/other.yaml"]
    planned = project.run("plan", "--detailed-exitcode")
    assert (planned.code, "orphan" in planned.out) == (0, False), planned.said


@pytest.mark.parametrize("arguments", [("--all",), ("WebService/other",)])
def test_manifests_beside_the_project_file_stay_a_part_of_the_project(
    project: Project, arguments: tuple[str, ...]
) -> None:
    world = project.emulator
    for name in ("census", "other"):
        world.deploy(name, world.model_uri("old"))
    project.manifest("census", world.model_uri("old")).rename(project.folder / "census.yaml")
    (project.folder / "manifests").rmdir()
    refused = project.run("export", *arguments, "--folder", "manifests")
    assert (refused.code, "WebService/census: would no longer be declared" in refused.err) == (
        1,
        True,
    )
    assert not (project.folder / "manifests").exists()
    assert project.run("export", *arguments).out.startswith("  other.yaml\n")
    assert "compared 2 services" in project.run("plan").out


@pytest.mark.parametrize(
    ("beside", "said"),
    [
        ("manifest", "would no longer be declared"),
        ("definition", "would be declared with other values"),
    ],
)
def test_force_changes_no_other_manifest(project: Project, beside: str, said: str) -> None:
    world = project.emulator
    for name in ("census", "other"):
        world.deploy(name, world.model_uri("old"))
    file = project.manifest("census", world.model_uri("old"))
    other = project.manifest("other", more="  definition: {file: census.definition.json}")
    (file.parent / "census.definition.json").write_text('{"tags": {"owner": "growth"}}')
    if beside == "manifest":
        file.write_text(f"{file.read_text()}---\n{other.read_text()}")
        other.unlink()
    before = keep(project)
    done = project.run("export", "WebService/census", "--force", "--full")
    assert (done.code, f"WebService/other: {said}" in done.err) == (1, True), done.said
    assert keep(project) == before


@pytest.mark.parametrize("name", ["manifests/census.yaml", "manifests"])
def test_no_manifest_is_written_through_a_link(
    project: Project, tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    project.emulator.deploy("census", project.emulator.model_uri("old"))
    outside = tmp_path_factory.mktemp("outside")
    if name == "manifests":
        (project.folder / name).rmdir()
    (project.folder / name).symlink_to(outside if name == "manifests" else outside / "gone")
    done = project.run("export", "WebService/census", "--force")
    assert done.code == 1, done.said
    assert not list(outside.iterdir())


def test_a_service_is_imported_under_the_address_that_it_is_to_have(project: Project) -> None:
    world = project.emulator
    world.deploy("CensusPre.2016.8.17", world.model_uri("old"))
    done = project.run("import", "WebService/census", "CensusPre.2016.8.17")
    assert done.code == 0, done.said
    text = (project.folder / "manifests" / "census.yaml").read_text()
    assert "resource:\n    name: CensusPre.2016.8.17\n" in text
    assert project.run("plan", "--detailed-exitcode").code == 0
    whole = world.path("CensusPre.2016.8.17").replace(world.group, world.group.upper())
    assert project.run("import", "WebService/other", whole, "--folder", "elsewhere").code == 0
    other = (project.folder / "elsewhere" / "other.yaml").read_text()
    assert f"resourceGroup: {world.group.upper()}" in other
    assert SUBSCRIPTION not in other


@pytest.mark.parametrize(
    ("folder", "read"), [("elsewhere", False), ("manifests/.new", False), ("manifests/new", True)]
)
def test_a_folder_that_the_project_does_not_read_is_reported(
    project: Project, folder: str, read: bool
) -> None:
    world = project.emulator
    for name in ("census", "other"):
        world.deploy(name, world.model_uri("old"))
    imported = project.run("import", "WebService/census", "census", "--folder", folder)
    exported = project.run("export", "WebService/other", "--folder", folder)
    said = f"Warning: {folder}: the project reads no manifest in this folder"
    for done in (imported, exported):
        assert (done.code, said in done.err) == (0, not read)
        assert ("move the files to manifests." in done.err) is not read


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("import", "WebService/x", "/subscriptions/s"), "is not the id of a web service"),
        (("import", "WebService/x", "nobody"), "the service does not exist"),
        (("import", "Other/x", "y"), "unknown kind"),
        (("import", "x", "y"), "is not an address"),
        (("export", "WebService/nobody"), "the service does not exist"),
        (("export",), "give an ADDRESS, -l LABEL=VALUE, or --all"),
        (("export", "--all", "WebService/x"), "give an ADDRESS, -l LABEL=VALUE, or --all"),
        (("export", "--all", "--format", "json"), "give one ADDRESS"),
        (("export", "--all", "--folder", ".reconciler/new"), "is in the folder of the ledger"),
    ],
)
def test_what_cannot_be_adopted_is_said(
    project: Project, arguments: tuple[str, ...], said: str
) -> None:
    project.emulator.deploy("census", project.emulator.model_uri("old"))
    done = project.run(*arguments)
    printed = done.out if "json" in arguments else done.err
    assert (done.code, said in printed) == (1, True), done.said


def test_the_live_definition_is_what_a_patch_applies_to(project: Project) -> None:
    world = project.emulator
    world.deploy("census", world.model_uri("old"))
    project.manifest("census", world.model_uri("new"))
    assert project.run("plan", "--out", "p.json").code == 0
    live = json.loads(project.run("export", "WebService/census", "--format", "json").out)
    assert live == world.get("census")
    patch = json.loads(project.run("show", "p.json", "--patch").out)
    desired = jsonpatch.apply_patch(live, patch)
    uri = desired["properties"]["assets"]["asset3"]["locationInfo"]["uri"]
    assert uri == world.model_uri("new")


def test_help_names_import_and_export(project: Project) -> None:
    said = run(project.folder, "--help").out
    assert "import" in said
    assert run(project.folder, "import", "--help").out.startswith("Usage: reconciler import")


def test_an_export_reports_which_services_failed(tmp_path: Path) -> None:
    with run_emulator("--switch=model-uri=check") as world:
        project = Project(tmp_path, world)
        upload_model(world.model_uri("good"), b"a model", {})
        world.deploy("good", world.model_uri("good"))
        for name in ("bad", "worse"):
            status, answer, headers = world.send(
                "PUT", world.path(name), definition(world.model_uri("gone"))
            )
            assert status == 201, answer
            with pytest.raises(AssertionError, match="Failed"):
                world.finish(headers["Azure-AsyncOperation"])
        done = project.run("export", "--all")
        assert (done.code, "3 services exported; 2 failed. Nothing" in done.out) == (0, True)
        for name in ("bad", "worse"):
            assert f"Warning: WebService/{name}: properties.provisioningState is Failed" in done.err
        assert "Warning: WebService/good" not in done.err
        assert "The next plan says what an apply does to it." in done.err
        assert "The apply does not change it" in project.run("plan").out
        alone = project.run("import", "WebService/worse", "worse", "--force")
        assert (alone.code, "provisioningState is Failed" in alone.err) == (0, True), alone.said
        one = project.run("export", "WebService/bad", "--force")
        assert "1 service exported; 1 failed. Nothing was changed." in one.out

"""Services that are live, brought into manifests: plan afterwards is empty."""

import json

import jsonpatch
import pytest

from tests.e2e.world import SUBSCRIPTION, Project, run

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
    assert (refused.code, "already exists: manifests/census.yaml" in refused.err) == (1, True)
    assert file.read_text() == before
    assert project.run("export", "WebService/census", "--force").code == 0
    assert project.run("plan", "--detailed-exitcode").code == 0


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
    ("arguments", "said"),
    [
        (("import", "WebService/x", "/subscriptions/s"), "is not the id of a web service"),
        (("import", "WebService/x", "nobody"), "the service does not exist"),
        (("import", "Other/x", "y"), "unknown kind"),
        (("import", "x", "y"), "is not an address"),
        (("export", "WebService/nobody"), "the service does not exist"),
        (("export",), "give an ADDRESS, or --all"),
        (("export", "--all", "WebService/x"), "give an ADDRESS, or --all"),
        (("export", "--all", "--format", "json"), "give one ADDRESS"),
    ],
)
def test_what_cannot_be_adopted_is_said(
    project: Project, arguments: tuple[str, ...], said: str
) -> None:
    done = project.run(*arguments)
    assert (done.code, said in done.err) == (1, True), done.said


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

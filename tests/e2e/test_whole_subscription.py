"""A project that knows only the subscription: what is listed, found by name, and asked for."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.e2e.world import SUBSCRIPTION, Emulator, Project, run_emulator

pytestmark = pytest.mark.e2e
GROUPS = ("marketing", "sales")


@pytest.fixture(scope="module")
def subscription() -> Iterator[Emulator]:
    """An emulator with `census` and `churn` in one group, and `census` in another."""
    with run_emulator() as emulator:
        for group, name in (("marketing", "census"), ("marketing", "Churn"), ("sales", "census")):
            replace(emulator, group=group).deploy(name, emulator.model_uri(group))
        yield emulator


@pytest.fixture
def project(subscription: Emulator, tmp_path: Path) -> Project:
    """A project whose defaults have no resource group."""
    made = Project(tmp_path, subscription)
    set_group(made, "")
    return made


def set_group(project: Project, group: str) -> None:
    project.write_project()
    file = project.folder / "reconciler.yaml"
    given = f", resourceGroup: {group}" if group else ""
    file.write_text(file.read_text().replace(", resourceGroup: census", given))


def id_of(group: str, name: str) -> str:
    scope = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{group}"
    return f"{scope}/providers/Microsoft.MachineLearning/webServices/{name}"


def assert_nothing_planned(project: Project) -> None:
    planned = project.run("plan", "--detailed-exitcode")
    assert (planned.code, "No changes." in planned.out) == (0, True), planned.said


def test_every_service_of_the_subscription_is_exported(project: Project) -> None:
    done = project.run("export", "--all")
    assert done.code == 0, done.said
    assert done.out.splitlines() == [
        "  manifests/Churn.yaml",
        "  manifests/census.yaml",
        "  manifests/census-2.yaml",
        "",
        "3 services exported. Nothing was changed.",
    ]
    for name, group in (("Churn", "marketing"), ("census", "marketing"), ("census-2", "sales")):
        assert f"resourceGroup: {group}" in (project.folder / f"manifests/{name}.yaml").read_text()
    assert_nothing_planned(project)
    assert project.run("export", "--all").out == "\n0 services exported. Nothing was changed.\n"


def test_a_group_among_the_defaults_is_the_whole_scope(project: Project) -> None:
    set_group(project, "sales")
    assert "1 service exported." in project.run("export", "--all").out


def test_unmanaged_services_of_the_subscription_are_reported_once(project: Project) -> None:
    project.manifest("mine", more=f"  resource: {{name: census, resourceGroup: {GROUPS[1]}}}")
    done = project.run("drift", "--unmanaged")
    commands = [line.split(": ", 1)[1] for line in done.out.splitlines() if "import" in line]
    assert commands == [
        f"reconciler import WebService/Churn {id_of('marketing', 'Churn')}",
        f"reconciler import WebService/census {id_of('marketing', 'census')}",
    ]
    for command in commands:
        assert project.run(*command.split()[1:]).code == 0
    assert_nothing_planned(project)


@pytest.mark.parametrize("name", ["Churn", "churn"])
def test_a_name_of_one_service_is_imported_with_its_group(project: Project, name: str) -> None:
    done = project.run("import", "WebService/churn", name)
    assert done.code == 0, done.said
    assert "resourceGroup: marketing" in (project.folder / "manifests/churn.yaml").read_text()
    assert_nothing_planned(project)


@pytest.mark.parametrize("words", [("export", "WebService/Churn"), ("export", "WebService/churn")])
def test_a_service_is_exported_by_its_name(project: Project, words: tuple[str, ...]) -> None:
    assert project.run(*words).code == 0
    assert_nothing_planned(project)


def test_a_name_of_two_services_is_refused_with_their_ids(project: Project) -> None:
    done = project.run("import", "WebService/census", "census")
    assert done.code == 1
    assert "WebService/census: 2 services have this name" in done.err
    for group in GROUPS:
        assert id_of(group, "census") in done.err
    command = next(line for line in done.err.splitlines() if "reconciler import" in line)
    assert project.run(*command.partition("reconciler ")[2].split()).code == 0
    assert_nothing_planned(project)


def test_a_name_of_no_service_is_refused(project: Project) -> None:
    done = project.run("import", "WebService/x", "no-such-service")
    assert (done.code, "resourceGroup is not set" in done.err) == (1, True)
    assert (
        f'No web service in /subscriptions/{SUBSCRIPTION} is named "no-such-service".' in done.err
    )


def test_a_name_in_another_group_than_the_default_is_found(project: Project) -> None:
    set_group(project, "sales")
    for words in (("import", "WebService/x", "Churn"), ("export", "WebService/Churn")):
        done = project.run(*words)
        assert (done.code, "the service does not exist" in done.err) == (1, True)
        assert f"Give the whole id: reconciler import {words[1]}" in done.err
        assert id_of("marketing", "Churn") in done.err


def test_a_plan_without_a_group_names_it(project: Project) -> None:
    file = project.manifest("churn", project.emulator.model_uri("marketing"))
    done = project.run("plan")
    assert done.code == 1
    assert "Error: WebService/churn: resourceGroup is not set" in done.err
    assert "on manifests/churn.yaml line 4, column 1" in done.err
    assert 'A web service named "churn" exists in the resource group marketing.' in done.err
    assert "set spec.resource.resourceGroup: marketing in the manifest" in done.err
    file.write_text(f"{file.read_text()}  resource: {{resourceGroup: marketing}}\n")
    assert_nothing_planned(project)


def test_a_plan_without_a_group_names_each_that_has_the_name(project: Project) -> None:
    project.manifest("census", project.emulator.model_uri("sales"))
    project.manifest("absent", project.emulator.model_uri("sales"))
    done = project.run("plan")
    assert '2 web services are named "census": in marketing, sales.' in done.err
    assert f'No web service in /subscriptions/{SUBSCRIPTION} is named "absent".' in done.err


@pytest.mark.parametrize("kind", ["default", "manifest"])
def test_a_plan_with_a_wrong_group_names_the_right_one(project: Project, kind: str) -> None:
    model = project.emulator.model_uri("marketing")
    more = "  resource: {resourceGroup: sales}" if kind == "manifest" else ""
    project.manifest("Churn", model, more=more)
    if kind == "default":
        set_group(project, "sales")
    done = project.run("plan")
    assert (done.code, "WebService/Churn: the service does not exist" in done.err) == (1, True)
    assert 'A web service named "Churn" exists in the resource group marketing.' in done.err
    assert "spec.defaults.resourceGroup: marketing in the project file." in done.err


def test_a_plan_that_needs_no_list_sends_none(project: Project) -> None:
    set_group(project, "marketing")
    project.manifest("Churn", project.emulator.model_uri("marketing"))
    log = project.run("plan", env={"RECONCILER_LOG": "debug"}).err
    assert "/resourceGroups/marketing/" in log
    assert f"/subscriptions/{SUBSCRIPTION}/providers/" not in log

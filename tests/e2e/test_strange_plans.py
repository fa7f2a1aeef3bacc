"""Plan files and live definitions from strange hands: explained, and nothing is written."""

import json
import pickle
from pathlib import Path

import pytest

from tests.e2e.world import Project, definition
from tests.scripted import Answer, Call, run_scripted

pytestmark = pytest.mark.e2e


class Poison:
    """Whoever unpickles it makes a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return (Path.touch, (self.target,))  # type: ignore[return-value]  # a Path, for pickle


@pytest.fixture
def saved(project: Project) -> Project:
    world = project.emulator
    world.deploy("census", world.model_uri("old"))
    project.manifest("census", world.model_uri("new"))
    assert project.run("plan", "--out", "p.json").code == 0
    return project


def refuse(project: Project, *texts: str) -> None:
    for command in ("show", "apply"):
        done = project.run(command, "p.json")
        assert done.code == 1, done.said
        assert "Traceback" not in done.said
        for text in texts:
            assert text in done.err, done.err
    assert project.emulator.model("census") == project.emulator.model_uri("old")


def test_a_plan_that_was_cut(saved: Project) -> None:
    file = saved.folder / "p.json"
    whole = file.read_bytes()
    for length in (0, 1, len(whole) // 2, len(whole) - 3):
        file.write_bytes(whole[:length])
        refuse(saved, "p.json: not a saved plan", "reconciler plan --out FILE")


def test_a_plan_that_was_edited_names_what_to_do(saved: Project) -> None:
    file = saved.folder / "p.json"
    document = json.loads(file.read_text())
    document["resource_changes"][0]["patch"][-1]["value"] = "https://evil/m/x.ilearner"
    file.write_text(json.dumps(document))
    refuse(saved, "p.json: the saved plan was changed after it was made", "plan --out FILE")


def test_a_pickle_is_never_unpickled(saved: Project) -> None:
    target = saved.folder / "touched"
    (saved.folder / "p.json").write_bytes(pickle.dumps(Poison(target)))
    refuse(saved, "p.json: not a saved plan")
    assert not target.exists()


def test_a_plan_of_another_project_is_not_applied_here(saved: Project) -> None:
    text = (saved.folder / "reconciler.yaml").read_text()
    (saved.folder / "reconciler.yaml").write_text(text.replace("name: census", "name: other"))
    done = saved.run("apply", "p.json")
    assert done.code == 1
    assert 'p.json: was made for the project "census", and this is "other"' in done.err
    assert saved.emulator.model("census") == saved.emulator.model_uri("old")
    assert saved.run("show", "p.json").code == 0


def test_a_definition_file_of_ten_megabytes(project: Project) -> None:
    project.manifest("census", "", more="  definition: {file: big.json}")
    (project.folder / "manifests" / "big.json").write_text(
        json.dumps({"properties": {"description": "x" * 10_000_000}})
    )
    done = project.run("plan")
    assert done.code == 1
    assert "manifests/big.json: is 10 MB, and at most 8 MB are read" in done.err


def live(**changes: object) -> dict[str, object]:
    body = definition("https://acct.blob.core.windows.net/m/old.ilearner")
    body["properties"].pop("commitmentPlan")
    return {"id": "/x/census", "name": "census", **body, **changes}


STRANGE = {
    "no properties": live(properties=None),
    "properties as a list": live(properties=[]),
    "a text": "definition",
    "a list": [],
    "no id": {key: value for key, value in live().items() if key != "id"},
}


@pytest.mark.parametrize("name", STRANGE)
def test_a_live_definition_with_missing_parts_is_never_planned_upon(
    project: Project, name: str
) -> None:
    def script(call: Call, _: int) -> Answer:
        assert call.method == "GET"
        return Answer(200, STRANGE[name])

    with run_scripted(script) as server:
        project.emulator.url = server.url
        project.write_project()
        project.manifest("census", "https://acct.blob.core.windows.net/m/new.ilearner")
        done = project.run("plan")
        assert done.code == 1
        assert "WebService/census: the service did not return a definition" in done.err


def test_a_failed_service_without_a_package_says_what_it_lacks(project: Project) -> None:
    failed = live(id=project.emulator.path("census"))
    failed["properties"] = {"provisioningState": "Failed", "storageAccount": {}}
    with run_scripted(lambda _, __: Answer(200, failed)) as server:
        project.emulator.url = server.url
        project.write_project()
        project.manifest("census", "https://acct.blob.core.windows.net/m/new.ilearner")
        done = project.run("plan")
        assert done.code == 1
        assert 'WebService/census: no trained model is named "Census Model' in done.err


def test_numbers_as_strings_and_what_is_not_known_are_no_changes(project: Project) -> None:
    body = live(id=project.emulator.path("census"))
    properties = dict(definition("https://acct.blob.core.windows.net/m/new.ilearner")["properties"])
    properties |= {"realtimeConfiguration": {"maxConcurrentCalls": "20"}, "brandNew": {"a": [1]}}
    body["properties"] = properties
    body["alsoNew"] = 1
    with run_scripted(lambda _, __: Answer(200, body)) as server:
        project.emulator.url = server.url
        project.write_project()
        project.manifest(
            "census",
            "https://acct.blob.core.windows.net/m/new.ilearner",
            more="  definition: {properties: {realtimeConfiguration: {maxConcurrentCalls: 20}}}",
        )
        assert "No changes." in project.run("plan").out

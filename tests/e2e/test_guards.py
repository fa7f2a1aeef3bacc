"""What a plan may not do without being asked again, and the flag that each refusal names."""

import json
import os
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest
from azure.storage.blob import BlobSasPermissions, generate_blob_sas

from reconciler.model import Json
from reconciler.plans.plan_file import digest_of
from reconciler.transport.storage import _EMULATED_KEY
from tests.e2e.world import Project, definition
from tests.storage import upload_model

pytestmark = pytest.mark.e2e


def deploy(project: Project, **tags: str) -> None:
    world = project.emulator
    body = definition(world.model_uri("old"))
    body["tags"] = tags
    world.write("PUT", "census", body)
    project.manifest("census", world.model_uri("new"))


@pytest.mark.parametrize("tag", ["managed-by", "ManagedBy", "managed_by"])
def test_what_somebody_else_manages_is_not_taken_over(project: Project, tag: str) -> None:
    deploy(project, **{tag: "terraform"})
    refused = project.run("apply", "--auto-approve", "--detailed-exitcode")
    assert refused.code == 3
    assert 'WebService/census: is managed by "terraform", according to its tags' in refused.err
    assert "--allow adopt=WebService/census" in refused.err
    assert "model → " in refused.out or "old.ilearner" in refused.out
    assert project.emulator.model("census") == project.emulator.model_uri("old")
    done = project.run("apply", "--auto-approve", "--allow", "adopt=WebService/census")
    assert done.code == 0
    assert project.emulator.model("census") == project.emulator.model_uri("new")


@pytest.mark.parametrize("value", ["reconciler", "Reconciler/census", ""])
def test_what_is_ours_is_no_adoption(project: Project, value: str) -> None:
    deploy(project, **{"managed-by": value, "owner": "growth"})
    assert project.run("plan", "--detailed-exitcode").code == 2


def test_another_project_is_another_manager(project: Project) -> None:
    deploy(project, **{"managed-by": "reconciler/other"})
    assert project.run("plan", "--detailed-exitcode").code == 3


def test_nothing_to_do_is_nothing_to_refuse(project: Project) -> None:
    deploy(project, **{"managed-by": "terraform"})
    project.manifest("census", project.emulator.model_uri("old"))
    assert project.run("plan", "--detailed-exitcode").code == 0


@pytest.mark.parametrize(
    ("left", "code", "said"),
    [
        (timedelta(minutes=20), 3, "Error: "),
        (timedelta(days=13), 2, "Warning: "),
        (timedelta(days=15), 2, ""),
        (timedelta(minutes=-20), 3, "Error: "),
    ],
)
def test_a_signature_that_ends_too_soon(
    project: Project, left: timedelta, code: int, said: str
) -> None:
    world = project.emulator
    project.blobs = "required"
    project.write_project()
    uri = world.model_uri(f"new-{world.group}")
    upload_model(uri, b"model", os.environ)
    world.deploy("census", world.model_uri("old"))
    file = project.manifest("census", uri)
    file.write_text(file.read_text().replace("'}", "', sas: {env: MODELS_SAS}}"))
    _, _, container, name = urlsplit(uri).path.split("/", 3)
    signature = generate_blob_sas(
        "devstoreaccount1",
        container,
        name,
        account_key=_EMULATED_KEY,
        permission=BlobSasPermissions(read=True),
        expiry=datetime.now(UTC) + left,
    )
    planned = project.run("plan", "--detailed-exitcode", env={"MODELS_SAS": signature})
    assert planned.code == code, planned.said
    assert (f"{said}WebService/census: trained model" in planned.out) is bool(said)
    assert "sig=" not in planned.said
    if said:
        assert "signature for the model blob" in planned.out


def reseal(project: Project, change: Callable[[Json], object], name: str = "p.json") -> None:
    """Change a saved plan and compute its digest again, as anybody can."""
    body = json.loads((project.folder / name).read_text())
    change(body)
    body.pop("changes_digest")  # a plan of an earlier version has none
    body["plan_digest"] = digest_of(body)
    (project.folder / name).write_text(json.dumps(body))


def forget_refusal(body: Json) -> None:
    body["findings"] = []
    body["outcome"] = "changes"


def refuse(project: Project, *flags: str) -> str:
    """Save the plan that a guard refuses, take the refusal out of it, and apply it."""
    assert project.run("plan", "--out", "p.json", "--detailed-exitcode", *flags).code == 3
    reseal(project, forget_refusal)
    done = project.run("apply", "p.json", "--detailed-exitcode")
    assert done.code == 3, done.said
    return done.err


def test_a_plan_that_hides_its_refusal_is_refused_by_the_guard(project: Project) -> None:
    world = project.emulator
    for name in ("a", "b"):
        world.deploy(name, world.model_uri("old"))
        project.manifest(name, world.model_uri("new"))
    assert project.run("apply", "--auto-approve").code == 0
    (project.folder / "manifests" / "b.yaml").unlink()
    said = refuse(project, "--prune")
    assert "1 to destroy, and spec.guards.maxDeletes is 0" in said
    assert world.model("b") == world.model_uri("new")


@pytest.mark.parametrize("part", ["live", "plan"])
def test_another_manager_is_asked_for_where_the_plan_is_applied(
    project: Project, part: str
) -> None:
    """The owner is read from live: the document in the plan may lack the tag."""
    deploy(project, **({"managed-by": "terraform"} if part == "plan" else {}))
    world = project.emulator
    assert project.run("plan", "--out", "p.json").code == (1 if part == "plan" else 0)
    if part == "plan":

        def untag(body: Json) -> None:
            forget_refusal(body)
            for side in ("before", "after"):
                body["resource_changes"][0]["change"][side].pop("tags")

        reseal(project, untag)
    else:
        properties, tags = {"packageType": "Graph"}, {"managed-by": "puppet"}
        world.write("PATCH", "census", {"tags": tags, "properties": properties})
    done = project.run("apply", "p.json", "--detailed-exitcode")
    assert (done.code, "is managed by" in done.err) == (3, True), done.said
    assert world.model("census") == world.model_uri("old")


def test_a_model_is_looked_up_again_where_the_plan_is_applied(project: Project) -> None:
    world = project.emulator
    project.blobs = "required"
    project.write_project()
    world.deploy("census", world.model_uri("old"))
    uri = world.model_uri(f"new-{world.group}")
    project.manifest("census", uri)
    assert "the model blob does not exist" in refuse(project)
    upload_model(uri, b"model", os.environ)
    assert project.run("plan", "--out", "p.json", "--detailed-exitcode").code == 2
    upload_model(uri, b"other bytes", os.environ)
    done = project.run("apply", "p.json", "--detailed-exitcode")
    assert (done.code, "does not match" in done.err or "not those of the plan" in done.err) == (
        3,
        True,
    ), done.said
    assert world.model("census") == world.model_uri("old")


def test_a_guard_that_is_tighter_now_bites_and_what_was_lifted_is_shown(project: Project) -> None:
    deploy(project)
    assert project.run("plan", "--out", "p.json").code == 0
    project.guards = ", maxUpdates: 0"
    project.write_project()
    done = project.run("apply", "p.json", "--detailed-exitcode")
    assert (done.code, "1 to change, and spec.guards.maxUpdates is 0" in done.err) == (3, True)
    assert project.run("plan", "--out", "p.json", "--allow", "updates").code == 0
    for form in ("text", "markdown", "html"):
        shown = project.run("show", "p.json", "--format", form)
        assert "Lifted by --allow: updates." in shown.out
    project.guards = ", maxUpdates: 0, allow: [replace]"
    project.write_project()
    done = project.run("apply", "p.json", "--detailed-exitcode")
    assert (done.code, "spec.guards.maxUpdates is 0" in done.err) == (3, True), done.said
    again = project.run("plan", "--allow", "updates")
    assert (again.code, "the project does not let this guard be lifted" in again.err) == (1, True)
    project.guards = ", maxUpdates: 0, allow: [updates]"
    project.write_project()
    assert project.run("apply", "p.json").code == 0
    assert project.emulator.model("census") == project.emulator.model_uri("new")


@pytest.mark.parametrize("command", ["validate", "plan"])
def test_an_unknown_guard_in_the_project_is_refused_with_its_place(
    project: Project, command: str
) -> None:
    deploy(project)
    project.guards = ", allow: [replace, in-plce, policy-command, identity]"
    project.write_project()
    done = project.run(command)
    assert done.code == 1, done.said
    assert re.findall(r'unknown guard "([a-z-]+)"', done.said) == ["in-plce"]
    assert 'Did you mean "in-place"?' in done.said
    assert "no flag lifts the guard policy-command" in done.said
    assert len(re.findall(r"reconciler\.yaml line \d+, column \d+", done.said)) == 2, done.said


def test_what_a_plan_says_of_its_resource_is_confirmed_by_the_project(project: Project) -> None:
    """An id, a source or a declared value that nothing besides the plan has."""
    deploy(project)
    world = project.emulator
    world.deploy("victim", world.model_uri("old"))
    assert project.run("plan", "--out", "p.json").code == 0
    saved = (project.folder / "p.json").read_text()

    def lead_elsewhere(body: Json) -> None:
        step = body["resource_changes"][0]
        step["id"] = step["id"].replace("/census", "/victim")

    reseal(project, lead_elsewhere)
    done = project.run("apply", "p.json", "--detailed-exitcode")
    assert (done.code, "have the id of the plan" in done.err) == (4, True), done.said
    shown = project.run("show", "p.json")
    assert "/webServices/victim" in shown.out
    assert world.model("victim") == world.model_uri("old")

    def claim(body: Json) -> None:
        body["resource_changes"][0]["owns"].append("/properties/title")

    (project.folder / "p.json").write_text(saved)
    reseal(project, claim)
    for form in ("text", "markdown", "html"):
        assert (
            "also declared: properties.title" in project.run("show", "p.json", "--format", form).out
        )
    assert project.run("apply", "p.json").code == 0
    assert world.model("census") == world.model_uri("new")
    ledger = (project.folder / ".reconciler" / "ledger.jsonl").read_text().splitlines()
    owned = json.loads(ledger[-1])["owned"]
    assert list(owned) == ["/properties/assets/asset3/locationInfo/uri"]


def test_a_signature_that_goes_along_is_shown_on_every_face(project: Project) -> None:
    deploy(project)
    assert project.run("plan", "--out", "p.json").code == 0
    at = "/properties/assets/asset3/locationInfo/credentials"

    def send_along(body: Json) -> None:
        reference = {"env": "CI_TOKEN", "file": "", "version": ""}
        body["resource_changes"][0]["secrets"] = {at: reference}

    reseal(project, send_along)
    for form in ("text", "markdown", "html"):
        assert "written from env CI_TOKEN" in project.run("show", "p.json", "--format", form).out

"""What a plan may not do without being asked again, and the flag that each refusal names."""

import os
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest
from azure.storage.blob import BlobSasPermissions, generate_blob_sas

from reconciler.blobs import upload_model
from reconciler.transport.storage import _EMULATED_KEY
from tests.e2e.world import Project, definition

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
    assert 'WebService/census: is managed by "terraform", according to its tags' in refused.out
    assert "--allow adopt=WebService/census" in refused.out
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

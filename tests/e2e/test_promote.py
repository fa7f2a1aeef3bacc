"""`promote`: what the ledger of one environment proves becomes a value of another one."""

import hashlib
import subprocess
from pathlib import Path

import pytest

from tests.e2e.world import MODEL, Emulator, Project
from tests.storage import upload_model

HEAD = "apiVersion: reconciler/v1\nkind: Environment\nmetadata: {name: %s}\nspec:\n"
VALUES = """\
  # The model in service.
  values:
    model: %s # a release
    digest: '%s'
    sku: S1
"""
BYTES = {name: name.encode() for name in ("old", "new")}
DIGESTS = {name: hashlib.sha256(data).hexdigest() for name, data in BYTES.items()}


def name_model(emulator: Emulator, name: str) -> str:
    """The address of a model in a folder of its own: other tests rely on models that are absent."""
    return emulator.model_uri(f"promote/{name}")


@pytest.fixture
def project(own_group: Emulator, tmp_path: Path) -> Project:
    """Two environments that serve `old`; dev declares `new`. The models are in storage."""
    made = Project(tmp_path / "project", own_group, blobs="required")
    (made.folder / "environments").mkdir()
    for name, data in BYTES.items():
        upload_model(name_model(own_group, name), data, {})
    for name, model in (("dev", "new"), ("prod", "old")):
        write(made, name, model)
        own_group.deploy(f"census-{name}", name_model(own_group, "old"))
    write_manifest(made, name_model(own_group, "${values.model}"), "'${values.digest}'")
    return made


def write(project: Project, name: str, model: str) -> Path:
    file = project.folder / "environments" / f"{name}.yaml"
    file.write_text(HEAD % name + VALUES % (model, DIGESTS[model]))
    return file


def write_manifest(project: Project, uri: str, digest: str) -> Path:
    file = project.folder / "manifests" / "census.yaml"
    file.write_text(
        "apiVersion: reconciler/v1\nkind: WebService\nmetadata: {name: 'census-${env.name}'}\n"
        f"spec:\n  trainedModels:\n    {MODEL}:\n      uri: {uri}\n      sha256: {digest}\n"
    )
    return file


def apply(project: Project, name: str) -> None:
    done = project.run("apply", "--env", name, "--auto-approve", "--refresh", "full")
    assert done.code == 0, done.said


def promote(project: Project, *more: str) -> tuple[int, str]:
    done = project.run("promote", "WebService/census-dev", "--from", "dev", "--to", "prod", *more)
    return done.code, done.said


def test_an_applied_model_becomes_the_value_of_another_environment(project: Project) -> None:
    apply(project, "dev")
    file = project.folder / "environments" / "prod.yaml"
    before = file.read_text()
    code, said = promote(project)
    assert code == 0, said
    assert file.read_text() == before.replace("old", "new").replace(DIGESTS["old"], DIGESTS["new"])
    assert said == (
        "  ~ environments/prod.yaml: model = new\n"
        f"  ~ environments/prod.yaml: digest = {DIGESTS['new']}\n\n"
        "Promoted WebService/census-dev from dev to prod.\n\n"
        "See what it changes: reconciler plan --env prod\n"
    )
    apply(project, "prod")
    assert project.emulator.model("census-prod").endswith("new.ilearner")
    code, said = promote(project)
    assert (code, "WebService/census-prod declares the same model in prod already." in said) == (
        0,
        True,
    )


def test_what_was_never_applied_is_refused(project: Project) -> None:
    before = (project.folder / "environments" / "prod.yaml").read_text()
    code, said = promote(project)
    assert code == 1
    assert "it was never applied in dev" in said
    assert "reconciler apply --env dev --target WebService/census-dev" in said
    assert (project.folder / "environments" / "prod.yaml").read_text() == before


def test_what_was_changed_since_is_refused(project: Project) -> None:
    apply(project, "dev")
    write(project, "dev", "old")
    code, said = promote(project)
    assert (code, f'census-dev: the trained model "{MODEL}" was changed since' in said) == (1, True)
    apply(project, "dev")
    code, said = promote(project)
    assert (code, "declares the same model in prod already" in said) == (0, True)
    file = project.folder / "environments" / "dev.yaml"
    file.write_text(file.read_text().replace(DIGESTS["old"], "0" * 64))
    code, said = promote(project)
    assert (code, "the digest of the trained model" in said) == (1, True)


def test_a_model_whose_bytes_were_not_read_is_refused(project: Project) -> None:
    project.blobs = "skip"
    project.write_project()
    write_manifest(project, name_model(project.emulator, "${values.model}"), "'${values.digest}'")
    manifest = project.folder / "manifests" / "census.yaml"
    manifest.write_text(manifest.read_text().replace("      sha256: '${values.digest}'\n", ""))
    apply(project, "dev")
    code, said = promote(project)
    assert (code, "the ledger of dev has no digest of the trained model" in said) == (1, True)
    # An apply without a change of the model does not record it, so the next step names another way.
    assert "set guards.blobs: required, apply another model, and then this one." in said
    project.blobs = "required"
    project.write_project()
    apply(project, "dev")
    assert promote(project) == (code, said)
    for model in ("old", "new"):
        write(project, "dev", model)
        apply(project, "dev")
    write_manifest(project, name_model(project.emulator, "${values.model}"), "'${values.digest}'")
    code, said = promote(project)
    assert (code, DIGESTS["new"] in (project.folder / "environments/prod.yaml").read_text()) == (
        0,
        True,
    ), said


def test_a_model_that_is_in_service_before_the_first_apply_needs_one_that_changes_it(
    project: Project,
) -> None:
    write(project, "dev", "old")
    write(project, "prod", "new")
    apply(project, "dev")
    code, said = promote(project)
    assert (code, "it was never applied in dev" in said) == (1, True)
    assert "If that has no changes: set guards.blobs: required, apply another model" in said
    # An apply that changes something else does not say which bytes the model has.
    manifest = project.folder / "manifests" / "census.yaml"
    manifest.write_text(f"{manifest.read_text()}  definition: {{tags: {{team: growth}}}}\n")
    apply(project, "dev")
    code, said = promote(project)
    assert (code, "was changed since" in said) == (1, False)
    assert "the ledger of dev has no digest of the trained model" in said


def test_a_commit_holds_the_edit_alone(project: Project) -> None:
    apply(project, "dev")
    git(project, "init", "-q")
    git(project, "config", "user.name", "p")
    git(project, "config", "user.email", "p@example.com")
    (project.folder / ".gitignore").write_text(".reconciler/\n")
    git(project, "add", "-A")
    git(project, "commit", "-qm", "first")
    code, said = promote(project, "--commit")
    assert code == 0, said
    assert "Promoted WebService/census-dev from dev to prod, in commit " in said
    assert git(project, "status", "--porcelain") == ""
    assert git(project, "show", "--name-only", "--format=", "HEAD") == "environments/prod.yaml\n"
    message = git(project, "log", "-1", "--format=%B")
    assert message.startswith(
        "Promote WebService/census-dev from dev to prod\n\nmodel Census Model"
    )
    assert f"sha256 {DIGESTS['new']}" in message
    assert "Reconciler-Promotion: WebService/census-dev" in message


def test_a_file_with_other_changes_is_not_committed(project: Project) -> None:
    apply(project, "dev")
    git(project, "init", "-q")
    git(project, "config", "user.name", "p")
    git(project, "config", "user.email", "p@example.com")
    git(project, "add", "environments", "manifests", "reconciler.yaml")
    git(project, "commit", "-qm", "first")
    file = project.folder / "environments" / "prod.yaml"
    file.write_text(file.read_text() + "# more\n")
    before = file.read_text()
    code, said = promote(project, "--commit")
    assert (code, "has changes that are not committed" in said) == (1, True)
    assert file.read_text() == before


def git(project: Project, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=project.folder, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_a_text_of_two_values_is_refused(project: Project) -> None:
    uri = name_model(project.emulator, "${env.name}-${values.model}")
    manifest = write_manifest(project, uri, "'${values.digest}'")
    upload_model(name_model(project.emulator, "dev-new"), BYTES["new"], {})
    apply(project, "dev")
    before = manifest.read_text()
    code, said = promote(project)
    assert code == 1
    assert "uri: its text comes from ${env.name} and ${values.model}, and not from one" in said
    assert manifest.read_text() == before


def test_a_digest_that_cannot_be_written_is_refused_with_the_way_to_write_it(
    project: Project,
) -> None:
    manifest = write_manifest(project, name_model(project.emulator, "${values.model}"), "''")
    manifest.write_text(manifest.read_text().replace("      sha256: ''\n", ""))
    apply(project, "dev")
    file = project.folder / "environments" / "prod.yaml"
    before = manifest.read_text(), file.read_text()
    code, said = promote(project)
    assert code == 1
    assert (
        "sha256: manifests/census.yaml is also read by dev, so the edit would change dev too"
    ) in said
    assert (
        "Write ${values.NAME} in manifests/census.yaml, and NAME in spec.values of each environment."
    ) in said
    assert (manifest.read_text(), file.read_text()) == before


def test_a_manifest_that_only_prod_reads_is_edited(project: Project) -> None:
    for name in ("dev", "prod"):
        (project.folder / name).mkdir()
        file = project.folder / "environments" / f"{name}.yaml"
        file.write_text(file.read_text() + f"  manifests: [{name}]\n")
        model = "new" if name == "dev" else "old"
        (project.folder / name / "census.yaml").write_text(
            "apiVersion: reconciler/v1\nkind: WebService\nmetadata: {name: census-dev}\n"
            f"spec:\n  trainedModels:\n    {MODEL}: # kept\n"
            f"      uri: {name_model(project.emulator, model)}\n"
        )
    (project.folder / "manifests" / "census.yaml").unlink()
    apply(project, "dev")
    code, said = promote(project)
    assert code == 0, said
    text = (project.folder / "prod" / "census.yaml").read_text()
    assert f"    {MODEL}: # kept\n" in text
    assert "new.ilearner" in text
    assert f"sha256: {DIGESTS['new']}" in text


def test_a_value_that_others_use_too_is_not_changed(project: Project) -> None:
    apply(project, "dev")
    other = project.folder / "manifests" / "other.yaml"
    uri = name_model(project.emulator, "${values.model}")
    other.write_text(
        "apiVersion: reconciler/v1\nkind: WebService\nmetadata: {name: other}\n"
        f"spec:\n  trainedModels:\n    {MODEL}: {{uri: '{uri}'}}\n"
    )
    code, said = promote(project)
    assert code == 1
    assert "${values.model} is used at 2 places, and all of them would change" in said
    assert "Give it a value of its own in spec.values of environments/prod.yaml." in said


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("WebService/census-dev", "--from", "dv", "--to", "prod"), '--from "dv" is not an env'),
        (("WebService/census-dev", "--from", "dev", "--to", "pro"), 'Did you mean "prod"?'),
        (("WebService/census-dev", "--from", "dev", "--to", "dev"), "name the same environment"),
        (("WebService/census-dv", "--from", "dev", "--to", "prod"), "Did you mean WebService/"),
        (("census", "--from", "dev", "--to", "prod"), "is not an address"),
    ],
)
def test_wrong_names_are_explained(
    project: Project, arguments: tuple[str, ...], expected: str
) -> None:
    done = project.run("promote", *arguments)
    assert (done.code, expected in done.err) == (1, True), done.said

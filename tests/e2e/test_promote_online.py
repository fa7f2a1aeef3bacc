"""`promote` of an online endpoint: what a rollout left in service in dev goes to prod's free one."""

import secrets
from pathlib import Path

import pytest
import yaml

from tests.e2e.world import Emulator, Project

pytestmark = pytest.mark.e2e
ENVIRONMENT = """\
apiVersion: reconciler/v1
kind: Environment
metadata: {{name: {name}}}
spec:
  defaults: {{workspace: promote-{name}}}
  values:
    colour: {colour} # in service
    version: '{version}'
"""
MANIFEST = """\
apiVersion: reconciler/v1
kind: OnlineEndpoint
metadata: {{name: census}}
spec:
  resource: {{name: '{prefix}-${{env.name}}'}}
  auth_mode: key
  traffic:
    {colour}: 100
  deployments:
    {colour}:
      model: azureml:census:{version}
      environment: azureml:sklearn:3
      instance_type: Standard_DS3_v2
  rollout: {{steps: [100], keepOld: 0s}}
"""


@pytest.fixture
def prefix() -> str:
    """Names of endpoints are unique in the region, and other tests have the same emulator."""
    return f"p{secrets.token_hex(4)}"


@pytest.fixture
def project(own_group: Emulator, tmp_path: Path, prefix: str) -> Project:
    """Two environments that serve version 1 from blue; dev declares version 2 in green."""
    made = Project(tmp_path / "project", own_group)
    (made.folder / "environments").mkdir()
    write(made, "dev", "green", 2)
    write(made, "prod", "blue", 1)
    text = MANIFEST.format(prefix=prefix, colour="${values.colour}", version="${values.version}")
    (made.folder / "manifests" / "census.yaml").write_text(text)
    return made


def write(project: Project, name: str, colour: str, version: int) -> Path:
    file = project.folder / "environments" / f"{name}.yaml"
    file.write_text(ENVIRONMENT.format(name=name, colour=colour, version=version))
    return file


def apply(project: Project, name: str) -> None:
    done = project.run("apply", "--env", name, "--auto-approve")
    assert done.code == 0, done.said


def promote(project: Project) -> tuple[int, str]:
    done = project.run("promote", "OnlineEndpoint/census", "--from", "dev", "--to", "prod")
    return done.code, done.said


def test_only_the_values_of_the_other_environment_change(project: Project) -> None:
    code, said = promote(project)
    assert (code, "it was never applied in dev" in said) == (1, True), said
    apply(project, "dev")
    file = project.folder / "environments" / "prod.yaml"
    before = file.read_text()
    code, said = promote(project)
    assert code == 0, said
    wanted = before.replace("colour: blue", "colour: green").replace("'1'", "'2'")
    assert file.read_text() == wanted
    assert "  ~ environments/prod.yaml: version = 2\n" in said
    assert "  ~ environments/prod.yaml: colour = green\n" in said
    assert "The ledger of dev has no digest of azureml:census:2: only its id says" in said
    code, said = promote(project)
    assert (code, "declares the same model in prod already" in said) == (0, True)


def test_a_model_that_was_changed_since_is_refused(project: Project) -> None:
    apply(project, "dev")
    write(project, "dev", "green", 3)
    code, said = promote(project)
    refused = "no rollout of azureml:census:3 to all traffic was applied in dev"
    assert (code, refused in said) == (1, True), said


def test_a_manifest_of_its_own_changes_its_deployment(project: Project, prefix: str) -> None:
    folder = project.folder / "manifests"
    (folder / "census.yaml").unlink()
    for name, colour, version in (("dev", "green", 2), ("prod", "blue", 1)):
        (folder / name).mkdir()
        text = MANIFEST.format(prefix=prefix, colour=colour, version=version)
        (folder / name / "census.yaml").write_text(text)
        file = project.folder / "environments" / f"{name}.yaml"
        file.write_text(file.read_text() + f"  manifests: [manifests/{name}]\n")
    apply(project, "dev")
    code, said = promote(project)
    assert code == 0, said
    assert "  ~ manifests/prod/census.yaml: model = azureml:census:2\n" in said
    assert "  ~ manifests/prod/census.yaml: deployments blue -> green\n" in said
    spec = yaml.safe_load((folder / "prod" / "census.yaml").read_text())["spec"]
    assert (spec["traffic"], [*spec["deployments"]]) == ({"green": 100}, ["green"])

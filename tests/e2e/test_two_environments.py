"""The example with two environments: it is valid, it applies, and a model moves from dev to prod."""

import hashlib
import re
import shutil
from pathlib import Path

import pytest

from tests.e2e.world import ROOT, Done, Emulator, Project, run
from tests.storage import upload_model

EXAMPLE = ROOT / "manifests" / "two-environments"
STORAGE = "http://127.0.0.1:10000"
DAYS = ("2026-11-13", "2026-11-20")


@pytest.fixture
def example(own_group: Emulator, tmp_path: Path) -> Path:
    """The example on the emulator of the tests, with its models in storage."""
    folder = tmp_path / "two-environments"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns(".reconciler"))
    manifest = folder / "manifests" / "census.yaml"
    manifest.write_text(manifest.read_text().replace(STORAGE, own_group.blob))
    file = folder / "reconciler.yaml"
    cloud = f'{{resourceManager: "{own_group.url}", blob: "{own_group.blob}"}}'
    file.write_text(re.sub(r"cloud: emulator.*", f"cloud: {cloud}", file.read_text()))
    for name in ("dev", "prod"):
        file = folder / "environments" / f"{name}.yaml"
        group = f"resourceGroup: {own_group.group[:40]}-{name}"
        file.write_text(file.read_text().replace(f"resourceGroup: census-{name}", group))
    for day in DAYS:
        upload_model(own_group.model_uri(day), f"the census model of {day}\n".encode(), {})
    return folder


def apply(folder: Path, name: str) -> Done:
    done = run(folder, "apply", "--env", name, "--auto-approve")
    assert done.code == 0, done.said
    return done


def test_the_example_is_valid() -> None:
    done = run(EXAMPLE, "validate")
    assert (done.code, done.err) == (0, "")
    assert done.out == (
        "Success! dev: the configuration is valid: 1 resource and 1 policy in 5 files.\n"
        "Success! prod: the configuration is valid: 1 resource and 1 policy in 5 files.\n"
    )


def test_the_rules_of_prod_refuse_what_their_cases_show(example: Path) -> None:
    done = run(EXAMPLE, "policy", "test", "policies/tests.yaml")
    assert (done.code, done.out.splitlines()[-1]) == (0, "Success! 5 cases passed.")
    for name in ("dev", "prod"):
        apply(example, name)
    for name, code in (("dev", 2), ("prod", 3)):
        flags = ("--destroy", "--env", name, "--detailed-exitcode", "--allow", "deletes")
        destroyed = run(example, "plan", *(flags if name == "dev" else flags[:-2]))
        assert destroyed.code == code, destroyed.said
        assert ('policy "production", rule "keep"' in destroyed.out) == (name == "prod")


def test_the_digests_are_those_of_the_models() -> None:
    for name, day in (("dev", DAYS[1]), ("prod", DAYS[0])):
        text = (EXAMPLE / "environments" / f"{name}.yaml").read_text()
        assert f'model: "{day}"' in text
        assert hashlib.sha256(f"the census model of {day}\n".encode()).hexdigest() in text


def test_a_model_moves_from_dev_to_prod(example: Path) -> None:
    for name in ("dev", "prod"):
        assert "Apply complete! Resources: 1 added" in apply(example, name).out
    assert (example / ".reconciler" / "dev" / "ledger.jsonl").exists()
    assert (example / ".reconciler" / "production" / "ledger.jsonl").exists()
    done = run(example, "plan", "--env", "all", "--detailed-exitcode")
    assert done.code == 0, done.said
    before = (example / "environments" / "prod.yaml").read_text()
    done = run(example, "promote", "WebService/census", "--from", "dev", "--to", "prod")
    assert done.code == 0, done.said
    after = (example / "environments" / "prod.yaml").read_text()
    changed = [one for one in after.splitlines() if one not in before.splitlines()]
    assert len(changed) == 2
    assert f'    model: "{DAYS[1]}"' in changed[0]
    done = apply(example, "prod")
    assert "0 added, 1 changed, 0 destroyed" in done.out
    assert run(example, "history", "--env", "prod").code == 0


def test_prod_refuses_what_dev_allows(example: Path) -> None:
    """Their guards differ: dev may destroy, prod may not."""
    for name in ("dev", "prod"):
        apply(example, name)
    flags = ("--destroy", "--detailed-exitcode")
    assert run(example, "plan", "--env", "dev", *flags).code == 2
    assert run(example, "plan", "--env", "prod", *flags).code == 3
    assert run(example, "plan", "--env", "all", *flags).code == 3


def test_the_project_of_the_tests_stays_as_it_is(project: Project) -> None:
    """Without environments, no file or key of theirs appears."""
    project.emulator.deploy("census", project.emulator.model_uri("old"))
    project.manifest("census", project.emulator.model_uri("new"))
    plan = project.run("plan", "--json")
    assert '"environment"' not in plan.out
    assert "nvironment" not in project.run("plan").said
    assert project.run("apply", "--auto-approve").code == 0
    assert '"environment"' not in (project.folder / ".reconciler" / "ledger.jsonl").read_text()
    names = {one.name for one in (project.folder / ".reconciler").iterdir() if one.is_dir()}
    assert not names & {"dev", "prod"}

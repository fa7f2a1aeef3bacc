"""Environments of one project: what is planned, applied and recorded in each, and what is refused."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from reconciler.ledgers.file import FileLedger
from reconciler.ledgers.recovery import write_entries
from tests.e2e.world import MODEL, Project, definition, spawn
from tests.outputs import check_output

HEAD = "apiVersion: reconciler/v1\nkind: Environment\nmetadata: {name: %s}\nspec:\n"


@pytest.fixture
def environments(project: Project) -> Project:
    """A project with dev and prod, of the same resource group: their services have other names."""
    (project.folder / "environments").mkdir()
    for name, model in (("dev", "2026-11-20"), ("prod", "2026-11-13")):
        write(project, name, f"  values: {{model: '{model}'}}\n")
    project.emulator.deploy("census-dev", project.emulator.model_uri("old"))
    project.emulator.deploy("census-prod", project.emulator.model_uri("old"))
    uri = project.emulator.model_uri("${values.model}")
    (project.folder / "manifests" / "census.yaml").write_text(
        "apiVersion: reconciler/v1\nkind: WebService\nmetadata: {name: 'census-${env.name}'}\n"
        f"spec:\n  trainedModels:\n    {MODEL}: {{uri: '{uri}'}}\n"
    )
    return project


def write(project: Project, name: str, spec: str) -> Path:
    file = project.folder / "environments" / f"{name}.yaml"
    file.write_text(HEAD % name + spec)
    return file


def lines(project: Project, name: str) -> list[dict[str, object]]:
    file = project.folder / ".reconciler" / name / "ledger.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_each_environment_has_its_own_plan_and_ledger(environments: Project) -> None:
    assert environments.run("apply", "--env", "dev", "--auto-approve").code == 0
    assert environments.emulator.model("census-dev").endswith("2026-11-20.ilearner")
    assert environments.emulator.model("census-prod").endswith("old.ilearner")
    recorded = lines(environments, "dev")
    assert {line.get("environment") for line in recorded if "address" in line} == {"dev"}
    assert not (environments.folder / ".reconciler" / "prod").exists()
    assert not (environments.folder / ".reconciler" / "ledger.jsonl").exists()
    done = environments.run("plan", "--env", "prod", "--json", env={"RECONCILER_ENV": "dev"})
    assert json.loads(done.out)["inputs"]["environment"] == "prod"
    done = environments.run("plan", "--detailed-exitcode", env={"RECONCILER_ENV": "dev"})
    assert done.code == 0, done.said


def test_a_plan_of_one_environment_is_refused_in_another(environments: Project) -> None:
    plan = environments.folder / "release.plan"
    assert environments.run("plan", "--env", "dev", "--out", str(plan)).code == 0
    refused = environments.run("apply", str(plan), "--env", "prod")
    assert refused.code == 1
    assert 'was made for the environment "dev", and this is the environment "prod"' in refused.err
    assert "Apply it with --env dev, or plan again here." in refused.err
    assert environments.emulator.model("census-dev").endswith("old.ilearner")
    assert environments.run("apply", str(plan)).code == 0  # the plan itself names it
    assert environments.emulator.model("census-dev").endswith("2026-11-20.ilearner")


def test_a_plan_without_an_environment_is_refused_in_one(
    environments: Project, tmp_path: Path
) -> None:
    kept = environments.folder / "environments"
    kept.rename(tmp_path / "away")
    manifest = environments.folder / "manifests" / "census.yaml"
    text = manifest.read_text()
    manifest.write_text(text.replace("${env.name}", "dev").replace("${values.model}", "new"))
    plan = environments.folder / "release.plan"
    assert environments.run("plan", "--out", str(plan)).code == 0
    manifest.write_text(text)
    (tmp_path / "away").rename(kept)
    refused = environments.run("apply", str(plan), "--env", "dev")
    assert "was made for a project without environments, and this is the env" in refused.err


def test_the_digest_of_the_changes_holds_the_environment(environments: Project) -> None:
    """Two environments with equal changes are two reviews."""
    manifest = environments.folder / "manifests" / "census.yaml"
    manifest.write_text(manifest.read_text().replace("${env.name}", "dev"))
    write(environments, "prod", "  values: {model: '2026-11-20'}\n")
    digests = [
        json.loads(environments.run("plan", "--env", name, "--json").out)["changes_digest"]
        for name in ("dev", "prod", "dev")
    ]
    assert digests[0] == digests[2] != digests[1]


def test_lines_of_another_environment_are_refused(environments: Project) -> None:
    assert environments.run("apply", "--env", "dev", "--auto-approve").code == 0
    folder = environments.folder / ".reconciler"
    (folder / "dev").rename(folder / "prod")
    refused = environments.run("plan", "--env", "prod")
    assert refused.code == 1
    assert 'belongs to the environment "dev", and this is "prod"' in refused.err
    assert "give each environment a ledger of its own in spec.ledger" in refused.err
    verified = environments.run("ledger", "verify", "--env", "prod")
    assert verified.code == 1
    assert 'belongs to the environment "dev"' in verified.said


def test_a_ledger_from_before_the_environments_is_taken_over(environments: Project) -> None:
    (environments.folder / "environments").rename(environments.folder / "away")
    manifest = environments.folder / "manifests" / "census.yaml"
    text = manifest.read_text()
    manifest.write_text(
        text.replace("${env.name}", "prod").replace("${values.model}", "2026-11-13")
    )
    assert environments.run("apply", "--auto-approve").code == 0
    (environments.folder / "away").rename(environments.folder / "environments")
    manifest.write_text(text)
    write(environments, "prod", "  ledger: {path: .reconciler}\n  values: {model: '2026-11-13'}\n")
    done = environments.run("plan", "--env", "prod", "--detailed-exitcode")
    assert done.code == 0, done.said
    assert environments.run("ledger", "compact", "--env", "prod").code == 0
    assert environments.run("ledger", "verify", "--env", "prod").code == 0


def test_commands_without_an_environment_name_them(environments: Project) -> None:
    for command in (
        ("plan",),
        ("apply", "--auto-approve"),
        ("drift",),
        ("list",),
        ("history",),
        ("verify", "--all"),
        ("export", "WebService/census-dev"),
        ("rollback", "WebService/census-dev"),
        ("retrain", "x"),
        ("forget", "WebService/census-dev"),
        ("force-unlock", "x"),
        ("ledger", "verify"),
        ("ledger", "compact"),
        ("ledger", "rebuild", "--auto-approve"),
    ):
        done = environments.run(*command)
        assert done.code == 1, command
        assert "the project has environments, and none is named" in done.err, command
        assert "--env, or in RECONCILER_ENV: dev, prod." in done.err, command


def test_validate_checks_every_environment(environments: Project) -> None:
    done = environments.run("validate")
    assert done.out == (
        "Success! dev: the configuration is valid: 1 resource in 3 files.\n"
        "Success! prod: the configuration is valid: 1 resource in 3 files.\n"
    )
    write(environments, "prod", "  valeus: {}\n")
    done = environments.run("validate", "--json")
    assert done.code == 1
    assert [one["summary"] for one in json.loads(done.out)["diagnostics"]] == [
        'unknown field "valeus"',
        'environments/prod.yaml has no "values.model"',
    ]
    assert environments.run("validate", "--env", "dev").code == 0


def test_validate_names_the_environments_that_have_an_error(environments: Project) -> None:
    manifest = environments.folder / "manifests" / "census.yaml"
    manifest.write_text(manifest.read_text() + "  wave: ${values.wave}\n")
    for name, wave in (("dev", "1"), ("prod", "-1"), ("test", "x")):
        write(environments, name, f"  values: {{model: m, wave: {wave}}}\n")
    done = environments.run("validate", "--json")
    found = {one["summary"]: one["detail"] for one in json.loads(done.out)["diagnostics"]}
    assert found["wave must be at least 0"].startswith("In the environment prod.")
    assert found["wave must be a whole number"].startswith("In the environment test.")
    text = manifest.read_text().replace("${env.name}", "x")
    manifest.write_text(text + "  wrong: 1\n")
    done = environments.run("validate", "--json")
    found = {one["summary"]: one["detail"] for one in json.loads(done.out)["diagnostics"]}
    assert "In the environment" not in found['unknown field "wrong"']


def test_an_unknown_guard_in_an_environment_is_refused_with_its_place(
    environments: Project,
) -> None:
    file = environments.folder / "environments" / "prod.yaml"
    file.write_text(file.read_text() + "  guards: {allow: [replce]}\n")
    done = environments.run("validate")
    assert done.code == 1, done.said
    assert "environments/prod.yaml line" in done.said
    assert 'unknown guard "replce"' in done.said
    assert 'Did you mean "replace"?' in done.said
    assert environments.run("plan", "--env", "dev").code == 0


def test_all_environments_have_a_section_each(environments: Project) -> None:
    done = environments.run("plan", "--env", "all", "--detailed-exitcode")
    assert done.code == 2
    dev, prod, summary = done.out.split("─" * 72)
    assert dev.startswith("Environment: dev\n")
    assert "2026-11-20.ilearner" in dev
    assert prod.strip().startswith("Environment: prod\n")
    assert summary.split("\n")[2:] == [
        "dev    Plan: 0 to add, 1 to change, 0 to destroy.",
        "prod   Plan: 0 to add, 1 to change, 0 to destroy.",
        "",
    ]


@pytest.mark.parametrize("form", ["text", "json", "markdown", "html"])
def test_an_environment_that_cannot_be_planned_hides_no_other(
    environments: Project, form: str
) -> None:
    write(environments, "broken", "  valeus: {'<b>@team`|': 1}\n")
    write(environments, "refused", "  guards: {maxUpdates: 0}\n  values: {model: '2026-11-20'}\n")
    environments.emulator.deploy("census-refused", environments.emulator.model_uri("old"))
    arguments = ("plan", "--env", "all", "--format", form, "--detailed-exitcode")
    done = environments.run(*arguments)
    assert done.code == 1
    assert "valeus" in done.out
    assert "<b>@team" not in done.out
    for name in ("dev", "prod", "refused"):
        assert f"census-{name}" in done.out
    (environments.folder / "environments" / "broken.yaml").unlink()
    assert environments.run(*arguments).code == 3
    (environments.folder / "environments" / "refused.yaml").unlink()
    assert environments.run(*arguments).code == 2


def test_the_json_of_all_environments_fits_its_schema(environments: Project) -> None:
    write(environments, "broken", "  valeus: {}\n")
    done = environments.run("plan", "--env", "all", "--json")
    document = json.loads(done.out)
    check_output(document, "environments")
    found = {one["environment"]: one for one in document["environments"]}
    assert document["outcome"] == "error"
    assert {name: one["outcome"] for name, one in found.items()} == {
        "broken": "error",
        "dev": "changes",
        "prod": "changes",
    }
    for name in ("dev", "prod"):
        check_output(found[name]["plan"], "plan")
        assert found[name]["plan"]["inputs"]["environment"] == name


def test_the_comment_of_all_environments_is_short_enough(environments: Project) -> None:
    for number in range(10):
        write(
            environments, f"broken-{number}", "".join(f"  x{n}{'y' * 600}: 1\n" for n in range(20))
        )
    done = environments.run("plan", "--env", "all", "--format", "markdown")
    assert len(done.out) < 65_536
    assert done.out.startswith("<!-- reconciler plan census all -->\n")
    assert done.out.count("<!--") == 1
    assert "| `prod` | Plan: 0 to add, 1 to change, 0 to destroy. |" in done.out


def test_all_environments_are_not_saved_or_applied(environments: Project) -> None:
    done = environments.run("plan", "--env", "all", "--out", "x.plan")
    assert (done.code, "--out saves one plan: name one environment" in done.err) == (1, True)
    done = environments.run("apply", "--env", "all", "--auto-approve")
    assert (done.code, '--env "all" is not an environment' in done.err) == (1, True)


def test_every_output_names_the_environment(environments: Project) -> None:
    applied = environments.run("apply", "--env", "dev", "--auto-approve", "--json")
    lines = [json.loads(line) for line in applied.out.splitlines()]
    assert lines[0]["environment"] == "dev"
    assert "dev" in {one.get("environment") for one in lines if one["type"] == "change_summary"}
    listed = json.loads(environments.run("list", "--env", "dev", "--json").out)
    assert listed["environment"] == "dev"
    history = json.loads(environments.run("history", "--env", "dev", "--json").out)
    assert [one["environment"] for one in history["entries"]] == ["dev"]
    drift = json.loads(environments.run("drift", "--env", "dev", "--json").out)
    assert drift["inputs"]["environment"] == "dev"
    assert environments.run("drift", "--env", "dev").out.startswith("Environment: dev\n")
    comment = environments.run("drift", "--env", "dev", "--format", "markdown").out
    assert comment.startswith("<!-- reconciler drift census dev -->\n### `dev`: ")
    comment = environments.run("plan", "--env", "prod", "--format", "markdown").out
    assert comment.startswith("<!-- reconciler plan census prod -->\n### `prod`: ")
    page = environments.run("plan", "--env", "prod", "--format", "html").out
    assert '<p class="where"><b>census</b> <span>environment prod</span>' in page


def test_an_accepted_value_goes_into_the_file_of_the_environment(environments: Project) -> None:
    assert environments.run("apply", "--env", "dev", "--auto-approve").code == 0
    environments.emulator.deploy("census-dev", environments.emulator.model_uri("live"))
    manifest = environments.folder / "manifests" / "census.yaml"
    prod = environments.folder / "environments" / "prod.yaml"
    before = manifest.read_text(), prod.read_text()
    done = environments.run("drift", "--env", "dev", "--accept", "WebService/census-dev")
    assert done.code == 0, done.said
    assert done.out.startswith("  environments/dev.yaml\n")
    assert (manifest.read_text(), prod.read_text()) == before
    dev = environments.folder / "environments" / "dev.yaml"
    assert "  values: {model: 'live'}\n" in dev.read_text()
    done = environments.run("plan", "--env", "dev", "--detailed-exitcode")
    assert done.code == 0, done.said


def test_an_accepted_value_must_not_change_another_environment(environments: Project) -> None:
    manifest = environments.folder / "manifests" / "census.yaml"
    manifest.write_text(manifest.read_text() + "  definition: {tags: {team: growth}}\n")
    assert environments.run("apply", "--env", "dev", "--auto-approve").code == 0
    body = definition(environments.emulator.model_uri("2026-11-20"))
    environments.emulator.write("PUT", "census-dev", {**body, "tags": {"team": "risk"}})
    before = manifest.read_text()
    done = environments.run("drift", "--env", "dev", "--accept", "WebService/census-dev")
    assert done.code == 1, done.said
    assert "manifests/census.yaml is also read by prod, so the edit would change prod" in done.err
    assert manifest.read_text() == before


@pytest.mark.parametrize("command", ["import", "export"])
def test_a_manifest_is_written_where_only_its_environment_reads(
    environments: Project, command: str
) -> None:
    (environments.folder / "prod-only").mkdir()
    write(
        environments,
        "prod",
        "  manifests: [prod-only, manifests]\n  values: {model: '2026-11-13'}\n",
    )
    environments.emulator.deploy("more", environments.emulator.model_uri("old"))
    more = ("more",) if command == "import" else ()
    done = environments.run(command, "WebService/more", *more, "--env", "prod")
    assert done.code == 0, done.said
    assert (environments.folder / "prod-only" / "more.yaml").exists()
    assert "this folder" not in done.said
    (environments.folder / "prod-only" / "more.yaml").unlink()
    done = environments.run(command, "WebService/more", *more, "--env", "dev")
    assert done.code == 0, done.said
    assert (environments.folder / "manifests" / "more.yaml").exists()
    assert "prod also reads this folder, and now declares the same" in done.said


def test_rollback_undoes_in_its_environment_alone(environments: Project) -> None:
    assert environments.run("apply", "--env", "dev", "--auto-approve").code == 0
    assert environments.run("apply", "--env", "prod", "--auto-approve").code == 0
    done = environments.run("rollback", "WebService/census-dev", "--env", "dev", "--auto-approve")
    assert done.code == 0, done.said
    assert environments.emulator.model("census-dev").endswith("old.ilearner")
    assert environments.emulator.model("census-prod").endswith("2026-11-13.ilearner")
    done = environments.run("rollback", "WebService/census-dev", "--env", "prod", "--auto-approve")
    assert done.code == 1


def test_the_names_of_environments_complete(environments: Project) -> None:
    def complete(words: str) -> list[str]:
        env = {
            "_RECONCILER_COMPLETE": "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split(" ")) - 1),
        }
        done = environments.run(env=env)
        return [line.partition(",")[2] for line in done.out.splitlines()]

    assert complete("reconciler plan --env ") == ["all", "dev", "prod"]
    assert complete("reconciler apply --env p") == ["prod"]
    assert complete("reconciler plan --env dev --target Web") == ["WebService/census-dev"]
    assert complete("reconciler promote --from dev --to prod Web") == ["WebService/census-dev"]


def test_entries_are_recovered_in_their_own_environment_alone(environments: Project) -> None:
    assert environments.run("apply", "--env", "dev", "--auto-approve").code == 0
    kept = FileLedger(environments.folder / ".reconciler" / "dev", environment="dev")
    file = environments.folder / "errored.ledger.json"
    file.write_text(write_entries(kept.entries()))
    arguments = ("ledger", "verify", "--recover", "errored.ledger.json")
    refused = environments.run(*arguments, "--env", "prod")
    assert refused.code == 1
    assert 'holds entries of the environment "dev"' in refused.err
    assert "ledger verify --env dev --recover errored.ledger.json" in refused.err
    assert file.exists()
    done = environments.run(*arguments, "--env", "dev")
    assert done.code == 0, done.said
    assert "Recovered: 0 of 1 entry recorded" in done.said


def test_two_environments_are_applied_at_the_same_time(environments: Project) -> None:
    """Each has a lock of its own."""
    with ThreadPoolExecutor(2) as pool:
        names = ("dev", "prod")
        done = pool.map(
            lambda name: spawn(environments.folder, "apply", "--env", name, "--auto-approve"), names
        )
        assert [one.code for one in done] == [0, 0]
    for name in names:
        assert {line.get("environment") for line in lines(environments, name) if "id" in line} == {
            name
        }


def test_an_apply_that_is_killed_goes_on_in_its_environment(environments: Project) -> None:
    """What is open in dev is of no concern in prod."""
    assert environments.run("apply", "--env", "dev", "--auto-approve").code == 0
    ledger = environments.folder / ".reconciler" / "dev" / "ledger.jsonl"
    whole = ledger.read_bytes().splitlines(keepends=True)
    intents = [n for n, line in enumerate(whole) if json.loads(line).get("kind") == "intent"]
    ledger.write_bytes(b"".join(whole[: intents[-1] + 1]))
    (ledger.parent / "lock.json").unlink(missing_ok=True)
    code, said = promote_census(environments)
    assert (code, "an apply of it in dev has no known result" in said) == (1, True), said
    assert environments.run("apply", "--env", "prod", "--auto-approve").code == 0
    done = environments.run("apply", "--env", "dev", "--auto-approve")
    assert (done.code, "done" in done.said) == (0, True), done.said
    assert "was never applied" not in promote_census(environments)[1]


def promote_census(project: Project) -> tuple[int, str]:
    done = project.run("promote", "WebService/census-dev", "--from", "dev", "--to", "prod")
    return done.code, done.said

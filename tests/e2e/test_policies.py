"""The rules of a team: read from a folder, judged in a plan and again in each apply."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.plans.plan_file import digest_of
from tests.e2e.world import Project
from tests.outputs import check_output
from tests.ssh import write_key

pytestmark = pytest.mark.e2e

HEAD = "apiVersion: reconciler/v1\nkind: Policy\nmetadata: {name: production}\n"
NO_DELETES = f"{HEAD}spec:\n  lift: LIFT\n  rules:\n  - {{name: keep, denyDeletes: true}}\n"
STORAGE = f"{HEAD}spec:\n  rules:\n  - {{name: storage, modelsFrom: [census]}}\n"


def write_policy(project: Project, text: str, name: str = "production") -> Path:
    folder = project.folder / "policies"
    folder.mkdir(exist_ok=True)
    file = folder / f"{name}.yaml"
    file.write_text(text)
    return file


def change_model(project: Project) -> None:
    world = project.emulator
    world.deploy("census", world.model_uri("old"))
    project.manifest("census", world.model_uri("new"))


def test_a_rule_refuses_a_plan_and_its_apply(project: Project) -> None:
    change_model(project)
    write_policy(project, STORAGE)
    planned = project.run("plan", "--detailed-exitcode")
    assert planned.code == 3
    assert (
        'WebService/census: policy "production", rule "storage": a model comes from other storage'
        " than census" in planned.out
    )
    assert "on policies/production.yaml line 6, column 6" in planned.out
    assert "An approval of a principal of the keyring lifts it" in planned.out
    applied = project.run("apply", "--auto-approve", "--detailed-exitcode")
    assert applied.code == 3
    assert 'policy "production"' in applied.err
    assert project.emulator.model("census") == project.emulator.model_uri("old")


def test_every_format_shows_the_refusal(project: Project) -> None:
    change_model(project)
    write_policy(project, STORAGE)
    said = json.loads(project.run("plan", "--format", "json").out)
    assert said["outcome"] == "refused"
    (found,) = (one for one in said["findings"] if one["guard"] == "policy")
    assert found["subject"] == "WebService/census"
    assert found["place"] == {"file": "policies/production.yaml", "line": 6, "column": 6}
    for form in ("markdown", "html"):
        shown = project.run("plan", "--format", form).out
        assert "policies/production.yaml" in shown, shown


def test_a_saved_plan_is_judged_by_the_policies_of_now(project: Project) -> None:
    change_model(project)
    file = write_policy(project, STORAGE)
    assert project.run("plan", "--out", "release.plan").code == 1
    refused = project.run("apply", "release.plan", "--detailed-exitcode")
    assert refused.code == 3
    file.unlink()
    project.run("plan", "--out", "free.plan")
    write_policy(project, STORAGE)
    assert project.run("apply", "free.plan", "--detailed-exitcode").code == 3
    write_policy(project, STORAGE.replace("[census]", "[127.0.0.1]"))
    assert project.run("apply", "release.plan").code == 0
    assert project.emulator.model("census") == project.emulator.model_uri("new")


def test_a_flag_lifts_a_rule_only_where_its_policy_says_so(project: Project) -> None:
    change_model(project)
    write_policy(project, STORAGE)
    lifting = ("apply", "--auto-approve", "--detailed-exitcode", "--allow", "policy")
    assert project.run(*lifting).code == 3
    write_policy(project, STORAGE.replace("  rules:", "  lift: allow\n  rules:"))
    assert "--allow policy=WebService/census" in project.run("plan").out
    other = project.run(*lifting[:-1], "gate", "--reason", "x")
    assert other.code == 3
    done = project.run(*lifting[:-1], "policy=WebService/census")
    assert done.code == 0, done.said
    assert "Allowed by --allow policy" in done.said


def test_the_policies_of_another_folder_replace_those_of_the_project(
    project: Project, tmp_path: Path
) -> None:
    change_model(project)
    file = write_policy(project, STORAGE)
    central = tmp_path / "central"
    central.mkdir()
    named = ("plan", "--detailed-exitcode", "--policies", str(central))
    empty = project.run(*named)
    assert empty.code == 1
    assert "holds no policy" in empty.err
    missing = project.run("plan", "--policies", str(tmp_path / "nowhere"))
    assert "the folder of policies does not exist" in missing.err
    free = STORAGE.replace("[census]", "[127.0.0.1]")
    (central / "a.yaml").write_text(free)
    assert project.run(*named).code == 2
    file.write_text(free)
    (central / "a.yaml").write_text(STORAGE)
    refused = project.run(*named)
    assert refused.code == 3
    assert f"on {central}/a.yaml line 6" in refused.out


def test_a_policy_that_cannot_be_read_refuses_everything(project: Project) -> None:
    change_model(project)
    project.run("plan", "--out", "release.plan")
    write_policy(project, STORAGE.replace("modelsFrom", "modelFrom"))
    for command in (["plan"], ["apply", "--auto-approve"], ["apply", "release.plan"], ["validate"]):
        found = project.run(*command)
        assert found.code == 1
        assert 'unknown field "modelFrom"' in found.said
        assert 'Did you mean "modelsFrom"?' in found.said
        assert "on policies/production.yaml line 6, column 21" in found.said
    assert project.run("drift").code == 0
    assert project.emulator.model("census") == project.emulator.model_uri("old")


def test_a_destroyed_resource_is_judged_without_its_manifest(project: Project) -> None:
    world = project.emulator
    change_model(project)
    assert project.run("apply", "--auto-approve").code == 0
    (project.folder / "manifests" / "census.yaml").unlink()
    world.deploy("other", world.model_uri("old"))
    project.manifest("other", world.model_uri("old"))
    labelled = NO_DELETES.replace("denyDeletes", "match: {labels: {tier: gold}}, denyDeletes")
    write_policy(project, labelled.replace("LIFT", "never"))
    refused = project.run("plan", "--prune", "--allow", "deletes", "--detailed-exitcode")
    assert refused.code == 3, refused.said
    assert 'WebService/census: policy "production", rule "keep"' in refused.out
    assert "Nothing lifts this rule" in refused.out


def test_a_policy_among_the_manifests_is_refused(project: Project) -> None:
    change_model(project)
    (project.folder / "manifests" / "production.yaml").write_text(STORAGE)
    found = project.run("validate")
    assert found.code == 1
    assert "a policy is read only from policies/" in found.out


def sign(project: Project, *names: str) -> tuple[str, ...]:
    """The flags of an apply of the saved plan that these people have approved."""
    outside = project.folder.parent / "outside"
    outside.mkdir()
    people = ("alice", "bob")
    lines = [f"{name}@example.com {write_key(outside / name).line}\n" for name in people]
    (outside / "signers").write_text("".join(lines))
    for name in names:
        signed = project.run("approve", "p.plan", "--key", str(outside / name), "--out", "ok/")
        assert signed.code == 0, signed.said
    return "--approvals", "ok", "--keyring", str(outside / "signers"), "--detailed-exitcode"


@pytest.mark.parametrize("saved", [True, False])
def test_an_approval_lifts_the_refusal(project: Project, saved: bool) -> None:
    change_model(project)
    write_policy(project, STORAGE)
    assert project.run("plan", "--out", "p.plan", "--detailed-exitcode").code == 3
    flags = sign(project, "alice")
    applied = project.run("apply", *(["p.plan"] if saved else ["--auto-approve"]), *flags)
    assert applied.code == 0, applied.said
    if not saved:
        assert "Lifted by the approval of alice@example.com." in applied.out
    assert project.emulator.model("census") == project.emulator.model_uri("new")


def test_the_approval_of_another_person_than_the_approvers_lifts_nothing(project: Project) -> None:
    change_model(project)
    write_policy(project, STORAGE.replace("  rules:", "  approvers: [bob@example.com]\n  rules:"))
    project.run("plan", "--out", "p.plan")
    flags = sign(project, "alice")
    refused = project.run("apply", "p.plan", *flags)
    assert refused.code == 3
    assert "An approval of bob@example.com lifts it" in refused.err


def test_owners_must_approve_and_the_author_does_not_count(project: Project) -> None:
    change_model(project)
    owners = STORAGE.replace("modelsFrom: [census]", "requireOwners: [bob@example.com]")
    write_policy(project, owners)
    commit(project, "bob@example.com")
    project.run("plan", "--out", "p.plan")
    flags = sign(project, "alice", "bob")
    refused = project.run("apply", "p.plan", *flags)
    assert refused.code == 3
    assert "it needs the approval of bob@example.com" in refused.err
    assert "bob@example.com is an author of the commit" in refused.err
    commit(project, "carol@example.com")
    assert project.run("apply", "p.plan", *flags).code == 0


def commit(project: Project, author: str) -> None:
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@example.com"]
    for command in (
        ["init", "-q"],
        ["add", "manifests", "policies", "reconciler.yaml"],
        ["commit", "-q", "--allow-empty", "--author", f"x <{author}>", "-m", "m"],
    ):
        subprocess.run([*git, *command], cwd=project.folder, check=True)


def write_command(project: Project, body: str) -> str:
    """A program in Python that gets the plan as `plan`."""
    file = project.folder.parent / "judge it.py"
    file.write_text(f"import json, os, sys, time\nplan = json.load(sys.stdin)\n{body}\n")
    return f"{sys.executable} '{file}'"


def test_a_command_judges_the_plan_too(project: Project) -> None:
    change_model(project)
    command = write_command(
        project,
        "print(json.dumps([{'msg': 'no ' + one['name'], 'resource': one['address']}"
        " for one in plan['resource_changes']])); sys.exit(1)",
    )
    flags = ("--policy-command", command, "--detailed-exitcode")
    planned = project.run("plan", *flags, "--out", "p.plan")
    assert planned.code == 3, planned.said
    assert "WebService/census: python" in planned.out
    assert "no census" in planned.out
    for form in ("markdown", "html", "json"):
        assert "no census" in project.run("plan", *flags, "--format", form).out
    assert project.run("apply", "--auto-approve", *flags).code == 3
    # Without the command nothing can lift what it refused.
    assert project.run("apply", "p.plan", "--detailed-exitcode").code == 3
    accepting = ("--policy-command", write_command(project, "print('[]')"), "--detailed-exitcode")
    assert project.run("plan", *accepting, "--out", "q.plan").code == 2
    refusing = write_command(project, 'print(\'[{"msg": "x"}]\')')
    assert project.run("apply", "q.plan", *flags[:1], refusing, "--detailed-exitcode").code == 3
    assert project.emulator.model("census") == project.emulator.model_uri("old")
    accepting = ("--policy-command", write_command(project, "print('[]')"), "--detailed-exitcode")
    assert project.run("apply", "q.plan", *accepting).code == 0
    assert project.emulator.model("census") == project.emulator.model_uri("new")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("sys.exit(0)", "it prints nothing"),
        ("print('fine')", "it does not print JSON"),
        ("sys.exit('no such rule')", "its exit code is 1, and it prints nothing"),
        ("os.kill(os.getpid(), 9)", "signal 9 ended it, and it prints nothing"),
        ("print('x' * 9_000_000)", "it prints more than 8 MB"),
        ("print('[]'); sys.stdout.flush(); os.close(1); os.close(2); sys.exit(3)", "its exit code is 3, and it names no reason"),
    ],
)  # fmt: skip
def test_a_command_without_an_answer_is_an_error(project: Project, body: str, said: str) -> None:
    change_model(project)
    failed = project.run(
        "apply", "--auto-approve", "--policy-command", write_command(project, body)
    )
    assert failed.code == 1
    assert f"has not judged the plan: {said}" in failed.err
    if "no such rule" in body:
        assert "says: no such rule" in failed.err
    assert project.emulator.model("census") == project.emulator.model_uri("old")


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("no-such-program-here test", "it cannot be started: No such file or directory"),
        ("'unclosed", "a quotation mark has no second one"),
        ("", "name a program, such as 'conftest test -o json -'"),
        ("''", "name a program"),
    ],
)
def test_a_command_that_cannot_be_started_is_an_error(
    project: Project, command: str, said: str
) -> None:
    change_model(project)
    failed = project.run("plan", "--policy-command", command)
    assert failed.code == 1
    assert said in failed.err


def test_no_shell_reads_the_command(project: Project) -> None:
    change_model(project)
    command = write_command(project, "print(json.dumps([{'msg': ' '.join(sys.argv[1:])}]))")
    said = project.run("plan", "--policy-command", f"{command} '$(touch x)' ; touch y").out
    assert "$(touch x) ; touch y" in said
    assert not (project.folder / "x").exists()
    assert not (project.folder / "y").exists()


def test_a_secret_in_the_answer_is_not_shown(project: Project) -> None:
    change_model(project)
    secret = "sv=2020&sig=abcdefghijklmnopqrstuvwxyz0123456789%3D"
    command = write_command(project, "print(json.dumps([{'msg': os.environ['AZURE_STORAGE_SAS_TOKEN']}]))")  # fmt: skip
    said = project.run("plan", "--policy-command", command, env={"AZURE_STORAGE_SAS_TOKEN": secret})
    assert "abcdefghijklmnop" not in said.said
    assert said.code == 1


def test_an_empty_name_of_a_folder_does_not_mean_the_own_policies(project: Project) -> None:
    change_model(project)
    failed = project.run("plan", "--policies", "")
    assert (failed.code, "name a folder" in failed.err) == (1, True)


CASES = """apiVersion: reconciler/v1
kind: PolicyTest
metadata: {name: production}
spec:
  cases:
  - name: a model of other storage is refused
    plan: ../p.plan
    expect: [{rule: storage, resource: WebService/census}]
  - name: a model of our storage is accepted
    changes:
    - address: WebService/census
      model: [{name: m, after: "https://census.blob.core.windows.net/models/m.ilearner"}]
    expect: []
"""


def test_cases_run_with_the_policies_of_the_project(project: Project) -> None:
    change_model(project)
    file = write_policy(project, STORAGE)
    project.run("plan", "--out", "p.plan")
    write_policy(project, CASES, "tests")
    done = project.run("policy", "test", "policies/tests.yaml")
    assert (done.code, "Success! 2 cases passed." in done.out) == (0, True)
    said = json.loads(project.run("policy", "test", "policies/tests.yaml", "--json").out)
    check_output(said, "policy-test")
    assert (said["outcome"], said["not_judged"]) == ("passed", [])
    # The cases are not a part of the policies, and no plan reads them.
    assert project.run("validate").code == 0
    file.write_text(STORAGE.replace("[census]", "[127.0.0.1]"))
    failed = project.run("policy", "test", "policies/tests.yaml")
    assert failed.code == 1
    assert 'expected, and not found: rule "storage"' in failed.out
    file.unlink()
    (project.folder / "other").mkdir()
    (project.folder / "other" / "p.yaml").write_text(STORAGE)
    none = project.run("policy", "test", "policies/tests.yaml")
    assert (none.code, "the project has no policies" in none.err) == (1, True)
    assert project.run("policy", "test", "policies/tests.yaml", "--policies", "other").code == 0
    named = CASES.replace("  cases:", "  policies: ../other\n  cases:")
    write_policy(project, named, "tests")
    assert project.run("policy", "test", "policies/tests.yaml").code == 0
    (project.folder / "p.plan").unlink()
    gone = project.run("policy", "test", "policies/tests.yaml", "--json")
    assert gone.code == 1
    (problem,) = json.loads(gone.out)["diagnostics"]
    assert problem["summary"] == "the plan file does not exist"


def test_a_rule_of_one_environment_judges_only_that_one(project: Project) -> None:
    change_model(project)
    folder = project.folder / "environments"
    folder.mkdir()
    for name in ("dev", "prod"):
        head = f"apiVersion: reconciler/v1\nkind: Environment\nmetadata: {{name: {name}}}\n"
        (folder / f"{name}.yaml").write_text(f"{head}spec: {{}}\n")
    write_policy(project, STORAGE.replace("  rules:", "  match: {environment: prod}\n  rules:"))
    assert project.run("validate").out.count("1 policy") == 2
    assert project.run("plan", "--env", "dev", "--detailed-exitcode").code == 2
    assert project.run("plan", "--env", "prod", "--detailed-exitcode").code == 3
    every = project.run("plan", "--env", "all", "--detailed-exitcode")
    assert (every.code, every.out.count('policy "production"')) == (3, 1)
    write_policy(project, STORAGE.replace("  rules:", "  match: {environment: prdo}\n  rules:"))
    never = project.run("plan", "--env", "prod", "--detailed-exitcode")
    assert never.code == 2
    assert 'a rule never matches: the project has no environment "prdo"' in never.out
    assert 'Did you mean "prod"?' in never.out


def test_a_project_without_the_folder_manifests_has_policies_too(project: Project) -> None:
    change_model(project)
    file = project.folder / "manifests" / "census.yaml"
    file.rename(project.folder / "census.yaml")
    file.parent.rmdir()
    write_policy(project, STORAGE)
    write_policy(project, CASES, "tests")
    assert project.run("validate").code == 0
    assert project.run("drift").code == 0
    assert project.run("plan", "--detailed-exitcode").code == 3


def test_a_saved_plan_is_judged_by_the_folder_that_apply_names(
    project: Project, tmp_path: Path
) -> None:
    change_model(project)
    project.run("plan", "--out", "release.plan")
    central = tmp_path / "central"
    central.mkdir()
    (central / "p.yaml").write_text(STORAGE)
    (tmp_path / "link").symlink_to(central)
    for folder in (central, tmp_path / "link"):
        refused = project.run(
            "apply", "release.plan", "--policies", str(folder), "--detailed-exitcode"
        )
        assert refused.code == 3
        assert f"on {folder}/p.yaml line 6" in refused.err
    assert project.emulator.model("census") == project.emulator.model_uri("old")


def test_a_policy_folder_that_leads_out_of_the_project_is_refused(
    project: Project, tmp_path: Path
) -> None:
    change_model(project)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "p.yaml").write_text(STORAGE)
    for target in ("elsewhere", "nowhere"):
        (project.folder / "policies").symlink_to(tmp_path / target)
        refused = project.run("plan")
        assert refused.code == 1
        assert "policies: is outside the project's folder" in refused.err
        (project.folder / "policies").unlink()


def test_text_of_a_policy_stays_text(project: Project) -> None:
    change_model(project)
    hostile = "@team <img onerror=x> `a` | [b](http://c) \\e[31m"
    rule = f'  rules:\n  - {{name: a, require: {{maxProperties: 0}}, message: "{hostile}"}}\n'
    write_policy(project, f"{HEAD}spec:\n{rule}")
    assert "\x1b" not in project.run("plan", "--no-color").out
    markdown = project.run("plan", "--format", "markdown").out
    (line,) = (one for one in markdown.splitlines() if "@team" in one)
    assert '``policy "production", rule "a": @team <img onerror=x> `a` \\| ' in line
    page = project.run("plan", "--format", "html").out
    assert "&lt;img onerror=x&gt;" in page
    assert "<img onerror" not in page


def test_a_saved_plan_cannot_hide_a_model_from_the_rules(project: Project) -> None:
    change_model(project)
    project.run("plan", "--out", "p.plan")
    write_policy(project, STORAGE)
    file = project.folder / "p.plan"
    body = json.loads(file.read_text())
    body["resource_changes"][0]["model"] = []
    del body["changes_digest"]
    file.write_text(json.dumps({**body, "plan_digest": digest_of(body)}))
    refused = project.run("apply", "p.plan", "--detailed-exitcode")
    assert refused.code == 4
    assert 'it changes the model "Census Model [trained model]" and does not name it' in refused.err
    assert project.emulator.model("census") == project.emulator.model_uri("old")


def test_a_model_that_is_restored_after_drift_needs_no_gate(project: Project) -> None:
    change_model(project)
    assert project.run("apply", "--auto-approve").code == 0
    write_policy(project, STORAGE.replace("modelsFrom: [census]", "requireGate: true"))
    world = project.emulator
    world.deploy("census", world.model_uri("old"))
    assert project.run("plan", "--out", "p.plan", "--detailed-exitcode").code == 2
    assert project.run("apply", "p.plan").code == 0
    project.manifest("census", world.model_uri("newer"))
    assert project.run("plan", "--detailed-exitcode").code == 3

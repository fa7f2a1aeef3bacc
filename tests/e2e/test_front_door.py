"""What a newcomer types first: bare commands, help, other tools' verbs and flags, list, JSON."""

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from reconciler.cli import main, reconciler
from reconciler.cli.command import Command
from reconciler.cli.errors import _GLOBAL
from reconciler.cli.hints import _DRY_RUNS, _FLAGS, _VERBS, answer_verb
from reconciler.kinds import find_kinds
from reconciler.model import LastApplied
from reconciler.render.resources import find_applied_models
from tests.e2e.world import EXAMPLE, ROOT, Emulator, Project, run
from tests.ledgers import make_entry
from tests.outputs import check_output

pytestmark = pytest.mark.e2e
DESTROYS = ("--destroy", "--prune", "--force", "--allow", "--auto-approve")


def walk(
    group: click.Group, above: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    ctx = click.Context(group)
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        assert command is not None, name
        yield (*above, name), command
        if isinstance(command, click.Group):
            yield from walk(command, (*above, name))


COMMANDS = dict(walk(reconciler))
RUNNABLE = {words: one for words, one in COMMANDS.items() if not isinstance(one, click.Group)}


def say(*arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = main(arguments)
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.parametrize("words", [(), ("ledger",)], ids=" ".join)
def test_a_group_alone_prints_its_help(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = say(*words, capsys=capsys)
    assert (code, err) == (0, "")
    assert out == say(*words, "--help", capsys=capsys)[1]
    assert out.startswith("Usage: ")
    assert "\\n" not in out


def test_completion_without_a_shell_names_the_shells(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = say("completion", capsys=capsys)
    assert (code, out) == (1, "")
    assert "bash, zsh, fish" in err
    assert "\\" not in err


@pytest.mark.parametrize("words", [(), *COMMANDS], ids=" ".join)
def test_a_help_fits_a_terminal_and_cuts_nothing_off(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = say(*words, "--help", capsys=capsys)
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    assert "..." not in out.replace("]...", "").replace("ARGS]...", "")
    assert say("help", *words, capsys=capsys)[1] == out


def test_every_command_has_one_line_in_its_section(capsys: pytest.CaptureFixture[str]) -> None:
    out = say("--help", capsys=capsys)[1]
    listed = [
        line.split()[0]
        for line in out.splitlines()
        if line.startswith("  ") and line[2:3].islower()
    ]
    for words in COMMANDS:
        if len(words) == 1:
            assert listed.count(words[0]) == 1, words


@pytest.mark.parametrize("words", RUNNABLE, ids=" ".join)
def test_a_help_has_examples_that_can_be_typed(words: tuple[str, ...]) -> None:
    command = RUNNABLE[words]
    assert isinstance(command, Command)
    lines = [one for one in command.examples if one.startswith("reconciler ")]
    assert lines
    for line in lines:
        typed = shlex.split(line.partition(" > ")[0].rstrip("\\"))
        assert tuple(typed[: len(words) + 1]) == ("reconciler", *words)
        command.make_context(words[-1], typed[len(words) + 1 :])


@pytest.mark.parametrize("flag", ["--version", "-version"])
def test_the_version_by_a_flag(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert say(flag, capsys=capsys) == say("version", capsys=capsys)


VERBS = {
    "destroy": "reconciler apply --destroy",
    "state": "reconciler list",
    "refresh": "reconciler drift",
    "fmt": "does not format",
    "output": "reconciler list --format json",
    "taint": "--rotate ADDRESS",
    "get": "reconciler list",
    "diff": "reconciler plan",
    "status": "reconciler drift",
    "sync": "reconciler apply",
    "rollout": "reconciler rollback ADDRESS",
    "describe": "reconciler export ADDRESS --format json",
    "pln": "Did you mean 'reconciler plan'?",
    "wobble": "See 'reconciler --help' for the commands.",
    "remove": "reconciler forget ADDRESS",
    "octodns-sync": "'reconciler plan', and then 'reconciler apply'",
}


@pytest.mark.parametrize(("verb", "answer"), VERBS.items())
def test_a_verb_of_another_tool_is_answered(
    verb: str, answer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = say(verb, "-f", "x.yaml", capsys=capsys)
    assert (code, out) == (1, "")
    assert err.startswith(f'Error: reconciler has no command "{verb}"\n')
    assert answer in err


def test_every_flag_before_the_command_with_a_value_is_answered_after_it() -> None:
    valued = (one.opts for one in reconciler.params if not getattr(one, "is_flag", True))
    assert {flag for flags in valued for flag in flags} == set(_GLOBAL)


def test_a_flag_of_every_command_has_its_place_before_a_nested_command(
    capsys: pytest.CaptureFixture[str],
) -> None:
    err = say("ledger", "verify", "--chdir", "..", capsys=capsys)[2]
    assert "'reconciler --chdir … ledger verify'" in err


@pytest.mark.parametrize("verb", ["list", "show", "log"])
def test_the_lines_of_the_ledger_are_shown_by_history(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = say("ledger", verb, capsys=capsys)
    assert (code, "Use 'reconciler history'." in err) == (1, True)


def test_no_command_that_changes_a_service_has_the_answer_of_the_others() -> None:
    flags = {words: {each.name for each in one.params} for words, one in RUNNABLE.items()}
    # A command with a dry run of its own needs no answer.
    changing = {one for one, has in flags.items() if "step_timeout" in has and "dry_run" not in has}
    assert {(*name.split()[1:],) for name in _DRY_RUNS} == {*changing, ("plan",)}


FLAGS = {
    ("plan", "--dry-run"): "'reconciler plan': it is the dry run",
    ("apply", "--dry-run"): "'reconciler plan': it is the dry run",
    ("apply", "--dry-run=client"): "'reconciler plan': it is the dry run",
    ("apply", "--dryrun"): "'reconciler plan': it is the dry run",
    ("apply", "--what-if"): "'reconciler plan': it is the dry run",
    ("plan", "--chdir", ".."): "Give it before the command: 'reconciler --chdir … plan'.",
    ("plan", "-chdir=.."): "'reconciler --chdir … plan'",
    ("list", "--project=prod.yaml"): "'reconciler --project … list'",
    ("plan", "--check"): "'reconciler plan': it is the dry run",
    ("rollback", "--preview"): "'--out FILE': it only saves the plan",
    ("rollback", "--dry-run"): "'reconciler show FILE' prints it",
    ("forget", "--dry-run"): "changes no service. Its help says what it writes.",
    ("force-unlock", "--dry-run"): "changes no service. Its help says what it writes.",
    ("init", "--dry-run"): "changes no service. Its help says what it writes.",
    ("retrain", "--dry-run"): "changes no service. Its help says what it writes.",
    ("plan", "-var", "x=y"): "'--env NAME'",
    ("plan", "-var-file=x"): "'--env NAME'",
    ("plan", "-replace=WebService/census"): "'--rotate ADDRESS'",
    ("plan", "-refresh-only"): "'reconciler drift'",
    ("apply", "-lock=false"): "always takes the lock",
    ("plan", "-lock=true"): "always takes the lock",
    ("drift", "-lock-timeout=5s"): "See 'reconciler drift --help'",
    ("plan", "--lock=false"): "always takes the lock",
    ("plan", "-input=false"): "RECONCILER_INPUT=0",
    ("plan", "-o", "json"): "'--format json'",
    ("apply", "-f", "x.yaml"): "'reconciler apply PATH'",
    ("drift", "--filename", "x.yaml"): "'reconciler drift PATH'",
    ("validate", "-k", "x"): "'reconciler validate PATH'",
    ("forget", "-f", "x.yaml"): "'reconciler plan PATH'",
    ("plan", "-n", "prod"): "spec.resource",
    ("apply", "-y"): "asks once",
    ("plan", "--sumary"): "Did you mean '--summary'?",
    ("import", "-o", "json"): "See 'reconciler import --help' for usage.",
    ("rollback", "-l", "team=growth"): "'reconciler list -l LABEL=VALUE'",
    ("apply", "--doit"): "it asks before it changes anything",
    ("apply", "--wait"): "waits until each change took effect",
    ("plan", "--exit-code"): "'--detailed-exitcode'",
    ("plan", "--tokn"): "See 'reconciler plan --help' for usage.",
    ("apply", "--purge"): "'reconciler plan --help'",
}
# The commands of terraform 1.9, kubectl 1.31, argocd app, kapp and octoDNS that people type by habit.
HABITS = """
apply console destroy fmt force-unlock get graph import init login logout metadata output plan
providers refresh show state taint test untaint validate version workspace
annotate api-resources attach auth autoscale cluster-info completion config cordon cp create debug
delete describe diff drain edit exec explain label logs patch port-forward proxy replace rollout run
scale set top uncordon wait
history manifests resources rollback sync terminate-op unset
deploy inspect ls ps start stop restart update watch monitor revert restore rotate prune clean lock env
score predict reconcile converge doctor tail
octodns-compare octodns-dump octodns-report octodns-sync octodns-validate
"""


@pytest.mark.parametrize("verb", HABITS.split())
def test_a_habit_from_another_tool_leads_somewhere(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    _, _, err = say(verb, "--help", capsys=capsys)
    assert (verb,) in COMMANDS or answer_verb(verb) in err
    assert "See 'reconciler --help' for the commands." not in err
    if verb not in {"destroy", "delete"}:
        assert not any(flag in err for flag in DESTROYS)


# Flags that people type by habit, with the command of reconciler that they give them to.
FLAG_HABITS = """
plan: -backup -compact-warnings -concise -generate-config-out -input -lock -refresh-only -replace
 -state -var -var-file --debug --diff --exit-code --log-level --namespace --output --quiet --verbose
apply: -show-sensitive --all --as --async --cascade --context --dry-run --field-manager --filename
 --force --force-conflicts --grace-period --kustomize --label --prune-allowlist --record --recursive
 --server-side --timeout --token --validate --wait --yes --apply-concurrency --diff-changes
 --hard-refresh --resource --retry-limit --doit --config-file
list: --watch --show-labels --sort-by --field-selector
history: --limit --since --follow --revision
rollback: --to-revision --selector
init: -backend -reconfigure -upgrade -migrate-state
"""


@pytest.mark.parametrize(
    ("command", "flag"),
    [
        (line.partition(":")[0], flag)
        for line in FLAG_HABITS.strip().replace("\n ", " ").splitlines()
        for flag in line.partition(":")[2].split()
    ],
)
def test_a_flag_by_habit_leads_somewhere(
    command: str, flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out, err = say(command, flag, capsys=capsys)
    assert (out, err.splitlines()[0].partition(" has no flag ")[0]) == (
        "",
        f"Error: reconciler {command}",
    )
    assert f"See 'reconciler {command} --help' for usage." not in err
    assert "Did you mean" not in err
    assert not any(one in err.partition("\n")[2] for one in DESTROYS)


def test_a_flag_without_its_value_leads_to_the_help_of_its_command(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert "See 'reconciler plan --help' for usage." in say("plan", "--out", capsys=capsys)[2]


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (("plan", "--parallelism", "many"), "'many' is not a whole number"),
        (("rollback", "WebService/x", "--to", "last"), "'last' is not a whole number"),
        (("emulator", "--seed", "x"), "'x' is not a whole number"),
        (("emulator", "--job-seconds", "x"), "'x' is not a number"),
    ],
    ids=str,
)
def test_a_number_is_called_a_number(
    typed: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = say(*typed, capsys=capsys)
    assert (code, f"{said}.\n" in err) == (1, True), err


@pytest.mark.parametrize(("typed", "answer"), FLAGS.items(), ids=" ".join)
def test_a_flag_of_another_tool_is_answered_by_its_whole_name(
    typed: tuple[str, ...], answer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = say(*typed, capsys=capsys)
    assert (code, out) == (1, "")
    assert err.splitlines()[0].endswith(f" has no flag '{typed[1].partition('=')[0]}'")
    assert answer in err
    assert not any(flag in err for flag in DESTROYS)


@pytest.mark.parametrize("flag", ["--json", "--format=json", "-json"])
def test_an_apply_that_prints_json_and_would_ask_names_no_flag_that_was_not_typed(
    flag: str, tmp_path: Path
) -> None:
    assert run(tmp_path, "init").code == 0
    done = run(tmp_path, "apply", flag)
    assert "an apply that prints JSON cannot ask for approval" in done.out
    assert "--json" not in done.out


@pytest.fixture(scope="module")
def applied(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project that a test leaves as it is: its commands are refused."""
    own = Emulator(emulator.url, emulator.blob, emulator.token, "front-door")
    project = Project(tmp_path_factory.mktemp("applied") / "project", own)
    own.deploy("census", own.model_uri("old"))
    project.manifest("census", own.model_uri("a"))
    assert project.run("apply", "--auto-approve").code == 0
    return project


@pytest.mark.parametrize(
    "typed",
    [
        ("plan", "--destroy", "--target", "WebService/censu"),
        ("apply", "--destroy", "--auto-approve", "--target", "WebService/censu"),
        ("apply", "--destroy", "--exclude", "WebService/censu"),
        ("plan", "--prune", "--target", "WebService/censu"),
        ("plan", "--allow", "deletes=WebService/censu"),
        ("forget", "WebService/censu"),
    ],
    ids=" ".join,
)
def test_no_address_is_proposed_to_what_destroys(applied: Project, typed: tuple[str, ...]) -> None:
    done = applied.run(*typed)
    assert (done.code, "Error: WebService/censu: " in done.err) == (1, True)
    assert "WebService/census" not in done.err.replace("WebService/censu:", "")
    assert "Did you mean" not in done.err


def test_an_address_is_proposed_to_a_plan_that_destroys_nothing(project: Project) -> None:
    project.manifest("census", project.emulator.model_uri("a"))
    done = project.run("plan", "--target", "WebService/censu")
    assert (done.code, "Did you mean WebService/census?" in done.err) == (1, True)


def test_no_answer_names_a_flag_that_destroys_unless_it_was_asked_for() -> None:
    for verb, answer in _VERBS.items():
        if verb not in {"destroy", "delete", "down", "remove", "uninstall"}:
            assert not any(flag in answer for flag in DESTROYS), verb
    for flag, answer in _FLAGS.items():
        assert not any(one in answer for one in DESTROYS), flag


def test_every_command_and_flag_that_an_answer_names_exists() -> None:
    every = {flag for one in COMMANDS.values() for option in one.params for flag in option.opts}
    every |= {flag for one in reconciler.params for flag in one.opts} | {"--help"}
    for said in (*_VERBS.values(), *_FLAGS.values(), *_DRY_RUNS.values()):
        answer = said.replace("{command}", "reconciler apply")
        quoted = [
            part for part in answer.split("'")[1::2] if part.startswith(("reconciler ", "--"))
        ]
        for part in quoted:
            words = part.split()
            assert (
                words[0] != "reconciler" or words[1].startswith("-") or (words[1],) in COMMANDS
            ), part
            assert {word for word in words if word.startswith("--")} <= every, part


JSON = {
    "plan": ("plan",),
    "drift": ("drift",),
    "history": ("history",),
    "list": ("list",),
    "show": ("show", "absent.json"),
    "export": ("export", "WebService/census"),
    "ledger verify": ("ledger", "verify"),
    "a wrong flag": ("plan", "--sumary"),
    "a wrong command": ("pln",),
}


@pytest.mark.parametrize(
    "asked", [("--json",), ("-json",), ("--format", "json"), ("--format=json",)], ids=" ".join
)
@pytest.mark.parametrize("typed", JSON.values(), ids=JSON)
def test_an_error_is_json_where_json_is_asked_for(
    typed: tuple[str, ...],
    asked: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = say(*typed, *asked, capsys=capsys)
    assert (code, err) == (1, "")
    failed = json.loads(out)
    check_output(failed, "error")
    assert failed["outcome"] == "error"
    assert failed["diagnostics"][0]["summary"]
    text = say(*typed, capsys=capsys)[2]
    assert all(one["summary"] in text for one in failed["diagnostics"])


@pytest.mark.parametrize("words", RUNNABLE, ids=" ".join)
def test_json_has_one_spelling(words: tuple[str, ...]) -> None:
    flags = {flag for parameter in RUNNABLE[words].params for flag in parameter.opts}
    assert ("--json" in flags) == ("--format" in flags)


def list_json(project: Project, *more: str) -> list[dict[str, object]]:
    done = project.run("list", "--json", *more)
    assert done.code == 0, done.err
    document = json.loads(done.out)
    check_output(document, "list")
    resources: list[dict[str, object]] = document["resources"]
    return resources


def test_a_list_shows_what_is_declared_and_what_was_applied(project: Project) -> None:
    old = "https://models.blob.core.windows.net/models/old.ilearner"
    project.emulator.deploy("one", old)
    project.manifest("one", project.emulator.model_uri("new"))
    (before,) = list_json(project)
    assert before["declared"] is True
    assert before["last_applied"] is None
    assert project.run("list").out.split("\n")[1].endswith("not in the ledger   -")
    assert project.run("apply", "--auto-approve").code == 0
    (after,) = list_json(project)
    assert before["models"] == []
    assert after["models"] == [project.emulator.model_uri("new")]
    assert {**after, "last_applied": None, "models": []} == before
    applied = after["last_applied"]
    assert isinstance(applied, dict)
    header, line = project.run("list").out.splitlines()
    assert header.split() == ["ADDRESS", "ID", "MODEL", "LAST", "APPLIED", "BY"]
    assert line.split()[0] == "WebService/one"
    assert applied["at"] in line
    assert "…/census/new.ilearner" in line
    (project.folder / "manifests" / "one.yaml").unlink()
    (orphan,) = list_json(project)
    assert orphan == {**after, "declared": False}
    assert project.run("list").out.splitlines()[1].endswith("(no manifest)")


@pytest.mark.parametrize("at", ["#99999", "#0", "#3"])
@pytest.mark.parametrize("blame", [False, True])
def test_a_moment_after_an_entry_that_does_not_exist(
    project: Project, at: str, *, blame: bool
) -> None:
    project.emulator.deploy("one", "https://models.blob.core.windows.net/models/old.ilearner")
    project.manifest("one", project.emulator.model_uri("new"))
    assert project.run("apply", "--auto-approve").code == 0
    done = project.run("history", "WebService/one", "--at", at, *(["--blame"] if blame else []))
    assert (done.code, done.out) == (1, "")
    assert f"Error: entry {at} does not exist\n" in done.err
    assert "The entries are #1 to #2." in done.err
    assert project.run("history", "--at", "#2").code == 0


COMPLETIONS = {
    ("plan", "--target", "Web"): ["WebService/census"],
    ("apply", "--exclude", ""): ["WebService/census"],
    ("history", ""): ["WebService/census"],
    ("rollback", "WebService/c"): ["WebService/census"],
    ("drift", "--accept", ""): ["WebService/census"],
    ("plan", "--target", "Nothing"): [],
    ("list", "Fleet/"): [],
    ("plan", "--allow", "de"): ["default-endpoint", "deletes"],
    ("plan", "--allow", "deletes", "=", "Web"): ["WebService/census"],
    ("plan", "-l", "te"): ["team=growth"],
    ("plan", "-l", "team", "="): ["growth"],
    ("list", "--selector", "team", "=", "gr"): ["growth"],
    ("plan", "-l", "tier", "=", "gold,te"): ["gold,team=growth"],
    ("plan", "--target", "=", "Web"): ["WebService/census"],
    ("plan", "-target", "Web"): ["WebService/census"],
    ("apply", "fir"): ["fir"],  # the shell lists the files
    ("plan", "--out", "fir"): ["fir"],
    ("--chdir", "man"): ["man"],
    ("help", "ledger", "v"): ["verify"],
    ("emulator", "--switch", "list-p"): ["list-page-size="],
    ("schema", "W"): ["WebService"],
    ("ledger", "v"): ["verify"],
    ("rollb",): ["rollback"],
}


@pytest.mark.parametrize(("words", "offered"), COMPLETIONS.items(), ids=" ".join)
@pytest.mark.parametrize("chdir", [False, True])
def test_a_shell_completes_values(
    words: tuple[str, ...],
    offered: list[str],
    *,
    chdir: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path if chdir else EXAMPLE)
    given = ("reconciler", *(("--chdir", str(EXAMPLE)) if chdir else ()), *words)
    monkeypatch.setenv("_RECONCILER_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", shlex.join(given))
    monkeypatch.setenv("COMP_CWORD", str(len(given) - 1))
    with pytest.raises(SystemExit):
        main([])
    out, err = capsys.readouterr()
    assert err == ""
    assert [line.partition(",")[2] for line in out.split()] == offered


def test_a_completion_where_nothing_can_be_read_offers_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "reconciler.yaml").write_text("{")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("_RECONCILER_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "reconciler history ")
    monkeypatch.setenv("COMP_CWORD", "2")
    with pytest.raises(SystemExit):
        main([])
    assert capsys.readouterr() == ("\n", "")


@pytest.mark.parametrize("below", ["manifests", "manifests/prod"])
def test_a_project_in_a_folder_above_is_named(project: Project, below: str) -> None:
    project.manifest("one", "https://models.blob.core.windows.net/models/a.ilearner")
    (project.folder / below).mkdir(exist_ok=True)
    up = "/".join(".." for _ in Path(below).parts)
    for command in ("plan", "validate", "list", "drift"):
        done = run(project.folder / below, command)
        assert done.code == 1
        assert done.said == (
            f"Error: {Path(below).name}: the project file reconciler.yaml does not exist\n\n"
            f"  The project is in a folder above: use --chdir {up}\n"
        )
        assert run(project.folder / below, "--chdir", up, "list").code == 0


@pytest.mark.parametrize(
    ("typed", "named"),
    [
        (("plan", "census.yaml"), ", and name the manifests from there: manifests/census.yaml"),
        (("validate", "."), ", and name the manifests from there: manifests"),
        (("apply", "census.yaml"), ", and name the manifests from there: manifests/census.yaml"),
        (("drift", "manifests/census.yaml"), ""),
    ],
    ids=str,
)
def test_a_manifest_that_is_named_below_the_project_is_no_second_error(
    typed: tuple[str, ...], named: str, tmp_path: Path
) -> None:
    assert run(tmp_path, "init").code == 0
    done = run(tmp_path / "manifests", *typed)
    assert (done.code, done.said.count("Error:")) == (1, 1)
    assert f"The project is in a folder above: use --chdir ..{named}\n" in done.said
    meant = named.rpartition(" ")[2] or "manifests/census.yaml"
    again = run(tmp_path / "manifests", "--chdir", "..", "validate", meant)
    assert (again.code, again.err) == (0, "")


def test_a_folder_without_a_project_reports_only_that(tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text("apiVersion: reconciler/v1\nkind: Unknown\n")
    done = run(tmp_path, "plan")
    assert done.code == 1
    assert done.err.count("Error:") == 1
    assert "reconciler init" in done.err


def test_resources_are_selected_by_their_labels(project: Project) -> None:
    for name, team in (("one", "growth"), ("two", "growth"), ("three", "risk")):
        project.emulator.deploy(name, "https://models.blob.core.windows.net/models/old.ilearner")
        file = project.manifest(name, project.emulator.model_uri("new"))
        labelled = f"metadata: {{name: {name}, labels: {{team: {team}}}}}"
        file.write_text(file.read_text().replace(f"metadata: {{name: {name}}}", labelled))
    plan = json.loads(project.run("plan", "-l", "team=growth", "--json").out)
    named = [one["address"] for one in plan["resource_changes"]]
    assert named == ["WebService/one", "WebService/two"] == plan["inputs"]["targets"]
    assert project.run("apply", "-lteam=risk", "--auto-approve").code == 0
    assert [one["address"] for one in list_json(project, "--selector", "team!=risk")] == named
    assert "WebService/one" not in project.run("drift", "-l", "team=risk").out
    both = project.run("plan", "-l", "team=risk", "--target", "WebService/one")
    assert (both.code, "Give one of them." in both.err) == (1, True)


def test_the_history_and_the_export_of_what_has_a_label(project: Project) -> None:
    for name, team in (("one", "growth"), ("two", "risk"), ("three", "")):
        project.emulator.deploy(name, "https://models.blob.core.windows.net/models/old.ilearner")
        file = project.manifest(name, project.emulator.model_uri("new"))
        labels = f", labels: {{team: {team}}}" if team else ""
        labelled = f"metadata: {{name: {name}{labels}}}"
        file.write_text(file.read_text().replace(f"metadata: {{name: {name}}}", labelled))
    nothing = project.run("history", "-l", "team=risk")
    assert (nothing.code, "WebService/two: is not in the ledger" in nothing.err) == (1, True)
    assert project.run("apply", "--auto-approve", "-l", "team").code == 0
    for selector, found in (
        ("team in (risk, none)", {"WebService/two"}),
        ("team notin (risk)", {"WebService/one"}),
        ("team", {"WebService/one", "WebService/two"}),
    ):
        entries = json.loads(project.run("history", "-l", selector, "--json").out)["entries"]
        assert {one["address"] for one in entries} == found
    recalled = project.run("history", "-l", "team=risk", "--at", "2999-01-01").out
    assert ("WebService/two" in recalled, "WebService/one" in recalled) == (True, False)
    never = project.run("history", "-l", "!team")
    assert (never.code, "is not in the ledger" in never.err) == (1, True)
    both = project.run("history", "WebService/one", "-l", "team")
    assert (both.code, "Give one of them." in both.err) == (1, True)
    exported = project.run("export", "-l", "team=risk", "--folder", "out")
    assert exported.code == 0, exported.err
    assert [file.name for file in (project.folder / "out").iterdir()] == ["two.yaml"]
    (project.folder / "manifests" / "two.yaml").unlink()
    (project.folder / "manifests" / "one.yaml").write_text("apiVersion: [")
    assert "Some labels are" not in project.run("history", "-l", "team=risk").err
    unlabelled = project.run("list", "-l", "team=risk").err
    assert "No manifest of the kind WebService has labels." in unlabelled


def test_what_was_destroyed_is_not_said_to_be_never_applied(project: Project) -> None:
    project.manifest("one", project.emulator.model_uri("new"))
    project.emulator.deploy("one", project.emulator.model_uri("old"))
    assert project.run("apply", "--auto-approve").code == 0
    assert project.run("apply", "--destroy", "--allow", "deletes", "--auto-approve").code == 0
    assert project.run("list").out.splitlines()[1].endswith("not in the ledger   -")
    drift = project.run("drift").out
    assert "pending (it does not exist: it was destroyed" in drift
    assert "never" not in drift
    assert "- delete  WebService/one" in project.run("history").out


def test_a_list_names_the_models_and_not_the_modules() -> None:
    owned = {
        f"/properties/assets/asset{number}/locationInfo/uri": uri
        for number, uri in enumerate(("aml://module/a.b", "HTTPS://x/y.ilearner"))
    }
    last = LastApplied.of(make_entry("one", owned=owned))
    models = find_applied_models(last, find_kinds()["WebService"].field)
    assert models == ("HTTPS://x/y.ilearner",)


def test_a_new_project_says_where_to_start_its_emulator(tmp_path: Path) -> None:
    """An emulator that is started elsewhere is not that of the project."""
    lines = run(tmp_path, "init", "new").out.splitlines()
    assert lines.index("    cd new") < lines.index("    reconciler emulator")
    assert lines.count("    cd new") == 2
    (tmp_path / "here").mkdir()
    assert "    cd" not in run(tmp_path / "here", "init").out


@pytest.mark.parametrize(
    "typed",
    [
        ("history",),
        ("ledger", "verify"),
        ("ledger", "compact"),
        ("force-unlock", "x"),
        ("forget", "WebService/one"),
        ("rollback", "WebService/one"),
        ("export", "--all"),
        ("list",),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("named", [(), ("--project", "prod.yaml")], ids=["usual", "named"])
def test_a_missing_project_is_one_error(
    typed: tuple[str, ...], named: tuple[str, ...], tmp_path: Path
) -> None:
    done = run(tmp_path, *named, *typed)
    assert (done.code, done.err.count("Error:")) == (1, 1)
    assert (
        f"the project file {named[-1] if named else 'reconciler.yaml'} does not exist" in done.err
    )


def test_the_debug_log_has_a_line_for_each_request_and_no_secret(project: Project) -> None:
    project.emulator.deploy("one", "https://models.blob.core.windows.net/models/old.ilearner")
    project.manifest("one", project.emulator.model_uri("new"))
    silent = project.run("plan")
    done = project.run("plan", "--refresh", "full", env={"RECONCILER_LOG": "debug"})
    assert done.code == 0
    lines = [line for line in done.err.splitlines() if " GET " in line]
    path = f"{project.emulator.url}{project.emulator.path('one')}"
    assert any(
        re.fullmatch(rf"\d{{4}}-\d\d-\d\dT[\d:.]+Z GET {re.escape(path)} 200 \d+ ms \S+", line)
        for line in lines
    ), done.err
    assert project.emulator.token not in done.err.replace(project.emulator.url, "")
    assert " GET " not in silent.err
    assert " GET " not in project.run("plan", "--refresh", "full").err
    refused = project.run(
        "plan", env={"RECONCILER_LOG": "debug", "RECONCILER_EMULATOR_TOKEN": "wrong"}
    )
    assert refused.code == 1
    assert re.search(r" GET \S+ 401 \d+ ms ", refused.err), refused.err


@pytest.mark.parametrize("form", ["text", "markdown", "html"])
def test_all_attributes_of_a_create_are_shown_on_demand(project: Project, form: str) -> None:
    shutil.copytree(EXAMPLE / "manifests", project.folder / "manifests", dirs_exist_ok=True)
    shutil.copytree(EXAMPLE / "secrets", project.folder / "secrets")
    text = (EXAMPLE / "manifests" / "census.definition.json").read_text()
    columns = json.loads(text)["properties"]["output"]["properties"]["output1"]["properties"]
    shown = [project.run("plan", "--format", form, "--full", "--out", "all.plan")]
    shown.append(project.run("show", "all.plan", "--full", "--format", form))
    for done in shown:
        assert done.code == 0, done.err
        assert "more attribute" not in done.out
        assert all(name in done.out for name in columns)
    if form == "text":
        assert "more attributes; plan --full shows them)" in project.run("plan").out
        both = project.run("plan", "--full", "--summary")
        assert (both.code, "--summary or --full" in both.err) == (1, True)


PAGES = [ROOT / name for name in ("README.md", "manifests/README.md", "schemas/README.md")]
WRITTEN = re.compile(r"(?:reconciler (?:show|apply) |--out |--format html > )([a-z]+\.[a-z]+)")


def test_git_adds_no_plan_and_no_page_after_the_tour(project: Project, tmp_path: Path) -> None:
    named = {name for page in PAGES for name in WRITTEN.findall(page.read_text(encoding="utf-8"))}
    assert {"first.plan", "release.plan", "back.plan", "release.html"} <= named
    tour = tmp_path / "tour"
    assert run(tmp_path, "init", str(tour)).code == 0
    git(tour, "init", "-q")
    git(tour, "add", "-A")
    before = git(tour, "ls-files")
    assert "manifests/census.yaml" in before
    cloud = f"cloud: {{resourceManager: '{project.emulator.url}', blob: '{project.emulator.blob}'}}"
    file = tour / "reconciler.yaml"
    text = file.read_text().replace("cloud: emulator", cloud)
    file.write_text(text.replace("blobs: warn", "blobs: skip"))
    for name in named:
        if name.endswith(".html"):
            (tour / name).write_text(run(tour, "plan", "--format", "html").out)
        else:
            assert run(tour, "plan", "--out", name).code == 0, name
    (tour / "errored.ledger.1.json").write_text("{}")
    git(tour, "add", "-A")
    assert git(tour, "ls-files") == before


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=folder, check=True, capture_output=True, text=True
    ).stdout


def test_init_begins_with_an_online_endpoint_if_that_is_asked_for(tmp_path: Path) -> None:
    done = run(tmp_path, "init", "new", "--kind", "OnlineEndpoint")
    assert done.code == 0, done.said
    assert "  manifests/golden.json\n" in done.out
    manifest = (tmp_path / "new" / "manifests" / "census.yaml").read_text()
    first, *_ = manifest.splitlines()
    schema = first.partition("$schema=")[2]
    assert (tmp_path / "new" / "manifests" / schema).is_file()
    assert schema.endswith("/online-endpoint.schema.json")
    assert "kind: OnlineEndpoint\n" in manifest
    assert run(tmp_path / "new", "validate").code == 0
    refused = run(tmp_path / "new", "init", "--ci", "github", "--kind", "WebService")
    assert (refused.code, "leave out --kind" in refused.err) == (1, True), refused.said


def test_init_copies_nothing_that_a_command_wrote_into_the_example(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a checkout the example is a project itself, and people run commands there."""
    example = tmp_path / "examples" / "census"
    shutil.copytree(EXAMPLE, example)
    before = [name for name in run(tmp_path, "init", "one").out.splitlines() if name[:2] == "  "]
    (example / ".reconciler").mkdir(exist_ok=True)
    for name in (".reconciler/ledger.jsonl", "first.plan", "a.html", "errored.ledger.1.json"):
        (example / name).write_text("{}")
    monkeypatch.setattr("reconciler.package_data._EXAMPLES", (example.parent,))
    after = [name for name in run(tmp_path, "init", "two").out.splitlines() if name[:2] == "  "]
    assert [one.replace("two", "one") for one in after] == before


def test_git_leaves_out_what_commands_write_into_a_new_project(tmp_path: Path) -> None:
    assert run(tmp_path, "init").code == 0
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    names = [
        *("a.plan", "a.html", "drift.sarif", "drift.sarif.json", "drift.junit.xml", "drift.json"),
        *("errored.ledger.json", ".reconciler/ledger.jsonl", ".reconciler-ci/drift.html"),
    ]
    command = ["git", "check-ignore", *names, "reconciler.yaml", ".driftignore"]
    left_out = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert left_out.stdout.splitlines() == names

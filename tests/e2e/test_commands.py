"""The command line in the hand: help, spellings, colour, folders, interrupts, closed pipes."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator, ValidationError

import reconciler
from tests.e2e.world import EXAMPLE, Project, begin_command, clean_environment, run
from tests.scripted import Answer, run_scripted

pytestmark = pytest.mark.e2e
COLOUR = "\x1b["


def run_on_terminal(folder: Path, *arguments: str, **env: str) -> str:
    """What a command prints on a terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "reconciler", *arguments],
        cwd=folder,
        env={**clean_environment(), "TERM": "xterm", **env},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    said = b""
    with process:
        while True:
            select.select([ours], [], [], 60)
            try:
                part = os.read(ours, 65536)
            except OSError:  # Linux says so when the other side is closed
                break
            if not part:
                break
            said += part
    os.close(ours)
    return said.decode()


def test_version_tells_the_version(tmp_path: Path) -> None:
    assert run(tmp_path, "version").out == f"reconciler {reconciler.__version__}\n"
    for arguments in (("version", "--json"), ("version", "-json")):
        assert json.loads(run(tmp_path, *arguments).out)["version"] == reconciler.__version__


def test_help_names_every_command_and_each_explains_itself(tmp_path: Path) -> None:
    said = run(tmp_path, "--help").out
    commands = re.findall(r"^  ([a-z]+)  ", said[said.index("Set up a project:") :], re.MULTILINE)
    assert {"init", "validate", "plan", "show", "apply", "demo", "emulator"} <= set(commands)
    for command in commands:
        done = run(tmp_path, command, "--help")
        assert (done.code, done.out.startswith(f"Usage: reconciler {command}")) == (0, True)
        assert run(tmp_path, command, "-help").out == done.out


def test_schema_is_printed_for_editors_and_as_a_table(tmp_path: Path) -> None:
    kinds = [
        "Project",
        "Environment",
        "Fleet",
        "Retraining",
        "Policy",
        "PolicyTest",
        "DriftIgnore",
        "Endpoint",
        "OnlineEndpoint",
        "WebService",
    ]
    assert run(tmp_path, "schema").out.split() == kinds
    for kind in kinds:
        schema = json.loads(run(tmp_path, "schema", kind).out)
        assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
        assert ".schema.json" not in json.dumps(schema)
    table = run(tmp_path, "schema", "WebService", "--fields").out.splitlines()
    assert table[0].split() == ["FIELD", "OWNER", "DEFAULT", "CHANGE", "SECRECY"]
    rows = {line.split()[0]: line for line in table}
    assert "never declared" in rows["properties.modifiedOn"]
    assert "forces replacement" in rows["properties.storageAccount.name"]
    assert "secret, never returned" in rows["properties.keys.primary"]
    assert "cannot be undone" in rows["properties.readOnly"]
    classic = run(tmp_path, "schema", "Endpoint", "--fields").out
    assert "not always returned" in next(
        line for line in classic.splitlines() if ".Location" in line
    )


@pytest.mark.parametrize("kind", ["Project", "Environment", "Fleet", "Retraining", "Policy"])
def test_the_fields_of_a_manifest_are_printed_as_a_table(tmp_path: Path, kind: str) -> None:
    done = run(tmp_path, "schema", kind, "--fields")
    assert done.code == 0, done.err
    head, *lines = done.out.splitlines()
    assert head.split() == ["FIELD", "VALUE", "MEANING"]
    rows = {line.split()[0]: line for line in lines}
    assert kind in rows["kind"]
    assert "Required. " in rows["metadata.name"]
    if kind == "Retraining":
        assert " object " in rows["spec.service"]
        assert (
            " lower or higher " in rows["spec.gate[].better"]
            or " higher or lower " in rows["spec.gate[].better"]
        )
        assert "spec.inputs.*.uri" in rows


def test_a_schema_of_nothing_names_the_kinds(tmp_path: Path) -> None:
    done = run(tmp_path, "schema", "Nothing")
    kinds = "Project, Environment, Fleet, Retraining, Policy, PolicyTest, DriftIgnore, Endpoint, OnlineEndpoint, WebService"
    assert (done.code, kinds in done.err) == (1, True)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_completes(tmp_path: Path, shell: str) -> None:
    script = run(tmp_path, "completion", shell).out
    assert "_RECONCILER_COMPLETE" in script
    env = {
        "_RECONCILER_COMPLETE": "bash_complete",
        "COMP_WORDS": "reconciler pl",
        "COMP_CWORD": "1",
    }
    assert run(tmp_path, env=env).out == "plain,plan\n"


def test_validate_reads_what_it_is_told(tmp_path: Path) -> None:
    project = ("--project", str(EXAMPLE / "reconciler.yaml"))
    done = run(tmp_path, *project, "validate")
    assert done.out.startswith("Success! The configuration is valid: 1 resource in "), done.said
    assert run(tmp_path, "--chdir", str(EXAMPLE), "validate").out == done.out
    assert run(tmp_path, f"-chdir={EXAMPLE}", "validate").out == done.out
    assert json.loads(run(EXAMPLE, "validate", "-json").out)["valid"] is True


def test_documents_of_others_are_left_alone_and_counted(tmp_path: Path) -> None:
    run(tmp_path, "init")
    (tmp_path / "manifests" / "k8s.yaml").write_text("apiVersion: apps/v1\nkind: Deployment\n")
    assert "1 other document ignored" in run(tmp_path, "validate").out


def test_colour_is_for_terminals_and_can_be_declined(project: Project) -> None:
    world = project.emulator
    world.deploy("census", world.model_uri("old"))
    project.manifest("census", world.model_uri("new"))
    assert COLOUR not in project.run("plan").said
    coloured = run_on_terminal(project.folder, "plan")
    assert COLOUR in coloured
    for plain in (
        run_on_terminal(project.folder, "plan", "-no-color"),
        run_on_terminal(project.folder, "plan", NO_COLOR="1"),
        run_on_terminal(project.folder, "plan", TERM="dumb"),
    ):
        assert COLOUR not in plain
        made = re.compile(r"\x1b\[[0-9;]*m|(?<=Digest of this plan: )sha256:[0-9a-f]{64}")
        assert made.sub("", coloured) == made.sub("", plain)


def test_results_go_to_stdout_and_progress_to_stderr(project: Project) -> None:
    world = project.emulator
    world.deploy("census", world.model_uri("old"))
    project.manifest("census", world.model_uri("new"))
    planned = project.run("plan", "--format", "json")
    assert json.loads(planned.out)["outcome"] == "changes"
    assert planned.err.startswith("WebService/census: Refreshing state... [census]\n")
    applied = project.run("apply", "-auto-approve")
    assert "Modifying... [census]" in applied.err
    assert "Modifications complete after" in applied.err
    assert "Modifying..." not in applied.out


def test_terraforms_spellings_are_understood(project: Project) -> None:
    world = project.emulator
    for name in ("a", "b"):
        world.deploy(name, world.model_uri("old"))
        project.manifest(name, world.model_uri("new"))
    planned = project.run(
        "plan", "-out", "p.json", "-detailed-exitcode", "-target=WebService/a", "-parallelism=2"
    )
    assert planned.code == 2
    assert "Plan: 0 to add, 1 to change, 0 to destroy." in planned.out
    assert '    reconciler apply "p.json"' in planned.out
    applied = project.run("apply", "-auto-approve", "-parallelism", "3", "p.json")
    assert "Resources: 0 added, 1 changed, 0 destroyed." in applied.out


def test_hints_are_dropped_in_automation(project: Project) -> None:
    world = project.emulator
    world.deploy("census", world.model_uri("old"))
    project.manifest("census", world.model_uri("new"))
    assert "--out" in project.run("plan").out
    assert "--out" not in project.run("plan", env={"RECONCILER_IN_AUTOMATION": "1"}).out


def test_nobody_is_asked_where_nobody_may_be(project: Project) -> None:
    world = project.emulator
    world.deploy("census", world.model_uri("old"))
    project.manifest("census", world.model_uri("new"))
    done = project.run("apply", env={"RECONCILER_INPUT": "0"}, stdin="yes\n")
    assert (done.code, "--auto-approve" in done.err) == (1, True)
    assert world.model("census") == world.model_uri("old")


def test_ctrl_c_ends_with_130_and_no_traceback_while_a_service_is_silent(project: Project) -> None:
    ended = threading.Event()

    def answer(*_: object) -> Answer:
        ended.wait(100)
        return Answer(200, None)

    with run_scripted(answer) as server:
        project.emulator.url = server.url
        project.write_project()
        project.manifest("census", f"{server.url}/account/m/a.ilearner")
        env = {"RECONCILER_TIMEOUT": "120"}
        with begin_command(project.folder, "plan", stdout=subprocess.DEVNULL, env=env) as process:
            while not server.calls:
                time.sleep(0.02)
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=90)  # one call alone waits 120 s, and is repeated
            ended.set()
    assert process.returncode == 130
    assert "Interrupted." in said
    assert "Traceback" not in said


def test_a_closed_stdout_is_no_traceback(project: Project) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with (
        os.fdopen(writing, "wb") as closed,
        begin_command(Path.cwd(), "schema", "WebService", stdout=closed) as process,
    ):
        _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (1, "")


def test_a_terminal_cannot_be_steered_by_what_is_live(project: Project) -> None:
    world = project.emulator
    steer = "\x1b]0;owned\x07\x1b[2J\u202e"
    world.deploy("census", world.model_uri("old"), description=f"a{steer}b")
    more = "  definition: {properties: {description: calm}}"
    project.manifest("census", world.model_uri("new"), more=more)
    said = project.run("plan").out
    assert "\\x1b]0;owned" in said
    assert not set(steer) & {"\x1b", "\x07", "\u202e"} & set(said)


def test_an_editor_finds_the_schema_that_a_manifest_names(tmp_path: Path) -> None:
    assert run(tmp_path, "init").code == 0
    for folder in (tmp_path, EXAMPLE):
        for name in ("reconciler.yaml", "manifests/census.yaml"):
            file = folder / name
            first, _, rest = file.read_text().partition("\n")
            found = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", first)
            assert found, first
            schema = json.loads((file.parent / found[1]).read_text())
            if folder == tmp_path:
                Draft202012Validator(schema).validate(yaml.safe_load(rest))
                with pytest.raises(ValidationError):
                    Draft202012Validator(schema).validate({"kind": "WebServise"})


HOSTILE = "x\x1b]0;PWN\x07\u202egnp\r\x9bA"


@pytest.mark.parametrize(
    "arguments",
    [
        ("init", HOSTILE),
        ("validate", HOSTILE),
        ("plan", HOSTILE),
        ("plan", f"--target={HOSTILE}"),
        ("plan", f"--exclude=WebService/{HOSTILE}"),
        ("plan", f"--allow={HOSTILE}"),
        ("plan", f"--refresh={HOSTILE}"),
        ("plan", f"--out=/nowhere/{HOSTILE}"),
        ("plan", f"--{HOSTILE}"),
        ("show", HOSTILE),
        ("apply", HOSTILE),
        ("drift", HOSTILE),
        ("history", HOSTILE),
        ("history", f"WebService/{HOSTILE}"),
        ("history", f"--at={HOSTILE}"),
        ("forget", HOSTILE),
        ("forget", f"WebService/{HOSTILE}"),
        ("import", HOSTILE),
        ("import", f"WebService/{HOSTILE}", HOSTILE),
        ("export", HOSTILE),
        ("rollback", HOSTILE),
        ("ledger", HOSTILE),
        ("ledger", "verify", "--recover", HOSTILE),
        ("force-unlock", HOSTILE),
        ("schema", HOSTILE),
        ("completion", HOSTILE),
        ("demo", HOSTILE),
        ("emulator", f"--switch={HOSTILE}"),
        ("emulator", f"--faults={HOSTILE}"),
        ("emulator", f"--host={HOSTILE}", "--no-blob", "--port=0"),
        (f"--chdir={HOSTILE}", "plan"),
        (f"--project={HOSTILE}", "plan"),
        (HOSTILE,),
        ("version", HOSTILE),
    ],
    ids=lambda arguments: " ".join(arguments).replace(HOSTILE, "X"),
)
def test_no_argument_reaches_the_terminal_as_it_is(
    project: Project, arguments: tuple[str, ...]
) -> None:
    done = project.run(*arguments)
    assert "a defect of reconciler" not in done.said
    assert all(one.isprintable() or one == "\n" for one in done.said), repr(done.said)

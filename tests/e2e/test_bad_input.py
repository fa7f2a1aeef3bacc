"""What people, services and machines get wrong: each is explained, and nothing is written.

Every case exits with 1, says what, where and what to do, shows no traceback, and leaves the folder
as it was.
"""

import json
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from reconciler.transport.timeouts import Timeouts
from tests.e2e.world import (
    SUBSCRIPTION,
    Done,
    Emulator,
    Project,
    clean_environment,
    run,
    run_with_limit,
)
from tests.scripted import Answer, Script, answers, run_scripted

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("hurried_calls")]
SECRET = "c2VjcmV0LWtleS1wbGFudGVkLWhlcmUtMDEyMzQ1Njc4OQ"

PROJECT = f"""apiVersion: reconciler/v1
kind: Project
metadata: {{name: census}}
spec:
  cloud: emulator
  defaults: {{subscription: {SUBSCRIPTION}, resourceGroup: census}}
"""
CENSUS = """apiVersion: reconciler/v1
kind: WebService
metadata: {name: census}
spec:
  trainedModels:
    Census Model [trained model]: {uri: 'https://acct.blob.core.windows.net/m/a.ilearner'}
"""


def write(folder: Path, **files: str | bytes) -> Path:
    """Files by name, `__` for a slash and `_yaml` for the end."""
    for name, content in files.items():
        path = folder / name.replace("__", "/").replace("_yaml", ".yaml")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def contents(folder: Path) -> dict[str, int]:
    """Everything but the cache of what was read, and the lock of whoever was about to write."""
    passing = {".reconciler", ".gitignore", "lock.json"}
    return {
        str(path): path.lstat().st_size if path.is_file() else 0
        for path in folder.rglob("*")
        if path.name not in passing
        and "observations" not in path.name
        and not (path.name == "ledger.jsonl" and path.stat().st_size == 0)
    }


def refuse(folder: Path, *arguments: str, **env: str) -> Done:
    """Run a command that must refuse: exit 1, the error form, no traceback, nothing written."""
    before = contents(folder)
    done = run(folder, *arguments, env=env)
    assert done.code == 1, done.said
    assert done.said.lstrip("\n").count("Error: ") >= 1, done.said
    assert "Traceback" not in done.said
    assert contents(folder) == before
    return done


def says(done: Done, *texts: str) -> None:
    for text in texts:
        assert text in done.said, f"{text!r} is not in:\n{done.said}"


# What stands in the folder.


@pytest.mark.parametrize("command", ["validate", "plan", "apply"])
def test_an_empty_folder(tmp_path: Path, command: str) -> None:
    says(
        refuse(tmp_path, command), "project file reconciler.yaml does not exist", "reconciler init"
    )


def test_no_project_file_beside_manifests(tmp_path: Path) -> None:
    write(tmp_path, manifests__census_yaml=CENSUS)
    says(refuse(tmp_path, "plan"), "the project file", "does not exist", "--project")


def test_two_projects(tmp_path: Path) -> None:
    write(tmp_path, reconciler_yaml=PROJECT, manifests__b_yaml=CENSUS + "---\n" + PROJECT)
    done = refuse(tmp_path, "validate")
    says(done, "duplicate Project", "on manifests/b.yaml line 8, column 1", "reconciler.yaml:1:1")


def test_two_resources_of_one_address(tmp_path: Path) -> None:
    write(tmp_path, reconciler_yaml=PROJECT, manifests__a_yaml=CENSUS, manifests__b_yaml=CENSUS)
    done = refuse(tmp_path, "plan")
    says(done, "WebService/census: two manifests have this address")
    says(done, "manifests/b.yaml line 3, column 12", "manifests/a.yaml:3:12")


@pytest.mark.parametrize(
    ("old", "new", "place", "hint"),
    [
        ("kind: WebService", "kind: WebServise", "line 2, column 1", 'Did you mean "WebService"?'),
        ("trainedModels", "trainedModel", "line 5, column 3", 'Did you mean "trainedModels"?'),
        ("reconciler/v1", "reconciler/v2", "line 1, column 1", 'Did you mean "reconciler/v1"?'),
        ("{name: census}", "{name: census, name: b}", "line 3, column 26", "duplicate key"),
        ("  trainedModels", "\ttrainedModels", "line 5, column 1", "Indent with spaces."),
        ("{uri:", "{url:", "line 6, column 36", 'Did you mean "uri"?'),
    ],
)
def test_a_slip_of_the_pen(tmp_path: Path, old: str, new: str, place: str, hint: str) -> None:
    text = CENSUS.replace(old, new)
    assert text != CENSUS
    write(tmp_path, reconciler_yaml=PROJECT, manifests__census_yaml=text)
    says(refuse(tmp_path, "validate"), f"on manifests/census.yaml {place}", hint)


def test_everything_wrong_is_said_in_one_run(tmp_path: Path) -> None:
    surprises = "  definition: {tags: {a: no, b: 012, c: 2026-11-20, d: 12:30:45, e: !!set {x}}}\n"
    write(
        tmp_path,
        reconciler_yaml=PROJECT.replace("defaults", "default"),
        manifests__a_yaml=CENSUS.replace("trainedModels", "trainedModel"),
        manifests__b_yaml=CENSUS.replace("census", "b") + surprises,
        manifests__c_yaml="a: [",
        manifests__d_yaml=b"\x00\x01\xff",
    )
    done = refuse(tmp_path, "validate")
    says(done, 'unknown field "default"', 'unknown field "trainedModel"', "is not YAML")
    says(done, '"no" would be read as true or false', '"012" would be read as a number')
    says(done, '"2026-11-20" would be read as a date', '"12:30:45" would be read as', "!!set")
    says(done, "manifests/d.yaml: is not text in UTF-8")
    found = json.loads(run(tmp_path, "validate", "--json").out)
    assert found["valid"] is False
    assert found["error_count"] == done.said.count("Error: ")


def test_a_file_of_a_hundred_megabytes(tmp_path: Path) -> None:
    write(tmp_path, reconciler_yaml=PROJECT, manifests__census_yaml=CENSUS)
    with (tmp_path / "manifests" / "big.yaml").open("wb") as file:
        file.truncate(100_000_000)
    says(refuse(tmp_path, "validate"), "manifests/big.yaml: is 100 MB, and at most 8 MB are read")


def test_an_alias_bomb(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    bomb = CENSUS + "  definition:\n    tags:\n" + "".join(f"      {line}\n" for line in lines)
    write(tmp_path, reconciler_yaml=PROJECT, manifests__census_yaml=bomb)
    says(refuse(tmp_path, "validate"), "holds more than 500,000 values once its aliases are")


def test_a_folder_that_may_not_be_read(tmp_path: Path) -> None:
    folder = write(tmp_path, reconciler_yaml=PROJECT, manifests__deep__census_yaml=CENSUS)
    (folder / "manifests" / "deep").chmod(0)
    try:
        done = run_with_limit(folder, "validate", unprivileged=True)
    finally:
        (folder / "manifests" / "deep").chmod(0o700)
    assert done.code == 1
    says(done, "manifests/deep: cannot be read: Permission denied")


@pytest.mark.parametrize("name", ["/properties/keys/primary", "/properties/storageAccount/key"])
def test_a_literal_secret(tmp_path: Path, name: str) -> None:
    _, _, outer, inner = name.split("/")
    more = f"  definition: {{properties: {{{outer}: {{{inner}: {SECRET}}}}}}}\n"
    write(tmp_path, reconciler_yaml=PROJECT, manifests__census_yaml=CENSUS + more)
    done = refuse(tmp_path, "plan")
    says(
        done, f"{inner} is a secret, and its value is in plain text here", f"{name}: {{env: NAME}}"
    )
    assert SECRET not in done.said


def test_a_signature_in_an_address(tmp_path: Path) -> None:
    signed = CENSUS.replace(".ilearner", f".ilearner?sv=2024-01-01&sig={SECRET}")
    write(tmp_path, reconciler_yaml=PROJECT, manifests__census_yaml=signed)
    done = refuse(tmp_path, "validate")
    says(done, "looks like a key or a shared access signature", "line 6")
    assert SECRET not in done.said


def test_what_lies_outside_the_project(tmp_path: Path) -> None:
    folder = write(tmp_path / "p", reconciler_yaml=PROJECT, manifests__a_yaml=CENSUS)
    (tmp_path / "outside.json").write_text("{}")
    (folder / "manifests" / "link.json").symlink_to(tmp_path / "outside.json")
    for number, name in enumerate(("../../outside.json", "link.json", "/etc/passwd")):
        text = CENSUS.replace("census", f"b{number}") + f"  definition: {{file: {name}}}\n"
        write(folder, **{f"manifests__b{number}_yaml": text})
    done = refuse(folder, "validate")
    assert done.said.count("the definition file is outside the project's folder") == 3


def test_a_missing_variable(project: Project) -> None:
    world = project.emulator
    world.deploy("census", world.model_uri("old"))
    more = "  secrets: {/properties/keys/primary: {env: CENSUS_KEY}}"
    project.manifest("census", world.model_uri("new"), more=more)
    done = refuse(project.folder, "apply", "--auto-approve")
    says(done, "the secret is not set", "Set CENSUS_KEY", "manifests/census.yaml line 7")
    assert world.model("census") == world.model_uri("old")


def test_a_model_that_the_service_does_not_have(project: Project) -> None:
    world = project.emulator
    world.deploy("census", world.model_uri("old"))
    project.manifest("census", world.model_uri("new"), named="Census Model [train model]")
    done = refuse(project.folder, "plan")
    assert done.err.endswith(
        """Error: WebService/census: no trained model is named "Census Model [train model]"

  on manifests/census.yaml line 6, column 5
  The service has: "Census Model [trained model]".

  Did you mean "Census Model [trained model]"?
"""
    )


def test_a_wrong_target_guard_and_option(project: Project) -> None:
    project.manifest("census", "https://acct.blob.core.windows.net/m/a.ilearner")
    says(refuse(project.folder, "plan", "--target", "WebService/cencus"), "WebService/census?")
    says(refuse(project.folder, "plan", "--target", "census"), "Kind/name")
    says(refuse(project.folder, "plan", "--allow", "everything"), "deletes, updates, replace")
    says(refuse(project.folder, "plan", "--frmat", "json"), "Did you mean '--format'?")
    says(refuse(project.folder, "paln"), "paln", "Did you mean 'reconciler plan'?")
    says(refuse(project.folder, "--chdir", "nowhere", "plan"), "nowhere: No such file")
    says(refuse(project.folder, "--project", "nowhere.yaml", "plan"), "nowhere.yaml")
    says(refuse(project.folder, "plan", "nowhere"), "nowhere: does not exist")


# What answers, or does not.


@pytest.fixture
def ready(project: Project) -> Callable[[str], Project]:
    """A project whose service is at an address."""

    def make(url: str) -> Project:
        project.emulator = Emulator(url, "", group=project.emulator.group)
        project.write_project()
        project.manifest("census", f"{url}/account/m/a.ilearner")
        return project

    return make


def test_a_service_that_cannot_be_reached(ready: Callable[[str], Project]) -> None:
    with socket.socket() as taken:  # so that no other process listens there
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        done = refuse(ready(url).folder, "plan", RECONCILER_TIMEOUT="0.5")
    says(done, f"WebService/census: {url}: cannot be reached", "reconciler emulator")


def problem(code: str) -> object:
    return {"error": {"code": code, "message": f"because of {code}"}}


HTML = b"<html><body>Sign in to the network</body></html>"


@pytest.mark.parametrize(
    ("script", "texts"),
    [
        (
            answers(Answer(401, problem("InvalidAuthenticationToken"))),
            ("another token", "status 401"),
        ),
        (
            answers(Answer(403, problem("AuthorizationFailed"), {"x-ms-request-id": "req-7"})),
            ("The role Contributor on the service is needed.", "code AuthorizationFailed", "req-7"),
        ),
        (
            answers(Answer(404, problem("ResourceGroupNotFound"))),
            ("code ResourceGroupNotFound", "Check the subscription and resource group"),
        ),
        (answers(Answer(200, HTML, {"Content-Type": "text/html"})), ("text/html", "spec.cloud")),
        (answers(Answer(502, HTML, {"Content-Type": "text/html"})), ("not JSON", "proxy")),
        (answers(Answer(200, [1, 2])), ("the service did not return a definition",)),
        (answers(Answer(200, {"id": "x"})), ("the service did not return a definition",)),
        (
            answers(Answer(307, None, {"Location": "https://elsewhere.example/x"})),
            ("redirects to elsewhere.example", "the token was not sent there"),
        ),
        (answers(Answer(200, {"id": "x" * 1000}, cut=True)), ("the answer broke off",)),
    ],
    ids=[
        "401",
        "403",
        "404-of-the-group",
        "html",
        "html-502",
        "list",
        "no-properties",
        "redirect",
        "cut",
    ],
)
def test_a_service_that_answers_badly(
    ready: Callable[[str], Project], script: Script, texts: tuple[str, ...]
) -> None:
    # What is tried again is given up soon; what is said at once may take a busy machine a while.
    soon = Timeouts(total_s=2, throttled_s=10, connect_s=60, read_s=60)
    patched = mock.patch("reconciler.transport.client.read_timeouts", return_value=soon)
    with run_scripted(script) as server, patched:
        done = refuse(ready(server.url).folder, "plan")
    says(done, "Error: WebService/census: ", *texts)


def test_a_service_that_does_not_answer(ready: Callable[[str], Project]) -> None:
    with run_scripted(answers(Answer(200, None, wait=60))) as server:
        done = refuse(ready(server.url).folder, "plan", RECONCILER_TIMEOUT="0.5")
    says(done, "Error: WebService/census: ", "no answer within 0.5 s")


def test_a_wrong_token(project: Project) -> None:
    project.manifest("census", project.emulator.model_uri("new"))
    done = refuse(project.folder, "plan", RECONCILER_EMULATOR_TOKEN="wrong-token-planted")
    says(done, "status 401", "RECONCILER_EMULATOR_TOKEN")
    assert "wrong-token-planted" not in done.said


def test_a_group_that_is_not_there_is_no_absent_service(project: Project) -> None:
    """Were it taken for one, the plan would create the service anew."""
    script = answers(Answer(404, problem("ResourceGroupNotFound")))
    with run_scripted(script) as server:
        project.emulator = Emulator(server.url, "")
        project.write_project()
        more = "  definition: {file: whole.json}"
        project.manifest("census", more=more)
        (project.folder / "manifests" / "whole.json").write_text('{"location": "West Europe"}')
        done = refuse(project.folder, "plan")
        asked = [call.target.partition("?")[0] for call in server.calls]
    # The list of the subscription might have named the right group.
    services = "/providers/Microsoft.MachineLearning/webServices"
    assert asked[0].endswith(f"{services}/census")
    assert asked[1:] == [f"/subscriptions/{SUBSCRIPTION}{services}"]
    assert "to add" not in done.said


# Plans and disks.


def test_a_plan_of_another_version(project: Project) -> None:
    world = project.emulator
    world.deploy("census", world.model_uri("old"))
    project.manifest("census", world.model_uri("new"))
    assert project.run("plan", "--out", "plan.json").code == 0
    file = project.folder / "plan.json"
    file.write_text(file.read_text().replace('"format_version":"1.0"', '"format_version":"2.0"'))
    for command in ("show", "apply"):
        done = refuse(project.folder, command, "plan.json")
        says(done, "plan.json: the saved plan has format version '2.0'", "same version")
    assert world.model("census") == world.model_uri("old")


def test_a_plan_file_that_is_none(project: Project) -> None:
    project.manifest("census", project.emulator.model_uri("new"))
    write(project.folder, **{"binary.plan": b"\x00\xff", "html.plan": HTML})
    says(refuse(project.folder, "apply", "binary.plan"), "binary.plan: not a saved plan")
    says(refuse(project.folder, "apply", "html.plan"), "html.plan: not a saved plan")
    says(refuse(project.folder, "apply", "nowhere.plan"), "the plan file does not exist", "--out")


def test_a_full_disk_while_a_plan_is_saved(project: Project) -> None:
    world = project.emulator
    world.deploy("census", world.model_uri("old"))
    project.manifest("census", world.model_uri("new"))
    says(refuse(project.folder, "plan", "--out", "/dev/full"), "/dev/full", "Make room on the disk")
    assert Path("/dev/full").is_char_device()
    assert project.run("plan", "--out", "kept.json").code == 0
    before = contents(project.folder)
    done = run_with_limit(project.folder, "plan", "--out", "kept.json", file_bytes=2048)
    assert done.code == 1
    says(done, "kept.json: File too large")
    assert contents(project.folder) == before


def test_a_full_disk_while_the_ledger_is_written(project: Project) -> None:
    world = project.emulator
    for name in ("a", "b", "c"):
        world.deploy(name, world.model_uri("old"))
        project.manifest(name, world.model_uri("new"))
    assert project.run("apply", "--auto-approve", "--target", "WebService/a").code == 0
    ledger = project.folder / ".reconciler" / "ledger.jsonl"
    before = ledger.read_bytes()
    done = run_with_limit(
        project.folder, "apply", "--auto-approve", "--parallelism=1", file_bytes=len(before) + 100
    )
    assert done.code == 1
    says(
        done,
        "Apply incomplete! Resources: 0 added, 0 changed, 0 destroyed. 1 failed, 1 not started.",
    )
    says(
        done,
        "the ledger cannot be written: File too large",
        "Free disk space",
        "It stopped WebService/b",
    )
    says(done, "1 step not started, because of the failures:\n  WebService/c")
    assert world.model("b") == world.model_uri("old")
    assert ledger.read_bytes() == before
    assert world.model("c") == world.model_uri("old")
    assert project.run("apply", "--auto-approve").code == 0
    assert project.run("plan", "--detailed-exitcode").code == 0


def test_a_ledger_that_was_tampered_with(project: Project) -> None:
    world = project.emulator
    world.deploy("census", world.model_uri("old"))
    for model in ("first", "second"):
        project.manifest("census", world.model_uri(model))
        assert project.run("apply", "--auto-approve").code == 0
    ledger = project.folder / ".reconciler" / "ledger.jsonl"
    ledger.write_text(ledger.read_text().replace("first", "third"))
    done = refuse(project.folder, "plan")
    says(done, "line 1 of the ledger was changed since it was written", "reconciler ledger rebuild")


@pytest.mark.parametrize(
    ("arguments", "stream", "code", "unbuffered"),
    [
        (("version",), "stdout", 1, "1"),
        (("version",), "stdout", 1, ""),
        (("pln",), "stderr", 1, ""),
        (("plan",), "stdout", 1, ""),
        (("plan", "--json"), "stdout", 1, ""),
        (("plan",), "stderr", 0, ""),
    ],
)
def test_a_full_disk_beneath_a_stream(
    project: Project, arguments: tuple[str, ...], stream: str, code: int, unbuffered: str
) -> None:
    project.emulator.deploy("one", "https://models.blob.core.windows.net/models/old.ilearner")
    project.manifest("one", "https://models.blob.core.windows.net/models/old.ilearner")
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "reconciler", *arguments],
            cwd=project.folder,
            env={**clean_environment(), "PYTHONUNBUFFERED": unbuffered},
            **{**pipes, stream: full},
            text=True,
            check=False,
        )
    assert done.returncode == code
    if stream == "stdout":
        assert "No space left on device" in done.stderr
        assert "Traceback" not in done.stderr
        assert "Exception ignored" not in done.stderr
    elif code == 0:
        assert "No changes." in done.stdout


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("apply", "--auto-approve", "--expect", ""), "--expect"),
        (("apply", "--auto-approve", ""), "[FILE|PATH]..."),
        (("plan", "--out="), "--out"),
        (("plan", "--target", ""), "--target"),
        (("history", "--at", ""), "--at"),
        (("ledger", "verify", "--recover", ""), "--recover"),
        (("--project", "", "apply", "--auto-approve"), "--project"),
    ],
)
def test_an_empty_value_is_refused_and_does_not_count_as_none(
    project: Project, arguments: tuple[str, ...], named: str
) -> None:
    world = project.emulator
    world.deploy("a", world.model_uri("old"))
    project.manifest("a", world.model_uri("new"))
    done = project.run(*arguments)
    assert done.code == 1
    assert f"'{named}' is empty" in done.said
    assert not (project.folder / ".reconciler" / "ledger.jsonl").exists()


@pytest.mark.parametrize("arguments", [("init", ""), ("emulator", "--data=", "--no-blob")])
def test_an_empty_path_is_not_the_working_directory(
    project: Project, arguments: tuple[str, ...]
) -> None:
    done = project.run(*arguments)
    assert done.code == 1
    assert "is empty" in done.said

"""Signed approvals from end to end: approve a plan, apply it with approvals, and what is refused."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from unittest import mock

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from reconciler.plans.approvals import NAMESPACE
from reconciler.plans.ssh_signatures import sign
from tests.e2e.terminal import run_on_terminal
from tests.e2e.world import Done, Project, clock_ahead, run_emulator, spawn
from tests.outputs import check_output
from tests.ssh import HardwareKey, make_key, need_ssh_keygen, verify_by_ssh_keygen, write_key

pytestmark = pytest.mark.e2e
DAY = timedelta(days=1).total_seconds()


def prepare(project: Project) -> Path:
    """A saved plan with one change, and a keyring outside of the project with alice and bob."""
    world = project.emulator
    world.deploy("census", world.model_uri("old"))
    project.manifest("census", world.model_uri("new"))
    assert project.run("plan", "--out", "p.plan").code == 0
    outside = project.folder.parent / "outside"
    outside.mkdir()
    lines = [f"{name}@example.com {write_key(outside / name).line}\n" for name in ("alice", "bob")]
    (outside / "signers").write_text("".join(lines))
    return outside


def approve(project: Project, outside: Path, name: str = "alice", *more: str) -> Done:
    return project.run("approve", "p.plan", "--key", str(outside / name), "--out", "ok/", *more)


def with_approvals(outside: Path, *more: str) -> tuple[str, ...]:
    return ("--approvals", "ok", "--keyring", str(outside / "signers"), *more)


def apply_saved(project: Project, outside: Path, *more: str) -> Done:
    flags = (*with_approvals(outside), *more)
    return project.run("apply", "p.plan", *flags, "--detailed-exitcode")


def test_a_saved_plan_is_applied_with_an_approval_and_the_history_names_the_approver(
    project: Project,
) -> None:
    outside = prepare(project)
    (project.folder / "ok").mkdir()
    refused = apply_saved(project, outside)
    assert refused.code == 3
    assert "Error: needs 1 approval and has none" in refused.err
    assert "reconciler approve FILE --key KEY" in refused.err
    done = approve(project, outside)
    assert done.code == 0
    assert 'Approved 1 change of the project "census":' in done.out
    assert "WebService/census" in done.out
    applied = apply_saved(project, outside)
    assert (applied.code, "Approved by alice@example.com until" in applied.err) == (0, True)
    assert project.emulator.model("census") == project.emulator.model_uri("new")
    history = project.run("history")
    assert "\n      Approved by alice@example.com\n" in history.out
    said = json.loads(project.run("history", "WebService/census", "--json").out)
    check_output(said, "history")
    (entry,) = said["entries"]
    assert [one["principal"] for one in entry["approvals"]] == ["alice@example.com"]
    assert project.run("ledger", "verify").code == 0


def test_the_same_changes_are_approved_when_they_are_planned_again(project: Project) -> None:
    outside = prepare(project)
    assert approve(project, outside).code == 0
    flags = with_approvals(outside)
    done = project.run("apply", "--auto-approve", *flags)
    assert (done.code, "Approved by alice@example.com" in done.err) == (0, True)
    assert "Approved by alice@example.com" in project.run("history").out
    again = project.run("apply", "--auto-approve", *flags, "--detailed-exitcode")
    assert (again.code, "No changes." in again.out) == (0, True)


def test_other_changes_than_the_approved_ones_are_refused(project: Project) -> None:
    outside = prepare(project)
    assert approve(project, outside).code == 0
    project.manifest("census", project.emulator.model_uri("newer"))
    flags = with_approvals(outside)
    done = project.run("apply", "--auto-approve", *flags, "--detailed-exitcode")
    assert done.code == 3
    assert "needs 1 approval and has none" in done.err
    assert "approves other changes, sha256:" in done.err
    assert project.emulator.model("census") == project.emulator.model_uri("old")


def test_two_people_must_approve_where_two_are_required(project: Project) -> None:
    outside = prepare(project)
    approve(project, outside)
    approve(project, outside, "alice", "--out", "ok/again.approval.json")
    refused = apply_saved(project, outside, "--require", "2")
    assert refused.code == 3
    assert "needs 2 approvals and has 1, by alice@example.com" in refused.err
    assert "it counts once" in refused.err
    approve(project, outside, "bob")
    done = apply_saved(project, outside, "--require", "2")
    assert done.code == 0
    assert "1 approval does not count" in done.err
    assert "Approved by alice@example.com, bob@example.com" in project.run("history").out


def test_an_approval_expires(project: Project) -> None:
    outside = prepare(project)
    assert approve(project, outside, "alice", "--expires", "1d").code == 0
    with clock_ahead(DAY + 60):
        done = apply_saved(project, outside)
    assert (done.code, "has expired at" in done.err) == (3, True)
    assert apply_saved(project, outside).code == 0


def test_the_refusal_is_json_where_json_is_asked_for(project: Project) -> None:
    outside = prepare(project)
    (project.folder / "ok").mkdir()
    done = project.run("apply", "p.plan", *with_approvals(outside), "--json", "--detailed-exitcode")
    assert done.code == 3
    errors = [one for one in map(json.loads, done.out.splitlines()) if one["@level"] == "error"]
    assert any("needs 1 approval and has none" in one["@message"] for one in errors)


def test_approve_prints_json(project: Project) -> None:
    outside = prepare(project)
    done = approve(project, outside, "alice", "--principal", "alice@example.com", "--json")
    said = json.loads(done.out)
    check_output(said, "approval")
    assert said["statement"]["principal"] == "alice@example.com"
    plan = json.loads((project.folder / "p.plan").read_text())
    assert said["statement"]["changes_digest"] == plan["changes_digest"]
    assert json.loads((project.folder / said["file"]).read_text()) == said["statement"]
    assert (project.folder / said["signature_file"]).is_file()


def test_ssh_keygen_verifies_what_approve_writes(project: Project) -> None:
    outside = prepare(project)
    said = json.loads(approve(project, outside, "alice", "--json").out)
    statement = (project.folder / said["file"]).read_bytes()
    signature = (project.folder / said["signature_file"]).read_bytes()
    keyring = (outside / "signers").read_text()
    found = verify_by_ssh_keygen(outside, keyring, "alice@example.com", statement, signature)
    assert "Good" in found


def test_a_public_key_signs_with_the_help_of_ssh_keygen(project: Project) -> None:
    need_ssh_keygen()
    outside = prepare(project)
    assert approve(project, outside, "alice.pub").code == 0
    assert apply_saved(project, outside).code == 0
    (outside / "bob").unlink()
    failed = approve(project, outside, "bob.pub")
    assert failed.code == 1
    assert "ssh-keygen could not sign" in failed.err
    assert "ssh-add" in failed.err


@pytest.mark.parametrize("of_project", [False, True])
def test_a_keyring_that_the_project_can_change_is_a_warning(
    project: Project, *, of_project: bool
) -> None:
    outside = prepare(project)
    approve(project, outside)
    place = project.folder / "signers" if of_project else outside / "signers"
    place.write_bytes((outside / "signers").read_bytes())
    done = project.run("apply", "p.plan", "--approvals", "ok", "--keyring", str(place))
    assert done.code == 0
    assert ("the keyring is in the checkout" in done.err) is of_project


def test_a_hostile_folder_is_judged_and_never_followed(project: Project) -> None:
    outside = prepare(project)
    approve(project, outside)
    folder = project.folder / "ok"
    (good,) = folder.glob("*.approval.json")
    (folder / "link.approval.json").symlink_to(good)
    os.mkfifo(folder / "pipe.approval.json")
    (folder / "dir.approval.json").mkdir()
    (folder / "lone.approval.json").write_bytes(good.read_bytes())
    (folder / "x.approval.json.sig").write_text("")
    (folder / "e\x1b[2J\u202e.approval.json").write_text("{}")
    with (folder / "huge.approval.json").open("wb") as file:
        file.truncate((16 << 20) + 1)
    (folder / "huge.approval.json.sig").write_text("")
    (folder / "README.md").write_text("not an approval")
    done = apply_saved(project, outside, "--require", "1")
    assert done.code == 0, done.err
    for said in (
        "7 approvals do not count",
        "link.approval.json: is a symbolic link, and approvals are not read through links",
        "pipe.approval.json: is not a regular file",
        "dir.approval.json: cannot be read: Is a directory",
        "lone.approval.json: its signature does not exist",
        "x.approval.json.sig: is a signature without its statement",
        "huge.approval.json: is larger than 16,384 kB",
    ):
        assert said in done.err
    assert "\x1b" not in done.err
    assert "\u202e" not in done.err


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--approvals", "ok"], "--approvals and --keyring need each other"),
        (["--keyring", "k"], "--approvals and --keyring need each other"),
        (["--require", "1"], "--require needs --approvals and --keyring"),
        (["--approvals", "ok", "--keyring", "gone"], "gone: the keyring cannot be read: No such"),
        (["--approvals", "ok", "--keyring", "."], ".: the keyring cannot be read: Is a directory"),
        (["--approvals", "ok", "--keyring", "bad"], "on bad line 2, column 19"),
        (["--approvals", "ok", "--keyring", "latin"], "the keyring is not UTF-8 text: line 2"),
        (["--approvals", "ok", "--keyring", "huge"], "the keyring is larger than 1 MB"),
        (["--approvals", "gone", "--keyring", "SIGNERS"], "gone: the folder of approvals cannot"),
        (
            ["--approvals", "ok", "--keyring", "SIGNERS", "--require", "-1"],
            "-1 is not in the range",
        ),
    ],
)
def test_wrong_flags_are_refused_before_anything_is_read(
    project: Project, flags: list[str], said: str
) -> None:
    outside = prepare(project)
    (project.folder / "ok").mkdir()
    (project.folder / "bad").write_text("# c\nalice ssh-ed25519 AAAA\n*@x cert-authority a\n")
    (project.folder / "latin").write_bytes(b"a\nb\xff\n")
    (project.folder / "huge").write_bytes(b"\n" * ((1 << 20) + 1))
    given = [str(outside / "signers") if one == "SIGNERS" else one for one in flags]
    done = project.run("apply", "p.plan", *given)
    assert (done.code, said in done.err) == (1, True), done.err
    if "bad" in flags:
        assert "on bad line 3" in done.err
        assert "cert-authority" in done.err
    assert project.emulator.model("census") == project.emulator.model_uri("old")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["gone.plan", "--key", "K"], "gone.plan: the plan file does not exist"),
        (["p.plan"], "Missing option '--key'"),
        (["p.plan", "--key", "gone"], "gone: the key does not exist"),
        (["p.plan", "--key", "."], ".: the key cannot be read: Is a directory"),
        (["p.plan", "--key", "p.plan"], "p.plan: is not an SSH key"),
        (["p.plan", "--key", "damaged"], "damaged: the key is damaged"),
        (["p.plan", "--key", "K", "--expires", "0"], "--expires must be from 1s to 366d"),
        (["p.plan", "--key", "K", "--expires", "367d"], "--expires must be from 1s to 366d"),
        (["p.plan", "--key", "K", "--expires", "soon"], "'soon' is not a duration"),
        (["p.plan", "--key", "K", "--principal", "*@x"], "a principal is one name"),
        (["p.plan", "--key", "K", "--out", "p.json"], "ends in .approval.json"),
        (["p.plan", "--key", "K", "--out", "mine.approval.json"], "is not an approval, and --out"),
        (["p.plan", "--key", "K", "--out", "link.approval.json"], "is a symbolic link"),
        (["p.plan", "--key", "K", "--out", "no/no/x.approval.json"], "No such file or directory"),
    ],
)
def test_what_approve_cannot_do_is_said_and_nothing_is_written(
    project: Project, flags: list[str], said: str
) -> None:
    outside = prepare(project)
    (project.folder / "damaged").write_bytes(
        (outside / "alice").read_bytes().replace(b"b3Blbn", b"AAAAAA")
    )
    (project.folder / "mine.approval.json").write_text('{"mine": 1}')
    (project.folder / "link.approval.json").symlink_to(outside / "new")
    before = {one.name for one in project.folder.iterdir()}
    given = [str(outside / "alice") if one == "K" else one for one in flags]
    done = project.run("approve", *given)
    assert (done.code, said in done.err) == (1, True), done.err
    assert {one.name for one in project.folder.iterdir()} == before
    assert (project.folder / "mine.approval.json").read_text() == '{"mine": 1}'


def test_no_flag_lifts_the_guard_of_approvals(project: Project) -> None:
    outside = prepare(project)
    (project.folder / "ok").mkdir()
    flags = with_approvals(outside, "--allow", "approval")
    done = project.run("apply", "--auto-approve", *flags)
    assert (done.code, "no flag lifts the guard approval" in done.err) == (1, True)


def test_a_plan_without_changes_is_not_approved(project: Project) -> None:
    outside = prepare(project)
    project.emulator.deploy("census", project.emulator.model_uri("new"))
    assert project.run("plan", "--out", "p.plan").code == 0
    done = approve(project, outside)
    assert (done.code, "has no changes to approve" in done.err) == (1, True)


def test_an_approval_may_be_made_again(project: Project) -> None:
    outside = prepare(project)
    for _ in range(2):
        assert project.run("approve", "p.plan", "--key", str(outside / "alice")).code == 0
    assert len(list(project.folder.glob("*.approval.json"))) == 1
    (file,) = project.folder.glob("*.approval.json.sig")
    assert file.name.startswith("p.")
    assert file.stat().st_mode & 0o777 == 0o644


def test_a_passphrase_is_asked_for_on_the_terminal_and_never_shown(project: Project) -> None:
    outside = prepare(project)
    write_key(outside / "locked", passphrase="PLANTED-phrase")
    command = ("approve", "p.plan", "--key", str(outside / "locked"), "--out", "ok/")
    question = f"Passphrase of {outside / 'locked'}: "
    shown = run_on_terminal(project.folder, *command, answers={question: "PLANTED-phrase"})
    assert (shown.code, "Approved 1 change" in shown.plain) == (0, True), shown.plain
    assert "PLANTED" not in shown.plain
    wrong = run_on_terminal(project.folder, *command, answers={question: "PLANTED-other"})
    assert wrong.code == 1
    assert wrong.plain.count(question) == 3
    assert "the passphrase is wrong: 3 attempts" in wrong.plain
    assert "PLANTED" not in wrong.plain


def test_ssh_keygen_asks_for_the_passphrase_itself(project: Project) -> None:
    need_ssh_keygen()
    outside = prepare(project)
    write_key(outside / "locked", passphrase="PLANTED-phrase")
    command = ("approve", "p.plan", "--key", f"{outside / 'locked'}.pub")
    # Versions of OpenSSH ask in different words.
    env = {"SSH_AUTH_SOCK": "", "DISPLAY": ""}
    shown = run_on_terminal(project.folder, *command, answers={": ": "PLANTED-phrase"}, env=env)
    assert (shown.code, "Approved 1 change" in shown.plain) == (0, True), shown.plain
    assert "PLANTED" not in shown.plain


def test_an_end_of_input_instead_of_a_passphrase_is_an_error(project: Project) -> None:
    outside = prepare(project)
    write_key(outside / "locked", passphrase="secret")
    command = ("approve", "p.plan", "--key", str(outside / "locked"))
    question = f"Passphrase of {outside / 'locked'}: "
    shown = run_on_terminal(project.folder, *command, answers={question: "\x04"})
    assert (shown.code, "no passphrase was given" in shown.plain) == (1, True), shown.plain


@pytest.mark.parametrize(
    ("kind", "form"),
    [
        ("ed25519", PrivateFormat.PKCS8),
        ("ecdsa-256", PrivateFormat.PKCS8),
        ("ecdsa-256", PrivateFormat.TraditionalOpenSSL),
        ("rsa", PrivateFormat.PKCS8),
        ("rsa", PrivateFormat.TraditionalOpenSSL),
    ],
    ids=str,
)
def test_a_key_in_another_form_signs(project: Project, kind: str, form: PrivateFormat) -> None:
    outside = prepare(project)
    key = make_key(kind)
    (outside / "pem").write_bytes(key.private_bytes(Encoding.PEM, form, NoEncryption()))
    assert approve(project, outside, "pem").code == 0


def test_what_a_folder_makes_apply_read_is_bounded(project: Project) -> None:
    outside = prepare(project)
    folder = project.folder / "ok"
    folder.mkdir()
    for number in range(6):
        with (folder / f"x{number}.approval.json").open("wb") as file:
            file.truncate(16 << 20)
        (folder / f"x{number}.approval.json.sig").write_text("x")
    done = apply_saved(project, outside)
    assert done.code == 3
    assert done.err.count("is not an OpenSSH signature") == 4
    assert done.err.count("is not read: the approvals before it have 64 MB") == 2


@pytest.mark.parametrize("env", [{}, {"RECONCILER_INPUT": "0"}], ids=["pipe", "switched-off"])
def test_a_passphrase_that_cannot_be_asked_for_is_an_error(
    project: Project, env: dict[str, str]
) -> None:
    outside = prepare(project)
    write_key(outside / "locked", passphrase="secret")
    command = ("approve", "p.plan", "--key", str(outside / "locked"))
    if env:
        shown = run_on_terminal(project.folder, *command, env=env, answers={"never asked": ""})
        code, said = shown.code, shown.plain
    else:
        # Its session is that of the fork server, which has no terminal.
        done = spawn(project.folder, *command)
        code, said = done.code, done.err
    assert code == 1
    assert "the key has a passphrase, and it cannot be asked for" in " ".join(said.split())
    assert "ssh-add" in said


def accepts_calls(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(path) == 0


@pytest.fixture
def agent() -> Iterator[str]:
    """The socket of an SSH agent without keys."""
    need_ssh_keygen()
    folder = tempfile.mkdtemp()
    path = f"{folder}/agent"
    with subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.DEVNULL) as process:
        while not accepts_calls(path):  # its socket is there a moment before
            time.sleep(0.01)
        yield path
        process.terminate()
    shutil.rmtree(folder)


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa-384", "rsa"])
def test_a_key_in_the_agent_signs(project: Project, agent: str, kind: str) -> None:
    outside = prepare(project)
    key = outside / "agents"
    public = write_key(key, make_key(kind))
    env = {"SSH_AUTH_SOCK": agent}
    subprocess.run(["ssh-add", "-q", str(key)], env={**os.environ, **env}, check=True)
    key.unlink()
    done = project.run("approve", "p.plan", "--key", f"{key}.pub", "--out", "ok/", env=env)
    assert done.code == 0, done.err
    (outside / "signers").write_text(f"carol {public.line}\n")
    applied = apply_saved(project, outside)
    assert (applied.code, "Approved by carol until" in applied.err) == (0, True)


@pytest.mark.parametrize("kind", ["sk-ed25519", "sk-ecdsa"])
@pytest.mark.parametrize("encrypted", [False, True])
def test_a_hardware_key_signs_with_the_help_of_ssh_keygen(
    project: Project, kind: str, *, encrypted: bool
) -> None:
    """No such key is connected here; that its signatures count is held by test_ssh_signatures."""
    outside = prepare(project)
    HardwareKey(kind).write(outside / "hardware", encrypted=encrypted)
    tool = outside / "bin" / "ssh-keygen"
    tool.parent.mkdir()
    tool.write_text(
        '#!/bin/sh\ncat > /dev/null\necho "Touch it \33[2J" >&2\necho "$@" >&2\nexit 255\n'
    )
    tool.chmod(0o755)
    env = {"PATH": f"{tool.parent}:{os.environ['PATH']}"}
    done = project.run("approve", "p.plan", "--key", str(outside / "hardware"), env=env)
    assert done.code == 1
    assert "Touch it \\x1b[2J\n" in done.err
    asked = f"-Y sign -n reconciler-approval -f {outside / 'hardware'}"
    assert f"ssh-keygen could not sign: {asked}" in done.err
    assert "Connect the hardware key" in done.err


def test_a_lying_ssh_keygen_is_noticed(project: Project) -> None:
    outside = prepare(project)
    other = sign(make_key(), b"something else", NAMESPACE)
    (outside / "other.sig").write_bytes(other)
    tool = outside / "bin" / "ssh-keygen"
    tool.parent.mkdir()
    tool.write_text(f'#!/bin/sh\ncat > /dev/null\ncat "{outside / "other.sig"}"\n')
    tool.chmod(0o755)
    env = {"PATH": f"{tool.parent}:{os.environ['PATH']}"}
    done = project.run("approve", "p.plan", "--key", str(outside / "alice.pub"), env=env)
    assert (done.code, "does not match what was signed" in done.err) == (1, True), done.err
    assert not list(project.folder.glob("*.approval.json*"))


def test_without_ssh_keygen_a_public_key_cannot_sign(project: Project) -> None:
    outside = prepare(project)
    key = str(outside / "alice.pub")
    done = project.run("approve", "p.plan", "--key", key, env={"PATH": "/nowhere"})
    assert (done.code, "ssh-keygen cannot be started" in done.err) == (1, True)
    assert "Install OpenSSH's client" in done.err


def test_a_signature_of_a_certificate_is_refused_when_it_is_made(project: Project) -> None:
    keygen = need_ssh_keygen()
    outside = prepare(project)
    public = str(outside / "alice.pub")
    command = [keygen, "-q", "-s", str(outside / "bob"), "-I", "id", "-n", "alice", public]
    subprocess.run(command, check=True)
    done = approve(project, outside, "alice-cert.pub")
    assert (done.code, "certificates are not accepted" in done.err) == (1, True), done.err


def test_an_approval_that_expires_while_a_person_is_asked_does_not_count(project: Project) -> None:
    outside = prepare(project)
    rules = "spec:\n  rules:\n  - {name: storage, modelsFrom: [census]}\n"
    (project.folder / "policies").mkdir()
    (project.folder / "policies" / "production.yaml").write_text(
        f"apiVersion: reconciler/v1\nkind: Policy\nmetadata: {{name: production}}\n{rules}"
    )
    approve(project, outside, "alice", "--expires", "1d")
    flags = with_approvals(outside, "--require", "0", "--detailed-exitcode")
    with contextlib.ExitStack() as later:

        def wait() -> bool:
            later.enter_context(clock_ahead(DAY + 60))
            return True

        later.enter_context(mock.patch("reconciler.cli.approval.may_ask", wait))
        done = project.run("apply", *flags, stdin="yes\n")
    assert "Lifted by the approval of alice@example.com" in done.out
    assert (done.code, "the approval of alice@example.com has expired" in done.err) == (4, True)
    assert project.emulator.model("census") == project.emulator.model_uri("old")
    assert project.run("apply", *flags, stdin="yes\n").code == 0


def test_an_approval_of_one_environment_is_not_one_of_another(project: Project) -> None:
    outside = prepare(project)
    head = "apiVersion: reconciler/v1\nkind: Environment\nmetadata: {name: NAME}\nspec: {}\n"
    (project.folder / "environments").mkdir()
    for name in ("dev", "prod"):
        (project.folder / "environments" / f"{name}.yaml").write_text(head.replace("NAME", name))
    assert project.run("plan", "--env", "dev", "--out", "p.plan").code == 0
    done = approve(project, outside)
    assert 'of the project "census" in the environment "dev":' in done.out
    flags = with_approvals(outside, "--auto-approve", "--detailed-exitcode")
    refused = project.run("apply", "--env", "prod", *flags)
    assert refused.code == 3
    assert 'is for the environment "dev", and this is the environment "prod"' in refused.err
    assert project.run("apply", "--env", "dev", *flags).code == 0


def test_a_saved_plan_that_is_half_done_goes_on_with_the_same_approval(tmp_path: Path) -> None:
    faults = tmp_path / "faults.yaml"
    faults.write_text(
        "- {match: {method: PATCH, path: webServices/one}, do: fail-operation, times: 1}\n"
    )
    with run_emulator("--faults", str(faults)) as running:
        project = Project(tmp_path / "project", running, guards=", maxUpdates: 100%")
        for name in ("one", "two"):
            running.deploy(name, running.model_uri("old"))
            project.manifest(name, running.model_uri("new"))
        outside = prepare(project)
        approve(project, outside)
        first = apply_saved(project, outside)
        assert first.code == 6, first.said
        flags = with_approvals(outside, "--auto-approve", "--detailed-exitcode")
        rest = project.run("apply", "--target", "WebService/one", *flags)
        assert (rest.code, "approves other changes" in rest.err) == (3, True)
        again = apply_saved(project, outside)
        assert again.code == 0, again.said
        assert running.model("one") == running.model_uri("new")
        facts = (project.folder / ".reconciler" / "ledger.jsonl").read_text()
        assert facts.count('"topic":"approvals"') == 1

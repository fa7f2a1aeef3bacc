"""watch: cycles over real services, what ends them, and what is refused before the first one."""

import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from reconciler.ledgers.file import FileLedger
from reconciler.ledgers.file_lock import FileLockHandle
from reconciler.ledgers.process import describe_process, find_start
from tests.e2e.world import (
    LONG_S,
    MODEL,
    Done,
    Emulator,
    Project,
    begin_command,
    definition,
    pass_time,
    run_emulator,
    time_passing,
)
from tests.events import LOCK_OWNER
from tests.fork_server import Process
from tests.lines import read_lines


@pytest.fixture
def watched(project: Project) -> Project:
    """A project with one applied service."""
    project.emulator.deploy("watched", project.emulator.model_uri("old"))
    project.manifest("watched", project.emulator.model_uri("2026-11-20"))
    assert project.run("apply", "--auto-approve").code == 0
    return project


# A loop that has yielded goes on once a file says that the other command has ended.
_YIELDS = """
import pathlib, time
from reconciler.engine import watch
apply = watch.apply_unattended
def apply_and_wait(*given):
    applied = apply(*given)
    while applied.yields and not pathlib.Path("ended").exists():
        time.sleep(0.05)
    return applied
watch.apply_unattended = apply_and_wait
"""
# On a busy machine, what a cycle reads when a signal comes may take longer than the usual limit.
_PATIENT = "from reconciler.cli import watching; watching._END_WITHIN_S = 600.0"
# The lease of the leader is never released.
_LEASE_IS_KEPT = """
import threading
from reconciler.cli import watching
from reconciler.ledgers.leadership import HeldTerm
HeldTerm.release = lambda _: threading.Event().wait()
watching._END_WITHIN_S = 0.2
"""


@contextmanager
def loop(project: Project, *arguments: str, before: str = "") -> Iterator[Process]:
    """A watch as a process of its own; it is killed if the test leaves it running.

    `before` is what the process does first.
    """
    command = ("watch", "--interval=1s", "--no-listen", *arguments)
    process = begin_command(project.folder, *command, stderr=subprocess.STDOUT, before=before)
    # Nothing may wait for ever for a line that never comes.
    guard = threading.Timer(300, process.kill)
    guard.start()
    with process:
        try:
            yield process
        finally:
            guard.cancel()
            process.kill()


def read_until(process: Process, *said: str) -> str:
    """What a process prints, up to the line that has each of these texts in turn."""
    assert process.stdout is not None
    lines = []
    for text in said:
        for line in process.stdout:
            lines.append(line)
            if text in line:
                break
        else:
            pytest.fail(f"it never printed {text!r}:\n{''.join(lines)}")
    return "".join(lines)


@contextmanager
def held_up(process: Process) -> Iterator[None]:
    """Hold a process up while the block runs, so that it does nothing between two steps of it."""
    process.send_signal(signal.SIGSTOP)
    process.wait_until_stopped()
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def test_one_cycle_says_and_ends_as_drift_does(watched: Project) -> None:
    done = watched.run("watch", "--once", "--detailed-exitcode")
    assert done.code == 0, done.said
    assert done.out.endswith("Z No drift. 1 service in sync.\n")
    assert len(done.out.splitlines()) == 1
    watched.emulator.patch("watched", description="by hand")
    done = watched.run("watch", "--once", "--detailed-exitcode")
    assert done.code == 2
    assert 'live       "by hand"' in done.out
    assert watched.run("watch", "--once").code == 0
    (watched.folder / "manifests" / "gone.yaml").write_text(
        "apiVersion: reconciler/v1\nkind: WebService\nmetadata: {name: gone}\n"
        "spec: {resource: {resourceGroup: '../x'}}\n"
    )
    assert watched.run("watch", "--once").code == 1


def test_a_project_without_resources_is_refused(project: Project) -> None:
    done = project.run("watch", "--once", "--detailed-exitcode")
    assert done.code == 1
    assert "no manifest was found" in done.err


def test_json_lines_have_the_id_of_their_cycle(watched: Project) -> None:
    watched.emulator.patch("watched", description="by hand")
    done = watched.run("watch", "--once", "--format", "json")
    first, *lines = read_lines(done.out)
    assert first["type"] == "version"
    assert [one["type"] for one in lines] == ["cycle_start", "drift", "cycle_end"]
    assert len({one["cycle"] for one in lines}) == 1
    assert lines[1]["drift"]["pointer"] == "/properties/description"
    assert "by hand" not in done.out
    assert lines[2]["summary"]["resources"] == {"drifted": 1}
    report = json.loads(watched.run("drift", "--format", "json").out)
    assert [one["key"] for one in report["findings"]] == [lines[1]["drift"]["key"]]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--interval", "0"], "0 is not between 1s and 7d; --once runs one cycle"),
        (["--interval", "-5m"], "is not a duration, such as 90s, 10m or 1h30m"),
        (["--interval", "10"], "is not a duration, such as 90s, 10m or 1h30m"),
        (["--interval", "8d"], "8d is not between 1s and 7d"),
        (["--mode", "fix"], "Invalid value for '--mode': 'fix' is not"),
        (["--env", "prod"], '--env is "prod", and the project has no environments'),
        (["--env", "all"], "the project has no environments"),
        (["--refresh", "none"], "Invalid value for '--refresh'"),
        (["--target", "WebService/none"], "no manifest declares this address"),
    ],
)
def test_what_is_wrong_is_said_before_the_first_cycle(
    watched: Project, arguments: list[str], said: str
) -> None:
    done = watched.run("watch", "--no-listen", *arguments)
    assert done.code == 1
    assert said in done.err
    assert done.out == ""


def test_the_project_is_read_again_and_an_invalid_one_is_not_used(watched: Project) -> None:
    manifest = watched.folder / "manifests" / "watched.yaml"
    valid = manifest.read_text()
    with loop(watched, before=_PATIENT) as process:
        read_until(process, "No drift. 1 service in sync.")
        manifest.write_text("spec: [")
        read_until(process, "Not proven to be in sync: manifests/watched.yaml: is not YAML")
        watched.emulator.patch("watched", description="by hand")
        read_until(process, "Drift: 1 drifted; 0 of 1 in sync. 2 problems.")
        manifest.write_text(valid.replace("2026-11-20", "2026-11-27"))
        read_until(process, "Drift: 1 drifted; 0 of 1 in sync.\n", "pending")
        process.send_signal(signal.SIGTERM)
        assert "Ended by a signal." in process.communicate()[0]
        assert process.returncode == 0


def test_ctrl_c_ends_it_as_any_command(watched: Project) -> None:
    with loop(watched) as process:
        read_until(process, "No drift.")
        process.send_signal(signal.SIGINT)
        process.communicate()
        assert process.returncode == 130


def test_a_stdout_without_a_reader_ends_it(watched: Project) -> None:
    with loop(watched) as process:
        read_until(process, "No drift.")
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(60) == 1


def test_a_git_command_that_changes_the_checkout_is_waited_for(
    watched: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = watched.folder / ".git" / "index.lock"
    lock.parent.mkdir()
    lock.touch()
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            lock.unlink()

    monkeypatch.setattr("reconciler.cli.watching.time.sleep", sleep)
    assert watched.run("watch", "--once").code == 0
    assert waits[:3] == [0.5, 0.5, 0.5]
    lock.touch()
    done = watched.run("watch", "--once")
    assert done.code == 1
    assert "a git command changes the checkout now" in done.err


def swap(project: Project, model: str) -> None:
    """Have another person set the model of the watched service."""
    assets = project.emulator.get("watched")["properties"]["assets"]
    assets["asset3"]["locationInfo"]["uri"] = project.emulator.model_uri(model)
    project.emulator.patch("watched", assets=assets)


def read_cycle(done: Done) -> Any:
    """The summary of the one cycle in JSON lines."""
    (ended,) = [one for one in read_lines(done.out) if one["type"] == "cycle_end"]
    return ended["summary"]


def test_what_others_changed_is_put_right_three_times_and_then_left(watched: Project) -> None:
    once = ("watch", "--once", "--mode", "apply")
    for number in range(3):
        swap(watched, f"rogue-{number}")
        done = watched.run(*once)
        assert done.code == 0, done.said
        assert "No drift. 1 service in sync. 1 applied." in done.out
        assert f"rogue-{number}.ilearner" in done.out
        assert watched.emulator.model("watched").endswith("2026-11-20.ilearner")
    swap(watched, "rogue")
    for _ in range(2):  # another process knows it from the ledger
        said = read_cycle(watched.run(*once, "--json"))
        assert (said["applied"], said["quarantined"]) == ([], ["WebService/watched"])
        assert watched.emulator.model("watched").endswith("rogue.ilearner")
    done = watched.run(*once, "--detailed-exitcode")
    assert done.code == 2
    assert "3 changes in a row did not hold" in done.err
    assert "(watch)" in watched.run("history").out
    # A person applies it: watch tries again.
    assert watched.run("apply", "--auto-approve").code == 0
    swap(watched, "rogue")
    assert read_cycle(watched.run(*once, "--json"))["applied"] == ["WebService/watched"]


def test_a_lock_that_could_not_be_released_does_not_end_the_applies(watched: Project) -> None:
    """As on a full disk: each cycle opens the ledger anew, and the process of the lock lives."""
    once = ("watch", "--once", "--mode", "apply", "--json")
    swap(watched, "rogue")
    release = FileLockHandle.release

    def fail(handle: FileLockHandle) -> None:
        if handle.lock.file.name == "lock.json":
            raise OSError(28, "No space left on device")
        release(handle)

    with mock.patch.object(FileLockHandle, "release", fail):
        assert read_cycle(watched.run(*once))["applied"] == ["WebService/watched"]
    swap(watched, "rogue")
    assert read_cycle(watched.run(*once))["applied"] == ["WebService/watched"]
    # The lock of another process that lives is not touched.
    swap(watched, "rogue")
    host, _, _ = describe_process()
    parent = replace(LOCK_OWNER, host=host, pid=os.getppid(), started=find_start(os.getppid()))
    with FileLedger(watched.folder / ".reconciler").lock(parent, 0, lambda _: None):
        ended = read_cycle(watched.run(*once))
    assert (ended["applied"], ended["left"]) == ([], 1)


def test_report_changes_nothing_and_without_drift_no_lock_is_taken(watched: Project) -> None:
    swap(watched, "rogue")
    assert watched.run("watch", "--once").code == 0
    assert watched.emulator.model("watched").endswith("rogue.ilearner")
    assert watched.run("apply", "--auto-approve").code == 0
    ledger = watched.folder / ".reconciler" / "ledger.jsonl"
    before = ledger.read_bytes()
    with mock.patch("reconciler.cli.watching.lock_ledger") as lock:
        done = watched.run("watch", "--once", "--mode", "apply")
    assert (done.code, lock.call_count, ledger.read_bytes()) == (0, 0, before)


def test_what_is_refused_or_ignored_is_left_and_the_rest_is_applied(watched: Project) -> None:
    for name in ("ignored", "forbidden"):
        watched.emulator.deploy(name, watched.emulator.model_uri("old"))
        watched.manifest(name, watched.emulator.model_uri("2026-11-20"))
    assert watched.run("apply", "--auto-approve").code == 0
    for name in ("ignored", "forbidden"):
        watched.manifest(name, watched.emulator.model_uri("2026-11-27"))
    swap(watched, "rogue")
    (watched.folder / "policies").mkdir()
    (watched.folder / "policies" / "models.yaml").write_text(
        "apiVersion: reconciler/v1\nkind: Policy\nmetadata: {name: models}\nspec:\n"
        "  rules:\n"
        "  - name: frozen\n"
        "    when: {properties: {address: {const: WebService/forbidden}}}\n"
        "    modelsFrom: [elsewhere]\n"
        "    message: it is frozen\n"
    )
    (watched.folder / ".driftignore").write_text(
        "- {address: WebService/ignored, pointer: /properties/description, reason: until Friday,"
        " until: 2099-01-01, owner: ana}\n"
    )
    # Its model is pending too: a rule about one place leaves the whole resource.
    watched.emulator.patch("ignored", description="by hand")
    done = watched.run("watch", "--once", "--mode", "apply", "--json")
    said = read_cycle(done)
    assert said["applied"] == ["WebService/watched"], done.said
    left = {
        one["diagnostic"]["address"]: one["diagnostic"]["summary"]
        for one in read_lines(done.out)
        if one["type"] == "diagnostic"
    }
    assert "it is frozen" in left["WebService/forbidden"]
    assert left["WebService/ignored"].endswith("ignores a difference of it: until Friday")
    assert watched.emulator.model("ignored").endswith("2026-11-20.ilearner")
    assert watched.emulator.model("forbidden").endswith("2026-11-20.ilearner")


@pytest.fixture(scope="module")
def slow() -> Iterator[Emulator]:
    """A service whose operations run until the test lets time pass."""
    with run_emulator("--no-blob", "--operation-seconds", str(LONG_S)) as running:
        yield running


@pytest.fixture
def slowly(slow: Emulator, request: pytest.FixtureRequest, tmp_path: Path) -> Project:
    """Three services to be swapped, on that service."""
    group = "".join(c if c.isalnum() else "-" for c in request.node.name)[:80]
    emulator = Emulator(slow.url, "", slow.token, group)
    project = Project(tmp_path / "project", emulator)
    old, new = (f"{slow.url}/account/m/{name}.ilearner" for name in ("old", "new"))
    names = ["s0", "s1", "s2"]
    begun = [emulator.begin("PUT", name, definition(old)) for name in names]
    pass_time(slow.url, LONG_S)
    for name, operation in zip(names, begun, strict=True):
        emulator.finish(operation)
        project.manifest(name, new)
    return project


@contextmanager
def loop_amid_a_step(project: Project) -> Iterator[Process]:
    """A watch that applies, once the service has accepted the first write."""
    before = project.emulator.get("s0")
    with loop(project, "--mode=apply", "--parallelism=1") as process:
        read_until(process, "Modifying...")
        # The intent is written before the call: only the service shows that the call was sent.
        while project.emulator.get("s0") == before:
            assert process.poll() is None
            time.sleep(0.02)
        yield process


def test_sigterm_finishes_and_records_the_running_step(slowly: Project) -> None:
    with loop_amid_a_step(slowly) as process:
        process.send_signal(signal.SIGTERM)
        said = read_until(process, "Interrupt received.")
        with time_passing(slowly.emulator.url):
            said += process.communicate()[0]
    assert process.returncode == 0, said
    assert "Interrupt received. Finishing the running steps" in said
    assert "Z Interrupted. 1 applied. 2 left.\n" in said
    models = [slowly.emulator.model(name) for name in ("s0", "s1", "s2")]
    assert [one.endswith("new.ilearner") for one in models] == [True, False, False]
    recorded = (slowly.folder / ".reconciler" / "ledger.jsonl").read_text()
    assert recorded.count('"owned":') == 1
    done = slowly.run("watch", "--once")  # another process may lead at once
    assert "Drift: 2 pending; 1 of 3 in sync." in done.out


def test_a_second_signal_ends_at_once_and_the_next_cycle_looks_at_what_was_begun(
    slowly: Project,
) -> None:
    with loop_amid_a_step(slowly) as process:
        process.send_signal(signal.SIGTERM)
        read_until(process, "Interrupt received.")
        process.send_signal(signal.SIGTERM)
        assert "The ledger has an open intent for each running step" in process.communicate()[0]
    assert process.returncode == 128 + signal.SIGTERM
    with time_passing(slowly.emulator.url):
        done = slowly.run("watch", "--once", "--mode", "apply")
    assert done.code == 0, done.said
    assert "WebService/s0: Interrupted step: done" in done.err
    assert "No drift. 3 services in sync." in done.out


def test_a_command_of_a_person_goes_first(slowly: Project) -> None:
    note = slowly.folder / ".reconciler" / "lock.waiting.json"

    def is_wanted() -> bool:
        """Whether the loop will see the note after this step: it looks at most twice a second."""
        found = note.exists()
        time.sleep(0.6)
        return found

    with (
        loop(slowly, "--mode=apply", "--parallelism=1", before=_YIELDS) as process,
        time_passing(slowly.emulator.url, is_wanted),
    ):
        read_until(process, "Modifying...")
        done = slowly.run("apply", "--auto-approve", "--target", "WebService/s2")
        assert done.code == 0, done.said
        (slowly.folder / "ended").touch()
        said = read_until(process, "2 left.")
        assert "No drift" not in said
        assert slowly.emulator.model("s2").endswith("new.ilearner")
        # The loop goes on after an interval.
        read_until(process, "No drift. 3 services in sync. 1 applied.")


def test_a_ledger_that_is_gone_for_a_while_is_reported_and_ends_nothing(watched: Project) -> None:
    ledger = watched.folder / ".reconciler"
    with loop(watched) as process:
        read_until(process, "No drift.")
        with held_up(process):
            ledger.rename(watched.folder / "away")
            ledger.write_text("not a folder")
        read_until(process, "Failed: ")
        with held_up(process):
            ledger.unlink()
            (watched.folder / "away").rename(ledger)
        read_until(process, "No drift. 1 service in sync.")


@pytest.fixture
def environments(watched: Project) -> Project:
    """Two environments with a service each."""
    (watched.folder / "environments").mkdir()
    for name in ("dev", "prod"):
        write_environment(watched, name)
        watched.emulator.deploy(f"census-{name}", watched.emulator.model_uri("old"))
    (watched.folder / "manifests" / "watched.yaml").write_text(
        "apiVersion: reconciler/v1\nkind: WebService\nmetadata: {name: 'census-${env.name}'}\n"
        f"spec: {{trainedModels: {{'{MODEL}': {{uri: '{watched.emulator.model_uri('new')}'}}}}}}\n"
    )
    return watched


def write_environment(project: Project, name: str, spec: str = "{}") -> None:
    (project.folder / "environments" / f"{name}.yaml").write_text(
        f"apiVersion: reconciler/v1\nkind: Environment\nmetadata: {{name: {name}}}\nspec: {spec}\n"
    )


def test_each_environment_has_its_cycle_and_an_invalid_one_hides_no_other(
    environments: Project,
) -> None:
    done = environments.run("watch", "--once", "--env", "all", "--mode", "apply")
    assert done.code == 0, done.said
    assert re.findall(r"Z (\w+): No drift. 1 service in sync. 1 applied.", done.out) == [
        "dev",
        "prod",
    ]
    write_environment(environments, "dev", "{nonsense: 1}")
    done = environments.run("watch", "--once", "--env", "all", "--detailed-exitcode")
    assert done.code == 1
    assert "Z dev: Failed: " in done.out
    assert "Z prod: No drift. 1 service in sync.\n" in done.out
    done = environments.run("watch", "--once", "--env", "dev")
    assert (done.code, done.out) == (1, "")
    done = environments.run("watch", "--once")
    assert (done.code, done.out) == (1, "")
    assert "--env" in done.err
    done = environments.run("watch", "--once", "--env", "prd")
    assert (done.code, done.out) == (1, "")
    assert "prod" in done.err


def test_an_environment_that_is_new_is_watched_and_one_that_is_gone_is_not(
    environments: Project,
) -> None:
    with loop(environments, "--env", "all") as process:
        read_until(process, "Z dev: ", "Z prod: ")
        environments.emulator.deploy("census-qa", environments.emulator.model_uri("old"))
        write_environment(environments, "qa")
        read_until(process, "Z qa: Drift: 1 pending")
        (environments.folder / "environments" / "dev.yaml").unlink()
        read_until(process, "dev: is not watched any more")
        # A file that an editor has just emptied is still there, and its environment is not gone.
        (environments.folder / "environments" / "prod.yaml").write_text("")
        read_until(process, "compared. 2 problems.")
        write_environment(environments, "prod")
        read_until(process, "Z prod: ", "compared.\n")
        # Each wait is up to a tenth longer or shorter, so two of one may come first.
        said = read_until(process, "Z qa: ", "Z qa: ", "Z qa: ")
        assert "Z dev: " not in said
        assert "Z prod: " in said


def test_a_service_that_does_not_answer_delays_no_end(watched: Project) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        Project(watched.folder, replace(watched.emulator, url=url))
        with loop(watched) as process, silent.accept()[0]:
            process.send_signal(signal.SIGTERM)
            said = process.communicate(timeout=60)[0]
    assert process.returncode == 0, said
    assert said.endswith("Z Interrupted.\nEnded by a signal.\n")


def test_storage_that_keeps_a_lease_delays_the_end_for_some_seconds(watched: Project) -> None:
    with loop(watched, before=_LEASE_IS_KEPT) as process:
        read_until(process, "No drift.")
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=60)[0]
    assert process.returncode == 0, said
    assert said.endswith("Ended while a service did not answer.\n")


def test_a_disk_without_room_for_the_output_is_an_error(watched: Project) -> None:
    with (
        Path("/dev/full").open("w") as full,
        begin_command(
            watched.folder, "watch", "--interval", "1s", "--no-listen", stdout=full
        ) as process,
    ):
        _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "No space left on device" in said


def test_a_guard_of_the_whole_plan_leaves_all_of_it(watched: Project) -> None:
    watched.guards = ", maxUpdates: 0"
    watched.write_project()
    swap(watched, "rogue")
    done = watched.run("watch", "--once", "--mode", "apply")
    assert "Drift: 1 model-swapped; 0 of 1 in sync. 1 left." in done.out
    assert "watch lifts no guard. With reconciler apply: " in done.err
    assert watched.emulator.model("watched").endswith("rogue.ilearner")

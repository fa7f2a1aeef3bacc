"""watch: cycles over real services, what ends them, and what is refused before the first one."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import pytest

from tests.e2e.world import Done, Project, clean_environment
from tests.lines import read_lines


@pytest.fixture
def watched(project: Project) -> Project:
    """A project with one applied service."""
    project.emulator.deploy("watched", project.emulator.model_uri("old"))
    project.manifest("watched", project.emulator.model_uri("2026-11-20"))
    assert project.run("apply", "--auto-approve").code == 0
    return project


@contextmanager
def loop(project: Project, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """A watch as a process of its own; it is killed if the test leaves it running."""
    process = subprocess.Popen(
        [sys.executable, "-m", "reconciler", "watch", "--interval=1s", "--no-listen", *arguments],
        cwd=project.folder,
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    # Nothing may wait for ever for a line that never comes.
    guard = threading.Timer(60, process.kill)
    guard.start()
    with process:
        try:
            yield process
        finally:
            guard.cancel()
            process.kill()


def read_until(process: "subprocess.Popen[str]", *said: str) -> str:
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
    with loop(watched) as process:
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
        "- {address: WebService/ignored, reason: until Friday, until: 2099-01-01, owner: ana}\n"
    )
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

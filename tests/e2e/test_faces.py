"""What people and machines see while an apply runs, over real processes, pipes and terminals."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from reconciler.ledgers.lock import wait_for as wait_for_lock
from tests.contract.go_between import go_between
from tests.e2e.terminal import run_on_terminal
from tests.e2e.world import (
    LONG_S,
    Emulator,
    Project,
    begin_command,
    clean_environment,
    definition,
    pass_time,
    read_until,
    run_emulator,
    time_passing,
)
from tests.fork_server import Process
from tests.lines import check_stream, read_lines

CANARY = "canary-9f3a71"
SLOW = ["s0", "s1", "s2", "s3"]


@pytest.fixture(scope="module")
def slow() -> Iterator[Emulator]:
    """A service whose operations run until the test lets time pass."""
    with run_emulator("--no-blob", "--operation-seconds", str(LONG_S)) as running:
        yield running


@pytest.fixture
def slowly(slow: Emulator, request: pytest.FixtureRequest, tmp_path: Path) -> Project:
    """Four services to be swapped, on that service."""
    group = "".join(c if c.isalnum() else "-" for c in request.node.name)[:80]
    emulator = Emulator(slow.url, "", slow.token, group)
    project = Project(tmp_path / "project", emulator)
    old, new = (f"{slow.url}/account/m/{name}.ilearner" for name in ("old", "new"))
    begun = [emulator.begin("PUT", name, definition(old)) for name in SLOW]
    pass_time(slow.url, LONG_S)
    for name, operation in zip(SLOW, begun, strict=True):
        emulator.finish(operation)
        project.manifest(name, new)
    return project


def swap(project: Project, number: int) -> list[str]:
    """So many services with an old model, and manifests that want the new one."""
    project.guards = ", maxUpdates: 100%"
    project.write_project()
    world = project.emulator
    names = [f"s{at:02}" for at in range(number)]
    for name in names:
        world.deploy(name, world.model_uri("old"))
        project.manifest(name, world.model_uri("new"))
    return names


def types(messages: list[Any]) -> list[str]:
    return [str(one["type"]) for one in messages]


@contextmanager
def running(project: Project, *arguments: str, **more: Any) -> Iterator[Process]:
    with begin_command(project.folder, "apply", "--auto-approve", *arguments, **more) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def running_after(
    prepare: Callable[[], object] | None, project: Project, *arguments: str, **more: Any
) -> Iterator[subprocess.Popen[str]]:
    """An apply whose process is prepared before Python starts in it."""
    with subprocess.Popen(
        [sys.executable, "-m", "reconciler", "apply", "--auto-approve", *arguments],
        cwd=project.folder,
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        text=True,
        preexec_fn=prepare,  # noqa: PLW1509 - one call of the system
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def recorded(project: Project) -> list[str]:
    """The addresses of what the ledger says is done."""
    lines = (project.folder / ".reconciler" / "ledger.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    return sorted(one["address"] for one in found if "owned" in one)


def swapped(project: Project, names: list[str]) -> list[str]:
    return [f"WebService/{name}" for name in names if "new" in project.emulator.model(name)]


# JSON lines.


def test_json_lines_tell_the_whole_apply(project: Project) -> None:
    world = project.emulator
    world.deploy("a", world.model_uri("old"))
    world.deploy("b", world.model_uri("old"))
    project.manifest("a", world.model_uri("new"))
    project.manifest("b", world.model_uri("old"))
    done = project.run("apply", "--json", "--auto-approve", "--parallelism=1")
    assert (done.code, done.err) == (0, "")
    messages = check_stream(done.out)
    order = [
        "version", "refresh_start", "refresh_complete", "planned_change", "change_summary",
        "apply_start", "apply_complete", "change_summary",
    ]  # fmt: skip
    reported = types(messages)
    assert list(dict.fromkeys(one for one in reported if one in order)) == order[:-1]
    assert reported[-1] == "change_summary"
    assert messages[-1]["outcome"] == "applied"
    assert messages[-1]["changes"]["change"] == 1
    started = next(one for one in messages if one["type"] == "apply_start")
    assert started["hook"]["resource"]["addr"] == "WebService/a"
    assert started["hook"]["id_value"].endswith("/webServices/a")

    world.deploy("a", world.model_uri("old"))
    again = project.run("apply", "-json", "-auto-approve")
    assert "resource_drift" in types(check_stream(again.out))
    nothing = check_stream(project.run("apply", "--json", "--auto-approve").out)
    assert nothing[-1]["outcome"] == "no-changes"


def test_a_saved_plan_is_told_too_and_a_stale_one_says_so(project: Project) -> None:
    world = project.emulator
    world.deploy("a", world.model_uri("old"))
    project.manifest("a", world.model_uri("new"))
    assert project.run("plan", "--out", "p.json").code == 0
    done = project.run("apply", "--json", "p.json")
    assert (done.code, check_stream(done.out)[-1]["outcome"]) == (0, "applied")
    assert "planned_change" in types(check_stream(done.out))
    world.deploy("a", world.model_uri("old"))
    assert project.run("plan", "--out", "q.json").code == 0
    world.deploy("a", world.model_uri("third"))
    stale = project.run("apply", "--json", "--detailed-exitcode", "q.json")
    messages = check_stream(stale.out)
    assert (stale.code, messages[-1]["outcome"], stale.err) == (4, "stale", "")
    assert messages[-2]["diagnostic"]["address"] == "WebService/a"


def test_json_asks_nothing_and_says_what_to_give(project: Project) -> None:
    world = project.emulator
    world.deploy("a", world.model_uri("old"))
    project.manifest("a", world.model_uri("new"))
    done = project.run("apply", "--json", stdin="yes\n")
    messages = check_stream(done.out)
    assert (done.code, done.err) == (1, "")
    assert messages[-1]["outcome"] == "error"
    assert "--auto-approve" in messages[-2]["diagnostic"]["detail"]
    assert world.model("a") == world.model_uri("old")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--auto-approve", "--nonsense"), "has no flag '--nonsense'"),
        (("--auto-approve", "--lock-timeout", "soon"), "is not a duration"),
        (("--auto-approve", "nowhere.yaml"), "nowhere.yaml"),
        (("there-is-none.json",), "the plan file does not exist"),
    ],
)
def test_what_is_wrong_with_the_command_is_a_line_as_well(
    project: Project, arguments: tuple[str, ...], said: str
) -> None:
    done = project.run("apply", "--json", *arguments)
    messages = check_stream(done.out)
    assert (done.code, done.err) == (1, "")
    assert messages[-1]["outcome"] == "error"
    assert said in json.dumps(messages)


def test_a_refused_plan_in_lines(project: Project) -> None:
    world = project.emulator
    world.deploy("a", world.model_uri("old"))
    project.manifest("a", more="  definition: {properties: {readOnly: true}}")
    refused = project.run("apply", "--json", "--auto-approve", "--detailed-exitcode")
    messages = check_stream(refused.out)
    assert (refused.code, messages[-1]["outcome"]) == (3, "refused")
    assert [one["change"]["action"] for one in messages if one["type"] == "planned_change"] == [
        "update"
    ]
    assert any("--allow" in json.dumps(one) for one in messages if one["type"] == "diagnostic")


def test_a_step_that_failed_is_named_with_what_to_do_in_both_faces(tmp_path: Path) -> None:
    faults = tmp_path / "faults.yaml"
    faults.write_text("[{match: {method: PATCH, path: /s00}, do: fail-operation}]")
    options = ("--no-blob", "--operation-seconds", "0.05", "--faults", str(faults))
    with run_emulator(*options) as emulator:
        emulator.blob = emulator.url
        project = Project(tmp_path / "project", emulator)
        swap(project, 3)
        arguments = ("--parallelism=1", "--fail-fast", "--detailed-exitcode", "--patience=0s")
        lines = project.run("apply", "--json", "--auto-approve", *arguments)
        words = project.run("apply", "--auto-approve", *arguments)
        messages = check_stream(lines.out)
        assert (lines.code, messages[-1]["outcome"]) == (6, "incomplete")
        assert "apply_errored" in types(messages)
        failed = messages[-2]["diagnostic"]
        assert failed["address"] == "WebService/s00"
        proven = "Nothing was changed: live is as it was before."
        assert (proven in failed["detail"], f"\n  {proven} " in words.out) == (True, True)
        assert messages[-1]["changes"]["not_started"] == 2
        assert words.code == 6
        head = (
            "Apply incomplete! Resources: 0 added, 0 changed, 0 destroyed. 1 failed, 2 not started."
        )
        assert head in words.out
        assert f"Error: WebService/s00: {failed['summary']}" in words.out
        assert (
            "  WebService/s01\n  WebService/s02\nRun plan to see the remaining changes."
            in words.out
        )
        goes_on = project.run("apply", "--auto-approve", "--detailed-exitcode", "--patience=0s")
        assert (goes_on.code, "2 changed, 0 destroyed. 1 failed.\n" in goes_on.out) == (6, True)


def test_no_secret_is_in_any_line(project: Project) -> None:
    world = project.emulator
    world.deploy("a", world.model_uri("old"))
    more = "  secrets: {/properties/keys/primary: {env: KEY}}"
    project.manifest("a", world.model_uri("new"), more=more)
    done = project.run("apply", "--json", "--auto-approve", env={"KEY": CANARY})
    assert (done.code, check_stream(done.out)[-1]["outcome"]) == (0, "applied")
    assert CANARY not in done.said


# A terminal.


def test_a_fleet_on_a_terminal_has_a_bar_that_leaves_nothing_behind(project: Project) -> None:
    names = swap(project, 12)
    done = run_on_terminal(project.folder, "apply", "--auto-approve", columns=70)
    assert done.code == 0, done.plain
    bars = re.findall(r"(?:Refreshing|Applying)  \[[#-]+\][^\r\n\x1b]*", done.plain)
    assert any(re.search(r"Refreshing  \[.*\]  0/12", bar) for bar in bars), done.plain
    assert any(re.search(r"Applying  \[#*-*\]  [1-9][0-9]?/12  .* left  [0-9]+/(min|s)", bar) for bar in bars), bars  # fmt: skip
    assert max(map(len, bars)) < 70
    screen = "\n".join(done.screen)
    assert not re.search(r"\[[#-]+\]|\x1b", screen), screen
    assert "Modifying..." not in screen
    assert "Apply complete! Resources: 0 added, 12 changed, 0 destroyed." in screen
    assert swapped(project, names) == [f"WebService/{name}" for name in names]


# Two reasons for the same lines, and a test of units has each reason.
@pytest.mark.parametrize(
    "env",
    [{"TERM": "dumb"}, pytest.param({"CI": "true", "NO_COLOR": "1"}, marks=pytest.mark.slow)],
)
def test_a_terminal_that_cannot_be_drawn_over_has_lines(
    project: Project, env: dict[str, str]
) -> None:
    swap(project, 11)
    done = run_on_terminal(project.folder, "apply", "--auto-approve", env=env)
    assert (done.code, done.sent.count(": Modifying...")) == (0, 11)
    assert "\x1b" not in done.sent


def test_no_color_leaves_the_bar_and_takes_the_colour(project: Project) -> None:
    swap(project, 11)
    done = run_on_terminal(project.folder, "apply", "--auto-approve", env={"NO_COLOR": "1"})
    assert done.code == 0
    assert set(re.findall(r"\x1b\[[0-9;]*[A-Za-z]", done.sent)) == {"\x1b[K"}
    assert "Applying  [" in done.sent


def test_without_a_terminal_a_fleet_has_lines(project: Project) -> None:
    swap(project, 11)
    done = project.run("apply", "--auto-approve")
    assert (done.code, done.err.count(": Modifying...")) == (0, 11)
    assert "[#" not in done.err
    assert "\r" not in done.err


# Signals.


# One handler hears both: tests/e2e/test_watch.py sends SIGTERM in every run.
@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_the_first_signal_finishes_and_records_what_is_in_flight(
    slowly: Project, number: int
) -> None:
    with running(slowly, "--parallelism=2", "--detailed-exitcode") as process:
        read_until(process.stderr, "Modifying...")
        process.send_signal(number)
        err = read_until(process.stderr, "Interrupt received.")
        with time_passing(slowly.emulator.url):
            out, more = process.communicate(timeout=60)
    err += more
    assert process.returncode == 130, err
    assert "Interrupt received. Finishing the running steps" in err
    assert "The running steps were finished and recorded." in err
    assert "Traceback" not in err
    done = swapped(slowly, SLOW)
    assert 1 <= len(done) <= 2
    assert recorded(slowly) == done
    assert f"Apply interrupted! Resources: 0 added, {len(done)} changed, 0 destroyed." in out
    assert f"{4 - len(done)} steps not started, because of the interruption:" in out
    with time_passing(slowly.emulator.url):
        again = slowly.run("apply", "--auto-approve")
    assert (again.code, f"{4 - len(done)} changed" in again.out) == (0, True), again.said


def test_an_interruption_in_lines(slowly: Project) -> None:
    with running(slowly, "--parallelism=1", "--json") as process:
        begun = read_until(process.stdout, '"type":"apply_start"')
        process.send_signal(signal.SIGTERM)
        read_until(process.stderr, "Interrupt received.")
        with time_passing(slowly.emulator.url):
            rest, _ = process.communicate(timeout=60)
    messages = check_stream(begun + rest)
    assert process.returncode == 130
    assert (messages[-1]["outcome"], messages[-1]["changes"]["not_started"]) == ("interrupted", 3)


def wait_until_begun(project: Project) -> None:
    """Until what is about to be sent stands in the ledger."""
    ledger = project.folder / ".reconciler" / "ledger.jsonl"
    while not (ledger.exists() and b'"kind":"intent"' in ledger.read_bytes()):
        time.sleep(0.02)


def test_the_second_ctrl_c_aborts_and_the_next_run_looks_at_what_was_begun(
    slowly: Project,
) -> None:
    with running(slowly, "--parallelism=1") as process:
        read_until(process.stderr, "Modifying...")
        wait_until_begun(slowly)
        process.send_signal(signal.SIGINT)
        read_until(process.stderr, "Interrupt received.")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.endswith(
        "Aborted. The ledger has an open intent for each running step; the next run checks them"
        " first.\n"
    )
    with time_passing(slowly.emulator.url):
        again = slowly.run("apply", "--auto-approve")
    assert again.code == 0, again.said
    assert "WebService/s0: Interrupted step: " in again.err
    assert len(swapped(slowly, SLOW)) == 4


def test_a_signal_before_anything_is_written_ends_at_once(slowly: Project) -> None:
    sent = threading.Event()
    with go_between(slowly.emulator.url) as wire:
        # Until the signal is sent, the first service that is read does not answer.
        wire.what, wire.losses, wire.before = "webServices", ["keep"], sent.wait
        Project(slowly.folder, replace(slowly.emulator, url=wire.url))
        with running(slowly) as process:
            read_until(process.stderr, "Refreshing state")
            process.send_signal(signal.SIGTERM)
            sent.set()
            _, err = process.communicate(timeout=60)
    assert (process.returncode, "Interrupted." in err) == (130, True)
    assert swapped(slowly, SLOW) == []


# Streams that nobody reads.


def test_lines_that_nobody_reads_stop_the_apply_before_the_next_step(slowly: Project) -> None:
    with running(slowly, "--parallelism=1", "--json", "--detailed-exitcode") as process:
        read_lines(read_until(process.stdout, '"type":"apply_start"'))
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        with time_passing(slowly.emulator.url):
            err = process.stderr.read()
        process.wait(timeout=60)
    assert process.returncode == 6, err
    assert "Apply stopped! Resources: 0 added, 1 changed, 0 destroyed. 3 not started." in err
    assert "because stdout was closed:" in err
    assert "Traceback" not in err
    assert recorded(slowly) == swapped(slowly, SLOW)
    assert len(recorded(slowly)) == 1


def test_a_pipe_that_closes_stops_an_apply_in_words_too(slowly: Project) -> None:
    with running(slowly, "--parallelism=1") as process:
        read_until(process.stderr, "Modifying...")
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        with time_passing(slowly.emulator.url):
            err = process.stderr.read()
        process.wait(timeout=60)
    assert process.returncode == 1
    assert "Apply stopped! Resources: 0 added, 1 changed, 0 destroyed. 3 not started." in err
    assert recorded(slowly) == swapped(slowly, SLOW)


def test_a_stdout_that_was_never_open_stops_before_anything_is_read(project: Project) -> None:
    swap(project, 1)
    with running_after(lambda: os.close(1), project, stdout=None) as process:
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Error: stdout was closed: the result could not be printed" in err
    assert "/dev/null" in err
    assert swapped(project, ["s00"]) == []


@pytest.mark.parametrize("how", [lambda: os.close(2), None])
def test_an_apply_ends_as_it_should_where_nobody_reads_stderr(
    project: Project, how: Callable[[], None] | None
) -> None:
    names = swap(project, 3)
    reading, writing = os.pipe()
    os.close(reading)
    with running_after(how, project, "--parallelism=1", stderr=writing) as process:
        out, _ = process.communicate(timeout=60)
    os.close(writing)
    assert process.returncode == 0
    assert "Apply complete! Resources: 0 added, 3 changed" in out
    assert recorded(project) == swapped(project, names)


def test_a_full_disk_under_stdout_stops_before_the_first_step(project: Project) -> None:
    names = swap(project, 1)
    for more in ((), ("--json",)):
        with (
            open("/dev/full", "w") as full,  # noqa: PTH123 - a device
            running(project, *more, stdout=full) as process,
        ):
            _, err = process.communicate(timeout=60)
        assert process.returncode == 1
        assert "No space left on device" in err or "stdout was closed" in err
        assert "Traceback" not in err
    assert swapped(project, names) == []


# The lock, and what the ledger does not take.


def test_whoever_comes_second_is_told_who_holds_the_lock_or_waits_for_it(slowly: Project) -> None:
    with running(slowly, "--parallelism=4") as first:
        read_until(first.stderr, "Modifying...")
        second = slowly.run("apply", "--auto-approve", "--detailed-exitcode")
        lines = slowly.run("apply", "--json", "--auto-approve", "--detailed-exitcode")
        waits = threading.Event()

        def wait_and_note(acquire: Any, within_s: float, emit: Any) -> Any:
            def note(event: Any) -> None:
                waits.set()
                emit(event)

            return wait_for_lock(acquire, within_s, note)

        with (
            mock.patch("reconciler.ledgers.file.wait_for", wait_and_note),
            time_passing(slowly.emulator.url, waits.is_set),
        ):
            third = slowly.run("apply", "--auto-approve", "-lock-timeout=10m")
            first.communicate(timeout=60)
    assert first.returncode == 0
    assert (second.code, str(first.pid) in second.err) == (5, True), second.said
    assert (lines.code, check_stream(lines.out)[-1]["outcome"]) == (5, "locked")
    assert (third.code, "Acquiring the lock of the ledger: held for apply" in third.err) == (
        0,
        True,
    ), third.said


def test_what_the_ledger_does_not_take_is_kept_and_taken_in_later(project: Project) -> None:
    world = project.emulator
    swap(project, 2)
    (project.folder / "manifests" / "s01.yaml").unlink()
    assert project.run("apply", "--auto-approve").code == 0
    ledger = project.folder / ".reconciler" / "ledger.jsonl"
    lines = ledger.read_bytes().splitlines(keepends=True)
    # The next step's intent has room, and only half of its outcome.
    room = 2 * sum(map(len, lines)) - len(lines[-1]) // 2
    project.manifest("s01", world.model_uri("new"))

    def limit() -> None:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))

    with running_after(limit, project, "--detailed-exitcode") as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == 6, err
    kept = project.folder / "errored.ledger.json"
    assert "1 step done and not recorded: the ledger cannot be written" in err
    assert f"reconciler ledger verify --recover {kept}" in err
    assert "Apply incomplete!" in out
    assert world.model("s01") == world.model_uri("new")
    assert CANARY not in kept.read_text()
    taken = project.run("ledger", "verify", "--recover", str(kept))
    assert taken.code == 0, taken.said
    assert "WebService/s01" in recorded(project)
    assert project.run("plan", "--detailed-exitcode").code == 0

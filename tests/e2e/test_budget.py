"""Calls within a budget: real limits, a service that refuses at random, interrupts, --max-calls."""

import json
import random
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from reconciler.model import CallEnded, Event, Throttling
from reconciler.transport import Client, CommandRateLimiter
from tests.clocks import FakeClock
from tests.e2e.world import (
    Emulator,
    Project,
    begin_command,
    hold_time,
    pass_time,
    run_emulator,
    time_passing,
)
from tests.scripted import Answer, Call, Scripted, answers, run_scripted

pytestmark = pytest.mark.e2e


def test_published_limits_are_found_out_and_no_call_fails() -> None:
    """250 reads at once and 25 a second; the client is told nothing of it beforehand."""
    events: list[Event] = []
    clock = FakeClock()
    with run_emulator("--no-blob", "--limits", "resource-manager") as emulator:
        emulator.deploy("census", "https://acct.blob.core.windows.net/m/a.ilearner")
        # A busy machine would take so long for the calls that there is nothing to wait for.
        hold_time(emulator.url)

        def sleep(seconds: float) -> None:
            clock.sleep(seconds)
            pass_time(emulator.url, seconds)

        rate_limiter = CommandRateLimiter(events.append, clock=clock, sleep=sleep)
        client = Client(emulator.url, events.append, rate_limiter, clock=clock, sleep=sleep)
        path = f"{emulator.path('census')}?api-version=2017-01-01"
        with ThreadPoolExecutor(10) as pool:
            found = set(pool.map(lambda _: client.send("GET", path).status, range(300)))
    assert found == {200}
    waits = [event.seconds for event in events if isinstance(event, Throttling)]
    assert len(waits) == sum(not isinstance(event, CallEnded) for event in events)
    # 50 are more than the bucket held, and come in two seconds.
    assert 1 <= sum(waits) <= 5
    assert rate_limiter.sent - 300 <= 10 + 3 * len(waits)


@contextmanager
def moody_front(emulator: Emulator, seed: int, share: float) -> Iterator[Scripted]:
    """The emulator behind a gate that refuses that share of all calls, whatever they are."""
    drawn = random.Random(seed)
    refused = [drawn.random() < share for _ in range(5000)]

    def script(call: Call, number: int) -> Answer:
        if refused[number]:
            status = 429 if number % 2 else 503
            return Answer(status, {}, {"Retry-After": "1"} if number % 3 == 0 else {})
        request = urllib.request.Request(
            emulator.url + call.target,
            method=call.method,
            data=call.body or None,
            headers={
                name: call.headers[name]
                for name in ("Host", "Authorization", "Content-Type")
                if name in call.headers
            },
        )
        try:
            with urllib.request.urlopen(request, timeout=120) as reply:
                kept = ("Azure-AsyncOperation", "Content-Type")
                headers = {name: reply.headers[name] for name in kept if reply.headers[name]}
                return Answer(reply.status, reply.read(), headers)
        except urllib.error.HTTPError as error:
            return Answer(error.code, error.read())

    with run_scripted(script) as front:
        yield front


@pytest.mark.usefixtures("hurried_calls")
def test_no_step_fails_where_three_of_ten_calls_are_refused(project: Project) -> None:
    world = project.emulator
    names = [f"s{number}" for number in range(4)]
    for name in names:
        world.deploy(name, world.model_uri("old"))
        project.manifest(name, world.model_uri("new"))
    real = world.url
    with moody_front(Emulator(real, ""), 7, 0.3) as front:
        world.url = front.url
        project.write_project()
        done = project.run("apply", "--auto-approve")
        world.url = real
    assert (done.code, "4 changed" in done.out) == (0, True), done.said
    assert [world.model(name) for name in names] == [world.model_uri("new")] * 4
    assert "the next request is in" in done.err
    assert "trying again" not in done.err


def test_ctrl_c_does_not_wait_for_what_the_service_asks_for(project: Project) -> None:
    """The service asks for five minutes; ten workers and whoever started them go at once."""
    for number in range(12):
        project.manifest(f"s{number}", "https://acct.blob.core.windows.net/m/a.ilearner")
    with run_scripted(answers(Answer(429, {}, {"Retry-After": "300"}))) as server:
        project.emulator.url = server.url
        project.write_project()
        with begin_command(project.folder, "plan", stdout=subprocess.DEVNULL) as process:
            assert process.stderr is not None
            for line in process.stderr:
                if "the next request is in 5m0s" in line:
                    process.send_signal(signal.SIGINT)
                    break
            try:
                _, said = process.communicate(timeout=60)
            finally:
                process.kill()
        assert len(server.calls) <= 10
    assert process.returncode == 130
    assert "Interrupted." in said
    assert "Traceback" not in said


@pytest.fixture
def counted(tmp_path: Path) -> Iterator[Project]:
    """A project of three services with changes, and an emulator that counts what it is asked."""
    options = ("--no-blob", "--operation-seconds", "0.1", "--log", str(tmp_path / "calls"))
    with run_emulator(*options) as emulator:
        project = Project(tmp_path / "project", emulator)
        for name in ("a", "b", "c"):
            emulator.deploy(name, "https://acct.blob.core.windows.net/m/old.ilearner")
            project.manifest(name, "https://acct.blob.core.windows.net/m/new.ilearner")
        yield project


def calls_of(project: Project) -> list[str]:
    lines = (project.folder.parent / "calls").read_text().splitlines()
    return [json.loads(line)["method"] for line in lines]


@pytest.mark.parametrize("command", ["plan", "drift", "apply"])
def test_what_needs_more_reads_than_may_be_sent_is_refused_beforehand(
    counted: Project, command: str
) -> None:
    before = calls_of(counted)
    done = counted.run(command, "--refresh=full", "-max-calls=2")
    assert done.code == 1
    assert "Error: 3 calls are needed, and --max-calls allows 2" in done.err
    assert "--max-calls 3" in done.err
    assert calls_of(counted) == before
    if command != "apply":
        again = counted.run(command, "--refresh=full", "--max-calls", "3")
        assert "--max-calls" not in again.err
        assert len(calls_of(counted)) == len(before) + 3


def test_an_apply_that_needs_more_calls_is_refused_before_its_first(counted: Project) -> None:
    assert counted.run("plan", "--out", "p.json").code == 0
    estimate = json.loads((counted.folder / "p.json").read_text())["estimate"]
    needed = estimate["reads"] + estimate["writes"]
    before = calls_of(counted)
    done = counted.run("apply", "p.json", "--max-calls", str(needed - 1))
    assert done.code == 1
    assert f"{needed} calls are needed, and --max-calls allows {needed - 1}" in done.err
    assert calls_of(counted) == before
    asked = counted.run("apply", "--refresh=full", "--max-calls", str(needed), stdin="yes\n")
    assert asked.code == 1
    assert f"{needed} calls are needed after 3, and --max-calls allows {needed}" in asked.err
    assert "Enter a value" not in asked.out
    assert calls_of(counted) == [*before, "GET", "GET", "GET"]
    assert counted.run("apply", "p.json", "--max-calls", str(needed + 3)).code == 0
    assert len(calls_of(counted)) <= len(before) + 3 + needed + 3


@pytest.mark.usefixtures("hurried_calls")
def test_not_one_call_more_is_sent_whatever_was_foreseen(tmp_path: Path) -> None:
    """Operations take longer than was foreseen, and are asked for more often."""
    options = ("--no-blob", "--operation-seconds", "3", "--log", str(tmp_path / "calls"))
    with run_emulator(*options) as emulator:
        project = Project(tmp_path / "project", emulator)
        with time_passing(emulator.url):
            emulator.deploy("a", "https://acct.blob.core.windows.net/m/old.ilearner")
        project.manifest("a", "https://acct.blob.core.windows.net/m/new.ilearner")
        assert project.run("plan", "--out", "p.json").code == 0
        estimate = json.loads((project.folder / "p.json").read_text())["estimate"]
        needed = estimate["reads"] + estimate["writes"]
        before = len(calls_of(project))
        done = project.run("apply", "p.json", "--max-calls", str(needed))
        assert done.code == 1
        assert f"no more calls may be sent: --max-calls allows {needed}" in done.err + done.out
        assert len(calls_of(project)) == before + needed

"""A process that is stopped in the middle of a write, overtaken, and continued: it sends nothing."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from tests.clocks import HURRIED
from tests.contract.go_between import GoBetween, go_between
from tests.e2e.world import Emulator, Project, begin_command
from tests.fork_server import Process
from tests.storage import open_storage

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("hurried_calls")]

ERRORED = "errored.ledger.json"
REPLACEMENT = Path(__file__).parent.parent / "cases" / "replace-allowed"


@dataclass
class Between(Project):
    """A project behind a go-between; its ledger is in its folder, or in a container."""

    url: str = ""
    container: bool = False

    def write_project(self) -> None:
        super().write_project()
        file = self.folder / "reconciler.yaml"
        text = file.read_text().replace(f'"{self.emulator.url}"', f'"{self.url}"', 1)
        if self.container:
            address = f"{open_storage()}/devstoreaccount1/reconciler"
            text += f"  ledger: {{container: '{address}', prefix: {self.emulator.group}/}}\n"
        file.write_text(text)


@dataclass
class Overtaken:
    """What is left when the process that was stopped has ended: what it said, and what it sent."""

    project: Between
    said: str
    code: int
    late: list[str]


@pytest.fixture
def wire(own_group: Emulator) -> Iterator[GoBetween]:
    with go_between(own_group.url) as running:
        yield running


@pytest.fixture(params=["file", "container"])
def project(
    request: pytest.FixtureRequest, own_group: Emulator, wire: GoBetween, tmp_path: Path
) -> Between:
    own_group.deploy("a", own_group.model_uri("old"))
    container = request.param == "container"
    return Between(tmp_path / "project", own_group, url=wire.url, container=container)


@contextmanager
def apply_beside(folder: Path, *more: str) -> Iterator[Process]:
    """An apply as a process of its own; it is dead afterwards."""
    command = ("apply", "--auto-approve", "--patience", "1s")
    with begin_command(
        folder, *command, *more, stderr=subprocess.STDOUT, before=HURRIED
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def stop_at(process: Process, wire: GoBetween, call: str, loss: Literal["busy", "keep"]) -> None:
    """Stop a process while its first `call` is on the way."""
    wire.what, wire.losses = call, [loss]
    wire.before = lambda: os.kill(process.pid, signal.SIGSTOP)
    process.wait_until_stopped()


def unlock(project: Between) -> None:
    """Remove the lock of the process that has it."""
    refused = project.run("apply", "--auto-approve", "--lock-timeout", "0s")
    named = re.search(r"force-unlock ([0-9a-f-]+)", refused.err)
    assert named, refused.said
    assert project.run("force-unlock", named[1], "--force").code == 0


def take_over(project: Between) -> None:
    """Remove the lock of the process that has it, and apply something newer."""
    project.manifest("a", project.emulator.model_uri("newest"))
    unlock(project)
    done = project.run("apply", "--auto-approve", "--patience", "1s")
    assert done.code == 0, done.said


def overtake(
    project: Between, wire: GoBetween, call: str, loss: Literal["busy", "keep"]
) -> Overtaken:
    """Stop an apply while its first `call` is on the way; continue it when another has applied."""
    with apply_beside(project.folder) as process:
        stop_at(process, wire, call, loss)
        take_over(project)
        sent = len(wire.seen)
        process.send_signal(signal.SIGCONT)
        said, _ = process.communicate(timeout=120)
    late = [one for one in wire.seen[sent:] if not one.startswith("GET ")]
    return Overtaken(project, said, process.wait(), late)


def check_undisturbed(left: Overtaken) -> None:
    """What the other process has applied stands, and the ledger holds."""
    project = left.project
    assert left.late == []
    assert left.code == 1
    assert project.emulator.model("a") == project.emulator.model_uri("newest")
    assert project.run("plan", "--detailed-exitcode").code == 0
    verified = project.run("ledger", "verify")
    assert verified.code == 0, verified.said


def test_a_write_that_waited_for_its_turn_is_not_sent(project: Between, wire: GoBetween) -> None:
    project.manifest("a", project.emulator.model_uri("new"))
    left = overtake(project, wire, "PATCH ", "busy")
    check_undisturbed(left)
    assert "the lock of the ledger was acquired by another process" in left.said
    assert "It was not done." in left.said
    assert not (project.folder / ERRORED).exists()


def test_a_write_that_went_out_is_handed_on(project: Between, wire: GoBetween) -> None:
    project.manifest("a", project.emulator.model_uri("new"))
    left = overtake(project, wire, "PATCH ", "keep")
    check_undisturbed(left)
    assert "another process acquired the lock" in left.said
    assert "That is not recorded." in left.said
    assert "othing was written" not in left.said
    assert ERRORED in left.said
    recovered = project.run("ledger", "verify", "--recover", ERRORED)
    assert recovered.code == 0, recovered.said
    assert "0 of 1 entry recorded; the others were already in the ledger" in recovered.out
    check_undisturbed(left)


def test_of_a_replacement_that_was_half_sent_nothing_more_is_sent(
    project: Between, wire: GoBetween, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORAGE_KEY", "the-storage-key-of-another")
    monkeypatch.setenv("CENSUS_KEY", "the-new-primary-key")
    project.manifest("a", more=(REPLACEMENT / "manifest.yaml").read_text().partition("spec:\n")[2])
    with apply_beside(project.folder, "--allow", "replace") as process:
        stop_at(process, wire, "DELETE ", "keep")
        unlock(project)
        process.send_signal(signal.SIGCONT)
        said, _ = process.communicate(timeout=120)
    assert [one for one in wire.seen if one.startswith(("PUT ", "PATCH ", "POST "))] == []
    assert "It is gone, and its replacement does not exist." in said
    assert "That is not recorded." in said
    recovered = project.run("ledger", "verify", "--recover", ERRORED)
    assert recovered.code == 0, recovered.said
    assert "Recovered: 1 of 1 entry recorded." in recovered.out
    assert project.run("ledger", "verify").code == 0

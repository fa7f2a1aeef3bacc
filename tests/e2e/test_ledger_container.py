"""A ledger in a container: what one machine applied, every other one remembers."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.test_ledger_commands import HOLD
from tests.e2e.world import Emulator, Project, clean_environment
from tests.storage import open_storage

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("hurried_calls")]


@dataclass
class Shared(Project):
    """A project whose ledger is in a container."""

    def write_project(self) -> None:
        super().write_project()
        file = self.folder / "reconciler.yaml"
        address = f"{open_storage()}/devstoreaccount1/reconciler"
        ledger = f"  ledger: {{container: '{address}', prefix: {self.emulator.group}/prod/}}\n"
        file.write_text(file.read_text() + ledger)


@pytest.fixture
def pair(own_group: Emulator, tmp_path: Path) -> tuple[Shared, Shared]:
    """The same project on two machines."""
    pair = Shared(tmp_path / "one", own_group), Shared(tmp_path / "other", own_group)
    own_group.deploy("a", own_group.model_uri("old"))
    for project in pair:
        project.manifest("a", own_group.model_uri("new"))
    return pair


def test_what_one_machine_applied_the_other_remembers(pair: tuple[Shared, Shared]) -> None:
    one, other = pair
    assert other.run("plan", "--detailed-exitcode").code == 2
    done = one.run("apply", "--auto-approve")
    assert done.code == 0, done.said
    assert not list(one.folder.glob(".reconciler/ledger*"))
    assert other.run("plan", "--detailed-exitcode").code == 0
    (reported,) = json.loads(other.run("history", "--json").out)["entries"]
    assert reported["address"] == "WebService/a"
    assert other.run("ledger", "verify").out.startswith("The ledger holds: 1 entry, 1 intent")
    compacted = other.run("ledger", "compact")
    assert compacted.code == 0, compacted.said
    one.manifest("a", one.emulator.model_uri("newest"))
    assert one.run("apply", "--auto-approve").code == 0
    back = other.run("rollback", "WebService/a", "--auto-approve")
    assert back.code == 0, back.said
    assert one.emulator.model("a") == one.emulator.model_uri("new")
    assert one.run("ledger", "verify").code == 0


def test_one_machine_waits_for_the_other(pair: tuple[Shared, Shared]) -> None:
    one, other = pair
    with subprocess.Popen(
        [sys.executable, "-c", HOLD],
        cwd=one.folder,
        env=clean_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        lock_id = process.stdout.readline().strip()
        refused = other.run("apply", "--auto-approve", "--lock-timeout", "0s")
        assert refused.code == 1
        assert lock_id in refused.err
        assert "a test" in refused.err
        assert other.emulator.model("a") == other.emulator.model_uri("old")
        freed = other.run("force-unlock", lock_id, "--force")
        assert freed.code == 0, freed.said
        assert other.run("apply", "--auto-approve").code == 0
        process.kill()


def test_a_container_that_cannot_be_reached_ends_before_anything_is_written(
    pair: tuple[Shared, Shared],
) -> None:
    one, _ = pair
    file = one.folder / "reconciler.yaml"
    blob = one.emulator.blob
    file.write_text(
        file.read_text().replace(f"container: '{blob}", "container: 'http://127.0.0.1:9")
    )
    done = one.run("apply", "--auto-approve")
    assert done.code == 1
    assert "the ledger cannot be used: storage at 127.0.0.1:9: cannot be reached" in done.err
    assert "Traceback" not in done.said
    assert one.emulator.model("a") == one.emulator.model_uri("old")


def test_what_one_machine_reported_is_known_to_the_other(pair: tuple[Shared, Shared]) -> None:
    one, other = pair
    assert one.run("apply", "--auto-approve").code == 0
    one.emulator.patch("a", description="somebody")
    done = one.run("drift", "--refresh=full", "--new-only", "--detailed-exitcode")
    assert (done.code, "Findings: 1 new." in done.out) == (2, True)
    assert not (one.folder / ".reconciler" / "drift").exists()
    done = other.run("drift", "--new-only", "--detailed-exitcode")
    assert (done.code, "No new drift." in done.out) == (0, True), done.said
    assert "Trend: 1 1 not in sync in the last 2 runs." in done.out
    assert one.run("ledger", "compact").code == 0
    assert other.run("ledger", "verify").code == 0
    assert "Findings: 0 new, 1 known" in one.run("drift", "--refresh=full").out

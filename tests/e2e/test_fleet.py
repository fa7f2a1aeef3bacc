"""A fleet of thirty through its life: begun by a canary, stopped, mended, killed, pruned."""

import json
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.world import EXAMPLE, MODEL, Project, begin_command, run_emulator
from tests.fork_server import Process

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("hurried_calls")]

COUNT = 30
FLEET = "Fleet/bike-rental"
ONE = ("--target", FLEET)
FAULTS = r"""
- {match: {method: PATCH, path: "rental001\\?"}, do: fail-operation, times: 1}
- {match: {method: PATCH, path: "rental00[34]\\?"}, do: fail-operation, times: 2}
- {match: {method: PATCH, path: "rental01[5-9]\\?"}, do: hang, times: 5}
"""
ENV = {"STORAGE_KEY": "a-storage-key"}


@dataclass
class Rentals:
    """A project with one fleet, and what its service was asked."""

    project: Project
    log: Path

    def write(self, version: str, count: int = COUNT, more: str = "") -> None:
        folder = self.project.folder / "manifests"
        rows = "".join(f"{number:03},{number}\n" for number in range(1, count + 1))
        (folder / "locations.csv").write_text(f"code,location\n{rows}")
        uri = f"https://models.blob.core.windows.net/rental/{version}/${{code}}.ilearner"
        (folder / "fleet.yaml").write_text(
            f"""apiVersion: reconciler/v1
kind: Fleet
metadata: {{name: bike-rental}}
spec:
  items: {{csv: locations.csv}}
  waves: [1, 20%, 100%]
{more}
  template:
    kind: WebService
    metadata: {{name: "rental${{code}}"}}
    spec:
      trainedModels: {{"{MODEL}": {{uri: "{uri}"}}}}
      definition: {{file: census.definition.json}}
      secrets:
        /properties/storageAccount/key: {{env: STORAGE_KEY}}
"""
        )

    def run(self, *arguments: str) -> Any:
        return self.project.run(*arguments, env=ENV)

    def begin(self, *arguments: str) -> Process:
        return begin_command(self.project.folder, *arguments, env=ENV)

    def sent(self, method: str) -> list[str]:
        """The members that were written to, in that order."""
        calls = map(json.loads, self.log.read_text().splitlines())
        paths = (call["path"] for call in calls if call["method"] == method)
        return [path.partition("?")[0].rpartition("/")[2] for path in paths]


@pytest.fixture(scope="module")
def rentals(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rentals]:
    """One fleet for all: each test goes on where the one before has left it."""
    folder = tmp_path_factory.mktemp("fleet")
    log, faults = folder / "calls.jsonl", folder / "faults.yaml"
    faults.write_text(FAULTS)
    options = ("--no-blob", "--operation-seconds=0.05", f"--log={log}", f"--faults={faults}")
    with run_emulator(*options) as emulator:
        project = Project(folder / "project", emulator, guards=", maxUpdates: 100%")
        definition = EXAMPLE / "manifests" / "census.definition.json"
        document = json.loads(definition.read_bytes())
        for part in ("input", "output", "exampleRequest"):  # a smaller one, for each of thirty
            del document["properties"][part]
        (project.folder / "manifests" / definition.name).write_text(json.dumps(document))
        yield Rentals(project, log)


def names(first: int, last: int) -> set[str]:
    return {f"rental{number:03}" for number in range(first, last + 1)}


def _a_fleet_is_created_in_waves(rentals: Rentals) -> None:
    rentals.write("v1")
    planned = rentals.run("plan", "--summary")
    said = f"{FLEET}: 30 members in 3 waves: 1, 5, 24; the first failure stops the rest.\n"
    assert said in planned.out
    done = rentals.run("apply", *ONE, "--auto-approve")
    assert (done.code, "Resources: 30 added" in done.out) == (0, True)
    waves = [(1, "1 member"), (2, "5 members"), (3, "24 members")]
    reported = [line for line in done.err.splitlines() if line.startswith(FLEET)]
    assert reported == [f"{FLEET}: Wave {number} of 3: {what}" for number, what in waves]
    sent = rentals.sent("PUT")
    assert (sent[0], set(sent[1:6]), set(sent[6:])) == ("rental001", names(2, 6), names(7, 30))
    assert rentals.run("plan", "--detailed-exitcode").code == 0


def _a_canary_that_fails_stops_the_others(rentals: Rentals) -> None:
    rentals.write("v2")
    stopped = rentals.run("apply", "--auto-approve", "--detailed-exitcode")
    assert stopped.code == 6
    assert "1 failed, 29 not started." in stopped.out
    assert "Item 1 is on manifests/locations.csv:2:1." in stopped.out
    why = f"{FLEET} was stopped: 1 member failed, and no member may fail; 29 members not started.\n"
    command = f"reconciler apply --target {FLEET}"
    assert f"{why}After you fix the cause, continue with: {command}\n" in stopped.out
    assert rentals.sent("PATCH") == ["rental001"]


def _what_was_killed_in_the_middle_goes_on_there(rentals: Rentals) -> None:
    rentals.write("v2", more="  maxFailures: 1")
    assert rentals.run("plan", *ONE, "--out", "swap.plan").code == 0
    # Two of the second wave fail, and one may.
    stopped = rentals.run("apply", "swap.plan", "--json", "--detailed-exitcode")
    lines = [json.loads(line) for line in stopped.out.splitlines()]
    (halt,) = [line["stopped"] for line in lines if line["type"] == "fleet_stopped"]
    assert halt == {"fleet": FLEET, "failed": 2, "max_failures": 1}
    assert (stopped.code, lines[-1]["stopped"][0]["not_started"]) == (6, 24)
    assert set(rentals.sent("PATCH")) == names(1, 6)

    # Five members get no answer, so the apply goes no further, however late it is killed.
    with rentals.begin("apply", "swap.plan", "--parallelism", "5") as process:
        while process.poll() is None and not names(15, 19) <= set(rentals.sent("PATCH")):
            time.sleep(0.02)
        process.kill()
        _, reported = process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert f"{FLEET}: Wave 2 of 3: 2 members" in reported
    goes_on = rentals.run("apply", "swap.plan")
    assert goes_on.code == 0
    assert f"{FLEET}: Wave 2 of 3" not in goes_on.err
    assert f"{FLEET}: Wave 3 of 3" in goes_on.err
    failed = {"rental001": 2, "rental003": 2, "rental004": 2}
    unanswered = dict.fromkeys(names(15, 19), 2)
    assert Counter(rentals.sent("PATCH")) == {
        **dict.fromkeys(names(1, 30), 1),
        **failed,
        **unanswered,
    }
    assert rentals.run("plan", "--detailed-exitcode").code == 0


def _ctrl_c_ends_a_pause_at_once(rentals: Rentals) -> None:
    rentals.write("v3", more="  pause: 1h")
    before = len(rentals.sent("PATCH"))
    with rentals.begin("apply", "--auto-approve") as process:
        assert process.stderr is not None
        reported = [process.stderr.readline()]
        while reported[-1] and "next wave" not in reported[-1]:
            reported.append(process.stderr.readline())
        assert reported[-1] == f"{FLEET}: The next wave starts in 60m0s\n"
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "1 changed, 0 destroyed. 29 not started." in out
    assert len(rentals.sent("PATCH")) == before + 1

    rentals.write("v3")
    assert rentals.run("apply", "--auto-approve").code == 0


def _rows_that_are_gone_are_destroyed_under_the_guard(rentals: Rentals) -> None:
    rentals.write("v3", count=27)
    reported = rentals.run("plan")
    assert "3 orphans: in the ledger, and no manifest declares them." in reported.out
    left_out = rentals.run("plan", "--prune", "--exclude", FLEET, "--format", "json")
    assert json.loads(left_out.out)["resource_changes"] == []
    refused = rentals.run("apply", "--prune", *ONE, "--auto-approve", "--detailed-exitcode")
    assert refused.code == 3
    assert f"3 of them are members of {FLEET}." in refused.err
    assert f"{FLEET}: 3 members in 2 waves: 1, 2 to destroy" in refused.out
    done = rentals.run("apply", "--prune", *ONE, "--auto-approve", "--allow", "deletes")
    assert "Resources: 0 added, 0 changed, 3 destroyed." in done.out
    assert rentals.sent("DELETE")[0] == "rental030"
    assert set(rentals.sent("DELETE")) == names(28, 30)
    assert rentals.run("plan", "--prune", "--detailed-exitcode").code == 0


def _a_fleet_is_taken_wherever_an_address_is(rentals: Rentals) -> None:
    wrong = rentals.run("plan", "--target", "Fleet/bike-rentals")
    assert (wrong.code, f"Did you mean {FLEET}?" in wrong.said) == (1, True)
    shown = rentals.run("history", FLEET)
    assert f"+ create  {FLEET}: 30 members  by" in shown.out
    assert f"- delete  {FLEET}: 3 members  by" in shown.out
    unknown = rentals.run("history", "Fleet/bike-rentals")
    assert (unknown.code, f"Did you mean {FLEET}?" in unknown.said) == (1, True)
    blamed = rentals.run("history", FLEET, "--blame")
    assert (blamed.code, f"{FLEET}: is a fleet" in blamed.said) == (1, True)
    back = rentals.run("rollback", FLEET)
    assert (back.code, "Roll back one member at a time" in back.said) == (1, True)
    report = json.loads(rentals.run("drift", *ONE, "--format", "json").out)
    assert report["coverage"]["total"] == 27
    written = rentals.run("export", FLEET, "--folder", "exported")
    assert "27 services exported." in written.out
    forgotten = rentals.run("forget", FLEET)
    assert forgotten.out.count("  . WebService/rental") == 27
    assert rentals.run("history", FLEET, "--at", "#1").code == 0
    assert rentals.run("forget", FLEET).code == 1


def test_the_life_of_a_fleet(rentals: Rentals) -> None:
    """One story: each part begins where the part before it has ended."""
    for part in (
        _a_fleet_is_created_in_waves,
        _a_canary_that_fails_stops_the_others,
        _what_was_killed_in_the_middle_goes_on_there,
        _ctrl_c_ends_a_pause_at_once,
        _rows_that_are_gone_are_destroyed_under_the_guard,
        _a_fleet_is_taken_wherever_an_address_is,
    ):
        part(rentals)

"""Classic endpoints from the first plan to the last, under both readings of what GET shows."""

import json
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from reconciler.emulator import SWITCHES
from tests.casework.classic import MODEL, Classic
from tests.e2e.bikes import HIDDEN, SHOWN, Bikes, open_bikes
from tests.e2e.world import Emulator, begin_command, pass_time, run, run_emulator

pytestmark = pytest.mark.e2e
Json = Any
# Every reading of what is not known of Classic, the first of each being what is taken elsewhere.
READINGS = [
    {
        switch.name: switch.values[min(number, len(switch.values) - 1)]
        for switch in SWITCHES
        if switch.name.startswith("classic-") and not switch.name.startswith("classic-refused")
    }
    for number in (0, 1, 2)
]


@pytest.mark.parametrize("reading", READINGS, ids=["first", "second", "third"])
def test_the_story_of_an_endpoint_under_every_reading(
    reading: Mapping[str, str], emulator: Emulator, signature: str, tmp_path: Path
) -> None:
    with open_bikes(tmp_path, emulator, signature, reading) as bikes:
        settings = {"Description": "Location 1", "ThrottleLevel": "High", "MaxConcurrentCalls": 8}
        bikes.declare("one", "rentalloc001", definition=settings)
        bikes.expect("Resources: 1 added", "apply", "--auto-approve")
        bikes.expect_silence()
        settings["MaxConcurrentCalls"] = 20
        bikes.declare("two", "rentalloc001", definition=settings)
        bikes.expect('"…/bikes/one.ilearner" -> "…/bikes/two.ilearner"', "plan")
        bikes.expect("Resources: 0 added, 1 changed", "apply", "--auto-approve")
        bikes.expect_silence()
        bikes.expect("No drift. 1 service in sync.", "drift")
        bikes.expect("/bikes/one.ilearner", "rollback", "Endpoint/rentalloc001", "--out", "back")
        bikes.expect("0 added, 1 changed", "apply", "back")
        bikes.expect("/bikes/two.ilearner", "plan")
        bikes.declare("one")
        bikes.expect(
            "0 changed, 1 destroyed", "apply", "--auto-approve", "--prune", "--allow", "empty"
        )
        assert set(bikes.classic.read()) == {"default"}
        patched = [one for one in bikes.requests() if one["method"] == "PATCH"]
        assert [one["status"] // 100 for one in patched] == [2, 2, 2]
        for file in bikes.folder.rglob("*"):
            if file.is_file():
                assert signature.rpartition("sig=")[2] not in file.read_text(errors="replace")


def test_what_is_hidden_is_told_with_when_it_was_set(
    emulator: Emulator, signature: str, tmp_path: Path
) -> None:
    with open_bikes(tmp_path, emulator, signature, HIDDEN) as bikes:
        bikes.declare("one", "rentalloc001")
        applied = bikes.expect("1 added", "apply", "--auto-approve")
        assert "The values written to 1 resource are not observable" in applied.out
        today = str(json.loads(bikes.run("history", "--json").out)["entries"][0]["at"])[:10]
        said = f"1 declared attribute is not observable (set {today} by "
        bikes.expect(said, "plan")
        reported = json.loads(bikes.run("plan", "--format", "json").out)
        (address,) = reported["last_set"].values()
        assert list(address) == [f"/Resources/{MODEL}/Location"]
        page = run(bikes.folder, "plan", "--format", "html", env=bikes.env)
        assert f"(set {today} by " in page.out
        assert f"(set {today} by " in bikes.run("plan", "--format", "markdown").out
        assert "one.ilearner" in bikes.run("history", "--blame", "Endpoint/rentalloc001").out


def test_a_second_writer_is_named_where_the_model_is_shown(
    emulator: Emulator, signature: str, tmp_path: Path
) -> None:
    with open_bikes(tmp_path, emulator, signature, SHOWN) as bikes:
        bikes.declare("one", "rentalloc001")
        applied = bikes.expect("1 added", "apply", "--auto-approve")
        assert "not observable" not in applied.out
        other = "https://acct.blob.core.windows.net/adf/other.ilearner"
        bikes.classic.change("rentalloc001", {"model": other})
        done = bikes.expect("model-swapped", "drift")
        assert "AzureMLUpdateResource" in done.out
        bikes.expect("drift: was ", "plan")
        bikes.expect("0 added, 1 changed", "apply", "--auto-approve")
        bikes.expect("No drift.", "drift")


@pytest.mark.parametrize("reading", [HIDDEN, SHOWN], ids=["hidden", "shown"])
def test_a_refresh_that_undid_the_model_is_told_and_made_good(
    reading: Mapping[str, str], emulator: Emulator, signature: str, tmp_path: Path
) -> None:
    with open_bikes(tmp_path, emulator, signature, reading) as bikes:
        bikes.declare("one", "rentalloc001")
        bikes.expect("1 added", "apply", "--auto-approve")
        bikes.classic.send("PUT", "", {"Name": "Bike Rental", "Resources": [MODEL]})
        overwrite = {"OverwriteResources": "True"}
        bikes.classic.send("POST", "/endpoints/rentalloc001/refresh", overwrite)
        pass_time(bikes.emulator.url, 60)
        done = bikes.run("drift", "--detailed-exitcode")
        assert (done.code, "Version" in done.out) == (2, True), done.said
        assert "may have been undone" in done.out
        bikes.expect("1 to change", "plan")
        bikes.expect("0 added, 1 changed", "apply", "--auto-approve")
        bikes.expect("No drift.", "drift")
        bikes.expect_silence()


@pytest.mark.parametrize(("reading", "code"), [(HIDDEN, 0), (SHOWN, 4)], ids=["hidden", "shown"])
def test_a_plan_that_was_done_is_not_passed_over_after_a_refresh(
    reading: Mapping[str, str], code: int, emulator: Emulator, signature: str, tmp_path: Path
) -> None:
    with open_bikes(tmp_path, emulator, signature, reading) as bikes:
        bikes.declare("one", "rentalloc001")
        bikes.expect("1 to add", "plan", "--out", "one.plan")
        bikes.expect("1 added", "apply", "one.plan")
        bikes.expect("0 added, 0 changed", "apply", "one.plan")
        bikes.declare("two", "rentalloc001")
        bikes.expect("1 to change", "plan", "--out", "two.plan")
        bikes.expect("0 added, 1 changed", "apply", "two.plan")
        bikes.expect("0 added, 0 changed", "apply", "two.plan")
        bikes.classic.send("PUT", "", {"Name": "Bike Rental", "Resources": [MODEL]})
        overwrite = {"OverwriteResources": "True"}
        bikes.classic.send("POST", "/endpoints/rentalloc001/refresh", overwrite)
        pass_time(bikes.emulator.url, 60)
        again = bikes.run("apply", "two.plan", "--detailed-exitcode")
        assert again.code == code, again.said
        assert ("0 added, 1 changed" in again.out) is (code == 0)


@pytest.mark.parametrize("reading", [HIDDEN, SHOWN], ids=["hidden", "shown"])
def test_an_endpoint_that_was_deleted_and_created_again_inherits_nothing(
    reading: Mapping[str, str], emulator: Emulator, signature: str, tmp_path: Path
) -> None:
    with open_bikes(tmp_path, emulator, signature, reading) as bikes:
        bikes.declare("one", "rentalloc001")
        bikes.expect("1 added", "apply", "--auto-approve")
        bikes.classic.send("DELETE", "/endpoints/rentalloc001")
        pass_time(bikes.emulator.url, 60)
        bikes.classic.send("PUT", "/endpoints/rentalloc001", {"Description": "somebody's"})
        drift = bikes.run("drift")
        assert not any(word in drift.out for word in ("drifted", "swapped", "undone")), drift.said
        planned = bikes.expect("1 to change", "plan")
        assert "it was deleted and created again since it was last applied" in planned.out
        assert "drift: was" not in planned.out
        bikes.expect("0 added, 1 changed", "apply", "--auto-approve")
        bikes.expect_silence()


def test_endpoints_of_another_web_service_inherit_nothing(
    emulator: Emulator, signature: str, tmp_path: Path
) -> None:
    names = ("rentalloc001", "rentalloc002")
    with open_bikes(tmp_path, emulator, signature, HIDDEN) as bikes:
        bikes.declare("one", *names)
        bikes.expect("2 added", "apply", "--auto-approve")
        other = Classic(bikes.emulator, "another", {"endpoints": {name: {} for name in names}})
        other.set()
        file = bikes.folder / "reconciler.yaml"
        file.write_text(file.read_text().replace(bikes.classic.id, other.id))
        planned = bikes.expect("0 to add, 2 to change, 0 to destroy", "plan", "--allow", "updates")
        assert "2 orphans" in planned.out
        assert "Endpoint/rentalloc001.former [rentalloc001]" in planned.out
        bikes.expect(
            "0 added, 2 changed, 2 destroyed",
            "apply", "--auto-approve", "--prune", "--allow", "updates",
        )  # fmt: skip
        assert set(bikes.classic.read()) == {"default"}
        assert set(other.read()) == {"default", *names}
        bikes.expect_silence()


def kill_at_patch(bikes: Bikes, number: int) -> None:
    """Kill an apply as soon as the service has got this many writes of a model."""
    command = ("apply", "--auto-approve", "--patience", "1s")
    nothing = subprocess.DEVNULL
    with begin_command(
        bikes.folder, *command, env=bikes.env, stdout=nothing, stderr=nothing
    ) as process:
        while sum(one["method"] == "PATCH" for one in bikes.requests()) < number:
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)


@pytest.mark.parametrize("kills", [1, 3])
def test_what_a_killed_apply_came_to_is_not_guessed_and_the_model_is_sent(
    emulator: Emulator, signature: str, tmp_path: Path, kills: int
) -> None:
    faults = tmp_path / "faults.yaml"
    faults.write_text(
        f"- {{match: {{method: PATCH, path: endpoints}}, do: hang, times: {kills}}}\n"
    )
    options = (f"--faults={faults}",)
    with open_bikes(tmp_path / "p", emulator, signature, HIDDEN, *options) as bikes:
        bikes.declare("one", "rentalloc001")
        for number in range(kills):
            kill_at_patch(bikes, number + 1)
        done = bikes.expect("0 added, 1 changed", "apply", "--auto-approve", "--patience", "1s")
        assert "is not observable" in done.err, done.said
        bikes.expect_silence()
        bodies = [one for one in bikes.requests() if one["method"] == "PATCH"]
        assert len(bodies) == kills + 1, "no run sends it twice"
        assert [one["status"] for one in bodies[kills:]] == [204]


def test_many_are_read_in_one_list(emulator: Emulator, signature: str, tmp_path: Path) -> None:
    with open_bikes(tmp_path, emulator, signature, HIDDEN) as bikes:
        names = [f"rentalloc{number:03}" for number in range(40)]
        bikes.declare("one", *names)
        bikes.expect("40 added", "apply", "--auto-approve")
        before = len(bikes.requests())
        bikes.expect_silence()
        assert [one["method"] for one in bikes.requests()[before:]] == ["GET"]
        reported = json.loads(bikes.run("plan", "--format", "json").out)
        assert (reported["refresh"]["read"], reported["refresh"]["calls"]) == (40, 1)


def test_what_is_exported_plans_nothing(emulator: Emulator, signature: str, tmp_path: Path) -> None:
    with open_bikes(tmp_path, emulator, signature, HIDDEN) as bikes:
        reported = {"Description": "by hand", "ThrottleLevel": "High", "MaxConcurrentCalls": 6}
        bikes.classic.send("PUT", "/endpoints/byhand", reported)
        bikes.expect("2 services exported", "export", "--all")
        text = (bikes.folder / "manifests" / "byhand.yaml").read_text()
        assert "# The service does not show which model it serves." in text
        bikes.expect_silence()
        found = bikes.emulator.url + bikes.classic.path + "/endpoints/byhand"
        (bikes.folder / "manifests" / "byhand.yaml").unlink()
        bikes.expect("1 service", "import", "Endpoint/mine", found)
        mine = (bikes.folder / "manifests" / "mine.yaml").read_text()
        assert "name: byhand" in mine
        bikes.expect_silence()


WORLD = """
workspaces:
  - id: a0000000000000000000000000000001
    token: the-token-of-the-workspace
    webServices:
      - {id: b0000000000000000000000000000002, name: Bikes, resources: ["Bike Rental [trained model]"]}
"""


def test_a_workspace_has_its_own_token_also_for_what_no_manifest_names(
    emulator: Emulator, signature: str, tmp_path: Path
) -> None:
    world = tmp_path / "world.yaml"
    world.write_text(WORLD)
    options = (f"--world={world}", f"--blob-url={emulator.blob}", "--operation-seconds=0.05")
    env = {"MODELS_SAS": signature, "STUDIO_TOKEN": "the-token-of-the-workspace"}
    with run_emulator(*options) as running:
        bikes = Bikes(tmp_path, Emulator(running.url, emulator.blob), Classic(running, "", {}), env)
        cloud = {"resourceManager": running.url, "blob": emulator.blob}
        bikes.write(
            "reconciler.yaml", "Project", "bikes", {"cloud": cloud, "guards": {"maxDeletes": 9}}
        )
        where = {"workspace": f"a{1:031}", "webService": f"b{2:031}"}
        token = {"env": "STUDIO_TOKEN"}
        bikes.declare("one", "rentalloc001", resource=where)
        refused = bikes.run("plan")
        assert "Use the workspace's token" in refused.err, refused.said
        bikes.declare("one", "rentalloc001", resource={**where, "token": token})
        bikes.expect("1 to add", "plan", "--out", "saved.plan")
        bikes.expect("1 added", "apply", "saved.plan")
        bikes.declare("one")
        bikes.expect("1 destroyed", "apply", "--auto-approve", "--prune", "--allow", "empty")
        for file in tmp_path.rglob("*"):
            if file.is_file() and file != world:
                assert b"the-token-of-the-workspace" not in file.read_bytes()


def test_a_plan_is_not_applied_to_another_classic_host(
    emulator: Emulator, signature: str, tmp_path: Path
) -> None:
    with open_bikes(tmp_path, emulator, signature, HIDDEN) as bikes:
        bikes.declare("one", "rentalloc001")
        bikes.expect("1 to add", "plan", "--out", "saved.plan")
        project = bikes.folder / "reconciler.yaml"
        document = yaml.safe_load(project.read_text())
        document["spec"]["cloud"]["studioManagement"] = "http://127.0.0.1:9"
        project.write_text(yaml.safe_dump(document))
        done = bikes.run("apply", "saved.plan")
        assert "was made for" in done.err, done.said
        assert done.code == 1

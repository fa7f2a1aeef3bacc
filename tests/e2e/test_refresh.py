"""What a plan reads of a real service, and what it relies on having seen before."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.world import Project, clock_ahead, definition, pass_time, run_emulator, time_held

pytestmark = pytest.mark.e2e
NAMES = ("a", "b", "c", "d", "e")


# After so long, no read lags behind a change any more.
SETTLED_S = 60.0
LATER_S = 30.0


@pytest.fixture
def idle_project(project: Project) -> Iterator[Project]:
    """Five services that nobody has changed for as long as a read may lag, seen a while ago."""
    world = project.emulator
    for name in NAMES:
        world.deploy(name, world.model_uri("old"))
        project.manifest(name, world.model_uri("old"))
    pass_time(world.url, SETTLED_S)
    assert "Read 5 of 5 services in 5 calls." in project.run("plan").out
    with clock_ahead(LATER_S):
        yield project


def test_only_what_moved_is_read_again(idle_project: Project) -> None:
    world = idle_project.emulator
    silent = idle_project.run("plan")
    assert "Read 0 of 5 services in 1 call; oldest observation " in silent.out
    assert "Refreshing" not in silent.err
    world.patch("c", description="moved by somebody else")
    idle_project.manifest("c", world.model_uri("new"))
    moved = idle_project.run("plan", "--out", "p.json")
    assert "Read 1 of 5 services in 2 calls; oldest observation " in moved.out
    assert moved.err.startswith("WebService/c: Refreshing state...")
    assert "Plan: 0 to add, 1 to change, 0 to destroy." in moved.out
    refresh = json.loads((idle_project.folder / "p.json").read_text())["refresh"]
    assert (refresh["mode"], refresh["read"], refresh["calls"]) == ("auto", 1, 2)
    assert idle_project.run("apply", "p.json").code == 0
    assert world.model("c") == world.model_uri("new")
    # What was just written is read again, whatever our clock says: a read may lag behind it.
    for ahead_s in (-7200.0, 0.0, 7200.0):
        with clock_ahead(ahead_s), time_held(world.url):
            assert "Read 1 of 5 services in 2 calls" in idle_project.run("plan").out
    pass_time(world.url, SETTLED_S)
    assert "Read 1 of 5 services in 2 calls" in idle_project.run("plan").out
    assert "Read 0 of 5 services in 1 call" in idle_project.run("plan").out


def test_full_reads_all_and_none_reads_nothing(idle_project: Project) -> None:
    world = idle_project.emulator
    world.patch("c", description="unseen")
    for flag in ("--refresh=full", "-refresh=full"):
        assert "Read 5 of 5 services in 5 calls." in idle_project.run("plan", flag).out
    more = "  definition: {properties: {description: seen}}"
    idle_project.manifest("c", world.model_uri("old"), more=more)
    world.patch("c", description="unseen again")
    blind = idle_project.run("plan", "-refresh=false", "--out", "p.json")
    assert "Read 0 of 5 services in 0 calls; oldest observation " in blind.out
    assert '"unseen" -> "seen"' in blind.out
    # What was planned from memory is held against live before anything is written.
    stale = idle_project.run("apply", "p.json", "--detailed-exitcode")
    assert stale.code == 4
    assert "Saved plan is stale: /properties/description has changed" in stale.err
    assert "unseen again" in stale.err


def test_a_new_manifest_must_be_read_once(idle_project: Project) -> None:
    idle_project.manifest("f", idle_project.emulator.model_uri("old"))
    done = idle_project.run("plan", "--refresh=none")
    assert done.code == 1
    assert "WebService/f: was never read, and --refresh none reads nothing" in done.err


def test_losing_the_cache_costs_reads_and_no_truth(idle_project: Project) -> None:
    for file in Path(idle_project.folder, ".reconciler").glob("observations*"):
        file.write_bytes(b"rubbish")
    assert "Read 5 of 5 services in 5 calls." in idle_project.run("plan").out
    assert "Read 0 of 5 services in 1 call" in idle_project.run("plan").out


def test_no_secret_is_kept(idle_project: Project) -> None:
    world = idle_project.emulator
    world.write("PUT", "a", _with_secrets(world.get("a")))
    assert idle_project.run("plan", "--refresh=full").code == 0
    kept = b"".join(
        file.read_bytes() for file in Path(idle_project.folder, ".reconciler").iterdir()
    )
    assert kept
    assert b"planted" not in kept


def _with_secrets(body: object) -> object:
    assert isinstance(body, dict)
    body["properties"]["storageAccount"]["key"] = "planted-key"
    body["properties"]["keys"] = {"primary": "planted-primary", "secondary": "planted-secondary"}
    body["properties"]["commitmentPlan"] = definition("")["properties"]["commitmentPlan"]
    return body


def test_what_a_list_leaves_out_is_read_and_never_taken_for_gone(tmp_path: Path) -> None:
    faults = tmp_path / "faults.yaml"
    faults.write_text("[{match: {method: GET}, do: list-omission}]")
    uri = "https://acct.blob.core.windows.net/m/old.ilearner"
    options = ("--no-blob", "--operation-seconds=0", f"--faults={faults}")
    with run_emulator(*options) as world:
        project = Project(tmp_path / "project", world)
        for name in NAMES:
            world.deploy(name, uri)
            project.manifest(name, uri)
        pass_time(world.url, SETTLED_S)
        assert "Read 5 of 5 services in 5 calls." in project.run("plan").out
        partial = project.run("plan", "--detailed-exitcode")
        assert "Read 1 of 5 services in 2 calls" in partial.out
        assert "No changes." in partial.out
        assert partial.code == 0


def test_no_signature_is_shown_or_kept_and_none_is_lost(project: Project) -> None:
    world = project.emulator
    signed = "https://acct.blob.core.windows.net/c/x?sv=1&sig=PLANTED%2B&sp=r"
    world.deploy("a", world.model_uri("old"), description=signed, title=f"see {signed}")
    assets = world.get("a")["properties"]["assets"]
    assets["asset1"]["locationInfo"]["uri"] = signed
    world.patch("a", assets=assets)
    project.manifest("a", world.model_uri("new"))
    runs = [
        project.run("plan", "--out", "p.json"),
        project.run("show", "p.json", "--format", "html"),
        project.run("apply", "p.json"),
        project.run("plan"),
        project.run("drift"),
        project.run("export", "WebService/a", "--full", "--folder", "exported"),
        project.run("export", "WebService/a", "--format", "json"),
    ]
    assert "1 changed" in runs[2].out, runs[2].said
    assert "No changes." in runs[3].out
    for done in runs:
        assert done.code == 0, done.said
        assert "PLANTED" not in done.said
    for file in project.folder.rglob("*"):
        assert file.is_dir() or b"PLANTED" not in file.read_bytes(), file
    after = world.get("a")["properties"]
    assert after["assets"]["asset1"]["locationInfo"]["uri"] == signed
    assert (after["description"], after["title"]) == (signed, f"see {signed}")
    assert world.model("a") == world.model_uri("new")

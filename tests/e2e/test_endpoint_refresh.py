"""The refresh of a Classic endpoint: planned, guarded, sent once, and found again after a kill."""

import json
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from reconciler.kinds.endpoint.provider import EndpointProvider
from reconciler.model import Step
from tests.casework.classic import MODEL
from tests.e2e.bikes import HIDDEN, SHOWN, Bikes, open_bikes
from tests.e2e.world import Emulator, begin_command, pass_time, run

pytestmark = pytest.mark.e2e
Json = Any
KEEP = {"refresh": {"overwriteResources": False}}
OVERWRITE = {"refresh": {"overwriteResources": True}}
NAME = "rentalloc001"
REPLIES = [
    {},
    {"classic-refresh-status": "200"},
    {"classic-delayed": "all"},
    {**SHOWN, "classic-delayed": "all", "classic-refresh-status": "202"},
]


def publish(bikes: Bikes) -> None:
    bikes.classic.send("PUT", "", {"Name": "Bike Rental", "Resources": [MODEL]})


def read(bikes: Bikes, name: str = NAME) -> Json:
    return bikes.classic.read()[name]


def refreshes(bikes: Bikes) -> list[int]:
    """The answers to all refreshes so far."""
    return [one["status"] for one in bikes.requests() if one["path"].endswith("/refresh")]


def is_published(bikes: Bikes) -> bool:
    return bool(read(bikes)["Version"] == read(bikes, "default")["Version"])


@pytest.fixture
def bikes(emulator: Emulator, signature: str, tmp_path: Path) -> Iterator[Bikes]:
    with open_bikes(tmp_path, emulator, signature, SHOWN) as bikes:
        yield bikes


def begin(bikes: Bikes, **more: Json) -> None:
    """An endpoint that was applied, and whose web service was then published again."""
    bikes.declare("one", NAME, **more)
    bikes.expect("1 added", "apply", "--auto-approve")
    bikes.expect_silence()
    publish(bikes)
    pass_time(bikes.emulator.url, 60)


@pytest.mark.parametrize("reading", REPLIES, ids=["204", "200", "delayed", "shown and delayed"])
def test_a_refresh_that_keeps_the_models_needs_no_leave_and_is_sent_once(
    reading: Mapping[str, str], emulator: Emulator, signature: str, tmp_path: Path
) -> None:
    with open_bikes(tmp_path, emulator, signature, reading) as bikes:
        begin(bikes, **KEEP)
        bikes.expect("pending: Version (by a refresh", "drift")
        bikes.expect("by a refresh: the web service was published again", "plan")
        bikes.expect("0 added, 1 changed", "apply", "--auto-approve")
        assert is_published(bikes)
        bikes.expect_silence()
        bikes.expect("No drift.", "drift")
        assert len(refreshes(bikes)) == 1
        assert sum(one["method"] == "PATCH" for one in bikes.requests()) == 1, "the first apply"


@pytest.mark.parametrize("reading", REPLIES, ids=["204", "200", "delayed", "shown and delayed"])
def test_a_refresh_that_replaces_models_is_refused_and_lifted_and_the_declared_model_sent_again(
    reading: Mapping[str, str], emulator: Emulator, signature: str, tmp_path: Path
) -> None:
    with open_bikes(tmp_path, emulator, signature, reading) as bikes:
        begin(bikes, **OVERWRITE)
        refused = bikes.run("apply", "--auto-approve", "--detailed-exitcode")
        assert refused.code == 3, refused.said
        assert f"--allow refresh=Endpoint/{NAME}" in refused.said
        assert refreshes(bikes) == []
        bikes.expect("1 to change", "plan", "--out", "p", "--allow", f"refresh=Endpoint/{NAME}")
        bikes.expect("0 added, 1 changed", "apply", "p")
        assert is_published(bikes)
        bikes.expect_silence()
        bikes.expect("No drift.", "drift")
        assert len(refreshes(bikes)) == 1
        if "classic-resource-location" in reading:
            (model,) = read(bikes)["Resources"]
            assert model["Location"]["RelativeLocation"].endswith("bikes/one.ilearner")


def test_models_that_no_manifest_declares_follow_the_publication(bikes: Bikes) -> None:
    bikes.declare("one", NAME, definition={"Description": "follows"}, **OVERWRITE)
    file = bikes.folder / "manifests" / f"{NAME}.yaml"
    file.write_text(file.read_text().partition("  trainedModels")[0])
    bikes.expect("1 added", "apply", "--auto-approve")
    publish(bikes)
    planned = bikes.expect("0 to add, 1 to change", "plan", "--allow", "refresh")
    assert f'trained model "{MODEL}" is not declared, so it is replaced' in planned.out
    bikes.expect("0 added, 1 changed", "apply", "--auto-approve", "--allow", "refresh")
    bikes.expect_silence()
    assert not any(one["method"] == "PATCH" for one in bikes.requests())


def test_a_refresh_shows_in_all_four_faces(bikes: Bikes) -> None:
    begin(bikes, **OVERWRITE)
    said = "by a refresh: the web service was published again"
    for form in ("text", "markdown", "html"):
        page = run(bikes.folder, "plan", "--format", form, env=bikes.env)
        assert said in page.out, form
        assert "OverwriteResources" in page.out, form
        assert f"--allow refresh=Endpoint/{NAME}" in page.out, form
    reported = json.loads(bikes.run("plan", "--format", "json").out)
    (step,) = reported["resource_changes"]
    called = [one for one in step["attributes"] if one.get("called")]
    assert [one["path"] for one in called] == [["Version"], ["OverwriteResources"]]
    assert [one["guard"] for one in reported["findings"]] == ["refresh"]
    assert any(said in one["note"] for one in step["because"])


def test_a_plan_is_stale_once_the_web_service_was_published_again(bikes: Bikes) -> None:
    begin(bikes, **KEEP)
    bikes.expect("1 to change", "plan", "--out", "saved.plan")
    publish(bikes)
    done = bikes.run("apply", "saved.plan", "--detailed-exitcode")
    assert "the web service was published again" in done.err, done.said
    assert done.code in {4, 6}, done.said
    assert refreshes(bikes) == []
    bikes.expect("0 added, 1 changed", "apply", "--auto-approve")
    assert is_published(bikes)


def test_a_plan_is_stale_once_somebody_else_has_refreshed(bikes: Bikes) -> None:
    begin(bikes, **KEEP)
    bikes.expect("1 to change", "plan", "--out", "saved.plan")
    bikes.classic.send("POST", f"/endpoints/{NAME}/refresh", {"OverwriteResources": "False"})
    pass_time(bikes.emulator.url, 60)
    done = bikes.run("apply", "saved.plan", "--detailed-exitcode")
    assert (done.code, "/Version has changed" in done.err) == (4, True), done.said
    assert len(refreshes(bikes)) == 1
    bikes.expect_silence()


def test_a_refresh_is_not_rolled_back(bikes: Bikes) -> None:
    begin(bikes, **KEEP)
    bikes.expect("0 added, 1 changed", "apply", "--auto-approve")
    done = bikes.run("rollback", f"Endpoint/{NAME}")
    assert done.code == 1, done.said
    assert "changed /Version by a call of its own" in done.err


def test_a_refresh_is_not_accepted_into_a_manifest(bikes: Bikes) -> None:
    bikes.classic.send("PUT", f"/endpoints/{NAME}", {"Description": "by hand"})
    publish(bikes)
    bikes.declare("one", NAME, definition={"Description": "other"}, **KEEP)
    bikes.run("drift", "--accept", f"Endpoint/{NAME}")
    text = (bikes.folder / "manifests" / f"{NAME}.yaml").read_text()
    assert "by hand" in text
    assert "Version:" not in text.removeprefix("apiVersion:")


def test_whether_a_refresh_is_due_is_not_guessed(bikes: Bikes) -> None:
    begin(bikes, **KEEP)
    for command in ("plan", "drift"):
        done = bikes.run(command, "--refresh", "none", "--detailed-exitcode")
        assert "it is not known whether a refresh is due" in done.said, done.said
        assert done.code == (1 if command == "plan" else 8)
    bikes.expect("1 to change", "plan")


def kill_at_refresh(bikes: Bikes, number: int, *more: str) -> None:
    """Kill an apply as soon as the service has got this many refreshes."""
    command = ("apply", "--auto-approve", "--patience", "1s", *more)
    nothing = subprocess.DEVNULL
    with begin_command(
        bikes.folder, *command, env=bikes.env, stdout=nothing, stderr=nothing
    ) as process:
        while len(refreshes(bikes)) < number:
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)


# Each two values meet in every run, and all three where all checks are made.
KILLED = [
    pytest.param(HIDDEN, "drop-reply", True, id="hidden-drop-reply-overwrites"),
    pytest.param(HIDDEN, "drop-request", False, id="hidden-drop-request-keeps"),
    pytest.param(SHOWN, "drop-reply", False, id="shown-drop-reply-keeps"),
    pytest.param(SHOWN, "drop-request", True, id="shown-drop-request-overwrites"),
    pytest.param(
        HIDDEN,
        "drop-reply",
        False,
        id="hidden-drop-reply-keeps",
        marks=pytest.mark.slow,
    ),
    pytest.param(
        HIDDEN,
        "drop-request",
        True,
        id="hidden-drop-request-overwrites",
        marks=pytest.mark.slow,
    ),
    pytest.param(
        SHOWN,
        "drop-reply",
        True,
        id="shown-drop-reply-overwrites",
        marks=pytest.mark.slow,
    ),
    pytest.param(
        SHOWN,
        "drop-request",
        False,
        id="shown-drop-request-keeps",
        marks=pytest.mark.slow,
    ),
]


@pytest.mark.parametrize(("reading", "fault", "overwrites"), KILLED)
def test_a_killed_refresh_is_found_and_not_sent_without_evidence(
    reading: Mapping[str, str],
    fault: str,
    emulator: Emulator,
    signature: str,
    tmp_path: Path,
    *,
    overwrites: bool,
) -> None:
    faults = tmp_path / "faults.yaml"
    faults.write_text(f"- {{match: {{method: POST, path: refresh}}, do: {fault}, times: 1}}\n")
    options = (f"--faults={faults}",)
    leave = ["--allow", "refresh"] if overwrites else []
    with open_bikes(tmp_path / "p", emulator, signature, reading, *options) as bikes:
        begin(bikes, **(OVERWRITE if overwrites else KEEP))
        kill_at_refresh(bikes, 1, *leave)
        done = bikes.run("apply", "--auto-approve", "--patience", "1s", *leave)
        assert done.code == 0, done.said
        assert is_published(bikes)
        arrived = fault == "drop-reply"
        assert len(refreshes(bikes)) == (1 if arrived else 2)
        bikes.expect_silence()
        bikes.expect("No drift.", "drift")
        if overwrites:
            patched = [one for one in bikes.requests() if one["method"] == "PATCH"]
            assert len(patched) == 2, "the model is sent again after the refresh"
        if reading is SHOWN:
            (model,) = read(bikes)["Resources"]
            assert model["Location"]["RelativeLocation"].endswith("bikes/one.ilearner")


def test_nothing_to_update_is_a_success(bikes: Bikes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else refreshes right before, so the answer is 304, and live is as it was planned."""
    begin(bikes, **KEEP)
    check = EndpointProvider._check_published

    def overtaken(provider: EndpointProvider, step: Step) -> None:
        check(provider, step)
        bikes.classic.send("POST", f"/endpoints/{NAME}/refresh", {"OverwriteResources": "False"})

    monkeypatch.setattr(EndpointProvider, "_check_published", overtaken)
    bikes.expect("0 added, 1 changed", "apply", "--auto-approve")
    assert refreshes(bikes) == [204, 304]
    assert is_published(bikes)
    bikes.expect_silence()


def test_a_success_that_live_does_not_show_is_an_error(
    emulator: Emulator, signature: str, tmp_path: Path
) -> None:
    faults = tmp_path / "faults.yaml"
    faults.write_text("- {match: {method: POST, path: refresh}, do: silent-rollback}\n")
    with open_bikes(tmp_path / "p", emulator, signature, SHOWN, f"--faults={faults}") as bikes:
        begin(bikes, **KEEP)
        done = bikes.run("apply", "--auto-approve", "--patience", "1s", "--detailed-exitcode")
        assert done.code == 6, done.said
        assert "not applied: the service reports success and it still has" in done.err
        assert "at /Version" in done.err


def test_a_saved_refresh_that_the_manifest_no_longer_asks_for_is_not_sent(bikes: Bikes) -> None:
    begin(bikes, **KEEP)
    bikes.expect("1 to change", "plan", "--out", "p")
    bikes.declare("one", NAME)
    refused = bikes.run("apply", "p", "--detailed-exitcode")
    assert refused.code == 4, refused.said
    assert "neither the manifests nor the ledger have the call of the plan" in refused.said
    assert refreshes(bikes) == []

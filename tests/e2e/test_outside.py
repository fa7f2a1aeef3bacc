"""Paths, addresses and variables that a library refuses: never told as a defect of reconciler."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.e2e.world import Done, Project, run

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("hurried_calls")]
DEEP = "[" * 20_000 + "]" * 20_000


def refused(done: Done) -> Done:
    assert "defect of reconciler" not in done.said
    assert "Traceback" not in done.said
    return done


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    assert run(tmp_path, "init", ".").code == 0
    return tmp_path


@pytest.mark.parametrize(
    "path",
    [
        "x" * 300,
        "a/" * 2500,
        "/dev/full",
        "/dev/null",
        ".",
        "..",
        "gone/x",
        "loop/x",
        "a\udcff",
        "-",
    ],
    ids=lambda path: ascii(path[:9]),
)
def test_a_path_that_the_file_system_refuses(fresh: Path, path: str) -> None:
    (fresh / "loop").symlink_to("loop")
    for arguments in (
        ("validate", path),
        ("init", path),
        ("plan", "--out", path),
        ("show", path),
        ("apply", path),
        ("ledger", "verify", "--recover", path),
        ("--chdir", path, "validate"),
        ("--project", path, "plan"),
        ("emulator", "--no-blob", "--port=0", "--host=256.1.1.1", "--data", path),
        ("emulator", "--no-blob", "--port=0", "--host=256.1.1.1", "--world", path),
        ("emulator", "--no-blob", "--port=0", "--host=256.1.1.1", "--faults", path),
    ):
        refused(run(fresh, *arguments, env={"RECONCILER_TIMEOUT": "1"}))


def test_a_circle_of_links_in_a_project_ends_no_command(project: Project) -> None:
    project.manifest("census", project.emulator.model_uri("new"))
    project.emulator.deploy("census", project.emulator.model_uri("old"))
    folder = project.folder
    (folder / "loop.yaml").symlink_to("loop.yaml")
    (folder / "manifests" / "loop").symlink_to("../manifests/loop")
    assert "manifests/loop: is not read" in refused(project.run("plan", "--out", "x.plan")).said
    assert refused(run(folder, "init", "manifests/loop/x")).code == 1


@pytest.mark.parametrize(
    "address",
    [
        "https://[x",
        "https://[::1::]",
        "https://a:99999",
        "https://127.0.0.1:0",
        "https://a..b",
        f"https://{'x' * 64}.test",
        "https://é.test",
        "https://a%00b.test",
        "https://a%2e.test",
        "https://a.test.",
        "https://[fe80::1%25lo]",
        "https://[v1.x]",
        "https://a\\\\b",
    ],
)
@pytest.mark.parametrize("plane", ["resourceManager", "services", "blob"])
def test_an_address_that_no_call_can_be_sent_to_is_refused_with_its_place(
    fresh: Path, address: str, plane: str
) -> None:
    file = fresh / "reconciler.yaml"
    file.write_text(file.read_text().replace("cloud: emulator", f"cloud: {{{plane}: '{address}'}}"))
    for command in ("validate", "plan", "history"):
        done = refused(run(fresh, command))
        assert done.code == 1
        assert f"{plane} is not an address that can be called" in done.said
        assert "reconciler.yaml line 7, column" in done.said


@pytest.mark.parametrize("host", ["a%00b.test", "a.test.", "[fe80::1%25lo]", "a..b"])
def test_a_container_that_no_call_can_be_sent_to_is_refused_with_its_place(
    fresh: Path, host: str
) -> None:
    with (fresh / "reconciler.yaml").open("a") as file:
        file.write(f"  ledger: {{container: 'https://{host}/ledgers'}}\n")
    for command in ("validate", "plan", "history"):
        done = refused(run(fresh, command))
        assert done.code == 1
        assert "container is not an address that can be called" in done.said
        assert "reconciler.yaml line " in done.said


@pytest.mark.parametrize("path", ['"a\\0b"', '"\\ud800"', "x" * 5000, "/proc/x", "reconciler.yaml"])
def test_a_folder_that_cannot_hold_a_ledger(fresh: Path, path: str) -> None:
    with (fresh / "reconciler.yaml").open("a") as file:
        file.write(f"  ledger: {{path: {path}}}\n")
    for arguments in (("validate",), ("history",), ("ledger", "verify"), ("plan",)):
        refused(run(fresh, *arguments, env={"RECONCILER_TIMEOUT": "1"}))


@pytest.mark.parametrize(
    "name",
    ["reconciler.yaml", "manifests/z.yaml", ".reconciler/ledger.jsonl", ".reconciler/lock.json"],
)
@pytest.mark.parametrize("content", [DEEP, '{"a":' * 20_000, "9" * 6000, "", "\0", "\udcff"])
def test_a_file_that_no_parser_reads(fresh: Path, name: str, content: str) -> None:
    file = fresh / name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content.encode("utf-8", "surrogateescape"))
    for arguments in (("validate",), ("history",), ("show", name), ("apply", name)):
        refused(run(fresh, *arguments))


ODD: list[Mapping[str, str]] = [
    {"RECONCILER_TIMEOUT": "9" * 5000},
    {"RECONCILER_TIMEOUT": "nan"},
    {"COLUMNS": "x", "TERM": "\udcff", "LANG": "xx"},
    {"LOGNAME": "\udcff", "USER": "\x1b]"},
    {"TZ": "\udcff", "HOME": "\udcff", "TMPDIR": "/nowhere"},
    {"PATH": "", "HOME": ""},
    {"GIT_DIR": "\udcff", "XDG_CACHE_HOME": "x" * 5000},
    {"RECONCILER_EMULATOR_TOKEN": "\udcff"},
    {"RECONCILER_EMULATOR_TOKEN": "x" * 100_000},
    {"http_proxy": "http://[", "NO_PROXY": "("},
]


@pytest.mark.parametrize("variables", ODD, ids=" ".join)
def test_a_variable_with_an_odd_value(project: Project, variables: Mapping[str, str]) -> None:
    project.manifest("one", project.emulator.model_uri("new"))
    for command in ("plan", "validate", "history"):
        refused(project.run(command, env={**os.environ, **variables}))


@pytest.mark.parametrize(
    "text",
    [
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-12:00",
        "2026-01-01T00:00:00+99:99",
        "2026-01-01T24:00:00",
        "0000-01-01",
        "9" * 5000,
        "1e400",
    ],
    ids=lambda text: text[:25],
)
def test_a_time_or_a_duration_that_python_cannot_hold(fresh: Path, text: str) -> None:
    for arguments in (
        ("history", "--at", text),
        ("rollback", "WebService/census", "--to", text),
        ("apply", "--auto-approve", "--patience", text),
        ("apply", "--auto-approve", "--step-timeout", text),
        ("plan", "--parallelism", text),
        ("plan", "--max-calls", text),
    ):
        assert refused(run(fresh, *arguments, env={"RECONCILER_TIMEOUT": "1"})).code in {1, 2}

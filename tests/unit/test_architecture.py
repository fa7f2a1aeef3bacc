"""The floors, held by a machine."""

import ast
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.kinds import find_kinds
from tests.tree import find_tracked

ROOT = Path(__file__).parents[2]


def imports(folder: Path, module: str) -> bool:
    """Whether a file of a folder imports a module, or what is below it.

    Only files that hold the name are parsed: to parse all of them takes a second.
    """
    texts = (file.read_text(encoding="utf-8") for file in folder.rglob("*.py"))
    trees = [ast.parse(text) for text in texts if module in text]
    names = {name for tree in trees for node in ast.walk(tree) for name in list_imported(node)}
    return any(name.startswith(module) for name in names)


def list_imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module] if isinstance(node, ast.ImportFrom) and node.module else []


def test_the_layers_hold() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports"))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_only_transport_asks_for_tokens() -> None:
    package = ROOT / "reconciler"
    asking = {
        folder.name
        for folder in package.iterdir()
        if folder.is_dir() and imports(folder, "azure.identity")
    }
    assert asking == {"transport"}


def test_only_blobs_and_ledgers_know_blob_storage() -> None:
    package = ROOT / "reconciler"
    knowing = {
        folder.name
        for folder in package.iterdir()
        if folder.is_dir() and imports(folder, "azure.storage")
    }
    assert knowing <= {"blobs", "ledgers"}
    assert "blobs" in knowing


def find_docstring(text: str) -> str:
    """The docstring of a module, without parsing what follows its end."""
    return ast.get_docstring(ast.parse(text[: text.find('"""', 3) + 3])) or ""


def test_a_long_module_says_why_it_is_long() -> None:
    long = {
        file.relative_to(ROOT).as_posix(): find_docstring(text)
        for file in (ROOT / "reconciler").rglob("*.py")
        if (text := file.read_text(encoding="utf-8")).count("\n") > 400
    }
    assert long
    silent = [
        name for name, doc in long.items() if "It is long because" not in " ".join(doc.split())
    ]
    assert silent == []


def test_a_class_has_its_name_alone() -> None:
    """The emulator shares no code with the client, so both may use the same word."""
    named: dict[str, list[str]] = {}
    for file in (ROOT / "reconciler").rglob("*.py"):
        side = "emulator" if "emulator" in file.relative_to(ROOT).parts else "client"
        # Only these lines: to parse all files takes a second.
        for name in re.findall(
            r"^class ([A-Za-z]\w*)", file.read_text(encoding="utf-8"), re.MULTILINE
        ):
            named.setdefault(f"{side} {name}", []).append(file.name)
    twice = {name: files for name, files in named.items() if len(files) > 1}
    assert len(named) > 200
    assert twice == {}


def test_a_folder_says_what_it_is_for_and_what_it_must_not_know() -> None:
    short = [
        file.parent.relative_to(ROOT).as_posix()
        for file in (ROOT / "reconciler").rglob("__init__.py")
        if len(find_docstring(file.read_text(encoding="utf-8")).split("\n")) < 3
    ]
    assert short == []


# What only kinds know; a kind of another vendor has other words.
VENDOR_WORDS = (
    *("trainedModels", "resourceManager", "studioManagement", "webServices"),
    *("Classic", "Studio", "Resource Manager", "azureml"),
)
NEUTRAL = ("engine", "plans", "document", "ledgers", "render", "model", "ports.py")
# The names of metrics, and the rule of the positive class, are facts with a source.
SOURCES = {"plans/evaluations.py": {"Studio"}, "engine/training/comparing.py": {"Studio"}}


def test_only_kinds_know_a_vendor() -> None:
    package = ROOT / "reconciler"
    guards = {name for kind in find_kinds().values() for name in kind.guards}
    words = [*VENDOR_WORDS, *(f'guard="{name}"' for name in sorted(guards))]
    files = [file for name in NEUTRAL for file in find_modules(package / name)]
    assert len(files) > 100
    known = {
        f"{path}: {word}"
        for file in files
        if (path := file.relative_to(package).as_posix())
        for word in set(words) - SOURCES.get(path, set())
        if word in file.read_text(encoding="utf-8")
    }
    assert known == set()


def find_modules(path: Path) -> list[Path]:
    return [path] if path.is_file() else sorted(path.rglob("*.py"))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_unit_test_that_opens_a_socket_fails(refused_sockets: list[str], host: str) -> None:
    with pytest.raises(pytest.fail.Exception, match="a unit test opens a socket"):
        socket.create_connection((host, 9))
    assert refused_sockets
    refused_sockets.clear()


def test_no_symbolic_link_is_committed() -> None:
    """A link to another folder, such as that of an environment, is true on one machine only."""
    listed = subprocess.run(
        ["git", "ls-files", "--stage"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert [line for line in listed.stdout.splitlines() if line.startswith("120000 ")] == []


def test_no_test_reads_a_file_that_git_does_not_track(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "manifests" / "census").mkdir(parents=True)
    for name in ("manifests/one.yaml", "manifests/census/two.yaml", "README.md"):
        (tmp_path / name).write_text("x")
    monkeypatch.setattr("tests.tree.ROOT", tmp_path)
    for command in (["init", "-q"], ["add", "-A"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    (tmp_path / "manifests" / "left.yaml").write_text("x")
    found = [file.relative_to(tmp_path).as_posix() for file in find_tracked("manifests/*.yaml")]
    assert found == ["manifests/census/two.yaml", "manifests/one.yaml"]

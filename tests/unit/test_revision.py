"""Where the work tree stands, asked of a real git."""

import subprocess
from pathlib import Path

import pytest

from reconciler.manifests.git import read_revision


def git(folder: Path, *arguments: str) -> str:
    settings = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(
        ["git", *settings, "-C", str(folder), *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q")
    (tmp_path / "a.yaml").write_text("a")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    return tmp_path


def test_a_commit_is_named_and_clean(checkout: Path) -> None:
    found = read_revision(checkout)
    assert found.commit == git(checkout, "rev-parse", "HEAD")
    assert not found.dirty
    assert found.author
    assert found.host


@pytest.mark.parametrize("how", ["changed", "new", "staged", "deleted"])
def test_anything_uncommitted_is_dirty(checkout: Path, how: str) -> None:
    if how == "deleted":
        (checkout / "a.yaml").unlink()
    else:
        (checkout / ("b.yaml" if how == "new" else "a.yaml")).write_text("b")
    if how == "staged":
        git(checkout, "add", ".")
    assert read_revision(checkout).dirty


def test_only_what_is_below_the_folder_makes_it_dirty(checkout: Path) -> None:
    (checkout / "project").mkdir()
    (checkout / "elsewhere.txt").write_text("x")
    assert not read_revision(checkout / "project").dirty


def test_without_git_the_variables_of_ci_tell(tmp_path: Path) -> None:
    known = {"GITHUB_SHA": "4f1c2aa", "GITHUB_ACTOR": "octo\x1b[2Jcat", "PATH": "/nowhere"}
    found = read_revision(tmp_path, known)
    assert (found.commit, found.dirty, found.author) == ("4f1c2aa", False, "octo[2Jcat")
    assert read_revision(tmp_path, {"BUILD_SOURCEVERSION": "b1", "PATH": ""}).commit == "b1"
    assert read_revision(tmp_path, {"CI_COMMIT_SHA": "c1", "PATH": ""}).commit == "c1"


def test_a_repository_without_a_commit_has_none(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    assert read_revision(tmp_path, {"PATH": "/usr/bin:/bin:/usr/local/bin"}).commit == ""


def test_a_hooks_variables_do_not_mislead(
    checkout: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    import os

    other = tmp_path_factory.mktemp("other")
    git(other, "init", "-q")
    known = {**os.environ, "GIT_DIR": str(other / ".git"), "GIT_WORK_TREE": str(other)}
    assert read_revision(checkout, known).commit == git(checkout, "rev-parse", "HEAD")

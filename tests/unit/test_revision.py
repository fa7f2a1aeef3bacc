"""Where the work tree stands, asked of a real git."""

import hashlib
import subprocess
from pathlib import Path
from unittest import mock

import pytest

from reconciler.manifests.git import read_commit_authors, read_revision


def git(folder: Path, *arguments: str) -> str:
    settings = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(
        ["git", *settings, "-C", str(folder), *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def describe(root: Path, *names: str) -> dict[str, str]:
    """The digests of files, as the loader notes them."""
    return {
        name: f"sha256:{hashlib.sha256((root / name).read_bytes()).hexdigest()}" for name in names
    }


def is_dirty(root: Path, *names: str, walked: tuple[str, ...] = ("manifests",)) -> bool:
    return read_revision(root, describe(root, *names), walked).dirty


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with a project in it."""
    git(tmp_path, "init", "-q")
    for name in ("manifests/a.yaml", "manifests/b.yaml", "rows.csv", "elsewhere/x.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    return tmp_path


ALL = ("manifests/a.yaml", "manifests/b.yaml", "rows.csv")


def test_a_commit_is_named_and_clean(checkout: Path) -> None:
    found = read_revision(checkout, describe(checkout, *ALL), ["manifests"])
    assert found.commit == git(checkout, "rev-parse", "HEAD")
    assert not found.dirty
    assert (found.name, found.differing) == (found.commit, ())
    assert found.author
    assert found.host


@pytest.mark.parametrize(
    "how", ["changed", "staged", "assumed unchanged", "skipped", "ignored", "new", "nested"]
)
def test_a_file_that_the_commit_does_not_contain_makes_it_dirty(checkout: Path, how: str) -> None:
    name = "manifests/a.yaml"
    if how == "assumed unchanged":
        git(checkout, "update-index", "--assume-unchanged", name)
    if how == "skipped":
        git(checkout, "update-index", "--skip-worktree", name)
    if how in {"ignored", "new", "nested"}:
        name = "manifests/deep/new.yaml"
        (checkout / "manifests" / "deep").mkdir()
    if how == "ignored":
        (checkout / ".git" / "info" / "exclude").write_text("new.yaml\n")
    (checkout / name).write_text("changed")
    if how == "staged":
        git(checkout, "add", ".")
    if how == "nested":
        git(checkout / "manifests" / "deep", "init", "-q")
        git(checkout / "manifests" / "deep", "add", ".")
        git(checkout / "manifests" / "deep", "commit", "-q", "-m", "another repository")
    assert is_dirty(checkout, *{*ALL, name})


@pytest.mark.parametrize("name", ["manifests/b.yaml", "manifests/link"])
def test_a_manifest_that_was_deleted_makes_it_dirty(checkout: Path, name: str) -> None:
    (checkout / "manifests" / "link").symlink_to("../elsewhere")
    git(checkout, "add", ".")
    git(checkout, "commit", "-q", "-m", "with a link")
    assert not is_dirty(checkout, *ALL)
    (checkout / name).unlink()
    assert is_dirty(checkout, *(one for one in ALL if one != name))


def test_files_that_did_not_make_the_plan_do_not_make_it_dirty(checkout: Path) -> None:
    (checkout / ".reconciler").mkdir()
    for name in (".reconciler/ledger.jsonl", "release.plan", "elsewhere/x.yaml", "notes.txt"):
        (checkout / name).write_text("new")
    git(checkout, "add", "notes.txt")
    assert not is_dirty(checkout, *ALL)


def test_a_file_that_changed_after_it_was_read_makes_it_dirty(checkout: Path) -> None:
    (checkout / "rows.csv").write_text("as it was read")
    files = describe(checkout, *ALL)
    git(checkout, "checkout", "-q", "rows.csv")
    (checkout / "manifests" / "b.yaml").unlink()
    found = read_revision(checkout, files, ["manifests"])
    assert found.differing == ("manifests/b.yaml", "rows.csv")
    assert found.name == f"{found.commit}-dirty"


def test_line_ends_that_git_converts_are_no_change(checkout: Path) -> None:
    (checkout / ".gitattributes").write_text("*.csv text eol=crlf\n")
    (checkout / "rows.csv").write_bytes(b"rows\r\nmore\r\n")
    git(checkout, "add", ".")
    git(checkout, "commit", "-q", "-m", "with another line end")
    assert not is_dirty(checkout, *ALL)
    (checkout / "rows.csv").write_bytes(b"rows\r\nless\r\n")
    assert is_dirty(checkout, *ALL)


def test_links_and_what_they_lead_to_are_compared(checkout: Path) -> None:
    (checkout / "manifests" / "link").symlink_to("../elsewhere")
    (checkout / "manifests" / "chain.yaml").symlink_to("link/x.yaml")
    names = ("manifests/link/x.yaml", "manifests/chain.yaml")
    assert is_dirty(checkout, *names)
    git(checkout, "add", ".")
    git(checkout, "commit", "-q", "-m", "with links")
    assert not is_dirty(checkout, *names, walked=("manifests", "manifests/link"))
    (checkout / "elsewhere" / "y.yaml").write_text("x")
    assert is_dirty(checkout, "manifests/link/y.yaml")
    (checkout / "twin").mkdir()
    (checkout / "twin" / "x.yaml").write_text("elsewhere/x.yaml")
    git(checkout, "add", "twin")
    git(checkout, "commit", "-q", "-m", "with a twin")
    (checkout / "manifests" / "link").unlink()
    (checkout / "manifests" / "link").symlink_to("../twin")
    assert is_dirty(checkout, *names)


def test_a_project_below_the_top_of_its_repository(checkout: Path) -> None:
    root = checkout / "elsewhere"
    assert not is_dirty(root, "x.yaml", walked=(".",))
    (checkout / "rows.csv").write_text("changed")
    assert not is_dirty(root, "x.yaml", walked=(".",))
    (root / "y.yaml").write_text("new")
    assert is_dirty(root, "x.yaml", "y.yaml", walked=(".",))


def test_a_submodule_is_compared_with_the_commit_that_is_recorded(
    checkout: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.mktemp("other")
    git(other, "init", "-q")
    (other / "c.yaml").write_text("c")
    git(other, "add", ".")
    git(other, "commit", "-q", "-m", "first")
    allow = ("-c", "protocol.file.allow=always")
    git(checkout, *allow, "submodule", "--quiet", "add", str(other), "manifests/team")
    git(checkout, "commit", "-q", "-m", "with a submodule")
    names = (*ALL, "manifests/team/c.yaml")
    assert not is_dirty(checkout, *names)
    (checkout / "manifests" / "team" / "c.yaml").write_text("changed")
    git(checkout / "manifests" / "team", "commit", "-q", "-a", "-m", "second")
    differing = read_revision(checkout, describe(checkout, *names), ["manifests"]).differing
    assert differing == ("manifests/team/c.yaml",)
    git(checkout, "submodule", "--quiet", "deinit", "--force", "manifests/team")
    found = read_revision(checkout, describe(checkout, *ALL), ["manifests"])
    assert (found.dirty, found.absent) == (True, ("manifests/team",))


def test_a_sparse_checkout_leaves_manifests_out(checkout: Path) -> None:
    git(checkout, "update-index", "--skip-worktree", "manifests/b.yaml")
    (checkout / "manifests" / "b.yaml").unlink()
    files = describe(checkout, "manifests/a.yaml")
    found = read_revision(checkout, files, ["manifests"])
    assert (found.dirty, found.absent) == (True, ("manifests/b.yaml",))
    assert found.differing == found.absent
    found = read_revision(checkout, files, ["manifests/a.yaml"])
    assert (found.dirty, found.absent) == (False, ())


def test_a_repository_of_sha256(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "--object-format=sha256")
    (tmp_path / "a.yaml").write_text("a")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    assert not is_dirty(tmp_path, "a.yaml", walked=(".",))
    (tmp_path / "a.yaml").write_text("b")
    assert is_dirty(tmp_path, "a.yaml", walked=(".",))


def test_without_git_the_variables_of_ci_tell(tmp_path: Path) -> None:
    known = {"GITHUB_SHA": "4f1c2aa", "GITHUB_ACTOR": "octo\x1b[2Jcat", "PATH": "/nowhere"}
    found = read_revision(tmp_path, {}, (), known)
    assert (found.commit, found.dirty, found.author) == ("4f1c2aa", True, "octo[2Jcat")
    assert read_revision(tmp_path, {}, (), {"BUILD_SOURCEVERSION": "b1", "PATH": ""}).commit == "b1"
    assert read_revision(tmp_path, {}, (), {"CI_COMMIT_SHA": "c1", "PATH": ""}).commit == "c1"


def test_a_repository_without_a_commit_has_none(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    assert read_revision(tmp_path, {}, (), {"PATH": "/usr/bin:/bin:/usr/local/bin"}).commit == ""


def test_a_hooks_variables_do_not_mislead(
    checkout: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    import os

    other = tmp_path_factory.mktemp("other")
    git(other, "init", "-q")
    known = {**os.environ, "GIT_DIR": str(other / ".git"), "GIT_WORK_TREE": str(other)}
    assert read_revision(checkout, {}, (), known).commit == git(checkout, "rev-parse", "HEAD")


def commit(folder: Path, author: str, message: str = "m", *more: str) -> None:
    git(
        folder,
        "commit",
        "-q",
        "--allow-empty",
        "--author",
        f"{author} <{author}>",
        "-m",
        message,
        *more,
    )


def test_the_author_of_a_commit_and_its_co_authors_are_its_authors(checkout: Path) -> None:
    commit(checkout, "Alice@Example.com", "m\n\nCo-authored-by: Bob <bob@example.com>\n")
    assert read_commit_authors(checkout) == {"alice@example.com", "bob@example.com"}


def test_the_authors_of_a_merge_are_those_of_what_it_brings_in(checkout: Path) -> None:
    main = git(checkout, "branch", "--show-current")
    git(checkout, "checkout", "-q", "-b", "change")
    commit(checkout, "alice@example.com")
    commit(checkout, "carol@example.com")
    git(checkout, "checkout", "-q", main)
    commit(checkout, "dave@example.com")
    git(checkout, "merge", "-q", "--no-ff", "change", "-m", "merge")
    assert read_commit_authors(checkout) == {"alice@example.com", "carol@example.com"}


def test_a_mailmap_of_the_project_renames_no_author(checkout: Path) -> None:
    (checkout / ".mailmap").write_text("X <other@example.com> <alice@example.com>\n")
    git(checkout, "add", ".mailmap")
    git(checkout, "config", "log.mailmap", "true")
    commit(checkout, "alice@example.com")
    assert read_commit_authors(checkout) == {"alice@example.com"}


def test_without_a_commit_no_author_is_known(tmp_path: Path) -> None:
    assert read_commit_authors(tmp_path) == frozenset()
    git(tmp_path, "init", "-q")
    assert read_commit_authors(tmp_path) == frozenset()


def test_no_git_is_started_where_there_can_be_no_repository(tmp_path: Path) -> None:
    with mock.patch("reconciler.manifests.git.Git.run") as started:
        assert read_revision(tmp_path, {}, environment={}).commit == ""
        started.assert_not_called()
        (tmp_path / ".git").mkdir()
        below = tmp_path / "models"
        below.mkdir()
        started.return_value = b""
        assert read_revision(below, {}, environment={}).commit == ""
        started.assert_called_once()

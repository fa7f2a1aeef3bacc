"""What the target branch would hold after a merge, from real git with a real remote."""

import functools
import os
import shutil
import tempfile
from pathlib import Path

import pytest

from reconciler.errors import ReconcilerError
from reconciler.gitops.merge_result import Checkout, MergeConflict
from tests.storage import RUN_FOLDER
from tests.unit.test_revision import git


@functools.cache
def make_template() -> Path:
    """The remote and the clone of a colleague, made by git once and copied for each test.

    The two share their objects, so that a push is only a change of a branch of the remote.
    """
    top = Path(tempfile.mkdtemp(dir=os.environ[RUN_FOLDER]))
    remote, clone = top / "remote.git", top / "clone"
    git(top, "init", "-q", "--template=", "--bare", "-b", "main", str(remote))
    git(remote, "config", "uploadpack.allowAnySHA1InWant", "true")
    git(top, "init", "-q", "--template=", "-b", "main", str(clone))
    shutil.rmtree(clone / ".git" / "objects")
    (clone / ".git" / "objects").symlink_to(Path("..", "..", remote.name, "objects"))
    _commit(clone, "a.yaml", "a\n")
    git(clone, "checkout", "-q", "-b", "topic")
    _commit(clone, "b.yaml", "b\n")
    for branch in ("main", "topic"):
        git(remote, "update-ref", f"refs/heads/{branch}", git(clone, "rev-parse", branch))
    return top


def _commit(clone: Path, name: str, text: str) -> str:
    (clone / name).write_text(text)
    git(clone, "add", "-A")
    git(clone, "commit", "-q", "-m", name)
    return git(clone, "rev-parse", "HEAD")


class World:
    """A bare remote, a colleague's clone and the checkout of a job."""

    def __init__(self, folder: Path) -> None:
        self.remote, self.clone, self.job = (folder / one for one in ("remote.git", "clone", "job"))
        shutil.copytree(make_template(), folder, symlinks=True, dirs_exist_ok=True)
        self.first, self.head = git(self.clone, "rev-parse", "main", "topic").split()

    def move_base(self, name: str = "c.yaml", text: str = "c\n") -> str:
        git(self.clone, "checkout", "-q", "main")
        moved = _commit(self.clone, name, text)
        git(self.remote, "update-ref", "refs/heads/main", moved)
        git(self.clone, "checkout", "-q", "topic")
        return moved

    def check_out(self, what: str, *options: str) -> Checkout:
        """Check out as a job does: fetch one commit, detached."""
        self.job.mkdir()
        git(self.job, "init", "-q", "--template=")
        git(self.job, "remote", "add", "origin", f"file://{self.remote}")
        git(self.job, "fetch", "-q", *options, "origin", what)
        git(self.job, "checkout", "-q", "--detach", "FETCH_HEAD")
        return Checkout(self.job)

    def make_merge_ref(self) -> str:
        """The merge commit that GitHub and Azure Repos keep for a request."""
        git(self.clone, "checkout", "-q", "--detach", "main")
        git(self.clone, "merge", "-q", "--no-ff", "-m", "merge", self.head)
        merged = git(self.clone, "rev-parse", "HEAD")
        git(self.remote, "update-ref", "refs/pull/1/merge", merged)
        return merged


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.mark.parametrize("depth", [(), ("--depth=2",), ("--depth=1",)])
def test_a_checkout_of_the_merge_is_used_as_it_is(world: World, depth: tuple[str, ...]) -> None:
    moved = world.move_base()
    world.make_merge_ref()
    checkout = world.check_out("refs/pull/1/merge", *depth)
    with checkout.merging("main", world.head) as found:
        assert found.is_checkout
        assert (found.base, found.head, found.changed) == (moved, world.head, ("b.yaml",))
        assert found.tree == checkout.find_tree("HEAD")


@pytest.mark.parametrize("depth", [(), ("--depth=1",)])
def test_a_head_that_holds_the_base_is_used_as_it_is(world: World, depth: tuple[str, ...]) -> None:
    checkout = world.check_out("topic", *depth)
    with checkout.merging("main", world.head) as found:
        assert found.is_checkout
        assert (found.base, found.changed) == (world.first, ("b.yaml",))
        assert not found.not_fetched


@pytest.mark.parametrize("depth", [(), ("--depth=1",)])
def test_a_merge_is_made_beside_the_checkout(world: World, depth: tuple[str, ...]) -> None:
    moved = world.move_base()
    checkout = world.check_out("topic", *depth)
    (world.job / "mine.txt").write_text("not committed")
    with checkout.merging("main", world.head) as found:
        assert not found.is_checkout
        assert sorted(one.name for one in found.folder.glob("*.yaml")) == [
            "a.yaml",
            "b.yaml",
            "c.yaml",
        ]
        assert (found.base, found.changed) == (moved, ("b.yaml",))
        commit, folder = git(found.folder, "rev-parse", "HEAD"), found.folder
        assert not git(found.folder, "status", "--porcelain")
    assert not folder.exists()
    assert git(world.job, "worktree", "list").count("\n") == 0
    assert git(world.job, "rev-parse", "HEAD") == world.head
    assert (world.job / "mine.txt").exists()
    with checkout.merging("main", world.head) as again:
        assert git(again.folder, "rev-parse", "HEAD") == commit


def test_the_tree_is_that_of_the_later_merge(world: World) -> None:
    world.move_base()
    with world.check_out("topic").merging("main", world.head) as found:
        merged = world.make_merge_ref()
        assert found.tree == git(world.clone, "rev-parse", f"{merged}^{{tree}}")


def test_a_conflict_names_the_files(world: World) -> None:
    world.move_base("b.yaml", "other\n")
    checkout = world.check_out("topic")
    with (
        pytest.raises(MergeConflict, match=r"1 file in conflict .*: b\.yaml") as failed,
        checkout.merging("main", world.head),
    ):
        pass
    assert failed.value.files == ("b.yaml",)
    assert git(world.job, "worktree", "list").count("\n") == 0
    assert not git(world.job, "status", "--porcelain")


def test_a_base_that_was_deleted_is_named(world: World) -> None:
    git(world.remote, "update-ref", "-d", "refs/heads/main")
    checkout = world.check_out("topic")
    with (
        pytest.raises(ReconcilerError, match="target branch main is not here"),
        checkout.merging("main", world.head),
    ):
        pass


def test_a_base_that_cannot_be_fetched_is_the_one_that_was(world: World) -> None:
    checkout = world.check_out("topic")
    git(world.job, "fetch", "-q", "origin", "+refs/heads/main:refs/remotes/origin/main")
    git(world.job, "remote", "set-url", "origin", "file:///nowhere/at/all.git")
    with checkout.merging("main", world.head) as found:
        assert found.base == world.first
        assert found.not_fetched.startswith("git fetch failed: ")


def test_a_shallow_clone_without_its_remote_says_how_to_fetch(world: World) -> None:
    world.move_base()
    checkout = world.check_out("topic", "--depth=1")
    git(
        world.job, "fetch", "-q", "--depth=1", "origin", "+refs/heads/main:refs/remotes/origin/main"
    )
    git(world.job, "remote", "set-url", "origin", "file:///nowhere/at/all.git")
    with (
        pytest.raises(ReconcilerError, match="the clone is shallow") as failed,
        checkout.merging("main", world.head),
    ):
        pass
    assert 'GIT_DEPTH: "0"' in failed.value.next_step


def test_a_shallow_merge_without_its_remote_says_how_to_fetch(world: World) -> None:
    world.make_merge_ref()
    checkout = world.check_out("refs/pull/1/merge", "--depth=1")
    git(world.job, "remote", "set-url", "origin", "file:///nowhere/at/all.git")
    with pytest.raises(ReconcilerError) as failed, checkout.merging("main", world.head):
        pass
    assert "fetch-depth" in failed.value.next_step


def test_the_credentials_of_a_remote_are_not_shown(world: World) -> None:
    world.move_base()
    checkout = world.check_out("topic", "--depth=1")
    git(world.job, "remote", "set-url", "origin", "http://robot:hunter2@127.0.0.1:9/x.git")
    with pytest.raises(ReconcilerError) as failed, checkout.merging("main", world.head):
        pass
    assert "hunter2" not in failed.value.message + failed.value.next_step
    assert "127.0.0.1" in failed.value.message + failed.value.next_step


def test_another_commit_is_not_planned(world: World) -> None:
    checkout = world.check_out("main")
    with (
        pytest.raises(ReconcilerError, match="the checkout is at") as failed,
        checkout.merging("main", world.head),
    ):
        pass
    assert "git checkout" in failed.value.next_step


@pytest.mark.parametrize("branch", ["--upload-pack=touch /tmp/x", "a..b", "", "a b", "@{-1}"])
def test_a_branch_with_a_hostile_name_is_refused(world: World, branch: str) -> None:
    checkout = world.check_out("topic")
    with (
        pytest.raises(ReconcilerError, match="is not the name of a branch"),
        checkout.merging(branch, world.head),
    ):
        pass


def test_a_hook_of_the_repository_does_not_run(world: World, tmp_path: Path) -> None:
    world.move_base()
    checkout = world.check_out("topic")
    for name in ("post-checkout", "pre-merge-commit", "post-merge"):
        hook = world.job / ".git" / "hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
        hook.chmod(0o755)
    with checkout.merging("main", world.head):
        pass
    assert not (tmp_path / "ran").exists()


def test_a_folder_without_git_is_named(tmp_path: Path) -> None:
    with pytest.raises(ReconcilerError, match="git rev-parse failed"):
        Checkout(tmp_path)


def test_a_checkout_without_a_commit_is_refused(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    with pytest.raises(ReconcilerError, match="the checkout has no commit") as failed:
        Checkout(tmp_path)
    assert failed.value.next_step == "Run it in the checkout of the repository."


def test_the_commits_of_a_push_are_listed(world: World) -> None:
    moved = world.move_base()
    checkout = world.check_out("main")
    assert checkout.list_commits(world.first, 10) == (moved,)
    assert checkout.list_commits("0" * 40, 10) == (moved,)
    assert checkout.list_commits("", 10) == (moved,)
    assert checkout.list_earlier(10) == (world.first,)


def test_a_checkout_of_another_user_says_how_to_trust_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.check_out("topic")
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    with pytest.raises(ReconcilerError, match="dubious ownership") as failed:
        Checkout(world.job)
    assert failed.value.next_step.endswith(f"--add safe.directory {world.job}")

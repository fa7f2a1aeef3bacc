"""Finds what the target branch would hold if a pull request were merged now.

Some jobs check this merge result out (GitHub, Azure Repos), and others only the head of the source
branch (GitLab). Where it is not checked out, it is made in a temporary work tree, so that the
checkout of a person or of a job is never changed. It runs no hook of the repository.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from string import hexdigits
from typing import Final

from reconciler.errors import ReconcilerError
from reconciler.files import find_checkout, resolve_path
from reconciler.git import SUBJECT, Git, GitFailed
from reconciler.model.values import dataclass
from reconciler.text.counting import count

# A first fetch of a large repository takes minutes.
_FETCH_WITHIN_S: Final = 600
_MOST_NAMED: Final = 20
_DEPTH: Final = (
    "Fetch more commits: fetch-depth: 0 for actions/checkout, fetchDepth: 0 for a checkout step of"
    ' Azure Pipelines, GIT_DEPTH: "0" in GitLab; by hand: git fetch --unshallow'
)
_NO_HOOKS: Final = ("-c", "core.hooksPath=/dev/null")
_CHECKOUT: Final = "Run it in the checkout of the repository."
# The merge commit is made for the plan alone, so it has the same name in each run.
_COMMITTER: Final = "reconciler"
_NO_ADDRESS: Final = "reconciler@localhost"


class MergeConflict(ReconcilerError):
    """The request cannot be merged into its target branch; `files` are in conflict."""

    files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MergeResult:
    """The files of a merged request.

    `folder` is the top folder of the work tree that holds them, and `top` that of the checkout.
    `tree` is git's name of the files. `base` and `head` are the commits that were merged. `changed`
    are the files that differ from the base, relative to the top folder. `not_fetched` says why the
    base may not be the newest commit of the target branch; it is empty if it is.
    """

    folder: Path
    top: Path
    tree: str
    base: str
    head: str
    changed: tuple[str, ...] = ()
    not_fetched: str = ""

    @property
    def is_checkout(self) -> bool:
        """Whether the checkout itself holds the merge result."""
        return self.folder == self.top


class Checkout:
    """The git checkout that a command runs in."""

    def __init__(self, folder: Path) -> None:
        """Raises ReconcilerError if the folder is not in a checkout with a commit."""
        self.commit, self._tree, self.top = _read_head(folder)
        self._git = Git(self.top)

    def find_tree(self, commit: str) -> str:
        """Git's name of the files of a commit; "" if the checkout does not have the commit."""
        return self._resolve(commit, "tree")

    def lacks(self, commit: str) -> bool:
        """Whether the checked-out commit is without another one; False where that is not known."""
        if not commit or commit == self.commit or self._is_ancestor(commit, self.commit):
            return False
        return not self._is_shallow()

    def list_commits(self, after: str, most: int) -> tuple[str, ...]:
        """The checked-out commit and its first parents down to `after`, newest first.

        Without `after`, or if it is not among them, only the checked-out commit.
        """
        if not after:
            return (self.commit,)
        wanted = ("rev-list", "--first-parent", f"--max-count={most}", f"{after}..{self.commit}")
        with contextlib.suppress(GitFailed):
            if self._is_ancestor(after, self.commit):
                return tuple(self._git.ask(*wanted).split()) or (self.commit,)
        return (self.commit,)

    def list_changed(self, after: str) -> tuple[str, ...] | None:
        """The files that differ from an earlier commit; None if it is not known."""
        if not after or not self._is_ancestor(after, self.commit):
            return None
        return _list_changed(self._git, after)

    def list_earlier(self, most: int) -> tuple[str, ...]:
        """The first parents of the checked-out commit that the clone has, newest first."""
        wanted = ("rev-list", "--first-parent", "--skip=1", f"--max-count={most}", self.commit)
        try:
            return tuple(self._git.ask(*wanted).split())
        except GitFailed:
            return ()

    @contextlib.contextmanager
    def merging(self, base: str, head: str) -> Iterator[MergeResult]:
        """The merge of the commit `head` into the branch `base`, for the duration of the block.

        Raises MergeConflict, and ReconcilerError if a commit is missing and cannot be fetched.
        """
        parents = self._list_parents(self.commit)
        if len(parents) == 2 and parents[1] == head:
            yield self._describe(self.top, self._need(parents[0]), head)
            return
        if head != self.commit:
            raise self._refuse_checkout(head)
        tip, why = self._find_base(base)
        if not self._is_joined(tip, head):
            self._deepen()
        if self._is_ancestor(tip, head):
            yield replace(self._describe(self.top, tip, head), not_fetched=why)
            return
        with self._make_merge(tip, head) as folder:
            yield replace(self._describe(folder, tip, head), not_fetched=why)

    def _describe(self, folder: Path, base: str, head: str) -> MergeResult:
        git = Git(folder)
        made = folder != self.top
        tree = git.ask("rev-parse", "HEAD^{tree}").strip() if made else self._tree
        return MergeResult(folder, self.top, tree, base, head, _list_changed(git, base))

    def _refuse_checkout(self, head: str) -> ReconcilerError:
        return ReconcilerError(
            f"the checkout is at {self.commit[:12]}, and the request is at {head[:12]}",
            subject=SUBJECT,
            next_step=f"Check out the request: git checkout {head[:12]}. In a job: a newer commit"
            " was pushed, and its own run plans it.",
        )

    def _resolve(self, name: str, kind: str = "commit") -> str:
        try:
            asked = ("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{{kind}}}")
            return self._git.ask(*asked).strip()
        except GitFailed:
            return ""

    def _list_parents(self, commit: str) -> list[str]:
        """The parents that a commit names, whether the clone has them or not."""
        head, _, _ = self._git.ask("cat-file", "commit", commit).partition("\n\n")
        lines = head.splitlines()
        return [line.removeprefix("parent ") for line in lines if line.startswith("parent ")]

    def _need(self, commit: str) -> str:
        """A commit with its files, fetched if a shallow clone lacks it."""
        if not self._resolve(commit):
            self._fetch("--depth=1", commit, step=_DEPTH)
        return commit

    def _find_base(self, base: str) -> tuple[str, str]:
        """The newest commit of the target branch, and why it could not be fetched, if it was not.

        A checkout that keeps no credentials cannot fetch; its branch is then what it fetched.
        """
        self._check_branch(base)
        remote = self._find_remote()
        if not remote:
            why = "the repository has no remote"
            return self._resolve(f"refs/heads/{base}") or self._refuse_base(base, why), ""
        kept, why = f"refs/remotes/{remote}/{base}", ""
        try:
            self._fetch(f"+refs/heads/{base}:{kept}")
        except GitFailed as error:
            why = error.message
        return self._resolve(kept) or self._refuse_base(base, why), why

    def _check_branch(self, base: str) -> None:
        try:
            self._git.ask("check-ref-format", f"refs/heads/{base}")
        except GitFailed:
            message = f'"{base}" is not the name of a branch'
            raise ReconcilerError(message, subject=SUBJECT, next_step="Name another.") from None

    def _refuse_base(self, base: str, why: str) -> str:
        raise ReconcilerError(
            f"the target branch {base} is not here, and cannot be fetched",
            subject=SUBJECT,
            next_step=f"{why}. If the branch was deleted, choose another target branch in the"
            f" request. Otherwise fetch it first: git fetch origin"
            f" +refs/heads/{base}:refs/remotes/origin/{base}",
        )

    def _find_remote(self) -> str:
        remotes = self._git.ask("remote").split()
        return "origin" if "origin" in remotes else next(iter(remotes), "")

    def _fetch(self, *arguments: str, step: str = "") -> None:
        quiet = ("--quiet", "--no-tags", "--no-recurse-submodules")
        options = [one for one in arguments if one.startswith("--")]
        names = [one for one in arguments if not one.startswith("--")]
        git = Git(self.top, within_s=_FETCH_WITHIN_S)
        git.run(*_NO_HOOKS, "fetch", *quiet, *options, "--", self._find_remote(), *names, step=step)

    def _is_joined(self, one: str, other: str) -> bool:
        """Whether the clone has a commit that both contain."""
        try:
            return bool(self._git.ask("merge-base", one, other).strip())
        except GitFailed:
            return False

    def _is_ancestor(self, one: str, other: str) -> bool:
        """Whether a commit contains another one; False if the clone lacks one of the two."""
        try:
            self._git.run("merge-base", "--is-ancestor", "--end-of-options", one, other)
        except GitFailed:
            return False
        return True

    def _is_shallow(self) -> bool:
        return self._git.ask("rev-parse", "--is-shallow-repository").strip() == "true"

    def _deepen(self) -> None:
        """Fetch the commits that a shallow clone lacks."""
        if not self._is_shallow():
            return
        try:
            self._fetch("--unshallow")
        except GitFailed as error:
            said = f"the clone is shallow, and cannot be completed: {error.message}"
            raise ReconcilerError(said, subject=SUBJECT, next_step=_DEPTH) from error

    @contextlib.contextmanager
    def _make_merge(self, tip: str, head: str) -> Iterator[Path]:
        """A temporary work tree with the merge of two commits, checked out."""
        with tempfile.TemporaryDirectory(prefix="reconciler-") as place:
            folder = resolve_path(Path(place)) / "merge"
            added = ("worktree", "add", "--quiet", "--detach", "--", str(folder), tip)
            self._git.run(*_NO_HOOKS, *added)
            try:
                self._commit_merge(folder, tip, head)
                yield folder
            finally:
                with contextlib.suppress(GitFailed):
                    self._git.run("worktree", "remove", "--force", "--", str(folder))

    def _commit_merge(self, folder: Path, tip: str, head: str) -> None:
        git = Git(folder)
        ours = {f"GIT_{who}_{what}": said for who in _WHO for what, said in _IDENTITY.items()}
        wanted = ("merge", "--quiet", "--no-ff", "--no-commit", "--no-verify-signatures", head)
        try:
            git.run(*_NO_HOOKS, "-c", "merge.renames=true", *wanted, more=ours)
        except GitFailed as error:
            unmerged = git.run("diff", "--name-only", "--diff-filter=U", "-z")
            files = tuple(filter(None, os.fsdecode(unmerged).split("\0")))
            raise (_describe_conflict(files) if files else error) from None
        when = git.ask("show", "--no-patch", "--format=%cI", head).strip()
        ours |= {f"GIT_{who}_DATE": when for who in _WHO}
        tree = git.ask("write-tree").strip()
        said = f"Merge {head} into {tip}"
        made = git.ask("commit-tree", "-p", tip, "-p", head, tree, given=said, more=ours).strip()
        git.run("update-ref", "--no-deref", "HEAD", made, more=ours)


_WHO: Final = ("AUTHOR", "COMMITTER")
_IDENTITY: Final = {"NAME": _COMMITTER, "EMAIL": _NO_ADDRESS}


def _read_head(folder: Path) -> tuple[str, str, Path]:
    """The commit that is checked out, the name of its files, and the top folder of the checkout.

    Raises ReconcilerError if the folder is not in a checkout with a commit.
    """
    wanted = ("rev-parse", "HEAD^{commit}", "HEAD^{tree}", "--show-toplevel")
    try:
        commit, tree, top = Git(folder).ask(*wanted).rstrip("\n").split("\n", 2)
    except GitFailed:
        _find_top(folder)
        commit = tree = top = ""
    # Git prints the name of a file that is called like a question which it cannot answer.
    if not commit or not set(commit) <= set(hexdigits):
        said = "the checkout has no commit"
        raise ReconcilerError(said, subject=SUBJECT, next_step=_CHECKOUT)
    return commit, tree, Path(top)


def _find_top(folder: Path) -> Path:
    try:
        return Path(Git(folder).ask("rev-parse", "--show-toplevel", step=_CHECKOUT).rstrip("\n"))
    except GitFailed as error:
        if "dubious ownership" in error.message:
            # Jobs in containers often run as another user than the one that checked out.
            trusted = shlex.quote(str(find_checkout(folder)))
            error.next_step = f"Trust it: git config --global --add safe.directory {trusted}"
        raise


def _list_changed(git: Git, base: str) -> tuple[str, ...]:
    listed = git.run("diff-tree", "-r", "-z", "--name-only", "--no-renames", base, "HEAD")
    return tuple(filter(None, os.fsdecode(listed).split("\0")))


def _describe_conflict(files: tuple[str, ...]) -> MergeConflict:
    left = len(files) - _MOST_NAMED
    more = f" and {left:,} more" if left > 0 else ""
    error = MergeConflict(
        f"{count(len(files), 'file')} in conflict with the target branch:"
        f" {', '.join(files[:_MOST_NAMED])}{more}",
        subject=SUBJECT,
        next_step="Merge the target branch into the source branch, solve the conflicts, and push.",
    )
    error.files = files
    return error

"""Commits edited files of a project, in the work tree or on a branch of its own.

A branch is written without a checkout, so that the work tree is unchanged and a killed process
leaves nothing behind. A branch is replaced only if it holds a proposal of the same retraining and
nothing else, or if the proposal was merged and the branch was left.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

from reconciler.errors import ReconcilerError
from reconciler.files import resolve_path
from reconciler.git import SUBJECT, Git
from reconciler.model.values import dataclass

# git keeps a branch in a file, and its lock in another one with .lock after the name. Most file
# systems have names of 255 bytes at most, and paths of 4,096 bytes.
_LONGEST_PART: Final = 250
_LONGEST_BRANCH: Final = 1_000
_REPOSITORY: Final = (
    "Work in a git repository that has a commit, with user.name and user.email set."
)
_AGAIN: Final = (
    "Correct the settings or the hooks of the repository, and run the command again:"
    " it goes on with the same job."
)
_NOT_STAGED: Final = "The commit was made. Put its files into the index with: git add --update"
# The message of a proposal has a line with this word and the digest of the model.
DIGEST: Final = "sha256 "
# The line before the last one names the tree of the commit: a commit that somebody amended has
# another tree.
_TREE: Final = "Reconciler-Tree: "


@dataclass(frozen=True, slots=True)
class Committed:
    """A commit. `existed` says that the branch held the same files already."""

    commit: str
    existed: bool = False


class Repository:
    """The git repository of a project's folder."""

    def __init__(self, folder: Path) -> None:
        """Raises ReconcilerError if the folder is not in a repository with a commit."""
        self._git = Git(folder)
        self._top = Path(self._ask("rev-parse", "--show-toplevel").strip())
        self._head = self._ask("rev-parse", "--verify", "HEAD^{commit}").strip()

    def check_clean(self) -> None:
        """Raise ReconcilerError if the work tree differs from the commit."""
        changed = self._ask("status", "--porcelain", "--untracked-files=no").splitlines()
        if changed:
            raise ReconcilerError(
                f"the work tree has changes that are not committed: {changed[0][3:][:100]}",
                subject=SUBJECT,
                next_step="Commit or stash them first.",
            )

    def check_author(self) -> None:
        """Raise ReconcilerError if git does not know who commits."""
        self._ask("var", "GIT_AUTHOR_IDENT")
        self._ask("var", "GIT_COMMITTER_IDENT")

    def check_committed(self, files: Collection[Path]) -> None:
        """Raise ReconcilerError unless each file is in the commit as it is in the work tree.

        A proposal must hold nothing but its own edits.
        """
        for path in files:
            if not self._find_entry(self._name(path)):
                raise ReconcilerError(
                    "the file is not in the commit, so a proposal would add the whole file",
                    subject=str(path),
                    next_step="Commit it first.",
                )
        names = [*map(self._name_exactly, files)]
        changed = self._ask("status", "--porcelain", "--", *names).splitlines() if names else []
        if changed:
            raise ReconcilerError(
                f"the file has changes that are not committed: {changed[0][3:][:100]}",
                subject=SUBJECT,
                next_step="Commit or stash them first.",
            )

    def check_branch(self, branch: str, trailer: str) -> None:
        """Raise ReconcilerError if a branch cannot be made, or holds anything but our proposal.

        `trailer` is the line that our proposals end with.
        """
        try:
            # It prints the name, or the branch that a word such as @{-1} means.
            is_name = self._ask("check-ref-format", "--branch", branch).strip() == branch
        except ReconcilerError:
            is_name = False
        longest = max(len(os.fsencode(part)) for part in branch.split("/"))
        is_name = is_name and longest <= _LONGEST_PART and len(branch) <= _LONGEST_BRANCH
        if not is_name or branch == "@" or branch.startswith("refs/"):
            message = f'"{branch}" is not the name of a branch'
            raise ReconcilerError(message, subject=SUBJECT, next_step="Name another.")
        self._check_free(branch)
        if self._ask("for-each-ref", "--format=%(worktreepath)", f"refs/heads/{branch}").strip():
            raise ReconcilerError(
                f"the branch {branch} is checked out",
                subject=SUBJECT,
                next_step="Name another branch, or leave out --branch to commit on this one.",
            )
        tip = self._find_tip(branch)
        if tip and not (self._is_proposal(tip, trailer) and self._is_alone(tip)):
            raise self._refuse(branch, is_proposal=self._is_proposal(tip, trailer))

    def _refuse(self, branch: str, *, is_proposal: bool) -> ReconcilerError:
        message = f"the branch {branch} exists and holds other work"
        step = "Name another branch, or delete this one."
        shallow = self._ask("rev-parse", "--is-shallow-repository").strip() == "true"
        if is_proposal and shallow:
            message = f"the branch {branch} exists, and may hold other work: this clone is shallow"
            step = "Fetch the other commits with: git fetch --unshallow. Or name another branch."
        return ReconcilerError(message, subject=SUBJECT, next_step=step)

    def _check_free(self, branch: str) -> None:
        """Raise ReconcilerError if git keeps the branch in the place of the folder of another.

        git would refuse the name at the end, after the job.
        """
        parts = branch.split("/")
        above = ["/".join(parts[:length]) for length in range(1, len(parts))]
        taken = [one for one in above if self._find_tip(one)]
        below = self._ask("for-each-ref", "--format=%(refname:lstrip=2)", f"refs/heads/{branch}/")
        others = [*taken, *below.splitlines()]
        if others:
            raise ReconcilerError(
                f"the branch {branch} cannot exist beside the branch {others[0]}",
                subject=SUBJECT,
                next_step="Name another branch.",
            )

    def commit(
        self, texts: Mapping[Path, str], message: str, branch: str, trailer: str
    ) -> Committed:
        """Commit the texts of files on a branch, or on the current one if `branch` is empty.

        With a branch the work tree stays as it is; without one the files must be written already,
        and `stage` must follow. Like `git commit`, it signs the commit if the repository demands
        it. It runs no hook of `git commit`, because such hooks read the work tree.
        """
        tree = self._write_tree(texts)
        message = _name_tree(message, tree, trailer)
        if not branch:
            return Committed(self._make_commit(tree, message, "HEAD", self._head))
        self.check_branch(branch, trailer)
        tip = self._find_tip(branch)
        if tip and self._says_same(tip, message):
            return Committed(tip, existed=True)
        return Committed(self._make_commit(tree, message, f"refs/heads/{branch}", tip))

    def stage(self, files: Collection[Path]) -> None:
        """Put files that were committed on the current branch into the index."""
        self._ask("add", "--", *map(self._name_exactly, files), step=_NOT_STAGED)

    def _make_commit(self, tree: str, message: str, reference: str, before: str) -> str:
        """Makes a commit on ours, and moves the reference from `before` to it; returns its id."""
        wanted = ("config", "--get", "--type=bool", "--default=false", "commit.gpgSign")
        sign = ["-S"] if self._ask(*wanted).strip() == "true" else []
        made = self._ask(
            "commit-tree", *sign, "-p", self._head, tree, given=message, step=_AGAIN
        ).strip()
        self._ask("update-ref", "-m", "reconciler", reference, made, before, step=_AGAIN)
        return made

    def _says_same(self, tip: str, message: str) -> bool:
        """Whether a commit on ours proposes a model with the same bytes, of whatever run."""
        said = self._ask("log", "-1", "--format=%B", tip).splitlines()
        digests = [line for line in message.splitlines() if line.startswith(DIGEST)]
        same = digests == [one for one in said if one.startswith(DIGEST)]
        return same and self._list_parents(tip) == [self._head]

    def _is_proposal(self, tip: str, trailer: str) -> bool:
        """Whether a commit is a proposal, as it was made."""
        said = self._ask("log", "-1", "--format=%T%n%B", tip).strip().splitlines()
        return said[-2:] == [f"{_TREE}{said[0]}", trailer]

    def _is_alone(self, tip: str) -> bool:
        """Whether a commit was merged, or is the only one on a commit that we have.

        The commits below the oldest ones of a shallow clone are not known.
        """
        own = self._ask("rev-list", "--count", f"{self._head}..{tip}").strip()
        return own == "0" or (own == "1" and len(self._list_parents(tip)) == 1)

    def _list_parents(self, tip: str) -> list[str]:
        return self._ask("rev-list", "--parents", "--max-count=1", tip).split()[1:]

    def _find_tip(self, branch: str) -> str:
        # A pattern of for-each-ref would also mean the branches below this name.
        listed = self._ask(
            "for-each-ref", "--format=%(refname) %(objectname)", f"refs/heads/{branch}"
        )
        tips = dict(line.rsplit(" ", 1) for line in listed.splitlines())
        return tips.get(f"refs/heads/{branch}", "")

    def _write_tree(self, texts: Mapping[Path, str]) -> str:
        """Returns the tree of the current commit with these files changed."""
        with tempfile.TemporaryDirectory() as folder:
            index = {"GIT_INDEX_FILE": str(Path(folder, "index"))}
            self._ask("read-tree", self._head, more=index)
            for path, text in texts.items():
                name = self._name(path)
                # The filters of .gitattributes apply, as they do to `git add`.
                blob = self._ask("hash-object", "-w", "--stdin", f"--path={name}", given=text)
                mode = self._find_entry(name).partition(" ")[0] or "100644"
                entry = f"{mode},{blob.strip()},{name}"
                self._ask("update-index", "--add", "--cacheinfo", entry, more=index)
            return self._ask("write-tree", more=index).strip()

    def _name(self, path: Path) -> str:
        """The name of a file from the top of the repository; follows links."""
        found = resolve_path(path)
        if not found.is_relative_to(resolve_path(self._top)):
            message = "the file is outside the git repository, so it cannot be committed"
            step = "Move it into the repository, or leave out --commit and --branch."
            raise ReconcilerError(message, subject=str(path), next_step=step)
        return found.relative_to(resolve_path(self._top)).as_posix()

    def _name_exactly(self, path: Path) -> str:
        """A pattern that means this file alone; git follows no link in a pattern."""
        return f":(top,literal){self._name(path)}"

    def _find_entry(self, name: str) -> str:
        """The mode, the type and the id of a file in the current commit; "" without it."""
        top = ("--full-tree", "--format=%(objectmode) %(objecttype) %(objectname)")
        return self._ask("ls-tree", *top, self._head, "--", f":(top,literal){name}").strip()

    def _ask(
        self,
        *arguments: str,
        given: str = "",
        more: Mapping[str, str] | None = None,
        step: str = _REPOSITORY,
    ) -> str:
        """Returns what git prints; raises ReconcilerError with the first line of its error."""
        return self._git.ask(*arguments, given=given, more=more, step=step)


def _name_tree(message: str, tree: str, trailer: str) -> str:
    """Returns the message with the tree of its commit before the last line."""
    return f"{message.rstrip().removesuffix(trailer)}{_TREE}{tree}\n{trailer}\n"

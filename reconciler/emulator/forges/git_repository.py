"""The bare git repository behind a forge: branches, commits, and merges by git itself.

The state of a forge calls it. It knows no pull request.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_HEADS: Final = "refs/heads/"
# How git writes the setting by which it logs each change of each branch.
_LOGS_ALL: Final = "logAllRefUpdates = always"
# Settings of the user's git must not change what a merge does.
_SETTINGS: Final = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_EDITOR": "true",
    "GIT_AUTHOR_NAME": "Forge",
    "GIT_AUTHOR_EMAIL": "forge@example.com",
    "GIT_COMMITTER_NAME": "Forge",
    "GIT_COMMITTER_EMAIL": "forge@example.com",
    # Nothing here has to survive a power cut.
    "GIT_CONFIG_COUNT": "1",
    "GIT_CONFIG_KEY_0": "core.fsync",
    "GIT_CONFIG_VALUE_0": "none",
}


class BareRepository:
    """A bare repository; `path` is created if it does not exist.

    A method raises ValueError with git's own text if git refuses.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: set[str] = set()  # digests of commits
        self._answers: dict[tuple[str, ...], subprocess.CompletedProcess[str]] = {}
        if not (path / "HEAD").exists():
            path.mkdir(parents=True, exist_ok=True)
            self._run("init", "-q", "--bare", "--initial-branch=main", ".")
            # It is small and soon deleted, so that no push has to look for what could be packed.
            self._run("config", "receive.autogc", "false")
        # The log of a branch shows each push, also those between two calls of the forge.
        if _LOGS_ALL not in (path / "config").read_text("utf-8", "surrogateescape"):
            self._run("config", "core.logAllRefUpdates", "always")

    def list_branches(self) -> dict[str, str]:
        """Return the commit of each branch.

        Each call of a forge asks for it, so it reads git's files and starts no process.
        """
        found: dict[str, str] = {}
        packed = self.path / "packed-refs"
        if packed.exists():
            pairs = (line.split(" ", 1) for line in packed.read_text("utf-8").splitlines())
            found = {pair[-1]: pair[0] for pair in pairs if pair[-1].startswith(_HEADS)}
        for file in (self.path / _HEADS).rglob("*"):
            # A push at this moment may delete a file; a folder is not a branch.
            with contextlib.suppress(FileNotFoundError, IsADirectoryError):
                if file.suffix != ".lock":
                    found[file.relative_to(self.path).as_posix()] = file.read_text("utf-8").strip()
        return {name.removeprefix(_HEADS): commit for name, commit in sorted(found.items())}

    def find_commit(self, name: str) -> str:
        """Return the commit that a branch, a tag or a digest names; empty if it does not exist."""
        branches = self.list_branches()
        if name in branches:
            return branches[name]
        if name in self._known or name in branches.values():
            return name
        if not name or name.startswith("-") or "\0" in name:
            return ""
        found = self._try("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
        if found.returncode:
            return ""
        self._known.add(found.stdout.strip())
        return found.stdout.strip()

    def list_commits(self, since: str, until: str) -> list[str]:
        """Return the commits that `until` has and `since` lacks, oldest first."""
        return _read(self._ask("rev-list", "--reverse", f"{since}..{until}")).split()

    def list_pushes(self, branch: str) -> list[str]:
        """Return the commits to which a branch was moved, oldest first."""
        shown = self._try("reflog", "show", "--format=%H", f"{_HEADS}{branch}", "--")
        return shown.stdout.split()[::-1]

    def list_files(self, base: str, head: str) -> list[tuple[str, str]]:
        """Return the letter of git's status and the path of each file that differs."""
        options = ("--name-status", "--no-renames", "-z")
        fields = self._run("diff", *options, base, head).split("\0")
        return list(zip(fields[::2], fields[1::2], strict=False))

    def find_merge_base(self, one: str, other: str) -> str:
        """Return the newest commit that both have; empty for unrelated histories."""
        return self._ask("merge-base", one, other).stdout.strip()

    def merge_trees(self, base: str, head: str) -> str:
        """Return the tree of a merge; empty if the two conflict."""
        merged = self._ask("merge-tree", "--write-tree", base, head)
        return merged.stdout.split()[0] if merged.returncode == 0 else ""

    def commit(self, tree: str, parents: tuple[str, ...], message: str) -> str:
        """Write a commit and return its digest."""
        named = [option for parent in parents for option in ("-p", parent)]
        return self._run("commit-tree", tree, *named, "-m", message).strip()

    def rebase(self, base: str, head: str) -> str:
        """Write the commits of `head` again on top of `base`; return the last of them."""
        with tempfile.TemporaryDirectory() as folder:
            place = f"{folder}/rebased"
            self._run("worktree", "add", "-q", "--detach", place, head)
            try:
                self._run("-C", place, "rebase", "-q", "--force-rebase", base)
                return self._run("-C", place, "rev-parse", "HEAD").strip()
            finally:
                self._run("worktree", "remove", "--force", place)

    def move(self, reference: str, commit: str, expected: str | None = None) -> None:
        """Point a reference to a commit; `expected` is the commit that it must have before."""
        extra = () if expected is None else (expected,)
        self._run("update-ref", reference, commit, *extra)

    def point(self, references: Mapping[str, str], reason: str) -> None:
        """Point each reference to a commit, all in one process, and note the reason in its log."""
        lines = (f"update {name} {commit}\n" for name, commit in references.items())
        self._run("update-ref", "-m", reason, "--stdin", stdin="".join(lines))

    def find_last(self, reference: str) -> tuple[str, str]:
        """Return the commit to which a reference was moved last, and the reason; both may be empty.

        It is for a reference that only `point` moves; it starts no process.
        """
        log = self.path / "logs" / reference
        lines = log.read_text("utf-8", "surrogateescape").splitlines() if log.exists() else []
        moved, _, reason = (lines or [""])[-1].partition("\t")
        return " ".join(moved.split()[1:2]), reason

    def delete_branch(self, branch: str) -> None:
        """Delete a branch."""
        self._run("update-ref", "-d", f"{_HEADS}{branch}")

    def _ask(self, *digests: str) -> subprocess.CompletedProcess[str]:
        """Return the answer of git to a question about existing commits; it never changes."""
        known = self._answers.get(digests)
        answer = known or self._try(*digests)
        if answer.returncode in {0, 1}:  # another code is a failure of git, and no answer
            self._answers[digests] = answer
        return answer

    def _run(self, *arguments: str, stdin: str = "") -> str:
        return _read(self._try(*arguments, stdin=stdin))

    def _try(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        return subprocess.run(  # noqa: S603 - the arguments are a list and not a shell's text
            ["git", *arguments],  # noqa: S607 - git of the machine
            cwd=self.path,
            env=kept | _SETTINGS,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            encoding="utf-8",
            errors="surrogateescape",
        )


def _read(done: subprocess.CompletedProcess[str]) -> str:
    if done.returncode:
        raise ValueError(f"git {done.args[1]}: {(done.stderr or done.stdout).strip()[:400]}")
    return done.stdout

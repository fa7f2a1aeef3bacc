"""Where the work tree stands and who is at work, as far as the machine tells."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

# The variables in which CI systems name the commit and who started the run (their documentation:
# GitHub Actions, Azure Pipelines, GitLab CI).
_COMMITS: Final = ("GITHUB_SHA", "BUILD_SOURCEVERSION", "CI_COMMIT_SHA")
_ACTORS: Final = ("GITHUB_ACTOR", "BUILD_REQUESTEDFOR", "GITLAB_USER_LOGIN", "USER", "LOGNAME")
_PATIENCE_S: Final = 20


@dataclass(frozen=True, slots=True)
class Revision:
    """`commit` is whole, or empty where there is none; `dirty` says that files differ from it."""

    commit: str
    dirty: bool
    author: str
    host: str


def read_revision(folder: Path, environment: Mapping[str, str] | None = None) -> Revision:
    """The revision of a folder; nothing is raised where git is missing or knows no commit."""
    known = os.environ if environment is None else environment
    commit, dirty = _ask_git(folder)
    if not commit:
        commit = next((known[name] for name in _COMMITS if known.get(name)), "")
    return Revision(commit, dirty, _find_author(known), socket.gethostname())


def _find_author(known: Mapping[str, str]) -> str:
    named = next((known[name] for name in _ACTORS if known.get(name)), "")
    return re.sub(r"\s+", " ", named)[:100] or f"uid-{os.getuid()}"


def _ask_git(folder: Path) -> tuple[str, bool]:
    git = shutil.which("git")
    if git is None:
        return "", False
    command = [git, "-C", str(folder), "status", "--porcelain=v2", "--branch", "--", "."]
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(  # noqa: S603 - our own arguments, no shell
            command, env=environment, capture_output=True, timeout=_PATIENCE_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return "", False
    if done.returncode:
        return "", False
    lines = done.stdout.decode("utf-8", "replace").splitlines()
    commit = next((line[13:] for line in lines if line.startswith("# branch.oid ")), "")
    dirty = any(not line.startswith("#") for line in lines)
    return ("" if commit == "(initial)" else commit), dirty

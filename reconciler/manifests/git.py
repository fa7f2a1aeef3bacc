"""Reads the commit of the work tree and the author of the run.

It asks git in one call; without an answer from git, it reads the variables that CI systems set.
It never raises: what is unknown is empty.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from reconciler.model.values import dataclass

# The variables in which CI systems name the commit and who started the run (documented: GitHub
# Actions default variables, Azure Pipelines predefined variables, GitLab CI predefined variables).
_COMMITS: Final = ("GITHUB_SHA", "BUILD_SOURCEVERSION", "CI_COMMIT_SHA")
_ACTORS: Final = ("GITHUB_ACTOR", "BUILD_REQUESTEDFOR", "GITLAB_USER_LOGIN")
_USERS: Final = ("LOGNAME", "USER", "USERNAME")
# A git hook runs with these set to its own repository, which can differ from the folder's.
_GIT_PLACES: Final = frozenset({"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX"})
_GIT_WITHIN_S: Final = 20
_LONGEST_NAME: Final = 100


@dataclass(frozen=True, slots=True)
class Revision:
    """`commit` is the full hash, or empty if unknown; `dirty` says that files differ from it.

    `dirty` is only True for a checkout. `author` is never empty.
    """

    commit: str
    dirty: bool
    author: str
    host: str


def read_revision(folder: Path, environment: Mapping[str, str] | None = None) -> Revision:
    """Returns the revision of a folder, which may not be a checkout; takes 20 s at most."""
    known = os.environ if environment is None else environment
    commit, dirty = _ask_git(folder, known)
    if not commit:
        commit = _first(known, _COMMITS)
    author = _first(known, _ACTORS) or _first(known, _USERS) or _account()
    return Revision(commit, dirty, author, socket.gethostname())


def _first(known: Mapping[str, str], names: tuple[str, ...]) -> str:
    """The first variable that is not empty, without characters that control a terminal."""
    found = ("".join(c for c in known.get(name, "") if c.isprintable()).strip() for name in names)
    return next((text for text in found if text), "")[:_LONGEST_NAME]


def _account() -> str:
    import pwd  # noqa: PLC0415 - seldom needed, and missing on some systems

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid-{os.getuid()}"


def _ask_git(folder: Path, known: Mapping[str, str]) -> tuple[str, bool]:
    """The commit, and whether the folder differs from it; empty if git does not know."""
    import subprocess  # noqa: PLC0415 - only plan and apply ask

    command = ["git", "-c", "core.fsmonitor=false", "-C", str(folder), "status", "--porcelain=v2"]
    command += ["--branch", "--untracked-files=normal", "-z", "--", "."]
    kept = {name: value for name, value in known.items() if name not in _GIT_PLACES}
    try:
        done = subprocess.run(  # noqa: S603 - no shell, our own arguments
            command,
            env={**kept, "GIT_OPTIONAL_LOCKS": "0"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_GIT_WITHIN_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return "", False
    return _read_status(done.stdout.decode("utf-8", "replace"))


def _read_status(text: str) -> tuple[str, bool]:
    """Records end in NUL; headers begin with `# ` (documented: git-status, porcelain v2)."""
    records = [record for record in text.split("\0") if record]
    headers = [record for record in records if record.startswith("# ")]
    oid = next((h.removeprefix("# branch.oid ") for h in headers if "branch.oid" in h), "")
    return ("" if oid == "(initial)" else oid), len(headers) < len(records)

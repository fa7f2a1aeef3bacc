"""Starts git, in one folder: the only module that does.

It never prompts, and it reads no setting that starts another program for a status. The caller
chooses the arguments; text from outside must follow `--` or be checked before.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Final

from reconciler.errors import ReconcilerError
from reconciler.model.values import dataclass

SUBJECT: Final = "git"
_WITHIN_S: Final = 60
# A hook of git runs with these set to its own repository (`git rev-parse --local-env-vars`). Those
# of pathspecs change what the name of a file means.
_PLACES: Final = frozenset(
    {
        "GIT_ALTERNATE_OBJECT_DIRECTORIES",
        "GIT_COMMON_DIR",
        "GIT_DIR",
        "GIT_GLOB_PATHSPECS",
        "GIT_GRAFT_FILE",
        "GIT_ICASE_PATHSPECS",
        "GIT_INDEX_FILE",
        "GIT_LITERAL_PATHSPECS",
        "GIT_NAMESPACE",
        "GIT_NOGLOB_PATHSPECS",
        "GIT_OBJECT_DIRECTORY",
        "GIT_PREFIX",
        "GIT_QUARANTINE_PATH",
        "GIT_REPLACE_REF_BASE",
        "GIT_SHALLOW_FILE",
        "GIT_WORK_TREE",
    }
)
# A monitor is a program of the repository; a signature would be printed before a message. A message
# is given and read in UTF-8, whatever the encoding of other commits is.
_SETTINGS: Final = (
    *("-c", "core.fsmonitor=false"),
    *("-c", "log.showSignature=false"),
    *("-c", "i18n.commitEncoding=UTF-8"),
    *("-c", "i18n.logOutputEncoding=UTF-8"),
)
# The user and the password of a remote's address.
_CREDENTIALS: Final = re.compile(r"(?<=://)[^/\s]*@")


class GitFailed(ReconcilerError):
    """Git cannot be started, has not ended in time (`code` is 0), or ended with `code`.

    `message` has the first line of what git says, without the credentials of an address.
    """

    code: int = 0


@dataclass(frozen=True, slots=True)
class Git:
    """Git in one folder. `known` is the environment of the process."""

    folder: Path
    known: Mapping[str, str] = field(default_factory=lambda: os.environ)
    within_s: int = _WITHIN_S

    def run(
        self,
        *arguments: str,
        given: bytes = b"",
        more: Mapping[str, str] | None = None,
        step: str = "",
    ) -> bytes:
        """Return what git prints; `more` are variables for it. Raises GitFailed with `step`."""
        import subprocess  # noqa: PLC0415 - start-up: most commands never ask

        kept = {name: value for name, value in self.known.items() if name not in _PLACES}
        command = ["git", *_SETTINGS, "-C", str(self.folder), *arguments]
        try:
            done = subprocess.run(  # noqa: S603 - no shell, our own arguments
                command,
                env={**kept, "GIT_TERMINAL_PROMPT": "0", **(more or {})},
                input=given,
                capture_output=True,
                timeout=self.within_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            said = f"git {_name_verb(arguments)} has not ended after {self.within_s} s"
            raise GitFailed(said, subject=SUBJECT, next_step=step) from None
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            said = f"git cannot be run: {type(error).__name__}"
            raise GitFailed(said, subject=SUBJECT, next_step="Install git.") from None
        if done.returncode:
            raise _describe(_name_verb(arguments), done.returncode, done.stderr, step)
        return done.stdout

    def ask(
        self,
        *arguments: str,
        given: str = "",
        more: Mapping[str, str] | None = None,
        step: str = "",
    ) -> str:
        """Return what git prints as text; raises GitFailed."""
        printed = self.run(*arguments, given=given.encode(), more=more, step=step)
        return printed.decode(errors="replace")


def _name_verb(arguments: Sequence[str]) -> str:
    """The command of git, which settings may precede."""
    at = 0
    while arguments[at] == "-c":
        at += 2
    return arguments[at]


def _describe(verb: str, code: int, printed: bytes, step: str) -> GitFailed:
    lines = printed.decode(errors="replace").strip().splitlines() or ["no message"]
    said = _CREDENTIALS.sub("", lines[0])[:200]
    error = GitFailed(f"git {verb} failed: {said}", subject=SUBJECT, next_step=step)
    error.code = code
    return error

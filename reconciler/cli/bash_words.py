"""Completes in bash the words that bash splits: `--target=ADDRESS`, `-l LABEL=VALUE`.

bash gives a program `team=gro` as the words `team`, `=` and `gro`, and replaces only the last one.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from click.shell_completion import (
    BashComplete,
    CompletionItem,
    add_completion_class,
    split_arg_string,
)

from reconciler.cli.terraform_flags import normalize_flags


class _Bash(BashComplete):
    """bash, with the words that the user typed."""

    _before = ""

    def get_completion_args(self) -> tuple[list[str], str]:
        """The words before the cursor, and the one that is not complete yet."""
        split = split_arg_string(os.environ["COMP_WORDS"])
        words = _join(split[1 : int(os.environ["COMP_CWORD"]) + 1])
        whole = len(split) > int(os.environ["COMP_CWORD"]) or split[-1:] == ["="]
        *given, incomplete = words if whole and words else [*words, ""]
        flag, is_assigned, value = incomplete.partition("=")
        if is_assigned and flag.startswith("-"):
            return [*normalize_flags(given), *normalize_flags([flag])], value
        self._before = f"{flag}=" if is_assigned else ""
        return normalize_flags(given), incomplete

    def format_completion(self, item: CompletionItem[Any]) -> str:
        """One line of the answer, without what bash does not replace."""
        return f"{item.type},{str(item.value).removeprefix(self._before)}"


def _join(split: Sequence[str]) -> list[str]:
    words: list[str] = []
    joined = False
    for part in split:
        if words and (joined or part == "="):
            words[-1] += part
        else:
            words.append(part)
        joined = part == "="
    return words


def register() -> None:
    """Let click use it. Only a process that completes a command line calls this."""
    add_completion_class(_Bash)

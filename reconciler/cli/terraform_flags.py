"""Changes Terraform's single-dash spelling of a flag to the spelling that click parses."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

_FLAGS = frozenset(
    {
        "allow",
        "auto-approve",
        "chdir",
        "destroy",
        "detailed-exitcode",
        "exclude",
        "force",
        "help",
        "json",
        "lock",  # unknown here, and not a value of -l
        "lock-timeout",
        "max-calls",
        "no-color",
        "out",
        "parallelism",
        "refresh",
        "selector",
        "target",
        "version",
    }
)
_SINGLE = re.compile(r"-([a-z][a-z-]+)(=.*)?", re.DOTALL)


_OTHER_WORDS: Final = {"--refresh=true": "--refresh=auto", "--refresh=false": "--refresh=none"}


def normalize_flags(arguments: Sequence[str]) -> list[str]:
    """The arguments with `-out=F` as `--out=F`, and with `--no-color` moved to the front."""
    spelled: list[str] = []
    colourless = False
    for index, argument in enumerate(arguments):
        if argument == "--":
            spelled.extend(arguments[index:])
            break
        found = _SINGLE.fullmatch(argument)
        word = f"-{argument}" if found and found[1] in _FLAGS else argument
        word = _OTHER_WORDS.get(word, word)
        if word == "--no-color":
            colourless = True
        else:
            spelled.append(word)
    return ["--no-color", *spelled] if colourless else spelled

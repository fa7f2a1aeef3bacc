"""The name of a commit: its hash, with `-dirty` if it is not proven to contain the files."""

from __future__ import annotations

from typing import Final

DIFFERING: Final = "These files differ from the commit"
_DIRTY: Final = "-dirty"


def name_commit(commit: str, *, dirty: bool) -> str:
    """Returns `4f1c2aa…` or `4f1c2aa…-dirty`; empty without a commit."""
    return f"{commit}{_DIRTY}" if commit and dirty else commit


def shorten_commit(name: str, most: int = 7) -> str:
    """Returns the first digits of a commit's name, such as `4f1c2aa` or `4f1c2aa-dirty`."""
    commit = name.removesuffix(_DIRTY)
    return name_commit(commit[:most], dirty=name != commit)

"""The whole of a ledger's past: what was archived, then what is there now, as one chain."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

from reconciler.errors import LedgerInvalid
from reconciler.ledgers.chain import RESTORE, End, Numbered, follow, invalid
from reconciler.ledgers.records import BadLine, Checkpoint

_NAME: Final = re.compile(r"ledger-[0-9]{1,18}-[0-9]{1,18}\.jsonl", re.ASCII)

OpenArchive: TypeAlias = Callable[[str], Iterator[Numbered] | None]
"""The lines of the archive of a name; None where there is none."""


def name_archive(last: int, count: int) -> str:
    """What an archive of `count` lines is called, of which `last` is the last one's sequence."""
    return f"ledger-{last - count + 1}-{last}.jsonl"


def begins_with_checkpoint(line: bytes) -> Checkpoint | None:
    """The checkpoint that a chain begins with, where that is what its first line says."""
    try:
        word = follow(End(), line)[1]
    except BadLine:
        return None  # told by whoever reads on
    return word if isinstance(word, Checkpoint) else None


def number_all(lines: Iterator[Numbered], open_archive: OpenArchive) -> Iterator[Numbered]:
    """The lines of all archives, oldest first, then those that are there now.

    Raises LedgerInvalid for an archive that is not there.
    """
    first = list(itertools.islice(lines, 1))
    parts = [itertools.chain(first, lines)]
    seen: set[str] = set()
    while first and (checkpoint := begins_with_checkpoint(first[0][2])):
        if not _NAME.fullmatch(checkpoint.archive) or checkpoint.archive in seen:
            raise invalid(first[0][0], first[0][1], BadLine("names no usable archive"))
        seen.add(checkpoint.archive)
        archive = open_archive(checkpoint.archive)
        if archive is None:
            raise LedgerInvalid(
                f"{checkpoint.archive}, an archive of the ledger, is missing",
                subject=first[0][0],
                next_step=RESTORE,
            )
        first = list(itertools.islice(archive, 1))
        parts.append(itertools.chain(first, archive))
    return itertools.chain.from_iterable(reversed(parts))

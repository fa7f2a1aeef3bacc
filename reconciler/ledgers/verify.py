"""A look at every line of a ledger: whether all fits, and which line is the first that does not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from reconciler.errors import LedgerInvalid
from reconciler.ledgers.chain import RESTORE, End, Numbered, Replay, follow
from reconciler.ledgers.records import BadLine, Checkpoint, Word
from reconciler.model import Address, Entry, Finding, Intent, Place, Proof

# More of them say nothing that the first few do not.
_MOST: Final = 100
_SET_ASIDE: Final = "The next command that writes sets it aside; nothing was sent because of it."


@dataclass(frozen=True, slots=True)
class Torn:
    """Bytes behind the last whole line: where, and how many."""

    name: str
    line: int
    size: int


def prove(
    lines: Callable[[], Iterable[Numbered]],
    digest_archive: Callable[[str], str],
    moved: Mapping[Address, Address],
    find_torn: Callable[[], Torn | None],
) -> Proof:
    """What a look at all lines comes to; what cannot be read is a finding too.

    `digest_archive` gives the digest of the archive of a name, empty where there is none.
    """
    look = _Look(digest_archive, moved)
    try:
        for line in lines():
            look.take(line)
        torn = find_torn()
    except LedgerInvalid as error:
        return look.prove(error.findings())
    if torn is None:
        return look.prove(())
    said = f"line {torn.line} of the ledger is not whole: {torn.size} bytes of a write that ended"
    place = Place(torn.name, torn.line, 1)
    return look.prove((Finding(said, place=place, next_step=_SET_ASIDE, severity="warning"),))


class _Look:
    def __init__(
        self, digest_archive: Callable[[str], str], moved: Mapping[Address, Address]
    ) -> None:
        self._digest_archive = digest_archive
        self._moved = moved
        self._replay = Replay()
        self._end: End | None = End()
        self._entries = self._intents = 0
        self._findings: list[Finding] = []

    def take(self, line: Numbered) -> None:
        """Look at one line, after all before it."""
        name, number, data = line
        try:
            word = self._follow(data)
        except BadLine as error:
            self._end = None  # the next line is taken as it is, so that one harm is told once
            self._tell(name, number, str(error))
            return
        for said in self._doubts(word):
            self._tell(name, number, said)
        self._entries += isinstance(word, Entry)
        self._intents += isinstance(word, Intent)
        self._replay.take(word)

    def _follow(self, data: bytes) -> Word:
        self._end, word = follow(self._end, data)
        return word

    def _doubts(self, word: Word) -> Iterable[str]:
        if isinstance(word, Entry) and word.intent:
            intent = self._replay.open.get(word.intent)
            if intent is None:
                yield f"is the outcome of line {word.intent}, which is no open intent"
            elif self._now(intent.address) != self._now(word.address):
                yield f"is the outcome of an intent of {intent.address}, and of {word.address}"
        if isinstance(word, Checkpoint):
            found = self._digest_archive(word.archive)
            if not found:
                yield f"names the archive {word.archive}, which is not there"
            elif found != word.sha256:
                yield f"names the archive {word.archive}, which was changed since"

    def _now(self, address: Address) -> Address:
        return self._moved.get(address, address)

    def _tell(self, name: str, number: int, what: str) -> None:
        if len(self._findings) < _MOST:
            said = f"line {number} of the ledger {what}"
            self._findings.append(Finding(said, place=Place(name, number, 1), next_step=RESTORE))

    def prove(self, more: tuple[Finding, ...]) -> Proof:
        """What all of it comes to."""
        return Proof(self._entries, self._intents, (*self._findings, *more))

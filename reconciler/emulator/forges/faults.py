"""The errors that a forge can be made to answer, each for a number of calls.

A fault is written `NAME`, `NAME:TIMES` or `NAME@CALL:TIMES`. TIMES is a whole number from 1, or
`always`; without it the fault applies once. CALL is the name of a call, such as `create-comment`;
an unknown one is refused with all names. Without it the fault applies to the calls of the third
column. H is GitHub, A Azure DevOps, L GitLab.

Of several faults that decide the reply, a call takes the first, and the next call the next one.
The last eleven rows do not decide the reply, and apply at once.

| fault | forge | calls | what the forge does |
|---|---|---|---|
| `rate-limit` | HAL | all | refuses: 403, none left, time of reset (H); 429, `Retry-After` (A, L) |
| `rate-limit-429` | H | all | refuses: 429 with none left and the time of the reset |
| `rate-limit-secondary` | H | all | refuses: 403 with a message and `Retry-After` |
| `rate-limit-secondary-reset` | H | all | refuses: 403 with a message, none left, time of reset |
| `rate-limit-bare` | HL | all | refuses: 403 with a message (H), 429 (L); no header says how long |
| `delayed` | A | all | does it, with `Retry-After` on the success |
| `no-right` | HAL | writes | refuses: 403 that names the missing right |
| `gone` | H | all | refuses: 410 |
| `sign-in-page` | HAL | all | answers 203 with a page to sign in |
| `sign-in-redirect` | HAL | all | answers 302 to a page to sign in |
| `foreign-redirect` | HAL | all | answers 307 to the same path of another origin |
| `scanning-off` | H | upload-sarif | refuses: 403, code scanning is not enabled |
| `too-large` | H | upload-sarif | refuses: 413 |
| `unavailable` | H | upload-sarif | refuses: 503 without a time to wait |
| `conflict` | HAL | set-status | refuses: 409, another request holds the lock |
| `error-before` | HAL | all | answers 500, and does nothing |
| `error-after` | HAL | writes | does it, and answers 502 |
| `lost-request` | HAL | all | closes the connection, and does nothing |
| `lost-reply` | HAL | writes | does it, and closes the connection without a reply |
| `cut-off` | HAL | all | does it, and closes the connection after half of the reply |
| `hang` | HAL | all | does it, and does not answer until the client gives up |
| `slow` | HAL | all | does it, and answers after two seconds |
| `not-json` | HAL | all | does it, and answers a success that is not JSON |
| `wrong-shape` | HAL | all | does it, and answers a success with JSON of another shape |
| `huge` | HAL | all | does it, and answers a success of 20 MB |
| `strict-transitions` | L | set-status | refuses an end right after pending, without running |
| `short-pages` | HL | lists | shows two items on a page, whatever was asked for |
| `endless-pages` | HL | lists | says that a next page follows, always |
| `foreign-page` | HL | lists | says that the next page is at another origin |
| `racing-creates` | HAL | create-comment | holds a create until a second one, then does both |
| `rival-comment` | HAL | create-comment | another run of the account writes the same before |
| `deleted-before-update` | HAL | update-comment | somebody deletes the comment before: 404 |
| `mergeable-unknown` | HAL | read-request | does not know yet whether it can be merged |
| `lost-merge-commit` | H | read-request | leaves `merge_commit_sha` null after the merge |
| `sarif-pending` | H | read-sarif | says that an upload is still processed |
| `sarif-failed` | H | upload-sarif | takes an upload whose processing fails |
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final, Literal

READS: Final = "read"
WRITES: Final = "write"
LISTS: Final = "list"
_ALWAYS: Final = -1


@dataclass(frozen=True)
class ForgeFault:
    """A fault. Empty `forges` are all. `calls` are names, or one of the three sorts.

    One of `before` is a reply instead of the work, and one of `after` changes the reply. One of
    `work` changes what is done.
    """

    name: str
    forges: tuple[str, ...] = ()
    calls: tuple[str, ...] = ()
    stage: Literal["before", "work", "after"] = "after"


_GITHUB: Final = ("github",)
_PAGED: Final = ("github", "gitlab")
FORGE_FAULTS: Final = (
    ForgeFault("rate-limit", stage="before"),
    ForgeFault("rate-limit-429", _GITHUB, stage="before"),
    ForgeFault("rate-limit-secondary", _GITHUB, stage="before"),
    ForgeFault("rate-limit-secondary-reset", _GITHUB, stage="before"),
    ForgeFault("rate-limit-bare", _PAGED, stage="before"),
    ForgeFault("delayed", ("azure-devops",)),
    ForgeFault("no-right", calls=(WRITES,), stage="before"),
    ForgeFault("gone", _GITHUB, stage="before"),
    ForgeFault("sign-in-page", stage="before"),
    ForgeFault("sign-in-redirect", stage="before"),
    ForgeFault("foreign-redirect", stage="before"),
    ForgeFault("scanning-off", _GITHUB, ("upload-sarif",), "before"),
    ForgeFault("too-large", _GITHUB, ("upload-sarif",), "before"),
    ForgeFault("unavailable", _GITHUB, ("upload-sarif",), "before"),
    ForgeFault("conflict", calls=("set-status",), stage="before"),
    ForgeFault("strict-transitions", ("gitlab",), ("set-status",), stage="work"),
    ForgeFault("error-before", stage="before"),
    ForgeFault("error-after", calls=(WRITES,)),
    ForgeFault("lost-request", stage="before"),
    ForgeFault("lost-reply", calls=(WRITES,)),
    ForgeFault("cut-off"),
    ForgeFault("hang"),
    ForgeFault("slow"),
    ForgeFault("not-json"),
    ForgeFault("wrong-shape"),
    ForgeFault("huge"),
    ForgeFault("short-pages", _PAGED, (LISTS,), stage="work"),
    ForgeFault("endless-pages", _PAGED, (LISTS,), stage="work"),
    ForgeFault("foreign-page", _PAGED, (LISTS,), stage="work"),
    ForgeFault("racing-creates", calls=("create-comment",), stage="work"),
    ForgeFault("rival-comment", calls=("create-comment",), stage="work"),
    ForgeFault("deleted-before-update", calls=("update-comment",), stage="work"),
    ForgeFault("mergeable-unknown", calls=("read-request",), stage="work"),
    ForgeFault("lost-merge-commit", _GITHUB, ("read-request",), stage="work"),
    ForgeFault("sarif-pending", _GITHUB, ("read-sarif",), stage="work"),
    ForgeFault("sarif-failed", _GITHUB, ("upload-sarif",), stage="work"),
)


@dataclass
class _Entry:
    fault: ForgeFault
    call: str
    left: int

    def applies(self, name: str, method: str) -> bool:
        if not self.left:
            return False
        if self.call:
            return self.call == name
        sorts = {READS if method == "GET" else WRITES}
        sorts |= {LISTS} if name.startswith("list-") else set()
        return not self.fault.calls or bool({name, *sorts} & set(self.fault.calls))


class ForgeFaults:
    """The faults that are still to come. Raises ValueError for a text that is not a fault."""

    def __init__(self, forge: str, calls: Collection[str], texts: Iterable[str] = ()) -> None:
        self._forge, self._calls = forge, calls
        self._entries: list[_Entry] = []
        self.add(texts)

    def add(self, texts: Iterable[str]) -> None:
        """Add faults; none of them if one is wrong."""
        self._entries += [self._read(text) for text in list(texts)]

    def clear(self) -> None:
        """Remove all faults."""
        self._entries = []

    def list_left(self) -> list[str]:
        """Return the faults that are still to come, as they are written."""
        return [
            one.fault.name
            + (f"@{one.call}" if one.call else "")
            + f":{'always' if one.left == _ALWAYS else one.left}"
            for one in self._entries
            if one.left
        ]

    def _read(self, text: str) -> _Entry:
        written, _, times = text.partition(":")
        name, _, call = written.partition("@")
        known = {one.name: one for one in FORGE_FAULTS}
        fault = known.get(name)
        if fault is None:
            raise ValueError(f"fault {name} does not exist; known are {', '.join(known)}")
        if fault.forges and self._forge not in fault.forges:
            raise ValueError(f"fault {name} is one of {', '.join(fault.forges)}, not {self._forge}")
        if call and call not in self._calls:
            raise ValueError(f"call {call} does not exist; known are {', '.join(self._calls)}")
        if not call and "@" in written:
            raise ValueError(f"fault {text} names an empty call")
        left = _read_times(text, times)
        return _Entry(fault, call, left)

    def take(self, name: str, method: str) -> list[str]:
        """Return the faults of one call and count them; one alone decides the reply."""
        taken: list[str] = []
        decided = False
        for entry in self._entries:
            decides = entry.fault.stage != "work"
            if entry.applies(name, method) and not (decided and decides):
                decided = decided or decides
                taken.append(entry.fault.name)
                entry.left -= 1 if entry.left > 0 else 0
        return taken


def _read_times(text: str, times: str) -> int:
    if times == "always":
        return _ALWAYS
    if ":" in text and not (times.isascii() and times.isdigit() and 0 < int(times) < 1_000_000):
        raise ValueError(f"the number of {text} must be a whole number from 1, or always")
    return int(times or 1)


def find_early(names: Iterable[str]) -> str:
    """Return the fault that is answered instead of the work; empty without one."""
    early = {one.name for one in FORGE_FAULTS if one.stage == "before"}
    return next((name for name in names if name in early), "")

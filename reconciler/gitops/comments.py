"""One comment of this program on a request, for each project and environment; and statuses.

The comment is found by its first line, the marker, and only among the comments of our own account.
No forge compares before it writes, so two runs may write at once. What a run writes is decided by
the time in the markers: the newest text stays, in the oldest comment, and the others are deleted.
After it has replaced a text, a run waits and reads again, so that an older run which had read
before it cannot keep the last word.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final, Literal, TypeAlias
from urllib.parse import quote, unquote

from reconciler.errors import Rejected, ReplyLost, Throttled, Unauthorized, Unavailable
from reconciler.gitops.forge import Comment, Forge, Request, Status
from reconciler.model.values import dataclass
from reconciler.text.counting import count

PutResult: TypeAlias = Literal["created", "updated", "same", "older", "no right"]

# An older run has sent its text so many seconds after it has read the comments, at most: as long
# as a slow forge takes, which this run has seen itself.
_SETTLE_S: Final = 1.0
_SETTLE_TIMES: Final = 3.0
_LONGEST_SETTLE_S: Final = 30.0
_ROUNDS: Final = 8
_LOST: Final = 3
_MARKER: Final = re.compile(r"<!-- reconciler plan((?: [a-z]+=[^\s<>]*)+) -->")
_AT: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z")
_FENCE: Final = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")


@dataclass(frozen=True, slots=True)
class Sticky:
    """The comment about one project and environment.

    `run` names the run, `at` is when it read what the text says (ISO 8601 in UTC, to the second),
    and `changes` is the digest of the changes. `body` is Markdown without the marker; its first
    lines are never cut off. `url` is where the whole text is, for a text that is too long.
    `unresolved` says that somebody must act on it. `edited` says that the text was changed after
    it was written; it is never written itself.
    """

    project: str
    environment: str
    run: str
    at: str
    changes: str
    body: str
    url: str = ""
    unresolved: bool = False
    edited: bool = False


@dataclass(frozen=True, slots=True)
class Put:
    """What became of a comment or a status.

    `older` means that the text of a newer run is there, and `no right` that the forge refuses the
    token; then `reason` and `next_step` say why and which right is missing. `cut` says that the
    text was too long for the forge.
    """

    result: PutResult
    url: str = ""
    cut: bool = False
    reason: str = ""
    next_step: str = ""


@dataclass(frozen=True, slots=True)
class _Found:
    """A comment of ours, and what its marker says."""

    comment: Comment
    sticky: Sticky


def put_sticky(
    forge: Forge,
    request: Request,
    sticky: Sticky,
    *,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Put:
    """Write the comment, or replace its text; a missing right is a result and not an error.

    The text is not written if that of a newer run is there, or if the same text is. Raises
    ServiceError for any other failure; then the comment may have been written or not.
    """
    text, cut = write_comment(sticky, forge.longest_comment, forge.name)
    try:
        return replace(_Round(forge, request, sticky, text, sleep, clock).run(), cut=cut)
    except Unauthorized as error:
        return Put("no right", cut=cut, reason=error.message, next_step=error.next_step)


def find_sticky(
    forge: Forge, request: Request, project: str, environment: str = ""
) -> Sticky | None:
    """The comment that is on a request; the newest if there are several. None without one."""
    found = _find_ours(forge.list_comments(request), project, environment)
    return max((one.sticky for one in found), key=_age) if found else None


def put_status(forge: Forge, commit: str, status: Status, request: Request | None = None) -> Put:
    """Show a status beside a commit; a missing right is a result and not an error."""
    try:
        forge.set_status(commit, status, request)
    except Unauthorized as error:
        return Put("no right", reason=error.message, next_step=error.next_step)
    return Put("updated")


class _Round:
    """One attempt to have one comment with the newest text: read, write, read again."""

    def __init__(
        self,
        forge: Forge,
        request: Request,
        sticky: Sticky,
        text: str,
        sleep: Callable[[float], None],
        clock: Callable[[], float],
    ) -> None:
        self._forge, self._request = forge, request
        self._sticky, self._text = sticky, text
        self._sleep, self._clock = sleep, clock
        self._listed_at = 0.0
        self._lost = 0
        self._sent: PutResult = "same"
        self._done: Put | None = None

    def run(self) -> Put:
        """Read and write until what is there needs no change."""
        for _ in range(_ROUNDS):
            self._listed_at = self._clock()
            listed = self._forge.list_comments(self._request)
            found = _find_ours(listed, self._sticky.project, self._sticky.environment)
            ended = self._settle(found) if found else self._create()
            if ended is not None:
                return ended
        return self._done or Put("updated")

    def _create(self) -> Put | None:
        """Write the first comment; None if what is there must be read again."""
        if self._done is not None:
            # A list may lag behind a write, or a person has deleted the comment since.
            return self._done
        self._sent = "created"
        try:
            made = self._forge.create_comment(
                self._request, self._text, unresolved=self._sticky.unresolved
            )
        except ReplyLost:
            if self._is_last():
                raise
            # It may be written later than it is looked for.
            self._sleep(_SETTLE_S)
            return None
        self._done = Put("created", made.url)
        return None if made.id else self._done

    def _is_last(self) -> bool:
        """Count a call that must be sent again; returns whether there were too many."""
        self._lost += 1
        return self._lost > _LOST

    def _settle(self, found: Sequence[_Found]) -> Put | None:
        """Let the newest text stay in the oldest comment; None if something was written."""
        newest = max(found, key=lambda one: _age(one.sticky))
        older = _age(newest.sticky) > _age(self._sticky)
        text = newest.comment.body if older else self._text
        unresolved = newest.sticky.unresolved if older else self._sticky.unresolved
        kept, others = found[0].comment, found[1:]
        if not _equals(kept.body, text):
            return self._update(kept, text, unresolved=unresolved, older=older)
        for one in others:
            self._forge.delete_comment(self._request, one.comment)
        if older:
            said = f"the text of run {newest.sticky.run} of {newest.sticky.at} is newer"
            return Put("older", kept.url, reason=said)
        if self._done is None:
            # After an unclear failure, what was sent is there.
            return Put(self._sent, kept.url)
        return replace(self._done, url=self._done.url or kept.url)

    def _update(self, kept: Comment, text: str, *, unresolved: bool, older: bool) -> Put | None:
        self._sent = "updated"
        try:
            made = self._forge.update_comment(self._request, kept, text, unresolved=unresolved)
        except (Unavailable, Throttled):
            if self._is_last():
                raise
            return None
        except Rejected as error:
            if error.status in {404, 410}:
                return None  # it was deleted since it was listed
            raise
        if not older and self._done is None:
            self._done = Put("updated", made.url or kept.url)
        if made.id != kept.id:
            # A dry run, or a new comment in place of one that may not be changed.
            return self._done or Put("older", made.url or kept.url)
        took_s = self._clock() - self._listed_at
        self._sleep(min(max(_SETTLE_S, _SETTLE_TIMES * took_s), _LONGEST_SETTLE_S))
        return None


def _find_ours(comments: Sequence[Comment], project: str, environment: str) -> list[_Found]:
    """The comments about a project and environment, oldest first."""
    read = ((one, read_comment(one.body)) for one in comments)
    return [
        _Found(comment, sticky)
        for comment, sticky in read
        if sticky is not None and (sticky.project, sticky.environment) == (project, environment)
    ]


def _age(sticky: Sticky) -> tuple[str, list[int], str]:
    """What orders two runs: their times, then their numbers."""
    return sticky.at, [int(one) for one in re.findall(r"\d{1,18}", sticky.run)], sticky.run


def write_comment(sticky: Sticky, most: int, forge: str) -> tuple[str, bool]:
    """The text of a comment with its marker, and whether it was cut to `most` characters."""
    lines = sticky.body.split("\n")
    if lines[0].startswith("<!-- reconciler plan"):
        lines = lines[1:]
    body = _normalize("\n".join(lines))
    room = most - measure(_write_marker(sticky, "")) - 2
    shown = body if measure(body) <= room else _cut(body, room, _say_cut(sticky, most, forge))
    return f"{_write_marker(sticky, shown)}\n{shown}\n", shown != body


def read_comment(body: str) -> Sticky | None:
    """What a comment says, if its first line is a marker of this program; None for any other."""
    first, _, rest = _normalize(body).partition("\n")
    found = _MARKER.fullmatch(first)
    if found is None:
        return None
    pairs = (pair.partition("=") for pair in found[1].split())
    named = {name: unquote(value) for name, _, value in pairs}
    if "project" not in named or not _AT.fullmatch(named.get("at", "")):
        return None
    return Sticky(
        named["project"],
        named.get("environment", ""),
        named.get("run", ""),
        named["at"],
        named.get("changes", ""),
        rest,
        unresolved="unresolved" in named,
        edited=named.get("text") != _digest(rest),
    )


def _write_marker(sticky: Sticky, shown: str) -> str:
    said: Mapping[str, str] = {
        "project": sticky.project,
        "environment": sticky.environment,
        "run": sticky.run,
        "at": sticky.at,
        "changes": sticky.changes,
        "unresolved": "yes" if sticky.unresolved else "",
        "text": _digest(shown),
    }
    pairs = " ".join(
        # Not every reader of Markdown lets a comment of HTML hold two hyphens.
        f"{name}={quote(value, safe=':').replace('--', '-%2D')}"
        for name, value in said.items()
        if value or name == "project"
    )
    return f"<!-- reconciler plan {pairs} -->"


def _digest(text: str) -> str:
    """Recognises a text that was changed. A program that writes as our account can make it too."""
    return hashlib.sha256(_normalize(text).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _normalize(text: str) -> str:
    """A text without what a forge may change: the kind of line ends, and blanks around it."""
    return re.sub(r"[ \t]+\n", "\n", text.replace("\r\n", "\n").replace("\r", "\n")).strip()


def _equals(one: str, other: str) -> bool:
    return _normalize(one) == _normalize(other)


def measure(text: str) -> int:
    """The characters of a text as the strictest forge may count them: units of UTF-16."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _say_cut(sticky: Sticky, most: int, forge: str) -> str:
    where = f" The whole text is in the job: <{sticky.url}>" if sticky.url else ""
    where = where or " The whole text is in the files of the job."
    return f"> ⚠ This comment was cut: {forge} takes {count(most, 'character')}.{where}"


def _cut(body: str, most: int, notice: str) -> str:
    """The first lines of a text that fit, with the ends of what they leave open, and the notice."""
    lines = body.split("\n")
    kept: list[str] = []
    room = most - measure(notice) - 2
    for line in lines:
        room -= measure(line) + 1
        if room < 0:
            break
        kept.append(line)
    while True:
        cut = "\n".join([*kept, *_close(kept), "", notice])
        over = measure(cut) - most
        if over <= 0 or not kept:
            return cut
        # What is left out may leave less to close, so no more than half of it at once.
        while over > 0 and kept:
            over -= 2 * (measure(kept.pop()) + 1)


def _close(lines: Sequence[str]) -> list[str]:
    """The lines that end the fence and the folded parts which are still open."""
    fence, folded = "", 0
    for line in lines:
        found = _FENCE.match(line)
        if fence:
            ends = found is not None and not found[2].strip() and found[1].startswith(fence)
            fence = "" if ends else fence
        elif found is not None:
            fence = found[1]
        else:
            folded += line.count("<details") - line.count("</details>")
    return [*([fence] if fence else []), *["", "</details>"] * max(folded, 0)]

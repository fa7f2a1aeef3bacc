"""Reads a keyring: the `allowed_signers` file of OpenSSH, which says who has which key.

The format is that of ssh-keygen(1), "ALLOWED SIGNERS", and the patterns are those of
ssh_config(5). Certificates are not accepted.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Final

from reconciler.model import Finding, SourceLocation
from reconciler.model.values import dataclass
from reconciler.plans.ssh_signatures import KEY_TYPES, BadSignature, SshKey, parse_key
from reconciler.text.times import format_utc

# Names and values of options, as OpenSSH writes them: namespaces="a,b",valid-after="20270101".
_OPTION: Final = re.compile(r'([A-Za-z-]+)(?:="((?:[^"\\]|\\.)*)")?(?:,|$)')
_WORD: Final = re.compile(r'"([^"]*)"(?=[ \t])|([^ \t]+)')
_OPTIONS: Final = re.compile(r'(?:[^ \t"]|"(?:[^"\\]|\\.)*")+')
# Only these separate words, and only a newline ends a line. Python knows more of both, by which a
# comment could bring in a line that no reviewer sees.
_BLANKS: Final = " \t"
_TIMES: Final = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
_TIME: Final = re.compile(r"([0-9]+)(Z|UTC)?", re.ASCII | re.IGNORECASE)
_VALUED: Final = ("namespaces", "valid-after", "valid-before")
_WILD: Final = frozenset("*?")
_MOST_PATTERN: Final = 1024
_FORM: Final = 'A line is: alice@example.com namespaces="reconciler-approval" ssh-ed25519 AAAA…'


@dataclass(frozen=True, slots=True)
class SignerLine:
    """One line of a keyring: who may sign with a key, what, and when.

    `principals` and `namespaces` are patterns; without `namespaces` the key may sign anything.
    """

    number: int
    principals: tuple[str, ...]
    key: SshKey
    namespaces: tuple[str, ...] = ()
    valid_after: datetime | None = None
    valid_before: datetime | None = None

    @property
    def name(self) -> str:
        """The first principal of the line; empty if it is a pattern of many."""
        first = self.principals[0]
        return "" if first.startswith("!") or _WILD & {*first} else first

    def find_obstacle(self, namespace: str, now: datetime) -> str:
        """Return why the key may not sign in a namespace now; empty if it may.

        The text follows the name of the key.
        """
        if self.namespaces and not match_patterns(namespace, self.namespaces):
            return (
                f"may not sign in the namespace {namespace}, by line {self.number} of the keyring"
            )
        if self.valid_after is not None and now < self.valid_after:
            return f"is not valid before {format_utc(self.valid_after)}"
        if self.valid_before is not None and now > self.valid_before:
            return f"was valid until {format_utc(self.valid_before)}"
        return ""


@dataclass(frozen=True, slots=True)
class Keyring:
    """The lines of a keyring; `file` is its name for people."""

    file: str
    lines: tuple[SignerLine, ...]

    def find(self, key: SshKey) -> list[SignerLine]:
        """Return the lines that have a key."""
        return [one for one in self.lines if one.key == key]

    def list_keys(self, names: Collection[str]) -> frozenset[str]:
        """Return the fingerprints of the keys of people; the names are casefolded."""
        return frozenset(
            line.key.fingerprint
            for line in self.lines
            if any(match_patterns(name, [*map(str.casefold, line.principals)]) for name in names)
        )

    def list_names(self, names: Collection[str]) -> frozenset[str]:
        """Return the names, and each other one that a key of these people has; all casefolded."""
        folded = frozenset(map(str.casefold, names))
        keys = self.list_keys(folded)
        others = (
            one.casefold()
            for line in self.lines
            for one in line.principals
            if line.key.fingerprint in keys and not (one.startswith("!") or _WILD & {*one})
        )
        return folded.union(others)


def match_patterns(text: str, patterns: Sequence[str]) -> bool:
    """Whether a text matches a list of patterns: one matches it, and none with `!` does."""
    refused = any(one.startswith("!") and _match(text, one[1:]) for one in patterns)
    return not refused and any(_match(text, one) for one in patterns if not one.startswith("!"))


def _match(text: str, pattern: str) -> bool:
    """Whether a text matches a pattern with `*` and `?`; the time is that of both lengths."""
    at = place = 0
    star, mark = -1, 0
    while at < len(text):
        if place < len(pattern) and pattern[place] == "*":
            star, mark, place = place, at, place + 1
        elif place < len(pattern) and pattern[place] in {"?", text[at]}:
            at, place = at + 1, place + 1
        elif star >= 0:
            mark += 1
            at, place = mark, star + 1
        else:
            return False
    return not pattern[place:].strip("*")


def parse_keyring(
    text: str, file: str, zone: tzinfo | None = None
) -> tuple[Keyring, tuple[Finding, ...]]:
    """Return the keyring in a text, and a finding with its place for each wrong line.

    A time without a zone is in `zone`; without one, in the time zone of the machine, as for
    OpenSSH.
    """
    lines: list[SignerLine] = []
    findings: list[Finding] = []
    for number, ended in enumerate(text.split("\n"), 1):
        line = ended.removesuffix("\r")
        if line.lstrip(_BLANKS)[:1] in {"", "#"}:
            continue
        try:
            lines.append(_parse_line(line, number, zone))
        except _BadLine as error:
            place = SourceLocation(file, number, error.column)
            findings.append(Finding(str(error), place=place, next_step=error.next_step))
    if not lines and not findings:
        place = SourceLocation(file, 1, 1)
        findings.append(Finding("the keyring has no key", place=place, next_step=_FORM))
    return Keyring(file, tuple(lines)), tuple(findings)


class _BadLine(ValueError):
    """A line that is not valid, with the column of the wrong part."""

    def __init__(self, message: str, column: int, next_step: str = _FORM) -> None:
        super().__init__(message)
        self.column = column
        self.next_step = next_step


def _parse_line(line: str, number: int, zone: tzinfo | None) -> SignerLine:
    at = _skip(line, 0)
    found = _WORD.match(line, at)
    assert found is not None  # noqa: S101 - the line is not blank
    principals = tuple(filter(None, (found[1] or found[2] or "").split(",")))
    if not principals or not all(one.strip("!") for one in principals):
        raise _BadLine("the line names no principal", at + 1)
    if any(len(one) > _MOST_PATTERN for one in principals):
        raise _BadLine(f"a principal has more than {_MOST_PATTERN:,} characters", at + 1)
    at = _skip(line, found.end())
    options: dict[str, str] = {}
    options_at = at
    if not _starts_key(line, at):
        said = _OPTIONS.match(line, at)
        options = dict(_parse_options(said[0] if said else "", at + 1))
        at = _skip(line, said.end() if said else at)
    key = _parse_key(line, at)
    after, before = (_parse_time(options, name, options_at + 1, zone) for name in _VALUED[1:])
    if after is not None and before is not None and after >= before:
        raise _BadLine("valid-before is not later than valid-after", options_at + 1)
    spaces = tuple(filter(None, options.get("namespaces", "").split(",")))
    if "namespaces" in options and not spaces:
        raise _BadLine("namespaces is empty", options_at + 1)
    return SignerLine(number, principals, key, spaces, after, before)


def _skip(line: str, at: int) -> int:
    return len(line) - len(line[at:].lstrip(_BLANKS))


def _split(text: str) -> list[str]:
    """Return the words of a text, without the comment after a key."""
    return [one for one in re.split(f"[{_BLANKS}]+", text, maxsplit=2) if one][:2]


def _starts_key(line: str, at: int) -> bool:
    word = _split(line[at:])
    return bool(word) and (word[0] in KEY_TYPES or "-cert-v0" in word[0] or word[0] == "ssh-dss")


def _parse_options(text: str, column: int) -> Iterator[tuple[str, str]]:
    at, known = 0, set()
    while at < len(text) or text.endswith(","):
        found = _OPTION.match(text, at)
        name = found[1].lower() if found else text[at:].partition(",")[0][:40]
        if name == "cert-authority":
            raise _BadLine(
                "cert-authority: certificates are not accepted",
                column + at,
                "Give each approver a line with the key itself, and leave out cert-authority.",
            )
        if found is None or name not in _VALUED or found[2] is None:
            raise _BadLine(f"{name!r} is not an option or a type of key", column + at)
        if name in known:
            raise _BadLine(f"{name} is given twice", column + at)
        known.add(name)
        yield name, re.sub(r"\\(.)", r"\1", found[2])
        at = found.end()


def _parse_key(line: str, at: int) -> SshKey:
    words = _split(line[at:])
    if len(words) < 2:
        raise _BadLine("the line has no key", at + 1)
    if "-cert-v0" in words[0]:
        step = "Name the key itself: the line of its .pub file."
        raise _BadLine("certificates are not accepted", at + 1, step)
    if words[0] not in KEY_TYPES:
        step = f"The types are {', '.join(KEY_TYPES)}."
        raise _BadLine(f"the type of key {words[0][:40]!r} is not accepted", at + 1, step)
    try:
        return parse_key(words[0], words[1])
    except BadSignature as error:
        raise _BadLine(f"the key {error}", line.index(words[1], at) + 1) from error


def _parse_time(
    options: Mapping[str, str], name: str, column: int, zone: tzinfo | None
) -> datetime | None:
    if name not in options:
        return None
    try:
        return _read_time(options[name], zone)
    except (ValueError, OverflowError) as error:
        step = "A time is YYYYMMDD, YYYYMMDDHHMM or YYYYMMDDHHMMSS; Z at its end means UTC."
        raise _BadLine(f"{name} {options[name][:40]!r} is not a time", column, step) from error


def _read_time(text: str, zone: tzinfo | None) -> datetime:
    found = _TIME.fullmatch(text)
    if found is None or len(found[1]) not in _TIMES:
        raise ValueError(text)
    moment = datetime.strptime(found[1], _TIMES[len(found[1])])  # noqa: DTZ007 - below
    zone = UTC if found[2] else zone
    return (moment.replace(tzinfo=zone) if zone else moment).astimezone(UTC)

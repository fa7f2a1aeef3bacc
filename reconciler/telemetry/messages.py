"""The messages of webhooks about new findings, in the generic form and in that of Slack.

A message never has a value of a service: it says what has changed where, since when, and which
command resolves it. `schemas/output/webhook.schema.json` defines the generic form. For Slack, text
from outside is in code spans, and what Slack would read as a link, a mention or markup is escaped.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

from reconciler.model import Drift, Json
from reconciler.model.values import dataclass
from reconciler.text.counting import count
from reconciler.text.json_text import canonical, escape_json

FORMAT_VERSION: Final = "1.0"
# More findings than this are one message, which names the gravest of them.
MOST_EACH: Final = 10
_LONGEST: Final = 300
_LONGEST_COMMAND: Final = 500
_MOST_COMMANDS: Final = 3
# Slack refuses a text of more than 3,000 characters.
_MOST_IN_SLACK: Final = 2
_LONGEST_NAME: Final = 120
_LONGEST_ADDRESS: Final = 1_000
_GRAVITY: Final = {"error": 0, "warning": 1, "note": 2}
# Cc: control characters. Cf: invisible characters, which can reverse or hide text. Cs: surrogates.
_HARMFUL: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})


@dataclass(frozen=True, slots=True)
class Message:
    """A JSON document in UTF-8, and the keys of the findings that it reports."""

    body: bytes
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the findings are from; `environment` and `report_url` may be empty."""

    project: str
    environment: str
    report_url: str


def make_messages(form: str, findings: Sequence[Drift], origin: Origin) -> list[Message]:
    """One message for each finding, the gravest first; of more than ten, one summary."""
    graded = sorted(findings, key=lambda one: _GRAVITY[one.verdict.severity])
    if len(graded) > MOST_EACH:
        document = (_sum_up_for_slack if form == "slack" else _sum_up)(graded, origin)
        return [_make_message(document, graded)]
    describe = _describe_for_slack if form == "slack" else _describe
    return [_make_message(describe(one, origin), [one]) for one in graded]


def _make_message(document: Json, findings: Sequence[Drift]) -> Message:
    body = escape_json(canonical(document)).encode()
    return Message(body, tuple(one.key for one in findings))


def _describe(one: Drift, origin: Origin) -> Json:
    return {
        **_head("finding", f"{one.resource.address}: {one.verdict.value}", origin),
        "resource": _bound(str(one.resource.address)),
        "finding": {
            "key": one.key,
            "verdict": one.verdict.value,
            "severity": one.verdict.severity,
            "pointer": _bound(one.pointer),
            "note": _bound(one.note),
            "place": asdict(one.place) if one.place is not None else None,
        },
        "since": one.since,
        "settle": _list_commands(one),
    }


def _sum_up(findings: Sequence[Drift], origin: Origin) -> Json:
    return {
        **_head("summary", f"{count(len(findings), 'new finding')}", origin),
        "findings": len(findings),
        "counts": _count(findings),
        "gravest": [
            {
                "resource": _bound(str(one.resource.address)),
                "verdict": one.verdict.value,
                "pointer": _bound(one.pointer),
            }
            for one in findings[:MOST_EACH]
        ],
    }


def _head(kind: str, said: str, origin: Origin) -> dict[str, Json]:
    where = f"{origin.project} {origin.environment}".rstrip()
    return {
        "format_version": FORMAT_VERSION,
        "type": kind,
        "text": _bound(f"{where}: {said}"),
        "project": origin.project,
        "environment": origin.environment,
        "report_url": origin.report_url,
    }


def _describe_for_slack(one: Drift, origin: Origin) -> Json:
    said = f"{_name(origin)}: {_code(str(one.resource.address))} is *{one.verdict.value}*"
    lines = [said]
    if one.pointer:
        lines.append(f"at {_code(one.pointer)}")
    if one.note:
        lines.append(_code(one.note))
    if one.since:
        lines.append(f"first seen {one.since.replace('T', ' ').removesuffix('Z')} UTC")
    lines += [f"resolve it: {_code(command)}" for command in _list_commands(one)[:_MOST_IN_SLACK]]
    return _write_for_slack(lines, origin)


def _sum_up_for_slack(findings: Sequence[Drift], origin: Origin) -> Json:
    counts = ", ".join(f"{number} {verdict}" for verdict, number in _count(findings).items())
    lines = [f"{_name(origin)}: *{count(len(findings), 'new finding')}*", counts]
    lines += [
        f"{_code(str(one.resource.address), _LONGEST_NAME)} is {one.verdict.value}"
        for one in findings[:MOST_EACH]
    ]
    more = len(findings) - MOST_EACH
    return _write_for_slack([*lines, f"and {more:,} more"], origin)


def _write_for_slack(lines: list[str], origin: Origin) -> Json:
    address = _escape(origin.report_url).replace("|", "%7C")
    if address and len(address) <= _LONGEST_ADDRESS:
        lines = [*lines, f"<{address}|Open the report>"]
    # Without `verbatim`, Slack makes links and mentions of words in plain text.
    text = {"type": "mrkdwn", "text": "\n".join(lines), "verbatim": True}
    return {
        "text": lines[0],
        "blocks": [{"type": "section", "text": text}],
        "unfurl_links": False,
        "unfurl_media": False,
    }


def _name(origin: Origin) -> str:
    parts = [origin.project, origin.environment]
    return " ".join(_code(part) for part in parts if part)


def _count(findings: Sequence[Drift]) -> dict[str, int]:
    """The number of findings by their verdict, the gravest first."""
    return dict(Counter(one.verdict.value for one in findings))


def _list_commands(one: Drift) -> list[str]:
    return [command[:_LONGEST_COMMAND] for command in one.commands[:_MOST_COMMANDS]]


def _code(text: str, most: int = _LONGEST) -> str:
    """The text in a code span of Slack, on one line, with at most so many characters escaped."""
    escaped = [_escape(one).replace("`", "\u2019") for one in _bound(text)]
    size, kept = 0, []
    for one in escaped:
        size += len(one)
        if size > most:
            kept.append("…")
            break
        kept.append(one)
    return f"`{''.join(kept) or ' '}`"


def _escape(text: str) -> str:
    """The text with the three characters escaped that begin or end a link or a mention."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _bound(text: str) -> str:
    """The text without characters that move, hide or reverse text, and without its far end."""
    shown = "".join(
        " " if unicodedata.category(one) in _HARMFUL else one for one in text[: _LONGEST + 1]
    )
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}…"

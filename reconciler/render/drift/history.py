"""Says what surrounds the findings of a drift report: news, age, trend, and what is ignored.

The text and Markdown renderers share these sentences.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from reconciler.document.pointers import split_pointer
from reconciler.model import Drift, DriftReport, DriftRun, IgnoreRule, Verdict
from reconciler.render.words.escape import cut, show_path
from reconciler.text.counting import agree, count
from reconciler.text.durations import show_age
from reconciler.text.times import parse_utc, seconds_since

_RUNS_SHOWN: Final = 10
_IGNORED_SHOWN: Final = 50
_LONGEST: Final = 200
# The trend counts the same resources in a run with --unmanaged and in one without it.
CALM: Final = (Verdict.IN_SYNC, Verdict.UNMANAGED)


def describe_age(findings: Sequence[Drift], now: str) -> str:
    """Returns such as `first seen 2026-11-20, 9 d ago` of the same finding of several resources."""
    since = min(one.since for one in findings)
    if not since:
        return ""
    seconds = seconds_since(since, parse_utc(now))
    age = f", {show_age(seconds)} ago" if seconds >= 1 else ""
    return f"first seen {since[:10]}{age}{_mark_new(findings)}"


def _mark_new(findings: Sequence[Drift]) -> str:
    new = sum(one.is_new for one in findings)
    if not new:
        return ""
    return " (new)" if new == len(findings) else f" ({new:,} of {len(findings):,} new)"


def count_new(report: DriftReport) -> str:
    """Returns a sentence on how many findings are new and how old the others are, or ""."""
    found = [one for one in report.findings if one.verdict is not Verdict.NOT_OBSERVABLE]
    if not found:
        return ""
    known = [one for one in found if not one.is_new]
    new = len(found) - len(known)
    if not known:
        return f"Findings: {new:,} new."
    oldest = max(seconds_since(one.since, parse_utc(report.made_at)) for one in known)
    age = f"; the oldest was first seen {show_age(oldest)} ago" if oldest >= 1 else ""
    return f"Findings: {new:,} new, {len(known):,} known{age}."


def count_known(report: DriftReport) -> str:
    """Returns a sentence on the findings that --new-only leaves out, or ""."""
    if not report.known:
        return ""
    oldest = max(seconds_since(one.since, parse_utc(report.made_at)) for one in report.known)
    age = f"; the oldest was first seen {show_age(oldest)} ago" if oldest >= 1 else ""
    found = count(len(report.known), "known finding")
    return f"Left out: {found}, which --new-only does not count{age}."


def describe_trend(report: DriftReport) -> str:
    """Returns a sentence with the counts of the last runs, or "" if there is only this one."""
    runs = report.runs[-_RUNS_SHOWN:]
    if len(runs) < 2:
        return ""
    counts = " ".join(f"{count_away(run):,}" for run in runs)
    return f"Trend: {counts} not in sync in the last {count(len(runs), 'run')}."


def count_away(run: DriftRun) -> int:
    """Counts the managed resources of a run that were not in sync."""
    return sum(number for verdict, number in run.counts.items() if verdict not in CALM)


def count_ignored(report: DriftReport) -> str:
    """Returns a sentence on how many findings the rules of .driftignore ignore, or ""."""
    rules = len({one.rule for one in report.ignored})
    found = count(len(report.ignored), "finding")
    return f"Ignored: {found} by {count(rules, 'rule')} of .driftignore." if rules else ""


def list_ignored(report: DriftReport) -> Iterator[str]:
    """Yields a line without markup for each ignored finding; at most 50, and then their number."""
    for one in report.ignored[:_IGNORED_SHOWN]:
        place = f" {show_path(split_pointer(one.pointer))}" if one.pointer else ""
        rule = describe_rule(one.rule) if one.rule is not None else ""
        yield f"{one.resource.address} {one.verdict.value}{place}: {rule}"
    more = len(report.ignored) - _IGNORED_SHOWN
    if more > 0:
        yield f"and {count(more, 'more finding', 'more findings')}, which --format json lists"


def count_overwritten(report: DriftReport) -> str:
    """Returns a sentence on what applies have overwritten before a report had it, or ""."""
    if not report.overwritten:
        return ""
    found = count(len(report.overwritten), "finding")
    return f"Overwritten by an apply before a report had it: {found} of the last 7 days."


def list_overwritten(report: DriftReport) -> Iterator[str]:
    """Yields a line without markup for each of these; at most 50, and then their number."""
    for one in report.overwritten[:_IGNORED_SHOWN]:
        place = f" {show_path(split_pointer(one.pointer))}" if one.pointer else ""
        address = one.resource.address
        said = f"{cut(one.note, _LONGEST)}; reconciler history {address}"
        yield f"{address} {one.verdict.value}{place}: {said}"
    more = len(report.overwritten) - _IGNORED_SHOWN
    if more > 0:
        yield f"and {count(more, 'more finding', 'more findings')}, which --format json lists"


def count_expired(report: DriftReport) -> str:
    """Returns a sentence on how many rules of .driftignore have expired, or ""."""
    expired = len(report.expired)
    them = agree(expired, "it", "them")
    said = f"Expired: {count(expired, 'rule')} of .driftignore. Renew or remove {them}."
    return said if expired else ""


def list_expired(report: DriftReport) -> Iterator[str]:
    """Yields a line without markup for each expired rule; at most 50, and then their number."""
    for rule in report.expired[:_IGNORED_SHOWN]:
        what = [rule.address, rule.pointer, rule.verdict.value if rule.verdict else ""]
        yield f"{rule.place} {' '.join(filter(None, what))}: {describe_rule(rule)}"
    more = len(report.expired) - _IGNORED_SHOWN
    if more > 0:
        yield f"and {count(more, 'more rule', 'more rules')}"


def describe_rule(rule: IgnoreRule) -> str:
    """Returns the reason, the last day and the owner of a rule, in one line."""
    return f"{cut(rule.reason, _LONGEST)} (until {rule.until}, {cut(rule.owner, _LONGEST)})"

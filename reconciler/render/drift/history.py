"""Says how a drift report compares with earlier runs: what is new, the age, and the trend.

The text and Markdown renderers share these sentences.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from reconciler.model import Drift, DriftReport, DriftRun, Verdict
from reconciler.text.counting import count
from reconciler.text.durations import show_duration
from reconciler.text.times import parse_utc, seconds_since

_RUNS_SHOWN: Final = 10
# The trend counts the same resources in a run with --unmanaged and in one without it.
_CALM: Final = (Verdict.IN_SYNC, Verdict.UNMANAGED)


def describe_age(findings: Sequence[Drift], now: str) -> str:
    """Returns such as `first seen 2026-11-20, 9 d ago` of the same finding of several resources."""
    since = min(one.since for one in findings)
    if not since:
        return ""
    seconds = seconds_since(since, parse_utc(now))
    age = f", {show_duration(seconds)} ago" if seconds >= 1 else ""
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
    age = f"; the oldest was first seen {show_duration(oldest)} ago" if oldest >= 1 else ""
    return f"Findings: {new:,} new, {len(known):,} known{age}."


def describe_trend(report: DriftReport) -> str:
    """Returns a sentence with the counts of the last runs, or "" if there is only this one."""
    runs = report.runs[-_RUNS_SHOWN:]
    if len(runs) < 2:
        return ""
    counts = " ".join(f"{count_away(run):,}" for run in runs)
    return f"Trend: {counts} not in sync in the last {count(len(runs), 'run')}."


def count_away(run: DriftRun) -> int:
    """Counts the managed resources of a run that were not in sync."""
    return sum(number for verdict, number in run.counts.items() if verdict not in _CALM)

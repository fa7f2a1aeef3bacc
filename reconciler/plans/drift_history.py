"""Recognises the findings of earlier drift runs by their keys, dates them, and adds a run.

It also finds the drift that a plan overwrites. It must not read or write the history. The drift
report and the apply of the engine, and the ledgers, call it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final

from reconciler.document.pointers import find, split_pointer
from reconciler.document.schema import Field
from reconciler.model import (
    ABSENT,
    Cause,
    Drift,
    DriftPast,
    DriftReport,
    DriftRun,
    Json,
    Resource,
    Step,
    Verdict,
)
from reconciler.plans.drift import is_hidden
from reconciler.text.json_text import encode_canonical
from reconciler.text.times import format_utc, parse_utc

MOST_RUNS: Final = 30
# Twice the resources of the largest project. What is left out has a new date the next time.
MOST_OPEN: Final = 200_000
MOST_OVERWRITTEN: Final = 1_000
# How long each report shows what an apply has overwritten.
_SHOWN_FOR: Final = timedelta(days=7)
_RESOURCE_DIGITS: Final = 8
_DIGITS: Final = 16
_KEY_DIGITS: Final = _RESOURCE_DIGITS + _DIGITS


def make_key(finding: Drift) -> str:
    """Return the digest that names the same difference in each run.

    A hidden value is not a part of it. Another resource of the same address has other keys. All
    keys of a resource begin alike, so that a run knows which earlier findings it has looked at.
    """
    live = [] if finding.live is ABSENT else [finding.live]
    address = str(finding.resource.address)
    said = [address, finding.resource.id.casefold(), finding.verdict.value, finding.pointer, live]
    return _begin_key(finding.resource) + _digest(said, _DIGITS)


def _begin_key(resource: Resource) -> str:
    return _digest([str(resource.address), resource.id.casefold()], _RESOURCE_DIGITS)


def _digest(said: Json, digits: int) -> str:
    return hashlib.sha256(encode_canonical(said)).hexdigest()[:digits]


def date_finding(finding: Drift, past: DriftPast, now: str) -> Drift:
    """Return a finding with its key, when it was first seen, and whether it is new.

    A date in the future is that of a clock that was wrong: it counts as `now`.
    """
    key = make_key(finding)
    since = min(past.since.get(key, now), now)
    return replace(finding, key=key, since=since, is_new=key not in past.since)


def find_open(
    past: DriftPast, findings: Sequence[Drift], looked_at: Collection[Resource] | None
) -> dict[str, str]:
    """Return the date of each finding that is open after a run, by its key.

    `looked_at` are the resources of which the run found everything; None means all resources. An
    earlier finding of another resource stays open: the run cannot know that it is resolved.
    """
    found = {one.key: one.since for one in findings}
    if looked_at is None:
        return found
    begins = {_begin_key(one) for one in looked_at}
    kept = {key: since for key, since in past.since.items() if key[:_RESOURCE_DIGITS] not in begins}
    return kept | found


def add_run(
    stored: DriftPast, loaded: DriftPast, run: DriftRun | None, since: Mapping[str, str]
) -> DriftPast:
    """Return the history with one more run; None is a run over a part of the project.

    `loaded` is what the run knew, and `stored` may be newer: another run may have written since.
    What that run added stays, and the earlier of two dates counts. A run that is there already was
    written by a call whose reply was lost.
    """
    more = [run] if run is not None and run not in stored.runs else []
    added = {key: at for key, at in stored.since.items() if key not in loaded.since}
    merged = dict(added)
    for key, at in since.items():
        merged[key] = min(at, stored.since.get(key, at))
    return replace(
        stored,
        lost=None,
        runs=(*stored.runs, *more)[-MOST_RUNS:],
        since=dict(list(merged.items())[-MOST_OPEN:]),
        sent=frozenset(one for one in stored.sent if one[:_KEY_DIGITS] in merged),
    )


def find_overwritten(
    steps: Iterable[Step], fields: Callable[[str], Field], by: str, now: str
) -> Iterator[Drift]:
    """Yield the drift that steps overwrite, as the drift report has it, but without values.

    `fields` has the schema of each kind. `by` is who applies, at the time `now`, in UTC.
    """
    for step in steps:
        for reason in step.reasons:
            verdict = _VERDICTS.get(reason.cause)
            if verdict is None:
                continue
            path, schema = split_pointer(reason.pointer), fields(step.resource.address.kind)
            if verdict is Verdict.DRIFTED and schema.at(path).model:
                verdict = Verdict.MODEL_SWAPPED
            hidden = is_hidden(schema, path)
            gone = hidden or verdict is Verdict.MISSING
            live = ABSENT if gone else find(step.before, path)
            found = Drift(
                step.resource, verdict, reason.pointer, live=live, hidden=hidden, note=by, since=now
            )
            yield replace(found, key=make_key(found), live=ABSENT, is_new=False)


_VERDICTS: Final[Mapping[Cause, Verdict]] = {
    Cause.DRIFT: Verdict.DRIFTED,
    Cause.CONFLICT: Verdict.CONFLICT,
    Cause.GONE: Verdict.MISSING,
}


def add_overwritten(stored: DriftPast, findings: Collection[Drift], now: str) -> DriftPast:
    """Return the history with what an apply overwrites, unless a run has found it already."""
    recent = _find_recent(stored.overwritten, now)
    known = {*stored.since, *(one.key for one in recent)}
    more = (one for one in findings if one.key not in known)
    return replace(stored, overwritten=(*recent, *more)[-MOST_OVERWRITTEN:])


def _find_recent(findings: Iterable[Drift], now: str) -> list[Drift]:
    oldest = format_utc(parse_utc(now) - _SHOWN_FOR)
    return [one for one in findings if oldest <= one.since]


def list_overwritten(past: DriftPast, report: DriftReport) -> tuple[Drift, ...]:
    """Return what an apply of the last days has overwritten, unless the report has it as well."""
    found = {one.key for one in (*report.findings, *report.ignored)}
    recent = _find_recent(past.overwritten, report.made_at)
    return tuple(one for one in recent if one.key not in found)


def add_sent(stored: DriftPast, keys: Collection[str]) -> DriftPast:
    """Return the history with more keys that webhooks have reported; bounded as the open ones."""
    sent = sorted(stored.sent.union(keys))[:MOST_OPEN]
    return replace(stored, sent=frozenset(sent))

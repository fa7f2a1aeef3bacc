"""Decides from a read whether a write was applied; no other evidence is used.

The service may have applied the write or not, or another client may have written since. The
desired values and the preconditions of the write distinguish these cases. Three callers use
`assess_intent`: the recovery, a write that got no reply, and the read after a reported success. It
is long because all that a read can prove about a write is decided in one place.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import takewhile
from typing import Final

from reconciler.document.diff import diff, is_not_observable, is_omitted, same
from reconciler.document.identity import is_same_creation, read_creation_time
from reconciler.document.overlay import overlay, says_nothing
from reconciler.document.patch import (
    MISFITS,
    Mismatch,
    apply_operations,
    check_operations,
    check_preconditions,
    find_reordered,
)
from reconciler.document.pointers import find, format_pointer, split_pointer
from reconciler.document.schema import Field, find_failed_places, find_separate_part
from reconciler.errors import NotApplied
from reconciler.model import (
    ABSENT,
    Absent,
    Action,
    Address,
    Declared,
    Finding,
    Intent,
    Json,
    LastApplied,
    Live,
    Path,
    Step,
    StepResult,
)
from reconciler.model.values import dataclass
from reconciler.plans.history import is_hidden
from reconciler.plans.step import Comparison, find_moved_epochs

CREATED_ANEW: Final = "it was deleted and created again"
_ANOTHER: Final = "another resource with its id was created since"
# After these actions the id still names the same resource, or none.
_SAME_RESOURCE: Final = (Action.UPDATE, Action.DELETE)
PLAN_AGAIN: Final = "Plan again: the live state has changed since this plan was made."
_AGAIN: Final = "Plan again to see what is live; if it persists, look for a second writer."
_DECLARE: Final = "Declare it: the service fills in what the definition leaves out."
_MOST: Final = 20


@dataclass(frozen=True, slots=True)
class Evidence:
    """The result of a write as a read shows it, with a short reason in `note`.

    `shown` has one text for each place with another value than the desired one, for example
    "4 at /calls". `removed` is True if the write was to remove all these places.
    """

    result: StepResult
    note: str
    shown: tuple[str, ...] = ()
    removed: bool = False

    def claim(self, done: str = "done") -> str:
        """Return the result as a sentence, for a step that ended with an error.

        `done` is the word for the intended result: "done" or "restored".
        """
        if self == _HALF:
            return f"It is gone, and {_NOT_CREATED}."
        return f"{_CLAIMS[self.result, done]}: {self.note}."


_CLAIMS: Final = {
    (StepResult.DONE, "done"): "It was done despite the error",
    (StepResult.NOT_DONE, "done"): "Nothing was changed",
    (StepResult.UNKNOWN, "done"): "It is not known whether it was done",
    (StepResult.DONE, "restored"): "It was restored despite the error",
    (StepResult.NOT_DONE, "restored"): "Nothing was restored",
    (StepResult.UNKNOWN, "restored"): "It is not known whether it was restored",
}
_NOT_CREATED: Final = "its replacement does not exist"
_HALF: Final = Evidence(StepResult.UNKNOWN, f"it is gone, and {_NOT_CREATED}")


@dataclass(frozen=True, slots=True)
class _Place:
    """A place and the value that a write leaves there; `removed` is True for a removal only."""

    path: Path
    wanted: Json | Absent
    removed: bool = False


def assess_intent(
    field: Field, intent: Intent, live: Live | Absent, before: Live | Absent | None = None
) -> Evidence:
    """Return the result of an intent from a read that followed the end of its operation.

    `before` is the read immediately before the write. Pass it only if the service reported
    success: then a value that is not observable counts as done.
    """
    evidence = _assess(field, intent, live, before)
    if live is ABSENT or evidence.result is not StepResult.DONE:
        return evidence
    failed = _find_failed_part(field, intent, live.document)
    return _unknown(failed) if failed else evidence


def _assess(
    field: Field, intent: Intent, live: Live | Absent, before: Live | Absent | None
) -> Evidence:
    anew = live is not ABSENT and not is_same_creation(field, intent.created, live.document)
    if intent.action is Action.DELETE and not anew:
        return _done("it is gone") if live is ABSENT else _not_done("it is still there")
    if anew and intent.action in _SAME_RESOURCE:
        return _assess_created_anew(intent.action)
    if live is ABSENT:
        return _assess_absence(intent.action)
    try:
        places = list(_find_places(field, intent.patch, live.document))
        whole = _find_whole(field, intent, before)
    except MISFITS:
        return _unknown("the ledger does not show what was sent")
    wrong = [one for one in places if not _is_there(field, live.document, one)]
    wrong = wrong or list(_find_lost(field, whole, live.document))
    if before is not None and not wrong:
        return _done("live has what was sent")
    if intent.action is Action.CREATE:
        found = _assess_creation(field, intent, live.document, wrong)
    else:
        found = _assess_change(field, intent, live, places, wrong)
    shown = tuple(_show(field, live.document, one) for one in wrong)
    return replace(found, shown=shown, removed=all(one.removed for one in wrong))


def _find_failed_part(field: Field, intent: Intent, live: Json) -> str:
    """Return what reports that the last operation on a separate part of the write failed.

    Such a part shows what was sent although it does not have it.
    """
    paths = (split_pointer(op["path"]) for op in intent.patch if op["op"] != "test")
    written = {find_separate_part(field, path) for path in paths} - {()}
    for path, failed in find_failed_places(field, live):
        if find_separate_part(field, path) in written:
            return f"{format_pointer(path)} is {failed}"
    return ""


def _assess_created_anew(action: Action) -> Evidence:
    """Return the result of a write after which another resource has the id."""
    return (
        _done(f"it is gone, and {_ANOTHER}") if action is Action.DELETE else _unknown(CREATED_ANEW)
    )


def _assess_absence(action: Action) -> Evidence:
    if action is Action.CREATE:
        return _not_done("it is not there")
    return _HALF if action is Action.REPLACE else _unknown("it is gone")


def _assess_creation(field: Field, intent: Intent, live: Json, wrong: Sequence[_Place]) -> Evidence:
    if wrong:
        return _unknown(f"it is there, with another value at {format_pointer(wrong[0].path)}")
    paths = (split_pointer(op["path"]) for op in intent.patch if op["op"] != "test")
    omitted = next((path for path in paths if is_omitted(field, path, live)), None)
    if omitted is not None:
        at = format_pointer(omitted)
        return _unknown(f"it is there, and whether it has what was sent at {at} is not observable")
    return _done("it is there as it was sent")


def _assess_change(
    field: Field, intent: Intent, live: Live, places: Sequence[_Place], wrong: Sequence[_Place]
) -> Evidence:
    if not places:
        # No value of the write is observable, but every change moves the stamp.
        if live.idle and live.stamp and live.stamp == intent.stamp:
            return _not_done("the service has not changed since")
        return _unknown("what was written is not observable")
    moved = next(check_preconditions(field, intent.patch, intent.absences, live.document), None)
    if moved is None:
        return _not_done("live is as it was before")
    if wrong:
        return _unknown(f"live has another value at {format_pointer(wrong[0].path)}")
    lost = _find_unproven(field, intent, places, live.document)
    return _unknown(lost) if lost else _done("live has what was sent")


def _find_unproven(field: Field, intent: Intent, places: Sequence[_Place], live: Json) -> str:
    """Return what is not proven of a write whose observable places are as they were sent.

    A call that moves an epoch is sent before the rest of the step, so it does not prove the rest.
    """
    epoch = next((one.path for one in places if field.at(one.path).epoch), None)
    paths = (split_pointer(op["path"]) for op in intent.patch if op["op"] != "test")
    omitted = next((path for path in paths if is_omitted(field, path, live)), None)
    if epoch is None or omitted is None:
        return ""
    at = format_pointer(omitted)
    return f"{format_pointer(epoch)} is as it was sent, and whether {at} is, is not observable"


def _find_places(field: Field, patch: Sequence[Json], live: Json) -> Iterator[_Place]:
    """Yield each observable place with the value that the patch leaves; a list is one place.

    The whole document is not a place here. `_find_whole` compares it where a write contains it.
    """
    lists = {
        op["path"]: op["value"]
        for op in patch
        if op["op"] == "test" and isinstance(op["value"], list)
    }
    found: dict[str, _Place] = {}
    for op in patch:
        if op["op"] == "test":
            continue
        at = next((one for one in lists if op["path"].startswith(f"{one}/")), op["path"])
        known = found.get(at)
        if at == op["path"]:
            wanted = op.get("value", ABSENT)
        else:
            inside = {**op, "path": op["path"][len(at) :]}
            wanted = apply_operations([inside], known.wanted if known else lists[at])
        removed = op["op"] == "remove" and (known is None or known.removed)
        found[at] = _Place(split_pointer(at), wanted, removed)
    yield from (one for one in found.values() if one.path and _is_seen(field, one, live))


def _is_seen(field: Field, place: _Place, live: Json) -> bool:
    below = field.at(place.path)
    container = place.wanted == {} and below.branches
    # A call of its own has set it. No other write has a read-only place.
    called = below.read_only and not below.write_only
    return called or not (container or is_not_observable(field, place.path, live))


def _is_there(field: Field, live: Json, place: _Place) -> bool:
    """Whether live has the desired value; a removed value may still be there if it is empty."""
    below, have = field.at(place.path), find(live, place.path)
    gone = place.wanted is ABSENT and says_nothing(below, have)
    return gone or same(below, place.wanted, have)


def _find_whole(field: Field, intent: Intent, before: Live | Absent | None) -> Json | Absent:
    """Return the document that was sent; ABSENT for a partial write or an unknown start."""
    changes = [op for op in intent.patch if op["op"] != "test"]
    if intent.action is Action.CREATE:
        return apply_operations(changes, ABSENT)
    if before is None or before is ABSENT or intent.body != "whole":
        return ABSENT
    start = before.document
    seen = (op for op in changes if not is_not_observable(field, split_pointer(op["path"]), start))
    return apply_operations(seen, start)


def _find_lost(field: Field, whole: Json | Absent, live: Json) -> Iterator[_Place]:
    """Yield the values of a sent document that live does not have, except empty ones."""
    for change in diff(field, live, overlay(field, live, whole)):
        if not says_nothing(field.at(change.path), change.after):
            yield _Place(change.path, change.after)


def _show(field: Field, live: Json, place: _Place) -> str:
    have = find(live, place.path)
    hidden = is_hidden(field, place.path, have, place.wanted)
    return f"{'another value' if hidden else show_value(have)} at {format_pointer(place.path)}"


def show_value(value: Json | Absent) -> str:
    """Return a value as one line of bounded length."""
    text = "nothing" if value is ABSENT else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 200 else f"{text[:120]} … {text[-60:]}"


def _done(note: str) -> Evidence:
    return Evidence(StepResult.DONE, note)


def _not_done(note: str) -> Evidence:
    return Evidence(StepResult.NOT_DONE, note)


def _unknown(note: str) -> Evidence:
    return Evidence(StepResult.UNKNOWN, note)


def not_applied(address: Address, evidence: Evidence) -> NotApplied:
    """Return the error for a reported success that live does not show."""
    shown = evidence.shown
    what = f"it still has {shown[0]}" if shown else evidence.note
    more = (f"… and {len(shown) - _MOST} more",) if len(shown) > _MOST else ()
    finding = Finding(
        f"not applied: the service reports success and {what}",
        subject=str(address),
        detail=(*(f"Also {one}" for one in shown[1:_MOST]), *more),
        next_step=_DECLARE if shown and evidence.removed else _AGAIN,
    )
    return NotApplied((finding,))


def check_stale(field: Field, step: Step, live: Live | Absent) -> Iterator[Finding]:
    """Yield a finding for each precondition of a step that live does not meet."""
    subject = str(step.resource.address)
    if step.action is Action.CREATE:
        if live is not ABSENT:
            yield Finding(
                "Saved plan is stale: it exists now", subject=subject, next_step=PLAN_AGAIN
            )
        return
    if live is ABSENT:
        yield Finding("Saved plan is stale: it is gone", subject=subject, next_step=PLAN_AGAIN)
        return
    created = read_creation_time(field, step.before)
    if not is_same_creation(field, created, live.document):
        yield _report_created_anew(subject)
        return
    mismatches = tuple(check_preconditions(field, step.ops, step.absences, live.document))
    mismatches = mismatches or tuple(find_reordered(field, step.ops, live.document))
    misfit = None if mismatches else check_operations(step.ops, live.document)
    if misfit is not None:
        said = f"Saved plan is stale: {misfit} does not fit the live document any more"
        yield Finding(said, subject=subject, next_step=PLAN_AGAIN)
    for found in mismatches:
        yield Finding(
            f"Saved plan is stale: {found.pointer} has changed",
            subject=subject,
            detail=_describe(field, found),
            next_step=PLAN_AGAIN,
        )


def _describe(
    field: Field, found: Mismatch, expected: str = "The plan relies on:"
) -> tuple[str, ...]:
    if is_hidden(field, split_pointer(found.pointer), found.expected, found.found):
        return ()
    return (
        f"{expected} {show_value(found.expected)}",
        f"{'The service has:':{len(expected)}} {show_value(found.found)}",
    )


def check_done(
    field: Field, step: Step, last_applied: LastApplied, live: Live | Absent
) -> Iterator[Finding]:
    """Yield a finding for each place where live no longer has what an earlier run wrote.

    `last_applied` is what the ledger recorded when that run had done the step. A value that the
    service does not show counts as unchanged, unless an epoch changed since.
    """
    subject = str(step.resource.address)
    if live is ABSENT:
        yield Finding("Saved plan is stale: it is gone", subject=subject, next_step=PLAN_AGAIN)
        return
    if not is_same_creation(field, last_applied.created, live.document):
        yield _report_created_anew(subject)
        return
    for place in _find_reverted(field, step, live.document):
        have = Mismatch(format_pointer(place.path), place.wanted, find(live.document, place.path))
        yield Finding(
            f"Saved plan is stale: {have.pointer} has changed since this plan wrote it",
            subject=subject,
            detail=_describe(field, have, "The plan wrote: "),
            next_step=PLAN_AGAIN,
        )
    if any(is_omitted(field, change.path, live.document) for change in step.changes):
        known = Comparison(
            step.resource, field, live.document, Declared({}), last_applied=last_applied
        )
        for path in find_moved_epochs(known):
            said = f"{format_pointer(path)} has changed, which may have undone what this plan wrote"
            yield Finding(f"Saved plan is stale: {said}", subject=subject, next_step=PLAN_AGAIN)


def _report_created_anew(subject: str) -> Finding:
    said = f"Saved plan is stale: {CREATED_ANEW}"
    return Finding(said, subject=subject, next_step=PLAN_AGAIN)


def _find_reverted(field: Field, step: Step, live: Json) -> Iterator[_Place]:
    """Yield the observable places where live does not have what a step leaves there."""
    after = step.after
    if step.action is not Action.UPDATE:
        yield from _find_lost(field, after, live)
        return
    # A list is one place: its items may have other indices now. An object that was created for the
    # values in it is not compared: the service may have filled in others.
    named = (
        tuple(takewhile(_is_name, change.path))
        for change in step.changes
        if not (change.after == {} and field.at(change.path).branches)
    )
    for path in dict.fromkeys(named):
        place = _Place(path, find(after, path))
        if _is_seen(field, place, live) and not _is_there(field, live, place):
            yield place


def _is_name(segment: str | int) -> bool:
    return isinstance(segment, str)

"""What became of a step whose outcome nobody wrote down: by what is live, and by nothing else.

The service may have done what was sent, or not, or somebody else may have written since. Only
what the step wanted and what it relied on can tell these apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from reconciler.document.diff import diff, is_not_observable, is_omitted, same
from reconciler.document.overlay import overlay, says_nothing
from reconciler.document.patch import (
    MISFITS,
    Mismatch,
    apply_operations,
    check_operations,
    check_preconditions,
)
from reconciler.document.pointers import find, format_pointer, split_pointer
from reconciler.document.schema import Field
from reconciler.errors import NotApplied
from reconciler.model import (
    ABSENT,
    Absent,
    Action,
    Change,
    Finding,
    Intent,
    Json,
    Live,
    Path,
    Step,
    StepResult,
    Verb,
)

_AGAIN: Final = "Plan again to see what is live; if it persists, look for a second writer."
_DECLARE: Final = "Declare it: the service fills in what the definition leaves out."
_MOST: Final = 20


PLAN_AGAIN: Final = "Plan again: what is live has moved since this plan was made."


@dataclass(frozen=True, slots=True)
class Evidence:
    """A fate, and the evidence for it in a few words."""

    result: StepResult
    note: str

    def claim(self, done: str = "done") -> str:
        """The fate as a sentence, for a step that ended by an error.

        `done` is what the step was to come to, "done" or "restored".
        """
        if self == _HALF:
            return f"It is gone, and {_NONE_ANEW}."
        return f"{_CLAIMS[self.result, done]}: {self.note}."


_CLAIMS: Final = {
    (StepResult.DONE, "done"): "It was done all the same",
    (StepResult.NOT_DONE, "done"): "Nothing was changed",
    (StepResult.UNKNOWN, "done"): "It is not known whether it was done",
    (StepResult.DONE, "restored"): "It was restored all the same",
    (StepResult.NOT_DONE, "restored"): "Nothing was restored",
    (StepResult.UNKNOWN, "restored"): "It is not known whether it was restored",
}
_OMITTED: Final = "the ledger does not tell what was sent"
_NONE_ANEW: Final = "there is none in its place"
_HALF: Final = Evidence(StepResult.UNKNOWN, f"it is gone, and {_NONE_ANEW}")


def assess_intent(field: Field, intent: Intent, live: Live | Absent) -> Evidence:
    """What became of an intent, by a read that was made after its operation had ended."""
    if intent.action is Action.DELETE:
        return _done("it is gone") if live is ABSENT else _not_done("it is still there")
    if live is ABSENT:
        if intent.action is Action.CREATE:
            return _not_done("it is not there")
        return _HALF if intent.action is Action.REPLACE else _unknown("it is gone")
    if intent.action is Action.CREATE:
        return _assess_creation(field, intent, live.document)
    return _assess_places(field, intent, live)


def _assess_creation(field: Field, intent: Intent, live: Json) -> Evidence:
    try:
        wanted = apply_operations(intent.patch, ABSENT)
    except MISFITS:
        return _unknown(_OMITTED)
    lost = (
        change
        for change in diff(field, live, overlay(field, live, wanted))
        if not says_nothing(field.at(change.path), change.after)
    )
    missing = next(lost, None)
    paths = (split_pointer(op["path"]) for op in intent.patch if op["op"] != "test")
    omitted = next((path for path in paths if is_omitted(field, path, live)), None)
    if missing is None and omitted is not None:
        at = format_pointer(omitted)
        return _unknown(f"it is there, and whether it has what was sent at {at} is not observable")
    if missing is None:
        return _done("it is there as it was sent")
    return _unknown(f"it is there, with another value at {format_pointer(missing.path)}")


def _assess_places(field: Field, intent: Intent, live: Live) -> Evidence:
    try:
        places = _find_wanted(field, intent.patch, live.document)
    except MISFITS:
        return _unknown(_OMITTED)
    return _compare_places(field, intent, live, places)


def _compare_places(
    field: Field, intent: Intent, live: Live, places: Mapping[str, Json | Absent]
) -> Evidence:
    if not places:
        # Nothing of it can be seen; but every change moves the stamp.
        if live.idle and live.stamp and live.stamp == intent.stamp:
            return _not_done("the service has not changed since")
        return _unknown("what was written is not observable")
    document = live.document
    if all(_is(field, document, at, value) for at, value in places.items()):
        return _done("live has what was sent")
    moved = next(check_preconditions(field, intent.patch, intent.absences, document), None)
    if moved is None:
        return _not_done("live is as it was before")
    if all(_serves(field, document, at, value) for at, value in places.items()):
        return _done("live has what was sent, and something empty in place of what was removed")
    return _unknown(f"live has another value at {moved.pointer}")


def _is(field: Field, live: Json, pointer: str, wanted: Json | Absent) -> bool:
    path = split_pointer(pointer)
    return same(field.at(path), wanted, find(live, path))


def _serves(field: Field, live: Json, pointer: str, wanted: Json | Absent) -> bool:
    path = split_pointer(pointer)
    gone = wanted is ABSENT and says_nothing(field.at(path), find(live, path))
    return gone or _is(field, live, pointer, wanted)


def _find_wanted(field: Field, patch: Sequence[Json], live: Json) -> Mapping[str, Json | Absent]:
    """The values that a patch leaves, by pointer, as far as they can be seen: a list as a whole."""
    lists = {
        op["path"]: op["value"]
        for op in patch
        if op["op"] == "test" and isinstance(op["value"], list)
    }
    wanted: dict[str, Json | Absent] = {}
    for op in patch:
        if op["op"] == "test":
            continue
        container = next((at for at in lists if op["path"].startswith(f"{at}/")), None)
        if container is None:
            wanted[op["path"]] = op.get("value", ABSENT)
        else:
            inside = {**op, "path": op["path"][len(container) :]}
            before = wanted.get(container, lists[container])
            wanted[container] = apply_operations([inside], before)
    return dict(_keep_seen(field, wanted, live))


def _keep_seen(
    field: Field, wanted: Mapping[str, Json | Absent], live: Json
) -> Iterator[tuple[str, Json | Absent]]:
    for pointer, value in wanted.items():
        path = split_pointer(pointer)
        container = value == {} and field.at(path).branches
        if not (container or is_not_observable(field, path, live)):
            yield pointer, value


def _done(note: str) -> Evidence:
    return Evidence(StepResult.DONE, note)


def _not_done(note: str) -> Evidence:
    return Evidence(StepResult.NOT_DONE, note)


def _unknown(note: str) -> Evidence:
    return Evidence(StepResult.UNKNOWN, note)


def check_stale(field: Field, step: Step, live: Live | Absent) -> Iterator[Finding]:
    """What a step relies on and live has not."""
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
    mismatches = tuple(check_preconditions(field, step.ops, step.absences, live.document))
    misfit = None if mismatches else check_operations(step.ops, live.document)
    if misfit is not None:
        said = f"Saved plan is stale: there is no place for {misfit} any more"
        yield Finding(said, subject=subject, next_step=PLAN_AGAIN)
    for found in mismatches:
        yield Finding(
            f"Saved plan is stale: {found.pointer} has changed",
            subject=subject,
            detail=_describe(field, found),
            next_step=PLAN_AGAIN,
        )


def _describe(field: Field, found: Mismatch) -> tuple[str, ...]:
    if field.at(split_pointer(found.pointer)).sensitive:
        return ()
    return (
        f"The plan relies on: {show_value(found.expected)}",
        f"The service has:    {show_value(found.found)}",
    )


def check_applied(
    field: Field, step: Step, before: Live | Absent, after: Live | Absent
) -> Json | Absent:
    """The document that was read back, once it shows what the step wanted.

    `before` is what was read immediately before the write. Raises NotApplied naming the place
    and what the service still has.
    """
    if step.action is Action.DELETE:
        if after is not ABSENT:
            raise _not_applied(step, "it is still there")
        return ABSENT
    if after is ABSENT:
        raise _not_applied(step, "it is not there")
    start = ABSENT if before is ABSENT else before.document
    wanted = apply_operations((op for op in step.ops if op["op"] != "test"), start)
    unproven = [
        (change, path)
        for change, path in _provable(field, step, after.document)
        if not _was_applied(
            field.at(path), change, _wanted_value(change, wanted, path), find(after.document, path)
        )
    ]
    if not unproven and step.body == "whole":
        unproven = list(_find_lost(field, wanted, after.document))
    if unproven:
        raise _still_has(step, after.document, unproven)
    return after.document


def _find_lost(field: Field, wanted: Json, have: Json) -> Iterator[tuple[Change, Path]]:
    """What was sent whole must be there whole; only what is empty may have vanished."""
    for change in diff(field, have, overlay(field, have, wanted)):
        if not says_nothing(field.at(change.path), change.after):
            yield change, change.path


def _wanted_value(change: Change, wanted: Json, path: Path) -> Json | Absent:
    """What a place is to have: what is written beside the patch stands in the change alone."""
    return change.after if change.verb is Verb.WRITE else find(wanted, path)


def _was_applied(field: Field, change: Change, wanted: Json | Absent, have: Json | Absent) -> bool:
    gone = change.verb is Verb.REMOVE and wanted is ABSENT and says_nothing(field, have)
    return gone or same(field, wanted, have)


def _still_has(step: Step, live: Json, unproven: Sequence[tuple[Change, Path]]) -> NotApplied:
    """All the places at which live is not what was wanted."""
    said = [
        f"{'another value' if change.sensitive else show_value(find(live, path))}"
        f" at {format_pointer(path)}"
        for change, path in unproven
    ]
    more = [f"… and {len(said) - _MOST} more"] if len(said) > _MOST else []
    removed = all(change.verb is Verb.REMOVE for change, _ in unproven)
    return _not_applied(
        step,
        f"it still has {said[0]}",
        detail=(*(f"Also {one}" for one in said[1:_MOST]), *more),
        next_step=_DECLARE if removed else _AGAIN,
    )


def show_value(value: Json | Absent) -> str:
    """A value in one bounded line."""
    text = "nothing" if value is ABSENT else f'"{value}"' if isinstance(value, str) else repr(value)
    return text if len(text) <= 200 else f"{text[:120]} … {text[-60:]}"


def _not_applied(
    step: Step, what: str, detail: tuple[str, ...] = (), next_step: str = _AGAIN
) -> NotApplied:
    finding = Finding(
        f"not applied: the service reports success and {what}",
        subject=str(step.resource.address),
        detail=detail,
        next_step=next_step,
    )
    return NotApplied((finding,))


def _provable(field: Field, step: Step, live: Json) -> Iterator[tuple[Change, Path]]:
    """Each change that can be seen and where: a list is seen as a whole."""
    for change in step.changes:
        path = change.path
        for depth, segment in enumerate(path):
            if isinstance(segment, int):
                path = path[:depth]
                break
        container = change.after == {} and field.at(path).branches
        if not (container or is_not_observable(field, path, live)):
            yield change, path

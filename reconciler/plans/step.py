"""How a step is made from live and declared: what differs, and what that means for the service.

A step can hold no secret: it knows only where one is found. Nothing here reads, asks the time or
writes.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping
from dataclasses import field, replace
from functools import cached_property
from itertools import takewhile
from typing import Final, Literal, TypeAlias

from reconciler.document.diff import diff, is_not_observable, is_omitted, same
from reconciler.document.overlay import keep_declared, overlay
from reconciler.document.patch import make_absences, make_inverse, make_operations
from reconciler.document.pointers import find, format_pointer, set_at, split_pointer
from reconciler.document.schema import UNKNOWN, Field, find_epochs
from reconciler.model import (
    ABSENT,
    Absent,
    Action,
    Change,
    Declared,
    Json,
    LastApplied,
    ModelChange,
    Path,
    Reason,
    Resource,
    SecretReference,
    Step,
    Verb,
)
from reconciler.model.values import dataclass

_Body: TypeAlias = Literal["parts", "whole"]
_NOTHING: Final[tuple[Json, ...]] = ("", None, {}, [])


@dataclass(frozen=True)
class Comparison:
    """What one manifest wants of one resource, beside what is live and remembered.

    `secrets` maps pointers to references; `ledger_known` is False where there is no ledger that
    could remember; `rotate` has every secret written again, and what a service need not show.
    """

    resource: Resource
    schema: Field
    live: Json | Absent
    declared: Declared
    secrets: Mapping[str, SecretReference] = field(default_factory=dict)
    last_applied: LastApplied | None = None
    ledger_known: bool = True
    rotate: bool = False

    @cached_property
    def declared_paths(self) -> tuple[Path, ...]:
        """The places at which the manifest speaks."""
        return tuple(list_leaves(self.schema, self.declared.document))

    @cached_property
    def not_observable(self) -> tuple[str, ...]:
        """Declared places that the service does not show, or only as ever-changing cipher text."""
        hidden = set(self.secrets)
        for path in self.declared_paths:
            below, value = self.schema.at(path), find(self.declared.document, path)
            # An empty credential is shown as it is (recorded). What a new resource will show of
            # itself is not known.
            shown = self.live is ABSENT or not is_omitted(self.schema, path, self.live)
            if ((below.write_only or not shown) and value not in _NOTHING) or below.is_sealed(
                value
            ):
                hidden.add(format_pointer(path))
        return tuple(sorted(hidden))


def make_step(comparison: Comparison) -> Step | None:
    """The step that leads from live to what is declared, or None where nothing differs."""
    return make_step_to(comparison, make_desired_document(comparison))


def make_step_to(comparison: Comparison, desired: Json) -> Step | None:
    """The step that leads from live to `desired`, with what goes along; None where nothing does."""
    changes = diff(comparison.schema, comparison.live, desired)
    action = _choose_action(comparison.live, changes)
    body = _choose_body(action, changes)
    secrets = tuple(sorted(_due_secrets(comparison, changes, body).items()))
    written = [_write(split_pointer(pointer), reference) for pointer, reference in secrets]
    write_only = _due_write_only(comparison, {change.path for change in changes}, body)
    changes = (*changes, *write_only, *written)
    if not changes:
        return None
    forced = [change for change in changes if change.immutable and comparison.live is not ABSENT]
    return Step(
        resource=comparison.resource,
        action=action,
        changes=changes,
        ops=make_operations(changes, comparison.live),
        inverse=() if comparison.live is ABSENT else make_inverse(changes),
        before=comparison.live,
        after=desired,
        absences=() if comparison.live is ABSENT else make_absences(changes),
        secrets=(*secrets, *_due_signatures(comparison, changes, body)),
        replace_paths=tuple(format_pointer(change.path) for change in forced),
        models=tuple(_model_changes(comparison, changes)),
        not_observable=comparison.not_observable,
        unchanged=_count_leaves(comparison.schema, comparison.live)
        - _count_touched(comparison, changes),
        reason="replace_because_cannot_update" if action is Action.REPLACE else "",
        body=body,
        owned_paths=tuple(format_pointer(path) for path in comparison.declared_paths),
    )


def make_desired_document(comparison: Comparison) -> Json:
    """Live, or what it starts from, with what is declared laid over it.

    Where the manifest is exact, only what is declared is left of what people own.
    """
    start = comparison.declared.starting_document if comparison.live is ABSENT else comparison.live
    laid = overlay(comparison.schema, start, comparison.declared.document)
    if not comparison.declared.exact:
        return laid
    spoken = copy.deepcopy(comparison.declared.document)
    for pointer, reference in comparison.secrets.items():
        # What a secret names is declared too: an asset of which only the credential is given.
        _name(spoken, split_pointer(pointer), reference)
    return keep_declared(comparison.schema, laid, spoken)


def _name(document: Json, path: Path, value: Json) -> None:
    if find(document, path) is ABSENT and all(
        isinstance(find(document, path[:depth]), (dict, Absent)) for depth in range(len(path))
    ):
        set_at(document, path, value)


def _write(path: Path, value: Json) -> Change:
    return Change(path, Verb.WRITE, ABSENT, value, sensitive=isinstance(value, SecretReference))


def make_removal(resource: Resource, live: Json, reason: Reason) -> Step:
    """The step that takes a resource away."""
    gone = Change((), Verb.REMOVE, live, ABSENT)
    return Step(
        resource,
        Action.DELETE,
        (gone,),
        ops=(),
        inverse=(),
        before=live,
        after=ABSENT,
        reasons=(reason,),
        body="none",
    )


def _choose_action(live: Json | Absent, changes: Collection[Change]) -> Action:
    if live is ABSENT:
        return Action.CREATE
    return Action.REPLACE if any(change.immutable for change in changes) else Action.UPDATE


def _choose_body(action: Action, changes: Collection[Change]) -> _Body:
    """A write that holds the whole definition is the only one that removes for sure.

    Whether an update merges maps or replaces them, and what null does in one, is not known. A
    list is always sent whole, so that an item of it goes with any update.
    """
    if action is not Action.UPDATE:
        return "whole"
    removes = (change.path for change in changes if change.verb is Verb.REMOVE)
    return "whole" if any(all(type(one) is str for one in path) for path in removes) else "parts"


def _due_secrets(
    comparison: Comparison, changes: Collection[Change], body: _Body
) -> Mapping[str, SecretReference]:
    """Secrets to write now. What was written last cannot be read back, only remembered.

    A write of the whole needs all of them. Where nothing can be remembered, a secret goes along
    with another write and causes none.
    """
    if body == "whole" or comparison.rotate or (comparison.last_applied is None and changes):
        return comparison.secrets
    if comparison.last_applied is None:
        return comparison.secrets if comparison.ledger_known else {}
    known = comparison.last_applied.secrets
    return {at: ref for at, ref in comparison.secrets.items() if known.get(at) != ref.version}


def _due_signatures(
    comparison: Comparison, changes: Collection[Change], body: _Body
) -> Iterator[tuple[str, SecretReference]]:
    """Where the signatures are by which the service opens the models: they go along with a model.

    Whether an update of one leaves the others alone is not known, so all go once one does.
    """
    changed = {change.path for change in changes}
    models = comparison.declared.models
    if body == "whole" or any(model.path in changed for model in models):
        for model in models:
            if model.sas is not None and model.sas_path:
                yield format_pointer(model.sas_path), model.sas


def _due_write_only(
    comparison: Comparison, changed: Collection[Path], body: _Body
) -> Iterator[Change]:
    """Declared values that are not returned, where they are not known to be what was last written.

    A write of the whole starts from nothing, so it needs all of them again. What is never returned
    and not remembered may be there for long; what other services show, and this one does not, is
    written once more: nobody knows whether it is there.
    """
    if comparison.live is ABSENT:
        return
    undone = bool(find_moved_epochs(comparison))
    for path in comparison.declared_paths:
        below, now = comparison.schema.at(path), find(comparison.declared.document, path)
        asked = comparison.rotate and below.omitted
        not_observable = asked or is_not_observable(comparison.schema, path, comparison.live)
        if now in _NOTHING or path in changed or not not_observable:
            continue
        then = get_last_applied(comparison, path)
        moved = then is not ABSENT and not same(replace(below, write_only=False), then, now)
        unsure = is_omitted(comparison.schema, path, comparison.live) and (undone or then is ABSENT)
        if moved or unsure or asked or body == "whole":
            yield _write(path, now)


def get_last_applied(comparison: Comparison, path: Path) -> Json | Absent:
    """What was last applied at a place that the manifest spoke of then."""
    return (
        ABSENT
        if comparison.last_applied is None
        else comparison.last_applied.owned.get(format_pointer(path), ABSENT)
    )


def find_moved_epochs(comparison: Comparison) -> tuple[Path, ...]:
    """The places whose move since the last apply says that what was written may be undone."""
    if comparison.last_applied is None or comparison.live is ABSENT:
        return ()
    then = comparison.last_applied.baseline
    return tuple(
        path
        for path in find_epochs(comparison.schema)
        if (known := then.get(format_pointer(path))) is not None
        and find(comparison.live, path) is not ABSENT
        and not same(comparison.schema.at(path), known, find(comparison.live, path))
    )


def list_leaves(field: Field, document: Json | Absent, path: Path = ()) -> Iterator[Path]:
    """The places at which a declared document speaks: values, whole lists, free JSON."""
    if document is ABSENT or field.read_only:
        return
    walked = field.branches and not field.compare
    if isinstance(document, dict) and document and walked:
        for name, value in document.items():
            yield from list_leaves(field.child(name), value, (*path, name))
    elif path:
        yield path


def _count_leaves(field: Field, document: Json | Absent) -> int:
    """As many as `list_leaves` finds, told without naming them."""
    if document is ABSENT or field.read_only:
        return 0
    if not (isinstance(document, dict) and document and field.branches) or field.compare:
        return 1
    if field.is_plain(document):
        return len(document) if field.flat else sum(len(one) or 1 for one in document.values())
    total = 0
    for name, value in document.items():
        child = field.properties.get(name) or field.items or UNKNOWN
        if type(value) is dict:
            total += _count_leaves(child, value)
        elif not child.read_only:
            total += 1
    return total


def _count_touched(comparison: Comparison, changes: Collection[Change]) -> int:
    """How many places of live are changed: a list is one place, and what is added is none."""
    touched = {tuple(takewhile(_is_name, change.path)) for change in changes}
    return sum(
        _count_leaves(comparison.schema.at(path), find(comparison.live, path)) for path in touched
    )


def _is_name(segment: str | int) -> bool:
    return isinstance(segment, str)


def _model_changes(comparison: Comparison, changes: Collection[Change]) -> Iterator[ModelChange]:
    changed = {change.path for change in changes}
    for model in comparison.declared.models:
        if model.path in changed:
            omitted = comparison.live is not ABSENT and is_omitted(
                comparison.schema, model.path, comparison.live
            )
            before = (
                get_last_applied(comparison, model.path)
                if omitted
                else find(comparison.live, model.path)
            )
            shown = before if isinstance(before, str) else ""
            yield ModelChange(model.name, model.path, shown, model.uri)

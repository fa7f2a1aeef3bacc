"""Makes a step from the live and the declared document: the changes and the calls they need.

A step never holds a secret: it has only a reference to one. Nothing here reads or writes a service,
a file or the clock. The planner and the rollback call this module. It is long because a step is
made in one pass over the changes.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Collection, Iterator, Mapping
from dataclasses import field, replace
from functools import cached_property
from itertools import takewhile
from typing import Final, Literal, TypeAlias

from reconciler.document.diff import diff, is_not_observable, is_omitted, make_change, same
from reconciler.document.overlay import adopt_names, adopt_path, keep_declared, overlay
from reconciler.document.patch import make_absences, make_inverse, make_operations
from reconciler.document.pointers import (
    find,
    format_pointer,
    remove_at,
    set_at,
    split_pointer,
)
from reconciler.document.schema import (
    Field,
    find_epochs,
    find_separate_part,
    find_set_once,
    walk_fields,
)
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
    """The declared, the live and the last applied state of one resource.

    `secrets` maps pointers to references; those of `declared` are added. `ledger_known` is False
    without a ledger. With `rotate`, every secret and every value that the service may leave out is
    written again.
    """

    resource: Resource
    schema: Field
    live: Json | Absent
    declared: Declared
    secrets: Mapping[str, SecretReference] = field(default_factory=dict)
    last_applied: LastApplied | None = None
    ledger_known: bool = True
    rotate: bool = False

    def __post_init__(self) -> None:
        if self.declared.secrets:
            object.__setattr__(self, "secrets", {**self.secrets, **self.declared.secrets})
        if self.schema.renames:
            # The service takes some names in any casing, and shows the casing that it keeps.
            shown = self.declared.starting_document if self.live is ABSENT else self.live
            document = adopt_names(self.schema, shown, self.declared.document)
            if document is not self.declared.document:
                object.__setattr__(self, "declared", replace(self.declared, document=document))
            if self.last_applied is not None:
                adopted = _adopt_pointers(self.schema, shown, self.last_applied)
                object.__setattr__(self, "last_applied", adopted)

    @cached_property
    def declared_paths(self) -> tuple[Path, ...]:
        """The paths of the values that the manifest declares."""
        return tuple(list_leaves(self.schema, self.declared.document))

    @cached_property
    def not_observable(self) -> tuple[str, ...]:
        """The declared places that the service does not show, or shows only as cipher text."""
        hidden = set(self.secrets)
        for path in self.declared_paths:
            below, value = self.schema.at(path), find(self.declared.document, path)
            # The service shows an empty credential (recorded). It is not known which values a
            # new resource will show.
            shown = self.live is ABSENT or not is_omitted(self.schema, path, self.live)
            if ((below.write_only or not shown) and value not in _NOTHING) or below.is_sealed(
                value
            ):
                hidden.add(format_pointer(path))
        return tuple(sorted(hidden))


def _adopt_pointers(schema: Field, live: Json | Absent, last_applied: LastApplied) -> LastApplied:
    """Return the entry with the live casing of names, so that what was applied is found again."""
    maps = _find_any_case(schema)
    owned = {
        format_pointer(adopt_path(schema, live, split_pointer(pointer)))
        if pointer.startswith(maps)
        else pointer: value
        for pointer, value in last_applied.owned.items()
    }
    return (
        last_applied
        if owned.keys() == last_applied.owned.keys()
        else replace(last_applied, owned=owned)
    )


@functools.cache
def _find_any_case(schema: Field) -> tuple[str, ...]:
    """Return the start of the pointers below each map whose keys may have any casing."""
    return tuple(
        f"{format_pointer(path)}/" for path, below in walk_fields(schema) if below.any_case
    )


def make_step(comparison: Comparison) -> Step | None:
    """Return the step from live to the declared state; None where nothing differs."""
    return make_step_to(comparison, make_desired_document(comparison))


def make_step_to(comparison: Comparison, desired: Json) -> Step | None:
    """Return the step from live to `desired`, with due secrets; None where nothing changes."""
    changes = diff(comparison.schema, comparison.live, desired)
    set_once = tuple(find_moved_once(comparison))
    action = choose_action(comparison.live, (*changes, *set_once))
    body = choose_body(action, changes)
    secrets = tuple(sorted(_due_secrets(comparison, changes, body).items()))
    written = [_write(split_pointer(pointer), reference) for pointer, reference in secrets]
    known = {change.path for change in (*changes, *set_once)}
    write_only = (*set_once, *_due_write_only(comparison, known, body))
    models = _due_models(comparison, {change.path for change in (*changes, *write_only)}, body)
    resent = [_spell(comparison.schema, one, desired) for one in (*write_only, *models)]
    called = tuple(_make_call(comparison, action))
    changes = (*called, *changes, *resent, *written)
    if called:
        desired = {**desired, **{str(change.path[0]): change.after for change in called}}
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
        secrets=(*secrets, *list_due_signatures(comparison, changes, body)),
        replace_paths=tuple(format_pointer(change.path) for change in forced),
        models=tuple(_model_changes(comparison, changes)),
        not_observable=comparison.not_observable,
        unchanged=_count_leaves(comparison.schema, comparison.live)
        - _count_touched(comparison, changes),
        reason="replace_because_cannot_update" if action is Action.REPLACE else "",
        body=body,
        owned_paths=tuple(format_pointer(path) for path in comparison.declared_paths),
        strategy=comparison.declared.strategy,
    )


def _make_call(comparison: Comparison, action: Action) -> Iterator[Change]:
    """Yield the values that the due call sets; only an update sends it."""
    call = comparison.declared.call
    for name, value in call.values.items() if call and action is Action.UPDATE else ():
        now = find(comparison.live, (name,))
        verb = Verb.ADD if now is ABSENT else Verb.REPLACE
        yield make_change(comparison.schema.child(name), (name,), verb, now, value)


def make_desired_document(comparison: Comparison) -> Json:
    """Return live, or the starting document, with the declared values over it.

    If the manifest is exact, the removable values that it does not declare are removed. What a
    manifest asks to remove is removed in any case.
    """
    start = comparison.declared.starting_document if comparison.live is ABSENT else comparison.live
    laid = overlay(comparison.schema, start, comparison.declared.document)
    laid = remove_at(laid, comparison.declared.removed)
    if not comparison.declared.exact:
        return laid
    spoken = copy.deepcopy(comparison.declared.document)
    for pointer, reference in comparison.secrets.items():
        # A secret also declares its place, for example in an asset with only a credential.
        _name(spoken, split_pointer(pointer), reference)
    return keep_declared(comparison.schema, laid, spoken)


def _name(document: Json, path: Path, value: Json) -> None:
    if find(document, path) is ABSENT and all(
        isinstance(find(document, path[:depth]), (dict, Absent)) for depth in range(len(path))
    ):
        set_at(document, path, value)


def _write(path: Path, value: Json) -> Change:
    return Change(path, Verb.WRITE, ABSENT, value, sensitive=isinstance(value, SecretReference))


def _spell(schema: Field, change: Change, desired: Json) -> Change:
    """Return the write of a value in the spelling that the desired document has of it.

    A service may show a value that its schema says it never shows, and the desired document keeps
    the spelling of an equal live value.
    """
    kept = find(desired, change.path)
    observable = replace(schema.at(change.path), write_only=False)
    is_equal = kept is not ABSENT and same(observable, kept, change.after)
    return replace(change, after=kept) if is_equal else change


def make_removal(resource: Resource, live: Json, reason: Reason) -> Step:
    """Return the step that deletes a resource."""
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


def choose_action(live: Json | Absent, changes: Collection[Change]) -> Action:
    """Return what a step with changes does to its resource."""
    if live is ABSENT:
        return Action.CREATE
    return Action.REPLACE if any(change.immutable for change in changes) else Action.UPDATE


def choose_body(action: Action, changes: Collection[Change]) -> _Body:
    """Return whether the body holds the whole definition or only parts of it.

    Only a whole definition is certain to remove a value. It is not known whether an update
    merges maps or replaces them, nor what null does. A list is always sent as a whole, so any
    update can remove an item.
    """
    if action is not Action.UPDATE:
        return "whole"
    removes = (change.path for change in changes if change.verb is Verb.REMOVE)
    return "whole" if any(all(type(one) is str for one in path) for path in removes) else "parts"


def find_due_secrets(comparison: Comparison) -> Mapping[str, SecretReference]:
    """Return the secrets that cause a write by themselves, by their pointers."""
    return _due_secrets(comparison, (), "parts")


def _due_secrets(
    comparison: Comparison, changes: Collection[Change], body: _Body
) -> Mapping[str, SecretReference]:
    """Return the secrets to write now; only the ledger knows what was written last.

    A write of the whole definition needs all secrets, and the creation of a separate part needs
    those of the part. Without a ledger, a secret is sent with another write of its part but does
    not cause a write.
    """
    last_applied, due = comparison.last_applied, {}
    for pointer, reference in comparison.secrets.items():
        part = find_separate_part(comparison.schema, split_pointer(pointer))
        sent = [change for change in changes if change.path[: len(part)] == part]
        created = any(change.path == part and change.verb is Verb.ADD for change in sent)
        if (created if part else body == "whole") or comparison.rotate:
            due[pointer] = reference
        elif last_applied is None:
            if sent or comparison.ledger_known:
                due[pointer] = reference
        elif last_applied.secrets.get(pointer) != reference.version:
            due[pointer] = reference
    return due


def list_due_signatures(
    comparison: Comparison, changes: Collection[Change], body: str
) -> Iterator[tuple[str, SecretReference]]:
    """Yield the pointers and references of the signatures that the service reads models with.

    It is not known whether an update of one model keeps the other signatures, so all signatures
    are sent with any model.
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
    """Yield a write for each declared value that is not observable and may not be current.

    A write of the whole definition needs all of them again. A write-only value that the ledger
    does not know is not written: it may have been set long ago. A value that other services show
    and this one left out is written again, because its state is not known.
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


def find_moved_once(comparison: Comparison) -> Iterator[Change]:
    """Yield a change for each value that is set at creation and is not the last applied one.

    The service never shows these values, and no update can change them. Of a value that the ledger
    does not know, nothing is said: it may be the declared one.
    """
    if comparison.live is ABSENT:
        return
    for path in find_set_once(comparison.schema):
        below, now = comparison.schema.at(path), find(comparison.declared.document, path)
        then = get_last_applied(comparison, path)
        known = then is not ABSENT and now is not ABSENT and now not in _NOTHING
        if known and not same(replace(below, write_only=False), then, now):
            yield Change(path, Verb.WRITE, then, now, immutable=True)


def _due_models(comparison: Comparison, changed: Collection[Path], body: _Body) -> Iterator[Change]:
    """Yield a write for each model that is sent again with another one and that no read shows.

    All models that need a signature are sent together, so that none is sent without being planned.
    A call that replaces the models needs all of them again, also the ones that a read shows.
    """
    if comparison.live is ABSENT:
        return
    call = comparison.declared.call
    undone = call is not None and call.undoes_models
    models = [model for model in comparison.declared.models if model.sas_path]
    if undone or body == "whole" or any(model.path in changed for model in models):
        for model in models:
            hidden = is_not_observable(comparison.schema, model.path, comparison.live)
            if (undone or hidden) and model.path not in changed:
                yield _write(model.path, model.uri)


def get_last_applied(comparison: Comparison, path: Path) -> Json | Absent:
    """Return the last applied value of a place; ABSENT if the manifest did not declare it then."""
    return (
        ABSENT
        if comparison.last_applied is None
        else comparison.last_applied.owned.get(format_pointer(path), ABSENT)
    )


def find_moved_epochs(comparison: Comparison) -> tuple[Path, ...]:
    """Return the epochs that changed since the last apply: they may have undone its writes."""
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
    """Yield the paths of a declared document: scalar values, whole lists and free JSON."""
    if document is ABSENT or field.read_only:
        return
    walked = field.branches and not field.compare
    if isinstance(document, dict) and document and walked:
        for name, value in document.items():
            yield from list_leaves(field.child(name), value, (*path, name))
    elif path:
        yield path


def _count_leaves(field: Field, document: Json | Absent) -> int:
    """Count the paths that `list_leaves` yields, without building them.

    It is a loop, because a call for each object would take longer than to compare the documents.
    """
    if document is ABSENT or field.read_only:
        return 0
    if not _is_walked(field, document):
        return 1
    total, left = 0, [(field, document)]
    while left:
        field, document = left.pop()
        if field.flat and field.is_plain(document):
            total += len(document)
            continue
        properties, names = field.properties, field.names_of_items
        items = None if field.patterns else field.items
        for name, value in document.items():
            if names is not None and type(value) is dict and value.keys() <= names:
                total += len(value) or 1
                continue
            child = properties.get(name) or items or field.child(name)
            if child.read_only:
                continue
            if _is_walked(child, value):
                left.append((child, value))
            else:
                total += 1
    return total


def _is_walked(field: Field, document: Json) -> bool:
    """Whether `list_leaves` looks at the members of a value and not at the value."""
    return isinstance(document, dict) and bool(document) and field.branches and not field.compare


def _count_touched(comparison: Comparison, changes: Collection[Change]) -> int:
    """Count the changed places of live: a list is one place, and an added value does not count."""
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

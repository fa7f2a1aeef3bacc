"""How a step is made from live and declared: what differs, and what that means for the service.

A step can hold no secret: it knows only where one is found. Nothing here reads, asks the time or
writes.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import takewhile
from typing import Final, Literal, TypeAlias

from reconciler.document.diff import diff, is_unseen, is_untold, same
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
    Memory,
    ModelChange,
    Path,
    Reason,
    Resource,
    SecretReference,
    Step,
    Verb,
)

_Extent: TypeAlias = Literal["parts", "whole"]
_NOTHING: Final[tuple[Json, ...]] = ("", None, {}, [])


@dataclass(frozen=True)
class Wish:
    """What one manifest wants of one resource, beside what is live and remembered.

    `secrets` maps pointers to references; `ledger_known` is False where there is no ledger that
    could remember; `rotate` has every secret written again, and what a service need not show.
    """

    resource: Resource
    schema: Field
    live: Json | Absent
    declared: Declared
    secrets: Mapping[str, SecretReference] = field(default_factory=dict)
    memory: Memory | None = None
    ledger_known: bool = True
    rotate: bool = False

    @cached_property
    def leaves(self) -> tuple[Path, ...]:
        """The places at which the manifest speaks."""
        return tuple(find_leaves(self.schema, self.declared.document))

    @cached_property
    def not_observable(self) -> tuple[str, ...]:
        """Declared places that the service does not show, or only as ever-changing cipher text."""
        hidden = set(self.secrets)
        for path in self.leaves:
            below, value = self.schema.at(path), find(self.declared.document, path)
            # An empty credential is shown as it is (recorded). What a new resource will show of
            # itself is not known.
            told = self.live is ABSENT or not is_untold(self.schema, path, self.live)
            if ((below.write_only or not told) and value not in _NOTHING) or below.is_sealed(value):
                hidden.add(format_pointer(path))
        return tuple(sorted(hidden))


def make_step(wish: Wish) -> Step | None:
    """The step that leads from live to what is declared, or None where nothing differs."""
    return lead_to(wish, desire(wish))


def lead_to(wish: Wish, desired: Json) -> Step | None:
    """The step that leads from live to `desired`, with what goes along; None where nothing does."""
    changes = diff(wish.schema, wish.live, desired)
    action = _choose_action(wish.live, changes)
    extent = _choose_extent(action, changes)
    secrets = tuple(sorted(_due_secrets(wish, changes, extent).items()))
    written = [_write(split_pointer(pointer), reference) for pointer, reference in secrets]
    unseen = _due_write_only(wish, {change.path for change in changes}, extent)
    changes = (*changes, *unseen, *written)
    if not changes:
        return None
    forced = [change for change in changes if change.immutable and wish.live is not ABSENT]
    return Step(
        resource=wish.resource,
        action=action,
        changes=changes,
        ops=make_operations(changes, wish.live),
        inverse=() if wish.live is ABSENT else make_inverse(changes),
        before=wish.live,
        after=desired,
        absences=() if wish.live is ABSENT else make_absences(changes),
        secrets=(*secrets, *_due_signatures(wish, changes, extent)),
        replace_paths=tuple(format_pointer(change.path) for change in forced),
        models=tuple(_model_changes(wish, changes)),
        not_observable=wish.not_observable,
        unchanged=_count_leaves(wish.schema, wish.live) - _count_touched(wish, changes),
        reason="replace_because_cannot_update" if action is Action.REPLACE else "",
        extent=extent,
        owns=tuple(format_pointer(path) for path in wish.leaves),
    )


def desire(wish: Wish) -> Json:
    """Live, or what it starts from, with what is declared laid over it.

    Where the manifest is exact, only what is declared is left of what people own.
    """
    start = wish.declared.seed if wish.live is ABSENT else wish.live
    laid = overlay(wish.schema, start, wish.declared.document)
    if not wish.declared.exact:
        return laid
    spoken = copy.deepcopy(wish.declared.document)
    for pointer, reference in wish.secrets.items():
        # What a secret names is declared too: an asset of which only the credential is given.
        _name(spoken, split_pointer(pointer), reference)
    return keep_declared(wish.schema, laid, spoken)


def _name(document: Json, path: Path, value: Json) -> None:
    if find(document, path) is ABSENT and all(
        isinstance(find(document, path[:depth]), (dict, Absent)) for depth in range(len(path))
    ):
        set_at(document, path, value)


def _write(path: Path, value: Json) -> Change:
    return Change(path, Verb.WRITE, ABSENT, value, sensitive=isinstance(value, SecretReference))


def make_removal(resource: Resource, live: Json, because: Reason) -> Step:
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
        because=(because,),
        extent="none",
    )


def _choose_action(live: Json | Absent, changes: Collection[Change]) -> Action:
    if live is ABSENT:
        return Action.CREATE
    return Action.REPLACE if any(change.immutable for change in changes) else Action.UPDATE


def _choose_extent(action: Action, changes: Collection[Change]) -> _Extent:
    """A write that holds the whole definition is the only one that removes for sure.

    Whether an update merges maps or replaces them, and what null does in one, is not known. A
    list is always sent whole, so that an item of it goes with any update.
    """
    if action is not Action.UPDATE:
        return "whole"
    removes = (change.path for change in changes if change.verb is Verb.REMOVE)
    return "whole" if any(all(type(one) is str for one in path) for path in removes) else "parts"


def _due_secrets(
    wish: Wish, changes: Collection[Change], extent: _Extent
) -> Mapping[str, SecretReference]:
    """Secrets to write now. What was written last cannot be read back, only remembered.

    A write of the whole needs all of them. Where nothing can be remembered, a secret goes along
    with another write and causes none.
    """
    if extent == "whole" or wish.rotate or (wish.memory is None and changes):
        return wish.secrets
    if wish.memory is None:
        return wish.secrets if wish.ledger_known else {}
    known = wish.memory.secrets
    return {at: ref for at, ref in wish.secrets.items() if known.get(at) != ref.version}


def _due_signatures(
    wish: Wish, changes: Collection[Change], extent: _Extent
) -> Iterator[tuple[str, SecretReference]]:
    """Where the signatures are by which the service opens the models: they go along with a model.

    Whether an update of one leaves the others alone is not known, so all go once one does.
    """
    changed = {change.path for change in changes}
    models = wish.declared.models
    if extent == "whole" or any(model.path in changed for model in models):
        for model in models:
            if model.sas is not None and model.sas_path:
                yield format_pointer(model.sas_path), model.sas


def _due_write_only(wish: Wish, changed: Collection[Path], extent: _Extent) -> Iterator[Change]:
    """Declared values that are not returned, where they are not known to be what was last written.

    A write of the whole starts from nothing, so it needs all of them again. What is never returned
    and not remembered may be there for long; what other services show, and this one does not, is
    written once more: nobody knows whether it is there.
    """
    if wish.live is ABSENT:
        return
    undone = bool(find_moved_epochs(wish))
    for path in wish.leaves:
        below, now = wish.schema.at(path), find(wish.declared.document, path)
        asked = wish.rotate and below.untold
        unseen = asked or is_unseen(wish.schema, path, wish.live)
        if now in _NOTHING or path in changed or not unseen:
            continue
        then = remember(wish, path)
        moved = then is not ABSENT and not same(replace(below, write_only=False), then, now)
        unsure = is_untold(wish.schema, path, wish.live) and (undone or then is ABSENT)
        if moved or unsure or asked or extent == "whole":
            yield _write(path, now)


def remember(wish: Wish, path: Path) -> Json | Absent:
    """What was last applied at a place that the manifest spoke of then."""
    return ABSENT if wish.memory is None else wish.memory.owned.get(format_pointer(path), ABSENT)


def find_moved_epochs(wish: Wish) -> tuple[Path, ...]:
    """The places whose move since the last apply says that what was written may be undone."""
    if wish.memory is None or wish.live is ABSENT:
        return ()
    then = wish.memory.baseline
    return tuple(
        path
        for path in find_epochs(wish.schema)
        if (known := then.get(format_pointer(path))) is not None
        and find(wish.live, path) is not ABSENT
        and not same(wish.schema.at(path), known, find(wish.live, path))
    )


def find_leaves(field: Field, document: Json | Absent, path: Path = ()) -> Iterator[Path]:
    """The places at which a declared document speaks: values, whole lists, free JSON."""
    if document is ABSENT or field.read_only:
        return
    walked = field.branches and not field.compare
    if isinstance(document, dict) and document and walked:
        for name, value in document.items():
            yield from find_leaves(field.child(name), value, (*path, name))
    elif path:
        yield path


def _count_leaves(field: Field, document: Json | Absent) -> int:
    """As many as `find_leaves` finds, told without naming them."""
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


def _count_touched(wish: Wish, changes: Collection[Change]) -> int:
    """How many places of live are changed: a list is one place, and what is added is none."""
    touched = {tuple(takewhile(_is_name, change.path)) for change in changes}
    return sum(_count_leaves(wish.schema.at(path), find(wish.live, path)) for path in touched)


def _is_name(segment: str | int) -> bool:
    return isinstance(segment, str)


def _model_changes(wish: Wish, changes: Collection[Change]) -> Iterator[ModelChange]:
    changed = {change.path for change in changes}
    for model in wish.declared.models:
        if model.path in changed:
            untold = wish.live is not ABSENT and is_untold(wish.schema, model.path, wish.live)
            before = remember(wish, model.path) if untold else find(wish.live, model.path)
            shown = before if isinstance(before, str) else ""
            yield ModelChange(model.name, model.path, shown, model.uri)

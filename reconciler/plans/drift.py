"""Who moved what since the last apply: remembered, live and declared, place by place.

A place that a manifest declares was read back and remembered when it was applied. Where live now
differs from that, somebody else wrote; where what is declared differs, the manifest moved; where
both do, and apart, it is a conflict. What was declared once and is no more, and what nobody ever
declared, is held against what it was at the last apply.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Final

from reconciler.document.baseline import find_moves
from reconciler.document.diff import diff, is_unseen, is_untold, same
from reconciler.document.pointers import find, format_pointer, split_pointer
from reconciler.document.schema import Field
from reconciler.model import (
    ABSENT,
    Absent,
    Drift,
    Json,
    Memory,
    Path,
    Resource,
    Verb,
    Verdict,
)
from reconciler.plans.reasons import format_memory
from reconciler.plans.step import (
    Wish,
    desire,
    find_moved_epochs,
    remember,
)

# What weighs more is what a resource as a whole is said to be.
_WEIGHT: Final = (
    Verdict.INCOMPLETE,
    Verdict.MISSING,
    Verdict.CONFLICT,
    Verdict.MODEL_SWAPPED,
    Verdict.ARTIFACT_MUTATED,
    Verdict.DRIFTED,
    Verdict.UNMANAGED,
    Verdict.CREDENTIAL_EXPIRING,
    Verdict.PENDING,
)
_UNDECLARED: Final = "no manifest declares it"
_EXACT: Final = "no manifest declares it, and ownership: exact removes it"


def find_drift(wish: Wish) -> Iterator[Drift]:
    """Everything that is not as it was last applied, or not as the manifest wants it."""
    if wish.live is ABSENT:
        yield _missing(wish)
        return
    declared = set(wish.leaves)
    yield from _compare_declared(wish, declared)
    yield from _compare_secrets(wish)
    told: list[Drift] = []
    if wish.memory is not None:
        told += _compare_released(wish, wish.memory, declared)
        told += _compare_baseline(wish, wish.memory, declared)
    yield from told
    if wish.declared.exact:
        yield from _compare_exact(wish, [split_pointer(one.pointer) for one in told])


def weigh(findings: Collection[Drift]) -> Verdict:
    """What is said of a resource with these findings, the gravest first."""
    said = {finding.verdict for finding in findings}
    return next((verdict for verdict in _WEIGHT if verdict in said), Verdict.IN_SYNC)


def unmanaged(resource: Resource, note: str) -> Drift:
    """A service that no manifest names."""
    settle = (f"reconciler import {resource.address} {resource.id}",)
    return Drift(resource, Verdict.UNMANAGED, note=note, settle=settle)


def incomplete(resource: Resource, note: str, settle: str = "") -> Drift:
    """A resource of which nothing can be said; `settle` is what would help."""
    commands = (settle,) if settle else ("reconciler drift --refresh full",)
    return Drift(resource, Verdict.INCOMPLETE, note=note, settle=commands)


def _missing(wish: Wish) -> Drift:
    if wish.memory is None:
        note = "it was never applied, and there is none"
        return Drift(wish.resource, Verdict.PENDING, note=note, settle=(_apply(wish),))
    note = f"it was there {format_memory(wish.memory)}"
    forget = f"reconciler forget {wish.resource.address}"
    return Drift(wish.resource, Verdict.MISSING, note=note, settle=(_apply(wish), forget))


def _compare_declared(wish: Wish, declared: Collection[Path]) -> Iterator[Drift]:
    for path in sorted(declared, key=format_pointer):
        below = wish.schema.at(path)
        if is_unseen(wish.schema, path, wish.live):
            continue
        then = remember(wish, path)
        now, want = find(wish.live, path), find(wish.declared.document, path)
        verdict = _judge(below, then, now, want, known=wish.memory is not None)
        if verdict is not None:
            yield _tell(wish, path, verdict, then, want)


def _judge(
    below: Field,
    then: Json | Absent,
    now: Json | Absent,
    want: Json | Absent,
    *,
    known: bool,
) -> Verdict | None:
    if same(below, now, want):
        return None
    if not known or then is ABSENT or same(below, then, now):
        return Verdict.PENDING
    if not same(below, then, want):
        return Verdict.CONFLICT
    return Verdict.MODEL_SWAPPED if below.model else Verdict.DRIFTED


def _tell(
    wish: Wish, path: Path, verdict: Verdict, then: Json | Absent, want: Json | Absent
) -> Drift:
    hidden = any(wish.schema.at(path[:length]).sensitive for length in range(len(path) + 1))
    now = find(wish.live, path)
    accept = f"reconciler drift --accept {wish.resource.address}"
    ours = verdict is Verdict.PENDING and wish.memory is not None
    return Drift(
        wish.resource,
        verdict,
        format_pointer(path),
        remembered=ABSENT if hidden else then,
        live=ABSENT if hidden else now,
        declared=ABSENT if hidden else want,
        hidden=hidden,
        note=_join(_name_model(wish, path), "" if ours else _name_writers(wish, path)),
        settle=(_apply(wish),) if ours else (_apply(wish), accept),
    )


def _name_model(wish: Wish, path: Path) -> str:
    names = (model.name for model in wish.declared.models if model.path == path)
    return next((f'trained model "{name}"' for name in names), "")


def _name_writers(wish: Wish, path: Path) -> str:
    """Who else is known to write a place: where to look for who moved it."""
    writers = wish.schema.at(path).writers
    return f"it is written by {writers} too" if writers else ""


def _join(*notes: str) -> str:
    return "; ".join(note for note in notes if note)


def _compare_secrets(wish: Wish) -> Iterator[Drift]:
    """The service never shows them: what is known is which label was written when."""
    for pointer in wish.not_observable:
        reference = wish.secrets.get(pointer)
        known = wish.memory.secrets.get(pointer) if wish.memory is not None else None
        if reference is not None and known is not None and known != reference.version:
            note = f'the label is "{reference.version}" and "{known}" was last written'
            yield Drift(
                wish.resource, Verdict.PENDING, pointer, hidden=True, note=note,
                settle=(_apply(wish),),
            )  # fmt: skip
        else:
            pending = None if reference is not None else _find_unwritten(wish, pointer)
            yield pending or _not_observable(wish, pointer, reference is not None)


def _find_unwritten(wish: Wish, pointer: str) -> Drift | None:
    """A value that is not shown here, and is not what was last written; None where it is that."""
    path = split_pointer(pointer)
    then, want = remember(wish, path), find(wish.declared.document, path)
    known = replace(wish.schema.at(path), write_only=False)
    unsure = then is ABSENT or bool(find_moved_epochs(wish))
    if is_untold(wish.schema, path, wish.live):
        settled = not unsure and same(known, then, want)
    else:
        settled = then is ABSENT or same(known, then, want)
    if settled:
        return None
    found = _tell(wish, path, Verdict.PENDING, then, want)
    return replace(found, note=_join(found.note, "what is live is not observable"))


def _not_observable(wish: Wish, pointer: str, secret: bool) -> Drift:  # noqa: FBT001 - two forms of one finding
    written = wish.memory is not None and pointer in (
        wish.memory.secrets if secret else wish.memory.owned
    )
    note = (
        f"set {format_memory(wish.memory)}"
        if wish.memory is not None and written
        else "when it was set is not known"
    )
    settle = (f"{_apply(wish)} --rotate {wish.resource.address}",)
    return Drift(
        wish.resource, Verdict.NOT_OBSERVABLE, pointer, hidden=True, note=note,
        settle=settle if secret else (),
    )  # fmt: skip


def _compare_released(wish: Wish, memory: Memory, declared: Collection[Path]) -> Iterator[Drift]:
    """What was declared when it was last applied and is no more."""
    for pointer in sorted(memory.owned):
        path = split_pointer(pointer)
        below = wish.schema.at(path)
        inside = any(path[: len(one)] == one or one[: len(path)] == path for one in declared)
        unseen = is_unseen(wish.schema, path, wish.live)
        if inside or unseen or same(below, memory.owned[pointer], find(wish.live, path)):
            continue
        yield _tell_undeclared(wish, path, memory.owned[pointer])


def _compare_baseline(wish: Wish, memory: Memory, declared: Collection[Path]) -> Iterator[Drift]:
    if not memory.baseline:
        return
    owned = {*memory.owned, *map(format_pointer, declared)}
    epochs = find_moved_epochs(wish)
    for move in find_moves(wish.schema, memory.baseline, wish.live, owned):
        path = split_pointer(move.pointer)
        found = _tell_undeclared(wish, path, move.then)
        yield _tell_epoch(wish, found) if path in epochs else found


def _tell_epoch(wish: Wish, found: Drift) -> Drift:
    """What was written before may have been undone as a whole; where that shows is told apart."""
    meaning = wish.schema.at(split_pointer(found.pointer)).description
    note = f"{meaning} What was applied before may have been undone."
    again = f"{_apply(wish)} --rotate {wish.resource.address}"
    return replace(found, note=note, settle=(again,))


def _compare_exact(wish: Wish, told: Collection[Path]) -> Iterator[Drift]:
    """What an exact manifest would have removed, where nobody is known to have moved it."""
    for change in diff(wish.schema, wish.live, desire(wish)):
        path = split_pointer(format_pointer(change.path))
        inside = any(path[: len(one)] == one or one[: len(path)] == path for one in told)
        if change.verb is Verb.REMOVE and not inside:
            found = _tell(wish, path, Verdict.PENDING, ABSENT, ABSENT)
            yield replace(found, note=_EXACT)


def _tell_undeclared(wish: Wish, path: Path, then: Json | Absent) -> Drift:
    below = wish.schema.at(path)
    accept = f"reconciler drift --accept {wish.resource.address}"
    return Drift(
        wish.resource,
        Verdict.MODEL_SWAPPED if below.model else Verdict.DRIFTED,
        format_pointer(path),
        remembered=ABSENT if below.sensitive else then,
        live=ABSENT if below.sensitive else find(wish.live, path),
        hidden=below.sensitive,
        note=_join(_EXACT if wish.declared.exact else _UNDECLARED, _name_writers(wish, path)),
        settle=(_apply(wish), accept) if wish.declared.exact else (accept,),
    )


def _apply(wish: Wish) -> str:
    return f"reconciler apply --target {wish.resource.address}"

"""Finds drift: compares the last applied, the live and the declared value of each place.

An apply reads each declared value back and records it. If live differs from the record, another
client wrote it. If the declared value differs from the record, the manifest changed. If both
differ in different ways, it is a conflict. A value that no manifest declares now is compared with
its value at the last apply. The drift report of the engine calls this module.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Final

from reconciler.document.baseline import list_moves
from reconciler.document.diff import diff, is_not_observable, is_omitted, same
from reconciler.document.pointers import find, format_pointer, split_pointer
from reconciler.document.schema import Field, find_failure
from reconciler.model import (
    ABSENT,
    Absent,
    Drift,
    Json,
    LastApplied,
    Manifest,
    ModelReference,
    Path,
    Resource,
    SourceLocation,
    Verb,
    Verdict,
)
from reconciler.plans.reasons import format_last_applied
from reconciler.plans.step import (
    Comparison,
    find_due_secrets,
    find_moved_epochs,
    get_last_applied,
    make_desired_document,
)

# A resource gets the first verdict of this list that one of its findings has.
_WEIGHT: Final = (
    Verdict.INCOMPLETE,
    Verdict.MISSING,
    Verdict.FAILED,
    Verdict.CONFLICT,
    Verdict.MODEL_SWAPPED,
    Verdict.ARTIFACT_MUTATED,
    Verdict.DRIFTED,
    Verdict.UNMANAGED,
    Verdict.CREDENTIAL_EXPIRING,
    Verdict.PENDING,
)
NOT_KNOWN: Final = "it does not exist, and is not in the ledger"
_UNDECLARED: Final = "no manifest declares it"
_EXACT: Final = "no manifest declares it, and ownership: exact removes it"


def compare_resource(comparison: Comparison) -> Iterator[Drift]:
    """Yield each difference from the last applied values and from the manifest."""
    if comparison.live is ABSENT:
        yield _missing(comparison)
        return
    yield from _find_failed(comparison)
    declared = set(comparison.declared_paths)
    yield from _compare_declared(comparison, declared)
    yield from _compare_call(comparison)
    yield from _compare_secrets(comparison)
    reported: list[Drift] = []
    if comparison.last_applied is not None:
        reported += _compare_released(comparison, comparison.last_applied, declared)
        reported += _compare_baseline(comparison, comparison.last_applied, declared)
    yield from reported
    if comparison.declared.exact:
        yield from _compare_exact(comparison, [split_pointer(one.pointer) for one in reported])


def worst_verdict(findings: Collection[Drift]) -> Verdict:
    """Return the worst verdict among the findings of a resource; IN_SYNC without findings."""
    said = {finding.verdict for finding in findings}
    return next((verdict for verdict in _WEIGHT if verdict in said), Verdict.IN_SYNC)


def unmanaged(resource: Resource, note: str) -> Drift:
    """Return the finding for a service that no manifest names."""
    settle_command = (f"reconciler import {resource.address} {resource.id}",)
    return Drift(resource, Verdict.UNMANAGED, note=note, commands=settle_command)


def incomplete(resource: Resource, note: str, settle_command: str = "") -> Drift:
    """Return the finding for a resource without evidence; `settle_command` is the next step."""
    commands = (settle_command,) if settle_command else ("reconciler drift --refresh full",)
    return Drift(resource, Verdict.INCOMPLETE, note=note, commands=commands)


def is_hidden(schema: Field, path: Path) -> bool:
    """Whether the value at a path must not be shown: it is sensitive, or inside such a value."""
    return any(schema.at(path[:length]).sensitive for length in range(len(path) + 1))


def find_place(
    manifest: Manifest, models: Collection[ModelReference], finding: Drift, at: str
) -> SourceLocation:
    """Return where the manifest declares the value of a finding, or else the resource.

    `models` are those that the manifest names; each has an entry of its own. `at` is the pointer at
    which a manifest would declare the value.
    """
    for model in models:
        if format_pointer(model.path) == finding.pointer and model.place is not None:
            return model.place
        if model.entry and model.sas_path and format_pointer(model.sas_path) == finding.pointer:
            return manifest.place(f"{model.entry}/sas")
    if finding.pointer in manifest.secrets:
        return manifest.place(format_pointer(("spec", "secrets", finding.pointer)))
    declared = finding.declared is not ABSENT or finding.hidden
    if finding.pointer and (declared or at in manifest.places):
        return manifest.place(at)
    return manifest.member.place if manifest.member else manifest.place("/metadata/name")


def _missing(comparison: Comparison) -> Drift:
    if comparison.last_applied is None:
        return Drift(
            comparison.resource, Verdict.PENDING, note=NOT_KNOWN, commands=(_apply(comparison),)
        )
    note = f"it existed {format_last_applied(comparison.last_applied)}"
    forget = f"reconciler forget {comparison.resource.address}"
    return Drift(
        comparison.resource, Verdict.MISSING, note=note, commands=(_apply(comparison), forget)
    )


def _find_failed(comparison: Comparison) -> Iterator[Drift]:
    failure = find_failure(comparison.schema, comparison.live)
    if failure:
        plan = f"reconciler plan --target {comparison.resource.address}"
        yield Drift(comparison.resource, Verdict.FAILED, note=failure, commands=(plan,))


def _compare_declared(comparison: Comparison, declared: Collection[Path]) -> Iterator[Drift]:
    for path in sorted(declared, key=format_pointer):
        below = comparison.schema.at(path)
        if is_not_observable(comparison.schema, path, comparison.live):
            continue
        now, want = find(comparison.live, path), find(comparison.declared.document, path)
        then = get_last_applied(comparison, path)
        if then is ABSENT and _was_default(comparison, path, want):
            then = want
        verdict = _choose_verdict(below, then, now, want, known=comparison.last_applied is not None)
        if verdict is not None:
            yield _make_drift(comparison, path, verdict, then, want)


def _was_default(comparison: Comparison, path: Path, want: Json | Absent) -> bool:
    """Whether a declared default was live at the last apply, as an absent value.

    An apply records no such value: nothing was to be written, and live did not show it.
    """
    below, last_applied = comparison.schema.at(path), comparison.last_applied
    if last_applied is None or not last_applied.baseline or below.default is ABSENT:
        return False
    around = (format_pointer(path[:length]) for length in range(1, len(path) + 1))
    return same(below, ABSENT, want) and last_applied.baseline.keys().isdisjoint(around)


def _compare_call(comparison: Comparison) -> Iterator[Drift]:
    """Yield a finding for each value that shows that the due call was not made."""
    call = comparison.declared.call
    for name, value in call.values.items() if call is not None else ():
        now = find(comparison.live, (name,))
        if now is not ABSENT:
            yield Drift(
                comparison.resource, Verdict.PENDING, format_pointer((name,)), live=now,
                declared=value, note=call.note if call else "", commands=(_apply(comparison),),
            )  # fmt: skip


def _choose_verdict(
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


def _make_drift(
    comparison: Comparison, path: Path, verdict: Verdict, then: Json | Absent, want: Json | Absent
) -> Drift:
    hidden = is_hidden(comparison.schema, path)
    now = find(comparison.live, path)
    accept = f"reconciler drift --accept {comparison.resource.address}"
    ours = verdict is Verdict.PENDING and comparison.last_applied is not None
    return Drift(
        comparison.resource,
        verdict,
        format_pointer(path),
        remembered=ABSENT if hidden else then,
        live=ABSENT if hidden else now,
        declared=ABSENT if hidden else want,
        hidden=hidden,
        note=_join(_name_model(comparison, path), "" if ours else _name_writers(comparison, path)),
        commands=(_apply(comparison),) if ours else (_apply(comparison), accept),
    )


def _name_model(comparison: Comparison, path: Path) -> str:
    names = (model.name for model in comparison.declared.models if model.path == path)
    return next((f'trained model "{name}"' for name in names), "")


def _name_writers(comparison: Comparison, path: Path) -> str:
    """Return who else is known to write a place and so may have changed it."""
    writers = comparison.schema.at(path).writers
    return f"it is also written by {writers}" if writers else ""


def _join(*notes: str) -> str:
    return "; ".join(note for note in notes if note)


def _compare_secrets(comparison: Comparison) -> Iterator[Drift]:
    """Compare version labels: the service never returns a secret, and the ledger has its label."""
    due = find_due_secrets(comparison)
    for pointer in comparison.not_observable:
        reference = comparison.secrets.get(pointer)
        if pointer in due:
            note = _explain_due(comparison, pointer, due[pointer].version)
            yield Drift(
                comparison.resource, Verdict.PENDING, pointer, hidden=True, note=note,
                commands=(_apply(comparison),),
            )  # fmt: skip
        else:
            pending = None if reference is not None else _find_unwritten(comparison, pointer)
            yield pending or _not_observable(comparison, pointer, reference is not None)


def _explain_due(comparison: Comparison, pointer: str, version: str) -> str:
    """Return why an apply writes a secret."""
    last_applied = comparison.last_applied
    if last_applied is None or pointer not in last_applied.secrets:
        return "the ledger does not record that it was written"
    return f'the label is "{version}" and "{last_applied.secrets[pointer]}" was last written'


def _find_unwritten(comparison: Comparison, pointer: str) -> Drift | None:
    """Return a finding for an unobservable value that differs from the last written one.

    Returns None where the two are the same.
    """
    path = split_pointer(pointer)
    then, want = get_last_applied(comparison, path), find(comparison.declared.document, path)
    known = replace(comparison.schema.at(path), write_only=False)
    unsure = then is ABSENT or bool(find_moved_epochs(comparison))
    if is_omitted(comparison.schema, path, comparison.live):
        in_sync = not unsure and same(known, then, want)
    else:
        in_sync = then is ABSENT or same(known, then, want)
    if in_sync:
        return None
    found = _make_drift(comparison, path, Verdict.PENDING, then, want)
    return replace(found, note=_join(found.note, "the live value is not observable"))


def _not_observable(comparison: Comparison, pointer: str, secret: bool) -> Drift:  # noqa: FBT001 - two forms of one finding
    written = comparison.last_applied is not None and pointer in (
        comparison.last_applied.secrets if secret else comparison.last_applied.owned
    )
    note = (
        f"set {format_last_applied(comparison.last_applied)}"
        if comparison.last_applied is not None and written
        else "when it was set is not known"
    )
    settle_command = (f"{_apply(comparison)} --rotate {comparison.resource.address}",)
    return Drift(
        comparison.resource, Verdict.NOT_OBSERVABLE, pointer, hidden=True, note=note,
        commands=settle_command if secret else (),
    )  # fmt: skip


def _compare_released(
    comparison: Comparison, last_applied: LastApplied, declared: Collection[Path]
) -> Iterator[Drift]:
    """Yield the changed places that the last apply declared and no manifest declares now."""
    for pointer in sorted(last_applied.owned):
        path = split_pointer(pointer)
        below = comparison.schema.at(path)
        inside = any(path[: len(one)] == one or one[: len(path)] == path for one in declared)
        not_observable = is_not_observable(comparison.schema, path, comparison.live)
        if (
            inside
            or not_observable
            or same(below, last_applied.owned[pointer], find(comparison.live, path))
        ):
            continue
        yield _report_undeclared(comparison, path, last_applied.owned[pointer])


def _compare_baseline(
    comparison: Comparison, last_applied: LastApplied, declared: Collection[Path]
) -> Iterator[Drift]:
    if not last_applied.baseline:
        return
    owned = {*last_applied.owned, *map(format_pointer, declared)}
    epochs = find_moved_epochs(comparison)
    for move in list_moves(comparison.schema, last_applied.baseline, comparison.live, owned):
        path = split_pointer(move.pointer)
        found = _report_undeclared(comparison, path, move.then)
        yield _report_epoch(comparison, found) if path in epochs else found


def _report_epoch(comparison: Comparison, found: Drift) -> Drift:
    """Return a finding that says that a changed epoch may have undone the last apply."""
    meaning = comparison.schema.at(split_pointer(found.pointer)).description
    note = f"{meaning} What was applied before may have been undone."
    again = f"{_apply(comparison)} --rotate {comparison.resource.address}"
    return replace(found, note=note, commands=(again,))


def _compare_exact(comparison: Comparison, reported: Collection[Path]) -> Iterator[Drift]:
    """Yield what an exact manifest removes, unless another finding already reports the place."""
    for change in diff(comparison.schema, comparison.live, make_desired_document(comparison)):
        path = split_pointer(format_pointer(change.path))
        inside = any(path[: len(one)] == one or one[: len(path)] == path for one in reported)
        if change.verb is Verb.REMOVE and not inside:
            found = _make_drift(comparison, path, Verdict.PENDING, ABSENT, ABSENT)
            yield replace(found, note=_EXACT)


def _report_undeclared(comparison: Comparison, path: Path, then: Json | Absent) -> Drift:
    below = comparison.schema.at(path)
    accept = f"reconciler drift --accept {comparison.resource.address}"
    return Drift(
        comparison.resource,
        Verdict.MODEL_SWAPPED if below.model else Verdict.DRIFTED,
        format_pointer(path),
        remembered=ABSENT if below.sensitive else then,
        live=ABSENT if below.sensitive else find(comparison.live, path),
        hidden=below.sensitive,
        note=_join(
            _EXACT if comparison.declared.exact else _UNDECLARED, _name_writers(comparison, path)
        ),
        commands=(_apply(comparison), accept) if comparison.declared.exact else (accept,),
    )


def _apply(comparison: Comparison) -> str:
    return f"reconciler apply --target {comparison.resource.address}"

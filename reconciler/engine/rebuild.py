"""Rebuilds ledger entries from the live and the declared values after the ledger was lost.

A declared value that live has counts as applied. No other value is assumed: a place that differs
is left out, so that it is not reported as drift. The rebuild command calls this module, which
must not write the ledger.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from reconciler.document.baseline import make_baseline
from reconciler.document.diff import is_not_observable, same
from reconciler.document.identity import is_same_creation, read_creation_time
from reconciler.document.pointers import find, format_pointer
from reconciler.engine.applying.journal import Author
from reconciler.engine.observe import observe
from reconciler.engine.planning.selection import PlanRequest, identify_resources, select_manifests
from reconciler.engine.runtime import Runtime
from reconciler.errors import Unplannable
from reconciler.model import (
    ABSENT,
    Absent,
    Action,
    Entry,
    Finding,
    Json,
    Manifest,
    RebuiltEntry,
    Resource,
    Snapshot,
)
from reconciler.plans.step import list_leaves
from reconciler.ports import Kind
from reconciler.text.times import format_utc

_NOTE = "rebuilt from what was live"


def rebuild_entries(
    runtime: Runtime, request: PlanRequest, author: Author, old: Snapshot | None = None
) -> tuple[RebuiltEntry, ...]:
    """Return a rebuilt entry for every resource that a manifest names; all of them are read now.

    `old` is the ledger that is replaced; None where it is lost or cannot be read. Then the secrets
    count as written.

    Raises Unplannable with every resource that could not be read or bound. Nothing is written.
    """
    manifests = select_manifests(request)
    resources = identify_resources(runtime, manifests, request.defaults)
    observed = observe(runtime, resources)
    old = old.of_resources(resources) if old is not None and old.known else None
    obstacles: list[Finding] = []
    found: list[RebuiltEntry] = []
    for resource, manifest in zip(resources, manifests, strict=True):
        seen = observed[resource]
        if seen.document is None:
            obstacles.extend(one for one in (seen.finding,) if one)
        elif isinstance(seen.document, Absent):
            found.append(RebuiltEntry(resource))
        else:
            kind = runtime.kinds[resource.address.kind]
            at = format_utc(runtime.clock())
            made, findings = _rebuild_entry(
                kind, resource, manifest, seen.document.open(), author, at
            )
            made = made if old is None else _keep_labels(kind, made, old, seen.document.open())
            obstacles.extend(findings)
            found.append(made)
    if obstacles:
        raise Unplannable(tuple(obstacles))
    return tuple(found)


def _rebuild_entry(
    kind: Kind, resource: Resource, manifest: Manifest, live: Json, author: Author, at: str
) -> tuple[RebuiltEntry, Sequence[Finding]]:
    declared = kind.bind(manifest, live)
    owned: dict[str, Json] = {}
    apart: list[str] = []
    not_observable: list[str] = []
    for path in list_leaves(kind.field, declared.document):
        pointer, now = format_pointer(path), find(live, path)
        if is_not_observable(kind.field, path, live):
            not_observable.append(pointer)
        elif _is_as_declared(kind, path, find(declared.document, path), now):
            owned[pointer] = now
        else:
            apart.append(pointer)
    secrets = {**manifest.secrets, **declared.secrets}
    entry = Entry(
        address=resource.address,
        id=resource.id,
        action=Action.ADOPT,
        at=at,
        by=author.by,
        host=author.host,
        commit=author.commit,
        plan_digest="",
        differing=author.differing,
        patch=(),
        inverse=(),
        owned=owned,
        secrets={pointer: reference.version for pointer, reference in secrets.items()},
        baseline=make_baseline(kind.field, live, {*owned, *apart, *not_observable}),
        note=_NOTE,
        wave=manifest.spec.get("wave", 0),
        fleet=manifest.member.fleet if manifest.member else None,
        token=str(resource.token) if resource.token is not None else "",
        created=read_creation_time(kind.field, live),
    )
    models = tuple(format_pointer(one.path) for one in declared.models)
    made = RebuiltEntry(resource, entry, tuple(apart), tuple(not_observable), models)
    return made, declared.findings


def _keep_labels(kind: Kind, made: RebuiltEntry, old: Snapshot, live: Json) -> RebuiltEntry:
    """Return the entry with the labels of the secrets that the old ledger records as written.

    A secret that it does not record was never written to this resource.
    """
    if made.entry is None:
        return made
    known = old.last_applied_by_address.get(made.resource.address)
    if known is not None and not is_same_creation(kind.field, known.created, live):
        known = None
    written = known.secrets if known is not None else {}
    labels = {pointer: written[pointer] for pointer in made.entry.secrets if pointer in written}
    unwritten = tuple(sorted(set(made.entry.secrets) - set(labels)))
    return replace(
        made, entry=replace(made.entry, secrets=labels), unwritten=unwritten, assumed=False
    )


def _is_as_declared(
    kind: Kind, path: tuple[str | int, ...], declared: Json | Absent, live: Json | Absent
) -> bool:
    return live is not ABSENT and same(kind.field.at(path), declared, live)

"""Remembering anew, from what is live and what is declared, where the ledger is lost.

What a manifest declares and live has is taken to be what was applied. Nothing else is guessed: a
place that differs is left out, so that nobody is said to have moved it.
"""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.document.baseline import make_baseline
from reconciler.document.diff import is_unseen, same
from reconciler.document.pointers import find, format_pointer
from reconciler.engine.applying.journal import Author
from reconciler.engine.observe import observe
from reconciler.engine.planning.selection import Order, choose, identify
from reconciler.engine.runtime import Hands
from reconciler.errors import Unplannable
from reconciler.model import (
    ABSENT,
    Absent,
    Action,
    Entry,
    Finding,
    Json,
    Manifest,
    Recollection,
    Resource,
)
from reconciler.plans.step import find_leaves
from reconciler.ports import Kind

_NOTE = "rebuilt from what was live"


def recollect(hands: Hands, order: Order, author: Author) -> tuple[Recollection, ...]:
    """What can be remembered of every resource that a manifest names, all of it read now.

    Raises Unplannable with everything that could not be read or bound; nothing is written.
    """
    manifests = choose(order)
    resources = identify(hands, manifests, order.defaults)
    survey = observe(hands, resources)
    obstacles: list[Finding] = []
    found: list[Recollection] = []
    for resource, manifest in zip(resources, manifests, strict=True):
        seen = survey[resource]
        if seen.document is None:
            obstacles.extend(one for one in (seen.finding,) if one)
        elif isinstance(seen.document, Absent):
            found.append(Recollection(resource))
        else:
            kind = hands.kinds[resource.address.kind]
            at = hands.clock().strftime("%Y-%m-%dT%H:%M:%SZ")
            made, findings = _recollect(kind, resource, manifest, seen.document.open(), author, at)
            obstacles.extend(findings)
            found.append(made)
    if obstacles:
        raise Unplannable(tuple(obstacles))
    return tuple(found)


def _recollect(
    kind: Kind, resource: Resource, manifest: Manifest, live: Json, author: Author, at: str
) -> tuple[Recollection, Sequence[Finding]]:
    declared = kind.bind(manifest, live)
    owned: dict[str, Json] = {}
    apart: list[str] = []
    unseen: list[str] = []
    for path in find_leaves(kind.field, declared.document):
        pointer, now = format_pointer(path), find(live, path)
        if is_unseen(kind.field, path, live):
            unseen.append(pointer)
        elif _is_as_declared(kind, path, find(declared.document, path), now):
            owned[pointer] = now
        else:
            apart.append(pointer)
    secrets = manifest.spec.get("secrets", {})
    entry = Entry(
        address=resource.address,
        id=resource.id,
        action=Action.ADOPT,
        at=at,
        by=author.by,
        host=author.host,
        commit=author.commit,
        plan_digest="",
        patch=(),
        inverse=(),
        owned=owned,
        secrets={pointer: given.get("version", "") for pointer, given in secrets.items()},
        baseline=make_baseline(kind.field, live, {*owned, *apart, *unseen}),
        note=_NOTE,
        wave=manifest.spec.get("wave", 0),
        fleet=manifest.member.fleet if manifest.member else None,
        token=str(resource.token) if resource.token is not None else "",
    )
    models = tuple(format_pointer(one.path) for one in declared.models)
    made = Recollection(resource, entry, tuple(apart), tuple(unseen), models)
    return made, declared.findings


def _is_as_declared(
    kind: Kind, path: tuple[str | int, ...], declared: Json | Absent, live: Json | Absent
) -> bool:
    return live is not ABSENT and same(kind.field.at(path), declared, live)

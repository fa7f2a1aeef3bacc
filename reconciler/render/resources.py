"""Renders the list of managed resources, as a table for people and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from reconciler.document.pointers import split_pointer
from reconciler.document.schema import Field
from reconciler.model import Address, Json, LastApplied
from reconciler.model.values import dataclass
from reconciler.render.words.colour import Paint
from reconciler.render.words.escape import cut, escape, shorten_apart
from reconciler.secrets.signatures import strip_credentials
from reconciler.text.commits import shorten_commit

FORMAT_VERSION: Final = "1.0"
_OF_STORAGE: Final = frozenset({"http", "https"})
_COLUMNS: Final = ("ADDRESS", "ID", "MODEL", "LAST APPLIED", "BY")
_UNKNOWN: Final = "not in the ledger"


@dataclass(frozen=True, slots=True)
class ManagedResource:
    """A resource that a manifest declares, the ledger remembers, or both.

    `models` are the URIs of the trained models of the last apply. `id` is that of the last apply,
    before it the declared one.
    """

    address: Address
    id: str
    models: tuple[str, ...]
    declared: bool
    fleet: Address | None = None
    last_applied: LastApplied | None = None


def find_applied_models(last_applied: LastApplied, field: Field | None) -> tuple[str, ...]:
    """The URIs of the trained models that the last apply left in service; none without a schema.

    Beside the models, a service may have modules, which are in no storage: they are left out.
    """
    if field is None:
        return ()
    places = ((split_pointer(pointer), value) for pointer, value in last_applied.owned.items())
    found = [value for path, value in places if field.at(path).model and isinstance(value, str)]
    stored = [uri for uri in found if uri.partition("://")[0].lower() in _OF_STORAGE]
    return tuple(stored or found)


def render_resources(resources: Sequence[ManagedResource], paint: Paint) -> str:
    """Returns a table with a line for each resource, and one more for each further model."""
    models = {strip_credentials(uri) for one in resources for uri in one.models}
    shown = shorten_apart(models)
    rows = [_COLUMNS, *(row for one in resources for row in _list_rows(one, shown))]
    widths = [max(len(row[index]) for row in rows) for index in range(len(_COLUMNS))]
    lines = ["   ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return "\n".join([paint("bold", lines[0]), *lines[1:]])


def _list_rows(resource: ManagedResource, shown: Mapping[str, str]) -> Iterator[tuple[str, ...]]:
    last = resource.last_applied
    models = [escape(cut(shown[strip_credentials(one)])) for one in resource.models] or ["-"]
    by = last.by + (f"@{shorten_commit(last.commit)}" if last.commit else "") if last else "-"
    yield (
        escape(str(resource.address)),
        escape(cut(resource.id.rstrip("/").rpartition("/")[2])) or "-",
        models[0],
        escape(last.at) if last else _UNKNOWN,
        escape(cut(by)) + ("" if resource.declared else " (no manifest)"),
    )
    yield from (("", "", model, "", "") for model in models[1:])


def resources_document(resources: Sequence[ManagedResource], environment: str = "") -> Json:
    """Returns the document of `list --format json`; schemas/output/list describes it."""
    return {
        "format_version": FORMAT_VERSION,
        **({"environment": environment} if environment else {}),
        "resources": [_describe(one) for one in resources],
    }


def _describe(resource: ManagedResource) -> Mapping[str, Json]:
    last = resource.last_applied
    applied = last and {
        "sequence": last.sequence,
        "at": last.at,
        "by": last.by,
        "commit": last.commit,
        "plan_digest": last.plan_digest,
    }
    return {
        "address": str(resource.address),
        "id": resource.id,
        "fleet": str(resource.fleet) if resource.fleet else None,
        "models": [strip_credentials(one) for one in resource.models],
        "declared": resource.declared,
        "last_applied": applied,
    }

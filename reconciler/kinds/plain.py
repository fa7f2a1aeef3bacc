"""What a kind answers that needs no more: a kind begins with these and overrides what it has."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final

from reconciler.model import (
    Address,
    Finding,
    Json,
    Live,
    Manifest,
    Progress,
    Resource,
    Source,
    Step,
)
from reconciler.pointers import format_pointer

# Of what a service has, which may be a million of them.
_MOST_NAMED: Final = 20
_MOST_COMPARED: Final = 1000


class PlainKind:
    """A kind whose resources start from nothing, have no owner, and stand each alone."""

    def find_source(
        self, _manifest: Manifest, _defaults: Mapping[str, Json]
    ) -> Address | Resource | None:
        """Nothing."""
        return None

    def find_region(self, _source: Json, _after: Json) -> str:
        """None: there are no copies."""
        return ""

    def find_missing(self, _manifest: Manifest, _step: Step) -> tuple[Finding, ...]:
        """Nothing is demanded."""
        return ()

    def find_refusals(self, _manifest: Manifest, _step: Step) -> tuple[Finding, ...]:
        """Nothing is refused."""
        return ()

    def find_conflicts(
        self, _steps: Sequence[tuple[Manifest | None, Step]], _peers: Sequence[Json]
    ) -> tuple[Finding, ...]:
        """Each stands alone."""
        return ()

    def find_owner(self, _live: Json, _project: str) -> str:
        """Nobody says so."""
        return ""


class PlainProvider:
    """Calls to a service with sparse lists, without copies and without operations."""

    def read_many(self, _resources: Sequence[Resource]) -> Mapping[Resource, Live]:
        """Nothing: no list shows a document whole."""
        return {}

    def find_peers(self, _resource: Resource) -> Sequence[Json]:
        """Nothing: no list shows a document whole."""
        return ()

    def has_copy(self, _source: Source) -> bool:
        """There are none."""
        return False

    def settle(self, _resource: Resource) -> Iterator[Progress]:
        """No operation can be followed."""
        return iter(())


def name_some(names: Sequence[str]) -> str:
    """The names; of very many, the first."""
    more = f" and {len(names) - _MOST_NAMED:,} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more


def find_unknown(manifest: Manifest, name: str, known: Collection[str]) -> Finding:
    """A trained model under a name that the service does not have; `known` are those it has."""
    names = sorted(known)
    there = name_some([f'"{one}"' for one in names])
    near = difflib.get_close_matches(name, names[:_MOST_COMPARED], n=1)
    return Finding(
        f'no trained model is named "{name}"',
        subject=str(manifest.address),
        place=manifest.place(format_pointer(("spec", "trainedModels", name))),
        detail=(f"The service has: {there or 'no trained model at all'}.",),
        next_step=f'Did you mean "{near[0]}"?' if near else "Use a name that the service has.",
    )

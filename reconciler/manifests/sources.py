"""What a new resource starts from, as far as the manifests alone tell whether it can be.

The address is that of another manifest. Chains are in order: each is looked up where it is live.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final

from reconciler.document.pointers import find, format_pointer
from reconciler.model import Finding, Manifest

_ADDRESS: Final = ("definition", "from", "address")
# To find what is near takes time, and who has misnamed twenty reads no more of it.
_SUGGESTED: Final = 20


def check_sources(
    manifests: Iterable[Manifest], known: Collection[str], *, whole: bool
) -> Iterator[tuple[Manifest, Finding]]:
    """Manifests whose sources are the manifest itself, or that no manifest declares.

    `known` holds every address that stands in some manifest, also in one that has errors; where
    not the `whole` project was read, an address may stand elsewhere.
    """
    suggestions: dict[str, str] = {}
    for manifest in manifests:
        source = find(manifest.spec, _ADDRESS)
        if source == str(manifest.address):
            step = "Name the service that it is made from."
            yield manifest, _wrong(manifest, "starts from itself", step)
        elif whole and isinstance(source, str) and source not in known:
            if source not in suggestions:
                others = known if len(suggestions) < _SUGGESTED else ()
                suggestions[source] = _suggest(source, sorted({*others} - {str(manifest.address)}))
            message = f"starts from {source}, which no manifest declares"
            yield manifest, _wrong(manifest, message, suggestions[source])


def _suggest(source: str, others: Sequence[str]) -> str:
    """The address whose name is near; that all begin with the same kind makes none alike."""
    names = {address.partition("/")[2]: address for address in others}
    near = difflib.get_close_matches(source.partition("/")[2], names, n=1)
    return f"Did you mean {names[near[0]]}?" if near else "Name the service: from: {resource: …}"


def _wrong(manifest: Manifest, message: str, next_step: str) -> Finding:
    place = manifest.place(format_pointer(("spec", *_ADDRESS)))
    return Finding(message, place=place, next_step=next_step)

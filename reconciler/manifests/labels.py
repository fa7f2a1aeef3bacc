"""Selects manifests by their labels, with the selectors of kubectl that test for equality."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from reconciler.errors import ManifestInvalid
from reconciler.model import Address, Finding, Manifest
from reconciler.model.values import dataclass
from reconciler.text.suggestions import suggest

_TERM: Final = re.compile(r"(!?)([^\s=!,]+)(?:(==?|!=)([^\s=!,]*))?")


@dataclass(frozen=True, slots=True)
class _Term:
    """One condition: `key=value`, `key!=value`, `key` or `!key`."""

    key: str
    value: str | None
    negated: bool

    def matches(self, labels: Mapping[str, str]) -> bool:
        have = labels.get(self.key)
        found = have is not None if self.value is None else have == self.value
        return found is not self.negated


def select_by_labels(
    manifests: Sequence[Manifest], selectors: Iterable[str]
) -> tuple[Address, ...]:
    """Returns the addresses of the manifests that match every selector.

    A selector has conditions with commas between them. Raises ManifestInvalid for a selector that
    cannot be read, and when no manifest matches.
    """
    given = tuple(selectors)
    terms = [term for text in given for term in _parse(text)]
    found = tuple(
        one.address for one in manifests if all(term.matches(one.labels) for term in terms)
    )
    if not found:
        raise ManifestInvalid((_explain_no_match(manifests, given, terms),))
    return found


def _parse(text: str) -> list[_Term]:
    terms = []
    for part in text.split(","):
        found = _TERM.fullmatch(part.strip())
        if found is None or (found[1] and found[3]):
            raise ManifestInvalid(
                (
                    Finding(
                        f'-l "{text}" is not a selector',
                        next_step="A selector is like team=growth, team!=growth, team, or"
                        " team=growth,tier=gold.",
                    ),
                )
            )
        terms.append(_Term(found[2], found[4], negated=bool(found[1]) or found[3] == "!="))
    return terms


def _explain_no_match(
    manifests: Sequence[Manifest], given: Sequence[str], terms: Sequence[_Term]
) -> Finding:
    known = sorted({f"{key}={value}" for one in manifests for key, value in one.labels.items()})
    near = suggest(f"{terms[0].key}={terms[0].value or ''}", known)
    if near:
        step = f"Did you mean -l {near}?"
    else:
        some = f"Some labels are {', '.join(known[:5])}." if known else "No manifest has labels."
        step = f"Labels are in metadata.labels. {some}"
    return Finding(f"no resource has the labels of -l {','.join(given)}", next_step=step)

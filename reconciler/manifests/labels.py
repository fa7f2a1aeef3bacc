"""Selects manifests by their labels, with the label selectors of kubectl."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from reconciler.errors import ManifestInvalid
from reconciler.model import Address, Finding, Manifest
from reconciler.model.values import dataclass
from reconciler.text.patterns import compile_lazily

_TERM: Final = compile_lazily(r"(!?)([^\s=!,()]+)(?:\s*(==?|!=)\s*([^\s=!,()]*))?")
_SET: Final = compile_lazily(r"([^\s=!,()]+)\s+(in|notin)\s*\(([^()]*)\)")
# A comma inside of parentheses separates values, and not conditions.
_COMMA: Final = re.compile(r",(?![^()]*\))")


@dataclass(frozen=True, slots=True)
class _Term:
    """One condition on a label: that it exists, or that it has one of `values`; or its opposite."""

    key: str
    values: tuple[str, ...] | None
    negated: bool

    def matches(self, labels: Mapping[str, str]) -> bool:
        have = labels.get(self.key)
        found = have is not None if self.values is None else have in self.values
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
        raise ManifestInvalid((_explain_no_match(manifests, given),))
    return found


def list_labels(manifests: Iterable[Manifest]) -> list[str]:
    """Returns every label of the manifests, such as `team=growth`, sorted."""
    return sorted({f"{key}={value}" for one in manifests for key, value in one.labels.items()})


def _parse(text: str) -> Iterator[_Term]:
    for part in map(str.strip, _COMMA.split(text)):
        is_set, is_term = _SET.fullmatch(part), _TERM.fullmatch(part)
        if is_set is not None:
            values = tuple(value.strip() for value in is_set[3].split(","))
            yield _Term(is_set[1], values, negated=is_set[2] == "notin")
        elif is_term is not None and not (is_term[1] and is_term[3]):
            value = None if is_term[3] is None else (is_term[4],)
            yield _Term(is_term[2], value, negated=bool(is_term[1]) or is_term[3] == "!=")
        else:
            raise ManifestInvalid((_refuse(text),))


def _refuse(text: str) -> Finding:
    return Finding(
        f'-l "{text}" is not a selector',
        next_step="A selector is like team=growth, team!=growth, team, !team,"
        " 'team in (growth, risk)' or team=growth,tier=gold.",
    )


def _explain_no_match(manifests: Sequence[Manifest], given: Sequence[str]) -> Finding:
    known = list_labels(manifests)
    # No label is proposed: the command may destroy what it selects.
    some = f"Some labels are {', '.join(known[:5])}." if known else _name_unlabelled(manifests)
    step = f"Labels are in metadata.labels. {some}"
    return Finding(f"no resource has the labels of -l {','.join(given)}", next_step=step)


def _name_unlabelled(manifests: Iterable[Manifest]) -> str:
    kinds = sorted({one.address.kind for one in manifests})
    return f"No manifest of the kind {' or '.join(kinds)} has labels." if kinds else ""

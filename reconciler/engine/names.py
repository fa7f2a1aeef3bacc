"""Looks up the parts of ids that manifests give by the names that people see.

Such a name is not unique and can change, so exactly one thing must have it now. A plan then holds
the id that was found. `Runtime` calls this module. It sends no write.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Final, TypeAlias

from reconciler.errors import ReconcilerError
from reconciler.model import Finding, NamedPart
from reconciler.text.suggestions import ask, suggest

_MOST_NAMED: Final = 20
Listed: TypeAlias = Sequence[tuple[str, str]]
Scan: TypeAlias = Callable[[], Iterable[tuple[str, str]]]


class NameLists:
    """The ids by name, from one list of each scope. Safe to use from several threads.

    A list that failed is not asked for again: a thousand members would get a thousand refusals.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listed: dict[tuple[str, str, str], Listed | Finding] = {}
        self._found: dict[NamedPart, str | Finding] = {}

    def find_id(self, kind: str, named: NamedPart, scan: Scan) -> str | Finding:
        """The id of the one thing that has the name, or the finding that says why not.

        `scan` lists the ids and names of the scope. The finding has no subject and no place.
        """
        with self._lock:
            if named not in self._found:
                listed = self._list(kind, named, scan)
                self._found[named] = (
                    listed if isinstance(listed, Finding) else _choose(named, listed)
                )
            return self._found[named]

    def find_all(self, kind: str, named: NamedPart, scan: Scan) -> Sequence[str] | None:
        """The ids of all things that have the name; None if they cannot be listed.

        `scan` lists the ids and names of the scope.
        """
        with self._lock:
            listed = self._list(kind, named, scan)
        if isinstance(listed, Finding):
            return None
        return [one for one, name in listed if _is_named(named, name)]

    def _list(self, kind: str, named: NamedPart, scan: Scan) -> Listed | Finding:
        key = kind, named.scope, str(named.token)
        if key not in self._listed:
            self._listed[key] = _list(named, scan)
        return self._listed[key]


def add_places(finding: Finding, named: NamedPart, found: Sequence[str]) -> Finding:
    """Return a finding about a thing that is not there, with where one of its name is.

    `found` is the result of `NameLists.find_all`.
    """
    others = [one for one in found if one.casefold() != named.id.casefold()]
    if not others:
        said = f'No {named.noun} in {named.scope} is named "{named.name}".'
        return finding if named.id else replace(finding, detail=(*finding.detail, said))
    if len(others) > 1:
        shown = f"{', '.join(others[:_MOST_NAMED])}{_more(others)}"
        said = f'{len(others):,} {named.noun}s are named "{named.name}": in {shown}.'
        cure = f"Set {_at_part(named)} to the {named.value_noun} of the one that is meant."
        return replace(finding, detail=(*finding.detail, said), next_step=cure)
    (other,) = others
    said = f'A {named.noun} named "{named.name}" exists in the {named.value_noun} {other}.'
    cure = (
        f"If it is the one that is meant, set {_at_part(named)}: {other} in the manifest,"
        f" or spec.defaults.{named.part}: {other} in the project file."
    )
    return replace(finding, detail=(*finding.detail, said), next_step=cure)


def _list(named: NamedPart, scan: Scan) -> Listed | Finding:
    try:
        return sorted(scan(), key=lambda one: (one[1], one[0]))
    except ReconcilerError as error:
        said = f"the {named.noun}s could not be listed: {error.message}"
        return Finding(said, next_step=error.findings()[0].next_step)


def _is_named(named: NamedPart, name: str) -> bool:
    return name.casefold() == named.name.casefold() if named.any_case else name == named.name


def _choose(named: NamedPart, listed: Listed) -> str | Finding:
    """Return the id for a name; a declared id must be the id of a thing with that name."""
    ids = [one for one, name in listed if name == named.name]
    if named.id:
        same = [one for one in listed if one[0].casefold() == named.id.casefold()]
        if any(name == named.name for _, name in same):
            return same[0][0]
        return _describe_other(named, same)
    if len(ids) == 1:
        return ids[0]
    if ids:
        return Finding(
            f'{len(ids):,} {named.noun}s are named "{named.name}"',
            detail=(f"Their ids: {', '.join(ids[:_MOST_NAMED])}{_more(ids)}.",),
            next_step=f"Set {_at_part(named)} to the id of the one that is meant.",
        )
    near = suggest(named.name, [name for _, name in listed], most=1000)
    there = [f'"{name}" ({id_})' for id_, name in listed[:_MOST_NAMED]]
    known = f"There are: {', '.join(there)}{_more(listed)}." if there else "The list is empty."
    return Finding(
        f'no {named.noun} is named "{named.name}"',
        detail=(known,),
        next_step=ask(named.name, near)
        if near
        else f"Correct {named.key}, or set {_at_part(named)}.",
    )


def _describe_other(named: NamedPart, same: Listed) -> Finding:
    """Return the finding for a declared id that is not the id of a thing with the name."""
    known = f'is named "{same[0][1]}" and not "{named.name}"' if same else "does not exist"
    return Finding(
        f"the {named.noun} {named.id} {known}",
        next_step=f"Correct {_at_part(named)}, or {named.key}.",
    )


def _at_part(named: NamedPart) -> str:
    return f"{named.key.rpartition('.')[0]}.{named.part}"


def _more(items: Sequence[object]) -> str:
    left = len(items) - _MOST_NAMED
    return f" and {left:,} more" if left > 0 else ""

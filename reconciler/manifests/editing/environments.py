"""Finds which file of an environment an edit belongs to: its own values, or a manifest of its own.

A text of a manifest that has one `${values.NAME}` is changed in the file of the environment, where
the value is. Any other value is changed in the manifest, if no other environment reads the file. An
edit that would change another environment, or another place, is refused.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from reconciler.document.pointers import find, format_pointer, split_pointer
from reconciler.errors import ManifestInvalid
from reconciler.files import read_whole
from reconciler.manifests.editing.accept import PlacedEdit, read_document, respell_pointer
from reconciler.manifests.folder import is_manifest_name
from reconciler.manifests.tokens import OPENING, Scalar, Token, find_tokens, unescape
from reconciler.model import Edit, Environment, Finding, Json
from reconciler.model.values import dataclass

_VALUES: Final = "values."
_ANNOTATIONS: Final = "/metadata/annotations"
_BY_HAND: Final = "Change it by hand."


@dataclass(frozen=True)
class EnvironmentScope:
    """What an environment reads, and what the others read.

    `tokens` are its values by the names of the tokens. `files` are the names of the files that it
    reads, and `others` those of each other environment.
    """

    environment: Environment
    tokens: Mapping[str, Scalar]
    files: Collection[str]
    others: Mapping[str, Collection[str]]

    def list_readers(self, file: str) -> list[str]:
        """The other environments that read a file."""
        return sorted(name for name, files in self.others.items() if file in files)


def settle_edits(
    root: Path, placed: Sequence[PlacedEdit], scope: EnvironmentScope | None
) -> Sequence[PlacedEdit]:
    """Returns the edits with the file and the place that each belongs to, in one environment.

    The first annotations of a manifest that others read too are left out: the message of the commit
    and the ledger hold the same. Raises ManifestInvalid with a finding for each edit that is not
    possible. Without a `scope`, the edits stay as they are.
    """
    if scope is None:
        return placed
    settled: list[PlacedEdit] = []
    findings: list[Finding] = []
    for one in placed:
        try:
            settled += _settle(root, one, scope)
        except ManifestInvalid as error:
            findings += error.findings()
    findings += _check_uses(root, settled, scope)
    if findings:
        raise ManifestInvalid(tuple(dict.fromkeys(findings)))
    return settled


def _settle(root: Path, one: PlacedEdit, scope: EnvironmentScope) -> Iterator[PlacedEdit]:
    edit = one.edit
    readers = scope.list_readers(one.file)
    given: Json = ""
    if isinstance(edit, Edit) and is_manifest_name(Path(one.file).name):
        text = read_whole(root / one.file)
        document = read_document(one.manifest, one.file, text, scope.tokens)
        path = split_pointer(respell_pointer(document, edit.pointer))
        given = path[-1] if edit.name else find(document, path)
    if isinstance(edit, Edit) and isinstance(given, str) and (tokens := find_tokens(given)):
        name, value = _invert(one, given, tokens, edit.name or edit.value)
        place = format_pointer(("spec", "values", name))
        yield replace(one, file=scope.environment.file, edit=Edit(place, value))
    elif _holds_token(given):
        raise _refuse(one, "values of it come from the environment", _BY_HAND)
    elif not readers:
        yield one
    elif not (isinstance(edit, Edit) and edit.pointer.startswith(_ANNOTATIONS)):
        others = " and ".join(readers)
        raise _refuse(
            one,
            f"{one.file} is also read by {others}, so the edit would change {others} too",
            f"Write ${{values.NAME}} in {one.file}, and NAME in spec.values of each environment.",
        )


def _holds_token(value: Json) -> bool:
    if isinstance(value, dict):
        return any(map(_holds_token, (*value, *value.values())))
    if isinstance(value, list):
        return any(map(_holds_token, value))
    return isinstance(value, str) and bool(find_tokens(value))


def _invert(
    one: PlacedEdit, given: str, tokens: Sequence[Token], wanted: Json
) -> tuple[str, Scalar]:
    """Returns the name of a value of the environment, and what it must become."""
    names = " and ".join(dict.fromkeys(f"${{{token.name}}}" for token in tokens))
    if len(tokens) > 1 or not tokens[0].name.startswith(_VALUES):
        raise _refuse(one, f"its text comes from {names}, and not from one value", _BY_HAND)
    (token,) = tokens
    name = token.name.removeprefix(_VALUES)
    before, after = unescape(given[: token.start]), unescape(given[token.end :])
    if not (before or after) and isinstance(wanted, Scalar):
        found: Scalar = wanted
    elif (
        isinstance(wanted, str)
        and wanted.startswith(before)
        and wanted.endswith(after)
        and len(wanted) > len(before) + len(after)
    ):
        found = wanted[len(before) : len(wanted) - len(after)]
    else:
        raise _refuse(one, f"the new value does not fit the text around {names}", _BY_HAND)
    if isinstance(found, str) and OPENING in found:
        raise _refuse(one, f"the new value of {names} would hold ${{", _BY_HAND)
    return name, found


def _check_uses(
    root: Path, settled: Sequence[PlacedEdit], scope: EnvironmentScope
) -> Iterator[Finding]:
    """Yields a finding for each value whose change would change another place too."""
    by_value: dict[str, list[PlacedEdit]] = {}
    for one in settled:
        if one.file == scope.environment.file and isinstance(one.edit, Edit):
            by_value.setdefault(one.edit.pointer, []).append(one)
    uses = _count_uses(root, scope) if by_value else {}
    for pointer, ones in by_value.items():
        name = split_pointer(pointer)[-1]
        wanted = {str(one.edit.value): one for one in ones if isinstance(one.edit, Edit)}
        token = f"{_VALUES}{name}"
        if len(wanted) > 1:
            said = f"${{{token}}} would have to become two values"
        elif uses.get(token, 0) > len(ones):
            said = f"${{{token}}} is used at {uses[token]} places, and all of them would change"
        else:
            continue
        step = f"Give it a value of its own in spec.values of {scope.environment.file}."
        yield from _refuse(ones[0], said, step).findings()


def _count_uses(root: Path, scope: EnvironmentScope) -> Mapping[str, int]:
    """Counts the uses of each token in the files that the environment reads."""
    counted: dict[str, int] = {}
    for name in scope.files:
        if name != scope.environment.file and is_manifest_name(Path(name).name):
            for line in read_whole(root / name).splitlines():
                for token in () if line.lstrip().startswith("#") else find_tokens(line):
                    counted[token.name] = counted.get(token.name, 0) + 1
    return counted


def _refuse(one: PlacedEdit, said: str, step: str) -> ManifestInvalid:
    at = one.edit.pointer if isinstance(one.edit, Edit) else ""
    place = one.manifest.place(at) if at and one.file == one.manifest.file else None
    named = f"{at.rpartition('/')[2]}: {said}" if at else said
    subject = str(one.manifest.address)
    return ManifestInvalid((Finding(named, subject=subject, place=place, next_step=step),))

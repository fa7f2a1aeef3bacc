"""The emulator's fault file, read: the emulator says what may stand there, this where it stands."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from reconciler.emulator import Fault, find_flaws, make_faults
from reconciler.errors import ManifestInvalid
from reconciler.manifests.yaml_text import Places, Text
from reconciler.model import Finding, Place
from reconciler.pointers import format_pointer

if TYPE_CHECKING:  # only named here
    import yaml

_MOST_BYTES: Final = 1024 * 1024


def read_faults(file: Path) -> tuple[Fault, ...]:
    """The faults of a file, in order. Raises ManifestInvalid with all that is wrong with it."""
    parsed = Text(str(file), _read_text(file))
    nodes = list(parsed.compose())
    document = parsed.build(nodes[0]) if nodes else None
    findings = [*parsed.findings, *_find_documents(parsed, nodes)]
    if nodes:
        findings += _find_wrong(Places(parsed.file, nodes[0]), document)
    if findings:
        raise ManifestInvalid(tuple(sorted(findings, key=_order)))
    return make_faults(document)


def _read_text(file: Path) -> str:
    """The text of a regular file of bounded size, in UTF-8."""
    state = file.stat()
    if not stat.S_ISREG(state.st_mode):
        raise _refuse(file, "is not a regular file")
    if state.st_size > _MOST_BYTES:
        raise _refuse(file, f"is {state.st_size / 1_000_000:.0f} MB; a fault file has at most 1 MB")
    try:
        return file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _refuse(file, "is not text in UTF-8") from error


def _refuse(file: Path, message: str) -> ManifestInvalid:
    return ManifestInvalid((Finding(message, subject=str(file)),))


def _find_documents(parsed: Text, nodes: list[yaml.Node]) -> Iterator[Finding]:
    if not nodes and not parsed.findings:
        step = "Write a list of faults, or leave --faults out."
        yield Finding("holds no faults", place=Place(parsed.file, 1, 1), next_step=step)
    for node in nodes[1:]:
        yield Finding(
            "a second document", place=parsed.place(node), next_step="Keep all faults in one list."
        )


def _find_wrong(places: Places, document: object) -> Iterator[Finding]:
    for flaw in find_flaws(document):
        place = places[format_pointer(flaw.path)]
        yield Finding(flaw.message, place=place, next_step=flaw.next_step)


def _order(finding: Finding) -> tuple[int, int, str]:
    at = finding.place
    return (at.line, at.column, finding.message) if at else (0, 0, finding.message)

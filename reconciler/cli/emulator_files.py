"""The emulator's files, read: the emulator says what may stand there, this where it stands."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from reconciler.document.pointers import format_pointer
from reconciler.emulator import (
    Fault,
    Flaw,
    Workspace,
    find_in_faults,
    find_in_world,
    make_faults,
    make_world,
)
from reconciler.errors import ManifestInvalid
from reconciler.manifests.yaml_text import Places, Text
from reconciler.model import Finding, Json, Place

if TYPE_CHECKING:  # only named here
    import yaml

_MOST_BYTES: Final = 1024 * 1024


def read_faults(file: Path) -> tuple[Fault, ...]:
    """The faults of a file, in order. Raises ManifestInvalid with all that is wrong with it."""
    return make_faults(_read(file, "faults", find_in_faults))


def read_world(file: Path) -> tuple[Workspace, ...]:
    """The workspaces of a file. Raises ManifestInvalid with all that is wrong with it."""
    return make_world(_read(file, "world", find_in_world))


def _read(file: Path, option: str, find_flaws: Callable[[object], Iterator[Flaw]]) -> Json:
    """A file's one document, in which nothing is wrong."""
    parsed = Text(str(file), _read_text(file))
    nodes = list(parsed.compose())
    document = parsed.build(nodes[0]) if nodes else None
    findings = [*parsed.findings, *_find_documents(parsed, nodes, option)]
    if nodes:
        places = Places(parsed.file, nodes[0])
        for flaw in find_flaws(document):
            place = places[format_pointer(flaw.path)]
            findings.append(Finding(flaw.message, place=place, next_step=flaw.next_step))
    if findings:
        raise ManifestInvalid(tuple(sorted(findings, key=_order)))
    return document


def _read_text(file: Path) -> str:
    """The text of a regular file of bounded size, in UTF-8."""
    state = file.stat()
    if not stat.S_ISREG(state.st_mode):
        raise _refuse(file, "is not a regular file")
    if state.st_size > _MOST_BYTES:
        raise _refuse(file, f"is {state.st_size / 1_000_000:.0f} MB; it may have at most 1 MB")
    try:
        return file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _refuse(file, "is not text in UTF-8") from error


def _refuse(file: Path, message: str) -> ManifestInvalid:
    return ManifestInvalid((Finding(message, subject=str(file)),))


def _find_documents(parsed: Text, nodes: list[yaml.Node], option: str) -> Iterator[Finding]:
    if not nodes and not parsed.findings:
        step = f"Write what it is to hold, or leave --{option} out."
        yield Finding(f"holds no {option}", place=Place(parsed.file, 1, 1), next_step=step)
    for node in nodes[1:]:
        yield Finding(
            "a second document", place=parsed.place(node), next_step="Keep all in one document."
        )


def _order(finding: Finding) -> tuple[int, int, str]:
    at = finding.place
    return (at.line, at.column, finding.message) if at else (0, 0, finding.message)

"""Reads the files of `--faults` and `--world`, with the place of every error."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from reconciler.document.pointers import format_pointer
from reconciler.emulator import (
    Fault,
    FileFinding,
    Workspace,
    check_fault_file,
    check_world,
    make_faults,
    make_world,
)
from reconciler.errors import ManifestInvalid
from reconciler.manifests.yaml_text import SourceMap, Text
from reconciler.model import Finding, Json, SourceLocation

_MOST_BYTES: Final = 1024 * 1024

if TYPE_CHECKING:  # only named here
    import yaml


def read_faults(file: Path) -> tuple[Fault, ...]:
    """The faults of a file, in order. Raises ManifestInvalid with every error of the file."""
    return make_faults(_read(file, "faults", check_fault_file))


def read_world(file: Path) -> tuple[Workspace, ...]:
    """The workspaces of a file. Raises ManifestInvalid with every error of the file."""
    return make_world(_read(file, "world", check_world))


def _read(
    file: Path, option: str, check_document: Callable[[object], Iterator[FileFinding]]
) -> Json:
    """The single document of a file; raises ManifestInvalid with every error of the file."""
    parsed = Text(str(file), _read_text(file))
    nodes = list(parsed.compose())
    document = parsed.build(nodes[0]) if nodes else None
    findings = [*parsed.findings, *_check_documents(parsed, nodes, option)]
    if nodes:
        places = SourceMap(parsed.file, nodes[0])
        for file_finding in check_document(document):
            # A name that looks like a secret is not kept, so its member cannot be found.
            place = places.find_nearest(format_pointer(file_finding.path))
            findings.append(
                Finding(file_finding.message, place=place, next_step=file_finding.next_step)
            )
    if findings:
        raise ManifestInvalid(tuple(sorted(findings, key=_sort_key)))
    return document


def _read_text(file: Path) -> str:
    """The text of a regular file of at most 1 MB, in UTF-8."""
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


def _check_documents(parsed: Text, nodes: list[yaml.Node], option: str) -> Iterator[Finding]:
    if not nodes and not parsed.findings:
        step = f"Write the {option}, or leave --{option} out."
        yield Finding(f"holds no {option}", place=SourceLocation(parsed.file, 1, 1), next_step=step)
    for node in nodes[1:]:
        yield Finding(
            "a second document",
            place=parsed.place(node),
            next_step="Put everything in one document.",
        )


def _sort_key(finding: Finding) -> tuple[int, int, str]:
    at = finding.place
    return (at.line, at.column, finding.message) if at else (0, 0, finding.message)

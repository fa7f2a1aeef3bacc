"""Reads the project file and the manifests with every installed kind.

`validate` imports no more than this. It reads files and calls no service.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from reconciler.cli.context import Invocation
from reconciler.kinds import find_kinds
from reconciler.manifests import Loaded, load
from reconciler.model import Finding
from reconciler.ports import Kind
from reconciler.render.words.names import list_names
from reconciler.text.counting import count

_MOST_NAMED: Final = 5


def list_notes(loaded: Loaded) -> tuple[Finding, ...]:
    """The warnings about files, and a warning that counts the documents of other tools."""
    notes = tuple(found for found in loaded.findings if found.severity == "warning")
    if not loaded.foreign:
        return notes
    ignored = f"{count(len(loaded.foreign), 'document')} of other tools ignored"
    files = list_names(dict.fromkeys(place.file for place in loaded.foreign), _MOST_NAMED)
    return (*notes, Finding(ignored, detail=(files,), severity="warning"))


def load_all(invocation: Invocation, paths: Sequence[str]) -> tuple[Loaded, Mapping[str, Kind]]:
    """The project and the manifests with every finding, and the kinds.

    An error in a file is a finding; it does not raise.
    """
    kinds = find_kinds()
    project = Path(invocation.project_file) if invocation.project_file else None
    folder = project.parent if project else Path()
    return load(folder, project, [Path(path) for path in paths], kinds), kinds

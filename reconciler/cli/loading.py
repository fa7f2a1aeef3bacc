"""Reads the project file and the manifests with every installed kind.

`validate` imports no more than this. It reads files and calls no service.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from reconciler.cli.context import Invocation
from reconciler.kinds import find_kinds
from reconciler.manifests import Loaded, load
from reconciler.ports import Kind


def load_all(invocation: Invocation, paths: Sequence[str]) -> tuple[Loaded, Mapping[str, Kind]]:
    """The project and the manifests with every finding, and the kinds.

    An error in a file is a finding; it does not raise.
    """
    kinds = find_kinds()
    project = Path(invocation.project_file) if invocation.project_file else None
    folder = project.parent if project else Path()
    return load(folder, project, [Path(path) for path in paths], kinds), kinds

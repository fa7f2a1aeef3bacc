"""Reads what people wrote, with every installed kind. It is all that `validate` imports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from reconciler.cli.context import Invocation
from reconciler.kinds import find_kinds
from reconciler.manifests import Loaded, load
from reconciler.ports import Kind


def load_all(invocation: Invocation, paths: Sequence[str]) -> tuple[Loaded, Mapping[str, Kind]]:
    """Everything that people wrote, with every finding; nothing is raised for what they wrote."""
    kinds = find_kinds()
    project = Path(invocation.project_file) if invocation.project_file else None
    folder = project.parent if project else Path()
    return load(folder, project, [Path(path) for path in paths], kinds), kinds

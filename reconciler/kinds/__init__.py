"""The kinds of resource there are, each a folder of its own, found through entry points.

A third target is a package that names its kind in the group `reconciler.kinds`; nothing else
has to know it. The built-in kinds are found the same way.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points

from reconciler.ports import Kind

GROUP = "reconciler.kinds"


def find_kinds() -> Mapping[str, Kind]:
    """Every installed kind by its name, in order of name."""
    found = {entry.name: entry for entry in entry_points(group=GROUP)}
    return {name: found[name].load() for name in sorted(found)}

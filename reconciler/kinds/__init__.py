"""The kinds of resource. Each kind is a folder of its own and is found through entry points.

Another package can add a kind: it names the kind in the entry point group `reconciler.kinds`. The
built-in kinds are found the same way. No other package imports a kind by its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points

from reconciler.ports import Kind

GROUP = "reconciler.kinds"


def find_kinds() -> Mapping[str, Kind]:
    """Return every installed kind by its name, sorted by name."""
    found = {entry.name: entry for entry in entry_points(group=GROUP)}
    return {name: found[name].load() for name in sorted(found)}

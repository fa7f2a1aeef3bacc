"""Secrets that can be told from anything else, and the search for them in all that was written.

A marker is made of a core of hex digits that stands nowhere else, and of what must be escaped in a
URL, in JSON or in a page. Searched is for any half of a core: raw in any case, in base64 at each of
its alignments, in hex, in UTF-16, and in what an observation cache keeps packed.
"""

import base64
import hashlib
import os
import shutil
import sqlite3
import sys
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

_CORE: int = 24
_HALF: int = 12


@dataclass(frozen=True)
class Marker:
    """A secret by the place where it is planted; `core` is what a search looks for."""

    place: str
    value: str

    @property
    def core(self) -> str:
        return make_core(self.place)


def make_core(place: str) -> str:
    return hashlib.sha256(place.encode()).hexdigest()[:_CORE]


def plant(place: str, form: str = '{}+/= "é&<') -> Marker:
    """A secret of a form, `{}` being where its core goes."""
    return Marker(place, form.format(make_core(place)))


@dataclass
class Evidence:
    """What was written while commands ran, and what may be in it.

    `allowed` are files that hold secrets because a person put them there.
    """

    folder: Path
    markers: Sequence[Marker]
    allowed: set[Path] = field(default_factory=set)
    said: list[tuple[str, bytes]] = field(default_factory=list)

    def add(self, what: str, data: bytes | str) -> None:
        self.said.append((what, data.encode("utf-8", "replace") if isinstance(data, str) else data))

    def find(self) -> list[str]:
        """Each marker that was found: which one, in which encoding, and where."""
        needles = [(one.place, how, needle) for one in self.markers for how, needle in spell(one)]
        # Many files hold the same bytes: these are searched once, under the last name.
        views = {data: where for where, data in self._all()}
        # No needle has a line break, and nearly no needle is anywhere: all is searched at once.
        whole = b"\n".join(views)
        lowered = whole.lower()
        found = [one for one in needles if one[-1] in (lowered if one[1] != "base64" else whole)]
        return sorted(
            {
                f"{place} ({how}) in {where}"
                for data, where in views.items()
                for place, how, needle in found
                if needle in (data if how == "base64" else data.lower())
            }
        )

    def _all(self) -> Iterator[tuple[str, bytes]]:
        for what, data in self.said:
            yield from _views(what, data)
        for file in sorted(self.folder.rglob("*")):
            name = str(file.relative_to(self.folder))
            yield from _views(f"the name of {name}", name.encode())
            if file.is_file() and file not in self.allowed:
                yield from _views(name, file.read_bytes())
                if file.name.endswith(".sqlite3"):
                    yield from _views(f"{name}, unpacked", unpack(file))


def _views(what: str, data: bytes) -> Iterator[tuple[str, bytes]]:
    narrow = data.replace(b"\0", b"") if b"\0" in data else b""
    yield what, data + b"\n" + narrow


def spell(marker: Marker) -> Iterator[tuple[str, bytes]]:
    """What a trace of a marker looks like: both halves and the middle, each in every encoding."""
    for start in range(0, _CORE - _HALF + 1, _HALF // 2):
        part = marker.core[start : start + _HALF].encode()
        yield "raw", part
        yield "hex", part.hex().encode()
        for shift in range(3):
            coded = base64.b64encode(b"\0" * shift + part)
            # What depends on the neighbours of the part is left out.
            first, last = (0, 2, 3)[shift], len(coded) - 4 * bool((shift + _HALF) % 3)
            yield "base64", coded[first:last]


def unpack(file: Path) -> bytes:
    """The documents of an observation cache, as text."""
    with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as base:
        rows = base.execute("SELECT document FROM seen").fetchall()
    base.close()
    return b"\n".join(zlib.decompress(row[0]) for row in rows)


# What is only there for a moment. Python cannot take a hook away again: there is one for all.
_watching: list["Watch"] = []
_hooked: list[bool] = []


def _heed(event: str, arguments: tuple[Any, ...]) -> None:
    for watch in _watching:
        watch.hear(event, arguments)


class Watch:
    """Keeps what this process writes and takes away again, and how it starts others."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.started: list[str] = []

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        if not _hooked:
            sys.addaudithook(_heed)
            _hooked.append(True)
        _watching.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        _watching.remove(self)

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in {"os.rename", "os.remove", "os.truncate"}:
            self._keep(arguments[0])
        elif event == "subprocess.Popen":
            self.started.append(f"{arguments[0]} {arguments[1]}")

    def _keep(self, name: Any) -> None:
        with suppress(OSError, TypeError, ValueError):
            source = Path(os.fsdecode(name))
            if source.is_file():
                number = sum(1 for _ in self._folder.iterdir())
                shutil.copyfile(source, self._folder / f"{number}-{source.name}")


def read_titles() -> bytes:
    """How this process and its threads are called."""
    proc = Path("/proc/self")
    titles = [(proc / "cmdline").read_bytes()]
    for name in proc.glob("task/*/comm"):
        with suppress(FileNotFoundError, ProcessLookupError):  # the thread may have ended
            titles.append(name.read_bytes())
    return b"\n".join(titles)

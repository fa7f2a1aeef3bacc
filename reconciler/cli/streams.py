"""The standard streams of the process: open, and able to take every character.

The locale chooses their encoding. What an encoding cannot hold is written in ASCII: drawn lines and
`…` by similar characters, any other character by its escape, such as `\u2026`.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import re
import sys
from typing import Final, TextIO

import click

_HANDLER: Final = "reconciler.escape"
# click writes UTF-8 to a stream that calls itself ASCII.
_ASCII: Final = "reconciler_ascii"
# The parts of a command for an agent; a blank between them disarms it.
_COMMAND: Final = re.compile(r"(?m)(##(?=\[|vso\[)|^[ \t]*:(?=:))(\[|vso|:)")
_SIMILAR: Final = {
    "…": "...",
    "─": "-",
    "│": "|",
    "├": "+",
    "└": "+",
    "→": "->",
    "⚠": "!",
}


def open_streams() -> bool:
    """Open the null device for each standard stream that was closed when the process started.

    Otherwise the next opened file gets its file descriptor. No character that is written later
    raises UnicodeEncodeError. Returns whether stdout was closed.
    """
    closed = sys.stdout is None
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            nowhere = os.fdopen(os.open(os.devnull, os.O_RDWR), mode, encoding="utf-8")
            setattr(sys, name, nowhere)
    codecs.register_error(_HANDLER, _replace)
    codecs.register(_find_codec)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            ascii_only = _normal_name(stream) == "ascii"
            stream.reconfigure(encoding=_ASCII if ascii_only else None, errors=_HANDLER)
    return closed


def disarm_streams() -> None:
    """Let no text that is printed from now on be a command for the agent of a job.

    GitHub Actions runs lines that begin with `::`, and Azure Pipelines those with `##vso[`. A name
    from a manifest or a service may contain either. Bytes are written as they are.
    """
    for stream in (sys.stdout, sys.stderr):
        write = stream.write
        stream.write = lambda text, write=write: write(_COMMAND.sub(r"\1 \2", text))  # type: ignore[method-assign]


def flush_streams() -> None:
    """Send a stream that cannot be written to the null device.

    Otherwise the flush at the exit of Python fails, and its exit code replaces that of the command.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            _discard(stream)


def close_stdout() -> None:
    """Send stdout to the null device: its reader is gone, and the flush at exit must not fail."""
    _discard(sys.stdout)


def _discard(stream: TextIO) -> None:
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def print_json(text: str, *, nl: bool = True) -> None:
    """Print JSON on stdout: in UTF-8, or in ASCII when stdout has another encoding.

    Programs read JSON as UTF-8, whatever the locale is.
    """
    if _normal_name(sys.stdout) != "utf-8":
        text = "".join(one if one.isascii() else _escape(one) for one in text)
    click.echo(text, nl=nl)


def _normal_name(stream: object) -> str:
    return codecs.lookup(getattr(stream, "encoding", None) or "utf-8").name


def _replace(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    wrong = error.object[error.start : error.end]
    return "".join(_SIMILAR.get(one) or _escape(one) for one in wrong), error.end


def _escape(character: str) -> str:
    r"""The escape of JSON: a character above U+FFFF is two, such as `\ud83d\ude00`."""
    data = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{data[at : at + 4]}" for at in range(0, len(data), 4))


def _find_codec(name: str) -> codecs.CodecInfo | None:
    if name != _ASCII:
        return None
    plain = codecs.lookup("ascii")
    return codecs.CodecInfo(
        plain.encode,
        plain.decode,
        plain.streamreader,
        plain.streamwriter,
        plain.incrementalencoder,
        plain.incrementaldecoder,
        name=_ASCII,
    )

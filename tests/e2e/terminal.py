"""A command on a real terminal, and what stands on the screen when it has ended."""

import errno
import os
import pty
import re
import struct
import termios
from collections.abc import Mapping
from dataclasses import dataclass
from fcntl import ioctl
from pathlib import Path

from tests.e2e.world import clean_environment
from tests.fork_server import start

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Shown:
    """A finished command: its exit code and everything that it sent to the terminal."""

    code: int
    sent: str

    @property
    def plain(self) -> str:
        return _COLOUR.sub("", self.sent)

    @property
    def screen(self) -> list[str]:
        """The lines that are left, as a terminal that knows \\r and \\x1b[K leaves them."""
        return [_overwrite(line) for line in self.plain.replace("\r\n", "\n").split("\n")]


def _overwrite(line: str) -> str:
    shown = ""
    for part in line.split("\r"):
        text = part
        if part.startswith("\x1b[K"):
            shown, text = "", part.removeprefix("\x1b[K")
        shown = text + shown[len(text) :]
    return shown


def run_on_terminal(
    folder: Path,
    *arguments: str,
    columns: int = 80,
    env: Mapping[str, str] | None = None,
    answers: Mapping[str, str] | None = None,
) -> Shown:
    """One command of reconciler with a terminal as stdin, stdout and stderr.

    `answers` maps the end of a question to the line that a person types after it.
    """
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {**clean_environment(), "TERM": "xterm", **(env or {})}
    if "CI" not in (env or {}):
        environment.pop("CI", None)
    # What asks for a passphrase opens the terminal of its session.
    with start(
        folder,
        *arguments,
        env=environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        own_terminal=True,
    ) as process:
        os.close(theirs)
        sent = _read_all(ours, answers or {})
        code = process.wait(timeout=60)
    os.close(ours)
    return Shown(code, sent)


def _read_all(handle: int, answers: Mapping[str, str]) -> str:
    data = b""
    asked = 0
    while True:
        try:
            more = os.read(handle, 65536)
        except OSError as error:  # Linux: nobody holds the other end any more
            if error.errno != errno.EIO:
                raise
            more = b""
        if not more:
            return data.decode()
        data += more
        for question, answer in answers.items():
            if data[asked:].endswith(question.encode()):
                asked = len(data)
                os.write(handle, f"{answer}\n".encode())

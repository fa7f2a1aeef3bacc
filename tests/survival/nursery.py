"""Processes that start at once: forked from one that has imported everything and does nothing else.

A run costs its own work and no imports, so that hundreds of them can be killed in a minute. Each
is a process of its own, with its own id and end. One nursery has one child at a time.
"""

import gc
import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

from tests.e2e.world import ROOT, clean_environment
from tests.fork_server import Process, start
from tests.survival.places import End

_NOWHERE = End()
_IMPORTED = (
    "azure.storage.blob",
    "deepdiff",
    "reconciler.cli.commands.apply",
    "reconciler.cli.errors",
    "reconciler.cli.commands.plan",
    "reconciler.cli.commands.retrain",
    "reconciler.cli.plan_files",
    "reconciler.cli.output",
    "reconciler.render.plan.text",
    "tests.survival.mortal",
)


@dataclass(frozen=True)
class Ended:
    """How a child ended: `code` is negative for a signal; what it said; its peak of memory."""

    code: int
    out: str
    err: str
    peak_kb: int

    @property
    def said(self) -> str:
        return self.out + self.err


class Nursery:
    """The one that forks, seen from outside."""

    def __init__(self, process: Process, folder: Path) -> None:
        self._process = process
        self._folder = folder

    def start(
        self,
        folder: Path,
        *arguments: str,
        note: Path | None = None,
        end: End = _NOWHERE,
    ) -> int:
        """Begin a command in a folder; returns its process id. With a `note` it is watched."""
        self._tell(
            folder=str(folder),
            arguments=arguments,
            said=str(self._folder),
            note=str(note) if note else "",
            end=asdict(end),
        )
        return int(self._hear()["pid"])

    def wait(self) -> Ended:
        """Wait for the end of what was started."""
        reported = self._hear()
        out, err = (Path(self._folder, name).read_text(errors="replace") for name in ("out", "err"))
        return Ended(reported["code"], out, err, reported["peak_kb"])

    def read_err(self) -> str:
        """What the child that runs has said on stderr so far."""
        return Path(self._folder, "err").read_text(errors="replace")

    def run(
        self, folder: Path, *arguments: str, note: Path | None = None, end: End = _NOWHERE
    ) -> Ended:
        self.start(folder, *arguments, note=note, end=end)
        return self.wait()

    def _tell(self, **order: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()

    def _hear(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the nursery has ended"
        return json.loads(line)


@contextmanager
def open_nursery(folder: Path) -> Iterator[Nursery]:
    """A nursery that keeps what its children say in a folder; it ends with the block."""
    folder.mkdir(parents=True, exist_ok=True)
    process = start(
        ROOT, env=clean_environment(), module="tests.survival.nursery", stdin=subprocess.PIPE
    )
    with process:
        try:
            yield Nursery(process, folder)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            code = process.wait(timeout=150)
    assert code == 0


def main() -> None:
    import_all()
    gc.freeze()
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _be_born(order)
        _say({"pid": pid})
        _, status, used = os.wait4(pid, 0)
        _say({"code": os.waitstatus_to_exitcode(status), "peak_kb": used.ru_maxrss})


def import_all() -> None:
    """All that a command would import as it runs."""
    for name in _IMPORTED:
        importlib.import_module(name)


def _say(word: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(word) + "\n")
    sys.stdout.flush()


def _be_born(order: Mapping[str, Any]) -> NoReturn:
    """Become a command of its own, and end with its code."""
    from reconciler.cli import main as run_command
    from tests.survival.mortal import live

    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(Path(order["said"], name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.chdir(order["folder"])
    code = 99
    try:
        if order["note"]:
            end = End(**{**order["end"], "among": tuple(order["end"]["among"])})
            code = live(order["arguments"], Path(order["note"]), end)
        else:
            code = run_command(order["arguments"])
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()

"""What holds for one run of the command line, whatever the command."""

from __future__ import annotations

import contextlib
import os
import sys
from functools import cached_property
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:  # start-up: most commands need it, `version` does not
    from reconciler.cli.progress import ConsoleFace, Emitter, LinesFace
    from reconciler.cli.signals import Interruption
    from reconciler.render.words.colour import Paint


class Invocation:
    """The global flags, which exit codes were asked for, and who is told what happens.

    `as_json` says that stdout is for JSON lines alone; `deaf` that it was closed from the start.
    """

    def __init__(self) -> None:
        self.project_file = ""
        self.no_color = False
        self.detailed_exitcode = False
        self.as_json = False
        self.deaf = False

    @cached_property
    def emitter(self) -> Emitter:
        """Where events go: lines and a bar on stderr, or JSON lines on stdout."""
        from reconciler.cli.progress import Emitter

        return Emitter(self.lines if self.as_json else self.console)

    @cached_property
    def console(self) -> ConsoleFace:
        """What a person follows."""
        from reconciler.cli.progress import ConsoleFace, find_width

        width = find_width(sys.stderr, os.environ)
        return ConsoleFace(sys.stderr, self.paint(sys.stderr), width=width)

    @cached_property
    def lines(self) -> LinesFace:
        """What a machine follows, begun by who speaks."""
        import reconciler
        from reconciler.cli.progress import LinesFace
        from reconciler.render.events.json_lines import describe_version

        face = LinesFace(sys.stdout)
        face.write(describe_version(reconciler.__version__))
        return face

    @cached_property
    def interruption(self) -> Interruption:
        """Whether anything more may be begun."""
        from reconciler.cli.signals import Interruption

        return Interruption(self.is_heard, self._clear)

    def is_heard(self) -> bool:
        """Whether what is told on stdout still reaches anybody."""
        from reconciler.cli.signals import is_closed

        broken = self.as_json and self.lines.broken
        return not (self.deaf or broken or is_closed(sys.stdout))

    def _clear(self) -> str:
        """What takes the bar away, or leaves the ^C of a terminal on its line."""
        from reconciler.cli.progress import CLEAR

        return CLEAR if not self.as_json and self.console.drawn else "\n"

    def part_from_progress(self) -> None:
        """Make room, on stderr, for what follows the progress."""
        if "emitter" in self.__dict__:  # nobody was told anything before it was made
            self.emitter.part()

    def complain(self, text: str) -> None:
        """Print on stderr, after the progress, for as long as anybody reads there."""
        self.part_from_progress()
        with contextlib.suppress(OSError):
            sys.stderr.write(f"{text}\n")
            sys.stderr.flush()

    def paint(self, stream: TextIO | None = None) -> Paint:
        """Colour for a stream: only on a terminal, and only where nobody declined it."""
        from reconciler.render.words.colour import Paint

        stream = stream or sys.stdout
        declined = self.no_color or "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb"
        return Paint(stream.isatty() and not declined)


def is_automated() -> bool:
    """Whether hints of the next command would only be noise."""
    return bool(os.environ.get("RECONCILER_IN_AUTOMATION"))


def may_ask() -> bool:
    """Whether a person may be asked a question."""
    return os.environ.get("RECONCILER_INPUT", "1").lower() not in {"0", "false"}

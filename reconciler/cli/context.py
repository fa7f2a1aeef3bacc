"""What holds for one run of the command line, whatever the command."""

from __future__ import annotations

import contextlib
import os
import sys
from functools import cached_property
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:  # start-up: most commands need it, `version` does not
    from reconciler.cli.progress import ConsoleSink, Emitter, JsonLinesSink
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
    def console(self) -> ConsoleSink:
        """What a person follows."""
        from reconciler.cli.progress import ConsoleSink, get_width

        width = get_width(sys.stderr, os.environ)
        return ConsoleSink(sys.stderr, self.paint(sys.stderr), width=width)

    @cached_property
    def lines(self) -> JsonLinesSink:
        """What a machine follows, begun by who speaks."""
        import reconciler
        from reconciler.cli.progress import JsonLinesSink
        from reconciler.render.events.json_lines import describe_version

        sink = JsonLinesSink(sys.stdout)
        sink.write(describe_version(reconciler.__version__))
        return sink

    @cached_property
    def interruption(self) -> Interruption:
        """Whether anything more may be begun."""
        from reconciler.cli.signals import Interruption

        return Interruption(self.is_output_open, self._clear)

    def is_output_open(self) -> bool:
        """Whether what is told on stdout still reaches anybody."""
        from reconciler.cli.signals import is_closed

        broken = self.as_json and self.lines.broken
        return not (self.deaf or broken or is_closed(sys.stdout))

    def _clear(self) -> str:
        """What takes the bar away, or leaves the ^C of a terminal on its line."""
        from reconciler.cli.progress import CLEAR

        return CLEAR if not self.as_json and self.console.drawn else "\n"

    def clear_progress(self) -> None:
        """Make room, on stderr, for what follows the progress."""
        if "emitter" in self.__dict__:  # nobody was told anything before it was made
            self.emitter.clear_line()

    def print_error(self, text: str) -> None:
        """Print on stderr, after the progress, for as long as anybody reads there."""
        self.clear_progress()
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

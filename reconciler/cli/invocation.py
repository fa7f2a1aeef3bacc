"""What holds for one run of the command line, whatever the command."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:  # start-up: most commands need it, `version` does not
    from reconciler.render.paint import Paint


class Invocation:
    """The global flags, and which exit codes were asked for."""

    def __init__(self) -> None:
        self.project_file = ""
        self.no_color = False
        self.detailed_exitcode = False
        self.progressed = False

    def part_from_progress(self) -> None:
        """A blank line between the progress on stderr and the result that follows."""
        if self.progressed:
            self.progressed = False
            sys.stderr.write("\n")
            sys.stderr.flush()

    def paint(self, stream: TextIO | None = None) -> Paint:
        """Colour for a stream: only on a terminal, and only where nobody declined it."""
        from reconciler.render.paint import Paint

        stream = stream or sys.stdout
        declined = self.no_color or "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb"
        return Paint(stream.isatty() and not declined)


def is_automated() -> bool:
    """Whether hints of the next command would only be noise."""
    return bool(os.environ.get("RECONCILER_IN_AUTOMATION"))


def may_ask() -> bool:
    """Whether a person may be asked a question."""
    return os.environ.get("RECONCILER_INPUT", "1").lower() not in {"0", "false"}

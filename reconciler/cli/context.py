"""The state of one run of the command line that every command shares."""

from __future__ import annotations

import contextlib
import os
import sys
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:  # start-up: most commands need it, `version` does not
    from collections.abc import Sequence

    from reconciler.cli.progress import ConsoleSink, Emitter, JsonLinesSink
    from reconciler.cli.signals import Interruption
    from reconciler.model import Finding
    from reconciler.render.words.colour import Paint


class Invocation:
    """The global flags, the chosen exit codes, and the sinks of the events.

    `as_json` says that stdout carries only JSON lines. `deaf` says that stdout was closed when the
    process started. `arguments` are those of the command line, in the spelling that click parses;
    `typed` are the same ones as they were given. `notes` are warnings that belong to each error of
    the services. `environment` is the one that `--env` names, and `environment_origin` is `--env`
    or the variable of the process that named it. `policies` is the folder of --policies, or empty
    for the project's own one; it is None for a command that does not judge by policies.
    `reads_drift_ignore` says that the command needs the rules of .driftignore. `policy_command` is
    the command of --policy-command with its arguments. `metrics_file` is the file of
    --metrics-file, or empty. `cycle` is the id of the cycle of `watch` that runs now, or empty.
    `state_folder` is the folder of the project whose ledger, caches and secrets are used where
    another checkout of the project is read; empty for that of the project.
    """

    def __init__(self) -> None:
        self.project_file = ""
        self.environment = ""
        self.environment_origin = "--env"
        self.state_folder = ""
        self.no_color = False
        self.detailed_exitcode = False
        self.as_json = False
        self.policies: str | None = None
        self.reads_drift_ignore = False
        self.policy_command: tuple[str, ...] = ()
        self.metrics_file = ""
        self.cycle = ""
        self.deaf = False
        self.arguments: tuple[str, ...] = ()
        self.typed: tuple[str, ...] = ()
        self.notes: tuple[Finding, ...] = ()

    @property
    def wants_json(self) -> bool:
        """Whether the command line asks for JSON, even one that cannot be parsed."""
        given = self.arguments
        pairs = pairwise(given)
        return not {"--json", "--format=json"}.isdisjoint(given) or ("--format", "json") in pairs

    @cached_property
    def emitter(self) -> Emitter:
        """Where events are written: lines and a progress bar on stderr, or JSON lines on stdout."""
        from reconciler.cli.progress import Emitter

        return Emitter(self.lines if self.as_json else self.console)

    @cached_property
    def console(self) -> ConsoleSink:
        """The sink for people, on stderr."""
        from reconciler.cli.progress import ConsoleSink, get_width

        width = get_width(sys.stderr, os.environ)
        return ConsoleSink(sys.stderr, self.paint(sys.stderr), width=width)

    @cached_property
    def lines(self) -> JsonLinesSink:
        """The sink for programs, on stdout; its first line is the version of reconciler."""
        import reconciler
        from reconciler.cli.progress import JsonLinesSink
        from reconciler.render.events.json_lines import describe_version

        sink = JsonLinesSink(sys.stdout)
        sink.write(describe_version(reconciler.__version__, self.environment))
        return sink

    @cached_property
    def interruption(self) -> Interruption:
        """Whether a new step may start."""
        from reconciler.cli.signals import Interruption

        return Interruption(self.is_output_open, self._clear)

    def is_output_open(self) -> bool:
        """Whether stdout still has a reader."""
        from reconciler.cli.signals import is_closed

        broken = self.as_json and self.lines.broken
        return not (self.deaf or broken or is_closed(sys.stdout))

    def mark_cycle(self, cycle: str) -> None:
        """Let each line of JSON and of the log have the id of a cycle; an empty one ends this."""
        self.cycle = cycle
        if self.as_json:
            self.lines.cycle = cycle

    def _clear(self) -> str:
        """The text that removes the progress bar, or a newline after the ^C of a terminal."""
        from reconciler.cli.progress import CLEAR

        return CLEAR if not self.as_json and self.console.drawn else "\n"

    def clear_progress(self) -> None:
        """Remove the progress bar from stderr before other text is printed."""
        if "emitter" in self.__dict__:  # no event was written before it exists
            self.emitter.clear_line()

    def print_error(self, text: str) -> None:
        """Print on stderr, below the progress; a closed stderr is not an error."""
        self.clear_progress()
        with contextlib.suppress(OSError):
            sys.stderr.write(f"{text}\n")
            sys.stderr.flush()

    def print_findings(self, findings: Sequence[Finding]) -> None:
        """Print findings on stderr, with an empty line after them; nothing without any."""
        if findings:
            from reconciler.render.findings import render_findings

            self.print_error(render_findings(findings, paint=self.paint(sys.stderr)) + "\n")

    def paint(self, stream: TextIO | None = None) -> Paint:
        """The colours of a stream: only on a terminal, and only when they are not switched off."""
        from reconciler.render.words.colour import Paint

        stream = stream or sys.stdout
        declined = self.no_color or "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb"
        return Paint(stream.isatty() and not declined)


def is_automated() -> bool:
    """Whether a script runs the command, so that hints at the next command are left out."""
    return bool(os.environ.get("RECONCILER_IN_AUTOMATION"))


def may_ask() -> bool:
    """Whether the command may ask a question."""
    return os.environ.get("RECONCILER_INPUT", "1").lower() not in {"0", "false"}

"""The parts of a story: a sentence, a file, and a command with its output."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

import click

from reconciler.cli.demo.stage import Stage
from reconciler.errors import ReconcilerError


def print_text(text: str) -> None:
    """Print a sentence of the story."""
    click.secho(f"\n{text}\n", bold=True)


def show_file(stage: Stage, name: str, lines: int | None = None) -> None:
    """Print a file of the project, or its first `lines` lines."""
    command = "cat" if lines is None else f"head -{lines}"
    click.secho(f"$ {command} {name}", fg="cyan")
    text = (stage.folder / name).read_text(encoding="utf-8").splitlines(keepends=True)
    click.echo("".join(text[:lines]), nl=False)


def run(
    stage: Stage,
    *arguments: str,
    expected: int = 0,
    variables: Mapping[str, str] | None = None,
) -> None:
    """Run a command of reconciler; raises ReconcilerError for another exit code than expected."""
    announce(*arguments)
    code = stage.run(*arguments, variables=variables)
    if code != expected:
        raise ReconcilerError(f"reconciler {arguments[0]} exited with {code}: the demo stops")


def announce(*arguments: str) -> None:
    """Print a command as a user types it."""
    click.secho(f"$ reconciler {shlex.join(arguments)}", fg="cyan")

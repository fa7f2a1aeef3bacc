"""How a story is told: a sentence, a file, a command and all that it prints."""

from __future__ import annotations

import click

from reconciler.cli.demo.stage import Stage
from reconciler.errors import ReconcilerError


def print_text(text: str) -> None:
    """Say what comes next."""
    click.secho(f"\n{text}\n", bold=True)


def show_file(stage: Stage, name: str, lines: int | None = None) -> None:
    """Show a file of the project, or its first lines."""
    command = "cat" if lines is None else f"head -{lines}"
    click.secho(f"$ {command} {name}", fg="cyan")
    text = (stage.folder / name).read_text(encoding="utf-8").splitlines(keepends=True)
    click.echo("".join(text[:lines]), nl=False)


def run(stage: Stage, *arguments: str, fails: bool = False) -> None:
    """Run a command of reconciler; a story that goes otherwise than it is told stops."""
    announce(*arguments)
    code = stage.run(*arguments)
    if bool(code) != fails:
        raise ReconcilerError(f"reconciler {arguments[0]} ended with {code}: the demo stops here")


def announce(*arguments: str) -> None:
    """Show a command as it is typed."""
    click.secho(f"$ reconciler {' '.join(arguments)}", fg="cyan")

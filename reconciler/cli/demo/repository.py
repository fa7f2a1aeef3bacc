"""The git commands of a story, in its project."""

from __future__ import annotations

import os
import shlex
import sys

import click

from reconciler.cli.demo.stage import Stage, list_variables
from reconciler.git import Git


def make_repository(stage: Stage, name: str, message: str, *excluded: str) -> None:
    """Make a repository of the project, with one commit of all files but the excluded ones.

    `name` is who commits. Hooks and signatures of the user's git do not take part.
    """
    git(stage, "init", "-q", "--template=")
    git(stage, "symbolic-ref", "HEAD", "refs/heads/main")
    exclude = stage.folder / ".git" / "info" / "exclude"
    exclude.parent.mkdir(exist_ok=True)
    exclude.write_text("".join(f"{one}\n" for one in excluded), encoding="utf-8")
    git(stage, "config", "user.name", name)
    git(stage, "config", "user.email", f"{name.lower()}@example.com")
    git(stage, "config", "commit.gpgsign", "false")
    git(stage, "config", "core.hooksPath", os.devnull)
    commit(stage, message)


def commit(stage: Stage, message: str) -> None:
    """Commit all files."""
    git(stage, "add", "--all")
    git(stage, "commit", "-q", "-m", message)


def show_git(stage: Stage, *arguments: str) -> None:
    """Print a command of git and what it prints."""
    click.secho(f"$ git {shlex.join(arguments)}", fg="cyan")
    colour = "always" if sys.stdout.isatty() else "never"
    click.echo(git(stage, "-c", f"color.ui={colour}", *arguments), nl=False)


def git(stage: Stage, *arguments: str) -> str:
    """Run git in the project and return what it prints; raises GitFailed."""
    return Git(stage.folder, list_variables()).ask("--no-pager", *arguments)

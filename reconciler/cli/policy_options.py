"""The options of the commands that judge a plan by policies: the folder, and a command."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from reconciler.cli.completion import complete_folders
from reconciler.cli.context import Invocation

_Command = TypeVar("_Command", bound=Callable[..., Any])


def _note_policies(ctx: click.Context, _: click.Parameter, given: str | None) -> str:
    """Note the folder of --policies; raises click.BadParameter for an empty name.

    A variable of a pipeline that is not set must not mean the policies of the project.
    """
    folder = given or ""
    if given is not None and not folder:
        raise click.BadParameter("name a folder")
    if isinstance(ctx.obj, Invocation):
        ctx.obj.policies = folder
    return folder


POLICIES = click.option(
    "--policies",
    metavar="DIR",
    callback=_note_policies,
    expose_value=False,
    shell_complete=complete_folders,
    help="Judge by the policies in this folder, and not by those of the project.",
)


def _split_command(ctx: click.Context, _: click.Parameter, text: str | None) -> str | None:
    """Note the command of --policy-command; raises click.BadParameter for one that is unclear."""
    import shlex

    try:
        words = () if text is None else tuple(shlex.split(text))
    except ValueError as error:
        raise click.BadParameter("a quotation mark has no second one") from error
    if text is not None and not (words and words[0]):
        raise click.BadParameter("name a program, such as 'conftest test -o json -'")
    if isinstance(ctx.obj, Invocation):
        ctx.obj.policy_command = words
    return text


_POLICY_COMMAND = click.option(
    "--policy-command",
    metavar="CMD",
    callback=_split_command,
    expose_value=False,
    help="Let this program judge the plan too, such as 'conftest test --output json -'. It gets the"
    " JSON of the plan on stdin, and no shell starts it. It prints the results of conftest, or a"
    ' list of {"msg", "resource", "severity"}. Without such an answer in 120 s the command fails.',
)


def policy_options(command: _Command) -> _Command:
    """Add --policies and --policy-command, which the invocation keeps."""
    return POLICIES(_POLICY_COMMAND(command))

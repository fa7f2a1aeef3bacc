"""The command and the group that every command of the command line is made of.

They print examples in a help, the help of a group that is given alone, and the answer to a verb
that another tool has.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import click
from click.core import ParameterSource

from reconciler.cli.context import Invocation

# These commands ask no question, so a typing error must not lead to them.
_NEVER_SUGGESTED: Final = ("forget",)

_EMPTY: Final = re.compile("--[a-z-]+=")


def _refuse_empty(ctx: click.Context) -> None:
    """Raise UsageError for an empty value, as a shell's variable without a value leaves it.

    An empty `--expect` would accept every plan, and an empty FILE would mean the whole project.
    """
    for param in () if ctx.resilient_parsing else ctx.command.params:
        name = str(param.name)
        if ctx.get_parameter_source(name) is not ParameterSource.COMMANDLINE:
            continue
        given = ctx.params.get(name)
        if given == "" or (isinstance(given, tuple) and "" in given):
            raise click.UsageError(f"{param.get_error_hint(ctx)} is empty", ctx)


class Command(click.Command):
    """A command whose help ends with examples: a comment, and the command line below it."""

    def __init__(self, *args: Any, examples: Sequence[str] = (), **given: Any) -> None:
        super().__init__(*args, **given)
        self.examples: Final = tuple(examples)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """The arguments; raises UsageError for one that is empty."""
        given = tuple(args)
        try:
            rest = super().parse_args(ctx, args)
        except click.UsageError as error:
            error.ctx = error.ctx or ctx  # the message names the command
            raise
        _refuse_empty(ctx)
        # An empty path is the working directory by now.
        if not ctx.resilient_parsing and any(one == "" or _EMPTY.fullmatch(one) for one in given):
            raise click.UsageError("a value is empty", ctx)
        return rest

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples, and then the rest."""
        if self.examples:
            with formatter.section("Examples"):
                formatter.write("".join(f"  {line}\n" for line in self.examples))
        super().format_epilog(ctx, formatter)


class StreamCommand(Command):
    """A command that prints JSON lines with --format json."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Note --format json before the parser can fail on another argument."""
        if isinstance(ctx.obj, Invocation):
            ctx.obj.as_json = ctx.obj.wants_json
        return super().parse_args(ctx, args)


class Group(click.Group):
    """A group that prints its help when no command is given, and answers unknown commands."""

    command_class = Command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """The arguments; without any, the help is printed and the exit code is 0."""
        if not args and not ctx.resilient_parsing:
            click.echo(ctx.get_help())
            ctx.exit()
        rest = super().parse_args(ctx, args)
        _refuse_empty(ctx)
        return rest

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command; raises ReconcilerError with the command to use for an unknown one."""
        word = args[0]
        if ctx.resilient_parsing or word.startswith("-") or word in self.list_commands(ctx):
            return super().resolve_command(ctx, args)
        from reconciler.errors import ReconcilerError  # start-up: only a mistake needs it

        raise ReconcilerError(
            f'{ctx.command_path} has no command "{word}"', next_step=self._answer(ctx, word)
        )

    def _answer(self, ctx: click.Context, word: str) -> str:
        from reconciler.cli.hints import answer_verb, suggest_word

        answer = answer_verb(word, ctx.command_path)
        if answer:
            return answer
        near = suggest_word(word, self.list_commands(ctx), never=_NEVER_SUGGESTED)
        if near:
            return f"Did you mean '{ctx.command_path} {near}'?"
        return f"See '{ctx.command_path} --help' for the commands."

"""`reconciler help`."""

from __future__ import annotations

import click

from reconciler.cli.command import Command


def _complete_commands(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    found: click.Command | None = ctx.find_root().command
    for word in ctx.params.get("words") or ():
        found = found.get_command(ctx, word) if isinstance(found, click.Group) else None
    names = found.list_commands(ctx) if isinstance(found, click.Group) else []
    return [name for name in names if name.startswith(incomplete)]


@click.command(
    cls=Command,
    examples=(
        "# Print all commands",
        "reconciler help",
        "# Print the help of one command",
        "reconciler help ledger verify",
    ),
)
@click.argument("words", nargs=-1, metavar="[COMMAND]...", shell_complete=_complete_commands)
@click.pass_context
def help_(ctx: click.Context, /, words: tuple[str, ...]) -> None:
    """Print the help of reconciler or of one command."""
    above = ctx.find_root()
    for word in words:
        group = above.command
        if not isinstance(group, click.Group):
            raise click.UsageError(f"{above.command_path} has no commands")
        _, command, _ = group.resolve_command(above, [word])
        if command is None:
            raise click.UsageError(f"{above.command_path} has no command {word!r}")
        above = click.Context(command, parent=above, info_name=word)
    click.echo(above.get_help())

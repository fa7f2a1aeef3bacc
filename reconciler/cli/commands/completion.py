"""`reconciler completion`."""

from __future__ import annotations

import click


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that makes a shell complete commands and flags.

    For bash: reconciler completion bash > ~/.local/share/bash-completion/completions/reconciler
    """
    from click.shell_completion import get_completion_class

    script = get_completion_class(shell)
    if script is None:
        raise click.UsageError(f"no completion is known for {shell}")
    root = ctx.find_root().command
    click.echo(script(root, {}, "reconciler", "_RECONCILER_COMPLETE").source())

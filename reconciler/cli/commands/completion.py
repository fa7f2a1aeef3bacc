"""`reconciler completion`."""

from __future__ import annotations

import click

from reconciler.cli.command import Command


@click.command(
    cls=Command,
    examples=(
        "# Install for bash",
        "reconciler completion bash \\",
        "    > ~/.local/share/bash-completion/completions/reconciler",
        "# Install for zsh",
        'reconciler completion zsh > "${fpath[1]}/_reconciler"',
        "# Install for fish",
        "reconciler completion fish \\",
        "    > ~/.config/fish/completions/reconciler.fish",
    ),
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that makes a shell complete commands and flags."""
    from click.shell_completion import get_completion_class

    script = get_completion_class(shell)
    if script is None:
        raise click.UsageError(f"no completion is known for {shell}")
    root = ctx.find_root().command
    click.echo(script(root, {}, "reconciler", "_RECONCILER_COMPLETE").source())

"""The command line: wiring, prompts and exit codes. Only this folder prints or exits.

Each command is a module. The module is imported when the user runs that command, and it imports
what it needs when it runs: `reconciler version` costs little more than its parser. This folder
must not know a rule of the product or a vendor.
"""

from __future__ import annotations

import atexit
import builtins
import contextlib
import gc
import importlib
import keyword
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Final

import click

from reconciler.cli.command import Group
from reconciler.cli.completion import complete_files, complete_folders
from reconciler.cli.context import Invocation
from reconciler.cli.debug_log import printed_log
from reconciler.cli.streams import close_stdout, flush_streams, open_streams
from reconciler.cli.terraform_flags import normalize_flags

_COMPLETE: Final = "_RECONCILER_COMPLETE"
_SECTIONS: Final = {
    "Set up a project": {
        "init": "Write a small, valid project.",
        "validate": "Check every manifest. Call no service.",
        "policy": "Test the policies.",
        "schema": "Print the JSON Schema or the fields of a kind.",
    },
    "Change services": {
        "plan": "Show what apply would change. Change nothing.",
        "show": "Print a saved plan.",
        "approve": "Sign the changes of a saved plan.",
        "apply": "Make the changes, and verify each one.",
        "promote": "Declare in one environment what is applied in another.",
        "rollback": "Undo the last apply on one resource.",
    },
    "Review changes in pull requests": {
        "ci": "Plan and apply pull requests in the jobs of a forge.",
    },
    "Train a better model": {
        "retrain": "Train a model, judge it by its gate, and propose it.",
        "verify": "Prove which model a service serves, by its answers.",
    },
    "See what is managed": {
        "list": "List what is managed, with its model and its last apply.",
        "drift": "Report what others changed since the last apply.",
        "watch": "Report drift at intervals, or put it right.",
        "history": "Show each apply with its time, author and commit.",
    },
    "Start and stop managing services": {
        "import": "Write a manifest for one live service.",
        "export": "Write manifests for many live services.",
        "forget": "Stop managing a resource, and keep its service.",
    },
    "Keep the ledger": {
        "ledger": "Verify, rebuild or compact the ledger.",
        "force-unlock": "Remove the lock of the ledger.",
    },
    "Try it without a cloud": {
        "demo": "Run a whole story on an emulator.",
        "emulator": "Run the services and blob storage on this machine.",
    },
    "More": {
        "completion": "Print the completion script of a shell.",
        "version": "Print the version.",
        "help": "Print this page, or the help of a command.",
    },
}


class _Root(Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The commands in the order in which a person first needs them."""
        return [name for commands in _SECTIONS.values() for name in commands]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now; None for an unknown name."""
        if cmd_name not in self.list_commands(ctx):
            return None
        hidden = keyword.iskeyword(cmd_name) or hasattr(builtins, cmd_name)
        word = f"{cmd_name}_" if hidden else cmd_name.replace("-", "_")
        found: click.Command = getattr(
            importlib.import_module(f"reconciler.cli.commands.{word}"), word
        )
        return found

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002 - click's signature
        formatter: click.HelpFormatter,
    ) -> None:
        """Write the commands by task. No command is imported for it."""
        longest = max(len(name) for commands in _SECTIONS.values() for name in commands)
        for task, commands in _SECTIONS.items():
            with formatter.section(task):
                formatter.write_dl([(name.ljust(longest), said) for name, said in commands.items()])


def _print_version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        import reconciler

        click.echo(f"reconciler {reconciler.__version__}")
        ctx.exit()


@click.group(
    cls=_Root,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="'reconciler COMMAND --help' has examples. Terraform's spelling of a flag (-out,"
    " -auto-approve, -target …) is accepted too.",
)
@click.option(
    "--chdir",
    metavar="DIR",
    default="",
    shell_complete=complete_folders,
    help="Change to this folder first.",
)
@click.option(
    "--project",
    metavar="FILE",
    default="",
    shell_complete=complete_files,
    help="The project file to use.",
)
@click.option(
    "--no-color", is_flag=True, help="Print without colour; NO_COLOR has the same effect."
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Print the version and exit.",
)
@click.pass_obj
def reconciler(invocation: Invocation, chdir: str, project: str, *, no_color: bool) -> None:
    """Declare which trained model each machine-learning web service must serve.

    `plan` shows the changes as a patch on the service's own definition; `apply` makes them, reads
    the definition back and verifies it.
    """
    if chdir:
        try:
            os.chdir(chdir)
        except OSError as error:
            raise click.UsageError(f"--chdir {chdir}: {error.strerror}") from error
    invocation.project_file = project
    invocation.no_color = no_color


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code. The entry point of the console script."""
    # A plan keeps thousands of documents and makes few cycles. A collection after every 700 new
    # objects takes a sixth of its time.
    gc.set_threshold(50_000, 20, 100)
    # Python collects once more at its exit, over every imported module.
    atexit.register(gc.freeze)
    invocation = Invocation()
    invocation.deaf = open_streams()
    invocation.typed = tuple(sys.argv[1:] if arguments is None else arguments)
    given = normalize_flags(invocation.typed)
    invocation.arguments = tuple(given)
    if any(name.startswith("OTEL_") for name in os.environ):
        from reconciler import tracing

        tracing.start()
    with _without_unraisable_text(), printed_log(invocation):
        try:
            return _run(given, invocation)
        except Exception as error:  # noqa: BLE001 - the report of the error failed as well
            _print_unraisable(type(error))
            return 1
        finally:
            flush_streams()


def _run(given: Sequence[str], invocation: Invocation) -> int:
    try:
        _refuse_secrets(given)
        if _COMPLETE in os.environ:
            from reconciler.cli.bash_words import register

            register()
        code = reconciler.main(
            args=given, prog_name="reconciler", standalone_mode=False, obj=invocation
        )
        sys.stdout.flush()
    except (KeyboardInterrupt, click.Abort):
        return _interrupted(invocation)
    except BrokenPipeError:
        close_stdout()
        return 1
    except Exception as error:  # noqa: BLE001 - the last boundary: an explanation, no traceback
        from reconciler.cli.errors import report

        return report(error, invocation)
    return code if isinstance(code, int) else 0


def _refuse_secrets(given: Sequence[str]) -> None:
    """Refuse a secret in an argument, before any message repeats it."""
    for number, argument in enumerate(given, 1):
        if argument.isalpha():
            continue
        from reconciler.secrets.suspicion import is_suspicious_argument

        if is_suspicious_argument(argument):
            from reconciler.errors import ReconcilerError

            raise ReconcilerError(
                f"argument {number} holds what looks like a password, a key"
                " or a shared access signature",
                next_step="Other users can read the arguments of a process: replace the secret."
                " Give addresses without it, and refer to it in manifests: {env: NAME}.",
            )


@contextlib.contextmanager
def _without_unraisable_text() -> Iterator[None]:
    """Let Python print only the class of an error that no caller handles.

    The text of an error may hold a secret, such as an address with its signature.
    """
    kept = threading.excepthook, sys.unraisablehook
    threading.excepthook = lambda failed: _print_unraisable(failed.exc_type)
    sys.unraisablehook = lambda failed: _print_unraisable(failed.exc_type)
    try:
        yield
    finally:
        threading.excepthook, sys.unraisablehook = kept


def _print_unraisable(kind: type[BaseException]) -> None:
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(f"Error: ended by an unexpected {kind.__name__}\n")


def _interrupted(invocation: Invocation) -> int:
    if invocation.as_json:
        from reconciler.render.events.json_lines import describe_failure

        invocation.lines.end(describe_failure("interrupted", "Interrupted."))
    elif invocation.wants_json:
        from reconciler.cli.errors import write_document
        from reconciler.model import Finding

        write_document([Finding("Interrupted.")], "interrupted", invocation)
    invocation.print_error("\nInterrupted.")
    return 130

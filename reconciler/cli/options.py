"""The options that several commands share, each defined once.

It is long because it has the help of each of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import click
from click.core import ParameterSource

from reconciler.cli.completion import (
    ENVIRONMENT_KEY,
    complete_addresses,
    complete_environments,
    complete_files,
    complete_folders,
    complete_guards,
    complete_labels,
)
from reconciler.cli.context import Invocation
from reconciler.cli.policy_options import policy_options
from reconciler.text.durations import parse_duration

ENVIRONMENT_VARIABLE: Final = "RECONCILER_ENV"
_Command = TypeVar("_Command", bound=Callable[..., Any])


def read_duration(_: click.Context, __: click.Parameter, text: str) -> float:
    """The value of a flag in seconds; raises click.BadParameter with examples of the format."""
    try:
        return parse_duration(text)
    except ValueError as error:
        said = f"{text!r} is not a duration, such as 90s, 2m or 1m30s"
        raise click.BadParameter(said) from error


def _note_detailed(ctx: click.Context, _: click.Parameter, value: bool) -> bool:
    if isinstance(ctx.obj, Invocation):
        ctx.obj.detailed_exitcode = value
    return value


def _note_metrics_file(ctx: click.Context, _: click.Parameter, value: str) -> None:
    if isinstance(ctx.obj, Invocation):
        ctx.obj.metrics_file = value


def _note_environment(ctx: click.Context, param: click.Parameter, value: str) -> None:
    ctx.meta[ENVIRONMENT_KEY] = value
    if isinstance(ctx.obj, Invocation):
        ctx.obj.environment = value
        if ctx.get_parameter_source(str(param.name)) is ParameterSource.ENVIRONMENT:
            ctx.obj.environment_origin = ENVIRONMENT_VARIABLE


ENV = click.option(
    "--env",
    "environment",
    metavar="NAME",
    default="",
    envvar=ENVIRONMENT_VARIABLE,
    callback=_note_environment,
    expose_value=False,
    shell_complete=complete_environments,
    help="The environment of the project, such as prod: a file in environments/. Also read from"
    f" {ENVIRONMENT_VARIABLE}.",
)
METRICS_FILE = click.option(
    "--metrics-file",
    metavar="FILE",
    default="",
    callback=_note_metrics_file,
    expose_value=False,
    shell_complete=complete_files,
    help="Also write the metrics to FILE, in the text format of Prometheus. The textfile collector"
    " of node_exporter reads files that end in .prom.",
)
_DETAILED = click.option(
    "--detailed-exitcode",
    is_flag=True,
    callback=_note_detailed,
    expose_value=False,
    help="Exit with 0 for no changes, 1 for an error, 2 for changes, 3 for a plan that a guard"
    " refuses, 4 for a stale plan.",
)
_DETAILED_APPLY = click.option(
    "--detailed-exitcode",
    is_flag=True,
    callback=_note_detailed,
    expose_value=False,
    help="Exit with 0 for a complete apply or no changes, 1 for an error, 3 for a plan that a guard"
    " refuses, 4 for a stale plan, 5 for a held lock, 6 for an incomplete apply, 7 for a failed"
    " apply that was rolled back, 8 if it is not proven which model answers.",
)
_DETAILED_DRIFT = click.option(
    "--detailed-exitcode",
    is_flag=True,
    callback=_note_detailed,
    expose_value=False,
    help="Exit with 0 for no drift, 1 for an error, 2 for drift, 8 when the evidence is incomplete"
    " and no drift is proven.",
)
detailed_retrain = click.option(
    "--detailed-exitcode",
    is_flag=True,
    callback=_note_detailed,
    expose_value=False,
    help="Exit with 0 for a model that passes, 1 for an error, 3 for a model that the gate refuses,"
    " 5 for a held lock.",
)
detailed_verify = click.option(
    "--detailed-exitcode",
    is_flag=True,
    callback=_note_detailed,
    expose_value=False,
    help="Exit with 0 if each model is proven, 1 for an error, 6 if an old model answers, 8 if the"
    " evidence is incomplete.",
)
_TARGET = click.option(
    "--target",
    "targets",
    metavar="ADDRESS",
    shell_complete=complete_addresses,
    multiple=True,
    help="Only this resource, such as WebService/census, or all members of a fleet, such as"
    " Fleet/bike-rental. Repeatable.",
)
SELECTOR = click.option(
    "-l",
    "--selector",
    "selectors",
    metavar="LABEL=VALUE",
    shell_complete=complete_labels,
    multiple=True,
    help="Only resources whose manifest has this label, such as team=growth. Repeatable. Also"
    " team!=growth, team, !team, 'team in (growth, risk)', and several with commas.",
)
_EXCLUDE = click.option(
    "--exclude",
    "excluded",
    metavar="ADDRESS",
    shell_complete=complete_addresses,
    multiple=True,
    help="Leave out this resource, or all members of this fleet. Repeatable.",
)
_REFRESH = click.option(
    "--refresh",
    type=click.Choice(["auto", "full", "none"]),
    default="auto",
    show_default=True,
    help="Which services are read: auto reads those that the service's list shows as changed,"
    " full reads all of them, none reads nothing and uses the cache.",
)


_REFRESH_EACH = click.option(
    "--refresh",
    type=click.Choice(["full", "auto"]),
    default="full",
    show_default=True,
    help="Which services each cycle reads: full reads all of them; auto reads those that the"
    " service's list shows as changed, which trusts its change stamps.",
)


class _AllowOption(click.Option):
    """An option whose help names the guards of every kind; they are loaded when it is printed."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """The flag and its help."""
        from reconciler.kinds import find_kinds
        from reconciler.manifests.project import find_guards

        self.help = f"Lift a guard: {', '.join(find_guards(find_kinds()))}. Repeatable."
        return super().get_help_record(ctx)


_ALLOW = click.option(
    "--allow",
    "allowed",
    cls=_AllowOption,
    metavar="GUARD[=ADDRESS]",
    shell_complete=complete_guards,
    multiple=True,
    help="Lift a guard. Repeatable.",
)


def _read_reason(_: click.Context, __: click.Parameter, text: str | None) -> str:
    """The reason without blanks around it; raises click.BadParameter for an empty or long one."""
    from reconciler.plans.guards import MOST_REASON
    from reconciler.text.counting import count

    reason = (text or "").strip().encode("utf-8", "replace").decode()
    if text is not None and not reason:
        raise click.BadParameter("the reason is empty: say why the guard gate is lifted")
    if len(reason) > MOST_REASON:
        raise click.BadParameter(
            f"it has {count(len(reason), 'character')}; the most is {MOST_REASON}"
        )
    return reason


_REASON = click.option(
    "--reason",
    metavar="TEXT",
    callback=_read_reason,
    help="The reason for lifting the guard named gate (required); plan and ledger keep it.",
)


_ROTATE = click.option(
    "--rotate",
    "rotated",
    metavar="ADDRESS",
    shell_complete=complete_addresses,
    multiple=True,
    help="Write the secrets of this resource, or of all members of this fleet, again, even with an"
    " unchanged version label.",
)
_PRUNE = click.option(
    "--prune",
    is_flag=True,
    help="Destroy the resources in the ledger that the project no longer declares.",
)
_DESTROY = click.option(
    "--destroy", is_flag=True, help="Destroy all resources in the manifests and in the ledger."
)
PARALLELISM = click.option(
    "--parallelism",
    type=click.IntRange(1, 64),
    default=10,
    show_default=True,
    help="Limit the number of concurrent calls.",
)


_MAX_CALLS = click.option(
    "--max-calls",
    type=click.IntRange(min=1),
    metavar="N",
    help="Send at most N calls to the services. A run that needs more is refused before it starts.",
)


_PER_CYCLE = click.option(
    "--max-calls",
    type=click.IntRange(min=1),
    metavar="N",
    help="Send at most N calls to the services in a cycle. A cycle that needs more fails.",
)


_FAIL_FAST = click.option(
    "--fail-fast", is_flag=True, help="Start no further step after a step has failed."
)
_ON_FAILURE = click.option(
    "--on-failure",
    type=click.Choice(["stop", "continue", "rollback"]),
    default="stop",
    show_default=True,
    help="After a step has failed: stop starts no later wave, continue starts them, rollback undoes"
    " the finished steps. A fleet also stops at its own maxFailures.",
)
LOCK_TIMEOUT = click.option(
    "--lock-timeout",
    callback=read_duration,
    metavar="DURATION",
    default="0s",
    show_default=True,
    help="How long to wait for the lock of the ledger, such as 90s or 1m30s. The wait for watch,"
    " which releases the lock after the steps that run, does not count.",
)
_STEP_TIMEOUT = click.option(
    "--step-timeout",
    callback=read_duration,
    metavar="DURATION",
    default="30m",
    show_default=True,
    help="How long to follow one operation of the service.",
)
_PATIENCE = click.option(
    "--patience",
    callback=read_duration,
    metavar="DURATION",
    default="10s",
    show_default=True,
    help="How long to wait until a read shows a finished write.",
)


_APPROVALS = click.option(
    "--approvals",
    metavar="DIR",
    default="",
    shell_complete=complete_folders,
    help="A folder with signed approvals, as approve writes them. Needs --keyring.",
)
_KEYRING = click.option(
    "--keyring",
    metavar="FILE",
    default="",
    shell_complete=complete_files,
    help="Who may approve: the public keys of the approvers, in the format allowed_signers of"
    " OpenSSH. Keep it where a change of the project cannot change it.",
)
_REQUIRE = click.option(
    "--require",
    type=click.IntRange(0, 100),
    metavar="N",
    help="How many different people must have approved the changes: 1 with --approvals. With 0,"
    " only the policies ask for approvals.",
)


AUTO_APPROVE = click.option("--auto-approve", is_flag=True, help="Do not ask before applying.")


def format_options(*forms: str, about: str) -> Callable[[_Command], _Command]:
    """Add `--format`, with the first form as its default, and `--json` for `--format json`."""

    def decorate(command: _Command) -> _Command:
        shaped = click.option(
            "--format",
            "form",
            type=click.Choice(forms),
            default=forms[0],
            show_default=True,
            help=about,
        )(command)
        return click.option("--json", "form", flag_value="json", help="Short for --format json.")(
            shaped
        )

    return decorate


PLAN_FORMAT = format_options(
    "text",
    "json",
    "markdown",
    "html",
    about="The format of the plan: markdown is one comment, html is one page to open from disk.",
)


FULL = click.option(
    "--full", is_flag=True, help="Show all attributes of each change, and long values whole."
)


def rollback_options(command: _Command) -> _Command:
    """Add the options of a rollback: those of its plan and those of its apply."""
    shaping = (
        _PATIENCE,
        _STEP_TIMEOUT,
        LOCK_TIMEOUT,
        _MAX_CALLS,
        _ALLOW,
        AUTO_APPROVE,
        PLAN_FORMAT,
    )
    for option in shaping:
        command = option(command)
    return _DETAILED_APPLY(command)


def drift_options(command: _Command) -> _Command:
    """Add the options of a drift report."""
    asked = (_TARGET, SELECTOR, _EXCLUDE, _REFRESH, PARALLELISM, _MAX_CALLS)
    for option in (*reversed(asked), METRICS_FILE, _DETAILED_DRIFT):
        command = option(command)
    return command


def watch_options(command: _Command) -> _Command:
    """Add the options of `watch` that shape its reports and its applies."""
    applying = (_PATIENCE, _STEP_TIMEOUT, policy_options)
    reading = (
        _PER_CYCLE,
        PARALLELISM,
        _REFRESH_EACH,
        METRICS_FILE,
        _EXCLUDE,
        SELECTOR,
        _TARGET,
        ENV,
    )
    for option in (*applying, *reading):
        command = option(command)
    return _DETAILED_DRIFT(command)


def approval_options(command: _Command) -> _Command:
    """Add the options for signed approvals: `approvals`, `keyring` and `require`."""
    return approvals_options(_REQUIRE(command))


def approvals_options(command: _Command) -> _Command:
    """Add the options that name signed approvals: `approvals` and `keyring`."""
    return _APPROVALS(_KEYRING(command))


def check_approval_flags(approvals: str, keyring: str, require: int | None) -> None:
    """Raise UsageError if some of the options for signed approvals are missing."""
    if bool(approvals) != bool(keyring):
        raise click.UsageError("--approvals and --keyring need each other")
    if require is not None and not approvals:
        raise click.UsageError("--require needs --approvals and --keyring")


def plan_options(command: _Command) -> _Command:
    """Add the options of a plan."""
    return _DETAILED(_shaping_options(command))


def apply_options(command: _Command) -> _Command:
    """Add the options of a plan, and those of its apply."""
    for option in (_PATIENCE, _STEP_TIMEOUT, LOCK_TIMEOUT, _ON_FAILURE, _FAIL_FAST):
        command = option(command)
    return _DETAILED_APPLY(_shaping_options(command))


def _shaping_options(command: _Command) -> _Command:
    asked = (_TARGET, SELECTOR, _EXCLUDE, _REFRESH, _ALLOW, _REASON, _ROTATE, _PRUNE, _DESTROY)
    for option in (_MAX_CALLS, PARALLELISM, policy_options, *reversed(asked)):
        command = option(command)
    return command

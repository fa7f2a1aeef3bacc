"""`reconciler emulator`."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from reconciler.cli.command import Command
from reconciler.cli.context import Invocation
from reconciler.cli.options import ENV
from reconciler.emulator.classic.world_file import DEFAULT_WORLD
from reconciler.emulator.faults.fault_file import KINDS
from reconciler.emulator.switches import SWITCHES
from reconciler.emulator.tcp_ports import DEFAULT_PORT

if TYPE_CHECKING:  # start-up: known only when the command runs
    from reconciler.model import Finding

_PUBLISHED_TOKEN: Final = "emulator"  # noqa: S105 - it protects nothing
_MOST_BYTES: Final = 1024 * 1024


_FAULTS = """\b
The file of --faults is a YAML list of
  {match: {method, path}, do, times: N | rate: 0..1, seconds, status}
The first fault that fires is used. path is a regular expression without
look-around; it is searched in the path and the query. A fault without times
and rate always fires. A write to a Classic endpoint has no operation: a fault
of the operation prevents the effect of the write.
The values of do:
"""
_WORLD = """\b
The file of --world is YAML:
  workspaces:
  - id: 32 hexadecimal digits
    region: South Central US    # or another of the service's regions
    tier: standard              # or free: 3 endpoints, ThrottleLevel Low
    token: TEXT                 # default: the token of the emulator
    webServices:
    - id: 32 hexadecimal digits
      name: TEXT
      kind: predictive          # or training, which has no resources
      resources: ["Bike Rental [trained model]"]
    - id: 32 hexadecimal digits
      name: TEXT
      kind: training
      training:                 # without it, the service runs no batch jobs
        label: COLUMN           # what a model predicts
        data: PORT              # else the parameter URI names the address
        rows: PORT              # without it, a fifth of the data is evaluated
        outputs: {PORT: model}  # a role for each: model, evaluation or scored
        parameters: [NAME]
Each service has an endpoint "default". A workspace or a service that is
already in the folder of --data is not changed. The default of --world is:
"""
_CLASSIC = """\
Classic has no call that publishes a service from Studio. The emulator adds a PUT of
{Name, Description, Resources: [names]} to workspaces/W/webservices/ID. A PUT over an existing
service publishes it again: its Version and its endpoint "default" change at once, its other
endpoints when they are refreshed.

A batch job (POST …/jobs) of a training service trains a logistic or a ridge regression on the
data. A scoring call (POST …/execute) returns what such a model predicts. For other bytes it
returns a probability, made from SHA-256 over the bytes and the row, and a label, which is "1"
from 0.5 on. A Classic endpoint reads the bytes when the
PATCH is accepted, a New service at the first scoring call after a write. For a model outside
this blob storage, the address is used instead of the bytes.
"""


def _complete_switches(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    known = (f"{switch.name}={value}" for switch in SWITCHES for value in switch.values or [""])
    return [one for one in known if one.startswith(incomplete)]


def _list_choices() -> str:
    """The switches, the faults and the default world, for the end of the help."""
    switches = (
        f"  {switch.name}={'|'.join(switch.values) or 'N'}\n      {switch.meaning}"
        + ("" if switch.values else f" (default {switch.default})")
        for switch in SWITCHES
    )
    faults = (f"  {kind.name}\n      {kind.meaning}" for kind in KINDS)
    world = (
        f"  workspace {workspace.id}\n"
        + "\n".join(f"  web service {one.id}: {one.name}" for one in workspace.web_services)
        for workspace in DEFAULT_WORLD
    )
    return "\n\n".join(
        (
            "\b\nSwitches, the default first:\n" + "\n".join(switches),
            _FAULTS + "\n".join(faults),
            _WORLD + "\n".join(world),
            _CLASSIC,
        )
    )


@click.command(
    cls=Command,
    epilog=_list_choices(),
    examples=(
        "# Run on the default port",
        "reconciler emulator",
        "# Run on a free port, with Azure's rate limits",
        "reconciler emulator --port 0 --limits resource-manager",
        "# Cause failures on purpose, the same ones each time",
        "reconciler emulator --faults faults.yaml --seed 7",
        "# Serve HTTPS, as the clients of Azure Machine Learning demand it",
        "reconciler emulator --tls",
    ),
)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=DEFAULT_PORT,
    show_default=True,
    help="The port; 0 picks a free one.",
)
@click.option("--data", type=click.Path(path_type=Path), help="Keep the state in this folder.")
@click.option("--seed", type=int, help="Make ids, keys, cipher text and faults repeatable.")
@click.option(
    "--operation-seconds",
    type=click.FloatRange(0, 3600),
    default=0.2,
    show_default=True,
    help="How long an operation runs, and how long a Classic PATCH takes to become effective. A"
    " deployment of an online endpoint takes three times as long, and its scaling twice.",
)
@click.option(
    "--job-seconds",
    type=click.FloatRange(0, 3600),
    default=1.0,
    show_default=True,
    help="How long a training job runs.",
)
@click.option(
    "--limits",
    type=click.Choice(["off", "resource-manager"]),
    default="off",
    show_default=True,
    help="Throttle by Resource Manager's published limits.",
)
@click.option("--blob-url", metavar="URL", default="", help="Use the blob storage at this address.")
@click.option("--no-blob", is_flag=True, help="Start no blob storage.")
@click.option(
    "--switch",
    "switches",
    metavar="NAME=VALUE",
    shell_complete=_complete_switches,
    multiple=True,
    help="Choose a behaviour where that of the service is not known; see below.",
)
@click.option(
    "--tls",
    is_flag=True,
    help="Serve HTTPS, with a certificate that is made at the start.",
)
@click.option("--log", type=click.Path(path_type=Path), help="Append a JSON line for each request.")
@click.option(
    "--faults", type=click.Path(path_type=Path), help="Inject the faults in this file; see below."
)
@click.option(
    "--world",
    type=click.Path(path_type=Path),
    help="Serve the Classic workspaces and services in this file; see below.",
)
@click.option(
    "--crash-after",
    metavar="N",
    type=click.IntRange(min=1),
    help="Kill the emulator after N answered requests.",
)
@ENV
@click.pass_obj
def emulator(  # noqa: PLR0917 - click passes every option as an argument
    invocation: Invocation,
    host: str,
    port: int,
    data: Path | None,
    seed: int | None,
    operation_seconds: float,
    job_seconds: float,
    limits: str,
    blob_url: str,
    *,
    no_blob: bool,
    tls: bool,
    switches: tuple[str, ...],
    log: Path | None,
    faults: Path | None,
    world: Path | None,
    crash_after: int | None,
) -> None:
    """Run the service locally, with blob storage (Azurite) beside it.

    It prints one JSON line when it is ready, and stops on SIGTERM or Ctrl-C. An emulator that is
    started in a project writes its address and a token of its own to .reconciler/emulator.json:
    `cloud: emulator` in this project then means this emulator. With --env it does so in this
    environment alone: .reconciler/NAME/emulator.json. Its blob storage has the port that
    the manifests name. Outside of a project its token is "emulator". If the variable
    RECONCILER_EMULATOR_TOKEN is set, its value is the token.

    With --tls all addresses are https, that of its blob storage too. The ready line then has the
    path of the "certificate", which is for 127.0.0.1 and localhost and signs itself. Programs trust
    it if REQUESTS_CA_BUNDLE or SSL_CERT_FILE has this path. It is removed when the emulator stops.
    """
    from reconciler.cli.installation import check_emulator_installed
    from reconciler.cli.local_emulator import recorded_start

    project, id_ = _find_project(invocation), secrets.token_hex(8)
    environment = _find_environment(invocation, project)
    with contextlib.ExitStack() as stack:
        stack.enter_context(recorded_start(project, id_, environment))
        check_emulator_installed()
        from reconciler.cli.emulator_files import read_faults, read_world
        from reconciler.cli.emulator_run import (
            PUBLISHED_TOKEN,
            check_token,
            run_blob_storage,
            serve_emulator,
        )
        from reconciler.cli.local_storage import find_named_port
        from reconciler.cli.wiring import silence_library_logs
        from reconciler.emulator import Settings
        from reconciler.emulator.certificates import make_certificate

        silence_library_logs()
        _check_outputs(data, log)
        own = PUBLISHED_TOKEN if project is None else secrets.token_urlsafe(24)
        settings = Settings(
            host=host,
            port=port,
            data=data,
            seed=seed,
            operation_seconds=operation_seconds,
            job_seconds=job_seconds,
            limits="resource-manager" if limits == "resource-manager" else "off",
            blob_url=blob_url,
            token=os.environ.get("RECONCILER_EMULATOR_TOKEN") or own,
            switches=_parse_switches(switches),
            log=log,
            faults=read_faults(faults) if faults else (),
            world=read_world(world) if world else DEFAULT_WORLD,
            crash_after=crash_after or 0,
            id=id_,
            certificate=stack.enter_context(make_certificate(host)) if tls else None,
        )
        check_token(settings)
        if project is None:
            invocation.print_findings(_find_above())
        wanted = not (no_blob or blob_url)
        named = find_named_port(project) if project is not None and wanted else 0
        with run_blob_storage(settings, invocation.print_error, wanted=wanted, named=named) as url:
            report = invocation.print_findings
            serve_emulator(settings, url or blob_url, project, report, environment)


def _find_project(invocation: Invocation) -> Path | None:
    """The folder of the project in which the command runs; None outside of a project."""
    from reconciler.manifests import PROJECT_FILE

    file = Path(invocation.project_file or PROJECT_FILE)
    return file.parent.resolve() if file.is_file() else None


def _find_environment(invocation: Invocation, project: Path | None) -> str:
    """The environment that is named; raises ReconcilerError if the project does not have it.

    The variable of the process has no meaning outside of a project.
    """
    name = invocation.environment
    if not name or (project is None and invocation.environment_origin != "--env"):
        return ""
    from reconciler.errors import ReconcilerError
    from reconciler.manifests.environments import list_environments

    known = list_environments(project) if project is not None else ()
    if name not in known:
        names = f"The environments are {', '.join(known)}." if known else "Leave out --env."
        raise ReconcilerError(f'the project has no environment "{name}"', next_step=names)
    return name


def _find_above() -> tuple[Finding, ...]:
    """A warning if the working directory is in a project, and not its folder."""
    from reconciler.manifests.folder import find_project_above
    from reconciler.model import Finding

    here = Path.cwd()
    above = find_project_above(here)
    if above is None:
        return ()
    return (
        Finding(
            "this emulator does not belong to the project in the folder above",
            subject=here.name,
            next_step="The commands of the project do not find it. Start it there: reconciler"
            f" --chdir {os.path.relpath(above, here)} emulator",
            severity="warning",
        ),
    )


def _parse_switches(given: tuple[str, ...]) -> dict[str, str]:
    from reconciler.emulator.switches import Choices

    chosen = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise click.UsageError(f"--switch {text}: it must be NAME=VALUE")
        chosen[name] = value
    try:
        Choices(chosen)
    except ValueError as error:
        raise click.UsageError(f"--switch: {error}") from error
    return chosen


def _check_outputs(data: Path | None, log: Path | None) -> None:
    """Raise an error if the state or the log would change a file that the emulator did not make."""
    from reconciler.errors import ReconcilerError
    from reconciler.files import check_path, find_checkout, is_stream
    from reconciler.manifests.folder import find_reader

    checkout = find_checkout(Path())
    if data is not None:
        check_path(data / "emulator.sqlite", checkout)
    if log is None:
        return
    check_path(log, checkout)
    why = ""
    if log.exists() and not is_stream(log) and not _is_log(log):
        why = "is not a log of the emulator, and --log appends to nothing else"
    elif find_reader(log) is not None:
        why = "would be read as a manifest"
    if why:
        raise ReconcilerError(why, subject=str(log), next_step="Name a new file.")


def _is_log(file: Path) -> bool:
    """Whether the first line of a file is one of the log.

    A file without a line counts too, but not in a project: it may be its ledger.
    """
    from reconciler.manifests.folder import is_in_project

    with file.open("rb") as opened:
        line = opened.readline(_MOST_BYTES)
    try:
        return "body_sha256" in json.loads(line) if line else not is_in_project(file)
    except (ValueError, TypeError, RecursionError):
        return False

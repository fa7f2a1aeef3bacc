"""`reconciler emulator`."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from reconciler.cli.command import Command
from reconciler.cli.context import Invocation
from reconciler.document.pointers import format_pointer
from reconciler.emulator import (
    Fault,
    FileFinding,
    Workspace,
    check_fault_file,
    check_world,
    make_faults,
    make_world,
)
from reconciler.emulator.classic.world_file import DEFAULT_WORLD
from reconciler.emulator.faults.fault_file import KINDS
from reconciler.emulator.switches import SWITCHES
from reconciler.emulator.tcp_ports import DEFAULT_PORT, pick_blob_port
from reconciler.errors import ManifestInvalid
from reconciler.manifests.yaml_text import SourceMap, Text
from reconciler.model import Finding, Json, SourceLocation

_PUBLISHED_TOKEN: Final = "emulator"  # noqa: S105 - it protects nothing
_MOST_BYTES: Final = 1024 * 1024


if TYPE_CHECKING:  # start-up: known only when the command runs
    from reconciler.emulator import Settings
    from reconciler.errors import ReconcilerError


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
Each service has an endpoint "default". A workspace or a service that is
already in the folder of --data is not changed. The default of --world is:
"""
_CLASSIC = """\
Classic has no call that publishes a service from Studio. The emulator adds a PUT of
{Name, Description, Resources: [names]} to workspaces/W/webservices/ID. A PUT over an existing
service publishes it again: its Version and its endpoint "default" change at once, its other
endpoints when they are refreshed.

A scoring call (POST …/execute) returns a probability, made from SHA-256 over the model's bytes
and the row, and a label, which is "1" from 0.5 on. A Classic endpoint reads the bytes when the
PATCH is accepted, a New service at the first scoring call after a write. For a model outside
this blob storage, the address is used instead of the bytes.
"""


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
    help="How long an operation runs, and how long a Classic PATCH takes to become effective.",
)
@click.option(
    "--limits",
    type=click.Choice(["off", "resource-manager"]),
    default="off",
    show_default=True,
    help="Throttle by Resource Manager's published limits.",
)
@click.option("--blob-url", metavar="URL", default="", help="Use this running blob storage.")
@click.option("--no-blob", is_flag=True, help="Start no blob storage.")
@click.option(
    "--switch",
    "switches",
    metavar="NAME=VALUE",
    multiple=True,
    help="Choose a behaviour that is unknown of the service; see below.",
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
@click.pass_obj
def emulator(  # noqa: PLR0917 - click passes every option as an argument
    invocation: Invocation,
    host: str,
    port: int,
    data: Path | None,
    seed: int | None,
    operation_seconds: float,
    limits: str,
    blob_url: str,
    *,
    no_blob: bool,
    switches: tuple[str, ...],
    log: Path | None,
    faults: Path | None,
    world: Path | None,
    crash_after: int | None,
) -> None:
    """Run the service locally, with blob storage (Azurite) beside it.

    It prints one JSON line when it is ready, refuses a call without its token
    (RECONCILER_EMULATOR_TOKEN, else "emulator"), and stops on SIGTERM or Ctrl-C. `cloud:
    emulator` in a project means its default address.
    """
    from reconciler.cli.wiring import silence_library_logs
    from reconciler.emulator import Settings

    silence_library_logs()
    _check_outputs(data, log)
    settings = Settings(
        host=host,
        port=port,
        data=data,
        seed=seed,
        operation_seconds=operation_seconds,
        limits="resource-manager" if limits == "resource-manager" else "off",
        blob_url=blob_url,
        token=os.environ.get("RECONCILER_EMULATOR_TOKEN") or _PUBLISHED_TOKEN,
        switches=_parse_switches(switches),
        log=log,
        faults=read_faults(faults) if faults else (),
        world=read_world(world) if world else DEFAULT_WORLD,
        crash_after=crash_after or 0,
    )
    _warn_of_token(settings, invocation)
    with _blob_storage(settings, wanted=not (no_blob or blob_url)) as url:
        _serve(settings, url or blob_url)


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


def _warn_of_token(settings: Settings, invocation: Invocation) -> None:
    """Warn when other machines may call the emulator with the token that everybody knows."""
    from reconciler.render.findings import render_findings
    from reconciler.transport import is_loopback

    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    if settings.token != _PUBLISHED_TOKEN or is_loopback(f"http://{host}"):
        return
    finding = Finding(
        "other machines may call the emulator, and its token is the published one",
        subject=settings.host,
        next_step="Set RECONCILER_EMULATOR_TOKEN to a token of your own, or leave out --host.",
        severity="warning",
    )
    invocation.print_error(render_findings([finding], paint=invocation.paint(sys.stderr)))


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


@contextlib.contextmanager
def _blob_storage(settings: Settings, *, wanted: bool) -> Iterator[str]:
    """Run Azurite when `wanted`, and yield its address; yield "" otherwise.

    Its port follows from the port of the emulator.
    """
    from reconciler.emulator.azurite import AzuriteUnavailable, run_azurite
    from reconciler.errors import ReconcilerError

    if settings.data is not None:
        settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not wanted:
        yield ""
        return
    folder = settings.data / "blobs" if settings.data is not None else None
    with contextlib.ExitStack() as stack:
        try:
            url = stack.enter_context(run_azurite(pick_blob_port(settings.port, folder), folder))
        except AzuriteUnavailable as error:
            raise ReconcilerError(
                f"blob storage cannot be started: {error}",
                next_step="Start without it: --no-blob. To use running storage: --blob-url URL",
            ) from error
        yield url


def _serve(settings: Settings, blob_url: str) -> None:
    from dataclasses import replace

    from reconciler.errors import ReconcilerError

    try:
        from reconciler.emulator.server import serve
    except ImportError as error:
        raise ReconcilerError(
            "the emulator's server is not installed",
            next_step="Install it: pip install 'reconciler[emulator]'",
        ) from error

    def announce(planes: dict[str, str]) -> None:
        blob = planes.pop("blob") or None
        click.echo(json.dumps({"ready": True, **planes, "blob": blob}))

    try:
        serve(replace(settings, blob_url=blob_url), announce)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ReconcilerError(
                f"port {settings.port} is already in use",
                next_step="Choose another port with --port, or a free one with --port 0.",
            ) from error
        raise _refuse_host(settings.host, error.strerror or "it has no address") from error
    except UnicodeError as error:  # a name that DNS cannot have
        raise _refuse_host(settings.host, "it is not the name of a host") from error


def _refuse_host(host: str, why: str) -> ReconcilerError:
    from reconciler.errors import ReconcilerError

    return ReconcilerError(
        f"the emulator cannot listen there: {why}",
        subject=host,
        next_step="Give --host an address of this machine, such as 127.0.0.1.",
    )


if TYPE_CHECKING:  # only named here
    import yaml


def read_faults(file: Path) -> tuple[Fault, ...]:
    """The faults of a file, in order. Raises ManifestInvalid with every error of the file."""
    return make_faults(_read(file, "faults", check_fault_file))


def read_world(file: Path) -> tuple[Workspace, ...]:
    """The workspaces of a file. Raises ManifestInvalid with every error of the file."""
    return make_world(_read(file, "world", check_world))


def _read(
    file: Path, option: str, check_document: Callable[[object], Iterator[FileFinding]]
) -> Json:
    """The single document of a file; raises ManifestInvalid with every error of the file."""
    parsed = Text(str(file), _read_text(file))
    nodes = list(parsed.compose())
    document = parsed.build(nodes[0]) if nodes else None
    findings = [*parsed.findings, *_check_documents(parsed, nodes, option)]
    if nodes:
        places = SourceMap(parsed.file, nodes[0])
        for file_finding in check_document(document):
            place = places[format_pointer(file_finding.path)]
            findings.append(
                Finding(file_finding.message, place=place, next_step=file_finding.next_step)
            )
    if findings:
        raise ManifestInvalid(tuple(sorted(findings, key=_sort_key)))
    return document


def _read_text(file: Path) -> str:
    """The text of a regular file of at most 1 MB, in UTF-8."""
    state = file.stat()
    if not stat.S_ISREG(state.st_mode):
        raise _refuse(file, "is not a regular file")
    if state.st_size > _MOST_BYTES:
        raise _refuse(file, f"is {state.st_size / 1_000_000:.0f} MB; it may have at most 1 MB")
    try:
        return file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _refuse(file, "is not text in UTF-8") from error


def _refuse(file: Path, message: str) -> ManifestInvalid:
    return ManifestInvalid((Finding(message, subject=str(file)),))


def _check_documents(parsed: Text, nodes: list[yaml.Node], option: str) -> Iterator[Finding]:
    if not nodes and not parsed.findings:
        step = f"Write the {option}, or leave --{option} out."
        yield Finding(f"holds no {option}", place=SourceLocation(parsed.file, 1, 1), next_step=step)
    for node in nodes[1:]:
        yield Finding(
            "a second document",
            place=parsed.place(node),
            next_step="Put everything in one document.",
        )


def _sort_key(finding: Finding) -> tuple[int, int, str]:
    at = finding.place
    return (at.line, at.column, finding.message) if at else (0, 0, finding.message)

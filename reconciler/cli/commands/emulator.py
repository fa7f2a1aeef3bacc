"""`reconciler emulator`."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.emulator.classic.world_file import DEFAULT_WORLD
from reconciler.emulator.faults.fault_file import KINDS
from reconciler.emulator.switches import SWITCHES

if TYPE_CHECKING:  # start-up: known only when the command runs
    from reconciler.emulator import Settings

DEFAULT_PORT = 8470
_BLOB_PORT = 10000


_FAULTS = """\b
The file of --faults is YAML, a list of
  {match: {method, path}, do, times: N | rate: 0..1, seconds, status}
in which the first that fires wins; path is a regular expression, searched in path and
query, without look-around; without times and rate a fault fires always. A write to a Classic
endpoint has no operation: what would befall its operation keeps it from taking effect. To do:
"""
_WORLD = """\b
The file of --world is YAML:
  workspaces:
  - id: 32 hexadecimal digits
    region: South Central US       # or another of the service's regions
    tier: standard                 # or free: 3 endpoints a service, ThrottleLevel Low
    token: TEXT                    # default: the token of the emulator
    webServices:
    - id: 32 hexadecimal digits
      name: TEXT
      kind: predictive             # or training, which has no resources
      resources: ["Bike Rental [trained model]"]
Each service comes with its endpoint "default". What a folder of --data knows already stays as
it is. Without --world there is this:
"""
_CLASSIC = """\b
Classic has no call by which Studio publishes; here PUT workspaces/W/webservices/ID does, with
{Name, Description, Resources: [names]}, and over a service that is there publishes it anew: its
Version moves, its endpoint "default" with it, and others by their refresh.

\b
A scoring call (POST .../execute) answers with SHA-256 over the model's bytes and the row, as a
probability, and "1" from 0.5 on as label. A Classic endpoint takes the bytes in when the PATCH
is accepted, a New service when it is first scored after a write; of a model that is not in
this blob storage, the address stands for the bytes.
"""


def _list_choices() -> str:
    """The switches, the faults and the world, for the end of the help."""
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


@click.command(epilog=_list_choices())
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=DEFAULT_PORT,
    show_default=True,
    help="The port; 0 takes a free one.",
)
@click.option("--data", type=click.Path(path_type=Path), help="Keep the state in this folder.")
@click.option("--seed", type=int, help="Make ids, keys, cipher text and faults repeatable.")
@click.option(
    "--operation-seconds",
    type=click.FloatRange(0, 3600),
    default=0.2,
    show_default=True,
    help="How long an operation runs, and a Classic PATCH takes to take effect.",
)
@click.option(
    "--limits",
    type=click.Choice(["off", "resource-manager"]),
    default="off",
    show_default=True,
    help="Throttle by Resource Manager's published limits.",
)
@click.option("--blob-url", metavar="URL", default="", help="Blob storage that runs already.")
@click.option("--no-blob", is_flag=True, help="Start no blob storage.")
@click.option(
    "--switch", "switches", metavar="NAME=VALUE", multiple=True, help="Settle an unknown; below."
)
@click.option("--log", type=click.Path(path_type=Path), help="Append a JSON line for each request.")
@click.option(
    "--faults", type=click.Path(path_type=Path), help="What goes wrong on purpose; below."
)
@click.option(
    "--world", type=click.Path(path_type=Path), help="Classic's workspaces and services; below."
)
@click.option(
    "--crash-after",
    metavar="N",
    type=click.IntRange(min=1),
    help="Be killed once N requests are answered.",
)
def emulator(  # noqa: PLR0917 - click hands every option over as an argument
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

    It prints one JSON line when it is ready, lets nobody in without its token
    (RECONCILER_EMULATOR_TOKEN, else "emulator"), and stops on SIGTERM or Ctrl-C. `cloud:
    emulator` in a project means its default address.
    """
    from reconciler.cli.emulator_files import read_faults, read_world
    from reconciler.cli.hush import hush_loggers
    from reconciler.emulator import Settings

    hush_loggers()
    settings = Settings(
        host=host,
        port=port,
        data=data,
        seed=seed,
        operation_seconds=operation_seconds,
        limits="resource-manager" if limits == "resource-manager" else "off",
        blob_url=blob_url,
        token=os.environ.get("RECONCILER_EMULATOR_TOKEN") or "emulator",
        switches=_parse_switches(switches),
        log=log,
        faults=read_faults(faults) if faults else (),
        world=read_world(world) if world else DEFAULT_WORLD,
        crash_after=crash_after or 0,
    )
    with _blob_storage(settings, wanted=not (no_blob or blob_url)) as url:
        _serve(settings, url or blob_url)


def _parse_switches(given: tuple[str, ...]) -> dict[str, str]:
    from reconciler.emulator.switches import Choices

    chosen = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise click.UsageError(f"--switch {text}: it reads NAME=VALUE")
        chosen[name] = value
    try:
        Choices(chosen)
    except ValueError as error:
        raise click.UsageError(f"--switch: {error}") from error
    return chosen


@contextlib.contextmanager
def _blob_storage(settings: Settings, *, wanted: bool) -> Iterator[str]:
    """Azurite, where it is wanted: on its usual port beside an emulator on its own."""
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
                next_step="Go without with --no-blob, or name running storage with --blob-url.",
            ) from error
        yield url


def pick_blob_port(port: int, folder: Path | None) -> int:
    """The port for blob storage beside an emulator on `port`; 0 for any that is free.

    Storage that is kept in a folder keeps its port, because the addresses of models hold it.
    """
    wished = _BLOB_PORT if port == DEFAULT_PORT else 0
    note = folder / "port" if folder is not None else None
    if note is not None and note.exists() and note.read_text(encoding="utf-8").isdecimal():
        wished = int(note.read_text(encoding="utf-8"))
    picked = wished if wished and is_free(wished) else find_free_port()
    if note is not None:
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(str(picked), encoding="utf-8")
    return picked


def find_free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_free(port: int) -> bool:
    """Whether nobody listens on a port of this machine."""
    with socket.socket() as probe:
        # As servers bind: connections of an earlier one that still linger do no harm.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


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
                f"port {settings.port} is taken",
                next_step="Choose another with --port, or let it find one with --port 0.",
            ) from error
        raise

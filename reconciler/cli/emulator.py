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

from reconciler.emulator.faults import KINDS
from reconciler.emulator.switches import SWITCHES

if TYPE_CHECKING:  # start-up: known only when the command runs
    from reconciler.emulator import Fault, Settings

DEFAULT_PORT = 8470
_BLOB_PORT = 10000


def _list_choices() -> str:
    """The switches, and the faults, for the end of the help."""
    switches = (
        f"  {switch.name}={'|'.join(switch.values) or 'N'}\n      {switch.meaning}"
        + ("" if switch.values else f" (default {switch.default})")
        for switch in SWITCHES
    )
    faults = (f"  {kind.name}\n      {kind.meaning}" for kind in KINDS)
    return (
        "\b\nSwitches, the default first:\n"
        + "\n".join(switches)
        + "\n\n\b\nThe file of --faults is YAML, a list of\n"
        + "  {match: {method, path}, do, times: N | rate: 0..1, seconds, status}\n"
        + "in which the first that fires wins; path is a regular expression, searched in path and\n"
        + "query, without look-around; without times and rate a fault fires always. To do:\n"
        + "\n".join(faults)
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
    help="How long an operation runs.",
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
    crash_after: int | None,
) -> None:
    """Run the service locally, with blob storage (Azurite) beside it.

    It prints one JSON line when it is ready, lets nobody in without its token
    (RECONCILER_EMULATOR_TOKEN, else "emulator"), and stops on SIGTERM or Ctrl-C. `cloud:
    emulator` in a project means its default address.
    """
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
        faults=_read_faults(faults),
        crash_after=crash_after or 0,
    )
    with _blob_storage(settings, wanted=not (no_blob or blob_url)) as url:
        _serve(settings, url or blob_url)


def _read_faults(file: Path | None) -> tuple[Fault, ...]:
    if file is None:
        return ()
    from reconciler.cli.faults import read_faults

    return read_faults(file)


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

"""Runs the emulator and blob storage beside it, and tells the project where they are.

The ready line is printed when the emulator answers. Blob storage answers then too, or is being
fetched: a first fetch may take minutes, and it is reported on stderr.
"""

from __future__ import annotations

import contextlib
import errno
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import click

from reconciler.cli.local_emulator import find_record, record_emulator
from reconciler.cli.local_storage import check_named_storage, find_named_storage_of
from reconciler.emulator import Settings
from reconciler.emulator.azurite import (
    AzuriteUnavailable,
    is_installed,
    locate_storage,
    run_azurite,
)
from reconciler.emulator.certificates import Certificate
from reconciler.emulator.tcp_ports import DEFAULT_BLOB_PORT, is_free, pick_blob_port
from reconciler.errors import ReconcilerError
from reconciler.model import Finding
from reconciler.transport import is_loopback

PUBLISHED_TOKEN: Final = "emulator"  # noqa: S105 - it protects nothing
_END_WITHIN_S: Final = 10.0


def check_token(settings: Settings) -> None:
    """Raise ReconcilerError if other machines may call with the token that everybody knows."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    if settings.token == PUBLISHED_TOKEN and not is_loopback(f"http://{host}"):
        raise ReconcilerError(
            "other machines may call the emulator there, and its token is the published one",
            subject=host,
            next_step="Set RECONCILER_EMULATOR_TOKEN to a token of your own, start it in a project,"
            " or leave out --host.",
        )


@contextlib.contextmanager
def run_blob_storage(
    settings: Settings, report: Callable[[str], None], *, wanted: bool, named: int = 0
) -> Iterator[str]:
    """Run Azurite when `wanted`, and yield its address; yield "" otherwise.

    Its port is `named`, which the manifests name, or follows from the port of the emulator. If it
    must be fetched first, the address is yielded at once, and `report` gets a line when it answers.
    """
    if settings.data is not None:
        settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not wanted:
        yield ""
        return
    folder = settings.data / "blobs" if settings.data is not None else None
    with contextlib.ExitStack() as stack:
        try:
            url = _enter_storage(stack, settings, folder, named, report)
        except AzuriteUnavailable as error:
            raise ReconcilerError(
                f"blob storage cannot be started: {error}",
                next_step="Start without it: --no-blob. To use running storage: --blob-url URL",
            ) from error
        yield url


def _enter_storage(
    stack: contextlib.ExitStack,
    settings: Settings,
    folder: Path | None,
    named: int,
    report: Callable[[str], None],
) -> str:
    """Start storage on the port of its choice; on another one if a process took it meanwhile."""
    running = run_azurite if is_installed() else _run_later
    port = pick_blob_port(settings.port, folder, named)
    try:
        return stack.enter_context(running(port, folder, report, settings.certificate))
    except AzuriteUnavailable:
        if is_free(port):
            raise
        port = pick_blob_port(settings.port, folder, named)
        return stack.enter_context(running(port, folder, report, settings.certificate))


@contextlib.contextmanager
def _run_later(
    port: int,
    folder: Path | None,
    report: Callable[[str], None],
    certificate: Certificate | None = None,
) -> Iterator[str]:
    """Fetch and run Azurite on a thread, and yield the address at which it will answer."""
    ended = threading.Event()

    def run() -> None:
        try:
            with run_azurite(port, folder, report, certificate) as url:
                report(f"Blob storage is ready: {url}")
                ended.wait()
        except AzuriteUnavailable as error:
            report(f"Blob storage cannot be started: {error}")

    # The processes that the thread starts end with it, and a daemon ends with the program.
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield locate_storage(port, certificate)
    finally:
        ended.set()
        thread.join(_END_WITHIN_S if is_installed() else 0)


def serve_emulator(
    settings: Settings,
    blob_url: str,
    project: Path | None,
    report: Callable[[Sequence[Finding]], None],
    environment: str = "",
) -> None:
    """Serve until a signal; `project` is the folder of the project in which it was started.

    It is the emulator of one `environment`, if one is named. `report` gets a warning for each
    address of another storage that its manifests name.
    """
    from reconciler.emulator.server import serve

    listening = False

    def announce(planes: dict[str, str]) -> None:
        nonlocal listening
        listening = True
        urls = {**planes, "blob": blob_url}
        certificate = str(settings.certificate.path) if settings.certificate else ""
        tls = {"certificate": certificate} if certificate else {}
        if project is not None:
            record = find_record(project, environment)
            record_emulator(record, settings.id, settings.token, urls, certificate)
        click.echo(json.dumps({"ready": True, **urls, "blob": blob_url or None, **tls}))
        if project is not None and blob_url:
            report(check_named_storage(find_named_storage_of(project), blob_url))

    try:
        serve(replace(settings, blob_url=blob_url), announce)
    except OSError as error:
        if listening:  # the ready line or the record could not be written
            raise
        if error.errno == errno.EADDRINUSE:
            raise ReconcilerError(
                f"port {settings.port} is already in use",
                next_step="Choose another port with --port, or a free one with --port 0."
                + _explain_blob_port(blob_url),
            ) from error
        raise _refuse_host(settings.host, error.strerror or "it has no address") from error
    except UnicodeError as error:  # a name that DNS cannot have
        raise _refuse_host(settings.host, "it is not the name of a host") from error


def _explain_blob_port(blob_url: str) -> str:
    """What an emulator on another port means for the manifests: nothing if port 10000 is ours."""
    if not blob_url or urlsplit(blob_url).port == DEFAULT_BLOB_PORT:
        return ""
    return (
        f" Its blob storage is then not at port {DEFAULT_BLOB_PORT}, which is in use too: the"
        " addresses of models in the manifests must change. The emulator prints how, when it starts"
        " in the project."
    )


def _refuse_host(host: str, why: str) -> ReconcilerError:
    return ReconcilerError(
        f"the emulator cannot listen there: {why}",
        subject=host,
        next_step="Give --host an address of this machine, such as 127.0.0.1.",
    )

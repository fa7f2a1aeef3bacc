"""Blob storage for the tests that need it, once for each process, and what a machine lacks.

A check that this machine cannot make is left out, and the run reports it with the reason. Where all
checks are demanded it fails: with RECONCILER_ALL_CHECKS=1, and in a pipeline, which sets CI=true.
"""

import contextlib
import fcntl
import functools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NoReturn

import pytest

from reconciler.blobs import upload_model as upload
from reconciler.emulator.azurite import AzuriteUnavailable, is_installed, run_azurite

# The folder that all processes of one run share; the first process sets it.
RUN_FOLDER: Final = "RECONCILER_TEST_RUN"
ALL_CHECKS: Final = os.environ.get("RECONCILER_ALL_CHECKS") == "1"
_NOTHING: Final = "http://127.0.0.1:9"
_SHARED: Final = contextlib.ExitStack()


def leave_out(what: str, why: str) -> NoReturn:
    """Skip a check that this machine cannot make; fail it where all checks are demanded."""
    report = f"NOT CHECKED: {what}. {why}"
    if ALL_CHECKS or os.environ.get("CI") in {"true", "1"}:
        pytest.fail(report, pytrace=False)
    pytest.skip(report)


def open_storage() -> str:
    """The URL of blob storage that all tests of this process share until `close_storage`.

    Leaves the test out where blob storage cannot be fetched.
    """
    url, why = _start_storage()
    return url or leave_out("what needs blob storage", why)


def find_storage() -> str:
    """The URL of the shared blob storage, or one at which nothing answers: for its name only."""
    return _start_storage()[0] or _NOTHING


def upload_model(uri: str, data: bytes, environment: Mapping[str, str]) -> str:
    """Upload a model and return its digest; leaves the test out where no storage runs."""
    if uri.startswith(f"{_NOTHING}/"):
        open_storage()
    return upload(uri, data, environment)


def need_storage() -> None:
    """Leave a test out whose own processes would start blob storage that cannot be fetched."""
    if not is_installed():
        open_storage()


def close_storage() -> None:
    """End the shared blob storage, if any test has asked for it."""
    _SHARED.close()
    _start_storage.cache_clear()


@functools.cache
def _start_storage() -> tuple[str, str]:
    """The URL of blob storage, or why it cannot be fetched; one process of a run finds that out."""
    folder = Path(os.environ[RUN_FOLDER])
    missing = folder / "no-storage"
    with (folder / "storage.lock").open("w") as lock:
        if not is_installed():
            fcntl.flock(lock, fcntl.LOCK_EX)
        if missing.exists():
            return "", missing.read_text()
        try:
            return _SHARED.enter_context(run_azurite()), ""
        except AzuriteUnavailable as error:
            if is_installed():
                raise
            missing.write_text(f"Azurite: {error}")
            return "", f"Azurite: {error}"

"""Opens the ledger of a project, and what is kept beside it: in a folder or a container.

The composition root calls it. It imports the blob modules only for a project that uses them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from reconciler.ledgers.file import FileLedger
from reconciler.model import Drift, DriftPast, DriftRun, Project
from reconciler.ports import DriftHistory, Leadership, Ledger

if TYPE_CHECKING:  # start-up: only teams need blob storage
    from reconciler.ledgers.blob_client import Container


def open_ledger(
    project: Project,
    environment: Mapping[str, str],
    token_credential: Callable[[], Any] | None = None,
) -> Ledger:
    """Returns the ledger of a project, without a read or a call.

    Raises LedgerInvalid if the address is not the address of a container.
    """
    if not project.ledger_container:
        folder = Path(project.root, project.ledger)
        return FileLedger(folder, project.moved, environment=project.environment)
    from reconciler.ledgers.blob import AzureBlobLedger  # noqa: PLC0415 - only teams need it

    return AzureBlobLedger(
        _open_container(project, environment, token_credential),
        project.ledger_prefix,
        project.moved,
        environment=project.environment,
    )


def open_leadership(
    project: Project,
    environment: Mapping[str, str],
    token_credential: Callable[[], Any] | None = None,
) -> Leadership:
    """Returns the lease of the leader, beside the ledger of a project, without a read or a call.

    Raises LedgerInvalid if the address is not the address of a container.
    """
    from reconciler.ledgers.leadership import (  # noqa: PLC0415 - only watch needs it
        lead_in_container,
        lead_in_folder,
    )

    if not project.ledger_container:
        return lead_in_folder(Path(project.root, project.ledger))
    container = _open_container(project, environment, token_credential)
    return lead_in_container(container, project.ledger_prefix)


def open_drift_history(
    project: Project,
    environment: Mapping[str, str],
    token_credential: Callable[[], Any] | None = None,
) -> DriftHistory:
    """Returns the drift history beside the ledger, without a read, a call or an import.

    Its methods raise LedgerInvalid if the address is not the address of a container.
    """
    return _UnopenedDriftHistory(partial(_open_history, project, environment, token_credential))


def _open_history(
    project: Project, environment: Mapping[str, str], token_credential: Callable[[], Any] | None
) -> DriftHistory:
    from reconciler.ledgers.drift_history import (  # noqa: PLC0415 - start-up: only drift needs it
        HistoryFile,
        StoredDriftHistory,
    )

    if not project.ledger_container:
        return StoredDriftHistory(HistoryFile(Path(project.root, project.ledger)))
    from reconciler.ledgers.drift_history_blob import HistoryBlob  # noqa: PLC0415 - as above

    container = _open_container(project, environment, token_credential)
    return StoredDriftHistory(HistoryBlob(container, project.ledger_prefix))


class _UnopenedDriftHistory:
    """The drift history of a command that may never use it: it is opened at its first use."""

    def __init__(self, open_history: Callable[[], DriftHistory]) -> None:
        self._open = open_history

    @cached_property
    def _opened(self) -> DriftHistory:
        return self._open()

    def load(self) -> DriftPast:
        return self._opened.load()

    def append(self, run: DriftRun | None, since: Mapping[str, str]) -> None:
        self._opened.append(run, since)

    def keep_overwritten(self, findings: Collection[Drift], now: str) -> None:
        self._opened.keep_overwritten(findings, now)

    def note_sent(self, keys: Collection[str]) -> None:
        self._opened.note_sent(keys)


def _open_container(
    project: Project,
    environment: Mapping[str, str],
    token_credential: Callable[[], Any] | None,
) -> Container:
    from reconciler.ledgers.blob_client import Container  # noqa: PLC0415 - only teams need it

    own_host = urlsplit(project.cloud.blob).hostname or ""
    return Container(project.ledger_container, environment, token_credential, own_host)

"""Opens the ledger of a project: in its folder, or in a container of blob storage.

The composition root calls it. It imports the blob modules only for a project that uses them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from reconciler.ledgers.file import FileLedger
from reconciler.model import Project
from reconciler.ports import Ledger


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
    from reconciler.ledgers.blob_client import Container  # noqa: PLC0415 - only teams need it

    own_host = urlsplit(project.cloud.blob).hostname or ""
    container = Container(project.ledger_container, environment, token_credential, own_host)
    return AzureBlobLedger(
        container, project.ledger_prefix, project.moved, environment=project.environment
    )

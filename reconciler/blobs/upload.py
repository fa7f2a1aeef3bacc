"""Uploads a model to storage, and stores the digest of its bytes as metadata.

The demo calls it. An apply never uploads a model.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping

from reconciler.blobs.storage import split_model_address
from reconciler.model import ModelReference
from reconciler.transport import storage_credential


def upload_model(uri: str, data: bytes, environment: Mapping[str, str]) -> str:
    """Upload bytes to an address and return their `sha256:` digest.

    Creates the container if it does not exist. Replaces a blob that exists already. The digest is
    stored as metadata `sha256`, so that a plan can compare the bytes without reading them.
    """
    from azure.core.exceptions import ResourceExistsError  # noqa: PLC0415 - a slow import
    from azure.storage.blob import ContainerClient  # noqa: PLC0415 - a slow import

    from reconciler.transport.azure_core import storage_options  # noqa: PLC0415 - a slow import

    where = split_model_address(ModelReference(name=uri, uri=uri, path=()))
    digest = hashlib.sha256(data).hexdigest()
    credential = storage_credential(where, environment)
    options = storage_options()
    with ContainerClient(
        where.account_url, where.container, credential=credential, **options
    ) as container:
        with contextlib.suppress(ResourceExistsError):
            container.create_container()
        container.upload_blob(where.name, data, overwrite=True, metadata={"sha256": digest})
    return f"sha256:{digest}"

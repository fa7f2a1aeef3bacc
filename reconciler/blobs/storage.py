"""Reads the properties of one model blob at a time. The planner calls it for each model.

It imports azure-storage-blob when it inspects the first blob. It chooses the credential by the
address of the blob and by the environment. A credential is never part of the address.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

from reconciler.errors import BlobForbidden, ReconcilerError, Unavailable
from reconciler.model import ABSENT, Absent, Blob, ModelReference
from reconciler.ports import ResolveSecret
from reconciler.text.times import format_utc
from reconciler.transport import (
    SAS_VARIABLE,
    TransportError,
    Where,
    check_validity,
    explain_failure,
    find_credential,
    find_end,
    is_loopback,
    name_credential,
    read_date,
    read_signature,
    split_address,
)


class BlobStorage:
    """Inspects model blobs. Safe to use from several threads."""

    def __init__(
        self,
        resolve: ResolveSecret,
        blob_host: str = "",
        *,
        environment: Mapping[str, str],
        token_credential: Callable[[], Any] | None = None,
        redact: Callable[[str], str] = str,
    ) -> None:
        """`redact` removes secrets from what storage reports of a blob."""
        self._resolve = resolve
        self._own_host = urlsplit(blob_host).hostname or ""
        self._environment = environment
        self._token_credential = token_credential
        self._redact = redact

    def inspect(self, model: ModelReference) -> Blob | Absent:
        """Return what is known of the bytes, or ABSENT if storage reports that the blob is missing.

        For a pinned model the digest is computed from every byte. Otherwise it is the digest that
        the uploader or the storage recorded. Raises BlobForbidden, BlobExpired, Unavailable, or
        ReconcilerError for an address that is not the address of a blob.
        """
        from azure.core.exceptions import (  # noqa: PLC0415 - a slow import, for plans with models
            AzureError,
            ClientAuthenticationError,
            HttpResponseError,
            ResourceNotFoundError,
        )

        where = split_model_address(model)
        credential, ends = self._credential(model, where)
        try:
            return self._inspect(model, where, credential, ends)
        except ResourceNotFoundError:
            return ABSENT
        except ClientAuthenticationError as error:
            if error.response is None:
                raise self._unanswered(error, model, where, unsigned=True) from None
            raise _forbidden(model, credential, error.response) from error
        except HttpResponseError as error:
            if error.status_code in {401, 403}:
                raise _forbidden(model, credential, error.response) from error
            raise _unavailable(model, f"storage answers {error.status_code}") from error
        except (AzureError, TransportError) as error:
            raise _unreached(model, where, error) from error
        except ReconcilerError:
            raise
        except Exception as error:  # noqa: BLE001 - the library raises errors of any class
            # Not chained: its text may quote the credential.
            raise self._unanswered(error, model, where, unsigned=False) from None

    def _unanswered(
        self, error: Exception, model: ModelReference, where: Where, *, unsigned: bool
    ) -> Unavailable:
        signature = f"the signature of {model.sas}" if model.sas else ""
        given_by = signature or name_credential(where, self._environment)
        what, next_step = explain_failure(error, given_by, unsigned=unsigned)
        return Unavailable(what, subject=model.name, next_step=next_step)

    def _inspect(self, model: ModelReference, where: Where, credential: Any, ends: str) -> Blob:
        from azure.storage.blob import BlobClient  # noqa: PLC0415 - see inspect

        from reconciler.transport.azure_core import storage_options  # noqa: PLC0415 - see inspect

        options = storage_options()
        with BlobClient(
            where.account_url, where.container, where.name, credential=credential, **options
        ) as client:
            dates: list[datetime | None] = []
            found = client.get_blob_properties(
                raw_response_hook=lambda said: dates.append(read_date(said.http_response.headers))
            )
            digest, trust = _digest_of(client, found, pinned=bool(model.sha256))
            told = dates[-1] if dates else None
            at = format_utc(told) if told is not None else ""
            etag = found.etag or ""
            # A host may repeat the signature that it received.
            kept = etag if self._redact(etag) == etag else ""
            return Blob(model.uri, found.size, kept, digest, trust, ends, at)

    def _credential(self, model: ModelReference, where: Where) -> tuple[Any, str]:
        """Return the credential that opens the blob, and the time it ends (empty if not known)."""
        if model.sas is not None:
            return _open_signature(self._resolve(model.sas), str(model.sas), model.name)
        found = find_credential(where, self._environment, self._token_credential, self._own_host)
        if isinstance(found, str):
            return _open_signature(found, SAS_VARIABLE, model.name)
        return found, ""


def _open_signature(text: str, source: str, subject: str) -> tuple[str, str]:
    """Return a signature that can read a model, and the time it ends (empty if not known).

    Storage decides whether it is valid now, because our clock may differ from that of storage.
    """
    signature = read_signature(text, source, subject)
    return signature, find_end(signature)


def split_model_address(model: ModelReference) -> Where:
    """Split a model's address. Raises ReconcilerError if it is not https or not of a blob."""
    try:
        where = split_address(model.uri)
    except ValueError as error:
        raise ReconcilerError(f"its address is not {error}", subject=model.name) from error
    if not where.name:
        raise ReconcilerError("its address is not the address of a blob", subject=model.name)
    return where


def _digest_of(client: Any, found: Any, *, pinned: bool) -> tuple[str, Any]:
    """Return a digest, and how it was obtained (the `trust` of a Blob)."""
    if pinned:
        running = hashlib.sha256()
        for part in client.download_blob().chunks():
            running.update(part)
        return f"sha256:{running.hexdigest()}", "streamed"
    stated = (found.metadata or {}).get("sha256", "").lower()
    if len(stated) == 64 and set(stated) <= set("0123456789abcdef"):
        return f"sha256:{stated}", "metadata"
    md5 = found.content_settings.content_md5
    return (f"md5:{bytes(md5).hex()}", "md5") if md5 else ("", "none")


def _forbidden(model: ModelReference, credential: Any, response: Any) -> BlobForbidden:
    """Return the error of a refusal; raises BlobExpired if the signature is not valid now.

    `response` is that of the storage, and has its time.
    """
    if isinstance(credential, str):
        headers = response.headers if response is not None else {}
        check_validity(credential, model.name, read_date(headers) or datetime.now(UTC))
    hint = (
        "Give the identity the role Storage Blob Data Reader, or name a signature with sas."
        if credential is None or not isinstance(credential, (str, dict))
        else "The credential has no read permission, or it belongs to another account."
    )
    return BlobForbidden("storage denies read access", subject=model.name, next_step=hint)


_START_IT: Final = (
    "Start the storage of this machine. An emulator that fetches it for the first time reports when"
    " it is ready."
)


def _unreached(model: ModelReference, where: Where, error: Exception) -> Unavailable:
    from reconciler.transport.azure_core import explain_azure  # noqa: PLC0415 - see inspect

    failed = explain_azure(error)
    step = failed.next_step or (_START_IT if is_loopback(model.uri) else "")
    return _unavailable(model, f"storage at {where.shown}: {failed.said}", step)


def _unavailable(model: ModelReference, said: str, next_step: str = "") -> Unavailable:
    usual = "Check its address and the network."
    return Unavailable(said, subject=model.name, next_step=next_step or usual)

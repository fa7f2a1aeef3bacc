"""The blobs of training jobs: uploads the data, and reads what a job wrote.

No blob is ever written over: an upload asks storage to refuse it. The credential is a connection
string or a signature of the manifest, or the signature that the service gave for a result.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import Any, Final

from reconciler.errors import BlobForbidden, ReconcilerError, Unavailable
from reconciler.model.training import BlobReference, TrainingBlob
from reconciler.ports import ResolveSecret
from reconciler.transport import (
    TransportError,
    clean,
    explain_failure,
    read_signature,
    split_address,
    storage_credential,
)

_MOST_UPLOAD: Final = 5 << 30


class TrainingBlobs:
    """Reads and uploads the blobs of training jobs. Safe to use from several threads."""

    def __init__(self, root: Path, resolve: ResolveSecret, know: Callable[[str], None]) -> None:
        """`root` is the project's folder; `know` receives each secret before it is used."""
        self._root, self._resolve, self._know = root, resolve, know

    def refer(self, blob: TrainingBlob, uri: str) -> BlobReference:
        """Return the reference to a blob with its secret; raises SecretMissing.

        Raises ReconcilerError for a secret that is not a credential of the blob's account.
        """
        connection, sas = blob.access.connection_string, blob.access.sas
        if connection is not None:
            text = self._resolve(connection)
            self._know(_read_parts(text).get("accountkey", ""))
            reference = BlobReference(uri, text, is_connection=True)
            _find_credential(reference)
            return reference
        if sas is not None:
            return BlobReference(uri, read_signature(self._resolve(sas), str(sas), uri))
        if split_address(uri).loopback:
            return BlobReference(uri, "UseDevelopmentStorage=true", is_connection=True)
        raise ReconcilerError(
            "no credential opens the blob",
            subject=uri,
            next_step="Add storage: {connectionString: {env: NAME}} to the retraining.",
        )

    def check_file(self, file: str) -> str:
        """Return why a file cannot be read, "" if it can."""
        try:
            with self._open_file(file) as opened:
                opened.read(1)
        except ReconcilerError as error:
            return f"it {error.message}"
        except OSError as error:
            return error.strerror or type(error).__name__
        return ""

    def exists(self, reference: BlobReference, *, create: bool = True) -> bool:
        """Return whether a blob exists; with a connection string, create its container first."""
        from azure.core.exceptions import ResourceExistsError  # noqa: PLC0415 - a slow import

        with self._open(reference) as (container, blob):
            # A signature of one blob cannot create a container.
            if create and reference.is_connection:
                with suppress(ResourceExistsError):
                    container.create_container()
            return bool(blob.exists())

    def upload(self, file: str, reference: BlobReference) -> bool:
        """Upload a file; False if the blob has the same bytes already.

        Raises ReconcilerError if another blob has the address, or the file cannot be read.
        """
        from azure.core.exceptions import ResourceExistsError  # noqa: PLC0415 - a slow import

        try:
            with self._open_file(file) as opened:
                digest = hashlib.file_digest(opened, "sha256").hexdigest()
                opened.seek(0)
                with self._open(reference) as (_, blob):
                    try:
                        blob.upload_blob(opened, overwrite=False, metadata={"sha256": digest})
                    except ResourceExistsError:
                        return self._check_same(reference, f"sha256:{digest}")
        except OSError as error:
            message = f"the file cannot be read: {error.strerror}"
            raise ReconcilerError(message, subject=file) from error
        return True

    def _open_file(self, file: str) -> BufferedReader:
        """Open a file to upload; raises ReconcilerError for a pipe, a device or too large a one."""
        path = self._root / file
        wrong = ""
        if path.exists() and not path.is_file():
            wrong = "is not a regular file"
        elif path.exists() and path.stat().st_size > _MOST_UPLOAD:
            wrong = f"is larger than {_MOST_UPLOAD >> 30} GiB"
        if wrong:
            step = "Name another file in spec.inputs of the retraining."
            raise ReconcilerError(wrong, subject=file, next_step=step)
        return path.open("rb")

    def _check_same(self, reference: BlobReference, digest: str) -> bool:
        """Return False if the blob has this digest; raises ReconcilerError for another one."""
        if self.digest(reference) == digest:
            return False
        raise ReconcilerError(
            "another blob has the address of this input",
            subject=reference.uri,
            next_step="Write ${run} into its address. If it has it, begin a new run: --again.",
        )

    def read(self, reference: BlobReference, most_bytes: int) -> bytes:
        """Return the bytes of a blob; raises ReconcilerError if it is longer or missing."""
        from azure.core.exceptions import HttpResponseError  # noqa: PLC0415 - a slow import

        data = b""
        with self._open(reference) as (_, blob):
            try:
                data = blob.download_blob(offset=0, length=most_bytes + 1).readall()
            except HttpResponseError as error:
                # A blob without bytes does not have the range from its start.
                if getattr(error, "error_code", "") != "InvalidRange":
                    raise
        if len(data) > most_bytes:
            message = f"the blob has more than {most_bytes:,} bytes"
            raise ReconcilerError(message, subject=reference.uri)
        return data

    def digest(self, reference: BlobReference) -> str:
        """Return the `sha256:` digest of every byte of a blob."""
        running = hashlib.sha256()
        with self._open(reference) as (_, blob):
            for part in blob.download_blob().chunks():
                running.update(part)
        return f"sha256:{running.hexdigest()}"

    @contextmanager
    def _open(self, reference: BlobReference) -> Iterator[tuple[Any, Any]]:
        """Yield the clients of a container and of a blob; errors of the library become ours."""
        from azure.core.exceptions import AzureError  # noqa: PLC0415 - a slow import
        from azure.storage.blob import ContainerClient  # noqa: PLC0415 - a slow import

        from reconciler.transport.azure_core import storage_options  # noqa: PLC0415 - as above

        try:
            where = split_address(reference.uri)
        except ValueError as error:
            raise ReconcilerError(f"its address is not {error}", subject=reference.uri) from error
        credential = _find_credential(reference)
        try:
            with ContainerClient(
                where.account_url, where.container, credential=credential, **storage_options()
            ) as container:
                yield container, container.get_blob_client(where.name)
        except (AzureError, TransportError) as error:
            raise _explain(error, reference.uri, where.shown) from None
        except (ReconcilerError, OSError):
            raise
        except Exception as error:  # noqa: BLE001 - the library raises errors of any class
            # Not chained: its text may quote the credential.
            what, step = explain_failure(error, "the storage of the retraining", unsigned=True)
            raise Unavailable(what, subject=reference.uri, next_step=step) from None


def _explain(error: Exception, uri: str, shown: str) -> ReconcilerError:
    """Return our error for one of the library or the connection; `shown` is the blob's host."""
    from azure.core.exceptions import (  # noqa: PLC0415 - a slow import
        HttpResponseError,
        ResourceNotFoundError,
    )

    from reconciler.transport.azure_core import explain_azure  # noqa: PLC0415 - as above

    if isinstance(error, ResourceNotFoundError):
        step = "Look at the log of the job. To train again, begin a new run: --again."
        return ReconcilerError("the blob does not exist", subject=uri, next_step=step)
    if isinstance(error, HttpResponseError) and error.status_code in {401, 403}:
        step = "Check the credential of the retraining's storage."
        return BlobForbidden("storage denies access", subject=uri, next_step=step)
    if isinstance(error, HttpResponseError):
        code = getattr(error, "error_code", None)
        said = f", code {clean(str(getattr(code, 'value', code)))[:60]}" if code else ""
        return Unavailable(f"storage answers {error.status_code}{said}", subject=uri)
    failed = explain_azure(error)
    said = f"storage at {shown}: {failed.said}"
    return Unavailable(said, subject=uri, next_step=failed.next_step)


def _find_credential(reference: BlobReference) -> Any:
    """Return the credential of the library for a reference."""
    if not reference.is_connection:
        return reference.secret
    where = split_address(reference.uri)
    parts = _read_parts(reference.secret)
    if parts.get("usedevelopmentstorage", "").casefold() == "true":
        return storage_credential(where, {})
    name, key = parts.get("accountname", ""), parts.get("accountkey", "")
    if not name or not key or name != where.account:
        raise ReconcilerError(
            f"the connection string is not of the account {where.account}",
            subject=reference.uri,
            next_step="Correct the connection string of the retraining's storage.",
        )
    return {"account_name": name, "account_key": key}


def _read_parts(text: str) -> dict[str, str]:
    """Return the parts of a connection string by their folded names."""
    pairs = (part.split("=", 1) for part in text.split(";") if "=" in part)
    return {name.strip().casefold(): value.strip() for name, value in pairs}

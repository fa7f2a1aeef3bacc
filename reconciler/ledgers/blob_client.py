"""Calls blob storage for a ledger, and translates its errors.

It imports azure-storage-blob at the first call, because the import is slow. It never shows a text
of the library, because the text may quote an address with its signature. The other blob modules
here call it; it knows no line and no lock.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any, Final

from reconciler.errors import LedgerInvalid, ReconcilerError
from reconciler.model.values import dataclass
from reconciler.transport import (
    TransportError,
    Where,
    explain_failure,
    find_credential,
    name_credential,
    split_address,
)

# The maximum size of one response, in bytes; larger reads are split.
_PART: Final = 8 << 20
_MOST_BLOBS: Final = 20_000
_MOST_SMALL: Final = 1 << 20
_FORBIDDEN: Final = (
    "Give the identity the role Storage Blob Data Contributor on the container, or name the"
    " account and its key in AZURE_STORAGE_ACCOUNT and AZURE_STORAGE_KEY."
)
_ADDRESS: Final = (
    "Write spec.ledger.container as https://ACCOUNT.blob.core.windows.net/CONTAINER, without a"
    " signature."
)
_NETWORK: Final = "Check the address in spec.ledger.container and the network."


class BlobNotFound(Exception):
    """Storage answered that the blob or the container does not exist."""


class PreconditionFailed(Exception):
    """Another writer was first: a condition of the request does not hold any more."""


class Unreachable(LedgerInvalid):
    """Storage did not answer: it may or may not have executed the request."""


@dataclass(frozen=True, slots=True)
class BlobItem:
    """A blob in a listing."""

    name: str
    size: int
    etag: str


@dataclass(frozen=True, slots=True)
class LeasedBlob:
    """A blob's bytes, and whether anybody has a lease on it."""

    data: bytes
    etag: str
    leased: bool


@dataclass(frozen=True, slots=True)
class AppendResult:
    """A blob after a block was added; `etag` is empty if it is not known."""

    blocks: int
    etag: str = ""


class Container:
    """A container of blobs; safe to use from several threads."""

    def __init__(
        self,
        address: str,
        environment: Mapping[str, str],
        token_credential: Callable[[], Any] | None = None,
        own_host: str = "",
    ) -> None:
        """Raises LedgerInvalid if `address` is not the address of a container."""
        try:
            self._where: Where = split_address(address)
        except ValueError as error:
            raise LedgerInvalid(
                f"the address of the ledger is not {error}", subject=address, next_step=_ADDRESS
            ) from error
        if self._where.name:
            raise LedgerInvalid(
                "the address of the ledger is not the address of a container",
                subject=address,
                next_step=_ADDRESS,
            )
        self.address = address.rstrip("/")
        self._credential = (environment, token_credential, own_host)
        self._lock = threading.Lock()
        self._opened: Any = None

    def list_blobs(self, prefix: str) -> list[BlobItem]:
        """Returns the blobs with this prefix, by name; empty if the container does not exist."""
        try:
            with self._translate_errors():
                listed = self._client.list_blobs(name_starts_with=prefix)
                found = list(itertools.islice(listed, _MOST_BLOBS + 1))
        except BlobNotFound:
            return []
        if len(found) > _MOST_BLOBS:
            raise self._invalid(f"storage lists more than {_MOST_BLOBS:,} blobs below {prefix}")
        names = {one.name for one in found}
        if len(names) < len(found) or not all(name.startswith(prefix) for name in names):
            raise self._invalid("storage lists other blobs than were asked for, or one twice")
        return [BlobItem(one.name, one.size, one.etag) for one in found]

    def read(self, name: str, start: int, size: int) -> bytes:
        """Returns `size` bytes of a blob from offset `start`; raises BlobNotFound."""
        return b"".join(self.read_parts(name, start, size))

    def read_parts(self, name: str, start: int, size: int) -> Iterator[bytes]:
        """Yields `size` bytes of a blob from offset `start`, in parts; raises BlobNotFound."""
        for offset in range(start, start + size, _PART):
            length = min(_PART, start + size - offset)
            with self._translate_errors():
                blob = self._client.get_blob_client(name)
                data: bytes = blob.download_blob(offset=offset, length=length).readall()
            if len(data) != length:
                raise self._invalid(f"storage sent {len(data)} of {length} bytes of {name}")
            yield data

    def find_size(self, name: str) -> int:
        """Returns the size of a blob in bytes; raises BlobNotFound."""
        with self._translate_errors():
            return int(self._client.get_blob_client(name).get_blob_properties().size)

    def read_all(self, name: str, most: int = _MOST_SMALL) -> LeasedBlob:
        """Returns all of a blob, with its ETag and lease state; raises BlobNotFound.

        A blob of more than `most` bytes is refused.
        """
        with self._translate_errors():
            blob = self._client.get_blob_client(name)
            found = blob.download_blob(offset=0, length=most + 1)
            said, data = found.properties, found.readall()
        if len(data) > most:
            raise self._invalid(f"{name} is longer than {most >> 20} MiB")
        return LeasedBlob(data, said.etag, said.lease.state in {"leased", "breaking"})

    def begin(self, name: str) -> None:
        """Creates an empty append blob, and its container; raises PreconditionFailed."""
        from azure.core import MatchConditions  # noqa: PLC0415 - a slow import

        def create() -> None:
            with self._translate_errors():
                self._client.get_blob_client(name).create_append_blob(
                    match_condition=MatchConditions.IfMissing
                )

        self._with_container(create)

    def append(self, name: str, data: bytes, position: int, etag: str = "") -> AppendResult:
        """Appends one block, if the blob still ends at `position` and still has the ETag `etag`.

        Raises BlobNotFound, PreconditionFailed.
        """
        with self._translate_errors():
            blob = self._client.get_blob_client(name)
            done = blob.append_block(
                data, length=len(data), appendpos_condition=position, **_condition(etag)
            )
        if int(done["blob_append_offset"]) != position:
            raise self._invalid("storage appended a block at another position")
        return AppendResult(int(done["blob_committed_block_count"]), done["etag"])

    def write(self, name: str, data: bytes | IO[bytes], lease: str = "", etag: str = "") -> None:
        """Writes a whole blob, if the lease or the ETag matches; raises PreconditionFailed."""

        def upload() -> None:
            if not isinstance(data, bytes):
                data.seek(0)
            with self._translate_errors():
                self._client.get_blob_client(name).upload_blob(
                    data, overwrite=True, **_condition(etag), **({"lease": lease} if lease else {})
                )

        self._with_container(upload)

    def write_new(self, name: str, data: bytes) -> None:
        """Creates a blob; raises PreconditionFailed if it exists."""

        def upload() -> None:
            with self._translate_errors():
                self._client.get_blob_client(name).upload_blob(data, overwrite=False)

        self._with_container(upload)

    def delete(self, name: str, etag: str = "") -> None:
        """Deletes a blob, if its ETag matches; raises BlobNotFound, PreconditionFailed."""
        with self._translate_errors():
            self._client.get_blob_client(name).delete_blob(**_condition(etag))

    def acquire(self, name: str, lease: str, seconds: int) -> None:
        """Acquires a lease on a blob; raises PreconditionFailed if another lease exists."""
        with self._translate_errors():
            taken = self._lease(name, lease)
            taken.acquire(lease_duration=seconds)
        self._check_lease(taken.id, lease)

    def renew(self, name: str, lease: str) -> None:
        """Renews a lease; raises PreconditionFailed if it is lost."""
        with self._translate_errors():
            kept = self._lease(name, lease)
            kept.renew()
        self._check_lease(kept.id, lease)

    def release(self, name: str, lease: str) -> None:
        """Releases a lease; raises PreconditionFailed if it is lost."""
        with self._translate_errors():
            self._lease(name, lease).release()

    def break_lease(self, name: str, etag: str) -> None:
        """Ends any lease at once, if the blob's ETag matches; raises PreconditionFailed."""
        with self._translate_errors():
            self._lease(name, None).break_lease(lease_break_period=0, **_condition(etag))

    def _check_lease(self, named: Any, lease: str) -> None:
        if str(named).lower() != lease.lower():
            raise self._invalid("storage answered about another lease")

    def _lease(self, name: str, lease: str | None) -> Any:
        from azure.storage.blob import BlobLeaseClient  # noqa: PLC0415 - a slow import

        return BlobLeaseClient(self._client.get_blob_client(name), lease_id=lease)

    @property
    def _client(self) -> Any:
        from azure.storage.blob import ContainerClient  # noqa: PLC0415 - a slow import

        from reconciler.transport.azure_core import storage_options  # noqa: PLC0415 - as above

        with self._lock:
            if self._opened is None:
                where, options = self._where, storage_options()
                credential = find_credential(where, *self._credential)
                self._opened = ContainerClient(
                    where.account_url, where.container, credential=credential, **options
                )
            return self._opened

    def _with_container(self, work: Callable[[], None]) -> None:
        """Calls `work`; if the container does not exist, creates it and calls `work` again."""
        try:
            work()
        except BlobNotFound:
            try:
                with self._translate_errors():
                    self._client.create_container()
            except PreconditionFailed:
                pass  # another writer created it at the same time
            try:
                work()
            except BlobNotFound:
                raise self._invalid("the container cannot be created") from None

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001 - the library raises errors of any class
            raise self._translate(error) from None

    def _translate(self, error: Exception) -> Exception:
        from azure.core.exceptions import (  # noqa: PLC0415 - a slow import
            AzureError,
            ClientAuthenticationError,
            HttpResponseError,
            ResourceNotFoundError,
        )

        if isinstance(error, ResourceNotFoundError):
            return BlobNotFound()
        if isinstance(error, ClientAuthenticationError) and error.response is None:
            return self._invalid(*self._explain(error, unsigned=True))
        if isinstance(error, HttpResponseError):
            return self._translate_answer(error.status_code)
        if isinstance(error, (AzureError, TransportError)):
            return self._explain_loss(error)
        if isinstance(error, ReconcilerError):  # of the credential
            return self._invalid(error.message, error.next_step)
        return self._unreachable(*self._explain(error, unsigned=False))

    def _translate_answer(self, status: int | None) -> Exception:
        if status in {409, 412}:
            return PreconditionFailed()
        if status in {401, 403}:
            return self._invalid("access to storage is denied", _FORBIDDEN)
        if status in {400, 413, 416}:
            return self._invalid(f"storage answered with status {status}")
        return self._unreachable(_describe_answer(status))

    def _explain(self, error: Exception, *, unsigned: bool) -> tuple[str, str]:
        given_by = name_credential(self._where, self._credential[0])
        return explain_failure(error, given_by, unsigned=unsigned)

    def _invalid(self, what: str, next_step: str = _ADDRESS) -> LedgerInvalid:
        return LedgerInvalid(
            f"the ledger cannot be used: {what}", subject=self.address, next_step=next_step
        )

    def _explain_loss(self, error: Exception) -> LedgerInvalid:
        """The error of a call without an answer of storage."""
        from reconciler.transport.azure_core import explain_azure  # noqa: PLC0415 - a slow import

        failed = explain_azure(error)
        said = f"storage at {self._where.shown}: {failed.said}"
        if failed.lasting:
            return self._invalid(said, failed.next_step)
        return self._unreachable(said, failed.next_step or _NETWORK)

    def _unreachable(self, what: str, next_step: str = _NETWORK) -> Unreachable:
        return Unreachable(
            f"the ledger cannot be used: {what}", subject=self.address, next_step=next_step
        )


def _describe_answer(status: int | None) -> str:
    return f"storage answered with status {status}" if status else "storage sent no answer"


def _condition(etag: str) -> dict[str, Any]:
    from azure.core import MatchConditions  # noqa: PLC0415 - a slow import

    return {"etag": etag, "match_condition": MatchConditions.IfNotModified} if etag else {}

"""Checks the blobs that a batch request names, and makes addresses with signatures of them.

A reference is a connection string with a path, or an address with a path and a signature. The
refusals are those of the published table of error codes.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlsplit

from reconciler.emulator.replies import Refusal, refuse
from reconciler.emulator.storage import ACCOUNT, KEY, make_signature

Json = Any
_LOCAL: Final = "http://127.0.0.1:10000"
_ENDINGS: Final[Mapping[str, tuple[str, ...]]] = {
    "model": (".ilearner",),
    "evaluation": (".csv", ".tsv", ".arff"),
    "scored": (".csv", ".tsv", ".arff"),
    "data": (".csv", ".tsv", ".arff"),
}


@dataclass(frozen=True)
class BlobReference:
    """A blob: `base` ends with a slash, `path` begins with the container.

    `key` is the account's key from a connection string, `sas` the signature that was given.
    """

    base: str
    path: str
    sas: str = ""
    key: str = ""

    @property
    def uri(self) -> str:
        """Return the address without a signature."""
        return f"{self.base}{quote(self.path)}"

    def sign(self, permissions: str, start: float, end: float) -> str:
        """Return the address with a signature: the given one, or one of the account's key."""
        if self.sas:
            return f"{self.uri}?{self.sas}"
        return f"{self.uri}?{make_signature(self.uri, permissions, start, end, self.key)}"


def read_reference(given: Json, role: str, blob_url: str) -> BlobReference:
    """Return the blob that a request names; `role` decides which endings its path may have.

    `blob_url` is the storage that `UseDevelopmentStorage=true` means.
    """
    if not isinstance(given, dict):
        raise _refuse_information()
    path = given.get("RelativeLocation")
    if not isinstance(path, str) or not path.strip("/"):
        message = "No Azure storage blob name provided. Provide a valid blob name and try again."
        raise refuse("BadArgument", "InputBlobRelativeLocationInvalid", message)
    path = path.lstrip("/")
    if not path.partition("/")[2]:
        message = "Invalid container name. Provide a valid container name and try again."
        raise refuse("BadArgument", "ContainerSegmentInvalid", message)
    if not path.casefold().endswith(_ENDINGS[role]):
        raise _refuse_ending(path, role)
    if given.get("ConnectionString"):
        base, key = _read_connection(str(given["ConnectionString"]), blob_url)
        return BlobReference(base, path, key=key)
    address, sas = given.get("BaseLocation"), given.get("SasBlobToken")
    if not isinstance(address, str) or urlsplit(address).scheme not in {"http", "https"}:
        raise _refuse_information()
    if not isinstance(sas, str) or "sig=" not in sas:
        message = (
            f"Invalid blob specification for blob: {path[:200]}. Verify that connection string /"
            " relative path or SAS token specification is correct and try again."
        )
        raise refuse("BadArgument", "InvalidBlob", message)
    return BlobReference(f"{address.rstrip('/')}/", path, sas=sas.removeprefix("?"))


def _read_connection(text: str, blob_url: str) -> tuple[str, str]:
    """Return the address with a slash and the key of a connection string."""
    pairs = (part.split("=", 1) for part in text.split(";") if "=" in part)
    parts = {name.strip().casefold(): value.strip() for name, value in pairs}
    if parts.get("usedevelopmentstorage", "").casefold() == "true":
        base = (blob_url or _LOCAL).rstrip("/").removesuffix(f"/{ACCOUNT}")
        return f"{base}/{ACCOUNT}/", KEY
    name, key = parts.get("accountname", ""), parts.get("accountkey", "")
    try:
        usable = bool(name) and bool(base64.b64decode(key, validate=True))
    except binascii.Error:
        usable = False
    if not usable:
        message = (
            "The connection string specified for one of the input/output blobs in invalid:"
            f" {'AccountKey' if name else 'AccountName'}. Please correct this and try again."
        )
        raise refuse("BadArgument", "InvalidBlobConnectionString", message)
    scheme = parts.get("defaultendpointsprotocol", "https")
    suffix = parts.get("endpointsuffix", "core.windows.net")
    base = parts.get("blobendpoint") or f"{scheme}://{name}.blob.{suffix}"
    return f"{base.rstrip('/')}/", key


def _refuse_information() -> Refusal:
    message = (
        "Missing Azure storage blob information. Provide a valid connection string and relative"
        " path or URI and try again."
    )
    return refuse("BadArgument", "MissingInputBlobInformation", message)


def _refuse_ending(path: str, role: str) -> Refusal:
    message = (
        f"The blob reference: {path[:200]} has an invalid or missing file extension. Supported"
        f' file extensions for this output type are: "{", ".join(_ENDINGS[role])}".'
    )
    return refuse("BadArgument", "InvalidBlobExtension", message)

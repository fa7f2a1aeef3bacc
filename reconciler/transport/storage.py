"""Parses the addresses of blob storage, finds the credential for each, and checks the answers.

The address and the environment determine the credential; it is never part of the address. Our own
token is sent only to hosts of blob storage, never to another host in a manifest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from reconciler.errors import BlobForbidden
from reconciler.model.values import dataclass
from reconciler.secrets.sas import normalize_signature
from reconciler.transport.connections import TransportError
from reconciler.transport.origins import is_address, is_loopback

# Published for everyone's use with the storage emulator (documented: storage-use-azurite).
_EMULATED_KEY: Final = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)
_KNOWN_SUFFIXES: Final = (
    ".blob.core.windows.net",
    ".blob.core.chinacloudapi.cn",
    ".blob.core.usgovcloudapi.net",
    ".blob.core.cloudapi.de",
)
_BLOB_TYPES: Final = frozenset({"BlockBlob", "AppendBlob", "PageBlob"})

SAS_VARIABLE: Final = "AZURE_STORAGE_SAS_TOKEN"


@dataclass(frozen=True, slots=True)
class Where:
    """A parsed address of blob storage; `name` is empty for the address of a container.

    On loopback the account is the first segment of the path. `shown` is the host with the port that
    the address names, for messages.
    """

    account_url: str
    host: str
    account: str
    container: str
    name: str
    loopback: bool
    shown: str


def split_address(address: str) -> Where:
    """The parsed address; the text of its ValueError continues "its address is not"."""
    parts = _split(address)
    host = (parts.hostname or "").lower()
    loopback = is_loopback(address)
    segments = parts.path.lstrip("/").split("/")
    account = segments.pop(0) if loopback else host.partition(".")[0]
    if parts.scheme == "http" and not loopback:
        raise ValueError("https")
    if "//" in parts.path.strip("/"):
        raise ValueError('that of a blob, because its path contains "//"')
    if not account or not segments or "" in segments:
        raise ValueError("that of a blob")
    base = f"{parts.scheme}://{parts.netloc}" + (f"/{account}" if loopback else "")
    name = unquote("/".join(segments[1:]))
    shown = f"{host}:{parts.port}" if parts.port else host
    return Where(base, host, account, unquote(segments[0]), name, loopback, shown)


def _split(address: str) -> SplitResult:
    """The parts of an address, if all parsers read the same host in it: our token goes there."""
    with suppress(ValueError):
        parts = urlsplit(address)
        # Its path is not bounded, and may have characters that are escaped later.
        if is_address(f"{parts.scheme}://{parts.netloc}/"):
            return parts
    raise ValueError("that of a blob")


def is_azure_storage(address: str) -> bool:
    """Whether an address is that of Azure's blob storage, over https."""
    try:
        where = split_address(address)
    except ValueError:
        return False
    return where.host.endswith(_KNOWN_SUFFIXES) and address.startswith("https:")


def storage_credential(where: Where, environment: Mapping[str, str]) -> Any:
    """The account key or signature that the environment gives for an account, or None.

    On loopback it is the storage emulator's published account. Raises BlobForbidden for a text in
    the variable of the signature that is not a signature.
    """
    if where.loopback:
        return {"account_name": where.account, "account_key": _EMULATED_KEY}
    return _find_given(where, environment)[1]


def name_credential(where: Where, environment: Mapping[str, str]) -> str:
    """The variable that gives the credential for an account; "" if none does."""
    return "" if where.loopback else _find_given(where, environment)[0]


def _find_given(where: Where, environment: Mapping[str, str]) -> tuple[str, Any]:
    """The variable and the credential that it gives; an empty name and None without one."""
    if environment.get("AZURE_STORAGE_ACCOUNT") == where.account:
        if environment.get("AZURE_STORAGE_KEY"):
            key = environment["AZURE_STORAGE_KEY"]
            return "AZURE_STORAGE_KEY", {"account_name": where.account, "account_key": key}
        if environment.get(SAS_VARIABLE):
            return SAS_VARIABLE, _read_signature(environment[SAS_VARIABLE], where.host)
    variable = "AZURE_STORAGE_CONNECTION_STRING"
    parts = dict(
        part.split("=", 1) for part in environment.get(variable, "").split(";") if "=" in part
    )
    if parts.get("AccountName") == where.account and "AccountKey" in parts:
        return variable, {"account_name": where.account, "account_key": parts["AccountKey"]}
    return "", None


def explain_failure(error: Exception, given_by: str, *, unsigned: bool) -> tuple[str, str]:
    """What is wrong and the next step, for an error of azure-storage-blob without an answer.

    `given_by` names where the credential comes from, or is empty. `unsigned` says that no request
    was made, because the credential cannot sign one. The library's errors may be of any class, and
    their text may quote the credential.
    """
    name = type(error).__name__
    if unsigned:
        source = given_by or "the credential"
        return f"azure-storage-blob cannot use {source} ({name})", f"Correct {source}."
    checked = f"the address, {given_by or 'the network'}, and the variables of proxies"
    return (
        f"azure-storage-blob cannot make the request, or cannot read the answer ({name})",
        f"Check {checked} and certificates.",
    )


def _read_signature(text: str, subject: str) -> str:
    try:
        return normalize_signature(text)
    except ValueError as error:
        raise BlobForbidden(
            f"the signature in {SAS_VARIABLE} {error}",
            subject=subject,
            next_step=f"Set {SAS_VARIABLE} again, or remove it.",
        ) from None


def find_credential(
    where: Where,
    environment: Mapping[str, str],
    token_credential: Callable[[], Any] | None,
    own_host: str = "",
) -> Any:
    """The environment's credential, else our own identity for a host of storage or `own_host`."""
    credential = storage_credential(where, environment)
    trusted = where.host.endswith(_KNOWN_SUFFIXES) or where.host == own_host
    if credential is None and trusted and token_credential:
        credential = token_credential()
    return credential


def check_storage_answer(method: str, url: str, status: int, headers: Mapping[str, str]) -> None:
    """Raise TransportError for an answer that blob storage does not give.

    A proxy or a login page answers with any status too. A read must have the type, the ETag and the
    length of a blob, a list must be XML of a known version, and any other success must name
    the version. A conflict or an absence must have a header of storage.
    """
    if status < 300:
        listing = parse_qs(urlsplit(url).query).get("comp") == ["list"]
        reads = method in {"GET", "HEAD"} and not listing
        genuine = _is_blob(headers) if reads else bool(headers.get("x-ms-version"))
        genuine = genuine and (not listing or "xml" in headers.get("Content-Type", "").lower())
    else:
        proving = status in {404, 409, 412}
        genuine = not proving or any(name.lower().startswith("x-ms-") for name in headers)
    if not genuine:
        raise TransportError(
            "Foreign",
            "what answers there is not blob storage",
            sent=True,
            lasting=True,
            next_step="Check the address; a proxy or a login page may be answering in its place.",
        )


def _is_blob(headers: Mapping[str, str]) -> bool:
    known = headers.get("x-ms-blob-type") in _BLOB_TYPES
    return known and bool(headers.get("ETag")) and headers.get("Content-Length", "").isdecimal()

"""How the emulated service reads blob storage: large payloads and trained models.

It calls loopback addresses only. Any other address counts as unreachable.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import json
import time
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, unquote, urlencode, urlsplit

from reconciler.emulator.certificates import Certificate
from reconciler.emulator.replies import bad_request, describe_lost_blob
from reconciler.emulator.requests import check_count

if TYPE_CHECKING:  # the server's framework is imported when the server starts
    import aiohttp

_MOST_BYTES: Final = 64 * 1024 * 1024
_TIMEOUT_S: Final = 30
_VERSION: Final = "2020-12-06"
# The published account and key of the storage emulator; they are not secret.
ACCOUNT: Final = "devstoreaccount1"
KEY: Final = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)


class Storage:
    """Reads blobs over one client session, which `open` makes.

    It trusts the `certificate` of the emulator's own blob storage.
    """

    def __init__(self, certificate: Certificate | None = None) -> None:
        self._certificate = certificate
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Make the session. Call it inside the server's event loop."""
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        context = self._certificate.make_client_context() if self._certificate else True
        connector = aiohttp.TCPConnector(ssl=context)
        self._session = aiohttp.ClientSession(timeout=timeout, connector=connector)

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def fetch_json(self, uri: str) -> dict[str, Any]:
        """Return a payload; refuse one that is unreadable, too large or not a JSON object."""
        data = await self.fetch(uri)
        try:
            check_count(data or b"")
            document = json.loads(data) if data is not None else None
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            lost = describe_lost_blob(uri)
            raise bad_request(lost["code"], lost["message"], "properties.payloadsLocation.uri")
        return document

    async def has_blob(self, uri: str) -> bool:
        """Return whether a model's blob exists, read with the account's key."""
        import aiohttp

        if self._session is None or not is_loopback(uri):
            return False
        try:
            async with self._session.head(sign(uri), allow_redirects=False) as answer:
                return answer.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def fetch(self, uri: str) -> bytes | None:
        """Return the bytes at an address, without an added signature; None if it fails."""
        import aiohttp

        if self._session is None or not is_loopback(uri):
            return None
        try:
            async with self._session.get(uri, allow_redirects=False) as answer:
                data = await answer.content.read(_MOST_BYTES + 1)
                while not answer.content.at_eof() and len(data) <= _MOST_BYTES:
                    data += await answer.content.read(_MOST_BYTES + 1 - len(data))
                return data if answer.status == 200 and len(data) <= _MOST_BYTES else None
        except (aiohttp.ClientError, TimeoutError):
            return None

    async def store(self, uri: str, data: bytes) -> str:
        """Write a blob at an address with a signature; return why it failed, or ""."""
        import aiohttp

        if self._session is None or not is_loopback(uri):
            return "The storage account cannot be reached."
        headers = {"x-ms-blob-type": "BlockBlob"}
        try:
            async with self._session.put(
                uri, data=data, headers=headers, allow_redirects=False
            ) as answer:
                return "" if answer.status == 201 else f"The server answered {answer.status}."
        except (aiohttp.ClientError, TimeoutError):
            return "The storage account cannot be reached."


def is_loopback(uri: str) -> bool:
    """Return whether an address is on this machine; nothing else is ever called."""
    try:
        host = urlsplit(uri).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def sign(uri: str) -> str:
    """Return the address with a signature of the published account that is valid for a minute."""
    if not urlsplit(uri).path.startswith(f"/{ACCOUNT}/"):
        return uri
    now = time.time()
    return f"{uri}?{make_signature(uri, 'r', now - 60, now + 60)}"


def make_signature(
    uri: str, permissions: str, start: float, end: float, account_key: str = KEY
) -> str:
    """Return a signature for one blob. Times are in seconds since 1970; the key is in base64."""
    starts, ends = (
        time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment)) for moment in (start, end)
    )
    parts = urlsplit(uri)
    path = unquote(parts.path)
    # The account is a part of the host, except for the storage emulator.
    account = "" if path.startswith(f"/{ACCOUNT}/") else f"/{(parts.hostname or '').split('.')[0]}"
    name = f"/blob{account}{path}"
    # The order of lines is that of the service signature (documented: create-service-sas).
    lines = [permissions, starts, ends, name, "", "", "", _VERSION, "b", *[""] * 7]
    key = base64.b64decode(account_key)
    digest = hmac.new(key, "\n".join(lines).encode(), hashlib.sha256).digest()
    fields = {"sv": _VERSION, "st": starts, "se": ends, "sr": "b", "sp": permissions}
    return urlencode({**fields, "sig": base64.b64encode(digest).decode()}, quote_via=quote)

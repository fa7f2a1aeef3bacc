"""An adapter that sends a request's target exactly as it was given.

urllib3 spells escape sequences anew (`%3d` becomes `%3D`). An opaque token of somebody else's,
as in a list's `nextLink`, must come back to them as they wrote it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

if TYPE_CHECKING:
    from requests import PreparedRequest

_TARGET: Final = "X-Exact-Target"


class ExactAdapter(HTTPAdapter):
    """requests' adapter; the target travels to the connection in a header that is never sent."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the pools, of connections that know the header."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}

    def add_headers(self, request: PreparedRequest, **_: Any) -> None:
        """Note the target: what follows scheme and host."""
        rest = str(request.url).partition("://")[2]
        request.headers[_TARGET] = "/" + rest.partition("/")[2]


def _take(url: str, headers: Any) -> tuple[str, dict[str, str]]:
    kept = dict(headers or {})
    return kept.pop(_TARGET, url), kept


class _Connection(HTTPConnection):
    def request(
        self, method: str, url: str, body: Any = None, headers: Any = None, **rest: Any
    ) -> None:
        target, kept = _take(url, headers)
        super().request(method, target, body, kept, **rest)


class _SecureConnection(HTTPSConnection):
    def request(
        self, method: str, url: str, body: Any = None, headers: Any = None, **rest: Any
    ) -> None:
        target, kept = _take(url, headers)
        super().request(method, target, body, kept, **rest)


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection

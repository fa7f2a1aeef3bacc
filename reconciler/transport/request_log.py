"""The log of requests: a line for each request that was sent, without its query and its body.

RECONCILER_LOG=debug shows it. A query may hold a signature, and a body a secret.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

_LOG: Final = logging.getLogger("reconciler.requests")


class RequestLog:
    """Measures one request, and writes its line when it is answered or has failed.

    `redact` removes the secrets that the path of the URL may hold.
    """

    def __init__(self, method: str, url: str, redact: Callable[[str], str]) -> None:
        self._wanted = _LOG.isEnabledFor(logging.DEBUG)
        self._request = f"{method} {redact(url.partition('?')[0])}" if self._wanted else ""
        self._started = time.monotonic()

    def answered(self, status: int, read_id: Callable[[], str]) -> None:
        """Write the status, the milliseconds and the service's id of the request."""
        if self._wanted:
            self._write(str(status), read_id())

    def failed(self, error: BaseException) -> None:
        """Write the class of an error. Its text may hold a secret."""
        self._write(type(error).__name__, "")

    def _write(self, result: str, request_id: str) -> None:
        if self._wanted:
            took_ms = (time.monotonic() - self._started) * 1000
            _LOG.debug("%s %s %.0f ms %s", self._request, result, took_ms, request_id or "-")

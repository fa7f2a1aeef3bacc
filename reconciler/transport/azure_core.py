"""The transport of azure-core's clients, so that the rules of every other connection hold for them.

azure-core follows redirects to any host, has time limits of its own, and reads the environment in
its own way. Each client of azure-storage-blob and azure-identity gets this transport instead. It
imports azure-core, which is slow, so it is imported where the first client is made.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urljoin

import requests
from azure.core.exceptions import (
    AzureError,
    ServiceRequestError,
    ServiceResponseTimeoutError,
)
from azure.core.pipeline.transport import RequestsTransport
from requests.adapters import HTTPAdapter
from requests.exceptions import InvalidSchema, InvalidURL
from urllib3 import Retry
from urllib3.exceptions import HTTPError

from reconciler.transport.connections import (
    TransportError,
    make_broken_off_error,
    make_late_error,
    make_unreached_error,
)
from reconciler.transport.origins import is_address, origin_of
from reconciler.transport.remote import Watched
from reconciler.transport.replies import clean
from reconciler.transport.request_log import RequestLog
from reconciler.transport.routes import (
    Route,
    Unconnected,
    explain_unconnected,
    explain_unusable,
    find_causes,
    find_route,
)
from reconciler.transport.storage import check_storage_answer
from reconciler.transport.timeouts import read_timeouts

# A larger read is split: the time of a whole answer is limited.
_PART: Final = 8 << 20

# Method, URL, status and headers of an answer.
Check = Callable[[str, str, int, Mapping[str, str]], None]


def storage_options() -> dict[str, Any]:
    """The keyword arguments of every client of azure-storage-blob."""
    return {
        "transport": AzureTransport(check_storage_answer),
        "retry_total": 3,
        "initial_backoff": 0.5,
        "increment_base": 1,
        "random_jitter_range": 0,
        "max_single_get_size": _PART,
        "max_chunk_get_size": _PART,
    }


class AzureTransport(RequestsTransport):  # type: ignore[misc]  # azure-core has no types here
    """Sends the requests of one client of azure-core. Safe to use from several threads.

    `check` raises TransportError for an answer that is not the service's. A TransportError ends
    the call; azure-core repeats a call only after an error of its own. `failed` is the error of
    the last call without an answer: azure-identity hides it in an error of its own. A call over
    plain HTTP is left out, because azure-identity tries addresses that may not exist.
    """

    def __init__(self, check: Check = lambda *_: None) -> None:
        timeouts = read_timeouts(os.environ)
        super().__init__(
            session=_make_session(),
            connection_timeout=timeouts.connect_s,
            read_timeout=timeouts.read_s,
        )
        self._check = check
        # The origins that have answered before.
        self._known: set[tuple[str, str, int | None]] = set()
        self.failed: TransportError | None = None

    def send(self, request: Any, **given: Any) -> Any:
        """Send a request once. Raises TransportError or an error of azure-core."""
        log = RequestLog(request.method, request.url, clean)
        try:
            answer = self._send(request, given)
        except Exception as failed:
            log.failed(failed)
            if isinstance(failed, TransportError):
                self.failed = failed
            elif request.url.startswith("https://"):
                self.failed = _name_host(explain_azure(failed), request.url)
            raise
        self.failed = None
        log.answered(answer.status_code, lambda: clean(answer.headers.get("x-ms-request-id", "")))
        return answer

    def _send(self, request: Any, given: dict[str, Any]) -> Any:
        route = find_route(request.url)
        given |= {"proxies": route.proxies, "connection_verify": route.verify}
        try:
            answer = super().send(request, **given)
        except Unconnected as failed:
            known = origin_of(request.url) in self._known
            raise _may_repeat(explain_unconnected(failed, route, known=known)) from failed
        except AzureError as error:
            raise _explain_unusable(error, route) or error from error
        except (OSError, HTTPError) as error:
            # requests has no error of its own for certificates that it does not find.
            raise explain_unusable(error, route) from error
        self._known.add(origin_of(request.url))
        try:
            if 300 <= answer.status_code < 400:
                raise _redirected(request.url, answer.headers.get("Location", ""))
            self._check(request.method, request.url, answer.status_code, answer.headers)
        except TransportError:
            # An answer of azure-core's older form has no method to close it.
            getattr(answer, "internal_response", answer).close()
            raise
        return answer


class _Adapter(HTTPAdapter):
    def get_connection_with_tls_context(self, *given: Any, **named: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*given, **named)
        if not issubclass(pool.ConnectionCls, Watched):
            pool.ConnectionCls = type("_Connection", (Watched, pool.ConnectionCls), {})
        return pool


def _make_session() -> requests.Session:
    """A session that reads nothing from the environment, such as the passwords in ~/.netrc."""
    session = requests.Session()
    session.trust_env = False
    adapter = _Adapter(max_retries=Retry(total=False, redirect=False, raise_on_status=False))
    for scheme in ("https://", "http://"):
        session.mount(scheme, adapter)
    return session


def _may_repeat(failed: TransportError) -> Exception:
    """The same failure, as an error that azure-core repeats if a repetition can help."""
    return failed if failed.lasting else ServiceRequestError(failed.said, error=failed)


def _explain_unusable(error: AzureError, route: Route) -> TransportError | None:
    unusable = any(isinstance(one, (InvalidSchema, InvalidURL)) for one in find_causes(error))
    return explain_unusable(error, route) if unusable else None


def explain_azure(error: Exception) -> TransportError:
    """The failure behind an error of azure-core, in our own words.

    The library's text may quote the address with a signature and is left out.
    """
    known = next((one for one in find_causes(error) if isinstance(one, TransportError)), None)
    if known is not None:
        return known
    name = type(error).__name__
    if isinstance(error, ServiceResponseTimeoutError):
        return make_late_error(name, read_timeouts(os.environ).read_s)
    return (
        make_unreached_error(name)
        if isinstance(error, ServiceRequestError)
        else make_broken_off_error(name)
    )


def _name_host(failed: TransportError, url: str) -> TransportError:
    said = f"{clean(origin_of(url)[1])}: {failed.said}"
    return TransportError(failed.name, said, sent=failed.sent, next_step=failed.next_step)


def _redirected(url: str, location: str) -> TransportError:
    try:
        target = urljoin(url, location)
    except ValueError:
        target = ""
    where = clean(origin_of(target)[1]) if is_address(target) else "an invalid address"
    return TransportError(
        "Redirect",
        f"redirects to {where}",
        sent=True,
        lasting=True,
        next_step="The redirect was not followed, and nothing was sent there. Correct the address.",
    )

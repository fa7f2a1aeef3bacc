"""How an address is reached, and why it was not: the proxies and certificates of the environment.

Every connection asks this module, whichever library makes it. A service on this machine is
reached without a proxy. A certificate is always verified: with the file or folder that the first
of three variables names, else with the authorities that requests brings along. Time limits are in
`timeouts`. This module imports requests, which is slow.
"""

from __future__ import annotations

import http.client
import os
import re
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from requests.exceptions import InvalidSchema
from requests.utils import get_environ_proxies, select_proxy
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

from reconciler.model.values import dataclass
from reconciler.transport.connections import TransportError, make_unreached_error
from reconciler.transport.origins import is_loopback

# requests reads the first two. OpenSSL and most other tools read the third.
_BUNDLES: Final = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
_TUNNEL: Final = re.compile(r"Tunnel connection failed: (\d{3})\b")
# The reasons of OpenSSL for an answer that is not a TLS record.
_NOT_TLS: Final = frozenset(
    {
        "WRONG_VERSION_NUMBER",
        "RECORD_LAYER_FAILURE",
        "PACKET_LENGTH_TOO_LONG",
        "UNKNOWN_PROTOCOL",
        "HTTP_REQUEST",
        "BAD_RECORD_TYPE",
        "INVALID_RECORD_TYPE",
        "UNEXPECTED_MESSAGE",
    }
)
_ELSE: Final = "The address may be wrong, or a proxy may be answering in its place."


@dataclass(frozen=True, slots=True)
class Route:
    """The way to an address: the proxy, and the certificates that are trusted.

    Each is empty if the environment names none. `*_variable` is the variable that names it.
    """

    url: str
    proxy: str = ""
    proxy_variable: str = ""
    bundle: str = ""
    bundle_variable: str = ""

    @property
    def proxies(self) -> dict[str, str]:
        """The proxy as requests expects it."""
        return {urlsplit(self.url).scheme: self.proxy} if self.proxy else {}

    @property
    def verify(self) -> str | bool:
        """The certificates as requests expects them; never False."""
        return self.bundle or True


class Unconnected(Exception):
    """No connection was made, so no byte of the request was sent.

    `behind_proxy` says that the proxy had led to the service. `begun` says that a socket was open.
    """

    def __init__(self, cause: Exception, *, behind_proxy: bool, begun: bool) -> None:
        super().__init__(str(cause))
        self.cause = cause
        self.behind_proxy = behind_proxy
        self.begun = begun


def find_route(url: str) -> Route:
    """The way to an address as the environment of this process describes it."""
    bundle_variable = next((name for name in _BUNDLES if os.environ.get(name)), "")
    bundle = os.environ.get(bundle_variable, "")
    if is_loopback(url):
        return Route(url, bundle=bundle, bundle_variable=bundle_variable)
    proxy = select_proxy(url, get_environ_proxies(url)) or ""
    named = (f"{urlsplit(url).scheme}_proxy", "all_proxy")
    spellings = (spelling for name in named for spelling in (name, name.upper()))
    found = next((name for name in spellings if os.environ.get(name) == proxy), "")
    return Route(url, proxy, found if proxy else "", bundle, bundle_variable)


def explain_unconnected(failed: Unconnected, route: Route, *, known: bool) -> TransportError:
    """The error of a call that was not sent because no connection was made.

    `known` says that the service has completed a TLS handshake before: then a connection that it
    closes in the handshake is an incident, and otherwise it does not speak TLS.
    """
    if route.bundle and not _is_readable(route.bundle):
        return _say_unreadable(failed.cause, route)
    if route.proxy and not failed.behind_proxy:
        return _explain_proxy(failed.cause, route)
    if failed.begun:
        return _explain_handshake(failed.cause, route, known=known)
    return make_unreached_error(type(failed.cause).__name__)


def explain_unusable(error: Exception, route: Route) -> TransportError:
    """The error of a route that cannot be tried: a proxy or certificates that cannot be used."""
    if route.bundle and not _is_readable(route.bundle):
        return _say_unreadable(error, route)
    if any(isinstance(one, InvalidSchema) for one in find_causes(error)) and "socks" in (
        urlsplit(route.proxy).scheme.lower()
    ):
        return _say_lasting(
            error,
            f"the proxy of {route.proxy_variable} is a SOCKS proxy, and the package for it is not"
            " installed",
            "Install it: pip install 'requests[socks]'",
        )
    if route.proxy:
        return _say_lasting(
            error,
            f"the proxy of {route.proxy_variable} has an invalid address",
            f"Write {route.proxy_variable} as http://HOST:PORT.",
        )
    return make_unreached_error(type(error).__name__)


def find_causes(error: BaseException) -> Iterator[BaseException]:
    """An error and the errors that led to it, as the libraries keep them."""
    todo, seen = [error], set()
    while todo:
        one = todo.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        kept = (one.__cause__, one.__context__, getattr(one, "inner_exception", None), *one.args)
        todo += [cause for cause in kept if isinstance(cause, BaseException)]


def _say_lasting(error: Exception, said: str, next_step: str) -> TransportError:
    return TransportError(type(error).__name__, said, sent=False, lasting=True, next_step=next_step)


def _say_unreadable(error: Exception, route: Route) -> TransportError:
    return _say_lasting(
        error,
        f"the certificates that {route.bundle_variable} names cannot be read: {route.bundle}",
        f"Set {route.bundle_variable} to a file of certificates in PEM format, or unset it.",
    )


def _is_readable(bundle: str) -> bool:
    """Whether a file holds certificates; a folder needs none, because it is read when needed."""
    if Path(bundle).is_dir():
        return True
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(bundle)
    except (OSError, ValueError):
        return False
    return True


def _explain_proxy(error: Exception, route: Route) -> TransportError:
    variable = route.proxy_variable
    around = f"If the address needs no proxy, add its host to NO_PROXY; else correct {variable}."
    refused = _TUNNEL.search(str(error))
    if refused:
        return _explain_refusal(error, refused[1], variable, around)
    if isinstance(error, ssl.SSLCertVerificationError):
        said = f"the certificate of the proxy of {variable} cannot be verified"
        return _say_lasting(error, said, _advise_certificates(route))
    if isinstance(error, ssl.SSLError):
        said = f"the proxy of {variable} does not speak TLS"
        return _say_lasting(error, said, f"Write {variable} as http://HOST:PORT.")
    if _is_late(error):
        said = f"the proxy of {variable} does not answer"
        return TransportError(type(error).__name__, said, sent=False, next_step=around)
    if isinstance(error, http.client.HTTPException) and not isinstance(error, ConnectionError):
        return _say_lasting(error, f"the proxy of {variable} does not answer in HTTP", around)
    return _say_lasting(error, f"the proxy of {variable} cannot be reached", around)


def _explain_refusal(error: Exception, status: str, variable: str, around: str) -> TransportError:
    """The error of a proxy that answers CONNECT with this status."""
    if status == "407":
        return _say_lasting(
            error,
            f"the proxy of {variable} asks for a login (407)",
            f"Write {variable} as http://USER:PASSWORD@HOST:PORT, or add the host to NO_PROXY.",
        )
    failed = _say_lasting(error, f"the proxy of {variable} refuses ({status})", around)
    failed.lasting = not status.startswith("5")
    return failed


def _explain_handshake(error: Exception, route: Route, *, known: bool) -> TransportError:
    """The error of a TLS handshake that failed."""
    name = type(error).__name__
    if isinstance(error, ssl.SSLCertVerificationError):
        said = f"its certificate cannot be verified: {error.verify_message}"
        return _say_lasting(error, said.removesuffix(": "), _advise_certificates(route))
    if _is_late(error):
        said = "the connection is open, and TLS does not begin"
        return TransportError(name, said, sent=False, next_step=_advise_plain(route))
    if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
        reason = error.reason or ""
        if reason in _NOT_TLS:
            said = "what answers there does not speak TLS"
            return _say_lasting(error, said, _advise_plain(route))
        said = f"TLS was not agreed: {reason.replace('_', ' ').lower() or 'no reason was given'}"
        return _say_lasting(error, said, _ELSE)
    said = "the connection was closed before TLS began"
    failed = _say_lasting(error, said, _advise_plain(route))
    failed.lasting = not known
    return failed


def _is_late(error: Exception) -> bool:
    # urllib3 derives the error of a refused connection from the error of a late one.
    late = isinstance(error, (TimeoutError, ConnectTimeoutError))
    return late and not isinstance(error, NewConnectionError)


def _advise_certificates(route: Route) -> str:
    if route.bundle:
        names = f"{route.bundle_variable} names: {route.bundle}"
        return f"It was checked with the certificates that {names}"
    return (
        "If your network has an authority of its own, name its certificates in REQUESTS_CA_BUNDLE."
    )


def _advise_plain(route: Route) -> str:
    """The next step for a peer that does not speak TLS: plain http is for this machine only."""
    if is_loopback(route.url):
        return "If the service speaks plain HTTP, write http:// in the address."
    return f"Check the host and the port of the address. {_ELSE}"

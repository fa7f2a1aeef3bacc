"""The bearer token of a management plane. It is sent only to the origin of that plane."""

from __future__ import annotations

import functools
import math
import os
import re
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from reconciler.errors import ReconcilerError, ServiceError, Unauthorized, Unavailable
from reconciler.transport.origins import is_loopback

_TOKEN_VARIABLE: Final = "RECONCILER_EMULATOR_TOKEN"  # noqa: S105 - the variable's name
_DEFAULT_TOKEN: Final = "emulator"  # noqa: S105 - published: it protects nothing
_SENDABLE: Final = re.compile(r"[!-~]+")
_RENEW_BEFORE_S: Final = 300
_LOG_IN: Final = (
    "Log in with az login, or set AZURE_CLIENT_ID, AZURE_TENANT_ID and AZURE_CLIENT_SECRET."
)
_REACH: Final = "Check the network, and AZURE_AUTHORITY_HOST if it is set."
_VARIABLE: Final = re.compile(r"\bAZURE_[A-Z_]+")
# The forms that azure-identity accepts (read in its source: `_internal/utils.py`, `default.py`).
_FORMS: Final = {
    "AZURE_TENANT_ID": re.compile(r"[A-Za-z0-9.-]+"),
    "AZURE_CLIENT_ID": re.compile(r"[!-~]+"),
    "AZURE_AUTHORITY_HOST": re.compile(r"(?i:https://)?[\w.-]+(:\d+)?/*", re.ASCII),
    "AZURE_TOKEN_CREDENTIALS": re.compile(r"\s*(?i:dev|prod|[a-z]+credential)\s*", re.ASCII),
}
_FILES: Final = ("AZURE_CLIENT_CERTIFICATE_PATH", "AZURE_FEDERATED_TOKEN_FILE")


class NoToken(Unavailable):
    """The call for a token was not answered; the call that needs the token was not sent."""


@functools.cache
def token_credential() -> Identity:
    """The identity of the environment, made once."""
    return Identity()


class Identity:
    """The default credential chain of azure-identity; safe to use from several threads.

    Azure's other libraries accept it as a credential. Whatever azure-identity raises becomes
    Unauthorized: its own errors are of any class, and may quote the value of a variable. If no
    request can be sent, for example because of a proxy, it becomes NoToken.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._chain: Any = None
        self._transport: Any = None

    def get_token(self, *scopes: str, **options: Any) -> Any:
        """A token for the scopes, with the time when it expires.

        Raises Unauthorized or NoToken.
        """
        try:
            with self._lock:
                if self._chain is None:
                    from azure.identity import (  # noqa: PLC0415 - half a second of imports
                        DefaultAzureCredential,
                    )

                    from reconciler.transport.azure_core import (  # noqa: PLC0415 - as above
                        AzureTransport,
                    )

                    self._transport = AzureTransport()
                    # Otherwise msal asks Azure's public login whether the host is a login at all.
                    own_host = bool(os.environ.get("AZURE_AUTHORITY_HOST")) or None
                    self._chain = DefaultAzureCredential(
                        transport=self._transport, disable_instance_discovery=own_host
                    )
            return self._chain.get_token(*scopes, **options)
        except Exception as error:  # noqa: BLE001 - of any class: see above
            # Not chained: the text lists every credential that was tried, and may quote a secret.
            raise self._explain(error, " ".join(scopes)) from None

    def _explain(self, error: Exception, scope: str) -> ServiceError:
        failed = self._transport.failed if self._transport is not None else None
        if failed is None:
            return _explain(error, scope, os.environ)
        return NoToken(
            f"azure-identity gets no token: {failed.said}",
            subject=scope,
            next_step=failed.next_step or _REACH,
        )


def _explain(error: Exception, scope: str, environment: Mapping[str, str]) -> Unauthorized:
    wrong = sorted(_find_wrong(str(error), environment))
    if wrong:
        names = ", ".join(wrong)
        return Unauthorized(
            f"azure-identity cannot use {names}", subject=scope, next_step=f"Correct {names}."
        )
    given = ", ".join(sorted(name for name in environment if name.startswith("AZURE_")))
    if type(error).__name__ == "ClientAuthenticationError" or not given:
        return Unauthorized("azure-identity finds no credential", subject=scope, next_step=_LOG_IN)
    return Unauthorized(
        f"azure-identity cannot use what the environment names ({type(error).__name__})",
        subject=scope,
        next_step=f"Check {given}.",
    )


def _find_wrong(said: str, environment: Mapping[str, str]) -> set[str]:
    """The variables that azure-identity names in its error, or whose value has a wrong form."""
    named = set(_VARIABLE.findall(said)) & environment.keys()
    formed = {
        name
        for name, form in _FORMS.items()
        if environment.get(name) and not form.fullmatch(environment[name])
    }
    missing = {
        name for name in _FILES if environment.get(name) and not _is_readable(environment[name])
    }
    return formed | missing or named


def _is_readable(path: str) -> bool:
    try:
        return os.access(path, os.R_OK) and not os.path.isdir(path)  # noqa: PTH112 - no Path needed
    except ValueError:
        return False


def check_sendable(token: str, whose: str, subject: str, cure: str) -> str:
    """The token; raises Unauthorized for a token that a header cannot hold."""
    if _SENDABLE.fullmatch(token):
        return token
    raise Unauthorized(
        f"{whose} token cannot be sent: it has characters other than visible ASCII",
        subject=subject,
        next_step=cure,
    )


def _read_clock() -> float:
    """Monotonic seconds, which also count while the machine is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Tokens:
    """Tokens for one base URL; safe to use from several threads."""

    def __init__(
        self,
        base_url: str,
        know: Callable[[str], None] = lambda _: None,
        local_token: str = "",
    ) -> None:
        """`know` receives each token before it is used, so that output can be redacted.

        `local_token` is that of the project's emulator; the environment's has precedence.
        Raises ReconcilerError for an address or a token that cannot be used.
        """
        if not is_loopback(base_url) and not base_url.lower().startswith("https://"):
            raise ReconcilerError(
                "no token is sent over plain http",
                subject=base_url,
                next_step="Use an https address.",
            )
        self._scope = f"{base_url}/.default"
        self._local = is_loopback(base_url)
        self._own = local_token
        self._know = know
        self._lock = threading.Lock()
        self._token = ""
        self._expires = -math.inf
        if self._local:
            self._get_local()

    def get(self) -> str:
        """A token that is valid for at least five minutes; raises Unauthorized or NoToken."""
        if self._local:
            return self._get_local()
        with self._lock:
            if _read_clock() > self._expires - _RENEW_BEFORE_S:
                self._renew()
            return self._token

    def _get_local(self) -> str:
        token = os.environ.get(_TOKEN_VARIABLE) or self._own or _DEFAULT_TOKEN
        cure = "Start the emulator with another token, and set it here."
        check_sendable(token, "the emulator's", _TOKEN_VARIABLE, cure)
        if token != _DEFAULT_TOKEN:
            self._know(token)
        return token

    def _renew(self) -> None:
        got = token_credential().get_token(self._scope)
        self._know(got.token)
        check_sendable(got.token, "azure-identity's", self._scope, _LOG_IN)
        # How long it lasts is known now. Our clock may be set before it ends.
        lasts_s = got.expires_on - time.time()
        self._token, self._expires = got.token, _read_clock() + lasts_s

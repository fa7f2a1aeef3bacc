"""The bearer token of a management plane. It is sent only to the origin of that plane."""

from __future__ import annotations

import functools
import os
import re
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from reconciler.errors import ReconcilerError, Unauthorized
from reconciler.transport.origins import is_loopback

_TOKEN_VARIABLE: Final = "RECONCILER_EMULATOR_TOKEN"  # noqa: S105 - the variable's name
_DEFAULT_TOKEN: Final = "emulator"  # noqa: S105 - published: it protects nothing
_SENDABLE: Final = re.compile(r"[!-~]+")
_RENEW_BEFORE_S: Final = 300
_LOG_IN: Final = (
    "Log in with az login, or set AZURE_CLIENT_ID, AZURE_TENANT_ID and AZURE_CLIENT_SECRET."
)


@functools.cache
def token_credential() -> Any:
    """The default credential chain of azure-identity, imported when it is first needed."""
    from azure.identity import DefaultAzureCredential  # noqa: PLC0415 - half a second of imports

    return DefaultAzureCredential()


def check_sendable(token: str, whose: str, subject: str, cure: str) -> str:
    """The token; raises Unauthorized for a token that a header cannot hold."""
    if _SENDABLE.fullmatch(token):
        return token
    raise Unauthorized(
        f"{whose} token cannot be sent: it has characters other than visible ASCII",
        subject=subject,
        next_step=cure,
    )


class Tokens:
    """Tokens for one base URL; safe to use from several threads."""

    def __init__(self, base_url: str, know: Callable[[str], None] = lambda _: None) -> None:
        """`know` receives each token before it is used, so that output can be redacted.

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
        self._know = know
        self._lock = threading.Lock()
        self._token = ""
        self._expires = 0.0
        if self._local:
            self._get_local()

    def get(self) -> str:
        """A token that is valid for at least five minutes; raises Unauthorized without one."""
        if self._local:
            return self._get_local()
        with self._lock:
            if time.time() > self._expires - _RENEW_BEFORE_S:
                self._renew()
            return self._token

    def _get_local(self) -> str:
        token = os.environ.get(_TOKEN_VARIABLE) or _DEFAULT_TOKEN
        cure = "Start the emulator with another token, and set it here."
        check_sendable(token, "the emulator's", _TOKEN_VARIABLE, cure)
        if token != _DEFAULT_TOKEN:
            self._know(token)
        return token

    def _renew(self) -> None:
        from azure.core.exceptions import ClientAuthenticationError  # noqa: PLC0415 - see above

        try:
            got = token_credential().get_token(self._scope)
        except ClientAuthenticationError as error:
            # The chain's own text lists every credential that it tried, and may quote a secret.
            raise Unauthorized(
                "azure-identity finds no credential", subject=self._scope, next_step=_LOG_IN
            ) from error
        self._know(got.token)
        self._token, self._expires = got.token, got.expires_on

"""The secrets that the variables of a process hold for the libraries in use.

A service may quote one of them, so the redaction of a run knows them from its start.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import unquote, urlsplit

from reconciler.secrets.sas import trim_signature

_VARIABLES: Final = (
    "AZURE_CLIENT_CERTIFICATE_PASSWORD",
    "AZURE_CLIENT_SECRET",
    "AZURE_PASSWORD",
    "AZURE_STORAGE_CONNECTION_STRING",
    "AZURE_STORAGE_KEY",
    "AZURE_STORAGE_SAS_TOKEN",
)
_PROXIES: Final = ("http_proxy", "https_proxy", "all_proxy")


def list_secrets(environment: Mapping[str, str]) -> Iterator[str]:
    """Yields the values of variables that usually hold a secret, and the passwords of proxies.

    A value may be empty.
    """
    for name in _VARIABLES:
        yield environment.get(name, "")
    yield trim_signature(environment.get("AZURE_STORAGE_SAS_TOKEN", ""))
    for name, value in environment.items():
        if name.lower() in _PROXIES:
            yield _password(value)


def _password(url: str) -> str:
    try:
        return unquote(urlsplit(url if "://" in url else f"//{url}").password or "")
    except ValueError:
        return ""

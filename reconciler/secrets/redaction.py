"""Removes secrets from text of others: secrets that this run knows, and what looks like a secret.

A service may quote a request in an error or in a definition. Our secrets must not be shown,
planned or stored then. Readers of secrets register them here at once; each secret is found as it
is and in its URL, JSON and base64 forms, in upper or lower case.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Final
from urllib.parse import quote, quote_plus, unquote, urlsplit

from reconciler.model import Json
from reconciler.secrets.sas import trim_signature

HIDDEN: Final = "(sensitive value)"
# A shorter secret would match ordinary words.
_SHORTEST: Final = 8
_WORD: Final = 8
# A text of this length contains a whole aligned word of 8 bytes at any start offset.
_LONG: Final = 2 * _WORD - 1
_PAIR: Final = re.compile(
    r"((?:(?<![a-z])|(?<=%3F))(?:sig|se|sv|sp)|token|password|secret|(?:Account|SharedAccess)Key)"
    r"(?:=|%3D)[^&;\s\"']+",
    re.IGNORECASE,
)
_BEARER: Final = re.compile(r"Bearer\s+\S+", re.IGNORECASE)
_USER: Final = re.compile(r"(?<=://)[^/\s@]+@")
_TOKEN: Final = re.compile(r"\beyJ[\w-]+\.[\w-]+(\.[\w-]*)?")
_ACCOUNT_KEY: Final = re.compile(r"[A-Za-z0-9+/]{86}==")
_SECRET_PARTS: Final = frozenset({"sig", "accountkey", "sharedaccesskey", "password", "pwd"})
_VARIABLES: Final = (
    "AZURE_CLIENT_CERTIFICATE_PASSWORD",
    "AZURE_CLIENT_SECRET",
    "AZURE_PASSWORD",
    "AZURE_STORAGE_CONNECTION_STRING",
    "AZURE_STORAGE_KEY",
    "AZURE_STORAGE_SAS_TOKEN",
)
_PROXIES: Final = ("http_proxy", "https_proxy", "all_proxy")


class SecretNamed(ValueError):
    """A secret is a name in a document: a document without this name could not be sent back."""


class Redaction:
    """The secrets of one run. Safe to use from several threads."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        """Registers the secrets that the environment holds for the libraries in use."""
        self._lock = threading.Lock()
        self._known: set[str] = set()
        self._forms: list[str] = []
        self._short: list[bytes] = []
        self._words: set[int] = set()
        self.know(*_find_in(environment or {}))

    def know(self, *secrets: str) -> None:
        """Registers secrets; ignores those under 8 characters, which would match ordinary words."""
        with self._lock:
            parts = {part for one in secrets for part in _split_secret(one)}
            new = {one for one in parts if len(one) >= _SHORTEST} - self._known
            self._known |= new
            for form in {form for one in new for form in _spell_variants(one)}:
                data = form.encode("utf-8", "surrogatepass").lower()
                self._forms.append(form.lower())
                if len(data) < _LONG:
                    self._short.append(data)
                else:
                    self._words.update(_cut(data))

    def may_occur(self, data: bytes) -> bool:
        """Whether a JSON text may hold a secret: fast, and True if an escape could hide one."""
        if not self._forms:
            return False
        return b"\\" in data or b"\0" in data or self._is_near(data)

    def redact(self, text: str) -> str:
        """Returns the text without any registered secret; the same object if it holds no secret."""
        if len(text) < _SHORTEST or not self._forms:
            return text
        if not self._is_near(text.encode("utf-8", "surrogatepass")):
            return text
        casefolded = text.lower()
        found = sorted((form for form in self._forms if form in casefolded), key=len, reverse=True)
        hidden = "|".join(map(re.escape, found))
        return re.sub(hidden, HIDDEN, text, flags=re.IGNORECASE) if found else text

    def redact_document(self, document: Json) -> Json:
        """Redacts every text in a JSON value. Raises SecretNamed if a name holds a secret."""
        if isinstance(document, str):
            return self.redact(document)
        if isinstance(document, list):
            return [self.redact_document(item) for item in document]
        if isinstance(document, dict):
            if any(self.redact(name) != name for name in document):
                raise SecretNamed
            return {name: self.redact_document(value) for name, value in document.items()}
        return document

    def _is_near(self, data: bytes) -> bool:
        """Whether bytes hold a short secret, or eight consecutive bytes of a long one."""
        data = data.lower()
        if any(one in data for one in self._short):
            return True
        whole = len(data) - len(data) % _WORD
        return not self._words.isdisjoint(memoryview(data[:whole]).cast("Q").tolist())


def _split_secret(secret: str) -> Iterator[str]:
    """A secret and its secret parts, if it is a signed query or a connection string."""
    yield secret
    for part in re.split("[;&?]", secret):
        name, _, value = part.partition("=")
        if name.lower() in _SECRET_PARTS:
            yield value
            yield unquote(value)


def _spell_variants(secret: str) -> Iterator[str]:
    """The forms of a secret in the text of another program."""
    data = secret.encode("utf-8", "surrogatepass")
    yield secret
    yield quote(data, safe="")
    yield quote_plus(data)
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    for shift in range(3):
        # In a longer text it has one of three alignments; its ends depend on the bytes beside it.
        coded = base64.b64encode(b"\0" * shift + data).decode()
        sure = coded[(0, 2, 3)[shift] : (shift + len(data)) * 8 // 6]
        for form in (sure, coded[(0, 2, 3)[shift] :]):
            yield form
            yield form.replace("+", "-").replace("/", "_")


def _cut(form: bytes) -> Iterable[int]:
    """The eight bytes from each of the first eight offsets, as integers of this machine.

    If a text is split into words of eight bytes, one of these is among the words at any alignment.
    """
    for start in range(_WORD):
        yield memoryview(form[start : start + _WORD]).cast("Q")[0]


def _find_in(environment: Mapping[str, str]) -> Iterator[str]:
    """The values of environment variables that usually hold a secret."""
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


def mask(text: str) -> str:
    """Returns a text without anything that looks like a credential of any owner."""
    text = _PAIR.sub(r"\1=…", text)
    text = _BEARER.sub("Bearer …", text)
    text = _USER.sub("…@", text)
    return _ACCOUNT_KEY.sub("…", _TOKEN.sub("…", text))

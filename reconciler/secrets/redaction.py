"""Secrets taken out of what others say: those that this run knows, and what looks like one.

A service that quotes what it was sent, in an error or in a definition, must not have our secrets
shown, planned or kept. They are known here from the moment that they are read; each is found as it
is and as it is spelled in a URL, in JSON and in base64, in any case.
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

HIDDEN: Final = "(sensitive value)"
# A shorter one would be found in ordinary words.
_SHORTEST: Final = 8
_WORD: Final = 8
# From such a length on, a text holds a whole word of 8 bytes wherever the counting begins.
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
    """A secret is the name of something: without it, nothing could be sent back as it came."""


class Redaction:
    """The secrets of one run. Safe to use from several threads."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        """Knows from the start what the environment holds for the libraries that are used."""
        self._lock = threading.Lock()
        self._known: set[str] = set()
        self._forms: list[str] = []
        self._short: list[bytes] = []
        self._words: set[int] = set()
        self.know(*_find_in(environment or {}))

    def know(self, *secrets: str) -> None:
        """Take note of secrets. One of less than 8 characters would hide ordinary words."""
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
        """Whether a JSON text may hold a secret: quick, and True where an escape could hide one."""
        if not self._forms:
            return False
        return b"\\" in data or b"\0" in data or self._is_near(data)

    def redact(self, text: str) -> str:
        """The text without any secret that is known; the very same where it has none."""
        if len(text) < _SHORTEST or not self._forms:
            return text
        if not self._is_near(text.encode("utf-8", "surrogatepass")):
            return text
        casefolded = text.lower()
        found = sorted((form for form in self._forms if form in casefolded), key=len, reverse=True)
        hidden = "|".join(map(re.escape, found))
        return re.sub(hidden, HIDDEN, text, flags=re.IGNORECASE) if found else text

    def redact_document(self, document: Json) -> Json:
        """The same of every text in a JSON value. Raises SecretNamed for a name that holds one."""
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
        """Whether bytes hold a short secret, or eight bytes of a long one in a row."""
        data = data.lower()
        if any(one in data for one in self._short):
            return True
        whole = len(data) - len(data) % _WORD
        return not self._words.isdisjoint(memoryview(data[:whole]).cast("Q").tolist())


def _split_secret(secret: str) -> Iterator[str]:
    """A secret, and what is secret of one with parts: a signed query, or a connection string."""
    yield secret
    for part in re.split("[;&?]", secret):
        name, _, value = part.partition("=")
        if name.lower() in _SECRET_PARTS:
            yield value
            yield unquote(value)


def _spell_variants(secret: str) -> Iterator[str]:
    """A secret as it may stand in what somebody else writes."""
    data = secret.encode("utf-8", "surrogatepass")
    yield secret
    yield quote(data, safe="")
    yield quote_plus(data)
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    for shift in range(3):
        # Within a longer text it begins at any of three places; its ends depend on its neighbours.
        coded = base64.b64encode(b"\0" * shift + data).decode()
        sure = coded[(0, 2, 3)[shift] : (shift + len(data)) * 8 // 6]
        for form in (sure, coded[(0, 2, 3)[shift] :]):
            yield form
            yield form.replace("+", "-").replace("/", "_")


def _cut(form: bytes) -> Iterable[int]:
    """The eight bytes that begin at each of its first eight, as numbers of this machine.

    Wherever it stands in a text that is cut into words of eight bytes, one of these is a word.
    """
    for start in range(_WORD):
        yield memoryview(form[start : start + _WORD]).cast("Q")[0]


def _find_in(environment: Mapping[str, str]) -> Iterator[str]:
    """What the environment holds in variables that are known to hold a secret."""
    for name in _VARIABLES:
        yield environment.get(name, "")
    for name, value in environment.items():
        if name.lower() in _PROXIES:
            yield _password(value)


def _password(url: str) -> str:
    try:
        return unquote(urlsplit(url if "://" in url else f"//{url}").password or "")
    except ValueError:
        return ""


def mask(text: str) -> str:
    """A text without what looks like a credential, whosever it is."""
    text = _PAIR.sub(r"\1=…", text)
    text = _BEARER.sub("Bearer …", text)
    text = _USER.sub("…@", text)
    return _ACCOUNT_KEY.sub("…", _TOKEN.sub("…", text))

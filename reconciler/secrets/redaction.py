"""Removes secrets from text of others: secrets that this run knows, and what looks like a secret.

A service may quote a request in an error or in a definition. Our secrets must not be shown,
planned or stored then. Readers of secrets register them here at once; each secret is found in
upper or lower case, in every spelling that `spellings` reads, and where only a part of it stands.
"""

from __future__ import annotations

import base64
import marshal
import re
import struct
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Final
from urllib.parse import quote, unquote

from reconciler.model import Json
from reconciler.secrets.spellings import (
    merge,
    read_parts,
    read_views,
    replace_parts,
    squeeze,
    squeeze_view,
    undo_escapes,
)
from reconciler.secrets.suspicion import RANDOM, SECRET_NAMES, is_secret_name
from reconciler.secrets.variables import list_secrets
from reconciler.text.patterns import compile_lazily

HIDDEN: Final = "(sensitive value)"
# A shorter secret would match ordinary words.
_SHORTEST: Final = 8
# So much of a secret is hidden where the rest is cut off.
_PIECE: Final = 16
_WORD: Final = 8
_WORDS: Final = re.compile(rb"[a-z]+(?:[ _.-]+[a-z]+)*")
# A text of this length contains a whole aligned word of 8 bytes at any start offset.
_LONG: Final = 2 * _WORD - 1
# A text is not read to its end if its spellings are so many times larger.
_MOST_TIMES: Final = 8
# A larger text that may hold a secret is hidden whole: to find the place would take too long.
_MOST_BYTES: Final = 1024 * 1024
# What looks like a credential: the part that is named `value`, or all of it.
_CREDENTIALS: Final = tuple(
    compile_lazily(pattern, re.IGNORECASE)
    for pattern in (
        rb"(?:(?<![a-z])(?:sig|se|sv|sp)|token|password|pwd|secret|%b)="
        # What was hidden before is one value, although it has a blank.
        rb"(?P<value>\(sensitive value\)|[^&;\s\"'\\]+)" % SECRET_NAMES,
        rb"(?:password|secret|%b)[\"']?\s*:\s*[\"']?(?P<value>%b)" % (SECRET_NAMES, RANDOM),
        rb"(?<![a-z])sig[\"']?\s*[:=]\s*[\"']?(?P<value>[a-z0-9+/%=_-]{16,})",
        rb"(?:Bearer|Basic|SharedKey(?:Lite)?)\s+(?P<value>[^\s\"']+)",
        rb"-BEGIN [A-Z ]*PRIVATE KEY-+\s*(?P<value>[A-Za-z0-9+/=\s]+)",
        rb"(?<=://)(?P<value>[^/\s@]+)@",
        rb"(?P<value>\beyJ[\w-]+\.[\w-]+(?:\.[\w-]*)?)",
        rb"(?P<value>[A-Z0-9+/]{86}==)",
    )
)
# As Windows and databases encode text before they write it in digits.
_WIDE: Final = ("utf-16-le", "utf-16-be", "utf-32-le")
# What programs write between the bytes of hexadecimal digits, but for blanks.
_BETWEEN: Final = "-:;.,|_+"
_read_word: Final = struct.Struct("=Q").unpack_from
# The alphabet of base32 that keeps the order of the bytes.
_BASE32_HEX: Final = bytes.maketrans(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", b"0123456789ABCDEFGHIJKLMNOPQRSTUV"
)
_MASK: Final = "…"


class SecretNamed(ValueError):
    """A secret is a name in a document: a document without this name could not be sent back."""


class Redaction:
    """The secrets of one run. Safe to use from several threads."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        """Registers the secrets that the environment holds for the libraries in use."""
        self._lock = threading.Lock()
        self._secrets: set[str] = set()
        # All that is searched for is in lower case. Many spellings begin with the same bytes: they
        # are searched for only where these are.
        self._whole: dict[bytes, list[bytes]] = {}
        # The secrets that have eight bytes at some place, and the first and the last such place.
        self._pieces: dict[int, dict[bytes, tuple[int, int]]] = {}
        # What a text without blanks holds if it may hold a secret.
        self._short: list[bytes] = []
        # What is of other characters than those of ASCII is searched for in a text as it is.
        self._unusual: list[bytes] = []
        self._words: set[int] = set()
        self.know(*list_secrets(environment or {}))

    def know(self, *secrets: str) -> None:
        """Registers secrets; ignores those under 8 characters, which would match ordinary words."""
        with self._lock:
            parts = {part for one in secrets for part in _split_secret(one)}
            for secret in {one for one in parts if len(one) >= _SHORTEST} - self._secrets:
                self._secrets.add(secret)
                self._learn(secret)

    def _learn(self, secret: str) -> None:
        plain = {one.lower() for one in _encode(secret)}
        for one in plain if not _is_composed(secret) else ():
            self._learn_pieces(one)
            self._words.update(_cut(squeeze(one), len(one)))
        for one in plain | {one.lower() for one in _spell_opaque(secret)}:
            squeezed = squeeze(one)
            if len(squeezed) < _LONG:
                self._learn_short(one, squeezed)
            else:
                self._words.update(_cut(squeezed, _WORD))
            self._whole.setdefault(one[:_WORD], []).append(one)

    def _learn_short(self, plain: bytes, squeezed: bytes) -> None:
        if len(squeezed) >= _SHORTEST:
            self._short.append(squeezed)
        else:
            self._unusual.append(plain)

    def _learn_pieces(self, plain: bytes) -> None:
        for at, word in enumerate(_cut(plain, len(plain)) if len(plain) > _PIECE else ()):
            places = self._pieces.setdefault(word, {})
            places[plain] = places.get(plain, (at, at))[0], at

    def redact(self, text: str) -> str:
        """Returns the text without any registered secret; the same object if it holds no secret."""
        if len(text) < _SHORTEST or not self._whole:
            return text
        data = text.encode("utf-8", "surrogatepass")
        if not self._may_hold(data):
            return text
        parts = [_widen(data, *part) for part in self._find(data)]
        return _replace(data, parts, HIDDEN) if parts else text

    def redact_texts(self, texts: Mapping[str, str]) -> Mapping[str, str]:
        """Redacts each text, and no name; returns the same object if no text holds a secret."""
        joined = "\n".join(texts.values()).encode("utf-8", "surrogatepass")
        if not self._whole or not self._may_hold(joined):
            return texts
        redacted = {name: self.redact(text) for name, text in texts.items()}
        return texts if redacted == texts else redacted

    def redact_document(self, document: Json) -> Json:
        """Redacts every text in a JSON value. Raises SecretNamed if a name holds a secret.

        A document that has nothing like a secret is returned itself.
        """
        # The bytes of all names and texts, one after another: nearly every document ends here.
        if not self._whole or not self._may_hold(marshal.dumps(document)):
            return document
        return self._redact_parts(document)

    def _redact_parts(self, document: Json) -> Json:
        if isinstance(document, str):
            return self.redact(document)
        if isinstance(document, list):
            return [self._redact_parts(item) for item in document]
        if isinstance(document, dict):
            if any(self.redact(name) != name for name in document):
                raise SecretNamed
            return {name: self._redact_parts(value) for name, value in document.items()}
        return document

    def _may_hold(self, text: bytes) -> bool:
        """Whether a text may hold a secret. Fast: False is certain, True is not."""
        left = _MOST_TIMES * len(text) + _MOST_BYTES
        for part in read_parts(text):
            left -= len(part)
            if left < 0 or self._is_near(part):
                return True
        return False

    def _is_near(self, data: bytes) -> bool:
        """Whether bytes hold a short secret, or eight consecutive bytes of a long one."""
        squeezed = squeeze(data).lower()
        if any(one in squeezed for one in self._short):
            return True
        if self._unusual and any(map(data.lower().__contains__, self._unusual)):
            return True
        return not self._words.isdisjoint(_read_words(squeezed))

    def _find(self, text: bytes) -> Iterator[tuple[int, int]]:
        """Yields the start and the end of each secret; all of a text that is too large."""
        left = _MOST_TIMES * len(text) if len(text) <= _MOST_BYTES else 0
        for view in read_views(text):
            left -= len(view.data)
            if left < 0:
                yield 0, len(text)
                return
            # A line break may also stand within a secret.
            squeezed = squeeze_view(view)
            for shown in (view, squeezed) if squeezed.data != view.data else (view,):
                for start, end in merge(self._find_plain(shown.data.lower())):
                    yield shown.locate(start, end)

    def _find_plain(self, lowered: bytes) -> Iterator[tuple[int, int]]:
        if self._is_near(lowered):
            yield from self._find_whole(lowered)
        yield from self._find_pieces(lowered)

    def _find_whole(self, lowered: bytes) -> Iterator[tuple[int, int]]:
        for beginning in self._find_beginnings(lowered):
            for secret in self._whole[beginning]:
                for start in _find_all(secret, lowered):
                    yield start, start + len(secret)

    def _find_beginnings(self, lowered: bytes) -> list[bytes]:
        """The first eight bytes of secrets that are in a text.

        A short text has fewer parts of eight bytes than the secrets have beginnings.
        """
        if len(lowered) < len(self._whole):
            parts = {lowered[at : at + _WORD] for at in range(len(lowered) - _WORD + 1)}
            return [one for one in parts if one in self._whole]
        # A copy, because another thread may learn a secret meanwhile.
        return [one for one in self._whole.copy() if one in lowered]

    def _find_pieces(self, lowered: bytes) -> Iterator[tuple[int, int]]:
        """Yields each part of a text that is also a long part of a secret."""
        words = _read_words(lowered)
        if self._pieces.keys().isdisjoint(words):
            return
        done = 0
        for number, word in enumerate(words):
            at = number * _WORD
            # The last words of a part may be those of a longer part.
            again = at > done - 2 * _WORD
            for secret, places in self._pieces.get(word, {}).items() if again else ():
                for place in set(places):
                    start, end = _extend(lowered, at, secret, place)
                    if end - start >= _PIECE and _is_piece(lowered, start, end, secret):
                        done = max(done, end)
                        yield start, end


def _is_composed(secret: str) -> bool:
    """Whether the beginning of a secret may be an ordinary text, such as a host or a version."""
    return "://" in secret or any(part != secret for part in _split_secret(secret))


def _encode(secret: str) -> Iterator[bytes]:
    """The bytes of a secret as a plain text: in either case, and with "+" for each blank.

    A secret may itself hold what reads as an escape, and is then undone with those around it.
    """
    for one in {
        secret,
        secret.lower(),
        secret.upper(),
        secret.replace(" ", "+"),
        *_in_utf7(secret),
    }:
        data = one.encode("utf-8", "surrogatepass")
        yield data
        for _ in range(2):
            data = undo_escapes(data)
            if len(data) >= _SHORTEST:
                yield data


def _in_utf7(secret: str) -> Iterator[str]:
    """A secret in UTF-7: as little of it encoded as may be, each sign, and all signs beside it."""
    yield secret.encode("utf-7").decode()
    for signs in ("[^A-Za-z0-9]", "[^A-Za-z0-9]+"):
        yield re.sub(signs, _encode_signs, secret)


def _encode_signs(found: re.Match[str]) -> str:
    coded = base64.b64encode(found[0].encode("utf-16-be", "surrogatepass"))
    return f"+{coded.decode().rstrip('=')}-"


def _spell_opaque(secret: str) -> Iterator[bytes]:
    """The spellings that show nothing of the secret, so that one search finds them quickly."""
    data = secret.encode("utf-8", "surrogatepass")
    yield from _in_base32(data)
    percent = quote(data, safe="")
    wide = (one.encode(code, "surrogatepass") for code in _WIDE for one in {secret, percent})
    for one in (data, *_escape_markup(secret), *wide):
        yield one.hex().encode()
        if not secret.isascii():
            # Of digits with a sign between them, only text of ASCII is read.
            yield from (one.hex(sign).encode() for sign in _BETWEEN)
            yield from (
                f"{one[:at].hex('+', -2)}+{one[at:].hex('+', -2)}".encode() for at in (1, 2)
            )
        for shift in range(3):
            coded = base64.b64encode(b"\0" * shift + one)
            for form in _cut_coded(coded, (0, 2, 3)[shift], (shift + len(one)) * 8 // 6):
                yield form
                yield form.replace(b"+", b"-").replace(b"/", b"_")


def _escape_markup(secret: str) -> Iterator[bytes]:
    """A secret of other characters than those of ASCII, which decoded bytes hide, in HTML."""
    if not secret.isascii():
        import html  # noqa: PLC0415 - a large table, and such secrets are rare

        yield html.escape(secret).encode("utf-8", "surrogatepass")


def _in_base32(data: bytes) -> Iterator[bytes]:
    for shift in range(5):
        coded = base64.b32encode(b"\0" * shift + data)
        for form in _cut_coded(coded, -(-shift * 8 // 5), (shift + len(data)) * 8 // 5):
            yield form
            yield form.translate(_BASE32_HEX)


def _cut_coded(coded: bytes, start: int, end: int) -> tuple[bytes, ...]:
    """The letters of a secret in a longer text: its ends depend on the bytes beside it."""
    return coded[start:end], coded[start:], coded[start:].rstrip(b"=")


def _widen(text: bytes, start: int, end: int) -> tuple[int, int]:
    """A part of a text in UTF-8, up to the ends of its first and its last character."""
    while start and text[start] & 0xC0 == 0x80:
        start -= 1
    while end < len(text) and text[end] & 0xC0 == 0x80:
        end += 1
    return start, end


def _find_all(part: bytes, data: bytes) -> Iterator[int]:
    at = data.find(part)
    while at >= 0:
        yield at
        at = data.find(part, at + 1)


def _extend(data: bytes, at: int, secret: bytes, place: int) -> tuple[int, int]:
    """The part of data around `at` that equals the secret around `place`."""
    before = _count_equal(data[max(0, at - place) : at][::-1], secret[:place][::-1])
    return at - before, at + _count_equal(data[at : at + len(secret) - place], secret[place:])


def _count_equal(data: bytes, secret: bytes) -> int:
    """How many bytes at the beginning of data are those of a secret."""
    length = min(len(data), len(secret))
    differ = int.from_bytes(data[:length]) ^ int.from_bytes(secret[:length])
    return length - -(-differ.bit_length() // 8)


def _is_piece(data: bytes, start: int, end: int, secret: bytes) -> bool:
    """Whether a part of a secret is not a part of another word.

    Where a secret consists of words, so does a part of it.
    """
    inside = data[max(0, start - 1) : start].isalnum() or data[end : end + 1].isalnum()
    return not inside or _WORDS.fullmatch(secret) is None


def _split_secret(secret: str) -> Iterator[str]:
    """A secret and its secret parts, if it is a signed query or a connection string."""
    yield secret
    for part in re.split("[;&?]", secret):
        name, _, value = part.partition("=")
        # Another pair as the value is not the secret part.
        if is_secret_name(name) and "=" not in value.rstrip("="):
            yield value
            yield unquote(value)


def _cut(form: bytes, offsets: int) -> list[int]:
    """The eight bytes from each of the first offsets, as integers of this machine.

    If a text is split into words of eight bytes, those of the first eight offsets are enough for
    one of them to be among the words, at any alignment.
    """
    return [_read_word(form, start)[0] for start in range(min(offsets, len(form) - _WORD + 1))]


def _read_words(data: bytes) -> list[int]:
    """The words of eight bytes that data is split into, as integers of this machine."""
    return memoryview(data[: len(data) - len(data) % _WORD]).cast("Q").tolist()


def mask(text: str) -> str:
    """Returns a text without anything that looks like a credential of any owner."""
    data = text.encode("utf-8", "surrogatepass")
    parts = [
        view.locate(*found.span("value"))
        for view in read_views(data)
        for credential in _CREDENTIALS
        for found in credential.finditer(view.data)
    ]
    return _replace(data, [_widen(data, *part) for part in parts], _MASK) if parts else text


def _replace(text: bytes, parts: Iterable[tuple[int, int]], instead: str) -> str:
    return replace_parts(text, parts, instead.encode()).decode("utf-8", "surrogatepass")

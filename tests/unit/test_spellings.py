"""A secret in the spellings of serializers, one inside another: hidden, and nothing else is."""

import base64
import functools
import gzip
import html
import json
import quopri
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reconciler.errors import Unavailable
from reconciler.secrets import redaction as redacting
from reconciler.secrets.redaction import HIDDEN, Redaction
from tests.laws import examples
from tests.tree import find_tracked
from tests.unit import test_redaction
from tests.unit.test_redaction import reply

# No test here registers another secret with what it is given, and to learn one takes a millisecond.
knowing = functools.cache(test_redaction.knowing)

# The key of a storage account has "+", "/" and "=", and no long run of other characters.
KEY = "A+b/" * 21 + "zz=="
TOKEN = "kT9+x/4bQz7Lr2Wm=="


def json_text(text: str) -> str:
    return json.dumps(text)[1:-1]


def in_base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def in_lines(text: str, width: int = 76) -> str:
    coded = in_base64(text)
    return "\r\n".join(coded[at : at + width] for at in range(0, len(coded), width))


def references(text: str, form: str) -> str:
    plain = re.compile("[A-Za-z0-9]", re.ASCII)
    return "".join(one if plain.fullmatch(one) else form.format(ord(one)) for one in text)


def pairs(text: str, form: str, between: str = "") -> str:
    return between.join(form.format(one) for one in text.encode())


def octal(text: str) -> str:
    """As git writes the name of a file."""
    plain = re.compile(rb"[ !#-\[\]-~]")
    units = (bytes((one,)) for one in text.encode())
    return "".join(one.decode() if plain.fullmatch(one) else f"\\{one[0]:03o}" for one in units)


def in_code(text: str, code: str) -> str:
    return base64.b64encode(text.encode(code)).decode()


def dump(text: str) -> str:
    """As xxd writes bytes, without the column of characters."""
    coded = text.encode().hex()
    return " ".join(coded[at : at + 4] for at in range(0, len(coded), 4))


SPELLINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "percent": lambda text: quote(text, safe=""),
    "percent, / kept": quote,
    "percent, + kept": lambda text: quote(text, safe="+"),
    "percent, lower case": lambda text: re.sub(
        "%..", lambda found: found[0].lower(), quote(text, safe="")
    ),
    "percent of a form": quote_plus,
    "percent of everything": lambda text: pairs(text, "%{:02X}"),
    "JScript's escape": lambda text: references(text, "%u{:04x}"),
    "JSON": json_text,
    "JSON of PHP": lambda text: json_text(text).replace("/", "\\/"),
    "JSON of System.Text.Json": lambda text: json_text(text).replace("+", "\\u002B"),
    "JSON, all escaped": lambda text: references(text, "\\u{:04x}"),
    "octal": lambda text: pairs(text, "\\{:03o}"),
    "octal of git": octal,
    "braces of Rust": lambda text: references(text, "\\u{{{:x}}}"),
    "braces of Perl": lambda text: references(text, "\\x{{{:X}}}"),
    "long escapes of Python": lambda text: references(text, "\\U{:08x}"),
    "HTML": html.escape,
    "HTML, decimal": lambda text: references(text, "&#{};"),
    "HTML, hexadecimal": lambda text: references(text, "&#x{:X};"),
    "HTML by name": lambda text: text.replace("+", "&plus;").replace("/", "&sol;"),
    "base64": in_base64,
    "base64 of URLs": lambda text: base64.urlsafe_b64encode(text.encode()).decode().rstrip("="),
    "base64 in lines": in_lines,
    "base64 in short lines": lambda text: in_lines(text, 20),
    "hexadecimal": lambda text: text.encode().hex(),
    "hexadecimal, upper case": lambda text: text.encode().hex().upper(),
    "hexadecimal of .NET": lambda text: pairs(text, "{:02X}", "-"),
    "hexadecimal with colons": lambda text: pairs(text, "{:02x}", ":"),
    "hexadecimal of xxd": dump,
    "quoted-printable of everything": lambda text: pairs(text, "={:02X}"),
}
# These end within a line, or encode text that has only characters of ASCII.
PLAIN_SPELLINGS: dict[str, Callable[[str], str]] = {
    **SPELLINGS,
    "quoted-printable": lambda text: quopri.encodestring(text.encode(), quotetabs=True).decode(),
    "base64 of UTF-16": lambda text: in_code(text, "utf-16-le"),
    "base64 of UTF-16 of networks": lambda text: in_code(text, "utf-16-be"),
    "base64 of UTF-32": lambda text: in_code(text, "utf-32-le"),
    "base64 of UTF-16 of percent": lambda text: in_code(quote(text, safe=""), "utf-16-le"),
    "hexadecimal of UTF-16": lambda text: text.encode("utf-16-be").hex(),
    "zero bytes between": "\0".join,
    "zero bytes between, in JSON": lambda text: json_text("\0".join(text)),
    "soft hyphens between": "\u00ad".join,
    "a line that goes on": lambda text: f"{text[:9]}\\\n{text[9:]}",
    "a header that goes on": lambda text: f"{text[:9]}\r\n\t{text[9:]}",
    "a vertical tab within": lambda text: f"{text[:9]}\v{text[9:]}",
    "UTF-7": lambda text: text.encode("utf-7").decode(),
    "UTF-7, all signs": lambda text: re.sub(
        "[^A-Za-z0-9]",
        lambda one: f"+{in_code(one[0], 'utf-16-be').rstrip('=')}-",
        text,
    ),
    "backslashes of a shell": lambda text: re.sub("([^A-Za-z0-9])", r"\\\1", text),
    "octal of printf": lambda text: pairs(text, "\\0{:03o}"),
    "octal, short": lambda text: pairs(text, "\\{:o}"),
    "CSS": lambda text: pairs(text, "\\{:06x}"),
    "HTML, long": lambda text: references(text, "&#x{:08x};"),
    "numbers": lambda text: ", ".join(map(str, text.encode())),
    "numbers without blanks": lambda text: ",".join(map(str, text.encode())),
    "numbers in lines": lambda text: "\n".join(map(str, text.encode())),
    "hexadecimal numbers": lambda text: pairs(text, "0x{:02x}", ", "),
    "binary numbers": lambda text: pairs(text, "{:08b}", " "),
    "names of characters": lambda text: pairs(text, "U+{:04X}", " "),
    "base32": lambda text: base64.b32encode(text.encode()).decode(),
    "base32, lower case": lambda text: base64.b32encode(text.encode()).decode().lower(),
    "base32 that sorts": lambda text: base64.b32hexencode(text.encode()).decode(),
    "base64 in quoted lines": lambda text: in_lines(text, 20).replace("\r\n", "\n> "),
    "base64 in a list": lambda text: in_lines(text, 20).replace("\r\n", '", "'),
    "base64 of gzip": lambda text: base64.b64encode(gzip.compress(text.encode() * 2)).decode(),
    "base64 of zlib": lambda text: base64.b64encode(zlib.compress(text.encode() * 2)).decode(),
    "hexadecimal of gzip": lambda text: gzip.compress(text.encode()).hex(),
}


@pytest.mark.parametrize("spelling", PLAIN_SPELLINGS)
@pytest.mark.parametrize("secret", [KEY, TOKEN])
def test_a_secret_is_hidden_whole_and_alone(secret: str, spelling: str) -> None:
    redaction = knowing("another secret", secret)
    spelled = PLAIN_SPELLINGS[spelling](secret)
    text = f'the key "{spelled}" is wrong'
    assert redaction.redact(text) == f'the key "{HIDDEN}" is wrong'
    assert redaction.redact_document({"a": [text]}) == {"a": [f'the key "{HIDDEN}" is wrong']}
    assert redaction.redact(f"{spelled} or {spelled}") == f"{HIDDEN} or {HIDDEN}"


SECRETS = st.text(
    st.sampled_from("abcdefxyzABCXYZ0189+/=_-.~<>\"'# ü€"), min_size=8, max_size=90
).filter(lambda text: len(text.strip()) >= 8)


@pytest.mark.property
@examples(2000)
@given(SECRETS, st.lists(st.sampled_from(sorted(SPELLINGS)), max_size=3), st.booleans())
@example(secret="000ü000ü", chain=["hexadecimal of .NET"], quoted=False)
@example(secret="00000000", chain=["hexadecimal of xxd", "percent of a form"], quoted=False)
@example(secret="a€b€c€d€", chain=["hexadecimal of xxd", "percent of a form"], quoted=True)
@example(secret="a€b€c€d€", chain=["hexadecimal with colons", "base64"], quoted=True)
def test_no_chain_of_spellings_hides_a_secret_from_us(
    secret: str, chain: list[str], quoted: bool
) -> None:
    said = f"key={secret};" if quoted else secret
    for spelling in chain:
        said = SPELLINGS[spelling](said)
    shown = knowing(secret).redact(f"say '{said}' now")
    assert HIDDEN in shown
    left = shown.replace(HIDDEN, "").removeprefix("say '").removesuffix("' now")
    assert said not in shown
    # What is left of it are the parts around the secret: less than what they take by themselves.
    around = "key=;" if quoted else ""
    for spelling in chain:
        around = SPELLINGS[spelling](around)
    assert len(left) <= 2 * len(around) + 8 * (len(chain) + 1)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_secret_within_a_coded_document_is_hidden(spelling: str) -> None:
    inner = json.dumps({"storage": {"key": SPELLINGS[spelling](KEY)}, "more": "x" * 40})
    for outer in (in_base64, in_lines, json_text, lambda text: quote(text, safe="")):
        shown = knowing(KEY).redact(f"request: {outer(inner)}")
        assert shown.startswith("request: ")
        assert shown.count(HIDDEN) == 1
        assert len(shown) < len(outer(inner)) + len(HIDDEN) - len(KEY) // 2


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("cut", [60, 75, 90])
def test_a_secret_that_is_cut_off_is_hidden_to_its_end(spelling: str, cut: int) -> None:
    said = SPELLINGS[spelling](KEY)[:cut] if spelling not in _LONG_SPELLINGS else ""
    for end in ("", "…", "..."):
        shown = knowing(KEY).redact(f"the key {said}{end}")
        if said:
            assert HIDDEN in shown
            assert len(shown) <= len(f"the key {HIDDEN}{end}") + 8


# Sixteen characters of the secret are longer than what the test keeps.
_LONG_SPELLINGS = {
    "JSON, all escaped",
    "JScript's escape",
    "octal",
    "braces of Rust",
    "braces of Perl",
    "long escapes of Python",
}


@pytest.mark.parametrize("length", [16, 20, 87])
def test_the_beginning_of_a_secret_is_hidden_from_sixteen_characters_on(length: int) -> None:
    redaction = knowing(KEY)
    for end in ("", " …", "...", '"', "\u2026"):
        assert redaction.redact(f"key {KEY[:length]}{end}") == f"key {HIDDEN}{end}"
    assert redaction.redact(f"key {KEY[:15]}") == f"key {KEY[:15]}"


@pytest.mark.parametrize("code", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_a_secret_is_hidden_in_the_percent_encoding_of_wide_characters(code: str) -> None:
    for said in (quote(TOKEN.encode(code), safe=""), pairs(TOKEN, "%{:02x}", "%00")):
        assert knowing(TOKEN).redact(said).replace("%00", "") == HIDDEN


@pytest.mark.parametrize("length", [16, 20, 87])
def test_a_secret_without_its_beginning_is_hidden_from_sixteen_characters_on(length: int) -> None:
    redaction = knowing(KEY)
    for before in ("", "...", "x", '"', "\u2026"):
        assert redaction.redact(f"key {before}{KEY[-length:]}") == f"key {before}{HIDDEN}"
    assert redaction.redact(f"key {KEY[-15:]}") == f"key {KEY[-15:]}"


@pytest.mark.parametrize("spelling", [str, in_base64, json_text, lambda text: quote(text, safe="")])
def test_a_part_of_a_secret_is_hidden_in_every_spelling(spelling: Callable[[str], str]) -> None:
    secret = "kT9+x/4bQz7Lr2Wm8sHd5KfVw3nYp6Jc"
    shown = knowing(secret).redact(f"the key ***{spelling(secret[6:25])}*** is wrong")
    assert shown == f"the key ***{HIDDEN}*** is wrong"


def test_a_text_of_parts_of_a_secret_is_read_quickly() -> None:
    redaction = knowing("a" * 1500 + "zz==", KEY)
    assert redaction.redact("a" * 400_000).replace(HIDDEN, "") == ""
    assert redaction.redact("A+b/" * 100_000).replace(HIDDEN, "") == ""


def test_another_word_with_the_same_beginning_is_left() -> None:
    redaction = knowing("production-database-password", "https://models.example/a?sig=abcdefghij")
    for text in (
        "production-databases",
        "production-database-passages",
        "https://models.example/b",
        "https://models.example/a?",
    ):
        assert redaction.redact(text) is text


ORDINARY = [
    file
    for file in find_tracked("*.md", "schemas/*.json", "manifests/*.*")
    if file.suffix != ".png"
]


@pytest.mark.parametrize("file", ORDINARY, ids=lambda file: file.name)
def test_ordinary_text_is_the_very_same_object(file: Path) -> None:
    redaction = knowing(KEY, TOKEN, "a passphrase of several words", "eyJ0eXAiOiJKV1QiLCJhbGciOi.x")
    text = file.read_text()
    assert redaction.redact(text) is text
    for line in text.splitlines():
        assert redaction.redact(line) is line


@pytest.mark.property
@examples(500)
@given(st.text(max_size=400), st.lists(st.sampled_from(sorted(SPELLINGS)), max_size=2))
def test_generated_text_is_the_very_same_object(text: str, chain: list[str]) -> None:
    try:
        for spelling in chain:
            text = SPELLINGS[spelling](text)
    except UnicodeEncodeError:  # an unpaired surrogate
        return
    assert knowing(KEY, TOKEN).redact(text) is text


def test_a_text_that_is_too_large_to_search_is_hidden_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(redacting, "_MOST_BYTES", 1000)
    text = f"{'a word ' * 200}{KEY}"
    assert knowing(KEY).redact(text) == HIDDEN
    assert knowing(KEY).redact("a word " * 200) == "a word " * 200


@pytest.mark.parametrize("unit", ["%25", "\\u005c", "&amp;", "QUJD", "41", "a%41", "/" * 64, "A"])
def test_a_hostile_text_is_left_or_hidden_whole(unit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redacting, "_MOST_BYTES", 100_000)
    text = unit * (110_000 // len(unit))  # more than is searched
    shown = knowing(KEY).redact(text)
    assert shown is text or shown == HIDDEN


def test_a_secret_as_a_name_in_any_spelling_is_refused() -> None:
    for spelling in SPELLINGS.values():
        with pytest.raises(Unavailable, match="as the name of a property"):
            reply({"a": {spelling(KEY): 1}}, KEY)


def test_secrets_come_by_thousands_and_cost_no_more_each() -> None:
    redaction = Redaction()
    for number in range(300):
        redaction.know(f"{number:04}-zq-{KEY[:30]}-{number:04}")
    assert redaction.redact(f"see 0299-zq-{KEY[:30]}-0299.") == f"see {HIDDEN}."
    assert redaction.redact("see nothing of it") == "see nothing of it"

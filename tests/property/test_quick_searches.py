"""The quick searches and tests of texts decide what the slow ones decide."""

import io
import json
import re
from collections.abc import Callable, Sequence
from http.client import HTTPException
from typing import Any, TypeAlias

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from reconciler.document import baseline, comparers, diff, forms
from reconciler.document import normalize as normalizing
from reconciler.document.baseline import make_baseline
from reconciler.document.diff import form
from reconciler.document.forms import find_faults, is_settled, read_address, settle
from reconciler.document.normalize import normalize
from reconciler.document.schema import UNKNOWN, Field, compile_schema
from reconciler.kinds.web_service import KIND
from reconciler.manifests.definition import compile_service
from reconciler.manifests.yaml_text import _Loader
from reconciler.model import Json
from reconciler.plans.step import _count_leaves, list_leaves
from reconciler.secrets import signatures, spellings
from reconciler.secrets.signatures import strip_signatures
from reconciler.secrets.suspicion import is_secret
from reconciler.text.json_text import canonical, is_same
from reconciler.transport.connections import Headers, TimedResponse
from reconciler.transport.loopback import _Response
from tests.laws import examples
from tests.property.documents import documents, recase
from tests.property.fields import EVERY_KEYWORD

Spell: TypeAlias = Callable[[str], str]
FIELDS = pytest.mark.parametrize(
    "field", [EVERY_KEYWORD, KIND.field], ids=["every-keyword", "web-service"]
)
PLANTED = "planted-0123456789"
# The ends of names, and what can stand before and after a name that is still that name.
_WORDS = st.sampled_from(
    [
        *("sig", "pwd", "password", "PassWd", "passphrase", "Account Key", "api.key", "ACCESS_KEY"),
        *(
            "sas-token",
            "connectionString",
            "Client Secret",
            "bearer token",
            "SharedAccessSignature",
        ),
        *("key", "string", "Publishing", "word", "passwordPolicy", "", "é", '"', "\\", ':"'),
    ]
)
_EDGES = st.sampled_from(["", " ", "\t", "\n", "\x0b", "\x1c", "\x85", "\xa0", "\u2003", "a", "é"])
_NAMES = st.tuples(_EDGES, _WORDS, _WORDS, _EDGES).map("".join)
_VALUES = st.sampled_from(
    [PLANTED, "", "short", None, 1, True, '":"', "two words in it", 2**70, "half \ud800 a pair"]
)
_DOCUMENTS = st.recursive(
    st.one_of(_VALUES, _NAMES),
    lambda below: st.one_of(
        st.lists(below, max_size=3), st.dictionaries(st.one_of(_NAMES, _WORDS), below, max_size=3)
    ),
    max_leaves=8,
)


def search_each(document: Json) -> Json:
    """The document without what any name or text of it says is a secret."""
    if isinstance(document, dict):
        return {
            name: search_each(value)
            for name, value in document.items()
            if not is_secret(name, value)
        }
    if isinstance(document, list):
        return [search_each(item) for item in document]
    return strip_all(document) if isinstance(document, str) else document


def strip_all(text: str) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(signatures, "may_be_signed", lambda _: True)
        return strip_signatures(text)


def quote_all(text: str) -> str:
    return "".join(f"%{ord(one):02X}" for one in text)


def escape_all(text: str) -> str:
    return "".join(f"\\u{ord(one):04x}" for one in text)


def refer_all(text: str) -> str:
    return "".join(f"&#{ord(one)};" for one in text)


@given(_DOCUMENTS)
@examples(400)
def test_the_quick_search_of_names_misses_none(document: Json) -> None:
    assert normalize(UNKNOWN, document) == search_each(document)


@FIELDS
@given(data=st.data())
def test_what_is_normal_at_once_is_what_would_stay_the_same(
    field: Field, data: st.DataObject
) -> None:
    made = data.draw(documents(field))
    for document in (made, normalize(field, made), recase(field, made)):
        quick = normalize(field, document)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(normalizing, "_is_normal", lambda *_: False)
            whole = normalize(field, document)
        assert canonical(whole) == canonical(quick)
        assert (whole is document) == (quick is document)


@FIELDS
@given(data=st.data())
def test_what_is_its_own_form_at_once_has_that_form(field: Field, data: st.DataObject) -> None:
    made = data.draw(documents(field))
    for document in (made, recase(field, made)):
        quick, kept = form(field, document), make_baseline(field, document, ())
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(diff, "_has_own_form", lambda *_: False)
            assert is_same(form(field, document), quick)
            assert make_baseline(field, document, ()) == kept


@pytest.mark.parametrize("word", ["readOnly", "writeOnly", "x-empty"])
def test_a_map_whose_values_are_left_out_is_not_its_own_form(word: str) -> None:
    below: Json = {"type": "object", "properties": {"a": {"type": "string"}}}
    below[word] = "absent" if word == "x-empty" else True
    field = compile_schema({"type": "object", "additionalProperties": below})
    assert form(field, {"b": {}}) == {}


def count_scalars(value: Json) -> int:
    if isinstance(value, dict):
        return sum(map(count_scalars, value.values()))
    return sum(map(count_scalars, value)) if isinstance(value, list) else 1


@given(_DOCUMENTS, st.integers(0, 9))
def test_the_quick_count_of_a_value_is_its_count(value: Json, most: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(baseline, "_MOST_VALUES", most)
        assert baseline._is_few(value) == (count_scalars(value) <= most)


@FIELDS
@given(data=st.data())
def test_the_quick_count_of_leaves_is_that_of_their_paths(
    field: Field, data: st.DataObject
) -> None:
    document = data.draw(documents(field))
    assert _count_leaves(field, document) == len(list(list_leaves(field, document, ("at",))))


_PAIR: Json = {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}}
_PATTERNED = compile_schema(
    {
        "type": "object",
        "properties": {"own": _PAIR, "shown": {"type": "object", "readOnly": True}},
        "patternProperties": {"^seen": {**_PAIR, "readOnly": True}, "^text": {"type": "string"}},
        "additionalProperties": _PAIR,
    }
)


@given(
    st.dictionaries(
        st.sampled_from(["own", "shown", "seen 1", "text 1", "text 2", "other 1", "other 2"]),
        st.sampled_from([{}, {"a": "x"}, {"a": "x", "b": "y"}, "text", ["item"], None]),
    )
)
def test_the_quick_count_of_leaves_follows_the_patterns_of_names(document: Json) -> None:
    leaves = list(list_leaves(_PATTERNED, document, ("at",)))
    assert _count_leaves(_PATTERNED, document) == len(leaves)


# What signatures and keys consist of, and the spellings of one character.
_PARTS = st.sampled_from(
    [
        *(
            "sig=",
            "SIG=",
            "?",
            "&",
            ";",
            "=",
            "AccountKey=",
            "api key=",
            "SharedAccessKey=",
            "key=",
        ),
        *("aB3/x+9" * 3, "=", "%", "\\", "#", " ", "design", "monkey", "https://h/p", "sv=2024"),
    ]
)
_SPELLINGS = st.sampled_from(
    [
        *(lambda one: one,) * 6,
        lambda one: f"%{ord(one):02x}",
        lambda one: f"%{ord(one):02X}",
        lambda one: f"%u{ord(one):04x}",
        lambda one: f"\\u{ord(one):04X}",
        lambda one: f"\\x{ord(one):02x}",
        lambda one: f"&#{ord(one)};",
        lambda one: f"&#x{ord(one):x};",
        lambda one: "&equals;" if one == "=" else one,
    ]
)


@st.composite
def spelled_texts(draw: st.DrawFn) -> str:
    text = "".join(draw(st.lists(_PARTS, min_size=1, max_size=8)))
    return "".join(draw(_SPELLINGS)(one) for one in text)


@given(spelled_texts())
@examples(500)
def test_the_quick_search_of_signatures_misses_none(text: str) -> None:
    assert strip_signatures(text) == strip_all(text)
    assert normalize(UNKNOWN, {"a": [text]}) == {"a": [strip_all(text)]}


@pytest.mark.parametrize("spell", [quote_all, escape_all, refer_all])
@pytest.mark.parametrize("name", ["sig", "SIG"])
def test_a_signature_is_removed_where_its_name_is_escaped(name: str, spell: Spell) -> None:
    for at in range(len(name)):
        spelled = name[:at] + spell(name[at]) + name[at + 1 :]
        assert strip_signatures(f"https://h/p?sv=1&{spelled}=aB3x9") == "https://h/p?sv=1"


@pytest.mark.parametrize(
    "name", ["sig", "pwd", "Sig ", "\tpwd\n", "\xa0apiKey\u2003", "api_key\x1f"]
)
def test_a_secret_is_not_kept_under_an_odd_name(name: str) -> None:
    document = {"tags": [{name: PLANTED, "y": 1}]}
    assert normalize(UNKNOWN, document) == {"tags": [{"y": 1}]}
    assert PLANTED in json.dumps(document)


@FIELDS
@given(data=st.data())
def test_what_is_settled_at_once_has_no_fault_and_its_form(
    field: Field, data: st.DataObject
) -> None:
    made = data.draw(documents(field))
    for value in (made, recase(field, made), settle(field, made), without_hidden(field, made)):
        if is_settled(field, value):
            assert list(find_faults(field, value)) == []
            assert canonical(settle(field, value)) == canonical(value)


def without_hidden(field: Field, value: Json) -> Json:
    """The value without what no manifest declares, so that it may be settled."""
    if not isinstance(value, dict) or not field.branches:
        return value
    return {
        name: without_hidden(child, below)
        for name, below in value.items()
        if not ((child := field.child(name)).secret or child.read_only or isinstance(below, list))
    }


@pytest.mark.parametrize("uri", ["https://acct.blob.core.windows.net/m/a.ilearner", "aml://m/1"])
def test_a_spec_with_an_ordinary_address_is_settled_at_once(uri: str) -> None:
    field = compile_service("manifest/web-service").child("spec")
    spec = {"trainedModels": {"a": {"uri": uri}}, "definition": {"file": "a.json"}, "wave": 1}
    assert is_settled(field, spec) == uri.startswith("https")
    assert not is_settled(field, spec | {"wave": 1.0})


_ADDRESSES = st.lists(
    st.sampled_from(
        [
            *("https://", "http://", "HTTPS://", "acct", "Acct", ".blob.core", "-", ":443", ":0"),
            *(
                "/",
                "/models",
                "/.",
                "/..",
                "/a.b",
                "/~a",
                "/%41",
                "?x=1",
                "#y",
                "@",
                " ",
                "é",
                "\n",
            ),
        ]
    ),
    max_size=6,
).map("".join)


def read_one_address(text: str) -> str:
    try:
        return read_address(text)
    except ValueError as error:
        return f"refused: {error}"


@given(_ADDRESSES)
@examples(500)
def test_an_address_is_read_alike_with_and_without_the_quick_test(text: str) -> None:
    quick = read_one_address(text)
    with pytest.MonkeyPatch.context() as patch:
        for module in (forms, comparers, signatures):
            patch.setattr(module, "FORMED", re.compile("(?!)"))
        patch.setattr(signatures, "_MARKED", re.compile(""))
        assert read_one_address(text) == quick


@given(_ADDRESSES)
def test_credentials_are_stripped_alike_with_and_without_the_quick_test(text: str) -> None:
    quick = signatures.strip_credentials(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(signatures, "_MARKED", re.compile(""))
        assert signatures.strip_credentials(text) == quick


@given(_ADDRESSES.map(str.encode), st.sampled_from(["sig=", "%3D", "key\\u003d", "&#61;", ""]))
def test_the_quick_search_of_marks_misses_no_sign(text: bytes, sign: str) -> None:
    data = text + sign.encode() + text
    quick = signatures.may_be_signed(data), signatures.may_hold_signed_text(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(signatures, "_MARKS", (b"",) * 4)
        slow = signatures.may_be_signed(data), signatures.may_hold_signed_text(data)
    assert slow == quick


_SCALARS = st.one_of(
    st.sampled_from(
        [
            *(
                "yes",
                "No",
                "TRUE",
                "off",
                "y",
                "~",
                "null",
                "Null",
                "",
                "=",
                "<<",
                "1",
                "-1",
                "+1_0",
            ),
            *(
                "012",
                "0x1f",
                "0b1",
                "12:30:45",
                "1.5",
                "1e3",
                ".5",
                ".inf",
                "-.INF",
                ".nan",
                "-",
                ".",
            ),
            *(
                "2026-11-30",
                "2026-11-30 11:00:00Z",
                "!x",
                "&a b",
                "'1'",
                '"true"',
                "[1, a]",
                "{a: 1}",
            ),
            *("!!str 1", "!!int '1'", "? a", "a: b", "é", "\u0661"),
        ]
    ),
    st.text(st.sampled_from("0123456789-+.:_eExXobTZ yYnN~="), max_size=8),
)


def read_tags(loader: Any) -> list[str]:
    """The tags of all nodes of a text; what is wrong with it if it is not YAML."""
    try:
        nodes, tags = [loader.get_single_node()], []
    except yaml.YAMLError as error:
        return [type(error).__name__]
    while nodes:
        node = nodes.pop()
        if isinstance(node, tuple):
            nodes += node
        elif node is not None:
            tags.append(node.tag)
            nodes += node.value if isinstance(node.value, list) else ()
    return tags


@given(_SCALARS, _SCALARS)
def test_the_tags_of_values_are_those_of_pyyaml(key: str, value: str) -> None:
    text = f"a:\n  {key}: {value}\n  b:\n  - {value}\n"
    assert read_tags(_Loader(text)) == read_tags(yaml.CSafeLoader(text))


_LENGTH = "Content-Length: 2"
_LINES = [
    *("content-length:2", "Content-Length: 2, 2", "Content-Length: x", "Content-Length: -1"),
    *("Content-Length: 3", "Content-Length: 2 ", "Content-Length:", "Content-Length: +2"),
    *("Transfer-Encoding: chunked", "Connection: close", "Connection: keep-alive"),
    *("Keep-Alive: 5", "Proxy-Connection: keep-alive", "Content-Encoding: gzip"),
    *("X-One: a", "x-one:  b ", "X-One:\tc", "X-One:", " folded", "\tfolded", "no colon"),
    *(": no name", "From me: x", "X One: d", "X\rTwo: e", "X-Two: f\rX-Three: g"),
    *("X-Two: f\nX-Four: h", "X-Two: \xe9", "X-\xe9: a", "X-Two: \x00", "X-Two: \x0b"),
    *("X-Two: \x1c", "X-Two: \x85", "X-Two: =?utf-8?q?=41?=", "X-Two: a: b", ""),
    *("X-Long: " + "a" * 70_000, "X-Long: " + "a" * 65_000),
    *("\r\n".join(["A: b"] * many) for many in (80, 97, 98, 99, 100)),
]
_STATUSES = [
    *("HTTP/1.1 200 OK", "HTTP/1.1 404 Not  Found", "HTTP/1.1 200", "HTTP/1.1 200 ", "HTTP/1.1"),
    *("HTTP/1.0 200 OK", "HTTP/1.1 204 No", "HTTP/1.1 304 Not", "HTTP/1.1 100 Continue"),
    *("HTTP/2 200 OK", "HTTP/1.1 099 A", "HTTP/1.1 700 B", "HTTP/1.1 2000 C", "ICY 200 OK", ""),
    *(
        "HTTP/1.1  200 OK",
        "HTTP/1.1\t200\tOK",
        "HTTP/1.1 200 \xe9",
        "HTTP/1.1 199 D",
        "http/1.1 200",
    ),
]
_PLAIN = ("GET", "HTTP/1.1 200 OK", [_LENGTH, "X-One: a", "x-one: b"], "\r\n", 0)
_HEADS = [
    _PLAIN,
    ("HEAD", *_PLAIN[1:]),
    *(("PATCH", one, *_PLAIN[2:]) for one in _STATUSES),
    *(("GET", _PLAIN[1], [one, _LENGTH], "\r\n", 0) for one in _LINES),
    *(("GET", _PLAIN[1], [_LENGTH, one], "\r\n", 0) for one in _LINES),
    *(("GET", "HTTP/1.0 200 OK", [_LENGTH, one], "\r\n", 0) for one in _LINES),
    *(("GET", _PLAIN[1], [one], "\r\n", 0) for one in _LINES),
    *((*_PLAIN[:4], cut) for cut in (1, 9, 18, 40, 56, 60)),
    (*_PLAIN[:3], "\n", 0),
]


class PiecesOfAnswer(io.RawIOBase):
    """A socket that hands out an answer in pieces."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._left = list(pieces)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._left:
            return 0
        taken, self._left[0] = self._left[0][: len(buffer)], self._left[0][len(buffer) :]
        buffer[: len(taken)] = taken
        self._left = [one for one in self._left if one]
        return len(taken)

    def makefile(self, *_: object, **__: object) -> "PiecesOfAnswer":
        return self

    def gettimeout(self) -> float:
        return 60.0


def read_head(made: type[TimedResponse], method: str, pieces: Sequence[bytes]) -> object:
    """What a class of answers finds in the head, and how it reads the body."""
    sock: Any = PiecesOfAnswer(pieces)
    answer = made(sock, method=method)
    try:
        answer.begin()
        headers: Any = answer.headers
        head = (answer.status, answer.reason, answer.version, answer.will_close, answer.length)
        return head, dict(Headers(headers.items())), answer.read(1 << 20)
    except (HTTPException, ValueError) as error:
        return type(error), str(error)


def check_head(method: str, status: str, lines: Sequence[str], end: str, cut: int) -> None:
    text = end.join([status, *lines, "", "{}HTTP/1.1 200 OK\r\n"]).encode("latin-1")
    pieces = [one for one in (text[:cut], text[cut:]) if one]
    assert read_head(_Response, method, pieces) == read_head(TimedResponse, method, pieces), text


def test_a_head_is_read_as_http_client_reads_it() -> None:
    for head in _HEADS:
        check_head(*head)


@given(st.text(st.characters(max_codepoint=255), max_size=12), st.sampled_from(_LINES))
def test_any_line_of_a_head_is_read_as_http_client_reads_it(text: str, line: str) -> None:
    check_head("GET", "HTTP/1.1 200 OK", [_LENGTH, text, f"X-One: {text}", line], "\r\n", 0)


def test_a_plain_head_needs_no_parser_of_mail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TimedResponse, "begin", lambda _: pytest.fail("it was read slowly"))
    text = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-One: a\r\n\r\n{}"
    head = (200, "OK", 11, False, 2)
    assert read_head(_Response, "GET", [text]) == (
        head,
        {"Content-Length": "2", "X-One": "a"},
        b"{}",
    )


def test_each_escape_that_is_read_has_a_mark_that_is_searched() -> None:
    """What has no mark is not searched for signatures before it is sent."""
    assert {b"=", *spellings._BY_MARK} <= set(signatures._MARKS)

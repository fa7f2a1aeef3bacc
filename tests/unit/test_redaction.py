"""Secrets found in what a service says, however it spells them, and nothing else taken for one."""

import base64
import html
import json
from unittest import mock
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st
from urllib3 import HTTPHeaderDict

from reconciler.document.normalize import find_secrets
from reconciler.errors import Unavailable
from reconciler.kinds.web_service import KIND
from reconciler.model import Json
from reconciler.secrets.redaction import HIDDEN, Redaction, mask
from reconciler.transport.replies import parse_reply
from tests.wire.test_web_service import live

KEY = 'a Key/with+what ="must" be é&<escaped>'
SPELLED = [
    KEY,
    KEY.upper(),
    quote(KEY, safe=""),
    quote_plus(KEY),
    quote(KEY, safe="").lower(),
    json.dumps(KEY)[1:-1],
    json.dumps(KEY, ensure_ascii=False)[1:-1],
]


def _coded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def knowing(*secrets: str) -> Redaction:
    redaction = Redaction()
    redaction.know(*secrets)
    return redaction


@pytest.mark.parametrize("spelled", SPELLED)
def test_a_secret_goes_however_it_is_spelled(spelled: str) -> None:
    redaction = knowing("another secret", KEY, "and a third one")
    assert redaction.redact(f"say '{spelled}', twice: {spelled}.") == (
        f"say '{HIDDEN}', twice: {HIDDEN}."
    )
    assert redaction.redact(spelled) == HIDDEN


@pytest.mark.parametrize("around", [0, 20_000], ids=["short", "long"])
@pytest.mark.parametrize("spelled", [*SPELLED, "8 signs!", _coded(KEY), KEY.encode().hex()])
def test_a_secret_is_found_in_a_short_text_and_in_a_long_one(spelled: str, around: int) -> None:
    """Each has a search of its own."""
    redaction = knowing(KEY, "8 signs!")
    assert (around > len(redaction._whole)) == bool(around)
    before, after = "~" * around, "_" * around
    assert redaction.redact(before + spelled + after) == before + HIDDEN + after


def test_a_secret_may_be_learnt_during_a_search() -> None:
    redaction = knowing("another secret", KEY, "and a third one")
    learnt = iter(range(1_000))

    def learn_and_find(part: bytes, data: bytes) -> list[int]:
        redaction.know(f"secret number {next(learnt)} of another thread")
        at = data.find(part)
        return [at] if at >= 0 else []

    with mock.patch("reconciler.secrets.redaction._find_all", learn_and_find):
        assert redaction.redact(f"say '{KEY}'.") == f"say '{HIDDEN}'."
    assert next(learnt), "nothing was learnt meanwhile"


@pytest.mark.parametrize("before", ["", "x", "xy", "xyz"])
@pytest.mark.parametrize("after", ["", "x", "xy"])
def test_a_secret_goes_wherever_it_stands_in_base64(before: str, after: str) -> None:
    coded = base64.b64encode(f"{before}{KEY}{after}".encode()).decode()
    left = knowing(KEY).redact(f"Basic {coded}")
    assert left.startswith("Basic ")
    assert HIDDEN in left
    assert len(left) < len(f"Basic {HIDDEN}") + 16
    safe = base64.urlsafe_b64encode(f"{before}{KEY}{after}".encode()).decode()
    assert HIDDEN in knowing(KEY).redact(safe)


@pytest.mark.property
@given(
    st.text(min_size=8, max_size=60),
    st.text(max_size=40),
    st.text(max_size=40),
    st.sampled_from(["text", "json", "quoted"]),
)
def test_no_secret_of_eight_characters_is_left(
    secret: str, before: str, after: str, how: str
) -> None:
    redaction = knowing(secret)
    forms = {"text": secret, "json": json.dumps(secret)[1:-1], "quoted": _quote(secret)}
    text = f"{before}{forms[how]}{after}"
    assert forms[how] not in redaction.redact(text).replace(HIDDEN, "")
    document = {"a": [text]}
    assert redaction.redact_document(document) != document


def _quote(text: str) -> str:
    return quote(text.encode("utf-8", "surrogatepass"), safe="")


def test_what_is_no_secret_stays_the_very_same() -> None:
    redaction = knowing("short", KEY)
    for text in ("", "short", "the short of it", KEY[:15], f"b{KEY[1:16]}", f"b{KEY[-15:]}"):
        assert redaction.redact(text) is text
    document = {"a": "nothing of it, and a key", "b": [KEY[:7], 1.5, None, True]}
    assert redaction.redact_document(document) is document
    assert Redaction().redact(KEY) is KEY
    assert Redaction().redact_document(document) is document


def test_the_longer_of_two_secrets_goes_whole() -> None:
    redaction = knowing("a secret", "a secret and more")
    assert redaction.redact("a secret and more, a secret") == f"{HIDDEN}, {HIDDEN}"


def test_what_is_secret_of_a_secret_with_parts_is_one_too() -> None:
    sas = "sv=2024-01-01&se=2030-01-01&sp=r&sig=0123456789%2Babcdef%3D"
    connection = "AccountName=account;AccountKey=abcdefghijklmnop==;EndpointSuffix=x"
    redaction = knowing(sas, connection)
    for part in ("0123456789%2Babcdef%3D", "0123456789+abcdef=", "abcdefghijklmnop=="):
        assert redaction.redact(f"see {part}") == f"see {HIDDEN}"
    assert redaction.redact("account 2030-01-01") == "account 2030-01-01"


def test_the_environment_s_secrets_are_known() -> None:
    redaction = Redaction(
        {
            "AZURE_CLIENT_SECRET": "the client's secret",
            "AZURE_STORAGE_CONNECTION_STRING": "AccountName=a;AccountKey=the+account+key==",
            "HTTPS_PROXY": "http://user:the%20password@proxy:3128",
            "all_proxy": "http://[broken",
            "PATH": "/usr/local/bin",
        }
    )
    for secret in ("the client's secret", "the+account+key==", "the password", "the%20password"):
        assert redaction.redact(secret) == HIDDEN
    assert redaction.redact("/usr/local/bin") == "/usr/local/bin"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("see https://a/b?sv=1&sig=x%2B&sp=r now", "see https://a/b?sv=…&sig=…&sp=… now"),
        ("go?to=https%3A%2F%2Fa%3Fsig%3Dabc", "go?to=https%3A%2F%2Fa%3Fsig%3D…"),
        ("?sv=1\\u0026sig=abc\\u0026sp=r", "?sv=…\\u0026sig=…\\u0026sp=…"),
        (
            "account_key=abc; Account Key=abc; account-key=a",
            "account_key=…; Account Key=…; account-key=…",
        ),
        ("SharedAccessSignature=sr=b, api.key=k", "SharedAccessSignature=… api.key=…"),
        ('{"storageAccountKey": "0123456789abcdef"}', '{"storageAccountKey": "…"}'),
        (
            json.dumps('"client_secret":"0123456789abcdef"'),
            json.dumps('"client_secret":"…"', ensure_ascii=False),
        ),
        (f"in {_coded('AccountKey=abcdefghij;')} there", "in QWNjb3VudEtleT…Ow== there"),
        (
            "the password: it is wrong, the secret: unknown",
            "the password: it is wrong, the secret: unknown",
        ),
        ("AccountName=a;AccountKey=abc==;x=1", "AccountName=a;AccountKey=…;x=1"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer …"),
        ("http://user:word@host/x and ftp://a@b", "http://…@host/x and ftp://…@b"),
        ("token eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc_-.", "token …."),
        (f"key {'a' * 86}== is wrong", "key … is wrong"),
        ('{"sig": "0123456789abcdef"}, sig = 0123456789abcdef', '{"sig": "…"}, sig = …'),
        ("primaryKey=abc&subscription-key: 0123456789", "primaryKey=…&subscription-key: …"),
        ("Basic dXNlcjp3b3Jk or SharedKey account:abcd", "Basic … or SharedKey …"),
        ("-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBg\n-", "-----BEGIN PRIVATE KEY-----\n…-"),
        ("significant: 0123456789abcdefgh", "significant: 0123456789abcdefgh"),
        ("(A=1, TOKEN=(sensitive value), B=2)", "(A=1, TOKEN=…, B=2)"),
        ("response=5, house=2", "response=5, house=2"),
        ("nothing of it", "nothing of it"),
    ],
)
def test_what_looks_like_a_credential_is_masked(text: str, left: str) -> None:
    assert mask(text) == left


# Where replies come in.


def reply(document: Json, *secrets: str, status: int = 200) -> Json:
    return parse_reply(status, {}, json.dumps(document).encode(), knowing(*secrets)).document


def test_a_reply_is_taken_in_without_secrets_and_kept_as_it_came() -> None:
    body = {"a": [1, None, True, {"b": f"x {KEY} y"}], "c": "d"}
    redaction = knowing(KEY)
    headers = {"x-ms-request-id": KEY, "Location": KEY, "ETag": "x"}
    came = parse_reply(200, headers, _dump(body), redaction)
    assert came.document == {"a": [1, None, True, {"b": f"x {HIDDEN} y"}], "c": "d"}
    assert came.raw == body
    assert came.headers["x-ms-request-id"] == HIDDEN
    assert (came.headers["location"], came.headers["etag"]) == (KEY, "x")
    assert KEY not in repr(came).replace(repr(came.headers), "")
    plain = parse_reply(200, {}, _dump({"c": "d"}), redaction)
    assert plain.document is plain.raw


def test_a_header_that_stands_there_twice_is_taken_in_without_secrets() -> None:
    headers = HTTPHeaderDict([("Warning", KEY), ("ETag", "x"), ("warning", "b")])
    came = parse_reply(200, headers, b"", knowing(KEY)).headers
    assert (came["warning"], came["etag"]) == (f"{HIDDEN}, b", "x")


def _dump(document: Json) -> bytes:
    return json.dumps(document).encode()


@pytest.mark.parametrize("coding", ["utf-8", "utf-16", "utf-32"])
@pytest.mark.parametrize("ascii_only", [False, True])
def test_a_reply_s_coding_hides_nothing(coding: str, ascii_only: bool) -> None:
    body = json.dumps({"a": KEY}, ensure_ascii=ascii_only).encode(coding)
    assert parse_reply(200, {}, body, knowing(KEY)).document == {"a": HIDDEN}
    escaped = "".join(f"\\u{ord(letter):04x}" for letter in KEY)
    body = f'{{"a": "{escaped}"}}'.encode(coding)
    assert parse_reply(200, {}, body, knowing(KEY)).document == {"a": HIDDEN}


def test_a_secret_as_the_name_of_something_is_refused() -> None:
    with pytest.raises(Unavailable, match="as the name of a property") as caught:
        reply({"a": {KEY: 1}}, KEY)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    assert reply({"a": {KEY: 1}}, KEY, status=400) is None


# What is sent is as it came, whatever was taken out of it.


def test_the_secrets_of_a_document_are_found_wherever_they_may_stand() -> None:
    document = live(
        keys={"primary": "one"}, payloadsLocation={"uri": "two"}, description="https://a?sig=three"
    )
    document["properties"]["assets"]["asset1"]["locationInfo"]["credentials"] = "four"
    document["tags"] = {"a": html.escape("https://a?x=1&sig=five")}
    found = {one for one in find_secrets(KIND.field, document) if one}
    assert found == {"one", "two", "three", "four", "five"}

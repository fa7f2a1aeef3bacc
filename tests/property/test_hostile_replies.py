"""A service that answers anything: it is told of, and nothing else happens."""

import gzip
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.hostile import ELSEWHERE, VALUES, answer, bent, encode, examples, torn
from tests.hostile_project import OPERATION, SERVICE, USUAL, World

pytestmark = pytest.mark.property
Json = Any
REFUSED = {
    "error": {
        "code": "BadRequest",
        "message": "The request is invalid.",
        "details": [{"code": "X", "message": "y"}],
    }
}
BOMB = answer(200, gzip.compress(b" " * 70_000_000, 9), {"Content-Encoding": "gzip"})
LINKS = st.sampled_from(
    [
        f"{ELSEWHERE}{OPERATION}",
        "file:///etc/passwd",
        "//{elsewhere}/x",
        "http://user:secret@{elsewhere}" + OPERATION,
        "http://{elsewhere}\\@{own}/x",
        "ftp://127.0.0.2/x",
        "javascript:alert(1)",
        "/../../..",
        "http://[::1",
        "http://[fe80::1%25eth0]/",
        "http://{own}@{elsewhere}/",
        "http://{own}:0/",
        "http://{own}#@{elsewhere}/",
        "http://{own}/" + "x" * 70_000,
        "http://{own}" + OPERATION,
        "http://{own}" + SERVICE,
        "",
        "\x1b[2J",
        "\u202e",
        "x",
    ]
)
ASKED = st.sampled_from(
    ["0", "1e999", "-1", "nan", "9" * 400, "Fri, 31 Dec 9999 23:59:59 GMT", "\x1b", "soon", ""]
)


@st.composite
def headers(draw: st.DrawFn) -> dict[str, str]:
    found = {}
    for name, values in {
        "Location": LINKS,
        "Azure-AsyncOperation": LINKS,
        "Retry-After": ASKED,
        "Content-Type": st.sampled_from(["text/html", "", "application/json; charset=utf-16"]),
        "x-ms-request-id": st.sampled_from(["\x1b[31m", "\u202e", "r" * 5000]),
        "x-ms-ratelimit-remaining-subscription-reads": st.sampled_from(["0", "-1", "9" * 300]),
        "x-ms-ratelimit-remaining-subscription-writes": st.sampled_from(["1", "x", "²"]),
        "Content-Encoding": st.sampled_from(["gzip", "deflate", "gzip, gzip", "br", "\x00"]),
        "Transfer-Encoding": st.sampled_from(["chunked", "gzip", "identity"]),
        "Content-Length": st.sampled_from(["0", "-1", "9" * 30, "1, 2", "x"]),
        "Set-Cookie": st.just("a=b"),
    }.items():
        if draw(st.integers(0, 5)) == 0:
            found[name] = draw(values)
    return found


@st.composite
def replies(draw: st.DrawFn, usual: Json) -> bytes:
    """What may come in the place of a usual reply."""
    form = draw(st.sampled_from(["bent", "bent", "bent", "any", "torn", "error", "bomb", "bytes"]))
    if form == "bytes":
        return draw(torn(answer(200, encode(usual))))
    if form == "bomb":
        return BOMB
    status = draw(st.sampled_from([200, 200, 200, 201, 202, 204, 205]))
    if form == "error":
        status = draw(st.sampled_from([301, 302, 307, 400, 401, 404, 409, 412, 418, 500, 600, 999]))
        usual = REFUSED
    body = encode(draw(VALUES)) if form == "any" else encode(draw(bent(usual)))
    body = draw(torn(body)) if form == "torn" else body
    return answer(status, body, draw(headers()))


@st.composite
def scripts(draw: st.DrawFn) -> dict[str, bytes]:
    """By what is asked: the reply that comes instead of the usual one."""
    names = draw(st.sets(st.sampled_from(sorted(USUAL)), min_size=1))
    return {name: draw(replies(USUAL[name])) for name in sorted(names)}


@pytest.mark.parametrize("form", ["text", "json", "markdown", "html"])
@given(script=scripts())
@examples(100)
def test_plan(world: World, form: str, script: dict[str, bytes]) -> None:
    world.play(script)
    ran = world.run("plan", "--format", form, "--refresh", "full", "--out", "saved.plan")
    world.judge(ran)
    if form == "json" and ran.out:
        json.loads(ran.out, parse_constant=pytest.fail)

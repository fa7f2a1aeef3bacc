"""A service that answers anything: it is told of, and nothing else happens."""

import functools
import gzip
import json
import re
import shutil
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.hostile import (
    ELSEWHERE,
    VALUES,
    Asked,
    answer,
    bent,
    encode,
    pick,
    spoiled,
    torn,
)
from tests.hostile_project import LIVE, OPERATION, SERVICE, USUAL, World
from tests.laws import examples

pytestmark = pytest.mark.property
Json = Any
REFUSED = {
    "error": {
        "code": "BadRequest",
        "message": "The request is invalid.",
        "details": [{"code": "X", "message": "y"}],
    }
}
FOREIGN = [
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
    "\x1b[2J",
    "\u202e",
    "x",
]
LINKS = pick([*FOREIGN, "", "http://{own}" + OPERATION, "http://{own}" + SERVICE])
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
    form = draw(pick(["spoiled"] * 4 + ["bent"] * 3 + ["any", "torn", "error", "bomb", "bytes"]))
    if form == "bytes":
        return draw(torn(answer(200, encode(usual))))
    if form == "bomb":
        return make_bomb()
    status = 200 if form == "spoiled" else draw(pick([200, 200, 200, 201, 202, 204, 205]))
    if form == "error":
        status = draw(pick([301, 302, 307, 400, 401, 404, 409, 412, 418, 500, 600, 999]))
        usual = REFUSED
    if form == "spoiled":
        return answer(status, encode(draw(spoiled(usual))))
    body = encode(draw(VALUES)) if form == "any" else encode(draw(bent(usual)))
    body = draw(torn(body)) if form == "torn" else body
    return answer(status, body, draw(headers()))


@functools.cache
def make_bomb() -> bytes:
    """Make it once, and only where it is sent: to pack it takes a quarter of a second."""
    return answer(200, gzip.compress(b" " * 70_000_000, 9), {"Content-Encoding": "gzip"})


@st.composite
def scripts(draw: st.DrawFn) -> dict[str, bytes]:
    """By what is asked: the reply that comes instead of the usual one."""
    names = draw(st.sets(pick(sorted(USUAL)), min_size=1))
    return {name: draw(replies(USUAL[name])) for name in sorted(names)}


USES = [
    ["plan", "--refresh", "full", "--out", "saved.plan"],
    ["plan", "--refresh", "auto", "--format", "json"],
    ["plan", "--refresh", "full", "--format", "markdown"],
    ["plan", "--refresh", "full", "--format", "html"],
    ["drift", "--unmanaged"],
    ["drift", "--unmanaged", "--format", "json"],
    ["export", "--all", "--folder", "out"],
    ["export", "--all", "--full", "--folder", "out"],
    ["import", "WebService/mine", "census", "--folder", "out"],
    ["ledger", "rebuild", "--auto-approve"],
]


@given(use=pick(USES), script=scripts())
@examples(120)
def test_a_service_that_says_anything_is_told_of(
    world: World, use: list[str], script: dict[str, bytes]
) -> None:
    clear(world)
    world.play(script)
    ran = world.run(*use)
    world.check_run(ran)
    if "json" in use and ran.out:
        json.loads(ran.out, parse_constant=pytest.fail)
    assert {asked.method for asked in world.wild.asked} <= {"GET"}


@given(script=scripts(), flags=pick([[], ["--json"]]))
@examples(50)
def test_an_apply_ends_whatever_the_service_says(
    world: World, script: dict[str, bytes], flags: list[str]
) -> None:
    clear(world)
    world.play(script)
    world.check_run(
        world.run("apply", "--auto-approve", "--patience=0s", "--step-timeout=0.1s", *flags)
    )
    assert {asked.target.partition("?")[0] for asked in world.wild.asked if asked.body} <= {SERVICE}
    world.play({})
    world.check_run(world.run("ledger", "verify"))
    world.check_run(world.run("history"))


def clear(world: World) -> None:
    for name in (".reconciler", "out"):
        shutil.rmtree(world.folder / name, ignore_errors=True)


# Names are data, wherever a service puts them.

NAMES = [
    "..",
    ".",
    "../../outside",
    "a/b",
    "\u202egnp",
    "\x1b[2J",
    "a\nb",
    "x" * 250,
    "-rf",
    "~",
    "%2e",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_from_a_list_is_the_name_of_a_file_or_refused(world: World, name: str) -> None:
    clear(world)
    listed = {**LIVE, "id": SERVICE.replace("webServices/census", f"webServices/{name}")}
    world.play({"list": answer(200, encode({"value": [listed]}))})
    ran = world.run("export", "--all", "--folder", "out")
    world.check_run(ran)
    written = list((world.folder / "out").iterdir()) if (world.folder / "out").exists() else []
    assert len(written) == (ran.code == 0)
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", one.name) for one in written)


@pytest.mark.parametrize("link", [link for link in FOREIGN if link])
def test_the_next_page_is_never_elsewhere(world: World, link: str) -> None:
    clear(world)
    page = {"value": [LIVE], "nextLink": link}
    world.play({"list": answer(200, encode(page))})
    ran = world.run("export", "--all", "--folder", "out")
    world.check_run(ran)
    assert ran.code == 1
    assert not (world.folder / "out").exists()


@pytest.mark.parametrize("header", ["Location", "Azure-AsyncOperation"])
@pytest.mark.parametrize("link", [link for link in FOREIGN if link])
def test_an_operation_is_never_elsewhere(world: World, link: str, header: str) -> None:
    clear(world)
    world.play({"write": answer(202, b"", {header: link})})
    world.check_run(world.run("apply", "--auto-approve", "--patience=0s", "--step-timeout=0.1s"))


def test_a_list_without_an_end_ends(world: World) -> None:
    clear(world)
    world.play({})

    def reply(asked: Asked, number: int) -> bytes:
        return answer(200, encode({"value": [], "nextLink": f"{world.wild.url}/next/{number}"}))

    world.wild.script = reply
    ran = world.run("export", "--all", "--folder", "out")
    world.check_run(ran)
    assert ran.code == 1

"""A service that answers anything: it is told of, and nothing else happens."""

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.e2e.world import MODEL, SUBSCRIPTION, definition
from tests.hostile import (
    ELSEWHERE,
    TEXTS,
    VALUES,
    Asked,
    Ran,
    Wild,
    answer,
    bent,
    encode,
    examples,
    judge,
    run,
    run_wild,
    torn,
)

pytestmark = pytest.mark.property
Json = Any
SCOPE = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/census/providers/Microsoft.MachineLearning"
SERVICE = f"{SCOPE}/webServices/census"
OPERATION = f"{SCOPE}/locations/southcentralus/operationsStatus/1"
OLD, NEW = (f"https://acct.blob.core.windows.net/m/{day}.ilearner" for day in ("old", "new"))


def make_live() -> Json:
    body = definition(OLD)
    body["properties"]["storageAccount"].pop("key")
    body["properties"].pop("commitmentPlan")
    body["properties"] |= {
        "provisioningState": "Succeeded",
        "modifiedOn": "2026-10-02T10:00:00Z",
        "readOnly": False,
    }
    return {
        "id": SERVICE,
        "name": "census",
        "type": "Microsoft.MachineLearning/webServices",
        **body,
    }


LIVE = make_live()
LIST = {"value": [LIVE, {**LIVE, "id": f"{SCOPE}/webServices/other", "name": "other"}]}
ENDED = {"id": OPERATION, "status": "Succeeded", "percentComplete": 1.0}
REFUSED = {
    "error": {
        "code": "BadRequest",
        "message": "The request is invalid.",
        "details": [{"code": "X", "message": "y"}],
    }
}
USUAL = {"service": LIVE, "list": LIST, "operation": ENDED, "write": LIVE}
BOMB = answer(200, gzip.compress(b" " * 70_000_000, 9), {"Content-Encoding": "gzip"})
LINKS = st.sampled_from(
    [
        f"{ELSEWHERE}{OPERATION}",
        "file:///etc/passwd",
        "//127.0.0.2:9/x",
        f"http://user:secret@127.0.0.2:9{OPERATION}",
        "http://127.0.0.2:9\\@{own}/x",
        "ftp://127.0.0.2/x",
        "javascript:alert(1)",
        "/../../..",
        "http://[::1",
        "http://[fe80::1%25eth0]/",
        "http://{own}@127.0.0.2:9/",
        "http://{own}:0/",
        "http://{own}#@127.0.0.2:9/",
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


@dataclass
class World:
    """A project in front of a wild service."""

    outer: Path
    folder: Path
    wild: Wild

    def play(self, script: dict[str, bytes]) -> None:
        def reply(asked: Asked, _: int) -> bytes:
            name = _name(asked)
            if name in script:
                return script[name].replace(b"{own}", self.wild.address.encode())
            if name == "write":
                link = {"Azure-AsyncOperation": self.wild.url + OPERATION}
                return answer(200, encode(USUAL[name]), link)
            return answer(200, encode(USUAL[name]))

        self.wild.asked.clear()
        self.wild.script = reply

    def run(self, *arguments: str) -> Ran:
        return run(self.folder, *arguments)

    def judge(self, ran: Ran) -> None:
        judge(ran, self.folder, called=[self.wild.address])
        assert sorted(one.name for one in self.outer.iterdir()) == [self.folder.name]


def _name(asked: Asked) -> str:
    if asked.method != "GET":
        return "write"
    path = asked.target.partition("?")[0]
    if "/operations" in path:
        return "operation"
    return "list" if path.rpartition("/")[2].lower() == "webservices" else "service"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    outer = tmp_path_factory.mktemp("outer")
    folder = outer / "project"
    (folder / "manifests").mkdir(parents=True)
    with run_wild() as wild:
        (folder / "reconciler.yaml").write_text(
            "apiVersion: reconciler/v1\nkind: Project\nmetadata: {name: p}\nspec:\n"
            f"  cloud: {{resourceManager: '{wild.url}', blob: '{wild.url}'}}\n"
            f"  defaults: {{subscription: {SUBSCRIPTION}, resourceGroup: census}}\n"
            "  guards: {blobs: skip}\n"
        )
        (folder / "manifests" / "census.yaml").write_text(
            "apiVersion: reconciler/v1\nkind: WebService\nmetadata: {name: census}\nspec:\n"
            f"  trainedModels: {{'{MODEL}': {{uri: '{NEW}'}}}}\n"
            "  definition: {properties: {realtimeConfiguration: {maxConcurrentCalls: 20}}}\n"
        )
        yield World(outer, folder, wild)


@pytest.mark.parametrize("form", ["text", "json", "markdown", "html"])
@given(script=scripts())
@examples(100)
def test_plan(world: World, form: str, script: dict[str, bytes]) -> None:
    world.play(script)
    ran = world.run("plan", "--format", form, "--refresh", "full", "--out", "saved.plan")
    world.judge(ran)
    import os

    if os.environ.get("SEE"):
        with open(os.environ["SEE"], "a") as f:
            f.write(
                repr((ran.code, [l for l in ran.err.splitlines() if l.startswith("Error")][:1]))
                + "\n"
            )
    if form == "json" and ran.out:
        json.loads(ran.out, parse_constant=pytest.fail)

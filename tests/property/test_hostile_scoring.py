"""Scoring calls and registrations that nobody would send: the emulator answers, and goes on."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.e2e.world import SUBSCRIPTION
from tests.hostile import TEXTS, VALUES, bent, encode, pick, torn
from tests.laws import examples
from tests.property.test_hostile_emulator import (
    ML,
    ONLINE_DEPLOYMENT,
    OTHERWISE,
    USUAL,
    Emulated,
    Request,
    run_strict,
)

pytestmark = pytest.mark.property
Json = Any
KEY = "k" * 40
RESOURCES = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg/{ML}"
ENDPOINT = f"{RESOURCES}/workspaces/ws/onlineEndpoints/census"
VERSION: Json = {
    "properties": {
        "modelUri": "azureml://datastores/workspaceblobstore/paths/a/b",
        "modelType": "mlflow_model",
        "description": "x",
        "tags": {"a": "b"},
        "properties": {"a": "b"},
        "flavors": {"sklearn": {"data": {}}},
        "isArchived": False,
        "stage": "Production",
        "image": "i",
        "codeUri": "https://acct.blob.core.windows.net/c/d",
    }
}
ASKED: dict[str, Json] = {
    "listKeys": {},
    "token": {},
    "regenerateKeys": {"keyType": "Primary", "keyValue": KEY},
    "deployments/blue/getLogs": {"containerType": "InferenceServer", "tail": 5},
}
RECORDS: list[Json] = [
    {"data": [[1, "a", None, True], [2.5, "b", None, False]]},
    {"input_data": {"columns": ["a", "b"], "index": [0], "data": [[1, 2]]}},
    [{"a": 1, "b": [2]}],
]
NAMES = st.one_of(
    st.sampled_from(["census", "1", "2"]),
    TEXTS.map(lambda text: quote(text.encode("utf-8", "surrogatepass"), safe="")[:900]),
)


@dataclass(frozen=True)
class Scored:
    """An emulator with an endpoint, and the path at which it is scored."""

    emulated: Emulated
    path: str


# What the switches change of these calls is held by the tests of each switch.
READINGS = [
    pytest.param(USUAL, id="usual"),
    pytest.param((*USUAL, *OTHERWISE), id="otherwise", marks=pytest.mark.slow),
]


@pytest.fixture(scope="module", params=READINGS)
def scored(request: pytest.FixtureRequest) -> Iterator[Scored]:
    with run_strict(*request.param) as emulated:
        properties = {"authMode": "Key", "traffic": {}, "keys": {"primaryKey": KEY}}
        put(emulated, ENDPOINT, {"location": "eastus", "properties": properties})
        for kind in ("models", "environments"):
            put(emulated, f"{RESOURCES}/registries/r/{kind}/m/versions/1", VERSION)
        put(emulated, f"{ENDPOINT}/deployments/blue", ONLINE_DEPLOYMENT)
        properties["traffic"] = {"blue": 100}
        shown = put(emulated, ENDPOINT, {"location": "eastus", "properties": properties})
        yield Scored(emulated, urlsplit(shown["properties"]["scoringUri"]).path)


def put(emulated: Emulated, path: str, body: Json) -> Json:
    """Write a resource, and return what GET shows then."""
    status, answer = emulated.send(manage("PUT", path, encode(body)))
    assert status == 201, answer
    return json.loads(emulated.send(manage("GET", path))[1])


def manage(method: str, path: str, body: bytes = b"", query: str = "") -> Request:
    headers = {"Authorization": "Bearer emulator"}
    return Request(method, f"{path}?api-version=2024-04-01{query}"[:6000], body, headers)


@st.composite
def bodies(draw: st.DrawFn, usual: Json) -> bytes:
    form = draw(pick(["bent"] * 4 + ["whole", "any", "torn"]))
    if form == "torn":
        return draw(torn(encode(usual)))
    if form == "whole":
        return encode(usual)
    return encode(draw(VALUES) if form == "any" else draw(bent(usual)))


@given(data=st.data())
@examples(150)
def test_any_record_is_answered(scored: Scored, data: st.DataObject) -> None:
    headers = {"Authorization": f"Bearer {KEY}"}
    named = data.draw(st.sampled_from(["", "", "blue", "red", "b" * 4000, "\u00fc", " blue "]))
    if named:
        headers["azureml-model-deployment"] = named
    body = data.draw(bodies(data.draw(st.sampled_from(RECORDS))))
    status, answer = scored.emulated.send(Request("POST", scored.path, body, headers))
    assert status in {200, 400, 404, 424}, (status, answer)
    if status == 200:
        found = json.loads(answer)
        listed = json.loads(found) if isinstance(found, str) else found
        assert all(isinstance(one, float) for one in listed)
    assert scored.emulated.errors.read_text() == ""


@given(data=st.data())
@examples(150)
def test_any_registration_and_any_question_is_answered(scored: Scored, data: st.DataObject) -> None:
    if data.draw(pick([True, False, False])):
        word = data.draw(st.sampled_from(sorted(ASKED)))
        body = data.draw(bodies(ASKED[word]))
        asked = manage("POST", f"{ENDPOINT}/{word}", body)
    else:
        asked = data.draw(registrations())
    status, answer = scored.emulated.send(asked)
    assert status < 500, (status, answer)
    if answer:
        json.loads(answer.decode(), parse_constant=pytest.fail)
    # The key may be another one now; nothing else is open.
    put_back = {"keyType": "Primary", "keyValue": KEY}
    scored.emulated.send(manage("POST", f"{ENDPOINT}/regenerateKeys", encode(put_back)))
    assert scored.emulated.errors.read_text() == ""


@st.composite
def registrations(draw: st.DrawFn) -> Request:
    scope = draw(st.sampled_from(["workspaces/ws", "registries/shared"]))
    kind = draw(
        st.sampled_from(["models", "models", "environments", "codes", "datastores", "jobs"])
    )
    tail = draw(st.sampled_from(["", "/{}", "/{}/versions", "/{}/versions/{}", "/{}/versions/{}"]))
    path = f"{RESOURCES}/{scope}/{kind}{tail}"
    path = path.format(*(draw(NAMES) for _ in range(path.count("{}"))))
    method = draw(st.sampled_from(["PUT", "PUT", "PUT", "GET", "DELETE", "PATCH"]))
    query = ""
    for name in draw(
        st.lists(
            st.sampled_from(["$top", "$skip", "$skipToken", "$orderBy", "listViewType"]), max_size=2
        )
    ):
        value = draw(st.one_of(TEXTS, st.sampled_from(["1", "0", "-1", "createdtime desc", "All"])))
        query += f"&{name}={quote(value.encode('utf-8', 'surrogatepass'), safe='')}"
    body = draw(bodies(VERSION)) if method in {"PUT", "PATCH"} else b""
    return manage(method, path, body, query)

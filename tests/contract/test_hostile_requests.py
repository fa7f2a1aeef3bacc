"""What the emulator cannot keep it refuses, and goes on as if it had not been asked."""

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from reconciler.emulator.state import Service as Kept
from reconciler.emulator.state import State
from tests.contract.world import MODEL, Service, code_of, switched
from tests.e2e.world import definition

pytestmark = pytest.mark.contract
Json = Any
INVALID = (400, "InvalidRequestContent", "")


def free(value: Json) -> Json:
    """A definition with a value where anything may stand."""
    body = definition(MODEL)
    body["properties"]["exampleRequest"]["inputs"] = {"input1": [[value]]}
    return body


def nested(depth: int) -> Json:
    value: Json = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("depth", [120, 300, 700, 900])
def test_what_nests_too_deeply_is_refused_and_harms_nobody(service: Service, depth: int) -> None:
    for path in (service.path(), service.plan()):
        answer = service.call("PUT", path, free(nested(depth)), described=False)
        assert code_of(answer) == INVALID
    service.put("next")


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e999"])
def test_numbers_that_are_none_are_refused(service: Service, number: str) -> None:
    text = json.dumps(free("PLACE")).replace('"PLACE"', number)
    answer = service.call("PUT", service.path(), text.encode(), described=False)
    assert code_of(answer) == INVALID


def test_half_of_a_character_goes_out_as_it_came_in(service: Service) -> None:
    service.put(title="a\ud800")
    answer = service.call("GET", service.path())
    assert json.loads(answer.content.decode("utf-8"))["properties"]["title"] == "a\ud800"


@pytest.mark.parametrize(
    "location", ["a\r\nX-Injected: 1", "a\0b", "\u202e", "x" * 100, "{origin}"]
)
def test_a_region_is_a_word(service: Service, location: str) -> None:
    body = {**definition(MODEL), "location": location}
    answer = service.call("PUT", service.path(), body, described=False)
    assert code_of(answer)[2] == "RequestBodyInvalid"


@pytest.mark.parametrize("subscription", ["a%0d%0aX-Injected:%201", "a%00b", "%ff", "a%2fb"])
def test_a_subscription_is_data(service: Service, subscription: str) -> None:
    path = service.path().replace("/subscriptions/", f"/subscriptions/{subscription}")
    answer = service.call("PUT", path, definition(MODEL), described=False)
    assert answer.status_code == 201
    assert "X-Injected" not in answer.headers
    assert service.call("GET", answer.headers["Azure-AsyncOperation"]).status_code == 200


@pytest.mark.parametrize("name", ["a%0Ab", "%e2%80%ae"])
def test_a_path_of_any_characters_is_answered_as_the_service_would(
    service: Service, name: str
) -> None:
    answer = service.call("GET", service.path(name), described=False)
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] in {"NotFound", "ResourceNotFound"}


def test_maps_with_nothing_in_them_are_taken_or_refused(service: Service) -> None:
    for part in (
        {"assets": {"a": None}},
        {"package": {"nodes": {"n": None}, "graphParameters": {"g": None}}},
        {"package": {"graphParameters": {"g": {"type": "Credential", "links": [None]}}}},
        {"keys": None, "parameters": {"p": None}},
        {
            "assets": {
                "a": {"name": "x", "type": "Resource", "locationInfo": {"uri": "http://[::1"}}
            }
        },
    ):
        body = definition(MODEL)
        body["properties"] |= part
        answer = service.call("PUT", service.path(), body, described=False)
        assert answer.status_code < 500, part
    body = definition(MODEL)
    body["properties"]["diagnostics"] = {"level": "All", "expiry": "9999-12-31T23:59:59-23:59"}
    assert service.call("PUT", service.path("b"), body, described=False).status_code < 500


@pytest.mark.parametrize("reading", ["delete", "ignore"])
def test_null_harms_no_part(reading: str) -> None:
    with switched(null_in_patch=reading, patch_assets="merge") as service:
        service.put()
        nothing = dict.fromkeys(("keys", "storageAccount", "assets", "package", "parameters"))
        body = {"properties": {"packageType": "Graph", **nothing}}
        answer = service.call("PATCH", service.path(), body, described=False)
        assert answer.status_code == 200
        assert service.call("GET", service.path(), described=False).status_code == 200


def test_a_page_before_the_first_is_refused(service: Service) -> None:
    token = {"$skiptoken": "cGFnZTotNQ+"}  # page:-5
    answer = service.call("GET", service.group_list, query=token)
    assert code_of(answer) == (400, "InvalidSkipToken", "")


def test_what_follows_a_write_says_of_which_type_it_is(service: Service) -> None:
    answer = service.call("PUT", service.path(), definition(MODEL))
    assert (answer.status_code, answer.headers["Content-Type"]) == (
        201,
        "application/json; charset=utf-8",
    )


def test_a_record_that_cannot_be_written_is_not_kept_and_harms_no_other(tmp_path: Path) -> None:
    state = State(tmp_path)
    kept = Kept("s", "g", "a", "x", "1", 0.0, 0.0)
    state.keep(kept, count=1)
    unwritable = Kept("s", "g", "b", "x", "2", 0.0, 0.0, tags={"a": object()})
    with pytest.raises(TypeError):
        state.keep(unwritable, count=2)
    with pytest.raises(TypeError):
        state.keep_plan(("s", "g", "p"), object(), count=0)
    assert list(state.services) == [kept.key]
    state.keep(Kept("s", "g", "c", "x", "3", 0.0, 0.0), count=3)
    state.close()
    with sqlite3.connect(tmp_path / "emulator.sqlite") as base:
        assert base.execute("SELECT count(*) FROM record WHERE kind = 'service'").fetchone() == (2,)
    base.close()

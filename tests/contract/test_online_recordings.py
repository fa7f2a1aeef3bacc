"""Recorded exchanges of Azure Machine Learning, played again: the emulator answers the same.

What differs from call to call is masked: times, ids of operations, hosts.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from tests.contract.azureml import Ml, read, run_ml
from tests.contract.world import LONG_S
from tests.e2e.world import pass_time

pytestmark = pytest.mark.contract
RECORDED = Path(__file__).parent / "recorded" / "azureml"
OF_2022 = (
    "--switch=online-put-reply=2022",
    "--switch=online-last-modified=moved",
    "--switch=online-operation-body=2022",
    "--switch=online-server-variables=hidden",
    "--switch=online-endpoint-change=accept",
)
MASKS = {
    r"https://census\.eastus2\.inference\.ml\.azure\.com|http://127\S+/online/\S+/census": "SCORING",
    r"https://management\.azure\.com|http://127\.0\.0\.1:\d+": "ORIGIN",
    r"\d{4}-\d\d-\d\dT[\d:.]+(\+00:00|Z)": "TIME",
    r"\bo([ed])(idp)?:[0-9a-f-]{36}:[0-9a-f-]{36}": r"o\1:ID",
    r"&t=.*": "",
}
Json = Any


def load(name: str) -> Json:
    return json.loads((RECORDED / f"{name}.json").read_bytes())


def mask(value: Json) -> Json:
    if isinstance(value, dict):
        return {name: mask(below) for name, below in value.items()}
    if isinstance(value, list):
        return [mask(below) for below in value]
    if isinstance(value, str):
        for pattern, put in MASKS.items():
            value = re.sub(pattern, put, value)
    return value


def play(ml: Ml, exchange: Json) -> requests.Response:
    """Send a recorded request; its reply must have the recorded status, body and headers."""
    request, response = exchange["request"], exchange["response"]
    at = urlsplit(request["uri"])
    answer = ml.call(request["method"], f"{at.path}?{at.query}", request["body"])
    assert answer.status_code == response["status"], answer.text
    for name, value in response.get("headers", {}).items():
        if name != "Content-Type" or answer.content:
            assert mask(answer.headers[name]) == mask(value), name
    return answer


@pytest.fixture
def old() -> Iterator[Ml]:
    """The service as it was in 2022, whose operations run until a test lets time pass."""
    with run_ml(*OF_2022, f"--operation-seconds={LONG_S}") as ml:
        ml.version = "2022-02-01-preview"
        yield ml


def test_an_endpoint_of_2022(old: Ml) -> None:
    create, seen = load("endpoint.put.create.201"), load("endpoint.get.succeeded")
    created = play(old, create)
    running = old.call("GET", created.headers["Azure-AsyncOperation"]).json()
    ended = old.finish(created)
    shown = play(old, seen)

    assert mask(created.json()) == mask(create["response"]["body"])
    assert mask(shown.json()) == mask(seen["response"]["body"])
    assert mask(running) == mask(load("operation.status.running.2022")["response"]["body"])
    assert mask(ended) == mask(load("operation.status.succeeded.2022")["response"]["body"])


def test_a_deployment_and_its_traffic_of_2022(old: Ml) -> None:
    old.finish(play(old, load("endpoint.put.create.201")))
    create, seen = load("deployment.put.create.201"), load("deployment.get.succeeded.2022")
    traffic, routed = load("endpoint.put.traffic.201"), load("endpoint.get.after-traffic")
    created = play(old, create)
    old.finish(created)
    shown = play(old, seen)
    updated = play(old, traffic)
    old.finish(updated)

    assert mask(created.json()) == mask(create["response"]["body"])
    assert mask(shown.json()) == mask(seen["response"]["body"])
    assert mask(updated.json()) == mask(traffic["response"]["body"])
    assert mask(old.get()) == mask(routed["response"]["body"])


def test_a_deleted_endpoint_of_2022(old: Ml) -> None:
    old.finish(play(old, load("endpoint.put.create.201")))
    deleted = play(old, load("endpoint.delete.202"))
    old.finish(deleted)
    again = old.call("DELETE", old.path())

    assert (deleted.text, again.status_code, again.content) == ("null", 204, b"")


def test_an_update_of_2025() -> None:
    """Status 201 and Creating for an update, and the body is not the state."""
    before = load("deployment.get.succeeded.2025.before-update")["response"]["body"]
    update = load("deployment.put.update.201")
    after = load("deployment.get.succeeded.2025.after-update")["response"]["body"]
    sent = {name: before[name] for name in ("tags", "location", "properties", "sku")}
    with run_ml(f"--operation-seconds={LONG_S}") as ml:
        ml.version, ml.region = "2023-04-01-preview", "eastus"
        ml.put()
        ml.finish(ml.call("PUT", ml.path(tail="/deployments/blue"), sent))
        shown = ml.get_deployment()
        updated = play(ml, update)
        running = ml.call("GET", updated.headers["Azure-AsyncOperation"]).json()
        ended = ml.finish(updated)
        again = ml.get_deployment()
        skus = read(ml.call("GET", ml.path(tail="/deployments/blue/skus")))

    assert mask(shown) == mask(before)
    assert mask(updated.json()) == mask(update["response"]["body"])
    assert mask(again) == mask(after)
    assert again["systemData"] == shown["systemData"]
    assert mask(running) == mask(load("operation.status.running.2025"))
    assert mask(ended) == mask(load("operation.status.succeeded.2025"))
    assert skus == load("deployment.skus.200")


def test_the_location_of_a_patch_shows_the_status() -> None:
    with run_ml(f"--operation-seconds={LONG_S}") as ml:
        ml.region = "eastus"
        ml.put()
        patched = ml.call("PATCH", ml.path(), {"tags": {"a": "b"}})
        early = ml.call("GET", patched.headers["Location"])
        pass_time(ml.url, LONG_S)
        late = ml.call("GET", patched.headers["Location"])
        tags = ml.get()["tags"]

    assert (patched.status_code, patched.content, early.status_code) == (202, b"", 202)
    assert mask(late.json()) == mask(load("operation.results.after-patch.200"))
    assert tags == {"a": "b"}


def test_a_missing_endpoint() -> None:
    recorded = load("batchendpoint.get.404")["response"]["body"]
    with run_ml() as ml:
        missing = ml.call("GET", ml.path("census-batch"))
        group = ml.call("GET", ml.path("census-batch", "/deployments"))

    body = missing.json()
    for answer in (missing, group):
        assert answer.status_code == 404
    for name in ("code", "message", "details"):
        assert body["error"][name] == recorded["error"][name]
    kinds = [[one["type"] for one in of["error"]["additionalInfo"]] for of in (body, recorded)]
    assert kinds[0] == kinds[1]

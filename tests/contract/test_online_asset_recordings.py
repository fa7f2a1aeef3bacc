"""Recorded exchanges about models, keys, logs and scores, played again: the emulator answers so."""

import json
import re
import uuid
from collections.abc import Iterator

import pytest
import requests

from tests.contract.azureml import Json, Ml, read, run_ml
from tests.contract.test_online_recordings import load, mask, play

pytestmark = pytest.mark.contract
MODEL = "census-model"
MASKS = {r"ServiceReplicated/[0-9a-f-]{36}": "ServiceReplicated/ID", r"skipToken=.*": "skipToken=T"}


@pytest.fixture(scope="module")
def shared() -> Iterator[Ml]:
    with run_ml() as ml:
        yield ml


@pytest.fixture
def ml(shared: Ml) -> Ml:
    """A workspace of its own, called as in 2022."""
    return Ml(shared.url, workspace=f"w{uuid.uuid4().hex[:8]}", version="2022-05-01")


def replay(ml: Ml, exchange: Json) -> Json:
    """Send a recorded request in this workspace; returns the reply's body and the recorded one."""
    there = json.loads(
        json.dumps(exchange).replace("/workspaces/ws", f"/workspaces/{ml.workspace}")
    )
    answer = play(ml, there)
    return hide(answer.json()), hide(there["response"]["body"])


def hide(value: Json) -> Json:
    text = json.dumps(mask(value))
    for pattern, put in MASKS.items():
        text = re.sub(pattern.replace(".*", '[^"]*'), put, text)
    return json.loads(text)


def register(ml: Ml, *versions: str) -> None:
    uri = load("modelversion.put.update.200")["request"]["body"]["properties"]["modelUri"]
    body = {"properties": {"modelUri": uri.replace("/ws/", f"/{ml.workspace}/")}}
    for version in versions:
        path = f"{ml.root}/models/{MODEL}/versions/{version}"
        assert ml.call("PUT", path, body).status_code == 201


def test_a_registration_of_2022(ml: Ml) -> None:
    found, recorded = replay(ml, load("modelversion.put.create.201"))
    # The service read these in the folder, which the emulator does not have.
    assert recorded["properties"].pop("flavors")
    assert found["properties"].pop("flavors") == {}
    assert found == recorded


def test_an_archived_version_of_2022(ml: Ml) -> None:
    register(ml, "1")
    found, recorded = replay(ml, load("modelversion.put.update.200"))
    assert found == recorded


def test_a_model_of_2022_and_one_that_is_missing(ml: Ml) -> None:
    missing, recorded = replay(ml, load("model.get.404"))
    for body in (missing, recorded):
        for one in body["error"]["additionalInfo"]:
            del one["info"]
    assert missing == recorded
    register(ml, "1")
    found, recorded = replay(ml, load("model.get"))
    assert found == recorded


def test_a_page_of_versions_of_2022(ml: Ml) -> None:
    register(ml, "1", "2")
    found, recorded = replay(ml, load("modelversions.list.page"))
    # The parameters of a query may come in another order.
    links = [one.pop("nextLink").partition("?") for one in (found, recorded)]
    assert links[0][0] == links[1][0]
    assert sorted(links[0][2].split("&")) == sorted(links[1][2].split("&"))
    assert found == recorded


def test_the_datastore_of_2022(ml: Ml) -> None:
    recorded = load("datastore.get")["response"]["body"]
    found = read(ml.call("GET", f"{ml.root}/datastores/workspaceblobstore"))
    assert outline(found) == outline(recorded)
    assert found["properties"]["containerName"].startswith("azureml-blobstore-")


def outline(value: Json) -> Json:
    """The names of a document, with the type of each value."""
    if isinstance(value, dict):
        return {name: outline(below) for name, below in value.items()}
    return type(value).__name__


def test_a_score_a_token_and_a_log(ml: Ml) -> None:
    ml.version = "2024-04-01"
    ml.put(properties={"authMode": "AMLToken"})
    ml.deploy("blue", model=f"{ml.root}/models/{MODEL}/versions/1")
    ml.put(properties={"authMode": "AMLToken", "traffic": {"blue": 100}})
    keys = read(ml.call("POST", ml.path(tail="/listKeys")))
    assert keys == load("endpoint.listKeys.of-a-token-endpoint.200")
    token = read(ml.call("POST", ml.path(tail="/token")))
    assert outline(token) == outline(load("endpoint.token.200"))

    exchange = load("score.200")
    uri = ml.get()["properties"]["scoringUri"]
    sent = {"Authorization": f"Bearer {token['accessToken']}"}
    answer = requests.post(uri, json=exchange["request"]["body"], headers=sent, timeout=60)
    recorded = exchange["response"]
    assert answer.status_code == recorded["status"]
    assert outline(answer.json()) == outline(recorded["body"])
    same = {"azureml-model-deployment", "Content-Type", "Server", "x-ms-run-function-failed"}
    assert same < set(recorded["headers"])
    for name, value in recorded["headers"].items():
        assert name in answer.headers
        assert name not in same or answer.headers[name] == value

    logs = read(ml.call("POST", ml.path(tail="/deployments/blue/getLogs")))["content"].splitlines()
    for line in load("deployment.getLogs.200")["content"].splitlines():
        name = line.partition(":")[0]
        assert any(one.startswith(name) for one in logs), line
    assert f"Model Directory: /var/azureml-app/azureml-models/{MODEL}/1" in logs

"""Faults of the emulator's online endpoints: what each does to a call, and to what is read later."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.contract.azureml import Ml, code_of, read, run_ml
from tests.contract.world import LONG_S
from tests.e2e.world import pass_time

pytestmark = pytest.mark.contract
Json = Any
BLUE = "/deployments/blue"
OF_BLUE = "deployments/blue"
ONLY_ENDPOINT = r"onlineEndpoints/census\?"


@contextmanager
def faulty(folder: Path, *faults: Json, options: tuple[str, ...] = ()) -> Iterator[Ml]:
    """An emulator with faults; each is `(method, path, do, more)`."""
    entries = [
        {"match": {"method": method, "path": path}, "do": do, **more}
        for method, path, do, more in faults
    ]
    file = folder / "faults.yaml"
    file.write_text(json.dumps(entries))
    with run_ml(f"--faults={file}", *options) as ml:
        yield ml


def start(ml: Ml, name: str = "blue", **properties: Json) -> requests.Response:
    path = ml.path(tail=f"/deployments/{name}")
    return ml.call("PUT", path, ml.describe_deployment(**properties))


def test_a_container_that_crashes_leaves_a_failed_deployment_with_a_log(tmp_path: Path) -> None:
    with faulty(tmp_path, ("PUT", OF_BLUE, "crash-container", {"times": 1})) as ml:
        ml.put()
        ended = ml.finish(start(ml))
        failed = ml.get_deployment()
        log = read(ml.call("POST", ml.path(tail=f"{BLUE}/getLogs"), {"tail": 100}))["content"]
        shares = ml.describe(properties={"traffic": {"blue": 100}})
        refused = ml.call("PUT", ml.path(), shares)
        repaired = ml.deploy()
        ml.route(blue=100)

    assert ended["status"] == "Failed"
    assert ended["error"]["code"] == "BadArgument"
    assert "User container has crashed" in ended["error"]["message"]
    assert failed["properties"]["provisioningState"] == "Failed"
    assert "ModuleNotFoundError: No module named 'sklearn'" in log
    assert code_of(refused) == (400, "BadRequest", "InvalidTraffic")
    assert repaired["properties"]["provisioningState"] == "Succeeded"


@pytest.mark.parametrize(("reading", "status"), [("nothing", 424), ("old", 200)])
def test_an_update_that_fails_shows_the_new_model(
    tmp_path: Path, reading: str, status: int
) -> None:
    other = (f"--switch=online-failed-update={reading}",)
    with faulty(tmp_path, ("PUT", "crash=yes", "crash-container", {}), options=other) as ml:
        ml.put()
        ml.deploy()
        before = score(ml)
        model = f"{ml.root}/models/census/versions/9"
        path, body = ml.path(tail=BLUE), ml.describe_deployment(model=model)
        ended = ml.finish(ml.call("PUT", path, body, query={"crash": "yes"}))
        shown = ml.get_deployment()["properties"]
        after = score(ml)

    assert ended["status"] == shown["provisioningState"] == "Failed"
    assert shown["model"] == model
    assert (before, after) == (200, status)


def score(ml: Ml, deployment: str = "blue") -> int:
    keys = read(ml.call("POST", ml.path(tail="/listKeys")))
    uri = ml.get()["properties"]["scoringUri"]
    answer = requests.post(
        uri,
        json={"data": [[1.0]]},
        headers={
            "Authorization": f"Bearer {keys['primaryKey']}",
            "azureml-model-deployment": deployment,
        },
        timeout=120,
    )
    return answer.status_code


def test_an_operation_that_fails_changes_nothing(tmp_path: Path) -> None:
    with faulty(tmp_path, ("PUT", ONLY_ENDPOINT, "fail-operation", {"times": 2})) as ml:
        ended = [ml.finish(ml.call("PUT", ml.path(), ml.describe()))]
        first = ml.get()["properties"]["provisioningState"]
        refused = ml.call("PUT", ml.path(), ml.describe())
        ml.finish(ml.call("DELETE", ml.path()))
        ended.append(ml.finish(ml.call("PUT", ml.path(), ml.describe())))
        ml.finish(ml.call("DELETE", ml.path()))
        ml.put(tags={"a": "1"})
        last = ml.get()

    assert [one["status"] for one in ended] == ["Failed", "Failed"]
    assert {one["error"]["code"] for one in ended} == {"InternalServerError"}
    assert first == "Failed"
    assert code_of(refused) == (400, "BadRequest", "EndpointFailed")
    assert last["tags"] == {"a": "1"}


def test_an_update_that_fails_is_repaired_by_a_put(tmp_path: Path) -> None:
    with faulty(tmp_path, ("PATCH", ONLY_ENDPOINT, "fail-operation", {"times": 1})) as ml:
        ml.put(tags={"a": "1"})
        ended = ml.finish(ml.call("PATCH", ml.path(), {"tags": {"a": "2"}}))
        failed = ml.get()
        repaired = ml.put(tags={"a": "3"})

    assert ended["status"] == failed["properties"]["provisioningState"] == "Failed"
    assert failed["tags"] == {"a": "1"}
    assert repaired["properties"]["provisioningState"] == "Succeeded"


def test_an_endpoint_whose_creation_failed_is_repaired_if_a_switch_says_so(tmp_path: Path) -> None:
    other = ("--switch=online-failed-endpoint=repair",)
    fault = ("PUT", ONLY_ENDPOINT, "fail-operation", {"times": 1})
    with faulty(tmp_path, fault, options=other) as ml:
        ml.finish(ml.call("PUT", ml.path(), ml.describe()))
        unready = start(ml)
        repaired = ml.put()

    assert code_of(unready) == (400, "BadRequest", "EndpointNotReady")
    assert repaired["properties"]["provisioningState"] == "Succeeded"
    assert repaired["properties"]["scoringUri"]


def test_an_operation_that_never_ends_keeps_the_endpoint_busy(tmp_path: Path) -> None:
    with faulty(tmp_path, ("PUT", OF_BLUE, "stuck-operation", {"times": 1})) as ml:
        ml.put()
        started = start(ml)
        pass_time(ml.url, LONG_S)
        status = read(ml.call("GET", started.headers["Azure-AsyncOperation"]))
        refused = start(ml, "green")

    assert (status["status"], status["endTime"][:4]) == ("Updating", "0001")
    assert refused.status_code == 409
    assert "Cannot create a deployment" in refused.json()["error"]["message"]


def test_a_silent_rollback_succeeds_and_changes_nothing(tmp_path: Path) -> None:
    faults = [(verb, "census", "silent-rollback", {"times": 1}) for verb in ("PATCH", "DELETE")]
    with faulty(tmp_path, *faults, ("PUT", OF_BLUE, "silent-rollback", {"times": 1})) as ml:
        ml.put(tags={"a": "1"})
        ended = [
            ml.finish(ml.call("PATCH", ml.path(), {"tags": {}})),
            ml.finish(ml.call("DELETE", ml.path())),
            ml.finish(start(ml)),
        ]
        shown = ml.get()
        missing = ml.call("GET", ml.path(tail=BLUE))

    assert {one["status"] for one in ended} == {"Succeeded"}
    assert (shown["tags"], shown["properties"]["provisioningState"]) == ({"a": "1"}, "Succeeded")
    assert missing.status_code == 404


def test_traffic_is_stale_for_a_while_after_success(tmp_path: Path) -> None:
    late = ("PUT", ONLY_ENDPOINT, "stale-traffic", {"times": 1, "seconds": LONG_S})
    with faulty(tmp_path, late) as ml:
        ml.put()
        ml.deploy()
        ml.deploy("green")
        ended = ml.finish(
            ml.call("PUT", ml.path(), ml.describe(properties={"traffic": {"blue": 100}}))
        )
        early = ml.get()["properties"]
        pass_time(ml.url, LONG_S + 1)
        after = ml.get()["properties"]["traffic"]
        again = ml.route(green=100)["properties"]["traffic"]

    assert ended["status"] == early["provisioningState"] == "Succeeded"
    assert (early["traffic"], after, again) == ({}, {"blue": 100}, {"green": 100})


def test_a_router_ignores_what_the_document_shows(tmp_path: Path) -> None:
    with faulty(tmp_path, ("PUT", ONLY_ENDPOINT, "ignored-traffic", {"times": 1})) as ml:
        ml.put()
        ml.deploy()
        shown = ml.route(blue=100)["properties"]["traffic"]
        unheard = score(ml, "")
        ml.route(blue=0)
        ml.route(blue=100)
        heard = score(ml, "")

    assert shown == {"blue": 100}
    assert (unheard, heard) == (404, 200)


def test_refusals_do_nothing(tmp_path: Path) -> None:
    with faulty(
        tmp_path,
        ("PUT", OF_BLUE, "no-quota", {"times": 1}),
        ("PUT", OF_BLUE, "busy", {"times": 1}),
        ("GET", OF_BLUE, "missing-group", {"times": 1}),
        ("GET", OF_BLUE, "error", {"times": 1, "status": 503}),
        ("GET", OF_BLUE, "lost-backend", {"times": 1}),
        ("DELETE", OF_BLUE, "throttle", {"times": 1}),
    ) as ml:
        ml.put()
        quota, busy = start(ml), start(ml)
        group, trouble, lost = (ml.call("GET", ml.path(tail=BLUE)) for _ in range(3))
        throttled = ml.call("DELETE", ml.path(tail=BLUE))
        missing = ml.call("GET", ml.path(tail=BLUE))

    assert code_of(quota)[2] == "InferencingClientCreateDeploymentFailed"
    inner = quota.json()["error"]["details"][0]["message"].partition("error detail: ")[2]
    (text,) = json.loads(inner)["errors"]["VmSize"]
    assert re.search(r"Current usage/limit: 0/6\. Additional needed: 8 ", text)
    assert (busy.status_code, group.status_code) == (409, 404)
    assert group.json()["error"]["code"] == "ResourceGroupNotFound"
    assert code_of(trouble) == (503, "ServiceError", "InternalServerError")
    assert code_of(lost) == (404, "NotFound", "InferencingClientCallFailed")
    assert (throttled.status_code, throttled.headers["Retry-After"]) == (429, "1")
    assert code_of(missing) == (404, "NotFound", "NoSuchDeployment")


def test_a_lost_reply_does_its_work(tmp_path: Path) -> None:
    faults = [
        ("PUT", "census", "drop-reply", {"times": 2}),
        ("DELETE", "", "drop-request", {"times": 1}),
    ]
    with faulty(tmp_path, *faults) as ml:
        for body in (ml.describe(), ml.describe(tags={"a": "1"})):
            with pytest.raises(requests.ConnectionError):
                ml.call("PUT", ml.path(), body)
        with pytest.raises(requests.ConnectionError):
            ml.call("DELETE", ml.path())
        shown = ml.get()

    assert shown["tags"] == {"a": "1"}
    assert shown["properties"]["provisioningState"] == "Succeeded"


def test_a_read_is_stale(tmp_path: Path) -> None:
    lasting = {"seconds": LONG_S}
    with faulty(
        tmp_path,
        ("GET", rf"({ONLY_ENDPOINT}|deployments/blue)", "stale-read", lasting),
        ("GET", "onlineEndpoints.api", "list-omission", {"times": 1}),
    ) as ml:
        ml.finish(ml.call("PUT", ml.path(), ml.describe()))
        created = ml.call("GET", ml.path())
        omitted = read(ml.call("GET", f"{ml.root}/onlineEndpoints"))["value"]
        listed = read(ml.call("GET", f"{ml.root}/onlineEndpoints"))["value"]
        ml.finish(start(ml))
        missing = ml.call("GET", ml.path(tail=BLUE))
        pass_time(ml.url, LONG_S + 1)
        fresh = ml.get_deployment()
        ml.finish(ml.call("PATCH", ml.path(tail=BLUE), {"tags": {"a": "1"}}))
        before = ml.get_deployment()
        ml.finish(ml.call("DELETE", ml.path(tail=BLUE)))
        there = ml.call("GET", ml.path(tail=BLUE))

    assert (created.status_code, missing.status_code, there.status_code) == (404, 404, 200)
    assert code_of(missing)[2] == "NoSuchDeployment"
    assert (len(omitted), [one["name"] for one in listed]) == (0, ["census"])
    assert before == fresh
    assert there.json()["tags"] == {"a": "1"}


def test_an_operation_is_canceled(tmp_path: Path) -> None:
    faults = [("PATCH", "census", "cancel-operation", {"times": 1})]
    with faulty(tmp_path, *faults, ("PUT", OF_BLUE, "cancel-operation", {"times": 1})) as ml:
        ml.put(tags={"a": "1"})
        patched = ml.finish(ml.call("PATCH", ml.path(), {"tags": {}}))
        ended = ml.finish(start(ml))
        shown = [ml.get(), ml.get_deployment()]

    assert (patched["status"], patched["error"]["code"]) == ("Canceled", "OperationCanceled")
    assert ended["status"] == "Canceled"
    assert [one["properties"]["provisioningState"] for one in shown] == ["Canceled", "Canceled"]
    assert shown[0]["tags"] == {"a": "1"}


def test_a_write_leaves_no_mark(tmp_path: Path) -> None:
    with faulty(tmp_path, ("PATCH", "census", "unmarked-write", {"times": 2})) as ml:
        before = [ml.put(), ml.deploy()]
        ml.finish(ml.call("PATCH", ml.path(), {"tags": {"a": "1"}}))
        ml.finish(ml.call("PATCH", ml.path(tail=BLUE), {"tags": {"a": "1"}}))
        after = [ml.get(), ml.get_deployment()]
        last = ml.put()

    uris = [
        one["properties"]["properties"]["AzureAsyncOperationUri"] for one in (*before, *after, last)
    ]
    assert uris[:2] == uris[2:4]
    assert uris[4] != uris[0]
    assert [one["tags"] for one in after] == [{"a": "1"}, {"a": "1"}]


def test_a_failed_deployment_keeps_its_share(tmp_path: Path) -> None:
    with faulty(tmp_path, ("PUT", "crash=yes", "crash-container", {})) as ml:
        ml.put()
        ml.deploy()
        ml.deploy("green")
        shares = {"traffic": {"blue": 50, "green": 50}}
        ml.put(properties=shares)
        path, body = ml.path(tail=BLUE), ml.describe_deployment()
        ml.finish(ml.call("PUT", path, body, query={"crash": "yes"}))
        kept = ml.put(properties=shares, tags={"a": "1"})
        more = ml.describe(properties={"traffic": {"blue": 51, "green": 49}})
        refused = ml.call("PUT", ml.path(), more)
        less = ml.route(blue=0, green=100)

    assert kept["tags"] == {"a": "1"}
    assert code_of(refused) == (400, "BadRequest", "InvalidTraffic")
    assert less["properties"]["traffic"] == {"blue": 0, "green": 100}


@pytest.mark.parametrize("reading", ["error", "bare"])
def test_what_a_failed_operation_says_is_not_known(tmp_path: Path, reading: str) -> None:
    fault: Json = ("PUT", ONLY_ENDPOINT, "fail-operation", {})
    other = (f"--switch=online-failed-operation={reading}",)
    with faulty(tmp_path, fault, options=other) as ml:
        ended = ml.finish(ml.call("PUT", ml.path(), ml.describe()))

    assert ("error" in ended) == (reading == "error")


def test_a_deployment_is_missing_while_it_is_created_if_a_switch_says_so() -> None:
    with run_ml("--switch=online-get-while-creating=404", f"--operation-seconds={LONG_S}") as ml:
        ml.put()
        started = start(ml)
        during = ml.call("GET", ml.path(tail=BLUE))
        listed = read(ml.call("GET", ml.path(tail="/deployments")))["value"]
        ml.finish(started)
        after = ml.get_deployment()

    assert (during.status_code, listed) == (404, [])
    assert after["name"] == "blue"

"""What goes wrong on purpose: what the client sees, what is stored, what is logged."""

import time
from pathlib import Path

import pytest
import requests

from tests.contract.faulty import connect, faulty, fired, log_of, on, read_all
from tests.contract.world import (
    LONG_S,
    MODEL,
    NEW_MODEL,
    PREVIEW,
    VERSION,
    Json,
    Service,
    code_of,
    run_service,
)
from tests.e2e.world import definition, hold_time, pass_time

pytestmark = pytest.mark.contract
GRAPH = {"properties": {"packageType": "Graph", "description": "new"}}
LOST = requests.exceptions.ConnectionError


# In place of the work.


@pytest.mark.parametrize("body", ["error", "empty"])
def test_throttle_is_429_with_retry_after_and_nothing_is_done(tmp_path: Path, body: str) -> None:
    plan = on("throttle", "PUT", times=1)
    with faulty(tmp_path, plan, options=(f"--switch=throttle-body={body}",)) as service:
        answer = service.call("PUT", service.path(), definition(MODEL))
        assert (answer.status_code, answer.headers["Retry-After"]) == (429, "1")
        assert (b"TooManyRequests" in answer.content) is (body == "error")
        assert service.call("GET", service.path()).status_code == 404
        service.put()
    assert fired(tmp_path) == [("PUT", 429, "throttle")]


@pytest.mark.parametrize(
    ("more", "status", "code"),
    [
        ({}, 500, "InternalServerError"),
        ({"status": 503}, 503, "ServiceUnavailable"),
        ({"status": 507}, 507, "InternalServerError"),
    ],
)
def test_error_is_a_5xx_in_the_services_envelope_and_nothing_is_done(
    tmp_path: Path, more: Json, status: int, code: str
) -> None:
    with faulty(tmp_path, on("error", "PUT", **more)) as service:
        answer = service.call("PUT", service.path(), definition(MODEL))
        assert code_of(answer) == (status, code, "")
        assert service.call("GET", service.path()).status_code == 404
    assert fired(tmp_path) == [("PUT", status, "error")]


def test_drop_request_closes_the_connection_and_nothing_is_done(tmp_path: Path) -> None:
    with faulty(tmp_path, on("drop-request", "PUT")) as service:
        with pytest.raises(LOST, match="without response"):
            service.call("PUT", service.path(), definition(MODEL))
        assert service.call("GET", service.path()).status_code == 404
    assert fired(tmp_path) == [("PUT", None, "drop-request")]


def test_drop_reply_closes_the_connection_once_the_work_is_done(tmp_path: Path) -> None:
    with faulty(tmp_path, on("drop-reply", "PUT")) as service:
        with pytest.raises(LOST, match="without response"):
            service.call("PUT", service.path(), definition(MODEL))
        assert service.properties()["assets"]["asset3"]["locationInfo"]["uri"] == MODEL
    assert fired(tmp_path) == [("PUT", None, "drop-reply")]


def test_wrong_type_is_a_page_with_200_and_nothing_is_done(tmp_path: Path) -> None:
    with faulty(tmp_path, on("wrong-type", "PUT")) as service:
        answer = service.call("PUT", service.path(), definition(MODEL), described=False)
        assert answer.status_code == 200
        assert answer.headers["Content-Type"].startswith("text/html")
        assert "<html>" in answer.text
        assert service.call("GET", service.path()).status_code == 404
    assert fired(tmp_path) == [("PUT", 200, "wrong-type")]


def test_invalid_model_refuses_a_write_that_carries_one_and_no_other(tmp_path: Path) -> None:
    with faulty(tmp_path, on("invalid-model", times=2)) as service:
        first = service.call("PUT", service.path(), definition(MODEL))
        assert code_of(first) == (400, "BadRequest", "InvalidModelUrl")
        assert "invalid model URL" in first.text
        assert service.call("GET", service.path()).status_code == 404
        body = definition(MODEL)
        body["Properties"] = body.pop("properties")
        body["Properties"]["Assets"] = body["Properties"].pop("assets")
        assert service.call("PUT", service.path(), body).status_code == 400
        service.put()
    with faulty(tmp_path, on("invalid-model", "PATCH")) as service:
        service.put()
        assert service.patch(description="new")["properties"]["description"] == "new"
        modules = {"a": {"name": "M", "type": "Module", "locationInfo": {"uri": "aml://module/x"}}}
        service.patch(assets=modules)
        assert service.call("PATCH", service.path(), definition(NEW_MODEL)).status_code == 400
        for body in (b"{", b"[" * 50_000, b"null", b'{"properties": {"assets": [1]}}'):
            assert service.call("PATCH", service.path(), body).status_code == 400
    assert fired(tmp_path)[-1] == ("PATCH", 400, "invalid-model")
    assert len(fired(tmp_path)) == 3


# The reply on its way.


def test_slow_answers_later(tmp_path: Path) -> None:
    with faulty(tmp_path, on("slow", "GET", seconds=0.5)) as service:
        service.call("PUT", service.path(), definition(MODEL))
        started = time.perf_counter()
        assert service.call("GET", service.path()).status_code == 200
        assert time.perf_counter() - started >= 0.5
    assert fired(tmp_path) == [("GET", 200, "slow")]
    assert log_of(tmp_path)[-1]["seconds"] >= 0.5


def test_slow_has_done_the_work_when_a_client_gives_up(tmp_path: Path) -> None:
    with faulty(tmp_path, on("slow", "PUT", seconds=600)) as service:
        with pytest.raises(requests.exceptions.ReadTimeout):
            requests.put(
                f"{service.url}{service.path()}?api-version={VERSION}",
                json=definition(MODEL),
                headers={"Authorization": "Bearer emulator"},
                timeout=0.3,
            )
        # The client may give up before the emulator has read its request.
        while service.call("GET", service.path()).status_code == 404:
            time.sleep(0.01)
        assert service.properties()["provisioningState"] == "Succeeded"


def await_fired(folder: Path, count: int = 1) -> None:
    while len(fired(folder)) < count:
        time.sleep(0.01)


def test_hang_never_answers_and_lets_go_when_the_emulator_ends(tmp_path: Path) -> None:
    with faulty(tmp_path, on("hang", "DELETE")) as service:
        service.put()
        wild = connect(service, "DELETE", service.path())
        gone = connect(service, "DELETE", service.path())
        await_fired(tmp_path, 2)
        gone.close()
        # Whatever the emulator was about to say, it would have said before the next reply.
        assert service.call("GET", service.path()).status_code == 200
        wild.settimeout(0.5)
        with pytest.raises(TimeoutError):
            wild.recv(1)
        wild.settimeout(120)
    with wild:
        assert wild.recv(1) == b""
    assert fired(tmp_path) == [("DELETE", None, "hang")] * 2


def test_truncate_promises_the_whole_and_sends_half(tmp_path: Path) -> None:
    with faulty(tmp_path, on("truncate", times=2)) as service:
        gone = service.call("DELETE", service.path("none"))
        assert gone.status_code == 204  # without a body, nothing to cut
        with pytest.raises(requests.exceptions.ChunkedEncodingError, match="IncompleteRead"):
            service.call("PUT", service.path(), definition(MODEL))
        with connect(service, "GET", service.path()) as wild:
            head, _, body = read_all(wild).partition(b"\r\n\r\n")
        whole = service.call("GET", service.path()).content
        assert f"Content-Length: {len(whole)}".encode() in head
        assert b"Server: Microsoft-HTTPAPI/2.0" in head
        assert body == whole[: len(whole) // 2]
    assert fired(tmp_path) == [("PUT", 201, "truncate"), ("GET", 200, "truncate")]


# Operations.


@pytest.mark.parametrize("where", ["errorInfo", "error"])
@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_fail_operation_accepts_and_ends_failed_and_nothing_changes(
    tmp_path: Path, method: str, where: str
) -> None:
    options = (f"--switch=failed-operation={where}", "--switch=get-while-provisioning=new")
    with faulty(tmp_path, on("fail-operation", path="x=1"), options=options) as service:
        service.put("other")
        before = service.get("other")
        path = service.path("other") + "?x=1"
        answer = service.call(method, path, definition(NEW_MODEL))
        assert answer.status_code == 200
        status = service.finish(answer)
        assert (status["status"], status[where]["code"]) == ("Failed", "InternalServerError")
        assert service.get("other") == before
    assert fired(tmp_path) == [(method, 200, "fail-operation")]


def test_fail_operation_of_a_create_leaves_a_failed_service(tmp_path: Path) -> None:
    with faulty(tmp_path, on("fail-operation", times=2)) as service:
        created = service.call("PUT", service.path(), definition(MODEL))
        assert service.finish(created)["status"] == "Failed"
        assert state_of(service) == "Failed"
        service.finish(service.call("PATCH", service.path(), definition(MODEL)))
        assert state_of(service) == "Failed"
        service.put()
        assert state_of(service) == "Succeeded"


def state_of(service: Service) -> Json:
    """What a read and a list say, also of a service that failed and has no definition."""
    shown = service.call("GET", service.path(), described=False).json()
    (item,) = service.call("GET", service.group_list).json()["value"]
    states = {one["properties"]["provisioningState"] for one in (shown, item)}
    assert len(states) == 1
    return states.pop()


def test_fail_operation_of_a_delete_or_a_copy_does_neither(tmp_path: Path) -> None:
    plan = (on("fail-operation", "DELETE"), on("fail-operation", "POST"))
    with faulty(tmp_path, *plan) as service:
        service.put()
        before = service.get()
        copy = service.path(tail="/CreateRegionalBlob")
        query = {"region": "westcentralus"}
        for answer in (
            service.call("POST", copy, query=query),
            service.call("DELETE", service.path()),
        ):
            assert service.finish(answer)["status"] == "Failed"
        assert service.get() == before
        region = service.call("GET", service.path(), query=query)
        assert code_of(region)[2] == "PerRegionPayloadNotFound"


def test_stuck_operation_never_ends_nor_after_a_restart(tmp_path: Path) -> None:
    options = ("--data", str(tmp_path / "data"))
    with faulty(tmp_path, on("stuck-operation", "PATCH"), options=options) as service:
        service.put()
        answer = service.call("PATCH", service.path(), definition(NEW_MODEL))
        link = answer.headers["Azure-AsyncOperation"]
        first = service.call("GET", link).json()
    assert fired(tmp_path) == [("PATCH", 200, "stuck-operation")]
    with run_service(*options) as again:
        path = link.partition("/subscriptions")[2]
        status = again.call("GET", f"/subscriptions{path}").json()
        assert status == first
        assert (status["status"], "endTime" in status) == ("Provisioning", False)
        assert status["percentComplete"] < 1
        assert again.properties()["assets"]["asset3"]["locationInfo"]["uri"] == MODEL
        assert again.call("DELETE", again.path()).status_code == 409


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_silent_rollback_reports_success_over_the_old_value(tmp_path: Path, method: str) -> None:
    with faulty(tmp_path, on("silent-rollback", path="x=1")) as service:
        service.put("new")
        before = service.get("new")
        body = None if method == "DELETE" else definition(NEW_MODEL)
        answer = service.call(method, service.path("new") + "?x=1", body)
        status = service.finish(answer)
        assert (status["status"], "errorInfo" in status) == ("Succeeded", False)
        after = service.get("new")
        assert after["properties"].pop("modifiedOn") > before["properties"].pop("modifiedOn")
        assert after == before
    assert fired(tmp_path) == [(method, answer.status_code, "silent-rollback")]


def test_silent_rollback_of_a_create_leaves_nothing(tmp_path: Path) -> None:
    with faulty(tmp_path, on("silent-rollback", times=1)) as service:
        created = service.call("PUT", service.path(), definition(MODEL))
        assert (created.status_code, service.finish(created)["status"]) == (201, "Succeeded")
        assert service.call("GET", service.path()).status_code == 404
        service.put()


@pytest.mark.parametrize("do", ["fail-operation", "stuck-operation", "silent-rollback"])
def test_a_refused_write_takes_none_of_an_operations_times(tmp_path: Path, do: str) -> None:
    with faulty(tmp_path, on(do, times=1)) as service:
        assert service.call("PUT", service.path(), {}).status_code == 400
        assert service.call("DELETE", service.path()).status_code == 204
        service.put_plan()
        assert service.call("PUT", service.path(), definition(MODEL)).status_code == 201
    assert fired(tmp_path) == [("PUT", 201, do)]


# Reads that do not tell the truth.


def described(service: Service, **query: str) -> str:
    answer = service.call("GET", service.path(), **query)  # type: ignore[arg-type]
    if answer.status_code == 404:
        return code_of(answer)[2]
    return str(answer.json()["properties"].get("description", ""))


def test_stale_read_shows_what_was_before_the_last_write_for_some_seconds(tmp_path: Path) -> None:
    with faulty(tmp_path, on("stale-read", path="webServices/census")) as service:
        hold_time(service.url)
        service.put("other")
        service.put(description="a")
        before = service.get("other")
        assert described(service) == "WebServiceNotFound"
        while described(service) == "WebServiceNotFound":
            pass_time(service.url, 1)
        shown = service.get()
        service.finish(service.call("PATCH", service.path(), GRAPH))
        assert service.get() == shown
        while described(service) == "a":
            pass_time(service.url, 1)
        assert described(service) == "new"
        service.finish(service.call("DELETE", service.path()))
        assert described(service) == "new"
        while described(service) == "new":
            pass_time(service.url, 1)
        assert described(service) == "WebServiceNotFound"
        assert service.get("other") == before
    assert {("GET", 404, "stale-read"), ("GET", 200, "stale-read")} == set(fired(tmp_path))
    last = log_of(tmp_path)[-2]
    assert (last["status"], last["fault"]) == (404, None)


def test_stale_read_is_over_once_its_seconds_are(tmp_path: Path) -> None:
    with faulty(tmp_path, on("stale-read", seconds=0)) as service:
        service.put()
        assert service.patch(description="new")["properties"]["description"] == "new"
    assert fired(tmp_path) == []


def test_stale_read_fires_as_often_as_it_says_however_long_ago(tmp_path: Path) -> None:
    with faulty(tmp_path, on("stale-read", times=2)) as service:
        service.put(description="a")
        assert described(service) == "WebServiceNotFound"
        service.patch(description="b")  # reads once: the second time
        assert described(service) == "b"
    assert fired(tmp_path) == [("GET", 404, "stale-read"), ("GET", 200, "stale-read")]


def test_stale_read_leaves_other_reads_alone_and_knows_both_versions(tmp_path: Path) -> None:
    with faulty(tmp_path, on("stale-read", rate=1)) as service:
        service.put(description="a")
        body = definition(MODEL)
        parameters = {"P": {"value": "x", "certificateThumbprint": ""}}
        body["properties"] |= {"parameters": parameters, "description": "b"}
        service.finish(service.call("PUT", service.path(), body))
        service.finish(service.call("PATCH", service.path(), GRAPH))
        old = service.call("GET", service.path(), version=PREVIEW).json()["properties"]
        assert (old["description"], old["parameters"]) == ("b", {"P": "x"})
        (item,) = service.call("GET", service.group_list).json()["value"]
        assert item["properties"]["description"] == "new"
        assert set(service.call("GET", service.path(tail="/listKeys")).json()) == {
            "primary",
            "secondary",
        }
        region = service.call("GET", service.path(), query={"region": "westcentralus"})
        assert code_of(region)[2] == "PerRegionPayloadNotFound"
        assert service.call("GET", service.path(), version="").status_code == 400
        remaining = service.call("GET", service.path()).headers
        assert "x-ms-ratelimit-remaining-subscription-reads" in remaining
    assert len(fired(tmp_path)) == 2


def test_stale_read_shows_the_old_while_the_write_runs_and_after_a_restart(tmp_path: Path) -> None:
    options = ("--data", str(tmp_path / "data"), "--switch=get-while-provisioning=new")
    plan = on("stale-read", rate=1)
    with faulty(tmp_path, plan, options=(*options, f"--operation-seconds={LONG_S}")) as service:
        service.finish(service.call("PUT", service.path(), definition(MODEL)))
        answer = service.call("PATCH", service.path(), GRAPH)
        running = service.get()["properties"]
        service.finish(answer)
        assert running["description"] != "new"
        assert running["provisioningState"] == "Succeeded"
        assert service.get()["properties"] == running
    with faulty(tmp_path, plan, options=options) as again:
        assert again.get()["properties"] == running


def names(answer: requests.Response) -> list[str]:
    return [item["name"] for item in answer.json()["value"]]


def test_list_omission_leaves_out_one_item_by_the_seed(tmp_path: Path) -> None:
    def story(seed: int) -> list[list[str]]:
        options = (f"--seed={seed}", "--switch=list-page-size=4")
        with faulty(tmp_path, on("list-omission", times=6), options=options) as service:
            assert service.call("GET", service.group_list).json() == {"value": []}
            for name in "abcdef":
                service.put(name)
            shown = []
            for _ in range(3):
                first = service.call("GET", service.group_list)
                second = service.call("GET", first.json()["nextLink"])
                shown.append(names(first) + names(second))
            assert names(service.call("GET", service.group_list)) == ["a", "b", "c", "d"]
            return shown

    once, again, other = story(3), story(3), story(4)
    assert once == again != other
    assert [len(shown) for shown in once] == [4, 4, 4]  # three of four, and one of two
    assert len(set(map(tuple, once))) > 1
    assert fired(tmp_path) == [("GET", 200, "list-omission")] * 18

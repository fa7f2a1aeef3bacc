"""What goes wrong on purpose: what the client sees, what is stored, what is logged."""

import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from reconciler.emulator import KINDS
from tests.contract.world import (
    MODEL,
    NEW_MODEL,
    PREVIEW,
    PROVIDER,
    VERSION,
    Json,
    Service,
    code_of,
    run_service,
)
from tests.e2e.world import SUBSCRIPTION, clean_environment, definition

pytestmark = pytest.mark.contract
GRAPH = {"properties": {"packageType": "Graph", "description": "new"}}
LOST = requests.exceptions.ConnectionError


def write_faults(folder: Path, *faults: Json) -> Path:
    file = folder / "faults.yaml"
    file.write_text(json.dumps(list(faults)))
    return file


@contextmanager
def faulty(folder: Path, *faults: Json, options: tuple[str, ...] = ()) -> Iterator[Service]:
    """An emulator with a fault plan, which logs into the folder."""
    file = write_faults(folder, *faults)
    log = folder / "log.jsonl"
    with run_service(f"--faults={file}", f"--log={log}", *options) as service:
        yield service


def log_of(folder: Path) -> list[Json]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def fired(folder: Path) -> list[tuple[str, int | None, str]]:
    """Method, status and fault of the requests that a fault met."""
    return [(one["method"], one["status"], one["fault"]) for one in log_of(folder) if one["fault"]]


def on(do: str, method: str = "", path: str = "", **more: Json) -> Json:
    match = {name: value for name, value in (("method", method), ("path", path)) if value}
    return {"match": match, "do": do, **more}


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
        assert service.properties()["provisioningState"] == "Succeeded"


def connect(service: Service, method: str, path: str, most: int = 0) -> socket.socket:
    """A connection on which a request without a body was sent; `most` bytes wait to be read."""
    where = urlsplit(service.url)
    wild = socket.socket()
    wild.settimeout(30)
    if most:
        wild.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, most)
    wild.connect((str(where.hostname), int(where.port or 0)))
    wild.sendall(
        f"{method} {path}?api-version={VERSION} HTTP/1.1\r\nHost: x\r\n"
        "Authorization: Bearer emulator\r\n\r\n".encode("utf-8", "surrogateescape")
    )
    return wild


def read_all(wild: socket.socket) -> bytes:
    return b"".join(iter(lambda: wild.recv(4096), b""))


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
        wild.settimeout(30)
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
        assert service.call("PUT", service.plan(), {"location": "West Europe"}).status_code == 200
        assert service.call("PUT", service.path(), definition(MODEL)).status_code == 201
    assert fired(tmp_path) == [("PUT", 201, do)]


def test_a_read_of_an_operation_can_be_met_too(tmp_path: Path) -> None:
    with faulty(tmp_path, on("throttle", "GET", "operationsStatus", times=1)) as service:
        link = service.call("PUT", service.path(), definition(MODEL)).headers[
            "Azure-AsyncOperation"
        ]
        assert service.call("GET", link).status_code == 429
        assert service.call("GET", link).json()["status"] == "Succeeded"
    assert fired(tmp_path) == [("GET", 429, "throttle")]


# Reads that do not tell the truth.


def described(service: Service, **query: str) -> str:
    answer = service.call("GET", service.path(), **query)  # type: ignore[arg-type]
    if answer.status_code == 404:
        return code_of(answer)[2]
    return str(answer.json()["properties"].get("description", ""))


def test_stale_read_shows_what_was_before_the_last_write_for_some_seconds(tmp_path: Path) -> None:
    with faulty(tmp_path, on("stale-read", path="webServices/census")) as service:
        service.put("other")
        service.put(description="a")
        before = service.get("other")
        assert described(service) == "WebServiceNotFound"
        while described(service) == "WebServiceNotFound":
            time.sleep(0.02)
        shown = service.get()
        service.finish(service.call("PATCH", service.path(), GRAPH))
        assert service.get() == shown
        while described(service) == "a":
            time.sleep(0.02)
        assert described(service) == "new"
        service.finish(service.call("DELETE", service.path()))
        assert described(service) == "new"
        while described(service) == "new":
            time.sleep(0.02)
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
    with faulty(tmp_path, plan, options=(*options, "--operation-seconds=0.3")) as service:
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


# Which fault meets which request.


def statuses(service: Service, count: int, method: str = "GET", path: str = "none") -> list[int]:
    return [service.call(method, service.path(path)).status_code for _ in range(count)]


def test_the_first_entry_that_fires_wins(tmp_path: Path) -> None:
    plan = (
        on("throttle", path="/none[?]", times=2),
        on("error", path="none", times=1, status=502),
        on("error", path="other", rate=0, status=503),
        on("error", "DELETE", status=504),
    )
    with faulty(tmp_path, *plan) as service:
        assert statuses(service, 5) == [429, 429, 502, 404, 404]
        assert statuses(service, 2, path="other") == [404, 404]
        assert statuses(service, 2, "DELETE") == [504, 504]


def test_a_path_is_searched_in_path_and_query_as_they_are_logged(tmp_path: Path) -> None:
    plan = (
        on("throttle", path=r"/WEB"),
        on("throttle", path=r"(?i)/CENSUS%20B\?api-version=\d{4}-01-01$"),
    )
    with faulty(tmp_path, *plan) as service:
        assert statuses(service, 1, path="census B") == [429]
        assert statuses(service, 1, path="census b") == [429]
        assert statuses(service, 1, path="census") == [404]
    assert "/census%20b?api-version=" in log_of(tmp_path)[1]["path"]


def test_method_may_be_written_small_and_a_match_may_be_empty(tmp_path: Path) -> None:
    with faulty(tmp_path, on("throttle", "delete", times=1), on("error")) as service:
        assert statuses(service, 2) == [500, 500]
        assert statuses(service, 2, "DELETE") == [429, 500]


def test_nobody_without_the_token_meets_a_fault(tmp_path: Path) -> None:
    with faulty(tmp_path, on("throttle", times=1)) as service:
        stranger = Service(service.url, token="wrong")
        assert statuses(stranger, 3) == [401, 401, 401]
        assert statuses(service, 2) == [429, 404]


def pattern_of(folder: Path, seed: int, *plan: Json, count: int = 60, busy: bool = False) -> str:
    """Which of many reads were throttled; `busy` has the service use its own chance between."""
    with faulty(folder, *plan, options=(f"--seed={seed}",)) as service:
        shown = ""
        for number in range(count):
            if busy and number % 7 == 0:
                service.put(f"s{number}")
            shown += "x" if statuses(service, 1) == [429] else "."
        return shown


def test_a_seed_makes_faults_repeatable_whatever_else_chance_is_used_for(tmp_path: Path) -> None:
    plan = on("throttle", "GET", "/none", rate=0.4)
    shown = pattern_of(tmp_path, 11, plan)
    assert pattern_of(tmp_path, 11, plan, busy=True) == shown
    assert pattern_of(tmp_path, 12, plan) != shown
    behind = pattern_of(tmp_path, 11, on("error", "DELETE", rate=0.5), plan)
    assert behind != shown  # the second entry has chance of its own
    assert pattern_of(tmp_path, 11, on("slow", "DELETE"), plan) == behind


def test_rate_is_how_many_of_many_requests_a_fault_meets(tmp_path: Path) -> None:
    shown = pattern_of(tmp_path, 1, on("throttle", rate=0.3), count=1000)
    # Four standard deviations of a thousand draws.
    assert abs(shown.count("x") - 300) <= 4 * (1000 * 0.3 * 0.7) ** 0.5
    assert "xx" in shown


def test_times_are_counted_from_the_start_of_the_process(tmp_path: Path) -> None:
    for _ in range(2):
        options = ("--data", str(tmp_path / "data"))
        with faulty(tmp_path, on("throttle", times=2), options=options) as service:
            assert statuses(service, 3) == [429, 429, 404]


def test_no_pattern_holds_the_emulator_up(tmp_path: Path) -> None:
    plan = [on("throttle", path=path) for path in ("(a+)+$", "(a|aa)+Z", ".*.*.*.*.*.*.*.*x$")]
    with faulty(tmp_path, *plan) as service:
        # A backtracking search would not answer within the patience of any client.
        assert statuses(service, 20, path="a" * 7000 + "!") == [404] * 20


def test_a_path_that_is_no_text_meets_faults_as_any_other(tmp_path: Path) -> None:
    with faulty(tmp_path, on("throttle", path="webServices")) as service:
        with connect(service, "GET", service.path("a\udcff\udcfe")) as wild:
            assert wild.recv(64).split()[1] in {b"429", b"400"}
        assert statuses(service, 1) == [429]


# The end of the process.


@contextmanager
def doomed(folder: Path, after: int, *options: str) -> Iterator[tuple[Service, Any]]:
    """An emulator that ends hard; the process beside it, whose code says how it ended."""
    command = [sys.executable, "-m", "reconciler", "emulator", "--no-blob", "--port=0"]
    command += [f"--crash-after={after}", f"--data={folder / 'data'}", *options]
    process = subprocess.Popen(
        [*command, f"--log={folder / 'log.jsonl'}"], env=clean_environment(), stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    with process:
        try:
            url = json.loads(process.stdout.readline())["resourceManager"]
            yield Service(url, process=process), process
        finally:
            process.kill()


def test_crash_after_ends_the_process_once_so_many_requests_are_answered(tmp_path: Path) -> None:
    file = write_faults(tmp_path, on("drop-reply", "DELETE", times=2))
    with doomed(tmp_path, 3, f"--faults={file}") as (service, process):
        assert statuses(service, 1) == [404]
        for _ in range(2):
            with pytest.raises(LOST):
                service.call("DELETE", service.path("none"))
        assert statuses(service, 1) == [404]
        assert process.poll() is None
        assert service.call("PUT", service.path(), definition(MODEL)).status_code == 201
        assert process.wait(timeout=30) == -9
    assert [line["status"] for line in log_of(tmp_path)] == [404, None, None, 404, 201]


def test_crash_after_sends_its_last_answer_whole(tmp_path: Path) -> None:
    body = definition(MODEL)
    body["properties"]["description"] = "x" * 9_000_000
    with doomed(tmp_path, 2, "--operation-seconds=0") as (service, process):
        assert service.call("PUT", service.path(), body).status_code == 201
        with connect(service, "GET", service.path(), most=4096) as wild:
            head, _, body = read_all(wild).partition(b"\r\n\r\n")
        assert process.wait(timeout=30) == -9
    assert f"Content-Length: {len(body)}".encode() in head
    assert len(json.loads(body)["properties"]["description"]) == 9_000_000


def test_an_operation_goes_on_where_the_killed_process_left_it(tmp_path: Path) -> None:
    with run_service("--data", str(tmp_path / "data")) as service:
        service.put(description="old")
    with doomed(tmp_path, 1, "--operation-seconds=3") as (service, process):
        answer = service.call("PATCH", service.path(), GRAPH)
        process.wait(timeout=30)
    link = "/subscriptions" + answer.headers["Azure-AsyncOperation"].partition("/subscriptions")[2]
    with run_service("--data", str(tmp_path / "data")) as again:
        assert again.call("GET", link).json()["status"] == "Provisioning"
        assert again.properties()["description"] == "old"
        assert again.call("PATCH", again.path(), GRAPH).status_code == 409
        while (status := again.call("GET", link).json())["status"] == "Provisioning":
            time.sleep(0.02)
        assert status["status"] == "Succeeded"
        assert again.properties()["description"] == "new"
        again.patch(description="newer")


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_an_operation_that_was_due_while_nobody_ran_has_ended(tmp_path: Path, method: str) -> None:
    with doomed(tmp_path, 1 if method == "PUT" else 3, "--operation-seconds=0.1") as (
        service,
        process,
    ):
        answer = service.call("PUT", service.path(), definition(MODEL))
        if method == "DELETE":
            time.sleep(0.15)  # the operation's own time
            assert service.properties()["provisioningState"] == "Succeeded"
            answer = service.call("DELETE", service.path())
        process.wait(timeout=30)
    time.sleep(0.15)
    link = "/subscriptions" + answer.headers["Azure-AsyncOperation"].partition("/subscriptions")[2]
    with run_service("--data", str(tmp_path / "data")) as again:
        found = again.call("GET", again.path()).status_code
        assert found == (200 if method == "PUT" else 404)
        assert again.call("GET", link).json()["status"] == "Succeeded"


# The file.


def refuse(file: Path) -> str:
    """What the command says of a file that it does not take; it starts nothing."""
    done = subprocess.run(
        [sys.executable, "-m", "reconciler", "emulator", "--port=0", "--faults", str(file)],
        env=clean_environment({"NO_COLOR": "1"}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "Traceback" not in done.stderr
    return done.stderr.replace(str(file), "FILE")


NO_PATTERN = (
    "path is no regular expression that can be searched (look-around and back references cannot)"
)
WRONG = """\
- match: {method: FETCH, path: "(a"}
  do: throtle
- do: throttle
  match: {path: "(?=x)y", pth: 1}
  times: 1
  rate: 1.5
- {match: {path: [x]}, do: slow, second: 3}
- {match: [], do: error, status: 404}
- {match: {}, do: hang, seconds: 2, status: 500}
- {match: {}, do: slow, seconds: -1}
- {match: {}, times: 0}
- just text
- {match: {}, do: error, rate: true}
- {match: {path: x, path: y}, do: error}
"""


def test_every_finding_of_a_wrong_file_is_told_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "faults.yaml"
    file.write_text(WRONG)
    said = refuse(file)
    found = re.findall(r"Error: (.*)\n\n  on FILE line (\d+), column (\d+)", said)
    assert [(message, int(line)) for message, line, _ in found] == [
        ("method must be GET or PUT or PATCH or POST or DELETE", 1),
        (NO_PATTERN, 1),
        ("do names no fault that there is", 2),
        (NO_PATTERN, 4),
        ('unknown field "pth"', 4),
        ("rate must be a number from 0 to 1", 6),
        ("times and rate exclude one another", 6),
        ("path must be text, a regular expression", 7),
        ('unknown field "second"', 7),
        ("match must be a mapping with method and path, or either", 8),
        ("status must be a whole number from 500 to 599", 8),
        ("seconds says nothing to hang", 9),
        ("status says nothing to hang", 9),
        ("seconds must be a number from 0 to 3600", 10),
        ("the fault lacks do", 11),
        ("times must be a whole number from 1", 11),
        ("a fault must be a mapping with match and do", 12),
        ("rate must be a number from 0 to 1", 13),
        ('the key "path" stands here for the second time', 14),
    ]
    assert said.count("Error: ") == len(found)
    assert all(f'Did you mean "{name}"?' in said for name in ("throttle", "path", "seconds"))
    assert "  on FILE line 1, column 26\n" in said


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "holds no faults"),
        (b"# nothing\n", "holds no faults"),
        (b"do: hang\n", "must be a list of faults"),
        (b"- {match: {}, do: hang}\n---\n- 1\n", "a second document"),
        (b"- {match: {}, do: hang\n", "is not YAML"),
        (b"\xff\xfe\xff", "is not text in UTF-8"),
        (b"- {match: {}, do: [hang]}\n", "do names no fault"),
        (b"- {match: {}, do: {a: 1}}\n", "do names no fault"),
        (b"- {match: {}, do: hang, times: .inf}\n", "would be read as a number"),
        (b"- {match: {path: '" + b"a" * 501 + b"'}, do: hang}\n", "at most 500 characters"),
        (b"- {match: {path: '(a{1000}){1000}'}, do: hang}\n", "no regular expression"),
        (b"- {match: {}, do: hang}\n" * 1001, "one fault too many"),
        (b" " * (1024 * 1024 + 1), "at most 1 MB"),
        (b"- {match: {}, do: &x [*x]}\n", "do names no fault"),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    file = tmp_path / "faults.yaml"
    file.write_bytes(data)
    said = refuse(file)
    assert message in said
    assert "FILE" in said


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    assert "FILE" in refuse(tmp_path / "none.yaml")
    assert "is not a regular file" in refuse(tmp_path)


def test_a_file_may_be_written_as_people_write(tmp_path: Path) -> None:
    file = tmp_path / "faults.yaml"
    file.write_text(
        """\
# The first two looks at an operation are throttled.
- match:
    method: GET
    path: /operationsStatus/
  do: throttle
  times: 2
- match: {method: DELETE, path: 'webServices/none\\?'}
  do: error
  status: 503
  rate: 1.0
"""
    )
    with run_service(f"--faults={file}") as service:
        assert statuses(service, 1, "DELETE") == [503]
        link = f"/subscriptions/{SUBSCRIPTION}{PROVIDER}/locations/x/operationsStatus/0"
        seen = [service.call("GET", link).status_code for _ in range(3)]
        assert seen == [429, 429, 404]


def test_every_fault_is_explained_by_the_command() -> None:
    said = subprocess.run(
        [sys.executable, "-m", "reconciler", "emulator", "--help"],
        env=clean_environment({"COLUMNS": "200"}),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for kind in KINDS:
        assert f"    {kind.name}\n        {kind.meaning}\n" in said

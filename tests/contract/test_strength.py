"""What the emulator withstands: bad requests, many at once, restarts; and that it tells good from bad."""

import copy
import json
import re
import signal
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from tests.contract.world import LONG_S, MODEL, NEW_MODEL, Json, Service, find_faults, run_service
from tests.e2e.world import begin_command, definition, pass_time

pytestmark = pytest.mark.contract


@pytest.mark.parametrize(
    ("method", "tail", "body", "status"),
    [
        ("POST", "", {}, 405),
        ("HEAD", "", None, 405),
        ("GET", "/nothing", None, 404),
        ("GET", "/a/b/c/d", None, 404),
        ("PUT", "", b"{", 400),
        ("PUT", "", b"\xff\xfe", 400),
        ("PUT", "", b"[" * 100_000, 400),
        ("PUT", "", [], 400),
        ("PUT", "", {"properties": []}, 400),
        ("PUT", "", {"location": 7, "properties": {"packageType": "Graph"}}, 400),
        ("PATCH", "", {"properties": "x"}, 400),
        ("PATCH", "", b"", 400),
        ("POST", "/CreateRegionalBlob", None, 400),
    ],
)
def test_a_bad_request_gets_the_services_kind_of_error(
    service: Service, method: str, tail: str, body: Json, status: int
) -> None:
    service.put()
    answer = service.call(method, service.path(tail=tail), body)
    assert answer.status_code == status
    if method != "HEAD":
        assert set(answer.json()) == {"error"}
        assert {"code", "message"} <= set(answer.json()["error"])
    assert "Traceback" not in answer.text
    assert service.properties()["provisioningState"] == "Succeeded"


def test_a_body_that_is_too_large_is_413(service: Service) -> None:
    answer = service.call("PUT", service.path(), b" " * (17 * 1024 * 1024))
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "RequestEntityTooLarge")


def test_what_is_no_http_ends_the_connection_and_nothing_else(service: Service) -> None:
    host, port = service.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as wild:
        wild.sendall(b"\x16\x03\x01 this is no http\r\n\r\n")
        wild.recv(4096)
    service.put()


def wrong(path: str, value: Json) -> Callable[[Json], None]:
    def mutate(body: Json) -> None:
        *way, last = path.split("/")
        for name in way:
            body = body[name]
        body[last] = value

    return mutate


MUTATIONS = {
    "assets no map": wrong("properties/assets", []),
    "asset without a place": wrong("properties/assets/asset3/locationInfo", {"uri": 7}),
    "asset of no known type": wrong("properties/assets/asset3/type", "Model"),
    "package type unknown": wrong("properties/packageType", "Code"),
    "calls no number": wrong("properties/realtimeConfiguration", {"maxConcurrentCalls": "20"}),
    "calls too few": wrong("properties/realtimeConfiguration", {"maxConcurrentCalls": 3}),
    "level unknown": wrong("properties/diagnostics", {"level": "Some"}),
    "tags no text": wrong("tags", {"a": 1}),
    "edges no list": wrong("properties/package/edges", {}),
}


@pytest.mark.parametrize("mutation", MUTATIONS.values(), ids=MUTATIONS)
def test_nine_mutations_of_a_good_definition_are_refused(
    service: Service, mutation: Callable[[Json], None]
) -> None:
    body = definition(MODEL)
    assert find_faults("WebService", copy.deepcopy(body)) == []
    mutation(body)
    answer = service.call("PUT", service.path(), body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "BadRequest")
    assert service.call("GET", service.path()).status_code == 404


def test_many_threads_write_and_read_without_losing_anything(service: Service) -> None:
    def work(number: int) -> str:
        name = f"s{number % 8}-{number}"
        service.put(name)
        service.patch(name, description=f"d{number}")
        return str(service.properties(name)["description"])

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(work, range(48))) == [f"d{number}" for number in range(48)]
    assert len(service.call("GET", service.group_list).json()["value"]) == 48


def test_state_survives_a_restart_even_after_a_kill(tmp_path: Path) -> None:
    options = ("--data", str(tmp_path), f"--operation-seconds={LONG_S}")
    with run_service(*options) as service:
        service.put(keys={"primary": "p", "secondary": "s"})
        running = service.call("PATCH", service.path(), definition(NEW_MODEL))
        url = running.headers["Azure-AsyncOperation"]
    assert kill_while_running(tmp_path) < 0
    with run_service(*options) as again:
        path = url.partition("/subscriptions")[2]
        while again.call("GET", f"/subscriptions{path}").json()["status"] == "Provisioning":
            pass_time(again.url, LONG_S)
        live = again.properties()
        assert live["assets"]["asset3"]["locationInfo"]["uri"] == NEW_MODEL
        keys = again.call("GET", again.path(tail="/listKeys")).json()
        assert keys == {"primary": "p", "secondary": "s"}


def kill_while_running(folder: Path) -> int:
    command = ("emulator", "--no-blob", "--port=0", f"--data={folder}")
    with begin_command(folder.parent, *command, stderr=None) as process:
        assert process.stdout is not None
        json.loads(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        return process.wait()


def test_a_seed_makes_ids_keys_and_cipher_text_repeatable() -> None:
    def story() -> Json:
        with run_service("--seed=7") as service:
            body = definition(MODEL)
            body["properties"].pop("keys", None)
            secret = {"value": "x", "certificateThumbprint": "A" * 40}
            body["properties"]["package"]["nodes"]["node1"]["parameters"] = {"P": secret}
            answer = service.call("PUT", service.path(), body)
            service.finish(answer)
            keys = service.call("GET", service.path(tail="/listKeys")).json()
            shown = service.properties()
            operation = re.search(
                r"operationsStatus/([^?]+)", answer.headers["Azure-AsyncOperation"]
            )
            assert operation
            return [keys, shown["swaggerLocation"], shown["package"], operation[1]]

    first, second = story(), story()
    assert first == second


def test_the_log_has_a_line_for_each_request(tmp_path: Path) -> None:
    log = tmp_path / "requests.jsonl"
    with run_service("--log", str(log)) as service:
        service.put()
        service.call("GET", service.path("none"))
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert set(lines[0]) == {"at", "method", "path", "status", "seconds", "body_sha256", "fault"}
    assert [(line["method"], line["status"]) for line in (lines[0], lines[-1])] == [
        ("PUT", 201),
        ("GET", 404),
    ]
    assert "emulator" not in log.read_text()


def test_small_replies_do_not_wait_for_nagle(service: Service) -> None:
    """A delayed acknowledgement costs 40 ms: a hundred small replies would take four seconds."""
    with requests.Session() as session:
        session.headers["Authorization"] = "Bearer emulator"
        url = f"{service.url}{service.path('none')}?api-version=2017-01-01"
        # The first replies of a connection are acknowledged at once, whatever is switched on.
        for _ in range(50):
            session.get(url, timeout=60)
        for _ in range(1000):  # a busy machine may delay most of them
            started = time.perf_counter()
            session.get(url, timeout=60)
            if time.perf_counter() - started < 0.04:
                break
        else:
            pytest.fail("none of a thousand replies came within 40 ms")

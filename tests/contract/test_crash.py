"""An emulator that ends as hard as by a power cut, and the one that is started after it."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.contract.faulty import connect, log_of, on, read_all, statuses, write_faults
from tests.contract.world import LONG_S, MODEL, Service, run_service
from tests.e2e.world import begin_command, definition, pass_time

pytestmark = pytest.mark.contract
GRAPH = {"properties": {"packageType": "Graph", "description": "new"}}
LOST = requests.exceptions.ConnectionError


@contextmanager
def doomed(folder: Path, after: int, *options: str) -> Iterator[tuple[Service, Any]]:
    """An emulator that ends hard; the process beside it, whose code says how it ended."""
    command = ["emulator", "--no-blob", "--port=0", f"--crash-after={after}"]
    command += [f"--data={folder / 'data'}", f"--log={folder / 'log.jsonl'}", *options]
    process = begin_command(folder, *command, stderr=None)
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
        assert process.wait(timeout=120) == -9
    assert [line["status"] for line in log_of(tmp_path)] == [404, None, None, 404, 201]


def test_crash_after_sends_its_last_answer_whole(tmp_path: Path) -> None:
    body = definition(MODEL)
    body["properties"]["description"] = "x" * 9_000_000
    with doomed(tmp_path, 2, "--operation-seconds=0") as (service, process):
        assert service.call("PUT", service.path(), body).status_code == 201
        with connect(service, "GET", service.path(), most=4096) as wild:
            head, _, body = read_all(wild).partition(b"\r\n\r\n")
        assert process.wait(timeout=120) == -9
    assert f"Content-Length: {len(body)}".encode() in head
    assert len(json.loads(body)["properties"]["description"]) == 9_000_000


def test_an_operation_goes_on_where_the_killed_process_left_it(tmp_path: Path) -> None:
    with run_service("--data", str(tmp_path / "data")) as service:
        service.put(description="old")
    with doomed(tmp_path, 1, f"--operation-seconds={LONG_S}") as (service, process):
        answer = service.call("PATCH", service.path(), GRAPH)
        process.wait(timeout=120)
    link = "/subscriptions" + answer.headers["Azure-AsyncOperation"].partition("/subscriptions")[2]
    with run_service("--data", str(tmp_path / "data")) as again:
        assert again.call("GET", link).json()["status"] == "Provisioning"
        assert again.properties()["description"] == "old"
        assert again.call("PATCH", again.path(), GRAPH).status_code == 409
        while (status := again.call("GET", link).json())["status"] == "Provisioning":
            pass_time(again.url, LONG_S)
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
        process.wait(timeout=120)
    time.sleep(0.15)
    link = "/subscriptions" + answer.headers["Azure-AsyncOperation"].partition("/subscriptions")[2]
    with run_service("--data", str(tmp_path / "data")) as again:
        found = again.call("GET", again.path()).status_code
        assert found == (200 if method == "PUT" else 404)
        assert again.call("GET", link).json()["status"] == "Succeeded"

"""What goes wrong on purpose, as Classic's calls meet it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from tests.contract.classic import WORKSPACE, Classic, Json, resource, run_classic, wait_until
from tests.contract.faulty import faulty, fired, on
from tests.contract.world import LONG_S

pytestmark = pytest.mark.contract
_SERVICES = f"/workspaces/{WORKSPACE}/webservices"


@contextmanager
def broken(folder: Path, *faults: Json, options: tuple[str, ...] = ()) -> Iterator[Classic]:
    """An emulator with a fault plan for all calls but those that made its endpoint."""
    for fault in faults:
        fault["match"]["path"] = fault["match"].get("path", "") + ".*[?]met"
    with faulty(folder, *faults, options=options) as service:
        Classic(service.url).put("one", Description="old")
        yield Classic(service.url, query="met")


def test_invalid_model_meets_now_and_then_what_carries_a_model(tmp_path: Path) -> None:
    with broken(tmp_path, on("invalid-model", times=1)) as classic:
        classic.patch("one", Description="carries none")
        classic.publish(Resources=[resource()["Name"]])
        body = {"Description": "with a model", "Resources": [resource()]}
        answer = classic.call("PATCH", "/endpoints/one", body)
        assert (answer.status_code, answer.json()) == (
            400,
            {"error": {"code": "BadArgument", "message": "invalid model URL"}},
        )
        assert classic.get("one")["Description"] == "carries none"
        classic.patch("one", **body)
        assert classic.get("one")["Description"] == "with a model"
    assert fired(tmp_path) == [("PATCH", 400, "invalid-model")]


@pytest.mark.parametrize("do", ["fail-operation", "stuck-operation", "silent-rollback"])
def test_a_write_may_be_accepted_and_never_take_effect(tmp_path: Path, do: str) -> None:
    with broken(tmp_path, on(do, times=4)) as classic:
        before, scored = classic.call("GET", "/endpoints").json(), classic.score("one")
        assert classic.patch("one", Description="new", Resources=[resource()]).status_code == 204
        assert classic.put("two").status_code == 201
        assert classic.call("DELETE", "/endpoints/one").status_code == 204
        assert classic.call("GET", "/endpoints").json() == before
        assert classic.score("one") == scored
        # What the service refuses, or has nothing to do for, has no effect to hold back.
        assert classic.call("PATCH", "/endpoints/one", {"Nothing": 1}).status_code == 400
        assert classic.refresh("one") == 304
        classic.publish()
        assert classic.refresh("one") == 204
        assert classic.get("one")["Version"] == before[1]["Version"]
        assert classic.refresh("one") == 204
        assert classic.get("one")["Version"] > before[1]["Version"]
    assert [status for _, status, _ in fired(tmp_path)] == [204, 201, 204, 204]


def test_what_was_held_back_stays_so_after_a_restart(tmp_path: Path) -> None:
    options = (f"--data={tmp_path / 'data'}",)
    with broken(tmp_path, on("silent-rollback"), options=options) as classic:
        classic.patch("one", Description="new")
        classic.put("two")
        classic.call("DELETE", "/endpoints/one")
        kept = classic.get("one")
    with run_classic(*options) as again:
        assert again.names() == ["default", "one"]
        assert again.get("one") == kept


def test_an_earlier_write_that_is_pending_stays_when_a_later_one_is_held_back(
    tmp_path: Path,
) -> None:
    options = (f"--operation-seconds={LONG_S}",)
    with broken(tmp_path, on("silent-rollback"), options=options) as classic:
        plain = Classic(classic.url)
        plain.patch("one", Description="first")
        classic.patch("one", Description="second")
        plain.patch("one", MaxConcurrentCalls=2)
        wait_until(classic.url, lambda: classic.get("one")["MaxConcurrentCalls"] == 2)
        assert classic.get("one")["Description"] == "first"


def test_stale_read_shows_what_was_before_the_last_write(tmp_path: Path) -> None:
    with broken(tmp_path, on("stale-read", times=4)) as classic:
        before = Classic(classic.url).get("one")
        classic.patch("one", Description="new")
        assert classic.get("one") == before
        assert classic.call("GET", "/endpoints").json()[1]["Description"] == "new"
        classic.put("two")
        assert classic.call("GET", "/endpoints/two").status_code == 404
        classic.call("DELETE", "/endpoints/two")
        assert classic.get("two")["Name"] == "two"
        classic.publish()
        classic.refresh("one")
        assert classic.get("one") == {**before, "Description": "new"}
        assert classic.get("one")["Version"] > before["Version"]
    assert [fault for _, _, fault in fired(tmp_path)] == ["stale-read"] * 4


def test_stale_read_ends(tmp_path: Path) -> None:
    with broken(tmp_path, on("stale-read", seconds=LONG_S)) as classic:
        classic.patch("one", Description="new")
        assert classic.get("one")["Description"] == "old"
        wait_until(classic.url, lambda: classic.get("one")["Description"] != "old")


def test_list_omission_leaves_one_out(tmp_path: Path) -> None:
    with broken(tmp_path, on("list-omission", times=4)) as classic:
        assert len(classic.call("GET", _SERVICES).json()) == 1
        classic.put("two")
        assert len(classic.call("GET", "/endpoints").json()) == 2
        assert classic.get("one")["Name"] == "one"
        for name in ("one", "two"):
            classic.call("DELETE", f"/endpoints/{name}")
        assert classic.call("GET", "/endpoints").status_code == 204  # none is left to tell
        classic.call("DELETE", "/endpoints/default")
        assert classic.call("GET", "/endpoints").status_code == 204
        assert len(fired(tmp_path)) == 3
        assert len(classic.call("GET", _SERVICES).json()) == 1
        assert len(classic.call("GET", _SERVICES).json()) == 2


def test_whatever_is_no_matter_of_classics_meets_its_calls_as_any_other(tmp_path: Path) -> None:
    plan = (
        on("throttle", "GET", "/one", times=1),
        on("error", "GET", "/one", times=1, status=502),
        on("wrong-type", "GET", "/one", times=1),
        on("truncate", "GET", "/one", times=1),
        on("drop-request", "PATCH", "/one", times=1),
        on("drop-reply", "PATCH", "/one", times=1),
    )
    with broken(tmp_path, *plan) as classic:
        throttled = classic.call("GET", "/endpoints/one")
        assert (throttled.status_code, throttled.headers["Retry-After"]) == (429, "1")
        assert "x-ms-ratelimit-remaining-subscription-reads" not in throttled.headers
        assert classic.call("GET", "/endpoints/one").status_code == 502
        page = requests.get(
            f"{classic.url}{classic.path('/endpoints/one')}?met",
            headers={"Authorization": "Bearer emulator"},
            timeout=120,
        )
        assert (page.status_code, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            classic.call("GET", "/endpoints/one")
        for description in ("never", "done"):
            with pytest.raises(requests.exceptions.ConnectionError):
                classic.patch("one", Description=description)
            assert (classic.get("one")["Description"] == "done") is (description == "done")
    assert len(fired(tmp_path)) == len(plan)


def test_a_stranger_meets_no_fault(tmp_path: Path) -> None:
    with broken(tmp_path, on("throttle", times=1)) as classic:
        assert Classic(classic.url, token="wrong").call("GET", "").status_code == 401
        assert classic.call("GET", "").status_code == 429

"""What nobody knows of Classic: each point a switch, the strictest reading its default."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.contract.classic import (
    MODEL,
    Classic,
    Json,
    resource,
    run_classic,
    wait_until,
)
from tests.contract.world import LONG_S

pytestmark = pytest.mark.contract


@contextmanager
def switched(*options: str, **switches: str) -> Iterator[Classic]:
    """An emulator with some unknowns settled otherwise, and an endpoint to try them on."""
    chosen = [f"--switch=classic-{n.replace('_', '-')}={value}" for n, value in switches.items()]
    with run_classic(*options, *chosen) as classic:
        classic.put("one", ThrottleLevel="High", MaxConcurrentCalls=8)
        yield classic


OTHERS = {
    "resource_location": "whole",
    "put_existing": "replace",
    "put_status": "204",
    "patch_status": "200",
    "write_body": "endpoint",
    "prevent_update": "not-modified",
    "low_calls": "cap",
    "unknown_fields": "ignore",
    "missing_endpoint": "204",
    "endpoint_count": "yes",
}


@pytest.fixture(scope="module")
def shared_other() -> Iterator[Classic]:
    """An emulator that reads otherwise whatever does not get in the way of the rest."""
    with switched(**OTHERS) as running:
        yield running


@pytest.fixture
def other(shared_other: Classic) -> Classic:
    classic = Classic(shared_other.url, uuid.uuid4().hex)
    classic.publish(Name="Bikes", Resources=[MODEL])
    classic.put("one", ThrottleLevel="High", MaxConcurrentCalls=8)
    return classic


def test_a_location_may_be_shown_whole(other: Classic) -> None:
    published = other.get("one")["Resources"][0]["Location"]
    assert published["RelativeLocation"].endswith(".ilearner")
    other.patch("one", Resources=[resource()])
    shown = other.get("one")["Resources"]
    assert shown == [{"Kind": "TrainedModel", **resource()}]
    other.refresh("one", {"OverwriteResources": "True"})
    assert other.get("one")["Resources"][0]["Location"] == published
    other.publish()
    assert other.get("default")["Resources"][0]["Location"] != published


def test_a_location_may_be_shown_without_its_signature() -> None:
    with switched(resource_location="without-signature") as classic:
        classic.patch("one", Resources=[resource()])
        location = classic.get("one")["Resources"][0]["Location"]
        assert location == {
            name: value for name, value in resource()["Location"].items() if name != "SasBlobToken"
        }


def test_settings_and_versions_may_take_effect_at_once() -> None:
    with switched(f"--operation-seconds={LONG_S}", delayed="model") as classic:
        before = classic.score("one")
        classic.patch("one", Description="new", Resources=[resource()])
        assert classic.get("one")["Description"] == "new"
        assert classic.score("one") == before
        wait_until(classic.url, lambda: classic.score("one") != before)
        classic.publish()
        assert classic.refresh("one") == 204
        assert classic.get("one")["Version"] == classic.get("default")["Version"]


def test_a_put_over_an_endpoint_may_replace_its_settings(other: Classic) -> None:
    other.patch("one", Description="old", Resources=[resource()])
    before, patched = other.get("one"), other.score("one")
    other.put("one", MaxConcurrentCalls=2)
    changed = {"Description": "", "ThrottleLevel": "Low", "MaxConcurrentCalls": 2}
    assert other.get("one") == {**before, **changed}
    assert other.score("one") == patched


@pytest.mark.parametrize("status", ["200", "202"])
def test_writes_may_be_taken_with_another_status(status: str) -> None:
    switches = {f"{method}_status": status for method in ("put", "patch", "delete", "refresh")}
    with switched(**switches) as classic:
        wanted = int(status)
        for answer in (
            classic.put("two"),
            classic.patch("two", Description="d"),
            classic.call("DELETE", "/endpoints/two"),
        ):
            assert (answer.status_code, answer.content) == (wanted, b"")
            assert "Content-Type" not in answer.headers
        classic.publish()
        assert classic.refresh("one") == wanted
        assert classic.call("DELETE", "").status_code == wanted


def test_a_put_or_patch_may_answer_the_endpoint(other: Classic) -> None:
    assert other.put("two").content == b""  # a 204 never has a body
    before = other.get("two")
    assert other.patch("two", Description="d").json()["Name"] == "two"
    assert other.get("two") == {**before, "Description": "d"}


@pytest.mark.parametrize("status", ["403", "404"])
def test_a_patch_may_be_refused_with_another_status_and_without_a_word(status: str) -> None:
    with switched(refused_patch_status=status, refused_patch_body="empty") as classic:
        before = classic.get("one")
        for body in ({"Resources": [resource(name="other")]}, {"MaxConcurrentCalls": 0}):
            answer = classic.session.patch(
                classic.url + classic.path("/endpoints/one"),
                json=body,
                headers={"Authorization": f"Bearer {classic.token}"},
                timeout=120,
            )
            assert (answer.status_code, answer.content) == (int(status), b"")
        assert classic.get("one") == before
        assert classic.call("PUT", "/endpoints/A", {}).status_code == 400
        assert classic.call("PATCH", "/endpoints/none", {}).json()["error"]["code"] == "NotFound"


def patch_default(classic: Classic, body: Json) -> tuple[int, bool, bool]:
    """The status of a PATCH of the default endpoint; whether its settings and model changed."""
    before, scored = classic.get("default"), classic.score("default")
    status = classic.call("PATCH", "/endpoints/default", body).status_code
    return status, classic.get("default") != before, classic.score("default") != scored


@pytest.mark.parametrize(
    ("reading", "settings", "model"),
    [
        ("reject", (400, False, False), (400, False, False)),
        ("reject-model", (204, True, False), (400, False, False)),
        ("ignore", (204, False, False), (204, False, False)),
        ("accept", (204, True, False), (204, False, False)),
    ],
)
def test_a_patch_of_the_default_endpoint(
    reading: str, settings: tuple[int, bool, bool], model: tuple[int, bool, bool]
) -> None:
    with switched(patch_default=reading) as classic:
        assert patch_default(classic, {"Description": "d"}) == settings
        assert patch_default(classic, {"Resources": [resource()]}) == model


def test_prevent_update_may_look_like_nothing_to_do(other: Classic) -> None:
    other.put("held", PreventUpdate=True)
    before = other.get("held")
    other.publish()
    assert other.refresh("held", {"OverwriteResources": "True"}) == 304
    assert other.get("held") == before


def test_too_many_calls_for_a_low_level_may_be_cut_down(other: Classic) -> None:
    other.put("two", ThrottleLevel="Low", MaxConcurrentCalls=50)
    assert other.get("two")["MaxConcurrentCalls"] == 4
    other.patch("one", ThrottleLevel="Low", MaxConcurrentCalls=7)
    assert other.get("one")["MaxConcurrentCalls"] == 4
    high = {"ThrottleLevel": "High", "MaxConcurrentCalls": 201}
    assert other.call("PUT", "/endpoints/x", high).status_code == 400


def test_fields_that_nobody_knows_may_be_passed_over(other: Classic) -> None:
    before = other.get("one")
    other.patch("one", PreventUpdate=True, Name="two", Anything=[1])
    assert other.get("one") == before
    other.put("two", DiagnosticsTraceLevel="All")
    assert other.get("two")["DiagnosticsTraceLevel"] == "None"


def test_an_endpoint_that_is_not_there_may_be_204(other: Classic) -> None:
    answer = other.call("GET", "/endpoints/none")
    assert (answer.status_code, answer.content) == (204, b"")
    assert other.call("PATCH", "/endpoints/none", {}).status_code == 404


def test_errors_may_have_no_details() -> None:
    with switched(error_details="no") as classic:
        for answer in (
            classic.call("GET", "/endpoints/none"),
            classic.call("GET", "", token="wrong"),
            classic.call("PUT", "/endpoints/x", {"ThrottleLevel": "Low", "MaxConcurrentCalls": 9}),
        ):
            assert set(answer.json()["error"]) == {"code", "message"}


def test_web_services_may_count_their_endpoints(other: Classic) -> None:
    path = other.path().removesuffix(f"/{other.service}")
    # Published clients read it; the description does not know it.
    shown = other.session.get(
        other.url + path, headers={"Authorization": f"Bearer {other.token}"}
    ).json()
    assert {one["Id"]: one["EndpointCount"] for one in shown}[other.service] == 2


def test_a_model_may_be_taken_without_a_look_at_storage(storage: str) -> None:
    missing = resource("devstoreaccount1/models/none.ilearner", f"{storage}/")
    for reading, status in (("check", 400), ("trust", 204)):
        options = ("--blob", f"--blob-url={storage}")
        with switched(*options, model=reading) as classic:
            answer = classic.call("PATCH", "/endpoints/one", {"Resources": [missing]})
            assert answer.status_code == status
            assert classic.get("one")["Resources"][0]["Name"] == MODEL

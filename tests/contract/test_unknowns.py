"""What nobody knows of the service: each point a switch, the strictest reading its default."""

from pathlib import Path

import pytest

from reconciler.emulator import SWITCHES
from tests.contract.world import (
    LONG_S,
    MODEL,
    NEW_MODEL,
    PREVIEW,
    Json,
    Service,
    code_of,
    run_service,
    switched,
)
from tests.e2e.world import SUBSCRIPTION, definition, run
from tests.storage import upload_model

pytestmark = pytest.mark.contract


def one_asset(service: Service) -> Json:
    """The assets after a PATCH that names one of them alone."""
    service.put()
    asset = service.properties()["assets"]["asset3"]
    asset["locationInfo"]["uri"] = NEW_MODEL
    return service.patch(assets={"asset3": asset})["properties"]["assets"]


def test_f1_assets_are_replaced_by_a_patch_unless_merged(service: Service) -> None:
    assert set(one_asset(service)) == {"asset3"}
    with switched(patch_assets="merge") as merging:
        assert {"asset1", "asset3"} <= set(one_asset(merging))


@pytest.mark.parametrize(("reading", "status"), [("reject", 400), ("delete", 200), ("ignore", 200)])
def test_f1_null_in_a_patch(reading: str, status: int) -> None:
    with switched(null_in_patch=reading) as service:
        service.put(description="D")
        body = {"properties": {"packageType": "Graph", "description": None}}
        answer = service.call("PATCH", service.path(), body)
        assert answer.status_code == status
        if status == 200:
            service.finish(answer)
            shown = service.properties().get("description", "")
            assert shown == {"delete": "", "ignore": "D"}[reading]


def test_f2_a_put_over_a_service_may_answer_the_definition() -> None:
    with switched(put_existing_reply="definition") as service:
        service.put()
        answer = service.call("PUT", service.path(), definition(NEW_MODEL))
        shown = answer.json()["properties"]["assets"]["asset3"]["locationInfo"]["uri"]
        assert (answer.status_code, shown) == (200, NEW_MODEL)


@pytest.mark.parametrize("reading", ["generate", "keep"])
def test_f2_keys_that_a_put_over_a_service_leaves_out(reading: str) -> None:
    with switched(put_keys=reading) as service:
        service.put(keys={"primary": "p", "secondary": "s"})
        body = definition(MODEL)
        body["properties"]["keys"] = {"secondary": "t"}
        service.finish(service.call("PUT", service.path(), body))
        keys = service.call("GET", service.path(tail="/listKeys")).json()
        assert (keys["primary"] == "p", keys["secondary"]) == (reading == "keep", "t")


@pytest.mark.parametrize("where", ["errorInfo", "error"])
def test_f3_a_failed_operation_says_why(where: str) -> None:
    with switched(model_uri="check", failed_operation=where) as service:
        missing = definition("http://127.0.0.1:9/a/m/x.ilearner")
        status = service.finish(service.call("PUT", service.path(), missing))
        assert status["status"] == "Failed"
        assert status[where]["details"][0]["code"] == "BlobNotFound"


def test_f3_an_operation_may_name_its_status_otherwise() -> None:
    with switched(status_field="provisioningState") as service:
        status = service.finish(service.call("PUT", service.path(), definition(MODEL)))
        assert status["provisioningState"] == "Succeeded"
        assert "status" not in status


def test_f4_a_second_write_is_a_conflict_unless_accepted(slow: Service) -> None:
    first = slow.call("PUT", slow.path(), definition(MODEL))
    for method in ("PUT", "PATCH", "DELETE"):
        body = definition(NEW_MODEL) if method != "DELETE" else None
        answer = slow.call(method, slow.path(), body)
        assert code_of(answer) == (409, "Conflict", "WebServiceProvisioning")
    slow.finish(first)
    with run_service(
        f"--operation-seconds={LONG_S}", "--switch=write-while-provisioning=accept"
    ) as service:
        service.call("PUT", service.path(), definition(MODEL))
        service.finish(service.call("PUT", service.path(), definition(NEW_MODEL)))
        assert service.properties()["assets"]["asset3"]["locationInfo"]["uri"] == NEW_MODEL


@pytest.mark.parametrize(("reading", "uri"), [("old", MODEL), ("new", NEW_MODEL), ("stub", "")])
def test_f5_a_read_while_an_operation_runs(reading: str, uri: str) -> None:
    switch = f"--switch=get-while-provisioning={reading}"
    with run_service(f"--operation-seconds={LONG_S}", switch) as service:
        service.put()
        answer = service.call("PATCH", service.path(), definition(NEW_MODEL))
        shown = service.call("GET", service.path()).json()["properties"]
        assets = shown.get("assets", {"asset3": {"locationInfo": {"uri": ""}}})
        assert assets["asset3"]["locationInfo"]["uri"] == uri
        service.finish(answer)


@pytest.mark.parametrize("body", ["error", "empty"])
def test_f6_too_many_calls_are_429_with_retry_after(body: str) -> None:
    with run_service("--limits=resource-manager", f"--switch=throttle-body={body}") as service:
        calls = (service.call("DELETE", service.path("none")) for _ in range(400))
        answer = next(one for one in calls if one.status_code == 429)
        assert int(answer.headers["Retry-After"]) >= 1
        assert (b"TooManyRequests" in answer.content) is (body == "error")


def test_f7_results_may_be_told_with_200() -> None:
    with switched(operation_results="200") as service:
        service.put()
        answer = service.call("DELETE", service.path())
        service.finish(answer)
        assert service.call("GET", answer.headers["Location"]).status_code == 200


def test_f8_a_model_is_taken_as_it_comes_unless_it_is_checked() -> None:
    with run_service("--blob", "--switch=model-uri=check") as service:
        uri = f"{service.blob}/devstoreaccount1/models/there.ilearner"
        upload_model(uri, b"bytes", {})
        assert service.finish(service.call("PUT", service.path(), definition(uri)))["status"] == (
            "Succeeded"
        )
        missing = service.call("PATCH", service.path(), definition(uri + "x"))
        assert service.finish(missing)["status"] == "Failed"
        assert service.properties()["assets"]["asset3"]["locationInfo"]["uri"] == uri


@pytest.mark.parametrize("status", ["400", "403", "409"])
def test_f8_a_read_only_service_can_only_be_deleted(status: str) -> None:
    with switched(read_only_status=status) as service:
        service.put(readOnly=True)
        answer = service.call("PATCH", service.path(), definition(NEW_MODEL))
        assert code_of(answer) == (int(status), "BadRequest", "WebServiceReadOnly")
        assert service.call("PUT", service.path(), definition(NEW_MODEL)).status_code == int(status)
        service.finish(service.call("DELETE", service.path()))


def test_f8_less_may_be_demanded_of_a_put() -> None:
    with switched(put_demands="package-type") as service:
        body = {"location": "West Europe", "properties": {"packageType": "Graph"}}
        assert service.call("PUT", service.path(), body).status_code == 201


@pytest.mark.parametrize("reading", ["no", "yes"])
def test_f9_credentials_may_come_back(reading: str) -> None:
    with switched(credentials_returned=reading) as service:
        body = definition(MODEL)
        body["properties"]["assets"]["asset3"]["locationInfo"]["credentials"] = "planted"
        service.finish(service.call("PUT", service.path(), body))
        assert ("planted" in service.call("GET", service.path()).text) is (reading == "yes")


@pytest.mark.parametrize(
    ("reading", "kept"),
    [
        (
            "settings",
            {"exposeSampleData": True, "realtimeConfiguration": {"maxConcurrentCalls": 4}},
        ),
        ("recorded", {"exposeSampleData": False}),
        ("documented", {"exposeSampleData": True}),
    ],
)
def test_a5_what_get_shows_that_no_put_set(reading: str, kept: Json) -> None:
    with switched(put_fills=reading) as service:
        body = definition(MODEL)
        named = ("exposeSampleData", "realtimeConfiguration", "diagnostics")
        for name in named:
            body["properties"].pop(name, None)
        del body["tags"]
        service.finish(service.call("PUT", service.path(), body))
        live = service.get()
        shown = {name: live["properties"][name] for name in named if name in live["properties"]}
        assert live["tags"] == {}
        assert shown == {**kept, **({"diagnostics": {"level": "None"}} if len(kept) == 2 else {})}


@pytest.mark.parametrize(("reading", "status"), [("no", 201), ("yes", 400)])
def test_a4_a_put_without_a_workspace(reading: str, status: int) -> None:
    with switched(workspace_demanded=reading) as service:
        body = definition(MODEL)
        del body["properties"]["machineLearningWorkspace"]
        answer = service.call("PUT", service.path(), body)
        assert answer.status_code == status
        if status == 201:
            service.finish(answer)
            assert "machineLearningWorkspace" not in service.properties()
        # Recorded in 2016 for the preview.
        assert service.call("PUT", service.path("old"), body, version=PREVIEW).status_code == 201


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
@pytest.mark.parametrize(("reading", "status"), [("reject", 400), ("ignore", 200)])
def test_a_write_with_another_commitment_plan(method: str, reading: str, status: int) -> None:
    with switched(commitment_plan_change=reading, commitment_plan_returned="yes") as service:
        service.put()
        before = service.properties()["commitmentPlan"]["id"]
        body = definition(NEW_MODEL)
        body["properties"]["commitmentPlan"] = {"id": service.plan("another")}
        answer = service.call(method, service.path(), body)
        assert answer.status_code == status
        if status == 200:
            service.finish(answer)
        else:
            (detail,) = answer.json()["error"]["details"]
            assert detail["target"] == "properties.commitmentPlan.id"
        assert service.properties()["commitmentPlan"]["id"] == before


def test_a_write_may_repeat_the_commitment_plan_in_any_case(service: Service) -> None:
    """Recorded: TestUpdateWebService of 2016, a PATCH with the whole definition."""
    service.put()
    body = definition(NEW_MODEL)
    body["properties"]["commitmentPlan"]["id"] = body["properties"]["commitmentPlan"]["id"].upper()
    assert service.call("PATCH", service.path(), body).status_code == 200


@pytest.mark.parametrize(("reading", "status"), [("trust", 201), ("check", 400)])
def test_a_put_with_a_commitment_plan_that_does_not_exist(reading: str, status: int) -> None:
    with switched(commitment_plan=reading) as service:
        assert service.call("PUT", service.path(), definition(MODEL)).status_code == status
        body = definition(MODEL)
        body["properties"]["commitmentPlan"] = {"id": service.put_plan()["id"]}
        assert service.call("PUT", service.path("paid"), body).status_code == 201


def test_a_fraction_need_not_be_one_at_the_end() -> None:
    """Recorded: 0.88888888888888884 beside Succeeded (2016), and 1.0 (2017)."""
    for reading, fraction in (("less", 8 / 9), ("one", 1.0)):
        with switched(percent_at_end=reading) as service:
            status = service.finish(service.call("PUT", service.path(), definition(MODEL)))
            assert (status["status"], status["percentComplete"]) == ("Succeeded", fraction)


@pytest.mark.parametrize("reading", ["no", "yes"])
def test_f9_the_commitment_plan_may_come_back(reading: str) -> None:
    with switched(commitment_plan_returned=reading) as service:
        service.put()
        assert ("commitmentPlan" in service.properties()) is (reading == "yes")


@pytest.mark.parametrize("reading", ["seal", "keep"])
def test_f11_a_plain_credential_is_sealed_or_kept(reading: str) -> None:
    with switched(plain_credentials=reading) as service:
        body = definition(MODEL)
        plain = {"value": "planted", "certificateThumbprint": ""}
        package = body["properties"]["package"]
        package["nodes"]["node1"]["parameters"] = {"Password": plain}
        links = [{"nodeId": "node1", "parameterKey": "Password"}]
        package["graphParameters"] = {"password": {"type": "Credential", "links": links}}
        service.finish(service.call("PUT", service.path(), body))
        assert ("planted" in service.call("GET", service.path()).text) is (reading == "keep")


@pytest.mark.parametrize("reading", ["reject", "accept"])
def test_a10_a_value_sealed_for_another_region(reading: str) -> None:
    with switched(foreign_seal=reading) as service:
        body = definition(MODEL)
        nodes = body["properties"]["package"]["nodes"]
        nodes["node1"]["parameters"] = {
            "Password": {"value": "x", "certificateThumbprint": "A" * 40}
        }
        service.finish(service.call("PUT", service.path("home"), body))
        nodes["node1"] = service.properties("home")["package"]["nodes"]["node1"]
        assert service.call("PUT", service.path("near"), body).status_code == 201
        body["location"] = "West Central US"
        answer = service.call("PUT", service.path("away"), body)
        if reading == "reject":
            assert code_of(answer) == (400, "BadRequest", "InvalidCertificateThumbprint")
        else:
            assert answer.status_code == 201


@pytest.mark.parametrize(
    ("name", "status"), [("A.b_c-9", 201), ("a b", 400), ("ä", 400), ("a:b", 400)]
)
def test_f14_names_are_letters_digits_and_three_signs(
    service: Service, name: str, status: int
) -> None:
    assert service.call("PUT", service.path(name), definition(MODEL)).status_code == status


def test_f15_tags_are_replaced_by_a_patch_unless_merged(service: Service) -> None:
    def tags(of: Service) -> Json:
        body = definition(MODEL)
        body["tags"] = {"a": "1"}
        of.finish(of.call("PUT", of.path(), body))
        return of.patch(tags={"b": "2"})["tags"]

    assert tags(service) == {"b": "2"}
    with switched(patch_tags="merge") as merging:
        assert tags(merging) == {"a": "1", "b": "2"}


def test_an_operation_may_be_forgotten_once_its_end_was_told() -> None:
    with switched(operation_after_end="gone") as service:
        answer = service.call("PUT", service.path(), definition(MODEL))
        service.finish(answer)
        again = service.call("GET", answer.headers["Azure-AsyncOperation"])
        assert again.status_code == 404


def test_every_switch_is_explained_by_the_command(tmp_path: Path) -> None:
    said = run(tmp_path, "emulator", "--help", env={"COLUMNS": "200"}).out
    for switch in SWITCHES:
        assert f"{switch.name}={'|'.join(switch.values) or 'N'}" in said
        assert switch.meaning in said


@pytest.mark.parametrize("wrong", ["nothing=1", "patch-assets=maybe", "list-page-size=0", "x"])
def test_a_switch_that_there_is_not_is_refused(wrong: str, tmp_path: Path) -> None:
    done = run(tmp_path, "emulator", "--no-blob", "--switch", wrong)
    assert (done.code, "--switch" in done.err) == (1, True)


def test_any_subscription_and_group_exists(service: Service) -> None:
    other = service.path().replace(SUBSCRIPTION, "11111111-1111-1111-1111-111111111111")
    assert service.call("PUT", other, definition(MODEL)).status_code == 201

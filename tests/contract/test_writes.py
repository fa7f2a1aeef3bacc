"""What follows a write, as recorded and described: addresses, operations, PUT, PATCH, DELETE."""

import copy
import re
import uuid

import pytest

from tests.contract.world import MODEL, NEW_MODEL, PROVIDER, VERSION, Service, code_of
from tests.e2e.world import SUBSCRIPTION, definition

pytestmark = pytest.mark.contract
GUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
INSTANT = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{0,6}[1-9])?Z"


# A1 of the recorded facts, addresses, versions, headers.


def test_a1_the_segments_of_a_path_match_in_any_case(service: Service) -> None:
    service.put()
    lower = service.path().replace("resourceGroups", "resourcegroups")
    lower = lower.replace(
        "Microsoft.MachineLearning/webServices", "microsoft.machinelearning/webservices"
    )
    assert service.call("GET", lower).json()["id"] == service.path()


def test_a1_an_api_version_is_always_required(service: Service) -> None:
    for path in (service.path(), service.group_list, service.plan()):
        answer = service.call("GET", path, version="")
        assert code_of(answer) == (400, "MissingApiVersionParameter", "")


def test_a1_both_versions_are_known_and_no_other(service: Service) -> None:
    service.put()
    assert service.call("GET", service.path(), version="2016-05-01-preview").status_code == 200
    assert service.call("GET", service.path(), version="2020-01-01").status_code == 400


def test_a1_a_reply_carries_the_recorded_headers(service: Service) -> None:
    service.put()
    headers = service.call("GET", service.path()).headers
    assert headers["Content-Type"] == "application/json; charset=utf-8"
    assert headers["Cache-Control"] == "no-cache"
    assert headers["Pragma"] == "no-cache"
    assert headers["Expires"] == "-1"
    assert headers["Strict-Transport-Security"] == "max-age=31536000; includeSubDomains"
    assert headers["Server"] == "Microsoft-HTTPAPI/2.0"
    assert int(headers["x-ms-request-duration"]) >= 1
    assert "ETag" not in headers


def test_a1_every_reply_has_ids_that_differ(service: Service) -> None:
    first, second = (service.call("GET", service.path("none")).headers for _ in range(2))
    ids = [
        h[n] for h in (first, second) for n in ("x-ms-request-id", "x-ms-correlation-request-id")
    ]
    assert len({str(uuid.UUID(one)) for one in ids}) == 4
    routing = first["x-ms-routing-request-id"].split(":")
    assert re.fullmatch(r"\d{8}T\d{6}Z", routing[1])
    assert routing[2] == first["x-ms-correlation-request-id"]


def test_a1_reads_and_writes_are_counted_down_apart(service: Service) -> None:
    def left(method: str, kind: str) -> int:
        headers = service.call(method, service.path("none")).headers
        other = {"reads": "writes", "writes": "reads"}[kind]
        assert f"x-ms-ratelimit-remaining-subscription-{other}" not in headers
        return int(headers[f"x-ms-ratelimit-remaining-subscription-{kind}"])

    assert 0 < left("DELETE", "writes") < 1200
    first, second = left("DELETE", "writes"), left("DELETE", "writes")
    if second > first:  # an hour began in between
        first, second = second, left("DELETE", "writes")
    assert second == first - 1


def test_a1_bodies_are_indented_with_crlf(service: Service) -> None:
    service.put()
    text = service.call("GET", service.path()).content
    assert text.startswith(b'{\r\n  "id": "')
    assert text.count(b"\n") == text.count(b"\r\n") > 50


def test_a1_times_are_utc_with_trimmed_fractions(service: Service) -> None:
    service.put()
    properties = service.properties()
    assert re.fullmatch(INSTANT, properties["createdOn"])
    assert re.fullmatch(INSTANT, properties["modifiedOn"])


def test_a1_an_operations_address_has_the_origin_that_was_called(service: Service) -> None:
    service.put()
    other = service.url.replace("127.0.0.1", "localhost")
    answer = service.call("PATCH", other + service.path(), {"properties": {"packageType": "Graph"}})
    assert answer.headers["Azure-AsyncOperation"].startswith(f"{other}/subscriptions/")


def test_a1_nobody_comes_in_without_the_token(service: Service) -> None:
    for wrong in ("", "Bearer", "Bearer wrong", "Basic emulator", "emulator"):
        answer = service.call("GET", service.path(), headers={"Authorization": wrong})
        assert code_of(answer) == (401, "AuthenticationFailed", "")
        assert answer.headers["WWW-Authenticate"].startswith("Bearer ")


# A2 of the recorded facts, the table of operations.


def test_a2_a_new_service_is_201_with_a_stub(slow: Service) -> None:
    answer = slow.call("PUT", slow.path(), definition(MODEL))
    assert answer.status_code == 201
    stub = answer.json()
    assert list(stub) == ["id", "name", "type", "location", "tags", "properties"]
    assert stub["id"] == slow.path()
    assert stub["type"] == "Microsoft.MachineLearning/webServices"
    assert stub["properties"] == {
        "payloadsInBlobStorage": False,
        "provisioningState": "Provisioning",
    }


def test_a2_a_put_over_a_service_is_200_with_the_stub_and_an_operation(service: Service) -> None:
    service.put()
    answer = service.call("PUT", service.path(), definition(NEW_MODEL))
    assert answer.status_code == 200
    assert answer.json()["properties"]["provisioningState"] == "Provisioning"
    assert "Azure-AsyncOperation" in answer.headers


def test_a2_a_patch_is_200_with_a_smaller_stub(service: Service) -> None:
    service.put()
    answer = service.call("PATCH", service.path(), {"properties": {"packageType": "Graph"}})
    assert answer.status_code == 200
    assert answer.json()["properties"] == {"provisioningState": "Provisioning"}


def test_a2_keys_are_listed_by_get(service: Service) -> None:
    service.put(keys={"primary": "highly secure key", "secondary": "another"})
    listed = service.call("GET", service.path(tail="/listKeys"))
    assert listed.json() == {"primary": "highly secure key", "secondary": "another"}
    assert service.call("POST", service.path(tail="/listKeys")).status_code == 405


def test_a2_deleting_is_202_and_empty_with_both_addresses(service: Service) -> None:
    service.put()
    answer = service.call("DELETE", service.path())
    assert (answer.status_code, answer.content) == (202, b"")
    assert "/operationsStatus/" in answer.headers["Azure-AsyncOperation"]
    assert "/operationresults/" in answer.headers["Location"]
    service.finish(answer)
    assert service.call("GET", service.path()).status_code == 404


def test_a2_deleting_what_is_not_there_is_204_without_an_operation(service: Service) -> None:
    answer = service.call("DELETE", service.path("none"))
    assert (answer.status_code, answer.content) == (204, b"")
    assert "Azure-AsyncOperation" not in answer.headers
    assert "x-ms-request-duration" not in answer.headers


def test_a2_every_described_operation_on_services_is_reached(service: Service) -> None:
    service.put()
    service.patch()
    service.call("GET", service.path(tail="/listKeys"))
    service.call("GET", service.group_list)
    service.call("GET", f"/subscriptions/{SUBSCRIPTION}{PROVIDER}/webServices")
    service.finish(
        service.call(
            "POST", service.path(tail="/CreateRegionalBlob"), query={"region": "westeurope"}
        )
    )
    service.call("DELETE", service.path())
    words = "CreateOrUpdate Patch Get ListKeys ListByResourceGroup ListBySubscriptionId"
    wanted = {f"WebServices_{word}" for word in f"{words} CreateRegionalProperties Remove".split()}
    assert service.reached == wanted


# A3 of the recorded facts, operations.


def test_a3_the_addresses_are_cased_as_recorded(service: Service) -> None:
    service.put()
    headers = service.call("DELETE", service.path()).headers
    place = f"/subscriptions/{SUBSCRIPTION}{PROVIDER}/locations/southcentralus"
    status = f"{service.url}{place}/operationsStatus/{GUID}\\?api-version={VERSION}"
    result = f"{service.url}{place}/operationresults/{GUID}\\?api-version={VERSION}"
    assert re.fullmatch(status, headers["Azure-AsyncOperation"])
    assert re.fullmatch(result, headers["Location"])
    assert headers["Azure-AsyncOperationPercentComplete"] == "0"
    assert "Retry-After" not in headers


def test_a3_an_operation_is_provisioning_and_then_succeeded(slow: Service) -> None:
    answer = slow.call("PUT", slow.path(), definition(MODEL))
    url = answer.headers["Azure-AsyncOperation"]
    running = slow.call("GET", url).json()
    assert list(running) == ["id", "name", "status", "startTime", "percentComplete"]
    assert running["status"] == "Provisioning"
    assert 0 <= running["percentComplete"] < 1
    assert running["percentComplete"] != round(running["percentComplete"], 2)
    done = slow.finish(answer)
    assert list(done) == ["id", "name", "status", "startTime", "endTime", "percentComplete"]
    assert (done["status"], done["percentComplete"]) == ("Succeeded", 8 / 9)
    assert url == f"{slow.url}{done['id']}?api-version={VERSION}"
    assert done["id"].endswith(done["name"])
    assert slow.properties()["modifiedOn"] > done["endTime"]


def test_a3_results_are_awaited_with_202(slow: Service) -> None:
    slow.put()
    answer = slow.call("DELETE", slow.path())
    assert slow.call("GET", answer.headers["Location"]).status_code == 202
    slow.finish(answer)
    assert slow.call("GET", answer.headers["Location"]).status_code == 204


def test_a3_a_service_that_is_being_made_is_no_404(slow: Service) -> None:
    answer = slow.call("PUT", slow.path(), definition(MODEL))
    read = slow.call("GET", slow.path())
    assert (read.status_code, read.json()["properties"]["provisioningState"]) == (
        200,
        "Provisioning",
    )
    slow.finish(answer)


def test_a3_an_operation_that_never_was_is_404(service: Service) -> None:
    path = f"/subscriptions/{SUBSCRIPTION}{PROVIDER}/locations/x/operationsStatus/{uuid.uuid4()}"
    assert service.call("GET", path).status_code == 404


# A4 of the recorded facts, PUT.


@pytest.mark.parametrize(
    ("part", "name"),
    [
        ("", "location"),
        ("properties", "packageType"),
        ("storageAccount", "name"),
        ("storageAccount", "key"),
        ("commitmentPlan", "id"),
    ],
)
def test_a4_each_part_that_is_demanded_is_missed(service: Service, part: str, name: str) -> None:
    body = definition(MODEL)
    below = {"": body, "properties": body["properties"]}.get(part) or body["properties"].get(part)
    del below[name]
    answer = service.call("PUT", service.path(), body)
    assert answer.status_code == 400
    (detail,) = answer.json()["error"]["details"]
    assert detail["code"] == "RequestBodyInvalid"
    assert detail["target"] == ".".join(
        dict.fromkeys(["properties"] * bool(part) + [part] * bool(part) + [name])
    )
    assert service.call("GET", service.path()).status_code == 404


def test_a4_property_names_are_taken_in_any_case_and_map_keys_keep_theirs(service: Service) -> None:
    body = definition(MODEL)
    properties = body["properties"]
    properties["CommitmentPlan"] = {"Id": properties.pop("commitmentPlan")["id"]}
    properties["MACHINELEARNINGWORKSPACE"] = {
        "ID": properties.pop("machineLearningWorkspace")["id"]
    }
    properties["assets"]["ASSET9"] = {
        "NAME": "M",
        "Type": "Module",
        "locationinfo": {"URI": "aml://m"},
    }
    service.finish(service.call("PUT", service.path(), body))
    live = service.properties()
    assert set(live["machineLearningWorkspace"]) == {"id"}
    assert live["assets"]["ASSET9"] == {
        "name": "M",
        "type": "Module",
        "locationInfo": {"uri": "aml://m"},
    }


def test_a4_a_put_replaces_the_whole_definition(service: Service) -> None:
    service.put(description="Kept by nobody", title="Nor this")
    body = definition(NEW_MODEL)
    body["properties"].pop("description", None)
    body["properties"].pop("title", None)
    service.finish(service.call("PUT", service.path(), body))
    live = service.properties()
    assert live["assets"]["asset3"]["locationInfo"]["uri"] == NEW_MODEL
    assert live.get("description", "") == ""
    assert "title" not in live


def test_a4_what_the_server_owns_is_accepted_and_ignored(service: Service) -> None:
    service.put()
    exported = service.get()
    body = copy.deepcopy({name: exported[name] for name in ("location", "tags", "properties")})
    body["properties"] |= {"createdOn": "2001-01-01T00:00:00Z", "provisioningState": "Failed"}
    body["properties"]["storageAccount"]["key"] = "k"
    body["properties"]["commitmentPlan"] = definition(MODEL)["properties"]["commitmentPlan"]
    service.finish(service.call("PUT", service.path(), body))
    live = service.get()["properties"]
    assert live["createdOn"] == exported["properties"]["createdOn"] != "2001-01-01T00:00:00Z"
    assert live["provisioningState"] == "Succeeded"


def test_a4_keys_that_are_left_out_are_made(service: Service) -> None:
    body = definition(MODEL)
    body["properties"].pop("keys", None)
    service.finish(service.call("PUT", service.path(), body))
    keys = service.call("GET", service.path(tail="/listKeys")).json()
    assert len({keys["primary"], keys["secondary"]}) == 2
    assert all(len(key) >= 40 for key in keys.values())


def test_a4_graph_parameters_need_neither_type_nor_description(service: Service) -> None:
    """Recorded: TestCreateGetRemoveWebService of 2016; the OpenAPI demands a type."""
    body = definition(MODEL)
    links = [{"nodeId": "node1", "parameterKey": "Output mode"}]
    given = {"Output mode": {"links": links}, "Category": {"description": "", "links": links}}
    body["properties"]["package"]["graphParameters"] = given
    service.finish(service.call("PUT", service.path(), body))
    live = service.call("GET", service.path(), described=False).json()
    assert live["properties"]["package"]["graphParameters"] == given


def test_a4_the_name_in_a_body_is_accepted(service: Service) -> None:
    answer = service.call("PUT", service.path(), {"name": "census", **definition(MODEL)})
    assert answer.status_code == 201


def test_a4_a_location_of_payloads_without_the_flag_is_ignored(service: Service) -> None:
    """Documented: it is null unless payloadsInBlobStorage is true."""
    for location in (None, {"uri": "https://acct.blob.core.windows.net/p/none.json"}):
        service.put(payloadsLocation=location)
        assert "payloadsLocation" not in service.properties()


# A6 of the recorded facts, PATCH.


def test_a6_only_what_a_patch_names_changes(service: Service) -> None:
    service.put(description="D", keys={"primary": "p", "secondary": "s"})
    before = service.properties()
    after = service.patch(
        keys={"primary": "highly secure key"},
        readOnly=False,
        realtimeConfiguration={"maxConcurrentCalls": 30},
    )["properties"]
    changed = {name for name in {*before, *after} if before.get(name) != after.get(name)}
    assert changed == {"realtimeConfiguration", "modifiedOn", "parameters"}
    keys = service.call("GET", service.path(tail="/listKeys")).json()
    assert keys == {"primary": "highly secure key", "secondary": "s"}


def test_a6_a_patch_may_hold_the_full_definition(service: Service) -> None:
    service.put()
    body = definition(NEW_MODEL)
    service.finish(service.call("PATCH", service.path(), body))
    live = service.properties()
    assert live["assets"]["asset3"]["locationInfo"]["uri"] == NEW_MODEL


def test_a6_the_side_effects_of_any_patch(service: Service) -> None:
    service.put(parameters={})
    before = service.properties()
    assert before["parameters"] == {}
    after = service.patch()["properties"]
    assert after["modifiedOn"] > before["modifiedOn"]
    assert "parameters" not in after
    assert after["createdOn"] == before["createdOn"]
    assert after["swaggerLocation"] == before["swaggerLocation"]


def test_a6_sealed_parameters_are_sealed_anew_by_every_patch(service: Service) -> None:
    body = definition(MODEL)
    secret = {"value": "MIICsent", "certificateThumbprint": "A" * 40}
    body["properties"]["package"]["nodes"]["node1"]["parameters"] = {"Password": secret}
    service.finish(service.call("PUT", service.path(), body))

    def sealed(document: dict[str, object]) -> object:
        return document["package"]["nodes"]["node1"]["parameters"]["Password"]  # type: ignore[index]

    first = sealed(service.properties())
    second = sealed(service.patch(description="x")["properties"])
    assert first["value"].startswith("MIIC")  # type: ignore[index]
    assert len({str(first), str(second), str(secret)}) == 3
    assert re.fullmatch("[0-9A-F]{40}", first["certificateThumbprint"])  # type: ignore[index]


def test_a6_a_patch_of_nothing_succeeds_and_proves_nothing(service: Service) -> None:
    service.put()
    before = service.properties()["assets"]
    answer = service.call("PATCH", service.path(), {"properties": {"packageType": "Graph"}})
    assert service.finish(answer)["status"] == "Succeeded"
    assert service.properties()["assets"] == before


def test_a6_a_patch_without_package_type_is_refused(service: Service) -> None:
    service.put()
    answer = service.call("PATCH", service.path(), {"properties": {"description": "x"}})
    assert answer.status_code == 400
    assert "packageType" in answer.text


def test_a5_a_patch_must_not_change_the_location(service: Service) -> None:
    service.put()
    body = {"location": "West Europe", "properties": {"packageType": "Graph"}}
    assert service.call("PATCH", service.path(), body).status_code == 400
    body["location"] = "south central us"
    assert service.call("PATCH", service.path(), body).status_code == 200

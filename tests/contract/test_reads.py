"""What reads show, as recorded and described: GET, LIST, large payloads, regions, errors."""

import json
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import pytest

from tests.contract.world import (
    MODEL,
    NEW_MODEL,
    PROVIDER,
    Json,
    Service,
    code_of,
    find_faults,
    pascal,
    run_service,
    switched,
)
from tests.e2e.world import SUBSCRIPTION, definition

pytestmark = pytest.mark.contract
RECORDED = json.loads(
    (Path(__file__).parent / "recorded" / "definition.get-after-patch.json").read_bytes()
)


# A5 of the recorded facts, GET.


def test_a5_properties_come_in_the_recorded_order(service: Service) -> None:
    service.put(
        title="T", exampleRequest={"inputs": {}}, parameters={}, diagnostics={"level": "All"}
    )
    order = [
        "payloadsInBlobStorage",
        "provisioningState",
        "createdOn",
        "modifiedOn",
        "title",
        "description",
        "swaggerLocation",
        "readOnly",
        "realtimeConfiguration",
        "diagnostics",
        "storageAccount",
        "machineLearningWorkspace",
        "assets",
        "input",
        "output",
        "packageType",
        "exampleRequest",
        "exposeSampleData",
        "parameters",
        "package",
    ]
    shown = list(service.properties())
    assert shown == [name for name in order if name in shown]
    assert len(shown) >= 18
    assert list(service.properties()["package"]) == ["edges", "graphParameters", "nodes"]


def test_a5_the_location_comes_back_spelled_out(service: Service) -> None:
    body = definition(MODEL)
    body["location"] = "southcentralus"
    answer = service.call("PUT", service.path(), body)
    assert answer.json()["location"] == "South Central US"


def test_a5_secrets_never_come_back(service: Service) -> None:
    service.put(
        keys={"primary": "planted-key", "secondary": "planted-other"},
        storageAccount={"name": "acct", "key": "planted-storage"},
    )
    service.patch(storageAccount={"key": "planted-rotated"})
    for path in (service.path(), service.group_list):
        assert "planted" not in service.call("GET", path).text
    assert service.properties()["storageAccount"] == {"name": "acct"}


def test_a5_the_commitment_plan_never_comes_back(service: Service) -> None:
    service.put(commitmentPlan={"id": "/planted/plan"})
    assert "planted" not in service.call("GET", service.path()).text


def test_a5_tags_are_an_empty_map_where_none_were_sent(service: Service) -> None:
    body = definition(MODEL)
    body.pop("tags", None)
    assert service.call("PUT", service.path(), body).json()["tags"] == {}


def test_a5_columns_named_by_numbers_come_first(service: Service) -> None:
    names = ["age", "39", "State-gov", "0", "13"]
    columns = {name: {"type": "Integer", "format": "Int32"} for name in names}
    table = {"type": "object", "properties": columns}
    service.put(input={"type": "object", "properties": {"input1": table}})
    shown = service.properties()["input"]["properties"]["input1"]["properties"]
    assert list(shown) == ["0", "13", "39", "age", "State-gov"]


def test_a5_null_global_parameters_are_omitted(service: Service) -> None:
    service.put(exampleRequest={"inputs": {"input1": [[1, "a", None]]}, "globalParameters": None})
    assert service.properties()["exampleRequest"] == {"inputs": {"input1": [[1, "a", None]]}}


def test_a5_empty_credentials_are_echoed(service: Service) -> None:
    assets = definition(MODEL)["properties"]["assets"]
    assets["asset3"]["locationInfo"]["credentials"] = ""
    service.put(assets=assets)
    assert service.properties()["assets"]["asset3"]["locationInfo"]["credentials"] == ""


def test_a5_the_services_address_follows_its_region_and_stays(service: Service) -> None:
    service.put()
    plain = SUBSCRIPTION.replace("-", "")
    first = service.properties()["swaggerLocation"]
    host = "https://ussouthcentral.services.azureml.net"
    assert first.startswith(f"{host}/subscriptions/{plain}/services/")
    assert first.endswith("/swagger.json")
    assert service.patch(description="x")["properties"]["swaggerLocation"] == first


def test_a5_a_recorded_definition_is_taken_and_shown_as_it_was(service: Service) -> None:
    body = {name: RECORDED[name] for name in ("location", "tags", "properties")}
    sent = json.loads(json.dumps(body))
    sent["properties"]["storageAccount"]["key"] = "k"
    sent["properties"]["commitmentPlan"] = {"id": "/plan"}
    service.finish(service.call("PUT", service.path(), sent))
    # The recorded definition had been PATCHed, which makes empty parameters vanish.
    shown = service.patch()["properties"]
    owned = ("createdOn", "modifiedOn", "swaggerLocation", "package")
    wanted = {name: v for name, v in RECORDED["properties"].items() if name not in owned}
    assert {name: v for name, v in shown.items() if name not in owned} == wanted
    assert list(shown) == list(RECORDED["properties"])
    recorded_nodes, nodes = RECORDED["properties"]["package"]["nodes"], shown["package"]["nodes"]
    for name, node in recorded_nodes.items():
        for key, parameter in node.get("parameters", {}).items():
            now = nodes[name]["parameters"][key]
            sealed = bool(parameter["certificateThumbprint"])
            assert (now != parameter) is sealed, (name, key)
    assert shown["package"]["edges"] == RECORDED["properties"]["package"]["edges"]


def test_a5_the_recorded_definition_fits_the_repaired_description() -> None:
    assert find_faults("WebService", RECORDED) == []


# A7 of the recorded facts, LIST.


def test_a7_items_are_sparse(service: Service) -> None:
    service.put(title="T", description="D")
    (item,) = service.call("GET", service.group_list).json()["value"]
    assert list(item) == ["id", "name", "type", "location", "tags", "properties"]
    never = {"assets", "package", "input", "output", "exampleRequest", "parameters", "keys"}
    assert not never & set(item["properties"])
    assert item["properties"]["storageAccount"] == {"name": "devstoreaccount1"}
    assert {"modifiedOn", "swaggerLocation", "packageType", "title"} <= set(item["properties"])


def test_a7_a_failed_service_shows_even_less() -> None:
    with switched(model_uri="check") as service:
        answer = service.call(
            "PUT", service.path(), definition("http://127.0.0.1:9/a/m/x.ilearner")
        )
        assert service.finish(answer)["status"] == "Failed"
        (item,) = service.call("GET", service.group_list).json()["value"]
        assert item["properties"]["provisioningState"] == "Failed"
        assert item["properties"]["storageAccount"] == {}
        assert not {"packageType", "diagnostics", "title"} & set(item["properties"])
        assert "tags" not in item
        assert find_faults("PaginatedWebServicesList", {"value": [item]}) != []


def test_a7_a_group_is_ordered_by_name_in_any_case(service: Service) -> None:
    for name in ("b", "A", "c", "B2"):
        service.put(name)
    page = service.call("GET", service.group_list).json()
    assert [item["name"] for item in page["value"]] == ["A", "b", "B2", "c"]
    assert "nextLink" not in page


def test_a7_a_subscription_restarts_the_order_for_each_region() -> None:
    with run_service() as service:
        for name, place in (("b", "West Europe"), ("a", "West Europe"), ("z", "Japan East")):
            body = definition(MODEL)
            body["location"] = place
            service.finish(service.call("PUT", service.path(name), body))
        answer = service.call("GET", f"/subscriptions/{SUBSCRIPTION}{PROVIDER}/webServices")
        assert [item["name"] for item in answer.json()["value"]] == ["z", "a", "b"]
        assert "x-ms-original-request-ids" in answer.headers
        assert "Server" not in answer.headers
        assert "x-ms-request-duration" not in answer.headers


def test_a7_pages_are_linked_by_an_escaped_token() -> None:
    with switched(list_page_size="2") as service:
        for number in range(5):
            service.put(f"s{number}")
        seen, url = [], f"/subscriptions/{SUBSCRIPTION}{PROVIDER}/webServices"
        while url:
            page = service.call("GET", url).json()
            seen.append([item["name"] for item in page["value"]])
            url = page.get("nextLink", "")
            assert not url or "&%24skiptoken=" in url
            assert not url or url.startswith(f"{service.url}/subscriptions/")
        assert seen == [["s0", "s1"], ["s2", "s3"], ["s4"]]


def test_a7_a_token_that_nobody_gave_is_refused(service: Service) -> None:
    for token in ("x", "%00", "cGFnZTp4", "cGFnZTp4%2B"):
        path = f"{service.group_list}?api-version=2017-01-01&%24skiptoken={token}"
        assert service.call("GET", path).status_code == 400


def get_as_it_is(url: str, token: str) -> tuple[int, Json]:
    """The answer to a GET of exactly this address: most clients change the case of its escapes."""
    target = urlsplit(url)
    connection = HTTPConnection(target.netloc, timeout=120)
    headers = {"Authorization": f"Bearer {token}"}
    connection.request("GET", f"{target.path}?{target.query}", headers=headers)
    answer = connection.getresponse()
    shown = json.loads(answer.read())
    connection.close()
    return answer.status, shown


def test_a7_a_token_has_one_spelling() -> None:
    with switched(list_page_size="1") as service:
        for name in ("s0", "s1"):
            service.put(name)
        link = service.call("GET", service.group_list).json()["nextLink"]
        base, _, token = link.rpartition("=")
        opaque = token.removesuffix("%2B")
        assert opaque != token
        spelled = {
            unquote(token),
            quote(token),
            f"{token}%3D",
            f"%{ord(opaque[0]):02X}{token[1:]}",
            f"{opaque}%2b",
            opaque,
        }
        for other in spelled - {token}:
            assert get_as_it_is(f"{base}={other}", service.token)[0] == 400, other
        for name in ("%24skiptoken", "$skiptoken", "%24SkipToken"):
            named = base.replace("%24skiptoken", name)
            _, page = get_as_it_is(f"{named}={token}", service.token)
            assert [one["name"] for one in page["value"]] == ["s1"]


# A8 of the recorded facts, large payloads.


def test_a8_a_payload_in_a_blob_comes_back_inline_and_in_its_own_casing() -> None:
    from tests.storage import upload_model

    with run_service("--blob") as service:
        body = definition(MODEL)
        properties = body["properties"]
        large = ("assets", "input", "output", "package", "parameters", "exampleRequest")
        parts = {name: properties.pop(name) for name in large if name in properties}
        columns = {f"c{n}{'x' * 1000}": {"type": "String"} for n in range(2_000)}
        table = {"type": "object", "title": "T", "properties": columns}
        parts["input"] = {"type": "object", "properties": {"input1": table}}
        payload = pascal(parts)
        uri = f"{service.blob}/devstoreaccount1/payloads/large.json"
        data = json.dumps(payload).encode()
        assert len(data) > 2_000_000
        upload_model(uri, data, {})
        from reconciler.emulator.storage import sign

        properties |= {"payloadsInBlobStorage": True, "payloadsLocation": {"uri": sign(uri)}}
        answer = service.call("PUT", service.path(), body)
        assert answer.json()["properties"]["payloadsInBlobStorage"] is False
        service.finish(answer)
        # Recorded: large parts keep the casing of their blob, which the description does not know.
        live = service.call("GET", service.path(), described=False).json()["properties"]
        assert live["payloadsInBlobStorage"] is False
        assert "payloadsLocation" not in live
        assert live["assets"]["asset3"]["LocationInfo"]["Uri"] == MODEL
        assert len(live["input"]["Properties"]["input1"]["Properties"]) == 2_000
        assert set(live["package"]) <= {"edges", "nodes", "graphParameters"}


def test_a8_a_payload_that_cannot_be_had_is_refused(service: Service) -> None:
    body = definition(MODEL)
    for part in ("assets", "input", "output", "package", "exampleRequest", "parameters"):
        body["properties"].pop(part, None)
    body["properties"] |= {
        "payloadsInBlobStorage": True,
        "payloadsLocation": {"uri": "http://127.0.0.1:9/a/b/c.json"},
    }
    answer = service.call("PUT", service.path(), body)
    assert code_of(answer) == (400, "BadRequest", "BlobNotFound")


# A10 of the recorded facts, regional copies.


def test_a10_a_regional_copy_is_made_and_then_read(service: Service) -> None:
    body = definition(MODEL)
    secret = {"value": "MIICsent", "certificateThumbprint": "A" * 40}
    body["properties"]["package"]["nodes"]["node1"]["parameters"] = {"Password": secret}
    service.finish(service.call("PUT", service.path(), body))
    missing = service.call("GET", service.path(), query={"region": "westcentralus"})
    assert code_of(missing) == (404, "NotFound", "PerRegionPayloadNotFound")
    made = service.call(
        "POST", service.path(tail="/CreateRegionalBlob"), query={"region": "westcentralus"}
    )
    assert made.status_code == 202
    assert made.json()["id"] == "census"
    assert "tags" not in made.json()
    service.finish(made)

    def sealed(document: Json) -> Json:
        return document["properties"]["package"]["nodes"]["node1"]["parameters"]["Password"]

    here, there = sealed(service.get()), sealed(service.get(region="westcentralus"))
    assert there["value"] != here["value"]
    assert there["certificateThumbprint"].startswith("189FFC")
    assert here["certificateThumbprint"].startswith("AB5C39")


def test_a10_a_copy_moves_modified_on(service: Service) -> None:
    service.put()
    before = service.properties()["modifiedOn"]
    made = service.call(
        "POST", service.path(tail="/CreateRegionalBlob"), query={"region": "westeurope"}
    )
    service.finish(made)
    assert service.properties()["modifiedOn"] > before


# A11 of the recorded facts, errors.


def test_a11_an_unknown_service_is_404_with_its_name(service: Service) -> None:
    answer = service.call("GET", service.path("nobody"))
    assert answer.json() == {
        "error": {
            "code": "NotFound",
            "message": "The specified resource was not found.",
            "details": [
                {
                    "code": "WebServiceNotFound",
                    "message": "No Web Service could be found with the provided name: nobody.",
                }
            ],
        }
    }


def test_a11_changing_the_storage_account_is_refused_by_name(service: Service) -> None:
    service.put()
    body = definition(NEW_MODEL)
    body["properties"]["storageAccount"]["name"] = "another"
    for method in ("PATCH", "PUT"):
        answer = service.call(method, service.path(), body)
        assert code_of(answer) == (400, "BadRequest", "CannotChangeStorageAccount")
        message = answer.json()["error"]["details"][0]["message"]
        assert message == (
            "The StorageAccount cannot be changed. Currently configured storage account name ="
            " 'devstoreaccount1'."
        )


def test_a11_a_past_expiry_of_diagnostics_is_refused(service: Service) -> None:
    body = definition(MODEL)
    body["properties"]["diagnostics"] = {"level": "All", "expiry": "2001-01-01T00:00:00Z"}
    answer = service.call("PUT", service.path(), body)
    assert answer.status_code == 400
    assert answer.json()["error"]["details"] == [
        {
            "code": "ExpiryTimeInThePast",
            "message": "Expiry time provided is in the past: 2001-01-01T00:00:00Z. Provide a future"
            " expiry time in UTC and try again. To never expire, set expiry time to NULL.",
            "target": "properties.diagnostics.expiry",
        }
    ]


@pytest.mark.parametrize(
    ("settings", "code", "message"),
    [
        (
            {"diagnostics": {"expiry": None}},
            "IncompleteSettings",
            "Diagnostics settings are incomplete.",
        ),
        (
            {"realtimeConfiguration": {"maxConcurrentCalls": 201}},
            "WebServiceTooManyConcurrentRequestRequirement",
            "Cannot set concurrent request requirement to more than 200.",
        ),
        (
            {"realtimeConfiguration": {"maxConcurrentCalls": 3}},
            "RequestBodyInvalid",
            "No request body provided or error in deserializing the request body.",
        ),
    ],
)
def test_a11_refusals_have_the_documented_texts(
    service: Service, settings: Json, code: str, message: str
) -> None:
    body = definition(MODEL)
    body["properties"] |= settings
    for method in ("PUT", "PATCH"):
        if method == "PATCH":
            service.put()
        (detail,) = service.call(method, service.path(), body).json()["error"]["details"]
        assert (detail["code"], detail["message"]) == (code, message)
        assert detail["target"].startswith("properties.")


def test_a11_an_expiry_that_is_null_never_comes(service: Service) -> None:
    service.put(diagnostics={"level": "All", "expiry": "2999-01-01T00:00:00Z"})
    service.patch(diagnostics={"level": "All", "expiry": None})
    assert service.properties()["diagnostics"].get("expiry") is None

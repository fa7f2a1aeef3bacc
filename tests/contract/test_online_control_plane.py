"""The rules, states and limits of the emulator's online endpoints, where no recording shows them."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from tests.contract.azureml import SUBSCRIPTION, Ml, code_of, read, run_ml, switched_ml
from tests.contract.world import LONG_S
from tests.e2e.world import hold_time, pass_time

pytestmark = pytest.mark.contract
Json = Any
BLUE = "/deployments/blue"


@pytest.fixture(scope="module")
def shared() -> Iterator[Ml]:
    with run_ml() as ml:
        yield ml


@pytest.fixture
def ml(shared: Ml, request: pytest.FixtureRequest) -> Ml:
    """A workspace and a region of the test's own, since names are unique in a region."""
    name = re.sub(r"[^a-z0-9]", "", request.node.name.lower())
    return Ml(shared.url, group=name[-60:], region=name[-60:])


@pytest.fixture(scope="module")
def shared_busy() -> Iterator[Ml]:
    with run_ml(f"--operation-seconds={LONG_S}") as ml:
        yield ml


@pytest.fixture
def busy(shared_busy: Ml, request: pytest.FixtureRequest) -> Ml:
    """One whose operations run until a test lets time pass."""
    name = re.sub(r"[^a-z0-9]", "", request.node.name.lower())
    return Ml(shared_busy.url, group=name[-60:], region=name[-60:])


def put_traffic(ml: Ml, traffic: Json, mirrored: Json = None) -> requests.Response:
    shares = {"traffic": traffic, "mirrorTraffic": mirrored or {}}
    return ml.call("PUT", ml.path(), ml.describe(properties=shares))


# Traffic.


@pytest.mark.parametrize(
    ("traffic", "mirrored"),
    [
        ({"blue": 90}, {}),
        ({"blue": 60, "green": 41}, {}),
        ({"blue": 101, "green": -1}, {}),
        ({"red": 100}, {}),
        ({"blue": 100, "red": 0}, {}),
        ({"blue": 100}, {"green": 51}),
        ({"blue": 100}, {"blue": 10}),
        ({"green": 100}, {"blue": 10, "red": 10}),
        ({"blue": True, "green": 99}, {}),
        ({"blue": 50.5, "green": 49.5}, {}),
        ({"blue": None}, {}),
        ({"blue": "100"}, {}),
        ([], {}),
    ],
)
def test_traffic_that_is_refused_changes_nothing(ml: Ml, traffic: Json, mirrored: Json) -> None:
    ml.put()
    ml.deploy()
    ml.deploy("green")
    before = ml.route(blue=100)
    refused = put_traffic(ml, traffic, mirrored)

    assert refused.status_code == 400, refused.text
    assert ml.get() == before


def test_mirrored_traffic_goes_to_one_deployment(ml: Ml) -> None:
    ml.put()
    for name in ("blue", "green", "red"):
        ml.deploy(name)
    accepted = put_traffic(ml, {"blue": 100, "green": 0}, {"green": 50})
    ml.finish(accepted)
    refused = put_traffic(ml, {"blue": 100}, {"green": 10, "red": 10})

    assert ml.get()["properties"]["mirrorTraffic"] == {"green": 50}
    assert code_of(refused) == (400, "BadRequest", "InvalidMirrorTraffic")


def test_traffic_may_be_off_and_is_cleared_by_a_put_without_it(ml: Ml) -> None:
    ml.put()
    ml.deploy()
    ml.route(blue=100)
    body = ml.describe()
    del body["properties"]["traffic"]
    ml.finish(ml.call("PUT", ml.path(), body))

    assert ml.get()["properties"]["traffic"] == {}
    assert ml.route(blue=0)["properties"]["traffic"] == {"blue": 0}


def test_an_endpoint_is_not_created_with_traffic(ml: Ml) -> None:
    refused = put_traffic(ml, {"blue": 100})

    assert code_of(refused) == (400, "BadRequest", "InvalidTraffic")
    assert ml.call("GET", ml.path()).status_code == 404


def test_a_deployment_with_traffic_is_not_deleted(ml: Ml) -> None:
    ml.put()
    ml.deploy()
    ml.deploy("green")
    for traffic, mirrored in (({"blue": 100}, {}), ({"green": 100}, {"blue": 1})):
        ml.finish(put_traffic(ml, traffic, mirrored))
        refused = ml.call("DELETE", ml.path(tail=BLUE))
        assert code_of(refused) == (400, "BadRequest", "DeploymentHasTraffic")
    ml.finish(put_traffic(ml, {"green": 100, "blue": 0}))
    ml.finish(ml.call("DELETE", ml.path(tail=BLUE)))

    assert code_of(ml.call("GET", ml.path(tail=BLUE))) == (404, "NotFound", "NoSuchDeployment")
    assert ml.get()["properties"]["traffic"] == {"green": 100}


# Operations and states.


def test_one_operation_runs_on_an_endpoint(busy: Ml) -> None:
    busy.put()
    started = busy.call("PUT", busy.path(tail=BLUE), busy.describe_deployment())
    shown = busy.get()["properties"]["provisioningState"]
    writes = [
        ("PUT", busy.path(), busy.describe()),
        ("PATCH", busy.path(), {"tags": {}}),
        ("DELETE", busy.path(), None),
        ("POST", busy.path(tail="/regenerateKeys"), {"keyType": "Primary"}),
        ("PUT", busy.path(tail="/deployments/green"), busy.describe_deployment()),
        ("PUT", busy.path(tail=BLUE), busy.describe_deployment()),
        ("PATCH", busy.path(tail=BLUE), {"sku": {"capacity": 2}}),
        ("DELETE", busy.path(tail=BLUE), None),
    ]
    refused = [busy.call(*write) for write in writes]
    busy.finish(started)

    assert shown == "Succeeded"
    for answer in refused:
        assert answer.status_code == 409, answer.text
        text = answer.json()["error"]["message"]
        assert "in endpoint census because it is in Updating provisioning state" in text
    assert "Cannot create a deployment" in refused[4].json()["error"]["message"]
    assert busy.call("DELETE", busy.path(tail=BLUE)).status_code == 202


def test_states_while_operations_run(busy: Ml) -> None:
    def state(path: str) -> str:
        return str(read(busy.call("GET", path))["properties"]["provisioningState"])

    endpoint, blue = busy.path(), busy.path(tail=BLUE)
    seen = []
    for path, method, body in (
        (endpoint, "PUT", busy.describe()),
        (endpoint, "PUT", busy.describe()),
        (endpoint, "PATCH", {"tags": {}}),
        (blue, "PUT", busy.describe_deployment()),
        (blue, "PUT", busy.describe_deployment()),
        (blue, "PATCH", {"sku": {"capacity": 2}}),
        (blue, "PATCH", {"tags": {}}),
        (blue, "DELETE", None),
    ):
        answer = busy.call(method, path, body)
        seen.append(state(path))
        busy.finish(answer)
    deleted = busy.call("DELETE", endpoint)
    seen.append(state(endpoint))
    busy.finish(deleted)

    assert seen == [
        "Creating",
        "Updating",
        "Updating",
        "Updating",
        "Creating",
        "Scaling",
        "Updating",
        "Deleting",
        "Deleting",
    ]


def test_a_reader_sees_the_old_traffic_while_a_write_runs(busy: Ml) -> None:
    busy.put()
    busy.deploy()
    answer = put_traffic(busy, {"blue": 100})
    during = busy.get()["properties"]["traffic"]
    pass_time(busy.url, LONG_S)

    assert (answer.json()["properties"]["traffic"], during) == ({}, {})
    assert busy.get()["properties"]["traffic"] == {"blue": 100}


def test_an_endpoint_takes_its_deployments_with_it(ml: Ml) -> None:
    ml.put()
    ml.deploy()
    ml.finish(ml.call("DELETE", ml.path()))
    ml.put()

    assert read(ml.call("GET", ml.path(tail="/deployments")))["value"] == []


def test_the_address_of_an_operation_is_followed_as_it_is(ml: Ml) -> None:
    created = ml.call("PUT", ml.path(), ml.describe())
    link = created.headers["Azure-AsyncOperation"]
    query = urlsplit(link).query
    changed = [
        link[:-1] + ("A" if link[-1] != "A" else "B"),
        link.replace("2024-04-01", "2023-10-01"),
        link.replace("mfeOperationsStatus", "mfeOperationResults"),
        link.replace(f"/{ml.region}/", "/elsewhere/"),
        link + "&x=1",
        "&".join(reversed(query.split("&"))).join([link.partition("?")[0] + "?", ""]),
        link.partition("&")[0],
    ]

    assert 3000 < len(link) < 3500
    assert "=" not in query.split("&c=")[1].split("&")[0]
    assert ml.call("GET", link).status_code == 200
    for address in changed:
        refused = ml.call("GET", address)
        assert refused.status_code == 403, (address[-60:], refused.text)
    missing = link.replace(re.findall(r"oeidp:[^?]*", link)[0], "oeidp:none")
    assert ml.call("GET", missing).status_code == 404


def test_the_log_of_requests_has_no_signature(tmp_path: Path) -> None:
    log = tmp_path / "requests.jsonl"
    with run_ml(f"--log={log}") as ml:
        created = ml.call("PUT", ml.path(), ml.describe())
        ml.finish(created)
    link = urlsplit(created.headers["Azure-AsyncOperation"])
    written = log.read_text()

    assert link.path in written
    for part in link.query.split("&")[2:]:
        name, _, value = part.partition("=")
        assert value not in written
        assert f"{name}=…" in json.loads(written.splitlines()[-1])["path"]


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b'"x"', b'{"properties": true}', b"{"])
def test_a_body_that_is_not_a_document_is_refused(ml: Ml, body: bytes) -> None:
    ml.put()
    ml.deploy()
    for method, path in (
        ("PUT", ml.path()),
        ("PATCH", ml.path()),
        ("PUT", ml.path(tail=BLUE)),
        ("PATCH", ml.path(tail=BLUE)),
    ):
        assert ml.call(method, path, body).status_code == 400


def test_an_operation_needs_the_token_too(ml: Ml) -> None:
    created = ml.call("PUT", ml.path(), ml.describe())
    link = created.headers["Azure-AsyncOperation"]

    assert ml.call("GET", link, token="another").status_code == 401


def test_the_stamp_of_a_write_is_its_operation(ml: Ml) -> None:
    """All but a change of the instance count, which autoscale makes too."""
    stamps, times = [], set()

    def stamp(path: str) -> str:
        uri = read(ml.call("GET", path))["properties"]["properties"]["AzureAsyncOperationUri"]
        assert uri.endswith("?api-version=2024-04-01")
        return str(uri.partition("?")[0].rpartition("/")[2])

    for path, method, body, moves in (
        (ml.path(), "PUT", ml.describe(), True),
        (ml.path(), "PATCH", {"tags": {"a": "b"}}, True),
        (ml.path(tail=BLUE), "PUT", ml.describe_deployment(), True),
        (ml.path(tail=BLUE), "PATCH", {"tags": {"a": "b"}}, True),
        (ml.path(tail=BLUE), "PATCH", {"sku": {"capacity": 2}}, False),
    ):
        answer = ml.call(method, path, body)
        ml.finish(answer)
        link = answer.headers["Azure-AsyncOperation"].partition("?")[0].rpartition("/")[2]
        stamps.append((stamp(path) == link, moves))
        times.add(read(ml.call("GET", ml.path()))["systemData"]["lastModifiedAt"])
    after = ml.get_deployment()

    assert len(times) == 1
    assert all(found == wanted for found, wanted in stamps), stamps
    assert after["sku"]["capacity"] == 2


def test_a_restart_in_the_middle_of_an_operation_loses_nothing(tmp_path: Path) -> None:
    """The state is in --data: what runs, what it will leave, and the secret of the addresses."""
    options = (f"--data={tmp_path / 'state'}", f"--operation-seconds={LONG_S}", "--seed=1")
    with run_ml(*options) as ml:
        ml.put(tags={"a": "1"})
        ml.deploy()
        keys = read(ml.call("POST", ml.path(tail="/listKeys")))
        started = put_traffic(ml, {"blue": 100})
    link = urlsplit(started.headers["Azure-AsyncOperation"])
    with run_ml(*options) as ml:
        status = read(ml.call("GET", f"{link.path}?{link.query}"))["status"]
        refused = put_traffic(ml, {})
        pass_time(ml.url, 10 * LONG_S)  # the clock of the first one was ahead
        ended = read(ml.call("GET", f"{link.path}?{link.query}"))["status"]
        shown = ml.get()["properties"]
        deployed = ml.get_deployment()["properties"]["provisioningState"]
        again = read(ml.call("POST", ml.path(tail="/listKeys")))

    assert (status, refused.status_code, ended, deployed) == (
        "Updating",
        409,
        "Succeeded",
        "Succeeded",
    )
    assert (shown["traffic"], shown["provisioningState"]) == ({"blue": 100}, "Succeeded")
    assert again == keys


def test_a_seed_repeats_a_run() -> None:
    ids = []
    for _ in range(2):
        with run_ml("--seed=7") as ml:
            created = ml.call("PUT", ml.path(), ml.describe())
            keys = read(ml.call("POST", ml.path(tail="/listKeys")))
            ids.append((urlsplit(created.headers["Azure-AsyncOperation"]).path, keys))

    assert ids[0] == ids[1]


# What may change, and how.


@pytest.mark.parametrize(
    ("members", "place"),
    [
        ({"location": "westeurope"}, "location"),
        ({"properties": {"authMode": "AMLToken"}}, "properties.authMode"),
        ({"identity": {"type": "None"}}, "identity.type"),
    ],
)
def test_an_endpoint_keeps_what_was_set_at_its_creation(
    ml: Ml, members: dict[str, Json], place: str
) -> None:
    ml.put()
    refused = ml.call("PUT", ml.path(), ml.describe(**members))

    assert code_of(refused) == (400, "BadRequest", "PropertyImmutable")
    assert refused.json()["error"]["target"] == place


def test_a_deployment_keeps_its_machines_and_its_code(ml: Ml) -> None:
    code = {"codeId": f"{ml.root}/codes/census/versions/1", "scoringScript": "score.py"}
    ml.put()
    ml.deploy(codeConfiguration=code)
    other = {**code, "codeId": f"{ml.root}/codes/census/versions/2"}
    accepted = ml.deploy(codeConfiguration=code, instanceType="STANDARD_F4S_V2", model=None)
    refused = [
        ml.call("PUT", ml.path(tail=BLUE), ml.describe_deployment(**changed))
        for changed in ({"codeConfiguration": other}, {"instanceType": "Standard_F2s_v2"})
    ]

    assert accepted["properties"]["instanceType"] == "STANDARD_F4S_V2"
    assert "AZUREML_MODEL_DIR" not in accepted["properties"]["environmentVariables"]
    assert {code_of(one) for one in refused} == {(400, "BadRequest", "PropertyImmutable")}


def test_free_properties_are_added_and_not_altered(ml: Ml) -> None:
    ml.put(properties={"properties": {"a": "1"}})
    ml.put(properties={"properties": {"b": "2"}})
    refused = ml.call("PUT", ml.path(), ml.describe(properties={"properties": {"a": "3"}}))
    shown = ml.get()["properties"]["properties"]

    assert refused.status_code == 400
    assert {name: shown.get(name) for name in ("a", "b")} == {"a": "1", "b": "2"}


def test_a_patch_changes_tags_identity_and_capacity_alone(ml: Ml) -> None:
    ml.put(tags={"a": "1"})
    ml.deploy()
    ml.finish(ml.call("PATCH", ml.path(), {"tags": {"b": "2"}}))
    refused = [
        ml.call("PATCH", ml.path(), {"properties": {"traffic": {"blue": 100}}}),
        ml.call("PATCH", ml.path(tail=BLUE), {"properties": {"model": "x"}}),
        ml.call("PATCH", ml.path(tail=BLUE), {"sku": {"capacity": 51}}),
        ml.call("PATCH", ml.path(tail=BLUE), {"sku": {"capacity": 0}}),
    ]

    assert ml.get()["tags"] == {"b": "2"}
    assert {one.status_code for one in refused} == {400}
    assert code_of(ml.call("PATCH", ml.path("other"), {"tags": {}}))[2] == "NoSuchEndpoint"


@pytest.mark.parametrize(
    "name", ["ab", "1ab", "a--b", "a_b", "abc-", "a" * 33, "a.b", "ab%20c", "ab%0A", "%C3%A4bc"]
)
def test_a_name_that_breaks_the_rule_is_refused(ml: Ml, name: str) -> None:
    ml.put()
    refused = [
        ml.call("PUT", ml.path(name), ml.describe()),
        ml.call("PUT", ml.path(tail=f"/deployments/{name}"), ml.describe_deployment()),
    ]

    assert {code_of(one) for one in refused} == {(400, "BadRequest", "InvalidName")}


def test_a_name_is_unique_in_a_region(ml: Ml) -> None:
    ml.put()
    other = Ml(ml.url, ml.group, ml.region, workspace="other")
    elsewhere = Ml(ml.url, ml.group, ml.region[::-1], workspace="third")
    taken = other.call("PUT", other.path("CENSUS"), other.describe())
    hidden = other.call("GET", other.path())
    elsewhere.put()
    ml.finish(ml.call("DELETE", ml.path()))
    still = other.call("PUT", other.path(), other.describe())
    ml.put()

    assert code_of(taken) == code_of(still) == (400, "BadRequest", "EndpointNameTaken")
    assert hidden.status_code == 404


def test_names_ignore_case(ml: Ml) -> None:
    ml.put("Census")
    ml.deploy("Blue", "census")
    shown = ml.get("CENSUS")
    same = ml.call("GET", ml.path("cEnsus", "/DEPLOYMENTS/bLUE").replace("onlineE", "ONLINEE"))

    assert shown["name"] == "Census"
    assert same.json()["name"] == "Blue"


def test_what_a_deployment_refers_to_has_the_form_of_an_id(ml: Ml) -> None:
    ml.put()
    registry = "azureml://registries/azureml/models/census/versions/2"
    accepted = ml.deploy(model=registry, environmentId=None)
    refused = [
        ml.call("PUT", ml.path(tail=BLUE), ml.describe_deployment(**changed))
        for changed in (
            {"model": "azureml:census:2"},
            {"model": "census@latest"},
            {"environmentId": f"{ml.root}/models/census/versions/1"},
            {"codeConfiguration": {"codeId": "./src", "scoringScript": "score.py"}},
            {"scaleSettings": {"scaleType": "TargetUtilization"}},
            {"endpointComputeType": "Kubernetes"},
            {"instanceType": None},
            {"environmentVariables": {"A": 1}},
        )
    ]

    assert accepted["properties"]["model"] == registry
    mounted = accepted["properties"]["environmentVariables"]["AZUREML_MODEL_DIR"]
    assert mounted == "/var/azureml-app/azureml-models/census/2"
    assert {one.status_code for one in refused} == {400}


def test_a_stale_variable_that_is_sent_back_masks_the_mounted_version(ml: Ml) -> None:
    ml.put()
    sent = ml.deploy()["properties"]["environmentVariables"]
    model = f"{ml.root}/models/census/versions/5"
    shown = ml.deploy(model=model, environmentVariables=sent)["properties"]
    clean = ml.deploy(model=model, environmentVariables={"WORKERS": "2"})["properties"]

    assert shown["environmentVariables"] == sent
    assert clean["environmentVariables"] == {
        "AZUREML_MODEL_DIR": "/var/azureml-app/azureml-models/census/5",
        "WORKERS": "2",
    }


# Limits.


def test_quota_counts_a_fifth_more_and_both_colours(ml: Ml) -> None:
    with switched_ml(online_quota="15") as small:
        small.put()
        small.deploy(instanceType="Standard_F4s_v2")
        refused = small.call(
            "PUT", small.path(tail="/deployments/green"), small.describe_deployment(capacity=1)
        )
        patched = small.call("PATCH", small.path(tail=BLUE), {"sku": {"capacity": 3}})
        same = small.call("PATCH", small.path(tail=BLUE), {"sku": {"capacity": 1}})
        other = small.deploy("green", instanceType="Standard_DS3_v2")

    assert code_of(refused) == (400, "BadRequest", "InferencingClientCreateDeploymentFailed")
    text = refused.json()["error"]["details"][0]["message"]
    quota = "Not enough quota available for Standard_F4s_v2 in SubscriptionId"
    assert f"{quota} {SUBSCRIPTION}. Current usage/limit: 8/15. Additional needed: 8 " in text
    assert '{"errors":' in text.replace('{"errors": ', '{"errors":')
    assert (
        "usage/limit: 8/15. Additional needed: 8"
        in patched.json()["error"]["details"][0]["message"]
    )
    assert same.status_code == 202
    assert other["name"] == "green"


def test_an_endpoint_has_twenty_deployments(ml: Ml) -> None:
    ml.put()
    for number in range(20):
        path = ml.path(tail=f"/deployments/blue{number}")
        assert ml.call("PUT", path, ml.describe_deployment()).status_code == 201
    refused = ml.call("PUT", ml.path(tail="/deployments/one-more"), ml.describe_deployment())

    assert code_of(refused) == (400, "BadRequest", "DeploymentLimitReached")


def test_a_region_has_so_many_endpoints_and_deployments() -> None:
    with switched_ml(online_most_endpoints="2", online_most_deployments="1") as ml:
        ml.put("one")
        ml.put("two")
        third = ml.call("PUT", ml.path("three"), ml.describe())
        ml.deploy("blue", "one")
        second = ml.call("PUT", ml.path("two", BLUE), ml.describe_deployment())

    assert code_of(third)[2] == "EndpointLimitReached"
    assert code_of(second)[2] == "DeploymentLimitReached"


def test_buckets_count_down_and_are_refilled() -> None:
    header = "x-ms-ratelimit-remaining-subscription-"
    with run_ml("--limits=resource-manager") as ml:
        hold_time(ml.url)
        created = ml.call("PUT", ml.path(), ml.describe())
        read_ = ml.call("GET", ml.path())
        deleted = ml.call("DELETE", ml.path("none"))
        keys = ml.call("POST", ml.path(tail="/listKeys"))
        puts = [ml.call("PUT", ml.path(tail=BLUE), ml.describe_deployment()) for _ in range(26)]
        pass_time(ml.url, 13)
        again = ml.call("PUT", ml.path(tail=BLUE), ml.describe_deployment())

    assert created.headers[f"{header}writes"] == "199"
    assert created.headers[f"{header}global-writes"] == "2999"
    assert read_.headers[f"{header}reads"] == "249"
    assert deleted.headers[f"{header}deletes"] == "199"
    assert keys.headers[f"{header}writes"] == "198"
    assert [one.headers.get(f"{header}resource-requests") for one in puts[:2]] == ["24", "23"]
    assert f"{header}writes" not in puts[0].headers
    assert [one.status_code for one in puts[-2:]] == [201, 429]
    assert 1 <= int(puts[-1].headers["Retry-After"]) <= 13
    assert again.status_code == 201


# Lists.


def test_lists_have_pages_of_whole_documents() -> None:
    with switched_ml(online_page_size="2") as ml:
        for number in range(5):
            ml.put(f"census{number}", tags={"team": "a" if number else "b"})
        for number in range(3):
            ml.deploy(f"blue{number}", "census0")
        pages = follow(ml, f"{ml.root}/onlineEndpoints")
        below = follow(ml, ml.path("census0", "/deployments"))
        tagged = follow(ml, f"{ml.root}/onlineEndpoints", tags="team=a", count="3")
        newest = follow(ml, f"{ml.root}/onlineEndpoints", orderBy="CreatedAtDesc")
        named = follow(ml, f"{ml.root}/onlineEndpoints", name="census3")
        whole = [ml.get(f"census{number}") for number in range(5)]

    assert [len(one["value"]) for one in pages] == [2, 2, 1]
    assert [one for page in pages for one in page["value"]] == whole
    assert [len(one["value"]) for one in below] == [2, 1]
    assert "&$skipToken=" in pages[0]["nextLink"]
    assert "%3D" in pages[0]["nextLink"] or "%" in pages[0]["nextLink"]
    assert [one["name"] for page in tagged for one in page["value"]] == [
        "census1",
        "census2",
        "census3",
        "census4",
    ]
    assert newest[0]["value"][0]["name"] == "census4"
    assert [one["name"] for one in named[0]["value"]] == ["census3"]


def follow(ml: Ml, path: str, **query: str) -> list[Json]:
    """All pages of a list, by the links as they are."""
    pages = [read(ml.call("GET", path, query=query))]
    while link := pages[-1].get("nextLink"):
        pages.append(read(ml.call("GET", link)))
    return pages


@pytest.mark.parametrize("token", ["x", "eyJza2lwIjoyfQ", "eyJza2lwIjotMX0%3D", "%25", "AAAA"])
def test_a_changed_token_is_refused(ml: Ml, token: str) -> None:
    path = f"{ml.root}/onlineEndpoints?api-version=2024-04-01&$skipToken={token}"

    assert code_of(ml.call("GET", path)) == (400, "BadRequest", "InvalidSkipToken")


# Versions, headers, switches.


def test_the_document_depends_on_the_version_of_the_reader(ml: Ml) -> None:
    ml.put()
    ml.deploy(startupProbe={"failureThreshold": 3})
    seen = {}
    for version in ("2022-02-01-preview", "2022-05-01", "2023-04-01-preview", "2024-10-01"):
        ml.version = version
        shown = ml.get_deployment()["properties"]
        seen[version] = {"dataCollector", "privateNetworkConnection", "startupProbe"} & set(shown)
        assert shown["properties"]["AzureAsyncOperationUri"].endswith(f"?api-version={version}")
    ml.version = ""
    unknown = [
        ml.call("GET", f"{ml.path()}{query}") for query in ("", "?api-version=", "?api-version=1")
    ]

    assert seen == {
        "2022-02-01-preview": {"privateNetworkConnection"},
        "2022-05-01": set(),
        "2023-04-01-preview": {"dataCollector"},
        "2024-10-01": {"dataCollector", "startupProbe"},
    }
    assert [code_of(one)[1] for one in unknown] == [
        "MissingApiVersionParameter",
        "MissingApiVersionParameter",
        "InvalidApiVersionParameter",
    ]


def test_replies_have_the_recorded_headers(ml: Ml) -> None:
    answer = ml.call("PUT", ml.path(), ml.describe())

    assert answer.headers["x-ms-request-id"] == answer.headers["x-ms-correlation-request-id"]
    for name in (
        "x-ms-routing-request-id",
        "x-ms-response-type",
        "x-ms-operation-identifier",
        "azureml-served-by-cluster",
        "x-request-time",
        "X-MSEdge-Ref",
    ):
        assert answer.headers.get(name), name
    for name in ("Retry-After", "ETag", "Server"):
        assert name not in answer.headers
    assert b"\r" not in answer.content
    assert answer.content.startswith(b'{\n  "id"')


def test_a_workspace_exists_and_keeps_its_id(ml: Ml) -> None:
    found = [read(ml.call("GET", path)) for path in (ml.root, ml.root.upper())]

    assert found[0]["location"] == "eastus"
    assert found[0]["properties"]["workspaceId"] == found[1]["properties"]["workspaceId"]


def test_other_methods_and_paths_are_refused(ml: Ml) -> None:
    methods = [
        ml.call("POST", ml.path()),
        ml.call("PUT", f"{ml.root}/onlineEndpoints"),
        ml.call("GET", ml.path(tail="/listKeys")),
        ml.call("DELETE", ml.root),
    ]
    paths = [
        ml.call("GET", ml.path(tail="/nothing")),
        ml.call("GET", f"{ml.root}/batchEndpoints/census"),
        ml.call("GET", ml.path(tail=f"{BLUE}/nothing")),
    ]

    assert {one.status_code for one in methods} == {405}
    assert all(one.headers["Allow"] for one in methods)
    assert {one.status_code for one in paths} <= {404, 405}


def test_switches_settle_what_is_not_known() -> None:
    with switched_ml(
        online_busy_status="400",
        online_refusal_status="409",
        online_delete_results="404",
        online_delete_body="empty",
        online_unsigned_operation="answer",
        online_put_without_traffic="keep",
        online_patch_tags="merge",
        online_endpoint_change="accept",
        online_deployment_change="accept",
        online_server_variables="hidden",
        online_capacity_stamp="new",
        online_name_release="free",
        online_last_modified="moved",
    ) as ml:
        ml.put(tags={"a": "1"})
        ml.deploy()
        ml.route(blue=100)
        body = ml.describe(properties={"authMode": "AMLToken"}, tags={"a": "1"})
        del body["properties"]["traffic"]
        changed = ml.call("PUT", ml.path(), body)
        ml.finish(changed)
        unsigned = ml.call("GET", changed.headers["Azure-AsyncOperation"].partition("&")[0])
        ml.finish(ml.call("PATCH", ml.path(), {"tags": {"b": "2"}}))
        shown = ml.get()
        refused = ml.call("DELETE", ml.path(tail=BLUE))
        bigger = ml.deploy(instanceType="Standard_F8s_v2")
        ml.finish(ml.call("PATCH", ml.path(tail=BLUE), {"sku": {"capacity": 2}}))
        scaled = ml.get_deployment()
        deleted = ml.call("DELETE", ml.path())
        ml.finish(deleted)
        gone = ml.call("GET", deleted.headers["Location"])
        other = Ml(ml.url, workspace="other")
        other.put()

    assert shown["properties"]["traffic"] == {"blue": 100}
    assert shown["properties"]["authMode"] == "AMLToken"
    assert shown["tags"] == {"a": "1", "b": "2"}
    assert shown["systemData"]["lastModifiedAt"] > shown["systemData"]["createdAt"]
    assert unsigned.status_code == 200
    assert code_of(refused)[:2] == (409, "Conflict")
    assert bigger["properties"]["environmentVariables"] == {}
    stamps = [one["properties"]["properties"]["AzureAsyncOperationUri"] for one in (bigger, scaled)]
    assert stamps[0] != stamps[1]
    assert (deleted.content, gone.status_code) == (b"", 404)

"""Models, environments and code of Azure Machine Learning, their versions, and the datastore."""

import re
import uuid
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from tests.contract.azureml import switched_ml
from tests.contract.world import Json, Service, run_service, switched
from tests.e2e.world import SUBSCRIPTION

pytestmark = pytest.mark.contract
VERSION = "2024-04-01"
SCOPE = "/providers/Microsoft.MachineLearningServices"
PATHS = "azureml://datastores/workspaceblobstore/paths"
LONG = (
    f"azureml://subscriptions/{SUBSCRIPTION}/resourceGroups/{{group}}/workspaces/ws"
    "/datastores/workspaceblobstore/paths"
)


def place(service: Service, tail: str, scope: str = "workspaces/ws") -> str:
    group = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{service.group}"
    return f"{group}{SCOPE}/{scope}/{tail}"


def call(service: Service, method: str, path: str, body: Json = None, **query: str) -> Json:
    """The reply of a call."""
    names = {name.replace("_", "$", 1): value for name, value in query.items()}
    return service.call(method, path, body, version=VERSION, described=False, query=names)


def register(service: Service, number: str = "1", name: str = "census", **more: Json) -> Json:
    """Register a version of a model; the reply."""
    properties = {"modelUri": f"{PATHS}/models/{number}.ilearner", **more}
    path = place(service, f"models/{name}/versions/{number}")
    return call(service, "PUT", path, {"properties": properties})


def inner(answer: requests.Response) -> tuple[int, str, str]:
    """Status, code and inner code of an error of the management front."""
    error = answer.json()["error"]
    assert {one["type"] for one in error["additionalInfo"]} >= {"ComponentName", "Correlation"}
    return answer.status_code, error["code"], "".join(one["code"] for one in error["details"])


def test_a_new_version_is_201_and_an_existing_one_200(service: Service) -> None:
    made = register(service, "4", description="first", tags={"a": "b"})
    assert made.status_code == 201
    assert urlsplit(made.headers["Location"]).path == place(service, "models/census/versions/4")
    document = made.json()
    assert document["id"] == place(service, "models/census/versions/4")
    assert document["name"] == "4"
    assert document["type"] == "Microsoft.MachineLearningServices/workspaces/models/versions"
    properties = document["properties"]
    assert properties["modelUri"] == LONG.format(group=service.group) + "/models/4.ilearner"
    assert properties["tags"] == {"a": "b"}
    assert (properties["modelType"], properties["flavors"]) == ("custom_model", {})
    assert document["systemData"]["createdByType"] == "User"
    again = register(service, "4", description="second")
    assert again.status_code == 200
    assert again.json()["properties"]["description"] == "second"
    assert again.json()["systemData"]["createdAt"] == document["systemData"]["createdAt"]
    assert "Location" not in again.headers
    shown = call(service, "GET", place(service, "MODELS/Census/Versions/4")).json()
    assert shown == again.json()


def test_the_stage_is_shown_to_readers_of_newer_versions_alone(service: Service) -> None:
    register(service, stage="Production")
    path = place(service, "models/census/versions/1")
    newer = service.call("GET", path, version="2024-04-01").json()["properties"]
    older = service.call("GET", path, version="2022-05-01").json()["properties"]
    assert newer == {**older, "stage": "Production", "provisioningState": "Succeeded"}


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        (
            f"azureml://subscriptions/{SUBSCRIPTION}/resourcegroups/rg/workspaces/w/datastores/d/paths/a/b",
            f"azureml://subscriptions/{SUBSCRIPTION}/resourceGroups/rg/workspaces/w/datastores/d/paths/a/b",
        ),
        ("azureml://jobs/j/outputs/o/paths/p", "azureml://jobs/j/outputs/o/paths/p"),
        ("runs:/r/model", "runs:/r/model"),
    ],
)
def test_an_address_comes_back_in_the_spelling_of_the_service(
    service: Service, sent: str, shown: str
) -> None:
    answer = register(service, uuid.uuid4().hex[:8], modelUri=sent)
    assert answer.json()["properties"]["modelUri"] == shown


def test_a_folder_of_mlflow_is_copied(service: Service) -> None:
    said = register(service, modelType="mlflow_model", modelUri=f"{PATHS}/LocalUpload/1/model")
    uri = said.json()["properties"]["modelUri"]
    copy = r"/paths/ServiceReplicated/[0-9a-f-]{36}/LocalUpload/1/model"
    assert re.search(f"{copy}$", uri)
    # What was sent, and what is shown, are the same content.
    for same in (f"{PATHS}/LocalUpload/1/model", uri):
        again = register(service, modelType="mlflow_model", modelUri=same)
        assert (again.status_code, again.json()["properties"]["modelUri"]) == (200, uri)


def test_the_content_of_a_version_cannot_change(service: Service) -> None:
    register(service)
    answer = register(service, modelUri=f"{PATHS}/other")
    assert inner(answer) == (400, "BadRequest", "ImmutableAsset")
    assert call(service, "DELETE", place(service, "models/census/versions/1")).status_code == 200
    assert call(service, "DELETE", place(service, "models/census/versions/1")).status_code == 204
    assert inner(register(service)) == (409, "Conflict", "AssetDeleted")
    gone = call(service, "GET", place(service, "models/census/versions/1"))
    assert inner(gone) == (404, "UserError", "ModelNotFound")


def test_a_switch_lets_a_version_change_and_come_back() -> None:
    with switched(online_model_address="accept", online_deleted_version="accept") as service:
        register(service)
        changed = register(service, modelUri=f"{PATHS}/other").json()
        assert changed["properties"]["modelUri"].endswith("/paths/other")
        call(service, "DELETE", place(service, "models/census/versions/1"))
        assert register(service).status_code == 201
    with switched(online_model_address="ignore") as service:
        register(service)
        kept = register(service, modelUri=f"{PATHS}/other").json()
        assert kept["properties"]["modelUri"].endswith("/paths/models/1.ilearner")


def test_a_container_counts_its_versions(service: Service) -> None:
    missing = call(service, "GET", place(service, "models/census"))
    assert inner(missing) == (404, "UserError", "ModelNotFound")
    text = missing.json()["error"]["details"][0]["message"]
    assert text == "Model container with name: census not found."
    for number in ("1", "10", "2"):
        register(service, number)
    shown = call(service, "GET", place(service, "models/census")).json()
    assert shown["name"] == "census"
    numbers = {name: shown["properties"][name] for name in ("latestVersion", "nextVersion")}
    assert numbers == {"latestVersion": "2", "nextVersion": "11"}
    call(service, "DELETE", place(service, "models/census/versions/2"))
    later = call(service, "GET", place(service, "models/census")).json()["properties"]
    assert (later["latestVersion"], later["nextVersion"]) == ("10", "11")


def test_archived_items_are_in_no_list_unless_it_asks_for_them(service: Service) -> None:
    register(service, "1", isArchived=True)
    register(service, "2")
    path = place(service, "models/census/versions")

    def listed(where: str, **query: str) -> list[str]:
        return [one["name"] for one in call(service, "GET", where, **query).json()["value"]]

    assert listed(path) == ["2"]
    assert listed(path, listViewType="ArchivedOnly") == ["1"]
    assert listed(path, listViewType="All") == ["2", "1"]
    assert call(service, "GET", f"{path}/1").json()["properties"]["isArchived"] is True
    refused = call(service, "GET", path, listViewType="Some")
    assert inner(refused)[:2] == (400, "BadRequest")
    models = place(service, "models")
    assert listed(models) == ["census"]
    call(service, "PUT", place(service, "models/census"), {"properties": {"isArchived": True}})
    assert (listed(models), listed(models, listViewType="All")) == ([], ["census"])


def test_the_newest_version_is_first_and_the_link_leads_to_the_rest(service: Service) -> None:
    for number in ("1", "2", "3"):
        register(service, number)
    path = place(service, "models/census/versions")
    page = call(service, "GET", path, _orderBy="createdtime desc", _top="1").json()
    seen = [one["name"] for one in page["value"]]
    assert "?$orderBy=createdtime+desc&$top=1&" in page["nextLink"]
    assert "&$skipToken=" in page["nextLink"]
    while "nextLink" in page:
        page = service.call("GET", page["nextLink"], described=False).json()
        seen += [one["name"] for one in page["value"]]
    assert seen == ["3", "2", "1"]
    (only,) = call(service, "GET", path, version="2").json()["value"]
    assert only["name"] == "2"
    rising = call(service, "GET", path, _orderBy="createdtime asc").json()["value"]
    assert [one["name"] for one in rising] == ["1", "2", "3"]


@pytest.mark.parametrize(
    "body",
    [
        [],
        {},
        {"properties": None},
        {"properties": {}},
        {"properties": {"modelUri": 3}},
        {"properties": {"modelUri": ""}},
        {"properties": {"modelUri": "x", "tags": []}},
        {"properties": {"modelUri": "x", "isArchived": "yes"}},
    ],
)
def test_a_version_without_an_address_is_refused(service: Service, body: Json) -> None:
    path = place(service, "models/census/versions/1")
    assert inner(call(service, "PUT", path, body)) == (400, "BadRequest", "ValidationError")
    assert call(service, "GET", path.rpartition("/")[0]).json()["value"] == []


@pytest.mark.parametrize("name", ["a%0d%0aX-Injected:%201", "%e2%80%ae", "-a", "a%2fb", "a" * 256])
def test_names_that_no_asset_has_are_refused(service: Service, name: str) -> None:
    for tail in (f"models/{name}/versions/1", f"models/census/versions/{name}"):
        body = {"properties": {"modelUri": "runs:/a/b"}}
        answer = call(service, "PUT", place(service, tail), body)
        assert inner(answer) == (400, "BadRequest", "InvalidName")
        assert "X-Injected" not in answer.headers
        assert call(service, "GET", place(service, tail)).status_code == 404


def test_what_is_not_registered_is_taken_as_it_comes(service: Service) -> None:
    for kind, member in (("environments", "image"), ("codes", "codeUri")):
        path = place(service, f"{kind}/own/versions/3")
        shown = call(service, "GET", path).json()
        assert (shown["id"], shown["name"]) == (path, "3")
        assert member in shown["properties"]
    put = call(
        service,
        "PUT",
        place(service, "environments/own/versions/3"),
        {"properties": {"image": "i"}},
    )
    assert (put.status_code, put.json()["properties"]["image"]) == (201, "i")
    # A model only until one of its versions is registered.
    shown = call(service, "GET", place(service, "models/own/versions/3"))
    assert (shown.status_code, shown.json()["name"]) == (200, "3")
    assert call(service, "GET", place(service, "models/own/versions")).json()["value"] == []
    assert register(service, "1", "own").status_code == 201
    missing = call(service, "GET", place(service, "models/own/versions/3"))
    assert inner(missing)[:2] == (404, "UserError")


def test_a_switch_demands_that_what_is_named_exists() -> None:
    codes = {"environments": "Environment", "codes": "Code", "models": "Model"}
    with switched(online_references="check") as service:
        for kind, code in ((kind, f"{name}NotFound") for kind, name in codes.items()):
            answer = call(service, "GET", place(service, f"{kind}/own/versions/3"))
            assert inner(answer) == (404, "UserError", code)


def test_a_switch_demands_that_what_a_deployment_names_is_registered() -> None:
    with switched_ml(online_references="check") as ml:
        ml.put()
        path = ml.path(tail="/deployments/blue")
        refused = ml.call("PUT", path, ml.describe_deployment())
        assert refused.status_code == 400
        assert f"{ml.root}/models/census/versions/4" in refused.text
        body = {"properties": {"modelUri": "runs:/a/b"}}
        ml.call("PUT", f"{ml.root}/models/census/versions/4", body)
        assert ml.deploy()["properties"]["provisioningState"] == "Succeeded"


def test_a_registry_has_versions_of_its_own(service: Service) -> None:
    registry = f"registries/shared-{uuid.uuid4().hex[:6]}"
    path = place(service, "models/census/versions/1", registry)
    missing = call(service, "GET", path)
    asset = f"azureml://{registry}/models/census/versions/1"
    assert missing.status_code == 404
    assert missing.json()["error"]["code"] == "UserError"
    assert missing.json()["error"]["message"] == f"Could not find asset with ID: {asset}"
    put = call(service, "PUT", path, {"properties": {"modelUri": "https://acct/blob"}})
    assert put.status_code == 201
    shown = call(service, "GET", path).json()
    assert [shown[name] for name in ("id", "name", "type")] == [asset, "census", "models"]
    own = call(service, "GET", place(service, "models/census/versions"))
    assert own.json()["value"] == []


def test_a_registry_shows_the_address_of_the_blob(storage: str) -> None:
    with run_service(f"--blob-url={storage}", "--blob") as service:
        path = place(service, "models/census/versions/1", "registries/shared")
        uri = f"{LONG.format(group=service.group)}/m.ilearner"
        shown = call(service, "PUT", path, {"properties": {"modelUri": uri}}).json()
        store = call(service, "GET", place(service, "datastores/workspaceblobstore")).json()
        account = f"{storage}/devstoreaccount1/{store['properties']['containerName']}"
        assert shown["properties"]["modelUri"] == f"{account}/m.ilearner"
        assert store["properties"]["endpoint"] == urlsplit(storage).netloc
        assert store["properties"]["protocol"] == "http"


def test_the_default_datastore_is_the_only_one(service: Service) -> None:
    listed = call(service, "GET", place(service, "datastores")).json()["value"]
    shown = call(service, "GET", place(service, "datastores/workspaceblobstore")).json()
    assert listed == [shown]
    assert shown["properties"]["isDefault"] is True
    assert shown["properties"]["credentials"] == {"credentialsType": "AccountKey"}
    missing = call(service, "GET", place(service, "datastores/other"))
    assert inner(missing) == (404, "UserError", "NoSuchDatastore")


@pytest.mark.parametrize(
    ("method", "tail"),
    [
        ("PATCH", "models/census/versions/1"),
        ("DELETE", "models/census"),
        ("PUT", "models"),
        ("POST", "models/census/versions"),
        ("PUT", "datastores/workspaceblobstore"),
    ],
)
def test_a_method_that_an_address_lacks_is_405(service: Service, method: str, tail: str) -> None:
    answer = call(service, method, place(service, tail), {})
    assert answer.status_code == 405
    assert "GET" in answer.headers["Allow"]


def test_versions_are_there_after_a_restart_in_their_order(tmp_path: Path) -> None:
    with run_service(f"--data={tmp_path}") as service:
        kept = [register(service, number).json() for number in ("7", "10", "9")]
        register(service, "8")
        call(service, "DELETE", place(service, "models/census/versions/8"))
        container = call(service, "GET", place(service, "models/census")).json()
    with run_service(f"--data={tmp_path}") as service:
        path = place(service, "models/census/versions")
        assert call(service, "GET", path).json()["value"] == kept[::-1]
        assert call(service, "GET", place(service, "models/census")).json() == container
        assert inner(register(service, "8"))[0] == 409

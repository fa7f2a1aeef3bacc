"""What a step of an online endpoint names: versions that exist, and the blobs behind models."""

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from reconciler.errors import ServiceError, Unauthorized, Unavailable
from reconciler.kinds.online_endpoint import KIND
from reconciler.kinds.online_endpoint.models import AssetLookup, _join_address
from reconciler.model import (
    ABSENT,
    Absent,
    Address,
    Finding,
    Json,
    Manifest,
    Resource,
    SourceLocation,
    Step,
)
from reconciler.plans.step import Comparison, make_step
from reconciler.transport import Client, is_azure_storage
from reconciler.transport.timeouts import Timeouts
from tests.access import access
from tests.scripted import Answer, Call, run_scripted

GROUP = "/subscriptions/s1/resourceGroups/g1/providers/Microsoft.MachineLearningServices"
W = f"{GROUP}/workspaces/w1"
RESOURCE = Resource(Address("OnlineEndpoint", "census"), f"{W}/onlineEndpoints/census")
STORE = "azureml://subscriptions/s1/resourceGroups/g1/workspaces/w1/datastores/ds/paths"
DATASTORE: Json = {
    "properties": {
        "datastoreType": "AzureBlob",
        "accountName": "wsstorage",
        "containerName": "azureml-blobstore-1",
        "endpoint": "core.windows.net",
        "protocol": "https",
    }
}


def refused(code: str, status: int = 404, message: str = "The specified resource") -> Answer:
    """A refusal in the recorded envelope."""
    details = [{"code": code, "message": message, "details": [], "additionalInfo": []}]
    return Answer(status, {"error": {"code": code, "message": message, "details": details}})


def version(uri: Json = f"{STORE}/LocalUpload/0/model.pkl", **more: Json) -> Answer:
    properties = {"modelUri": uri, "modelType": "custom_model", "isArchived": False, **more}
    return Answer(200, {"name": "2", "properties": properties})


@contextmanager
def run_service(routes: Mapping[str, Answer]) -> Iterator[tuple[Client, list[str]]]:
    """A service that answers paths below the group; anything else is a model that is not there."""
    asked: list[str] = []

    def answer(call: Call, _: int) -> Answer:
        path = call.target.partition("?")[0].removeprefix(GROUP)
        assert call.target.endswith("?api-version=2024-04-01")
        assert call.method == "GET"
        asked.append(path)
        return routes.get(path, refused("ModelNotFound"))

    with run_scripted(answer) as server:
        given = access(server.url)
        yield (
            Client(server.url, given.emit, given.rate_limiter, timeouts=Timeouts(retries=0)),
            asked,
        )


def make_manifest(**green: Json) -> Manifest:
    spec = {"deployments": {"green": green}}
    at = "/spec/deployments/green"
    places = {f"{at}/model": SourceLocation("c.yaml", 7, 14)}
    places[f"{at}/environment"] = SourceLocation("c.yaml", 8, 20)
    return Manifest(RESOURCE.address, spec, "c.yaml", "sha256:0", places=places)


def make(manifest: Manifest, live: Json | Absent = ABSENT) -> Step:
    declared = KIND.bind(manifest, live)
    step = make_step(Comparison(RESOURCE, KIND.field, live, declared, {}, None))
    assert step is not None
    return step


def look(
    routes: Mapping[str, Answer], live: Json | Absent = ABSENT, **green: Json
) -> tuple[list[Finding], list[str]]:
    manifest = make_manifest(**green)
    with run_service(routes) as (client, asked):
        found = AssetLookup(client).check_references(manifest, make(manifest, live))
        return list(found), asked


MODEL = "/workspaces/w1/models/census/versions/2"
ENVIRONMENT = "/workspaces/w1/environments/sklearn/versions/3"


def test_what_is_there_is_no_finding() -> None:
    found, asked = look(
        {
            MODEL: version(),
            ENVIRONMENT: Answer(200, {}),
            "/workspaces/w1/codes/c/versions/1": Answer(200, {}),
        },
        model="azureml:census:2",
        environment="azureml:sklearn:3",
        code_configuration={"code": "azureml:c:1", "scoring_script": "score.py"},
    )
    assert found == []
    assert sorted(asked) == ["/workspaces/w1/codes/c/versions/1", ENVIRONMENT, MODEL]


def test_what_is_not_there_is_named_with_its_place_and_the_latest_version() -> None:
    found, _ = look(
        {
            "/workspaces/w1/models/census": Answer(200, {"properties": {"latestVersion": "1"}}),
            ENVIRONMENT: refused("NotFound"),
            "/workspaces/w1/environments/sklearn": refused("NotFound"),
        },
        model="azureml:census:2",
        environment="azureml:sklearn:3",
    )
    assert [f"{one.severity} {one.place} {one.message}" for one in found] == [
        "error c.yaml:7:14 deployment green: the model azureml:census:2 does not exist",
        "error c.yaml:8:20 deployment green: the environment azureml:sklearn:3 does not exist",
    ]
    assert [one.next_step for one in found] == [
        "Register it, or name another version. The latest one is 1.",
        "Nothing is registered with the name sklearn. Register it, or correct it.",
    ]
    assert {one.subject for one in found} == {"OnlineEndpoint/census"}


def test_an_archived_version_is_a_warning() -> None:
    found, _ = look({MODEL: version(isArchived=True)}, model="azureml:census:2")
    assert [(one.severity, one.message) for one in found] == [
        ("warning", "deployment green: the model azureml:census:2 is archived")
    ]


@pytest.mark.parametrize(
    "answer",
    [
        refused("AuthorizationFailed", 403),
        refused("ResourceGroupNotFound"),
        refused("ResourceNotFound"),
        Answer(404, b"<html>"),
    ],
)
def test_what_cannot_be_looked_up_is_unknown(answer: Answer) -> None:
    found, _ = look({MODEL: answer}, model="azureml:census:2")
    assert [one.severity for one in found] == ["warning"]
    assert "could not be looked up in its workspace, so it is unknown" in found[0].message


@pytest.mark.parametrize(
    ("answer", "error"), [(Answer(401), Unauthorized), (Answer(500), Unavailable)]
)
def test_no_answer_is_an_error(answer: Answer, error: type[ServiceError]) -> None:
    with pytest.raises(error):
        look({MODEL: answer}, model="azureml:census:2")


def test_only_what_a_step_changes_is_looked_up() -> None:
    live = {
        "properties": {"authMode": "Key"},
        "deployments": {
            "green": {"properties": {"model": "azureml:Census:2"}},
            "blue": {"properties": {"model": "azureml:census:1"}},
        },
    }
    found, asked = look({}, live, model="azureml:census:2", instance_count=4)
    assert (found, asked) == ([], [])


def test_each_version_is_read_once_in_a_run() -> None:
    manifest = make_manifest(model="azureml:census:2")
    step = make(manifest)
    with run_service({MODEL: version()}) as (client, asked):
        lookup = AssetLookup(client)
        with ThreadPoolExecutor(8) as pool:
            done = pool.map(lambda _: list(lookup.check_references(manifest, step)), range(20))
        assert [*done] == [[]] * 20
    assert asked == [MODEL]


REGISTRY = "azureml://registries/r/models/census/versions/2"


def test_a_registry_is_looked_for_beside_the_workspace() -> None:
    path = "/registries/r/models/census/versions/2"
    assert look({path: version()}, model=REGISTRY)[0] == []
    gone = refused("UserError", message=f"Could not find asset with ID: {REGISTRY}")
    (found,), _ = look({path: gone}, model=REGISTRY)
    assert (found.severity, "does not exist" in found.message) == ("error", True)
    (found,), _ = look({path: refused("NotFound")}, model=REGISTRY)
    assert found.severity == "warning"
    assert "could not be looked up in its registry" in found.message


def test_the_registry_of_the_vendor_is_not_looked_for() -> None:
    curated = "azureml://registries/azureml/environments/sklearn-1.5/versions/20"
    assert look({MODEL: version()}, model="azureml:census:2", environment=curated) == ([], [MODEL])


# The blob behind a model.


def locate(
    answer: Answer, uri: str = "azureml:census:2", store: Json = DATASTORE
) -> tuple[str | Absent, list[str]]:
    """The address of the blob of a version, and what was asked."""
    routes = {
        MODEL: answer,
        "/workspaces/w1/datastores/ds": store if isinstance(store, Answer) else Answer(200, store),
        "/registries/r/models/census/versions/2": answer,
    }
    with run_service(routes) as (client, asked):
        return AssetLookup(client).locate_model(RESOURCE, uri), asked


def on_this_machine(**more: Json) -> Json:
    """The datastore of an emulator."""
    own = {"endpoint": "127.0.0.1:10000", "protocol": "http", "accountName": "devstoreaccount1"}
    return {"properties": {**DATASTORE["properties"], **own, **more}}


def test_a_model_of_one_file_has_the_address_of_its_blob() -> None:
    found, asked = locate(version(), store=on_this_machine())
    assert found == (
        "http://127.0.0.1:10000/devstoreaccount1/azureml-blobstore-1/LocalUpload/0/model.pkl"
    )
    assert asked == [MODEL, "/workspaces/w1/datastores/ds"]


def test_the_server_rewrites_the_case_and_people_write_blanks() -> None:
    uri = STORE.replace("resourceGroups", "resourcegroups") + "/my%20models/a b.ilearner"
    found, _ = locate(version(uri), store=on_this_machine())
    assert isinstance(found, str)
    assert found.endswith("/azureml-blobstore-1/my%20models/a%20b.ilearner")


def test_a_version_that_is_not_there_has_no_blob() -> None:
    assert locate(refused("ModelNotFound"))[0] is ABSENT


@pytest.mark.parametrize(
    "answer",
    [
        version(modelType="mlflow_model"),
        version(modelType="triton_model"),
        version(f"{STORE}/LocalUpload/0/model"),
        version("azureml://jobs/j/outputs/o/paths/model.pkl"),
        version("runs:/r/model.pkl"),
        version(None),
        version("https://acct.blob.core.windows.net.evil.example/c/model.pkl"),
        version("https://evil.example/c/model.pkl"),
        version("file:///etc/passwd.pkl"),
        Answer(200, []),
        refused("AuthorizationFailed", 403),
        refused("ResourceGroupNotFound"),
    ],
)
def test_what_is_not_one_known_blob_is_unknown(answer: Answer) -> None:
    assert locate(answer, store=on_this_machine())[0] == ""


@pytest.mark.parametrize(
    "store",
    [
        {"properties": {"datastoreType": "AzureDataLakeGen2"}},
        on_this_machine(accountName="../x"),
        on_this_machine(containerName=None),
        on_this_machine(endpoint="evil.example", protocol="https"),
        DATASTORE,  # another cloud than that of this machine
        refused("UserError"),
        refused("AuthorizationFailed", 403),
        Answer(200, None),
    ],
)
def test_a_datastore_that_shows_no_place_makes_it_unknown(store: Json) -> None:
    assert locate(version(), store=store)[0] == ""


def test_a_text_that_is_not_an_id_asks_nothing() -> None:
    assert locate(version(), uri="https://acct.blob.core.windows.net/c/m.pkl") == ("", [])


def test_no_signature_of_a_model_is_kept() -> None:
    uri = "http://127.0.0.1:10000/devstoreaccount1/c/model.pkl?sig=PLANTED"
    found, _ = locate(version(uri), uri=REGISTRY)
    assert found == "http://127.0.0.1:10000/devstoreaccount1/c/model.pkl"
    assert "PLANTED" not in json.dumps(found)


def test_a_datastore_of_azure_is_a_container_of_its_account() -> None:
    found = _join_address(DATASTORE["properties"], "LocalUpload/0/model.pkl")
    account = "https://wsstorage.blob.core.windows.net"
    assert found == f"{account}/azureml-blobstore-1/LocalUpload/0/model.pkl"
    assert is_azure_storage(found)


@pytest.mark.parametrize(
    "address",
    [
        "http://a.blob.core.windows.net/c/m.pkl",
        "https://a.blob.core.windows.net.evil.example/c/m.pkl",
        "https://blob.core.windows.net/c/m.pkl",
        "https://evil.example/.blob.core.windows.net/m.pkl",
        "https://user@evil.example/c/m.pkl",
        "http://127.0.0.1:1/a/c/m.pkl",
        "",
    ],
)
def test_our_identity_goes_only_to_azures_storage(address: str) -> None:
    assert not is_azure_storage(address)

"""Scoring of online endpoints: whose key, which deployment, which answers, and how many at once."""

import base64
import hashlib
import json
import socket
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from reconciler.emulator.training.learner import Model
from reconciler.emulator.training.tables import Column
from tests.contract.azureml import Json, Ml, code_of, read, run_ml, switched_ml
from tests.contract.faulty import on, write_faults
from tests.e2e.world import pass_time, run_emulator
from tests.storage import upload_model

pytestmark = pytest.mark.contract
ROW = {"data": [[1, 2, 3]]}


@pytest.fixture(scope="module")
def shared() -> Iterator[Ml]:
    with run_ml("--seed=1") as ml:
        yield ml


@pytest.fixture
def ml(shared: Ml) -> Ml:
    """An endpoint with two deployments of other models; `blue` has all traffic."""
    return make_own(shared)


def make_census(ml: Ml, **properties: Json) -> Ml:
    ml.put(properties=properties)
    ml.deploy("blue")
    ml.deploy("green", model=f"{ml.root}/models/census/versions/5")
    ml.put(properties={"traffic": {"blue": 100}, **properties})
    return ml


def key(ml: Ml) -> str:
    return str(read(ml.call("POST", ml.path(tail="/listKeys")))["primaryKey"])


def score(
    ml: Ml, body: Json = ROW, name: str = "", *, token: str | None = None, **headers: str
) -> requests.Response:
    """Score a body, by the deployment `name` if it is given."""
    sent = {"Authorization": f"Bearer {key(ml) if token is None else token}", **headers}
    if name:
        sent["azureml-model-deployment"] = name
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return requests.post(ml.get()["properties"]["scoringUri"], data=data, headers=sent, timeout=60)


@contextmanager
def run_ml_beside(storage: str, *options: str) -> Iterator[Ml]:
    """An emulator beside real blob storage."""
    with run_emulator(f"--blob-url={storage}", "--operation-seconds=0", *options) as running:
        yield Ml(running.url)


def make_own(shared: Ml, **properties: Json) -> Ml:
    """An endpoint in a workspace and a region of its own."""
    own = Ml(shared.url, workspace=f"w{uuid.uuid4().hex[:8]}", region=f"r{uuid.uuid4().hex[:8]}")
    return make_census(own, **properties)


def answered(answer: requests.Response) -> str:
    return answer.headers["azureml-model-deployment"]


# What is answered.


def test_a_score_has_the_recorded_headers_and_no_other(ml: Ml) -> None:
    answer = score(ml)
    assert answer.status_code == 200
    (number,) = answer.json()
    assert 0 <= number < 1
    usual = {"Date", "Content-Length"}
    assert set(answer.headers) - usual == {
        "azureml-model-deployment",
        "Content-Type",
        "Server",
        "x-ms-run-fn-exec-ms",
        "x-ms-run-function-failed",
        "X-Request-ID",
    }
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Server"] == "azureml-frontdoor"
    assert answer.headers["x-ms-run-function-failed"] == "False"
    assert float(answer.headers["x-ms-run-fn-exec-ms"]) >= 0
    request_id = answer.headers["X-Request-ID"]
    assert str(uuid.UUID(request_id)) == request_id


def test_a_deployment_that_the_header_names_answers_without_traffic(ml: Ml) -> None:
    assert answered(score(ml)) == "blue"
    assert answered(score(ml, name="green")) == "green"
    assert score(ml, name="green").json() != score(ml, name="blue").json()


def test_a_switch_makes_the_answer_a_text_that_holds_the_list(ml: Ml) -> None:
    listed = score(ml).json()
    with switched_ml(online_answer="text") as other:
        other.workspace = ml.workspace
        text = score(make_census(other)).json()
    assert isinstance(text, str)
    assert json.loads(text) == listed


def test_a_model_that_is_not_registered_answers_by_its_id(ml: Ml) -> None:
    digest = hashlib.sha256(f"{ml.root}/models/census/versions/4".casefold().encode()).hexdigest()
    model = hashlib.sha256(digest.encode()).hexdigest()
    pairs = json.dumps([["0", "1"], ["1", "2"], ["2", "3"]])
    found = hashlib.sha256(f"{model}\n{pairs}".encode()).digest()
    assert score(ml).json() == [round(int.from_bytes(found[:4], "big") / 2**32, 9)]


def test_a_registered_model_answers_by_its_bytes(storage: str) -> None:
    with run_ml_beside(storage) as ml:
        store = read(ml.call("GET", f"{ml.root}/datastores/workspaceblobstore"))["properties"]
        address = f"{store['protocol']}://{store['endpoint']}/{store['accountName']}"
        for number in ("4", "5"):
            uri = f"{address}/{store['containerName']}/m/{number}.ilearner"
            upload_model(uri, b"the same bytes", {})
            path = f"{ml.root}/models/census/versions/{number}"
            place = f"azureml://datastores/workspaceblobstore/paths/m/{number}.ilearner"
            assert ml.call("PUT", path, {"properties": {"modelUri": place}}).status_code == 201
        make_census(ml)
        assert score(ml, name="blue").json() == score(ml, name="green").json()
        # Instances have the bytes that they loaded: a changed blob reaches only new instances.
        before = score(ml, name="blue").json()
        upload_model(f"{address}/{store['containerName']}/m/4.ilearner", b"other bytes", {})
        assert score(ml, name="blue").json() == before
        ml.deploy("blue")
        assert score(ml, name="blue").json() != before


def test_a_trained_model_answers_what_it_predicts(storage: str) -> None:
    columns = (Column("age", mean=40.0, scale=10.0), Column("sex", categories=("F", "M")))
    model = Model("label", columns, (10.0, 2.0, 0.0, 5.0), (), "")
    with run_ml_beside(storage) as ml:
        place = f"{storage}/devstoreaccount1/models/{uuid.uuid4().hex}.ilearner"
        upload_model(place, model.dump(), {})
        path = f"{ml.root}/models/census/versions/4"
        assert ml.call("PUT", path, {"properties": {"modelUri": place}}).status_code == 201
        ml.put()
        ml.deploy()
        assert score(ml, {"data": [[30, "M"], [40, "F"]]}, "blue").json() == [13.0, 10.0]
        assert score(ml, {"data": [[30]]}, "blue").status_code == 424
        assert "X has 1 features, but the model expects 2 features" in logs(ml)


def register(ml: Ml, uri: str, **more: str) -> None:
    path = f"{ml.root}/models/census/versions/4"
    body = {"properties": {"modelUri": uri, **more}}
    assert ml.call("PUT", path, body).status_code == 201


def test_a_model_whose_blob_is_missing_cannot_be_downloaded(storage: str) -> None:
    uri = f"{storage}/devstoreaccount1/models/{uuid.uuid4().hex}.ilearner"
    with run_ml_beside(storage) as ml:
        register(ml, uri)
        ml.put()
        path = ml.path(tail="/deployments/blue")
        ended = ml.finish(ml.call("PUT", path, ml.describe_deployment()))
        assert ended["status"] == "Failed"
        assert ended["error"]["code"] == "BadArgument"
        assert ended["error"]["message"] == "Unable to download user model"
        assert ml.get_deployment()["properties"]["provisioningState"] == "Failed"
        assert "ModelDownload: Failed\nUserContainerStart: Waiting\n" in logs(ml)
        assert f"the blob {uri} does not exist" in logs(ml)
        assert score(ml, name="blue").status_code == 424
        upload_model(uri, b"now it is there", {})
        ml.deploy("blue")
        assert score(ml, name="blue").status_code == 200


@pytest.mark.parametrize(
    ("tail", "more", "options"),
    [
        ("a/model.pkl", {}, ("--switch=online-missing-blob=trust",)),
        ("a/folder", {}, ()),
        ("a/model.pkl", {"modelType": "mlflow_model"}, ()),
    ],
)
def test_what_need_not_be_one_blob_is_taken_as_it_comes(
    storage: str, tail: str, more: Mapping[str, str], options: tuple[str, ...]
) -> None:
    with run_ml_beside(storage, *options) as ml:
        register(ml, f"azureml://datastores/workspaceblobstore/paths/{tail}", **more)
        ml.put()
        ml.deploy("blue")
        assert score(ml, name="blue").status_code == 200


# By which share.


def test_traffic_is_routed_by_its_shares(ml: Ml) -> None:
    ml.route(blue=90, green=10)
    token = key(ml)
    uri = ml.get()["properties"]["scoringUri"]
    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {token}"
        seen = Counter(answered(session.post(uri, json=ROW, timeout=60)) for _ in range(200))
    # The bounds hold for all but five draws of a million.
    assert set(seen) == {"blue", "green"}
    assert 4 <= seen["green"] <= 48


def test_a_seed_repeats_the_choices_of_the_router() -> None:
    drawn = []
    for seed in ("7", "7", "8"):
        with run_ml(f"--seed={seed}") as ml:
            make_census(ml)
            ml.route(blue=50, green=50)
            uri, token = ml.get()["properties"]["scoringUri"], key(ml)
            with requests.Session() as session:
                session.headers["Authorization"] = f"Bearer {token}"
                answers = [session.post(uri, json=ROW, timeout=60) for _ in range(30)]
            drawn.append([answered(one) for one in answers])
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_deployment_with_a_share_of_0_gets_no_call(ml: Ml) -> None:
    ml.route(blue=0, green=100)
    assert {answered(score(ml)) for _ in range(20)} == {"green"}


def test_without_traffic_there_is_nobody_to_answer(ml: Ml) -> None:
    for shares in ({}, {"blue": 0, "green": 0}):
        ml.put(properties={"traffic": shares})
        assert score(ml).status_code == 404
    assert answered(score(ml, name="blue")) == "blue"


def test_a_mirrored_call_is_visible_on_the_page_of_counts_alone(ml: Ml) -> None:
    ml.put(properties={"traffic": {"blue": 100}, "mirrorTraffic": {"green": 50}})
    for _ in range(40):
        assert answered(score(ml)) == "blue"
    for _ in range(5):
        score(ml, name="blue")
    counts = count(ml)
    assert counts["blue"] == (45, 0)
    assert counts["green"][0] == 0
    assert 5 <= counts["green"][1] <= 35


def count(ml: Ml) -> dict[str, tuple[int, int]]:
    """The calls and the mirrored calls of each deployment of the workspace."""
    shown = read(ml.call("GET", "/emulator/online"))["deployments"]
    own = [one for one in shown if one["id"].startswith(f"{ml.root}/")]
    return {one["id"].rpartition("/")[2]: (one["calls"], one["mirrored"]) for one in own}


def test_the_page_of_counts_needs_the_token(ml: Ml) -> None:
    assert ml.call("GET", "/emulator/online", token="other").status_code == 401


# Who may call.


def test_both_keys_open_an_endpoint_and_nothing_else(ml: Ml) -> None:
    keys = read(ml.call("POST", ml.path(tail="/listKeys")))
    assert len(set(keys.values())) == 2
    for one in keys.values():
        assert score(ml, token=one).status_code == 200
    for other in ("", "emulator", keys["primaryKey"][:-1], "\u00fc".encode().decode("latin-1")):
        assert score(ml, token=other).status_code == 401


def test_a_key_is_replaced_alone_and_by_the_value_that_is_given(ml: Ml) -> None:
    path = ml.path(tail="/regenerateKeys")
    old = read(ml.call("POST", ml.path(tail="/listKeys")))
    ml.call("POST", path, {"keyType": "Primary"})
    new = read(ml.call("POST", ml.path(tail="/listKeys")))
    assert new["secondaryKey"] == old["secondaryKey"]
    assert new["primaryKey"] not in old.values()
    assert score(ml, token=old["primaryKey"]).status_code == 401
    own = "k" * 40
    ml.call("POST", path, {"keyType": "Secondary", "keyValue": own})
    assert score(ml, token=own).status_code == 200
    # The strict reading: the present value is no new value.
    ml.call("POST", path, {"keyType": "Secondary", "keyValue": own})
    assert score(ml, token=own).status_code == 401


@pytest.mark.parametrize(
    "body", [{}, [], {"keyType": []}, {"keyType": "primary"}, {"keyType": "Primary", "keyValue": 3}]
)
def test_a_key_that_does_not_exist_is_not_replaced(ml: Ml, body: Json) -> None:
    old = read(ml.call("POST", ml.path(tail="/listKeys")))
    answer = ml.call("POST", ml.path(tail="/regenerateKeys"), body)
    assert code_of(answer) == (400, "BadRequest", "ValidationError")
    assert read(ml.call("POST", ml.path(tail="/listKeys"))) == old


def test_a_token_has_the_recorded_form_and_opens_its_own_endpoint(shared: Ml) -> None:
    one, other = (make_own(shared, authMode="AMLToken") for _ in range(2))
    keys = read(one.call("POST", one.path(tail="/listKeys")))
    assert keys == {"primaryKey": None, "secondaryKey": None}
    shown = read(one.call("POST", one.path(tail="/token")))
    assert shown["tokenType"] == "Bearer"
    assert shown["expiryTimeUtc"] - shown["refreshAfterTimeUtc"] == 12 * 3600
    header, claims, signature = (decode(part) for part in shown["accessToken"].split("."))
    assert json.loads(header)["alg"] == "RS256"
    assert json.loads(claims)["exp"] == shown["expiryTimeUtc"]
    assert json.loads(claims)["endpointName"] == "census"
    assert len(signature) == 256
    assert score(one, token=shown["accessToken"]).status_code == 200
    assert score(other, token=shown["accessToken"]).status_code == 401
    signed = shown["accessToken"].rpartition(".")[0]
    for changed in (f"{signed}.", f"{signed}.AAAA", f"{signed}x.{shown['accessToken'][-342:]}"):
        assert score(one, token=changed).status_code == 401
    assert score(one, token="a.b.c").status_code == 401


def decode(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def test_a_token_is_over_after_a_day_and_stays_valid_over_a_restart(tmp_path: Path) -> None:
    with run_ml(f"--data={tmp_path}") as ml:
        make_census(ml, authMode="AMLToken")
        token = read(ml.call("POST", ml.path(tail="/token")))["accessToken"]
    with run_ml(f"--data={tmp_path}") as ml:
        pass_time(ml.url, 24 * 3600 - 60)
        assert score(ml, token=token).status_code == 200
        pass_time(ml.url, 120)
        assert score(ml, token=token).status_code == 401


def test_the_directory_opens_an_endpoint_that_asks_for_it(shared: Ml) -> None:
    ml = make_own(shared, authMode="AADToken")
    assert score(ml, token="emulator").status_code == 200
    assert score(ml, token="other").status_code == 401
    refused = ml.call("POST", ml.path(tail="/token"))
    assert code_of(refused) == (400, "BadRequest", "InvalidAuthMode")


def test_the_key_of_a_deleted_endpoint_opens_nothing(ml: Ml) -> None:
    uri, token = ml.get()["properties"]["scoringUri"], key(ml)
    ml.finish(ml.call("DELETE", ml.path()))
    answer = requests.post(uri, json=ROW, headers={"Authorization": f"Bearer {token}"}, timeout=60)
    assert answer.status_code == 404


# What is refused.


def test_a_name_that_no_deployment_has_is_404(ml: Ml) -> None:
    for name in ("red", "a" * 5000, "\u00fc".encode().decode("latin-1")):
        assert score(ml, name=name).status_code == 404


def test_a_switch_lets_traffic_answer_in_the_place_of_an_unknown_name() -> None:
    with switched_ml(online_unknown_deployment="traffic") as ml:
        make_census(ml)
        ml.put(properties={"traffic": {"blue": 100}, "mirrorTraffic": {"green": 50}})
        assert {answered(score(ml, name="red")) for _ in range(20)} == {"blue"}
        # Only calls without the header are mirrored.
        assert count(ml)["green"] == (0, 0)


@pytest.mark.parametrize("body", [b"", b"{", b'{"data": [[1e999]]}', {"rows": []}, {"data": [1]}])
def test_a_body_that_the_script_cannot_read_is_424(ml: Ml, body: Json) -> None:
    answer = score(ml, body)
    assert answer.status_code == 424
    assert answer.headers["ms-azureml-model-error-statuscode"] == "500"
    assert answer.headers["x-ms-run-function-failed"] == "True"
    assert answered(answer) == "blue"
    assert "Traceback" in logs(ml)


@pytest.mark.parametrize(
    ("method", "tail", "status"),
    [("GET", "score", 405), ("POST", "swagger.json", 405), ("POST", "other", 404)],
)
def test_another_address_or_method_is_refused(ml: Ml, method: str, tail: str, status: int) -> None:
    uri = ml.get()["properties"]["scoringUri"].removesuffix("score") + tail
    sent = {"Authorization": f"Bearer {key(ml)}"}
    assert requests.request(method, uri, headers=sent, timeout=60).status_code == status


def test_the_description_needs_the_key_too(ml: Ml) -> None:
    uri = ml.get()["properties"]["swaggerUri"]
    shown = requests.get(uri, headers={"Authorization": f"Bearer {key(ml)}"}, timeout=60).json()
    assert "/score" in shown["paths"]
    assert requests.get(uri, timeout=60).status_code == 401


# What goes wrong.


def logs(ml: Ml, name: str = "blue", **asked: Json) -> str:
    path = ml.path(tail=f"/deployments/{name}/getLogs")
    return str(read(ml.call("POST", path, asked))["content"])


@contextmanager
def faulty_ml(folder: Path, *faults: Json, options: tuple[str, ...] = ()) -> Iterator[Ml]:
    with run_ml(f"--faults={write_faults(folder, *faults)}", *options) as ml:
        yield ml


def test_a_deployment_can_answer_wrongly(tmp_path: Path) -> None:
    fault = on("wrong-answers", "PUT", "deployments/green", times=1)
    with run_ml() as right, faulty_ml(tmp_path, fault) as wrong:
        expected, found = (
            {name: score(make_once(ml), name=name).json() for name in ("blue", "green")}
            for ml in (right, wrong)
        )
        assert found["blue"] == expected["blue"]
        assert found["green"] == [expected["green"][0] + 1]
        # Another tag starts no instances.
        path = wrong.path(tail="/deployments/green")
        wrong.finish(wrong.call("PATCH", path, {"tags": {"a": "b"}}))
        assert score(wrong, name="green").json() == found["green"]
        # The next PUT starts new instances, which do as their model does.
        wrong.deploy("green", model=f"{wrong.root}/models/census/versions/5")
        assert score(wrong, name="green").json() == expected["green"]


def make_once(ml: Ml) -> Ml:
    known = ml.call("GET", ml.path()).status_code == 200
    return ml if known else make_census(ml)


def test_a_script_can_fail_and_says_so_in_its_log(tmp_path: Path) -> None:
    with faulty_ml(tmp_path, on("failed-script", "PUT", "deployments/green")) as ml:
        make_census(ml)
        answer = score(ml, name="green")
        assert answer.status_code == 424
        assert answer.headers["ms-azureml-model-error-statuscode"] == "500"
        assert "ModuleNotFoundError: No module named 'sklearn'" in logs(ml, "green")
        assert score(ml, name="blue").status_code == 200


def test_a_script_that_works_for_longer_than_its_time_is_408(tmp_path: Path) -> None:
    with faulty_ml(tmp_path, on("slow-script", "PUT", "deployments/blue", seconds=60)) as ml:
        ml.put()
        ml.deploy("blue", requestSettings={"requestTimeout": "PT0.05S"})
        ml.route(blue=100)
        answer = score(ml)
        assert answer.status_code == 408
        assert answered(answer) == "blue"


def test_a_container_answers_after_a_while(tmp_path: Path) -> None:
    with faulty_ml(tmp_path, on("warm-up", "PUT", "deployments/blue", seconds=600)) as ml:
        make_census(ml)
        answer = score(ml)
        assert answer.status_code == 424
        assert answer.headers["ms-azureml-model-error-statuscode"] == "502"
        pass_time(ml.url, 601)
        assert score(ml).status_code == 200


def test_more_than_twice_the_calls_that_instances_take_are_429(tmp_path: Path) -> None:
    with faulty_ml(tmp_path, on("slow-script", "PUT", "deployments/blue", seconds=600)) as ml:
        make_census(ml)
        running = [send(ml), send(ml)]
        while count(ml)["blue"][0] < len(running):
            time.sleep(0.01)
        refused = score(ml)
        assert refused.status_code == 429
        assert score(ml, name="green").status_code == 200
        for one in running:
            one.close()


def send(ml: Ml) -> socket.socket:
    """A connection on which a scoring call was sent, whose answer nobody reads."""
    where = urlsplit(ml.get()["properties"]["scoringUri"])
    one = socket.create_connection((str(where.hostname), int(where.port or 0)), timeout=60)
    body = json.dumps(ROW)
    one.sendall(
        f"POST {where.path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key(ml)}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
    )
    return one


def test_faults_of_the_connection_meet_scoring_calls_too(tmp_path: Path) -> None:
    faults = (
        on("throttle", "POST", "/score", times=1),
        on("error", "POST", "/score", times=1, status=500),
        on("drop-reply", "POST", "/score", times=1),
    )
    with faulty_ml(tmp_path, *faults) as ml:
        make_census(ml)
        assert [score(ml).status_code for _ in range(2)] == [429, 500]
        with pytest.raises(requests.ConnectionError):
            score(ml)
        assert score(ml).status_code == 200


def test_the_router_follows_traffic_that_is_late(tmp_path: Path) -> None:
    late = on("stale-traffic", "PUT", r"onlineEndpoints/census\?", seconds=600)
    with faulty_ml(tmp_path, late) as ml:
        ml.put()
        for name in ("blue", "green"):
            ml.deploy(name)
        ml.route(blue=100)
        assert score(ml).status_code == 404
        pass_time(ml.url, 601)
        assert answered(score(ml)) == "blue"
        ml.route(green=100)
        assert answered(score(ml)) == "blue"
        pass_time(ml.url, 601)
        assert answered(score(ml)) == "green"


@pytest.mark.parametrize(("reading", "status"), [("nothing", 424), ("old", 200)])
def test_what_answers_after_a_failed_update_is_not_known(
    tmp_path: Path, reading: str, status: int
) -> None:
    # The address tells the second write from the first one.
    crash = on("crash-container", "PUT", "deployments/blue.*2023-10-01")
    options = (f"--switch=online-failed-update={reading}",)
    with faulty_ml(tmp_path, crash, options=options) as ml:
        make_census(ml)
        before = score(ml).json()
        body = ml.describe_deployment(model=f"{ml.root}/models/census/versions/5")
        path = ml.path(tail="/deployments/blue")
        put = ml.call("PUT", path, body, query={"api-version": "2023-10-01"})
        assert ml.finish(put)["status"] == "Failed"
        answer = score(ml)
        assert answer.status_code == status
        assert status == 424 or answer.json() == before


def test_a_fault_of_a_deployment_needs_a_write_of_one(tmp_path: Path) -> None:
    with faulty_ml(tmp_path, on("wrong-answers", times=1)) as ml:
        make_census(ml)
        (wrong,), (right,) = (score(ml, name=name).json() for name in ("blue", "green"))
        assert wrong >= 1 > right


# What containers log.


def test_the_log_shows_the_mounted_folder_and_each_call(ml: Ml) -> None:
    shown = logs(ml)
    assert shown.startswith("Instance status:\nSystemSetup: Succeeded\n")
    assert "\nModel Directory: /var/azureml-app/azureml-models/census/4\n" in shown
    assert "POST /score" not in shown
    score(ml)
    assert "POST /score 200" in logs(ml)
    assert logs(ml, tail=1).partition("Container logs:\n")[2].count("\n") == 1
    assert "Downloading" in logs(ml, containerType="StorageInitializer")


@pytest.mark.parametrize(
    "asked", [{"tail": 0}, {"tail": "5"}, {"tail": True}, {"containerType": "x"}]
)
def test_a_log_that_does_not_exist_is_refused(ml: Ml, asked: Json) -> None:
    answer = ml.call("POST", ml.path(tail="/deployments/blue/getLogs"), asked)
    assert code_of(answer) == (400, "BadRequest", "ValidationError")
    missing = ml.call("POST", ml.path(tail="/deployments/red/getLogs"))
    assert missing.status_code == 404


def test_what_is_being_created_answers_nobody() -> None:
    with run_ml("--operation-seconds=600") as ml:
        assert ml.finish(ml.call("PUT", ml.path(), ml.describe()))["status"] == "Succeeded"
        path = ml.path(tail="/deployments/blue")
        put = ml.call("PUT", path, ml.describe_deployment())
        assert score(ml, name="blue").status_code == 424
        assert "ModelDownload: Waiting" in logs(ml)
        ml.finish(put)
        assert score(ml, name="blue").status_code == 200


def test_a_change_that_is_due_is_routed_though_nobody_read_it() -> None:
    with run_ml("--operation-seconds=600") as ml:
        make_census(ml)
        uri, token = ml.get()["properties"]["scoringUri"], key(ml)
        sent = {"Authorization": f"Bearer {token}"}
        ml.call("PUT", ml.path(), ml.describe(properties={"traffic": {"green": 100}}))
        before = answered(requests.post(uri, json=ROW, headers=sent, timeout=60))
        pass_time(ml.url, 601)
        after = answered(requests.post(uri, json=ROW, headers=sent, timeout=60))
        assert (before, after) == ("blue", "green")


def test_the_cloud_describes_itself_to_the_vendors_client(ml: Ml) -> None:
    (cloud,) = requests.get(f"{ml.url}/metadata/endpoints", timeout=60).json()
    assert cloud["resourceManager"] == ml.url
    assert urlsplit(cloud["authentication"]["loginEndpoint"]).hostname == "127.0.0.1"

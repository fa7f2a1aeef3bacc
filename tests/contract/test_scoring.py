"""Scoring calls: whose key, which rows, which answers, and how many at once."""

import hashlib
import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from tests.contract.classic import (
    MODEL,
    TRAINING,
    WORKSPACE,
    Classic,
    Json,
    example,
    resource,
    run_classic,
    score,
)
from tests.contract.classic import execute as send
from tests.contract.faulty import faulty, on
from tests.contract.signatures import ACCOUNT
from tests.contract.world import Service, code_of
from tests.e2e.world import definition
from tests.storage import upload_model

pytestmark = pytest.mark.contract


def execute(classic: Classic, body: Json, name: str = "default", **query: str) -> requests.Response:
    shown = classic.get(name)
    return send(classic.url, shown["ApiLocation"], shown["PrimaryKey"], body, **query)


# What is answered.


def test_a_table_comes_back_with_names_and_types_as_in_the_example(classic: Classic) -> None:
    shown = execute(classic, example("rrs.request"), details="true").json()
    expected = example("rrs.response.details")
    scored = shown["Results"]["output1"]["value"]["Values"][0][-2:]
    expected["Results"]["output1"]["value"]["Values"][0][-2:] = scored
    assert shown == expected
    assert scored[0] == str(int(float(scored[1]) >= 0.5))
    assert 0 <= float(scored[1]) < 1


def test_without_details_there_are_values_alone(classic: Classic) -> None:
    long, short = (
        execute(classic, example("rrs.request"), **query).json()["Results"]["output1"]
        for query in ({"details": "true"}, {})
    )
    assert short == {"type": "table", "value": {"Values": long["value"]["Values"]}}


def test_rows_as_objects_get_the_same_answers(classic: Classic) -> None:
    asked = example("rrs.swagger-format.request")
    shown = execute(classic, asked, format="swagger").json()
    expected = example("rrs.swagger-format.response")
    assert list(shown["Results"]["output1"][0]) == list(expected["Results"]["output1"][0])
    values = list(shown["Results"]["output1"][0].values())
    table = execute(classic, example("rrs.request")).json()["Results"]["output1"]
    assert table["value"]["Values"] == [values]


def test_neither_order_nor_type_of_values_makes_a_difference(classic: Classic) -> None:
    one = {"ColumnNames": ["a", "b"], "Values": [["1", "x"], [None, "2.5"]]}
    two = {"ColumnNames": ["b", "a"], "Values": [["x", 1], [2.5, None]]}
    answers = [
        [
            row[-2:]
            for row in execute(classic, {"Inputs": {"i": table}}).json()["Results"]["output1"][
                "value"
            ]["Values"]
        ]
        for table in (one, two)
    ]
    assert answers[0] == answers[1]
    assert answers[0][0] != answers[0][1]


def test_types_are_those_that_all_values_of_a_column_have(classic: Classic) -> None:
    table = {
        "ColumnNames": ["int", "double", "text", "hole"],
        "Values": [["-1", "2", "1_0", None], ["0", "2.5e3", "7", "4"]],
    }
    shown = execute(classic, {"Inputs": {"i": table}}, details="true").json()
    types = shown["Results"]["output1"]["value"]["ColumnTypes"]
    assert types == ["Int32", "Double", "String", "Int32", "String", "Double"]


def test_a_boolean_is_the_text_true_or_false(classic: Classic) -> None:
    for rows in ([[True], [False], [None]], [["true"], ["FALSE"], [None]]):
        body = {"Inputs": {"i": {"ColumnNames": ["on"], "Values": rows}}}
        shown = execute(classic, body, details="true").json()["Results"]["output1"]["value"]
        assert [row[0] for row in shown["Values"]] == ["True", "False", None]
        assert shown["ColumnTypes"][0] == "Boolean"
    body = {"Inputs": {"i": {"ColumnNames": ["word"], "Values": [["true"], ["maybe"]]}}}
    shown = execute(classic, body, details="true").json()["Results"]["output1"]["value"]
    assert [row[0] for row in shown["Values"]] == ["true", "maybe"]


def test_rows_as_objects_stay_objects_when_details_are_asked_for_too(classic: Classic) -> None:
    asked = example("rrs.swagger-format.request")
    plain = execute(classic, asked, format="swagger").json()
    assert execute(classic, asked, format="swagger", details="true").json() == plain
    assert isinstance(plain["Results"]["output1"], list)


def test_a_service_that_trains_has_no_scores(classic: Classic) -> None:
    shown = Classic(classic.url, TRAINING).get("default")
    answer = score(classic.url, shown["ApiLocation"], shown["PrimaryKey"])
    assert code_of(answer) == (400, "InvalidOperation", "IncompatibleModel")


def test_a_table_without_rows_has_no_answers(classic: Classic) -> None:
    tables: Json = ({"ColumnNames": ["a"], "Values": []}, [])
    for table in tables:
        shown = execute(classic, {"Inputs": {"i": table}}).json()["Results"]["output1"]
        assert shown["value"]["Values"] == []


# By which model.


def test_the_answer_is_the_documented_function_of_bytes_and_row(scored: Classic) -> None:
    scored.put("one")
    scored.patch("one", Resources=[scored.upload("known", b"the bytes")])
    row = scored.score("one", ["1", "8"])["value"]["Values"][0]
    model = hashlib.sha256(hashlib.sha256(b"the bytes").hexdigest().encode()).hexdigest()
    pairs = json.dumps([["hour", "8"], ["season", "1"]])
    digest = hashlib.sha256(f"{model}\n{pairs}".encode()).digest()
    assert row == ["1", "8", row[2], f"{int.from_bytes(digest[:4], 'big') / 2**32:.9f}"]


def test_other_bytes_give_other_answers_and_the_same_bytes_the_same(scored: Classic) -> None:
    scored.put("one")
    answers = []
    for name, data in (("a", b"first"), ("b", b"second"), ("c", b"first")):
        scored.patch("one", Resources=[scored.upload(name, data)])
        answers.append(scored.score("one"))
    assert answers[0] == answers[2] != answers[1]
    assert scored.score("default") not in answers


@pytest.mark.parametrize(
    ("base", "relative"),
    [("{blob}", "/{path}"), ("{blob}//", "//{path}"), ("{blob}//{account}/", "/models/{name}")],
)
def test_the_parts_of_a_location_are_joined_by_one_slash(
    scored: Classic, base: str, relative: str
) -> None:
    scored.put("one")
    whole = scored.upload("joined", b"the bytes of it")
    scored.patch("one", Resources=[whole])
    expected = scored.score("one")
    scored.patch("one", Resources=[scored.upload("other", b"others")])
    assert scored.score("one") != expected
    path = whole["Location"]["RelativeLocation"]
    words = {"blob": scored.blob, "path": path, "account": ACCOUNT, "name": "joined.ilearner"}
    parts = {"BaseLocation": base.format(**words), "RelativeLocation": relative.format(**words)}
    scored.patch("one", Resources=[{**whole, "Location": {**whole["Location"], **parts}}])
    assert scored.score("one") == expected


def test_an_endpoint_keeps_the_bytes_that_it_took_in(scored: Classic) -> None:
    scored.put("one")
    scored.patch("one", Resources=[scored.upload("moving", b"first")])
    before = scored.score("one")
    named = scored.upload("moving", b"second")
    assert scored.score("one") == before
    scored.patch("one", Resources=[named])
    assert scored.score("one") != before


def test_a_model_that_storage_does_not_hand_out_is_refused(scored: Classic) -> None:
    scored.put("one")
    held = scored.upload("held", b"x")
    location = held["Location"]
    for wrong in (
        {"RelativeLocation": f"{ACCOUNT}/models/none.ilearner"},
        {"SasBlobToken": location["SasBlobToken"].replace("sig=", "sig=A")},
    ):
        body = {"Resources": [{**held, "Location": {**location, **wrong}}]}
        answer = scored.call("PATCH", "/endpoints/one", body)
        assert answer.status_code == 400
        assert answer.json()["error"]["message"].startswith("invalid model URL")
    elsewhere = scored.call("PATCH", "/endpoints/one", {"Resources": [resource()]})
    assert elsewhere.status_code == 204  # only its own storage is asked


# Who may ask, and for what.


def test_an_endpoints_keys_alone_open_it(classic: Classic) -> None:
    classic.put("one")
    one, default = classic.get("one"), classic.get("default")
    for key in (one["PrimaryKey"], one["SecondaryKey"]):
        assert score(classic.url, one["ApiLocation"], key).status_code == 200
    for key in (default["PrimaryKey"], "emulator", "", one["PrimaryKey"][:-1]):
        answer = score(classic.url, one["ApiLocation"], key or " ")
        assert (answer.status_code, answer.json()) == (401, example("data.401.Unauthorized"))
    classic.call("DELETE", "/endpoints/one")
    answer = score(classic.url, one["ApiLocation"], one["PrimaryKey"])
    assert (answer.status_code, answer.json()) == (404, example("data.404.WebServiceNotFound"))


def test_an_address_of_another_workspace_is_none(classic: Classic) -> None:
    shown = classic.get("default")
    for location in (
        shown["ApiLocation"].replace(WORKSPACE, "1" * 32),
        shown["ApiLocation"].replace("/workspaces/", "/subscriptions/"),
        f"/workspaces/{WORKSPACE}/services/{uuid.uuid4().hex}",
    ):
        assert score(classic.url, location, shown["PrimaryKey"]).status_code == 404


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "RequestBodyInvalid"),
        ([], "RequestBodyInvalid"),
        ({}, "RequestBodyInvalid"),
        ({"Inputs": []}, "RequestBodyInvalid"),
        ({"Inputs": {"i": []}, "GlobalParameters": 1}, "RequestBodyInvalid"),
        ({"Inputs": {}}, "MissingRequestInput"),
        ({"Inputs": {"a": [], "b": []}}, "MultipleInputsNotAllowed"),
        ({"Inputs": {"a": "x"}}, "InputParseError"),
        ({"Inputs": {"a": {"ColumnNames": ["x"]}}}, "InputParseError"),
        ({"Inputs": {"a": {"ColumnNames": [1], "Values": []}}}, "InputParseError"),
        ({"Inputs": {"a": {"ColumnNames": ["x"], "Values": [[1, 2]]}}}, "InputParseError"),
        ({"Inputs": {"a": {"ColumnNames": ["x"], "Values": ["1"]}}}, "InputParseError"),
        ({"Inputs": {"a": [{"x": 1}, {"y": 1}]}}, "InputParseError"),
        ({"Inputs": {"a": ["x"]}}, "InputParseError"),
        (b"{", "RequestBodyInvalid"),
        (b"[" * 100_000, "RequestBodyInvalid"),
    ],
)
def test_a_request_that_is_none_is_refused(classic: Classic, body: Json, code: str) -> None:
    answer = execute(classic, body)
    assert (answer.status_code, code_of(answer)[2]) == (400, code)


@pytest.mark.parametrize("version", ["", "1.0", "2017-01-01"])
def test_the_version_of_the_call_is_2(classic: Classic, version: str) -> None:
    answer = execute(classic, example("rrs.request"), **{"api-version": version})
    assert code_of(answer) == (400, "BadArgument", "BadVersionCall")


def test_what_nothing_answers_at(classic: Classic) -> None:
    shown = classic.get("default")
    api = classic.url + urlsplit(shown["ApiLocation"]).path
    headers = {"Authorization": f"Bearer {shown['PrimaryKey']}"}
    answers = [
        requests.request(method, f"{api}{tail}?api-version=2.0", headers=headers, timeout=120)
        for method, tail in (("GET", "/execute"), ("POST", "/nothing"), ("POST", "/execute/x"))
    ]
    assert [one.status_code for one in answers] == [405, 404, 404]


# How many at once.


def fill(service: Service, location: str, key: str, most: int) -> tuple[Json, list[Json]]:
    """Have `most` calls run at once, which are slow; the first refusal, and what they answered."""

    def ask(**query: str) -> requests.Response:
        return send(service.url, location, key, {"Inputs": {"input1": []}}, **query)

    with ThreadPoolExecutor(most) as pool:
        running = [pool.submit(ask, slow="yes") for _ in range(most)]
        refused = next(one for one in iter(ask, None) if one.status_code != 200)
        answers = [one.result() for one in running]
    assert ask().status_code == 200  # once they are answered there is room again
    return refused, answers


SLOW = on("slow", "POST", "/execute.*slow=yes", seconds=1.5)


def test_one_call_more_than_there_may_be_at_once_is_refused(tmp_path: Path) -> None:
    with faulty(tmp_path, SLOW) as service:
        classic = Classic(service.url)
        classic.put("one", MaxConcurrentCalls=2)
        one, other = classic.get("one"), classic.get("default")
        refused, answers = fill(service, one["ApiLocation"], one["PrimaryKey"], 2)
        assert [answer.status_code for answer in answers] == [200, 200]
        expected = json.dumps(example("data.503.RequestThrottled"))
        expected = expected.replace("default", "one").replace("is 4", "is 2")
        assert (refused.status_code, refused.json()) == (503, json.loads(expected))
        assert "Retry-After" not in refused.headers
        assert score(service.url, other["ApiLocation"], other["PrimaryKey"]).status_code == 200


def test_a_throttled_scoring_call_is_503_and_faults_of_operations_do_not_concern_it(
    tmp_path: Path,
) -> None:
    plan = [on(do) for do in ("fail-operation", "stale-read", "invalid-model", "list-omission")]
    with faulty(tmp_path, *plan, on("throttle", "POST", times=1)) as service:
        classic = Classic(service.url)
        shown = classic.get("default")
        one, two = (score(service.url, shown["ApiLocation"], shown["PrimaryKey"]) for _ in range(2))
        assert code_of(one) == (503, "ServiceUnavailable", "TooManyConcurrentRequests")
        assert "Retry-After" not in one.headers
        assert two.status_code == 200


# New services.


def find_api(service: Service) -> tuple[str, str]:
    """Where a New service is scored, and a key that opens it."""
    location = service.properties()["swaggerLocation"].removesuffix("/swagger.json")
    keys = service.call("GET", service.path(tail="/listKeys")).json()
    return location, keys["primary"]


@pytest.fixture
def census(shared_scored: Service) -> tuple[Service, str]:
    """A New service, and the address of the model that it serves."""
    group = f"g{uuid.uuid4().hex}"
    service = Service(shared_scored.url, group, blob=shared_scored.blob)
    uri = f"{service.blob}/{ACCOUNT}/models/{group}.ilearner"
    upload_model(uri, b"first", {})
    service.finish(service.call("PUT", service.path(), definition(uri)))
    return service, uri


def ask_census(service: Service) -> Json:
    answer = score_census(service)
    assert answer.status_code == 200, answer.text
    return answer.json()["Results"]


def score_census(service: Service, **more: Json) -> requests.Response:
    """A scoring call with columns of the definition; `more` is laid over the body."""
    body = {"Inputs": {"input1": [{"age": 39, "workclass": "State-gov"}]}, **more}
    return send(service.url, *find_api(service), body, details="true")


def test_a_new_services_input_has_the_name_that_its_definition_says(
    census: tuple[Service, str],
) -> None:
    service, _ = census
    location, key = find_api(service)
    answer = send(service.url, location, key, {"Inputs": {"input2": []}})
    assert code_of(answer) == (400, "BadArgument", "InvalidInputNames")


@pytest.mark.parametrize(
    ("row", "code"),
    [
        ({"age": "39", "workclas": "Private"}, "InputMismatchError"),
        ({"Age": "39"}, "InputMismatchError"),
        ({"age": "old"}, "InputParseError"),
        ({"age": 39.5}, "InputParseError"),
        ({"age": True}, "InputParseError"),
    ],
)
def test_a_row_that_the_definition_does_not_allow_is_refused(
    census: tuple[Service, str], row: Json, code: str
) -> None:
    for table in ([row], {"ColumnNames": [*row], "Values": [[*row.values()]]}):
        answer = score_census(census[0], Inputs={"input1": table})
        assert code_of(answer) == (400, "BadUserArgument", code)


def test_the_columns_of_a_new_service_have_the_types_of_its_definition(service: Service) -> None:
    body = definition("https://a.blob.core.windows.net/m/x.ilearner")
    body["properties"]["input"]["properties"]["input1"]["properties"] = {
        "age": {"type": "Integer", "format": "Int32"},
        "share": {"type": "Number"},
        "member": {"type": "Boolean"},
        "since": {"type": "String", "format": "Date-time"},
        "name": {"type": "String", "format": ""},
    }
    service.finish(service.call("PUT", service.path(), body))
    row = {"age": 39.0, "share": "1e-3", "member": "true", "since": "2014-09-21", "name": "true"}
    table = {"ColumnNames": [*row], "Values": [[*row.values()], [None, "", None, "", "7"]]}
    answer = score_census(service, Inputs={"input1": table})
    ((_, shown),) = answer.json()["Results"].items()
    assert shown["value"]["ColumnTypes"][:5] == ["Int32", "Double", "Boolean", "DateTime", "String"]
    one, two = (row[:5] for row in shown["value"]["Values"])
    assert one == ["39", "1e-3", "True", "2014-09-21", "true"]
    assert two == [None, "", None, "", "7"]


def test_parameters_are_those_of_the_definition(service: Service) -> None:
    body = definition("https://a.blob.core.windows.net/m/x.ilearner")
    body["properties"]["package"]["graphParameters"] = {
        "Trees": {"type": "Int", "links": []},
        "Database name": {"type": "String", "links": []},
    }
    body["properties"]["parameters"] = {"trees": {"value": "100", "certificateThumbprint": ""}}
    service.finish(service.call("PUT", service.path(), body))
    for given, code in (
        ({"Database name": "d", "Tree": 1}, "UnexpectedParameter"),
        ({}, "MissingRequiredGlobalParameters"),
        ({"Trees": 3}, "MissingRequiredGlobalParameters"),
    ):
        answer = score_census(service, GlobalParameters=given)
        assert code_of(answer) == (400, "BadArgument", code)
    for enough in ({"Database name": "d"}, {"database name": "d", "Trees": 3}):
        assert score_census(service, GlobalParameters=enough).status_code == 200


def test_a_new_service_that_returns_a_model_has_no_scores(service: Service) -> None:
    body = definition("https://a.blob.core.windows.net/m/x.ilearner")
    package = body["properties"]["package"]
    output = next(name for name, node in package["nodes"].items() if node.get("outputId"))
    source = {"sourceNodeId": "node1", "sourcePortId": "Trained model"}
    package["edges"].append({**source, "targetNodeId": output})
    service.finish(service.call("PUT", service.path(), body))
    answer = score_census(service)
    assert code_of(answer) == (400, "InvalidOperation", "IncompatibleModel")


def test_a_new_service_answers_by_its_model_until_the_next_write(
    census: tuple[Service, str],
) -> None:
    service, uri = census
    before = ask_census(service)
    assert list(before) == list(service.properties()["output"]["properties"])
    upload_model(uri, b"second", {})
    assert ask_census(service) == before  # it goes on with its copy
    service.patch(description="any write takes the bytes in anew")
    after = ask_census(service)
    assert after != before
    moved = f"{uri.removesuffix('.ilearner')}-2.ilearner"
    upload_model(moved, b"first", {})
    assets = service.properties()["assets"]
    assets["asset3"]["locationInfo"]["uri"] = moved
    service.patch(assets=assets)
    assert ask_census(service) == before


def open_census(service: Service, location: str, key: str) -> requests.Response:
    return send(service.url, location, key, {"Inputs": {"input1": []}})


def test_a_new_service_is_opened_by_its_keys_and_gone_when_deleted(
    census: tuple[Service, str],
) -> None:
    service, _ = census
    location, key = find_api(service)
    assert open_census(service, location, key).status_code == 200
    for wrong in ("emulator", key[:-1]):
        assert open_census(service, location, wrong).status_code == 401
    service.patch(keys={"primary": "a new key"})
    assert open_census(service, location, key).status_code == 401
    assert open_census(service, location, "a new key").status_code == 200
    other = location.replace("/subscriptions/0", "/subscriptions/1")
    assert open_census(service, other, "a new key").status_code == 404
    service.finish(service.call("DELETE", service.path()))
    assert open_census(service, location, "a new key").status_code == 404


def test_a_new_service_has_four_calls_at_once_unless_it_says_otherwise(tmp_path: Path) -> None:
    with faulty(tmp_path, SLOW) as service:
        service.put(realtimeConfiguration=None)
        refused, answers = fill(service, *find_api(service), 4)
        assert [answer.status_code for answer in answers] == [200] * 4
        assert refused.json() == example("data.503.RequestThrottled")
        service.patch(realtimeConfiguration={"maxConcurrentCalls": 6})
        refused, answers = fill(service, *find_api(service), 6)
        assert [answer.status_code for answer in answers] == [200] * 6
        assert "is 6." in refused.text


def test_scoring_works_without_any_storage_and_tells_models_apart() -> None:
    with run_classic() as classic:
        for name in ("a", "b"):
            classic.put(name)
            classic.patch(name, Resources=[resource(f"m/{name}.ilearner")])
        assert classic.score("a") != classic.score("b")
        classic.patch("b", Resources=[resource("m/a.ilearner", token="?sig=other&sp=r")])
        assert classic.score("a") == classic.score("b")
        assert MODEL in str(classic.get("a"))

"""Classic's management calls: web services, endpoints, who may do what, and what is kept."""

import uuid
from pathlib import Path

import pytest

from tests.contract.classic import (
    MODEL,
    PREDICTIVE,
    TRAINING,
    WORKSPACE,
    Classic,
    Json,
    example,
    resource,
    run_classic,
    wait_until,
    write_world,
)
from tests.contract.world import LONG_S, code_of

pytestmark = pytest.mark.contract
_SETTINGS = ("Description", "ThrottleLevel", "MaxConcurrentCalls", "PreventUpdate")


def error_of(answer: Json) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def settings_of(classic: Classic, name: str) -> tuple[Json, ...]:
    shown = classic.get(name)
    return tuple(shown[field] for field in _SETTINGS)


# Web services.


def test_the_default_world_has_a_predictive_service_and_a_training_service_beside_it() -> None:
    with run_classic() as classic:
        shown = classic.call("GET", f"/workspaces/{WORKSPACE}/webservices").json()
        assert [one["Id"] for one in shown] == [TRAINING, PREDICTIVE]
        assert [list(one) for one in shown] == [list(example("classic.webservices.list")[0])] * 2
        assert classic.get("default")["Resources"] == [{"Name": MODEL, "Kind": "TrainedModel"}]
        training = Classic(classic.url, service=TRAINING)
        assert training.get("default")["Resources"] == []


def test_one_web_service_is_told_as_in_the_list(classic: Classic) -> None:
    shown = classic.call("GET", "").json()
    assert (shown["Id"], shown["Name"]) == (classic.service, "Bikes")
    assert shown in classic.call("GET", f"/workspaces/{WORKSPACE}/webservices").json()


def test_a_workspace_without_web_services_answers_204_and_nothing(tmp_path: Path) -> None:
    empty = "0" * 32
    world = write_world(tmp_path, {"id": empty})
    with run_classic(f"--world={world}") as classic:
        answer = classic.call("GET", f"/workspaces/{empty}/webservices")
        assert (answer.status_code, answer.content) == (204, b"")
        assert "Content-Type" not in answer.headers


def test_a_web_service_goes_with_its_endpoints(classic: Classic) -> None:
    classic.put("one")
    assert classic.call("DELETE", "").status_code == 204
    for path in ("", "/endpoints", "/endpoints/one", "/endpoints/default"):
        assert code_of(classic.call("GET", path)) == (404, "NotFound", "WebServiceNotFound")
    assert code_of(classic.call("DELETE", "")) == (404, "NotFound", "WebServiceNotFound")


def test_a_web_service_of_another_workspace_is_told_apart(tmp_path: Path) -> None:
    one, two, service = "1" * 32, "2" * 32, "3" * 32
    held: Json = {"webServices": [{"id": service, "name": "s"}]}
    world = write_world(tmp_path, {"id": one, **held}, {"id": two})
    with run_classic(f"--world={world}") as classic:
        answer = Classic(classic.url, service, two).call("GET", "/endpoints/default")
        assert code_of(answer) == (404, "NotFound", "WebServiceIdNotFoundInWorkspace")
        answer = Classic(classic.url, "4" * 32, two).call("GET", "/endpoints/default")
        assert code_of(answer) == (404, "NotFound", "WebServiceNotFound")


@pytest.mark.parametrize("name", ["3", "g" * 32, "A" * 32, "1" * 33])
def test_the_id_of_a_web_service_is_a_guid(classic: Classic, name: str) -> None:
    classic.service = name
    answer = classic.call("PUT", "", {"Name": "n"})
    assert code_of(answer) == (400, "BadArgument", "WebServiceIdInvalid")


def test_a_web_service_may_be_published_as_clients_publish_code(classic: Classic) -> None:
    classic.service = uuid.uuid4().hex
    answer = classic.call("PUT", "", {"Name": "adder", "Type": "Code", "CodeBundle": {}})
    assert (answer.status_code, answer.json()["Name"]) == (201, "adder")
    assert (classic.names(), classic.get("default")["Resources"]) == (["default"], [])


@pytest.mark.parametrize(
    "body", [[], {}, {"Name": ""}, {"Name": 1}, {"Name": "x", "Resources": "y"}, b"{"]
)
def test_a_publication_that_is_none_is_refused(classic: Classic, body: Json) -> None:
    classic.service = uuid.uuid4().hex
    assert classic.call("PUT", "", body).status_code == 400
    assert classic.call("GET", "").status_code == 404


# Endpoints.


def test_an_endpoint_has_the_documented_fields_and_its_keys_in_plain(classic: Classic) -> None:
    asked = example("classic.endpoint.put.request")
    assert classic.put("retrained1", **asked).status_code == 201
    shown = classic.get("retrained1")
    assert list(shown) == list(example("classic.endpoint.get"))
    assert {name: shown[name] for name in asked} == asked
    assert (shown["WorkspaceId"], shown["WebServiceId"]) == (WORKSPACE, classic.service)
    assert shown["Resources"] == [{"Name": MODEL, "Kind": "TrainedModel"}]
    other = classic.get("default")
    keys = {one[key] for one in (shown, other) for key in ("PrimaryKey", "SecondaryKey")}
    assert len(keys) == 4
    assert shown["ApiLocation"] != other["ApiLocation"]
    host = f"https://ussouthcentral.services.azureml.net/workspaces/{WORKSPACE}/services/"
    assert shown["ApiLocation"].startswith(host)


def test_the_list_holds_all_endpoints_whole(classic: Classic) -> None:
    classic.put("b")
    classic.put("a")
    shown = classic.call("GET", "/endpoints").json()
    assert shown == [classic.get(name) for name in ("a", "b", "default")]


def test_an_endpoint_goes_and_its_name_may_be_had_again(classic: Classic) -> None:
    classic.put("one")
    before = classic.get("one")
    assert classic.call("DELETE", "/endpoints/one").status_code == 204
    assert error_of(classic.call("GET", "/endpoints/one")) == (404, "NotFound")
    assert error_of(classic.call("DELETE", "/endpoints/one")) == (404, "NotFound")
    classic.put("one")
    assert classic.get("one")["PrimaryKey"] != before["PrimaryKey"]


def test_a_published_client_sends_the_address_along(classic: Classic) -> None:
    classic.put("one", WebServiceId=classic.service, EndpointName="one", Description="d")
    assert classic.get("one")["Description"] == "d"


@pytest.mark.parametrize("name", ["a", "0", "a-b", "rentalloc001", "a" * 24, "0-9--z"])
def test_names_that_are_taken(classic: Classic, name: str) -> None:
    classic.put(name)
    assert classic.get(name)["Name"] == name


@pytest.mark.parametrize("name", ["A", "a" * 25, "-a", "a-", "a_b", "a.b", "ä", "a%20b", "a%2Fb"])
def test_names_that_are_not_taken(classic: Classic, name: str) -> None:
    assert error_of(classic.call("PUT", f"/endpoints/{name}", {})) == (400, "BadArgument")
    assert classic.names() == ["default"]


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        ({}, ("Low", 4)),
        ({"ThrottleLevel": "Low", "MaxConcurrentCalls": 1}, ("Low", 1)),
        ({"ThrottleLevel": "High"}, ("High", 20)),
        ({"ThrottleLevel": "High", "MaxConcurrentCalls": 1}, ("High", 1)),
        ({"ThrottleLevel": "High", "MaxConcurrentCalls": 200}, ("High", 200)),
        ({"MaxConcurrentCalls": None, "ThrottleLevel": None}, ("Low", 4)),
    ],
)
def test_settings_that_are_taken(classic: Classic, asked: Json, shown: tuple[str, int]) -> None:
    classic.put("one", **asked)
    assert settings_of(classic, "one") == ("", *shown, False)


@pytest.mark.parametrize(
    "asked",
    [
        {"ThrottleLevel": "High", "MaxConcurrentCalls": 201},
        {"ThrottleLevel": "High", "MaxConcurrentCalls": 0},
        {"MaxConcurrentCalls": 5},
        {"ThrottleLevel": "Low", "MaxConcurrentCalls": 5},
        {"MaxConcurrentCalls": "4"},
        {"MaxConcurrentCalls": True},
        {"MaxConcurrentCalls": 2.5},
        {"ThrottleLevel": "high"},
        {"ThrottleLevel": ["High"]},
        {"Description": "d" * 2001},
        {"Description": 1},
        {"Descripton": "d"},
        [],
        "text",
        b"{",
        b"[" * 100_000,
    ],
)
def test_settings_that_are_not_taken(classic: Classic, asked: Json) -> None:
    classic.put("old")
    before = classic.get("old")
    for method, name in (("PUT", "new"), ("PATCH", "old")):
        assert classic.call(method, f"/endpoints/{name}", asked).status_code == 400
    assert classic.names() == ["default", "old"]
    assert classic.get("old") == before


@pytest.mark.parametrize(
    ("field", "value", "takers"),
    [
        ("PreventUpdate", True, {"PUT"}),
        ("DiagnosticsTraceLevel", "All", {"PATCH"}),
        ("DiagnosticsTraceLevel", "Some", set()),
        ("PreventUpdate", "true", set()),
        ("Name", "other", set()),
        ("PrimaryKey", "k", set()),
    ],
)
def test_a_field_is_for_the_call_that_is_documented_to_take_it(
    classic: Classic, field: str, value: Json, takers: set[str]
) -> None:
    classic.put("old")
    for method, name in (("PUT", "new"), ("PATCH", "old")):
        answer = classic.call(method, f"/endpoints/{name}", {field: value})
        assert (answer.status_code < 300) is (method in takers)
        if method in takers:
            assert classic.get(name)[field] == value


def test_what_a_patch_leaves_out_stays(classic: Classic) -> None:
    classic.put("one", **example("classic.endpoint.put.request"))
    before = classic.get("one")
    asked = example("classic.endpoint.patch.settings.request")
    assert (answer := classic.patch("one", **asked)).status_code == 204
    assert answer.content == b""
    assert classic.get("one") == {**before, **asked}
    classic.patch("one", Description="again")
    assert classic.get("one") == {**before, **asked, "Description": "again"}


def test_the_fields_of_the_published_cmdlet_are_taken(classic: Classic) -> None:
    asked = {
        "WebServiceId": classic.service,
        "EndpointName": "one",
        "Description": "",
        "ThrottleLevel": "Low",
        "MaxConcurrentCalls": None,
        "PreventUpdate": False,
    }
    classic.put("one", **asked)
    assert settings_of(classic, "one") == ("", "Low", 4, False)


def test_more_calls_than_a_level_allows_are_refused_by_the_documented_code(
    classic: Classic,
) -> None:
    classic.put("one", ThrottleLevel="High")
    code = "WebServiceTooManyConcurrentRequestRequirement"
    for body, most in (
        ({"ThrottleLevel": "Low", "MaxConcurrentCalls": 5}, 4),
        ({"ThrottleLevel": "High", "MaxConcurrentCalls": 201}, 200),
    ):
        for method, name in (("PUT", "two"), ("PATCH", "one")):
            answer = classic.call(method, f"/endpoints/{name}", body)
            assert code_of(answer) == (400, "BadArgument", code)
            assert answer.json()["error"]["details"][0]["message"].endswith(f"more than {most}.")


def test_a_level_that_is_lowered_brings_the_calls_down(classic: Classic) -> None:
    classic.put("one", ThrottleLevel="High", MaxConcurrentCalls=8)
    assert classic.call("PATCH", "/endpoints/one", {"MaxConcurrentCalls": 201}).status_code == 400
    classic.patch("one", ThrottleLevel="Low")
    assert settings_of(classic, "one")[1:3] == ("Low", 4)
    assert classic.call("PATCH", "/endpoints/one", {"MaxConcurrentCalls": 5}).status_code == 400
    classic.patch("one", ThrottleLevel="High")
    assert settings_of(classic, "one")[1:3] == ("High", 4)


def test_an_endpoint_that_is_there_is_not_made_again(classic: Classic) -> None:
    classic.put("one", Description="first")
    before = classic.get("one")
    for name in ("one", "default"):
        assert error_of(classic.call("PUT", f"/endpoints/{name}", {})) == (400, "BadArgument")
    assert classic.get("one") == before


def test_tiers(tmp_path: Path) -> None:
    free, standard, service = "1" * 32, "2" * 32, "3" * 32
    held: Json = {"webServices": [{"id": service, "name": "s"}]}
    world = write_world(tmp_path, {"id": free, "tier": "free", **held}, {"id": standard, **held})
    with run_classic(f"--world={world}") as one:
        poor = Classic(one.url, service, free)
        rich = Classic(one.url, service, standard)
        assert settings_of(poor, "default")[1:3] == ("Low", 4)
        assert settings_of(rich, "default")[1:3] == ("High", 20)
        high = {"ThrottleLevel": "High"}
        assert error_of(poor.call("PUT", "/endpoints/a", high)) == (403, "Forbidden")
        assert error_of(poor.call("PUT", "/endpoints/A", high)) == (400, "BadArgument")
        for name in ("a", "b"):
            poor.put(name)
        assert error_of(poor.call("PUT", "/endpoints/c", {})) == (403, "Forbidden")
        assert error_of(poor.call("PATCH", "/endpoints/a", high)) == (403, "Forbidden")
        assert poor.names() == ["a", "b", "default"]
        poor.call("DELETE", "/endpoints/a")
        poor.put("c")
        for name in ("a", "b", "c", "d"):
            rich.put(name, **high)


def test_the_default_endpoint_is_neither_patched_nor_refreshed_and_goes_last(
    classic: Classic,
) -> None:
    classic.put("one")
    before = classic.get("default")
    for body in ({"Description": "d"}, {"Resources": [resource()]}):
        assert error_of(classic.call("PATCH", "/endpoints/default", body)) == (400, "BadArgument")
    assert classic.refresh("default") == 400
    assert error_of(classic.call("DELETE", "/endpoints/default")) == (400, "BadArgument")
    assert classic.get("default") == before
    classic.call("DELETE", "/endpoints/one")
    assert classic.call("DELETE", "/endpoints/default").status_code == 204
    answer = classic.call("GET", "/endpoints")
    assert (answer.status_code, answer.content) == (204, b"")


# Models.


def test_a_model_is_not_shown_once_it_is_patched(classic: Classic) -> None:
    classic.put("one")
    before = classic.get("one")
    assert classic.patch("one", Resources=[resource()]).status_code == 204
    assert classic.get("one") == before


def test_the_documented_request_is_taken_while_its_signature_lasts(classic: Classic) -> None:
    asked = example("classic.endpoint.patch.model.request")
    (named,) = asked["Resources"]
    classic.publish(Resources=[named["Name"]])
    classic.put("one")
    published = classic.score("one")
    assert classic.call("PATCH", "/endpoints/one", asked).status_code == 400
    lasting = named["Location"]["SasBlobToken"].replace("se=2017", "se=2097")
    named["Location"]["SasBlobToken"] = lasting
    classic.patch("one", **asked)
    assert classic.score("one") != published


def test_a_training_service_has_nothing_that_can_be_updated(classic: Classic) -> None:
    classic.service = uuid.uuid4().hex
    classic.publish(Name="Bikes [Training Exp.]")
    classic.put("one")
    answer = classic.call("PATCH", "/endpoints/one", {"Resources": [resource()]})
    assert error_of(answer) == (400, "BadArgument")
    assert answer.json()["error"]["message"] == "This Web Service has no updatable resources."
    classic.patch("one", Description="d", Resources=[])
    assert classic.get("one")["Description"] == "d"


ENDED, BEGINS = "2020-01-01T00%3A00%3A00Z", "2098-01-01T00%3A00%3A00Z"


@pytest.mark.parametrize(
    "wrong",
    [
        [resource(name="Bike Rental [train model]")],
        [resource(name=MODEL.lower())],
        [resource(), resource()],
        [resource("m/x.csv")],
        [resource("m/x")],
        [resource("")],
        [resource(base="")],
        [resource(base="ftp://acct/")],
        [resource(token="")],
        [resource(token="?sp=r&se=2099-01-01")],
        [resource(token=f"?sig=x&sp=w&se={BEGINS}")],
        [resource(token=f"?sig=x&se={BEGINS}")],
        [resource(token=f"?sig=x&sp=r&se={ENDED}")],
        [resource(token=f"?sig=x&sp=r&st={BEGINS}")],
        [resource(token="?sig=x&sp=r&se=soon")],
        [{"Name": MODEL}],
        [{"Name": MODEL, "Location": None}],
        [{"Name": MODEL, "Location": {"BaseLocation": 1, "RelativeLocation": "x.ilearner"}}],
        [{}],
        [None],
        {},
        "text",
    ],
)
def test_a_model_that_is_not_taken_changes_nothing(slow_classic: Classic, wrong: Json) -> None:
    slow_classic.put("one")
    body = {"Description": "d", "Resources": wrong}
    answer = slow_classic.call("PATCH", "/endpoints/one", body)
    assert error_of(answer) == (400, "BadArgument")
    # Nothing is pending either: a refresh finds nothing to do.
    assert slow_classic.refresh("one", {"OverwriteResources": "True"}) == 304


@pytest.mark.parametrize(
    "token", ["sig=x&sp=racwd", f"?sig=x&sp=r&st={ENDED}&se={BEGINS}", "?sig=x&si=policy"]
)
def test_signatures_that_are_taken(classic: Classic, token: str) -> None:
    classic.put("one")
    classic.patch("one", Resources=[resource(token=token)])


def test_a_patch_takes_effect_after_a_while(slow_classic: Classic) -> None:
    slow_classic.put("one", Description="old")
    before = slow_classic.score("one")
    slow_classic.patch("one", Description="new", Resources=[resource()])
    assert slow_classic.get("one")["Description"] == "old"
    assert slow_classic.score("one") == before
    wait_until(slow_classic.url, lambda: slow_classic.get("one")["Description"] == "new")
    assert slow_classic.score("one") != before


def test_writes_take_effect_in_the_order_in_which_they_came(slow_classic: Classic) -> None:
    slow_classic.put("one", ThrottleLevel="High", MaxConcurrentCalls=8)
    slow_classic.patch("one", ThrottleLevel="Low")
    # It is judged by what it will find, not by what is still shown.
    refused = slow_classic.call("PATCH", "/endpoints/one", {"MaxConcurrentCalls": 9})
    assert refused.status_code == 400
    slow_classic.patch("one", ThrottleLevel="High", MaxConcurrentCalls=9)
    assert settings_of(slow_classic, "one")[1:3] == ("High", 8)
    wait_until(slow_classic.url, lambda: settings_of(slow_classic, "one")[1:3] == ("High", 9))


# Versions.


def test_an_endpoint_keeps_its_version_until_it_is_refreshed(classic: Classic) -> None:
    classic.put("one")
    before, published = classic.get("one"), classic.score("one")
    assert classic.refresh("one") == classic.refresh("one", {}) == 304
    classic.publish()
    default = classic.get("default")
    assert default["Version"] > before["Version"]
    assert classic.get("one") == before
    assert classic.score("default") != published
    assert classic.refresh("one") == 204
    moved = classic.get("one")
    assert (moved["Version"], moved["CreationTime"]) == (default["Version"], before["CreationTime"])
    assert moved["ExperimentLocation"] == default["ExperimentLocation"]
    # Without overwrite the old model stays.
    assert classic.score("one") == published
    assert classic.refresh("one", {"OverwriteResources": "True"}) == 204
    assert classic.score("one") == classic.score("default")
    assert classic.refresh("one", {"OverwriteResources": "True"}) == 304


def test_a_refresh_with_overwrite_undoes_a_patched_model(classic: Classic) -> None:
    classic.put("one")
    published = classic.score("one")
    classic.patch("one", Resources=[resource()])
    patched = classic.score("one")
    assert classic.refresh("one", {"OverwriteResources": "False"}) == 304
    classic.publish()
    assert classic.refresh("one", {"OverwriteResources": False}) == 204
    assert classic.score("one") == patched
    assert classic.refresh("one", example("classic.endpoint.refresh.request")) == 204
    assert classic.score("one") not in (patched, published)
    assert classic.score("one") == classic.score("default")


def test_a_publication_may_bring_other_resources(classic: Classic) -> None:
    classic.put("one")
    classic.patch("one", Resources=[resource()])
    patched = classic.score("one")
    classic.publish(Resources=[MODEL, "Rain [trained model]"])
    assert classic.refresh("one") == 204
    names = [one["Name"] for one in classic.get("one")["Resources"]]
    assert names == [MODEL, "Rain [trained model]"]
    classic.publish(Resources=[MODEL])
    assert classic.refresh("one") == 204
    assert classic.score("one") == patched


def test_prevent_update_holds_a_refresh_off(classic: Classic) -> None:
    classic.put("one", PreventUpdate=True)
    assert classic.refresh("one") == 304
    before = classic.get("one")
    classic.publish()
    assert classic.refresh("one") == 400
    assert classic.refresh("one", {"OverwriteResources": "True"}) == 400
    assert classic.get("one") == before


@pytest.mark.parametrize("body", [{"OverwriteResources": "yes"}, {"OverwriteResources": 1}, []])
def test_a_refresh_that_is_none_is_refused(classic: Classic, body: Json) -> None:
    classic.put("one")
    assert classic.refresh("one", body) == 400
    assert classic.refresh("none") == 404


# Who may do what.


def test_a_workspaces_token_opens_that_workspace_alone(tmp_path: Path) -> None:
    mine, theirs, service = "1" * 32, "2" * 32, "3" * 32
    held: Json = {"webServices": [{"id": service, "name": "s"}]}
    world = write_world(
        tmp_path, {"id": mine, "token": "mine", **held}, {"id": theirs, "token": "theirs", **held}
    )
    with run_classic(f"--world={world}") as classic:
        for workspace, token, status in (
            (mine, "mine", 200),
            (theirs, "theirs", 200),
            (mine, "theirs", 401),
            (mine, "emulator", 401),
            (mine, "", 401),
            (mine, "Mine", 401),
            (mine, "mineÿ", 401),
            ("4" * 32, "mine", 401),
        ):
            one = Classic(classic.url, service, workspace, token)
            assert one.call("GET", "", token=token or " ").status_code == status
            assert one.call("GET", "/endpoints", token=token or " ").status_code == status
        refused = Classic(classic.url, service, mine, "wrong").call("DELETE", "")
        assert code_of(refused) == (401, "Unauthorized", "ManagementRequestUnauthorized")
        assert "mine" not in refused.text


@pytest.mark.parametrize("which", ["PrimaryKey", "SecondaryKey"])
def test_an_endpoints_key_opens_what_is_done_to_it_and_no_more(
    classic: Classic, which: str
) -> None:
    classic.put("one")
    classic.put("two")
    key = classic.get("one")[which]
    for method, path, body in (
        ("GET", "", None),
        ("GET", "/endpoints", None),
        ("DELETE", "", None),
        ("PUT", "", {"Name": "x"}),
        ("GET", "/endpoints/two", None),
        ("PUT", "/endpoints/three", {}),
        ("DELETE", "/endpoints/two", None),
        ("POST", "/endpoints/two/refresh", None),
    ):
        assert classic.call(method, path, body, token=key).status_code == 401
    for method, path, change, status in (
        ("GET", "", None, 200),
        ("PATCH", "", {"Description": "d", "Resources": [resource()]}, 204),
        ("POST", "/refresh", {"OverwriteResources": "True"}, 204),
        ("DELETE", "", None, 204),
        ("GET", "", None, 401),
    ):
        answer = classic.call(method, f"/endpoints/one{path}", change, token=key)
        assert answer.status_code == status
    assert classic.names() == ["default", "two"]


def test_the_management_token_is_that_of_a_workspace_without_one(
    classic: Classic,
) -> None:
    assert classic.call("GET", "").status_code == 200
    other = Classic(classic.url, classic.service, token="other")
    assert other.call("GET", "").status_code == 401
    group = "/subscriptions/s/providers/Microsoft.MachineLearning/webServices"
    key = classic.get("default")["PrimaryKey"]
    answer = classic.session.get(
        f"{classic.url}{group}?api-version=2017-01-01", headers={"Authorization": f"Bearer {key}"}
    )
    assert answer.status_code == 401


# Addresses and methods.


@pytest.mark.parametrize(
    ("method", "tail", "status"),
    [
        ("POST", "", 405),
        ("PATCH", "", 405),
        ("DELETE", "/endpoints", 405),
        ("POST", "/endpoints/default", 405),
        ("GET", "/endpoints/default/refresh", 405),
        ("GET", "/endpoints/default/refresh/x", 404),
        ("GET", "/endpunkte", 404),
        ("GET", "/endpoints/default/keys", 404),
    ],
)
def test_what_nothing_answers_at(classic: Classic, method: str, tail: str, status: int) -> None:
    assert classic.call(method, tail).status_code == status


def test_the_words_of_an_address_are_known_in_any_case(classic: Classic) -> None:
    path = classic.path("/Endpoints/default").replace("webservices", "webServices")
    assert classic.call("GET", path).json() == classic.get("default")
    assert classic.call("GET", classic.path("/endpoints/Default")).status_code == 404


def test_replies_carry_their_own_id_and_nothing_of_resource_managers(classic: Classic) -> None:
    one, two = (classic.call("GET", "/endpoints/default").headers for _ in range(2))
    assert one["x-ms-request-id"] != two["x-ms-request-id"]
    assert set(one) == {"x-ms-request-id", "Content-Type", "Content-Length", "Date"}


def test_resource_managers_limits_do_not_hold_classic_up() -> None:
    with run_classic("--limits=resource-manager") as classic:
        answers = [classic.call("DELETE", "/endpoints/none").status_code for _ in range(300)]
        assert set(answers) == {404}


def test_hundreds_of_endpoints_are_told_in_one_list(classic: Classic) -> None:
    names = [f"rentalloc{number:04}" for number in range(300)]
    for number, name in enumerate(names):
        classic.put(name, ThrottleLevel="High", MaxConcurrentCalls=1 + number % 200)
    shown = classic.call("GET", "/endpoints").json()
    assert [one["Name"] for one in shown] == ["default", *names]
    assert len({one["PrimaryKey"] for one in shown}) == 301
    classic.patch(names[7], Description="changed")
    again = classic.call("GET", "/endpoints").json()
    changed = [one["Name"] for one, old in zip(again, shown, strict=True) if one != old]
    assert changed == [names[7]]


# What is kept.


def test_all_is_there_after_a_restart_and_what_was_pending_takes_effect(tmp_path: Path) -> None:
    options = ("--data", str(tmp_path), f"--operation-seconds={LONG_S}")
    with run_classic(*options) as classic:
        classic.put("one", Description="old")
        classic.put("gone")
        classic.call("DELETE", "/endpoints/gone")
        Classic(classic.url, TRAINING).call("DELETE", "")
        published = classic.publish(Name="Renamed")
        classic.patch("one", Description="new", Resources=[resource()])
        before = {name: classic.get(name) for name in classic.names()}
        scored = classic.score("one")
    with run_classic(*options) as again:
        listed = again.call("GET", f"/workspaces/{WORKSPACE}/webservices").json()
        assert listed == [published]
        assert again.names() == ["default", "one"]
        assert again.get("default") == before["default"]
        wait_until(again.url, lambda: again.get("one") == {**before["one"], "Description": "new"})
        assert again.score("one") != scored
        assert again.refresh("one", {"OverwriteResources": "True"}) == 204


def test_a_world_is_where_a_folder_of_data_begins(tmp_path: Path) -> None:
    first, second, service = "1" * 32, "2" * 32, "3" * 32
    held: Json = {"webServices": [{"id": service, "name": "s"}]}
    options = ("--data", str(tmp_path / "data"))
    with run_classic(f"--world={write_world(tmp_path, {'id': first, **held})}", *options) as one:
        Classic(one.url, service, first).put("kept")
    world = write_world(tmp_path, {"id": first, "token": "other", **held}, {"id": second, **held})
    with run_classic(f"--world={world}", *options) as two:
        assert Classic(two.url, service, first).names() == ["default", "kept"]
        assert Classic(two.url, service, second).names() == ["default"]


def test_a_seed_makes_ids_and_keys_repeatable(tmp_path: Path) -> None:
    shown = []
    for _ in range(2):
        with run_classic("--seed=5") as classic:
            classic.put("one")
            shown.append([classic.get("one")[key] for key in ("PrimaryKey", "ApiLocation")])
    assert shown[0] == shown[1]

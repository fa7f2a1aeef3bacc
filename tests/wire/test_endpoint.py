"""The kind Endpoint: addresses and hosts, binding, what is sent, and what strange replies mean."""

import contextlib
import dataclasses
import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from reconciler.document.pointers import format_pointer
from reconciler.engine.runtime import Runtime
from reconciler.errors import (
    BlobExpired,
    BlobForbidden,
    Contradicted,
    ManifestInvalid,
    ReconcilerError,
    Rejected,
    ReplyLost,
    StalePlan,
    StillRunning,
    Unauthorized,
    Unavailable,
)
from reconciler.kinds import find_kinds
from reconciler.kinds.endpoint import KIND
from reconciler.kinds.endpoint.addresses import HOSTS, REGIONS
from reconciler.kinds.endpoint.provider import EndpointProvider
from reconciler.model import (
    ABSENT,
    Absent,
    Action,
    Address,
    DueCall,
    Finding,
    Intent,
    Json,
    LastApplied,
    Live,
    Manifest,
    Resource,
    SecretReference,
    Step,
    StepResult,
    Verb,
)
from reconciler.plans.evidence import assess_intent
from reconciler.plans.plan_file import plan_document, read_plan
from reconciler.plans.step import Comparison, make_removal, make_step
from reconciler.plans.undo import Irreversible, make_undo
from reconciler.render.findings import render_findings
from reconciler.render.words.colour import Paint
from reconciler.transport import split_address
from tests.access import access
from tests.golden import check
from tests.ledgers import make_intent
from tests.plans import ORPHAN, plan
from tests.scripted import Answer, Call, Script, answers, run_scripted

SERVICE = "/southcentralus/workspaces/w1/webservices/s1"
PATH = SERVICE.removeprefix("/southcentralus")
RESOURCE = Resource(Address("Endpoint", "e1"), f"{SERVICE}/endpoints/e1")
DEFAULTS = {"workspace": "w1", "webService": "s1"}
MODEL = "Bike Rental [trained model]"
OLD, NEW = (f"https://acct.blob.core.windows.net/m/{name}.ilearner" for name in ("old", "new"))
SAS = "?sv=2020&sr=b&sp=r&se=2035-01-01T00:00:00Z&sig=PLANTED"
SIGNED = {MODEL: {"uri": NEW, "sas": {"env": "MODELS_SAS"}}}
WHERE = ("Resources", MODEL, "Location")
POINTER = f"/Resources/{MODEL}/Location"
MEMORY = LastApplied(
    RESOURCE.id, "2026-11-02T08:00:00Z", "ci", "4f1c2aa9", {POINTER: OLD}, sequence=3
)


def manifest(name: str = "e1", **spec: Json) -> Manifest:
    return Manifest(Address("Endpoint", name), spec, "bikes.yaml", "sha256:0")


def raw(name: str = "e1", **more: Json) -> Json:
    """An endpoint as the service shows it."""
    return {
        "Name": name,
        "Description": "",
        "PrimaryKey": "PLANTED-KEY",
        "SecondaryKey": "PLANTED-KEY-2",
        "Version": "2016-11-02T18:04:10.1Z",
        "PreventUpdate": False,
        "MaxConcurrentCalls": 20,
        "DiagnosticsTraceLevel": "None",
        "ThrottleLevel": "High",
        "Resources": [{"Name": MODEL, "Kind": "TrainedModel"}],
        **more,
    }


def shown(uri: str) -> Json:
    base, _, relative = uri.partition(".net/")
    location = {"BaseLocation": f"{base}.net/", "RelativeLocation": relative, "SasBlobToken": SAS}
    return [{"Name": MODEL, "Kind": "TrainedModel", "Location": location}]


def connect(url: str, secret: str = SAS) -> EndpointProvider:
    made = KIND.connect(access(url, secret=secret))
    assert isinstance(made, EndpointProvider)
    return made


def read(*script: Answer, resource: Resource = RESOURCE) -> tuple[Live | Absent, list[Call]]:
    with run_scripted(answers(*script)) as server:
        return connect(server.url).read(resource), server.calls


def document(**more: Json) -> Json:
    live, _ = read(Answer(body=raw(**more)))
    assert isinstance(live, Live)
    return live.document


def comparison_for(
    live: Json | Absent, last_applied: LastApplied | None = None, **spec: Json
) -> Comparison:
    declared = KIND.bind(manifest(**spec), live)
    assert declared.findings == ()
    return Comparison(RESOURCE, KIND.field, live, declared, {}, last_applied)


def step_for(live: Json | Absent, last_applied: LastApplied | None = None, **spec: Json) -> Step:
    made = make_step(comparison_for(live, last_applied, **spec))
    assert made is not None
    return made


def write(
    step: Step, script: Script | None = None, secret: str = SAS
) -> list[tuple[str, str, Json]]:
    with run_scripted(script or answers(Answer(204))) as server:
        provider = connect(server.url, secret)
        list(provider.write(step, ABSENT, lambda _: secret))
        return [
            (call.method, call.target, json.loads(call.body or "null")) for call in server.calls
        ]


def sent_model(uri: str) -> Json:
    base, _, relative = uri.partition(".net/")
    where = {"BaseLocation": f"{base}.net/", "RelativeLocation": relative, "SasBlobToken": SAS}
    return {"Resources": [{"Name": MODEL, "Location": where}]}


# Addresses and hosts.


def test_the_kind_is_found_by_its_entry_point() -> None:
    assert find_kinds()["Endpoint"] is KIND


def test_an_endpoint_is_named_by_region_workspace_and_web_service() -> None:
    assert KIND.identify(manifest(), DEFAULTS) == RESOURCE
    reported = {"region": "West Europe", "name": "other", "token": {"env": "STUDIO_TOKEN"}}
    other = KIND.identify(manifest(resource=reported), DEFAULTS)
    assert other.id == "/westeurope/workspaces/w1/webservices/s1/endpoints/other"
    assert (other.short_id, other.token) == ("other", SecretReference(env="STUDIO_TOKEN"))
    assert KIND.scope(RESOURCE) == SERVICE


def test_everything_that_is_missing_of_an_address_is_told_at_once() -> None:
    with pytest.raises(ManifestInvalid) as caught:
        KIND.identify(manifest(), {})
    messages = [finding.message for finding in caught.value.findings()]
    assert messages == ["workspace is not set", "webService is not set"]


@pytest.mark.parametrize("region", HOSTS)
def test_an_id_is_taken_from_the_address_of_a_management_call(region: str) -> None:
    url = f"https://{HOSTS[region]}/workspaces/w2/webservices/s2/endpoints/e2"
    found = KIND.locate(RESOURCE.address, url, DEFAULTS)
    assert found.id == f"/{region}/workspaces/w2/webservices/s2/endpoints/e2"
    assert KIND.locate(RESOURCE.address, found.id, DEFAULTS) == found
    assert KIND.locate(RESOURCE.address, "e1", DEFAULTS) == RESOURCE


def test_what_is_no_id_is_refused() -> None:
    with pytest.raises(ManifestInvalid, match="is not the id of an endpoint"):
        KIND.locate(RESOURCE.address, "/subscriptions/x", DEFAULTS)


@pytest.mark.parametrize("region", HOSTS)
def test_each_region_of_azure_has_its_host(region: str) -> None:
    provider = connect("https://management.azureml.net")
    assert provider._client(region).base_url == f"https://{HOSTS[region]}"


@pytest.mark.parametrize("wrong", ["..", ".", "a?b", "a#c", ""])
def test_no_part_of_an_id_leads_elsewhere(wrong: str) -> None:
    elsewhere = Resource(RESOURCE.address, f"/southcentralus/workspaces/{wrong}/webservices/s1")
    with pytest.raises(Rejected, match="is not a valid id of an endpoint"):
        connect("http://127.0.0.1:9").read(elsewhere)


def test_another_cloud_serves_every_region() -> None:
    assert connect("http://127.0.0.1:1")._client("westeurope").base_url == "http://127.0.0.1:1"


@pytest.mark.parametrize("served", [one for one in HOSTS if one != "southcentralus"])
@pytest.mark.parametrize("region", HOSTS)
def test_the_host_of_one_region_gets_no_call_for_another(served: str, region: str) -> None:
    provider = connect(f"https://{HOSTS[served]}")
    if served == region:
        assert provider._client(region).base_url == f"https://{HOSTS[region]}"
        return
    elsewhere = Resource(RESOURCE.address, f"/{region}/workspaces/w/webservices/s/endpoints/e")
    message = f"is the host of {REGIONS[served]}, and the region is {REGIONS[region]}"
    with pytest.raises(Rejected, match=message) as caught:
        provider.read(elsewhere)
    assert f"spec.defaults.region to {REGIONS[served]}" in caught.value.next_step


def test_a_refusal_names_the_host_and_the_region_that_led_there() -> None:
    with pytest.raises(Unauthorized) as caught:
        read(Answer(401, {"error": {"code": "Unauthorized", "message": "not valid"}}))
    assert "An endpoint's key opens only that endpoint" in caught.value.next_step.replace("\n", " ")
    assert "spec.resource.region" in caught.value.next_step
    assert "127.0.0.1" in caught.value.next_step


def test_without_a_token_nothing_is_asked_of_azure() -> None:
    with pytest.raises(Unauthorized, match="the workspace token is not set"):
        connect("https://management.azureml.net").read(RESOURCE)


def test_a_resources_own_token_goes_along() -> None:
    owned = Resource(RESOURCE.address, RESOURCE.id, SecretReference(env="STUDIO_TOKEN"))
    _, calls = read(Answer(body=raw()), resource=owned)
    assert [call.headers["Authorization"] for call in calls] == ["Bearer workspace-token"]
    _, calls = read(Answer(body=raw()))
    assert [call.headers["Authorization"] for call in calls] == ["Bearer emulator"]


def test_a_saved_plan_keeps_where_the_token_is() -> None:
    owned = Resource(RESOURCE.address, RESOURCE.id, SecretReference(env="STUDIO_TOKEN"))
    removal = make_removal(owned, document(), ORPHAN)
    again, _ = read_plan(json.dumps(plan_document(plan(removal))))
    assert again.steps[0].resource.token == owned.token


# What is read.


def test_resources_stand_by_name_and_a_model_as_one_address() -> None:
    live = document(Resources=shown(OLD))
    named = {"Name": MODEL, "Kind": "TrainedModel", "Location": OLD}
    assert live["Resources"] == {MODEL: named}


def test_nothing_that_is_read_holds_a_key_or_a_signature() -> None:
    assert "PLANTED" not in json.dumps(document(Resources=shown(OLD)))


def test_names_are_read_in_any_casing() -> None:
    def recase(value: Json) -> Json:
        if isinstance(value, dict):
            return {name[:1].lower() + name[1:]: recase(one) for name, one in value.items()}
        return [recase(one) for one in value] if isinstance(value, list) else value

    live, _ = read(Answer(body=recase(raw(Resources=shown(OLD)))))
    assert isinstance(live, Live)
    assert live.document == document(Resources=shown(OLD))


@pytest.mark.parametrize(
    "location", [None, {}, {"BaseLocation": "https://a.net/"}, "text", {"RelativeLocation": 4}]
)
def test_a_location_without_all_its_parts_is_none(location: Json) -> None:
    live = document(Resources=[{"Name": MODEL, "Location": location}])
    assert live["Resources"] == {MODEL: {"Name": MODEL}}


MISSING = Answer(404, {"error": {"code": "NotFound", "message": "not found"}})


def look(*script: Answer) -> tuple[Live | Absent, list[Call]]:
    """What the engine believes of an endpoint."""
    with run_scripted(answers(*script)) as server:
        return run_on(connect(server.url)).read(RESOURCE), server.calls


def run_on(provider: EndpointProvider) -> Runtime:
    unused: Any = None
    return Runtime(
        kinds={"Endpoint": KIND},
        providers={"Endpoint": provider},
        ledger=unused,
        observations=unused,
        drift_history=unused,
        blobs=unused,
        resolve=lambda _: SAS,
        emit=lambda _: None,
        clock=lambda: datetime.now(UTC),
        rate_limiter=unused,
    )


@pytest.mark.parametrize("absent", [MISSING, Answer(204)])
@pytest.mark.parametrize("listed", [Answer(204), Answer(body=[raw("default")])])
def test_what_is_missing_is_absent_where_its_web_service_is_there(
    absent: Answer, listed: Answer
) -> None:
    live, calls = look(absent, listed)
    assert live is ABSENT
    assert [call.target for call in calls] == [f"{PATH}/endpoints/e1", f"{PATH}/endpoints"]


@pytest.mark.parametrize("absent", [MISSING, Answer(204)])
@pytest.mark.parametrize("name", ["e1", "E1"])
def test_what_is_listed_is_not_absent_whatever_its_own_answer_is(absent: Answer, name: str) -> None:
    with pytest.raises(Contradicted, match="list shows it") as failed:
        look(absent, Answer(body=[raw(name)]))
    assert failed.value.subject == "Endpoint/e1"
    assert ("list shows" in failed.value.next_step) is (name == "E1")


def test_a_list_of_earlier_in_the_run_proves_no_absence() -> None:
    script = [Answer(body=[raw("default")]), MISSING, Answer(body=[raw("e1")])]
    with run_scripted(answers(*script)) as server:
        provider = connect(server.url)
        assert provider.read_many([RESOURCE]) == {}
        with pytest.raises(Contradicted):
            run_on(provider).read(RESOURCE)


def test_what_was_listed_earlier_may_be_gone() -> None:
    script = [Answer(body=[raw("e1")]), MISSING, Answer(body=[raw("default")])]
    with run_scripted(answers(*script)) as server:
        provider = connect(server.url)
        assert set(provider.read_many([RESOURCE])) == {RESOURCE}
        assert run_on(provider).read(RESOURCE) is ABSENT


def test_where_there_is_no_web_service_nothing_is_absent() -> None:
    with pytest.raises(Rejected) as caught:
        look(MISSING)
    assert "spec.resource.workspace" in caught.value.next_step


def test_the_answer_about_another_endpoint_is_no_answer() -> None:
    with pytest.raises(Unavailable, match="another endpoint, e2"):
        read(Answer(body=raw("e2")))
    assert isinstance(read(Answer(body=raw("E1")))[0], Live)


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        ({"WebServiceId": "s2"}, "endpoint of another web service, e1"),
        ({"WorkspaceId": "w2"}, "endpoint of another web service, e1"),
        ({"WebServiceId": 1}, "endpoint of another web service, e1"),
        ({"Resources": [*shown(OLD), *shown(NEW)]}, "shows a resource twice in the endpoint e1"),
        ({"Resources": [{"Kind": "TrainedModel"}]}, "shows a resource without a name"),
        ({"Resources": [*shown(OLD), None]}, "shows a resource without a name"),
        ({"Resources": "none"}, "shows a resource without a name"),
    ],
)
def test_an_endpoint_that_shows_what_it_cannot_is_not_believed(odd: Json, message: str) -> None:
    with pytest.raises(Unavailable, match=message):
        read(Answer(body=raw(**odd)))
    with (
        run_scripted(answers(Answer(body=[raw(**odd)]))) as server,
        pytest.raises(Unavailable, match=message),
    ):
        list(connect(server.url).scan(SERVICE))


def test_an_endpoint_of_its_own_web_service_is_believed_in_any_casing() -> None:
    assert document(WorkspaceId="W1", WebServiceId="S1")["WebServiceId"] == "S1"


@pytest.mark.parametrize("status", [202, 203, 206])
def test_an_endpoint_that_is_not_a_whole_answer_is_not_believed(status: int) -> None:
    with pytest.raises(Unavailable, match=f"status {status}, which proves nothing"):
        read(Answer(status, raw()))
    with (
        run_scripted(answers(Answer(status, [raw()]))) as server,
        pytest.raises(Unavailable, match=f"status {status}, which proves nothing"),
    ):
        list(connect(server.url).scan(SERVICE))


def test_a_list_that_names_an_endpoint_twice_is_not_believed() -> None:
    with run_scripted(answers(Answer(body=[raw("e1"), raw("e1")]))) as server:
        provider = connect(server.url)
        assert provider.read_many([RESOURCE]) == {}
        with pytest.raises(Unavailable, match="lists an endpoint twice"):
            list(provider.scan(SERVICE))


@pytest.mark.parametrize(
    "answer",
    [
        Answer(body=b"<html>proxy</html>", headers={"Content-Type": "text/html"}),
        Answer(),
        Answer(body=[]),
        Answer(body={}),
        Answer(body={"Name": 4}),
    ],
    ids=["html", "no body", "list", "empty", "no name"],
)
def test_what_is_no_endpoint_is_no_absence(answer: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECONCILER_TIMEOUT", "1")
    with pytest.raises(Unavailable):
        read(answer)


def test_a_204_with_a_body_is_still_none() -> None:
    live, _ = look(Answer(404), Answer(204, body=[raw()]))
    assert live is ABSENT


def test_an_unknown_word_of_the_service_is_a_difference_like_any_other() -> None:
    step = step_for(document(ThrottleLevel="Extreme"), definition={"ThrottleLevel": "High"})
    assert [(one.before, one.after) for one in step.changes] == [("Extreme", "High")]


def test_many_are_read_in_one_list_and_what_it_leaves_out_is_not_absent() -> None:
    many = [Resource(Address("Endpoint", f"e{n}"), f"{SERVICE}/endpoints/e{n}") for n in range(3)]
    with run_scripted(answers(Answer(body=[raw("e0"), raw("e2"), raw("default")]))) as server:
        provider = connect(server.url)
        found = provider.read_many(many)
        assert [len(server.calls), len(provider.find_peers(many[0]))] == [1, 3]
        assert len(server.calls) == 1
    assert set(found) == {many[0], many[2]}


def test_a_key_that_may_not_list_still_reads_its_endpoint() -> None:
    def script(call: Call, _: int) -> Answer:
        return Answer(401) if call.target.endswith("/endpoints") else Answer(body=raw())

    with run_scripted(script) as server:
        provider = connect(server.url)
        assert provider.read_many([RESOURCE, RESOURCE]) == {}
        assert isinstance(provider.read(RESOURCE), Live)
        assert provider.find_peers(RESOURCE) == ()


def test_a_list_tells_ids_that_revert() -> None:
    with run_scripted(answers(Answer(body=[raw()]))) as server:
        (one,) = connect(server.url).scan(SERVICE, None)
    assert (one.id, one.stamp, one.idle) == (RESOURCE.id, "", False)


# What is planned.


def test_a_model_that_is_not_shown_is_written_where_the_manifest_moved() -> None:
    step = step_for(document(), MEMORY, trainedModels=SIGNED)
    assert [(one.path, one.verb) for one in step.changes] == [(WHERE, Verb.WRITE)]
    assert (step.ops, step.models[0].before) == ((), OLD)
    assert [str(one) for _, one in step.secrets] == ["env MODELS_SAS"]


def test_a_model_that_is_as_it_was_remembered_is_left_alone() -> None:
    reported = {MODEL: {**SIGNED[MODEL], "uri": OLD}}
    assert make_step(comparison_for(document(), MEMORY, trainedModels=reported)) is None


def test_a_model_that_nobody_remembers_is_written() -> None:
    step = step_for(document(), None, trainedModels=SIGNED)
    assert (step.action, step.models[0].before) == (Action.UPDATE, "")


def test_a_model_that_is_shown_is_compared() -> None:
    live = document(Resources=shown(OLD))
    step = step_for(live, None, trainedModels=SIGNED)
    assert [(one.verb, one.before) for one in step.changes] == [(Verb.REPLACE, OLD)]
    same = {MODEL: {"uri": OLD.replace("acct", "ACCT")}}
    assert make_step(comparison_for(live, None, trainedModels=same)) is None


@pytest.mark.parametrize(
    ("base", "relative"),
    [
        ("https://acct.blob.core.windows.net", "m/old.ilearner"),
        ("https://acct.blob.core.windows.net//", "/m/old.ilearner"),
        ("https://ACCT.blob.core.windows.net:443//m/", "//old.ilearner"),
        ("https://acct.blob.core.windows.net//m", "old.ilearner"),
    ],
)
def test_a_location_is_one_address_however_many_slashes_it_has(base: str, relative: str) -> None:
    where = {"BaseLocation": base, "RelativeLocation": relative, "SasBlobToken": SAS}
    live = document(Resources=[{"Name": MODEL, "Kind": "TrainedModel", "Location": where}])
    assert make_step(comparison_for(live, None, trainedModels={MODEL: {"uri": OLD}})) is None


def test_http_is_another_address_than_https() -> None:
    live = document(Resources=shown(OLD.replace("https", "http")))
    step = step_for(live, None, trainedModels={MODEL: {**SIGNED[MODEL], "uri": OLD}})
    assert [one.after for one in step.changes if one.path == WHERE] == [OLD]
    (_, _, sent), *_ = write(step)
    assert sent == sent_model(OLD)


def test_no_signature_goes_where_no_model_does() -> None:
    reported = {MODEL: {**SIGNED[MODEL], "uri": OLD}}
    step = step_for(document(), MEMORY, trainedModels=reported, definition={"Description": "x"})
    assert step.secrets == ()


def test_an_endpoint_that_shows_no_names_may_have_any() -> None:
    live = {name: said for name, said in document().items() if name != "Resources"}
    step = step_for(live, MEMORY, trainedModels=SIGNED)
    assert [one.path for one in step.changes] == [WHERE]


# What is sent.


def test_a_new_endpoint_is_a_put_and_then_a_patch_of_its_model() -> None:
    given = {"ThrottleLevel": "High", "MaxConcurrentCalls": 8, "DiagnosticsTraceLevel": "All"}
    put, patch = write(step_for(ABSENT, trainedModels=SIGNED, definition=given))
    settings = {"ThrottleLevel": "High", "MaxConcurrentCalls": 8}
    assert put == ("PUT", f"{PATH}/endpoints/e1", settings)
    assert patch[0] == "PATCH"
    assert patch[2] == {"DiagnosticsTraceLevel": "All", **sent_model(NEW)}


def test_a_new_endpoint_without_a_model_is_a_put_alone() -> None:
    ((method, _, body),) = write(step_for(ABSENT, definition={"Description": "x"}))
    assert (method, body) == ("PUT", {"Description": "x"})


def test_an_update_sends_what_changes_alone() -> None:
    ((_, _, body),) = write(step_for(document(), MEMORY, trainedModels=SIGNED))
    assert body == sent_model(NEW)
    ((_, _, body),) = write(step_for(document(), definition={"MaxConcurrentCalls": 8}))
    assert body == {"MaxConcurrentCalls": 8}


def test_a_replacement_brings_back_what_only_an_update_can_say() -> None:
    live = document(DiagnosticsTraceLevel="All", Resources=shown(NEW))
    step = step_for(live, None, trainedModels=SIGNED, definition={"PreventUpdate": True})
    assert step.action is Action.REPLACE
    calls = write(step)
    assert [method for method, _, _ in calls] == ["DELETE", "PUT", "PATCH"]
    assert calls[1][2]["PreventUpdate"] is True
    assert calls[2][2] == {"DiagnosticsTraceLevel": "All", **sent_model(NEW)}


def test_what_is_gone_already_need_not_be_deleted() -> None:
    removal = make_removal(RESOURCE, document(), ORPHAN)
    assert len(write(removal, answers(Answer(404)))) == 1


def test_a_model_is_sent_again_where_its_answer_was_lost() -> None:
    step = step_for(document(), MEMORY, trainedModels=SIGNED)
    calls = write(step, answers(Answer(drop=True), Answer(204)))
    assert [method for method, _, _ in calls] == ["PATCH", "PATCH"]


def test_a_model_that_is_called_invalid_is_sent_again_and_not_for_ever() -> None:
    step = step_for(document(), MEMORY, trainedModels=SIGNED)
    refusal = Answer(400, {"error": {"code": "BadArgument", "message": "Invalid model URL"}})
    assert len(write(step, answers(refusal, refusal, Answer(204)))) == 3
    with pytest.raises(Rejected, match="Invalid model URL"):
        write(step, answers(refusal))


def test_a_new_endpoint_is_not_sent_again() -> None:
    with pytest.raises(ReplyLost):
        write(step_for(ABSENT, definition={"Description": "x"}), answers(Answer(drop=True)))


@pytest.mark.parametrize(
    ("signature", "error"),
    [
        (SAS.replace("2035", "2015"), BlobExpired),
        (SAS.replace("sp=r", "sp=wl"), BlobForbidden),
        ("no signature at all", BlobForbidden),
    ],
)
def test_a_signature_that_is_no_use_is_not_sent(signature: str, error: type[Exception]) -> None:
    called: list[Call] = []

    def script(call: Call, _: int) -> Answer:
        called.append(call)
        return Answer(204)

    step = step_for(ABSENT, trainedModels=SIGNED)
    with pytest.raises(error) as caught:
        write(step, script, signature)
    assert called == []
    assert signature not in str(caught.value)


@pytest.mark.parametrize(
    ("year", "sent"),
    [(2034, ["GET", "PATCH"]), (2036, ["GET"])],
    ids=["valid there", "ended there"],
)
def test_the_service_and_not_our_clock_says_what_time_it_is(year: int, sent: list[str]) -> None:
    day = {2034: "Sun, 01 Jan 2034", 2036: "Tue, 01 Jan 2036"}[year]
    told = Answer(200, raw(), {"Date": f"{day} 00:00:00 GMT"})
    step = step_for(document(), trainedModels=SIGNED)
    with run_scripted(answers(told)) as server:
        provider = connect(server.url)
        provider.read(RESOURCE)
        with contextlib.suppress(BlobExpired):
            list(provider.write(step, ABSENT, lambda _: SAS))
        assert [call.method for call in server.calls] == sent


def test_slashes_of_a_location_are_sent_as_one() -> None:
    """An undo sends the address that was read, which nobody has brought to its form."""
    step = step_for(ABSENT, trainedModels={MODEL: {**SIGNED[MODEL], "uri": NEW}})
    doubled = NEW.replace(".net/", ".net//")
    step = step.copy_with(after={"Resources": {MODEL: {"Location": doubled}}})
    (*_, (_, _, sent)) = write(step)
    assert sent == sent_model(NEW)


@pytest.mark.parametrize(
    ("uri", "wrong"),
    [
        (NEW.replace("/m/", "/m//"), 'that of a blob, because its path contains "//"'),
        (f"http{NEW.removeprefix('https')}", "https"),
        (f"http{NEW.removeprefix('https')}".replace("/m/", "/m//"), "https"),
        ("https://acct.net", "that of a blob"),
        # Two parsers read two hosts in it: a token of ours would go to the first.
        (NEW.replace("https://", "https://evil.example\\."), "that of a blob"),
        (NEW.replace("https://", "https://user@"), "that of a blob"),
        (NEW.replace("https://", "https://[::1"), "that of a blob"),
    ],
)
def test_an_address_that_cannot_be_sent_says_what_is_wrong_with_it(uri: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=re.escape(wrong)) as raised:
        split_address(uri)
    assert str(raised.value) == wrong


@pytest.mark.parametrize("uri", [NEW.replace("https", "http"), "https://acct.net", "ftp://a/b/c"])
def test_an_address_that_cannot_be_sent_is_an_error_of_its_own(uri: str) -> None:
    step = step_for(ABSENT, trainedModels=SIGNED)
    called: list[Call] = []

    def script(call: Call, _: int) -> Answer:
        called.append(call)
        return Answer(204)

    step = step.copy_with(after={"Resources": {MODEL: {"Location": uri}}})
    with pytest.raises(ReconcilerError, match="its address is not"):
        write(step, script)
    assert called == []


def test_a_model_without_a_signature_is_not_sent() -> None:
    step = step_for(ABSENT, trainedModels={MODEL: {"uri": NEW}})
    with pytest.raises(BlobForbidden, match="no signature is given"):
        write(step)


# Traps that need more than one endpoint, as they are read.

Peers = Sequence[tuple[str, Mapping[str, Json]]]


def check_conflicts(peers: Peers, *steps: Step) -> tuple[Finding, ...]:
    one = document()
    live = [{**one, "Name": name, **settings} for name, settings in peers]
    return tuple(KIND.check_scope([(manifest(), step) for step in steps], live))


FREE: Peers = [
    ("default", {"ThrottleLevel": "Low", "MaxConcurrentCalls": 4}),
    ("e7", {}),
    ("e8", {}),
]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("crowded-free", lambda new: check_conflicts(FREE, new)),
        ("crowded", lambda new: check_conflicts([(f"e{n}", {}) for n in range(10_000)], new)),
        ("default-removed", lambda _: check_conflicts(FREE, make_removal(
            Resource(Address("Endpoint", "default"), f"{SERVICE}/endpoints/default"), document(), ORPHAN
        ))),
    ],
)  # fmt: skip
def test_a_trap_among_endpoints_as_it_is_read(
    name: str, found: Callable[[Step], tuple[Finding, ...]]
) -> None:
    findings = found(step_for(ABSENT, definition={"Description": "x"}))
    check(f"endpoint-{name}", render_findings(findings, paint=Paint()))


def test_room_for_one_more_is_no_trap() -> None:
    new = step_for(ABSENT, definition={"Description": "x"})
    assert check_conflicts(FREE[:2], new) == ()
    assert check_conflicts([], new) == ()


@pytest.mark.parametrize(("status", "name"), [(401, "token"), (404, "no-web-service")])
def test_the_refusal_of_a_token_or_of_an_address_as_it_is_read(status: int, name: str) -> None:
    refusal = Answer(status, {"error": {"code": "Refused", "message": "The service's own words."}})
    with run_scripted(answers(refusal)) as server:
        with pytest.raises((Unauthorized, Rejected)) as caught:
            run_on(connect(server.url)).read(RESOURCE)
        text = render_findings(caught.value.findings(), paint=Paint())
    check(f"endpoint-{name}", text.replace(server.url, "https://management.azureml.net"))


# Drafts.


def test_a_draft_declares_what_is_shown_and_says_what_is_not() -> None:
    exported = KIND.export(RESOURCE, document(Resources=shown(OLD)), DEFAULTS, full=False)
    assert exported.spec == {
        "trainedModels": {MODEL: {"uri": OLD}},
        "definition": {"ThrottleLevel": "High", "MaxConcurrentCalls": 20},
    }
    assert exported.notes == ()
    hidden = KIND.export(RESOURCE, document(), {}, full=True)
    assert hidden.spec["resource"] == {"workspace": "w1", "webService": "s1"}
    assert "trainedModels" not in hidden.spec
    assert MODEL in hidden.notes[-1]


@pytest.mark.parametrize("resources", [shown(OLD), raw()["Resources"]], ids=["shown", "hidden"])
@pytest.mark.parametrize("full", [False, True])
def test_a_draft_plans_nothing(resources: Json, full: bool) -> None:
    live = document(Resources=resources, Description="x", PreventUpdate=True)
    exported = KIND.export(RESOURCE, live, DEFAULTS, full=full)
    assert make_step(comparison_for(live, **exported.spec)) is None


@pytest.mark.parametrize("level", ["Low", None])
def test_a_setting_that_is_null_is_one_that_nobody_said(level: Json) -> None:
    live = document(ThrottleLevel=level, MaxConcurrentCalls=None)
    for spec, problems in (({"Description": "x"}, 0), ({"MaxConcurrentCalls": 5}, 1)):
        step = step_for(live, definition=spec)
        assert len([*KIND.check_step(manifest(definition=spec), step)]) == problems
    exported = KIND.export(RESOURCE, live, DEFAULTS, full=True)
    assert None not in exported.spec["definition"].values()


def test_no_call_takes_a_setting_away() -> None:
    step = step_for(document(), definition={"Description": "x"})
    whole = dataclasses.replace(step, body="whole")
    (finding,) = KIND.check_step(manifest(), whole)
    assert (
        finding.message
        == "a setting of an endpoint cannot be removed: the service has no call for it"
    )
    assert not [*KIND.check_step(manifest(), step_for(ABSENT, definition={"Description": "x"}))]


def test_a_draft_names_the_region_as_a_manifest_does() -> None:
    other = Resource(RESOURCE.address, RESOURCE.id.replace("southcentralus", "westeurope"))
    exported = KIND.export(other, document(), DEFAULTS, full=False)
    assert exported.spec["resource"] == {"region": "West Europe"}
    assert KIND.identify(manifest(**exported.spec), DEFAULTS) == other


# Refreshes.

VERSION, PUBLISHED = "2016-11-02T18:04:10.1Z", "2016-12-01T00:00:00Z"
DEFAULT_ENDPOINT = raw("default", Version=PUBLISHED, Resources=[])


def refresh_step(*, overwrites: bool = False, **spec: Json) -> Step:
    asked = {**spec, "refresh": {"overwriteResources": overwrites}}
    live = document()
    call = KIND.find_due_call(manifest(**asked), live, [DEFAULT_ENDPOINT])
    assert isinstance(call, DueCall)
    compared = comparison_for(live, None, **asked)
    made = make_step(
        dataclasses.replace(compared, declared=dataclasses.replace(compared.declared, call=call))
    )
    assert made is not None
    return made


def serve_refresh(status: int = 204, published: str = PUBLISHED) -> Script:
    state = {"version": VERSION}

    def serve(call: Call, _: int) -> Answer:
        if call.method == "POST":
            state["version"] = PUBLISHED if status < 300 else VERSION
            return Answer(status)
        if call.target.endswith("/default"):
            return Answer(body=raw("default", Version=published))
        return Answer(body=raw(Version=state["version"])) if call.method == "GET" else Answer(204)

    return serve


@pytest.mark.parametrize("overwrites", [False, True], ids=["keeps", "overwrites"])
def test_a_refresh_is_due_if_the_version_is_not_the_published_one(*, overwrites: bool) -> None:
    step = refresh_step(overwrites=overwrites)
    assert [(one.path, one.after, one.called) for one in step.changes] == [
        (("Version",), PUBLISHED, True),
        (("OverwriteResources",), overwrites, True),
    ]
    assert step.owned_paths == ()
    assert [call[:2] for call in write(step, serve_refresh())] == [
        ("GET", f"{PATH}/endpoints/default"),
        ("POST", f"{PATH}/endpoints/e1/refresh"),
    ]
    sent = write(step, serve_refresh())[1][2]
    assert sent == {"OverwriteResources": "True" if overwrites else "False"}
    asked = manifest(refresh={"overwriteResources": overwrites})
    same = raw("default", Version="2016-11-02T18:04:10.10Z")
    assert KIND.find_due_call(asked, document(), [same]) is None


@pytest.mark.parametrize(
    ("name", "peers"),
    [("e1", []), ("e1", [raw("other")]), ("e1", [raw("default", Version=None)]), ("default", [])],
)
def test_a_refresh_that_is_impossible_or_not_known_to_be_due_is_a_finding(
    name: str, peers: Sequence[Json]
) -> None:
    asked = manifest(refresh={"overwriteResources": False})
    found = KIND.find_due_call(asked, {**document(), "Name": name}, peers)
    assert isinstance(found, Finding)


def test_304_is_a_success() -> None:
    assert len(write(refresh_step(), serve_refresh(304))) == 2


def test_the_models_follow_once_the_refresh_shows() -> None:
    step = refresh_step(overwrites=True, trainedModels=SIGNED, definition={"Description": "d"})
    sent = write(step, serve_refresh())
    assert [call[0] for call in sent] == ["GET", "POST", "GET", "PATCH"]
    assert sent[3][2] == {**sent_model(NEW), "Description": "d"}


def test_a_refresh_to_another_version_than_the_planned_one_is_not_sent() -> None:
    with run_scripted(serve_refresh(published="2017-01-01T00:00:00Z")) as server:
        with pytest.raises(StalePlan, match="published again"):
            list(connect(server.url).write(refresh_step(), ABSENT, lambda _: SAS))
        assert [call.method for call in server.calls] == ["GET"]


def test_a_refresh_whose_answer_is_lost_is_not_sent_again() -> None:
    def serve(call: Call, number: int) -> Answer:
        return Answer(drop=True) if call.method == "POST" else serve_refresh()(call, number)

    with run_scripted(serve) as server:
        with pytest.raises(ReplyLost):
            list(connect(server.url).write(refresh_step(), ABSENT, lambda _: SAS))
        assert [call.method for call in server.calls] == ["GET", "POST"]


def test_a_refresh_that_does_not_show_leaves_the_rest_unsent() -> None:
    step = refresh_step(overwrites=True, trainedModels=SIGNED)

    def serve(call: Call, _: int) -> Answer:
        if call.target.endswith("/default"):
            return Answer(body=raw("default", Version=PUBLISHED))
        return Answer(body=raw()) if call.method == "GET" else Answer(204)

    with run_scripted(serve) as server:
        provider = connect(server.url)
        clock = iter(range(1000))
        client = provider._client("southcentralus")
        client.clock = lambda: float(next(clock))
        client.sleep = lambda _: None
        with pytest.raises(StillRunning):
            list(provider.write(step, ABSENT, lambda _: SAS))
        assert not any(call.method == "PATCH" for call in server.calls)


def test_a_refresh_is_not_undone() -> None:
    step = refresh_step()
    live = Live({**document(), "Version": PUBLISHED}, None, datetime.now(UTC))
    with pytest.raises(Irreversible, match="cannot undo the change"):
        make_undo(KIND.field, step, live)


def test_what_follows_a_refresh_is_not_proven_by_the_version() -> None:
    """A run that was killed between the two calls has sent no model."""
    step = refresh_step(overwrites=True, trainedModels=SIGNED)
    intent = intend(step)
    live = Live({**document(), "Version": PUBLISHED}, None, datetime.now(UTC))
    found = assess_intent(KIND.field, intent, live)
    assert found.result is StepResult.UNKNOWN
    assert "is not observable" in found.note
    alone = assess_intent(KIND.field, intend(refresh_step()), live)
    assert alone.result is StepResult.DONE
    before = Live(document(), None, datetime.now(UTC))
    assert assess_intent(KIND.field, intent, before).result is StepResult.NOT_DONE


def intend(step: Step) -> Intent:
    """The intent of a step, as the journal writes it."""
    written = [
        {"op": "add", "path": format_pointer(one.path), "value": one.after}
        for one in step.changes
        if one.verb is Verb.WRITE
    ]
    return make_intent("e1", id=step.resource.id, patch=(*step.ops, *written))


# The names of web services.


def names(*script: Answer) -> tuple[list[tuple[str, str]], list[Call]]:
    with run_scripted(answers(*script)) as server:
        scope = "/southcentralus/workspaces/w1"
        return list(connect(server.url).list_names(scope, None)), server.calls


def test_the_web_services_of_a_workspace_are_listed_by_id_and_name() -> None:
    shown = [{"Id": "s1", "Name": "Bikes", "WorkspaceId": "w1"}, {"id": "s2", "name": "Bikes"}]
    found, calls = names(Answer(body=shown))
    assert found == [("s1", "Bikes"), ("s2", "Bikes")]
    assert [(call.method, call.target) for call in calls] == [("GET", "/workspaces/w1/webservices")]
    assert names(Answer(204))[0] == []


@pytest.mark.parametrize(
    "shown",
    [{}, "text", [None], [{"Id": "s1"}], [{"Id": "", "Name": "a"}], [{"Id": 1, "Name": "a"}]],
)
def test_what_is_not_a_list_of_web_services_names_nothing(shown: Json) -> None:
    with pytest.raises(Unavailable):
        names(Answer(body=shown))


def test_web_services_of_another_workspace_name_nothing() -> None:
    with pytest.raises(Unavailable, match="another workspace"):
        names(Answer(body=[{"Id": "s1", "Name": "Bikes", "WorkspaceId": "w2"}]))


def test_an_id_or_a_name_in_the_manifest_replaces_both_defaults() -> None:
    both = {**DEFAULTS, "webServiceName": "Bikes"}
    told = KIND.find_named_part(manifest(), both)
    assert told is not None
    assert (told.name, told.id, told.key) == ("Bikes", "s1", "spec.defaults.webServiceName")
    assert KIND.find_named_part(manifest(resource={"webService": "s2"}), both) is None
    own = KIND.find_named_part(manifest(resource={"webServiceName": "Trains"}), both)
    assert own is not None
    assert (own.name, own.id, own.key) == ("Trains", "", "spec.resource.webServiceName")
    with pytest.raises(ManifestInvalid, match="webService is not set"):
        KIND.identify(manifest(resource={"webServiceName": "Trains"}), both)

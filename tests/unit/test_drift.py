"""Who moved what: remembered, live and declared, and what is said of a resource as a whole."""

import copy
import gc
import json
import re
import weakref
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from reconciler.document.baseline import list_moves, make_baseline
from reconciler.engine.drift import report_drift
from reconciler.engine.planning.plan import make_plan
from reconciler.errors import BlobExpired, BlobForbidden, Unavailable
from reconciler.kinds.web_service import KIND
from reconciler.manifests.yaml_text import Text
from reconciler.model import (
    ABSENT,
    Address,
    Blob,
    Drift,
    DriftReport,
    GuardLimits,
    Json,
    Manifest,
    Member,
    Resource,
    SourceLocation,
    Verdict,
)
from reconciler.plans.drift_file import drift_document
from reconciler.plans.drift_history import make_key
from reconciler.render.drift.markdown import render_drift_markdown
from reconciler.render.drift.text import render_drift
from reconciler.render.words.colour import Paint
from reconciler.text.json_text import canonical
from tests.outputs import check_output
from tests.unit.test_engine import MODEL, NEW, OLD, Ledger, World, make_request, run, world_of

URI = "/properties/assets/asset3/locationInfo/uri"


@pytest.fixture
def applied() -> World:
    """Two services, applied and remembered as a ledger does."""
    from reconciler.model import LastApplied

    world = world_of("a", "b")
    run(world, "a", "b")
    for entry in world.kept:
        world.ledger.more[entry.address] = replace(LastApplied.of(entry), sequence=1)
    return world


def report(world: World, uri: str = NEW, **more: Any) -> DriftReport:
    return report_drift(world.runtime(), make_request("a", "b", uri=uri, refresh="full", **more))


def verdicts(reported: DriftReport) -> list[str]:
    return [f"{one.resource.address.name} {one.verdict.value}" for one in reported.statuses]


def move(world: World, name: str, **properties: Json) -> None:
    world.documents[name]["properties"] |= properties


def swap(world: World, name: str, uri: str) -> None:
    world.documents[name]["properties"]["assets"]["asset3"]["locationInfo"]["uri"] = uri


def only(reported: DriftReport) -> Drift:
    (found,) = reported.findings
    return found


def test_what_was_applied_is_in_sync(applied: World) -> None:
    reported = report(applied)
    assert verdicts(reported) == ["a in sync", "b in sync"]
    assert (reported.outcome, reported.findings) == ("in-sync", ())


def test_another_model_than_was_applied_is_a_swap(applied: World) -> None:
    swap(applied, "a", OLD)
    reported = report(applied)
    assert verdicts(reported) == ["a model-swapped", "b in sync"]
    found = only(reported)
    assert (found.pointer, found.remembered, found.live, found.declared) == (URI, NEW, OLD, NEW)
    assert found.commands == (
        "reconciler apply --target WebService/a",
        "reconciler drift --accept WebService/a",
    )
    assert reported.outcome == "drift"


def test_a_manifest_that_moved_is_pending_and_both_are_a_conflict(applied: World) -> None:
    swap(applied, "a", OLD)
    reported = report(applied, uri=NEW.replace("new", "newer"))
    assert verdicts(reported) == ["a conflict", "b pending"]
    assert reported.findings[1].commands == ("reconciler apply --target WebService/b",)


def test_both_moved_to_the_same_is_in_sync(applied: World) -> None:
    for name in "ab":
        swap(applied, name, OLD)
    assert verdicts(report(applied, uri=OLD)) == ["a in sync", "b in sync"]


def test_what_nobody_declared_is_drift_and_never_a_plan(applied: World) -> None:
    from reconciler.engine.planning.plan import make_plan

    move(applied, "a", description="somebody", title="another")
    reported = report(applied)
    assert [one.pointer for one in reported.findings] == [
        "/properties/description",
        "/properties/title",
    ]
    assert {one.verdict for one in reported.findings} == {Verdict.DRIFTED}
    assert reported.findings[1].remembered == "Census income"
    assert reported.findings[1].note == "no manifest declares it"
    assert make_plan(applied.runtime(), make_request("a", "b", refresh="full")).steps == ()


def test_what_was_declared_once_is_remembered(applied: World) -> None:
    at = Address("WebService", "a")
    last_applied = applied.ledger.more[at]
    calls = "/properties/realtimeConfiguration/maxConcurrentCalls"
    applied.ledger.more[at] = replace(last_applied, owned={**last_applied.owned, calls: 20})
    found = only(report(applied))
    assert (found.pointer, found.remembered, found.live) == (calls, 20, 10)
    assert found.declared is ABSENT


def test_a_service_that_is_gone_is_missing(applied: World) -> None:
    del applied.documents["a"]
    reported = report(applied)
    assert verdicts(reported) == ["a missing", "b in sync"]
    assert only(reported).commands[1] == "reconciler forget WebService/a"


def test_one_that_was_never_there_is_pending() -> None:
    reported = report(World())
    assert verdicts(reported) == ["a pending", "b pending"]


@pytest.mark.parametrize("others", ["in sync", "drifted"])
def test_a_read_that_fails_is_never_in_sync_and_never_missing(applied: World, others: str) -> None:
    applied.fails["a"] = Unavailable("no answer", status=500)
    if others == "drifted":
        swap(applied, "b", OLD)
    reported = report(applied)
    assert verdicts(reported)[0] == "a evidence incomplete"
    assert reported.outcome == ("evidence-incomplete" if others == "in sync" else "drift")
    assert drift_document(reported)["coverage"] == {"known": 1, "total": 2, "unmanaged": 0}
    assert "Coverage: 1 of 2 services" in render_drift(reported, paint=Paint())


def test_what_cannot_be_bound_is_incomplete(applied: World) -> None:
    applied.documents["a"]["properties"]["assets"]["asset3"]["name"] = "Renamed"
    reported = report(applied)
    assert verdicts(reported)[0] == "a evidence incomplete"
    assert f'no trained model is named "{MODEL}"' in " ".join(one.note for one in reported.findings)


def test_services_that_no_manifest_names_are_listed_when_asked_for(applied: World) -> None:
    applied.add("z")
    reported = report_drift(applied.runtime(), make_request("a", uri=NEW), list_unmanaged=True)
    assert verdicts(reported) == ["a in sync", "b unmanaged", "z unmanaged"]
    assert "the ledger records it" in reported.findings[0].note
    assert (
        reported.findings[1]
        .commands[0]
        .startswith("reconciler import WebService/z /subscriptions/")
    )
    applied.fails["list"] = Unavailable("no list", status=500)
    reported = report_drift(applied.runtime(), make_request("a", uri=NEW), list_unmanaged=True)
    assert reported.outcome == "evidence-incomplete"


def test_what_another_manifest_names_is_not_listed_as_unmanaged(applied: World) -> None:
    applied.add("z")
    targets = [Address("WebService", "a")]
    reported = report_drift(
        applied.runtime(), make_request("a", "b", uri=NEW, targets=targets), list_unmanaged=True
    )
    assert verdicts(reported) == ["a in sync", "z unmanaged"]


def test_what_the_ledger_remembers_may_be_named_by_manifests_that_were_not_read(
    applied: World,
) -> None:
    applied.add("z")
    reported = report_drift(
        applied.runtime(), make_request("a", uri=NEW, whole=False), list_unmanaged=True
    )
    assert verdicts(reported) == ["a in sync", "z unmanaged"]


class Storage:
    """Blobs as a test tells them."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def inspect(self, _: Any) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


LATER = (datetime(2026, 11, 20, 12, tzinfo=UTC) + timedelta(days=15)).strftime("%Y-%m-%dT%H:%M:%SZ")
SOON = (datetime(2026, 11, 20, 12, tzinfo=UTC) + timedelta(days=13)).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.mark.parametrize(
    ("answer", "verdict", "said"),
    [
        (Blob(NEW, 9, "e", "sha256:1", "metadata"), None, ""),
        (Blob(NEW, 9, "e", "sha256:2", "metadata"), Verdict.ARTIFACT_MUTATED, "have changed"),
        (ABSENT, Verdict.ARTIFACT_MUTATED, "the blob is gone"),
        (
            Blob(NEW, 9, "e", "md5:2", "md5"),
            Verdict.NOT_OBSERVABLE,
            "no comparable digest",
        ),
        (Blob(NEW, 9, "e", "sha256:1", "metadata", LATER), None, ""),
        (Blob(NEW, 9, "e", "sha256:1", "metadata", SOON), Verdict.CREDENTIAL_EXPIRING, SOON),
        (BlobExpired("the signature ended"), Verdict.CREDENTIAL_EXPIRING, "ended"),
        (BlobForbidden("storage lets nobody read it"), Verdict.INCOMPLETE, "lets nobody"),
    ],
)
def test_the_bytes_behind_the_address_are_looked_at(
    applied: World, answer: Any, verdict: Verdict | None, said: str
) -> None:
    for at, last_applied in applied.ledger.more.items():
        applied.ledger.more[at] = replace(last_applied, digests={URI: "sha256:1"})
    runtime = replace(applied.runtime(), blobs=Storage(answer))
    reported = report_drift(
        runtime, make_request("a", uri=NEW, limits=GuardLimits(blobs="required"))
    )
    assert [one.verdict for one in reported.findings] == ([verdict] if verdict else [])
    assert said in "".join(one.note for one in reported.findings)


def test_a_finding_keeps_its_first_day(applied: World) -> None:
    swap(applied, "a", OLD)
    assert only(report(applied)).since == "2026-11-20T12:00:00Z"


def test_a_secret_is_not_observable_and_says_when_it_was_set(applied: World) -> None:
    key = "/properties/keys/primary"
    at = Address("WebService", "a")
    applied.ledger.more[at] = replace(applied.ledger.more[at], secrets={key: "q3"})
    asked = make_request("a", uri=NEW)
    spec = asked.manifests[0].spec
    for label, verdict in (("q3", Verdict.NOT_OBSERVABLE), ("q4", Verdict.PENDING)):
        spec["secrets"] = {key: {"env": "K", "version": label}}
        found = only(report_drift(applied.runtime(), asked))
        assert (found.verdict, found.pointer, found.hidden) == (verdict, key, True)
    spec["secrets"] = {key: {"env": "K", "version": "q3"}}
    reported = report_drift(applied.runtime(), asked)
    assert reported.outcome == "in-sync"
    assert "set when last applied 2026-11-20 by ci@4f1c2aa" in reported.findings[0].note
    assert "Not observable: 1 declared value of 1 service (set 2026-11-20 by ci@4f1c2aa)." in (
        render_drift(reported, paint=Paint())
    )


@pytest.mark.parametrize("recorded", [{}, {"q3"}, {"q4"}, None], ids=str)
@pytest.mark.parametrize("secret", [True, False])
@pytest.mark.parametrize("others", [True, False])
def test_drift_is_pending_where_a_plan_has_a_step(
    applied: World, recorded: set[str] | None, *, secret: bool, others: bool
) -> None:
    """`recorded` is the label of the secret in the ledger; None where the ledger has no entry."""
    key, at = "/properties/keys/primary", Address("WebService", "a")
    entry = applied.ledger.more.pop(at)
    if recorded is not None:
        labels = dict.fromkeys([key], next(iter(recorded), "")) if recorded else {}
        applied.ledger.more[at] = replace(entry, secrets=labels)
    else:
        applied.ledger = Ledger(more=dict(applied.ledger.more))
    if not others:
        applied.ledger.more.pop(Address("WebService", "b"))
    asked = make_request("a", uri=NEW)
    if secret:
        asked.manifests[0].spec["secrets"] = {key: {"env": "K", "version": "q3"}}
    planned = make_plan(applied.runtime(), asked).steps
    (status,) = report_drift(applied.runtime(), asked).statuses
    assert bool(planned) is (status.verdict is Verdict.PENDING)
    forgotten = recorded is None and others
    assert bool(planned) is (secret and (forgotten or recorded in ({}, {"q4"})))


def test_names_from_outside_move_no_terminal_and_no_comment(applied: World) -> None:
    evil = "\x1b[31m<img src=x onerror=alert(1)>\u202e@everyone|`\n"
    move(applied, "a", description=evil)
    reported = report(applied)
    text = render_drift(reported, paint=Paint())
    assert "\x1b" not in text
    assert "\u202e" not in text
    markdown = render_drift_markdown(reported)
    assert "\x1b" not in markdown
    assert all("<img" not in line.replace(span, "") for line in markdown.splitlines()
               for span in [line[line.find("`") : line.rfind("`") + 1]])  # fmt: skip


def test_a_comment_is_bounded_however_much_moved() -> None:
    names = [f"s{number:04}" for number in range(1000)]
    world = world_of(*names)
    reported = report_drift(world.runtime(16), make_request(*names, uri=NEW))
    assert len(reported.findings) == 1000
    assert len(render_drift_markdown(reported)) < 60_000


def lives(**properties: Json) -> Json:
    world = world_of("a")
    move(world, "a", **properties)
    return world.documents["a"]


def test_another_spelling_or_another_cipher_text_is_no_move() -> None:
    before = lives(diagnostics={"level": "All", "expiry": "2030-01-01T00:00:00Z"})
    baseline = make_baseline(KIND.field, before, ())
    after = copy.deepcopy(before)
    after["location"] = "southcentralus"
    after["properties"]["diagnostics"] = {"level": "ALL", "expiry": "2030-01-01T01:00:00+01:00"}
    after["properties"]["parameters"] = {}
    after["properties"]["modifiedOn"] = "2027-01-01T00:00:00Z"
    for node in after["properties"]["package"]["nodes"].values():
        for parameter in node.get("parameters", {}).values():
            if parameter.get("certificateThumbprint"):
                parameter |= {"value": "MIICother", "certificateThumbprint": "F" * 40}
    assert list(list_moves(KIND.field, baseline, after, ())) == []


def test_a_large_part_is_kept_as_a_digest_without_what_is_declared_in_it() -> None:
    columns = {f"c{n}": {"type": "Integer", "format": "Int32"} for n in range(50)}
    ports = {"type": "object", "properties": {"p": {"type": "object", "properties": columns}}}
    before = lives(input=ports)
    owned = ["/properties/input/properties/p/properties/c1/type"]
    baseline = make_baseline(KIND.field, before, owned)
    assert baseline["/properties/input/properties"].keys() == {"digest"}
    after = copy.deepcopy(before)
    table = after["properties"]["input"]["properties"]["p"]["properties"]
    table["c1"]["type"] = "String"
    assert list(list_moves(KIND.field, baseline, after, owned)) == []
    table["c2"]["type"] = "String"
    assert make_baseline(KIND.field, after, owned) != baseline


def test_nothing_sensitive_is_in_a_baseline() -> None:
    before = lives(assets={"x": {"name": "M", "type": "Resource", "locationInfo": {
        "uri": "https://a/b/c.ilearner", "credentials": "planted-secret"}}})  # fmt: skip
    assert "planted-secret" not in str(make_baseline(KIND.field, before, ()))


def place_in(text: str, file: str = "a.yaml") -> Manifest:
    """A manifest as the loader reads it, with the places of its values."""
    read = Text(file, text)
    (node,) = read.compose()
    document = read.build(node)
    return Manifest(
        Address("WebService", document["metadata"]["name"]),
        document["spec"],
        file,
        "sha256:0",
        places=read.find_places(node),
    )


PLACED = f"""\
metadata: {{name: a}}
spec:
  trainedModels:
    {MODEL}:
      uri: {NEW}
      sha256: {"0" * 64}
  secrets:
    /properties/keys/primary: {{env: K}}
  definition:
    properties:
      title: Census income
"""


def test_a_finding_names_the_line_that_declares_its_value(applied: World) -> None:
    swap(applied, "a", OLD)
    move(applied, "a", title="another", description="somebody")
    asked = make_request("a", refresh="full")
    reported = report_drift(applied.runtime(), replace(asked, manifests=[place_in(PLACED)]))
    places = {one.pointer: str(one.place) for one in reported.findings}
    assert places == {
        URI: "a.yaml:5:7",
        "/properties/keys/primary": "a.yaml:8:5",
        "/properties/title": "a.yaml:11:7",
        "/properties/description": "a.yaml:1:12",  # no manifest declares it
    }


def test_a_whole_resource_is_at_its_name_or_at_the_row_of_its_fleet(applied: World) -> None:
    del applied.documents["a"]
    applied.fails["b"] = Unavailable("no answer", status=500)
    applied.add("z")
    row = SourceLocation("rows.csv", 7, 1)
    b = replace(place_in(PLACED.replace("name: a", "name: b")), file="b.yaml")
    asked = make_request("a", "b", refresh="full")
    of_fleet = replace(b, member=Member(Address("Fleet", "f"), 6, row))
    asked = replace(asked, manifests=[place_in(PLACED), of_fleet])
    reported = report_drift(applied.runtime(), asked, list_unmanaged=True)
    places = {one.resource.address.name: one.place for one in reported.findings}
    assert places == {"a": SourceLocation("a.yaml", 1, 12), "b": row, "z": None}
    document = drift_document(reported)
    check_output(json.loads(canonical(document)), "drift")
    assert [one["place"] for one in document["findings"]][-1] is None


def test_a_key_names_the_same_difference_and_no_other(applied: World) -> None:
    swap(applied, "a", OLD)
    key = only(report(applied)).key
    assert re.fullmatch("[0-9a-f]{24}", key)
    assert only(report(applied)).key == key
    swap(applied, "a", OLD.replace("old", "older"))
    assert only(report(applied)).key != key
    swap(applied, "a", OLD)
    moved_on = report(applied, uri=NEW.replace("new", "newer"))
    assert moved_on.findings[0].key != key  # a conflict
    del applied.documents["a"]
    assert only(report(applied)).key != key


def test_the_key_of_a_hidden_value_does_not_depend_on_the_value() -> None:
    resource = Resource(Address("WebService", "a"), "/x/A")
    hidden = Drift(resource, Verdict.DRIFTED, "/p", hidden=True)
    null = replace(hidden, live=None)
    assert make_key(hidden) != make_key(null)
    same = replace(hidden, resource=Resource(Address("WebService", "a"), "/X/a"), note="other")
    assert make_key(hidden) == make_key(same)


def test_each_verdict_has_a_severity_in_the_document(applied: World) -> None:
    swap(applied, "a", OLD)
    move(applied, "b", title="another")
    found = drift_document(report(applied))["findings"]
    assert [(one["verdict"], one["severity"]) for one in found] == [
        ("model-swapped", "error"),
        ("drifted", "warning"),
    ]
    assert {one.severity for one in Verdict} == {"error", "warning", "note"}


class Noted(dict[str, Any]):
    """A part of a document of which it can be seen whether it was freed."""


def test_a_baseline_does_not_keep_its_document() -> None:
    tags = Noted({f"t{number}": "a" for number in range(50)})
    kept, document = weakref.ref(tags), {"tags": tags}
    del tags
    gc.disable()
    try:
        assert make_baseline(KIND.field, document, ())
        del document
        assert kept() is None
    finally:
        gc.enable()

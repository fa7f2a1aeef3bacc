"""`ownership: exact`: what must be declared, what is removed, how it is sent, how it is proven."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from reconciler.document.normalize import normalize
from reconciler.document.patch import apply_operations
from reconciler.document.pointers import find
from reconciler.kinds.web_service import KIND
from reconciler.model import (
    ABSENT,
    Cause,
    Json,
    LastApplied,
    Live,
    Manifest,
    Reason,
    SecretReference,
    SourceLocation,
    Step,
    StepResult,
    Verb,
    Verdict,
)
from reconciler.plans.drift import compare_resource
from reconciler.plans.evidence import Evidence, assess_intent, not_applied
from reconciler.plans.reasons import explain_changes
from reconciler.plans.step import Comparison, make_step
from tests.e2e.world import definition
from tests.ledgers import make_intent
from tests.wire.test_web_service import MODEL, NEW, OLD, RESOURCE, live, manifest

KEYS = {
    f"/properties/{path}": SecretReference(env=path.rpartition("/")[2].upper(), version="v1")
    for path in ("keys/primary", "keys/secondary", "storageAccount/key")
}
ASSETS = ("properties", "assets")


def whole(**properties: Json) -> Json:
    """A definition that declares everything that `live` shows."""
    body = definition(OLD)
    body["properties"]["storageAccount"].pop("key")
    body["properties"] |= properties
    return body


def exact(body: Json, **spec: Json) -> Manifest:
    said = manifest(definition=normalize(KIND.field, body), ownership="exact", **spec)
    place = {"/spec/ownership": SourceLocation("census.yaml", 7, 3)}
    return Manifest(said.address, said.spec, said.file, said.digest, places=place)


def comparison_for(before: Json, said: Manifest) -> Comparison:
    declared = KIND.bind(said, before)
    assert declared.findings == ()
    return Comparison(RESOURCE, KIND.field, before, declared, KEYS)


def step_for(before: Json, said: Manifest) -> Step:
    made = make_step(comparison_for(before, said))
    assert made is not None
    return made


def test_what_is_declared_whole_is_no_change() -> None:
    comparison = comparison_for(live(), exact(whole()))
    assert make_step(Comparison(RESOURCE, KIND.field, comparison.live, comparison.declared)) is None


def test_what_nobody_declares_is_removed_and_nothing_else() -> None:
    before = live(title="T", newToUs={"a": 1}, parameters={}, readOnly=False)
    before["tags"] = {"owner": "growth", "stray": "1"}
    body = whole()
    for name in ("title", "description", "diagnostics"):
        del body["properties"][name]
    step = step_for(before, exact(body))
    removed = [change.path for change in step.changes if change.verb is Verb.REMOVE]
    assert removed == [
        ("properties", "description"),
        ("properties", "title"),
        ("tags", "stray"),
    ]
    assert find(step.after, ("properties", "diagnostics")) == before["properties"]["diagnostics"]
    assert step.body == "whole"
    assert step.unchanged > 50


@pytest.mark.parametrize("before", [live(), ABSENT])
def test_the_whole_definition_must_be_declared_and_every_part_is_named(before: Json) -> None:
    said_so_far = exact({"tags": {"a": "b"}}, trainedModels={MODEL: {"uri": NEW}})
    declared = KIND.bind(said_so_far, before)
    said = [one for one in declared.findings if "ownership" in one.message]
    assert [one.message.rpartition(": ")[2] for one in said] == [
        f"{name} is not declared"
        for name in (
            "location",
            "properties.packageType",
            "properties.storageAccount.name",
            "properties.assets",
            "properties.input",
            "properties.output",
            "properties.package",
        )
    ]
    for one in said:
        assert str(one.place) == "census.yaml:7:3"
        assert one.next_step.endswith("reconciler export WebService/census --full")


def drop_asset(body: Json) -> None:
    del body["properties"]["assets"]["asset1"]


def drop_parts(body: Json) -> None:
    body["properties"]["assets"]["asset2"] = {"locationInfo": {"credentials": ""}}


def drop_uri(body: Json) -> None:
    del body["properties"]["assets"]["asset3"]["locationInfo"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (drop_asset, ["asset1"]),
        (drop_parts, ["asset2.name", "asset2.type", "asset2.locationInfo.uri"]),
        (drop_uri, []),  # the trained model names it
    ],
)
def test_no_asset_that_the_graph_runs_may_be_left_out(
    change: Callable[[Json], None], said: list[str]
) -> None:
    body = whole()
    change(body)
    declared = KIND.bind(exact(body, trainedModels={MODEL: {"uri": NEW}}), live())
    assert [one.message for one in declared.findings] == [
        f"ownership: exact needs the whole definition: properties.assets.{name} is not declared"
        for name in said
    ]


def test_an_asset_that_only_a_secret_names_is_not_dropped_behind_its_back() -> None:
    before = live()
    before["properties"]["assets"]["asset9"] = {"name": "N", "type": "Module"}
    pointer = "/properties/assets/asset9/locationInfo/credentials"
    said = exact(whole(), secrets={pointer: {"env": "C"}})
    assert [one.message.rpartition(": ")[2] for one in KIND.bind(said, before).findings] == [
        "properties.assets.asset9.name is not declared",
        "properties.assets.asset9.type is not declared",
    ]
    declared = KIND.bind(exact(whole()), before)
    named = {pointer: SecretReference(env="C")}
    kept = make_step(Comparison(RESOURCE, KIND.field, before, declared, named))
    gone = make_step(Comparison(RESOURCE, KIND.field, before, declared))
    for step, there in ((kept, True), (gone, False)):
        assert step is not None
        assert ("asset9" in step.after["properties"]["assets"]) is there


def test_a_removal_takes_secrets_and_plan_along_that_were_written_before() -> None:
    body = whole()
    del body["properties"]["title"]
    comparison = comparison_for(live(), exact(body))
    plan = body["properties"]["commitmentPlan"]["id"]
    owned = {"/properties/commitmentPlan/id": plan}
    last_applied = LastApplied(
        RESOURCE.id, "2026-11-20", "ci", "", owned, secrets=dict.fromkeys(KEYS, "v1"), sequence=1
    )
    step = make_step(replace(comparison, last_applied=last_applied))
    assert step is not None
    assert dict(step.secrets) == KEYS
    written = {change.path: change.after for change in step.changes if change.verb is Verb.WRITE}
    assert written[("properties", "commitmentPlan", "id")] == plan


def test_what_the_service_never_returns_must_be_given_and_all_of_it_is_named() -> None:
    body = whole()
    del body["properties"]["title"], body["properties"]["commitmentPlan"]
    said = exact(body)
    step = make_step(Comparison(RESOURCE, KIND.field, live(), KIND.bind(said, live())))
    assert step is not None
    missing = tuple(KIND.check_step(said, step))
    assert [(one.message.rpartition(" ")[2], one.next_step[:40]) for one in missing] == [
        ("properties.storageAccount.key", "Set spec.secrets: {/properties/storageAc"),
        ("properties.commitmentPlan.id", "Set it in spec.definition or in the file"),
        ("properties.keys.primary", "Set spec.secrets: {/properties/keys/prim"),
        ("properties.keys.secondary", "Set spec.secrets: {/properties/keys/seco"),
    ]
    assert all("the whole definition cannot be sent without" in one.message for one in missing)


# Proof.


def shown(document: Json) -> Live:
    return Live(document, document, datetime(2026, 11, 20, tzinfo=UTC))


def removal() -> tuple[Json, Step]:
    before: Json = live()
    body = whole()
    for name in ("description", "title"):
        del body["properties"][name]
    body["tags"] = {}
    return before, step_for(before, exact(body))


def assess(step: Step, before: Json, after: Json) -> Evidence:
    """What a read shows after the service has reported success."""
    intent = make_intent(action=step.action, patch=step.ops, absences=step.absences, body=step.body)
    return assess_intent(KIND.field, intent, shown(after), shown(before))


def test_what_the_service_fills_in_again_is_to_be_declared_and_every_place_is_told() -> None:
    before, step = removal()
    after: Json = apply_operations(step.ops, before)
    assert assess(step, before, after).result is StepResult.DONE
    after["properties"]["description"] = ""
    assert assess(step, before, after).result is StepResult.DONE
    after["tags"] = {"owner": "growth"}
    after["properties"]["title"] = "Census"
    evidence = assess(step, before, after)
    assert evidence.result is StepResult.UNKNOWN
    (finding,) = not_applied(RESOURCE.address, evidence).findings()
    assert finding.message.endswith('still has "Census" at /properties/title')
    assert finding.detail == ('Also "growth" at /tags/owner',)
    assert finding.next_step.startswith("Declare it")


def test_what_was_kept_and_is_lost_is_not_applied() -> None:
    before, step = removal()
    after: Json = apply_operations(step.ops, before)
    del after["properties"]["package"]["graphParameters"]  # it was empty
    assert assess(step, before, after).result is StepResult.DONE
    del after["properties"]["assets"]["asset2"]
    evidence = assess(step, before, after)
    assert evidence.result is StepResult.UNKNOWN
    assert evidence.shown[0].startswith("nothing at /properties/assets/asset2/")


def test_why_something_is_removed_is_said() -> None:
    body = whole()
    del body["properties"]["title"]
    comparison = comparison_for(live(), exact(body))
    step = make_step(comparison)
    assert step is not None
    reasons = {one.pointer: one for one in explain_changes(comparison, step.changes)}
    pointer = "/properties/title"
    assert reasons[pointer] == Reason(pointer, Cause.UNDECLARED, "not declared")


# Drift.


def test_what_an_exact_manifest_would_remove_is_never_said_to_be_in_sync() -> None:
    before = live()
    before["tags"]["stray"] = "1"
    comparison = comparison_for(before, exact(whole()))
    found = [
        one for one in compare_resource(comparison) if one.verdict is not Verdict.NOT_OBSERVABLE
    ]
    # The ledger has no entry of the service, so that its secrets are written too.
    (pending,) = [one for one in found if one.pointer not in comparison.secrets]
    assert {one.pointer for one in found if one is not pending} == comparison.secrets.keys()
    assert (pending.verdict, pending.pointer) == (Verdict.PENDING, "/tags/stray")
    assert pending.commands == (
        "reconciler apply --target WebService/census",
        "reconciler drift --accept WebService/census",
    )
    last_applied = LastApplied(
        RESOURCE.id, "2026-11-20", "ci", "", {"/tags/stray": "0"}, sequence=1
    )
    reported = [
        one
        for one in compare_resource(replace(comparison, last_applied=last_applied))
        if one.pointer
    ]
    (moved,) = [one for one in reported if one.pointer == "/tags/stray"]
    assert (moved.verdict, moved.remembered, moved.commands) == (
        Verdict.DRIFTED,
        "0",
        pending.commands,
    )

"""Plans for tests of what shows them: made from a real definition, as the engine makes them."""

import functools
from collections.abc import Mapping
from dataclasses import replace

from reconciler.kinds.web_service import KIND
from reconciler.model import (
    ABSENT,
    Address,
    Cause,
    Finding,
    GuardLimits,
    Inputs,
    Json,
    LastApplied,
    Manifest,
    Member,
    Plan,
    Reason,
    Refresh,
    Resource,
    SecretReference,
    ServiceTiming,
    SourceLocation,
    Step,
)
from reconciler.plans.estimate import estimate
from reconciler.plans.guards import check_guards
from reconciler.plans.reasons import explain_changes
from reconciler.plans.step import Comparison, make_removal, make_step
from tests.e2e.world import MODEL, definition

TIMING = ServiceTiming(15.0, 10, 250, 25.0, 200, 10.0)
ORPHAN = Reason("", Cause.ORPHAN, "no manifest names it any more")
OLD, NEW = (
    f"https://acct.blob.core.windows.net/models/census/{day}.ilearner"
    for day in ("2026-10-02", "2026-11-20")
)


def live(**properties: Json) -> Json:
    body = definition(OLD)
    body["properties"]["storageAccount"].pop("key")
    body["properties"].pop("commitmentPlan")
    body["properties"] |= properties
    return {"id": "/x/census", **body}


def step(
    before: Json,
    spec: Json,
    *,
    name: str = "census",
    last_applied: LastApplied | None = None,
    secrets: Mapping[str, SecretReference] | None = None,
) -> Step:
    own = "CensusPre.2016.8.17" if name == "census" else name
    resource = Resource(Address("WebService", name), f"/x/{own}")
    manifest = Manifest(resource.address, spec, "census.yaml", "sha256:0")
    declared = KIND.bind(manifest, before)
    comparison = Comparison(resource, KIND.field, before, declared, secrets or {}, last_applied)
    made = make_step(comparison)
    assert made is not None
    return replace(made, reasons=tuple(explain_changes(comparison, made.changes)))


def plan(*steps: Step, findings: tuple[Finding, ...] = (), baseline: str = "kept") -> Plan:
    return Plan(
        steps=steps,
        unchanged=(),
        findings=findings,
        inputs=Inputs("p", {}),
        refresh=Refresh("full", len(steps) or 3, len(steps) or 3, len(steps) or 3),
        made_at="2026-11-20T12:00:00Z",
        baseline="lost" if baseline == "lost" else "kept",
        estimate=estimate(steps, TIMING, 10),
    )


MEMORY = LastApplied(
    "/x",
    "2026-11-02T08:00:00Z",
    "ci",
    "4f1c2aa9b1d2",
    {"/properties/realtimeConfiguration/maxConcurrentCalls": 20},
    sequence=7,
)
SPEC = {
    "trainedModels": {MODEL: {"uri": NEW}},
    "definition": {"properties": {"realtimeConfiguration": {"maxConcurrentCalls": 20}}},
}


def step_of_every_shape(name: str = "census") -> Step:
    """An update with each kind of change that an update can have."""
    before = live(
        title="Old",
        diagnostics={"level": "None"},
        exampleRequest={"inputs": {"input1": [[1, "a"]]}, "globalParameters": {"x": {"y": [1, 2]}}},
    )
    wanted = {
        "tags": {"team": "growth", "a/b~c": "odd"},
        "properties": {
            "title": "New \x1b[31m\u202e title",
            "description": "D" * 400,
            "diagnostics": {"level": "All", "expiry": "2030-01-01T00:00:00Z"},
            "exampleRequest": {"globalParameters": {"x": {"y": [1, 3]}, "z": None}},
            "package": {
                "edges": [{"sourceNodeId": "node1", "targetNodeId": "node2"}],
                "nodes": {"node1": {"parameters": {"Mode": {"value": "b"}}}},
            },
        },
    }
    secrets = {
        "/properties/keys/primary": SecretReference(env="CENSUS_KEY", version="2026-q4"),
        "/properties/keys/secondary": SecretReference(file="secrets/second.key"),
    }
    return step(before, {"definition": wanted}, secrets=secrets, name=name)


def rich_plan() -> Plan:
    """Every action, every kind of change, refused and warned of: what a reviewer dreads."""
    swapped = step(
        live(realtimeConfiguration={"maxConcurrentCalls": 10}), SPEC, last_applied=MEMORY
    )
    model = replace(
        swapped.models[0], digest_before=f"sha256:1b4f0e98{'0' * 56}",
        digest_after=f"sha256:9f86d081{'0' * 56}", trust="streamed",
    )  # fmt: skip
    whole = {
        "location": "South Central US",
        "properties": {"title": "Income", "assets": definition(OLD)["properties"]["assets"]},
    }
    secrets = {"/properties/storageAccount/key": SecretReference(env="STORAGE_KEY")}
    other = {"definition": {"properties": {"storageAccount": {"name": "other"}}}}
    steps = (
        replace(swapped, models=(model,), labels={"team": "growth", "tier": "gold"}),
        step_of_every_shape("churn"),
        step(ABSENT, {**SPEC, "definition": whole}, secrets=secrets, name="income"),
        step(live(), other, name="basket"),
        make_removal(Resource(Address("WebService", "retired"), "/x/retired"), live(), ORPHAN),
        step(live(), {"definition": {"properties": {"readOnly": True}}}, name="frozen"),
        *(step(live(), SPEC, name=f"rental-{number:02}") for number in range(37)),
    )
    missing = Finding(
        f'trained model "{MODEL}": the model blob does not exist',
        subject="WebService/census",
        place=SourceLocation("manifests/census.yaml", 10, 7),
        detail=(NEW,),
        severity="warning",
    )
    made = plan(
        *steps, findings=(*check_guards(steps, GuardLimits(), 30, ()), missing), baseline="lost"
    )
    inputs = Inputs(
        "bike-rental",
        {"manifests/census.yaml": "sha256:0"},
        cloud="https://management.azure.com",
        commit="4f1c2aa9b1d2e3f4a5b6c7d8e9f0a1b2c3d4e5f6",
        dirty=True,
        differing=("manifests/census.yaml", "rows.csv"),
        excluded=("WebService/late",),
    )
    quiet, old = (
        tuple(Resource(Address("WebService", f"{word}-{n}"), f"/x/{word}-{n}") for n in range(3))
        for word in ("quiet", "old")
    )
    hidden = {"WebService/quiet-1": ("/properties/keys/primary",)}
    return replace(made, inputs=inputs, unchanged=quiet, orphans=old, not_observable=hidden)


def updates(number: int) -> Plan:
    """As many updates, each another than every other."""

    def one(at: int) -> Step:
        spec = {
            "trainedModels": {MODEL: {"uri": NEW.replace("/census/", f"/census/{at:05}/")}},
            "definition": {
                "properties": {
                    "realtimeConfiguration": {"maxConcurrentCalls": 20},
                    "title": f"Service {at}",
                }
            },
        }
        before = live(realtimeConfiguration={"maxConcurrentCalls": 10})
        return step(before, spec, name=f"service-{at:05}", last_applied=MEMORY)

    return plan(*(one(at) for at in range(number)))


FLEET = Address("Fleet", "bike-rental")


@functools.cache
def member(number: int, calls: int = 20, folder: str = "models/rental") -> Step:
    """One of a fleet, whose model is its own: an update with a drift of the calls."""
    spec = {
        "trainedModels": {MODEL: {"uri": f"https://acct.example.org/{folder}/v2/{number:03}.il"}},
        "definition": {"properties": {"realtimeConfiguration": {"maxConcurrentCalls": calls}}},
    }
    before = live(realtimeConfiguration={"maxConcurrentCalls": 10})
    before["properties"]["assets"]["asset3"]["locationInfo"]["uri"] = (
        f"https://acct.example.org/models/rental/v1/{number:03}.il"
    )
    made = step(before, spec, name=f"loc{number:03}", last_applied=MEMORY)
    item = Member(FLEET, number, SourceLocation("manifests/locations.csv", number + 1, 1))
    return replace(made, fleet=FLEET, stage=0 if number == 1 else 1, member=item)


def joins(number: int, title: str = "") -> Step:
    """One that a fleet gains: created, with a model of its own."""
    model = {"uri": f"https://acct.example.org/models/rental/v2/{number:03}.il"}
    assets = definition(OLD)["properties"]["assets"]
    body = {"location": "South Central US", "properties": {"title": title, "assets": assets}}
    spec = {"trainedModels": {MODEL: model}, "definition": body}
    return replace(step(ABSENT, spec, name=f"loc{number:03}"), fleet=FLEET, stage=1)


def leaves(number: int) -> Step:
    """One whose row is gone from the fleet's file."""
    resource = Resource(Address("WebService", f"loc{number:03}"), f"/x/loc{number:03}")
    return replace(make_removal(resource, live(), ORPHAN), fleet=FLEET)

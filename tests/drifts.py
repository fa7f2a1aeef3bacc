"""Drift reports for tests of what shows them: each verdict, fleets, ages, runs and rules."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from reconciler.model import (
    Address,
    Drift,
    DriftReport,
    DriftRun,
    IgnoreRule,
    Inputs,
    LastApplied,
    Refresh,
    Resource,
    ResourceStatus,
    SourceLocation,
    Verdict,
)

NOW = "2026-11-30T06:00:00Z"
APPLIED = LastApplied("/x", "2026-11-18T09:00:00Z", "ci", "4f1c2aa9d0e1", owned={})
MODELS = "https://models.blob.core.windows.net/trained"
URI = "/properties/assets/asset3/locationInfo/uri"
FLEET = Address("Fleet", "rental")


def resource(name: str, kind: str = "WebService") -> Resource:
    group = "/subscriptions/11111111-2222-3333-4444-555555555555/resourceGroups/ml"
    return Resource(Address(kind, name), f"{group}/providers/Microsoft.MachineLearning/{name}")


def status(name: str, verdict: Verdict = Verdict.IN_SYNC, **more: Any) -> ResourceStatus:
    made = ResourceStatus(resource(name), verdict, APPLIED, NOW)
    return replace(made, **more)


def commands(name: str) -> tuple[str, ...]:
    return (
        f"reconciler apply --target WebService/{name}",
        f"reconciler drift --accept WebService/{name}",
    )


def finding(name: str, verdict: Verdict, pointer: str = "", **more: Any) -> Drift:
    made = Drift(resource(name), verdict, pointer, commands=commands(name), is_new=False)
    return replace(made, **more)


def make_report(
    statuses: Sequence[ResourceStatus], findings: Sequence[Drift] = (), **more: Any
) -> DriftReport:
    unknown = sum(one.verdict is Verdict.INCOMPLETE for one in statuses)
    number = len(statuses)
    made = DriftReport(
        statuses=tuple(statuses),
        findings=tuple(findings),
        inputs=Inputs(
            "bike-rental", {"a.yaml": ""}, "azure", "4f1c2aa9d0e1c5b3", environment="prod"
        ),
        refresh=Refresh("auto", number - unknown, number, number // 100 + 1, 140.0),
        made_at=NOW,
        baseline="kept",
    )
    return replace(made, **more)


def rich_findings() -> list[Drift]:
    """One of each verdict, two for one service, and one whose value is sensitive."""
    place = SourceLocation("manifests/census.yaml", 9, 7)
    model = {day: f"{MODELS}/census/{day}/model.ilearner" for day in ("2026-11-18", "2026-11-27")}
    return [
        finding(
            "census", Verdict.MODEL_SWAPPED, URI, since="2026-11-30T01:12:00Z", is_new=True,
            remembered=model["2026-11-18"], live=model["2026-11-27"],
            declared=model["2026-11-18"], note='trained model "Census Model"', place=place,
        ),
        finding(
            "census", Verdict.DRIFTED, "/properties/description", since="2026-11-26T06:00:00Z",
            remembered="Predicts the income of a person", live="Predicts the income of a household",
            note="no manifest declares it", commands=commands("census")[1:],
        ),
        finding(
            "churn", Verdict.CONFLICT, "/properties/realtimeConfiguration/maxConcurrentCalls",
            since="2026-11-24T06:00:00Z", remembered=10, live=50, declared=20,
            place=SourceLocation("manifests/churn.yaml", 14, 5),
        ),
        finding(
            "basket", Verdict.MISSING, since="2026-11-29T22:40:00Z", is_new=True,
            note="it existed when last applied 2026-11-18 by ci@4f1c2aa",
            commands=(commands("basket")[0], "reconciler forget WebService/basket"),
        ),
        finding(
            "frozen", Verdict.FAILED, since="2026-11-29T06:00:00Z",
            note="the last operation failed: the package cannot be loaded",
            commands=("reconciler plan --target WebService/frozen",),
        ),
        finding(
            "digits", Verdict.ARTIFACT_MUTATED, URI, since="2026-11-12T06:00:00Z",
            remembered="sha256:1f0a", live="sha256:88c3",
            note="the bytes at this address have changed", place=place,
        ),
        finding(
            "fraud", Verdict.CREDENTIAL_EXPIRING, URI, since="2026-11-20T06:00:00Z", hidden=True,
            note="the signature ends 2026-12-08T00:00:00Z",
        ),
        finding(
            "prices", Verdict.PENDING, "/tags", since="2026-11-30T05:00:00Z",
            remembered={"team": "growth"}, live={"team": "growth"},
            declared={"team": "growth", "cost": "4711"}, commands=commands("prices")[:1],
        ),
        finding(
            "shadow", Verdict.UNMANAGED, since="2026-10-02T06:00:00Z", note="no manifest names it",
            commands=(f"reconciler import WebService/shadow {resource('shadow').id}",),
        ),
        finding(
            "silent", Verdict.INCOMPLETE, note="the service answered 503 three times",
            commands=("reconciler drift --refresh full",),
        ),
        finding("churn", Verdict.NOT_OBSERVABLE, "/properties/keys/primary", hidden=True,
                note="set when last applied 2026-11-18 by ci@4f1c2aa"),
    ]  # fmt: skip


def fleet_findings(numbers: Sequence[int]) -> list[Drift]:
    return [
        finding(
            f"loc{number:03}", Verdict.DRIFTED, "/properties/title", since="2026-11-23T06:00:00Z",
            remembered="Rentals an hour", live=f"Rentals an hour, station {number}",
            note="no manifest declares it", fleet=FLEET,
        )
        for number in numbers
    ]  # fmt: skip


def rule(reason: str, until: str, line: int = 1, **more: Any) -> IgnoreRule:
    made = IgnoreRule(
        "WebService/*", "/properties/description", Verdict.DRIFTED, reason, until, "ana",
        SourceLocation(".driftignore", line, 3),
    )  # fmt: skip
    return replace(made, **more)


def make_runs(number: int) -> tuple[DriftRun, ...]:
    """Runs of the last nights; the counts rise and fall."""
    return tuple(
        DriftRun(
            f"2026-11-{day:02}T06:00:00Z",
            f"{day:02}f1c2aa9d0e1",
            {
                Verdict.IN_SYNC: 240 - day,
                Verdict.DRIFTED: (day * 7) % 13,
                Verdict.MODEL_SWAPPED: (day * 3) % 5,
                Verdict.PENDING: day % 4,
                Verdict.INCOMPLETE: 3 if day == 21 else 0,
            },
        )
        for day in range(31 - number, 31)
    )


def rich_report() -> DriftReport:
    """Every verdict, 236 services, a fleet of which twelve moved alike, 30 runs and two rules."""
    findings = rich_findings()
    moved = [*range(17, 29)]
    verdicts: dict[str, Verdict] = {}
    for one in findings:
        if one.verdict is not Verdict.NOT_OBSERVABLE:
            verdicts.setdefault(one.resource.address.name, one.verdict)
    verdicts |= {"churn": Verdict.CONFLICT, "silent": Verdict.INCOMPLETE}
    members = [
        status(f"loc{n:03}", Verdict.DRIFTED if n in moved else Verdict.IN_SYNC, fleet=FLEET)
        for n in range(1, 201)
    ]
    alone = [status(name, verdict) for name, verdict in verdicts.items()]
    alone = [
        replace(one, last_applied=None) if one.verdict is Verdict.UNMANAGED else one
        for one in alone
    ]
    calm = [status(f"score-{n:02}") for n in range(1, 27)]
    ignored = finding(
        "score-03", Verdict.DRIFTED, "/properties/description", remembered="Scores", live="scores",
        rule=rule("The portal changes the case of each description", "2026-12-04"),
    )  # fmt: skip
    return make_report(
        [*members, *alone, *calm],
        [*findings, *fleet_findings(moved)],
        ignored=(ignored,),
        expired=(rule("Waits for the new release", "2026-11-27", 8, address="WebService/churn"),),
        runs=make_runs(30),
    )


def many_report(number: int, away: int) -> DriftReport:
    """So many services, of which the first of each hundred and so on are not in sync."""
    every = number // away if away else number + 1
    statuses, findings = [], []
    verdicts = [Verdict.DRIFTED, Verdict.MODEL_SWAPPED, Verdict.PENDING, Verdict.MISSING]
    for n in range(number):
        name, verdict = f"service-{n:05}", verdicts[n // every % 4]
        moved = n % every == 0 and n // every < away
        statuses.append(status(name, verdict if moved else Verdict.IN_SYNC))
        if moved:
            pointer = "" if verdict is Verdict.MISSING else "/properties/title"
            findings.append(
                finding(name, verdict, pointer, since="2026-11-23T06:00:00Z", remembered="One title",
                        live=f"Another title {n}", declared="One title")
            )  # fmt: skip
    return make_report(statuses, findings, runs=make_runs(30))


def two_reports() -> list[DriftReport]:
    """A quiet environment, and one where not all could be read."""
    dev = make_report([status(f"score-{n:02}") for n in range(1, 13)], runs=make_runs(5))
    dev = replace(dev, inputs=replace(dev.inputs, environment="dev"))
    lost = finding("score-02", Verdict.INCOMPLETE, note="no answer")
    prod = make_report(
        [status("score-01"), status("score-02", Verdict.INCOMPLETE), status("score-03")], [lost]
    )
    return [dev, prod]

"""Drift of a fleet's members: told once where it is the same, and each in what machines read."""

import json
from dataclasses import replace
from typing import Any

from reconciler.engine.drift import report_drift
from reconciler.errors import Unavailable
from reconciler.model import (
    ABSENT,
    Address,
    Drift,
    DriftReport,
    LastApplied,
    Member,
    SourceLocation,
    Verdict,
)
from reconciler.plans.drift_file import drift_document
from reconciler.render.drift.markdown import render_drift_markdown
from reconciler.render.drift.text import render_drift
from reconciler.render.words.colour import Paint
from reconciler.text.json_text import canonical
from tests.golden import check
from tests.outputs import check_output
from tests.unit.test_engine import NEW, World, make_request, run, world_of

FLEET = Address("Fleet", "rental")
NAMES = [f"loc{number:03}" for number in range(1, 41)]
PLAIN = Paint()


def drifted() -> World:
    """Forty that were applied alike, and moved by somebody since: most in the same places."""
    world = world_of(*NAMES, "census")
    run(world, *NAMES, "census")
    for entry in world.kept:
        world.ledger.more[entry.address] = replace(LastApplied.of(entry), sequence=1)
    for number, name in enumerate(NAMES):
        assets = world.documents[name]["properties"]["assets"]
        assets["asset3"]["locationInfo"]["uri"] = NEW.replace("/m/", f"/m/{number}/")
    del world.documents["loc005"]
    for name in ("loc007", "loc008", "loc009", "loc030"):
        world.fails[name] = Unavailable(f"no answer: {name}", status=500)
    for name in ("census", "loc011", "loc012"):
        world.documents[name]["properties"]["title"] = "another"
    return world


def report(world: World, **more: Any) -> DriftReport:
    asked = make_request(*NAMES, "census", refresh="full", **more)
    of_fleet = [
        replace(one, member=Member(FLEET, number, SourceLocation("rental.csv", number + 1, 1)))
        for number, one in enumerate(asked.manifests[:-1], 1)
    ]
    return report_drift(world.runtime(), replace(asked, manifests=[*of_fleet, asked.manifests[-1]]))


def test_what_moved_alike_is_told_once_and_who_is_odd_apart() -> None:
    reported = report(drifted())
    check("fleet-drift", render_drift(reported, paint=PLAIN))
    check("fleet-drift-comment", render_drift_markdown(reported).removesuffix("\n"))


def test_a_document_tells_of_each_whose_member_it_is() -> None:
    document = json.loads(canonical(drift_document(report(drifted()))))
    check_output(document, "drift")
    assert len(document["resources"]) == 41
    for one in (*document["resources"], *document["findings"]):
        assert one["fleet"] == (None if one["address"].endswith("census") else "Fleet/rental")


def test_a_secret_is_not_told_where_members_differ() -> None:
    reported = report(drifted())
    hidden = tuple(
        replace(one, hidden=True, remembered=ABSENT, live=ABSENT, declared=ABSENT)
        for one in reported.findings
    )
    for text in (
        render_drift(replace(reported, findings=hidden), paint=PLAIN),
        render_drift_markdown(replace(reported, findings=hidden)),
    ):
        assert NEW not in text
        assert "different for each" not in text


def test_the_first_day_of_a_fleet_is_the_earliest() -> None:
    reported = report(drifted())
    findings = tuple(
        replace(one, since=f"2026-11-{number % 9 + 11:02}T12:00:00Z")
        for number, one in enumerate(reported.findings)
    )
    text = render_drift(replace(reported, findings=findings), paint=PLAIN)
    assert text.count("first seen 2026-11-11, 9 d ago") >= 1


def test_commands_that_know_no_fleet_are_for_each() -> None:
    reported = report(drifted())
    odd = tuple(
        Drift(
            one.resource,
            Verdict.DRIFTED,
            commands=(
                f"reconciler forget {one.resource.address}",
                f"reconciler apply --target {one.resource.address} --rotate {one.resource.address}",
            ),
            fleet=one.fleet,
        )
        for one in reported.statuses
    )
    text = render_drift(replace(reported, findings=odd), paint=PLAIN)
    assert "resolve: reconciler forget WebService/loc001, and so on\n" in text
    assert "or:      reconciler apply --target Fleet/rental --rotate Fleet/rental\n" in text


def test_how_many_members_have_a_new_finding_is_counted() -> None:
    reported = report(drifted())
    findings = tuple(
        replace(one, is_new=number % 2 == 0) for number, one in enumerate(reported.findings)
    )
    for text in (
        render_drift(replace(reported, findings=findings), paint=PLAIN),
        render_drift_markdown(replace(reported, findings=findings)),
    ):
        assert "of 33 new)" in text
        assert "Findings: 22 new, 21 known." in text

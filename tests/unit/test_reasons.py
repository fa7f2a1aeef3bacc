"""Why each change is planned: the manifest, somebody else, both, a label; and what others moved."""

import pytest

from reconciler.kinds.web_service import KIND
from reconciler.model import (
    ABSENT,
    Address,
    Cause,
    Inputs,
    Json,
    LastApplied,
    Manifest,
    Plan,
    Reason,
    Refresh,
    Resource,
    SecretReference,
)
from reconciler.plans.plan_file import plan_document
from reconciler.plans.reasons import explain_changes
from reconciler.plans.step import Comparison, make_step
from tests.e2e.world import definition

CALLS = "/properties/realtimeConfiguration/maxConcurrentCalls"
KEY = "/properties/keys/primary"
RESOURCE = Resource(Address("WebService", "census"), "/x/census")


def last_applied(value: Json, label: str = "") -> LastApplied:
    labels = {KEY: label} if label else {}
    return LastApplied(
        "/x",
        "2026-11-02T08:00:00Z",
        "ci",
        "4f1c2aa9b1d2",
        {CALLS: value},
        secrets=labels,
        sequence=7,
    )


def explain(
    live: int | None,
    declared: int,
    then: LastApplied | None,
    *,
    secret: str = "",
    known: bool = True,
    rotate: bool = False,
) -> list[Reason]:
    document: Json = ABSENT
    if live is not None:
        document = definition("https://a/b/c.ilearner")
        document["properties"]["realtimeConfiguration"] = {"maxConcurrentCalls": live}
    spec = {
        "definition": {"properties": {"realtimeConfiguration": {"maxConcurrentCalls": declared}}}
    }
    bound = KIND.bind(Manifest(RESOURCE.address, spec, "", ""), document)
    secrets = {KEY: SecretReference(env="KEY", version=secret)} if secret else {}
    comparison = Comparison(RESOURCE, KIND.field, document, bound, secrets, then, known, rotate)
    step = make_step(comparison)
    assert step is not None
    return list(explain_changes(comparison, step.changes))


@pytest.mark.parametrize(
    ("live", "declared", "then", "cause", "note"),
    [
        (10, 20, last_applied(10), Cause.MANIFEST, ""),
        (10, 20, None, Cause.MANIFEST, ""),
        (
            10,
            20,
            last_applied(20),
            Cause.DRIFT,
            "drift: was 20 when last applied 2026-11-02 by ci@4f1c2aa",
        ),
        (
            10,
            20,
            last_applied(15),
            Cause.CONFLICT,
            "conflict: was 15 when last applied 2026-11-02 by ci@4f1c2aa",
        ),
    ],
)
def test_who_moved_is_told_of_each_change(
    live: int, declared: int, then: LastApplied | None, cause: Cause, note: str
) -> None:
    (reason,) = explain(live, declared, then)
    assert (reason.pointer, reason.cause, reason.note) == (CALLS, cause, note)


def test_without_a_ledger_nobody_knows_who_moved() -> None:
    (reason,) = explain(10, 20, None, known=False)
    assert reason.cause is Cause.UNKNOWN


def test_what_is_not_there_is_new_or_gone() -> None:
    (new,) = explain(None, 20, None)
    (gone,) = explain(None, 20, last_applied(20))
    assert (new.cause, new.note) == (Cause.NEW, "")
    assert gone.cause is Cause.GONE
    assert gone.note == "it is gone: it existed when last applied 2026-11-02 by ci@4f1c2aa"


def test_a_label_that_moved_is_a_reason_and_so_is_the_flag() -> None:
    (moved,) = explain(20, 20, last_applied(20, "2026-q3"), secret="2026-q4")
    assert (moved.pointer, moved.cause) == (KEY, Cause.VERSION)
    assert moved.note == 'version label: was "2026-q3" when last applied 2026-11-02 by ci@4f1c2aa'
    (rotated,) = explain(20, 20, last_applied(20, "q"), secret="q", rotate=True)
    assert rotated.cause is Cause.ROTATE
    (first,) = explain(20, 20, last_applied(20), secret="q")
    assert (first.cause, first.note) == (Cause.MANIFEST, "")


def test_what_others_moved_stands_in_the_document_as_terraform_has_it() -> None:
    live = definition("https://a/b/c.ilearner")
    live["properties"]["realtimeConfiguration"] = {"maxConcurrentCalls": 10}
    spec = {"definition": {"properties": {"realtimeConfiguration": {"maxConcurrentCalls": 20}}}}
    bound = KIND.bind(Manifest(RESOURCE.address, spec, "", ""), live)
    comparison = Comparison(RESOURCE, KIND.field, live, bound, {}, last_applied(20))
    step = make_step(comparison)
    assert step is not None
    from dataclasses import replace

    reported = replace(step, reasons=tuple(explain_changes(comparison, step.changes)))
    plan = Plan(
        (reported,),
        (),
        (),
        Inputs("p", {}),
        Refresh("full", 1, 1, 1),
        "2026-11-20T12:00:00Z",
        "kept",
    )
    (drift,) = plan_document(plan)["resource_drift"]
    assert drift["address"] == "WebService/census"
    assert drift["pointers"] == [CALLS]
    at = {"properties": {"realtimeConfiguration": {"maxConcurrentCalls": 20}}}
    assert drift["change"]["before"] == at
    assert drift["change"]["after"]["properties"]["realtimeConfiguration"] == {
        "maxConcurrentCalls": 10
    }

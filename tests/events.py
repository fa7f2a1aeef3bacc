"""One event of every kind, for tests of what tells them."""

import typing
from dataclasses import replace

from reconciler.model import (
    Action,
    Address,
    Agenda,
    CheckEnded,
    CheckStarted,
    CheckWaiting,
    CycleEnded,
    CycleStarted,
    DataUploaded,
    DriftReport,
    Finding,
    FleetStopped,
    Inputs,
    IntentResolved,
    JobReported,
    LockAwaited,
    LockOwner,
    ModelVerified,
    Refresh,
    Refreshed,
    Refreshing,
    Resource,
    ResourceStatus,
    Retrying,
    RevertStarted,
    RollbackStarted,
    RunJoined,
    ShownEvent,
    StepDone,
    StepDoubted,
    StepFailed,
    StepHalted,
    StepResult,
    StepSkipped,
    StepStarted,
    StepWaiting,
    Throttling,
    Verdict,
    WavePaused,
    WaveStarted,
    WriteDelayed,
    WriteDone,
    WriteStarted,
)
from reconciler.model.watch import Cycle, CycleOutcome

STEPS = (Action.CREATE, Action.UPDATE, Action.REPLACE, Action.DELETE)
CENSUS = Resource(Address("WebService", "census"), "/x/CensusPre.2016.8.17")
LOCK_OWNER = LockOwner(
    id="5f0c",
    who="ci",
    why="apply",
    host="builder",
    pid=4711,
    started="99",
    since="2026-11-24T10:00:00Z",
    commit="4f1c2aa",
    fence=7,
)
FLEET = Address("Fleet", "bike-rental")
UPDATE = Action.UPDATE
AT = "2026-11-24T10:00:00Z"


def make_report() -> DriftReport:
    """A report in which one resource is in sync."""
    return DriftReport(
        statuses=(ResourceStatus(CENSUS, Verdict.IN_SYNC, observed_at=AT),),
        findings=(),
        inputs=Inputs(project="census", files={}),
        refresh=Refresh("full", 1, 1, 1),
        made_at=AT,
        baseline="kept",
    )


def every_event() -> list[ShownEvent]:
    """Every kind of event at least once; each action where it has words of its own."""
    events: list[ShownEvent] = [
        LockAwaited(LOCK_OWNER, 1.5),
        LockAwaited(replace(LOCK_OWNER, why="watch"), 1.0),
        IntentResolved(CENSUS, UPDATE, StepResult.DONE, ""),
        IntentResolved(CENSUS, UPDATE, StepResult.NOT_DONE, "live is as it was"),
        IntentResolved(
            CENSUS, UPDATE, StepResult.UNKNOWN, "live is neither as it was nor as was wanted"
        ),
        Agenda(reads=1),
        Refreshing(CENSUS),
        Refreshed(CENSUS),
        Refreshed(CENSUS, failed=True),
        Agenda(steps=((CENSUS.address, UPDATE),)),
        WaveStarted(1, 1),
        WaveStarted(2, 14),
        WaveStarted(2, 1_099, FLEET, 3),
        WavePaused(FLEET, 29.2),
        FleetStopped(FLEET, 1, 0),
        *(StepStarted(CENSUS, action) for action in STEPS),
        *(StepWaiting(CENSUS, action, 10.4) for action in STEPS),
        StepDoubted(CENSUS, UPDATE, "the service reports success and still has the old value."),
        *(StepDone(CENSUS, action, 72.9) for action in STEPS),
        StepDone(CENSUS, UPDATE, 72.9, "proven: 120 rows are answered as recorded"),
        ModelVerified(CENSUS, "proven", "120 rows are answered as recorded"),
        StepFailed(CENSUS, UPDATE, Finding("it went wrong", next_step="Plan again.")),
        StepSkipped(CENSUS, UPDATE, "this plan has already done it"),
        WriteStarted(CENSUS, 2, 6, "green gets 10 % of the traffic"),
        WriteDone(CENSUS, 2, 6, "green gets 10 % of the traffic", 21.4),
        WriteDelayed(CENSUS, 3, 6, "green gets 50 % of the traffic", 59.2),
        CheckStarted(CENSUS, "green answers 20 calls"),
        CheckWaiting(CENSUS, "green answers 20 calls", "12 of 20 calls", 10.4),
        CheckWaiting(CENSUS, "green answers 20 calls", "", 10.4),
        CheckEnded(CENSUS, "green answers 20 calls", True, "20 of 20 answers are right", 12.0),
        CheckEnded(CENSUS, "green answers 20 calls", False, "answer 3 has 0.2 for 0.9.", 3.0),
        RevertStarted(CENSUS, 2),
        WriteStarted(CENSUS, 0, 6, "blue gets all traffic"),
        WriteDone(CENSUS, 0, 6, "blue gets all traffic", 5.0),
        StepHalted(CENSUS, UPDATE, 2, 6),
        RollbackStarted(3),
        JobReported(
            Address("Retraining", "census"), "20261129T190512Z-3f2a", "b0f1e2", "Running", 61.5
        ),
        RunJoined(Address("Retraining", "census"), "20261129T190512Z-3f2a"),
        RunJoined(Address("Retraining", "census"), "20261129T190512Z-3f2a", submitted=False),
        JobReported(
            Address("Retraining", "census"), "20261129T190512Z-3f2a", "b0f1e2", "NotStarted", 1.0
        ),
        DataUploaded(
            Address("Retraining", "census"),
            "manifests/census.csv",
            "https://acct.blob.core.windows.net/data/20261129T190512Z-3f2a.csv",
        ),
        Retrying("GET management.azure.com", "throttled", 7.0),
        Throttling("reads of management.azure.com", "The limit has been reached.", 6.2),
        CycleStarted("3f2a5b0c9d1e", ""),
        CycleStarted("3f2a5b0c9d1e", "prod"),
        CycleEnded(Cycle("3f2a5b0c9d1e", "", AT, AT, CycleOutcome.IN_SYNC, make_report())),
        CycleEnded(
            Cycle(
                "3f2a5b0c9d1e",
                "prod",
                AT,
                AT,
                CycleOutcome.DRIFT,
                make_report(),
                applied=(CENSUS.address,),
                quarantined=(CENSUS.address,),
                left=(Finding("it is left", subject="WebService/census"),),
                plan_s=0.25,
                apply_s=12.3456,
            )
        ),
        CycleEnded(Cycle("3f2a5b0c9d1e", "", AT, AT, CycleOutcome.STANDBY, leader=LOCK_OWNER)),
        CycleEnded(
            Cycle(
                "3f2a5b0c9d1e",
                "prod",
                AT,
                AT,
                CycleOutcome.FAILED,
                errors=(Finding("it is wrong", subject="Project"), Finding("so is this")),
            )
        ),
        CycleEnded(Cycle("3f2a5b0c9d1e", "", AT, AT, CycleOutcome.INTERRUPTED)),
    ]
    assert {type(event) for event in events} == set(typing.get_args(ShownEvent))
    return events

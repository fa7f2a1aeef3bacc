"""When `watch` is alive and ready, by a clock that the test holds."""

from dataclasses import replace

from reconciler.model import Action, Finding, StepWaiting, Verdict
from reconciler.model.watch import CycleOutcome
from reconciler.telemetry.health import Health
from tests.clocks import FakeClock
from tests.cycles import cycle, report, resource

READ = cycle(CycleOutcome.IN_SYNC, report(a=Verdict.IN_SYNC))
BLIND = cycle(CycleOutcome.INCOMPLETE, report(a=Verdict.INCOMPLETE))
STANDBY = cycle(CycleOutcome.STANDBY)


def make(interval_s: float = 600.0) -> tuple[Health, FakeClock]:
    clock = FakeClock()
    return Health(interval_s, clock), clock


def test_it_is_alive_while_cycles_read() -> None:
    health, clock = make()
    for _ in range(5):
        clock.now += 600
        health.note_cycle(READ)
        assert health.is_alive() == (True, "alive")


def test_three_intervals_without_a_read_are_too_many() -> None:
    health, clock = make()
    health.note_cycle(READ)
    for _ in range(3):
        clock.now += 600
        health.note_cycle(BLIND)
        assert health.is_alive()[0]
    clock.now += 1
    assert health.is_alive() == (False, "prod: no cycle has read anything for 31 min")
    health.note_cycle(READ)
    assert health.is_alive()[0]


def test_a_failed_or_interrupted_cycle_reads_nothing() -> None:
    for outcome in (CycleOutcome.FAILED, CycleOutcome.INTERRUPTED):
        health, clock = make()
        clock.now += 1801
        health.note_cycle(cycle(outcome))
        assert not health.is_alive()[0]


def test_a_start_that_never_reads_is_not_alive() -> None:
    health, clock = make()
    assert health.is_alive()[0]
    clock.now += 1801
    assert not health.is_alive()[0]
    health.select(["prod"])
    assert health.is_alive()[0]
    clock.now += 1801
    assert not health.is_alive()[0]


def test_each_environment_must_be_read() -> None:
    health, clock = make()
    health.select(["prod", "test"])
    for _ in range(4):
        clock.now += 600
        health.note_cycle(READ)
    assert health.is_alive() == (False, "test: no cycle has read anything for 40 min")
    health.select(["prod"])
    assert health.is_alive()[0]


def test_a_standby_is_alive_and_ready() -> None:
    health, clock = make()
    clock.now += 1801
    health.note_cycle(STANDBY)
    assert health.is_alive()[0]
    assert health.is_ready()[0]


def test_an_apply_that_waits_is_alive() -> None:
    health, clock = make()
    health.note_cycle(READ)
    for _ in range(40):
        clock.now += 60
        health.note_event(StepWaiting(resource("a"), Action.UPDATE, 60.0))
    assert health.is_alive()[0]
    clock.now += 1801
    assert not health.is_alive()[0]


def test_a_cycle_that_takes_longer_than_the_interval_counts_in_its_place() -> None:
    health, clock = make(interval_s=10.0)
    clock.now += 100
    health.note_cycle(READ, took_s=100.0)
    clock.now += 290
    assert health.is_alive()[0]
    clock.now += 11
    assert not health.is_alive()[0]


def test_it_is_ready_once_each_environment_was_read() -> None:
    health, _ = make()
    assert health.is_ready() == (False, "no cycle has ended yet")
    health.select(["prod", "test"])
    health.note_cycle(BLIND)
    assert health.is_ready() == (
        False,
        "prod: no cycle has read anything yet; test: no cycle has read anything yet",
    )
    health.note_cycle(READ)
    assert health.is_ready() == (False, "test: no cycle has read anything yet")
    health.note_cycle(cycle(CycleOutcome.DRIFT, report("test", a=Verdict.DRIFTED)))
    assert health.is_ready() == (True, "ready")
    health.note_cycle(BLIND)
    assert health.is_ready() == (True, "ready")


def test_a_project_without_resources_is_read() -> None:
    health, _ = make()
    health.note_cycle(cycle(CycleOutcome.IN_SYNC, report()))
    assert health.is_ready() == (True, "ready")


def test_errors_of_the_last_cycle_are_reported() -> None:
    health, _ = make()
    invalid = replace(READ, errors=(Finding("the project is not valid"),))
    health.note_cycle(invalid)
    assert health.is_alive() == (True, "alive; prod: the last cycle had errors")
    assert health.is_ready() == (True, "ready; prod: the last cycle had errors")
    health.note_cycle(READ)
    assert health.is_alive() == (True, "alive")

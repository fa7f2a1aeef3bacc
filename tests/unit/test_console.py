"""What a person sees while a command runs: a line for each event, and a bar for many."""

import subprocess
import sys
from dataclasses import replace

from reconciler.model import (
    Action,
    Address,
    Agenda,
    CheckEnded,
    CheckStarted,
    Finding,
    LockAwaited,
    Refreshed,
    Refreshing,
    Resource,
    RevertStarted,
    RollbackStarted,
    ShownEvent,
    StepDone,
    StepFailed,
    StepHalted,
    StepSkipped,
    StepStarted,
    StepWaiting,
    WriteDelayed,
    WriteDone,
    WriteStarted,
)
from reconciler.render.events.console import Console, describe
from reconciler.render.events.progress import ProgressBar
from reconciler.render.words.colour import Paint
from tests.clocks import FakeClock
from tests.events import LOCK_OWNER, UPDATE, every_event
from tests.golden import check

PLAIN = Paint()
FLEET = [Resource(Address("Endpoint", f"rentalloc{n:03}"), f"/x/{n:03}") for n in range(1000)]


def agenda(number: int) -> Agenda:
    return Agenda(steps=tuple((one.address, UPDATE) for one in FLEET[:number]))


def test_what_only_the_loop_and_metrics_need_is_imported_late() -> None:
    program = (
        "import sys, reconciler.render.events.console, reconciler.cli.metrics_file\n"
        "late = ('reconciler.render.drift', 'reconciler.telemetry')\n"
        "print([name for name in sys.modules if name.startswith(late)])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_every_event_has_its_line() -> None:
    lines = [line for event in every_event() if (line := describe(event, PLAIN)) is not None]
    check("events", "\n".join(lines))


def test_nothing_from_outside_moves_the_terminal() -> None:
    steer = "\x1b[2J\r\u202e"
    resource = Resource(Address("WebService", f"a{steer}"), f"/x/{steer}")
    finding = Finding(f"it said {steer}{'x' * 5000}")
    lock_owner = replace(LOCK_OWNER, who=steer, why=steer, host=steer, since=steer)
    events: list[ShownEvent] = [
        Refreshing(resource),
        StepStarted(resource, UPDATE),
        StepFailed(resource, UPDATE, finding),
        StepSkipped(resource, UPDATE, steer),
        LockAwaited(lock_owner, 1.0),
    ]
    for event in events:
        line = describe(event, PLAIN)
        assert line is not None
        assert not set(steer) & {"\x1b", "\r", "\u202e"} & set(line)
        assert len(line) < 1000


def test_a_fleet_is_a_bar_and_only_what_is_odd_has_a_line() -> None:
    clock = FakeClock()
    console = Console(PLAIN, clock)
    assert console.describe(agenda(1000)) is None
    lines: list[str | None] = []
    for one in FLEET[:213]:
        lines.append(console.describe(StepStarted(one, UPDATE)))
        clock.now += 1.5
        lines.append(console.describe(StepDone(one, UPDATE, 1.5)))
    failed, slow = FLEET[213:215]
    lines.append(console.describe(StepStarted(failed, UPDATE)))
    lines.append(console.describe(StepFailed(failed, UPDATE, Finding("it went wrong"))))
    lines.append(console.describe(StepWaiting(slow, UPDATE, 10.0)))
    assert [line for line in lines if line] == [
        "Endpoint/rentalloc213: Failed: it went wrong",
        "Endpoint/rentalloc214: Still modifying... [10s elapsed]",
    ]
    assert console.draw(100) == (
        "Applying  [#####-----------------------]  214/1,000  1 failed  20 min left  40/min"
    )
    coloured = Console(Paint(enabled=True), clock)
    coloured.describe(agenda(11))
    assert "\x1b[1mApplying\x1b[0m" in coloured.draw(100)


def test_the_writes_and_passed_checks_of_a_fleet_have_no_line_beside_its_bar() -> None:
    console = Console(PLAIN, lambda: 0.0)
    one = Resource(Address("WebService", "s1"), "/x/s1")
    console.describe(Agenda(steps=tuple((one.address, UPDATE) for _ in range(11))))
    console.describe(StepStarted(one, UPDATE))
    for quiet in (
        WriteStarted(one, 1, 2, "create green"),
        WriteDone(one, 1, 2, "create green", 1.0),
        WriteDelayed(one, 2, 2, "traffic", 60.0),
        CheckStarted(one, "it answers"),
        CheckEnded(one, "it answers", True, "20 of 20", 1.0),
    ):
        assert console.describe(quiet) is None
    failed = console.describe(CheckEnded(one, "it answers", False, "it says 3", 1.0))
    assert failed == "WebService/s1: Check failed after 1s: it answers: it says 3"
    assert console.describe(RevertStarted(one, 1)) == "WebService/s1: Reverting in 1 write"
    console.describe(StepHalted(one, UPDATE, 1, 2))
    assert "1/11" in console.draw(80)


def test_the_bar_keeps_to_its_width_whatever_that_is() -> None:
    progress = ProgressBar("Applying", 1000, 0.0, done=213, failed=1)
    for width in range(1, 200):
        assert len(progress.draw(320.0, width, PLAIN)) < max(width, 1), width
    assert "[" in progress.draw(320.0, 80, PLAIN)
    assert progress.draw(320.0, 51, PLAIN) == "Applying  214/1,000  1 failed  20 min left  40/min"
    assert progress.draw(320.0, 40, PLAIN) == "Applying  214/1,000  1 failed"
    assert progress.draw(320.0, 5, PLAIN) == "Appl"


def test_before_anything_has_ended_no_rate_and_no_time_are_made_up() -> None:
    assert ProgressBar("Applying", 11, 0.0).draw(9.0, 40, PLAIN) == f"Applying  [{'-' * 21}]  0/11"


def test_the_rate_counts_from_the_first_step_and_not_what_was_skipped() -> None:
    clock = FakeClock()
    console = Console(PLAIN, clock)
    console.describe(agenda(20))
    clock.now += 1000
    for one in FLEET[:8]:
        console.describe(StepSkipped(one, UPDATE, "this plan has already done it"))
    console.describe(StepStarted(FLEET[8], UPDATE))
    clock.now += 30
    console.describe(StepDone(FLEET[8], UPDATE, 30.0))
    console.describe(StepStarted(FLEET[9], UPDATE))
    clock.now += 30
    console.describe(StepDone(FLEET[9], UPDATE, 30.0))
    assert console.draw(60).endswith("10/20  5 min left  2/min")


def test_ten_steps_have_lines_and_no_bar() -> None:
    console = Console(PLAIN, FakeClock())
    console.describe(agenda(10))
    assert console.describe(StepStarted(FLEET[0], UPDATE)) is not None
    assert console.draw(100) == ""


def test_without_a_terminal_a_fleet_has_lines_and_no_bar() -> None:
    console = Console(PLAIN)
    console.describe(agenda(1000))
    assert console.describe(StepStarted(FLEET[0], UPDATE)) is not None
    assert console.describe(StepDone(FLEET[0], UPDATE, 1.0)) is not None
    assert console.draw(100) == ""


def test_many_reads_are_counted_and_drawn_until_the_last() -> None:
    clock = FakeClock()
    console = Console(PLAIN, clock)
    assert console.describe(Agenda(reads=11)) == "Refreshing state of 11 services..."
    for one in FLEET[:11]:
        assert "Refreshing" in console.draw(80)
        assert console.describe(Refreshing(one)) is None
        clock.now += 0.01
        console.describe(Refreshed(one))
    assert console.draw(80) == ""
    assert console.describe(Agenda(reads=10)) is None
    assert console.describe(Refreshing(FLEET[0])) is not None


def test_reads_are_told_before_steps_and_are_over_once_a_step_begins() -> None:
    console = Console(PLAIN, FakeClock())
    console.describe(agenda(20))
    console.describe(Agenda(reads=20))
    assert console.draw(80).startswith("Refreshing")
    console.describe(StepStarted(FLEET[0], UPDATE))
    assert console.draw(80).startswith("Applying")


def test_the_bar_is_gone_with_the_last_step_and_comes_again_for_a_rollback() -> None:
    console = Console(PLAIN, FakeClock())
    console.describe(agenda(12))
    for one in FLEET[:11]:
        console.describe(StepDone(one, UPDATE, 1.0))
        assert console.draw(80)
    console.describe(StepFailed(FLEET[11], UPDATE, Finding("it went wrong")))
    assert console.draw(80) == ""
    assert console.describe(RollbackStarted(11)) == "Rolling back: 11 steps, in reverse order"
    assert console.draw(80).startswith("Rolling back  [")
    console.describe(RollbackStarted(3))
    assert console.draw(80) == ""
    assert console.describe(StepStarted(FLEET[0], Action.DELETE)) is not None

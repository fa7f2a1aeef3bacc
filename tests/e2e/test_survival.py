"""An apply survives anything, in short form; `python -m tests.survival` takes its time."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.e2e.world import spawn_emulator
from tests.storage import need_storage, open_storage
from tests.survival.chaos import make_chaos
from tests.survival.cuts import cut_everywhere
from tests.survival.jobs import BRANCH, die_at_calls, open_trained
from tests.survival.kills import (
    HALF_DONE,
    WRITTEN,
    die_anytime,
    die_everywhere,
    die_half_done,
    open_harnesses,
)
from tests.survival.leaders import (
    BRIEF,
    end_leader,
    go_first,
    jump,
    kill_leader,
    lose_ledger,
    open_fleet,
    stop_leader,
)
from tests.survival.nursery import open_nursery
from tests.survival.places import End
from tests.survival.rivals import MET, kill_lock_owner, race
from tests.survival.shifts import IN_FLIGHT, die_at_every_call, die_in_turn, open_shifts
from tests.survival.soak import soak
from tests.survival.storage import die_where_it_counts, open_stored
from tests.survival.unattended import run_unattended
from tests.survival.verdict import Story

pytestmark = pytest.mark.e2e


def check_stories(stories: Iterable[Story]) -> list[str]:
    """Where each died, if all holds in all."""
    reported = list(stories)
    wrong = [str(story) for story in reported if story.wrong]
    assert not wrong, "\n".join(wrong)
    return [story.place for story in reported]


def test_a_kill_where_it_counts_most_is_made_good_by_the_next_run(tmp_path: Path) -> None:
    with open_harnesses(tmp_path, "--operation-seconds=0.05", count=2) as harnesses:
        died = check_stories(die_half_done(harnesses))
    assert died == [*HALF_DONE, *(f"half of {name}" for name in WRITTEN)]


@pytest.mark.slow
def test_a_kill_at_any_place_is_made_good_by_the_next_run(tmp_path: Path) -> None:
    with open_harnesses(tmp_path, "--operation-seconds=0.05") as harnesses:
        died = check_stories(die_everywhere(harnesses, everywhere=False))
    assert {
        "after ledger.intend",
        "about to send PATCH kept",
        "answered PATCH kept",
        "answered DELETE moved",
        "answered DELETE at",
        "answered PUT at",
        "about to send PUT moved",
        "before ledger.record",
        "half of after ledger.intend",
        "half of after ledger.record",
    } <= {place.removesuffix("-low").removesuffix("-high") for place in died}
    assert len(died) > 50


# The test above kills at the moments that count, in every run.
@pytest.mark.slow
@pytest.mark.parametrize(("services", "rounds"), [(12, 2), (40, 3)])
def test_a_kill_at_any_moment_is_made_good_by_the_next_run(
    tmp_path: Path, services: int, rounds: int
) -> None:
    with open_harnesses(tmp_path, "--operation-seconds=0.5", count=1) as (harness,):
        check_stories(die_anytime(harness, services=services, rounds=rounds, seed=1))


# Each leaves something half done: before a job, with a job that the ledger does not name, and after
# a job; the sixth line closes the run. One of each sort is in every run.
OF_A_JOB = [("after storage.upload", 1), ("answered POST start", 1), ("before ledger.record", 6)]
MORE_OF_A_JOB = [("answered POST jobs", 1), ("after ledger.record", 5), ("after write_whole", 1)]


@pytest.mark.parametrize("places", [OF_A_JOB, pytest.param(MORE_OF_A_JOB, marks=pytest.mark.slow)])
def test_a_kill_at_a_call_of_a_job_starts_no_second_one(
    tmp_path: Path, places: list[tuple[str, int]]
) -> None:
    with open_trained(tmp_path, storage=open_storage()) as trained:
        check_stories(trained.die(*place) for place in places)


# The second leaves all that the first leaves, and a branch that names it.
@pytest.mark.parametrize(
    "call", [pytest.param("commit-tree", marks=pytest.mark.slow), "update-ref"]
)
def test_a_kill_at_a_call_of_git_loses_no_proposal(tmp_path: Path, call: str) -> None:
    with open_trained(tmp_path, BRANCH, storage=open_storage()) as trained:
        check_stories([trained.die(f"after git {call}", 1)])


@pytest.mark.slow
@pytest.mark.parametrize("branch", ["", BRANCH])
def test_a_kill_at_any_call_of_a_job_starts_no_second_one(tmp_path: Path, branch: str) -> None:
    with open_trained(tmp_path, branch, storage=open_storage()) as trained:
        died = check_stories(die_at_calls(trained, rounds=1))
    assert {"about to send POST start", "answered POST start", "after storage.read"} <= {*died}
    assert len(died) > 30


# A deployment that the service has taken and the ledger not, and traffic that is half shifted.
OF_A_SHIFT = [("answered PUT {new}", 1), ("answered PUT {endpoint}", 1)]


def test_a_kill_in_a_rollout_leaves_traffic_whole_and_sends_nothing_twice(tmp_path: Path) -> None:
    with open_shifts(tmp_path, 1, "--operation-seconds=0.05", steps=(50, 100)) as shifts:
        died = check_stories(die_in_turn(shifts, (End(at, (name,)) for name, at in OF_A_SHIFT)))
    assert [name.split()[:2] for name in died] == [["answered", "PUT"]] * 2


# The two kills above hold the same in every run, and the law of
# test_staged_steps.py at every call of a service in memory.
@pytest.mark.slow
def test_a_kill_at_any_call_of_a_rollout_sends_nothing_twice(tmp_path: Path) -> None:
    with open_shifts(tmp_path, 4, "--operation-seconds=0.05", steps=(50, 100)) as shifts:
        died = check_stories(die_at_every_call(shifts, rounds=1))
    assert {"after ledger.intend", "within provider.write", "answered POST score"} <= {*died}
    assert len(died) > 100


# The same two, of which the second meets an operation that runs.
@pytest.mark.slow
def test_a_saved_plan_that_was_killed_amid_an_operation_sends_nothing_twice(
    tmp_path: Path,
) -> None:
    slow = "--operation-seconds=0.4"
    with open_shifts(tmp_path, 4, slow, steps=(50, 100), saved=True) as shifts:
        died = check_stories(die_at_every_call(shifts, rounds=1, among=IN_FLIGHT))
    assert {"within provider.write", "answered GET mfeOperationsStatus"} <= {*died}
    assert len(died) > 20


# A race in which the two meet is enough in every run; the others may or may not meet.
@pytest.mark.parametrize("times", [1, pytest.param(4, marks=pytest.mark.slow)])
def test_of_two_at_once_one_does_the_work(tmp_path: Path, times: int) -> None:
    with (
        open_harnesses(tmp_path, "--operation-seconds=0.3", count=1) as (harness,),
        open_nursery(tmp_path / "rival") as rival,
    ):
        harness.prepare()
        met = list[str]()
        while (MET not in met and len(met) < 12) or len(met) < times:
            met += check_stories([race(harness, rival)])
        assert MET in met
        check_stories(
            [race(harness, rival, "--lock-timeout", "60s"), kill_lock_owner(harness, rival)]
        )


@pytest.mark.slow
def test_a_power_cut_leaves_a_ledger_to_go_on_with(tmp_path: Path) -> None:
    with open_harnesses(tmp_path, "--operation-seconds=0.05", count=1) as (harness,):
        assert len(check_stories(cut_everywhere(harness))) > 40


@pytest.mark.slow
def test_a_kill_with_the_ledger_in_blob_storage_is_made_good(tmp_path: Path) -> None:
    log = f"--log={tmp_path / 'requests.jsonl'}"
    with (
        spawn_emulator("--operation-seconds=0.05", log) as emulator,
        open_stored(tmp_path, emulator, 3) as harnesses,
        open_nursery(tmp_path / "rival") as rival,
    ):
        assert len(check_stories(die_where_it_counts(harnesses, most=6))) >= 5
        check_stories([race(harnesses[0], rival)])


def test_of_a_service_gone_mad_only_what_is_not_so_is_told(tmp_path: Path) -> None:
    came = make_chaos(tmp_path, services=12, seed=1, throttled="PATCH")
    assert came.wrong == []
    assert {"throttle", "drop-reply", "silent-rollback"} <= set(came.faults)


@pytest.mark.slow
def test_a_soak_beside_a_second_writer_ends_as_it_is_declared(tmp_path: Path) -> None:
    came = soak(tmp_path, services=20, seconds=10, seed=1)
    assert came.wrong == []
    assert came.edits > 5
    assert len(came.peaks) > 2
    assert came.faults
    assert came.growth < 1.2


def test_a_leader_that_was_killed_is_followed_by_another(tmp_path: Path) -> None:
    with open_fleet(tmp_path, 3, "--operation-seconds=0.05") as fleet:
        check_stories([kill_leader(fleet)])


def test_a_person_who_applies_beside_the_loop_goes_first(tmp_path: Path) -> None:
    with open_fleet(tmp_path, 4, "--operation-seconds=0.6") as fleet:
        check_stories([go_first(fleet)])


@pytest.mark.slow
def test_a_leader_that_was_held_up_amid_an_apply_writes_nothing_more(tmp_path: Path) -> None:
    with open_fleet(tmp_path, 5, "--operation-seconds=0.6") as fleet:
        check_stories([stop_leader(fleet, 0.0, heartbeat=BRIEF), end_leader(fleet)])


@pytest.mark.slow
def test_a_loop_goes_on_after_its_ledger_was_away_and_its_clock_has_jumped(tmp_path: Path) -> None:
    with open_fleet(tmp_path, 5, "--operation-seconds=0.05") as fleet:
        check_stories([lose_ledger(fleet, 2.0, heartbeat=BRIEF), jump(fleet, 12)])


@pytest.mark.slow
def test_two_watches_with_the_ledger_in_blob_storage(tmp_path: Path) -> None:
    need_storage()
    with open_fleet(tmp_path, 3, "--operation-seconds=0.6", stored=True) as fleet:
        check_stories([kill_leader(fleet), go_first(fleet)])


@pytest.mark.slow
def test_a_loop_beside_a_second_writer_ends_as_it_is_declared(tmp_path: Path) -> None:
    came = run_unattended(tmp_path, services=20, seconds=20, seed=1, interval="1s")
    assert came.wrong == []
    assert came.edits >= 3
    assert came.applied >= 3
    assert came.looks >= 1
    assert came.faults
    assert came.growth < 1.3

"""One run of a retraining, through kills, other processes and lost answers: one job is started."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from reconciler.engine.training.run import (
    CANCELLED,
    ENDED,
    JUDGED,
    SUBMITTED,
    SUBMITTING,
    RunAuthor,
    RunRecord,
    TrainingPorts,
    TrainingRun,
    is_due_since,
)
from reconciler.errors import (
    BlobForbidden,
    ManifestInvalid,
    ReconcilerError,
    SecretMissing,
    StillRunning,
)
from reconciler.model import Address, Fact, LockOwner, RunJoined, SourceLocation
from reconciler.model.training import (
    BlobReference,
    JobState,
    JobStatus,
    Retraining,
    RowComparison,
    TrainingBlob,
)
from tests.clocks import FakeClock
from tests.ledgers import MemoryLedger

ADDRESS = Address("Retraining", "census")
OWNER = LockOwner("1", "me", "retrain", "here", 1, "", "2026-11-29T00:00:00Z", "")
BASE = "https://a.blob.core.windows.net/m"


@dataclass
class Jobs:
    """A service that runs a job as soon as it is started; `meanwhile` happens before a call."""

    states: dict[str, JobState] = field(default_factory=dict)
    asked: dict[str, Mapping[str, BlobReference]] = field(default_factory=dict)
    started: list[str] = field(default_factory=list)
    result: JobState = JobState.FINISHED
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    meanwhile: dict[str, Any] = field(default_factory=dict)

    def submit(self, inputs: Any, outputs: Mapping[str, BlobReference], parameters: Any) -> str:
        self._happen("submit")
        job = f"job{len(self.states) + 1}"
        self.states[job], self.asked[job] = JobState.NOT_STARTED, outputs
        return job

    def start(self, job: str) -> None:
        self._happen("start")
        if self.states[job] is JobState.NOT_STARTED:
            self.started.append(job)
            self.states[job] = self.result

    def poll(self, job: str) -> JobStatus:
        self._happen("poll")
        assert job in self.states, f"a job is asked for that nobody submitted: {job!r}"
        state = self.states[job]
        return JobStatus(state, "", self.asked[job] if state is JobState.FINISHED else {})

    def cancel(self, job: str) -> None:
        self.states[job] = JobState.CANCELLED

    def _happen(self, call: str) -> None:
        act = self.meanwhile.pop(call, None)
        if act is not None:
            act()


@dataclass
class Storage:
    """Blobs that exist; `meanwhile` happens before it is first asked."""

    blobs: set[str] = field(default_factory=set)
    meanwhile: Any = None
    denied: bool = False
    unreadable: str = ""
    secret: bool = True

    def refer(self, blob: TrainingBlob, uri: str) -> BlobReference:
        if not self.secret:
            raise SecretMissing("the secret is not set", subject="env STORAGE", next_step="Set it.")
        return BlobReference(uri, "secret")

    def check_file(self, file: str) -> str:
        return self.unreadable

    def exists(self, reference: BlobReference, *, create: bool = True) -> bool:
        if self.denied:
            raise BlobForbidden("storage denies access")
        act, self.meanwhile = self.meanwhile, None
        if act is not None:
            act()
        return reference.uri in self.blobs

    def upload(self, file: str, reference: BlobReference) -> bool:
        return True

    def read(self, reference: BlobReference, most_bytes: int) -> bytes:
        return b""

    def digest(self, reference: BlobReference) -> str:
        return ""


@dataclass
class World:
    """What all processes of a test share; each `process` is one command."""

    ledger: MemoryLedger = field(default_factory=MemoryLedger)
    jobs: Jobs = field(default_factory=Jobs)
    storage: Storage = field(default_factory=Storage)
    clock: FakeClock = field(default_factory=FakeClock)
    retraining: Retraining = field(
        default_factory=lambda: Retraining(
            ADDRESS,
            model=TrainingBlob("output2", f"{BASE}/${{run}}.ilearner"),
            evaluation=TrainingBlob("output1", f"{BASE}/${{run}}.csv"),
            timeout_s=60,
        )
    )
    runs: int = 0
    rows: bytes = b"age,income\n1,2\n"
    events: list[Any] = field(default_factory=list)
    interrupted: bool = False

    def process(self) -> TrainingRun:
        return TrainingRun(self.ports(), self.retraining, self.jobs)

    def ports(self) -> TrainingPorts:
        return TrainingPorts(
            ledger=self.ledger,
            lock=lambda: self.ledger.lock(OWNER, 0, lambda _: None),
            storage=self.storage,
            read_file=lambda _: self.rows,
            author=RunAuthor("me", "here", "c"),
            emit=self.events.append,
            clock=lambda: datetime(2026, 11, 29, tzinfo=UTC),
            monotonic=self.clock,
            sleep=self.clock.sleep,
            name_run=self._name_run,
            hide=lambda text: text.replace("PLANTED", "(hidden)"),
            check_interrupted=self._check_interrupted,
        )

    def _name_run(self) -> str:
        self.runs += 1
        return f"run{self.runs}"

    def _check_interrupted(self) -> None:
        if self.interrupted:
            raise ReconcilerError("was interrupted")

    def interrupt(self) -> None:
        self.interrupted = True

    @property
    def states(self) -> list[str]:
        return [str(one.data["state"]) for one in self.ledger.facts("job")]


def test_a_run_writes_each_state_and_starts_one_job() -> None:
    world = World()
    record, status = world.process().follow()
    assert world.states == [SUBMITTING, SUBMITTED, "started", ENDED]
    assert (record.state, status.state) == (ENDED, JobState.FINISHED)
    assert world.jobs.started == ["job1"]


def test_a_run_that_has_ended_and_is_not_judged_is_joined() -> None:
    world = World()
    first, _ = world.process().follow()
    assert world.process().follow()[0] == first
    assert world.jobs.started == ["job1"]


def test_a_process_that_joins_a_run_does_not_write_an_older_state() -> None:
    world = World()
    run = world.process()
    record, _ = run.follow()

    def judge() -> None:
        run.write(record, replace(record, state=JUDGED))

    world.jobs.meanwhile["poll"] = judge
    world.process().follow()
    assert world.states[-1] == JUDGED


def test_of_two_processes_that_submit_one_joins_the_job_of_the_other() -> None:
    world = World()
    world.jobs.meanwhile["submit"] = lambda: world.process().follow()
    record, _ = world.process().follow()
    assert (record.run, world.runs) == ("run1", 1)
    # The job of the first submit has no line, so nothing starts it.
    assert len(world.jobs.states) == 2
    assert len(world.jobs.started) == 1


def test_outputs_that_another_process_has_just_made_are_those_of_the_run() -> None:
    world = World()

    def finish() -> None:
        world.process().follow()
        world.storage.blobs |= {f"{BASE}/run1.ilearner", f"{BASE}/run1.csv"}

    world.storage.meanwhile = finish
    record, _ = world.process().follow()
    assert (record.run, record.state) == ("run1", ENDED)
    assert world.jobs.started == ["job1"]


def test_a_blob_that_nobody_of_ours_made_is_not_written_over() -> None:
    world = World(storage=Storage({f"{BASE}/run1.csv"}))
    with pytest.raises(ReconcilerError, match="the blob of the output output1 exists already"):
        world.process().follow()
    assert not world.jobs.states


def test_a_run_that_is_cancelled_while_it_is_submitted_does_not_start() -> None:
    world = World()
    world.jobs.meanwhile["submit"] = lambda: world.process().cancel()
    with pytest.raises(ReconcilerError, match="the run run1 was cancelled"):
        world.process().follow()
    assert not world.jobs.started
    assert world.states[-1] == CANCELLED


def test_a_run_that_is_cancelled_before_its_start_does_not_start() -> None:
    world = World()
    world.jobs.meanwhile["start"] = lambda: world.process().cancel()
    with pytest.raises(ReconcilerError, match="was cancelled"):
        world.process().follow()
    assert not world.jobs.started
    assert world.states.count(CANCELLED) == 1


def test_a_refused_submit_is_made_again_with_the_corrected_manifest() -> None:
    world = World()

    def refuse() -> None:
        raise ReconcilerError("Invalid output override name")

    world.jobs.meanwhile["submit"] = refuse
    with pytest.raises(ReconcilerError, match="Invalid output"):
        world.process().follow()
    corrected = TrainingBlob("output3", f"{BASE}/${{run}}-e.csv")
    world.retraining = replace(world.retraining, evaluation=corrected)
    record, status = world.process().follow()
    assert (record.run, world.runs) == ("run1", 1)
    assert RunJoined(ADDRESS, "run1", submitted=False) in world.events
    assert record.outputs == {
        "output2": f"{BASE}/run1.ilearner",
        "output3": f"{BASE}/run1-e.csv",
    }
    assert set(status.results) == {"output2", "output3"}


@pytest.mark.parametrize(
    ("when", "states", "jobs"),
    [
        ("check", [], 0),
        ("exists", [SUBMITTING], 0),
        ("submit", [SUBMITTING, SUBMITTED], 1),
        ("poll", [SUBMITTING, SUBMITTED], 1),
    ],
)
def test_an_interruption_before_the_start_starts_no_job(
    when: str, states: list[str], jobs: int
) -> None:
    world = World()
    if when == "check":
        world.interrupt()
    elif when == "exists":
        world.storage.meanwhile = world.interrupt
    else:
        world.jobs.meanwhile[when] = world.interrupt
    with pytest.raises(ReconcilerError, match="was interrupted"):
        world.process().follow()
    assert (world.states, len(world.jobs.states), world.jobs.started) == (states, jobs, [])
    world.interrupted = False
    record, _ = world.process().follow()
    assert (record.run, world.jobs.started) == ("run1", ["job1"])


def test_the_last_wait_ends_with_the_timeout() -> None:
    world = World(jobs=Jobs(result=JobState.RUNNING))
    begun = world.clock()
    with pytest.raises(StillRunning, match="has not ended after 60 s"):
        world.process().follow()
    assert world.clock() - begun == pytest.approx(60)


def test_a_job_that_failed_is_closed_and_the_next_run_is_a_new_one() -> None:
    world = World(jobs=Jobs(result=JobState.FAILED))
    with pytest.raises(ReconcilerError, match="the job job1 failed"):
        world.process().follow()
    world.jobs.result = JobState.FINISHED
    record, _ = world.process().follow()
    assert (record.run, record.job) == ("run2", "job2")


def test_a_record_without_the_newest_members_is_read() -> None:
    assert RunRecord.parse({"run": "r", "state": ENDED, "later": 1}) == RunRecord("r", ENDED)


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"state": ENDED, "job": "j"},
        {"run": "r"},
        {"run": "r", "state": [ENDED]},
        {"run": "r", "state": {}},
        {"run": 1, "state": ENDED},
        {"run": "r", "state": ENDED, "job": 5},
        {"run": "r", "state": ENDED, "outputs": [1]},
        {"run": "r", "state": ENDED, "inputs": {"input1": 5}},
    ],
)
def test_a_record_of_another_program_is_not_believed_and_not_in_the_way(data: Any) -> None:
    world = World()
    with world.ledger.lock(OWNER, 0, lambda _: None) as lease:
        fence = lease.lock_owner.fence
        world.ledger.record(
            Fact("job", str(ADDRESS), data, "2026-11-29T00:00:00Z", "x", "h", "", fence)
        )
    for use in (world.process().follow, world.process().cancel):
        with pytest.raises(ReconcilerError, match="cannot be read"):
            use()
    assert world.process().follow(again=True)[0].state == ENDED


def test_a_run_that_began_in_the_far_future_is_due() -> None:
    now = datetime(2026, 11, 29, 12, tzinfo=UTC)
    daily = "0 3 * * *"
    assert not is_due_since(daily, now, now)
    assert not is_due_since(daily, now + timedelta(hours=20), now)
    assert is_due_since(daily, now + timedelta(days=2), now)
    assert is_due_since(daily, datetime(9999, 12, 31, tzinfo=UTC), now)
    assert is_due_since(daily, now - timedelta(days=1), now)


def test_what_a_job_would_fail_by_is_found_before_anything_is_recorded() -> None:
    """All of it at once, each with its place and its next step."""
    world = World(jobs=Jobs(inputs=("input1",), outputs=("output1", "output2")))
    world.storage.unreadable = "No such file or directory"
    world.retraining = replace(
        world.retraining,
        evaluation=TrainingBlob("Output1", f"{BASE}/e.csv", place=SourceLocation("r.yaml", 9, 7)),
        inputs=(
            TrainingBlob("inptu1", f"{BASE}/x.csv", "a.csv", place=SourceLocation("r.yaml", 4, 5)),
            TrainingBlob("input1", f"{BASE}/gone.csv"),
        ),
    )
    with pytest.raises(ManifestInvalid) as caught:
        world.process().follow()
    found = caught.value.findings()
    assert [(one.message, one.next_step) for one in found] == [
        (
            'the training service does not have an input port "inptu1"',
            'Did you mean "input1"?',
        ),
        (
            'the training service does not have an output port "Output1"',
            'Did you mean "output1"?',
        ),
        ("the file a.csv cannot be read: No such file or directory", ""),
        (
            f"the data does not exist: {BASE}/gone.csv",
            "Upload it, or name the `file` that is uploaded to this address.",
        ),
    ]
    assert [one.place and one.place.line for one in found] == [4, 9, 4, None]
    assert {one.subject for one in found} == {"Retraining/census"}
    assert (world.states, world.jobs.states) == ([], {})


@pytest.mark.parametrize(
    ("rows", "message", "line"),
    [
        (b"age,income\n", "the rows of golden.csv are empty", 20),
        (b"age,income\n1\n", "the rows of golden.csv have 1 cell, and 2 columns in line 2", 20),
        (b"age,Income\n1,2\n", 'golden.csv does not have the column "income"', 21),
    ],
)
def test_rows_that_nothing_can_be_compared_on_start_no_job(
    rows: bytes, message: str, line: int
) -> None:
    world = World(rows=rows)
    scored = TrainingBlob("output3", f"{BASE}/${{run}}-rows.csv")
    at, label = SourceLocation("r.yaml", 20, 5), SourceLocation("r.yaml", 21, 5)
    comparison = RowComparison("golden.csv", "income", "", scored, at, label)
    world.retraining = replace(world.retraining, comparison=comparison)
    with pytest.raises(ManifestInvalid) as caught:
        world.process().follow()
    (found,) = caught.value.findings()
    assert found.message == message
    assert found.place == SourceLocation("r.yaml", line, 5)
    assert (world.states, world.jobs.states) == ([], {})


def test_a_credential_that_is_missing_is_reported_once_and_nothing_is_recorded() -> None:
    world = World(storage=Storage(secret=False))
    place = SourceLocation("r.yaml", 9, 7)
    world.retraining = replace(
        world.retraining,
        inputs=(TrainingBlob("input1", f"{BASE}/x.csv", place=place),),
    )
    with pytest.raises(ManifestInvalid) as caught:
        world.process().follow()
    (found,) = caught.value.findings()
    said = "the storage of input1 cannot be used: env STORAGE: the secret is not set"
    assert (found.message, found.place, found.next_step) == (said, place, "Set it.")
    assert (world.states, world.jobs.states) == ([], {})


def test_data_that_only_the_training_service_may_read_is_not_missing() -> None:
    world = World()
    data = TrainingBlob("input1", f"{BASE}/x.csv")
    world.retraining = replace(world.retraining, inputs=(data,))
    world.storage.blobs = {f"{BASE}/x.csv"}
    world.process().follow()
    world.storage.denied = True
    with pytest.raises(BlobForbidden):  # later, of an output
        world.process().follow(again=True)


def test_a_run_whose_job_was_submitted_is_followed_without_its_data() -> None:
    world = World()
    world.process().follow()
    world.jobs.outputs = ("other",)
    assert world.process().follow()[0].run == "run1"

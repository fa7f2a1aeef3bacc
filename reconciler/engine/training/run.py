"""Runs one training job to its end, through kills, lost answers and other processes.

A job costs money and has no idempotency key, so the ledger decides which job is started. A line
is written before a job is submitted, one with its id after that, and one after its start. Each line
is written under the lock, and only if the line before it is still the last: of two processes that
submit, one finds the other's job and joins it. A job whose id is in no line never runs, because
only a job with a line is started. It is long because every state of a job, and what leads to the
next one, is in one place.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, field, fields, replace
from datetime import datetime, timedelta
from typing import Final, TypeVar

from reconciler.engine.training.checking import check_job
from reconciler.errors import (
    ManifestInvalid,
    ReconcilerError,
    Rejected,
    ReplyLost,
    StillRunning,
)
from reconciler.model import DataUploaded, Fact, JobReported, Json, RunJoined, SecretReference
from reconciler.model.training import (
    BlobReference,
    JobState,
    JobStatus,
    Retraining,
    TrainingBlob,
)
from reconciler.model.values import dataclass
from reconciler.plans.history import JOB
from reconciler.ports import BatchJobs, Clock, Emit, Lease, Ledger, TrainingStorage
from reconciler.text.durations import growing_waits
from reconciler.text.times import format_utc

TOPIC: Final = JOB
RUN: Final = "${run}"
# The states of a run in the ledger. The first four are open: the next command goes on with it.
SUBMITTING, SUBMITTED, STARTED, ENDED = "submitting", "submitted", "started", "ended"
JUDGED, FAILED, CANCELLED = "judged", "failed", "cancelled"
OPEN: Final = frozenset({SUBMITTING, SUBMITTED, STARTED, ENDED})
_ENDS: Final[Mapping[JobState, str]] = {
    JobState.FINISHED: ENDED,
    JobState.FAILED: FAILED,
    JobState.CANCELLED: CANCELLED,
}
_MAPS: Final = ("inputs", "outputs")
_TRIES: Final = 5
_SHORTEST_WAIT_S: Final = 0.05
_MOST_AHEAD: Final = timedelta(days=1)
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class RunAuthor:
    """Who runs the job, on which host, from which commit."""

    by: str
    host: str
    commit: str


@dataclass(frozen=True, slots=True)
class RunRecord:
    """The state of a run, as the ledger keeps it.

    `inputs` and `outputs` map ports to the addresses of blobs, without a signature.
    """

    run: str
    state: str
    job: str = ""
    inputs: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    details: str = ""

    @classmethod
    def parse(cls, data: Mapping[str, Json]) -> RunRecord:
        """Returns the record of a fact; members that are not known are left out.

        Raises ReconcilerError for a record that another program has written.
        """
        given = {one.name: data[one.name] for one in fields(cls) if one.name in data}
        maps = {name: given.pop(name, {}) for name in _MAPS}
        texts = [given.get("run"), given.get("state"), *given.values()]
        are_texts = all(isinstance(one, str) for one in texts)
        if not are_texts or not all(map(_maps_texts, maps.values())):
            raise ReconcilerError(
                "the last line of the ledger about its run cannot be read",
                next_step="Update reconciler, or begin a new run with --again.",
            )
        return cls(**given, **maps)


def _maps_texts(value: Json) -> bool:
    return isinstance(value, dict) and all(isinstance(one, str) for one in value.values())


@dataclass(frozen=True)
class TrainingPorts:
    """What a run needs. `lock` takes the lock of the ledger; `name_run` makes the name of a run.

    `read_file` returns the bytes of a file with rows, by its name from the project's folder.
    `hide` removes secrets from a text of the service, which may be shown and recorded then.
    `check_interrupted` raises ReconcilerError after a signal: then no job is submitted or started.
    """

    ledger: Ledger
    lock: Callable[[], AbstractContextManager[Lease]]
    storage: TrainingStorage
    read_file: Callable[[str], bytes]
    author: RunAuthor
    emit: Emit
    clock: Clock
    monotonic: Callable[[], float]
    sleep: Callable[[float], None]
    name_run: Callable[[], str]
    hide: Callable[[str], str]
    check_interrupted: Callable[[], None]
    first_wait_s: float = 1.0

    def record(self, lease: Lease, topic: str, subject: str, data: Mapping[str, Json]) -> None:
        """Record a fact under the lock of the ledger; raises LedgerConflict if it is lost."""
        lease.check()
        self.ledger.record(
            Fact(
                topic=topic,
                subject=subject,
                data=data,
                at=format_utc(self.clock()),
                by=self.author.by,
                host=self.author.host,
                commit=self.author.commit,
                fence=lease.lock_owner.fence,
            )
        )

    def keep(self, topic: str, subject: str, data: Mapping[str, Json]) -> None:
        """Record a fact, unless it is the last one of its topic and subject already."""
        known = self.ledger.load().facts.get((topic, subject))
        if known is not None and known.data == data:
            return
        with self.lock() as lease:
            self.record(lease, topic, subject, data)


class TrainingRun:
    """One run of a retraining. `jobs` is the batch execution of its training service."""

    def __init__(self, ports: TrainingPorts, retraining: Retraining, jobs: BatchJobs) -> None:
        self._ports, self._retraining, self._jobs = ports, retraining, jobs
        self._since = ports.monotonic()

    def follow(self, *, again: bool = False) -> tuple[RunRecord, JobStatus]:
        """Brings the open run, or a new one, to its end; returns its state and its results.

        With `again`, a new run begins although one is open. Raises StillRunning after the timeout
        of the retraining; the job goes on. Raises ReconcilerError for a job that failed or was
        cancelled.
        """
        found = None if again else self._find()
        if found is None or found.state not in OPEN - {SUBMITTING}:
            self._check()
            self._ports.check_interrupted()
        record = self._claim(again=again)
        if record.state == SUBMITTING:
            record = self._submit(record)
        if not record.job:
            raise self._make_cancelled(f"the run {record.run} was cancelled")
        status = self.poll(record)
        if status.state is JobState.NOT_STARTED and record.state == SUBMITTED:
            record, status = self._start(record)
        if record.state == SUBMITTED:
            record = self.write(record, replace(record, state=STARTED))
        status = self._wait(record, status)
        return self._end(record, status), status

    def cancel(self) -> RunRecord:
        """Cancels the job of the open run. Raises ReconcilerError without an open run."""
        record = self._find()
        if record is None or record.state not in OPEN:
            raise ReconcilerError("no run is open", subject=str(self._retraining.address))
        if record.job:
            self._jobs.cancel(record.job)
        return self.write(record, replace(record, state=CANCELLED))

    def close(self, run: str) -> None:
        """Records that the result of a run is judged, and proposed if it may be.

        Nothing is recorded for a run that is closed, or that another run has followed.
        """
        with self._ports.lock() as lease:
            found = self._find()
            if found is not None and found.run == run and found.state == ENDED:
                self._record(lease, replace(found, state=JUDGED))

    def _find(self) -> RunRecord | None:
        """Returns the last recorded state of the last run."""
        fact = self._ports.ledger.load().facts.get((TOPIC, str(self._retraining.address)))
        return RunRecord.parse(fact.data) if fact is not None else None

    def _check(self) -> None:
        """Raises ManifestInvalid with all that would make a new job fail."""
        ports, outputs = self._ports, [*self._list_outputs()]
        found = check_job(self._retraining, outputs, self._jobs, ports.storage, ports.read_file)
        if named := tuple(replace(one, subject=str(self._retraining.address)) for one in found):
            raise ManifestInvalid(named)

    def _claim(self, *, again: bool) -> RunRecord:
        """Returns the open run, or a new one that is recorded as about to be submitted."""
        with self._ports.lock() as lease:
            found = None if again else self._find()
            if found is not None and found.state in OPEN:
                submitted = found.state != SUBMITTING
                self._ports.emit(RunJoined(self._retraining.address, found.run, submitted))
                return found
            run = self._ports.name_run()
            record = self._bind(RunRecord(run, SUBMITTING))
            self._record(lease, record)
            return record

    def _bind(self, record: RunRecord) -> RunRecord:
        """Returns a run with the addresses of its blobs, as the manifest now names them."""
        inputs, outputs = (
            {one.port: one.uri.replace(RUN, record.run) for one in blobs}
            for blobs in (self._retraining.inputs, self._list_outputs())
        )
        return replace(record, inputs=inputs, outputs=outputs)

    def write(self, before: RunRecord, after: RunRecord) -> RunRecord:
        """Records the next state of a run; returns what another process recorded instead, if so.

        Raises ReconcilerError if another run has begun since.
        """
        with self._ports.lock() as lease:
            found = self._find()
            if found is not None and found.run != before.run:
                raise ReconcilerError(
                    f"another run has begun since: {found.run}",
                    subject=str(self._retraining.address),
                    next_step=f"Follow it with: reconciler retrain {self._retraining.address.name}",
                )
            if found is not None and found != before:
                return found
            self._record(lease, after)
            return after

    def _record(self, lease: Lease, record: RunRecord) -> None:
        said = {name: value for name, value in asdict(record).items() if value}
        self._ports.record(lease, TOPIC, str(self._retraining.address), said)

    def _list_outputs(self) -> Iterator[TrainingBlob]:
        yield self._retraining.model
        yield self._retraining.evaluation
        if self._retraining.comparison is not None:
            yield self._retraining.comparison.scored

    def _submit(self, record: RunRecord) -> RunRecord:
        """Uploads the data and submits a job; returns the run with the job that will be started.

        Nothing was submitted for this run, so a manifest that was corrected since then counts.
        """
        bound, storage = self._bind(record), self._ports.storage
        inputs = {
            one.port: storage.refer(one, bound.inputs[one.port]) for one in self._retraining.inputs
        }
        outputs = {
            one.port: storage.refer(one, bound.outputs[one.port]) for one in self._list_outputs()
        }
        for port, reference in outputs.items():
            if storage.exists(reference):
                found = self._find()
                if found is not None and found.run == record.run and found.job:
                    # Another process has submitted the job of this run since.
                    return found
                raise ReconcilerError(
                    f"the blob of the output {port} exists already: {reference.uri}",
                    subject=str(self._retraining.address),
                    next_step="Begin a new run with --again.",
                )
        for one in self._retraining.inputs:
            if one.file:
                self._upload(one, inputs[one.port])
        self._ports.check_interrupted()
        job = _repeat(lambda: self._jobs.submit(inputs, outputs, self._retraining.parameters))
        record = self.write(record, replace(bound, state=SUBMITTED, job=job))
        self._report(record, "Submitted")
        return record

    def _upload(self, blob: TrainingBlob, reference: BlobReference) -> None:
        storage, address = self._ports.storage, self._retraining.address
        storage.exists(reference)
        existed = not storage.upload(blob.file, reference)
        self._ports.emit(DataUploaded(address, blob.file, reference.uri, existed))

    def _start(self, record: RunRecord) -> tuple[RunRecord, JobStatus]:
        """Starts the recorded job."""
        self._ports.check_interrupted()
        _repeat(lambda: self._jobs.start(record.job))
        record = self.write(record, replace(record, state=STARTED))
        return record, self.poll(record)

    def _wait(self, record: RunRecord, status: JobStatus) -> JobStatus:
        waits = growing_waits(self._ports.first_wait_s, 30.0, 1.5)
        said = ""
        while not status.state.has_ended:
            if status.state.value != said:
                said = status.state.value
                self._report(record, said)
            elapsed = self._ports.monotonic() - self._since
            left_s = self._retraining.timeout_s - elapsed
            if left_s <= 0:
                raise StillRunning(
                    f"the job {record.job} has not ended after {elapsed:.0f} s",
                    subject=str(self._retraining.address),
                    next_step="The job goes on. Follow it with: reconciler retrain"
                    f" {self._retraining.address.name}",
                )
            self._ports.sleep(min(next(waits), max(left_s, _SHORTEST_WAIT_S)))
            status = self.poll(record)
        self._report(record, status.state.value)
        return status

    def poll(self, record: RunRecord) -> JobStatus:
        """Asks the service for the state of the job; the signatures of its results are new."""
        try:
            return self._jobs.poll(record.job)
        except Rejected as error:
            error.subject = error.subject or str(self._retraining.address)
            if error.status == 404:
                error.next_step = "Check the service. If the job is gone, begin a new run: --again."
            raise

    def _end(self, record: RunRecord, status: JobStatus) -> RunRecord:
        """Records how the job ended; raises ReconcilerError unless it has finished.

        Another process may have recorded it already, or have judged the model.
        """
        state = _ENDS[status.state]
        if record.state not in {state, JUDGED}:
            record = self.write(record, replace(record, state=state, details=status.details))
        if state == ENDED:
            return record
        details = f": {status.details}" if status.details else ""
        if state == CANCELLED:
            raise self._make_cancelled(f"the job {record.job} was cancelled{details}")
        raise ReconcilerError(
            f"the job {record.job} failed{details}",
            subject=str(self._retraining.address),
            next_step="Correct the data or the training service, then run it again.",
        )

    def _make_cancelled(self, message: str) -> ReconcilerError:
        step = f"Begin a new run with: reconciler retrain {self._retraining.address.name}"
        return ReconcilerError(message, subject=str(self._retraining.address), next_step=step)

    def _report(self, record: RunRecord, state: str) -> None:
        elapsed = self._ports.monotonic() - self._since
        address = self._retraining.address
        self._ports.emit(JobReported(address, record.run, record.job, state, elapsed))


def _repeat(send: Callable[[], _Result]) -> _Result:
    """Sends a call again if its answer was lost.

    A job whose submit was lost does not run, because no command starts it. A second start of a
    running job has no effect.
    """
    for _ in range(_TRIES - 1):
        with suppress(ReplyLost):
            return send()
    return send()


def name_run(now: datetime, unique: str) -> str:
    """Returns the name of a run, such as `20261129T190512Z-3f2a`; names sort by time."""
    return f"{now:%Y%m%dT%H%M%SZ}-{unique}"


def is_due_since(schedule: str, begun: datetime, now: datetime) -> bool:
    """Whether a schedule was due since a run has begun.

    It is due too if the run began in the future: the clock was wrong then, and to wait for that
    time could take years. The clocks of two machines differ by less than a day.
    """
    from cronsim import CronSim  # noqa: PLC0415 - few projects have a schedule

    if begun - now > _MOST_AHEAD:
        return True
    due = next(CronSim(schedule, begun), None)
    return due is not None and due <= now


def list_open_states(ledger: Ledger, those: Iterable[Retraining]) -> Collection[str]:
    """Returns the states of the runs of `those` that are open."""
    keys = ((TOPIC, str(one.address)) for one in those)
    facts = filter(None, map(ledger.load().facts.get, keys))
    return {RunRecord.parse(one.data).state for one in facts} & OPEN


def list_secrets(retraining: Retraining) -> Iterator[SecretReference]:
    """Yields the secrets that a run reads."""
    blobs = [retraining.model, retraining.evaluation, *retraining.inputs]
    blobs += [retraining.comparison.scored] if retraining.comparison is not None else []
    for blob in blobs:
        yield from filter(None, (blob.access.connection_string, blob.access.sas))
    if retraining.api_key is not None:
        yield retraining.api_key

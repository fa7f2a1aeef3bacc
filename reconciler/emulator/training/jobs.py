"""The batch jobs of training services: a queue, real training, and outputs in blob storage.

A job runs only after it was started. Each service runs as many jobs at once as it may have calls;
the others wait in the order of their start. Jobs are stored, and those that had been started begin
again when the emulator is started again. Signatures have the time of this machine, because blob
storage has a clock of its own.
"""

from __future__ import annotations

import asyncio
import csv
import io
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final
from urllib.parse import unquote

from reconciler.emulator.replies import Refusal, refuse
from reconciler.emulator.state import State
from reconciler.emulator.storage import Storage, sign
from reconciler.emulator.switches import Choices
from reconciler.emulator.training.batch_requests import ADDRESS, read_request
from reconciler.emulator.training.blob_references import BlobReference
from reconciler.emulator.training.graph import Training
from reconciler.emulator.training.learner import evaluate, score, split, train
from reconciler.emulator.training.tables import (
    Table,
    TableInvalid,
    drop_incomplete,
    parse_number,
    parse_table,
)

Json = Any
_KIND: Final = "job"
# In the order of their published numbers.
STATES: Final = ("NotStarted", "Running", "Failed", "Cancelled", "Finished")
# Recorded: the signature of a result is valid for 24 hours and 5 minutes around the end of the job.
_SINCE_S: Final = 5 * 60
_FOR_S: Final = 24 * 3600
_STRONG: Final = 100.0  # the number (of trees, say) at which the penalty is 1
_MODULE_ERROR: Final = "ModuleExecutionError"
# How long the service keeps a job is not known.
_MOST_KEPT: Final = 1_000


@dataclass
class Job:
    """A job. `state` is the word of its StatusCode; `service` is the service's id.

    `run_s` is how long it runs. `fault` is what an injected fault makes of it. `submitted` and
    `ended` are in seconds since 1970.
    """

    id: str
    service: str
    training: Json
    inputs: Json
    outputs: Json
    parameters: Json
    most_at_once: int
    run_s: float
    submitted: float = 0.0
    state: str = "NotStarted"
    started: bool = False
    details: str | None = None
    ended: float = 0.0
    fault: str = ""

    @property
    def is_active(self) -> bool:
        """Return whether the job runs, or waits for its place."""
        return self.started and self.state in {"NotStarted", "Running"}


@dataclass
class _Queue:
    """The places of one service; a place is free, or a started job waits for it."""

    places: asyncio.Semaphore
    tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)


class Jobs:
    """The jobs by id. Every change is committed before the reply that reports it is sent."""

    def __init__(
        self,
        state: State,
        storage: Storage,
        choices: Choices,
        clock: Callable[[], float],
        *,
        seconds: float,
        blob_url: str,
    ) -> None:
        self._state, self._storage, self._choices, self._clock = state, storage, choices, clock
        self._seconds, self._blob_url = seconds, blob_url
        self._jobs = {one["id"]: Job(**one) for one in state.read(_KIND)}
        self._queues: dict[str, _Queue] = {}

    def resume(self) -> None:
        """Begin the jobs again that ran when the emulator ended. Call it in the event loop."""
        for job in self._jobs.values():
            if job.is_active:
                job.state = "NotStarted"
                self._enqueue(job)

    async def close(self) -> None:
        """Stop all jobs that run; `resume` begins them again."""
        tasks = [task for queue in self._queues.values() for task in queue.tasks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def submit(self, service: str, training: Training, body: Json, most_at_once: int) -> str:
        """Store a job that does not run yet, and return its id; refuse a wrong request."""
        request = read_request(body, training, self._blob_url)
        job = Job(
            uuid.uuid4().hex,
            service,
            asdict(training),
            {port: asdict(one) for port, one in request.inputs.items()},
            {port: asdict(one) for port, one in request.outputs.items()},
            {**request.parameters},
            most_at_once,
            self._seconds,
            self._clock(),
        )
        self._jobs[job.id] = job
        self._write(job)
        self._forget()
        return job.id

    def _forget(self) -> None:
        """Forget the oldest jobs that do not run, as soon as there are too many."""
        surplus = len(self._jobs) - _MOST_KEPT
        if surplus <= 0:
            return
        *before, _ = self._jobs.values()
        idle = (one for one in before if not one.is_active)
        for job in sorted(idle, key=lambda one: one.submitted)[:surplus]:
            del self._jobs[job.id]
            self._state.write((), [(_KIND, (job.id,))], count=self._state.count)

    def start(self, service: str, job_id: str) -> None:
        """Let a job run as soon as it has a place; refuse one that was started."""
        job = self._find(service, job_id)
        if job.started or job.state != "NotStarted":
            # A job that waits for its place was started.
            shown = "Running" if job.state == "NotStarted" else job.state
            message = f"The job cannot be started because it is in {shown} state."
            raise refuse("InvalidOperation", "CannotStartJob", message)
        job.started = True
        self._write(job)
        self._enqueue(job)

    def spoil(self, job_id: str, fault: str) -> bool:
        """Let a fault act on a job that was just started; return whether it exists."""
        job = self._jobs.get(job_id)
        if job is not None:
            job.fault = fault
            self._write(job)
        return job is not None

    def show(self, service: str, job_id: str) -> Json:
        """Return the state of a job; its results have signatures that were made just now."""
        job = self._find(service, job_id)
        results = None
        if job.state == "Finished":
            results = {port: self._show_output(job, one) for port, one in job.outputs.items()}
        state = STATES.index(job.state) if self._choices["job-status"] == "number" else job.state
        return {"StatusCode": state, "Results": results, "Details": job.details}

    def cancel(self, service: str, job_id: str) -> None:
        """Cancel a job; one that has ended stays as it is (clients delete each job at its end)."""
        job = self._find(service, job_id)
        if job.state in {"NotStarted", "Running"}:
            self._end(job, "Cancelled", None)
            queue = self._queues.get(service)
            task = queue.tasks.get(job_id) if queue is not None else None
            if task is not None:
                task.cancel()

    def _find(self, service: str, job_id: str) -> Job:
        job = self._jobs.get(job_id)
        if job is None or job.service != service:
            # The published table has a code for a missing id, and none for an unknown one.
            raise Refusal(404, "NotFound", "Resource not found.")
        return job

    def _write(self, job: Job) -> None:
        row = (_KIND, (job.id,), asdict(job))
        self._state.write([row], (), count=self._state.count)

    def _show_output(self, job: Job, given: Json) -> Json:
        blob = BlobReference(**given)
        now = time.time()
        # Without the key of the account, only the signature that was given opens the blob.
        address = blob.sign("r", min(job.ended, now) - _SINCE_S, now + _FOR_S)
        return {
            "BaseLocation": blob.base,
            "RelativeLocation": blob.path,
            "SasBlobToken": f"?{address.partition('?')[2]}",
        }

    def _enqueue(self, job: Job) -> None:
        queue = self._queues.setdefault(job.service, _Queue(asyncio.Semaphore(job.most_at_once)))
        task = asyncio.create_task(self._run_in_turn(queue, job))
        queue.tasks[job.id] = task
        task.add_done_callback(lambda _: queue.tasks.pop(job.id, None))

    async def _run_in_turn(self, queue: _Queue, job: Job) -> None:
        async with queue.places:
            job.state = "Running"
            self._write(job)
            await asyncio.sleep(job.run_s)
            if job.fault == "stuck-job":
                await asyncio.Event().wait()
            try:
                await self._run(job)
            except TableInvalid as error:
                self._end(job, "Failed", f"{_MODULE_ERROR}: {error}")
            except Exception as error:  # noqa: BLE001 - a job must end, whatever its data holds
                said = f"{_MODULE_ERROR}: Training ended by {type(error).__name__}."
                self._end(job, "Failed", said)

    async def _run(self, job: Job) -> None:
        training = Training(**job.training)
        if job.fault == "fail-job":
            message = "Error 0000: Internal error. The container process crashed."
            self._end(job, "Failed", message)
            return
        source = self._find_data(job, training)
        data = _Data(await self._fetch(source), source.path)
        given = job.inputs.get(training.rows)
        blob = BlobReference(**given) if given else None
        rows = _Data(await self._fetch(blob), blob.path) if blob is not None else None
        results = await asyncio.to_thread(_work, training, data, rows, job)
        for port, named in job.outputs.items():
            blob = BlobReference(**named)
            content = results.write(training.outputs[port], blob.path)
            now = time.time()
            failed = await self._storage.store(blob.sign("cw", now - _SINCE_S, now + 60), content)
            if failed:
                self._end(job, "Failed", f"The blob {blob.path} could not be written. {failed}")
                return
        self._end(job, "Finished", None)

    def _find_data(self, job: Job, training: Training) -> BlobReference:
        if training.data:
            return BlobReference(**job.inputs[training.data])
        address, _, sas = str(job.parameters[ADDRESS]).partition("?")
        scheme, _, path = address.partition("://")
        host, _, path = path.partition("/")
        return BlobReference(f"{scheme}://{host}/", unquote(path), sas=sas)

    async def _fetch(self, blob: BlobReference) -> bytes:
        now = time.time()
        is_named = bool(blob.sas or blob.key)
        # A service that reads its data itself has the key of the emulator's own account.
        address = blob.sign("r", now - _SINCE_S, now + 60) if is_named else sign(blob.uri)
        data = await self._storage.fetch(address)
        if data is None:
            message = f"Unable to access the provided Azure blob - {blob.path}."
            raise TableInvalid(f"{message} Azure error message: The specified blob does not exist.")
        return data

    def _end(self, job: Job, state: str, details: str | None) -> None:
        job.state, job.details, job.ended = state, details, self._clock()
        self._write(job)


@dataclass(frozen=True)
class _Data:
    """The bytes of an input; the end of its path decides the separator."""

    content: bytes
    path: str

    def read(self) -> Table:
        """Return the table without its incomplete rows."""
        if self.path.casefold().endswith(".arff"):
            raise TableInvalid("The emulator does not read ARFF.")
        separator = "\t" if self.path.casefold().endswith(".tsv") else ","
        return drop_incomplete(parse_table(self.content, separator))


@dataclass(frozen=True)
class _Results:
    """What a job has made."""

    model: bytes
    evaluation: Table
    scored: Table

    def write(self, role: str, path: str) -> bytes:
        """Return the bytes of an output; the end of its path decides the format."""
        if role == "model":
            return self.model
        table = self.evaluation if role == "evaluation" else self.scored
        out = io.StringIO()
        ending = path.casefold().rpartition(".")[2]
        header: list[Sequence[str]] = [table.columns]
        if ending == "arff":
            out.write(_describe_arff(table))
            header = []
        writer = csv.writer(out, delimiter="\t" if ending == "tsv" else ",")
        writer.writerows([*header, *table.rows])
        return out.getvalue().encode()


def _describe_arff(table: Table) -> str:
    """Return the header of an ARFF file, with the type of each column."""
    columns = zip(table.columns, zip(*table.rows, strict=True) if table.rows else (), strict=False)
    types = {
        name: "STRING" if any(parse_number(cell) is None for cell in cells) else "NUMERIC"
        for name, cells in columns
    }
    lines = [f'@ATTRIBUTE "{name}" {types.get(name, "NUMERIC")}' for name in table.columns]
    return "\n".join(["@RELATION Unnamed", "", *lines, "", "@DATA", ""])


def _work(training: Training, data: _Data, rows: _Data | None, job: Job) -> _Results:
    """Train, score and evaluate."""
    kept, held = split(data.read(), data.content)
    held = held if rows is None else rows.read()
    model = train(kept, training.label, data.content, _find_penalty(job.parameters))
    cells = {name: f"{value:.15g}" for name, value in evaluate(model, held).items()}
    rows_of_metrics = _change_rows(job.fault, [*cells.values()])
    return _Results(model.dump(), Table(tuple(cells), rows_of_metrics), score(model, held))


def _find_penalty(parameters: Mapping[str, Json]) -> float:
    """Return the penalty that the first number among the parameters asks for."""
    numbers = (parse_number(str(value)) for value in parameters.values())
    number = next((one for one in numbers if one is not None and one > 0), _STRONG)
    return min(max(_STRONG / number, 1e-3), 1e6)


def _change_rows(fault: str, row: list[str]) -> list[list[str]]:
    """Return the rows of an evaluation as an injected fault changes them."""
    if fault == "empty-evaluation":
        return []
    if fault == "nan-evaluation":
        return [["NaN"] * len(row)]
    return [row, row] if fault == "two-row-evaluation" else [row]

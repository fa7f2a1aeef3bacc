"""A retraining: the training service, its data, the gate of the result, and where it is used."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import field

from reconciler.model.core import Address, Json, SecretReference, SourceLocation
from reconciler.model.values import dataclass


@dataclass(frozen=True, slots=True)
class StorageAccess:
    """The secret with which storage is used: a connection string, or a shared access signature."""

    connection_string: SecretReference | None = None
    sas: SecretReference | None = None


@dataclass(frozen=True, slots=True)
class TrainingBlob:
    """A blob of a training job, bound to a port by its name.

    `uri` may contain `${run}`. `file`, relative to the project's folder, is uploaded to it before
    the job starts; "" for a blob that exists or that the job writes.
    """

    port: str
    uri: str
    file: str = ""
    access: StorageAccess = field(default=StorageAccess())
    place: SourceLocation | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class GateRule:
    """One rule of a gate, with the row of the evaluation that it reads.

    Exactly one of the four limits is set. `better` is "higher", "lower", or "" for a metric whose
    direction its name gives. `row` is a number from 1, or the texts of columns.
    """

    metric: str
    min: float | None = None
    max: float | None = None
    max_regression: float | None = None
    margin: float | None = None
    better: str = ""
    row: int | Mapping[str, str] | None = None
    accepts_first: bool = False
    accepts_inconclusive: bool = False


@dataclass(frozen=True, slots=True)
class RowComparison:
    """The rows on which two models are compared. `rows` is a file from the project's folder.

    `place` is where the manifest names the rows, `label_place` where it names their label.
    """

    rows: str
    label: str
    positive: str
    scored: TrainingBlob
    place: SourceLocation | None = field(default=None, compare=False)
    label_place: SourceLocation | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Promotion:
    """A trained model of a manifest whose address and digest a result replaces.

    A resource whose models alternate between deployments has no `trained_model`: its model is that
    of the deployment in service. `deployments` are the two that alternate, or empty.
    """

    resource: Address
    trained_model: str = ""
    deployments: tuple[str, ...] = ()
    place: SourceLocation | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Retraining:
    """How one model is trained, judged and proposed.

    The training service is `service`, or `url` with `api_key`. `timeout_s` is in seconds.
    `schedule` is five words of cron in UTC, or "". `fleet` is the fleet that it is a member of.
    """

    address: Address
    model: TrainingBlob
    evaluation: TrainingBlob
    service: Address | None = None
    url: str = ""
    api_key: SecretReference | None = None
    inputs: tuple[TrainingBlob, ...] = ()
    parameters: Mapping[str, Json] = field(default_factory=dict)
    schedule: str = ""
    timeout_s: float = 0.0
    gate: tuple[GateRule, ...] = ()
    comparison: RowComparison | None = None
    promote: tuple[Promotion, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    fleet: Address | None = None
    place: SourceLocation | None = field(default=None, compare=False)


class JobState(enum.StrEnum):
    """The state of a batch job, in the service's words."""

    NOT_STARTED = "NotStarted"
    RUNNING = "Running"
    FAILED = "Failed"
    CANCELLED = "Cancelled"
    FINISHED = "Finished"

    @property
    def has_ended(self) -> bool:
        """Whether the state is the last one."""
        return self not in {JobState.NOT_STARTED, JobState.RUNNING}


@dataclass(frozen=True, slots=True)
class BlobReference:
    """A blob of a batch call: by a connection string, or by an address and a signature.

    `uri` is the address of the blob without a signature; `secret` is the connection string or the
    signature, and is never shown or recorded.
    """

    uri: str
    secret: str = field(default="", repr=False)
    is_connection: bool = False


@dataclass(frozen=True, slots=True)
class JobStatus:
    """What the service says about a job. `results` are the outputs by port, once it has finished.

    `details` are the service's words about a failure.
    """

    state: JobState
    details: str = ""
    results: Mapping[str, BlobReference] = field(default_factory=dict)

"""The records of Azure Machine Learning: endpoints, deployments and operations.

It stores all records through State in SQLite, and reads them from memory. Any workspace exists,
so none is stored. The calls of the control plane and of the data plane use it.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from reconciler.emulator.randomness import RandomSource
from reconciler.emulator.state import Key, State, make_key

Json = Any
EndpointKey = tuple[str, str, str, str]
MOST_ENDED: Final = 1000
# The code of an operation that was ended before its time (documented).
CANCELED: Final = "OperationCanceled"
_NAMESPACE: Final = uuid.UUID("6d1f0a5e-7c55-4b0e-9d5a-0f6f6b1f5a11")
_KINDS: Final = ("online-endpoint", "online-deployment", "online-operation")


@dataclass(frozen=True)
class OnlineWorkspace:
    """A workspace. It exists because a call names it; its id follows from its names."""

    subscription: str
    group: str
    name: str

    @property
    def key(self) -> Key:
        """Return the key of the workspace; keys ignore case."""
        return make_key(self.subscription, self.group, self.name)

    @property
    def id(self) -> str:
        """Return the GUID that operations and scoring addresses hold."""
        return str(uuid.uuid5(_NAMESPACE, "/".join(self.key)))

    @property
    def path(self) -> str:
        """Return the Resource Manager id."""
        return (
            f"/subscriptions/{self.subscription}/resourceGroups/{self.group}/providers/"
            f"Microsoft.MachineLearningServices/workspaces/{self.name}"
        )


@dataclass
class OnlineEndpoint:
    """An online endpoint. Times are in seconds since 1970.

    `document` has what its owner wrote: location, tags, kind, identity, and properties with
    traffic and mirrorTraffic. `operation` is the id of the operation that runs on it or on one of
    its deployments, or empty. `stamp` is the id of the last operation on the endpoint itself.
    `scoring_path` is empty until the endpoint was created.

    After a change of traffic, GET shows `old_traffic` until `shown_late`, and the router uses it
    until `routed_late`; both are 0 where no fault delays them.
    """

    workspace: OnlineWorkspace
    name: str
    region: str
    document: Json
    created: float
    modified: float
    primary: str = ""
    secondary: str = ""
    state: str = "Creating"
    operation: str = ""
    stamp: str = ""
    scoring_path: str = ""
    exists: bool = False
    old_traffic: Json = field(default_factory=dict)
    shown_late: float = 0.0
    routed_late: float = 0.0

    @property
    def key(self) -> EndpointKey:
        """Return the key of the endpoint; keys ignore case."""
        return *self.workspace.key, self.name.casefold()

    @property
    def path(self) -> str:
        """Return the Resource Manager id."""
        return f"{self.workspace.path}/onlineEndpoints/{self.name}"

    def show_traffic(self, now: float) -> dict[str, int]:
        """Return the traffic that GET shows."""
        late = now < self.shown_late
        return dict(self.old_traffic if late else self.document["properties"]["traffic"])

    def route_traffic(self, now: float) -> dict[str, int]:
        """Return the shares by which the router chooses deployments."""
        late = now < self.routed_late
        return dict(self.old_traffic if late else self.document["properties"]["traffic"])


@dataclass
class OnlineDeployment:
    """A deployment of an endpoint. Times are in seconds since 1970.

    `document` has location, tags, kind, sku and properties as GET shows them. `serving` are the
    properties that its instances run with; None while nothing answers (it is being created, or its
    containers failed). `crash` is the log of a container that failed, or empty.
    """

    endpoint: EndpointKey
    path: str
    name: str
    document: Json
    created: float
    modified: float
    state: str = "Creating"
    stamp: str = ""
    exists: bool = False
    serving: Json = None
    served_by: str = ""
    crash: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        """Return the key of the deployment; keys ignore case."""
        return *self.endpoint, self.name.casefold()


@dataclass
class OnlineOperation:
    """A long-running operation on an endpoint, or on its `deployment` if that is not empty.

    `outcome` is what the record becomes once `ends` has passed, and None afterwards. `before` is
    the state to restore. A `void` operation ends as a success and changes nothing. `stale_s` and
    `ignored` are how long GET shows the old traffic, and whether the router keeps it.
    """

    id: str
    workspace: OnlineWorkspace
    region: str
    endpoint: EndpointKey
    deployment: str
    verb: str
    started: float
    ends: float
    outcome: Json
    before: str = "Succeeded"
    failure: Json = None
    crash: str = ""
    done: bool = False
    void: bool = False
    stale_s: float = 0.0
    ignored: bool = False

    @property
    def status(self) -> str:
        """Return the word for how it is: Updating until its end, whatever it does (recorded)."""
        if not self.done:
            return "Updating"
        if self.failure:
            return "Canceled" if self.failure["code"] == CANCELED else "Failed"
        return "Succeeded"

    @property
    def key(self) -> tuple[str, ...]:
        """Return the key of the operation."""
        return (self.id,)


Record = OnlineEndpoint | OnlineDeployment | OnlineOperation


class OnlineState:
    """The records by key. Every change is committed before the reply that reports it is sent."""

    def __init__(self, state: State, random_source: RandomSource) -> None:
        self._state = state
        self.random_source = random_source
        self.endpoints: dict[EndpointKey, OnlineEndpoint] = {}
        self.deployments: dict[EndpointKey, dict[str, OnlineDeployment]] = {}
        self.operations: dict[str, OnlineOperation] = {}
        # The workspace that has each endpoint's name in a region; it keeps the name.
        self.names: dict[tuple[str, str], Key] = {}
        self._by_scoring: dict[str, EndpointKey] = {}
        self._ended: dict[str, None] = {}
        for kind in _KINDS:
            for row in state.read(kind):
                self._hold(_make_record(kind, row))
        for row in state.read("online-name"):
            self.names[row["region"], row["name"]] = tuple(row["workspace"])

    def list_endpoints(self, workspace: OnlineWorkspace) -> list[OnlineEndpoint]:
        """Return the endpoints of a workspace by name, with those that are being created."""
        found = [one for key, one in self.endpoints.items() if key[:3] == workspace.key]
        return sorted(found, key=lambda one: one.name.casefold())

    def list_deployments(self, endpoint: EndpointKey) -> list[OnlineDeployment]:
        """Return the deployments of an endpoint by name, with those that are being created."""
        found = self.deployments.get(endpoint, {}).values()
        return sorted(found, key=lambda one: one.name.casefold())

    def find_deployment(self, endpoint: EndpointKey, name: str) -> OnlineDeployment | None:
        """Return a deployment of an endpoint; None if it is missing."""
        return self.deployments.get(endpoint, {}).get(name.casefold())

    def find_by_scoring(self, path: str) -> OnlineEndpoint | None:
        """Return the endpoint of a scoring address, which ignores case; None if it is missing."""
        key = self._by_scoring.get(path.casefold())
        return self.endpoints.get(key) if key else None

    def keep(self, *records: Record, gone: Iterable[Record] = ()) -> None:
        """Write records and delete the records `gone`, in one transaction."""
        lost = [*gone]
        for record in records:
            self._hold(record)
        lost.extend(self._find_old_operations())
        self._state.write(
            [(_name_kind(one), one.key, asdict(one)) for one in records],
            [(_name_kind(one), one.key) for one in lost],
            count=self.random_source.count,
        )
        for record in lost:
            self._forget(record)

    def claim_name(self, region: str, name: str, workspace: Key | None) -> None:
        """Write which workspace has an endpoint's name in a region; None frees the name."""
        key = (region.casefold(), name.casefold())
        row = {"region": key[0], "name": key[1], "workspace": workspace}
        rows, gone = (
            ([("online-name", key, row)], []) if workspace else ([], [("online-name", key)])
        )
        self._state.write(rows, gone, count=self.random_source.count)
        self.names.pop(key, None)
        if workspace:
            self.names[key] = workspace

    def get_secret(self) -> bytes:
        """Return the secret that signs operations; it is made when it is first asked for."""
        rows = self._state.read("online-secret")
        if rows:
            return bytes.fromhex(rows[0])
        secret = self.random_source.read_bytes(32)
        row = ("online-secret", ("",), secret.hex())
        self._state.write([row], (), count=self.random_source.count)
        return secret

    def _find_old_operations(self) -> Iterator[OnlineOperation]:
        """Yield the operations that ended first, if too many are kept."""
        for operation_id in list(self._ended)[:-MOST_ENDED]:
            yield self.operations[operation_id]

    def _hold(self, record: Record) -> None:
        if isinstance(record, OnlineEndpoint):
            self.endpoints[record.key] = record
            if record.scoring_path:
                self._by_scoring[record.scoring_path.casefold()] = record.key
        elif isinstance(record, OnlineDeployment):
            self.deployments.setdefault(record.endpoint, {})[record.name.casefold()] = record
        else:
            self.operations[record.id] = record
            if record.done:
                record.outcome = None
                self._ended.setdefault(record.id)

    def _forget(self, record: Record) -> None:
        if isinstance(record, OnlineEndpoint):
            self.endpoints.pop(record.key, None)
            self._by_scoring.pop(record.scoring_path.casefold(), None)
        elif isinstance(record, OnlineDeployment):
            self.deployments.get(record.endpoint, {}).pop(record.name.casefold(), None)
        else:
            self.operations.pop(record.id, None)
            self._ended.pop(record.id, None)


def _name_kind(record: Record) -> str:
    if isinstance(record, OnlineEndpoint):
        return "online-endpoint"
    if isinstance(record, OnlineDeployment):
        return "online-deployment"
    return "online-operation"


def _make_record(kind: str, row: Json) -> Record:
    """Make the record of a row that `asdict` wrote."""
    fields = dict(row)
    if "workspace" in fields:
        fields["workspace"] = OnlineWorkspace(**fields["workspace"])
    if isinstance(fields.get("endpoint"), list):
        fields["endpoint"] = tuple(fields["endpoint"])
    if kind == "online-endpoint":
        return OnlineEndpoint(**fields)
    if kind == "online-deployment":
        return OnlineDeployment(**fields)
    return OnlineOperation(**fields)

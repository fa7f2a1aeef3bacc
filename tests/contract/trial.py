"""One apply of every kind of step while things go wrong, and what really became of each step."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Literal
from unittest import mock

from reconciler.emulator import Fault
from reconciler.engine.applying.apply import FailurePolicy, apply_plan
from reconciler.engine.applying.recover import recover_intents
from reconciler.engine.planning.plan import make_plan
from reconciler.engine.planning.selection import PlanRequest
from reconciler.engine.runtime import Runtime
from reconciler.errors import Unplannable
from reconciler.kinds import find_kinds
from reconciler.model import (
    Address,
    Cause,
    Cloud,
    Estimate,
    Event,
    Finding,
    GuardLimits,
    Inputs,
    Live,
    Manifest,
    Outcome,
    Plan,
    Reason,
    RollbackStarted,
    SecretReference,
    Step,
)
from reconciler.plans.step import make_removal
from reconciler.ports import Access
from reconciler.secrets.redaction import Redaction
from reconciler.transport import Client, CommandRateLimiter
from reconciler.transport.timeouts import Timeouts
from tests.access import PLANES
from tests.contract.classic import MODEL as CLASSIC_MODEL
from tests.contract.classic import PREDICTIVE, SIGNATURE, WORKSPACE
from tests.contract.in_process import GROUP, InProcess
from tests.e2e.world import SUBSCRIPTION, definition
from tests.ledgers import MemoryHistory, MemoryLedger
from tests.unit.test_engine import AUTHOR, LOCK_OWNER, MODEL, Seen

Json = Any
OLD, NEW = (f"https://acct.blob.core.windows.net/m/{name}.ilearner" for name in ("old", "new"))
DEFAULTS = {
    "subscription": SUBSCRIPTION,
    "resourceGroup": GROUP,
    "workspace": WORKSPACE,
    "webService": PREDICTIVE,
}
_KEY = "/properties/keys/primary"
_SIGNED = {"uri": NEW, "sas": {"env": "SAS"}}
_PLAN = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/providers/Microsoft.MachineLearning/commitmentPlans/p"
_ANEW = {
    "properties": {"storageAccount": {"name": "another"}, "commitmentPlan": {"id": _PLAN}},
}
_SECRETS = {"/properties/storageAccount/key": {"env": "STORAGE"}, _KEY: {"env": "KEY"}}
# The spec of each role's manifest. What is deleted has no manifest.
SPECS: Mapping[tuple[str, str], Json] = {
    ("WebService", "create"): {"definition": definition(NEW), "secrets": _SECRETS},
    ("WebService", "update"): {"trainedModels": {MODEL: {"uri": NEW}}},
    ("WebService", "replace"): {"definition": _ANEW, "secrets": _SECRETS},
    ("WebService", "delete"): None,
    ("WebService", "rotate"): {"secrets": {_KEY: {"env": "KEY"}}},
    ("Endpoint", "create"): {
        "definition": {"Description": "new"},
        "trainedModels": {CLASSIC_MODEL: _SIGNED},
    },
    ("Endpoint", "update"): {
        "definition": {"Description": "new"},
        "trainedModels": {CLASSIC_MODEL: _SIGNED},
    },
    ("Endpoint", "replace"): {"definition": {"PreventUpdate": True, "Description": "new"}},
    ("Endpoint", "delete"): None,
    ("Endpoint", "model"): {"trainedModels": {CLASSIC_MODEL: _SIGNED}},
}
# Roles that write something that cannot be observed: a key, or the model of an endpoint.
UNSEEN = {("WebService", "rotate"), ("Endpoint", "create"), ("Endpoint", "model")}
_KINDS = find_kinds()
# No real time passes, but each second of it is a call of a service that refuses all of them.
_TIMEOUTS = Timeouts(throttled_s=20.0)


class _Clock:
    """Time passes only where somebody sleeps, so that no test waits."""

    def __init__(self) -> None:
        self.now = 0.0

    def read(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += max(0.0, seconds)


@dataclass
class Trial:
    """One resource for each role, with a plan that changes all of them.

    An apply may send `most` calls, whatever the estimate says; None is without a limit.
    """

    service: InProcess
    number: int
    roles: Sequence[tuple[str, str]] = tuple(SPECS)
    most: int | None = None
    ledger: MemoryLedger = field(default_factory=MemoryLedger)
    before: dict[str, Json] = field(default_factory=dict)
    after: dict[str, Json] = field(default_factory=dict)
    sent: set[str] = field(default_factory=set)
    _undoing: Sequence[Fault] = ()
    _clock: _Clock = field(default_factory=_Clock)

    def __post_init__(self) -> None:
        self.service.faults.put()
        for kind, role in self.roles:
            if role != "create":
                self._deploy(kind, make_name(kind, role, self.number))
        self.service.forget()
        self.plan = self._make_plan()
        self.before = self.inspect()

    def _deploy(self, kind: str, name: str) -> None:
        if kind == "WebService":
            self.service.others.deploy(name, OLD, keys={"primary": "old", "secondary": "old"})
            return
        path = f"/workspaces/{WORKSPACE}/webservices/{PREDICTIVE}/endpoints/{name}"
        body = {"Description": "old", "PreventUpdate": False}
        status, answer, _ = self.service.others.send("PUT", f"{self.service.url}{path}", body)
        assert status < 300, answer

    @contextmanager
    def runtime(self, most: int | None = None) -> Iterator[Runtime]:
        """What an engine works with. Its waits take no time."""
        emit, kinds = self._hear, _KINDS
        rate_limiter = CommandRateLimiter(
            emit, most=most, clock=self._clock.read, sleep=self._clock.sleep
        )
        url = self.service.url
        access = Access(
            Cloud(url, dict.fromkeys(PLANES, url)),
            emit,
            rate_limiter,
            20.0,
            resolve_secret,
            Redaction(),
        )
        client = partial(
            Client, timeouts=_TIMEOUTS, clock=self._clock.read, sleep=self._clock.sleep
        )
        with (
            mock.patch("reconciler.kinds.web_service.provider.Client", client),
            mock.patch("reconciler.kinds.endpoint.provider.Client", client),
        ):
            yield Runtime(
                kinds=kinds,
                providers={name: kind.connect(access) for name, kind in kinds.items()},
                ledger=self.ledger,
                observations=Seen(),
                drift_history=MemoryHistory(),
                blobs=None,  # type: ignore[arg-type]  # guard `blobs` is off
                resolve=resolve_secret,
                emit=emit,
                clock=lambda: datetime.now(UTC),
                rate_limiter=rate_limiter,
                parallelism=1,
                sleep=self._clock.sleep,
            )

    def _hear(self, event: Event) -> None:
        if isinstance(event, RollbackStarted):
            self.service.faults.put(*self._undoing)

    def _make_plan(self) -> Plan:
        manifests = [
            Manifest(self._address(kind, role), SPECS[kind, role], f"{role}.yaml", "sha256:0")
            for kind, role in self.roles
            if SPECS[kind, role] is not None
        ]
        order = PlanRequest(
            manifests,
            DEFAULTS,
            GuardLimits(blobs="skip", max_updates=100, max_deletes=100),
            Inputs("p", {}),
            allowed=("replace",),
            rotate=tuple(one.address for one in manifests if "rotate" in one.address.name),
            whole=False,
            refresh="full",
        )
        with self.runtime() as runtime:
            plan = make_plan(runtime, order)
            gone = [
                self._make_removal(runtime, self._address(kind, role))
                for kind, role in self.roles
                if SPECS[kind, role] is None
            ]
        assert not plan.refused, plan.refused
        plan = replace(plan, steps=(*plan.steps, *gone), estimate=Estimate())
        assert len(plan.steps) == len(self.roles), plan.findings
        return plan

    def _address(self, kind: str, role: str) -> Address:
        return Address(kind, make_name(kind, role, self.number))

    def _make_removal(self, runtime: Runtime, address: Address) -> Step:
        resource = runtime.kinds[address.kind].locate(address, address.name, DEFAULTS)
        live = runtime.provider(address).read(resource)
        assert isinstance(live, Live)
        return make_removal(resource, live.document, Reason("", Cause.ORPHAN))

    def inspect(self) -> dict[str, Json]:
        """What the service really holds of each resource."""
        return {
            str(step.resource.address): self.service.inspect(step.resource.id)
            for step in self.plan.steps
        }

    def apply(self, faults: Sequence[Fault], undoing: Sequence[Fault] | None = None) -> Outcome:
        """Applies the plan with faults, and rolls back with others where they are given."""
        self._undoing = undoing or ()
        way: Literal["continue", "rollback"] = "continue" if undoing is None else "rollback"
        self.service.faults.put(*faults)
        with (
            self.runtime(self.most) as runtime,
            self.ledger.lock(LOCK_OWNER, 0.0, runtime.emit) as lease,
        ):
            outcome = apply_plan(runtime, self.plan, AUTHOR, lease, FailurePolicy(False, way, 1.0))
        self.sent = {at.rpartition("/")[2] for _, at in self.service.faults.written}
        self.service.faults.put()
        self.after = self.inspect()
        return outcome

    def settle(self) -> tuple[Finding, ...]:
        """Does what the next run does first. Returns what it cannot find out."""
        with self.runtime() as runtime, self.ledger.lock(LOCK_OWNER, 0.0, runtime.emit) as lease:
            try:
                recover_intents(runtime, AUTHOR, lease, 10.0)
            except Unplannable as error:
                return error.findings()
        return ()


def make_name(kind: str, role: str, number: int) -> str:
    return f"{role}-{kind.lower()}-{number}"


def resolve_secret(reference: SecretReference) -> str:
    """The signature of the models, or a new key."""
    return SIGNATURE if reference.env == "SAS" else f"the new {reference.env}"

"""A kind whose service takes a change only in several writes, and its service in memory.

A mixer has members, and weights that say which share of the calls each gets. Its service takes one
member, or all weights, in one call. It refuses weights that do not sum to 100, a weight of a member
that does not exist, and the removal of a member that has a weight.
"""

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Final

from reconciler.document.patch import apply_changes
from reconciler.document.schema import Field, compile_schema
from reconciler.engine.applying.apply import Declarations, FailurePolicy, apply_plan
from reconciler.engine.applying.journal import Author
from reconciler.engine.planning.selection import PlanRequest
from reconciler.engine.runtime import Runtime
from reconciler.errors import CheckFailed, OperationFailed, Rejected
from reconciler.kinds.base import BaseKind
from reconciler.kinds.ids import IdForm
from reconciler.model import (
    ABSENT,
    Absent,
    Action,
    Address,
    Check,
    Declared,
    Entry,
    Event,
    ExportedSpec,
    GuardLimits,
    Inputs,
    Json,
    Live,
    Manifest,
    Outcome,
    Plan,
    Resource,
    SecretReference,
    ServiceTiming,
    Step,
    StepResult,
    Summary,
    Write,
)
from reconciler.ports import Access
from tests.ledgers import MemoryHistory, MemoryLedger
from tests.unit.test_engine import LOCK_OWNER, Seen

SCHEMA: Final = {
    "type": "object",
    "description": "A mixer.",
    "properties": {
        "id": {"type": "string", "description": "Its id.", "readOnly": True},
        "note": {"type": "string", "description": "A note."},
        "members": {
            "type": "object",
            "description": "Its members.",
            "additionalProperties": {
                "type": "object",
                "description": "A member.",
                "x-separate": True,
                "properties": {
                    "image": {"type": "string", "description": "What it runs."},
                    "size": {"type": "integer", "description": "Its size.", "x-server-default": 1},
                    "key": {
                        "type": "string",
                        "description": "Its key.",
                        "writeOnly": True,
                        "x-sensitive": True,
                    },
                },
            },
        },
        "weights": {
            "type": "object",
            "description": "The share of each member.",
            "additionalProperties": {"type": "integer", "description": "Percent."},
        },
    },
}
ID: Final = IdForm(
    noun="a mixer",
    scope="/rooms/{room}",
    below="/mixers/",
    pattern=re.compile(r"/rooms/(?P<room>[a-z]+)/mixers/(?P<name>[a-z]+)"),
    example="/rooms/ROOM/mixers/NAME",
)
MIXER: Final = Resource(Address("Mixer", "a"), "/rooms/r/mixers/a")
START: Final = datetime(2026, 11, 20, 12, tzinfo=UTC)


class MixerKind(BaseKind):
    """The kind `Mixer`; `wrong` makes its split leave out the last write."""

    name = "Mixer"
    schema_name = "mixer"
    manifest_schema_name = "mixer"
    id_form = ID
    wrong = False

    @cached_property
    def field(self) -> Field:
        return compile_schema(SCHEMA)

    def bind(self, manifest: Manifest, live: Json | Absent) -> Declared:
        spec = manifest.spec
        removed = tuple(
            (part, name) for name in spec.get("remove", ()) for part in ("members", "weights")
        )
        way = {"strategy": spec["strategy"]} if "strategy" in spec else {}
        return Declared(copy.deepcopy(spec["definition"]), removed=removed, **way)

    def export(
        self, resource: Resource, document: Json, defaults: Mapping[str, Json], *, full: bool
    ) -> ExportedSpec:
        return ExportedSpec({"definition": document})

    def connect(self, access: Access) -> Any:
        raise NotImplementedError

    def split_step(self, step: Step) -> Sequence[tuple[Write, Json | Absent]]:
        if step.action is Action.DELETE:
            return []
        found = list(self._list_writes(step))
        return found[:-1] if self.wrong else found

    def _list_writes(self, step: Step) -> Iterator[tuple[Write, Json | Absent]]:
        before = {} if step.before is ABSENT else step.before
        after, way = step.after, step.strategy or {}
        now = copy.deepcopy(before)
        secret = {pointer.split("/")[2] for pointer, _ in step.secrets}
        if after.get("note") != now.get("note") or step.before is ABSENT:
            now = {**now, **({"note": after["note"]} if "note" in after else {})}
            now |= {"members": {}, "weights": {}} if step.before is ABSENT else {}
            yield Write("settings"), copy.deepcopy(now)
        new = after.get("members", {})
        for name, member in new.items():
            if now["members"].get(name) != member or name in secret:
                now["members"][name] = member
                yield Write(f"member {name}", sends=("members", name)), copy.deepcopy(now)
        yield from self._shift(step, now)
        # Where an earlier run has ended before its check, this one makes it first.
        unshifted = before and before.get("weights") == now["weights"]
        checks = (_check_shares(now),) if way.get("probe") and unshifted else ()
        for name in sorted(set(now["members"]) - set(new)):
            del now["members"][name]
            wait_s = way.get("keep_s", 0.0)
            write = Write(f"remove {name}", wait_s, requires=checks, sends=("members", name))
            yield write, copy.deepcopy(now)

    def _shift(self, step: Step, now: Json) -> Iterator[tuple[Write, Json]]:
        """The writes of the weights: in the steps of the strategy that are still ahead."""
        way, after = step.strategy or {}, step.after
        target = after.get("weights", {})
        if now["weights"] == target:
            return
        (gains,) = [name for name, share in target.items() if share == 100] or [""]
        other = next((name for name in now["weights"] if name != gains), "")
        have = now["weights"].get(gains, 0)
        steps = [one for one in way.get("steps", ()) if have < one < 100] if other else []
        probe = Check(f"{gains} answers", {"sort": "probe", "member": gains, "count": 3})
        probes = (probe, *((_check_shares(now),) if have else ()))
        first = True
        for share in [*steps, 100]:
            weights = target if share == 100 else {gains: share, other: 100 - share}
            now["weights"] = weights
            yield (
                Write(
                    f"{gains} gets {share} %",
                    wait_s=0.0 if first else way.get("pause_s", 0.0),
                    requires=probes if way.get("probe") and first else (),
                    checks=(_check_shares(now),) if way.get("probe") else (),
                    sends=("weights",),
                ),
                copy.deepcopy(now),
            )
            first = False

    def retreat(self, step: Step, reached: Json) -> Sequence[tuple[Write, Json | Absent]]:
        writes: list[tuple[Write, Json | Absent]] = []
        now = copy.deepcopy(reached)
        if now["weights"] != step.before["weights"]:
            now["weights"] = step.before["weights"]
            writes.append((Write("old weights", sends=("weights",)), copy.deepcopy(now)))
        added = sorted(set(now["members"]) - set(step.before["members"]))
        for name in added if (step.strategy or {}).get("on_failure") != "keep" else ():
            del now["members"][name]
            writes.append((Write(f"remove {name}", sends=("members", name)), copy.deepcopy(now)))
        return writes


def _check_shares(now: Json) -> Check:
    """The check that the shares of the answers are the weights."""
    first = now["weights"].get("green", next(iter(now["weights"].values())))
    return Check(f"shares of {first}", {"sort": "shares", "weights": now["weights"], "count": 9})


class Killed(BaseException):
    """The process ends here."""


@dataclass
class Desk:
    """The service, the ledger and the clock of mixers in memory.

    `sent` has what each write did. The calls count up, and `dies_at` kills the process before that
    call takes effect; with `dies_after` it takes effect. `failing` has the titles of the checks
    that fail. The next write of each member in `refusing` is refused, and so is every write after
    the first `refuses_after` ones. The operation of what is in `breaking` fails, after it took
    effect.
    """

    documents: dict[str, Json] = field(default_factory=dict)
    ledger: MemoryLedger = field(default_factory=MemoryLedger)
    kind: MixerKind = field(default_factory=MixerKind)
    events: list[Event] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)
    checked: list[str] = field(default_factory=list)
    failing: set[str] = field(default_factory=set)
    refusing: set[str] = field(default_factory=set)
    refuses_after: int = -1
    breaking: set[str] = field(default_factory=set)
    slept_s: float = 0.0
    dies_at: int = 0
    dies_after: bool = False
    calls: int = 0
    halted: str = ""
    halts_after: str = ""
    seen: Seen = field(default_factory=Seen)
    history: MemoryHistory = field(default_factory=MemoryHistory)
    wanted: dict[str, Json] = field(default_factory=dict)

    timing = ServiceTiming(15.0, 10, 250, 25.0, 200, 10.0)

    @property
    def kept(self) -> list[Entry]:
        return [one for one in self.ledger.entries() if one.result is StepResult.DONE]

    def list_parts(self) -> list[tuple[int, int, str]]:
        """The number, the count and the title of each write in the ledger."""
        return [(one.part, one.parts, one.title) for one in self.kept]

    def declare(self, definition: Json, **spec: Json) -> None:
        self.wanted = {"definition": definition, **spec}

    def _call(self) -> bool:
        """Count a call; returns whether the process is killed after it."""
        self.calls += 1
        if self.calls == self.dies_at:
            if not self.dies_after:
                raise Killed
            return True
        return False

    # The ports of the provider.

    def scan(self, scope: str, _: Any = None) -> Iterator[Summary]:
        for resource_id in self.documents:
            yield Summary(resource_id, "", idle=True)

    def read(self, resource: Resource) -> Live | Absent:
        dies = self._call()
        if dies:
            raise Killed
        document = self.documents.get(resource.id)
        if document is None:
            return ABSENT
        return Live(copy.deepcopy(document), {}, START, "", idle=True)

    def write(self, step: Step, live: Live | Absent, resolve: Any) -> Iterator[None]:
        dies = self._call()
        if step.action is Action.DELETE:
            self.sent.append("delete")
            del self.documents[step.resource.id]
        else:
            self._put(step, {} if live is ABSENT else live.document, resolve)
        if dies:
            raise Killed
        yield
        if self.sent[-1] in self.breaking:
            raise OperationFailed("the operation failed", status=200)

    def _put(self, step: Step, live: Json, resolve: Any) -> None:
        after = apply_changes(step.ops, live) if live else step.after
        parts = (
            [f"weights {dict(sorted(after['weights'].items()))}"]
            if after["weights"] != live.get("weights", {})
            else []
        )
        old, new = live.get("members", {}), after["members"]
        written = {pointer.split("/")[2] for pointer, _ in step.secrets}
        for name in sorted({*old, *new}):
            if old.get(name) != new.get(name) or name in written:
                key = [resolve(ref) for at, ref in step.secrets if at.split("/")[2] == name]
                parts.append(f"{'put' if name in new else 'drop'} {name}{''.join(key)}")
        if len(parts) > 1 and step.before is not ABSENT:
            raise Rejected(f"several calls in one: {parts}", status=400)
        named = self.refusing & {part.split()[1] for part in parts}
        if named or len(self.sent) == self.refuses_after:
            self.refusing -= named
            raise Rejected("no such image", status=400)
        shares = after["weights"]
        if sum(shares.values()) not in (0, 100) or not set(shares) <= set(new):
            raise Rejected(f"weights {shares} over {sorted(new)}", status=400)
        self.sent.append(parts[0] if parts else "settings")
        document = {"id": step.resource.id, **copy.deepcopy(after)}
        for name, member in document["members"].items():
            if old.get(name) != new.get(name):
                member.setdefault("size", 1)  # the service fills it in
        self.documents[step.resource.id] = document

    def check_write(
        self, resource: Resource, check: Check, manifest: Manifest | None
    ) -> Iterator[str]:
        for number in range(1, 4):
            if self._call():
                raise Killed
            yield f"{number} of 3 calls"
        self.checked.append(check.title)
        if check.title in self.failing:
            raise CheckFailed("answer 2 has 0.2 for 0.9", detail=("status 200", "log: oops"))

    def inspect(self, _: Any) -> Any:
        return ABSENT

    # Its runtime.

    def now(self) -> datetime:
        return START + timedelta(seconds=self.slept_s)

    def sleep(self, seconds: float) -> None:
        self.slept_s += seconds

    def emit(self, event: Event) -> None:
        self.events.append(event)
        if self.halts_after and self.halts_after == getattr(event, "title", ""):
            self.halted = "interrupted"

    def resolve(self, reference: SecretReference) -> str:
        return f" with {reference.env}"

    def runtime(self) -> Runtime:
        return Runtime(
            kinds={"Mixer": self.kind},
            providers={"Mixer": self},
            ledger=self.ledger,
            observations=self.seen,
            drift_history=self.history,
            blobs=self,
            resolve=self.resolve,
            emit=self.emit,
            clock=self.now,
            rate_limiter=_Unlimited(),
            parallelism=2,
            sleep=self.sleep,
            halted=lambda: self.halted,
        )

    @property
    def manifests(self) -> list[Manifest]:
        return [Manifest(MIXER.address, self.wanted, "a.yaml", "sha256:0")] if self.wanted else []

    @property
    def request(self) -> PlanRequest:
        return PlanRequest(
            manifests=self.manifests,
            defaults={"room": "r"},
            limits=GuardLimits(max_updates="100%", max_deletes=9, blobs="skip"),
            inputs=Inputs("p", {}),
        )

    def apply(self, plan: Plan, digest: str = "sha256:0", **policy: Any) -> Outcome:
        """Apply a plan in a process of its own, in which the last one may have been killed."""
        runtime, author = self.runtime(), Author("ci", "builder", "4f1c2aa", digest)
        self.ledger.lock_owner = None
        with self.ledger.lock(LOCK_OWNER, 0.0, self.emit) as lease:
            declared = Declarations("", self.manifests)
            return apply_plan(runtime, plan, author, lease, FailurePolicy(**policy), declared)


class _Unlimited:
    """A rate limiter without a limit."""

    sent = 0

    def check(self, needed: int) -> None:
        pass

    def require(self, lease: Any) -> None:
        pass

    def stop(self, within_s: float) -> None:
        pass

    def admit(self, method: str, url: str, within_s: float, apart: Any = None) -> Any:
        raise NotImplementedError


def open_desk(**spec: Json) -> Desk:
    """A mixer whose member blue gets all calls, and a manifest that gives them to green."""
    desk = Desk()
    blue = {"members": {"blue": {"image": "one", "size": 1}}, "weights": {"blue": 100}}
    desk.documents[MIXER.id] = {"id": MIXER.id, "note": "n", **copy.deepcopy(blue)}
    way = {"steps": [10, 50], "pause_s": 60.0, "keep_s": 600.0, "probe": True}
    given = {"strategy": way, "remove": ["blue"], **spec}
    desk.declare({"members": {"green": {"image": "two"}}, "weights": {"green": 100}}, **given)
    return desk

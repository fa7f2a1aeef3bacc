"""The values of the ledger: intents, entries, the last applied state, and the lock owner."""

from __future__ import annotations

import enum
import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import field, fields, replace
from typing import Final

from reconciler.model.core import Action, Address, Finding, Json, Resource, SecretReference
from reconciler.model.values import dataclass


@dataclass(frozen=True)
class StepRecord:
    """The fields that an intent, an entry and the last applied state have in common.

    `id` is the service's id of the resource. `at` is an ISO time. `plan_digest` and `step_digest`
    are the digests of the plan and of its step: they show whether that step was the last one that
    was applied. `secrets` maps the pointers of secrets to the written version label. `digests` maps
    the pointers of models to the digest of their bytes. `wave` and `fleet` are as in `Step`.
    `token` is the text form of the `SecretReference` of the resource's own token; empty when the
    resource has no token of its own. `created` is when the service created the resource, as the
    service shows it; empty when it shows no such time. It distinguishes two resources with the same
    id. `environment` is that of the project whose ledger has the line; empty for a project without
    environments. The ledger assigns `environment` and `sequence`. Of a step with several writes,
    `part` is the number of this write, from 1, and `parts` is how many there are; both are 0 for a
    step with one write. `step_digest` is always that of the whole step.
    """

    id: str
    at: str
    by: str
    commit: str
    plan_digest: str = field(default="", kw_only=True)
    step_digest: str = field(default="", kw_only=True)
    secrets: Mapping[str, str] = field(default_factory=dict, kw_only=True)
    digests: Mapping[str, str] = field(default_factory=dict, kw_only=True)
    wave: int = field(default=0, kw_only=True)
    fleet: Address | None = field(default=None, kw_only=True)
    token: str = field(default="", kw_only=True)
    created: str = field(default="", kw_only=True)
    environment: str = field(default="", kw_only=True)
    sequence: int = field(default=0, kw_only=True)
    part: int = field(default=0, kw_only=True)
    parts: int = field(default=0, kw_only=True)


@dataclass(frozen=True)
class LastApplied(StepRecord):
    """The state of one resource in the ledger after its last apply.

    `owned` maps pointers that a manifest declared to the values that were read back. `baseline`
    maps the pointers that no manifest declared to their values at that time: short values, or
    `{"digest": …}`.
    """

    owned: Mapping[str, Json]
    baseline: Mapping[str, Json] = field(default_factory=dict)

    @classmethod
    def of(cls, entry: Entry) -> LastApplied:
        """The state after an entry whose step is done."""
        return cls(**{name: getattr(entry, name) for name in _REMEMBERED})

    def resource(self, address: Address) -> Resource:
        """The resource with its recorded id and token."""
        return Resource(address, self.id, SecretReference.parse(self.token))

    def has_id(self, resource_id: str) -> bool:
        """Whether the state is that of the resource with this id, in any case of its letters."""
        return self.id.casefold() == resource_id.casefold()


_REMEMBERED: Final = tuple(one.name for one in fields(LastApplied))


class StepResult(enum.StrEnum):
    """The result of a step, as a later read shows it.

    `NOT_DONE`: live is unchanged. `UNKNOWN`: live has neither the old nor the new values, or cannot
    be read.
    """

    DONE = "done"
    NOT_DONE = "not done"
    UNKNOWN = "unknown"


# A line of the ledger must stay short, and a commit may lack ten thousand files.
MOST_DIFFERING: Final = 21


@dataclass(frozen=True)
class LoggedStep(StepRecord):
    """The fields that an intent and an entry have in common.

    `patch` holds the operations of the step and the values that it writes beside them; `inverse`
    undoes both. `fence` is the fencing token of the lock under which the line was written; it only
    grows. `differing` are the files that the commit does not contain as they were read: the first
    `MOST_DIFFERING` of them. `title` says what one of several writes does; empty for a step with
    one write.
    """

    address: Address
    action: Action
    host: str
    patch: tuple[Json, ...]
    inverse: tuple[Json, ...]
    fence: int = field(default=0, kw_only=True)
    differing: tuple[str, ...] = field(default=(), kw_only=True)
    title: str = field(default="", kw_only=True)

    @property
    def resource(self) -> Resource:
        """The resource of the step."""
        return Resource(self.address, self.id, SecretReference.parse(self.token))


@dataclass(frozen=True)
class Intent(LoggedStep):
    """The planned write of a step; it is durable before the first call of the step.

    `attempt` counts from 1. `owned_paths` are the pointers that are recorded once the step is done.
    `stamp` is the service's change stamp immediately before. `absences` and `body` are as in
    `Step`.
    """

    attempt: int
    owned_paths: tuple[str, ...] = ()
    absences: tuple[str, ...] = ()
    stamp: str = ""
    body: str = "parts"


@dataclass(frozen=True)
class Fact:
    """What a command records beside the steps: a training job, an evaluation, a reason given.

    The last fact with the same `topic` and `subject` replaces the earlier ones. `at` is an ISO
    time. `data` never holds a secret. `fence` is as in `LoggedStep`, and `environment` as in
    `StepRecord`; the ledger assigns `sequence`.
    """

    topic: str
    subject: str
    data: Mapping[str, Json]
    at: str
    by: str
    commit: str
    host: str
    fence: int = 0
    sequence: int = 0
    environment: str = ""


@dataclass(frozen=True, slots=True)
class Approval:
    """A signed approval of a plan that counts.

    `key` is the fingerprint of the key, as OpenSSH prints it. `expires` is an ISO time. `file` is
    the name of its file.
    """

    principal: str
    key: str
    expires: str
    file: str = ""


# The operation of a lock owner that yields.
WATCH: Final = "watch"


@dataclass(frozen=True, slots=True)
class LockOwner:
    """The process that holds the lock of a ledger: user, command, host, start time and commit.

    `id` is the argument of `force-unlock`. Process `pid` runs on `host` and started at `started`
    (in the machine's own count; empty when the machine has no such count). `since` is in UTC.
    `fence` is the fencing token: the ledger assigns it when the lock is taken, and it only grows.
    """

    id: str
    who: str
    why: str
    host: str
    pid: int
    started: str
    since: str
    commit: str = ""
    fence: int = 0

    @property
    def yields(self) -> bool:
        """Whether it releases the lock, after the steps that run, for a command that waits."""
        return self.why == WATCH


@dataclass(frozen=True)
class Snapshot:
    """The ledger at one moment. `known` is False when no ledger exists.

    `open` are the intents with an unknown result, oldest first. `fence` is the highest fencing
    token in the ledger.

    An address can have meant more than one resource. The last one that was applied has the address.
    Each former one, as long as the ledger records it, has an address of its own, such as
    `WebService/a.former`; `former` maps it to the address under which it was applied. `moved` maps
    the address of a resource to the one that the project says it had before. `facts` are the last
    ones, by topic and subject.

    `lost` warns of lines that the ledger had and has no longer; `known` is then False.
    """

    last_applied_by_address: Mapping[Address, LastApplied]
    known: bool
    open: tuple[Intent, ...] = ()
    fence: int = 0
    former: Mapping[Address, Address] = field(default_factory=dict)
    moved: Mapping[Address, Address] = field(default_factory=dict)
    facts: Mapping[tuple[str, str], Fact] = field(default_factory=dict)
    lost: Finding | None = None

    def applied_as(self, address: Address) -> Address:
        """The address under which a resource was applied: its own, unless it is a former one."""
        return self.former.get(address, address)

    def list_facts(self, topic: str) -> Iterator[tuple[Address, Fact]]:
        """Yields the last facts of a topic about resources, each by its current address."""
        current = {old: new for new, old in self.moved.items()}
        for (about, subject), fact in self.facts.items():
            if about == topic:
                address = Address.parse(subject)
                yield current.get(address, address), fact

    def of_resources(self, resources: Iterable[Resource]) -> Snapshot:
        """The same moment, for addresses that mean these resources now.

        Such an address has the recorded state of the resource that it means, or none. A resource
        that it meant before is a former one.
        """
        meant = {one.address: one for one in resources}
        states: dict[Address, LastApplied] = {}
        left: list[tuple[Address, LastApplied]] = []
        for known, last_applied in self.last_applied_by_address.items():
            address = self.applied_as(known)
            resource = meant.get(address)
            if resource is not None and last_applied.has_id(resource.id):
                states[address] = last_applied
            elif resource is None and known == address:
                states[known] = last_applied
            else:
                left.append((address, last_applied))
        named, former = name_former(left, {*states, *meant})
        return replace(self, last_applied_by_address={**states, **named}, former=former)


def name_former(
    states: Iterable[tuple[Address, LastApplied]], taken: Collection[Address]
) -> tuple[dict[Address, LastApplied], dict[Address, Address]]:
    """Give each former resource an address that is not in `taken`.

    `states` has the address under which each was applied. Returns the states by their new address,
    and the old address by the new one.
    """
    named: dict[Address, LastApplied] = {}
    former: dict[Address, Address] = {}
    for address, last_applied in states:
        free = (Address(address.kind, f"{address.name}{suffix}") for suffix in _suffixes())
        new = next(one for one in free if one not in taken and one not in named)
        named[new], former[new] = last_applied, address
    return named, former


def _suffixes() -> Iterator[str]:
    yield ".former"
    yield from (f".former-{number}" for number in itertools.count(2))


@dataclass(frozen=True)
class Entry(LoggedStep):
    """One line of the ledger: an action on one resource, its author and its commit.

    `owned` and `baseline` are as in `LastApplied`. `intent` is the sequence of the intent that the
    entry closes, or 0 without an intent. A `result` other than done closes the intent and does not
    change the last applied state; `note` then says why.
    """

    owned: Mapping[str, Json]
    baseline: Mapping[str, Json] = field(default_factory=dict)
    intent: int = 0
    result: StepResult = StepResult.DONE
    note: str = ""

    @classmethod
    def closing(cls, intent: Intent, at: str, fence: int) -> Entry:
        """The entry that closes an intent, without values; its author is that of the intent."""
        said = {name: getattr(intent, name) for name in _LOGGED}
        said |= {"at": at, "fence": fence, "secrets": {}, "digests": {}, "sequence": 0}
        return cls(**said, owned={}, intent=intent.sequence)


_LOGGED: Final = tuple(one.name for one in fields(LoggedStep))


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """The result of a check of every line of a ledger: the number of lines, and the findings.

    `sequence` and `digest` are those of the last line; 0 and empty if no valid line is the last.
    """

    entries: int
    intents: int
    findings: tuple[Finding, ...] = ()
    sequence: int = 0
    digest: str = ""
    facts: int = 0


@dataclass(frozen=True)
class RebuiltEntry:
    """The entry of one resource that is rebuilt from its live document.

    `entry` is None when the service does not exist. `apart` are the places where live differs from
    the manifest. `not_observable` are the places that the service never shows. `models` are the
    places of trained models: the digests of their bytes at the last apply are unknown. `assumed` is
    True if the secrets only count as written; otherwise the old ledger records it. `unwritten` are
    the places of the secrets that it does not record.
    """

    resource: Resource
    entry: Entry | None = None
    apart: tuple[str, ...] = ()
    not_observable: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    unwritten: tuple[str, ...] = ()
    assumed: bool = True

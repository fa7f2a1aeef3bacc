"""Reads the history of resources from ledger entries: what changed, when, and who wrote it.

Entries are passed oldest first. The schema says which values are sensitive. Without a schema no
value may be shown. The history command, the evidence and the rollback call this module.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, time
from itertools import chain, groupby, islice
from typing import Final

from reconciler.document.pointers import split_pointer
from reconciler.document.schema import Field
from reconciler.model import (
    ABSENT,
    Absent,
    Action,
    Address,
    Approval,
    Entry,
    Fact,
    Intent,
    Json,
    Path,
    StepResult,
)
from reconciler.model.values import dataclass
from reconciler.text.times import format_utc, parse_utc

# The topic of the facts that say why a guard was lifted; their subject is the digest of the plan.
REASON: Final = "reason"
# The topic of the facts that say who approved a plan; their subject is the digest of the plan.
APPROVALS: Final = "approvals"
# The topic of the facts that say whether the checks of a step have passed; their subject is the
# address of the resource.
CHECKS: Final = "checks"
# The topics of the facts about training: the states of a job, whose subject is the retraining, an
# evaluation, whose subject is the digest of the model, and the registration of a version.
JOB: Final = "job"
EVALUATION: Final = "evaluation"
REGISTRATION: Final = "registration"
_ANSWERS: Final = frozenset({"answers", "parentAnswers"})
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_RUN_FROM: Final = 3
_GONE = frozenset({Action.DELETE, Action.FORGET})
# These actions write the whole resource, so they wrote every value that the entry records.
_WHOLE = frozenset({Action.CREATE, Action.REPLACE})


@dataclass(frozen=True, slots=True)
class Moment:
    """A point in the past: immediately after an entry. `time` is what the user asked for, if any.

    `settle` finds the entry of a time.
    """

    sequence: int = 0
    time: datetime | None = None

    def covers(self, entry: Entry) -> bool:
        """Whether the entry is not later than this moment."""
        return entry.sequence <= self.sequence

    def __str__(self) -> str:
        return f"#{self.sequence}" if self.time is None else format_utc(self.time)


@dataclass(frozen=True, slots=True)
class Touch:
    """One place that an entry changed; `hidden` is True if its values may not be shown."""

    pointer: str
    verb: str
    before: Json | Absent
    after: Json | Absent
    hidden: bool


@dataclass(frozen=True, slots=True)
class Authorship:
    """The entry that recorded the value at one place.

    `wrote` is False where the entry found the value and did not write it. `label` is the version
    of a secret; the value of a secret is not recorded.
    """

    pointer: str
    value: Json | Absent
    entry: Entry
    wrote: bool
    label: str = ""


def parse_moment(text: str) -> Moment:
    """Parse `#12`, a date or an ISO time; a date means the end of its day.

    The time zone is UTC if the text names no zone. Raises ValueError for any other text.
    """
    if text.startswith("#"):
        if not text[1:].isascii() or not text[1:].isdecimal():
            raise ValueError(text)
        return Moment(sequence=int(text[1:]))
    if _DATE.fullmatch(text):
        day = datetime.fromisoformat(text).date()
        return Moment(time=datetime.combine(day, time(23, 59, 59), UTC))
    return Moment(time=parse_utc(text))


def settle(moment: Moment, entries: Iterable[Entry]) -> tuple[Moment, Entry | None]:
    """Return the moment immediately after the last entry that is not later than its time.

    The clocks that wrote the entries may differ, but their order is certain. So what was remembered
    at a time is what the ledger really held after one of its entries. The second result is an
    earlier entry with a later time, or None if the times before the moment are in order.
    """
    if moment.time is None:
        return moment, None
    last, later = 0, None
    for entry in entries:
        if parse_utc(entry.at) <= moment.time:
            last = entry.sequence
        else:
            later = later or entry
    return replace(moment, sequence=last), later if later and later.sequence < last else None


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive entries of one apply with the same action on members of one fleet.

    `names` are the names of the members, in the order of the entries.
    """

    first: Entry
    last: Entry
    names: Sequence[str]


def gather_runs(entries: Iterable[Entry]) -> Iterator[Entry | Run]:
    """Yield the entries in their order; three or more similar ones become one `Run`."""
    for run, group in groupby(entries, _find_run):
        rest = iter(group)
        few = list(islice(rest, _RUN_FROM))
        if run is None or len(few) < _RUN_FROM:
            yield from chain(few, rest)
            continue
        # The entries are not kept in memory: there may be ten thousand.
        last, names = few[-1], [one.address.name for one in few]
        for last in rest:
            names.append(last.address.name)
        yield Run(few[0], last, names)


def insert(items: Iterable[Entry | Run], facts: Iterable[Fact]) -> Iterator[Entry | Run | Fact]:
    """Yield entries and facts in the order of the ledger; both must be in their own order."""
    waiting = deque(facts)
    for item in items:
        sequence = (item.first if isinstance(item, Run) else item).sequence
        while waiting and waiting[0].sequence < sequence:
            yield waiting.popleft()
        yield item
    yield from waiting


def trim(fact: Fact) -> Fact:
    """Return a fact without the answers of the models to each row, which no history shows."""
    kept = {name: value for name, value in fact.data.items() if name not in _ANSWERS}
    return replace(fact, data=kept)


def read_approvals(fact: Fact) -> tuple[Approval, ...]:
    """Return the approvals that a fact of the topic `APPROVALS` records."""
    listed = fact.data.get("approvals")
    said = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    names = ("principal", "key", "expires")
    return tuple(Approval(**{name: str(one.get(name, "")) for name in names}) for one in said)


def find_subjects(fact: Fact) -> set[str]:
    """Return the addresses that a fact is about: resources and fleets, or a retraining."""
    if fact.topic in {JOB, CHECKS}:
        return {fact.subject}
    if fact.topic == EVALUATION:
        return {str(fact.data.get("retraining", ""))}
    if fact.topic == REGISTRATION:
        return {str(fact.data.get(name, "")) for name in ("retraining", "resource")}
    listed = (fact.data.get(name, ()) for name in ("addresses", "fleets"))
    return {str(one) for names in listed if isinstance(names, list) for one in names}


def _find_run(entry: Entry) -> tuple[object, ...] | None:
    if entry.fleet is None:
        return None
    author = (entry.plan_digest, entry.by, entry.host, entry.commit)
    write = (entry.part, entry.parts, entry.title)
    return (entry.fleet, entry.address.kind, entry.action, entry.result, *author, *write)


def rename(address: Address, moved: Mapping[Address, Address]) -> Address:
    """Return the current address of a resource that may have been renamed."""
    known = {address}
    while moved.get(address, address) not in known:
        address = moved[address]
        known.add(address)
    return address


def resolve_moves(moved: Mapping[Address, Address]) -> dict[Address, Address | None]:
    """Return the current address for each old one; None where the entries lead in a circle."""
    ends: dict[Address, Address | None] = {}
    for start in moved:
        way, at = [], start
        while at in moved and at not in ends:
            ends[at] = None  # an entry that comes to this address again is part of a circle
            way.append(at)
            at = moved[at]
        ends.update(dict.fromkeys(way, ends[at] if at in moved else at))
    return ends


def is_of_one_resource(before: Entry, after: Entry) -> bool:
    """Whether two entries are of one resource.

    Their ids are equal, and `after` did not find a resource that was created since `before`.
    """
    same_id = before.id.casefold() == after.id.casefold()
    made = after.action in _WHOLE or not (before.created and after.created)
    return same_id and (made or before.created == after.created)


def find_step_start(entries: Sequence[Entry]) -> int:
    """Return the index of the first entry of the last step of one resource.

    A step of several writes has an entry for each. One that ended before its last write is not a
    state that anyone asked for, so it counts as a part of the step after it.
    """
    start = len(entries) - 1
    while start > 0:
        entry, before = entries[start], entries[start - 1]
        together = bool(entry.parts) and before.step_digest == entry.step_digest
        unfinished = before.parts > 0 and before.part != before.parts
        if not ((together or unfinished) and is_of_one_resource(before, entry)):
            break
        start -= 1
    return start


def recall(
    entries: Iterable[Entry], moved: Mapping[Address, Address], moment: Moment | None = None
) -> dict[Address, Entry]:
    """Return the entry that describes each resource at a moment; without a moment, now."""
    last: dict[Address, Entry] = {}
    for entry in entries:
        if entry.result is not StepResult.DONE or (moment is not None and not moment.covers(entry)):
            continue
        address = rename(entry.address, moved)
        if entry.action in _GONE:
            if address in last and is_of_one_resource(last[address], entry):
                del last[address]
        else:
            last[address] = replace(entry, address=address)
    return last


def attribute(entries: Iterable[Entry]) -> list[Authorship]:
    """Return who wrote each recorded value of one resource, from the entries of its address.

    The entries of another resource that the address, or its id, meant before say nothing of it.
    """
    found: dict[str, Authorship] = {}
    last: Entry | None = None
    for entry in entries:
        if entry.result is StepResult.DONE:
            if last is not None and not is_of_one_resource(last, entry):
                found = {}
            gone = entry.action in _GONE
            found, last = ({} if gone else dict(_attribute_one(entry, found))), entry
    return [found[pointer] for pointer in sorted(found)]


def _attribute_one(
    entry: Entry, before: Mapping[str, Authorship]
) -> Iterator[tuple[str, Authorship]]:
    written = [split_pointer(op["path"]) for op in entry.patch if op["op"] != "test"]
    for pointer, value in entry.owned.items():
        known, path = before.get(pointer), split_pointer(pointer)
        wrote = entry.action in _WHOLE or any(_overlap(path, one) for one in written)
        if known is None or wrote or not _is_same(known.value, value):
            known = Authorship(pointer, value, entry, wrote)
        yield pointer, known
    for pointer, label in entry.secrets.items():
        known = before.get(pointer)
        if known is None or known.label != label or entry.action in _WHOLE:
            wrote = entry.action is not Action.ADOPT
            known = Authorship(pointer, ABSENT, entry, wrote, label)
        yield pointer, known


def _overlap(one: Path, other: Path) -> bool:
    return one[: len(other)] == other or other[: len(one)] == one


def _is_same(one: Json | Absent, other: Json | Absent) -> bool:
    """Whether two values are the same in JSON: Python's `==` does not distinguish true from 1."""
    return type(one) is type(other) and bool(one == other)


def find_unrecorded(known: Iterable[Entry], entries: Iterable[Entry]) -> list[Entry]:
    """Return the entries that a ledger does not hold under any number.

    An entry also counts as held if another run has closed the same intent since.
    """
    written, closed = set(), set()
    for entry in known:
        written.add(_name_entry(entry))
        closed.add((entry.address, entry.intent, entry.step_digest))
    return [
        entry
        for entry in entries
        if _name_entry(entry) not in written
        and not (entry.intent and (entry.address, entry.intent, entry.step_digest) in closed)
    ]


def _name_entry(entry: Entry) -> tuple[object, ...]:
    """Return what no two entries share: several writes of one step may end in one second."""
    step = (entry.plan_digest, entry.step_digest, entry.part, entry.title)
    return (entry.address, entry.at, *step)


def attach(entries: Iterable[Entry], begun: Iterable[Intent]) -> list[Entry]:
    """Return the entries, each with its intent number, or 0 if that intent is not open.

    After a rebuild the ledger may not know the intent, or may have another one with its number.
    """
    known = {(one.sequence, one.address, one.step_digest) for one in begun}
    return [
        entry
        if (entry.intent, entry.address, entry.step_digest) in known
        else replace(entry, intent=0)
        for entry in entries
    ]


def list_touches(field: Field | None, entry: Entry | Intent) -> Iterator[Touch]:
    """Yield the places that an entry changed, in the order of its patch."""
    for forth, back in pair_operations(entry):
        before = ABSENT if back is None else back.get("value", ABSENT)
        after = forth.get("value", ABSENT)
        path = split_pointer(forth["path"])
        hidden = is_hidden(field, path, before, after)
        yield Touch(forth["path"], forth["op"], before, after, hidden)


def pair_operations(entry: Entry | Intent) -> list[tuple[Json, Json | None]]:
    """Return each change of an entry with its inverse, or None if it has no inverse.

    The `test` operations are left out.
    """
    forth = [op for op in entry.patch if op["op"] != "test"]
    back = [op for op in entry.inverse if op["op"] != "test"]
    if len(back) != len(forth):
        return [(op, None) for op in forth]
    return list(zip(forth, reversed(back), strict=True))


def is_hidden(field: Field | None, path: Path, *values: Json | Absent) -> bool:
    """Whether the values at a place may not be shown.

    A place is hidden if it is sensitive, is inside a sensitive value, or contains one. Without a
    schema every place is hidden.
    """
    if field is None:
        return True
    for segment in path:
        if field.sensitive:
            return True
        field = field.child(segment)
    return field.sensitive or any(_holds_sensitive(field, value) for value in values)


def _holds_sensitive(field: Field, value: Json | Absent) -> bool:
    if field.is_sealed(value):
        return True
    if isinstance(value, dict):
        return any(
            field.child(name).sensitive or _holds_sensitive(field.child(name), below)
            for name, below in value.items()
        )
    if isinstance(value, list):
        return any(_holds_sensitive(field.child(0), item) for item in value)
    return False

"""Reading what is live, many at once, and only what may have changed.

A read that failed is a finding, never an absence. When a service cannot be reached at all, or
lets nobody in, the rest is not asked: a thousand times the same error helps nobody.

With `auto` the lists of the service are read first; a service whose change stamp there equals that
of its last observation is not read again. Only what had settled when it was seen counts, and what
a list leaves out is read: an item that is missing there proves nothing.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Literal, TypeAlias

from reconciler.engine.runtime import Hands
from reconciler.errors import (
    ReconcilerError,
    ServiceError,
    Throttled,
    TooManyCalls,
    Unauthorized,
    Unavailable,
)
from reconciler.model import (
    ABSENT,
    Absent,
    Agenda,
    Finding,
    Folded,
    Live,
    Refresh,
    Refreshed,
    Refreshing,
    Resource,
    Sighting,
    fold,
)
from reconciler.ports import ReadsMany

Mode: TypeAlias = Literal["auto", "full", "none"]
# A list is worth its call where it saves at least so many reads.
_WORTH: Final = 2
_PAGE: Final = 1000


@dataclass(frozen=True, slots=True)
class Observation:
    """What is known of one resource: its document, or None and the `finding` that says why not.

    `at` is when it was seen, in seconds since 1970; `fresh` is False where it was remembered.
    """

    resource: Resource
    document: Folded | Absent | None
    finding: Finding | None = None
    at: float = 0.0
    fresh: bool = True
    stamp: str = ""
    settled: bool = False

    @property
    def live(self) -> Live | Absent | None:
        """What was seen, opened anew each time; without the reply as it came."""
        if not isinstance(self.document, Folded):
            return self.document
        read_at = datetime.fromtimestamp(self.at, UTC)
        return Live(self.document.open(), None, read_at, self.stamp, self.settled)


@dataclass(frozen=True)
class Survey:
    """Many observations, in the order that was asked for, and how they were come by."""

    seen: Mapping[Resource, Observation]
    refresh: Refresh = field(default_factory=lambda: Refresh("full", 0, 0, 0))

    def __getitem__(self, resource: Resource) -> Observation:
        return self.seen[resource]

    def join(self, other: Survey) -> Survey:
        """Both, where the second was asked for because of the first."""
        one, two = self.refresh, other.refresh
        refresh = Refresh(
            mode=one.mode,
            read=one.read + two.read,
            total=one.total + two.total,
            calls=one.calls + two.calls,
            oldest=max(one.oldest, two.oldest),
        )
        return Survey({**self.seen, **other.seen}, refresh)


def observe(hands: Hands, resources: Iterable[Resource], mode: Mode = "full") -> Survey:
    """Observe every resource once; nothing is raised for a read that failed.

    Raises TooManyCalls where there are more to be read than calls may be sent.
    """
    asked = list(dict.fromkeys(resources))
    calls = hands.calls
    remembered = {} if mode == "full" else _remember(hands, asked, mode)
    wanted = [resource for resource in asked if resource not in remembered]
    found = dict(remembered)
    if mode == "none":
        found.update((resource, _never_seen(resource)) for resource in wanted)
        wanted = []
    hands.emit(Agenda(reads=len(wanted)))
    reader = _Reader(hands)
    read = list(_read_lists(hands, reader, wanted))
    listed = {seen.resource for seen in read}
    left = [resource for resource in wanted if resource not in listed]
    hands.budget.check(len(left))
    read += hands.spread(reader.read, left)
    found.update((seen.resource, seen) for seen in read)
    _keep(hands, read)
    ages = [hands.clock().timestamp() - seen.at for seen in remembered.values()]
    refresh = Refresh(
        mode=mode,
        read=len(wanted),
        total=len(asked),
        calls=hands.calls - calls,
        oldest=round(max(0.0, *ages), 1) if ages else 0.0,
    )
    return Survey({resource: found[resource] for resource in asked}, refresh)


def _read_lists(hands: Hands, reader: _Reader, wanted: Sequence[Resource]) -> Iterator[Observation]:
    """What the lists of the services show whole: one call in the place of many reads."""
    scopes = [found for found in _by_scope(hands, wanted).values() if len(found) >= _WORTH]
    lists = [found for found in scopes if isinstance(hands.provider(found[0].address), ReadsMany)]
    for seen in hands.spread(reader.read_list, lists):
        yield from seen


def _by_scope(hands: Hands, resources: Iterable[Resource]) -> dict[tuple[str, str], list[Resource]]:
    scopes: dict[tuple[str, str], list[Resource]] = {}
    for resource in resources:
        kind = resource.address.kind
        scopes.setdefault((kind, hands.kinds[kind].scope(resource)), []).append(resource)
    return scopes


def _remember(hands: Hands, asked: Sequence[Resource], mode: Mode) -> dict[Resource, Observation]:
    """What need not be read: with `auto` what has not changed, with `none` whatever was seen."""
    known = hands.observations.load()
    sighted = {
        resource: known[resource.id.casefold()]
        for resource in asked
        if resource.id.casefold() in known
    }
    if mode == "auto":
        sighted = _confirm(hands, {one: at for one, at in sighted.items() if at.settled})
    found = {}
    for resource, sighting in sighted.items():
        document = hands.observations.recall(resource.id)
        if document is not ABSENT:
            found[resource] = Observation(
                resource,
                document,
                at=sighting.at,
                fresh=False,
                stamp=sighting.stamp,
                settled=sighting.settled,
            )
    return found


def _take(hands: Hands, resource: Resource, live: Live | Absent) -> Observation:
    """What was seen just now."""
    at = hands.clock().timestamp()
    if isinstance(live, Absent):
        return Observation(resource, ABSENT, at=at)
    document = fold(live.document)
    return Observation(resource, document, at=at, stamp=live.stamp, settled=live.settled)


def _confirm(hands: Hands, sighted: Mapping[Resource, Sighting]) -> dict[Resource, Sighting]:
    """Those whose stamp is still the same, by the lists of their scopes."""
    same: dict[Resource, Sighting] = {}
    for (_, scope), resources in _by_scope(hands, sighted).items():
        if len(resources) >= _WORTH:
            stamps = _list_stamps(hands, scope, resources)
            same.update(
                (one, sighted[one])
                for one in resources
                if sighted[one].stamp and stamps.get(one.id.casefold()) == sighted[one].stamp
            )
    return same


def _list_stamps(hands: Hands, scope: str, resources: Sequence[Resource]) -> dict[str, str]:
    """The stamps of what has settled, by casefolded id; as far as the list is worth its calls.

    A list that cannot be read tells nothing: then everything is read.
    """
    stamps: dict[str, str] = {}
    pages = math.ceil(len(resources) / _WORTH)
    provider = hands.provider(resources[0].address)
    try:
        for number, item in enumerate(provider.scan(scope, resources[0].token)):
            if number >= pages * _PAGE:
                break
            if item.settled:
                stamps[item.id.casefold()] = item.stamp
    except ServiceError:
        return {}
    return stamps


def _keep(hands: Hands, read: Sequence[Observation]) -> None:
    hands.observations.keep(
        (seen.resource.id, Sighting(seen.stamp, seen.settled, seen.at), seen.document)
        for seen in read
        if isinstance(seen.document, Folded)
    )
    hands.observations.drop(seen.resource.id for seen in read if seen.document is ABSENT)


def keep_sight(hands: Hands, resource: Resource, live: Live | Absent) -> None:
    """Keep what one read found."""
    _keep(hands, [_take(hands, resource, live)])


def _never_seen(resource: Resource) -> Observation:
    finding = Finding(
        "was never read, and --refresh none reads nothing",
        subject=str(resource.address),
        next_step="Read it once with --refresh auto.",
    )
    return Observation(resource, None, finding)


class _Reader:
    def __init__(self, hands: Hands) -> None:
        self._hands = hands
        self._hopeless = ""
        self._answered = threading.Event()

    def read(self, resource: Resource) -> Observation:
        if self._hopeless:
            finding = Finding(f"was not read: {self._hopeless}", subject=str(resource.address))
            return Observation(resource, None, finding)
        self._hands.emit(Refreshing(resource))
        try:
            live = self._hands.provider(resource.address).read(resource)
        except ReconcilerError as error:
            self._judge(error)
            self._hands.emit(Refreshed(resource, failed=True))
            error.subject = error.subject or str(resource.address)
            return Observation(resource, None, error.findings()[0])
        self._answered.set()
        self._hands.emit(Refreshed(resource))
        return _take(self._hands, resource, live)

    def read_list(self, resources: Sequence[Resource]) -> list[Observation]:
        """What one list shows of the resources of a scope."""
        provider = self._hands.provider(resources[0].address)
        found = provider.read_many(resources) if isinstance(provider, ReadsMany) else {}
        if found:
            self._answered.set()
        for resource in found:
            self._hands.emit(Refreshing(resource))
            self._hands.emit(Refreshed(resource))
        return [_take(self._hands, resource, live) for resource, live in found.items()]

    def _judge(self, error: ReconcilerError) -> None:
        unreachable = isinstance(error, Unavailable) and not error.status
        refused = isinstance(error, Unauthorized) and error.status == 401
        nobody = unreachable or refused or isinstance(error, Throttled)
        if isinstance(error, TooManyCalls):
            self._hopeless = "no more calls may be sent"
        elif nobody and not self._answered.is_set():
            self._hopeless = "the service answers nobody"
        elif isinstance(error, ServiceError) and not nobody:
            self._answered.set()

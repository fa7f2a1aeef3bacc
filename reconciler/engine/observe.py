"""Reads live resources in parallel, and only those that may have changed.

A failed read is a finding and never an absence. An absence is checked with the list of the
scope, one for all resources of the scope. If the service cannot be reached, or refuses the
token, the other resources are not read: the same error a thousand times has no use.

With `auto`, the lists of the service are read first. A resource is not read again if its change
stamp in the list equals the stamp of its last observation and it was idle then. A resource that
the list does not contain is read, because a missing item proves nothing.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from datetime import UTC, datetime
from typing import Final, Literal, TypeAlias

from reconciler.engine.runtime import Runtime
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
    CachedStamp,
    CompressedDocument,
    Finding,
    Live,
    Refresh,
    Refreshed,
    Refreshing,
    Resource,
    compress,
)
from reconciler.model.values import dataclass
from reconciler.ports import ReadsMany
from reconciler.tracing import span

Mode: TypeAlias = Literal["auto", "full", "none"]
# A list call must save at least this many reads.
_WORTH: Final = 2
_PAGE: Final = 1000


@dataclass(frozen=True, slots=True)
class Observation:
    """The observed state of one resource.

    `document` is None if the read failed; then `finding` says why. `at` is the time of the read
    in seconds since 1970. `fresh` is False for a cached observation. `not_found` says that the
    service answers that the resource, or what contains it, does not exist.
    """

    resource: Resource
    document: CompressedDocument | Absent | None
    finding: Finding | None = None
    at: float = 0.0
    fresh: bool = True
    stamp: str = ""
    idle: bool = False
    not_found: bool = False

    @property
    def live(self) -> Live | Absent | None:
        """The observed document without the raw reply; it is decompressed at each access."""
        if not isinstance(self.document, CompressedDocument):
            return self.document
        read_at = datetime.fromtimestamp(self.at, UTC)
        return Live(self.document.open(), None, read_at, self.stamp, self.idle)


@dataclass(frozen=True)
class ObservedResources:
    """Observations in the requested order, with counts of the reads and calls."""

    seen: Mapping[Resource, Observation]
    refresh: Refresh = field(default_factory=lambda: Refresh("full", 0, 0, 0))

    def __getitem__(self, resource: Resource) -> Observation:
        return self.seen[resource]

    def join(self, other: ObservedResources) -> ObservedResources:
        """Return the observations of both, with the sums of their counts."""
        one, two = self.refresh, other.refresh
        refresh = Refresh(
            mode=one.mode,
            read=one.read + two.read,
            total=one.total + two.total,
            calls=one.calls + two.calls,
            oldest=max(one.oldest, two.oldest),
        )
        return ObservedResources({**self.seen, **other.seen}, refresh)


def observe(
    runtime: Runtime, resources: Iterable[Resource], mode: Mode = "full"
) -> ObservedResources:
    """Observe every resource once; a failed read does not raise.

    Raises TooManyCalls if there are more resources to read than calls may be sent.
    """
    asked = list(dict.fromkeys(resources))
    with span("observe", mode=mode, resources=len(asked)) as recorded:
        observed = _observe(runtime, asked, mode)
        recorded.set("read", observed.refresh.read)
        return observed


def _observe(runtime: Runtime, asked: list[Resource], mode: Mode) -> ObservedResources:
    calls = runtime.calls
    remembered = {} if mode == "full" else _recall_unchanged(runtime, asked, mode)
    wanted = [resource for resource in asked if resource not in remembered]
    found = dict(remembered)
    if mode == "none":
        found.update((resource, _report_never_seen(resource)) for resource in wanted)
        wanted = []
    runtime.emit(Agenda(reads=len(wanted)))
    reader = _Reader(runtime)
    read = list(_read_lists(runtime, reader, wanted))
    listed = {seen.resource for seen in read}
    left = [resource for resource in wanted if resource not in listed]
    runtime.rate_limiter.check(len(left))
    alone = runtime.run_all(reader.read, left, paced=True)
    read += _check_absences(runtime, alone)
    found.update((seen.resource, seen) for seen in read)
    _keep(runtime, read)
    ages = [runtime.clock().timestamp() - seen.at for seen in remembered.values()]
    refresh = Refresh(
        mode=mode,
        read=len(wanted),
        total=len(asked),
        calls=runtime.calls - calls,
        oldest=round(max(0.0, *ages), 1) if ages else 0.0,
    )
    return ObservedResources({resource: found[resource] for resource in asked}, refresh)


def _check_absences(runtime: Runtime, read: Sequence[Observation]) -> list[Observation]:
    """Return the observations; an absence that a list contradicts becomes a finding."""
    since = runtime.lists.mark()
    absent = [seen.resource for seen in read if seen.document is ABSENT]

    def check(resources: Sequence[Resource]) -> Mapping[Resource, Observation]:
        found = {}
        for resource in resources:
            try:
                runtime.check_absence(resource, since)
            except ReconcilerError as error:
                error.subject = error.subject or str(resource.address)
                found[resource] = Observation(resource, None, error.findings()[0])
        return found

    doubted: dict[Resource, Observation] = {}
    for found in runtime.run_all(check, _by_scope(runtime, absent).values()):
        doubted.update(found)
    return [doubted.get(seen.resource, seen) for seen in read]


def _read_lists(
    runtime: Runtime, reader: _Reader, wanted: Sequence[Resource]
) -> Iterator[Observation]:
    """Yield the observations that a list call returns whole, which saves many reads."""
    scopes = [found for found in _by_scope(runtime, wanted).values() if len(found) >= _WORTH]
    lists = [found for found in scopes if isinstance(runtime.provider(found[0].address), ReadsMany)]
    for seen in runtime.run_all(reader.read_list, lists):
        yield from seen


def _by_scope(
    runtime: Runtime, resources: Iterable[Resource]
) -> dict[tuple[str, str], list[Resource]]:
    scopes: dict[tuple[str, str], list[Resource]] = {}
    for resource in resources:
        kind = resource.address.kind
        scopes.setdefault((kind, runtime.kinds[kind].scope(resource)), []).append(resource)
    return scopes


def _recall_unchanged(
    runtime: Runtime, asked: Sequence[Resource], mode: Mode
) -> dict[Resource, Observation]:
    """Return the cached observations to use: with `auto` the unchanged ones, with `none` all."""
    known = runtime.observations.load()
    cached_stamps = {
        resource: known[resource.id.casefold()]
        for resource in asked
        if resource.id.casefold() in known
    }
    if mode == "auto":
        cached_stamps = _confirm(runtime, {one: at for one, at in cached_stamps.items() if at.idle})
    found = {}
    for resource, cached_stamp in cached_stamps.items():
        document = runtime.observations.recall(resource.id)
        if document is not ABSENT:
            found[resource] = Observation(
                resource,
                document,
                at=cached_stamp.at,
                fresh=False,
                stamp=cached_stamp.stamp,
                idle=cached_stamp.idle,
            )
    return found


def _make_observation(runtime: Runtime, resource: Resource, live: Live | Absent) -> Observation:
    """Return the observation of a read that has just ended."""
    at = runtime.clock().timestamp()
    if isinstance(live, Absent):
        return Observation(resource, ABSENT, at=at)
    document = compress(live.document)
    return Observation(resource, document, at=at, stamp=live.stamp, idle=live.idle)


def _confirm(
    runtime: Runtime, cached_stamps: Mapping[Resource, CachedStamp]
) -> dict[Resource, CachedStamp]:
    """Return the cached stamps that the lists of their scopes still show."""
    same: dict[Resource, CachedStamp] = {}
    for (_, scope), resources in _by_scope(runtime, cached_stamps).items():
        if len(resources) >= _WORTH:
            stamps = _list_stamps(runtime, scope, resources)
            same.update(
                (one, cached_stamps[one])
                for one in resources
                if cached_stamps[one].stamp
                and stamps.get(one.id.casefold()) == cached_stamps[one].stamp
            )
    return same


def _list_stamps(runtime: Runtime, scope: str, resources: Sequence[Resource]) -> dict[str, str]:
    """Return the stamps of idle resources by casefolded id, from as many pages as are worthwhile.

    The result is empty if the list cannot be read. Then every resource is read.
    """
    stamps: dict[str, str] = {}
    pages = math.ceil(len(resources) / _WORTH)
    provider = runtime.provider(resources[0].address)
    try:
        for number, item in enumerate(provider.scan(scope, resources[0].token)):
            if number >= pages * _PAGE:
                break
            if item.idle:
                stamps[item.id.casefold()] = item.stamp
    except ServiceError:
        return {}
    return stamps


def _keep(runtime: Runtime, read: Sequence[Observation]) -> None:
    runtime.observations.keep(
        (seen.resource.id, CachedStamp(seen.stamp, seen.idle, seen.at), seen.document)
        for seen in read
        if isinstance(seen.document, CompressedDocument)
    )
    runtime.observations.drop(seen.resource.id for seen in read if seen.document is ABSENT)


def cache_observation(runtime: Runtime, resource: Resource, live: Live | Absent) -> None:
    """Write the result of one read to the observation store."""
    _keep(runtime, [_make_observation(runtime, resource, live)])


def _report_never_seen(resource: Resource) -> Observation:
    finding = Finding(
        "was never read, and --refresh none reads nothing",
        subject=str(resource.address),
        next_step="Read it once with --refresh auto.",
    )
    return Observation(resource, None, finding)


class _Reader:
    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._hopeless = ""
        self._answered = threading.Event()

    def read(self, resource: Resource) -> Observation:
        if self._hopeless:
            finding = Finding(f"was not read: {self._hopeless}", subject=str(resource.address))
            return Observation(resource, None, finding)
        self._runtime.emit(Refreshing(resource))
        try:
            live = self._runtime.provider(resource.address).read(resource)
        except ReconcilerError as error:
            self._raise_if_fatal(error)
            self._runtime.emit(Refreshed(resource, failed=True))
            error.subject = error.subject or str(resource.address)
            not_found = isinstance(error, ServiceError) and error.status == 404
            return Observation(resource, None, error.findings()[0], not_found=not_found)
        self._answered.set()
        self._runtime.emit(Refreshed(resource))
        return _make_observation(self._runtime, resource, live)

    def read_list(self, resources: Sequence[Resource]) -> list[Observation]:
        """Return the observations of the resources of one scope that a list call shows."""
        provider = self._runtime.provider(resources[0].address)
        found = provider.read_many(resources) if isinstance(provider, ReadsMany) else {}
        if found:
            self._answered.set()
        for resource in found:
            self._runtime.emit(Refreshing(resource))
            self._runtime.emit(Refreshed(resource))
        return [
            _make_observation(self._runtime, resource, live) for resource, live in found.items()
        ]

    def _raise_if_fatal(self, error: ReconcilerError) -> None:
        unreachable = isinstance(error, Unavailable) and not error.status
        refused = isinstance(error, Unauthorized) and error.status == 401
        unusable = unreachable or refused or isinstance(error, Throttled)
        if isinstance(error, TooManyCalls):
            self._hopeless = "no more calls may be sent"
        elif unusable and not self._answered.is_set():
            self._hopeless = "the service accepts no calls"
        elif isinstance(error, ServiceError) and not unusable:
            self._answered.set()

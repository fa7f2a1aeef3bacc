"""The runtime of the engine: the implementations of the ports, and the bounded pool.

The composition root makes one `Runtime` for each command. This module must not know a vendor.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from typing import Any, Final, TypeGuard

from reconciler.document.pointers import format_pointer
from reconciler.engine.absence import ScopeLists, contradict
from reconciler.engine.names import NameLists, add_places
from reconciler.engine.pool import Item, Result, ResumableTask, Scheduler, pace_threads
from reconciler.errors import ManifestInvalid, Unplannable
from reconciler.model import (
    ABSENT,
    Absent,
    Address,
    Blob,
    Finding,
    Json,
    Live,
    Manifest,
    ModelReference,
    NamedPart,
    Path,
    Resource,
    ServiceTiming,
)
from reconciler.model.values import dataclass
from reconciler.ports import (
    Access,
    AsksForCalls,
    Blobs,
    ChecksReferences,
    ChecksSteps,
    Clock,
    DriftHistory,
    Emit,
    HasTiming,
    Kind,
    KnowsOwner,
    Ledger,
    ListsNames,
    ListsWider,
    LocatesModels,
    NamesParts,
    ObservationStore,
    PlacesValues,
    Provider,
    RateLimiter,
    ResolveSecret,
    SplitsSteps,
    WaitsUntilIdle,
)

# The timing of a service that publishes none: a call takes one second, and calls are not limited.
UNKNOWN_TIMING: Final = ServiceTiming(1.0, 0, 1000, 1000.0, 1000, 1000.0)


class Providers(Mapping[str, Provider]):
    """The provider of each kind by its name; it connects at the first access."""

    def __init__(self, kinds: Mapping[str, Kind], access: Access) -> None:
        self._kinds, self._access = kinds, access
        self._lock = threading.Lock()
        self._connected: dict[str, Provider] = {}

    def __getitem__(self, name: str) -> Provider:
        connected = self._connected.get(name)
        if connected is not None:
            return connected  # nearly each time, so without the lock
        with self._lock:
            if name not in self._connected:
                self._connected[name] = self._kinds[name].connect(self._access)
            return self._connected[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._kinds)

    def __len__(self) -> int:
        return len(self._kinds)


@dataclass(frozen=True)
class Runtime:
    """The ports of the engine; `providers` has one provider for each kind name.

    `halted` returns why nothing more may start, or "" while new work may start.
    """

    kinds: Mapping[str, Kind]
    providers: Mapping[str, Provider]
    ledger: Ledger
    observations: ObservationStore
    drift_history: DriftHistory
    blobs: Blobs
    resolve: ResolveSecret
    emit: Emit
    clock: Clock
    rate_limiter: RateLimiter
    parallelism: int = 10
    halted: Callable[[], str] = lambda: ""
    lists: ScopeLists = field(default_factory=ScopeLists)
    names: NameLists = field(default_factory=NameLists)
    sleep: Callable[[float], None] = time.sleep

    def provider(self, address: Address) -> Provider:
        """Return the provider for an address."""
        return self.providers[address.kind]

    def identify(self, manifest: Manifest, defaults: Mapping[str, Json]) -> Resource:
        """Return the resource of a manifest, with the id of each part that is named.

        Raises ManifestInvalid with the names of missing values, and Unplannable for a name that
        not exactly one thing has now.
        """
        kind = self.kinds[manifest.address.kind]
        named = self.find_named_part(manifest, defaults)
        if named is not None:
            found = self._look_up(manifest, named)
            given = {**manifest.spec.get("resource", {}), named.part: found}
            manifest = replace(manifest, spec={**manifest.spec, "resource": given})
        try:
            return kind.identify(manifest, defaults)
        except ManifestInvalid as error:
            found_places = (self.add_places(one, manifest, defaults) for one in error.findings())
            raise ManifestInvalid(tuple(found_places)) from error

    def complete(self, kind: str, defaults: Mapping[str, Json]) -> Mapping[str, Json]:
        """Return the defaults with the id of the part that they name for a kind.

        Raises Unplannable as `identify` does.
        """
        probe = Manifest(Address(kind, "any"), {}, "", "")
        named = self.find_named_part(probe, defaults)
        if named is None:
            return defaults
        return {**defaults, named.part: self._look_up(probe, named)}

    def add_places(
        self, finding: Finding, manifest: Manifest, defaults: Mapping[str, Json]
    ) -> Finding:
        """Return the finding about a resource that is not there, with where one of its name is."""
        elsewhere = self.find_elsewhere(manifest, defaults)
        return finding if elsewhere is None else add_places(finding, *elsewhere)

    def find_elsewhere(
        self, manifest: Manifest, defaults: Mapping[str, Json]
    ) -> tuple[NamedPart, Sequence[str]] | None:
        """Return a part of the id with its value for each resource that has the manifest's name.

        The wider scope is listed once. None where it is not known, or cannot be listed.
        """
        kind = self.kinds[manifest.address.kind]
        part = kind.find_wider_part(manifest, defaults) if isinstance(kind, ListsWider) else None
        provider = self.provider(manifest.address) if part is not None else None
        if part is None or not isinstance(provider, ListsNames):
            return None
        found = self.names.find_all(
            kind.name, part, lambda: provider.list_names(part.scope, part.token)
        )
        return None if found is None else (part, found)

    def find_named_part(self, manifest: Manifest, defaults: Mapping[str, Json]) -> NamedPart | None:
        """Return the part of the id that is given by a name; None if no part is."""
        kind = self.kinds[manifest.address.kind]
        return kind.find_named_part(manifest, defaults) if names_parts(kind) else None

    def _look_up(self, manifest: Manifest, named: NamedPart) -> str:
        name, provider = manifest.address.kind, self.provider(manifest.address)
        if not isinstance(provider, ListsNames):
            message = f"the provider of {name} cannot list names"
            raise TypeError(message)
        found = self.names.find_id(
            name, named, lambda: provider.list_names(named.scope, named.token)
        )
        if isinstance(found, Finding):
            place = manifest.place(f"/{named.key.replace('.', '/')}") if manifest.file else None
            raise Unplannable((replace(found, subject=str(manifest.address), place=place),))
        return found

    def read(self, resource: Resource) -> Live | Absent:
        """Return the resource as it is now; ABSENT only if the list of its scope lacks it.

        Raises Contradicted if the list shows it, and the errors of the provider.
        """
        since = self.lists.mark()
        live = self.provider(resource.address).read(resource)
        if live is ABSENT:
            self.check_absence(resource, since)
        return live

    def check_absence(self, resource: Resource, since: int) -> None:
        """Raise Contradicted if a list that begins after the mark `since` shows the resource."""
        kind, provider = self.kinds[resource.address.kind], self.provider(resource.address)
        scope = kind.scope(resource)
        listed = self.lists.find(
            (kind.name, scope), lambda: provider.scan(scope, resource.token), since
        )
        shown = listed.get(resource.id.casefold())
        if shown is not None:
            raise contradict(resource, shown)

    def locates_models(self, resource: Resource) -> bool:
        """Return whether the models of a resource have ids, behind which their blobs are found."""
        return self._provider_has(resource, LocatesModels)

    def checks_references(self, resource: Resource) -> bool:
        """Return whether the provider of a resource looks up what its steps refer to."""
        return self._provider_has(resource, ChecksReferences)

    def _provider_has(self, resource: Resource, capability: type) -> bool:
        kind: type = type(self.providers.get(resource.address.kind))
        return _has(kind, capability)

    def inspect(self, resource: Resource, model: ModelReference) -> Blob | Absent | None:
        """Return the blob of a model; None if it is not known which blob it is.

        Raises the errors of the provider and of the blob storage.
        """
        provider = self.providers.get(resource.address.kind)
        if not isinstance(provider, LocatesModels):
            return self.blobs.inspect(model)
        address = provider.locate_model(resource, model.uri)
        is_known = isinstance(address, str) and address != ""
        return self.blobs.inspect(replace(model, uri=str(address))) if is_known else None

    @property
    def calls(self) -> int:
        """The number of requests sent so far to all services."""
        return self.rate_limiter.sent

    def timing(self, kind: str) -> ServiceTiming:
        """Return the timing of the service of a kind, as far as it is known."""
        provider = self.providers[kind]
        return provider.timing if isinstance(provider, HasTiming) else UNKNOWN_TIMING

    def wait_until_idle(self, resource: Resource) -> Iterator[None]:
        """Wait until no operation runs on the resource, if its service reports operations.

        Yields after each check. Raises StillRunning if an operation has not ended in time.
        """
        provider = self.provider(resource.address)
        return (
            provider.wait_until_idle(resource) if isinstance(provider, WaitsUntilIdle) else iter(())
        )

    def run_all(
        self, work: Callable[[Item], Result], items: Iterable[Item], *, paced: bool = False
    ) -> list[Result]:
        """Return the results of `work` in the order of the items, at most `parallelism` at once.

        `work` must only read. Nothing new starts after the caller stops or one item fails. Running
        work ends before an exception is raised, unless it is a KeyboardInterrupt. With `paced`, a
        thread starts only where the others wait: for work that computes in Python.
        """
        wanted = list(items)
        done: dict[int, Result] = {}
        # Each thread takes its next item itself: if the caller's thread gave it each item, this
        # would take a tenth of the time of a plan of thousands. `next` of a range is atomic.
        left = iter(range(len(wanted)))
        ended = threading.Event()
        scheduler: Scheduler[None] = self._make_scheduler(0.0, only_reads=True)

        def take_items(_: int) -> ResumableTask[None]:
            try:
                for index in left:
                    if scheduler.stopped:
                        return
                    done[index] = work(wanted[index])
            finally:
                ended.set()  # all items are taken, or one has failed
            return
            yield 0.0

        most = min(self.parallelism, len(wanted))
        for _ in scheduler.run(take_items, pace_threads(most, ended) if paced else range(most)):
            pass
        return [done[index] for index in range(len(wanted))]

    def run_resumable(
        self,
        work: Callable[[Item], ResumableTask[Result]],
        items: Iterable[Item | None],
        grace_s: float = 0.0,
    ) -> Iterator[Result]:
        """Yield the results in the order of completion, of work that sleeps: it yields the seconds.

        A sleeping task does not count for `parallelism`, so other tasks start meanwhile. An item is
        taken only when its work starts, so nothing new starts after the caller stops. A None item
        means that no item is ready until a started task continues. Running work ends before an
        exception is raised. Work that waits for its next call then waits at most `grace_s` seconds.
        """
        return self._make_scheduler(grace_s).run(work, items)

    def _make_scheduler(self, grace_s: float, *, only_reads: bool = False) -> Scheduler[Any]:
        return Scheduler(
            self.rate_limiter,
            self.halted,
            self.sleep,
            self.parallelism,
            grace_s,
            only_reads=only_reads,
        )


def names_parts(kind: Kind) -> TypeGuard[NamesParts]:
    """Whether a kind has this capability."""
    return _has(type(kind), NamesParts)


def asks_for_calls(kind: Kind) -> TypeGuard[AsksForCalls]:
    """Whether a kind has this capability."""
    return _has(type(kind), AsksForCalls)


def knows_owner(kind: Kind) -> TypeGuard[KnowsOwner]:
    """Whether a kind has this capability."""
    return _has(type(kind), KnowsOwner)


def places_values(kind: Kind) -> TypeGuard[PlacesValues]:
    """Whether a kind has this capability."""
    return _has(type(kind), PlacesValues)


def place_value(
    kind: Kind, path: Path, value: Json | Absent = ABSENT
) -> tuple[str, Json | Absent] | None:
    """Return the pointer at which a manifest declares a value of the document, and the value there.

    None if no manifest can declare it.
    """
    if not places_values(kind):
        return f"/spec/definition{format_pointer(path)}", value
    placed = kind.place_value(path, value)
    return None if placed is None else (format_pointer(placed[0]), placed[1])


def splits_steps(kind: Kind) -> TypeGuard[SplitsSteps]:
    """Whether a kind has this capability."""
    return _has(type(kind), SplitsSteps)


def checks_steps(kind: Kind) -> TypeGuard[ChecksSteps]:
    """Whether a kind has this capability."""
    return _has(type(kind), ChecksSteps)


@functools.cache
def _has(kind: type, capability: type) -> bool:
    """Whether a class fits a protocol; the check is too slow for each of many resources."""
    return issubclass(kind, capability)

"""Finds services that no manifest names, and services to import.

It must not write a file. The drift report and the commands that write manifests call it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from reconciler.document.schema import find_failure
from reconciler.engine.observe import observe
from reconciler.engine.planning.selection import PlanRequest, find_meant
from reconciler.engine.runtime import Runtime
from reconciler.errors import ManifestInvalid, ReconcilerError, Unplannable
from reconciler.model import (
    ABSENT,
    Address,
    Drift,
    Finding,
    Json,
    LastApplied,
    Live,
    Manifest,
    Project,
    Resource,
    SecretReference,
    Snapshot,
)
from reconciler.model.values import dataclass
from reconciler.plans.drift import incomplete, unmanaged
from reconciler.plans.waves import find_members
from reconciler.ports import Kind, ListsWider
from reconciler.text.counting import agree, count

# A name that the manifest schema accepts.
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)
# The file of a manifest has the manifest's name and a suffix.
_LONGEST_NAME: Final = 200
_MOST_IDS: Final = 20


def find_unmanaged(
    runtime: Runtime, request: PlanRequest, resources: Sequence[Resource], snapshot: Snapshot
) -> list[Drift]:
    """Return a finding for each service in the scopes that has no manifest.

    The scopes are those of `resources` and of the project. `resources` belong to the manifests
    that the request selects. If not all manifests of the project were read, the resources of the
    ledger are left out, because another manifest may name them. A scope that cannot be read is a
    finding too.
    """
    named = _list_ids(runtime, request, resources)
    remembered = {
        last_applied.id.casefold(): at
        for at, last_applied in snapshot.last_applied_by_address.items()
    }
    if not request.whole:
        named.update(remembered)
    found: list[Drift] = []
    for scope in _find_scopes(runtime, request.defaults, resources):
        try:
            found += [
                _describe(scope.kind, one, remembered)
                for one in _list_others(runtime, scope, named)
            ]
        except ReconcilerError as error:
            place = Resource(Address(scope.kind, "*"), scope.id)
            found.append(incomplete(place, f"the list could not be read: {error.message}"))
    return sorted(found, key=lambda one: one.resource.address)


def _list_ids(runtime: Runtime, request: PlanRequest, resources: Sequence[Resource]) -> set[str]:
    """Return the casefolded ids that all manifests name, selected or not."""
    named = {one.id.casefold() for one in resources}
    chosen = {one.address for one in resources}
    for manifest in request.manifests:
        if manifest.address not in chosen:
            named.add(runtime.identify(manifest, request.defaults).id.casefold())
    return named


def _describe(kind: str, resource_id: str, remembered: Mapping[str, Address]) -> Drift:
    known = remembered.get(resource_id.casefold())
    name = resource_id.rstrip("/").rpartition("/")[2]
    note = "the ledger records it, and no manifest names it any more" if known else ""
    return unmanaged(Resource(known or Address(kind, name), resource_id), note)


@dataclass(frozen=True)
class _Scope:
    """A scope that the provider of a kind can scan."""

    kind: str
    id: str
    token: SecretReference | None = None

    def is_in(self, other: _Scope) -> bool:
        """Whether a scan of the other scope shows everything in this one."""
        inside = self.id.casefold().startswith(f"{other.id.casefold()}/")
        return self.kind == other.kind and inside


def _find_scopes(
    runtime: Runtime,
    defaults: Mapping[str, Json],
    resources: Sequence[Resource] = (),
    file: str = "",
) -> list[_Scope]:
    """Return the scopes of `resources` and of the project, by kind and id.

    Where the defaults give only a wider scope, such as a subscription, it is that of the project.
    Raises ManifestInvalid, with what the project `file` leaves out, if no scope is found.
    """
    found = [_scope_of(runtime, one) for one in resources]
    missing: list[Finding] = []
    for name, kind in runtime.kinds.items():
        probe = Manifest(Address(name, "any"), {}, file, "")
        part = kind.find_wider_part(probe, defaults) if isinstance(kind, ListsWider) else None
        if part is not None and not part.id:
            found.append(_Scope(name, part.scope, part.token))
            continue
        try:
            found.append(_scope_of(runtime, runtime.identify(probe, defaults)))
        except ManifestInvalid as error:
            missing.extend(error.findings())
    if not found:
        raise ManifestInvalid(tuple(missing))
    scopes = {(one.kind, one.id): one for one in reversed(found)}
    return [one for _, one in sorted(scopes.items()) if not any(map(one.is_in, scopes.values()))]


def _scope_of(runtime: Runtime, resource: Resource) -> _Scope:
    kind = resource.address.kind
    return _Scope(kind, runtime.kinds[kind].scope(resource), resource.token)


def _list_others(runtime: Runtime, scope: _Scope, named: Collection[str]) -> Iterator[str]:
    """Yield the ids in a scope that are not in `named` (casefolded ids)."""
    for item in runtime.providers[scope.kind].scan(scope.id, scope.token):
        if item.id and item.id.casefold() not in named:
            yield item.id


def find_declared(
    runtime: Runtime,
    resources: Sequence[Resource],
    manifests: Sequence[Manifest],
    defaults: Mapping[str, Json],
) -> Iterator[Finding]:
    """Yield a finding for each resource that a manifest declares, by its address or its id.

    An address that the ledger records for another service is a finding too.
    """
    by_id = {runtime.identify(one, defaults).id.casefold(): one for one in manifests}
    by_address = {one.address: one for one in manifests}
    remembered = runtime.ledger.load().last_applied_by_address
    for resource in resources:
        same = by_id.get(resource.id.casefold()) or by_address.get(resource.address)
        last_applied = remembered.get(resource.address)
        if same is not None:
            yield _describe_declared(resource, same)
        elif last_applied is not None and last_applied.id.casefold() != resource.id.casefold():
            yield Finding(
                "the ledger records this address for another service",
                subject=str(resource.address),
                detail=(last_applied.id,),
                next_step="Nothing was written. Choose another address, or stop managing that"
                f" service: reconciler forget {resource.address}",
            )


def _describe_declared(resource: Resource, manifest: Manifest) -> Finding:
    alone = manifest.address == resource.address
    said = (
        "is declared already"
        if alone
        else f"its service is declared already, as {manifest.address}"
    )
    rewrite = " To replace its file, which must hold no other manifest: --force" if alone else ""
    member = manifest.member
    return Finding(
        said,
        subject=str(resource.address),
        place=member.place if member else manifest.place("/metadata/name"),
        next_step=f"Nothing was written.{'' if member else rewrite}",
    )


@dataclass(frozen=True)
class ServiceFinder:
    """Finds and reads the services to import as manifests of a project."""

    runtime: Runtime
    project: Project
    manifests: Sequence[Manifest]

    def locate(self, address: Address, resource_id: str = "") -> Resource:
        """Return the resource of an address, from its id, a manifest, the ledger or its name."""
        kind, defaults = self._kind(address), self.project.defaults
        if resource_id:
            return self._locate(kind, address, resource_id)
        for manifest in self.manifests:
            if manifest.address == address:
                return self.runtime.identify(manifest, defaults)
        last_applied = self._load_states().get(address)
        if last_applied is not None:
            return last_applied.resource(address)
        return self._locate(kind, address, address.name)

    def _locate(self, kind: Kind, address: Address, resource_id: str) -> Resource:
        """Return the resource of an id or a name; only a name needs what the defaults name."""
        defaults = self.project.defaults
        try:
            return kind.locate(address, resource_id, defaults)
        except ManifestInvalid:
            if "/" in resource_id:
                raise
        ids = self._find_ids(kind, address, resource_id)
        if len(ids) > 1:
            raise ManifestInvalid((_describe_ids(address, ids),))
        if ids:
            return kind.locate(address, ids[0], defaults)
        probe = Manifest(address, {"resource": {"name": resource_id}}, "", "")
        return self.runtime.identify(probe, defaults)

    def _find_ids(self, kind: Kind, address: Address, name: str) -> list[str]:
        """Return the ids of the resources of a name in the wider scope, as far as it is known."""
        defaults = self.project.defaults
        probe = Manifest(address, {"resource": {"name": name}}, "", "")
        elsewhere = self.runtime.find_elsewhere(probe, defaults)
        if elsewhere is None:
            return []
        part, found = elsewhere
        return [kind.locate(address, name, {**defaults, part.part: one}).id for one in found]

    def _add_ids(self, resource: Resource, finding: Finding) -> Finding:
        """Return the finding about a missing resource, with the ids of others of its name."""
        kind, address = self._kind(resource.address), resource.address
        ids = self._find_ids(kind, address, resource.short_id)
        others = [one for one in ids if one.casefold() != resource.id.casefold()]
        if not others:
            return finding
        said = _describe_ids(address, others)
        return replace(finding, detail=(*finding.detail, *said.detail), next_step=said.next_step)

    def expand(self, addresses: Iterable[Address]) -> list[Address]:
        """Return the addresses; a fleet is replaced by its members."""
        states = self._load_states()
        return [one for at in addresses for one in find_members(at, self.manifests, states)]

    def find_all(self) -> list[Resource]:
        """Return every service in the project's scopes that no manifest names, by address."""
        kinds, defaults = self.runtime.kinds, self.project.defaults
        snapshot = self.runtime.ledger.load()
        remembered = snapshot.last_applied_by_address
        # What a declared address or a former one meant before gets an address of its own.
        declared = {one.address for one in self.manifests} | set(snapshot.former)
        # A service whose manifest was lost keeps its address.
        known = {one.id.casefold(): at for at, one in remembered.items() if at not in declared}
        taken = declared | set(remembered)
        named = {self.runtime.identify(one, defaults).id.casefold() for one in self.manifests}
        found: list[Resource] = []
        for scope in _find_scopes(self.runtime, defaults, file=self.project.file):
            kind = kinds[scope.kind]
            for listed in _list_others(self.runtime, scope, named):
                resource_id = kind.locate(Address(scope.kind, "any"), listed, {}).id
                address = known.get(resource_id.casefold()) or _pick_address(
                    kind.name, resource_id, taken
                )
                taken.add(address)
                found.append(Resource(address, resource_id, scope.token))
        return sorted(found, key=lambda one: one.address)

    def read(self, resources: Sequence[Resource]) -> list[tuple[Resource, Live]]:
        """Return the live resources; raises Unplannable with every one that could not be read."""
        found: list[tuple[Resource, Live]] = []
        missing: list[Finding] = []
        for seen in observe(self.runtime, resources).seen.values():
            if isinstance(seen.live, Live):
                found.append((seen.resource, seen.live))
                continue
            said = _no_service(seen.resource) if seen.live is ABSENT else seen.finding
            if said is not None:
                there = seen.live is None and not seen.not_found
                missing.append(said if there else self._add_ids(seen.resource, said))
        if missing:
            raise Unplannable(tuple(missing))
        return found

    def find_failed(self, services: Sequence[tuple[Resource, Live]]) -> Iterator[Finding]:
        """Yield a warning for each service whose last operation failed."""
        for resource, live in services:
            failure = find_failure(self._kind(resource.address).field, live.document)
            if failure:
                yield Finding(
                    failure,
                    subject=str(resource.address),
                    next_step="Its manifest has only what the service shows. The next plan says"
                    " what an apply does to it.",
                    severity="warning",
                )

    def _load_states(self) -> Mapping[Address, LastApplied]:
        meant = find_meant(self.runtime.identify, self.manifests, self.project.defaults)
        return self.runtime.ledger.load().of_resources(meant).last_applied_by_address

    def _kind(self, address: Address) -> Kind:
        kinds = self.runtime.kinds
        if address.kind not in kinds:
            known = f"Known: {', '.join(kinds)}."
            finding = Finding("unknown kind", subject=str(address), next_step=known)
            raise ManifestInvalid((finding,))
        return kinds[address.kind]


def _pick_address(kind: str, resource_id: str, taken: Collection[Address]) -> Address:
    """Return an address for a manifest: the service's name, unless it is invalid or taken."""
    own = resource_id.rpartition("/")[2][:_LONGEST_NAME]
    name = own if NAME.fullmatch(own) else f"service{own}"
    while Address(kind, name) in taken:
        name += "-2"
    return Address(kind, name)


def _describe_ids(address: Address, ids: Sequence[str]) -> Finding:
    """Return the finding for a name that is that of other resources than the one asked for."""
    more = (f"and {len(ids) - _MOST_IDS:,} more",) if len(ids) > _MOST_IDS else ()
    return Finding(
        f"{count(len(ids), 'service')} {agree(len(ids), 'has', 'have')} this name",
        subject=str(address),
        detail=("Services of this name:", *ids[:_MOST_IDS], *more),
        next_step=f"Give the whole id: reconciler import {address} {ids[0]}",
    )


def _no_service(resource: Resource) -> Finding:
    return Finding(
        "the service does not exist",
        subject=str(resource.address),
        detail=(resource.id,),
        next_step="Check its name, and spec.defaults in the project file.",
    )

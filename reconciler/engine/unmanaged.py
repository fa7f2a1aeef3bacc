"""Finds services that no manifest names, and services to import.

It must not write a file. The drift report and the commands that write manifests call it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final

from reconciler.engine.observe import observe
from reconciler.engine.planning.selection import PlanRequest, find_meant
from reconciler.engine.planning.step_checks import find_failure
from reconciler.engine.runtime import Runtime
from reconciler.errors import ManifestInvalid, ReconcilerError, Unplannable
from reconciler.model import (
    Address,
    Drift,
    Finding,
    Json,
    LastApplied,
    Live,
    Manifest,
    Project,
    Resource,
    Snapshot,
)
from reconciler.model.values import dataclass
from reconciler.plans.drift import incomplete, unmanaged
from reconciler.plans.waves import find_members
from reconciler.ports import Kind

# A name that the manifest schema accepts.
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)
# The file of a manifest has the manifest's name and a suffix.
_LONGEST_NAME: Final = 200


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
                _describe(scope.address.kind, one, remembered)
                for one in _list_others(runtime, scope, named)
            ]
        except ReconcilerError as error:
            place = Resource(Address(scope.address.kind, "*"), _scope_of(runtime, scope))
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


def _find_scopes(
    runtime: Runtime,
    defaults: Mapping[str, Json],
    resources: Sequence[Resource] = (),
    file: str = "",
) -> list[Resource]:
    """Return one resource in each scope of `resources` and the project, by kind and scope.

    Raises ManifestInvalid, with what the project `file` leaves out, if no scope is found.
    """
    kinds = runtime.kinds
    scopes = {(one.address.kind, kinds[one.address.kind].scope(one)): one for one in resources}
    missing: list[Finding] = []
    for name, kind in kinds.items():
        try:
            probe = runtime.identify(Manifest(Address(name, "any"), {}, file, ""), defaults)
        except ManifestInvalid as error:
            missing.extend(error.findings())
        else:
            scopes.setdefault((name, kind.scope(probe)), probe)
    if not scopes:
        raise ManifestInvalid(tuple(missing))
    return [scopes[key] for key in sorted(scopes)]


def _scope_of(runtime: Runtime, resource: Resource) -> str:
    return runtime.kinds[resource.address.kind].scope(resource)


def _list_others(runtime: Runtime, scope: Resource, named: Collection[str]) -> Iterator[str]:
    """Yield the ids in the scope of a resource that are not in `named` (casefolded ids)."""
    provider = runtime.provider(scope.address)
    for item in provider.scan(_scope_of(runtime, scope), scope.token):
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
        return self.runtime.identify(Manifest(address, {}, "", ""), defaults)

    def _locate(self, kind: Kind, address: Address, resource_id: str) -> Resource:
        """Return the resource of an id or a name; only a name needs what the defaults name."""
        defaults = self.project.defaults
        try:
            return kind.locate(address, resource_id, defaults)
        except ManifestInvalid:
            completed = self.runtime.complete(kind.name, defaults)
            if completed is defaults:
                raise
        return kind.locate(address, resource_id, completed)

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
            kind = kinds[scope.address.kind]
            for listed in _list_others(self.runtime, scope, named):
                resource_id = kind.locate(scope.address, listed, {}).id
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
            if seen.live is None:
                missing.extend(one for one in (seen.finding,) if one)
            elif isinstance(seen.live, Live):
                found.append((seen.resource, seen.live))
            else:
                missing.append(_no_service(seen.resource))
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


def _no_service(resource: Resource) -> Finding:
    return Finding(
        "the service does not exist",
        subject=str(resource.address),
        detail=(resource.id,),
        next_step="Check its name, and spec.defaults in the project file.",
    )

"""Live services brought into manifests: which, where to, and never over a file that is there."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from reconciler.cli.wiring import Assembly
from reconciler.engine.observe import observe
from reconciler.engine.runtime import Runtime
from reconciler.errors import ManifestInvalid, ReconcilerError, Unplannable
from reconciler.manifests.editing.write import write_manifest
from reconciler.model import Address, Finding, Live, Manifest, Resource
from reconciler.plans.waves import find_members
from reconciler.ports import Kind

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)
# With what is added to it, it must be the name of a file.
_LONGEST_NAME = 200


@dataclass(frozen=True)
class Importer:
    """Reads services and writes manifests of them into a folder of the project."""

    assembly: Assembly
    runtime: Runtime
    folder: Path
    full: bool
    force: bool

    def locate(self, address: Address, resource_id: str = "") -> Resource:
        """The service of an address: by id, by its manifest, by the ledger, or by its name."""
        kind = self._kind(address)
        defaults = self.assembly.project.defaults
        if resource_id:
            return kind.locate(address, resource_id, defaults)
        for manifest in self.assembly.loaded.manifests:
            if manifest.address == address:
                return kind.identify(manifest, defaults)
        last_applied = self.assembly.ledger.load().last_applied_by_address.get(address)
        if last_applied is not None:
            return last_applied.resource(address)
        return kind.identify(Manifest(address, {}, "", ""), defaults)

    def expand(self, addresses: Iterable[Address]) -> list[Address]:
        """The addresses, with the members of a fleet in its place."""
        last_applied_by_address = self.assembly.ledger.load().last_applied_by_address
        manifests = self.assembly.loaded.manifests
        return [
            one for at in addresses for one in find_members(at, manifests, last_applied_by_address)
        ]

    def find_all(self) -> list[Resource]:
        """Every service of the project's scope that no manifest names, by address."""
        defaults = self.assembly.project.defaults
        manifests = self.assembly.loaded.manifests
        found: list[Resource] = []
        for probe in self._find_scopes():
            name, kind = probe.address.kind, self._kind(probe.address)
            named = [one for one in manifests if one.address.kind == name]
            known = {kind.identify(one, defaults).id.casefold() for one in named}
            taken = {one.address.name for one in named}
            provider = self.runtime.provider(probe.address)
            for summary in provider.scan(kind.scope(probe), probe.token):
                resource_id = kind.locate(probe.address, summary.id, {}).id
                if resource_id.casefold() not in known:
                    address = Address(name, _pick_name(resource_id, taken))
                    taken.add(address.name)
                    found.append(Resource(address, resource_id, probe.token))
        return sorted(found, key=lambda one: one.address)

    def _find_scopes(self) -> list[Resource]:
        """Something in the scope of each kind that the project names; raises for none at all."""
        found: list[Resource] = []
        missing: list[Finding] = []
        for name, kind in self.assembly.kinds.items():
            probe = Manifest(Address(name, "any"), {}, self.assembly.project.file, "")
            try:
                found.append(kind.identify(probe, self.assembly.project.defaults))
            except ManifestInvalid as error:
                missing.extend(error.findings())
        if not found:
            raise ManifestInvalid(tuple(missing))
        return found

    def read(self, resources: Sequence[Resource]) -> list[tuple[Resource, Live]]:
        """What is live; raises Unplannable with every service that could not be read."""
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

    def write(self, services: Sequence[tuple[Resource, Live]]) -> list[str]:
        """Write a manifest of each service, all or none; returns the names of the files.

        Raises ReconcilerError where a file is there already.
        """
        files = dict(self._make_files(services))
        there = [str(path) for path in files if os.path.lexists(path)]
        if there and not self.force:
            raise ReconcilerError(
                f"there is already {', '.join(there)}",
                next_step="Nothing was written. To write over: --force",
            )
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return [str(path) for path in files]

    def _make_files(self, services: Sequence[tuple[Resource, Live]]) -> Iterator[tuple[Path, str]]:
        for resource, live in services:
            kind, address = self._kind(resource.address), resource.address
            _check_name(address)
            defaults = self.assembly.project.defaults
            exported = kind.export(resource, live.document, defaults, full=self.full)
            beside = f"{address.name}.definition.json" if self.full else ""
            text, definition = write_manifest(kind.manifest_schema_name, address, exported, beside)
            yield self.folder / f"{address.name}.yaml", text
            if definition:
                yield self.folder / beside, definition

    def _kind(self, address: Address) -> Kind:
        if address.kind not in self.assembly.kinds:
            known = ", ".join(self.assembly.kinds)
            finding = Finding(
                "there is no such kind", subject=str(address), next_step=f"Known: {known}."
            )
            raise ManifestInvalid((finding,))
        return self.assembly.kinds[address.kind]


def _pick_name(resource_id: str, taken: Collection[str]) -> str:
    """A name for a manifest: the service's own, unless it cannot be one or is taken."""
    own = resource_id.rpartition("/")[2][:_LONGEST_NAME]
    name = own if _NAME.fullmatch(own) else f"service{own}"
    while name in taken:
        name += "-2"
    return name


def _check_name(address: Address) -> None:
    """A file is named after it."""
    if not _NAME.fullmatch(address.name):
        finding = Finding(
            "cannot be the name of a manifest",
            subject=str(address),
            next_step="Use letters, digits, '.', '_' and '-'.",
        )
        raise ManifestInvalid((finding,))


def _no_service(resource: Resource) -> Finding:
    return Finding(
        "there is no such service",
        subject=str(resource.address),
        detail=(resource.id,),
        next_step="Check its name, and spec.defaults in the project file.",
    )

"""Writes manifests of live services. It overwrites an existing file only with `force`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from reconciler.engine.unmanaged import NAME
from reconciler.errors import ManifestInvalid, ReconcilerError
from reconciler.manifests.editing.write import write_manifest
from reconciler.model import Address, Finding, Json, Live, Resource
from reconciler.model.values import dataclass
from reconciler.ports import Kind


@dataclass(frozen=True)
class Importer:
    """Writes manifests into a folder of a project; they do not repeat the project's defaults."""

    kinds: Mapping[str, Kind]
    defaults: Mapping[str, Json]
    folder: Path
    full: bool
    force: bool

    def write(self, services: Sequence[tuple[Resource, Live]]) -> list[str]:
        """Write a manifest of each service; returns the names of the files.

        Raises ReconcilerError, and writes no file, when a file already exists.
        """
        files = dict(self._make_files(services))
        there = [str(path) for path in files if os.path.lexists(path)]
        if there and not self.force:
            raise ReconcilerError(
                f"already exists: {', '.join(there)}",
                next_step="Nothing was written. To overwrite: --force",
            )
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return [str(path) for path in files]

    def _make_files(self, services: Sequence[tuple[Resource, Live]]) -> Iterator[tuple[Path, str]]:
        for resource, live in services:
            kind, address = self.kinds[resource.address.kind], resource.address
            _check_name(address)
            exported = kind.export(resource, live.document, self.defaults, full=self.full)
            beside = f"{address.name}.definition.json" if self.full else ""
            text, definition = write_manifest(kind.manifest_schema_name, address, exported, beside)
            yield self.folder / f"{address.name}.yaml", text
            if definition:
                yield self.folder / beside, definition


def _check_name(address: Address) -> None:
    """Raise ManifestInvalid for a name that cannot be the name of a file."""
    if not NAME.fullmatch(address.name):
        finding = Finding(
            "its name cannot be the name of a file",
            subject=str(address),
            next_step="Use letters, digits, '.', '_' and '-'.",
        )
        raise ManifestInvalid((finding,))

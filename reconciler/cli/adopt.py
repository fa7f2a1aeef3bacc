"""Writes manifests of live services, so that the project still loads and means the same.

What is declared already is refused. After the write the project is loaded again, and every file is
restored if it has an error or another manifest has changed.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from reconciler.cli.context import Invocation
from reconciler.cli.loading import load_all
from reconciler.cli.wiring import Assembly
from reconciler.engine.planning.selection import identify_resources
from reconciler.engine.runtime import Runtime
from reconciler.engine.unmanaged import NAME, find_declared
from reconciler.errors import ManifestInvalid, ReconcilerError
from reconciler.files import check_path, find_checkout, writing
from reconciler.manifests.editing.write import write_manifest
from reconciler.manifests.folder import Folder, find_manifests
from reconciler.model import Address, Finding, Live, Manifest, Resource
from reconciler.model.values import dataclass


@dataclass(frozen=True)
class Importer:
    """Writes manifests into a folder; they do not repeat the project's defaults.

    `folder` is None for the folder from which the project reads its manifests.
    """

    invocation: Invocation
    assembly: Assembly
    runtime: Runtime
    folder: Path | None
    full: bool
    force: bool

    def write(self, services: Sequence[tuple[Resource, Live]]) -> list[str]:
        """Write a manifest of each service; returns the names of the files.

        Raises ReconcilerError, and writes no file, if a service or its address is declared, or if
        a file already exists. With `force` a manifest that is alone in its file is replaced.
        """
        files = dict(self._make_files(services))
        resources = [resource for resource, _ in services]
        if self._are_read(files):
            self._check_declared(resources, files)
        there = [str(path) for path in files if os.path.lexists(path)]
        if there and not self.force:
            raise ReconcilerError(
                f"already exists: {', '.join(there)}",
                next_step="Nothing was written. To overwrite: --force",
            )
        for path in files:
            check_path(path, find_checkout(self._root))
        with writing(files):
            self._check_meaning({resource.address for resource in resources})
        return [str(path) for path in files]

    @property
    def _root(self) -> Path:
        return Path(self.invocation.project_file).parent

    def _get_folder(self) -> Path:
        if self.folder is not None:
            return self.folder
        # A new folder manifests/ would hide the manifests beside the project file.
        found = self.assembly.loaded.manifests
        return find_manifests(self._root) if found else self._root / "manifests"

    def _are_read(self, files: Collection[Path]) -> bool:
        """Whether the project will read the files, which may not exist yet."""
        folder = self._get_folder()
        usual = folder.resolve() == (self._root / "manifests").resolve()
        return usual or any(Folder(self._root).reads(path.resolve()) for path in files)

    def _make_files(self, services: Sequence[tuple[Resource, Live]]) -> Iterator[tuple[Path, str]]:
        folder, taken = self._get_folder(), set[str]()
        for resource, live in services:
            kind, address = self.assembly.kinds[resource.address.kind], resource.address
            _check_name(address)
            # Two kinds may have a resource of the same name.
            name = f"{address.name}.{address.kind}" if address.name in taken else address.name
            taken.add(name)
            defaults = self.assembly.project.defaults
            exported = kind.export(resource, live.document, defaults, full=self.full)
            beside = f"{name}.definition.json" if self.full else ""
            text, definition = write_manifest(kind.manifest_schema_name, address, exported, beside)
            yield folder / f"{name}.yaml", text
            if definition:
                yield folder / beside, definition

    def _check_declared(self, resources: Sequence[Resource], files: Collection[Path]) -> None:
        """Raise ManifestInvalid for each resource that is declared, or known as another one."""
        project, manifests = self.assembly.project, self.assembly.loaded.manifests
        names = {Folder(self._root).name(path) for path in files}
        kept = [one for one in manifests if not (self.force and _is_rewritten(one, names))]
        wrong = tuple(find_declared(self.runtime, resources, kept, project.defaults))
        if wrong:
            raise ManifestInvalid(wrong)

    def _check_meaning(self, written: Collection[Address]) -> None:
        """Raise ManifestInvalid if the project no longer loads, or if another manifest changed."""
        loaded, _ = load_all(self.invocation, [])
        errors = [one for one in loaded.findings if one.severity == "error" and not one.guard]
        if errors:
            raise ManifestInvalid(tuple(errors))
        identify_resources(self.runtime, loaded.manifests, self.assembly.project.defaults)
        before, after = (_list_specs(one.manifests) for one in (self.assembly.loaded, loaded))
        changed = [at for at, spec in before.items() if at not in written and after.get(at) != spec]
        if changed:
            step = "Nothing was written. Choose another --folder, or do not give --force."
            message = "is declared in a file that would be overwritten or no longer be read"
            raise ManifestInvalid(
                tuple(Finding(message, subject=str(at), next_step=step) for at in changed)
            )


def _is_rewritten(manifest: Manifest, names: Collection[str]) -> bool:
    """Whether one of the files that are written is that of a manifest, and has its name."""
    own = Path(manifest.file).stem == manifest.address.name
    return manifest.member is None and manifest.file in names and own


def _list_specs(manifests: Sequence[Manifest]) -> Mapping[Address, object]:
    return {one.address: one.spec for one in manifests}


def _check_name(address: Address) -> None:
    """Raise ManifestInvalid for a name that cannot be the name of a file."""
    if not NAME.fullmatch(address.name):
        finding = Finding(
            "its name cannot be the name of a file",
            subject=str(address),
            next_step="Use letters, digits, '.', '_' and '-'.",
        )
        raise ManifestInvalid((finding,))

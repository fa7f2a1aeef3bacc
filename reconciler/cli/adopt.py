"""Writes manifests of live services; refuses services and addresses that are declared already."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Final

from reconciler.cli.context import Invocation
from reconciler.cli.rewrite import rewrite
from reconciler.cli.wiring import Assembly
from reconciler.engine.runtime import Runtime
from reconciler.engine.unmanaged import NAME, find_declared
from reconciler.errors import ManifestInvalid, ReconcilerError
from reconciler.files import check_path, find_checkout, resolve_path
from reconciler.manifests.editing.write import write_manifest
from reconciler.manifests.environments import find_folders, find_readers
from reconciler.manifests.folder import Folder, find_manifests
from reconciler.model import Address, Finding, Live, Manifest, Resource
from reconciler.model.values import dataclass
from reconciler.text.counting import agree


@dataclass(frozen=True)
class Written:
    """The names of the files that were written, and warnings about them."""

    files: Sequence[str]
    warnings: tuple[Finding, ...] = ()


_VERBS: Final = (("reads", "read"), ("declares", "declare"))


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

    def write(self, services: Sequence[tuple[Resource, Live]]) -> Written:
        """Write a manifest of each service.

        Raises ReconcilerError, and writes no file, if a service or its address is declared, or if
        a file already exists. With `force` a manifest that is alone in its file is replaced.
        """
        files = dict(self._make_files(services))
        resources = [resource for resource, _ in services]
        is_read = self._are_read(files)
        if is_read:
            self._check_declared(resources, files)
        there = [str(path) for path in files if os.path.lexists(path)]
        if there and not self.force:
            raise ReconcilerError(
                f"already exists: {', '.join(there)}",
                next_step="Nothing was written. To overwrite: --force",
            )
        ledger = resolve_path(self._root / self.assembly.project.ledger)
        for path in files:
            check_path(path, find_checkout(self._root))
            if resolve_path(path).is_relative_to(ledger):
                step = "Nothing was written. Choose another --folder."
                raise ReconcilerError(
                    "is in the folder of the ledger", subject=str(path), next_step=step
                )
        written = {resource.address for resource in resources}
        rewrite(self.invocation, self.assembly, self.runtime, files, written)
        notes = tuple(self._list_shared(files)) if is_read else (self._describe_unread(),)
        return Written([str(path) for path in files], notes)

    def _list_shared(self, files: Collection[Path]) -> Iterator[Finding]:
        """Yields a warning if other environments read the files too."""
        environment = self.assembly.loaded.environment
        if environment is None:
            return
        readers = find_readers(self._root, next(iter(files)))
        others = [name for name in readers if name != environment.name]
        if others:
            read, declare = (agree(len(others), one, two) for one, two in _VERBS)
            yield Finding(
                f"{' and '.join(others)} also {read} this folder, and now {declare} the same",
                subject=str(self._get_folder()),
                next_step="If that is not wanted, move the files to a folder that only"
                f" {environment.name} reads: spec.manifests of {environment.file}.",
                severity="warning",
            )

    def _describe_unread(self) -> Finding:
        """The warning that the project does not read the files that were written."""
        return Finding(
            "the project reads no manifest in this folder",
            subject=str(self._get_folder()),
            next_step=f"To manage the services, move the files to {find_manifests(self._root)}.",
            severity="warning",
        )

    @property
    def _root(self) -> Path:
        return Path(self.invocation.project_file).parent

    def _get_folder(self) -> Path:
        if self.folder is not None:
            return self.folder
        environment = self.assembly.loaded.environment
        if environment is not None and environment.manifests:
            folders = find_folders(self._root, environment)
            own = (one for one in folders if len(find_readers(self._root, one / "new.yaml")) == 1)
            return next(own, folders[-1])
        # A new folder manifests/ would hide the manifests beside the project file.
        found = self.assembly.loaded.manifests
        return find_manifests(self._root) if found else self._root / "manifests"

    def _are_read(self, files: Collection[Path]) -> bool:
        """Whether the project will read the files, which may not exist yet."""
        folder = self._get_folder()
        environment = self.assembly.loaded.environment
        if environment is not None:
            readers = (find_readers(self._root, path) for path in files)
            return any(environment.name in one for one in readers)
        usual = resolve_path(folder) == resolve_path(self._root / "manifests")
        project = Folder(self._root)
        return usual or any(project.reads(resolve_path(path)) for path in files)

    def _make_files(self, services: Sequence[tuple[Resource, Live]]) -> Iterator[tuple[Path, str]]:
        folder, taken = self._get_folder(), set[str]()
        for resource, live in services:
            kind, address = self.assembly.kinds[resource.address.kind], resource.address
            _check_name(address)
            # Two kinds may have a resource of the same name.
            name = f"{address.name}.{address.kind}" if address.name in taken else address.name
            taken.add(name)
            defaults = self.runtime.complete(address.kind, self.assembly.project.defaults)
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


def _is_rewritten(manifest: Manifest, names: Collection[str]) -> bool:
    """Whether one of the files that are written is that of a manifest, and has its name."""
    own = Path(manifest.file).stem == manifest.address.name
    return manifest.member is None and manifest.file in names and own


def _check_name(address: Address) -> None:
    """Raise ManifestInvalid for a name that cannot be the name of a file."""
    if not NAME.fullmatch(address.name):
        finding = Finding(
            "its name cannot be the name of a file",
            subject=str(address),
            next_step="Use letters, digits, '.', '_' and '-'.",
        )
        raise ManifestInvalid((finding,))

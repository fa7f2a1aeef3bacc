"""Loading a project: its file, its manifests, and all that is wrong with them."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import yaml

from reconciler.manifests import definition
from reconciler.manifests.folder import Folder
from reconciler.manifests.project import make_project
from reconciler.manifests.schema import check_document, definition_schema
from reconciler.manifests.sources import check_sources
from reconciler.manifests.yaml_text import Places, Text, quote_word
from reconciler.model import (
    Address,
    Finding,
    Json,
    Manifest,
    Place,
    Project,
    Rollout,
    SecretReference,
)
from reconciler.pointers import format_pointer, split_pointer

API_VERSION: Final = "reconciler/v1"
PROJECT_FILE: Final = "reconciler.yaml"
_PROJECT_SCHEMA: Final = "manifest/project"


@dataclass(frozen=True)
class Loaded:
    """All that people wrote, as far as it could be read.

    `files` maps the relative name of everything that was read to its digest; `foreign` counts
    documents of other apiVersions, which are left alone. `rollouts` are those of the fleets, whose
    members are among the manifests. `secrets` are all that is referred to, whatever is wrong.
    """

    project: Project | None
    manifests: tuple[Manifest, ...]
    findings: tuple[Finding, ...]
    files: Mapping[str, str]
    foreign: int
    rollouts: tuple[Rollout, ...] = ()
    secrets: tuple[SecretReference, ...] = ()


def load(
    folder: Path, project_file: Path | None, paths: Sequence[Path], schemas: Mapping[str, str]
) -> Loaded:
    """Load a project and its manifests.

    `paths` defaults to the folder's `manifests/`, or to the folder itself. `schemas` maps the
    name of a kind to that of its manifest schema. Never raises for what people wrote.
    """
    loading = _Loading(Folder(folder), schemas)
    loading.load_project(project_file or folder / PROJECT_FILE)
    usual = folder / "manifests"
    for path in paths or [usual if usual.is_dir() else folder]:
        for file in loading.folder.walk(path):
            loading.load_file(file)
    return loading.finish(whole=not paths)


@dataclass
class _Loading:
    folder: Folder
    schemas: Mapping[str, str]
    project: Project | None = None
    project_place: Place | None = None
    manifests: dict[Address, Manifest] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    unnamed: list[tuple[str, Finding]] = field(default_factory=list)
    definitions: set[str] = field(default_factory=set)
    subjects: set[str] = field(default_factory=set)
    read: set[Path] = field(default_factory=set)
    secrets: set[SecretReference] = field(default_factory=set)
    foreign: int = 0

    def load_project(self, file: Path) -> None:
        if not file.exists():
            self.findings.append(
                Finding(
                    f"there is no project file {file.name}",
                    subject=str(file.parent.resolve().name),
                    next_step="Make one here with: reconciler init. Or name one with --project.",
                )
            )
            return
        self.load_file(file)
        if self.project is None and not (self.findings or self.folder.findings):
            place = Place(self.folder.name(file), 1, 1)
            self.findings.append(Finding("the project file holds no Project", place=place))

    def load_file(self, file: Path) -> None:
        resolved = file.resolve()
        if resolved in self.read:
            return
        self.read.add(resolved)
        text = self.folder.read(file)
        if text is None:
            return
        parsed = Text(self.folder.name(file), text)
        for node in parsed.compose():
            self._load_document(file, parsed, node)
        self.findings.extend(parsed.findings)

    def _load_document(self, file: Path, parsed: Text, node: yaml.Node) -> None:
        version, kind = _peek(node, "apiVersion"), _peek(node, "kind")
        if version is None:
            finding = Finding(
                "has no apiVersion",
                place=parsed.place(node),
                next_step=f"Begin it with: apiVersion: {API_VERSION}",
            )
            self.unnamed.append((parsed.file, finding))
        elif not version.startswith("reconciler/"):
            self.foreign += 1
        elif version != API_VERSION:
            self._find(parsed, node, "/apiVersion", _near("apiVersion", version, [API_VERSION]))
        elif kind == "Project":
            self._take_project(file, parsed, node)
        elif kind in self.schemas:
            self._take_manifest(file, parsed, node, str(kind))
        else:
            known = ["Project", *self.schemas]
            self._find(parsed, node, "/kind", _near("kind", kind or "", known))

    def _find(self, parsed: Text, node: yaml.Node, pointer: str, finding: Finding) -> None:
        places = Places(parsed.file, node)
        while pointer and pointer not in places:
            pointer = pointer.rpartition("/")[0]
        self.findings.append(replace(finding, place=places[pointer]))

    def _take_project(self, file: Path, parsed: Text, node: yaml.Node) -> None:
        place = parsed.place(node)
        if self.project_place is not None:
            finding = Finding(
                "a second Project",
                place=place,
                detail=(f"The first is on {self.project_place}.",),
                next_step="Keep one.",
            )
            self.findings.append(finding)
            return
        self.project_place = place
        document = parsed.build(node)
        found = list(check_document(_PROJECT_SCHEMA, document))
        for pointer, finding in found:
            self._find(parsed, node, pointer, replace(finding, subject="Project"))
        if not found and not parsed.findings:
            digest = self.folder.files[parsed.file]
            self.project = make_project(document, file.parent, parsed.file, digest)

    def _take_manifest(self, file: Path, parsed: Text, node: yaml.Node, kind: str) -> None:
        before = len(parsed.findings) + len(self.folder.findings)
        document = parsed.build(node)
        places = Places(parsed.file, node)
        subject = _subject(kind, document)
        self.subjects.add(subject)
        found = self._take_in_definition(file, kind, document, places)
        found += list(check_document(self.schemas[kind], document))
        found += self._check_secrets(file, kind, document)
        for pointer, finding in found:
            at = _nearest(places, pointer)
            self.findings.append(replace(finding, subject=subject, place=finding.place or at))
        if found or len(parsed.findings) + len(self.folder.findings) != before:
            return
        self._keep(file, kind, document, places)

    def _keep(self, file: Path, kind: str, document: Json, places: Places) -> None:
        metadata = document["metadata"]
        address = Address(kind, metadata["name"])
        first = self.manifests.get(address)
        if first is not None:
            finding = Finding(
                "two manifests have this address",
                subject=str(address),
                place=places["/metadata/name"],
                detail=(f"The first is on {first.place('/metadata/name')}.",),
                next_step="Rename one of them.",
            )
            self.findings.append(finding)
            return
        name = self.folder.name(file)
        self.manifests[address] = Manifest(
            address=address,
            spec=document["spec"] or {},
            file=name,
            digest=self.folder.files[name],
            labels=metadata.get("labels", {}),
            places=places,
        )

    def _take_in_definition(
        self, file: Path, kind: str, document: Json, places: Places
    ) -> list[tuple[str, Finding]]:
        """Put the file's document in the place of `{file: …}`; check what may be declared."""
        spec = document.get("spec") if isinstance(document, dict) else None
        schema = definition_schema(self.schemas[kind])
        if not schema or not isinstance(spec, dict) or not isinstance(spec.get("definition"), dict):
            return []
        given = spec["definition"]
        if set(given) == {"file"} and isinstance(given["file"], str):
            name = given["file"]
            self.definitions.add(self.folder.name(file.parent / name))
            place = places["/spec/definition/file"]
            read = definition.read_definition(self.folder, file, name, place)
            if read is None:
                del spec["definition"]
                return []
            given, places.mounted["/spec/definition"] = read
        found = [
            (format_pointer(("spec", "definition", *path)), finding)
            for path, finding in definition.check_definition(schema, given)
        ]
        spec["definition"] = definition.clean_definition(schema, given)
        return found

    def _check_secrets(self, file: Path, kind: str, document: Json) -> list[tuple[str, Finding]]:
        """Secrets must lead to where one is written; their files must lie inside the project."""
        spec = document.get("spec") if isinstance(document, dict) else None
        if not isinstance(spec, dict):
            return []
        found: list[tuple[str, Finding]] = []
        schema = definition_schema(self.schemas[kind])
        secrets = spec.get("secrets")
        for pointer, reference in secrets.items() if isinstance(secrets, dict) else ():
            at = format_pointer(("spec", "secrets", pointer))
            if schema and not _leads_to_secret(schema, pointer):
                found.append((at, _no_secret(schema, pointer)))
            found += self._check_reference(file, at, reference)
        models = spec.get("trainedModels")
        for name, model in models.items() if isinstance(models, dict) else ():
            if isinstance(model, dict) and "sas" in model:
                at = format_pointer(("spec", "trainedModels", name, "sas"))
                found += self._check_reference(file, at, model["sas"])
        return found

    def _check_reference(
        self, file: Path, pointer: str, reference: Json
    ) -> list[tuple[str, Finding]]:
        """A secret's file is named from the manifest; from here on from the project's folder."""
        if not isinstance(reference, dict):
            return []
        if isinstance(reference.get("env"), str):
            self.secrets.add(SecretReference(env=reference["env"]))
        if not isinstance(reference.get("file"), str):
            return []
        path = file.parent / reference["file"]
        if not self.folder.holds(path):
            message = "the secret's file lies outside the project's folder"
            return [(f"{pointer}/file", Finding(message, next_step="Move it into the folder."))]
        reference["file"] = self.folder.name(path)
        self.secrets.add(SecretReference(file=reference["file"]))
        return []

    def finish(self, *, whole: bool) -> Loaded:
        named = [finding for file, finding in self.unnamed if file not in self.definitions]
        sources = check_sources(self.manifests.values(), self.subjects, whole=whole)
        findings = [*self.folder.findings, *self.findings, *named, *sources]
        if not findings and not self.manifests:
            findings.append(
                Finding(
                    "there is no manifest",
                    subject=self.folder.name(self.folder.root),
                    next_step="Write one, or make an example with: reconciler init. If there is to"
                    " be none any more: --allow empty",
                    guard="empty",
                )
            )
        return Loaded(
            project=self.project,
            manifests=tuple(self.manifests[address] for address in sorted(self.manifests)),
            findings=tuple(sorted(findings, key=_order)),
            files=self.folder.files,
            foreign=self.foreign,
            secrets=tuple(self.secrets),
        )


def _order(finding: Finding) -> tuple[str, int, int, str]:
    at = finding.place
    return (at.file, at.line, at.column, finding.message) if at else ("", 0, 0, finding.message)


def _peek(node: yaml.Node, name: str) -> str | None:
    """A top-level text of a document, before anything of it is judged."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == name and isinstance(value, yaml.ScalarNode):
                return str(value.value)
    return None


def _near(what: str, given: str, known: Sequence[str]) -> Finding:
    near = difflib.get_close_matches(given.casefold(), [one.casefold() for one in known], n=1)
    match = next((one for one in known if near and one.casefold() == near[0]), "")
    hint = f'Did you mean "{match}"?' if match else f"Known: {', '.join(known)}."
    return Finding(f"unknown {what}{quote_word(given)}", next_step=hint)


def _subject(kind: str, document: Json) -> str:
    metadata = document.get("metadata") if isinstance(document, dict) else None
    name = metadata.get("name") if isinstance(metadata, dict) else None
    return f"{kind}/{name}" if isinstance(name, str) else kind


def _nearest(places: Places, pointer: str) -> Place:
    while pointer and pointer not in places:
        pointer = pointer.rpartition("/")[0]
    return places[pointer]


def _leads_to_secret(schema: str, pointer: str) -> bool:
    try:
        return definition.is_secret_pointer(schema, split_pointer(pointer))
    except ValueError:
        return False


def _no_secret(schema: str, pointer: str) -> Finding:
    known = definition.secret_pointers(schema)
    near = difflib.get_close_matches(pointer, known, n=1)
    hint = f'Did you mean "{near[0]}"?' if near else f"Secrets are: {', '.join(known)}."
    return Finding("the service has no secret at this pointer", next_step=hint)

"""Loads a project: its project file, its manifests, and all findings about them.

Commands call `load`. It reads files and never a service. It is long because one pass over a
document finds everything that is wrong with it.
"""

from __future__ import annotations

import functools
import gc
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from reconciler.document.forms import settle
from reconciler.document.pointers import find, split_pointer
from reconciler.manifests.budget import ProjectTooLarge
from reconciler.manifests.definition import compile_service
from reconciler.manifests.definition_files import DefinitionFiles
from reconciler.manifests.fleet.findings import FindingCounter
from reconciler.manifests.folder import (
    ENVIRONMENTS,
    POLICIES,
    PROJECT_FILE,
    Folder,
    find_manifests,
    miss_project,
)
from reconciler.manifests.moved import check_moved, check_still_declared, place_moved
from reconciler.manifests.project import LEDGER, check_addresses, check_guards, make_project
from reconciler.manifests.recognition import (
    API_VERSION,
    TEST_KIND,
    check_foreign,
    describe_unread,
    find_commented,
    find_listed,
    find_unread,
    match_kinds,
    read_name,
    read_top_level,
)
from reconciler.manifests.references import (
    Found,
    check_rows,
    check_secrets,
    check_sources,
    find_references,
    include_definition,
    include_values,
    locate_files,
    normalize_definition,
    point_to_definition,
    settle_spec,
)
from reconciler.manifests.schema import (
    check_document,
    check_written,
    definition_schema,
    extend_project,
    unknown_word,
)
from reconciler.manifests.yaml_text import SourceMap, Text
from reconciler.model import (
    Address,
    Environment,
    Finding,
    IgnoreRule,
    Json,
    Manifest,
    Project,
    Rollout,
    SecretReference,
    SourceLocation,
    UnreadFile,
    compress,
)
from reconciler.model.policies import Policy
from reconciler.model.training import Retraining
from reconciler.model.values import dataclass
from reconciler.ports import ChecksManifests, Kind

if TYPE_CHECKING:  # only named here
    import yaml

    from reconciler.manifests.environments import EnvironmentFile, Environments
    from reconciler.manifests.tokens import Scalar

_PROJECT_SCHEMA: Final = "manifest/project"
_LEDGER: Final = "/spec/ledger/path"
_FLEET_SCHEMA: Final = "manifest/fleet"
_RETRAINING: Final = "Retraining"
_RETRAINING_SCHEMA: Final = "manifest/retraining"
_LISTED: Final = Finding(
    "a manifest is an item of a list here, and no list is read",
    next_step="Write it as a document of its own, after a line with ---.",
)
_POLICIES: Final = ("Policy", TEST_KIND)
_MOVE_POLICY: Final = "Move the file into the folder policies/ beside the project file."
_TWO: Final = Finding("two manifests have this address", next_step="Rename one of them.")


@dataclass(frozen=True)
class Loaded:
    """The project and its manifests, as far as they could be read.

    `files` maps the relative name of every file read to its digest. `foreign` are the places
    of other tools' documents, which are ignored. `rollouts` are those of the fleets, whose members
    are among the manifests. `secrets` are all references to secrets, also in manifests with errors.
    `unread` are files that may declare resources and were not read; the findings have a warning for
    each. `walked` are the names of the folders and files in which manifests were looked for.
    `environment` is the one that is laid over the project, and `tokens` are its values.
    `policies` are those that judge the project, for a command that asks for them, and
    `policy_errors` those of the findings that prevent a judgement. `ignored` are the rules of
    `.driftignore` that hold in the environment, for a command that asks for them. `refused` are the
    complete manifests that an error keeps out of `manifests`, such as a secret in plain text.
    """

    project: Project | None
    manifests: tuple[Manifest, ...]
    findings: tuple[Finding, ...]
    files: Mapping[str, str]
    foreign: tuple[SourceLocation, ...]
    rollouts: tuple[Rollout, ...] = ()
    retrainings: tuple[Retraining, ...] = ()
    secrets: tuple[SecretReference, ...] = ()
    unread: tuple[UnreadFile, ...] = ()
    walked: tuple[str, ...] = ()
    environment: Environment | None = None
    policies: tuple[Policy, ...] = ()
    policy_errors: tuple[Finding, ...] = ()
    ignored: tuple[IgnoreRule, ...] = ()
    tokens: Mapping[str, Scalar] = field(default_factory=dict)
    refused: tuple[Manifest, ...] = ()


def load(
    folder: Path,
    project_file: Path | None,
    paths: Sequence[Path],
    kinds: Mapping[str, Kind],
    environment: str = "",
    origin: str = "--env",
) -> Loaded:
    """Loads a project and its manifests.

    `paths` defaults to the folder's `manifests/`, or to the folder itself. `environment` names the
    one that is laid over the project; `origin` says where the name was given. Never raises for what
    users wrote.
    """
    loading = _Loading(Folder(folder), kinds, wanted=environment, origin=origin)
    with _without_collection():
        return _load(loading, project_file or folder / PROJECT_FILE, paths)


@contextmanager
def _without_collection() -> Iterator[None]:
    """Pauses Python's collector of cycles.

    What is loaded has no cycles. The collector would visit each of millions of nodes and values
    twice and find nothing, which takes as long as to make them.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def _load(loading: _Loading, file: Path, paths: Sequence[Path]) -> Loaded:
    try:
        if file.exists():
            if not loading.choose_environment(file):
                return loading.finish(whole=False)
            loading.load_project(file)
            loading.load_manifests(paths)
        else:
            # Without a project this may be any folder. What files say is relative to the project's.
            loading.findings.append(miss_project(file, paths))
    except ProjectTooLarge as error:
        loaded = loading.finish(whole=False)
        # First: there may be thousands of others.
        return replace(loaded, findings=(*error.findings(), *loaded.findings))
    return loading.finish(whole=not paths and file.exists())


@dataclass
class _Loading:
    """What has been read of a folder until now, and the findings in it."""

    folder: Folder
    kinds: Mapping[str, Kind]
    wanted: str = ""
    origin: str = "--env"
    environments: Environments | None = None
    laid: EnvironmentFile | None = None
    tokens: Mapping[str, Scalar] = field(default_factory=dict)
    project: Project | None = None
    project_place: SourceLocation | None = None
    manifests: dict[Address, Manifest] = field(default_factory=dict)
    refused: list[Manifest] = field(default_factory=list)
    fleets: dict[Address, tuple[Rollout, SourceLocation]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    counter: FindingCounter = field(default_factory=FindingCounter)
    unnamed: list[tuple[str, Finding]] = field(default_factory=list)
    subjects: set[str] = field(default_factory=set)
    secrets: set[SecretReference] = field(default_factory=set)
    read: set[Path] = field(default_factory=set)
    foreign: list[SourceLocation] = field(default_factory=list)
    unsure: bool = False
    unread: list[UnreadFile] = field(default_factory=list)

    @functools.cached_property
    def definitions(self) -> DefinitionFiles:
        """The definition files of all manifests."""
        return DefinitionFiles(self.folder)

    @functools.cached_property
    def schemas(self) -> Mapping[str, str]:
        """The name of the manifest schema, by the name of the kind."""
        own = {_RETRAINING: _RETRAINING_SCHEMA}
        return own | {name: kind.manifest_schema_name for name, kind in self.kinds.items()}

    @functools.cached_property
    def _checking(self) -> Mapping[str, ChecksManifests]:
        """The kinds that check a manifest by itself."""
        kinds: Mapping[str, object] = self.kinds
        return {name: one for name, one in kinds.items() if isinstance(one, ChecksManifests)}

    @functools.cached_property
    def _declaring(self) -> re.Pattern[str]:
        """Finds the kinds of documents that declare resources."""
        return match_kinds(["Fleet", *self.schemas])

    def choose_environment(self, file: Path) -> bool:
        """Reads the environment that is named; returns whether the project can be read with it."""
        beside = self.folder.root / ENVIRONMENTS
        if not (self.wanted or beside.is_dir()):
            return True
        from reconciler.manifests.environments import (  # noqa: PLC0415 - few projects have one
            EnvironmentFile,
            Environments,
        )
        from reconciler.manifests.tokens import list_tokens  # noqa: PLC0415 - few projects have one

        environments = Environments(self.folder, self._extension)
        chosen = environments.choose(self.wanted, self.origin)
        if isinstance(chosen, Finding):
            self.findings.append(replace(chosen, subject=self.folder.name(file)))
        elif isinstance(chosen, EnvironmentFile):
            self.environments, self.laid = environments, chosen
            self.findings += chosen.findings
            self.folder.reserved = frozenset([beside])
            self.tokens = list_tokens(chosen.environment, {})
        # Without its values, everything that refers to them would seem wrong.
        return chosen is None or (isinstance(chosen, EnvironmentFile) and chosen.has_values)

    @functools.cached_property
    def _extension(self) -> str:
        return extend_project(self.kinds.values())

    def load_project(self, file: Path) -> None:
        self.load_file(file)
        if self.project is None and not (self.findings or self.folder.findings):
            place = SourceLocation(self.folder.name(file), 1, 1)
            self.findings.append(Finding("the project file contains no Project", place=place))

    def load_manifests(self, paths: Sequence[Path]) -> None:
        usual = [find_manifests(self.folder.root)]
        if self.laid is not None and self.laid.environment.manifests:
            usual = [self.folder.root / name for name in self.laid.environment.manifests]
            usual = [path for path in usual if path.is_dir()]
        for path in paths or usual:
            for file in self.folder.walk(path):
                self.load_file(file)
        if not paths:
            self.find_unread(usual[0] if len(usual) == 1 else self.folder.root / ENVIRONMENTS)

    def load_file(self, file: Path) -> None:
        resolved = self.folder.resolve(file)
        if resolved in self.read:
            return
        self.read.add(resolved)
        name = self.folder.name(file)
        is_charged = name in self.folder.files
        text = self.folder.read(file)
        if text is None:
            return
        commented = find_commented(name, text, self._declaring)
        self.unread += commented
        self.findings += map(describe_unread, commented)
        parsed = Text(name, text, None if is_charged else self.folder.budget)
        try:
            for node in parsed.compose():
                before = self._count_findings(parsed)
                self._load_document(file, parsed, node)
                more = self._count_findings(parsed) - before
                self.folder.budget.charge("errors", more, parsed.place(node))
        finally:
            self.findings.extend(parsed.findings)

    def _count_findings(self, parsed: Text) -> int:
        return len(parsed.findings) + len(self.findings) + len(self.folder.findings)

    def _load_document(self, file: Path, parsed: Text, node: yaml.Node) -> None:
        version, kind = (read_top_level(node, name) for name in ("apiVersion", "kind"))
        if version is None:
            finding = Finding(
                "has no apiVersion",
                place=parsed.place(node),
                next_step=f"Begin it with: apiVersion: {API_VERSION}",
            )
            self.unnamed.append((parsed.file, finding))
        elif not version.startswith("reconciler/"):
            self._check_foreign(parsed, node, version, kind)
        elif version != API_VERSION:
            self._add_finding(
                parsed, node, "/apiVersion", unknown_word("apiVersion", version, [API_VERSION])
            )
        elif kind in _POLICIES:
            self._check_policy(parsed, node, str(kind))
        elif kind == "Project":
            self._load_project(file, parsed, node)
        elif parsed.has_tokens and not self._replace_tokens(parsed, node, kind or ""):
            return
        elif kind == "Fleet":
            self._load_fleet(file, parsed, node)
        elif kind in self.schemas:
            self._load_manifest(file, parsed, node, str(kind))
        else:
            known = ["Project", "Fleet", *self.schemas]
            self._add_finding(parsed, node, "/kind", unknown_word("kind", kind or "", known))

    def _replace_tokens(self, parsed: Text, node: yaml.Node, kind: str) -> bool:
        """Replaces the tokens of the environment; returns whether all of them are known."""
        if self.laid is None:
            return True
        from reconciler.manifests.tokens import (  # noqa: PLC0415 - few projects have one
            replace_tokens,
        )

        source = self.laid.environment.file
        found = replace_tokens(parsed.file, node, self.tokens, source)
        if found:
            subject = f"{kind}/{read_name(node)}" if read_name(node) else kind
            self.findings += (replace(one, subject=subject) for one in found)
            self.subjects.add(subject)
            self.unsure = True
        return not found

    def _check_policy(self, parsed: Text, node: yaml.Node, kind: str) -> None:
        """Refuses a policy among the manifests: the policies are read from a folder of their own.

        That folder is walked too, if the project does not have the folder manifests/.
        """
        if kind == "Policy" and not parsed.file.startswith(f"{POLICIES}/"):
            finding = Finding("a policy is read only from policies/", next_step=_MOVE_POLICY)
            self._add_finding(parsed, node, "/kind", finding)

    def _check_foreign(self, parsed: Text, node: yaml.Node, version: str, kind: str | None) -> None:
        """Notes the document of another tool; refuses one that is nearly ours, or holds ours."""
        finding = check_foreign(version, kind, ["Project", "Fleet", *self.schemas])
        listed = find_listed(node)
        if finding:
            self._add_finding(parsed, node, "/apiVersion", finding)
        elif listed is not None:
            self.findings.append(replace(_LISTED, place=parsed.place(listed)))
        else:
            self.foreign.append(parsed.place(node))

    def find_unread(self, usual: Path) -> None:
        """Finds the files that may declare resources and were not read."""
        found = find_unread(self.folder, usual, self.read, self._declaring)
        unread = [one for one in found if not self._holds_policies(one.file)]
        if self.environments is not None and self.laid is not None:
            unread = list(self.environments.select_unread(unread, self.laid.environment))
        self.unread += unread
        self.findings += map(describe_unread, unread)

    def _holds_policies(self, file: str) -> bool:
        """Whether a file is in the folder of policies, and none of its documents is a manifest.

        A policy says for which kinds it is, so its text looks like that of a manifest.
        """
        if not file.startswith(f"{POLICIES}/"):
            return False
        parsed = Text(file, Folder(self.folder.root).read(self.folder.root / file) or "")
        kinds = {read_top_level(node, "kind") for node in parsed.compose()}
        return kinds <= set(_POLICIES) and not parsed.findings

    def _add_finding(self, parsed: Text, node: yaml.Node, pointer: str, finding: Finding) -> None:
        place = SourceMap(parsed.file, node).find_nearest(pointer)
        self.findings.append(replace(finding, place=place))

    def _load_project(self, file: Path, parsed: Text, node: yaml.Node) -> None:
        place = parsed.place(node)
        if self.project_place is not None:
            finding = Finding(
                "duplicate Project",
                place=place,
                detail=(f"The first is on {self.project_place}.",),
                next_step="Keep one.",
            )
            self.findings.append(finding)
            return
        self.project_place = place
        document = settle(compile_service(_PROJECT_SCHEMA), parsed.build(node))
        places = SourceMap(parsed.file, node)
        found = list(check_written(_PROJECT_SCHEMA, document, places, self._extension))
        if self.laid is None or found:
            found += self._check_ledger(file, document)
        found = found or [
            *check_addresses(document),
            *check_guards(document, self.kinds),
            *check_moved(document),
        ]
        for pointer, finding in found:
            at = places.find_nearest(pointer)
            self.findings.append(replace(finding, subject="Project", place=at))
        found += self._refuse_tokens(parsed, node)
        if not found and not parsed.findings:
            digest = self.folder.files[parsed.file]
            moved = place_moved(document, places)
            laid = self._lay_environment(file, document, places)
            if laid is not None:
                planes = [plane for kind in self.kinds.values() for plane in kind.planes]
                name = self.laid.environment.name if self.laid else ""
                made = make_project(laid, file.parent, parsed.file, digest, planes, name)
                names = self.environments.names if self.environments else ()
                self.project = replace(made, moved_places=moved, environments=names)

    def _refuse_tokens(self, parsed: Text, node: yaml.Node) -> list[Found]:
        """Refuses tokens in the project file; returns them as findings that were reported."""
        if self.laid is None or not parsed.has_tokens:
            return []
        from reconciler.manifests.tokens import (  # noqa: PLC0415 - few projects have one
            refuse_tokens,
        )

        step = f"Write the value in {self.laid.environment.file}."
        found = [replace(one, subject="Project") for one in refuse_tokens(parsed.file, node, step)]
        self.findings += found
        return [("", one) for one in found]

    def _lay_environment(self, file: Path, document: Json, places: SourceMap) -> Json | None:
        """Returns the project's document with the environment over it; None with findings."""
        if self.laid is None or self.environments is None:
            return document
        from reconciler.manifests.laid_project import (  # noqa: PLC0415 - few projects have one
            check_ledgers,
            find_place,
            lay_over,
        )
        from reconciler.manifests.tokens import list_tokens  # noqa: PLC0415 - few projects have one

        environment = self.laid.environment
        laid = lay_over(document, environment)
        self.tokens = list_tokens(environment, laid["spec"].get("defaults") or {})
        if any(one.severity == "error" for one in self.laid.findings):
            return None
        found = [
            *check_written(_PROJECT_SCHEMA, laid, places, self._extension),
            *check_ledgers(document, self.laid, list(self.environments.list_others(environment))),
        ] or [*self._check_ledger(file, laid), *check_guards(laid, self.kinds)]
        subject = f"Environment/{environment.name}"
        for pointer, finding in found:
            at = find_place(self.laid, places, pointer)
            self.findings.append(replace(finding, subject=subject, place=at))
        return None if found else laid

    def _check_ledger(self, file: Path, document: Json) -> Iterator[tuple[str, Finding]]:
        """Nothing may be written outside the project, nor anything through a symbolic link."""
        path = find(document, split_pointer(_LEDGER))
        path = file.parent / (path if isinstance(path, str) else LEDGER)
        fault = self.folder.find_fault(path, "the ledger's folder")
        if fault is not None:
            yield _LEDGER, replace(fault, next_step="Name a folder inside it.")
            return
        for link in self.folder.find_links(path):
            message = (
                f"{self.folder.name(link)} is a symbolic link, and the ledger is written there"
            )
            yield _LEDGER, Finding(message, next_step="Remove the link.")

    def _load_manifest(self, file: Path, parsed: Text, node: yaml.Node, kind: str) -> None:
        before = len(parsed.findings) + len(self.folder.findings)
        document = parsed.build(node)
        places = parsed.find_places(node)
        subject = _subject(kind, document)
        self.subjects.add(subject)
        found, is_complete = self._load_references(file, kind, document, places)
        for pointer, finding in found:
            at = places.find_nearest(pointer)
            self.findings.append(replace(finding, subject=subject, place=finding.place or at))
        if not is_complete:
            return
        is_refused = len(parsed.findings) + len(self.folder.findings) != before
        self.folder.budget.charge("resources", 1, parsed.place(node))
        spec = document["spec"] or {}
        self._note_secrets(kind, spec)
        manifest = Manifest(
            address=Address(kind, document["metadata"]["name"]),
            spec=compress(spec) if self.folder.budget.is_large else spec,
            file=parsed.file,
            digest=self.folder.files[parsed.file],
            labels=self._add_labels(document["metadata"].get("labels", {})),
            places=places,
        )
        self.findings.extend(self._check_alone(manifest))
        if is_refused:
            self.refused.append(manifest)
            return
        first = self.manifests.setdefault(manifest.address, manifest)
        if first is not manifest:
            place = places["/metadata/name"]
            self._refuse_second(manifest.address, place, _place_of(first))
        places.rest()

    def _refuse_second(
        self, address: Address, place: SourceLocation, first: SourceLocation
    ) -> None:
        detail = (f"The first is on {first}.",)
        self.findings.append(replace(_TWO, subject=str(address), place=place, detail=detail))

    def _load_fleet(self, file: Path, parsed: Text, node: yaml.Node) -> None:
        from reconciler.manifests.fleet.expansion import (  # noqa: PLC0415 - few projects have one
            FleetSource,
            expand,
        )

        before = len(parsed.findings)
        document = settle(compile_service(_FLEET_SCHEMA), parsed.build(node))
        places = SourceMap(parsed.file, node)
        subject = _subject("Fleet", document)
        found = check_written(_FLEET_SCHEMA, document, places)
        for pointer, finding in found:
            at = places.find_nearest(pointer)
            self.findings.append(replace(finding, subject=subject, place=at))
        if found or len(parsed.findings) != before:
            self.unsure = True
            return
        made = expand(
            FleetSource(
                self.folder,
                self.definitions,
                file,
                document,
                places,
                self.schemas,
                self._add_labels({}),
            )
        )
        self.findings += made.findings
        self.unsure = self.unsure or bool(made.findings)
        place = places["/metadata/name"]
        first = self.fleets.setdefault(made.rollout.fleet, (made.rollout, place))
        if first[0] is not made.rollout:
            self._refuse_second(made.rollout.fleet, place, first[1])
            return
        for manifest in made.members:
            self._add_member(manifest)

    def _add_labels(self, own: Mapping[str, str]) -> Mapping[str, str]:
        """The labels of a manifest, with those of the environment that it does not have."""
        return {**self.laid.environment.labels, **own} if self.laid is not None else own

    def _add_member(self, manifest: Manifest) -> None:
        self.subjects.add(str(manifest.address))
        self._note_secrets(manifest.address.kind, manifest.spec)
        first = self.manifests.setdefault(manifest.address, manifest)
        if manifest.member is None:
            return
        file = self.folder.root / manifest.file
        for pointer, fault in check_rows(self.folder, file, manifest.spec):
            placed = replace(fault, place=manifest.place(pointer))
            self.counter.add(placed, str(manifest.address), manifest.member)
        for finding in self._check_alone(manifest):
            self.counter.add(finding, str(manifest.address), manifest.member)
        if first is manifest:
            return
        finding = replace(_TWO, place=manifest.place("/metadata/name"))
        self.counter.add(finding, str(manifest.address), manifest.member, _place_of(first))

    def _check_alone(self, manifest: Manifest) -> Iterable[Finding]:
        """What the kind of a manifest finds wrong with it, without a call."""
        kind = self._checking.get(manifest.address.kind)
        return kind.check_manifest(manifest) if kind is not None else ()

    def _load_references(
        self, file: Path, kind: str, document: Json, places: SourceMap
    ) -> tuple[list[Found], bool]:
        """Includes the files of a manifest; returns the findings about them and about the rest.

        The second value is whether the manifest is complete: with a wrong value, a definition that
        cannot be read or a reference to a file outside of the project, it can be judged no further.
        """
        spec = document.get("spec") if isinstance(document, dict) else None
        if not isinstance(spec, dict):
            found = list(check_document(self.schemas[kind], document))
            return found, not found
        schema = definition_schema(self.schemas[kind])
        read = schema and include_definition(self.definitions, file, spec, places, schema)
        found = list(
            point_to_definition(read.faults) if read else normalize_definition(schema, spec)
        )
        include_values(self.definitions, file, self.schemas[kind], spec, places)
        faults = list(settle_spec(self.schemas[kind], spec))
        errors = check_written(self.schemas[kind], document, places)
        reported = {pointer for pointer, _ in errors}
        if kind == _RETRAINING and not errors:
            from reconciler.manifests.retraining import (  # noqa: PLC0415 - few projects have one
                check_retraining,
            )

            errors += check_retraining(self.folder, file, spec)
        found = [
            *found,
            *errors,
            *((pointer, fault) for pointer, fault in faults if pointer not in reported),
            *check_secrets(schema, spec),
            *locate_files(self.folder, file, find_references(self.schemas[kind], spec)),
            *check_rows(self.folder, file, spec),
        ]
        return found, not found and not (read and read.findings)

    def _note_secrets(self, kind: str, spec: Json) -> None:
        for _, one in find_references(self.schemas[kind], spec):
            reference = SecretReference(env=one.get("env", ""), file=one.get("file", ""))
            self.secrets.add(reference)

    def _take_retrainings(self, *, whole: bool) -> tuple[Retraining, ...]:
        """Takes the retrainings out of the manifests: they are not resources."""
        taken = [one for one in self.manifests.values() if one.address.kind == _RETRAINING]
        if not taken:
            return ()
        from reconciler.manifests.retraining import (  # noqa: PLC0415 - few projects have one
            LoadedManifests,
            make_retrainings,
        )

        for manifest in taken:
            del self.manifests[manifest.address]
        known = self.subjects if whole else None
        declared = LoadedManifests(self.folder, self.manifests, known, self.kinds)
        made, findings = make_retrainings(taken, declared, self.counter)
        self.findings += findings
        return made

    def finish(self, *, whole: bool) -> Loaded:
        named = [finding for file, finding in self.unnamed if file not in self.definitions.names]
        whole = whole and not self.unsure
        for manifest, finding in check_sources(self.manifests.values(), self.subjects, whole=whole):
            if manifest.member is None:
                self.findings.append(replace(finding, subject=str(manifest.address)))
            else:
                self.counter.add(finding, str(manifest.address), manifest.member)
        if self.project is not None:
            moved = self.project.moved_places
            self.findings.extend(check_still_declared(moved, self.manifests, _place_of))
        retrainings = self._take_retrainings(whole=whole)
        findings = [*self.folder.findings, *self.findings, *named, *self.counter.list_findings()]
        wrong = any(finding.severity == "error" for finding in findings)
        if not wrong and not (self.manifests or retrainings):
            findings.append(
                Finding(
                    "no manifest was found",
                    subject=self.folder.name(self.folder.root),
                    next_step="Write one, or create an example with: reconciler init. If the"
                    " project must be empty: --allow empty",
                    guard="empty",
                )
            )
        return Loaded(
            project=self.project,
            manifests=tuple(self.manifests[address] for address in sorted(self.manifests)),
            findings=tuple(sorted(findings, key=_sort_key)),
            files=self.folder.files,
            foreign=tuple(self.foreign),
            retrainings=retrainings,
            rollouts=tuple(rollout for rollout, _ in self.fleets.values()),
            secrets=tuple(self.secrets),
            unread=tuple(self.unread),
            walked=tuple(map(self.folder.name, self.folder.walked)),
            environment=self.laid.environment if self.laid is not None else None,
            tokens=self.tokens,
            refused=tuple(self.refused),
        )


def _place_of(manifest: Manifest) -> SourceLocation:
    """The location of a manifest's name; for a member of a fleet, of its item."""
    return manifest.member.place if manifest.member else manifest.place("/metadata/name")


def _sort_key(finding: Finding) -> tuple[str, int, int, str]:
    at = finding.place
    return (at.file, at.line, at.column, finding.message) if at else ("", 0, 0, finding.message)


def _subject(kind: str, document: Json) -> str:
    metadata = document.get("metadata") if isinstance(document, dict) else None
    name = metadata.get("name") if isinstance(metadata, dict) else None
    return f"{kind}/{name}" if isinstance(name, str) else kind

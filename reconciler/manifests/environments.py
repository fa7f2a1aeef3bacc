"""Reads the environments of a project, and lays one of them over the project file.

An environment is a file in `environments/` beside the project file. The loader calls this module
for the one that a command names. The files of the others are read only to find a name or a ledger
that two environments share, and a fault in them is reported where they are named.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import field, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from reconciler.files import resolve_path
from reconciler.manifests.folder import (
    ALL_ENVIRONMENTS,
    ENVIRONMENTS,
    PROJECT_FILE,
    Folder,
    find_manifests,
    is_manifest_name,
)
from reconciler.manifests.project import check_addresses
from reconciler.manifests.recognition import (
    API_VERSION,
    OUTSIDE,
    check_foreign,
    read_top_level,
)
from reconciler.manifests.schema import check_written, unknown_word
from reconciler.manifests.tokens import OPENING, find_tokens, refuse_tokens
from reconciler.manifests.yaml_text import SourceMap, Text
from reconciler.model import Environment, Finding, Json, SourceLocation, UnreadFile
from reconciler.model.values import dataclass
from reconciler.text.suggestions import ask, suggest

if TYPE_CHECKING:  # only named here
    import yaml

_KIND: Final = "Environment"
_SCHEMA: Final = "manifest/environment"
_LAID: Final = ("cloud", "defaults", "ledger", "guards", "watch")
_OURS: Final = re.compile(r"""\bkind["']?\s*:\s*["']?Environment\b""", re.IGNORECASE)
_POLICIES: Final = "policies"


@dataclass
class EnvironmentFile:
    """What one file of `environments/` holds, as far as it could be read, with its findings.

    `has_values` is False if its values could not be read: any token would then seem unknown.
    """

    environment: Environment
    places: SourceMap | None = None
    has_values: bool = False
    findings: list[Finding] = field(default_factory=list)

    def place(self, pointer: str) -> SourceLocation:
        """The place of a pointer in the file, or of its nearest parent."""
        if self.places is None:
            return SourceLocation(self.environment.file, 1, 1)
        return self.places.find_nearest(pointer)


def list_environments(root: Path, known: Collection[str] = ()) -> tuple[str, ...]:
    """The names of the environments of the project in a folder, sorted; empty without any.

    The file of a `known` one counts whatever it holds now, so that a fault in it is reported.
    """
    folder = Folder(root)
    named = (file for file in _list_named(folder) if file.stem in known)
    return tuple(sorted({file.stem for file in (*named, *_list_files(folder))}))


def find_touched(root: Path, changed_files: Collection[str]) -> tuple[str, ...]:
    """The environments that a change of files touches, sorted.

    `changed_files` are relative to the project's folder, with slashes. A file of one environment
    touches that one. Any other file in a folder of manifests touches the environments that read the
    folder. The project file, policies and any other file touch all of them.
    """
    folder = Folder(root)
    found = [read_environment(folder, file, "").environment for file in _list_files(folder)]
    folders = {one.name: _name_folders(folder, one) for one in found}
    touched: set[str] = set()
    for changed in map(PurePosixPath, changed_files):
        touched |= _find_touched(changed, found, folders)
    return tuple(sorted(touched))


def _find_touched(
    changed: PurePosixPath, found: list[Environment], folders: Mapping[str, Collection[str]]
) -> set[str]:
    every = {one.name for one in found}
    if changed.parent == PurePosixPath(ENVIRONMENTS) and is_manifest_name(changed.name):
        # The file of an environment that was removed touches the others: they may share a ledger.
        return {one.name for one in found if PurePosixPath(one.file) == changed} or every
    readers = {name for name, own in folders.items() if any(map(changed.is_relative_to, own))}
    if changed.name != PROJECT_FILE and changed.parts[:1] != (_POLICIES,) and readers:
        return readers
    return every


def _name_folders(folder: Folder, environment: Environment) -> tuple[str, ...]:
    return tuple(map(folder.name, find_folders(folder.root, environment)))


def find_folders(root: Path, environment: Environment) -> tuple[Path, ...]:
    """The folders with the manifests of an environment."""
    return tuple(root / one for one in environment.manifests) or (find_manifests(root),)


def find_readers(root: Path, file: Path) -> tuple[str, ...]:
    """The environments that read manifests in the folder of a file, sorted.

    The file need not exist.
    """
    folder = Folder(root)
    place = resolve_path(file.parent)
    found = (read_environment(folder, one, "").environment for one in _list_files(folder))
    return tuple(
        sorted(
            one.name
            for one in found
            if any(place.is_relative_to(resolve_path(own)) for own in find_folders(root, one))
        )
    )


def list_in_folders(
    root: Path, environment: Environment | None, files: Collection[str]
) -> list[str]:
    """Those of `files` that a walk of the manifests of an environment yields."""
    if environment is None:
        return []
    own = list(map(PurePosixPath, _name_folders(Folder(root), environment)))
    return [
        name
        for name, path in zip(files, map(PurePosixPath, files), strict=True)
        if is_manifest_name(path.name) and any(map(path.is_relative_to, own))
    ]


def _list_files(folder: Folder) -> list[Path]:
    """The files directly in `environments/` that hold an environment, sorted by name.

    A project may have such a folder for other files; these are not its environments. A file that
    cannot be read is one, so that nothing is done without it.
    """
    return [path for path in _list_named(folder) if _holds_environment(folder, path)]


def _list_named(folder: Folder) -> list[Path]:
    try:
        found = sorted((folder.root / ENVIRONMENTS).iterdir())
    except OSError:
        return []
    return [path for path in found if is_manifest_name(path.name)]


def _holds_environment(folder: Folder, file: Path) -> bool:
    if file.is_dir():
        return False
    text = Folder(folder.root).read(file)
    if text is None:
        return True  # it may be one, so its error must not be passed over
    parsed = Text(folder.name(file), text)
    return any(map(_is_environment, parsed.compose())) or bool(
        parsed.findings and _OURS.search(text)
    )


def _is_environment(node: yaml.Node) -> bool:
    """Whether a document is an environment, or is probably meant as one."""
    version, kind = read_top_level(node, "apiVersion"), read_top_level(node, "kind")
    if version is not None and check_foreign(version, None, ()) is None:
        return False
    if kind is None:
        return version is not None
    return check_foreign("", kind, [_KIND]) is not None


def read_environment(folder: Folder, file: Path, extension: str) -> EnvironmentFile:
    """Reads the environment of a file, with everything that is wrong with it.

    `extension` is what kinds add to the project's schema.
    """
    name = folder.name(file)
    before = len(folder.findings)
    read = EnvironmentFile(Environment(file.stem, name))
    fault = folder.find_fault(file, "the file of the environment")
    if fault is not None:
        read.findings.append(replace(fault, place=SourceLocation(name, 1, 1)))
        return read
    text = folder.read(file)
    read.findings += folder.findings[before:]
    del folder.findings[before:]
    if text is None:
        return read
    parsed = Text(name, text, folder.budget)
    nodes = list(parsed.compose())
    for number, node in enumerate(nodes):
        if number:
            said, step = "has a second document", "Give each environment a file of its own."
            read.findings.append(Finding(said, place=parsed.place(node), next_step=step))
        else:
            _read_document(read, parsed, node, extension)
    read.findings += parsed.findings
    return read


def _read_document(read: EnvironmentFile, parsed: Text, node: yaml.Node, extension: str) -> None:
    read.places = places = SourceMap(parsed.file, node)
    document = parsed.build(node)
    name = read.environment.name
    found = list(_check_head(node)) or check_written(_SCHEMA, document, places, extension)
    given = (document.get("spec") or {}) if isinstance(document, dict) else None
    spec = given if isinstance(given, dict) else {}
    read.has_values = given is spec and isinstance(spec.get("values") or {}, dict)
    found = [*found, *_check_name(document, name), *_check_values(spec)]
    if not found:
        found = list(check_addresses(document))
    read.findings += [
        replace(one, subject=f"{_KIND}/{name}", place=read.place(at)) for at, one in found
    ]
    read.findings += refuse_tokens(parsed.file, node, "Write the value out.")
    read.environment = _make(read.environment, spec)


def _make(environment: Environment, spec: Json) -> Environment:
    """The environment with the parts of a document that have the right form."""
    folders, given = spec.get("manifests"), spec.get("values")
    values = _take(spec, "values", (str, int, float))
    # A value with an error is known, so that the manifests that refer to it are not wrong too.
    broken = [name for name in given if name not in values] if isinstance(given, dict) else []
    return replace(
        environment,
        spec={name: spec[name] for name in _LAID if isinstance(spec.get(name), dict | str)},
        values={**dict.fromkeys(broken, "0"), **values},
        manifests=tuple(one for one in folders or () if isinstance(one, str) and one)
        if isinstance(folders, list)
        else (),
        labels=_take(spec, "labels", (str,)),
    )


def _take(spec: Json, name: str, types: tuple[type, ...]) -> dict[str, Json]:
    found = spec.get(name)
    entries = found.items() if isinstance(found, dict) else ()
    return {key: value for key, value in entries if isinstance(value, types)}


def _check_head(node: yaml.Node) -> Iterator[tuple[str, Finding]]:
    version, kind = read_top_level(node, "apiVersion"), read_top_level(node, "kind")
    if version is None:
        step = f"Begin it with: apiVersion: {API_VERSION}"
        yield "", Finding("has no apiVersion", next_step=step)
    elif version != API_VERSION:
        yield "/apiVersion", unknown_word("apiVersion", version, [API_VERSION])
    if kind != _KIND:
        yield "/kind", unknown_word("kind", kind or "", [_KIND])


def _check_name(document: Json, stem: str) -> Iterator[tuple[str, Finding]]:
    metadata = document.get("metadata") if isinstance(document, dict) else None
    name = metadata.get("name") if isinstance(metadata, dict) else None
    at = "/metadata/name"
    if isinstance(name, str) and name != stem:
        step = f"Write name: {stem}, or rename the file."
        yield at, Finding("the name is not that of the file without its suffix", next_step=step)
    elif name == ALL_ENVIRONMENTS:
        step = "Choose another name."
        yield (
            at,
            Finding(f'"{ALL_ENVIRONMENTS}" means all environments in plan --env', next_step=step),
        )


def _check_values(spec: Json) -> Iterator[tuple[str, Finding]]:
    for name, value in _take(spec, "values", (str,)).items():
        if OPENING in value and not find_tokens(value):
            said = f"{name} holds ${{, which a manifest would read as a variable"
            yield f"/spec/values/{name}", Finding(said, next_step="Write the value out.")


class Environments:
    """The environments of one project; without any, `names` is empty."""

    def __init__(self, folder: Folder, extension: str) -> None:
        """`extension` is what kinds add to the project's schema."""
        self._folder = folder
        self._extension = extension
        self._files = _list_files(folder)
        self.names = tuple(sorted({file.stem for file in self._files}))

    def choose(self, name: str, origin: str) -> EnvironmentFile | Finding | None:
        """The environment with a name; a finding if the name is unknown or missing.

        `origin` is where the name was given, such as `--env`. Returns None for a project without
        environments, if no name is given.
        """
        if not self.names:
            return _refuse_name(name, origin) if name else None
        if not name:
            known = ", ".join(self.names)
            step = f"Name one with --env, or in RECONCILER_ENV: {known}."
            return Finding("the project has environments, and none is named", next_step=step)
        if name not in self.names:
            near = suggest(name, self.names)
            known = f"The environments are {', '.join(self.names)}."
            step = f"{ask(name, near)} {known}" if near else known
            return Finding(f'{origin} "{name}" is not an environment', next_step=step)
        same = [file for file in self._files if file.stem == name]
        read = read_environment(self._folder, same[0], self._extension)
        read.findings += [*self._check_folders(read), *self._list_others()]
        for other in self._files:
            if other != same[0] and other.stem.casefold() == name.casefold():
                read.findings.append(_refuse_second(read, self._folder.name(other)))
        return read

    def list_others(self, environment: Environment) -> Iterator[Environment]:
        """Yields the other environments, as far as they can be read."""
        folder = Folder(self._folder.root)
        for file in self._files:
            if folder.name(file) != environment.file:
                yield read_environment(folder, file, self._extension).environment

    def select_unread(
        self, unread: Collection[UnreadFile], environment: Environment
    ) -> Iterator[UnreadFile]:
        """Yields the files that no other environment reads."""
        others = [
            PurePosixPath(name)
            for one in self.list_others(environment)
            for name in _name_folders(self._folder, one)
        ]
        for one in unread:
            if not any(map(PurePosixPath(one.file).is_relative_to, others)):
                is_outside = one.why == OUTSIDE and environment.manifests
                yield replace(one, why="no environment reads its folder") if is_outside else one

    def _list_others(self) -> Iterator[Finding]:
        """Yields a warning for each file in `environments/` that holds no environment."""
        for path in _list_named(self._folder):
            if path not in self._files:
                yield Finding(
                    "is not read: it is not an Environment",
                    subject=self._folder.name(path),
                    next_step=f"Begin it with apiVersion: {API_VERSION} and kind: {_KIND}, or move"
                    " it out of the folder.",
                    severity="warning",
                )

    def _check_folders(self, read: EnvironmentFile) -> Iterator[Finding]:
        for number, name in enumerate(read.environment.manifests):
            path = self._folder.root / name
            fault = self._folder.find_fault(path, "the folder")
            if fault is None and not self._folder.has(path):
                fault = Finding(f"the folder {name} does not exist")
            elif fault is None and not path.is_dir():
                fault = Finding(f"{name} is not a folder", next_step="Name the folder it is in.")
            elif fault is None and PurePosixPath(self._folder.name(path)).parts[:1] == (
                ENVIRONMENTS,
            ):
                fault = Finding(
                    f"manifests are not read from {ENVIRONMENTS}/",
                    next_step="Name another folder.",
                )
            if fault is not None:
                place = read.place(f"/spec/manifests/{number}")
                subject = f"{_KIND}/{read.environment.name}"
                yield replace(fault, subject=subject, place=place)


def _refuse_name(name: str, origin: str) -> Finding:
    step = f"Write {ENVIRONMENTS}/{name}.yaml, or leave out {origin}."
    return Finding(f'{origin} is "{name}", and the project has no environments', next_step=step)


def _refuse_second(read: EnvironmentFile, other: str) -> Finding:
    return Finding(
        "two files have this name",
        subject=f"{_KIND}/{read.environment.name}",
        place=read.place("/metadata/name"),
        detail=(f"The other one is {other}.",),
        next_step="Rename one of them, or remove it.",
    )

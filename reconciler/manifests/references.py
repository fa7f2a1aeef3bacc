"""Resolves what a manifest refers to: a definition in a file, secrets, and source resources.

File names are relative to the manifest, and the files must be inside the project's folder.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from reconciler.document.forms import Skip, find_faults, is_settled, settle, skip_nothing
from reconciler.document.pointers import find, format_pointer, split_pointer
from reconciler.manifests import definition
from reconciler.manifests.budget import MORE_ERRORS, MOST_ERRORS, limit_errors
from reconciler.manifests.definition_files import DefinitionFile, DefinitionFiles
from reconciler.manifests.folder import Folder
from reconciler.manifests.variables import is_plain
from reconciler.manifests.yaml_text import SourceMap
from reconciler.model import Finding, Json, Manifest
from reconciler.model import Path as DocumentPath
from reconciler.text.suggestions import ask, suggest

_ADDRESS: Final = ("definition", "from", "address")
# Finding similar names is slow, and a user does not read more than this number of suggestions.
_SUGGESTED: Final = 20


_SECRETS: Final = "secrets"
_DEFINITION: Final = "definition"
_VERIFY: Final = "verify"
_REFERENCE: Final = frozenset({"env", "file", "version"})

Found = tuple[str, Finding]
Reference = tuple[tuple[str, ...], dict[str, Json]]


def find_definition_file(spec: Json) -> str:
    """Returns the name of the file that holds the definition, or ""."""
    given = spec.get(_DEFINITION)
    if not isinstance(given, dict) or set(given) != {"file"}:
        return ""
    return given["file"] if isinstance(given["file"], str) else ""


def include_definition(
    files: DefinitionFiles, file: Path, spec: Json, places: SourceMap, schema: str = ""
) -> DefinitionFile | None:
    """Replaces `{file: …}` by the file's document; returns the file, or None without one.

    With the name of a service's `schema` the document is checked, and is in its form. A file that
    cannot be read is left out, with findings in the folder. Raises ProjectTooLarge.
    """
    name = find_definition_file(spec)
    if not name:
        return None
    read = files.read(file, name, places["/spec/definition/file"], schema)
    if read.findings:
        del spec[_DEFINITION]
    else:
        spec[_DEFINITION], places.mounted["/spec/definition"] = read.document, read.places
    return read


def include_values(
    files: DefinitionFiles, file: Path, schema: str, spec: Json, places: SourceMap
) -> None:
    """Replaces the name of a JSON file by its value, where the manifest schema allows one.

    A name with a variable is left: each member of a fleet has its own file. A file that cannot be
    read gives findings in the folder. Raises ProjectTooLarge.
    """
    for path in definition.list_values_in_files(schema):
        above, last = find(spec, path[1:-1]), path[-1]
        if not isinstance(above, dict):
            continue
        name = above.get(last)
        if not isinstance(name, str) or not is_plain(name):
            continue
        pointer = format_pointer(path)
        read = files.read_value(file, name, places.find_nearest(pointer), f"the file of {last}")
        if not read.findings:
            above[last], places.mounted[pointer] = read.document, read.places


def normalize_definition(schema: str, spec: Json, skip: Skip = skip_nothing) -> Iterator[Found]:
    """Checks what may be declared, and changes the definition to the service schema's spelling.

    Its values take their form, except for the texts to `skip`.
    """
    given = spec.get(_DEFINITION)
    if not schema or not isinstance(given, dict):
        return
    faults = definition.check_definition(schema, given, skip)
    yield from point_to_definition(limit_errors(faults, ()))
    spec[_DEFINITION] = definition.clean_definition(schema, given, skip)


def point_to_definition(faults: Iterable[tuple[DocumentPath, Finding]]) -> Iterator[Found]:
    """Yields findings about values of a definition with their pointers in the manifest."""
    for path, finding in faults:
        yield format_pointer(("spec", _DEFINITION, *path)), finding


def settle_spec(schema: str, spec: Json, skip: Skip = skip_nothing) -> Iterator[Found]:
    """Brings the values of a spec, without its definition, to their form; yields the faults.

    `schema` is the name of the manifest schema of the kind.
    """
    field = definition.compile_service(schema).child("spec")
    if is_settled(field, spec):
        return
    for path, finding in limit_errors(find_faults(field, spec, ("spec",), skip), ()):
        yield format_pointer(path), finding
    spec.update(settle(field, spec, skip))


def check_secrets(schema: str, spec: Json) -> Iterator[Found]:
    """Yields findings for secrets at pointers where the service has no secret; at most some."""
    secrets = spec.get(_SECRETS)
    given = secrets if schema and isinstance(secrets, dict) else ()
    wrong = (pointer for pointer in given if not _leads_to_secret(schema, pointer))
    for pointer in itertools.islice(wrong, MOST_ERRORS):
        yield format_pointer(("spec", _SECRETS, pointer)), _no_secret(schema, pointer)
    if next(wrong, None) is not None:
        yield format_pointer(("spec", _SECRETS)), MORE_ERRORS


def locate_files(folder: Folder, file: Path, references: Iterable[Reference]) -> Iterator[Found]:
    """Changes a secret's file name, relative to the manifest, to one from the project's folder."""
    for path, reference in references:
        name = reference.get("file")
        found = locate_file(folder, file, name) if isinstance(name, str) else None
        if isinstance(found, Finding):
            yield format_pointer(("spec", *path, "file")), found
        elif found is not None:
            reference["file"] = found


def locate_file(folder: Folder, file: Path, name: str) -> str | Finding:
    """Returns the name from the project's folder of a file that a manifest names."""
    path = file.parent / name
    return folder.find_fault(path, "the secret's file") or folder.name(path)


def check_rows(folder: Folder, file: Path, spec: Json) -> Iterator[Found]:
    """Yields why no file of the project can have the rows of `spec.verify`."""
    given = spec.get(_VERIFY)
    name = given.get("rows") if isinstance(given, dict) else None
    if isinstance(name, str):
        fault = folder.find_fault(file.parent / name, "the file of the rows")
        if fault is not None:
            yield format_pointer(("spec", _VERIFY, "rows")), fault


def find_references(
    schema: str, spec: Json, path: tuple[str, ...] = ("spec",)
) -> Iterator[Reference]:
    """Yields every reference to a secret in a spec, with its path below `spec`.

    A definition holds none, and neither does a value that the manifest `schema` lets a file hold.
    A map whose keys people choose, such as the tags {env: prod}, is not a reference.
    """
    skipped = definition.list_values_in_files(schema)
    for name, below in spec.items():
        at = (*path, name)
        if not isinstance(below, dict) or at == ("spec", _DEFINITION) or at in skipped:
            continue
        if _is_reference(below) and not definition.is_map(schema, at):
            yield at[1:], below
        else:
            yield from find_references(schema, below, at)


def _is_reference(value: Mapping[str, Json]) -> bool:
    plain = all(isinstance(below, str) for below in value.values())
    return plain and bool(value) and value.keys() <= _REFERENCE


def _leads_to_secret(schema: str, pointer: str) -> bool:
    try:
        return definition.is_secret_pointer(schema, split_pointer(pointer))
    except ValueError:
        return False


def _no_secret(schema: str, pointer: str) -> Finding:
    known = definition.secret_pointers(schema)
    near = suggest(pointer, known)
    hint = ask(pointer, near) if near else f"Secrets are: {', '.join(known)}."
    return Finding("the service has no secret at this pointer", next_step=hint)


def check_sources(
    manifests: Iterable[Manifest], known: Collection[str], *, whole: bool
) -> Iterator[tuple[Manifest, Finding]]:
    """Yields manifests whose source is the manifest itself, or is not declared in any manifest.

    `known` holds the addresses of all manifests, also of those with errors. Unless the `whole`
    project was read, an unknown address may be in another file.
    """
    suggestions: dict[str, str] = {}
    for manifest in manifests:
        source = find(manifest.spec, _ADDRESS)
        if source == str(manifest.address):
            step = "Name the resource that it is created from."
            yield manifest, _wrong(manifest, "starts from itself", step)
        elif whole and isinstance(source, str) and source not in known:
            if source not in suggestions:
                others = known if len(suggestions) < _SUGGESTED else ()
                suggestions[source] = _suggest(source, sorted({*others} - {str(manifest.address)}))
            message = f"starts from {source}, which no manifest declares"
            yield manifest, _wrong(manifest, message, suggestions[source])


def _suggest(source: str, others: Sequence[str]) -> str:
    """The address with a similar name; the kind, which all of them share, is not compared."""
    names = {address.partition("/")[2]: address for address in others}
    near = suggest(source.partition("/")[2], names, most=1000)
    return ask(source, names[near], "{}") if near else "Name the service: from: {resource: …}"


def _wrong(manifest: Manifest, message: str, next_step: str) -> Finding:
    place = manifest.place(format_pointer(("spec", *_ADDRESS)))
    return Finding(message, place=place, next_step=next_step)

"""Reads and checks the definition of a manifest: the service's own document, inline or in a file.

The loader of manifests and fleets calls it. It sends nothing to a service.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path as File
from typing import Final

import yaml

from reconciler.document.forms import Skip, find_faults, settle, skip_nothing
from reconciler.document.normalize import normalize, without_server_fields
from reconciler.document.pointers import format_pointer
from reconciler.document.schema import Field, Shape, compile_schema, walk_fields
from reconciler.manifests.folder import Folder
from reconciler.manifests.yaml_text import DEEPEST, MOST_VALUES, SourceMap, Text
from reconciler.model import Finding, Json, Path, SourceLocation
from reconciler.package_data import read_schema
from reconciler.secrets.suspicion import is_secret
from reconciler.text.json_text import BadJson, read_json

Path_ = tuple[str, ...]
_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_NOWHERE: Final = yaml.MappingNode("", [], yaml.Mark("", 0, 0, 0, None, 0))


@functools.cache
def compile_service(name: str) -> Field:
    """Returns the service schema or the manifest schema of a kind, compiled once."""
    return compile_schema(read_schema(name))


def read_definition(
    folder: Folder, manifest: File, name: str, place: SourceLocation
) -> tuple[Json, SourceMap] | None:
    """Returns the document in a definition file, JSON or YAML, and the source locations in it.

    Returns None, with findings in `folder`, if the file cannot be used. JSON is also read as YAML,
    so that its values have source locations.
    """
    path = manifest.parent / name
    if not folder.holds(path):
        folder.findings.append(
            Finding(
                "the definition file is outside the project's folder",
                place=place,
                next_step="Move it into the folder, next to the manifest.",
            )
        )
        return None
    if not folder.has(path):
        folder.findings.append(folder.miss(path, name, place))
        return None
    text = folder.read(path, place)
    if text is None:
        return None
    if name.endswith(".json"):
        document, parsed, nodes = parse_json(folder.name(path), text, _read_json)
    else:
        document, parsed, nodes = _parse_yaml(folder.name(path), text)
    folder.findings.extend(parsed.findings)
    if parsed.findings:
        return None
    return document, parsed.find_places(nodes[0]) if nodes else SourceMap(parsed.file, _NOWHERE)


def _to_yaml(text: str) -> str:
    """JSON that YAML can read too, with every offset unchanged: no tabs, no lone surrogates."""
    return _SURROGATE.sub(r"\\u0020", text.replace("\t", " "))


def _parse_yaml(file: str, text: str) -> tuple[Json, Text, list[yaml.Node]]:
    parsed = Text(file, text)
    nodes = list(parsed.compose())
    if len(nodes) != 1 and not parsed.findings:
        place = SourceLocation(parsed.file, 1, 1)
        parsed.findings.append(Finding("must contain exactly one document", place=place))
    return parsed.build(nodes[0]) if nodes else None, parsed, nodes


def parse_json(
    file: str, text: str, read: Callable[[str], Json] = json.loads
) -> tuple[Json, Text, list[yaml.Node]]:
    """Returns a JSON text's value, its findings, and its root node if YAML can read the text.

    The JSON reader decides the value, because YAML lacks some escapes of JSON. The YAML reader
    gives the source locations and finds duplicate keys.
    """
    parsed = Text(file, _to_yaml(text))
    # First, because it refuses a text with too many values before any of them is made.
    try:
        document = read(text)
    except (ValueError, RecursionError) as error:
        place = SourceLocation(file, getattr(error, "lineno", 1), getattr(error, "colno", 1))
        said = f"cannot be sent: {error}" if isinstance(error, BadJson) else "is not JSON"
        parsed.findings[:] = [Finding(said, place=place)]
        return None, parsed, []
    nodes = list(parsed.compose())
    parsed.findings.clear()
    if nodes:
        parsed.build(nodes[0])
    return document, parsed, nodes


def _read_json(text: str) -> Json:
    """The value of a text; raises ValueError if no service could receive it."""
    document = read_json(text, deepest=DEEPEST, most_values=MOST_VALUES)
    if _SURROGATE.search(text):
        try:
            json.dumps(document, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise BadJson("it contains half of a surrogate pair") from None
    return document


def check_definition(
    schema: str, document: Json, skip: Skip = skip_nothing
) -> Iterator[tuple[Path, Finding]]:
    """Yields what may not be declared: literal secrets, and fields that the service owns.

    Also yields values that cannot be brought to their form; the texts to `skip` are not checked.
    An exported definition (with an id and a type) may hold fields that the service owns; they are
    ignored.
    """
    casefolded = {name.casefold() for name in document} if isinstance(document, dict) else set()
    exported = {"id", "type"} <= casefolded
    field = compile_service(schema)
    yield from _check(field, document, (), exported=exported)
    yield from _check_names(document, ())
    yield from find_faults(field, document, (), skip)


def _check_names(value: Json, path: Path_) -> Iterator[tuple[Path_, Finding]]:
    """Yield the values that have the name of a secret: no answer of a service shows them."""
    if isinstance(value, dict):
        for name, below in value.items():
            if is_secret(name, below):
                found = Finding(
                    f"{name} has the name of a secret, and its value is in plain text here",
                    next_step="Remove it: reconciler keeps the value that the service has.",
                )
                yield (*path, name), found
            yield from _check_names(below, (*path, name))
    elif isinstance(value, list):
        for index, below in enumerate(value):
            yield from _check_names(below, (*path, str(index)))


def _check(
    field: Field, value: Json, path: Path_, *, exported: bool
) -> Iterator[tuple[Path_, Finding]]:
    if field.secret and not isinstance(value, dict):
        if value not in ("", None):
            yield (
                path,
                Finding(
                    f"{path[-1]} is a secret, and its value is in plain text here",
                    next_step="Refer to it instead: spec.secrets: "
                    f"{{{format_pointer(path)}: {{env: NAME}}}}",
                ),
            )
    elif field.read_only:
        if not exported:
            yield (
                path,
                Finding(
                    f"{path[-1]} is owned by the service and cannot be declared",
                    next_step="Remove it.",
                ),
            )
    elif isinstance(value, dict) and field.branches:
        for name, below in value.items():
            yield from _check(
                field.child(field.spelling(name)), below, (*path, name), exported=exported
            )


def clean_definition(schema: str, document: Json, skip: Skip = skip_nothing) -> Json:
    """Returns the document in the schema's spelling, without the fields that the service owns.

    Its values have their form, except for the texts to `skip`.
    """
    field = compile_service(schema)
    return settle(field, without_server_fields(field, normalize(field, document)), skip)


@functools.cache
def secret_pointers(schema: str) -> tuple[str, ...]:
    """Returns the pointers at which a secret may be written; `*` matches any name."""
    root = compile_service(schema)
    return tuple(
        format_pointer(path)
        for path, field in walk_fields(root)
        if field.secret and field.shape is Shape.SCALAR
    )


def is_secret_pointer(schema: str, path: Path_) -> bool:
    """Whether a secret may be written at a path."""
    field = compile_service(schema).at(path)
    return field.secret and field.shape is Shape.SCALAR

"""Checks the definition of a manifest, the service's own document, and brings it to its form.

The loader of manifests and fleets calls it. It sends nothing to a service.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

from reconciler.document.forms import Skip, find_faults, settle, skip_nothing
from reconciler.document.normalize import normalize, without_server_fields
from reconciler.document.pointers import format_pointer
from reconciler.document.schema import Field, Shape, compile_schema, walk_fields
from reconciler.model import Finding, Json, Path
from reconciler.package_data import read_schema
from reconciler.secrets.suspicion import is_secret

Path_ = tuple[str, ...]


@functools.cache
def compile_service(name: str) -> Field:
    """Returns the service schema or the manifest schema of a kind, compiled once."""
    return compile_schema(read_schema(name))


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
    if not field.guarded:
        return
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
def list_values_in_files(schema: str) -> tuple[Path_, ...]:
    """Returns the paths in a manifest of the values that a JSON file may hold; not below maps."""
    root = compile_service(schema)
    return tuple(path for path, field in walk_fields(root) if field.in_file and "*" not in path)


def is_map(schema: str, path: Path) -> bool:
    """Whether people choose the keys of the value at a path."""
    return compile_service(schema).at(path).shape is Shape.MAP


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

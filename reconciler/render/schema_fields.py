"""Renders the fields of a kind: owner, default, how a change is applied, and secrecy.

`reconciler schema` calls it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from reconciler.document.schema import Field, Shape, walk_fields
from reconciler.model import ABSENT

HEAD = ("FIELD", "OWNER", "DEFAULT", "CHANGE", "SECRECY")


def render_fields(root: Field) -> str:
    """Returns one line for each field, columns aligned; `*` matches any name or item."""
    rows = [HEAD, *list_fields(root)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def list_fields(root: Field) -> list[tuple[str, ...]]:
    """Returns a row for each field, with a cell for each column of `HEAD`."""
    fields = [*walk_fields(root)]
    filled = {path for path, field in fields if field.filled}
    return [
        _row(path, field, filled=any(path[:depth] in filled for depth in range(len(path) + 1)))
        for path, field in fields
        if is_leaf(field)
    ]


def is_leaf(field: Field) -> bool:
    """Whether a field has a row of its own: its value is compared as a whole."""
    return field.shape in {Shape.SCALAR, Shape.OPAQUE} or bool(field.compare)


def _row(path: tuple[str, ...], field: Field, *, filled: bool) -> tuple[str, ...]:
    return (
        ".".join(path),
        "service" if field.read_only else "you",
        "not known" if filled else "" if field.default is ABSENT else json.dumps(field.default),
        ", ".join(_changes(field)),
        ", ".join(_secrecy(field)),
    )


def _changes(field: Field) -> Iterator[str]:
    if field.read_only:
        yield "never declared"
    elif field.immutable and field.write_only:
        yield "set at creation"
    elif field.immutable:
        yield "forces replacement"
    elif field.irreversible:
        yield "cannot be undone"
    else:
        yield "in place"


def _secrecy(field: Field) -> Iterator[str]:
    if field.secret:
        yield "secret"
    if field.write_only:
        yield "never returned"
    if field.omitted:
        yield "not always returned"
    if field.sealed_by:
        yield "not observable if sealed"

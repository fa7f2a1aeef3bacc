"""What commands print for programs, held to the schemas of `schemas/output`."""

import functools

import jsonschema_rs

from reconciler.model import Json
from reconciler.package_data import read_schema


def check_output(document: Json, name: str) -> None:
    """Fail unless the document is as the schema `output/NAME` says, and that is a schema."""
    _make_validator(name).validate(document)


@functools.cache
def _make_validator(name: str) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(read_schema(f"output/{name}"))

"""What commands print for programs, held to the schemas of `schemas/output`."""

import functools

from jsonschema import Draft202012Validator

from reconciler.model import Json
from reconciler.package_data import read_schema


def check_output(document: Json, name: str) -> None:
    """Fail unless the document is as the schema `output/NAME` says."""
    _make_validator(name).validate(document)


@functools.cache
def _make_validator(name: str) -> Draft202012Validator:
    """A validator. To check the schema itself takes a hundred times longer than a document."""
    schema = read_schema(f"output/{name}")
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)

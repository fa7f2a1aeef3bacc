"""Lines of `apply --json`, each checked against its schema before anything else is."""

import functools
import json

import jsonschema_rs

from reconciler.model import Json
from reconciler.package_data import read_schema


@functools.cache
def _validator() -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(read_schema("output/events"), validate_formats=True)


def read_lines(text: str) -> list[Json]:
    """Every message; fails for a line that is none, or that the schema does not know."""
    lines = text.splitlines()
    assert text == "" or text.endswith("\n"), "the last line is cut off"
    messages = [json.loads(line) for line in lines]
    for message in messages:
        _validator().validate(message)
    return messages


def check_stream(text: str) -> list[Json]:
    """The messages of a whole run: a version first, an outcome last and nowhere else."""
    messages = read_lines(text)
    assert messages[0]["type"] == "version"
    assert [at for at, one in enumerate(messages) if "outcome" in one] == [len(messages) - 1]
    return messages

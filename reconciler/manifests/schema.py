"""The JSON Schemas of what people write: bundled for editors, and used to check.

jsonschema-rs decides, because it does so a hundred times faster; where it says no, jsonschema
explains, and its errors become findings with a place and a did-you-mean. No finding quotes a
value: it might be a secret in the wrong place.
"""

from __future__ import annotations

import copy
import difflib
import functools
import posixpath
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

import jsonschema_rs

from reconciler.catalog import read_schema
from reconciler.manifests.yaml_text import quote_word
from reconciler.model import Finding, Json
from reconciler.pointers import format_pointer

if TYPE_CHECKING:  # it only explains, and is imported when there is something to explain
    from jsonschema.exceptions import ValidationError

_NAMES: Final[Mapping[str, str]] = {
    "object": "a mapping",
    "array": "a list",
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
}


def bundle_schema(name: str) -> Json:
    """A schema with what it refers to in other files taken in, so that it stands alone."""
    schema = copy.deepcopy(read_schema(name))
    taken: dict[str, Json] = {}
    _take_in(schema, posixpath.dirname(name), taken)
    return {**schema, "$defs": {**schema.get("$defs", {}), **taken}} if taken else schema


def _take_in(node: Json, folder: str, taken: dict[str, Json]) -> None:
    if isinstance(node, list):
        for item in node:
            _take_in(item, folder, taken)
    if not isinstance(node, dict):
        return
    target, _, inside = str(node.get("$ref", "")).partition("#")
    if target.endswith(".schema.json"):
        name = posixpath.normpath(posixpath.join(folder, target)).removesuffix(".schema.json")
        short = posixpath.basename(name)
        node["$ref"] = f"#/$defs/{short}{inside}"
        if short not in taken:
            other = copy.deepcopy(read_schema(name))
            taken.update(other.pop("$defs", {}))
            taken[short] = {word: value for word, value in other.items() if word != "$schema"}
    for below in node.values():
        _take_in(below, folder, taken)


def definition_schema(name: str) -> str:
    """The name of the service schema that a manifest schema's `definition` refers to, or ""."""
    spec = read_schema(name)["properties"].get("spec", {}).get("properties", {})
    for form in spec.get("definition", {}).get("anyOf", ()):
        if "$ref" in form:
            joined = posixpath.normpath(posixpath.join(posixpath.dirname(name), form["$ref"]))
            return joined.removesuffix(".schema.json")
    return ""


class _Decides(Protocol):
    def is_valid(self, document: Json) -> bool: ...


@functools.cache
def _strict_schema(name: str) -> Json:
    """What a document is held to once files are taken in: a definition is then inline."""
    schema = bundle_schema(name)
    spec = schema["properties"].get("spec", {}).get("properties", {})
    for form in spec.get("definition", {}).get("anyOf", ()):
        if "$ref" in form:
            spec["definition"] = form
        elif "from" in form["properties"]:
            # The same with another place to start from, which may be left out.
            spec["definition"] = {word: said for word, said in form.items() if word != "required"}
    return schema


@functools.cache
def _decider(name: str) -> _Decides:
    return jsonschema_rs.validator_for(_strict_schema(name))


def check_document(name: str, document: Json) -> Iterator[tuple[str, Finding]]:
    """What breaks the schema: the JSON pointer of the place, and a finding without one."""
    if _decider(name).is_valid(document):
        return
    from jsonschema import Draft202012Validator  # noqa: PLC0415 - only needed to explain

    validator = Draft202012Validator(_strict_schema(name))
    for error in sorted(validator.iter_errors(document), key=lambda one: list(map(str, one.path))):
        yield from _explain(error)


def _explain(error: ValidationError) -> Iterator[tuple[str, Finding]]:
    word = str(error.validator)
    if word in {"oneOf", "anyOf"}:
        yield from _explain_choice(error)
        return
    at = tuple(error.absolute_path)
    name = str(at[-1]) if at else "the document"
    schema: Any = error.schema
    value: Any = error.validator_value
    instance: Any = error.instance
    if word == "additionalProperties":
        for key in sorted(set(instance) - set(schema.get("properties", {}))):
            yield format_pointer((*at, key)), _unknown_field(key, schema)
    elif word == "required":
        for key in value:
            if key not in instance:
                yield format_pointer(at), Finding(f"{name} lacks {key}")
    elif word == "dependentRequired":
        for key in sorted(set(value) & set(instance)):
            needed = " and ".join(one for one in value[key] if one not in instance)
            if needed:
                yield format_pointer((*at, key)), Finding(f"{key} needs {needed} beside it")
    else:
        yield format_pointer(at), Finding(f"{name} {_demand(word, error)}")


def _unknown_field(key: str, schema: Json) -> Finding:
    known = list(schema.get("properties", {}))
    near = difflib.get_close_matches(key.casefold(), [one.casefold() for one in known], n=1)
    match = next((one for one in known if near and one.casefold() == near[0]), "")
    hint = f'Did you mean "{match}"?' if match else f"There are {', '.join(known)}."
    return Finding(f"unknown field{quote_word(key)}", next_step=hint)


def _demand(word: str, error: ValidationError) -> str:
    value: Any = error.validator_value
    if word == "type":
        types = [value] if isinstance(value, str) else value
        return "must be " + " or ".join(_NAMES.get(one, one) for one in types)
    if word in {"enum", "const"}:
        allowed = value if word == "enum" else [value]
        return "must be " + " or ".join(map(str, allowed))
    if word in {"minimum", "maximum"}:
        return f"must be at {'least' if word == 'minimum' else 'most'} {value}"
    if word == "pattern":
        schema: Any = error.schema
        meant = schema.get("description", "")
        return f"is not of the form that is needed. {meant}".rstrip()
    plain = {"minLength": "must not be empty", "minProperties": "must not be empty"}
    return plain.get(word, f"breaks the rule {word}: {value}")


def _explain_choice(error: ValidationError) -> Iterator[tuple[str, Finding]]:
    """The branch that was meant is the one whose type fits; its errors are the ones to tell."""
    branches: dict[Any, list[ValidationError]] = {}
    for below in error.context or ():
        branches.setdefault(below.schema_path[0], []).append(below)
    fitting = [
        errors
        for errors in branches.values()
        if not any(one.validator == "type" and not one.relative_path for one in errors)
    ]
    choices: Any = error.validator_value
    names = [key for branch in choices for key in branch.get("required", ())]
    if len(names) == len(choices):
        said = " or ".join(names)
        yield format_pointer(tuple(error.absolute_path)), Finding(f"needs exactly one of {said}")
    elif fitting:
        for one in fitting[0]:
            yield from _explain(one)
    else:
        types = [_NAMES.get(one.get("type", ""), "") for one in choices]
        name = str(error.absolute_path[-1]) if error.absolute_path else "the document"
        said = " or ".join(dict.fromkeys(filter(None, types)))
        yield format_pointer(tuple(error.absolute_path)), Finding(f"{name} must be {said}")

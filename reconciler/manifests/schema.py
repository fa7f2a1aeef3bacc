"""The JSON Schemas of what users write: bundled for editors, and used for checks.

jsonschema-rs decides, because it is a hundred times faster. For an invalid document, jsonschema
explains, and its errors become findings with a location and a suggestion. No finding quotes a
value, because the value might be a secret in the wrong place.
"""

from __future__ import annotations

import functools
import itertools
import json
import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

import jsonschema_rs

from reconciler.document.pointers import copy_document, find, format_pointer, split_pointer
from reconciler.manifests.budget import MORE_ERRORS, MOST_ERRORS
from reconciler.manifests.yaml_text import SourceMap
from reconciler.model import Finding, Json, Path
from reconciler.package_data import read_schema
from reconciler.ports import Kind
from reconciler.secrets.suspicion import quote_word
from reconciler.text.counting import agree, count
from reconciler.text.suggestions import ask, suggest

if TYPE_CHECKING:  # it only explains errors, and is imported when there are errors
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


_PROJECT_PART: Final = "project.schema.json#"


def list_schemas(kinds: Mapping[str, Kind]) -> dict[str, str]:
    """Returns the name of the manifest schema of each kind of document, by kind."""
    own = {
        "Project": "manifest/project",
        "Environment": "manifest/environment",
        "Fleet": "manifest/fleet",
        "Retraining": "manifest/retraining",
        "Policy": "manifest/policy",
        "PolicyTest": "manifest/policy-test",
        "DriftIgnore": "manifest/drift-ignore",
    }
    return own | {name: found.manifest_schema_name for name, found in kinds.items()}


def bundle_schema(name: str, extension: str = "") -> Json:
    """Returns a schema that includes what it refers to in other files.

    `extension` is the result of `extend_project`, for the schemas of a project and an environment.
    """
    schema = copy_document(read_schema(name))
    _repeat_project(schema)
    if extension:
        added = json.loads(extension)
        cloud, defaults = _find_parts(schema["properties"]["spec"]["properties"])
        cloud.update(added["cloud"])
        defaults.update(added["defaults"])
    taken: dict[str, Json] = {}
    _include(schema, posixpath.dirname(name), taken)
    return {**schema, "$defs": {**schema.get("$defs", {}), **taken}} if taken else schema


def _repeat_project(node: Json) -> None:
    """Put parts of the project's schema in the place of references to them.

    Their defaults are left out: the default is what the project file says.
    """
    for name, below in list(node.items()) if isinstance(node, dict) else ():
        target = below.get("$ref", "") if isinstance(below, dict) else ""
        if target.startswith(_PROJECT_PART):
            path = split_pointer(target.removeprefix(_PROJECT_PART))
            part = copy_document(find(read_schema("manifest/project"), path))
            _drop_defaults(part)
            own = {word: said for word, said in below.items() if word != "$ref"}
            node[name] = {**part, **own}
        else:
            _repeat_project(below)


def _drop_defaults(node: Json) -> None:
    """Remove the keyword `default`, and not a property of this name."""
    node.pop("default", None)
    for one in node.get("properties", {}).values():
        _drop_defaults(one)


def _include(node: Json, folder: str, taken: dict[str, Json]) -> None:
    if isinstance(node, list):
        for item in node:
            _include(item, folder, taken)
    if not isinstance(node, dict):
        return
    target, _, inside = str(node.get("$ref", "")).partition("#")
    if target.endswith(".schema.json"):
        name = posixpath.normpath(posixpath.join(folder, target)).removesuffix(".schema.json")
        short = posixpath.basename(name)
        node["$ref"] = f"#/$defs/{short}{inside}"
        if short not in taken:
            other = copy_document(read_schema(name))
            taken.update(other.pop("$defs", {}))
            taken[short] = {word: value for word, value in other.items() if word != "$schema"}
    for below in node.values():
        _include(below, folder, taken)


@functools.cache
def definition_schema(name: str) -> str:
    """Returns the name of the service schema of a manifest schema's `definition`, or ""."""
    spec = read_schema(name)["properties"].get("spec", {}).get("properties", {})
    for form in spec.get("definition", {}).get("anyOf", ()):
        if "$ref" in form:
            joined = posixpath.normpath(posixpath.join(posixpath.dirname(name), form["$ref"]))
            return joined.removesuffix(".schema.json")
    return ""


class _Decides(Protocol):
    def is_valid(self, document: Json) -> bool: ...
    def iter_errors(self, document: Json) -> Iterator[Any]: ...


def extend_project(kinds: Iterable[Kind]) -> str:
    """Returns what kinds add to the project's schema, as JSON; "" if it has all of it already."""
    spec = read_schema("manifest/project")["properties"]["spec"]["properties"]
    planes, defaults = _find_parts(spec)
    added: dict[str, Json] = {
        "cloud": {
            plane.name: {**planes["blob"], "description": plane.description}
            for kind in kinds
            for plane in kind.planes
            if plane.name not in planes
        },
        "defaults": {
            name: form
            for kind in kinds
            for name, form in kind.defaults.items()
            if name not in defaults
        },
    }
    return json.dumps(added) if any(added.values()) else ""


def _find_parts(spec: Json) -> tuple[Json, Json]:
    """The properties of `spec.cloud` as a mapping, and those of `spec.defaults`."""
    (cloud,) = (form["properties"] for form in spec["cloud"]["oneOf"] if "properties" in form)
    return cloud, spec["defaults"]["properties"]


@functools.cache
def _strict_schema(name: str, extension: str = "") -> Json:
    """The schema for a document after its files are included: a definition is then inline."""
    schema = bundle_schema(name, extension)
    spec = schema.get("properties", {}).get("spec", {}).get("properties", {})
    for form in spec.get("definition", {}).get("anyOf", ()):
        if "$ref" in form:
            spec["definition"] = form
        elif "from" in form["properties"]:
            # An equal schema with another start, whose definition may be missing.
            spec["definition"] = {word: said for word, said in form.items() if word != "required"}
    return schema


@functools.cache
def _decider(name: str, extension: str = "") -> _Decides:
    return jsonschema_rs.validator_for(_strict_schema(name, extension))


def is_valid(name: str, document: Json, extension: str = "") -> bool:
    """Whether a document is valid; one with a lone surrogate never is."""
    try:
        return _decider(name, extension).is_valid(document)
    except UnicodeEncodeError:
        return False


def check_document(name: str, document: Json, extension: str = "") -> Iterator[tuple[str, Finding]]:
    """Yields the schema errors: the JSON pointer of the place, and a finding without a location."""
    if is_valid(name, document, extension):
        return
    from jsonschema import Draft202012Validator  # noqa: PLC0415 - only needed to explain

    validator = Draft202012Validator(_strict_schema(name, extension))
    errors = list(itertools.islice(validator.iter_errors(document), MOST_ERRORS))
    reported = False
    for error in sorted(errors, key=lambda one: list(map(str, one.path))):
        for found in _explain(error):
            reported = True
            yield found
    if len(errors) == MOST_ERRORS:
        yield "", MORE_ERRORS
    if not reported:
        # In Python's patterns, `$` also matches before a final line break.
        for at, _ in sign_errors(name, document, extension):
            said = at.rpartition("/")[2] or "it"
            yield at, Finding(f"{said} does not match the required pattern")


def check_written(
    name: str, document: Json, places: SourceMap, extension: str = ""
) -> list[tuple[str, Finding]]:
    """Returns the schema errors, after texts such as 1.2e1 became numbers where one is needed."""
    errors = list(check_document(name, document, extension))
    numbers = {pointer: places.read_exponent(pointer) for pointer, _ in errors}
    for pointer, number in numbers.items():
        parent, _, last = pointer.rpartition("/")
        around = find(document, split_pointer(parent))
        if number is not None and isinstance(around, dict):
            around[split_pointer(f"/{last}")[0]] = number
    changed = any(number is not None for number in numbers.values())
    return list(check_document(name, document, extension)) if changed else errors


def sign_errors(name: str, document: Json, extension: str = "") -> Iterator[tuple[str, str]]:
    """Yields the schema errors: the JSON pointer of the place, and a text for the broken rule.

    Documents with the same errors have equal texts; this is much faster than an explanation.
    """
    try:
        errors = list(
            itertools.islice(_decider(name, extension).iter_errors(document), MOST_ERRORS)
        )
    except UnicodeEncodeError:
        yield "", "half of a character"
        return
    for error in errors:
        yield format_pointer(tuple(error.instance_path)), _sign(error)


def _sign(error: Any) -> str:
    kind = error.kind
    names = getattr(kind, "property", "") or getattr(kind, "unexpected", "")
    below = [[_sign(one) for one in branch] for branch in getattr(kind, "context", ())]
    return f"{error.schema_path} {names} {below}"


def wanted_types(name: str, path: Path) -> frozenset[str]:
    """Returns the types, in JSON Schema's words, that are valid at a path; empty for any type.

    Names match in any casing, and the path may contain variables for names.
    """
    root = _strict_schema(name)
    nodes = list(_follow(root, root))
    for segment in path:
        below = [one for node in nodes for one in _step(node, segment)]
        nodes = [one for node in below for one in _follow(root, node)]
    types = (node.get("type", ()) for node in nodes)
    return frozenset(one for said in types for one in ((said,) if isinstance(said, str) else said))


def _follow(root: Json, node: Json) -> Iterator[Json]:
    """A schema with its references and alternatives resolved."""
    while "$ref" in node:
        target = find(root, split_pointer(node["$ref"].removeprefix("#")))
        node = target if isinstance(target, dict) else {}
    yield node
    for word in ("anyOf", "oneOf"):
        for choice in node.get(word, ()):
            yield from _follow(root, choice)


def _step(node: Json, segment: str | int) -> Iterator[Json]:
    if isinstance(segment, int):
        below = [node.get("items")]
    else:
        casefolded = segment.casefold()
        properties = node.get("properties", {}).items()
        below = [one for name, one in properties if name.casefold() == casefolded]
        below = below or [node.get("additionalProperties")]
    yield from (one for one in below if isinstance(one, dict))


def format_types(types: Iterable[str]) -> str:
    """Returns JSON Schema's types in plain words."""
    return " or ".join(_NAMES.get(one, one) for one in types)


def _explain(error: ValidationError) -> Iterator[tuple[str, Finding]]:
    word = str(error.validator)
    if word in {"oneOf", "anyOf"}:
        yield from _explain_choice(error)
        return
    at = tuple(error.absolute_path)
    name = _format_name(error)
    schema: Any = error.schema
    value: Any = error.validator_value
    instance: Any = error.instance
    if word == "additionalProperties":
        yield from _explain_unknown(at, instance, schema)
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
        # The description of a rule says how to satisfy it.
        cure = schema.get("$comment", "") if isinstance(schema, dict) else ""
        yield format_pointer(at), Finding(f"{name} {_describe_rule(word, error)}", next_step=cure)


def _format_name(error: ValidationError) -> str:
    at = list(error.absolute_path)
    if len(at) > 1 and isinstance(at[-1], int):
        return f"{at[-2]}[{at[-1]}]"
    return str(at[-1]) if at else "the document"


def _explain_unknown(
    at: tuple[str | int, ...], instance: Json, schema: Json
) -> Iterator[tuple[str, Finding]]:
    unknown = sorted(set(instance) - set(schema.get("properties", {})))
    for key in unknown[:MOST_ERRORS]:
        yield format_pointer((*at, key)), _unknown_field(key, schema)
    if len(unknown) > MOST_ERRORS:
        left = len(unknown) - MOST_ERRORS
        said = f"has {count(left, 'more field')} that {agree(left, 'is', 'are')} not known"
        yield format_pointer(at), Finding(said)


def _unknown_field(key: str, schema: Json) -> Finding:
    known = list(schema.get("properties", {}))
    near = suggest(key, known)
    hint = ask(key, near) if near else f"Known fields: {', '.join(known)}."
    return Finding(f"unknown field{quote_word(key)}", next_step=hint)


def unknown_word(what: str, given: str, known: Sequence[str]) -> Finding:
    """Returns a finding for an unknown name, with the nearest known name or all of them."""
    near = suggest(given, known)
    hint = ask(given, near) if near else f"Known: {', '.join(known)}."
    return Finding(f"unknown {what}{quote_word(given)}", next_step=hint)


def _describe_rule(word: str, error: ValidationError) -> str:
    value: Any = error.validator_value
    if word == "type":
        types = [value] if isinstance(value, str) else value
        return f"must be {format_types(types)}"
    if word in {"enum", "const"}:
        allowed = value if word == "enum" else [value]
        return "must be " + " or ".join(map(_write_word, allowed))
    if word in {"minimum", "maximum"}:
        return f"must be at {'least' if word == 'minimum' else 'most'} {value}"
    if word == "pattern":
        schema: Any = error.schema
        meant = schema.get("description", "")
        return f"does not match the required pattern. {meant}".rstrip()
    if word in {"minLength", "minItems", "minProperties"}:
        return "must not be empty"
    return f"breaks the rule {word}: {value}"


def _write_word(value: Json) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _explain_choice(error: ValidationError) -> Iterator[tuple[str, Finding]]:
    """Explains the branch whose type matches, because that is the one that the user meant."""
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
        said = f"{', '.join(names[:-1])} or {names[-1]}"
        yield format_pointer(tuple(error.absolute_path)), Finding(f"needs exactly one of {said}")
    elif fitting:
        for one in fitting[0]:
            yield from _explain(one)
    else:
        types = [_NAMES.get(one.get("type", ""), "") for one in choices]
        name = _format_name(error)
        said = " or ".join(dict.fromkeys(filter(None, types)))
        schema: Any = error.schema
        found = Finding(f"{name} must be {said}", next_step=schema.get("$comment", ""))
        yield format_pointer(tuple(error.absolute_path)), found

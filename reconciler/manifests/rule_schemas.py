"""Checks the JSON Schemas of free rules, `when` and `require`, before they judge a plan.

JSON Schema ignores a word that it does not know, and a property that no document has. A rule with a
typing error would accept every change. So only known keywords are accepted, and only properties and
values that an item of `resource_changes` can have. References are not accepted: a rule fetches
nothing, and its cost is known from its size.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final

from reconciler.document.pointers import find, format_pointer, split_pointer
from reconciler.manifests.references import Found
from reconciler.manifests.schema import unknown_word
from reconciler.model import Finding, Json, Path
from reconciler.package_data import read_schema
from reconciler.plans.policies import compile_rule_schema

_ONE: Final = ("not", "if", "then", "else", "additionalProperties", "propertyNames")
_ITEMS: Final = ("items", "contains")
_LISTS: Final = ("allOf", "anyOf", "oneOf")
_NAMED: Final = ("properties", "patternProperties", "dependentSchemas")
_PLAIN: Final = (
    *("type", "enum", "const", "required", "dependentRequired", "minimum", "maximum"),
    *("exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength", "pattern"),
    *("minItems", "maxItems", "uniqueItems", "minContains", "maxContains", "minProperties"),
    *("maxProperties", "title", "description", "$comment"),
)
_KNOWN: Final = (*_ONE, *_ITEMS, "prefixItems", *_LISTS, *_NAMED, *_PLAIN)
_MOST_KEYWORDS: Final = 5_000
_REFERS: Final = ("$ref", "$dynamicRef", "$recursiveRef", "$defs", "definitions", "$id", "$anchor")


def check_rule_schema(schema: Json, path: Path) -> Iterator[Found]:
    """Yield what is wrong with the schema of a rule, each with its pointer in the document.

    `path` is the place of the schema.
    """
    checked = _Checked(path)
    checked.walk(schema, path, (_ITEM,))
    yield from checked.found
    if not checked.found:
        yield from _check_compiled(schema, path)


def _check_compiled(schema: Json, path: Path) -> Iterator[Found]:
    try:
        compile_rule_schema(schema)
    except ValueError as error:
        at = (*path, *getattr(error, "instance_path", ()))
        if at and at[-1] == "pattern":
            said, step = "the pattern cannot be used", _PATTERN
        else:
            said, step = "is not a value that JSON Schema allows here", _SCHEMA
        yield format_pointer(at), Finding(said, next_step=step)


_SCHEMA: Final = "Write what draft 2020-12 of JSON Schema allows, such as {type: string}."
_PATTERN: Final = (
    "Write a regular expression that is not too large, without lookaround and backreferences."
)


class _Checked:
    """The findings about one schema, and how many keywords it has."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._left = _MOST_KEYWORDS
        self.found: list[Found] = []

    def walk(self, schema: Json, path: Path, shapes: Sequence[Json]) -> None:
        """Check a schema; `shapes` are the schemas of what it is about, empty if not known."""
        if not isinstance(schema, dict):
            return  # true and false are schemas too; the compiler refuses any other value
        for word, value in schema.items():
            self._left -= 1
            if self._left == 0:
                said = f"holds more than {_MOST_KEYWORDS:,} keywords"
                self._refuse(self._path, Finding(said, next_step="Split the rule."))
            if self._left <= 0:
                return
            self._walk_keyword(word, value, (*path, word), shapes)

    def _walk_keyword(self, word: str, value: Json, path: Path, shapes: Sequence[Json]) -> None:
        if word not in _KNOWN:
            self._refuse(path, _unknown_keyword(word))
        elif word in _ONE:
            self.walk(
                value, path, () if word in {"additionalProperties", "propertyNames"} else shapes
            )
        elif word in _ITEMS:
            self.walk(value, path, _list_items(shapes))
        elif word == "prefixItems":
            self._walk_list(value, path, _list_items(shapes))
        elif word in _LISTS:
            self._walk_list(value, path, shapes)
        elif word in {"const", "enum", "required"}:
            self._check_words(word, value, path, shapes)
        elif word in {*_NAMED, "dependentRequired"} and isinstance(value, dict):
            self._walk_named(word, value, path, shapes)

    def _check_words(self, word: str, value: Json, path: Path, shapes: Sequence[Json]) -> None:
        """Refuse the names of properties and the values that no plan has at this place."""
        if word == "const":
            self._check_value(value, path, shapes)
            return
        check = self._check_name if word == "required" else self._check_value
        for number, one in enumerate(value if isinstance(value, list) else ()):
            check(one, (*path, number), shapes)

    def _walk_list(self, listed: Json, path: Path, shapes: Sequence[Json]) -> None:
        for number, one in enumerate(listed if isinstance(listed, list) else ()):
            self.walk(one, (*path, number), shapes)

    def _walk_named(
        self, word: str, named: dict[str, Json], path: Path, shapes: Sequence[Json]
    ) -> None:
        for name, one in named.items():
            at = (*path, name)
            if word == "patternProperties":
                self.walk(one, at, ())
                continue
            self._check_name(name, at, shapes)
            if word == "properties":
                self.walk(one, at, _list_properties(shapes, name))
            elif word == "dependentSchemas":
                self.walk(one, at, shapes)

    def _check_name(self, name: Json, path: Path, shapes: Sequence[Json]) -> None:
        """Refuse the name of a property that no plan has at this place."""
        known = _find_names(shapes)
        if known is not None and isinstance(name, str) and name not in known:
            self._refuse(path, unknown_word("property of a plan", name, sorted(known)))

    def _check_value(self, value: Json, path: Path, shapes: Sequence[Json]) -> None:
        """Refuse a word that no plan has at this place, where the plan has a list of words."""
        known = _find_words(shapes)
        if known and isinstance(value, str) and value not in known:
            self._refuse(path, unknown_word("value in a plan", value, known))

    def _refuse(self, path: Path, finding: Finding) -> None:
        self.found.append((format_pointer(path), finding))


def _unknown_keyword(word: str) -> Finding:
    if word in _REFERS:
        step = "Write the schema out, or repeat it with an anchor of YAML."
        return Finding(f'a rule cannot have the keyword "{word}"', next_step=step)
    return unknown_word("keyword of JSON Schema", word, _KNOWN)


_SPLITS: Final = frozenset({"anyOf", "oneOf"})
_ITEM: Final[Json] = {"$ref": "#/$defs/step"}


def _resolve(shapes: Iterable[Json]) -> Iterator[Json]:
    """Yield the schemas of the plan with their references and alternatives resolved."""
    for shape in shapes:
        if "$ref" in shape:
            target = split_pointer(shape["$ref"].removeprefix("#"))
            yield from _resolve((find(read_schema("output/plan"), target),))
            continue
        yield shape
        for word in ("anyOf", "oneOf"):
            yield from _resolve(shape.get(word, ()))


def _list_properties(shapes: Sequence[Json], name: str) -> tuple[Json, ...]:
    """Return the schemas of a property; empty if it may be anything."""
    found = []
    for shape in _resolve(shapes):
        other = shape.get("additionalProperties")
        below = shape.get("properties", {}).get(name, other)
        found += [below] if isinstance(below, dict) else []
    return tuple(found)


def _list_items(shapes: Sequence[Json]) -> tuple[Json, ...]:
    """Return the schemas of the items of a list; an enum of lists gives the items that it has."""
    found = []
    for shape in _resolve(shapes):
        lists = [one for one in shape.get("enum", ()) if isinstance(one, list)]
        items = {"enum": [item for one in lists for item in one]} if lists else shape.get("items")
        found += [items] if isinstance(items, dict) else []
    return tuple(found)


def _find_words(shapes: Sequence[Json]) -> list[str]:
    """Return the only words that a value can be; empty if it can be another text."""
    listed = [shape.get("enum") for shape in _resolve(shapes) if not _SPLITS & shape.keys()]
    if not all(listed):
        return []
    words = [one for words in listed for one in words or () if isinstance(one, str)]
    return list(dict.fromkeys(words))


def _find_names(shapes: Sequence[Json]) -> Collection[str] | None:
    """Return the only properties that an object can have; None if it can have others."""
    objects = [shape for shape in _resolve(shapes) if _may_be_object(shape)]
    if not objects or any(one.get("additionalProperties") is not False for one in objects):
        return None
    return {name for one in objects for name in one.get("properties", ())}


def _may_be_object(shape: Json) -> bool:
    if "anyOf" in shape or "oneOf" in shape:
        return False
    types = shape.get("type", "object" if "enum" not in shape else "")
    return types == "object" or "object" in types

"""Compiles the annotated JSON Schema of a service's document to a frozen `Field` tree.

The tree says who owns a field, whether it can be read back, how two values are compared, and what a
change means. The other rules use only the tree. No other module reads the raw JSON Schema to
compare documents. It is long because each word of the schema is compiled and explained in one
place.
"""

from __future__ import annotations

import enum
import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import field
from types import MappingProxyType
from typing import Final

from reconciler.document.comparers import (
    CARRIERS,
    COMPARERS,
    FORMED_VALUES,
    SEALED,
    Comparer,
    compare_sealed,
    is_sealed,
)
from reconciler.document.pointers import find
from reconciler.errors import SchemaInvalid
from reconciler.model import ABSENT, Absent, Json, Path
from reconciler.model.values import dataclass

_KEYWORDS: Final = frozenset(
    {
        "x-sensitive",
        "x-immutable",
        "x-irreversible",
        "x-server-default",
        "x-server-fills",
        "x-empty",
        "x-absent",
        "x-epoch",
        "x-creation-time",
        "x-failed",
        "x-writers",
        "x-autoscaled",
        "x-list",
        "x-key",
        "x-compare",
        "x-names",
        "x-past",
        "x-sealed-by",
        "x-model",
        "x-opaque",
        "x-file",
        "x-separate",
        "x-source",
    }
)
# Words that have one value.
_ONLY_VALUES: Final[Mapping[str, str]] = {
    "x-empty": "absent",
    "x-absent": "unknown",
    "x-names": "casefold",
    "x-past": "refused",
    "x-file": "json",
}
_SCALARS: Final = frozenset({"boolean", "integer", "number", "string"})
_LISTS: Final = ("atomic", "keyed", "set")


class Shape(enum.Enum):
    """How a field is structured. An object has named properties; a map has free keys."""

    OBJECT = "object"
    MAP = "map"
    LIST = "list"
    SCALAR = "scalar"
    OPAQUE = "opaque"


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """One field of a service's document, with all its annotations.

    Who writes and reads it:
    - `read_only`: only the service sets the field.
    - `write_only`: the service never returns the field.
    - `secret`: the field is write-only and sensitive. It may never be kept or shown.
    - `omitted`: the service may leave the field out of a reply, so its absence proves nothing.
    - `writers` says who else is known to write the field.
    - `autoscaled`: one of them moves the value with the load. Where no manifest declares it, a move
      is not a drift.
    - `guarded`: the field, or one below it, is read-only or secret.
    - `epoch`: when the value changes, earlier writes may have been undone.
    - `creation_time`: the path from here to the time when the service created the resource; empty
      where the service shows none. A resource that is created again has another one.
    - `failed`: the values by which the service reports that the last operation failed.

    How values compare:
    - `default` is the value that the service assumes for an absent field.
    - `filled`: the service may set the field if a write of the whole leaves it out, to a value that
      is not known. An exact manifest that does not declare it does not remove it.
    - `sealed_by` names a property. An object in which it is not empty is cipher text.
    - `verbatim`: a value is its own comparison form. So is an object that has only `own_names`.
    - `future`: the service refuses a time in the past.
    - `whole`: numbers have no fraction, so that 12.0 is 12.
    - `renames`: the field, or one below it, is a map of `any_case`.
    - `formed`: people may write a value of the field, or below it, in several forms.

    How the field is structured:
    - `branches`: the field is an object or a map.
    - `flat`: all properties of the object are plain values; `names` are those of the properties.
    - `names_of_items` are the names of the properties of each value of a map of flat objects; None
      for any other field.
    - `patterns` holds the fields of the names that match an expression and are not properties; the
      first match counts. `items` is the field of all other names.
    - `separate`: the value is a resource of its own to the service, which a call of its own writes
      or deletes.
    - `any_case`: two keys of the map that differ only by their casing are one key.
    - `casefolded` maps the casefolded name of a property to the schema's spelling.
    - `model`: the value is the address of a trained model.
    - `in_file`: people may name a JSON file that holds the value. Only manifest schemas have it.
    - `bare`: the value is kept without the credentials that it may hold.
    - `inert`: no value of the field needs normalization; `uneven` are the properties that are not.
    """

    shape: Shape
    types: frozenset[str] = frozenset()
    read_only: bool = False
    write_only: bool = False
    sensitive: bool = False
    immutable: bool = False
    irreversible: bool = False
    default: Json | Absent = ABSENT
    filled: bool = False
    empty_is_absent: bool = False
    omitted: bool = False
    epoch: bool = False
    created: bool = False
    failed: tuple[str, ...] = ()
    writers: str = ""
    compare: str = ""
    comparer: Comparer | None = None
    sealed_by: str = ""
    any_case: bool = False
    future: bool = False
    model: bool = False
    in_file: bool = False
    items_relate: str = "atomic"
    key: str = ""
    properties: Mapping[str, Field] = field(default_factory=dict)
    casefolded: Mapping[str, str] = field(default_factory=dict)
    patterns: tuple[tuple[re.Pattern[str], Field], ...] = ()
    items: Field | None = None
    separate: bool = False
    autoscaled: bool = False
    description: str = ""
    source: str = ""
    branches: bool = field(init=False)
    secret: bool = field(init=False)
    flat: bool = field(init=False)
    names: frozenset[str] = field(init=False)
    names_of_items: frozenset[str] | None = field(init=False)
    verbatim: bool = field(init=False)
    own_names: frozenset[str] = field(init=False)
    bare: bool = field(init=False)
    inert: bool = field(init=False)
    uneven: tuple[tuple[str, Field], ...] = field(init=False)
    creation_time: tuple[str, ...] = field(init=False)
    whole: bool = field(init=False)
    formed: bool = field(init=False)
    renames: bool = field(init=False)
    guarded: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "creation_time", _find_creation_time(self.properties))
        # These flags are read for every value of every document, so they are computed once.
        plain = bool(self.properties) and all(map(_is_plain, self.properties.values()))
        object.__setattr__(self, "flat", plain and not self.compare)
        object.__setattr__(self, "names", frozenset(self.properties))
        object.__setattr__(self, "names_of_items", _find_names_of_items(self))
        object.__setattr__(self, "branches", self.shape in {Shape.OBJECT, Shape.MAP})
        object.__setattr__(self, "secret", self.write_only and self.sensitive)
        object.__setattr__(self, "bare", self.compare in CARRIERS)
        listed = self.shape is Shape.LIST and self.items is not None and not self.items.inert
        object.__setattr__(self, "inert", not (self.secret or self.bare or self.branches or listed))
        uneven = tuple(one for one in self.properties.items() if not one[1].inert)
        object.__setattr__(self, "uneven", uneven)
        whole = "integer" in self.types and "number" not in self.types
        object.__setattr__(self, "whole", whole)
        below = (
            *self.properties.values(),
            *(one for _, one in self.patterns),
            *((self.items,) if self.items is not None else ()),
        )
        own = whole or self.compare in FORMED_VALUES
        object.__setattr__(self, "formed", own or any(one.formed for one in below))
        renames = self.any_case or any(one.renames for one in below)
        object.__setattr__(self, "renames", renames)
        own = self.read_only or self.secret
        object.__setattr__(self, "guarded", own or any(one.guarded for one in below))
        hidden = self.read_only or self.write_only
        formed = self.compare or self.empty_is_absent or self.numeric or self.items is not None
        object.__setattr__(self, "verbatim", not (hidden or formed or self.branches))
        object.__setattr__(self, "own_names", _find_own_names(self))

    @property
    def numeric(self) -> bool:
        """Whether the field is a number, so that 1 and 1.0 are the same value."""
        return bool(self.types) and self.types <= {"integer", "number"}

    def is_sealed(self, value: Json | Absent) -> bool:
        """Whether a value is cipher text, which the service encrypts again at every write."""
        return bool(self.sealed_by) and is_sealed(value, self.sealed_by)

    def child(self, segment: str | int) -> Field:
        """Return the field of a property or an item; `UNKNOWN` where the schema has none."""
        if self.shape is Shape.OPAQUE:
            return UNKNOWN
        if isinstance(segment, str):
            found = self.properties.get(segment)
            if found is not None:
                return found
            for pattern, below in self.patterns:
                if pattern.search(segment):
                    return below
        return self.items or UNKNOWN

    def at(self, path: Path) -> Field:
        """Return the field at the end of a path."""
        found = self
        for segment in path:
            found = found.child(segment)
        return found

    def spelling(self, name: str) -> str:
        """Return the schema's spelling of a property name; a map key stays unchanged."""
        if name in self.properties:
            return name
        return self.casefolded.get(name.casefold(), name)

    def is_plain(self, document: dict[str, Json]) -> bool:
        """Whether a document needs no normalization.

        Such a document is a flat object with the schema's spelling, or a map of such objects. Most
        replies are. To check each of their values would cost more than to read the reply.
        """
        if self.flat:
            return document.keys() <= self.names
        names = self.names_of_items
        if names is None:
            return False
        for value in document.values():
            if type(value) is not dict or not value.keys() <= names:
                return False
        return True


def _find_names_of_items(field: Field) -> frozenset[str] | None:
    items = field.items
    if field.properties or field.patterns or items is None or not items.flat:
        return None
    return None if items.secret or items.read_only else items.names


def _find_own_names(field: Field) -> frozenset[str]:
    """Return the names of verbatim properties; empty if a default may be filled in beside them."""
    below = field.properties.items()
    if field.comparer is not None or any(one.default is not ABSENT for _, one in below):
        return frozenset()
    return frozenset(name for name, one in below if one.verbatim)


def _find_creation_time(properties: Mapping[str, Field]) -> tuple[str, ...]:
    for name, below in properties.items():
        if below.created or below.creation_time:
            return (name, *below.creation_time)
    return ()


def _list_failed(node: Mapping[str, Json]) -> tuple[str, ...]:
    failed = node.get("x-failed", ())
    return (failed,) if isinstance(failed, str) else tuple(failed)


def _is_plain(field: Field) -> bool:
    if field.secret or field.read_only or field.bare or field.branches:
        return False
    return field.items is None or _is_plain(field.items)


UNKNOWN: Final = Field(Shape.OPAQUE, description="not described by the service's vendor")


def compile_schema(schema: Json, comparers: Mapping[str, Comparer] | None = None) -> Field:
    """Compile an annotated schema (draft 2020-12, local `$ref` only).

    `comparers` are the comparers of the kind; the common ones are always known.
    Raises SchemaInvalid with the pointer of an unknown `x-` word, a wrong value of a known word,
    a reference that does not resolve, or a recursion without `x-opaque`.
    """
    return _Compiler(schema, {**COMPARERS, **(comparers or {})}).compile(schema, "#", ())


class _Compiler:
    def __init__(self, root: Json, comparers: Mapping[str, Comparer]) -> None:
        self._root, self._comparers = root, comparers

    def compile(self, node: Json, place: str, trail: tuple[str, ...]) -> Field:
        node, trail = self._follow(node, place, trail)
        self._check_words(node, place)
        shape = _shape(node)
        properties = {
            name: self.compile(child, f"{place}/properties/{name}", trail)
            for name, child in node.get("properties", {}).items()
            if shape is Shape.OBJECT
        }
        return Field(
            shape=shape,
            types=_types(node),
            read_only=node.get("readOnly", False),
            write_only=node.get("writeOnly", False) or _all(properties, "write_only"),
            sensitive=node.get("x-sensitive", False) or _all(properties, "secret"),
            immutable=node.get("x-immutable", False),
            irreversible=node.get("x-irreversible", False),
            default=node.get("x-server-default", ABSENT),
            filled=node.get("x-server-fills", False),
            empty_is_absent=node.get("x-empty") == "absent",
            omitted=node.get("x-absent") == "unknown",
            epoch=node.get("x-epoch", False),
            created=node.get("x-creation-time", False),
            failed=_list_failed(node),
            writers=node.get("x-writers", ""),
            compare=node.get("x-compare", ""),
            comparer=self._comparer(node),
            sealed_by=node.get("x-sealed-by", ""),
            any_case=node.get("x-names") == "casefold",
            future=node.get("x-past") == "refused",
            model=node.get("x-model", False),
            in_file="x-file" in node,
            items_relate=node.get("x-list", "atomic"),
            key=node.get("x-key", ""),
            properties=MappingProxyType(properties),
            casefolded=MappingProxyType({name.casefold(): name for name in properties}),
            patterns=self._patterns(node, shape, place, trail),
            items=self._items(node, shape, place, trail),
            separate=node.get("x-separate", False),
            autoscaled=node.get("x-autoscaled", False),
            description=node.get("description", ""),
            source=node.get("x-source", ""),
        )

    def _comparer(self, node: Json) -> Comparer | None:
        name = node.get("x-compare", "")
        if name == SEALED:
            return functools.partial(compare_sealed, node["x-sealed-by"])
        return self._comparers[name] if name else None

    def _patterns(
        self, node: Json, shape: Shape, place: str, trail: tuple[str, ...]
    ) -> tuple[tuple[re.Pattern[str], Field], ...]:
        found = []
        for text, below in node.get("patternProperties", {}).items():
            at = f"{place}/patternProperties/{text}"
            if shape not in {Shape.OBJECT, Shape.MAP}:
                raise SchemaInvalid(f"{at}: the object needs properties or additionalProperties")
            try:
                pattern = re.compile(text)
            except re.error as error:
                raise SchemaInvalid(f"{at}: {error}") from error
            found.append((pattern, self.compile(below, at, trail)))
        return tuple(found)

    def _items(self, node: Json, shape: Shape, place: str, trail: tuple[str, ...]) -> Field | None:
        word = "items" if shape is Shape.LIST else "additionalProperties"
        below = node.get(word)
        if shape not in {Shape.OBJECT, Shape.MAP, Shape.LIST} or not isinstance(below, dict):
            return None
        return self.compile(below, f"{place}/{word}", trail)

    def _follow(
        self, node: Json, place: str, trail: tuple[str, ...]
    ) -> tuple[Json, tuple[str, ...]]:
        """Return the node that `$ref` names, with the node's own words over it."""
        while "$ref" in node:
            target = node["$ref"]
            if target in trail:
                raise SchemaInvalid(
                    f"{place}: {target} contains itself; end the recursion with x-opaque"
                )
            trail = (*trail, target)
            own = {word: value for word, value in node.items() if word != "$ref"}
            node = {**self._resolve(target, place), **own}
        return node, trail

    def _resolve(self, target: str, place: str) -> Json:
        found: Json = self._root
        for segment in target.removeprefix("#/").split("/"):
            found = found.get(segment) if isinstance(found, dict) else None
        if not target.startswith("#/") or not isinstance(found, dict):
            raise SchemaInvalid(f"{place}: {target} does not resolve")
        return found

    def _check_words(self, node: Json, place: str) -> None:
        unknown = sorted(word for word in node if word.startswith("x-") and word not in _KEYWORDS)
        if unknown:
            raise SchemaInvalid(f"{place}: unknown word {unknown[0]!r}")
        if node.get("x-compare", SEALED) not in {*self._comparers, SEALED}:
            raise SchemaInvalid(f"{place}: unknown comparer {node['x-compare']!r}")
        if (node.get("x-compare") == SEALED) != ("x-sealed-by" in node):
            raise SchemaInvalid(f"{place}: x-compare sealed and x-sealed-by must be used together")
        if node.get("x-list", "atomic") not in _LISTS:
            raise SchemaInvalid(f"{place}: x-list must be one of {', '.join(_LISTS)}")
        if (node.get("x-list") == "keyed") != ("x-key" in node):
            raise SchemaInvalid(f"{place}: x-list keyed and x-key must be used together")
        for word, value in _ONLY_VALUES.items():
            if node.get(word, value) != value:
                raise SchemaInvalid(f"{place}: {word} must be {value!r}")
        if node.get("x-past") and node.get("x-compare") != "instant":
            raise SchemaInvalid(f"{place}: x-past needs x-compare: instant")
        if node.get("x-epoch") and place.count("/") != 2:
            raise SchemaInvalid(f"{place}: x-epoch is only allowed on a top-level property")


def _all(properties: Mapping[str, Field], flag: str) -> bool:
    """Whether all properties have a flag: an object with only hidden properties is hidden too."""
    return bool(properties) and all(getattr(below, flag) for below in properties.values())


def _types(node: Json) -> frozenset[str]:
    said = node.get("type", ())
    choices = [_types(one) for one in node.get("anyOf", node.get("oneOf", ())) if not said]
    if choices and all(one and one <= _SCALARS for one in choices):
        return frozenset[str]().union(*choices)
    return frozenset((said,) if isinstance(said, str) else said) - {"null"}


def _shape(node: Json) -> Shape:
    types = _types(node)
    if node.get("x-opaque") or not types:
        return Shape.OPAQUE
    if "object" in types:
        if node.get("properties"):
            return Shape.OBJECT
        return Shape.MAP if isinstance(node.get("additionalProperties"), dict) else Shape.OPAQUE
    return Shape.LIST if "array" in types else Shape.SCALAR


def find_epochs(root: Field) -> list[tuple[str, ...]]:
    """Return the paths of the epochs: a change there says that a write may have been undone."""
    return [(name,) for name, below in root.properties.items() if below.epoch]


@functools.cache
def find_set_once(root: Field) -> tuple[tuple[str, ...], ...]:
    """Return the paths of the values that are set at creation and never shown; not below maps."""
    return tuple(
        path
        for path, below in walk_fields(root)
        if below.immutable and below.write_only and "*" not in path
    )


def find_separate_part(root: Field, path: Path) -> Path:
    """Return the start of a path that leads to a separate part; empty if it is in none."""
    below = root
    for length, segment in enumerate(path, 1):
        below = below.child(segment)
        if below.separate:
            return path[:length]
    return ()


@functools.cache
def find_future_fields(root: Field) -> tuple[tuple[str, ...], ...]:
    """Return the paths of the times that the service refuses in the past; not below maps."""
    return tuple(path for path, below in walk_fields(root) if below.future and "*" not in path)


def find_failure(root: Field, document: Json | Absent) -> str:
    """Return the sentence about a resource whose last operation failed; empty for any other."""
    for path, failed in find_failed_places(root, document):
        state = f"{'.'.join(path)} is {failed}"
        return f"{state}: the service reports that its last operation failed"
    return ""


def find_failed_places(
    root: Field, document: Json | Absent
) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield each place that reports a failed operation, of the resource or of a separate part."""
    for path in _find_failed_fields(root):
        for place in _find_places(document, path):
            state = find(document, place)
            if isinstance(state, str) and state in root.at(place).failed:
                yield place, state


def _find_places(document: Json | Absent, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Yield the places of a path in a document: `*` is each name of a map."""
    if "*" not in path:
        yield path
        return
    star = path.index("*")
    named = find(document, path[:star])
    for name in sorted(named) if isinstance(named, dict) else ():
        yield (*path[:star], name, *path[star + 1 :])


@functools.cache
def _find_failed_fields(root: Field) -> tuple[tuple[str, ...], ...]:
    """Return the paths of the fields that report a failed operation.

    Below maps only those of separate parts; `*` is the name of the part.
    """
    return tuple(
        path
        for path, below in walk_fields(root)
        if below.failed and ("*" not in path or find_separate_part(root, path)[-1:] == ("*",))
    )


def walk_fields(root: Field, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Field]]:
    """Yield every field below `root`, in the schema's order; `*` is any map key or list index."""
    for name, below in root.properties.items():
        yield (*path, name), below
        yield from walk_fields(below, (*path, name))
    named = [one for _, one in root.patterns]
    for item in (*named, root.items) if root.items is not None else named:
        yield (*path, "*"), item
        yield from walk_fields(item, (*path, "*"))

"""Documents made from an annotated schema: the laws are held against the schema itself.

Every strategy follows a compiled field, so a property that is added to the schema is reached by
the laws without a change here.
"""

import functools
import random
from collections.abc import Callable

from hypothesis import strategies as st

from reconciler.document.schema import Field, Shape
from reconciler.model import ABSENT, Json

NAMES = st.sampled_from(
    ["asset1", "Asset1", "a/b~c", "", "näme", "node 2", "0", "13", "State-gov", "<=50K", "日本"]
)
TEXTS = st.one_of(
    st.sampled_from(["", "x", "No", "1", "true", "South Central US", "a/b~c", "ß", "\u202e"]),
    st.text(max_size=6),
)
NUMBERS = st.one_of(st.integers(-3, 300), st.sampled_from([0.0, 1.0, 1.5, 20.0]))
SECRET = "marker-5f3a-secret"
FREE = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS),
    lambda below: st.one_of(st.lists(below, max_size=3), st.dictionaries(NAMES, below, max_size=3)),
    max_leaves=6,
)
COMPARED = {
    "location": st.sampled_from(["southcentralus", "South Central US", "West Europe"]),
    "arm-id": st.sampled_from(["/subscriptions/S/x/Y", "/subscriptions/s/X/y", "other"]),
    "blob-uri": st.sampled_from(
        [
            "https://acct.blob.core.windows.net/m/a.ilearner",
            "https://ACCT.blob.core.windows.net:443/m/a.ilearner",
            "https://acct.blob.core.windows.net/m/b%20c.ilearner",
            "aml://module/1",
        ]
    ),
    "instant": st.sampled_from(
        ["2030-01-01T00:00:00Z", "2030-01-01T01:00:00+01:00", "2030-01-01T00:00:00.1Z"]
    ),
    "number": NUMBERS,
    "casefold": st.sampled_from(["None", "none", "All"]),
}


@functools.cache
def documents(field: Field) -> st.SearchStrategy[Json]:
    """Documents of a field, secrets and server-owned parts included.

    Each field has one strategy, because Hypothesis examines each new one before it draws from it.
    """
    if field.secret:
        return st.just(SECRET)
    if field.compare == "sealed":
        return st.one_of(_sealed("", TEXTS), _sealed("AB5C", st.sampled_from(["MIIC1", "MIIC2"])))
    if field.compare in COMPARED:
        return COMPARED[field.compare]
    if field.shape is Shape.OPAQUE:
        return FREE
    if field.shape is Shape.OBJECT:
        return _objects(field)
    if field.shape is Shape.MAP:
        assert field.items is not None
        entries = st.dictionaries(NAMES, documents(field.items), max_size=2)
        return entries.map(_drop_twins) if field.any_case else entries
    if field.shape is Shape.LIST:
        return _lists(field)
    if "boolean" in field.types:
        return st.booleans()
    return NUMBERS if field.numeric else TEXTS


def _sealed(thumbprint: str, values: st.SearchStrategy[str]) -> st.SearchStrategy[Json]:
    return st.fixed_dictionaries({"value": values, "certificateThumbprint": st.just(thumbprint)})


def _drop_twins(entries: Json) -> Json:
    """The entries without a second name that differs in its casing alone."""
    kept = {name.casefold(): name for name in reversed(entries)}
    return {name: entries[name] for name in kept.values()}


_ONE_OF_FOUR = st.integers(0, 3).map(lambda number: number == 0)


@functools.cache
def _some_names(field: Field) -> st.SearchStrategy[list[str]]:
    names = list(field.properties)
    return st.lists(st.sampled_from(names), max_size=min(len(names), 5), unique=True)


@st.composite
def _objects(draw: st.DrawFn, field: Field) -> Json:
    result = {}
    for name in draw(_some_names(field)):
        below = field.properties[name]
        absent = below.empty_is_absent and draw(_ONE_OF_FOUR)
        result[name] = None if absent else draw(documents(below))
    return result


_KEYS = st.permutations(["a", "b", "c", "d"])


@functools.cache
def _some_items(field: Field) -> st.SearchStrategy[list[Json]]:
    return st.lists(documents(field), max_size=3)


@st.composite
def _lists(draw: st.DrawFn, field: Field) -> Json:
    assert field.items is not None
    items = draw(_some_items(field.items))
    if field.items_relate == "keyed":
        keys = draw(_KEYS)
        return [{**item, field.key: key} for item, key in zip(items, keys, strict=False)]
    return items


RESPELLINGS: dict[str, Callable[[str], str]] = {
    "location": lambda text: text.replace(" ", "").upper(),
    "arm-id": lambda text: text.swapcase() + "/",
    "casefold": str.swapcase,
}


def respell(field: Field, document: Json, rng: random.Random) -> Json:
    """The same document as another writer might spell it: order, casing, comparers' freedom."""
    if document is ABSENT or document is None:
        return document
    if field.compare in RESPELLINGS and isinstance(document, str):
        return RESPELLINGS[field.compare](document)
    if field.compare == "sealed" and document.get("certificateThumbprint"):
        return {"certificateThumbprint": "FFFF", "value": f"MIIC{rng.random()}"}
    if field.numeric and isinstance(document, int) and not isinstance(document, bool):
        return float(document)
    if isinstance(document, dict) and field.shape in {Shape.OBJECT, Shape.MAP}:
        names = list(document)
        rng.shuffle(names)
        return {name: respell(field.child(name), document[name], rng) for name in names}
    if isinstance(document, list) and field.items is not None:
        items = [respell(field.items, item, rng) for item in document]
        if field.items_relate != "atomic":
            rng.shuffle(items)
        return items
    return document


def recase(field: Field, document: Json) -> Json:
    """The document with property names in PascalCase and map keys as they are."""
    if isinstance(document, dict) and field.shape in {Shape.OBJECT, Shape.MAP}:
        return {
            (name[:1].upper() + name[1:] if name in field.properties else name): recase(
                field.child(name), value
            )
            for name, value in document.items()
        }
    if isinstance(document, list) and field.items is not None and field.shape is Shape.LIST:
        return [recase(field.items, item) for item in document]
    return document

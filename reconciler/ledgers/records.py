"""Encodes and decodes the record of one line of a ledger: a value of the model, and JSON.

An outcome does not repeat the fields of its intent. No line can contain a secret, because no record
has a field for one. chain.py and recovery.py call it; it does not know the line before.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import fields
from typing import Any, Final, Literal, TypeAlias, TypeVar

from reconciler.model import Action, Address, Entry, Fact, Intent, Json, LastApplied, StepResult
from reconciler.model.values import dataclass
from reconciler.text.times import parse_utc

_TYPES: Final[Mapping[str, type]] = {
    **dict.fromkeys(("address", "id", "action", "at", "by", "host", "commit", "plan_digest"), str),
    **dict.fromkeys(
        ("step_digest", "fleet", "token", "created", "stamp", "extent", "fate", "note"), str
    ),
    "environment": str,
    "title": str,
    **dict.fromkeys(("attempt", "fence", "wave", "intent", "sequence", "part", "parts"), int),
    **dict.fromkeys(("patch", "inverse", "owns", "absences", "differing"), list),
    **dict.fromkeys(("owned", "secrets", "digests", "baseline"), dict),
    **dict.fromkeys(("archive", "sha256"), str),
    **dict.fromkeys(("memories", "open", "facts"), list),
    **dict.fromkeys(("topic", "subject"), str),
    "data": dict,
    "count": int,
}
# The names in a line of fields that have another name in the model.
_SPELLINGS: Final = {"result": "fate", "owned_paths": "owns", "body": "extent"}
_MOST: Final = 1 << 63
# The fields that an outcome takes from its intent, with their types' empty values.
JOINED: Final[Mapping[str, Json]] = {
    "patch": [],
    "inverse": [],
    "step_digest": "",
    "wave": 0,
    "fleet": "",
    "token": "",
    "differing": [],
    "title": "",
    "part": 0,
    "parts": 0,
}
_RARE: Final = ("token", "created", "differing", "environment", "title", "part", "parts")
# The values that a record may omit.
_OMITTED: Final[Mapping[str, Json]] = {
    **dict.fromkeys(("fleet", "token", "created", "environment", "title"), ""),
    **dict.fromkeys(("part", "parts"), 0),
    "differing": [],
}
_OMITTED_OF_ENTRY: Final[Mapping[str, Json]] = {
    **_OMITTED,
    **dict.fromkeys(("intent", "fence", "wave"), 0),
    **dict.fromkeys(("note", "step_digest"), ""),
    "fate": StepResult.DONE.value,
}


class BadLine(ValueError):
    """A line is not valid; the text gives the reason and follows "line 7 of the ledger".

    `next_step` says what to do; empty if the ledger must be restored.
    """

    def __init__(self, said: str, next_step: str = "") -> None:
        super().__init__(said)
        self.next_step = next_step


@dataclass(frozen=True)
class Checkpoint:
    """The first line of a compacted chain: the whole state, and the archive of the lines before.

    `archive` names the file or blob with the `count` lines before; `sha256` is of its bytes.
    `states` has the former resources of an address before the one that has the address.
    """

    archive: str
    sha256: str
    count: int
    states: tuple[tuple[Address, LastApplied], ...]
    open: tuple[Intent, ...] = ()
    facts: tuple[Fact, ...] = ()
    fence: int = 0
    sequence: int = 0


@dataclass(frozen=True, slots=True)
class Marker:
    """A line that describes no resource.

    `lock`: a lock with the number `fence` was acquired. `close`: the chain continues in the next
    segment.
    """

    kind: Literal["lock", "close"]
    fence: int = 0
    sequence: int = 0


Record: TypeAlias = Entry | Intent | Fact | Checkpoint | Marker
_Step = TypeVar("_Step", Entry, Intent, LastApplied, Fact)


def _name_fields(kind: type[Entry | Intent | LastApplied | Fact]) -> dict[str, str]:
    """Returns the model's name of each field, by its name in a line.

    Raises ValueError for a field without a type in `_TYPES`, because no line could contain it.
    """
    names = {_SPELLINGS.get(one.name, one.name): one.name for one in fields(kind)}
    return {spelling: names[spelling] for spelling in sorted(names, key=list(_TYPES).index)}


_FIELDS: Final = {kind: _name_fields(kind) for kind in (Entry, Intent, LastApplied, Fact)}


def encode_record(record: Record) -> dict[str, Json]:
    """Returns the document of a record, without the fields of the chain."""
    match record:
        case Entry():
            return _write_entry(record)
        case Intent():
            return {"kind": "intent", **_without(("sequence",), _write(record))}
        case Fact():
            return {"kind": "fact", **_without(("sequence",), _write(record))}
        case Checkpoint():
            return _write_checkpoint(record)
        case Marker():
            return {"kind": record.kind, "fence": record.fence}


def decode_record(document: Mapping[str, Json], sequence: int) -> Record:
    """Returns the record of a document, with the sequence of its line; raises BadLine."""
    match document.get("kind", "entry"):
        case "entry":
            return read_entry(document, sequence)
        case "outcome":
            return _read_outcome(document, sequence)
        case "intent":
            return _read_intent(document, sequence)
        case "fact":
            return _read(Fact, {**_OMITTED, **document, "sequence": sequence})
        case "checkpoint":
            return _read_checkpoint(document, sequence)
        case "lock" | "close" as kind:
            fence = _read_field(document, "fence") if kind == "lock" else 0
            return Marker(kind, fence, sequence)
    raise BadLine("has an unknown kind")


def write_entry(entry: Entry) -> dict[str, Json]:
    """Returns the whole document of an entry, without its sequence."""
    return _without(("sequence",), _write(entry))


def read_entry(document: Mapping[str, Json], sequence: int) -> Entry:
    """Returns the entry of a whole document; raises BadLine."""
    return _read(Entry, {**_OMITTED_OF_ENTRY, **document, "sequence": sequence})


def _write_entry(entry: Entry) -> dict[str, Json]:
    said = write_entry(entry)
    if entry.intent:
        return {"kind": "outcome", **_without(JOINED, said)}
    return {name: value for name, value in said.items() if value != _OMITTED_OF_ENTRY.get(name)}


def _without(names: Container[str], said: Mapping[str, Json]) -> dict[str, Json]:
    return {name: value for name, value in said.items() if name not in names}


def _write_checkpoint(checkpoint: Checkpoint) -> dict[str, Json]:
    return {
        "kind": "checkpoint",
        "archive": checkpoint.archive,
        "sha256": checkpoint.sha256,
        "count": checkpoint.count,
        "memories": [
            {"address": str(address), **_write(last_applied)}
            for address, last_applied in checkpoint.states
        ],
        "open": [_write(intent) for intent in checkpoint.open],
        **({"facts": [_write(fact) for fact in checkpoint.facts]} if checkpoint.facts else {}),
    }


def _read_outcome(document: Mapping[str, Json], sequence: int) -> Entry:
    repeated = [name for name in JOINED if name in document]
    if repeated:
        raise BadLine(f"repeats the {repeated[0]} of its intent")
    entry = _read(Entry, {**_OMITTED, **document, **JOINED, "sequence": sequence})
    if not entry.intent:
        raise BadLine("has no usable intent")
    return entry


def _read_intent(document: Mapping[str, Json], sequence: int) -> Intent:
    return _read(Intent, {**_OMITTED, **document, "sequence": sequence})


def _read_checkpoint(document: Mapping[str, Json], sequence: int) -> Checkpoint:
    return Checkpoint(
        archive=_read_field(document, "archive"),
        sha256=_read_field(document, "sha256"),
        count=_read_field(document, "count"),
        states=tuple(
            (_read_field(one, "address"), _read(LastApplied, {**_OMITTED, **one}))
            for one in _read_documents(document, "memories")
        ),
        open=tuple(_read(Intent, {**_OMITTED, **one}) for one in _read_documents(document, "open")),
        facts=tuple(
            _read(Fact, {**_OMITTED, **one})
            for one in _read_documents({"facts": [], **document}, "facts")
        ),
        fence=document["highest_fence"],
        sequence=sequence,
    )


def _write(step: Entry | Intent | LastApplied | Fact) -> dict[str, Json]:
    """Returns all fields; omits those of `_RARE` that are empty, because few records have them."""
    said = {spelling: getattr(step, name) for spelling, name in _FIELDS[type(step)].items()}
    said |= {name: write(said[name]) for name, write in _WRITERS.items() if name in said}
    return {name: value for name, value in said.items() if value or name not in _RARE}


def _read(kind: type[_Step], document: Mapping[str, Json]) -> _Step:
    return kind(**{name: _read_field(document, said) for said, name in _FIELDS[kind].items()})


def _read_field(document: Mapping[str, Json], name: str) -> Any:
    """Returns a field's checked value in the model's type; raises BadLine."""
    value, kind = document.get(name), _TYPES[name]
    if type(value) is not kind or (kind is int and not is_count(value)):
        raise BadLine(f"has no usable {name}")
    if name in _DEMANDS and not _DEMANDS[name](value):
        raise BadLine(f"has no usable {name}")
    try:
        return _READERS[name](value) if name in _READERS else value
    except ValueError as error:
        raise BadLine(f"has no usable {name}") from error


def is_count(value: Json) -> bool:
    """Whether a value is an integer from 0 to 2^63 - 1."""
    return type(value) is int and 0 <= value < _MOST


def _is_time(value: str) -> bool:
    try:
        parse_utc(value)
    except ValueError:
        return False
    return True


def _are_operations(values: list[Json]) -> bool:
    return all(type(one) is dict and _is_operation(one) for one in values)


def _is_operation(said: Mapping[str, Json]) -> bool:
    path, verb = said.get("path"), said.get("op")
    placed = path == "" or (type(path) is str and path[0] == "/")
    return placed and (verb == "remove" or (verb in _VERBS and "value" in said))


def _are_places(values: Iterable[Json]) -> bool:
    """Whether all are JSON Pointers below the root of a document."""
    return all(type(one) is str and one[:1] == "/" for one in values)


def _are_texts(values: Iterable[Json]) -> bool:
    return all(type(one) is str for one in values)


def _name_texts(values: Mapping[str, Json]) -> bool:
    return _are_places(values) and _are_texts(values.values())


_VERBS: Final = ("test", "add", "replace")
_DEMANDS: Final[Mapping[str, Callable[[Any], bool]]] = {
    "at": _is_time,
    **dict.fromkeys(("patch", "inverse"), _are_operations),
    **dict.fromkeys(("owned", "baseline", "owns", "absences"), _are_places),
    "differing": _are_texts,
    **dict.fromkeys(("secrets", "digests"), _name_texts),
}


def _read_documents(document: Mapping[str, Json], name: str) -> list[dict[str, Json]]:
    values: list[Json] = _read_field(document, name)
    if not all(isinstance(one, dict) for one in values):
        raise BadLine(f"has no usable {name}")
    return values


def _write_fleet(fleet: Address | None) -> str:
    return "" if fleet is None else str(fleet)


def _read_fleet(said: str) -> Address | None:
    return Address.parse(said) if said else None


_WRITERS: Final[Mapping[str, Callable[[Any], Json]]] = {
    **dict.fromkeys(("address", "action", "fate"), str),
    "fleet": _write_fleet,
}
_READERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    **dict.fromkeys(("patch", "inverse", "owns", "absences", "differing"), tuple),
    "address": Address.parse,
    "action": Action,
    "fate": StepResult,
    "fleet": _read_fleet,
}

"""What one line of a ledger says, as words of the model and as a JSON document.

An outcome does not repeat what its intent says. No line can hold a secret, because no word has a
place for one.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import fields
from typing import Any, Final, Literal, TypeAlias, TypeVar

from reconciler.model import Action, Address, Entry, Intent, Json, LastApplied, StepResult
from reconciler.model.values import dataclass
from reconciler.text.times import parse_utc

_TYPES: Final[Mapping[str, type]] = {
    **dict.fromkeys(("address", "id", "action", "at", "by", "host", "commit", "plan_digest"), str),
    **dict.fromkeys(("step_digest", "fleet", "token", "stamp", "extent", "fate", "note"), str),
    **dict.fromkeys(("attempt", "fence", "wave", "intent", "sequence"), int),
    **dict.fromkeys(("patch", "inverse", "owns", "absences"), list),
    **dict.fromkeys(("owned", "secrets", "digests", "baseline"), dict),
    **dict.fromkeys(("archive", "sha256"), str),
    **dict.fromkeys(("memories", "open"), list),
    "count": int,
}
# The names that a ledger's lines have for fields of the model that are called otherwise.
_SPELLINGS: Final = {"result": "fate", "owned_paths": "owns", "body": "extent"}
_MOST: Final = 1 << 63
# What an outcome says by naming its intent.
JOINED: Final[Mapping[str, Json]] = {
    "patch": [],
    "inverse": [],
    "step_digest": "",
    "wave": 0,
    "fleet": "",
    "token": "",
}
# What a record need not say where it is so.
_OMITTED: Final[Mapping[str, Json]] = {"fleet": "", "token": ""}
_OMITTED_OF_ENTRY: Final[Mapping[str, Json]] = {
    **_OMITTED,
    **dict.fromkeys(("intent", "fence", "wave"), 0),
    **dict.fromkeys(("note", "step_digest"), ""),
    "fate": StepResult.DONE.value,
}


class BadLine(ValueError):
    """A line that is none of a ledger; the text says why, after "line 7 of the ledger"."""


@dataclass(frozen=True)
class Checkpoint:
    """The beginning of a chain that was compacted: what is remembered, and what was before.

    `archive` names what holds the `count` lines before, `sha256` is of its bytes.
    """

    archive: str
    sha256: str
    count: int
    last_applied_by_address: Mapping[Address, LastApplied]
    open: tuple[Intent, ...] = ()
    fence: int = 0
    sequence: int = 0


@dataclass(frozen=True, slots=True)
class Marker:
    """A line that says nothing of a resource.

    `lock`: a lock was taken, of number `fence`. `close`: the chain goes on in the next segment.
    """

    kind: Literal["lock", "close"]
    fence: int = 0
    sequence: int = 0


Record: TypeAlias = Entry | Intent | Checkpoint | Marker
_Step = TypeVar("_Step", Entry, Intent, LastApplied)


def _name_fields(kind: type[Entry | Intent | LastApplied]) -> dict[str, str]:
    """What the model calls each of the fields, by the names that lines have for them.

    Raises ValueError for a field without a type in `_TYPES`: no line could hold it.
    """
    names = {_SPELLINGS.get(one.name, one.name): one.name for one in fields(kind)}
    return {spelling: names[spelling] for spelling in sorted(names, key=list(_TYPES).index)}


_FIELDS: Final = {kind: _name_fields(kind) for kind in (Entry, Intent, LastApplied)}


def encode_record(record: Record) -> dict[str, Json]:
    """The document of a word, without what chains it to the line before."""
    match record:
        case Entry():
            return _write_entry(record)
        case Intent():
            return {"kind": "intent", **_without(("sequence",), _write(record))}
        case Checkpoint():
            return _write_checkpoint(record)
        case Marker():
            return {"kind": record.kind, "fence": record.fence}


def decode_record(document: Mapping[str, Json], sequence: int) -> Record:
    """The word of a document, with the sequence of its line; raises BadLine."""
    match document.get("kind", "entry"):
        case "entry":
            return read_entry(document, sequence)
        case "outcome":
            return _read_outcome(document, sequence)
        case "intent":
            return _read_intent(document, sequence)
        case "checkpoint":
            return _read_checkpoint(document, sequence)
        case "lock":
            return Marker("lock", _read_field(document, "fence"), sequence)
        case "close":
            return Marker("close", 0, sequence)
    raise BadLine("is of a kind that is not known here")


def write_entry(entry: Entry) -> dict[str, Json]:
    """The whole of an entry, without its sequence."""
    return _without(("sequence",), _write(entry))


def read_entry(document: Mapping[str, Json], sequence: int) -> Entry:
    """An entry that is written whole; raises BadLine."""
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
            for address, last_applied in checkpoint.last_applied_by_address.items()
        ],
        "open": [_write(intent) for intent in checkpoint.open],
    }


def _read_outcome(document: Mapping[str, Json], sequence: int) -> Entry:
    repeated = [name for name in JOINED if name in document]
    if repeated:
        raise BadLine(f"repeats the {repeated[0]} of its intent")
    entry = _read(Entry, {**document, **JOINED, "sequence": sequence})
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
        last_applied_by_address={
            _read_field(one, "address"): _read(LastApplied, {**_OMITTED, **one})
            for one in _read_documents(document, "memories")
        },
        open=tuple(_read(Intent, {**_OMITTED, **one}) for one in _read_documents(document, "open")),
        fence=document["highest_fence"],
        sequence=sequence,
    )


def _write(step: Entry | Intent | LastApplied) -> dict[str, Json]:
    """Everything that it holds; few resources have a token of their own."""
    said = {spelling: getattr(step, name) for spelling, name in _FIELDS[type(step)].items()}
    said |= {name: write(said[name]) for name, write in _WRITERS.items() if name in said}
    if not said["token"]:
        del said["token"]
    return said


def _read(kind: type[_Step], document: Mapping[str, Json]) -> _Step:
    return kind(**{name: _read_field(document, said) for said, name in _FIELDS[kind].items()})


def _read_field(document: Mapping[str, Json], name: str) -> Any:
    """What the model has for it, of its own type, and as everything after this relies on it."""
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
    """Whether a value is a number that lines count by."""
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
    """Whether all are pointers below the whole of a document."""
    return all(type(one) is str and one[:1] == "/" for one in values)


def _name_texts(values: Mapping[str, Json]) -> bool:
    return _are_places(values) and all(type(one) is str for one in values.values())


_VERBS: Final = ("test", "add", "replace")
_DEMANDS: Final[Mapping[str, Callable[[Any], bool]]] = {
    "at": _is_time,
    **dict.fromkeys(("patch", "inverse"), _are_operations),
    **dict.fromkeys(("owned", "baseline", "owns", "absences"), _are_places),
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
    **dict.fromkeys(("patch", "inverse", "owns", "absences"), tuple),
    "address": Address.parse,
    "action": Action,
    "fate": StepResult,
    "fleet": _read_fleet,
}

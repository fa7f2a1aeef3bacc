"""What one line of a ledger says, as words of the model and as a JSON document.

An entry without an intent is written as it always was. An outcome does not repeat what its intent
says. No line can hold a secret, because no word has a place for one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

from reconciler.model import Action, Address, Entry, Intent, Json, LastApplied, StepResult
from reconciler.plans.history import parse_time

_TEXTS: Final = ("address", "id", "action", "at", "by", "host", "commit", "plan_digest")
_ENTRY: Final[Mapping[str, type]] = {
    **dict.fromkeys(_TEXTS, str),
    **dict.fromkeys(("patch", "inverse"), list),
    **dict.fromkeys(("owned", "secrets", "digests", "baseline"), dict),
    **dict.fromkeys(("fate", "note", "step_digest", "fleet", "token"), str),
    **dict.fromkeys(("intent", "fence", "wave"), int),
}
_INTENT: Final[Mapping[str, type]] = {
    **dict.fromkeys((*_TEXTS, "step_digest", "stamp", "extent", "fleet", "token"), str),
    **dict.fromkeys(("attempt", "fence", "wave"), int),
    **dict.fromkeys(("patch", "inverse", "owns", "absences"), list),
    **dict.fromkeys(("secrets", "digests"), dict),
}
_REMEMBERED: Final = ("id", "at", "by", "commit", "plan_digest", "step_digest", "fleet", "token")
_LAST_APPLIED: Final[Mapping[str, type]] = {
    **dict.fromkeys(_REMEMBERED, str),
    **dict.fromkeys(("sequence", "wave"), int),
    **dict.fromkeys(("owned", "secrets", "digests", "baseline"), dict),
}
_CHECKPOINT: Final[Mapping[str, type]] = {
    **dict.fromkeys(("archive", "sha256"), str),
    "count": int,
    **dict.fromkeys(("memories", "open"), list),
}
_MOST: Final = 1 << 63
# What an outcome says by naming its intent.
_JOINED: Final = ("patch", "inverse", "step_digest", "wave", "fleet", "token")
# What older ledgers do not say, and an entry need not say where it is so.
_SILENT: Final[Mapping[str, Json]] = {
    "intent": 0,
    "fate": StepResult.DONE.value,
    "note": "",
    "fence": 0,
    "step_digest": "",
    "wave": 0,
    "fleet": "",
    "token": "",
}
# What an intent or a checkpoint of an older ledger does not say.
_LATER: Final = {"fleet": "", "token": ""}
# The names that a ledger's lines have for fields of the model that are called otherwise.
_SPELLINGS: Final = {"result": "fate", "owned_paths": "owns", "body": "extent"}
_FIELDS: Final = {spelling: name for name, spelling in _SPELLINGS.items()}


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


@dataclass(frozen=True, slots=True)
class EncodedRecord:
    """A word as a document. `plain` is what a ledger of the first version can hold as well."""

    document: dict[str, Json] = field(default_factory=dict)
    plain: bool = False


def encode_record(record: Record) -> EncodedRecord:
    """The document of a word, without what chains it to the line before."""
    match record:
        case Entry():
            return _write_entry(record)
        case Intent():
            return EncodedRecord({"kind": "intent", **_write_plainly(record)})
        case Checkpoint():
            return EncodedRecord(_write_checkpoint(record))
        case Marker():
            return EncodedRecord({"kind": record.kind, "fence": record.fence})


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
            return Marker("lock", _pick(document, {"fence": int})["fence"], sequence)
        case "close":
            return Marker("close", 0, sequence)
    raise BadLine("is of a kind that is not known here")


def write_entry(entry: Entry) -> dict[str, Json]:
    """The whole of an entry, without its sequence."""
    return {**_write_plainly(entry), "fate": entry.result.value}


def read_entry(document: Mapping[str, Json], sequence: int) -> Entry:
    """An entry that is written whole; raises BadLine."""
    # A ledger that is older than the baseline remembers none.
    kept = _pick({"baseline": {}, **_SILENT, **document}, _ENTRY)
    return Entry(**_resolve(kept), sequence=sequence)


def _write_entry(entry: Entry) -> EncodedRecord:
    said = write_entry(entry)
    if entry.intent:
        return EncodedRecord(
            {"kind": "outcome", **{name: said[name] for name in said if name not in _JOINED}}
        )
    loud = {name: said[name] for name in said if said[name] != _SILENT.get(name, ...)}
    return EncodedRecord(loud, plain=not set(loud) & set(_SILENT))


def _write_plainly(record: Entry | Intent) -> dict[str, Json]:
    said = {name: value for name, value in _list_values(record).items() if name != "sequence"}
    return {
        **said,
        "address": str(record.address),
        "action": record.action.value,
        "fleet": _write_fleet(record.fleet),
    }


def _write_fleet(fleet: Address | None) -> str:
    return "" if fleet is None else str(fleet)


def _list_values(record: Entry | Intent | LastApplied) -> dict[str, Json]:
    """Everything a word holds; few resources have a token of their own."""
    named = ((_SPELLINGS.get(name, name), value) for name, value in vars(record).items())
    return {name: value for name, value in named if name != "token" or value}


def _write_checkpoint(checkpoint: Checkpoint) -> dict[str, Json]:
    return {
        "kind": "checkpoint",
        "archive": checkpoint.archive,
        "sha256": checkpoint.sha256,
        "count": checkpoint.count,
        "memories": [
            {
                "address": str(address),
                **_list_values(last_applied),
                "fleet": _write_fleet(last_applied.fleet),
            }
            for address, last_applied in checkpoint.last_applied_by_address.items()
        ],
        "open": [
            {"sequence": intent.sequence, **_write_plainly(intent)} for intent in checkpoint.open
        ],
    }


def _read_outcome(document: Mapping[str, Json], sequence: int) -> Entry:
    repeated = [name for name in _JOINED if name in document]
    if repeated:
        raise BadLine(f"repeats the {repeated[0]} of its intent")
    joined = {"patch": [], "inverse": [], "step_digest": "", "wave": 0, "fleet": "", "token": ""}
    kept = _pick({**document, **joined}, _ENTRY)
    if not kept["intent"]:
        raise BadLine("has no usable intent")
    return Entry(**_resolve(kept), sequence=sequence)


def _read_intent(document: Mapping[str, Json], sequence: int) -> Intent:
    kept = _pick({**_LATER, **document}, _INTENT)
    kept |= {name: tuple(kept[name]) for name in ("owns", "absences")}
    return Intent(**_resolve(kept), sequence=sequence)


def _read_checkpoint(document: Mapping[str, Json], sequence: int) -> Checkpoint:
    kept = _pick(document, _CHECKPOINT)
    return Checkpoint(
        archive=kept["archive"],
        sha256=kept["sha256"],
        count=kept["count"],
        last_applied_by_address=dict(_read_last_applied(one) for one in kept["memories"]),
        open=tuple(_read_open(one) for one in kept["open"]),
        fence=document.get("highest_fence", 0),
        sequence=sequence,
    )


def _read_last_applied(document: Json) -> tuple[Address, LastApplied]:
    if not isinstance(document, dict):
        raise BadLine("has no usable memories")
    address = _pick(document, {"address": str})["address"]
    kept = _pick({**_LATER, **document}, _LAST_APPLIED)
    kept["fleet"] = _read_fleet(kept["fleet"])
    try:
        return Address.parse(address), LastApplied(**kept)
    except ValueError as error:
        raise BadLine("has no usable address or action") from error


def _read_fleet(said: str) -> Address | None:
    try:
        return Address.parse(said) if said else None
    except ValueError as error:
        raise BadLine("has no usable fleet") from error


def _read_open(document: Json) -> Intent:
    if not isinstance(document, dict):
        raise BadLine("has no usable open")
    return _read_intent(document, _pick(document, {"sequence": int})["sequence"])


def _pick(document: Mapping[str, Json], shape: Mapping[str, type]) -> dict[str, Json]:
    """What the shape names, each of its own type, and as everything after this relies on it."""
    for name, kind in shape.items():
        value = document.get(name)
        if type(value) is not kind or not (name not in _DEMANDS or _DEMANDS[name](value)):
            raise BadLine(f"has no usable {name}")
        if kind is int and not is_count(value):
            raise BadLine(f"has no usable {name}")
    return {name: document[name] for name in shape}


def is_count(value: Json) -> bool:
    """Whether a value is a number that lines count by."""
    return type(value) is int and 0 <= value < _MOST


def _is_time(value: str) -> bool:
    try:
        parse_time(value)
    except (ValueError, OverflowError):
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


def _resolve(kept: dict[str, Any]) -> dict[str, Any]:
    """The same with the model's own types."""
    try:
        kept["address"] = Address.parse(kept["address"])
        kept["action"] = Action(kept["action"])
    except ValueError as error:
        raise BadLine("has no usable address or action") from error
    kept["fleet"] = _read_fleet(kept["fleet"])
    if "fate" in kept:
        try:
            kept["fate"] = StepResult(kept["fate"])
        except ValueError as error:
            raise BadLine("has no usable fate") from error
    kept |= {name: tuple(kept[name]) for name in ("patch", "inverse")}
    return {_FIELDS.get(name, name): value for name, value in kept.items()}

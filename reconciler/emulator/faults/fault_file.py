"""The fault file: its entries, the kinds of fault, and the checks of the document.

The command reads the file and knows the line numbers. This module checks the document and makes
the values from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from reconciler.emulator.file_findings import FileFinding, check_unknown, check_values

Json = Any
MOST_FAULTS: Final = 1000
_LONGEST_PATH: Final = 500
_LASTING: Final = ("stale-traffic", "slow", "stale-read", "stale-model", "slow-script", "warm-up")
_METHODS: Final = ("GET", "PUT", "PATCH", "POST", "DELETE")
_FIELDS: Final = ("match", "do", "times", "rate", "seconds", "status")
_MATCH_FIELDS: Final = ("method", "path")


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of fault."""

    name: str
    meaning: str


KINDS: Final = (
    Kind("throttle", "429 with Retry-After: 1 (scoring: 503 without it); nothing is done"),
    Kind("error", "a 5xx, the number in `status` (500); nothing is done"),
    Kind("drop-reply", "the work is done, the connection closes without an answer"),
    Kind("drop-request", "the connection closes without an answer; nothing is done"),
    Kind("slow", "the work is done, the answer comes after `seconds` (2)"),
    Kind("hang", "no answer is sent, the connection stays open; nothing is done"),
    Kind("fail-operation", "the write is accepted, its operation ends Failed, nothing changes"),
    Kind("stuck-operation", "the write is accepted, its operation never ends"),
    Kind("silent-rollback", "the operation ends Succeeded, the old value is still live"),
    Kind("stale-read", "GET shows the state before the last write, for `seconds` (2) after it"),
    Kind("list-omission", "a list leaves out one of its items"),
    Kind("truncate", "the body ends after half of its Content-Length"),
    Kind("wrong-type", "200 with an HTML page; nothing is done"),
    Kind("fail-job", "the job is started, and it ends Failed"),
    Kind("stuck-job", "the job is started, and it runs without an end"),
    Kind("lose-job-reply", "as drop-reply, for the calls that submit, start and cancel jobs"),
    Kind("stale-model", "the update succeeds, the old model answers for `seconds` (2) more"),
    Kind("empty-evaluation", "the job's evaluation has a header and not a row"),
    Kind("nan-evaluation", "each metric of the job's evaluation is NaN"),
    Kind("two-row-evaluation", "the job's evaluation has two rows, without a name"),
    Kind("wrong-answers", "the deployment is made, it adds 1 to each answer of its model"),
    Kind("failed-script", "the deployment is made, its scoring script fails at each call: 424"),
    Kind("slow-script", "the deployment is made, its script works for `seconds` (2) at each call"),
    Kind("warm-up", "the deployment is made, it answers after `seconds` (2), and 424 before"),
    Kind("crash-container", "the deployment is accepted, and fails with the log of its container"),
    Kind("cancel-operation", "the write is accepted, its operation ends Canceled, nothing changes"),
    Kind("unmarked-write", "the write is done, GET goes on naming the online operation before it"),
    Kind("stale-traffic", "the change of traffic shows, and is followed, `seconds` (2) too late"),
    Kind("ignored-traffic", "the change of traffic shows, and the router goes on with the old one"),
    Kind("no-quota", "400 for a deployment whose machines have no quota left"),
    Kind("busy", "409 as while an operation runs on the online endpoint; nothing is done"),
    Kind("lost-backend", "404 of a service behind the front, which does not mean absence"),
    Kind("missing-group", "404 of a group that does not exist, for online endpoints and models"),
    Kind("invalid-model", "400 for a write that contains the address of a model"),
)


@dataclass(frozen=True, slots=True)
class Fault:
    """One entry: what to `do`, with which requests, and how often.

    `path` is searched in a request's path and query. An empty `method` or `path` matches any.
    Without `times` and `rate` the fault always fires. If the entry does not set `seconds` (None), a
    read is stale for two seconds after a write; with `times` or `rate` it is stale each time the
    fault fires.
    """

    do: str
    method: str = ""
    path: str = ""
    times: int | None = None
    rate: float | None = None
    seconds: float | None = None
    status: int = 500


def compile_path(pattern: str) -> Callable[[str], bool]:
    """Return a function that searches a text for a pattern. Raises ValueError if it is invalid.

    Python's own engine backtracks, which can take hours. This engine takes linear time, but it
    does not support look-around and back references.
    """
    import jsonschema_rs

    try:
        found = jsonschema_rs.validator_for(
            {"pattern": pattern}, pattern_options=jsonschema_rs.RegexOptions()
        )
    except (ValueError, jsonschema_rs.ValidationError) as error:
        raise ValueError("not a supported regular expression") from error
    return found.is_valid


def make_faults(document: Json) -> tuple[Fault, ...]:
    """Return the entries of a document that `check_fault_file` accepts."""
    return tuple(
        Fault(
            do=entry["do"],
            method=entry["match"].get("method", "").upper(),
            path=entry["match"].get("path", ""),
            times=entry.get("times"),
            rate=entry.get("rate"),
            seconds=entry.get("seconds"),
            status=entry.get("status", 500),
        )
        for entry in document
    )


def check_fault_file(document: Json) -> Iterator[FileFinding]:
    """Yield the problems of a fault document."""
    if not isinstance(document, list):
        yield FileFinding((), "must be a list of faults", "Begin each with: - match:")
        return
    if len(document) > MOST_FAULTS:
        yield FileFinding((MOST_FAULTS,), f"is one fault too many: at most {MOST_FAULTS}")
    for index, entry in enumerate(document[:MOST_FAULTS]):
        for file_finding in _check_entry(entry):
            yield replace(file_finding, path=(index, *file_finding.path))


def _check_entry(entry: Json) -> Iterator[FileFinding]:
    if not isinstance(entry, dict):
        yield FileFinding((), "a fault must be a mapping with match and do")
        return
    yield from check_unknown(entry, _FIELDS)
    for name in ("match", "do"):
        if name not in entry:
            yield FileFinding((), f"the fault has no {name}")
    if "match" in entry:
        for file_finding in _check_match(entry["match"]):
            yield replace(file_finding, path=("match", *file_finding.path))
    yield from check_values(entry, _DEMANDS, {"do": _NAMES})
    yield from _check_contradictions(entry)


def _check_match(match: Json) -> Iterator[FileFinding]:
    if not isinstance(match, dict):
        yield FileFinding((), "match must be a mapping with method, path or both")
        return
    yield from check_unknown(match, _MATCH_FIELDS)
    yield from check_values(match, _MATCH_DEMANDS, {})


def _check_contradictions(entry: Mapping[str, Json]) -> Iterator[FileFinding]:
    if "times" in entry and "rate" in entry:
        yield FileFinding(("rate",), "times and rate cannot be used together", "Keep one of them.")
    do = entry.get("do")
    if do in _NAMES and "seconds" in entry and do not in _LASTING:
        yield FileFinding(("seconds",), f"seconds has no effect on {do}", "Remove it.")
    if do in _NAMES and "status" in entry and do != "error":
        yield FileFinding(("status",), f"status has no effect on {do}", "Remove it.")


def _check_kind(value: Json) -> str:
    return "" if value in _NAMES else "is not a known fault"


def _check_method(value: Json) -> str:
    known = isinstance(value, str) and value.upper() in _METHODS
    return "" if known else f"must be {' or '.join(_METHODS)}"


def _check_path(value: Json) -> str:
    if not isinstance(value, str):
        return "must be text, a regular expression"
    if len(value) > _LONGEST_PATH:
        return f"must have at most {_LONGEST_PATH} characters"
    try:
        compile_path(value)
    except ValueError as error:
        return f"is {error} (look-around and back references are not supported)"
    return ""


def _check_times(value: Json) -> str:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return "" if whole and value >= 1 else "must be a whole number from 1"


def _check_rate(value: Json) -> str:
    return "" if _is_number(value) and 0 <= value <= 1 else "must be a number from 0 to 1"


def _check_seconds(value: Json) -> str:
    return "" if _is_number(value) and 0 <= value <= 3600 else "must be a number from 0 to 3600"


def _check_status(value: Json) -> str:
    known = isinstance(value, int) and 500 <= value <= 599
    return "" if known else "must be a whole number from 500 to 599"


def _is_number(value: Json) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


_NAMES: Final = tuple(kind.name for kind in KINDS)
_DEMANDS: Final[Mapping[str, Callable[[Json], str]]] = {
    "do": _check_kind,
    "times": _check_times,
    "rate": _check_rate,
    "seconds": _check_seconds,
    "status": _check_status,
}
_MATCH_DEMANDS: Final[Mapping[str, Callable[[Json], str]]] = {
    "method": _check_method,
    "path": _check_path,
}

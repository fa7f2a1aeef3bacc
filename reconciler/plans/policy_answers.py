"""Reads what the command of `--policy-command` prints about a plan.

Two forms are understood: the JSON of `conftest test --output json`, and a list of
`{"msg", "resource", "severity"}`. Any other text is an error and never an answer. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

from reconciler.model import Finding, Json
from reconciler.plans.guards import POLICY_COMMAND
from reconciler.text.counting import count
from reconciler.text.json_text import read_json

# A result of conftest has some of these names (open-policy-agent/conftest, output/result.go).
_CONFTEST: Final = frozenset({"failures", "warnings", "exceptions", "successes", "filename"})
_OURS: Final = frozenset({"msg", "resource", "severity"})
_SEVERITIES: Final = ("error", "warn", "warning")
_MOST_FINDINGS: Final = 1000
_MOST_TEXT: Final = 2000
_NEXT: Final = "Change what is planned. No flag and no approval lifts this."


def read_answer(text: str, name: str, code: int) -> tuple[Finding, ...]:
    """Return the findings in what a command prints; `code` is its exit code, `name` its name.

    Raises ValueError with the reason if this is not an answer. An exit code other than 0 must come
    with a finding: without one, the command has failed.
    """
    if not text.strip():
        raise ValueError(_describe_code(code) + "it prints nothing")
    try:
        answer = read_json(text)
    except ValueError as error:
        raise ValueError(f"{_describe_code(code)}it does not print JSON") from error
    found = tuple(_read_findings(answer, name))
    if code and not found:
        raise ValueError(f"{_describe_code(code)}it names no reason")
    if len(found) > _MOST_FINDINGS:
        left = count(len(found) - _MOST_FINDINGS, "more finding")
        refuses = any(one.severity == "error" for one in found[_MOST_FINDINGS:])
        found = (*found[:_MOST_FINDINGS], _make(name, left, "", "error" if refuses else "warning"))
    return found


def _describe_code(code: int) -> str:
    """Return how a command ended, as the start of a sentence; empty for the exit code 0."""
    if not code:
        return ""
    return f"signal {-code} ended it, and " if code < 0 else f"its exit code is {code}, and "


def _read_findings(answer: Json, name: str) -> Iterator[Finding]:
    if not isinstance(answer, list) or not all(isinstance(one, dict) for one in answer):
        raise ValueError("its JSON is not a list of results")
    if any(_CONFTEST & one.keys() for one in answer):
        yield from _read_conftest(answer, name)
        return
    for one in answer:
        if not one.keys() <= _OURS:
            unknown = ", ".join(sorted(one.keys() - _OURS))[:100]
            raise ValueError(f"a result has the unknown names {unknown}")
        severity = one.get("severity", "error")
        if severity not in _SEVERITIES:
            raise ValueError("the severity of a result is not error or warn")
        yield _read_message(one, name, "error" if severity == "error" else "warning")


def _read_conftest(results: list[Json], name: str) -> Iterator[Finding]:
    ran = 0
    for result in results:
        if not _CONFTEST & result.keys():
            raise ValueError("a result is not one of conftest")
        for word, severity in _WORDS:
            for one in _list_entries(result, word):
                ran += 1
                yield _read_message(one, name, severity, excepted=word == "exceptions")
        successes = result.get("successes", 0)
        if isinstance(successes, bool) or not isinstance(successes, int):
            raise ValueError("the number of successes is not a number")  # noqa: TRY004 - one class
        ran += successes
    if not ran:
        yield _make(name, "no rule has judged the plan: check its namespace", "", "warning")


_WORDS: Final[tuple[tuple[str, Literal["error", "warning"]], ...]] = (
    ("failures", "error"),
    ("warnings", "warning"),
    ("exceptions", "warning"),
)


def _list_entries(result: Json, word: str) -> list[Json]:
    entries = result.get(word) or []
    if not isinstance(entries, list) or not all(isinstance(one, dict) for one in entries):
        raise ValueError(f"the {word} of a result are not a list")
    return entries


def _read_message(
    one: Json, name: str, severity: Literal["error", "warning"], *, excepted: bool = False
) -> Finding:
    """Return the finding of one entry; conftest has the resource in its metadata."""
    message = one.get("msg")
    if not isinstance(message, str) or not message.strip():
        raise ValueError("a result has no msg")
    metadata = one.get("metadata")
    named = {**metadata, **one} if isinstance(metadata, dict) else one
    resource = named.get("resource", "")
    if not isinstance(resource, str):
        raise ValueError("the resource of a result is not text")  # noqa: TRY004 - one class
    said = f"{message} (an exception of the policy)" if excepted else message
    return _make(name, said, resource, severity)


def _make(name: str, message: str, resource: str, severity: Literal["error", "warning"]) -> Finding:
    first, *more = message[:_MOST_TEXT].strip().splitlines()
    return Finding(
        f"{name}: {first}",
        subject=resource[:_MOST_TEXT],
        detail=tuple(line.strip() for line in more if line.strip()),
        next_step=_NEXT if severity == "error" else "",
        severity=severity,
        guard=POLICY_COMMAND,
    )

"""Renders the facts of a ledger as text for people and as JSON: jobs, checks, and reasons.

The history shows them between the entries.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from reconciler.model import Fact, Json
from reconciler.plans.guards import MOST_REASON
from reconciler.plans.history import CHECKS, EVALUATION, JOB, REASON, REGISTRATION
from reconciler.render.history import describe_author
from reconciler.render.words.colour import Paint
from reconciler.render.words.escape import cut, escape
from reconciler.render.words.names import list_names

_MOST_NAMED: Final = 20
_MOST_LINE: Final = 300
_OF_VERDICT: Final = ("rule", "verdict", "refuses", "reason", "numbers")


def render_fact(fact: Fact, paint: Paint) -> str:
    """Returns the lines of a training job, an evaluation, a registration, checks, or a reason."""
    renderers = {
        JOB: render_job,
        EVALUATION: render_evaluation,
        REGISTRATION: render_registration,
        CHECKS: render_checks,
    }
    return renderers.get(fact.topic, render_reason)(fact, paint)


def facts_document(facts: Sequence[Fact]) -> dict[str, Json]:
    """Returns the facts as JSON, each topic under a key; what is empty has no key."""
    kinds = (
        ("jobs", JOB, job_document),
        ("evaluations", EVALUATION, evaluation_document),
        ("registrations", REGISTRATION, registration_document),
        ("reasons", REASON, reason_document),
        ("checks", CHECKS, checks_document),
    )
    named = {
        name: [describe(one) for one in facts if one.topic == topic]
        for name, topic, describe in kinds
    }
    return {name: listed for name, listed in named.items() if listed}


def render_reason(fact: Fact, paint: Paint) -> str:
    """Returns the line of a guard that was lifted: its time, resources and author, and why."""
    digest = fact.subject.partition(":")[2]
    named = list_names(_read_texts(fact, "addresses"), _MOST_NAMED)
    guard = f"the guard {escape(cut(str(fact.data.get('guard', ''))))} was lifted"
    author = f"by {describe_author(fact)} (plan {escape(digest[:8])}…)"
    parts = [f"#{fact.sequence}", escape(fact.at), paint("yellow", guard), named, author]
    return f"{'  '.join(parts)}\n      Reason: {escape(cut(_read_reason(fact), MOST_REASON))}"


def _read_texts(fact: Fact, name: str) -> list[str]:
    listed = fact.data.get(name)
    return [str(one) for one in listed] if isinstance(listed, list) else []


def _read_reason(fact: Fact) -> str:
    return str(fact.data.get("reason", ""))


def reason_document(fact: Fact) -> Json:
    """Returns the reason for which a guard was lifted as JSON."""
    return {
        "sequence": fact.sequence,
        "at": fact.at,
        "guard": str(fact.data.get("guard", "")),
        "addresses": _read_texts(fact, "addresses"),
        "reason": _read_reason(fact),
        "by": fact.by,
        "host": fact.host,
        "commit": fact.commit,
        "plan_digest": fact.subject,
    }


def render_job(fact: Fact, paint: Paint) -> str:
    """Returns the last recorded state of a training job, with its run and its author."""
    said = paint("yellow", f"job {escape(cut(_read_text(fact, 'state')))}")
    names = [_read_text(fact, name) for name in ("run", "job")]
    lines = [f"run {names[0]}, job {names[1]}" if names[1] else f"run {names[0]}"]
    lines += filter(None, [_read_text(fact, "details")])
    return "\n      ".join((_head(fact, said, fact.subject), *map(_shorten, lines)))


def render_evaluation(fact: Fact, paint: Paint) -> str:
    """Returns the evaluation of a model: its digest, and the verdicts or else the metrics."""
    said = paint("yellow", "model evaluated")
    lines = [f"{fact.subject}, run {_read_text(fact, 'run')}", *_list_verdicts(fact)]
    head = _head(fact, said, _read_text(fact, "retraining"))
    return "\n      ".join((head, *map(_shorten, lines)))


def render_registration(fact: Fact, paint: Paint) -> str:
    """Returns the registration of a model as a version: for which resource, and its digest."""
    said = paint("yellow", f"model registered as {escape(cut(_read_text(fact, 'version')))}")
    lines = [f"{_read_text(fact, 'digest')}, run {_read_text(fact, 'run')}"]
    head = _head(fact, said, _read_text(fact, "resource"))
    return "\n      ".join((head, *map(_shorten, lines)))


def render_checks(fact: Fact, paint: Paint) -> str:
    """Returns whether the checks of a step have passed, and of a failed one what it saw."""
    passed = fact.data.get("passed") is True
    said = paint("green", "checks passed") if passed else paint("red", "check failed")
    lines = [] if passed else [f"{_read_text(fact, 'check')}: {_read_text(fact, 'message')}"]
    lines += _read_texts(fact, "detail")[:_MOST_NAMED]
    return "\n      ".join((_head(fact, said, fact.subject), *map(_shorten, lines)))


def checks_document(fact: Fact) -> Json:
    """Returns whether the checks of a step have passed as JSON."""
    passed = fact.data.get("passed") is True
    failed = {
        "check": _read_text(fact, "check"),
        "message": _read_text(fact, "message"),
        "detail": _read_texts(fact, "detail"),
    }
    return {
        "sequence": fact.sequence,
        "at": fact.at,
        "address": fact.subject,
        "passed": passed,
        **({} if passed else failed),
        "by": fact.by,
        "host": fact.host,
        "commit": fact.commit,
    }


def _head(fact: Fact, said: str, address: str) -> str:
    """The first line of a fact about a retraining or its result."""
    author = f"by {describe_author(fact)}"
    return f"#{fact.sequence}  {escape(fact.at)}  {said}  {escape(cut(address))}  {author}"


def _list_verdicts(fact: Fact) -> Iterator[str]:
    gates = [one for one in _read_dicts(fact, "gates") if "rule" in one]
    for one in gates:
        said = f"{one.get('verdict')}: {one['rule']}: {one.get('reason')}"
        accepted = one.get("verdict") != "pass" and one.get("refuses") is False
        yield f"{said}; the rule accepts it" if accepted else said
    metrics = {} if gates else fact.data.get("metrics")
    if isinstance(metrics, dict) and metrics:
        yield ", ".join(f"{cut(name)} {value}" for name, value in [*metrics.items()][:_MOST_NAMED])


def _shorten(line: str) -> str:
    return escape(cut(line, _MOST_LINE))


def _read_text(fact: Fact, name: str) -> str:
    value = fact.data.get(name)
    return value if isinstance(value, str) else ""


def _read_dicts(fact: Fact, name: str) -> list[dict[str, Json]]:
    listed = fact.data.get(name)
    return [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []


def job_document(fact: Fact) -> Json:
    """Returns the last recorded state of a training job as JSON."""
    said = {name: _read_text(fact, name) for name in ("run", "job", "state", "details")}
    return {"sequence": fact.sequence, "at": fact.at, "retraining": fact.subject, **said} | (
        _author_document(fact)
    )


def evaluation_document(fact: Fact) -> Json:
    """Returns the evaluation of a model as JSON."""
    verdicts = [
        {name: one[name] for name in _OF_VERDICT if name in one}
        for one in _read_dicts(fact, "gates")
    ]
    metrics = fact.data.get("metrics")
    return {
        "sequence": fact.sequence,
        "at": fact.at,
        **{name: _read_text(fact, name) for name in ("retraining", "run", "job", "uri")},
        "digest": fact.subject,
        "parent": _read_text(fact, "parent") or None,
        "metrics": metrics if isinstance(metrics, dict) else {},
        "gates": verdicts,
    } | _author_document(fact)


def registration_document(fact: Fact) -> Json:
    """Returns the registration of a version as JSON."""
    names = ("resource", "version", "digest", "uri", "retraining", "run")
    said = {name: _read_text(fact, name) for name in names}
    return {"sequence": fact.sequence, "at": fact.at, **said} | _author_document(fact)


def _author_document(fact: Fact) -> dict[str, Json]:
    return {"by": fact.by, "host": fact.host, "commit": fact.commit}

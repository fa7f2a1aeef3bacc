"""Renders drift reports as SARIF 2.1.0, which code scanning of GitHub and many editors read.

A report is a run, a finding a result and a verdict a rule. GitHub shows a result only at a place in
a file, so that a finding without a place is at the project file. The fingerprint of a result does
not hold its line, so that an alert stays the same when lines move. The limits are those of GitHub.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final
from urllib.parse import quote

from reconciler import __version__
from reconciler.document.pointers import split_pointer
from reconciler.model import (
    Drift,
    DriftReport,
    FailedReport,
    Finding,
    IgnoreRule,
    Json,
    Severity,
    SourceLocation,
    Verdict,
)
from reconciler.model.values import dataclass
from reconciler.plans.drift_file import count_coverage
from reconciler.render.drift.history import count_overwritten
from reconciler.render.drift.text import count_hidden, describe_knowledge, list_values
from reconciler.render.words.escape import cut, escape, show_path
from reconciler.text.counting import count
from reconciler.text.json_text import escape_json

SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"
# GitHub keeps so many results of a run, the gravest ones.
MOST_RESULTS: Final = 5_000
_MOST_TEXT: Final = 1_024
# Where a finding is that has no place in a file.
_PROJECT_FILE: Final = "reconciler.yaml"
_LEVELS: Final[Sequence[Severity]] = ("error", "warning", "note")
_PRECISE: Final = {"precision": "very-high"}
# SARIF makes a link of [text](target), and takes {0} for the place of an argument.
_MARKUP: Final = re.compile(r"(?<=\])(?=\()|(?<=\{)(?=[0-9]+\})")


@dataclass(frozen=True, slots=True)
class _Rule:
    """What a verdict means, for people. `danger` is how grave it is as a risk, from 0 to 10."""

    id: str
    level: Severity
    short: str
    full: str
    cure: str
    danger: str = ""

    @property
    def name(self) -> str:
        """The name in the form that SARIF recommends; it must differ from the id."""
        return "Drift" + "".join(one.capitalize() for one in self.id.split("-"))


def _make_rule(verdict: Verdict, short: str, full: str, cure: str, danger: str = "") -> _Rule:
    return _Rule(verdict.value.replace(" ", "-"), verdict.severity, short, full, cure, danger)


_RULES: Final[Mapping[Verdict, _Rule]] = {
    Verdict.MODEL_SWAPPED: _make_rule(
        Verdict.MODEL_SWAPPED,
        "The service serves another model than the one that was applied.",
        "The address of a trained model was changed on the service since the last apply, and not by"
        " reconciler.",
        "Put the declared model back with reconciler apply, or accept the live one with reconciler"
        " drift --accept.",
        "8.1",
    ),
    Verdict.ARTIFACT_MUTATED: _make_rule(
        Verdict.ARTIFACT_MUTATED,
        "The file of a model has other bytes than when it was applied.",
        "The blob at the address of a trained model was overwritten since the last apply.",
        "Find out who wrote the blob. Upload the model to a new address, and declare that.",
        "8.1",
    ),
    Verdict.MISSING: _make_rule(
        Verdict.MISSING,
        "The service does not exist any more.",
        "The service existed at the last apply, and somebody has deleted it since.",
        "Create it again with reconciler apply, or remove it from the ledger with reconciler"
        " forget.",
    ),
    Verdict.FAILED: _make_rule(
        Verdict.FAILED,
        "The last operation of the service failed.",
        "The service itself reports that its last operation has failed.",
        "Look at the plan of the resource with reconciler plan, and apply it again.",
    ),
    Verdict.CONFLICT: _make_rule(
        Verdict.CONFLICT,
        "The service and the manifest were both changed, to different values.",
        "Since the last apply a value was changed on the service, and its declared value was"
        " changed in the manifest.",
        "Decide which value is right: reconciler apply, or reconciler drift --accept.",
    ),
    Verdict.DRIFTED: _make_rule(
        Verdict.DRIFTED,
        "A value of the service was changed since the last apply.",
        "A value differs from the last applied one, and the manifest is unchanged.",
        "Put the declared value back with reconciler apply, or accept the live one with reconciler"
        " drift --accept.",
    ),
    Verdict.CREDENTIAL_EXPIRING: _make_rule(
        Verdict.CREDENTIAL_EXPIRING,
        "A signature expires soon.",
        "The signature with which the service reads its model ends soon. After that the service"
        " cannot load the model.",
        "Make a new signature, and apply it.",
    ),
    Verdict.INCOMPLETE: _make_rule(
        Verdict.INCOMPLETE,
        "The resource could not be read, or not completely.",
        "Without evidence a resource never counts as in sync.",
        "Find out why it cannot be read, then run reconciler drift --refresh full.",
    ),
    Verdict.PENDING: _make_rule(
        Verdict.PENDING,
        "The manifest declares what was not applied yet.",
        "The declared value differs from the last applied one, and the service is unchanged.",
        "Apply it: reconciler apply.",
    ),
    Verdict.UNMANAGED: _make_rule(
        Verdict.UNMANAGED,
        "No manifest names this service.",
        "The service exists beside the declared ones, and no manifest of the project names it.",
        "Write its manifest with reconciler import, or leave it as it is.",
    ),
}
_EXPIRED: Final = _Rule(
    "ignore-expired",
    "warning",
    "A rule of .driftignore is over.",
    "The last day of the rule has passed, so that it ignores no finding any more.",
    "Remove the rule, or decide again until when the finding is accepted.",
)
_EVERY: Final = (*_RULES.values(), _EXPIRED)
_INDEXES: Final = {rule.id: number for number, rule in enumerate(_EVERY)}


def render_sarif(
    reports: Sequence[DriftReport], folder: str = "", failed: Sequence[FailedReport] = ()
) -> str:
    """Returns one SARIF file with a run for each report.

    `folder` is the folder of the project, relative to the top of the repository. A run whose
    evidence is incomplete says that its execution was not successful, because a result that is
    absent closes its alert.
    """
    project = next((one.inputs.project for one in reports), "")
    runs = [_make_run(one, folder) for one in reports]
    runs += [_make_failed_run(one, project) for one in failed]
    document = {"$schema": SCHEMA, "version": "2.1.0", "runs": runs}
    return escape_json(json.dumps(document, ensure_ascii=False, indent=1)) + "\n"


def name_category(project: str, environment: str) -> str:
    """Returns what tells the results of one project and environment from all others."""
    parts = ["reconciler", "drift", *filter(None, [project, environment])]
    return "".join(f"{quote(one.encode('utf-8', 'surrogatepass'), safe='')}/" for one in parts)


def _make_run(report: DriftReport, folder: str) -> Json:
    inputs = report.inputs
    results = _make_results(report, folder)
    kept = results[:MOST_RESULTS]
    unread = sum(one.verdict is Verdict.INCOMPLETE for one in report.findings)
    notes = list(_note(report, len(results) - len(kept)))
    about: dict[str, Json] = {
        "project": inputs.project,
        "environment": inputs.environment,
        "commit": inputs.commit,
        "outcome": report.outcome,
        "baseline": report.baseline,
        "whole": report.whole,
        "coverage": dict(count_coverage(report)),
    }
    return {
        **_start_run(inputs.project, inputs.environment, notes, complete=not unread),
        "columnKind": "unicodeCodePoints",
        "results": kept,
        "properties": {name: value for name, value in about.items() if value != ""},
    }


def _make_failed_run(failed: FailedReport, project: str) -> Json:
    notes = [_notify("error", _join_finding(one)) for one in failed.findings]
    run = _start_run(project, failed.environment, notes, complete=False)
    return {**run, "results": [], "properties": {"environment": failed.environment}}


def _start_run(
    project: str, environment: str, notes: Sequence[Json], *, complete: bool
) -> dict[str, Json]:
    invocation: Json = {
        "executionSuccessful": complete,
        "toolExecutionNotifications": list(notes),
    }
    driver: Json = {
        "name": "reconciler",
        "version": __version__,
        "semanticVersion": __version__,
        "rules": [_show_rule(one) for one in _EVERY],
    }
    return {
        "tool": {"driver": driver},
        "automationDetails": {"id": name_category(project, environment)},
        "invocations": [invocation],
    }


def _show_rule(rule: _Rule) -> Json:
    text = f"{rule.full} {rule.cure}"
    security = {"security-severity": rule.danger} if rule.danger else {}
    problem = {"error": "error", "warning": "warning", "note": "recommendation"}[rule.level]
    tags: list[Json] = ["drift", *(["security"] if rule.danger else [])]
    return {
        "id": rule.id,
        "name": rule.name,
        "shortDescription": {"text": rule.short},
        "fullDescription": {"text": rule.full},
        "help": {"text": text, "markdown": re.sub(r"(reconciler \w+(?: --\w+)?)", r"`\1`", text)},
        "defaultConfiguration": {"level": rule.level},
        "properties": {"tags": tags, **_PRECISE, "problem.severity": problem, **security},
    }


def _make_results(report: DriftReport, folder: str) -> list[Json]:
    """The results, the gravest first; what a rule ignores comes after what counts."""
    # An upload without a result closes its alert, so it has what --new-only leaves out.
    shown = [one for one in (*report.findings, *report.known) if one.verdict in _RULES]
    shown += [one for one in report.ignored if one.verdict in _RULES]
    shown.sort(key=lambda one: (one.rule is not None, _LEVELS.index(one.verdict.severity)))
    seen: Counter[str] = Counter()
    found = [_make_result(one, report, folder, seen) for one in shown]
    expired = [_make_expired(one, report, folder, seen) for one in report.expired]
    graver = sum(one.rule is None and one.verdict.severity in {"error", "warning"} for one in shown)
    return [*found[:graver], *expired, *found[graver:]]


def _make_result(drift: Drift, report: DriftReport, folder: str, seen: Counter[str]) -> Json:
    rule = _RULES[drift.verdict]
    address = str(drift.resource.address)
    named = [rule.id, address, drift.resource.id.casefold(), drift.pointer]
    properties: dict[str, Json] = {
        "address": address,
        "pointer": drift.pointer,
        "since": drift.since,
        "fleet": str(drift.fleet or ""),
        "key": drift.key,
        "settle": list(drift.commands),
    }
    result = {
        **_start_result(rule, drift.place, folder, _identify(report, named), seen),
        "message": {"text": _limit(_describe(drift, folder))},
        "baselineState": "new" if drift.is_new else "unchanged",
        "properties": {name: value for name, value in properties.items() if value},
    }
    if drift.rule is not None:
        until = f"Until {drift.rule.until}, by {drift.rule.owner}: {drift.rule.reason}"
        external = {"kind": "external", "status": "accepted", "justification": _limit([until])}
        return {**result, "suppressions": [external]}
    return result


def _make_expired(rule: IgnoreRule, report: DriftReport, folder: str, seen: Counter[str]) -> Json:
    verdict = rule.verdict.value if rule.verdict else ""
    named = [_EXPIRED.id, rule.address, rule.pointer, verdict, rule.until]
    where = f" at {rule.pointer}" if rule.pointer else ""
    said = f"The rule for {rule.address}{where} was over on {rule.until}: {rule.reason}"
    return {
        **_start_result(_EXPIRED, rule.place, folder, _identify(report, named), seen),
        "message": {"text": _limit([said, f"Its owner is {rule.owner}.", _EXPIRED.cure])},
    }


def _start_result(
    rule: _Rule, place: SourceLocation | None, folder: str, identity: str, seen: Counter[str]
) -> dict[str, Json]:
    """What each result has; a second one with the same identity gets the next number."""
    seen[identity] += 1
    prints = {
        "primaryLocationLineHash": f"{identity[:16]}:{seen[identity]}",
        "reconcilerFinding/v1": f"{identity}:{seen[identity]}",
    }
    return {
        "ruleId": rule.id,
        "ruleIndex": _INDEXES[rule.id],
        "level": rule.level,
        "locations": [{"physicalLocation": _show_place(place, folder)}],
        "partialFingerprints": prints,
    }


def _identify(report: DriftReport, named: Sequence[str]) -> str:
    """The digest of what a result is about, in its project and environment."""
    words = [report.inputs.project, report.inputs.environment, *named]
    text = json.dumps(words)  # in ASCII, so that every text has bytes
    return hashlib.sha256(text.encode()).hexdigest()


def _locate(place: SourceLocation | None, folder: str) -> SourceLocation | None:
    """A place with its path in the repository; None for one that is not in the repository."""
    if place is None:
        return None
    name = posixpath.normpath(posixpath.join(folder, place.file))
    outside = name.startswith(("../", "/")) or name in {".", ".."}
    return None if outside else SourceLocation(name, place.line, place.column)


def _show_place(place: SourceLocation | None, folder: str) -> Json:
    """A place in the repository; columns count from 1, and the end is the next one."""
    shown = _locate(place, folder) or SourceLocation(posixpath.join(folder, _PROJECT_FILE), 1, 1)
    uri = quote(shown.file.encode("utf-8", "surrogatepass"), safe="/")
    region: dict[str, Json] = {
        "startLine": shown.line,
        "startColumn": shown.column,
        "endLine": shown.line,
        "endColumn": shown.column + 1,
    }
    return {"artifactLocation": {"uri": uri, "uriBaseId": "%SRCROOT%"}, "region": region}


def _describe(drift: Drift, folder: str) -> Iterator[str]:
    """What people read of a finding, as sentences."""
    where = f" at {show_path(split_pointer(drift.pointer))}" if drift.pointer else ""
    yield f"{drift.resource.address}: {drift.verdict.value}{where}."
    if drift.hidden:
        yield "The value is sensitive."
    elif drift.pointer:
        shown = list_values([drift]).items()
        yield _make_sentence("; ".join(f"{name} {value}" for name, (value, _) in shown))
    if drift.note:
        yield _make_sentence(drift.note)
    if drift.since:
        yield f"First seen {drift.since[:10]}."
    if drift.commands:
        yield f"Resolve it: {' or '.join(drift.commands)}"
    if _locate(drift.place, folder) is None:
        where = "No manifest declares it" if drift.place is None else f"It is at {drift.place}"
        yield f"{where}, so that it is shown at {_PROJECT_FILE}."


def _make_sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def _limit(sentences: Iterable[str]) -> str:
    """Sentences as one text that is harmless and as long as GitHub allows."""
    said = " ".join(escape(one) for one in sentences)
    return _MARKUP.sub(" ", cut(said, _MOST_TEXT - 50))[:_MOST_TEXT]


def _note(report: DriftReport, left: int) -> Iterator[Json]:
    """What belongs to no place in a file: what is not known, and how much was left out."""
    unread = len({one.resource for one in report.findings if one.verdict is Verdict.INCOMPLETE})
    if unread:
        said = f"Evidence incomplete: {count(unread, 'resource')} could not be read completely."
        yield _notify("error", said)
    for lost in (report.lost, report.history_lost):
        if lost is not None:
            yield _notify("warning", _join_finding(lost))
    if report.overwritten:
        yield _notify("warning", count_overwritten(report))
    if report.baseline == "lost":
        yield _notify("warning", "No ledger exists, so only declared values can be compared.")
    if left:
        yield _notify("warning", f"{count(left, 'less grave result')} left out: at most"
                      f" {MOST_RESULTS:,} are shown.")  # fmt: skip
    hidden = count_hidden(report.findings)
    if hidden:
        yield _notify("note", hidden)
    if not report.whole:
        yield _notify("note", "Only a part of the project was asked for.")
    yield _notify("note", describe_knowledge(report))


def _notify(level: Severity, text: str) -> Json:
    return {"level": level, "message": {"text": _limit([text])}}


def _join_finding(finding: Finding) -> str:
    subject = f"{finding.subject}: " if finding.subject else ""
    place = (f"On {finding.place}.",) if finding.place is not None else ()
    first = f"{subject}{finding.message.rstrip('.')}."
    return " ".join(filter(None, [first, *place, *finding.detail, finding.next_step]))

"""Reads the policies of a project: the documents of one folder, with all findings about them.

A policy that cannot be read refuses every plan: without it, a change would be judged by fewer rules
than the team wrote. The commands that make or apply a plan call it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from reconciler.manifests.budget import ProjectTooLarge
from reconciler.manifests.folder import POLICIES, Folder
from reconciler.manifests.recognition import (
    API_VERSION,
    TEST_KIND,
    check_foreign,
    find_passed,
    match_kinds,
    read_top_level,
)
from reconciler.manifests.references import Found
from reconciler.manifests.rule_schemas import check_rule_schema
from reconciler.manifests.schema import check_written, unknown_word
from reconciler.manifests.yaml_text import SourceMap, Text
from reconciler.model import Finding, Json, Project, SourceLocation
from reconciler.model.policies import ChangeWindow, Freeze, Policy, PolicyMatch, PolicyRule
from reconciler.plans.policies import takes_environment
from reconciler.text.suggestions import ask, suggest

if TYPE_CHECKING:  # only named here
    import yaml

_SCHEMA: Final = "manifest/policy"
_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


# The kind and the labels of a manifest.
Labelled: TypeAlias = tuple[str, Mapping[str, str]]


def load_policies(
    folder: Folder, named: str = ""
) -> tuple[tuple[Policy, ...], tuple[Finding, ...]]:
    """Return the policies of a project, by name, and everything that is wrong with them.

    `folder` is the project's. If the policies are elsewhere, `named` is the folder that the user
    named and `folder` is that one; it must hold at least one policy. Cases for `policy test` may be
    in the folder too: they are not read. Never raises for what users wrote.
    """
    path = folder.root if named else folder.root / POLICIES
    if named and not path.is_dir():
        why = "is not a folder" if path.exists() else "does not exist"
        finding = Finding(f"the folder of policies {why}", subject=named, next_step=_NAME_FOLDER)
        return (), (finding,)
    loading = _Loading(folder, f"{named.rstrip('/')}/" if named else "")
    try:
        for file in folder.walk(path):
            loading.load_file(file)
        loading.find_unread(path)
    except ProjectTooLarge as error:
        loading.findings += error.findings()
    found = (*folder.findings, *loading.findings)
    if named and not (loading.policies or any(one.severity == "error" for one in found)):
        found = (*found, Finding("holds no policy", subject=named, next_step=_NAME_FOLDER))
    return tuple(loading.policies[name] for name in sorted(loading.policies)), found


_NAME_FOLDER: Final = "Name the folder with the files of kind: Policy. Nothing would be judged."


class _Loading:
    def __init__(self, folder: Folder, shown: str) -> None:
        self._folder = folder
        self._shown = shown
        self._places: dict[str, SourceLocation] = {}
        self.policies: dict[str, Policy] = {}
        self.findings: list[Finding] = []

    def load_file(self, file: Path) -> None:
        text = self._folder.read(file)
        if text is None:
            return
        parsed = Text(f"{self._shown}{self._folder.name(file)}", text, self._folder.budget)
        for node in parsed.compose():
            self._load_document(parsed, node)
        self.findings += parsed.findings

    def find_unread(self, walked: Path) -> None:
        """Reports the policies that the walk of a folder has passed: they judge nothing."""
        for unread in find_passed(self._folder, walked, match_kinds(["Policy"])):
            finding = Finding(
                f"is not read: {unread.why}",
                subject=f"{self._shown}{unread.file}",
                next_step=_RENAME,
                severity="warning",
            )
            self.findings.append(finding)

    def _load_document(self, parsed: Text, node: yaml.Node) -> None:
        version, kind = (read_top_level(node, name) for name in ("apiVersion", "kind"))
        places = SourceMap(parsed.file, node)
        if version is None:
            step = f"Begin it with: apiVersion: {API_VERSION}"
            self._add("", Finding("has no apiVersion", next_step=step), places)
        elif version != API_VERSION:
            nearly = check_foreign(version, kind, ("Policy",))
            if nearly is not None:
                self._add("/apiVersion", nearly, places)
        elif kind == "Policy":
            self._load_policy(parsed, node, places)
        elif kind != TEST_KIND:
            finding = unknown_word("kind of policy", kind or "", ("Policy", TEST_KIND))
            self._add("/kind", finding, places)

    def _load_policy(self, parsed: Text, node: yaml.Node, places: SourceMap) -> None:
        before = len(parsed.findings)
        document = parsed.build(node)
        found = check_written(_SCHEMA, document, places)
        found = found or list(_check_spec(document["spec"]))
        for pointer, finding in found:
            self._add(pointer, finding, places, subject=_name(document))
        if found or len(parsed.findings) != before:
            return
        made = make_policy(document, parsed.file, places)
        place = places["/metadata/name"]
        first = self._places.setdefault(made.name, place)
        if first is not place:
            detail = (f"The first is on {first}.",)
            finding = Finding("two policies have this name", detail=detail, next_step="Rename one.")
            self._add("/metadata/name", finding, places, subject=_name(document))
        self.policies.setdefault(made.name, made)

    def _add(
        self, pointer: str, finding: Finding, places: SourceMap, subject: str = "Policy"
    ) -> None:
        at = places.find_nearest(pointer)
        self.findings.append(replace(finding, subject=subject, place=at))


_RENAME: Final = (
    "If it has policies, name it NAME.yaml, outside of hidden folders. If not, move it out of the"
    " folder."
)


def _name(document: Json) -> str:
    metadata = document.get("metadata") if isinstance(document, dict) else None
    name = metadata.get("name") if isinstance(metadata, dict) else None
    return f"Policy/{name}" if isinstance(name, str) else "Policy"


def _check_spec(spec: Json) -> Iterator[Found]:
    """Yield what is wrong with rules that fit the schema of a policy."""
    names: dict[str, int] = {}
    for number, rule in enumerate(spec["rules"]):
        at = f"/spec/rules/{number}"
        if names.setdefault(rule["name"], number) != number:
            yield f"{at}/name", Finding("two rules have this name", next_step="Rename one of them.")
        for word in ("when", "require"):
            if word in rule:
                yield from check_rule_schema(rule[word], ("spec", "rules", number, word))
        yield from _check_window(rule.get("changeWindow", {}), f"{at}/changeWindow")


def _check_window(window: Json, at: str) -> Iterator[Found]:
    for number, hours in enumerate(_as_list(window.get("hours", ()))):
        start, end = hours.split("-")
        if start == end:
            step = "Leave hours out for the whole day."
            place = at + ("/hours" if isinstance(window["hours"], str) else f"/hours/{number}")
            yield place, Finding("the window ends when it begins", next_step=step)
    for number, given in enumerate(window.get("freeze", ())):
        place = f"{at}/freeze/{number}"
        first, last = map(_read_date, _list_dates(given))
        if first is None or last is None:
            yield place, Finding("is not a date", next_step='Write year-month-day: "2026-12-24".')
        elif first > last:
            yield place, Finding("ends before it begins", next_step="Exchange from and to.")


def _list_dates(given: Json) -> tuple[str, str]:
    """The first and the last date; a freeze without an end lasts until further notice."""
    if isinstance(given, str):
        return given, given
    return given["from"], given.get("to", date.max.isoformat())


def _read_date(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def make_policy(document: Json, file: str, places: SourceMap) -> Policy:
    """Return the policy of a checked document."""
    name, spec = document["metadata"]["name"], document["spec"]
    rules = tuple(
        _make_rule(name, spec, number, rule, places) for number, rule in enumerate(spec["rules"])
    )
    return Policy(name, file, rules)


def _make_rule(policy: str, spec: Json, number: int, rule: Json, places: SourceMap) -> PolicyRule:
    at = f"/spec/rules/{number}"
    given = ((spec.get("match"), "/spec/match"), (rule.get("match"), f"{at}/match"))
    window = rule.get("changeWindow")
    return PolicyRule(
        policy=policy,
        name=rule["name"],
        place=places.find_nearest(f"{at}/name"),
        matches=tuple(_make_match(one, places.find_nearest(to)) for one, to in given if one),
        when=rule.get("when"),
        severity=rule.get("severity", spec.get("severity", "error")),
        lift=spec.get("lift", "approval"),
        approvers=tuple(spec.get("approvers", ())),
        message=rule.get("message", ""),
        denies_deletes="denyDeletes" in rule,
        models_from=tuple(rule.get("modelsFrom", ())),
        requires_gate="requireGate" in rule,
        window=_make_window(window) if window else None,
        owners=tuple(rule.get("requireOwners", ())),
        require=rule.get("require"),
    )


def _make_match(given: Json, place: SourceLocation) -> PolicyMatch:
    return PolicyMatch(
        environments=_as_list(given.get("environment", ())),
        kinds=_as_list(given.get("kind", ())),
        labels={name: _as_list(value) for name, value in given.get("labels", {}).items()},
        place=place,
    )


def _as_list(given: Json) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


def _make_window(given: Json) -> ChangeWindow:
    hours = (one.split("-") for one in _as_list(given.get("hours", ())))
    freezes = (
        (_list_dates(one), one.get("reason", "") if isinstance(one, dict) else "")
        for one in given.get("freeze", ())
    )
    return ChangeWindow(
        days=frozenset(map(_DAYS.index, given.get("days", ()))),
        hours=tuple((_read_minutes(start), _read_minutes(end)) for start, end in hours),
        freezes=tuple(
            Freeze(date.fromisoformat(first), date.fromisoformat(last), reason)
            for (first, last), reason in freezes
        ),
    )


def _read_minutes(text: str) -> int:
    hours, minutes = text.split(":")
    return int(hours) * 60 + int(minutes)


def check_matches(
    policies: Iterable[Policy],
    project: Project,
    kinds: Collection[str],
    resources: Collection[Labelled] | None,
) -> Iterator[Finding]:
    """Yield a warning for each match that no change of the project can have.

    `resources` has the kind and the labels of each manifest of the environment; None if some of
    them are not read.
    """
    labels = None if resources is None else _collect_labels(resources)
    for policy in policies:
        subject = f"Policy/{policy.name}"
        matches = {one.place: (rule, one) for rule in policy.rules for one in rule.matches}
        doubted = set()
        for place, (rule, match) in matches.items():
            here = takes_environment(rule, project.environment)
            for finding in _check_match(match, project, kinds, labels if here else None):
                doubted.add(place)
                yield replace(finding, subject=subject, place=place, severity="warning")
        for rule in policy.rules:
            here = takes_environment(rule, project.environment)
            why = _explain_never(rule.matches, resources if here else None)
            if why and doubted.isdisjoint(one.place for one in rule.matches):
                message = f"a rule never matches: {why}"
                place = rule.matches[-1].place
                step = "Change the match, or remove the rule."
                yield Finding(
                    message, subject=subject, place=place, next_step=step, severity="warning"
                )


def _collect_labels(resources: Iterable[Labelled]) -> dict[str, set[str]]:
    """Return the values of each label."""
    labels: dict[str, set[str]] = {}
    for _, given in resources:
        for name, value in given.items():
            labels.setdefault(name, set()).add(value)
    return labels


def _explain_never(matches: Sequence[PolicyMatch], resources: Collection[Labelled] | None) -> str:
    """Return why no change fits all matches of a rule, each of which some change fits."""
    for what, listed in (
        ("environment", [one.environments for one in matches if one.environments]),
        ("kind", [one.kinds for one in matches if one.kinds]),
    ):
        if listed and not set(listed[0]).intersection(*listed[1:]):
            return f"its match and the match of its policy have no {what} in common"
    if resources is None or not any(one.labels for one in matches):
        return ""
    fits = any(all(_fits(one, *resource) for one in matches) for resource in resources)
    return "" if fits else "no manifest has the kind and all the labels that it asks for"


def _fits(match: PolicyMatch, kind: str, labels: Mapping[str, str]) -> bool:
    return (not match.kinds or kind in match.kinds) and all(
        labels.get(name) in accepted for name, accepted in match.labels.items()
    )


def _check_match(
    match: PolicyMatch,
    project: Project,
    kinds: Collection[str],
    labels: Mapping[str, Collection[str]] | None,
) -> Iterator[Finding]:
    yield from _check_names("environment", match.environments, project.environments)
    yield from _check_names("kind", match.kinds, kinds)
    for name, values in match.labels.items() if labels is not None else ():
        yield from _check_label(name, values, labels or {})


def _check_names(what: str, given: Collection[str], known: Collection[str]) -> Iterator[Finding]:
    """Yield a finding if no name is known; else one for each that is nearly a known name.

    Other names in a list may be those of another project that has the same policies.
    """
    if not given:
        return
    if not set(given).isdisjoint(known):
        for word in given:
            near = "" if word in known else suggest(word, set(known).difference(given))
            if near:
                message = f'a name never matches: the project has no {what} "{word}"'
                yield Finding(message, next_step=ask(word, near))
        return
    word = next(iter(given))
    near = suggest(word, known)
    otherwise = f"It has {', '.join(sorted(known))}." if known else f"It has no {what} at all."
    message = f'a rule never matches: the project has no {what} "{word}"'
    yield Finding(message, next_step=ask(word, near) if near else otherwise)


def _check_label(
    name: str, given: Collection[str], labels: Mapping[str, Collection[str]]
) -> Iterator[Finding]:
    known = labels.get(name, ())
    if not set(given).isdisjoint(known):
        return
    word = next(iter(given))
    near = suggest(word, known) if known else suggest(name, labels)
    otherwise = f"The label {name} has {', '.join(sorted(known))}." if known else ""
    message = f"a rule never matches: no manifest has the label {name}={word}"
    yield Finding(message, next_step=ask(word if known else name, near) if near else otherwise)

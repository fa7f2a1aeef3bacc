"""Reads `.driftignore`: the rules of a project about findings of drift that are accepted.

The commands that report drift call it, and `validate`. It must not decide what a rule ignores.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, Final

from reconciler.document.pointers import find, split_pointer
from reconciler.manifests.budget import ProjectTooLarge
from reconciler.manifests.folder import DRIFT_IGNORE, Folder
from reconciler.manifests.references import Found
from reconciler.manifests.schema import check_document
from reconciler.manifests.yaml_text import SourceMap, Text
from reconciler.model import ABSENT, Finding, IgnoreRule, Json, Verdict
from reconciler.package_data import read_schema
from reconciler.text.suggestions import ask, suggest

if TYPE_CHECKING:  # only named here
    import yaml

_SCHEMA: Final = "manifest/drift-ignore"
_FLEET: Final = "Fleet"
# The name of an item in an error of the schema.
_NUMBER: Final = re.compile(r"[0-9]+ (?=lacks|must)", re.ASCII)
_WILD: Final = frozenset("*?[")
_ONE: Final = Finding(
    "holds more than one document", next_step="Write all rules as items of one list."
)


def load_drift_ignore(
    folder: Folder, kinds: Collection[str], environments: Collection[str], environment: str
) -> tuple[tuple[IgnoreRule, ...], tuple[Finding, ...]]:
    """Return the rules that hold in an environment, and everything that is wrong with any rule.

    `folder` is the project's; without the file no rule exists. `kinds` are the known kinds of
    resources. Never raises for what users wrote.
    """
    path = folder.root / DRIFT_IGNORE
    if not os.path.lexists(path):
        return (), ()
    reading = _Reading({*kinds, _FLEET}, environments, environment)
    try:
        # A walk refuses a link that leads out of the project; a folder is refused by the read.
        for file in [path] if path.is_dir() else folder.walk(path):
            text = folder.read(file)
            if text is not None:
                reading.read(Text(DRIFT_IGNORE, text, folder.budget, dates=True))
    except ProjectTooLarge as error:
        reading.findings += error.findings()
    found = (*folder.findings, *reading.findings)
    return () if found else tuple(reading.rules), found


class _Reading:
    def __init__(
        self, kinds: Collection[str], environments: Collection[str], environment: str
    ) -> None:
        self._kinds, self._environments, self._environment = kinds, environments, environment
        self.rules: list[IgnoreRule] = []
        self.findings: list[Finding] = []

    def read(self, parsed: Text) -> None:
        for number, node in enumerate(parsed.compose()):
            if number:
                self.findings.append(replace(_ONE, place=parsed.place(node)))
            else:
                self._read_rules(parsed, node)
        self.findings += parsed.findings

    def _read_rules(self, parsed: Text, node: yaml.Node) -> None:
        places, document = SourceMap(parsed.file, node), parsed.build(node)
        # Each missing name is an error that lists all of them.
        found = [] if parsed.findings else list(dict.fromkeys(check_document(_SCHEMA, document)))
        if isinstance(document, list) and not found and not parsed.findings:
            found = [*self._check(document), *_find_twins(document, places)]
        for pointer, finding in found:
            said = _NUMBER.sub("the rule ", finding.message)
            step = finding.next_step or _suggest_verdict(document, pointer) or _explain_lack(said)
            place = places.find_nearest(pointer)
            self.findings.append(replace(finding, message=said, next_step=step, place=place))
        if not found and not parsed.findings:
            self.rules += self._make(document, places)

    def _check(self, rules: list[Json]) -> Iterator[Found]:
        for number, rule in enumerate(rules):
            kind, _, _ = rule["address"].partition("/")
            if _WILD.isdisjoint(kind) and kind not in self._kinds:
                said = _advise(kind, self._kinds, "A rule names a kind of resource, or a pattern.")
                yield f"/{number}/address", Finding(f'no kind is named "{kind}"', next_step=said)
            name = rule.get("environment", "")
            if name and name not in self._environments:
                said = _advise(name, self._environments, "Name an environment of the project.")
                message = f'no environment is named "{name}"'
                yield f"/{number}/environment", Finding(message, next_step=said)
            try:
                date.fromisoformat(rule["until"])
            except ValueError:
                step = "Write the last day of the rule as YEAR-MONTH-DAY, such as 2027-01-31."
                yield f"/{number}/until", Finding("until is not a date", next_step=step)

    def _make(self, rules: list[Json], places: SourceMap) -> Iterator[IgnoreRule]:
        for number, rule in enumerate(rules):
            if rule.get("environment", self._environment) == self._environment:
                yield IgnoreRule(
                    address=rule["address"],
                    pointer=rule.get("pointer", ""),
                    verdict=Verdict(rule["verdict"]) if "verdict" in rule else None,
                    reason=" ".join(rule["reason"].split()),
                    until=rule["until"],
                    owner=" ".join(rule["owner"].split()),
                    place=places[f"/{number}"],
                )


def _advise(word: str, known: Collection[str], otherwise: str) -> str:
    near = suggest(word, sorted(known))
    return ask(word, near) if near else otherwise


def _suggest_verdict(document: Json, pointer: str) -> str:
    """Return a question for the verdict that a wrong one resembles; "" for any other place."""
    word = find(document, split_pointer(pointer)) if pointer.endswith("/verdict") else ABSENT
    near = suggest(word, [one.value for one in Verdict]) if isinstance(word, str) else ""
    return ask(str(word), near) if near else ""


def _explain_lack(message: str) -> str:
    """Return what to add to a rule that lacks a name; "" for any other message."""
    _, lacks, name = message.partition(" lacks ")
    properties = read_schema(_SCHEMA)["items"]["properties"]
    return f"Add {name}: {properties[name]['description']}" if lacks else ""


def _find_twins(rules: list[Json], places: SourceMap) -> Iterator[Found]:
    """Yield each rule that ignores the same as an earlier one: their reasons may contradict."""
    first: dict[tuple[str, ...], int] = {}
    for number, rule in enumerate(rules):
        words = ("address", "pointer", "verdict", "environment")
        before = first.setdefault(tuple(rule.get(word, "") for word in words), number)
        if before != number:
            yield (
                f"/{number}",
                Finding(
                    "two rules ignore the same findings",
                    detail=(f"The first is on {places[f'/{before}']}.",),
                    next_step="Remove one of them.",
                ),
            )

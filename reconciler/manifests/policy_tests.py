"""Reads the cases of `policy test` from a file, with everything that is wrong with them.

A case gives only what matters of a change. The rest of the item of the plan is filled in here, and
the result must match the schema of a plan: a case about a property that no plan has shows nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from reconciler.document.pointers import format_pointer
from reconciler.manifests.folder import Folder
from reconciler.manifests.recognition import TEST_KIND, read_top_level
from reconciler.manifests.references import Found
from reconciler.manifests.schema import check_written, unknown_word
from reconciler.manifests.yaml_text import SourceMap, Text
from reconciler.model import Finding, Json
from reconciler.model.policies import PolicyContext
from reconciler.model.values import dataclass
from reconciler.package_data import read_schema
from reconciler.plans.policy_tests import PolicyCase, PolicyFinding

if TYPE_CHECKING:  # only named here
    import yaml

_SCHEMA: Final = "manifest/policy-test"
_CHANGE: Final[Mapping[str, Json]] = {
    "actions": ["update"],
    "before": None,
    "after": None,
    "before_sensitive": {},
    "after_sensitive": {},
    "replace_paths": [],
}
_ITEM: Final[Mapping[str, Json]] = {
    "id": "",
    "action_reason": "",
    "attributes": [],
    "patch": [],
    "inverse": [],
    "preconditions": [],
    "secrets": {},
    "model": [],
    "not_observable": [],
    "unchanged_attributes": 0,
    "extent": "parts",
    "source": None,
    "because": [],
    "labels": {},
    "owns": [],
    "wave": 0,
    "fleet": None,
    "stage": 0,
}
_MODEL: Final[Mapping[str, Json]] = {
    "path": [],
    "before": "",
    "after": "",
    "digest_before": "",
    "digest_after": "",
    "trust": "",
}
_GATE: Final[Mapping[str, Json]] = {
    "retraining": "Retraining/any",
    "rule": "",
    "refuses": False,
    "reason": "",
    "run": "",
    "source": "",
    "numbers": {},
}
_REASON: Final[Mapping[str, Json]] = {"pointer": "", "note": ""}


@dataclass(frozen=True)
class PolicyTest:
    """The cases of one document. `policies` is the folder that it names, or empty."""

    name: str
    file: str
    policies: str
    cases: tuple[PolicyCase, ...]


def load_policy_tests(file: Path) -> tuple[tuple[PolicyTest, ...], tuple[Finding, ...]]:
    """Return the tests in a file, and everything that is wrong with them.

    Paths in the result are as `file` is: relative to the working directory, or absolute.
    """
    if not file.is_file():
        why = "is not a file" if file.exists() else "does not exist"
        return (), (Finding(f"the file of cases {why}", subject=str(file)),)
    folder = Folder(file.parent)
    loading = _Loading(file)
    text = folder.read(file)
    parsed = Text(str(file), text or "", folder.budget)
    for node in parsed.compose():
        loading.load_document(parsed, node)
    found = [*folder.findings, *parsed.findings, *loading.findings]
    if not (found or loading.tests):
        step = f"Begin it with: apiVersion: reconciler/v1, kind: {TEST_KIND}"
        found = [Finding("holds no cases", subject=str(file), next_step=step)]
    return tuple(loading.tests), tuple(found)


class _Loading:
    def __init__(self, file: Path) -> None:
        self._file = file
        self.tests: list[PolicyTest] = []
        self.findings: list[Finding] = []

    def load_document(self, parsed: Text, node: yaml.Node) -> None:
        places = SourceMap(parsed.file, node)
        kind = read_top_level(node, "kind")
        if kind == "Policy":
            return  # a policy and its cases may be in one file
        if kind != TEST_KIND:
            self._add("/kind", unknown_word("kind of test", kind or "", (TEST_KIND,)), places)
            return
        before = len(parsed.findings)
        document = parsed.build(node)
        found = check_written(_SCHEMA, document, places)
        cases = document["spec"]["cases"] if not found else ()
        filled = [[_fill_item(one) for one in case.get("changes", ())] for case in cases]
        for number, items in enumerate(filled):
            found += _check_items(items, ("spec", "cases", number, "changes"))
            found += _check_time(cases[number], f"/spec/cases/{number}/context/now")
        for pointer, finding in found:
            self._add(pointer, finding, places)
        if not found and len(parsed.findings) == before:
            self._add_test(parsed.file, document, filled, places)

    def _add(self, pointer: str, finding: Finding, places: SourceMap) -> None:
        at = places.find_nearest(pointer)
        self.findings.append(replace(finding, subject=TEST_KIND, place=at))

    def _add_test(
        self, file: str, document: Json, filled: list[list[Json]], places: SourceMap
    ) -> None:
        spec, around = document["spec"], self._file.parent
        cases = (
            _make_case(case, items, around, places, f"/spec/cases/{number}")
            for number, (case, items) in enumerate(zip(spec["cases"], filled, strict=True))
        )
        folder = str(around / spec["policies"]) if "policies" in spec else ""
        self.tests.append(PolicyTest(document["metadata"]["name"], file, folder, tuple(cases)))


def _fill_item(given: Json) -> Json:
    """Return an item of `resource_changes` with what a case leaves out."""
    kind, _, name = given["address"].partition("/")
    item = {**_ITEM, "type": kind, "name": name, **given}
    item["change"] = _fill(_CHANGE, item.get("change", {}))
    item["because"] = _fill_all(_REASON, item["because"])
    item["model"] = _fill_all(_MODEL, item["model"])
    for model in item["model"] if isinstance(item["model"], list) else ():
        if isinstance(model, dict) and "gates" in model:
            model["gates"] = _fill_all(_GATE, model["gates"])
    return item


def _fill(usual: Mapping[str, Json], given: Json) -> Json:
    return {**usual, **given} if isinstance(given, dict) else given


def _fill_all(usual: Mapping[str, Json], given: Json) -> Json:
    return [_fill(usual, one) for one in given] if isinstance(given, list) else given


def _check_items(items: list[Json], path: tuple[str | int, ...]) -> Iterator[Found]:
    """Yield where an item is not one that a plan can have."""
    import jsonschema_rs  # noqa: PLC0415 - only this command needs it

    schema = {"$defs": read_schema("output/plan")["$defs"], "$ref": "#/$defs/step"}
    validator: Any = jsonschema_rs.validator_for(schema)
    for number, item in enumerate(items):
        for error in validator.iter_errors(item):
            at = (*path, number, *error.instance_path)
            unknown = getattr(error.kind, "unexpected", ())
            for name in unknown:
                known = sorted(_find_known(schema, error))
                finding = unknown_word("property of a plan", name, known)
                yield format_pointer((*at, name)), finding
            lacked = getattr(error.kind, "property", "")
            if not unknown:
                said = f"lacks {lacked}" if lacked else "is not what a plan has here"
                yield format_pointer(at), Finding(said, next_step=_SEE)


_SEE: Final = "See a plan: reconciler plan --format json"


def _find_known(schema: Json, error: Any) -> list[str]:
    """Return the properties that the schema allows where an error is."""
    node: Any = schema
    for word in list(error.schema_path)[:-1]:
        node = node[word]
        while isinstance(node, dict) and "$ref" in node:
            node = schema["$defs"][node["$ref"].rpartition("/")[2]]
    return list(node.get("properties", ())) if isinstance(node, dict) else []


def _check_time(case: Json, at: str) -> Iterator[Found]:
    now = case.get("context", {}).get("now", "")
    try:
        _read_time(now)
    except ValueError:
        yield at, Finding("is not a time", next_step='Write it as "2026-11-30T12:00:00Z".')


def _read_time(text: str) -> datetime:
    return datetime.fromisoformat(text or "1970-01-01T00:00:00Z")


def _make_case(
    case: Json, items: list[Json], around: Path, places: SourceMap, at: str
) -> PolicyCase:
    given = case.get("context", {})
    context = PolicyContext(
        environment=given.get("environment", ""),
        now=_read_time(given.get("now", "")),
        labels={item["address"]: item["labels"] for item in items if _knows_labels(item, case)},
        approvers=frozenset(given.get("approvers", ())),
        authors=frozenset(map(str.casefold, given.get("authors", ()))),
        allowed=frozenset(given.get("allow", ())),
    )
    return PolicyCase(
        name=case["name"],
        place=places.find_nearest(f"{at}/name"),
        changes=items,
        plan=str(around / case["plan"]) if "plan" in case else "",
        context=context,
        has_time="now" in given,
        expected=[
            PolicyFinding(
                one.get("policy", ""),
                one["rule"],
                one.get("resource", ""),
                one.get("result", "refused"),
            )
            for one in case["expect"]
        ],
    )


def _knows_labels(item: Json, case: Json) -> bool:
    """Whether the labels are known: of what is deleted, only those that the case gives."""
    given = any("labels" in one for one in case["changes"] if one["address"] == item["address"])
    return given or item["change"]["actions"] != ["delete"]

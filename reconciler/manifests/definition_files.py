"""Reads definition files, JSON or YAML: each file once for all the manifests that name it.

The values in a JSON file have source locations too: the file is also read as YAML, when one of
them is needed.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import field, replace
from pathlib import Path as File
from typing import Final

from reconciler.manifests.budget import Budget, limit_errors
from reconciler.manifests.definition import check_definition, clean_definition
from reconciler.manifests.folder import MOST_BYTES, Folder
from reconciler.manifests.yaml_text import (
    DEEPEST,
    MOST_VALUES,
    NOWHERE,
    SHORTEST_SECRET,
    SourceMap,
    Text,
)
from reconciler.model import CompressedField, Finding, Json, Path, SourceLocation, compress
from reconciler.model.values import dataclass
from reconciler.secrets.suspicion import is_suspicious
from reconciler.text.json_text import BadJson, count_names, read_json
from reconciler.text.patterns import compile_lazily

# What YAML refuses, or takes for the end of a line.
_NOT_YAML: Final = compile_lazily("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
_PRIVATE: Final = 0xF0000
_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_LONGEST_INTEGER: Final = 10**39
# A value is sent whole, and a managed endpoint takes requests of 1.5 MB (published limit).
_MOST_BYTES_OF_VALUE: Final = 1024 * 1024
_SMALL: Final = "Name a file with JSON in UTF-8, of at most 1 MB."


@dataclass
class DefinitionFile:
    """The document in a definition file, with the source locations in it.

    With `findings` it cannot be used. `faults` are what it may not declare, by path. `count` is the
    number of its names and values. Manifests share `document`: do not change it. `named_at` is the
    place that named it first.
    """

    places: SourceMap
    findings: list[Finding]
    document: CompressedField = CompressedField()
    count: int = 0
    faults: list[tuple[Path, Finding]] = field(default_factory=list)
    named_at: SourceLocation | None = None


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What a file is in words, the `schema` of its document, and what is accepted."""

    what: str
    schema: str = ""
    only_json: bool = False
    most_bytes: int = MOST_BYTES


class DefinitionFiles:
    """The definition files that the manifests of one project name, and the files of single values.

    `names` are their names from the project's folder.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._files: dict[tuple[str, _Wanted], DefinitionFile] = {}
        self.names: set[str] = set()

    def read(
        self, manifest: File, name: str, place: SourceLocation, schema: str = ""
    ) -> DefinitionFile:
        """Returns the file that a manifest names at a place; raises ProjectTooLarge.

        With the name of a service's `schema` the document is checked, and is in its form. Findings
        about the file are added to the folder for each manifest. The budget is charged for each
        manifest, because later code copies the document.
        """
        return self._find(manifest, name, place, _Wanted("the definition file", schema))

    def read_value(
        self, manifest: File, name: str, place: SourceLocation, what: str
    ) -> DefinitionFile:
        """Returns a JSON file that a manifest names in the place of a value; raises as `read`.

        `what` is the file in words.
        """
        wanted = _Wanted(what, only_json=True, most_bytes=_MOST_BYTES_OF_VALUE)
        return self._find(manifest, name, place, wanted)

    def _find(
        self, manifest: File, name: str, place: SourceLocation, wanted: _Wanted
    ) -> DefinitionFile:
        path = manifest.parent / name
        known = self._folder.name(path)
        self.names.add(known)
        file = self._files.get((known, wanted))
        if file is None:
            file = self._files[known, wanted] = self._read(path, name, place, wanted)
            file.named_at = place
            schema = wanted.schema
            if schema and isinstance(file.document, dict):
                file.faults = list(limit_errors(check_definition(schema, file.document), ()))
                file.document = clean_definition(schema, file.document)
            if self._folder.budget.is_large:
                file.document = compress(file.document)
        else:
            self._folder.budget.charge("names and values", file.count, place)
        for finding in file.findings:
            named = finding.place == file.named_at
            self._folder.findings.append(replace(finding, place=place) if named else finding)
        return file

    def _read(
        self, path: File, name: str, place: SourceLocation, wanted: _Wanted
    ) -> DefinitionFile:
        folder = self._folder
        fault = folder.find_fault(path, wanted.what, ", next to the manifest")
        if fault is not None:
            return _refuse(name, replace(fault, place=place))
        if not folder.has(path):
            return _refuse(name, folder.miss(path, name, place))
        # A walk may have read it too, because a definition in YAML may be among the manifests.
        budget = None if folder.name(path) in folder.files else folder.budget
        before = len(folder.findings)
        text = folder.read(path, place, wanted.most_bytes)
        refused = folder.findings[before:]
        del folder.findings[before:]
        if text is None and wanted.only_json:
            return _refuse(name, *(replace(one, place=place, next_step=_SMALL) for one in refused))
        if text is None:
            return _refuse(name, *refused)
        if name.endswith(".json") or wanted.only_json:
            return parse_json(folder.name(path), text, _read_json, budget)
        return _parse_yaml(folder.name(path), text, budget)


def _refuse(file: str, *findings: Finding) -> DefinitionFile:
    return DefinitionFile(SourceMap(file, NOWHERE), list(findings), None)


def _parse_yaml(file: str, text: str, budget: Budget | None) -> DefinitionFile:
    parsed = Text(file, text, budget)
    nodes = list(parsed.compose())
    if len(nodes) != 1 and not parsed.findings:
        place = SourceLocation(file, 1, 1)
        parsed.findings.append(Finding("must contain exactly one document", place=place))
    if not nodes:
        return _refuse(file, *parsed.findings)
    document = parsed.build(nodes[0])
    return DefinitionFile(parsed.find_places(nodes[0]), parsed.findings, document, parsed.count)


def parse_json(
    file: str,
    text: str,
    read: Callable[[str], Json] = json.loads,
    budget: Budget | None = None,
) -> DefinitionFile:
    """Returns a JSON text's value, with its findings; raises ProjectTooLarge.

    The JSON reader decides the value, because YAML lacks some escapes of JSON. The YAML reader
    gives the source locations, and the findings about a document that may have some.
    """
    # First, because it refuses a text with too many values before any of them is made.
    try:
        document = read(text)
    except (ValueError, RecursionError) as error:
        place = SourceLocation(file, getattr(error, "lineno", 1), getattr(error, "colno", 1))
        if isinstance(error, BadJson):
            return _refuse(file, Finding(f"cannot be sent: {error}", place=place))
        step = f"Correct it here: {error.msg}." if isinstance(error, json.JSONDecodeError) else ""
        return _refuse(file, Finding("is not JSON", subject=file, place=place, next_step=step))
    count = _count_faultless(document, count_names(text))
    if count is not None:
        if budget is not None:
            budget.charge("names and values", count, SourceLocation(file, 1, 1))
        return DefinitionFile(SourceMap(file, None, _to_yaml(text)), [], document, count)
    parsed = Text(file, _to_yaml(text), budget)
    nodes = list(parsed.compose())
    parsed.findings.clear()
    if not nodes:
        return DefinitionFile(SourceMap(file, NOWHERE), [], document, parsed.count)
    parsed.build(nodes[0])
    return DefinitionFile(parsed.find_places(nodes[0]), parsed.findings, document, parsed.count)


def _count_faultless(document: Json, names: int) -> int | None:
    """Returns the number of names and values, if the YAML reader has no finding about any of them.

    Otherwise None, and when `names`, the number of names in the text, says that one is there twice.
    """
    found = values = 0
    layer = [document]
    for _ in range(DEEPEST + 1):
        below: list[Json] = []
        for value in layer:
            if isinstance(value, dict):
                found += len(value)
                if any(len(name) > SHORTEST_SECRET and is_suspicious(name) for name in value):
                    return None
                below += value.values()
            elif isinstance(value, list):
                below += value
            elif not _is_faultless(value):
                return None
        values += len(layer)
        layer = below
    return names + values if found == names and not layer else None


def _is_faultless(value: Json) -> bool:
    """Whether the YAML reader has no finding about a scalar."""
    if isinstance(value, str):
        return len(value) <= SHORTEST_SECRET or not is_suspicious(value)
    if isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(value, int) or abs(value) < _LONGEST_INTEGER


def _to_yaml(text: str) -> str:
    """JSON that YAML can read too, with every offset unchanged: no tabs, no lone surrogates.

    A character that YAML cannot have in a text becomes one for private use.
    """
    spelled = _NOT_YAML.sub(lambda found: chr(_PRIVATE + ord(found[0])), text)
    return _SURROGATE.sub(r"\\u0020", spelled.replace("\t", " "))


def _read_json(text: str) -> Json:
    """The value of a text; raises ValueError if no service could receive it."""
    document = read_json(text, deepest=DEEPEST, most_values=MOST_VALUES)
    if _SURROGATE.search(text):
        try:
            json.dumps(document, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise BadJson("it contains half of a surrogate pair") from None
    return document

"""Reads the items of a fleet, from a CSV file or a list, with their source locations.

`expansion` calls it. It keeps cells exactly as they are in the file.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from reconciler.manifests.budget import Budget
from reconciler.manifests.fleet.findings import format_places
from reconciler.manifests.folder import Folder
from reconciler.manifests.yaml_text import SourceMap
from reconciler.model import Finding, Json, SourceLocation
from reconciler.model.values import dataclass
from reconciler.secrets.suspicion import REFER, SUSPICIOUS, format_name, is_suspicious, is_word
from reconciler.text.counting import agree, count

_MOST_ITEMS: Final = 100_000
_MOST_COLUMNS: Final = 1_000
_MOST_CELLS: Final = 2_000_000
_CSV: Final = "/spec/items/csv"
_LIST: Final = "/spec/items/list"


@dataclass(frozen=True, slots=True)
class Item:
    """The values of one member. `number` counts from 1; `place` is its row, or its list entry."""

    number: int
    values: Mapping[str, Json]
    place: SourceLocation


@dataclass(frozen=True, slots=True)
class Items:
    """All items of a fleet, and the `names` of the values in any of them.

    Items of a CSV file hold a text under each name; `header` is the location of these names.
    """

    all: Sequence[Item] = ()
    names: tuple[str, ...] = ()
    header: SourceLocation | None = None
    findings: tuple[Finding, ...] = ()


def read_items(folder: Folder, manifest: Path, given: Json, places: SourceMap) -> Items:
    """Returns the items that a checked `spec.items` names, with findings for invalid ones."""
    if "list" in given:
        found = _read_list(given["list"], places)
        place = places[_LIST]
    else:
        found = _read_csv(folder, manifest, given["csv"], places[_CSV])
        place = found.header or places[_CSV]
    if found.findings:
        return found
    if not found.all:
        return replace(found, findings=(replace(_EMPTY, place=place),))
    if len(found.all) > _MOST_ITEMS:
        return replace(found, all=(), findings=(_make_too_many(len(found.all), place),))
    return found


def _make_too_many(number: int, place: SourceLocation) -> Finding:
    message = f"a fleet has at most {_MOST_ITEMS:,} items, and this one has {number:,}"
    return Finding(message, place=place, next_step=_SPLIT)


def _read_list(entries: Sequence[Json], places: SourceMap) -> Items:
    numbered = enumerate(entries)
    items = [Item(index + 1, values, places[f"{_LIST}/{index}"]) for index, values in numbered]
    return Items(items, tuple(dict.fromkeys(name for item in items for name in item.values)))


def _read_csv(folder: Folder, manifest: Path, name: str, place: SourceLocation) -> Items:
    path = manifest.parent / name
    fault = folder.find_fault(path, "the file of items", ", next to the manifest")
    if fault is not None:
        return Items(findings=(replace(fault, place=place),))
    if not folder.has(path):
        return Items(findings=(folder.miss(path, name, place),))
    before = len(folder.findings)
    text = folder.read(path, place)
    if text is None:
        refused = tuple(folder.findings[before:])
        del folder.findings[before:]
        return Items(findings=refused)
    return _parse(folder.name(path), text, folder.budget)


def _parse(file: str, text: str, budget: Budget) -> Items:
    findings: list[Finding] = []
    rows = list(_read_rows(file, text, findings, budget))
    if not rows and not findings:
        nothing = Finding("is empty", file, SourceLocation(file, 1, 1), next_step=_NAME_COLUMNS)
        findings.append(nothing)
    if not findings:
        findings += _check_header(*rows[0])
    if findings:
        return Items(findings=tuple(findings))
    (header, columns), *others = rows
    items = [
        Item(number, dict(zip(columns, cells, strict=False)), place)
        for number, (place, cells) in enumerate(others, 1)
    ]
    findings += [*_check_lengths(len(columns), others), *_check_secrets(columns, others)]
    return Items(items, tuple(columns), header, tuple(findings))


_Row = tuple[SourceLocation, list[str]]


def _read_rows(file: str, text: str, findings: list[Finding], budget: Budget) -> Iterator[_Row]:
    """Each row that is not empty, with its first line; raises ProjectTooLarge.

    Rows after the largest number of items are counted and not kept.
    """
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    line = count = kept = 0
    try:
        for cells in reader:
            place = SourceLocation(file, line + 1, 1)
            line = reader.line_num
            if not any(cells):
                continue
            count += 1
            if count > _MOST_ITEMS + 1:
                continue
            kept += len(cells)
            if kept > _MOST_CELLS:
                message = f"has more than {_MOST_CELLS:,} cells"
                findings.append(Finding(message, file, place, next_step=_SPLIT))
                return
            budget.charge("names and values", len(cells), place)
            yield place, cells
        if count > _MOST_ITEMS + 1:
            findings.append(_make_too_many(count - 1, SourceLocation(file, 1, 1)))
    except csv.Error as error:
        place = SourceLocation(file, line + 1, 1)
        findings.append(Finding(f"is not CSV: {error}", file, place, next_step=_QUOTING))


def _check_header(place: SourceLocation, columns: Sequence[str]) -> Iterator[Finding]:
    for message, next_step in _check_columns(columns):
        yield Finding(message, place.file, place, next_step=next_step)


def _check_columns(columns: Sequence[str]) -> Iterator[tuple[str, str]]:
    """What is wrong with the names of columns, and the next step."""
    separator = next((one for one in _SEPARATORS if one in columns[0]), "")
    if len(columns) == 1 and separator:
        yield f"separates cells with {_SEPARATORS[separator]}", "Save it with commas as separators."
        return
    if len(columns) > _MOST_COLUMNS:
        yield f"has more than {_MOST_COLUMNS:,} columns", "Remove unused columns."
        return
    if any(map(is_suspicious, columns)):
        yield f"the first row {SUSPICIOUS}", REFER
        return
    for number, name in enumerate(columns, 1):
        if not name.strip():
            yield f"column {number} has no name", _NAME_COLUMNS
        elif name != name.strip():
            said = format_name(name.strip(), str(number))
            yield f"there are blanks around the name of column {said}", _NO_BLANKS
    for name, times in Counter(columns).items():
        if times > 1 and name.strip():
            said = format_name(name, "the same")
            many = f"{count(times, 'column')} {agree(times, 'is', 'are')}"
            yield f"{many} called {said}", "Rename all but one."


def _check_lengths(columns: int, rows: Sequence[_Row]) -> Iterator[Finding]:
    wrong: dict[int, list[SourceLocation]] = {}
    for place, cells in rows:
        if len(cells) != columns:
            wrong.setdefault(len(cells), []).append(place)
    for number, places in wrong.items():
        many = f"{count(len(places), 'row')} {agree(len(places), 'has', 'have')}"
        there = f"there {agree(columns, 'is', 'are')} {count(columns, 'column')}"
        yield Finding(
            f"{many} {count(number, 'cell')}, and {there}",
            places[0].file,
            places[0],
            detail=() if len(places) == 1 else (f"They are {format_places(places)}.",),
            next_step="Put quotes around a cell that holds a comma."
            if number > columns
            else "Write a comma for each cell that is empty.",
        )


def _check_secrets(columns: Sequence[str], rows: Sequence[_Row]) -> Iterator[Finding]:
    found: dict[int, list[SourceLocation]] = {}
    for place, cells in rows:
        for index, cell in enumerate(cells):
            if len(cell) > 20 and is_suspicious(cell):
                found.setdefault(index, []).append(place)
    for index, places in found.items():
        name = format_name(columns[index] if index < len(columns) else "", str(index + 1))
        yield _in_column(name, SUSPICIOUS, REFER, places)


def check_formulas(items: Items, used: Iterable[str]) -> Iterator[Finding]:
    """Reports columns in which a spreadsheet saved formulas and not their results."""
    for name in used if items.header else ():
        places = [one.place for one in items.all if one.values.get(name, "")[:1] == "="]
        if places:
            step = f'{_NO_FORMULA}: "=${{{name if is_word(name) else "NAME"}}}".'
            said = format_name(name, str(items.names.index(name) + 1))
            yield _in_column(said, "contains a spreadsheet formula", step, places)


def _in_column(
    name: str, message: str, next_step: str, places: Sequence[SourceLocation]
) -> Finding:
    detail = () if len(places) == 1 else (f"It is on {format_places(places)}.",)
    return Finding(f"column {name} {message}", places[0].file, places[0], detail, next_step)


_NO_FORMULA: Final = (
    "Save values and not formulas. If a text must begin with =, put the = in the template"
)
_EMPTY: Final = Finding(
    "the fleet has no items",
    next_step="Add an item. If the fleet must be empty: --allow empty",
    guard="empty",
)
_SPLIT: Final = "Split it into several fleets."
_NAME_COLUMNS: Final = "The first row names the columns."
_NO_BLANKS: Final = "Remove them in every row: cells are used without trimming."
_SEPARATORS: Final[Mapping[str, str]] = {";": "semicolons", "\t": "tabs"}
_QUOTING: Final = (
    'Put quotes around a cell with a comma or a line break, and double each quote in it: "".'
)

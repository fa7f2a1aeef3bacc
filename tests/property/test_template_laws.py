"""The laws of fleets: what a template makes depends on its variables alone."""

import copy
import csv
import io
import json
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.document.pointers import set_at
from reconciler.errors import ManifestInvalid
from reconciler.manifests.fleet.overrides import lay_over, make_overrides
from reconciler.manifests.fleet.template import Convert, compile_template
from reconciler.manifests.variables import Variable, escape, fits, split_text
from reconciler.model import Finding
from reconciler.model import Path as Path_
from tests.fleets import FLEET, read
from tests.laws import examples

pytestmark = pytest.mark.property
Json = Any
NAMES = st.sampled_from(["code", "a b", "x", "Größe", "a.b"])
# Texts in which the notation's own characters are common.
TEXTS = st.text(st.sampled_from("${}ab =\n✓"), max_size=12)
SCALARS = st.none() | st.booleans() | st.integers(-99, 99) | st.floats(-9, 9) | TEXTS
VALUES = st.recursive(
    SCALARS,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(TEXTS, below, max_size=3),
    max_leaves=8,
)
PIECES = st.lists(
    # A $ at the end would make something else of what follows.
    TEXTS.map(lambda text: escape(text.rstrip("$"))) | NAMES.map(lambda name: f"${{{name}}}"),
    max_size=5,
)


class TemplateContext:
    """Around a template that may use any name, in a manifest that takes anything."""

    def locate(self, finding: Finding, path: Path_) -> Finding:
        return finding

    locate_first = locate

    def check_name(self, name: str, path: Path_) -> Finding | None:
        return None

    def converter(self, path: Path_, *, whole: bool) -> Convert | None:
        return None


def fill(template: Json, values: dict[str, Json]) -> tuple[Json, list[Finding]]:
    compiled = compile_template(template, TemplateContext())
    problems: list[Finding] = []
    return compiled.make(values, problems), [*compiled.findings, *problems]


@given(VALUES)
def test_what_is_escaped_comes_out_as_it_was(value: Json) -> None:
    filled, found = fill(escape(value), {})
    assert (filled, found) == (value, [])
    assert json.dumps(filled) == json.dumps(value)


@given(VALUES, NAMES)
def test_a_variable_alone_becomes_the_very_value(value: Json, name: str) -> None:
    filled, found = fill({"a": [f"${{{name}}}"]}, {name: value})
    assert found == []
    assert filled["a"][0] is value


@given(TEXTS, TEXTS, NAMES, st.text(min_size=1, max_size=9))
def test_within_a_text_a_value_stands_between_what_is_around_it(
    before: str, after: str, name: str, value: str
) -> None:
    before = before.rstrip("$")  # which would escape the variable
    template = f"{escape(before)}${{{name}}}{escape(after)}"
    filled, found = fill(template, {name: value})
    assert (filled, found) == (f"{before}{value}{after}", [])
    assert fits(template, filled)


@given(PIECES, st.dictionaries(NAMES, st.text(min_size=1, max_size=5)))
def test_pieces_of_a_text_are_all_of_it(pieces: list[str], values: dict[str, str]) -> None:
    text = "".join(pieces)
    split = split_text(text)
    assert "" not in split
    assert not any(isinstance(one, str) and isinstance(two, str) for one, two in pairwise(split))
    written = [escape(one) if isinstance(one, str) else f"${{{one.name}}}" for one in split]
    assert split_text("".join(written)) == split
    filled = "".join(one if isinstance(one, str) else values.get(one.name, "") for one in split)
    assert any(isinstance(one, Variable) for one in split) <= fits(text, filled)


@given(VALUES, VALUES)
def test_filling_changes_no_template_and_no_other_member(template: Json, value: Json) -> None:
    """What one item gives is never seen by the next."""
    template = {"same": escape(template), "own": ["${x}"]}
    kept = copy.deepcopy(template)
    compiled = compile_template(template, TemplateContext())
    first = compiled.make({"x": value}, [])
    second = compiled.make({"x": "other"}, [])
    assert template == kept
    assert second["own"] == ["other"]
    assert first["own"] == [value]
    assert first["same"] == second["same"]


NESTED = st.recursive(
    st.booleans() | st.integers(-9, 9) | st.sampled_from(["", "a", "${x}"]),
    lambda below: st.lists(below, max_size=2) | st.dictionaries(st.sampled_from("abcd"), below),
    max_leaves=8,
)
MAPPINGS = st.dictionaries(st.sampled_from("abcd"), NESTED)


@given(MAPPINGS, MAPPINGS)
def test_overrides_lead_from_one_value_to_the_other(before: Json, after: Json) -> None:
    override: dict[str, Json] = {}
    for path, value in make_overrides(before, after):
        set_at(override, path, value)
    kept = copy.deepcopy(before)
    assert json.dumps(lay_over(before, override), sort_keys=True) == json.dumps(
        after, sort_keys=True
    )
    assert before == kept
    assert lay_over(lay_over(before, override), override) == after


@given(MAPPINGS)
def test_nothing_laid_over_leaves_all(value: Json) -> None:
    assert lay_over(value, {}) == value
    assert list(make_overrides(value, copy.deepcopy(value))) == []


@given(MAPPINGS, st.sampled_from("abcd"))
def test_null_is_no_override(before: Json, name: str) -> None:
    after = {**before, name: {"deep": None}}
    with pytest.raises(ManifestInvalid, match="null"):
        list(make_overrides(before, after))


CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)


@examples(40)
@given(st.lists(CELLS, min_size=1, max_size=6), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_a_table_that_was_written_is_read_as_it_was(
    cells: list[str], line_end: str, bom: bool
) -> None:
    """Any text stands in a cell, but for a formula, and what looks like a secret is none here."""
    cells = [cell.lstrip("=") for cell in cells]
    written = io.StringIO()
    writer = csv.writer(written, lineterminator=line_end, quoting=csv.QUOTE_ALL)
    writer.writerow(["code", "calls", "team"])
    writer.writerows([str(number), "5", cell] for number, cell in enumerate(cells))
    text = ("\ufeff" if bom else "") + written.getvalue()
    fleet = FLEET.replace("Location ${code} of ${team}", "'${team}'")
    fleet = fleet.replace(', labels: {team: "${team}"}', "")
    with tempfile.TemporaryDirectory() as folder:
        loaded = read(Path(folder), fleet, text.encode())
    assert loaded.findings == ()
    read_back = [one.spec["definition"]["properties"]["description"] for one in loaded.manifests]
    assert read_back == cells


WORDS = st.sampled_from(
    [
        "file",
        "from",
        "address",
        "env",
        "secrets",
        "trainedModels",
        "definition",
        "properties",
        "tags",
        "keys",
        "uri",
        "${code}",
        "x${code}",
        "${x",
        "$${a}",
        "/properties/keys/${code}",
    ]
)
STRANGE = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | WORDS,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(WORDS, below, max_size=4),
    max_leaves=16,
)


@examples(60)
@given(
    st.dictionaries(WORDS, STRANGE, max_size=4),
    st.dictionaries(st.sampled_from(["locx", "locy", "other"]), STRANGE),
    st.lists(st.dictionaries(st.sampled_from(["code", "x", "a"]), STRANGE), max_size=3),
    st.booleans(),
)
def test_whatever_people_write_is_made_or_explained(
    spec: Json, overrides: Json, items: Json, listed: bool
) -> None:
    """Nothing is raised, and every item becomes a member or is told of."""
    document = {
        "apiVersion": "reconciler/v1",
        "kind": "Fleet",
        "metadata": {"name": "bikes"},
        "spec": {
            "items": {"list": items} if listed else {"csv": "bikes.csv"},
            "template": {
                "kind": "WebService",
                "metadata": {"name": "loc${code}"},
                "spec": spec,
            },
            "overrides": overrides,
        },
    }
    with tempfile.TemporaryDirectory() as folder:
        loaded = read(Path(folder), json.dumps(document), "code,x\nx,1\ny,true\n")
    wanted = len(items) if listed else 2
    assert loaded.findings or len(loaded.manifests) == wanted
    assert all(one.place and one.message for one in loaded.findings)

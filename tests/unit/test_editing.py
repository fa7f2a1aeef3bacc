"""Edits in place: what changes is what was asked for, and every other character stays.

A case is a text, edits (`>>> pointer = value in JSON`, `>>> pointer gone` or
`>>> pointer named NAME`), and the text after.
"""

import json
import re
from pathlib import Path

import pytest

from reconciler.errors import ManifestInvalid
from reconciler.manifests.editing import Edit, edit_json, edit_yaml, find_document
from reconciler.manifests.editing import edits as edits_module
from reconciler.model import ABSENT, Address, Json
from tests.tree import find_tracked
from tests.unit.editing_cases import JSON, YAML

ROOT = Path(__file__).parents[2] / "manifests"
LONG = "x" * 90


def parse(case: str) -> tuple[str, list[Edit], str]:
    before: list[str] = []
    after: list[str] = []
    edits: list[Edit] = []
    for line in case.splitlines(keepends=True):
        if line.startswith(">>> "):
            edits.append(parse_edit(line[4:].rstrip("\n")))
        else:
            visible = len(line) - len(line.lstrip("~"))
            (after if edits else before).append(" " * visible + line[visible:])
    return "".join(before), edits, "".join(after)


def parse_edit(line: str) -> Edit:
    if line.endswith(" gone"):
        return Edit(line.removesuffix(" gone"), ABSENT)
    if " named " in line:
        pointer, _, name = line.partition(" named ")
        return Edit(pointer, name=name)
    pointer, _, value = line.partition(" = ")
    return Edit(pointer, read(value))


def read(value: str) -> Json:
    return json.loads(value.replace("LONG", LONG))


def cases(text: str) -> list[object]:
    """`=== what it shows`, and the case below it."""
    _, *parts = re.split(r"^=== (.*)\n", text, flags=re.MULTILINE)
    return [
        pytest.param(case.replace("LONG", LONG) if ">>>" not in case else case, id=name)
        for name, case in zip(parts[::2], parts[1::2], strict=True)
    ]


def refuse(text: str, *edits: Edit, document: int = 0) -> list[str]:
    with pytest.raises(ManifestInvalid) as refused:
        edit_yaml("census.yaml", text, document, edits)
    return [f"{one.place}: {one.subject}: {one.message}" for one in refused.value.findings()]


@pytest.mark.parametrize("case", cases(YAML))
def test_yaml(case: str) -> None:
    before, edits, after = parse(case)
    assert edit_yaml("census.yaml", before, 0, edits) == after.replace("LONG", LONG)


@pytest.mark.parametrize("case", cases(YAML))
@pytest.mark.parametrize("end", ["\r\n", "\r"])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
def test_yaml_with_other_line_ends_and_a_bom(case: str, end: str, bom: str) -> None:
    before, edits, after = parse(case)
    edited = edit_yaml("census.yaml", bom + before.replace("\n", end), 0, edits)
    assert edited == bom + after.replace("LONG", LONG).replace("\n", end)


@pytest.mark.parametrize("case", cases(YAML))
def test_yaml_between_other_documents(case: str) -> None:
    before, edits, after = parse(case)
    first, last = "# first\na: &x [1]\n---\n", "...\n# last\n---\n{b: &x 2, c: *x}\n"
    edited = edit_yaml("census.yaml", first + before + last, 1, edits)
    assert edited == first + after.replace("LONG", LONG) + last


@pytest.mark.parametrize("case", cases(JSON))
def test_json(case: str) -> None:
    before, edits, after = parse(case)
    assert edit_json("d.json", before, edits) == after.replace("LONG", LONG)


@pytest.mark.parametrize("case", cases(JSON))
def test_json_with_other_line_ends_tabs_and_a_bom(case: str) -> None:
    before, edits, after = parse(case)

    def respell(text: str) -> str:
        text = re.sub(
            "^( +)", lambda found: "\t" * (len(found.group()) // 2), text, flags=re.MULTILINE
        )
        return "\ufeff" + text.replace("\n", "\r\n")

    assert edit_json("d.json", respell(before), edits) == respell(after.replace("LONG", LONG))


@pytest.mark.parametrize(
    ("before", "edit", "after"),
    [
        ("a: x", Edit("/a", "y"), "a: y"),
        ("a: x # why", Edit("/b", "y"), "a: x # why\nb: y"),
        ("a: x\nb: y", Edit("/b", ABSENT), "a: x\n"),
        ("a:", Edit("/a/b", "y"), "a: {b: y}"),
        ("a:\n  b: x", Edit("/a", 1), "a: 1\n"),
        ("a: |\n  x", Edit("/b", 1), "b: 1\na: |\n  x"),
        ("a: |-\n  x", Edit("/b", 1), "a: |-\n  x\nb: 1"),
        ("a: |-\n  x", Edit("/a", "y"), "a: |-\n  y\n"),
        ("- a\n- - b", Edit("/1/-", "c"), "- a\n- - b\n  - c"),
        ("{a: x}", Edit("/b", "y"), "{a: x, b: y}"),
    ],
)
def test_a_last_line_without_an_end(before: str, edit: Edit, after: str) -> None:
    assert edit_yaml("census.yaml", before, 0, [edit]) == after


@pytest.mark.parametrize(
    ("before", "edit", "after"),
    [
        ("a:\tx\t# why\n", Edit("/a", "y"), "a:\ty\t# why\n"),
        ("a: {b: x }\n", Edit("/a/b", "-"), "a: {b: '-' }\n"),
        ("a: {\tx: 1,\ty: 2\t}\n", Edit("/a/z", 3), "a: {\tx: 1,\ty: 2,\tz: 3\t}\n"),
        (
            "a: \U0001f600 # \U0001f600\nb: é\n",
            Edit("/b", "\U0001f601"),
            "a: \U0001f600 # \U0001f600\nb: \U0001f601\n",
        ),
        ("a: x\u2028b: y\u2028c: z\n", Edit("/b", ABSENT), "a: x\u2028c: z\n"),
        ("# c\u2028a: x\x85b: y\n", Edit("/a", "z"), "# c\u2028a: z\x85b: y\n"),
        ("a: '\u2028'\nb: y\n", Edit("/b", "z"), "a: '\u2028'\nb: z\n"),
        ("a: x\n", Edit("/a", "y\u202ez"), 'a: "y\\u202ez"\n'),
        ("a: x\n", Edit("/a", "\U000e0041\xa0\x7f"), 'a: "\\U000e0041\\u00a0\\u007f"\n'),
        ("a: |\n  x\n   \nb: 1\n", Edit("/a", "y\tz\n"), "a: |\n  y\tz\nb: 1\n"),
        ("a: |+\n  x\n\n\nb: 1\n", Edit("/a", "y\n"), "a: |\n  y\nb: 1\n"),
    ],
)
def test_odd_characters(before: str, edit: Edit, after: str) -> None:
    assert edit_yaml("census.yaml", before, 0, [edit]) == after


@pytest.mark.parametrize(
    "text",
    [
        "no", "Yes", "012", "0x1F", "1_000", "12:30:45", "2026-11-20", ".inf", "~", "null", "",
        " x", "x ", "a: b", "a #b", "- a", "? a", "# a", "&a", "*a", "!a", "%a", "@a", "`a", "|",
        ">", "[a", "{a", "a:", "'a", '"a', "<<", "=", "1.5", "-1", "+1e3", "true", "---", "...",
        "a, b", "a]", "a}", "x\ny", "x\ty", "\\", "a'b", 'a"b', "é", ":a", "-a", "?a", "1e3", LONG,
    ],
)  # fmt: skip
@pytest.mark.parametrize("quote", ["", "'", '"'])
def test_every_text_is_read_back(text: str, quote: str) -> None:
    """The editor proves it itself; here it is proven that it never has to refuse."""
    for before in (
        "k: {0}old{0} # why\n",
        "- {0}old{0}\n- b\n",
        "a: [{0}old{0}, b]\n",
        "{{a: {0}old{0}}}",
    ):
        pointer = {"k": "/k", "-": "/0", "a": "/a/0", "{": "/a"}[before[0]]
        after = edit_yaml("f", before.format(quote), 0, [Edit(pointer, text)])
        start, _, end = before.format(quote).partition(f"{quote}old{quote}")
        assert after.startswith(start)
        assert after.endswith(end)
        if quote and not (quote == "'" and not text.isprintable()):
            assert after.removeprefix(start).startswith(quote)
    for before in ("a: b\n", "{a: b}", "c:\n  - a: b\n    d: e\n"):
        pointer = "/c/0/" if before.startswith("c") else "/"
        name = text.replace("~", "~0").replace("/", "~1")
        edit_yaml(
            "f", before, 0, [Edit(pointer + name, {text: text}), Edit(pointer + name, ABSENT)]
        )


@pytest.mark.parametrize(
    ("value", "written"),
    [(1, "1"), (-3, "-3"), (1.0, "1.0"), (1e22, "1.0e+22"), (1.5e-9, "1.5e-09"), (True, "true"),
     (False, "false"), (None, "null"), ({}, "{}"), ([], "[]"), ("", "''"), ([{}], "[{}]")],
)  # fmt: skip
def test_what_is_no_text_is_written_as_yaml_has_it(value: Json, written: str) -> None:
    assert edit_yaml("f", "a: 'x'  # why\n", 0, [Edit("/a", value)]) == f"a: {written}  # why\n"


def test_one_is_not_true_and_not_one_point_zero() -> None:
    assert edit_yaml("f", "a: 1\nb: true\n", 0, [Edit("/a", 1.0), Edit("/b", 1)]) == (
        "a: 1.0\nb: 1\n"
    )
    assert edit_json("f", '{"a": 1}', [Edit("/a", True)]) == '{"a": true}'


@pytest.mark.parametrize(
    ("text", "edit", "said"),
    [
        ("a: &x {b: 1}\nc: *x\n", Edit("/a/b", 2), "1:8: /a/b: the anchor &x shares this value with other"),
        ("a: &x {b: 1}\nc: *x\n", Edit("/c/b", 2), "2:1: /c/b: the alias *x refers to a value that"),
        ("a: &x {b: 1}\nc: *x\n", Edit("/c/d", 2), "2:1: /c/d: the alias *x refers to a value that"),
        ("a: &x {b: 1}\nc: *x\n", Edit("/a", "y"), "1:1: /a: the anchor &x shares this value with other"),
        ("a: {b: &x 1}\nc: *x\n", Edit("/a", ABSENT), "1:1: /a: the anchor &x shares this value with"),
        ("a: {b: &x 1}\nc: *x\n", Edit("/a", ["y"]), "1:1: /a: the anchor &x shares this value with"),
        ("a: x\n", Edit("/a/b", 1), "1:1: /a/b: is neither a mapping nor a list"),
        ("a: 5\n", Edit("/a/b/c", 1), "1:1: /a/b/c: is neither a mapping nor a list"),
        ("a: [x]\n", Edit("/a/2", 1), "1:1: /a/2: the list has no such item"),
        ("a: [x]\n", Edit("/a/b", 1), "1:1: /a/b: the list has no such item"),
        ("a: x\n", Edit("", {"b": 1}), "1:1: : an edit cannot replace the whole document"),
        ("a: x\n", Edit("/b", "https://a/b?sv=1&sig=c"), "1:1: /b: would hold what looks like a"),
        ("a: x\n", Edit("/b", {"c": ["AccountKey=x"]}), "1:1: /b: would hold what looks like a"),
        ("a: x\n", Edit("/b", "\ud800"), "1:1: /b: would hold characters that no file"),
        ("a: x\n", Edit("/b\0", 1), "1:1: /b\0: would hold characters that no file"),
        ("a: x\n", Edit("/b", float("nan")), "1:1: /b: would hold a number that no manifest can"),
        ("a: x\n", Edit("/b", 10**40), "1:1: /b: would hold a number that no manifest can"),
        ("a: [b: c]\n", Edit("/a/0/d", 1), "1:5: /a/0/d: cannot be changed in place without"),
        ("? a\nb: c\n", Edit("/a", 1), "1:3: /a: cannot be changed in place without"),
        ("a: |\n  x\nb: 1\n  # y\nc: 1\n", Edit("/b", ABSENT), "3:1: /b: cannot be changed in"),
        ("- |\n  x", Edit("/1", 1), "1:1: /1: cannot be changed in place without"),
    ],
)  # fmt: skip
def test_what_cannot_be_edited(text: str, edit: Edit, said: str) -> None:
    (found,) = refuse(text, edit)
    assert found.startswith(f"census.yaml:{said}")


def test_a_value_that_is_nested_too_deeply() -> None:
    value: Json = 1
    for _ in range(60):
        value = [value]
    assert "- 1\n" in edit_yaml("f", "a: x\n", 0, [Edit("/a", value)])
    (found,) = refuse("a: {b: {c: {d: {e: {f: x}}}}}\n", Edit("/a/b/c/d/e/f", value))
    assert "cannot be changed in place" in found
    for _ in range(2000):
        value = [value]
    (found,) = refuse("a: x\n", Edit("/a", value))
    assert "more than 64 levels deep" in found


def test_every_finding_is_told_in_the_places_of_the_original() -> None:
    text = "a: x\nb: [1]\nc: &y {d: 1}\ne: *y\n"
    edits = [
        Edit("/first", 1),
        Edit("/a", ABSENT),
        Edit("/b/7", 1),
        Edit("/e/d", 2),
        Edit("/c/d", "AccountKey=x"),
    ]
    assert [line.partition(": ")[0] for line in refuse(text, *edits)] == [
        "census.yaml:2:1", "census.yaml:4:1", "census.yaml:3:8",
    ]  # fmt: skip


def test_no_finding_quotes_the_value() -> None:
    secret = "https://a/b?sv=1&sig=cGxhbnRlZA"
    for edit in (Edit("/a", secret), Edit("/a", {"b": [secret]}), Edit("/a/0", secret)):
        assert "cGxhbnRlZA" not in "".join(refuse("a: x\n", edit))


@pytest.mark.parametrize(
    ("text", "document", "said"),
    [
        ("a: x\n", 1, "1:1: : has no document 2"),
        ("", 0, "1:1: : has no document 1"),
        ("a: no\n", 0, '1:4: : "no" would be read as true or false'),
        ("a: !x y\n", 0, "1:4: : the tag !x is not supported"),
        ("a: 1\na: 2\n", 0, '2:1: : duplicate key "a"'),
        ("a: [\n", 0, "2:1: : is not YAML"),
    ],
)
def test_a_document_that_cannot_be_read_is_not_edited(text: str, document: int, said: str) -> None:
    found = refuse(text, Edit("/b", 1), document=document)
    assert any(one.replace("None", "").startswith(f"census.yaml:{said}") for one in found), found


def test_other_documents_need_not_be_ours() -> None:
    text = "a: !Ref x\nb: [no, 012]\n---\na: 1\n---\n{a: 1, a: 2}\n"
    assert edit_yaml("f", text, 1, [Edit("/a", 2)]) == text.replace("a: 1\n", "a: 2\n")


def test_the_document_of_a_resource_is_found() -> None:
    head = "apiVersion: reconciler/v1\nkind: WebService\nmetadata: "
    text = f"\ufeff# c\n---\n- x\n---\n{head}{{name: a}}\n---\n---\n{head}\n  name: 'b'\n"
    assert find_document("f", text, Address("WebService", "a")) == 1
    number = find_document("f", text, Address("WebService", "b"))
    edited = edit_yaml("f", text, number, [Edit("/metadata/name", "c")])
    assert edited == text.replace("'b'", "'c'")
    for address in (Address("WebService", "c"), Address("Other", "a"), Address("x", "y")):
        with pytest.raises(ManifestInvalid, match="no document in this file is its manifest"):
            find_document("f", text, address)
    with pytest.raises(ManifestInvalid, match="is not YAML"):
        find_document("f", "a: [", Address("WebService", "a"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is not JSON"),
        ('{"a": 1, "a": 2}', 'duplicate key "a"'),
        ("a: 1", "is not JSON"),
    ],
)
def test_json_that_cannot_be_read_is_not_edited(text: str, said: str) -> None:
    with pytest.raises(ManifestInvalid) as refused:
        edit_json("d.json", text, [Edit("/b", 1)])
    assert [one.message for one in refused.value.findings()] == [said]


@pytest.mark.parametrize(
    "wrong",
    [
        [(3, 4, "y")],
        [(0, 4, "a: 2\nb: 1")],
        [(3, 4, "[")],
        [(3, 4, "2"), (5, 5, "b: 1\n")],
        [(3, 4, "2"), (-1, 15, "3\n")],
    ],
)
def test_a_mistake_of_the_editor_writes_nothing(
    wrong: list[tuple[int, int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "a: 1\n---\nz: 2\n"
    monkeypatch.setattr(edits_module, "make_splices", lambda *_: wrong)
    (found,) = refuse(text, Edit("/a", 2))
    assert "cannot be changed in place" in found


def test_what_changes_all_over_is_written_anew() -> None:
    before = "a:\n" + "".join(f"  - {at}  # {at}\n" for at in range(100))
    few = edit_yaml("f", before, 0, [Edit("/a", [*range(90), *range(110, 120)])])
    assert few.count("#") == 100
    many = edit_yaml("f", before, 0, [Edit("/a", [at + 1000 for at in range(100)])])
    assert many == "a:\n" + "".join(f"  - {at + 1000}\n" for at in range(100))


def test_json_from_nothing() -> None:
    assert edit_json("d.json", "{}\n", [Edit("/a/b", 1)]) == '{\n  "a": {\n    "b": 1\n  }\n}\n'
    assert edit_json("d.json", "null", [Edit("/a", 1)]) == '{\n  "a": 1\n}'


def test_json_that_yaml_cannot_read_is_edited_too() -> None:
    text = '{"' + "k" * 2000 + '": "\x7f\\/\\ud83d\\ude00\\ud800",\n "b": 1e400}'
    edited = edit_json("d.json", text, [Edit("/b", [1]), Edit("/c", "\x7f\u2028\U0001f600")])
    assert edited == text.replace("1e400}", '[\n  1\n ],\n "c": "\\u007f\\u2028\U0001f600"}')


def test_the_examples_of_this_project() -> None:
    for file in find_tracked("manifests/*.yaml"):
        text = file.read_text(encoding="utf-8")
        if "\napiVersion: reconciler/" not in text:
            continue  # a file of another tool
        edits = [Edit("/metadata/name", "other"), Edit("/metadata/labels/x", "y")]
        edited = edit_yaml(file.name, text, 0, edits)
        lines = zip(text.splitlines(), edited.splitlines(), strict=True)
        # The name and the labels are on one line, or each on its own.
        expected = 2 if "metadata:\n" in text else 1
        assert [a != b for a, b in lines].count(True) == expected
        assert edited != text
    (census,) = ROOT.rglob("census/manifests/census.yaml")
    text = census.read_text(encoding="utf-8")
    uri = "/spec/trainedModels/Census Model [trained model]/uri"
    edited = edit_yaml("census.yaml", text, 0, [Edit(uri, "https://a/b.ilearner")])
    old = re.search(r"http://127\S+", text)
    assert old
    assert edited == text.replace(old.group(), "https://a/b.ilearner")


def test_the_definition_of_the_example() -> None:
    (file,) = ROOT.rglob("census/manifests/census.definition.json")
    text = file.read_text(encoding="utf-8")
    edits = [
        Edit("/properties/realtimeConfiguration/maxConcurrentCalls", 20),
        Edit("/tags/team", "growth"),
    ]
    edited = edit_json(file.name, text, edits)
    wanted = text.replace('"maxConcurrentCalls": 10', '"maxConcurrentCalls": 20')
    wanted = wanted.replace('"owner": "growth"\n', '"owner": "growth",\n    "team": "growth"\n')
    assert edited == wanted


def test_what_only_yaml_calls_a_line_break_may_stand_in_a_text_of_json() -> None:
    text = '{"a":{"b":"\x85"}}'
    assert edit_json("f", text, [Edit("/a", [None])]) == '{"a":[null]}'


@pytest.mark.parametrize(
    ("text", "edit", "said"),
    [
        ("a: {b: 1}\n", Edit("/a/c", name="d"), '"c" does not exist'),
        ("a: {b: 1, c: 2}\n", Edit("/a/b", name="c"), '"c" is there already'),
        ("a: [1]\n", Edit("/a/0", name="c"), '"0" does not exist'),
        ("a: &x {b: 1}\nc: *x\n", Edit("/c/b", name="d"), "alias *x"),
        ("a: {&x b: 1}\nc: *x\n", Edit("/a/b", name="d"), "anchor or an alias"),
    ],
)
def test_a_name_that_cannot_change_alone_is_refused(text: str, edit: Edit, said: str) -> None:
    assert any(said in one for one in refuse(text, edit))

"""Numbers in texts: each noun and each verb agrees with the number that it stands beside."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.model import Address, Drift, GuardLimits, Resource, Retrying, Verdict
from reconciler.plans.guards import check_guards
from reconciler.render.drift.text import count_hidden
from reconciler.render.events.console import describe
from reconciler.render.findings import render_findings
from reconciler.render.words.colour import Paint
from reconciler.text.counting import agree, count
from tests.golden import check
from tests.plans import member

PACKAGE = Path(__file__).parents[2] / "reconciler"
# A plural noun, or a verb that agrees, right after a number.
PLURAL = re.compile(
    r" (?:more |other |different |further |of them )*(?:(?!this\b)[a-z]+(?<!s)s|are|were|have)\b(?! on\b)"
)
VERB = re.compile(r" (?:is|are|was|were|has|have|does|do|needs|need|stops|stop)\b")
# What is said to be a number: a length, or something with such a name.
NUMBER = re.compile(r"^len\(|number|total|left|most|needed|limit|calls|members|times\b")
# After these words a number is a name: "column 1 has no name", "#7 was edited".
# After "the state of" the verb belongs to the state.
NAMED = re.compile(r"(?:argument|wave|column|Item|row|the result of|the state of|written to) $|#$")
# Limits that callers give, none of which is one, by the place and the text after the number.
NEVER_ONE = {
    ("text/json_parts.py", " values"),
    ("text/json_parts.py", " items"),
    ("text/json_text.py", " values"),
    ("transport/replies.py", " values"),
    ("manifests/folder.py", " are read"),
    ("blobs/training.py", " bytes"),
}


def test_a_count_agrees_with_its_noun() -> None:
    assert count(1, "service") == "1 service"
    assert count(0, "service") == "0 services"
    assert count(1234, "entry", "entries") == "1,234 entries"
    assert count(1, "entry", "entries") == "1 entry"
    assert (agree(1, "is", "are"), agree(0, "is", "are")) == ("is", "are")


def find_counts(file: Path) -> Iterator[str]:
    """Yield each text of a file that puts a plural after a bare number, or a verb after a count."""
    for node in ast.walk(ast.parse(file.read_text())):
        if not isinstance(node, ast.JoinedStr):
            continue
        values = node.values
        for before, value, after in zip([None, *values], values, values[1:], strict=False):
            if not isinstance(value, ast.FormattedValue) or not isinstance(after, ast.Constant):
                continue
            told, said = getattr(before, "value", ""), str(after.value)
            where = str(file.relative_to(PACKAGE))
            if (where, said) in NEVER_ONE or NAMED.search(str(told)):
                continue
            counted = is_call(value.value, "count") and VERB.match(said)
            if counted or (is_number(value) and PLURAL.match(said)):
                yield f"{where}:{node.lineno}: {{…}}{said}"


def is_call(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name


def is_number(value: ast.FormattedValue) -> bool:
    """Whether a placeholder holds a number that may be one: a constant limit never is."""
    spec, expression = value.format_spec, ast.unparse(value.value)
    words = is_call(value.value, "count") or is_call(value.value, "agree")
    if words or re.fullmatch(r"_?[A-Z][A-Z_]+", expression):
        return False
    thousands = spec is not None and "," in ast.unparse(spec)
    return thousands or isinstance(value.value, ast.BinOp) or bool(NUMBER.search(expression))


def test_no_text_has_a_plural_beside_a_bare_number() -> None:
    # The emulator says what the service says, and shares no code with the client.
    files = [one for one in sorted(PACKAGE.rglob("*.py")) if "emulator" not in one.parts]
    found = [one for file in files for one in find_counts(file)]
    assert found == []


def test_the_finder_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "PACKAGE", tmp_path)
    file = tmp_path / "texts.py"
    for text in (
        'f"{len(names)} services"',
        'f"and {left:,} more lines"',
        'f"{number:,} of them are members"',
        """f"{count(number, 'call')} are needed\"""",
        'f"{times} columns are called"',
    ):
        file.write_text(f"said = {text}")
        assert list(find_counts(file)), text
    for text in (
        """f"{count(number, 'call')} {agree(number, 'is', 'are')} needed\"""",
        'f"column {number} has no name"',
        'f"at most {_MOST:,} items"',
        'f"{name} is gone"',
    ):
        file.write_text(f"said = {text}")
        assert not list(find_counts(file)), text


def hidden(*notes: str) -> list[Drift]:
    return [
        Drift(
            Resource(Address("WebService", f"a{number}"), f"/x/a{number}"),
            Verdict.NOT_OBSERVABLE, "/properties/keys/primary", hidden=True, note=note,
        )
        for number, note in enumerate(notes)
    ]  # fmt: skip


def test_when_values_were_set_is_a_sentence_for_one_and_for_many() -> None:
    known, other = "set when last applied 2026-11-02 by ci", "set when last applied 2026-11-03 by a"
    unknown = "when it was set is not known"
    sentences = [
        count_hidden(hidden(*notes))
        for notes in (
            (unknown,), (unknown, unknown), (known,), (known, known), (known, other),
            (known, unknown), (known, other, unknown, unknown),
        )
    ]  # fmt: skip
    check("counts-hidden", "\n".join(sentences))


def test_the_members_of_a_fleet_are_counted_in_a_sentence() -> None:
    fleet, limits = Address("Fleet", "bikes"), GuardLimits(max_deletes=0, max_updates=0)
    said = []
    for number in (1, 2):
        steps = [member(one).copy_with(fleet=fleet) for one in range(1, number + 1)]
        found = check_guards(steps, limits, number, ())
        said += [render_findings([one], paint=Paint()) for one in found if one.guard == "updates"]
    check("counts-members", "\n\n".join(said))


def test_a_pause_is_never_shown_as_nothing() -> None:
    reason = "the connection was closed"
    pauses = (0, 0.04, 0.05, 0.4, 1, 59.9, 61)
    said = [describe(Retrying("GET /a", reason, seconds), Paint()) or "" for seconds in pauses]
    check("counts-pauses", "\n".join(said))

"""The comment of a request: its hidden line, the result above the plan, and text from outside."""

import io
import sys
from dataclasses import replace
from unittest import mock

import pytest
from markdown_it import MarkdownIt

from reconciler.cli.streams import disarm_streams
from reconciler.gitops.comments import Sticky, read_comment, write_comment
from reconciler.model import Finding, SourceLocation
from reconciler.plans.changes_digest import digest_of_changes
from reconciler.plans.reviewed import read_reviewed, write_reviewed
from reconciler.render.comments import (
    Heading,
    join_result,
    render_no_plan,
    render_plan_comment,
    render_result,
)
from tests.plans import rich_plan, updates

HEADING = Heading("census", "", "https://example.org/runs/1")
HOSTILE = "@team `x` | <img src=x onerror=alert(1)> [a](javascript:b) </details> --> <!-- x"


def comment() -> str:
    plan = rich_plan()
    return render_plan_comment(plan, HEADING, write_reviewed(plan, "a" * 40))


def test_the_first_line_is_what_was_reviewed() -> None:
    plan = rich_plan()
    found = read_reviewed("#1", digest_of_changes(plan), comment())
    assert found.tree == "a" * 40
    assert found.steps is not None
    assert len(found.steps) == len(plan.steps)


def test_a_result_stands_above_the_plan_and_the_next_one_replaces_it() -> None:
    before = comment()
    first = join_result(before, render_result(HEADING, "first", (), ["one"]))
    second = join_result(first, render_result(HEADING, "second", (), ["two"]))
    assert first.split("\n")[0] == before.split("\n")[0] == second.split("\n")[0]
    assert "first" not in second
    assert "### `census`: second" in second
    assert second.count("The plan that was reviewed") == 1
    assert before.split("\n", 1)[1].strip() in second
    assert second == join_result(second, render_result(HEADING, "second", (), ["two"]))


def test_a_result_without_a_plan_is_alone() -> None:
    assert join_result("", "result\n") == "result\n"


@pytest.mark.parametrize(
    "make",
    [
        lambda: render_no_plan(
            Heading(HOSTILE, HOSTILE),
            "no plan",
            [Finding(HOSTILE, HOSTILE, SourceLocation(HOSTILE, 1, 2), (HOSTILE,), HOSTILE)],
        ),
        lambda: render_result(
            Heading(HOSTILE, HOSTILE, "https://x.org/)(javascript:a"),
            "failed",
            [Finding(HOSTILE, HOSTILE, detail=(HOSTILE,), guard="gate", next_step=HOSTILE)],
            [HOSTILE],
        ),
    ],
)
def test_text_from_outside_is_code(make: object) -> None:
    assert callable(make)
    tokens = MarkdownIt("gfm-like").parse(make())
    kinds = {one.type for token in tokens for one in [token, *(token.children or [])]}
    assert "html_inline" not in kinds
    assert "html_block" not in kinds
    assert "link_open" not in kinds
    plain = [one.content for token in tokens for one in token.children or [] if one.type == "text"]
    assert not any("@team" in one or "img" in one for one in plain)


def test_many_findings_are_bounded() -> None:
    findings = [
        Finding(f"{'long ' * 100}{n}", f"x{n}", detail=("d" * 500,) * 50) for n in range(500)
    ]
    text = render_no_plan(HEADING, "no plan", findings)
    assert len(text) < 25_000
    assert "more" in text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("##vso[task.setvariable variable=a]b", "## vso[task.setvariable variable=a]b"),
        ("a ##[error]b", "a ## [error]b"),
        ("::add-mask::x", ": :add-mask::x"),
        ("one\n  ::error::x", "one\n  : :error::x"),
        ("a::b # [c] ##", "a::b # [c] ##"),
    ],
)
def test_no_text_is_a_command_for_an_agent(text: str, shown: str) -> None:
    streams = io.StringIO(), io.StringIO()
    with mock.patch.object(sys, "stdout", streams[0]), mock.patch.object(sys, "stderr", streams[1]):
        disarm_streams()
        sys.stdout.write(text)
        sys.stderr.write(text)
    assert [one.getvalue() for one in streams] == [shown, shown]


def test_the_comment_of_a_long_plan_fits_on_github() -> None:
    plan = updates(200)
    long = render_plan_comment(plan, HEADING, write_reviewed(plan, "a" * 64))
    sticky = Sticky("census", "", "100-1", "2026-11-23T03:17:00Z", digest_of_changes(plan), long)
    text, cut = write_comment(sticky, 65_536, "GitHub")
    assert not cut
    found = render_no_plan(HEADING, "failed", [Finding("x" * 500, str(n)) for n in range(500)])
    text, cut = write_comment(replace(sticky, body=join_result(long, found)), 65_536, "GitHub")
    assert len(text) <= 65_536
    read = read_comment(text)
    assert read is not None
    assert read_reviewed("#1", read.changes, read.body).steps is not None
    assert len(read_reviewed("#1", read.changes, read.body).steps or ()) == 200

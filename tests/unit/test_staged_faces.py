"""What people read of a step of several writes: in a plan, in a comment, on a page."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from reconciler.cli.commands.history import HistoryPrinter
from reconciler.cli.context import Invocation
from reconciler.cli.exit_codes import classify_outcome
from reconciler.engine.planning.plan import make_plan
from reconciler.model import Address, Check, Plan, Resource, Write
from reconciler.package_data import read_schema
from reconciler.plans.history import Run, find_unrecorded, gather_runs
from reconciler.plans.plan_file import plan_document
from reconciler.render.events.json_lines import describe_end
from reconciler.render.events.outcome import render_outcome
from reconciler.render.history import render_run
from reconciler.render.plan.groups import group_plan
from reconciler.render.plan.html import render_plan_html
from reconciler.render.plan.markdown import render_plan_markdown
from reconciler.render.plan.text import render_plan
from reconciler.render.plan.writes import render_writes
from reconciler.render.words.colour import Paint
from reconciler.render.words.escape import escape
from reconciler.text.json_text import canonical
from tests.golden import check
from tests.ledgers import make_entry
from tests.outputs import check_output
from tests.unit.mixer import MIXER, open_desk

PLAIN = Paint()


def make_staged() -> Plan:
    desk = open_desk()
    return make_plan(desk.runtime(), desk.request)


def test_a_plan_lists_the_writes_with_their_pauses_and_checks() -> None:
    check("staged", render_plan(make_staged(), paint=PLAIN))


def test_a_comment_lists_them_too() -> None:
    check("staged-comment", render_plan_markdown(make_staged()).removesuffix("\n"))


def test_a_page_lists_them_in_order() -> None:
    page = render_plan_html(make_staged())
    listed = page[page.index('<ol class="writes">') : page.index("</ol>")]
    assert listed.count("<li>") == 5
    assert "<li>60 s later: green gets 50 %" in listed
    assert '<span class="about">check after: shares of 10</span>' in listed
    steered = _put_titles(make_staged(), "<script>alert(1)</script>")
    assert "<script>alert(1)" not in render_plan_html(steered)


def test_the_document_of_a_plan_has_the_writes() -> None:
    document = json.loads(canonical(plan_document(make_staged())))
    assert list(Draft202012Validator(read_schema("output/plan")).iter_errors(document)) == []
    (change,) = document["resource_changes"]
    assert [one.get("wait_s", 0) for one in change["writes"]] == [0, 0, 60.0, 60.0, 600.0]
    assert change["writes"][0] == {"title": "member green", "sends": "/members/green"}


def test_steps_with_other_writes_are_not_shown_as_one() -> None:
    plan = make_staged()
    (step,) = plan.steps
    names = [Address("Mixer", name) for name in ("b", "c", "d")]
    alike = [step.copy_with(resource=Resource(one, f"/rooms/r/mixers/{one.name}")) for one in names]
    assert len(group_plan(replace(plan, steps=tuple(alike)))) == 1
    other = (*alike[:2], alike[2].copy_with(writes=alike[2].writes[:-1]))
    assert len(group_plan(replace(plan, steps=other))) == 3


def _put_titles(plan: Plan, title: str) -> Plan:
    steps = (one.copy_with(writes=(Write(title), Write(title))) for one in plan.steps)
    return replace(plan, steps=tuple(steps))


@given(st.text(), st.text())
def test_no_title_breaks_out_of_its_line(title: str, checked: str) -> None:
    (step,) = make_staged().steps
    writes = (
        Write(title, checks=(Check(checked),)),
        Write(title, 60.0, requires=(Check(checked),)),
    )
    lines = list(render_writes(step.copy_with(writes=writes)))
    assert len(lines) == 5
    assert all(line.splitlines() == [line] and escape(line) == line for line in lines)


def tell_history(capsys: pytest.CaptureFixture[str], *, as_json: bool) -> str:
    """The history of a step that failed at a check, and of the one that passed after it."""
    desk = open_desk()
    desk.failing.add("shares of 10")
    desk.apply(make_plan(desk.runtime(), desk.request))
    desk.failing.clear()
    desk.apply(make_plan(desk.runtime(), desk.request))
    fields = {"Mixer": desk.kind.field}
    snapshot = desk.ledger.load()
    printer = HistoryPrinter(
        Invocation(), desk.ledger, {}, fields, as_json=as_json, snapshot=snapshot
    )
    printer.print_entries([MIXER.address])
    return capsys.readouterr().out


def test_history_shows_which_write_it_was_and_why_a_check_failed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    check("staged-history", tell_history(capsys, as_json=False).removesuffix("\n"))


def test_history_as_json_has_the_writes_and_the_checks(capsys: pytest.CaptureFixture[str]) -> None:
    said = json.loads(tell_history(capsys, as_json=True))
    check_output(said, "history")
    writes = [one["write"]["number"] for one in said["entries"]]
    assert writes == [5, 4, 3, 2, 1, 0, 0, 2, 1]
    assert [one["passed"] for one in said["checks"]] == [False, True]
    assert said["checks"][0]["detail"] == ["status 200", "log: oops"]


def test_the_same_write_on_many_members_of_a_fleet_is_one_item() -> None:
    fleet = Address("Fleet", "all")
    entries = [
        make_entry(f"s{number}", fleet=fleet, part=part, parts=2, title=f"write {part}")
        for part in (1, 2)
        for number in range(4)
    ]
    runs = list(gather_runs(entries))
    assert [type(one) for one in runs] == [Run, Run]
    shown = [render_run(one, PLAIN) for one in runs if isinstance(one, Run)]
    assert "Fleet/all: 4 members  write 2/2: write 2  by ci" in shown[1]


def test_two_writes_of_one_step_in_one_second_are_two_entries() -> None:
    first, second = (
        make_entry(part=part, parts=2, title=f"write {part}", step_digest="sha256:1")
        for part in (1, 2)
    )
    assert find_unrecorded([first], [first, second]) == [second]
    assert find_unrecorded([first, second], [first, second]) == []


def test_an_interrupted_step_is_reported_as_not_finished() -> None:
    desk = open_desk()
    desk.halts_after = "green gets 10 %"
    outcome = desk.apply(make_plan(desk.runtime(), desk.request))
    check("staged-interrupted", render_outcome(outcome, paint=PLAIN, halted="interrupted"))
    assert classify_outcome(outcome, "", planned=True) == "incomplete"
    (change,) = [describe_end(outcome, "interrupted", "interrupted")["changes"]]
    assert (change["unfinished"], change["failed"]) == (1, 0)

"""The lines that a machine reads while an apply runs: Terraform's types, one schema for all."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import jsonschema_rs
import pytest

from reconciler.model import (
    Address,
    Agenda,
    Finding,
    Outcome,
    Retrying,
    SourceLocation,
    StepDone,
    Stopped,
)
from reconciler.render.events.console import describe
from reconciler.render.events.json_lines import (
    describe_end,
    describe_event,
    describe_finding,
    describe_note,
    describe_plan,
    describe_version,
    write_line,
)
from reconciler.render.words.colour import Paint
from tests.events import CENSUS, FLEET, UPDATE, every_event
from tests.golden import check
from tests.lines import read_lines
from tests.plans import plan, rich_plan

AT = datetime(2026, 11, 24, 10, 0, 0, 1234, tzinfo=UTC)


def test_every_event_has_its_line_and_every_line_its_schema() -> None:
    text = "".join(write_line(describe_event(event), AT) for event in every_event())
    assert len(read_lines(text)) == len(every_event())
    check("event-lines", text.removesuffix("\n"))


def test_both_faces_say_the_same_of_an_event() -> None:
    for event in every_event():
        said = describe(event, Paint())
        assert said is None or describe_event(event)["@message"] == said


def test_a_plan_is_told_as_terraform_tells_it_and_without_any_value() -> None:
    made = rich_plan()
    text = "".join(write_line(one, AT) for one in describe_plan(made))
    reported = read_lines(text)
    assert [
        one["change"]["resource"]["addr"] for one in reported if one["type"] == "planned_change"
    ] == [str(step.resource.address) for step in made.steps]
    assert {
        one["change"]["resource"]["addr"] for one in reported if one["type"] == "resource_drift"
    } == {"WebService/census"}
    assert reported[-1]["changes"] == {
        "add": 2, "change": 40, "import": 0, "remove": 2, "operation": "plan",
    }  # fmt: skip
    replaced = next(one for one in reported if one.get("change", {}).get("action") == "replace")
    assert replaced["change"]["reason"] == "replace_because_cannot_update"
    assert "ilearner" not in text
    assert [one["type"] for one in map(json.loads, map(json.dumps, describe_plan(plan())))] == [
        "change_summary"
    ]


def test_the_rest_of_a_stream() -> None:
    finding = Finding(
        "it is wrong \x1b[2J",
        subject="WebService/census",
        place=SourceLocation("manifests/census.yaml", 9, 5),
        detail=("more",),
        next_step="Do it again.",
    )
    failed = Outcome(
        added=(CENSUS.address,),
        failures=(finding,),
        not_started=(Address("WebService", "b"), Address("WebService", "c")),
    )
    rolled = Outcome(failures=(finding,), rolled_back=(CENSUS.address,), unrestored=(finding,))
    messages = [
        describe_version("1.2.3"),
        describe_note("Interrupt received.", "warn"),
        describe_finding(finding),
        describe_finding(replace(finding, severity="warning", place=None, subject="")),
        describe_end(Outcome(), "no-changes"),
        describe_end(failed, "incomplete"),
        describe_end(failed, "interrupted", "interrupted"),
        describe_end(
            replace(failed, stopped=(Stopped(FLEET, 1, 0, failed.not_started),)), "incomplete"
        ),
        describe_end(rolled, "incomplete"),
        describe_end(replace(rolled, unrestored=()), "rolled-back"),
    ]
    text = "".join(write_line(one, AT) for one in messages)
    read_lines(text)
    check("event-lines-rest", text.removesuffix("\n"))


def test_a_line_is_one_line_of_ascii_whatever_is_told() -> None:
    event = Retrying("GET \u2028\n\ud800 é", "because\r\n" * 1000, 1.0)
    line = write_line(describe_event(event), AT)
    assert line.isascii()
    assert line.count("\n") == 1
    assert len(line) < 3000


@pytest.mark.parametrize(
    "broken",
    [
        {"type": "unheard_of"},
        {"hook": {}},
        {"@timestamp": "yesterday"},
        {"more": 1},
    ],
)
def test_the_schema_refuses_what_is_none(broken: dict[str, object]) -> None:
    line = json.loads(write_line(describe_event(StepDone(CENSUS, UPDATE, 1.0)), AT))
    with pytest.raises(jsonschema_rs.ValidationError):
        read_lines(json.dumps({**line, **broken}) + "\n")


def test_an_outcome_stands_only_at_the_end_of_an_apply() -> None:
    line = json.loads(write_line(describe_end(Outcome(), "applied"), AT))
    read_lines(json.dumps(line) + "\n")
    line["changes"]["operation"] = "plan"
    with pytest.raises(jsonschema_rs.ValidationError):
        read_lines(json.dumps(line) + "\n")
    read_lines(write_line(describe_event(Agenda(reads=3)), AT))

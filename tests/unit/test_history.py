"""What a ledger tells of the past: entries, what was remembered when, and who wrote what last."""

import json
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from reconciler.cli.commands.history import HistoryPrinter, ReversedSpool
from reconciler.cli.context import Invocation
from reconciler.document.schema import compile_schema
from reconciler.errors import ReconcilerError
from reconciler.kinds.web_service import KIND
from reconciler.model import ABSENT, Action, Address, Entry, StepResult
from reconciler.plans.history import attribute, list_touches, parse_moment, recall, settle
from reconciler.render.history import render_entry
from reconciler.render.words.colour import Paint
from tests.ledgers import MemoryLedger, make_entry, make_intent
from tests.outputs import check_output

CALLS = "/properties/realtimeConfiguration/maxConcurrentCalls"
TITLE = "/properties/title"
CENSUS = Address("WebService", "census")


def replaced(pointer: str, before: Any, after: Any) -> dict[str, Any]:
    """The patch and inverse of one value that was replaced."""
    return {
        "patch": (
            {"op": "test", "path": pointer, "value": before},
            {"op": "replace", "path": pointer, "value": after},
        ),
        "inverse": ({"op": "replace", "path": pointer, "value": before},),
    }


def story() -> MemoryLedger:
    """Four days of one service and one day of another."""
    ledger = MemoryLedger()
    days = [f"2026-11-{day}T08:00:00Z" for day in ("02", "03", "04", "05", "06")]
    ledger.record(
        make_entry(at=days[0], by="ann", owned={CALLS: 10, TITLE: "A"}, **replaced(CALLS, 4, 10))
    )
    ledger.record(make_entry("other", at=days[1], owned={TITLE: "O"}, **replaced(TITLE, "N", "O")))
    ledger.record(
        make_entry(at=days[2], by="bob", owned={CALLS: 20, TITLE: "A"}, **replaced(CALLS, 10, 20))
    )
    ledger.record(
        make_entry(
            at=days[3],
            result=StepResult.NOT_DONE,
            note="live is as it was",
            **replaced(TITLE, 1, 2),
        )
    )
    number = ledger.intend(make_intent(at=days[4], **replaced(TITLE, "A", "B")))
    assert number == 5
    return ledger


def tell(
    ledger: MemoryLedger,
    *,
    moved: Mapping[Address, Address] | None = None,
    as_json: bool = False,
) -> HistoryPrinter:
    return HistoryPrinter(
        Invocation(),
        ledger,
        moved or {},
        {"WebService": KIND.field},
        as_json=as_json,
        snapshot=ledger.load(),
    )


def test_the_newest_comes_first_and_what_is_open_before_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tell(story()).print_entries([])
    out = capsys.readouterr().out
    heads = [line for line in out.splitlines() if line.startswith("#")]
    assert [head.split()[0] for head in heads] == ["#5", "#4", "#3", "#2", "#1"]
    assert heads[0].endswith("started, outcome not known yet")
    assert heads[1].endswith("not done")
    assert heads[2] == (
        "#3  2026-11-04T08:00:00Z  ~ update  WebService/census  by bob@4f1c2aa (plan 9f86d081…)"
        "  1 change"
    )
    assert "      live is as it was\n" in out
    assert "      ~ properties.realtimeConfiguration.maxConcurrentCalls = 10 -> 20\n" in out


def test_one_resource_is_told_alone_by_every_name_it_had(
    capsys: pytest.CaptureFixture[str],
) -> None:
    ledger = story()
    new = Address("WebService", "renamed")
    printer = tell(ledger, moved={CENSUS: new})
    printer.print_entries([new])
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines() if line[:1] == "#"] == [
        "#5", "#4", "#3", "#1",
    ]  # fmt: skip
    printer.print_recalled([], parse_moment("#3"))
    assert "# WebService/renamed [census]: #3" in capsys.readouterr().out


def test_what_was_done_to_a_fleet_at_once_is_told_at_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    ledger, fleet = MemoryLedger(), Address("Fleet", "rental")
    for number in range(1, 1001):
        day = "2026-11-02" if number < 600 else "2026-11-03"
        ledger.record(make_entry(f"loc{number:03}", at=f"{day}T08:00:00Z", fleet=fleet))
    again = replaced(CALLS, 4, 10)
    for name in ("loc007", "loc009"):
        ledger.record(make_entry(name, by="ann", fleet=fleet, owned={CALLS: 10}, **again))
    ledger.record(make_entry("census"))
    tell(ledger).print_entries([])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if line[:1] == "#"] == [
        "#1003",
        "#1002",
        "#1001",
        "#1",
    ]
    assert lines[-2:] == [
        (
            "#1 to #1000  2026-11-02T08:00:00Z to 2026-11-03T08:00:00Z  ~ update  Fleet/rental:"
            " 1,000 members  by ci@4f1c2aa (plan 9f86d081…)"
        ),
        "      loc001 to loc1000",
    ]
    tell(ledger).print_entries([fleet])
    assert capsys.readouterr().out.splitlines() == lines[1:]
    tell(ledger).print_entries([Address("WebService", "loc007")])
    assert "#7  2026" in capsys.readouterr().out
    tell(ledger, as_json=True).print_entries([fleet])
    assert len(json.loads(capsys.readouterr().out)["entries"]) == 1002
    tell(ledger).print_recalled([fleet], parse_moment("#1003"))
    assert capsys.readouterr().out.count("  # WebService/loc") == 1000


def test_an_address_that_nobody_knows_is_an_error_with_the_nearest() -> None:
    printer, wrong = tell(story()), Address("WebService", "censsus")
    asked: list[Callable[[], None]] = [
        lambda: printer.print_entries([wrong]),
        lambda: printer.print_recalled([wrong], parse_moment("#9")),
        lambda: printer.print_authors(wrong, None),
    ]
    for ask in asked:
        with pytest.raises(ReconcilerError) as caught:
            ask()
        assert caught.value.next_step == "Did you mean WebService/census?"


@pytest.mark.parametrize(
    ("at", "calls"),
    [("2026-11-01", None), ("2026-11-02", 10), ("2026-11-04T07:59:59Z", 10),
     ("2026-11-04T09:00:00+01:00", 20), ("2026-11-04T08:00:00", 20), ("#2", 10), ("#5", 20)],
)  # fmt: skip
def test_what_was_remembered_then(at: str, calls: int | None) -> None:
    moment, apart = settle(parse_moment(at), story().entries())
    found = recall(story().entries(), {}, moment)
    assert (found[CENSUS].owned[CALLS] if CENSUS in found else None) == calls
    assert apart is None


def skewed(*hours: int) -> MemoryLedger:
    """Entries in order, each with the hour that the clock of its machine showed."""
    ledger = MemoryLedger()
    for number, hour in enumerate(hours, 1):
        at = f"2026-11-02T{hour:02}:00:00Z"
        ledger.record(make_entry(at=at, owned={CALLS: number}, **replaced(CALLS, 0, number)))
    return ledger


@pytest.mark.parametrize(
    ("hours", "calls", "apart"),
    [
        ((8, 9, 10, 14), 3, None),
        ((8, 13, 9, 10, 14), 4, 2),  # the machine of the second was ahead
        ((8, 9, 13, 14), 2, None),
        ((13, 14), None, None),
        ((13, 8), 2, 1),
    ],
)
def test_what_was_remembered_is_what_the_ledger_held_whatever_the_clocks_said(
    hours: tuple[int, ...], calls: int | None, apart: int | None
) -> None:
    ledger = skewed(*hours)
    moment, found = settle(parse_moment("2026-11-02T12:00:00Z"), ledger.entries())
    remembered = recall(ledger.entries(), {}, moment)
    assert (remembered[CENSUS].owned[CALLS] if remembered else None) == calls
    assert (found.sequence if found else None) == apart
    assert str(moment) == "2026-11-02T12:00:00Z"


def test_times_that_are_not_in_order_are_reported(capsys: pytest.CaptureFixture[str]) -> None:
    printer = tell(skewed(8, 13, 9))
    printer.print_recalled([], printer.settle(parse_moment("2026-11-02T12:00:00Z")))
    captured = capsys.readouterr()
    assert captured.out.startswith("Remembered at 2026-11-02T12:00:00Z:")
    assert (
        "Warning: the times of the entries are not in order: entry #2 is of 2026-11-02T13:00:00Z"
        " and precedes entry #3" in captured.err
    )
    assert "--at #N" in captured.err


@pytest.mark.parametrize("text", ["#", "#x", "#²", "yesterday", "2026-13-01", ""])
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_moment(text)


def test_what_was_deleted_or_forgotten_is_remembered_no_more() -> None:
    for action in (Action.DELETE, Action.FORGET):
        ledger = story()
        ledger.record(make_entry(action=action))
        assert set(recall(ledger.entries(), {})) == {Address("WebService", "other")}
        assert attribute(ledger.entries(CENSUS)) == []


def test_each_value_has_its_last_writer() -> None:
    ledger = story()
    ledger.record(make_entry(owned={CALLS: 20, TITLE: "theirs"}, secrets={"/k": "v1"}))
    ledger.record(make_entry(owned={CALLS: 20, TITLE: "theirs"}, secrets={"/k": "v1"}))
    ledger.record(make_entry(result=StepResult.UNKNOWN, owned={CALLS: 99}))
    found = {one.pointer: one for one in attribute(ledger.entries(CENSUS))}
    assert (found[CALLS].entry.sequence, found[CALLS].wrote) == (3, True)
    # Nobody wrote it through here: it is what the manifest took over.
    assert (found[TITLE].entry.sequence, found[TITLE].wrote) == (6, False)
    assert (found["/k"].entry.sequence, found["/k"].label, found["/k"].value) == (6, "v1", ABSENT)


def test_a_creation_wrote_all_that_it_left() -> None:
    entries = [make_entry(action=Action.CREATE, owned={TITLE: True}, sequence=1),
               make_entry(owned={TITLE: 1}, sequence=2)]  # fmt: skip
    assert [one.wrote for one in attribute(entries[:1])] == [True]
    assert [one.entry.sequence for one in attribute(entries)] == [2], "true is not 1"


def test_authors_are_told_with_value_time_and_commit(capsys: pytest.CaptureFixture[str]) -> None:
    tell(story()).print_authors(CENSUS, None)
    assert capsys.readouterr().out == (
        "properties.realtimeConfiguration.maxConcurrentCalls = 20\n"
        "    #3  2026-11-04T08:00:00Z  by bob@4f1c2aa\n"
        'properties.title = "A"\n'
        "    #1  2026-11-02T08:00:00Z  by ann@4f1c2aa, which found this value\n"
    )
    tell(story()).print_authors(CENSUS, parse_moment("#2"))
    assert "maxConcurrentCalls = 10\n    #1 " in capsys.readouterr().out


SENSITIVE = {
    "type": "object",
    "properties": {
        "pin": {"type": "string", "x-sensitive": True},
        "box": {"type": "object", "properties": {
            "pin": {"type": "string", "x-sensitive": True}, "open": {"type": "string"}}},
        "list": {"type": "array", "items": {"type": "object", "properties": {
            "pin": {"type": "string", "x-sensitive": True}}}},
        "vault": {"type": "object", "x-sensitive": True, "properties": {
            "plain": {"type": "string"}}},
        "free": {"x-opaque": True},
        "nodes": {"type": "object", "additionalProperties": {
            "type": "object", "x-compare": "sealed", "x-sealed-by": "certificateThumbprint",
            "properties": {"value": {}, "certificateThumbprint": {"type": "string"}}}},
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("pointer", "value", "hidden"),
    [
        ("/pin", "PLANTED", True),
        ("/box", {"pin": "PLANTED"}, True),
        ("/box", {"open": "plain"}, False),
        ("/box/pin", "PLANTED", True),
        ("/vault/plain", "PLANTED", True),
        ("/list", [{"pin": "PLANTED"}], True),
        ("/list/0", {"pin": "PLANTED"}, True),
        ("/nodes", {"a": {"certificateThumbprint": "x", "value": "PLANTED"}}, True),
        ("/nodes", {"a": {"certificateThumbprint": "", "value": "plain"}}, False),
        ("/free", {"a": 1}, False),
    ],
)
def test_what_is_sensitive_is_shown_in_no_form(
    pointer: str, value: Any, *, hidden: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = MemoryLedger()
    ledger.record(make_entry(owned={pointer: value}, **replaced(pointer, value, value)))
    for as_json in (False, True):
        field = compile_schema(SENSITIVE)
        printer = HistoryPrinter(Invocation(), ledger, {}, {"WebService": field}, as_json=as_json)
        printer.print_entries([])
        printer.print_recalled([], parse_moment("#1"))
        printer.print_authors(CENSUS, None)
        out = capsys.readouterr().out
        assert "PLANTED" not in out
        word = '"hidden": true' if as_json else "(sensitive value)"
        assert out.count(word) == (3 if hidden else 0)


def test_of_a_kind_that_is_not_known_no_value_is_shown() -> None:
    entry = make_entry(owned={TITLE: "x"}, **replaced(TITLE, "PLANTED", "PLANTED"))
    assert "PLANTED" not in render_entry(entry, None, Paint())
    assert [touch.hidden for touch in list_touches(None, entry)] == [True]


def test_nothing_in_a_ledger_moves_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    bad = "\x1b[31m\u202e\x9b\n"
    ledger = MemoryLedger()
    hostile = {f"/properties/{bad}": bad}
    ledger.record(
        make_entry(
            bad, id=f"/x/{bad}", at=bad, by=bad, commit=bad, plan_digest=f"sha256:{bad}",
            note=bad, owned=hostile, secrets={f"/{bad}": bad},
            **replaced(f"/properties/{bad}", bad, bad),
        )
    )  # fmt: skip
    ledger.intend(make_intent(bad, by=bad))
    for as_json in (False, True):
        printer = tell(ledger, as_json=as_json)
        printer.print_entries([])
        printer.print_recalled([], parse_moment("#1"))
        printer.print_authors(Address("WebService", bad), None)
    out = capsys.readouterr().out
    assert not {"\x1b", "\u202e", "\x9b"} & set(out)


def test_every_form_of_json_holds_to_its_schema(capsys: pytest.CaptureFixture[str]) -> None:
    ledger = story()
    ledger.record(make_entry(owned={TITLE: "A"}, secrets={"/properties/keys/primary": "v1"}))
    printer = tell(ledger, as_json=True)
    asked: list[Callable[[], None]] = [
        lambda: printer.print_entries([]),
        lambda: printer.print_recalled([], printer.settle(parse_moment("2026-11-30"))),
        lambda: printer.print_authors(CENSUS, None),
        lambda: tell(MemoryLedger(), as_json=True).print_entries([]),
    ]
    reported = []
    for ask in asked:
        ask()
        reported.append(json.loads(capsys.readouterr().out))
        check_output(reported[-1], "history")
    entries, last_applied_by_address, blame, nothing = reported
    assert [one["fate"] for one in entries["entries"]][:3] == ["open", "done", "not done"]
    assert entries["entries"][3]["changes"] == [
        {"pointer": CALLS, "op": "replace", "hidden": False, "before": 10, "after": 20}
    ]
    assert last_applied_by_address["resources"][0]["owned"] == [
        {"pointer": TITLE, "hidden": False, "value": "A"}
    ]
    assert blame["fields"][0]["version"] == "v1"
    assert nothing["entries"] == []


def test_what_comes_is_given_back_the_last_first() -> None:
    texts = ["a", "", "ü\ud800", "x" * 3_000_000, "end"]
    with ReversedSpool() as backwards:
        for text in texts:
            backwards.add(text)
        assert list(backwards) == texts[::-1]
        assert list(backwards) == texts[::-1], "as often as is asked"
        assert len(backwards) == 5


class Long(MemoryLedger):
    """A ledger of many entries, of which none is held."""

    def entries(self, _: Address | None = None) -> Iterator[Entry]:
        patch = replaced(CALLS, 10, 20)
        for number in range(1, 2_001):
            yield make_entry(sequence=number, owned={CALLS: 20}, **patch)


def test_many_entries_are_told_without_being_held() -> None:
    reported = 0

    class Counting(HistoryPrinter):
        def _print(self, texts: Any, **_: Any) -> None:
            nonlocal reported
            reported = sum(1 for _ in texts)

    printer = Counting(Invocation(), Long(), {}, {"WebService": KIND.field}, as_json=False)
    tracemalloc.start()
    try:
        printer.print_entries([])
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert reported == 2_000
    assert most < 1_000_000, "an entry held would be more than a kilobyte"

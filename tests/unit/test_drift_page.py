"""A drift report as a page: what is on it, what it proves, and that nothing in it is obeyed."""

import json
import re
import unicodedata
from dataclasses import replace

import pytest

from reconciler import __version__
from reconciler.model import (
    Address,
    Drift,
    DriftReport,
    DriftRun,
    FailedReport,
    Finding,
    Inputs,
    Json,
    Resource,
    SourceLocation,
    Verdict,
)
from reconciler.render.drift.html import render_drift_page
from reconciler.render.drift.marks import mark_values
from tests.drifts import (
    APPLIED,
    FLEET,
    finding,
    make_report,
    make_runs,
    many_report,
    rich_report,
    rule,
    status,
    two_reports,
)
from tests.golden import check
from tests.pictures import PAGES
from tests.tree import ROOT
from tests.unit.test_html import HOSTILE, Page

_VERDICTS = [one for one in Verdict if one is not Verdict.NOT_OBSERVABLE]


def read_data(page: Page) -> Json:
    text = page.texts["script"]
    return json.loads(text[: text.index('"use strict"')])


def check_page(name: str, reports: list[DriftReport]) -> None:
    text = Page(render_drift_page(reports)).text
    check(name, text.replace(f"reconciler {__version__}", "reconciler …"))


def test_the_page_as_it_is_read() -> None:
    check_page("drift-page", [rich_report()])


def test_a_page_of_two_environments() -> None:
    check_page("drift-page-two", two_reports())


def test_a_page_of_nothing() -> None:
    check_page("drift-page-nothing", [make_report([])])


def test_the_same_bytes_for_the_same_reports() -> None:
    assert render_drift_page([rich_report()]) == render_drift_page([rich_report()])


@pytest.mark.parametrize(
    ("reports", "tone"),
    [
        ([make_report([status("a")])], "calm"),
        ([make_report([status("a", Verdict.INCOMPLETE), status("b")])], "unknown"),
        ([make_report([])], "unknown"),
        ([replace(make_report([status("a")]), baseline="lost")], "unknown"),
        ([replace(make_report([status("a")]), lost=Finding("lines are lost"))], "unknown"),
        (
            [make_report([status("a", Verdict.PENDING)], [finding("a", Verdict.PENDING)])],
            "note",
        ),
        ([rich_report()], "error"),
        (two_reports(), "unknown"),
    ],
)
def test_only_what_is_known_and_in_sync_is_green(reports: list[DriftReport], tone: str) -> None:
    page = Page(render_drift_page(reports))
    (light,) = [
        more["class"] for tag, more in page.tags if str(more.get("class")).startswith("light")
    ]
    assert light == f"light {tone}"


def test_incomplete_evidence_is_said_first() -> None:
    lost = finding("a", Verdict.INCOMPLETE, note="no answer")
    report = make_report([status("a", Verdict.INCOMPLETE), status("b")], [lost])
    text = Page(render_drift_page([report])).text
    assert "# Evidence incomplete: the state of 1 of 2 services is not known" in text
    assert "Coverage\n1 of 2 services" in text


def hostile_reports() -> list[DriftReport]:
    """Hostile text wherever a report can hold text from outside."""
    resource = Resource(Address(HOSTILE, HOSTILE), f"/x/{HOSTILE}")
    last = replace(APPLIED, by=HOSTILE, commit=HOSTILE)
    one = Drift(
        resource, Verdict.DRIFTED, f"/{HOSTILE}", HOSTILE, {HOSTILE: [HOSTILE]}, HOSTILE[::-1],
        note=HOSTILE, since="2026-11-20T12:00:00Z", commands=(HOSTILE, f"reconciler x {HOSTILE}"),
        fleet=Address("Fleet", HOSTILE), place=SourceLocation(HOSTILE, 1, 2),
    )  # fmt: skip
    ignored = replace(one, rule=rule(HOSTILE, HOSTILE, owner=HOSTILE))
    statuses = [
        status("a", Verdict.DRIFTED, resource=resource, fleet=one.fleet, last_applied=last),
        status("b", resource=Resource(Address(HOSTILE, "b"), "/b"), fleet=one.fleet),
    ]
    inputs = Inputs(HOSTILE, {HOSTILE: ""}, HOSTILE, HOSTILE, environment=HOSTILE)
    found = Finding(HOSTILE, HOSTILE, detail=(HOSTILE,), next_step=HOSTILE)
    expired = rule(HOSTILE, HOSTILE, address=HOSTILE, owner=HOSTILE)
    made = make_report(
        statuses, [one], inputs=inputs, lost=found, ignored=(ignored,), expired=(expired,)
    )
    runs = (DriftRun(HOSTILE, HOSTILE, {Verdict.DRIFTED: 1}), *make_runs(2))
    return [replace(made, runs=runs), made]


def test_nothing_from_outside_is_obeyed() -> None:
    page = Page(render_drift_page(hostile_reports()))
    names = [tag for tag, _ in page.tags]
    assert "img" not in names
    assert (names.count("script"), names.count("style")) == (2, 1)
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")]
        assert "style" not in attributes
        for name in ("href", "src"):
            assert re.fullmatch(r"#[A-Za-z0-9%=._/+-]+|data:,", attributes.get(name) or "#x"), tag
    assert "<img src=x onerror=alert(1)>" in page.text
    assert "{{ 7 * 7 }}" in page.text
    assert read_data(page)["groups"][0][1].startswith("<img src=x")


def test_no_character_moves_or_hides_what_is_read() -> None:
    text = render_drift_page(hostile_reports())
    kinds = {unicodedata.category(one) for one in text if one != "\n"}
    assert not kinds & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert "\\u202e\\x1b[31m\\x00\\r\\n" in text


def test_a_credential_in_a_value_is_not_shown() -> None:
    one = finding("a", Verdict.DRIFTED, "/p", remembered={"u": ["https://h/p?sig=secretvalue"]})
    text = render_drift_page([make_report([status("a", Verdict.DRIFTED)], [one])])
    assert "https://h/p" in Page(text).text
    assert "secretvalue" not in text


def test_a_report_of_a_part_says_so() -> None:
    made = make_report([status("a")], whole=False)
    part = replace(made, inputs=replace(made.inputs, targets=("WebService/a",)))
    said = "This report is about a part of the project"
    assert f"{said}: only WebService/a." in Page(render_drift_page([part])).text
    assert f"{said}: some manifests." in Page(render_drift_page([made])).text
    assert said not in render_drift_page([rich_report()])


def test_nothing_is_called_new_where_no_earlier_run_is_known() -> None:
    one = finding("a", Verdict.DRIFTED, "/p", since="2026-11-29T06:00:00Z", is_new=True)
    made = make_report([status("a", Verdict.DRIFTED)], [one], runs=make_runs(1))
    assert "1 finding is new" not in render_drift_page([made])
    assert "no earlier run had it" not in render_drift_page([made])
    later = render_drift_page([replace(made, runs=make_runs(2))])
    assert "1 finding is new." in later
    assert "; no earlier run had it." in later


def test_an_environment_without_a_report_is_named_and_never_green() -> None:
    failed = FailedReport("test", (Finding("the ledger cannot be read", next_step="Ask ops."),))
    for reports in ([make_report([status("a")])], []):
        page = Page(render_drift_page(reports, [failed]))
        assert "# No report of test." in page.text
        assert "the ledger cannot be read" in page.text
        assert "light calm" not in str(page.tags)


def test_an_older_report_of_an_environment_is_shown_and_never_green() -> None:
    failed = FailedReport("prod", (Finding("the ledger cannot be read"),))
    page = Page(render_drift_page([make_report([status("a")])], [failed]))
    assert "# No new report. No drift: 1 service in sync" in page.text
    assert "light calm" not in str(page.tags)


def test_a_tampered_history_draws_nothing_odd() -> None:
    run = DriftRun("garbage", "c", {Verdict.DRIFTED: -5, Verdict.PENDING: 0})
    page = Page(render_drift_page([make_report([status("a")], runs=(run, run))]))
    paths = [str(more["d"]) for tag, more in page.tags if tag == "path"]
    assert not [one for one in paths if "--" in one or "nan" in one or "inf" in one]


def test_a_command_that_a_shell_would_misread_says_so() -> None:
    for name, said in (("plain-1", False), ("a$(id)", True), ("a;b", True), ("a\nb", True)):
        one = finding(name, Verdict.DRIFTED, "/p")
        page = render_drift_page([make_report([status(name, Verdict.DRIFTED)], [one])])
        assert ("Quote the name before you run it" in page) == said, name


def test_the_array_has_each_service_once_and_in_the_order_of_the_strip() -> None:
    page = Page(render_drift_page([rich_report()]))
    data = read_data(page)
    names = [name for part in data["items"] for name in part[2].split("\n")]
    assert len(names) == len(set(names)) == len(rich_report().statuses)
    assert names[:3] == ["basket", "census", "churn"]
    census = next(part for part in data["items"] if part[2] == "census")
    assert data["verdicts"][census[3]] == ["model-swapped", "error"]
    assert data["ages"][census[4]] == "week"
    rows = {more["id"] for tag, more in page.tags if tag == "tbody" and more.get("class") == "row"}
    assert {f"r{part[5]}" for part in data["items"] if len(part) > 3} == rows


def test_no_class_of_resources_is_left_out_of_strip_and_table() -> None:
    statuses = [status(f"s{number}", verdict) for number, verdict in enumerate(_VERDICTS)]
    page = Page(render_drift_page([make_report(statuses)]))
    paths = {
        str(more["class"])[5:]
        for tag, more in page.tags
        if tag == "path" and str(more["class"]).startswith("cell ")
    }
    links = {more["href"] for tag, more in page.tags if tag == "a"}
    for verdict in _VERDICTS:
        slug = verdict.value.replace(" ", "-")
        assert slug in paths
        assert f"#class={slug}" in links
        assert re.search(
            rf"\|\s+{verdict.value} \| {verdict.severity if verdict is not Verdict.IN_SYNC else ''}",
            page.text,
        )


def pieces(remembered: Json, live: Json, declared: Json) -> list[str]:
    """The three values as text, with what differs in brackets."""
    marked = mark_values({"remembered": remembered, "live": live, "declared": declared})
    return [
        "\n".join(
            "".join(f"[{text}]" if differs else text for text, differs in line)
            for line in lines or []
        )
        for lines in marked.values()
    ]


def test_what_differs_is_marked_inside_the_values() -> None:
    assert pieces("m/2026-11-20/a.bin", "m/2026-12-01/a.bin", "m/2026-11-20/a.bin") == [
        '"m/2026-[11]-[20]/a.bin"',
        '"m/2026-[12]-[01]/a.bin"',
        '"m/2026-[11]-[20]/a.bin"',
    ]
    assert pieces(10, 50, 20) == ["[10]", "[50]", "[20]"]
    assert pieces("a", "a", "b") == ['"a"', '"[a]"', '"[b]"']
    assert pieces({"a": 1}, {"a": 1, "b": 2}, {"a": 1})[1] == '{\n  "a": 1[,]\n[  "b": 2]\n}'


def test_a_long_value_keeps_its_difference() -> None:
    long = "word " * 5_000
    remembered, live, _ = pieces(f"{long}one {long}", f"{long}two {long}", f"{long}one {long}")
    assert "[one]" in remembered
    assert "[two]" in live
    assert len(live) < 1_000


def test_a_value_of_one_long_word_is_compared_as_it_is() -> None:
    remembered, live, _ = pieces("c" * 90_000, "c" * 45_000 + "X" + "c" * 45_000, "c" * 90_000)
    assert "[X]" in live
    assert "[" not in remembered
    assert len(live) < 1_000


def test_members_of_a_fleet_are_one_row() -> None:
    text = Page(render_drift_page([rich_report()])).text
    assert f"{FLEET}: 12 members" in text
    assert text.count("WebService/loc017") == 1


def test_five_thousand_services_stay_small() -> None:
    page = render_drift_page([many_report(5_000, 188)])
    assert len(page.encode()) < 300_000
    assert page.count('<tbody class="row"') == 188


def test_what_has_no_details_is_counted() -> None:
    statuses = [status(f"s{n}", Verdict.DRIFTED) for n in range(1_003)]
    text = render_drift_page(
        [make_report(statuses, [finding(f"s{n}", Verdict.DRIFTED, "/p") for n in range(1_003)])]
    )
    assert "no details of 3 more services that are not in sync" in text
    assert text.count('<tbody class="row"') == 1_000


@pytest.mark.parametrize("name", sorted(PAGES))
def test_the_picture_of_the_guide_is_of_a_page_of_today(name: str) -> None:
    guide = (ROOT / "manifests" / "README.md").read_text(encoding="utf-8")
    (caption,) = re.findall(rf"!\[([^\]]*)\]\(pictures/{name}\.png\)", guide)
    words = re.findall(r'"([^"]*)"', caption)
    text = Page(PAGES[name]()).text
    assert words
    assert [one for one in words if one not in text] == []
    picture = (ROOT / "manifests" / "pictures" / f"{name}.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) < 120_000

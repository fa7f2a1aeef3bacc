"""The page of a drift report in a real browser: seen, reached by keys, copied, printed."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from reconciler.model import Address, FailedReport, Resource, Verdict
from reconciler.render.drift.html import render_drift_page
from tests.drifts import finding, make_report, many_report, rich_report, status, two_reports
from tests.e2e.pages import DESK, PHONE, Open, Scheme, Size, check_access
from tests.e2e.world import Project
from tests.unit.test_drift_page import hostile_reports

pytestmark = pytest.mark.e2e

HOSTILE = "<img src=x onerror=alert(1)></script><script>alert(2)</script>\u202e\x1b[31m"


def listed(page: Page) -> list[str]:
    """The name of each service that is listed."""
    return page.locator("#rows tr:visible > th code").all_inner_texts()


def press_until(page: Page, key: str, element: str) -> None:
    """Presses a key until an element has the focus."""
    for _ in range(60):
        page.keyboard.press(key)
        if page.evaluate("one => document.activeElement.matches(one)", element):
            return
    raise AssertionError(element)


def is_dark(page: Page) -> bool:
    background = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    return sum(int(part) for part in background[4:-1].split(",")) < 3 * 128


def test_a_person_reads_the_report_of_a_real_run(
    project: Project, open_page: Open, tmp_path: Path
) -> None:
    world = project.emulator
    for name in ("census", "churn"):
        world.deploy(name, world.model_uri("old"))
        project.manifest(name, world.model_uri("new"))
    assert project.run("apply", "--auto-approve").code == 0
    world.patch("churn", description=HOSTILE)
    done = project.run("drift", "--refresh=full", "--format", "html", "--detailed-exitcode")
    assert done.code == 2
    page = open_page(done.out)
    expect(page.get_by_role("heading", level=1)).to_have_text(
        "Drift: 1 of 2 services is not in sync"
    )
    expect(page.get_by_role("img", name="1 drifted, 1 in sync")).to_be_visible()
    expect(page.locator("img")).to_have_count(0)
    # By keys alone: to the filter, to a row, and to the command.
    press_until(page, "Tab", "#text")
    page.keyboard.type("no such thing")
    expect(page.locator("#shown")).to_have_text("0 of 1 not in sync")
    page.keyboard.press("Control+A")
    page.keyboard.type("img src=x")
    expect(page.locator("#shown")).to_have_text("1 of 1 not in sync")
    expect(page.get_by_text("<img src=x onerror=alert(1)>").first).to_be_visible()
    press_until(page, "Tab", ".copy")
    page.keyboard.press("Enter")
    expect(page.locator("#copied")).to_have_text(
        "Copied: reconciler drift --accept WebService/churn"
    )
    press_until(page, "Shift+Tab", "#text")
    page.keyboard.press("Control+A")
    page.keyboard.press("Control+V")
    expect(page.locator("#text")).to_have_value("reconciler drift --accept WebService/churn")
    dark = is_dark(page)
    press_until(page, "Shift+Tab", "#theme")
    page.keyboard.press("Enter")
    assert is_dark(page) != dark
    assert page.pdf()[:5] == b"%PDF-"
    assert page.evaluate("getSelection().toString()") == ""


@pytest.mark.parametrize(
    ("sizes", "schemes"),
    [
        ([PHONE], ["dark"]),
        pytest.param(
            [DESK, PHONE],
            ["light", "dark"],
            marks=pytest.mark.slow(reason="one of them holds most"),
        ),
    ],
)
def test_everybody_can_read_it(
    open_page: Open, pictures: Path, sizes: list[Size], schemes: list[Scheme]
) -> None:
    page = open_page(render_drift_page([rich_report()]))
    page.get_by_role("button", name="WebService/census").click()
    page.get_by_role("button", name="Fleet/rental").click()
    for size in sizes:
        page.set_viewport_size(size)
        for scheme in schemes:
            page.emulate_media(color_scheme=scheme)
            assert is_dark(page) == (scheme == "dark")
            check_access(page)
            assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
            picture = pictures / f"drift-{size['width']}-{scheme}.png"
            page.screenshot(path=picture, full_page=True)


def test_keys_name_the_squares_and_choose_one(open_page: Open) -> None:
    page = open_page(render_drift_page([rich_report()]))
    press_until(page, "Tab", ".strip")
    said = page.locator(".readout")
    expect(said).to_have_attribute("aria-live", "polite")
    expect(said).to_have_text(
        "WebService/basket (prod): missing, last applied 2026-11-18 by ci@4f1c2aa"
    )
    page.keyboard.press("ArrowRight")
    expect(said).to_contain_text("WebService/census (prod): model-swapped")
    page.keyboard.press("ArrowDown")
    expect(said).to_contain_text("(prod, Fleet/rental)")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("End")
    expect(said).to_contain_text("Fleet/rental")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowLeft")
    expect(said).to_contain_text("WebService/basket")
    page.keyboard.press("Enter")
    assert listed(page)[0] == "WebService/basket"
    assert page.evaluate("document.activeElement.textContent") == "WebService/basket"
    expect(page.get_by_text("reconciler forget WebService/basket")).to_be_in_viewport()
    expect(page.locator("#shown")).to_have_text("1 of 21 not in sync")


def test_a_pointer_names_the_squares_and_chooses_one(open_page: Open) -> None:
    page = open_page(render_drift_page([rich_report()]))
    strip = page.locator(".strip svg")
    box = strip.bounding_box()
    assert box
    square = box["width"] / 40
    # The twentieth of the fleet is in the second row: a member of a row of twelve.
    data = json.loads(page.locator("#data").inner_text())
    names = [name for part in data["items"] for name in part[2].split("\n")]
    at = names.index("loc020")
    page.mouse.move(box["x"] + square * (at % 40 + 0.5), box["y"] + square * (at // 40 + 0.5))
    expect(page.locator(".readout")).to_contain_text(
        "WebService/loc020 (prod, Fleet/rental): drifted"
    )
    page.mouse.down()
    page.mouse.up()
    expect(page.locator("#text")).to_have_value('"WebService/loc020"')
    assert listed(page) == ["Fleet/rental: 12 members"]
    assert page.locator(".members li:visible").all_inner_texts() == ["WebService/loc020"]
    page.mouse.move(1, 1)
    expect(page.locator(".readout")).to_contain_text("Point at a square")


def test_a_narrow_strip_keeps_its_names(open_page: Open) -> None:
    page = open_page(render_drift_page([rich_report()]), viewport=PHONE)
    box = page.locator(".strip svg").bounding_box()
    assert box
    assert box["width"] <= 390
    page.locator(".strip").focus()
    for _ in range(3):
        page.keyboard.press("ArrowDown")
    data = json.loads(page.locator("#data").inner_text())
    names = [name for part in data["items"] for name in part[2].split("\n")]
    expect(page.locator(".readout")).to_contain_text(f"WebService/{names[60]} ")


def test_status_severity_age_and_text_choose_what_is_shown(open_page: Open) -> None:
    page = open_page(render_drift_page([rich_report()]))
    assert len(listed(page)) == 10
    page.get_by_role("combobox", name="Status").select_option("model-swapped")
    assert listed(page) == ["WebService/census"]
    page.get_by_role("combobox", name="Status").select_option("")
    page.get_by_role("combobox", name="Severity").select_option("note")
    assert listed(page) == ["WebService/prices", "WebService/shadow"]
    page.get_by_role("combobox", name="Age").select_option("older")
    assert listed(page) == ["WebService/shadow"]
    expect(page.locator("#shown")).to_have_text("1 of 21 not in sync")
    page.get_by_role("button", name="Reset").click()
    # What is only in the details is found, too: a value, a place, a person.
    for words, names in (
        ("household", ["WebService/census"]),
        ("MAXCONCURRENT churn.yaml", ["WebService/churn"]),
        ("station 17", ["Fleet/rental: 12 members"]),
    ):
        page.get_by_role("searchbox").fill(words)
        assert listed(page) == names
    page.get_by_role("searchbox").fill("loc02")
    expect(page.locator("#shown")).to_have_text("9 of 21 not in sync; 1 in sync")
    page.get_by_role("searchbox").fill("no such thing")
    assert listed(page) == []
    expect(page.get_by_role("search")).to_be_visible()


def test_the_address_keeps_the_filter(open_page: Open) -> None:
    page = open_page(render_drift_page(two_reports()))
    page.get_by_role("combobox", name="Environment").select_option("prod")
    page.get_by_role("searchbox").fill("score-02")
    assert page.evaluate("location.hash") == "#q=score-02&env=prod"
    page.reload()
    expect(page.get_by_role("combobox", name="Environment")).to_have_value("prod")
    assert listed(page) == ["WebService/score-02"]
    page.get_by_role("link", name="in sync").click()
    expect(page.locator("#shown")).to_have_text("0 of 1 not in sync; 14 in sync")
    assert len(listed(page)) == 14
    page.go_back()
    assert listed(page) == ["WebService/score-02"]
    # An address of another report, or one that somebody made up, chooses nothing.
    page.goto(page.url.partition("#")[0] + "#class=nonsense&env=mars&age=%E0%A4%A&q=")
    page.reload()
    assert listed(page) == ["WebService/score-02"]


def test_services_in_sync_are_listed_when_asked_for(open_page: Open) -> None:
    page = open_page(render_drift_page([many_report(450, 8)]))
    assert len(listed(page)) == 8
    more = page.get_by_role("button", name="Show")
    expect(more).to_have_text("Show 200 of 442 in sync")
    more.click()
    assert len(listed(page)) == 208
    expect(more).to_have_text("Show 200 of 242 in sync")
    more.click()
    expect(more).to_have_text("Show 42 in sync")
    more.click()
    expect(more).to_be_hidden()
    assert len(set(listed(page))) == 450


def test_what_has_no_details_is_listed_when_asked_for(
    open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reconciler.render.drift.page._MOST_ROWS", 3)
    names = [f"s{number}" for number in range(6)]
    statuses = [status(name, Verdict.DRIFTED) for name in names]
    findings = [finding(name, Verdict.DRIFTED, "/p") for name in names]
    page = open_page(render_drift_page([make_report(statuses, findings)]))
    assert listed(page) == [f"WebService/s{number}" for number in range(3)]
    expect(page.locator("#shown")).to_have_text("6 of 6 not in sync")
    page.get_by_role("button", name="Show 3 more").click()
    assert listed(page) == [f"WebService/s{number}" for number in range(6)]


def test_the_strip_of_another_environment_names_its_own(open_page: Open) -> None:
    page = open_page(render_drift_page(two_reports()))
    page.locator(".strip").nth(1).focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator(".readout")).to_contain_text("WebService/score-02 (prod)")
    page.keyboard.press("Enter")
    assert page.evaluate("decodeURIComponent(location.hash)") == '#q="WebService/score-02"&env=prod'


REFUSED = """
Object.defineProperty(window, "localStorage", { get() { throw new Error("refused"); } });
Object.defineProperty(navigator, "clipboard", { value: undefined });
"""


def test_a_browser_that_refuses_storage_and_the_clipboard(open_page: Open) -> None:
    page = open_page(render_drift_page([rich_report()]), before=REFUSED)
    dark = is_dark(page)
    page.locator("#theme").click()
    assert is_dark(page) != dark
    page.get_by_role("button", name="WebService/prices").click()
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    page.get_by_role("searchbox").focus()
    page.keyboard.press("Control+V")
    expect(page.get_by_role("searchbox")).to_have_value(
        "reconciler apply --target WebService/prices"
    )


@pytest.mark.parametrize("size", [DESK, PHONE])
def test_no_word_of_a_table_is_broken_into_letters(open_page: Open, size: Size) -> None:
    page = open_page(render_drift_page([rich_report()]), viewport=size)
    page.locator("details.fold").evaluate_all("all => all.forEach(one => { one.open = true })")
    heads = page.locator(".counts thead:not(.unseen) th").evaluate_all(
        "all => all.map(one => [one.textContent, one.offsetHeight])"
    )
    assert "not in sync" in dict(heads)
    assert {height < 48 for _, height in heads} == {True}, heads


def test_the_theme_stays(open_page: Open) -> None:
    page = open_page(render_drift_page([rich_report()]), scheme="dark")
    page.get_by_role("button", name="Light theme").click()
    assert not is_dark(page)
    page.reload()
    assert not is_dark(page)
    page.get_by_role("button", name="Dark theme").click()
    assert is_dark(page)


def test_a_command_that_a_shell_would_misread_is_not_copied(open_page: Open) -> None:
    name = "x;rm -rf $HOME"
    odd = Resource(Address("WebService", name), "/x")
    command = f"reconciler import WebService/{name} /x"
    one = replace(finding("x", Verdict.UNMANAGED), resource=odd, commands=(command,))
    page = open_page(
        render_drift_page([make_report([status("x", Verdict.UNMANAGED, resource=odd)], [one])])
    )
    expect(page.get_by_text(command)).to_be_visible()
    expect(page.get_by_text("Quote the name before you run it")).to_be_visible()
    expect(page.get_by_role("button", name="Copy")).to_have_count(0)


def test_a_printed_page_has_the_details_and_no_controls(open_page: Open) -> None:
    page = open_page(render_drift_page([rich_report()]))
    page.get_by_role("button", name="Dark theme").click()
    page.get_by_role("button", name="WebService/churn").click()
    expect(page.get_by_role("button", name="Copy").first).to_be_visible()
    page.emulate_media(media="print")
    expect(page.get_by_role("search")).to_be_hidden()
    expect(page.locator("#theme")).to_be_hidden()
    expect(page.locator(".copy")).to_have_count(2)
    expect(page.locator(".copy").first).to_be_hidden()
    expect(page.get_by_text("reconciler forget WebService/basket")).to_be_visible()
    assert not is_dark(page)
    assert len(page.pdf()) > 20_000


def test_without_scripts_everything_can_be_read(open_page: Open) -> None:
    page = open_page(render_drift_page([rich_report()]), java_script_enabled=False)
    expect(page.locator("#filter")).to_be_hidden()
    expect(page.get_by_text("reconciler forget WebService/basket")).to_be_visible()
    expect(page.get_by_role("img", name="214 in sync")).to_be_visible()
    assert len(listed(page)) == 10


def test_markup_in_a_report_stays_text(open_page: Open) -> None:
    odd = Resource(Address("WebService", HOSTILE), HOSTILE)
    one = replace(
        finding("x", Verdict.DRIFTED, f"/{HOSTILE}", note=HOSTILE, live=HOSTILE), resource=odd
    )
    calm = [status("a", resource=Resource(Address("WebService", f"{HOSTILE}2"), "/b"))]
    page = open_page(
        render_drift_page([make_report([status("x", Verdict.DRIFTED, resource=odd), *calm], [one])])
    )
    page.get_by_role("button", name="Show").click()
    page.locator(".strip").focus()
    expect(page.locator(".readout")).to_contain_text("<img src=x onerror=alert(1)>")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(page.locator("img")).to_have_count(0)
    expect(page.locator("script")).to_have_count(2)
    assert "\\u202e\\x1b[31m" in page.locator("body").inner_text()


def test_long_names_stay_within_the_page(open_page: Open) -> None:
    page = open_page(render_drift_page(hostile_reports(), [FailedReport("x" * 300, ())]))
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("number", [0, 1])
def test_few_services(open_page: Open, number: int) -> None:
    page = open_page(render_drift_page([make_report([status("only")] * number)]))
    title = "No drift: 1 service in sync" if number else "No service is managed"
    expect(page.get_by_role("heading", level=1)).to_have_text(title)
    check_access(page)
    if number:
        expect(page.get_by_role("img", name="prod: 1 in sync")).to_be_visible()
        page.locator(".strip").click()
        assert listed(page) == ["WebService/only"]

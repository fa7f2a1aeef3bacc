"""The page of a plan in a real browser: seen, heard, reached by keys, and never obeying a plan."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from reconciler.model import Address, Finding, Resource
from reconciler.render.plan.html import render_plan_html
from tests.e2e.pages import Open, Scheme, check_access
from tests.e2e.world import Project
from tests.plans import SPEC, live, member, plan, rich_plan, step, updates

pytestmark = pytest.mark.e2e

HOSTILE = "<img src=x onerror=alert(1)></script><script>alert(2)</script>\u202e\x1b[31m"


def shown(page: Page) -> list[str]:
    """The line of each entry that is listed; the text of what is not painted yet counts too."""
    found = page.locator("#list > li:visible > details > summary").all_text_contents()
    return [" ".join(one.split()) for one in found]


CROSS = pytest.mark.slow(reason="[1280-light] and [390-dark] hold the same")


@pytest.mark.parametrize(
    ("width", "scheme"),
    [
        (1280, "light"),
        pytest.param(1280, "dark", marks=CROSS),
        pytest.param(390, "light", marks=CROSS),
        (390, "dark"),
    ],
)
def test_everybody_can_read_it(open_page: Open, pictures: Path, scheme: Scheme, width: int) -> None:
    page = open_page(
        render_plan_html(rich_plan()),
        scheme=scheme,
        viewport={"width": width, "height": 900},
    )
    page.screenshot(path=pictures / f"plan-{width}-{scheme}.png", full_page=True)
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
    check_access(page)
    background = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    dark = sum(int(part) for part in background[4:-1].split(",")) < 3 * 128
    assert dark == (scheme == "dark")
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide <= width


def test_keys_reach_the_filter_and_open_a_change(open_page: Open) -> None:
    page = open_page(render_plan_html(rich_plan()))
    visited = []
    for _ in range(40):
        page.keyboard.press("Tab")
        visited.append(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
        if visited[-1] == "text":
            break
    assert visited[-1] == "text"
    page.keyboard.type("churn")
    expect(page.locator("#shown")).to_have_text("1 of 43 shown")
    while page.evaluate("document.activeElement.tagName") != "SUMMARY":
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.tagName") != "BODY"
    ring = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert ring == "solid"
    row = page.get_by_text("properties.diagnostics.level")
    expect(row).to_be_hidden()
    page.keyboard.press("Enter")
    expect(row).to_be_visible()
    page.keyboard.press("Enter")
    expect(row).to_be_hidden()


def test_a_screen_reader_hears_what_is_done_to_what(open_page: Open) -> None:
    page = open_page(render_plan_html(rich_plan()))
    assert [one.strip() for one in page.get_by_role("heading").all_inner_texts()] == [
        "Plan: 2 to add, 40 to change, 2 to destroy.",
        "Review these",
        "What will happen",
        "Orphans",
        "Once more: review these",
        "About this plan",
    ]
    expect(page.locator("summary", has_text="destroy WebService/retired")).to_have_count(1)
    table = page.get_by_role("table").first
    assert table.get_by_role("columnheader").all_inner_texts() == [
        "attribute",
        "live now",
        "after the apply",
    ]
    assert "properties.storageAccount.name" in table.get_by_role("rowheader").inner_text()
    for name in ("Filter", "destroy (1)", "Open all"):
        expect(page.get_by_role("search").get_by_text(name)).to_be_visible()
    expect(page.get_by_label("Filter")).to_have_attribute("type", "search")
    expect(page.get_by_role("status")).to_have_text("43 of 43 shown")


def test_words_and_actions_choose_what_is_shown(open_page: Open) -> None:
    page = open_page(render_plan_html(rich_plan()))
    field = page.get_by_label("Filter")
    field.fill("rental-17")
    assert [one[:8] for one in shown(page)] == ["~ update"]
    page.get_by_role("button", name="Open all").click()
    assert page.locator(".members > li:visible").all_text_contents() == ["WebService/rental-17"]
    field.fill("MAXCONCURRENT team=growth")
    expect(page.get_by_role("status")).to_have_text("1 of 43 shown")
    assert "WebService/census" in shown(page)[0]
    field.fill("maxconcurrentcalls")
    expect(page.get_by_role("status")).to_have_text("38 of 43 shown")
    field.fill("no such thing")
    assert shown(page) == []
    expect(page.get_by_role("status")).to_have_text("0 of 43 shown")
    field.fill("")
    page.get_by_label("update (40)").uncheck()
    assert [one.split(" WebService")[0] for one in shown(page)] == [
        "- destroy",
        "-/+ replace",
        "+ create",
    ]
    # What must be minded is never hidden, and leads to its change all the same.
    for one in ("retired", "basket", "frozen"):
        expect(page.locator("#mind ~ .grave").get_by_text(f"WebService/{one}")).to_be_visible()
    page.locator("#mind ~ .grave").get_by_text("WebService/frozen").click()
    expect(page.get_by_text("properties.readOnly", exact=True).last).to_be_in_viewport()
    assert len(shown(page)) == 7


def test_all_can_be_opened_and_closed(open_page: Open) -> None:
    page = open_page(render_plan_html(rich_plan()))
    opened = page.locator("#list > li > details[open]")
    expect(opened).to_have_count(3)
    page.get_by_role("button", name="Open all").click()
    expect(opened).to_have_count(7)
    page.get_by_role("button", name="Close all").click()
    expect(opened).to_have_count(0)


def test_a_link_opens_the_change_that_is_warned_of(open_page: Open) -> None:
    page = open_page(render_plan_html(rich_plan()))
    body = page.locator("#list > li", has_text="WebService/census").locator(".body").first
    expect(body).to_be_hidden()
    page.locator(".warning").get_by_role("link").click()
    expect(body).to_be_visible()
    expect(body).to_be_in_viewport()


def test_markup_in_a_plan_stays_text(open_page: Open) -> None:
    made = step(live(), {"definition": {"tags": {HOSTILE: HOSTILE}}})
    named = replace(made, resource=Resource(Address("WebService", HOSTILE), HOSTILE))
    finding = Finding(HOSTILE, subject=HOSTILE, detail=(HOSTILE,), next_step=HOSTILE)
    page = open_page(render_plan_html(plan(named, findings=(finding,))))
    expect(page.locator("img")).to_have_count(0)
    expect(page.locator("script")).to_have_count(1)
    text = page.locator("body").inner_text()
    assert text.count("<img src=x onerror=alert(1)></script><script>alert(2)</script>") == 8
    assert "\\u202e\\x1b[31m" in text


def test_without_scripts_everything_can_be_read(open_page: Open) -> None:
    page = open_page(render_plan_html(rich_plan()), java_script_enabled=False)
    expect(page.locator("#filter")).to_be_hidden()
    assert len(shown(page)) == 7
    page.locator("summary", has_text="WebService/churn").click()
    expect(page.get_by_text("properties.diagnostics.level", exact=True)).to_be_visible()
    page.locator(".warning").get_by_role("link").click()
    expect(page.get_by_text("team=growth")).to_be_visible()


# In Chromium five thousand take 10 s of a processor; five hundred are the same page.
MANY = [500, pytest.param(5_000, marks=pytest.mark.slow(reason="[500] holds the same"))]


@pytest.mark.parametrize("number", MANY)
def test_many_changes_open_and_are_filtered(open_page: Open, number: int) -> None:
    text = render_plan_html(updates(number))
    assert len(text.encode()) < 3_000 * number
    page = open_page(text)
    expect(page.get_by_role("status")).to_have_text(f"{number} of {number} shown")
    page.get_by_label("Filter").fill("service-0042")
    expect(page.get_by_role("status")).to_have_text(f"10 of {number} shown")
    assert ["WebService/service-00420" in one for one in shown(page)] == [True] + 9 * [False]
    page.get_by_role("button", name="Open all").click()
    expect(page.locator("#list table:visible")).to_have_count(10)
    page.get_by_label("Filter").fill("")
    expect(page.get_by_role("status")).to_have_text(f"{number} of {number} shown")


def test_a_thousand_names_of_one_change(open_page: Open) -> None:
    one = step(live(), SPEC)
    made = plan(*(replace(one, resource=Resource(Address("WebService", f"s{n:04}"), "/x"))
                  for n in range(1_000)))  # fmt: skip
    page = open_page(render_plan_html(made))
    page.get_by_label("Filter").fill("s042")
    expect(page.get_by_role("status")).to_have_text("10 of 1000 shown")
    expect(page.locator(".members > li:visible")).to_have_count(10)


def test_a_fleet_is_folded_until_somebody_looks_for_one(open_page: Open) -> None:
    page = open_page(render_plan_html(plan(*(member(number) for number in range(1, 61)))))
    expect(page.get_by_role("status")).to_have_text("60 of 60 shown")
    assert len(shown(page)) == 1
    members = page.locator(".members > li:visible")
    expect(members).to_have_count(0)
    page.get_by_label("Filter").fill("loc042")
    expect(members).to_have_count(1)
    expect(members).to_contain_text("model → …/042.il")
    page.get_by_label("Filter").fill("")
    expect(members).to_have_count(0)
    page.locator(".fold > summary").click()
    expect(members).to_have_count(60)
    check_access(page)


def test_plan_and_show_print_the_page_and_it_is_the_same(project: Project, open_page: Open) -> None:
    world = project.emulator
    world.deploy("census", world.model_uri("old"))
    project.manifest("census", world.model_uri("new"))
    planned = project.run("plan", "--out", "p.json", "--format", "html", "--detailed-exitcode")
    assert planned.code == 2
    starting_documents = [
        project.run("show", "p.json", "--format", "html", env={"PYTHONHASHSEED": seed}).out
        for seed in ("1", "2")
    ]
    assert starting_documents == [planned.out] * 2
    assert json.loads((project.folder / "p.json").read_text())["plan_digest"] in planned.out
    page = open_page(planned.out)
    expect(page).to_have_title("Plan: 0 to add, 1 to change, 0 to destroy. census")
    expect(page.get_by_text("…/census/new.ilearner").first).to_be_visible()
    assert project.run("apply", "p.json").code == 0
    silent = open_page(project.run("plan", "--format", "html").out)
    expect(silent.get_by_role("heading").first).to_have_text(
        "No changes. Your services match the manifests."
    )

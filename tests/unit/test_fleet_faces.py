"""A thousand resources in every face: alike as one, whoever differs told, nobody grave hidden."""

import functools
import re
from dataclasses import replace

import pytest

from reconciler.model import (
    ABSENT,
    Address,
    Change,
    Finding,
    Plan,
    Resource,
    Rollout,
    SecretReference,
    Verb,
)
from reconciler.plans.step import make_removal
from reconciler.render.findings import render_findings
from reconciler.render.plan.differences import describe_differences
from reconciler.render.plan.groups import group_plan
from reconciler.render.plan.html import render_plan_html
from reconciler.render.plan.markdown import render_plan_markdown
from reconciler.render.plan.text import render_plan
from reconciler.render.words.colour import Paint
from reconciler.render.words.names import list_names
from tests.golden import check
from tests.plans import FLEET, ORPHAN, SPEC, joins, leaves, live, member, plan, step
from tests.unit.test_html import check_page, read

PLAIN = Paint()
SCREEN = 45
ROLLOUT = Rollout(FLEET, (1, "100%"), pause_s=60.0)


def text_of(made: Plan, *, summary: bool = False) -> str:
    return render_plan(made, paint=PLAIN, summary=summary)


@functools.cache
def thousand() -> Plan:
    """A thousand members whose models are swapped, one at odds with the others in each way."""
    ones = [member(number) for number in range(1, 1001)]
    ones[411] = member(412, calls=200)
    ones[500] = member(501, folder="elsewhere")
    return replace(plan(*ones), rollouts=(ROLLOUT,))


def mixed() -> Plan:
    """Members that change, come and go, some refused, beside a resource of its own."""
    final = step(live(), {"definition": {"properties": {"readOnly": True}}}, name="loc090")
    steps = (
        *(member(number) for number in range(1, 41)),
        *(joins(number, title=f"Location {number}") for number in (41, 42, 43, 44)),
        *(leaves(number) for number in (60, 61, 62, 70)),
        replace(final, fleet=FLEET),
        replace(step(live(), SPEC, name="loc091"), fleet=FLEET),
        step(live(), SPEC, name="census"),
    )
    refused = Finding("is managed by another", subject="WebService/loc007", guard="adopt")
    missing = tuple(
        Finding(
            "the model blob does not exist",
            subject=f"WebService/loc{number:03}",
            detail=(f"https://acct.example.org/models/rental/v2/{number:03}.il",),
            next_step=f"To plan it anyway: --allow blob=WebService/loc{number:03}",
            guard="blob",
            severity="warning",
        )
        for number in range(30, 41)
    )
    return replace(plan(*steps, findings=(refused, *missing)), rollouts=(ROLLOUT,))


def test_a_thousand_members_are_one_screen_and_who_is_odd_is_named() -> None:
    made = thousand()
    text = text_of(made)
    check("fleet", text)
    assert text.count("\n") < SCREEN
    assert text_of(made, summary=True).count("\n") < SCREEN
    check("fleet-summary", text_of(made, summary=True))


def test_members_that_do_something_else_stand_apart() -> None:
    made = mixed()
    check("fleet-mixed", text_of(made))
    check("fleet-mixed-summary", text_of(made, summary=True))
    check("fleet-mixed-comment", render_plan_markdown(made).removesuffix("\n"))
    check_page("fleet-mixed-page", made)


def test_the_one_that_stands_for_all_is_like_most_of_them() -> None:
    other = [replace(step(live(title=text), SPEC, name=name), fleet=FLEET)
             for name, text in zip("abcdef", "xyyyyy", strict=True)]  # fmt: skip
    titled = [
        replace(one, changes=(*one.changes, Change(("t",), Verb.REPLACE, text, "z")))
        for one, text in zip(other, "xyyyyy", strict=True)
    ]
    text = text_of(plan(*titled))
    assert 'resource "WebService" "b" (and 5 more) {' in text
    assert '~ t = "y" -> "z"   # was "y" on 5 members, "x" on a' in text


def test_many_orphans_are_ranges() -> None:
    orphans = tuple(Resource(Address("Endpoint", f"loc{n:03}"), f"/x/{n}") for n in range(1, 1001))
    made = replace(plan(), orphans=orphans)
    assert "1,000 orphans: in the ledger" in text_of(made)
    assert "\n  Endpoint/loc001 to Endpoint/loc1000\n" in text_of(made)
    assert "`Endpoint/loc001 to Endpoint/loc1000`" in render_plan_markdown(made)


def test_every_step_is_in_one_group() -> None:
    made = mixed()
    shown = [one for group in group_plan(made) for one in group.steps]
    assert sorted(shown, key=id) == sorted(made.steps, key=id)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_two_members_are_shown_apart_and_three_as_one(number: int) -> None:
    text = text_of(plan(*(member(one) for one in range(1, number + 1))))
    assert text.count("will be updated in-place, a member of Fleet/bike-rental") == number % 3
    assert text.count("Fleet/bike-rental: 3 members") == number // 3


def test_a_comment_names_all_who_are_taken_away_however_many_there_are() -> None:
    steps = (*(leaves(number) for number in range(1, 3001)), *thousand().steps[:5])
    text = render_plan_markdown(plan(*steps))
    assert len(text) < 60_000
    assert "> ⚠ `Fleet/bike-rental: 3,000 members` `loc001 to loc3000`: **destroy**" in text
    names = [f"{number:x}" for number in range(2**20, 2**20 + 99 * 977, 977)]
    steps = tuple(
        replace(leaves(1), resource=Resource(Address("WebService", name), "/x")) for name in names
    )
    for text in (render_plan_markdown(plan(*steps)), text_of(plan(*steps))):
        assert all(name in text for name in names)


def test_removals_without_a_fleet_are_one_line_each_until_nobody_could_read_them() -> None:
    gone = [
        make_removal(Resource(Address("WebService", f"s{number}"), "/x"), live(), ORPHAN)
        for number in range(1000)
    ]
    few, many = text_of(plan(*gone[:20])), text_of(plan(*gone))
    assert few.count("  - WebService/s1 will be destroyed\n") == 1
    assert "  - 1,000 WebServices will be destroyed: s0 to s999" in many
    assert many.count("\n") < SCREEN


def test_a_page_folds_the_members_and_tells_what_is_each_ones_own() -> None:
    page = read(thousand())
    assert "* WebService/loc777 model → …/777.il, 1 attribute" in page.lines
    folds = [given for tag, given in page.tags if tag == "details" and given.get("class") == "fold"]
    assert folds == [{"class": "fold"}]
    assert page.text.count("> 999 resources") == 1
    assert page.text.count('"op": "replace"') == 4


def test_a_page_folds_what_is_said_of_a_thousand() -> None:
    findings = tuple(
        Finding("no blob", f"WebService/loc{number:03}", severity="warning")
        for number in range(1, 1001)
    )
    page = read(replace(thousand(), findings=findings))
    first = page.tags[: page.tags.index(("form", next(g for t, g in page.tags if t == "form")))]
    assert [given for tag, given in first if tag == "details"] == [{"class": "fold"}]


NAMES = [f"loc{number:03}" for number in range(1, 1001)]


def test_values_that_differ_are_counted_and_the_odd_ones_named() -> None:
    same: list[object] = [4] * 1000
    odd = [200 if name == "loc412" else 8 for name in NAMES]
    assert describe_differences(NAMES, same, same) == ()
    assert describe_differences(NAMES, same, odd) == ("8 on 999 members, 200 on loc412",)
    assert describe_differences(NAMES, odd, same) == ("was 8 on 999 members, 200 on loc412",)
    assert describe_differences(NAMES, same, NAMES) == ("different for each",)
    assert describe_differences(NAMES, NAMES, NAMES[::-1]) == ("different for each",)
    assert describe_differences(NAMES, same, [name[-1] for name in NAMES]) == (
        "10 different values",
    )
    assert describe_differences(NAMES[:3], [ABSENT, 1, True], [1, 1, 1]) == (
        "was different for each",
    )
    assert describe_differences(NAMES[:4], [ABSENT, 1, True, True], [1] * 4) == (
        "was true on loc003, loc004, absent on loc001, 1 on loc002",
    )


def test_addresses_that_lie_elsewhere_are_named_and_no_signature_is() -> None:
    uris = [f"https://acct.example.org/models/{name}/m.il?sv=1&sig=planted" for name in NAMES]
    assert describe_differences(NAMES, uris, uris) == ("different for each",)
    uris[2] = "https://u:planted@evil.example.org/m.il"
    own, reported = describe_differences(NAMES, uris, uris)
    assert own == "different for each"
    assert reported == (
        '"https://acct.example.org/models/…" on 999 members, "https://evil.example.org/m.il" on loc003'
    )
    few = describe_differences(NAMES, [1] * 1000, [uris[0], *uris[2:3] * 999])
    assert "planted" not in f"{few}"


def test_no_secret_is_told_where_members_differ() -> None:
    def one(number: int) -> Change:
        return Change(("a", "token"), Verb.REPLACE, "planted", f"planted-{number}", sensitive=True)

    def written(number: int) -> Change:
        after = SecretReference(env="KEY", version=str(number))
        return Change(("b", "key"), Verb.WRITE, ABSENT, after, sensitive=True)

    steps = [
        replace(member(number), changes=(one(number), written(number)), models=(), ops=())
        for number in range(9)
    ]
    for text in (text_of(plan(*steps)), render_plan_html(plan(*steps))):
        assert "planted" not in text
        assert "(sensitive value)" in text
        assert text.count("different for each") == 1


def test_a_note_that_is_another_for_each_says_whose_it_is() -> None:
    steps = []
    for number in range(3):
        made = member(number)
        (drifted,) = (reason for reason in made.reasons if reason.note)
        reason = replace(drifted, note=f"drift: was {number}")
        because = tuple(reason if one is drifted else one for one in made.reasons)
        steps.append(replace(made, reasons=because))
    assert "# loc000: drift: was 0" in text_of(plan(*steps))


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        ([], ""),
        (["b", "a"], "a, b"),
        (["s9", "s10", "s8"], "s8 to s10"),
        (["s09", "s10", "s11", "s1"], "s1, s09 to s11"),
        (["s1", "s2", "t1", "t2", "t3"], "s1, s2, t1 to t3"),
        (["s001", "s3", "s002", "s2"], "s001, s002, s2 and 1 more"),
        ([f"x{n}" for n in (1, 3, 5, 7, 8, 9)], "x1, x3, x5 and 3 more"),
        (["a\x1b[2J", "b" * 500], f"a\\x1b[2J, {'b' * 53} … {'b' * 24}"),
        (["9" * 400, "9" * 401], f"{'9' * 53} … {'9' * 24}, {'9' * 53} … {'9' * 24}"),
        (["²", "٣", "s²"], "s², ², ٣"),
    ],
)
def test_names_that_count_upwards_are_a_range(names: list[str], shown: str) -> None:
    assert list_names(names, 3) == shown


def test_names_stand_for_all() -> None:
    names = [f"loc{number:03}" for number in range(1, 1001) if number % 100]
    ranges = list_names(reversed(names), 20)
    assert ranges.startswith("loc001 to loc099, loc101 to loc199, ")
    assert ranges.count(" to ") == 10


def test_what_is_said_of_many_is_said_once_and_places_stay_apart() -> None:
    many = [Finding("no blob", f"Endpoint/loc{number:03}") for number in range(1, 1001)]
    text = render_findings(many, paint=PLAIN)
    assert text == ("Error: 1,000 resources: no blob\n\n  Endpoint/loc001 to Endpoint/loc1000")
    assert render_findings(many[:2], paint=PLAIN).count("Error") == 2
    twice = [Finding("no blob", "Endpoint/a", detail=(str(n),)) for n in range(9)]
    assert render_findings(twice, paint=PLAIN).count("Error: Endpoint/a") == 9
    general = [Finding("no blob", detail=(str(n),)) for n in range(9)]
    assert len(re.findall(r"Error: no blob", render_findings(general, paint=PLAIN))) == 9

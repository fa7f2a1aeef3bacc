"""Plans as people read them: golden texts, read as a user would before they are kept."""

import json
import re
from dataclasses import replace

import pytest
from markdown_it import MarkdownIt

from reconciler.model import (
    ABSENT,
    Address,
    Finding,
    GuardLimits,
    ModelChange,
    Outcome,
    Resource,
    SecretReference,
    SourceLocation,
)
from reconciler.plans.guards import check_guards
from reconciler.plans.step import make_removal
from reconciler.render.events.outcome import render_outcome
from reconciler.render.findings import render_findings, render_findings_json
from reconciler.render.plan.groups import group_steps
from reconciler.render.plan.html import render_plan_html
from reconciler.render.plan.markdown import render_plan_markdown
from reconciler.render.plan.text import render_plan
from reconciler.render.words.colour import Paint
from reconciler.render.words.escape import cut, escape, shorten_apart, shorten_uris, show_path
from tests.e2e.world import definition
from tests.golden import check
from tests.plans import MEMORY, NEW, OLD, ORPHAN, SPEC, live, plan, step, step_of_every_shape

PLAIN = Paint()


def test_a_model_is_swapped_and_drift_is_told() -> None:
    made = step(live(realtimeConfiguration={"maxConcurrentCalls": 10}), SPEC, last_applied=MEMORY)
    model = replace(
        made.models[0], digest_before=f"sha256:1b4f0e98{'0' * 56}",
        digest_after=f"sha256:9f86d081{'0' * 56}", trust="streamed",
    )  # fmt: skip
    check("update", render_plan(plan(replace(made, models=(model,))), paint=PLAIN))


def test_every_shape_of_change() -> None:
    made = step_of_every_shape()
    check("every-change", render_plan(plan(made, baseline="lost"), paint=PLAIN))


def test_what_is_removed_and_how_it_is_sent() -> None:
    whole = definition(OLD)
    for name in (
        "title",
        "diagnostics",
        "commitmentPlan",
    ):  # diagnostics may be filled in: it stays
        del whole["properties"][name]
    whole["properties"]["storageAccount"].pop("key")
    before = {**live(), "tags": {"owner": "growth", "stray": "1"}}
    key = SecretReference(env="STORAGE_KEY")
    spec = {**SPEC, "definition": whole, "ownership": "exact"}
    made = step(before, spec, secrets={"/properties/storageAccount/key": key})
    check("exact", render_plan(plan(made), paint=PLAIN))


def test_a_create() -> None:
    whole = definition(OLD)
    whole["properties"]["storageAccount"].pop("key")
    secrets = {"/properties/storageAccount/key": SecretReference(env="STORAGE_KEY")}
    made = step(ABSENT, {**SPEC, "definition": whole}, secrets=secrets)
    check("create", render_plan(plan(made), paint=PLAIN))
    check("create-full", render_plan(plan(made), paint=PLAIN, full=True))


def test_what_a_plan_counts_is_shown_on_demand() -> None:
    text = "x" * 500
    many = {"definition": {"tags": {f"tag-{n:02}": text for n in range(80)}}}
    for spec in ({**SPEC, **many}, many):
        made = plan(step(live(), spec))
        brief = render_plan(made, paint=PLAIN), render_plan_markdown(made)
        full = render_plan(made, paint=PLAIN, full=True), render_plan_markdown(made, full=True)
        for short, whole in zip(brief, full, strict=True):
            assert not re.search(r"and \d+ more", whole)
            assert re.search(r"and \d+ more attributes; plan --full shows them", short)
            assert (short.count(text), whole.count(text)) == (0, 80)


def test_a_structure_is_compared_whole_on_demand() -> None:
    edges = [{"sourceNodeId": f"node{n}", "targetNodeId": f"node{n + 1}"} for n in range(30)]
    after = [{**edge, "sourcePortId": "Results dataset"} for edge in edges]
    properties = {"package": {"edges": edges}}
    spec = {"definition": {"properties": {"package": {"edges": after}}}}
    made = plan(step(live(**properties), spec))
    brief, full = (render_plan(made, paint=PLAIN, full=one) for one in (False, True))
    assert re.search(r"… and \d+ more (lines|differences)", brief)
    assert not re.search(r"… and \d+ more", full)


def test_a_comment_shows_a_change_in_short_that_does_not_fit_in_full() -> None:
    tags = {f"tag-{n:03}": "x" * 500 for n in range(200)}
    text = render_plan_markdown(plan(step(live(), {"definition": {"tags": tags}})), full=True)
    assert len(text) < 60_000
    assert "and 140 more attributes; plan --full shows them" in text


def test_a_replacement_and_a_removal_are_told_first_and_last_and_refused() -> None:
    replaced = step(
        live(), {"definition": {"properties": {"storageAccount": {"name": "other"}}}}, name="b"
    )
    removed = make_removal(Resource(Address("WebService", "z"), "/x/z"), live(), ORPHAN)
    updated = step(live(), SPEC, name="a")
    steps = (updated, replaced, removed)
    findings = check_guards(steps, GuardLimits(), 3, ())
    check("refused", render_plan(plan(*steps, findings=findings), paint=PLAIN))


def test_an_irreversible_change_is_refused() -> None:
    made = step(live(), {"definition": {"properties": {"readOnly": True}}})
    findings = check_guards((made,), GuardLimits(), 1, ())
    check("irreversible", render_plan(plan(made, findings=findings), paint=PLAIN))


def test_what_cannot_be_undone_is_told_before_what_can() -> None:
    last = step(live(), {"definition": {"properties": {"readOnly": True}}}, name="z")
    removed = make_removal(Resource(Address("WebService", "y"), "/x/y"), live(), ORPHAN)
    text = render_plan(plan(step(live(), SPEC, name="a"), last, removed), paint=PLAIN)
    reported = re.findall(r"# WebService/(\w) ", text)
    assert reported == ["y", "z", "a"]
    assert text.index("is changed irreversibly: properties.readOnly") > text.index("# WebService/a")


def test_above_twenty_changes_a_table_comes_first() -> None:
    steps = [step(live(), SPEC, name=f"service-{number:02}") for number in range(21)]
    text = render_plan(plan(*steps), paint=PLAIN)
    check("many", text)


def test_the_comment_on_a_pull_request() -> None:
    replaced = step(
        live(), {"definition": {"properties": {"storageAccount": {"name": "other"}}}}, name="b"
    )
    steps = (step(live(), SPEC, name="a"), replaced)
    findings = check_guards(steps, GuardLimits(), 3, ())
    made = plan(*steps, findings=findings, baseline="lost")
    check("comment", render_plan_markdown(made).removesuffix("\n"))
    same = replace(plan(), unchanged=(replaced.resource,))
    check("comment-nothing", render_plan_markdown(same).removesuffix("\n"))


def test_a_plan_of_nothing_claims_no_match() -> None:
    """All was destroyed before, or nothing is declared."""
    none = plan()
    for text in (
        render_plan(none, paint=PLAIN),
        render_plan_markdown(none),
        render_plan_html(none),
    ):
        assert "No changes. This plan has no service to change." in text
        assert "match the manifests" not in text
        assert "compared" not in text


HOSTILE = (
    "<img src=x onerror=alert(1)> | @everyone `x` ``y`` [a](http://e) \n# h ``` ~~~ --> </details>"
)


def test_nothing_from_outside_is_obeyed_in_a_comment() -> None:
    before = live(description="d", title=HOSTILE)
    made = step(before, {"definition": {"tags": {HOSTILE: HOSTILE}}})
    finding = Finding(HOSTILE, subject=HOSTILE, next_step=HOSTILE)
    text = render_plan_markdown(plan(made, findings=(finding,)))
    html = MarkdownIt("gfm-like", {"html": True, "linkify": False}).render(text)
    assert "<img" not in html
    assert "<a " not in html
    assert html.count("</details>") == 1
    assert html.count("<h1>") == 0
    outside = re.sub(r"<code.*?</code>", "", html, flags=re.DOTALL)
    assert "@" not in outside
    assert html.count("<tr>") == 2


@pytest.mark.parametrize("number", [1, 50, 2000, 5000])
def test_a_comment_fits_at_any_size_and_what_must_be_seen_is_there(number: int) -> None:
    steps = [
        step(live(), {"definition": {"properties": {"description": f"d{n}"}}}, name=f"s{n}")
        for n in range(min(number, 50))
    ]
    many = [replace(steps[n % len(steps)], resource=Resource(Address("WebService", f"s{n}"), "/x"))
            for n in range(number)]  # fmt: skip
    gone = [
        make_removal(Resource(Address("WebService", f"gone-{n}"), "/x"), live(), ORPHAN)
        for n in range(9)
    ]
    final = [step(live(), {"definition": {"properties": {"readOnly": True}}}, name="final")]
    text = render_plan_markdown(plan(*many, *gone, *final))
    assert len(text) < 60_000
    for n in range(9):
        assert f"⚠ `WebService/gone-{n}`: **destroy**" in text
    assert "`WebService/final`: cannot be undone" in text
    assert text.count("```") == 2
    assert f"{number + 1} to change, 9 to destroy" in text


def test_changes_that_only_look_alike_are_not_grouped() -> None:
    texts = [f"{'x' * 200}{number}{'x' * 200}" for number in range(5)]
    steps = [
        step(live(), {"definition": {"properties": {"description": text}}}, name=f"s{number}")
        for number, text in enumerate(texts)
    ]
    assert render_plan(plan(*steps), paint=PLAIN).count("will be updated in-place") == 5


def test_two_alike_are_shown_apart_and_summary_shows_lines_alone() -> None:
    steps = [step(live(title="T" * number), SPEC, name=f"s{number}") for number in (1, 2)]
    assert render_plan(plan(*steps), paint=PLAIN).count("will be updated in-place") == 2
    check("summary", render_plan(plan(*steps), paint=PLAIN, summary=True))


def test_what_is_not_grouped_keeps_its_order() -> None:
    wanted = {"a": "x", "b": "y", "c": "x", "d": "z", "e": "z", "f": "z"}
    steps = [
        step(live(), {"definition": {"properties": {"description": text}}}, name=name)
        for name, text in wanted.items()
    ]
    groups = [[one.resource.address.name for one in each.steps] for each in group_steps(steps)]
    assert groups == [["a"], ["b"], ["c"], ["d", "e", "f"]]


def test_nothing_to_do() -> None:
    resources = tuple(Resource(Address("WebService", n), f"/x/{n}") for n in "abc")
    check("nothing", render_plan(replace(plan(), unchanged=resources), paint=PLAIN))


def test_no_changes_claims_nothing_of_what_the_service_never_shows() -> None:
    one = replace(plan(), not_observable={"WebService/a": ("/properties/keys/primary",)})
    two = replace(plan(), not_observable={"WebService/a": ("/x",), "WebService/b": ("/y",)})
    for render_output in (render_plan_markdown, lambda made: render_plan(made, paint=PLAIN)):
        assert (
            "1 declared attribute is not observable: the service never returns it."
            in render_output(one)
        )
        assert "2 declared attributes are not observable" in render_output(two)
        assert "not observable" not in render_output(plan())


def test_colour_adds_nothing_but_colour() -> None:

    made = plan(step(live(), SPEC))
    coloured = render_plan(made, paint=Paint(enabled=True))
    assert "\x1b[" in coloured
    assert re.sub(r"\x1b\[\d+m", "", coloured) == render_plan(made, paint=PLAIN)


def test_findings_have_one_form() -> None:
    findings = [
        Finding(
            'no trained model is named "Census Model"',
            subject="WebService/census",
            place=SourceLocation("manifests/census.yaml", 9, 5),
            detail=('The service has: "Census Model [trained model]".',),
            next_step='Did you mean "Census Model [trained model]"?',
        ),
        Finding("it is only a warning", severity="warning"),
        Finding("bad \x1b[2J name\nof two lines", subject="a\x07b"),
    ]
    check("findings", render_findings(findings, paint=PLAIN))
    reported = json.loads(render_findings_json(findings))
    assert (reported["valid"], reported["error_count"], reported["warning_count"]) == (False, 2, 1)
    assert reported["diagnostics"][0]["range"]["start"] == {"line": 9, "column": 5}


def test_only_what_has_the_same_next_step_is_told_together() -> None:
    lost = Finding("the answer broke off", next_step="Nothing was changed: it is not there.")
    findings = [replace(lost, subject=f"WebService/s{n}") for n in range(3)]
    findings.append(replace(findings[0], subject="WebService/s3", next_step="It may be done."))
    text = render_findings(findings, paint=PLAIN)
    assert text.count("Nothing was changed") == 1
    assert "Error: 3 resources: the answer broke off" in text
    assert "Error: WebService/s3: the answer broke off\n\n  It may be done." in text


def test_thousands_of_findings_are_bounded() -> None:
    text = render_findings([Finding(f"number {n}") for n in range(5000)], paint=PLAIN)
    assert len(text) < 20_000
    assert text.endswith("… and 4800 more; --json shows them all.")


def test_the_last_word_of_an_apply() -> None:
    done = tuple(Address("WebService", f"s{n}") for n in range(19))
    left = tuple(Address("WebService", f"late-{n:02}") for n in range(23))
    failed = Finding(
        'not applied: the service reports success and still has "old"',
        subject="WebService/s3",
        next_step="Plan again to see what is live.",
    )
    lasting = Finding(
        "cannot be rolled back: the service cannot undo the change",
        subject="WebService/s2",
        next_step="It stays as applied. Declare the values it must have, then plan and apply.",
    )
    incomplete = Outcome(changed=done, failures=(failed,))
    check("incomplete", render_outcome(incomplete, paint=PLAIN))
    complete = render_outcome(Outcome(changed=done[:1]), paint=PLAIN)
    assert complete == "Apply complete! Resources: 0 added, 1 changed, 0 destroyed."
    stopped = replace(incomplete, not_started=left)
    check("incomplete-left", render_outcome(stopped, paint=PLAIN))
    broken_off = Outcome(changed=done[:3], not_started=left[:1])
    check("interrupted", render_outcome(broken_off, paint=PLAIN, halted="interrupted"))
    check("stopped", render_outcome(broken_off, paint=PLAIN, halted="stdout was closed"))
    restored = Outcome(failures=(failed,), rolled_back=done[:2])
    check("rolled-back", render_outcome(restored, paint=PLAIN))
    partly = replace(restored, changed=done[2:3], unrestored=(lasting,))
    check("rolled-back-in-part", render_outcome(partly, paint=PLAIN))


def test_text_from_outside_is_made_harmless() -> None:
    assert escape("a\x1b[2J\u202e\u200bb\n") == "a\\x1b[2J\\u202e\\u200bb\\n"
    # Two codes are never written as one: `\ue0041` would be another character and a digit.
    assert escape("\U000e0041\ue004") == "\\U000e0041\ue004"
    assert escape("Größe 日本") == "Größe 日本"
    assert cut("x" * 300) == cut(cut("x" * 300))
    assert len(cut("x" * 10_000)) <= 121


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        (("properties", "title"), "properties.title"),
        (("tags", "a/b~c"), 'tags["a/b~c"]'),
        (("a", 0, "b c"), 'a[0]["b c"]'),
        (("a", ""), 'a[""]'),
        (("a", "one\ntwo"), 'a["one\\ntwo"]'),
        (("a", 'say "x" \u202e\x1b'), 'a["say \\"x\\" \\u202e\\u001b"]'),
    ],
)
def test_paths_read_as_people_write_them(path: tuple[str | int, ...], shown: str) -> None:
    assert show_path(path) == shown


def test_addresses_are_shortened_to_what_tells_them_apart() -> None:
    assert shorten_uris(OLD, NEW) == (
        "…/census/2026-10-02.ilearner",
        "…/census/2026-11-20.ilearner",
    )
    other = NEW.replace("acct", "elsewhere")
    assert shorten_uris(OLD, other) == (OLD, other)


def test_a_digest_says_how_far_it_can_be_trusted() -> None:
    made = step(live(), SPEC)

    def reported(digest: str, trust: str) -> str:
        model: ModelChange = replace(made.models[0], digest_after=digest, trust=trust)
        return render_plan(plan(replace(made, models=(model,))), paint=PLAIN)

    assert "sha256 9f86d081…\n" in reported("sha256:9f86d08100", "streamed")
    assert "sha256 9f86d081… (reported by its uploader)" in reported(
        "sha256:9f86d08100", "metadata"
    )
    assert "md5 9f86d081…" in reported("md5:9f86d08100", "md5")
    assert "reports no digest" in reported("", "none")


@pytest.mark.parametrize(
    ("uris", "shown"),
    [
        (["https://a/m/1/model.ilearner"], ["…/1/model.ilearner"]),
        (
            ["https://a/m/1/model.ilearner", "https://a/m/2/model.ilearner"],
            ["…/1/model.ilearner", "…/2/model.ilearner"],
        ),
        (
            ["https://a/x/1/m", "https://a/y/1/m", "https://a/y/2/m"],
            ["…/x/1/m", "…/y/1/m", "…/2/m"],
        ),
        (["https://a/1/m", "https://b/1/m"], ["…/a/1/m", "…/b/1/m"]),
        (["http://a/m", "https://a/m"], ["http://a/m", "https://a/m"]),
        (["m", "b/m", "a/b/m"], ["m", "b/m", "a/b/m"]),
        ([], []),
    ],
)
def test_ends_of_uris_tell_them_apart(uris: list[str], shown: list[str]) -> None:
    found = shorten_apart(uris)
    assert [found[uri] for uri in uris] == shown

"""Plans as people read them: golden texts, read as a user would before they are kept.

RECONCILER_BLESS=1 writes them anew.
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from reconciler.estimate import estimate
from reconciler.guards import judge
from reconciler.kinds.web_service import KIND
from reconciler.model import (
    ABSENT,
    Action,
    Address,
    Agenda,
    Cause,
    Event,
    Finding,
    GuardLimits,
    Inputs,
    Json,
    Manifest,
    Memory,
    ModelChange,
    Outcome,
    Pace,
    Place,
    Plan,
    Reason,
    Refresh,
    Refreshing,
    Resource,
    Retrying,
    SecretReference,
    Step,
    StepDone,
    StepFailed,
    StepStarted,
    StepWaiting,
    Throttling,
)
from reconciler.plan import Wish, make_removal, make_step
from reconciler.reasons import explain_changes
from reconciler.render.console import describe
from reconciler.render.escape import cut, escape, shorten_uris, show_path
from reconciler.render.finding import render_findings, render_findings_json
from reconciler.render.markdown import render_plan_markdown
from reconciler.render.paint import Paint
from reconciler.render.text import render_outcome, render_plan
from tests.e2e.world import definition

PACE = Pace(15.0, 10, 250, 25.0, 200, 10.0)
ORPHAN = Reason("", Cause.ORPHAN, "no manifest names it any more")
GOLDEN = Path(__file__).parent / "golden"
PLAIN = Paint()
STEPS = (Action.CREATE, Action.UPDATE, Action.REPLACE, Action.DELETE)
MODEL = "Census Model [trained model]"
OLD, NEW = (
    f"https://acct.blob.core.windows.net/models/census/{day}.ilearner"
    for day in ("2026-10-02", "2026-11-20")
)


def check(name: str, text: str) -> None:
    file = GOLDEN / f"{name}.txt"
    if os.environ.get("RECONCILER_BLESS") == "1":
        file.parent.mkdir(exist_ok=True)
        file.write_text(text + "\n", encoding="utf-8")
    assert file.read_text(encoding="utf-8") == text + "\n"


def live(**properties: Json) -> Json:
    body = definition(OLD)
    body["properties"]["storageAccount"].pop("key")
    body["properties"].pop("commitmentPlan")
    body["properties"] |= properties
    return {"id": "/x/census", **body}


def step(
    before: Json,
    spec: Json,
    *,
    name: str = "census",
    memory: Memory | None = None,
    secrets: Mapping[str, SecretReference] | None = None,
) -> Step:
    resource = Resource(Address("WebService", name), "/x/CensusPre.2016.8.17")
    manifest = Manifest(resource.address, spec, "census.yaml", "sha256:0")
    declared = KIND.bind(manifest, before)
    wish = Wish(resource, KIND.field, before, declared, secrets or {}, memory)
    made = make_step(wish)
    assert made is not None
    return replace(made, because=tuple(explain_changes(wish, made.changes)))


def plan(*steps: Step, findings: tuple[Finding, ...] = (), baseline: str = "kept") -> Plan:
    return Plan(
        steps=steps,
        unchanged=(),
        findings=findings,
        inputs=Inputs("p", {}),
        refresh=Refresh("full", len(steps) or 3, len(steps) or 3, len(steps) or 3),
        made_at="2026-11-20T12:00:00Z",
        baseline="lost" if baseline == "lost" else "kept",
        estimate=estimate(steps, PACE, 10),
    )


MEMORY = Memory(
    "/x",
    {"/properties/realtimeConfiguration/maxConcurrentCalls": 20},
    {},
    "2026-11-02T08:00:00Z",
    "ci",
    "4f1c2aa9b1d2",
    7,
)
SPEC = {
    "trainedModels": {MODEL: {"uri": NEW}},
    "definition": {"properties": {"realtimeConfiguration": {"maxConcurrentCalls": 20}}},
}


def test_a_model_is_swapped_and_drift_is_told() -> None:
    made = step(live(realtimeConfiguration={"maxConcurrentCalls": 10}), SPEC, memory=MEMORY)
    model = replace(
        made.models[0], digest_before=f"sha256:1b4f0e98{'0' * 56}",
        digest_after=f"sha256:9f86d081{'0' * 56}", trust="streamed",
    )  # fmt: skip
    check("update", render_plan(plan(replace(made, models=(model,))), paint=PLAIN))


def test_every_shape_of_change() -> None:
    before = live(
        title="Old",
        diagnostics={"level": "None"},
        exampleRequest={"inputs": {"input1": [[1, "a"]]}, "globalParameters": {"x": {"y": [1, 2]}}},
    )
    wanted = {
        "tags": {"team": "growth", "a/b~c": "odd"},
        "properties": {
            "title": "New \x1b[31m\u202e title",
            "description": "D" * 400,
            "diagnostics": {"level": "All", "expiry": "2030-01-01T00:00:00Z"},
            "exampleRequest": {"globalParameters": {"x": {"y": [1, 3]}, "z": None}},
            "package": {
                "edges": [{"sourceNodeId": "node1", "targetNodeId": "node2"}],
                "nodes": {"node1": {"parameters": {"Mode": {"value": "b"}}}},
            },
        },
    }
    secrets = {
        "/properties/keys/primary": SecretReference(env="CENSUS_KEY", version="2026-q4"),
        "/properties/keys/secondary": SecretReference(file="secrets/second.key"),
    }
    made = step(before, {"definition": wanted}, secrets=secrets)
    check("every-change", render_plan(plan(made, baseline="lost"), paint=PLAIN))


def test_a_create() -> None:
    whole = definition(OLD)
    whole["properties"]["storageAccount"].pop("key")
    secrets = {"/properties/storageAccount/key": SecretReference(env="STORAGE_KEY")}
    made = step(ABSENT, {**SPEC, "definition": whole}, secrets=secrets)
    check("create", render_plan(plan(made), paint=PLAIN))


def test_a_replacement_and_a_removal_are_told_first_and_last_and_refused() -> None:
    replaced = step(
        live(), {"definition": {"properties": {"storageAccount": {"name": "other"}}}}, name="b"
    )
    removed = make_removal(Resource(Address("WebService", "z"), "/x/z"), live(), ORPHAN)
    updated = step(live(), SPEC, name="a")
    steps = (updated, replaced, removed)
    findings = judge(steps, GuardLimits(), 3, ())
    check("refused", render_plan(plan(*steps, findings=findings), paint=PLAIN))


def test_an_irreversible_change_is_refused() -> None:
    made = step(live(), {"definition": {"properties": {"readOnly": True}}})
    findings = judge((made,), GuardLimits(), 1, ())
    check("irreversible", render_plan(plan(made, findings=findings), paint=PLAIN))


def test_above_twenty_changes_a_table_comes_first() -> None:
    steps = [step(live(), SPEC, name=f"service-{number:02}") for number in range(21)]
    text = render_plan(plan(*steps), paint=PLAIN)
    check("many", text)


def test_the_comment_on_a_pull_request() -> None:
    replaced = step(
        live(), {"definition": {"properties": {"storageAccount": {"name": "other"}}}}, name="b"
    )
    steps = (step(live(), SPEC, name="a"), replaced)
    findings = judge(steps, GuardLimits(), 3, ())
    made = plan(*steps, findings=findings, baseline="lost")
    check("comment", render_plan_markdown(made).removesuffix("\n"))
    check("comment-nothing", render_plan_markdown(plan()).removesuffix("\n"))


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


def test_nothing_to_do() -> None:
    resources = tuple(Resource(Address("WebService", n), f"/x/{n}") for n in "abc")
    check("nothing", render_plan(replace(plan(), unchanged=resources), paint=PLAIN))


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
            place=Place("manifests/census.yaml", 9, 5),
            detail=('The service has: "Census Model [trained model]".',),
            next_step='Did you mean "Census Model [trained model]"?',
        ),
        Finding("it is only a warning", severity="warning"),
        Finding("bad \x1b[2J name\nof two lines", subject="a\x07b"),
    ]
    check("findings", render_findings(findings, paint=PLAIN))
    told = json.loads(render_findings_json(findings))
    assert (told["valid"], told["error_count"], told["warning_count"]) == (False, 2, 1)
    assert told["diagnostics"][0]["range"]["start"] == {"line": 9, "column": 5}


def test_thousands_of_findings_are_bounded() -> None:
    text = render_findings([Finding(f"number {n}") for n in range(5000)], paint=PLAIN)
    assert len(text) < 20_000
    assert text.endswith("… and 4800 more; --json has them all.")


def test_the_last_word_of_an_apply() -> None:
    done = tuple(Address("WebService", f"s{n}") for n in range(19))
    failed = Finding(
        'not applied: the service reports success and still has "old"',
        subject="WebService/s3",
        next_step="Plan again to see what is live.",
    )
    check("incomplete", render_outcome(Outcome(changed=done, failures=(failed,)), paint=PLAIN))
    complete = render_outcome(Outcome(changed=done[:1]), paint=PLAIN)
    assert complete == "Apply complete! Resources: 0 added, 1 changed, 0 destroyed."


def test_every_event_has_its_line() -> None:
    resource = Resource(Address("WebService", "census"), "/x/CensusPre.2016.8.17")
    events: list[Event] = [
        Agenda(reads=1),
        Refreshing(resource),
        *(StepStarted(resource, action) for action in STEPS),
        *(StepWaiting(resource, action, 10.4) for action in STEPS),
        *(StepDone(resource, action, 72.9) for action in STEPS),
        StepFailed(resource, Action.UPDATE, Finding("it went wrong")),
        Retrying("GET management.azure.com", "throttled", 7.0),
        Throttling("reads of management.azure.com", "The limit has been reached.", 6.2),
    ]
    lines = [line for event in events if (line := describe(event, PLAIN)) is not None]
    check("events", "\n".join(lines))


def test_text_from_outside_is_made_harmless() -> None:
    assert escape("a\x1b[2J\u202e\u200bb\n") == "a\\x1b[2J\\u202e\\u200bb\\n"
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

    def told(digest: str, trust: str) -> str:
        model: ModelChange = replace(made.models[0], digest_after=digest, trust=trust)
        return render_plan(plan(replace(made, models=(model,))), paint=PLAIN)

    assert "sha256 9f86d081…\n" in told("sha256:9f86d08100", "streamed")
    assert "sha256 9f86d081… (as its uploader says)" in told("sha256:9f86d08100", "metadata")
    assert "md5 9f86d081…" in told("md5:9f86d08100", "md5")
    assert "tells no digest" in told("", "none")

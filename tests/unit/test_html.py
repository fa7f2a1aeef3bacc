"""A plan as a page: what stands in it and in which order, and that nothing in it is obeyed."""

import base64
import hashlib
import re
import unicodedata
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from reconciler import __version__
from reconciler.kinds.web_service import KIND
from reconciler.model import (
    ABSENT,
    Address,
    Cause,
    Change,
    Finding,
    Inputs,
    Json,
    ModelChange,
    Plan,
    Reason,
    Resource,
    SecretReference,
    SourceLocation,
    Step,
    Verb,
)
from reconciler.plans.plan_file import plan_document
from reconciler.plans.step import make_removal
from reconciler.render.plan import page as page_rows
from reconciler.render.plan.html import render_plan_html
from reconciler.render.plan.patch import show_operations
from tests.golden import check
from tests.plans import SPEC, live, plan, rich_plan, step, step_of_every_shape, updates

VOID = {"meta", "link", "input", "wbr"}
BLOCKS = {"h1", "h2", "p", "li", "tr", "dt", "summary", "legend", "label", "form", "pre", "table"}
MARKS = {"h1": "# ", "h2": "## ", "summary": "> ", "li": "* "}
HOSTILE = (
    "<img src=x onerror=alert(1)></script></style></title><script>alert(2)</script>\"' onload=x "
    "{{ 7 * 7 }}{% raw %} \u2028\x85\u202e\x1b[31m\x00\r\n]]>--> https://u:secret@h/p?sig=secret"
)


class Page(HTMLParser):
    """A page taken apart: its tags, and its text a line a block; fails where tags do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.lines: list[str] = []
        self.texts: dict[str, str] = {}
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag in BLOCKS:
            self.lines.append(MARKS.get(tag, ""))
        elif tag in {"th", "td"}:
            self.lines[-1] += " | "

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag in BLOCKS:
            self.lines.append("")

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in {"style", "script", "title"}:
            self.texts[self.open[-1]] = self.texts.get(self.open[-1], "") + data
        elif "pre" in self.open:
            first, *rest = data.split("\n")
            self.lines[-1] += first
            self.lines += rest
        elif self.lines:
            self.lines[-1] += re.sub(r"\s+", " ", data)

    @property
    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self.lines if line.strip() not in {"", "*"})


def read(made: Plan) -> Page:
    return Page(render_plan_html(made))


def check_page(name: str, made: Plan) -> None:
    """Without what is another in each version."""
    text = re.sub(r"sha256:[0-9a-f]{64}", "sha256:…", read(made).text)
    check(name, text.replace(f"reconciler {__version__}", "reconciler …"))


def test_the_page_as_it_is_read() -> None:
    check_page("page", rich_plan())


def test_a_page_of_nothing_to_do() -> None:
    quiet = tuple(Resource(Address("WebService", n), f"/x/{n}") for n in "abc")
    check_page("page-nothing", replace(plan(), unchanged=quiet))


def test_what_is_grave_stands_first_unfolded_and_last() -> None:
    text = render_plan_html(rich_plan())
    body = text[text.index("<main>") :]
    assert body.index('id="mind"') < body.index('id="changes"') < body.index('id="again"')
    first = body[: body.index('id="changes"')]
    assert first.index("WebService/retired") < first.index("WebService/basket")
    assert "--allow replace=WebService/basket" in first
    assert "<details" not in first
    entries = re.findall(r'<li class="(.*?)" data-action="(\w+)">\s*<details( open)?>', body)
    assert entries == [
        ("destroy", "destroy", " open"),
        ("replace", "replace", " open"),
        ("update final", "update", " open"),
        ("update", "update", ""),
        ("update", "update", ""),
        ("update", "update", ""),
        ("create", "create", ""),
    ]


def test_the_same_bytes_for_the_same_plan() -> None:
    assert render_plan_html(rich_plan()) == render_plan_html(rich_plan())


def hostile_plan() -> Plan:
    """Hostile text wherever a plan can hold text from outside."""
    made = step(
        live(title=HOSTILE, description="d", exampleRequest={"globalParameters": {HOSTILE: 1}}),
        {
            "definition": {
                "tags": {HOSTILE: HOSTILE},
                "properties": {
                    "title": HOSTILE[::-1],
                    "exampleRequest": {"globalParameters": {HOSTILE: [HOSTILE]}},
                },
            }
        },
        secrets={"/properties/keys/primary": SecretReference(env=HOSTILE, version=HOSTILE)},
    )
    resource = Resource(Address(HOSTILE, HOSTILE), f"/x/{HOSTILE}")
    reasons = tuple(Reason(at, Cause.DRIFT, HOSTILE) for at in ("", "/properties/title"))
    model = ModelChange(HOSTILE, ("a", HOSTILE), HOSTILE, HOSTILE, f"{HOSTILE}:1", f"{HOSTILE}:2")
    made = replace(
        made,
        resource=resource,
        reasons=reasons,
        labels={HOSTILE: HOSTILE},
        models=(replace(model, trust="streamed"),),
        not_observable=(HOSTILE,),
        replace_paths=(f"/{HOSTILE}",),
    )
    finding = Finding(
        HOSTILE, HOSTILE, SourceLocation(HOSTILE, 1, 2), (HOSTILE,), HOSTILE, guard=HOSTILE
    )
    alike = [replace(made, resource=Resource(Address("W", f"{n}{HOSTILE}"), "/")) for n in "abc"]
    removed = make_removal(resource, live(), Reason("", Cause.ORPHAN, HOSTILE))
    final = Change(("p", HOSTILE), Verb.REPLACE, False, True, irreversible=True)
    graver = replace(made, changes=(*made.changes, final))
    findings = (finding, replace(finding, severity="warning", guard=""))
    inputs = Inputs(HOSTILE, {HOSTILE: ""}, HOSTILE, HOSTILE, True, {}, (HOSTILE,), (HOSTILE,))
    return replace(
        plan(*alike, graver, removed, findings=findings, baseline="lost"),
        inputs=inputs,
        made_at=HOSTILE,
        unchanged=(resource,),
        orphans=(resource,),
        not_observable={HOSTILE: (HOSTILE,)},
    )


def test_nothing_from_outside_is_obeyed() -> None:
    text = render_plan_html(hostile_plan())
    page = Page(text)
    names = [tag for tag, _ in page.tags]
    assert "img" not in names
    assert (names.count("script"), names.count("style"), names.count("title")) == (1, 1, 1)
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")]
        assert "style" not in attributes
        for name in ("href", "src"):
            assert re.fullmatch(r"#[a-z0-9-]+|data:,", attributes.get(name) or "#x"), tag
    assert "<img src=x onerror=alert(1)>" in page.text
    assert "{{ 7 * 7 }}" in page.text


def test_no_character_moves_or_hides_what_is_read() -> None:
    text = render_plan_html(hostile_plan())
    kinds = {unicodedata.category(one) for one in text if one != "\n"}
    assert not kinds & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert "\\u202e\\x1b[31m\\x00\\r\\n" in text


def test_half_a_character_is_shown_as_what_it_is() -> None:
    made = step(live(), {"definition": {"properties": {"title": "half \ud83d"}}})
    assert "half \\ud83d" in render_plan_html(plan(made)).encode().decode()


def test_long_text_is_cut_in_the_middle() -> None:
    long = f"first {'x' * 100_000} last"
    made = step(live(), {"definition": {"properties": {"title": long}}})
    finding = Finding(long, subject=long, detail=(long,), next_step=long, guard="g")
    text = render_plan_html(replace(plan(made, findings=(finding,)), inputs=Inputs(long, {})))
    assert len(text) < 60_000
    assert text.count(" last") >= 6
    assert "x" * 2_000 not in text


def test_nothing_is_loaded_and_only_our_own_script_and_style_are_known() -> None:
    page = read(rich_plan())
    (policy,) = [
        str(attributes["content"])
        for _, attributes in page.tags
        if attributes.get("http-equiv") == "Content-Security-Policy"
    ]

    def source(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    assert dict(part.strip().split(" ", 1) for part in policy.split(";")) == {
        "default-src": "'none'",
        "style-src": source(page.texts["style"]),
        "script-src": source(page.texts["script"]),
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    assert not re.search(r"url\(|@import", page.texts["style"])
    assert not re.search(
        r"fetch|import|XMLHttp|innerHTML|eval|document\.write", page.texts["script"]
    )


def sealed(text: str) -> Json:
    return {"certificateThumbprint": "abc", "value": text}


def planted() -> Step:
    """A step whose values are secret although the service returns them."""
    changes = (
        Change(("a", "token"), Verb.REPLACE, "planted-1", "planted-2", sensitive=True),
        Change(("list", 0, "key"), Verb.ADD, ABSENT, "planted-3", sensitive=True),
        Change(
            ("node", "parameter"),
            Verb.REPLACE,
            sealed("planted-4"),
            sealed("planted-5"),
            sensitive=True,
            sealed_by="certificateThumbprint",
        ),
        Change(("uri",), Verb.REPLACE, "https://u:planted-6@h/x", "https://h/x?sig=planted-7"),
    )
    ops = (
        {"op": "test", "path": "/a/token", "value": "planted-1"},
        {"op": "test", "path": "/list", "value": [{"key": "planted-8"}]},
        {"op": "test", "path": "/node/parameter/certificateThumbprint", "value": "abc"},
        {"op": "replace", "path": "/a/token", "value": "planted-2"},
        {"op": "add", "path": "/list/0/key", "value": "planted-3"},
        {"op": "replace", "path": "/node/parameter", "value": sealed("planted-5")},
        {"op": "test", "path": "/uri", "value": "https://u:planted-6@h/x"},
        {"op": "replace", "path": "/uri", "value": "https://h/x?sig=planted-7"},
        {"op": "replace", "path": "/map", "value": {"u": ["https://h/y?sig=planted-9"]}},
    )
    return replace(step(live(), SPEC), changes=changes, ops=ops, models=())


def test_no_secret_stands_in_a_page() -> None:
    text = render_plan_html(plan(planted()))
    assert "planted" not in text
    assert text.count("(sensitive value)") == 9
    assert "https://h/x" in text


def test_a_patch_is_json_a_line_an_operation() -> None:
    made = step(live(), SPEC)
    lines = show_operations(made, 100)
    assert lines[0] == "["
    assert lines[-1] == "]"
    assert lines[1].startswith('  {"op": "test", "path": "/properties/assets/asset3/')
    assert len(lines) == len(made.ops) + 2
    short = show_operations(made, 1)
    assert short == [*lines[:2], f"  … and {len(made.ops) - 1} more operations", "]"]


def test_a_large_value_is_shown_in_part() -> None:
    value = [{"number": n, "name": "n" * 20} for n in range(100)]
    made = replace(step(live(), SPEC), ops=({"op": "add", "path": "/x", "value": value},))
    lines = show_operations(made, 20)
    assert len(lines) == 24
    assert lines[-3:] == ["    … and 385 more lines", "  }", "]"]


def test_every_change_is_in_a_page_of_few_and_many_share_the_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tags = {f"tag-{n:03}": "x" for n in range(200)}
    made = [
        step(live(), {"definition": {"tags": {**tags, "n": str(n)}}}, name=f"s{n}") for n in "ab"
    ]
    few = read(plan(made[0])).text
    assert all(f"tags.{name} |" in few for name in tags)
    assert "more attribute" not in few
    # A twentieth of the room, for a twentieth of the changes that would share it.
    monkeypatch.setattr(page_rows, "_ROWS", page_rows._ROWS // 20)
    monkeypatch.setattr(page_rows, "_FULL_ROWS", page_rows._FULL_ROWS // 20)
    rooms = [replace(made[n % 2], labels={}, ops=({"op": "test", "path": "", "value": n},))
             for n in range(100)]  # fmt: skip
    many = render_plan_html(plan(*rooms))
    assert many.count("and 191 more attributes; plan --full shows them") == 100
    assert len(many) < 10_000_000 / 20
    full = render_plan_html(plan(*rooms), full=True)
    assert full.count("and 101 more attributes; the saved plan contains them all") == 100
    assert len(full) < 100_000_000 / 20
    assert "more attribute" not in render_plan_html(plan(*rooms[:45]), full=True)


def test_findings_that_say_the_same_are_one_notice_and_none_is_lost() -> None:
    findings = tuple(
        Finding("no blob", f"WebService/s{n:04}", next_step=f"--allow blob=WebService/s{n:04}",
                guard="blob", severity="warning" if n % 2 else "error")
        for n in range(3_000)
    )  # fmt: skip
    page = read(replace(plan(step(live(), SPEC)), findings=findings))
    assert [line for line in page.lines if line == "no blob"] == ["no blob"] * 2
    assert all(f"--allow blob=WebService/s{n:04}" in page.lines for n in range(3_000))
    assert page.lines.index("Refused") < page.lines.index("Warning")


def test_the_very_same_change_is_shown_once_with_all_it_is_made_on() -> None:
    page = read(plan(*(replace(step(live(), SPEC, name=f"s{n:03}"), labels={"n": str(n)})
                       for n in range(500))))  # fmt: skip
    assert page.text.count("the same change on 500 resources") == 1
    assert page.text.count('"op": "replace"') == 2
    assert all(f"* WebService/s{n:03} n={n}" in page.lines for n in range(500))


@pytest.mark.parametrize("number", [1, 5, 6])
def test_a_few_changes_are_unfolded_at_once(number: int) -> None:
    page = read(updates(number))
    opened = sum(tag == "details" and "open" in attributes for tag, attributes in page.tags)
    assert opened == (number if number <= 5 else 0)


def test_a_number_of_shapes_stands_in_rows() -> None:
    text = read(plan(step_of_every_shape())).text
    assert '| ~ properties.diagnostics.level | "None" | "All"' in text
    assert '| + tags.team | absent | "growth"' in text
    assert "written from env CENSUS_KEY, version 2026-q4" in text
    assert "66 unchanged attributes hidden, 2 not observable: /properties/keys/primary, " in text


def test_what_the_page_is_made_of_belongs_to_its_kind() -> None:
    """The words of a page come from the plan alone: another kind's name is shown as it is."""
    made = replace(step(live(), SPEC), resource=Resource(Address("OnlineEndpoint", "a"), "/x"))
    assert "OnlineEndpoint/a" in render_plan_html(plan(made))
    assert KIND.name not in render_plan_html(plan(made))


def test_the_page_tells_where_it_is_from() -> None:
    made = rich_plan()
    text = " ".join(read(made).text.split())
    assert "2026-11-20T12:00:00Z from 1 file of commit 4f1c2aa9b1d2" in text
    assert "These files differ from the commit: " in text
    document = plan_document(made)
    assert f"Digest of this plan {document['plan_digest']}" in text
    assert f"Digest of its changes {document['changes_digest']}" in text
    assert f"Rendered by reconciler {__version__}" in text
    assert "Excluded WebService/late" in text

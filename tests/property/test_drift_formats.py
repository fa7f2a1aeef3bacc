"""Laws of the formats of a drift report: whatever its texts hold, each reader can read it."""

import base64
import gzip
import json
from dataclasses import replace
from typing import Any

import junitparser
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from reconciler.cli.drift_formats import FORMATS, render_reports
from reconciler.gitops.sarif import read_sarif
from reconciler.model import DriftReport, FailedReport, Finding, SourceLocation, Verdict
from reconciler.render.words.escape import escape
from tests.drift_reports import finding, report, rule
from tests.hostile import TEXTS
from tests.laws import examples
from tests.unit.test_sarif import SCHEMA, check_limits

pytestmark = pytest.mark.property
NAMES = TEXTS.filter(bool)
# A schema limits the names of environments.
ENVIRONMENTS = st.sampled_from(["", "dev", "eu-1"])
PLACES = st.none() | st.builds(SourceLocation, NAMES, st.integers(1, 10**6), st.integers(1, 999))
RULES = st.builds(
    lambda text, place: rule(text, pointer=f"/{text}", reason=text, owner=text, place=place),
    NAMES,
    st.builds(SourceLocation, NAMES, st.integers(1, 99), st.integers(1, 9)),
)
FINDINGS = st.builds(
    lambda name, verdict, text, place, hidden, new: finding(
        name,
        verdict,
        pointer=f"/{text}",
        live=text,
        note=text,
        commands=(f"reconciler apply --target {name}",),
        place=place,
        hidden=hidden,
        is_new=new,
    ),
    NAMES,
    st.sampled_from([one for one in Verdict if one is not Verdict.IN_SYNC]),
    TEXTS,
    PLACES,
    st.booleans(),
    st.booleans(),
)


@st.composite
def reports(draw: st.DrawFn) -> DriftReport:
    ignored = [draw(FINDINGS) for _ in range(draw(st.integers(0, 1)))]
    made = report(
        *draw(st.lists(FINDINGS, max_size=3)),
        environment=draw(ENVIRONMENTS),
        expired=tuple(draw(st.lists(RULES, max_size=1))),
    )
    if not ignored:
        return made
    one = draw(RULES)
    return replace(made, ignored=tuple(replace(each, rule=one) for each in ignored))


FAILED = st.builds(
    lambda name, text: FailedReport(name, (Finding(text, text, detail=(text,), next_step=text),)),
    st.just("broken"),
    NAMES,
)


@examples(200)
@given(st.lists(reports(), min_size=1, max_size=2), st.lists(FAILED, max_size=1))
def test_each_format_can_be_read_whatever_the_texts_hold(
    made: list[DriftReport], failed: list[FailedReport]
) -> None:
    texts = {form: render_reports(form, made, failed=failed) for form in FORMATS}
    for text in texts.values():
        text.encode("utf-8")
        assert text.endswith("\n")
    check_sarif(texts["sarif"])
    json.loads(texts["json"])
    suites = junitparser.JUnitXml.fromstring(texts["junit"].encode())
    assert len(list(suites)) == len(made) + len(failed)
    for suite in suites:
        names = [(one.classname, one.name) for one in suite]
        assert len(names) == len(set(names))
    for name in ("text", "json", "sarif", "junit", "markdown"):
        assert all(escape(line) == line for line in texts[name].split("\n"))
    assert not find_markup(texts["markdown"])


def check_sarif(text: str) -> None:
    document = json.loads(text)
    SCHEMA.validate(document)
    for run in document["runs"]:
        check_limits(run)
    file, findings = read_sarif("x.sarif", text.encode())
    complete = all(run["invocations"][0]["executionSuccessful"] for run in document["runs"])
    assert (file is not None) == complete, findings
    if file is not None:
        packed: Any = json.loads(gzip.decompress(base64.b64decode(file.packed)))
        kept = [one for run in packed["runs"] for one in run["results"]]
        assert len(kept) == file.results
        assert not any("suppressions" in one for one in kept)


def find_markup(text: str) -> list[str]:
    """What of a text from outside had an effect as Markdown: links, pictures and HTML."""
    tokens = MarkdownIt("commonmark", {"html": True, "linkify": True}).enable("table").parse(text)
    inline = [child for token in tokens for child in token.children or ()]
    bad = [one.content for one in inline if one.type in {"image", "link_open", "html_inline"}]
    blocks = [one.content.strip() for one in tokens if one.type == "html_block"]
    ours = ("<!-- reconciler drift", "<details>", "</details>")
    return bad + [one for one in blocks if not one.startswith(ours)]

"""Renders a plan as one HTML page that loads nothing else and is accessible without a mouse.

All text from outside passes the environment's `finalize`, which escapes control characters and
cuts long text, and then the template's own HTML escaping. The content security policy allows only
the page's own script and style, by their digests.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Sequence
from importlib.resources import files
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from reconciler import __version__
from reconciler.model import Finding, Plan
from reconciler.plans.plan_file import find_digests
from reconciler.render.plan.changes import describe_more
from reconciler.render.plan.page import WORDS, count_by_word, make_entries, make_notices
from reconciler.render.plan.rollout import describe_rollouts
from reconciler.render.plan.text import (
    SAID,
    count_actions,
    describe_baseline,
    describe_comparison,
    describe_coverage,
    describe_lifted,
    describe_no_steps,
    describe_orphans,
    describe_reason,
    describe_refusal,
    describe_unproven,
    is_baseline_lost,
    list_destructive,
)
from reconciler.render.words.escape import cut, escape
from reconciler.text.commits import name_commit
from reconciler.text.counting import count

_MOST_CHARACTERS: Final = 2_000
_MOST_NAMED: Final = 2_000
_MOST_UNFOLDED: Final = 50


def render_plan_html(plan: Plan, *, full: bool = False) -> str:
    """Returns the whole plan as one page; the same plan always gives the same bytes.

    With `full`, all attributes of each change are shown.
    """
    page = _make_environment().get_template("plan.html.j2")
    return page.render(**_describe(plan, full=full, prefix=""))


def render_plan_body(plan: Plan, *, full: bool, prefix: str) -> str:
    """Returns the body of a plan's page, for a page with several; `prefix` begins its anchors."""
    page = _make_environment().get_template("plan.html.j2")
    text = page.render(**_describe(plan, full=full, prefix=prefix))
    # All text from outside is escaped, so these tags are the template's own.
    return text.partition("<body>")[2].rpartition("<script>")[0]


def render_failed_body(environment: str, title: str, findings: Sequence[Finding]) -> str:
    """Returns the section of an environment without a plan."""
    page = _make_environment().get_template("failed.html.j2")
    return page.render(environment=environment, title=title, notices=make_notices(findings))


def render_plans_page(project: str, sections: Sequence[tuple[str, str, str]]) -> str:
    """Returns one page of several sections: each has a name, a title and a rendered body."""
    style = _read("plan.css")
    return (
        _make_environment()
        .get_template("plans.html.j2")
        .render(
            project=project,
            sections=[(name, title, Markup(body)) for name, title, body in sections],  # noqa: S704 - rendered here
            style=style,
            policy=_make_policy(style, ""),
        )
    )


def _describe(plan: Plan, *, full: bool, prefix: str) -> dict[str, object]:
    """Returns the values of the template."""
    entries = make_entries(plan, full=full)
    numbers = {step.resource.address: one.number for one in entries for step in one.group.steps}
    style, script = _read("plan.css"), _read("plan.js")
    whole, changes = find_digests(plan)
    return {
        "plan": plan,
        "prefix": prefix,
        "title": count_actions(plan) if plan.steps else describe_no_steps(plan),
        "comparison": "" if plan.steps else describe_comparison(plan).replace("\n", " "),
        "refusal": describe_refusal(plan) if plan.refused else "",
        "lifted": describe_lifted(plan) if plan.inputs.allowed else "",
        "why": describe_reason(plan) if plan.inputs.reason else "",
        "commit": name_commit(plan.inputs.commit, dirty=plan.inputs.dirty),
        "unproven": describe_unproven(plan),
        "grave": list_destructive([one.group for one in entries], _MOST_NAMED),
        "notices": make_notices(plan.findings),
        "entries": entries,
        "numbers": {str(address): number for address, number in numbers.items()},
        "counts": count_by_word(entries),
        "baseline": describe_baseline(plan).replace("\n", " ") if is_baseline_lost(plan) else "",
        "orphans": describe_orphans(plan),
        "coverage": describe_coverage(plan),
        "rollouts": list(describe_rollouts(plan)),
        "digest": whole,
        "changes_digest": changes,
        "version": __version__,
        "style": style,
        "script": script,
        "policy": _make_policy(style, script),
        "more_cure": describe_more(full=full),
    }


def _make_environment() -> Environment:
    made = Environment(
        loader=PackageLoader("reconciler", "render/plan"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_make_harmless,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.globals |= {"count": count, "said": SAID, "words": WORDS}
    made.globals |= {"most_named": _MOST_NAMED, "most_unfolded": _MOST_UNFOLDED}
    return made


def _make_harmless(value: object) -> object:
    """The value escaped and cut; numbers and the page's own markup stay as they are."""
    if isinstance(value, (Markup, int)):
        return value
    return escape(cut(str(value), _MOST_CHARACTERS))


def _make_policy(style: str, script: str) -> str:
    """The content policy: nothing may load; an empty icon stops browsers from requesting one."""
    return (
        f"default-src 'none'; style-src {_source(style)}; script-src {_source(script)};"
        " img-src data:; base-uri 'none'; form-action 'none'"
    )


def _source(text: str) -> str:
    digest = b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"


def _read(name: str) -> str:
    return files("reconciler.render.plan").joinpath(name).read_text(encoding="utf-8")

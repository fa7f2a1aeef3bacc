"""`plan --env all`: plans every environment of a project, and prints one report.

An environment that cannot be planned has its error in its section, and hides no other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import click

from reconciler.cli.context import Invocation
from reconciler.cli.errors import explain, trace
from reconciler.cli.exit_codes import ExitWord, classify_error, get_exit_code
from reconciler.cli.loading import find_root
from reconciler.cli.streams import print_json
from reconciler.manifests.environments import list_environments
from reconciler.model import Plan
from reconciler.render.plan.sections import (
    Section,
    SectionStyle,
    join_sections,
    make_failed_section,
    make_section,
)

# From the least to the gravest.
_GRAVITY: Final[Sequence[ExitWord]] = ("no-changes", "changes", "refused", "error")


def plan_all(
    invocation: Invocation,
    make: Callable[[], Plan],
    form: str,
    *,
    summary: bool,
    full: bool,
) -> int:
    """Plan each environment with `make`, print the report, and return the gravest exit code."""
    names = list_environments(find_root(invocation))
    if not names:
        make()  # it raises the error of a project without environments
    style = SectionStyle(form, invocation.paint(), len(names), summary, full)
    sections, words, project = [], list[ExitWord](), ""
    for name in names:
        invocation.environment = name
        section, word, plan_project = _plan_one(invocation, name, make, style)
        sections.append(section)
        words.append(word)
        project = plan_project or project
    gravest = max(words, key=_weigh)
    invocation.clear_progress()
    text = join_sections(sections, style, project, gravest)
    if form == "json":
        print_json(text, nl=False)
    else:
        # A page declares UTF-8, so it must not be written in the encoding of the terminal.
        click.echo(text.encode() if form == "html" else text, nl=False, color=True)
    return get_exit_code(gravest, detailed=invocation.detailed_exitcode)


def _plan_one(
    invocation: Invocation, name: str, make: Callable[[], Plan], style: SectionStyle
) -> tuple[Section, ExitWord, str]:
    """The section of one environment, its result, and the project's name if it is known."""
    invocation.notes = ()
    try:
        plan = make()
        return make_section(plan, style), plan.outcome, plan.inputs.project
    except Exception as error:  # noqa: BLE001 - it must not hide the other environments
        trace(error)
        findings = explain(error, invocation)
        word = classify_error(error)
        return make_failed_section(name, word, findings, style), word, ""


def _weigh(word: ExitWord) -> int:
    return _GRAVITY.index(word) if word in _GRAVITY else len(_GRAVITY)

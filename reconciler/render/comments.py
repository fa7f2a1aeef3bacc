"""Renders the texts of a pull request: its one comment, before the merge and after the apply.

The comment has three parts: a hidden line, the result of the apply if there is one, and the plan.
The hidden line is the first, so that no text from outside can be taken for it, and so that a forge
cuts it last. Text from outside is in code spans and fences.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from reconciler.model import Finding, Plan, Step
from reconciler.model.values import dataclass
from reconciler.render.findings import gather_findings
from reconciler.render.plan.groups import group_steps
from reconciler.render.plan.markdown import code, fold_changes, keep_within, render_plan_markdown
from reconciler.text.commits import shorten_commit
from reconciler.text.counting import count

# The line between the result of an apply and the plan.
_RULE: Final = "<!-- reconciler: the plan that was reviewed -->"
_FOLDED: Final = "<details><summary>The plan that was reviewed</summary>"
_MOST: Final = 20_000
_MOST_LINES: Final = 20


@dataclass(frozen=True, slots=True)
class Heading:
    """What a comment is about, for people. `environment` and `run_url` may be empty."""

    project: str
    environment: str = ""
    run_url: str = ""

    @property
    def title(self) -> str:
        """The project and the environment, as Markdown."""
        return " ".join(code(one) for one in (self.project, self.environment) if one)

    @property
    def run(self) -> str:
        """A link to the run, as Markdown; "" without one."""
        # Only a plain address becomes a link: parentheses or blanks would end it early.
        plain = self.run_url.isascii() and not set(self.run_url) & set("()<>[]`\\\"' \t\n")
        return f"[run]({self.run_url})" if self.run_url and plain else ""


def render_plan_comment(plan: Plan, heading: Heading, reviewed: str) -> str:
    """Returns the comment of a plan; `reviewed` is its hidden line."""
    _, _, shown = render_plan_markdown(plan).partition("\n")
    first, _, rest = shown.partition("\n")
    # The title of a plan begins with its environment.
    title = f"### {code(heading.project)}{'' if heading.environment else ':'} {first[4:]}"
    after = "After the merge, exactly these changes are applied." if plan.steps else ""
    notes = " · ".join(filter(None, [after, heading.run]))
    return "\n".join([reviewed, title, rest.rstrip("\n"), *(["", notes] if notes else [])]) + "\n"


def render_no_plan(heading: Heading, why: str, findings: Sequence[Finding]) -> str:
    """Returns the comment where no plan exists: a conflict, an invalid project, an error."""
    lines = [f"### {heading.title}: {why}", *_list_findings(findings)]
    return "\n".join([*lines, *(["", heading.run] if heading.run else [])]) + "\n"


def render_result(
    heading: Heading,
    why: str,
    findings: Sequence[Finding],
    lines: Sequence[str],
    steps: Sequence[Step] = (),
) -> str:
    """Returns the result of an apply; `lines` are facts in plain text, such as what to do next.

    `steps` are changes that were planned and not made, because no reviewer saw them.
    """
    said = " · ".join(filter(None, [*(code(line, 1_000) for line in lines), heading.run]))
    folded = fold_changes(group_steps(steps), _MOST, "What no reviewer saw") if steps else []
    parts = [f"### {heading.title}: {why}", *_list_findings(findings), *folded, "", said]
    return "\n".join(parts) + "\n"


def join_result(body: str, result: str) -> str:
    """Returns the comment of a plan with the result of its apply above the plan."""
    if not body:
        return result
    hidden, _, rest = body.partition("\n")
    if not hidden.startswith("<!-- "):
        hidden, rest = "", body
    _, found, plan = rest.partition(f"{_RULE}\n")
    folded = plan if found else f"{_FOLDED}\n\n{rest.rstrip()}\n\n</details>\n"
    return "\n".join([*([hidden] if hidden else []), result.rstrip("\n"), "", _RULE, folded])


def _list_findings(findings: Sequence[Finding]) -> Iterator[str]:
    lines = [f"\n{_render(one, names)}" for one, names in gather_findings(findings)]
    yield from keep_within(lines, _MOST)


def _render(finding: Finding, names: str) -> str:
    refused = bool(finding.guard) and finding.severity == "error"
    word = "Refused" if refused else "Error" if finding.severity == "error" else "Warning"
    subject = " ".join(code(one, 1_000) for one in (finding.subject, names) if one)
    parts = [f"> **{word}**: {f'{subject}: ' if subject else ''}{code(finding.message, 600)}"]
    if finding.place is not None:
        parts.append(f"> on {code(str(finding.place))}")
    parts += [f"> {code(line)}" for line in finding.detail[:_MOST_LINES]]
    left = len(finding.detail) - _MOST_LINES
    parts += [f"> … and {count(left, 'more line')}"] if left > 0 else []
    parts += [f"> {code(finding.next_step, 600)}"] if finding.next_step else []
    # Paragraphs, because a forge may remove the blanks that end a line in Markdown.
    return "\n>\n".join(parts)


def describe_merge(head: str, base: str, branch: str) -> str:
    """Returns which commits a plan of a merge result was made from, in plain text."""
    return f"Merge of {shorten_commit(head, 12)} into {branch} at {shorten_commit(base, 12)}"

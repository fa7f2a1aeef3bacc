"""Renders the outcome of an apply: the last text that a person reads of it.

The command line calls it after the last event. It decides nothing about the outcome.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from reconciler.model import Address, Outcome, Stopped
from reconciler.render.findings import render_findings
from reconciler.render.plan.rollout import describe_stop
from reconciler.render.words.colour import Paint
from reconciler.render.words.escape import escape
from reconciler.text.counting import count

INTERRUPTED: Final = "interrupted"
_NAMED: Final = 20


def render_outcome(outcome: Outcome, *, paint: Paint, halted: str = "") -> str:
    """Returns Terraform's sentence, every failure with its next step, and the steps not started.

    `halted` is the reason why the apply could not start more steps, or "" if it could.
    """
    return "\n\n".join(part for part in _render(outcome, paint, halted) if part)


def sum_up_outcome(outcome: Outcome, halted: str = "") -> str:
    """Returns the first sentence: `Apply complete! Resources: 0 added, 1 changed, 0 destroyed.`."""
    head, counts, _ = _sum_up(outcome, halted)
    return f"{head} {counts}"


def _render(outcome: Outcome, paint: Paint, halted: str) -> Iterator[str]:
    head, counts, colour = _sum_up(outcome, halted)
    yield f"{paint(colour, head)} {counts}"
    yield render_findings(outcome.failures, paint=paint)
    yield render_findings(outcome.unfinished, paint=paint)
    yield render_findings(outcome.unrestored, paint=paint)
    yield render_findings(outcome.unproven, paint=paint)
    yield render_findings(outcome.unkept, paint=paint)
    for stopped in outcome.stopped:
        yield _describe_stopped(stopped, paint)
    own = {address for one in outcome.stopped for address in one.not_started}
    left = [address for address in outcome.not_started if address not in own]
    if left:
        yield "\n".join(_name_left(left, halted))
    if outcome.not_observable:
        number = count(len(outcome.not_observable), "resource")
        said = f"The values written to {number} are not observable"
        yield f"{said}: the service accepted them, but never returns them."


def _sum_up(outcome: Outcome, halted: str) -> tuple[str, str, str]:
    """The headline, the counts, and the colour."""
    restored = f"Resources: {len(outcome.rolled_back)} restored"
    if outcome.unrestored:
        counts = f"{restored}, {len(outcome.unrestored)} not restored."
        return "Apply failed and was partly rolled back!", counts, "red"
    if outcome.rolled_back:
        return "Apply failed and was rolled back!", f"{restored}.", "red"
    counts = (
        f"Resources: {len(outcome.added)} added, {len(outcome.changed)} changed,"
        f" {len(outcome.destroyed)} destroyed."
    )
    problems = [f"{len(outcome.failures)} failed"] if outcome.failures else []
    problems += [f"{len(outcome.unfinished)} not finished"] if outcome.unfinished else []
    problems += [f"{len(outcome.not_started)} not started"] if outcome.not_started else []
    unproven = [f"{len(outcome.unproven)} not proven"] if outcome.unproven else []
    if not problems:
        said = f"{counts} {unproven[0]}." if unproven else counts
        return "Apply complete!", said, "yellow" if unproven else "green"
    problems += unproven
    word = "incomplete" if not halted else INTERRUPTED if halted == INTERRUPTED else "stopped"
    return f"Apply {word}!", f"{counts} {', '.join(problems)}.", "red"


def _describe_stopped(stopped: Stopped, paint: Paint) -> str:
    """Why a fleet's rollout stopped, and the command that continues it."""
    fleet, why = escape(str(stopped.fleet)), describe_stop(stopped.failed, stopped.max_failures)
    left = count(len(stopped.not_started), "member")
    prune = " --prune" if stopped.destroys else ""
    return (
        f"{paint('bold', f'{fleet} was stopped:')} {why}; {left} not started.\n"
        f"After you fix the cause, continue with: reconciler apply --target {fleet}{prune}"
    )


def _name_left(left: Sequence[Address], halted: str) -> Iterator[str]:
    why = {"": "because of the failures", INTERRUPTED: "because of the interruption"}
    yield f"{count(len(left), 'step')} not started, {why.get(halted, f'because {escape(halted)}')}:"
    for address in left[:_NAMED]:
        yield f"  {escape(str(address))}"
    if len(left) > _NAMED:
        yield f"  … and {len(left) - _NAMED:,} more"
    yield "Run plan to see the remaining changes."

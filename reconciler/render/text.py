"""A plan as a person reads it, in Terraform's symbols and sentences; the outcome of an apply."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from reconciler.model import Action, Outcome, Plan, Step
from reconciler.plan_document import canonical, plan_document
from reconciler.render.changes import render_changes, render_difference
from reconciler.render.counting import count, show_duration
from reconciler.render.escape import escape, show_path
from reconciler.render.finding import render_findings
from reconciler.render.paint import Paint

_SAID: Final = {
    Action.CREATE: "will be created",
    Action.UPDATE: "will be updated in-place",
    Action.REPLACE: "must be replaced",
    Action.DELETE: "will be destroyed",
    Action.FORGET: "will be forgotten",
}
# Deletes first: what cannot be had back must not be scrolled past.
_ORDER: Final = (Action.DELETE, Action.REPLACE, Action.UPDATE, Action.CREATE)
_TABLE_ABOVE: Final = 20
_GROUP_FROM: Final = 3
_NAMED: Final = 8


def render_plan(plan: Plan, *, paint: Paint, summary: bool = False) -> str:
    """The whole plan: what will happen, what forbids it, and how well it is known.

    With `summary` a line for each resource stands in place of its changes.
    """
    parts = [*_render_steps(plan, paint, summary=summary), *_render_notes(plan, paint)]
    return "\n\n".join(part for part in parts if part)


def render_plan_json(plan: Plan) -> str:
    """The plan's document on one line, which is also what is saved."""
    return canonical(plan_document(plan)) + "\n"


def _render_steps(plan: Plan, paint: Paint, *, summary: bool) -> Iterator[str]:
    if not plan.steps:
        yield paint("green", "No changes.") + paint(
            "bold", " Your web services match the manifests."
        )
        compared = count(len(plan.unchanged), "service")
        yield (
            f"Reconciler compared {compared} with the manifests and found no differences,\n"
            "so nothing has to be done."
        )
        yield describe_hidden(plan)
        return
    yield "Reconciler will perform the following actions:"
    ordered = _in_order(plan.steps)
    if summary or len(ordered) > _TABLE_ABOVE:
        yield _render_table(ordered, paint)
    if not summary:
        yield from (render_group(group, paint) for group in group_steps(ordered))
    if len(ordered) > 1:
        yield _render_grave(ordered, paint)


def _render_grave(ordered: Sequence[Step], paint: Paint) -> str:
    """What takes a service away or cannot be undone, once more where the eye rests."""
    lines = [
        f"  {paint.symbol(step.action.symbol)} {step.resource.address} {_SAID[step.action]}"
        for step in ordered
        if step.action in {Action.DELETE, Action.REPLACE}
    ]
    lines += [
        f"  {paint.symbol(step.action.symbol)} {step.resource.address} is changed for good:"
        f" {show_path(change.path)}"
        for step in ordered
        for change in step.changes
        if change.irreversible and change.after is True
    ]
    return "\n".join(["Mind these:", *lines]) if lines else ""


def _in_order(steps: Sequence[Step]) -> list[Step]:
    return sorted(steps, key=lambda step: (_ORDER.index(step.action), step.resource.address))


def _render_table(steps: Sequence[Step], paint: Paint) -> str:
    width = max(len(str(step.resource.address)) for step in steps)
    rows = (
        f"  {paint.symbol(step.action.symbol)}{' ' * (3 - len(step.action.symbol))} "
        f"{str(step.resource.address).ljust(width)}  {sum_up(step)}"
        for step in steps
    )
    return "\n".join(rows)


def sum_up(step: Step) -> str:
    """What a step changes, in a few words."""
    models = [f"model → …/{escape(model.after.rpartition('/')[2])}" for model in step.models]
    others = sum(change.after != {} for change in step.changes) - len(models)
    if others > 0 or not models:
        models.append(count(max(others, 0), "attribute"))
    return ", ".join(models) if step.action is not Action.DELETE else ""


def group_steps(ordered: Sequence[Step]) -> list[list[Step]]:
    """Updates that change the very same, together where the first of them stands; the rest alone.

    Told by what they do, not by how that is shown: what is cut for the eye may differ.
    """
    keys = [_sameness(step) for step in ordered]
    groups: dict[object, list[Step]] = {}
    for key, step in zip(keys, ordered, strict=True):
        groups.setdefault(key, []).append(step)
    return [
        groups[key] if len(groups[key]) >= _GROUP_FROM else [step]
        for key, step in zip(keys, ordered, strict=True)
        if len(groups[key]) < _GROUP_FROM or groups[key][0] is step
    ]


def _sameness(step: Step) -> object:
    if step.action is not Action.UPDATE:
        return step.resource.address
    return canonical(step.ops), _notes(step), step.secrets, step.models


def _notes(step: Step) -> tuple[tuple[str, str], ...]:
    return tuple((reason.pointer, reason.note) for reason in step.because if reason.note)


def render_group(steps: Sequence[Step], paint: Paint) -> str:
    """The block of one step, or of several that change the very same."""
    if len(steps) == 1:
        return _render_step(steps[0], paint)
    names = [step.resource.address.name for step in steps]
    named = ", ".join(escape(name) for name in names[:_NAMED])
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    first = steps[0].resource.address.kind
    lines = [
        f"  # {paint('bold', f'the same change on {len(steps)} resources')}: {named}{more}",
        f'  {paint.symbol("~")} resource "{escape(first)}" (each) {{',
        *(f"      {line}" for line in render_difference(steps[0], paint)),
        "    }",
    ]
    return "\n".join(lines)


def _render_step(step: Step, paint: Paint) -> str:
    address = step.resource.address
    sign = paint.symbol(step.action.symbol)
    block = f'resource "{escape(address.kind)}" "{escape(address.name)}" {{'
    lines = [
        f"  # {paint('bold', str(address))} {_SAID[step.action]}",
        f"{sign.rjust(len(sign) + 3 - len(step.action.symbol))} {block}",
        *(f"      {line}" for line in render_changes(step, paint)),
        "    }",
    ]
    return "\n".join(lines)


def _render_notes(plan: Plan, paint: Paint) -> Iterator[str]:
    if plan.baseline == "lost" and any(step.action is not Action.CREATE for step in plan.steps):
        yield (
            "baseline: lost. There is no ledger (yet, or any more), so it is not known who changed"
            " what\nsince the last apply; the changes are the same without it."
        )
    if plan.orphans:
        yield "\n".join(_orphan_lines(plan))
    if plan.findings:
        yield render_findings(plan.findings, paint=paint)
    yield "\n".join(_closing(plan, paint))


def _orphan_lines(plan: Plan) -> Iterator[str]:
    them = "it" if len(plan.orphans) == 1 else "them"
    yield f"{count(len(plan.orphans), 'orphan')}: in the ledger, and no manifest names {them}."
    for resource in plan.orphans[:_TABLE_ABOVE]:
        yield f"  {resource.address} [{escape(resource.short_id)}]"
    if len(plan.orphans) > _TABLE_ABOVE:
        yield f"  … and {len(plan.orphans) - _TABLE_ABOVE} more"
    yield (
        f"What is live stays as it is. To destroy {them}: --prune. To stop managing {them}:"
        " reconciler forget ADDRESS"
    )


def _closing(plan: Plan, paint: Paint) -> Iterator[str]:
    if plan.steps:
        word, _, counts = count_actions(plan).partition(" ")
        yield f"{paint('bold', word)} {counts}"
    if plan.refused:
        guards = sorted({finding.guard for finding in plan.refused if finding.guard})
        named = f"{'guard' if len(guards) == 1 else 'guards'} {', '.join(guards)}"
        yield paint("red", "Refused") + f" by the {named}: apply will not carry it out."
    yield describe_coverage(plan)


def count_actions(plan: Plan) -> str:
    """Terraform's sentence: `Plan: 0 to add, 1 to change, 0 to destroy.`."""
    actions = [step.action for step in plan.steps]
    add = sum(action in {Action.CREATE, Action.REPLACE} for action in actions)
    change = sum(action is Action.UPDATE for action in actions)
    destroy = sum(action in {Action.DELETE, Action.REPLACE} for action in actions)
    return f"Plan: {add} to add, {change} to change, {destroy} to destroy."


def describe_hidden(plan: Plan) -> str:
    """What is declared and could not be compared, so that no changes is not taken for more."""
    hidden = sum(map(len, plan.not_observable.values()))
    if not hidden:
        return ""
    verb, them = ("is", "it") if hidden == 1 else ("are", "them")
    said = f"{count(hidden, 'declared attribute')} {verb} not observable"
    return f"{said}: the service never shows {them}."


def describe_coverage(plan: Plan) -> str:
    """How live was read, and what the apply will take."""
    refresh = plan.refresh
    read = (
        f"Read {refresh.read} of {count(refresh.total, 'service')}"
        f" in {count(refresh.calls, 'call')}"
    )
    if refresh.oldest:
        read += f"; oldest observation {show_duration(refresh.oldest)}"
    if not plan.estimate.writes:
        return f"{read}."
    writes = count(plan.estimate.writes, "write")
    return f"{read}; the apply needs {writes}, about {show_duration(plan.estimate.seconds)}."


def render_outcome(outcome: Outcome, *, paint: Paint) -> str:
    """The last word of an apply: Terraform's sentence, then every failure with what to do."""
    counts = (
        f"Resources: {len(outcome.added)} added, {len(outcome.changed)} changed,"
        f" {len(outcome.destroyed)} destroyed."
    )
    if not outcome.failures:
        return f"{paint('green', 'Apply complete!')} {counts}"
    head = f"{paint('red', 'Apply incomplete!')} {counts} {len(outcome.failures)} failed."
    return f"{head}\n\n{render_findings(outcome.failures, paint=paint)}"

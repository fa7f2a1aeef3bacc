"""A plan as a person reads it, in Terraform's symbols and sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from reconciler.guards import is_final
from reconciler.model import Action, Cause, Plan, Step, Verb
from reconciler.plan_document import canonical, plan_document
from reconciler.pointers import format_pointer
from reconciler.render.changes import render_changes, render_difference
from reconciler.render.counting import count, show_duration
from reconciler.render.escape import escape, show_path
from reconciler.render.finding import render_findings
from reconciler.render.paint import Paint
from reconciler.waves import arrange

SAID: Final = {
    Action.CREATE: "will be created",
    Action.UPDATE: "will be updated in-place",
    Action.REPLACE: "must be replaced",
    Action.DELETE: "will be destroyed",
    Action.FORGET: "will be forgotten",
    Action.ADOPT: "will be remembered as it is",
}
# Deletes first: what cannot be had back must not be scrolled past.
_ORDER: Final = (Action.DELETE, Action.REPLACE, Action.UPDATE, Action.CREATE)
NOTHING_TO_DO: Final = "No changes. Your web services match the manifests."
BASELINE_LOST: Final = (
    "baseline: lost. There is no ledger (yet, or any more), so it is not known who changed what\n"
    "since the last apply; the changes are the same without it."
)
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
        word, _, match = NOTHING_TO_DO.partition(" Your")
        yield paint("green", word) + paint("bold", f" Your{match}")
        yield describe_comparison(plan)
        yield describe_hidden(plan)
        return
    yield "Reconciler will perform the following actions:"
    ordered = in_order(plan.steps)
    if summary or len(ordered) > _TABLE_ABOVE:
        yield _render_table(ordered, paint)
    if not summary:
        yield from (render_group(group, paint) for group in group_steps(ordered))
    if len(ordered) > 1:
        yield _render_grave(ordered, paint)


def describe_comparison(plan: Plan) -> str:
    """What was compared, where nothing differs."""
    compared = count(len(plan.unchanged), "service")
    return (
        f"Reconciler compared {compared} with the manifests and found no differences,\n"
        "so nothing has to be done."
    )


def _render_grave(ordered: Sequence[Step], paint: Paint) -> str:
    """What takes a service away or cannot be undone, once more where the eye rests."""
    lines = [
        f"  {paint.symbol(step.action.symbol)} {escape(str(step.resource.address))} {said}"
        for step, said in list_grave(ordered)
    ]
    return "\n".join(["Mind these:", *lines]) if lines else ""


def list_grave(ordered: Sequence[Step]) -> list[tuple[Step, str]]:
    """What takes a service away, then what cannot be undone, each with what is said of it."""
    taken = [
        (step, SAID[step.action])
        for step in ordered
        if step.action in {Action.DELETE, Action.REPLACE}
    ]
    final = [
        (step, f"is changed for good: {show_path(change.path)}")
        for step in ordered
        for change in step.changes
        if is_final(change)
    ]
    return taken + final


def in_order(steps: Iterable[Step]) -> list[Step]:
    """The steps as they are to be read: what takes away, what cannot be undone, then the rest."""
    return sorted(steps, key=lambda step: (_rank(step), step.resource.address))


def _rank(step: Step) -> tuple[bool, int]:
    taken = step.action in {Action.DELETE, Action.REPLACE}
    return not (taken or any(map(is_final, step.changes))), _ORDER.index(step.action)


def _render_table(steps: Sequence[Step], paint: Paint) -> str:
    width = max(len(str(step.resource.address)) for step in steps)
    rows = (
        f"  {paint.symbol(step.action.symbol)}{' ' * (3 - len(step.action.symbol))} "
        f"{escape(str(step.resource.address)).ljust(width)}  {sum_up(step)}"
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
        f"  # {paint('bold', escape(str(address)))} {SAID[step.action]}",
        f"{sign.rjust(len(sign) + 3 - len(step.action.symbol))} {block}",
        *(f"      {line}" for line in render_changes(step, paint)),
        "    }",
    ]
    return "\n".join(lines)


def _render_notes(plan: Plan, paint: Paint) -> Iterator[str]:
    if is_baseline_lost(plan):
        yield describe_baseline(plan)
    if plan.orphans:
        yield "\n".join(_orphan_lines(plan))
    if plan.findings:
        yield render_findings(plan.findings, paint=paint)
    yield "\n".join(_closing(plan, paint))


def describe_baseline(plan: Plan) -> str:
    """What it means that there is no ledger."""
    unknown = {
        (step.resource, reason.pointer)
        for step in plan.steps
        for reason in step.because
        if reason.cause is Cause.UNKNOWN
    }
    again = any(
        change.verb is Verb.WRITE and (step.resource, format_pointer(change.path)) in unknown
        for step in plan.steps
        for change in step.changes
    )
    return BASELINE_LOST + ("\nOnly what is not observable is written once more." if again else "")


def is_baseline_lost(plan: Plan) -> bool:
    """Whether it matters to this plan that there is no ledger."""
    return plan.baseline == "lost" and any(step.action is not Action.CREATE for step in plan.steps)


def _orphan_lines(plan: Plan) -> Iterator[str]:
    what, how = describe_orphans(plan)
    yield what
    for resource in plan.orphans[:_TABLE_ABOVE]:
        yield f"  {escape(str(resource.address))} [{escape(resource.short_id)}]"
    if len(plan.orphans) > _TABLE_ABOVE:
        yield f"  … and {len(plan.orphans) - _TABLE_ABOVE} more"
    yield how


def describe_orphans(plan: Plan) -> tuple[str, str]:
    """What orphans there are, and what can be done about them."""
    them = "it" if len(plan.orphans) == 1 else "them"
    return (
        f"{count(len(plan.orphans), 'orphan')}: in the ledger, and no manifest names {them}.",
        (
            f"What is live stays as it is. To destroy {them}: --prune. To stop managing {them}:"
            " reconciler forget ADDRESS"
        ),
    )


def _closing(plan: Plan, paint: Paint) -> Iterator[str]:
    if plan.steps:
        word, _, counts = count_actions(plan).partition(" ")
        yield f"{paint('bold', word)} {counts}"
    if plan.refused:
        word, _, why = describe_refusal(plan).partition(" ")
        yield f"{paint('red', word)} {why}"
    yield describe_coverage(plan)


def describe_refusal(plan: Plan) -> str:
    """`Refused by the guard replace: apply will not carry it out.`."""
    guards = sorted({finding.guard for finding in plan.refused if finding.guard})
    named = f"{'guard' if len(guards) == 1 else 'guards'} {', '.join(guards)}"
    return f"Refused by the {named}: apply will not carry it out."


def count_actions(plan: Plan) -> str:
    """Terraform's sentence: `Plan: 0 to add, 1 to change, 0 to destroy.`."""
    actions = [step.action for step in plan.steps]
    add = sum(action in {Action.CREATE, Action.REPLACE} for action in actions)
    change = sum(action is Action.UPDATE for action in actions)
    destroy = sum(action in {Action.DELETE, Action.REPLACE} for action in actions)
    return f"Plan: {add} to add, {change} to change, {destroy} to destroy."


def describe_hidden(plan: Plan) -> str:
    """What is declared and could not be compared, so that no changes is not taken for more."""
    known = Counter(
        plan.last_set.get(address, {}).get(pointer, "")
        for address, pointers in plan.not_observable.items()
        for pointer in pointers
    )
    return "\n".join(_describe_unseen(said, number) for said, number in known.most_common(_NAMED))


def _describe_unseen(last_set: str, number: int) -> str:
    verb, them = ("is", "it") if number == 1 else ("are", "them")
    why = f" (set {escape(last_set)})" if last_set else f": the service never shows {them}"
    return f"{count(number, 'declared attribute')} {verb} not observable{why}."


def describe_coverage(plan: Plan) -> str:
    """How live was read, and what the apply will take."""
    refresh = plan.refresh
    read = (
        f"Read {refresh.read:,} of {count(refresh.total, 'service')}"
        f" in {count(refresh.calls, 'call')}"
    )
    if refresh.oldest:
        read += f"; oldest observation {show_duration(refresh.oldest)}"
    if not plan.estimate.writes:
        return f"{read}."
    writes = count(plan.estimate.writes, "write")
    needs = f"{read}; the apply needs {writes}, about {show_duration(plan.estimate.seconds)}"
    return f"{needs}{_describe_waves(plan)}."


def _describe_waves(plan: Plan) -> str:
    """How many steps are taken one after another, where people asked for an order."""
    if len({step.wave for step in plan.steps}) < 2:
        return ""
    waves = [f"{len(wave.steps):,}" for wave in arrange(plan.steps)]
    return f", in {len(waves)} waves: {', then '.join(waves)}"

"""Renders a plan as text for people, in Terraform's symbols and sentences.

The other renderers of plans share its sentences. It returns text and prints nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from reconciler.document.pointers import format_pointer
from reconciler.model import Action, Cause, Finding, ModelChange, Plan, Step, Verb
from reconciler.plans.guards import MOST_REASON, is_final
from reconciler.plans.plan_file import encode_plan, find_digests
from reconciler.plans.waves import arrange
from reconciler.render.findings import render_findings
from reconciler.render.plan.changes import render_changes, render_difference
from reconciler.render.plan.differences import OWN
from reconciler.render.plan.facts import describe_facts
from reconciler.render.plan.groups import StepGroup, group_plan, is_destructive
from reconciler.render.plan.rollout import describe_rollouts
from reconciler.render.words.colour import Paint
from reconciler.render.words.escape import cut, escape, show_path
from reconciler.render.words.names import list_names
from reconciler.text.commits import DIFFERING, name_commit, shorten_commit
from reconciler.text.counting import agree, count
from reconciler.text.durations import show_duration
from reconciler.text.json_text import escape_json

SAID: Final = {
    Action.CREATE: "will be created",
    Action.UPDATE: "will be updated in-place",
    Action.REPLACE: "must be replaced",
    Action.DELETE: "will be destroyed",
    Action.FORGET: "will be forgotten",
    Action.ADOPT: "will be adopted without changes",
}
NOTHING_TO_DO: Final = "No changes. Your services match the manifests."
NOTHING_THERE: Final = "No changes. This plan has no service to change."
BASELINE_LOST: Final = (
    "baseline: lost. No ledger was found, so it is not known who made changes since the last\n"
    "apply. The planned changes are the same without it."
)
_TABLE_ABOVE: Final = 20
_NAMED: Final = 8
_MOST_DIFFERING: Final = 8
_MOST_NAMED: Final = 100


def render_plan(
    plan: Plan, *, paint: Paint, summary: bool = False, full: bool = False, refusals: bool = True
) -> str:
    """Returns the whole plan: the steps, the refusals, and how complete the observations are.

    With `summary`, one line for each resource replaces its changes. With `full`, all attributes of
    each change are shown. Without `refusals`, it only names the guards that refuse it: the caller
    reports why.
    """
    steps = _render_steps(plan, paint, summary=summary, full=full)
    findings = [one for one in plan.findings if refusals or one not in plan.refused]
    where = f"{paint('bold', 'Environment:')} {escape(plan.inputs.environment)}"
    parts = [where] if plan.inputs.environment else []
    parts += [*steps, *_render_notes(plan, findings, paint)]
    return "\n\n".join(part for part in parts if part)


def render_plan_json(plan: Plan) -> str:
    """Returns the plan's document on one line; a saved plan has the same text."""
    return escape_json(encode_plan(plan).decode("utf-8", "surrogatepass")) + "\n"


def _render_steps(plan: Plan, paint: Paint, *, summary: bool, full: bool) -> Iterator[str]:
    if not plan.steps:
        word, stop, rest = describe_no_steps(plan).partition(".")
        yield paint("green", word + stop) + paint("bold", rest)
        yield describe_comparison(plan)
        yield describe_hidden(plan)
        return
    yield "Reconciler will perform the following actions:"
    groups = group_plan(plan)
    lines = list(list_lines(groups))
    if summary or len(lines) > _TABLE_ABOVE:
        yield _render_table(lines, paint)
    if not summary:
        yield from (render_group(group, paint, full=full) for group in groups)
    if len(plan.steps) > 1:
        yield _render_destructive(groups, paint)


def describe_no_steps(plan: Plan) -> str:
    """Returns the title of a plan without steps; nothing may be declared, or all be destroyed."""
    return NOTHING_TO_DO if plan.unchanged else NOTHING_THERE


def describe_comparison(plan: Plan) -> str:
    """Returns what was compared, for a plan without changes; "" for nothing."""
    if not plan.unchanged:
        return ""
    compared = count(len(plan.unchanged), "service")
    return (
        f"Reconciler compared {compared} with the manifests and found no differences,\n"
        "so no changes are needed."
    )


def _render_destructive(groups: Sequence[StepGroup], paint: Paint) -> str:
    """Repeats the destructive and irreversible steps after the details."""
    lines = [
        f"  {paint.symbol(group.step.action.symbol)} {group.title} {said}"
        for group, said in list_destructive(groups, _MOST_NAMED)
    ]
    return "\n".join(["Review these:", *lines]) if lines else ""


def list_destructive(groups: Sequence[StepGroup], most: int) -> list[tuple[StepGroup, str]]:
    """Returns what destroys resources, then what is irreversible, each with a sentence.

    For several resources the sentence lists their names, as at most `most` names and ranges.
    """
    taken = [
        (group, SAID[group.step.action])
        for group in groups
        if group.step.action in {Action.DELETE, Action.REPLACE}
    ]
    final = [
        (group, f"{'is' if group.alone else 'are'} changed irreversibly: {show_path(change.path)}")
        for group in groups
        for change in group.step.changes
        if is_final(change)
    ]
    return [
        (group, said if group.alone else f"{said}: {group.list_names(most)}")
        for group, said in taken + final
    ]


def list_lines(groups: Iterable[StepGroup]) -> Iterator[StepGroup]:
    """Yields what has a line in the summary: every resource, or the members of a fleet together."""
    for group in groups:
        if group.fleet is not None or group.step.action is Action.DELETE:
            yield group
        else:
            yield from (StepGroup((step,), step) for step in group.steps)


def _render_table(groups: Sequence[StepGroup], paint: Paint) -> str:
    width = max(len(group.title) for group in groups)
    rows = (
        f"  {paint.symbol(group.step.action.symbol)}{' ' * (3 - len(group.step.action.symbol))} "
        f"{group.title.ljust(width)}  {sum_up(group)}"
        for group in groups
    )
    return "\n".join(rows)


def sum_up(group: StepGroup) -> str:
    """Returns the changes in a few words."""
    words = {_sum_up(step) for step in group.steps}
    return words.pop() if len(words) == 1 else _sum_up(group.step, named=False)


def _sum_up(step: Step, *, named: bool = True) -> str:
    if step.action is Action.DELETE:
        return ""
    models = [_sum_up_model(model) if named else f"model → {OWN}" for model in step.models]
    others = sum(change.after != {} for change in step.changes) - len(models)
    if others > 0 or not models:
        models.append(count(max(others, 0), "attribute"))
    if len(step.writes) > 1:
        models.append(count(len(step.writes), "write"))
    return ", ".join(models)


def _sum_up_model(model: ModelChange) -> str:
    """An address by its last part; an id as it is, with the name of what has the model."""
    if model.after.startswith(("http://", "https://")):
        return f"model → …/{escape(model.after.rpartition('/')[2])}"
    return f"model {escape(cut(model.name))} → {escape(cut(model.after))}"


def render_group(group: StepGroup, paint: Paint, *, full: bool = False) -> str:
    """Returns the block of one step, or of several that are shown as one."""
    if group.alone:
        return _render_step(group, paint, full=full)
    if group.fleet is not None or group.step.action is Action.DELETE:
        return _render_members(group, paint, full=full)
    lines = [
        f"  # {paint('bold', f'the same change on {group.title}')}: {group.list_names(_NAMED)}",
        *_list_facts(group, paint),
        f'  {paint.symbol("~")} resource "{escape(group.step.resource.address.kind)}" (each) {{',
        *(f"      {line}" for line in render_difference(group.step, paint, full=full)),
        "    }",
    ]
    return "\n".join(lines)


def _render_step(group: StepGroup, paint: Paint, *, full: bool) -> str:
    step, address = group.step, group.step.resource.address
    fleet = f", a member of {escape(str(group.fleet))}" if group.fleet else ""
    item = (
        f" (item {step.member.number} on {escape(str(step.member.place))})" if step.member else ""
    )
    block = f'resource "{escape(address.kind)}" "{escape(address.name)}" {{'
    lines = [
        f"  # {paint('bold', group.title)} {SAID[step.action]}{fleet}{item}",
        *_list_facts(group, paint),
        f"{_sign(step, paint)} {block}",
        *(f"      {line}" for line in render_changes(step, paint, full=full)),
        "    }",
    ]
    return "\n".join(lines)


def _render_members(group: StepGroup, paint: Paint, *, full: bool) -> str:
    """The first member with notes on the differences; destructive steps list more names."""
    step, address = group.step, group.step.resource.address
    most = _MOST_NAMED if is_destructive(step) else _NAMED
    more = f"(and {len(group.steps) - 1:,} more)"
    block = f'resource "{escape(address.kind)}" "{escape(address.name)}" {more} {{'
    lines = [
        f"  # {paint('bold', group.title)} {SAID[step.action]}",
        f"  # {group.list_names(most)}",
        *_list_facts(group, paint),
        f"{_sign(step, paint)} {block}",
        *(f"      {line}" for line in render_changes(step, paint, group.steps, full=full)),
        "    }",
    ]
    return "\n".join(lines)


def _list_facts(group: StepGroup, paint: Paint) -> Iterator[str]:
    for fact in describe_facts(group.steps):
        yield paint("faint", f"  #   {fact}")


def _sign(step: Step, paint: Paint) -> str:
    sign = paint.symbol(step.action.symbol)
    return sign.rjust(len(sign) + 3 - len(step.action.symbol))


def _render_notes(plan: Plan, findings: Sequence[Finding], paint: Paint) -> Iterator[str]:
    if is_baseline_lost(plan):
        yield describe_baseline(plan)
    if plan.orphans:
        yield "\n".join(_orphan_lines(plan))
    if findings:
        yield render_findings(findings, paint=paint)
    yield "\n".join(_closing(plan, paint))


def describe_baseline(plan: Plan) -> str:
    """Returns what a missing ledger means for this plan."""
    unknown = {
        (step.resource, reason.pointer)
        for step in plan.steps
        for reason in step.reasons
        if reason.cause is Cause.UNKNOWN
    }
    again = any(
        change.verb is Verb.WRITE and (step.resource, format_pointer(change.path)) in unknown
        for step in plan.steps
        for change in step.changes
    )
    return BASELINE_LOST + (
        "\nOnly values that are not observable are written again." if again else ""
    )


def is_baseline_lost(plan: Plan) -> bool:
    """Whether the missing ledger matters to this plan."""
    return plan.baseline == "lost" and any(step.action is not Action.CREATE for step in plan.steps)


def _orphan_lines(plan: Plan) -> Iterator[str]:
    what, how = describe_orphans(plan)
    yield what
    if len(plan.orphans) > _TABLE_ABOVE:
        yield f"  {list_names((str(one.address) for one in plan.orphans), _MOST_NAMED)}"
    else:
        for resource in plan.orphans:
            yield f"  {escape(str(resource.address))} [{escape(resource.short_id)}]"
    yield how


def describe_orphans(plan: Plan) -> tuple[str, str]:
    """Returns the sentence about orphans, and the commands for them."""
    them = agree(len(plan.orphans), "it", "them")
    return (
        f"{count(len(plan.orphans), 'orphan')}: in the ledger, and no manifest declares {them}.",
        (
            f"Live resources do not change. To destroy {them}: --prune. To stop managing {them}:"
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
    if plan.inputs.allowed:
        yield describe_lifted(plan)
    if plan.inputs.reason:
        yield describe_reason(plan)
    yield from describe_rollouts(plan)
    yield describe_coverage(plan)
    if plan.inputs.commit and plan.inputs.dirty:
        commit = shorten_commit(name_commit(plan.inputs.commit, dirty=True))
        yield f"Created from {escape(commit)}{describe_unproven(plan)}."
    if plan.steps:
        yield from describe_digests(plan)


def describe_digests(plan: Plan) -> Iterator[str]:
    """Yields the digest of the plan, and the digest of its changes."""
    whole, changes = find_digests(plan)
    yield f"Digest of this plan: {whole}"
    yield f"Digest of its changes: {changes}"


def describe_lifted(plan: Plan) -> str:
    """Returns the guards that the plan lifts: `Lifted by --allow: deletes.`."""
    return f"Lifted by --allow: {', '.join(escape(cut(one)) for one in plan.inputs.allowed)}."


def describe_reason(plan: Plan) -> str:
    """Returns why the guard `gate` is lifted: `Reason: the campaign starts today`."""
    return f"Reason: {escape(cut(plan.inputs.reason, MOST_REASON))}"


def describe_unproven(plan: Plan) -> str:
    """Returns what follows the name of a dirty commit, with the files; empty if it is clean."""
    if not plan.inputs.dirty:
        return ""
    them = list_names(plan.inputs.differing, _MOST_DIFFERING)
    if not them:
        return ". The files could not be compared with the commit"
    return f". {DIFFERING}: {them}"


def describe_refusal(plan: Plan) -> str:
    """Returns `Refused by the guard replace: apply will not run this plan.`."""
    guards = sorted({finding.guard for finding in plan.refused if finding.guard})
    named = f"{agree(len(guards), 'guard', 'guards')} {', '.join(guards)}"
    return f"Refused by the {named}: apply will not run this plan."


def count_actions(plan: Plan) -> str:
    """Returns Terraform's sentence: `Plan: 0 to add, 1 to change, 0 to destroy.`."""
    actions = [step.action for step in plan.steps]
    add = sum(action in {Action.CREATE, Action.REPLACE} for action in actions)
    change = sum(action is Action.UPDATE for action in actions)
    destroy = sum(action in {Action.DELETE, Action.REPLACE} for action in actions)
    return f"Plan: {add} to add, {change} to change, {destroy} to destroy."


def describe_hidden(plan: Plan) -> str:
    """Returns what could not be compared, so that "No changes" does not promise too much."""
    known = Counter(
        plan.last_set.get(address, {}).get(pointer, "")
        for address, pointers in plan.not_observable.items()
        for pointer in pointers
    )
    return "\n".join(
        _describe_not_observable(said, number) for said, number in known.most_common(_NAMED)
    )


def _describe_not_observable(last_set: str, number: int) -> str:
    verb, them = agree(number, "is", "are"), agree(number, "it", "them")
    why = f" (set {escape(last_set)})" if last_set else f": the service never returns {them}"
    return f"{count(number, 'declared attribute')} {verb} not observable{why}."


def describe_coverage(plan: Plan) -> str:
    """Returns how many services were read, and the writes and time that the apply needs."""
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
    """The number and sizes of the waves, if the user asked for an order."""
    if len({step.wave for step in plan.steps}) < 2:
        return ""
    waves = [f"{len(wave.steps):,}" for wave in arrange(plan.steps)]
    return f", in {count(len(waves), 'wave')}: {', then '.join(waves)}"

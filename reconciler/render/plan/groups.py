"""Groups steps that are shown as one: similar members of a fleet, or equal changes of resources.

Steps are compared by what they do and not by their text, because the text may be cut.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Final

from reconciler.model import Action, Address, ModelChange, Plan, Step
from reconciler.model.values import dataclass
from reconciler.plans.changes_digest import describe_way
from reconciler.plans.guards import is_final
from reconciler.render.plan.facts import get_folder, has_own_name
from reconciler.render.plan.rows import choose_typical
from reconciler.render.words.escape import escape
from reconciler.render.words.grouping import gather
from reconciler.render.words.names import list_names
from reconciler.text.counting import count
from reconciler.text.json_text import canonical

# Deletes come first, so that the user does not miss what cannot be restored.
_ORDER: Final = (Action.DELETE, Action.REPLACE, Action.UPDATE, Action.CREATE)
_GROUP_FROM: Final = 3
# Deletes are listed one by one as long as a person can read the list.
_GROUP_REMOVALS_FROM: Final = 21


@dataclass(frozen=True, slots=True)
class StepGroup:
    """One step, or several that are shown as one; `step` represents them.

    Members of a fleet may differ in values. All other grouped steps make exactly the same change.
    """

    steps: tuple[Step, ...]
    step: Step
    fleet: Address | None = None

    @property
    def alone(self) -> bool:
        """Whether the group has only one step."""
        return len(self.steps) == 1

    @property
    def title(self) -> str:
        """The subject of the group, escaped: `Fleet/rental: 1,000 members`, or the one address."""
        if self.alone:
            return escape(str(self.step.resource.address))
        if self.fleet is None:
            what = (
                "resource" if self.step.action is Action.UPDATE else self.step.resource.address.kind
            )
            return escape(count(len(self.steps), what))
        return f"{escape(str(self.fleet))}: {count(len(self.steps), 'member')}"

    def list_names(self, most: int) -> str:
        """Returns the names of all resources, as at most `most` names and ranges."""
        return list_names([step.resource.address.name for step in self.steps], most)


def group_steps(ordered: Sequence[Step], refused: Collection[str] = ()) -> list[StepGroup]:
    """Groups similar steps at the position of the first of them; the rest are groups of one.

    `refused` are the addresses that a guard refuses: their steps always stay separate.
    """
    gathered = gather(ordered, lambda step: _sameness(step, refused), least=_count_least)
    return [_make_group(steps) for steps in gathered]


def _make_group(steps: Sequence[Step]) -> StepGroup:
    fleet = steps[0].fleet
    typical = choose_typical(steps) if fleet is not None and len(steps) > 1 else steps[0]
    return StepGroup(tuple(steps), typical, fleet)


def _count_least(step: Step) -> int:
    lone = step.fleet is None and step.action is Action.DELETE
    return _GROUP_REMOVALS_FROM if lone else _GROUP_FROM


def group_plan(plan: Plan) -> list[StepGroup]:
    """Returns the steps of a plan in reading order, similar steps as one group."""
    return group_steps(in_order(plan.steps), {one.subject for one in plan.refused})


def in_order(steps: Iterable[Step]) -> list[Step]:
    """Returns the steps in reading order: destructive ones, irreversible ones, then the rest."""
    return sorted(steps, key=lambda step: (_rank(step), step.resource.address))


def _rank(step: Step) -> tuple[bool, int]:
    return not is_destructive(step), _ORDER.index(step.action)


def is_destructive(step: Step) -> bool:
    """Whether the step destroys or replaces its resource, or changes it irreversibly."""
    taken = step.action in {Action.DELETE, Action.REPLACE}
    return taken or any(map(is_final, step.changes))


def _sameness(step: Step, refused: Collection[str]) -> object:
    address = step.resource.address
    if step.fleet is not None:
        own = (str(address) in refused, _shape(step), _place(step), _way(step))
        return (step.fleet, address.kind, *own)
    if step.action is Action.DELETE:
        return address.kind, _notes(step), _place(step)
    if step.action is not Action.UPDATE:
        return address
    return (
        address.kind,
        canonical(step.ops),
        _notes(step),
        step.secrets,
        step.models,
        step.owned_paths,
        _place(step),
        _way(step),
    )


def _way(step: Step) -> str:
    """The strategy and the writes of a step as text; empty without them."""
    return canonical(describe_way(step)) if step.writes or step.strategy is not None else ""


def _place(step: Step) -> object:
    """The key of where a step leads: what differs in this is never shown as one."""
    source = None if step.source is None else (step.source.id, step.source.region, step.source.copy)
    return get_folder(step), has_own_name(step), str(step.resource.token), source


def _shape(step: Step) -> object:
    """The key of a group: everything that a step does, without the values before and after."""
    return (
        step.action,
        step.body,
        tuple((one.path, one.verb, one.after == {}, is_final(one)) for one in step.changes),
        tuple((one.name, one.path, not one.before, _verdicts(one)) for one in step.models),
        tuple((one.pointer, one.cause) for one in step.reasons),
        step.replace_paths,
        tuple(pointer for pointer, _ in step.secrets),
        step.owned_paths,
    )


def _verdicts(model: ModelChange) -> tuple[tuple[str, str, bool], ...]:
    """The key of what a gate decides: a refused model is never shown as one that passes."""
    return tuple((one.rule, one.verdict, one.refuses) for one in model.gates)


def _notes(step: Step) -> tuple[tuple[str, str], ...]:
    return tuple((reason.pointer, reason.note) for reason in step.reasons if reason.note)

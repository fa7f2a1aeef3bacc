"""Steps that are shown as one: alike members of a fleet, or resources that change the very same.

Told by what they do, not by how that is shown: what is cut for the eye may differ.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Final

from reconciler.model import Action, Address, Plan, Step
from reconciler.model.values import dataclass
from reconciler.plans.guards import is_final
from reconciler.render.plan.rows import choose_typical
from reconciler.render.words.counting import count
from reconciler.render.words.escape import escape
from reconciler.render.words.grouping import gather
from reconciler.render.words.names import list_names
from reconciler.text.json_text import canonical

# Deletes first: what cannot be had back must not be scrolled past.
_ORDER: Final = (Action.DELETE, Action.REPLACE, Action.UPDATE, Action.CREATE)
_GROUP_FROM: Final = 3
# What is taken away is named line by line as long as a person can read the lines.
_GROUP_REMOVALS_FROM: Final = 21


@dataclass(frozen=True, slots=True)
class Group:
    """One step, or several that are shown by one of them, `step`.

    The values of a fleet's members may differ; any others change the very same.
    """

    steps: tuple[Step, ...]
    step: Step
    fleet: Address | None = None

    @property
    def alone(self) -> bool:
        """Whether there is only one."""
        return len(self.steps) == 1

    @property
    def title(self) -> str:
        """Whom it is about, escaped: `Fleet/rental: 1,000 members`, or the one address."""
        if self.alone:
            return escape(str(self.step.resource.address))
        if self.fleet is None:
            what = (
                "resource" if self.step.action is Action.UPDATE else self.step.resource.address.kind
            )
            return escape(count(len(self.steps), what))
        return f"{escape(str(self.fleet))}: {count(len(self.steps), 'member')}"

    def list_names(self, most: int) -> str:
        """The names of all, at most so many of them and of ranges."""
        return list_names([step.resource.address.name for step in self.steps], most)


def group_steps(ordered: Sequence[Step], refused: Collection[str] = ()) -> list[Group]:
    """Those that are alike, together where the first of them stands; the rest alone.

    `refused` are addresses that a guard forbids to change: they are not hidden among others.
    """
    gathered = gather(ordered, lambda step: _sameness(step, refused), least=_count_least)
    return [_make_group(steps) for steps in gathered]


def _make_group(steps: Sequence[Step]) -> Group:
    fleet = steps[0].fleet
    typical = choose_typical(steps) if fleet is not None and len(steps) > 1 else steps[0]
    return Group(tuple(steps), typical, fleet)


def _count_least(step: Step) -> int:
    lone = step.fleet is None and step.action is Action.DELETE
    return _GROUP_REMOVALS_FROM if lone else _GROUP_FROM


def group_plan(plan: Plan) -> list[Group]:
    """The steps of a plan as they are to be read, those that are alike as one."""
    return group_steps(in_order(plan.steps), {one.subject for one in plan.refused})


def in_order(steps: Iterable[Step]) -> list[Step]:
    """The steps as they are to be read: what takes away, what cannot be undone, then the rest."""
    return sorted(steps, key=lambda step: (_rank(step), step.resource.address))


def _rank(step: Step) -> tuple[bool, int]:
    return not is_destructive(step), _ORDER.index(step.action)


def is_destructive(step: Step) -> bool:
    """Whether it takes a resource away, or changes it for good."""
    taken = step.action in {Action.DELETE, Action.REPLACE}
    return taken or any(map(is_final, step.changes))


def _sameness(step: Step, refused: Collection[str]) -> object:
    address = step.resource.address
    if step.fleet is not None:
        return step.fleet, address.kind, str(address) in refused, _shape(step)
    if step.action is Action.DELETE:
        return address.kind, _notes(step)
    if step.action is not Action.UPDATE:
        return address
    return address.kind, canonical(step.ops), _notes(step), step.secrets, step.models


def _shape(step: Step) -> object:
    """All that a step does but for the values that it leads from and to."""
    return (
        step.action,
        step.body,
        tuple((one.path, one.verb, one.after == {}, is_final(one)) for one in step.changes),
        tuple((one.name, one.path, not one.before) for one in step.models),
        tuple((one.pointer, one.cause) for one in step.reasons),
        step.replace_paths,
    )


def _notes(step: Step) -> tuple[tuple[str, str], ...]:
    return tuple((reason.pointer, reason.note) for reason in step.reasons if reason.note)

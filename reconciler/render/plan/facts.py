"""Describes what decides the calls of a step beside its changes: ids, tokens, sources, labels.

The renderers of a plan call it, so that every face shows where a step leads and what is
remembered. Its lines are escaped and bounded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from reconciler.document.pointers import format_pointer, split_pointer
from reconciler.model import Step
from reconciler.render.words.escape import cut, escape, show_path
from reconciler.render.words.names import list_names
from reconciler.text.counting import count

_LONGEST: Final = 1_000
_MOST_NAMED: Final = 100


def describe_facts(steps: Sequence[Step]) -> list[str]:
    """Returns `id: …` or `ids: …`, and `token: …`, `copied from: …` and `labels: …` of a step.

    Steps that are shown as one must have equal facts, except for the names in their ids.
    """
    return [_describe_ids(steps), *_describe_rest(steps)]


def _describe_rest(steps: Sequence[Step]) -> Iterator[str]:
    step = steps[0]
    if step.resource.token is not None:
        yield f"token: from {escape(cut(str(step.resource.token)))}"
    source = step.source
    if source is not None:
        made = {"missing": ", which is created first", "there": "", "": ""}[source.copy]
        sealed = f"; secrets from its copy for {escape(cut(source.region))}{made}"
        yield f"copied from: {escape(cut(source.id, _LONGEST))}{sealed if source.region else ''}"
    if any(one.labels != step.labels for one in steps):
        yield "labels: not the same for each"
    elif step.labels:
        labels = ", ".join(f"{name}={value}" for name, value in sorted(step.labels.items()))
        yield f"labels: {escape(cut(labels, _LONGEST))}"


def _describe_ids(steps: Sequence[Step]) -> str:
    """The id; for several steps their common folder with the names of the resources in it."""
    first = steps[0].resource
    if len(steps) == 1:
        return f"id: {escape(cut(first.id, _LONGEST))}"
    folder = escape(cut(get_folder(steps[0]), _LONGEST))
    if all(has_own_name(step) for step in steps):
        return f"ids: {folder}/ with the name of each"
    names = dict.fromkeys(step.resource.short_id for step in steps)
    return f"ids: {folder}/ with {list_names(list(names), _MOST_NAMED)}"


def get_folder(step: Step) -> str:
    """Returns the id of a step's resource without its last segment."""
    return step.resource.id.rstrip("/").rpartition("/")[0]


def has_own_name(step: Step) -> bool:
    """Whether the service has the resource under the name that is in the address."""
    return step.resource.short_id == step.resource.address.name


def list_kept(step: Step) -> list[str]:
    """Returns the pointers that the step owns and does not change: they are only remembered."""
    changed = {format_pointer(change.path) for change in step.changes}
    return [pointer for pointer in step.owned_paths if pointer not in changed]


def describe_kept(step: Step, most: int) -> str:
    """Returns what is remembered as declared and does not change; empty without it.

    At most `most` values are named.
    """
    kept = list_kept(step)
    if not kept:
        return ""
    more = f" and {count(len(kept) - most, 'more value')}" if len(kept) > most else ""
    shown = (show_path(split_pointer(pointer)) for pointer in kept[:most])
    return f"also declared: {', '.join(shown)}{more}"

"""Splits a step into writes of one ARM resource each, in the order in which they are safe.

The endpoint comes first, without traffic. Deployments are created and changed, and probed before
they get traffic. Then the traffic moves in steps. Deployments are deleted last, once they have none
(documented: how-to-safely-rollout-online-endpoints). So each document on the way has traffic only
for deployments that exist. The kind calls this module.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import field as field_of
from typing import Final

from reconciler.document.diff import diff
from reconciler.document.pointers import copy_along, find, set_at, split_pointer
from reconciler.document.schema import Field
from reconciler.kinds.online_endpoint.addresses import parse_id
from reconciler.kinds.online_endpoint.shares import (
    MIRROR,
    TRAFFIC,
    Shares,
    describe_shares,
    list_growing,
    list_steps,
    read_shares,
)
from reconciler.model import ABSENT, Absent, Check, Json, Path, Step, Write
from reconciler.model.values import dataclass
from reconciler.plans.probes import count_calls
from reconciler.text.counting import count

_DEPLOYMENTS: Final = "deployments"
_CHANGE: Final = "change the settings of the endpoint"
_SHARES: Final = (TRAFFIC[-1], MIRROR[-1])
# What decides how a deployment answers, below its properties.
SERVED: Final = (
    "model",
    "modelMountPath",
    "codeConfiguration",
    "environmentId",
    "environmentVariables",
)


def split_step(field: Field, step: Step) -> list[tuple[Write, Json | Absent]]:
    """Return the writes of a step, each with the document that it leaves."""
    if step.after is ABSENT:
        return []
    way = _Way(field, step.before, step.strategy or {})
    before, after = step.before, step.after
    served, named = read_shares(after, TRAFFIC), _name_sent(step)
    changed = [name for name in sorted(_list(after)) if way.differs(name, after) or name in named]
    # What will have no traffic is changed once it has none, so that no call meets the change.
    late = [name for name in changed if way.shares.get(name) and name not in served]
    if before is ABSENT:
        way.set_endpoint("create the endpoint", after)
    elif set(changed) - set(late):
        way.set_endpoint(_CHANGE, after)
    probed = [name for name in list_growing(way.shares, served) if name not in way.shares]
    for name in changed:
        if name not in late:
            way.set_deployment(name, after, probes=name not in probed)
    way.shift(after, probed)
    for name in late:
        way.set_deployment(name, after, probes=True)
    for number, name in enumerate(sorted(_list(before).keys() - _list(after).keys())):
        way.delete(name, wait_s=0.0 if number else way.strategy.get("keep_old_s", 0.0))
    return way.writes


def retreat(field: Field, step: Step, reached: Json) -> list[tuple[Write, Json | Absent]]:
    """Return the writes back to a safe state: the traffic first, then the deployments.

    A deployment that was changed while it had traffic gets what it had. One that was to get its
    first traffic is deleted if the strategy says so; copies of the traffic are traffic too.
    """
    way = _Way(field, reached, step.strategy or {})
    before = {} if step.before is ABSENT else step.before
    earlier, existing = read_shares(before, TRAFFIC), _list(reached)
    copied = read_shares(before, MIRROR)
    if earlier.keys() <= existing.keys():
        mirrored = {name: share for name, share in copied.items() if name in existing}
        title = f"traffic back: {describe_shares(earlier)}"
        way.set_traffic(reached, earlier, mirrored, title)
    for name in sorted(earlier.keys() & existing.keys()):
        if way.differs(name, before, served=True):
            way.set_deployment(name, before, title=f"restore deployment {name}")
    if way.strategy.get("on_failure") == "remove":
        # Also one that an earlier run has created: it was to get its first traffic.
        candidates = (existing.keys() - _list(before).keys()) | read_shares(
            step.after, TRAFFIC
        ).keys()
        for name in sorted(existing.keys() & candidates - earlier.keys() - copied.keys()):
            way.delete(name)
    return way.writes


def _list(document: Json | Absent) -> Mapping[str, Json]:
    found = find(document, (_DEPLOYMENTS,))
    return found if isinstance(found, dict) else {}


def _name_sent(step: Step) -> Collection[str]:
    """Return the deployments that a secret of the step is sent to."""
    paths = [split_pointer(pointer) for pointer, _ in step.secrets]
    return {path[1] for path in paths if len(path) > 1 and path[0] == _DEPLOYMENTS}


@dataclass
class _Way:
    """The writes so far, and the document that they have reached."""

    field: Field
    reached: Json | Absent
    strategy: Mapping[str, Json]
    writes: list[tuple[Write, Json | Absent]] = field_of(default_factory=list)

    @property
    def shares(self) -> Shares:
        """The traffic so far."""
        return read_shares(self.reached, TRAFFIC)

    def differs(self, name: str, after: Json, *, served: bool = False) -> bool:
        """Whether a deployment is not yet as in `after`; with `served`, in how it answers."""
        one, other = _list(self.reached).get(name, ABSENT), _list(after).get(name, ABSENT)
        changes = diff(self.field.at((_DEPLOYMENTS, name)), one, other)
        return any(not served or _is_served(change.path) for change in changes)

    def set_endpoint(self, title: str, after: Json) -> None:
        """Write the settings of the endpoint, if they change; its traffic stays."""
        document = self._with_settings(after)
        if diff(self.field, self.reached, document):
            self._add(Write(title), document)

    def set_deployment(
        self, name: str, after: Json, *, probes: bool = False, title: str = ""
    ) -> None:
        """Write one deployment; with `probes`, it is probed then if it answers differently."""
        due = probes and self.differs(name, after, served=True)
        before, wanted = _list(self.reached).get(name), _list(after)[name]
        write = Write(
            title or _describe_change(name, before, wanted),
            checks=self._list_probes([name]) if due else (),
            sends=(_DEPLOYMENTS, name),
        )
        self._add(write, self._with_deployments({**_list(self.reached), name: wanted}))

    def shift(self, after: Json, probed: Sequence[str]) -> None:
        """Move the traffic to that of `after`, in the steps of the strategy.

        The first write also has the settings of the endpoint. Each of the deployments in `probed`
        is probed before it. A shift that an interrupted step has begun is measured before it goes
        on: that step may have ended before its check.
        """
        target = read_shares(after, TRAFFIC)
        growing = list_growing(self.shares, target)
        pause_s = self.strategy.get("pause_s", 0.0)
        begun = any(name in self.shares for name in growing)
        measured = self._list_share_checks(self.shares) if begun else ()
        for shares in [*list_steps(self.shares, target, self.strategy.get("steps", ()))]:
            mirrored = read_shares(after if shares == target else self.reached, MIRROR)
            document = self._with_traffic(after, shares, mirrored)
            said = [f"traffic: {describe_shares(shares, growing)}", *self._name_rest(document)]
            write = Write(
                "; ".join(said),
                wait_s=pause_s if begun else 0.0,
                requires=(*self._list_probes(probed), *measured),
                checks=self._list_share_checks(shares),
            )
            self._add(write, document)
            begun, probed, measured = True, (), ()
        mirrored = read_shares(after, MIRROR)
        rest = self._name_rest(self._with_traffic(after, target, mirrored))
        self.set_traffic(after, target, mirrored, "; ".join(rest) or _CHANGE)

    def set_traffic(self, settings: Json, shares: Shares, mirrored: Shares, title: str) -> None:
        """Write the traffic at once, and the settings of the endpoint, if anything changes."""
        document = self._with_traffic(settings, shares, mirrored)
        if diff(self.field, self.reached, document):
            self._add(Write(title), document)

    def delete(self, name: str, wait_s: float = 0.0) -> None:
        """Delete a deployment that has no traffic.

        The traffic is measured before it if no other write of the step has done so.
        """
        left = {one: below for one, below in _list(self.reached).items() if one != name}
        measured = () if self.writes else self._list_share_checks(self.shares)
        write = Write(
            f"delete deployment {name}",
            wait_s=wait_s,
            requires=measured,
            sends=(_DEPLOYMENTS, name),
        )
        self._add(write, self._with_deployments(left))

    def _name_rest(self, document: Json) -> Iterator[str]:
        """Yield what a write of the endpoint changes beside its live traffic."""
        mirrored = read_shares(document, MIRROR)
        if mirrored != read_shares(self.reached, MIRROR):
            yield f"mirrored traffic: {describe_shares(mirrored)}"
        if diff(self.field, self.reached, self._with_settings(document)):
            yield _CHANGE

    def _add(self, write: Write, document: Json) -> None:
        self.writes.append((write, document))
        self.reached = document

    def _with_deployments(self, deployments: Json) -> Json:
        reached = {} if self.reached is ABSENT else self.reached
        return {**reached, _DEPLOYMENTS: deployments}

    def _with_settings(self, after: Json) -> Json:
        """Return `after` with the deployments and the traffic that have been reached."""
        document = {name: value for name, value in after.items() if name != _DEPLOYMENTS}
        properties = {
            name: value
            for name, value in (after.get("properties") or {}).items()
            if name not in _SHARES
        }
        reached = find(self.reached, ("properties",))
        for name in _SHARES:
            if isinstance(reached, dict) and name in reached:
                properties[name] = reached[name]
        if "properties" in after or properties:
            document["properties"] = properties
        return {**document, _DEPLOYMENTS: _list(self.reached)}

    def _with_traffic(self, after: Json, shares: Shares, mirrored: Shares) -> Json:
        """Return the settings of `after` with such traffic; no deployment has both sorts of it."""
        document = self._with_settings(after)
        copied = {name: share for name, share in mirrored.items() if name not in shares}
        for path, wanted in ((TRAFFIC, shares), (MIRROR, copied)):
            aim = find(after, path)
            if wanted != read_shares(after, path):
                shown = find(document, path)
                names = [*(shown if isinstance(shown, dict) else ()), *wanted]
                aim = {name: wanted.get(name, 0) for name in names}
            document = copy_along(document, [path])
            if aim is not ABSENT:
                set_at(document, path, aim)
            elif find(document, path) is not ABSENT:
                del document[path[0]][path[1]]
        return document

    def _list_probes(self, names: Sequence[str]) -> tuple[Check, ...]:
        if "probe" not in self.strategy:
            return ()
        calls = self.strategy["probe"]["count"]
        return tuple(
            Check(
                f"probe {name} by its name with {count(calls, 'call')}",
                {"sort": "probe", "deployment": name, "count": calls},
            )
            for name in names
        )

    def _list_share_checks(self, shares: Shares) -> tuple[Check, ...]:
        if "probe" not in self.strategy or not shares:
            return ()
        calls = count_calls(shares, self.shares)
        title = f"measure the shares of the traffic with {count(calls, 'call')}"
        return (Check(title, {"sort": "shares", "traffic": dict(shares), "count": calls}),)


def _describe_change(name: str, before: Json, after: Json) -> str:
    model = _name_model(after)
    if before is None:
        return f"create deployment {name}" + (f" ({model})" if model else "")
    former = _name_model(before)
    moved = f" ({former or 'no model'} -> {model or 'no model'})" if former != model else ""
    return f"change deployment {name}{moved}"


def _name_model(deployment: Json) -> str:
    """Return the name and version of the model of a deployment, such as census:2."""
    model = find(deployment, ("properties", "model"))
    asset = parse_id(model)
    return f"{asset.name}:{asset.version}" if asset is not None else str(model or "")


def _is_served(path: Path) -> bool:
    """Whether a change below a deployment changes how it answers."""
    whole = path in {(), ("properties",)}
    return whole or (path[0] == "properties" and path[1] in SERVED)

"""Makes the one call of a step: its verb, its address below the endpoint, and its body.

A step changes one resource of Resource Manager: the endpoint, or one of its deployments. A PUT
holds the whole document, because it replaces the whole (published): what the service showed right
before, with the changes. A PATCH exists for tags and the number of instances only (published), and
leaves everything else to other writers, such as an autoscaler. The provider calls this module and
keeps no body.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import Final, TypeAlias

from reconciler.document.normalize import restore_texts, without_server_fields
from reconciler.document.patch import apply_operations
from reconciler.document.pointers import copy_document, find, set_at, split_pointer
from reconciler.document.schema import Field
from reconciler.errors import Rejected
from reconciler.kinds.online_endpoint.addresses import expand_ids
from reconciler.kinds.online_endpoint.bind import VARIABLES, list_secret_variables
from reconciler.kinds.online_endpoint.replies import DEPLOYMENTS, SERVER_PROPERTIES, read_state
from reconciler.kinds.online_endpoint.shares import MIRROR, TRAFFIC, WHOLE
from reconciler.model import ABSENT, Absent, Action, Json, Live, Path, SecretReference, Step, Verb
from reconciler.model.values import dataclass
from reconciler.ports import ResolveSecret

Redact: TypeAlias = Callable[[Json], Json]
_PROPERTIES: Final = ("properties", "properties")
_COMPUTE: Final = ("properties", "compute")
_CAPACITY: Final = ("sku", "capacity")
_FAILED: Final = frozenset({"failed", "canceled"})
_UNSENT: Final = "Nothing was sent. Plan again."


@dataclass(frozen=True, slots=True)
class Call:
    """One call. `deployment` is "" for a call about the endpoint itself.

    `creates` says that live does not show what the call writes. The body may hold secrets.
    """

    method: str
    deployment: str = ""
    body: Json = field(default=None, repr=False)
    creates: bool = False


def make_call(
    field_: Field,
    step: Step,
    live: Live | Absent,
    redact: Redact,
    resolve: ResolveSecret,
    find_location: Callable[[], str],
) -> Call:
    """Return the call of a step; `find_location` asks for the location of the workspace.

    Raises Rejected for a step that changes several resources, and for a write that would leave
    traffic without a deployment. Nothing is sent then.
    """
    if step.action is Action.DELETE:
        return Call("DELETE")
    target = find_target(step)
    bodies = _Bodies(field_, step, live, redact, resolve)
    if not target:
        return bodies.make_endpoint_call(find_location)
    return bodies.make_deployment_call(target)


def find_target(step: Step) -> str:
    """Return the name of the deployment that a step changes, "" for the endpoint itself.

    Raises Rejected for a step that changes more than one of them.
    """
    paths = [change.path for change in step.changes]
    paths += [split_pointer(pointer) for pointer, _ in step.secrets]
    whole = step.action in {Action.CREATE, Action.REPLACE}
    if whole:
        targets = {"", *_names_of(step.after)}
    else:
        targets = {str(path[1]) if path[0] == DEPLOYMENTS else "" for path in paths if path}
    if len(targets) != 1 or (not whole and (DEPLOYMENTS,) in paths):
        named = ", ".join(f"deployment {one}" if one else "the endpoint" for one in sorted(targets))
        raise Rejected(
            f"one call cannot change several resources: {named}",
            subject=str(step.resource.address),
            next_step=_UNSENT,
        )
    target = targets.pop()
    if "/" in target:
        raise Rejected(
            f"{target} is not a valid name of a deployment",
            subject=str(step.resource.address),
            next_step=_UNSENT,
        )
    return target


class _Bodies:
    """The bodies of one step."""

    def __init__(
        self, field_: Field, step: Step, live: Live | Absent, redact: Redact, resolve: ResolveSecret
    ) -> None:
        self._field, self._step, self._live = field_, step, live
        self._redact, self._resolve = redact, resolve
        self._raw: Json = {} if isinstance(live, Absent) else live.raw or {}
        # The endpoint is `scope/onlineEndpoints/NAME`.
        self._workspace = step.resource.id.rpartition("/onlineEndpoints/")[0]

    def make_endpoint_call(self, find_location: Callable[[], str]) -> Call:
        desired = {name: one for name, one in self._desire().items() if name != DEPLOYMENTS}
        if self._changes_only(("tags",)):
            return Call("PATCH", "", {"tags": desired["tags"]})
        body = self._strip(self._field, desired)
        self._keep_properties(body, self._raw)
        self._keep_compute(body)
        body["location"] = find(self._raw, ("location",)) or find_location()
        for path in (TRAFFIC, MIRROR):
            shares = find(body, path)
            kept = shares if isinstance(shares, dict) else {}
            set_at(body, path, {name: share for name, share in kept.items() if share})
        self._write_secrets(body, ())
        if any(change.path[:2] == TRAFFIC for change in self._step.changes):
            self._check_traffic(body["properties"]["traffic"])
        return Call("PUT", "", body)

    def make_deployment_call(self, name: str) -> Call:
        document = self._desire()[DEPLOYMENTS]
        if name not in document:
            self._check_idle(name)
            return Call("DELETE", name)
        desired, raw = document[name], find(self._raw, (DEPLOYMENTS, name))
        if raw is not ABSENT and self._changes_only(
            (DEPLOYMENTS, name, "tags"), (DEPLOYMENTS, name, *_CAPACITY)
        ):
            return Call("PATCH", name, self._make_patch(desired))
        body = self._strip(self._field.at((DEPLOYMENTS, name)), desired)
        body = expand_ids(body, self._workspace)
        self._complete(body, raw)
        self._write_secrets(body, (DEPLOYMENTS, name))
        return Call("PUT", name, body, creates=raw is ABSENT)

    def _make_patch(self, desired: Json) -> Json:
        body = {}
        changed = {str(change.path[2]) for change in self._step.changes}
        if "tags" in changed:
            # It is not known whether tags are merged or replaced, so all are sent.
            body["tags"] = desired["tags"]
        if "sku" in changed:
            body["sku"] = {
                "name": find(desired, ("sku", "name")) or "Default",
                "capacity": find(desired, _CAPACITY),
            }
        return body

    def _desire(self) -> Json:
        """Return the live document with the changes; the rest is as the service sent it."""
        changes = (op for op in self._step.ops if op["op"] != "test")
        if isinstance(self._live, Absent):
            return apply_operations(changes, ABSENT)
        changed = apply_operations(changes, self._live.document)
        return restore_texts(self._field, changed, self._raw, self._redact)

    def _changes_only(self, *places: Path) -> bool:
        """Whether the step only sets values below these places, and removes none."""
        changes = self._step.changes
        return (
            bool(changes)
            and not self._step.secrets
            and self._step.action is Action.UPDATE
            and all(any(one.path[: len(at)] == at for at in places) for one in changes)
            and all(
                one.verb is Verb.ADD or (one.verb is Verb.REPLACE and one.path[-1] != "tags")
                for one in changes
            )
        )

    def _strip(self, field_: Field, desired: Json) -> Json:
        """Return a copy without what only the service sets; null means absent."""
        body = copy_document(_without_nulls(without_server_fields(field_, desired)))
        # A document may declare the state that must be reached; it is never sent.
        body.setdefault("properties", {}).pop("provisioningState", None)
        return body

    def _complete(self, body: Json, raw: Json | Absent) -> None:
        """Add what the service demands of a deployment, and the secrets that it showed."""
        location = find(raw, ("location",)) or find(self._raw, ("location",))
        if isinstance(location, str):
            body["location"] = location
        self._keep_properties(body, raw)
        kind = find(raw, ("properties", "endpointComputeType")) or "Managed"
        body["properties"]["endpointComputeType"] = kind
        sku = body.setdefault("sku", {})
        sku.setdefault("name", "Default")
        sku.setdefault("capacity", 1)
        for name in list_secret_variables(self._field, raw):
            variables = body["properties"].setdefault("environmentVariables", {})
            variables.setdefault(name, find(raw, (*VARIABLES, name)))

    def _keep_properties(self, body: Json, raw: Json | Absent) -> None:
        """Send back every property that was shown: none can be removed (published)."""
        shown = find(raw, _PROPERTIES)
        kept = {
            name: value
            for name, value in (shown.items() if isinstance(shown, dict) else ())
            if name not in SERVER_PROPERTIES and value is not None
        }
        own = find(body, _PROPERTIES)
        if kept or isinstance(own, dict):
            set_at(body, _PROPERTIES, {**kept, **(own if isinstance(own, dict) else {})})

    def _keep_compute(self, body: Json) -> None:
        """Send back what an endpoint on Kubernetes shows: a PUT without it would be another one."""
        for path in (_COMPUTE, ("kind",), ("sku",)):
            shown = find(self._raw, path)
            if find(self._raw, _COMPUTE) and shown is not ABSENT and shown is not None:
                set_at(body, path, copy_document(shown))

    def _write_secrets(self, body: Json, above: Path) -> None:
        """Set the values that no read returns. Do not keep the body after sending."""
        for change in self._step.changes:
            path = change.path[len(above) :]
            written = change.verb is Verb.WRITE and change.path[: len(above)] == above
            if written and not isinstance(change.after, SecretReference):
                set_at(body, path, change.after)
        for pointer, reference in self._step.secrets:
            path = split_pointer(pointer)
            # The secrets of a deployment go with its own call, and never with the endpoint's.
            if path[: len(above)] == above and (above or path[0] != DEPLOYMENTS):
                _set_below(body, path[len(above) :], self._resolve(reference))

    def _check_traffic(self, traffic: Mapping[str, Json]) -> None:
        """Raise Rejected unless traffic is whole and over deployments that exist."""
        existing = _names_of(self._raw)
        known = {name.casefold() for name in existing}
        missing = sorted(name for name in traffic if name.casefold() not in known)
        # Traffic may leave a deployment that failed, in steps too.
        growing = [
            name for name in existing if traffic.get(name, 0) > self._find_share(TRAFFIC, name)
        ]
        states = {name: read_state(find(self._raw, (DEPLOYMENTS, name))) for name in growing}
        failed = sorted(name for name in growing if states[name].casefold() in _FAILED)
        total = sum(share for share in traffic.values() if isinstance(share, int))
        if missing:
            self._refuse(f"traffic would go to {', '.join(missing)}, which does not exist")
        if failed:
            self._refuse(f"traffic would go to {', '.join(failed)}, whose last operation failed")
        if total not in {0, WHOLE}:
            self._refuse(f"traffic would sum to {total} %, not to 100 % or 0 %")

    def _check_idle(self, name: str) -> None:
        """Raise Rejected for a deployment that has traffic now."""
        for path, what in ((TRAFFIC, "traffic"), (MIRROR, "mirrored traffic")):
            share = self._find_share(path, name)
            if share:
                self._refuse(f"deployment {name} is not deleted: it has {share} % of the {what}")

    def _find_share(self, path: Path, name: str) -> int:
        """Return the share that a deployment has now; the case of its name does not count."""
        shown = find(self._raw, path)
        shares = shown.items() if isinstance(shown, dict) else ()
        found = (share for one, share in shares if one.casefold() == name.casefold())
        return next((share for share in found if isinstance(share, int)), 0)

    def _refuse(self, message: str) -> None:
        raise Rejected(message, subject=str(self._step.resource.address), next_step=_UNSENT)


def _names_of(document: Json | Absent) -> list[str]:
    """Return the names of the deployments in the document of an endpoint."""
    made = find(document, (DEPLOYMENTS,))
    return [str(name) for name in made] if isinstance(made, dict) else []


def _set_below(body: Json, path: Sequence[str | int], value: str) -> None:
    """Set a value, and make the objects above it."""
    for segment in path[:-1]:
        body = body.setdefault(segment, {})
    body[path[-1]] = value


def _without_nulls(document: Json | Absent) -> Json:
    if not isinstance(document, dict):
        return document
    return {name: _without_nulls(one) for name, one in document.items() if one is not None}

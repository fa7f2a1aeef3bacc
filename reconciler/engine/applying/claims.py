"""Compares a step of a saved plan with its manifest and its ledger entry as they are now.

A plan file is only a claim. What decides where a call goes, which secret it sends and what the
ledger records must be in the manifests or in the ledger too. The paths that a step owns are not
taken from the plan, but derived again. This module sends no write. Only the judge of saved plans
calls it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property

from reconciler.document.diff import is_omitted, same
from reconciler.document.identity import is_same_creation
from reconciler.document.pointers import find, format_pointer, split_pointer
from reconciler.engine.planning.selection import PlanRequest
from reconciler.engine.runtime import Runtime, asks_for_calls
from reconciler.engine.step_parts import add_writes
from reconciler.errors import ManifestInvalid
from reconciler.model import (
    ABSENT,
    Absent,
    Action,
    Address,
    Cause,
    Declared,
    Finding,
    Json,
    LastApplied,
    Manifest,
    ModelReference,
    Path,
    Resource,
    Step,
)
from reconciler.model.values import dataclass
from reconciler.plans.evidence import PLAN_AGAIN
from reconciler.plans.step import Comparison, list_due_signatures
from reconciler.ports import ClonesFrom, Kind
from reconciler.text.json_text import encode_canonical


@dataclass(frozen=True)
class Claim:
    """One step of a saved plan, with the manifests and its last applied state as they are now.

    It opens the documents of the step, so a plan of thousands of steps must not keep it.
    `plan_digest` is that of the plan: an earlier run of it may have done the step. `edited` says
    that a file from which the plan was made has changed since.
    """

    runtime: Runtime
    step: Step
    declared: Mapping[Address, Manifest]
    last_applied: LastApplied | None
    plan_digest: str
    edited: bool

    @property
    def kind(self) -> Kind:
        """The kind of the resource."""
        return self.runtime.kinds[self.step.resource.address.kind]

    @property
    def manifest(self) -> Manifest | None:
        """The manifest of the resource; None if no file declares it now, or it cannot be read."""
        return self.declared.get(self.step.resource.address)

    @cached_property
    def before(self) -> Json | Absent:
        """The document before the step, opened once."""
        return self.step.before

    @cached_property
    def after(self) -> Json | Absent:
        """The document after the step, opened once."""
        return self.step.after

    @cached_property
    def comparison(self) -> Comparison | None:
        """The manifest beside the document of the plan; None without a manifest."""
        manifest, step = self.manifest, self.step
        if manifest is None or step.action is Action.DELETE:
            return None
        return Comparison(
            step.resource,
            self.kind.field,
            self.before,
            self._bind(manifest),
            manifest.secrets,
            self.last_applied,
        )

    def _bind(self, manifest: Manifest) -> Declared:
        copied = self.step.action is Action.CREATE and self.step.source is not None
        if copied and isinstance(self.kind, ClonesFrom):
            # The result has every part of the source that the manifest can name.
            return self.kind.bind_clone(manifest, self.after)
        return self.kind.bind(manifest, self.before)

    @property
    def _restores(self) -> bool:
        """Whether the step is a rollback: it is made from the ledger, and not from a manifest."""
        return any(reason.cause is Cause.ROLLBACK for reason in self.step.reasons)

    @property
    def models(self) -> Sequence[ModelReference]:
        """The trained models that the manifest declares now, with their signatures and pins."""
        return self.comparison.declared.models if self.comparison is not None else ()

    def check(self, request: PlanRequest) -> Iterator[Finding]:
        """Yield a finding for each part of the step that the project does not have."""
        resource = self.step.resource
        yield from self._check_name(request)
        known = list(self._identify(request))
        ours = [one for one in known if one.id.casefold() == resource.id.casefold()]
        if known and not ours:
            yield self._differ("the id", resource.id)
        located = self.kind.locate(resource.address, resource.id, request.defaults)
        if str(resource.token) not in {str(one.token) for one in ours or [located]}:
            yield self._differ("the token", str(resource.token))
        source = self.step.source
        if self.step.action is Action.CREATE and self.manifest is not None:
            wanted = self._find_source(self.manifest, request)
            if (source.id if source else "").casefold() != wanted.casefold():
                yield self._differ("the source", source.id if source else "no other resource")
        yield from self._check_secrets()
        yield from self._check_models()
        yield from self._check_values()
        yield from self._check_sent()
        yield from self._check_order()
        yield from self._check_way()
        yield from self._check_call()

    def _check_name(self, request: PlanRequest) -> Iterator[Finding]:
        """Yield a finding if a name in the manifest now means another id than that of the plan."""
        manifest, resource = self.manifest, self.step.resource
        if manifest is None or self.step.action is Action.DELETE:
            return
        named = self.runtime.find_named_part(manifest, request.defaults)
        if named is None:
            return
        now = self.runtime.identify(manifest, request.defaults)
        if now.id.casefold() != resource.id.casefold():
            yield self._report(
                f'the {named.noun} "{named.name}" is another one now',
                f"The plan changes: {resource.id}",
                f"The name means:   {now.id}",
            )

    def _identify(self, request: PlanRequest) -> Iterator[Resource]:
        if self.last_applied is not None:
            yield self.last_applied.resource(self.step.resource.address)
        if self.manifest is not None:
            with contextlib.suppress(ManifestInvalid):
                yield self.runtime.identify(self.manifest, request.defaults)

    def _find_source(self, manifest: Manifest, request: PlanRequest) -> str:
        """Return the id of the source that the manifest names now; empty without one."""
        if not isinstance(self.kind, ClonesFrom):
            return ""
        try:
            named = self.kind.find_source(manifest, request.defaults)
            if isinstance(named, Address):
                return self.runtime.identify(self.declared[named], request.defaults).id
        except (ManifestInvalid, KeyError):
            return ""
        return named.id if named is not None else ""

    def _check_secrets(self) -> Iterator[Finding]:
        """Yield a finding for each reference of a secret that the manifest does not have."""
        comparison = self.comparison
        known = {} if comparison is None else dict(comparison.secrets)
        if comparison is not None:
            known |= list_due_signatures(comparison, self.step.changes, self.step.body)
        for pointer, reference in self.step.secrets:
            if known.get(pointer) != reference:
                yield self._differ("the secret", f"{pointer} from {reference}")

    def _check_models(self) -> Iterator[Finding]:
        """Yield a finding for an old model that the ledger does not have.

        Its address is compared if the service does not show it, and its digest always. An earlier
        run of the plan has recorded the new model.
        """
        field, step, last_applied = self.kind.field, self.step, self.last_applied
        yield from self._check_unshown()
        if last_applied is not None and last_applied.plan_digest == self.plan_digest:
            return
        for model in step.models:
            hidden = self.before is not ABSENT and is_omitted(field, model.path, self.before)
            if hidden and (self._recall(model.path) or "") != model.before:
                yield self._differ("the old address of the model", model.before)
            if model.digest_before != self._recall_digest(model.path, model.before):
                yield self._differ("the old digest of the model", model.digest_before)

    def _check_unshown(self) -> Iterator[Finding]:
        """Yield a finding for a model that changes and that the step does not name.

        Storage, the gates and the policies judge the models that a step names.
        """
        named = {model.path for model in self.step.models}
        changed = {change.path for change in self.step.changes}
        for model in self.models:
            if model.path in changed - named:
                yield self._report(f'it changes the model "{model.name}" and does not name it')

    def _recall_digest(self, path: Path, address: str) -> str:
        """Return the recorded digest of a model; empty if another client has set the address."""
        if self.last_applied is None or self._recall(path) != address:
            return ""
        return self.last_applied.digests.get(format_pointer(path), "")

    def _recall(self, path: Path) -> Json:
        """Return the recorded value of a place; None without one."""
        return self._recorded.get(format_pointer(path))

    @property
    def _recorded(self) -> Mapping[str, Json]:
        """The recorded values, if they are of the resource that the step changes.

        A resource that was deleted and created again has none.
        """
        last_applied = self.last_applied
        if last_applied is None:
            return {}
        same_one = is_same_creation(self.kind.field, last_applied.created, self.before)
        return last_applied.owned if same_one else {}

    def _check_values(self) -> Iterator[Finding]:
        """Yield a finding for a value that would be recorded, and that only the plan has."""
        for path in map(split_pointer, self.step.owned_paths):
            shown = find(self.before, path) is not ABSENT or self._is_written(path)
            if not shown and not any(self._has_value(path, one) for one in self._list_known(path)):
                yield self._differ("the value", format_pointer(path))

    def _list_known(self, path: Path) -> Iterator[Json | Absent]:
        recorded = self._recall(path)
        yield ABSENT if recorded is None else recorded
        yield find(self._declared_document, path)

    @property
    def _declared_document(self) -> Json | Absent:
        return ABSENT if self.comparison is None else self.comparison.declared.document

    def _has_value(self, path: Path, value: Json | Absent) -> bool:
        """Whether the step leaves a value at a place, by the rules of the schema."""
        field = replace(self.kind.field.at(path), write_only=False)
        return value is not ABSENT and same(field, value, find(self.after, path))

    def _is_written(self, path: Path) -> bool:
        """Whether a change of the step, which is shown, has the value of a place."""
        return any(
            change.path[: len(path)] == path
            or (
                path[: len(change.path)] == change.path
                and find(change.after, path[len(change.path) :]) is not ABSENT
            )
            for change in self.step.changes
        )

    def _check_order(self) -> Iterator[Finding]:
        """Yield a finding for another wave or fleet than the step has now."""
        manifest, step = self.manifest, self.step
        if manifest is not None and not self._restores:
            wave = manifest.spec.get("wave", 0)
            fleet = manifest.member.fleet if manifest.member is not None else None
        elif self.last_applied is not None:
            wave, fleet = self.last_applied.wave, self.last_applied.fleet
        else:
            return
        if step.wave != wave:
            yield self._differ("the wave", str(step.wave))
        if step.fleet != fleet:
            yield self._differ("the fleet", str(step.fleet or "no fleet"))

    def _check_way(self) -> Iterator[Finding]:
        """Yield a finding for another strategy than the manifest has, or for other writes.

        A rollback and a deletion follow no strategy.
        """
        step, comparison = self.step, None if self._restores else self.comparison
        strategy = None if comparison is None else comparison.declared.strategy
        if encode_canonical(step.strategy) != encode_canonical(strategy):
            yield self._report("the manifest has another way of the change than the plan")
            return
        writes = add_writes(self.kind, step.copy_with(writes=())).writes
        if writes != step.writes:
            yield self._report(f"{self.kind.name} makes other writes of the change than the plan")

    def _check_call(self) -> Iterator[Finding]:
        """Yield a finding for each value of a call that the manifest does not ask for.

        A value that a manifest can declare is never set by a call.
        """
        kind, manifest = self.kind, self.manifest
        asked = asks_for_calls(kind) and manifest is not None and kind.asks_for_call(manifest)
        for change in self.step.changes:
            if change.called and not (asked and kind.field.at(change.path).read_only):
                yield self._differ("the call", format_pointer(change.path))

    def _check_sent(self) -> Iterator[Finding]:
        """Yield a finding for a model that is sent beside others, and that the plan does not show.

        Every declared model is sent with any model.
        """
        field, step = self.kind.field, self.step
        changed = {change.path for change in step.changes}
        for path in map(split_pointer, self._owned if step.models else ()):
            hidden = self.before is not ABSENT and is_omitted(field, path, self.before)
            if field.at(path).model and hidden and path not in changed:
                yield self._report(
                    "the manifest declares a model that the plan does not send",
                    format_pointer(path),
                )

    def _differ(self, what: str, said: str) -> Finding:
        return self._report(f"neither the manifests nor the ledger have {what} of the plan", said)

    def _report(self, what: str, *said: str) -> Finding:
        return Finding(
            f"Saved plan is stale: {what}",
            subject=str(self.step.resource.address),
            detail=said,
            next_step=PLAN_AGAIN,
        )

    def confirm(self) -> Step:
        """Return the step with the paths that it owns: derived, and not taken from the plan."""
        same_paths = self._owned == self.step.owned_paths
        return self.step if same_paths else self.step.copy_with(owned_paths=self._owned)

    @cached_property
    def _owned(self) -> tuple[str, ...]:
        comparison, claimed = self.comparison, dict.fromkeys(self.step.owned_paths)
        if comparison is None or comparison.declared.findings or self._restores:
            return tuple(self._find_recorded(claimed))
        return tuple(self._find_declared(comparison, claimed))

    def _find_declared(self, comparison: Comparison, claimed: Collection[str]) -> Iterator[str]:
        """Yield what the manifest declares now, and what it declared if it has changed since.

        A value that the manifest has now and the step does not leave is not owned, unless the
        plan owns its place.
        """
        declared = comparison.declared.document
        paths = {format_pointer(path): path for path in comparison.declared_paths}
        for pointer, path in paths.items():
            if pointer in claimed or self._has_value(path, find(declared, path)):
                yield pointer
        for pointer in claimed if self.edited else ():
            if pointer not in paths and self._is_written(split_pointer(pointer)):
                yield pointer

    def _find_recorded(self, claimed: Collection[str]) -> Iterator[str]:
        """Yield the plan's paths that a change of the step, the ledger or the manifest has.

        A rollback also owns what the ledger records and the step leaves.
        """
        recorded = self._recorded
        declared = self.comparison.declared_paths if self.comparison is not None else ()
        known = {*recorded, *map(format_pointer, declared)}
        known |= {format_pointer(change.path) for change in self.step.changes}
        yield from (one for one in claimed if one in known or self._is_written(split_pointer(one)))
        for pointer in recorded if self._restores else ():
            kept = find(self.after, split_pointer(pointer)) is not ABSENT
            if kept and pointer not in claimed:
                yield pointer

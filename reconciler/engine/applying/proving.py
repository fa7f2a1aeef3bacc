"""Proves after an update of a model that the new one answers.

A service can report a new model and answer with the old one. So the rows of `spec.verify` are
scored after the step, until the new model answers or their timeout has passed. The ledger first
records that a proof is due, so that an apply after an interruption still makes it. The apply
imports this module only for a resource whose manifest has `spec.verify`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from reconciler.document.pointers import format_pointer
from reconciler.engine.applying.journal import PROOFS, Journal
from reconciler.engine.pool import ResumableTask
from reconciler.engine.runtime import Runtime
from reconciler.engine.training.verifying import (
    GoldenRows,
    Question,
    choose_digest,
    read_golden_rows,
    watch,
)
from reconciler.errors import ManifestInvalid, NotApplied, ReconcilerError
from reconciler.model import (
    Action,
    Address,
    Fact,
    Finding,
    Json,
    Manifest,
    ModelReference,
    ModelVerified,
    Resource,
    Snapshot,
    Step,
    StepDoubted,
)
from reconciler.model.values import dataclass
from reconciler.plans.proof import Proof, Verification, find_next_step
from reconciler.ports import Kind, Scorer, Scores

_DUE: Final = "due"
# With these results the next apply asks again.
_OPEN: Final = frozenset({_DUE, Proof.OLD.value, Proof.UNREACHABLE.value})


def updates_model(step: Step) -> bool:
    """Whether a step gives an existing resource another model."""
    return step.action is Action.UPDATE and bool(step.models)


def list_due(snapshot: Snapshot) -> Iterator[tuple[Address, Mapping[str, Json]]]:
    """Yields the resources whose proof is due since an earlier apply, with the recorded fact.

    A proof is due as long as the model that it is about is the last applied one.
    """
    for address, fact in snapshot.list_facts(PROOFS):
        if fact.data.get("proof") not in _OPEN:
            continue
        last_applied = snapshot.last_applied_by_address.get(address)
        if last_applied is None or not last_applied.has_id(str(fact.data.get("id"))):
            continue
        if last_applied.owned.get(str(fact.data.get("model"))) == fact.data.get("uri"):
            yield address, fact.data


@dataclass(frozen=True)
class Case:
    """One resource to prove: its rows, its model, and the digests of it and of the model before.

    `model` is the pointer of the model in the document of the service, and `uri` its address.
    `is_left` says that an earlier apply has set the model.
    """

    resource: Resource
    golden: GoldenRows
    model: str
    uri: str
    digest: str = ""
    before: str = ""
    is_left: bool = False


class Prover:
    """Proves which model answers, for the steps of one apply and for what an earlier one left.

    `unproven` has a warning for each resource of which nothing is proven.
    """

    def __init__(
        self, runtime: Runtime, journal: Journal, snapshot: Snapshot, cases: Iterable[Case]
    ) -> None:
        self._runtime, self._journal, self._facts = runtime, journal, snapshot.facts
        self._cases = {one.resource.address: one for one in cases}
        self.unproven: list[Finding] = []

    def expect(self, step: Step) -> None:
        """Records that a proof is due, before anything of the step is sent."""
        case = self._cases.get(step.resource.address)
        if case is not None:
            self._record(case, _DUE)

    def prove(self, step: Step) -> ResumableTask[str]:
        """Returns what is proven after a step, "" for a step without a proof.

        Raises NotApplied if the old model answers.
        """
        case = self._cases.get(step.resource.address)
        if case is None:
            return ""

        def doubt(found: Verification) -> None:
            self._runtime.emit(StepDoubted(step.resource, step.action, found.reason))

        found = yield from self._ask(case, doubt)
        return f"{found.proof.value}: {found.reason}"

    def list_left(self) -> list[Case]:
        """Returns the proofs that an earlier apply left, which is all that no step asks for."""
        return [one for one in self._cases.values() if one.is_left]

    def settle(self, case: Case) -> ResumableTask[tuple[Resource, ReconcilerError | None]]:
        """Makes a proof that an earlier apply left; returns NotApplied if the old model answers."""
        try:
            found = yield from self._ask(case, lambda _: None)
        except ReconcilerError as error:
            return case.resource, error
        self._runtime.emit(ModelVerified(case.resource, found.proof.value, found.reason))
        return case.resource, None

    def _ask(
        self, case: Case, doubt: Callable[[Verification], None]
    ) -> ResumableTask[Verification]:
        question = Question(
            case.golden,
            case.digest,
            self._facts,
            lambda within_s: self._open_scorer(case.resource, within_s),
            case.before,
        )
        said: set[str] = set()

        def report(found: Verification) -> None:
            if found.reason not in said:
                said.add(found.reason)
                doubt(found)

        def awaits(found: Verification) -> bool:
            return found.may_change and not self._runtime.halted()

        found = yield from watch(question, awaits, report)
        self._record(case, found.proof.value, found.reason)
        if found.proof is Proof.OLD:
            raise NotApplied((_describe_old(found),))
        if found.proof is not Proof.PROVEN:
            self.unproven.append(_describe_unproven(found))
        return found

    def _open_scorer(self, resource: Resource, within_s: float) -> Scorer:
        provider = self._runtime.provider(resource.address)
        if not isinstance(provider, Scores):
            message = f"the kind {resource.address.kind} cannot be scored"
            raise ReconcilerError(message, subject=str(resource.address))
        return provider.open_scorer(resource, within_s)

    def _record(self, case: Case, proof: str, reason: str = "") -> None:
        data = {
            "id": case.resource.id,
            "proof": proof,
            "model": case.model,
            "uri": case.uri,
            "digest": case.digest,
            "before": case.before,
            "rows": case.golden.digest,
            "reason": reason,
        }
        said = {name: value for name, value in data.items() if value}
        self._journal.note(PROOFS, str(case.resource.address), said)


def list_cases(
    root: Path,
    manifests: Iterable[Manifest],
    steps: Iterable[Step],
    snapshot: Snapshot,
    kinds: Mapping[str, Kind],
) -> Iterator[Case]:
    """Yields the resources to prove: those of the steps, and those that an earlier apply left.

    `manifests` are those with `spec.verify`. Raises ManifestInvalid with a finding for each whose
    rows cannot be read, so it must be called before the first write.
    """
    updated = {step.resource.address: step for step in steps if updates_model(step)}
    due = dict(list_due(snapshot))
    findings: list[Finding] = []
    for manifest in manifests:
        address = manifest.address
        try:
            if address in updated:
                models = kinds[address.kind].list_models(manifest)
                yield _open_case(root, manifest, models, updated[address], snapshot.facts)
            elif address in due:
                resource = snapshot.last_applied_by_address[address].resource(address)
                yield _open_left(root, manifest, resource, due[address])
        except ReconcilerError as error:
            findings += error.findings()
    if findings:
        raise ManifestInvalid(tuple(findings))


def _open_left(
    root: Path, manifest: Manifest, resource: Resource, recorded: Mapping[str, Json]
) -> Case:
    fact = {name: str(value) for name, value in recorded.items()}
    digest, before = fact.get("digest", ""), fact.get("before", "")
    rows = read_golden_rows(root, manifest)
    return Case(resource, rows, fact["model"], fact["uri"], digest, before, is_left=True)


def _open_case(
    root: Path,
    manifest: Manifest,
    models: Iterable[ModelReference],
    step: Step,
    facts: Mapping[tuple[str, str], Fact],
) -> Case:
    pins = {one.uri: one.pin for one in models if one.pin}
    digests = {one.path: one.digest_after or pins.get(one.after, "") for one in step.models}
    digest = choose_digest(facts, digests.values())
    model = next(one for one in step.models if digests[one.path] == digest)
    return Case(
        step.resource,
        read_golden_rows(root, manifest),
        format_pointer(model.path),
        model.after,
        digest,
        model.digest_before,
    )


def _describe_old(found: Verification) -> Finding:
    return Finding(
        "not applied: the service reports success, and the old model still answers",
        subject=str(found.address),
        detail=(
            f"{found.reason[:1].upper()}{found.reason[1:]}.",
            f"It must serve {found.digest}.",
            f"It answers as {found.before or 'the model before, whose digest is not known'}.",
        ),
        next_step=f"See later which model answers: reconciler verify {found.address}. Restore the"
        f" old model with: reconciler rollback {found.address}",
    )


def _describe_unproven(found: Verification) -> Finding:
    return Finding(
        f"it is not proven which model answers: {found.proof.value}",
        subject=str(found.address),
        detail=(f"{found.reason[:1].upper()}{found.reason[1:]}.",),
        next_step=find_next_step(found) or f"Verify it with: reconciler verify {found.address}",
        severity="warning",
    )

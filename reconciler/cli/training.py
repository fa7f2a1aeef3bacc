"""Wires a retraining: the ports of its run, and the calls of its services."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from reconciler.blobs.training import TrainingBlobs
from reconciler.cli.context import Invocation
from reconciler.cli.wiring import Assembly, lock_ledger
from reconciler.engine.pool import ResumableTask
from reconciler.engine.runtime import Runtime
from reconciler.engine.training.comparing import Rows, read_file
from reconciler.engine.training.judging import judge_run
from reconciler.engine.training.run import (
    OPEN,
    TOPIC,
    RunAuthor,
    RunRecord,
    TrainingPorts,
    TrainingRun,
    is_due_since,
    list_open_states,
    list_secrets,
    name_run,
)
from reconciler.engine.training.serving import verify_serving
from reconciler.engine.training.verifying import (
    GoldenRows,
    Question,
    find_digest,
    is_unreachable_now,
    read_golden_rows,
    watch,
)
from reconciler.errors import ManifestInvalid, ReconcilerError, ServiceMissing
from reconciler.kinds.data_plane import open_address
from reconciler.manifests.secrets import resolve_known
from reconciler.model import Address, Finding, Manifest, ModelReference, Resource
from reconciler.model.training import Promotion, Retraining
from reconciler.plans.gates import Candidate
from reconciler.plans.proof import Verification
from reconciler.ports import (
    Access,
    AlternatesDeployments,
    BatchJobs,
    Lease,
    Provider,
    Scorer,
    Scores,
    ShowsServing,
    Trains,
)
from reconciler.secrets.redaction import mask
from reconciler.text.suggestions import ask, suggest
from reconciler.text.times import parse_utc
from reconciler.transport import is_loopback

_FIRST_WAIT_S = 1.0
_FIRST_LOCAL_WAIT_S = 0.2
_LONGEST_REST_S = 0.2


class Trainer:
    """Runs the retrainings of one project."""

    def __init__(
        self,
        invocation: Invocation,
        assembly: Assembly,
        lock_timeout: float = 0.0,
        parallelism: int = 10,
    ) -> None:
        self._invocation, self._assembly = invocation, assembly
        self._lock_timeout, self._parallelism = lock_timeout, parallelism
        # One line at a time: the threads of this process would wait long for one another.
        self._lines = threading.Lock()
        self._runs: dict[Address, TrainingRun] = {}

    @cached_property
    def access(self) -> Access:
        """The calls of the project; the secrets of its retrainings are known to the redaction."""
        access = self._assembly.connect()
        found = (one for each in self._assembly.loaded.retrainings for one in list_secrets(each))
        resolve_known(access.resolve, found)
        return access

    @cached_property
    def runtime(self) -> Runtime:
        """The ports of the project."""
        return self._assembly.make_runtime(self.access, self._parallelism)

    @cached_property
    def ports(self) -> TrainingPorts:
        """What a run needs."""
        revision = self._assembly.revision
        is_local = all(map(is_loopback, self._assembly.project.cloud.planes.values()))
        return TrainingPorts(
            ledger=self._assembly.ledger,
            lock=self._lock,
            storage=TrainingBlobs(
                Path(self._assembly.project.root),
                self.access.resolve,
                self.access.redaction.know,
            ),
            read_file=lambda file: read_file(Path(self._assembly.project.root, file), file),
            author=RunAuthor(revision.author, revision.host, revision.name),
            emit=self._assembly.emit,
            clock=self.runtime.clock,
            monotonic=time.monotonic,
            sleep=self._rest,
            name_run=lambda: name_run(datetime.now(UTC), secrets.token_hex(2)),
            hide=lambda text: mask(self.access.redaction.redact(text)),
            check_interrupted=self._invocation.interruption.check,
            first_wait_s=_FIRST_LOCAL_WAIT_S if is_local else _FIRST_WAIT_S,
        )

    def _rest(self, seconds: float) -> None:
        """Sleep between two looks at a job; an interruption ends it, and the job goes on."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._invocation.interruption.check()
            time.sleep(min(left, _LONGEST_REST_S))

    @contextmanager
    def _lock(self) -> Iterator[Lease]:
        with (
            self._lines,
            lock_ledger(self._assembly, "retrain", self._lock_timeout) as lease,
        ):
            yield lease

    def list_open_states(self, retrainings: Sequence[Retraining]) -> Collection[str]:
        """The states of the runs that the next command would go on with."""
        return list_open_states(self.ports.ledger, retrainings)

    def cancel(self, retraining: Retraining) -> RunRecord:
        """Cancel the open run of a retraining."""
        return TrainingRun(self.ports, retraining, self._open_jobs(retraining)).cancel()

    def close(self, retraining: Retraining, candidate: Candidate) -> None:
        """Record that a result is proposed or refused: the next command begins a new run."""
        self._runs[retraining.address].close(candidate.run)

    def train(self, retraining: Retraining, *, again: bool) -> Candidate:
        """Bring a run to its end and judge the model."""
        run = TrainingRun(self.ports, retraining, self._open_jobs(retraining))
        self._runs[retraining.address] = run
        ended = run.follow(again=again)
        return judge_run(
            self.ports,
            retraining,
            run,
            ended,
            self._find_promoted,
            lambda: self._open_rows(retraining),
        )

    def train_all(
        self, retrainings: Sequence[Retraining], *, again: bool
    ) -> Iterator[tuple[Address, Candidate | ReconcilerError]]:
        """Train several, at most `parallelism` at a time; yields each result when it is there."""

        def work(one: Retraining) -> ResumableTask[tuple[Address, Candidate | ReconcilerError]]:
            try:
                return one.address, self.train(one, again=again)
            except ReconcilerError as error:
                return one.address, error
            yield 0.0

        _ = self.ports  # One connection of each kind is made before the threads need it.
        yield from self.runtime.run_resumable(work, retrainings)

    def _open_jobs(self, retraining: Retraining) -> BatchJobs:
        if retraining.service is None:
            key = self.access.resolve(retraining.api_key) if retraining.api_key else ""
            return open_address(self.access, retraining.url, key).jobs
        provider, resource = self._find_service(retraining.service)
        if not isinstance(provider, Trains):
            raise _cannot(retraining.service, "train: it has no batch execution")
        return provider.open_jobs(resource)

    def _open_rows(self, retraining: Retraining) -> Rows:
        """The rows of a comparison, without a live model while the service was never made."""
        comparison = retraining.comparison
        if comparison is None or not retraining.promote:
            raise ReconcilerError(
                "a margin compares with the model in service, and no promote names it",
                subject=str(retraining.address),
                next_step="Add spec.promote to the retraining.",
            )
        text = self.ports.read_file(comparison.rows)
        address = retraining.promote[0].resource
        try:
            return Rows(text, self._open_scorer(address))
        except ServiceMissing:
            # The model of a service that disappeared could still be the better one.
            if address in self._assembly.ledger.load().last_applied_by_address:
                raise
            return Rows(text, None)

    def check_comparisons(self, retrainings: Iterable[Retraining]) -> None:
        """Raise ManifestInvalid, before a job starts, if a service cannot score the rows.

        The rows are those of spec.compare, which the model in service must answer.
        """
        findings = [
            Finding(
                f"{one.promote[0].resource} cannot score the rows of a comparison",
                subject=str(one.address),
                place=one.comparison.place,
                next_step="Remove compare and its margins; maxRegression compares the metrics.",
            )
            for one in retrainings
            if one.comparison is not None and one.promote
            if not isinstance(self.runtime.providers[one.promote[0].resource.kind], Scores)
        ]
        if findings:
            raise ManifestInvalid(tuple(findings))

    def _open_scorer(self, address: Address, within_s: float | None = None) -> Scorer:
        provider, resource = self._find_service(address)
        if not isinstance(provider, Scores):
            raise _cannot(address, "be scored")
        return provider.open_scorer(resource, within_s)

    def _find_service(self, address: Address) -> tuple[Provider, Resource]:
        """The provider and the resource of an address in the manifests."""
        manifest = self.find_manifest(address)
        kind = self._assembly.kinds[address.kind]
        provider = self.runtime.providers[address.kind]
        return provider, kind.identify(manifest, self._assembly.project.defaults)

    def _find_promoted(self, promotion: Promotion) -> ModelReference | None:
        """The model that a result replaces, if the manifests declare it."""
        kind = self._assembly.kinds[promotion.resource.kind]
        if isinstance(kind, AlternatesDeployments):
            return kind.find_served(self.find_manifest(promotion.resource), followed=True)
        models = {one.name: one for one in self._list_models(promotion.resource)}
        return models.get(promotion.trained_model)

    def _list_models(self, address: Address) -> Sequence[ModelReference]:
        """The models that the manifest of a resource names, if one declares the resource."""
        declared = (one for one in self._assembly.loaded.manifests if one.address == address)
        kind = self._assembly.kinds[address.kind]
        return [model for one in declared for model in kind.list_models(one)]

    def find_manifest(self, address: Address) -> Manifest:
        """The manifest of an address; raises ReconcilerError if none declares it."""
        found = {one.address: one for one in self._assembly.loaded.manifests}
        if address not in found:
            step = "Declare it, or name the service by its url and apiKey."
            raise ReconcilerError("no manifest declares it", subject=str(address), next_step=step)
        return found[address]

    def can_verify(self, manifest: Manifest) -> bool:
        """Whether its answers can prove something: by `spec.verify`, or by the kind itself."""
        if "verify" in manifest.spec:
            return True
        try:
            return isinstance(self.runtime.provider(manifest.address), ShowsServing)
        except ManifestInvalid:  # the project does not say where the services of this kind are
            return False

    def verify_all(self, manifests: Sequence[Manifest]) -> Iterator[Verification]:
        """Prove which model answers for each of the resources, in their order."""
        snapshot = self._assembly.load_snapshot()
        rows = self._read_golden_rows([one for one in manifests if "verify" in one.spec])

        def work(one: Manifest) -> ResumableTask[Verification]:
            provider = self.runtime.provider(one.address)
            if one.address not in rows and isinstance(provider, ShowsServing):
                defaults = self._assembly.project.defaults
                return verify_serving(self.runtime, provider, one, defaults, snapshot)
            question = Question(
                rows[one.address],
                find_digest(snapshot, one.address, self._list_models(one.address)),
                snapshot.facts,
                lambda within_s: self._open_scorer(one.address, within_s),
            )
            return (yield from watch(question, is_unreachable_now))

        found = {one.address: one for one in self.runtime.run_resumable(work, manifests)}
        return (found[one.address] for one in manifests)

    def _read_golden_rows(self, manifests: Sequence[Manifest]) -> Mapping[Address, GoldenRows]:
        """The rows of each; raises ManifestInvalid with a finding for each that is not readable."""
        root, findings = Path(self._assembly.project.root), list[Finding]()
        found: dict[Address, GoldenRows] = {}
        for one in manifests:
            try:
                found[one.address] = read_golden_rows(root, one)
            except ReconcilerError as error:
                findings += error.findings()
        if findings:
            raise ManifestInvalid(tuple(findings))
        return found

    def is_due(self, retraining: Retraining) -> bool:
        """Whether the schedule was due since the last run, or a run is open."""
        if not retraining.schedule:
            raise ReconcilerError(
                "it has no schedule",
                subject=str(retraining.address),
                next_step="Add spec.schedule, or leave out --if-due.",
            )
        fact = self.ports.ledger.load().facts.get((TOPIC, str(retraining.address)))
        if fact is None or RunRecord.parse(fact.data).state in OPEN:
            return True
        begun = next(
            (
                one.at
                for one in self.ports.ledger.facts(TOPIC)
                if one.subject == fact.subject and one.data.get("run") == fact.data.get("run")
            ),
            fact.at,
        )
        return is_due_since(retraining.schedule, parse_utc(begun), self.ports.clock())


def select_retrainings(
    assembly: Assembly, name: str | None, fleet: str | None
) -> Sequence[Retraining]:
    """The retraining of a name or of an address, or all members of a fleet."""
    known = {str(one.address): one for one in assembly.loaded.retrainings}
    if fleet is not None:
        wanted = fleet.removeprefix("Fleet/")
        members = [one for one in known.values() if one.fleet and one.fleet.name == wanted]
        if members:
            return members
        fleets = sorted({one.fleet.name for one in known.values() if one.fleet})
        raise _unknown("no fleet of retrainings is called that", fleet, fleets)
    address = name if name is None or name.startswith("Retraining/") else f"Retraining/{name}"
    if address is None and len(known) == 1:
        return [*known.values()]
    if address in known:
        return [known[address]]
    if address is None:
        step = f"Name one of {', '.join(sorted(known))}." if known else "Write kind: Retraining."
        raise ReconcilerError("no retraining is named", next_step=step)
    near = suggest(address, known)
    step = ask(address, near, "{}") if near else "See what is declared: reconciler validate"
    raise ReconcilerError("no manifest declares it", subject=address, next_step=step)


def _unknown(message: str, given: str, known: Sequence[str]) -> ReconcilerError:
    near = suggest(given, known)
    step = ask(given, near, "{}") if near else f"The fleets are: {', '.join(known) or 'none'}."
    return ReconcilerError(message, subject=given, next_step=step)


def _cannot(address: Address, what: str) -> ReconcilerError:
    """The error for a service whose kind lacks a capability."""
    message, step = f"the kind {address.kind} cannot {what}", "Name a service of another kind."
    return ReconcilerError(message, subject=str(address), next_step=step)

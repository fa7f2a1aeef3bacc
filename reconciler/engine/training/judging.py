"""Judges the model of a finished job, and records its evaluation by the digest of the model.

Nothing is judged from what is only expected: the digest is that of the bytes in storage, and a
metric is a number that the evaluation holds. Nothing is recorded unless all of it could be read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final, TypeVar
from urllib.parse import quote

from reconciler.document.comparers import COMPARERS
from reconciler.engine.training.comparing import Rows, compare_rows
from reconciler.engine.training.registering import recall_registration
from reconciler.engine.training.run import RUN, RunRecord, TrainingPorts, TrainingRun
from reconciler.errors import BlobForbidden, ManifestInvalid, ReconcilerError
from reconciler.model import Finding, Json, ModelReference, Snapshot
from reconciler.model.training import (
    BlobReference,
    GateRule,
    JobStatus,
    Promotion,
    Retraining,
    TrainingBlob,
)
from reconciler.plans.evaluations import Evaluation, parse_evaluation, select_row
from reconciler.plans.gates import Candidate, GateVerdict, ScoredRows, describe_verdict, judge
from reconciler.plans.history import EVALUATION
from reconciler.plans.proof import Answers
from reconciler.plans.recorded_gates import recall_baseline

_MOST_EVALUATION: Final = 1 << 20
_MOST_SCORED: Final = 64 << 20
_MOST_SAID: Final = 300
_MOST_PORTS: Final = 20
# All of an address but the percent sign.
_UNRESERVED: Final = "/!$&'()*+,;=:@?#[]~"
_ORIGIN: Final = re.compile(r"http://[^/]*")
_Read = TypeVar("_Read")
# More answers prove nothing more, and the ledger keeps them.
_MOST_ANSWERS: Final = 1_000


def judge_run(
    ports: TrainingPorts,
    retraining: Retraining,
    run: TrainingRun,
    ended: tuple[RunRecord, JobStatus],
    find_model: Callable[[Promotion], ModelReference | None],
    open_rows: Callable[[], Rows],
) -> Candidate:
    """Judges the result of a run and records it; `open_rows` is called only for a comparison.

    `find_model` returns the promoted model, as the manifest of its resource names it.
    The run stays open, so that a command that is killed before the proposal makes it again without
    a second job: call `TrainingRun.close` after the proposal.
    Raises ManifestInvalid with a finding for each thing of the evaluation that cannot be used.
    """
    record, results = ended[0], _Results(ports, retraining, run, *ended)
    evaluation, model = (results.find(one) for one in (retraining.evaluation, retraining.model))
    read = results.use(retraining.evaluation, lambda one: ports.storage.read(one, _MOST_EVALUATION))
    # The names of metrics are shown, recorded and proposed, and the service chooses them.
    said = ports.hide(read.decode(errors="surrogateescape"))
    rows = parse_evaluation(said.encode(errors="surrogateescape"), evaluation.uri)
    if isinstance(rows, Finding):
        raise _refuse(retraining, [rows])
    values, metrics = _read_metrics(retraining, rows)
    snapshot = ports.ledger.load()
    parent = find_live_digest(snapshot, retraining.promote, find_model)
    digest = results.use(retraining.model, ports.storage.digest)
    before = snapshot.facts.get((EVALUATION, parent)) if parent else None
    scored = _compare(ports, retraining, results, open_rows)
    verdicts = tuple(
        judge(rule, value, recall_baseline(before, rule), scored, evaluation.uri)
        for rule, value in zip(retraining.gate, values, strict=True)
    )
    candidate = Candidate(
        run=record.run,
        job=record.job,
        uri=model.uri,
        digest=digest,
        metrics=metrics,
        verdicts=verdicts,
        parent=parent,
        data=dict(_digest_inputs(ports, retraining, record)),
    )
    # The same bytes again prove nothing new, and what is recorded of the model before them stays.
    if digest != parent:
        _record(ports, retraining, candidate, scored, evaluation.uri)
    return candidate


def _compare(
    ports: TrainingPorts,
    retraining: Retraining,
    results: _Results,
    open_rows: Callable[[], Rows],
) -> ScoredRows | None:
    """Returns the rows with the answers of both models; None if the manifest does not compare."""
    comparison = retraining.comparison
    if comparison is None:
        return None
    answers = results.use(comparison.scored, lambda one: ports.storage.read(one, _MOST_SCORED))
    found = compare_rows(comparison, open_rows(), answers)
    if isinstance(found, Finding):
        raise _refuse(retraining, [found])
    return found


class _Results:
    """The outputs of a job that has finished."""

    def __init__(
        self,
        ports: TrainingPorts,
        retraining: Retraining,
        run: TrainingRun,
        record: RunRecord,
        status: JobStatus,
    ) -> None:
        self._retraining, self._run, self._record = retraining, run, record
        self._ports, self._status = ports, status

    def use(self, blob: TrainingBlob, read: Callable[[BlobReference], _Read]) -> _Read:
        """Reads an output. If its signature has ended meanwhile, the service makes a new one.

        A service without the key of the account makes none: then the credential of the manifest is
        used, only for the address that the manifest names.
        """
        try:
            return read(self.find(blob))
        except BlobForbidden:
            self._status = self._run.poll(self._record)
        try:
            return read(self.find(blob))
        except BlobForbidden:
            asked = self._record.outputs.get(blob.port)
            if not asked:
                raise
            return read(self._ports.storage.refer(blob, asked))

    def find(self, blob: TrainingBlob) -> BlobReference:
        """Returns where an output is; raises ReconcilerError unless it is where it was asked for.

        What the service names is only read: another place would bring a foreign model.
        """
        found = self._status.results.get(blob.port)
        if found is None:
            shown = [*self._status.results][:_MOST_PORTS]
            ports = ", ".join(self._say(one) for one in sorted(shown)) or "no port"
            raise ReconcilerError(
                f"the job has no output of the port {blob.port}; it has outputs of {ports}",
                subject=str(self._retraining.address),
                next_step="Correct the name of the port in the manifest, then run it with --again.",
            )
        # A record of an earlier version, or of another name of the port, does not have it.
        named = blob.uri.replace(RUN, self._record.run)
        asked = self._record.outputs.get(blob.port, named)
        if not _is_same_blob(asked, found.uri):
            raise ReconcilerError(
                f"the job wrote the output of the port {blob.port} to another address:"
                f" {self._say(found.uri)}",
                subject=str(self._retraining.address),
                next_step="Look at what answers at the address of the training service.",
            )
        return replace(found, uri=asked)

    def _say(self, text: str) -> str:
        """Returns the beginning of a text of the service, without secrets."""
        return self._ports.hide(text[:_MOST_SAID])


def _is_same_blob(asked: str, shown: str) -> bool:
    """Whether a service shows the blob that it was asked for; its name may be encoded or plain."""
    if asked.startswith("http:") and shown.startswith("http:"):
        # Only storage of this machine has such addresses, and this machine has several names.
        asked, shown = (_ORIGIN.sub("http://here", one) for one in (asked, shown))
    form = COMPARERS["blob-uri"]
    return bool(form(asked) in {form(shown), form(quote(shown, safe=_UNRESERVED))})


def _read_metrics(
    retraining: Retraining, rows: Sequence[Evaluation]
) -> tuple[list[float | None], dict[str, float]]:
    """Returns the value of each rule, and all metrics of the model's row."""
    values: list[float | None] = []
    findings: list[Finding] = []
    chosen: Evaluation | None = rows[0] if len(rows) == 1 else None
    for rule in retraining.gate:
        row = select_row(rows, rule.row)
        value = row if isinstance(row, Finding) else _find_value(row, rule)
        chosen = chosen or (None if isinstance(row, Finding) else row)
        if isinstance(value, Finding):
            findings.append(value)
        else:
            values.append(value)
    if not retraining.gate and chosen is None:
        found = select_row(rows, None)
        findings += [found] if isinstance(found, Finding) else []
    if findings:
        raise _refuse(retraining, list(dict.fromkeys(findings)))
    return values, chosen.metrics() if chosen is not None else {}


def _find_value(row: Evaluation, rule: GateRule) -> float | Finding | None:
    return None if rule.margin is not None else row.find(rule.metric)


def _refuse(retraining: Retraining, findings: Sequence[Finding]) -> ManifestInvalid:
    subject = str(retraining.address)
    return ManifestInvalid(tuple(replace(one, subject=subject) for one in findings))


def _digest_inputs(
    ports: TrainingPorts, retraining: Retraining, record: RunRecord
) -> Iterator[tuple[str, str]]:
    for one in retraining.inputs:
        uri = record.inputs.get(one.port, one.uri)
        yield one.port, ports.storage.digest(ports.storage.refer(one, uri))


def find_live_digest(
    snapshot: Snapshot,
    promote: Sequence[Promotion],
    find_model: Callable[[Promotion], ModelReference | None],
) -> str:
    """Returns the digest of the model that the first promoted resource serves, "" if not known.

    A manifest may name a proposed model that is not applied yet. The evaluation of that model has
    the digest of the one that was in service.
    """
    for one in promote[:1]:
        last_applied = snapshot.last_applied_by_address.get(one.resource)
        model = find_model(one)
        if last_applied is None or model is None:
            return ""
        registered = recall_registration(snapshot.facts, one.resource, model.uri)
        for pointer, value in last_applied.owned.items():
            if value == model.uri and (registered or pointer in last_applied.digests):
                return last_applied.digests.get(pointer, registered)
        for (topic, digest), fact in snapshot.facts.items():
            proposed = fact.data.get("uri") == model.uri or digest == registered
            if topic == EVALUATION and proposed:
                parent = fact.data.get("parent", "")
                return parent if parent in last_applied.digests.values() else ""
    return ""


def _record(
    ports: TrainingPorts,
    retraining: Retraining,
    candidate: Candidate,
    scored: ScoredRows | None,
    evaluation: str,
) -> None:
    data: dict[str, Json] = {
        "retraining": str(retraining.address),
        "run": candidate.run,
        "job": candidate.job,
        "uri": candidate.uri,
        "metrics": {**candidate.metrics},
        "evaluation": evaluation,
        "gates": [_describe(one) for one in candidate.verdicts],
        "inputs": {**(candidate.data or {})},
    }
    if candidate.parent:
        data["parent"] = candidate.parent
    if scored is not None and len(scored.truth) <= _MOST_ANSWERS:
        data["answers"] = Answers(scored.digest, tuple(scored.candidate)).write()
        if scored.live:
            data["parentAnswers"] = Answers(scored.digest, tuple(scored.live)).write()
    ports.keep(EVALUATION, candidate.digest, data)


def _describe(verdict: GateVerdict) -> Json:
    """Returns a verdict with the row that its rule names: the metrics are those of one row only."""
    row = verdict.rule.row
    named = {"row": row if isinstance(row, int) else {**row}} if row is not None else {}
    return {**describe_verdict(verdict), **named}

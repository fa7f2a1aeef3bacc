"""Renders the results of retrainings: for people, as JSON, and as the message of a commit."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal

from reconciler.model import Address, Json
from reconciler.model.values import dataclass
from reconciler.plans.gates import Candidate, GateVerdict, describe_verdict, format_verdict
from reconciler.plans.proof import (
    Proof,
    Serving,
    ServingSign,
    SignState,
    Verification,
    find_next_step,
)
from reconciler.render.words.colour import Paint
from reconciler.render.words.escape import cut, escape

FORMAT_VERSION: Final = "1.0"
TRAILER: Final = "Reconciler-Retraining"
_COLOURS: Final = {Proof.PROVEN: "green", Proof.OLD: "red", Proof.OTHER: "red"}
_SIGN_COLOURS: Final = {SignState.AGREES: "green", SignState.DIFFERS: "red"}
_SOURCE_WIDTH: Final = len("mounted directory")
_STATE_WIDTH: Final = max(map(len, SignState))
_MOST_METRICS: Final = 20
_MOST_SAID: Final = 240
_MOST_NAMED: Final = 10
_NOT_PLAIN: Final = re.compile(r"[^\w .()%/-]")


@dataclass(frozen=True, slots=True)
class EditedPlace:
    """Where an edit is: in a manifest, or for a member of a fleet in its item or its override.

    `column` is that of a cell of a CSV file. `line` is that of the item, 0 for a manifest.
    """

    file: str
    kind: Literal["manifest", "override", "item", "cell"]
    resource: Address
    column: str = ""
    line: int = 0

    def __str__(self) -> str:
        """The place for people."""
        if self.kind == "manifest":
            return self.file
        if self.kind == "override":
            return f"{self.file}: override of {self.resource}"
        column = f", column {self.column}" if self.column else ""
        return f"{self.file}: {self.kind} of {self.resource} (line {self.line}{column})"


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """The result of one retraining. `files` are the names of the files that were edited.

    `places` are the places in them.
    `commit` is the commit with the edits, and `branch` its branch; both are empty without one.
    `declared` says that the manifests named this model before.
    """

    retraining: Address
    candidate: Candidate
    files: tuple[str, ...] = ()
    branch: str = ""
    commit: str = ""
    declared: bool = False
    places: tuple[EditedPlace, ...] = ()

    @property
    def word(self) -> str:
        """The result in one word."""
        if self.candidate.refused:
            return "refused"
        if self.declared:
            return "unchanged"
        return "proposed" if self.files or self.commit else "trained"


def render_result(result: TrainingResult, paint: Paint) -> str:
    """Returns the result for people: the model, its metrics, the gate, and what was edited."""
    return "\n".join(_list_lines(result, paint))


def _list_lines(result: TrainingResult, paint: Paint) -> Iterator[str]:
    candidate = result.candidate
    yield f"{paint('bold', escape(str(result.retraining)) + ':')} run {escape(candidate.run)}"
    yield f"  model   {escape(cut(candidate.uri))}"
    yield f"          {escape(candidate.digest)}"
    for resource, version in candidate.versions.items():
        yield f"  version {escape(cut(version))}, for {escape(resource)}"
    metrics = ", ".join(format_metrics(candidate))
    yield f"  metrics {metrics or 'no numbers'}"
    for number, verdict in enumerate(candidate.verdicts):
        yield f"  {'gate   ' if not number else '       '} {_format_verdict(verdict, paint)}"
    yield ""
    yield _sum_up(result, paint)
    yield from (f"  {escape(str(place))}" for place in result.places)


def format_metrics(candidate: Candidate) -> Iterator[str]:
    """Yields the name and the value of each metric, the first 20."""
    for name, value in [*candidate.metrics.items()][:_MOST_METRICS]:
        yield f"{escape(cut(name))} {value:.6g}"


def _format_verdict(verdict: GateVerdict, paint: Paint) -> str:
    colour = "red" if verdict.refuses else "green"
    word = paint(colour, verdict.outcome.value)
    return f"{word}: {escape(format_verdict(verdict))}"


def _sum_up(result: TrainingResult, paint: Paint) -> str:
    if result.candidate.refused:
        refused = sum(one.refuses for one in result.candidate.verdicts)
        rules = "1 rule" if refused == 1 else f"{refused} rules"
        verb = "refuses" if refused == 1 else "refuse"
        return (
            f"{paint('red', 'Refused:')} {rules} of the gate {verb} the model. Nothing was edited."
        )
    if result.commit:
        where = f" on the branch {escape(result.branch)}" if result.branch else ""
        return f"Proposed in the commit {result.commit[:12]}{where}:"
    if result.files:
        return "Proposed. These files were edited; plan shows what they change:"
    if result.declared:
        return "The manifests declare this model already. Nothing was edited."
    return "Trained. The retraining does not name a resource to promote the model to."


def result_document(result: TrainingResult) -> Json:
    """Returns the result as JSON."""
    candidate = result.candidate
    return {
        "retraining": str(result.retraining),
        "outcome": result.word,
        "run": candidate.run,
        "job": candidate.job,
        "uri": candidate.uri,
        "digest": candidate.digest,
        "parent": candidate.parent or None,
        "metrics": {**candidate.metrics},
        "inputs": {**(candidate.data or {})},
        "gates": [describe_verdict(one) for one in candidate.verdicts],
        "files": [*result.files],
        "places": [_describe_place(one) for one in result.places],
        "branch": result.branch or None,
        "commit": result.commit or None,
    } | _describe_versions(candidate)


def _describe_versions(candidate: Candidate) -> dict[str, Json]:
    """Returns the versions under which services keep a model; no key without one."""
    listed = [{"resource": name, "id": one} for name, one in candidate.versions.items()]
    return {"versions": listed} if listed else {}


def _describe_place(place: EditedPlace) -> Json:
    said = {"file": place.file, "kind": place.kind, "resource": str(place.resource)}
    said |= {"column": place.column} if place.column else {}
    return {**said, "line": place.line} if place.line else said


def results_document(results: Sequence[TrainingResult]) -> Json:
    """Returns the results of one command as JSON."""
    return {"format_version": FORMAT_VERSION, "results": [result_document(one) for one in results]}


def write_message(
    proposed: Sequence[tuple[Address, Candidate]],
    trailer: str,
    before: Mapping[str, Mapping[str, float]],
) -> str:
    """Returns the message of a commit that proposes models, with the evidence for each.

    `trailer` is the result of `write_trailer`, by which a later run recognises its own branch.
    `before` has the recorded metrics of the models before, by their digest.
    """
    first = f"the model of {proposed[0][0]}"
    models = first if len(proposed) == 1 else f"{len(proposed)} new models"
    lines = [f"Serve {models}"]
    for address, candidate in proposed:
        lines += ["", *_describe(address, candidate, before.get(candidate.parent, {}))]
    body = "\n".join("".join(c for c in line if c.isprintable()) for line in lines)
    return f"{body.rstrip()}\n\n{trailer}\n"


def write_trailer(retrainings: Sequence[Address]) -> str:
    """Returns the last line of the message of a proposal of these retrainings."""
    names = ", ".join(map(str, sorted(retrainings)[:_MOST_NAMED]))
    more = f" and {len(retrainings) - _MOST_NAMED} more" if len(retrainings) > _MOST_NAMED else ""
    return f"{TRAILER}: {names}{more}"


def _describe(address: Address, candidate: Candidate, before: Mapping[str, float]) -> Iterator[str]:
    yield f"{address}, run {candidate.run}"
    yield f"sha256 {candidate.digest.removeprefix('sha256:')}"
    if candidate.parent:
        yield f"before {candidate.parent.removeprefix('sha256:')}"
    yield from (f"model  {version} of {name}" for name, version in candidate.versions.items())
    yield f"job    {candidate.job}"
    yield from (f"data   {port} {one}" for port, one in sorted((candidate.data or {}).items()))
    if candidate.metrics:
        yield ""
        yield from _list_metrics(candidate.metrics, before)
    if candidate.verdicts:
        yield ""
    for one in candidate.verdicts:
        yield f"{one.outcome.value}: {format_verdict(one)}"


def _list_metrics(after: Mapping[str, float], before: Mapping[str, float]) -> Iterator[str]:
    """Yields a table: each metric of the model, and of the model before if they are recorded."""
    rows = [("metric", "before", "after")] if before else [("metric", "", "after")]
    for name, value in [*after.items()][:_MOST_METRICS]:
        old = f"{before[name]:.6g}" if name in before else "-"
        rows.append((_write_plain(name), old if before else "", f"{value:.6g}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [one.ljust(width) for one, width in zip(row, widths, strict=True) if width]
        yield "  ".join(cells).rstrip()


def _write_plain(name: str) -> str:
    """Returns the name of a metric without what programs read in the message of a commit.

    The service names the columns: `[skip ci]` and `Fixes #1` would be orders to a forge.
    """
    return cut(_NOT_PLAIN.sub("?", name))


def render_verifications(found: Sequence[Verification], paint: Paint) -> str:
    """Returns the proofs for people: a line for each resource, and what explains its proof."""
    if not found:
        return "Nothing to verify: no manifest has spec.verify or declares an OnlineEndpoint."
    lines = []
    for one in found:
        colour = _COLOURS.get(one.proof, "yellow")
        address = paint("bold", escape(str(one.address)) + ":")
        lines.append(f"{address} {paint(colour, one.proof.value)}: {escape(cut(one.reason))}")
        if one.proof is Proof.OLD:
            before = one.before or "the model before, whose digest is not known"
            lines += [f"  must serve {one.digest}", f"  answers    {before}"]
        step = find_next_step(one)
        lines += [f"  {step}"] if step else []
        lines += _list_signs(one.serving, paint) if one.serving is not None else ()
    return "\n".join(lines)


def _list_signs(serving: Serving, paint: Paint) -> Iterator[str]:
    """Yields a table for each deployment: what it serves, and each sign of it."""
    for one in serving.deployments:
        share = f"{one.share} % of the traffic" if one.share else "no traffic"
        yield f"  {paint('bold', escape(one.name))}, {share}: {escape(one.uri) or 'no model'}"
        yield from (f"    {_format_sign(sign, paint)}" for sign in one.signs)
    yield f"  {_format_sign(serving.traffic, paint)}"


def _format_sign(sign: ServingSign, paint: Paint) -> str:
    colour = _SIGN_COLOURS.get(sign.state, "yellow")
    state = paint(colour, sign.state.value.ljust(_STATE_WIDTH))
    return f"{sign.source.ljust(_SOURCE_WIDTH)}  {state}  {escape(cut(sign.said, _MOST_SAID))}"


def verifications_document(found: Sequence[Verification], outcome: str) -> Json:
    """Returns the proofs as JSON, with the result of the command in one word."""
    return {
        "format_version": FORMAT_VERSION,
        "outcome": outcome,
        "resources": [
            {
                "address": str(one.address),
                "proof": one.proof.value,
                "reason": one.reason,
                "digest": one.digest or None,
                "before": one.before or None,
                "rows": one.rows,
                **({"serving": _serving_document(one.serving)} if one.serving else {}),
            }
            for one in found
        ],
    }


def _serving_document(serving: Serving) -> Json:
    return {
        "deployments": [
            {
                "name": one.name,
                "share": one.share,
                "model": one.uri or None,
                "signs": [_sign_document(sign) for sign in one.signs],
            }
            for one in serving.deployments
        ],
        "traffic": _sign_document(serving.traffic),
    }


def _sign_document(sign: ServingSign) -> Json:
    return {"source": sign.source, "state": sign.state.value, "said": sign.said}

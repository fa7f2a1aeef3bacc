"""Judges the new models of a plan by the evaluations that the ledger holds.

`retrain` judges a model when it is trained. A plan judges it again, because the rules, or the model
in service, may have changed since. The ledger has the evaluation by the digest of the model, so no
model is read and no job is run. Pure.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from functools import cached_property
from typing import Final, TypeAlias

from reconciler.document.pointers import format_pointer
from reconciler.model import (
    Action,
    Address,
    Fact,
    Finding,
    Json,
    JudgedRule,
    LastApplied,
    ModelChange,
    ModelReference,
    Resource,
    Step,
)
from reconciler.model.training import GateRule, Retraining
from reconciler.model.values import dataclass
from reconciler.plans.evaluations import fold_metric
from reconciler.plans.gates import (
    GateResult,
    GateVerdict,
    describe_row,
    format_rule,
    judge,
    judge_interval,
)
from reconciler.plans.history import EVALUATION

_Facts: TypeAlias = Mapping[tuple[str, str], Fact]
_NOT_RECORDED: Final = "no evaluation of the model is recorded"
_NOT_PINNED: Final = "its bytes are not known: set sha256 beside its uri"


@dataclass(frozen=True)
class Gates:
    """The gates of a project, and what is known about the models of its plan.

    `last_applied` has the recorded state of each resource of a step. `references` are the models
    that the manifests declare: a pin is the digest of a model that storage does not report.
    """

    retrainings: Sequence[Retraining]
    facts: _Facts
    last_applied: Mapping[Address, LastApplied]
    references: Mapping[Resource, Sequence[ModelReference]] = field(default_factory=dict)

    @cached_property
    def _promoting(self) -> Mapping[tuple[Address, str], Sequence[Retraining]]:
        """The retrainings with a gate that promote to each model."""
        found = defaultdict(list)
        for each in self.retrainings:
            for one in each.promote if each.gate else ():
                found[one.resource, one.trained_model].append(each)
        return found

    def judge_step(self, step: Step) -> Step:
        """Returns a step with the verdicts about its new models, and with no others.

        A model that the resource had at the last apply is not new. The model of a resource that is
        created is judged only if it was evaluated, and then only by `min` and `max`.
        """
        models = tuple(self._judge_model_of(step, model) for model in step.models)
        return step if models == step.models else step.copy_with(models=models)

    def _judge_model_of(self, step: Step, model: ModelChange) -> ModelChange:
        address = step.resource.address
        last_applied = self.last_applied.get(address)
        promoting = self._promoting.get((address, model.name), ())
        digest = model.digest_after or self._find_pin(step, model)
        gates: tuple[JudgedRule, ...] = ()
        if promoting and not was_applied(last_applied, model, digest):
            gates = tuple(self._judge_model(step, model, promoting))
        gates += tuple(self._judge_alternating(step, model, self._promoting.get((address, ""), ())))
        return replace(model, gates=gates) if gates != model.gates else model

    def _judge_alternating(
        self, step: Step, model: ModelChange, promoting: Sequence[Retraining]
    ) -> Iterator[JudgedRule]:
        """Yields the verdicts about a model that goes to another place than the one in service.

        It is not new if any place had it at the last apply. The model in service is the one that it
        was evaluated against, if the resource had that one.
        """
        if not promoting:
            return
        last_applied = self.last_applied.get(step.resource.address)
        owned = last_applied.owned if last_applied is not None else {}
        # The digest of a place that was removed since is still recorded.
        recorded = last_applied.digests if last_applied is not None else {}
        digests = {pointer: recorded.get(pointer, "") for pointer in owned}
        digest = model.digest_after or self._find_pin(step, model)
        had = {digests[pointer] for pointer, value in owned.items() if value == model.after}
        known = {*digests.values()} - {""}
        if digest in known if digest and (had & known or not had) else had:
            return
        parent = _read_text(self.facts.get((EVALUATION, digest)), "parent")
        served = replace(model, digest_before=parent if parent in known else "")
        yield from self._judge_model(step, served, promoting)

    def _judge_model(
        self, step: Step, model: ModelChange, promoting: Sequence[Retraining]
    ) -> Iterator[JudgedRule]:
        pin = self._find_pin(step, model)
        # Anyone who can write a blob can also write another digest beside it.
        digest = model.digest_after if model.trust == "streamed" else pin
        fact = self.facts.get((EVALUATION, digest)) if digest else None
        if fact is None:
            if not _creates(step):
                reason = _NOT_RECORDED if digest else _NOT_PINNED
                yield from (
                    _write(one, None, GateVerdict(rule, GateResult.NOT_EVALUATED, reason, {}))
                    for one in promoting
                    for rule in one.gate
                )
            return
        trained = [one for one in promoting if str(one.address) == fact.data.get("retraining")]
        for one in trained or promoting:
            for rule in one.gate:
                if not (_creates(step) and _compares(rule)):
                    yield _write(one, fact, self._judge_rule(rule, model, fact))

    def _find_pin(self, step: Step, model: ModelChange) -> str:
        """Returns the digest that the manifest pins for the new model; empty without a pin."""
        for one in self.references.get(step.resource, ()):
            if one.path == model.path and one.uri == model.after and one.pin:
                return one.pin
        return ""

    def _judge_rule(self, rule: GateRule, model: ModelChange, fact: Fact) -> GateVerdict:
        if rule.margin is not None:
            return _judge_comparison(rule, rule.margin, model, fact)
        value = find_recorded(fact, rule)
        if value is None:
            reason = f"the recorded evaluation has no {rule.metric}{describe_row(rule)}"
            return GateVerdict(rule, GateResult.NOT_EVALUATED, reason, {})
        return judge(rule, value, self._find_baseline(rule, model))

    def _find_baseline(self, rule: GateRule, model: ModelChange) -> Mapping[str, float]:
        before = self.facts.get((EVALUATION, model.digest_before)) if model.digest_before else None
        return recall_baseline(before, rule)


def was_applied(last_applied: LastApplied | None, model: ModelChange, digest: str) -> bool:
    """Whether a resource had the same model at its last apply; `digest` is that of the new one."""
    if last_applied is None:
        return False
    pointer = format_pointer(model.path)
    recorded = last_applied.digests.get(pointer)
    if digest and recorded:
        return recorded == digest
    return last_applied.owned.get(pointer) == model.after


def recall_baseline(fact: Fact | None, rule: GateRule) -> Mapping[str, float]:
    """Returns the recorded metric of the model in service; empty if it is not recorded."""
    value = find_recorded(fact, rule) if fact is not None else None
    return {} if value is None else {rule.metric: value}


def find_recorded(fact: Fact, rule: GateRule) -> float | None:
    """Returns the metric of a rule in a recorded evaluation; None if it is not recorded.

    The metrics are those of one row. Another row is recorded with the rules that named it.
    """
    if rule.row is None:
        metrics = fact.data.get("metrics")
        named = metrics if isinstance(metrics, dict) else {}
    else:
        named = {
            metric: one.get("numbers", {}).get("candidate")
            for metric, one in _list_verdicts(fact)
            if one.get("row") == rule.row and not _is_comparison(one)
        }
    wanted = fold_metric(rule.metric)
    found = (value for name, value in named.items() if fold_metric(name) == wanted)
    return next((float(value) for value in found if type(value) in {int, float}), None)


def _list_verdicts(fact: Fact) -> Iterator[tuple[str, Json]]:
    """Yields the recorded verdicts, each with its metric: a rule is `METRIC LIMIT NUMBER`."""
    listed = fact.data.get("gates")
    for one in listed if isinstance(listed, list) else ():
        if isinstance(one, dict) and isinstance(one.get("rule"), str):
            yield one["rule"].rsplit(" ", 2)[0], one


def _judge_comparison(rule: GateRule, margin: float, model: ModelChange, fact: Fact) -> GateVerdict:
    """Returns the verdict from a recorded comparison, with the margin of the rule now.

    It says nothing if the model was compared with another one than the one in service.
    """
    if fact.data.get("parent", "") != model.digest_before:
        reason = "it was compared with another model than the one in service"
        return GateVerdict(rule, GateResult.NO_BASELINE, reason, {})
    wanted = fold_metric(rule.metric)
    for metric, said in _list_verdicts(fact):
        if fold_metric(metric) == wanted and _is_comparison(said):
            return _recall_comparison(rule, margin, said)
    return GateVerdict(
        rule, GateResult.NO_BASELINE, "no comparison on the same rows is recorded", {}
    )


def _is_comparison(said: Json) -> bool:
    """Whether a recorded verdict has the numbers of rows, and not those of the evaluation."""
    return bool(said["rule"].split(" ")[-2:-1] == [_MARGIN])


def _recall_comparison(rule: GateRule, margin: float, said: Json) -> GateVerdict:
    try:
        numbers = {str(name): float(number) for name, number in said["numbers"].items()}
        if "low" in numbers:
            return judge_interval(rule, margin, numbers)
        return GateVerdict(rule, GateResult(said["verdict"]), str(said["reason"]), numbers)
    except (TypeError, KeyError, ValueError, AttributeError):
        return GateVerdict(
            rule, GateResult.NO_BASELINE, "the recorded comparison cannot be read", {}
        )


_MARGIN: Final = "margin"


def _creates(step: Step) -> bool:
    """Whether nothing is in service before the step."""
    return step.action is Action.CREATE


def _compares(rule: GateRule) -> bool:
    """Whether a rule compares the new model with the one in service."""
    return rule.margin is not None or rule.max_regression is not None


def _write(retraining: Retraining, fact: Fact | None, verdict: GateVerdict) -> JudgedRule:
    numbers = {name: one for name, one in verdict.numbers.items() if math.isfinite(one)}
    rows = round(numbers.pop("rows", 0))
    return JudgedRule(
        retraining=retraining.address,
        rule=format_rule(verdict.rule),
        verdict=verdict.outcome.value,
        refuses=verdict.refuses,
        reason=verdict.reason,
        numbers=tuple(sorted(numbers.items())),
        rows=rows,
        run=_read_text(fact, "run"),
        source=_read_text(fact, "evaluation"),
    )


def _read_text(fact: Fact | None, name: str) -> str:
    value = fact.data.get(name) if fact is not None else None
    return value if isinstance(value, str) else ""


def check_gates(steps: Iterable[Step]) -> Iterator[Finding]:
    """Yields a finding with the guard `gate` for each step with a model that a gate refuses."""
    for step in steps:
        refused = [(model, one) for model in step.models for one in model.gates if one.refuses]
        if refused:
            address = step.resource.address
            yield Finding(
                "the gate refuses its new model",
                subject=str(address),
                detail=tuple(
                    f'trained model "{model.name}", {one.retraining}: {one.summary}'
                    for model, one in refused
                ),
                next_step="Train a better model. To use it anyway:"
                f' --allow gate={address} --reason "WHY"',
                guard="gate",
            )

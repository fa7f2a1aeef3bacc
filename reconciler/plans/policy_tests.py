"""Runs the cases of `policy test`: whether the policies find exactly what a case expects. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, Literal

from reconciler.model import Json, SourceLocation
from reconciler.model.policies import Policy, PolicyContext, PolicyRule
from reconciler.model.values import dataclass
from reconciler.plans.policies import judge_changes

_NO_TIME: Final = (
    "the change window {} judges it: set context.now, so that the result does not depend on the"
    " clock"
)


@dataclass(frozen=True, slots=True)
class PolicyFinding:
    """A finding of a rule about a resource. Where one is expected, an empty name means any."""

    policy: str
    rule: str
    resource: str
    result: Literal["refused", "warned", "lifted"] = "refused"


@dataclass(frozen=True, slots=True)
class PolicyCase:
    """Changes with a context, and every finding that the policies must have about them.

    `changes` are items of `resource_changes`. Before they are read from a saved plan, `plan` is its
    path. `has_time` says whether the case sets the time.
    """

    name: str
    place: SourceLocation
    changes: Sequence[Json]
    plan: str
    context: PolicyContext
    has_time: bool
    expected: Sequence[PolicyFinding]


@dataclass(frozen=True, slots=True)
class CaseResult:
    """What differs between the expected and the real findings of a case.

    `problem` says why the case was not run. `judging` are the rules that judge one of its changes.
    """

    case: PolicyCase
    missing: Sequence[PolicyFinding] = ()
    unexpected: Sequence[PolicyFinding] = ()
    problem: str = ""
    judging: frozenset[tuple[str, str]] = frozenset()

    @property
    def passed(self) -> bool:
        """Whether the policies find what the case expects, and nothing else."""
        return not (self.missing or self.unexpected or self.problem)


def run_case(policies: Iterable[Policy], case: PolicyCase) -> CaseResult:
    """Return the result of a case."""
    judged = list(judge_changes(policies, case.changes, case.context))
    timed = next((rule for rule, _ in judged if rule.window is not None), None)
    judging = frozenset((rule.policy, rule.name) for rule, _ in judged)
    if timed is not None and not case.has_time:
        problem = _NO_TIME.format(f"{timed.policy}/{timed.name}")
        return CaseResult(case, problem=problem, judging=judging)
    found = [
        PolicyFinding(rule.policy, rule.name, one.subject, _name_result(rule, one))
        for rule, one in judged
        if one is not None
    ]
    missing = [one for one in sorted(case.expected, key=_is_loose) if not _take(one, found)]
    return CaseResult(case, missing, found, judging=judging)


def _name_result(rule: PolicyRule, found: Any) -> Literal["refused", "warned", "lifted"]:
    if rule.severity == "warn":
        return "warned"
    return "refused" if found.severity == "error" else "lifted"


def _is_loose(expected: PolicyFinding) -> int:
    """How many names an expected finding leaves open: the exact ones are looked for first."""
    return (not expected.policy) + (not expected.resource)


def _take(expected: PolicyFinding, found: list[PolicyFinding]) -> bool:
    """Remove the first finding that is the expected one; whether there is one."""
    for one in found:
        named = (
            expected.policy in {"", one.policy}
            and expected.resource in {"", one.resource}
            and expected.rule == one.rule
        )
        if named and expected.result == one.result:
            found.remove(one)
            return True
    return False


def list_not_judging(
    policies: Iterable[Policy], results: Iterable[CaseResult]
) -> Iterator[PolicyRule]:
    """Yield the rules that judge no change of any case."""
    judging = {one for result in results for one in result.judging}
    for policy in policies:
        for rule in policy.rules:
            if (rule.policy, rule.name) not in judging:
                yield rule

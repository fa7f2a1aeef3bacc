"""Decides from the answers of a live service which model it serves.

The answers of a model to the same rows were recorded when it was judged. A service can report a new
model and still answer with the old one (reported by users), so only its answers prove the change.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final

from reconciler.model import Address, Fact, Json
from reconciler.model.values import dataclass
from reconciler.plans.history import EVALUATION
from reconciler.text.counting import agree, count

_NOT_RECORDED: Final = "no answers of this model are recorded"
_OTHER_ROWS: Final = "its answers are recorded for other rows"
_ALIKE: Final = "both models answer these rows alike"
# The sources of signs.
MODEL_ID: Final = "model id"
MOUNTED: Final = "mounted directory"
DEPLOYMENT: Final = "deployment"
ANSWER: Final = "answer"
DIGEST: Final = "digest"
TRAFFIC: Final = "traffic"
_NEEDED: Final = frozenset({MODEL_ID, DEPLOYMENT, ANSWER, TRAFFIC})
# A later call proves nothing more where one of these is the reason.
_NEXT_STEPS: Final[Mapping[str, str]] = {
    _NOT_RECORDED: "Add spec.compare to its retraining: then retrain records the answers of each"
    " new model.",
    _OTHER_ROWS: "Let spec.verify name the rows of spec.compare of its retraining. If these rows"
    " have changed, the next retrain records the answers to them.",
    _ALIKE: "Add rows that the two models answer differently.",
}


class Proof(enum.StrEnum):
    """What the answers of a service prove."""

    PROVEN = "proven"
    OLD = "old model answers"
    OTHER = "other model serves"
    INCONCLUSIVE = "inconclusive"
    UNREACHABLE = "unreachable"


class SignState(enum.StrEnum):
    """What a sign says about the declared model. `SHOWN` is one that nothing declared is like."""

    AGREES = "agrees"
    DIFFERS = "differs"
    SHOWN = "shown"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class ServingSign:
    """One sign of what a deployment serves: from where it is known, what it says, and in words."""

    source: str
    state: SignState
    said: str


@dataclass(frozen=True, slots=True)
class ServedDeployment:
    """One deployment of a resource: its percentage of the traffic, its model, and all signs.

    `uri` is the id of its model as the service shows it.
    """

    name: str
    share: int
    uri: str
    signs: tuple[ServingSign, ...]


@dataclass(frozen=True, slots=True)
class Serving:
    """What a resource with deployments serves. `traffic` is the sign about all of them together."""

    deployments: tuple[ServedDeployment, ...]
    traffic: ServingSign


def judge_serving(serving: Serving) -> tuple[Proof, str]:
    """Returns what the signs prove about the deployments with traffic, and why.

    One sign that differs outweighs all others. The model's id, the deployment that answered, its
    answer and the traffic must agree; the mounted directory and the digest may stay unknown. A blob
    with other bytes proves nothing about instances that have loaded it before.
    """
    served = [one for one in serving.deployments if one.share]
    if not served:
        return Proof.INCONCLUSIVE, "no deployment has traffic"
    signs = [(one.name, sign) for one in served for sign in one.signs]
    signs.append(("", serving.traffic))
    for name, sign in signs:
        if sign.state is SignState.DIFFERS and sign.source != DIGEST:
            return Proof.OTHER, _name_sign(name, sign)
    for name, sign in signs:
        needed = sign.source in _NEEDED and sign.state is not SignState.AGREES
        if needed or sign.state is SignState.DIFFERS:
            return Proof.INCONCLUSIVE, _name_sign(name, sign)
    names = ", ".join(f"{one.name} ({one.share} %)" for one in served)
    return Proof.PROVEN, f"{names}: model id, answer and traffic agree with the manifest"


def _name_sign(name: str, sign: ServingSign) -> str:
    source = f"{name}: {sign.source}" if name else sign.source
    return f"{source} {sign.state.value}: {sign.said}"


@dataclass(frozen=True, slots=True)
class Verification:
    """The proof for one resource, with its reason.

    `digest` is that of the model that it must serve, `before` that of the model before; both are
    empty if they are not known. `may_change` says that the answer to a later call may prove
    something else. `serving` is known for a resource with deployments.
    """

    address: Address
    proof: Proof
    reason: str
    digest: str = ""
    before: str = ""
    rows: int = 0
    may_change: bool = False
    serving: Serving | None = None


@dataclass(frozen=True, slots=True)
class Answers:
    """The recorded answers of a model: the digest of the rows, and a number for each row."""

    rows: str
    values: tuple[float, ...]

    @classmethod
    def parse(cls, data: Json) -> Answers | None:
        """Returns the answers in a fact; None if they cannot be read."""
        values = data.get("values") if isinstance(data, dict) else None
        rows = data.get("rows") if isinstance(data, dict) else None
        if not isinstance(values, list) or not isinstance(rows, str):
            return None
        if not all(type(one) in {int, float} for one in values):
            return None
        return cls(rows, tuple(map(float, values)))

    def write(self) -> Json:
        """Returns the answers as a fact holds them."""
        return {"rows": self.rows, "values": [*self.values]}


def find_answers(
    facts: Mapping[tuple[str, str], Fact], digest: str, before: str = ""
) -> tuple[Answers | None, Answers | None, str]:
    """Returns the recorded answers of a model and of the model before, and the latter's digest.

    `before` is the digest of the model before. If it is empty, it is the one with which the model
    was compared, whose answers may be known without its digest. The answers of a model are recorded
    with its own evaluation, and with that of a model that was compared with it.
    """
    data = _find_data(facts, digest)
    said = data.get("parent")
    parent = said if isinstance(said, str) else ""
    before = before or parent
    mine = Answers.parse(data.get("answers")) or _find_as_parent(facts, digest)
    if before == parent:
        return mine, Answers.parse(data.get("parentAnswers")), before
    theirs = Answers.parse(_find_data(facts, before).get("answers"))
    return mine, theirs or _find_as_parent(facts, before), before


def _find_data(facts: Mapping[tuple[str, str], Fact], digest: str) -> Mapping[str, Json]:
    fact = facts.get((EVALUATION, digest)) if digest else None
    return fact.data if fact is not None else {}


def _find_as_parent(facts: Mapping[tuple[str, str], Fact], digest: str) -> Answers | None:
    """Returns the answers of a model that are recorded with a model that was compared with it."""
    compared = (
        Answers.parse(fact.data.get("parentAnswers"))
        for (topic, _), fact in facts.items()
        if digest and topic == EVALUATION and fact.data.get("parent") == digest
    )
    return next(filter(None, compared), None)


def find_next_step(found: Verification) -> str:
    """Returns what makes a proof possible that no later call makes, "" if a later call may."""
    return _NEXT_STEPS.get(found.reason, "")


def find_gap(rows: str, expected: Answers | None) -> str:
    """Returns why no answer to rows with this digest can prove anything, "" if one can."""
    if expected is None:
        return _NOT_RECORDED
    return _OTHER_ROWS if expected.rows != rows else ""


def prove(
    given: Answers, expected: Answers | None, old: Answers | None, tolerance: float
) -> tuple[Proof, str, bool]:
    """Returns what answers prove about the model that gave them, with the reason.

    The last value says whether later answers may prove something else.
    """
    gap = find_gap(given.rows, expected)
    if expected is None or gap:
        return Proof.INCONCLUSIVE, gap, False
    is_new = _is_same(given, expected, tolerance)
    is_old = old is not None and old.rows == given.rows and _is_same(given, old, tolerance)
    if is_new and is_old:
        return Proof.INCONCLUSIVE, _ALIKE, False
    number = len(given.values)
    rows = f"{count(number, 'row')} {agree(number, 'is', 'are')} answered"
    if is_new:
        return Proof.PROVEN, f"{rows} as recorded", False
    if is_old:
        return Proof.OLD, f"{rows} as by the model before", True
    return Proof.INCONCLUSIVE, "the answers are those of another model", True


def _is_same(one: Answers, other: Answers, tolerance: float) -> bool:
    if len(one.values) != len(other.values):
        return False
    return all(
        abs(mine - theirs) <= tolerance
        for mine, theirs in zip(one.values, other.values, strict=True)
    )

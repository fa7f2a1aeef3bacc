"""What the answers of a service prove about the model that gave them."""

import pytest

from reconciler.model import Address, Fact, Json
from reconciler.plans.proof import (
    Answers,
    Proof,
    Verification,
    find_answers,
    find_gap,
    find_next_step,
    prove,
)

ROWS = "sha256:rows"
NEW, OLD = Answers(ROWS, (0.1, 0.9)), Answers(ROWS, (0.2, 0.8))


def fact(digest: str, **data: Json) -> dict[tuple[str, str], Fact]:
    made = Fact("evaluation", digest, data, "2026-11-29T00:00:00Z", "t", "c", "h")
    return {("evaluation", digest): made}


@pytest.mark.parametrize(
    ("given", "proof", "may_change"),
    [
        (NEW, Proof.PROVEN, False),
        (Answers(ROWS, (0.1 + 1e-9, 0.9)), Proof.PROVEN, False),
        (OLD, Proof.OLD, True),
        (Answers(ROWS, (0.3, 0.7)), Proof.INCONCLUSIVE, True),
        (Answers(ROWS, (0.1,)), Proof.INCONCLUSIVE, True),
        (Answers("sha256:other", NEW.values), Proof.INCONCLUSIVE, False),
    ],
)
def test_answers_prove_the_model_that_gave_them(
    given: Answers, proof: Proof, may_change: bool
) -> None:
    found, _, again = prove(given, NEW, OLD, 1e-6)
    assert (found, again) == (proof, may_change)


def test_two_models_that_answer_alike_are_not_waited_for() -> None:
    near = Answers(ROWS, (0.1 + 1e-9, 0.9))
    assert prove(NEW, NEW, near, 1e-6) == (
        Proof.INCONCLUSIVE,
        "both models answer these rows alike",
        False,
    )


def test_answers_of_the_model_before_are_found_where_they_were_recorded() -> None:
    b = fact("b", answers=NEW.write(), parentAnswers=OLD.write(), parent="a")
    third = Answers(ROWS, (0.5, 0.5))
    c = fact("c", answers=third.write(), parentAnswers=NEW.write(), parent="b")
    facts = {**b, **c}
    assert find_answers(facts, "b") == (NEW, OLD, "a")
    # A rollback: the model that was in service is now the new one, and the old one has its own.
    assert find_answers(facts, "a", "b") == (OLD, NEW, "b")
    assert find_answers(facts, "b", "c") == (NEW, third, "c")
    # A model that was never served is not the one before.
    assert find_answers(facts, "c", "a") == (third, OLD, "a")
    assert find_answers(facts, "x") == (None, None, "")
    assert find_answers(facts, "", "") == (None, None, "")


def test_answers_of_a_model_before_whose_digest_is_not_known_are_found() -> None:
    c = fact("c", answers=NEW.write(), parentAnswers=OLD.write())
    assert find_answers(c, "c") == (NEW, OLD, "")
    # Another model that is named as the one before has other answers.
    assert find_answers(c, "c", "a") == (NEW, None, "a")


def test_what_no_later_call_proves_has_a_step_that_helps() -> None:
    other = Answers("sha256:other", NEW.values)
    near = Answers(ROWS, (0.1 + 1e-9, 0.9))
    for given, expected, old, word in (
        (NEW, None, None, "spec.compare"),
        (other, NEW, OLD, "spec.verify"),
        (NEW, NEW, near, "differently"),
    ):
        proof, reason, may_change = prove(given, expected, old, 1e-6)
        assert (proof, may_change) == (Proof.INCONCLUSIVE, False)
        assert word in find_next_step(Verification(Address("WebService", "a"), proof, reason))
    for given in (NEW, OLD, Answers(ROWS, (0.3, 0.7))):
        proof, reason, _ = prove(given, NEW, OLD, 1e-6)
        assert not find_next_step(Verification(Address("WebService", "a"), proof, reason))


def test_a_gap_is_known_without_a_call() -> None:
    assert find_gap(ROWS, None) == "no answers of this model are recorded"
    assert find_gap("sha256:other", NEW) == "its answers are recorded for other rows"
    assert find_gap(ROWS, NEW) == ""

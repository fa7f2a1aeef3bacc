"""What the answers of a service prove about the model that gave them."""

from collections.abc import Mapping

import pytest

from reconciler.model import Address, Fact, Json
from reconciler.plans.proof import (
    Answers,
    Proof,
    ServedDeployment,
    Serving,
    ServingSign,
    SignState,
    Verification,
    find_answers,
    find_gap,
    find_next_step,
    judge_serving,
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


# What the deployments of a resource serve.

NEEDED = ("model id", "deployment", "answer")


def serving(
    states: Mapping[str, str] | None = None, *, share: int = 100, traffic: str = "agrees"
) -> Serving:
    """One deployment with traffic, whose signs all agree unless a state is given; and an old one."""
    sources = (*NEEDED, "mounted directory", "digest")
    signs = tuple(
        ServingSign(one, SignState((states or {}).get(one, "agrees")), f"said {one}")
        for one in sources
    )
    old = ServingSign("answer", SignState.DIFFERS, "of an old one")
    return Serving(
        (
            ServedDeployment("blue", 0, "azureml:census:1", (old,)),
            ServedDeployment("green", share, "azureml:census:2", signs),
        ),
        ServingSign("traffic", SignState(traffic), "said traffic"),
    )


def test_signs_that_agree_prove_what_serves() -> None:
    said = "green (100 %): model id, answer and traffic agree with the manifest"
    assert judge_serving(serving()) == (Proof.PROVEN, said)
    assert judge_serving(serving({"mounted directory": "unknown", "digest": "shown"})) == (
        Proof.PROVEN,
        said,
    )


@pytest.mark.parametrize("source", ["model id", "mounted directory", "answer"])
def test_one_sign_that_differs_outweighs_all_others(source: str) -> None:
    proof, reason = judge_serving(serving({source: "differs"}))
    assert (proof, reason) == (Proof.OTHER, f"green: {source} differs: said {source}")


def test_other_bytes_at_the_address_of_a_model_prove_nothing_about_what_serves() -> None:
    found = judge_serving(serving({"digest": "differs"}))
    assert found == (Proof.INCONCLUSIVE, "green: digest differs: said digest")


def test_a_router_that_differs_outweighs_all_others() -> None:
    assert judge_serving(serving({"answer": "unknown"}, traffic="differs")) == (
        Proof.OTHER,
        "traffic differs: said traffic",
    )


@pytest.mark.parametrize("source", NEEDED)
@pytest.mark.parametrize("state", ["unknown", "shown"])
def test_a_needed_sign_that_is_not_known_proves_nothing(source: str, state: str) -> None:
    proof, reason = judge_serving(serving({source: state}))
    assert (proof, reason) == (Proof.INCONCLUSIVE, f"green: {source} {state}: said {source}")


def test_without_traffic_nothing_is_proven() -> None:
    assert judge_serving(serving(share=0)) == (Proof.INCONCLUSIVE, "no deployment has traffic")
    assert judge_serving(serving(traffic="unknown"))[0] is Proof.INCONCLUSIVE

"""A kind says where its manifests have the entries of models; nothing else knows the place."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from reconciler.cli.promotion import check_promotions, list_edits
from reconciler.engine.training.judging import find_live_digest
from reconciler.engine.training.verifying import find_digest
from reconciler.errors import ReconcilerError
from reconciler.kinds.base import make_reference
from reconciler.kinds.web_service.kind import WebServiceKind
from reconciler.model import Address, Json, LastApplied, Manifest, ModelReference, Snapshot
from reconciler.model.training import Promotion, Retraining
from reconciler.plans.gates import Candidate
from tests.unit.test_training_run import World

SHELF = Address("Shelf", "one")
URI = "https://acct.blob.example/m/1.bin"
DIGEST = f"sha256:{'a' * 64}"


class ShelfKind(WebServiceKind):
    """A kind whose manifests have one model, in `spec.model`."""

    name = "Shelf"

    def list_models(self, manifest: Manifest) -> Sequence[ModelReference]:
        given = manifest.spec["model"]
        return [make_reference(manifest, ("spec", "model"), "model", given, ())]


def declare(**more: Json) -> Manifest:
    return Manifest(SHELF, {"model": {"uri": URI, **more}}, "one.yaml", "")


def promote(name: str) -> Retraining:
    return replace(World().retraining, promote=(Promotion(SHELF, name),))


def find_model(promotion: Promotion) -> ModelReference | None:
    known = {one.name: one for one in ShelfKind().list_models(declare())}
    return known.get(promotion.trained_model) if promotion.resource == SHELF else None


def test_a_proposal_edits_the_entry_of_the_kind() -> None:
    retraining = promote("model")
    candidate = Candidate("r1", "j1", "https://acct.blob.example/m/2.bin", DIGEST, {}, ())
    kinds = {"Shelf": ShelfKind()}
    (found,) = list_edits(retraining, candidate, {SHELF: declare()}, kinds)
    edits = {one.pointer: one.value for one in found.edits[:2]}
    assert edits == {"/spec/model/uri": candidate.uri, "/spec/model/sha256": "a" * 64}
    same = {SHELF: declare(sha256="A" * 64)}
    assert list(list_edits(retraining, candidate, same, kinds)) == []


def test_a_pin_in_the_entry_of_the_kind_is_the_model_that_must_answer() -> None:
    models = ShelfKind().list_models(declare(sha256="A" * 64))
    assert find_digest(Snapshot({}, known=False), SHELF, models) == DIGEST


def test_the_model_in_service_is_found_by_the_entry_of_the_kind() -> None:
    owned, digests = {"/model": URI}, {"/model": DIGEST}
    last_applied = LastApplied("/shelf/one", "2026-11-02", "ci", "", owned, digests=digests)
    snapshot = Snapshot({SHELF: last_applied}, known=True)
    assert find_live_digest(snapshot, promote("model").promote, find_model) == DIGEST
    assert find_live_digest(snapshot, promote("other").promote, find_model) == ""


@pytest.mark.parametrize(
    ("name", "said"), [("model", 'the same trained model "model"'), ("", "the same endpoint")]
)
def test_two_retrainings_do_not_promote_to_one_place(name: str, said: str) -> None:
    first = promote(name)
    second = replace(first, address=Address("Retraining", "other"))
    with pytest.raises(ReconcilerError, match=f"promote to {said}"):
        check_promotions([first, second])
    check_promotions([first, replace(second, promote=(Promotion(Address("Shelf", "two"), name),))])

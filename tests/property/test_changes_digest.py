"""The digest of changes is equal for the same changes, and different for any other."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import assume, given

from reconciler.document.normalize import normalize
from reconciler.model import (
    ABSENT,
    Address,
    Change,
    CloneSource,
    Inputs,
    Json,
    Plan,
    Refresh,
    Resource,
    SecretReference,
    Step,
    Verb,
)
from reconciler.plans.changes_digest import digest_of_changes
from reconciler.plans.plan_file import plan_document, read_plan
from reconciler.text.json_text import canonical
from tests.plans import MEMORY, SPEC, live, plan, step, step_of_every_shape
from tests.property.documents import documents
from tests.property.fields import EVERY_KEYWORD as FIELD
from tests.unit.test_plan_document import make_plan

DOCUMENTS = documents(FIELD).map(lambda made: normalize(FIELD, made))
KEY = "/properties/keys/primary"


@given(DOCUMENTS, DOCUMENTS)
def test_it_is_equal_where_the_same_is_planned_again(before: Json, declared: Json) -> None:
    first = make_plan(before, declared)
    again = replace(
        first,
        inputs=Inputs("census", {"b.yaml": "sha256:1"}, commit="4f1c2aa", dirty=True),
        refresh=Refresh("none", 0, 7, 3, 12.0),
        made_at="2027-01-01T00:00:00Z",
        baseline="lost",
        steps=tuple(replace(one, reasons=(), unchanged=9, wave=3) for one in first.steps),
    )
    assert digest_of_changes(again) == digest_of_changes(first)
    read, _ = read_plan(canonical(plan_document(first)))
    assert digest_of_changes(read) == digest_of_changes(first)


@given(DOCUMENTS, DOCUMENTS, DOCUMENTS)
def test_it_differs_where_other_operations_are_planned(one: Json, other: Json, then: Json) -> None:
    first, second = make_plan(one, then), make_plan(other, then)
    said = [
        [[step.ops, step.inverse, step.absences] for step in made.steps] for made in (first, second)
    ]
    assume(canonical(said[0]) != canonical(said[1]))
    assert digest_of_changes(first) != digest_of_changes(second)


def test_it_does_not_depend_on_the_order_or_on_edits_elsewhere() -> None:
    one, two = (step(live(), SPEC, name=name, last_applied=MEMORY) for name in ("a", "b"))
    assert digest_of_changes(plan(one, two)) == digest_of_changes(plan(two, one))
    edited = step(live(title="Edited by others"), SPEC, name="a", last_applied=MEMORY)
    assert edited.before != one.before
    assert digest_of_changes(plan(edited)) == digest_of_changes(plan(one))


def test_it_does_not_depend_on_what_was_encrypted_again() -> None:
    made = step_of_every_shape()
    sealed = replace(made.changes[0], sealed_by="thumbprint", path=("properties", "x"))

    def seal(text: str) -> Step:
        back = {
            "op": "replace",
            "path": "/properties/x",
            "value": {"thumbprint": "T", "value": text},
        }
        return replace(made, changes=(sealed,), inverse=(back,))

    assert digest_of_changes(plan(seal("MIIC1"))) == digest_of_changes(plan(seal("MIIC2")))


STEP = step(live(), SPEC, secrets={KEY: SecretReference(env="KEY", version="1")})
MODEL = replace(STEP.models[0], digest_after=f"sha256:{'0' * 64}", trust="streamed")
BASE = replace(STEP, models=(MODEL,))
OTHERS: dict[str, Callable[[], Plan]] = {
    "address": lambda: plan(replace(BASE, resource=replace(BASE.resource, address=Address("WebService", "z")))),
    "id": lambda: plan(replace(BASE, resource=Resource(BASE.resource.address, "/x/other"))),
    "token": lambda: plan(replace(BASE, resource=replace(BASE.resource, token=SecretReference(env="T")))),
    "operation": lambda: plan(replace(BASE, ops=BASE.ops[:-1])),
    "inverse": lambda: plan(replace(BASE, inverse=())),
    "precondition": lambda: plan(replace(BASE, absences=("/tags/a",))),
    "secret": lambda: plan(replace(BASE, secrets=((KEY, SecretReference(env="OTHER", version="1")),))),
    "version": lambda: plan(replace(BASE, secrets=((KEY, SecretReference(env="KEY", version="2")),))),
    "bytes": lambda: plan(replace(BASE, models=(replace(MODEL, digest_after=f"sha256:{'1' * 64}"),))),
    "source": lambda: plan(replace(BASE, source=CloneSource("/x/y", "y"))),
    "extent": lambda: plan(replace(BASE, body="whole")),
    "replaced": lambda: plan(replace(BASE, replace_paths=("/location",))),
    "a write beside the patch": lambda: plan(replace(BASE, changes=(
        *BASE.changes, Change(("properties", "commitmentPlan", "id"), Verb.WRITE, ABSENT, "x")))),
    "one more": lambda: plan(BASE, step(live(), SPEC, name="more")),
    "none": plan,
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_it_differs_for_anything_else_that_is_done(name: str) -> None:
    assert digest_of_changes(OTHERS[name]()) != digest_of_changes(plan(BASE))

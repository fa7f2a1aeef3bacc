"""A digest that is right proves nothing: a plan that no planning can have made is refused."""

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from reconciler.document.pointers import format_pointer
from reconciler.engine.applying.admission import check_admission
from reconciler.errors import PlanInvalid
from reconciler.kinds.web_service import KIND
from reconciler.model import (
    ABSENT,
    Action,
    Address,
    Cause,
    Change,
    CloneSource,
    Plan,
    Reason,
    Resource,
    SecretReference,
    Step,
    Verb,
)
from reconciler.plans.plan_file import digest_of, plan_document, read_plan
from reconciler.plans.step import make_removal
from reconciler.text.json_text import canonical
from tests.plans import MEMORY, NEW, ORPHAN, SPEC, live, plan, step, step_of_every_shape

Json = Any
ID = (
    "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/census"
    "/providers/Microsoft.MachineLearning/webServices/census"
)
KINDS = {"WebService": KIND}
OTHER = Address("WebService", "other")


def placed(made: Step) -> Step:
    return replace(made, resource=Resource(made.resource.address, ID))


UPDATE = placed(step(live(), SPEC, last_applied=MEMORY))
EVERY = placed(step_of_every_shape())
CREATE = placed(step(ABSENT, {"definition": {"location": "x", "tags": {"a": "b"}}}))
REMOVE = placed(make_removal(UPDATE.resource, live(), ORPHAN))


def signed(body: Json) -> str:
    return canonical({**body, "plan_digest": digest_of(body)})


def read(*steps: Step) -> Plan:
    """The plan of the steps, saved and read again."""
    return read_plan(canonical(plan_document(plan(*steps))))[0]


@pytest.mark.parametrize("made", [UPDATE, EVERY, CREATE, REMOVE], ids=lambda one: one.action)
def test_what_is_planned_here_is_sound_and_stays_where_it_is(made: Step) -> None:
    again = read(made)
    assert again.steps == (made,)
    check_admission(again, KINDS, "p.json")


SECRET = SecretReference(env="AWS_SECRET_ACCESS_KEY")
EVIL = "https://evil.example/m/x.ilearner"
TITLE = ("properties", "title")


def because(made: Step) -> Step:
    """The step with a reason for each of its changes, as a plan has them."""
    named = (format_pointer(change.path) for change in made.changes)
    return replace(made, reasons=tuple(Reason(pointer, Cause.MANIFEST) for pointer in named))


def put(changes: tuple[Change, ...], number: int, **more: Any) -> tuple[Change, ...]:
    changed = list(changes)
    changed[number] = replace(changed[number], **more)
    return tuple(changed)


UNLEFT = Change(TITLE, Verb.WRITE, ABSENT, "unseen")


CROOKED: dict[str, tuple[Callable[[], Step], str]] = {
    "it does another thing than it shows": (
        lambda: replace(UPDATE, ops=(*UPDATE.ops[:-1], {**UPDATE.ops[-1], "value": EVIL})),
        "the patch does not match the shown changes",
    ),
    "it relies on nothing": (
        lambda: replace(UPDATE, ops=tuple(op for op in UPDATE.ops if op["op"] != "test")),
        "the patch does not match the shown changes",
    ),
    "true is not 1": (
        lambda: replace(UPDATE, ops=(*UPDATE.ops[:-1], {**UPDATE.ops[-1], "value": True})),
        "the patch does not match the shown changes",
    ),
    "it leads back elsewhere": (lambda: replace(UPDATE, inverse=()), "does not match the shown changes"),
    "its absences are gone": (lambda: replace(EVERY, absences=()), "does not match the shown changes"),
    "a removal that patches": (lambda: replace(REMOVE, ops=UPDATE.ops), "does not match the shown changes"),
    "a removal as an update": (
        lambda: replace(REMOVE, action=Action.UPDATE, body="parts", after={}),
        "the action or its body is not valid",
    ),
    "a model that is not put in": (
        lambda: replace(UPDATE, models=(replace(UPDATE.models[0], after=EVIL),)),
        "the trained models do not match the written values",
    ),
    "a secret that nobody sees": (
        lambda: replace(UPDATE, secrets=(("/properties/title", SECRET),)),
        "the secrets do not match the shown changes",
    ),
    "a secret from two places": (
        lambda: replace(
            UPDATE,
            secrets=(("/properties/keys/primary", replace(SECRET, file="x")),),
            changes=(
                *UPDATE.changes,
                Change(("properties", "keys", "primary"), Verb.WRITE, ABSENT,
                       replace(SECRET, file="x"), sensitive=True),
            ),
        ),
        "the secrets do not match the shown changes",
    ),
    "an action of the ledger alone": (
        lambda: replace(UPDATE, action=Action.FORGET),
        "the action or its body is not valid",
    ),
    "an update that sends nothing": (
        lambda: replace(UPDATE, body="none"),
        "the action or its body is not valid",
    ),
    "an update of nothing": (
        lambda: replace(UPDATE, before=None),
        "it has no definition before or after",
    ),
    "a value too many": (
        lambda: replace(UPDATE, changes=put(UPDATE.changes, 0, verb=Verb.ADD)),
        "a change has a missing or an extra value",
    ),
    "a place that is not there": (
        lambda: replace(CREATE, changes=CREATE.changes[1:], ops=CREATE.ops[1:]),
        "the patch does not fit",
    ),
    "a whole definition where parts are enough": (
        lambda: replace(UPDATE, body="whole"),
        "the action or its body is not valid",
    ),
    "a replacement of nothing that forces one": (
        lambda: replace(UPDATE, action=Action.REPLACE, body="whole", reason="replace_because_cannot_update"),
        "the action or its body is not valid",
    ),
    "a removal that writes a secret": (
        lambda: replace(REMOVE, secrets=(("/properties/keys/primary", SECRET),)),
        "the action or its body is not valid",
    ),
    "an update from a source": (
        lambda: replace(UPDATE, source=CloneSource(ID, "x", "westeurope", "missing")),
        "its source does not match its action",
    ),
    "a copy for no region": (
        lambda: replace(CREATE, source=CloneSource(ID, "x", "", "missing")),
        "its source does not match its action",
    ),
    "a written value that it does not leave": (
        lambda: because(replace(UPDATE, changes=(*UPDATE.changes, UNLEFT))),
        "the definition after it lacks a shown value",
    ),
    "a change that it does not own": (
        lambda: replace(UPDATE, owned_paths=UPDATE.owned_paths[1:]),
        "it does not own what it changes",
    ),
    "a reason too few": (
        lambda: replace(UPDATE, reasons=UPDATE.reasons[1:]),
        "its reasons do not match the shown changes",
    ),
    "a wave before all": (lambda: replace(UPDATE, wave=-1), "its wave is not valid"),
    "an address with a way out": (
        lambda: replace(UPDATE, resource=Resource(Address("WebService", "../x"), ID)),
        "WebService/../x is not an address",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CROOKED)
def test_a_crooked_step_is_refused(name: str) -> None:
    make, message = CROOKED[name]
    with pytest.raises(PlanInvalid, match=message):
        read(make())


def test_the_same_resource_is_not_changed_twice() -> None:
    for twin in (UPDATE, replace(UPDATE, resource=Resource(OTHER, ID.upper()))):
        with pytest.raises(PlanInvalid, match="is changed twice"):
            read(UPDATE, twin)


BENT: dict[str, tuple[Callable[[Json], Any], str]] = {
    "steps": (lambda one: one.update(resource_changes={}), "at /resource_changes"),
    "count": (lambda one: one["refresh"].update(read="3"), "at /refresh/read"),
    "more": (lambda one: one.update(surprise=1), "does not match its schema at /"),
    "segment": (
        lambda one: one["resource_changes"][0]["attributes"][0].update(path=[1.0]),
        "a path is not valid",
    ),
    "type": (lambda one: one["resource_changes"][0].update(type="Other"), "contradict one another"),
    "drift": (
        lambda one: one.update(resource_drift=[]) or one.update(outcome="no-changes"),
        "contradict one another",
    ),
    "hidden": (
        lambda one: one["resource_changes"][0]["change"].update(before_sensitive={"/x": True}),
        "contradict one another",
    ),
    "reference": (
        lambda one: one["resource_changes"][0]["attributes"][-1].update(
            after={"reference": {"env": "X", "shell": "rm"}}
        ),
        "a part of it cannot be read",
    ),
    "fleet": (lambda one: one["resource_changes"][0].update(fleet="nowhere"), "cannot be read"),
}


@pytest.mark.parametrize("name", BENT)
def test_a_document_that_is_none_of_a_plan_is_refused(name: str) -> None:
    bend, message = BENT[name]
    body = json.loads(canonical(plan_document(plan(EVERY))))
    bend(body)
    with pytest.raises(PlanInvalid, match=message):
        read_plan(signed(body))


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e999", "9" * 5000])
def test_numbers_that_are_none_are_no_plan(number: str) -> None:
    text = canonical(plan_document(plan(UPDATE))).replace('"value":20', f'"value":{number}')
    with pytest.raises(PlanInvalid, match="it is not JSON"):
        read_plan(text)


def test_what_nests_too_deeply_is_no_plan() -> None:
    body = plan_document(plan(UPDATE))
    deep: Json = {}
    for _ in range(200):
        deep = {"a": deep}
    body["resource_changes"][0]["change"]["before"] = deep
    with pytest.raises(PlanInvalid, match="it is not JSON"):
        read_plan(signed(body))


def test_half_of_a_character_in_a_live_definition_has_its_place_in_a_plan() -> None:
    made = placed(step(live(title="a\ud800"), SPEC))
    assert read(made).steps == (made,)


# Where it would lead, which only the kinds can tell.

ELSEWHERE = {
    "a way up": ID.replace("/census/", "/../"),
    "two dots as a name": ID.replace("webServices/census", "webServices/.."),
    "another address": f"https://evil.example{ID}",
    "another host": f"//evil.example{ID}",
    "another kind of resource": ID.replace("webServices", "workspaces"),
    "a part below": f"{ID}/listKeys",
    "a query": f"{ID}?x=y",
    "escapes": ID.replace("census/", "%2e%2e/"),
    "a line end": ID.replace("/census/", "/cen\nsus/"),
    "half of a character": ID.replace("/census/", "/\ud800/"),
    "a name alone": "census",
    "nothing": "",
}


@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_plan_never_leads_elsewhere(name: str) -> None:
    crooked = read(replace(UPDATE, resource=Resource(UPDATE.resource.address, ELSEWHERE[name])))
    with pytest.raises(PlanInvalid, match="is not a resource id"):
        check_admission(crooked, KINDS, "p.json")
    source = CloneSource(ELSEWHERE[name], "x", "westeurope", "there")
    with pytest.raises(PlanInvalid, match="is not a resource id") as caught:
        check_admission(read(replace(CREATE, source=source)), KINDS, "p.json")
    assert caught.value.subject == "p.json"
    assert "reconciler plan --out p.json" in caught.value.next_step


def test_a_secret_is_written_only_where_one_is_kept() -> None:
    written = Change(TITLE, Verb.WRITE, ABSENT, SECRET, sensitive=True)
    crooked = because(
        replace(
            UPDATE, changes=(*UPDATE.changes, written), secrets=(("/properties/title", SECRET),)
        )
    )
    with pytest.raises(PlanInvalid, match="/properties/title is not the place of a secret"):
        check_admission(read(crooked), KINDS, "p.json")


def test_nothing_goes_past_the_patch() -> None:
    written = Change(TITLE, Verb.WRITE, ABSENT, "unseen")
    owned = (*UPDATE.owned_paths, "/properties/title")
    after = {**UPDATE.after, "properties": {**UPDATE.after["properties"], "title": "unseen"}}
    crooked = because(
        replace(UPDATE, changes=(*UPDATE.changes, written), owned_paths=owned, after=after)
    )
    with pytest.raises(PlanInvalid, match="/properties/title must be written by the patch"):
        check_admission(read(crooked), KINDS, "p.json")


def test_a_kind_that_is_not_here_is_refused() -> None:
    crooked = replace(UPDATE, resource=Resource(Address("Endpoint", "x"), ID))
    with pytest.raises(PlanInvalid, match="unknown kind"):
        check_admission(read(crooked), KINDS, "p.json")


def test_a_plan_is_not_changed_by_being_looked_at() -> None:
    body = plan_document(plan(EVERY, replace(CREATE, resource=Resource(OTHER, f"{ID}2"))))
    before = copy.deepcopy(body)
    read_plan(canonical(body))
    assert body == before
    assert NEW in canonical(plan_document(plan(UPDATE)))


def admit(made: Step) -> None:
    check_admission(read(made), KINDS, "p.json")


FINAL = placed(step(live(), {"definition": {"properties": {"readOnly": True}}}))
MOVED = placed(step(live(), {"definition": {"properties": {"storageAccount": {"name": "b"}}}}))
UNSEEN: dict[str, tuple[Callable[[], Step], str]] = {
    "a secret beside a value that is not a model": (
        lambda: replace(
            UPDATE,
            secrets=(("/properties/storageAccount/key", SECRET),),
            owned_paths=(*UPDATE.owned_paths, "/properties/storageAccount/name"),
        ),
        "/properties/storageAccount/key is not the place of a model's signature",
    ),
    "what the service alone sets": (
        lambda: replace(UPDATE, owned_paths=(*UPDATE.owned_paths, "/properties/createdOn")),
        "/properties/createdOn is not a value that can be declared",
    ),
    "everything at once": (
        lambda: replace(UPDATE, owned_paths=(*UPDATE.owned_paths, "/properties")),
        "/properties is not a value that can be declared",
    ),
    "another result than its changes make": (
        lambda: replace(UPDATE, after={**UPDATE.after, "tags": {"owner": "them"}}),
        "is not what the changes make of it",
    ),
    "a change that is not shown because it is called sensitive": (
        lambda: replace(UPDATE, changes=put(UPDATE.changes, 0, sensitive=True)),
        "is not described as the schema describes it",
    ),
    "a change that cannot be undone and hides it": (
        lambda: replace(FINAL, changes=put(FINAL.changes, 0, irreversible=False)),
        "is not described as the schema describes it",
    ),
    "a replacement as an update": (
        lambda: replace(
            MOVED, changes=put(MOVED.changes, 0, immutable=False), action=Action.UPDATE,
            body="parts", replace_paths=(), reason="",
        ),
        "is not described as the schema describes it",
    ),
    "a source for another region": (
        lambda: replace(CREATE, source=CloneSource(ID, "x", "eastus", "there")),
        "its source does not match its region",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", UNSEEN)
def test_a_step_that_hides_what_it_does_is_refused(name: str) -> None:
    make, message = UNSEEN[name]
    with pytest.raises(PlanInvalid, match=message):
        admit(make())


@pytest.mark.parametrize("made", [FINAL, MOVED])
def test_what_is_planned_of_the_sort_is_admitted(made: Step) -> None:
    admit(made)

"""Files from strange hands: plans whose digest is right, ledgers, caches, definitions."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.ledgers.chain import START, Replay, digest_line, end_after, join
from reconciler.ledgers.lines import Checkpoint, Mark, Word
from reconciler.model import Action
from reconciler.plan_document import canonical, digest_of
from tests.hostile import bent, encode, examples
from tests.hostile_project import NEW, OLD, SCOPE, SERVICE, World
from tests.ledgers import make_entry, make_intent

pytestmark = pytest.mark.property
Json = Any


@pytest.fixture(scope="module")
def saved(world: World) -> Json:
    """A plan as it is saved."""
    world.play({})
    ran = world.run("plan", "--refresh", "full", "--out", "saved.plan")
    assert ran.code == 0, ran.err
    return json.loads((world.folder / "saved.plan").read_bytes())


def sign(body: Json) -> Json:
    """The plan with a digest that is right: anybody can compute it."""
    return {**body, "plan_digest": digest_of(body)} if isinstance(body, dict) else body


@given(data=st.data())
@examples(200)
def test_show_of_a_signed_plan(world: World, saved: Json, data: st.DataObject) -> None:
    form = data.draw(st.sampled_from(["text", "json", "markdown", "html", "patch", "inverse"]))
    plan = sign(data.draw(bent(saved)))
    (world.folder / "saved.plan").write_bytes(encode(plan))
    flags = ["--format", form] if form not in {"patch", "inverse"} else [f"--{form}"]
    world.judge(world.run("show", "saved.plan", *flags))


# Ledgers: every line chained to the one before, as anybody can.

URI = "/properties/assets/asset3/locationInfo/uri"
OPS = {
    "patch": (
        {"op": "test", "path": URI, "value": NEW},
        {"op": "replace", "path": URI, "value": OLD},
        {"op": "test", "path": "/properties/package/edges", "value": [{"a": 1}]},
        {"op": "remove", "path": "/properties/package/edges/0"},
    ),
    "inverse": (
        {"op": "add", "path": "/properties/package/edges/0", "value": {"a": 1}},
        {"op": "replace", "path": URI, "value": NEW},
    ),
}
CREATED = {
    "patch": (
        {"op": "add", "path": "", "value": {}},
        {"op": "add", "path": "/location", "value": "x"},
    )
}
REMEMBERED = {
    "owned": {URI: OLD, "/tags/owner": "growth"},
    "secrets": {"/properties/keys/primary": "v1"},
    "digests": {URI: "sha256:00"},
    "baseline": {"/location": "southcentralus", "/properties/package": {"digest": "00"}},
}
WORDS = (
    make_entry(action=Action.ADOPT, id=SERVICE, **REMEMBERED),
    make_intent(id=SERVICE, fence=1, owns=(URI,), absences=("/x",), **OPS),
    make_entry(id=SERVICE, intent=3, fence=1, **REMEMBERED),
    make_entry("gone", id=f"{SCOPE}/webServices/gone", **OPS, **REMEMBERED),
    make_intent("new", Action.CREATE, id=f"{SCOPE}/webServices/new", extent="whole", **CREATED),
    make_intent(id=SERVICE, stamp="2026", **OPS),
)


def make_checkpoint() -> Checkpoint:
    replay = Replay()
    replay.take(make_entry(id=SERVICE, sequence=1, **REMEMBERED))
    replay.take(make_intent("other", id=f"{SCOPE}/webServices/other", sequence=2, **OPS))
    return replay.checkpoint("ledger-1-1.jsonl", "sha256:0", 1)


def make_ledger(*words: Word) -> list[Json]:
    """The documents of the words, as the lines of a ledger say them."""
    end, lines = START, []
    for word in words:
        line = join(end, word)
        end = end_after(line[:-1])
        lines.append(json.loads(line))
    return lines


def chain(documents: list[Json]) -> bytes:
    """The documents as lines, each with the digest of the one before."""
    data, before = b"", START.digest
    for document in documents:
        if isinstance(document, dict) and "previous" in document:
            document = {**document, "previous": before}
        line = canonical(document).encode("utf-8", "surrogatepass")
        data, before = data + line + b"\n", digest_line(line)
    return data


# Its outcomes name their intents by number: with a line before them they are another line's.
LEDGERS = {
    "whole": make_ledger(Mark("lock", 1), *WORDS),
    "begun anew": make_ledger(make_checkpoint(), *WORDS),
}

"""Files from strange hands: plans whose digest is right, ledgers, caches, definitions."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.plan_document import digest_of
from tests.hostile import bent, encode, examples
from tests.hostile_project import World

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

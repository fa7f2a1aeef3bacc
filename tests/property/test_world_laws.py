"""Laws of the emulator's world: whatever a file holds is a world, or is told to be none."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.emulator import Workspace, check_world, make_world

pytestmark = pytest.mark.property
ANY = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5)),
    lambda below: st.one_of(st.lists(below, max_size=3), st.dictionaries(st.text(), below)),
    max_leaves=8,
)
IDS = st.sampled_from(["1" * 32, "2" * 32, "A" * 32, 7])
SERVICES = st.fixed_dictionaries(
    {},
    optional={
        "id": IDS,
        "name": st.sampled_from(["s", "", None]),
        "kind": st.sampled_from(["predictive", "training", "other"]),
        "resources": st.lists(st.sampled_from(["a", "b"]), max_size=2) | ANY,
    },
)
WORKSPACES = st.fixed_dictionaries(
    {},
    optional={
        "id": IDS,
        "region": st.text(min_size=1, max_size=9) | ANY,
        "tier": st.sampled_from(["free", "standard"]) | ANY,
        "token": st.text(min_size=1, max_size=9) | ANY,
        "webServices": st.lists(SERVICES | ANY, max_size=3) | ANY,
    },
)
WORLDS = st.fixed_dictionaries({"workspaces": st.lists(WORKSPACES | ANY, max_size=3)}) | ANY


def step(document: Any, path: tuple[str | int, ...]) -> Any:
    for segment in path:
        document = document[segment]
    return document


@given(WORLDS)
def test_a_document_is_a_world_or_each_flaw_has_a_place_in_it(document: Any) -> None:
    flaws = list(check_world(document))
    for finding in flaws:
        step(document, finding.path)
        assert finding.message
    if not flaws:
        world = make_world(document)
        assert all(isinstance(one, Workspace) for one in world)
        assert len({one.id for one in world}) == len(world)
        for one in world:
            assert len({each.id for each in one.web_services}) == len(one.web_services)


@given(st.lists(WORKSPACES, max_size=2))
def test_what_a_workspace_says_is_what_is_made_of_it(workspaces: list[Any]) -> None:
    document = {"workspaces": workspaces}
    if any(True for _ in check_world(document)):
        return
    for said, made in zip(workspaces, make_world(document), strict=True):
        assert made.id == said["id"]
        assert made.region == said.get("region", "South Central US")
        assert made.tier == said.get("tier", "standard")
        assert made.token == said.get("token", "")
        for service, one in zip(said.get("webServices", []), made.web_services, strict=True):
            assert (one.id, one.name) == (service["id"], service["name"])
            assert list(one.resources) == service.get("resources", [])

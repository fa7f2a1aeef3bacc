"""An absence counts only if the service's list lacks the resource, and the list is of now."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from reconciler.engine.absence import ScopeLists
from reconciler.engine.observe import observe
from reconciler.engine.planning.plan import make_plan
from reconciler.errors import Contradicted, Unavailable, Unplannable
from reconciler.model import ABSENT, Absent, Address, Live, Resource, Summary
from tests.unit.test_engine import OLD, PROVIDER, World, make_request

SCOPE = "/subscriptions/s/resourceGroups/g"


@dataclass
class Contradictory(World):
    """A service that answers "not found" for the `denied` names, whatever it lists."""

    denied: set[str] = field(default_factory=set)
    lists: int = 0

    def read(self, resource: Resource) -> Live | Absent:
        found = super().read(resource)
        return ABSENT if resource.short_id in self.denied else found

    def scan(self, scope: str, token: Any = None) -> Iterator[Summary]:
        self.lists += 1
        yield from super().scan(scope, token)


def world_with(*names: str, denied: set[str]) -> Contradictory:
    world = Contradictory(denied=denied)
    for name in names:
        world.add(name)
    return world


def test_what_is_listed_is_not_planned_as_a_create() -> None:
    world = world_with("a", "b", denied={"a"})
    with pytest.raises(Unplannable) as failed:
        make_plan(world.runtime(), make_request("a", "b", uri=OLD))
    (finding,) = failed.value.findings()
    assert finding.subject == "WebService/a"
    assert "list shows it" in finding.message
    assert "evidence is incomplete" in finding.next_step


def test_a_list_that_cannot_be_read_proves_no_absence() -> None:
    world = Contradictory(fails={"list": Unavailable("the list is not JSON", status=200)})
    with pytest.raises(Unplannable) as failed:
        make_plan(world.runtime(), make_request("a", uri=OLD))
    assert [one.message for one in failed.value.findings()] == ["the list is not JSON"]


def locate(name: str) -> Resource:
    return Resource(Address("WebService", name), f"{SCOPE}{PROVIDER}{name}")


def test_one_list_is_enough_for_all_that_is_absent() -> None:
    world = world_with("a", denied=set())
    found = observe(world.runtime(), map(locate, "abcd"))
    assert [found[locate(name)].document is ABSENT for name in "abcd"] == [False, True, True, True]
    assert (world.lists, found.refresh.calls) == (1, 5)


def test_nothing_is_listed_where_everything_is_there() -> None:
    world = world_with("a", "b", denied=set())
    make_plan(world.runtime(), make_request("a", "b", uri=OLD, refresh="full"))
    assert world.lists == 0


def test_the_list_shows_how_a_name_is_spelled() -> None:
    world = world_with("CENSUS", denied=set())
    with pytest.raises(Contradicted) as failed:
        world.runtime().read(locate("census"))
    assert failed.value.next_step.endswith(f"the list shows {SCOPE}{PROVIDER}CENSUS.")


def test_a_list_serves_the_reads_that_began_before_it_and_no_later_ones() -> None:
    lists, made = ScopeLists(), []

    def scan() -> list[Summary]:
        made.append(True)
        return [Summary(f"{SCOPE}{PROVIDER}n{len(made)}", "", idle=True)]

    scope = ("WebService", SCOPE)
    first, second = lists.mark(), lists.mark()
    assert next(iter(lists.find(scope, scan, first).values())).endswith("n1")
    assert next(iter(lists.find(scope, scan, second).values())).endswith("n1")
    assert next(iter(lists.find(scope, scan, lists.mark()).values())).endswith("n2")
    lists.find(("Endpoint", SCOPE), scan, first)
    assert len(made) == 3


def test_a_list_that_failed_is_read_again() -> None:
    lists, since = ScopeLists(), 1

    def fail() -> list[Summary]:
        raise Unavailable("no answer")

    scope = ("WebService", SCOPE)
    with pytest.raises(Unavailable):
        lists.find(scope, fail, since)
    assert lists.find(scope, list, since) == {}

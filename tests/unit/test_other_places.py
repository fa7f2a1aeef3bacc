"""Where a resource of the same name is: what a finding about a missing one says."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from reconciler.engine.names import add_places
from reconciler.engine.planning.plan import make_plan
from reconciler.errors import ManifestInvalid, Rejected, Unplannable
from reconciler.model import Finding, NamedPart
from tests.unit.test_engine import World, make_request

PART = NamedPart(
    part="resourceGroup",
    key="spec.resource.name",
    name="a",
    noun="web service",
    scope="/subscriptions/s",
    id="g",
    value_noun="resource group",
    any_case=True,
)
FOUND = Finding("does not exist", "WebService/a", next_step="Check it.")


@dataclass
class Subscription(World):
    """A world that lists the services of other resource groups by name."""

    others: list[tuple[str, str]] = field(default_factory=list)
    lists_sent: int = 0

    def list_names(self, scope: str, _: Any) -> Iterator[tuple[str, str]]:
        self.lists_sent += 1
        if "names" in self.fails:
            raise self.fails["names"]
        assert scope == "/subscriptions/s"
        yield from self.others


def plan(world: World, *names: str, **defaults: str) -> tuple[Finding, ...]:
    request = make_request(*names)
    with pytest.raises((Unplannable, ManifestInvalid)) as refused:
        make_plan(world.runtime(), type(request)(**{**vars(request), "defaults": defaults}))
    return refused.value.findings()


ALL = {"subscription": "s", "resourceGroup": "g"}


@pytest.mark.parametrize("answer", ["absent", "no group"])
def test_a_missing_service_or_group_names_the_other_group(answer: str) -> None:
    world = Subscription(others=[("other", "A"), ("x", "b")])
    if answer == "no group":
        world.fails["a"] = Rejected("no group", status=404, code="ResourceGroupNotFound")
    (found,) = plan(world, "a", **ALL)
    assert found.detail[-1] == 'A web service named "a" exists in the resource group other.'
    assert "set spec.resource.resourceGroup: other in the manifest" in found.next_step


def test_another_failure_of_a_read_sends_no_list() -> None:
    world = Subscription(others=[("other", "a")])
    world.fails["a"] = Rejected("forbidden", status=403)
    (found,) = plan(world, "a", **ALL)
    assert "other" not in str(found)
    assert world.lists_sent == 0


def test_a_thousand_missing_services_need_one_list() -> None:
    names = [f"s{number:04}" for number in range(1_000)]
    world = Subscription(others=[("other", name) for name in names])
    assert len(plan(world, *names, subscription="s")) == 1_000
    assert world.lists_sent == 1


def test_a_list_that_fails_changes_nothing() -> None:
    world = Subscription(fails={"names": Rejected("forbidden", status=403)})
    (found,) = plan(world, "a", subscription="s")
    assert (found.message, found.detail) == ("resourceGroup is not set", ())


def test_without_a_subscription_nothing_is_listed() -> None:
    world = Subscription()
    messages = [one.message for one in plan(world, "a")]
    assert messages == ["subscription is not set", "resourceGroup is not set"]
    assert world.lists_sent == 0


def test_the_group_that_is_declared_is_not_another_one() -> None:
    assert add_places(FOUND, PART, ["G"]) == FOUND


def test_many_groups_are_bounded() -> None:
    found = add_places(FOUND, PART, [f"g{number}" for number in range(100)])
    assert found.detail[-1].startswith('100 web services are named "a": in g0, g1,')
    assert found.detail[-1].endswith("and 80 more.")
    assert found.next_step.endswith("to the resource group of the one that is meant.")

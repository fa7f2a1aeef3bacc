"""What is read and what is not: a stamp that is the same saves a read, and nothing else does."""

import pytest

from reconciler.engine.planning.plan import make_plan
from reconciler.errors import Rejected, Unplannable
from reconciler.model import Agenda, Plan, Refreshing
from tests.unit.test_engine import OLD, World, make_request, world_of

NAMES = ("a", "b", "c", "d")


def plan(world: World, refresh: str = "auto") -> Plan:
    return make_plan(world.runtime(), make_request(*NAMES, uri=OLD, refresh=refresh))


@pytest.fixture
def seen() -> World:
    """Four services, each read once."""
    world = world_of(*NAMES)
    assert plan(world).refresh.read == 4
    world.events.clear()
    return world


def test_what_has_the_same_stamp_is_not_read_again(seen: World) -> None:
    refresh = plan(seen).refresh
    assert (refresh.mode, refresh.read, refresh.total, refresh.calls) == ("auto", 0, 4, 1)
    assert Agenda(reads=0) in seen.events
    assert not any(isinstance(event, Refreshing) for event in seen.events)


def test_what_has_another_stamp_is_read(seen: World) -> None:
    seen.documents["b"] |= {"stamp": "2", "tags": {"x": "y"}}
    refresh = plan(seen).refresh
    assert (refresh.read, refresh.calls) == (1, 2)
    kept = seen.seen.kept[next(at for at in seen.seen.kept if at.endswith("/b"))][1]
    assert kept.open()["tags"] == {"x": "y"}


def test_full_reads_all_and_none_reads_nothing(seen: World) -> None:
    seen.documents["b"] |= {"stamp": "2"}
    assert plan(seen, "full").refresh.calls == 4
    before = seen.calls
    refresh = plan(seen, "none").refresh
    assert (refresh.read, refresh.total, refresh.calls) == (0, 4, 0)
    assert seen.calls == before


def test_none_cannot_tell_what_was_never_seen(seen: World) -> None:
    seen.seen.kept.pop(next(at for at in seen.seen.kept if at.endswith("/c")))
    with pytest.raises(Unplannable, match="never read") as raised:
        plan(seen, "none")
    assert [one.subject for one in raised.value.findings()] == ["WebService/c"]


def test_what_a_list_leaves_out_is_read_and_never_absent(seen: World) -> None:
    seen.left_out = {"c"}
    made = plan(seen)
    assert made.refresh.read == 1
    assert made.steps == ()


def test_what_is_gone_from_list_and_service_is_absent_and_forgotten(seen: World) -> None:
    del seen.documents["c"]
    with pytest.raises(Unplannable, match="does not exist"):
        plan(seen)
    assert not any(at.endswith("/c") for at in seen.seen.kept)


def test_what_had_not_settled_when_it_was_seen_is_read(seen: World) -> None:
    seen.idle = False
    plan(seen, "full")
    assert plan(seen).refresh.read == 4


def test_a_list_that_cannot_be_read_proves_nothing(seen: World) -> None:
    seen.fails["list"] = Rejected("no leave to list", status=403)
    refresh = plan(seen).refresh
    assert (refresh.read, refresh.calls) == (4, 5)


def test_one_service_is_read_without_a_list(seen: World) -> None:
    made = make_plan(seen.runtime(), make_request("a", uri=OLD))
    assert (made.refresh.read, made.refresh.calls) == (1, 1)


def test_the_oldest_observation_that_was_relied_upon_is_told(seen: World) -> None:
    for at, (cached_stamp, document) in seen.seen.kept.items():
        old = cached_stamp.at - (720 if at.endswith("/b") else 5)
        seen.seen.kept[at] = (
            type(cached_stamp)(cached_stamp.stamp, cached_stamp.idle, old),
            document,
        )
    assert plan(seen).refresh.oldest == 720.0
    assert plan(seen, "full").refresh.oldest == 0.0

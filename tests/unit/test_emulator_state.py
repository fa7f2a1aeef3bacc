"""What the emulator keeps of operations that have ended: their status for a while, no documents."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from reconciler.emulator.limits import Limits
from reconciler.emulator.randomness import RandomSource
from reconciler.emulator.replies import Refusal
from reconciler.emulator.resource_manager.operations import Operations
from reconciler.emulator.state import MOST_ENDED, Operation, Service, State
from reconciler.emulator.switches import Choices

OUTCOME = {"properties": {"description": "x" * 5_000}, "cased": {}, "tags": {}, "location": "West"}
SERVICE = ("sub", "group", "one")


class World:
    """A state with one service, and its operations; `now` is the clock."""

    def __init__(self, folder: Path, seconds: float = 0.0) -> None:
        self.now = 1_000.0
        self.state = State(folder)
        choices = Choices({})
        self.operations = Operations(
            self.state, RandomSource(1), choices, lambda: self.now, seconds, remembers=False
        )
        self.state.keep(Service(*SERVICE, "West", "id", 0.0, 0.0), count=0)

    def write(self) -> Operation:
        service = self.operations.finish_due(SERVICE)
        assert service is not None
        return self.operations.begin(service, "PATCH", OUTCOME)


def rows(folder: Path) -> list[str]:
    with closing(sqlite3.connect(folder / "emulator.sqlite")) as base:
        found = base.execute("SELECT body FROM record WHERE kind = 'operation'").fetchall()
    return [body for (body,) in found]


def used_pages(folder: Path) -> int:
    with closing(sqlite3.connect(folder / "emulator.sqlite")) as base:
        (pages,) = base.execute("PRAGMA page_count").fetchone()
        (free,) = base.execute("PRAGMA freelist_count").fetchone()
    return int(pages) - int(free)


def test_what_ended_long_ago_leaves_memory_and_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reconciler.emulator.state.MOST_ENDED", 300)
    world = World(tmp_path)
    first = world.write()
    for _ in range(400):
        world.write()
    once = used_pages(tmp_path)
    for _ in range(300):
        world.write()
    last = world.write()
    world.operations.finish_due(SERVICE)
    assert len(world.state.operations) == len(rows(tmp_path)) == 300
    assert not any(one.outcome for one in world.state.operations.values())
    assert not any("xxxxx" in body for body in rows(tmp_path))
    assert used_pages(tmp_path) < 1.1 * once
    body: Any = world.operations.describe_status(last.id).body
    assert body["status"] == "Succeeded"
    with pytest.raises(Refusal):
        world.operations.describe_status(first.id)
    assert world.state.services[SERVICE].properties == OUTCOME["properties"]


def test_what_was_kept_before_is_let_go_after_a_restart(tmp_path: Path) -> None:
    """The folder of an earlier version holds every operation with its documents."""
    world = World(tmp_path)
    world.write()
    world.state.close()
    old = [
        (f'{{"id": "{number}", "subscription": "sub", "location": "west",'
         ' "key": ["sub", "group", "one"], "verb": "PATCH", "started": 1, "ends": 1,'
         ' "outcome": {"properties": {}}, "done": true}')
        for number in range(MOST_ENDED + 5)
    ]  # fmt: skip
    with closing(sqlite3.connect(tmp_path / "emulator.sqlite")) as base:
        for number, body in enumerate(old):
            base.execute("INSERT INTO record VALUES ('operation', ?, ?)", (str(number), body))
        base.commit()
    state = State(tmp_path)
    operations = Operations(state, RandomSource(1), Choices({}), lambda: 2_000.0, 0.0)
    operations.finish_due(SERVICE)
    assert len(state.operations) == len(rows(tmp_path)) == MOST_ENDED
    assert state.services[SERVICE].properties == OUTCOME["properties"]


def test_an_operation_that_another_one_supersedes_keeps_no_documents(tmp_path: Path) -> None:
    world = World(tmp_path, seconds=600)
    written = [world.write() for _ in range(3)]
    assert [one.outcome for one in written[:2]] == [None, None]
    assert written[2].outcome == OUTCOME
    world.now += 601
    for one in written:
        body: Any = world.operations.describe_status(one.id).body
        assert body["status"] == "Succeeded"
    assert world.state.services[SERVICE].properties == OUTCOME["properties"]


def test_the_calls_of_an_earlier_hour_are_not_counted_any_more() -> None:
    now = 0.0
    limits = Limits(lambda: now, enforced=False)
    header = "x-ms-ratelimit-remaining-subscription-reads"
    left = [int(limits.count("GET", one)[header]) for one in ("a", "A", "b")]
    assert left == [14_999, 14_998, 14_999]
    now = 3_600.0
    assert limits.count("GET", "a")[header] == "14999"

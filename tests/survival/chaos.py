"""Everything goes wrong at once: throttling, lost replies, and one success that is none."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.e2e.world import Emulator, spawn_emulator
from tests.survival.fleet import APPLY, DeclaredService, Fleet, model
from tests.survival.nursery import Ended, Nursery, open_nursery
from tests.survival.verdict import check_silence

INCOMPLETE = 6


@dataclass(frozen=True)
class Chaos:
    """What came of it: how often each fault fired, in how many seconds, and what is wrong."""

    faults: dict[str, int]
    seconds: float
    wrong: list[str]


def make_chaos(folder: Path, services: int, seed: int, throttled: str = "") -> Chaos:
    """An update of every service, in which one that is rolled back in silence is told, and no other.

    Calls of the method `throttled` are throttled, or all. The next apply, in peace, puts it right.
    """
    names = [f"s{number:03}" for number in range(services)]
    odd = names[services // 2]
    log, faults = folder / "requests.jsonl", folder / "faults.yaml"
    faults.write_text(json.dumps(_go_wrong(odd, throttled)))
    options = ("--no-blob", "--operation-seconds=0.05", f"--data={folder / 'data'}", f"--log={log}")
    with open_nursery(folder / "said") as nursery:
        with _run(*options) as emulator:
            fleet = Fleet(folder / "fleet", emulator, log)
            fleet.declare(dict.fromkeys(names, DeclaredService(model("one"))))
            begun = nursery.run(fleet.folder, *APPLY)
            assert begun.code == 0, begun.said
        fleet.declare(dict.fromkeys(names, DeclaredService(model("two"))))
        traffic = fleet.traffic.begin()
        with _run(*options, f"--faults={faults}", f"--seed={seed}") as emulator:
            fleet.move(emulator)
            started = time.monotonic()
            ended = nursery.run(fleet.folder, *APPLY, "--parallelism", "64")
            seconds = time.monotonic() - started
        with _run(*options) as emulator:
            fleet.move(emulator)
            wrong = _find_wrong(fleet, ended, odd)
            wrong += _put_right(fleet, nursery)
    wrong += [text for text in traffic.twice() if f" {odd} " not in text]
    return Chaos(traffic.count_faults(), seconds, wrong)


@contextmanager
def _run(*options: str) -> Iterator[Emulator]:
    with spawn_emulator(*options) as emulator:
        yield replace(emulator, group="chaos")


def _find_wrong(fleet: Fleet, ended: Ended, odd: str) -> list[str]:
    wrong = [] if ended.code == INCOMPLETE else [f"it ended with {ended.code}: {ended.said}"]
    reported = sorted(
        name for name in fleet.declared_services if f"Error: WebService/{name}:" in ended.out
    )
    if reported != [odd]:
        wrong.append(f"told of {reported}, and it was {odd}: {ended.said}")
    found = sorted({text.partition(":")[0] for text in fleet.compare()})
    if found != [odd]:
        wrong.append(f"live is otherwise than declared: {found}, and it was {odd}")
    return wrong


def _put_right(fleet: Fleet, nursery: Nursery) -> list[str]:
    again = nursery.run(fleet.folder, *APPLY)
    wrong = [] if again.code == 0 else [f"the next apply ended with {again.code}: {again.said}"]
    return [*wrong, *fleet.compare(), *check_silence(fleet, nursery)]


def _go_wrong(odd: str, throttled: str) -> list[Any]:
    """The first that fires wins."""
    return [
        {
            "match": {"method": "PATCH", "path": f"/webServices/{odd}[?]"},
            "do": "silent-rollback",
            "times": 2,  # it is sent once more, and no oftener
        },
        {"match": {"method": throttled} if throttled else {}, "do": "throttle", "rate": 0.3},
        {"match": {"method": "PATCH"}, "do": "drop-reply", "rate": 0.1},
        {"match": {"method": "GET"}, "do": "drop-reply", "rate": 0.05},
    ]

"""`watch --mode apply` for a long time: faults, a second writer, and nobody who looks."""

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.client import HTTPException
from pathlib import Path
from statistics import median
from typing import Any

from tests.e2e.world import Emulator, spawn_emulator, working
from tests.survival.fleet import APPLY, CALLS, DeclaredService, Fleet, model
from tests.survival.nursery import open_nursery
from tests.survival.verdict import check_silence
from tests.survival.watching import CycleSeen, WatchProcess, run_watch

_FAULTS = [
    {"match": {"method": "PATCH"}, "do": "drop-reply", "rate": 0.05},
    {"match": {"method": "PATCH"}, "do": "fail-operation", "rate": 0.02},
    {"match": {"method": "GET"}, "do": "drop-reply", "rate": 0.01},
    {"match": {"method": "GET"}, "do": "truncate", "rate": 0.01},
    {"match": {"method": "GET"}, "do": "list-omission", "rate": 0.2},
    {"match": {}, "do": "error", "rate": 0.01},
    {"match": {}, "do": "throttle", "rate": 0.01},
]
_SETTLE_S = 300.0
# So many cycles, applied changes and edits tell something; a busy machine has this long for them.
_LEAST_CYCLES, _LEAST_APPLIED, _LEAST_EDITS, _WITHIN_S = 8, 3, 3, 300.0
_ANSWERED_S, _REST_S = 60.0, 0.02


@dataclass
class Unattended:
    """What came of it. `memory` in kB, one a cycle; `looks` are comparisons with live services."""

    services: int
    edits: int = 0
    looks: int = 0
    took_s: float = 0.0
    settled_s: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)
    applied: int = 0
    quarantined: tuple[str, ...] = ()
    faults: dict[str, int] = field(default_factory=dict)
    memory: list[int] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def growth(self) -> float:
        """The median memory in the last quarter of the cycles by that in the second."""
        quarter = max(1, len(self.memory) // 4)
        return median(self.memory[-quarter:]) / median(self.memory[quarter : 2 * quarter])


@dataclass
class Meddler:
    """Somebody who changes what is declared, each service once in a while, in bursts.

    `touched` has the time at which each service was last certainly as somebody left it.
    """

    emulator: Emulator
    names: Sequence[str]
    randomness: random.Random
    burst: int
    rest_s: float
    edits: int = 0
    touched: dict[str, float] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    _guard: Any = field(default_factory=threading.Lock)

    @contextmanager
    def meddling(self) -> Iterator[None]:
        """Change services while the block runs."""
        with working(self._meddle):
            yield

    def find_untouched(self, since: float) -> list[str]:
        """The services that nobody but the loop has touched since a time."""
        with self._guard:
            return [name for name in self.names if self.touched.get(name, 0.0) < since]

    def _meddle(self, ended: threading.Event) -> None:
        order = list(self.names)
        self.randomness.shuffle(order)
        while not ended.wait(self.rest_s):
            for name in order[: self.burst]:
                try:
                    self._edit(name)
                except AssertionError as error:
                    self.wrong.append(f"the other could not change {name}: {error}")
            order = order[self.burst :] + order[: self.burst]

    def _edit(self, name: str) -> None:
        self.edits += 1
        self._touch(name, float("inf"))
        other = CALLS + 1 + self.edits % 100  # the service allows 200
        calls = {"realtimeConfiguration": {"maxConcurrentCalls": other}}
        changed = self.randomness.choice([calls, self._swap_model(name)])
        body = {"properties": {"packageType": "Graph", **changed}}
        _, headers = _insist(self.emulator, "PATCH", self.emulator.path(name), body)
        while True:
            operation, _ = _insist(self.emulator, "GET", headers["Azure-AsyncOperation"])
            if operation["status"] != "Provisioning":
                break
            time.sleep(0.02)
        self._touch(name, time.time())

    def _swap_model(self, name: str) -> Any:
        document, _ = _insist(self.emulator, "GET", self.emulator.path(name))
        assets = document["properties"]["assets"]
        assets["asset3"]["locationInfo"]["uri"] = model(f"other{self.edits}")
        return {"assets": assets}

    def _touch(self, name: str, at: float) -> None:
        with self._guard:
            self.touched[name] = at


def run_unattended(
    folder: Path, services: int, seconds: float, seed: int, interval: str
) -> Unattended:
    """Let the loop run for so long; once the other has gone, live must be as declared."""
    log, faults = folder / "requests.jsonl", folder / "faults.yaml"
    faults.write_text(json.dumps(_FAULTS))
    options = ("--no-blob", "--operation-seconds=0.2", f"--log={log}", f"--data={folder / 'data'}")
    reported = Unattended(services)
    with spawn_emulator(*options) as emulator, open_nursery(folder / "said") as nursery:
        fleet = Fleet(folder / "fleet", replace(emulator, group="night"), log)
        fleet.declare({f"s{number:03}": DeclaredService(model("m0")) for number in range(services)})
        begun = nursery.run(fleet.folder, *APPLY)
        assert begun.code == 0, begun.said
    with spawn_emulator(*options, f"--faults={faults}", f"--seed={seed}") as emulator:
        fleet.move(replace(emulator, group="night"))
        meddler = Meddler(
            fleet.emulator,
            list(fleet.declared_services),
            random.Random(seed),
            burst=max(1, services // 20),
            rest_s=min(15.0, seconds / 6),
        )
        flags = ("--mode", "apply", "--interval", interval, "--no-listen")
        with run_watch(fleet.folder, *flags, measured=True) as watch:
            _look_on(fleet, watch, meddler, reported, seconds)
            code = watch.end()
        if code != 0:
            reported.wrong.append(f"watch ended with {code}: {watch.said}")
    reported.wrong += meddler.wrong
    reported.edits, reported.faults = meddler.edits, fleet.traffic.count_faults()
    with spawn_emulator(*options) as emulator, open_nursery(folder / "last") as nursery:
        fleet.move(replace(emulator, group="night"))
        reported.wrong += [*fleet.compare(), *check_silence(fleet, nursery)]
    return reported


def _look_on(
    fleet: Fleet, watch: WatchProcess, meddler: Meddler, reported: Unattended, seconds: float
) -> None:
    """Hold each cycle to what is live, while the other writes and until all is settled."""
    started = time.time()
    seen = 0

    def look() -> CycleSeen:
        nonlocal seen
        cycles: list[CycleSeen] = watch.wait_for(lambda: watch.cycles()[seen:])
        cycle = cycles[0]
        seen += 1
        reported.outcomes[cycle.outcome] += 1
        reported.applied += len(cycle.applied)
        reported.quarantined = cycle.quarantined
        reported.memory.append(watch.measure_kb())
        if cycle.outcome == "in-sync":
            reported.looks += 1
            reported.wrong += _find_false(fleet, meddler, cycle)
        return cycle

    with meddler.meddling():
        while time.time() < started + seconds or (
            (
                seen < _LEAST_CYCLES
                or reported.applied < _LEAST_APPLIED
                or meddler.edits < _LEAST_EDITS
            )
            and time.time() < started + seconds + _WITHIN_S
        ):
            look()
    left = time.time()
    reported.took_s = left - started
    while True:
        cycle = look()
        if cycle.started > left and cycle.outcome == "in-sync":
            reported.settled_s = cycle.ended - left
            return
        if time.time() > left + _SETTLE_S:
            reported.wrong.append(
                f"not in sync {_SETTLE_S:.0f} s after the last change: {watch.said}"
            )
            return


def _find_false(fleet: Fleet, meddler: Meddler, cycle: CycleSeen) -> list[str]:
    """What is not as declared, though the cycle says so and nobody has touched it since it began.

    Only the loop writes to what the other has not touched, and it writes what is declared.
    """
    wrong = []
    for name in meddler.find_untouched(cycle.started):
        live, _ = _insist(fleet.emulator, "GET", fleet.emulator.path(name))
        if name not in meddler.find_untouched(cycle.started):
            continue  # it was touched before the look
        properties = live["properties"]
        shown = (
            properties["assets"]["asset3"]["locationInfo"]["uri"],
            properties["realtimeConfiguration"]["maxConcurrentCalls"],
        )
        if shown != (fleet.declared_services[name].model, CALLS):
            wrong.append(f"the cycle {cycle.id} says in sync, and {name} has {shown}")
    return wrong


def _insist(emulator: Emulator, method: str, path: str, body: Any = None) -> tuple[Any, Any]:
    """Send until it is answered: the faults are meant for the loop."""
    deadline, said = time.monotonic() + _ANSWERED_S, ""
    while time.monotonic() < deadline:
        time.sleep(_REST_S)
        try:
            status, document, headers = emulator.send(method, path, body)
        except (OSError, HTTPException, ValueError) as error:
            said = str(error)
            continue
        said = f"{status} {document}"
        assert status != 400, f"{method} {path} is refused: {said}"
        if 200 <= status < 300:
            return document, headers
    raise AssertionError(f"{method} {path} is not answered: {said}")

"""Hours in minutes: applies one after another, a second writer at random, and faults all the while."""

import json
import random
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

from tests.e2e.world import Emulator, clean_environment, spawn_emulator
from tests.survival.fleet import APPLY, DeclaredService, Fleet, model
from tests.survival.nursery import open_nursery
from tests.survival.second import Second
from tests.survival.verdict import check_silence

# What ends an apply without its being wrong: stale because of the other, or incomplete.
_ALLOWED = frozenset({0, 4, 6})
_MOST_TRIES = 10
# So many applies and edits tell something; a busy machine has this long for them, in seconds.
_LEAST_APPLIES, _LEAST_EDITS, _WITHIN_S = 4, 6, 300.0
_FAULTS = [
    {"match": {"method": "PATCH"}, "do": "drop-reply", "rate": 0.05},
    {"match": {"method": "PATCH"}, "do": "fail-operation", "rate": 0.02},
    {"match": {"method": "GET"}, "do": "drop-reply", "rate": 0.01},
    {"match": {"method": "GET"}, "do": "truncate", "rate": 0.01},
    {"match": {"method": "GET"}, "do": "list-omission", "rate": 0.2},
    {"match": {}, "do": "error", "rate": 0.01},
    {"match": {}, "do": "throttle", "rate": 0.01},
]

# A process counts as its own the memory of the one that it was forked from: this one has none.
_METER = """
import os, sys
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, 2, 1)])
_, status, used = os.wait4(pid, 0)
print(os.waitstatus_to_exitcode(status), used.ru_maxrss)
"""


@dataclass
class Soak:
    """What came of it. `peaks` of memory in kB, one an apply; the emulator's, at both ends."""

    services: int
    edits: int = 0
    codes: Counter[int] = field(default_factory=Counter)
    faults: dict[str, int] = field(default_factory=dict)
    peaks: list[int] = field(default_factory=list)
    emulator_kb: tuple[int, int] = (0, 0)
    wrong: list[str] = field(default_factory=list)

    @property
    def growth(self) -> float:
        """The median peak of the last quarter of the applies by that of the first."""
        quarter = max(1, len(self.peaks) // 4)
        return median(self.peaks[-quarter:]) / median(self.peaks[:quarter])

    def apply(self, fleet: Fleet) -> int:
        """One apply, as a process that was started for it; returns its code."""
        code, peak, said = _apply(fleet)
        self.codes[code] += 1
        self.peaks.append(peak)
        if code not in _ALLOWED:
            self.wrong.append(f"an apply ended with {code}: {said}")
        return code


def soak(folder: Path, services: int, seconds: float, seed: int) -> Soak:
    """Apply again and again for so long; once the other has gone, live must be as declared."""
    log, faults = folder / "requests.jsonl", folder / "faults.yaml"
    faults.write_text(json.dumps(_FAULTS))
    options = ("--no-blob", "--operation-seconds=0.2", f"--log={log}", f"--data={folder / 'data'}")
    reported = Soak(services)
    with spawn_emulator(*options) as emulator:
        fleet = _deploy(folder, replace(emulator, group="soak"), log, services)
    with spawn_emulator(*options, f"--faults={faults}", f"--seed={seed}") as emulator:
        fleet.move(replace(emulator, group="soak"))
        # Whatever moves between the plan and its check makes it stale: some plans must get through.
        rest_s = services / 100
        second = Second(
            fleet.emulator, list(fleet.declared_services), random.Random(seed + 1), rest_s
        )
        _stir(fleet, second, reported, seconds, random.Random(seed))
        _settle(fleet, reported)
    reported.edits, reported.faults = second.edits, fleet.traffic.count_faults()
    with spawn_emulator(*options) as emulator, open_nursery(folder / "said") as nursery:
        fleet.move(replace(emulator, group="soak"))
        second.emulator = fleet.emulator
        reported.wrong += [*fleet.compare(), *second.find_undone(), *check_silence(fleet, nursery)]
    return reported


def _deploy(folder: Path, emulator: Emulator, log: Path, services: int) -> Fleet:
    fleet = Fleet(folder / "fleet", emulator, log)
    fleet.declare({f"s{number:03}": DeclaredService(model("m0")) for number in range(services)})
    code, _, said = _apply(fleet)
    assert code == 0, said
    return fleet


def _stir(
    fleet: Fleet, second: Second, reported: Soak, seconds: float, randomness: random.Random
) -> None:
    """Declare something else and apply it, again and again, while the other writes."""
    at_first = _resident_kb(fleet.emulator)
    end = time.monotonic() + seconds
    with second.writing():
        while time.monotonic() < end or (
            (len(reported.peaks) < _LEAST_APPLIES or second.edits < _LEAST_EDITS)
            and time.monotonic() < end + _WITHIN_S
        ):
            names = randomness.sample(
                sorted(fleet.declared_services), max(1, len(fleet.declared_services) // 20)
            )
            newer = {name: DeclaredService(model(f"m{len(reported.peaks)}")) for name in names}
            fleet.declare({**fleet.declared_services, **newer})
            reported.apply(fleet)
    reported.emulator_kb = at_first, _resident_kb(fleet.emulator)


def _settle(fleet: Fleet, reported: Soak) -> None:
    """Apply until all is done; an operation may fail here too, and is then told."""
    for _ in range(_MOST_TRIES):
        if reported.apply(fleet) == 0:
            return
    reported.wrong.append(f"still not done after {_MOST_TRIES} applies in peace")


def _apply(fleet: Fleet) -> tuple[int, int, str]:
    """Its code, its peak of memory in kB, and what it said."""
    said = fleet.folder / "said"
    with said.open("wb") as file:
        done = subprocess.run(
            [sys.executable, "-S", "-c", _METER, sys.executable, "-m", "reconciler", *APPLY],
            cwd=fleet.folder,
            env=clean_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=file,
            check=True,
        )
    code, peak = map(int, done.stdout.split())
    return code, peak, said.read_text(errors="replace")


def _resident_kb(emulator: Emulator) -> int:
    status = Path(f"/proc/{emulator.process.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))

"""What one command costs: seconds by the clock and of the processors, and the most memory."""

import json
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.world import clean_environment

# The command is started by a small process of its own: what a process is said to have used at
# most includes what its parent had when it began.
_LAUNCH = """
import json, os, subprocess, sys, time
started = time.perf_counter()
child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
_, status, used = os.wait4(child.pid, 0)
print(json.dumps({
    "code": os.waitstatus_to_exitcode(status),
    "wall_s": time.perf_counter() - started,
    "cpu_s": used.ru_utime + used.ru_stime,
    "peak_mb": used.ru_maxrss * 1024 / 1e6,
}))
"""


@dataclass(frozen=True)
class Usage:
    """What a command cost, its children included; `peak_mb` in millions of bytes."""

    wall_s: float
    cpu_s: float
    peak_mb: float
    calls: int = 0


def measured_environment() -> dict[str, str]:
    """The environment of a measured tool: nothing steers it, and its modules stay compiled."""
    steering = {"PYTHONWARNINGS", "PYTHONDONTWRITEBYTECODE"}
    return {name: value for name, value in clean_environment().items() if name not in steering}


def gauge(
    command: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    codes: Sequence[int] = (0,),
) -> Usage:
    """Run a command to its end; it must end with one of `codes`."""
    done = subprocess.run(
        [sys.executable, "-S", "-E", "-c", _LAUNCH, *command],
        cwd=folder,
        env=dict(environment),
        capture_output=True,
        text=True,
        check=True,
    )
    reported = json.loads(done.stdout)
    assert reported.pop("code") in codes, done.stderr[-2000:]
    return Usage(**reported)


def median_of(usages: Sequence[Usage]) -> Usage:
    """The median of each figure."""
    return Usage(
        wall_s=statistics.median(one.wall_s for one in usages),
        cpu_s=statistics.median(one.cpu_s for one in usages),
        peak_mb=statistics.median(one.peak_mb for one in usages),
        calls=round(statistics.median(one.calls for one in usages)),
    )

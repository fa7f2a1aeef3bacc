"""Which process this is, and whether another one of the same machine still runs.

A process is known by its number and by when it began, because numbers come again; a machine by
its boot and by the namespace in which it counts processes, because two containers on one host may
both have a process 7 and know nothing of one another.
"""

from __future__ import annotations

import functools
import os
import platform
from pathlib import Path

from reconciler.model import LockOwner

_DEAD = ("Z", "X", "x")


def describe_process() -> tuple[str, int, str]:
    """Where this process runs, its number, and when it began in the machine's own count."""
    return platform.node(), os.getpid(), find_start(os.getpid())


def find_start(pid: int) -> str:
    """When a process began, in clock ticks after the boot; empty where none of it runs."""
    try:
        said = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    # The name stands in brackets and may hold anything, brackets too.
    words = said.rpartition(")")[2].split()
    return "" if len(words) < 20 or words[0] in _DEAD else words[19]


@functools.cache
def name_machine() -> str:
    """This boot of this machine and the namespace of our processes; empty where it is not told."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except (OSError, ValueError):
        return ""


def is_lock_owner_dead(lock_owner: LockOwner, machine: str) -> bool:
    """Whether it is sure that a holder of that machine does not run any more."""
    if not machine or machine != name_machine():
        return False
    began = find_start(lock_owner.pid)
    return began != lock_owner.started if lock_owner.started else not began

"""Identifies this process, and checks whether another process of the same machine still runs.

A process is identified by its pid and its start time, because pids are reused. A machine is
identified by its boot id and its pid namespace, because two containers on one host may both have a
process 7. The locks call it.
"""

from __future__ import annotations

import functools
import os
import platform
from pathlib import Path

from reconciler.model import LockOwner

_DEAD = ("Z", "X", "x")


def describe_process() -> tuple[str, int, str]:
    """Returns the host, the pid and the start time (clock ticks after boot) of this process."""
    return platform.node(), os.getpid(), find_start(os.getpid())


def find_start(pid: int) -> str:
    """Returns a process's start time in clock ticks after boot; empty if it does not run."""
    try:
        said = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    # The name is in brackets and may contain any character, brackets too.
    words = said.rpartition(")")[2].split()
    return "" if len(words) < 20 or words[0] in _DEAD else words[19]


@functools.cache
def name_machine() -> str:
    """Returns this boot's id and our pid namespace; empty if the system does not show them."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except (OSError, ValueError):
        return ""


def is_lock_owner_dead(lock_owner: LockOwner, machine: str) -> bool:
    """Whether the owner ran on this machine and certainly does not run any more."""
    if not machine or machine != name_machine():
        return False
    began = find_start(lock_owner.pid)
    return began != lock_owner.started if lock_owner.started else not began

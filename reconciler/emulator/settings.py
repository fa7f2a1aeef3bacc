"""What an emulator is started with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from reconciler.emulator.classic.world_file import DEFAULT_WORLD, Workspace
from reconciler.emulator.faults.fault_file import Fault


@dataclass(frozen=True)
class Settings:
    """`seed` makes ids, keys and cipher text repeatable; None takes chance.

    `operation_seconds` is how long an operation runs, and a Classic PATCH takes to take effect;
    `blob_url` where model blobs are, for the switches that check them; `world` what Classic begins
    with. After `crash_after` answers the process is killed; 0 means never.
    """

    host: str = "127.0.0.1"
    port: int = 8470
    data: Path | None = None
    seed: int | None = None
    operation_seconds: float = 0.2
    limits: Literal["off", "resource-manager"] = "off"
    blob_url: str = ""
    token: str = "emulator"  # noqa: S105 - published: it protects nothing
    switches: Mapping[str, str] = field(default_factory=dict)
    log: Path | None = None
    faults: tuple[Fault, ...] = ()
    world: tuple[Workspace, ...] = DEFAULT_WORLD
    crash_after: int = 0

"""The settings of one emulator process.

The command makes them, and the server reads them. They do not change while the emulator runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from reconciler.emulator.certificates import Certificate
from reconciler.emulator.classic.world_file import DEFAULT_WORLD, Workspace
from reconciler.emulator.faults.fault_file import Fault


@dataclass(frozen=True)
class Settings:
    """The settings. `seed` makes ids, keys and cipher text repeatable; None makes them random.

    `operation_seconds` is how long an operation runs, and after which time a Classic PATCH takes
    effect. A job runs for `job_seconds`. `blob_url` is the address of blob storage, for the
    switches that check models. `world` is what Classic holds at the start. The process is killed
    after `crash_after` replies; 0 means never. `id` identifies this process to its project. With a
    `certificate` it speaks TLS.
    """

    host: str = "127.0.0.1"
    port: int = 8470
    data: Path | None = None
    seed: int | None = None
    operation_seconds: float = 0.2
    job_seconds: float = 1.0
    limits: Literal["off", "resource-manager"] = "off"
    blob_url: str = ""
    token: str = "emulator"  # noqa: S105 - a published default, not a secret
    switches: Mapping[str, str] = field(default_factory=dict)
    log: Path | None = None
    faults: tuple[Fault, ...] = ()
    world: tuple[Workspace, ...] = DEFAULT_WORLD
    crash_after: int = 0
    id: str = ""
    certificate: Certificate | None = None

"""A local emulator of the service, for tests and demos. The command `emulator` starts it.

It behaves as the service was recorded and documented. Where a behaviour is not known, it has a
switch. It imports no code of the client and shares only the service's schema with it, so that one
mistake cannot be in both. `forges` has GitHub, Azure DevOps and GitLab, for pull requests.
"""

from reconciler.emulator.classic.world_file import Workspace, check_world, make_world
from reconciler.emulator.faults.fault_file import KINDS, Fault, Kind, check_fault_file, make_faults
from reconciler.emulator.file_findings import FileFinding
from reconciler.emulator.settings import Settings
from reconciler.emulator.switches import SWITCHES, Switch

__all__ = [
    "KINDS",
    "SWITCHES",
    "Fault",
    "FileFinding",
    "Kind",
    "Settings",
    "Switch",
    "Workspace",
    "check_fault_file",
    "check_world",
    "make_faults",
    "make_world",
]

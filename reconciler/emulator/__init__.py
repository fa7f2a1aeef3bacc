"""The service, run locally: a stranger to the rest of the package.

It follows what was recorded and documented of the service, and offers a switch where nothing is
known. It shares data with the client (the service's schema), never code, so that a mistake in one
cannot cancel itself in the other.
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

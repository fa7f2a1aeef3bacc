"""The emulator's forges: GitHub, Azure DevOps and GitLab, over one state and a real git repository.

They answer the calls of pull requests. `faults` lists the errors that they can be made to answer.
They must not import code of the client.
"""

from reconciler.emulator.forges.faults import FORGE_FAULTS
from reconciler.emulator.forges.server import ForgeSettings, OpenForge, open_forge, serve_forge

__all__ = ["FORGE_FAULTS", "ForgeSettings", "OpenForge", "open_forge", "serve_forge"]

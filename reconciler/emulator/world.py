"""What Classic has no call for: workspaces, their tokens, and what Studio published into them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal


@dataclass(frozen=True, slots=True)
class Publication:
    """A web service as Studio published it; a training service has no `resources`."""

    id: str
    name: str
    resources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Workspace:
    """A workspace. Without a `token` of its own the management token opens it."""

    id: str
    region: str = "South Central US"
    tier: Literal["free", "standard"] = "standard"
    token: str = ""
    web_services: tuple[Publication, ...] = ()


_BIKES: Final = "Bike Rental"
DEFAULT_WORLD: Final = (
    Workspace(
        "333533ce0e6e44b38365410aec94d7f2",
        web_services=(
            Publication(
                "a0cba3efb20040e195abc08c1fb08e6b",
                f"{_BIKES} [Predictive Exp.]",
                (f"{_BIKES} [trained model]",),
            ),
            Publication("7d1c52a90b3e4f68a2c4e6f8091b3d5f", f"{_BIKES} [Training Exp.]"),
        ),
    ),
)

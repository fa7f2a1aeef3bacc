"""The pages that the emulator itself has beside those of the services that it emulates.

The server adds them to its routes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reconciler.emulator.azureml.data_plane import DataPlane
from reconciler.emulator.classic.management import is_same
from reconciler.emulator.settings import Settings

if TYPE_CHECKING:  # the server's framework is imported when the server starts
    from aiohttp import web

Json = Any


class Pages:
    """Answers the pages of one emulator."""

    def __init__(self, settings: Settings, data_plane: DataPlane) -> None:
        self._settings = settings
        self._data_plane = data_plane

    def add_to(self, app: web.Application) -> None:
        """Add the pages to the routes of a server."""
        app.router.add_get("/emulator", self._identify)
        app.router.add_get("/emulator/online", self._count_scores)
        app.router.add_get("/metadata/endpoints", self._describe_cloud)

    async def _identify(self, _: web.Request) -> web.Response:
        """Answer which emulator this is, without a token: commands ask it before they send one."""
        return _show({"id": self._settings.id})

    async def _count_scores(self, request: web.Request) -> web.Response:
        """Answer how many calls each deployment answered, and how many were mirrored to it."""
        if not is_same(read_bearer(request), self._settings.token):
            return _show({"error": "The management token is missing."}, 401)
        return _show({"deployments": self._data_plane.count()})

    async def _describe_cloud(self, request: web.Request) -> web.Response:
        """Answer the addresses of this cloud, as Resource Manager does: without a token."""
        origin = f"{request.scheme}://{request.host}"
        cloud = {
            "name": "Emulator",
            "portal": origin,
            "resourceManager": origin,
            "authentication": {"loginEndpoint": origin},
            "suffixes": {"storage": "core.windows.net"},
        }
        return _show([cloud])


def read_bearer(request: web.Request) -> str:
    """Return the key or token of a request; "" for a request without one."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _show(body: Json, status: int = 200) -> web.Response:
    from aiohttp import web

    return web.json_response(body, status=status)

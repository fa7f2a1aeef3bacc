"""Makes the HTTP response of an answer: its headers, its body, and the faults of the body.

The server calls it for each call. Each plane has the headers that were recorded for it.
"""

from __future__ import annotations

import time
from typing import Final

from aiohttp import web

from reconciler.emulator.azureml.replies import identify_reply, render_indented
from reconciler.emulator.faults.broken_replies import CutOff, Lost
from reconciler.emulator.faults.fault_plan import FaultEntry
from reconciler.emulator.replies import (
    SCORING_SERVER,
    Answer,
    Refusal,
    identify_lean,
    identify_request,
    identify_score,
    render,
)

_FIXED: Final = {
    "Cache-Control": "no-cache",
    "Pragma": "no-cache",
    "Expires": "-1",
    "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
}
_SERVER: Final = "Microsoft-HTTPAPI/2.0"


def make_response(
    request: web.Request, answer: Answer, entry: FaultEntry | None, seconds: float
) -> web.StreamResponse:
    """Return the response to send; `seconds` is how long the work took."""
    if not answer.status:
        return Lost()
    headers = _identify_reply(answer, seconds)
    origin = f"{request.scheme}://{request.host}"
    headers |= {name: v.replace("{origin}", origin) for name, v in answer.headers.items()}
    write = render_indented if answer.online else render
    data = answer.data or (write(answer.body) if answer.body is not None else b"")
    if data:
        headers["Content-Type"] = answer.media
    if entry is not None and entry.do == "truncate":
        return CutOff(answer.status, headers, data)
    return web.Response(status=answer.status, headers=headers, body=data or None)


def _identify_reply(answer: Answer, seconds: float) -> dict[str, str]:
    """Return the headers that every reply of a plane has."""
    if answer.scored:
        return identify_score()
    if answer.online:
        return identify_reply(time.time(), seconds)
    if answer.lean:
        return identify_lean()
    headers = {**_FIXED, **identify_request(time.time(), by_front=answer.front)}
    if not answer.front:
        headers["Server"] = _SERVER
    if answer.timed:
        headers["x-ms-request-duration"] = str(max(1, round(seconds * 1000)))
    return headers


async def hide_framework(_: web.BaseRequest, response: web.StreamResponse) -> None:
    """Remove the framework's name: a reply has the recorded server name or no server name."""
    if response.headers.get("Server") not in {_SERVER, SCORING_SERVER}:
        response.headers.pop("Server", None)
    if isinstance(response, web.Response) and not response.body and response.status < 400:
        response.headers.pop("Content-Type", None)


def refuse_call(refusal: Refusal) -> Answer:
    """Return the answer of a refused call."""
    by_gateway = "x-ms-failure-cause" in refusal.headers
    return Answer(
        refusal.status,
        refusal.body or None,
        dict(refusal.headers),
        front=by_gateway,
        timed=not by_gateway,
    )

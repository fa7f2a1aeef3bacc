"""Pages of a list: which items a call asks for, and the link to the next page.

The lists of web services and of commitment plans use it.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from urllib.parse import quote

from reconciler.emulator.replies import Refusal
from reconciler.emulator.requests import Call

Json = Any
_Item = TypeVar("_Item")


def make_page(
    call: Call, items: Sequence[_Item], size: int, show: Callable[[_Item], Json]
) -> dict[str, Json]:
    """Return the page of `items` that a call asks for; only its items are shown.

    The link has an escaped `$`, and an opaque token (recorded: TestListWebServices).
    """
    start = _read_token(call.query.get("$skiptoken", ""))
    end = start + size
    page: dict[str, Json] = {"value": [show(item) for item in items[start:end]]}
    if end < len(items):
        path = "/".join(quote(segment) for segment in call.segments)
        query = f"api-version={call.query['api-version']}&%24skiptoken={_write_token(end)}"
        page["nextLink"] = f"{call.origin}/{path}?{query}"
    return page


def _write_token(start: int) -> str:
    """Return an opaque token without `=`, because a published client cuts the address there."""
    return base64.urlsafe_b64encode(f"page:{start}".encode()).decode().rstrip("=")


def _read_token(token: str) -> int:
    if not token:
        return 0
    try:
        text = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode()
        return max(0, int(text.removeprefix("page:")))
    except ValueError as error:
        raise Refusal(400, "InvalidSkipToken", "The skip token is not valid.") from error

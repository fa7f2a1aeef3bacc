"""Pages of a list: which items a call asks for, and the link to the next page.

The lists of web services and of commitment plans use it.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from urllib.parse import quote, unquote

from reconciler.emulator.replies import Refusal
from reconciler.emulator.requests import Call

Json = Any
_Item = TypeVar("_Item")


def make_page(
    call: Call, items: Sequence[_Item], size: int, show: Callable[[_Item], Json]
) -> dict[str, Json]:
    """Return the page of `items` that a call asks for; only its items are shown.

    The link has an escaped `$`, and an opaque token (recorded: TestListWebServices). It must be
    followed byte for byte: a token in any other spelling is refused.
    """
    start = _read_token(_find_token(call))
    end = start + size
    page: dict[str, Json] = {"value": [show(item) for item in items[start:end]]}
    if end < len(items):
        path = "/".join(quote(segment) for segment in call.segments)
        query = f"api-version={call.query['api-version']}&%24skiptoken={_write_token(end)}"
        page["nextLink"] = f"{call.origin}/{path}?{query}"
    return page


def _write_token(start: int) -> str:
    """Return an opaque token. A client that decodes it must encode it again.

    It has no `=`, because a published client cuts the address there.
    """
    token = base64.urlsafe_b64encode(f"page:{start}".encode()).decode().rstrip("=")
    return f"{token}%2B"


def _find_token(call: Call) -> str:
    """Return the token of a call as it was sent; empty for a call without a token."""
    query = call.target.partition("?")[2]
    pairs = (pair.partition("=") for pair in query.split("&"))
    return next((raw for name, _, raw in pairs if unquote(name).casefold() == "$skiptoken"), "")


def _read_token(token: str) -> int:
    if not token:
        return 0
    opaque = token.partition("%")[0]
    try:
        text = base64.urlsafe_b64decode(opaque + "=" * (-len(opaque) % 4)).decode()
        start = int(text.removeprefix("page:"))
    except ValueError:
        start = -1
    if start < 0 or token != _write_token(start):
        raise Refusal(400, "InvalidSkipToken", "The skip token is not valid.")
    return start

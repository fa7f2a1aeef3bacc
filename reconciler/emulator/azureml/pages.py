"""Pages of a list: which items a call asks for, and the link to the next page.

All lists of Azure Machine Learning use it.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl, quote, quote_plus, unquote

from reconciler.emulator.azureml.replies import refuse_request
from reconciler.emulator.requests import Call

Json = Any
_Item = TypeVar("_Item")
_LINKED: Final = "$skipToken"
_LONGEST: Final = 9


def make_online_page(
    call: Call, items: Sequence[_Item], size: int, show: Callable[[_Item], Json]
) -> dict[str, Json]:
    """Return the page of `items` that a call asks for; only its items are shown.

    The link is absolute, has the query of the call in the server's own encoding, and an opaque
    token in escaped base64 (recorded). Any other spelling of the token is refused.
    """
    start = _read_start(call)
    end = start + size
    page: dict[str, Json] = {"value": [show(item) for item in items[start:end]]}
    if end < len(items):
        path = "/".join(quote(segment, safe="") for segment in call.segments)
        page["nextLink"] = (
            f"{call.origin}/{path}?{_write_query(call)}&{_LINKED}={_write_token(end)}"
        )
    return page


def read_count(call: Call, name: str, usual: int) -> int:
    """Return the page size that a call asks for, and the usual one without it."""
    text = call.query.get(name, "")
    if not text:
        return usual
    if not (text.isdecimal() and len(text) < _LONGEST and int(text) >= 1):
        message = f"The query parameter '{name}' must be a whole number from 1."
        raise refuse_request("InvalidQueryParameter", message)
    return min(usual, int(text))


def _write_query(call: Call) -> str:
    """Return the call's query without its own token and skip."""
    pairs = parse_qsl(call.target.partition("?")[2], keep_blank_values=True)
    kept = [(name, v) for name, v in pairs if name.casefold() not in {_LINKED.casefold(), "$skip"}]
    return "&".join(f"{quote(name, safe='$-')}={quote_plus(value)}" for name, value in kept)


def _write_token(start: int) -> str:
    return quote(base64.b64encode(f'{{"skip":{start}}}'.encode()).decode(), safe="")


def _read_start(call: Call) -> int:
    """Return the number of the first item: by the token as it was sent, or by `$skip`."""
    query = call.target.partition("?")[2]
    pairs = (pair.partition("=") for pair in query.split("&"))
    token = next((raw for name, _, raw in pairs if _is_token(name)), "")
    if not token:
        return _read_skip(call)
    try:
        text = base64.b64decode(unquote(token)).removeprefix(b'{"skip":').removesuffix(b"}")
    except ValueError:
        text = b""
    start = int(text) if text.isdigit() and len(text) < _LONGEST else -1
    if start < 0 or token != _write_token(start):
        raise refuse_request("InvalidSkipToken", "The skip token is not valid.")
    return start


def _read_skip(call: Call) -> int:
    text = call.query.get("$skip", "") or "0"
    if not (text.isdecimal() and len(text) < _LONGEST):
        message = "The query parameter '$skip' must be a whole number from 0."
        raise refuse_request("InvalidQueryParameter", message)
    return int(text)


def _is_token(name: str) -> bool:
    return unquote(name).casefold() == _LINKED.casefold()

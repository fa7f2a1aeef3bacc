"""One call of a forge: its route, its parameters, its page of a list, and how it is refused.

The three dialects and the server use it. It knows no forge.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote, unquote, urlencode

from reconciler.emulator.forges.records import Account, ForgeComment, PullRequest
from reconciler.emulator.forges.state import ForgeState
from reconciler.emulator.replies import Answer

Json = Any
# A page number above this is as good as any other: the page is empty.
_LAST_PAGE: Final = 10_000_000
_SHORT_PAGE: Final = 2


class ForgeRefusal(Exception):
    """An error reply in the form of its forge."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(str(answer.body))
        self.answer = answer


@dataclass(frozen=True)
class ForgeCall:
    """A call that has a route. `url` is its address without the query; `faults` are their names."""

    name: str
    parts: Mapping[str, str]
    query: Mapping[str, str]
    body: Json
    account: Account
    url: str
    origin: str
    faults: Collection[str] = field(default_factory=frozenset)

    def number(self, name: str) -> int:
        """Return a number of the path; 0, which nothing has, for a text that is not a number."""
        return read_number(self.parts[name], 0)

    def text(self, name: str, default: str = "") -> str:
        """Return a text of the body; the default if it is absent or not a text."""
        value = self.body.get(name) if isinstance(self.body, dict) else None
        return value if isinstance(value, str) else default


Handler = Callable[[ForgeState, ForgeCall], Answer]


@dataclass(frozen=True)
class Route:
    """A method and a path; `{name}` takes one segment. `name` is what the call does."""

    method: str
    path: str
    name: str
    handler: Handler


@dataclass(frozen=True)
class Dialect:
    """What one forge does in its own way.

    `authorize` gets the state, the headers and the query, and refuses a call. `refuse` writes an
    error of a status and a text. `faults` are the replies of injected errors. `headers` are on
    every reply.
    """

    routes: tuple[Route, ...]
    authorize: Callable[[ForgeState, Mapping[str, str], Mapping[str, str], Route], Account]
    refuse: Callable[[int, str], ForgeRefusal]
    faults: Mapping[str, Answer]
    headers: Callable[[ForgeState], dict[str, str]] = lambda _: {}
    ignores_case: bool = False


def find_route(dialect: Dialect, method: str, raw_path: str) -> tuple[Route, dict[str, str]]:
    """Return the route of a path and its parameters; refuse an unknown one with 404 or 405."""
    segments = [unquote(one) for one in raw_path.strip("/").split("/")]
    others = False
    for route in dialect.routes:
        parts = _match(route.path, segments, ignores_case=dialect.ignores_case)
        if parts is not None and route.method == method:
            return route, parts
        others = others or parts is not None
    raise dialect.refuse(*((405, "Method Not Allowed") if others else (404, "Not Found")))


def _match(path: str, segments: Sequence[str], *, ignores_case: bool) -> dict[str, str] | None:
    wanted = path.strip("/").split("/")
    if len(wanted) != len(segments):
        return None
    parts = {}
    for one, given in zip(wanted, segments, strict=True):
        if one.startswith("{"):
            parts[one[1:-1]] = given
        elif one != given and not (ignores_case and one.casefold() == given.casefold()):
            return None
    return parts


def read_number(text: object, default: int) -> int:
    """Return a whole number from 0; the default for all other texts."""
    shown = str(text)
    return int(shown) if shown.isascii() and shown.isdigit() and len(shown) < 12 else default


@dataclass(frozen=True)
class Page:
    """A page of a list, with the numbers of its neighbours; 0 for one that does not exist."""

    items: list[Json]
    number: int
    size: int
    total: int

    @property
    def last(self) -> int:
        """Return the number of the last page."""
        return max(1, -(-self.total // self.size))

    @property
    def next(self) -> int:
        """Return the number of the next page."""
        return self.number + 1 if self.number < self.last else 0

    @property
    def previous(self) -> int:
        """Return the number of the page before."""
        return self.number - 1


def take_page(call: ForgeCall, items: Sequence[Json], usual: int, most: int = 100) -> Page:
    """Return the page that a query asks for by `page` and `per_page`."""
    size = min(read_number(call.query.get("per_page"), usual) or usual, most)
    if "short-pages" in call.faults:
        size = min(size, _SHORT_PAGE)
    number = min(read_number(call.query.get("page"), 1) or 1, _LAST_PAGE)
    start = (number - 1) * size
    return Page(list(items[start : start + size]), number, size, len(items))


def write_links(call: ForgeCall, page: Page) -> dict[str, str]:
    """Return the header `Link` of a page; without one if the list has a single page."""
    follows, url = page.next, call.url
    if "endless-pages" in call.faults:
        follows = page.number + 1
    if "foreign-page" in call.faults:
        follows = page.number + 1
        url = url.replace("//127.0.0.1:", "//localhost:")
    numbers = {"prev": page.previous, "next": follows}
    if page.last > 1:
        numbers |= {"first": 1, "last": page.last}
    links = [
        f'<{url}?{_write_query(call, number, page.size)}>; rel="{name}"'
        for name, number in numbers.items()
        if number
    ]
    return {"Link": ", ".join(links)} if links else {}


def _write_query(call: ForgeCall, number: int, size: int) -> str:
    asked = {name: value for name, value in call.query.items() if name not in {"page", "per_page"}}
    return urlencode({**asked, "per_page": size, "page": number}, quote_via=quote)


def write_iso(seconds: float) -> str:
    """Return a time in UTC, to the second."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


def find_request(state: ForgeState, call: ForgeCall, refusal: ForgeRefusal) -> PullRequest:
    """Return the pull request that the path names; raise `refusal` if it does not exist."""
    try:
        return state.find_request(call.number("number"))
    except LookupError:
        raise refusal from None


def write_comment(
    state: ForgeState, request: PullRequest, call: ForgeCall, body: str
) -> ForgeComment:
    """Write a comment of the caller; with the fault, after an equal one of another run of it."""
    if "rival-comment" in call.faults:
        state.add_comment(request, call.account.login, body)
    return state.add_comment(request, call.account.login, body)


def lose_comment(state: ForgeState, call: ForgeCall, comment: ForgeComment) -> None:
    """Delete a comment right before its update, if the fault says so."""
    if "deleted-before-update" in call.faults:
        state.delete_comment(comment)

"""The calls below `/_forge/`: what people do on a forge, and what tests and demos look at.

They need no token and are the same for all forges. A body and a reply are JSON; an error has
`error`. A name with `?` may be left out.

| call | body | does |
|---|---|---|
| `GET /` | | shows the forge, its repository, its tokens and the faults that are left |
| `GET, DELETE /recorded` | | shows the requests so far; and forgets them |
| `POST, DELETE /faults` | `["NAME:TIMES"]` | adds faults; removes all |
| `POST /rules` | the fields of `Rules` | sets what a merge demands |
| `POST /requests` | `branch, base?, title?, author?, body?, draft?, fork?` | opens a request |
| `GET /requests/N` | | shows it with its comments, reviews and statuses |
| `PATCH /requests/N` | `draft?, title?, state?: closed` | changes or closes it |
| `POST /requests/N/merge` | `method: merge, squash, rebase; delete_branch?` | merges it by git |
| `POST /requests/N/reviews` | `author, state` | reviews its newest commit |
| `POST /requests/N/comments` | `author, body` | writes a comment, and shows it |
| `PATCH, DELETE /comments/ID` | `body` | edits a comment as a person; deletes it |
| `GET /sarifs` | | shows what was uploaded to code scanning (GitHub) |
| `POST /runs` | `name, commit, event?, artifacts?` | adds a run of a workflow (GitHub) |

A recorded request is `{method, path, headers, body, status, faults}`, without the token's value.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from reconciler.emulator.forges.calls import read_number
from reconciler.emulator.forges.faults import ForgeFaults
from reconciler.emulator.forges.records import CheckRun, PullRequest, Rules
from reconciler.emulator.forges.state import ForgeState
from reconciler.emulator.replies import Answer

Json = Any


class Control:
    """Answers the calls below `/_forge/`."""

    def __init__(
        self,
        state: ForgeState,
        faults: ForgeFaults,
        recorded: list[Json],
        about: Callable[[], dict[str, Json]],
    ) -> None:
        self._state, self._faults, self._recorded, self._about = state, faults, recorded, about

    def answer(self, method: str, segments: list[str], body: Json) -> Answer:
        """Answer a call; `segments` are those of the path after `_forge`."""
        try:
            self._state.synchronize()
            _check_body(method, segments, body)
            shown = self._route(method, segments, body)
            self._state.synchronize()
        except LookupError as error:
            return Answer(404, {"error": str(error.args[0])})
        except ValueError as error:
            return Answer(400, {"error": str(error)})
        return Answer(200, shown)

    def _route(  # noqa: PLR0911 - a table of calls
        self, method: str, segments: list[str], body: Json
    ) -> Json:
        match method, segments:
            case "GET", [] | [""]:
                return self._about() | {"faults": self._faults.list_left()}
            case "GET" | "DELETE", ["recorded"]:
                return self._show_recorded(method)
            case "POST" | "DELETE", ["faults"]:
                return self._change_faults(method, body)
            case "POST", ["rules"]:
                return self._change_rules(body)
            case "GET", ["sarifs"]:
                return [asdict(one) for one in self._state.sarifs]
            case "POST", ["runs"]:
                return self._add_run(body)
            case "POST", ["requests"]:
                return self._open(body)
            case _, ["requests", number, *rest]:
                request = self._state.find_request(read_number(number, 0))
                return self._act(method, request, rest, body)
            case "PATCH" | "DELETE", ["comments", number]:
                return self._change_comment(method, number, body)
        raise LookupError(f"{method} /_forge/{'/'.join(segments)} does not exist")

    def _show_recorded(self, method: str) -> Json:
        shown = list(self._recorded)
        if method == "DELETE":
            self._recorded.clear()
        return shown

    def _change_faults(self, method: str, body: Json) -> Json:
        if method == "DELETE":
            self._faults.clear()
        else:
            self._faults.add([str(one) for one in body])
        return self._faults.list_left()

    def _change_rules(self, body: dict[str, Json]) -> Json:
        rules = asdict(self._state.rules)
        for name, value in body.items():
            if name not in rules or type(value) is not type(rules[name]):
                raise ValueError(f"{name} is not a rule, or its value has another type")
        self._state.rules = Rules(**{**rules, **body})
        return asdict(self._state.rules)

    def _add_run(self, body: dict[str, Json]) -> Json:
        name, commit = _read_text(body, "name"), _read_text(body, "commit")
        made = CheckRun(self._state.new_id(), name, commit, body)
        self._state.checks.append(made)
        return asdict(made)

    def _open(self, body: Json) -> Json:
        branch = _read_text(body, "branch")
        base, title = _read_text(body, "base", "main"), _read_text(body, "title", branch)
        author = _read_text(body, "author", "alice")
        made = self._state.open_request(branch, base, title, author)
        made.body, made.fork = _read_text(body, "body", ""), _read_text(body, "fork", "")
        made.draft = body.get("draft") is True
        return self._show(made)

    def _act(self, method: str, request: PullRequest, rest: list[str], body: Json) -> Json:
        match method, rest:
            case "GET", []:
                pass
            case "PATCH", []:
                request.draft = body.get("draft", request.draft) is True
                request.title = _read_text(body, "title", request.title)
                if body.get("state") == "closed":
                    self._state.close(request)
            case "POST", ["merge"]:
                remove, way = body.get("delete_branch") is True, body.get("method", "merge")
                self._state.merge(request, way, delete_branch=remove)
            case "POST", ["reviews"]:
                self._state.add_review(
                    request, _read_text(body, "author"), _read_text(body, "state")
                )
            case "POST", ["comments"]:
                author, text = _read_text(body, "author"), _read_text(body, "body")
                return asdict(self._state.add_comment(request, author, text))
            case _:
                raise LookupError(f"{method} {'/'.join(rest)} of a request does not exist")
        return self._show(request)

    def _change_comment(self, method: str, number: str, body: Json) -> Json:
        comment = self._state.find_comment(read_number(number, 0))
        if method == "DELETE":
            self._state.delete_comment(comment)
        else:
            self._state.edit_comment(comment, _read_text(body, "body"))
        return asdict(comment)

    def _show(self, request: PullRequest) -> Json:
        comments = [one for one in self._state.list_comments(request) if not one.deleted]
        reviews = [one for one in self._state.reviews if one.request == request.number]
        statuses = [one for one in self._state.statuses if one.commit in request.heads]
        return {
            **asdict(request),
            "head": request.head,
            "comments": [asdict(one) for one in comments],
            "reviews": [asdict(one) for one in reviews],
            "statuses": [asdict(one) for one in statuses],
        }


def _check_body(method: str, segments: list[str], body: Json) -> None:
    wanted = list if segments == ["faults"] else dict
    if method in {"POST", "PATCH"} and not isinstance(body, wanted):
        raise ValueError("the body must be JSON, an object or, of faults, a list")


def _read_text(body: dict[str, Json], name: str, default: str | None = None) -> str:
    value = body.get(name, default)
    if not isinstance(value, str):
        raise ValueError(f"{name} must be a text")  # noqa: TRY004 - all wrong bodies are one error
    return value

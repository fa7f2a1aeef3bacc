"""GitHub's REST API of version 2022-11-28: the calls of pull requests, and of code scanning.

It is long because it has all calls of one API.
Statuses, lists, headers and texts are those of GitHub's published description.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from reconciler.emulator.forges.calls import (
    Dialect,
    ForgeCall,
    ForgeRefusal,
    Json,
    Route,
    find_request,
    lose_comment,
    take_page,
    write_comment,
    write_iso,
    write_links,
)
from reconciler.emulator.forges.code_scanning import read_sarif, upload_sarif
from reconciler.emulator.forges.records import (
    Account,
    CheckRun,
    CommitStatus,
    ForgeComment,
    PullRequest,
)
from reconciler.emulator.forges.state import FULL_NAME, OWNER, ForgeState
from reconciler.emulator.replies import Answer

LONGEST: Final = 65_536
LONGEST_TEXT: Final = 65_535  # of a check run's summary and text
_LONGEST_DESCRIPTION: Final = 140
MOST_STATUSES: Final = 1_000
_MOST_FILES: Final = 3_000
_HOURLY: Final = 1_000
_STATES: Final = ("error", "failure", "pending", "success")
_VERSION: Final = "2022-11-28"
_DOCS: Final = "https://docs.github.com/rest"
TOKENS: Final = {
    "forge-token": Account("github-actions[bot]", "job"),
    "forge-person-token": Account("alice"),
}
_LETTERS: Final = {"A": "added", "D": "removed"}
_REPOSITORY: Final = "/repos/{owner}/{repo}"


def _refuse(status: int, message: str, **more: Json) -> ForgeRefusal:
    headers = more.pop("headers", {})
    body = {"message": message, **more, "documentation_url": _DOCS, "status": str(status)}
    return ForgeRefusal(Answer(status, body, headers))


def _unprocessable(resource: str, field: str, code: str, message: str = "") -> ForgeRefusal:
    error = {"resource": resource, "field": field, "code": code}
    if message:
        error["message"] = message
    return _refuse(422, "Validation Failed", errors=[error])


def _authorize(
    _: ForgeState, headers: Mapping[str, str], __: Mapping[str, str], route: Route
) -> Account:
    if not headers.get("User-Agent"):
        text = "Request forbidden by administrative rules. Please make sure your request has a"
        raise _refuse(403, f"{text} User-Agent header.")
    version = headers.get("X-GitHub-Api-Version", _VERSION)
    if version != _VERSION:
        raise _refuse(400, f'The version "{version[:40]}" is not supported.')
    scheme, _space, token = headers.get("Authorization", "").partition(" ")
    if not scheme:
        raise _refuse(401, "Requires authentication")
    account = TOKENS.get(token.strip()) if scheme.casefold() in {"bearer", "token"} else None
    if account is None:
        raise _refuse(401, "Bad credentials")
    if route.name == "read-user" and account.kind == "job":
        raise _refuse(403, "Resource not accessible by integration")
    if route.name.endswith("check-run") and account.kind == "person":
        raise _refuse(403, "You must authenticate via a GitHub App.")
    return account


def _write_limit(state: ForgeState) -> dict[str, str]:
    """Return the headers of a limit that is far away; it is never reached without a fault."""
    return {
        "x-ratelimit-limit": str(_HOURLY),
        "x-ratelimit-remaining": str(_HOURLY - 1),
        "x-ratelimit-used": "1",
        "x-ratelimit-reset": str(int(state.clock()) + 3600),
        "x-ratelimit-resource": "core",
    }


def _check_repository(call: ForgeCall) -> None:
    named = f"{call.parts['owner']}/{call.parts['repo']}"
    if named.casefold() != FULL_NAME:
        raise _refuse(404, "Not Found")


def _find(state: ForgeState, call: ForgeCall) -> PullRequest:
    _check_repository(call)
    return find_request(state, call, _refuse(404, "Not Found"))


def _list(call: ForgeCall, items: list[Json]) -> Answer:
    page = take_page(call, items, 30)
    return Answer(200, page.items, write_links(call, page))


# Comments


def _show_user(state: ForgeState, login: str) -> Json:
    kind = "Bot" if login.endswith("[bot]") else "User"
    return {"login": login, "id": state.number_of(login), "type": kind}


def _show_comment(state: ForgeState, call: ForgeCall, comment: ForgeComment) -> Json:
    by_app = comment.author.endswith("[bot]")
    return {
        "id": comment.id,
        "node_id": f"IC_{comment.id}",
        "url": f"{call.origin}/repos/{FULL_NAME}/issues/comments/{comment.id}",
        "html_url": f"{call.origin}/{FULL_NAME}/pull/{comment.request}#issuecomment-{comment.id}",
        "body": comment.body,
        "user": _show_user(state, comment.author),
        "created_at": write_iso(comment.created),
        "updated_at": write_iso(comment.updated),
        "author_association": "NONE" if by_app else "MEMBER",
        "performed_via_github_app": {"slug": "github-actions"} if by_app else None,
    }


def _read_body(call: ForgeCall) -> str:
    body = call.text("body")
    if not body:
        raise _unprocessable("IssueComment", "body", "missing_field")
    if len(body) > LONGEST:
        message = f"Body is too long (maximum is {LONGEST} characters)"
        raise _unprocessable("IssueComment", "data", "unprocessable", message)
    return body


def _list_comments(state: ForgeState, call: ForgeCall) -> Answer:
    kept = [one for one in state.list_comments(_find(state, call)) if not one.deleted]
    since = call.query.get("since", "")
    shown = [_show_comment(state, call, one) for one in kept if write_iso(one.updated) >= since]
    return _list(call, shown)


def _create_comment(state: ForgeState, call: ForgeCall) -> Answer:
    request, body = _find(state, call), _read_body(call)
    shown = _show_comment(state, call, write_comment(state, request, call, body))
    return Answer(201, shown, {"Location": shown["url"]})


def _find_comment(state: ForgeState, call: ForgeCall) -> ForgeComment:
    _check_repository(call)
    try:
        return state.find_comment(call.number("comment"))
    except LookupError:
        raise _refuse(404, "Not Found") from None


def _read_comment(state: ForgeState, call: ForgeCall) -> Answer:
    return Answer(200, _show_comment(state, call, _find_comment(state, call)))


def _update_comment(state: ForgeState, call: ForgeCall) -> Answer:
    lose_comment(state, call, _find_comment(state, call))
    comment, body = _find_comment(state, call), _read_body(call)
    state.edit_comment(comment, body)
    return Answer(200, _show_comment(state, call, comment))


def _delete_comment(state: ForgeState, call: ForgeCall) -> Answer:
    state.delete_comment(_find_comment(state, call))
    return Answer(204)


# Statuses and check runs


def _show_status(state: ForgeState, status: CommitStatus) -> Json:
    return {
        "id": status.id,
        "state": status.state,
        "context": status.name,
        "description": status.description,
        "target_url": status.url,
        "creator": _show_user(state, status.author),
        "created_at": write_iso(status.created),
        "updated_at": write_iso(status.created),
    }


def _find_commit(state: ForgeState, call: ForgeCall, name: str) -> str:
    _check_repository(call)
    commit = state.git.find_commit(call.parts[name])
    if not commit:
        raise _refuse(422, f"No commit found for SHA: {call.parts[name][:100]}")
    return commit


def _set_status(state: ForgeState, call: ForgeCall) -> Answer:
    commit = _find_commit(state, call, "sha")
    name, description = call.text("context", "default"), call.body.get("description")
    if call.parts["sha"] != commit:
        raise _unprocessable("Status", "sha", "custom", "sha must be a 40 character SHA1")
    if call.text("state") not in _STATES:
        raise _unprocessable("Status", "state", "invalid")
    if not isinstance(description, str | None) or len(description or "") > _LONGEST_DESCRIPTION:
        message = f"description is too long (maximum is {_LONGEST_DESCRIPTION} characters)"
        raise _unprocessable("Status", "description", "custom", message)
    same = (commit, name.casefold())
    if sum((one.commit, one.name.casefold()) == same for one in state.statuses) >= MOST_STATUSES:
        message = "This SHA and context has reached the maximum number of statuses."
        raise _unprocessable("Status", "context", "custom", message)
    made = CommitStatus(
        state.new_id(), commit, name, call.text("state"), call.account.login, state.clock()
    )
    made.description, made.url = description, call.body.get("target_url")
    state.statuses.append(made)
    return Answer(201, _show_status(state, made))


def _list_statuses(state: ForgeState, call: ForgeCall) -> Answer:
    commit = _find_commit(state, call, "ref")
    newest = state.list_statuses(commit)
    states = {one.state for one in newest}
    combined = "success" if states == {"success"} else "pending"
    if states & {"error", "failure"}:
        combined = "failure"
    page = take_page(call, [_show_status(state, one) for one in newest], 30)
    body = {"state": combined, "statuses": page.items, "sha": commit, "total_count": len(newest)}
    return Answer(200, body, write_links(call, page))


def _write_check(state: ForgeState, call: ForgeCall) -> Answer:
    _check_repository(call)
    found = next((one for one in state.checks if str(one.id) == call.parts.get("check")), None)
    if call.parts.get("check") and found is None:
        raise _refuse(404, "Not Found")
    output = call.body.get("output") or {}
    for name in ("summary", "text"):
        if len(str(output.get(name) or "")) > LONGEST_TEXT:
            message = f"Only {LONGEST_TEXT} characters are allowed"
            raise _unprocessable("CheckRun", name, "custom", message)
    if found is None:
        if not call.text("name") or not state.git.find_commit(call.text("head_sha")):
            raise _unprocessable("CheckRun", "head_sha", "missing_field")
        found = CheckRun(state.new_id(), call.text("name"), call.text("head_sha"), {})
        state.checks.append(found)
    found.fields |= call.body
    shown = {"status": "queued", "conclusion": None, **found.fields, "id": found.id}
    return Answer(200 if call.parts.get("check") else 201, shown)


# Pull requests


def _show_side(name: str, commit: str, full_name: str) -> Json:
    owner = full_name.partition("/")[0]
    repository = {"full_name": full_name, "fork": full_name != FULL_NAME}
    return {"label": f"{owner}:{name}", "ref": name, "sha": commit, "repo": repository}


def _judge_merge(state: ForgeState, call: ForgeCall, request: PullRequest) -> tuple[Json, str]:
    """Return `mergeable` and `mergeable_state`."""
    if request.state != "open":
        return None, "unknown"
    if not state.is_tested(request) or "mergeable-unknown" in call.faults:
        return None, "unknown"
    if not state.test_merge(request):
        return False, "dirty"
    missing = state.list_missing_statuses(request)
    failed = any(one.state != "success" for one in state.list_statuses(request.head))
    rules = (
        (request.draft, "draft"),
        (not state.is_approved(request) or bool(missing), "blocked"),
        (state.rules.up_to_date and state.count_behind(request) > 0, "behind"),
        (failed, "unstable"),
    )
    return True, next((word for applies, word in rules if applies), "clean")


def _show_request(state: ForgeState, call: ForgeCall, request: PullRequest) -> Json:
    """Return what a list shows of a pull request."""
    merged = request.state == "merged"
    commit = request.merge_commit if merged else state.test_merge(request) or None
    return {
        "id": 10_000 + request.number,
        "number": request.number,
        "url": f"{call.origin}/repos/{FULL_NAME}/pulls/{request.number}",
        "html_url": f"{call.origin}/{FULL_NAME}/pull/{request.number}",
        "state": "open" if request.state == "open" else "closed",
        "draft": request.draft,
        "title": request.title,
        "body": request.body or None,
        "user": _show_user(state, request.author),
        "created_at": write_iso(request.opened),
        "closed_at": write_iso(request.closed) if request.closed else None,
        "merged_at": write_iso(request.closed) if merged else None,
        "merge_commit_sha": commit,
        "head": _show_side(request.branch, request.head, request.fork or FULL_NAME),
        "base": _show_side(request.base, request.base_commit, FULL_NAME),
        "auto_merge": None,
    }


def _read_request(state: ForgeState, call: ForgeCall) -> Answer:
    request = _find(state, call)
    mergeable, word = _judge_merge(state, call, request)
    shown = _show_request(state, call, request)
    if (request.state == "open" and mergeable is None) or "lost-merge-commit" in call.faults:
        shown["merge_commit_sha"] = None
    more = {"merged": request.state == "merged", "mergeable": mergeable, "mergeable_state": word}
    return Answer(200, shown | more)


def _list_requests(state: ForgeState, call: ForgeCall) -> Answer:
    _check_repository(call)
    shown = [_show_request(state, call, one) for one in reversed(state.requests)]
    wanted = {
        "state": call.query.get("state", "open"),
        "head": call.query.get("head", ""),
        "base": call.query.get("base", ""),
    }
    kept = [
        one
        for one in shown
        if wanted["state"] in {"all", one["state"]}
        and (":" not in wanted["head"] or wanted["head"] == one["head"]["label"])
        and wanted["base"] in {"", one["base"]["ref"]}
    ]
    return _list(call, kept)


def _create_request(state: ForgeState, call: ForgeCall) -> Answer:
    _check_repository(call)
    head, base, title = call.text("head"), call.text("base"), call.text("title")
    if not title:
        raise _unprocessable("PullRequest", "title", "missing_field")
    branch = head.removeprefix(f"{OWNER}:")
    try:
        made = state.open_request(branch, base, title, call.account.login)
    except LookupError as error:
        field = "base" if f" {base} " in str(error) else "head"
        raise _unprocessable("PullRequest", field, "invalid") from None
    except ValueError:
        message = f"A pull request already exists for {OWNER}:{branch}."
        raise _unprocessable("PullRequest", "head", "custom", message) from None
    made.body, made.draft = call.text("body"), call.body.get("draft") is True
    return Answer(201, _show_request(state, call, made))


def _update_request(state: ForgeState, call: ForgeCall) -> Answer:
    request = _find(state, call)
    request.title = call.text("title", request.title)
    request.body = call.text("body", request.body)
    if call.text("state") == "closed" and request.state == "open":
        state.close(request)
    return Answer(200, _show_request(state, call, request))


def _list_reviews(state: ForgeState, call: ForgeCall) -> Answer:
    request = _find(state, call)
    words = {"approved-with-suggestions": "APPROVED", "rejected": "CHANGES_REQUESTED"}
    shown = [
        {
            "id": number,
            "user": _show_user(state, one.author),
            "body": "",
            "state": words.get(one.state, one.state.upper().replace("-", "_")),
            "commit_id": one.commit,
            "submitted_at": write_iso(one.at),
        }
        for number, one in enumerate(state.reviews, 1)
        if one.request == request.number
    ]
    return _list(call, shown)


def _show_files(state: ForgeState, base: str, head: str) -> list[Json]:
    origin = state.git.find_merge_base(base, head) or base
    listed = state.git.list_files(origin, head)[:_MOST_FILES]
    return [
        {"filename": path, "status": _LETTERS.get(letter, "modified")} for letter, path in listed
    ]


def _list_files(state: ForgeState, call: ForgeCall) -> Answer:
    request = _find(state, call)
    return _list(call, _show_files(state, request.base_commit, request.head))


def _compare(state: ForgeState, call: ForgeCall) -> Answer:
    _check_repository(call)
    names = call.parts["basehead"].split("...")
    commits = [state.git.find_commit(name.rpartition(":")[2]) for name in names]
    if len(commits) != 2 or not all(commits):
        raise _refuse(404, "Not Found")
    base, head = commits
    ahead = len(state.git.list_commits(base, head))
    behind = len(state.git.list_commits(head, base))
    words = {(True, True): "diverged", (True, False): "ahead", (False, True): "behind"}
    body = {
        "status": words.get((ahead > 0, behind > 0), "identical"),
        "ahead_by": ahead,
        "behind_by": behind,
        "merge_base_commit": {"sha": state.git.find_merge_base(base, head)},
        "files": _show_files(state, base, head),
    }
    return Answer(200, body)


def _find_by_commit(state: ForgeState, call: ForgeCall) -> Answer:
    found = state.find_by_commit(_find_commit(state, call, "sha"))
    return _list(call, [_show_request(state, call, one) for one in found])


def _list_runs(state: ForgeState, call: ForgeCall) -> Answer:
    _check_repository(call)
    runs = [
        {**one.fields, "id": one.id, "head_sha": one.commit}
        for one in state.checks
        if one.name == call.parts["file"]
        and call.query.get("head_sha") in {None, one.commit}
        and call.query.get("event") in {None, one.fields.get("event")}
    ]
    page = take_page(call, runs, 30)
    body = {"total_count": len(runs), "workflow_runs": page.items}
    return Answer(200, body, write_links(call, page))


def _list_artifacts(state: ForgeState, call: ForgeCall) -> Answer:
    _check_repository(call)
    run = next((one for one in state.checks if str(one.id) == call.parts["run"]), None)
    if run is None:
        raise _refuse(404, "Not Found")
    wanted = call.query.get("name", "")
    names = [str(name) for name in run.fields.get("artifacts", [])]
    kept = [name for name in names if wanted in {"", name}]
    shown = [{"id": n, "name": name, "expired": False} for n, name in enumerate(kept, 1)]
    return Answer(200, {"total_count": len(shown), "artifacts": shown})


def _upload_sarif(state: ForgeState, call: ForgeCall) -> Answer:
    _check_repository(call)
    return upload_sarif(state, call, _refuse)


def _read_sarif(state: ForgeState, call: ForgeCall) -> Answer:
    _check_repository(call)
    return read_sarif(state, call, _refuse)


def _read_user(state: ForgeState, call: ForgeCall) -> Answer:
    return Answer(200, _show_user(state, call.account.login))


def _make_limit(status: int, message: str, headers: dict[str, str]) -> Answer:
    return replace(_refuse(status, message).answer, headers=headers)


_EXCEEDED: Final = "API rate limit exceeded for installation."
_SECONDARY: Final = "You have exceeded a secondary rate limit. Please wait a few minutes."
_OFF: Final = "Code scanning is not enabled for this repository. Please enable code scanning."
_SPENT: Final = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "{reset}"}
_COMMENTS: Final = f"{_REPOSITORY}/issues/{{number}}/comments"
_COMMENT: Final = f"{_REPOSITORY}/issues/comments/{{comment}}"
_SARIFS: Final = f"{_REPOSITORY}/code-scanning/sarifs"
_PULL: Final = f"{_REPOSITORY}/pulls/{{number}}"
GITHUB: Final = Dialect(
    routes=(
        Route("GET", _COMMENTS, "list-comments", _list_comments),
        Route("POST", _COMMENTS, "create-comment", _create_comment),
        Route("GET", _COMMENT, "read-comment", _read_comment),
        Route("PATCH", _COMMENT, "update-comment", _update_comment),
        Route("DELETE", _COMMENT, "delete-comment", _delete_comment),
        Route("POST", f"{_REPOSITORY}/statuses/{{sha}}", "set-status", _set_status),
        Route("GET", f"{_REPOSITORY}/commits/{{ref}}/status", "list-statuses", _list_statuses),
        Route("POST", f"{_REPOSITORY}/check-runs", "create-check-run", _write_check),
        Route("PATCH", f"{_REPOSITORY}/check-runs/{{check}}", "update-check-run", _write_check),
        Route("GET", f"{_REPOSITORY}/pulls", "list-requests", _list_requests),
        Route("POST", f"{_REPOSITORY}/pulls", "create-request", _create_request),
        Route("GET", _PULL, "read-request", _read_request),
        Route("PATCH", _PULL, "update-request", _update_request),
        Route("GET", f"{_PULL}/reviews", "list-reviews", _list_reviews),
        Route("GET", f"{_PULL}/files", "list-files", _list_files),
        Route("GET", f"{_REPOSITORY}/compare/{{basehead}}", "compare", _compare),
        Route("GET", f"{_REPOSITORY}/commits/{{sha}}/pulls", "list-by-commit", _find_by_commit),
        Route("GET", f"{_REPOSITORY}/actions/workflows/{{file}}/runs", "list-runs", _list_runs),
        Route(
            "GET",
            f"{_REPOSITORY}/actions/runs/{{run}}/artifacts",
            "list-artifacts",
            _list_artifacts,
        ),
        Route("POST", _SARIFS, "upload-sarif", _upload_sarif),
        Route("GET", f"{_SARIFS}/{{sarif}}", "read-sarif", _read_sarif),
        Route("GET", "/user", "read-user", _read_user),
    ),
    authorize=_authorize,
    refuse=_refuse,
    faults={
        "rate-limit": _make_limit(403, _EXCEEDED, _SPENT),
        "rate-limit-429": _make_limit(429, _EXCEEDED, _SPENT),
        "rate-limit-secondary": _make_limit(403, _SECONDARY, {"retry-after": "{wait}"}),
        "rate-limit-secondary-reset": _make_limit(403, _SECONDARY, _SPENT),
        "rate-limit-bare": _make_limit(403, _SECONDARY, {}),
        "no-right": _refuse(403, "Resource not accessible by integration").answer,
        "scanning-off": _refuse(403, _OFF).answer,
        "too-large": _refuse(413, "Payload Too Large").answer,
        "unavailable": _refuse(503, "Service unavailable").answer,
        "gone": _refuse(410, "Issues are disabled for this repo").answer,
        "conflict": _refuse(409, "Conflict").answer,
        "error-before": _refuse(500, "Server Error").answer,
    },
    headers=_write_limit,
)

"""GitLab's REST API v4: the calls of merge requests.

It is long because it has all calls of one API.
Statuses, lists, headers and texts are those of GitLab's own documentation and of public reports.
What the job token may not do is answered 401 here; the documentation does not give the status.
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
    read_number,
    take_page,
    write_comment,
    write_iso,
    write_links,
)
from reconciler.emulator.forges.records import (
    Account,
    CommitStatus,
    ForgeComment,
    Pipeline,
    PullRequest,
)
from reconciler.emulator.forges.state import FULL_NAME, ForgeState
from reconciler.emulator.replies import Answer

LONGEST: Final = 1_000_000
PROJECT: Final = 1
_FORK: Final = 2
_BOT: Final = Account("project_1_bot", "bot")
TOKENS: Final = {
    "forge-token": _BOT,
    "forge-job-token": Account("alice", "job"),
    "forge-person-token": Account("alice"),
}
# Calls that the job token may make: it reads merge requests and notes.
_JOB_CALLS: Final = (
    *("list-comments", "read-request", "list-requests", "list-approvals", "list-by-commit"),
    "read-commit",
)
_STATES: Final = ("pending", "running", "success", "failed", "canceled", "skipped")
_ACTIVE: Final = ("pending", "running")
_EVENTS: Final = {"pending": "enqueue", "running": "run"}
_PROJECT: Final = "/api/v4/projects/{id}"


def _refuse(status: int, message: Json) -> ForgeRefusal:
    key = "error" if status == 404 and message == "404 Not Found" else "message"
    return ForgeRefusal(Answer(status, {key: message}))


def _refuse_plain(status: int, message: str) -> ForgeRefusal:
    """Refuse with the number in the text, as GitLab does where no field is wrong."""
    return _refuse(status, f"{status} {message}")


def _authorize(
    _: ForgeState, headers: Mapping[str, str], __: Mapping[str, str], route: Route
) -> Account:
    scheme, _space, bearer = headers.get("Authorization", "").partition(" ")
    token = headers.get("PRIVATE-TOKEN") or (bearer if scheme.casefold() == "bearer" else "")
    account = TOKENS.get(token.strip())
    if account is None or account.kind == "job":
        account = None if token else TOKENS.get(headers.get("JOB-TOKEN", "").strip())
        if account is None or account.kind != "job" or route.name not in _JOB_CALLS:
            raise _refuse_plain(401, "Unauthorized")
    return account


def _check_project(call: ForgeCall) -> None:
    if call.parts["id"] not in {str(PROJECT), FULL_NAME}:
        raise _refuse_plain(404, "Project Not Found")


def _find(state: ForgeState, call: ForgeCall) -> PullRequest:
    _check_project(call)
    return find_request(state, call, _refuse_plain(404, "Not found"))


def _list(call: ForgeCall, items: list[Json]) -> Answer:
    page = take_page(call, items, 20)
    headers = {
        "x-page": str(page.number),
        "x-per-page": str(page.size),
        "x-next-page": str(page.next or ""),
        "x-prev-page": str(page.previous or ""),
        "x-total": str(page.total),
        "x-total-pages": str(page.last),
    }
    if "endless-pages" in call.faults:
        headers["x-next-page"] = str(page.number + 1)
    return Answer(200, page.items, headers | write_links(call, page))


def _show_user(state: ForgeState, login: str) -> Json:
    return {"id": state.number_of(login), "username": login, "name": login, "state": "active"}


# Notes


def _show_note(state: ForgeState, note: ForgeComment) -> Json:
    return {
        "id": note.id,
        "body": note.body,
        "system": note.system,
        "author": _show_user(state, note.author),
        "created_at": write_iso(note.created),
        "updated_at": write_iso(note.updated),
        "resolvable": False,
        "internal": False,
        "noteable_type": "MergeRequest",
        "noteable_iid": note.request,
    }


def _read_body(call: ForgeCall) -> str:
    body = call.text("body")
    if "body" not in call.body:
        raise ForgeRefusal(Answer(400, {"error": "body is missing"}))
    if not body.strip():
        raise _refuse(400, {"note": ["can't be blank"]})
    if len(body) > LONGEST:
        raise _refuse(400, {"note": [f"is too long (maximum is {LONGEST} characters)"]})
    return body


def _list_notes(state: ForgeState, call: ForgeCall) -> Answer:
    kept = [one for one in state.list_comments(_find(state, call)) if not one.deleted]
    by_update = call.query.get("order_by") == "updated_at"
    kept.sort(key=lambda one: (one.updated if by_update else one.created, one.id))
    if call.query.get("sort") != "asc":
        kept.reverse()
    return _list(call, [_show_note(state, one) for one in kept])


def _create_note(state: ForgeState, call: ForgeCall) -> Answer:
    request, body = _find(state, call), _read_body(call)
    return Answer(201, _show_note(state, write_comment(state, request, call, body)))


def _find_note(state: ForgeState, call: ForgeCall) -> ForgeComment:
    request = _find(state, call)
    try:
        note = state.find_comment(call.number("note"))
    except LookupError:
        note = None
    if note is None or note.request != request.number:
        raise _refuse_plain(404, "Not found")
    return note


def _find_own_note(state: ForgeState, call: ForgeCall) -> ForgeComment:
    note = _find_note(state, call)
    if note.author != call.account.login or note.system:
        raise _refuse_plain(403, "Forbidden")
    return note


def _read_note(state: ForgeState, call: ForgeCall) -> Answer:
    return Answer(200, _show_note(state, _find_note(state, call)))


def _update_note(state: ForgeState, call: ForgeCall) -> Answer:
    lose_comment(state, call, _find_own_note(state, call))
    note, body = _find_own_note(state, call), _read_body(call)
    state.edit_comment(note, body)
    return Answer(200, _show_note(state, note))


def _delete_note(state: ForgeState, call: ForgeCall) -> Answer:
    state.delete_comment(_find_own_note(state, call))
    return Answer(204)


# Statuses


def _show_status(state: ForgeState, status: CommitStatus) -> Json:
    return {
        "id": status.id,
        "sha": status.commit,
        "ref": status.ref,
        "status": status.state,
        "name": status.name,
        "description": status.description,
        "target_url": status.url,
        "pipeline_id": status.pipeline,
        "author": _show_user(state, status.author),
        "created_at": write_iso(status.created),
    }


def _find_commit(state: ForgeState, call: ForgeCall) -> str:
    _check_project(call)
    commit = state.git.find_commit(call.parts["sha"])
    if not commit:
        raise _refuse_plain(404, "Commit Not Found")
    return commit


def _find_pipeline(state: ForgeState, call: ForgeCall, commit: str) -> Pipeline:
    """Return the pipeline that a status belongs to; without one, an external pipeline is made."""
    wanted, ref = read_number(call.body.get("pipeline_id"), 0), call.text("ref")
    same = [one for one in state.pipelines if one.commit == commit]
    if wanted:
        found = next((one for one in same if one.id == wanted), None)
        if found is None:
            raise _refuse_plain(404, "Pipeline for pipeline_id, sha and ref Not Found")
        return found
    found = next((one for one in reversed(same) if one.external or one.ref == ref), None)
    if found is None:
        found = Pipeline(state.new_id(), commit, ref, external=True)
        state.pipelines.append(found)
    return found


def _check_transition(call: ForgeCall, before: str, after: str) -> None:
    short = before == "pending" and after not in _ACTIVE and "strict-transitions" in call.faults
    back = (before, after) in {("pending", "pending"), ("running", "running")}
    if not short and not back and (before, after) != ("running", "pending"):
        return
    event = _EVENTS.get(after, {"success": "success", "failed": "drop"}.get(after, "cancel"))
    text = f"Cannot transition status via :{event} from :{before}"
    reason = f'Status cannot transition via "{event}"'
    raise _refuse(400, f"{text} (Reason(s): {reason})")


def _set_status(state: ForgeState, call: ForgeCall) -> Answer:
    commit = _find_commit(state, call)
    if call.parts["sha"] != commit:
        raise _refuse_plain(404, "Commit Not Found")
    word, name = call.text("state"), call.text("name") or call.text("context") or "default"
    if word not in _STATES:
        raise ForgeRefusal(Answer(400, {"error": "state does not have a valid value"}))
    pipeline = _find_pipeline(state, call, commit)
    made = next(
        (
            one
            for one in reversed(state.statuses)
            if (one.commit, one.name, one.pipeline) == (commit, name, pipeline.id)
            and one.state in _ACTIVE
        ),
        None,
    )
    if made is None:
        author, now = call.account.login, state.clock()
        made = CommitStatus(state.new_id(), commit, name, word, author, now)
        made.pipeline, made.ref = pipeline.id, call.text("ref") or pipeline.ref
        state.statuses.append(made)
    else:
        _check_transition(call, made.state, word)
        made.state = word
    made.description = call.body.get("description", made.description)
    made.url = call.body.get("target_url", made.url)
    return Answer(201, _show_status(state, made))


def _list_statuses(state: ForgeState, call: ForgeCall) -> Answer:
    commit = _find_commit(state, call)
    shown = state.list_statuses(commit)
    if call.query.get("all") == "true":
        shown = [one for one in state.statuses if one.commit == commit]
    wanted = call.query.get("name", "")
    return _list(call, [_show_status(state, one) for one in shown if wanted in {"", one.name}])


def _read_commit(state: ForgeState, call: ForgeCall) -> Answer:
    commit = _find_commit(state, call)
    last = next((one for one in reversed(state.pipelines) if one.commit == commit), None)
    shown = None
    if last is not None:
        source = "external" if last.external else "merge_request_event"
        shown = {"id": last.id, "sha": commit, "ref": last.ref, "source": source}
    return Answer(200, {"id": commit, "short_id": commit[:8], "last_pipeline": shown})


def _compare(state: ForgeState, call: ForgeCall) -> Answer:
    """List the commits of `to` that `from` lacks."""
    _check_project(call)
    old, new = (state.git.find_commit(call.query.get(name, "")) for name in ("from", "to"))
    if not old or not new:
        raise _refuse_plain(404, "Ref Not Found")
    commits = [{"id": one} for one in state.git.list_commits(old, new)]
    return Answer(200, {"commits": commits, "compare_same_ref": old == new})


# Merge requests


def _judge_merge(state: ForgeState, call: ForgeCall, request: PullRequest) -> str:
    """Return `detailed_merge_status`."""
    if request.state != "open":
        return "not_open"
    if not state.is_tested(request) or "mergeable-unknown" in call.faults:
        return "checking"
    rules = (
        (request.draft, "draft_status"),
        (not state.test_merge(request), "conflict"),
        (not state.is_approved(request), "not_approved"),
        (bool(state.list_missing_statuses(request)), "ci_must_pass"),
        (state.rules.up_to_date and state.count_behind(request) > 0, "need_rebase"),
    )
    return next((word for applies, word in rules if applies), "mergeable")


def _show_merge(request: PullRequest) -> dict[str, Json]:
    """Return the commits of a merge: a fast-forward has none of its own."""
    squashed, commit = None, None
    if request.state == "merged":
        squashed = request.merge_commit if request.method == "squash" else None
        commit = request.merge_commit if request.method == "merge" else None
    return {"merge_commit_sha": commit, "squash_commit_sha": squashed}


def _show_request(state: ForgeState, call: ForgeCall, request: PullRequest) -> dict[str, Json]:
    start = request.base_commit
    merged = request.state == "merged"
    return {
        "id": 10_000 + request.number,
        "iid": request.number,
        "project_id": PROJECT,
        "title": f"Draft: {request.title}" if request.draft else request.title,
        "description": request.body,
        "state": "opened" if request.state == "open" else request.state,
        "draft": request.draft,
        "author": _show_user(state, request.author),
        "sha": request.head,
        "source_branch": request.branch,
        "target_branch": request.base,
        "source_project_id": _FORK if request.fork else PROJECT,
        "target_project_id": PROJECT,
        "web_url": f"{call.origin}/{FULL_NAME}/-/merge_requests/{request.number}",
        "created_at": write_iso(request.opened),
        "merged_at": write_iso(request.closed) if merged else None,
        "squash": request.method == "squash",
        "has_conflicts": request.state == "open" and not state.test_merge(request),
        **_show_merge(request),
        "diff_refs": {
            "base_sha": state.git.find_merge_base(start, request.head),
            "head_sha": request.head,
            "start_sha": start,
        },
    }


def _show_status_of_merge(word: str) -> dict[str, Json]:
    old = {"mergeable": "can_be_merged", "checking": "checking", "conflict": "cannot_be_merged"}
    return {"detailed_merge_status": word, "merge_status": old.get(word, "can_be_merged")}


def _read_request(state: ForgeState, call: ForgeCall) -> Answer:
    request = _find(state, call)
    shown = _show_request(state, call, request)
    shown |= _show_status_of_merge(_judge_merge(state, call, request))
    if call.query.get("include_diverged_commits_count") == "true":
        shown["diverged_commits_count"] = state.count_behind(request)
    return Answer(200, shown)


def _list_requests(state: ForgeState, call: ForgeCall) -> Answer:
    _check_project(call)
    shown = [_show_request(state, call, one) for one in reversed(state.requests)]
    kept = [
        one
        for one in shown
        if call.query.get("state", "all") in {"all", one["state"]}
        and call.query.get("source_branch") in {None, one["source_branch"]}
        and call.query.get("target_branch") in {None, one["target_branch"]}
    ]
    return _list(call, kept)


def _create_request(state: ForgeState, call: ForgeCall) -> Answer:
    _check_project(call)
    needed = ("source_branch", "target_branch", "title")
    missing = [name for name in needed if not call.text(name)]
    if missing:
        raise ForgeRefusal(Answer(400, {"error": f"{', '.join(missing)} is missing"}))
    branch, base = call.text("source_branch"), call.text("target_branch")
    try:
        made = state.open_request(branch, base, call.text("title"), call.account.login)
    except LookupError as error:
        raise _refuse(400, [str(error.args[0])]) from None
    except ValueError:
        number = getattr(state.find_open(branch, base), "number", 0)
        text = f"Another open merge request already exists for this source branch: !{number}"
        raise _refuse(409, [text]) from None
    made.body = call.text("description")
    return Answer(201, _show_request(state, call, made))


def _read_approvals(state: ForgeState, call: ForgeCall) -> Answer:
    request = _find(state, call)
    approvers = state.find_approvers(request)
    required = state.rules.approvals_required
    body = {
        "approved": bool(approvers) and state.is_approved(request),
        "approvals_required": required,
        "approvals_left": max(0, required - len(approvers)),
        "approved_by": [{"user": _show_user(state, one)} for one in approvers],
    }
    return Answer(200, body)


def _find_by_commit(state: ForgeState, call: ForgeCall) -> Answer:
    found = state.find_by_commit(_find_commit(state, call))
    return _list(call, [_show_request(state, call, one) for one in found])


def _read_user(state: ForgeState, call: ForgeCall) -> Answer:
    return Answer(200, _show_user(state, call.account.login))


_LATER: Final = Answer(429, data=b"Retry later\n", media="text/plain")
_LIMITS: Final = {
    "Retry-After": "{wait}",
    "RateLimit-Limit": "600",
    "RateLimit-Observed": "601",
    "RateLimit-Remaining": "0",
    "RateLimit-Reset": "{reset}",
}
_MERGE: Final = f"{_PROJECT}/merge_requests/{{number}}"
_NOTE: Final = f"{_MERGE}/notes/{{note}}"
_COMMIT: Final = f"{_PROJECT}/repository/commits/{{sha}}"
GITLAB: Final = Dialect(
    routes=(
        Route("GET", f"{_MERGE}/notes", "list-comments", _list_notes),
        Route("POST", f"{_MERGE}/notes", "create-comment", _create_note),
        Route("GET", _NOTE, "read-comment", _read_note),
        Route("PUT", _NOTE, "update-comment", _update_note),
        Route("DELETE", _NOTE, "delete-comment", _delete_note),
        Route("POST", f"{_PROJECT}/statuses/{{sha}}", "set-status", _set_status),
        Route("GET", f"{_COMMIT}/statuses", "list-statuses", _list_statuses),
        Route("GET", _COMMIT, "read-commit", _read_commit),
        Route("GET", f"{_PROJECT}/repository/compare", "compare", _compare),
        Route("GET", f"{_COMMIT}/merge_requests", "list-by-commit", _find_by_commit),
        Route("GET", f"{_PROJECT}/merge_requests", "list-requests", _list_requests),
        Route("POST", f"{_PROJECT}/merge_requests", "create-request", _create_request),
        Route("GET", _MERGE, "read-request", _read_request),
        Route("GET", f"{_MERGE}/approvals", "list-approvals", _read_approvals),
        Route("GET", "/api/v4/user", "read-user", _read_user),
    ),
    authorize=_authorize,
    refuse=_refuse_plain,
    faults={
        "rate-limit": replace(_LATER, headers=_LIMITS),
        "rate-limit-bare": _LATER,
        "no-right": _refuse_plain(403, "Forbidden").answer,
        "conflict": _refuse_plain(409, "Conflict").answer,
        "error-before": _refuse_plain(500, "Internal Server Error").answer,
    },
)

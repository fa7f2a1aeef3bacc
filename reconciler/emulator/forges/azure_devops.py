"""Azure DevOps' REST API 7.1: the calls of pull requests in Azure Repos.

It is long because it has all calls of one API.

Statuses, lists and texts are those of the vendor's published description and of programs that work
with the service. An enum is accepted as its word or its number, and shown as its word.
"""

from __future__ import annotations

import base64
import binascii
import uuid
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
    write_iso,
)
from reconciler.emulator.forges.records import (
    Account,
    CommitStatus,
    ForgeComment,
    PullRequest,
    Thread,
)
from reconciler.emulator.forges.state import NAME, OWNER, ForgeState
from reconciler.emulator.replies import Answer

LONGEST: Final = 150_000
MOST_COMMENTS: Final = 500
LONGEST_DESCRIPTION: Final = 4_000
_SHORT_DESCRIPTION: Final = 400
_USUAL_PAGE: Final = 100
PROJECT: Final = str(uuid.uuid5(uuid.NAMESPACE_URL, "project"))
REPOSITORY: Final = str(uuid.uuid5(uuid.NAMESPACE_URL, "repository"))
_SERVICE: Final = f"Build\\{PROJECT}"
TOKENS: Final = {
    "forge-token": Account(_SERVICE, "job"),
    "forge-person-token": Account("alice@example.com"),
}
_VERSIONS: Final = ("7.1", "7.1-preview", "7.1-preview.1")
_THREADS: Final = ("unknown", "active", "fixed", "wontFix", "closed", "byDesign", "pending")
_KINDS: Final = ("unknown", "text", "codeChange", "system")
_STATUSES: Final = ("notSet", "pending", "succeeded", "failed", "error", "notApplicable")
_WORDS: Final = {"open": "active", "closed": "abandoned", "merged": "completed"}
_VOTES: Final = {
    "approved": 10,
    "approved-with-suggestions": 5,
    "changes-requested": -5,
    "rejected": -10,
    "dismissed": 0,
}
_METHODS: Final = {"noFastForward": "merge", "squash": "squash", "rebase": "rebase"}
_SIGN_IN: Final = (
    b"<!DOCTYPE html><html><head><title>Azure DevOps Services | Sign In</title></head>"
)
_SIGN_IN_PAGE: Final = Answer(203, data=_SIGN_IN, media="text/html; charset=utf-8")


def _refuse(status: int, message: str, key: str = "") -> ForgeRefusal:
    kinds = {400: "InvalidArgumentValueException", 403: "GitNeedsPermissionException"}
    kind = key or kinds.get(status, "GitPullRequestNotFoundException")
    body = {
        "$id": "1",
        "innerException": None,
        "message": message,
        "typeName": f"Microsoft.TeamFoundation.Git.Server.{kind}",
        "typeKey": kind,
        "errorCode": 0,
        "eventId": 3000,
    }
    return ForgeRefusal(Answer(status, body))


def _read_token(header: str) -> str:
    scheme, _, text = header.partition(" ")
    if scheme.casefold() == "bearer":
        return text.strip()
    try:
        return base64.b64decode(text, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _authorize(
    _: ForgeState, headers: Mapping[str, str], query: Mapping[str, str], route: Route
) -> Account:
    given = headers.get("Authorization", "")
    if not given:
        raise ForgeRefusal(Answer(302, headers={"Location": "/_signin"}))
    account = TOKENS.get(_read_token(given))
    if account is None:
        raise ForgeRefusal(_SIGN_IN_PAGE)
    version = query.get("api-version", "")
    if not version:
        text = f'No api-version was supplied for the "{route.method}" request. The version must be'
        raise _refuse(400, f"{text} supplied as a query parameter.", "VssVersionNotSpecified")
    if version not in _VERSIONS:
        raise _refuse(400, f'The requested version "{version[:40]}" is not supported.')
    if route.name == "list-policies" and "preview" not in version:
        text = f'The requested version "{version}" of the resource is under preview. The -preview'
        raise _refuse(400, f"{text} flag must be supplied.", "VssInvalidPreviewVersionException")
    return account


def _check_place(call: ForgeCall) -> None:
    wanted = {"collection": (OWNER,), "project": (NAME, PROJECT), "repository": (NAME, REPOSITORY)}
    for name, values in wanted.items():
        if name in call.parts and call.parts[name].casefold() not in values:
            text = f"TF401019: The Git {name} with name or identifier {call.parts[name][:100]}"
            raise _refuse(404, f"{text} does not exist or you do not have permissions for it.")


def _find(state: ForgeState, call: ForgeCall) -> PullRequest:
    _check_place(call)
    text = f"TF401180: The requested pull request was not found. Id: {call.parts['number'][:20]}"
    return find_request(state, call, _refuse(404, text))


def _wrap(items: list[Json]) -> Answer:
    return Answer(200, {"value": items, "count": len(items)})


def _read_word(value: Json, words: tuple[str, ...], field: str) -> str:
    """Return the word of an enum that is given as a word in any case, or as a number."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(words):
        return words[value]
    found = next((one for one in words if one.casefold() == str(value).casefold()), "")
    if not found:
        raise _refuse(400, f"The value of {field} is not valid: {str(value)[:40]}")
    return found


def _show_person(login: str) -> Json:
    person = str(uuid.uuid5(uuid.NAMESPACE_URL, login))
    name = f"{NAME} Build Service ({OWNER})" if login == _SERVICE else login.partition("@")[0]
    return {"id": person, "displayName": name, "uniqueName": login}


# Threads and comments


def _show_comment(comment: ForgeComment) -> dict[str, Json]:
    shown = {
        "id": comment.position,
        "parentCommentId": 0 if comment.position == 1 else 1,
        "author": _show_person(comment.author),
        "publishedDate": write_iso(comment.created),
        "lastUpdatedDate": write_iso(comment.updated),
        "commentType": "system" if comment.system else "text",
    }
    return shown | ({"isDeleted": True} if comment.deleted else {"content": comment.body})


def _list_own(state: ForgeState, thread: Thread) -> list[ForgeComment]:
    return [one for one in state.comments if one.thread == thread.id]


def _show_thread(state: ForgeState, thread: Thread) -> Json:
    comments = _list_own(state, thread)
    shown = {
        "id": thread.id,
        "publishedDate": write_iso(comments[0].created if comments else 0),
        "comments": [_show_comment(one) for one in comments],
        "threadContext": None,
        "properties": thread.properties,
        "isDeleted": all(one.deleted for one in comments),
    }
    return shown | ({"status": thread.status} if thread.status != "unknown" else {})


def _list_threads(state: ForgeState, call: ForgeCall) -> Answer:
    request = _find(state, call)
    own = [one for one in state.threads if one.request == request.number]
    return _wrap([_show_thread(state, one) for one in own])


def _type_properties(given: Json) -> dict[str, Json]:
    """Return properties as they come back: each value with its type."""
    if not isinstance(given, dict):
        return {}
    types = {bool: "System.Boolean", int: "System.Int32", float: "System.Double"}
    values = {
        name: value.get("$value") if isinstance(value, dict) else value
        for name, value in given.items()
    }
    return {
        name: {"$type": types.get(type(value), "System.String"), "$value": value}
        for name, value in values.items()
    }


def _read_content(given: Json) -> str:
    content = given.get("content") if isinstance(given, dict) else None
    if not isinstance(content, str) or not content:
        raise _refuse(400, "A comment must have content.")
    if len(content) > LONGEST:
        raise _refuse(400, f"A comment must not be longer than {LONGEST} characters.")
    _read_word(given.get("commentType", "text"), _KINDS, "commentType")
    return content


def _create_thread(state: ForgeState, call: ForgeCall) -> Answer:
    request, given = _find(state, call), call.body.get("comments")
    if not isinstance(given, list) or not given:
        raise _refuse(400, "A thread must have a comment.")
    contents = [_read_content(one) for one in given]
    status = _read_word(call.body.get("status", "unknown"), _THREADS, "status")
    properties = _type_properties(call.body.get("properties"))
    if "rival-comment" in call.faults:
        rival = state.add_thread(request, status, properties)
        state.add_comment(request, call.account.login, contents[0], rival)
    made = state.add_thread(request, status, properties)
    for content in contents:
        state.add_comment(request, call.account.login, content, made)
    return Answer(200, _show_thread(state, made))


def _find_thread(state: ForgeState, call: ForgeCall) -> Thread:
    request, number = _find(state, call), call.number("thread")
    for thread in state.threads:
        if (thread.id, thread.request) == (number, request.number):
            return thread
    raise _refuse(404, f"The thread {number} was not found.", "GitPullRequestThreadNotFound")


def _read_thread(state: ForgeState, call: ForgeCall) -> Answer:
    return Answer(200, _show_thread(state, _find_thread(state, call)))


def _update_thread(state: ForgeState, call: ForgeCall) -> Answer:
    thread = _find_thread(state, call)
    thread.status = _read_word(call.body.get("status", thread.status), _THREADS, "status")
    thread.properties |= _type_properties(call.body.get("properties"))
    return Answer(200, _show_thread(state, thread))


def _add_comment(state: ForgeState, call: ForgeCall) -> Answer:
    thread, content = _find_thread(state, call), _read_content(call.body)
    if len(_list_own(state, thread)) >= MOST_COMMENTS:
        raise _refuse(400, f"A thread must not have more than {MOST_COMMENTS} comments.")
    request = state.find_request(thread.request)
    made = state.add_comment(request, call.account.login, content, thread)
    return Answer(200, _show_comment(made))


def _find_comment(state: ForgeState, call: ForgeCall) -> ForgeComment:
    thread, position = _find_thread(state, call), call.number("comment")
    for one in _list_own(state, thread):
        if one.position == position and not one.deleted:
            if one.author != call.account.login or one.system:
                raise _refuse(403, "TF401027: You need to be the author of the comment.")
            return one
    raise _refuse(404, f"The comment {position} was not found.", "GitCommentNotFoundException")


def _update_comment(state: ForgeState, call: ForgeCall) -> Answer:
    lose_comment(state, call, _find_comment(state, call))
    comment, content = _find_comment(state, call), _read_content(call.body)
    state.edit_comment(comment, content)
    return Answer(200, _show_comment(comment))


def _delete_comment(state: ForgeState, call: ForgeCall) -> Answer:
    state.delete_comment(_find_comment(state, call))
    return Answer(200)


# Statuses


def _show_status(status: CommitStatus) -> dict[str, Json]:
    shown = {
        "id": status.id,
        "state": status.state,
        "description": status.description,
        "targetUrl": status.url,
        "context": {"genre": status.genre or None, "name": status.name},
        "createdBy": _show_person(status.author),
        "creationDate": write_iso(status.created),
    }
    return shown | ({"iterationId": status.iteration} if status.iteration else {})


def _make_status(state: ForgeState, call: ForgeCall, commit: str) -> CommitStatus:
    context = call.body.get("context")
    name = context.get("name") if isinstance(context, dict) else None
    if not isinstance(name, str) or not name:
        raise _refuse(400, "The value of context.name must not be empty.")
    word = _read_word(call.body.get("state", "notSet"), _STATUSES, "state")
    made = CommitStatus(state.new_id(), commit, name, word, call.account.login, state.clock())
    made.genre = str(context.get("genre") or "") if isinstance(context, dict) else ""
    made.description, made.url = call.body.get("description"), call.body.get("targetUrl")
    return made


def _set_request_status(state: ForgeState, call: ForgeCall) -> Answer:
    request = _find(state, call)
    iteration = call.body.get("iterationId") or 0
    if type(iteration) is not int or iteration not in range(len(request.heads) + 1):
        raise _refuse(400, f"The iteration {str(iteration)[:20]} does not exist.")
    made = _make_status(state, call, request.heads[iteration - 1])
    made.request, made.iteration = request.number, iteration
    state.statuses.append(made)
    return Answer(200, _show_status(made))


def _list_request_statuses(state: ForgeState, call: ForgeCall) -> Answer:
    request = _find(state, call)
    return _wrap([_show_status(one) for one in state.statuses if one.request == request.number])


def _find_commit(state: ForgeState, call: ForgeCall) -> str:
    _check_place(call)
    commit = state.git.find_commit(call.parts["sha"])
    if commit != call.parts["sha"]:
        text = f"TF401175: The version descriptor <Commit: {call.parts['sha'][:60]} > could not be"
        raise _refuse(404, f"{text} resolved to a version in the repository.")
    return commit


def _set_status(state: ForgeState, call: ForgeCall) -> Answer:
    made = _make_status(state, call, _find_commit(state, call))
    state.statuses.append(made)
    return Answer(201, _show_status(made))


def _list_statuses(state: ForgeState, call: ForgeCall) -> Answer:
    commit = _find_commit(state, call)
    own = [one for one in state.statuses if one.commit == commit and not one.request]
    return _wrap([_show_status(one) for one in reversed(own)])


def _compare(state: ForgeState, call: ForgeCall) -> Answer:
    """Count the commits of a target and a base that the other lacks."""
    _check_place(call)
    names = [call.query.get(name, "") for name in ("baseVersion", "targetVersion")]
    base, target = (state.git.find_commit(name) for name in names)
    if not base or not target:
        text = "TF401175: The version descriptor could not be resolved to a version."
        raise _refuse(404, text, "GitUnresolvableToCommitException")
    body = {
        "allChangesIncluded": True,
        "aheadCount": len(state.git.list_commits(base, target)),
        "behindCount": len(state.git.list_commits(target, base)),
        "commonCommit": state.git.find_merge_base(base, target),
        "baseCommit": base,
        "targetCommit": target,
    }
    return Answer(200, body)


# Pull requests


def _judge_merge(state: ForgeState, call: ForgeCall, request: PullRequest) -> str:
    if request.state == "merged":
        return "succeeded"
    if not state.is_tested(request) or "mergeable-unknown" in call.faults:
        return "queued"
    return "succeeded" if state.test_merge(request) else "conflicts"


def _show_reviewers(state: ForgeState, request: PullRequest) -> list[Json]:
    found = state.find_decisions(request)
    return [
        {**_show_person(author), "vote": _VOTES[word], "isRequired": False}
        for author, word in found.items()
    ]


def _show_request(state: ForgeState, call: ForgeCall, request: PullRequest) -> dict[str, Json]:
    """Return what a list shows of a pull request."""
    merged = request.merge_commit if request.state == "merged" else state.test_merge(request)
    place = f"{call.origin}/{OWNER}/{NAME}"
    shown = {
        "repository": {"id": REPOSITORY, "name": NAME, "project": {"id": PROJECT, "name": NAME}},
        "pullRequestId": request.number,
        "codeReviewId": request.number,
        "status": _WORDS[request.state],
        "createdBy": _show_person(request.author),
        "creationDate": write_iso(request.opened),
        "title": request.title,
        "description": request.body[:_SHORT_DESCRIPTION],
        "sourceRefName": f"refs/heads/{request.branch}",
        "targetRefName": f"refs/heads/{request.base}",
        "mergeStatus": "succeeded" if merged else "conflicts",
        "isDraft": request.draft,
        "lastMergeSourceCommit": {"commitId": request.head},
        "lastMergeTargetCommit": {"commitId": request.base_commit},
        "reviewers": _show_reviewers(state, request),
        "url": f"{place}/_apis/git/repositories/{REPOSITORY}/pullRequests/{request.number}",
    }
    if merged:
        shown["lastMergeCommit"] = {"commitId": merged}
    if request.closed:
        shown["closedDate"] = write_iso(request.closed)
    if request.fork:
        shown["forkSource"] = {"repository": {"name": request.fork, "isFork": True}}
    return shown


def _read_request(state: ForgeState, call: ForgeCall) -> Answer:
    request = _find(state, call)
    shown = _show_request(state, call, request)
    word = _judge_merge(state, call, request)
    if word == "queued":
        shown.pop("lastMergeCommit", None)
    return Answer(200, shown | {"mergeStatus": word, "description": request.body})


def _list_requests(state: ForgeState, call: ForgeCall) -> Answer:
    _check_place(call)
    criteria = {
        name.casefold().removeprefix("searchcriteria."): value for name, value in call.query.items()
    }
    kept = [
        one
        for one in reversed(state.requests)
        if criteria.get("status", "active").casefold() in {"all", _WORDS[one.state]}
        and criteria.get("sourcerefname") in {None, f"refs/heads/{one.branch}"}
        and criteria.get("targetrefname") in {None, f"refs/heads/{one.base}"}
    ]
    start = read_number(call.query.get("$skip"), 0)
    most = read_number(call.query.get("$top"), _USUAL_PAGE)
    return _wrap([_show_request(state, call, one) for one in kept[start : start + most]])


def _create_request(state: ForgeState, call: ForgeCall) -> Answer:
    _check_place(call)
    names = [call.text(name) for name in ("sourceRefName", "targetRefName")]
    if not all(name.startswith("refs/heads/") for name in names):
        raise _refuse(400, "A ref name must begin with refs/heads/.")
    _check_description(call)
    branch, base = (name.removeprefix("refs/heads/") for name in names)
    try:
        made = state.open_request(branch, base, call.text("title", branch), call.account.login)
    except LookupError as error:
        raise _refuse(400, f"TF401398: {error.args[0]}") from None
    except ValueError:
        text = "TF401179: An active pull request for the source and target branch already exists."
        raise _refuse(409, text, "GitPullRequestExistsException") from None
    made.body, made.draft = call.text("description"), call.body.get("isDraft") is True
    return Answer(201, _show_request(state, call, made))


def _check_description(call: ForgeCall) -> None:
    if len(call.text("description")) > LONGEST_DESCRIPTION:
        text = f"A description must not be longer than {LONGEST_DESCRIPTION} characters."
        raise _refuse(400, text)


def _update_request(state: ForgeState, call: ForgeCall) -> Answer:
    """Change title, description and status; anything else is ignored, as the service does."""
    request = _find(state, call)
    _check_description(call)
    request.title = call.text("title", request.title)
    request.body = call.text("description", request.body)
    if call.text("status") == "abandoned" and request.state == "open":
        state.close(request)
    if call.text("status") == "completed":
        _complete(state, call, request)
    return Answer(200, _show_request(state, call, request))


def _complete(state: ForgeState, call: ForgeCall, request: PullRequest) -> None:
    source = call.body.get("lastMergeSourceCommit")
    if not isinstance(source, dict) or source.get("commitId") != request.head:
        raise _refuse(409, "TF401192: The pull request has been modified.")
    options = call.body.get("completionOptions") or {}
    if not isinstance(options, dict):
        raise _refuse(400, "The value of completionOptions is not valid.")
    try:
        method = _METHODS[str(options.get("mergeStrategy", "noFastForward"))]
        remove = options.get("deleteSourceBranch") is True
        state.merge(request, method, delete_branch=remove)  # type: ignore[arg-type]
    except (ValueError, LookupError) as error:
        raise _refuse(409, f"TF401192: {error}") from None


def _list_iterations(state: ForgeState, call: ForgeCall) -> Answer:
    request = _find(state, call)
    shown = [
        {"id": number, "sourceRefCommit": {"commitId": head}, "reason": "push"}
        for number, head in enumerate(request.heads, 1)
    ]
    return _wrap(shown)


def _list_policies(state: ForgeState, call: ForgeCall) -> Answer:
    _check_place(call)
    head, _, number = call.query.get("artifactId", "").rpartition("/")
    if head.casefold() != f"vstfs:///codereview/codereviewid/{PROJECT}":
        raise _refuse(400, "The value of artifactId is not valid.")
    try:
        request = state.find_request(read_number(number, 0))
    except LookupError:
        return _wrap([])
    rules, missing = state.rules, state.list_missing_statuses(request)
    judged: list[tuple[str, bool, dict[str, Json]]] = [
        ("Minimum number of reviewers", state.is_approved(request), {})
    ]
    judged = judged if rules.approvals_required else []
    if rules.resolved_comments:
        judged.append(("Comment requirements", not state.has_open_threads(request), {}))
    judged += [
        ("Status", name not in missing, {"statusName": name}) for name in rules.required_statuses
    ]
    return _wrap([_show_policy(*one) for one in judged])


def _show_policy(name: str, good: bool, settings: dict[str, Json]) -> Json:  # noqa: FBT001 - a column of the table above
    configuration = {
        "isEnabled": True,
        "isBlocking": True,
        "type": {"displayName": name},
        "settings": settings,
    }
    return {"configuration": configuration, "status": "approved" if good else "queued"}


def _read_user(_: ForgeState, call: ForgeCall) -> Answer:
    _check_place(call)
    return Answer(200, {"authenticatedUser": _show_person(call.account.login)})


_RIGHT: Final = (
    "TF401027: You need the Git 'PullRequestContribute' permission to perform this action."
    f" Details: identity '{_SERVICE}', scope 'repository'."
)
_BLOCKED: Final = (
    "TF400733: The request has been canceled: Request was blocked due to exceeding usage"
)
_GIT: Final = "/{collection}/{project}/_apis/git/repositories/{repository}"
_PULL: Final = f"{_GIT}/pullRequests/{{number}}"
_THREAD: Final = f"{_PULL}/threads/{{thread}}"
_COMMENT: Final = f"{_THREAD}/comments/{{comment}}"
_EVALUATIONS: Final = "/{collection}/{project}/_apis/policy/evaluations"
AZURE_DEVOPS: Final = Dialect(
    routes=(
        Route("GET", f"{_PULL}/threads", "list-comments", _list_threads),
        Route("POST", f"{_PULL}/threads", "create-comment", _create_thread),
        Route("GET", _THREAD, "read-thread", _read_thread),
        Route("PATCH", _THREAD, "update-thread", _update_thread),
        Route("POST", f"{_THREAD}/comments", "add-comment", _add_comment),
        Route("PATCH", _COMMENT, "update-comment", _update_comment),
        Route("DELETE", _COMMENT, "delete-comment", _delete_comment),
        Route("POST", f"{_PULL}/statuses", "set-status", _set_request_status),
        Route("GET", f"{_PULL}/statuses", "list-statuses", _list_request_statuses),
        Route("POST", f"{_GIT}/commits/{{sha}}/statuses", "set-status", _set_status),
        Route("GET", f"{_GIT}/commits/{{sha}}/statuses", "list-statuses", _list_statuses),
        Route("GET", f"{_GIT}/diffs/commits", "compare", _compare),
        Route("GET", f"{_PULL}/iterations", "list-iterations", _list_iterations),
        Route("GET", f"{_GIT}/pullRequests", "list-requests", _list_requests),
        Route("POST", f"{_GIT}/pullRequests", "create-request", _create_request),
        Route("GET", _PULL, "read-request", _read_request),
        Route("PATCH", _PULL, "update-request", _update_request),
        Route("GET", _EVALUATIONS, "list-policies", _list_policies),
        Route("GET", "/{collection}/_apis/connectionData", "read-user", _read_user),
    ),
    authorize=_authorize,
    refuse=_refuse,
    faults={
        "rate-limit": replace(
            _refuse(429, _BLOCKED, "RequestBlockedException").answer,
            headers={"Retry-After": "{wait}", "X-RateLimit-Remaining": "0"},
        ),
        "no-right": _refuse(403, _RIGHT).answer,
        "conflict": _refuse(409, "TF401192: The resource has been modified.").answer,
        "error-before": _refuse(500, "VS30063: The service is unavailable.").answer,
    },
    ignores_case=True,
)

"""GitHub, by its REST API of 2022-11-28."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, TypeAlias, cast

from reconciler.errors import ReconcilerError, Rejected, Unauthorized
from reconciler.gitops.forge import (
    Comment,
    Request,
    Requirements,
    SarifUpload,
    Status,
    StatusState,
)
from reconciler.gitops.forges.base import (
    MERGE_TRIES,
    OWN_STATUSES,
    cut_description,
    escape_part,
    get,
    get_number,
    get_text,
    ignore_missing,
    is_segment,
    name_behind,
    pause_before,
)
from reconciler.gitops.jobs import Job
from reconciler.model import Json
from reconciler.ports import Emit
from reconciler.transport.forge import ForgeToken, Speaker
from reconciler.transport.replies import clean

_NAME: Final = "GitHub"
_HEADERS: Final = {
    "Accept": "application/vnd.github+json",
    "X-GitHub-Api-Version": "2022-11-28",
}
# Comments by the token of a job are this account's. The token may not ask who it is.
_JOB_LOGIN: Final = "github-actions[bot]"
_LONGEST_DESCRIPTION: Final = 140
_COMMENT: Final = "Give the job the right: permissions: {pull-requests: write}."
_STATUS: Final = "Give the job the right: permissions: {statuses: write}."
_READ_REQUEST: Final = "Give the job the right: permissions: {pull-requests: read}."
_READ_CODE: Final = "Give the job the right: permissions: {contents: read}."
_READ_STATUS: Final = "Give the job the right: permissions: {statuses: read}."
_SCAN: Final = (
    "Give the job the right: permissions: {security-events: write}. Code scanning must be on:"
    " Settings, Code security. A private repository needs GitHub Code Security for it."
)
_CURES: Final = {
    400: "Check that the file is SARIF, and the commit: --commit.",
    413: "Report fewer resources in a file: drift --target ADDRESS --out FILE.",
    422: "Check the commit and the ref: --commit, --ref.",
}
# The waits before these questions are two minutes together.
_SARIF_TRIES: Final = 18
_DECISIVE: Final = frozenset({"APPROVED", "CHANGES_REQUESTED", "DISMISSED"})
_CONFLICT: Final = "it conflicts with its base branch"
_DRAFT: Final = "it is a draft"
_WRONG: Final = {
    "dirty": _CONFLICT,
    "draft": _DRAFT,
    "behind": "its branch must be brought up to date with its base branch",
    "blocked": "the rules of the repository block the merge",
}
_State: TypeAlias = Literal["open", "closed", "merged"]


def make_speaker(job: Job, token: ForgeToken, emit: Emit, **others: Any) -> Speaker:
    """The speaker for the API of a job."""
    return Speaker(_NAME, job.api, token, emit, headers=_HEADERS, **others)


def make_forge(job: Job, speaker: Speaker) -> GitHub:
    """The forge of a job; raises ReconcilerError for a repository that is not owner/name."""
    return GitHub(job, speaker)


class GitHub:
    """One repository on GitHub."""

    name = _NAME
    longest_comment = 65_536

    def __init__(self, job: Job, speaker: Speaker) -> None:
        parts = job.repository.split("/")
        if len(parts) != 2 or not all(map(is_segment, parts)):
            raise ReconcilerError(
                "is not a repository of GitHub",
                subject=job.repository or "(empty)",
                next_step="Write it as owner/name.",
            )
        self._job = job
        self._speaker = speaker
        self._path = "/repos/" + "/".join(escape_part(one) for one in parts)
        self._login = ""

    def find_request(self) -> Request | None:
        """The pull request that this job runs for, or None."""
        number = self._job.number
        return _read_request(self._read(f"/pulls/{number}")) if number else None

    def find_merged(self, commit: str) -> tuple[Request, ...]:
        """The merged pull requests that brought a commit in."""
        path = f"{self._path}/commits/{escape_part(commit)}/pulls?per_page=100"
        try:
            found = [_read_request(one) for one in self._speaker.read_pages(path, _READ_REQUEST)]
        except Rejected as error:
            if error.status == 422:  # it knows no such commit
                return ()
            raise
        branch = self._job.branch
        merged = (one for one in found if one.state == "merged")
        return tuple(one for one in merged if not branch or one.base == branch)

    def list_comments(self, request: Request) -> tuple[Comment, ...]:
        """The comments of our own account, of all pages, oldest first."""
        path = f"{self._path}/issues/{request.number}/comments?per_page=100"
        found = [
            _read_comment(one)
            for one in self._speaker.read_pages(path, _READ_REQUEST)
            if self._is_own(one)
        ]
        return tuple(sorted(found, key=lambda one: int(one.id)))

    def create_comment(self, request: Request, body: str, *, unresolved: bool = False) -> Comment:
        """Write a new comment."""
        del unresolved  # GitHub resolves no comment of a conversation
        path = f"{self._path}/issues/{request.number}/comments"
        reply = self._speaker.send("POST", path, {"body": body}, right=_COMMENT)
        return self._learn(reply.document, body)

    def update_comment(
        self, request: Request, comment: Comment, body: str, *, unresolved: bool = False
    ) -> Comment:
        """Replace the text of a comment."""
        del request, unresolved
        path = f"{self._path}/issues/comments/{escape_part(comment.id)}"
        reply = self._speaker.send("PATCH", path, {"body": body}, right=_COMMENT, once=True)
        return self._learn(reply.document, body)

    def delete_comment(self, request: Request, comment: Comment) -> None:
        """Delete a comment."""
        del request
        path = f"{self._path}/issues/comments/{escape_part(comment.id)}"
        ignore_missing(lambda: self._speaker.send("DELETE", path, right=_COMMENT, again=True))

    def set_status(self, commit: str, status: Status, request: Request | None = None) -> None:
        """Show a status beside a commit."""
        del request
        body = {
            "state": status.state,
            "context": status.name,
            "description": cut_description(status.description, _LONGEST_DESCRIPTION),
            **({"target_url": status.url} if status.url else {}),
        }
        path = f"{self._path}/statuses/{escape_part(commit)}"
        self._speaker.send("POST", path, body, right=_STATUS, again=True)

    def list_statuses(self, commit: str, request: Request | None = None) -> tuple[Status, ...]:
        """The newest status of each name beside a commit."""
        del request
        path = f"{self._path}/commits/{escape_part(commit)}/status?per_page=100"
        found = self._speaker.read(path, _READ_STATUS).get("statuses")
        items = found if isinstance(found, list) else []
        return tuple(map(_read_status, items))

    def upload_sarif(self, commit: str, ref: str, sarif: str, tool: str) -> SarifUpload:
        """Upload a SARIF file for a commit of a ref."""
        body = {"commit_sha": commit, "ref": ref, "sarif": sarif, "tool_name": tool}
        path = f"{self._path}/code-scanning/sarifs"
        try:
            reply = self._speaker.send("POST", path, body, right=_SCAN, again=True)
        except Rejected as error:
            error.next_step = error.next_step or _CURES.get(error.status, "")
            raise
        return SarifUpload(get_text(reply.document, "id"))

    def await_sarif(self, upload: SarifUpload) -> SarifUpload:
        """Ask until an upload is processed."""
        path = f"/code-scanning/sarifs/{escape_part(upload.id)}"
        for tried in range(_SARIF_TRIES if upload.id else 0):
            self._speaker.sleep(pause_before(tried))
            document = self._read(path, _SCAN)
            state = get_text(document, "processing_status")
            found = document.get("errors")
            errors = tuple(map(clean, map(str, found))) if isinstance(found, list) else ()
            if state == "failed" or errors:
                return SarifUpload(upload.id, "failed", errors or ("no reason was given",))
            if state == "complete":
                return SarifUpload(upload.id, "complete")
        return upload

    def read_requirements(self, request: Request) -> Requirements:
        """Read the reviews and the state of a pull request now."""
        document = self._await_mergeable(request.number)
        now = _read_request(document)
        approvers, against = self._read_reviews(now)
        reasons = list(against) if against else []
        approved = bool(approvers) and not against
        if not approvers and not against:
            reasons.append("no one other than the author has approved the newest commit")
        mergeable, why = self._judge_mergeable(document, now, approved=approved)
        undiverged, missing = self._judge_undiverged(now)
        reasons += [one for one in (why, missing) if one]
        return Requirements(approved, mergeable, undiverged, tuple(approvers), tuple(reasons))

    def _read(self, path: str, right: str = _READ_REQUEST) -> dict[str, Json]:
        return self._speaker.read(f"{self._path}{path}", right)

    def _is_own(self, comment: Mapping[str, Json]) -> bool:
        if not self._login:
            self._login = self._ask_login()
        return get_text(comment, "user", "login") == self._login

    def _ask_login(self) -> str:
        """The login of the token; that of a job's token if the forge refuses to say it."""
        try:
            return get_text(self._speaker.read("/user"), "login") or _JOB_LOGIN
        except (Unauthorized, Rejected) as error:
            if error.status in {403, 404}:
                return self._job.login or _JOB_LOGIN
            raise

    def _learn(self, document: Json, body: str) -> Comment:
        """The comment of an answer, whose author we are: an app has an account of its own."""
        self._login = get_text(document, "user", "login") or self._login
        return _read_comment(document) if document else Comment("", body)

    def _await_mergeable(self, number: int) -> dict[str, Json]:
        """The pull request, once the forge has computed whether it can be merged."""
        document = self._read(f"/pulls/{number}")
        for tried in range(MERGE_TRIES):
            if document.get("mergeable") is not None or _read_request(document).state != "open":
                break
            self._speaker.sleep(pause_before(tried))
            document = self._read(f"/pulls/{number}")
        return document

    def _read_reviews(self, request: Request) -> tuple[list[str], list[str]]:
        """Who has approved the newest commit, and who requests changes, in words.

        The last decisive review of each person counts, and the author's own does not.
        """
        path = f"{self._path}/pulls/{request.number}/reviews?per_page=100"
        last: dict[str, dict[str, Json]] = {}
        for one in self._speaker.read_pages(path, _READ_REQUEST):
            login = get_text(one, "user", "login")
            decisive = get_text(one, "state") in _DECISIVE
            if decisive and login and login != request.author:
                last[login] = one
        approvers, against = [], []
        for login, one in last.items():
            if one["state"] == "CHANGES_REQUESTED":
                against.append(f"{login} requests changes")
            elif one["state"] == "APPROVED" and get(one, "commit_id") in (None, request.head):
                approvers.append(login)
        return approvers, against

    def _judge_mergeable(
        self, document: Mapping[str, Json], request: Request, *, approved: bool
    ) -> tuple[bool | None, str]:
        if request.state != "open":
            return request.state == "merged", "" if request.state == "merged" else "it is closed"
        state, can = get_text(document, "mergeable_state"), document.get("mergeable")
        if can is None:
            return None, "GitHub has not computed whether it can be merged"
        wrong = _CONFLICT if can is False else _DRAFT if request.draft else _WRONG.get(state, "")
        if state == "blocked" and approved and self._only_own_missing(request.head):
            return None, "GitHub blocks the merge, perhaps only because of our own status"
        return not wrong, wrong

    def _only_own_missing(self, head: str) -> bool:
        missing = [one.name for one in self.list_statuses(head) if one.state != "success"]
        return bool(missing) and all(name.startswith(OWN_STATUSES) for name in missing)

    def _judge_undiverged(self, request: Request) -> tuple[bool | None, str]:
        head = request.merge_commit if request.state == "merged" else request.head
        if not head:
            return None, "GitHub names no merge commit"
        base = escape_part(request.base)
        compared = self._read(f"/compare/{base}...{escape_part(head)}?per_page=1", _READ_CODE)
        behind = compared.get("behind_by")
        if not isinstance(behind, int):
            return None, "GitHub does not say how far its branch is behind"
        return behind == 0, "" if behind == 0 else name_behind(request.base, behind)


def _read_request(document: Mapping[str, Json]) -> Request:
    merged = document.get("merged") is True or bool(document.get("merged_at"))
    state: _State = "merged" if merged else "open" if document.get("state") == "open" else "closed"
    source = get_text(document, "head", "repo", "full_name")
    return Request(
        number=get_number(document, "number"),
        head=get_text(document, "head", "sha"),
        base=get_text(document, "base", "ref"),
        state=state,
        base_commit=get_text(document, "base", "sha"),
        branch=get_text(document, "head", "ref"),
        merge_commit=get_text(document, "merge_commit_sha") if merged else "",
        author=get_text(document, "user", "login"),
        url=get_text(document, "html_url"),
        draft=document.get("draft") is True,
        from_fork=source != get_text(document, "base", "repo", "full_name"),
    )


def _read_comment(document: Json) -> Comment:
    return Comment(
        str(get_number(document, "id")),
        get_text(document, "body"),
        get_text(document, "html_url"),
    )


def _read_status(document: Json) -> Status:
    state = get_text(document, "state")
    known: StatusState = cast("StatusState", state) if state in _STATES else "pending"
    return Status(
        get_text(document, "context"),
        known,
        get_text(document, "description"),
        get_text(document, "target_url"),
    )


_STATES: Final = frozenset({"error", "failure", "pending", "success"})

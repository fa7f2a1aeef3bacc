"""GitLab, by its REST API v4.

The token of a job reads merge requests and their notes, and writes nothing: then a call that
writes raises Unauthorized before anything is sent. A status of GitLab is a state machine: it may
not repeat itself, and it may have to run before it ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, TypeAlias

from reconciler.errors import (
    ReconcilerError,
    Rejected,
    ServiceError,
    Unauthorized,
)
from reconciler.gitops.forge import Comment, Request, Requirements, Status, StatusState
from reconciler.gitops.forges.base import (
    MERGE_TRIES,
    check_account,
    cut_description,
    escape_part,
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
from reconciler.text.counting import count
from reconciler.transport.forge import ForgeToken, Speaker

_NAME: Final = "GitLab"
_LONGEST_DESCRIPTION: Final = 255
_MAKE: Final = (
    "Make a project access token with the scope api and the role {}, and keep it in the masked"
    " variable RECONCILER_GITLAB_TOKEN, which is not protected."
)
_COMMENT: Final = _MAKE.format("Reporter or higher")
_STATUS: Final = _MAKE.format("Developer or higher")
_READ: Final = _MAKE.format("Reporter or higher")
_STATES: Final[Mapping[str, Literal["open", "closed", "merged"]]] = {
    "opened": "open",
    "locked": "open",
    "merged": "merged",
}
_TO_GITLAB: Final[Mapping[StatusState, str]] = {
    "pending": "pending",
    "success": "success",
    "failure": "failed",
    "error": "failed",
}
_FROM_GITLAB: Final[Mapping[str, StatusState]] = {
    "success": "success",
    "skipped": "success",
    "failed": "failure",
    "canceled": "error",
}
_COMPUTING: Final = frozenset({"checking", "unchecked", "preparing", "approvals_syncing"})
_Judged: TypeAlias = tuple[bool | None, str]
# It may be our own job, or our own status, that has not ended.
_PERHAPS_OWN: Final = frozenset({"ci_must_pass", "ci_still_running", "status_checks_must_pass"})


def make_speaker(job: Job, token: ForgeToken, emit: Emit, **others: Any) -> Speaker:
    """The speaker for the instance of a job."""
    return Speaker(_NAME, job.api, token, emit, **others)


def make_forge(job: Job, speaker: Speaker) -> GitLab:
    """The forge of a job; raises ReconcilerError for what is neither an id nor a path."""
    return GitLab(job, speaker)


class GitLab:
    """One project on GitLab."""

    name = _NAME
    longest_comment = 1_000_000

    def __init__(self, job: Job, speaker: Speaker) -> None:
        parts = job.repository.split("/")
        if not all(map(is_segment, parts)) or not (parts[0].isdecimal() or len(parts) > 1):
            raise ReconcilerError(
                "is not a project of GitLab",
                subject=job.repository or "(empty)",
                next_step="Give its id, or its path as group/name.",
            )
        self._job = job
        self._speaker = speaker
        self._path = f"/projects/{escape_part(job.repository)}"
        self._account = 0

    def find_request(self) -> Request | None:
        """The merge request that this job runs for, or None."""
        number = self._job.number
        return _read_request(self._read_raw(number)) if number else None

    def find_merged(self, commit: str) -> tuple[Request, ...]:
        """The merged requests that brought a commit in."""
        path = f"{self._name_commit(commit)}/merge_requests?per_page=100"
        try:
            found = [_read_request(one) for one in self._speaker.read_pages(path, _READ)]
        except Rejected as error:
            if "Commit Not Found" in error.message:
                return ()
            raise
        branch = self._job.branch
        merged = (one for one in found if one.state == "merged")
        return tuple(one for one in merged if not branch or one.base == branch)

    def list_comments(self, request: Request) -> tuple[Comment, ...]:
        """The notes of our own account, oldest first; empty for the token of a job."""
        if self._speaker.token.reads_only:
            return ()
        account = self._ask_account()
        query = "sort=asc&order_by=created_at&per_page=100"
        path = f"{self._name_notes(request)}?{query}"
        found = [
            _read_comment(one, request)
            for one in self._speaker.read_pages(path, _READ)
            if one.get("system") is not True and get_number(one, "author", "id") == account
        ]
        return tuple(sorted(found, key=lambda one: int(one.id)))

    def create_comment(self, request: Request, body: str, *, unresolved: bool = False) -> Comment:
        """Write a new note."""
        del unresolved  # only a note of a discussion can be resolved
        self._check_writes(_COMMENT)
        path = self._name_notes(request)
        document = self._speaker.send("POST", path, {"body": body}, right=_COMMENT).document
        return _read_comment(document, request) if document else Comment("", body)

    def update_comment(
        self, request: Request, comment: Comment, body: str, *, unresolved: bool = False
    ) -> Comment:
        """Replace the text of a note; if GitLab does not let us, write a new one in its place."""
        self._check_writes(_COMMENT)
        path = self._name_note(request, comment)
        try:
            reply = self._speaker.send("PUT", path, {"body": body}, right=_COMMENT, once=True)
        except Unauthorized as error:
            if error.status != 403:
                raise
            made = self.create_comment(request, body, unresolved=unresolved)
            self._delete_if_allowed(request, comment)
            return made
        return _read_comment(reply.document, request) if reply.document else Comment("", body)

    def _delete_if_allowed(self, request: Request, comment: Comment) -> None:
        try:
            self.delete_comment(request, comment)
        except Unauthorized:
            return  # it stays, and the newer one says more

    def delete_comment(self, request: Request, comment: Comment) -> None:
        """Delete a note."""
        self._check_writes(_COMMENT)
        path = self._name_note(request, comment)
        ignore_missing(lambda: self._speaker.send("DELETE", path, right=_COMMENT, again=True))

    def set_status(self, commit: str, status: Status, request: Request | None = None) -> None:
        """Show a status beside a commit, in the pipeline that it already has."""
        self._check_writes(_STATUS)
        state = _TO_GITLAB[status.state]
        body: dict[str, Json] = {
            "state": state,
            "name": status.name,
            "description": cut_description(status.description, _LONGEST_DESCRIPTION),
            **({"target_url": status.url} if status.url else {}),
            **self._place_status(commit, request),
        }
        try:
            self._post_status(commit, body)
        except Rejected as error:
            if not _is_transition(error):
                raise
            if state == "pending":
                return  # it is pending or runs already
            # It must have run before it may end. That it runs already is not an error either.
            self._run_status(commit, body)
            self._post_status(commit, body)

    def _run_status(self, commit: str, body: Mapping[str, Json]) -> None:
        try:
            self._post_status(commit, {**body, "state": "running"})
        except Rejected as error:
            if not _is_transition(error):
                raise

    def _post_status(self, commit: str, body: Mapping[str, Json]) -> None:
        path = f"{self._path}/statuses/{escape_part(commit)}"
        self._speaker.send("POST", path, dict(body), right=_STATUS, again=True)

    def _place_status(self, commit: str, request: Request | None) -> dict[str, Json]:
        """Where a status belongs: without it GitLab may make a second pipeline for it."""
        last = get_number(
            self._speaker.read(self._name_commit(commit), _READ), "last_pipeline", "id"
        )
        if last:
            return {"pipeline_id": last}
        branch = request.branch if request is not None else self._job.branch
        return {"ref": branch} if branch else {}

    def list_statuses(self, commit: str, request: Request | None = None) -> tuple[Status, ...]:
        """The newest status of each name beside a commit; empty if the token may not see them."""
        del request
        if self._speaker.token.reads_only:
            return ()
        path = f"{self._name_commit(commit)}/statuses?per_page=100"
        found = sorted(self._speaker.read_pages(path, _READ), key=lambda one: get_number(one, "id"))
        newest = {status.name: status for status in map(_read_status, found)}
        return tuple(newest.values())

    def read_requirements(self, request: Request) -> Requirements:
        """Read the approvals and the state of a merge request now."""
        document = self._await_merge_status(request.number)
        now = _read_request(document)
        approvers, approved, lacking = self._judge_approved(now)
        mergeable, why = _judge_mergeable(document, now)
        undiverged, missing = self._judge_undiverged(document, now)
        reasons = tuple(one for one in (lacking, why, missing) if one)
        return Requirements(approved, mergeable, undiverged, tuple(approvers), reasons)

    def _check_writes(self, right: str) -> None:
        """Raise Unauthorized for the token of a job; nothing was sent then."""
        if self._speaker.token.reads_only:
            raise Unauthorized(
                f"{self._speaker.token.variable} reads, and may write no comment and no status",
                next_step=right,
            )

    def _name_notes(self, request: Request) -> str:
        return f"{self._path}/merge_requests/{request.number}/notes"

    def _name_note(self, request: Request, comment: Comment) -> str:
        return f"{self._name_notes(request)}/{escape_part(comment.id)}"

    def _name_commit(self, commit: str) -> str:
        return f"{self._path}/repository/commits/{escape_part(commit)}"

    def _read_raw(self, number: int) -> dict[str, Json]:
        query = "include_diverged_commits_count=true"
        return self._speaker.read(f"{self._path}/merge_requests/{number}?{query}", _READ)

    def _ask_account(self) -> int:
        if not self._account:
            document = self._speaker.read("/user", _READ)
            self._account = check_account(get_number(document, "id"), _NAME)
        return self._account

    def _await_merge_status(self, number: int) -> dict[str, Json]:
        """The merge request, once GitLab has computed whether it can be merged."""
        document = self._read_raw(number)
        for tried in range(MERGE_TRIES):
            if get_text(document, "state") != "opened" or _read_word(document) not in _COMPUTING:
                break
            self._speaker.sleep(pause_before(tried))
            document = self._read_raw(number)
        return document

    def _judge_approved(self, request: Request) -> tuple[list[str], bool | None, str]:
        """Who has approved other than the author, whether that is enough, and why not."""
        path = f"{self._path}/merge_requests/{request.number}/approvals"
        try:
            document = self._speaker.read(path, _READ)
        except (Unauthorized, Rejected) as error:
            return [], None, f"the approvals cannot be read: {error.message}"
        found = document.get("approved_by")
        names = [
            get_text(one, "user", "username") for one in (found if isinstance(found, list) else [])
        ]
        approvers = [name for name in names if name and name != request.author]
        left = get_number(document, "approvals_left")
        if not approvers:
            return approvers, False, "no one other than the author has approved it"
        if left > 0 or document.get("approved") is False:
            return approvers, False, f"{count(left, 'more approval')} must be given"
        return approvers, True, ""

    def _judge_undiverged(self, document: Mapping[str, Json], request: Request) -> _Judged:
        behind = document.get("diverged_commits_count")
        if request.state == "merged":
            behind = self._count_since(request)
        if not isinstance(behind, int):
            return None, "GitLab does not say how far its branch is behind"
        return behind == 0, "" if behind == 0 else name_behind(request.base, behind)

    def _count_since(self, request: Request) -> int | None:
        """The commits of the target branch since the merge; None if they cannot be read."""
        query = f"from={escape_part(request.merge_commit)}&to={escape_part(request.base)}"
        try:
            compared = self._speaker.read(f"{self._path}/repository/compare?{query}", _READ)
        except ServiceError:
            return None
        commits = compared.get("commits")
        return len(commits) if isinstance(commits, list) else None


def _is_transition(error: Rejected) -> bool:
    return error.status == 400 and "Cannot transition status" in error.message


def _read_word(document: Mapping[str, Json]) -> str:
    """The state of the merge; before GitLab 15.6 in another property and in other words."""
    old = get_text(document, "merge_status")
    detailed = get_text(document, "detailed_merge_status")
    return detailed or ("mergeable" if old == "can_be_merged" else old)


def _judge_mergeable(document: Mapping[str, Json], request: Request) -> _Judged:
    if request.state != "open":
        return request.state == "merged", "" if request.state == "merged" else "it is closed"
    word = _read_word(document)
    if word in _COMPUTING or not word:
        return None, "GitLab has not computed whether it can be merged"
    if word in _PERHAPS_OWN:
        return None, f"GitLab says {word}, perhaps only because of our own job or status"
    if word == "mergeable":
        return True, ""
    return False, _WORDS.get(word, f"GitLab says {word}")


_WORDS: Final = {
    "broken_status": "it conflicts with its target branch",
    "cannot_be_merged": "it conflicts with its target branch",
    "conflict": "it conflicts with its target branch",
    "discussions_not_resolved": "discussions are not resolved",
    "draft_status": "it is a draft",
    "need_rebase": "its branch must be rebased on its target branch",
    "not_approved": "approvals are missing",
}


def _read_request(document: Mapping[str, Json]) -> Request:
    state = _STATES.get(get_text(document, "state"), "closed")
    head = get_text(document, "sha")
    made = get_text(document, "merge_commit_sha") or get_text(document, "squash_commit_sha")
    return Request(
        number=get_number(document, "iid"),
        head=head,
        base=get_text(document, "target_branch"),
        state=state,
        base_commit=get_text(document, "diff_refs", "start_sha"),
        branch=get_text(document, "source_branch"),
        # A merge by fast-forward makes no commit of its own.
        merge_commit=(made or head) if state == "merged" else "",
        author=get_text(document, "author", "username"),
        url=get_text(document, "web_url"),
        draft=document.get("draft") is True,
        from_fork=document.get("source_project_id") != document.get("target_project_id"),
        sign="!",
    )


def _read_comment(document: Json, request: Request) -> Comment:
    number = get_number(document, "id")
    url = f"{request.url}#note_{number}" if request.url else ""
    return Comment(str(number), get_text(document, "body"), url)


def _read_status(document: Mapping[str, Json]) -> Status:
    return Status(
        get_text(document, "name"),
        _FROM_GITLAB.get(get_text(document, "status"), "pending"),
        get_text(document, "description"),
        get_text(document, "target_url"),
    )

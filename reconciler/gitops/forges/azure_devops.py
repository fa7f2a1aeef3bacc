"""Azure Repos, by the REST API 7.1 of Azure DevOps.

A comment begins a thread. It is not documented whether an invisible line of Markdown stays in it,
so the marker is in the thread's properties too. An active thread may block the merge.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal, TypeAlias

from reconciler.errors import ReconcilerError, Rejected, ServiceError, Unauthorized
from reconciler.gitops.forge import Comment, Request, Requirements, Status, StatusState
from reconciler.gitops.forges.base import (
    MERGE_TRIES,
    OWN_STATUSES,
    check_account,
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

_NAME: Final = "Azure Repos"
_VERSION: Final = "api-version=7.1"
_PREVIEW: Final = "api-version=7.1-preview.1"
_PAGE: Final = 100
# The newest requests come first, and a merge is looked for right after it.
_MOST_MERGED: Final = 1_000
_MARKER: Final = "reconciler.marker"
_LONGEST_DESCRIPTION: Final = 255
_RIGHT: Final = (
    "In the security of the repository, allow {} to"
    ' "PROJECT Build Service ({})", or to "Project Collection Build Service ({})" if jobs are not'
    " limited to the current project."
)
_STATES: Final[Mapping[str, Literal["open", "closed", "merged"]]] = {
    "active": "open",
    "completed": "merged",
}
_TO_AZURE: Final[Mapping[StatusState, str]] = {
    "pending": "pending",
    "success": "succeeded",
    "failure": "failed",
    "error": "error",
}
_FROM_AZURE: Final[Mapping[str, StatusState]] = {
    "succeeded": "success",
    "notApplicable": "success",
    "failed": "failure",
    "error": "error",
}
_Judged: TypeAlias = tuple[bool | None, str]


def make_speaker(job: Job, token: ForgeToken, emit: Emit, **others: Any) -> Speaker:
    """The speaker for the collection of a job."""
    return Speaker(_NAME, job.api, token, emit, **others)


def make_forge(job: Job, speaker: Speaker) -> AzureRepos:
    """The forge of a job; raises ReconcilerError for a project or a repository without an id."""
    return AzureRepos(job, speaker)


class AzureRepos:
    """One repository on Azure Repos."""

    name = _NAME
    longest_comment = 150_000

    def __init__(self, job: Job, speaker: Speaker) -> None:
        for what, value in (("project", job.project), ("repository", job.repository)):
            # A name may hold blanks; it is quoted, but it is not one of the parts "." and "..".
            if not (is_segment(value.replace(" ", "_")) or value.replace(" ", "").isalnum()):
                raise ReconcilerError(
                    f"is not a {what} of Azure Repos",
                    subject=value or "(empty)",
                    next_step=f"Give the id or the name of the {what}: --repository PROJECT/NAME.",
                )
        self._job = job
        self._speaker = speaker
        self._project = f"/{escape_part(job.project)}"
        self._path = f"{self._project}/_apis/git/repositories/{escape_part(job.repository)}"
        self._account = ""
        organization = job.api.rstrip("/").rpartition("/")[2]
        write = "Contribute to pull requests"
        self._may_read, self._may_comment, self._may_set = (
            _RIGHT.format(right, organization, organization)
            for right in ("Read", write, f"Contribute and {write}")
        )

    def find_request(self) -> Request | None:
        """The pull request that this job runs for, or None."""
        number = self._job.number
        return self._read_request(self._read_raw(number)) if number else None

    def find_merged(self, commit: str) -> tuple[Request, ...]:
        """The completed pull requests whose merge made a commit."""
        for document in self._list_completed():
            request = self._read_request(document)
            if request.merge_commit == commit:
                return (request,)
        return ()

    def _list_completed(self) -> Iterator[dict[str, Json]]:
        """The completed pull requests into the branch of the job, the newest first."""
        criteria = "searchCriteria.status=completed"
        if self._job.branch:
            branch = escape_part(f"refs/heads/{self._job.branch}")
            criteria += f"&searchCriteria.targetRefName={branch}"
        for skip in range(0, _MOST_MERGED, _PAGE):
            query = f"{criteria}&$top={_PAGE}&$skip={skip}"
            target = f"{self._path}/pullRequests?{query}&{_VERSION}"
            page = list(self._speaker.read_pages(target, self._may_read))
            yield from page
            if len(page) < _PAGE:
                return

    def list_comments(self, request: Request) -> tuple[Comment, ...]:
        """The first comments of threads that our own account has begun, oldest first."""
        account = self._ask_account()
        found = []
        for thread in self._speaker.read_pages(self._name_threads(request), self._may_read):
            comments = get(thread, "comments")
            first = comments[0] if isinstance(comments, list) and comments else None
            own = get_text(first, "author", "id") == account
            gone = get(thread, "isDeleted") is True or get(first, "isDeleted") is True
            if own and not gone and get_text(first, "commentType") != "system":
                found.append((get_number(thread, "id"), _read_comment(thread, first, request)))
        return tuple(comment for _, comment in sorted(found, key=lambda one: one[0]))

    def create_comment(self, request: Request, body: str, *, unresolved: bool = False) -> Comment:
        """Write a new thread with one comment."""
        thread = {
            "comments": [{"parentCommentId": 0, "content": body, "commentType": "text"}],
            **_describe_thread(body, unresolved=unresolved),
        }
        target = self._name_threads(request)
        document = self._speaker.send("POST", target, thread, right=self._may_comment).document
        comments = get(document, "comments")
        first = comments[0] if isinstance(comments, list) and comments else None
        return _read_comment(document, first, request) if document else Comment("", body)

    def update_comment(
        self, request: Request, comment: Comment, body: str, *, unresolved: bool = False
    ) -> Comment:
        """Replace the text of a comment, and open or close its thread."""
        thread = f"{self._name_thread(request, comment)}?{_VERSION}"
        reply = self._speaker.send(
            "PATCH",
            self._name_comment(request, comment),
            {"content": body},
            right=self._may_comment,
            once=True,
        )
        described = _describe_thread(body, unresolved=unresolved)
        self._speaker.send("PATCH", thread, described, right=self._may_comment, again=True)
        return Comment(comment.id if reply.document else "", body, comment.url)

    def delete_comment(self, request: Request, comment: Comment) -> None:
        """Delete the comment of a thread, and with it the thread."""
        target = self._name_comment(request, comment)
        ignore_missing(
            lambda: self._speaker.send("DELETE", target, right=self._may_comment, again=True)
        )

    def set_status(self, commit: str, status: Status, request: Request | None = None) -> None:
        """Show a status beside a commit, or beside the push of a pull request that brought it."""
        genre, _, name = status.name.rpartition("/")
        body: dict[str, Json] = {
            "state": _TO_AZURE[status.state],
            "description": cut_description(status.description, _LONGEST_DESCRIPTION),
            "context": {"genre": genre, "name": name},
            **({"targetUrl": status.url} if status.url else {}),
        }
        if request is not None:
            iteration = self._find_iteration(request, commit)
            body |= {"iterationId": iteration} if iteration else {}
        target = self._name_statuses(commit, request)
        self._speaker.send("POST", target, body, right=self._may_set, again=True)

    def list_statuses(self, commit: str, request: Request | None = None) -> tuple[Status, ...]:
        """The newest status of each name beside a commit, or beside the push that brought it."""
        found = list(self._speaker.read_pages(self._name_statuses(commit, request), self._may_read))
        iteration = self._find_iteration(request, commit) if request is not None else 0
        newest: dict[str, Status] = {}
        for one in sorted(found, key=lambda one: get_number(one, "id")):
            # A status without a push belongs to each of them.
            if not iteration or get_number(one, "iterationId") in {0, iteration}:
                status = _read_status(one)
                newest[status.name] = status
        return tuple(newest.values())

    def read_requirements(self, request: Request) -> Requirements:
        """Read the votes, the policies and the state of a pull request now."""
        document = self._await_merge_status(request.number)
        now = self._read_request(document)
        approvers, against = _read_votes(document, now.author)
        approved = bool(approvers) and not against
        if not approvers and not against:
            against = ["no one other than the author has approved it"]
        mergeable, why = self._judge_mergeable(document, now)
        undiverged, missing = self._judge_undiverged(now)
        reasons = [*against, *(one for one in (why, missing) if one)]
        return Requirements(approved, mergeable, undiverged, tuple(approvers), tuple(reasons))

    def _read_request(self, document: Mapping[str, Json]) -> Request:
        state = _STATES.get(get_text(document, "status"), "closed")
        number = get_number(document, "pullRequestId")
        merged = get_text(document, "lastMergeCommit", "commitId")
        return Request(
            number=number,
            head=get_text(document, "lastMergeSourceCommit", "commitId"),
            base=get_text(document, "targetRefName").removeprefix("refs/heads/"),
            state=state,
            base_commit=get_text(document, "lastMergeTargetCommit", "commitId"),
            branch=get_text(document, "sourceRefName").removeprefix("refs/heads/"),
            merge_commit=merged if state == "merged" else "",
            author=get_text(document, "createdBy", "uniqueName"),
            url=self._name_page(document, number),
            draft=document.get("isDraft") is True,
            from_fork=bool(document.get("forkSource")),
            sign="!",
        )

    def _name_page(self, document: Mapping[str, Json], number: int) -> str:
        """The address of a pull request for people: an answer holds only that of the API."""
        project = get_text(document, "repository", "project", "name") or self._job.project
        repository = get_text(document, "repository", "name") or self._job.repository
        place = f"{self._job.api.rstrip('/')}/{escape_part(project)}"
        return f"{place}/_git/{escape_part(repository)}/pullrequest/{number}"

    def _name_threads(self, request: Request) -> str:
        return f"{self._path}/pullRequests/{request.number}/threads?{_VERSION}"

    def _name_thread(self, request: Request, comment: Comment) -> str:
        thread = escape_part(comment.id.partition("/")[0])
        return f"{self._path}/pullRequests/{request.number}/threads/{thread}"

    def _name_comment(self, request: Request, comment: Comment) -> str:
        number = escape_part(comment.id.partition("/")[2])
        return f"{self._name_thread(request, comment)}/comments/{number}?{_VERSION}"

    def _name_statuses(self, commit: str, request: Request | None) -> str:
        if request is not None:
            return f"{self._path}/pullRequests/{request.number}/statuses?{_VERSION}"
        return f"{self._path}/commits/{escape_part(commit)}/statuses?{_VERSION}"

    def _read_raw(self, number: int) -> dict[str, Json]:
        return self._speaker.read(f"{self._path}/pullRequests/{number}?{_VERSION}", self._may_read)

    def _ask_account(self) -> str:
        """The id of the account of the token."""
        if not self._account:
            document = self._speaker.read(f"/_apis/connectionData?{_PREVIEW}")
            self._account = check_account(get_text(document, "authenticatedUser", "id"), _NAME)
        return self._account

    def _find_iteration(self, request: Request, commit: str) -> int:
        """The number of the push that brought a commit; 0 for a commit of no push."""
        target = f"{self._path}/pullRequests/{request.number}/iterations?{_VERSION}"
        found = [
            get_number(one, "id")
            for one in self._speaker.read_pages(target, self._may_read)
            if get_text(one, "sourceRefCommit", "commitId") == commit
        ]
        return max(found, default=0)

    def _await_merge_status(self, number: int) -> dict[str, Json]:
        """The pull request, once the forge has computed whether it can be merged."""
        document = self._read_raw(number)
        for tried in range(MERGE_TRIES):
            waiting = get_text(document, "mergeStatus") in {"queued", "notSet", ""}
            if not waiting or get_text(document, "status") != "active":
                break
            self._speaker.sleep(pause_before(tried))
            document = self._read_raw(number)
        return document

    def _judge_mergeable(self, document: Mapping[str, Json], request: Request) -> _Judged:
        if request.state != "open":
            return request.state == "merged", "" if request.state == "merged" else "it is abandoned"
        status = get_text(document, "mergeStatus")
        if status in {"queued", "notSet", ""}:
            return None, "Azure Repos has not computed whether it can be merged"
        if status != "succeeded":
            return False, _MERGE_WORDS.get(status, "the trial merge has failed")
        if request.draft:
            return False, "it is a draft"
        return self._judge_policies(document, request)

    def _judge_policies(self, document: Mapping[str, Json], request: Request) -> _Judged:
        """Whether each blocking policy is satisfied, apart from our own statuses and build."""
        project = get_text(document, "repository", "project", "id") or self._job.project
        artifact = escape_part(f"vstfs:///CodeReview/CodeReviewId/{project}/{request.number}")
        target = f"{self._project}/_apis/policy/evaluations?artifactId={artifact}&{_PREVIEW}"
        try:
            found = list(self._speaker.read_pages(target, self._may_read))
        except (Unauthorized, Rejected) as error:
            return None, f"the policies cannot be read: {error.message}"
        missing = [_name_policy(one) for one in found if self._is_missing(one)]
        return not missing, f"policies are not satisfied: {', '.join(missing)}" if missing else ""

    def _is_missing(self, evaluation: Mapping[str, Json]) -> bool:
        configuration = get(evaluation, "configuration")
        blocks = (
            get(configuration, "isEnabled") is True and get(configuration, "isBlocking") is True
        )
        settings = get(configuration, "settings")
        whole = f"{get_text(settings, 'statusGenre')}/{get_text(settings, 'statusName')}"
        build = get(evaluation, "context", "buildId")
        ours = whole.lstrip("/").startswith(OWN_STATUSES) or (
            self._job.pipeline != "" and str(build) == self._job.pipeline
        )
        satisfied = get_text(evaluation, "status") in {"approved", "notApplicable"}
        return blocks and not ours and not satisfied

    def _judge_undiverged(self, request: Request) -> _Judged:
        head = request.merge_commit if request.state == "merged" else request.head
        base, target = escape_part(request.base), escape_part(head)
        query = (
            f"$top=1&baseVersion={base}&baseVersionType=branch"
            f"&targetVersion={target}&targetVersionType=commit"
        )
        try:
            compared = self._speaker.read(
                f"{self._path}/diffs/commits?{query}&{_VERSION}", self._may_read
            )
        except ServiceError as error:
            return None, f"the branches cannot be compared: {error.message}"
        behind = get(compared, "behindCount")
        if not isinstance(behind, int):
            return None, "Azure Repos does not say how far its branch is behind"
        return behind == 0, "" if behind == 0 else name_behind(request.base, behind)


_MERGE_WORDS: Final = {
    "conflicts": "it conflicts with its target branch",
    "rejectedByPolicy": "a policy rejects the merge",
}


def _name_policy(evaluation: Mapping[str, Json]) -> str:
    settings = get(evaluation, "configuration", "settings")
    status = get_text(settings, "statusName")
    name = get_text(evaluation, "configuration", "type", "displayName") or "a policy"
    return f"{name} ({status})" if status else name


def _read_votes(document: Mapping[str, Json], author: str) -> tuple[list[str], list[str]]:
    """Who has approved, and who is against it or must still vote, in words."""
    found = document.get("reviewers")
    approvers, against = [], []
    for one in found if isinstance(found, list) else []:
        name, vote = get_text(one, "uniqueName"), get_number(one, "vote")
        if name == author or not name:
            continue
        if vote < 0:
            against.append(f"{name} {'waits for the author' if vote > -10 else 'rejects it'}")
        elif vote >= 5:
            approvers.append(name)
        elif get(one, "isRequired") is True:
            against.append(f"{name} is required and has not approved it")
    return approvers, against


def _read_comment(thread: Json, comment: Json, request: Request) -> Comment:
    """A comment, with the marker of its thread if Azure has removed the invisible line."""
    number, body = get_number(thread, "id"), get_text(comment, "content")
    marker = get_text(thread, "properties", _MARKER, "$value")
    if marker and not body.lstrip().startswith("<!--"):
        body = f"{marker}\n{body}"
    url = f"{request.url}?discussionId={number}" if request.url else ""
    return Comment(f"{number}/{get_number(comment, 'id')}", body, url)


def _describe_thread(body: str, *, unresolved: bool) -> dict[str, Json]:
    first = body.partition("\n")[0]
    properties = {_MARKER: first} if first.startswith("<!--") else {}
    return {"status": "active" if unresolved else "closed", "properties": properties}


def _read_status(document: Mapping[str, Json]) -> Status:
    genre, name = get_text(document, "context", "genre"), get_text(document, "context", "name")
    return Status(
        f"{genre}/{name}" if genre else name,
        _FROM_AZURE.get(get_text(document, "state"), "pending"),
        get_text(document, "description"),
        get_text(document, "targetUrl"),
    )

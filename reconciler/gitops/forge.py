"""The protocol between the commands of pull requests and the three forges, and its values.

A pull request of GitHub and Azure Repos and a merge request of GitLab are both a `Request`.
"""

from __future__ import annotations

from typing import Literal, Protocol, TypeAlias, runtime_checkable

from reconciler.model.values import dataclass

StatusState: TypeAlias = Literal["pending", "success", "failure", "error"]


@dataclass(frozen=True, slots=True)
class Request:
    """A pull request.

    `number` is the one that people see: the `iid` on GitLab. `head` is the commit of the source
    branch. `base` is the name of the target branch, and `base_commit` its commit when the request
    was read; empty if the forge does not say it. `merge_commit` is the commit that the merge made;
    empty before. `author` is the login or the address of who opened it. `from_fork` says that the
    source branch is in another repository.
    """

    number: int
    head: str
    base: str
    state: Literal["open", "closed", "merged"] = "open"
    base_commit: str = ""
    branch: str = ""
    merge_commit: str = ""
    author: str = ""
    url: str = ""
    draft: bool = False
    from_fork: bool = False
    sign: str = "#"

    @property
    def name(self) -> str:
        """The request for people, such as `#7`, or `!7` where `#7` is an issue or a work item."""
        return f"{self.sign}{self.number}"


@dataclass(frozen=True, slots=True)
class Comment:
    """A comment that this program's account has written on a request.

    `id` is the forge's, as text: on Azure Repos the thread and the comment. It is empty for a
    comment of a dry run, which was not written. Lower positions in a list are older.
    """

    id: str
    body: str
    url: str = ""


@dataclass(frozen=True, slots=True)
class Status:
    """What a forge shows beside a commit. `name` holds the environment, so each has its own."""

    name: str
    state: StatusState
    description: str = ""
    url: str = ""


@dataclass(frozen=True, slots=True)
class Requirements:
    """What a forge says about merging a request; None where it does not say it.

    `approved`: it has the reviews that the repository demands, of somebody other than its author,
    and no review demands changes. `mergeable`: nothing that the repository demands is missing,
    apart from our own statuses. `undiverged`: the target branch holds no commit that the source
    branch lacks. `reasons` say in words why one of them is
    not True.
    """

    approved: bool | None = None
    mergeable: bool | None = None
    undiverged: bool | None = None
    approved_by: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SarifUpload:
    """A file that code scanning has taken. `errors` say why its processing has failed."""

    id: str
    state: Literal["pending", "complete", "failed"] = "pending"
    errors: tuple[str, ...] = ()


@runtime_checkable
class ScansCode(Protocol):
    """A forge with code scanning, which shows the results of SARIF as alerts."""

    def upload_sarif(self, commit: str, ref: str, sarif: str, tool: str) -> SarifUpload:
        """Upload a SARIF file, in gzip and Base64, for a commit of a ref.

        It replaces the results of the same tool and category, so that it may be sent again.
        """
        ...

    def await_sarif(self, upload: SarifUpload) -> SarifUpload:
        """Ask what became of an upload until it is processed, for two minutes at most."""
        ...


class Forge(Protocol):
    """One repository on a forge. Each method raises ServiceError with the service's own text.

    Unauthorized names the right that is missing. A call that may have created something raises
    ReplyLost when its answer is lost: list before it is sent again. In a dry run a call that
    writes does nothing.
    """

    @property
    def name(self) -> str:
        """The name of the forge for people, such as "GitHub"."""
        ...

    @property
    def longest_comment(self) -> int:
        """How many characters a comment may have."""
        ...

    def find_request(self) -> Request | None:
        """The request that this job runs for, or None."""
        ...

    def find_merged(self, commit: str) -> tuple[Request, ...]:
        """The merged requests that brought a commit of the target branch in."""
        ...

    def list_comments(self, request: Request) -> tuple[Comment, ...]:
        """Every comment of our own account, of all pages, oldest first."""
        ...

    def create_comment(self, request: Request, body: str, *, unresolved: bool = False) -> Comment:
        """Write a new comment. An `unresolved` one may block a merge on Azure Repos."""
        ...

    def update_comment(
        self, request: Request, comment: Comment, body: str, *, unresolved: bool = False
    ) -> Comment:
        """Replace the text of a comment; raises Rejected with status 404 if it was deleted.

        It is sent once, because a newer text may be there later: ReplyLost means that it may have
        been done, and Throttled that it was not.

        The answer has another id if the forge let the comment not be changed, and a new one was
        written in its place.
        """
        ...

    def delete_comment(self, request: Request, comment: Comment) -> None:
        """Delete a comment; one that is gone already is not an error."""
        ...

    def set_status(self, commit: str, status: Status, request: Request | None = None) -> None:
        """Show a status beside a commit; the same status again is not an error."""
        ...

    def list_statuses(self, commit: str, request: Request | None = None) -> tuple[Status, ...]:
        """The newest status of each name beside a commit."""
        ...

    def read_requirements(self, request: Request) -> Requirements:
        """Read the reviews and the state of a request now."""
        ...

"""The records of a forge: pull requests, comments, reviews, statuses, pipelines and accounts.

`state` keeps them, and the dialects show them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Literal

Json = Any
# A review with one of these states is an approval; the second one is Azure's.
APPROVING: Final = ("approved", "approved-with-suggestions")
DECISIVE: Final = (*APPROVING, "changes-requested", "rejected", "dismissed")
REVIEW_STATES: Final = (*DECISIVE, "commented")


@dataclass(frozen=True)
class Account:
    """Who calls. A `job` is the token of a running job, a `bot` an account of a program."""

    login: str
    kind: Literal["person", "bot", "job"] = "person"


@dataclass
class PullRequest:
    """A pull request. `heads` are the commits of its pushes, oldest first.

    `fork` is the full name of the repository that holds the source branch; empty for this one.
    `tested` are the commits of base and head for which a read has asked whether they merge.
    `base_commit` is the base's commit while the request is open, and after a merge the one
    before it.
    `brought` are the commits that the merge added to the base. Times are in seconds since 1970.
    """

    number: int
    branch: str
    base: str
    title: str
    author: str
    heads: list[str]
    body: str = ""
    state: Literal["open", "closed", "merged"] = "open"
    draft: bool = False
    fork: str = ""
    method: str = ""
    tested: str = ""
    base_commit: str = ""
    merge_commit: str = ""
    brought: list[str] = field(default_factory=list)
    opened: float = 0.0
    closed: float = 0.0

    @property
    def head(self) -> str:
        """Return the newest commit of the source branch."""
        return self.heads[-1]


@dataclass
class ForgeComment:
    """A comment. `thread` and the `position` in it are Azure's; they are 0 elsewhere."""

    id: int
    request: int
    author: str
    body: str
    created: float
    updated: float
    system: bool = False
    thread: int = 0
    position: int = 0
    deleted: bool = False


@dataclass
class Thread:
    """A thread of Azure Repos; `properties` are typed values."""

    id: int
    request: int
    status: str
    properties: dict[str, Json]


@dataclass
class Review:
    """A review of one person, one of `REVIEW_STATES`."""

    request: int
    author: str
    state: str
    commit: str
    at: float


@dataclass
class CommitStatus:
    """A status beside a commit. `state` is the forge's own word.

    `request` and `iteration` are Azure's, `pipeline` and `ref` GitLab's.
    """

    id: int
    commit: str
    name: str
    state: str
    author: str
    created: float
    genre: str = ""
    description: str | None = None
    url: str | None = None
    request: int = 0
    iteration: int = 0
    pipeline: int = 0
    ref: str = ""


@dataclass
class Pipeline:
    """A pipeline of GitLab; `external` is one that a status without a pipeline made."""

    id: int
    commit: str
    ref: str
    external: bool = False


@dataclass
class CheckRun:
    """A check run, or a run of a workflow with its artifacts (GitHub)."""

    id: int
    name: str
    commit: str
    fields: dict[str, Json]


@dataclass
class SarifUpload:
    """An upload to code scanning (GitHub). Each of its `runs` has a tool, a category and results.

    `errors` are what its processing finds, and `asked` counts the questions about its state.
    """

    id: str
    commit: str
    ref: str
    author: str
    at: float
    runs: list[dict[str, Json]]
    errors: list[str]
    asked: int = 0


@dataclass
class Rules:
    """What the repository demands before a merge."""

    approvals_required: int = 0
    required_statuses: list[str] = field(default_factory=list)
    up_to_date: bool = False
    resolved_comments: bool = False

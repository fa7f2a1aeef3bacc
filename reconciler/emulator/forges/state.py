"""What a forge holds: pull requests, comments, reviews, statuses and pipelines.

The three dialects read and change it. Only the server's single thread may use it. The whole state
can be saved in a file after each change, so that a killed forge goes on where it was. Faults and
recorded requests are not saved: they belong to one run of a test.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from reconciler.emulator.forges.git_repository import BareRepository
from reconciler.emulator.forges.records import (
    APPROVING,
    DECISIVE,
    REVIEW_STATES,
    CheckRun,
    CommitStatus,
    ForgeComment,
    Pipeline,
    PullRequest,
    Review,
    Rules,
    SarifUpload,
    Thread,
)

Json = Any
ForgeName = Literal["github", "azure-devops", "gitlab"]
Method = Literal["merge", "squash", "rebase"]
METHODS: Final = ("merge", "squash", "rebase")
OWNER: Final = "acme"
NAME: Final = "models"
FULL_NAME: Final = f"{OWNER}/{NAME}"
_BRANCHES: Final = "refs/heads/"


@dataclass
class _Saved:
    requests: list[PullRequest] = field(default_factory=list)
    comments: list[ForgeComment] = field(default_factory=list)
    threads: list[Thread] = field(default_factory=list)
    reviews: list[Review] = field(default_factory=list)
    statuses: list[CommitStatus] = field(default_factory=list)
    pipelines: list[Pipeline] = field(default_factory=list)
    checks: list[CheckRun] = field(default_factory=list)
    sarifs: list[SarifUpload] = field(default_factory=list)
    rules: Rules = field(default_factory=Rules)
    accounts: list[str] = field(default_factory=list)
    last_id: int = 1000


_TYPES: Final = {
    "requests": PullRequest,
    "comments": ForgeComment,
    "threads": Thread,
    "reviews": Review,
    "statuses": CommitStatus,
    "pipelines": Pipeline,
    "checks": CheckRun,
    "sarifs": SarifUpload,
}


class ForgeState(_Saved):
    """All that a forge holds. A method raises LookupError for what does not exist.

    It raises ValueError if the forge does not do what is asked. `data` is the file of the state.
    """

    def __init__(
        self,
        forge: ForgeName,
        repository: BareRepository,
        clock: Callable[[], float],
        data: Path | None = None,
    ) -> None:
        super().__init__()
        self.forge, self.git, self.clock, self._data = forge, repository, clock, data
        self._kept = ""
        self._merges: dict[tuple[str, str], str] = {}
        if data is not None and data.exists():
            self._load(json.loads(data.read_text(encoding="utf-8")))
        self.save()  # a file that cannot be written is found before the first call

    def _load(self, saved: dict[str, Json]) -> None:
        for name, kind in _TYPES.items():
            setattr(self, name, [kind(**one) for one in saved.get(name, [])])
        self.rules = Rules(**saved["rules"])
        self.accounts, self.last_id = saved["accounts"], saved["last_id"]

    def save(self) -> None:
        """Write the file if something has changed; a killed process leaves a whole file."""
        if self._data is None:
            return
        text = json.dumps(asdict(self))
        if text != self._kept:
            part = self._data.with_name(f"{self._data.name}.part")
            part.write_text(text, encoding="utf-8")
            part.replace(self._data)
            self._kept = text

    def new_id(self) -> int:
        """Return a number that nothing else has."""
        self.last_id += 1
        return self.last_id

    def number_of(self, login: str) -> int:
        """Return the number of an account; a new account gets one."""
        if login not in self.accounts:
            self.accounts.append(login)
        return self.accounts.index(login) + 1

    # Pull requests

    def find_request(self, number: int) -> PullRequest:
        """Return a pull request."""
        found = next((one for one in self.requests if one.number == number), None)
        if found is None:
            raise LookupError(f"pull request {number} does not exist")
        return found

    def open_request(self, branch: str, base: str, title: str, author: str) -> PullRequest:
        """Open a pull request of a branch that exists; one of both branches may be open."""
        heads = self.git.list_branches()
        for one in (branch, base):
            if one not in heads:
                raise LookupError(f"branch {one} does not exist")
        if branch == base:
            raise ValueError(f"{branch} is the source and the target")
        if self.find_open(branch, base) is not None:
            raise ValueError(f"a pull request of {branch} into {base} is open")
        number = len(self.requests) + 1
        made = PullRequest(number, branch, base, title, author, [heads[branch]])
        made.opened = self.clock()
        self.requests.append(made)
        self.synchronize()
        return made

    def find_open(self, branch: str, base: str) -> PullRequest | None:
        """Return the open pull request of two branches."""
        same = (one for one in self.requests if (one.branch, one.base) == (branch, base))
        return next((one for one in same if one.state == "open"), None)

    def synchronize(self) -> None:
        """Read the branches that open pull requests name, and renew what follows from them."""
        branches = self.git.list_branches()
        for request in self.requests:
            if request.state == "open":
                self._follow(request, branches)
        self.save()

    def _follow(self, request: PullRequest, branches: dict[str, str]) -> None:
        head = branches.get(request.branch, request.head)
        base = branches.get(request.base, request.base_commit)
        if (head, base) == (request.head, request.base_commit):
            return
        if head != request.head:
            pushes = self.git.list_pushes(request.branch)
            after = pushes[pushes.index(request.head) + 1 :] if request.head in pushes else []
            request.heads += after if after[-1:] == [head] else [head]
            self._note_push(request)
        request.base_commit = base
        if not any(one.commit == head for one in self.pipelines):
            self.pipelines.append(Pipeline(self.new_id(), head, request.branch))
        merged, folder = self.test_merge(request), self._name_references(request)
        places = {f"{folder}/head": head, f"{folder}/merge": merged}
        moved = {
            name: commit
            for name, commit in places.items()
            if commit and self.git.find_last(name)[0] != commit
        }
        if moved:
            self.git.point(moved, _describe_merge(request))

    def _name_references(self, request: PullRequest) -> str:
        return f"refs/{'merge-requests' if self.forge == 'gitlab' else 'pull'}/{request.number}"

    def _note_push(self, request: PullRequest) -> None:
        """Write the comment that the forge itself writes about a push; GitHub writes none."""
        if self.forge == "github":
            return
        thread = self.add_thread(request, "unknown", {}) if self.forge == "azure-devops" else None
        made = self.add_comment(request, request.author, f"added {request.head[:8]}", thread)
        made.system = True

    def test_merge(self, request: PullRequest) -> str:
        """Return a commit that merges head into base; empty if they conflict."""
        both = (request.base_commit, request.head)
        if both not in self._merges:
            self._merges[both] = self._find_merge(request) or self._make_merge(*both)
        return self._merges[both]

    def _find_merge(self, request: PullRequest) -> str:
        """The commit that the forge made before it was started again."""
        commit, reason = self.git.find_last(f"{self._name_references(request)}/merge")
        return commit if reason == _describe_merge(request) else ""

    def _make_merge(self, base: str, head: str) -> str:
        tree = self.git.merge_trees(base, head)
        return self.git.commit(tree, (base, head), f"Merge {head} into {base}") if tree else ""

    def is_tested(self, request: PullRequest) -> bool:
        """Return whether the merge was tested; the first question after a push starts the test."""
        both = f"{request.base_commit} {request.head}"
        known, request.tested = request.tested == both, both
        return known or request.state != "open"

    def merge(self, request: PullRequest, method: Method, *, delete_branch: bool = False) -> None:
        """Merge a pull request by git in one of three ways."""
        if request.state != "open" or request.draft:
            raise ValueError(f"pull request {request.number} is {request.state}, or a draft")
        if method not in METHODS:
            raise ValueError(f"the method of a merge must be one of {', '.join(METHODS)}")
        base, head = request.base_commit, request.head
        if not self.git.list_commits(base, head):
            raise ValueError(
                f"pull request {request.number} has no commits that {request.base} lacks"
            )
        tree = self.git.merge_trees(base, head)
        if not tree:
            raise ValueError(f"pull request {request.number} conflicts with {request.base}")
        if method == "rebase":
            commit = self.git.rebase(base, head)
        else:
            parents = (base, head) if method == "merge" else (base,)
            commit = self.git.commit(tree, parents, self._write_message(request, method))
        self.git.move(_BRANCHES + request.base, commit, base)
        if method == "rebase" and self.forge == "gitlab":  # it moves the source branch first
            self.git.move(_BRANCHES + request.branch, commit)
            request.heads.append(commit)
        request.state, request.method, request.closed = "merged", method, self.clock()
        request.merge_commit, request.brought = commit, self.git.list_commits(base, commit)
        if delete_branch:
            self.git.delete_branch(request.branch)
        self.synchronize()

    def _write_message(self, request: PullRequest, method: Method) -> str:
        number, title = request.number, request.title
        source = f"{request.fork.partition('/')[0] or OWNER}/{request.branch}"
        texts = {
            ("github", "merge"): f"Merge pull request #{number} from {source}\n\n{title}",
            ("github", "squash"): f"{title} (#{number})",
            ("gitlab", "merge"): f"Merge branch '{request.branch}' into '{request.base}'\n\n{title}"
            f"\n\nSee merge request {FULL_NAME}!{number}",
            ("gitlab", "squash"): title,
        }
        return texts.get((self.forge, method), f"Merged PR {number}: {title}")

    def close(self, request: PullRequest) -> None:
        """Close a pull request without a merge."""
        request.state, request.closed = "closed", self.clock()

    def list_own_commits(self, request: PullRequest) -> list[str]:
        """Return the commits of a pull request that its base lacks, or lacked before the merge."""
        return self.git.list_commits(request.base_commit, request.head)

    def find_by_commit(self, commit: str) -> list[PullRequest]:
        """Return the merged pull requests that brought a commit in; if none did, the open ones."""
        holding = [
            one
            for one in self.requests
            if one.state != "closed" and commit in {*one.brought, *self.list_own_commits(one)}
        ]
        merged = [one for one in holding if one.state == "merged"]
        brought = [one for one in merged if commit in one.brought]
        return brought or merged or holding

    # Comments

    def add_comment(
        self, request: PullRequest, author: str, body: str, thread: Thread | None = None
    ) -> ForgeComment:
        """Write a comment; on Azure Repos without a thread into a new one, which is active."""
        if thread is None and self.forge == "azure-devops":
            thread = self.add_thread(request, "active", {})
        now, place, position = self.clock(), 0, 0
        if thread is not None:
            place = thread.id
            position = 1 + sum(one.thread == place for one in self.comments)
        made = ForgeComment(self.new_id(), request.number, author, body, now, now)
        made.thread, made.position = place, position
        self.comments.append(made)
        return made

    def add_thread(self, request: PullRequest, status: str, properties: dict[str, Json]) -> Thread:
        """Write a thread without comments."""
        made = Thread(self.new_id(), request.number, status, properties)
        self.threads.append(made)
        return made

    def find_comment(self, number: int) -> ForgeComment:
        """Return a comment that was not deleted."""
        found = next((one for one in self.comments if one.id == number), None)
        if found is None or found.deleted:
            raise LookupError(f"comment {number} does not exist")
        return found

    def list_comments(self, request: PullRequest) -> list[ForgeComment]:
        """Return the comments of a pull request, oldest first, also those that were deleted."""
        return [one for one in self.comments if one.request == request.number]

    def edit_comment(self, comment: ForgeComment, body: str) -> None:
        """Replace the text of a comment."""
        comment.body, comment.updated = body, self.clock()

    def delete_comment(self, comment: ForgeComment) -> None:
        """Delete a comment."""
        comment.deleted, comment.body, comment.updated = True, "", self.clock()

    # Reviews, statuses, and what a merge needs

    def add_review(self, request: PullRequest, author: str, state: str) -> Review:
        """Write a review of the newest commit."""
        if state not in REVIEW_STATES:
            raise ValueError(f"the state of a review must be one of {', '.join(REVIEW_STATES)}")
        made = Review(request.number, author, state, request.head, self.clock())
        self.reviews.append(made)
        return made

    def find_decisions(self, request: PullRequest) -> dict[str, str]:
        """Return the last decisive review of each person but the author."""
        return {
            one.author: one.state
            for one in self.reviews
            if one.request == request.number
            and one.state in DECISIVE
            and one.author != request.author
        }

    def find_approvers(self, request: PullRequest) -> list[str]:
        """Return who has approved, in the order of their first reviews."""
        found = self.find_decisions(request)
        return [author for author, state in found.items() if state in APPROVING]

    def is_approved(self, request: PullRequest) -> bool:
        """Return whether a pull request has the reviews that the repository demands."""
        enough = len(self.find_approvers(request)) >= self.rules.approvals_required
        against = {"changes-requested", "rejected"}
        return enough and not against & set(self.find_decisions(request).values())

    def list_statuses(self, commit: str) -> list[CommitStatus]:
        """Return the newest status of each name; a name has one spelling in any case on GitHub."""
        newest: dict[tuple[str, ...], CommitStatus] = {}
        for one in self.statuses:
            if one.commit == commit:
                name = one.name.casefold() if self.forge == "github" else one.name
                newest[one.genre, name, str(one.pipeline)] = one
        return list(newest.values())

    def list_missing_statuses(self, request: PullRequest) -> list[str]:
        """Return the demanded statuses that are not a success."""
        good = {
            one.name
            for one in self.list_statuses(request.head)
            if one.state in {"success", "succeeded"}
        }
        return [name for name in self.rules.required_statuses if name not in good]

    def count_behind(self, request: PullRequest) -> int:
        """Return how many commits the base has that the head lacks."""
        return len(self.git.list_commits(request.head, request.base_commit))

    def has_open_threads(self, request: PullRequest) -> bool:
        """Return whether a thread of people is active (Azure Repos)."""
        return any(
            one.status in {"active", "pending"}
            for one in self.threads
            if one.request == request.number
        )


def _describe_merge(request: PullRequest) -> str:
    return f"merge {request.head} into {request.base_commit}"

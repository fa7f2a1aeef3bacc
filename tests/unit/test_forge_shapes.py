"""No answer of a forge breaks an adapter, whatever is in one of its places."""

import json
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from reconciler.errors import ReconcilerError
from reconciler.gitops.comments import Sticky, find_sticky, put_sticky
from reconciler.gitops.forge import Comment, Forge, Request, Status
from reconciler.gitops.forges import azure_devops, github, gitlab
from reconciler.gitops.jobs import FORGES, ForgeName, Job
from reconciler.transport import Reply
from reconciler.transport.forge import ForgeToken, Speaker
from tests.hostile import find_places

REQUEST = Request(7, "a" * 40, "main", author="alice")
STICKY = Sticky("census", "prod", "1", "2026-11-23T03:17:00Z", "sha256:1", "text")
WHOLE: dict[str, Any] = {
    "id": 1,
    "iid": 7,
    "number": 7,
    "pullRequestId": 7,
    "body": "text",
    "content": "text",
    "system": False,
    "user": {"login": "bob", "id": 5},
    "login": "bob",
    "author": {"id": 5, "username": "bob"},
    "authenticatedUser": {"id": 5},
    "state": "APPROVED",
    "status": "active",
    "commit_id": "a" * 40,
    "mergeable": True,
    "mergeable_state": "blocked",
    "mergeStatus": "succeeded",
    "detailed_merge_status": "mergeable",
    "head": {"sha": "a" * 40, "ref": "change", "repo": {"full_name": "acme/models"}},
    "base": {"sha": "a" * 40, "ref": "main", "repo": {"full_name": "acme/models"}},
    "merge_commit_sha": "b" * 40,
    "merged_at": "2026-11-23T03:17:00Z",
    "sha": "a" * 40,
    "statuses": [{"context": "reconciler/plan/x", "state": "pending"}],
    "comments": [{"id": 1, "content": "text", "author": {"id": 5}, "commentType": "text"}],
    "properties": {"reconciler.marker": {"$value": "<!-- x -->"}},
    "isDeleted": False,
    "context": {"genre": "reconciler", "name": "x", "buildId": 9},
    "iterationId": 1,
    "sourceRefCommit": {"commitId": "a" * 40},
    "lastMergeCommit": {"commitId": "a" * 40},
    "targetRefName": "refs/heads/main",
    "reviewers": [{"uniqueName": "bob", "vote": 10, "isRequired": True}],
    "configuration": {"isEnabled": True, "isBlocking": True, "settings": {"statusName": "x"}},
    "approved": True,
    "approvals_left": 0,
    "approved_by": [{"user": {"username": "bob"}}],
    "last_pipeline": {"id": 3},
    "behind_by": 0,
    "behindCount": 0,
    "diverged_commits_count": 0,
    "commits": [],
}
WORST: list[Any] = [None, True, -1, 2**70, 0.5, "", "x", "\ud800", [], {}, [[]], [5], {"a": []}]
MAKERS: dict[str, Callable[[Job, Speaker], Forge]] = {
    "github": github.make_forge,
    "azure-devops": azure_devops.make_forge,
    "gitlab": gitlab.make_forge,
}
CALLS: list[Callable[[Forge], object]] = [
    lambda forge: forge.find_request(),
    lambda forge: forge.find_merged("a" * 40),
    lambda forge: forge.list_comments(REQUEST),
    lambda forge: forge.create_comment(REQUEST, "text"),
    lambda forge: forge.update_comment(REQUEST, Comment("1/1", ""), "text"),
    lambda forge: forge.delete_comment(REQUEST, Comment("1/1", "")),
    lambda forge: forge.set_status("a" * 40, Status("reconciler/plan/x", "success"), REQUEST),
    lambda forge: forge.list_statuses("a" * 40, REQUEST),
    lambda forge: forge.read_requirements(REQUEST),
    lambda forge: find_sticky(forge, REQUEST, "census", "prod"),
    lambda forge: put_sticky(forge, REQUEST, STICKY, sleep=lambda _: None),
]


class Told(Speaker):
    """A speaker that gets the same document for each call, and sends nothing."""

    document: Any = None

    def send(self, method: str, target: str, body: Any = None, **options: Any) -> Reply:
        return Reply(200, {}, self.document)


def bend() -> Iterator[Any]:
    """A whole answer with a bad value in each of its places; each also as a list."""
    whole = json.dumps(WHOLE)  # read again for each place, which takes a tenth of a deep copy
    for number, _ in enumerate(find_places(WHOLE)):
        for worst in WORST:
            document = json.loads(whole)
            holder, key = list(find_places(document))[number]
            holder[key] = worst
            yield {**document, "value": [document]}
    for worst in WORST:
        yield worst
        yield [worst]


@pytest.mark.parametrize("name", FORGES)
def test_an_answer_is_a_value_or_an_error_of_ours(name: str) -> None:
    repository = "models" if name == "azure-devops" else "acme/models"
    job = Job(cast("ForgeName", name), "http://127.0.0.1:9", repository, project="m", number=7)
    token = ForgeToken("token-0123456789", "TOKEN")
    speaker = Told(name, job.api, token, lambda _: None, sleep=lambda _: None)
    for document in bend():
        speaker.document = document
        for call in CALLS:
            try:
                call(MAKERS[name](job, speaker))
            except ReconcilerError:
                continue
            except Exception as error:
                raise AssertionError(document) from error

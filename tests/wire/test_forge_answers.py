"""What the answers of each forge mean, where a forge says what the emulated ones do not."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import pytest

from reconciler.errors import Unauthorized, Unavailable
from reconciler.gitops.forge import Forge, Request, Status
from reconciler.gitops.forges import open_forge
from reconciler.gitops.jobs import ForgeName, Job
from reconciler.secrets.redaction import Redaction
from reconciler.transport.forge import ForgeToken
from reconciler.transport.timeouts import Timeouts
from tests.scripted import Answer, Call, Scripted, run_scripted

HEAD = "a" * 40
REQUEST = Request(7, HEAD, "main", author="alice")
TIMEOUTS = Timeouts(retries=0, connect_s=60, read_s=60)
Bodies = Mapping[str, Any]


def ignore(_: object) -> None:
    """Nobody watches the events."""


@contextmanager
def ask(name: str, bodies: Bodies, **job: Any) -> Iterator[tuple[Forge, Scripted]]:
    """A forge that answers a call by the end of its path, and 404 without an entry."""

    def script(call: Call, number: int) -> Answer:
        path = f"{call.method} {call.target.partition('?')[0]}"
        found = [one for end, one in bodies.items() if path.endswith(end)]
        if not found:
            return Answer(404, {"message": "Not Found"})
        body = found[0](call) if callable(found[0]) else found[0]
        return body if isinstance(body, Answer) else Answer(200, body)

    repository = "models" if name == "azure-devops" else "acme/models"
    with run_scripted(script) as server:
        made = Job(cast("ForgeName", name), server.url, repository, project="models", **job)
        token = ForgeToken("token-0123456789", "TOKEN")
        yield (
            open_forge(made, token, Redaction(), ignore, timeouts=TIMEOUTS, sleep=lambda _: None),
            server,
        )


def comment(number: int, login: str, kind: str = "Bot") -> dict[str, Any]:
    return {"id": number, "body": f"by {login}", "user": {"login": login, "type": kind}}


COMMENTS = [
    comment(3, "other-app[bot]"),
    comment(1, "github-actions[bot]"),
    comment(2, "alice", "User"),
]
REFUSED = Answer(403, {"message": "Resource not accessible by integration"})


@pytest.mark.parametrize(
    ("user", "login", "expected"),
    [
        (REFUSED, "", "by github-actions[bot]"),
        (REFUSED, "other-app[bot]", "by other-app[bot]"),
        ({"login": "alice"}, "", "by alice"),
    ],
)
def test_our_own_account_on_github(user: Any, login: str, expected: str) -> None:
    with ask("github", {"/user": user, "/comments": COMMENTS}, login=login) as (forge, _):
        assert [one.body for one in forge.list_comments(REQUEST)] == [expected]


def test_an_app_of_github_learns_its_account_from_what_it_writes() -> None:
    made = comment(4, "other-app[bot]")
    bodies = {"/user": REFUSED, "POST /repos/acme/models/issues/7/comments": Answer(201, made)}
    with ask("github", {**bodies, "/comments": COMMENTS}) as (forge, _):
        forge.create_comment(REQUEST, "text")
        assert [one.id for one in forge.list_comments(REQUEST)] == ["3"]


def test_a_wrong_token_is_not_taken_for_the_one_of_a_job() -> None:
    bodies = {"/user": Answer(401, {"message": "Bad credentials"}), "/comments": COMMENTS}
    with ask("github", bodies) as (forge, _), pytest.raises(Unauthorized):
        forge.list_comments(REQUEST)


def review(login: str, state: str, commit: str | None = HEAD) -> dict[str, Any]:
    return {"user": {"login": login}, "state": state, "commit_id": commit}


PULL = {
    "number": 7,
    "state": "open",
    "mergeable": True,
    "mergeable_state": "clean",
    "head": {"sha": HEAD, "ref": "change", "repo": {"full_name": "acme/models"}},
    "base": {"sha": HEAD, "ref": "main", "repo": {"full_name": "acme/models"}},
    "user": {"login": "alice"},
}


@pytest.mark.parametrize(
    ("reviews", "approved", "by"),
    [
        ([], False, ()),
        ([review("bob", "APPROVED")], True, ("bob",)),
        ([review("alice", "APPROVED")], False, ()),
        ([review("bob", "APPROVED"), review("bob", "COMMENTED")], True, ("bob",)),
        ([review("bob", "APPROVED"), review("bob", "DISMISSED")], False, ()),
        ([review("bob", "APPROVED"), review("bob", "CHANGES_REQUESTED")], False, ()),
        ([review("bob", "CHANGES_REQUESTED"), review("bob", "APPROVED")], True, ("bob",)),
        ([review("bob", "APPROVED"), review("carol", "CHANGES_REQUESTED")], False, ("bob",)),
        ([review("bob", "APPROVED", "b" * 40)], False, ()),
        ([review("bob", "APPROVED", None)], True, ("bob",)),
        ([{"user": None, "state": "APPROVED", "commit_id": HEAD}], False, ()),
        ([{"state": "PENDING"}], False, ()),
    ],
)
def test_the_last_decisive_review_of_each_person_counts(
    reviews: Any, approved: bool, by: tuple[str, ...]
) -> None:
    bodies = {"/pulls/7": PULL, "/reviews": reviews, f"...{HEAD}": {"behind_by": 0}}
    with ask("github", bodies) as (forge, _):
        read = forge.read_requirements(REQUEST)
    assert (read.approved, read.approved_by) == (approved, by)
    assert approved or read.reasons


OWN_PENDING = {"statuses": [{"context": "reconciler/plan/census", "state": "pending"}]}
FOREIGN_PENDING = {"statuses": [{"context": "tests", "state": "pending"}]}


@pytest.mark.parametrize(
    ("state", "statuses", "mergeable"),
    [
        ("clean", {}, True),
        ("unstable", {}, True),
        ("has_hooks", {}, True),
        ("dirty", {}, False),
        ("behind", {}, False),
        ("draft", {}, False),
        ("blocked", {}, False),
        ("blocked", OWN_PENDING, None),
        ("blocked", FOREIGN_PENDING, False),
    ],
)
def test_what_keeps_a_request_of_github_from_the_merge(
    state: str, statuses: Any, mergeable: bool | None
) -> None:
    bodies = {
        "/pulls/7": {**PULL, "mergeable_state": state},
        "/reviews": [review("bob", "APPROVED")],
        "/status": statuses,
        f"...{HEAD}": {"behind_by": 0},
    }
    with ask("github", bodies) as (forge, _):
        read = forge.read_requirements(REQUEST)
    assert read.mergeable is mergeable
    assert mergeable or read.reasons


MARKER = "<!-- reconciler plan project=census at=2026-11-23T03:17:00Z -->"


def thread(number: int, content: str, who: str = "me", **more: Any) -> dict[str, Any]:
    first = {"id": 1, "content": content, "author": {"id": who}, "commentType": "text"}
    return {"id": number, "comments": [first], "properties": {}, **more}


def test_a_marker_that_azure_removes_from_the_text_is_found_in_its_thread() -> None:
    kept = {"reconciler.marker": {"$type": "System.String", "$value": MARKER}}
    threads = [
        thread(9, "text", properties=kept),
        thread(8, f"{MARKER}\ntext"),
        thread(7, "of another", "somebody"),
        thread(6, "deleted", isDeleted=True),
        {"id": 5, "comments": []},
        {"id": 4},
    ]
    bodies = {
        "/connectionData": {"authenticatedUser": {"id": "me"}},
        "/threads": {"value": threads},
    }
    with ask("azure-devops", bodies) as (forge, server):
        found = forge.list_comments(REQUEST)
    assert [(one.id, one.body) for one in found] == [
        ("8/1", f"{MARKER}\ntext"),
        ("9/1", f"{MARKER}\ntext"),
    ]
    assert all("api-version=7.1" in one.target for one in server.calls)


@pytest.mark.parametrize(
    ("name", "bodies"),
    [
        ("azure-devops", {"/connectionData": {}, "/threads": {"value": [thread(1, "x", "")]}}),
        ("gitlab", {"/user": {}, "/notes": [{"id": 1, "body": "x", "author": {}}]}),
    ],
)
def test_without_an_account_no_comment_is_our_own(name: str, bodies: Bodies) -> None:
    with ask(name, bodies) as (forge, _), pytest.raises(Unavailable, match="whose token"):
        forge.list_comments(REQUEST)


@pytest.mark.parametrize("unresolved", [False, True])
def test_a_thread_is_active_only_if_somebody_must_act(unresolved: bool) -> None:
    made = thread(9, f"{MARKER}\ntext")
    with ask("azure-devops", {"/threads": made, "/threads/9": made, "/comments/1": {"id": 1}}) as (
        forge,
        server,
    ):
        written = forge.create_comment(REQUEST, f"{MARKER}\ntext", unresolved=unresolved)
        forge.update_comment(REQUEST, written, f"{MARKER}\nnext", unresolved=unresolved)
    created, changed, thread_changed = (json.loads(one.body) for one in server.calls)
    expected = "active" if unresolved else "closed"
    assert (created["status"], thread_changed["status"]) == (expected, expected)
    assert created["properties"] == {"reconciler.marker": MARKER}
    assert changed == {"content": f"{MARKER}\nnext"}


AZURE_PULL = {
    "pullRequestId": 7,
    "status": "active",
    "mergeStatus": "succeeded",
    "repository": {"project": {"id": "p-1"}, "webUrl": "https://dev.azure.com/acme/_git/models"},
    "lastMergeSourceCommit": {"commitId": HEAD},
    "targetRefName": "refs/heads/main",
    "createdBy": {"uniqueName": "alice"},
    "reviewers": [{"uniqueName": "bob", "vote": 10}],
}


def policy(status: str, enabled: bool = True, blocking: bool = True, **more: Any) -> dict[str, Any]:
    settings = more.pop("settings", {})
    kind = {"displayName": "Build"}
    configuration = {
        "isEnabled": enabled,
        "isBlocking": blocking,
        "type": kind,
        "settings": settings,
    }
    return {"status": status, "configuration": configuration, **more}


OWN_STATUS = {"statusGenre": "reconciler/plan", "statusName": "census"}


@pytest.mark.parametrize(
    ("evaluation", "mergeable"),
    [
        (policy("approved"), True),
        (policy("notApplicable"), True),
        (policy("queued"), False),
        (policy("rejected"), False),
        (policy("rejected", enabled=False), True),
        (policy("rejected", blocking=False), True),
        (policy("running", context={"buildId": 99}), True),
        (policy("running", context={"buildId": 98}), False),
        (policy("queued", settings=OWN_STATUS), True),
        (policy("queued", settings={"statusGenre": "tests", "statusName": "all"}), False),
        ({"status": "queued"}, True),
    ],
)
def test_each_blocking_policy_of_azure_must_be_satisfied_but_our_own(
    evaluation: Any, mergeable: bool
) -> None:
    bodies = {
        "/pullRequests/7": AZURE_PULL,
        "/evaluations": {"value": [evaluation]},
        "/diffs/commits": {"behindCount": 0},
    }
    with ask("azure-devops", bodies, pipeline="99") as (forge, server):
        read = forge.read_requirements(REQUEST)
    assert read.mergeable is mergeable
    assert (
        mergeable
        or read.reasons == ("policies are not satisfied: Build",)
        or "Build (" in (read.reasons[0])
    )
    asked = next(one.target for one in server.calls if "evaluations" in one.target)
    assert "vstfs%3A%2F%2F%2FCodeReview%2FCodeReviewId%2Fp-1%2F7&" in asked


def vote(name: str, number: int, required: bool = False) -> dict[str, Any]:
    return {"uniqueName": name, "vote": number, "isRequired": required}


@pytest.mark.parametrize(
    ("votes", "approved", "by"),
    [
        ([], False, ()),
        ([vote("bob", 10)], True, ("bob",)),
        ([vote("bob", 5)], True, ("bob",)),
        ([vote("bob", 0)], False, ()),
        ([vote("alice", 10)], False, ()),
        ([vote("bob", 10), vote("carol", -5)], False, ("bob",)),
        ([vote("bob", 10), vote("carol", -10)], False, ("bob",)),
        ([vote("bob", 10), vote("carol", 0)], True, ("bob",)),
        ([vote("bob", 10), vote("carol", 0, required=True)], False, ("bob",)),
        (None, False, ()),
    ],
)
def test_the_votes_of_azure(votes: Any, approved: bool, by: tuple[str, ...]) -> None:
    bodies = {
        "/pullRequests/7": {**AZURE_PULL, "reviewers": votes},
        "/evaluations": {"value": []},
    }
    with ask("azure-devops", bodies) as (forge, _):
        read = forge.read_requirements(REQUEST)
    assert (read.approved, read.approved_by) == (approved, by)
    assert read.undiverged is None  # the branches could not be compared


MERGE = {
    "iid": 7,
    "state": "opened",
    "sha": HEAD,
    "target_branch": "main",
    "author": {"username": "alice"},
    "diverged_commits_count": 0,
}
APPROVALS = {"approved": True, "approvals_left": 0, "approved_by": [{"user": {"username": "bob"}}]}


@pytest.mark.parametrize(
    ("words", "mergeable"),
    [
        ({"detailed_merge_status": "mergeable"}, True),
        ({"merge_status": "can_be_merged"}, True),
        ({"merge_status": "cannot_be_merged"}, False),
        ({"merge_status": "unchecked"}, None),
        ({"detailed_merge_status": "checking", "merge_status": "can_be_merged"}, None),
        ({"detailed_merge_status": "conflict"}, False),
        ({"detailed_merge_status": "discussions_not_resolved"}, False),
        ({"detailed_merge_status": "ci_must_pass"}, None),
        ({"detailed_merge_status": "ci_still_running"}, None),
        ({"detailed_merge_status": "a_new_word"}, False),
        ({}, None),
    ],
)
def test_the_words_of_gitlab_about_a_merge(words: Any, mergeable: bool | None) -> None:
    with ask("gitlab", {"/merge_requests/7": {**MERGE, **words}, "/approvals": APPROVALS}) as (
        forge,
        _,
    ):
        read = forge.read_requirements(REQUEST)
    assert read.mergeable is mergeable
    assert mergeable or read.reasons


@pytest.mark.parametrize(
    ("approvals", "approved"),
    [
        (APPROVALS, True),
        ({**APPROVALS, "approved": False}, False),
        ({**APPROVALS, "approvals_left": 1}, False),
        ({**APPROVALS, "approved_by": []}, False),
        ({**APPROVALS, "approved_by": [{"user": {"username": "alice"}}]}, False),
        (Answer(403, {"message": "403 Forbidden"}), None),
        (Answer(404, {"error": "404 Not Found"}), None),
    ],
)
def test_the_approvals_of_gitlab(approvals: Any, approved: bool | None) -> None:
    with ask("gitlab", {"/merge_requests/7": MERGE, "/approvals": approvals}) as (forge, _):
        read = forge.read_requirements(REQUEST)
    assert read.approved is approved
    assert approved or read.reasons


def test_a_status_of_gitlab_is_placed_in_the_pipeline_of_its_commit() -> None:
    bodies = {
        f"/commits/{HEAD}": {"last_pipeline": {"id": 77}},
        f"/statuses/{HEAD}": Answer(201, {}),
    }
    with ask("gitlab", bodies) as (forge, server):
        forge.set_status(HEAD, Status("reconciler/plan/census", "error"), REQUEST)
    assert json.loads(server.calls[-1].body) == {
        "state": "failed",
        "name": "reconciler/plan/census",
        "description": "",
        "pipeline_id": 77,
    }


def test_the_notes_that_gitlab_itself_writes_do_not_count() -> None:
    notes = [
        {"id": 1, "body": "added 1 commit", "system": True, "author": {"id": 5}},
        {"id": 2, "body": "text", "system": False, "author": {"id": 5}},
        {"id": 3, "body": "text", "system": False, "author": {"id": 6}},
    ]
    with ask("gitlab", {"/user": {"id": 5}, "/notes": notes}) as (forge, server):
        assert [one.id for one in forge.list_comments(REQUEST)] == ["2"]
    assert "sort=asc" in server.calls[-1].target

"""The emulated forges against the published facts: each call, each refusal, each fault."""

import base64
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import requests

from reconciler.emulator.forges import azure_devops
from reconciler.emulator.forges import github as dialect
from reconciler.emulator.forges.git_repository import BareRepository
from reconciler.emulator.forges.state import ForgeName
from tests.contract.forge_world import AZURE_VERSION, World, git, make_world

pytestmark = pytest.mark.contract
Json = Any
FORGES: tuple[ForgeName, ...] = ("github", "azure-devops", "gitlab")
MOST = {"github": 65_536, "azure-devops": 150_000, "gitlab": 1_000_000}
TOO_LONG = {"github": 422, "azure-devops": 400, "gitlab": 400}


@pytest.fixture(params=FORGES)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    with make_world(request.param, tmp_path) as made:
        yield made


@pytest.fixture
def github(tmp_path: Path) -> Iterator[World]:
    with make_world("github", tmp_path) as made:
        yield made


@pytest.fixture
def azure(tmp_path: Path) -> Iterator[World]:
    with make_world("azure-devops", tmp_path) as made:
        yield made


@pytest.fixture
def gitlab(tmp_path: Path) -> Iterator[World]:
    with make_world("gitlab", tmp_path) as made:
        yield made


# What holds for all forges


def test_a_comment_comes_back_as_it_was_sent(world: World) -> None:
    world.open_request()
    body = 'a\r\nb\tc  \n\n`|` <img onerror=x> @team ž 🚀 \u2028 "\\" é é\n'
    made = world.comment(1, body)
    assert made.status_code == {"github": 201, "azure-devops": 200, "gitlab": 201}[world.forge]
    assert world.bodies() == [body]
    assert world.update(1, made.json(), body * 2).status_code == 200
    assert world.bodies() == [body * 2]
    sent = [one for one in world.control("GET", "recorded") if one["method"] == "POST"]
    assert body in list(find_texts(json.loads(sent[0]["body"])))


def find_texts(value: Json) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for one in (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    ):
        yield from find_texts(one)


def test_a_comment_has_a_longest_length(world: World) -> None:
    world.open_request()
    most = MOST[world.forge]
    made = world.comment(1, "é" * most)
    assert made.status_code < 300
    for refused in (
        world.comment(1, "é" * (most + 1)),
        world.update(1, made.json(), "é" * (most + 1)),
    ):
        assert refused.status_code == TOO_LONG[world.forge]
        assert str(most) in refused.text
    assert world.bodies() == ["é" * most]


@pytest.mark.parametrize("method", ["merge", "squash", "rebase"])
def test_a_merge_is_made_by_git(world: World, method: str) -> None:
    world.push("change", "one.yaml")
    world.push("change", "two.yaml")
    world.push("main", "other.yaml")
    before = git(world.clone, "rev-parse", "main")
    world.control("POST", "requests", {"branch": "change"})
    shown = world.control("POST", "requests/1/merge", {"method": method})
    after = world.pull()
    assert shown["merge_commit"] == after != before
    assert {"one.yaml", "two.yaml", "other.yaml"} <= {one.name for one in world.clone.iterdir()}
    parents = git(world.clone, "rev-list", "--parents", "-n1", after).split()[1:]
    brought = git(world.clone, "rev-list", f"{before}..{after}").split()
    assert (len(parents), len(brought)) == {"merge": (2, 3), "squash": (1, 1), "rebase": (1, 2)}[
        method
    ]
    assert shown["state"] == "merged"
    assert find_numbers(world, after) == [1]
    assert find_numbers(world, before) == []


def find_numbers(world: World, commit: str) -> list[int]:
    """The merged pull requests that brought a commit in, as a client finds them."""
    if world.forge == "azure-devops":
        query = {
            "searchCriteria.status": "completed",
            "searchCriteria.targetRefName": "refs/heads/main",
        }
        listed = world.call("GET", "/pullrequests", **query).json()["value"]
        return [
            one["pullRequestId"] for one in listed if one["lastMergeCommit"]["commitId"] == commit
        ]
    path = {
        "github": f"/commits/{commit}/pulls",
        "gitlab": f"/repository/commits/{commit}/merge_requests",
    }
    name = {"github": "number", "gitlab": "iid"}[world.forge]
    return [one[name] for one in world.call("GET", path[world.forge]).json()]


def test_a_conflict_is_not_merged(world: World) -> None:
    world.push("change", "same.yaml", "one\n", base="main")
    world.push("main", "same.yaml", "two\n")
    world.control("POST", "requests", {"branch": "change"})
    shown = world.read(1)
    assert (
        {
            "github": "mergeable_state",
            "azure-devops": "mergeStatus",
            "gitlab": "detailed_merge_status",
        },
        {"github": "dirty", "azure-devops": "conflicts", "gitlab": "conflict"},
    )[1][world.forge] in shown.values()
    with pytest.raises(ValueError, match="conflicts with main"):
        world.control("POST", "requests/1/merge", {"method": "merge"})


def test_a_push_renews_the_head_and_the_merge_result(world: World) -> None:
    first = world.open_request()["head"]
    second = world.push("change", "more.yaml")
    third = world.push("change", "even-more.yaml")
    shown = world.control("GET", "requests/1")
    assert shown["heads"] == [first, second, third]
    folder = "merge-requests" if world.forge == "gitlab" else "pull"
    git(world.clone, "fetch", "-q", "origin", f"refs/{folder}/1/merge")
    assert git(world.clone, "rev-parse", "FETCH_HEAD^1", "FETCH_HEAD^2").split() == [
        git(world.clone, "rev-parse", "main"),
        third,
    ]


def test_whether_it_can_be_merged_is_known_after_the_first_question(world: World) -> None:
    world.open_request()
    path, name = {
        "github": ("/pulls/1", "mergeable"),
        "azure-devops": ("/pullrequests/1", "mergeStatus"),
        "gitlab": ("/merge_requests/1", "detailed_merge_status"),
    }[world.forge]
    unknown = {"github": None, "azure-devops": "queued", "gitlab": "checking"}[world.forge]
    good = {"github": True, "azure-devops": "succeeded", "gitlab": "mergeable"}[world.forge]
    assert [world.call("GET", path).json()[name] for _ in range(2)] == [unknown, good]
    world.push("change", "more.yaml")
    assert [world.call("GET", path).json()[name] for _ in range(2)] == [unknown, good]
    world.fault("mergeable-unknown:2")
    assert [world.call("GET", path).json()[name] for _ in range(3)] == [unknown, unknown, good]


def test_what_does_not_exist_is_refused(world: World) -> None:
    world.open_request()
    assert world.comment(9, "x").status_code == 404
    assert world.call("GET", world.comments(9)).status_code == 404
    assert world.call("GET", "/no/such/path").status_code == 404
    made = world.comment(1, "x").json()
    world.control("DELETE", f"comments/{world.control('GET', 'requests/1')['comments'][0]['id']}")
    assert world.update(1, made, "y").status_code == 404


def test_the_token_is_not_in_the_record(world: World) -> None:
    world.open_request()
    world.comment(1, "x")
    world.call("GET", world.comments(1), token="a-marker-secret")
    recorded = world.control("GET", "recorded")
    assert len(recorded) == 2
    assert "forge-token" not in str(recorded)
    assert "a-marker-secret" not in str(recorded)
    assert recorded[0]["body"]
    assert world.control("DELETE", "recorded") == recorded
    assert world.control("GET", "recorded") == []


def test_a_wrong_token_is_refused(world: World) -> None:
    world.open_request()
    answer = world.call("GET", world.comments(1), token="wrong")
    assert answer.status_code == {"github": 401, "azure-devops": 203, "gitlab": 401}[world.forge]
    bare = requests.get(answer.url, timeout=120, allow_redirects=False)
    assert bare.status_code == {"github": 401, "azure-devops": 302, "gitlab": 401}[world.forge]
    if world.forge == "azure-devops":
        assert "Sign In" in answer.text
        assert bare.headers["Location"] == "/_signin"


def test_a_forge_that_was_killed_goes_on(world: World, tmp_path: Path) -> None:
    data = tmp_path / "state.json"
    with make_world(world.forge, tmp_path / "own", data=data) as first:
        first.open_request()
        made = first.comment(1, "kept").json()
        first.control("POST", "requests/1/reviews", {"author": "bob", "state": "approved"})
        before = first.control("GET", "requests/1")
        kept = data.read_text()
    data.write_text(kept)  # as it was before an orderly end could change it
    with make_world(world.forge, tmp_path / "own", data=data) as second:
        assert second.control("GET", "requests/1") == before
        assert second.update(1, made, "newer").status_code == 200
        assert second.comment(1, "another").json()["id"] > made["id"]
        assert second.bodies() == ["newer", "another"]


def test_a_merge_that_was_tested_before_a_restart_is_not_made_again(
    tmp_path: Path,
) -> None:
    data = tmp_path / "state.json"
    with make_world("github", tmp_path / "own", data=data) as first:
        first.push("other", base="main")
        first.control("POST", "requests", {"branch": "other"})
        before = first.read(1)
    refused = mock.patch.object(BareRepository, "merge_trees", side_effect=AssertionError)
    with make_world("github", tmp_path / "own", data=data) as second, refused:
        assert second.read(1)["merge_commit_sha"] == before["merge_commit_sha"]
        assert second.read(1)["mergeable"] is True


@pytest.mark.parametrize(
    ("method", "path", "body", "reason"),
    [
        ("POST", "requests", {}, "branch must be a text"),
        ("POST", "requests", {"branch": ["x"]}, "branch must be a text"),
        ("POST", "requests", {"branch": "lost"}, "branch lost does not exist"),
        ("POST", "requests", {"branch": "change"}, "a pull request of change into main is open"),
        ("POST", "requests", {"branch": "main"}, "main is the source and the target"),
        ("POST", "requests", ["change"], "the body must be JSON"),
        ("POST", "requests/1/merge", {"method": "octopus"}, "must be one of merge, squash, rebase"),
        (
            "POST",
            "requests/1/reviews",
            {"author": "b", "state": "maybe"},
            "must be one of approved",
        ),
        ("POST", "requests/9/merge", {}, "pull request 9 does not exist"),
        ("POST", "faults", 7, "the body must be JSON"),
        ("POST", "rules", {"approvals_required": "many"}, "approvals_required is not a rule"),
        ("POST", "rules", {"votes": 1}, "votes is not a rule"),
        ("PATCH", "comments/1", {"body": "x"}, "comment 1 does not exist"),
        ("GET", "nothing", None, "GET /_forge/nothing does not exist"),
    ],
)
def test_a_wrong_control_call_says_what_is_wrong(
    github: World, method: str, path: str, body: Json, reason: str
) -> None:
    github.open_request()
    before = github.control("GET", "requests/1")
    with pytest.raises(ValueError, match=reason):
        github.control(method, path, body)
    assert github.control("GET", "requests/1") == before


def test_a_call_with_hostile_names_is_refused_and_not_an_error_of_the_forge(world: World) -> None:
    world.open_request()
    pages = {"page": "999999999999", "per_page": "-5"}
    assert world.call("GET", world.comments(1), **pages).status_code == 200
    commits = {
        "github": "/commits/{}/status",
        "azure-devops": "/commits/{}/statuses",
        "gitlab": "/repository/commits/{}",
    }[world.forge]
    for name in ("--help", "--output=x", "%00", "..", "%2e%2e", "%ff", "refs%2Fheads", "a%0Ab"):
        assert world.call("GET", commits.format(name)).status_code in {404, 422}
    for text in (
        b"{",
        b"[]",
        b"null",
        b"\xff",
        b"[" * 100_000,
        b'{"body": 7}',
        b'{"comments": [7]}',
    ):
        url = world.call("GET", world.comments(1)).url
        answer = requests.post(url, data=text, headers=world.headers(), timeout=120)
        assert answer.status_code in {400, 422}
    assert world.bodies() == []


@pytest.mark.parametrize("name", ["a\"b'$(x)`<img>", "deep/er/é", "@team|x"])
def test_a_branch_with_a_hostile_name_is_merged(world: World, name: str) -> None:
    world.push(name, "one.yaml", base="main")
    world.control("POST", "requests", {"branch": name})
    world.push("main", "moved.yaml")
    world.control("POST", "requests/1/merge", {"method": "rebase"})
    assert find_numbers(world, world.pull()) == [1]


def test_a_forced_push_and_packed_branches_are_seen(world: World) -> None:
    world.open_request()
    git(world.clone, "commit", "-q", "--amend", "-m", "Amended")
    git(world.clone, "push", "-q", "--force", "origin", "change")
    git(world.open.repository, "pack-refs", "--all")
    shown = world.control("GET", "requests/1")
    assert shown["head"] == git(world.clone, "rev-parse", "HEAD")
    assert len(shown["heads"]) == 2
    git(world.clone, "push", "-q", "origin", ":change")
    assert world.control("GET", "requests/1")["head"] == shown["head"]


# GitHub


def test_github_pages_comments_from_the_oldest_on(github: World) -> None:
    github.open_request()
    for number in range(25):
        github.comment(1, str(number))
    url: str | None = f"{github.open.url}/repos/acme/models/issues/1/comments?per_page=10"
    bodies, pages, links = [], 0, ""
    while url:
        answer = requests.get(url, headers=github.headers(), timeout=120)
        bodies += [one["body"] for one in answer.json()]
        links, pages = answer.headers["Link"], pages + 1
        url = answer.links.get("next", {}).get("url")
    assert (bodies, pages) == ([str(number) for number in range(25)], 3)
    assert 'rel="prev"' in links
    assert len(github.call("GET", "/issues/1/comments").json()) == 25
    assert len(github.call("GET", "/issues/1/comments", per_page=1000).json()) == 25
    assert github.call("GET", "/issues/1/comments", page=9).json() == []
    assert "Link" not in github.call("GET", "/issues/1/comments", per_page=100).headers


def test_github_shows_who_wrote_a_comment(github: World) -> None:
    github.open_request()
    made = github.comment(1, "x")
    shown = made.json()
    assert made.headers["Location"] == shown["url"]
    assert (shown["user"]["login"], shown["user"]["type"]) == ("github-actions[bot]", "Bot")
    assert shown["performed_via_github_app"]["slug"] == "github-actions"
    person = github.comment(1, "y", token="forge-person-token").json()
    assert (person["user"]["type"], person["performed_via_github_app"]) == ("User", None)
    assert github.call("DELETE", f"/issues/comments/{shown['id']}").status_code == 204
    assert github.call("DELETE", f"/issues/comments/{shown['id']}").status_code == 404
    assert github.bodies() == ["y"]


def test_github_needs_a_user_agent_and_a_version_that_it_knows(github: World) -> None:
    url = f"{github.open.url}/user"
    person = {"Authorization": "Bearer forge-person-token"}
    assert requests.get(url, headers=person, timeout=120).json()["login"] == "alice"
    assert requests.get(url, headers={**person, "User-Agent": ""}, timeout=120).status_code == 403
    wrong = {**person, "X-GitHub-Api-Version": "2020-01-01"}
    assert requests.get(url, headers=wrong, timeout=120).status_code == 400
    assert github.call("GET", "//user").status_code == 403


def test_github_names_what_is_wrong_with_a_body(github: World) -> None:
    github.open_request()
    too_long = github.comment(1, "x" * 65_537).json()
    assert too_long["errors"] == [
        {
            "resource": "IssueComment",
            "field": "data",
            "code": "unprocessable",
            "message": "Body is too long (maximum is 65536 characters)",
        }
    ]
    assert (too_long["message"], too_long["status"]) == ("Validation Failed", "422")
    assert "documentation_url" in too_long
    assert github.comment(1, "").status_code == 422


def test_github_combines_the_newest_statuses(github: World) -> None:
    head = github.open_request()["head"]

    def put(state: str, context: str = "reconciler/dev", **more: Json) -> int:
        body = {"state": state, "context": context, **more}
        return github.call("POST", f"/statuses/{head}", body).status_code

    def combined() -> Json:
        shown = github.call("GET", f"/commits/{head}/status").json()
        return shown["state"], {one["context"]: one["state"] for one in shown["statuses"]}

    assert combined() == ("pending", {})
    assert put("pending") == put("success", "Reconciler/DEV", target_url="https://x.test") == 201
    assert combined() == ("success", {"Reconciler/DEV": "success"})
    assert put("error", "reconciler/prod", description="d" * 140) == 201
    assert combined()[0] == "failure"
    assert put("success", description="d" * 141) == 422
    assert put("success", description={}) == put("succeeded") == 422
    assert github.call("POST", f"/statuses/{'0' * 40}", {"state": "success"}).status_code == 422
    assert github.call("GET", "/commits/change/status").json()["sha"] == head


def test_github_takes_a_thousand_statuses_of_a_context(
    github: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert dialect.MOST_STATUSES == 1_000
    monkeypatch.setattr(dialect, "MOST_STATUSES", 3)
    head = github.open_request()["head"]
    body = {"state": "success", "context": "x"}
    codes = [github.call("POST", f"/statuses/{head}", body).status_code for _ in range(4)]
    assert codes == [201, 201, 201, 422]
    other = github.call("POST", f"/statuses/{head}", {**body, "context": "y"})
    assert other.status_code == 201


def test_github_takes_check_runs_from_apps_alone(github: World) -> None:
    head = github.open_request()["head"]
    body = {"name": "plan", "head_sha": head, "output": {"title": "t", "summary": "s" * 65_535}}
    made = github.call("POST", "/check-runs", body)
    assert made.status_code == 201
    path = f"/check-runs/{made.json()['id']}"
    done = github.call("PATCH", path, {"status": "completed", "conclusion": "success"})
    assert (done.status_code, done.json()["conclusion"]) == (200, "success")
    body["output"]["summary"] += "s"
    assert github.call("POST", "/check-runs", body).status_code == 422
    assert github.call("POST", "/check-runs", body, token="forge-person-token").status_code == 403


def test_github_shows_a_pull_request(github: World) -> None:
    head = github.open_request(title="Newer model", author="alice")["head"]
    shown = github.read(1)
    base = git(github.clone, "rev-parse", "main")
    assert (shown["state"], shown["merged"], shown["draft"]) == ("open", False, False)
    assert shown["head"]["sha"] == head
    assert shown["head"]["repo"] == {"full_name": "acme/models", "fork": False}
    assert (shown["base"]["ref"], shown["base"]["sha"]) == ("main", base)
    assert (shown["mergeable"], shown["mergeable_state"]) == (True, "clean")
    tested = shown["merge_commit_sha"]
    github.control("POST", "requests/1/merge", {"method": "squash"})
    after = github.read(1)
    assert (after["state"], after["merged"], after["mergeable"]) == ("closed", True, None)
    assert after["merge_commit_sha"] == github.pull() != tested


def test_github_says_why_a_merge_is_blocked(github: World) -> None:
    head = github.open_request()["head"]
    rules = {"approvals_required": 1, "required_statuses": ["reconciler/dev"], "up_to_date": True}
    github.control("POST", "rules", rules)
    review = {"author": "bob", "state": "changes-requested"}
    github.control("POST", "requests/1/reviews", review)
    assert github.read(1)["mergeable_state"] == "blocked"
    github.control("POST", "requests/1/reviews", {**review, "state": "approved"})
    github.control("POST", "requests/1/reviews", {**review, "state": "commented"})
    github.control("POST", "requests/1/reviews", {"author": "alice", "state": "changes-requested"})
    assert github.read(1)["mergeable_state"] == "blocked"
    status = {"state": "success", "context": "reconciler/dev"}
    github.call("POST", f"/statuses/{head}", status)
    assert github.read(1)["mergeable_state"] == "clean"
    github.call("POST", f"/statuses/{head}", {"state": "failure", "context": "other"})
    assert github.read(1)["mergeable_state"] == "unstable"
    github.push("main", "moved.yaml")
    assert github.read(1)["mergeable_state"] == "behind"
    github.control("PATCH", "requests/1", {"draft": True})
    assert github.read(1)["mergeable_state"] == "draft"
    reviews = github.call("GET", "/pulls/1/reviews", per_page=2)
    assert [one["state"] for one in reviews.json()] == ["CHANGES_REQUESTED", "APPROVED"]
    assert reviews.json()[0]["commit_id"] == head
    assert 'rel="next"' in reviews.headers["Link"]


def test_github_compares_two_branches(github: World) -> None:
    github.open_request()

    def compare() -> Json:
        shown = github.call("GET", "/compare/main...change").json()
        return shown["status"], shown["ahead_by"], shown["behind_by"]

    assert compare() == ("ahead", 1, 0)
    github.push("main", "moved.yaml")
    assert compare() == ("diverged", 1, 1)
    shown = github.call("GET", "/compare/main...change").json()
    assert shown["files"] == [{"filename": "change.yaml", "status": "added"}]
    assert github.call("GET", "/pulls/1/files").json() == shown["files"]
    assert github.call("GET", "/compare/main...main").json()["status"] == "identical"
    assert github.call("GET", "/compare/main...lost").status_code == 404


def test_github_opens_finds_and_closes_a_pull_request(github: World) -> None:
    github.push("drift/dev", base="main")
    body = {"title": "t", "head": "drift/dev", "base": "main", "body": "b"}
    made = github.call("POST", "/pulls", body)
    assert (made.status_code, made.json()["number"]) == (201, 1)
    again = github.call("POST", "/pulls", body)
    assert again.status_code == 422
    assert "already exists" in again.text
    query = {"state": "open", "head": "acme:drift/dev", "base": "main"}
    assert [one["number"] for one in github.call("GET", "/pulls", **query).json()] == [1]
    assert github.call("GET", "/pulls", **{**query, "head": "other:drift/dev"}).json() == []
    closed = github.call("PATCH", "/pulls/1", {"title": "u", "state": "closed"}).json()
    assert (closed["title"], closed["state"]) == ("u", "closed")
    assert github.call("GET", "/pulls", **query).json() == []
    assert github.call("POST", "/pulls", {**body, "head": "lost"}).status_code == 422


def test_github_names_open_requests_of_a_commit_before_its_merge(github: World) -> None:
    head = github.open_request()["head"]
    found = github.call("GET", f"/commits/{head}/pulls").json()
    assert [(one["number"], one["state"]) for one in found] == [(1, "open")]
    github.control("POST", "requests/1/merge", {"method": "squash"})
    found = github.call("GET", f"/commits/{head}/pulls").json()
    assert [(one["number"], one["state"]) for one in found] == [(1, "closed")]
    assert github.call("GET", f"/commits/{'1' * 40}/pulls").status_code == 422


@pytest.mark.parametrize("forge", ["github", "gitlab"])
def test_a_merged_request_comes_before_an_open_one_with_the_same_commit(
    forge: ForgeName, tmp_path: Path
) -> None:
    with make_world(forge, tmp_path) as world:
        head = world.open_request()["head"]
        world.push("stacked", "more.yaml", base="change")
        world.control("POST", "requests", {"branch": "stacked"})
        assert find_numbers(world, head) == [1, 2]
        world.control("POST", "requests/1/merge", {"method": "squash"})
        assert find_numbers(world, head) == [1]


def test_github_loses_a_merge_commit(github: World) -> None:
    github.open_request()
    github.control("POST", "requests/1/merge", {"method": "merge"})
    github.fault("lost-merge-commit")
    assert github.call("GET", "/pulls/1").json()["merge_commit_sha"] is None
    assert github.call("GET", "/pulls/1").json()["merge_commit_sha"] == github.pull()


def test_github_lists_runs_and_their_artifacts(github: World) -> None:
    head = github.open_request()["head"]
    run = {"name": "reconciler.yml", "commit": head, "event": "pull_request"}
    number = github.control("POST", "runs", {**run, "artifacts": ["plan-dev", "plan-prod"]})["id"]
    path = "/actions/workflows/reconciler.yml/runs"
    found = github.call("GET", path, head_sha=head, event="pull_request").json()
    assert [one["id"] for one in found["workflow_runs"]] == [number]
    assert github.call("GET", path, event="push").json()["total_count"] == 0
    listed = github.call("GET", f"/actions/runs/{number}/artifacts", name="plan-dev").json()
    assert [one["name"] for one in listed["artifacts"]] == ["plan-dev"]
    assert github.call("GET", "/actions/runs/1/artifacts").status_code == 404


def test_github_shows_a_fork(github: World) -> None:
    github.open_request(fork="mallory/models")
    shown = github.read(1)["head"]
    assert shown["repo"] == {"full_name": "mallory/models", "fork": True}
    assert shown["label"] == "mallory:change"


# Azure DevOps


def upload_sarif(world: World, *runs: Json, **more: Json) -> requests.Response:
    document = {"version": "2.1.0", "runs": list(runs)}
    packed = base64.b64encode(gzip.compress(json.dumps(document).encode())).decode()
    commit = world.pull()
    body = {"commit_sha": commit, "ref": "refs/heads/main", "sarif": packed, **more}
    return world.call("POST", "/code-scanning/sarifs", body)


def make_run(category: str = "a/", results: int = 1, **more: Json) -> Json:
    driver = {"name": "t"}
    result = {"message": {"text": "x"}, "locations": [{}], **more}
    return {
        "tool": {"driver": driver},
        "automationDetails": {"id": category},
        "results": [result] * results,
    }


def await_sarif(world: World, reply: requests.Response) -> Json:
    assert reply.status_code == 202, reply.text
    path = f"/code-scanning/sarifs/{reply.json()['id']}"
    assert world.call("GET", path).json() == {"processing_status": "pending"}
    return world.call("GET", path).json()


def test_github_processes_sarif_after_it_has_taken_it(github: World) -> None:
    reply = upload_sarif(github, make_run("a/b/"), make_run("a/c/x"))
    shown = await_sarif(github, reply)
    assert shown["processing_status"] == "complete"
    assert reply.json()["id"] in shown["analyses_url"]
    (kept,) = github.control("GET", "sarifs")
    assert [one["category"] for one in kept["runs"]] == ["a/b", "a/c"]


@pytest.mark.parametrize(
    ("runs", "said"),
    [
        ([make_run("a/"), make_run("a/x")], "multiple SARIF runs with the same category"),
        ([make_run(locations=[])], "expected at least one location"),
        ([make_run(results=25_001)], "more results per run than allowed"),
        ([make_run(f"{number}/") for number in range(21)], "more runs than allowed"),
    ],
    ids=["category", "location", "results", "runs"],
)
def test_github_says_what_the_processing_of_sarif_finds(
    github: World, runs: list[Json], said: str
) -> None:
    shown = await_sarif(github, upload_sarif(github, *runs))
    assert shown["processing_status"] == "failed"
    assert said in shown["errors"][0]


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"sarif": "not base64"}, 400),
        ({"sarif": base64.b64encode(b"{}").decode()}, 400),
        ({"sarif": base64.b64encode(gzip.compress(b"x")).decode()}, 400),
        ({"ref": "main"}, 422),
        ({"commit_sha": "HEAD"}, 422),
        ({"commit_sha": "0" * 40}, 404),
    ],
)
def test_github_refuses_sarif_of_a_wrong_form(github: World, more: Json, status: int) -> None:
    assert upload_sarif(github, make_run(), **more).status_code == status
    assert github.control("GET", "sarifs") == []
    assert github.call("GET", "/code-scanning/sarifs/none").status_code == 404


def test_azure_needs_the_version_in_each_call(azure: World) -> None:
    azure.open_request()
    path = "/pullRequests/1/threads"
    url = f"{azure.open.url}/acme/models/_apis/git/repositories/models{path}"
    texts = {"": "No api-version was supplied", "3.0": 'version "3.0" is not supported'}
    for version, text in texts.items():
        query = {"api-version": version} if version else {}
        answer = requests.get(url, params=query, headers=azure.headers(), timeout=120)
        assert answer.status_code == 400
        assert text in answer.json()["message"]
        members = {"$id", "message", "typeName", "typeKey", "errorCode", "eventId"}
        assert members <= set(answer.json())
    assert azure.call("GET", path).json() == {"value": [], "count": 0}
    assert azure.call("GET", "/PULLREQUESTS/1/Threads").status_code == 200


def test_azure_takes_a_personal_token_in_basic_form(azure: World) -> None:
    url = f"{azure.open.url}/acme/_apis/connectionData"
    answer = requests.get(url, params=AZURE_VERSION, auth=("", "forge-person-token"), timeout=120)
    assert answer.json()["authenticatedUser"]["uniqueName"] == "alice@example.com"
    bot = azure.call("GET", "//acme/_apis/connectionData").json()["authenticatedUser"]
    azure.open_request()
    thread = azure.comment(1, "x").json()
    assert thread["comments"][0]["author"]["id"] == bot["id"]
    wrong = requests.get(url, params=AZURE_VERSION, auth=("", "wrong"), timeout=120)
    assert (wrong.status_code, wrong.headers["Content-Type"]) == (203, "text/html; charset=utf-8")


def test_azure_types_the_properties_of_a_thread(azure: World) -> None:
    azure.open_request()
    typed = {"$type": "System.String", "$value": "prod"}
    body = {
        "comments": [{"parentCommentId": 0, "content": "x", "commentType": "text"}],
        "status": 4,
        "properties": {"project": "bikes", "environment": typed, "run": 7},
    }
    made = azure.call("POST", "/pullRequests/1/threads", body).json()
    listed = azure.call("GET", "/pullRequests/1/threads").json()
    assert listed == {"value": [made], "count": 1}
    assert made["properties"] == {
        "project": {"$type": "System.String", "$value": "bikes"},
        "environment": typed,
        "run": {"$type": "System.Int32", "$value": 7},
    }
    assert (made["status"], made["isDeleted"]) == ("closed", False)
    comment = made["comments"][0]
    assert (comment["id"], comment["commentType"], comment["content"]) == (1, "text", "x")
    path = f"/pullRequests/1/threads/{made['id']}"
    assert azure.call("PATCH", path, {"status": "wontfix"}).json()["status"] == "wontFix"
    assert azure.call("PATCH", path, {"status": "resolved"}).status_code == 400
    wrongs: list[Json] = [
        {},
        {"comments": []},
        {"comments": [{"content": ""}]},
        {**body, "status": 9},
    ]
    for wrong in wrongs:
        assert azure.call("POST", "/pullRequests/1/threads", wrong).status_code == 400


def test_azure_marks_a_comment_as_deleted(azure: World) -> None:
    azure.open_request()
    made = azure.comment(1, "x").json()
    path = f"/pullRequests/1/threads/{made['id']}/comments/1"
    assert azure.call("DELETE", path).status_code == 200
    thread = azure.call("GET", "/pullRequests/1/threads").json()["value"][0]
    assert (thread["isDeleted"], thread["comments"][0]["isDeleted"]) == (True, True)
    assert "content" not in thread["comments"][0]
    assert azure.call("PATCH", path, {"content": "y"}).status_code == 404
    assert azure.call("DELETE", path).status_code == 404


def test_azure_lets_the_author_alone_edit_a_comment(azure: World) -> None:
    azure.open_request()
    made = azure.comment(1, "x", token="forge-person-token").json()
    assert azure.update(1, made, "y").status_code == 403
    assert azure.bodies() == ["x"]


def test_azure_takes_500_comments_of_a_thread(
    azure: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert azure_devops.MOST_COMMENTS == 500
    monkeypatch.setattr(azure_devops, "MOST_COMMENTS", 3)
    azure.open_request()
    made = azure.comment(1, "x").json()
    path = f"/pullRequests/1/threads/{made['id']}/comments"
    body = {"parentCommentId": 1, "content": "more", "commentType": 1}
    codes = [azure.call("POST", path, body).status_code for _ in range(3)]
    assert codes == [200, 200, 400]


def test_azure_gives_a_status_to_one_push(azure: World) -> None:
    first = azure.open_request()["head"]
    second = azure.push("change", "more.yaml")
    listed = azure.call("GET", "/pullRequests/1/iterations").json()["value"]
    pushes = [(one["id"], one["sourceRefCommit"]["commitId"]) for one in listed]
    assert pushes == [(1, first), (2, second)]
    body = {
        "state": "succeeded",
        "context": {"name": "dev", "genre": "reconciler"},
        "iterationId": 2,
    }
    made = azure.call("POST", "/pullRequests/1/statuses", body)
    assert (made.status_code, made.json()["state"], made.json()["iterationId"]) == (
        200,
        "succeeded",
        2,
    )
    number = azure.call("POST", "/pullRequests/1/statuses", {**body, "state": 1}).json()
    assert number["state"] == "pending"
    for wrong in (
        {"iterationId": 3},
        {"iterationId": "2"},
        {"context": {"genre": "x"}},
        {"state": "success"},
    ):
        assert azure.call("POST", "/pullRequests/1/statuses", {**body, **wrong}).status_code == 400
    listed = azure.call("GET", "/pullRequests/1/statuses").json()["value"]
    assert [one["state"] for one in listed] == ["succeeded", "pending"]
    commit = azure.call("POST", f"/commits/{second}/statuses", body | {"iterationId": None})
    assert commit.status_code == 201
    assert azure.call("GET", f"/commits/{second}/statuses").json()["count"] == 1
    assert azure.call("POST", f"/commits/{'0' * 40}/statuses", body).status_code == 404


def test_azure_shows_votes_and_policies(azure: World) -> None:
    azure.open_request(author="alice@example.com")
    rules = {"approvals_required": 1, "required_statuses": ["dev"], "resolved_comments": True}
    azure.control("POST", "rules", rules)
    words = ["approved", "approved-with-suggestions", "changes-requested", "rejected"]
    for name, word in zip("bcde", words, strict=True):
        azure.control(
            "POST", "requests/1/reviews", {"author": f"{name}@example.com", "state": word}
        )
    shown = azure.read(1)
    votes = {one["uniqueName"]: one["vote"] for one in shown["reviewers"]}
    assert votes == {
        "b@example.com": 10,
        "c@example.com": 5,
        "d@example.com": -5,
        "e@example.com": -10,
    }
    project = shown["repository"]["project"]["id"]
    artifact = f"vstfs:///CodeReview/CodeReviewId/{project}/1"

    def policies() -> dict[str, str]:
        query = {"artifactId": artifact, "api-version": "7.1-preview.1"}
        listed = azure.call("GET", "//acme/models/_apis/policy/evaluations", **query).json()[
            "value"
        ]
        assert all(one["configuration"]["isEnabled"] for one in listed)
        assert all(one["configuration"]["isBlocking"] for one in listed)
        return {one["configuration"]["type"]["displayName"]: one["status"] for one in listed}

    assert policies() == {
        "Minimum number of reviewers": "queued",
        "Comment requirements": "approved",
        "Status": "queued",
    }
    asked = {"author": "bob@example.com", "body": "Why?"}
    assert azure.control("POST", "requests/1/comments", asked)["body"] == "Why?"
    for name in "de":
        review = {"author": f"{name}@example.com", "state": "approved"}
        azure.control("POST", "requests/1/reviews", review)
    azure.call(
        "POST", "/pullRequests/1/statuses", {"state": "succeeded", "context": {"name": "dev"}}
    )
    assert policies() == {
        "Minimum number of reviewers": "approved",
        "Comment requirements": "queued",
        "Status": "approved",
    }
    plain = azure.call("GET", "//acme/models/_apis/policy/evaluations", artifactId=artifact)
    assert plain.status_code == 400


def test_azure_opens_finds_and_closes_a_pull_request(azure: World) -> None:
    azure.push("drift/dev", base="main")
    body = {
        "sourceRefName": "refs/heads/drift/dev",
        "targetRefName": "refs/heads/main",
        "title": "t",
        "description": "d" * 4_000,
    }
    made = azure.call("POST", "/pullrequests", body)
    assert (made.status_code, made.json()["pullRequestId"]) == (201, 1)
    assert azure.call("POST", "/pullrequests", body).status_code == 409
    query: Json = {
        "searchCriteria.sourceRefName": body["sourceRefName"],
        "searchCriteria.targetRefName": body["targetRefName"],
        "searchCriteria.status": "active",
    }
    found = azure.call("GET", "/pullrequests", **(query | {"$top": 1})).json()["value"]
    assert [(one["pullRequestId"], len(one["description"])) for one in found] == [(1, 400)]
    assert azure.call("GET", "/pullrequests", **(query | {"$skip": 1})).json()["count"] == 0
    assert len(azure.read(1)["description"]) == 4_000
    ignored = azure.call(
        "PATCH", "/pullrequests/1", {"title": "u", "targetRefName": "refs/heads/x"}
    )
    assert (ignored.json()["title"], ignored.json()["targetRefName"]) == ("u", "refs/heads/main")
    assert azure.call("PATCH", "/pullrequests/1", {"description": "d" * 4_001}).status_code == 400
    closed = azure.call("PATCH", "/pullrequests/1", {"status": "abandoned"}).json()
    assert closed["status"] == "abandoned"
    assert azure.call("GET", "/pullrequests", **query).json()["count"] == 0


def test_azure_completes_a_pull_request_that_it_knows_the_head_of(azure: World) -> None:
    head = azure.open_request()["head"]
    body = {
        "status": "completed",
        "lastMergeSourceCommit": {"commitId": "0" * 40},
        "completionOptions": {"mergeStrategy": "squash", "deleteSourceBranch": True},
    }
    assert azure.call("PATCH", "/pullrequests/1", body).status_code == 409
    body["lastMergeSourceCommit"] = {"commitId": head}
    for wrong, status in ((7, 400), ({"mergeStrategy": ["squash"]}, 409)):
        refused = azure.call("PATCH", "/pullrequests/1", {**body, "completionOptions": wrong})
        assert refused.status_code == status
    done = azure.call("PATCH", "/pullrequests/1", body).json()
    assert done["status"] == "completed"
    assert done["lastMergeCommit"]["commitId"] == azure.pull()
    assert "change" not in git(azure.open.repository, "branch")


def test_azure_compares_two_versions(azure: World) -> None:
    head = azure.open_request()["head"]
    azure.push("main", "moved.yaml")
    query = {"baseVersion": "main", "targetVersion": head, "targetVersionType": "commit"}
    shown = azure.call("GET", "/diffs/commits", **query).json()
    assert (shown["aheadCount"], shown["behindCount"]) == (1, 1)


# GitLab


def test_gitlab_pages_notes_from_the_newest_on(gitlab: World) -> None:
    gitlab.open_request()
    for number in range(25):
        gitlab.comment(1, str(number))
    path = "/merge_requests/1/notes"
    first = gitlab.call("GET", path)
    assert [one["body"] for one in first.json()] == [str(n) for n in range(24, 4, -1)]
    names = ("x-page", "x-per-page", "x-next-page", "x-prev-page", "x-total", "x-total-pages")
    assert [first.headers[name] for name in names] == ["1", "20", "2", "", "25", "2"]
    query: Json = {"sort": "asc", "order_by": "created_at", "per_page": 10}
    bodies, page = [], "1"
    while page:
        answer = gitlab.call("GET", path, page=page, **query)
        bodies += [one["body"] for one in answer.json()]
        page = answer.headers["x-next-page"]
    assert bodies == [str(n) for n in range(25)]
    assert len(gitlab.call("GET", path, per_page=1000).json()) == 25


def test_gitlab_writes_notes_of_its_own(gitlab: World) -> None:
    gitlab.open_request()
    gitlab.push("change", "more.yaml")
    gitlab.comment(1, "x")
    listed = gitlab.call("GET", "/merge_requests/1/notes", sort="asc").json()
    assert [one["system"] for one in listed] == [True, False]
    assert gitlab.call("DELETE", f"/merge_requests/1/notes/{listed[1]['id']}").status_code == 204
    assert gitlab.call("DELETE", f"/merge_requests/1/notes/{listed[1]['id']}").status_code == 404
    assert gitlab.call("DELETE", f"/merge_requests/1/notes/{listed[0]['id']}").status_code == 403


def test_gitlab_lets_a_job_read_and_not_write(gitlab: World) -> None:
    head = gitlab.open_request()["head"]
    job = {"token": "forge-job-token"}
    for path in ("", "/notes", "/approvals"):
        assert gitlab.call("GET", f"/merge_requests/1{path}", **job).status_code == 200
    assert (
        gitlab.call("GET", f"/repository/commits/{head}/merge_requests", **job).status_code == 200
    )
    assert gitlab.comment(1, "x", **job).status_code == 401
    assert gitlab.call("POST", f"/statuses/{head}", {"state": "success"}, **job).status_code == 401
    assert gitlab.call("GET", "//api/v4/user", **job).status_code == 401
    as_own = {"PRIVATE-TOKEN": "forge-job-token"}
    url = f"{gitlab.open.url}/api/v4/projects/1/merge_requests/1"
    assert requests.get(url, headers=as_own, timeout=120).status_code == 401
    assert gitlab.bodies() == []


def test_gitlab_takes_its_token_in_two_forms_and_its_project_in_two(gitlab: World) -> None:
    gitlab.open_request()
    bearer = {"Authorization": "Bearer forge-token"}
    for project, status in (("1", 200), ("acme%2Fmodels", 200), ("acme/models", 404), ("2", 404)):
        url = f"{gitlab.open.url}/api/v4/projects/{project}/merge_requests/1"
        assert requests.get(url, headers=bearer, timeout=120).status_code == status
    assert gitlab.call("GET", "//api/v4/user").json()["username"] == "project_1_bot"


def test_gitlab_does_not_let_a_status_repeat_itself(gitlab: World) -> None:
    head = gitlab.open_request()["head"]

    def put(state: str, **more: Json) -> requests.Response:
        body = {"state": state, "name": "reconciler/dev", **more}
        return gitlab.call("POST", f"/statuses/{head}", body)

    last = gitlab.call("GET", f"/repository/commits/{head}").json()["last_pipeline"]["id"]
    made = put("pending", pipeline_id=last)
    assert (made.status_code, made.json()["pipeline_id"]) == (201, last)
    again = put("pending", pipeline_id=last)
    assert (again.status_code, again.json()) == (
        400,
        {
            "message": "Cannot transition status via :enqueue from :pending"
            ' (Reason(s): Status cannot transition via "enqueue")'
        },
    )
    assert put("running", pipeline_id=last).status_code == 201
    assert ":run from :running" in put("running", pipeline_id=last).json()["message"]
    assert put("success", pipeline_id=last).json()["id"] == made.json()["id"]
    assert put("success", pipeline_id=last).json()["id"] > made.json()["id"]
    assert put("done", pipeline_id=last).status_code == 400
    assert put("success", pipeline_id=1).status_code == 404
    listed = gitlab.call("GET", f"/repository/commits/{head}/statuses").json()
    assert [(one["name"], one["status"]) for one in listed] == [("reconciler/dev", "success")]


def test_gitlab_makes_a_second_pipeline_for_a_status_without_one(gitlab: World) -> None:
    head = gitlab.open_request()["head"]
    path = f"/repository/commits/{head}"
    first = gitlab.call("GET", path).json()["last_pipeline"]
    with_ref = gitlab.call("POST", f"/statuses/{head}", {"state": "success", "ref": "change"})
    assert with_ref.json()["pipeline_id"] == first["id"]
    bare = gitlab.call("POST", f"/statuses/{head}", {"state": "success"})
    assert bare.json()["name"] == "default"
    second = gitlab.call("GET", path).json()["last_pipeline"]
    assert (first["source"], second["source"]) == ("merge_request_event", "external")
    assert bare.json()["pipeline_id"] == second["id"] != first["id"]
    other = git(gitlab.clone, "rev-parse", "main")
    assert gitlab.call("GET", f"/repository/commits/{other}").json()["last_pipeline"] is None


def test_gitlab_refuses_an_end_without_running(gitlab: World) -> None:
    head = gitlab.open_request()["head"]
    gitlab.fault("strict-transitions:always")
    codes = [
        gitlab.call("POST", f"/statuses/{head}", {"state": state}).status_code
        for state in ("pending", "success", "running", "failed")
    ]
    assert codes == [201, 400, 201, 201]


def test_gitlab_says_why_a_merge_is_blocked(gitlab: World) -> None:
    head = gitlab.open_request()["head"]
    approvals = "/merge_requests/1/approvals"
    assert gitlab.call("GET", approvals).json()["approved"] is False
    rules = {"approvals_required": 1, "required_statuses": ["dev"], "up_to_date": True}
    gitlab.control("POST", "rules", rules)
    assert gitlab.read(1)["detailed_merge_status"] == "not_approved"
    gitlab.control("POST", "requests/1/reviews", {"author": "bob", "state": "approved"})
    shown = gitlab.call("GET", approvals).json()
    assert (shown["approved"], shown["approvals_required"], shown["approvals_left"]) == (True, 1, 0)
    assert [one["user"]["username"] for one in shown["approved_by"]] == ["bob"]
    assert gitlab.read(1)["detailed_merge_status"] == "ci_must_pass"
    gitlab.call("POST", f"/statuses/{head}", {"state": "success", "name": "dev"})
    assert gitlab.read(1)["detailed_merge_status"] == "mergeable"
    gitlab.push("main", "moved.yaml")
    shown = gitlab.read(1)
    assert (shown["detailed_merge_status"], shown["merge_status"]) == (
        "need_rebase",
        "can_be_merged",
    )
    query = {"include_diverged_commits_count": "true"}
    assert gitlab.call("GET", "/merge_requests/1", **query).json()["diverged_commits_count"] == 1
    compared = gitlab.call("GET", "/repository/compare", **{"from": "change", "to": "main"}).json()
    assert len(compared["commits"]) == 1
    gitlab.control("PATCH", "requests/1", {"draft": True})
    assert gitlab.read(1)["detailed_merge_status"] == "draft_status"


@pytest.mark.parametrize("method", ["merge", "squash", "rebase"])
def test_gitlab_names_the_commit_of_a_merge(gitlab: World, method: str) -> None:
    gitlab.open_request()
    before = gitlab.read(1)
    assert before["diff_refs"]["base_sha"] == git(gitlab.clone, "rev-parse", "main")
    assert (before["source_project_id"], before["target_project_id"]) == (1, 1)
    gitlab.push("main", "moved.yaml")
    gitlab.control("POST", "requests/1/merge", {"method": method})
    shown, after = gitlab.read(1), gitlab.pull()
    named = {"merge": "merge_commit_sha", "squash": "squash_commit_sha", "rebase": "sha"}[method]
    assert shown[named] == after
    others = {"merge_commit_sha", "squash_commit_sha"} - {named}
    assert all(shown[name] is None for name in others)
    assert (shown["state"], shown["detailed_merge_status"]) == ("merged", "not_open")


def test_gitlab_opens_and_finds_a_merge_request(gitlab: World) -> None:
    gitlab.push("drift/dev", base="main")
    body = {"source_branch": "drift/dev", "target_branch": "main", "title": "t"}
    made = gitlab.call("POST", "/merge_requests", body)
    assert (made.status_code, made.json()["iid"]) == (201, 1)
    assert made.json()["id"] != 1
    assert gitlab.call("POST", "/merge_requests", body).status_code == 409
    assert gitlab.call("POST", "/merge_requests", {"title": "t"}).status_code == 400
    query = {"state": "opened", "source_branch": "drift/dev"}
    assert [one["iid"] for one in gitlab.call("GET", "/merge_requests", **query).json()] == [1]
    assert gitlab.call("GET", "/merge_requests", state="merged").json() == []


def test_gitlab_shows_a_fork(gitlab: World) -> None:
    gitlab.open_request(fork="mallory/models")
    assert gitlab.read(1)["source_project_id"] == 2

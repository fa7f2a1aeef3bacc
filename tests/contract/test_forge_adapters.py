"""The three adapters against the emulated forges: each call, each fault, each merge."""

import itertools
import json
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast

import pytest

from reconciler.errors import (
    ReconcilerError,
    Rejected,
    ServiceError,
    Unavailable,
)
from reconciler.gitops.comments import Sticky, find_sticky, put_status, put_sticky
from reconciler.gitops.forge import Comment, Forge, Request, Status
from reconciler.gitops.forges import open_forge
from reconciler.gitops.jobs import FORGES, ForgeName, Job, find_token
from reconciler.model import Event
from reconciler.secrets.redaction import Redaction
from reconciler.transport.forge import ForgeToken
from reconciler.transport.timeouts import Timeouts
from tests.clocks import FakeClock
from tests.contract.forge_world import World, make_world

TIMEOUTS = Timeouts(retries=3, total_s=60, throttled_s=600, connect_s=60, read_s=60)
API = {"github": "", "azure-devops": "/acme/", "gitlab": "/api/v4"}
VARIABLES = {
    "github": "GITHUB_TOKEN",
    "azure-devops": "SYSTEM_ACCESSTOKEN",
    "gitlab": "RECONCILER_GITLAB_TOKEN",
}
RIGHTS = {
    "github": "permissions: {pull-requests: write}",
    "azure-devops": "Project Collection Build Service",
    "gitlab": "project access token with the scope api",
}
OWN = {
    "github": "github-actions[bot]",
    "azure-devops": "Build\\",
    "gitlab": "project_1_bot",
}
STICKY = Sticky(
    "census", "prod", "100-1", "2026-11-23T03:17:00Z", "sha256:" + "1" * 64, "### 1 to change"
)
LATER = replace(STICKY, run="101-1", at="2026-11-23T03:18:00Z", body="### 2 to change")

each_forge = pytest.mark.parametrize("name", FORGES)


@dataclass
class Here:
    """A forge of the emulator, and our adapter for it."""

    world: World
    events: list[Event] = field(default_factory=list)
    clock: FakeClock = field(default_factory=FakeClock)

    def open(
        self, *, token: str = "forge-token", timeouts: Timeouts = TIMEOUTS, **job: Any
    ) -> Forge:
        """The adapter; a JOB token is the one of GitLab's jobs."""
        name = self.world.forge
        variable = "CI_JOB_TOKEN" if token == "forge-job-token" else VARIABLES[name]
        more = {key: job.pop(key) for key in ("print_request", "redaction") if key in job}
        return open_forge(
            make_job(self.world, **job),
            find_token(name, {variable: token}),
            more.pop("redaction", Redaction()),
            self.events.append,
            timeouts=timeouts,
            clock=self.clock,
            sleep=self.clock.sleep,
            **more,
        )

    def ask(self, branch: str = "change", **more: Any) -> Request:
        """Open a request for a branch with one commit, and read it."""
        number = self.world.open_request(branch, **more)["number"]
        found = self.open(number=number).find_request()
        assert found is not None
        return found

    def put(self, forge: Forge, request: Request, sticky: Sticky) -> Any:
        return put_sticky(forge, request, sticky, sleep=self.clock.sleep)

    def bodies(self, request: Request) -> list[str]:
        return self.world.bodies(request.number)

    def delete_comments(self, request: Request) -> None:
        """Delete the comments of a request as a person does."""
        shown = self.world.control("GET", f"requests/{request.number}")
        for one in shown["comments"]:
            self.world.control("DELETE", f"comments/{one['id']}")

    def calls(self, method: str = "") -> list[str]:
        found = self.world.control("GET", "recorded")
        return [one["path"] for one in found if method in {"", one["method"]}]

    def forget(self) -> None:
        self.world.control("DELETE", "recorded")


def make_job(world: World, **job: Any) -> Job:
    name = world.forge
    repository = {"github": "acme/models", "azure-devops": "models", "gitlab": "acme/models"}[name]
    project = "models" if name == "azure-devops" else ""
    url = world.open.url + API[name]
    return Job(name, url, job.pop("repository", repository), project=project, **job)


@contextmanager
def start(name: str, folder: Path, *faults: str, **more: Any) -> Iterator[Here]:
    with make_world(cast("ForgeName", name), folder, *faults, **more) as world:
        yield Here(world)


@each_forge
def test_the_request_of_a_job_is_read(name: str, tmp_path: Path) -> None:
    with start(name, tmp_path) as here:
        request = here.ask(author="alice")
        head = here.world.control("GET", f"requests/{request.number}")["heads"][-1]
    assert (request.head, request.base, request.branch) == (head, "main", "change")
    assert (request.state, request.draft, request.from_fork) == ("open", False, False)
    assert request.author == "alice"
    assert request.url.startswith("http")
    assert request.base_commit


@each_forge
def test_a_draft_of_a_fork_is_recognised(name: str, tmp_path: Path) -> None:
    with start(name, tmp_path) as here:
        request = here.ask(draft=True, fork="stranger/models")
    assert (request.draft, request.from_fork) == (True, True)


@each_forge
def test_a_job_without_a_request_has_none(name: str, tmp_path: Path) -> None:
    with start(name, tmp_path) as here:
        assert here.open().find_request() is None
        with pytest.raises(Rejected) as raised:
            here.open(number=99).find_request()
    assert raised.value.status == 404
    assert "may not see it" in raised.value.next_step


# Every run has each forge and each method; a run of all checks has each pair. How each forge
# shows a merge of each method is in test_forges.py.
@pytest.mark.parametrize(
    ("name", "method"),
    [
        pytest.param(name, method, marks=[] if forge == at else [pytest.mark.slow])
        for forge, name in enumerate(FORGES)
        for at, method in enumerate(["merge", "squash", "rebase"])
    ],
)
def test_the_request_of_a_merged_commit_is_found(name: str, method: str, tmp_path: Path) -> None:
    with start(name, tmp_path) as here:
        other = here.ask("other")
        request = here.ask("change")
        here.world.push("change", "second.yaml")
        forge = here.open(branch="main")
        before = here.world.pull()
        assert forge.find_merged(before) == ()
        here.world.control("POST", f"requests/{request.number}/merge", {"method": method})
        commit = here.world.pull()
        found = forge.find_merged(commit)
    assert [(one.number, one.state) for one in found] == [(request.number, "merged")]
    assert found[0].merge_commit == commit
    assert found[0].number != other.number


def test_a_merge_commit_that_github_does_not_show_is_found_all_the_same(tmp_path: Path) -> None:
    with start("github", tmp_path, "lost-merge-commit:always") as here:
        request = here.ask()
        here.world.control("POST", f"requests/{request.number}/merge", {"method": "squash"})
        found = here.open(branch="main").find_merged(here.world.pull())
    assert [one.number for one in found] == [request.number]


@each_forge
def test_a_commit_that_the_forge_does_not_know_belongs_to_no_request(
    name: str, tmp_path: Path
) -> None:
    with start(name, tmp_path) as here:
        assert here.open(branch="main").find_merged("f" * 40) == ()


@each_forge
def test_the_comment_is_created_and_then_replaced(name: str, tmp_path: Path) -> None:
    with start(name, tmp_path) as here:
        request, forge = here.ask(), here.open()
        made = here.put(forge, request, STICKY)
        assert (made.result, made.cut) == ("created", False)
        assert made.url.startswith("http")
        assert here.put(forge, request, STICKY).result == "same"
        assert here.put(forge, request, LATER).result == "updated"
        assert here.put(forge, request, STICKY).result == "older"
        assert find_sticky(forge, request, "census", "prod") == LATER
        assert len(here.bodies(request)) == 1


@each_forge
def test_a_comment_of_a_person_never_counts(name: str, tmp_path: Path) -> None:
    with start(name, tmp_path) as here:
        request, forge = here.ask(), here.open()
        here.put(forge, request, STICKY)
        copied = {"author": "mallory", "body": here.bodies(request)[0]}
        here.world.control("POST", f"requests/{request.number}/comments", copied)
        assert here.put(forge, request, LATER).result == "updated"
        assert [one.count("2 to change") for one in here.bodies(request)] == [1, 0]


@each_forge
def test_the_comment_is_found_on_the_last_of_many_pages(name: str, tmp_path: Path) -> None:
    with start(name, tmp_path) as here:
        request, forge = here.ask(), here.open()
        for number in range(230):
            said = {"author": "alice", "body": f"comment {number}"}
            here.world.control("POST", f"requests/{request.number}/comments", said)
        here.put(forge, request, STICKY)
        here.forget()
        assert here.put(forge, request, LATER).result == "updated"
        assert len(here.bodies(request)) == 231
        pages = [one for one in here.calls("GET") if "comments" in one or "notes" in one]
    if name != "azure-devops":
        assert len(pages) == 6  # three before the update and three after it


@each_forge
def test_a_comment_that_a_person_edits_is_recognised_and_replaced(
    name: str, tmp_path: Path
) -> None:
    with start(name, tmp_path) as here:
        request, forge = here.ask(), here.open()
        here.put(forge, request, STICKY)
        shown = here.world.control("GET", f"requests/{request.number}")["comments"]
        mine = next(one for one in shown if "1 to change" in one["body"])
        edited = {"body": mine["body"].replace("1 to change", "0 to change")}
        here.world.control("PATCH", f"comments/{mine['id']}", edited)
        found = find_sticky(forge, request, "census", "prod")
        assert found is not None
        assert found.edited
        assert here.put(forge, request, LATER).result == "updated"


@each_forge
def test_a_reply_that_is_lost_after_the_create_makes_one_comment(name: str, tmp_path: Path) -> None:
    with start(name, tmp_path) as here:
        forge = here.open()
        for fault in ("lost-reply", "error-after", "cut-off", "not-json"):
            request = here.ask(fault)
            here.world.fault(f"{fault}@create-comment:1")
            assert here.put(forge, request, STICKY).result == "created"
            assert len(here.bodies(request)) == 1


@each_forge
def test_a_call_that_is_lost_is_made_good(name: str, tmp_path: Path) -> None:
    calls = ("create-comment", "update-comment", "list-comments")
    with start(name, tmp_path) as here:
        forge = here.open()
        for number, (fault, call) in enumerate(
            itertools.product(("lost-request", "error-before"), calls)
        ):
            request = here.ask(f"change-{number}")
            here.world.fault(f"{fault}@{call}:1")
            here.put(forge, request, STICKY)
            here.put(forge, request, LATER)
            found = ["2 to change" in one for one in here.bodies(request)]
            assert found == [True], (fault, call)


@each_forge
def test_a_create_whose_answer_never_comes_makes_one_comment(name: str, tmp_path: Path) -> None:
    with start(name, tmp_path) as here:
        request = here.ask()
        forge = here.open(timeouts=replace(TIMEOUTS, read_s=2))
        here.world.fault("hang@create-comment:1")
        assert here.put(forge, request, STICKY).result == "created"
        assert len(here.bodies(request)) == 1


@each_forge
def test_of_two_comments_of_a_rival_run_one_stays(name: str, tmp_path: Path) -> None:
    with start(name, tmp_path) as here:
        request, forge = here.ask(), here.open()
        here.world.fault("rival-comment")
        assert here.put(forge, request, STICKY).result == "created"
        assert len(here.bodies(request)) == 1


@each_forge
def test_a_comment_that_is_deleted_before_the_update_is_created(name: str, tmp_path: Path) -> None:
    with start(name, tmp_path) as here:
        request, forge = here.ask(), here.open()
        here.put(forge, request, STICKY)
        here.world.fault("deleted-before-update")
        assert here.put(forge, request, LATER).result == "created"
        assert ["2 to change" in one for one in here.bodies(request)] == [True]


@each_forge
@pytest.mark.parametrize("call", ["create-comment", "update-comment"])
def test_a_missing_right_is_named_and_nothing_is_written(
    name: str, call: str, tmp_path: Path
) -> None:
    with start(name, tmp_path) as here:
        request, forge = here.ask(), here.open()
        if call == "update-comment":
            here.put(forge, request, STICKY)
        here.world.fault("no-right:always")
        said = here.put(forge, request, LATER)
        assert said.result == "no right"
        assert RIGHTS[name] in said.next_step
        assert not any("2 to change" in one for one in here.bodies(request))


def test_a_note_that_may_not_be_edited_is_written_again(tmp_path: Path) -> None:
    with start("gitlab", tmp_path) as here:
        request, forge = here.ask(), here.open()
        here.put(forge, request, STICKY)
        here.world.fault("no-right@update-comment:1")
        assert here.put(forge, request, LATER).result == "updated"
        assert ["2 to change" in one for one in here.bodies(request)] == [True]


LIMITS = {
    "github": (
        *("rate-limit", "rate-limit-429", "rate-limit-secondary"),
        *("rate-limit-secondary-reset", "rate-limit-bare"),
    ),
    "azure-devops": ("rate-limit", "delayed"),
    "gitlab": ("rate-limit", "rate-limit-bare"),
}


@each_forge
def test_a_limit_is_waited_for_and_is_not_a_missing_right(name: str, tmp_path: Path) -> None:
    calls = ("list-comments", "create-comment", "update-comment")
    with start(name, tmp_path) as here:
        request, forge = here.ask(), here.open()
        for fault, call in itertools.product(LIMITS[name], calls):
            here.world.fault(f"{fault}@{call}:2")
            here.clock.slept.clear()
            assert here.put(forge, request, STICKY).result == "created", (fault, call)
            assert here.put(forge, request, LATER).result == "updated", (fault, call)
            assert len(here.bodies(request)) == 1
            # One sleep is that after an update.
            assert len(here.clock.slept) > 1, (fault, call)
            here.delete_comments(request)


@each_forge
@pytest.mark.parametrize("fault", ["sign-in-page", "sign-in-redirect"])
def test_a_page_to_sign_in_is_a_token_that_is_not_accepted(
    name: str, fault: str, tmp_path: Path
) -> None:
    with start(name, tmp_path) as here:
        request, forge = here.ask(), here.open()
        here.world.fault(f"{fault}:always")
        said = here.put(forge, request, STICKY)
    assert said.result == "no right"
    assert VARIABLES[name] in said.reason


@each_forge
def test_a_wrong_token_is_named(name: str, tmp_path: Path) -> None:
    with start(name, tmp_path) as here:
        request = here.ask()
        said = here.put(here.open(token="wrong-token-0123456789"), request, STICKY)
    assert said.result == "no right"
    assert VARIABLES[name] in said.reason + said.next_step


@each_forge
def test_a_forge_that_answers_badly_is_an_error(name: str, tmp_path: Path) -> None:
    with start(name, tmp_path) as here:
        request = here.ask()
        for fault in ("foreign-redirect", "wrong-shape", "huge", "not-json"):
            here.world.control("DELETE", "faults")
            here.world.fault(f"{fault}@list-comments:always", f"{fault}@read-request:always")
            for asked in (
                lambda: here.open(number=request.number).find_request(),
                lambda: here.open().list_comments(request),
            ):
                with pytest.raises((Unavailable, Rejected)) as raised:
                    asked()
                assert raised.value.next_step, fault


@pytest.mark.parametrize("name", ["github", "gitlab"])
@pytest.mark.parametrize(
    ("fault", "kind"), [("endless-pages", Unavailable), ("foreign-page", Rejected)]
)
def test_a_list_that_lies_about_its_next_page_is_an_error(
    name: str, fault: str, kind: type[ServiceError], tmp_path: Path
) -> None:
    with start(name, tmp_path) as here:
        request, forge = here.ask(), here.open()
        here.world.fault(f"{fault}@list-comments:always")
        with pytest.raises(kind):
            forge.list_comments(request)


@pytest.mark.parametrize("name", ["github", "gitlab"])
def test_short_pages_are_all_read(name: str, tmp_path: Path) -> None:
    with start(name, tmp_path) as here:
        request, forge = here.ask(), here.open()
        for number in range(7):
            forge.create_comment(request, f"comment {number}")
        here.world.fault("short-pages:always")
        assert len(forge.list_comments(request)) == 7


LENGTHS = {"github": 65_536, "azure-devops": 150_000, "gitlab": 1_000_000}


@each_forge
def test_a_text_that_is_too_long_is_cut_on_create_and_on_update(name: str, tmp_path: Path) -> None:
    lines = "\n".join(f"- change {number} 😀" for number in range(LENGTHS[name] // 12))
    with start(name, tmp_path) as here:
        request, forge = here.ask(), here.open()
        for sticky in (STICKY, LATER):
            long = replace(sticky, body=f"{sticky.body}\n{lines}", url="https://job.example/1")
            assert here.put(forge, request, long).cut
        body = here.bodies(request)[0]
    assert len(body) <= LENGTHS[name]
    assert "### 2 to change" in body
    assert body.rstrip().endswith("The whole text is in the job: <https://job.example/1>")


HOSTILE = [
    "@team and #1 and `x` | y",
    "<img src=x onerror=alert(1)>",
    "a\u202eb\x00c",
    "😀 \ud800",
    "\\ \" '",
    "--> <!-- reconciler plan project=census at=2026-01-01T00:00:00Z -->",
]


@each_forge
def test_a_body_comes_back_byte_for_byte(name: str, tmp_path: Path) -> None:
    body = "\n".join(["first", *HOSTILE, "last"])
    with start(name, tmp_path) as here:
        request, forge = here.ask(), here.open()
        here.put(forge, request, replace(STICKY, body=body))
        found = find_sticky(forge, request, "census", "prod")
    assert found == replace(STICKY, body=body)


@each_forge
def test_a_dry_run_shows_each_request_and_writes_nothing(name: str, tmp_path: Path) -> None:
    printed: list[str] = []
    with start(name, tmp_path) as here:
        request = here.ask()
        forge = here.open(print_request=printed.append)
        assert here.put(forge, request, STICKY).result == "created"
        forge.set_status(request.head, Status("reconciler/plan/census", "success", "ok"), request)
        assert here.bodies(request) == []
        here.put(here.open(), request, STICKY)
        here.forget()
        assert here.put(forge, request, LATER).result == "updated"
        assert {one["method"] for one in here.world.control("GET", "recorded")} == {"GET"}
        assert ["1 to change" in one for one in here.bodies(request)] == [True]
    sent = "\n".join(printed)
    assert "POST http" in sent
    assert "### 2 to change" in sent
    assert "forge-token" not in sent


@each_forge
def test_a_secret_is_in_none_of_the_recorded_requests(name: str, tmp_path: Path) -> None:
    redaction = Redaction()
    with start(name, tmp_path) as here:
        request = here.ask()
        forge = here.open(redaction=redaction)
        here.put(forge, request, STICKY)
        assert "forge-token" not in redaction.redact("Bearer forge-token")
        recorded = json.dumps(here.world.control("GET", "recorded"))
    assert "forge-token" not in recorded


STATES: list[Literal["pending", "success", "failure", "error"]] = [
    "pending",
    "success",
    "failure",
    "error",
]


@each_forge
def test_a_status_is_shown_beside_the_head(name: str, tmp_path: Path) -> None:
    with start(name, tmp_path) as here:
        request, forge = here.ask(), here.open()
        ended = []
        for environment in ("dev", "prod"):
            name = f"reconciler/plan/census/{environment}"
            said = ("3 to change · sha256:9f86d081", "https://job.example/1")
            ended.append(Status(name, "success", *said))
            for status in (Status(name, "pending", "plans"), ended[-1]):
                forge.set_status(request.head, status, request)
                forge.set_status(request.head, status, request)
        found = forge.list_statuses(request.head, request)
    assert sorted(found, key=lambda one: one.name) == ended


@each_forge
def test_a_status_may_follow_any_other(name: str, tmp_path: Path) -> None:
    with start(name, tmp_path) as here:
        here.world.fault(*(["strict-transitions:always"] if name == "gitlab" else []))
        request, forge = here.ask(), here.open()
        expected = {}
        for number, (first, second) in enumerate(itertools.product(STATES, repeat=2)):
            name_of = f"reconciler/plan/{number}"
            forge.set_status(request.head, Status(name_of, first), request)
            forge.set_status(request.head, Status(name_of, second), request)
            failed = name == "gitlab" and second == "error"
            expected[name_of] = "failure" if failed else second
        found = {one.name: one.state for one in forge.list_statuses(request.head, request)}
    assert found == expected


@each_forge
def test_a_status_of_a_commit_without_a_request(name: str, tmp_path: Path) -> None:
    with start(name, tmp_path) as here:
        commit = here.world.pull()
        forge = here.open(branch="main")
        status = Status("reconciler/apply/census", "success", "2 changed")
        forge.set_status(commit, status)
        assert forge.list_statuses(commit) == (status,)


def test_a_status_belongs_to_the_push_for_which_it_was_made(tmp_path: Path) -> None:
    with start("azure-devops", tmp_path) as here:
        first, forge = here.ask(), here.open()
        status = Status("reconciler/plan/census", "success", "first")
        forge.set_status(first.head, status, first)
        here.world.push("change", "second.yaml")
        second = here.open(number=first.number).find_request()
        assert second is not None
        assert forge.list_statuses(second.head, second) == ()
        forge.set_status(second.head, replace(status, description="second"), second)
        assert forge.list_statuses(first.head, second) == (status,)
        recorded = here.world.control("GET", "recorded")
    sent = [json.loads(one["body"]) for one in recorded if one["method"] == "POST"]
    assert [one["iterationId"] for one in sent] == [1, 2]


def test_a_status_of_gitlab_makes_no_second_pipeline(tmp_path: Path) -> None:
    with start("gitlab", tmp_path) as here:
        request, forge = here.ask(), here.open()
        for environment in ("dev", "prod"):
            status = Status(f"reconciler/plan/census/{environment}", "success")
            forge.set_status(request.head, status, request)
        recorded = here.world.control("GET", "recorded")
        sent = [json.loads(one["body"]) for one in recorded if one["method"] == "POST"]
        assert all(one.get("pipeline_id") or one.get("ref") == "change" for one in sent)
        shown = here.world.control("GET", f"requests/{request.number}")["statuses"]
        assert len({one["pipeline"] for one in shown}) == 1


@each_forge
def test_a_description_that_is_too_long_keeps_its_end(name: str, tmp_path: Path) -> None:
    digest = "sha256:9f86d081"
    with start(name, tmp_path) as here:
        request, forge = here.ask(), here.open()
        status = Status("reconciler/plan/x", "success", f"{'x' * 5_000} · {digest}")
        forge.set_status(request.head, status, request)
        (found,) = forge.list_statuses(request.head, request)
    assert found.description.endswith(digest)
    assert len(found.description) <= 255


@each_forge
def test_a_status_waits_for_its_lock(name: str, tmp_path: Path) -> None:
    with start(name, tmp_path) as here:
        request, forge = here.ask(), here.open()
        here.world.fault("conflict@set-status:3")
        status = Status("reconciler/plan/census", "success")
        forge.set_status(request.head, status, request)
        assert forge.list_statuses(request.head, request)[0].state == "success"
    assert len(here.clock.slept) == 3


@each_forge
def test_a_status_without_the_right_is_a_result(name: str, tmp_path: Path) -> None:
    with start(name, tmp_path) as here:
        request, forge = here.ask(), here.open()
        here.world.fault("no-right@set-status:always")
        said = put_status(forge, request.head, Status("reconciler/plan/x", "success"), request)
    assert said.result == "no right"
    rights = {"github": "statuses: write", "azure-devops": "Contribute", "gitlab": "Developer"}
    assert rights[name] in said.next_step


def test_the_token_of_a_job_of_gitlab_reads_and_is_refused_nothing(tmp_path: Path) -> None:
    with start("gitlab", tmp_path) as here:
        request = here.ask()
        here.put(here.open(), request, STICKY)
        here.forget()
        forge = here.open(token="forge-job-token", number=request.number, branch="main")
        assert forge.find_request() == request
        assert find_sticky(forge, request, "census", "prod") is None
        assert forge.list_statuses(request.head, request) == ()
        for said in (
            here.put(forge, request, LATER),
            put_status(forge, request.head, Status("reconciler/plan/x", "success"), request),
        ):
            assert said.result == "no right"
            assert "CI_JOB_TOKEN" in said.reason
            assert "RECONCILER_GITLAB_TOKEN" in said.next_step
        read = forge.read_requirements(request)
        assert read.approved is False
        here.world.control("POST", f"requests/{request.number}/merge", {"method": "merge"})
        assert len(forge.find_merged(here.world.pull())) == 1
        statuses = {one["status"] for one in here.world.control("GET", "recorded")}
    assert statuses == {200}


@each_forge
def test_the_reviews_of_a_request_are_read(name: str, tmp_path: Path) -> None:
    with start(name, tmp_path) as here:
        here.world.control("POST", "rules", {"approvals_required": 1})
        request, forge = here.ask(author="alice"), here.open()

        def review(author: str, state: str) -> Any:
            body = {"author": author, "state": state}
            here.world.control("POST", f"requests/{request.number}/reviews", body)
            return forge.read_requirements(request)

        nobody = forge.read_requirements(request)
        assert (nobody.approved, nobody.approved_by) == (False, ())
        assert nobody.mergeable is False
        assert any("approve" in one for one in nobody.reasons)
        assert review("alice", "approved").approved is False
        good = review("bob", "approved")
        assert (good.approved, good.approved_by, good.reasons) == (True, ("bob",), ())
        assert (good.mergeable, good.undiverged) == (True, True)
        if name != "gitlab":  # which has no such review
            against = review("carol", "changes-requested")
            assert against.approved is False
            assert any("carol" in one for one in against.reasons)
            assert review("carol", "approved").approved_by == ("bob", "carol")


def test_an_approval_of_an_older_commit_does_not_count_on_github(tmp_path: Path) -> None:
    with start("github", tmp_path) as here:
        request, forge = here.ask(author="alice"), here.open()
        review = {"author": "bob", "state": "approved"}
        here.world.control("POST", f"requests/{request.number}/reviews", review)
        assert forge.read_requirements(request).approved
        here.world.push("change", "second.yaml")
        read = forge.read_requirements(request)
    assert read.approved is False
    assert "newest commit" in read.reasons[0]


@each_forge
def test_whether_it_can_be_merged_is_awaited(name: str, tmp_path: Path) -> None:
    with start(name, tmp_path) as here:
        request, forge = here.ask(), here.open()
        here.world.control(
            "POST", f"requests/{request.number}/reviews", {"author": "bob", "state": "approved"}
        )
        here.world.fault("mergeable-unknown:2")
        assert forge.read_requirements(request).mergeable is True
        here.world.fault("mergeable-unknown:always")
        unknown = forge.read_requirements(request)
    assert unknown.mergeable is None
    assert any("has not computed" in one for one in unknown.reasons)


@each_forge
def test_a_conflict_and_a_draft_cannot_be_merged(name: str, tmp_path: Path) -> None:
    with start(name, tmp_path) as here:
        draft = here.ask("draft", draft=True)
        forge = here.open()
        assert forge.read_requirements(draft).mergeable is False
        request = here.ask("change")
        here.world.pull()
        here.world.push("main", "change.yaml", "another\n")
        read = forge.read_requirements(request)
    assert read.mergeable is False
    assert any("conflict" in one for one in read.reasons)


@each_forge
def test_a_target_branch_that_has_moved_on_is_reported(name: str, tmp_path: Path) -> None:
    with start(name, tmp_path) as here:
        request, forge = here.ask(), here.open()
        here.world.pull()
        here.world.push("main", "moved.yaml")
        read = forge.read_requirements(request)
    assert read.undiverged is False
    assert "main has 1 commit that it lacks" in read.reasons


@each_forge
def test_a_merged_request_was_mergeable(name: str, tmp_path: Path) -> None:
    with start(name, tmp_path) as here:
        request = here.ask()
        forge = here.open(branch="main")
        here.world.control("POST", f"requests/{request.number}/merge", {"method": "squash"})
        (merged,) = forge.find_merged(here.world.pull())
        read = forge.read_requirements(merged)
        assert (read.mergeable, read.undiverged) == (True, True)
        here.world.push("main", "later.yaml")
        read = forge.read_requirements(merged)
        assert (read.mergeable, read.undiverged) == (True, False)


@each_forge
def test_our_own_status_does_not_keep_a_request_from_the_merge(name: str, tmp_path: Path) -> None:
    with start(name, tmp_path) as here:
        here.world.control("POST", "rules", {"required_statuses": ["reconciler/plan/census"]})
        request, forge = here.ask(), here.open()
        here.world.control(
            "POST", f"requests/{request.number}/reviews", {"author": "bob", "state": "approved"}
        )
        forge.set_status(request.head, Status("reconciler/plan/census", "failure"), request)
        read = forge.read_requirements(request)
    assert read.mergeable is not False


@pytest.mark.parametrize(
    ("name", "repository"),
    [
        ("github", "acme"),
        ("github", "acme/../other"),
        ("github", "acme/.."),
        ("github", "a b/c"),
        ("github", "a/b?x=1"),
        ("github", ""),
        ("azure-devops", ".."),
        ("azure-devops", "a/b"),
        ("azure-devops", ""),
        ("gitlab", "acme/../other"),
        ("gitlab", "models"),
        ("gitlab", "a/b#c"),
        ("gitlab", ""),
    ],
)
def test_a_repository_with_a_wrong_form_is_refused(
    name: str, repository: str, tmp_path: Path
) -> None:
    job = Job(cast("ForgeName", name), "http://127.0.0.1:9/", repository, project="models")
    token = ForgeToken("forge-token", "X")
    with pytest.raises(ReconcilerError) as raised:
        open_forge(job, token, Redaction(), lambda _: None)
    assert raised.value.next_step


@each_forge
def test_names_are_escaped_in_addresses(name: str, tmp_path: Path) -> None:
    with start(name, tmp_path) as here:
        request = here.ask()
        forge = here.open()
        for commit in ("../../x", "a b?c=d", "é#"):
            with pytest.raises(ServiceError):
                forge.set_status(commit, Status("reconciler/plan/x", "success"))
        assert not any("x/statuses" in one and "%2F" not in one for one in here.calls("POST"))
        with pytest.raises(ServiceError):
            forge.update_comment(request, Comment("../../../user", ""), "text")


RACER = """
import sys, time
from reconciler.gitops.comments import Sticky, put_sticky
from reconciler.gitops.forge import Request
from reconciler.gitops.forges import open_forge
from reconciler.gitops.jobs import Job, find_token
from reconciler.secrets.redaction import Redaction
import json
from concurrent.futures import ThreadPoolExecutor

given = json.loads(sys.argv[1])
token = find_token(given["job"]["forge"], given["environ"])

def put(number):
    forge = open_forge(Job(**given["job"]), token, Redaction(), lambda _: None)
    sticky = Sticky("census", "prod", given["run"], given["at"], "sha256:0", f"text {given['run']}")
    return put_sticky(forge, Request(number, "a" * 40, "main"), sticky).result

print("ready", flush=True)
sys.stdin.readline()
with ThreadPoolExecutor(len(given["numbers"])) as pool:
    print(json.dumps(list(pool.map(put, given["numbers"]))))
"""


@pytest.mark.parametrize(
    ("name", "times"),
    [
        ("github", 6),
        *(pytest.param(name, 20, marks=pytest.mark.slow) for name in FORGES),
    ],
)
def test_two_processes_race_many_times_and_one_comment_stays(
    name: str, times: int, tmp_path: Path
) -> None:
    with start(name, tmp_path) as here:
        requests = [here.ask(f"change-{number}") for number in range(times)]
        for request in random.Random(7).sample(requests, times // 2):
            here.put(here.open(), request, STICKY)
        job = make_job(here.world)
        racers = []
        for run, at in (("200-1", "2026-11-24T00:00:00Z"), ("201-1", "2026-11-24T00:00:05Z")):
            given = {
                "job": {
                    "forge": job.forge,
                    "api": job.api,
                    "repository": job.repository,
                    "project": job.project,
                },
                "environ": {VARIABLES[name]: "forge-token"},
                "run": run,
                "at": at,
                "numbers": [one.number for one in requests],
            }
            racers.append(
                subprocess.Popen(
                    [sys.executable, "-c", RACER, json.dumps(given)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
        for racer in racers:
            assert racer.stdout is not None
            assert racer.stdout.readline() == "ready\n"
        for racer in racers:
            assert racer.stdin is not None
            racer.stdin.write("go\n")
            racer.stdin.flush()
        results = [json.loads(racer.communicate()[0]) for racer in racers]
        for request in requests:
            bodies = here.bodies(request)
            assert ["text 201-1" in one for one in bodies] == [True], (results, bodies)
    assert set(results[0]) <= {"created", "updated", "older"}
    assert set(results[1]) <= {"created", "updated", "same"}

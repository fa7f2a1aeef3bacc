"""What a job of each forge knows from its variables, and which token it uses."""

import json
from pathlib import Path
from typing import Any

import pytest

from reconciler.errors import ReconcilerError
from reconciler.gitops.jobs import Job, find_job, find_token

HEAD, MERGE, BASE = "a" * 40, "b" * 40, "c" * 40
SERVER = "https://github.example"


def github(tmp_path: Path, event: str, payload: Any, **more: str) -> dict[str, str]:
    file = tmp_path / "event.json"
    file.write_text(json.dumps(payload), encoding="utf-8")
    return {
        "GITHUB_ACTIONS": "true",
        "GITHUB_API_URL": f"{SERVER}/api/v3",
        "GITHUB_SERVER_URL": SERVER,
        "GITHUB_REPOSITORY": "acme/models",
        "GITHUB_EVENT_NAME": event,
        "GITHUB_EVENT_PATH": str(file),
        "GITHUB_SHA": MERGE,
        "GITHUB_RUN_ID": "4711",
        "GITHUB_RUN_ATTEMPT": "2",
        "GITHUB_STEP_SUMMARY": "/runner/summary.md",
        **more,
    }


def pull_request(full_name: str | None = "acme/models") -> dict[str, Any]:
    repo = {"full_name": full_name} if full_name else None
    return {
        "number": 7,
        "pull_request": {"head": {"sha": HEAD, "repo": repo}, "base": {"sha": BASE, "ref": "main"}},
    }


def test_a_pull_request_of_github(tmp_path: Path) -> None:
    environ = github(tmp_path, "pull_request", pull_request(), GITHUB_BASE_REF="main")
    assert find_job(environ) == Job(
        "github",
        f"{SERVER}/api/v3",
        "acme/models",
        event="request",
        number=7,
        head=HEAD,
        commit=MERGE,
        base="main",
        base_commit=BASE,
        merge_result=True,
        run="4711-2",
        run_url=f"{SERVER}/acme/models/actions/runs/4711/attempts/2",
        pipeline="4711",
        summary_file="/runner/summary.md",
    )


@pytest.mark.parametrize("full_name", ["stranger/models", None])
def test_a_fork_on_github_whose_repository_may_be_deleted(
    tmp_path: Path, full_name: str | None
) -> None:
    job = find_job(github(tmp_path, "pull_request", pull_request(full_name)))
    assert job is not None
    assert job.from_fork


def test_a_job_of_github_without_the_file_of_its_event(tmp_path: Path) -> None:
    environ = github(tmp_path, "pull_request", {}, GITHUB_REF="refs/pull/12/merge")
    del environ["GITHUB_EVENT_PATH"]
    job = find_job(environ)
    assert job is not None
    assert (job.number, job.head, job.from_fork) == (12, "", False)


def test_a_push_on_github(tmp_path: Path) -> None:
    payload = {"before": BASE, "after": MERGE}
    job = find_job(github(tmp_path, "push", payload, GITHUB_REF_NAME="main"))
    assert job is not None
    assert (job.event, job.branch, job.before, job.number) == ("push", "main", BASE, 0)
    assert (job.commit, job.merge_result, job.from_fork) == (MERGE, False, False)


def test_a_new_branch_has_no_commit_before(tmp_path: Path) -> None:
    job = find_job(github(tmp_path, "push", {"before": "0" * 40}))
    assert job is not None
    assert job.before == ""


@pytest.mark.parametrize(
    ("event", "expected"),
    [("schedule", "schedule"), ("workflow_dispatch", "manual"), ("issue_comment", "manual")],
)
def test_other_events_of_github(tmp_path: Path, event: str, expected: str) -> None:
    job = find_job(github(tmp_path, event, {"number": 5}))
    assert job is not None
    assert (job.event, job.number) == (expected, 0)


AZURE = {
    "TF_BUILD": "True",
    "SYSTEM_COLLECTIONURI": "https://dev.azure.com/acme/",
    "SYSTEM_TEAMPROJECTID": "6ce954b1",
    "BUILD_REPOSITORY_ID": "3411ebc1",
    "BUILD_REPOSITORY_PROVIDER": "TfsGit",
    "BUILD_SOURCEVERSION": MERGE,
    "BUILD_BUILDID": "99",
    "SYSTEM_JOBATTEMPT": "1",
}
AZURE_REQUEST = {
    **AZURE,
    "BUILD_REASON": "PullRequest",
    "BUILD_SOURCEBRANCH": "refs/pull/7/merge",
    "SYSTEM_PULLREQUEST_PULLREQUESTID": "7",
    "SYSTEM_PULLREQUEST_SOURCECOMMITID": HEAD,
    "SYSTEM_PULLREQUEST_TARGETBRANCH": "refs/heads/main",
    "SYSTEM_PULLREQUEST_ISFORK": "False",
}


def test_a_pull_request_of_azure_repos() -> None:
    assert find_job(AZURE_REQUEST) == Job(
        "azure-devops",
        "https://dev.azure.com/acme/",
        "3411ebc1",
        project="6ce954b1",
        event="request",
        number=7,
        head=HEAD,
        commit=MERGE,
        ref="refs/pull/7/merge",
        base="main",
        merge_result=True,
        run="99-1",
        run_url="https://dev.azure.com/acme/6ce954b1/_build/results?buildId=99",
        pipeline="99",
    )
    job = find_job({**AZURE_REQUEST, "SYSTEM_PULLREQUEST_ISFORK": "True"})
    assert job is not None
    assert job.from_fork


@pytest.mark.parametrize(
    ("reason", "event"),
    [
        ("IndividualCI", "push"),
        ("BatchedCI", "push"),
        ("Schedule", "schedule"),
        ("Manual", "manual"),
    ],
)
def test_other_builds_of_azure(reason: str, event: str) -> None:
    job = find_job({**AZURE, "BUILD_REASON": reason, "BUILD_SOURCEBRANCH": "refs/heads/main"})
    assert job is not None
    assert (job.event, job.branch, job.number, job.merge_result) == (event, "main", 0, False)


def test_azure_pipelines_may_build_a_repository_of_github() -> None:
    more = {
        "BUILD_REPOSITORY_PROVIDER": "GitHub",
        "BUILD_REPOSITORY_NAME": "acme/models",
        "SYSTEM_PULLREQUEST_PULLREQUESTNUMBER": "12",
    }
    job = find_job({**AZURE_REQUEST, **more})
    assert job is not None
    assert (job.forge, job.api, job.repository, job.number) == (
        "github",
        "https://api.github.com",
        "acme/models",
        12,
    )


GITLAB = {
    "GITLAB_CI": "true",
    "CI_API_V4_URL": "https://gitlab.example/api/v4",
    "CI_PROJECT_ID": "42",
    "CI_PIPELINE_SOURCE": "merge_request_event",
    "CI_PIPELINE_ID": "77",
    "CI_JOB_ID": "770",
    "CI_JOB_URL": "https://gitlab.example/acme/models/-/jobs/770",
    "CI_COMMIT_SHA": HEAD,
    "CI_COMMIT_BEFORE_SHA": "0" * 40,
    "CI_MERGE_REQUEST_IID": "7",
    "CI_MERGE_REQUEST_PROJECT_ID": "42",
    "CI_MERGE_REQUEST_SOURCE_PROJECT_ID": "42",
    "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main",
    "CI_MERGE_REQUEST_DIFF_BASE_SHA": BASE,
}


def test_a_merge_request_of_gitlab_is_checked_out_at_its_head() -> None:
    assert find_job(GITLAB) == Job(
        "gitlab",
        "https://gitlab.example/api/v4",
        "42",
        event="request",
        number=7,
        head=HEAD,
        commit=HEAD,
        base="main",
        base_commit=BASE,
        run="770",
        run_url="https://gitlab.example/acme/models/-/jobs/770",
        pipeline="77",
    )


def test_a_pipeline_of_merged_results_is_checked_out_at_the_merge() -> None:
    job = find_job({**GITLAB, "CI_COMMIT_SHA": MERGE, "CI_MERGE_REQUEST_SOURCE_BRANCH_SHA": HEAD})
    assert job is not None
    assert (job.head, job.commit, job.merge_result) == (HEAD, MERGE, True)


def test_a_fork_on_gitlab_belongs_to_the_project_of_the_request() -> None:
    job = find_job({**GITLAB, "CI_PROJECT_ID": "9", "CI_MERGE_REQUEST_SOURCE_PROJECT_ID": "9"})
    assert job is not None
    assert (job.from_fork, job.repository) == (True, "42")


def test_a_push_on_gitlab() -> None:
    kept = {name: value for name, value in GITLAB.items() if "MERGE_REQUEST" not in name}
    more = {"CI_PIPELINE_SOURCE": "push", "CI_COMMIT_BRANCH": "main", "CI_COMMIT_BEFORE_SHA": BASE}
    job = find_job({**kept, **more})
    assert job is not None
    assert (job.event, job.branch, job.before, job.from_fork) == ("push", "main", BASE, False)


def test_outside_of_a_job_there_is_none() -> None:
    assert find_job({"CI": "true", "GITHUB_TOKEN": "x"}) is None


@pytest.mark.parametrize(
    ("environ", "subject"),
    [
        ({**AZURE_REQUEST, "SYSTEM_PULLREQUEST_PULLREQUESTID": "7/../8"}, "PULLREQUESTID"),
        ({**AZURE_REQUEST, "BUILD_SOURCEVERSION": "main"}, "BUILD_SOURCEVERSION"),
        ({**GITLAB, "CI_MERGE_REQUEST_IID": "-1"}, "CI_MERGE_REQUEST_IID"),
        ({**GITLAB, "CI_MERGE_REQUEST_DIFF_BASE_SHA": HEAD.upper()}, "DIFF_BASE_SHA"),
    ],
)
def test_a_variable_with_a_wrong_form_is_named(environ: dict[str, str], subject: str) -> None:
    with pytest.raises(ReconcilerError) as raised:
        find_job(environ)
    assert subject in raised.value.subject
    assert raised.value.next_step


@pytest.mark.parametrize(
    "payload",
    [{"number": True}, {"number": "1;2"}, {"number": 7, "pull_request": {"head": {"sha": [1]}}}],
)
def test_an_event_with_a_wrong_form_is_refused(tmp_path: Path, payload: Any) -> None:
    with pytest.raises(ReconcilerError, match="is not the"):
        find_job(github(tmp_path, "pull_request", payload))


@pytest.mark.parametrize("data", [b"{", b"\xff", b"[" * 5_000, None])
def test_an_event_that_cannot_be_read_is_refused(tmp_path: Path, data: bytes | None) -> None:
    environ = github(tmp_path, "pull_request", {})
    file = tmp_path / "event.json"
    file.unlink() if data is None else file.write_bytes(data)
    with pytest.raises(ReconcilerError) as raised:
        find_job(environ)
    assert raised.value.subject == "GITHUB_EVENT_PATH"


@pytest.mark.parametrize("payload", [None, [], "x", {"pull_request": "x"}])
def test_an_event_of_another_form_holds_nothing(tmp_path: Path, payload: Any) -> None:
    job = find_job(github(tmp_path, "push", payload))
    assert job is not None
    assert (job.before, job.number) == ("", 0)


def test_the_token_is_never_shown() -> None:
    token = find_token("github", {"GITHUB_TOKEN": "ghs_planted"})
    assert (token.value, token.header, token.scheme) == ("ghs_planted", "Authorization", "Bearer ")
    assert "planted" not in repr(token)


def test_a_token_of_a_person_on_azure_is_a_password() -> None:
    job = find_token("azure-devops", {"SYSTEM_ACCESSTOKEN": "eyJhbGciOi.eyJzdWIi.c2ln"})
    person = find_token("azure-devops", {"SYSTEM_ACCESSTOKEN": "abcdefghij0123456789"})
    assert (job.scheme, person.scheme) == ("Bearer ", "Basic ")


def test_without_a_token_of_its_own_gitlab_only_reads() -> None:
    own = find_token("gitlab", {"RECONCILER_GITLAB_TOKEN": "glpat-x", "CI_JOB_TOKEN": "job"})
    assert (own.value, own.header, own.reads_only) == ("glpat-x", "PRIVATE-TOKEN", False)
    job = find_token("gitlab", {"CI_JOB_TOKEN": "job"})
    assert (job.value, job.header, job.reads_only) == ("job", "JOB-TOKEN", True)


@pytest.mark.parametrize(
    ("forge", "variable", "said"),
    [
        ("github", "GITHUB_TOKEN", "${{ github.token }}"),
        ("azure-devops", "SYSTEM_ACCESSTOKEN", "$(System.AccessToken)"),
        ("gitlab", "RECONCILER_GITLAB_TOKEN", "project access token"),
    ],
)
def test_a_missing_token_says_how_to_pass_it(forge: Any, variable: str, said: str) -> None:
    with pytest.raises(ReconcilerError) as raised:
        find_token(forge, {"CI_JOB_TOKEN": " "})
    assert raised.value.subject == variable
    assert said in raised.value.next_step

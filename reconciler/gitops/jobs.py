"""What a job of a forge knows about itself: its variables and the file of its event.

A job of Azure Pipelines may build a repository of GitHub; then the forge is GitHub. Variables that
hold a wrong form are refused by name, because each becomes a part of an address.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from reconciler.errors import ReconcilerError
from reconciler.model import Json
from reconciler.model.values import dataclass
from reconciler.text.json_text import read_json
from reconciler.transport.forge import ForgeToken

ForgeName: TypeAlias = Literal["github", "azure-devops", "gitlab"]
JobEvent: TypeAlias = Literal["request", "push", "schedule", "manual"]

FORGES: Final[tuple[ForgeName, ...]] = ("github", "azure-devops", "gitlab")
GITHUB_API: Final = "https://api.github.com"
# An event of GitHub has 25 MB at most.
_MOST_BYTES: Final = 32 * 1024 * 1024
_COMMIT: Final = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,17}")
_REQUEST_REF: Final = re.compile(r"refs/pull/([1-9][0-9]{0,17})/(?:merge|head)")
_EVENTS: Final[Mapping[str, JobEvent]] = {
    # GitHub
    "pull_request": "request",
    "pull_request_target": "request",
    # GitHub and GitLab
    "push": "push",
    "schedule": "schedule",
    # Azure
    "PullRequest": "request",
    "IndividualCI": "push",
    "BatchedCI": "push",
    "Schedule": "schedule",
    # GitLab
    "merge_request_event": "request",
}


@dataclass(frozen=True, slots=True)
class Job:
    """A job. Each value is empty if the job does not know it.

    `api` is the address of the API. `repository` is `owner/name` on GitHub, the id of the
    repository on Azure Repos, and the id or path of the project that holds the merge requests
    on GitLab; `project` is Azure's. `number` is that of the request. `head` is the newest
    commit of the source branch and `commit` the one that is checked out; `merge_result` says
    that it is the merge of head and base. `ref` is git's whole name of what is built, such as
    `refs/heads/main`. `base` is the name of the target branch, `branch` that of the branch that
    was pushed. `before` is the commit of the branch before a push. `run` and `url` name the
    run, `pipeline` what the forge itself calls it in its answers. `summary_file` is a file
    whose Markdown the forge shows on the page of the job. `login` is the account of the token,
    for a token that may not ask for it, such as that of an app of GitHub.
    """

    forge: ForgeName
    api: str
    repository: str
    project: str = ""
    event: JobEvent = "manual"
    number: int = 0
    head: str = ""
    commit: str = ""
    ref: str = ""
    branch: str = ""
    base: str = ""
    base_commit: str = ""
    before: str = ""
    merge_result: bool = False
    from_fork: bool = False
    run: str = ""
    run_url: str = ""
    pipeline: str = ""
    summary_file: str = ""
    login: str = ""


def find_job(environ: Mapping[str, str]) -> Job | None:
    """The job in which this process runs; None outside of one.

    Raises ReconcilerError for a variable, or a file of an event, that has a wrong form.
    """
    if environ.get("GITHUB_ACTIONS") == "true":
        return _find_github(environ)
    if environ.get("TF_BUILD", "").lower() == "true":
        if environ.get("BUILD_REPOSITORY_PROVIDER") == "GitHub":
            return _find_github_on_azure(environ)
        return _find_azure(environ)
    if environ.get("GITLAB_CI") == "true":
        return _find_gitlab(environ)
    return None


_TOKENS: Final[Mapping[ForgeName, tuple[str, str]]] = {
    "github": (
        "GITHUB_TOKEN",
        "In the workflow: env: {GITHUB_TOKEN: ${{ github.token }}}. By hand: export one.",
    ),
    "azure-devops": (
        "SYSTEM_ACCESSTOKEN",
        "In the pipeline: env: {SYSTEM_ACCESSTOKEN: $(System.AccessToken)}. By hand: export one.",
    ),
    "gitlab": (
        "RECONCILER_GITLAB_TOKEN",
        "Keep a project access token with the scope api in a masked variable. By hand: export one.",
    ),
}


def find_token(forge: ForgeName, environ: Mapping[str, str]) -> ForgeToken:
    """The token of the program on a forge; raises ReconcilerError without a token.

    Without a token of its own on GitLab it is the token of the job, which only reads.
    """
    variable, cure = _TOKENS[forge]
    token = environ.get(variable, "").strip()
    if token:
        if forge == "gitlab":
            return ForgeToken(token, variable, "PRIVATE-TOKEN", "")
        # The token of a job of Azure Pipelines is a JSON Web Token; a person's is not.
        personal = forge == "azure-devops" and not token.startswith("eyJ")
        return ForgeToken(token, variable, scheme="Basic " if personal else "Bearer ")
    job_token = environ.get("CI_JOB_TOKEN", "").strip() if forge == "gitlab" else ""
    if job_token:
        return ForgeToken(job_token, "CI_JOB_TOKEN", "JOB-TOKEN", "", reads_only=True)
    raise ReconcilerError(
        "is not set, so the forge cannot be asked", subject=variable, next_step=cure
    )


def _find_github(environ: Mapping[str, str]) -> Job:
    payload = _read_event(environ.get("GITHUB_EVENT_PATH", ""))
    request = _get(payload, "pull_request")
    event = _EVENTS.get(environ.get("GITHUB_EVENT_NAME", ""), "manual")
    repository = environ.get("GITHUB_REPOSITORY", "")
    ref = _REQUEST_REF.fullmatch(environ.get("GITHUB_REF", ""))
    in_request = event == "request"
    server = environ.get("GITHUB_SERVER_URL", "https://github.com")
    run, attempt = environ.get("GITHUB_RUN_ID", ""), environ.get("GITHUB_RUN_ATTEMPT", "1")
    head_repository = _get(request, "head", "repo", "full_name")
    number = _get(payload, "number") or (ref[1] if ref else "")
    return Job(
        forge="github",
        api=environ.get("GITHUB_API_URL") or GITHUB_API,
        repository=repository,
        event=event,
        number=_read_number("GITHUB_EVENT_PATH: number", number if in_request else ""),
        head=_read_commit("GITHUB_EVENT_PATH: pull_request.head.sha", _get(request, "head", "sha")),
        commit=_read_commit("GITHUB_SHA", environ.get("GITHUB_SHA")),
        ref=environ.get("GITHUB_REF", ""),
        branch="" if in_request else environ.get("GITHUB_REF_NAME", ""),
        base=environ.get("GITHUB_BASE_REF", ""),
        base_commit=_read_commit(
            "GITHUB_EVENT_PATH: pull_request.base.sha", _get(request, "base", "sha")
        ),
        before=_read_commit("GITHUB_EVENT_PATH: before", _get(payload, "before")),
        merge_result=environ.get("GITHUB_EVENT_NAME") == "pull_request",
        # The repository of a fork that was deleted is null.
        from_fork=bool(request) and head_repository != repository,
        run=f"{run}-{attempt}" if run else "",
        run_url=f"{server}/{repository}/actions/runs/{run}/attempts/{attempt}" if run else "",
        pipeline=run,
        summary_file=environ.get("GITHUB_STEP_SUMMARY", ""),
        login=environ.get("RECONCILER_GITHUB_LOGIN", ""),
    )


def _find_azure(environ: Mapping[str, str]) -> Job:
    number = environ.get("SYSTEM_PULLREQUEST_PULLREQUESTID", "")
    return Job(
        forge="azure-devops",
        api=environ.get("SYSTEM_COLLECTIONURI", ""),
        repository=environ.get("BUILD_REPOSITORY_ID", ""),
        project=environ.get("SYSTEM_TEAMPROJECTID", ""),
        number=_read_number("SYSTEM_PULLREQUEST_PULLREQUESTID", number),
        **_read_azure_run(environ),
    )


def _find_github_on_azure(environ: Mapping[str, str]) -> Job:
    number = environ.get("SYSTEM_PULLREQUEST_PULLREQUESTNUMBER", "")
    return Job(
        forge="github",
        api=GITHUB_API,
        repository=environ.get("BUILD_REPOSITORY_NAME", ""),
        login=environ.get("RECONCILER_GITHUB_LOGIN", ""),
        number=_read_number("SYSTEM_PULLREQUEST_PULLREQUESTNUMBER", number),
        **_read_azure_run(environ),
    )


def _read_azure_run(environ: Mapping[str, str]) -> dict[str, Any]:
    """What Azure Pipelines says about a run, whichever forge has the repository."""
    event = _EVENTS.get(environ.get("BUILD_REASON", ""), "manual")
    in_request = event == "request"
    run = environ.get("BUILD_BUILDID", "")
    collection = environ.get("SYSTEM_COLLECTIONURI", "")
    project = environ.get("SYSTEM_TEAMPROJECTID", "")
    head = environ.get("SYSTEM_PULLREQUEST_SOURCECOMMITID")
    attempt = environ.get("SYSTEM_JOBATTEMPT", "1")
    return {
        "event": event,
        "head": _read_commit("SYSTEM_PULLREQUEST_SOURCECOMMITID", head),
        "commit": _read_commit("BUILD_SOURCEVERSION", environ.get("BUILD_SOURCEVERSION")),
        "ref": environ.get("BUILD_SOURCEBRANCH", ""),
        "branch": "" if in_request else _name_branch(environ.get("BUILD_SOURCEBRANCH", "")),
        "base": _name_branch(environ.get("SYSTEM_PULLREQUEST_TARGETBRANCH", "")),
        "merge_result": in_request,
        "from_fork": environ.get("SYSTEM_PULLREQUEST_ISFORK", "").lower() == "true",
        "run": f"{run}-{attempt}" if run else "",
        "run_url": f"{collection.rstrip('/')}/{project}/_build/results?buildId={run}"
        if run
        else "",
        "pipeline": run,
    }


def _find_gitlab(environ: Mapping[str, str]) -> Job:
    event = _EVENTS.get(environ.get("CI_PIPELINE_SOURCE", ""), "manual")
    commit = _read_commit("CI_COMMIT_SHA", environ.get("CI_COMMIT_SHA"))
    # It is set where the checkout is a merge of it, and empty where the checkout is the head.
    variable = "CI_MERGE_REQUEST_SOURCE_BRANCH_SHA"
    source = _read_commit(variable, environ.get(variable))
    target_project = environ.get("CI_MERGE_REQUEST_PROJECT_ID", "")
    source_project = environ.get("CI_MERGE_REQUEST_SOURCE_PROJECT_ID", "")
    base_variable = "CI_MERGE_REQUEST_DIFF_BASE_SHA"
    number = environ.get("CI_MERGE_REQUEST_IID", "")
    return Job(
        forge="gitlab",
        api=environ.get("CI_API_V4_URL", ""),
        repository=target_project or environ.get("CI_PROJECT_ID", ""),
        event=event,
        number=_read_number("CI_MERGE_REQUEST_IID", number),
        head=(source or commit) if event == "request" else "",
        commit=commit,
        branch=environ.get("CI_COMMIT_BRANCH", ""),
        base=environ.get("CI_MERGE_REQUEST_TARGET_BRANCH_NAME", ""),
        base_commit=_read_commit(base_variable, environ.get(base_variable)),
        before=_read_commit("CI_COMMIT_BEFORE_SHA", environ.get("CI_COMMIT_BEFORE_SHA")),
        merge_result=bool(source),
        from_fork=source_project != target_project,
        run=environ.get("CI_JOB_ID", "") or environ.get("CI_PIPELINE_ID", ""),
        run_url=environ.get("CI_JOB_URL", "") or environ.get("CI_PIPELINE_URL", ""),
        pipeline=environ.get("CI_PIPELINE_ID", ""),
    )


def _read_event(path: str) -> Json:
    """The event of GitHub; None without a file."""
    if not path:
        return None
    try:
        with Path(path).open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise ValueError  # noqa: TRY301 - one error for whatever makes the file unusable
        return read_json(data)
    except (OSError, ValueError) as error:
        raise ReconcilerError(
            "names a file that is not the event of a job",
            subject="GITHUB_EVENT_PATH",
            next_step="GitHub Actions writes this file. Outside of a job, unset GITHUB_ACTIONS.",
        ) from error


def _get(document: Json, *names: str) -> Any:
    """A member of nested objects; "" for a missing one."""
    for name in names:
        document = document.get(name) if isinstance(document, dict) else None
    return "" if document is None else document


def _read_number(variable: str, value: object) -> int:
    text = str(value)
    if not text:
        return 0
    if isinstance(value, bool) or not _NUMBER.fullmatch(text):
        raise _refuse(variable, "is not the number of a request")
    return int(text)


def _read_commit(variable: str, value: object) -> str:
    """A commit; "" for an empty value and for the zeros of a branch that is new."""
    text = str(value or "")
    if not text.strip("0"):
        return ""
    if not _COMMIT.fullmatch(text):
        raise _refuse(variable, "is not the name of a commit")
    return text


def _refuse(variable: str, said: str) -> ReconcilerError:
    return ReconcilerError(
        said,
        subject=variable,
        next_step="The forge sets it in a job. By hand, give the options of the command.",
    )


def _name_branch(ref: str) -> str:
    return ref.removeprefix("refs/heads/")

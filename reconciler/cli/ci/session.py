"""One run of a command of `reconciler ci`: its job, its forge, its request, and what it reports.

What cannot be shown on the forge is never lost: it is in the artifacts and on the page of the job.
A missing right is a warning; any other failure of the forge is an error at the end of the run, when
everything else is done.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Final, cast

import click

from reconciler.cli.ci.artifacts import FOLDER, Artifacts, show_on_page
from reconciler.cli.context import Invocation
from reconciler.errors import ReconcilerError, ServiceError
from reconciler.gitops.comments import Put, Sticky, find_sticky, put_status, put_sticky
from reconciler.gitops.forge import Forge, Request, Status, StatusState
from reconciler.gitops.forges import open_forge
from reconciler.gitops.jobs import FORGES, GITHUB_API, ForgeName, Job, find_job, find_token
from reconciler.model import Finding
from reconciler.model.values import dataclass
from reconciler.render.comments import Heading
from reconciler.render.words.escape import escape
from reconciler.secrets.redaction import Redaction
from reconciler.text.times import format_utc

_APIS: Final[Mapping[str, tuple[str, str]]] = {
    "github": ("GITHUB_API_URL", GITHUB_API),
    "azure-devops": ("SYSTEM_COLLECTIONURI", ""),
    "gitlab": ("CI_API_V4_URL", "https://gitlab.com/api/v4"),
}
_API_OF: Final[Mapping[str, str]] = {
    "github": GITHUB_API,
    "azure-devops": "https://dev.azure.com/ORGANISATION",
    "gitlab": "https://gitlab.com/api/v4",
}
_STARTS: Final[Mapping[str, str]] = {
    "github": "On GitHub, on: pull_request starts one.",
    "azure-devops": "On Azure Repos, a build validation policy of the target branch starts one.",
    "gitlab": 'On GitLab, one has $CI_PIPELINE_SOURCE == "merge_request_event".',
}
_BY_HAND: Final = (
    "Run it in a job of GitHub Actions, Azure Pipelines or GitLab CI. By hand, give --forge"
    f" {'|'.join(FORGES)} --repository NAME --request NUMBER."
)
_PUT: Final = {"created": "written", "updated": "replaced", "same": "unchanged"}
# A status has at most 140 characters on GitHub.
_MOST_DESCRIPTION: Final = 140


@dataclass(frozen=True, slots=True)
class CiFlags:
    """The flags of every command of `ci`; each is empty if it was not given."""

    forge: str = ""
    api: str = ""
    repository: str = ""
    number: int = 0
    commit: str = ""
    base: str = ""
    artifacts: str = FOLDER
    dry_run: bool = False


def make_job(flags: CiFlags, environ: Mapping[str, str]) -> Job:
    """The job that the process runs in, or one by hand; a flag wins over a variable.

    Raises ReconcilerError if there is neither a job nor --forge.
    """
    found = find_job(environ)
    if found is None or flags.forge not in {"", found.forge}:
        if not flags.forge:
            said = "no forge is known: this is not a job of one"
            raise ReconcilerError(said, subject="ci", next_step=_BY_HAND)
        found = _make_by_hand(flags, environ)
    api = flags.api or found.api
    if not api:
        raise ReconcilerError(
            "the address of the API is not known",
            subject=_APIS[found.forge][0],
            next_step=f"Give it: --api {_API_OF[found.forge]}",
        )
    project, slash, repository = flags.repository.partition("/")
    named = {"repository": flags.repository} if flags.repository else {}
    if slash and found.forge == "azure-devops":
        named = {"project": project, "repository": repository}
    given = {
        "number": flags.number,
        "commit": flags.commit,
        "base": flags.base,
    }
    changed = {name: value for name, value in given.items() if value}
    return replace(found, api=api, **named, **changed)  # type: ignore[arg-type]


def _make_by_hand(flags: CiFlags, environ: Mapping[str, str]) -> Job:
    if not flags.repository:
        raise ReconcilerError("the repository is not known", subject="ci", next_step=_BY_HAND)
    variable, usual = _APIS[flags.forge]
    api = environ.get(variable) or usual
    return Job(forge=cast("ForgeName", flags.forge), api=api, repository=flags.repository)


class CiSession:
    """One run. `at` is when it began; `failed` collects what the forge did not take."""

    def __init__(self, invocation: Invocation, flags: CiFlags) -> None:
        """Raises ReconcilerError without a job, a token or a usable folder for the artifacts."""
        self.invocation = invocation
        self.flags = flags
        self.job = make_job(flags, os.environ)
        self.redaction = Redaction(os.environ)
        self.forge: Forge = open_forge(
            self.job,
            find_token(self.job.forge, os.environ),
            self.redaction,
            invocation.emitter,
            print_request=self._print_request if flags.dry_run else None,
        )
        self.artifacts = Artifacts(flags.artifacts)
        self.at = format_utc(datetime.now(UTC))
        self.failed: list[Finding] = []
        self._warned: set[str] = set()
        self._pages: list[str] = []
        # What the end of the run sets, by the name of the status.
        self._running: dict[str, tuple[Status, str, Request | None]] = {}

    @cached_property
    def folder(self) -> Path:
        """The folder of the project."""
        return Path(self.invocation.project_file).parent

    def find_request(self) -> Request:
        """The request that this run is for, read now; raises ReconcilerError without one."""
        request = self.forge.find_request()
        if request is None:
            raise ReconcilerError(
                f"this job of {self.forge.name} is not one of a request",
                subject="ci",
                next_step="Start it for a request, or give its number: --request NUMBER."
                f" {_STARTS[self.job.forge]}",
            )
        return request

    def make_heading(self, project: str, environment: str) -> Heading:
        """What a comment is about."""
        return Heading(project, environment, self.job.run_url)

    def find_comment(self, request: Request, project: str, environment: str) -> Sticky | None:
        """The comment of an environment on a request, read now."""
        return find_sticky(self.forge, request, project, environment)

    def comment(self, request: Request, sticky: Sticky) -> Put | None:
        """Show a comment on a request and on the page of the job; None if the forge fails."""
        sticky = replace(sticky, body=self.redaction.redact(sticky.body), url=self.job.run_url)
        self.add_to_page(sticky.body)
        put = self._try(lambda: put_sticky(self.forge, request, sticky))
        if put is None:
            return None
        if put.result == "no right":
            self.warn("the comment could not be written", put)
        elif put.result == "older":
            said = f"the comment stays as it is: {put.reason}"
            self.invocation.print_findings([Finding(said, severity="warning")])
        elif not self.flags.dry_run:
            where = put.url or request.url
            self.invocation.clear_progress()
            with contextlib.suppress(BrokenPipeError):
                click.echo(f"\nComment {_PUT[put.result]}: {escape(where)}")
        return put

    def set_status(
        self, commit: str, name: str, state: StatusState, said: str, request: Request | None
    ) -> None:
        """Show a status beside a commit; one that is pending is settled when the run ends."""
        said = self.redaction.redact(said)
        if len(said) > _MOST_DESCRIPTION:
            said = f"{said[: _MOST_DESCRIPTION - 1]}…"
        status = Status(name, state, said, self.job.run_url)
        before = self._running.pop(name, None)
        put = self._try(lambda: put_status(self.forge, commit, status, request))
        if put is None and before is not None:
            self._running[name] = status, commit, request  # the end of the run sets it again
        elif put is not None and put.result == "no right":
            self.warn("the status could not be set", put)
        elif put is not None and state == "pending":
            ended = replace(status, state="error", description="ended before its result")
            self._running[name] = ended, commit, request

    @contextlib.contextmanager
    def settling(self) -> Iterator[None]:
        """Leave no status pending when the block ends for any reason; write the page of the job."""
        try:
            yield
        finally:
            left = {} if self.flags.dry_run else dict(self._running)
            for status, commit, request in left.values():
                self.set_status(commit, status.name, status.state, status.description, request)
            self._show_pages()

    def warn(self, what: str, put: Put) -> None:
        """Warn once that a right is missing."""
        if what not in self._warned:
            self._warned.add(what)
            finding = Finding(
                what,
                subject=self.forge.name,
                detail=(put.reason,) if put.reason else (),
                next_step=put.next_step,
                severity="warning",
            )
            self.invocation.print_findings([finding])

    def _try(self, call: Callable[[], Put]) -> Put | None:
        try:
            return call()
        except ServiceError as error:
            self.failed += error.findings()
            return None

    def conclude(self, code: int) -> int:
        """Print what the forge did not take; returns the exit code, which is not 0 then."""
        if self.failed:
            self.invocation.print_findings(tuple(dict.fromkeys(self.failed)))
        return code or int(bool(self.failed))

    def add_to_page(self, text: str) -> None:
        """Keep Markdown for the page of the job."""
        self._pages.append(self.redaction.redact(text))

    def _show_pages(self) -> None:
        pages, self._pages = self._pages, []
        if not pages or self.flags.dry_run:
            return
        try:
            line = show_on_page(self.job.summary_file, self.artifacts, pages)
        except OSError as error:
            said = f"the page of the job cannot be written: {error.strerror}"
            finding = Finding(said, subject=str(error.filename or ""), severity="warning")
            self.invocation.print_findings([finding])
            return
        with contextlib.suppress(BrokenPipeError):
            click.echo(line.encode(), nl=bool(line))

    def _print_request(self, text: str) -> None:
        self.invocation.clear_progress()
        click.echo(f"{text}\n")


def check_open(session: CiSession, request: Request) -> None:
    """Raise ReconcilerError for a request that is not open: what reviewers saw must stay."""
    if request.state != "open":
        raise ReconcilerError(
            f"the request is {request.state}: no plan is shown in it any more",
            subject=f"{session.forge.name} {request.name}",
            next_step="Open a request for the change.",
        )


def name_status(what: str, project: str, environment: str) -> str:
    """The name of a status, such as `reconciler/plan/census/prod`."""
    return "/".join(filter(None, ["reconciler", what, project, environment]))

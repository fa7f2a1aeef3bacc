"""`ci sarif`: uploads drift reports to code scanning, where they are alerts of the repository."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import click

from reconciler.cli.ci.session import CiFlags, make_job
from reconciler.cli.context import Invocation
from reconciler.errors import ManifestInvalid, ReconcilerError, ServiceError
from reconciler.files import find_checkout
from reconciler.git import Git
from reconciler.gitops.forge import ScansCode
from reconciler.gitops.forges import open_forge
from reconciler.gitops.jobs import Job, find_token
from reconciler.gitops.merge_result import Checkout
from reconciler.gitops.sarif import MOST_BYTES, SarifFile, check_categories, read_sarif
from reconciler.model import Finding
from reconciler.render.words.escape import escape
from reconciler.secrets.redaction import Redaction
from reconciler.text.commits import shorten_commit
from reconciler.text.counting import count

_COMMIT: Final = re.compile(r"[0-9a-fA-F]{40}(?:[0-9a-fA-F]{24})?")
_REF: Final = re.compile(r"refs/(?:heads|tags|pull)/[^\x00-\x20\x7f~^:?*\[\\]+")
_AZURE: Final = (
    "Publish the files as the artifact CodeAnalysisLogs: the extension SARIF SAST Scans Tab shows"
    " them on the page of the run. In the pipeline: {publish: .reconciler-ci, artifact:"
    " CodeAnalysisLogs}."
)
_GITLAB: Final = (
    "Name the files in the job, if your version of GitLab knows the key: artifacts: {reports:"
    " {sarif: FILE}}. Every version shows drift.xml as tests: artifacts: {reports: {junit: FILE}}."
)
# Where code scanning takes no upload: the name for people, and what to do in place of it.
_ELSEWHERE: Final = {
    "azure-devops": ("Azure Repos", _AZURE),
    "gitlab": ("GitLab", _GITLAB),
}


def run_ci_sarif(invocation: Invocation, names: Sequence[str], ref: str, flags: CiFlags) -> int:
    """Upload each file by itself; returns the exit code.

    Every file is judged before the first one is sent.
    """
    job = make_job(flags, os.environ)
    if job.forge in _ELSEWHERE:
        name, step = _ELSEWHERE[job.forge]
        said = f"{name} takes no SARIF from a command"
        raise ReconcilerError(said, subject="ci sarif", next_step=step)
    files = _read_files(names or _find_files(flags.artifacts))
    job = _place(job, ref, flags)
    forge = open_forge(
        job,
        find_token(job.forge, os.environ),
        Redaction(os.environ),
        invocation.emitter,
        print_request=_print_request if flags.dry_run else None,
    )
    if not isinstance(forge, ScansCode):
        raise ReconcilerError("the forge has no code scanning", subject=job.forge)
    _warn_of_commits(invocation, files, job.commit)
    failed: list[Finding] = []
    for file in files:
        failed += _upload(invocation, forge, job, file, dry_run=flags.dry_run)
    invocation.print_findings(failed)
    page, marker, _ = job.run_url.partition("/actions/runs/")
    if marker and not flags.dry_run:
        click.echo(f"Alerts: {escape(page)}/security/code-scanning")
    return int(any(one.severity == "error" for one in failed))


def _find_files(folder: str) -> list[str]:
    """The files that `ci drift` has written; raises ReconcilerError without any."""
    found = sorted(str(path) for path in Path(folder).glob("drift*.sarif"))
    if not found:
        raise ReconcilerError(
            "it has no SARIF of drift",
            subject=folder,
            next_step="Make it with reconciler ci drift, or name a file: reconciler ci sarif FILE",
        )
    return found


def _read_files(names: Sequence[str]) -> list[SarifFile]:
    """Raises ManifestInvalid with why each file is not uploaded."""
    read = [_read_file(name) for name in dict.fromkeys(names)]
    findings = tuple(one for _, found in read for one in found)
    if findings:
        raise ManifestInvalid(findings)
    files = [file for file, _ in read if file is not None]
    check_categories(files)
    return files


def _read_file(name: str) -> tuple[SarifFile | None, tuple[Finding, ...]]:
    try:
        with Path(name).open("rb") as opened:
            data = opened.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) else str(error)
        step = "Make one: reconciler drift --out drift.sarif"
        return None, (Finding(f"cannot be read: {said}", subject=name, next_step=step),)
    if len(data) > MOST_BYTES:
        said = f"not uploaded: it is larger than {MOST_BYTES >> 20} MB"
        return None, (Finding(said, subject=name),)
    return read_sarif(name, data)


def _place(job: Job, ref: str, flags: CiFlags) -> Job:
    """The job with the commit and the ref that the alerts are about.

    By hand they are those of the checkout. Raises ReconcilerError for what is not known.
    """
    found = ref or (f"refs/pull/{flags.number}/head" if flags.number else job.ref)
    commit = job.commit
    if not commit or not found:
        checkout = Checkout(find_checkout(Path()))
        commit = commit or checkout.commit
        found = found or _find_branch(checkout.top)
    found = found if found.startswith("refs/") else f"refs/heads/{found}"
    if not _COMMIT.fullmatch(commit):
        said = "is not the whole name of a commit, which code scanning needs"
        raise ReconcilerError(said, subject=commit, next_step="Give it: --commit COMMIT")
    if not _REF.fullmatch(found):
        said = "is not a branch, a tag or a request, such as refs/heads/main"
        raise ReconcilerError(said, subject=found, next_step="Give it: --ref REF")
    return replace(job, commit=commit.lower(), ref=found)


def _find_branch(top: Path) -> str:
    found = Git(top).ask("branch", "--show-current").strip()
    if not found:
        raise ReconcilerError(
            "no branch is checked out, so it is not known whose alerts they are",
            subject="git",
            next_step="Give it: --ref refs/heads/main",
        )
    return found


def _warn_of_commits(invocation: Invocation, files: Sequence[SarifFile], commit: str) -> None:
    found = [
        Finding(
            f"its report was made from {shorten_commit(other, 12)}, and its alerts are shown at"
            f" {shorten_commit(commit, 12)}",
            subject=file.name,
            severity="warning",
        )
        for file in files
        for other in sorted(file.commits - {commit})
    ]
    invocation.print_findings(found)


def _upload(
    invocation: Invocation, forge: ScansCode, job: Job, file: SarifFile, *, dry_run: bool
) -> list[Finding]:
    """Upload one file and say what became of it; returns what went wrong."""
    packed = f"({file.name} in gzip and Base64)" if dry_run else file.packed
    try:
        upload = forge.upload_sarif(job.commit, job.ref, packed, file.tool)
    except ServiceError as error:
        return [_explain("it was not uploaded", file, error)]
    if dry_run:
        return []
    try:
        done = forge.await_sarif(upload)
    except ServiceError as error:
        return [
            _explain("GitHub has taken the file, and does not say what became of it", file, error)
        ]
    if done.state == "failed":
        return [_explain_failure(file, done.errors)]
    _show_upload(invocation, job, file)
    return [_explain_pending(file)] if done.state == "pending" else []


def _show_upload(invocation: Invocation, job: Job, file: SarifFile) -> None:
    where = ", ".join(f"{category}/" if category else tool for tool, category in file.categories)
    left = f"; {count(file.suppressed, 'ignored result')} left out" if file.suppressed else ""
    invocation.clear_progress()
    click.echo(
        f"{escape(file.name)}: {count(file.results, 'result')} uploaded for {escape(job.ref)} as"
        f" {escape(where)}{left}"
    )


def _explain_pending(file: SarifFile) -> Finding:
    return Finding(
        "GitHub has taken the file, and has not processed it yet",
        subject=file.name,
        next_step="Look at the code scanning page of the repository in some minutes.",
        severity="warning",
    )


def _explain(said: str, file: SarifFile, error: ServiceError) -> Finding:
    """A finding about a file that keeps what is said about the call."""
    (first, *_) = error.findings()
    call = f"{first.subject}: {first.message}" if first.subject else first.message
    return Finding(said, file.name, detail=(call, *first.detail), next_step=first.next_step)


def _explain_failure(file: SarifFile, errors: Sequence[str]) -> Finding:
    return Finding(
        "GitHub has taken the file, and its processing has failed",
        subject=file.name,
        detail=tuple(errors),
        next_step="The alerts are those of the upload before.",
    )


def _print_request(text: str) -> None:
    click.echo(f"{text}\n")

"""Writes the files of a pipeline into an existing project: `init --ci`.

No existing file is overwritten. A file that exists with other content is an error that shows what
to merge, except those that belong to the user from the first day on: what the pipeline installs,
and GitLab's first file where it already includes ours.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import click

import reconciler
from reconciler.cli.context import Invocation
from reconciler.cli.loading import load_each
from reconciler.errors import ManifestInvalid, ReconcilerError
from reconciler.files import check_path, find_checkout, resolve_path, writing
from reconciler.git import Git, GitFailed
from reconciler.gitops.workflows import (
    GITLAB_START,
    ForgeName,
    Pipeline,
    is_plain,
    render_files,
    sort_environments,
)
from reconciler.manifests import Loaded
from reconciler.manifests.folder import PROJECT_FILE, miss_project
from reconciler.model import Finding, Project
from reconciler.render.words.names import list_names
from reconciler.text.counting import count

_MOST_LINES: Final = 60
_MOST_NAMED: Final = 10
_AZURE: Final = "azure-pipelines"
_USUAL_BRANCHES: Final = ("main", "master", "trunk")
# An address of a remote by https or ssh, or in the short form of ssh: git@HOST:OWNER/NAME.git
_REMOTE: Final = re.compile(r"(?:(?:https|ssh)://[^/]+/|[^/@:]+@[^/:]+:)(?P<path>[^:?#]+)")
# A file that an earlier init wrote names its command in the first line.
_OURS: Final = "reconciler init --ci"
_FORGE_WORDS: Final[Mapping[ForgeName, str]] = {
    "github": "GitHub",
    "azure-pipelines": "Azure DevOps",
    "gitlab": "GitLab",
}
# Folders that a project may get later; the workflow watches them from the start.
_LATER: Final = ("environments/", "policies/")


def write_pipeline(invocation: Invocation, folder: Path, forge: ForgeName, branch: str) -> None:
    """Write the files of a pipeline, and print them and the next steps.

    Raises ManifestInvalid, before the first write, for a project that cannot be read and for each
    file that exists with other content.
    """
    projects = _load_projects(invocation, folder)
    top = find_checkout(folder)
    pipeline = _make_pipeline(projects, folder, top, forge, branch)
    files = render_files(pipeline)
    kept = {name for name in files if _is_kept(top, name, pipeline)}
    new = {name: text for name, text in files.items() if not (top / name).exists()}
    conflicts = tuple(
        found
        for name, text in files.items()
        if name not in kept | new.keys()
        for found in _compare(top, name, text)
    )
    if conflicts:
        raise ManifestInvalid(conflicts)
    for name in files:
        check_path(top / name, top)
    with writing({top / name: text for name, text in new.items()}):
        pass
    for name in files:
        click.echo(f"  {name}" if name in new else f"  {name} (exists: unchanged)")
    invocation.print_findings((*_check_projects(projects), *_check_secrets(projects)))
    click.echo(_describe_next(pipeline))


def _load_projects(invocation: Invocation, folder: Path) -> list[tuple[Project, Loaded]]:
    """The project of a folder, once for each of its environments.

    Raises ManifestInvalid with every error in its files.
    """
    if invocation.project_file:
        raise ReconcilerError(
            f"a pipeline uses the project file {PROJECT_FILE}, and no other one",
            subject=invocation.project_file,
            next_step="Leave out --project, and name the project's folder: reconciler init FOLDER"
            " --ci FORGE",
        )
    file = folder / PROJECT_FILE
    if not file.is_file():
        raise ManifestInvalid((miss_project(file),))
    reading = Invocation()
    reading.project_file = str(file)
    found = load_each(reading, ())
    errors = tuple(
        dict.fromkeys(
            finding
            for one in found
            for finding in one.findings
            if finding.severity == "error" and not finding.guard
        )
    )
    projects = [(one.project, one) for one in found if one.project is not None]
    if errors or not projects:
        raise ManifestInvalid(errors)
    return projects


def _make_pipeline(
    projects: Sequence[tuple[Project, Loaded]],
    folder: Path,
    top: Path,
    forge: ForgeName,
    branch: str,
) -> Pipeline:
    below = resolve_path(folder).relative_to(top).as_posix()
    below = "" if below == "." else below
    git = Git(top)
    return Pipeline(
        forge=forge,
        project=projects[0][0].name,
        version=reconciler.__version__,
        folder=below,
        branch=branch or _find_branch(git),
        environments=[one.environment for one, _ in projects if one.environment],
        paths=_list_paths({name for _, one in projects for name in one.files}, below),
        repository=_find_repository(git, forge),
    )


def _find_branch(git: Git) -> str:
    """The default branch of the remote; without one, main or the only other usual name."""
    head = _ask(git, "symbolic-ref", "--short", "refs/remotes/origin/HEAD")
    if head:
        return head.removeprefix("origin/")
    local = _ask(git, "branch", "--list", "--format=%(refname:short)", *_USUAL_BRANCHES).split()
    return next((name for name in _USUAL_BRANCHES if name in local), _USUAL_BRANCHES[0])


def _find_repository(git: Git, forge: ForgeName) -> str:
    """OWNER/NAME of the remote, for the page; empty if it is not an address of the forge.

    GitLab and GitHub also run on hosts of their own, so only the form of the address counts.
    """
    address = _ask(git, "remote", "get-url", "origin")
    path = _REMOTE.fullmatch(address)
    name = path["path"].removesuffix(".git").strip("/") if path and forge != _AZURE else ""
    parts = name.count("/")
    held = parts == 1 or (parts > 1 and forge == "gitlab")
    return name if held and is_plain(name) else ""


def _ask(git: Git, *arguments: str) -> str:
    """What git prints; empty if it fails, as in a folder that is not a repository."""
    try:
        return git.ask(*arguments).strip()
    except GitFailed:
        return ""


def _list_paths(files: Collection[str], below: str) -> tuple[str, ...]:
    """What the project reads, relative to the top of the repository; empty for all of it.

    Each folder directly in the project's counts as a whole.
    """
    found = {f"{head}/" if rest else head for head, _, rest in map(_split, files)}
    names = sorted({PROJECT_FILE, *_LATER, *found})
    if not all(is_plain(name) for name in names):
        return (f"{below}/",) if below else ()
    return tuple(f"{below}/{name}" if below else name for name in names)


def _split(name: str) -> tuple[str, str, str]:
    return name.partition("/")


def _is_kept(top: Path, name: str, pipeline: Pipeline) -> bool:
    """Whether an existing file is the user's own."""
    file = top / name
    if name == pipeline.locate("ci/reconciler.in"):
        return file.is_file()
    return (
        name == GITLAB_START
        and re.search(
            rf"^[^#\n]*{re.escape(pipeline.workflow)}(?![\w.-])", _read(file), re.MULTILINE
        )
        is not None
    )


def _read(file: Path) -> str:
    """The text of a file; empty if it cannot be read."""
    try:
        return file.read_bytes()[:1_000_000].decode(errors="replace")
    except OSError:
        return ""


def _compare(top: Path, name: str, text: str) -> Iterator[Finding]:
    """A finding that says what to merge, if a file has other content than a text."""
    written = _read(top / name)
    if written.splitlines() == text.splitlines():  # git may have changed the line ends
        return
    ours = _OURS in written or name == GITLAB_START
    yield Finding(
        "the file exists, with other content",
        subject=name,
        detail=_describe_difference(name, written, text) if ours else (),
        next_step=f"Nothing was written. {_advise(name, ours=ours)}",
    )


def _describe_difference(name: str, written: str, text: str) -> tuple[str, ...]:
    lines = tuple(
        difflib.unified_diff(
            written.splitlines(), text.splitlines(), name, "what init writes", n=1, lineterm=""
        )
    )
    left = len(lines) - _MOST_LINES
    return (*lines[:_MOST_LINES], f"… and {count(left, 'more line')}") if left > 0 else lines


def _advise(name: str, *, ours: bool) -> str:
    if name == GITLAB_START:
        return (
            f"Add the lines of include to {name}, and the stages test and deploy if it has others."
            " Then run the command again."
        )
    if ours:
        return "Merge these lines by hand, or move the file away and run the command again."
    return "Rename it, run the command again, and merge both files."


def _check_projects(loaded: Sequence[tuple[Project, Loaded]]) -> Iterator[Finding]:
    """Warnings about what works on one machine and not in a pipeline."""
    projects = [one for one, _ in loaded]
    checks = (
        (
            [one for one in projects if one.cloud.emulated],
            "the project uses the emulator of this machine, which a pipeline cannot reach",
            "Write spec.cloud: azure before the first pull request.",
        ),
        (
            [one for one in projects if not one.ledger_container],
            "the ledger is in a folder, which a runner does not keep after the job",
            "Write spec.ledger.container with the address of a container in storage.",
        ),
    )
    for found, message, step in checks:
        names = [one.environment for one in found if one.environment]
        detail = (f"For: {list_names(names, _MOST_NAMED)}",) if names else ()
        if found:
            yield Finding(message, found[0].file, detail=detail, next_step=step, severity="warning")


def _check_secrets(loaded: Sequence[tuple[Project, Loaded]]) -> Iterator[Finding]:
    """A warning about the secrets that manifests refer to, which no job has by itself."""
    secrets = dict.fromkeys(str(secret) for _, one in loaded for secret in one.secrets)
    if secrets:
        yield Finding(
            "the manifests refer to secrets, which a job does not have",
            loaded[0][0].file,
            detail=(list_names(secrets, _MOST_NAMED),),
            next_step="Refer to each one with env: NAME, keep it in the environment of the forge,"
            " and map it in the step of the apply.",
            severity="warning",
        )


def _describe_next(pipeline: Pipeline) -> str:
    names = sort_environments(pipeline.environments)
    order = f" Environments, in the order of their applies: {', '.join(names)}." if names else ""
    inputs, pinned = (pipeline.locate(f"ci/reconciler.{end}") for end in ("in", "txt"))
    return f"""
A merge into {pipeline.branch} is applied.{order}

Next steps:
  1. Pin what the pipeline installs. Run this at the top of the repository:
       pip wheel --no-deps --wheel-dir {pipeline.locate("ci")} {_find_source()}
       uv pip compile {inputs} --universal --python-version 3.12 --generate-hashes \
--output-file {pinned}
  2. Make the identities, and set up {_FORGE_WORDS[pipeline.forge]}, as this page says:
       {pipeline.locate(f"ci/{pipeline.forge}.md")}
  3. Commit the files, and open a pull request with them."""


def _find_source() -> str:
    """The folder or the wheel from which reconciler was installed; SOURCE if it is not known.

    The file is that of PEP 610, which pip and uv write.
    """
    import json
    import shlex
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        said = json.loads(distribution("reconciler").read_text("direct_url.json") or "{}")
    except (PackageNotFoundError, ValueError):
        said = {}
    parts = urlsplit(str(said.get("url", "")))
    return shlex.quote(unquote(parts.path)) if parts.scheme == "file" else "SOURCE"

"""Writes the files of a pipeline: the workflow, what it installs, and the page about its set-up.

The text of each file is a template in `templates/`. A name of the project, a branch or a folder
goes into shell commands and expressions there, so `check_names` accepts only plain ones.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, cached_property
from typing import Any, Final, Literal, TypeAlias

from reconciler.errors import ManifestInvalid
from reconciler.model import Finding
from reconciler.model.values import dataclass

ForgeName: TypeAlias = Literal["github", "azure-pipelines", "gitlab"]

FORGES: Final[tuple[ForgeName, ...]] = ("github", "azure-pipelines", "gitlab")
# The forge environment of a project that has no environments.
PRODUCTION: Final = "production"
ARTIFACTS: Final = ".reconciler-ci/"
# The file that GitLab starts from; a project of GitLab often has one.
GITLAB_START: Final = ".gitlab-ci.yml"

# Commits, and not tags: a tag can be moved. Read from the repositories of the actions.
_ACTIONS: Final = {
    "checkout": "actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1",
    "setup_python": "actions/setup-python@5fda3b95a4ea91299a34e894583c3862153e4b97 # v7.0.0",
    "upload_artifact": "actions/upload-artifact@bbbca2ddaa5d8feaa63e36b76fdaad77386f024f # v7.0.0",
    "azure_login": "azure/login@f5d393ae46f8fde4be8b75f32e3fc50e654ad0ca # v3.0.1",
}
_WORKFLOWS: Final[Mapping[ForgeName, str]] = {
    "github": ".github/workflows/{}.yml",
    "azure-pipelines": ".azure-pipelines/{}.yml",
    "gitlab": ".gitlab/{}.yml",
}
_PLAIN: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/-]*")
# Names of usual environments, in the order in which a change reaches them.
_ORDER: Final = (
    *("dev", "development", "test", "testing", "qa", "int", "integration"),
    *("stage", "staging", "uat", "preprod", "pre-prod", "preproduction"),
    *("prod", "production", "live"),
)


@dataclass(frozen=True)
class Pipeline:
    """What the files of a pipeline depend on.

    `folder` is the project's, relative to the top of the repository; empty for the top. `branch` is
    the one that is applied. `paths` are the files and folders that the project reads, relative to
    the top, with a slash after a folder; without any, each push starts an apply. `repository` is
    OWNER/NAME on the forge; empty if it is not known.
    """

    forge: ForgeName
    project: str
    version: str
    folder: str = ""
    branch: str = "main"
    environments: Sequence[str] = ()
    paths: Sequence[str] = ()
    repository: str = ""

    @cached_property
    def label(self) -> str:
        """The name of the workflow, in which each project of a repository differs."""
        return "-".join(("reconciler", *self.folder.split("/"))) if self.folder else "reconciler"

    @cached_property
    def workflow(self) -> str:
        """The workflow's file, relative to the top of the repository."""
        return _WORKFLOWS[self.forge].format(self.label)

    def locate(self, name: str) -> str:
        """A file of the project, relative to the top of the repository."""
        return f"{self.folder}/{name}" if self.folder else name


@dataclass(frozen=True, slots=True)
class ApplyJob:
    """The apply of one environment, or of a project without environments.

    `id` names its job, `after` the job that ends before it starts, and `place` the environment of
    the forge, which has the reviewers.
    """

    id: str
    environment: str
    place: str
    after: str


def sort_environments(names: Sequence[str]) -> list[str]:
    """The environments in the order of their applies: dev before prod; other names come first."""
    known = {name: place for place, name in enumerate(_ORDER)}
    return sorted(names, key=lambda name: (known.get(name.casefold(), -1), name))


def list_applies(pipeline: Pipeline) -> list[ApplyJob]:
    """The applies in their order; each environment waits for the one before it."""
    names = sort_environments(pipeline.environments)
    if not names:
        return [ApplyJob("apply", "", PRODUCTION, "")]
    applies: list[ApplyJob] = []
    for name in names:
        key = _find_free(_name_job(pipeline.forge, name), {one.id for one in applies})
        applies.append(ApplyJob(key, name, name, applies[-1].id if applies else ""))
    return applies


def _name_job(forge: ForgeName, name: str) -> str:
    """The name of a job; a stage of Azure Pipelines has letters, digits and '_' only."""
    return f"apply_{name.replace('-', '_')}" if forge == "azure-pipelines" else f"apply-{name}"


def _find_free(wanted: str, taken: set[str]) -> str:
    """A name that is not taken: two names may differ in '-' and '_' alone, or in casing."""
    used = {one.casefold() for one in taken}
    names = (wanted, *(f"{wanted}_{number}" for number in range(2, len(used) + 3)))
    return next(name for name in names if name.casefold() not in used)


def check_names(pipeline: Pipeline) -> None:
    """Raise ManifestInvalid for each name that a workflow file cannot hold safely."""
    given = [
        ("the branch", pipeline.branch, "Give another one with --branch."),
        ("the folder of the project", pipeline.folder, "Rename it."),
        *(("the environment", name, "Rename it.") for name in pipeline.environments),
    ]
    wrong = tuple(
        Finding(
            f"{what} has characters that a workflow file cannot hold safely: {name[:100]!a}",
            next_step=f"Letters, digits, '.', '_', '-' and '/' are possible. {step}",
        )
        for what, name, step in given
        if name and not is_plain(name)
    )
    if wrong:
        raise ManifestInvalid(wrong)


def is_plain(name: str) -> bool:
    """Whether a name has only characters without a meaning in shells, globs and expressions."""
    return _PLAIN.fullmatch(name) is not None


def render_files(pipeline: Pipeline) -> dict[str, str]:
    """The files of a pipeline by their names, relative to the top of the repository."""
    check_names(pipeline)
    words = {**_ACTIONS, **_find_words(pipeline)}
    return {name: _render(template, words) for name, template in _list_templates(pipeline)}


def _list_templates(pipeline: Pipeline) -> Iterator[tuple[str, str]]:
    yield pipeline.workflow, f"{pipeline.forge}.yml.j2"
    if pipeline.forge == "gitlab":
        yield GITLAB_START, "gitlab-ci.yml.j2"
    yield pipeline.locate("ci/reconciler.in"), "reconciler.in.j2"
    yield pipeline.locate(f"ci/{pipeline.forge}.md"), f"{pipeline.forge}.md.j2"


def _find_words(pipeline: Pipeline) -> dict[str, Any]:
    """What the templates call by name."""
    folder, applies = pipeline.folder, list_applies(pipeline)
    owner, _, name = pipeline.repository.rpartition("/")
    known = {"owner": owner, "repository_name": name} if name else {}
    return {
        "project": pipeline.project,
        "branch": pipeline.branch,
        "label": pipeline.label,
        "workflow": pipeline.workflow,
        "paths": [one.rstrip("/") for one in pipeline.paths],
        "globs": [_match_below(one, "**") for one in pipeline.paths],
        "changes": [_match_below(one, "**/*") for one in pipeline.paths],
        "applies": applies,
        "places": " and ".join(f"`{one.place}`" for one in applies),
        "version": pipeline.version,
        "folder": f"{folder}/" if folder else "",
        "up": "../" * (folder.count("/") + 2 if folder else 1),
        "ci": pipeline.locate("ci"),
        "command": f"reconciler --chdir {folder}" if folder else "reconciler",
        "artifacts": pipeline.locate(ARTIFACTS),
        "page": pipeline.locate(f"ci/{pipeline.forge}.md"),
        "inputs": pipeline.locate("ci/reconciler.in"),
        "requirements": pipeline.locate("ci/reconciler.txt"),
        "wheel": pipeline.locate(f"ci/reconciler-{pipeline.version}-py3-none-any.whl"),
        "owner": "OWNER",
        "repository_name": "REPOSITORY",
        **known,
    }


def _match_below(path: str, pattern: str) -> str:
    """The pattern of a file, or of all files in a folder."""
    return f"{path}{pattern}" if path.endswith("/") else path


def _render(template: str, words: Mapping[str, Any]) -> str:
    return str(_make_templates().get_template(template).render(words))


@cache
def _make_templates() -> Any:
    """Templates in which << >> and <% %> are Jinja's: the forges use braces themselves."""
    from jinja2 import Environment, PackageLoader, StrictUndefined  # noqa: PLC0415 - slow

    environment = Environment(  # noqa: S701 - no HTML; check_names bounds what is filled in
        loader=PackageLoader("reconciler.gitops", "templates"),
        variable_start_string="<<",
        variable_end_string=">>",
        block_start_string="<%",
        block_end_string="%>",
        comment_start_string="<#",
        comment_end_string="#>",
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
    )
    environment.filters["quoted"] = json.dumps
    return environment

"""The files of a pipeline, as values: names, order of applies, what each job may do."""

from typing import Any, get_args

import pytest
import yaml

from reconciler.cli.commands.init import init
from reconciler.errors import ManifestInvalid
from reconciler.gitops.workflows import (
    FORGES,
    ForgeName,
    Pipeline,
    list_applies,
    render_files,
    sort_environments,
)
from tests.golden import check


def make(forge: ForgeName, **more: Any) -> Pipeline:
    given: dict[str, Any] = {"paths": ("manifests/", "reconciler.yaml"), "version": "0.1.0"}
    return Pipeline(forge=forge, project="census", **{**given, **more})


TWO: dict[str, Any] = {
    "folder": "services/ml",
    "branch": "trunk",
    "environments": ("prod", "dev"),
    "paths": ("services/ml/manifests/", "services/ml/reconciler.yaml"),
    "repository": "acme/models",
}


@pytest.mark.parametrize("forge", FORGES)
@pytest.mark.parametrize(("name", "more"), [("one", {}), ("two", TWO)])
def test_the_files_are_these(forge: ForgeName, name: str, more: dict[str, Any]) -> None:
    """Two shapes: a project that is the repository, and one of two environments below its top."""
    files = render_files(make(forge, **more))
    text = "\n".join(f"==== {file}\n{text}" for file, text in files.items())
    check(f"pipeline-{forge}-{name}", text)


def workflow(forge: ForgeName, **more: Any) -> Any:
    pipeline = make(forge, **more)
    return yaml.safe_load(render_files(pipeline)[pipeline.workflow])


def test_the_flag_names_the_forges() -> None:
    (flag,) = (one for one in init.params if one.name == "forge")
    assert tuple(flag.type.choices) == FORGES == get_args(ForgeName)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("given", "order"),
    [
        (("prod", "dev"), ["dev", "prod"]),
        (("production", "qa", "staging", "Dev"), ["Dev", "qa", "staging", "production"]),
        (("prod", "us", "eu"), ["eu", "us", "prod"]),
    ],
)
def test_a_change_reaches_production_last(given: tuple[str, ...], order: list[str]) -> None:
    assert sort_environments(given) == order


@pytest.mark.parametrize("forge", FORGES)
def test_each_environment_waits_for_the_one_before_it(forge: ForgeName) -> None:
    applies = list_applies(make(forge, environments=("prod", "dev", "qa")))
    assert [one.environment for one in applies] == ["dev", "qa", "prod"]
    assert [one.after for one in applies] == ["", applies[0].id, applies[1].id]
    assert [one.place for one in applies] == ["dev", "qa", "prod"]


@pytest.mark.parametrize("forge", FORGES)
def test_similar_names_of_environments_are_different_jobs(forge: ForgeName) -> None:
    applies = list_applies(make(forge, environments=("eu-1", "eu_1", "EU_1")))
    assert len({one.id.casefold() for one in applies}) == 3


def test_only_the_jobs_that_need_a_right_have_it() -> None:
    document = workflow("github", environments=("dev", "prod"))
    assert document["permissions"] == {}
    rights = {name: job["permissions"] for name, job in document["jobs"].items()}
    writes = {"contents": "read", "id-token": "write", "pull-requests": "write"}
    assert rights == {
        "plan": {**writes, "statuses": "write"},
        "apply-dev": {**writes, "statuses": "write"},
        "apply-prod": {**writes, "statuses": "write"},
        "drift": {"contents": "read", "id-token": "write", "security-events": "write"},
    }


def test_plan_and_apply_have_two_identities() -> None:
    jobs = workflow("github", environments=("dev", "prod"))["jobs"]
    logins = {
        name: step["with"]["client-id"]
        for name, job in jobs.items()
        for step in job["steps"]
        if step.get("uses", "").startswith("azure/login@")
    }
    plan, apply = (f"${{{{ vars.AZURE_{who}_CLIENT_ID }}}}" for who in ("PLAN", "APPLY"))
    assert logins == {"plan": plan, "apply-dev": apply, "apply-prod": apply, "drift": plan}
    # The variable of an apply is that of the job's environment, so each has one of its own.
    assert [jobs[f"apply-{name}"]["environment"] for name in ("dev", "prod")] == ["dev", "prod"]


@pytest.mark.parametrize("forge", FORGES)
def test_no_file_asks_for_a_stored_secret(forge: ForgeName) -> None:
    pipeline = make(forge, environments=("dev", "prod"))
    text = render_files(pipeline)[pipeline.workflow]
    assert "secrets." not in text
    assert "pull_request_target" not in text


@pytest.mark.parametrize(
    "more",
    [
        {"branch": "a'b"},
        {"branch": "x${{github.token}}"},
        {"branch": "-x"},
        {"folder": "a b"},
        {"folder": "a;curl"},
        {"folder": "a\nb"},
        {"folder": "<<branch>>"},
        {"environments": ("a b",)},
        {"environments": ("$(id)",)},
    ],
)
@pytest.mark.parametrize("forge", FORGES)
def test_a_name_that_could_be_code_is_refused(forge: ForgeName, more: dict[str, Any]) -> None:
    with pytest.raises(ManifestInvalid, match="characters that a workflow file cannot hold"):
        render_files(make(forge, **more))


def test_all_names_are_refused_at_once() -> None:
    with pytest.raises(ManifestInvalid) as refused:
        render_files(make("github", branch="a'b", folder="a b", environments=("$x", "y")))
    assert len(refused.value.findings()) == 3


@pytest.mark.parametrize("forge", FORGES)
def test_every_push_is_applied_where_it_is_not_known_what_is_read(forge: ForgeName) -> None:
    text = render_files(make(forge, paths=()))[make(forge).workflow]
    assert 'paths: ["manifests' not in text
    assert "changes:" not in text
    assert "include: []" not in text

"""The shell steps of the generated pipelines, run for real: a pull request from branch to apply.

A stub forge and the emulator answer, and git is real. Each command is a process that the step
started, with the reconciler that pip has installed from the pinned wheel.
"""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.ci_world import Team, first_model, git, make_team
from tests.e2e.pipelines import Machine, build_wheel, make_machine, run_gitlab_jobs, run_steps
from tests.e2e.world import Done, Emulator, run

pytestmark = pytest.mark.e2e

FORGES = ("github",)
_FLAGS = {"azure-devops": "azure-pipelines"}
_FILES = {
    "github": ".github/workflows/reconciler.yml",
    "azure-devops": ".azure-pipelines/reconciler.yml",
}
_EVENTS = {
    "github": ("pull_request", "push"),
    "azure-devops": ("PullRequest", "IndividualCI"),
}
# What runs on one forge in every run runs on all of them where all checks are demanded.
_CASES = [
    pytest.param(
        forge, method, marks=[pytest.mark.slow] * (method != "merge"), id=f"{forge}-{method}"
    )
    for forge in FORGES
    for method in ("merge", "squash", "rebase")
]


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    folder = tmp_path_factory.mktemp("machine")
    return make_machine(folder, build_wheel(folder))


class Pipeline:
    """A team whose repository has the files of `init --ci`."""

    def __init__(self, team: Team, machine: Machine) -> None:
        self.team, self.machine = team, machine
        self.add_files()

    def add_files(self) -> None:
        """Let a person add the pipeline, with what its page says to make."""
        team = self.team
        done = run(team.clone, "init", "--ci", _FLAGS.get(team.forge, team.forge))
        assert done.code == 0, done.said
        self.machine.pin(team.clone / "ci")
        self.push("Add the pipeline")

    def push(self, message: str) -> None:
        """Push to the main branch, as a person who may pass its rules."""
        self.team.commit(message)
        git(self.team.clone, "push", "-q", "origin", "main")
        self.team.before = git(self.team.clone, "rev-parse", "HEAD")

    def plan(self, number: int, **more: str) -> list[Done]:
        """The jobs that the forge starts for a request."""
        fork = bool(self.team.look(number)["fork"])
        variables = {**self.team.enter_request(number), **more}
        return self._run(variables, 0, ("reconciler-plan",), fork=fork)

    def apply(self, *jobs: str, **more: str) -> list[Done]:
        """The jobs that the forge starts for a push to the main branch."""
        variables = {**self.team.enter_push(), **more}
        dones = self._run(variables, 1, jobs or ("reconciler-apply",))
        self.team.before = git(self.team.job, "rev-parse", "HEAD")
        return dones

    def _run(
        self, variables: dict[str, str], which: int, jobs: tuple[str, ...], *, fork: bool = False
    ) -> list[Done]:
        team, machine = self.team, self.machine
        team.runs += 1
        if team.forge == "gitlab":
            return run_gitlab_jobs(machine, team.job, variables, *jobs)
        event, file = _EVENTS[team.forge][which], _FILES[team.forge]
        return run_steps(machine, team.forge, team.job, file, variables, event=event, fork=fork)


@pytest.fixture
def pipeline(
    request: pytest.FixtureRequest, tmp_path: Path, own_group: Emulator, machine: Machine
) -> Iterator[Pipeline]:
    with make_team(request.param, tmp_path / "team", own_group) as team:
        yield Pipeline(team, machine)


def find_comment(team: Team, number: int) -> Any:
    """The only comment of a request that is not the forge's own."""
    (comment,) = (one for one in team.look(number)["comments"] if not one["system"])
    return comment


def check(dones: list[Done]) -> None:
    assert all(done.code == 0 for done in dones), "\n".join(done.said for done in dones)


@pytest.mark.parametrize(("pipeline", "method"), _CASES, indirect=["pipeline"])
def test_a_pull_request_from_branch_to_apply(
    pipeline: Pipeline, own_group: Emulator, method: str
) -> None:
    team = pipeline.team
    first, second = own_group.model_uri("2026-12-01"), own_group.model_uri("2026-11-20")
    number = team.request("topic", first)
    check(pipeline.plan(number))
    comment = find_comment(team, number)
    assert "2026-12-01.ilearner" in comment["body"]

    team.push("topic", second)
    check(pipeline.plan(number))
    again = find_comment(team, number)
    assert again["id"] == comment["id"]
    assert "2026-11-20.ilearner" in again["body"]
    assert "2026-12-01.ilearner" not in again["body"]
    assert own_group.model("census") == first_model(own_group)

    team.merge(number, method)
    check(pipeline.apply())
    assert own_group.model("census") == second
    last = find_comment(team, number)
    assert last["id"] == comment["id"]
    assert "Apply complete! Resources: 0 added, 1 changed, 0 destroyed." in last["body"]
    assert run(team.job, "plan", "--detailed-exitcode").code == 0
    assert run(team.job, "validate").out.startswith("Success!")


_EACH = pytest.mark.parametrize("pipeline", FORGES, indirect=True)
_ONE = pytest.mark.parametrize("pipeline", ["github"], indirect=True)


@_EACH
@pytest.mark.slow
def test_a_request_from_a_fork_is_validated_only(pipeline: Pipeline, own_group: Emulator) -> None:
    """The commands of other tests hold the same on each forge."""
    team = pipeline.team
    git(team.clone, "checkout", "-q", "main")
    team.push("topic", own_group.model_uri("2026-12-01"))
    request = {"branch": "topic", "title": "topic", "fork": "mallory/models"}
    number = int(team.control("POST", "requests", request)["number"])
    team.control("DELETE", "recorded")
    dones = pipeline.plan(number)
    check(dones)
    assert "from a fork" in "".join(done.said for done in dones)
    assert team.comments(number) == []
    assert not [one for one in team.control("GET", "recorded") if one["method"] != "GET"]


@_ONE
@pytest.mark.slow
def test_a_change_of_the_services_in_between_is_refused(
    pipeline: Pipeline, own_group: Emulator
) -> None:
    """The job fails, so that the forge shows it, and nothing is written."""
    team = pipeline.team
    number = team.request("topic", own_group.model_uri("2026-12-01"))
    check(pipeline.plan(number))
    team.merge(number)
    own_group.deploy("census", own_group.model_uri("2026-11-20"))
    assert pipeline.apply()[-1].code != 0
    assert own_group.model("census") == own_group.model_uri("2026-11-20")
    assert "not applied" in find_comment(team, number)["body"]


@_ONE
@pytest.mark.parametrize(
    "broken",
    ["wheel", *(pytest.param(one, marks=pytest.mark.slow) for one in ("digest", "nothing"))],
)
def test_what_is_not_pinned_is_not_installed(
    pipeline: Pipeline, own_group: Emulator, tmp_path: Path, broken: str
) -> None:
    """The job fails before anything of reconciler runs."""
    team, folder = pipeline.team, pipeline.team.clone / "ci"
    pinned = folder / "reconciler.txt"
    if broken == "wheel":
        (wheel,) = folder.glob("*.whl")
        wheel.write_bytes(wheel.read_bytes() + b"x")
    elif broken == "digest":
        pinned.write_text(pinned.read_text().partition(" \\")[0])
    else:
        pinned.unlink()
    pipeline.push("Break what is installed")
    # Another test has installed it: this is a machine on which pip has to.
    clean = pipeline.machine = make_machine(tmp_path / "clean", pipeline.machine.wheel)
    number = team.request("topic", own_group.model_uri("2026-12-01"))
    (done,) = pipeline.plan(number)
    assert done.code != 0
    assert {"wheel": "DO NOT MATCH", "digest": "require-hashes", "nothing": "No such file"}[
        broken
    ].casefold() in done.err.casefold()
    assert not (clean.path / "bin" / "reconciler").exists()
    assert team.comments(number) == []


def add_environments(team: Team, *names: str, model: str) -> None:
    """Give a project environments, each with a resource group of its own and a model."""
    emulator = team.project.emulator
    (team.clone / "environments").mkdir(exist_ok=True)
    for name in names:
        (team.clone / "environments" / f"{name}.yaml").write_text(
            "apiVersion: reconciler/v1\nkind: Environment\n"
            f"metadata: {{name: {name}}}\nspec:\n"
            f"  defaults: {{resourceGroup: {emulator.group}-{name}}}\n"
            f"  values: {{model: '{model}'}}\n"
        )
        replace(emulator, group=f"{emulator.group}-{name}").deploy("census", model)
    team.project.manifest("census", "${values.model}")


@pytest.mark.parametrize(
    "pipeline",
    [pytest.param(one, marks=[pytest.mark.slow] * (one != "github")) for one in FORGES],
    indirect=True,
)
def test_each_environment_is_applied_after_the_one_before_it(
    pipeline: Pipeline, own_group: Emulator
) -> None:
    team = pipeline.team
    first, second = first_model(own_group), own_group.model_uri("2026-12-01")
    dev, prod = (replace(own_group, group=f"{own_group.group}-{name}") for name in ("dev", "prod"))
    for file in (team.clone / "ci").iterdir():
        file.unlink()
    for name in (".github", ".azure-pipelines", ".gitlab"):
        shutil.rmtree(team.clone / name, ignore_errors=True)
    add_environments(team, "prod", "dev", model=first)
    pipeline.add_files()
    jobs = ("reconciler-apply-dev", "reconciler-apply-prod")

    git(team.clone, "checkout", "-q", "-b", "topic")
    add_environments(team, "prod", "dev", model=second)
    for emulator in (dev, prod):
        emulator.deploy("census", first)
    team.commit("Serve the new model")
    git(team.clone, "push", "-q", "origin", "topic")
    number = int(team.control("POST", "requests", {"branch": "topic", "title": "x"})["number"])
    check(pipeline.plan(number))
    assert len(team.comments(number)) == 2

    team.merge(number)
    # Somebody changes dev: its apply is refused, and that of prod does not start.
    dev.deploy("census", own_group.model_uri("2026-11-20"))
    assert pipeline.apply(*jobs)[-1].code != 0
    assert prod.model("census") == first
    dev.deploy("census", first)
    check(pipeline.apply(*jobs))
    assert (dev.model("census"), prod.model("census")) == (second, second)
    assert run(team.job, "plan", "--env", "all", "--detailed-exitcode").code == 0

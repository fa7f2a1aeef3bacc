"""The shell steps of the generated pipelines, run for real: a pull request from branch to apply.

A stub forge and the emulator answer, and git is real. Each command is a process that the step
started, with the reconciler that pip has installed from the pinned wheel.
"""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.contract.forge_world import read_head
from tests.e2e.ci_world import Team, first_model, git, make_team
from tests.e2e.pipelines import Machine, build_wheel, make_machine, run_gitlab_jobs, run_steps
from tests.e2e.world import Done, Emulator, run

pytestmark = pytest.mark.e2e

FORGES = ("github", "azure-devops", "gitlab")
_FLAGS = {"azure-devops": "azure-pipelines"}
_FILES = {
    "github": ".github/workflows/{}.yml",
    "azure-devops": ".azure-pipelines/{}.yml",
}
_EVENTS = {
    "github": ("pull_request", "push", "schedule"),
    "azure-devops": ("PullRequest", "IndividualCI", "Schedule"),
}
_NIGHT = {
    "GITHUB_EVENT_NAME": "schedule",
    "BUILD_REASON": "Schedule",
    "CI_PIPELINE_SOURCE": "schedule",
}
# What runs on one forge in every run runs on all of them where all checks are demanded. The jobs of
# GitLab run without a token for comments in every run; test_ci_commands.py holds its comments.
_CASES = [
    pytest.param(
        forge,
        method,
        marks=[pytest.mark.slow] * (method != "merge" or forge == "gitlab"),
        id=f"{forge}-{method}",
    )
    for forge in FORGES
    for method in ("merge", "squash", "rebase")
]


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    folder = tmp_path_factory.mktemp("machine")
    return make_machine(folder, build_wheel())


class Pipeline:
    """A team whose repository has the files of `init --ci`."""

    def __init__(self, team: Team, machine: Machine) -> None:
        self.team, self.machine = team, machine
        self.label = "reconciler"
        self.add_files()

    def add_files(self, folder: str = ".") -> None:
        """Let a person add the pipeline, with what its page says to make."""
        team = self.team
        done = run(team.clone, "init", folder, "--ci", _FLAGS.get(team.forge, team.forge))
        assert done.code == 0, done.said
        self.machine.pin(team.clone / folder / "ci")
        self.push("Add the pipeline")

    def remove_files(self) -> None:
        """Let a person remove the pipeline."""
        for name in ("ci", ".github", ".azure-pipelines", ".gitlab"):
            shutil.rmtree(self.team.clone / name, ignore_errors=True)
        (self.team.clone / ".gitlab-ci.yml").unlink(missing_ok=True)

    def open_request(self, branch: str) -> int:
        """Commit and push what is in the work tree of a branch, and open a request for it."""
        self.team.commit(branch)
        self.team.send(branch)
        request = {"branch": branch, "title": branch}
        return int(self.team.control("POST", "requests", request)["number"])

    def push(self, message: str) -> None:
        """Push to the main branch, as a person who may pass its rules."""
        self.team.commit(message)
        self.team.before = self.team.send("main")

    def plan(self, number: int, **more: str) -> list[Done]:
        """The jobs that the forge starts for a request."""
        fork = bool(self.team.look(number)["fork"])
        variables = {**self.team.enter_request(number), **more}
        return self._run(variables, 0, ("plan",), fork=fork)

    def apply(self, *jobs: str, **more: str) -> list[Done]:
        """The jobs that the forge starts for a push to the main branch."""
        variables = {**self.team.enter_push(), **more}
        dones = self._run(variables, 1, jobs or ("apply",))
        self.team.before = read_head(self.team.job)
        return dones

    def drift(self) -> list[Done]:
        """The jobs that the forge starts at night."""
        variables = self.team.enter_push()
        night = {name: value for name, value in _NIGHT.items() if name in variables}
        return self._run({**variables, **night}, 2, ("drift",))

    def _run(
        self, variables: dict[str, str], which: int, jobs: tuple[str, ...], *, fork: bool = False
    ) -> list[Done]:
        team, machine = self.team, self.machine
        team.runs += 1
        if team.forge == "gitlab":
            names = [f"{self.label}-{job}" for job in jobs]
            return run_gitlab_jobs(machine, team.job, variables, *names)
        event, file = _EVENTS[team.forge][which], _FILES[team.forge].format(self.label)
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

    # A job that runs again is the same job. Where all checks are demanded, each forge plans a second
    # commit too; `test_what_was_reviewed_is_applied` holds what it does in every run.
    if method == "merge":
        second = first
    else:
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
_GITLAB = pytest.mark.parametrize("pipeline", ["gitlab"], indirect=True)


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


# `test_gitlab_without_a_token_of_its_own` holds in every run that no digest and another digest are
# refused.
@_GITLAB
@pytest.mark.parametrize(
    "refused",
    [None, *(pytest.param(one, marks=pytest.mark.slow) for one in ("", "sha256:" + "0" * 64))],
)
def test_gitlab_without_a_token_for_comments(
    pipeline: Pipeline, own_group: Emulator, refused: str | None
) -> None:
    """The plan is in the files that GitLab shows; a person gives the digest to the apply."""
    team = pipeline.team
    given = {"RECONCILER_GITLAB_TOKEN": "", "CI_JOB_TOKEN": team.open.tokens[1]}
    number = team.request("topic", own_group.model_uri("2026-12-01"))
    dones = pipeline.plan(number, **given)
    check(dones)
    assert team.comments(number) == []
    shown = team.job / ".reconciler-ci"
    assert json.loads((shown / "tfplan.json").read_text()) == {
        "create": 0,
        "update": 1,
        "delete": 0,
    }
    assert (shown / "plan.xml").exists()
    digest = json.loads((shown / "plan.plan").read_text())["changes_digest"]
    assert digest in (shown / "plan.md").read_text()

    team.merge(number)
    if refused is not None:
        assert pipeline.apply(**given, RECONCILER_EXPECT=refused)[-1].code != 0
        assert own_group.model("census") == first_model(own_group)
    check(pipeline.apply(**given, RECONCILER_EXPECT=digest))
    assert own_group.model("census") == own_group.model_uri("2026-12-01")


# `test_drift_is_reported_in_files_and_on_the_page` holds in every run what a night without drift is.
@pytest.mark.parametrize(
    ("pipeline", "nights"),
    [("github", 1), *(pytest.param(one, 2, marks=pytest.mark.slow) for one in FORGES)],
    indirect=["pipeline"],
)
def test_drift_fails_the_job_of_the_night(
    pipeline: Pipeline, own_group: Emulator, nights: int
) -> None:
    """A forge sends a message about a job that fails, and about no other one."""
    team = pipeline.team
    team.enter_push()
    assert run(team.job, "apply", "--auto-approve").code == 0
    if nights == 2:
        check(pipeline.drift())
    own_group.deploy("census", own_group.model_uri("2026-12-01"))
    dones = pipeline.drift()
    failed = next(one for one in dones if one.code)
    assert "WebService/census" in failed.said
    assert (team.job / ".reconciler-ci" / "drift.xml").exists()
    if team.forge == "github":
        # The step after the one that fails: the first night closed what the last one opens.
        uploads = team.control("GET", "sarifs")
        assert [len(one["runs"][0]["results"]) for one in uploads] == [0, 1][-nights:]
        assert dones[-1].code == 0, dones[-1].said


def write_environments(team: Team, *names: str, model: str) -> None:
    """Give environments a resource group of their own and a model."""
    (team.clone / "environments").mkdir(exist_ok=True)
    for name in names:
        (team.clone / "environments" / f"{name}.yaml").write_text(
            "apiVersion: reconciler/v1\nkind: Environment\n"
            f"metadata: {{name: {name}}}\nspec:\n"
            f"  defaults: {{resourceGroup: {team.project.emulator.group}-{name}}}\n"
            f"  values: {{model: '{model}'}}\n"
        )


@_EACH
@pytest.mark.slow
def test_each_environment_is_applied_after_the_one_before_it(
    pipeline: Pipeline, own_group: Emulator
) -> None:
    team = pipeline.team
    first, second = first_model(own_group), own_group.model_uri("2026-12-01")
    dev, prod = (replace(own_group, group=f"{own_group.group}-{name}") for name in ("dev", "prod"))
    pipeline.remove_files()
    write_environments(team, "prod", "dev", model=first)
    team.project.manifest("census", "${values.model}")
    pipeline.add_files()
    jobs = ("apply-dev", "apply-prod")
    for emulator in (dev, prod):
        emulator.deploy("census", first)

    git(team.clone, "checkout", "-q", "-b", "topic")
    write_environments(team, "prod", "dev", model=second)
    number = pipeline.open_request("topic")
    check(pipeline.plan(number))
    assert len(team.comments(number)) == 2

    team.merge(number)
    # Somebody changes dev: its apply is refused, and that of prod does not start.
    dev.deploy("census", own_group.model_uri("2026-11-20"))
    assert pipeline.apply(*jobs)[-1].code != 0
    assert [body for body in team.comments(number) if "not applied (stale)" in body]
    assert prod.model("census") == first
    dev.deploy("census", first)
    check(pipeline.apply(*jobs))
    assert (dev.model("census"), prod.model("census")) == (second, second)
    assert run(team.job, "plan", "--env", "all", "--detailed-exitcode").code == 0

    # A change of prod alone: the job of dev starts too, changes nothing, and is not red.
    git(team.clone, "checkout", "-q", "-b", "prod-only", "main")
    write_environments(team, "prod", model=first)
    number = pipeline.open_request("prod-only")
    check(pipeline.plan(number))
    assert len(team.comments(number)) == 1
    team.merge(number)
    check(pipeline.apply(*jobs))
    assert (dev.model("census"), prod.model("census")) == (second, first)


@_EACH
@pytest.mark.slow
def test_a_project_below_the_top_of_its_repository(pipeline: Pipeline, own_group: Emulator) -> None:
    """Other tests hold the same names in the files."""
    team, place = pipeline.team, "services/ml"
    pipeline.remove_files()
    (team.clone / place).mkdir(parents=True)
    git(team.clone, "mv", "manifests", "reconciler.yaml", place)
    pipeline.label = "reconciler-services-ml"
    pipeline.add_files(place)

    git(team.clone, "checkout", "-q", "-b", "topic")
    manifest = team.clone / place / "manifests" / "census.yaml"
    first, second = first_model(own_group), own_group.model_uri("2026-12-01")
    manifest.write_text(manifest.read_text().replace(first, second))
    number = pipeline.open_request("topic")
    check(pipeline.plan(number))
    assert "2026-12-01.ilearner" in find_comment(team, number)["body"]
    assert (team.job / place / ".reconciler-ci" / "plan.html").exists()
    team.merge(number)
    check(pipeline.apply())
    assert own_group.model("census") == second

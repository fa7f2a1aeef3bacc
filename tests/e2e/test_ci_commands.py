"""`ci plan` and `ci apply` against a forge, services and real git: what was reviewed is applied."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import quote

import junitparser
import pytest

from reconciler.errors import Unavailable
from reconciler.gitops.comments import Put, put_status
from reconciler.ledgers.file import FileLedger
from tests.contract.forge_world import read_head
from tests.contract.homes import lock_owner
from tests.e2e.ci_world import MODEL, NAME, Team, first_model, git, make_team
from tests.e2e.world import (
    LONG_S,
    Emulator,
    begin_command,
    run,
    run_emulator,
    time_passing,
)
from tests.ssh import write_key

# What a forge does by itself is held by tests of its adapter; here one forge is enough in most runs.
FORGES = (
    "github",
    pytest.param("azure-devops", marks=pytest.mark.slow),
    pytest.param("gitlab", marks=pytest.mark.slow),
)
WAYS = (
    ("github", "merge"),
    ("azure-devops", "squash"),
    ("gitlab", "rebase"),
    *(
        pytest.param(forge, method, marks=pytest.mark.slow)
        for forge, method in (
            ("github", "squash"),
            ("github", "rebase"),
            ("azure-devops", "merge"),
            ("azure-devops", "rebase"),
            ("gitlab", "merge"),
            ("gitlab", "squash"),
        )
    ),
)
SECRET = "marker-of/a+secret=7fb1d0c9e2"


@pytest.fixture(params=FORGES)
def team(request: pytest.FixtureRequest, tmp_path: Path, own_group: Emulator) -> Iterator[Team]:
    """A team on each forge."""
    with make_team(request.param, tmp_path / "team", own_group) as made:
        yield made


@pytest.fixture
def github(tmp_path: Path, own_group: Emulator) -> Iterator[Team]:
    """A team on GitHub, for what does not depend on the forge."""
    with make_team("github", tmp_path / "team", own_group) as made:
        yield made


def second(emulator: Emulator) -> str:
    return emulator.model_uri("2026-11-20")


def third(emulator: Emulator) -> str:
    return emulator.model_uri("2026-12-01")


@pytest.mark.parametrize(("forge", "method"), WAYS)
def test_what_was_reviewed_is_applied(
    tmp_path: Path, own_group: Emulator, forge: str, method: str
) -> None:
    with make_team(forge, tmp_path / "team", own_group) as team:
        _review_and_apply(team, own_group, method)


def _review_and_apply(team: Team, own_group: Emulator, method: str) -> None:
    number = team.request("topic", third(own_group))
    done = team.plan(number)
    assert done.code == 0, done.said
    (comment,) = team.comments(number)
    assert "2026-12-01.ilearner" in comment

    team.push("topic", second(own_group))
    done = team.plan(number, "--detailed-exitcode")
    assert done.code == 2, done.said
    (comment,) = team.comments(number)
    assert "2026-11-20.ilearner" in comment
    assert "2026-12-01" not in comment
    state, said = team.statuses(number)["reconciler/plan/census"]
    assert state in {"success", "succeeded"}
    assert said.startswith("1 to change · sha256:")
    kept = sorted(one.name for one in (team.job / ".reconciler-ci").iterdir())
    assert [one for one in kept if one.startswith("plan")] == [
        "plan.html",
        "plan.md",
        "plan.plan",
        "plan.xml",
    ]
    counts = json.loads((team.job / ".reconciler-ci" / "tfplan.json").read_text())
    assert counts == {"create": 0, "update": 1, "delete": 0}

    merged = team.merge(number, method)
    done = team.apply("--detailed-exitcode")
    assert done.code == 0, done.said
    assert own_group.model("census") == second(own_group)
    (comment,) = team.comments(number)
    assert "Apply complete! Resources: 0 added, 1 changed, 0 destroyed." in comment
    assert "The plan that was reviewed" in comment
    assert merged[:12] in comment
    assert run(team.job, "plan", "--detailed-exitcode").code == 0


def test_a_change_that_no_reviewer_saw_is_not_applied(team: Team, own_group: Emulator) -> None:
    number = team.request("topic", second(own_group))
    team.plan(number)
    team.merge(number)
    own_group.patch("census", description="changed by somebody")
    own_group.deploy("census", third(own_group))
    done = team.apply("--detailed-exitcode")
    assert done.code == 4, done.said
    assert "1 change differs from what was reviewed: nothing was written" in done.err
    assert own_group.model("census") == third(own_group)
    (comment,) = team.comments(number)
    assert "not applied (stale)" in comment
    assert "WebService/census: update" in comment
    assert "What no reviewer saw" in comment
    assert '2026-12-01.ilearner" -> "' in comment.partition("The plan that was reviewed")[0]
    assert "reconciler apply --expect sha256:" in comment
    # The plan that was reviewed is still there: the services are as they were, and it is applied.
    own_group.deploy("census", first_model(own_group))
    done = team.apply("--detailed-exitcode")
    assert done.code == 0, done.said
    assert own_group.model("census") == second(own_group)
    (comment,) = team.comments(number)
    assert "not applied" not in comment
    assert comment.count("The plan that was reviewed") == 1


def test_nothing_is_applied_without_a_review(github: Team, own_group: Emulator) -> None:
    number = github.request("topic", second(own_group))
    github.merge(number)
    done = github.apply("--detailed-exitcode")
    assert done.code == 4, done.said
    assert f"No comment of this program is on #{number}" in done.err
    assert own_group.model("census") == first_model(own_group)
    (comment,) = github.comments(number)
    assert "differs from what was reviewed" in comment


def test_a_commit_without_a_request_is_not_applied(github: Team, own_group: Emulator) -> None:
    git(github.clone, "checkout", "-q", "main")
    github.push("main", second(own_group))
    done = github.apply("--detailed-exitcode")
    assert done.code == 3, done.said
    assert "no merged request brought the commit" in done.err
    assert own_group.model("census") == first_model(own_group)
    digest = _read_digest(run(github.job, "plan").out)
    done = github.apply("--expect", digest)
    assert done.code == 0, done.said
    assert own_group.model("census") == second(own_group)


def _read_digest(out: str) -> str:
    return out.partition("Digest of its changes: ")[2].splitlines()[0]


@pytest.fixture
def pair(tmp_path: Path, own_group: Emulator) -> Iterator[Team]:
    """A team with two services on GitHub."""
    with make_team("github", tmp_path / "team", own_group, "one", "two") as made:
        made.environment["RECONCILER_REQUEST_TIMEOUT"] = "60"
        yield made


def _merge_two(team: Team, emulator: Emulator) -> tuple[int, int]:
    """Two requests that were planned apart, and merged before a job of a push ran."""
    numbers = (
        team.request("a", second(emulator), name="one"),
        team.request("b", second(emulator), name="two"),
    )
    for number in numbers:
        assert team.plan(number).code == 0
    for number in numbers:
        team.merge(number)
    return numbers


@pytest.mark.parametrize("before", ["known", "unknown"])
def test_two_requests_together_are_what_both_showed(
    pair: Team, own_group: Emulator, before: str
) -> None:
    numbers = _merge_two(pair, own_group)
    pair.before = pair.before if before == "known" else "0" * 40
    done = pair.apply("--detailed-exitcode")
    assert done.code == 0, done.said
    assert {own_group.model("one"), own_group.model("two")} == {second(own_group)}
    for number in numbers:
        assert "2 changed" in pair.comments(number)[0]


def test_an_applied_request_gives_no_leave_again(pair: Team, own_group: Emulator) -> None:
    _merge_two(pair, own_group)
    assert pair.apply().code == 0
    own_group.deploy("one", first_model(own_group))
    number = pair.request("c", third(own_group), name="two")
    pair.plan(number)  # shows both changes
    pair.control("DELETE", f"comments/{_list_comments(pair, number)[0]['id']}")
    pair.before = "0" * 40
    pair.merge(number)
    done = pair.apply("--detailed-exitcode")
    assert done.code == 4, done.said
    assert own_group.model("one") == first_model(own_group)


def test_an_old_job_that_runs_again_does_not_undo_a_later_request(
    github: Team, own_group: Emulator
) -> None:
    first, back = (
        _merge_and_apply(github, "forth", second(own_group)),
        _merge_and_apply(github, "back", first_model(own_group)),
    )
    assert own_group.model("census") == first_model(own_group)
    again = {**github.enter_push(), "GITHUB_SHA": first[1]}
    git(github.job, "checkout", "-q", "--detach", first[1])
    for _ in range(2):  # what the first refusal writes is not a new leave
        done = github.run_job(again, "ci", "apply", "--detailed-exitcode")
        assert done.code == 4, done.said
        assert f"The plan of #{first[0]} was applied before" in done.err
        assert "1 change was not reviewed after the apply of the request" in done.err
        assert "run the apply of the newest commit" in done.err
        assert own_group.model("census") == first_model(own_group)
    assert "applied before" in github.comments(first[0])[0]
    assert "1 changed" in github.comments(back[0])[0]
    digest = _read_digest(run(github.job, "plan").out)
    done = github.run_job(again, "ci", "apply", "--expect", digest)
    assert done.code == 0, done.said
    assert own_group.model("census") == second(own_group)


def test_a_checkout_without_the_merge_is_not_applied(team: Team, own_group: Emulator) -> None:
    number = team.request("topic", second(own_group))
    assert team.plan(number).code == 0
    variables = team.enter_push()
    commit = team.merge(number)
    kept = team.comments(number)
    said = ("ci", "apply", "--request", str(number), "--detailed-exitcode")
    done = team.run_job(variables, *said)
    assert done.code == 3, done.said
    sign = "#" if team.forge == "github" else "!"
    assert f"does not have the merge of {sign}{number}" in done.err
    assert f"git checkout {commit[:12]}" in done.err
    assert team.comments(number) == kept
    assert own_group.model("census") == first_model(own_group)
    done = team.run_job(team.enter_push(), *said)
    assert done.code == 0, done.said
    assert own_group.model("census") == second(own_group)


def test_a_part_that_was_applied_leaves_the_rest(pair: Team, own_group: Emulator) -> None:
    _merge_two(pair, own_group)
    variables = pair.enter_push()
    done = pair.run_job(variables, "ci", "apply", "--target", "WebService/one")
    assert done.code == 0, done.said
    assert own_group.model("two") == first_model(own_group)
    done = pair.run_job(variables, "ci", "apply")
    assert done.code == 0, done.said
    assert own_group.model("two") == second(own_group)


def _merge_and_apply(team: Team, branch: str, model: str) -> tuple[int, str]:
    number = team.request(branch, model)
    assert team.plan(number).code == 0
    commit = team.merge(number)
    done = team.apply()
    assert done.code == 0, done.said
    return number, commit


def _list_comments(team: Team, number: int) -> Any:
    return [one for one in team.look(number)["comments"] if not one["system"]]


@pytest.mark.parametrize("what", ["a line below", "the digest", "all", "pasted by a person"])
def test_an_edited_comment_gives_no_leave(github: Team, own_group: Emulator, what: str) -> None:
    number = github.request("topic", second(own_group))
    github.plan(number)
    (found,) = _list_comments(github, number)
    github.merge(number)
    own_group.deploy("census", third(own_group))
    wanted = _read_digest(run(_enter(github), "plan").out)
    changed = {
        "a line below": found["body"].replace("### ", "### hacked "),
        "the digest": found["body"].replace(found["body"].split("changes=")[1][:71], wanted),
        "all": "hello",
        "pasted by a person": found["body"],
    }[what]
    if what == "pasted by a person":
        pasted = found["body"].replace(found["body"].split("changes=")[1][:71], wanted)
        github.control("POST", f"requests/{number}/comments", {"author": "eve", "body": pasted})
    else:
        github.control("PATCH", f"comments/{found['id']}", {"body": changed})
    done = github.apply("--detailed-exitcode")
    assert done.code == 4, done.said
    assert own_group.model("census") == third(own_group)
    if what == "the digest":
        assert "disagree" in done.err


def _enter(team: Team) -> Path:
    team.enter_push()
    return team.job


def test_a_comment_that_a_person_has_annotated_is_still_what_was_reviewed(
    github: Team, own_group: Emulator
) -> None:
    number = github.request("topic", second(own_group))
    github.plan(number)
    (found,) = _list_comments(github, number)
    body = found["body"] + "\n\nLooks good to me."
    github.control("PATCH", f"comments/{found['id']}", {"body": body})
    github.merge(number)
    done = github.apply("--detailed-exitcode")
    assert done.code == 0, done.said


def test_a_conflict_is_shown_and_not_planned(github: Team, own_group: Emulator) -> None:
    number = github.request("topic", second(own_group))
    github.plan(number)
    variables = github.enter_request(number)
    git(github.clone, "checkout", "-q", "main")
    github.push("main", third(own_group))
    git(github.job, "fetch", "-q", "origin", "topic")
    git(github.job, "checkout", "-q", "--detach", "FETCH_HEAD")
    done = github.run_job(variables, "ci", "plan")
    assert done.code == 1, done.said
    assert "1 file in conflict with the target branch: manifests/census.yaml" in done.err
    (comment,) = github.comments(number)
    assert "no plan" in comment
    assert "manifests/census.yaml" in comment
    assert "2026-11-20" not in comment
    assert github.statuses(number)["reconciler/plan/census"][0] == "failure"
    tests = junitparser.JUnitXml.fromfile(str(github.job / ".reconciler-ci" / "plan.xml"))
    assert tests.failures == 1


def test_the_merge_result_is_planned_where_the_head_is_checked_out(
    tmp_path: Path, own_group: Emulator
) -> None:
    with make_team("gitlab", tmp_path / "team", own_group, "one", "two") as team:
        number = team.request("topic", second(own_group), name="one")
        git(team.clone, "checkout", "-q", "main")
        team.push("main", second(own_group), name="two")
        done = team.plan(number)
        assert done.code == 0, done.said
        assert "2 to change" in done.out
        assert "one.yaml" not in git(team.job, "status", "--porcelain")
        assert git(team.job, "worktree", "list").count("\n") == 0


def test_an_invalid_manifest_is_shown_with_its_place(team: Team, own_group: Emulator) -> None:
    number = team.request("topic", second(own_group), more="  nonsense: 1")
    done = team.plan(number)
    assert done.code == 1, done.said
    assert "manifests/census.yaml line" in done.err
    (comment,) = team.comments(number)
    assert "manifests/census.yaml:" in comment
    assert "no plan" in comment
    assert team.statuses(number)["reconciler/plan/census"][0] in {"failure", "failed"}
    tests = junitparser.JUnitXml.fromfile(str(team.job / ".reconciler-ci" / "plan.xml"))
    assert tests.failures == 1


@pytest.mark.parametrize("valid", [True, False])
def test_of_a_fork_the_manifests_are_validated(
    team: Team, own_group: Emulator, valid: bool
) -> None:
    git(team.clone, "checkout", "-q", "main")
    more = {} if valid else {"more": "  nonsense: 1"}
    team.push("topic", second(own_group), **more)
    made = team.control("POST", "requests", {"branch": "topic", "fork": "eve/models"})
    team.control("DELETE", "recorded")
    token = {"github": "GITHUB_TOKEN", "azure-devops": "SYSTEM_ACCESSTOKEN"}.get(team.forge, "X")
    done = team.plan(made["number"], env={token: ""})
    assert done.code == (0 if valid else 1), done.said
    if valid:
        assert "comes from a fork" in done.out
    assert team.control("GET", "recorded") == []
    if team.forge == "github":
        assert "comes from a fork" in team.page.read_text()


def test_without_the_right_to_write_nothing_is_lost(team: Team, own_group: Emulator) -> None:
    number = team.request("topic", second(own_group))
    team.control("POST", "faults", ["no-right:always"])
    done = team.plan(number, "--detailed-exitcode")
    assert done.code == 2, done.said
    assert "Warning" in done.err
    assert "the comment could not be written" in done.err
    assert "the status could not be set" in done.err
    assert team.comments(number) == []
    assert "2026-11-20" in (team.job / ".reconciler-ci" / "plan.md").read_text()
    if team.forge == "github":
        assert "2026-11-20" in team.page.read_text()


def test_gitlab_without_a_token_of_its_own(tmp_path: Path, own_group: Emulator) -> None:
    with make_team("gitlab", tmp_path / "team", own_group) as team:
        number = team.request("topic", second(own_group))
        job = next(one for one in team.open.tokens if "job" in one)
        env = {"RECONCILER_GITLAB_TOKEN": "", "CI_JOB_TOKEN": job}
        done = team.plan(number, env=env)
        assert done.code == 0, done.said
        assert "RECONCILER_GITLAB_TOKEN" in done.err
        digest = _read_digest(done.out)
        team.merge(number)
        for given in ((), ("--expect", f"sha256:{'0' * 64}")):
            done = team.apply("--detailed-exitcode", *given, env=env)
            assert done.code == 4, done.said
            assert own_group.model("census") == first_model(own_group)
        done = team.apply("--detailed-exitcode", "--expect", digest, env=env)
        assert done.code == 0, done.said
        assert own_group.model("census") == second(own_group)


def test_a_dry_run_sends_no_write(team: Team, own_group: Emulator) -> None:
    number = team.request("topic", second(own_group))
    team.control("DELETE", "recorded")
    done = team.plan(number, "--dry-run")
    assert done.code == 0, done.said
    assert {one["method"] for one in team.control("GET", "recorded")} == {"GET"}
    assert "POST http" in done.out
    assert "reconciler reviewed tree=" in done.out
    assert team.open.token not in done.said
    team.plan(number)
    team.merge(number)
    team.control("DELETE", "recorded")
    done = team.apply("--dry-run")
    assert done.code == 0, done.said
    assert "nothing was applied" in done.out
    assert {one["method"] for one in team.control("GET", "recorded")} == {"GET"}
    assert own_group.model("census") == first_model(own_group)


def test_no_secret_is_in_a_request(team: Team, own_group: Emulator) -> None:
    spellings = (SECRET, quote(SECRET, safe=""), b64encode(SECRET.encode()).decode())
    team.environment["CENSUS_KEY"] = SECRET
    own_group.patch("census", description=f"from {' or '.join(spellings)}")
    more = (
        "  secrets:\n    /properties/storageAccount/key: {env: CENSUS_KEY}\n"
        "  definition: {properties: {description: plain}}"
    )
    number = team.request("topic", second(own_group), more=more)
    done = team.plan(number)
    assert done.code == 0, done.said
    (comment,) = team.comments(number)
    assert '"from (sensitive value) or (sensitive value) or (sensitive value)"' in comment
    kept = [one.read_text() for one in (team.job / ".reconciler-ci").iterdir()]
    assert any("from (sensitive value)" in text for text in kept)
    team.merge(number)
    applied = team.apply()
    assert applied.code == 0, applied.said
    kept += [one.read_text() for one in (team.job / ".reconciler-ci").iterdir()]
    recorded = json.dumps(team.control("GET", "recorded"))
    assert "2026-11-20" in recorded
    assert team.open.token not in recorded
    for text in (recorded, done.said, applied.said, *kept):
        assert [one for one in spellings if one in text] == []


def test_names_of_others_stay_text(team: Team, own_group: Emulator) -> None:
    hostile = "@team `x` | <img src=x onerror=alert(1)> ##vso[task.setvariable variable=a]b"
    own_group.patch("census", description="plain")
    number = team.request(
        "topic",
        second(own_group),
        more=f"  definition: {{properties: {{description: {json.dumps(hostile)}}}}}",
    )
    done = team.plan(number)
    assert done.code == 0, done.said
    assert "##vso[task.setvariable" not in done.said
    (comment,) = team.comments(number)
    outside = "".join(comment.split("```")[::2])
    assert "<img" not in outside.replace("`<", "")
    assert "@team" not in outside


def test_what_is_half_done_goes_on(tmp_path: Path) -> None:
    """The first write is refused once; the second service is done, and the next run goes on."""
    faults = tmp_path / "faults.yaml"
    faults.write_text(
        "- {match: {method: PATCH, path: webServices/one}, do: fail-operation, times: 1}\n"
    )
    with run_emulator("--faults", str(faults)) as running:
        emulator = Emulator(running.url, running.blob, running.token, "half")
        with make_team("github", tmp_path / "team", emulator, "one", "two") as team:
            number = team.request("topic", second(emulator), name="one")
            team.push("topic", second(emulator), name="two")
            assert team.plan(number).code == 0
            team.merge(number)
            done = team.apply("--detailed-exitcode")
            assert done.code == 6, done.said
            (comment,) = team.comments(number)
            assert "Apply incomplete!" in comment
            assert "reconciler ci apply" in comment
            done = team.apply("--detailed-exitcode")
            assert done.code == 0, done.said
            assert {emulator.model("one"), emulator.model("two")} == {second(emulator)}
            assert "Apply complete!" in team.comments(number)[0]


@pytest.fixture
def environments(tmp_path: Path, own_group: Emulator) -> Iterator[Team]:
    """A team with dev and prod, whose services have other names."""
    services = ("census-dev", "census-prod")
    with make_team("github", tmp_path / "team", own_group, *services) as team:
        for name in services:
            (team.clone / "manifests" / f"{name}.yaml").unlink()
        file = team.project.manifest("census", own_group.model_uri("${values.model}"))
        text = file.read_text().replace("name: census", "name: 'census-${env.name}'")
        file.write_text(text)
        for name in ("dev", "prod"):
            _set_model(team, name, "2026-10-02")
        git(team.clone, "checkout", "-q", "main")
        team.before = team.commit()
        team.send("main")
        yield team


def _set_model(team: Team, environment: str, model: str) -> None:
    """Set a value of an environment; `ENV_other` is another one, apart from it for git's merge."""
    environment, _, other = environment.partition("_")
    file = team.clone / "environments" / f"{environment}.yaml"
    file.parent.mkdir(exist_ok=True)
    if not file.exists():
        file.write_text(
            f"apiVersion: reconciler/v1\nkind: Environment\nmetadata: {{name: {environment}}}\n"
            "spec:\n  values:\n    model: '2026-10-02'\n    #\n    #\n    other: '2026-10-02'\n"
        )
    text = file.read_text()
    key = "other" if other else "model"
    before = next(one for one in text.splitlines() if one.strip().startswith(f"{key}:"))
    file.write_text(text.replace(before, f"    {key}: '{model}'"))


def _request_models(team: Team, branch: str, **models: str) -> int:
    git(team.clone, "checkout", "-q", "main")
    git(team.clone, "checkout", "-q", "-b", branch)
    return _change_models(team, branch, **models) or _open(team, branch)


def _change_models(team: Team, branch: str, **models: str) -> int:
    for name, model in models.items():
        _set_model(team, name, model)
    team.commit()
    team.send(branch)
    return 0


def _open(team: Team, branch: str) -> int:
    return int(team.control("POST", "requests", {"branch": branch})["number"])


def test_each_environment_that_a_request_touches_is_planned_and_applied(
    environments: Team, own_group: Emulator
) -> None:
    team = environments
    number = _request_models(team, "topic", dev="2026-11-20")
    done = team.plan(number)
    assert done.code == 0, done.said
    (comment,) = team.comments(number)
    assert "`census` `dev`: Plan: 0 to add, 1 to change" in comment
    statuses = team.statuses(number)
    assert statuses["reconciler/plan/census/prod"] == ("success", "not changed by this request")
    assert statuses["reconciler/plan/census/dev"][1].startswith("1 to change")
    kept = {one.name for one in (team.job / ".reconciler-ci").iterdir()}
    assert {"plan-dev.plan", "plan-dev.html", "plan-dev.md"} <= kept

    _change_models(team, "topic", prod="2026-11-20")
    assert team.plan(number).code == 0
    assert len(team.comments(number)) == 2
    _change_models(team, "topic", prod="2026-10-02")
    assert team.plan(number).code == 0
    comments = team.comments(number)
    assert len(comments) == 2
    assert "this request does not change it" in comments[1]

    team.merge(number)
    done = team.apply("--detailed-exitcode")
    assert done.code == 0, done.said
    assert own_group.model("census-dev") == second(own_group)
    assert own_group.model("census-prod") == first_model(own_group)
    assert "Apply complete!" in team.comments(number)[0]


def test_an_environment_is_not_started_after_a_failure(
    environments: Team, own_group: Emulator
) -> None:
    team = environments
    number = _request_models(team, "topic", dev="2026-11-20", prod="2026-11-20")
    assert team.plan(number).code == 0
    team.merge(number)
    own_group.deploy("census-dev", third(own_group))
    done = team.apply("--detailed-exitcode")
    assert done.code == 4, done.said
    assert own_group.model("census-prod") == first_model(own_group)
    own_group.deploy("census-dev", first_model(own_group))
    assert team.apply("--env", "dev").code == 0
    assert own_group.model("census-prod") == first_model(own_group)
    assert team.apply("--env", "prod").code == 0
    assert own_group.model("census-prod") == second(own_group)


def test_a_failure_says_nothing_of_an_environment_that_did_not_change(
    environments: Team, own_group: Emulator
) -> None:
    team = environments
    number = _request_models(team, "topic", dev="2026-11-20")
    assert team.plan(number).code == 0
    commit = team.merge(number)
    own_group.deploy("census-dev", third(own_group))
    team.control("DELETE", "recorded")
    done = team.apply("--detailed-exitcode")
    assert (done.code, "prod" in done.said) == (4, False), done.said
    sent = [
        (body["context"], body["state"])
        for one in team.control("GET", "recorded")
        if one["method"] == "POST" and one["path"].endswith(f"/statuses/{commit}")
        for body in [json.loads(one["body"])]
    ]
    assert sent[-2:] == [
        ("reconciler/apply/census/prod", "success"),
        ("reconciler/apply/census/dev", "failure"),
    ]


@pytest.mark.parametrize("before", ["known", "unknown"])
def test_a_job_of_one_environment_leaves_the_others(
    environments: Team, own_group: Emulator, before: str
) -> None:
    """Each environment may have a job of its own; drift of one that is not changed is no reason."""
    team = environments
    number = _request_models(team, "topic", dev="2026-11-20")
    assert team.plan(number).code == 0
    team.before = team.before if before == "known" else ""
    team.merge(number)
    own_group.deploy("census-prod", third(own_group))
    done = team.apply("--detailed-exitcode", "--env", "prod")
    assert done.code == 0, done.said
    assert own_group.model("census-prod") == third(own_group)
    commit = read_head(team.job)
    said = {one["name"]: one for one in _list_statuses(team, commit)}
    assert said["reconciler/apply/census/prod"]["description"] == "not changed by the merge"
    assert "reconciler/apply/census/dev" not in said


def test_an_apply_that_never_ran_is_due_with_the_next_one(
    environments: Team, own_group: Emulator
) -> None:
    """The merges in between changed another environment, and say nothing about this one."""
    team = environments
    for name in ("other-dev", "other-prod"):
        own_group.deploy(name, first_model(own_group))
    file = team.project.manifest("other", own_group.model_uri("${values.other}"))
    file.write_text(file.read_text().replace("name: other", "name: 'other-${env.name}'"))
    git(team.clone, "checkout", "-q", "main")
    team.before = team.commit()
    team.send("main")
    lost = _request_models(team, "lost", prod="2026-11-20")
    later = _request_models(team, "later", prod_other="2026-11-20")
    unlike = _request_models(team, "unlike", dev="2026-11-20")
    for number in (lost, later, unlike):
        assert team.plan(number).code == 0
    team.merge(lost)  # its job is cancelled
    team.before = read_head(team.clone)
    team.merge(unlike)
    assert team.apply("--detailed-exitcode").code == 0
    assert own_group.model("census-prod") == first_model(own_group)
    team.merge(later)
    done = team.apply("--detailed-exitcode", "--env", "prod")
    assert done.code == 0, done.said
    assert own_group.model("census-prod") == second(own_group)
    assert own_group.model("other-prod") == second(own_group)
    assert "2 changed" in team.comments(lost)[0]
    assert "2 changed" in team.comments(later)[0]
    assert len(team.comments(unlike)) == 1


def _list_statuses(team: Team, commit: str) -> list[dict[str, str]]:
    path = f"/repos/{NAME}/commits/{commit}/status"
    with urllib.request.urlopen(
        urllib.request.Request(
            f"{team.open.url}{path}",
            headers={
                "Authorization": f"Bearer {team.open.token}",
                "X-GitHub-Api-Version": "2022-11-28",
            },
        ),
        timeout=60,
    ) as reply:
        found: list[dict[str, str]] = json.loads(reply.read())["statuses"]
        return [{**one, "name": one["context"]} for one in found]


def test_one_environment_with_an_error_hides_no_other(
    environments: Team, own_group: Emulator
) -> None:
    team = environments
    number = _request_models(team, "topic", dev="2026-11-20", prod="2026-11-20")
    file = team.clone / "environments" / "dev.yaml"
    file.write_text(file.read_text() + "  nonsense: 1\n")
    team.commit()
    team.send("topic")
    done = team.plan(number)
    assert done.code == 1, done.said
    assert "Environment: prod" in done.out
    dev, prod = team.comments(number)
    assert "no plan" in dev
    assert "environments/dev.yaml:" in dev
    assert "1 to change" in prod
    assert team.statuses(number)["reconciler/plan/census/dev"][0] == "failure"
    assert team.statuses(number)["reconciler/plan/census/prod"][0] == "success"


@pytest.mark.parametrize("required", ["approved", "undiverged", "mergeable"])
def test_a_requirement_is_read_at_the_apply(team: Team, own_group: Emulator, required: str) -> None:
    git(team.clone, "checkout", "-q", "main")
    file = team.clone / "reconciler.yaml"
    file.write_text(file.read_text() + f"  pullRequests: {{requirements: [{required}]}}\n")
    team.commit()
    team.send("main")
    number = team.request("topic", second(own_group))
    team.plan(number)
    if required == "undiverged":
        git(team.clone, "checkout", "-q", "main")
        (team.clone / "README.md").write_text("other\n")
        team.commit()
        team.send("main")
    team.before = team.find("main")
    team.merge(number)
    done = team.apply("--detailed-exitcode")
    if required == "mergeable":
        assert done.code == 0, done.said
        return
    assert done.code == 3, done.said
    assert f"the project demands a request that is {required}" in done.err
    assert own_group.model("census") == first_model(own_group)
    assert "not applied (refused)" in team.comments(number)[0]


def test_an_approved_request_is_applied(team: Team, own_group: Emulator) -> None:
    git(team.clone, "checkout", "-q", "main")
    file = team.clone / "reconciler.yaml"
    wanted = "[approved, mergeable, undiverged]"
    file.write_text(file.read_text() + f"  pullRequests: {{requirements: {wanted}}}\n")
    team.commit()
    team.send("main")
    number = team.request("topic", second(own_group))
    team.plan(number)
    team.control("POST", f"requests/{number}/reviews", {"author": "bob", "state": "approved"})
    team.before = team.find("main")
    team.merge(number)
    done = team.apply("--detailed-exitcode")
    assert done.code == 0, done.said


def test_a_killed_plan_leaves_no_status_pending(
    github: Team, own_group: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reconciler.emulator.forges.server._SLOW_S", 600.0)
    number = github.request("topic", second(own_group))
    variables = github.enter_request(number)
    github.control("POST", "faults", ["slow@create-comment:always"])
    with begin_command(github.job, "ci", "plan", env=variables) as process:
        while not any(
            one["path"].endswith("/comments") and one["method"] == "POST"
            for one in github.control("GET", "recorded")
        ):
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=120) == 130
    assert github.statuses(number)["reconciler/plan/census"][0] == "error"


def test_a_forge_that_fails_is_an_error_at_the_end(github: Team, own_group: Emulator) -> None:
    number = github.request("topic", second(own_group))
    github.control("POST", "faults", ["error-before@create-comment:always"])
    done = github.plan(number)
    assert done.code == 1, done.said
    assert "Plan: 0 to add, 1 to change" in done.out
    assert "2026-11-20" in (github.job / ".reconciler-ci" / "plan.md").read_text()


def test_a_plan_whose_output_is_not_read_is_still_shown(github: Team, own_group: Emulator) -> None:
    number = github.request("topic", second(own_group))
    variables = github.enter_request(number)
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as closed:
        nothing = subprocess.DEVNULL
        with begin_command(
            github.job, "ci", "plan", env=variables, stdout=closed, stderr=nothing
        ) as process:
            process.wait(timeout=240)
    assert "1 to change" in github.comments(number)[0]
    assert github.statuses(number)["reconciler/plan/census"][0] == "success"


def test_a_status_that_the_forge_did_not_take_is_set_at_the_end(
    github: Team, own_group: Emulator
) -> None:
    """The first set is that of the pending status; the second one is lost with all its retries."""
    number = github.request("topic", second(own_group))
    variables = github.enter_request(number)
    calls = 0

    def fail_once(*given: Any) -> Put:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise Unavailable("the forge is away")
        return put_status(*given)

    with mock.patch("reconciler.cli.ci.session.put_status", fail_once):
        done = github.run_job(variables, "ci", "plan")
    assert done.code == 1, done.said
    assert "the forge is away" in done.err
    assert github.statuses(number)["reconciler/plan/census"][0] == "success"


@pytest.mark.parametrize("where", ["a folder", "nowhere"])
def test_a_page_that_cannot_be_written_is_a_warning(
    github: Team, own_group: Emulator, where: str
) -> None:
    number = github.request("topic", second(own_group))
    page = str(github.folder) if where == "a folder" else str(github.folder / "no" / "page")
    done = github.plan(number, env={"GITHUB_STEP_SUMMARY": page})
    assert done.code == 0, done.said
    assert "the page of the job cannot be written" in done.err
    assert len(github.comments(number)) == 1


def test_a_late_plan_changes_no_reviewed_comment(github: Team, own_group: Emulator) -> None:
    number = github.request("topic", second(own_group))
    github.plan(number)
    variables = github.enter_request(number)
    github.merge(number)
    done = github.run_job(variables, "ci", "plan")
    assert done.code == 1, done.said
    assert "the request is merged: no plan is shown in it any more" in done.err


BAD: dict[str, tuple[dict[str, str], tuple[str, ...], str, str]] = {
    "no forge": ({"GITHUB_ACTIONS": ""}, (), "no forge is known", "--forge"),
    "no repository": ({"GITHUB_ACTIONS": ""}, ("--forge", "github"), "the repository", "--reposi"),
    "no token": ({"GITHUB_TOKEN": ""}, (), "GITHUB_TOKEN", "github.token"),
    "wrong token": ({"GITHUB_TOKEN": "ghs_wrong"}, (), "GitHub", "GITHUB_TOKEN"),
    "no request": ({"GITHUB_EVENT_NAME": "push"}, (), "not one of a request", "--request"),
    "other number": ({}, ("--request", "999"), "", ""),
    "other commit": ({}, ("--commit", "1" * 40), "the checkout is at", "git checkout"),
    "hostile base": ({}, ("--base", "--upload-pack=x"), "target branch", "git fetch"),
    "missing base": ({}, ("--base", "gone"), "target branch gone is not here", "git fetch"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_names_the_place_and_the_next_step(
    github: Team, own_group: Emulator, case: str
) -> None:
    variables, arguments, place, step = BAD[case]
    number = github.request("topic", second(own_group))
    known = {**github.enter_request(number), **variables}
    if "base" in case:
        git(github.job, "fetch", "-q", "origin", "topic")
        git(github.job, "checkout", "-q", "--detach", "FETCH_HEAD")
    done = github.run_job(known, "ci", "plan", *arguments)
    assert done.code == 1, done.said
    assert "Error" in done.err
    assert place in done.err
    assert step in done.err
    assert "Traceback" not in done.said
    assert "ghs_wrong" not in done.said


BY_HAND: dict[str, tuple[tuple[str, ...], str]] = {
    "azure-devops without a project": (("--repository", "models"), "--repository PROJECT/NAME"),
    "azure-devops without an address": (("--repository", "a b - c/d"), "https://dev.azure.com/ORG"),
    "gitlab without a token": (("--repository", "a/b"), "By hand: export one."),
}


@pytest.mark.parametrize("case", BY_HAND)
def test_bad_input_by_hand(tmp_path: Path, case: str) -> None:
    arguments, step = BY_HAND[case]
    forge, _, what = case.partition(" ")
    env = {"SYSTEM_ACCESSTOKEN": "token", "SYSTEM_COLLECTIONURI": "http://127.0.0.1:1/acme/"}
    if what == "without an address":
        env["SYSTEM_COLLECTIONURI"] = ""
    done = run(tmp_path, "ci", "plan", "--forge", forge, "--request", "1", *arguments, env=env)
    assert done.code == 1, done.said
    assert step in done.err


def test_an_apply_by_hand_before_the_merge_leaves_no_failure(
    team: Team, own_group: Emulator
) -> None:
    number = team.request("topic", second(own_group))
    assert team.plan(number).code == 0
    options, variables = team.name_by_hand()
    git(team.job, "fetch", "-q", "origin", "topic")
    git(team.job, "checkout", "-q", "--detach", "FETCH_HEAD")
    for more in (["--request", str(number)], []):
        done = team.run_job(variables, "ci", "apply", *options, *more, "--detailed-exitcode")
        assert done.code == 3, done.said
        assert "reconciler/apply/" not in str(team.look(number)["statuses"])
    assert own_group.model("census") == first_model(own_group)


def test_artifacts_are_not_in_a_file(tmp_path: Path, own_group: Emulator) -> None:
    with make_team("github", tmp_path / "team", own_group) as team:
        number = team.request("topic", second(own_group))
        (team.folder / "file").write_text("mine")
        done = team.plan(number, "--artifacts", "../file")
    assert done.code == 1, done.said
    assert "is not a folder" in done.err
    assert "--artifacts DIR" in done.err
    assert (team.folder / "file").read_text() == "mine"


@pytest.mark.parametrize(
    ("forge", "step"),
    [
        ("github", "on: pull_request"),
        ("azure-devops", "build validation policy"),
        ("gitlab", "merge_request_event"),
    ],
)
def test_a_job_without_a_request_says_what_starts_one(
    tmp_path: Path, own_group: Emulator, forge: str, step: str
) -> None:
    with make_team(forge, tmp_path / "team", own_group) as team:
        done = team.run_job(team.enter_push(), "ci", "plan")
    assert done.code == 1, done.said
    assert "is not one of a request" in done.err
    assert step in done.err


def test_a_dry_run_of_a_fork_writes_no_page(github: Team, own_group: Emulator) -> None:
    git(github.clone, "checkout", "-q", "main")
    github.push("topic", second(own_group))
    made = github.control("POST", "requests", {"branch": "topic", "fork": "eve/models"})
    number = int(made["number"])
    done = github.plan(number, "--dry-run")
    assert done.code == 0, done.said
    assert not github.page.exists()
    assert github.plan(number).code == 0
    assert "nothing was planned" in github.page.read_text()


def test_the_exit_codes_of_a_refused_plan(github: Team, own_group: Emulator) -> None:
    github.project.guards = ", maxUpdates: 0"
    github.project.write_project()
    number = github.request("topic", second(own_group))
    done = github.plan(number, "--detailed-exitcode")
    assert done.code == 3, done.said
    assert "Refused" in github.comments(number)[0]
    state, said = github.statuses(number)["reconciler/plan/census"]
    assert state == "failure"
    assert said.startswith("refused: ")


def test_drift_is_reported_in_files_and_on_the_page(github: Team, own_group: Emulator) -> None:
    variables = github.enter_push()
    assert run(github.job, "apply", "--auto-approve").code == 0
    done = github.run_job(variables, "ci", "drift", "--detailed-exitcode")
    assert done.code == 0, done.said
    own_group.deploy("census", third(own_group))
    done = github.run_job(variables, "ci", "drift", "--detailed-exitcode")
    assert done.code == 2, done.said
    tests = junitparser.JUnitXml.fromfile(str(github.job / ".reconciler-ci" / "drift.xml"))
    assert (tests.tests, tests.failures) == (1, 1)
    assert "WebService/census" in github.page.read_text()
    assert (github.job / ".reconciler-ci" / "drift.json").exists()


def test_azure_gets_its_page_by_a_line_on_stdout(tmp_path: Path, own_group: Emulator) -> None:
    with make_team("azure-devops", tmp_path / "team", own_group) as team:
        number = team.request("topic", second(own_group))
        done = team.plan(number)
        line = next(one for one in done.out.splitlines() if one.startswith("##vso["))
        file = Path(line.removeprefix("##vso[task.uploadsummary]"))
        assert "2026-11-20" in file.read_text()


def test_a_saved_plan_is_shown_by_another_job(team: Team, own_group: Emulator) -> None:
    number = team.request("topic", second(own_group))
    variables = team.enter_request(number)
    assert run(team.job, "plan", "--out", "release.plan").code == 0
    done = team.run_job(variables, "ci", "comment", "release.plan")
    assert done.code == 0, done.said
    assert "Comment written: " in done.out
    done = team.run_job(variables, "ci", "status", "release.plan")
    assert done.code == 0, done.said
    assert not (team.job / ".reconciler-ci" / "plan.xml").exists()
    assert "reconciler/plan/census" in team.statuses(number)
    (team.job / "note.md").write_text("# A note\n")
    assert team.run_job(variables, "ci", "comment", "note.md").code == 0
    assert team.run_job(variables, "ci", "comment", "note.md").code == 0
    assert len(team.comments(number)) == 2
    team.merge(number)
    before = team.comments(number)
    for command in ("comment", "status"):
        done = team.run_job(variables, "ci", command, "release.plan")
        assert done.code == 1, done.said
        assert "the request is merged" in done.err
    assert team.comments(number) == before
    done = team.apply("--detailed-exitcode")
    assert done.code == 0, done.said


@pytest.mark.parametrize("file", ["missing.plan", "binary", "empty.md"])
def test_a_file_that_cannot_be_shown(github: Team, own_group: Emulator, file: str) -> None:
    number = github.request("topic", second(own_group))
    variables = github.enter_request(number)
    (github.job / "binary").write_bytes(b"\xff\x00\x01")
    (github.job / "empty.md").write_text("\n")
    for command in ("comment", "status"):
        done = github.run_job(variables, "ci", command, file)
        assert done.code == 1, done.said
        assert file in done.err


@pytest.mark.parametrize("kind", ["manifests", "notes", "alike", "link"])
def test_artifacts_replace_nothing_else(github: Team, own_group: Emulator, kind: str) -> None:
    number = github.request("topic", second(own_group))
    variables = github.enter_request(number)
    (github.job / "notes").mkdir()
    (github.job / "notes" / "mine.md").write_text("mine")
    (github.job / "alike").mkdir()
    (github.job / "alike" / "plan.md").write_text("mine")
    (github.job / "link").symlink_to("alike")
    done = github.run_job(variables, "ci", "plan", "--artifacts", kind)
    assert done.code == 1, done.said
    assert ("is a symbolic link" if kind == "link" else "the folder holds other files") in done.err
    assert (github.job / "manifests" / "census.yaml").exists()
    assert (github.job / "notes" / "mine.md").read_text() == "mine"
    assert (github.job / "alike" / "plan.md").read_text() == "mine"
    assert github.comments(number) == []


def test_an_environment_that_does_not_exist_is_named(environments: Team) -> None:
    number = _request_models(environments, "topic", dev="2026-11-20")
    done = environments.plan(number, "--env", "prd")
    assert done.code == 1, done.said
    assert "prod" in done.err
    assert environments.comments(number) == []
    assert environments.plan(number, "--env", "all").code == 0
    assert len(environments.comments(number)) == 1


def test_two_services_in_one_comment(pair: Team, own_group: Emulator) -> None:
    number = pair.request("topic", second(own_group), name="one")
    pair.push("topic", second(own_group), name="two")
    pair.plan(number)
    assert MODEL in pair.comments(number)[0]
    assert "2 to change" in pair.comments(number)[0]


def test_a_person_plans_and_applies_by_hand(team: Team, own_group: Emulator) -> None:
    number = team.request("topic", second(own_group))
    options, env = team.name_by_hand()
    options += ["--request", str(number)]
    done = run(team.clone, "ci", "plan", *options, env=env)
    assert done.code == 0, done.said
    assert "Comment written: " in done.out
    file = team.clone / "manifests" / "census.yaml"
    file.write_text(file.read_text().replace("2026-11-20", "2026-12-01"))
    done = run(team.clone, "ci", "plan", *options, env=env)
    assert done.code == 1, done.said
    git(team.clone, "checkout", "-q", ".")
    git(team.clone, "checkout", "-q", "main")
    done = run(team.clone, "ci", "plan", *options, env=env)
    assert done.code == 1, done.said
    assert "the checkout is at" in done.err
    assert "1 to change" in next(iter(team.comments(number)))
    assert [one[0] for one in team.statuses(number).values()] in [["success"], ["succeeded"]]
    team.merge(number)
    done = run(team.clone, "ci", "apply", *options, env=env)
    assert done.code == 0, done.said
    assert own_group.model("census") == second(own_group)


def test_a_change_that_is_not_committed_is_not_shown(github: Team, own_group: Emulator) -> None:
    number = github.request("topic", second(own_group))
    variables = github.enter_request(number)
    file = github.job / "manifests" / "census.yaml"
    file.write_text(file.read_text().replace("2026-11-20", "2026-12-01"))
    done = github.run_job(variables, "ci", "plan")
    assert done.code == 1, done.said
    assert "manifests/census.yaml: is not as the commit has it" in done.err
    assert github.comments(number) == []
    assert github.statuses(number)["reconciler/plan/census"][0] == "error"


def test_a_project_in_a_folder_of_the_repository(tmp_path: Path, own_group: Emulator) -> None:
    """Its ledger is that of the checkout, where the merge is made in another folder."""
    with make_team("gitlab", tmp_path / "team", own_group, "one", "two") as team:
        inner = team.clone / "services" / "census"
        inner.mkdir(parents=True)
        git(team.clone, "mv", "reconciler.yaml", "manifests", "services/census/")
        team.commit()
        team.send("main")
        team.before = read_head(team.clone)
        own_group.deploy("one", third(own_group))
        own_group.deploy("two", third(own_group))
        assert run(inner, "apply", "--auto-approve").code == 0
        variables = team.enter_push()
        ledger = Path("services") / "census" / ".reconciler"
        (team.clone / ledger).rename(team.job / ledger)
        git(team.clone, "checkout", "-q", "-b", "topic")
        _edit(inner, "one", "2026-11-20")
        team.commit()
        team.send("topic")
        number = _open(team, "topic")
        git(team.clone, "checkout", "-q", "main")
        _edit(inner, "two", "2026-12-01")
        team.commit()
        team.send("main")
        variables = team.enter_request(number)
        project = ("--project", "services/census/reconciler.yaml")
        done = team.run_job(variables, *project, "ci", "plan")
        assert done.code == 0, done.said
        assert "2 to change" in done.out
        assert "baseline: lost" not in done.out
        assert (team.job / ".reconciler-ci" / "plan.plan").exists()
        own_group.deploy("two", third(own_group))
        team.before = read_head(team.clone)
        team.merge(number)
        variables = team.enter_push()
        done = team.run_job(variables, *project, "ci", "apply", "--detailed-exitcode")
        assert done.code == 0, done.said
        assert own_group.model("one") == second(own_group)
        assert "1 changed" in team.comments(number)[0]


def _edit(folder: Path, name: str, model: str) -> None:
    file = folder / "manifests" / f"{name}.yaml"
    file.write_text(file.read_text().replace("2026-10-02", model))


FAULTS = (
    "sign-in-page",
    "wrong-shape",
    "huge",
    *(
        pytest.param(one, marks=pytest.mark.slow)
        for one in ("sign-in-redirect", "not-json", "foreign-redirect")
    ),
)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_forge_that_lies_ends_in_an_error(github: Team, own_group: Emulator, fault: str) -> None:
    number = github.request("topic", second(own_group))
    github.control("POST", "faults", [f"{fault}:always"])
    done = github.plan(number, env={"RECONCILER_TOTAL_TIMEOUT": "1"})
    assert done.code == 1, done.said
    assert "Error: " in done.err
    assert "Traceback" not in done.said
    assert "unexpected" not in done.said
    assert github.open.token not in done.said


@pytest.mark.slow
def test_an_interrupted_apply_is_shown_and_goes_on(tmp_path: Path) -> None:
    with run_emulator("--operation-seconds", str(LONG_S)) as running, ExitStack() as stack:
        emulator = Emulator(running.url, running.blob, running.token, "interrupted")
        with time_passing(running.url):
            made = make_team("github", tmp_path / "team", emulator, "one", "two")
            team = stack.enter_context(made)
            number = team.request("topic", second(emulator), name="one")
            team.push("topic", second(emulator), name="two")
            assert team.plan(number).code == 0
            team.merge(number)
        command = ("ci", "apply", "--parallelism", "1")
        with begin_command(team.job, *command, env=team.enter_push()) as process:
            assert process.stderr is not None
            for line in process.stderr:
                if "Modifying..." in line:
                    process.send_signal(signal.SIGTERM)
                if "Interrupt received." in line:
                    break
            with time_passing(running.url):
                assert process.wait(timeout=240) == 130
        (comment,) = team.comments(number)
        assert "Apply interrupted!" in comment
        assert "reconciler ci apply" in comment
        with time_passing(running.url):
            done = team.apply("--detailed-exitcode")
        assert done.code == 0, done.said
        assert {emulator.model("one"), emulator.model("two")} == {second(emulator)}


def test_a_killed_apply_goes_on(github: Team, own_group: Emulator) -> None:
    """Nothing of it needs to be removed: the lock and the intents are those of a killed apply."""
    number = github.request("topic", second(own_group))
    assert github.plan(number).code == 0
    github.merge(number)
    github.control("POST", "faults", ["slow@update-comment:always"])
    with begin_command(
        github.job, "ci", "apply", env=github.enter_push(), stdout=subprocess.DEVNULL
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "Modifying..." in line:
                break
        process.kill()
    github.control("DELETE", "faults")
    done = github.apply("--detailed-exitcode")
    assert done.code == 0, done.said
    assert own_group.model("census") == second(own_group)
    assert "not applied" not in github.comments(number)[0]


def test_a_branch_that_was_deleted_is_no_obstacle(team: Team, own_group: Emulator) -> None:
    number = team.request("topic", second(own_group))
    assert team.plan(number).code == 0
    team.control("POST", f"requests/{number}/merge", {"method": "squash", "delete_branch": True})
    done = team.apply("--detailed-exitcode")
    assert done.code == 0, done.said
    assert own_group.model("census") == second(own_group)


def test_a_policy_refuses_and_an_approval_lifts_it(github: Team, own_group: Emulator) -> None:
    folder = github.clone / "policies"
    folder.mkdir()
    (folder / "production.yaml").write_text(POLICY)
    git(github.clone, "checkout", "-q", "main")
    github.commit()
    github.send("main")
    number = github.request("topic", second(own_group))
    done = github.plan(number, "--detailed-exitcode")
    assert done.code == 3, done.said
    (comment,) = github.comments(number)
    assert "Refused" in comment
    assert "other storage than census" in comment
    assert github.statuses(number)["reconciler/plan/census"][0] == "failure"
    key = github.folder / "alice"
    line = write_key(key).line
    (github.folder / "signers").write_text(f"alice@example.org {line}\n")
    plan = github.job / ".reconciler-ci" / "plan.plan"
    approvals = github.folder / "ok"
    approvals.mkdir()
    out = f"{approvals}/"
    done = run(github.folder, "approve", str(plan), "--key", str(key), "--out", out)
    assert done.code == 0, done.said

    signed = ("--approvals", str(approvals), "--keyring", str(github.folder / "signers"))
    done = github.plan(number, "--detailed-exitcode", *signed)
    assert done.code == 2, done.said
    assert "Approved by alice@example.org" in done.err
    (comment,) = github.comments(number)
    assert "Refused" not in comment
    assert github.statuses(number)["reconciler/plan/census"][0] == "success"

    github.merge(number)
    done = github.apply("--detailed-exitcode")
    assert done.code == 3, done.said
    assert own_group.model("census") == first_model(own_group)
    assert "other storage than census" in github.comments(number)[0]
    done = github.apply("--detailed-exitcode", *signed)
    assert done.code == 0, done.said
    assert "Approved by alice@example.org" in done.err
    assert own_group.model("census") == second(own_group)


def test_without_an_approval_only_a_policy_refuses(github: Team, own_group: Emulator) -> None:
    """The flags are in a workflow for every request, also for those that need no approval."""
    folder = github.folder / "approvals"
    folder.mkdir()
    (folder / ".gitkeep").touch()
    (github.folder / "signers").write_text(f"a@example.org {write_key(folder.parent / 'a').line}\n")
    signed = ("--approvals", str(folder), "--keyring", str(github.folder / "signers"))
    number = github.request("topic", second(own_group))
    done = github.plan(number, *signed)
    assert (done.code, done.err.count("pproval")) == (0, 0), done.said
    github.merge(number)
    done = github.apply(*signed, "--require", "0")
    assert (done.code, done.err.count("pproval")) == (0, 0), done.said
    assert own_group.model("census") == second(own_group)


def test_approvals_of_a_plan_need_a_keyring(github: Team, own_group: Emulator) -> None:
    number = github.request("topic", second(own_group))
    done = github.plan(number, "--approvals", "approvals")
    assert (done.code, "--keyring" in done.err) == (1, True), done.said
    assert github.comments(number) == []


POLICY = (
    "apiVersion: reconciler/v1\nkind: Policy\nmetadata: {name: production}\n"
    "spec:\n  rules:\n  - {name: storage, modelsFrom: [census]}\n"
)


def test_policies_from_outside_judge_a_merge_that_is_made(
    tmp_path: Path, own_group: Emulator
) -> None:
    with make_team("gitlab", tmp_path / "team", own_group, "one", "two") as team:
        number = team.request("topic", second(own_group), name="one")
        git(team.clone, "checkout", "-q", "main")
        team.push("main", second(own_group), name="two")
        (team.folder / "rules").mkdir()
        (team.folder / "rules" / "production.yaml").write_text(POLICY)
        done = team.plan(number, "--policies", "../rules", "--detailed-exitcode")
        assert done.code == 3, done.said
        assert "other storage than census" in team.comments(number)[0]
        command = f"{sys.executable} -c 'print(\"[]\")'"
        done = team.plan(number, "--policy-command", command, "--detailed-exitcode")
        assert done.code == 2, done.said


def test_two_comments_of_ours_become_one(github: Team, own_group: Emulator) -> None:
    number = github.request("topic", third(own_group))
    assert github.plan(number).code == 0
    (found,) = _list_comments(github, number)
    twin = {"author": found["author"], "body": found["body"]}
    github.control("POST", f"requests/{number}/comments", twin)
    github.push("topic", second(own_group))
    assert github.plan(number).code == 0
    (left,) = _list_comments(github, number)
    assert left["id"] == found["id"]
    assert "2026-11-20" in left["body"]


def test_a_held_lock_is_shown(github: Team, own_group: Emulator) -> None:
    number = github.request("topic", second(own_group))
    assert github.plan(number).code == 0
    github.merge(number)
    variables = github.enter_push()
    with FileLedger(github.job / ".reconciler").lock(lock_owner(), 0.0, lambda _: None):
        done = github.run_job(variables, "ci", "apply", "--detailed-exitcode")
    assert done.code == 5, done.said
    assert own_group.model("census") == first_model(own_group)
    assert "not applied (locked)" in github.comments(number)[0]
    done = github.apply("--detailed-exitcode")
    assert done.code == 0, done.said

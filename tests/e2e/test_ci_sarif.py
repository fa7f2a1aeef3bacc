"""`ci sarif` against a forge: what is uploaded, for what, and what is said when it is not taken."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.forge_world import read_head
from tests.e2e.ci_world import NAME, Team, git, make_team
from tests.e2e.world import Done, Emulator, run

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def made(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    """A team on GitHub, and the SARIF of a service that somebody has changed."""
    group = Emulator(emulator.url, emulator.blob, emulator.token, "ci-sarif")
    with make_team("github", tmp_path_factory.mktemp("sarif") / "team", group) as team:
        team.enter_push()
        team.project.emulator.deploy("census", group.model_uri("moved"))
        done = run(team.job, "ci", "drift", "--detailed-exitcode")
        assert done.code == 2, done.said
        yield team


@pytest.fixture
def github(made: Team, monkeypatch: pytest.MonkeyPatch) -> Team:
    monkeypatch.setattr("reconciler.gitops.forges.github.pause_before", lambda _: 0.0)
    made.control("DELETE", "faults")
    made.control("DELETE", "recorded")
    return made


def upload(team: Team, *arguments: str, **more: str) -> Done:
    return team.run_job(team.enter_push(), "ci", "sarif", *arguments, env=more or None)


def uploads(team: Team) -> Any:
    return team.control("GET", "sarifs")


def test_what_ci_drift_wrote_is_uploaded_for_the_commit_of_the_job(github: Team) -> None:
    before = len(uploads(github))
    done = upload(github)
    assert done.code == 0, done.said
    assert "drift.sarif: 1 result uploaded for refs/heads/main as reconciler/drift/census/\n" in (
        done.out
    )
    assert f"Alerts: {github.open.url}/{NAME}/security/code-scanning\n" in done.out
    (one,) = uploads(github)[before:]
    assert (one["commit"], one["ref"]) == (
        read_head(github.job),
        "refs/heads/main",
    )
    (shown,) = one["runs"]
    assert (shown["tool"], shown["category"]) == ("reconciler", "reconciler/drift/census")
    (result,) = shown["results"]
    place = result["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "manifests/census.yaml"
    # It was asked until the file was processed.
    calls = [f"{call['method']} {call['status']}" for call in github.control("GET", "recorded")]
    assert calls == ["POST 202", "GET 200", "GET 200"]


def test_a_request_has_alerts_of_its_own(github: Team) -> None:
    number = github.request("topic", github.project.emulator.model_uri("second"))
    shutil.copy(github.job / ".reconciler-ci" / "drift.sarif", github.folder / "drift.sarif")
    variables = github.enter_request(number)
    done = github.run_job(variables, "ci", "sarif", str(github.folder / "drift.sarif"))
    assert done.code == 0, done.said
    last = uploads(github)[-1]
    assert last["ref"] == f"refs/pull/{number}/merge"
    assert last["commit"] == variables["GITHUB_SHA"]
    assert "its report was made from" in done.err


def test_each_file_is_an_upload_of_its_own(github: Team, tmp_path: Path) -> None:
    names = []
    for name in ("dev", "prod"):
        document = json.loads((github.job / ".reconciler-ci" / "drift.sarif").read_text())
        document["runs"][0]["automationDetails"]["id"] = f"reconciler/drift/census/{name}/"
        names.append(str(tmp_path / f"{name}.sarif"))
        Path(names[-1]).write_text(json.dumps(document))
    before = len(uploads(github))
    done = upload(github, *names)
    assert done.code == 0, done.said
    found = [one["runs"][0]["category"] for one in uploads(github)[before:]]
    assert found == ["reconciler/drift/census/dev", "reconciler/drift/census/prod"]
    twice = upload(github, names[0], names[0], str(github.job / ".reconciler-ci" / "drift.sarif"))
    assert twice.code == 0  # the same name twice is one file
    shutil.copy(names[0], tmp_path / "copy.sarif")
    before = len(uploads(github))
    done = upload(github, *names, str(tmp_path / "copy.sarif"))
    assert done.code == 1
    assert "has the category reconciler/drift/census/dev" in done.err
    assert "Nothing was uploaded" in done.err
    assert len(uploads(github)) == before


def test_a_dry_run_prints_the_call_and_sends_nothing(github: Team) -> None:
    done = upload(github, "--dry-run")
    assert done.code == 0, done.said
    assert f"POST {github.open.url}/repos/{NAME}/code-scanning/sarifs" in done.out
    assert '"ref": "refs/heads/main"' in done.out
    assert '"sarif": "(.reconciler-ci/drift.sarif in gzip and Base64)"' in done.out
    assert github.open.token not in done.said
    assert github.control("GET", "recorded") == []


def test_by_hand_it_is_the_commit_and_the_branch_of_the_checkout(github: Team) -> None:
    options, variables = github.name_by_hand()
    git(github.job, "checkout", "-q", "-B", "nightly", "origin/main")
    done = run(github.job, "ci", "sarif", *options, env=variables)
    assert done.code == 0, done.said
    assert uploads(github)[-1]["ref"] == "refs/heads/nightly"
    done = run(github.job, "ci", "sarif", *options, "--ref", "main", env=variables)
    assert uploads(github)[-1]["ref"] == "refs/heads/main"
    git(github.job, "checkout", "-q", "--detach")
    done = run(github.job, "ci", "sarif", *options, env=variables)
    assert (done.code, "--ref refs/heads/main" in done.err) == (1, True), done.said


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("no-right", "permissions: {security-events: write}"),
        ("scanning-off", "Code scanning is not enabled for this repository"),
        ("scanning-off", "Settings, Code security"),
        ("too-large", "Report fewer resources in a file"),
        ("sarif-failed", "rejecting SARIF, as there are more results per run than allowed"),
        ("sarif-failed", "its processing has failed"),
        ("sign-in-page", "GITHUB_TOKEN"),
    ],
)
def test_what_is_not_taken_is_an_error_with_its_cure(github: Team, fault: str, said: str) -> None:
    github.control("POST", "faults", [fault])
    done = upload(github)
    assert done.code == 1, done.said
    assert said in done.err
    assert ".reconciler-ci/drift.sarif: " in done.err
    assert "uploaded for" not in done.out


@pytest.mark.parametrize(
    "fault", ["unavailable", "lost-reply", "not-json@upload-sarif", "lost-request@read-sarif"]
)
def test_what_is_refused_for_now_is_sent_again(github: Team, fault: str) -> None:
    github.control("POST", "faults", [fault])
    done = upload(github)
    assert done.code == 0, done.said
    assert "1 result uploaded" in done.out


def test_a_file_whose_fate_is_not_known_is_an_error(github: Team) -> None:
    github.control("POST", "faults", ["wrong-shape@read-sarif:always"])
    done = upload(github)
    assert done.code == 1, done.said
    assert "drift.sarif: GitHub has taken the file, and does not say what became" in done.err
    assert "does not answer with an object" in done.err


def test_a_file_that_is_still_processed_is_a_warning(github: Team) -> None:
    github.control("POST", "faults", ["sarif-pending:always"])
    done = upload(github)
    assert done.code == 0, done.said
    assert "1 result uploaded" in done.out
    assert "has not processed it yet" in done.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nowhere.sarif",), "nowhere.sarif: cannot be read: No such file or directory"),
        (("manifests",), "manifests: cannot be read: Is a directory"),
        (("reconciler.yaml",), "reconciler.yaml: not uploaded: it is not JSON"),
        (("--artifacts", "manifests"), "manifests: it has no SARIF of drift"),
        (("--commit", "4f1c2aa"), "4f1c2aa: is not the whole name of a commit"),
        (("--ref", "refs/heads/a b"), "refs/heads/a b: is not a branch, a tag or a request"),
        (("--ref", "refs/heads/../x\x1b"), "is not a branch, a tag or a request"),
    ],
)
def test_what_cannot_be_uploaded_is_refused_before_any_call(
    github: Team, arguments: tuple[str, ...], said: str
) -> None:
    done = upload(github, *arguments)
    assert done.code == 1
    assert said in done.err
    assert github.control("GET", "recorded") == []


def test_incomplete_evidence_is_not_uploaded(github: Team, tmp_path: Path) -> None:
    document = json.loads((github.job / ".reconciler-ci" / "drift.sarif").read_text())
    document["runs"][0]["invocations"][0]["executionSuccessful"] = False
    (tmp_path / "d.sarif").write_text(json.dumps(document))
    done = upload(github, str(tmp_path / "d.sarif"), "nowhere.sarif")
    assert done.code == 1
    assert "not uploaded: its evidence is incomplete" in done.err
    assert "nowhere.sarif: cannot be read" in done.err
    assert github.control("GET", "recorded") == []


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"TF_BUILD": "True", "SYSTEM_COLLECTIONURI": "https://x.example/"}, "CodeAnalysisLogs"),
        ({"GITLAB_CI": "true", "CI_API_V4_URL": "https://x.example/"}, "reports: {sarif: FILE}"),
    ],
)
def test_another_forge_says_what_to_do(
    variables: dict[str, str], said: str, tmp_path: Path
) -> None:
    """Without a token, because none is needed to say it."""
    done = run(tmp_path, "ci", "sarif", "drift.sarif", env=variables)
    assert done.code == 1
    assert "takes no SARIF from a command" in done.err
    assert said in done.err


def test_outside_of_a_job_it_says_what_to_give(tmp_path: Path) -> None:
    done = run(tmp_path, "ci", "sarif", "drift.sarif")
    assert done.code == 1
    assert "--forge github|azure-devops|gitlab --repository NAME" in done.err


def test_a_file_that_is_too_large_is_not_read(
    github: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reconciler.cli.ci.scanning.MOST_BYTES", 1 << 20)
    (github.folder / "large.sarif").write_bytes(b" " * ((1 << 20) + 1))
    done = upload(github, str(github.folder / "large.sarif"))
    assert (done.code, "it is larger than 1 MB" in done.err) == (1, True), done.said
    assert github.control("GET", "recorded") == []

"""A proposal in git: names of branches that git takes for something else, and modes of files."""

import subprocess
from pathlib import Path

import pytest

from reconciler.errors import ReconcilerError
from reconciler.manifests.proposal import Repository
from reconciler.model import Address
from reconciler.plans.gates import Candidate
from reconciler.render.training import write_message, write_trailer

TRAILER = "Reconciler-Retraining: Retraining/census"
MESSAGE = f"Serve a model\n\nsha256 aa\n\n{TRAILER}\n"


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-c", "user.name=t", "-c", "user.email=t@t", "-C", str(folder), *arguments],
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "t")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "t@t")
    folder = tmp_path / "checkout"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    (folder / "live.yaml").write_text("uri: old\n")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "first")
    return folder


@pytest.mark.parametrize(
    "name",
    ["-x", "--force", "@{-1}", "HEAD", "@", "a..b", "a b", "x.lock", "refs/heads/x", "a*", ""],
)
def test_what_is_not_the_name_of_a_branch_is_refused(checkout: Path, name: str) -> None:
    git(checkout, "checkout", "-q", "-b", "other")
    git(checkout, "checkout", "-q", "main")
    with pytest.raises(ReconcilerError, match="is not the name of a branch"):
        Repository(checkout).check_branch(name, TRAILER)


@pytest.mark.parametrize(
    ("there", "named"), [("retrain", "retrain/census"), ("retrain/census/a", "retrain/census")]
)
def test_a_branch_that_git_cannot_keep_is_refused_before_the_job(
    checkout: Path, there: str, named: str
) -> None:
    git(checkout, "branch", there)
    with pytest.raises(ReconcilerError, match=f"cannot exist beside the branch {there}"):
        Repository(checkout).check_branch(named, TRAILER)


def test_a_commit_keeps_the_mode_of_a_file_and_obeys_no_other_repository(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (checkout / "live.yaml").chmod(0o755)
    git(checkout, "commit", "-q", "-am", "executable")
    monkeypatch.setenv("GIT_OBJECT_DIRECTORY", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_NAMESPACE", "elsewhere")
    made = Repository(checkout).commit(
        {checkout / "live.yaml": "uri: new\n"}, MESSAGE, "retrain/census", TRAILER
    )
    monkeypatch.delenv("GIT_OBJECT_DIRECTORY")
    monkeypatch.delenv("GIT_NAMESPACE")
    assert git(checkout, "rev-parse", "retrain/census") == made.commit
    assert git(checkout, "show", "retrain/census:live.yaml") == "uri: new"
    assert git(checkout, "ls-tree", "retrain/census", "live.yaml").startswith("100755 ")


def test_a_link_to_a_file_outside_the_repository_is_refused(checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "outside.yaml").write_text("uri: old\n")
    (checkout / "linked.yaml").symlink_to(tmp_path / "outside.yaml")
    with pytest.raises(ReconcilerError, match="the file is outside the git repository"):
        Repository(checkout).commit(
            {checkout / "linked.yaml": "uri: new\n"}, MESSAGE, "retrain/census", TRAILER
        )


def test_the_service_gives_a_forge_no_orders_in_a_message() -> None:
    names = ["[skip ci]", "Fixes #1", "@all", "***NO_CI***", "skip-checks: true", "a\nb: c", "F1"]
    candidate = Candidate(
        run="r",
        job="j",
        uri="u",
        digest="sha256:aa",
        metrics=dict.fromkeys(names, 0.5),
        verdicts=(),
    )
    address = Address("Retraining", "census")
    message = write_message([(address, candidate)], write_trailer([address]), {})
    body = message.split("job    j\n")[1].rpartition("\n\n")[0]
    assert "F1" in body
    assert not {*"[]#@*:"} & {*body}
    assert message.endswith(f"\n\n{TRAILER}\n")

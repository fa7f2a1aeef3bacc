"""A proposal in git: names of branches that git takes for something else, and modes of files."""

import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from reconciler.errors import ReconcilerError
from reconciler.manifests.proposal import Repository
from reconciler.model import Address
from reconciler.plans.gates import Candidate
from reconciler.render.training import write_message, write_trailer
from tests.storage import RUN_FOLDER

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


@functools.cache
def make_template() -> Path:
    """A checkout with one commit, made by git once and copied for each test."""
    folder = Path(tempfile.mkdtemp(dir=os.environ[RUN_FOLDER]))
    git(folder, "init", "-q", "--template=", "-b", "main")
    (folder / "live.yaml").write_text("uri: old\n")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "first")
    return folder


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "t")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "t@t")
    return shutil.copytree(make_template(), tmp_path / "checkout")


@pytest.mark.parametrize(
    "name",
    [
        "-x",
        "--force",
        "@{-1}",
        "HEAD",
        "@",
        "a..b",
        "a b",
        "x.lock",
        "refs/heads/x",
        "a*",
        "",
        "a" * 251,
        f"x/{'ä' * 126}",
        "/".join(["a" * 100] * 11),
    ],
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


def propose(checkout: Path, text: str = "uri: new\n") -> str:
    """A proposal on the branch; returns its commit."""
    texts = {checkout / "live.yaml": text}
    message = MESSAGE.replace("sha256 aa", f"sha256 {text.strip()}")
    return Repository(checkout).commit(texts, message, "retrain/census", TRAILER).commit


def clone(checkout: Path, depth: int) -> Path:
    """A clone with few commits, whose branches are those of the checkout."""
    folder = checkout.parent / "clone"
    url, many = checkout.as_uri(), "--no-single-branch"
    git(checkout.parent, "clone", "-q", f"--depth={depth}", many, "-b", "main", url, str(folder))
    git(folder, "branch", "retrain/census", "origin/retrain/census")
    return folder


def add_commits(checkout: Path, number: int) -> None:
    for _ in range(number):
        git(checkout, "commit", "-q", "--allow-empty", "-m", "other")


@pytest.mark.parametrize("depth", [1, 2])
def test_a_shallow_clone_that_lacks_the_commit_below_a_proposal_says_so(
    checkout: Path, depth: int
) -> None:
    add_commits(checkout, 1)
    propose(checkout)
    add_commits(checkout, 3)
    shallow = clone(checkout, depth)
    with pytest.raises(ReconcilerError, match="may hold other work: this clone is shallow") as got:
        Repository(shallow).check_branch("retrain/census", TRAILER)
    assert "git fetch --unshallow" in got.value.next_step
    git(shallow, "fetch", "-q", "--unshallow")
    Repository(shallow).check_branch("retrain/census", TRAILER)


def test_a_shallow_clone_that_has_the_commit_below_a_proposal_replaces_it(checkout: Path) -> None:
    old = propose(checkout)
    shallow = clone(checkout, 2)
    assert propose(shallow, "uri: newer\n") != old
    assert git(shallow, "rev-list", "--count", "main..retrain/census") == "1"


def test_a_merged_proposal_at_the_end_of_a_shallow_clone_is_replaced(checkout: Path) -> None:
    old = propose(checkout)
    git(checkout, "merge", "-q", "--ff-only", "retrain/census")
    shallow = clone(checkout, 1)
    assert propose(shallow, "uri: newer\n") != old
    assert git(shallow, "rev-list", "--count", "main..retrain/census") == "1"


def test_a_branch_with_a_history_of_its_own_is_other_work(checkout: Path) -> None:
    propose(checkout)
    tree = git(checkout, "rev-parse", "retrain/census^{tree}")
    message = git(checkout, "log", "-1", "--format=%B", "retrain/census")
    alone = git(checkout, "commit-tree", tree, "-m", message)
    git(checkout, "update-ref", "refs/heads/retrain/census", alone)
    with pytest.raises(ReconcilerError, match="exists and holds other work"):
        Repository(checkout).check_branch("retrain/census", TRAILER)


def test_a_message_is_in_the_encoding_that_its_commit_names(checkout: Path) -> None:
    git(checkout, "config", "i18n.commitEncoding", "ISO-8859-1")
    texts = {checkout / "live.yaml": "uri: new\n"}
    message = MESSAGE.replace("sha256", "metric Größe\nsha256")
    made = Repository(checkout).commit(texts, message, "retrain/census", TRAILER)
    git(checkout, "config", "i18n.logOutputEncoding", "UTF-8")
    assert "metric Größe" in git(checkout, "log", "-1", "--format=%B", made.commit)
    assert "encoding" not in git(checkout, "cat-file", "-p", made.commit)


def sign_by(checkout: Path, script: str) -> None:
    """Demand signed commits, which a program makes."""
    program = checkout.parent / "sign"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    git(checkout, "config", "gpg.program", str(program))
    git(checkout, "config", "commit.gpgSign", "yes")


def test_a_commit_is_signed_where_commits_must_be(checkout: Path) -> None:
    sign_by(checkout, "cat > /dev/null; echo a signature; echo '\n[GNUPG:] SIG_CREATED ' >&2")
    made = propose(checkout)
    assert "gpgsig a signature" in git(checkout, "cat-file", "-p", made)
    # The proposal is recognised, and a newer one replaces it.
    assert propose(checkout, "uri: newer\n") != made


@pytest.mark.parametrize("how", ["signature", "hook"])
def test_a_commit_that_the_repository_refuses_is_reported_with_what_to_do(
    checkout: Path, how: str
) -> None:
    if how == "signature":
        sign_by(checkout, "echo 'no secret key' >&2; exit 1")
    else:
        hook = checkout / ".git" / "hooks" / "reference-transaction"
        hook.parent.mkdir(exist_ok=True)
        hook.write_text("#!/bin/sh\necho not now >&2\nexit 1\n")
        hook.chmod(0o755)
    with pytest.raises(ReconcilerError, match=r"git (commit-tree|update-ref) failed") as got:
        propose(checkout)
    assert "Correct the settings or the hooks of the repository" in got.value.next_step
    assert git(checkout, "branch", "--list", "retrain/census") == ""


@pytest.mark.parametrize("linked", ["file", "folder"])
def test_a_file_behind_a_link_is_committed_and_staged(checkout: Path, linked: str) -> None:
    (checkout / "real").mkdir()
    (checkout / "real" / "live.yaml").write_text("uri: old\n")
    (checkout / "live.yaml").unlink()
    if linked == "file":
        (checkout / "live.yaml").symlink_to("real/live.yaml")
        named = checkout / "live.yaml"
    else:
        (checkout / "manifests").symlink_to("real")
        named = checkout / "manifests" / "live.yaml"
    git(checkout, "add", "-A")
    git(checkout, "commit", "-q", "-m", "with a link")
    repository = Repository(checkout)
    repository.check_committed([named])
    named.resolve().write_text("uri: new\n")
    repository.commit({named: "uri: new\n"}, MESSAGE, "", TRAILER)
    repository.stage([named])
    assert git(checkout, "status", "--porcelain") == ""
    assert git(checkout, "show", "HEAD:real/live.yaml") == "uri: new"


def test_a_file_behind_a_link_must_be_in_the_commit_as_it_is(checkout: Path) -> None:
    (checkout / "linked.yaml").symlink_to("live.yaml")
    git(checkout, "add", "-A")
    git(checkout, "commit", "-q", "-m", "with a link")
    (checkout / "live.yaml").write_text("uri: mine\n")
    with pytest.raises(ReconcilerError, match=r"not committed: live\.yaml"):
        Repository(checkout).check_committed([checkout / "linked.yaml"])


def test_a_name_with_signs_of_a_pattern_means_one_file(checkout: Path) -> None:
    (checkout / "live[1].yaml").write_text("uri: old\n")
    git(checkout, "add", "-A")
    git(checkout, "commit", "-q", "-m", "with brackets")
    (checkout / "live[1].yaml").write_text("uri: new\n")
    (checkout / "live1.yaml").write_text("not ours\n")
    repository = Repository(checkout)
    named = checkout / "live[1].yaml"
    repository.commit({named: "uri: new\n"}, MESSAGE, "", TRAILER)
    repository.stage([named])
    assert git(checkout, "status", "--porcelain") == "?? live1.yaml"


@pytest.mark.parametrize("kind", ["LITERAL", "GLOB", "NOGLOB", "ICASE"])
def test_the_environment_does_not_change_what_a_name_means(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv(f"GIT_{kind}_PATHSPECS", "1")
    (checkout / "live.yaml").write_text("uri: new\n")
    repository = Repository(checkout)
    repository.commit({checkout / "live.yaml": "uri: new\n"}, MESSAGE, "", TRAILER)
    repository.stage([checkout / "live.yaml"])
    repository.check_committed([checkout / "live.yaml"])
    monkeypatch.delenv(f"GIT_{kind}_PATHSPECS")
    assert git(checkout, "status", "--porcelain") == ""


def test_a_commit_whose_file_cannot_be_staged_says_that_it_was_made(checkout: Path) -> None:
    (checkout / "live.yaml").write_text("uri: new\n")
    repository = Repository(checkout)
    repository.commit({checkout / "live.yaml": "uri: new\n"}, MESSAGE, "", TRAILER)
    (checkout / ".git" / "index.lock").touch()
    with pytest.raises(ReconcilerError, match="git add failed") as got:
        repository.stage([checkout / "live.yaml"])
    assert "The commit was made." in got.value.next_step
    (checkout / ".git" / "index.lock").unlink()
    git(checkout, "add", "--update")
    assert git(checkout, "status", "--porcelain") == ""

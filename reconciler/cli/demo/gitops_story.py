"""The story of a team: each change is a pull request, and its reviewed plan is applied."""

from __future__ import annotations

from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from reconciler.cli.demo.narration import print_text, run, show_file
from reconciler.cli.demo.repository import commit, git, show_git
from reconciler.cli.demo.team import MODELS, Team, find_digest, replace_text

_BEFORE, _OLD, _NEW = MODELS
_DEV: Final = "environments/dev.yaml"
_OWNER: Final = "ana@example.com"
_SIGNED: Final = ("--approvals", "approvals", "--keyring", "../keys/signers")
_POLICY: Final = f"""\
apiVersion: reconciler/v1
kind: Policy
metadata: {{name: release}}
spec:
  match: {{environment: prod}}
  rules:
    - name: owner
      message: An owner of prod who did not make the change must approve it.
      requireOwners: [{_OWNER}]
"""


def run_story(team: Team) -> None:
    """Run the story, from a request for dev to a change in prod that an owner approves."""
    _begin(team)
    number = _request(team)
    _repair(team, number)
    _merge(team, number)
    _promote(team)
    print_text(
        "That is all: each change is reviewed as a plan, and an apply makes exactly this plan, or"
        " nothing."
    )


def _begin(team: Team) -> None:
    print_text("A team declares one service, census, in two environments. This is dev:")
    show_file(team, _DEV)
    for name in ("dev", "prod"):
        team.serve(name)
    print_text("prod has an older model, and this rule:")
    (team.folder / "policies" / "release.yaml").write_text(_POLICY, encoding="utf-8")
    show_file(team, "policies/release.yaml")
    commit(team, "Let an owner approve what changes in prod")
    team.push("main")


def _request(team: Team) -> int:
    print_text("alice wants a new model in dev. She edits the file, and opens a pull request:")
    _commit_edit(team, "new-model", f'model: "{_OLD}"', f'model: "{_NEW}"')
    number = team.open_request("new-model", f"Serve the model of {_NEW} in dev")
    print_text("A job of the forge checks out the merge of this request, and runs one command:")
    team.review(number)
    print_text("The reviewers see this:")
    team.show_comments(number)
    return number


def _repair(team: Team, number: int) -> None:
    print_text("The warning is right: the digest is that of the old model. A second commit:")
    _commit_edit(team, "new-model", find_digest(_OLD), find_digest(_NEW))
    team.push("new-model")
    print_text("The push starts the job again:")
    team.review(number)
    print_text("There is still one comment. It has the new text:")
    team.show_comments(number)


def _merge(team: Team, number: int) -> None:
    print_text(
        "bob agrees, and the request is merged. Before the job of the merge starts, somebody gives"
        "\nthe live service of dev an older model by hand. apply must not write over that:"
    )
    before = team.merge(number)
    team.set_model(f"{team.blob}/models/census/{_BEFORE}.ilearner")
    team.deliver(before, expected=1)
    print_text("Nothing was written, and the plan shows what differs. The comment says so too:")
    team.show_comments(number, 8)
    print_text("The model is set back, and the job is started again:")
    team.set_model(f"{team.blob}/models/census/{_OLD}.ilearner")
    team.deliver(before)
    print_text("The request has the result:")
    team.show_comments(number, 8)


def _promote(team: Team) -> None:
    print_text("The ledger of dev proves what is applied there. promote carries it to prod:")
    git(team, "checkout", "-q", "-b", "promote")
    run(team, "promote", "WebService/census", "--from", "dev", "--to", "prod", "--commit")
    number = team.open_request("promote", f"Serve the model of {_NEW} in prod")
    print_text("The job of this request plans prod. The rule refuses the change:")
    team.review(number, expected=1)
    print_text("The reviewers see the same, at the top of the comment:")
    team.show_comments(number, 8)
    print_text(
        "ana owns prod, and a keyring outside the repository has her SSH key. She signs the plan"
        " that the\njob has saved. Her approval counts for these changes only, and for seven days:"
    )
    key = _make_key(team)
    run(team, "approve", ".reconciler-ci/plan-prod.plan", "--key", key, "--out", "approvals/")
    print_text(
        "alice adds it to the request. Whoever adds it is an author of the request, and an author"
        " cannot\nbe the owner who approves it:"
    )
    show_git(team, "add", "approvals")
    show_git(team, "commit", "--quiet", "--message", "Add the approval of ana")
    team.push("promote")
    print_text("The push starts the job again. It reads the approval and the keyring:")
    team.review(number, *_SIGNED)
    print_text(
        "The rule does not refuse the change now, and the request is merged. apply judges it again."
        " The\nnew files are not of one environment, so dev is planned too:"
    )
    before = team.merge(number)
    team.deliver(before, *_SIGNED)
    print_text("The ledger of prod has who approved it:")
    run(team, "history", "--env", "prod")
    print_text("Is it done? The plan of both environments must have no changes.")
    run(team, "plan", "--env", "all")


def _commit_edit(team: Team, branch: str, old: str, new: str) -> None:
    """Edit dev on a branch, show the difference, and commit it."""
    git(team, "checkout", "-q", "-B", branch)
    replace_text(team.folder / _DEV, old, new)
    show_git(team, "diff", "--unified=0")
    show_git(team, "commit", "--quiet", "--all", "--message", "Serve a new model in dev")


def _make_key(team: Team) -> str:
    """Write the key of ana and a keyring beside the repository; returns the name of the key."""
    folder = team.folder.parent / "keys"
    folder.mkdir()
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    file = folder / "ana"
    file.touch(0o600)
    file.write_bytes(private)
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    line = f'{_OWNER} namespaces="reconciler-approval" {public}\n'
    (folder / "signers").write_text(line, encoding="utf-8")
    return "../keys/ana"

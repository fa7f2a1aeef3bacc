"""A team on a local forge: its repository, its people, and the jobs that its forge starts."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import urllib.request
from collections.abc import Iterator
from dataclasses import field
from pathlib import Path
from typing import Any, Final

import click

from reconciler.blobs import upload_model
from reconciler.cli.demo.narration import run
from reconciler.cli.demo.repository import git, make_repository
from reconciler.cli.demo.stage import (
    LOCAL,
    Stage,
    copy_example,
    pick_port,
    run_emulator,
    run_server,
    run_storage,
)
from reconciler.emulator.azurite import AzuriteUnavailable
from reconciler.errors import ReconcilerError
from reconciler.git import Git
from reconciler.model.values import dataclass
from reconciler.text.counting import count

MODELS: Final = ("2026-11-13", "2026-11-20", "2026-11-27")
_USUAL_BLOB: Final = "http://127.0.0.1:10000"
_REPOSITORY: Final = "acme/models"
_OTHER_FORGES: Final = {"TF_BUILD": "", "GITLAB_CI": "", "RECONCILER_GITHUB_LOGIN": ""}


@dataclass(frozen=True)
class Team(Stage):
    """A stage with a forge. `folder` is the clone in which people and jobs work.

    `forge` is the address of the forge, `token` that of its jobs; `runs` has their events.
    """

    forge: str = ""
    token: str = ""
    runs: list[str] = field(default_factory=list)

    def serve(self, environment: str) -> None:
        """Create the service of an environment, without a word; raises ReconcilerError."""
        printed = self.folder.parent / "created.log"
        with printed.open("wb") as file:
            apply = ("apply", "--env", environment, "--auto-approve")
            code = self.run(*apply, stdout=file.fileno())
        if code:
            said = printed.read_text(encoding="utf-8", errors="replace")
            raise ReconcilerError(f"reconciler apply exited with {code}: the demo stops:\n{said}")

    def open_request(self, branch: str, title: str) -> int:
        """Push a branch, and open a request of alice; returns its number."""
        self.push(branch)
        made = self.control("POST", "requests", {"branch": branch, "title": title})
        return int(made["number"])

    def push(self, branch: str) -> None:
        """Push a branch to the forge."""
        git(self, "push", "-q", "origin", branch)

    def merge(self, number: int) -> str:
        """Let bob approve and merge a request; returns the commit of main before."""
        before = self.read_commit("origin/main")
        self.control("POST", f"requests/{number}/reviews", {"author": "bob", "state": "approved"})
        self.control("POST", f"requests/{number}/merge", {"method": "merge"})
        git(self, "checkout", "-q", "main")
        git(self, "pull", "-q", "--ff-only", "origin", "main")
        return before

    def review(self, number: int, *arguments: str, expected: int = 0) -> None:
        """Run the job of a request, in the merge that the forge has made of it."""
        request = self.control("GET", f"requests/{number}")
        git(self, "fetch", "-q", "origin", f"refs/pull/{number}/merge")
        git(self, "checkout", "-q", "--detach", "FETCH_HEAD")
        event = {
            "number": number,
            "pull_request": {
                "head": {"sha": request["head"], "repo": {"full_name": _REPOSITORY}},
                "base": {"sha": request["base_commit"], "ref": "main"},
            },
        }
        variables = self._describe("pull_request", f"refs/pull/{number}/merge", event)
        run(self, "ci", "plan", *arguments, expected=expected, variables=variables)
        git(self, "checkout", "-q", request["branch"])

    def deliver(self, before: str, *arguments: str, expected: int = 0) -> None:
        """Run the job of a push to main, which had the commit `before`."""
        event = {"before": before, "after": self.read_commit("main"), "ref": "refs/heads/main"}
        variables = self._describe("push", "refs/heads/main", event)
        run(self, "ci", "apply", *arguments, expected=expected, variables=variables)

    def show_comments(self, number: int, lines: int | None = None) -> None:
        """Print the comments of a request as its reviewers see them, or their first lines."""
        shown = self.control("GET", f"requests/{number}")
        comments = [one["body"] for one in shown["comments"] if not one["system"]]
        said = f"{shown['title']}, {count(len(comments), 'comment')}"
        click.secho(f"Pull request {number}: {said}", fg="cyan")
        for body in comments:
            text = re.sub(r"<!--.*?-->", "", body, flags=re.DOTALL).strip().splitlines()
            for line in text[:lines]:
                click.echo(f"  | {line}".rstrip())

    def _describe(self, event: str, ref: str, payload: Any) -> dict[str, str]:
        """The variables of a job."""
        path = self.folder.parent / "event.json"
        path.write_text(json.dumps(payload), encoding="utf-8")
        self.runs.append(event)
        number = 100 + len(self.runs)
        return {
            **_OTHER_FORGES,
            "GITHUB_ACTIONS": "true",
            "GITHUB_EVENT_NAME": event,
            "GITHUB_EVENT_PATH": str(path),
            "GITHUB_API_URL": self.forge,
            "GITHUB_SERVER_URL": self.forge,
            "GITHUB_REPOSITORY": _REPOSITORY,
            "GITHUB_REF": ref,
            "GITHUB_REF_NAME": "main",
            "GITHUB_BASE_REF": "main" if event == "pull_request" else "",
            "GITHUB_SHA": self.read_commit("HEAD"),
            "GITHUB_RUN_ID": str(number),
            "GITHUB_RUN_ATTEMPT": "1",
            "GITHUB_STEP_SUMMARY": str(self.folder.parent / "page.md"),
            "GITHUB_TOKEN": self.token,
        }

    def control(self, method: str, path: str, body: Any = None) -> Any:
        """Do on the forge what a person does there; returns the reply."""
        request = urllib.request.Request(  # noqa: S310 - our own forge
            f"{self.forge}/_forge/{path}",
            method=method,
            data=json.dumps(body).encode() if body is not None else None,
            headers={"Content-Type": "application/json"},
        )
        with LOCAL.open(request, timeout=30) as reply:
            return json.loads(reply.read() or b"null")

    def read_commit(self, name: str) -> str:
        """The commit that a name means."""
        return git(self, "rev-parse", name).strip()


@contextlib.contextmanager
def gather_team(folder: Path) -> Iterator[Team]:
    """Start the services, the storage and the forge of a team, and push the example to the forge.

    The project is in `folder`/models. Raises ReconcilerError if git or blob storage cannot run.
    """
    port, state, project = pick_port(), folder / "emulator", folder / "models"
    forge = ["reconciler.emulator.forges", "--forge", "github", "--repository"]
    project.mkdir()
    Git(project).ask("--version")  # before anything starts
    try:
        with (
            run_storage(port, state) as blob,
            run_emulator(port, state, ["--blob-url", blob]) as url,
            run_server("the forge", [*forge, str(folder / "forge.git")], folder) as ready,
        ):
            account = f"{blob}/devstoreaccount1"
            team = Team(
                *(project, url, port, account, ""),
                group="census-dev",
                plan="plan --env all",
                forge=ready["url"],
                token=ready["token"],
            )
            _copy_example(team, blob)
            git(team, "remote", "add", "origin", str(folder / "forge.git"))
            git(team, "push", "-q", "origin", "main")
            yield team
    except AzuriteUnavailable as error:
        raise ReconcilerError(
            f"blob storage cannot run here, and the models are in it: {error}",
            next_step="See the story that runs without it: reconciler demo",
        ) from error


def _copy_example(stage: Stage, blob: str) -> None:
    copy_example("two-environments", stage.folder)
    cloud = f'cloud: {{resourceManager: "{stage.url}", blob: "{stage.blob}"}} '
    replace_text(stage.folder / "reconciler.yaml", "cloud: emulator ", cloud)
    replace_text(stage.folder / "manifests" / "census.yaml", _USUAL_BLOB, blob)
    for day in MODELS:
        upload_model(f"{stage.blob}/models/census/{day}.ilearner", make_model(day), os.environ)
    make_repository(stage, "Alice", "Declare census in dev and in prod")


def make_model(day: str) -> bytes:
    """The bytes of the model of a day."""
    return f"the census model of {day}\n".encode()


def find_digest(day: str) -> str:
    """The SHA-256 of the model of a day."""
    return hashlib.sha256(make_model(day)).hexdigest()


def replace_text(file: Path, old: str, new: str) -> None:
    """Edit a file of the project."""
    file.write_text(file.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")

"""A team's repository on a forge: people who push and merge, and the jobs that the forge starts."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from reconciler.emulator.forges import ForgeSettings, OpenForge, open_forge
from reconciler.emulator.forges.git_repository import BareRepository
from tests.contract.forge_world import git, make_repositories, push, read_head
from tests.e2e.world import MODEL, Done, Emulator, Project, run

NAME = "acme/models"


@dataclass
class Team:
    """A forge with a repository, the clone of a person, and the checkout of the jobs.

    The checkout stays from job to job, as on a machine of one's own, and with it the ledger.
    """

    forge: str
    open: OpenForge
    project: Project
    folder: Path
    before: str = ""
    runs: int = 0
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def clone(self) -> Path:
        return self.project.folder

    @property
    def job(self) -> Path:
        return self.folder / "job"

    @property
    def page(self) -> Path:
        return self.folder / "page.md"

    def begin(self) -> None:
        """Commit the project, and set the jobs up."""
        empty, bare = make_repositories()[0], self.open.repository
        empty.write_clone(self.clone, bare)
        (self.clone / ".gitignore").write_text(".reconciler/\n")
        self.before = self.commit("Begin")
        self.send("main")
        empty.write_checkout(self.job, bare)
        (self.job / ".git" / "HEAD").write_text("ref: refs/heads/nothing\n")

    def send(self, branch: str) -> str:
        """Push the commit that is checked out, also where the branch of the forge has others."""
        commit = read_head(self.clone)
        push(self.open.repository, branch, commit)
        return commit

    def find(self, branch: str) -> str:
        """The commit of a branch of the forge."""
        return BareRepository(self.open.repository).list_branches()[branch]

    def commit(self, message: str = "Change") -> str:
        """Commit what is in the work tree of the person."""
        git(self.clone, "add", "-A")
        git(self.clone, "commit", "-q", "-m", message)
        return read_head(self.clone)

    def push(
        self, branch: str, model: str, *, name: str = "census", base: str = "HEAD", **more: str
    ) -> str:
        """Let a manifest name another model, on a branch; a new branch begins at `base`."""
        known = (self.clone / ".git" / "refs" / "heads" / branch).exists()
        git(self.clone, "checkout", "-q", *((branch,) if known else ("-b", branch, base)))
        self.project.manifest(name, model, **more)
        self.commit()
        return self.send(branch)

    def request(self, branch: str, model: str, **more: Any) -> int:
        """Push a branch from main, and open a request."""
        self.push(branch, model, base="main", **more)
        made = self.control("POST", "requests", {"branch": branch, "title": branch})
        return int(made["number"])

    def merge(self, number: int, method: str = "merge") -> str:
        """Merge a request as a person, and pull; returns the commit."""
        self.control("POST", f"requests/{number}/merge", {"method": method})
        commit = self.find("main")
        git(self.clone, "checkout", "-q", "-B", "main", commit)
        return commit

    def control(self, method: str, path: str, body: Any = None) -> Any:
        return self.open.control(method, path, body)

    def look(self, number: int) -> Any:
        return self.control("GET", f"requests/{number}")

    def comments(self, number: int) -> list[str]:
        return [one["body"] for one in self.look(number)["comments"] if not one["system"]]

    def statuses(self, number: int) -> dict[str, tuple[str, str]]:
        """The newest status of each name beside the commits of a request."""
        return {
            "/".join(filter(None, [one["genre"], one["name"]])): (one["state"], one["description"])
            for one in self.look(number)["statuses"]
            if one["commit"] == self.look(number)["head"]
        }

    def plan(self, number: int, *arguments: str, env: Mapping[str, str] | None = None) -> Done:
        """The job of a request: its checkout, its variables, `ci plan`."""
        return self.run_job(self.enter_request(number), "ci", "plan", *arguments, env=env)

    def apply(self, *arguments: str, env: Mapping[str, str] | None = None) -> Done:
        """The job of a push to main, which then is where the next push begins."""
        variables = self.enter_push()
        done = self.run_job(variables, "ci", "apply", *arguments, env=env)
        self.before = read_head(self.job)
        return done

    def run_job(
        self, variables: Mapping[str, str], *arguments: str, env: Mapping[str, str] | None = None
    ) -> Done:
        self.runs += 1
        with mock.patch("reconciler.gitops.comments._SETTLE_S", 0.0):
            return run(self.job, *arguments, env={**variables, **self.environment, **(env or {})})

    def name_by_hand(self) -> tuple[list[str], dict[str, str]]:
        """The options and the variables of a person, who is in no job."""
        api, repository, variable = {
            "github": ("", NAME, "GITHUB_TOKEN"),
            "azure-devops": ("/acme/", "models/models", "SYSTEM_ACCESSTOKEN"),
            "gitlab": ("/api/v4", NAME, "RECONCILER_GITLAB_TOKEN"),
        }[self.forge]
        options = ["--forge", self.forge, "--repository", repository]
        return [*options, "--api", f"{self.open.url}{api}"], {variable: self.open.token}

    def enter_request(self, number: int) -> dict[str, str]:
        """Check a request out as its forge does; returns the variables of the job."""
        request = self.look(number)
        merged = self.forge != "gitlab"
        self._check_out(
            f"refs/pull/{number}/merge" if merged else f"refs/heads/{request['branch']}"
        )
        return self._describe(request)

    def enter_push(self) -> dict[str, str]:
        self._check_out("refs/heads/main", "refs/remotes/origin/main")
        return self._describe(None)

    def _check_out(self, ref: str, kept: str = "HEAD") -> None:
        """Fetch a reference of the forge and check it out, if the job does not have it yet."""
        place, wanted = self.job / ".git" / kept, (self.open.repository / ref).read_text()
        if read_head(self.job) == wanted.strip() and place.read_text() == wanted:
            return
        target = "" if kept == "HEAD" else f":{kept}"
        git(self.job, "fetch", "-q", "--force", "origin", f"{ref}{target}")
        git(self.job, "checkout", "-q", "--detach", "FETCH_HEAD")

    def _describe(self, request: Any) -> dict[str, str]:
        make = {
            "github": self._describe_github,
            "azure-devops": self._describe_azure,
            "gitlab": self._describe_gitlab,
        }[self.forge]
        return make(request, read_head(self.job))

    def _describe_github(self, request: Any, commit: str) -> dict[str, str]:
        event: Any = {"before": self.before, "after": commit, "ref": "refs/heads/main"}
        if request:
            source = {"full_name": request["fork"] or NAME}
            event = {
                "number": request["number"],
                "pull_request": {
                    "head": {"sha": request["head"], "repo": source},
                    "base": {"sha": request["base_commit"], "ref": request["base"]},
                },
            }
        path = self.folder / "event.json"
        path.write_text(json.dumps(event))
        return {
            "GITHUB_ACTIONS": "true",
            "GITHUB_EVENT_NAME": "pull_request" if request else "push",
            "GITHUB_EVENT_PATH": str(path),
            "GITHUB_API_URL": self.open.url,
            "GITHUB_SERVER_URL": self.open.url,
            "GITHUB_REPOSITORY": NAME,
            "GITHUB_REF": f"refs/pull/{request['number']}/merge" if request else "refs/heads/main",
            "GITHUB_REF_NAME": "main",
            "GITHUB_BASE_REF": request["base"] if request else "",
            "GITHUB_SHA": commit,
            "GITHUB_RUN_ID": str(100 + self.runs),
            "GITHUB_RUN_ATTEMPT": "1",
            "GITHUB_STEP_SUMMARY": str(self.page),
            "GITHUB_TOKEN": self.open.token,
        }

    def _describe_azure(self, request: Any, commit: str) -> dict[str, str]:
        more = request and {
            "SYSTEM_PULLREQUEST_PULLREQUESTID": str(request["number"]),
            "SYSTEM_PULLREQUEST_SOURCECOMMITID": request["head"],
            "SYSTEM_PULLREQUEST_TARGETBRANCH": f"refs/heads/{request['base']}",
            "SYSTEM_PULLREQUEST_ISFORK": str(bool(request["fork"])),
        }
        return {
            "TF_BUILD": "True",
            "BUILD_REASON": "PullRequest" if request else "IndividualCI",
            "BUILD_SOURCEVERSION": commit,
            "BUILD_SOURCEBRANCH": "refs/heads/main",
            "BUILD_BUILDID": str(100 + self.runs),
            "BUILD_REPOSITORY_ID": "models",
            "BUILD_REPOSITORY_PROVIDER": "TfsGit",
            "SYSTEM_COLLECTIONURI": f"{self.open.url}/acme/",
            "SYSTEM_TEAMPROJECTID": "models",
            "SYSTEM_ACCESSTOKEN": self.open.token,
            **(more or {}),
        }

    def _describe_gitlab(self, request: Any, commit: str) -> dict[str, str]:
        more = request and {
            "CI_MERGE_REQUEST_IID": str(request["number"]),
            "CI_MERGE_REQUEST_PROJECT_ID": NAME,
            "CI_MERGE_REQUEST_SOURCE_PROJECT_ID": request["fork"] or NAME,
            "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": request["base"],
            "CI_MERGE_REQUEST_DIFF_BASE_SHA": request["base_commit"],
        }
        return {
            "GITLAB_CI": "true",
            "CI_PIPELINE_SOURCE": "merge_request_event" if request else "push",
            "CI_COMMIT_SHA": commit,
            "CI_COMMIT_BRANCH": "" if request else "main",
            "CI_COMMIT_BEFORE_SHA": "0" * 40 if request else self.before,
            "CI_API_V4_URL": f"{self.open.url}/api/v4",
            "CI_PROJECT_ID": NAME,
            "CI_JOB_ID": str(100 + self.runs),
            "CI_JOB_URL": f"{self.open.url}/jobs/{100 + self.runs}",
            "RECONCILER_GITLAB_TOKEN": self.open.token,
            **(more or {}),
        }


@contextmanager
def make_team(forge: str, folder: Path, emulator: Emulator, *services: str) -> Iterator[Team]:
    """A team whose services exist and serve a first model."""
    folder.mkdir(exist_ok=True)
    bare = folder / "repository.git"
    make_repositories()[0].write_bare(bare)
    settings = ForgeSettings(forge, bare)  # type: ignore[arg-type]
    with open_forge(settings) as running:
        team = Team(forge, running, Project(folder / "clone", emulator), folder)
        for name in services or ("census",):
            emulator.deploy(name, first_model(emulator))
            team.project.manifest(name, first_model(emulator))
        team.begin()
        yield team


def first_model(emulator: Emulator) -> str:
    return emulator.model_uri("2026-10-02")


__all__ = ["MODEL", "NAME", "Team", "first_model", "git", "make_team"]

"""A forge of the emulator with a repository of its own, and calls of it without the client.

Git makes each kind of repository once, and a test gets a copy: a push alone is six processes.
"""

import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from reconciler.emulator.forges import ForgeSettings, OpenForge, open_forge
from reconciler.emulator.forges.git_repository import BareRepository
from reconciler.emulator.forges.state import ForgeName
from tests.storage import RUN_FOLDER

Json = Any
AZURE_VERSION = {"api-version": "7.1"}
# Settings of a user's git do not count. Nothing has to be tidied, so git starts no process for that.
GIT = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_COUNT": "1",
    "GIT_CONFIG_KEY_0": "maintenance.auto",
    "GIT_CONFIG_VALUE_0": "false",
    "GIT_AUTHOR_NAME": "Alice",
    "GIT_AUTHOR_EMAIL": "alice@example.com",
    "GIT_COMMITTER_NAME": "Alice",
    "GIT_COMMITTER_EMAIL": "alice@example.com",
}
# Where the calls of one repository begin on each forge.
BASES = {
    "github": "/repos/acme/models",
    "azure-devops": "/acme/models/_apis/git/repositories/models",
    "gitlab": "/api/v4/projects/acme%2Fmodels",
}


def git(folder: Path, *arguments: str) -> str:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(
        ["git", *arguments], cwd=folder, env=kept | GIT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (arguments, done.stderr)
    return done.stdout.strip()


def read_head(folder: Path) -> str:
    """The commit of the branch that a work tree has checked out, right after it was committed."""
    place = folder / ".git"
    return (place / (place / "HEAD").read_text().removeprefix("ref: ").strip()).read_text().strip()


def read_log(repository: Path) -> dict[str, str]:
    """What git has noted of each branch of a repository."""
    logs = repository / "logs" / "refs" / "heads"
    return {
        str(file.relative_to(logs)): file.read_text() for file in logs.rglob("*") if file.is_file()
    }


def push_change(clone: Path, branch: str, file: str, text: str) -> None:
    """Commit a file on the branch that is checked out, and push it."""
    (clone / file).write_text(text)
    git(clone, "add", file)
    git(clone, "commit", "-q", "-m", f"Change {file}")
    git(clone, "push", "-q", "origin", branch)


_ORIGIN = "the-repository-of-the-forge"


def connect(folder: Path, bare: Path) -> None:
    """Have the `origin` of a copied work tree be a repository."""
    config = folder / ".git" / "config"
    config.write_text(config.read_text().replace(_ORIGIN, str(bare)))


@functools.cache
def make_empty_repositories() -> Path:
    """A folder with an empty bare repository, and an empty work tree of it."""
    top = Path(tempfile.mkdtemp(dir=os.environ[RUN_FOLDER]))
    BareRepository(top / "repository.git")
    tree = top / "clone"
    tree.mkdir()
    git(tree, "init", "-q", "--initial-branch=main", ".")
    git(tree, "remote", "add", "origin", _ORIGIN)
    for samples in (top / "repository.git" / "hooks", tree / ".git" / "hooks"):
        shutil.rmtree(samples)
    return top


def copy_repositories(template: Path, bare: Path, clone: Path) -> None:
    """Copy a bare repository and its work tree to where nothing or an older state of them is."""
    for name, place in (("repository.git", bare), ("clone", clone)):
        shutil.copytree(template / name, place, dirs_exist_ok=True)
    connect(clone, bare)


@functools.cache
def make_begun_repositories() -> Path:
    """The same with one commit on the branch `main`, which is pushed."""
    top = Path(tempfile.mkdtemp(dir=os.environ[RUN_FOLDER]))
    bare, clone = top / "repository.git", top / "clone"
    copy_repositories(make_empty_repositories(), bare, clone)
    (clone / "README").write_text("models\n")
    git(clone, "add", "README")
    git(clone, "commit", "-q", "-m", "Begin")
    git(clone, "push", "-q", "origin", "main")
    return _name_origin_again(top)


@functools.cache
def make_changed_repositories() -> Path:
    """The same with a commit on the branch `change`, which is pushed and checked out."""
    top = Path(tempfile.mkdtemp(dir=os.environ[RUN_FOLDER]))
    copy_repositories(make_begun_repositories(), top / "repository.git", top / "clone")
    git(top / "clone", "checkout", "-q", "-b", CHANGE)
    push_change(top / "clone", CHANGE, f"{CHANGE}.yaml", "a\n")
    return _name_origin_again(top)


def _name_origin_again(top: Path) -> Path:
    config = top / "clone" / ".git" / "config"
    config.write_text(config.read_text().replace(str(top / "repository.git"), _ORIGIN))
    return top


CHANGE = "change"


@dataclass
class World:
    """A forge, and a clone of its repository; the branch `main` has one commit."""

    forge: ForgeName
    open: OpenForge
    clone: Path

    def push(self, branch: str, file: str = "a.yaml", text: str = "a\n", base: str = "") -> str:
        """Write a commit on a branch and push it; a new branch begins at `base` or at HEAD."""
        if branch in git(self.clone, "branch", "--format=%(refname:short)").split():
            git(self.clone, "checkout", "-q", branch)
        else:
            git(self.clone, "checkout", "-q", "-b", branch, *([base] if base else []))
        push_change(self.clone, branch, file, text)
        return read_head(self.clone)

    def pull(self, branch: str = "main") -> str:
        git(self.clone, "checkout", "-q", branch)
        git(self.clone, "pull", "-q", "--ff-only", "origin", branch)
        return git(self.clone, "rev-parse", "HEAD")

    def open_request(self, branch: str = CHANGE, **more: Json) -> Json:
        """A pull request of a branch with one commit, as the forge's control shows it."""
        if branch == CHANGE and self._is_new():
            copy_repositories(make_changed_repositories(), self.open.repository, self.clone)
        else:
            self.push(branch, f"{branch}.yaml", base="main")
        return self.control("POST", "requests", {"branch": branch, **more})

    def _is_new(self) -> bool:
        """Whether nothing was committed or pushed since the repository was made."""
        begun = make_begun_repositories()
        return read_log(self.clone / ".git") == read_log(begun / "clone" / ".git") and read_log(
            self.open.repository
        ) == read_log(begun / "repository.git")

    def control(self, method: str, path: str, body: Json = None) -> Json:
        return self.open.control(method, path, body)

    def fault(self, *texts: str) -> None:
        self.control("POST", "faults", list(texts))

    def headers(self, token: str = "forge-token") -> dict[str, str]:
        if self.forge == "gitlab":
            return {"JOB-TOKEN" if "job" in token else "PRIVATE-TOKEN": token}
        more = {"X-GitHub-Api-Version": "2022-11-28"} if self.forge == "github" else {}
        return {"Authorization": f"Bearer {token}", **more}

    def call(
        self, method: str, path: str, body: Json = None, token: str = "forge-token", **query: Json
    ) -> requests.Response:
        """A call below the repository, or of a whole path that begins with two slashes."""
        full = path[1:] if path.startswith("//") else BASES[self.forge] + path
        query = {**AZURE_VERSION, **query} if self.forge == "azure-devops" else query
        return requests.request(
            method,
            self.open.url + full,
            params=query,
            json=body,
            headers=self.headers(token),
            timeout=120,
            allow_redirects=False,
        )

    def comment(self, number: int, body: str, **options: Json) -> requests.Response:
        """Create a comment."""
        if self.forge == "azure-devops":
            comment = {"parentCommentId": 0, "content": body, "commentType": 1}
            thread = {"comments": [comment], "status": "closed"}
            return self.call("POST", f"/pullRequests/{number}/threads", thread, **options)
        return self.call("POST", self.comments(number), {"body": body}, **options)

    def comments(self, number: int) -> str:
        """The path of the list of comments."""
        return {
            "github": f"/issues/{number}/comments",
            "azure-devops": f"/pullRequests/{number}/threads",
            "gitlab": f"/merge_requests/{number}/notes",
        }[self.forge]

    def update(self, number: int, made: Json, body: str) -> requests.Response:
        """Replace the text of a comment that `comment` made."""
        if self.forge == "azure-devops":
            path = f"/pullRequests/{number}/threads/{made['id']}/comments/1"
            return self.call("PATCH", path, {"content": body})
        if self.forge == "github":
            return self.call("PATCH", f"/issues/comments/{made['id']}", {"body": body})
        return self.call("PUT", f"/merge_requests/{number}/notes/{made['id']}", {"body": body})

    def read(self, number: int) -> Json:
        """The pull request as the forge's API shows it, once its merge was tested."""
        path = {
            "github": f"/pulls/{number}",
            "azure-devops": f"/pullrequests/{number}",
            "gitlab": f"/merge_requests/{number}",
        }[self.forge]
        self.call("GET", path)
        return self.call("GET", path).json()

    def bodies(self, number: int = 1) -> list[str]:
        """The comments that are there, oldest first."""
        comments = self.control("GET", f"requests/{number}")["comments"]
        return [one["body"] for one in comments if not one["system"]]


@contextmanager
def make_world(forge: ForgeName, folder: Path, *faults: str, **more: Json) -> Iterator[World]:
    bare, clone = folder / "repository.git", folder / "clone"
    if not clone.exists():
        copy_repositories(make_begun_repositories(), bare, clone)
    with open_forge(ForgeSettings(forge, bare, faults=faults, **more)) as running:
        yield World(forge, running, clone)

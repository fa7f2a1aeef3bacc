"""A forge of the emulator with a repository of its own, and calls of it without the client.

Git makes each kind of repository once, and a test gets a copy: a push alone is six processes, and
objects in folders of their own are most of the files of a repository.
"""

import functools
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
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
# Settings of a user's git do not count. Nothing has to be tidied, so git starts no process for that,
# and nothing has to survive a power cut.
GIT = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_COUNT": "2",
    "GIT_CONFIG_KEY_0": "maintenance.auto",
    "GIT_CONFIG_VALUE_0": "false",
    "GIT_CONFIG_KEY_1": "core.fsync",
    "GIT_CONFIG_VALUE_1": "none",
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
    """The commit that a work tree has checked out, on a branch or without one; "" before any."""
    place = folder / ".git"
    head = (place / "HEAD").read_text().strip()
    name = head.removeprefix("ref: ")
    if name == head:
        return head
    return (place / name).read_text().strip() if (place / name).exists() else ""


def read_log(repository: Path) -> dict[str, str]:
    """What git has noted of each branch of a repository."""
    logs = repository / "logs" / "refs" / "heads"
    return {
        str(file.relative_to(logs)): file.read_text() for file in logs.rglob("*") if file.is_file()
    }


def commit_file(clone: Path, file: str, text: str) -> str:
    """Commit a file on the branch that is checked out; return the commit."""
    (clone / file).write_text(text)
    git(clone, "add", file)
    git(clone, "commit", "-q", "-m", f"Change {file}")
    return read_head(clone)


def push(bare: Path, branch: str, commit: str) -> None:
    """Point a branch of the forge to a commit of a clone, with which it shares its objects.

    It is what remains of a push where nothing has to be sent. Git would need a process for it, and
    most tests push a few times.
    """
    place, log = (bare / top / "refs" / "heads" / branch for top in (".", "logs"))
    before = place.read_text().strip() if place.exists() else "0" * 40
    for file in (place, log):
        file.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as lines:
        lines.write(f"{before} {commit} Alice <alice@example.com> 1700000000 +0000\tpush\n")
    part = place.with_name(f"{place.name}.lock")  # as git names it
    part.write_text(f"{commit}\n")
    part.replace(place)


CHANGE = "change"
_ORIGIN = "the-repository-of-the-forge"
# Git knows a repository by these folders, also where they are empty.
_FOLDERS = ("objects/info", "refs/heads")


@dataclass(frozen=True)
class Repositories:
    """The files of a bare repository and of a work tree of it, without their objects.

    `store` is the folder with the objects; each copy reads them there, and writes its own ones.
    """

    store: Path
    bare: Mapping[str, bytes]
    clone: Mapping[str, bytes]

    def write_bare(self, bare: Path) -> None:
        """Write the repository of a forge where nothing or an older state of it is."""
        _write_files(bare, self.bare)
        (bare / "objects" / "info" / "alternates").write_text(f"{self.store}\n")

    def write_clone(self, clone: Path, bare: Path) -> None:
        """Write a work tree that shares its objects with the repository of the forge."""
        self.write_checkout(clone, bare)
        objects = clone / ".git" / "objects"
        if not objects.is_symlink():
            shutil.rmtree(objects)
            objects.symlink_to(bare / "objects")

    def write_checkout(self, folder: Path, bare: Path) -> None:
        """Write a work tree that has only the objects that it fetches."""
        config = self.clone[".git/config"].replace(_ORIGIN.encode(), os.fsencode(bare))
        _write_files(folder, {**self.clone, ".git/config": config}, ".git")


def _write_files(folder: Path, files: Mapping[str, bytes], top: str = ".") -> None:
    places = {folder / name: content for name, content in files.items()}
    for needed in {folder / top / name for name in _FOLDERS} | {one.parent for one in places}:
        needed.mkdir(parents=True, exist_ok=True)
    for place, content in places.items():
        place.write_bytes(content)


def _read_files(folder: Path) -> dict[str, bytes]:
    found = (one for one in folder.rglob("*") if one.is_file())
    names = {one.relative_to(folder).as_posix(): one for one in found}
    left_out = re.compile(r"(\.git/)?(objects|hooks|branches|description|info)(/|$)")
    return {name: one.read_bytes() for name, one in names.items() if not left_out.match(name)}


@functools.cache
def make_repositories() -> tuple[Repositories, Repositories, Repositories]:
    """Empty ones; with a commit on `main`, which is pushed; with a second one on `change`."""
    top = Path(tempfile.mkdtemp(dir=os.environ[RUN_FOLDER]))
    bare, clone = top / "repository.git", top / "clone"
    BareRepository(bare)
    git(bare, "config", "core.compression", "0")  # what is fetched is packed each time
    clone.mkdir()
    git(clone, "init", "-q", "--initial-branch=main", ".")
    git(clone, "remote", "add", "origin", _ORIGIN)

    def read() -> Repositories:
        return Repositories(bare / "objects", _read_files(bare), _read_files(clone))

    empty = read()
    (clone / "README").write_text("models\n")
    git(clone, "add", "README")
    git(clone, "commit", "-q", "-m", "Begin")
    git(clone, "push", "-q", str(bare), "main")
    begun = read()
    git(clone, "checkout", "-q", "-b", CHANGE)
    commit_file(clone, f"{CHANGE}.yaml", "a\n")
    git(clone, "push", "-q", str(bare), CHANGE)
    for forge in ("github", "gitlab"):  # each has tested the merge of the first request
        with open_forge(ForgeSettings(forge, bare)) as running:
            running.control("POST", "requests", {"branch": CHANGE})
    return empty, begun, read()


@dataclass
class World:
    """A forge, and a clone of its repository; the branch `main` has one commit."""

    forge: ForgeName
    open: OpenForge
    folder: Path
    begun: Repositories

    @property
    def clone(self) -> Path:
        """The work tree of a person, which most tests do not need."""
        place = self.folder / "clone"
        if not place.exists():
            self.begun.write_clone(place, self.open.repository)
        return place

    def push(self, branch: str, file: str = "a.yaml", text: str = "a\n", base: str = "") -> str:
        """Write a commit on a branch and push it; a new branch begins at `base` or at HEAD."""
        if (self.clone / ".git" / "refs" / "heads" / branch).exists():
            git(self.clone, "checkout", "-q", branch)
        else:
            git(self.clone, "checkout", "-q", "-b", branch, *([base] if base else []))
        commit = commit_file(self.clone, file, text)
        push(self.open.repository, branch, commit)
        return commit

    def pull(self, branch: str = "main") -> str:
        commit = BareRepository(self.open.repository).list_branches()[branch]
        git(self.clone, "checkout", "-q", "-B", branch, commit)
        return commit

    def open_request(self, branch: str = CHANGE, **more: Json) -> Json:
        """A pull request of a branch with one commit, as the forge's control shows it."""
        if branch == CHANGE and self._is_new():
            self.begun = make_repositories()[2]
            self.begun.write_bare(self.open.repository)
        else:
            self.push(branch, f"{branch}.yaml", base="main")
        return self.control("POST", "requests", {"branch": branch, **more})

    def _is_new(self) -> bool:
        """Whether nothing was pushed since the repository was made, and nobody has a clone."""
        logs = "logs/refs/heads/"
        begun = {
            name.removeprefix(logs): log.decode()
            for name, log in self.begun.bare.items()
            if name.startswith(logs)
        }
        return not (self.folder / "clone").exists() and read_log(self.open.repository) == begun

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
    bare, (_, begun, _) = folder / "repository.git", make_repositories()
    if not bare.exists():
        begun.write_bare(bare)
    with open_forge(ForgeSettings(forge, bare, faults=faults, **more)) as running:
        yield World(forge, running, folder, begun)

"""Plays the containers of manifests/deploy on this machine: the same commands, /work elsewhere."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.e2e.world import ROOT, clean_environment
from tests.storage import leave_out

DEPLOY = ROOT / "manifests" / "deploy"
KUSTOMIZATION = "kustomization.yaml"
MANIFESTS = tuple(sorted({one.name for one in DEPLOY.glob("*.yaml")} - {KUSTOMIZATION}))


def read_documents(*names: str) -> list[dict[str, Any]]:
    """The documents of some files of manifests/deploy."""
    return [one for name in names for one in yaml.safe_load_all((DEPLOY / name).read_text())]


def find_pods(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The templates of Pods in a document, at any depth."""
    for name, value in document.items():
        if name == "template":
            yield value
        elif isinstance(value, dict):
            yield from find_pods(value)


def list_containers(pod: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


@dataclass(frozen=True)
class Pod:
    """A Pod's containers, with a folder that has its volumes.

    `more` are the values of what the variables of a container refer to.
    """

    spec: Mapping[str, Any]
    folder: Path
    more: Mapping[str, str]

    def __post_init__(self) -> None:
        for volume in (self.work, self.tmp):
            volume.mkdir(parents=True, exist_ok=True)

    @property
    def work(self) -> Path:
        return self.folder / "work"

    @property
    def tmp(self) -> Path:
        return self.folder / "tmp"

    def find_command(self, name: str) -> list[str]:
        """What the image starts for a container."""
        (found,) = (one for one in list_containers({"spec": self.spec}) if one["name"] == name)
        command = found.get("command", ["reconciler"])
        if command[0] == "reconciler":
            command = [sys.executable, "-m", "reconciler"]
        else:
            command = [str(DEPLOY / command[0]), *command[1:]]
        given: Sequence[str] = found.get("args", [])
        return [*command, *(one.replace("/work/", f"{self.work}/") for one in given)]

    def find_environment(self, name: str) -> dict[str, str]:
        """The variables of a container, and those of the image; nothing else of this machine."""
        (found,) = (one for one in list_containers({"spec": self.spec}) if one["name"] == name)
        given = {
            one["name"]: self.more.get(one["name"], one.get("value", ""))
            for one in found.get("env", [])
        }
        image = {"HOME": str(self.tmp), "USER": "reconciler", "PYTHONUNBUFFERED": "1"}
        path = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
        return {**path, **image, "PROJECT_FOLDER": str(self.work), **given}

    def start(self, name: str, **more: Any) -> "subprocess.Popen[str]":
        """Start a container."""
        return subprocess.Popen(
            self.find_command(name),
            cwd=self.work,
            env=self.find_environment(name),
            stdin=subprocess.DEVNULL,
            text=True,
            **more,
        )

    def run(self, name: str, *before: str) -> "subprocess.CompletedProcess[str]":
        """Run a container to its end; `before` is what starts it."""
        return subprocess.run(
            [*before, *self.find_command(name)],
            cwd=self.work,
            env=self.find_environment(name),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )


# The volumes, and then what starts the command: all else is read-only, and no right is left.
_READ_ONLY = """
set -e
mount --make-rprivate /
for volume in "$1" "$2"; do mount --bind "$volume" "$volume"; done
for place in / "$3"; do mount -o remount,bind,ro "$place"; done
shift 3
exec setpriv --no-new-privs --bounding-set=-all --inh-caps=-all "$@"
"""


def make_read_only(pod: Pod) -> list[str]:
    """What starts a command that can write to the volumes of a Pod alone.

    Leaves the test out where this machine lets nobody mount.
    """
    place = pod.folder.resolve()
    while not place.is_mount():
        place = place.parent
    become = [] if os.geteuid() == 0 else ["--map-root-user"]
    apart = ["unshare", "--mount", *become]
    if shutil.which("setpriv") is None or subprocess.run([*apart, "true"], check=False).returncode:
        leave_out("a read-only root", "unshare and setpriv of util-linux cannot be used here.")
    return [*apart, "sh", "-c", _READ_ONLY, "sh", str(pod.work), str(pod.tmp), str(place)]


class Repository:
    """A bare repository of a project, and a clone in which a person commits."""

    def __init__(self, folder: Path, clone: Path) -> None:
        self.folder, self.clone = folder, clone
        self.git("init", "-q", "--bare", "-b", "main", str(folder), where=folder.parent)
        self.git("init", "-q", "-b", "main")
        self.push("Declare the service")

    @property
    def url(self) -> str:
        return self.folder.as_uri()

    def git(self, *arguments: str, where: Path | None = None) -> str:
        who = ("-c", "user.name=a", "-c", "user.email=a@example.com")
        done = subprocess.run(
            ["git", *who, *arguments],
            cwd=where or self.clone,
            env={**clean_environment(), "GIT_CONFIG_GLOBAL": os.devnull},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    def push(self, message: str) -> str:
        """Commit all files and push them; returns the commit."""
        self.git("add", "--all")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        self.git("push", "-q", "--force", str(self.folder), "HEAD:main")
        return self.git("rev-parse", "HEAD")

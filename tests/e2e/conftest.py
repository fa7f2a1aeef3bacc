"""An emulator for all end-to-end tests, and a project for each."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.world import Emulator, Project, run_emulator


@pytest.fixture(scope="session")
def emulator() -> Iterator[Emulator]:
    with run_emulator("--operation-seconds", "0.05") as running:
        yield running


@pytest.fixture
def own_group(emulator: Emulator, request: pytest.FixtureRequest) -> Emulator:
    """The emulator with a resource group that no other test knows."""
    group = "".join(c if c.isalnum() else "-" for c in request.node.name)[:80]
    return Emulator(emulator.url, emulator.blob, emulator.token, group)


@pytest.fixture
def project(own_group: Emulator, tmp_path: Path) -> Project:
    return Project(tmp_path / "project", own_group)

"""A resource group and a project for each end-to-end test."""

from pathlib import Path

import pytest

from tests.e2e.world import Emulator, Project


@pytest.fixture
def own_group(emulator: Emulator, request: pytest.FixtureRequest) -> Emulator:
    """The emulator with a resource group that no other test knows."""
    group = "".join(c if c.isalnum() else "-" for c in request.node.name)[:80]
    return Emulator(emulator.url, emulator.blob, emulator.token, group)


@pytest.fixture
def project(own_group: Emulator, tmp_path: Path) -> Project:
    return Project(tmp_path / "project", own_group)

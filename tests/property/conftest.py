"""A project in front of a wild service, for every test that runs commands."""

from collections.abc import Iterator

import pytest

from tests.hostile_project import World, run_world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with run_world(tmp_path_factory.mktemp("outer")) as running:
        yield running

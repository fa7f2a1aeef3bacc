"""One emulator for all contract tests that need no switch, and a group for each test."""

from collections.abc import Iterator

import pytest

from reconciler.emulator.azurite import run_azurite
from tests.contract.world import Service, run_service


@pytest.fixture(scope="session")
def shared_service() -> Iterator[Service]:
    with run_service() as running:
        yield running


@pytest.fixture
def service(shared_service: Service, request: pytest.FixtureRequest) -> Service:
    group = "".join(c if c.isalnum() else "-" for c in request.node.name)[:80]
    return Service(shared_service.url, group, process=shared_service.process)


@pytest.fixture(scope="session")
def shared_slow() -> Iterator[Service]:
    """Operations run for a while, so that what holds in between can be seen."""
    with run_service("--operation-seconds", "0.6") as running:
        yield running


@pytest.fixture
def slow(shared_slow: Service, request: pytest.FixtureRequest) -> Service:
    group = "".join(c if c.isalnum() else "-" for c in request.node.name)[:80]
    return Service(shared_slow.url, group, process=shared_slow.process)


@pytest.fixture(scope="session")
def storage() -> Iterator[str]:
    """Real blob storage, once for all: its URL."""
    with run_azurite() as url:
        yield url

"""One emulator for all contract tests that need no switch, and a group for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.emulator.azurite import run_azurite
from tests.contract.homes import Folder, Home, Prefix
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


@pytest.fixture(params=["file", "azure_blob"])
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Home:
    """One ledger's place, of each kind."""
    if request.param == "file":
        return Folder(tmp_path / "ledger")
    return make_prefix(request)


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> Prefix:
    return make_prefix(request)


def make_prefix(request: pytest.FixtureRequest) -> Prefix:
    url = request.getfixturevalue("storage")
    name = "".join(c if c.isalnum() else "-" for c in request.node.nodeid)[-150:]
    return Prefix(f"{url}/devstoreaccount1/reconciler", f"x{name}/")

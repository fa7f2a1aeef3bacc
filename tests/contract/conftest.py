"""One emulator for all contract tests that need no switch, and a group for each test."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clocks import FakeClock
from tests.contract.classic import MODEL, Classic
from tests.contract.homes import Folder, Home, Prefix
from tests.contract.world import LONG_S, Service, run_service
from tests.storage import open_storage


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
    with run_service("--operation-seconds", str(LONG_S)) as running:
        yield running


@pytest.fixture
def slow(shared_slow: Service, request: pytest.FixtureRequest) -> Service:
    group = "".join(c if c.isalnum() else "-" for c in request.node.name)[:80]
    return Service(shared_slow.url, group, process=shared_slow.process)


@pytest.fixture(scope="session")
def storage() -> str:
    """Real blob storage, once for all: its URL."""
    return open_storage()


@pytest.fixture(params=["file", "azure_blob"])
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Home:
    """One ledger's place, of each kind."""
    if request.param == "file":
        return Folder(tmp_path / "ledger")
    return make_prefix(request)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """The monotonic clock of locks."""
    clock = FakeClock()
    for name in ("lock", "file", "file_lock", "blob", "leadership"):
        monkeypatch.setattr(f"reconciler.ledgers.{name}.read_clock", clock)
    return clock


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> Prefix:
    return make_prefix(request)


def make_prefix(request: pytest.FixtureRequest) -> Prefix:
    url = request.getfixturevalue("storage")
    name = "".join(c if c.isalnum() else "-" for c in request.node.nodeid)[-150:]
    return Prefix(f"{url}/devstoreaccount1/reconciler", f"x{name}/")


@pytest.fixture
def classic(shared_service: Service) -> Classic:
    """A predictive web service of its own."""
    return publish_own(shared_service)


@pytest.fixture
def slow_classic(shared_slow: Service) -> Classic:
    """One whose writes take effect after a while."""
    return publish_own(shared_slow)


@pytest.fixture(scope="session")
def shared_scored(storage: str) -> Iterator[Service]:
    """An emulator beside real blob storage."""
    with run_service(f"--blob-url={storage}", "--blob") as running:
        running.blob = storage
        yield running


@pytest.fixture
def scored(shared_scored: Service) -> Classic:
    """A predictive web service of its own, whose models lie in real blob storage."""
    return publish_own(shared_scored)


def publish_own(service: Service) -> Classic:
    classic = Classic(service.url, uuid.uuid4().hex, blob=service.blob)
    classic.publish(Name="Bikes", Resources=[MODEL])
    return classic

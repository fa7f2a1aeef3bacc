"""One emulator, with blob storage beside it, for every test that needs no switch."""

from collections.abc import Iterator

import pytest

from tests.e2e.world import Emulator, run_emulator


@pytest.fixture(scope="session")
def emulator() -> Iterator[Emulator]:
    with run_emulator("--operation-seconds", "0.05") as running:
        yield running

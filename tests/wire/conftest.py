"""What several tests of the wire use."""

from pathlib import Path

import pytest

from tests.wire.ways import write_certificate


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate with its key, signed by nobody else."""
    return write_certificate(tmp_path / "certificate.pem")

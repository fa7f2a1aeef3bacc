"""The log of RECONCILER_LOG=debug: which cycle of `watch` a line belongs to."""

import logging
import re

import pytest

from reconciler.cli.context import Invocation
from reconciler.cli.debug_log import printed_log


def test_a_line_has_the_id_of_its_cycle(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RECONCILER_LOG", "debug")
    invocation, log = Invocation(), logging.getLogger("reconciler.requests")
    with printed_log(invocation):
        log.debug("GET /before")
        invocation.cycle = "4f1c2aa9b1d2"
        log.debug("GET /inside")
        invocation.cycle = ""
        log.debug("GET /after")
    lines = [re.sub(r"^[0-9T:.-]+Z ", "", line) for line in capsys.readouterr().err.splitlines()]
    assert lines == ["GET /before", "[4f1c2aa9b1d2] GET /inside", "GET /after"]

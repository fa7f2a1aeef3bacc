"""A command that judges a plan is ended when it takes too long, with all that it has started."""

import os
import sys
from pathlib import Path

import pytest

from reconciler.cli.policy_command import judge_by_command
from reconciler.errors import Unplannable
from tests.plans import plan


@pytest.mark.parametrize("closes", [True, False])
def test_a_command_that_does_not_end_is_ended(tmp_path: Path, closes: bool) -> None:
    fifo = tmp_path / "alive"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    body = (
        f"import os, time\nif os.fork(): os.open({str(fifo)!r}, os.O_WRONLY)\n"
        f"{'os.close(1); os.close(2)' if closes else ''}\ntime.sleep(600)"
    )
    with pytest.raises(Unplannable) as failed:
        judge_by_command(plan(), [sys.executable, "-c", body], str, within_s=2.0)
    (found,) = failed.value.findings()
    assert found.message.endswith("has not judged the plan: it has not ended in 2 s")
    # The end of the pipe is reported when its last writer has ended.
    os.set_blocking(reader, True)
    assert os.read(reader, 1) == b""
    os.close(reader)

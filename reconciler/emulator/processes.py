"""Child processes that do not outlive their parent, however that ends."""

from __future__ import annotations

import ctypes
import signal
import subprocess
from typing import Final

_DEATH_SIGNAL: Final = 1  # PR_SET_PDEATHSIG of <sys/prctl.h>


def die_with_parent() -> None:
    """For `preexec_fn`: have the kernel end this process when its parent ends."""
    ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGTERM)


def end_process(process: subprocess.Popen[bytes], patience_s: float = 10.0) -> None:
    """Ask a process to end, and insist when it does not."""
    process.terminate()
    try:
        process.wait(timeout=patience_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()

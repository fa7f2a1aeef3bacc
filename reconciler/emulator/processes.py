"""Ends child processes together with their parent.

Code that starts a server process calls it. It knows nothing of the server.
"""

from __future__ import annotations

import ctypes
import signal
import subprocess
from typing import Final

_DEATH_SIGNAL: Final = 1  # PR_SET_PDEATHSIG of <sys/prctl.h>


def die_with_parent() -> None:
    """Let the kernel end this process when its parent ends. For `preexec_fn`."""
    ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGTERM)


def end_process(process: subprocess.Popen[bytes], patience_s: float = 10.0) -> None:
    """Terminate a process; kill it if it does not end within `patience_s` seconds."""
    process.terminate()
    try:
        process.wait(timeout=patience_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()

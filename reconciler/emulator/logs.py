"""What the emulator writes about requests: the lines of --log, and the errors of the framework.

A line never holds a signature or a body. The server calls this module.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import sys
import time
from typing import IO, TYPE_CHECKING, Final

from aiohttp.http_exceptions import HttpProcessingError

from reconciler.emulator.faults.fault_plan import FaultEntry
from reconciler.emulator.replies import Answer

if TYPE_CHECKING:  # only for annotations
    from aiohttp import web

# Of blob storage `sig`, and of an operation of Azure Machine Learning the long parts.
_SIGNATURE: Final = re.compile(r"(?<=[?&])(sig|c|s|h)=[^&]*", re.IGNORECASE)


def write_line(
    log: IO[str],
    request: web.Request,
    answer: Answer,
    entry: FaultEntry | None,
    body: bytes,
    seconds: float,
) -> None:
    """Write the JSON line of one request: `body` is what it sent, `seconds` how long it took."""
    line = {
        "at": time.time(),
        "method": request.method,
        "path": _SIGNATURE.sub(r"\1=…", request.rel_url.raw_path_qs),
        "status": answer.status or None,
        "seconds": round(seconds, 6),
        "body_sha256": hashlib.sha256(body).hexdigest() if body else None,
        "fault": entry.do if entry else None,
    }
    log.write(json.dumps(line) + "\n")
    log.flush()


class _Complaints(logging.Handler):
    """Prints one line for each error of the framework, except for client errors.

    A client that does not send HTTP or that closes the connection is not an error here.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line to stderr."""
        error = record.exc_info[1] if record.exc_info else None
        if not isinstance(error, (HttpProcessingError, ConnectionError)):
            sys.stderr.write(f"emulator: a request failed: {type(error).__name__}\n")


def make_logger() -> logging.Logger:
    """Return the logger of the framework."""
    made = logging.getLogger(__name__)
    made.handlers, made.propagate = [_Complaints(logging.ERROR)], False
    return made

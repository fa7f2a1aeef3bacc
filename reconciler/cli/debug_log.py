"""Prints the log of reconciler on stderr when RECONCILER_LOG=debug asks for it.

The log has a line for each request, and the place of an unexpected error. A line that belongs to a
cycle of `watch` has its id in brackets. The log holds no secret.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # start-up: most runs have no log
    from reconciler.cli.context import Invocation


def wants_log() -> bool:
    """Whether the environment asks for the log."""
    return os.environ.get("RECONCILER_LOG", "").lower() in {"debug", "trace"}


@contextlib.contextmanager
def printed_log(invocation: Invocation) -> Iterator[None]:
    """Print the records of reconciler's own loggers above the progress bar, if they are asked for.

    The records of libraries are not printed: they may hold a secret.
    """
    if not wants_log():
        yield
        return
    import logging

    class Printer(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
            cycle = f" [{invocation.cycle}]" if invocation.cycle else ""
            invocation.print_error(f"{at.replace('+00:00', 'Z')}{cycle} {record.getMessage()}")

    logger, printer = logging.getLogger("reconciler"), Printer()
    kept = logger.level, logger.propagate
    logger.addHandler(printer)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(printer)
        logger.setLevel(kept[0])
        logger.propagate = kept[1]

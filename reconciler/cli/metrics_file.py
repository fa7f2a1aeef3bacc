"""The file of --metrics-file: the metrics of a command, for the textfile collector.

It is checked before any service is read, and replaced as a whole, so that the collector never reads
a part of it. Everyone may read it, because the collector runs as a user of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import reconciler
from reconciler.cli.context import Invocation
from reconciler.cli.drift_formats import find_fault
from reconciler.errors import ManifestInvalid
from reconciler.files import write_output
from reconciler.model import DriftReport, Finding

if TYPE_CHECKING:  # without the flag it is not needed
    from reconciler.telemetry.metrics import Metrics

_MARK: Final = rb"# HELP reconciler_"
_OTHER: Final = "is not a file of metrics, and --metrics-file replaces nothing else"
_MODE: Final = 0o644


class MetricsFile:
    """The metrics of one command, and the file that they are written to."""

    def __init__(self, name: str, metrics: Metrics) -> None:
        self._name, self._metrics = name, metrics

    def write(self, reports: Sequence[DriftReport] = ()) -> list[Finding]:
        """Replace the file, with the figures of these reports; returns why it was not written."""
        for report in reports:
            self._metrics.note_report(report)
        path, data = Path(self._name), self._metrics.render()
        try:
            write_output(path, data, mode=_MODE)
        except OSError as error:
            said = f"the metrics cannot be written: {error.strerror or error}"
            return [Finding(said, subject=self._name, next_step="Correct it, then run it again.")]
        return []


def open_metrics_file(invocation: Invocation, metrics: Metrics | None = None) -> MetricsFile | None:
    """The file of --metrics-file with the metrics of this command; None without the flag.

    Without `metrics`, new ones count the calls of the command. Raises ManifestInvalid for a file
    that may not be written, and ReconcilerError if prometheus_client is not installed.
    """
    name = invocation.metrics_file
    if not name:
        return None
    fault = find_fault(name, _MARK, _OTHER, "reconciler.prom")
    if fault is not None:
        raise ManifestInvalid((fault,))
    from reconciler.cli.installation import check_watch_installed

    check_watch_installed()
    if metrics is None:
        from reconciler.telemetry.metrics import Metrics

        metrics = Metrics(reconciler.__version__, watches=False)
        invocation.emitter.observers.append(metrics.note_event)
    return MetricsFile(name, metrics)

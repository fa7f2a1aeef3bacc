"""`--baseline` and `--new-only`: which findings of a drift report are new, and which count."""

from __future__ import annotations

import os
from pathlib import Path

import click

from reconciler.cli.completion import complete_files
from reconciler.errors import ReconcilerError
from reconciler.model import DriftReport, Project
from reconciler.model.values import dataclass

BASELINE = click.option(
    "--baseline",
    default="",
    metavar="FILE",
    shell_complete=complete_files,
    help="Count a finding as new if this report lacks it. FILE was saved with --out FILE.json."
    " Default: as new as the earlier runs know it.",
)
NEW_ONLY = click.option(
    "--new-only",
    is_flag=True,
    help="Report the new findings, and only count the others: they do not change the exit code.",
)


@dataclass(frozen=True, slots=True)
class NewFindings:
    """The flags: `baseline` is the name of a saved report or empty."""

    baseline: str = ""
    new_only: bool = False

    def __bool__(self) -> bool:
        return bool(self.baseline or self.new_only)

    def read(self, project: Project) -> frozenset[str] | None:
        """The keys of the baseline; None without one. Raises ReconcilerError."""
        if not self.baseline:
            return None
        from reconciler.plans.drift_baseline import MOST_BYTES, read_baseline

        try:
            with Path(self.baseline).open("rb") as file:
                data = file.read(MOST_BYTES + 1)
        except OSError as error:
            raise ReconcilerError(
                f"the baseline cannot be read: {error.strerror}",
                subject=self.baseline,
                next_step="Name a report that was saved: reconciler drift --out baseline.json",
            ) from error
        name = os.fspath(self.baseline)
        return read_baseline(data, project.name, project.environment, name)

    def choose(self, report: DriftReport, known: frozenset[str] | None) -> DriftReport:
        """The report as the flags ask for it; `known` is what `read` has returned."""
        from reconciler.plans.drift_baseline import compare_with, leave_out_known

        report = report if known is None else compare_with(report, known)
        return leave_out_known(report) if self.new_only else report

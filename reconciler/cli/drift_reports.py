"""Makes the drift reports of a command, saves them as `--out` asks, and prints them.

An environment whose report cannot be made has its error in its section, and hides no other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from reconciler.cli.context import Invocation, is_automated
from reconciler.cli.drift_formats import (
    ReportFile,
    check_outs,
    check_outs_in_project,
    follow_links,
    name_outcome,
    print_reports,
    render_reports,
    write_outs,
)
from reconciler.cli.errors import explain, trace
from reconciler.cli.exit_codes import get_exit_code
from reconciler.cli.loading import find_folder, find_root, load_one
from reconciler.cli.metrics_file import MetricsFile, open_metrics_file
from reconciler.kinds import find_kinds
from reconciler.manifests import PROJECT_FILE
from reconciler.manifests.environments import list_environments
from reconciler.model import DriftReport, FailedReport
from reconciler.render.words.escape import escape


def report_one(
    invocation: Invocation,
    make: Callable[[], DriftReport],
    form: str,
    outs: Sequence[ReportFile],
) -> int:
    """Show the report of one environment; returns the exit code."""
    _check(invocation, outs, [invocation.environment])
    metrics = open_metrics_file(invocation)
    reports = [make()]
    return _finish(invocation, form, outs, reports, metrics=metrics)


def report_all(
    invocation: Invocation,
    make: Callable[[], DriftReport],
    form: str,
    outs: Sequence[ReportFile],
) -> int:
    """Show the reports of all environments; returns the exit code of the gravest one."""
    names = list_environments(find_root(invocation))
    if not names:
        make()  # it raises the error of a project without environments
    _check(invocation, outs, names)
    metrics = open_metrics_file(invocation)
    reports, failed = [], []
    for name in names:
        invocation.environment, invocation.notes = name, ()
        try:
            reports.append(make())
        except Exception as error:  # noqa: BLE001 - it must not hide the other environments
            trace(error)
            failed.append(FailedReport(name, explain(error, invocation)))
    invocation.clear_progress()
    return _finish(invocation, form, outs, reports, failed, metrics=metrics)


def _check(
    invocation: Invocation,
    outs: Sequence[ReportFile],
    environments: Sequence[str],
) -> None:
    """Raise ManifestInvalid for files of `--out` that may not be written, before anything is read.

    The errors of the project itself are left to the report.
    """
    if not outs:
        return
    check_outs(outs)
    kinds, file = find_kinds(), invocation.project_file or PROJECT_FILE
    for name in environments:
        loaded = load_one(invocation, name, [file], kinds)
        if loaded.project is not None:
            check_outs_in_project(outs, loaded.project)


def _finish(
    invocation: Invocation,
    form: str,
    outs: Sequence[ReportFile],
    reports: Sequence[DriftReport],
    failed: Sequence[FailedReport] = (),
    *,
    metrics: MetricsFile | None,
) -> int:
    """Save the files, then print: a reader of stdout that ends early must not cost a file."""
    root = find_root(invocation)
    folder, reports = find_folder(root), [follow_links(one, root) for one in reports]
    unwritten = write_outs(outs, reports, folder, failed)
    if metrics is not None:
        unwritten += metrics.write(reports)
    text = render_reports(form, reports, paint=invocation.paint(), folder=folder, failed=failed)
    print_reports(form, text)
    if outs and not unwritten and not is_automated():
        names = ", ".join(escape(one.name) for one in outs)
        invocation.print_error(f"Saved the report to: {names}")
    invocation.print_findings(unwritten)
    word = "error" if unwritten else name_outcome(reports, failed)
    return get_exit_code(word, detailed=invocation.detailed_exitcode)

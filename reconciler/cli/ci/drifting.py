"""`ci drift`: reports the drift of each environment, for a job that runs at fixed times."""

from __future__ import annotations

import os
from pathlib import Path

import click

from reconciler.cli.ci.artifacts import Artifacts, show_on_page
from reconciler.cli.ci.planning import choosing, find_targets, name_project
from reconciler.cli.ci.session import CiFlags
from reconciler.cli.context import Invocation
from reconciler.cli.drift_baseline import NewFindings
from reconciler.cli.drift_formats import choose_gravest, follow_links
from reconciler.cli.exit_codes import ExitWord, classify_error, get_exit_code
from reconciler.cli.loading import find_folder, find_root
from reconciler.cli.metrics_file import open_metrics_file
from reconciler.cli.wiring import PlanFlags, assemble
from reconciler.engine.drift import report_drift
from reconciler.errors import ReconcilerError
from reconciler.gitops.jobs import find_job
from reconciler.model import DriftReport
from reconciler.render.comments import Heading, render_no_plan
from reconciler.render.drift.markdown import render_drift_markdown
from reconciler.render.drift.text import render_drift
from reconciler.render.junit import (
    Suite,
    make_drift_suite,
    make_findings_suite,
    name_drift_suite,
)
from reconciler.render.plan.markdown import code


def run_ci_drift(
    invocation: Invocation, flags: PlanFlags, ci: CiFlags, new_findings: NewFindings
) -> int:
    """Report the drift of each environment; returns the exit code, as `drift` does.

    It asks no forge, so it also runs outside of a job. The report is on the page of the job.
    """
    invocation.reads_drift_ignore = True
    artifacts = Artifacts(ci.artifacts)
    artifacts.clear()
    run = _DriftRun(invocation, flags, artifacts, new_findings)
    with invocation.interruption.listening():
        words = run.run()
    return get_exit_code(choose_gravest(words), detailed=invocation.detailed_exitcode)


class _DriftRun:
    def __init__(
        self,
        invocation: Invocation,
        flags: PlanFlags,
        artifacts: Artifacts,
        new_findings: NewFindings,
    ) -> None:
        self._invocation, self._flags, self._artifacts = invocation, flags, artifacts
        self._new_findings = new_findings
        self._job = find_job(os.environ)
        folder = Path(invocation.project_file).parent
        self._targets = find_targets(invocation, folder)
        self._project = name_project(invocation, self._targets)
        self._folder = find_folder(folder)
        self._pages: list[str] = []
        self._reports: list[DriftReport] = []
        self._metrics = open_metrics_file(invocation)

    def run(self) -> set[ExitWord]:
        found = [self._report(one) for one in self._targets]
        unwritten = self._metrics.write(self._reports) if self._metrics is not None else []
        self._invocation.print_findings(unwritten)
        self._artifacts.write_findings("drift", [suite for suite, _ in found])
        summary = self._job.summary_file if self._job else ""
        line = show_on_page(summary, self._artifacts, self._pages)
        if line:
            click.echo(line.encode())
        words: set[ExitWord] = {word for _, word in found}
        return words | {"error"} if unwritten else words

    def _report(self, environment: str) -> tuple[Suite, ExitWord]:
        """Report one environment; an error of it ends nothing else."""
        name = name_drift_suite(self._project, environment)
        try:
            report = self._make(environment)
            self._reports.append(report)
        except ReconcilerError as error:
            findings = error.findings()
            self._invocation.print_findings(findings)
            heading = Heading(self._project, environment, self._job.run_url if self._job else "")
            self._pages.append(render_no_plan(heading, "no drift report", findings))
            return make_findings_suite(name, findings, self._folder), classify_error(error)
        _, _, body = render_drift_markdown(report).partition("\n")
        body = body.replace("### ", f"### {code(self._project)}{'' if environment else ':'} ", 1)
        self._artifacts.write_drift(report, body, self._folder)
        self._pages.append(body)
        return make_drift_suite(name, report, self._folder), report.outcome

    def _make(self, environment: str) -> DriftReport:
        invocation = self._invocation
        with choosing(invocation, environment):
            assembly = assemble(invocation, ())
            assembly.warn_of_shared()
            known = self._new_findings.read(assembly.project)
            runtime = assembly.runtime(self._flags.parallelism, self._flags.max_calls)
            report = report_drift(runtime, assembly.request(self._flags))
        invocation.clear_progress()
        assembly.warn_of(report.lost, report.history_lost)
        report = follow_links(self._new_findings.choose(report, known), find_root(invocation))
        apart = "\n" if len(self._targets) > 1 else ""
        click.echo(render_drift(report, paint=invocation.paint()) + apart, color=True)
        return report

"""The files that a job keeps, in a folder of their own, and the page of the job.

The folder holds nothing but these files: those of an earlier run are removed first. It ignores
itself in git. What a forge shows of them: the plan as HTML, the findings as tests (JUnit), drift in
code scanning (SARIF), and the counts of Terraform's report (GitLab).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from reconciler.errors import ReconcilerError
from reconciler.files import LinkRefused, check_path, find_checkout, make_folder, write_whole
from reconciler.model import Action, DriftReport, Plan
from reconciler.render.junit import Suite, render_junit

FOLDER: Final = ".reconciler-ci"
_OURS: Final = (
    *(f"plan{rest}.{kind}" for rest in ("", "-*") for kind in ("plan", "html", "md")),
    *(f"drift{rest}.{kind}" for rest in ("", "-*") for kind in ("json", "md", "html", "sarif")),
    *("plan.xml", "drift.xml", "tfplan.json", "summary.md", ".gitignore"),
)
# It says whose the folder is, and keeps the folder out of commits.
_IGNORED: Final = "# Written by reconciler ci, which replaces the files of this folder.\n*\n"
# GitHub shows one MiB of a step; a text of UTF-8 may have four bytes a character.
_MOST_PAGE: Final = 1_000_000


class Artifacts:
    """The folder of one run; each method writes whole files, readable by their owner only."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder).absolute()

    def clear(self) -> None:
        """Make the folder, and remove what an earlier run left.

        Raises ReconcilerError for a folder that holds other files, and OSError.
        """
        self._make()
        self._check_ours()
        for pattern in _OURS:
            for path in self.folder.glob(pattern):
                path.unlink()
        self._write(".gitignore", _IGNORED)

    def _make(self) -> None:
        """Make the folder, with the file that says whose it is, unless it exists."""
        if self.folder.is_symlink():
            raise LinkRefused(self.folder, "is a symbolic link, and no files are written below it")
        check_path(self.folder / "plan.xml", find_checkout(Path()))
        if not self.folder.exists():
            make_folder(self.folder)
            write_whole(self.folder / ".gitignore", _IGNORED, mode=0o600)

    def _check_ours(self) -> None:
        """Raise ReconcilerError if something else is in the folder, so that nothing is lost."""
        if not self.folder.is_dir():
            said = "is not a folder"
            raise ReconcilerError(
                said, subject=str(self.folder), next_step="Name a folder: --artifacts DIR"
            )
        found = sorted(self.folder.iterdir())
        ours = {path for pattern in _OURS for path in self.folder.glob(pattern) if path.is_file()}
        others = [path.name for path in found if path not in ours]
        mark = self.folder / ".gitignore"
        if found and not others and not (mark in ours and mark.read_bytes() == _IGNORED.encode()):
            others = [found[0].name]
        if others:
            raise ReconcilerError(
                f"the folder holds other files, such as {others[0][:100]}",
                subject=str(self.folder),
                next_step="Name an empty or a new folder: --artifacts DIR",
            )

    def write_plan(self, plan: Plan, comment: str) -> Path:
        """Save a plan as a plan file, a page and the comment; returns the plan file."""
        from reconciler.render.plan.html import render_plan_html
        from reconciler.render.plan.text import render_plan_json

        environment = plan.inputs.environment
        stem = f"plan-{environment}" if environment else "plan"
        self._write(f"{stem}.html", render_plan_html(plan))
        self._write(f"{stem}.md", comment)
        return self._write(f"{stem}.plan", render_plan_json(plan))

    def write_comment(self, environment: str, comment: str) -> None:
        """Keep the comment of an environment that has no plan."""
        self._write(f"plan-{environment}.md" if environment else "plan.md", comment)

    def write_findings(self, what: str, suites: Sequence[Suite]) -> None:
        """Write the JUnit of a whole run, as plan.xml or drift.xml."""
        self._write(f"{what}.xml", render_junit(f"reconciler {what}", suites))

    def write_counts(self, plans: Iterable[Plan]) -> None:
        """Write the counts of all plans, in the form of GitLab's report for Terraform."""
        actions = [step.action for plan in plans for step in plan.steps]
        counts = {
            "create": sum(one in {Action.CREATE, Action.REPLACE} for one in actions),
            "update": sum(one is Action.UPDATE for one in actions),
            "delete": sum(one in {Action.DELETE, Action.REPLACE} for one in actions),
        }
        self._write("tfplan.json", json.dumps(counts) + "\n")

    def write_drift(self, report: DriftReport, comment: str, folder: str) -> None:
        """Save a drift report in each format but JUnit, which is one file for a whole run.

        `folder` is the folder of the project, relative to the top of the repository.
        """
        from reconciler.cli.drift_formats import FORMATS, name_suffix, render_reports

        environment = report.inputs.environment
        stem = f"drift-{environment}" if environment else "drift"
        self._write(f"{stem}.md", comment)
        for form in sorted({*FORMATS} - {"text", "markdown", "junit"}):
            text = render_reports(form, [report], folder=folder)
            self._write(f"{stem}{name_suffix(form)}", text)

    def write_page(self, text: str) -> Path:
        """Save the page of a job of Azure Pipelines; returns the file."""
        return self._write("summary.md", text)

    def _write(self, name: str, text: str) -> Path:
        path = self.folder / name
        self._make()
        write_whole(path, text, mode=0o600)
        return path


def show_on_page(summary_file: str, artifacts: Artifacts, texts: Sequence[str]) -> str:
    """Show Markdown on the page of the job; returns the line to print for it, or "".

    GitHub reads a file that its variable names, Azure Pipelines a line on stdout with the name of a
    file. GitLab has no such page.
    """
    text = "\n\n".join(texts)[:_MOST_PAGE] + "\n"
    if summary_file:
        _append(Path(summary_file), text)
        return ""
    if os.environ.get("TF_BUILD", "").lower() == "true":
        return f"##vso[task.uploadsummary]{artifacts.write_page(text)}"
    return ""


def _append(path: Path, text: str) -> None:
    with path.open("ab") as file:
        file.write(text.encode("utf-8", "replace")[:_MOST_PAGE])

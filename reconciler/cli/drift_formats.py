"""The formats of a drift report, in one table, and the files of `--out`.

`drift`, `ci drift` and `watch` use it. The files are checked before any service is read, so that a
report is not lost for a wrong name.
"""

from __future__ import annotations

import errno
import os
import re
import shlex
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import click

from reconciler.cli.completion import complete_files
from reconciler.cli.exit_codes import ExitWord
from reconciler.cli.options import format_options
from reconciler.errors import ManifestInvalid
from reconciler.files import (
    LinkRefused,
    check_path,
    find_checkout,
    is_stream,
    resolve_path,
    write_output,
)
from reconciler.model import (
    Drift,
    DriftReport,
    FailedReport,
    Finding,
    Project,
    SourceLocation,
)
from reconciler.model.values import dataclass
from reconciler.render.words.colour import Paint
from reconciler.text.suggestions import suggest


@dataclass(frozen=True, slots=True)
class _Format:
    """The suffixes of its files, the usual one first, and what each file of it begins with."""

    suffixes: tuple[str, ...]
    mark: bytes


_FORMATS: Final[dict[str, _Format]] = {
    "text": _Format((".txt",), rb".*Coverage: [0-9]"),
    "json": _Format((".json",), rb'\{"(baseline|environments)":'),
    "markdown": _Format((".md",), rb"<!-- reconciler drift "),
    "html": _Format((".html",), rb"<!doctype html>.*reconciler"),
    "sarif": _Format((".sarif", ".sarif.json"), rb'\{.*"reconciler/drift/'),
    "junit": _Format((".junit.xml", ".xml"), rb'<\?xml .*<testsuites name="reconciler drift"'),
}
FORMATS: Final = tuple(_FORMATS)
_BY_SUFFIX: Final = {suffix: name for name, one in _FORMATS.items() for suffix in one.suffixes}
# What tells a file of ours from others is at the beginning or at the end of it.
_HEAD_BYTES: Final = 1 << 20
_TAIL_BYTES: Final = 1 << 16
# From the gravest on.
_GRAVITY: Final[Sequence[ExitWord]] = ("error", "drift", "evidence-incomplete", "in-sync")
# What a user needs in a folder to make a file there.
_MAKE: Final = os.W_OK | os.X_OK
_NOT_WRITTEN: Final = "Nothing was read, and nothing was written."


def name_suffix(form: str) -> str:
    """The usual suffix of the files of a format, with its dot."""
    return _FORMATS[form].suffixes[0]


def render_reports(
    form: str,
    reports: Sequence[DriftReport],
    *,
    paint: Paint | None = None,
    folder: str = "",
    failed: Sequence[FailedReport] = (),
) -> str:
    """The reports of a project in one format, with a line feed at the end.

    Each environment has one report, or is among `failed`. `folder` is the folder of the project,
    relative to the top of the repository.
    """
    if form == "sarif":
        from reconciler.render.drift.sarif import render_sarif

        return render_sarif(reports, folder, failed)
    if form == "junit":
        from reconciler.render.junit import render_drift_junit

        return render_drift_junit(reports, folder, failed)
    if form == "html":
        from reconciler.render.drift.html import render_drift_page

        return render_drift_page(reports, failed)
    if len(reports) == 1 and not failed:
        return _render_one(form, reports[0], paint or Paint())
    from reconciler.render.drift.sections import join_reports

    return join_reports(form, reports, failed, name_outcome(reports, failed), paint or Paint())


def _render_one(form: str, report: DriftReport, paint: Paint) -> str:
    if form == "json":
        from reconciler.plans.drift_file import drift_document
        from reconciler.text.json_text import canonical, escape_json

        return escape_json(canonical(drift_document(report))) + "\n"
    if form == "markdown":
        from reconciler.render.drift.markdown import render_drift_markdown

        return render_drift_markdown(report)
    from reconciler.render.drift.text import render_drift

    return render_drift(report, paint=paint) + "\n"


def follow_links(report: DriftReport, root: Path) -> DriftReport:
    """The report with the real file of each place, because a forge shows no file behind a link.

    `root` is the folder of the project, to which places are relative.
    """
    real = resolve_path(root)
    known: dict[str, str] = {}

    def follow(place: SourceLocation | None) -> SourceLocation | None:
        if place is None:
            return None
        if place.file not in known:
            known[place.file] = _follow(place.file, real)
        return place if known[place.file] == place.file else replace(place, file=known[place.file])

    def follow_all(findings: Sequence[Drift]) -> tuple[Drift, ...]:
        places = map(follow, (one.place for one in findings))
        return tuple(
            one if place is one.place else replace(one, place=place)
            for one, place in zip(findings, places, strict=True)
        )

    expired = tuple(replace(one, place=follow(one.place) or one.place) for one in report.expired)
    return replace(
        report,
        findings=follow_all(report.findings),
        ignored=follow_all(report.ignored),
        known=follow_all(report.known),
        expired=expired,
    )


def _follow(name: str, root: Path) -> str:
    try:
        return os.path.relpath(resolve_path(root / name), root)
    except (OSError, ValueError):
        return name


def name_outcome(reports: Sequence[DriftReport], failed: Sequence[FailedReport] = ()) -> ExitWord:
    """The gravest outcome of an environment; it decides the exit code."""
    words: set[ExitWord] = {one.outcome for one in reports}
    return choose_gravest(words | {"error"} if failed else words)


def choose_gravest(words: Collection[ExitWord]) -> ExitWord:
    """The gravest of some outcomes of drift reports."""
    return next(one for one in _GRAVITY if one in words)


def print_reports(form: str, text: str) -> None:
    """Print what `render_reports` made, in the encoding that its format says it has."""
    if form in {"json", "sarif"}:
        from reconciler.cli.streams import print_json

        print_json(text, nl=False)
    else:
        declares = form in {"html", "junit"}
        click.echo(text.encode("utf-8", "replace") if declares else text, nl=False, color=True)


DRIFT_FORMAT: Final = format_options(
    *FORMATS,
    about="The format of the report: html is one page to open from disk, sarif is for code"
    " scanning, junit has one test for each resource.",
)


@dataclass(frozen=True, slots=True)
class ReportFile:
    """A file of `--out`, as it was given, and the format that its suffix names."""

    name: str
    form: str

    @property
    def path(self) -> Path:
        """The file."""
        return Path(self.name)


def read_outs(
    _: click.Context, __: click.Parameter, names: tuple[str, ...]
) -> tuple[ReportFile, ...]:
    """The files of `--out`; raises click.BadParameter for a suffix that no format has."""
    return tuple(map(_read_out, names))


def _read_out(name: str) -> ReportFile:
    low = Path(name).name.lower()
    suffix = next((one for one in sorted(_BY_SUFFIX, key=len, reverse=True)
                   if low.endswith(one) and low != one), "")  # fmt: skip
    if not suffix:
        given = "".join(Path(low).suffixes[-1:])
        near = suggest(given, _BY_SUFFIX) if given else ""
        question = f" Did you mean {near}?" if near else ""
        raise click.BadParameter(
            f"{name!r} does not end as a file of a format does.{question} Files end in"
            f" {', '.join(_BY_SUFFIX)}."
        )
    return ReportFile(name, _BY_SUFFIX[suffix])


OUTS: Final = click.option(
    "--out",
    "outs",
    metavar="FILE",
    multiple=True,
    callback=read_outs,
    shell_complete=complete_files,
    help="Also save the report to FILE, in the format that its name ends with:"
    f" {', '.join(_BY_SUFFIX)}. Repeatable.",
)


def check_outs(outs: Sequence[ReportFile]) -> None:
    """Raise ManifestInvalid with every file of `--out` that cannot be written."""
    found = [*filter(None, map(_find_out_fault, outs)), *_find_equal(outs)]
    if found:
        raise ManifestInvalid(tuple(found))


def _find_out_fault(out: ReportFile) -> Finding | None:
    other = f"is not a drift report in {out.form}, and --out replaces nothing else"
    return find_fault(out.name, _FORMATS[out.form].mark, other, "drift.html")


def find_fault(name: str, mark: bytes, other: str, sample: str) -> Finding | None:
    """Why a file may not be written, or None; the next step names `sample`.

    An old file must begin with `mark`, a regular expression; `other` is what is wrong if not.
    """
    found = _find_fault(name, mark, other)
    if found is None or found.next_step:
        return found
    return replace(found, next_step=f"Name a new file, such as {sample}.")


def _find_fault(name: str, mark: bytes, other: str) -> Finding | None:
    path = Path(name)
    try:
        check_path(path, find_checkout(Path()))
        if is_stream(path):
            return None if os.access(path, os.W_OK) else _refuse(name, "may not be written")
        return _find_file_fault(name, mark, other)
    except LinkRefused as error:
        return _refuse(str(error.filename), str(error.strerror))
    except (OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) else str(error)
        return _refuse(name, f"cannot be a file: {said}")


def _find_file_fault(name: str, mark: bytes, other: str) -> Finding | None:
    path, folder = Path(name), Path(name).parent
    if not folder.exists():
        step = f"Make it: mkdir -p {shlex.quote(str(folder))}"
        return _refuse(str(folder), "the folder does not exist", step)
    faults = (
        (str(folder), "is not a folder", not folder.is_dir()),
        (str(folder), "nothing may be written to this folder", not os.access(folder, _MAKE)),
        (name, "is a folder", path.is_dir()),
        (name, other, path.is_file() and not _is_ours(path, mark)),
    )
    return next((_refuse(who, said) for who, said, applies in faults if applies), None)


def _refuse(subject: str, message: str, cure: str = "") -> Finding:
    return Finding(message, subject=subject, detail=(_NOT_WRITTEN,), next_step=cure)


def _is_ours(path: Path, mark: bytes) -> bool:
    """Whether a file is empty, or has the mark of its format."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            data = file.read(_HEAD_BYTES)
            file.seek(max(0, size - _TAIL_BYTES))
            data += file.read(_TAIL_BYTES)
    except OSError:
        return False
    return not size or bool(re.match(mark, data, re.DOTALL))


def _find_equal(outs: Sequence[ReportFile]) -> Iterator[Finding]:
    """The files that are named twice, whatever their spelling."""
    seen: dict[object, str] = {}
    for out in outs:
        identity = _identify(out.path)
        if identity in seen:
            yield _refuse(out.name, f"is the same file as {seen[identity]}", "Name each file once.")
        seen.setdefault(identity, out.name)


def _identify(path: Path) -> object:
    try:
        state = path.stat()
    except (OSError, ValueError):
        return os.path.realpath(path)
    return state.st_dev, state.st_ino


def check_outs_in_project(outs: Sequence[ReportFile], project: Project) -> None:
    """Raise ManifestInvalid for files of `--out` in the folder of the ledger."""
    ledger = resolve_path(Path(project.root, project.ledger))
    found = [
        _refuse(out.name, "is in the folder of the ledger", "Name another file.")
        for out in outs
        if not is_stream(out.path) and resolve_path(out.path).is_relative_to(ledger)
    ]
    if found:
        raise ManifestInvalid(tuple(found))


def write_outs(
    outs: Sequence[ReportFile],
    reports: Sequence[DriftReport],
    folder: str,
    failed: Sequence[FailedReport] = (),
) -> list[Finding]:
    """Write each file of `--out`, whole or not at all; returns what could not be written."""
    found = []
    for out in outs:
        text = render_reports(out.form, reports, folder=folder, failed=failed)
        data = text.encode("utf-8", "replace")
        try:
            write_output(out.path, data)
        except OSError as error:
            found.append(_explain(out.name, error))
    return found


def _explain(name: str, error: OSError) -> Finding:
    full = error.errno in {errno.ENOSPC, errno.EDQUOT}
    cure = "Make room on the disk" if full else "Name a file in another folder"
    said = f"the report cannot be written: {error.strerror or error}"
    return Finding(said, subject=name, next_step=f"{cure}, then run it again.")

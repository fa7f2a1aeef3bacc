"""Compares a drift report with a baseline, and leaves out what is known.

A baseline is a report that was saved as JSON, of one environment or of all. Only its keys are
believed, so that a file that was changed by hand can do no more than hide or show findings. The
commands that report drift call this module.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Final

from reconciler.errors import ReconcilerError
from reconciler.model import Drift, DriftReport, Json, Verdict
from reconciler.plans.drift_file import FORMAT_VERSION
from reconciler.text.json_text import TooMuch, read_json

# A report of 20,000 findings has 800,000 values in 20 MB.
MOST_BYTES: Final = 64 << 20
_MOST_VALUES: Final = 3_000_000
_KEY: Final = re.compile(r"[0-9a-f]{24}", re.ASCII)
_SAVE: Final = "Save one: reconciler drift --out baseline.json"
_LISTS: Final = ("findings", "ignored", "known")
# These count although they are known: incomplete evidence never looks like a good result.
_COUNTS: Final = (Verdict.INCOMPLETE, Verdict.NOT_OBSERVABLE)


def read_baseline(data: bytes, project: str, environment: str, name: str) -> frozenset[str]:
    """Return the keys of the findings of a saved report.

    `name` is the file, for errors. Raises ReconcilerError for what is not a report of this project
    and environment in a known version.
    """
    if len(data) > MOST_BYTES:
        raise _refuse(name, f"is longer than {MOST_BYTES >> 20} MiB", _SAVE)
    try:
        document = read_json(data, most_values=_MOST_VALUES)
    except TooMuch as error:
        raise _refuse(name, "holds too many values for a drift report", _SAVE) from error
    except ValueError as error:
        raise _refuse(name, "is not a drift report: it is not JSON", _SAVE) from error
    report = _find_report(document, environment, name)
    _check_version(report, name)
    _check_origin(report, project, environment, name)
    keys = [one.get("key") for part in _LISTS for one in _list_objects(report.get(part, []), name)]
    if not all(isinstance(key, str) and _KEY.fullmatch(key) for key in keys):
        raise _refuse(name, "is damaged: a finding has no key", _SAVE)
    return frozenset(map(str, keys))


def _find_report(document: Json, environment: str, name: str) -> dict[str, Json]:
    """Return the report of the environment; raises ReconcilerError for any other document."""
    if not isinstance(document, dict):
        raise _refuse(name, "is not a drift report", _SAVE)
    for one in _list_objects(document.get("environments", []), name):
        if "drift" in one or "outcome" in one:
            return _choose(document["environments"], environment, name)
    if "plan_digest" in document or "resource_changes" in document:
        raise _refuse(name, "is a plan, and not a drift report", _SAVE)
    if "runs" in document and "version" in document:
        raise _refuse(name, "is a drift report as SARIF, and a baseline is JSON", _SAVE)
    if "findings" not in document or "format_version" not in document:
        raise _refuse(name, "is not a drift report", _SAVE)
    return document


def _choose(every: Iterable[Json], environment: str, name: str) -> dict[str, Json]:
    """Return the report of one environment of a document with all of them."""
    for one in every:
        if one.get("environment") == environment and isinstance(one.get("drift"), dict):
            return dict(one["drift"])
    step = "Save one: reconciler drift --env all --out baseline.json" if environment else _SAVE
    raise _refuse(name, f"has no report of {_name_environment(environment)}", step)


def _list_objects(found: Json, name: str) -> list[dict[str, Json]]:
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise _refuse(name, "is not a drift report", _SAVE)
    return found


def _check_version(report: dict[str, Json], name: str) -> None:
    found = re.fullmatch(r"([0-9]{1,4})\.([0-9]{1,4})", str(report.get("format_version")))
    if found is None:
        raise _refuse(name, "is not a drift report", _SAVE)
    version, ours = tuple(map(int, found.groups())), tuple(map(int, FORMAT_VERSION.split(".")))
    if version[0] > ours[0]:
        step = "Use that version, or save a new one: reconciler drift --out baseline.json"
        raise _refuse(name, "was saved by a newer version of reconciler", step)
    if version < ours:
        raise _refuse(name, "was saved by an older version, whose findings have no keys", _SAVE)


def _check_origin(report: dict[str, Json], project: str, environment: str, name: str) -> None:
    inputs = report.get("inputs")
    inputs = inputs if isinstance(inputs, dict) else {}
    if inputs.get("project") != project:
        other = str(inputs.get("project", ""))
        said = f'is of the project "{other}", and this is "{project}"'
        raise _refuse(name, said, "Name a baseline of this project.")
    if inputs.get("environment", "") != environment:
        other = _name_environment(str(inputs.get("environment", "")))
        said = f"is of {other}, and this is {_name_environment(environment)}"
        raise _refuse(name, said, "Name a baseline of this environment, or another --env.")


def _name_environment(name: str) -> str:
    return f'the environment "{name}"' if name else "a project without environments"


def _refuse(name: str, message: str, step: str) -> ReconcilerError:
    return ReconcilerError(f"the baseline {message}", subject=name, next_step=step)


def compare_with(report: DriftReport, keys: Collection[str]) -> DriftReport:
    """Return the report in which a finding is new if `keys` do not have it."""
    findings, ignored = (
        tuple(replace(one, is_new=one.key not in keys) for one in found)
        for found in (report.findings, report.ignored)
    )
    return replace(report, findings=findings, ignored=ignored)


def leave_out_known(report: DriftReport) -> DriftReport:
    """Return the report in which known findings do not count; `known` has them.

    Incomplete evidence counts as before.
    """
    counts = [one for one in report.findings if _counts(one)]
    known = [one for one in report.findings if not _counts(one)]
    return replace(report, findings=tuple(counts), known=tuple(known))


def _counts(finding: Drift) -> bool:
    return finding.is_new or finding.verdict in _COUNTS

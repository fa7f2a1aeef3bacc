"""The SARIF that drift writes, judged by the validator of SARIF's makers with GitHub's own rules."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from reconciler.model import FailedReport, Finding, Verdict
from reconciler.render.drift.sarif import render_sarif
from tests.contract.foreign import keep_npm
from tests.drift_reports import finding, report, rule
from tests.unit.test_sarif import HOSTILE

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
_PACKAGE = "@microsoft/sarif-multitool-linux"


def validate(text: str, folder: Path) -> list[tuple[str, str]]:
    """What it finds, as rules and messages."""
    tool = keep_npm((f"{_PACKAGE}@5.7.0",)) / "node_modules" / _PACKAGE / "Sarif.Multitool"
    tool.chmod(0o755)
    (folder / "drift.sarif").write_text(text)
    command = [str(tool), "validate", "drift.sarif", "--rule-kind", "Sarif;Ghas"]
    subprocess.run(
        [*command, "--output", "found.sarif", "--log", "ForceOverwrite"],
        cwd=folder, check=False, capture_output=True, timeout=300,
    )  # fmt: skip
    (run,) = json.loads((folder / "found.sarif").read_text(encoding="utf-8-sig"))["runs"]
    assert run["invocations"][0]["executionSuccessful"]
    return [(one["ruleId"], json.dumps(one["message"])) for one in run.get("results", ())]


def test_the_validator_finds_nothing_but_the_missing_home_page(tmp_path: Path) -> None:
    every = [finding(f"s{number}", one) for number, one in enumerate(Verdict)]
    hostile = [finding(text, live=text, note=text, pointer=f"/a/{text}") for text in HOSTILE]
    prod = report(
        *every, *hostile, finding("x", Verdict.UNMANAGED, place=None, pointer=""),
        in_sync=["b"], environment="prod",
        ignored=(finding("i", rule=rule()),), expired=(rule(until="2026-11-01"),),
    )  # fmt: skip
    dev = report(in_sync=["b"], environment="dev")
    failed = FailedReport("test", (Finding("could not be read", "x", next_step="Look."),))
    found = validate(render_sarif([prod, dev], "services/ml", [failed]), tmp_path)
    # The program has no page of its own, which `informationUri` would name.
    assert {one for one, _ in found} <= {"SARIF2005"}, found


@pytest.mark.parametrize(
    ("break_it", "rule_id"),
    [
        (lambda run: run["results"][0]["locations"].clear(), "GH1015"),
        (lambda run: run["tool"]["driver"]["rules"][0].update(name="model-swapped"), "SARIF1001"),
    ],
)
def test_the_validator_finds_a_fault(break_it: Any, rule_id: str, tmp_path: Path) -> None:
    document = json.loads(render_sarif([report(finding("a"))]))
    break_it(document["runs"][0])
    found = validate(json.dumps(document), tmp_path)
    assert rule_id in {one for one, _ in found}, found

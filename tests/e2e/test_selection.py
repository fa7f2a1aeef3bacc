"""What a run of the tests leaves out: it says so, with workers and without, and all checks run it."""

import os
import subprocess
import sys

import pytest

from tests.e2e.world import ROOT

pytestmark = pytest.mark.e2e


def run_pytest(*arguments: str, all_checks: bool = False) -> str:
    """The last line of a run of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
        cwd=ROOT,
        env={**kept, "RECONCILER_ALL_CHECKS": "1" if all_checks else ""},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip().splitlines()[-1]


def test_slow_tests_are_left_out_and_all_checks_run_them() -> None:
    survival = ("tests/e2e/test_survival.py", "--collect-only")
    left_out = run_pytest(*survival)
    assert "4/8 tests collected (4 deselected)" in left_out
    assert "8 tests collected" in run_pytest(*survival, all_checks=True)
    assert "4/8 tests collected (4 deselected)" in run_pytest(*survival, "-m", "slow")
    named = f"{survival[0]}::test_a_power_cut_leaves_a_ledger_to_go_on_with"
    assert "1 test collected" in run_pytest(named, "--collect-only")


def test_workers_say_what_they_left_out() -> None:
    last = run_pytest("tests/unit/test_duration.py", "-k", "none", "-n", "2")
    assert " passed, " in last
    assert " deselected in " in last

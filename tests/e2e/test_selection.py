"""What a run of the tests leaves out: it says so, with workers and without, and all checks run it."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.e2e.world import ROOT

pytestmark = pytest.mark.e2e


def run_pytest(*arguments: str, all_checks: bool = False) -> str:
    """The last line of a run of its own."""
    done = spawn_pytest(*arguments, env={"RECONCILER_ALL_CHECKS": "1" if all_checks else ""})
    assert done.returncode == 0, done.stdout
    return done.stdout.strip().splitlines()[-1]


def spawn_pytest(*arguments: str, env: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
        cwd=ROOT,
        env={**kept, **env},
        capture_output=True,
        text=True,
        check=False,
    )


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


STORED = (
    "tests/test_cases.py::test_case[create]",  # an emulator in this process
    "tests/contract/test_ledger.py::test_without_an_entry_nothing_is_known",  # a ledger, or two
    "tests/e2e/test_demo.py::test_the_demo_tells_the_whole_story[1]",  # a process of its own
)


@pytest.mark.parametrize(
    ("demanded", "workers", "last"),
    [
        ({"RECONCILER_ALL_CHECKS": "", "CI": ""}, ("-n2",), "1 passed, 3 skipped"),
        ({"RECONCILER_ALL_CHECKS": "", "CI": "true"}, (), "1 passed, 3 errors"),
        pytest.param(
            {"RECONCILER_ALL_CHECKS": "1", "CI": ""},
            (),
            "1 passed, 3 errors",
            marks=pytest.mark.slow,
        ),
    ],
    ids=["alone", "in-a-pipeline", "all"],
)
def test_what_storage_that_cannot_be_fetched_prevents_is_left_out_with_the_reason(
    demanded: Mapping[str, str], workers: tuple[str, ...], last: str, tmp_path: Path
) -> None:
    nowhere = {
        "HOME": str(tmp_path),
        "XDG_CACHE_HOME": str(tmp_path),
        "npm_config_registry": "http://127.0.0.1:9/",
        "npm_config_fetch_retry_mintimeout": "1",
    }
    done = spawn_pytest(*STORED, *workers, env={**nowhere, **demanded})
    assert last in done.stdout.splitlines()[-1], done.stdout
    assert "NOT CHECKED: what needs blob storage. Azurite: npm cannot download it" in done.stdout
    assert done.returncode == ("error" in last)

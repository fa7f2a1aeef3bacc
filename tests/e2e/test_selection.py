"""What a run of the tests leaves out: it says so, with workers and without, and all checks run it.

The runs are of a few tests of their own, under the rules of `tests/conftest.py`.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.conftest import _deal, choose_marks
from tests.e2e.world import ROOT, Emulator

pytestmark = pytest.mark.e2e
TESTS = """
import pytest

def test_quick(): pass

@pytest.mark.slow
def test_slow(): pass

def test_another(): pass
"""
STORED = """
from tests.contract.foreign import keep_npm
from tests.storage import need_storage, open_storage

def test_without(): pass

def test_an_emulator(emulator): pass

def test_storage(): open_storage()

def test_a_process_with_storage(): need_storage()

def test_packages(): keep_npm(["left-pad@1.3.0"])
"""
PLAIN = {"RECONCILER_ALL_CHECKS": "", "CI": ""}


def run_pytest(file: Path, text: str, *arguments: str, env: Mapping[str, str]) -> tuple[int, str]:
    """The exit code and the output of a run of its own of these tests, without workers."""
    file.write_text(text)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n0"]
    command += ["-c", str(ROOT / "pyproject.toml"), "-p", "tests.conftest", *arguments]
    done = subprocess.run(
        [*command, str(file)] if "::" not in "".join(arguments) else command,
        cwd=ROOT,
        env={**kept, **PLAIN, **env},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout.strip()


@pytest.mark.parametrize(
    ("arguments", "all_checks", "last"),
    [
        (("-n2",), "", "2 passed, 1 deselected in"),
        ((), "1", "3 passed in"),
        # test_what_is_named_is_run holds the same without a run of its own.
        pytest.param(("-m", "slow"), "", "1 passed, 2 deselected in", marks=pytest.mark.slow),
        pytest.param(("{file}::test_slow",), "", "1 passed in", marks=pytest.mark.slow),
    ],
    ids=["with-workers", "all", "only-slow", "named"],
)
def test_slow_tests_are_left_out_and_all_checks_run_them(
    arguments: tuple[str, ...], all_checks: str, last: str, tmp_path: Path
) -> None:
    file = tmp_path / "test_few.py"
    given = [one.format(file=file) for one in arguments]
    code, out = run_pytest(file, TESTS, *given, env={"RECONCILER_ALL_CHECKS": all_checks})
    assert code == 0, out
    assert out.splitlines()[-1].startswith(last), out


@pytest.mark.parametrize(
    ("demanded", "arguments", "last"),
    [
        ({}, (), "2 passed, 3 skipped in"),
        # unit/test_storage.py holds what CI=true changes; the run of "usual" holds the rest.
        pytest.param({"CI": "true"}, (), "2 passed, 3 failed in", marks=pytest.mark.slow),
        pytest.param(
            {"RECONCILER_ALL_CHECKS": "1"},
            (),
            "2 passed, 3 failed in",
            marks=pytest.mark.slow,
        ),
    ],
    ids=["usual", "in-a-pipeline", "all"],
)
def test_what_storage_that_cannot_be_fetched_prevents_is_left_out_with_the_reason(
    demanded: Mapping[str, str], arguments: tuple[str, ...], last: str, tmp_path: Path
) -> None:
    nowhere = {
        "HOME": str(tmp_path),
        "XDG_CACHE_HOME": str(tmp_path),
        "npm_config_registry": "http://127.0.0.1:9/",
        "npm_config_fetch_retry_mintimeout": "1",
    }
    file = tmp_path / "test_few.py"
    code, out = run_pytest(file, STORED, *arguments, env={**nowhere, **demanded})
    assert sorted(last.partition(" in")[0].split(", ")) == sorted(
        out.splitlines()[-1].partition(" in")[0].split(", ")
    ), out
    assert "NOT CHECKED: what needs blob storage. Azurite: npm cannot download it" in out
    assert "NOT CHECKED: clients of other vendors. They cannot be fetched: npm error" in out
    assert code == ("failed" in last)


@pytest.mark.parametrize(
    ("arguments", "chosen", "marked"),
    [
        ([], "", "not slow"),
        (["tests/unit", "tests/a.py::test_slow"], "", "not slow"),
        (["tests/a.py::test_slow", "tests/b.py::test_one[x]"], "", ""),
        ([], "slow", "slow"),
    ],
)
def test_what_is_named_is_run(arguments: list[str], chosen: str, marked: str) -> None:
    config: Any = SimpleNamespace(args=arguments, option=SimpleNamespace(markexpr=chosen))
    assert choose_marks(config) == (marked or chosen)


def test_nothing_else_is_fetched_from_npm() -> None:
    """A fetch in any other way would fail a test on a machine without a network."""
    texts = ((path, path.read_text(encoding="utf-8")) for path in (ROOT / "tests").rglob("*.py"))
    fetching = {path.name for path, text in texts if "npm-cli" in text}
    assert fetching == {"foreign.py", Path(__file__).name}


def test_the_emulator_of_all_tests_has_storage(emulator: Emulator) -> None:
    """What the tests above leave out is not left out here."""
    assert emulator.blob.startswith("http://127.0.0.1:")


def test_each_worker_runs_quick_tests_between_long_ones_and_at_its_end() -> None:
    counts = {"e2e/a": 5, "e2e/b": 2, "unit/c": 12, "contract/d": 4, "wire/e": 3}
    items: list[Any] = [
        SimpleNamespace(path=Path("tests") / f"{name}.py", number=number)
        for name, count in counts.items()
        for number in range(count)
    ]
    dealt = _deal(items, 2)
    assert sorted(map(id, dealt)) == sorted(map(id, items))
    for part, files in ((dealt[:13], "aaaaacccccccc"), (dealt[13:], "bbcddddccceee")):
        assert "".join(one.path.stem for one in part) == files
    assert [one for one in dealt if one.path.stem == "a"] == items[:5]
    assert _deal(items, 40) != []
    assert len(_deal(items, 40)) == len(items)

"""What each run of the tests is: how much it draws, what it leaves out, and one emulator for all.

`pytest` alone leaves the tests marked `slow` to `RECONCILER_ALL_CHECKS=1`, and says how many.
"""

import gc
import itertools
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from tests.clocks import hurry_calls
from tests.fork_server import end_server, skip_syncs
from tests.laws import load_profile
from tests.storage import ALL_CHECKS, RUN_FOLDER, close_storage

if TYPE_CHECKING:  # start-up: most runs of a single file need no emulator
    from tests.e2e.world import Emulator

_DESELECTED = "reconciler-deselected"
# Folders of which nearly each test takes less than 50 ms.
_QUICK = {"unit", "wire", "typing"}
# So many of them run between others, and the rest at the end.
_BETWEEN = 0.5


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--bless", action="store_true", help="keep what is printed today as what is expected"
    )


def pytest_configure(config: pytest.Config) -> None:
    skip_syncs()
    gc.disable()  # what is collected stays, and a search for garbage in it finds little
    load_profile("ci" if ALL_CHECKS else "dev")
    if config.getoption("bless"):
        os.environ["RECONCILER_BLESS"] = "1"
    if not ALL_CHECKS:
        config.option.markexpr = choose_marks(config)
    _hear_signals()
    if not hasattr(config, "workerinput"):
        os.environ[RUN_FOLDER] = tempfile.mkdtemp(prefix="reconciler-tests-")
        _share_bytecode(_find_bytecode(config))


def choose_marks(config: pytest.Config) -> str:
    """The marks of the tests that run: all but slow ones, if nothing else is chosen or named."""
    chosen = str(config.option.markexpr)
    return chosen if chosen or _names_tests(config) else "not slow"


def _find_bytecode(config: pytest.Config) -> Path:
    return config.rootpath / ".pytest_cache" / "bytecode"


def _forget_bytecode(folder: Path) -> None:
    """Remove what is compiled of the folders of tests: each run has other ones."""
    temporary = folder / tempfile.gettempdir().lstrip(os.sep)
    for of_tests in temporary.glob("pytest-of-*"):
        shutil.rmtree(of_tests, ignore_errors=True)


def _share_bytecode(folder: Path) -> None:
    """Let this process and others share compiled modules, where Python may not keep them in the tree.

    To compile them takes longer than most commands that the tests start, and a run without workers
    takes 14 s to collect the tests instead of 4 s.
    """
    if os.environ.pop("PYTHONDONTWRITEBYTECODE", ""):
        os.environ["PYTHONPYCACHEPREFIX"] = str(folder)
        sys.dont_write_bytecode = False
        sys.pycache_prefix = str(folder)


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the blob storage that the tests of this process have shared, and then the run."""
    close_storage()
    if not hasattr(config, "workerinput"):
        end_server()
        shutil.rmtree(os.environ.pop(RUN_FOLDER), ignore_errors=True)
        _forget_bytecode(_find_bytecode(config))


def pytest_collection_finish() -> None:
    """Leave what was collected out of each search for garbage: it stays until the end."""
    gc.freeze()
    gc.enable()


def _hear_signals() -> None:
    """Hear what ends a command, even if whoever started the tests ignores it: a shell's `&` does."""
    usual = {signal.SIGINT: signal.default_int_handler}
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual.get(number, signal.SIG_DFL))


def _names_tests(config: pytest.Config) -> bool:
    """Whether each argument names a test, such as `tests/test_cases.py::test_case`."""
    return bool(config.args) and all("::" in argument for argument in config.args)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Start five workers for two processors, since a test often waits; none for named tests."""
    return 0 if _names_tests(config) else 5 * (os.cpu_count() or 1) // 2


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Have each worker run quick tests between those that wait, and at its end.

    The processors then work while tests wait, and no worker waits at the end for a test of another.
    """
    workers = int(getattr(config, "workerinput", {}).get("workercount", 0))
    if workers:
        items[:] = _deal(items, workers)


def _deal(items: Sequence[pytest.Item], workers: int) -> list[pytest.Item]:
    """The tests in parts as pytest-xdist cuts them: the first for the first worker, and so on.

    What is left of long parts, the workers take from each other, from the end on.
    """
    quick: list[pytest.Item] = []
    parts: list[list[list[pytest.Item]]] = [[] for _ in range(workers)]
    for path, of_file in itertools.groupby(items, lambda item: item.path):
        if _QUICK & set(path.parts):
            quick += of_file
        else:
            min(parts, key=_count).append([*of_file])
    dealt: list[pytest.Item] = []
    rest = iter(quick)
    for number, part in enumerate(parts):
        own = _count(part)
        room = max(0, (len(items) - len(dealt)) // (workers - number) - own)
        end = len(dealt) + room + own
        for file in part:
            between = int(room * _BETWEEN * len(file) / own)
            dealt += [*file, *itertools.islice(rest, between)]
        dealt += itertools.islice(rest, end - len(dealt))
    return [*dealt, *rest]


def _count(files: Sequence[Sequence[pytest.Item]]) -> int:
    return sum(map(len, files))


def pytest_deselected(items: Sequence[Any]) -> None:
    """Count in a worker what it leaves out: pytest-xdist does not report it."""
    output = getattr(items[0].config, "workeroutput", None) if items else None
    if output is not None:
        output[_DESELECTED] = output.get(_DESELECTED, 0) + len(items)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Report once what each worker has left out, as all of them collect the same."""
    terminal = node.config.pluginmanager.get_plugin("terminalreporter")
    number = getattr(node, "workeroutput", {}).get(_DESELECTED, 0)
    if terminal is not None and "deselected" not in terminal.stats:
        terminal.stats["deselected"] = [SimpleNamespace()] * number


@pytest.fixture(scope="session")
def emulator() -> Iterator["Emulator"]:
    """One emulator, with blob storage beside it, for every test that needs no switch."""
    from tests.e2e.world import run_emulator

    with run_emulator("--operation-seconds", "0.05") as running:
        yield running


@pytest.fixture
def hurried_calls() -> Iterator[None]:
    """Let commands within this process, and clients, try again soon where a call fails."""
    with hurry_calls():
        yield

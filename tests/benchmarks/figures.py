"""What is measured against a yardstick: starting, comparing, reading manifests, estimating."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reconciler.document.diff import diff
from reconciler.kinds.web_service import KIND
from tests.benchmarks.contenders import write_project
from tests.benchmarks.documents import OLD, name_of
from tests.benchmarks.gauge import measured_environment
from tests.benchmarks.ledgers import measure_reading, measure_writing
from tests.benchmarks.measure import Figure, take_turns, time_call
from tests.e2e.world import MODEL, Emulator, Project, clean_environment, spawn_emulator

OURS = str(Path(sys.executable).with_name("reconciler"))
LIBRARIES = "click, yaml, requests, jsonschema_rs, orjson"
SERVICES = 1000
LIMITED = 300


def measure_start() -> Figure:
    """`reconciler version`, a whole process, against Python importing click."""
    medians = take_turns(lambda: _run([OURS, "version"]), lambda: _import("click"), 21)
    return Figure("reconciler version", *medians, 'python -c "import click"', 1.2)


def measure_small_validation() -> Figure:
    """`reconciler validate` of one manifest, a whole process."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "project")
        write_project(folder, "http://127.0.0.1:1", 1)
        return _measure_small("validate of one manifest", folder, "validate", 1.0)


def measure_small_plan() -> Figure:
    """`reconciler plan` of one service that the emulator has as it is declared."""
    options = ("--no-blob", "--operation-seconds", "0")
    with tempfile.TemporaryDirectory() as name, spawn_emulator(*options) as emulator:
        status, answer, _ = emulator.send("PUT", emulator.path(name_of(0)), _body(OLD))
        assert status < 300, answer
        folder = Path(name, "project")
        write_project(folder, emulator.url, 1, OLD)
        return _measure_small("warm plan of one service", folder, "plan", 1.25)


def _measure_small(title: str, folder: Path, command: str, goal: float) -> Figure:
    """A command, against Python importing what no such command can do without."""
    _run([OURS, command], folder)
    medians = take_turns(lambda: _run([OURS, command], folder), lambda: _import(LIBRARIES), 21)
    return Figure(title, *medians, f'python -c "import {LIBRARIES}"', goal)


def _import(modules: str) -> float:
    return _run([sys.executable, "-c", f"import {modules}"])


def _run(command: list[str], folder: Path = Path("/")) -> float:
    environment = measured_environment()
    return time_call(
        lambda: subprocess.run(
            command,
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env=environment,
        )
    )


def measure_diff() -> Figure:
    """Comparing two definitions of one MB that differ in one leaf, read apart from one another.

    The leaf stands where it costs most: in one of twelve thousand columns.
    """
    text = json.dumps(_large_definition())
    one, other = json.loads(text), json.loads(text)
    columns = other["properties"]["input"]["properties"]["input1"]["properties"]
    columns["column 9000"]["type"] = "String"
    field = KIND.field
    assert len(diff(field, one, other)) == 1
    medians = take_turns(
        lambda: time_call(lambda: diff(field, one, other)),
        lambda: time_call(lambda: json.loads(text)),
        21,
    )
    megabytes = len(text) / 1_000_000
    return Figure(f"diff of {megabytes:.1f} MB, one leaf", *medians, "json.loads of it", 1.0)


def _large_definition() -> Any:
    from tests.e2e.world import definition

    body = definition("https://acct.blob.core.windows.net/models/a.ilearner")
    column = {"type": "Integer", "format": "Int32", "x-ms-isnullable": False}
    table = {"type": "object", "properties": {f"column {n}": column for n in range(12_000)}}
    body["properties"]["input"] = {"type": "object", "properties": {"input1": table}}
    return body


def measure_validation() -> Figure:
    """A thousand manifests, one a file, read and checked, against PyYAML's C loader alone."""
    with tempfile.TemporaryDirectory() as name:
        folder = _write_project(Path(name))
        ours = _timed(_VALIDATE, folder)
        bare = _timed(_LOAD, folder)
        medians = take_turns(ours, bare, 7)
    return Figure(f"{SERVICES} manifests validated", *medians, "CSafeLoader of the files", 4.0)


def _write_project(folder: Path) -> Path:
    (folder / "manifests").mkdir()
    example = "apiVersion: reconciler/v1\nkind: Project\nmetadata: {name: fleet}\nspec: {}\n"
    (folder / "reconciler.yaml").write_text(example)
    for number in range(SERVICES):
        (folder / "manifests" / f"s{number:04}.yaml").write_text(
            "# yaml-language-server: $schema=web-service.schema.json\n"
            "apiVersion: reconciler/v1\nkind: WebService\n"
            f"metadata: {{name: s{number:04}, labels: {{team: growth}}}}\nspec:\n"
            f"  resource: {{name: Service{number}.2016.8.17}}\n  trainedModels:\n    {MODEL}:\n"
            f"      uri: https://acct.blob.core.windows.net/models/s{number:04}.ilearner\n"
            "  definition:\n    properties:\n      description: Predicts income\n"
            "      realtimeConfiguration: {maxConcurrentCalls: 20}\n"
        )
    return folder


_VALIDATE = """
import time; from pathlib import Path; import sys
from reconciler.kinds import find_kinds
from reconciler.manifests import load
kinds = find_kinds()
started = time.perf_counter()
loaded = load(Path(sys.argv[1]), None, [], kinds)
took = time.perf_counter() - started
assert len(loaded.manifests) == 1000 and not loaded.findings, loaded.findings
print(took)
"""
_LOAD = """
import time; from pathlib import Path; import sys; import yaml
started = time.perf_counter()
for path in sorted(Path(sys.argv[1], "manifests").iterdir()):
    yaml.load(path.read_bytes(), yaml.CSafeLoader)
print(time.perf_counter() - started)
"""


def _timed(program: str, folder: Path) -> Callable[[], float]:
    """A program that prints its own seconds, in a process of its own: nothing is warm."""

    def run() -> float:
        command = [sys.executable, "-c", program, str(folder)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return float(done.stdout)

    return run


def measure_estimate() -> Figure:
    """What a plan says that its apply will take, against what it takes under published limits.

    The ratio is that of the longer to the shorter: an estimate may be wrong both ways.
    """
    with (
        tempfile.TemporaryDirectory() as name,
        spawn_emulator("--no-blob", "--limits", "resource-manager") as emulator,
    ):
        project = Project(Path(name), emulator)
        old, new = (f"https://acct.blob.core.windows.net/m/{day}.ilearner" for day in ("a", "b"))
        names = [f"s{number:03}" for number in range(LIMITED)]
        for one in names:
            _deploy_slowly(emulator, one, old)
            project.manifest(one, new)
        time.sleep(250 / 25)  # both buckets are full again
        plan = Path(name, "p.json")
        ours = str(Path(sys.executable).with_name("reconciler"))
        _run_in(Path(name), [ours, "plan", "--allow=updates", "--out", str(plan)], "")
        estimated = float(json.loads(plan.read_text())["estimate"]["seconds"])
        took = _run_in(Path(name), [ours, "apply", str(plan)], "")
    longer, shorter = max(estimated, took), min(estimated, took)
    title = f"estimate of {LIMITED} updates ({estimated:.0f} s)"
    return Figure(title, longer, shorter, f"what it takes ({took:.0f} s)", 1.2)


def _deploy_slowly(emulator: Emulator, name: str, model: str) -> None:
    """Other people's writes are throttled too."""
    while True:
        status, _, headers = emulator.send("PUT", emulator.path(name), _body(model))
        if status < 300:
            return
        assert status == 429
        time.sleep(float(headers["Retry-After"]))


def _body(model: str) -> Any:
    from tests.e2e.world import definition

    return definition(model)


def _run_in(folder: Path, command: list[str], stdin: str) -> float:
    started = time.perf_counter()
    subprocess.run(
        command,
        cwd=folder,
        input=stdin,
        text=True,
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=clean_environment(),
    )
    return time.perf_counter() - started


FIGURES = {
    "start": measure_start,
    "small-validation": measure_small_validation,
    "small-plan": measure_small_plan,
    "diff": measure_diff,
    "validation": measure_validation,
    "estimate": measure_estimate,
    "ledger": measure_reading,
    "ledger-writes": measure_writing,
}

"""Small files that would become gigabytes of values: each is refused before they are made.

Each command is a process of its own, because the peak of its memory is measured.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.e2e.world import begin_command

pytestmark = pytest.mark.e2e
MOST_MB = 500
# The peak of this process. It begins with what the process that forked it has imported.
REPORT = """
import atexit, sys
@atexit.register
def report():
    with open("/proc/self/status") as file:
        status = file.read()
    print("peak", status.partition("VmHWM:")[2].split()[0], file=sys.stderr)
"""
PROJECT = """\
apiVersion: reconciler/v1
kind: Project
metadata: {name: bounds}
spec: {cloud: emulator}
"""
SERVICE = """\
apiVersion: reconciler/v1
kind: WebService
metadata: {name: one}
spec:
  definition: """
FLEET = """\
apiVersion: reconciler/v1
kind: Fleet
metadata: {name: f}
spec:
  items: {csv: i.csv}
  template:
    kind: WebService
    metadata: {name: 'x${code}'}
    spec: {definition: {properties: {description: x}}}
"""
CASES = {
    "yaml-scalars": (
        {"m.yaml": f"{SERVICE}{{properties: {{description: [{'a,' * 3_990_000}]}}}}\n"},
        "holds more than 600,000 values\n\n  on manifests/m.yaml line 5, column 42",
    ),
    "yaml-documents": (
        {"m.yaml": f"---\n[{'a,' * 999}]\n" * 1_100},
        "holds more than 600,000 values",
    ),
    "json": (
        {
            "m.yaml": f"{SERVICE}{{file: d.json}}\n",
            "d.json": f'{{"properties":{{"x":[{"[]," * 2_600_000}1]}}}}',
        },
        "it holds more than 500,000 values",
    ),
    "csv-rows": (
        {"f.yaml": FLEET, "i.csv": "code\n" + "a\n" * 400_000},
        "a fleet has at most 100,000 items, and this one has 400,000",
    ),
    "csv-cells": (
        {"f.yaml": FLEET, "i.csv": "code\n" + ("," * 2_000 + "a\n") * 3_900},
        "has more than 2,000,000 cells",
    ),
}


def write_manifests(folder: Path, files: Mapping[str, str]) -> None:
    (folder / "reconciler.yaml").write_text(PROJECT)
    (folder / "manifests").mkdir()
    for file, text in files.items():
        (folder / "manifests" / file).write_text(text)


def run(folder: Path, *arguments: str, code: int = 1) -> tuple[str, float]:
    """What a command says, and the peak of its memory in MB."""
    with begin_command(folder, *arguments, before=REPORT) as process:
        out, err = process.communicate()
    assert process.returncode == code, err[-2000:]
    said, _, peak = err.rpartition("peak ")
    return out + said, int(peak) / 1024


@pytest.mark.parametrize("name", CASES)
def test_files_of_a_project_are_refused_before_their_values_are_made(
    tmp_path: Path, name: str
) -> None:
    files, message = CASES[name]
    write_manifests(tmp_path, files)
    said, peak_mb = run(tmp_path, "validate")
    assert message in said
    assert peak_mb < MOST_MB


def test_many_manifests_that_name_one_large_file_are_refused_together(tmp_path: Path) -> None:
    manifests = {
        f"m{number}.yaml": SERVICE.replace("one", f"s{number}") + "{file: d.json}\n"
        for number in range(10, 50)
    }
    tags = {f"t{number}": f"v{number}" for number in range(150_000)}
    write_manifests(tmp_path, {"d.json": json.dumps({"tags": tags}), **manifests})
    said, peak_mb = run(tmp_path, "validate")
    assert "Error: Project: it holds more than 10,000,000 names and values" in said
    assert "on manifests/m43.yaml line 5, column 16" in said
    assert "Split it into several projects, each in a folder of its own." in said
    assert peak_mb < MOST_MB


@pytest.mark.slow
def test_many_large_manifests_are_refused_together(tmp_path: Path) -> None:
    """The test above and those of units hold the same: this one shows the figures of the worst."""
    tags = "".join(f"\n      t{number}: v{number}" for number in range(200_000))
    write_manifests(
        tmp_path,
        {
            f"m{number}.yaml": SERVICE.replace("one", f"s{number}") + f"\n    tags:{tags}\n"
            for number in range(10, 50)
        },
    )
    said, peak_mb = run(tmp_path, "validate")
    assert "on manifests/m34.yaml line 1, column 1" in said
    assert peak_mb < MOST_MB


def test_many_manifests_in_one_file_take_no_memory_for_the_lines_before_each(
    tmp_path: Path,
) -> None:
    text = "---\n".join(
        SERVICE.replace("one", f"s{number}") + "{properties: {title: x}}\n"
        for number in range(20_000)
    )
    write_manifests(tmp_path, {"m.yaml": text})
    said, peak_mb = run(tmp_path, "validate", code=0)
    assert "20,000 resources" in said
    assert peak_mb < MOST_MB


@pytest.mark.parametrize("item", ["[]", '{"a":1}', '"ab"'])
def test_a_plan_is_refused_before_its_values_are_made(tmp_path: Path, item: str) -> None:
    with (tmp_path / "huge.json").open("w") as file:
        file.write('{"plan_digest":"x","format_version":"1.0","a":[')
        for _ in range(500):
            file.write(f"{item}," * 20_000)
        file.write("1]}")
    said, peak_mb = run(tmp_path, "show", "huge.json")
    assert "not a saved plan: it holds more than 1,000,000 values" in said
    assert peak_mb < MOST_MB


def test_a_plan_of_any_length_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "huge.json").open("w") as file:
        file.truncate(1 << 40)
    said, _ = run(tmp_path, "show", "huge.json")
    assert re.search(r"huge\.json: is larger than 256 MB, the largest plan that is read", said)

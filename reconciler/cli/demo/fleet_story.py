"""The story of a fleet: a thousand endpoints from one file, stopped by one that fails, mended."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from reconciler.cli.demo.narration import print_text, run, show_file
from reconciler.cli.demo.stage import Stage, pick_port, run_emulator
from reconciler.package_data import find_example

_MANIFEST: Final = "manifests/bike-rental.yaml"
# As often as a write is sent again, and once: so that the first apply meets it and no other.
_FAULTS: Final = """\
- {match: {method: PATCH, path: "rentalloc042$"}, do: invalid-model, times: 3}
"""


@contextlib.contextmanager
def set_stage(folder: Path) -> Iterator[Stage]:
    """Bring the example and an emulator up in a folder, and take the emulator down again."""
    shutil.copytree(find_example("bike-rental"), folder, dirs_exist_ok=True)
    faults = folder / "faults.yaml"
    faults.write_text(_FAULTS, encoding="utf-8")
    port = pick_port()
    options = ["--no-blob", "--faults", str(faults)]
    with run_emulator(port, folder / "emulator", options) as url:
        _point_at(folder / "reconciler.yaml", url)
        yield Stage(folder, url, port, "", "", "--no-blob")


def _point_at(file: Path, url: str) -> None:
    """Have the project mean this emulator; no model is in storage, so nobody looks for one."""
    text = file.read_text(encoding="utf-8")
    text = text.replace("cloud: emulator ", f'cloud: {{resourceManager: "{url}"}} ')
    file.write_text(text.replace("blobs: warn", "blobs: skip"), encoding="utf-8")


def run_story(stage: Stage) -> None:
    """From one manifest and one file to a thousand endpoints."""
    print_text(
        "A bike rental has a thousand locations, and a model for each. One manifest makes them all:"
    )
    show_file(stage, _MANIFEST)
    show_file(stage, "manifests/locations.csv", 4)
    print_text("validate fills the template in with every row, and asks no service.")
    run(stage, "validate")
    print_text(
        "plan shows a thousand on one screen: the first of them, and in what the others differ."
    )
    run(stage, "plan", "--out", "all.plan")
    print_text(
        "apply goes in waves: one location, then a tenth. At one the service does not take the"
        " model;\nthat stops the rest, before nine hundred more are touched."
    )
    run(stage, "apply", "all.plan", fails=True)
    print_text("What is left? Who is at odds with the others stands apart.")
    run(stage, "plan", "--out", "rest.plan")
    print_text("The model can be read again. apply goes on, in waves of what is left.")
    run(stage, "apply", "rest.plan")
    print_text("Is it so? A thousand endpoints are read in one call.")
    run(stage, "plan")
    _train_anew(stage)
    print_text("A new generation of models is one line in git, and this is what it comes to:")
    run(stage, "plan")
    print_text(
        "That is all: one template, one file of rows, a thousand endpoints, in waves that stop."
    )


def _train_anew(stage: Stage) -> None:
    file = stage.folder / _MANIFEST
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("2026-10-02", "2026-11-20"), encoding="utf-8")

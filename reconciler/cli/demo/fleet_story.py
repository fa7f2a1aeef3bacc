"""The story of a fleet: a thousand endpoints from one file, one failure, and the repair."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from reconciler.cli.demo.narration import print_text, run, show_file
from reconciler.cli.demo.stage import Stage, copy_example, pick_port, run_emulator

_MANIFEST: Final = "manifests/bike-rental.yaml"
# The first write and its two retries fail, so that only the first apply fails.
_FAULTS: Final = """\
- {match: {method: PATCH, path: "rentalloc042$"}, do: invalid-model, times: 3}
"""


@contextlib.contextmanager
def set_stage(folder: Path) -> Iterator[Stage]:
    """Copy the example into a folder and start an emulator; stop the emulator at the end."""
    copy_example("bike-rental", folder)
    faults = folder / "faults.yaml"
    faults.write_text(_FAULTS, encoding="utf-8")
    port = pick_port()
    options = ["--no-blob", "--faults", str(faults)]
    with run_emulator(port, folder / "emulator", options) as url:
        _point_at(folder / "reconciler.yaml", url)
        yield Stage(folder, url, port, "", "", "--no-blob")


def _point_at(file: Path, url: str) -> None:
    """Point the project at this emulator, without the check of blobs: no model is in storage."""
    text = file.read_text(encoding="utf-8")
    text = text.replace("cloud: emulator ", f'cloud: {{resourceManager: "{url}"}} ')
    file.write_text(text.replace("blobs: warn", "blobs: skip"), encoding="utf-8")


def run_story(stage: Stage) -> None:
    """Run the story, from one manifest and one file to a thousand endpoints."""
    print_text(
        "A bike rental has a thousand locations, and a model for each. One manifest declares all:"
    )
    show_file(stage, _MANIFEST)
    show_file(stage, "manifests/locations.csv", 4)
    print_text("validate fills in the template for every row, and calls no service.")
    run(stage, "validate")
    print_text(
        "plan shows a thousand on one screen: the first member, and how the others differ from it."
    )
    run(stage, "plan", "--out", "all.plan")
    print_text(
        "apply works in waves: one location, then a tenth. The service refuses the model of one"
        " location;\nthat stops the fleet before nine hundred more endpoints change."
    )
    run(stage, "apply", "all.plan", expected=1)
    print_text("What is left? The plan shows a member apart when it differs from the others.")
    run(stage, "plan", "--out", "rest.plan")
    print_text("The service can read the model now. apply continues, in waves of what is left.")
    run(stage, "apply", "rest.plan")
    print_text("Is it done? One call reads a thousand endpoints.")
    run(stage, "plan")
    _train_anew(stage)
    print_text("A new generation of models is one changed line in git. Its plan:")
    run(stage, "plan")
    print_text(
        "That is all: one template, one file of rows, a thousand endpoints, and waves that stop"
        " on a failure."
    )


def _train_anew(stage: Stage) -> None:
    file = stage.folder / _MANIFEST
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("2026-10-02", "2026-11-20"), encoding="utf-8")

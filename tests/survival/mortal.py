"""`python -m tests.survival.mortal [--die-at N [--among NAME]] [--note FILE] -- apply …`: it may die.

It is `reconciler` with every call of its ports watched. With --die-at it is killed at that place,
or at the Nth place of a name; without, it says afterwards how many places there are, and which.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from reconciler.cli import main as run_command
from tests.survival.places import End, Places, watch


def live(arguments: Sequence[str], note: Path, end: End) -> int:
    """The exit code of a command; it does not return where the place to die is reached."""
    watch(Places(note, end))
    return run_command(arguments)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.survival.mortal")
    parser.add_argument("--die-at", type=int, default=0, metavar="N")
    parser.add_argument("--among", action="append", default=[], metavar="NAME")
    parser.add_argument("--note", type=Path, metavar="FILE")
    parser.add_argument("command", nargs="+")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        note = given.note or Path(scratch, "places")
        code = live(given.command, note, End(given.die_at, tuple(given.among)))
        reached = note.read_text().splitlines()
    for number, name in enumerate(reached, 1):
        print(f"{number:5} {name}")
    return code


if __name__ == "__main__":
    sys.exit(main())

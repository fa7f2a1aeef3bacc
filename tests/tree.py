"""The files of this project that git tracks, so that no test reads what a command left beside them."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]


def find_tracked(*patterns: str) -> Iterator[Path]:
    """The tracked files whose names match a pattern of git, such as `manifests/*.yaml`.

    `*` matches a slash too. Without a checkout of git, as in an archive, these are all files.
    """
    command = ["git", "ls-files", "-z", "--", *patterns]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode == 0:
        names = filter(None, listed.stdout.split("\0"))
        yield from sorted(ROOT / name for name in names if (ROOT / name).is_file())
        return
    for pattern in patterns:
        folder, _, name = pattern.rpartition("/")
        yield from sorted(file for file in (ROOT / folder).rglob(name) if file.is_file())

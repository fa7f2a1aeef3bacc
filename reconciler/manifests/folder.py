"""Finds and reads files: only regular ones, of bounded size, inside the project's folder.

The loader calls it. It does not interpret the content.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Final

from reconciler.errors import ReconcilerError
from reconciler.files import resolve_path
from reconciler.manifests.budget import MOST, Budget, ProjectTooLarge
from reconciler.model import Finding, SourceLocation
from reconciler.model.values import dataclass
from reconciler.text.suggestions import ask, suggest

PROJECT_FILE: Final = "reconciler.yaml"
# The folder beside the project file whose files are environments.
ENVIRONMENTS: Final = "environments"
# What --env means by each environment; none has this name.
ALL_ENVIRONMENTS: Final = "all"
# The folder of the policies, beside the project file.
POLICIES: Final = "policies"
# The rules about findings of drift that are accepted, beside the project file.
DRIFT_IGNORE: Final = ".driftignore"

MOST_BYTES: Final = 8 * 1024 * 1024
_YAML: Final = (".yaml", ".yml")
_HERE: Final = Path()
_NUL: Final = "holds the character NUL, which no name of a file can hold"
_MOST_BESIDE: Final = 10_000
# Finding a similar name is slow in a large folder.
_SUGGESTED: Final = 20
_FileId = tuple[int, int]


@dataclass
class Folder:
    """The project's folder.

    `files` collects the digest of every file read, by relative name. `passed` collects the files
    and folders that a walk found and did not enter or yield, and `walked` the paths at which a walk
    began: the given ones, and linked folders. `missed` counts missing files. With `skips_projects`
    a walk does not enter a folder that is a project itself, and no walk enters those in `reserved`.
    `budget` says what the files may still hold.
    """

    root: Path
    budget: Budget = field(default_factory=Budget)
    files: dict[str, str] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    passed: list[Path] = field(default_factory=list)
    walked: list[Path] = field(default_factory=list)
    missed: int = 0
    skips_projects: bool = False
    reserved: frozenset[Path] = frozenset()
    _resolved: dict[Path, Path] = field(default_factory=dict)
    _walked: set[_FileId] = field(default_factory=set)

    def miss(self, path: Path, name: str, place: SourceLocation) -> Finding:
        """Returns the finding for a file that does not exist, with the nearest name beside it."""
        self.missed += 1
        try:
            few = self.missed <= _SUGGESTED
            others = sorted(one.name for one in path.parent.iterdir()) if few else []
        except OSError:
            others = []
        near = suggest(path.name, others, most=1000)
        hint = ask(path.name, near) if near else ""
        return Finding(f"the file {name} does not exist", place=place, next_step=hint)

    def name(self, path: Path) -> str:
        """Returns a path as users see it: relative to the folder, with slashes."""
        given = str(path)
        plain = os.pardir not in given and not given.startswith(os.sep)
        if self.root == _HERE and plain:
            return given.replace(os.sep, "/")
        return os.path.relpath(path, self.root).replace(os.sep, "/")

    def walk(self, path: Path) -> Iterator[Path]:
        """Yields the YAML files at or below a path; skips hidden ones.

        The files of a folder come first, sorted by name, then those of its subfolders. A folder
        that a symbolic link leads to comes last and under the link's name, unless it was walked
        before. Therefore a circle of links ends.
        """
        self.walked.append(path)
        if not path.is_dir():
            if not path.exists() and not path.is_symlink():
                self._refuse(path, "does not exist", "Name a manifest, or a folder that holds one.")
            elif self._holds(path):
                yield path
            return
        if not self._holds(path):
            return
        linked = deque([path])
        # A stack and not a recursion: folders may be deeper than Python's calls.
        while linked:
            below = [linked.popleft()]
            while below:
                yield from self._walk_one(below.pop(), below, linked)

    def _walk_one(self, folder: Path, below: list[Path], linked: deque[Path]) -> Iterator[Path]:
        """Yields the YAML files of one folder; adds its subfolders to `below` and `linked`.

        Raises ProjectTooLarge.
        """
        try:
            if folder in self.reserved or self._is_walked(folder):
                return
            self._walked.add(_identify(folder))
            with os.scandir(folder) as found:
                most = self.budget.left["files and folders"] + 1
                entries = sorted(islice(found, most), key=lambda entry: entry.name)
            if self.skips_projects and (folder / PROJECT_FILE).exists():
                return
        except OSError as error:
            self._refuse(folder, f"cannot be read: {error.strerror}")
            return
        self.budget.charge("files and folders", len(entries), self.name(folder))
        deeper: list[Path] = []
        for entry in entries:
            path = folder / entry.name
            if entry.is_dir(follow_symlinks=False):
                if not entry.name.startswith("."):
                    deeper.append(path)
                elif folder != self.root:  # there, they are the large folders of tools
                    self.passed.append(path)
            elif not is_manifest_name(entry.name):
                self._pass(path, linked, is_link=entry.is_symlink())
            elif not entry.is_symlink() or self._holds(path):
                yield path
        below.extend(reversed(deeper))

    def _is_walked(self, folder: Path) -> bool:
        return _identify(folder) in self._walked

    def reads(self, path: Path) -> bool:
        """Whether a walk of the manifests yields a file at a path, which may not exist yet."""
        if not is_manifest_name(path.name):
            return False
        if not self.walked:
            deque(self.walk(find_manifests(self.root)), maxlen=0)
        new = []
        folder = path.parent
        while not folder.exists():
            new.append(folder.name)
            folder = folder.parent
        return self._is_walked(folder) and not any(name.startswith(".") for name in new)

    def find_links(self, folder: Path) -> list[Path]:
        """Returns the links on the way from the project's folder to a folder, and those in it."""
        way = [one for one in (folder, *folder.parents) if one.is_relative_to(self.root)]
        try:
            inside = sorted(folder.iterdir())
        except OSError:
            inside = []
        return [one for one in (*reversed(way), *inside) if one != self.root and _is_link(one)]

    def list_top(self) -> list[Path]:
        """Returns the files and folders directly in the project's folder, by name."""
        try:
            return sorted(self.root.iterdir())
        except OSError:
            return []

    def list_beside(self, usual: Path) -> list[Path]:
        """Returns the files that a user may take for manifests, and that are not in `usual`.

        They are those in the project's folder and in its other folders, without hidden ones. A
        folder with a project file of its own is another project. The search ends after many files
        and folders: other tools may have thousands there.
        """
        if usual == self.root:
            return []
        found = [path for path in self.list_top() if not path.is_dir()]
        folders = [path for path in self.list_top() if path.is_dir() and path != usual]
        walking = Folder(self.root, Budget({**MOST, "files and folders": _MOST_BESIDE}))
        walking.skips_projects, walking.reserved = True, self.reserved
        with suppress(ProjectTooLarge):
            for folder in folders:
                if not folder.name.startswith("."):
                    found.extend(walking.walk(folder))
        return found

    def _pass(self, path: Path, linked: deque[Path], *, is_link: bool) -> None:
        """Notes a file that is not yielded; a link to a folder is added to `linked`."""
        if not is_link or path.name.startswith(".") or not path.is_dir():
            self.passed.append(path)
        elif self._holds(path):
            linked.append(path)
            self.walked.append(path)

    def read(
        self, path: Path, place: SourceLocation | None = None, most_bytes: int = MOST_BYTES
    ) -> str | None:
        """Returns the text of a file, or None with a finding at `place` (or at the file itself)."""
        try:
            data = self._read_bytes(path, most_bytes)
        except OSError as error:
            self._refuse(path, f"cannot be read: {error.strerror}", place=place)
            return None
        if data is None:
            return None
        self.files[self.name(path)] = f"sha256:{hashlib.sha256(data).hexdigest()}"
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = "\0"
        if "\0" in text:
            self._refuse(path, "is not text in UTF-8", "Save it as UTF-8.", place=place)
            return None
        return text

    def _read_bytes(self, path: Path, most_bytes: int) -> bytes | None:
        state = path.stat()
        if not stat.S_ISREG(state.st_mode):
            self._refuse(path, "is not a regular file")
            return None
        if state.st_size > most_bytes:
            most = f"{most_bytes // 1024 // 1024} MB"
            self._refuse(
                path,
                f"is {state.st_size / 1_000_000:,.0f} MB, and at most {most} are read",
                "Split it, or move it out of the folder if it is not part of the project.",
            )
            return None
        return path.read_bytes()

    def resolve(self, path: Path) -> Path:
        """Returns a path with symlinks resolved; raises OSError, RuntimeError or ValueError.

        Each folder is resolved once, because it holds many manifests and definition files.
        """
        if path.name in {"", ".."} or "\0" in path.name or _is_link(path):
            return resolve_path(path)
        folder = path.parent
        resolved = self._resolved.get(folder)
        if resolved is None:
            resolved = self._resolved[folder] = resolve_path(folder)
        return resolved / path.name

    def holds(self, path: Path) -> bool:
        """Whether a path, symlinks resolved, is inside the folder; False for an invalid path."""
        return self.find_fault(path, "") is None

    def find_fault(self, path: Path, what: str, beside: str = "") -> Finding | None:
        """Returns why no file of the project can be at a path; None if one can.

        `what` is the file in words, and `beside` where a file of its kind belongs.
        """
        try:
            inside = self.resolve(path).is_relative_to(self._real_root)
        except ValueError:
            return Finding(f"the name of {what} {_NUL}", next_step="Correct the name.")
        except (OSError, RuntimeError) as error:
            why = getattr(error, "strerror", "") or "its links cannot be followed"
            return Finding(f"{what} cannot be found: {why}", next_step="Correct the name.")
        step = f"Move it into the folder{beside}."
        return (
            None if inside else Finding(f"{what} is outside the project's folder", next_step=step)
        )

    @cached_property
    def _real_root(self) -> Path:
        return resolve_path(self.root)

    def has(self, path: Path) -> bool:
        """Whether a file or folder exists at a path; False for an invalid path."""
        try:
            return path.exists()
        except (OSError, ValueError):
            return False

    def _holds(self, path: Path) -> bool:
        inside = self.holds(path)
        if not inside:
            self._refuse(path, "is outside the project's folder", "Move it into the folder.")
        return inside

    def _refuse(
        self, path: Path, message: str, next_step: str = "", *, place: SourceLocation | None = None
    ) -> None:
        subject = self.name(path)
        self.findings.append(Finding(message, subject=subject, place=place, next_step=next_step))


def is_manifest_name(name: str) -> bool:
    """Whether a file of this name is read as manifests: a YAML ending in any case, not hidden."""
    return name.casefold().endswith(_YAML) and not name.startswith(".")


def find_manifests(root: Path) -> Path:
    """Returns the folder whose manifests a project has: `manifests/`, or the project's folder."""
    usual = root / "manifests"
    return usual if usual.is_dir() else root


def find_reader(path: Path) -> Path | None:
    """Returns the folder of the project that would read a new file at a path as manifests."""
    here = resolve_path(path.parent) / path.name
    for root in here.parents:
        project = root / PROJECT_FILE
        if project != here and project.is_file() and Folder(root).reads(here):
            return root
    return None


def is_in_project(path: Path) -> bool:
    """Whether a file is in the folder of a project, at any depth."""
    return any((root / PROJECT_FILE).is_file() for root in resolve_path(path).parents)


def check_new_project(folder: Path) -> None:
    """Raise ReconcilerError if another project would read the files of a project in a folder."""
    reader = find_reader(folder / PROJECT_FILE)
    if reader is not None:
        raise ReconcilerError(
            f"the project in {reader} would read the files of a project here as its manifests",
            subject=str(folder),
            next_step="Nothing was written. Choose a folder outside its manifests.",
        )


def _identify(folder: Path) -> _FileId:
    state = folder.stat()
    return state.st_dev, state.st_ino


def _is_link(path: Path) -> bool:
    try:
        return path.is_symlink()
    except OSError:  # for example a name that is too long
        return False


def find_project_above(folder: Path) -> Path | None:
    """The nearest folder above a resolved one that has a project file."""
    return next((one for one in folder.parents if (one / PROJECT_FILE).is_file()), None)


def miss_project(file: Path, paths: Sequence[Path] = ()) -> Finding:
    """The finding for a project file that does not exist.

    It names the one of a parent folder, with `paths` as they are named there, or a file with a
    similar name.
    """
    here = resolve_path(file.parent)
    above = find_project_above(here)
    step = "Create one with: reconciler init. Or name one with --project."
    if above is not None and file.name == PROJECT_FILE:
        step = f"The project is in a folder above: use --chdir {os.path.relpath(above, here)}"
        named = [os.path.relpath(path, above) for path in paths if path.exists()]
        step += f", and name the manifests from there: {' '.join(named)}" if named else ""
    for near in Folder(here).list_top() if file.name == PROJECT_FILE else ():
        if near.stem.casefold() == file.stem and is_manifest_name(near.name):
            step = f"Did you mean {near.name}? Rename it, or name it: --project {near.name}"
    return Finding(
        f"the project file {file.name} does not exist", subject=here.name, next_step=step
    )

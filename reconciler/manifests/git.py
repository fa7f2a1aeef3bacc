"""Reads the author of the run, and the commit that contains the files of a plan.

Not the folder is compared with the commit, but the files that were read: git ignores some files,
and does not look at others. Without an answer from git, the commit is that of the variables that
CI systems set, which proves nothing about the files. It never raises: what is unknown is empty.
"""

from __future__ import annotations

import hashlib
import os
import re
import socket
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from reconciler.git import Git, GitFailed
from reconciler.manifests.folder import is_manifest_name
from reconciler.model.ledger import MOST_DIFFERING
from reconciler.model.values import dataclass
from reconciler.text.commits import name_commit

# The variables in which CI systems name the commit and who started the run (documented: GitHub
# Actions default variables, Azure Pipelines predefined variables, GitLab CI predefined variables).
_COMMITS: Final = ("GITHUB_SHA", "BUILD_SOURCEVERSION", "CI_COMMIT_SHA")
_ACTORS: Final = ("GITHUB_ACTOR", "BUILD_REQUESTEDFOR", "GITLAB_USER_LOGIN")
_USERS: Final = ("LOGNAME", "USER", "USERNAME")
# A read must not write the index, and a replaced object is not the one of the commit.
_AS_IT_IS: Final = {"GIT_OPTIONAL_LOCKS": "0", "GIT_NO_REPLACE_OBJECTS": "1"}
_GIT_WITHIN_S: Final = 20
_LONGEST_NAME: Final = 100
# No mailmap: a change of the project could name other people in it.
_AUTHORS: Final = "--format=<%ae>%n%(trailers:key=Co-authored-by,valueonly)"
_ADDRESS: Final = re.compile(r"<([^<>\s]+)>")


@dataclass(frozen=True, slots=True)
class Revision:
    """`commit` is the full hash, or empty if unknown.

    `dirty` is False only if it is proven that the commit contains every file that was read, as it
    was read, and every file that would be read was in the checkout. `differing` are the files for
    which this is not so. `absent` are the manifests and submodules that the checkout leaves out on
    purpose. `author` is never empty.
    """

    commit: str
    dirty: bool
    author: str
    host: str
    absent: tuple[str, ...] = ()
    differing: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The commit, with `-dirty` at its end if it is not proven to contain the files."""
        return name_commit(self.commit, dirty=self.dirty)

    def name_for(self, changed: Collection[str]) -> str:
        """The name for a plan that was made from these files; `changed` have changed since."""
        return name_commit(self.commit, dirty=self.dirty or bool(changed))

    def list_differing(self, changed: Collection[str] = ()) -> tuple[str, ...]:
        """The files that a line of the ledger names for the commit; empty without a commit."""
        files = sorted({*self.differing, *changed}) if self.commit else ()
        return tuple(files[:MOST_DIFFERING])


def read_revision(
    root: Path,
    files: Mapping[str, str],
    walked: Collection[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Revision:
    """Returns the revision of the files of a project, whose folder may not be a checkout.

    `files` maps the names of the files that were read, relative to `root`, to their digests.
    `walked` are the folders and files in which manifests were looked for. Only these are compared:
    what reconciler writes (the ledger, its lock, caches, saved plans) is not one of them. It asks
    git a few times, for 20 s at most each.
    """
    known = os.environ if environment is None else environment
    git = _Git(root, known)
    commit = git.find_commit() if _may_be_in_repository(root) else ""
    author = _first(known, _ACTORS) or _first(known, _USERS) or _account()
    if not commit:
        commit = _first(known, _COMMITS)
        return Revision(commit, bool(commit), author, socket.gethostname())
    tree = _Tree(git, commit)
    missing = tree.find_missing(walked)
    differing = tuple(sorted({*missing, *tree.find_differing(files)}))
    absent = tuple(tree.find_absent(missing)) if missing else ()
    return Revision(commit, bool(differing), author, socket.gethostname(), absent, differing)


def _may_be_in_repository(folder: Path) -> bool:
    """Whether git may find a repository from a folder: to start git takes longer than to look."""
    place = folder.resolve()
    try:
        return any(
            (one / ".git").exists() or (one / "HEAD").exists() for one in (place, *place.parents)
        )
    except OSError:
        return True


def read_commit_authors(root: Path, environment: Mapping[str, str] | None = None) -> frozenset[str]:
    """Returns the e-mail addresses of those who wrote the commit of the work tree.

    A merge commit is written by the one who merges. Its authors are those of the commits that it
    brings in, as far as the checkout has them. A co-author is an author. Empty without a commit.
    Anyone can write any address into a commit.
    """
    git = Git(root, os.environ if environment is None else environment, _GIT_WITHIN_S)
    try:
        merged = len(git.ask("rev-parse", "HEAD^@", more=_AS_IT_IS).split()) > 1
        brought = ("--no-merges", "HEAD^1..HEAD") if merged else ("-1", "HEAD")
        said = git.ask("log", _AUTHORS, *brought, "--", more=_AS_IT_IS)
    except GitFailed:
        return frozenset()
    return frozenset(one.casefold() for one in _ADDRESS.findall(said))


def _first(known: Mapping[str, str], names: tuple[str, ...]) -> str:
    """The first variable that is not empty, without characters that control a terminal."""
    found = ("".join(c for c in known.get(name, "") if c.isprintable()).strip() for name in names)
    return next((text for text in found if text), "")[:_LONGEST_NAME]


def _account() -> str:
    import pwd  # noqa: PLC0415 - seldom needed, and missing on some systems

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid-{os.getuid()}"


@dataclass(frozen=True)
class _Git:
    """Git in one folder, without an answer where it fails."""

    folder: Path
    known: Mapping[str, str]

    def ask(self, *arguments: str, given: bytes = b"") -> bytes:
        """Returns what git prints; empty if git is missing, fails or takes too long."""
        git = Git(self.folder, self.known, _GIT_WITHIN_S)
        try:
            return git.run(*arguments, given=given, more=_AS_IT_IS)
        except GitFailed:
            return b""

    def find_commit(self) -> str:
        """Returns the commit of the checkout; empty if the folder is not in one."""
        return self.ask("rev-parse", "--verify", "--quiet", "HEAD^{commit}").decode().strip()

    def list_tree(self, commit: str) -> dict[str, tuple[str, str]]:
        """Returns the mode and the object of each name below the folder (git-ls-tree)."""
        listed = self.ask("ls-tree", "-r", "-z", commit)
        found = {}
        for record in filter(None, os.fsdecode(listed).split("\0")):
            said, _, name = record.partition("\t")
            mode, _, oid = said.split(" ")
            found[name] = (mode, oid)
        return found

    def find_sparse(self) -> set[str]:
        """Returns the names that a sparse checkout leaves out (git-ls-files -t)."""
        listed = os.fsdecode(self.ask("ls-files", "-t", "-z"))
        return {one.removeprefix("S ") for one in listed.split("\0") if one.startswith("S ")}

    def hash_files(self, names: Sequence[str]) -> list[str]:
        """Returns the objects that files would become in a commit, filters applied."""
        given = "".join(f"{name}\n" for name in names)
        return self.ask("hash-object", "--stdin-paths", given=os.fsencode(given)).decode().split()


class _Tree:
    """The files of a commit, below the folder of a project.

    Git's index is not asked: a file may be marked there as unchanged although it differs. Paths
    are texts here, because a project may have ten thousand files.
    """

    def __init__(self, git: _Git, commit: str) -> None:
        self._git = git
        self._root = os.path.realpath(git.folder)
        self._entries = git.list_tree(commit)
        self._folders: dict[str, tuple[str, bool]] = {"": (self._root, True)}

    def find_differing(self, files: Mapping[str, str]) -> Iterator[str]:
        """Yields the files that the commit does not contain with the content of their digests."""
        below: dict[str, dict[str, str]] = {}
        filtered: dict[str, str] = {}
        names: dict[str, str] = {}
        for name, digest in files.items():
            path, held = self._trace(name)
            real = self._name(path)
            mode, oid = self._entries.get(real, ("", ""))
            module = "" if mode else self._find_module(real)
            names[real] = name
            if module and held:
                below.setdefault(module, {})[real.removeprefix(f"{module}/")] = digest
                continue
            data = _read(path)
            if not (held and mode.startswith(_REGULAR) and _digest(data) == digest):
                yield name
            elif _hash_blob(data, oid) != oid:
                filtered[real] = oid
        yield from map(names.__getitem__, self._find_unfiltered(filtered))
        for module, inner in below.items():
            for name in self._open_module(module).find_differing(inner):
                yield names[f"{module}/{name}"]

    def _find_unfiltered(self, files: Mapping[str, str]) -> Iterator[str]:
        """Yields the files that git's filters do not turn into the objects of the commit."""
        names = [name for name in files if "\n" not in name]
        hashes = self._git.hash_files(names) if names else []
        made = dict(zip(names, hashes, strict=True)) if len(hashes) == len(names) else {}
        yield from (name for name, oid in files.items() if made.get(name) != oid)

    def find_missing(self, walked: Collection[str]) -> list[str]:
        """Returns the manifests, links and submodules that were looked for and do not exist."""
        places = [self._name(self._trace(name)[0]) for name in walked]
        prefixes = ("",) if "." in places else tuple(f"{place}/" for place in places)
        return [
            name
            for name, (mode, _) in self._entries.items()
            if (name.startswith(prefixes) or name in places)
            and _may_be_read(name, mode)
            and not self._is_present(name, mode)
        ]

    def find_absent(self, missing: Iterable[str]) -> Iterator[str]:
        """Yields the missing names that git left out, and that the user did not delete."""
        sparse = self._git.find_sparse()
        for name in missing:
            if name in sparse or self._entries[name][0] == _MODULE:
                yield name

    def _is_present(self, name: str, mode: str) -> bool:
        path = f"{self._root}/{name}"
        return os.path.lexists(f"{path}/.git" if mode == _MODULE else path)

    def _find_module(self, name: str) -> str:
        """The submodule that contains a file; empty for a file of this repository."""
        parts = name.split("/")
        paths = ("/".join(parts[:length]) for length in range(1, len(parts)))
        return next((one for one in paths if self._entries.get(one, ("",))[0] == _MODULE), "")

    def _open_module(self, name: str) -> _Tree:
        return _Tree(_Git(Path(self._root, name), self._git.known), self._entries[name][1])

    def _trace(self, name: str) -> tuple[str, bool]:
        """The real path of a file, and whether the commit contains every link on the way."""
        head, _, last = name.rpartition("/")
        if head not in self._folders:
            self._folders[head] = self._trace(head)
        folder, held = self._folders[head]
        parts = deque([last])
        links = 0
        while parts:
            part = parts.popleft()
            path = f"{folder.rstrip('/')}/{part}"
            if part in {"", "."}:
                continue
            if part == "..":
                folder = os.path.dirname(folder)  # noqa: PTH120 - see the class
            elif links < _MOST_LINKS and os.path.islink(path):  # noqa: PTH114 - see the class
                links += 1
                target = os.readlink(path)  # noqa: PTH115 - see the class
                mode, oid = self._entries.get(self._name(path), ("", ""))
                held = held and mode == _LINK and _hash_blob(os.fsencode(target), oid) == oid
                parts.extendleft(reversed(target.split("/")))
                folder = "/" if target.startswith("/") else folder
            else:
                folder = path
        return folder, held

    def _name(self, path: str) -> str:
        return "." if path == self._root else path.removeprefix(f"{self._root}/")


_MODULE: Final = "160000"
_LINK: Final = "120000"
_REGULAR: Final = "100"
_MOST_LINKS: Final = 40


def _may_be_read(name: str, mode: str) -> bool:
    """Whether a walk reads a file, follows a link, or enters a submodule of this name."""
    hidden = name.startswith(".") or "/." in name
    return not hidden and (mode in {_MODULE, _LINK} or is_manifest_name(name.rpartition("/")[2]))


def _read(path: str) -> bytes:
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - see _Tree
            return file.readall()
    except OSError:
        return b""


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _hash_blob(data: bytes, like: str) -> str:
    """The name of a blob, by the algorithm of another name (documented: git-hash-object)."""
    algorithm = hashlib.sha256 if len(like) == _SHA256_DIGITS else hashlib.sha1
    return algorithm(b"blob %d\0" % len(data) + data).hexdigest()


_SHA256_DIGITS: Final = 64

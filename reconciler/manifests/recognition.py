"""Recognises what belongs to this project although it is not written or named as a manifest.

A document that is nearly ours must not be taken for another tool's, because a plan could then
destroy what it declares. The same holds for a file with manifests that no walk yields. The loader
calls this module.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

import yaml

from reconciler.manifests.folder import Folder, is_manifest_name
from reconciler.model import Finding, UnreadFile
from reconciler.secrets.suspicion import quote_word
from reconciler.text.patterns import compile_lazily

API_VERSION: Final = "reconciler/v1"
# The kind of the documents with cases for `policy test`.
TEST_KIND: Final = "PolicyTest"
_GROUP: Final = "reconciler"
# Similarities of difflib: one or two wrong letters in a word of ten stay above them.
_NEAR_GROUP: Final = 0.8
_NEAR_KIND: Final = 0.85
# Kubernetes's own kind differs from ours in one letter.
_OTHERS: Final = ("endpoints",)
_READ_BYTES: Final = 1 << 20
_OUR_VERSION: Final = compile_lazily(
    r"""apiVersion["']?\s*:\s*["']?[^\s"',}]{0,100}reconciler""", re.IGNORECASE
)
_OUR_KIND: Final = r"""\bkind["']?\s*:\s*["']?({})\b"""
# The text of each line that is a comment; and, fast, whether one names an apiVersion.
_COMMENT: Final = re.compile(r"^[ \t]*#+[ \t]?(.*)$", re.MULTILINE)
_COMMENTED: Final = re.compile(r"^[ \t]*#.*apiVersion", re.MULTILINE)
_COMMENTED_OUT: Final = "a manifest in it is commented out"
_NAME: Final = compile_lazily(r"""\bname["']?\s*:\s*["']?([^\s"',}]+)""")
_VARIABLES: Final = ("${", "{{", "{%", "<%")
# The suffixes that a file with manifests may have. Beside the project file, where other tools keep
# their files too, no other file is opened.
_MAY_HOLD: Final = compile_lazily(r"\.ya?ml|\.json|\.txt|^[^.]*$|\s$|[^\x00-\x7f]", re.IGNORECASE)


OUTSIDE: Final = "it is outside manifests/"


def check_foreign(version: str, kind: str | None, kinds: Collection[str]) -> Finding | None:
    """Returns the finding for a document that is nearly ours; None for another tool's.

    `kinds` are ours. A document of our kind is never taken for another tool's.
    """
    if not (_is_near_group(version) or _is_near_kind(kind or "", kinds)):
        return None
    return Finding(
        f"unknown apiVersion{quote_word(version)}",
        next_step=f'Did you mean "{API_VERSION}"? If another tool reads this document, move it out'
        " of the folder.",
    )


def _is_near_group(version: str) -> bool:
    word = version.casefold()
    parts = re.split(r"[/.\s]", word)
    return _GROUP in word or any(_similarity(one, _GROUP) >= _NEAR_GROUP for one in parts)


def _is_near_kind(kind: str, kinds: Collection[str]) -> bool:
    word = "".join(filter(str.isalnum, kind)).casefold()
    if word in _OTHERS:
        return False
    return any(_similarity(word, one.casefold()) >= _NEAR_KIND for one in kinds)


def _similarity(word: str, known: str) -> float:
    import difflib  # noqa: PLC0415 - start-up: only documents of other tools need it

    return difflib.SequenceMatcher(None, word, known).ratio()


def find_listed(node: yaml.Node) -> yaml.Node | None:
    """Returns the first item of another tool's list that is a document of ours."""
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        if key.value != "items" or not isinstance(value, yaml.SequenceNode):
            continue
        for item in value.value:
            version = read_top_level(item, "apiVersion")
            if version is not None and _is_near_group(version):
                found: yaml.Node = item
                return found
    return None


def read_top_level(node: yaml.Node, name: str) -> str | None:
    """Returns a top-level text of a document, read before the document is checked."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == name and isinstance(value, yaml.ScalarNode):
                return str(value.value)
    return None


def read_name(node: yaml.Node) -> str:
    """Returns `metadata.name` of a document, read before the document is checked; "" without it."""
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        if key.value == "metadata":
            return read_top_level(value, "name") or ""
    return ""


def match_kinds(kinds: Collection[str]) -> re.Pattern[str]:
    """Returns the pattern that finds documents of our kinds in a text."""
    return re.compile(_OUR_KIND.format("|".join(map(re.escape, kinds))), re.IGNORECASE)


def find_commented(file: str, text: str, ours: re.Pattern[str]) -> list[UnreadFile]:
    """Returns a file of manifests as unread, if a manifest in it is commented out."""
    if _COMMENTED.search(text) is None:
        return []
    hidden = "\n".join(_COMMENT.findall(text))
    return list(_recognise(file, _COMMENTED_OUT, hidden, ours))


def find_unread(
    folder: Folder, usual: Path, read: Collection[Path], ours: re.Pattern[str]
) -> Iterator[UnreadFile]:
    """Yields the files with manifests that were not read, and links that lead nowhere.

    `usual` is the folder of manifests that was walked. `read` are the files of manifests that were
    read, with symbolic links resolved. `ours` is the pattern of `match_kinds`.
    """
    beside = ((path, OUTSIDE) for path in folder.list_beside(usual) if is_manifest_name(path.name))
    for path, why in (*_find_passed(folder, usual), *beside):
        if why == _NOWHERE:
            yield UnreadFile(folder.name(path), why, None)
        elif folder.name(path) not in folder.files and folder.resolve(path) not in read:
            yield from _read_unread(folder, path, why, ours)


def find_passed(folder: Folder, walked: Path, ours: re.Pattern[str]) -> Iterator[UnreadFile]:
    """Yields the files with documents of ours that a walk has passed.

    `walked` is the folder that was walked. `ours` is the pattern of `match_kinds`.
    """
    for path, why in _find_passed(folder, walked):
        yield from _read_unread(folder, path, why, ours)


_NOWHERE: Final = "it is a link that leads nowhere"


def _find_passed(folder: Folder, usual: Path) -> Iterator[tuple[Path, str]]:
    """Yields files that a walk has passed, each with the reason why it does not yield it."""
    for path in folder.passed:
        hidden = path.name.startswith(".")
        if path.is_dir():
            inside = () if path.is_symlink() else Folder(folder.root).walk(path)
            yield from ((found, "its folder is hidden") for found in inside)
        elif hidden:
            yield path, "its name is hidden"
        elif path.is_symlink() and not path.exists():
            # A broken link to data is reported where the data is needed.
            if _MAY_HOLD.search(path.name):
                yield path, _NOWHERE
        elif usual != folder.root or _MAY_HOLD.search(path.name):
            yield path, "its name does not end in .yaml or .yml"


def _read_unread(
    folder: Folder, path: Path, why: str, ours: re.Pattern[str]
) -> Iterator[UnreadFile]:
    if not folder.holds(path) or not path.is_file():
        return
    try:
        with path.open("rb") as file:
            text = file.read(_READ_BYTES).decode(errors="replace")
    except OSError:
        return
    yield from _recognise(folder.name(path), why, text, ours)


def _recognise(file: str, why: str, text: str, ours: re.Pattern[str]) -> Iterator[UnreadFile]:
    """Yields the file of a text as unread, if the text holds a manifest."""
    found = {kind.casefold() for kind in ours.findall(text)}
    if _OUR_VERSION.search(text) and found:
        known = "fleet" not in found and not any(sign in text for sign in _VARIABLES)
        names = frozenset(_NAME.findall(text)) if known else None
        yield UnreadFile(file, why, names)


def describe_unread(unread: UnreadFile) -> Finding:
    """Returns the warning about a file that is not read."""
    step = _UNCOMMENT if unread.why == _COMMENTED_OUT else _MOVE
    message = f"is not read: {unread.why}"
    return Finding(message, subject=unread.file, next_step=step, severity="warning")


_MOVE: Final = (
    "If it belongs to the project, move it to manifests/ and name it NAME.yaml. If not, move it out"
    " of the folder."
)
_UNCOMMENT: Final = (
    "If its resources belong to the project, remove the # signs. If not, remove the lines."
)

"""Phrases that are hard to read may not come back into what people read."""

import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tree import find_tracked

ROOT = Path(__file__).parents[2]
# Each with the words that say it plainly.
PHRASES = {
    r"\b(is|are|was|were) (no(?! longer| more)|none|nobody)\b": "is not a, does not exist",
    r"\b(is|are|was|were|be|been) told\b": "reported, shown",
    r"\btells? (of|that|who|what|it|them|nothing|how|why|which)\b": "reports, says, shows",
    r"\bstands? (in|at|there|for|alone|beside)\b": "is",
    r"\bsays of\b": "says about",
    r"\bthat there (is|are)\b": "that exists",
    r"\bnone that\b": "no … that",
    r"\bleads? back\b": "undoes, rolls back",
    r"\banew\b": "again",
    r"\bnobody\b": "no one, nothing",
    r"\bwhoever\b": "the one that",
    r"\bin flight\b": "running",
    r"\bon which side\b": "in the service, or in the manifest",
    r"\bin front of\b": "for, before",
}
# Case matters: None is a value of Python.
_WORDS = re.compile("|".join(f"(?:{phrase})" for phrase in PHRASES))


def find_texts(file: Path) -> Iterator[tuple[int, str]]:
    """What people read of a file: of Python its comments and strings, of other files each line."""
    text = file.read_text(encoding="utf-8")
    if file.suffix != ".py":
        yield from enumerate(text.splitlines(), 1)
        return
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in {tokenize.COMMENT, tokenize.STRING}:
            yield from enumerate(token.string.splitlines(), token.start[0])


def find_files() -> Iterator[Path]:
    for pattern in ("reconciler/**/*", "schemas/**/*"):
        yield from sorted(ROOT.glob(pattern))
    yield from sorted(one for one in find_tracked("*.md") if one.name == "README.md")


def test_no_phrase_is_hard_to_read() -> None:
    found = [
        f"{file.relative_to(ROOT)}:{number}: {line.strip()[:90]}"
        for file in find_files()
        if file.suffix in {".py", ".md", ".json", ".j2"} and "__pycache__" not in file.parts
        # To split Python into tokens takes ten times as long as to search all of it.
        if _WORDS.search(file.read_text(encoding="utf-8"))
        for number, line in find_texts(file)
        if _WORDS.search(line)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "line",
    [
        "It is no proof.",
        "a step in flight",
        "what is told of it",
        "It tells that it ended.",
        "It stands in the file.",
    ],
)
def test_a_hard_phrase_is_found(line: str) -> None:
    assert _WORDS.search(line)


@pytest.mark.parametrize("line", ["It is not a proof.", "It is no longer there.", "x is None or y"])
def test_a_plain_phrase_is_not(line: str) -> None:
    assert not _WORDS.search(line)

"""Patterns that are compiled when they are first used."""

import copy
import importlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import reconciler
from reconciler.kinds.ids import IdForm
from reconciler.text.patterns import compile_lazily


def test_acts_like_a_compiled_pattern() -> None:
    lazy, compiled = (
        make(r"(?P<name>[a-z]+)=([0-9])", re.IGNORECASE) for make in (compile_lazily, re.compile)
    )
    text = "A=1, bc=2"
    for _ in range(2):  # the second time uses what the first one kept
        assert lazy.findall(text) == compiled.findall(text) == [("A", "1"), ("bc", "2")]
        assert lazy.sub("x", text) == compiled.sub("x", text)
        assert lazy.fullmatch(text) is None
    found = lazy.search(text)
    assert found is not None
    assert found["name"] == "A"
    assert (lazy.pattern, lazy.flags) == (compiled.pattern, compiled.flags)


@pytest.mark.parametrize("make", [copy.copy, copy.deepcopy], ids=["copy", "deepcopy"])
def test_a_copy_acts_like_it(make: Callable[[re.Pattern[str]], re.Pattern[str]]) -> None:
    assert make(compile_lazily("[a-z]+")).findall("a1b") == ["a", "b"]


def test_is_compiled_at_the_first_use() -> None:
    wrong = compile_lazily(b"(")
    with pytest.raises(re.error, match="missing"):
        wrong.search(b"(")


def test_all_patterns_that_modules_keep_compile() -> None:
    """A wrong pattern that is compiled late is found late, so each one is compiled here."""
    folder, patterns = Path(reconciler.__file__).parent, 0
    for path in folder.rglob("*.py"):
        if " compile_lazily(" in path.read_text() and path != folder / "text" / "patterns.py":
            name = ".".join(path.relative_to(folder.parent).with_suffix("").parts)
            found = list(_list_patterns(vars(importlib.import_module(name))))
            assert found, name
            assert all(pattern.groups >= 0 for pattern in found)
            patterns += len(found)
    assert patterns > 20


def _list_patterns(value: Any) -> Iterator[re.Pattern[Any]]:
    if type(value) is type(compile_lazily("")):
        yield value
    elif isinstance(value, IdForm):
        yield from _list_patterns(value.pattern)
    elif isinstance(value, tuple | dict):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _list_patterns(one)

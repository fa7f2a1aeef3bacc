"""Entries that wait in a document: written whole, read whole, or not at all."""

import json
from dataclasses import replace
from typing import Any

import pytest

from reconciler.errors import LedgerInvalid
from reconciler.ledgers.recovery import read_entries, write_entries
from reconciler.model import StepResult
from tests.ledgers import make_entry

ENTRIES = [
    make_entry("a", patch=({"op": "add", "path": "/x", "value": "ä\ud800"},), wave=2, intent=7),
    make_entry(
        "b", result=StepResult.UNKNOWN, note="nobody knows", fence=3, owned={"/x": [1, 1.0]}
    ),
]


def test_what_is_written_is_read_back_without_its_number() -> None:
    text = write_entries([replace(one, sequence=9) for one in ENTRIES])
    assert read_entries(text) == tuple(ENTRIES)
    assert text.isascii()
    assert read_entries(write_entries([])) == ()


def change(text: str, **more: Any) -> str:
    return json.dumps({**json.loads(text), **more})


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda text: text[:-10], "is not JSON"),
        (lambda _: "[" * 100_000, "is not JSON"),
        (lambda _: "[]", "has no entries"),
        (lambda text: change(text, format_version="2.0"), "is not of format version 1.0"),
        (lambda text: change(text, entries={}), "has no entries"),
        (lambda text: change(text, entries=[7]), "has no usable entry with number 1"),
        (
            lambda text: change(text, entries=[{}]),
            "has an invalid entry 1: it has no usable address",
        ),
        (lambda text: change(text, entries=json.loads(text)["entries"][:1]), "was changed since"),
        (lambda text: text.replace('"ci"', '"me"'), "was changed since it was written"),
        (lambda text: change(text, sha256=7), "was changed since it was written"),
    ],
)
def test_what_is_not_as_it_was_written_is_refused(harm: Any, message: str) -> None:
    with pytest.raises(LedgerInvalid, match=message) as caught:
        read_entries(harm(write_entries(ENTRIES)))
    assert "unchanged" in caught.value.next_step

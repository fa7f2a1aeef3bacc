"""Numbers with the nouns that they count, and verbs that agree with them.

Every text with a count uses this module, so that no text says "1 services". A test finds the
texts that do not.
"""

from __future__ import annotations


def count(number: int, noun: str, plural: str = "") -> str:
    """The number and its noun, such as `1 service`, `2 services` or `3 entries`.

    `plural` is for nouns that do not only get an "s".
    """
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def agree(number: int, one: str, many: str) -> str:
    """The word that agrees with a number, such as `is` and `are`, or `it` and `them`."""
    return one if number == 1 else many

"""Colour as a value. Meaning is never in the colour alone: every symbol has a letter form."""

from __future__ import annotations

from typing import Final

from reconciler.model.values import dataclass

_CODES: Final = {
    "bold": "1",
    "faint": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "cyan": "36",
}
_OF_SYMBOL: Final = {
    "+": "green",
    "-": "red",
    "~": "yellow",
    "-/+": "red",
    "<=": "cyan",
    ".": "faint",
    "#": "faint",
}


@dataclass(frozen=True, slots=True)
class Paint:
    """Puts colour around text, or leaves it as it is."""

    enabled: bool = False

    def __call__(self, colour: str, text: str) -> str:
        """The text in a colour."""
        return f"\x1b[{_CODES[colour]}m{text}\x1b[0m" if self.enabled and text else text

    def symbol(self, sign: str) -> str:
        """One of the signs of a plan."""
        return self(_OF_SYMBOL[sign], sign)

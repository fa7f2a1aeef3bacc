"""Colour as a value. No meaning is in the colour alone: every symbol also has a letter form."""

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
    """Adds colour to text if it is enabled."""

    enabled: bool = False

    def __call__(self, colour: str, text: str) -> str:
        """Returns the text in a colour; the same text if colour is not enabled."""
        return f"\x1b[{_CODES[colour]}m{text}\x1b[0m" if self.enabled and text else text

    def symbol(self, sign: str) -> str:
        """Returns one of the signs of a plan in its colour."""
        return self(_OF_SYMBOL[sign], sign)

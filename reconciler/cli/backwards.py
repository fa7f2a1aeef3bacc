"""Texts in the order opposite to that in which they come, however many: they wait on the disk."""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Iterator
from types import TracebackType
from typing import Self

_IN_MEMORY = 1 << 20


class Backwards:
    """Takes texts as they come and gives them back, the last first."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - closed by __exit__
        self._ends = array("Q")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self._ends)

    def add(self, text: str) -> None:
        """Take one more."""
        self._file.write(text.encode("utf-8", "surrogatepass"))
        self._ends.append(self._file.tell())

    def __iter__(self) -> Iterator[str]:
        for number in range(len(self._ends) - 1, -1, -1):
            start = self._ends[number - 1] if number else 0
            self._file.seek(start)
            yield self._file.read(self._ends[number] - start).decode("utf-8", "surrogatepass")

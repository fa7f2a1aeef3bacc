"""What the emulator's log of requests witnesses: which writes had an effect, and whether twice."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WRITES = frozenset({"PUT", "PATCH", "DELETE", "POST"})


@dataclass(frozen=True)
class Effect:
    """A write that the service took. The reply of one may have been lost on its way."""

    method: str
    name: str
    body: str

    def __str__(self) -> str:
        return f"{self.method} {self.name} {self.body[:8]}"


@dataclass(frozen=True)
class Traffic:
    """The requests of one resource group, from `start` on in the log."""

    log: Path
    group: str
    start: int = 0

    def begin(self) -> "Traffic":
        """The same group, from now on."""
        return Traffic(self.log, self.group, self.log.stat().st_size)

    def lines(self) -> Iterator[Any]:
        marked = f"/resourceGroups/{self.group}/providers/"
        with self.log.open() as file:
            file.seek(self.start)
            for text in file:
                if marked in text:
                    yield json.loads(text)

    def effects(self) -> list[Effect]:
        """In their order. A throttled, refused or unreached write has none."""
        return [
            Effect(line["method"], _name(line["path"]), line["body_sha256"] or "")
            for line in self.lines()
            if line["method"] in WRITES and _took(line)
        ]

    def twice(self) -> list[str]:
        """Every effect that was had more than once, in words."""
        counted = Counter(self.effects())
        return [f"{effect}: {count} times" for effect, count in counted.items() if count > 1]

    def count_faults(self) -> dict[str, int]:
        """How often each kind of fault fired."""
        return dict(Counter(line["fault"] for line in self.lines() if line["fault"]))

    def verbs(self) -> dict[str, list[str]]:
        """The verbs that each service took, in order."""
        taken: dict[str, list[str]] = {}
        for effect in self.effects():
            taken.setdefault(effect.name, []).append(effect.method)
        return taken


def _took(line: Any) -> bool:
    """A lost reply hides its status: whoever had nobody beside him was not refused."""
    status = line["status"]
    return bool(line["fault"] == "drop-reply" if status is None else 200 <= status < 300)


def _name(path: str) -> str:
    return str(path.partition("?")[0].partition("/webServices/")[2])

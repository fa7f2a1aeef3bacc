"""A second writer: somebody who edits services at random while they are applied."""

import random
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any

from tests.e2e.world import Emulator, working
from tests.survival.fleet import model


@dataclass
class Second:
    """A writer beside us: swaps declared models, changes declared settings, edits what is nobody's."""

    emulator: Emulator
    names: Sequence[str]
    randomness: random.Random
    rest_s: float
    edits: int = 0
    known: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Edit while the block runs."""
        with working(self._write):
            yield

    def find_undone(self) -> list[str]:
        """What this writer alone may change, and somebody else has."""
        live = {name: self.emulator.get(name)["properties"] for name in self.known}
        return [
            f"{name}: the description is {live[name].get('description')!r}, not {text!r}"
            for name, text in self.known.items()
            if live[name].get("description") != text
        ]

    def _write(self, ended: threading.Event) -> None:
        while not ended.wait(self.rest_s * self.randomness.uniform(0.5, 1.5)):
            self._edit(self.randomness.choice(self.names))

    def _edit(self, name: str) -> None:
        self.edits += 1
        text = f"edit {self.edits}"
        changed: Any = self.randomness.choice(
            [
                {"description": text},
                {"realtimeConfiguration": {"maxConcurrentCalls": self.randomness.randint(11, 99)}},
                self._swap_model(name),
            ]
        )
        body = {"properties": {"packageType": "Graph", **changed}}
        status = self._send("PATCH", name, body)[0]
        if "description" in changed:
            self._note(name, text, status)

    def _swap_model(self, name: str) -> Any:
        status, document = self._send("GET", name)
        if status != 200:
            return {"title": "unreadable"}
        assets = document["properties"]["assets"]
        assets["asset3"]["locationInfo"]["uri"] = model(f"other{self.edits}")
        return {"assets": assets}

    def _send(self, method: str, name: str, body: Any = None) -> tuple[int, Any]:
        """The answer as it comes, 0 for none: this writer looks at nothing twice."""
        try:
            status, document, headers = self.emulator.send(method, self.emulator.path(name), body)
            if method == "PATCH" and status == 200:
                status = self._follow(headers["Azure-AsyncOperation"])
        except (OSError, HTTPException, ValueError):
            return 0, None
        return status, document

    def _follow(self, operation: str) -> int:
        while True:
            status, reported, _ = self.emulator.send("GET", operation)
            if status != 200:
                return 0
            if reported["status"] != "Provisioning":
                return 200 if reported["status"] == "Succeeded" else 400
            time.sleep(0.02)

    def _note(self, name: str, text: str, status: int) -> None:
        """What stands there now, where that is known: nobody but this writer changes it."""
        if status == 200:
            self.known[name] = text
        elif status == 0:
            self.known.pop(name, None)

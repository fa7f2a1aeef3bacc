"""One case as its folder tells it: what is live, what is declared, what is to come of it.

`tests/cases/README.md` says what may stand in each file. A word that nobody knows is an error,
so that a slip of the pen cannot make a case hold less than it seems to.
"""

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from tests.casework.classic import Classic
from tests.e2e.world import EXAMPLE, SUBSCRIPTION, Emulator

CASES = Path(__file__).parents[1] / "cases"
# By the outcome of a case: with what `plan --detailed-exitcode` and then `apply` must exit.
OUTCOMES: Mapping[str, tuple[int, int | None]] = {
    "changes": (2, 0),
    "nothing": (0, 0),
    "refused": (3, 3),
    "stale": (2, 4),
    "incomplete": (2, 6),
    "error": (1, None),
}
_BASE: Mapping[str, Any] = {"census": {}}
_DEFINITION = "census.definition.json"


@dataclass(frozen=True)
class Script:
    """`case.yaml`."""

    rule: str
    outcome: str = "changes"
    plan: str = ""
    again: str | None = None
    not_silent: str = ""
    parallelism: int = 1
    repeat: int = 0
    project: Mapping[str, Any] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    blobs: Mapping[str, str] = field(default_factory=dict)
    edits: Mapping[str, Any] = field(default_factory=dict)
    shows: Mapping[str, Any] = field(default_factory=dict)
    hides: Mapping[str, Any] = field(default_factory=dict)
    switches: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """A case on an emulator; its resource group and its container are its own."""

    folder: Path
    emulator: Emulator

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def models(self) -> str:
        """Where the models of the case are."""
        return f"{self.emulator.blob}/devstoreaccount1/{self.name}"

    @cached_property
    def script(self) -> Script:
        script = Script(**self._read("case"))
        assert script.outcome in OUTCOMES, script.outcome
        assert script.rule.endswith("."), "a rule is a sentence"
        return script

    @property
    def live(self) -> dict[str, Any]:
        """By name: what is live before, as pointers and values that differ from the base."""
        given = self._read("live")
        return dict(given if given is not None else {} if self.classic else _BASE)

    @cached_property
    def classic(self) -> Classic | None:
        """The Classic endpoints that are live before, where the case is about these."""
        stated = self._read("classic")
        return None if stated is None else Classic(self.emulator, self.name, stated)

    @property
    def ledger(self) -> list[dict[str, Any]]:
        """What the ledger remembers before."""
        return list(self._read("ledger") or [])

    @property
    def files(self) -> dict[str, str]:
        """The files of the project but for its own, by name."""
        found = {
            str(path.relative_to(self.folder)): self.fill(path.read_text())
            for name in ("manifests", "secrets")
            for path in sorted((self.folder / name).rglob("*"))
            if path.is_file()
        }
        single = self.folder / "manifest.yaml"
        if single.exists():
            found["manifests/census.yaml"] = self._repeat_documents(self.fill(single.read_text()))
        name = f"manifests/{_DEFINITION}"
        if name not in found and any(_DEFINITION in text for text in found.values()):
            found[name] = base_definition().replace(
                _BASE_MODEL, f"{self.models}/census/old.ilearner"
            )
        return found

    def flags(self, given: str) -> list[str]:
        """The flags with those that every command has: what is live is read unless said."""
        flags = ["--parallelism", str(self.script.parallelism), *shlex.split(self.fill(given))]
        return flags if "--refresh" in flags else [*flags, "--refresh=full"]

    def fill(self, text: str) -> str:
        """The text with what is only known when the test runs."""
        known = {
            "{models}": self.models,
            "{blob}": self.emulator.blob,
            "{emulator}": self.emulator.url,
            "{group}": self.emulator.group,
            "{subscription}": SUBSCRIPTION,
        }
        for word, value in known.items():
            text = text.replace(word, value)
        return text

    def read_file(self, name: str) -> Any:
        """A definition of the case's own."""
        return yaml.safe_load(self.fill((self.folder / name).read_text()))

    def _read(self, name: str) -> Any:
        """A YAML or JSON file of the case, filled and repeated; None where there is none."""
        for end in (".yaml", ".json"):
            file = self.folder / f"{name}{end}"
            if file.exists():
                return self._repeat(yaml.safe_load(self.fill(file.read_text())))
        return None

    @cached_property
    def _numbers(self) -> list[str]:
        said = yaml.safe_load((self.folder / "case.yaml").read_text())
        return [f"{number:02}" for number in range(1, said.get("repeat", 0) + 1)]

    def _repeat(self, said: Any) -> Any:
        """Entries whose name has `{n}`, and list items that have it anywhere, once a number."""
        if isinstance(said, dict):
            return {
                name.replace("{n}", n): _number(value, n) if n else self._repeat(value)
                for name, value in said.items()
                for n in (self._numbers if "{n}" in name else [""])
            }
        if isinstance(said, list):
            return [
                _number(item, n)
                for item in said
                for n in (self._numbers if "{n}" in str(item) else [""])
            ]
        return said

    def _repeat_documents(self, text: str) -> str:
        def repeat() -> Iterator[str]:
            for document in re.split(r"^---\n", text, flags=re.MULTILINE):
                numbers = self._numbers if "{n}" in document else [""]
                yield from (document.replace("{n}", number) for number in numbers)

        return "---\n".join(repeat())


def _number(value: Any, number: str) -> Any:
    if isinstance(value, dict):
        return {_number(name, number): _number(below, number) for name, below in value.items()}
    if isinstance(value, list):
        return [_number(item, number) for item in value]
    return value.replace("{n}", number) if isinstance(value, str) else value


_BASE_MODEL = "http://127.0.0.1:10000/devstoreaccount1/models/census/2026-10-02.ilearner"


def base_definition() -> str:
    """The definition that is live where a case does not say otherwise."""
    text = (EXAMPLE / "manifests" / _DEFINITION).read_text()
    assert _BASE_MODEL in text
    return text


def find_cases() -> list[Path]:
    """Every folder that holds a case."""
    return sorted(file.parent for file in CASES.glob("*/case.yaml"))

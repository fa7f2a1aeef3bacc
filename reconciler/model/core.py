"""Values, places and names: what every other word is made of."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import field
from typing import Any, Final, Literal, TypeAlias

from reconciler.model.values import dataclass

Json: TypeAlias = Any

Path: TypeAlias = tuple[str | int, ...]


class Absent(enum.Enum):
    """The type of `ABSENT`, so that a type checker can tell it from every JSON value."""

    ABSENT = frozenset[str]()  # no value of JSON, so that nobody writes it down as one

    def __repr__(self) -> str:
        return "ABSENT"

    def __bool__(self) -> bool:
        return False


ABSENT: Final = Absent.ABSENT


class Action(enum.StrEnum):
    """What is done to a resource, in Terraform's words.

    What is forgotten is left as it is; what is adopted is remembered as it is found.
    """

    CREATE = "create"
    UPDATE = "update"
    REPLACE = "replace"
    DELETE = "delete"
    FORGET = "forget"
    ADOPT = "adopt"

    @property
    def symbol(self) -> str:
        """The sign that stands before the resource in every face."""
        return _SYMBOLS[self]


_SYMBOLS: Final[Mapping[Action, str]] = {
    Action.CREATE: "+",
    Action.UPDATE: "~",
    Action.REPLACE: "-/+",
    Action.DELETE: "-",
    Action.FORGET: ".",
    Action.ADOPT: "<=",
}


class Verb(enum.StrEnum):
    """What a change does to one place. `WRITE` is for a value that can never be read back."""

    ADD = "add"
    REPLACE = "replace"
    REMOVE = "remove"
    WRITE = "write"


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """`Kind/name`: how people name a resource."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read `Kind/name`; raises ValueError for anything else."""
        kind, slash, name = text.partition("/")
        if not (kind and slash and name):
            raise ValueError(text)
        return cls(kind, name)


@dataclass(frozen=True, slots=True, order=True)
class SourceLocation:
    """Where in a file something stands; line and column count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing a person must know: what, where, and the next step.

    `guard` names the guard that refuses, one of the words of `--allow`; empty for any other
    finding. `detail` holds further lines, `next_step` a sentence or a command.
    """

    message: str
    subject: str = ""
    place: SourceLocation | None = None
    detail: tuple[str, ...] = ()
    next_step: str = ""
    severity: Literal["error", "warning"] = "error"
    guard: str = ""


@dataclass(frozen=True, slots=True)
class SecretReference:
    """Where a secret is found when a call is made: an environment variable or a file.

    `version` is a label that people change to have the secret written again. The value itself
    is never held here. A reference may stand as a leaf of a declared document.
    """

    env: str = ""
    file: str = ""
    version: str = ""

    def __str__(self) -> str:
        return f"env {self.env}" if self.env else f"file {self.file}"

    @classmethod
    def parse(cls, text: str) -> SecretReference | None:
        """What `str` wrote of a reference, without its label; None for no text."""
        kind, _, name = text.partition(" ")
        return cls(**{"env" if kind == "env" else "file": name}) if name else None


@dataclass(frozen=True, slots=True)
class Resource:
    """An address and what the service calls it (for Resource Manager: the whole id).

    `token` is where the token is found that opens it, where that is not the cloud's own.
    """

    address: Address
    id: str
    token: SecretReference | None = field(default=None, compare=False)

    @property
    def short_id(self) -> str:
        """The last segment of the id, as shown in brackets."""
        return self.id.rstrip("/").rpartition("/")[2]

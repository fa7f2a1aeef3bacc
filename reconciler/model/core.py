"""The basic values: addresses, resources, findings, source locations and secret references."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import field
from typing import Any, Final, Literal, TypeAlias

from reconciler.model.values import dataclass

Json: TypeAlias = Any

Path: TypeAlias = tuple[str | int, ...]


class Absent(enum.Enum):
    """The type of `ABSENT`; a type checker can distinguish it from every JSON value."""

    ABSENT = frozenset[str]()  # not a JSON value, so that no encoder writes it

    def __repr__(self) -> str:
        return "ABSENT"

    def __bool__(self) -> bool:
        return False


ABSENT: Final = Absent.ABSENT


class Action(enum.StrEnum):
    """The action on a resource, in Terraform's words.

    `FORGET` removes a resource from the ledger and does not change it. `ADOPT` records a resource
    in the ledger and does not change it.
    """

    CREATE = "create"
    UPDATE = "update"
    REPLACE = "replace"
    DELETE = "delete"
    FORGET = "forget"
    ADOPT = "adopt"

    @property
    def symbol(self) -> str:
        """The sign before the resource in every output."""
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
    """What a change does to one place. `WRITE` is for a value that the service never shows."""

    ADD = "add"
    REPLACE = "replace"
    REMOVE = "remove"
    WRITE = "write"


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """`Kind/name`: the name of a resource in manifests, flags and output."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"

    @classmethod
    def parse(cls, text: str) -> Address:
        """Parse `Kind/name`; raises ValueError for any other text."""
        kind, slash, name = text.partition("/")
        if not (kind and slash and name):
            raise ValueError(text)
        return cls(kind, name)


@dataclass(frozen=True, slots=True, order=True)
class SourceLocation:
    """A place in a file; line and column count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Finding:
    """One error or warning: the message, its place, and the next step.

    `guard` names the guard that refuses, as `--allow` spells it; it is empty for any other finding.
    `detail` holds more lines. `next_step` is a sentence or a command.
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
    """The place of a secret: an environment variable or a file, read when a call is made.

    `version` is a label; a person changes it so that the secret is written again. A reference
    never holds the value of the secret. It may be a leaf of a declared document.
    """

    env: str = ""
    file: str = ""
    version: str = ""

    def __str__(self) -> str:
        return f"env {self.env}" if self.env else f"file {self.file}"

    @classmethod
    def parse(cls, text: str) -> SecretReference | None:
        """The reference that `str` wrote, without its version label; None for an empty text."""
        kind, _, name = text.partition(" ")
        return cls(**{"env" if kind == "env" else "file": name}) if name else None


@dataclass(frozen=True, slots=True)
class Resource:
    """An address and the service's whole id of the resource.

    `token` refers to the resource's own token; None when the token of the cloud is used.
    """

    address: Address
    id: str
    token: SecretReference | None = field(default=None, compare=False)

    def __hash__(self) -> int:
        # Every look-up of a resource needs it, and a text keeps its hash.
        return hash(self.id)

    @property
    def short_id(self) -> str:
        """The last segment of the id, as shown in brackets."""
        return self.id.rstrip("/").rpartition("/")[2]

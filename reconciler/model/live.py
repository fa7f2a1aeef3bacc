"""What reads return: live documents, stamps, blobs, and the speed of a service."""

from __future__ import annotations

from dataclasses import field
from datetime import datetime
from typing import Literal

from reconciler.model.core import Json
from reconciler.model.values import dataclass


@dataclass(frozen=True)
class Live:
    """The current document of the service, in the schema's casing, without secrets.

    `raw` is the unchanged reply and may hold credentials. Only the provider may read it, to send
    unchanged what a write must send in full. It is never recorded or shown. `stamp` and `idle` are
    as in `CachedStamp`.
    """

    document: Json
    raw: Json = field(repr=False, compare=False)
    read_at: datetime
    stamp: str = ""
    idle: bool = False


@dataclass(frozen=True, slots=True)
class Summary:
    """One resource in a list of the service.

    `stamp` differs after every change. `idle` is False while a change is in progress.
    """

    id: str
    stamp: str
    idle: bool


@dataclass(frozen=True, slots=True)
class CachedStamp:
    """When a document was read (`at`, in seconds since 1970), and its stamp at that time.

    `idle` says that no change was in progress, and that none was so recent that the read could be
    stale. Only then does an equal stamp prove that the document is unchanged.
    """

    stamp: str
    idle: bool
    at: float


@dataclass(frozen=True, slots=True)
class Blob:
    """The properties of a model's blob.

    `trust` says where `digest` comes from: `streamed` (reconciler read and hashed every byte),
    `metadata` (the uploader wrote it), `md5` (storage computed it), or `none`. `expires` is when
    the signature ends that opened it, and `at` the time of the storage then; both may be empty.
    """

    uri: str
    length: int
    etag: str
    digest: str = ""
    trust: Literal["streamed", "metadata", "md5", "none"] = "none"
    expires: str = ""
    at: str = ""


@dataclass(frozen=True, slots=True)
class ServiceTiming:
    """How fast a service accepts calls.

    `step_s` is the seconds that one write takes with its operation and reads; `polls` is the number
    of polls of its operation. A burst of reads or writes is accepted at once; the rates are calls
    per second. A read may be stale for `lag_s` seconds after a write. With `models_apart`, a new
    resource gets its models by a separate write.
    """

    step_s: float
    polls: int
    read_burst: int
    read_rate: float
    write_burst: int
    write_rate: float
    lag_s: float = 0.0
    models_apart: bool = False


@dataclass(frozen=True, slots=True)
class SeparateLimit:
    """A limit of a service for some of its calls, which count neither as reads nor as writes.

    `header` is the name of the reply's header with the calls that are left; `calls` names the calls
    for people. `burst` calls are accepted at once, then `rate` calls per second.
    """

    header: str
    calls: str
    burst: int
    rate: float

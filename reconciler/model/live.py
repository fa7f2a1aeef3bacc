"""What is seen of a service and of the bytes of a model."""

from __future__ import annotations

from dataclasses import field
from datetime import datetime
from typing import Literal

from reconciler.model.core import Json
from reconciler.model.values import dataclass


@dataclass(frozen=True)
class Live:
    """The service's document now, in the schema's casing, without any secret.

    `raw` is the reply as it came (it may hold credentials): only the provider may look at it,
    to send back unchanged what it must send whole. It is never written or shown. `stamp` and
    `idle` are as in `CachedStamp`.
    """

    document: Json
    raw: Json = field(repr=False, compare=False)
    read_at: datetime
    stamp: str = ""
    idle: bool = False


@dataclass(frozen=True, slots=True)
class Summary:
    """What one cheap pass over a scope tells of a resource.

    `stamp` moves with every change; `idle` is False while one is under way.
    """

    id: str
    stamp: str
    idle: bool


@dataclass(frozen=True, slots=True)
class CachedStamp:
    """When a document was read (`at`, in seconds since 1970), and what its stamp was then.

    `idle` says that no change was under way and none so recent that the read may lag behind it:
    only then does an equal stamp prove that the document is still the same.
    """

    stamp: str
    idle: bool
    at: float


@dataclass(frozen=True, slots=True)
class Blob:
    """What is known of a model's bytes.

    `trust` says how far `digest` can be relied on: `streamed` (every byte was read and hashed
    here), `metadata` (the uploader's word), `md5` (the storage's own digest), `none`.
    """

    uri: str
    length: int
    etag: str
    digest: str = ""
    trust: Literal["streamed", "metadata", "md5", "none"] = "none"
    expires: str = ""


@dataclass(frozen=True, slots=True)
class ServiceTiming:
    """How fast a service takes calls.

    `step_s` is how long one write takes with all that follows it; `polls` how often its operation
    is asked for meanwhile. Of reads and of writes a burst is taken at once, then so many a second.
    For `lag_s` seconds after a write a read may show what was before. Where `models_apart`, a new
    resource gets its models by a write of their own.
    """

    step_s: float
    polls: int
    read_burst: int
    read_rate: float
    write_burst: int
    write_rate: float
    lag_s: float = 0.0
    models_apart: bool = False

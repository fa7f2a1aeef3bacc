"""Parses one HTTP request: its path, query, body and api-version.

The server makes a Call for each request, and the parts that answer it read it.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from urllib.parse import parse_qsl, unquote

from reconciler.emulator.replies import Refusal, refuse_body

PREVIEW: Final = "2016-05-01-preview"
_VERSIONS: Final = ("2017-01-01", PREVIEW)
# Recorded definitions have at most a dozen levels.
_DEEPEST: Final = 100
# The largest request that is usual has a few thousand.
_MOST_VALUES: Final = 2_000_000
Plane = Literal["resource-manager", "classic", "services", "azureml", "online"]
_ONLINE: Final = "microsoft.machinelearningservices"
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,260}")


@dataclass(frozen=True)
class Call:
    """A request. `segments` are decoded; `query` has lower-case names; `origin` is scheme and host.

    `target` is the raw path and query. `closing` is closed once the reply is sent. `headers` have
    lower-case names.
    """

    method: str
    segments: tuple[str, ...]
    query: Mapping[str, str]
    body: bytes
    origin: str
    target: str
    headers: Mapping[str, str]
    closing: contextlib.ExitStack = field(default_factory=contextlib.ExitStack, compare=False)

    @property
    def plane(self) -> Plane:
        """Return the plane of the path; Resource Manager is the default."""
        match [segment.casefold() for segment in self.segments]:
            case ["workspaces", _, "webservices", _, "endpoints", _, "apidocument"]:
                return "services"
            case ["workspaces", _, "webservices", *_]:
                return "classic"
            case ["workspaces" | "subscriptions", _, "services", _, *_]:
                return "services"
            case ["subscriptions", _, "providers", provider, *_] | [
                "subscriptions",
                _,
                "resourcegroups",
                _,
                "providers",
                provider,
                *_,
            ] if provider == _ONLINE:
                return "azureml"
            case ["online", _, _, *_]:
                return "online"
        return "resource-manager"

    @property
    def names_deployment(self) -> bool:
        """Return whether the path is that of a deployment of an online endpoint."""
        words = [segment.casefold() for segment in self.segments[-4:]]
        return self.plane == "azureml" and words[0::2] == ["onlineendpoints", "deployments"]

    @property
    def version(self) -> str:
        """Return the api-version; refuse a call without one or with an unknown one."""
        return self.check_version(_VERSIONS)

    def check_version(self, versions: Sequence[str]) -> str:
        """Return the api-version in lower case; refuse a call with none of `versions`."""
        version = self.query.get("api-version", "")
        if not version:
            raise Refusal(
                400,
                "MissingApiVersionParameter",
                "The api-version query parameter (?api-version=) is required for all requests.",
            )
        if version.casefold() not in versions:
            raise Refusal(
                400,
                "InvalidApiVersionParameter",
                f"The api-version '{version[:40]}' is invalid. The supported versions are"
                f" '{','.join(versions)}'.",
            )
        return version.casefold()

    def document(self) -> Any:
        """Return the body as JSON; refuse a body that is not JSON."""
        try:
            return _read(self.body)
        except (ValueError, RecursionError) as error:
            raise self._refuse_content() from error

    def _refuse_content(self) -> Refusal:
        if self.plane in {"classic", "services"}:
            return refuse_body()
        return Refusal(
            400,
            "InvalidRequestContent",
            "The request content was invalid and could not be deserialized.",
        )


def check_count(data: bytes) -> None:
    """Raise ValueError for a JSON text with so many values that they would fill the memory."""
    if sum(map(data.count, (b",", b":", b"[", b"{"))) > _MOST_VALUES:
        raise ValueError("too many values")


def _read(body: bytes) -> Any:
    """Return the value of a JSON text.

    Raises ValueError if it is invalid, is nested too deeply or has too many values.
    """
    check_count(body)
    document = json.loads(body, parse_constant=_refuse, parse_float=_read_float)
    layer = [document]
    for _ in range(_DEEPEST):
        if not layer:
            return document
        layer = [
            below
            for one in layer
            if isinstance(one, (dict, list))
            for below in (one.values() if isinstance(one, dict) else one)
        ]
    raise ValueError("nested too deeply")


def _refuse(name: str) -> Any:
    """Refuse NaN and the infinities: Python reads them, but JSON does not allow them."""
    raise ValueError(name)


def _read_float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(text)
    return value


def make_call(
    method: str,
    raw_path: str,
    raw_query: str,
    body: bytes,
    origin: str,
    headers: Mapping[str, str],
) -> Call:
    """Make a request from its raw target; an escaped slash does not split a segment."""
    segments = tuple(unquote(part) for part in raw_path.split("/") if part)
    pairs = parse_qsl(raw_query, keep_blank_values=True)
    target = f"{raw_path}?{raw_query}" if raw_query else raw_path
    query = {name.casefold(): value for name, value in pairs}
    return Call(method, segments, query, body, origin, target, headers)


def check_name(name: str) -> str:
    """Return a service's name; refuse other characters than letters, digits, '.', '_' and '-'."""
    if not _NAME.fullmatch(name) or name in {".", ".."}:
        raise Refusal(400, "InvalidResourceName", "The provided resource name is invalid.")
    return name


def check_call(call: Call, *methods: str, versions: Sequence[str] = _VERSIONS) -> None:
    """Refuse a call without an api-version, or with a method that the address does not support."""
    call.check_version(versions)
    if call.method not in methods:
        raise Refusal(
            405,
            "MethodNotAllowed",
            f"The HTTP method '{call.method[:20]}' is not supported at this resource.",
            headers={"Allow": ", ".join(methods)},
        )


def unknown_path(call: Call) -> Refusal:
    """Return the 404 for an address that names no resource type."""
    path = "/" + "/".join(call.segments)
    return Refusal(404, "ResourceNotFound", f"No resource type answers at '{path[:200]}'.")

"""The rules for a write to a Classic endpoint (published description, documentation).

The status and code of a refusal were never recorded. Where a phrase of the service is known, the
refusal has that phrase. `endpoints` calls these rules; they change nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import parse_qs

from reconciler.emulator.classic.workspaces import Endpoint
from reconciler.emulator.replies import Refusal, refuse, refuse_body
from reconciler.emulator.switches import Choices

Json = Any
_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,22}[a-z0-9])?")
_LOW_MOST: Final = 4
_HIGH_MOST: Final = 200
_DEFAULT_CALLS: Final = {"free": 4, "standard": 20}
_MOST_ENDPOINTS: Final = {"free": 3, "standard": 10_000}
# A published client sends these too; they have no effect.
_ADDRESSED: Final = ("WebServiceId", "EndpointName")
_LOCATION: Final = ("BaseLocation", "RelativeLocation", "SasBlobToken")


def bad_argument(message: str) -> Refusal:
    """Return the 400 of Classic; its envelope has no details."""
    return Refusal(400, "BadArgument", message)


def forbid(message: str) -> Refusal:
    """Return the 403 of Classic."""
    return Refusal(403, "Forbidden", message)


def check_name(name: str) -> str:
    """Return an endpoint's name; refuse a name that breaks the rules."""
    if not _NAME.fullmatch(name):
        raise bad_argument(
            "The endpoint name must have at most 24 characters: lower-case letters, digits, and"
            " hyphens anywhere but first and last."
        )
    return name


def check_room(tier: str, count: int) -> None:
    """Refuse if a service with `count` endpoints must not have one more."""
    most = _MOST_ENDPOINTS[tier]
    if count >= most:
        raise forbid(f"A web service of a {tier} workspace has at most {most} endpoints.")


def parse_new_settings(body: Json, tier: str, choices: Choices) -> Json:
    """Return the settings of an endpoint that a PUT creates."""
    known = {name: _CHECKS[name] for name in _PUT_FIELDS}
    given = _parse_settings(body, known, _ADDRESSED, choices)
    level = given.setdefault("ThrottleLevel", "Low")
    calls = _LOW_MOST if level == "Low" else _DEFAULT_CALLS[tier]
    asked = given.setdefault("MaxConcurrentCalls", calls)
    given["MaxConcurrentCalls"] = _limit_calls(level, asked, tier, choices)
    return given


def parse_changed_settings(body: Json, endpoint: Endpoint, tier: str, choices: Choices) -> Json:
    """Return the settings that a PATCH changes.

    `endpoint` already has all pending writes applied.
    """
    known = {name: _CHECKS[name] for name in _PATCH_FIELDS}
    given = _parse_settings(body, known, ("Resources",), choices)
    level = given.get("ThrottleLevel", endpoint.settings["ThrottleLevel"])
    calls = given.get("MaxConcurrentCalls")
    if calls is not None:
        given["MaxConcurrentCalls"] = _limit_calls(level, calls, tier, choices)
    elif "ThrottleLevel" in given:
        stored = endpoint.settings["MaxConcurrentCalls"]
        capped = min(stored, _LOW_MOST) if level == "Low" else stored
        given["MaxConcurrentCalls"] = _limit_calls(level, capped, tier, choices)
    return given


def _parse_settings(
    body: Json,
    known: Mapping[str, Callable[[Json], bool]],
    passed: tuple[str, ...],
    choices: Choices,
) -> Json:
    """Return the known fields of a body; refuse a wrong value. Fields in `passed` are ignored."""
    if not isinstance(body, dict):
        raise refuse_body()
    strange = [name for name in body if name not in known and name not in passed]
    if strange and choices["classic-unknown-fields"] == "reject":
        raise bad_argument(f"The request has a field that is not known: {strange[0][:60]}.")
    given = {name: value for name, value in body.items() if name in known and value is not None}
    for name, value in given.items():
        if not known[name](value):
            raise bad_argument(f"The value of {name} is not valid.")
    return given


def _limit_calls(level: str, calls: int, tier: str, choices: Choices) -> int:
    if level == "High" and tier == "free":
        raise forbid("A free workspace has endpoints of ThrottleLevel Low only.")
    most = _LOW_MOST if level == "Low" else _HIGH_MOST
    if calls <= most:
        return calls
    if level == "Low" and choices["classic-low-calls"] == "cap":
        return most
    message = f"Cannot set concurrent request requirement to more than {most}."
    raise refuse("BadArgument", "WebServiceTooManyConcurrentRequestRequirement", message)


def parse_models(body: Json, endpoint: Endpoint, now: float) -> dict[str, Json]:
    """Return the locations in a PATCH, by the name of the resource."""
    resources = body.get("Resources")
    if resources is None:
        return {}
    if not isinstance(resources, list) or not all(isinstance(one, dict) for one in resources):
        raise bad_argument("The value of Resources is not valid.")
    if resources and not endpoint.models:
        # The phrase of the help page; a reply with this phrase was never recorded.
        raise bad_argument("This Web Service has no updatable resources.")
    located = {}
    for resource in resources:
        name = resource.get("Name")
        if not isinstance(name, str) or name not in endpoint.models:
            raise bad_argument(f"No updatable resource is named '{str(name)[:200]}'.")
        if name in located:
            raise bad_argument(f"The resource '{name[:200]}' is listed twice.")
        located[name] = _parse_location(resource.get("Location"), now)
    return located


def _parse_location(location: Json, now: float) -> Json:
    if not isinstance(location, dict):
        raise bad_model("Location is missing")
    parts = {name: location.get(name) or "" for name in _LOCATION}
    if not all(isinstance(part, str) for part in parts.values()):
        raise bad_model("a part of the Location is not text")
    if not parts["BaseLocation"].casefold().startswith(("https://", "http://")):
        raise bad_model("BaseLocation is not an address")
    if not parts["RelativeLocation"].casefold().endswith(".ilearner"):
        raise bad_model("RelativeLocation does not end in .ilearner")
    _check_signature(parts["SasBlobToken"], now)
    return parts


def join_address(base: str, relative: str) -> str:
    """Return the address of a blob. Neither the join nor the start of its path doubles a slash."""
    scheme, _, rest = base.partition("://")
    host, _, path = rest.partition("/")
    parts = (path.strip("/"), relative.lstrip("/"))
    return f"{scheme}://{host}/{'/'.join(filter(None, parts))}"


def _check_signature(token: str, now: float) -> None:
    """Refuse a signature that does not permit to read the blob now."""
    query = {name: values[0] for name, values in parse_qs(token.lstrip("?")).items()}
    if not query.get("sig"):
        raise bad_model("SasBlobToken is not a signature")
    # A signature that refers to a stored policy (si) may leave the rest to it.
    if "r" not in query.get("sp", "r" if "si" in query else ""):
        raise bad_model("the signature does not permit to read")
    if not _read_time(query.get("st", ""), 0) <= now < _read_time(query.get("se", ""), now + 1):
        raise bad_model("the signature is not valid at this time")


def _read_time(text: str, default: float) -> float:
    """Return a signature's time in seconds since 1970; `default` if the text is empty."""
    if not text:
        return default
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise bad_model("the signature names no time that can be read") from error
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def bad_model(reason: str) -> Refusal:
    """Return the refusal of a model; a public report has the phrase without the reason."""
    return bad_argument(f"invalid model URL: {reason}")


def wants_overwrite(body: Json) -> bool:
    """Return whether a refresh restores the published models; a published client sends text."""
    value = body.get("OverwriteResources", False) if isinstance(body, dict) else None
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.casefold() in {"true", "false"}:
        return value.casefold() == "true"
    raise bad_argument("The value of OverwriteResources is not valid.")


def _is_text(most: int) -> Callable[[Json], bool]:
    return lambda value: isinstance(value, str) and len(value) <= most


def _is_number_of_calls(value: Json) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


_CHECKS: Final[Mapping[str, Callable[[Json], bool]]] = {
    "Description": _is_text(2000),
    "ThrottleLevel": lambda value: value in ("Low", "High"),
    "MaxConcurrentCalls": _is_number_of_calls,
    "DiagnosticsTraceLevel": lambda value: value in ("None", "Error", "All"),
    "PreventUpdate": lambda value: isinstance(value, bool),
}
_PUT_FIELDS: Final = ("Description", "ThrottleLevel", "MaxConcurrentCalls", "PreventUpdate")
_PATCH_FIELDS: Final = (
    "Description",
    "ThrottleLevel",
    "MaxConcurrentCalls",
    "DiagnosticsTraceLevel",
)

"""Brings the values that people write to the one form in which they are compared and sent.

A whole number has no fraction, a time is in UTC, and an address is in the normal form of RFC 3986.
A value that cannot be brought to its form is a fault. The loader of manifests calls this module
once for each value; all later code uses the result.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

from reconciler.document.comparers import COMPARERS
from reconciler.document.schema import UNKNOWN, Field, Shape
from reconciler.model import Finding, Json, Path
from reconciler.secrets.signatures import FORMED
from reconciler.secrets.suspicion import format_name
from reconciler.text.suggestions import describe_character

_HTTP: Final = re.compile(r"https?://", re.IGNORECASE)
# Programs disagree about any other host: one ends with a dot, one has an escape or a zone.
_LABEL: Final = r"[a-z0-9_-]{1,63}"
_HOST: Final = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")
_TIME: Final = "Write a time in UTC, such as 2030-12-31T00:00:00Z."
_BLOB: Final = (
    "Write an address such as https://ACCOUNT.blob.core.windows.net/models/NAME.ilearner."
)


# Of the names that are one name to the service; a text may hold very many.
_MOST_NAMED: Final = 10
Skip = Callable[[str], bool]


def skip_nothing(_: str) -> bool:
    """No text is skipped."""
    return False


def settle(field: Field, value: Json, skip: Skip = skip_nothing) -> Json:
    """Returns a value in its form; a value with a fault, and a text to `skip`, is left as it is.

    Unchanged parts are shared with the argument.
    """
    if not field.formed:
        return value
    if isinstance(value, dict):
        kept = {name: settle(field.child(name), below, skip) for name, below in value.items()}
        return kept if any(kept[name] is not below for name, below in value.items()) else value
    if isinstance(value, list):
        return [settle(field.child(0), item, skip) for item in value]
    return _settle_scalar(field, value, skip)


def is_settled(field: Field, value: Json) -> bool:
    """Whether a value has its form, and no fault: fast, and True is certain."""
    if field.read_only or field.secret or isinstance(value, list):
        return False
    if isinstance(value, dict):
        known = not field.properties or value.keys() <= field.properties.keys()
        below = ((field.child(name), one) for name, one in value.items())
        return (field.branches and known and not field.any_case) and all(
            is_settled(child, one) for child, one in below if child.formed or child.branches
        )
    if isinstance(value, str) and field.compare in _READERS:
        return field.compare == "blob-uri" and _is_formed(value)
    return not (isinstance(value, float) and field.whole)


def _settle_scalar(field: Field, value: Json, skip: Skip) -> Json:
    if isinstance(value, float) and field.whole and value.is_integer():
        return int(value)
    if not isinstance(value, str) or field.compare not in _READERS or skip(value):
        return value
    try:
        return _READERS[field.compare](value)
    except ValueError:
        return value


def find_faults(
    field: Field, value: Json, path: Path = (), skip: Skip = skip_nothing
) -> Iterator[tuple[Path, Finding]]:
    """Yields each value that cannot be brought to its form, with its path.

    Names of objects may have any casing; the paths have the casing of the value.
    """
    if field.read_only or field.secret:
        return  # another check refuses it
    if isinstance(value, dict) and field.branches:
        yield from _find_same_names(field, value, path)
        items = field.items or UNKNOWN
        if not (field.properties or field.patterns or items.formed or items.branches):
            return  # a map of plain values, of which there may be very many
        for name, below in value.items():
            child = field.child(field.spelling(name))
            if child.formed or child.branches:
                yield from find_faults(child, below, (*path, name), skip)
    elif isinstance(value, list) and field.shape is Shape.LIST:
        for index, item in enumerate(value):
            yield from find_faults(field.child(0), item, (*path, index), skip)
    elif field.compare in _READERS and isinstance(value, str) and not skip(value):
        try:
            _READERS[field.compare](value)
        except ValueError as error:
            name = next((str(one) for one in reversed(path) if isinstance(one, str)), "the value")
            yield path, Finding(f"{name} {error}", next_step=_STEPS[field.compare])


def _find_same_names(
    field: Field, value: Mapping[str, Json], path: Path
) -> Iterator[tuple[Path, Finding]]:
    """Yields the names that are one name to the service: property names, and keys of some maps."""
    if not (field.any_case or field.casefolded) or value.keys() <= field.properties.keys():
        return
    if len({name.casefold() for name in value}) == len(value):
        return
    groups: dict[str, list[str]] = {}
    for name in value:
        if field.any_case or name.casefold() in field.casefolded:
            groups.setdefault(name.casefold(), []).append(name)
    for names in groups.values():
        for name in names if len(names) > 1 else ():
            near = [one for one in names[: _MOST_NAMED + 1] if one != name][:_MOST_NAMED]
            others = ", ".join(format_name(one, "another") for one in near)
            yield (
                (*path, name),
                Finding(
                    f"{format_name(name, 'this name')} and {others} are one name to the service",
                    next_step="Keep one of them.",
                ),
            )


def read_time(text: str) -> str:
    """Returns a time in its form, such as `2030-12-31T00:00:00Z`; without a zone it is in UTC.

    The text of its ValueError continues the name of the field.
    """
    form = COMPARERS["instant"](text)
    if form == text:
        raise ValueError("is not a time")
    return f"{form.rstrip('.')}Z"


def read_address(text: str) -> str:
    """Returns an address in its form: the host in lower case, no usual port, the path encoded.

    A text that is not an http address, such as `aml://…`, is returned unchanged, and so is one with
    a query or a user: other checks refuse them. The text of its ValueError continues the name of
    the field.
    """
    if _is_formed(text):
        return text
    trimmed = text.strip()
    if not _HTTP.match(trimmed) or "?" in trimmed or "#" in trimmed:
        return text
    for at, character in enumerate(trimmed, 1):
        if not character.isprintable():
            raise ValueError(f"contains {describe_character(character)} at character {at}")
    try:
        parts = urlsplit(trimmed)
        port = parts.port
    except ValueError:
        raise ValueError("is not an address: its host or its port is wrong") from None
    if port == 0:
        raise ValueError("is not an address: its port is 0")
    if "@" in parts.netloc:
        return text
    check_host(parts)
    if not {".", ".."}.isdisjoint(unquote(parts.path).split("/")):
        raise ValueError("contains the segment . or .., which changes the path")
    return str(COMPARERS["blob-uri"](trimmed))


def _is_formed(text: str) -> bool:
    """Whether an address has its form already, as nearly all addresses: fast, True is certain."""
    return FORMED.fullmatch(text) is not None and "/." not in text


def check_host(parts: SplitResult) -> None:
    """Raises ValueError for a host that not every program reads as the same one.

    The text of the ValueError continues the name of the field.
    """
    host = parts.hostname or ""
    odd = next((one for one in host if not one.isascii()), "")
    if odd:
        at = host.index(odd) + 1
        raise ValueError(f"has a host with {describe_character(odd)} at character {at}")
    if not (_is_ipv6(host) if "[" in parts.netloc else _HOST.fullmatch(host)):
        raise ValueError("is not an address: its host is wrong")


def _is_ipv6(host: str) -> bool:
    """Whether a host is an address of IPv6; one with a zone means something else elsewhere."""
    import ipaddress  # noqa: PLC0415 - such a host is rare

    try:
        return not ipaddress.IPv6Address(host).scope_id
    except ValueError:
        return False


_READERS: Final[Mapping[str, Callable[[str], str]]] = {
    "blob-uri": read_address,
    "instant": read_time,
}
_STEPS: Final[Mapping[str, str]] = {"blob-uri": _BLOB, "instant": _TIME}

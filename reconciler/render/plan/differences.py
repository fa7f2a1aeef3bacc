"""Describes in a few words what differs between the members of a group in one change.

A few values are listed with the number of members that have each. If nearly every member has its
own value, the text says only that. An unusual member among a thousand is therefore visible.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, TypeAlias

from reconciler.model import ABSENT, Absent, Json, SecretReference
from reconciler.render.words.escape import cut, escape, shorten_uris, show_value
from reconciler.render.words.names import list_names
from reconciler.secrets.signatures import strip_credentials
from reconciler.text.counting import count
from reconciler.text.json_text import canonical

OWN: Final = "different for each"
_FEW: Final = 4
_MANY: Final = 3
_NAMED: Final = 2
_LONGEST: Final = 60

_Value: TypeAlias = Json | Absent


def describe_differences(
    names: Sequence[str], before: Sequence[_Value], after: Sequence[_Value]
) -> tuple[str, ...]:
    """Returns notes on the values of one change, in the order of names; empty if all are equal."""
    then, now = describe_values(names, before), describe_values(names, after)
    return now if then in (now, now[:1]) else (*now, *(f"was {one}" for one in then))


def describe_values(names: Sequence[str], values: Sequence[_Value]) -> tuple[str, ...]:
    """Returns notes on one value of each member."""
    alike = _gather(names, map(_key, values))
    if len(alike) == 1:
        return ()
    if len(alike) == len(values) and len(values) >= _MANY:
        return (OWN, *_describe_folders(names, values))
    if len(alike) <= _FEW:
        shown = {_key(value): _show(value) for value in values}
        return (_format_counts((shown[key], members) for key, members in alike.items()),)
    return (count(len(alike), "different value"), *_describe_folders(names, values))


def mark_usual(values: Sequence[_Value]) -> list[bool]:
    """Whether each value is the most frequent one; if most values differ, all are usual."""
    keys = [_key(value) for value in values]
    counted = Counter(keys)
    ((most, _),) = counted.most_common(1)
    return [len(counted) > _FEW or key == most for key in keys]


def _gather(names: Sequence[str], keys: Iterable[str]) -> dict[str, list[str]]:
    """The members with each key, the most frequent key first."""
    found: dict[str, list[str]] = {}
    for name, key in zip(names, keys, strict=True):
        found.setdefault(key, []).append(name)
    return dict(sorted(found.items(), key=lambda item: -len(item[1])))


def _key(value: _Value) -> str:
    if value is ABSENT or isinstance(value, SecretReference):
        return repr(value)
    return canonical(strip_credentials(value) if isinstance(value, str) else value)


def _show(value: _Value) -> str:
    if value is ABSENT:
        return "absent"
    if isinstance(value, SecretReference):
        return escape(cut(f"{value}, version {value.version}" if value.version else str(value)))
    return show_value(cut(strip_credentials(value), _LONGEST) if isinstance(value, str) else value)


def _format_counts(alike: Iterable[tuple[str, Sequence[str]]]) -> str:
    """`8 on 998 members, 200 on loc412`."""
    return ", ".join(
        f"{shown} on {list_names(members, _NAMED)}"
        if len(members) <= _NAMED
        else f"{shown} on {count(len(members), 'member')}"
        for shown, members in alike
    )


def _describe_folders(names: Sequence[str], values: Sequence[_Value]) -> Iterator[str]:
    """The common folders of URIs that all differ; nothing if all URIs share one folder."""
    if not all(isinstance(value, str) and "://" in value for value in values):
        return
    parts = [strip_credentials(str(value)).split("/") for value in values]
    # As deep as there are still few folders; the first three parts are scheme, "" and host.
    for depth in range(max(map(len, parts)) - 1, 2, -1):
        alike = _gather(names, (_cut_at(depth, one) for one in parts))
        if len(alike) <= _FEW:
            if len(alike) > 1:
                shown = (f'"{escape(cut(one, _LONGEST))}"' for one in shorten_uris(*alike))
                yield _format_counts(zip(shown, alike.values(), strict=True))
            return


def _cut_at(depth: int, parts: Sequence[str]) -> str:
    return "/".join([*parts[:depth], "…"] if parts[depth:] else parts)

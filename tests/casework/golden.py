"""Texts that are kept beside a case, and what is made the same in them from run to run."""

import json
import os
import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from tests.casework.case import Case
from tests.casework.stage import KEYS

Json = Any
WIDTH = 100
EXPECTED = (
    "plan.txt",
    "plan.json",
    "plan.md",
    "requests.http",
    "after.json",
    "apply.txt",
    "again.txt",
    "stderr.txt",
)
_VARYING = (
    (re.compile(r"MIIC[A-Za-z0-9+/=]{60,}"), "{cipher text}"),
    (re.compile(r"(?<=complete after )[0-9]+(?=s)"), "{seconds}"),
    (re.compile(r"(?<=plan: )sha256:[0-9a-f]{64}|(?<=changes: )sha256:[0-9a-f]{64}"), "{digest}"),
    (re.compile(r"(?<=request id )[0-9a-f-]{36}"), "{request id}"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z"), "{moment}"),
)
_VOLATILE = ("createdOn", "modifiedOn", "swaggerLocation")
_CLASSIC = (
    *("CreationTime", "HelpLocation", "PrimaryKey", "SecondaryKey", "ApiLocation"),
    *("ExperimentLocation", "Version", "WebServiceId"),
)
_DECEIVING = {"Cf", "Cs", "Zl", "Zp"}


def check(case: Case, stated: Mapping[str, str]) -> None:
    """Hold what was told against what is kept, no more and no less.

    `pytest --bless` keeps what was told.
    """
    kept = {name for name in EXPECTED if (case.folder / name).exists()}
    if os.environ.get("RECONCILER_BLESS") == "1":
        for name in kept - set(stated):
            (case.folder / name).unlink()
        for name, text in stated.items():
            (case.folder / name).write_text(text, encoding="utf-8")
        kept = set(stated)
    for name, text in stated.items():
        expected = case.folder / name
        assert text == (expected.read_text(encoding="utf-8") if expected.exists() else None), name
    assert kept == set(stated)


def mask(case: Case, text: str) -> str:
    """The text without what differs from run to run, such as ports and cipher text."""
    services = case.emulator.path("").removesuffix("/")
    classic = case.classic
    words = {
        **({f"{case.emulator.url}{classic.path}": "{web service}"} if classic else {}),
        **({classic.path: "{web service}", classic.id: "{web service id}"} if classic else {}),
        f"{case.emulator.url}{services}": "{services}",
        services: "{services}",
        case.models: "{models}",
        case.emulator.blob: "{blob}",
        case.emulator.url: "{emulator}",
        urlsplit(case.emulator.blob).netloc: "{blob host}",
        urlsplit(case.emulator.url).netloc: "{emulator host}",
    }
    for value, word in words.items():
        text = text.replace(value, word)
    for pattern, word in _VARYING:
        text = pattern.sub(word, text)
    return text


def settle(case: Case, value: Json) -> Json:
    """The value with every text in it masked."""
    return json.loads(mask(case, json.dumps(value, ensure_ascii=False)))


def dump(value: Json, indent: int = 0) -> str:
    """JSON in which what fits on a line stands on one."""
    flat = json.dumps(value, ensure_ascii=False)
    if len(flat) + indent <= WIDTH or not (isinstance(value, (dict, list)) and value):
        return _visible(flat)
    inner = " " * (indent + 2)
    if isinstance(value, dict):
        lines = [
            f"{inner}{_visible(json.dumps(name, ensure_ascii=False))}: {dump(below, indent + 2)}"
            for name, below in value.items()
        ]
        return "{\n" + ",\n".join(lines) + f"\n{' ' * indent}}}"
    return (
        "[\n"
        + ",\n".join(f"{inner}{dump(one, indent + 2)}" for one in value)
        + f"\n{' ' * indent}]"
    )


def _visible(text: str) -> str:
    r"""JSON with what hides or reverses text as `\u202e`."""
    return "".join(
        f"\\u{ord(c):04x}" if unicodedata.category(c) in _DECEIVING and ord(c) < 0x10000 else c
        for c in text
    )


def show_plan(case: Case, document: Json, known: Mapping[str, Json]) -> str:
    """The plan's document as text. `known` are documents by name; a name stands for the whole."""
    said = json.loads(json.dumps(document))
    said |= {"timestamp": "{time}", "plan_digest": "{digest}", "changes_digest": "{digest}"}
    for kind in ("files", "schemas"):
        said["inputs"][kind] = dict.fromkeys(said["inputs"][kind], "{digest}")
    return dump(settle(case, _name(said, known))) + "\n"


def _name(value: Json, known: Mapping[str, Json]) -> Json:
    if not isinstance(value, (dict, list)) or not value:
        return value
    for name, document in known.items():
        if value == document:
            return name
    if isinstance(value, list):
        return [_name(item, known) for item in value]
    return {name: _name(below, known) for name, below in value.items()}


def show_after(case: Case, before: Mapping[str, Json], after: Mapping[str, Json]) -> str:
    """What differs between two states of a group, as text."""
    stated: dict[str, Json] = {}
    for name in sorted({*before, *after}):
        if name not in after:
            stated[name] = "is gone"
        elif name not in before:
            stated[name] = {"is new": _steady(case, after[name])}
        elif differences := dict(_compare(case, before[name], after[name])):
            stated[name] = differences
    return dump(stated) + "\n"


def _compare(case: Case, before: Json, after: Json) -> Iterator[tuple[str, Json]]:
    one, other = (_find_maker(side) for side in (before, after))
    if one != other:
        yield "is made anew", True
    yield from _differ("", _steady(case, before), _steady(case, after))


def _find_maker(document: Json) -> Json:
    """What is another one once it is made anew."""
    return document.get("ApiLocation") or document["properties"].get("swaggerLocation")


def _differ(pointer: str, before: Json, after: Json) -> Iterator[tuple[str, Json]]:
    if before == after:
        return
    if not (isinstance(before, dict) and isinstance(after, dict)):
        yield f"~ {pointer}", [before, after]
        return
    for name in sorted({*before, *after}):
        below = f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}"
        if name not in after:
            yield f"- {below}", before[name]
        elif name not in before:
            yield f"+ {below}", after[name]
        else:
            yield from _differ(below, before[name], after[name])


def _steady(case: Case, document: Json) -> Json:
    """A live definition without what differs at every run, or only with the emulator's mood."""
    said = settle(case, document)
    if "properties" not in said:
        return {name: value for name, value in said.items() if name not in _CLASSIC}
    properties = said["properties"]
    for name in _VOLATILE:
        properties.pop(name, None)
    if not properties.get("parameters"):
        # Recorded: an empty map vanishes with the first update that does not send it.
        properties.pop("parameters", None)
    given = {*KEYS.values(), *case.script.env.values(), *map(str.strip, case.files.values())}
    for name, key in said["listKeys"].items():
        said["listKeys"][name] = key if key in given else "{made by the service}"
    return said

"""Fleets from strange hands: manifest, template, items. What is wrong is told, with where."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.hostile import TEXTS, bent, encode, pick, renamed, spoiled, torn
from tests.hostile_project import NEW, World, run_world
from tests.laws import examples

pytestmark = pytest.mark.property
Json = Any
FLEET, ROWS = "manifests/bikes.yaml", "manifests/bikes.csv"
SPEC: Json = {
    "items": {"csv": "bikes.csv"},
    "waves": [1, "50%", "100%"],
    "pause": "1s",
    "maxFailures": 1,
    "template": {
        "kind": "WebService",
        "metadata": {"name": "loc${code}", "labels": {"city": "${city}"}},
        "spec": {
            "trainedModels": {"Income": {"uri": NEW, "sas": {"env": "SAS"}}},
            "definition": {
                "tags": {"${code}": "$${${city}}"},
                "properties": {"realtimeConfiguration": {"maxConcurrentCalls": "${calls}"}},
            },
            "secrets": {"/properties/keys/primary": {"file": "${code}.key"}},
        },
    },
    "overrides": {"loc002": {"definition": {"tags": {"of": "its own"}}}},
}
DOCUMENT: Json = {
    "apiVersion": "reconciler/v1",
    "kind": "Fleet",
    "metadata": {"name": "bikes"},
    "spec": SPEC,
}
ITEMS = [{"code": f"00{number}", "city": "Enschede", "calls": number} for number in (1, 2, 3)]
LISTED = {**DOCUMENT, "spec": {**SPEC, "items": {"list": ITEMS}}}
CSV = "code,city,calls\n001,Enschede,4\n002,Deventer,5\n003,Zwolle,6\n"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A project of one fleet, that is valid as it stands."""
    with run_world(tmp_path_factory.mktemp("outer")) as world:
        for file in (world.folder / "manifests").iterdir():
            file.unlink()
        write(world, encode(DOCUMENT), CSV.encode())
        ran = world.run("validate")
        assert "with 3 members of 1 fleet" in ran.out, ran.said
        yield world


def write(world: World, document: bytes, rows: bytes) -> None:
    for name, data in ((FLEET, document), (ROWS, rows)):
        (world.folder / name).write_bytes(world.place(data))


def crooked(document: Json) -> st.SearchStrategy[bytes]:
    given = st.one_of(bent(document), bent(document, most=1), spoiled(document), renamed(document))
    return st.one_of(given.map(encode), torn(yaml.dump(document).encode()))


def rows() -> st.SearchStrategy[bytes]:
    """Tables that a program may write, and files that none does."""
    cells = st.one_of(TEXTS, pick(["001", "=1+1", '"', ",", "${code}", " "]))
    table = st.lists(st.lists(cells, min_size=3, max_size=3), min_size=1, max_size=4)
    written = table.map(lambda them: "\n".join([HEADER, *map(_join, them)]))
    return st.one_of(written.map(lambda text: text.encode("utf-8", "replace")), torn(CSV.encode()))


def _join(cells: list[str]) -> str:
    return ",".join('"' + cell.replace('"', '""') + '"' for cell in cells)


HEADER = "code,city,calls"
USES = [
    ["validate"],
    ["validate", "--json"],
    ["plan", "--refresh", "full", "--out", "saved.plan"],
    ["drift", "--unmanaged"],
]


@pytest.mark.parametrize("document", [DOCUMENT, LISTED], ids=["csv", "list"])
@given(data=st.data())
@examples(50)
def test_a_fleet_is_planned_or_what_is_wrong_is_told(
    fleet: World, document: Json, data: st.DataObject
) -> None:
    use, text = data.draw(pick(USES)), data.draw(crooked(document))
    write(fleet, text, CSV.encode())
    fleet.play({})
    fleet.check_run(fleet.run(*use))


@given(data=st.data())
@examples(80)
def test_items_are_taken_or_what_is_wrong_is_told(fleet: World, data: st.DataObject) -> None:
    use, text = data.draw(pick(USES)), data.draw(rows())
    write(fleet, encode(DOCUMENT), text)
    fleet.play({})
    fleet.check_run(fleet.run(*use))


# What lies outside the project, however an item leads there.


@pytest.mark.parametrize(
    "name", ["../../x.csv", "/etc/passwd", "a\0b", "x" * 5000, ".", "link.csv"]
)
def test_items_come_from_inside_the_project(fleet: World, name: str) -> None:
    link = fleet.folder / "manifests" / "link.csv"
    link.unlink(missing_ok=True)
    link.symlink_to("/etc/passwd")
    spec = {**SPEC, "items": {"csv": name}}
    write(fleet, encode({**DOCUMENT, "spec": spec}), CSV.encode())
    ran = fleet.run("validate")
    fleet.check_run(ran)
    link.unlink()
    assert ran.code == 1
    assert "root:" not in ran.said


@pytest.mark.parametrize("cell", ["../../x", "/etc/passwd", "a/../../../b", "x" * 5000])
def test_no_item_names_a_file_outside_the_project(fleet: World, cell: str) -> None:
    spec = yaml.safe_load(yaml.dump(SPEC))
    spec["template"]["metadata"]["name"] = "loc${calls}"
    spec["template"]["spec"]["definition"] = {"file": "${code}"}
    spec["template"]["spec"]["secrets"] = {"/properties/keys/primary": {"file": "${code}"}}
    spec["overrides"] = {}
    write(fleet, encode({**DOCUMENT, "spec": spec}), f"code,calls,city\n{cell},4,b\n".encode())
    ran = fleet.run("validate")
    fleet.check_run(ran)
    assert ran.code == 1


# What grows faster than its cause.

# 20,000 show how the time grows; fewer show that each is refused, and what is said of it.
MANY = [pytest.param(20_000, marks=pytest.mark.slow), 4_000]


def growing(**changed: Json) -> bytes:
    """The fleet with something else in its template's spec."""
    template = {**SPEC["template"], "spec": changed}
    return encode({**DOCUMENT, "spec": {**SPEC, "template": template, "overrides": {}}})


def spec_with(**changed: Json) -> bytes:
    return encode({**DOCUMENT, "spec": {**SPEC, **changed}})


def _keys(many: int, text: str, value: Json) -> dict[str, Json]:
    return {text.replace("#", str(number)): value for number in range(many)}


GROWING: dict[str, Callable[[int], bytes]] = {
    "fields": lambda many: growing(**_keys(many, "k#", 1)),
    "variables": lambda many: growing(definition={"tags": _keys(many, "k#", "${none}")}),
    "tags": lambda many: growing(definition={"tags": _keys(many, "k#", ["${code}"])}),
    "tag names": lambda many: growing(definition={"tags": _keys(many, "k#${code}", 1)}),
    "secrets": lambda many: growing(secrets=_keys(many, "/k#", {"env": "X"})),
    "secrets of each": lambda many: growing(secrets=_keys(many, "/k#/${code}", {"env": "X"})),
    "files of each": lambda many: growing(secrets=_keys(many, "/k#", {"file": "../../../${code}"})),
    "overrides": lambda many: spec_with(overrides=_keys(many, "loc#", {"tags": {}})),
    "waves": lambda many: spec_with(waves=[1] * many),
    "unlike items": lambda many: spec_with(
        items={"list": [{f"k{number}": 1} for number in range(many)]}
    ),
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("many", MANY)
@pytest.mark.parametrize("name", GROWING)
def test_a_large_fleet_is_refused_while_one_waits(fleet: World, name: str, many: int) -> None:
    rows = "".join(f"{number},Enschede,4\n" for number in range(200))
    write(fleet, GROWING[name](many), f"{HEADER}\n{rows}".encode())
    ran = fleet.run("validate")
    fleet.check_run(ran)
    assert ran.code == 1
    assert len(ran.err) < 2_000_000

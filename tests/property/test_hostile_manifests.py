"""Manifests, project files and definitions from strange hands: what is wrong is told, with where."""

import json
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from reconciler.cli.emulator_files import read_faults
from reconciler.errors import ManifestInvalid, ReconcilerError
from tests.hostile import bent, encode, pick, renamed, spoiled, torn
from tests.hostile_project import World
from tests.laws import examples

pytestmark = pytest.mark.property
Json = Any
PROJECT, MANIFEST = "reconciler.yaml", "manifests/census.yaml"
DEFINITION = "manifests/census.definition.json"


def write_yaml(document: Json) -> bytes:
    """YAML as its writer writes it: any text, any nesting that it takes, aliases."""
    try:
        text = yaml.dump(document, Dumper=yaml.CDumper, allow_unicode=True, sort_keys=False)
    except (RecursionError, UnicodeEncodeError):
        return encode(document)
    return text.encode("utf-8", "surrogatepass")


@pytest.fixture(scope="module")
def usual(world: World) -> dict[str, bytes]:
    """The files as they are, with a word of everything that people can say in them."""
    files = {name: (world.folder / name).read_bytes() for name in (PROJECT, DEFINITION)}
    project = yaml.safe_load(files[PROJECT])
    project["spec"]["moved"] = [{"from": "WebService/a", "to": "WebService/b"}]
    project["spec"]["guards"] = {"maxDeletes": 1, "maxUpdates": "30%", "blobs": "skip"}
    project["spec"]["ledger"] = {"path": ".reconciler"}
    manifest = yaml.safe_load((world.folder / MANIFEST).read_bytes())
    manifest["metadata"]["labels"] = {"team": "growth"}
    manifest["spec"] |= {
        "resource": {"name": "census"},
        "ownership": "declared",
        "wave": 3,
    }
    for model in manifest["spec"]["trainedModels"].values():
        model |= {"sha256": "a" * 64, "sas": {"env": "SAS"}}
    return {**files, PROJECT: write_yaml(project), MANIFEST: write_yaml(manifest)}


def texts(usual: bytes) -> st.SearchStrategy[bytes]:
    document = yaml.safe_load(usual)
    crooked = st.one_of(
        bent(document), bent(document, most=1), spoiled(document), renamed(document)
    )
    write: list[Callable[[Json], bytes]] = [write_yaml, encode]
    written = st.builds(lambda how, said: how(said), pick(write), crooked)
    return st.one_of(written, torn(usual))


def put(world: World, usual: dict[str, bytes], name: str, data: bytes) -> None:
    for other, said in usual.items():
        (world.folder / other).write_bytes(said)
    (world.folder / name).write_bytes(world.place(data))


@given(data=st.data())
@examples(50)
def test_a_project_is_valid_or_what_is_wrong_is_told(
    world: World, usual: dict[str, bytes], data: st.DataObject
) -> None:
    put(world, usual, PROJECT, data.draw(texts(usual[PROJECT])))
    flags = data.draw(pick([[], ["--json"]]))
    ran = world.run("validate", *flags)
    world.check_run(ran)
    if flags and ran.out:
        json.loads(ran.out, parse_constant=pytest.fail)


USES = [
    ["validate"],
    ["validate", "--json"],
    ["plan", "--refresh", "full", "--out", "saved.plan"],
    ["plan", "--refresh", "full", "--format", "json"],
    ["drift", "--unmanaged"],
    ["drift", "--accept", "WebService/census"],
]


@pytest.mark.parametrize("name", [MANIFEST, DEFINITION])
@given(data=st.data())
@examples(50)
def test_a_manifest_is_planned_or_what_is_wrong_is_told(
    world: World, usual: dict[str, bytes], name: str, data: st.DataObject
) -> None:
    use, text = data.draw(pick(USES)), data.draw(texts(usual[name]))
    put(world, usual, name, text)
    world.play({})
    world.check_run(world.run(*use))


FAULTS = [
    {"match": {"method": "GET", "path": "webServices/.*"}, "do": "throttle", "times": 2},
    {"do": "slow", "rate": 0.5, "seconds": 1},
    {"do": "error", "status": 503},
]


@given(data=st.data())
@examples(50)
def test_faults_are_read_or_what_is_wrong_is_told(world: World, data: st.DataObject) -> None:
    crooked = st.one_of(bent(FAULTS), spoiled(FAULTS)).map(write_yaml)
    file = world.folder / "faults.yaml"
    file.write_bytes(data.draw(st.one_of(crooked, torn(write_yaml(FAULTS)))))
    with suppress(ReconcilerError):
        assert all(fault.do for fault in read_faults(file))
    file.unlink()


def test_a_fault_with_a_name_like_a_secret_is_refused_at_its_line(tmp_path: Path) -> None:
    file = tmp_path / "faults.yaml"
    secret = f"AccountKey={'Q' * 86}=="
    file.write_text(
        f"- {{match: {{}}, do: slow, seconds: 1}}\n- match: {{}}\n  do: throttle\n  '{secret}': 2\n"
    )
    with pytest.raises(ManifestInvalid) as raised:
        read_faults(file)
    findings = raised.value.findings()
    assert {one.place.line for one in findings if one.place is not None} == {2, 4}
    assert secret not in str(findings)


# What grows faster than its cause.

HEAD = "apiVersion: reconciler/v1\nkind: WebService\nmetadata: {name: census}\nspec:\n"
MANY = 20_000
GROWING = {
    "fields": HEAD + "".join(f"  k{n}: 1\n" for n in range(MANY)),
    "tags": HEAD
    + "  definition:\n    tags:\n"
    + "".join(f"      k{n}: [1]\n" for n in range(MANY)),
    "secrets": HEAD + "  secrets:\n" + "".join(f"    /k{n}: {{env: X}}\n" for n in range(MANY)),
    "twice": HEAD + "  k: 1\n" * MANY,
    "words": HEAD + "  definition: {tags: {" + ", ".join(f"k{n}: no" for n in range(MANY)) + "}}\n",
    "brackets": "[" * 1_000_000,
    "documents": "---\n1\n" * MANY,
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", GROWING)
def test_a_large_file_is_refused_while_one_waits(
    world: World, usual: dict[str, bytes], name: str
) -> None:
    put(world, usual, MANIFEST, GROWING[name].encode())
    ran = world.run("validate")
    world.check_run(ran)
    assert ran.code == 1


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("{name: 'census\n\n'}", "name does not match the required pattern"),
        ("{name: ../census}", "name does not match the required pattern"),
    ],
)
def test_a_name_is_a_name_to_its_last_character(
    world: World, usual: dict[str, bytes], said: str, message: str
) -> None:
    text = HEAD.replace("{name: census}", said) + "  definition: {tags: {a: b}}\n"
    put(world, usual, MANIFEST, text.encode())
    ran = world.run("validate")
    world.check_run(ran)
    assert message in ran.said


@pytest.mark.parametrize("path", ["../outside", "/outside", "a/../../b", "a\0b"])
def test_the_ledger_stays_in_the_project(world: World, usual: dict[str, bytes], path: str) -> None:
    project = yaml.safe_load(usual[PROJECT])
    project["spec"]["ledger"] = {"path": path}
    put(world, usual, PROJECT, write_yaml(project))
    for use in (["validate"], ["apply", "--auto-approve"]):
        ran = world.run(*use)
        world.check_run(ran)
        fault = "holds the character NUL" if "\0" in path else "is outside the project's folder"
        assert re.search(f"the ledger's folder {fault}", ran.said)
        assert "reconciler.yaml line" in ran.said


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"tags": {"a": NaN}}', "cannot be sent: it holds NaN"),
        ('{"tags": {"a": 1e999}}', "cannot be sent: it holds a number that is too large"),
        ('{"tags": {"a": "\\ud800"}}', "cannot be sent: it contains half of a surrogate pair"),
        ('{"properties": ' + '{"a": ' * 500 + "1" + "}" * 501, "nested more than 64 levels deep"),
    ],
)
def test_a_definition_that_cannot_be_sent(
    world: World, usual: dict[str, bytes], text: str, message: str
) -> None:
    put(world, usual, DEFINITION, text.encode())
    ran = world.run("plan")
    world.check_run(ran)
    assert message in ran.err
    assert f"on {DEFINITION} line 1" in ran.err


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", "../../outside.json", "/dev/zero", "."])
def test_a_definition_file_of_a_strange_name(
    world: World, usual: dict[str, bytes], name: str
) -> None:
    manifest = yaml.safe_load(usual[MANIFEST])
    manifest["spec"]["definition"] = {"file": name}
    put(world, usual, MANIFEST, write_yaml(manifest))
    ran = world.run("validate")
    world.check_run(ran)
    assert ran.code == 1
    assert Path(world.folder).exists()

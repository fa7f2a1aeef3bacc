"""Values of a manifest that a JSON file may hold: `x-file` of a manifest schema."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from reconciler.document.pointers import find
from reconciler.kinds.base import BaseKind
from reconciler.manifests.loading import Loaded, load
from reconciler.model import Json, SecretReference
from reconciler.package_data import read_schema

PROJECT = "apiVersion: reconciler/v1\nkind: Project\nmetadata: {name: p}\nspec: {cloud: emulator}\n"
SCHEMA = "manifest/sampled"
MANIFEST: Json = {
    "type": "object",
    "properties": {
        "apiVersion": {"const": "reconciler/v1"},
        "kind": {"const": "Sampled"},
        "metadata": {"type": "object"},
        "spec": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "token": {"type": "object"},
                "probe": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        "request": {"x-opaque": True, "x-file": "json"},
                        "expect": {"x-opaque": True, "x-file": "json"},
                        "count": {"type": "integer"},
                    },
                },
            },
        },
    },
}


class Sampled(BaseKind):
    """A kind whose manifests may name a file for two of their values; nothing is sent for it."""

    name = "Sampled"
    manifest_schema_name = SCHEMA


KINDS: Mapping[str, Any] = {"Sampled": Sampled()}


@pytest.fixture(autouse=True)
def _schema(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(name: str) -> Json:
        return MANIFEST if name == SCHEMA else read_schema(name)

    monkeypatch.setattr("reconciler.manifests.definition.read_schema", read)
    monkeypatch.setattr("reconciler.manifests.schema.read_schema", read)


def load_project(folder: Path, probe: str, **files: str | bytes) -> Loaded:
    (folder / "reconciler.yaml").write_text(PROJECT)
    head = "apiVersion: reconciler/v1\nkind: Sampled\nmetadata: {name: a}\n"
    (folder / "a.yaml").write_text(f"{head}spec:\n  probe: {probe}\n")
    for name, text in files.items():
        data = text if isinstance(text, bytes) else text.encode()
        (folder / f"{name}.json").write_bytes(data)
    return load(folder, None, [], KINDS)


def probe_of(loaded: Loaded) -> Json:
    assert loaded.findings == ()
    return loaded.manifests[0].spec["probe"]


def list_findings(loaded: Loaded) -> list[str]:
    return [f"{one.place}: {one.message}" for one in loaded.findings]


def test_a_named_file_takes_the_place_of_its_name(tmp_path: Path) -> None:
    probe = "{request: sample.json, expect: golden.json, count: 3}"
    loaded = load_project(tmp_path, probe, sample='{"data": [[1, 2.5]]}', golden="[0.25]")
    assert probe_of(loaded) == {"request": {"data": [[1, 2.5]]}, "expect": [0.25], "count": 3}
    assert {"sample.json", "golden.json"} <= loaded.files.keys()
    manifest = loaded.manifests[0]
    assert manifest.place("/spec/probe/request/data").file == "sample.json"
    assert str(manifest.place("/spec/probe/request")) == "a.yaml:5:11"


def test_a_value_may_be_in_the_manifest(tmp_path: Path) -> None:
    loaded = load_project(tmp_path, "{request: {data: [[1]]}, expect: [0.5]}")
    assert probe_of(loaded) == {"request": {"data": [[1]]}, "expect": [0.5]}


@pytest.mark.parametrize("inside", [{"env": "TOKEN"}, {"file": "x"}, {"a": {"version": "2"}}])
def test_nothing_in_such_a_value_is_a_reference_to_a_secret(tmp_path: Path, inside: Json) -> None:
    loaded = load_project(tmp_path, "{request: sample.json}", sample=json.dumps(inside))
    assert find(probe_of(loaded), ("request",)) == inside
    loaded = load_project(tmp_path, f"{{request: {json.dumps(inside)}}}\n  token: {{env: T}}")
    assert find(probe_of(loaded), ("request",)) == inside
    assert loaded.secrets == (SecretReference(env="T"),)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"data": [1,\n  2', "sample.json:2:4: is not JSON"),
        ("data: [1]", "sample.json:1:1: is not JSON"),
        ("", "sample.json:1:1: is not JSON"),
        (b"\xff\xfe", "a.yaml:5:11: is not text in UTF-8"),
        ('{"a": 1, "a": 2}', 'sample.json:1:10: duplicate key "a"'),
        (
            '{"a": "AccountKey=ABCDEFGH1234567+"}',
            "sample.json:1:7: holds what looks like a key or a shared access signature",
        ),
        (" " * 2_000_000, "a.yaml:5:11: is 2 MB, and at most 1 MB are read"),
        ("[" * 10_000, "sample.json:1:1: cannot be sent: it is nested more than 64 levels deep"),
    ],
    ids=range(8),
)
def test_a_file_that_cannot_be_used_is_a_finding(
    tmp_path: Path, text: str | bytes, said: str
) -> None:
    loaded = load_project(tmp_path, "{request: sample.json, expect: [1]}", sample=text)
    assert list_findings(loaded) == [said]
    assert loaded.manifests == ()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gone.json", "the file gone.json does not exist"),
        ("../gone.json", "the file of request is outside the project's folder"),
        ("/etc/hostname", "the file of request is outside the project's folder"),
        ('"a\\0.json"', "the name of the file of request holds the character NUL, which no name"),
    ],
)
def test_a_name_that_leads_nowhere_is_a_finding(tmp_path: Path, name: str, said: str) -> None:
    found = list_findings(load_project(tmp_path, f"{{request: {name}}}"))
    assert len(found) == 1
    assert found[0].startswith(f"a.yaml:5:11: {said}")


FLEET = """\
apiVersion: reconciler/v1
kind: Fleet
metadata: {name: f}
spec:
  items: {list: [{n: a}, {n: b}]}
  template:
    kind: Sampled
    metadata: {name: '${n}'}
    spec: {probe: {request: NAME}}
"""


def load_fleet(folder: Path, name: str, **files: str) -> Loaded:
    load_project(folder, "{}", **files)
    (folder / "a.yaml").write_text(FLEET.replace("NAME", name))
    return load(folder, None, [], KINDS)


def test_the_members_of_a_fleet_may_share_the_file(tmp_path: Path) -> None:
    loaded = load_fleet(tmp_path, "sample.json", sample='{"data": [[1]]}')
    assert loaded.findings == ()
    assert [one.spec["probe"] for one in loaded.manifests] == [{"request": {"data": [[1]]}}] * 2


def test_each_member_of_a_fleet_may_have_a_file_of_its_own(tmp_path: Path) -> None:
    loaded = load_fleet(tmp_path, "'${n}1.json'", a1="[1]", b1="[2]")
    assert loaded.findings == ()
    assert [one.spec["probe"]["request"] for one in loaded.manifests] == [[1], [2]]
    assert {"a1.json", "b1.json"} <= loaded.files.keys()


def test_a_file_of_a_member_that_cannot_be_used_is_a_finding(tmp_path: Path) -> None:
    loaded = load_fleet(tmp_path, "'${n}1.json'", a1="[1")
    assert sorted(list_findings(loaded)) == [
        "a.yaml:9:20: the file b1.json does not exist",
        "a1.json:1:3: is not JSON",
    ]
    assert [one.subject for one in loaded.findings] == ["Sampled/b", "Sampled/a"]

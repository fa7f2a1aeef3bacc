"""What people write, read strictly: every refusal, its place, all in one run."""

from pathlib import Path

import pytest

from reconciler.kinds.web_service import KIND
from reconciler.manifests import Loaded, load
from reconciler.manifests.definition_files import DefinitionFiles
from reconciler.manifests.folder import Folder
from reconciler.manifests.yaml_text import Text
from reconciler.model import SourceLocation

PROJECT = "apiVersion: reconciler/v1\nkind: Project\nmetadata: {name: p}\nspec:\n"
SERVICE = "apiVersion: reconciler/v1\nkind: WebService\nmetadata: {name: census}\nspec:\n"
KINDS = {"WebService": KIND}


def read(folder: Path, project: str = "  cloud: emulator\n", **files: str) -> Loaded:
    """A project with manifests by name; `_` stands for a dot."""
    (folder / "manifests").mkdir(exist_ok=True)
    (folder / "reconciler.yaml").write_text(PROJECT + project)
    for name, text in files.items():
        (folder / "manifests" / name.replace("_", ".")).write_text(text)
    return load(folder, None, [], KINDS)


def found(loaded: Loaded) -> list[tuple[str, str]]:
    return [
        (f"{one.place.line}:{one.place.column}" if one.place else "", one.message)
        for one in loaded.findings
    ]


def test_a_manifest_keeps_the_place_of_everything(tmp_path: Path) -> None:
    text = (
        SERVICE
        + "  trainedModels:\n    A/b~c:\n      uri: https://a/b/c\n  definition: {tags: {x: y}}\n"
    )
    loaded = read(tmp_path, census_yaml=text)
    assert loaded.findings == ()
    (manifest,) = loaded.manifests
    assert str(manifest.address) == "WebService/census"
    assert str(manifest.place("/spec/trainedModels/A~1b~0c/uri")) == "manifests/census.yaml:7:7"
    assert str(manifest.place("/spec/definition/tags/x")) == "manifests/census.yaml:8:23"
    assert str(manifest.place("/spec/trainedModels/A~1b~0c/uri/deeper")).endswith(":7:7")
    assert set(loaded.files) == {"reconciler.yaml", "manifests/census.yaml"}


@pytest.mark.parametrize(
    ("line", "place", "message"),
    [
        ("  definition: {tags: {a: no}}", "5:26", '"no" would be read as true or false'),
        ("  definition: {tags: {a: Yes}}", "5:26", '"Yes" would be read as true or false'),
        ("  definition: {tags: {a: 012}}", "5:26", '"012" would be read as a number'),
        ("  definition: {tags: {a: 0x1F}}", "5:26", '"0x1F" would be read as a number'),
        ("  definition: {tags: {a: 1_000}}", "5:26", '"1_000" would be read as a number'),
        ("  definition: {tags: {a: 12:30:45}}", "5:26", '"12:30:45" would be read as a number'),
        ("  definition: {tags: {a: 2026-11-20}}", "5:26", '"2026-11-20" would be read as a date'),
        ("  definition: {tags: {a: .inf}}", "5:26", '".inf" would be read as a number'),
        ("  definition: {tags: {a: !secret x}}", "5:26", "the tag !secret is not supported"),
        ("  definition: {tags: {a: !!python/name:os.system x}}", "5:26", "the tag !!python/name:"),
        ("  definition: {tags: {<<: {a: b}}}", "5:23", "merge keys (<<) are not supported"),
        ("  definition: {tags: {1: b}}", "5:23", "a key must be text, and YAML reads this one"),
        ("  definition: {tags: {[a]: b}}", "5:23", "a key must be text"),
        ("  definition: {tags: {a: 1, a: 2}}", "5:29", 'duplicate key "a"'),
        ("  definition: {tags: {a: 1}}", "5:23", "a must be text"),
        ("  definition: {id: x}", "5:16", "id is owned by the service and cannot be declared"),
        (
            "  definition: {properties: {createdOn: 'x'}}",
            "5:29",
            "createdOn is owned by the service",
        ),
        ("  definition: {file: gone.json}", "5:16", "the file gone.json does not exist"),
        ("  definition: {file: ../../etc/passwd}", "5:16", "is outside the project's folder"),
        ("  definition: [x]", "5:3", "definition must be a mapping"),
        ("  secrets: {/properties/keys/primry: {env: A}}", "5:13", "no secret at this pointer"),
        ("  secrets: {/properties/title: {env: A}}", "5:13", "no secret at this pointer"),
        ("  secrets: {/properties/keys/primary: {}}", "5:13", "needs exactly one of env or file"),
        ("  secrets: {/properties/keys/primary: {env: A, file: b}}", "5:13", "exactly one of"),
        (
            "  secrets: {/properties/keys/primary: {env: 'a b'}}",
            "5:40",
            "env does not match the required pattern",
        ),
        ("  secrets: {/properties/keys/primary: {file: ../../x}}", "5:40", "outside the project"),
        ('  definition: {file: "a\\0b.json"}', "5:16", "definition file holds the character NUL"),
        (
            '  secrets: {/properties/keys/primary: {file: "a\\0"}}',
            "5:40",
            "the name of the secret's file holds the character NUL",
        ),
        (
            "  trainedModels: {A: {uri: 'ftp://a'}}",
            "5:23",
            "uri does not match the required pattern",
        ),
        (
            "  trainedModels: {A: {uri: 'https://a/b?c'}}",
            "5:23",
            "uri does not match the required pattern",
        ),
        ("  trainedModels: {A: {}}", "5:19", "A lacks uri"),
        (
            "  trainedModels: {A: {uri: 'https://a/b', sha256: abc}}",
            "5:43",
            "sha256 does not match the required pattern",
        ),
        ("  definition: {from: {}}", "5:16", "needs exactly one of address or resource"),
        (
            "  definition: {from: {address: WebService/a, resource: {name: a}}}",
            "5:16",
            "needs exactly one of address or resource",
        ),
        ("  definition: {from: WebService/a}", "5:16", "from must be a mapping"),
        (
            "  definition: {from: {address: a}}",
            "5:23",
            "address does not match the required pattern",
        ),
        (
            "  definition: {from: {address: Endpoint/a}}",
            "5:23",
            "address does not match the required pattern",
        ),
        ("  definition: {from: {adress: a}}", "5:23", 'unknown field "adress"'),
        ("  definition: {from: {resource: {}}}", "5:23", "resource lacks name"),
        (
            "  definition: {from: {resource: {name: a/b}}}",
            "5:34",
            "name does not match the required pattern",
        ),
        (
            "  definition: {from: {address: WebService/a}, file: x}",
            "5:47",
            'unknown field "file"',
        ),
        (
            "  definition: {from: {address: WebService/a}, propertys: {}}",
            "5:47",
            'unknown field "propertys"',
        ),
        (
            "  definition: {from: {resource: {name: a}}, properties: {keys: {primary: x}}}",
            "5:65",
            "is a secret, and its value is in plain text here",
        ),
        (
            "  definition: {from: {resource: {name: a}}, tags: {account_key: planted-1234}}",
            "5:52",
            "account_key has the name of a secret, and its value is in plain text here",
        ),
        ("  ownership: mine", "5:3", "ownership must be declared or exact"),
        ("  resource: {name: a/b}", "5:14", "name does not match the required pattern"),
        ("  resurce: {name: a}", "5:3", 'unknown field "resurce"'),
        ("  definition: {tags: {a: &a [*a]}}", "5:26", "is nested more than 64 levels deep"),
    ],
)
def test_each_refusal_has_its_place(tmp_path: Path, line: str, place: str, message: str) -> None:
    loaded = read(tmp_path, census_yaml=SERVICE + line + "\n")
    assert loaded.manifests == ()
    places = [at for at, said in found(loaded) if message in said]
    assert places, loaded.findings
    assert places[0] == place


OTHER = SERVICE.replace("name: census", "name: west")
FROM = "  definition: {from: {address: WebService/census}, tags: {a: b}}\n"


def test_a_service_may_start_from_one_that_a_manifest_declares(tmp_path: Path) -> None:
    loaded = read(tmp_path, census_yaml=SERVICE + "  definition: {}\n", west_yaml=OTHER + FROM)
    assert loaded.findings == ()
    west = loaded.manifests[1]
    assert west.spec["definition"] == {
        "from": {"address": "WebService/census"},
        "tags": {"a": "b"},
    }
    assert str(west.place("/spec/definition/from/address")) == "manifests/west.yaml:5:23"


@pytest.mark.parametrize(
    ("address", "message", "hint"),
    [
        ("WebService/west", "starts from itself", "Name the resource that it is created from."),
        (
            "WebService/censu",
            "starts from WebService/censu, which no manifest declares",
            "Did you mean WebService/census?",
        ),
        (
            "WebService/x",
            "starts from WebService/x, which no manifest declares",
            "Name the service: from: {resource: …}",
        ),
    ],
)
def test_a_source_that_cannot_be_is_found_with_its_place(
    tmp_path: Path, address: str, message: str, hint: str
) -> None:
    west = OTHER + FROM.replace("WebService/census", address)
    loaded = read(tmp_path, census_yaml=SERVICE + "  definition: {}\n", west_yaml=west)
    (finding,) = loaded.findings
    assert (finding.message, finding.next_step) == (message, hint)
    assert (finding.subject, str(finding.place)) == ("WebService/west", "manifests/west.yaml:5:23")


def test_a_source_whose_own_manifest_has_errors_or_is_not_read_is_no_second_error(
    tmp_path: Path,
) -> None:
    broken = SERVICE + "  definitoin: {}\n"
    loaded = read(tmp_path, census_yaml=broken, west_yaml=OTHER + FROM)
    assert [one.message for one in loaded.findings] == ['unknown field "definitoin"']
    alone = load(tmp_path, None, [tmp_path / "manifests" / "west.yaml"], KINDS)
    assert alone.findings == ()


@pytest.mark.parametrize(
    "text",
    ["a: [", "a: {", "a: 'x", "\x07", "- x\n y: z", "a: b: c", "%TAG x\n---\n", "&a", "*nobody"],
)
def test_what_is_no_yaml_is_said_once_and_never_raised(tmp_path: Path, text: str) -> None:
    loaded = read(tmp_path, census_yaml=text)
    assert loaded.manifests == ()
    assert len(loaded.findings) >= 1
    assert all(one.place for one in loaded.findings if "YAML" in one.message)


def test_quoted_surprises_are_text(tmp_path: Path) -> None:
    values = "{a: 'no', b: '012', c: '2026-11-20', d: '12:30:45', e: '~', f: 'null', g: 'y'}"
    loaded = read(tmp_path, census_yaml=SERVICE + f"  definition: {{tags: {values}}}\n")
    assert loaded.findings == ()
    assert loaded.manifests[0].spec["definition"]["tags"]["a"] == "no"


def test_deep_nesting_is_no_crash(tmp_path: Path) -> None:
    loaded = read(tmp_path, census_yaml=SERVICE + "  definition: " + "[" * 5000 + "]" * 5000)
    assert any("deep" in said for _, said in found(loaded))


def test_definition_files_are_json_or_yaml_and_have_places(tmp_path: Path) -> None:
    (tmp_path / "manifests").mkdir()
    (tmp_path / "manifests" / "d.json").write_text(
        '{"properties": {\n\t"title": "\\ud83d\\ude00"}}'
    )
    loaded = read(tmp_path, census_yaml=SERVICE + "  definition: {file: d.json}\n")
    assert loaded.findings == ()
    (manifest,) = loaded.manifests
    assert manifest.spec["definition"]["properties"]["title"] == "\U0001f600"
    assert str(manifest.place("/spec/definition/properties/title")) == "manifests/d.json:2:2"
    assert "manifests/d.json" in loaded.files


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ('{"tags": {"a": "1", "a": "2"}}', "duplicate key"),
        ('{"tags": {"a": 1}}', "a must be text"),
        (
            '{"properties": {"keys": {"primary": "x"}}}',
            "is a secret, and its value is in plain text here",
        ),
        (
            '{"properties": {"x": [{"Client Secret": "planted-1234"}]}}',
            "Client Secret has the name of a secret, and its value is in plain text here",
        ),
        ('{"properties": {"modifiedOn": "x"}}', "modifiedOn is owned by the service"),
        ("[]", "definition must be a mapping"),
        ("", "is not JSON"),
    ],
)
def test_what_is_wrong_in_a_definition_file_is_found_there(
    tmp_path: Path, content: str, message: str
) -> None:
    (tmp_path / "manifests").mkdir()
    (tmp_path / "manifests" / "d.json").write_text(content)
    loaded = read(tmp_path, census_yaml=SERVICE + "  definition: {file: d.json}\n")
    assert any(message in said for _, said in found(loaded)), loaded.findings
    assert loaded.manifests == ()


@pytest.mark.parametrize(
    ("more", "is_complete"),
    [
        ("  definition: {tags: {x: AccountKey=ABCDEFGH1234567+}}\n", True),
        ("  definition: {file: gone.json}\n", False),
        ("  secrets: {/properties/keys/primary: {file: ../../../etc/passwd}}\n", False),
        ("  verify: {rows: ../../rows.csv}\n", False),
    ],
    ids=["secret", "definition", "file", "rows"],
)
def test_only_a_complete_manifest_is_judged_further(
    tmp_path: Path, more: str, is_complete: bool
) -> None:
    loaded = read(tmp_path, census_yaml=SERVICE + more)
    assert loaded.findings
    assert loaded.manifests == ()
    assert bool(loaded.refused) is is_complete


def test_an_exported_definition_may_be_declared_whole(tmp_path: Path) -> None:
    (tmp_path / "manifests").mkdir()
    exported = (
        '{"ID": "/x", "Type": "y", "name": "census", "Tags": {"A": "1"},'
        ' "Properties": {"ModifiedOn": "2017-04-12T00:40:12Z", "Title": "T", "StorageAccount": {"Name": "n"}}}'
    )
    (tmp_path / "manifests" / "d.json").write_text(exported)
    loaded = read(tmp_path, census_yaml=SERVICE + "  definition: {file: d.json}\n")
    assert loaded.findings == ()
    assert loaded.manifests[0].spec["definition"] == {
        "tags": {"A": "1"},
        "properties": {"title": "T", "storageAccount": {"name": "n"}},
    }


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("  cloud: aws\n", "cloud"),
        ("  cloud: {resourceManager: 'http://management.azure.com'}\n", "resourceManager"),
        ("  cloud: {resourceManger: 'https://x'}\n", 'unknown field "resourceManger"'),
        ("  guards: {maxDeletes: -1}\n", "maxDeletes must be at least 0"),
        ("  guards: {maxUpdates: lots}\n", "maxUpdates"),
        ("  guards: {blobs: maybe}\n", "blobs must be required or warn or skip"),
        ("  ledger: {path: 7}\n", "path must be text"),
        ("  ledger: {}\n", "needs exactly one of path or container"),
        (
            "  ledger: {path: a, container: 'https://a.blob.core.windows.net/rec'}\n",
            "needs exactly one of path or container",
        ),
        ("  ledger: {path: a, prefix: b/}\n", "prefix needs container beside it"),
        ("  ledger: {container: 'http://a.blob.core.windows.net/rec'}\n", "without a signature"),
        (
            "  ledger: {container: 'https://a.blob.core.windows.net/rec?sig=x'}\n",
            "container does not match the required pattern",
        ),
        (
            "  ledger: {container: 'https://a.blob.core.windows.net/'}\n",
            "does not match the required pattern",
        ),
        ("  ledger: {container: 'https://a/rec', prefix: prod}\n", "ends with a slash"),
        (
            "  ledger: {container: 'https://a/rec', prefix: ../a/}\n",
            "prefix does not match the required pattern",
        ),
    ],
)
def test_what_is_wrong_in_the_project_is_found(tmp_path: Path, spec: str, message: str) -> None:
    loaded = read(tmp_path, spec, census_yaml=SERVICE + "  definition: {}\n")
    assert loaded.project is None
    assert any(message in said for _, said in found(loaded)), loaded.findings


def test_loopback_may_be_spoken_to_without_tls(tmp_path: Path) -> None:
    spec = "  cloud: {resourceManager: 'http://127.0.0.1:1', blob: 'http://localhost:2'}\n"
    loaded = read(tmp_path, spec, census_yaml=SERVICE + "  definition: {tags: {}}\n")
    assert loaded.findings == ()
    assert loaded.project is not None
    assert loaded.project.cloud.planes["resourceManager"] == "http://127.0.0.1:1"


@pytest.mark.parametrize(
    "address", ["https://acct.blob.core.windows.net/rec", "http://127.0.0.1:10000/dev/rec/"]
)
def test_a_ledger_may_be_in_a_container_and_its_caches_stay_here(
    tmp_path: Path, address: str
) -> None:
    spec = f"  ledger: {{container: '{address}', prefix: team/prod/}}\n"
    loaded = read(tmp_path, spec, census_yaml=SERVICE + "  definition: {tags: {}}\n")
    assert loaded.findings == ()
    assert loaded.project is not None
    assert loaded.project.ledger_container == address.rstrip("/")
    assert loaded.project.ledger_prefix == "team/prod/"
    assert loaded.project.ledger == ".reconciler"


def test_hidden_files_and_other_apis_are_left_alone(tmp_path: Path) -> None:
    loaded = read(
        tmp_path,
        a_yaml=SERVICE + "  definition: {}\n",
        b_yml="apiVersion: v1\nkind: Service\n---\napiVersion: apps/v1\nkind: Deployment\n",
        _hidden_yaml="a: [",
        c_txt="a: [",
    )
    assert [one.message for one in loaded.findings] == []
    assert len(loaded.foreign) == 2


def test_a_document_without_an_api_version_is_named(tmp_path: Path) -> None:
    loaded = read(tmp_path, a_yaml="kind: WebService\n")
    assert found(loaded) == [("1:1", "has no apiVersion")]


def test_findings_come_in_the_order_of_their_places(tmp_path: Path) -> None:
    wrong = SERVICE + "  b: 1\n  a: 1\n"
    loaded = read(tmp_path, z_yaml=wrong, a_yaml=wrong.replace("census", "other"))
    at = [(one.place.file, one.place.line) for one in loaded.findings if one.place]
    assert at == sorted(at)
    assert len(at) == 4


def test_no_finding_quotes_a_value_that_might_be_a_secret(tmp_path: Path) -> None:
    planted = "cGxhbnRlZC1zZWNyZXQtcGxhbnRlZC1zZWNyZXQ"
    text = SERVICE + (
        f"  trainedModels: {{A: {{uri: 'x{planted}', sha256: '{planted}'}}}}\n"
        f"  definition: {{properties: {{keys: {{primary: '{planted}'}}, title: ['{planted}']}}}}\n"
        f"  secrets: {{/properties/keys/primary: '{planted}'}}\n"
    )
    loaded = read(tmp_path, a_yaml=text)
    assert len(loaded.findings) >= 4
    assert planted not in str(loaded.findings)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_places_that_rested_are_where_they_were(end: str) -> None:
    lines = ["---", "# é ☃", "{a: {b: ☃}, 'é': [1, 2]}", "--- # two", "  k: é", "  l:", "  - 1", ""]
    text = Text("a.yaml", end.join(lines))
    places = [text.find_places(node) for node in text.compose()]
    pointers = [["/a", "/a/b", "/é/1"], ["/k", "/l/0"]]
    before = [
        [str(one[pointer]) for pointer in named]
        for one, named in zip(places, pointers, strict=True)
    ]
    assert before == [["a.yaml:3:2", "a.yaml:3:6", "a.yaml:3:22"], ["a.yaml:5:3", "a.yaml:7:5"]]
    for one in places:
        one.rest()
    assert before == [
        [str(one[pointer]) for pointer in named]
        for one, named in zip(places, pointers, strict=True)
    ]


def test_a_number_beyond_all_floats_is_no_definition(tmp_path: Path) -> None:
    (tmp_path / "d.json").write_text('{"properties": {"title": 1e400}}')
    (tmp_path / "d.yaml").write_text("properties: {title: 1.0e+400}")
    for name in ("d.json", "d.yaml"):
        folder = Folder(tmp_path)
        files = DefinitionFiles(folder)
        file = files.read(tmp_path / "m.yaml", name, SourceLocation("m.yaml", 1, 1))
        assert len(file.findings) == 1
        assert folder.findings == file.findings


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        (["a b", "b c"], []),
        (
            ["a c", "b c"],
            ["8:28 two addresses are moved to WebService/c: an address names one resource"],
        ),
        (["a b", "a c"], ["8:8 WebService/a is moved twice"]),
        (["a b", "a b"], ["8:8 WebService/a is moved twice"]),
        (["a a"], ["7:8 WebService/a is moved in a circle, back to itself"]),
        (
            ["a b", "b d", "d a"],
            [
                "7:8 WebService/a is moved in a circle, back to itself",
                "8:8 WebService/b is moved in a circle, back to itself",
                "9:8 WebService/d is moved in a circle, back to itself",
            ],
        ),
        (
            ["census b"],
            ["7:8 was moved to another address, and a manifest still declares it"],
        ),
    ],
)
def test_entries_of_moved_that_contradict_are_refused_at_their_place(
    tmp_path: Path, entries: list[str], expected: list[str]
) -> None:
    lines = "".join(
        f"    - {{from: WebService/{one.split()[0]}, to: WebService/{one.split()[1]}}}\n"
        for one in entries
    )
    loaded = read(tmp_path, f"  cloud: emulator\n  moved:\n{lines}", census_yaml=f"{SERVICE} {{}}")
    assert [f"{place} {message}" for place, message in found(loaded)] == expected
    assert all(one.place and one.place.file == "reconciler.yaml" for one in loaded.findings)


def test_a_resource_is_not_moved_to_another_kind(tmp_path: Path) -> None:
    moved = "  cloud: emulator\n  moved: [{from: WebService/a, to: Endpoint/a}]\n"
    loaded = read(tmp_path, moved, census_yaml=f"{SERVICE} {{}}")
    assert found(loaded) == [("6:32", "WebService/a is of another kind than Endpoint/a")]

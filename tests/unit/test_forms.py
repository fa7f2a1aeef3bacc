"""The one form of numbers, times, addresses and names, and what has none."""

from pathlib import Path

import pytest

from reconciler.document.forms import find_faults, settle
from reconciler.document.overlay import adopt_names, adopt_path
from reconciler.document.schema import compile_schema
from reconciler.errors import SchemaInvalid
from reconciler.kinds.endpoint import KIND as ENDPOINT
from reconciler.kinds.web_service import KIND
from reconciler.manifests import Loaded
from reconciler.model import Json, Project
from tests.unit.test_manifests import SERVICE, found, read

CALLS = compile_schema({"type": "object", "properties": {"calls": {"type": "integer"}}})
ANY = compile_schema({"type": "object", "properties": {"calls": {"type": "number"}}})
HOST = "https://models.blob.core.windows.net"


def settled(field: str, text: str) -> Json:
    form = compile_schema({"type": "string", "x-compare": field})
    assert list(find_faults(form, text, ("uri",))) == []
    return settle(form, text)


def fault(field: str, text: str) -> str:
    form = compile_schema({"type": "string", "x-compare": field})
    assert settle(form, text) == text
    ((_, finding),) = find_faults(form, text, ("uri",))
    return finding.message


@pytest.mark.parametrize("number", [12, 12.0])
def test_a_number_without_a_fraction_is_whole(number: Json) -> None:
    assert repr(settle(CALLS, {"calls": number})) == "{'calls': 12}"


@pytest.mark.parametrize("value", [12.5, "12.0", True, None, [12.0], float("1e400")])
def test_what_is_not_whole_stays(value: Json) -> None:
    assert repr(settle(CALLS, {"calls": value})) == repr({"calls": value})


def test_a_field_of_any_number_keeps_its_spelling() -> None:
    assert repr(settle(ANY, {"calls": 12.0})) == "{'calls': 12.0}"


@pytest.mark.parametrize(
    "text",
    [
        "2030-12-31T00:00:00Z",
        "2030-12-31 00:00:00",
        " 2030-12-31t02:00:00.000+02:00\n",
        "2030-12-30T18:30:00-0530",
    ],
)
def test_a_time_is_in_utc(text: str) -> None:
    assert settled("instant", text) == "2030-12-31T00:00:00Z"


def test_a_fraction_of_a_second_and_an_early_year_are_kept() -> None:
    assert settled("instant", "2030-12-31T00:00:00.5000000Z") == "2030-12-31T00:00:00.5Z"
    assert settled("instant", "0007-01-01T00:00:00Z") == "0007-01-01T00:00:00Z"


@pytest.mark.parametrize(
    "text",
    ["soon", "", "31.12.2030", "/Date(1924905600000)/", "2030-12-31", "2030-13-01T00:00:00Z",
     "2030-12-31T24:00:01Z", "2030-12-31T00:00:00+99:00", "0001-01-01T00:00:00+14:00",
     "1924905600", "12/31/2030 00:00:00", "\uff12\uff1030-12-31T00:00:00Z"],
)  # fmt: skip
def test_what_is_not_a_time_is_refused(text: str) -> None:
    assert fault("instant", text) == "uri is not a time"


@pytest.mark.parametrize(
    ("text", "form"),
    [
        (f"{HOST}/models/a.ilearner", f"{HOST}/models/a.ilearner"),
        (f" {HOST}/models/a.ilearner\n", f"{HOST}/models/a.ilearner"),
        ("HTTPS://Models.Blob.Core.Windows.NET:443/models/A", f"{HOST}/models/A"),
        ("http://127.0.0.1:80/acct/a", "http://127.0.0.1/acct/a"),
        ("http://[::1]:10000/acct/a", "http://[::1]:10000/acct/a"),
        (f"{HOST}/models/a b%2e%28é)", f"{HOST}/models/a%20b.(%C3%A9)"),
        (f"{HOST}/models/%ff", f"{HOST}/models/%FF"),
        (f"{HOST}/models/100%25", f"{HOST}/models/100%25"),
        (f"{HOST}/models/%C2%A0", f"{HOST}/models/%C2%A0"),
        (f"{HOST}//models/a.ilearner", f"{HOST}/models/a.ilearner"),
        (f"{HOST}///models//a", f"{HOST}/models//a"),
        ("http://127.0.0.1:10000//acct/a", "http://127.0.0.1:10000/acct/a"),
        ("aml://module/506153734175476c", "aml://module/506153734175476c"),
        ("a text", "a text"),
    ],
)
def test_an_address_has_one_form(text: str, form: str) -> None:
    assert settled("blob-uri", text) == form
    assert settled("blob-uri", form) == form


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{HOST}/models/a\u00a0b", "uri contains a no-break space (U+00A0) at character 46"),
        (f"{HOST}/models/a\u200bb", "uri contains a zero width space (U+200B) at character 46"),
        (f"{HOST}/models/a\nb", "uri contains a line break (U+000A) at character 46"),
        (
            "https://m\u043edels.blob.core.windows.net/m/a",
            "uri has a host with a cyrillic small letter o (U+043E) at character 2",
        ),
        (f"{HOST}/models/../a", "uri contains the segment . or .., which changes the path"),
        (f"{HOST}/models/%2E%2e/a", "uri contains the segment . or .., which changes the path"),
        (f"{HOST}:0/models/a", "uri is not an address: its port is 0"),
        (f"{HOST}:x/models/a", "uri is not an address: its host or its port is wrong"),
        ("https:///models/a", "uri is not an address: its host is wrong"),
        ("https://a b/models/a", "uri is not an address: its host is wrong"),
        ("https://[::1/models/a", "uri is not an address: its host or its port is wrong"),
        ("https://[fe80::1%25lo]/models/a", "uri is not an address: its host is wrong"),
        ("https://a%00b.test/models/a", "uri is not an address: its host is wrong"),
        ("https://a.test./models/a", "uri is not an address: its host is wrong"),
        ("https://a..test/models/a", "uri is not an address: its host is wrong"),
        ("https://[v1.x]/models/a", "uri is not an address: its host is wrong"),
    ],
)
def test_an_address_that_cannot_have_the_form_is_refused(text: str, message: str) -> None:
    assert fault("blob-uri", text) == message


def test_the_address_that_was_checked_is_the_one_that_is_bound(tmp_path: Path) -> None:
    text = (
        SERVICE + '  trainedModels: {m: {uri: " HTTPS://Models.Blob.Core.Windows.net:443/m/a b"}}\n'
    )
    (manifest,) = read(tmp_path, census_yaml=text).manifests
    assert manifest.spec["trainedModels"]["m"]["uri"] == f"{HOST}/m/a%20b"


def test_each_fault_is_reported_once_at_its_place(tmp_path: Path) -> None:
    text = (
        SERVICE
        + '  trainedModels:\n    m: {uri: "https://h/m/\\u200b.ilearner"}\n    n: {uri: "h?x"}\n'
        + "  definition:\n    Properties:\n      diagnostics: {expiry: soon}\n      title: a\n"
        + "      TITLE: b\n    tags: {Env: a, team: x, env: b}\n"
    )
    loaded = read(tmp_path, census_yaml=text)
    pattern = "uri does not match the required pattern. The address of the .ilearner blob,"
    assert found(loaded) == [
        ("6:9", "uri contains a zero width space (U+200B) at character 13"),
        ("7:9", f"{pattern} without a user or a signature."),
        ("10:21", "expiry is not a time"),
        ("11:7", '"title" and "TITLE" are one name to the service'),
        ("12:7", '"TITLE" and "title" are one name to the service'),
        ("12:7", 'unknown field "TITLE"'),
        ("13:12", '"Env" and "env" are one name to the service'),
        ("13:29", '"env" and "Env" are one name to the service'),
    ]


NUMBERS = """\
  cloud: emulator
  guards: {maxDeletes: 5.0, maxUpdates: 1.2e1}
"""
FLEET = """\
apiVersion: reconciler/v1
kind: Fleet
metadata: {name: bikes}
spec:
  items: ITEMS
  waves: [1.0, 100%]
  maxFailures: 2.0
  template:
    kind: WebService
    metadata: {name: "b${code}"}
    spec:
      wave: 1.0
      trainedModels: {m: {uri: "HTTPS://H.test:443/m/${name} x.ilearner"}}
      definition:
        properties:
          realtimeConfiguration: {maxConcurrentCalls: "${calls}"}
          diagnostics: {expiry: "${until}"}
"""
LIST = '{list: [{code: 1, name: "é", calls: 12.0, until: "2030-12-31T02:00:00+02:00"}]}'


def expand(folder: Path, fleet: str, **files: str) -> Loaded:
    return read(folder, NUMBERS, fleet_yaml=fleet, **files)


@pytest.mark.parametrize("items", [LIST, "{csv: rows.csv}"])
def test_what_an_item_brings_has_the_same_form(tmp_path: Path, items: str) -> None:
    rows = "code,name,calls,until\n1,é,12.0,2030-12-31T02:00:00+02:00\n"
    loaded = expand(tmp_path, FLEET.replace("ITEMS", items), rows_csv=rows)
    assert found(loaded) == []
    (manifest,) = loaded.manifests
    assert manifest.spec["trainedModels"]["m"]["uri"] == "https://h.test/m/%C3%A9%20x.ilearner"
    assert manifest.spec["definition"]["properties"] == {
        "realtimeConfiguration": {"maxConcurrentCalls": 12},
        "diagnostics": {"expiry": "2030-12-31T00:00:00Z"},
    }
    assert loaded.project is not None
    guards = loaded.project.guards
    shown = (manifest.spec["wave"], *loaded.rollouts[0].sizes, loaded.rollouts[0].max_failures)
    assert repr((*shown, guards.max_deletes, guards.max_updates)) == "(1, 1, '100%', 2, 5, 12)"


def test_what_an_item_brings_is_refused_in_the_template(tmp_path: Path) -> None:
    rows = "code,name,calls,until\n1,..,12.5,soon\n2,a,12.0,2030-12-31T00:00:00Z\n"
    loaded = expand(tmp_path, FLEET.replace("ITEMS", "{csv: rows.csv}"), rows_csv=rows)
    assert found(loaded) == [
        ("16:35", "maxConcurrentCalls must be a whole number"),
        ("17:25", "expiry is not a time"),
    ]


def test_an_override_cannot_bring_a_tag_a_second_time(tmp_path: Path) -> None:
    fleet = (
        FLEET.replace("ITEMS", LIST).replace("definition:", "definition:\n        tags: {Env: a}")
        + "  overrides: {b1: {definition: {tags: {env: b}}}}\n"
    )
    assert [message for _, message in found(expand(tmp_path, fleet))] == [
        '"Env" and "env" are one name to the service',
        '"env" and "Env" are one name to the service',
    ]


def test_a_live_name_in_another_casing_is_adopted() -> None:
    live = {"tags": {"Team": "a", "x": "1"}, "properties": {}}
    declared = {"tags": {"TEAM": "b", "y": "2"}}
    assert adopt_names(KIND.field, live, declared) == {"tags": {"Team": "b", "y": "2"}}
    assert adopt_path(KIND.field, live, ("tags", "TEAM")) == ("tags", "Team")
    same = {"tags": {"Team": "b"}}
    assert adopt_names(KIND.field, live, same) is same
    assert adopt_names(ENDPOINT.field, live, declared) is declared


@pytest.mark.parametrize(
    "words",
    [
        {"x-names": "upper"},
        {"x-past": "allowed", "x-compare": "instant"},
        {"x-past": "refused"},
    ],
)
def test_a_word_with_another_value_is_refused(words: dict[str, Json]) -> None:
    with pytest.raises(SchemaInvalid):
        compile_schema({"type": "string", **words})


def test_a_number_with_an_exponent_is_text_where_text_is_valid(tmp_path: Path) -> None:
    text = SERVICE + "  definition: {tags: {build: 12e4}, properties: {title: 1e3}}\n"
    (manifest,) = read(tmp_path, census_yaml=text).manifests
    assert manifest.spec["definition"] == {
        "tags": {"build": "12e4"},
        "properties": {"title": "1e3"},
    }


@pytest.mark.parametrize("value", ['"1.2e1"', "1.25e1", "1e", "'12'"])
def test_other_texts_are_not_whole_numbers(tmp_path: Path, value: str) -> None:
    text = SERVICE + f"  wave: {value}\n"
    assert found(read(tmp_path, census_yaml=text)) == [("5:3", "wave must be a whole number")]


def test_the_form_of_a_url_names_the_cloud_and_the_ledger(tmp_path: Path) -> None:
    spec = (
        "  cloud: {resourceManager: 'https://Management.Azure.com:443/'}\n"
        "  ledger: {container: 'https://Acct.blob.core.windows.net/rec/'}\n"
    )
    project = load_project(tmp_path, spec)
    assert project.cloud.planes["resourceManager"] == "https://management.azure.com"
    assert project.ledger_container == "https://acct.blob.core.windows.net/rec"


def load_project(folder: Path, spec: str) -> Project:
    loaded = read(folder, spec, census_yaml=SERVICE + "  wave: 1\n")
    assert loaded.project is not None, loaded.findings
    return loaded.project

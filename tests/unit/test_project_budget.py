"""What the files of one project hold together is bounded; large projects are within the bounds."""

import itertools
import json
from collections import Counter
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from reconciler.manifests import Loaded, budget, load
from reconciler.manifests.budget import MORE_ERRORS, MOST, Budget
from reconciler.manifests.definition_files import DefinitionFiles, parse_json
from reconciler.manifests.folder import Folder
from reconciler.manifests.yaml_text import Text
from reconciler.model import Address, SourceLocation
from reconciler.plans.history import rename, resolve_moves
from tests.benchmarks.documents import OLD, definition, name_of
from tests.unit.test_manifests import KINDS, SERVICE, read

DEFINITION = SERVICE + "  definition: {file: d.json}\n"
FLEET = """\
apiVersion: reconciler/v1
kind: Fleet
metadata: {name: NAME}
spec:
  items: {csv: i.csv}
  template:
    kind: WebService
    metadata: {name: 'NAME-${code}'}
    spec: {definition: {tags: {team: '${code}'}}}
"""
SPLIT = "Split it into several projects, each in a folder of its own."
CORRECT = "Correct those below, and run the command again."
MOVE = "Move its manifests to manifests/, and other files out of there."
START = SourceLocation("m.yaml", 1, 1)


def service(name: str, rest: str) -> str:
    return SERVICE.replace("census", name) + rest


def refusal(loaded: Loaded) -> list[str]:
    """The message, the place and the next step of the first finding; all are of the project."""
    assert loaded.findings[0].subject == "Project"
    return [f"{one.message} | {one.place} | {one.next_step}" for one in loaded.findings[:1]]


def bound(monkeypatch: pytest.MonkeyPatch, **most: int) -> None:
    """Sets bounds; `_` in the name of a cost stands for a blank."""
    given = {name.replace("_", " "): count for name, count in most.items()}
    monkeypatch.setattr(budget, "MOST", dict(MOST) | given)


def test_a_project_with_too_many_values_is_refused_in_the_file_that_holds_one_too_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound(monkeypatch, names_and_values=70)
    tags = ", ".join(f"t{number}: x" for number in range(10))
    texts = {
        f"{name}_yaml": service(name, f"  definition: {{tags: {{{tags}}}}}\n") for name in "abcd"
    }
    loaded = read(tmp_path, **texts)
    assert refusal(loaded) == [
        f"it holds more than 70 names and values | manifests/b.yaml:1:1 | {SPLIT}"
    ]
    assert set(loaded.files) == {"reconciler.yaml", "manifests/a.yaml", "manifests/b.yaml"}


@pytest.mark.parametrize("name", ["x.json", "x.yaml", "0.yaml"])
def test_a_definition_file_is_charged_to_each_manifest_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    bound(monkeypatch, names_and_values=110)
    text = json.dumps({"tags": {f"t{number}": "x" for number in range(10)}})
    rest = f"  definition: {{file: {name}}}\n"
    manifests = {f"{one}_yaml": service(one, rest) for one in "abcd"}
    loaded = read(tmp_path, **{name.replace(".", "_"): text}, **manifests)
    assert refusal(loaded)[0].startswith(
        "it holds more than 110 names and values | manifests/c.yaml:5:16"
    )


def test_values_that_aliases_repeat_are_charged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound(monkeypatch, names_and_values=2_000)
    text = SERVICE + "  definition:\n    tags: {a: &a [x, x, x, x, x, x, x, x, x, x]}\n"
    for one, below in ("ba", "cb", "dc"):
        text += f"    {one}: &{one} [{', '.join([f'*{below}'] * 10)}]\n"
    loaded = read(tmp_path, a_yaml=text)
    assert "it holds more than 2,000 names and values" in str(loaded.findings)


@pytest.mark.parametrize("refused", ["{a: [", "{a: no"])
def test_a_file_that_is_refused_is_charged_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    bound(monkeypatch, names_and_values=60)
    loaded = read(tmp_path, a_yaml=refused + "x, " * 100, b_yaml=service("b", ""))
    assert "it holds more than 60 names and values" in str(loaded.findings)
    assert "manifests/b.yaml" not in loaded.files


def test_the_resources_of_manifests_and_fleets_are_counted_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound(monkeypatch, resources=5)
    fleets = {f"{name}_yaml": FLEET.replace("NAME", name) for name in "bc"}
    loaded = read(tmp_path, a_yaml=service("a", "  {}\n"), i_csv="code\nx\ny\nz\n", **fleets)
    assert refusal(loaded) == [f"it holds more than 5 resources | manifests/i.csv:3:1 | {SPLIT}"]


def test_manifests_share_a_definition_file_and_do_not_change_it(tmp_path: Path) -> None:
    document = definition(name_of(1), OLD)
    del document["properties"]["storageAccount"]
    loaded = read(
        tmp_path,
        d_json=json.dumps(document),
        a_yaml=service("a", "  definition: {file: d.json}\n"),
        b_yaml=service("b", "  definition: {file: d.json}\n"),
    )
    assert loaded.findings == ()
    one, other = loaded.manifests
    assert one.spec["definition"] is other.spec["definition"]
    before = json.dumps(one.spec["definition"])
    from reconciler.kinds.web_service import KIND
    from reconciler.model import ABSENT

    for manifest in loaded.manifests:
        KIND.bind(manifest, ABSENT)
        KIND.bind(manifest, document)
    assert json.dumps(one.spec["definition"]) == before


def test_the_findings_of_a_shared_definition_file_are_those_of_each_manifest(
    tmp_path: Path,
) -> None:
    texts = {"b_yaml": service("b", "  definition: {file: d.json}\n"), "a_yaml": DEFINITION}
    for text, message in {
        '{"id": "x"}': "id is owned by the service and cannot be declared",
        "{": "is not JSON",
    }.items():
        loaded = read(tmp_path, d_json=text, **texts)
        assert [one.message for one in loaded.findings] == [message] * 2
        assert loaded.manifests == ()
    (tmp_path / "manifests" / "d.json").unlink()
    missing = read(tmp_path, **texts)
    assert [str(one.place) for one in missing.findings] == [
        "manifests/a.yaml:5:16",
        "manifests/b.yaml:5:16",
    ]


def test_a_large_project_keeps_its_values_compressed_and_reads_them_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rest = (
        "  secrets: {/properties/keys/primary: {env: KEY}}\n  definition: {tags: {é: '1', b: x}}\n"
    )
    files = {
        "a_yaml": service("a", rest),
        "b_yaml": service("b", "  definition: {file: d.json}\n"),
        "c_yaml": service("c", "  definition: {file: d.json}\n"),
        "d_json": '{"properties": {"title": "x"}}',
    }
    plain = read(tmp_path, **files)
    monkeypatch.setattr(budget, "_MOST_PLAIN", 0)
    large = read(tmp_path, **files)
    assert plain.findings == ()
    assert large == plain
    assert large.secrets == plain.secrets
    (*_, one, other) = large.manifests
    assert one.spec["definition"] is not other.spec["definition"]
    assert str(one.place("/spec/definition/properties/title")) == "manifests/d.json:1:17"


def test_ten_thousand_recorded_definitions_are_within_the_bound(tmp_path: Path) -> None:
    (tmp_path / "d.json").write_text(json.dumps(definition(name_of(1), OLD)))
    one = DefinitionFiles(Folder(tmp_path)).read(tmp_path / "m.yaml", "d.json", START)
    assert one.findings == []
    manifest = Text("m.yaml", DEFINITION)
    assert [manifest.build(node) for node in manifest.compose()]
    # They leave a quarter of the bound.
    assert 10_000 * (one.count + manifest.count) < MOST["names and values"] * 3 / 4
    assert MOST["resources"] >= 100_000


def test_a_fleet_of_ten_thousand_is_within_the_bound(tmp_path: Path) -> None:
    rows = "".join(f"c{number}\n" for number in range(10_000))
    loaded = read(tmp_path, a_yaml=FLEET.replace("NAME", "f"), i_csv=f"code\n{rows}")
    assert loaded.findings == ()
    assert len(loaded.manifests) == 10_000


def test_the_place_of_a_late_document_needs_no_memory_for_the_lines_before_it() -> None:
    text = Text("a.yaml", "---\na: 1\n" * 1_000)
    places = [text.find_places(node) for node in text.compose()]
    for one in places:
        one.rest()
    assert str(places[-1]["/a"]) == "a.yaml:2000:1"
    assert sum(len(one._text) for one in places) < 10_000


def test_the_errors_of_one_document_are_limited(tmp_path: Path) -> None:
    tags = ", ".join(f"t{number}: no" for number in range(1_500))
    loaded = read(tmp_path, a_yaml=service("a", f"  definition: {{tags: {{{tags}}}}}\n"))
    messages = Counter(one.message for one in loaded.findings)
    assert messages['"no" would be read as true or false'] == 1_000
    assert MORE_ERRORS.message in messages
    assert len(loaded.findings) < 2_100


@pytest.mark.parametrize(
    "name",
    ["account_key", "uri"],
    ids=["what may not be declared", "what has no form"],
)
def test_the_errors_of_one_definition_are_limited(tmp_path: Path, name: str) -> None:
    assets = {
        f"a{number}": {"locationInfo": {name: "https://a.b:x/c"}, "type": "Resource"}
        for number in range(1_500)
    }
    files = DefinitionFiles(Folder(tmp_path))
    (tmp_path / "d.json").write_text(json.dumps({"properties": {"assets": assets}}))
    faults = files.read(tmp_path / "m.yaml", "d.json", START, "service/web-service").faults
    assert len(faults) == 1_001
    assert faults[-1] == ((), MORE_ERRORS)


def test_a_project_with_very_many_errors_is_not_read_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound(monkeypatch, errors=3)
    wrong = {f"{name}_yaml": service(name, "  resurce: {}\n") for name in "abcdef"}
    loaded = read(tmp_path, **wrong)
    assert refusal(loaded) == [f"it holds more than 3 errors | manifests/d.yaml:1:1 | {CORRECT}"]
    assert len(loaded.findings) == 5
    assert "manifests/e.yaml" not in loaded.files


def test_a_folder_with_very_many_files_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound(monkeypatch, files_and_folders=5)
    read(tmp_path, a_yaml=service("a", "  {}\n"))
    below = tmp_path / "manifests" / "below"
    below.mkdir()
    for number in range(4):
        (below / f"{number}.txt").touch()
    loaded = load(tmp_path, None, [], KINDS)
    assert refusal(loaded) == [f"it holds more than 5 files and folders | None | {MOVE}"]
    assert loaded.findings[0].detail[0] == "The last one is in manifests/below."


def test_the_members_of_all_fleets_are_bounded_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget, "_MOST_MEMBER_BYTES", 1_200)
    fleets = {f"{name}_yaml": FLEET.replace("NAME", name) for name in "ab"}
    loaded = read(tmp_path, i_csv="code\nx\ny\n", **fleets)
    (finding,) = loaded.findings
    assert finding.subject == "Fleet/b"
    assert finding.message.startswith("the members of the project's fleets together")
    assert finding.next_step == "Split the project into several, each in a folder of its own."


def test_only_the_first_unknown_variables_get_a_suggestion(tmp_path: Path) -> None:
    wrong = ", ".join(f"t{number}: '${{cod{number}}}'" for number in range(1_500))
    text = FLEET.replace("NAME", "f").replace("team: '${code}'", wrong)
    loaded = read(tmp_path, f_yaml=text, i_csv="code\nx\n")
    assert sum(bool(one.next_step) for one in loaded.findings) == 20
    assert len(loaded.findings) == 1_001
    assert MORE_ERRORS.message in {one.message for one in loaded.findings}


def test_only_the_first_missing_files_get_a_suggestion(tmp_path: Path) -> None:
    manifests = {
        f"m{number}_yaml": service(f"s{number}", f"  definition: {{file: d{number}.jso}}\n")
        for number in range(10, 40)
    }
    texts = {f"d{number}_json": "{}" for number in range(10, 40)}
    loaded = read(tmp_path, **manifests, **texts)
    assert [bool(one.next_step) for one in loaded.findings] == [True] * 20 + [False] * 10


def test_names_that_are_one_name_are_not_all_named_for_each_of_them(tmp_path: Path) -> None:
    casings = ("".join(one) for one in itertools.product(*zip("abcdefg", "ABCDEFG", strict=True)))
    loaded = read(
        tmp_path,
        a_yaml=service(
            "a", f"  definition: {{tags: {{{', '.join(f'{c}: x' for c in casings)}}}}}\n"
        ),
    )
    assert len(loaded.findings) == 128
    assert max(len(one.message) for one in loaded.findings) < 250


def test_a_text_that_nearly_names_this_product_very_often_is_read_quickly(tmp_path: Path) -> None:
    """The search took time by the square of the text: more than ten minutes for this one."""
    loaded = read(tmp_path, a_yaml=service("a", "  {}\n"), x_txt="apiVersion:" * 90_000)
    assert loaded.unread == ()


class Counted(dict[Address, Address]):
    """Counts how often it is looked into."""

    looks = 0

    def __getitem__(self, key: Address) -> Address:
        self.looks += 1
        return super().__getitem__(key)


def test_a_chain_of_moves_is_followed_once() -> None:
    length = 2_000
    moved = Counted({a(number): a(number + 1) for number in range(length)})
    assert set(resolve_moves(moved).values()) == {a(length)}
    assert moved.looks <= length


def a(number: int) -> Address:
    return Address("WebService", f"s{number}")


@given(st.dictionaries(st.integers(0, 8).map(a), st.integers(0, 8).map(a)))
def test_moves_lead_where_each_entry_leads(moved: dict[Address, Address]) -> None:
    for old, end in resolve_moves(moved).items():
        last = rename(old, moved)
        assert end == (None if last in moved else last)


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=30)
    | st.sampled_from(["AccountKey=c2VjcmV0c2VjcmV0c2VjcmV0cw==", "https://a/b?sig=abcdefghij123"]),
    lambda below: (
        st.lists(below, max_size=4) | st.dictionaries(st.text(max_size=24), below, max_size=4)
    ),
    max_leaves=20,
)


def read_in_yaml(character: str) -> str:
    """A character of JSON, or a private one where YAML has none like it."""
    if character in '\r\n"\\':
        return character
    try:
        [_, _, scalar, *_] = yaml.parse(f'"a{character}b"', Loader=yaml.CSafeLoader)
    except yaml.YAMLError:
        return chr(0xF0000 + ord(character))
    at_once = scalar.end_mark is not None and scalar.end_mark.line == 0
    return character if at_once else chr(0xF0000 + ord(character))


@given(JSON_VALUES, st.booleans(), st.sampled_from([None, 1]))
@example(value={"\x7f": None}, twice=True, indent=None)
@example(value=["\x85\u2028\ufeff", {"\x9f": 1}], twice=True, indent=1)
def test_json_has_the_findings_of_yaml_whichever_way_it_is_read(
    value: object, twice: bool, indent: int | None
) -> None:
    text = json.dumps({"a": value, "b": 1}, indent=indent, ensure_ascii=not twice)
    text = text.replace('"b"', '"a"') if twice else text
    parsed = Text("d.json", "".join(read_in_yaml(one) for one in text))
    wanted = [found for node in parsed.compose() for found in (parsed.build(node), parsed.findings)]
    found = parse_json("d.json", text, budget=Budget())
    if wanted and not any("is not YAML" in one.message for one in parsed.findings):
        assert found.findings == parsed.findings
        assert found.count == parsed.count


def test_a_file_is_searched_for_variables_once_however_many_documents_it_holds() -> None:
    class Searched(str):
        __slots__ = ()
        times = 0

        def __contains__(self, part: object, /) -> bool:
            Searched.times += 1
            return str(part) in str(self)

    text = Text("m.yaml", Searched("---\na: ${b}\n" * 3))
    assert [text.has_tokens for _ in range(3)] == [True] * 3
    assert Searched.times == 1

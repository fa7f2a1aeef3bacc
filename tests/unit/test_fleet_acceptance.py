"""Taking over what is live on members of fleets: into overrides, and every other character stays."""

from pathlib import Path

import pytest

from reconciler.document.pointers import format_pointer
from reconciler.errors import ManifestInvalid
from reconciler.manifests import Loaded
from reconciler.manifests.editing import Edit
from reconciler.manifests.editing.accept import (
    Acceptance,
    apply_edits,
    place_edits,
    place_in_items,
)
from reconciler.manifests.editing.members import CellEdit
from reconciler.model import ABSENT, Absent, Address, Json, Manifest
from tests.fleets import FLEET, read

PROPERTIES = "/spec/definition/properties"


def member(folder: Path, name: str) -> Manifest:
    loaded = read(folder, (folder / "manifests" / "bikes.yaml").read_text(), csv=None)
    assert loaded.findings == ()
    return next(one for one in loaded.manifests if one.address.name == name)


def accept(folder: Path, name: str, **edits: Json | Absent) -> str:
    """Write edits of properties of a member's definition; returns what was added to the fleet."""
    manifest = member(folder, name)
    wanted = tuple(Edit(f"{PROPERTIES}/{at}", value) for at, value in edits.items())
    (text,) = apply_edits(folder, place_edits([Acceptance(manifest, wanted)])).values()
    before = (folder / "manifests" / "bikes.yaml").read_text()
    (folder / "manifests" / "bikes.yaml").write_text(text)
    assert text.startswith(before)
    return text.removeprefix(before)


def properties(folder: Path, name: str) -> Json:
    return member(folder, name).spec["definition"]["properties"]


def test_a_member_gets_an_override_and_the_others_stay(tmp_path: Path) -> None:
    read(tmp_path)
    others = [properties(tmp_path, name) for name in ("loc001", "loc003")]
    added = accept(tmp_path, "loc002", description="Moved to ${x}", title="New")
    own = "{definition: {properties: {description: 'Moved to $${x}', title: New}}}"
    assert added == f"  overrides:\n    loc002: {own}\n"
    assert properties(tmp_path, "loc002") == {
        "description": "Moved to ${x}",
        "realtimeConfiguration": {"maxConcurrentCalls": 6},
        "title": "New",
    }
    assert [properties(tmp_path, name) for name in ("loc001", "loc003")] == others


def test_what_is_gone_is_taken_away_by_null(tmp_path: Path) -> None:
    read(tmp_path)
    assert "description: null" in accept(tmp_path, "loc002", description=ABSENT)
    assert "description" not in properties(tmp_path, "loc002")


@pytest.mark.parametrize(
    "code", ["007", "1e5", "no", "null", "2026-11-20", "0x1F", "1.5", "true", "a.b"]
)
def test_a_name_that_yaml_takes_for_something_else_is_a_name(tmp_path: Path, code: str) -> None:
    read(tmp_path, FLEET.replace("loc${code}", "${code}"), f"code,calls,team\n{code},5,x\n")
    accept(tmp_path, code, description="Moved")
    assert properties(tmp_path, code)["description"] == "Moved"


def test_what_no_override_can_say_is_refused_with_the_member(tmp_path: Path) -> None:
    read(tmp_path)
    one, other = member(tmp_path, "loc001"), member(tmp_path, "loc002")
    wrong = Edit(f"{PROPERTIES}/package", {"nodes": None})
    good = Edit(f"{PROPERTIES}/description", "x")
    with pytest.raises(ManifestInvalid) as refused:
        apply_edits(tmp_path, place_edits([Acceptance(one, (wrong,)), Acceptance(other, (good,))]))
    (finding,) = refused.value.findings()
    assert (finding.subject, finding.message) == (
        "WebService/loc001",
        "an override cannot set a value to null",
    )
    assert str(finding.place) == "manifests/bikes.yaml:9:5"


def test_a_whole_fleet_that_moved_is_a_matter_of_its_template(tmp_path: Path) -> None:
    rows = "".join(f"{number:03},5,x\n" for number in range(101))
    loaded = read(tmp_path, csv=f"code,calls,team\n{rows}")
    edit = Edit(f"{PROPERTIES}/description", "x")
    with pytest.raises(ManifestInvalid) as refused:
        place_edits([Acceptance(one, (edit,)) for one in loaded.manifests])
    (finding,) = refused.value.findings()
    assert (finding.subject, finding.message) == (
        "Fleet/bikes",
        "101 members changed, and at most 100 get overrides",
    )


FLEETS = {("manifests/bikes.yaml", Address("Fleet", "bikes"))}
URI = "https://acct.blob.core.windows.net/m/new.ilearner"
IN_CELLS = FLEET.replace("Model ${code}:", "Model:").replace(
    '"https://acct.blob.core.windows.net/m/${code}.ilearner"', '"${uri}", sha256: "${digest}"'
)


def promote(loaded: Loaded, model: str = "Model") -> list[Acceptance]:
    at = format_pointer(("spec", "trainedModels", model))
    edits = (Edit(f"{at}/uri", URI), Edit(f"{at}/sha256", "ab" * 32))
    return [Acceptance(one, edits) for one in loaded.manifests]


def make_rows(number: int) -> str:
    uri = "https://acct.blob.core.windows.net/m/old.ilearner"
    rows = (f"{one:04},5,x,{uri},{'cd' * 32}\r\n" for one in range(number))
    return f"code,calls,team,uri,digest\r\n{''.join(rows)}"


def test_a_thousand_members_are_one_edit_of_the_items(tmp_path: Path) -> None:
    rows = make_rows(1000)
    loaded = read(tmp_path, IN_CELLS, rows)
    assert loaded.findings == ()
    placed = place_in_items(tmp_path, promote(loaded), FLEETS)
    texts = apply_edits(tmp_path, placed)
    assert [*texts] == [tmp_path / "manifests/bikes.csv"]
    wanted = rows.replace("old.ilearner", "new.ilearner").replace("cd" * 32, "ab" * 32)
    assert texts[tmp_path / "manifests/bikes.csv"] == wanted


def test_more_overrides_than_people_can_read_are_refused_with_what_to_do(tmp_path: Path) -> None:
    rows = "".join(f"{number:03},5,x\n" for number in range(101))
    fleet = FLEET.replace("Model ${code}:", "Model:")
    loaded = read(tmp_path, fleet, f"code,calls,team\n{rows}")
    with pytest.raises(ManifestInvalid) as refused:
        place_in_items(tmp_path, promote(loaded), FLEETS)
    (finding,) = refused.value.findings()
    assert finding.message == "101 members changed, and at most 100 get overrides"
    assert "uri: ${uri} and sha256: ${sha256}" in finding.next_step


@pytest.mark.parametrize(
    ("template", "cell"),
    [
        (IN_CELLS.replace('"${uri}"', '"https://acct.blob.core.windows.net/${uri}"'), "a.ilearner"),
        (IN_CELLS.replace('"${uri}"', '"${uri}.${team}"'), "https://a.blob.core.windows.net/m/a"),
        (IN_CELLS.replace("Location ${code}", "Location ${uri}"), URI.replace("new", "old")),
        (IN_CELLS.replace("Model:", '"${uri}":'), URI.replace("new", "old")),
    ],
    ids=["a part", "two variables", "used twice", "a key too"],
)
def test_a_cell_that_is_not_alone_the_value_stays(tmp_path: Path, template: str, cell: str) -> None:
    row = f"1,5,ilearner,{cell},{'cd' * 32}\n"
    loaded = read(tmp_path, template, f"code,calls,team,uri,digest\n{row}")
    assert loaded.findings == ()
    (manifest,) = loaded.manifests
    (model,) = manifest.spec["trainedModels"]
    placed = place_in_items(tmp_path, promote(loaded, model), FLEETS)
    assert not [
        one for one in placed if isinstance(one.edit, CellEdit) and one.edit.column == "uri"
    ]
    for path, text in apply_edits(tmp_path, placed).items():
        path.write_text(text)
    again = read(tmp_path, (tmp_path / "manifests/bikes.yaml").read_text(), csv=None)
    (changed,) = again.manifests
    assert changed.spec["trainedModels"][model] == {"uri": URI, "sha256": "ab" * 32}


def test_a_renamed_part_of_a_member_is_an_override_with_all_of_it(tmp_path: Path) -> None:
    read(tmp_path)
    manifest = member(tmp_path, "loc002")
    at = f"{PROPERTIES}/realtimeConfiguration"
    edits = (Edit(f"{at}/maxConcurrentCalls", 9), Edit(f"{at}/maxConcurrentCalls", name="other"))
    placed = place_in_items(
        tmp_path,
        [Acceptance(manifest, edits)],
        [(manifest.file, Address("Fleet", "bikes"))],
    )
    (text,) = apply_edits(tmp_path, placed).values()
    assert text.endswith(
        "  overrides:\n    loc002:\n      definition:\n        properties:"
        " {realtimeConfiguration: {maxConcurrentCalls: null, other: 9}}\n"
    )

"""Taking over what is live on members of fleets: into overrides, and every other character stays."""

from pathlib import Path

import pytest

from reconciler.errors import ManifestInvalid
from reconciler.manifests.editing import Edit
from reconciler.manifests.editing.accept import Acceptance, edit_files
from reconciler.model import ABSENT, Absent, Json, Manifest
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
    (text,) = edit_files(folder, [Acceptance(manifest, wanted)]).values()
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
        edit_files(tmp_path, [Acceptance(one, (wrong,)), Acceptance(other, (good,))])
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
        edit_files(tmp_path, [Acceptance(one, (edit,)) for one in loaded.manifests])
    (finding,) = refused.value.findings()
    assert (finding.subject, finding.message) == (
        "Fleet/bikes",
        "101 members changed, and at most 100 get overrides",
    )

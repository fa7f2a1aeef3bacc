"""Which file an edit of an environment belongs to, and which edits would change another one."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from reconciler.errors import ManifestInvalid
from reconciler.kinds.web_service import KIND
from reconciler.manifests import Loaded, load
from reconciler.manifests.editing import Edit
from reconciler.manifests.editing.accept import (
    Acceptance,
    apply_edits,
    place_edits,
    place_in_items,
)
from reconciler.manifests.editing.environments import EnvironmentScope, settle_edits

KINDS = {"WebService": KIND}
HEAD = "apiVersion: reconciler/v1\nkind: "
URI = "/spec/trainedModels/M/uri"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in ("manifests", "environments"):
        (tmp_path / name).mkdir()
    (tmp_path / "reconciler.yaml").write_text(
        f"{HEAD}Project\nmetadata: {{name: p}}\nspec: {{defaults: {{subscription: s}}}}\n"
    )
    for name in ("dev", "prod"):
        (tmp_path / "environments" / f"{name}.yaml").write_text(
            f"{HEAD}Environment\nmetadata: {{name: {name}}}\nspec:\n  values:\n"
            "    model: old  # kept\n    other: 'x'\n    number: 3\n"
        )
    return tmp_path


def write(project: Path, uri: str, more: str = "") -> None:
    (project / "manifests" / "a.yaml").write_text(
        f"{HEAD}WebService\nmetadata: {{name: 'a-${{env.name}}'}}\nspec:\n"
        f"  trainedModels:\n    M: {{uri: '{uri}'}}\n{more}"
    )


def read(project: Path, name: str = "dev") -> Loaded:
    loaded = load(project, None, [], KINDS, name)
    assert [one.message for one in loaded.findings] == []
    return loaded


def edit(project: Path, *edits: Edit, alone: bool = False) -> dict[str, str]:
    """The changed files of an edit of the first manifest in dev."""
    loaded = read(project)
    accepted = [Acceptance(loaded.manifests[0], edits)]
    fleets = {(one.file, one.member.fleet) for one in loaded.manifests if one.member}
    placed = place_edits(accepted)
    if fleets:
        placed = place_in_items(project, accepted, fleets, loaded.tokens)
    return finish(project, loaded, placed, alone=alone)


def finish(
    project: Path, loaded: Loaded, placed: Sequence[object], *, alone: bool
) -> dict[str, str]:
    assert loaded.environment is not None
    others = {} if alone else {"prod": set(read(project, "prod").files)}
    scope = EnvironmentScope(loaded.environment, loaded.tokens, loaded.files, others)
    settled = settle_edits(project, placed, scope)  # type: ignore[arg-type]
    texts = apply_edits(project, settled, loaded.tokens)
    return {path.relative_to(project).as_posix(): text for path, text in texts.items()}


def refuse(project: Path, *edits: Edit) -> list[str]:
    with pytest.raises(ManifestInvalid) as refused:
        edit(project, *edits)
    return [f"{one.place}: {one.message}" for one in refused.value.findings()]


@pytest.mark.parametrize(
    ("uri", "wanted", "value"),
    [
        ("https://a/b/${values.model}.ilearner", "https://a/b/new.ilearner", "new"),
        ("https://a/${values.model}", "https://a/deep/new", "deep/new"),
        ("https://${values.model}/b/c", "https://host/b/c", "host"),
        ("https://a/$${values.x}/${values.model}", "https://a/${values.x}/new", "new"),
    ],
)
def test_one_value_in_a_text_changes_in_the_environment(
    project: Path, uri: str, wanted: str, value: str
) -> None:
    write(project, uri)
    before = (project / "environments" / "dev.yaml").read_text()
    assert edit(project, Edit(URI, wanted)) == {
        "environments/dev.yaml": before.replace("old  # kept", f"{value}  # kept")
    }


@pytest.mark.parametrize(
    ("uri", "wanted", "expected"),
    [
        (
            "https://a/${values.model}/${values.other}",
            "https://a/b/c",
            "uri: its text comes from ${values.model} and ${values.other}, and not from one value",
        ),
        (
            "https://a/${env.name}/b",
            "https://a/b/b",
            "uri: its text comes from ${env.name}, and not from one value",
        ),
        (
            "https://a/b/${values.model}.ilearner",
            "https://other/b/new.ilearner",
            "uri: the new value does not fit the text around ${values.model}",
        ),
        (
            "https://a/b/${values.model}.ilearner",
            "https://a/b/.ilearner",
            "uri: the new value does not fit the text around ${values.model}",
        ),
        (
            "https://a/b/c",
            "https://a/b/new",
            "uri: manifests/a.yaml is also read by prod, so the edit would change prod too",
        ),
    ],
)
def test_an_edit_that_no_value_can_make_is_refused(
    project: Path, uri: str, wanted: str, expected: str
) -> None:
    write(project, uri)
    assert refuse(project, Edit(URI, wanted)) == [f"manifests/a.yaml:6:9: {expected}"]


def test_a_manifest_that_no_other_environment_reads_is_edited_itself(project: Path) -> None:
    write(project, "https://a/b/c")
    (text,) = edit(project, Edit(URI, "https://a/b/new"), alone=True).values()
    assert "M: {uri: 'https://a/b/new'}" in text


def test_annotations_of_a_shared_manifest_are_left_out(project: Path) -> None:
    write(project, "https://a/${values.model}")
    lineage = Edit("/metadata/annotations", {"lineage/run": "r"})
    assert set(edit(project, lineage, Edit(URI, "https://a/new"))) == {"environments/dev.yaml"}


def test_a_value_of_two_places_changes_only_with_both(project: Path) -> None:
    write(project, "https://a/${values.model}", "  definition: {tags: {m: '${values.model}'}}\n")
    tag = "/spec/definition/tags/m"
    assert refuse(project, Edit(URI, "https://a/new")) == [
        "None: model: ${values.model} is used at 2 places, and all of them would change"
    ]
    assert refuse(project, Edit(URI, "https://a/new"), Edit(tag, "else")) == [
        "None: model: ${values.model} would have to become two values"
    ]
    texts = edit(project, Edit(URI, "https://a/new"), Edit(tag, "new"))
    assert set(texts) == {"environments/dev.yaml"}


def test_every_refused_edit_is_reported_at_once(project: Path) -> None:
    write(project, "https://a/b/c", "  definition: {tags: {m: '${env.name}'}}\n")
    found = refuse(project, Edit(URI, "https://a/b/d"), Edit("/spec/definition/tags/m", "x"))
    assert len(found) == 2


def make_fleet(project: Path, items: str) -> None:
    (project / "manifests" / "a.yaml").write_text(
        f"{HEAD}Fleet\nmetadata: {{name: f}}\nspec:\n  items: {items}\n  template:\n"
        "    kind: WebService\n    metadata: {name: 's${code}'}\n    spec:\n"
        "      trainedModels: {M: {uri: '${uri}'}}\n"
    )


def test_the_cell_of_a_shared_file_is_not_changed(project: Path) -> None:
    make_fleet(project, "{csv: items.csv}")
    (project / "manifests" / "items.csv").write_text("code,uri\n1,https://a/b\n2,https://a/c\n")
    (fault,) = refuse(project, Edit(URI, "https://a/new"))
    assert "manifests/items.csv is also read by prod" in fault


def test_the_cell_of_a_file_of_its_own_is_changed(project: Path) -> None:
    make_fleet(project, "{csv: '${env.name}.csv'}")
    for name in ("dev", "prod"):
        (project / "manifests" / f"{name}.csv").write_text("code,uri\n1,https://a/b\n")
    assert edit(project, Edit(URI, "https://a/new")) == {
        "manifests/dev.csv": "code,uri\n1,https://a/new\n"
    }


def test_the_value_of_an_item_changes_in_the_environment(project: Path) -> None:
    make_fleet(project, "{list: [{code: '1', uri: 'https://a/${values.model}'}]}")
    texts = edit(project, Edit(URI, "https://a/new"))
    assert set(texts) == {"environments/dev.yaml"}
    assert "model: new  # kept" in texts["environments/dev.yaml"]


def test_a_template_of_the_environment_is_never_changed_for_one_member(project: Path) -> None:
    make_fleet(project, "{list: [{code: '1'}, {code: '2'}]}")
    file = project / "manifests" / "a.yaml"
    file.write_text(file.read_text().replace("'${uri}'", "'https://a/${values.model}'"))
    (fault,) = refuse(project, Edit(URI, "https://a/new"))
    assert "manifests/a.yaml is also read by prod" in fault


def test_a_name_that_is_a_value_changes_in_the_environment(project: Path) -> None:
    file = project / "manifests" / "a.yaml"
    file.write_text(
        f"{HEAD}WebService\nmetadata: {{name: 'a-${{env.name}}'}}\nspec:\n  trainedModels:\n"
        "    ${values.model}: {uri: https://a/b/c}\n"
    )
    before = (project / "environments" / "dev.yaml").read_text()
    assert edit(project, Edit("/spec/trainedModels/old", name="new")) == {
        "environments/dev.yaml": before.replace("old  # kept", "new  # kept")
    }
    write(project, "https://a/b/c")
    (refused,) = refuse(project, Edit("/spec/trainedModels/M", name="N"))
    assert "manifests/a.yaml is also read by prod" in refused

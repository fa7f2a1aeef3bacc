"""Which files and documents belong to a project: none of them is passed over in silence."""

import os
import subprocess
from pathlib import Path

import pytest

from reconciler.kinds.web_service import KIND
from reconciler.manifests import Loaded, folder, load
from reconciler.manifests.editing import Edit, edit_yaml, find_document
from reconciler.model import Address

PROJECT = "apiVersion: reconciler/v1\nkind: Project\nmetadata: {name: p}\nspec: {cloud: emulator}\n"


def service(name: str, version: str = "reconciler/v1", kind: str = "WebService") -> str:
    head = f"apiVersion: {version}\nkind: {kind}\nmetadata: {{name: {name}}}\n"
    return f"{head}spec: {{definition: {{tags: {{}}}}}}\n"


def read(root: Path, files: dict[str, str]) -> Loaded:
    (root / "manifests").mkdir(exist_ok=True)
    for name, text in {"reconciler.yaml": PROJECT, **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return load(root, None, [], {"WebService": KIND})


def names(loaded: Loaded) -> list[str]:
    return [one.address.name for one in loaded.manifests]


@pytest.mark.parametrize(
    "text",
    [
        "{one}---\n",
        "---\n---\n{one}",
        "{one}---\n# only a comment\n---\n{two}",
        "{one}...\n---\n",
        "%YAML 1.1\n---\n{one}...\n%YAML 1.1\n---\n...\n---\n{two}---\n...\n",
        "\ufeff---\n---\n{one}",
    ],
)
def test_an_empty_document_is_skipped(tmp_path: Path, text: str) -> None:
    made = text.replace("{one}", service("one")).replace("{two}", service("two"))
    loaded = read(tmp_path, {"manifests/a.yaml": made, "manifests/b.yaml": "---\n"})
    assert loaded.findings == ()
    assert names(loaded) == ["one", "two"][: 1 + ("{two}" in text)]


@pytest.mark.parametrize("text", ["null", "~", "''", "!!null"])
def test_a_document_that_holds_null_is_refused(tmp_path: Path, text: str) -> None:
    loaded = read(tmp_path, {"manifests/a.yaml": f"{service('one')}---\n{text}\n"})
    assert [one.message for one in loaded.findings] == (
        [] if text == "!!null" else ["has no apiVersion"]
    )


def test_a_definition_file_may_end_with_an_empty_document(tmp_path: Path) -> None:
    manifest = service("one").replace("{tags: {}}", "{file: d.yaml}")
    files = {"manifests/a.yaml": manifest, "manifests/d.yaml": "---\ntags: {a: b}\n---\n# end\n"}
    loaded = read(tmp_path, files)
    assert loaded.findings == ()
    assert loaded.manifests[0].spec == {"definition": {"tags": {"a": "b"}}}


def test_an_edit_finds_its_document_behind_empty_ones() -> None:
    text = f"---\n---\n{service('one')}---\n# nothing\n---\n{service('two')}---\n"
    number = find_document("a.yaml", text, Address("WebService", "two"))
    edit = Edit("/spec/definition/tags/team", "growth")
    changed = edit_yaml("a.yaml", text, number, [edit])
    one, two = text.split("# nothing")
    assert changed == f"{one}# nothing{two.replace('tags: {}', 'tags: {team: growth}')}"


def test_yaml_endings_count_in_any_case(tmp_path: Path) -> None:
    files = {
        f"manifests/{name}": service(name[0])
        for name in ("a.YAML", "b.YML", "c.Yaml", "d.yml", "e.yaml")
    }
    assert names(read(tmp_path, files)) == ["a", "b", "c", "d", "e"]


def test_a_linked_folder_is_walked_once_and_circles_end(tmp_path: Path) -> None:
    (tmp_path / "manifests" / "real").mkdir(parents=True)
    for link, target in {
        "manifests/again": "real",
        "manifests/circle": ".",
        "manifests/shared": "../shared",
        "manifests/real/up": "../../manifests",
    }.items():
        (tmp_path / link).symlink_to(target)
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "deeper").symlink_to("../below")
    files = {
        "manifests/real/a.yaml": service("a"),
        "shared/b.yaml": service("b"),
        "below/c.yaml": service("c"),
    }
    loaded = read(tmp_path, files)
    assert loaded.findings == ()
    assert sorted(loaded.files) == [
        "manifests/real/a.yaml",
        "manifests/shared/b.yaml",
        "manifests/shared/deeper/c.yaml",
        "reconciler.yaml",
    ]


def test_a_linked_folder_outside_the_project_is_refused(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "p" / "manifests").mkdir(parents=True)
    (tmp_path / "p" / "manifests" / "shared").symlink_to("../../outside")
    loaded = read(tmp_path / "p", {"manifests/a.yaml": service("a")})
    assert [(one.subject, one.message) for one in loaded.findings] == [
        ("manifests/shared", "is outside the project's folder")
    ]


def test_deep_folders_are_walked(tmp_path: Path) -> None:
    read(tmp_path, {"manifests/a.yaml": service("a")})
    here = Path.cwd()
    os.chdir(tmp_path / "manifests")
    try:
        for _ in range(1200):
            Path("d").mkdir()
            os.chdir("d")
        Path("deep.yaml").write_text(service("deep"))
    finally:
        os.chdir(here)
    found = load(tmp_path, None, [], {"WebService": KIND})
    # pytest cannot remove folders as deep as these.
    subprocess.run(["rm", "-rf", str(tmp_path / "manifests")], check=True)
    assert names(found) == ["a", "deep"]


@pytest.mark.parametrize(
    "version",
    [
        "reconcilers/v1",
        "Reconciler/v1",
        "reconciler.io/v1",
        "reconciler",
        "recnociler/v1",
        "v1/reconciler",
        "re\N{CYRILLIC SMALL LETTER ES}onciler/v1",
        "apps.reconciler.dev/v2",
        "reconciler/v1beta1",
        "reconciler.example.com/v1alpha2",
        "v1",
        "example.test/v1",
    ],
)
def test_a_document_that_is_nearly_ours_is_refused(tmp_path: Path, version: str) -> None:
    loaded = read(tmp_path, {"manifests/a.yaml": service("one", version)})
    (finding,) = loaded.findings
    assert finding.message == f'unknown apiVersion "{version}"'
    assert finding.next_step.startswith('Did you mean "reconciler/v1"?')
    assert str(finding.place) == "manifests/a.yaml:1:1"


@pytest.mark.parametrize("kind", ["webservice", "Web-Service", "WebServices", "project", "Fleets"])
def test_a_kind_that_is_nearly_ours_is_not_left_to_others(tmp_path: Path, kind: str) -> None:
    loaded = read(tmp_path, {"manifests/a.yaml": service("one", "v1", kind)})
    assert [one.message for one in loaded.findings] == ['unknown apiVersion "v1"']


@pytest.mark.parametrize(
    ("version", "kind"),
    [
        ("v1", "Service"),
        ("v1", "Endpoints"),
        ("apps/v1", "Deployment"),
        ("argoproj.io/v1alpha1", "AppProject"),
        ("kustomize.config.k8s.io/v1beta1", "Kustomization"),
        ("discovery.k8s.io/v1", "EndpointSlice"),
        ("source.toolkit.fluxcd.io/v1", "GitRepository"),
    ],
)
def test_documents_of_other_tools_are_counted(tmp_path: Path, version: str, kind: str) -> None:
    files = {"manifests/a.yaml": service("one"), "manifests/b.yaml": service("x", version, kind)}
    loaded = read(tmp_path, files)
    assert (loaded.findings, [str(one) for one in loaded.foreign]) == ((), ["manifests/b.yaml:1:1"])


def test_a_manifest_in_a_list_is_refused_at_its_place(tmp_path: Path) -> None:
    item = "- apiVersion: reconciler/v1\n  kind: WebService\n"
    text = f"apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n{item}"
    (finding,) = read(tmp_path, {"manifests/a.yaml": text}).findings
    assert str(finding.place) == "manifests/a.yaml:5:3"
    assert "an item of a list" in finding.message


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("manifests/two.yaml.txt", "its name does not end in .yaml or .yml"),
        ("manifests/two.json", "its name does not end in .yaml or .yml"),
        ("manifests/two", "its name does not end in .yaml or .yml"),
        ("manifests/two.yaml ", "its name does not end in .yaml or .yml"),
        ("manifests/two.conf", "its name does not end in .yaml or .yml"),
        ("manifests/two.yaml.bak", "its name does not end in .yaml or .yml"),
        ("manifests/.two.yaml", "its name is hidden"),
        ("manifests/.team/a/two.yaml", "its folder is hidden"),
        ("two.yaml", "it is outside manifests/"),
    ],
)
def test_a_file_with_manifests_that_is_not_read_is_reported(
    tmp_path: Path, name: str, why: str
) -> None:
    loaded = read(tmp_path, {"manifests/one.yaml": service("one"), name: service("two")})
    (finding,) = loaded.findings
    assert (finding.severity, finding.subject) == ("warning", name)
    assert finding.message == f"is not read: {why}"
    (unread,) = loaded.unread
    assert unread.names == frozenset({"two"})


def test_other_files_beside_manifests_are_not_reported(tmp_path: Path) -> None:
    definition = '{"tags": {"apiVersion": "reconciler/v1", "kind": "WebService"}}'
    files = {
        "manifests/a.yaml": service("a").replace("{tags: {}}", "{file: a.json}"),
        "manifests/a.json": definition,
        "manifests/notes.txt": "apiVersion: reconciler/v1 is what every manifest begins with",
        "manifests/k8s.json": '{"apiVersion": "v1", "kind": "WebService"}',
        "staging.yaml": PROJECT,
    }
    assert read(tmp_path, files).findings == ()


@pytest.mark.parametrize("name", ["other/two.yaml", "deploy/prod/two.yml", "a b/two.YAML"])
def test_a_manifest_in_another_folder_is_reported(tmp_path: Path, name: str) -> None:
    loaded = read(tmp_path, {"manifests/one.yaml": service("one"), name: service("two")})
    (unread,) = loaded.unread
    assert (unread.file, unread.why) == (name, "it is outside manifests/")
    assert unread.names == frozenset({"two"})


@pytest.mark.parametrize(
    "files",
    [
        {"staging/reconciler.yaml": PROJECT, "staging/manifests/two.yaml": service("two")},
        {"a/b/reconciler.yaml": PROJECT, "a/b/two.yaml": service("two")},
        {".cache/two.yaml": service("two")},
        {"other/chart.yaml": "apiVersion: v1\nkind: List\n"},
    ],
)
def test_another_project_and_files_of_other_tools_are_not_reported(
    tmp_path: Path, files: dict[str, str]
) -> None:
    loaded = read(tmp_path, {"manifests/one.yaml": service("one"), **files})
    assert (loaded.unread, loaded.findings) == ((), ())


POLICY = """apiVersion: reconciler/v1
kind: Policy
metadata: {name: two}
spec:
  rules:
    - {name: keep, match: {kind: WebService}, denyDeletes: true}
    - {name: fleets, match: {kind: Fleet}, denyDeletes: true}
"""


def test_a_policy_for_a_kind_is_not_a_manifest_that_is_not_read(tmp_path: Path) -> None:
    files = {"manifests/one.yaml": service("one"), "policies/two.yaml": POLICY}
    loaded = read(tmp_path, files)
    assert (loaded.unread, loaded.findings) == ((), ())
    # A manifest beside it is reported still, as a document of the same file too.
    (tmp_path / "policies/three.yaml").write_text(service("three"))
    for second in (service("two"), "}"):
        loaded = read(tmp_path, files | {"policies/two.yaml": f"{POLICY}---\n{second}"})
        assert [one.file for one in loaded.unread] == ["policies/three.yaml", "policies/two.yaml"]


def test_the_search_in_other_folders_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "_MOST_BESIDE", 3)
    files = {f"other/{number}.txt": "" for number in range(3)} | {"zoo/two.yaml": service("two")}
    loaded = read(tmp_path, {"manifests/one.yaml": service("one"), **files})
    assert (names(loaded), loaded.unread) == (["one"], ())


def comment(text: str, sign: str) -> str:
    return "".join(f"{sign}{line}" for line in text.splitlines(keepends=True))


@pytest.mark.parametrize("sign", ["# ", "#", "  ## ", "#\t"])
@pytest.mark.parametrize("beside", ["", "---\n" + service("three")])
def test_a_manifest_that_is_commented_out_is_reported(
    tmp_path: Path, sign: str, beside: str
) -> None:
    files = {
        "manifests/one.yaml": service("one"),
        "manifests/two.yaml": comment(service("two"), sign) + beside,
    }
    loaded = read(tmp_path, files)
    (unread,) = loaded.unread
    assert (unread.file, unread.names) == ("manifests/two.yaml", frozenset({"two"}))
    (finding,) = loaded.findings
    assert finding.message == "is not read: a manifest in it is commented out"
    assert finding.next_step.startswith("If its resources belong to the project, remove the #")


@pytest.mark.parametrize(
    "text",
    [
        "# apiVersion: reconciler/v1 begins each manifest\n",
        "# apiVersion: v1\n# kind: WebService\n",
        "# A WebService of the team\n",
    ],
)
def test_other_comments_are_not_reported(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, {"manifests/one.yaml": text + service("one")}).findings == ()


def test_files_behind_hidden_links_are_read_and_not_reported(tmp_path: Path) -> None:
    folder = tmp_path / "manifests"
    (folder / "..2026_11_20").mkdir(parents=True)
    (folder / "..2026_11_20" / "a.yaml").write_text(service("a"))
    (folder / "..data").symlink_to("..2026_11_20")
    (folder / "a.yaml").symlink_to("..data/a.yaml")
    loaded = read(tmp_path, {})
    assert (names(loaded), loaded.findings) == (["a"], ())


def test_names_in_a_fleet_or_behind_a_broken_link_are_not_known(tmp_path: Path) -> None:
    (tmp_path / "manifests").mkdir()
    (tmp_path / "manifests" / "team").symlink_to("../absent")
    files = {
        "manifests/a.yaml": service("a"),
        "manifests/fleet.yaml.off": service("all", kind="Fleet"),
        "manifests/t.yaml.j2": service("{{ name }}"),
    }
    loaded = read(tmp_path, files)
    assert {one.file: one.names for one in loaded.unread} == {
        "manifests/fleet.yaml.off": None,
        "manifests/t.yaml.j2": None,
        "manifests/team": None,
    }


@pytest.mark.parametrize("folder", ["Manifests", "manifest", "MANIFESTS"])
def test_a_folder_that_is_nearly_manifests_is_reported(tmp_path: Path, folder: str) -> None:
    files = {"manifests/a.yaml": service("a"), f"{folder}/deep/b.yaml": service("b")}
    (unread,) = read(tmp_path, files).unread
    assert (unread.file, unread.why) == (f"{folder}/deep/b.yaml", "it is outside manifests/")


@pytest.mark.parametrize("name", ["reconciler.yml", "Reconciler.yaml", "reconciler.YAML"])
def test_a_project_file_with_a_near_name_is_suggested(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(PROJECT)
    finding = load(tmp_path, None, [], {"WebService": KIND}).findings[0]
    assert finding.next_step == f"Did you mean {name}? Rename it, or name it: --project {name}"

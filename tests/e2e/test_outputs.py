"""What commands write lands on no input of the project, and goes through no link of a checkout."""

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.e2e.world import Project, run

pytestmark = pytest.mark.e2e


@pytest.fixture
def changed(project: Project) -> Project:
    """A project with a ledger, whose next plan has a change."""
    world = project.emulator
    world.deploy("census", world.model_uri("old"))
    project.manifest("census", world.model_uri("new"), more="  definition: {file: ../d.yaml}")
    (project.folder / "d.yaml").write_text("tags: {a: b}\n")
    assert project.run("apply", "--auto-approve").code == 0
    (project.folder / "d.yaml").write_text("tags: {a: c}\n")
    return project


def keep(folder: Path) -> dict[str, bytes]:
    """All files but those of the cache, by name."""
    files = (one for one in folder.rglob("*") if one.is_file() and "observations" not in one.name)
    return {str(one.relative_to(folder)): one.read_bytes() for one in files}


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("manifests/census.yaml", "is not a saved plan, and --out replaces nothing else"),
        ("reconciler.yaml", "is not a saved plan"),
        ("d.yaml", "is not a saved plan"),
        (".reconciler/ledger.jsonl", "is not a saved plan"),
        (".reconciler/lock.json", "is not a saved plan"),
        (".reconciler/new.plan", "is in the folder of the ledger"),
        ("manifests/new.yaml", "is read as a part of the project"),
        ("manifests/NEW.YML", "is read as a part of the project"),
        ("manifests/empty.yaml", "is read as a part of the project"),
    ],
)
@pytest.mark.parametrize("command", [("plan",), ("rollback", "WebService/census")])
def test_a_saved_plan_replaces_no_other_file(
    changed: Project, command: tuple[str, ...], name: str, why: str
) -> None:
    (changed.folder / "manifests" / "empty.yaml").touch()
    before = keep(changed.folder)
    done = changed.run(*command, "--out", name)
    assert (done.code, f"Error: {name}: {why}" in done.err) == (1, True), done.said
    assert "Nothing was written." in done.err
    assert keep(changed.folder) == before


@pytest.mark.parametrize(
    "name", ["release.yaml", "release.YML", "release.plan", "release", "r.txt"]
)
def test_a_plan_is_recognised_by_its_content(changed: Project, name: str) -> None:
    assert changed.run("plan", "--out", name).code == 0
    assert changed.run("plan", "--out", name).code == 0
    assert changed.run("validate").out.startswith("Success! The configuration is valid: 1 resource")
    done = changed.run("apply", name)
    assert (done.code, "Resources: 0 added, 1 changed" in done.out) == (0, True), done.said


def test_a_plan_that_was_laid_out_for_reading_is_still_recognised(changed: Project) -> None:
    assert changed.run("plan", "--out", "a.yaml").code == 0
    file = changed.folder / "a.yaml"
    file.write_text("\n" + json.dumps(json.loads(file.read_text()), indent=4))
    assert changed.run("apply", "a.yaml").code == 0


def test_an_empty_file_and_a_pipe_take_a_plan(changed: Project) -> None:
    (changed.folder / "made.plan").touch()
    assert changed.run("plan", "--out", "made.plan").code == 0
    assert changed.run("show", "made.plan").code == 0
    assert changed.run("plan", "--out", os.devnull).code == 0


@pytest.mark.parametrize("victim", ["victim", "gone", "old.plan"])
def test_a_plan_is_not_written_through_a_link(changed: Project, victim: str) -> None:
    (changed.folder / "victim").write_text("precious")
    assert changed.run("plan", "--out", "old.plan").code == 0
    (changed.folder / "rel.plan").symlink_to(victim)
    before = keep(changed.folder)
    done = changed.run("plan", "--out", "rel.plan")
    assert (done.code, "rel.plan: is a symbolic link" in done.err) == (1, True), done.said
    assert keep(changed.folder) == before
    assert (changed.folder / "rel.plan").is_symlink()


def test_a_linked_folder_that_leads_out_of_the_checkout_takes_no_file(
    changed: Project, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (changed.folder / "plans").symlink_to(outside)
    (changed.folder / "here").mkdir()
    (changed.folder / "link").symlink_to("here")
    done = changed.run("plan", "--out", "plans/rel.plan")
    assert (done.code, "leads out of the checkout" in done.err) == (1, True), done.said
    assert not list(outside.iterdir())
    assert changed.run("plan", "--out", "link/rel.plan").code == 0
    assert changed.run("plan", "--out", str(outside / "rel.plan")).code == 0


@pytest.mark.parametrize(
    "link",
    [
        ".reconciler",
        ".reconciler/ledger.jsonl",
        ".reconciler/lock.json",
        ".reconciler/observations.sqlite3",
        ".reconciler/ledger.jsonl.new",
        ".reconciler/.gitignore",
    ],
)
def test_a_link_in_place_of_what_the_ledger_writes_is_refused(changed: Project, link: str) -> None:
    path, kept = changed.folder / link, changed.folder / "kept"
    if path.exists():
        path.rename(kept)
    else:
        kept.write_text("precious")
    path.symlink_to(kept)
    before = keep(kept) if kept.is_dir() else kept.read_bytes()
    for command in (("apply", "--auto-approve"), ("plan",), ("ledger", "compact")):
        done = changed.run(*command)
        assert (done.code, f"{link} is a symbolic link" in done.err) == (1, True), done.said
    assert (keep(kept) if kept.is_dir() else kept.read_bytes()) == before


def test_entries_are_not_recovered_from_a_link(changed: Project) -> None:
    (changed.folder / "errored.ledger.json").symlink_to("d.yaml")
    done = changed.run("ledger", "verify", "--recover", "errored.ledger.json")
    assert (done.code, "errored.ledger.json: is a symbolic link" in done.err) == (1, True)


def test_an_archive_replaces_no_other_file(changed: Project, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(changed.folder, tmp_path / "copied"))
    assert run(copied, "ledger", "compact").code == 0
    written = {one.name for one in (copied / ".reconciler").glob("ledger*.jsonl")}
    (name,) = written - {"ledger.jsonl"}
    archive = changed.folder / ".reconciler" / name
    archive.write_text("precious")
    done = changed.run("ledger", "compact")
    assert (done.code, f"{archive.name} exists and is another file" in done.err) == (1, True)
    assert archive.read_text() == "precious"


@pytest.mark.parametrize(
    "link", ["secrets", "manifests/census.yaml", "reconciler.yaml", ".schemas"]
)
def test_init_writes_through_no_link(tmp_path: Path, link: str) -> None:
    (tmp_path / "outside").mkdir()
    path = tmp_path / "p" / link
    path.parent.mkdir(parents=True)
    path.symlink_to(tmp_path / "outside" / ("" if "." not in link[1:] else "gone"))
    done = run(tmp_path / "p", "init")
    assert done.code == 1, done.said
    assert not list((tmp_path / "outside").iterdir())


def test_the_emulator_does_not_take_an_empty_ledger_for_a_log(project: Project) -> None:
    ledger = project.folder / ".reconciler" / "ledger.jsonl"
    ledger.parent.mkdir()
    ledger.touch()
    log = ("--log", ".reconciler/ledger.jsonl")
    done = project.run("emulator", "--port", "0", "--no-blob", *log)
    assert (done.code, "is not a log of the emulator" in done.err) == (1, True), done.said
    assert not ledger.read_bytes()


@pytest.mark.parametrize("text", ["apiVersion: reconciler/v1\n", '{"a": 1}\n', "[" * 100_000])
def test_the_emulator_appends_its_log_to_no_other_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    done = run(tmp_path, "emulator", "--port", "0", "--no-blob", "--log", "a.yaml")
    assert (done.code, "a.yaml: is not a log of the emulator" in done.err) == (1, True), done.said
    assert (tmp_path / "a.yaml").read_text() == text


@pytest.mark.parametrize(
    "command", [("init", "manifests/team"), ("demo", "--keep", "manifests/demo"), ("init", "docs")]
)
def test_no_second_project_is_written_among_the_manifests(
    project: Project, command: tuple[str, ...]
) -> None:
    project.manifest("census", project.emulator.model_uri("new"))
    if command[-1] == "docs":
        (project.folder / "docs").symlink_to("manifests")
    before = keep(project.folder)
    done = project.run(*command)
    assert (done.code, "would read the files of a project here" in done.err) == (1, True), done.said
    assert keep(project.folder) == before
    assert project.run("init", "beside").code == 0
    assert project.run("validate").code == 0


def test_the_emulator_does_not_begin_a_log_among_the_manifests(project: Project) -> None:
    log = ("--log", "manifests/log.yaml")
    done = project.run("emulator", "--port", "0", "--no-blob", *log)
    assert (done.code, "would be read as a manifest" in done.err) == (1, True), done.said
    assert not (project.folder / "manifests" / "log.yaml").exists()


def test_drift_is_not_accepted_into_what_another_manifest_declares(project: Project) -> None:
    world = project.emulator
    for name in ("census", "other"):
        world.deploy(name, world.model_uri("old"))
        project.manifest(name, more="  definition: {file: shared.yaml}")
    shared = project.folder / "manifests" / "shared.yaml"
    shared.write_text("properties: {description: declared}\n")
    assert project.run("apply", "--auto-approve").code == 0
    world.patch("census", description="live")
    done = project.run("drift", "--accept", "WebService/census")
    assert done.code == 1, done.said
    assert "WebService/other: would be declared with other values" in done.err, done.said
    assert shared.read_text() == "properties: {description: declared}\n"
    world.patch("other", description="live")
    both = ("--accept", "WebService/census", "--accept", "WebService/other")
    assert project.run("drift", *both).code == 0
    assert shared.read_text() == "properties: {description: live}\n"

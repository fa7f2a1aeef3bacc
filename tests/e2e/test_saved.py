"""Saved plans: shown, taken apart as patches, and held against the files they were made from."""

import json
import re
import shutil
import subprocess

import jsonpatch
import pytest

from reconciler.plans.plan_file import digest_of
from tests.e2e.world import Project

pytestmark = pytest.mark.e2e


def save(project: Project, *names: str) -> None:
    world = project.emulator
    for name in names:
        world.deploy(name, world.model_uri("old"))
        more = "  definition: {tags: {team: growth}}"
        project.manifest(name, world.model_uri("new"), more=more)
    assert project.run("plan", "--out", "p.json").code == 0


def test_the_patch_of_one_resource_is_a_bare_list_that_any_library_applies(
    project: Project,
) -> None:
    save(project, "census")
    world = project.emulator
    before = world.get("census")
    patch = json.loads(project.run("show", "p.json", "--patch").out)
    inverse = json.loads(project.run("show", "p.json", "--inverse").out)
    desired = jsonpatch.apply_patch(before, patch)
    assert desired["properties"]["assets"]["asset3"]["locationInfo"]["uri"] == world.model_uri(
        "new"
    )
    assert desired["tags"]["team"] == "growth"
    assert jsonpatch.apply_patch(desired, inverse) == before


def test_the_patches_of_several_are_by_address_and_one_may_be_chosen(project: Project) -> None:
    save(project, "a", "b")
    patches = json.loads(project.run("show", "p.json", "--patch").out)
    assert list(patches) == ["WebService/a", "WebService/b"]
    chosen = project.run("show", "p.json", "--patch", "--target", "WebService/b")
    assert json.loads(chosen.out) == patches["WebService/b"]
    wrong = project.run("show", "p.json", "--patch", "-target=WebService/c")
    assert (wrong.code, "It changes: WebService/a, WebService/b." in wrong.err) == (1, True)
    alone = project.run("show", "p.json", "--target", "WebService/b")
    assert (alone.code, "--target needs --patch" in alone.err) == (1, True)


def test_a_manifest_that_changed_since_is_said_and_the_reviewed_plan_is_applied(
    project: Project,
) -> None:
    save(project, "census")
    world = project.emulator
    project.manifest("census", world.model_uri("newer"))
    for command in ("show", "apply"):
        done = project.run(command, "p.json")
        assert done.code == 0
        assert "Warning: 1 file changed since this plan was made" in done.err
        assert "manifests/census.yaml" in done.err
    assert world.model("census") == world.model_uri("new")


def test_a_plan_without_steps_claims_nothing_of_what_is_live(project: Project) -> None:
    world = project.emulator
    world.deploy("census", world.model_uri("new"))
    project.manifest("census", world.model_uri("new"))
    assert project.run("plan", "--out", "p.json").code == 0
    world.deploy("census", world.model_uri("old"))
    done = project.run("apply", "p.json")
    assert done.code == 0
    assert "Warning: the saved plan has no steps, so no service is read" in done.err
    told = [json.loads(line) for line in project.run("apply", "p.json", "--json").out.splitlines()]
    assert [one["@level"] for one in told if "no service is read" in one["@message"]] == ["warn"]


def test_a_stale_plan_can_still_be_shown(project: Project) -> None:
    save(project, "census")
    project.emulator.deploy("census", project.emulator.model_uri("other"))
    shown = project.run("show", "p.json")
    assert "Plan: 0 to add, 1 to change, 0 to destroy." in shown.out
    assert shown.err == ""


def test_what_is_excluded_is_left_out(project: Project) -> None:
    save(project, "a", "b", "c")
    planned = project.run("plan", "-exclude=WebService/b", "--exclude", "WebService/c")
    assert "Plan: 0 to add, 1 to change, 0 to destroy." in planned.out
    wrong = project.run("plan", "--exclude", "WebService/z")
    assert (wrong.code, "no manifest declares this address" in wrong.err) == (1, True)


@pytest.mark.parametrize(
    "flag",
    [
        ("--target", "WebService/a"),
        ("-exclude=WebService/a",),
        ("--allow", "updates"),
        ("--rotate", "WebService/a"),
        ("--prune",),
        ("-destroy",),
    ],
)
def test_no_flag_shapes_a_plan_that_is_saved(project: Project, flag: tuple[str, ...]) -> None:
    save(project, "a", "b")
    refused = project.run("apply", "p.json", *flag)
    word = f"--{flag[0].lstrip('-').partition('=')[0]}"
    assert (refused.code, f"is applied unchanged: {word} cannot change it" in refused.err) == (
        1,
        True,
    ), refused.said
    assert project.emulator.model("a") == project.emulator.model_uri("old")
    assert project.run("apply", "p.json", "--parallelism", "2").code == 0


def read_digests(text: str) -> list[str]:
    return re.findall(r"Digest of (?:this plan|its changes): (sha256:[0-9a-f]{64})", text)


def test_a_plan_is_applied_only_if_it_is_the_expected_one(project: Project) -> None:
    save(project, "a")
    world = project.emulator
    document = json.loads((project.folder / "p.json").read_text())
    digests = [document["plan_digest"], document["changes_digest"]]
    for form in ("text", "markdown", "html"):
        shown = project.run("show", "p.json", "--format", form).out
        assert all(one in shown for one in digests)
    assert read_digests(project.run("show", "p.json").out) == digests
    again = read_digests(project.run("plan", "--refresh", "full").out)
    assert (again[0] != digests[0], again[1]) == (True, digests[1])
    other = f"sha256:{'0' * 64}"
    refused = project.run("apply", "p.json", "--expect", other, "--detailed-exitcode")
    assert (refused.code, "the plan is not the expected one" in refused.err) == (4, True)
    assert digests[1] in refused.err
    assert world.model("a") == world.model_uri("old")
    wrong = project.run("apply", "p.json", "--expect", "9f86d081")
    assert (wrong.code, "a digest is sha256:" in wrong.err) == (1, True)
    assert project.run("apply", "p.json", "--expect", digests[0]).code == 0


def test_the_changes_are_planned_again_and_compared_under_the_lock(project: Project) -> None:
    save(project, "a")
    world = project.emulator
    (expected,) = read_digests(project.run("show", "p.json").out)[1:]
    world.patch("a", title="Edited by others")  # unrelated
    manifest = project.manifest("a", world.model_uri("newer"))
    refused = project.run("apply", "--expect", expected, "--detailed-exitcode")
    assert refused.code == 4, refused.said
    assert "newer" in refused.out
    assert "WebService/a: update, " in refused.err
    assert world.model("a") == world.model_uri("old")
    manifest.unlink()
    more = "  definition: {tags: {team: growth}}"
    project.manifest("a", world.model_uri("new"), more=more)
    done = project.run("apply", "--expect", expected, "--detailed-exitcode")
    assert done.code == 0, done.said
    assert world.model("a") == world.model_uri("new")
    twice = project.run("apply", "--expect", expected, "--detailed-exitcode")
    assert (twice.code, "they may have been applied already" in twice.err) == (4, True)


def commit_all(project: Project, message: str) -> str:
    """Commit all files of a project, and return the commit."""
    git = ["git", "-C", str(project.folder), "-c", "user.name=t", "-c", "user.email=t@example.org"]
    for arguments in (
        ["init", "-q"],
        ["add", "."],
        ["commit", "-q", "--allow-empty", "-m", message],
    ):
        subprocess.run([*git, *arguments], check=True)
    found = subprocess.run([*git, "rev-parse", "HEAD"], check=True, stdout=subprocess.PIPE)
    return found.stdout.decode().strip()


def recorded_commits(project: Project) -> list[str]:
    lines = (project.folder / ".reconciler" / "ledger.jsonl").read_text().splitlines()
    return sorted({one["commit"] for one in map(json.loads, lines) if "address" in one})


@pytest.mark.parametrize("claimed", ["earlier", "f" * 40, "", "\x1b[31m", "x" * 5000])
def test_a_commit_that_a_plan_claims_is_not_recorded(project: Project, claimed: str) -> None:
    earlier = commit_all(project, "without manifests")
    save(project, "a")
    (project.folder / "p.json").rename(project.folder.parent / "p.json")
    head = commit_all(project, "with a manifest")
    plan = json.loads((project.folder.parent / "p.json").read_text())
    commit = earlier if claimed == "earlier" else claimed
    for dirty in (False, True):
        said = {**plan, "inputs": {**plan["inputs"], "commit": commit, "dirty": dirty}}
        text = json.dumps({**said, "plan_digest": digest_of(said)})
        (project.folder.parent / "p.json").write_text(text)
        project.emulator.deploy("a", project.emulator.model_uri("old"), title="")
        shutil.rmtree(project.folder / ".reconciler", ignore_errors=True)
        done = project.run("apply", "../p.json")
        assert done.code == 0, done.said
        assert recorded_commits(project) == [head]
        warned = "which is not the commit here" in done.err
        assert (warned, "\x1b" in done.err) == (bool(claimed), False)


def test_files_that_changed_since_make_the_recorded_commit_unproven(project: Project) -> None:
    save(project, "a", "b")
    commit_all(project, "first")
    project.manifest("b", project.emulator.model_uri("newer"))
    head = commit_all(project, "second")
    assert project.run("apply", "p.json").code == 0
    assert recorded_commits(project) == [f"{head}-dirty"]

"""From a manifest to a model swapped and proven, over real sockets."""

import collections
import json
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import jsonpatch
import pytest

from tests.e2e.world import (
    EXAMPLE,
    LONG_S,
    SUBSCRIPTION,
    Emulator,
    Project,
    begin_command,
    definition,
    pass_time,
    read_until,
    run,
    run_emulator,
    time_passing,
)
from tests.storage import upload_model

pytestmark = pytest.mark.e2e
MARKER = "marker-b1946ac9-planted"


def test_a_model_is_swapped_and_proven(project: Project) -> None:
    world = project.emulator
    world.deploy("census", world.model_uri("old"))
    project.manifest("census", world.model_uri("new"))
    planned = project.run("plan", "--detailed-exitcode")
    assert planned.code == 2
    assert "Plan: 0 to add, 1 to change, 0 to destroy." in planned.out
    assert '"…/census/old.ilearner" -> "…/census/new.ilearner"' in planned.out
    applied = project.run("apply", "--auto-approve")
    assert applied.code == 0
    assert "Apply complete! Resources: 0 added, 1 changed, 0 destroyed." in applied.out
    assert world.model("census") == world.model_uri("new")
    silent = project.run("plan", "--detailed-exitcode")
    assert (silent.code, "No changes." in silent.out) == (0, True)


def test_what_nobody_declared_stays_as_it_is(project: Project) -> None:
    world = project.emulator
    world.deploy("census", world.model_uri("old"), title="Kept", readOnly=False)
    before = world.get("census")
    project.manifest("census", world.model_uri("new"))
    assert project.run("apply", "--auto-approve").code == 0
    after = world.get("census")
    # Recorded: a PATCH whose body has no parameters makes an empty map of them vanish from a read.
    assert before["properties"].pop("parameters") == {}
    for document in (before, after):
        document["properties"]["assets"]["asset3"]["locationInfo"]["uri"] = ""
        document["properties"].pop("modifiedOn")
    assert after == before


def test_the_patch_of_a_plan_applies_to_the_live_definition(project: Project) -> None:
    world = project.emulator
    world.deploy("census", world.model_uri("old"))
    project.manifest("census", world.model_uri("new"))
    planned = json.loads(project.run("plan", "--format", "json").out)
    (change,) = planned["resource_changes"]
    desired = jsonpatch.apply_patch(world.get("census"), change["patch"])
    uri = desired["properties"]["assets"]["asset3"]["locationInfo"]["uri"]
    assert uri == world.model_uri("new")
    back = jsonpatch.apply_patch(desired, change["inverse"])
    assert back == world.get("census")


def test_a_saved_plan_is_executed_without_a_question(project: Project) -> None:
    world = project.emulator
    world.deploy("census", world.model_uri("old"))
    project.manifest("census", world.model_uri("new"))
    assert project.run("plan", "-out=plan.json").code == 0
    assert (project.folder / "plan.json").stat().st_mode & 0o777 == 0o600
    shown = project.run("show", "plan.json")
    assert shown.out.startswith("Reconciler will perform the following actions:")
    assert project.run("apply", "plan.json").code == 0
    assert world.model("census") == world.model_uri("new")


def test_a_saved_plan_is_refused_once_a_byte_has_changed(project: Project) -> None:
    world = project.emulator
    world.deploy("census", world.model_uri("old"))
    project.manifest("census", world.model_uri("new"))
    project.run("plan", "--out", "plan.json")
    file = project.folder / "plan.json"
    file.write_text(file.read_text().replace("new.ilearner", "bad.ilearner", 1))
    refused = project.run("apply", "plan.json")
    assert refused.code == 1
    assert "plan.json" in refused.err
    assert world.model("census") == world.model_uri("old")


def test_a_stale_plan_writes_nothing_at_all(project: Project) -> None:
    world = project.emulator
    for name in ("a", "b"):
        world.deploy(name, world.model_uri("old"))
        project.manifest(name, world.model_uri("new"))
    project.run("plan", "--out", "plan.json")
    assets = world.get("b")["properties"]["assets"]
    assets["asset3"]["locationInfo"]["uri"] = world.model_uri("other")
    world.patch("b", assets=assets)
    refused = project.run("apply", "plan.json", "--detailed-exitcode")
    assert refused.code == 4
    assert "Saved plan is stale" in refused.err
    assert world.model_uri("other") in refused.err
    assert world.model("a") == world.model_uri("old")


def test_an_unrelated_edit_neither_voids_a_plan_nor_is_lost(project: Project) -> None:
    world = project.emulator
    world.deploy("census", world.model_uri("old"))
    project.manifest("census", world.model_uri("new"))
    project.run("plan", "--out", "plan.json")
    assets = world.get("census")["properties"]["assets"]
    assets["asset1"]["name"] = "Renamed by somebody"
    world.patch("census", assets=assets, description="Edited by somebody")
    assert project.run("apply", "plan.json").code == 0
    live = world.get("census")["properties"]
    assert live["assets"]["asset3"]["locationInfo"]["uri"] == world.model_uri("new")
    assert live["assets"]["asset1"]["name"] == "Renamed by somebody"
    assert live["description"] == "Edited by somebody"


def test_anything_but_yes_cancels(project: Project) -> None:
    world = project.emulator
    world.deploy("census", world.model_uri("old"))
    project.manifest("census", world.model_uri("new"))
    for answer in ("no\n", "y\n", "", "YES\n"):
        cancelled = project.run("apply", stdin=answer)
        assert cancelled.code == 1
        assert "Only 'yes' will be accepted to approve." in cancelled.out
    assert world.model("census") == world.model_uri("old")
    assert project.run("apply", stdin="yes\n").code == 0
    assert world.model("census") == world.model_uri("new")


def test_somebody_elses_write_is_told_as_drift_and_settled(project: Project) -> None:
    world = project.emulator
    world.deploy("census", world.model_uri("old"))
    project.manifest("census", world.model_uri("new"))
    project.run("apply", "--auto-approve", env={"GITHUB_ACTOR": "ci"})
    world.deploy("census", world.model_uri("old"))
    planned = project.run("plan")
    assert '# drift: was "…/census/new.ilearner" when last applied' in planned.out
    assert "by ci" in planned.out
    assert project.run("apply", "--auto-approve").code == 0
    assert world.model("census") == world.model_uri("new")


def test_only_what_is_targeted_is_touched(project: Project) -> None:
    world = project.emulator
    for name in ("a", "b"):
        world.deploy(name, world.model_uri("old"))
        project.manifest(name, world.model_uri("new"))
    assert project.run("apply", "--auto-approve", "-target=WebService/b").code == 0
    assert world.model("a") == world.model_uri("old")
    assert world.model("b") == world.model_uri("new")


def test_a_changed_storage_account_is_caught_in_the_plan(project: Project) -> None:
    world = project.emulator
    world.deploy("census", world.model_uri("old"))
    more = "  definition: {properties: {storageAccount: {name: another}}}"
    project.manifest("census", world.model_uri("new"), more=more)
    planned = project.run("plan", "--detailed-exitcode")
    assert planned.code == 1
    assert "cannot be created without properties.storageAccount.key" in planned.err


def test_a_replacement_needs_its_flag_and_then_is_done(project: Project) -> None:
    world = project.emulator
    world.deploy("census", world.model_uri("old"))
    more = (
        "  definition:\n    properties:\n      storageAccount: {name: another}\n"
        f"      commitmentPlan: {{id: /subscriptions/{SUBSCRIPTION}/plan}}\n"
        "  secrets: {/properties/storageAccount/key: {env: KEY}}"
    )
    project.manifest("census", world.model_uri("new"), more=more)
    env = {"KEY": MARKER}
    refused = project.run("plan", "--detailed-exitcode", env=env)
    assert refused.code == 3
    assert "-/+" in refused.out
    assert "forces replacement" in refused.out
    assert "--allow replace=WebService/census" in refused.out
    assert world.get("census")["properties"]["storageAccount"]["name"] == "devstoreaccount1"
    done = project.run("apply", "--auto-approve", "--allow", "replace", env=env)
    assert done.code == 0, done.err
    assert "Resources: 1 added, 0 changed, 1 destroyed." in done.out
    assert world.get("census")["properties"]["storageAccount"]["name"] == "another"
    assert project.run("plan", "--detailed-exitcode", env=env).code == 0


def test_forty_services_are_updated_and_then_silent(project: Project, tmp_path: Path) -> None:
    project.guards = ", maxUpdates: 100%"
    project.write_project()
    world = project.emulator
    for number in range(40):
        columns = {f"c{n}": {"type": "Integer", "format": "Int32"} for n in range(number)}
        table = {"type": "object", "properties": columns}
        world.deploy(
            f"s{number:02}",
            world.model_uri(f"old-{number}"),
            title=f'Service {number} für <alle> | "{number}"',
            description="" if number % 3 else f"Region {number}",
            input={"type": "object", "properties": {"input1": table}},
            keys={"primary": f"{MARKER}-live", "secondary": f"{MARKER}-live"},
        )
        more = (
            f"  definition: {{tags: {{n: '{number}'}}}}\n"
            "  secrets: {/properties/keys/primary: {env: SERVICE_KEY, version: v1},"
            " /properties/keys/secondary: {file: ../secret.key}}"
        )
        project.manifest(f"s{number:02}", world.model_uri(f"new-{number}"), more=more)
    (project.folder / "secret.key").write_text(f"{MARKER}-file\n")
    env = {"SERVICE_KEY": f"{MARKER}-env", "HOME": str(tmp_path / "home")}
    said = []
    for arguments, code, sentence in (
        (("plan", "--detailed-exitcode", "--out", "p.json"), 2, "Plan: 0 to add, 40 to change"),
        (("plan", "--format", "json"), 0, '"resource_changes"'),
        (("apply", "--auto-approve"), 0, "0 added, 40 changed, 0 destroyed."),
        (("plan", "--detailed-exitcode"), 0, "No changes."),
        (("plan", "--detailed-exitcode", "--refresh=full"), 0, "No changes."),
    ):
        done = project.run(*arguments, env=env)
        assert (done.code, sentence in done.out) == (code, True), done.said
        said.append(done.said)
    lines = (project.folder / ".reconciler" / "ledger.jsonl").read_text().splitlines()
    kinds = collections.Counter(json.loads(line)["kind"] for line in lines)
    assert kinds == {"intent": 40, "outcome": 40}
    _, keys, _ = world.send("GET", world.path("s07") + "/listKeys")
    assert keys == {"primary": f"{MARKER}-env", "secondary": f"{MARKER}-file"}
    shutil.rmtree(project.folder / ".reconciler")
    silent = project.run("plan", "--detailed-exitcode", env=env)
    assert (silent.code, "No changes." in silent.out) == (0, True)
    (project.folder / "secret.key").unlink()
    written = [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()]
    assert written
    assert all(MARKER.encode() not in content for content in written)
    assert all(MARKER not in text for text in said)


def test_a_lost_ledger_changes_no_operation_and_is_said(project: Project) -> None:
    world = project.emulator
    world.deploy("census", world.model_uri("old"))
    project.manifest("census", world.model_uri("first"))
    project.run("apply", "--auto-approve")
    project.manifest("census", world.model_uri("second"))
    kept = json.loads(project.run("plan", "--format", "json").out)
    shutil.rmtree(project.folder / ".reconciler")
    lost = json.loads(project.run("plan", "--format", "json").out)
    assert lost["resource_changes"][0]["patch"] == kept["resource_changes"][0]["patch"]
    assert (kept["baseline"], lost["baseline"]) == ("kept", "lost")
    assert "baseline: lost" in project.run("plan").out


def test_the_example_is_created_and_then_silent(own_group: Emulator, tmp_path: Path) -> None:
    folder = tmp_path / "census"
    shutil.copytree(EXAMPLE, folder)
    project = Project(folder, own_group, blobs="required")
    manifest = folder / "manifests" / "census.yaml"
    text = manifest.read_text()
    # Other tests of this process upload the model of the example.
    written = "http://127.0.0.1:10000/devstoreaccount1/models/census/2026-11-20.ilearner"
    assert written in text
    model = f"{own_group.blob}/devstoreaccount1/models/{own_group.group}/2026-11-20.ilearner"
    manifest.write_text(text.replace(written, model))
    refused = project.run("plan", "--detailed-exitcode")
    assert refused.code == 3
    assert "the model blob does not exist" in refused.out
    upload_model(model, b"a trained model", {})
    planned = project.run("plan", "--detailed-exitcode")
    assert (planned.code, "Plan: 1 to add" in planned.out) == (2, True), planned.said
    assert project.run("apply", "--auto-approve").code == 0
    assert own_group.model("census") == model
    assert project.run("plan", "--detailed-exitcode").code == 0


def test_a_new_project_validates_and_plans_at_once(own_group: Emulator, tmp_path: Path) -> None:
    made = run(tmp_path, "init", "mine")
    assert made.code == 0
    assert run(tmp_path / "mine", "validate").out.startswith("Success!")
    again = run(tmp_path, "init", "mine")
    assert again.code == 1
    assert "already exists: " in again.err
    # Whoever answers at the shared address is not asked.
    file = tmp_path / "mine" / "reconciler.yaml"
    here = f"cloud: {{resourceManager: '{own_group.url}', blob: '{own_group.blob}'}} #"
    file.write_text(file.read_text().replace("cloud: emulator #", here))
    manifest = tmp_path / "mine" / "manifests" / "census.yaml"
    manifest.write_text(manifest.read_text().replace("http://127.0.0.1:10000", own_group.blob))
    planned = run(tmp_path / "mine", "plan")
    assert "Plan: 1 to add" in planned.out, planned.said


def test_pinned_bytes_are_compared(own_group: Emulator, tmp_path: Path) -> None:
    project = Project(tmp_path, own_group, blobs="required")
    uri = own_group.model_uri("pinned")
    digest = upload_model(uri, b"the very bytes", {}).removeprefix("sha256:")
    own_group.deploy("census", own_group.model_uri("old"))
    for pin, code in ((digest, 2), ("0" * 64, 3)):
        file = project.manifest("census", uri)
        file.write_text(file.read_text().replace("'}", f"', sha256: '{pin}'}}"))
        assert project.run("plan", "--detailed-exitcode").code == code
    assert "does not match the pinned sha256" in project.run("plan").out


def test_a_read_only_service_is_told_in_the_plan(project: Project) -> None:
    world = project.emulator
    world.deploy("census", world.model_uri("old"), readOnly=True)
    project.manifest("census", world.model_uri("new"))
    planned = project.run("plan")
    assert (planned.code, "is read-only: the service accepts no change" in planned.err) == (1, True)
    project.manifest("census", world.model_uri("old"))
    assert project.run("plan", "--detailed-exitcode").code == 0


def test_a_saved_plan_asks_for_its_secrets_before_the_first_write(project: Project) -> None:
    world = project.emulator
    for name in ("a", "b"):
        world.deploy(name, world.model_uri("old"))
        secret = "  secrets: {/properties/keys/primary: {env: KEY}}" if name == "b" else ""
        project.manifest(name, world.model_uri("new"), more=secret)
    assert project.run("plan", "--out", "p.json", env={"KEY": "x"}).code == 0
    refused = project.run("apply", "p.json")
    assert refused.code == 1
    assert "WebService/b: the secret is not set\n\n  env KEY\n\n  Set KEY" in refused.err
    assert world.model("a") == world.model_uri("old")


@pytest.fixture
def long_operations(tmp_path: Path) -> Iterator[Project]:
    """A project of eight services, whose operations run until the test lets time pass."""
    with run_emulator("--no-blob", f"--operation-seconds={LONG_S}") as world:
        world.blob = world.url  # nothing reads a model
        project = Project(tmp_path / "project", world)
        begun = [world.begin("PUT", f"s{n}", definition(world.model_uri("old"))) for n in range(8)]
        pass_time(world.url, LONG_S)
        for number, operation in enumerate(begun):
            world.finish(operation)
            project.manifest(f"s{number}", world.model_uri("new"))
        yield project


def test_ctrl_c_finishes_what_was_begun_and_records_it(long_operations: Project) -> None:
    project, world = long_operations, long_operations.emulator
    before = [world.get(f"s{number}") for number in range(8)]
    command = ("apply", "--auto-approve", "--parallelism=1")
    with begin_command(project.folder, *command, stdout=subprocess.DEVNULL) as process:
        assert process.stderr is not None
        said = ""
        for number in range(3):
            said += read_until(process.stderr, f"s{number}: Modifying")
            if number < 2:
                while world.get(f"s{number}") == before[number]:  # it has not accepted the write
                    assert process.poll() is None
                pass_time(world.url, LONG_S)
        process.send_signal(signal.SIGINT)
        said += read_until(process.stderr, "Interrupt received.")
        with time_passing(world.url):
            said += process.stderr.read()
    assert process.returncode == 130
    assert "The running steps were finished and recorded." in said
    lines = (project.folder / ".reconciler" / "ledger.jsonl").read_text().splitlines()
    changed = [n for n in range(8) if world.model(f"s{n}") == world.model_uri("new")]
    ended = [line for line in map(json.loads, lines) if line["kind"] == "outcome"]
    assert [line["address"] for line in ended] == [f"WebService/s{n}" for n in changed]
    assert len(lines) == 2 * len(ended)
    assert changed == [0, 1, 2]
    with time_passing(world.url):
        assert project.run("apply", "--auto-approve").code == 0
    assert project.run("plan", "--detailed-exitcode").code == 0

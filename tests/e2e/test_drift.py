"""Drift as a person asks for it: real processes, a real service, real storage."""

import json
import os
from pathlib import Path

import pytest

from tests.e2e.world import Project, clock_ahead, run
from tests.scripted import Answer, run_scripted
from tests.storage import upload_model

pytestmark = pytest.mark.e2e
CALLS = "  definition: {properties: {realtimeConfiguration: {maxConcurrentCalls: 20}}}"


@pytest.fixture
def applied(project: Project) -> Project:
    """Two services under management, their models in storage."""
    world = project.emulator
    project.blobs = "required"
    project.write_project()
    for name in "ab":
        upload_model(world.model_uri(f"new-{world.group}"), b"the trained model", os.environ)
        world.deploy(name, world.model_uri("old"))
        project.manifest(name, world.model_uri(f"new-{world.group}"), more=CALLS)
    assert project.run("apply", "--auto-approve").code == 0
    return project


def drift(project: Project, *flags: str) -> tuple[int, str]:
    done = project.run("drift", "--detailed-exitcode", "--refresh=full", *flags)
    return done.code, done.out


def test_silence_where_nothing_moved(applied: Project) -> None:
    code, out = drift(applied)
    assert code == 0
    assert out == "No drift. 2 services in sync.\nCoverage: 2 of 2 services; read 2 in 2 calls.\n"


def test_who_moved_what_is_told_in_every_form(applied: Project) -> None:
    world = applied.emulator
    world.patch("a", realtimeConfiguration={"maxConcurrentCalls": 11}, description="somebody")
    code, out = drift(applied)
    assert code == 2
    assert "# WebService/a: drifted, last applied " in out
    assert "drifted: properties.realtimeConfiguration.maxConcurrentCalls" in out
    assert "drifted: properties.description (no manifest declares it)" in out
    assert 'live       "somebody"' in out
    assert "declared   20   # manifests/a.yaml:7\n" in out
    assert "resolve: reconciler apply --target WebService/a" in out
    assert "Drift: 1 drifted; 1 of 2 in sync." in out
    code, text = drift(applied, "--format", "json")
    reported = json.loads(text)
    assert (code, reported["outcome"]) == (2, "drift")
    assert [one["verdict"] for one in reported["resources"]] == ["drifted", "in sync"]
    assert reported["resources"][0]["applied"]["by"]
    code, text = drift(applied, "--format", "markdown")
    assert code == 2
    assert text.startswith("<!-- reconciler drift census -->\n### Drift: 1 drifted;")
    assert applied.run("drift").code == 0
    # Nothing that was not declared is planned.
    planned = applied.run("plan", "--refresh=full").out
    assert "maxConcurrentCalls = 11 -> 20" in planned
    assert "description" not in planned


def test_a_finding_keeps_the_day_on_which_it_was_first_seen(applied: Project) -> None:
    applied.emulator.patch("a", description="somebody")

    def since() -> str:
        _, text = drift(applied, "--format", "json")
        (found,) = json.loads(text)["findings"]
        return str(found["since"])

    first = since()
    with clock_ahead(60):
        assert drift(applied, "--target", "WebService/b")[0] == 0
        assert since() == first
        applied.emulator.patch("a", description="somebody else")
        assert since() > first


def test_a_machine_without_a_cache_knows_what_is_new(applied: Project) -> None:
    applied.emulator.patch("a", description="somebody")
    assert " (new)" in drift(applied)[1]
    for file in Path(applied.folder, ".reconciler").glob("observations*"):
        file.unlink()
    with clock_ahead(3 * 3600):
        code, out = drift(applied)
    assert code == 2
    assert ", 3 h ago\n" in out
    assert "Findings: 0 new, 1 known; the oldest was first seen 3 h ago.\n" in out
    assert "Trend: 1 1 not in sync in the last 2 runs.\n" in out


def test_an_apply_does_not_hide_the_drift_that_it_overwrites(applied: Project) -> None:
    applied.emulator.patch("a", realtimeConfiguration={"maxConcurrentCalls": 11})
    assert applied.run("apply", "--auto-approve", "--refresh=full").code == 0
    code, out = drift(applied)
    assert code == 0
    assert "Overwritten by an apply before a report had it: 1 finding of the last 7 days.\n" in out
    assert "  WebService/a drifted properties.realtimeConfiguration.maxConcurrentCalls: " in out
    shown = applied.run("history", "WebService/a").out
    assert "maxConcurrentCalls" in shown
    assert "11" in shown
    with clock_ahead(8 * 86_400):
        assert "Overwritten" not in drift(applied)[1]


def test_a_history_that_cannot_be_written_costs_no_apply(applied: Project) -> None:
    (applied.folder / ".reconciler" / "drift").write_text("a file")
    applied.emulator.patch("a", realtimeConfiguration={"maxConcurrentCalls": 11})
    done = applied.run("apply", "--auto-approve", "--refresh=full")
    assert done.code == 0, done.said
    assert "Warning: " in done.said
    assert "the drift history cannot be written: " in done.said
    applied.emulator.patch("a", realtimeConfiguration={"maxConcurrentCalls": 12})
    done = applied.run("apply", "--auto-approve", "--refresh=full", "--format=json")
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert [one["@level"] for one in lines if "drift history" in json.dumps(one)] == ["warn"]


def test_a_damaged_history_is_a_warning_and_costs_dates_only(applied: Project) -> None:
    applied.emulator.patch("a", description="somebody")
    drift(applied)
    history = Path(applied.folder, ".reconciler", "drift", "history.jsonl")
    history.write_bytes(history.read_bytes()[:-9])
    done = applied.run("drift", "--detailed-exitcode", "--refresh=full")
    assert done.code == 2
    assert "Warning: the drift history has a line that cannot be read" in done.err, done.err
    assert "history.jsonl line 3, column 1" in done.err
    assert "Findings: 1 new." in done.out
    done = applied.run("drift", "--detailed-exitcode", "--refresh=full")
    assert ("Warning" in done.err, "Findings: 0 new, 1 known" in done.out) == (False, True)


def test_a_run_before_the_first_apply_keeps_no_history(project: Project) -> None:
    project.write_project()
    project.manifest("a", project.emulator.model_uri("new"))
    assert drift(project)[0] == 2
    assert not Path(project.folder, ".reconciler", "drift").exists()


RULE = """\
# yaml-language-server: $schema=.schemas/drift-ignore.schema.json
- address: WebService/a
  pointer: /properties/description
  reason: the vendor writes it
  until: 2099-12-31
  owner: ana
"""


def test_an_ignored_change_is_listed_and_fails_no_job(applied: Project) -> None:
    applied.emulator.patch("a", description="somebody")
    (applied.folder / ".driftignore").write_text(RULE)
    code, out = drift(applied)
    assert code == 0
    assert out.startswith("No drift. 2 services in sync.\nIgnored: 1 finding by 1 rule of ")
    assert "  WebService/a drifted properties.description: the vendor writes it (until " in out
    reported = json.loads(drift(applied, "--format", "json")[1])
    assert reported["ignored"][0]["rule"]["place"]["line"] == 2
    assert ".driftignore" in reported["inputs"]["files"]
    done = applied.run("ci", "drift", "--detailed-exitcode")
    assert (done.code, "Ignored: 1 finding" in done.out) == (0, True)
    (applied.folder / ".driftignore").write_text(RULE.replace("2099-12-31", "2026-01-01"))
    code, out = drift(applied)
    assert code == 2
    assert "Expired: 1 rule of .driftignore. Renew or remove it.\n  .driftignore:2:3 " in out
    # A person who accepts the value does not want it to be ignored.
    (applied.folder / ".driftignore").write_text(RULE)
    assert "somebody" not in (applied.folder / "manifests" / "a.yaml").read_text()
    assert applied.run("drift", "--accept", "WebService/a").code == 0
    assert "somebody" in (applied.folder / "manifests" / "a.yaml").read_text()


def test_a_baseline_decides_what_is_new_and_what_counts(applied: Project) -> None:
    applied.emulator.patch("a", description="somebody")
    assert drift(applied, "--out", "base.json")[0] == 2
    code, out = drift(applied, "--new-only")
    assert (code, "No new drift. 1 of 2 services in sync.\nLeft out: 1 known" in out) == (0, True)
    applied.emulator.patch("b", description="somebody")
    # The history knows it after this run, and the baseline does not.
    for _ in range(2):
        code, out = drift(applied, "--new-only", "--baseline", "base.json")
        assert (code, "WebService/b: drifted" in out) == (2, True)
        assert "WebService/a: drifted" not in out
    done = applied.run("ci", "drift", "--detailed-exitcode", "--new-only")
    assert (done.code, "No new drift." in done.out) == (0, True), done.out
    done = applied.run("ci", "drift", "--detailed-exitcode", "--baseline", "base.json")
    assert (done.code, "Findings: 1 new, 1 known" in done.out) == (2, True), done.out
    done = applied.run("drift", "--accept", "WebService/a", "--new-only")
    assert (done.code, "--accept makes no report" in done.err) == (1, True)


@pytest.mark.parametrize(
    ("name", "said"),
    [("none.json", "cannot be read: No such file"), (".", "Is a directory"), ("x.plan", "a plan")],
)
def test_what_is_no_baseline_ends_drift_before_anything_is_read(
    applied: Project, name: str, said: str
) -> None:
    applied.manifest("b", applied.emulator.model_uri(f"new-{applied.emulator.group}"))
    assert applied.run("plan", "--out", "x.plan").code == 0
    for command in (["drift"], ["ci", "drift"]):
        done = applied.run(*command, "--baseline", name)
        assert done.code == 1
        assert said in done.said, done.said
        assert "reconciler drift --out baseline.json" in done.said
        assert "Refreshing state" not in done.said


def test_a_wrong_rule_is_named_before_anything_is_read(applied: Project) -> None:
    (applied.folder / ".driftignore").write_text(RULE.replace("  owner: ana\n", "  onwer: ana\n"))
    for command in (["drift"], ["validate"], ["ci", "drift"]):
        done = applied.run(*command)
        assert done.code == 1, command
        assert "the rule lacks owner" in done.said
        assert 'Did you mean "owner"?' in done.said
        assert "Refreshing state" not in done.said
    assert applied.run("plan").code == 0


def test_init_writes_the_schema_for_the_rules(tmp_path: Path) -> None:
    assert run(tmp_path, "init").code == 0
    schema = json.loads((tmp_path / ".schemas" / "drift-ignore.schema.json").read_text())
    assert schema["title"] == "DriftIgnore"


def test_other_bytes_at_the_same_address(applied: Project) -> None:
    uri = applied.emulator.model_uri(f"new-{applied.emulator.group}")
    upload_model(uri, b"another trained model", os.environ)
    code, out = drift(applied)
    assert code == 2
    assert out.count("artifact-mutated: ") == 2
    assert "the bytes at this address have changed" in out
    assert "Drift: 2 artifact-mutated; 0 of 2 in sync." in out


def test_one_that_is_gone_one_that_nobody_names_and_one_that_is_pending(applied: Project) -> None:
    world = applied.emulator
    world.write("DELETE", "a", None)
    world.deploy("z", world.model_uri("old"))
    applied.manifest("b", world.model_uri(f"new-{world.group}"), more=CALLS.replace("20", "30"))
    code, out = drift(applied, "--unmanaged")
    assert code == 2
    assert "Drift: 1 missing, 1 pending, 1 unmanaged; 0 of 3 in sync." in out
    assert "resolve: reconciler import WebService/z /subscriptions/" in out
    assert "or:      reconciler forget WebService/a" in out
    code, out = drift(applied, "--target", "WebService/b")
    assert "Drift: 1 pending; 0 of 1 in sync." in out


def test_a_service_that_cannot_be_read_is_neither_in_sync_nor_gone(applied: Project) -> None:
    def script(_: object, __: int) -> Answer:
        return Answer(403, {"error": {"code": "AuthorizationFailed", "message": "no leave"}})

    with run_scripted(script) as broken:
        text = Path(applied.folder, "reconciler.yaml").read_text()
        Path(applied.folder, "reconciler.yaml").write_text(
            text.replace(applied.emulator.url + '", blob', broken.url + '", blob')
        )
        code, out = drift(applied)
        assert code == 8
        assert "Drift: 2 evidence incomplete; 0 of 2 in sync." in out
        assert "Coverage: 0 of 2 services" in out
        assert "missing" not in out
        assert applied.run("drift").code == 1
        code, text = drift(applied, "--format", "json")
        assert json.loads(text)["outcome"] == "evidence-incomplete"


def test_without_a_ledger_only_what_is_declared_can_be_compared(applied: Project) -> None:
    for file in Path(applied.folder, ".reconciler").glob("ledger*"):
        file.unlink()
    applied.emulator.patch("a", description="somebody")
    code, out = drift(applied)
    assert code == 0
    assert "baseline: lost." in out


def find_day(project: Project, action: str) -> str:
    """The day of the last entry with an action: a test may begin before midnight."""
    entries = json.loads(project.run("history", "--json").out)["entries"]
    return next(str(one["at"])[:10] for one in entries if one["action"] == action)


def test_what_we_have_destroyed_or_forgotten_is_not_said_to_be_new(applied: Project) -> None:
    assert applied.run("forget", "WebService/b").code == 0
    applied.emulator.write("DELETE", "b", None)
    forgotten = find_day(applied, "forget")
    assert f"pending (it does not exist: it was forgotten {forgotten} by " in drift(applied)[1]
    assert applied.run("apply", "--auto-approve", "--destroy", "--allow", "deletes").code == 0
    code, out = drift(applied)
    assert code == 2
    destroyed = find_day(applied, "delete")
    assert f"pending (it does not exist: it was destroyed {destroyed} by " in out, out
    applied.manifest("c", applied.emulator.model_uri("new"))
    assert "it does not exist, and is not in the ledger" in drift(applied)[1]


def test_a_refusal_of_an_apply_is_printed_once(applied: Project) -> None:
    done = applied.run("apply", "--auto-approve", "--destroy")
    assert done.code == 1
    assert done.said.count("spec.guards.maxDeletes is 0") == 1, done.said
    assert "spec.guards.maxDeletes is 0" in done.err
    assert "Refused by the guard deletes: apply will not run this plan." in done.out
    assert "spec.guards.maxDeletes is 0" in applied.run("plan", "--destroy").out


def test_a_secret_of_a_service_that_was_forgotten_is_pending(applied: Project) -> None:
    secrets = "  secrets: {/properties/storageAccount/key: {env: STORAGE_KEY}}"
    file = applied.folder / "manifests" / "a.yaml"
    file.write_text(f"{file.read_text()}{secrets}\n")
    env = {"STORAGE_KEY": "a-storage-key"}
    assert applied.run("apply", "--auto-approve", env=env).code == 0
    assert drift(applied)[0] == 0
    assert applied.run("forget", "WebService/a").code == 0
    planned = applied.run("plan", "--detailed-exitcode", env=env)
    assert (planned.code, "Plan: 0 to add, 1 to change, 0 to destroy." in planned.out) == (2, True)
    code, out = drift(applied)
    assert code == 2, out
    assert "pending: properties.storageAccount.key (the ledger does not record that it was" in out
    assert "resolve: reconciler apply --target WebService/a" in out
    assert applied.run("apply", "--auto-approve", env=env).code == 0
    assert drift(applied)[0] == 0

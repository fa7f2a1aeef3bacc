"""History, and the way back from it, by the command line and over a real socket."""

import json
import re
from pathlib import Path

import pytest

from tests.e2e.world import MODEL, Done, Project
from tests.outputs import check_output

pytestmark = pytest.mark.e2e
CALLS = "/properties/realtimeConfiguration/maxConcurrentCalls"


def declare(project: Project, model: str, calls: int) -> None:
    more = (
        "  definition:\n    properties:\n      realtimeConfiguration:"
        f"\n        maxConcurrentCalls: {calls}"
    )
    project.manifest("census", project.emulator.model_uri(model), more=more)


def apply(project: Project, model: str, calls: int) -> None:
    declare(project, model, calls)
    done = project.run("apply", "--auto-approve")
    assert done.code == 0, done.said


@pytest.fixture
def applied(project: Project) -> Project:
    """One service to which two models were applied, one after the other."""
    project.emulator.deploy("census", project.emulator.model_uri("first"))
    apply(project, "old", 10)
    apply(project, "new", 20)
    return project


def entries(project: Project) -> list[dict[str, object]]:
    done = project.run("history", "--json")
    document = json.loads(done.out)
    check_output(document, "history")
    found: list[dict[str, object]] = document["entries"]
    return found


def served(project: Project) -> tuple[str, int]:
    properties = project.emulator.get("census")["properties"]
    uri = project.emulator.model("census")
    return uri, properties["realtimeConfiguration"]["maxConcurrentCalls"]


def model(project: Project, name: str) -> str:
    return project.emulator.model_uri(name)


def test_history_tells_what_was_applied_the_newest_first(applied: Project) -> None:
    done = applied.run("history", "WebService/census")
    assert done.code == 0, done.said
    heads = [line for line in done.out.splitlines() if line.startswith("#")]
    assert len(heads) == 2
    assert all("~ update  WebService/census  by " in head for head in heads)
    numbers = [int(head[1:].split()[0]) for head in heads]
    assert numbers == sorted(numbers, reverse=True)
    assert f"{CALLS[1:].replace('/', '.')} = 10 -> 20" in done.out.split("#")[1]
    assert [one["sequence"] for one in entries(applied)] == numbers
    unknown = applied.run("history", "WebService/censsus")
    assert (unknown.code, "Did you mean WebService/census?" in unknown.err) == (1, True)


def test_what_was_remembered_then_and_who_wrote_it(applied: Project) -> None:
    first = entries(applied)[1]["sequence"]
    then = applied.run("history", "--at", f"#{first}")
    assert f"Remembered at #{first}:" in then.out
    assert "maxConcurrentCalls = 10" in then.out
    now = applied.run("history", "WebService/census", "--at", "2999-01-01")
    assert "maxConcurrentCalls = 20" in now.out
    blame = applied.run("history", "WebService/census", "--blame", "--json")
    document = json.loads(blame.out)
    check_output(document, "history")
    fields = {one["pointer"]: one for one in document["fields"]}
    assert fields[CALLS]["value"] == 20
    assert fields[CALLS]["wrote"]
    wrong = applied.run("history", "--at", "yesterday")
    assert (wrong.code, "it must be like 2026-11-20" in wrong.err) == (1, True)
    assert applied.run("history", "--blame").code == 1


def test_the_last_apply_is_rolled_back_and_then_the_manifest_brings_it_back(
    applied: Project,
) -> None:
    applied.emulator.patch("census", title="Theirs")
    asked = applied.run("rollback", "WebService/census", stdin="no\n")
    assert asked.code == 1
    assert "Do you want to perform these actions?" in asked.out
    assert served(applied) == (model(applied, "new"), 20)
    done = applied.run("rollback", "WebService/census", stdin="yes\n")
    assert done.code == 0, done.said
    assert "Resources: 0 added, 1 changed, 0 destroyed." in done.out
    assert re.search(r"maxConcurrentCalls = 20 -> 10 +# rollback to #\d+", done.out)
    assert "the manifest still declares an undone value: the next apply writes it again" in done.out
    assert "on manifests/census.yaml line 6, column " in done.out
    assert f"{CALLS} on manifests/census.yaml:10:" in done.out
    assert served(applied) == (model(applied, "old"), 10)
    assert applied.emulator.get("census")["properties"]["title"] == "Theirs"
    drift = applied.run("drift", "--detailed-exitcode")
    assert (drift.code, "pending" in drift.out) == (2, True), drift.said
    assert applied.run("plan", "--detailed-exitcode").code == 2
    assert applied.run("apply", "--auto-approve").code == 0
    assert served(applied) == (model(applied, "new"), 20)


def test_a_rollback_is_saved_reviewed_and_applied_like_any_plan(applied: Project) -> None:
    apply(applied, "newest", 30)
    first = entries(applied)[2]["sequence"]
    saved = applied.run("rollback", "WebService/census", "--to", f"#{first}", "--out", "b.plan")
    assert saved.code == 0, saved.said
    assert 'reconciler apply "b.plan"' in saved.out
    assert served(applied) == (model(applied, "newest"), 30), "nothing was done yet"
    document = json.loads((applied.folder / "b.plan").read_text())
    check_output(document, "plan")
    (change,) = document["resource_changes"]
    assert {one["cause"] for one in change["because"]} == {"rollback"}
    for form in ("json", "markdown", "html"):
        shown = applied.run("rollback", "WebService/census", "--out", "x", "--format", form)
        assert shown.code == 0, shown.said
        assert applied.run("show", "x", "--format", form).out == shown.out
    mixed = applied.run("rollback", "WebService/census", "--format", "json", "--auto-approve")
    assert (mixed.code, "needs --out" in mixed.out) == (1, True)
    assert applied.run("apply", "b.plan").code == 0
    assert served(applied) == (model(applied, "old"), 10)


def test_a_saved_rollback_goes_stale_like_any_plan(applied: Project) -> None:
    assert applied.run("rollback", "WebService/census", "--out", "b.plan").code == 0
    applied.emulator.patch("census", realtimeConfiguration={"maxConcurrentCalls": 50})
    stale = applied.run("apply", "b.plan", "--detailed-exitcode")
    assert (stale.code, f"{CALLS} has changed" in stale.err) == (4, True), stale.said
    assert served(applied) == (model(applied, "new"), 50)


def test_what_cannot_be_rolled_back_says_why_and_writes_nothing(applied: Project) -> None:
    def refused(*arguments: str) -> Done:
        before = applied.emulator.get("census")
        done = applied.run("rollback", *arguments, "--auto-approve")
        assert done.code == 1, done.said
        assert applied.emulator.get("census") == before
        return done

    assert "Did you mean WebService/census?" in refused("WebService/censsus").err
    assert "has no completed entry #99" in refused("WebService/census", "--to", "99").err
    newest = entries(applied)[0]["sequence"]
    assert "nothing was applied after" in refused("WebService/census", "--to", f"{newest}").err
    assert applied.run("forget", "WebService/census").code == 0
    assert "it was forgotten by #" in refused("WebService/census").err


def test_the_model_that_is_gone_from_storage_refuses_the_way_back(applied: Project) -> None:
    applied.blobs = "required"
    applied.write_project()
    refused = applied.run("rollback", "WebService/census", "--auto-approve", "--detailed-exitcode")
    assert refused.code == 3, refused.said
    assert f'trained model "{MODEL}": the model blob does not exist' in refused.err
    assert served(applied) == (model(applied, "new"), 20)
    allowed = applied.run(
        "rollback", "WebService/census", "--auto-approve", "--allow", "blob=WebService/census"
    )
    assert allowed.code == 0, allowed.said


def test_another_broken_manifest_does_not_keep_anybody_from_going_back(applied: Project) -> None:
    Path(applied.folder, "manifests", "broken.yaml").write_text(
        "apiVersion: reconciler/v1\nkind: X"
    )
    assert applied.run("plan").code == 1
    done = applied.run("rollback", "WebService/census", "--auto-approve")
    assert done.code == 0, done.said
    assert "Warning: " in done.out
    assert served(applied) == (model(applied, "old"), 10)


def test_a_second_rollback_with_nothing_to_undo_says_so(applied: Project) -> None:
    first = entries(applied)[1]["sequence"]
    wanted = applied.emulator.get("census")["properties"]
    wanted["assets"]["asset3"]["locationInfo"]["uri"] = model(applied, "old")
    calls = {"maxConcurrentCalls": 10}
    applied.emulator.patch("census", assets=wanted["assets"], realtimeConfiguration=calls)
    done = applied.run("rollback", "WebService/census", "--to", f"{first}", "--auto-approve")
    assert (done.code, "has nothing to undo" in done.out) == (0, True), done.said

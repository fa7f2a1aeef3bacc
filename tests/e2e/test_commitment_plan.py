"""A commitment plan is set once: another plan is refused, and a move satisfies the manifest."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.world import SUBSCRIPTION, Emulator, Project, definition, run_emulator

pytestmark = pytest.mark.e2e
MODEL = "https://acct.blob.core.windows.net/m/old.ilearner"
ENV = {"STORAGE_KEY": "planted-storage"}


def plan_id(name: str) -> str:
    scope = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/census"
    return f"{scope}/providers/Microsoft.MachineLearning/commitmentPlans/{name}"


def call(world: Emulator, method: str, path: str, body: Any = None) -> Any:
    status, answer, _ = world.send(method, f"{world.url}{path}", body)
    assert status == 200, answer
    return answer


def declare(project: Project, plan: str, **properties: Any) -> None:
    body = definition(MODEL)
    del body["properties"]["storageAccount"]["key"]
    body["properties"] |= {"commitmentPlan": {"id": plan_id(plan)}, **properties}
    file = project.folder / "manifests" / "census.definition.json"
    file.write_text(json.dumps(body))
    secret = "  secrets: {/properties/storageAccount/key: {env: STORAGE_KEY, version: v1}}"
    project.manifest("census", "", more=f"  definition: {{file: {file.name}}}\n{secret}")


def move_as_said(world: Emulator, said: str) -> None:
    """Send the calls that an error names."""
    (listing,) = re.findall(r"^ +GET (\S+)$", said, re.MULTILINE)
    (moving,) = re.findall(r"^ +POST (\S+)$", said, re.MULTILINE)
    (body_text,) = re.findall(r"^ +(\{.*\})$", said, re.MULTILINE)
    (association,) = call(world, "GET", listing)["value"]
    call(world, "POST", moving.replace("NAME", association["name"]), json.loads(body_text))


@pytest.mark.parametrize("reading", ["reject", "ignore"])
def test_another_plan_is_refused_until_the_service_was_moved(reading: str, tmp_path: Path) -> None:
    switches = [f"--switch=commitment-plan-change={reading}", "--switch=commitment-plan=check"]
    with run_emulator("--operation-seconds=0.1", "--no-blob", *switches) as world:
        for name in ("standard", "premium"):
            world.put_plan(plan_id(name))
        project = Project(tmp_path, world)
        declare(project, "standard")
        created = project.run("apply", "--auto-approve", env=ENV)
        assert "1 added, 0 changed, 0 destroyed." in created.out, created.said

        declare(project, "premium", description="Another")
        before = world.get("census")
        for refused in (
            project.run("plan", env=ENV),
            project.run("apply", "--auto-approve", "--allow", "replace", env=ENV),
        ):
            assert (refused.code, refused.out) == (1, ""), refused.said
            assert "has another commitment plan" in refused.err
        assert world.get("census") == before, "nothing was written"
        refused = project.run("plan", env=ENV)

        move_as_said(world, refused.err)
        moved = project.run("apply", "--auto-approve", env=ENV)
        assert "0 added, 1 changed, 0 destroyed." in moved.out, moved.said
        assert "commitmentPlan" not in moved.out
        assert world.get("census")["properties"]["description"] == "Another"
        assert project.run("plan", "--detailed-exitcode", env=ENV).code == 0
        ledger = (project.folder / ".reconciler" / "ledger.jsonl").read_text()
        assert plan_id("premium") in ledger.splitlines()[-1]
        back = ("rollback", "WebService/census", "--to", "2", "--auto-approve")
        refused = project.run(*back, env=ENV)
        assert (refused.code, "has another commitment plan" in refused.err) == (1, True)
        move_as_said(world, refused.err)
        assert project.run(*back, env=ENV).code == 0
        assert world.get("census")["properties"]["description"] != "Another"


def test_a_service_that_is_replaced_anyway_gets_the_new_plan(tmp_path: Path) -> None:
    with run_emulator("--operation-seconds=0.1", "--no-blob") as world:
        project = Project(tmp_path, world)
        declare(project, "standard")
        assert project.run("apply", "--auto-approve", env=ENV).code == 0
        declare(project, "premium", storageAccount={"name": "another"})
        planned = project.run("plan", "--allow", "replace", env=ENV)
        assert planned.code == 0, planned.said
        assert "must be replaced" in planned.out
        applied = project.run("apply", "--auto-approve", "--allow", "replace", env=ENV)
        assert applied.code == 0, applied.said
        assert project.run("plan", "--detailed-exitcode", env=ENV).code == 0


def test_a_plan_that_cannot_be_read_proves_no_move(tmp_path: Path) -> None:
    with run_emulator("--operation-seconds=0.1", "--no-blob") as world:
        project = Project(tmp_path, world)
        declare(project, "standard")
        assert project.run("apply", "--auto-approve", env=ENV).code == 0
        declare(project, "nowhere")
        for more in ((), ("--refresh", "none")):
            assert "has another commitment plan" in project.run("plan", *more, env=ENV).err

"""A service that was really exported once: planned, changed, and patched by other people's tools.

The patch is applied by fast-json-patch, on Node, to what export prints; outputs are asked with jq.
"""

import json
import subprocess
from pathlib import Path
from typing import Any

import jq
import pytest

from reconciler.emulator.azurite import _find_node
from tests.contract.foreign import keep_npm
from tests.contract.test_reads import RECORDED
from tests.e2e.world import Project

pytestmark = pytest.mark.e2e
_APPLY = """
const patch = require('fast-json-patch');
const [document, operations] = JSON.parse(require('fs').readFileSync(0, 'utf8'));
const done = patch.applyPatch(document, operations, true, false);
process.stdout.write(JSON.stringify(done.newDocument));
"""


@pytest.fixture(scope="session")
def node() -> Path:
    """A folder in which Node finds fast-json-patch."""
    return keep_npm(["fast-json-patch@3.1.1"])


def apply_elsewhere(node: Path, document: Any, operations: Any) -> Any:
    done = subprocess.run(
        [_find_node(), "-e", _APPLY],
        cwd=node,
        input=json.dumps([document, operations]),
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


@pytest.fixture
def recorded(project: Project) -> Project:
    """The recorded definition, live on the emulator, and nothing but a project file."""
    body = {name: RECORDED[name] for name in ("location", "tags", "properties")}
    body = json.loads(json.dumps(body))
    body["properties"]["storageAccount"]["key"] = "k"
    body["properties"]["commitmentPlan"] = {"id": "/plan"}
    project.emulator.write("PUT", "census", body)
    return project


@pytest.mark.parametrize("flags", [(), ("--full",)])
def test_a_recorded_service_is_exported_and_planned_in_silence(
    recorded: Project, flags: tuple[str, ...]
) -> None:
    exported = recorded.run("export", "--all", *flags)
    assert (exported.code, "1 service exported" in exported.out) == (0, True), exported.said
    silent = recorded.run("plan", "--detailed-exitcode", "--refresh=full")
    assert (silent.code, "No changes." in silent.out) == (0, True), silent.said


def test_it_is_changed_and_patched_by_another_library(recorded: Project, node: Path) -> None:
    recorded.run("export", "--all")
    manifest = recorded.folder / "manifests" / "census.yaml"
    text = manifest.read_text()
    assert "maxConcurrentCalls: 30" in text
    manifest.write_text(text.replace("maxConcurrentCalls: 30", "maxConcurrentCalls: 40"))
    assert recorded.run("plan", "--out", "p.json").code == 0
    before = json.loads(recorded.run("export", "WebService/census", "--format", "json").out)
    patch = json.loads(recorded.run("show", "p.json", "--patch").out)
    inverse = json.loads(recorded.run("show", "p.json", "--inverse").out)
    assert patch[0]["op"] == "test"
    desired = apply_elsewhere(node, before, patch)
    assert desired["properties"]["realtimeConfiguration"] == {"maxConcurrentCalls": 40}
    assert apply_elsewhere(node, desired, inverse) == before
    assert recorded.run("apply", "p.json").code == 0
    after = json.loads(recorded.run("export", "WebService/census", "--format", "json").out)
    ours = ("assets", "input", "output", "realtimeConfiguration", "description")
    for name in ours:
        assert after["properties"].get(name) == desired["properties"].get(name)
    # A document that has moved meanwhile is refused by the patch itself.
    with pytest.raises(subprocess.CalledProcessError):
        apply_elsewhere(node, after, patch)


def test_jq_finds_what_terraform_users_look_for(recorded: Project) -> None:
    recorded.run("export", "--all")
    manifest = recorded.folder / "manifests" / "census.yaml"
    manifest.write_text(
        manifest.read_text().replace("maxConcurrentCalls: 30", "maxConcurrentCalls: 40")
    )
    plan = json.loads(recorded.run("plan", "--format", "json").out)

    def ask(question: str) -> Any:
        return jq.compile(question).input_value(plan).all()

    assert ask('.resource_changes[] | select(.change.actions == ["update"]) | .address') == [
        "WebService/census"
    ]
    calls = ".properties.realtimeConfiguration.maxConcurrentCalls"
    assert ask(f".resource_changes[].change | [.before{calls}, .after{calls}]") == [[30, 40]]
    assert ask(".resource_changes[].because[].cause") == ["unknown"]
    assert ask("[.resource_drift[], .findings[]] | length") == [0]
    assert ask(".outcome, .refresh.mode, .estimate.writes") == ["changes", "auto", 1]

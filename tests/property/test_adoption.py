"""plan(export(live)) is empty: whatever a service shows, what is written of it changes nothing."""

import copy
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.document.normalize import normalize
from reconciler.document.pointers import split_pointer
from reconciler.kinds.web_service import KIND
from reconciler.manifests import load
from reconciler.manifests.editing.write import write_manifest
from reconciler.model import Address, Json, Resource, Verb
from reconciler.model import Path as Path_
from reconciler.plans.step import Comparison, make_step
from tests.contract.test_reads import RECORDED
from tests.e2e.world import definition
from tests.property.documents import documents, recase

pytestmark = pytest.mark.property
SCOPE = "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearning/webServices"
RESOURCE = Resource(Address("WebService", "census"), f"{SCOPE}/Other.Name")
DEFAULTS = {"subscription": "s", "resourceGroup": "h"}
PROJECT = "apiVersion: reconciler/v1\nkind: Project\nmetadata: {name: p}\n"


FULL = pytest.mark.parametrize("mode", ["short", "full", "exact"])


def assert_silent(live: Json, mode: str) -> None:
    """Write a manifest, read it back, and plan: nothing found, nothing to do.

    Where the manifest is exact, what it cannot hold would be removed, and nothing else.
    """
    document = normalize(KIND.field, live)
    full = mode != "short"
    exported = KIND.export(RESOURCE, document, DEFAULTS, full=full)
    if mode == "exact":
        exported = replace(exported, spec={**exported.spec, "ownership": "exact"})
    beside = "census.definition.json" if full else ""
    text, whole = write_manifest("manifest/web-service", RESOURCE.address, exported, beside)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "manifests").mkdir()
        (folder / "reconciler.yaml").write_text(PROJECT)
        (folder / "manifests" / "census.yaml").write_text(text, encoding="utf-8")
        if whole:
            (folder / "manifests" / beside).write_text(whole, encoding="utf-8")
        loaded = load(folder, None, [], {"WebService": KIND})
    assert loaded.findings == (), (text, whole)
    (manifest,) = loaded.manifests
    assert KIND.identify(manifest, DEFAULTS) == RESOURCE
    declared = KIND.bind(manifest, document)
    unheld = [path for path in left_out(text) if mode == "exact"]
    for finding in declared.findings:
        place = finding.message.rpartition(": ")[2].removesuffix(" is not declared")
        assert any(overlaps(place, ".".join(map(str, path))) for path in unheld), finding
    step = make_step(Comparison(RESOURCE, KIND.field, document, declared))
    changes = step.changes if step else ()
    removed = [change for change in changes if change.verb is Verb.REMOVE]
    assert bool(removed) is bool(changes), changes
    for change in changes:
        if change.verb is Verb.WRITE:
            continue
        assert change.verb is Verb.REMOVE
        assert any(overlaps(change.path, path) for path in unheld), change


def left_out(text: str) -> list[Path_]:
    """What the manifest says that it cannot hold, as paths into the definition."""
    _, _, said = text.partition("the service keeps it:\n")
    pointers = [line.removeprefix("# ") for line in said.splitlines()]
    decoded = [one.encode().decode("unicode_escape") for one in pointers]
    return [
        split_pointer(one.removeprefix("/spec/definition"))
        for one in decoded
        if one.startswith("/spec/definition")
    ]


def overlaps(one: Path_ | str, other: Path_ | str) -> bool:
    return one[: len(other)] == other or other[: len(one)] == one


@FULL
@given(data=st.data())
def test_whatever_a_service_shows(mode: str, data: st.DataObject) -> None:
    live = data.draw(documents(KIND.field))
    assert_silent(live if isinstance(live, dict) else {}, mode)


@FULL
@pytest.mark.parametrize("cased", [False, True])
def test_a_recorded_service_in_both_casings(mode: str, cased: bool) -> None:
    assert_silent(recase(KIND.field, RECORDED) if cased else RECORDED, mode)


@FULL
@pytest.mark.parametrize(
    "properties",
    [
        {"description": "no", "title": "012"},
        {"description": "see https://a/b?sv=1&sig=cGxhbnRlZA", "title": "\ud800"},
        {"description": None, "diagnostics": None, "tags": None},
        {"realtimeConfiguration": {"maxConcurrentCalls": "20"}},
        {"unknownToUs": {"a": [1]}, "diagnostics": {"level": "Loud", "expiry": 7}},
        {"assets": {"a": {"name": "M", "type": "Resource", "locationInfo": {"uri": "aml://x"}}}},
        {"assets": []},
        {"exampleRequest": {"inputs": {"i": [[True, 1.0, None, "é\u202e"]]}}},
        {"exampleRequest": {"inputs": {"i": None}, "globalParameters": {"p": None}}},
    ],
)
def test_what_a_service_may_surprise_with(mode: str, properties: Json) -> None:
    live = definition("https://acct.blob.core.windows.net/m/a.ilearner")
    live["properties"] = {**copy.deepcopy(live["properties"]), **properties}
    live["tags"] = {"a: b": "yes", "": "", "é": "'\"\n"}
    assert_silent({"id": RESOURCE.id, **live}, mode)


def test_two_models_of_one_name_are_left_to_the_definition() -> None:
    live = definition("https://acct.blob.core.windows.net/m/a.ilearner")
    assets = live["properties"]["assets"]
    assets["asset9"] = json.loads(json.dumps(assets["asset3"]))
    for mode in ("short", "full", "exact"):
        assert_silent(live, mode)

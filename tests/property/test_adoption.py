"""plan(export(live)) is empty: whatever a service shows, what is written of it changes nothing."""

import copy
import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.intake import normalize
from reconciler.kinds.web_service import KIND
from reconciler.manifests import load
from reconciler.manifests.writing import write_manifest
from reconciler.model import Address, Json, Resource
from reconciler.plan import Wish, make_step
from tests.contract.test_reads import RECORDED
from tests.e2e.world import definition
from tests.property.documents import documents, recase

pytestmark = pytest.mark.property
SCOPE = "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearning/webServices"
RESOURCE = Resource(Address("WebService", "census"), f"{SCOPE}/Other.Name")
DEFAULTS = {"subscription": "s", "resourceGroup": "h"}
PROJECT = "apiVersion: reconciler/v1\nkind: Project\nmetadata: {name: p}\n"


def assert_silent(live: Json, *, full: bool) -> None:
    """Write a manifest, read it back, and plan: nothing found, nothing to do."""
    document = normalize(KIND.field, live)
    draft = KIND.draft(RESOURCE, document, DEFAULTS, full=full)
    beside = "census.definition.json" if full else ""
    text, whole = write_manifest("manifest/web-service", RESOURCE.address, draft, beside)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "manifests").mkdir()
        (folder / "reconciler.yaml").write_text(PROJECT)
        (folder / "manifests" / "census.yaml").write_text(text, encoding="utf-8")
        if whole:
            (folder / "manifests" / beside).write_text(whole, encoding="utf-8")
        loaded = load(folder, None, [], {"WebService": "manifest/web-service"})
    assert loaded.findings == (), (text, whole)
    (manifest,) = loaded.manifests
    assert KIND.identify(manifest, DEFAULTS) == RESOURCE
    declared = KIND.bind(manifest, document)
    assert declared.findings == ()
    step = make_step(Wish(RESOURCE, KIND.field, document, declared))
    assert step is None, step


@pytest.mark.parametrize("full", [False, True])
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_whatever_a_service_shows(full: bool, data: st.DataObject) -> None:
    live = data.draw(documents(KIND.field))
    assert_silent(live if isinstance(live, dict) else {}, full=full)


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("cased", [False, True])
def test_a_recorded_service_in_both_casings(full: bool, cased: bool) -> None:
    assert_silent(recase(KIND.field, RECORDED) if cased else RECORDED, full=full)


@pytest.mark.parametrize("full", [False, True])
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
    ],
)
def test_what_a_service_may_surprise_with(full: bool, properties: Json) -> None:
    live = definition("https://acct.blob.core.windows.net/m/a.ilearner")
    live["properties"] = {**copy.deepcopy(live["properties"]), **properties}
    live["tags"] = {"a: b": "yes", "": "", "é": "'\"\n"}
    assert_silent({"id": RESOURCE.id, **live}, full=full)


def test_two_models_of_one_name_are_left_to_the_definition() -> None:
    live = definition("https://acct.blob.core.windows.net/m/a.ilearner")
    assets = live["properties"]["assets"]
    assets["asset9"] = json.loads(json.dumps(assets["asset3"]))
    for full in (False, True):
        assert_silent(live, full=full)

"""The service's schema: every property that is known of it, each with its source."""

import json
import subprocess
import sys

import pytest

from reconciler.kinds.web_service import KIND
from reconciler.model import Json
from reconciler.package_data import read_schema
from tests.contract.world import DESCRIPTIONS
from tests.e2e.world import clean_environment

pytestmark = pytest.mark.property
SCHEMA = read_schema("service/web-service")
EVERY_PROPERTY = [
    "id",
    "name",
    "type",
    "location",
    "tags",
    "properties/packageType",
    "properties/title",
    "properties/description",
    "properties/createdOn",
    "properties/modifiedOn",
    "properties/provisioningState",
    "properties/swaggerLocation",
    "properties/keys/primary",
    "properties/keys/secondary",
    "properties/readOnly",
    "properties/realtimeConfiguration/maxConcurrentCalls",
    "properties/diagnostics/level",
    "properties/diagnostics/expiry",
    "properties/exposeSampleData",
    "properties/storageAccount/name",
    "properties/storageAccount/key",
    "properties/machineLearningWorkspace/id",
    "properties/commitmentPlan/id",
    "properties/payloadsInBlobStorage",
    "properties/payloadsLocation/uri",
    "properties/payloadsLocation/credentials",
    "properties/input/title",
    "properties/input/description",
    "properties/input/type",
    "properties/input/properties/*/type",
    "properties/output/properties/*/properties/*/type",
    "properties/input/properties/*/properties/*/format",
    "properties/input/properties/*/properties/*/enum",
    "properties/input/properties/*/properties/*/x-ms-isnullable",
    "properties/input/properties/*/properties/*/x-ms-isordered",
    "properties/exampleRequest/inputs",
    "properties/exampleRequest/globalParameters",
    "properties/assets/*/name",
    "properties/assets/*/id",
    "properties/assets/*/type",
    "properties/assets/*/locationInfo/uri",
    "properties/assets/*/locationInfo/credentials",
    "properties/assets/*/inputPorts/*/type",
    "properties/assets/*/outputPorts/*/type",
    "properties/assets/*/metadata",
    "properties/assets/*/parameters",
    "properties/parameters/*/value",
    "properties/parameters/*/certificateThumbprint",
    "properties/package/nodes/*/assetId",
    "properties/package/nodes/*/inputId",
    "properties/package/nodes/*/outputId",
    "properties/package/nodes/*/parameters/*/value",
    "properties/package/nodes/*/parameters/*/certificateThumbprint",
    "properties/package/edges/0/sourceNodeId",
    "properties/package/edges/0/sourcePortId",
    "properties/package/edges/0/targetNodeId",
    "properties/package/edges/0/targetPortId",
    "properties/package/graphParameters/*/description",
    "properties/package/graphParameters/*/type",
    "properties/package/graphParameters/*/links/0/nodeId",
    "properties/package/graphParameters/*/links/0/parameterKey",
]


def nodes(schema: Json, place: str = "#") -> list[tuple[str, Json]]:
    """Every property of a schema, definitions included."""
    found = []
    for name, below in schema.get("properties", {}).items():
        found += [(f"{place}/{name}", below), *nodes(below, f"{place}/{name}")]
    for name, below in schema.get("$defs", {}).items():
        found += nodes(below, f"{place}/$defs/{name}")
    for word in ("items", "additionalProperties"):
        if isinstance(schema.get(word), dict):
            found += nodes(schema[word], f"{place}/{word}")
    return found


@pytest.mark.parametrize("path", EVERY_PROPERTY)
def test_every_known_property_is_covered(path: str) -> None:
    field = KIND.field.at(tuple(int(one) if one == "0" else one for one in path.split("/")))
    assert field.source, path
    assert field.description, path


def test_every_property_says_where_it_is_known_from() -> None:
    silent = [
        place for place, node in nodes(SCHEMA) if "x-source" not in node and "$ref" not in node
    ]
    assert silent == []
    assert len(nodes(SCHEMA)) > 60


def test_the_published_description_has_no_property_that_the_schema_lacks() -> None:
    shapes = DESCRIPTIONS[0]["components"]["schemas"]
    published = shapes["WebServiceProperties"]["properties"]
    assert set(published) | {"package"} == set(KIND.field.child("properties").properties)
    asset = KIND.field.at(("properties", "assets", "x"))
    assert set(shapes["AssetItem"]["properties"]) == set(asset.properties)
    node = KIND.field.at(("properties", "package", "nodes", "x"))
    assert set(shapes["GraphNode"]["properties"]) == set(node.properties)


HASHED = """
import json, sys
from reconciler.kinds.web_service import KIND
from reconciler.model import Address, Declared, Resource
from reconciler.plans.step import Comparison, make_step
from reconciler.text.json_text import canonical
from reconciler.plans.plan_file import _step_document
from tests.e2e.world import definition
live = definition("https://a/b/c.ilearner")
wanted = {"tags": {c: c for c in "zyxwvu"}, "properties": {
    "assets": {f"a{n}": {"name": f"n{n}", "type": "Module"} for n in range(9)},
    "package": {"nodes": {c: {"assetId": c} for c in "qwertz"}, "edges": []},
    "title": "T", "description": "D", "diagnostics": {"level": "All"}}}
step = make_step(Comparison(Resource(Address("WebService", "x"), "/x"), KIND.field, live, Declared(wanted)))
print(json.dumps(list(map(list, (c.path for c in step.changes)))))
print(canonical(_step_document(step)))
"""


def test_the_order_of_changes_is_the_same_under_every_hash_seed() -> None:
    said = {
        subprocess.run(
            [sys.executable, "-c", HASHED],
            env=clean_environment({"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)}),
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1")
    }
    (one,) = said
    assert len(json.loads(one.splitlines()[0])) > 20

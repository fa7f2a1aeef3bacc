"""The files of exported manifests: one for each resource, whatever its kind."""

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from reconciler.cli.adopt import Importer
from reconciler.kinds import find_kinds
from reconciler.model import Address, Live, Resource


def test_resources_of_two_kinds_with_one_name_get_a_file_each(tmp_path: Path) -> None:
    project = SimpleNamespace(defaults={})
    assembly: Any = SimpleNamespace(kinds=find_kinds(), project=project)
    nothing: Any = None
    runtime: Any = SimpleNamespace(complete=lambda _, defaults: defaults)
    importer = Importer(nothing, assembly, runtime, tmp_path, full=True, force=False)
    classic = "https://services.example.test/workspaces/w/webservices/s/endpoints/one"
    ids = {
        "WebService": "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearning"
        "/webServices/one",
        "Endpoint": classic,
    }
    live = Live({"tags": {"a": "b"}, "Description": "d"}, None, datetime.now(UTC))
    services = [(Resource(Address(kind, "one"), at), live) for kind, at in ids.items()]
    files = dict(importer._make_files(services))
    kinds = {
        path.name: text.split("kind: ")[1].split()[0]
        for path, text in files.items()
        if path.suffix == ".yaml"
    }
    assert kinds == {"one.yaml": "WebService", "one.Endpoint.yaml": "Endpoint"}
    for path, text in files.items():
        if "definition.json" in text and path.suffix == ".yaml":
            assert path.with_suffix(".definition.json") in files

"""Makes the Swagger 2.0 document of a web service.

The document has the form of a recorded one. `calls` uses it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from reconciler.emulator.training.graph import Training

Json = Any
Ports = Mapping[str, Mapping[str, Json]]
_FRAME: Final = Path(__file__).with_name("service.swagger.json").read_bytes()
_BLOB: Final = "#/definitions/AzureBlobDataReference"
_OF_JOBS: Final = ("Batch", "AzureBlob")
_NUMBER: Final = {"type": "number", "format": "double"}
_TYPES: Final[Mapping[str, Mapping[str, str]]] = {
    "int": {"type": "integer", "format": "int32"},
    "float": _NUMBER,
    "double": _NUMBER,
    "boolean": {"type": "boolean"},
}
_NOTHING: Final = "No description provided for this web service."


def describe(
    address: str,
    info: Mapping[str, str],
    inputs: Ports,
    outputs: Ports,
    parameters: Mapping[str, Json],
    training: Training | None,
) -> Json:
    """Return the document of the service at `address`, which is a host with a path.

    `inputs` and `outputs` hold the columns of each port, and are empty where they are not known.
    `parameters` are those of the definition's graph by name; None where only the name is known.
    Without `training` the document does not have batch jobs, because the service runs none here.
    """
    document = json.loads(_FRAME)
    if training is None:
        _remove_jobs(document)
    document["info"] |= {**info, "description": info["description"] or _NOTHING}
    host, _, path = address.partition("/")
    document |= {"host": f"{host}:443", "basePath": f"/{path}"}
    definitions = document["definitions"]
    if parameters:
        typed = {name: _define_parameter(one) for name, one in parameters.items()}
        definitions["GlobalParameters"]["properties"] = typed
    if training is not None:
        # The model is an output of batch jobs only (recorded).
        outputs = {port: one for port, one in outputs.items() if not training.is_model(port)}
        for name, names in (("BatchInputs", training.inputs), ("BatchOutputs", training.outputs)):
            for port in names:
                definitions[name].setdefault("properties", {})[port] = {"$ref": _BLOB}
    for name, ports in (("ExecutionInputs", inputs), ("ExecutionOutputs", outputs)):
        for port, columns in ports.items():
            items = {"items": {"$ref": f"#/definitions/{port}Item"}, "type": "array"}
            definitions[name].setdefault("properties", {})[port] = items
            definitions[f"{port}Item"] = _define_row(columns)
    return document


def _remove_jobs(document: Json) -> None:
    paths, definitions = document["paths"], document["definitions"]
    document["paths"] = {name: one for name, one in paths.items() if not name.startswith("/jobs")}
    document["definitions"] = {
        name: one for name, one in definitions.items() if not name.startswith(_OF_JOBS)
    }


def _define_parameter(parameter: Json) -> Json:
    """Return the schema of a global parameter; the types that are not recorded are text."""
    parameter = parameter if isinstance(parameter, dict) else {}
    said = str(parameter.get("type", ""))
    typed = _TYPES.get(said.casefold(), {"type": "string"} if said else {})
    return {"description": parameter.get("description") or "", **typed}


def _define_row(columns: Mapping[str, Json]) -> Json:
    """Return the schema of a row; Swagger has the types of a definition in lower case."""
    typed = {
        name: {word: str(said).lower() for word in ("type", "format") if (said := one.get(word))}
        for name, one in ((name, column or {}) for name, column in columns.items())
    }
    return {**({"required": list(typed)} if typed else {}), "properties": typed}

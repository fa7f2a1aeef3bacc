"""Makes the Swagger 2.0 document of a web service.

The document has the form of a recorded one, without the batch jobs. `calls` uses it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

Json = Any
Ports = Mapping[str, Mapping[str, Json]]
_FRAME: Final = Path(__file__).with_name("service.swagger.json").read_bytes()
_NOTHING: Final = "No description provided for this web service."


def describe(host: str, path: str, info: Mapping[str, str], inputs: Ports, outputs: Ports) -> Json:
    """Return the document.

    `inputs` and `outputs` hold the columns of each port, and are empty where they are not known.
    """
    document = json.loads(_FRAME)
    document["info"] |= {**info, "description": info["description"] or _NOTHING}
    document |= {"host": f"{host}:443", "basePath": path}
    definitions = document["definitions"]
    for name, ports in (("ExecutionInputs", inputs), ("ExecutionOutputs", outputs)):
        for port, columns in ports.items():
            items = {"items": {"$ref": f"#/definitions/{port}Item"}, "type": "array"}
            definitions[name].setdefault("properties", {})[port] = items
            definitions[f"{port}Item"] = _define_row(columns)
    return document


def _define_row(columns: Mapping[str, Json]) -> Json:
    """Return the schema of a row; Swagger has the types of a definition in lower case."""
    typed = {
        name: {word: str(said).lower() for word in ("type", "format") if (said := one.get(word))}
        for name, one in ((name, column or {}) for name, column in columns.items())
    }
    return {**({"required": list(typed)} if typed else {}), "properties": typed}

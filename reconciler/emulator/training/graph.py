"""Reads from a training service's definition what it trains, and what each of its ports is.

A definition is a graph of modules. Its nodes name the label column, and its edges lead from the
inputs of the service to the modules, and from the modules to the outputs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from urllib.parse import unquote

Json = Any
Role = Literal["model", "evaluation", "scored"]
_ROLES: Final[Mapping[str, Role]] = {
    "trained model": "model",
    "evaluation results": "evaluation",
    "scored dataset": "scored",
}
_LABEL: Final = "label column"
# Longer ways from a module to an input are cut off, so that a graph with a circle ends.
_LONGEST: Final = 100


@dataclass(frozen=True)
class Training:
    """A training service. `data` is the input port of the training data.

    `rows` is the input port of the rows that are scored and evaluated; "" for a part of the data
    that is held out. `data` is "" for a service that reads its data from the address in a parameter
    called `URI`. `outputs` has the role of each output port.
    """

    label: str
    data: str = ""
    rows: str = ""
    outputs: Mapping[str, Role] = field(default_factory=dict)
    parameters: tuple[str, ...] = ()

    @property
    def inputs(self) -> tuple[str, ...]:
        """Return the input ports."""
        return tuple(filter(None, (self.data, self.rows)))

    def is_model(self, port: str) -> bool:
        """Return whether an output port is that of the model."""
        return self.outputs.get(port) == "model"


def find_training(properties: Mapping[str, Json]) -> Training | None:
    """Return what a definition trains; None for a definition that trains nothing."""
    package = properties.get("package")
    package = package if isinstance(package, dict) else {}
    nodes, edges = package.get("nodes"), package.get("edges")
    if not isinstance(nodes, dict) or not isinstance(edges, list):
        return None
    graph = _Graph(nodes, [edge for edge in edges if isinstance(edge, dict)])
    trainer, label = graph.find_trainer()
    if not trainer:
        return None
    outputs = dict(graph.find_outputs())
    data = graph.find_input(trainer, "Dataset")
    scorers = {node for node, role in outputs.values() if role == "scored"}
    scorers |= {
        source
        for node, role in outputs.values()
        if role == "evaluation"
        for source in graph.find_sources(node)
    }
    read = {graph.find_input(one, "Dataset") for one in sorted(scorers)} - {data, ""}
    return Training(
        label,
        data,
        min(read, default=""),
        {port: role for port, (_, role) in outputs.items()},
        tuple(properties.get("parameters") or ()),
    )


@dataclass(frozen=True)
class _Graph:
    nodes: Mapping[str, Json]
    edges: list[Mapping[str, Json]]

    def find_trainer(self) -> tuple[str, str]:
        """Return the node that trains and its label column; two empty texts without one."""
        for name, node in self.nodes.items():
            for parameter, value in (_get(node, "parameters") or {}).items():
                if parameter.casefold() == _LABEL:
                    return name, _read_label(value)
        return "", ""

    def find_outputs(self) -> Iterator[tuple[str, tuple[str, Role]]]:
        """Yield each output port with the node that it comes from and its role."""
        for name, node in self.nodes.items():
            port = _get(node, "outputId")
            for edge in self.edges if port else ():
                role = _ROLES.get(str(edge.get("sourcePortId", "")).casefold())
                if edge.get("targetNodeId") == name and role:
                    yield str(port), (str(edge.get("sourceNodeId")), role)

    def find_sources(self, node: str, port: str = "") -> Iterator[str]:
        """Yield the nodes whose output a node reads, at one port or at all."""
        for edge in self.edges:
            if edge.get("targetNodeId") == node and port in {"", edge.get("targetPortId")}:
                yield str(edge.get("sourceNodeId"))

    def find_input(self, node: str, port: str) -> str:
        """Return the input port of the service from which a node's port is read; "" without one."""
        sources = list(self.find_sources(node, port))
        for _ in range(_LONGEST):
            if not sources:
                return ""
            found = _get(self.nodes.get(sources[0]), "inputId")
            if found:
                return str(found)
            sources = list(self.find_sources(sources[0]))
        return ""


def _get(node: Json, name: str) -> Json:
    return node.get(name) if isinstance(node, dict) else None


def _read_label(value: Json) -> str:
    """Return the column that a column selection names; it is URL-encoded JSON (recorded)."""
    text = value.get("value") if isinstance(value, dict) else value
    try:
        rules = json.loads(unquote(str(text)))["rules"]
        return str(rules[0]["columns"][0])
    except (ValueError, LookupError, TypeError, RecursionError):
        return str(text)

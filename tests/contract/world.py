"""Calls to an emulator, each reply held against the published description of the service."""

import functools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jsonschema_rs
import requests
from jsonschema import Draft202012Validator

from tests.e2e.world import LONG_S as LONG_S  # noqa: PLC0414 - for the tests of this folder
from tests.e2e.world import SUBSCRIPTION, definition, pass_time, run_emulator

HERE = Path(__file__).parent
VERSION = "2017-01-01"
PREVIEW = "2016-05-01-preview"
PROVIDER = "/providers/Microsoft.MachineLearning"
MODEL = "https://acct.blob.core.windows.net/models/old.ilearner"
NEW_MODEL = "https://acct.blob.core.windows.net/models/new.ilearner"
SKU = {"capacity": 1, "name": "S1", "tier": "Standard"}
Json = Any


def _read(name: str) -> Json:
    return json.loads((HERE / "openapi" / f"{name}.json").read_bytes())


def _repair(document: Json) -> Json:
    """The four repairs without which recorded traffic breaks the description; see SOURCES.md."""
    schemas = document["components"]["schemas"]
    if "WebServiceParameter" in schemas:
        schemas["WebServiceParameter"]["properties"]["value"] = {}
        example = schemas["ExampleRequest"]["properties"]
        example["inputs"]["additionalProperties"]["items"]["items"] = {}
        example["globalParameters"]["additionalProperties"] = {}
        column = schemas["ColumnSpecification"]["properties"]
        column["format"].pop("enum")
        column["enum"]["items"] = {}
    return document


DESCRIPTIONS = [_repair(_read(f"machinelearning-{n}")) for n in ("webservices", "commitmentPlans")]


def find_faults(name: str, document: Json, description: int = 0) -> list[str]:
    """What breaks a schema of a description, by place."""
    schema, is_valid = _read_schema(name, description)
    if is_valid(document):  # as nearly all; what names the faults takes a hundred times as long
        return []
    return [
        f"{'/'.join(map(str, error.absolute_path))}: {error.message[:200]}"
        for error in Draft202012Validator(schema).iter_errors(document)
    ]


@functools.cache
def _read_schema(name: str, description: int) -> tuple[Json, Callable[[Json], bool]]:
    schema = {
        "$ref": f"#/components/schemas/{name}",
        "components": DESCRIPTIONS[description]["components"],
    }
    return schema, jsonschema_rs.Draft202012Validator(schema).is_valid


def find_operation(method: str, path: str) -> tuple[int, str, Json] | None:
    """The description, name and replies of the operation that a call reaches."""
    for pattern, number, operations in _list_operations():
        if pattern.fullmatch(path) and method.lower() in operations:
            operation = operations[method.lower()]
            return number, operation["operationId"], operation["responses"]
    return None


@functools.cache
def _list_operations() -> list[tuple[re.Pattern[str], int, Json]]:
    """The operations of each address, with its pattern and the number of its description."""
    return [
        (
            re.compile(
                re.sub(r"\\\{[^}]+\\\}|\{[^}]+\}", "[^/]+", re.escape(template)), re.IGNORECASE
            ),
            number,
            operations,
        )
        for number, description in enumerate(DESCRIPTIONS)
        for template, operations in description["paths"].items()
    ]


def open_session() -> requests.Session:
    """Connections that are used again, without proxies and passwords from files."""
    session = requests.Session()
    session.trust_env = False
    return session


@dataclass
class Service:
    """One emulator and the group that a test works in. `reached` names the operations called."""

    url: str
    group: str = "census"
    token: str = "emulator"
    blob: str = ""
    reached: set[str] = field(default_factory=set)
    process: Any = None
    session: requests.Session = field(default_factory=open_session, repr=False)

    def path(self, name: str = "census", tail: str = "") -> str:
        scope = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{self.group}"
        return f"{scope}{PROVIDER}/webServices/{name}{tail}"

    @property
    def group_list(self) -> str:
        return self.path("").rstrip("/")

    def plan(self, name: str = "plan") -> str:
        return self.group_list.replace("webServices", f"commitmentPlans/{name}")

    def call(
        self,
        method: str,
        path: str,
        body: Json = None,
        *,
        version: str | None = None,
        headers: dict[str, str] | None = None,
        described: bool = True,
        query: Mapping[str, str] | None = None,
    ) -> requests.Response:
        """One call; a reply that the description knows must have the shape that it says.

        `described` is False for what is recorded and breaks the description. `version` is None for
        the one that describes what the path names.
        """
        if version is None:
            of_plans = re.search("/(commitmentplans|skus)", path, re.IGNORECASE)
            version = PREVIEW if of_plans else VERSION
        query = dict(query or {})
        url = path if "://" in path else self.url + path
        sent = {"Authorization": f"Bearer {self.token}", **(headers or {})}
        data = body if isinstance(body, bytes) else None
        if "api-version" not in url and version:
            query["api-version"] = version
        answer = self.session.request(
            method,
            url,
            params=query or None,
            data=data,
            json=None if data is not None else body,
            headers=sent,
            timeout=120,
            allow_redirects=False,
        )
        if described:
            self._check(method, urlsplit(answer.url).path, version, answer)
        return answer

    def _check(self, method: str, path: str, version: str, answer: requests.Response) -> None:
        found = find_operation(method, path)
        if found is None or answer.status_code >= 400:
            return
        number, name, replies = found
        self.reached.add(name)
        assert str(answer.status_code) in replies, (name, answer.status_code)
        content = replies[str(answer.status_code)].get("content", {})
        for media in content.values():
            shape = media["schema"]["$ref"].rpartition("/")[2]
            # Recorded: what follows a write is a stub, where the description promises the whole.
            if (version == VERSION or number) and not is_stub(answer.json()):
                assert find_faults(shape, _without_failed(answer.json()), number) == []

    def finish(self, answer: requests.Response) -> Json:
        """Follow an operation to its end; returns the last status."""
        assert answer.status_code < 300, answer.text
        while True:
            status = self.call("GET", answer.headers["Azure-AsyncOperation"]).json()
            if (status.get("status") or status.get("provisioningState")) != "Provisioning":
                return status
            pass_time(self.url, LONG_S)

    def put_plan(self, name: str = "plan", **members: Json) -> Json:
        """Create or replace a commitment plan; returns it."""
        body = {"location": "southcentralus", "sku": SKU, **members}
        answer = self.call("PUT", self.plan(name), body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def put(self, name: str = "census", **properties: Json) -> requests.Response:
        """Create a service and wait; returns the reply of the PUT."""
        body = definition(MODEL)
        body["properties"] |= properties
        answer = self.call("PUT", self.path(name), body)
        assert self.finish(answer)["status"] == "Succeeded"
        return answer

    def patch(self, name: str = "census", tags: Json = None, **properties: Json) -> Json:
        """Change a part and wait; returns the definition as it is then."""
        body: Json = {"properties": {"packageType": "Graph", **properties}}
        if tags is not None:
            body["tags"] = tags
        self.finish(self.call("PATCH", self.path(name), body))
        return self.get(name)

    def get(self, name: str = "census", region: str = "") -> Json:
        query = {"region": region} if region else {}
        answer = self.call("GET", self.path(name), query=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def properties(self, name: str = "census") -> Json:
        return self.get(name)["properties"]


def is_stub(document: Json) -> bool:
    """Whether a body is what follows a write: an envelope with a state and next to nothing."""
    known = {"provisioningState", "payloadsInBlobStorage"}
    return isinstance(document, dict) and set(document.get("properties", "x")) <= known


def _without_failed(document: Json) -> Json:
    """Recorded: the items of failed services lack the discriminator that the description needs."""
    if isinstance(document, dict) and isinstance(document.get("value"), list):
        kept = [one for one in document["value"] if "packageType" in one.get("properties", {})]
        return {**document, "value": kept}
    return document


@contextmanager
def run_service(*options: str) -> Iterator[Service]:
    """An emulator of its own, without blob storage unless it is asked for."""
    storage = () if "--blob" in options else ("--no-blob",)
    given = [option for option in options if option != "--blob"]
    if not any(option.startswith("--operation-seconds") for option in given):
        given += ["--operation-seconds", "0"]
    with run_emulator(*storage, *given) as running:
        yield Service(running.url, blob=running.blob, process=running.process)


@contextmanager
def switched(**switches: str) -> Iterator[Service]:
    """An emulator with some unknowns settled otherwise."""
    chosen = [f"--switch={name.replace('_', '-')}={value}" for name, value in switches.items()]
    with run_service(*chosen) as service:
        yield service


def code_of(answer: requests.Response) -> tuple[int, str, str]:
    """The status, the code and the innermost code of an error."""
    error = answer.json()["error"]
    details = error.get("details") or [{}]
    return answer.status_code, error["code"], details[0].get("code", "")


def pascal(value: Json, *, keys: bool = True) -> Json:
    """Property names with a capital, map keys as they are: as recorded clients upload them."""
    maps = {
        "assets",
        "nodes",
        "properties",
        "parameters",
        "inputs",
        "graphParameters",
        "outputPorts",
    }
    if isinstance(value, dict):
        return {
            (name[:1].upper() + name[1:] if keys else name): pascal(
                below, keys=not (keys and name in maps)
            )
            for name, below in value.items()
        }
    return [pascal(item) for item in value] if isinstance(value, list) else value

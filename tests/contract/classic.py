"""Calls on Classic, each reply held against its published description."""

import functools
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jsonschema_rs
import requests
from jsonschema import Draft4Validator

from tests.contract.signatures import ACCOUNT, sign
from tests.contract.world import HERE, LONG_S, open_session, run_service
from tests.e2e.world import pass_time
from tests.storage import upload_model

Json = Any
WORKSPACE = "333533ce0e6e44b38365410aec94d7f2"
PREDICTIVE = "a0cba3efb20040e195abc08c1fb08e6b"
TRAINING = "7d1c52a90b3e4f68a2c4e6f8091b3d5f"
MODEL = "Bike Rental [trained model]"
FAR = "2099-01-01T00%3A00%3A00Z"
SIGNATURE = f"?sv=2020-12-06&sr=b&sp=r&se={FAR}&sig=made-up"
DESCRIPTION = json.loads((HERE / "openapi" / "classic-management-swagger.json").read_bytes())
# Published clients read them; the description does not know them.
DESCRIPTION["definitions"]["Endpoint"]["properties"] |= {
    "PreventUpdate": {"type": "boolean"},
    "SampleDataEnabled": {"type": "boolean"},
}
# By class: its message, and the message of each code.
DOCUMENTED = json.loads((HERE / "documented-errors.json").read_bytes())


def example(name: str) -> Json:
    return json.loads((HERE / "examples" / f"{name}.json").read_bytes())


def _close(definitions: Json) -> Json:
    """The definitions with no room for properties that they do not know."""
    closed = json.loads(json.dumps(definitions))
    for definition in closed.values():
        if "properties" in definition:
            definition["additionalProperties"] = False
    return closed


CLOSED = _close(DESCRIPTION["definitions"])


def find_faults(schema: Json, document: Json) -> list[str]:
    """What breaks a schema of the description."""
    if _make_check(json.dumps(schema))(document):
        return []
    validator = Draft4Validator({**schema, "definitions": CLOSED})
    return [f"{list(one.absolute_path)}: {one.message}" for one in validator.iter_errors(document)]


@functools.cache
def _make_check(schema: str) -> Callable[[Json], bool]:
    """What says quickly whether a document is valid, as nearly all are."""
    whole = {**json.loads(schema), "definitions": CLOSED}
    return jsonschema_rs.Draft4Validator(whole).is_valid


def check_documented(error: Json) -> None:
    """An error with details has the class, the code and the texts of the published table."""
    for detail in error.get("details", ()):
        assert set(detail) == {"code", "message"}
        summary, codes = DOCUMENTED[error["code"]]
        assert error["message"] == summary
        text = re.sub(r"\\{\d\\}", ".*", re.escape(codes[detail["code"]]))
        assert re.fullmatch(text, detail["message"]), detail


def find_replies(method: str, path: str) -> Json:
    """The replies that the description knows for a call; None where it does not know the call."""
    for template, operations in DESCRIPTION["paths"].items():
        pattern = re.sub(r"\{[^}]+\}", "[^/]+", template)
        if re.fullmatch(pattern, path) and method.lower() in operations:
            return operations[method.lower()]["responses"]
    return None


@dataclass
class Classic:
    """One web service of an emulator, the token that opens it, and what each call says besides."""

    url: str
    service: str = PREDICTIVE
    workspace: str = WORKSPACE
    token: str = "emulator"
    blob: str = ""
    query: str = ""
    session: requests.Session = field(default_factory=open_session, repr=False)

    def path(self, tail: str = "") -> str:
        return f"/workspaces/{self.workspace}/webservices/{self.service}{tail}"

    def call(self, method: str, path: str, body: Json = None, token: str = "") -> requests.Response:
        """One call; path is below the web service unless it begins with /workspaces."""
        path = path if path.startswith("/workspaces") else self.path(path)
        answer = self.session.request(
            method,
            f"{self.url}{path}?{self.query}" if self.query else self.url + path,
            data=body if isinstance(body, bytes) else None,
            json=None if isinstance(body, bytes) else body,
            headers={"Authorization": f"Bearer {token or self.token}"},
            timeout=120,
        )
        self._check(method, path, answer)
        return answer

    def _check(self, method: str, path: str, answer: requests.Response) -> None:
        assert re.fullmatch(r"[0-9a-f-]{36}", answer.headers["x-ms-request-id"])
        if answer.status_code >= 400:
            error = answer.json()["error"]
            assert find_faults({"$ref": "#/definitions/Error"}, answer.json()) == []
            assert set(error) <= {"code", "message", "details"}
            check_documented(error)
        replies = find_replies(method, path)
        if replies is None or answer.status_code >= 400:
            return
        reply = replies[str(answer.status_code)]
        if answer.status_code == 204:
            assert answer.content == b""
        elif answer.status_code == 200:
            assert find_faults(reply["schema"], answer.json()) == []

    def put(self, name: str, **settings: Json) -> requests.Response:
        answer = self.call("PUT", f"/endpoints/{name}", settings)
        assert answer.status_code < 300, answer.text
        return answer

    def patch(self, name: str, **changes: Json) -> requests.Response:
        answer = self.call("PATCH", f"/endpoints/{name}", changes)
        assert answer.status_code < 300, answer.text
        return answer

    def get(self, name: str) -> Json:
        answer = self.call("GET", f"/endpoints/{name}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def refresh(self, name: str, body: Json = None) -> int:
        return int(self.call("POST", f"/endpoints/{name}/refresh", body).status_code)

    def names(self) -> list[str]:
        answer = self.call("GET", "/endpoints")
        return [one["Name"] for one in answer.json()] if answer.status_code == 200 else []

    def publish(self, **more: Json) -> Json:
        return self.call("PUT", "", more).json()

    def upload(self, name: str, data: bytes) -> Json:
        """A model in blob storage, as a PATCH names it."""
        uri = f"{self.blob}/{ACCOUNT}/models/{name}.ilearner"
        upload_model(uri, data, {})
        return resource(f"{ACCOUNT}/models/{name}.ilearner", f"{self.blob}/", f"?{sign(uri)}")

    def score(self, name: str, row: Json = None, **query: str) -> Json:
        """What an endpoint answers to one row."""
        shown = self.get(name)
        answer = score(self.url, shown["ApiLocation"], shown["PrimaryKey"], row, **query)
        assert answer.status_code == 200, answer.text
        return answer.json()["Results"]["output1"]


def score(url: str, location: str, key: str, row: Json = None, **query: str) -> requests.Response:
    """A scoring call; the path of `location` counts, whatever its host."""
    table = {"ColumnNames": ["season", "hour"], "Values": [row or ["1", "8"]]}
    body = {"Inputs": {"input1": table}, "GlobalParameters": {}}
    return execute(url, location, key, body, **query)


def execute(url: str, location: str, key: str, body: Json, **query: str) -> requests.Response:
    """A scoring call with a body of any form; a refusal has the texts of the published table."""
    answer = requests.post(
        f"{url}{urlsplit(location).path}/execute",
        params={"api-version": "2.0", **query},
        data=body if isinstance(body, bytes) else json.dumps(body),
        headers={"Authorization": f"Bearer {key}"},
        timeout=120,
    )
    if answer.status_code >= 400:
        check_documented(answer.json()["error"])
    return answer


def resource(
    relative: str = "m/x.ilearner",
    base: str = "https://acct.blob.core.windows.net/",
    token: str = SIGNATURE,
    name: str = MODEL,
) -> Json:
    """A resource as a PATCH names it."""
    location = {"BaseLocation": base, "RelativeLocation": relative, "SasBlobToken": token}
    return {"Name": name, "Location": location}


def wait_until(url: str, settled: Callable[[], Json]) -> None:
    """Let time pass for an emulator until something holds; the test's own limit is the patience."""
    while not settled():
        pass_time(url, LONG_S)


@contextmanager
def run_classic(*options: str) -> Iterator[Classic]:
    """An emulator of its own, without blob storage unless it is asked for."""
    with run_service(*options) as service:
        yield Classic(service.url, blob=service.blob)


def write_world(folder: Path, *workspaces: Json) -> Path:
    file = folder / "world.yaml"
    file.write_text(json.dumps({"workspaces": list(workspaces)}))
    return file

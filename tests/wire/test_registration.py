"""A blob becomes a version of a model once, whatever becomes of the replies."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from reconciler.errors import Rejected, ServiceError, Unavailable
from reconciler.kinds.online_endpoint.registration import register_version
from reconciler.transport import Client
from reconciler.transport.rate_limit import CommandRateLimiter
from reconciler.transport.timeouts import Timeouts
from tests.scripted import Answer, Call, Scripted, run_scripted

W = "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w"
BLOB = "http://127.0.0.1:10000/acct/m/1.ilearner"
SHA = "a" * 64
TAGS = {"sha256": SHA, "retraining": "Retraining/census", "run": "r1"}
ABSENT = {"error": {"code": "UserError", "message": "Model container with name: census not found."}}
GONE = {"error": {"code": "ResourceGroupNotFound", "message": "no group"}}


@dataclass
class Registry:
    """The models of a workspace. `before` answers a call in its place, if it returns an answer."""

    before: Callable[[Call, int], Answer | None] = lambda _, __: None
    versions: dict[str, Any] = field(default_factory=dict)
    puts: list[str] = field(default_factory=list)

    def __call__(self, call: Call, number: int) -> Answer:
        early = self.before(call, number)
        if early is not None:
            return early
        path = call.target.partition("?")[0]
        assert call.target.endswith("api-version=2024-04-01")
        if call.method == "PUT":
            return self.put(path.rpartition("/")[2], call.body)
        if path == f"{W}/models/census":
            newest = max(map(int, self.versions), default=0)
            found = {"properties": {"latestVersion": str(newest), "nextVersion": str(newest + 1)}}
            return Answer(200, found) if self.versions else Answer(404, ABSENT)
        assert path == f"{W}/models/census/versions"
        listed = [{"name": name, "properties": one} for name, one in self.versions.items()]
        return Answer(200, {"value": listed}) if listed else Answer(404, ABSENT)

    def put(self, version: str, body: bytes) -> Answer:
        existed = version in self.versions
        self.versions[version] = json.loads(body)["properties"]
        self.puts.append(version)
        return Answer(200 if existed else 201, {"name": version})


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
def server(registry: Registry) -> Iterator[Scripted]:
    with run_scripted(registry) as running:
        yield running


def register(server: Scripted, model: str = "azureml:census:1", sha256: str = SHA) -> str:
    quick = Timeouts(retries=1, total_s=60.0, connect_s=60.0, read_s=60.0)
    limiter = CommandRateLimiter(lambda _: None)
    client = Client(
        server.url, lambda _: None, limiter, local_token="t", timeouts=quick, sleep=lambda _: None
    )
    return register_version(client, W, model, BLOB, {**TAGS, "sha256": sha256})


def test_the_first_and_the_next_version(registry: Registry, server: Scripted) -> None:
    assert register(server, "azureml:census:7") == "azureml:census:1"
    assert register(server, sha256="b" * 64) == "azureml:census:2"
    assert registry.versions["1"] == {
        "modelUri": BLOB,
        "modelType": "custom_model",
        "tags": TAGS,
    }


def test_the_version_in_service_is_never_made_again(registry: Registry, server: Scripted) -> None:
    assert register(server, "azureml:census:1") == "azureml:census:2"
    assert registry.puts == ["2"]


def test_the_same_digest_is_registered_once(registry: Registry, server: Scripted) -> None:
    registry.versions = {"1": {"tags": None}, "2": {"tags": {"sha256": SHA.upper()}}, "3": {}}
    assert register(server) == "azureml:census:2"
    assert registry.puts == []


@pytest.mark.parametrize("arrives", [True, False])
def test_a_lost_reply_makes_no_second_version(
    registry: Registry, server: Scripted, *, arrives: bool
) -> None:
    lost: list[int] = []

    def lose(call: Call, number: int) -> Answer | None:
        if call.method != "PUT" or lost:
            return None
        lost.append(number)
        if arrives:
            registry.put("1", call.body)
        return Answer(drop=True)

    registry.before = lose
    assert register(server, "azureml:census:7") == "azureml:census:1"
    assert registry.puts == ["1"]


def test_a_service_that_answers_no_registration_is_an_error(
    registry: Registry, server: Scripted
) -> None:
    registry.before = lambda call, _: Answer(drop=True) if call.method == "PUT" else None
    with pytest.raises(Unavailable, match="does not show whether the version 1") as failed:
        register(server, "azureml:census:7")
    assert "not made twice" in failed.value.next_step


def test_a_version_that_another_client_makes_meanwhile_is_not_ours(
    registry: Registry, server: Scripted
) -> None:
    def overtake(call: Call, _: int) -> Answer | None:
        if call.method == "PUT":
            registry.versions["1"] = {"tags": {"sha256": "c" * 64}}
        return None

    registry.before = overtake
    with pytest.raises(Rejected, match="was made by another client meanwhile") as failed:
        register(server, "azureml:census:7")
    assert "archive it" in failed.value.next_step


def test_another_404_is_not_the_absence_of_a_model(registry: Registry, server: Scripted) -> None:
    registry.before = lambda _, __: Answer(404, GONE)
    with pytest.raises(ServiceError, match="no group"):
        register(server)
    assert registry.puts == []


@pytest.mark.parametrize("version", [None, 7, "", "7\x1b[2J"])
def test_a_next_version_that_is_not_a_name_is_refused(
    registry: Registry, server: Scripted, version: object
) -> None:
    registry.versions = {"1": {}}
    wrong = Answer(200, {"properties": {"nextVersion": version}})
    registry.before = lambda call, _: wrong if "/versions" not in call.target else None
    with pytest.raises(Unavailable, match=r"properties\.nextVersion"):
        register(server)
    assert registry.puts == []

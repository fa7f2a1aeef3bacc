"""The emulator's records of Azure Machine Learning: what a restart finds."""

from pathlib import Path

import pytest

from reconciler.emulator.azureml import state as online_state
from reconciler.emulator.azureml.state import (
    OnlineDeployment,
    OnlineEndpoint,
    OnlineOperation,
    OnlineState,
    OnlineWorkspace,
)
from reconciler.emulator.randomness import RandomSource
from reconciler.emulator.state import State

WORKSPACE = OnlineWorkspace("Sub", "Group", "ws")


def open_state(folder: Path) -> OnlineState:
    state = State(folder)
    return OnlineState(state, RandomSource(7, state.count))


def make_endpoint(name: str = "Census") -> OnlineEndpoint:
    document = {"properties": {"traffic": {"blue": 100}}}
    return OnlineEndpoint(WORKSPACE, name, "eastus", document, 1.0, 2.0)


def make_operation(number: int, *, done: bool) -> OnlineOperation:
    key = make_endpoint().key
    return OnlineOperation(
        f"oeidp:{number}", WORKSPACE, "eastus", key, "", "PUT", 1.0, 2.0, {"a": 1}, done=done
    )


def test_a_restart_finds_every_record(tmp_path: Path) -> None:
    first = open_state(tmp_path)
    endpoint = make_endpoint()
    endpoint.scoring_path = f"/online/{WORKSPACE.id}/Census"
    deployment = OnlineDeployment(endpoint.key, "/path", "Blue", {"sku": {}}, 1.0, 2.0)
    operation = make_operation(1, done=False)
    first.keep(endpoint, deployment, operation)
    first.claim_name("EastUS", "Census", WORKSPACE.key)
    secret = first.get_secret()

    again = open_state(tmp_path)

    assert again.endpoints == {("sub", "group", "ws", "census"): endpoint}
    assert again.find_deployment(endpoint.key, "BLUE") == deployment
    assert again.operations == {operation.id: operation}
    assert again.names == {("eastus", "census"): ("sub", "group", "ws")}
    assert again.get_secret() == secret
    assert again.find_by_scoring(endpoint.scoring_path.upper()) == endpoint


def test_what_is_deleted_is_gone_after_a_restart(tmp_path: Path) -> None:
    first = open_state(tmp_path)
    endpoint = make_endpoint()
    first.keep(endpoint)
    first.claim_name("eastus", "census", WORKSPACE.key)
    first.keep(gone=[endpoint])
    first.claim_name("eastus", "census", None)

    again = open_state(tmp_path)

    assert (first.endpoints, again.endpoints, again.names) == ({}, {}, {})


def test_only_the_last_operations_that_ended_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(online_state, "MOST_ENDED", 3)
    state = open_state(tmp_path)
    running = make_operation(-1, done=False)
    state.keep(running)
    for number in range(8):
        state.keep(make_operation(number, done=True))

    again = open_state(tmp_path)

    assert len(state.operations) == 4
    assert running.id in again.operations
    assert again.operations.keys() == state.operations.keys()


def test_late_traffic_is_shown_and_routed_until_its_time() -> None:
    endpoint = make_endpoint()
    endpoint.old_traffic, endpoint.shown_late, endpoint.routed_late = {"green": 100}, 5.0, 9.0

    shown = [endpoint.show_traffic(now) for now in (4.0, 5.0)]
    routed = [endpoint.route_traffic(now) for now in (5.0, 9.0)]

    assert shown == [{"green": 100}, {"blue": 100}]
    assert routed == [{"green": 100}, {"blue": 100}]

"""Online endpoints from the first plan to the last, under every reading of what is not known."""

import json
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from reconciler.emulator import SWITCHES
from tests.e2e.online_world import (
    OnlineProject,
    deployment,
    open_online,
    read_requests,
)

pytestmark = pytest.mark.e2e
Json = Any
SECRET = "s3cr3t-tok3n/1"
# Every reading of what is not known, the first of each being the strictest.
READINGS = [
    {
        switch.name: switch.values[min(number, len(switch.values) - 1)]
        for switch in SWITCHES
        if switch.name.startswith("online-")
        and switch.values
        and switch.name != "online-references"
    }
    for number in (0, 1, 2)
]
ROLLOUT = {"steps": [10, 50, 100], "pause": "0s", "keepOld": "0s"}


@pytest.fixture
def online(tmp_path: Path) -> Iterator[OnlineProject]:
    with open_online(tmp_path / "online") as project:
        yield project


def list_writes(project: OnlineProject) -> list[str]:
    """The writes to endpoints and deployments that the service accepted, in order."""
    sent = (one for one in read_requests(project) if one["method"] in {"PUT", "PATCH", "DELETE"})
    return [
        f"{one['method']} {one['path'].partition('?')[0].partition('/onlineEndpoints/')[2]}"
        for one in sent
        if "onlineEndpoints" in one["path"]
        if (one["status"] or 200) < 400  # no status: the reply was dropped
    ]


@pytest.mark.parametrize(
    "reading",
    [
        pytest.param(READINGS[0], id="first"),
        pytest.param(READINGS[1], id="second", marks=pytest.mark.slow),
        pytest.param(READINGS[2], id="third", marks=pytest.mark.slow),
    ],
)
@pytest.mark.usefixtures("hurried_calls")
def test_the_life_of_an_endpoint_under_every_reading(
    reading: Mapping[str, str], tmp_path: Path
) -> None:
    with open_online(tmp_path / "online", reading) as online:
        workspace, online.environment["TOKEN"] = online.workspace, SECRET
        blue = deployment(1, environment_variables={"A": "1", "TOKEN": {"env": "TOKEN"}})
        spec: Json = {"tags": {"team": "a", "cost": "7"}, "traffic": {"blue": 100}}
        online.declare(**spec, deployments={"blue": blue})
        online.apply()
        assert online.changes() == []
        assert (workspace.traffic("census"), workspace.model("census", "blue")) == (
            {"blue": 100},
            "1",
        )
        # One resource of the service each, by the smallest call that is enough.
        spec["tags"] = {"team": "b", "cost": "7"}
        online.declare(**spec, deployments={"blue": {**blue, "instance_count": 2}})
        online.apply()
        assert online.changes() == []
        assert list_writes(online)[3:] == ["PATCH census", "PATCH census/deployments/blue"]
        # A rollout, in the order that keeps traffic whole.
        online.declare(
            **{**spec, "traffic": {"green": 100}},
            deployments={"green": deployment(2)},
            rollout=ROLLOUT,
        )
        online.apply()
        assert online.changes() == []
        assert list_writes(online)[5:] == [
            "PUT census/deployments/green",
            *["PUT census"] * 3,
            "DELETE census/deployments/blue",
        ]
        assert workspace.traffic("census") == {"green": 100}
        assert workspace.get("/onlineEndpoints/census")["tags"] == {"team": "b", "cost": "7"}
        assert online.run("drift").code == 0
        # The end.
        (online.folder / "manifests" / "census.yaml").unlink()
        online.apply("--prune", "--allow", "empty", "--allow", "deletes")
        assert list_writes(online)[10:] == ["DELETE census"]
        assert workspace.send("GET", "/onlineEndpoints/census")[0] == 404
        online.check_silence(SECRET)


def test_what_az_ml_has_made_is_imported_and_plans_empty(online: OnlineProject) -> None:
    workspace = online.workspace
    # A password may stand in a value whose name does not say so.
    database = "postgres://census:c0rrect-horse@db.example/census"
    variables = {"TOKEN": SECRET, "WORKER_COUNT": "2", "DATABASE": database}
    workspace.put_endpoint("census")
    workspace.put_deployment("census", "blue", environmentVariables=variables)
    workspace.put_deployment("census", "green", 2)
    workspace.put_endpoint("census", {"blue": 90, "green": 10}, tags={"team": "a"})
    assert online.run("import", "OnlineEndpoint/census", "census").code == 0
    assert online.changes("--refresh", "full") == []
    text = (online.folder / "manifests" / "census.yaml").read_text()
    assert "azureml:census:2" in text
    assert SECRET not in text
    # Its documents go through a PUT without a loss.
    before = workspace.deployments("census")["blue"]["properties"]
    file = online.folder / "manifests" / "census.yaml"
    file.write_text(text.replace("WORKER_COUNT: '2'", "WORKER_COUNT: '3'"))
    online.apply()
    after = workspace.deployments("census")["blue"]["properties"]
    assert after["environmentVariables"]["WORKER_COUNT"] == "3"
    assert after["environmentVariables"]["TOKEN"] == SECRET
    assert after["environmentVariables"]["DATABASE"] == database
    online.run("export", "OnlineEndpoint/census", "--format", "json")
    online.check_silence("c0rrect-horse")
    for one in (before, after):
        del one["environmentVariables"]["WORKER_COUNT"], one["properties"]
    assert after == before


def test_all_endpoints_of_a_workspace_are_exported_and_plan_empty(online: OnlineProject) -> None:
    for name in ("one", "two", "three"):
        online.workspace.put_endpoint(name)
        online.workspace.put_deployment(name, "blue")
    # Only az ml needs names in lower case.
    online.workspace.put_deployment("three", "Old")
    online.workspace.put_endpoint("three", {"Old": 70, "blue": 30})
    assert online.run("export", "--all").code == 0
    assert online.changes() == []
    assert len(list((online.folder / "manifests").glob("*.yaml"))) == 3


def test_a_split_that_somebody_moved_is_drift_and_is_restored(online: OnlineProject) -> None:
    deployments = {"blue": deployment(1), "green": deployment(2)}
    online.declare(traffic={"blue": 100}, deployments=deployments)
    online.apply()
    online.workspace.put_endpoint("census", {"blue": 40, "green": 60})
    done = online.run("drift", "--detailed-exitcode")
    assert "traffic.green" in done.said
    online.apply()
    assert online.workspace.traffic("census") == {"blue": 100}
    assert online.run("drift").said.count("No drift") == 1


def test_a_split_that_somebody_moved_is_accepted_whole(online: OnlineProject) -> None:
    deployments = {"blue": deployment(1), "green": deployment(2)}
    file = online.declare(traffic={"blue": 100}, deployments=deployments)
    online.apply()
    # green had no share at the apply, and the manifest does not name it in its traffic.
    online.workspace.put_endpoint("census", {"blue": 40, "green": 60})
    assert "pending" not in online.run("drift").said
    assert online.run("drift", "--accept", "OnlineEndpoint/census").code == 0
    assert json.loads(file.read_text())["spec"]["traffic"] == {"blue": 40, "green": 60}
    assert online.changes() == []


@pytest.mark.slow
def test_what_others_have_changed_since_the_plan_is_kept(online: OnlineProject) -> None:
    """A PUT replaces the whole document, so it sends what was read right before."""
    workspace, blue = online.workspace, deployment(1)
    del blue["instance_count"]
    spec: Json = {"traffic": {"blue": 100}, "deployments": {"blue": blue}}
    online.declare(**spec)
    online.apply()
    online.declare(**spec, description="new", public_network_access="enabled")
    online.run("plan", "--out", "saved")
    workspace.write("PATCH", "/onlineEndpoints/census/deployments/blue", {"sku": {"capacity": 5}})
    workspace.put_deployment("census", "red", 2)
    workspace.put_endpoint("census", {"blue": 70, "red": 30}, tags={"owner": "somebody"})
    online.apply("saved")
    shown = workspace.get("/onlineEndpoints/census")
    assert (shown["tags"], shown["properties"]["description"]) == ({"owner": "somebody"}, "new")
    assert workspace.traffic("census") == {"blue": 70, "red": 30}
    # The number of instances is that of autoscale, through a PUT of the deployment too.
    spec["deployments"] = {"blue": {**blue, "environment_variables": {"A": "2"}}}
    online.declare(**spec)
    online.apply()
    assert workspace.deployments("census")["blue"]["sku"]["capacity"] == 5
    assert workspace.traffic("census") == {"blue": 100}
    assert set(workspace.deployments("census")) == {"blue", "red"}


def test_the_cost_of_reads_is_a_call_each_and_one_for_the_list(online: OnlineProject) -> None:
    names = [f"end{number}" for number in range(6)]
    for name in names:
        online.workspace.put_endpoint(name)
        online.workspace.put_deployment(name, "blue")
        online.declare(name, deployments={"blue": deployment(1)})
    asked = len(read_requests(online))
    assert online.changes("--refresh", "full") == []
    assert len(read_requests(online)) - asked == len(names) + 1
    (online.folder / "manifests" / "end0.yaml").rename(online.folder / "end0.yaml")
    for name in names[1:]:
        (online.folder / "manifests" / f"{name}.yaml").unlink()
    (online.folder / "end0.yaml").rename(online.folder / "manifests" / "end0.yaml")
    asked = len(read_requests(online))
    assert online.changes("--refresh", "full") == []
    assert len(read_requests(online)) - asked == 2


@pytest.mark.slow
def test_three_hundred_endpoints_are_planned_in_seconds(tmp_path: Path) -> None:
    most = {"online-most-endpoints": "1000", "online-most-deployments": "1000"}
    with open_online(tmp_path / "online", most) as online:

        def make(number: int) -> None:
            name = f"e{number:03}"
            online.workspace.put_endpoint(name)
            online.workspace.put_deployment(name, "blue")
            online.declare(name, deployments={"blue": deployment(1)})

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(make, range(300)))
        asked, began = len(read_requests(online)), time.process_time()
        assert online.changes("--refresh", "full") == []
        assert time.process_time() - began < 30
        # A page of the list has 30 endpoints.
        assert len(read_requests(online)) - asked == 300 + 10


@pytest.mark.usefixtures("hurried_calls")
def test_a_fleet_of_endpoints_is_rolled_out_in_parallel(online: OnlineProject) -> None:
    names = ["one", "two", "three", "four"]
    for version, colour in ((1, "blue"), (2, "green")):
        for name in names:
            online.declare(
                name,
                traffic={colour: 100},
                deployments={colour: deployment(version)},
                rollout=ROLLOUT,
            )
        online.apply("--allow", "updates")
    assert online.changes() == []
    for name in names:
        assert online.workspace.traffic(name) == {"green": 100}
        assert set(online.workspace.deployments(name)) == {"green"}
    # Writes of one endpoint wait for each other, and those of others do not.
    owners = [one.split()[1].partition("/")[0] for one in list_writes(online)]
    assert owners != sorted(owners, key=owners.index)


# What goes wrong.

GREEN = "method: PUT, path: deployments/green"
# The calls of reconciler, and not those of the other client.
OWN_PUT = r"method: PUT, path: 'onlineEndpoints/census\?api-version=2024-04-01'"


@contextmanager
def faulty(folder: Path, *faults: str) -> Iterator[OnlineProject]:
    """A project whose manifest moves all traffic from blue to green, and a service with faults."""
    file = folder / "faults.yaml"
    file.write_text("".join(f"- {{{one}}}\n" for one in faults))
    with open_online(folder / "online", {}, f"--faults={file}") as online:
        online.workspace.version = "2025-06-01"
        online.workspace.put_endpoint("census")
        online.workspace.put_deployment("census", "blue")
        online.workspace.put_endpoint("census", {"blue": 100})
        online.declare(
            traffic={"green": 100}, deployments={"green": deployment(2)}, rollout=ROLLOUT
        )
        yield online


def expect_rollout(online: OnlineProject) -> None:
    """Apply the rollout, and find it done and each of its writes sent once."""
    online.apply()
    assert online.workspace.traffic("census") == {"green": 100}
    assert set(online.workspace.deployments("census")) == {"green"}
    assert online.changes() == []


@pytest.mark.usefixtures("hurried_calls")
def test_a_container_that_crashes_takes_no_traffic_and_is_sent_again(tmp_path: Path) -> None:
    with faulty(tmp_path, f"match: {{{GREEN}}}, do: crash-container, times: 1") as online:
        done = online.run("apply", "--auto-approve")
        assert done.code == 1
        assert "deployment green: the operation failed: User container has crashed" in done.said
        assert "Its log says: ModuleNotFoundError: No module named 'sklearn'" in done.said
        assert online.workspace.traffic("census") == {"blue": 100}
        planned = online.run("plan").said
        assert 'provisioningState = "Failed" -> "Succeeded"' in planned
        assert "deployments.green.properties.provisioningState is Failed" in planned
        expect_rollout(online)


@pytest.mark.slow
@pytest.mark.parametrize("reading", ["repair", "delete"])
def test_an_endpoint_whose_creation_failed_is_repaired_if_the_service_can(
    reading: str, tmp_path: Path
) -> None:
    file = tmp_path / "faults.yaml"
    file.write_text(f"- {{match: {{{OWN_PUT}}}, do: fail-operation, times: 1}}\n")
    switches = {"online-failed-endpoint": reading}
    with open_online(tmp_path / "online", switches, f"--faults={file}") as online:
        online.declare(traffic={"green": 100}, deployments={"green": deployment(2)})
        assert online.run("apply", "--auto-approve").code == 1
        if reading == "delete":
            done = online.run("apply", "--auto-approve")
            assert done.code == 1
            assert "az ml online-endpoint delete --name census" in done.said
            assert online.workspace.write("DELETE", "/onlineEndpoints/census") == "Succeeded"
        online.apply()
        assert online.workspace.traffic("census") == {"green": 100}
        assert online.changes() == []


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        pytest.param(
            f"match: {{{GREEN}}}, do: busy, times: 2",
            "is in Updating provisioning state",
            id="busy",
        ),
        pytest.param(
            f"match: {{{OWN_PUT}}}, do: stale-traffic, seconds: 0.5, times: 2",
            "complete",
            id="stale-traffic",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            f"match: {{{OWN_PUT}}}, do: silent-rollback, times: 1",
            "it is sent again",
            id="silent-rollback",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            f"match: {{{GREEN}}}, do: drop-reply, times: 1",
            "complete",
            id="drop-reply",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_rollout_goes_on_after_trouble_that_passes(
    fault: str, said: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if "seconds:" not in fault:
        request.getfixturevalue("hurried_calls")
    with faulty(tmp_path, fault) as online:
        done = online.apply()
        assert said in done.said
        assert online.workspace.traffic("census") == {"green": 100}
        assert online.changes() == []
        assert len([one for one in list_writes(online) if one.endswith("green")]) == 1


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        pytest.param(
            f"match: {{{GREEN}}}, do: no-quota, times: 1",
            "Current usage/limit: 0/6. Additional needed: 8",
            id="no-quota",
        ),
        pytest.param(
            "match: {method: GET, path: 'deployments.api-version=2024'}, do: missing-group,"
            " times: 1",
            "Resource group 'rg' could not be found",
            id="missing-group",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "match: {method: GET, path: 'deployments.api-version=2024'}, do: list-omission,"
            " times: 2",
            "shows the deployment blue, and its list lacks it",
            id="list-omission",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            f"match: {{{OWN_PUT}}}, do: fail-operation, times: 1",
            "the operation failed",
            id="fail-operation",
            marks=pytest.mark.slow,
        ),
    ],
)
@pytest.mark.usefixtures("hurried_calls")
def test_trouble_that_a_person_must_see_leaves_traffic_where_it_was(
    fault: str, said: str, tmp_path: Path
) -> None:
    with faulty(tmp_path, fault) as online:
        done = online.run("apply", "--auto-approve")
        assert done.code == 1
        assert said in done.said
        assert online.workspace.traffic("census") == {"blue": 100}
        expect_rollout(online)


@pytest.mark.usefixtures("hurried_calls")
def test_an_operation_that_does_not_end_is_waited_for_and_not_sent_again(tmp_path: Path) -> None:
    with faulty(tmp_path, f"match: {{{GREEN}}}, do: stuck-operation, times: 1") as online:
        for _ in range(2):
            done = online.run("apply", "--auto-approve", "--step-timeout=1s")
            assert done.code == 1
            assert "is still running after 1 second" in done.said
        sent = [one for one in list_writes(online) if one == "PUT census/deployments/green"]
        assert len(sent) == 1
        # Of the address of the operation only the guid is kept.
        online.check_silence()


def test_watch_finds_a_split_that_somebody_moved_and_restores_it(online: OnlineProject) -> None:
    deployments = {"blue": deployment(1), "green": deployment(2)}
    online.declare(traffic={"blue": 100}, deployments=deployments)
    online.apply()
    assert online.run("watch", "--once", "--detailed-exitcode").code == 0
    online.workspace.put_endpoint("census", {"blue": 40, "green": 60})
    done = online.run("watch", "--once", "--detailed-exitcode")
    assert done.code == 2
    assert "properties.traffic.blue" in done.out
    online.run("watch", "--once", "--mode", "apply")
    assert online.workspace.traffic("census") == {"blue": 100}

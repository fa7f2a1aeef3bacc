"""Online endpoints from the first plan to the last, under every reading of what is not known."""

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
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
from tests.e2e.world import run

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
        if one["status"] < 400
    ]


@pytest.mark.parametrize(
    "reading",
    [
        pytest.param(READINGS[0], id="first"),
        pytest.param(READINGS[1], id="second", marks=pytest.mark.slow),
        pytest.param(READINGS[2], id="third", marks=pytest.mark.slow),
    ],
)
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
        assert run(online.folder, "drift").code == 0
        # The end.
        (online.folder / "manifests" / "census.yaml").unlink()
        online.apply("--prune", "--allow", "empty", "--allow", "deletes")
        assert list_writes(online)[10:] == ["DELETE census"]
        assert workspace.send("GET", "/onlineEndpoints/census")[0] == 404
        for file in online.folder.rglob("*"):
            if file.is_file():
                assert SECRET not in file.read_text(errors="replace"), file


def test_what_az_ml_has_made_is_imported_and_plans_empty(online: OnlineProject) -> None:
    workspace = online.workspace
    variables = {"TOKEN": SECRET, "WORKER_COUNT": "2"}
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
    for one in (before, after):
        del one["environmentVariables"]["WORKER_COUNT"], one["properties"]
    assert after == before


def test_all_endpoints_of_a_workspace_are_exported_and_plan_empty(online: OnlineProject) -> None:
    for name in ("one", "two", "three"):
        online.workspace.put_endpoint(name)
        online.workspace.put_deployment(name, "blue")
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

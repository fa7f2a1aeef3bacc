"""The writes of a rollout: what a saved plan says of them is not believed, and what is reported."""

import contextlib
import copy
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.model import Plan
from reconciler.package_data import read_schema
from reconciler.plans import plan_file
from reconciler.plans.changes_digest import digest_of_changes
from reconciler.plans.plan_file import read_plan
from tests.e2e.online_world import OnlineProject, deployment, open_online, read_requests
from tests.e2e.resealed import list_places, list_variants, put, seal

pytestmark = pytest.mark.e2e
Json = Any
CHANGE = "/resource_changes/*"
REFUSALS = {
    "the manifest has another way of the change than the plan",
    "OnlineEndpoint makes other writes of the change than the plan",
}
ROLLOUT = {
    "steps": [50, 100],
    "pause": "1s",
    "keepOld": "2s",
    "probe": {"request": {"data": [[1, 2]]}, "count": 2},
}


def seal_all(forged: Json, honest: Plan) -> Json:
    """The plan with both digests of what it holds now, as anyone can compute them."""
    with contextlib.suppress(KeyError, TypeError, ValueError):
        steps = tuple(map(plan_file._step_of, forged["resource_changes"]))
        forged = {**forged, "changes_digest": digest_of_changes(replace(honest, steps=steps))}
    return seal(forged)


@pytest.fixture(scope="module")
def online(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnlineProject]:
    """An endpoint with blue in service."""
    with open_online(tmp_path_factory.mktemp("steps") / "online") as project:
        project.declare(traffic={"blue": 100}, deployments={"blue": deployment(1)})
        project.apply()
        yield project


def declare_green(online: OnlineProject, **rollout: Json) -> None:
    online.declare(
        traffic={"green": 100},
        deployments={"green": deployment(2)},
        rollout={**ROLLOUT, **rollout},
    )


def list_sent(online: OnlineProject) -> list[Json]:
    """The writes to the endpoint and its deployments."""
    return [one for one in read_requests(online) if one["method"] in {"PUT", "PATCH", "DELETE"}]


def list_ways() -> Iterator[tuple[str, Json]]:
    """The places of a plan that say in which way a change is made."""
    for place, schema in list_places(read_schema("output/plan")):
        if place.startswith((f"{CHANGE}/strategy", f"{CHANGE}/writes")):
            yield place, schema


def list_forgeries(plan: Json, most: int) -> Iterator[Json]:
    """Plans that differ at one of these places."""
    for place, schema in list_ways():
        variants = list_variants(plan, place, schema)
        assert variants, place
        for keys, value in variants[:most]:
            yield put(plan, keys, value)
    (change,) = plan["resource_changes"]
    for name in ("strategy", "writes"):
        left = {**copy.deepcopy(plan), "resource_changes": [{**change}]}
        del left["resource_changes"][0][name]
        yield left


# One forgery of each place is in every run.
@pytest.mark.parametrize("most", [1, pytest.param(8, marks=pytest.mark.slow)])
def test_no_word_of_a_plan_about_its_writes_is_believed(online: OnlineProject, most: int) -> None:
    declare_green(online)
    saved = online.folder / "saved.plan"
    assert online.run("plan", "--out", str(saved)).code == 0
    plan, sent = json.loads(saved.read_text()), len(list_sent(online))
    honest, _ = read_plan(saved.read_text())
    refusals = set()
    for forged in list_forgeries(plan, most):
        saved.write_text(json.dumps(seal_all(forged, honest)))
        done = online.run("apply", str(saved))
        assert done.code != 0, done.said
        assert "Traceback" not in done.said
        refusals |= {one for one in REFUSALS if one in done.said}
    assert len(list_sent(online)) == sent
    assert refusals == REFUSALS


def test_a_plan_of_another_strategy_than_the_manifest_is_stale(online: OnlineProject) -> None:
    declare_green(online)
    saved = online.folder / "saved.plan"
    assert online.run("plan", "--out", str(saved)).code == 0
    declare_green(online, steps=[10, 100])
    done = online.run("apply", str(saved), "--detailed-exitcode")
    assert done.code == 4, done.said
    assert "the manifest has another way of the change than the plan" in done.said


def test_programs_are_told_of_each_write_and_each_check(tmp_path: Path) -> None:
    with open_online(tmp_path / "online") as online:
        online.declare(traffic={"blue": 100}, deployments={"blue": deployment(1)})
        online.apply()
        declare_green(online, pause="0s", keepOld="0s")
        done = online.run("apply", "--auto-approve", "--json")
        assert done.code == 0, done.said
        lines = [json.loads(line) for line in done.out.splitlines()]
        writes = [one["hook"]["write"] for one in lines if one["type"] == "write_complete"]
        assert [one["title"] for one in writes] == [
            "create deployment green (census:2)",
            "traffic: green 50 %, blue 50 %",
            "traffic: green 100 %",
            "delete deployment blue",
        ]
        checks = [one["hook"] for one in lines if one["type"] == "check_complete"]
        assert len(checks) == 3
        assert "green" in checks[0]["seen"]
        history = json.loads(online.run("history", "OnlineEndpoint/census", "--format=json").out)
        numbers = [one.get("write", {}).get("number") for one in history["entries"][:4]]
        assert numbers == [4, 3, 2, 1]


def test_a_container_that_crashes_is_removed_as_the_manifest_says(tmp_path: Path) -> None:
    match = {"method": "PUT", "path": "deployments/green"}
    faults = tmp_path / "faults.yaml"
    faults.write_text(json.dumps([{"match": match, "do": "crash-container"}]))
    with open_online(tmp_path / "online", None, f"--faults={faults}") as online:
        online.declare(traffic={"blue": 100}, deployments={"blue": deployment(1)})
        online.apply()
        said = ""
        for on_failure, there in (("keep", {"blue", "green"}), ("remove", {"blue"})):
            declare_green(online, onFailure=on_failure)
            done = online.run("apply", "--auto-approve")
            assert done.code == 1, done.said
            assert "User container has crashed" in done.said
            assert "0 of 4 writes were done." in done.said
            assert online.workspace.deployments("census").keys() == there
            assert online.workspace.traffic("census") == {"blue": 100}
            said = done.said
        assert "reverted: delete deployment green" in said

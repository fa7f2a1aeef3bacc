"""The writes of a rollout of an online endpoint: their order, waits, checks, and the way back."""

from typing import Any

import pytest

from reconciler.kinds.online_endpoint import KIND
from reconciler.model import ABSENT, Json, Step, Write
from reconciler.plans.step import make_step
from tests.online_endpoints import BLUE, GREEN, compare, deployment, endpoint, manifest

PROBE = {"request": {"data": [1]}, "expect": [1]}
ROLLOUT = {"steps": [10, 50, 100], "pause": "60s", "keepOld": "10m", "probe": PROBE}
BOTH = (deployment(), deployment("green", "2", created="2025-03-01T00:00:00.1+00:00"))
LIVE = endpoint({"blue": 100}, deployment())
SHIFT = {"traffic": {"green": 100}, "deployments": {"green": GREEN}, "rollout": ROLLOUT}


def plan(live: Json, **spec: Any) -> Step:
    step = make_step(compare(live, **spec))
    assert step is not None
    return step.copy_with(strategy=KIND.bind(manifest(**spec), live).strategy)


def split(live: Json, **spec: Any) -> list[Write]:
    return [write for write, _ in KIND.split_step(plan(live, **spec))]


def titles(live: Json, **spec: Any) -> list[str]:
    return [write.title for write in split(live, **spec)]


def test_a_rollout_from_blue_to_green() -> None:
    writes = split(LIVE, **SHIFT)
    assert [(one.title, one.wait_s) for one in writes] == [
        ("create deployment green (census:2)", 0),
        ("traffic: green 10 %, blue 90 %", 0),
        ("traffic: green 50 %, blue 50 %", 60),
        ("traffic: green 100 %", 60),
        ("delete deployment blue", 600),
    ]
    assert [len(one.requires) for one in writes] == [0, 1, 0, 0, 0]
    (probe,) = writes[1].requires
    assert probe.settings == {"sort": "probe", "deployment": "green", "count": 20}
    (shares,) = writes[1].checks
    assert shares.settings["traffic"] == {"green": 10, "blue": 90}
    assert [one.sends for one in writes] == [
        ("deployments", "green"),
        (),
        (),
        (),
        ("deployments", "blue"),
    ]


CASES: list[tuple[str, Json, dict[str, Any], list[str]]] = [
    (
        "a new endpoint gets its traffic last, at once",
        ABSENT,
        SHIFT,
        ["create the endpoint", "create deployment green (census:2)", "traffic: green 100 %"],
    ),
    (
        "an interrupted shift goes on above what it has reached",
        endpoint({"blue": 90, "green": 10}, *BOTH),
        SHIFT,
        ["traffic: green 50 %, blue 50 %", "traffic: green 100 %", "delete deployment blue"],
    ),
    (
        "what is left after the shift is deleted",
        endpoint({"green": 100}, *BOTH),
        SHIFT,
        ["delete deployment blue"],
    ),
    (
        "without a rollout the traffic moves at once, and the old one stays",
        LIVE,
        {"traffic": {"green": 100}, "deployments": {"green": GREEN}},
        ["create deployment green (census:2)", "traffic: green 100 %"],
    ),
    (
        "another split is reached in proportion",
        LIVE,
        {**SHIFT, "traffic": {"blue": 80, "green": 20}},
        [
            "create deployment green (census:2)",
            "traffic: green 2 %, blue 98 %",
            "traffic: green 10 %, blue 90 %",
            "traffic: green 20 %, blue 80 %",
        ],
    ),
    (
        "settings go first, or with the first traffic",
        LIVE,
        {**SHIFT, "tags": {"a": "b"}, "rollout": {}},
        [
            "change the settings of the endpoint",
            "create deployment green (census:2)",
            "traffic: green 100 %",
        ],
    ),
    (
        "settings ride with traffic where no deployment is written",
        endpoint({"blue": 100}, *BOTH),
        {"traffic": {"green": 100}, "tags": {"a": "b"}},
        ["traffic: green 100 %; change the settings of the endpoint"],
    ),
    (
        "mirrored traffic ends where live traffic begins",
        endpoint({"blue": 100}, *BOTH, mirrorTraffic={"green": 20}),
        {"traffic": {"green": 100}},
        ["traffic: green 100 %; mirrored traffic: none"],
    ),
    (
        "mirrored traffic alone",
        endpoint({"blue": 100}, *BOTH),
        {"mirror_traffic": {"green": 20}},
        ["mirrored traffic: green 20 %"],
    ),
    (
        "a deployment that loses its traffic is changed after that",
        endpoint({"blue": 100}, *BOTH),
        {"traffic": {"green": 100}, "deployments": {"blue": GREEN}},
        ["traffic: green 100 %", "change deployment blue (census:1 -> census:2)"],
    ),
    (
        "traffic that somebody has left is put right at once",
        endpoint({"blue": 40, "green": 40}, *BOTH),
        {"traffic": {"green": 100}, "rollout": ROLLOUT, "deployments": {"blue": BLUE}},
        ["traffic: green 100 %"],
    ),
    (
        "no traffic at all",
        LIVE,
        {"traffic": {}},
        ["traffic: none"],
    ),
]


@pytest.mark.parametrize(
    ("live", "spec", "expected"),
    [pytest.param(*one[1:], id=one[0].replace(" ", "-")) for one in CASES],
)
def test_the_order_of_writes(live: Json, spec: dict[str, Any], expected: list[str]) -> None:
    assert titles(live, **spec) == expected


def test_the_pause_holds_for_a_shift_that_was_interrupted_too() -> None:
    first = split(endpoint({"blue": 90, "green": 10}, *BOTH), **SHIFT)[0]
    assert first.wait_s == 60
    assert [one.settings["sort"] for one in first.requires] == ["shares"]


def test_a_change_in_place_is_probed_after_it() -> None:
    (write,) = split(LIVE, deployments={"blue": GREEN}, rollout=ROLLOUT)
    assert [one.settings["deployment"] for one in write.checks] == ["blue"]
    (write,) = split(LIVE, deployments={"blue": {"instance_count": 9}}, rollout=ROLLOUT)
    assert write.checks == ()


def test_a_secret_alone_is_a_write_of_its_deployment() -> None:
    given = {"blue": {**BLUE, "environment_variables": {"API_TOKEN": {"env": "TOKEN"}}}}
    spec = {"deployments": given}
    comparison = compare(LIVE, **spec)
    object.__setattr__(comparison, "ledger_known", True)
    step = make_step(comparison)
    assert step is not None
    after: Json
    ((write, after),) = KIND.split_step(step)
    assert write.sends == ("deployments", "blue")
    assert after["deployments"]["blue"] == LIVE["deployments"]["blue"]


@pytest.mark.parametrize(
    ("failed", "on_failure", "expected"),
    [
        (0, "keep", []),
        (0, "remove", ["delete deployment green"]),
        (1, "keep", ["traffic back: blue 100 %"]),
        (2, "remove", ["traffic back: blue 100 %", "delete deployment green"]),
    ],
)
def test_the_way_back(failed: int, on_failure: str, expected: list[str]) -> None:
    step = plan(LIVE, **{**SHIFT, "rollout": {**ROLLOUT, "onFailure": on_failure}})
    reached = KIND.split_step(step)[failed][1]
    back = KIND.retreat(step, reached)
    assert [write.title for write, _ in back] == expected


def test_what_had_copies_of_the_traffic_before_is_not_removed_on_the_way_back() -> None:
    live = endpoint({"blue": 100}, *BOTH, mirrorTraffic={"green": 20})
    step = plan(live, **{**SHIFT, "rollout": {**ROLLOUT, "onFailure": "remove"}})
    (_, reached), *_ = KIND.split_step(step)
    after: Json
    ((write, after),) = KIND.retreat(step, reached)
    assert write.title == "traffic back: blue 100 %"
    assert after["properties"]["mirrorTraffic"] == {"green": 20}


def test_a_change_in_place_that_does_not_pass_is_restored() -> None:
    step = plan(LIVE, deployments={"blue": GREEN}, rollout=ROLLOUT)
    ((_, reached),) = KIND.split_step(step)
    after: Json
    ((write, after),) = KIND.retreat(step, reached)
    assert write.title == "restore deployment blue"
    assert after["deployments"]["blue"]["properties"]["model"] == "azureml:census:1"


def test_the_deletion_of_an_endpoint_is_one_call() -> None:
    step = plan(LIVE, tags={"a": "b"}).copy_with(after=ABSENT)
    assert KIND.split_step(step) == []

"""A rollout meets each fault of the service once: no success is claimed that is not there.

The next run reaches what is declared, and the traffic is whole in between.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.emulator import Fault
from reconciler.emulator.faults.fault_plan import FaultPlan
from tests.contract.in_process import InProcess, run_in_process
from tests.e2e.online_world import OnlineProject, Workspace, deployment
from tests.e2e.world import Emulator

pytestmark = pytest.mark.e2e
PLACES = {
    "deployment": ("PUT", "deployments/green"),
    "traffic": ("PUT", r"onlineEndpoints/[a-z0-9-]+\?"),
    "removal": ("DELETE", "deployments/blue"),
    "operation": ("GET", "mfeOperationsStatus"),
    "endpoint": ("GET", r"onlineEndpoints/[a-z0-9-]+\?"),
    "deployments": ("GET", "deployments"),
}
OF_WRITES = (
    "fail-operation",
    "cancel-operation",
    "silent-rollback",
    "busy",
    "lost-backend",
    "missing-group",
    "error",
    "drop-reply",
    "drop-request",
    "truncate",
    "wrong-type",
    "throttle",
)
OF_READS = ("error", "drop-reply", "truncate", "wrong-type", "throttle", "lost-backend")
QUICK = {
    ("deployment", "drop-reply"),
    ("traffic", "silent-rollback"),
    ("removal", "fail-operation"),
    ("deployments", "list-omission"),
}
TRIALS = [
    *((place, do) for place in ("deployment", "traffic", "removal") for do in OF_WRITES),
    *((place, do) for place in ("operation", "endpoint", "deployments") for do in OF_READS),
    ("deployment", "crash-container"),
    ("deployment", "no-quota"),
    ("deployment", "unmarked-write"),
    ("traffic", "unmarked-write"),
    ("traffic", "stale-traffic"),
    ("traffic", "ignored-traffic"),
    ("endpoint", "stale-read"),
    ("deployments", "list-omission"),
]
ROLLOUT = {"steps": [50, 100], "pause": "0s", "keepOld": "0s"}


@pytest.fixture(scope="module")
def service() -> Iterator[InProcess]:
    with run_in_process() as running:
        yield running


def put_fault(service: InProcess, *faults: Fault) -> FaultPlan:
    plan = FaultPlan(faults, None)
    service._server._fault_injector._plan = plan
    return plan


def find_break(workspace: Workspace, name: str) -> str:
    """What is wrong with the traffic; empty where it is whole."""
    traffic, there = workspace.traffic(name), workspace.deployments(name)
    whole = sum(traffic.values()) == 100 and set(traffic) <= set(there)
    return "" if whole else f"{traffic} of {sorted(there)}"


@pytest.mark.parametrize(
    ("place", "do"),
    [
        # The quick ones hold the same: a write that is lost, one that lies, one that fails, a read.
        pytest.param(*one, marks=[] if one in QUICK else [pytest.mark.slow], id="-".join(one))
        for one in TRIALS
    ],
)
def test_a_rollout_under_a_fault(
    service: InProcess, tmp_path: Path, place: str, do: str, request: pytest.FixtureRequest
) -> None:
    name = f"{place}-{do}".replace("deployments", "list")[:32]
    workspace = Workspace(Emulator(service.url, ""), name)
    project = OnlineProject(tmp_path / "project", workspace)
    put_fault(service)
    project.declare(name, traffic={"blue": 100}, deployments={"blue": deployment(1)})
    project.apply()
    project.declare(
        name, traffic={"green": 100}, deployments={"green": deployment(2)}, rollout=ROLLOUT
    )
    method, path = PLACES[place]
    lasting = 0.1 if do in {"stale-traffic", "stale-read"} else None
    put_fault(service, Fault(do, method, path, times=1, seconds=lasting))
    if lasting is None:
        request.getfixturevalue("hurried_calls")

    done = project.run("apply", "--auto-approve", "--patience=3s")
    broken = find_break(workspace, name)
    reached = [(workspace.traffic(name), {*workspace.deployments(name)})]
    put_fault(service)
    again = [project.run("apply", "--auto-approve", "--patience=3s") for _ in range(2)]
    reached.append((workspace.traffic(name), {*workspace.deployments(name)}))

    wanted = ({"green": 100}, {"green"})
    assert not broken
    assert reached[0] == wanted or done.code != 0, done.said
    assert reached[1] == wanted, again[-1].said
    assert again[-1].code == 0

"""--metrics-file: the metrics of a command in a file, for the textfile collector."""

import os
import shlex
import stat
import sys
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.test_drift_outputs import moved as moved  # noqa: PLC0414 - a fixture
from tests.e2e.test_drift_outputs import unread as unread  # noqa: PLC0414 - a fixture
from tests.e2e.test_environments import environments as environments  # noqa: PLC0414 - a fixture
from tests.e2e.world import Project

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).parents[2]
NAME = "reconciler.prom"


def read(project: Project) -> dict[str, float]:
    """The value of each time series by its name and labels."""
    text = (project.folder / NAME).read_text()
    return {
        f"{sample.name}{sorted(sample.labels.items())}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def resources(project: Project, state: str, environment: str = "") -> float:
    labels = sorted({"environment": environment, "state": state}.items())
    return read(project)[f"reconciler_resources{labels}"]


def test_drift_writes_its_metrics(moved: Project) -> None:
    done = moved.run("drift", "--refresh=full", "--metrics-file", NAME)
    assert done.code == 0, done.said
    assert (resources(moved, "drifted"), resources(moved, "in sync")) == (1, 0)
    found = read(moved)
    assert found["reconciler_calls_total[('method', 'GET'), ('outcome', 'ok')]"] >= 1
    assert found["reconciler_last_cycle_timestamp_seconds[('environment', '')]"] > 1e9
    # The collector runs as another user.
    assert stat.S_IMODE((moved.folder / NAME).stat().st_mode) == 0o644
    moved.emulator.deploy("a", moved.emulator.model_uri("new"))
    assert moved.run("drift", "--refresh=full", "--metrics-file", NAME).code == 0
    assert resources(moved, "drifted") == 0
    assert [one.name for one in moved.folder.glob("*reconciler.prom*")] == [NAME]


def test_all_environments_are_in_one_file(environments: Project) -> None:
    done = environments.run("drift", "--env", "all", "--metrics-file", NAME)
    assert done.code == 0, done.said
    for name in ("dev", "prod"):
        assert sum(resources(environments, state, name) for state in ("pending", "in sync")) == 1


def test_ci_drift_writes_its_metrics(moved: Project) -> None:
    done = moved.run("ci", "drift", "--refresh=full", "--metrics-file", NAME)
    assert done.code == 0, done.said
    assert resources(moved, "drifted") == 1


def test_a_service_that_is_away_is_counted_as_lost(unread: Project) -> None:
    timeout = {"RECONCILER_TIMEOUT": "0.1"}
    done = unread.run("drift", "--metrics-file", NAME, env=timeout)
    assert done.code == 1, done.said
    assert resources(unread, "evidence incomplete") == 1
    assert read(unread)["reconciler_calls_total[('method', 'GET'), ('outcome', 'lost')]"] >= 1


@pytest.mark.parametrize("command", [("drift",), ("ci", "drift")])
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("README.prom", "is not a file of metrics, and --metrics-file replaces nothing else"),
        ("manifests", "is a folder"),
        ("nowhere/a.prom", "the folder does not exist"),
        ("link.prom", "is a symbolic link, and nothing is written through it"),
        ("a\0b", "cannot be a file"),
    ],
)
def test_a_file_that_may_not_be_written_is_an_error_before_any_read(
    unread: Project, command: tuple[str, ...], name: str, said: str
) -> None:
    (unread.folder / "README.prom").write_text("# ours\n")
    (unread.folder / "link.prom").symlink_to("manifests/a.yaml")
    done = unread.run(*command, "--metrics-file", name)
    assert done.code == 1, done.said
    assert said in done.err
    assert "Nothing was read, and nothing was written." in done.err
    assert "Refreshing" not in done.err
    assert (unread.folder / "README.prom").read_text() == "# ours\n"


def test_a_full_disk_is_an_error_and_the_report_is_shown(moved: Project) -> None:
    (moved.folder / "full.prom").symlink_to("/dev/full")
    done = moved.run("drift", "--refresh=full", "--metrics-file", "full.prom")
    assert done.code == 1
    assert "full.prom: the metrics cannot be written: No space left on device" in done.err
    assert "# WebService/a: drifted" in done.out


def test_accept_makes_no_metrics(unread: Project) -> None:
    done = unread.run("drift", "--accept", "WebService/a", "--metrics-file", NAME)
    assert done.code == 1
    assert "give --accept or --metrics-file: --accept makes no report" in done.err


def test_a_base_installation_names_the_extra(
    unread: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    done = unread.run("drift", "--metrics-file", NAME)
    assert done.code == 1
    assert "prometheus_client is not installed: it is in the extra reconciler[watch]" in done.err
    assert f"install -e {shlex.quote(f'{ROOT}[watch]')}" in done.err
    assert "Refreshing" not in done.err
    assert not os.path.lexists(unread.folder / NAME)

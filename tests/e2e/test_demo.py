"""The demo: the whole story by one command, twice, and nothing left behind."""

import contextlib
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from unittest import mock

import pytest

from reconciler.cli.demo.night_story import find_friday
from reconciler.cli.demo.stage import pick_port
from reconciler.emulator.tcp_ports import DEFAULT_PORT
from tests.e2e.world import ROOT, begin_command, clean_environment
from tests.e2e.world import run as run_here
from tests.e2e.world import spawn as run
from tests.storage import RUN_FOLDER, need_storage

pytestmark = pytest.mark.e2e
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def storage() -> None:
    """A demo runs blob storage of its own."""
    need_storage()


@pytest.fixture(scope="module", autouse=True)
def usual_port() -> Iterator[None]:
    """The emulator's usual port is taken, by us or by somebody else.

    So demos that start at once on one machine do not choose the same port.
    """
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):
            taken.bind(("127.0.0.1", DEFAULT_PORT))
            taken.listen()
        yield


def processes(folder: Path) -> set[str]:
    """The command lines of what was started for a demo in a folder, by anybody's child."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                settings = (entry / "environ").read_bytes().split(b"\0")
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:  # it has just ended
                continue
            if f"TMPDIR={folder}".encode() in settings and line:
                found.add(f"{entry.name} {line}")
    return found


def listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


# The demo forks its commands and its emulator, as tests do, instead of starting Python for each.
FORKED = """
import os, subprocess, sys
from types import SimpleNamespace
from reconciler.cli.demo import stage
from tests.fork_server import start

def begin(command, *, cwd, env=None, preexec_fn=None, **streams):
    assert command[:3] == [sys.executable, "-m", "reconciler"]
    streams = {"stdin": None, "stdout": None, **streams}
    return start(cwd, *command[3:], env=env or os.environ, **streams)

stage.subprocess = SimpleNamespace(**{**vars(subprocess), "Popen": begin})
"""


# In every run its commands are forked, and in a run of all checks Python starts for each, twice.
@pytest.mark.parametrize(
    ("before", "times"), [(FORKED, 1), pytest.param("", 2, marks=pytest.mark.slow)]
)
def test_the_demo_tells_the_whole_story(tmp_path: Path, before: str, times: int) -> None:
    # With a proxy that reaches nothing on this machine.
    proxied = {"TMPDIR": str(tmp_path), "HTTP_PROXY": NOWHERE, "http_proxy": NOWHERE}
    shared = {RUN_FOLDER: os.environ[RUN_FOLDER]} if before else {}
    for _ in range(times):
        with begin_command(tmp_path, "demo", env={**proxied, **shared}, before=before) as process:
            out, err = process.communicate(timeout=600)
        assert process.returncode == 0, out + err
        story = [
            "$ cat manifests/census.yaml",
            "$ reconciler plan",
            '"…/census/2026-10-02.ilearner" -> "…/census/2026-11-20.ilearner"',
            "Plan: 0 to add, 1 to change, 0 to destroy.",
            "$ reconciler apply --auto-approve",
            "Apply complete! Resources: 0 added, 1 changed, 0 destroyed.",
            "No changes.",
            '# drift: was "…/census/2026-11-20.ilearner" when last applied',
            "Apply complete!",
            "No changes.",
        ]
        assert "Blob storage cannot run here" not in out
        places: list[int] = []
        for sentence in story:
            places.append(out.index(sentence, places[-1] if places else 0))
        assert "Traceback" not in out + err
        assert not list(tmp_path.iterdir())
    assert processes(tmp_path) == set()


@pytest.mark.slow
def test_the_story_of_a_fleet_is_stopped_by_one_and_ends_with_all(tmp_path: Path) -> None:
    done = run(tmp_path, "demo", "--story", "fleet", env={"TMPDIR": str(tmp_path)})
    assert done.code == 0, done.said
    story = [
        "$ reconciler validate",
        "1,000 resources",
        "$ reconciler plan",
        "  # Fleet/bike-rental: 1,000 members will be created\n  # rentalloc001 to rentalloc1000\n",
        "10 on 999 members, 50 on rentalloc030",
        "Fleet/bike-rental: 1,000 members in 3 waves: 1, 99, 900",
        "$ reconciler apply",
        "Fleet/bike-rental: Wave 2 of 3: 99 members",
        "Endpoint/rentalloc042: Failed: invalid model URL",
        "Apply incomplete!",
        "Item 42 is on manifests/locations.csv:43:1.",
        "Fleet/bike-rental was stopped: 1 member failed",
        "# Endpoint/rentalloc042 will be updated in-place, a member of Fleet/bike-rental",
        "Fleet/bike-rental: Wave 3 of 3: ",
        "Apply complete!",
        "No changes.",
        "  # Fleet/bike-rental: 1,000 members will be updated in-place\n",
        '"…/2026-10-02/model001.ilearner" -> "…/2026-11-20/model001.ilearner"',
    ]
    places: list[int] = []
    for sentence in story:
        places.append(done.out.index(sentence, places[-1] if places else 0))
    plans = re.findall(r"\$ reconciler plan.*?calls?[.;]", done.out, re.DOTALL)
    assert len(plans) == 4
    assert max(plan.count("\n") for plan in plans) < 45
    assert done.out.count(": Creation complete") == 999
    assert "Traceback" not in done.said
    assert not list(tmp_path.iterdir())
    assert processes(tmp_path) == set()


@pytest.mark.slow
def test_the_story_of_an_online_endpoint_shifts_stops_and_completes(tmp_path: Path) -> None:
    """`test_online_example.py` holds its parts in every run."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = run(tmp_path, "demo", "--story", "online", env={"TMPDIR": str(tmp_path)})
    assert done.code == 0, done.said
    # What nobody else's work on this machine changes: the processor time of all its processes.
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime < 60
    story = [
        "$ cat manifests/census.yaml",
        "kind: OnlineEndpoint",
        "$ reconciler apply first.plan",
        "blue answered 20 calls as manifests/golden.json",
        "Of 40 calls blue answers 40.",
        "$ reconciler plan --out second.plan",
        '+ trained model "green" = "azureml:census:2"',
        "$ reconciler apply second.plan",
        "green answered 20 calls as manifests/golden.json",
        "traffic: green 10 %, blue 90 %",
        "the answers fit the traffic: ",
        "traffic: green 50 %, blue 50 %",
        "traffic: green 100 %",
        "delete deployment blue",
        "Of 40 calls green answers 40.",
        "OnlineEndpoint/census: proven: green (100 %)",
        "$ reconciler apply --auto-approve",
        "blue does not answer as manifests/golden.json: /0 is 0.79",
        "Reverting write complete after ",
        "log of blue: ",
        "Of 40 calls green answers 40.",
        "No changes.",
        "$ reconciler apply last.plan",
        "Killed",
        'traffic: {"blue": ',
        "$ reconciler apply last.plan",
        "Apply complete! Resources: 0 added, 1 changed, 0 destroyed.",
        "Of 40 calls blue answers 40.",
        "  1 x PUT onlineEndpoints/census/deployments/blue\n",
        "  3 x PUT onlineEndpoints/census\n",
        "  1 x DELETE onlineEndpoints/census/deployments/green\n",
        "No changes.",
    ]
    places: list[int] = []
    for sentence in story:
        places.append(done.out.index(sentence, places[-1] if places else 0))
    assert "Traceback" not in done.said
    assert "Reverting failed" not in done.said
    assert not list(tmp_path.iterdir())
    assert processes(tmp_path) == set()


def answers(said: str) -> list[tuple[str, float]]:
    """The label and the probability of each person in a part of a story."""
    found = re.findall(r"a week +(\S+) +probability of >50K (0\.\d+)$", said, re.MULTILINE)
    return [(label, float(probability)) for label, probability in found]


@pytest.mark.slow
def test_the_story_of_retraining_serves_a_better_model_and_refuses_a_worse_one(
    tmp_path: Path,
) -> None:
    done = run(tmp_path, "demo", "--story", "retrain", env={"TMPDIR": str(tmp_path)})
    assert done.code == 0, done.said
    story = [
        "$ cat manifests/census-retraining.yaml",
        "$ reconciler apply --auto-approve --target WebService/census-training",
        "Apply complete! Resources: 1 added, 0 changed, 0 destroyed.",
        "$ reconciler retrain census --commit",
        "no baseline: AUC margin 0.02",
        "Proposed in the commit",
        "Apply complete! Resources: 1 added, 0 changed, 0 destroyed.",
        "The data shifts",
        "$ reconciler retrain census --branch retrain/census",
        "pass: AUC min 0.8: AUC 0.",
        "pass: Accuracy maxRegression 0.02: Accuracy 0.",
        "pass: AUC margin 0.02: AUC 0.",
        "$ git show retrain/census",
        "+      sha256: ",
        "$ git merge --ff-only retrain/census",
        "Plan: 0 to add, 1 to change, 0 to destroy.",
        "Apply complete! Resources: 0 added, 1 changed, 0 destroyed.",
        "WebService/census: proven: 120 rows are answered as recorded",
        "--detailed-exitcode",
        "fail: AUC margin 0.02: AUC 0.",
        "Refused: 3 rules of the gate refuse the model. Nothing was edited.",
        "$ git diff",
        "$ reconciler plan --detailed-exitcode",
        "gate fail: AUC min 0.8: AUC 0.",
        "Refused by the guard gate: apply will not run this plan.",
        "$ reconciler plan --allow gate=WebService/census --reason 'the data of the old model",
        "Reason: the data of the old model must be deleted",
        "Apply complete! Resources: 0 added, 1 changed, 0 destroyed.",
        "$ reconciler history WebService/census",
        "the guard gate was lifted  WebService/census",
        "Reason: the data of the old model must be deleted",
    ]
    places: list[int] = []
    for sentence in story:
        places.append(done.out.index(sentence, places[-1] if places else 0))
    before, after = map(answers, done.out.split("The data shifts"))
    assert [label for label, _ in before] == ["<=50K", ">50K"]
    assert [label for label, _ in after] == [">50K", "<=50K"]
    shown = done.out.partition("$ git show")[2].partition("$ git merge")[0]
    changed = re.findall(r"^[-+] .*", shown, re.MULTILINE)
    lineage = [f"lineage/{name}:" for name in ("run", "job", "data", "metrics")]
    assert [line.split()[0:2] for line in changed] == [
        *(["-", name] for name in lineage),
        *(["+", name] for name in [*lineage, "lineage/parent:"]),
        ["-", "uri:"],
        ["-", "sha256:"],
        ["+", "uri:"],
        ["+", "sha256:"],
    ]
    assert done.out.count(": Finished") == 3
    assert "Traceback" not in done.said
    assert not list(tmp_path.iterdir())
    assert processes(tmp_path) == set()


def quote_guide() -> list[str]:
    """What the guide quotes of the story of requests, in its order."""
    guide = (ROOT / "manifests" / "README.md").read_text(encoding="utf-8")
    section = guide.partition("## Pull requests\n")[2].partition("\n## ")[0]
    (quoted,) = re.findall(r"^```text\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    assert quoted.count("$ reconciler ") == 9
    return [f"\n{line}" for line in str(quoted).splitlines()]


@pytest.mark.slow
def test_the_story_of_requests_applies_what_was_reviewed_and_nothing_else(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        "demo",
        "--story",
        "gitops",
        # As in a job of another forge, in a hook of git, and with the owner as git's author.
        env={
            "TMPDIR": str(tmp_path),
            "GITLAB_CI": "true",
            "GIT_DIR": "/x",
            "GIT_AUTHOR_EMAIL": "ana@example.com",
        },
    )
    assert done.code == 0, done.said
    story = [
        "$ cat environments/dev.yaml",
        "requireOwners: [ana@example.com]",
        '+    model: "2026-11-27"',
        "$ reconciler ci plan",
        "the model blob does not match the pinned sha256",
        "Comment written: ",
        "Pull request 1: Serve the model of 2026-11-27 in dev, 1 comment\n",
        "  | ### `census` `dev`: Plan: 0 to add, 1 to change, 0 to destroy.",
        "  | > **Warning**: `WebService/census`",
        "$ git diff",
        "$ reconciler ci plan",
        "Comment replaced: ",
        "Pull request 1: Serve the model of 2026-11-27 in dev, 1 comment\n",
        "$ reconciler ci apply",
        '"…/census/2026-11-13.ilearner" -> "…/census/2026-11-27.ilearner"',
        'conflict: was "…/census/2026-11-20.ilearner"',
        "1 change differs from what was reviewed: nothing was written",
        "Pull request 1: Serve the model of 2026-11-27 in dev, 1 comment\n",
        "$ reconciler ci apply",
        "Apply complete! Resources: 0 added, 1 changed, 0 destroyed.",
        "$ reconciler promote WebService/census --from dev --to prod --commit",
        "$ reconciler ci plan",
        'policy "release", rule "owner"',
        "Refused by the guard policy",
        "Pull request 2: Serve the model of 2026-11-27 in prod, 1 comment\n",
        "$ reconciler approve .reconciler-ci/plan-prod.plan --key ../keys/ana",
        "$ git add approvals",
        "$ reconciler ci plan --approvals approvals --keyring ../keys/signers",
        "Approved by ana@example.com",
        "Plan: 0 to add, 1 to change, 0 to destroy.\nRead 1",
        "Comment replaced: ",
        "$ reconciler ci apply --approvals approvals --keyring ../keys/signers",
        "Approved by ana@example.com",
        "Apply complete! Resources: 0 added, 1 changed, 0 destroyed.",
        "$ reconciler history --env prod",
        "Approved by ana@example.com",
        "dev    No changes.",
        "prod   No changes.",
    ]
    places: list[int] = []
    for sentence in story:
        assert sentence in done.out[places[-1] if places else 0 :], (sentence, done.out)
        places.append(done.out.index(sentence, places[-1] if places else 0))
    at = 0
    for line in quote_guide():
        at = done.out.find(line.rstrip("…"), at) + 1
        assert at, (line, done.out)
    warned, repaired = re.findall(r"(?s)Pull request 1: .*?\n(?!  \|)", done.out)[:2]
    assert "Warning" in warned
    assert "Warning" not in repaired
    shown = [
        (part.split()[1], re.findall(r"^Digest of its changes: (\S+)", part, re.MULTILINE)[-1])
        for part in done.out.split("$ reconciler ")
        if part.startswith("ci ")
    ]
    commands, (first, dev, edited, applied, prod, *approved) = zip(*shown, strict=True)
    assert commands == ("plan", "plan", "apply", "apply", "plan", "plan", "apply")
    # The second commit corrects the digest in the file, and the bytes of the model are the same.
    assert (first, applied, approved) == (dev, dev, [prod, prod])
    assert len({dev, edited, prod}) == 3
    assert re.findall(r"  \| `Digest of its changes: (sha256:\w+)`", done.out) == [first, dev]
    assert f"Changes: {prod}\n" in done.out
    assert "<!--" not in done.out
    assert "Traceback" not in done.said
    assert not list(tmp_path.iterdir())
    assert processes(tmp_path) == set()


@pytest.mark.slow
def test_the_story_of_a_night_settles_three_changes_in_three_ways(tmp_path: Path) -> None:
    proxied = {"TMPDIR": str(tmp_path), "HTTP_PROXY": NOWHERE, "http_proxy": NOWHERE}
    done = run(tmp_path, "demo", "--story", "night", env=proxied)
    assert done.code == 0, done.said
    address = r"\$ reconciler watch --mode apply --interval 2s --listen (127\.0\.0\.1:\d+)\n"
    (pages,) = re.findall(address, done.out)
    page = rf"opens from disk: file://{tmp_path}/reconciler-demo-\w+/report\.html\n"
    assert re.search(page, done.out)
    (until,) = re.findall(r"^  until: (\S+)$", done.out, re.MULTILINE)
    assert date.fromisoformat(until).strftime("%A") == "Friday"
    story = [
        "$ cat manifests/census.yaml",
        "$ reconciler apply --auto-approve",
        "Apply complete! Resources: 0 added, 3 changed, 0 destroyed.",
        f"$ curl -s http://{pages}/metrics",
        'reconciler_resources{environment="",state="in sync"} 3.0',
        'reconciler_leader{environment=""} 1.0',
        "mallory gives census the old model again",
        "$ reconciler history WebService/census",
        "(watch)",
        'uri = "…/2026-11-20.ilearner" -> "…/2026-11-27.ilearner"',
        f"$ curl -s http://{pages}/metrics",
        'reconciler_resources{environment="",state="in sync"} 1.0',
        'reconciler_resources{environment="",state="drifted"} 2.0',
        "reconciler_drift_age_seconds",
        "$ reconciler drift --out report.html",
        "# WebService/churn: drifted",
        "# WebService/credit: drifted",
        "Drift: 2 drifted; 1 of 3 in sync.",
        "$ reconciler drift --accept WebService/churn",
        "maxConcurrentCalls: 50",
        "$ cat .driftignore",
        f"until: {until}",
        "$ reconciler drift --detailed-exitcode",
        "No drift. 3 services in sync.",
        "Ignored: 1 finding by 1 rule of .driftignore.",
        f"$ curl -s http://{pages}/metrics",
        'reconciler_resources{environment="",state="in sync"} 3.0',
    ]
    places: list[int] = []
    for sentence in story:
        assert sentence in done.out[places[-1] if places else 0 :], (sentence, done.out)
        places.append(done.out.index(sentence, places[-1] if places else 0))
    sent = re.findall(r"^  night: (.*)$", done.out, re.MULTILINE)
    assert sorted(sent) == [
        "WebService/census: model-swapped, /properties/assets/asset3/locationInfo/uri",
        "WebService/churn: drifted, /properties/realtimeConfiguration/maxConcurrentCalls",
        "WebService/credit: drifted, /properties/description",
    ]
    assert "Traceback" not in done.said
    assert not list(tmp_path.iterdir())
    assert processes(tmp_path) == set()


@pytest.mark.parametrize(
    ("today", "friday"),
    [
        ("2026-11-30", "2026-12-04"),
        ("2026-12-03", "2026-12-04"),
        ("2026-12-04", "2026-12-11"),
        ("2026-12-05", "2026-12-11"),
    ],
)
def test_a_rule_until_friday_ends_in_the_future(today: str, friday: str) -> None:
    assert find_friday(date.fromisoformat(today)) == friday


@pytest.mark.slow
@pytest.mark.parametrize("story", ["model", "retrain", "gitops", "night"])
def test_the_demo_can_be_kept_and_gone_on_with(tmp_path: Path, story: str) -> None:
    kept = tmp_path / "kept"
    done = run(tmp_path, "demo", "--story", story, "--keep", str(kept))
    assert done.code == 0, done.said
    found = re.search(
        r"^    reconciler (emulator --port (\d+) --data \S+(?: --no-blob)?)$",
        done.out,
        re.MULTILINE,
    )
    next_command = re.search(r"^    reconciler (--chdir .*)$", done.out, re.MULTILINE)
    assert found, done.out
    assert next_command, done.out
    project = kept / "models" if story == "gitops" else kept
    assert str(project) in next_command[1].split()
    with subprocess.Popen(
        [sys.executable, "-m", "reconciler", *found[1].split()],
        env=clean_environment(),
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        planned = run(tmp_path, *next_command[1].split())
        process.terminate()
    assert "No changes." in planned.out, planned.said
    if story in {"retrain", "gitops"}:
        command = ["git", "-C", str(project), "status", "--porcelain"]
        assert subprocess.run(command, capture_output=True, check=True).stdout == b""
    again = run(tmp_path, "demo", "--keep", str(kept))
    assert (again.code, "the folder is not empty" in again.err) == (1, True)


def lack_storage(folder: Path) -> dict[str, str]:
    """No cache and no registry: blob storage cannot be fetched."""
    return {
        "HOME": str(folder),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "npm_config_registry": "http://127.0.0.1:9/",
        "npm_config_userconfig": str(folder / "npmrc"),
        "npm_config_fetch_retries": "0",
        "npm_config_fetch_retry_mintimeout": "1",
        "npm_config_fetch_retry_maxtimeout": "1",
    }


# Every run has each story, and each of the two that it may lack.
@pytest.mark.parametrize(
    ("story", "env", "message", "step"),
    [
        pytest.param(
            "retrain",
            {"PATH": "/nonexistent"},
            "git cannot be run",
            "Install git.",
            marks=pytest.mark.slow,
        ),
        (
            "retrain",
            None,
            "blob storage cannot run here, and jobs train in it",
            "reconciler demo\n",
        ),
        ("gitops", {"PATH": "/nonexistent"}, "git cannot be run", "Install git."),
        pytest.param(
            "gitops",
            None,
            "blob storage cannot run here, and the models are in it",
            "reconciler demo\n",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_story_says_what_it_lacks(
    tmp_path: Path, story: str, env: dict[str, str] | None, message: str, step: str
) -> None:
    lacking = lack_storage(tmp_path) if env is None else env
    done = run(tmp_path, "demo", "--story", story, env={"TMPDIR": str(tmp_path), **lacking})
    assert (done.code, message in done.err, step in done.err) == (1, True, True), done.said
    assert "Traceback" not in done.said
    assert processes(tmp_path) == set()


def test_the_story_of_a_night_needs_the_extra_watch(tmp_path: Path) -> None:
    with (
        mock.patch.dict(sys.modules, {"prometheus_client": None}),
        mock.patch("signal.signal"),
    ):
        done = run_here(tmp_path, "demo", "--story", "night", "--keep", "night")
    assert (done.code, "prometheus_client is not installed" in done.err) == (1, True), done.said
    assert "install" in done.err.partition("Install the extra: ")[2]
    assert not list((tmp_path / "night").iterdir())


def test_the_demo_goes_on_without_blob_storage_and_says_so(tmp_path: Path) -> None:
    env = {**lack_storage(tmp_path), RUN_FOLDER: os.environ[RUN_FOLDER]}
    with begin_command(tmp_path, "demo", env=env, before=FORKED) as process:
        out, err = process.communicate(timeout=600)
    assert process.returncode == 0, out + err
    assert "Blob storage cannot run here: npm cannot download it" in out
    assert "spec.guards.blobs is skip" in out
    assert out.count("Apply complete!") == 3
    assert "WebService/census: Interrupted step: done" in out


@pytest.mark.parametrize(
    ("how", "story", "command"),
    [
        # Every run has the signal that is heard, and the one that is not. One handler hears SIGINT
        # and SIGTERM, and ends all processes of a story, of which that of requests has one more.
        (signal.SIGINT, "model", "$ reconciler plan"),
        pytest.param(signal.SIGTERM, "model", "$ reconciler plan", marks=pytest.mark.slow),
        (signal.SIGKILL, "model", "$ reconciler plan"),
        pytest.param(signal.SIGINT, "gitops", "$ reconciler ci plan", marks=pytest.mark.slow),
        # SIGKILL during the story of a model holds the same: one thing ends all processes.
        pytest.param(signal.SIGKILL, "gitops", "$ reconciler ci plan", marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, "night", "$ reconciler history", marks=pytest.mark.slow),
        pytest.param(signal.SIGKILL, "night", "$ reconciler history", marks=pytest.mark.slow),
    ],
)
def test_a_demo_that_is_ended_leaves_no_process(
    tmp_path: Path, how: signal.Signals, story: str, command: str
) -> None:
    found, code = end_demo(tmp_path, how, story, command)
    for _ in range(3):
        if code != 0:
            break
        # On a busy machine the story was over before it was ended: that proves nothing.
        found, code = end_demo(tmp_path, how, story, command)
    servers = [one for one in found if "reconciler.emulator.forges" in one]
    assert len(servers) == (1 if story == "gitops" else 0)
    assert len(found) >= 3
    if story == "night":
        assert any("reconciler watch" in one for one in found)
    if how is not signal.SIGKILL:
        assert code == 130
        assert not list(tmp_path.iterdir())


def end_demo(
    folder: Path, how: signal.Signals, story: str, command: str
) -> tuple[set[str], int | None]:
    """Send a signal to a demo when it shows a command; none of its processes runs afterwards.

    Returns the processes that ran before, and the exit code.
    """
    with subprocess.Popen(
        [sys.executable, "-m", "reconciler", "demo", "--story", story],
        cwd=folder,
        env=clean_environment({"TMPDIR": str(folder)}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if command in line:
                break
        found = processes(folder)
        process.send_signal(how)
        process.wait(timeout=60)
    deadline = time.monotonic() + 60
    while processes(folder) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert processes(folder) == set()
    return found, process.returncode


@pytest.mark.parametrize("free", [True, False])
def test_a_busy_port_is_walked_around(free: bool) -> None:
    with (
        mock.patch("reconciler.cli.demo.stage._claim_port", return_value=True),
        mock.patch("reconciler.cli.demo.stage.is_free", return_value=free) as asked,
        mock.patch("reconciler.cli.demo.stage.pick_free_port", return_value=1234),
    ):
        assert pick_port() == (DEFAULT_PORT if free else 1234)
    asked.assert_called_once_with(DEFAULT_PORT)


def test_two_demos_that_start_at_once_have_a_port_each() -> None:
    """The first one has not started its emulator when the second one looks for a port."""
    script = (
        "from reconciler.cli.demo import stage; stage.is_free = lambda _: True;"
        " print(stage.pick_port(), flush=True); input()"
    )
    with contextlib.ExitStack() as held:
        started = [
            held.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", script],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for _ in range(2)
        ]
        ports = [one.stdout.readline() for one in started if one.stdout is not None]
        for one in started:
            one.kill()
    assert len(set(ports)) == 2

"""After an update of a model, an apply proves by the answers of the service which model answers."""

import functools
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
import yaml

from reconciler.ledgers.file import FileLedger
from reconciler.ledgers.process import describe_process
from reconciler.model import Fact, LockOwner
from tests.casework.classic import MODEL
from tests.contract.faulty import on
from tests.e2e.bikes import HIDDEN, SHOWN, Bikes, open_bikes
from tests.e2e.test_census_retraining import Story
from tests.e2e.world import ROOT, Done, Emulator, clean_environment, pass_time, run_emulator
from tests.fork_server import start
from tests.storage import RUN_FOLDER

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("patient_calls")]
VERIFY = "verify: {rows: golden.csv, label: income}"
AT_ONCE = ("--operation-seconds=0", "--job-seconds=0")
PROVEN = "; proven: 120 rows are answered as recorded [census]"


@functools.cache
def make_better_model() -> tuple[Path, str]:
    """A folder with a project and its emulator's data, and the URL: a better model was trained.

    It is made once in a process, and each test has a copy.
    """
    top = Path(tempfile.mkdtemp(dir=os.environ[RUN_FOLDER]))
    with run_emulator(*AT_ONCE, f"--data={top / 'data'}") as emulator:
        story = Story(top / "project", emulator)
        story.change("manifests/census.yaml", VERIFY, f"{VERIFY[:-1]}, timeout: 1s}}")
        story.apply()
        assert story.retrain()["outcome"] == "proposed"
        return top, emulator.url


@contextmanager
def open_story(folder: Path, *faults: Any, timeout: str = "1s") -> Iterator[Story]:
    """The example with one model in service and a better one in its manifest.

    The faults are those of an emulator that continues after the model was judged.
    """
    made, url = make_better_model()
    shutil.copytree(made, folder, dirs_exist_ok=True)
    file = folder / "faults.yaml"
    file.write_text(json.dumps(faults))
    files = (f"--data={folder / 'data'}", f"--log={folder / 'calls.jsonl'}", f"--faults={file}")
    with run_emulator(*AT_ONCE, *files) as emulator:
        story = Story(folder / "project", emulator, begun=True)
        story.change("manifests/census.yaml", "timeout: 1s", f"timeout: {timeout}")
        story.change("reconciler.yaml", url, emulator.url)
        yield story


def read_proof(story: Story) -> Any:
    """The last fact about which model answers."""
    lines = (story.folder / ".reconciler/ledger.jsonl").read_text().splitlines()
    facts = [json.loads(line) for line in lines if '"verification"' in line]
    return facts[-1] if facts else None


def count_scores(folder: Path) -> int:
    lines = (folder / "calls.jsonl").read_text().splitlines()
    return sum("/execute" in json.loads(line)["path"] for line in lines)


def lines_of(done: Done) -> list[Any]:
    return [json.loads(line) for line in done.out.splitlines()]


def test_an_apply_proves_that_the_new_model_answers(tmp_path: Path) -> None:
    with open_story(tmp_path) as story:
        done = story.run("apply", "--auto-approve", "--detailed-exitcode")
        assert done.code == 0, done.said
        assert PROVEN in done.said
        assert "Apply complete! Resources: 0 added, 1 changed, 0 destroyed." in done.out
        assert read_proof(story)["data"]["proof"] == "proven"
        before = count_scores(tmp_path)
        assert story.run("apply", "--auto-approve", "--detailed-exitcode").code == 0
        assert count_scores(tmp_path) == before


def test_a_saved_plan_is_proven_in_lines_for_programs(tmp_path: Path) -> None:
    with open_story(tmp_path) as story:
        assert story.run("plan", "--out", "better.plan").code == 0
        done = story.run("apply", "better.plan", "--json")
        assert done.code == 0, done.said
        (complete,) = [one for one in lines_of(done) if one["type"] == "apply_complete"]
        assert complete["hook"]["proof"] == "proven: 120 rows are answered as recorded"


@pytest.mark.parametrize("saved", [True, False])
@pytest.mark.usefixtures("hurried_calls")
def test_an_old_model_that_answers_too_long_fails_the_step(tmp_path: Path, saved: bool) -> None:
    with open_story(tmp_path, on("stale-model", "PATCH", seconds=600)) as story:
        arguments = ["--auto-approve"]
        if saved:
            story.run("plan", "--out", "better.plan")
            arguments = ["better.plan"]
        done = story.run("apply", *arguments, "--detailed-exitcode")
        assert done.code == 6, done.said
        fact = read_proof(story)["data"]
        assert fact["proof"] == "old model answers"
        for said in (
            "not applied: the service reports success, and the old model still answers",
            f"It must serve {fact['digest']}.",
            f"It answers as {fact['before']}.",
            "Apply incomplete! Resources: 0 added, 0 changed, 0 destroyed. 1 failed.",
            "reconciler rollback WebService/census",
        ):
            assert said in done.said
        # No change is left to make, and the next apply does not report success before it is true.
        assert story.run("plan", "--detailed-exitcode").code == 0
        again = story.run("apply", "--auto-approve", "--detailed-exitcode")
        assert again.code == 6, again.said
        assert "the old model still answers" in again.said
        pass_time(story.emulator.url, 600)
        done = story.run("apply", "--auto-approve", "--detailed-exitcode")
        assert done.code == 0, done.said
        assert "proven: 120 rows are answered as recorded" in done.said
        assert read_proof(story)["data"]["proof"] == "proven"


def test_an_old_model_that_answers_for_a_moment_is_waited_for(tmp_path: Path) -> None:
    fault = on("stale-model", "PATCH", seconds=1)
    with open_story(tmp_path, fault, timeout="10m") as story:
        done = story.run("apply", "--auto-approve", "--detailed-exitcode")
        assert done.code == 0, done.said
        assert PROVEN in done.said
        assert "Reading again: 120 rows are answered as by the model before" in done.said


def test_a_service_that_starts_is_waited_for(tmp_path: Path) -> None:
    with open_story(tmp_path, on("throttle", "POST", "/execute", times=3), timeout="10m") as story:
        done = story.run("apply", "--auto-approve", "--detailed-exitcode")
        assert done.code == 0, done.said
        assert PROVEN in done.said


@pytest.mark.parametrize("fault", ["throttle", "error", "wrong-type", "drop-reply"])
@pytest.mark.usefixtures("hurried_calls")
def test_what_cannot_be_reached_is_incomplete_evidence(tmp_path: Path, fault: str) -> None:
    with open_story(tmp_path, on(fault, "POST", "/execute")) as story:
        done = story.run("apply", "--auto-approve", "--detailed-exitcode", "--json")
        assert done.code == 8, done.said
        end = lines_of(done)[-1]
        assert (end["outcome"], end["changes"]["unproven"]) == ("evidence-incomplete", 1)
        assert end["changes"]["change"] == 1
        warned = [one["diagnostic"]["summary"] for one in lines_of(done) if "diagnostic" in one]
        assert "it is not proven which model answers: unreachable" in warned
        assert read_proof(story)["data"]["proof"] == "unreachable"
        # The proof is still due: the next apply asks again, although it has nothing to change.
        again = story.run("apply", "--auto-approve", "--detailed-exitcode")
        assert again.code == 8, again.said
        assert "0 added, 0 changed, 0 destroyed. 1 not proven." in again.out


def test_an_answer_that_does_not_come_is_awaited_as_long_as_the_rows_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reconciler.transport.timeouts._LEAST_S", 1.0)  # as it is for users
    with open_story(tmp_path, on("hang", "POST", "/execute")) as story:
        done = story.run("apply", "--auto-approve", "--detailed-exitcode")
        assert done.code == 8, done.said
        assert "no answer within 1 s." in done.out
        done = story.run("verify", "--all", "--detailed-exitcode")
        assert (done.code, "no answer within 1 s" in done.out) == (8, True), done.said


@pytest.mark.usefixtures("hurried_calls")
def test_a_failed_proof_is_rolled_back_with_the_rest(tmp_path: Path) -> None:
    with open_story(tmp_path, on("stale-model", "PATCH", seconds=600, times=1)) as story:
        old = story.emulator.model("census")
        done = story.run("apply", "--auto-approve", "--on-failure=rollback", "--detailed-exitcode")
        assert done.code == 7, done.said
        assert "Apply failed and was rolled back! Resources: 1 restored." in done.out
        assert story.emulator.model("census") == old


def test_rows_that_prove_nothing_are_incomplete_evidence_once(tmp_path: Path) -> None:
    with open_story(tmp_path) as story:
        story.change("manifests/golden.csv", "Private", "State-gov")
        done = story.run("apply", "--auto-approve", "--detailed-exitcode")
        assert done.code == 8, done.said
        assert "inconclusive" in done.out
        assert "Its answers are recorded for other rows." in done.said
        step = "Let spec.verify name the rows of spec.compare of its retraining."
        assert step in done.said
        assert step in story.run("verify", "--all").out
        assert count_scores(tmp_path) == 0
        assert story.run("apply", "--auto-approve", "--detailed-exitcode").code == 0


def test_rows_that_cannot_be_read_stop_the_apply_before_a_write(tmp_path: Path) -> None:
    with open_story(tmp_path) as story:
        old = story.emulator.model("census")
        (story.folder / "manifests/golden.csv").unlink()
        done = story.run("apply", "--auto-approve")
        assert done.code == 1
        assert "golden.csv" in done.err
        assert "Correct spec.verify.rows of WebService/census." in done.err
        assert story.emulator.model("census") == old


def test_a_rollback_is_proven_by_the_answers_of_the_old_model(tmp_path: Path) -> None:
    with open_story(tmp_path) as story:
        story.apply()
        done = story.run("rollback", "WebService/census", "--auto-approve", "--detailed-exitcode")
        assert done.code == 0, done.said
        assert PROVEN in done.said


@pytest.mark.usefixtures("hurried_calls")
def test_a_renamed_resource_is_still_to_be_proven(tmp_path: Path) -> None:
    with open_story(tmp_path, on("stale-model", "PATCH", seconds=600)) as story:
        assert story.run("apply", "--auto-approve", "--detailed-exitcode").code == 6
        story.change("manifests/census.yaml", "  name: census", "  name: people")
        story.change("manifests/census.yaml", "spec:\n", "spec:\n  resource: {name: census}\n")
        story.change("manifests/census-retraining.yaml", "WebService/census,", "WebService/people,")
        story.change(
            "reconciler.yaml",
            "\nspec:\n",
            "\nspec:\n  moved: [{from: WebService/census, to: WebService/people}]\n",
        )
        done = story.run("apply", "--auto-approve", "--detailed-exitcode")
        assert done.code == 6, done.said
        assert "WebService/people: not applied" in done.out


def test_a_resource_without_rows_is_not_scored(tmp_path: Path) -> None:
    with open_story(tmp_path) as story:
        text = (story.folder / "manifests/census.yaml").read_text()
        kept = [line for line in text.splitlines() if "verify:" not in line]
        (story.folder / "manifests/census.yaml").write_text("\n".join(kept) + "\n")
        code = (
            "import sys; from reconciler.cli import main;"
            " code = main(['apply', '--auto-approve', '--detailed-exitcode']);"
            " print([one for one in sys.modules if 'training' in one or 'proving' in one]);"
            " sys.exit(code)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=story.folder,
            env=clean_environment(),
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        loaded = done.stdout.splitlines()[-1]
        assert "proving" not in loaded
        assert "engine.training" not in loaded
        assert count_scores(tmp_path) == 0


@pytest.mark.usefixtures("hurried_calls")
def test_a_kill_before_the_proof_leaves_it_to_the_next_apply(tmp_path: Path) -> None:
    stale = on("stale-model", "PATCH", seconds=3600)
    with open_story(tmp_path / "whole", stale) as story:
        assert kill_at(story, 0, tmp_path / "places") == 6
    places = (tmp_path / "places").read_text().splitlines()
    scored = next(n for n, name in enumerate(places, 1) if "execute" in name)
    records = [n for n, name in enumerate(places[:scored], 1) if name == "after ledger.record"]
    # After the write was recorded, and after an answer of the old model.
    for number in (records[-1], scored):
        with open_story(tmp_path / f"at-{number}", stale) as story:
            assert kill_at(story, number, tmp_path / f"places-{number}") == -9
            assert read_proof(story)["data"]["proof"] == "due"
            again = story.run("apply", "--auto-approve", "--detailed-exitcode")
            assert again.code == 6, again.said
            assert "the old model still answers" in again.said
            pass_time(story.emulator.url, 3600)
            assert story.run("apply", "--auto-approve", "--detailed-exitcode").code == 0
            assert read_proof(story)["data"]["proof"] == "proven"


@pytest.mark.parametrize("switches", [HIDDEN, SHOWN], ids=["hidden", "shown"])
def test_an_endpoint_is_proven_too(
    switches: Mapping[str, str], emulator: Emulator, signature: str, tmp_path: Path
) -> None:
    stale = tmp_path / "faults.yaml"
    stale.write_text(json.dumps([on("stale-model", "PATCH", seconds=3600)]))
    with open_bikes(tmp_path / "quick", emulator, signature, switches) as bikes:
        open_services(bikes)
        answers = {one: read_answers(bikes, one) for one in ("two", "one")}
        assert answers["one"] != answers["two"]
        record_answers(bikes, answers)
        declare_pinned(bikes, "two")
        done = bikes.run("apply", "--auto-approve", "--detailed-exitcode")
        assert done.code == 0, done.said
        assert "; proven: 3 rows are answered as recorded [rentalloc001]" in done.said
    options = (f"--faults={stale}",)
    with open_bikes(tmp_path / "slow", emulator, signature, switches, *options) as bikes:
        open_services(bikes)
        declare_pinned(bikes, "one")
        bikes.expect("1 added", "apply", "--auto-approve")
        pass_time(bikes.emulator.url, 3600)
        record_answers(bikes, answers)
        declare_pinned(bikes, "two")
        done = bikes.run("apply", "--auto-approve", "--detailed-exitcode")
        assert done.code == 6, done.said
        assert f"It must serve {digest_of('two')}." in done.said
        assert f"It answers as {digest_of('one')}." in done.said
        pass_time(bikes.emulator.url, 3600)
        done = bikes.run("apply", "--auto-approve", "--detailed-exitcode")
        assert done.code == 0, done.said
        assert "proven: 3 rows are answered as recorded" in done.said


ROWS = "code,day\n1,Mon\n2,Tue\n3,Wed\n"


def digest_of(model: str) -> str:
    return f"sha256:{hashlib.sha256(model.encode()).hexdigest()}"


def open_services(bikes: Bikes) -> None:
    """Let the project call the services of the emulator, and give it rows."""
    file = bikes.folder / "reconciler.yaml"
    project = yaml.safe_load(file.read_text())
    project["spec"]["cloud"]["services"] = bikes.emulator.url
    file.write_text(yaml.safe_dump(project))
    (bikes.folder / "manifests").mkdir(exist_ok=True)
    (bikes.folder / "manifests/golden.csv").write_text(ROWS)


def declare_pinned(bikes: Bikes, model: str) -> None:
    pin = {"uri": bikes.uri(model), "sas": {"env": "MODELS_SAS"}, "sha256": digest_of(model)[7:]}
    spec = {"trainedModels": {MODEL: pin}, "verify": {"rows": "golden.csv", "timeout": "1s"}}
    bikes.write("manifests/rentalloc001.yaml", "Endpoint", "rentalloc001", spec)


def read_answers(bikes: Bikes, model: str) -> list[float]:
    """What a model answers to the rows; no answers are recorded, so nothing is proven of it."""
    declare_pinned(bikes, model)
    bikes.expect("Apply complete!", "apply", "--auto-approve")
    pass_time(bikes.emulator.url, 60)  # a model takes effect after a moment
    shown = bikes.classic.read()["rentalloc001"]
    columns, *rows = (line.split(",") for line in ROWS.splitlines())
    answer = requests.post(
        f"{bikes.emulator.url}{urlsplit(shown['ApiLocation']).path}/execute",
        params={"api-version": "2.0", "details": "true"},
        json={"Inputs": {"input1": {"ColumnNames": columns, "Values": rows}}},
        headers={"Authorization": f"Bearer {shown['PrimaryKey']}"},
        timeout=60,
    )
    value = answer.json()["Results"]["output1"]["value"]
    at = value["ColumnNames"].index("Scored Probabilities")
    return [float(row[at]) for row in value["Values"]]


def record_answers(bikes: Bikes, answers: Mapping[str, Sequence[float]]) -> None:
    """Record the answers as `retrain` does for a model that was compared with the live one."""
    ledger = FileLedger(bikes.folder / ".reconciler")
    rows = f"sha256:{hashlib.sha256(ROWS.encode()).hexdigest()}"
    mine, theirs = ({"rows": rows, "values": [*answers[one]]} for one in ("two", "one"))
    data = {"answers": mine, "parentAnswers": theirs, "parent": digest_of("one")}
    host, pid, started = describe_process()
    owner = LockOwner("id", "t", "retrain", host, pid, started, "2026-11-29T00:00:00Z")
    with ledger.lock(owner, 60, lambda _: None) as lease:
        ledger.record(
            Fact(
                topic="evaluation",
                subject=digest_of("two"),
                data=data,
                at="2026-11-29T00:00:00Z",
                by="t",
                host="h",
                commit="c",
                fence=lease.lock_owner.fence,
            )
        )


def kill_at(story: Story, number: int, note: Path) -> int:
    """Apply as a process that is killed at a place; returns its exit code."""
    arguments = [f"--die-at={number}", f"--note={note}", "--", f"--chdir={story.folder}"]
    arguments += ["apply", "--auto-approve", "--detailed-exitcode"]
    with start(
        ROOT,
        *arguments,
        env=clean_environment(),
        module="tests.survival.mortal",
        stderr=subprocess.PIPE,
    ) as process:
        process.communicate(timeout=600)
    return process.wait()

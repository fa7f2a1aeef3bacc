"""Retrain a model, judge it, propose it: over real jobs, real blobs and real repositories."""

import hashlib
import json
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from azure.storage.blob import ContainerSasPermissions, generate_container_sas

from tests.contract.classic import example
from tests.contract.faulty import on
from tests.contract.signatures import KEY
from tests.contract.test_jobs import people
from tests.e2e.test_ledger_commands import HOLD
from tests.e2e.world import (
    MODEL,
    ROOT,
    SUBSCRIPTION,
    Done,
    Emulator,
    begin_command,
    clean_environment,
    clock_ahead,
    run,
    run_emulator,
    spawn,
)
from tests.fork_server import Process, start
from tests.outputs import check_output
from tests.storage import upload_model

pytestmark = pytest.mark.e2e
ACCOUNT = "devstoreaccount1"
GATE = (
    "  gate: [{metric: AUC, min: 0.8}, {metric: Accuracy, maxRegression: 0.05, firstModel: accept}]"
)


@dataclass
class Training:
    """A project with a training service and a service that serves its models."""

    folder: Path
    emulator: Emulator
    log: Path
    name: str = field(default_factory=lambda: f"t{random.randrange(1 << 40):x}")

    def __post_init__(self) -> None:
        (self.folder / "manifests").mkdir(parents=True)
        cloud = {"resourceManager": self.emulator.url, "services": self.emulator.url}
        cloud["blob"] = self.emulator.blob
        (self.folder / "reconciler.yaml").write_text(
            "apiVersion: reconciler/v1\nkind: Project\nmetadata: {name: census}\nspec:\n"
            f"  cloud: {json.dumps(cloud)}\n"
            f"  defaults: {{subscription: {SUBSCRIPTION}, resourceGroup: census}}\n"
        )
        (self.folder / "manifests/census.csv").write_bytes(people())
        old = self.uri("models/old.ilearner")
        upload_model(old, b"old", {})
        self.emulator.deploy(f"{self.name}-live", old)
        body = example("training.webservice.put")
        self.emulator.write("PUT", f"{self.name}-training", body)
        self.write_service(old)
        self.write()

    def uri(self, name: str) -> str:
        return f"{self.emulator.blob}/{ACCOUNT}/{self.name}/{name}"

    def write_service(self, model: str) -> None:
        manifests = self.folder / "manifests"
        (manifests / "live.yaml").write_text(
            "# What the service serves.\napiVersion: reconciler/v1\nkind: WebService\n"
            f"metadata: {{name: {self.name}-live}}\nspec:\n  trainedModels:\n"
            f"    {MODEL}:\n      uri: {model} # the model\n"
        )
        (manifests / "training.yaml").write_text(
            "apiVersion: reconciler/v1\nkind: WebService\n"
            f"metadata: {{name: {self.name}-training}}\nspec: {{}}\n"
        )

    def write(self, gate: str = GATE, more: str = "", timeout: str = "10m") -> None:
        (self.folder / "manifests/retraining.yaml").write_text(
            "apiVersion: reconciler/v1\nkind: Retraining\nmetadata: {name: census}\nspec:\n"
            f"  service: {{address: WebService/{self.name}-training}}\n  timeout: {timeout}\n"
            f"  inputs:\n    input1: {{uri: '{self.uri('data/${run}.csv')}', file: census.csv}}\n"
            f"  outputs:\n    model: {{port: output2, uri: '{self.uri('m/${run}.ilearner')}'}}\n"
            f"    evaluation: {{port: output1, uri: '{self.uri('m/${run}.csv')}'}}\n"
            f"{gate}\n{more}"
            f"  promote: [{{resource: WebService/{self.name}-live, trainedModel: '{MODEL}'}}]\n"
        )

    def run(self, *arguments: str) -> Done:
        return run(self.folder, *arguments)

    def retrain(self, *arguments: str) -> Any:
        """The only result; it must fit its schema."""
        done = self.run("retrain", "census", "--json", *arguments)
        document = json.loads(done.out)
        check_output(document, "retrain")
        (result,) = document["results"]
        return result

    def count_calls(self, method: str, tail: str) -> int:
        """How many calls of this training service the emulator has accepted."""
        calls = [json.loads(line) for line in self.log.read_text().splitlines()]
        return sum(
            one["method"] == method and one["path"].partition("?")[0].endswith(tail)
            for one in calls
            if one["status"] and one["status"] < 300
        )

    def count_recorded(self, state: str) -> int:
        """How many lines of the ledger say that a job has this state."""
        ledger = self.folder / ".reconciler"
        texts = [one.read_text() for one in ledger.rglob("*.jsonl")] if ledger.exists() else []
        return sum(text.count(f'"state":"{state}"') for text in texts)

    def git(self, *arguments: str) -> str:
        done = subprocess.run(
            ["git", "-c", "user.name=t", "-c", "user.email=t@t", *arguments],
            cwd=self.folder,
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout


@contextmanager
def run_training(folder: Path, *options: str) -> Iterator[Training]:
    log = folder / "calls.jsonl"
    with run_emulator(
        "--operation-seconds=0", "--job-seconds=0", f"--log={log}", *options
    ) as emulator:
        yield Training(folder / "project", emulator, log)


@pytest.fixture
def training(tmp_path: Path) -> Iterator[Training]:
    with run_training(tmp_path) as made:
        yield made


def test_a_better_model_arrives_as_a_changed_line(training: Training) -> None:
    file = training.folder / "manifests/live.yaml"
    before = file.read_text()
    result = training.retrain()
    assert result["outcome"] == "proposed"
    assert result["metrics"]["AUC"] > 0.8
    assert [one["verdict"] for one in result["gates"]] == ["pass", "no baseline"]
    sha256 = result["digest"].removeprefix("sha256:")
    old = before.splitlines()[7]
    changed = [line for line in file.read_text().splitlines() if line not in before.splitlines()]
    assert changed[1:] == [f"      uri: {result['uri']} # the model", f"      sha256: {sha256}"]
    name = f"metadata: {{name: {training.name}-live, annotations: {{lineage/retraining: "
    assert changed[0].startswith(name)
    assert old not in file.read_text()
    plan = training.run("plan", "--json")
    change = json.loads(plan.out)["resource_changes"][0]["change"]
    assert change["actions"] == ["update"]
    done = training.run("apply", "--auto-approve")
    assert done.code == 0, done.said
    assert training.run("plan", "--detailed-exitcode").code == 0
    again = training.retrain()
    assert [one["verdict"] for one in again["gates"]] == ["pass", "pass"]
    assert again["parent"] == result["digest"]


def test_the_history_has_the_jobs_and_the_evaluations(training: Training) -> None:
    assert "It was never applied" in training.run("history", "Retraining/census").err
    result = training.retrain()
    training.write(gate="  gate: [{metric: AUC, min: 1.1}]")
    (training.folder / "manifests/census.csv").write_bytes(people(seed=5))
    refused = training.retrain()
    done = training.run("history", "Retraining/census")
    assert done.code == 0, done.said
    newest, oldest = done.out.index(refused["run"]), done.out.index(result["run"])
    assert newest < oldest
    assert f"run {refused['run']}, job {refused['job']}" in done.out
    assert done.out.count("  job judged  Retraining/census  by ") == 2
    assert done.out.count("  model evaluated  Retraining/census  by ") == 2
    assert refused["digest"] in done.out
    assert f"fail: AUC min 1.1: AUC {refused['metrics']['AUC']:.6g}\n" in done.out
    assert "is not known; the rule accepts it\n" in done.out
    assert refused["digest"] in training.run("history").out
    for arguments in ((), ("Retraining/census",)):
        document = json.loads(training.run("history", *arguments, "--json").out)
        check_output(document, "history")
        assert [one["run"] for one in document["jobs"]] == [result["run"], refused["run"]]
        last = document["evaluations"][-1]
        assert (last["digest"], last["metrics"]) == (refused["digest"], refused["metrics"])
        assert last["gates"] == refused["gates"]
    assert training.run("ledger", "compact").code == 0
    assert training.run("history", "Retraining/census").out == done.out
    training.write()
    assert training.run("apply", "--auto-approve").code == 0
    document = json.loads(training.run("history", f"WebService/{training.name}-live", "--json").out)
    assert not {"jobs", "evaluations"} & {*document}


def read_annotations(training: Training) -> Any:
    """The annotations of the service's manifest."""
    text = (training.folder / "manifests/live.yaml").read_text()
    return yaml.safe_load(text)["metadata"]["annotations"]


def test_the_manifest_says_where_its_model_comes_from(training: Training) -> None:
    first = training.retrain()
    said = read_annotations(training)
    metrics = said.pop("lineage/metrics")
    assert metrics.startswith("Accuracy 0.")
    assert f"AUC {first['metrics']['AUC']:.6g}" in metrics
    assert said == {
        "lineage/retraining": "Retraining/census",
        "lineage/run": first["run"],
        "lineage/job": first["job"],
        "lineage/data": first["inputs"]["input1"],
    }
    # Nothing of it is sent, and it is no difference for a plan.
    done = training.run("apply", "--auto-approve")
    assert done.code == 0, done.said
    assert "lineage" not in json.dumps(training.emulator.get(f"{training.name}-live"))
    assert training.run("plan", "--detailed-exitcode").code == 0
    # A newer model replaces all of it, and now there is a model before.
    (training.folder / "manifests/census.csv").write_bytes(people(seed=5))
    second = training.retrain()
    said = read_annotations(training)
    assert said["lineage/parent"] == first["digest"]
    assert (said["lineage/run"], said["lineage/job"]) == (second["run"], second["job"])
    assert said["lineage/data"] == second["inputs"]["input1"] != first["inputs"]["input1"]


def test_an_unknown_parent_leaves_no_annotation_of_another_model(training: Training) -> None:
    file = training.folder / "manifests/live.yaml"
    text = file.read_text().replace(
        f"metadata: {{name: {training.name}-live}}",
        f"metadata:\n  name: {training.name}-live # its name\n  annotations:\n"
        "    owner: 'growth'  # kept\n    lineage/parent: sha256:old\n    lineage/job: old",
    )
    file.write_text(text)
    result = training.retrain()
    lines = file.read_text().splitlines()
    kept = ["  annotations:", "    owner: 'growth'  # kept", f"    lineage/job: {result['job']}"]
    assert [line for line in lines if line in kept] == kept
    assert not [line for line in lines if "parent" in line or "old" in line]


@pytest.mark.parametrize("other", ["Other Model", "Census Model (trained model)"])
def test_the_lineage_of_one_of_several_models_has_its_name(training: Training, other: str) -> None:
    prefix = "census-model-trained-model"
    if other.startswith("Census"):
        prefix = f"{prefix}-{hashlib.sha256(MODEL.encode()).hexdigest()[:8]}"
    file = training.folder / "manifests/live.yaml"
    file.write_text(f"{file.read_text()}    {other}:\n      uri: {training.uri('models/old')}\n")
    result = training.retrain()
    assert result["outcome"] == "proposed"
    said = read_annotations(training)
    assert said[f"{prefix}.lineage/run"] == result["run"]
    assert {name.partition("/")[0] for name in said} == {f"{prefix}.lineage"}


def test_the_same_model_again_changes_nothing(training: Training) -> None:
    training.retrain()
    file = training.folder / "manifests/live.yaml"
    before = file.read_text()
    result = training.retrain("--again")
    assert (result["outcome"], result["files"]) == ("unchanged", [])
    assert file.read_text() == before


def test_a_model_that_the_gate_refuses_is_not_proposed(training: Training) -> None:
    training.write(gate="  gate: [{metric: AUC, min: 1.1}]")
    before = (training.folder / "manifests/live.yaml").read_bytes()
    done = training.run("retrain", "census", "--detailed-exitcode")
    assert done.code == 3
    assert "fail: AUC min 1.1: AUC 0." in done.out
    assert "Refused: 1 rule of the gate refuses the model. Nothing was edited." in done.out
    assert (training.folder / "manifests/live.yaml").read_bytes() == before
    assert training.run("retrain", "census", "--again").code == 1


def test_a_worse_model_is_refused_with_both_numbers(training: Training) -> None:
    training.retrain()
    training.run("apply", "--auto-approve")
    noise = people(300, seed=3).decode().splitlines()
    chance = random.Random(1)
    rows = [f"{row.rpartition(',')[0]},{chance.choice(['<=50K', '>50K'])}" for row in noise[1:]]
    data = "\n".join([noise[0], *rows]) + "\n"
    (training.folder / "manifests/census.csv").write_text(data)
    result = training.retrain()
    assert result["outcome"] == "refused"
    last = result["gates"][1]
    assert (last["verdict"], last["refuses"]) == ("fail", True)
    assert last["numbers"]["live"] > last["numbers"]["candidate"]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("empty-evaluation", "the evaluation has a header and not a row"),
        ("nan-evaluation", '"AUC" is "NaN" in column 5, and not a finite number'),
        ("two-row-evaluation", "the evaluation has 2 rows, and the gate does not say which one"),
        ("fail-job", "failed: Error 0000: Internal error"),
    ],
)
def test_what_cannot_be_judged_is_reported_and_changes_nothing(
    tmp_path: Path, fault: str, message: str
) -> None:
    faults = tmp_path / "faults.yaml"
    faults.write_text(json.dumps([on(fault, "POST", "start")]))
    with run_training(tmp_path, f"--faults={faults}") as training:
        before = (training.folder / "manifests/live.yaml").read_bytes()
        done = training.run("retrain", "census")
        assert done.code == 1
        assert message in done.err
        assert "Retraining/census" in done.err
        assert (training.folder / "manifests/live.yaml").read_bytes() == before
        # The same run is looked at again; a second job is not trained.
        if fault != "fail-job":
            assert message in training.run("retrain", "census").err
            assert training.count_calls("POST", "/start") == 1


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("path", ["/jobs$|/jobs[?]", "start"])
def test_a_lost_answer_starts_no_second_job(tmp_path: Path, path: str, times: int) -> None:
    faults = tmp_path / "faults.yaml"
    faults.write_text(json.dumps([on("lose-job-reply", "POST", path, times=times)]))
    with run_training(tmp_path, f"--faults={faults}") as training:
        assert training.retrain()["outcome"] == "proposed"
        calls = [json.loads(line)["path"] for line in training.log.read_text().splitlines()]
        submits = [one for one in calls if urlsplit(one).path.endswith("/jobs")]
        starts = [one for one in calls if urlsplit(one).path.endswith("/start")]
        assert len({*starts}) == 1
        sent = (1, 1 + times) if path == "start" else (1 + times, 1)
        assert (len(submits), len(starts)) == sent


def test_a_job_that_takes_too_long_goes_on_and_is_joined(tmp_path: Path) -> None:
    with run_training(tmp_path, "--job-seconds=3600") as training:
        training.write(timeout="1s")
        done = training.run("retrain", "census")
        assert done.code == 1
        assert "has not ended after" in done.err
        assert "The job goes on. Follow it with: reconciler retrain census" in done.err
        assert "has not ended" in training.run("retrain", "census").err
        assert training.count_calls("POST", "/start") == 1
        assert training.run("retrain", "census", "--cancel").code == 0
        assert "no run is open" in training.run("retrain", "census", "--cancel").err


def test_a_proposal_is_one_commit_on_a_branch_and_the_work_tree_stays(training: Training) -> None:
    training.git("init", "-q", "-b", "main")
    (training.folder / ".gitignore").write_text(".reconciler/\n")
    training.git("add", "-A")
    training.git("commit", "-qm", "first")
    training.git("config", "user.name", "t")
    training.git("config", "user.email", "t@t")
    result = training.retrain("--branch", "retrain/census", "--commit")
    assert result["branch"] == "retrain/census"
    assert training.git("status", "--porcelain") == ""
    assert training.git("rev-list", "--count", "main..retrain/census") == "1\n"
    message = training.git("log", "-1", "--format=%B", "retrain/census")
    for said in (
        result["digest"].removeprefix("sha256:"),
        "AUC",
        "pass: AUC min 0.8",
        result["job"],
    ):
        assert said in message
    changed = training.git("diff", "--stat", "main", "retrain/census")
    assert "manifests/live.yaml" in changed
    assert "1 file changed" in changed
    # The same model again leaves the branch as it is; a newer one replaces it.
    tip = training.git("rev-parse", "retrain/census")
    assert training.retrain("--again", "--branch", "retrain/census")["commit"] == tip.strip()
    (training.folder / "manifests/census.csv").write_bytes(people(seed=5))
    training.git("commit", "-qam", "newer data")
    newer = training.retrain("--branch", "retrain/census")
    assert newer["digest"] != result["digest"]
    assert training.git("rev-parse", "retrain/census").strip() == newer["commit"] != tip.strip()
    assert training.git("rev-list", "--count", "main..retrain/census") == "1\n"


@pytest.mark.parametrize("how", ["--ff-only", "--no-ff", "--squash"])
def test_a_branch_whose_proposal_was_merged_is_used_again(training: Training, how: str) -> None:
    training.git("init", "-q", "-b", "main")
    (training.folder / ".gitignore").write_text(".reconciler/\n")
    training.git("config", "user.name", "t")
    training.git("config", "user.email", "t@t")
    training.git("add", "-A")
    training.git("commit", "-qm", "first")
    training.retrain("--branch", "retrain/census")
    training.git("merge", "-q", how, "retrain/census")
    (training.folder / "manifests/census.csv").write_bytes(people(seed=5))
    training.git("commit", "-qam", "newer data")
    newer = training.retrain("--branch", "retrain/census")
    assert training.git("rev-parse", "retrain/census").strip() == newer["commit"]
    assert training.git("rev-list", "--count", "main..retrain/census") == "1\n"
    # The branch that is checked out is not moved, though its last commit is a proposal.
    training.git("checkout", "-q", "retrain/census")
    (training.folder / "manifests/census.csv").write_bytes(people(seed=6))
    training.git("commit", "-q", "--amend", "--no-edit", "-a")
    done = training.run("retrain", "census", "--branch", "retrain/census")
    assert "the branch retrain/census is checked out" in done.err
    assert training.count_calls("POST", "/jobs") == 2


def give_environments(training: Training) -> None:
    """Let the model in service be a value of each environment."""
    (training.folder / "environments").mkdir()
    uri, digest = training.uri("models/old.ilearner"), hashlib.sha256(b"old").hexdigest()
    for name in ("dev", "prod"):
        (training.folder / "environments" / f"{name}.yaml").write_text(
            f"apiVersion: reconciler/v1\nkind: Environment\nmetadata: {{name: {name}}}\nspec:\n"
            f"  values:\n    uri: {uri} # the model\n    digest: '{digest}'\n"
        )
    training.write_service("${values.uri}")
    live = training.folder / "manifests/live.yaml"
    live.write_text(live.read_text() + "      sha256: ${values.digest}\n")


def test_a_model_is_written_into_the_file_of_its_environment(training: Training) -> None:
    give_environments(training)
    make_repository(training)
    before = (training.folder / "environments/dev.yaml").read_text()
    result = training.retrain("--env", "dev", "--commit")
    assert result["outcome"] == "proposed"
    changed = training.git("show", "--name-only", "--format=", "HEAD").split()
    assert changed == ["environments/dev.yaml"]
    after = (training.folder / "environments/dev.yaml").read_text()
    assert before.splitlines()[:5] == after.splitlines()[:5]
    assert after.splitlines()[5].endswith(".ilearner # the model")
    assert result["digest"].removeprefix("sha256:") in after
    done = training.run("apply", "--env", "dev", "--auto-approve")
    assert done.code == 0, done.said
    done = training.run(
        "promote", f"WebService/{training.name}-live", "--from", "dev", "--to", "prod"
    )
    assert done.code == 0, done.said
    after = (training.folder / "environments/prod.yaml").read_text()
    assert result["digest"].removeprefix("sha256:") in after


def test_a_model_that_would_change_another_environment_is_refused_before_a_job(
    training: Training,
) -> None:
    give_environments(training)
    live = training.folder / "manifests/live.yaml"
    live.write_text(live.read_text().replace("      sha256: ${values.digest}\n", ""))
    done = training.run("retrain", "census", "--env", "dev")
    assert done.code == 1
    assert "sha256: manifests/live.yaml is also read by prod" in done.err
    assert training.count_calls("POST", "/jobs") == 0


def test_the_message_has_the_metrics_before_and_after(training: Training) -> None:
    make_repository(training)
    first = training.retrain("--commit")
    message = training.git("log", "-1", "--format=%B")
    assert re.search(r"^metric +after$", message, re.MULTILINE)
    assert training.run("apply", "--auto-approve").code == 0
    (training.folder / "manifests/census.csv").write_bytes(people(seed=5))
    training.git("commit", "-qam", "newer data")
    second = training.retrain("--branch", "retrain/census")
    message = training.git("log", "-1", "--format=%B", "retrain/census")
    assert re.search(r"^metric +before +after$", message, re.MULTILINE)
    pair = f"{first['metrics']['AUC']:.6g} +{second['metrics']['AUC']:.6g}"
    assert re.search(rf"^AUC +{pair}$", message, re.MULTILINE)
    assert f"sha256 {second['digest'][7:]}\nbefore {first['digest'][7:]}\n" in message
    for gate in second["gates"]:
        assert f"{gate['verdict']}: {gate['rule']}: {gate['reason']}" in message
    assert f"data   input1 {second['inputs']['input1']}" in message


def test_a_proposal_that_somebody_amended_is_their_work(training: Training) -> None:
    make_repository(training)
    training.retrain("--branch", "retrain/census")
    training.git("checkout", "-q", "retrain/census")
    file = training.folder / "manifests/live.yaml"
    file.write_text(f"{file.read_text()}# a reviewer\n")
    training.git("commit", "-qa", "--amend", "--no-edit")
    training.git("checkout", "-q", "main")
    tip = training.git("rev-parse", "retrain/census")
    done = training.run("retrain", "census", "--again", "--branch", "retrain/census")
    assert "the branch retrain/census exists and holds other work" in done.err
    assert training.git("rev-parse", "retrain/census") == tip


def test_a_commit_keeps_the_mode_and_the_line_ends_of_the_repository(training: Training) -> None:
    file = training.folder / "manifests/live.yaml"
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    file.chmod(0o755)
    (training.folder / ".gitattributes").write_text("*.yaml text eol=crlf\n")
    make_repository(training)
    training.retrain("--branch", "retrain/census")
    diff = training.git("diff", "main", "retrain/census")
    assert "old mode" not in diff
    removed = re.findall(r"^-(\S*:| +uri:)", diff, re.MULTILINE)
    assert [line.strip() for line in removed] == ["metadata:", "uri:"]
    entry = training.git("ls-tree", "retrain/census", "--", "manifests/live.yaml")
    assert entry.startswith("100755 blob")
    assert training.git("status", "--porcelain") == ""


@pytest.mark.parametrize("how", ["untracked", "ignored"])
def test_a_manifest_that_is_not_in_the_commit_is_refused_before_a_job(
    training: Training, how: str
) -> None:
    make_repository(training)
    training.git("rm", "-q", "--cached", "manifests/live.yaml")
    if how == "ignored":
        (training.folder / ".gitignore").write_text(".reconciler/\nlive.yaml\n")
    training.git("add", ".gitignore")
    training.git("commit", "-qm", "without it")
    done = training.run("retrain", "census", "--branch", "retrain/census")
    assert "the file is not in the commit" in done.err
    assert training.count_calls("POST", "/jobs") == 0


def test_who_commits_must_be_known_before_a_job(training: Training) -> None:
    make_repository(training)
    training.git("config", "--unset", "user.name")
    training.git("config", "--unset", "user.email")
    training.git("config", "user.useConfigOnly", "true")
    env = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
    done = run(training.folder, "retrain", "census", "--commit", env=env)
    assert done.code == 1
    assert "with user.name and user.email set" in done.err
    assert training.count_calls("POST", "/jobs") == 0


def test_work_of_others_is_not_replaced_and_a_dirty_tree_refuses(training: Training) -> None:
    make_repository(training)
    training.git("branch", "theirs")
    done = training.run("retrain", "census", "--branch", "theirs")
    assert "the branch theirs exists and holds other work" in done.err
    done = training.run("retrain", "census", "--branch", "a..b")
    assert '"a..b" is not the name of a branch' in done.err
    file = training.folder / "reconciler.yaml"
    file.write_text(f"{file.read_text()}# mine\n")
    done = training.run("retrain", "census", "--commit")
    assert "the work tree has changes that are not committed: reconciler.yaml" in done.err
    assert training.count_calls("POST", "/jobs") == 0


def test_a_commit_that_a_hook_refuses_leaves_the_files_and_is_made_by_the_next_run(
    training: Training,
) -> None:
    make_repository(training)
    hook = training.folder / ".git/hooks/reference-transaction"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho not now >&2\nexit 1\n")
    hook.chmod(0o755)
    before = (training.folder / "manifests/live.yaml").read_bytes()
    done = training.run("retrain", "census", "--commit")
    assert done.code == 1
    assert "git update-ref failed: not now" in done.err
    assert "it goes on with the same job" in done.err
    assert (training.folder / "manifests/live.yaml").read_bytes() == before
    hook.unlink()
    assert training.retrain("--commit")["outcome"] == "proposed"
    assert training.git("status", "--porcelain") == ""
    assert training.count_calls("POST", "/start") == 1


def test_a_schedule_is_due_once(training: Training) -> None:
    training.write(more="  schedule: '* * * * *'\n")
    assert training.retrain("--if-due")["outcome"] == "proposed"
    training.write(more="  schedule: '0 0 29 2 *'\n")
    assert "No retraining is due." in training.run("retrain", "census", "--if-due").out
    training.write()
    assert "it has no schedule" in training.run("retrain", "census", "--if-due").err


def test_a_run_in_the_far_future_does_not_stop_a_schedule(training: Training) -> None:
    """The clock of a machine was wrong once."""
    training.write(more="  schedule: '* * * * *'\n")
    with clock_ahead(400 * 86_400):
        assert training.retrain("--if-due")["outcome"] == "proposed"
    assert training.retrain("--if-due")["outcome"] == "unchanged"
    training.write(more="  schedule: '0 0 29 2 *'\n")
    assert "No retraining is due." in training.run("retrain", "census", "--if-due").out


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("port: output1", "port: output9", 'does not have an output port "output9"'),
        ("port: output1", "port: Output1", 'Did you mean "output1"?'),
        ("input1:", "input9:", 'does not have an input port "input9"'),
        ("file: census.csv", "file: none.csv", "the file manifests/none.csv cannot be read: No"),
        (", file: census.csv", "", "the data does not exist: "),
        ("-training}", "-nothing}", "no manifest declares WebService/"),
        ("-live,", "-lives,", "no manifest declares WebService/"),
        ("WebService/{name}-live", "Retraining/census", "Retraining/census is not a service"),
        ("{address: WebService/{name}-training}", "{address: Fleet/x}", "Fleet/x is not a service"),
        ("  outputs:", "  storage: {sas: {env: NOT_SET}}\n  outputs:", "the secret is not set"),
    ],
)
def test_a_wrong_name_is_reported_and_no_job_is_started(
    training: Training, old: str, new: str, message: str
) -> None:
    file = training.folder / "manifests/retraining.yaml"
    text, old = file.read_text(), old.replace("{name}", training.name)
    assert old in text
    text = text.replace(old, new)
    # Data that exists has an address of its own.
    file.write_text(text if "file:" in text else text.replace("data/${run}", "data/none"))
    done = training.run("retrain", "census")
    assert done.code == 1
    assert message in done.err
    assert "on manifests/retraining.yaml line " in done.err
    assert training.count_calls("POST", "/jobs") == 0
    assert training.count_recorded("submitting") == 0


def test_a_retraining_that_does_not_exist_is_answered_with_the_near_one(training: Training) -> None:
    done = training.run("retrain", "censsus")
    assert "Did you mean Retraining/census?" in done.err
    assert training.run("retrain").code == 0


def run_mortal(training: Training, number: int, note: Path, *command: str, among: str = "") -> int:
    """Retrain as a process that is killed at a place, or at one of those with a name.

    Returns its exit code. How often a job is polled differs, so that only names are the same.
    """
    note.unlink(missing_ok=True)
    arguments = [f"--die-at={number}", f"--note={note}"]
    arguments += [f"--among={among}", "--"] if among else ["--"]
    arguments += [f"--chdir={training.folder}", "retrain", *(command or ("census",))]
    with start(
        ROOT,
        *arguments,
        env=clean_environment(),
        module="tests.survival.mortal",
        stderr=subprocess.PIPE,
    ) as process:
        process.communicate(timeout=600)
    return process.wait()


# test_survival.py kills such a run at six of these places in every run.
@pytest.mark.slow
def test_a_kill_at_any_call_of_a_job_starts_one_job(tmp_path: Path) -> None:
    with run_training(tmp_path) as training:
        note = tmp_path / "places"
        assert run_mortal(training, 0, note) == 0
        places = note.read_text().splitlines()
        calls = [name for name in places if name.endswith((" POST jobs", " POST start"))]
        # The last line closes the run: what comes after it is the next run.
        assert places.count("after ledger.record") == 6
        assert len(calls) == 4
        lines = [(number, "after ledger.record") for number in range(1, 6)]
        for number, name in (*((1, call) for call in calls), *lines):
            started = training.count_calls("POST", "/start")
            assert run_mortal(training, number, tmp_path / "killed", among=name) == -9
            result = training.retrain()
            assert result["outcome"] in {"proposed", "unchanged"}, name
            assert training.count_calls("POST", "/start") == started + 1, name


def test_a_proposal_that_was_lost_is_made_from_the_same_job(training: Training) -> None:
    """The run stays open until its model is proposed, and the baseline stays the live model."""
    training.write(gate="  gate: [{metric: AUC, maxRegression: 0.5, firstModel: accept}]")
    training.retrain()
    training.run("apply", "--auto-approve")
    training.write(gate="  gate: [{metric: AUC, maxRegression: 0.5}]")
    (training.folder / "manifests/census.csv").write_bytes(people(seed=5))
    service = training.folder / "manifests/live.yaml"
    before = service.read_text()
    started = training.count_calls("POST", "/start")
    # It dies as it closes the run, with the sixth line: the manifest is edited, and not applied.
    note = training.folder.parent / "places"
    assert run_mortal(training, 6, note, among="before ledger.record") == -9
    assert service.read_text() != before
    result = training.retrain()
    assert (result["outcome"], result["gates"][0]["verdict"]) == ("unchanged", "pass")
    assert training.count_calls("POST", "/start") == started + 1


def test_a_corrected_port_goes_on_with_the_same_run(training: Training) -> None:
    file = training.folder / "manifests/retraining.yaml"
    text = file.read_text()
    file.write_text(text.replace("port: output1", "port: output9"))
    assert "output9" in training.run("retrain", "census").err
    file.write_text(text)
    assert training.retrain()["outcome"] == "proposed"
    assert training.count_calls("POST", "/start") == 1


def find_key(training: Training) -> tuple[str, str]:
    """The address and the key of the training service, as its owner sees them."""
    emulator, name = training.emulator, f"{training.name}-training"
    shown = emulator.get(name)["properties"]["swaggerLocation"]
    path = urlsplit(shown).path.removesuffix("/swagger.json")
    status, keys, _ = emulator.send("GET", f"{emulator.path(name)}/listKeys")
    assert status == 200
    return f"{emulator.url}{path}", keys["primary"]


# Every run has each state and each way to name the service; a run of all checks has each pair.
@pytest.mark.parametrize(
    ("state", "named"),
    [
        ("good", "url"),
        ("failing", "address"),
        ("interrupted", "url"),
        pytest.param("good", "address", marks=pytest.mark.slow),
        pytest.param("failing", "url", marks=pytest.mark.slow),
        pytest.param("interrupted", "address", marks=pytest.mark.slow),
    ],
)
def test_the_key_of_a_service_is_kept_nowhere(tmp_path: Path, named: str, state: str) -> None:
    faults = tmp_path / "faults.yaml"
    fault = on("lose-job-reply" if state == "interrupted" else "fail-job", "POST", "start")
    faults.write_text(json.dumps([] if state == "good" else [fault]))
    with run_training(tmp_path, f"--faults={faults}") as training:
        url, key = find_key(training)
        file = training.folder / "manifests/retraining.yaml"
        if named == "url":
            address = f"{{address: WebService/{training.name}-training}}"
            text = file.read_text()
            assert address in text
            file.write_text(text.replace(address, f"{{url: '{url}', apiKey: {{env: THE_KEY}}}}"))
        environment = {"THE_KEY": key, "RECONCILER_LOG": "debug"}
        done = spawn(training.folder, "retrain", "census", "--json", env=environment)
        assert (done.code == 0) is (state == "good"), done.said
        wrong = run(training.folder, "retrain", "census", "--again", env={"THE_KEY": f"{key}x"})
        if named == "url":
            assert "The service refuses its key." in wrong.err
            assert "az login" not in wrong.err
        kept = [one for one in training.folder.rglob("*") if one.is_file()]
        assert any(one.name == "ledger.jsonl" for one in kept)
        for text in (done.said, wrong.said, *(one.read_text(errors="replace") for one in kept)):
            assert key not in text
            assert key[:20] not in text


def test_storage_is_opened_by_a_signature_that_is_kept_nowhere(training: Training) -> None:
    """All that the service and the command know of the account is a signature of the container."""
    upload_model(training.uri("x"), b"x", {})
    allowed = ContainerSasPermissions(read=True, write=True, create=True)
    ends = datetime.now(UTC) + timedelta(days=1)
    signature = generate_container_sas(
        ACCOUNT, training.name, account_key=KEY, permission=allowed, expiry=ends
    )
    training.write(more="  storage: {sas: {env: THE_SAS}}\n")
    environment = {"THE_SAS": signature, "RECONCILER_LOG": "debug"}
    done = spawn(training.folder, "retrain", "census", "--json", env=environment)
    assert json.loads(done.out)["results"][0]["outcome"] == "proposed", done.said
    secret = signature.partition("sig=")[2].partition("&")[0]
    kept = [one.read_text(errors="replace") for one in training.folder.rglob("*") if one.is_file()]
    for text in (done.said, *kept):
        assert secret not in text
        assert unquote(secret) not in text


def test_a_retraining_without_inputs_is_submitted(training: Training) -> None:
    """A service may read its data from an address in a parameter."""
    file = training.folder / "manifests/retraining.yaml"
    lines = [line for line in file.read_text().splitlines() if "input" not in line]
    file.write_text("\n".join(lines) + "\n")
    done = training.run("retrain", "census")
    # This service has an input port, so it refuses the job in its own words.
    assert "The following required input(s) were not specified with the request: input1" in done.err


def write_fleet(training: Training, count: int, wrong: int = 0) -> None:
    """Services in a fleet, and a fleet of retrainings of the same items."""
    training.write()
    manifests = training.folder / "manifests"
    single = (manifests / "retraining.yaml").read_text()
    live = [f"{training.name}-f{number}" for number in range(1, count + 1)]
    for name in live:
        training.emulator.deploy(name, training.uri("models/old.ilearner"))
    items = "\n".join(
        f"      - {{code: '{number}', data: {'none' if number == wrong else 'census'}.csv}}"
        for number in range(1, count + 1)
    )
    spec = single[single.index("spec:\n") + 6 :].replace("${run}", "$${run}")
    spec = spec.replace("/m/", "/m/${code}/").replace("data/", "data/${code}/")
    spec = spec.replace("census.csv", "'${data}'").replace("-live", "-f${code}")
    served = f"WebService/{training.name}-f${{code}}"
    spec = spec.replace(served, f"'{served}'")
    body = "".join(f"    {line}\n" for line in spec.splitlines())
    (manifests / "retraining.yaml").write_text(
        "apiVersion: reconciler/v1\nkind: Fleet\nmetadata: {name: bikes}\nspec:\n"
        f"  items:\n    list:\n{items}\n  template:\n    kind: Retraining\n"
        f"    metadata: {{name: 'bikes${{code}}'}}\n    spec:\n{body}"
    )
    (manifests / "fleet.yaml").write_text(
        "apiVersion: reconciler/v1\nkind: Fleet\nmetadata: {name: served}\nspec:\n"
        f"  items:\n    list:\n{items}\n  template:\n    kind: WebService\n"
        f"    metadata: {{name: '{training.name}-f${{code}}'}}\n    spec:\n      trainedModels:\n"
        f"        {MODEL}: {{uri: '{training.uri('models/old.ilearner')}'}}\n"
    )


def write_items(training: Training, count: int, template: str) -> Path:
    """Services in a fleet whose models stand in a CSV file of a spreadsheet; returns the file."""
    write_fleet(training, count)
    manifests = training.folder / "manifests"
    old = hashlib.sha256(b"old").hexdigest()
    rows = [
        f'{number},"{training.uri("models/old.ilearner")}",{old},"a, ""b"""'
        for number in range(1, count + 1)
    ]
    (manifests / "locations.csv").write_text(
        "\ufeff" + "\r\n".join(["code,uri,digest,note", *rows, ""]), newline=""
    )
    (manifests / "fleet.yaml").write_text(
        "apiVersion: reconciler/v1\nkind: Fleet\nmetadata: {name: served}\nspec:\n"
        "  items: {csv: locations.csv}\n  template:\n    kind: WebService\n"
        f"    metadata: {{name: '{training.name}-f${{code}}'}}\n    spec:\n      trainedModels:\n"
        f"        {MODEL}: {template}\n"
    )
    return manifests / "locations.csv"


def test_a_model_of_a_member_goes_into_its_cells(training: Training) -> None:
    file = write_items(training, 3, "{uri: '${uri}', sha256: '${digest}'}")
    fleet = (training.folder / "manifests/fleet.yaml").read_bytes()
    before = file.read_bytes()
    done = training.run("retrain", "bikes2", "--json")
    (result,) = json.loads(done.out)["results"]
    assert result["outcome"] == "proposed", done.said
    name = f"WebService/{training.name}-f2"
    cell = {"file": "manifests/locations.csv", "kind": "cell", "resource": name, "line": 3}
    assert result["places"] == [{**cell, "column": "uri"}, {**cell, "column": "digest"}]
    lines, old = file.read_bytes().split(b"\r\n"), before.split(b"\r\n")
    new = f'2,"{result["uri"]}",{result["digest"][7:]},"a, ""b"""'
    assert lines == [*old[:2], new.encode(), *old[3:]]
    assert (training.folder / "manifests/fleet.yaml").read_bytes() == fleet
    plan = json.loads(training.run("plan", "--json").out)
    assert [one["address"] for one in plan["resource_changes"]] == [name]
    assert training.run("apply", "--auto-approve").code == 0
    # The same model again changes nothing.
    again = json.loads(training.run("retrain", "bikes2", "--json").out)["results"][0]
    assert (again["outcome"], again["places"]) == ("unchanged", [])


def test_all_members_are_one_edit_and_one_commit(training: Training) -> None:
    file = write_items(training, 3, "{uri: '${uri}', sha256: '${digest}'}")
    make_repository(training)
    done = training.run("retrain", "--fleet", "bikes", "--branch", "retrain/bikes")
    assert done.code == 0, done.said
    name = f"WebService/{training.name}-f3"
    assert f"manifests/locations.csv: cell of {name} (line 4, column uri)" in done.out
    assert training.git("rev-list", "--count", "main..retrain/bikes") == "1\n"
    changed = training.git("diff", "--numstat", "main", "retrain/bikes").split()
    assert changed == ["3", "3", "manifests/locations.csv"]
    assert training.git("status", "--porcelain") == ""
    message = training.git("log", "-1", "--format=%B", "retrain/bikes")
    assert message.startswith("Serve 3 new models\n")
    assert message.count("\nsha256 ") == 3
    committed = training.git("show", "retrain/bikes:manifests/locations.csv")
    assert committed.count("old.ilearner") == 0
    assert file.read_text().count("old.ilearner") == 3


def test_an_address_that_is_built_from_columns_becomes_an_override(training: Training) -> None:
    template = f"{{uri: '{training.uri('models/')}${{note}}.ilearner'}}"
    file = write_items(training, 2, template)
    file.write_text(file.read_text().replace('"a, ""b"""', "old"), newline="")
    before = file.read_bytes()
    done = training.run("retrain", "bikes2")
    assert done.code == 0, done.said
    name = f"WebService/{training.name}-f2"
    assert f"manifests/fleet.yaml: override of {name}" in done.out
    assert file.read_bytes() == before
    document = yaml.safe_load((training.folder / "manifests/fleet.yaml").read_text())
    (made,) = document["spec"]["overrides"].items()
    assert made[0] == f"{training.name}-f2"
    assert made[1]["trainedModels"][MODEL].keys() == {"uri", "sha256"}
    # The override stays the place of this member's model.
    (training.folder / "manifests/census.csv").write_bytes(people(seed=5))
    again = json.loads(training.run("retrain", "bikes2", "--json").out)["results"][0]
    assert [one["kind"] for one in again["places"]] == ["override"]


def test_a_column_that_says_more_than_the_model_is_left_alone(training: Training) -> None:
    file = write_items(training, 2, "{uri: '${uri}', sha256: '${digest}'}")
    fleet = training.folder / "manifests/fleet.yaml"
    text = fleet.read_text()
    more = "      definition: {properties: {description: 'serves ${uri}'}}\n"
    fleet.write_text(text + more)
    before = file.read_bytes()
    result = json.loads(training.run("retrain", "bikes1", "--json").out)["results"][0]
    assert [(one["kind"], one.get("column")) for one in result["places"]] == [
        ("cell", "digest"),
        ("override", None),
    ]
    digest = hashlib.sha256(b"old").hexdigest().encode()
    new = result["digest"][7:].encode()
    assert file.read_bytes() == before.replace(digest, new, 1)


def test_a_column_that_another_fleet_reads_is_left_alone(training: Training) -> None:
    file = write_items(training, 2, "{uri: '${uri}', sha256: '${digest}'}")
    before = file.read_bytes()
    fleet = training.folder / "manifests/fleet.yaml"
    text = fleet.read_text()
    other = text.replace("name: served", "name: second").replace("-f${", "-g${")
    (training.folder / "manifests/second.yaml").write_text(other)
    make_repository(training)
    done = training.run("retrain", "bikes1", "--branch", "retrain/bikes1", "--json")
    (result,) = json.loads(done.out)["results"]
    assert [one["kind"] for one in result["places"]] == ["override"], done.said
    assert file.read_bytes() == before
    changed = training.git("diff", "--name-only", "main", "retrain/bikes1").split()
    assert changed == ["manifests/fleet.yaml"]


def test_a_model_of_a_list_goes_into_its_entry(training: Training) -> None:
    write_items(training, 2, "{uri: '${uri}', sha256: '${digest}'}")
    fleet = training.folder / "manifests/fleet.yaml"
    uri, old = training.uri("models/old.ilearner"), hashlib.sha256(b"old").hexdigest()
    entries = "".join(
        f"      - {{code: '{number}', uri: '{uri}', digest: {old}}} # place {number}\n"
        for number in (1, 2)
    )
    fleet.write_text(
        fleet.read_text().replace("items: {csv: locations.csv}\n", f"items:\n    list:\n{entries}")
    )
    before = fleet.read_text().splitlines()
    result = json.loads(training.run("retrain", "bikes2", "--json").out)["results"][0]
    assert [one["kind"] for one in result["places"]] == ["item"]
    after = fleet.read_text().splitlines()
    changed = [line for line in after if line not in before]
    entry = f"{{code: '2', uri: '{result['uri']}', digest: {result['digest'][7:]}}}"
    assert changed == [f"      - {entry} # place 2"]


def make_repository(training: Training) -> None:
    training.git("init", "-q", "-b", "main")
    training.git("config", "user.name", "t")
    training.git("config", "user.email", "t@t")
    (training.folder / ".gitignore").write_text(".reconciler/\n")
    training.git("add", "-A")
    training.git("commit", "-qm", "first")


def test_a_fleet_trains_one_model_for_each_member(training: Training) -> None:
    write_fleet(training, 3)
    done = training.run("retrain", "--fleet", "bikes", "--json")
    results = json.loads(done.out)["results"]
    assert [one["outcome"] for one in results] == ["proposed"] * 3
    assert len({one["uri"] for one in results}) == 3
    assert training.count_calls("POST", "/start") == 3
    assert {name for one in results for name in one["files"]} == {"manifests/fleet.yaml"}
    plan = json.loads(training.run("plan", "--json", "--allow", "updates").out)
    changed = {one["address"] for one in plan["resource_changes"]}
    assert changed >= {f"WebService/{training.name}-f{number}" for number in (1, 2, 3)}
    # Members with equal verdicts are one row.
    text = training.run("plan", "--allow", "updates").out
    assert text.count("gate pass: AUC min 0.8: ") == 1, text
    fleet = training.folder / "manifests/retraining.yaml"
    fleet.write_text(fleet.read_text().replace("min: 0.8", "min: 1.5"))
    refused = training.run("plan", "--allow", "updates")
    assert refused.out.count("gate fail: AUC min 1.5: ") == 1
    assert "3 resources: the gate refuses its new model" in refused.out
    lift = ("--allow", "updates", "--allow", "gate=Fleet/served", "--reason", "why")
    assert training.run("plan", *lift, "--detailed-exitcode").code == 2


def test_two_members_that_promote_to_one_model_start_no_job(training: Training) -> None:
    write_fleet(training, 2)
    fleet = training.folder / "manifests/retraining.yaml"
    text = fleet.read_text()
    one = text.replace(f"WebService/{training.name}-f${{code}}", f"WebService/{training.name}-f1")
    assert one != text
    fleet.write_text(one)
    done = training.run("retrain", "--fleet", "bikes")
    assert done.code == 1
    assert "promote to the same trained model" in done.err
    assert f"WebService/{training.name}-f1" in done.err
    assert training.count_calls("POST", "/jobs") == 0


@contextmanager
def hold_lock(training: Training) -> Iterator[subprocess.Popen[bytes]]:
    """A process that holds the lock of the ledger until it is killed."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD],
        cwd=training.folder,
        env=clean_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline()
        yield holder
        holder.kill()


def begin(training: Training, *arguments: str) -> Process:
    return begin_command(training.folder, *arguments)


def interrupt(training: Training, jobs: int, *arguments: str) -> tuple[int, str]:
    """The exit code and stderr of a command that is interrupted when its jobs have started."""
    process = begin(training, *arguments)
    while training.count_calls("GET", "") < 1 or training.count_recorded("started") < jobs:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=600)
    return process.wait(), said


def test_an_interrupted_command_says_how_to_go_on(tmp_path: Path) -> None:
    with run_training(tmp_path, "--job-seconds=3600") as training:
        code, said = interrupt(training, 1, "retrain", "census")
        assert code == 130
        assert "The job goes on. Follow it with: reconciler retrain census." in said
        assert "Cancel it with: reconciler retrain census --cancel" in said
        assert training.run("retrain", "census", "--cancel").code == 0


def test_a_command_that_is_interrupted_before_its_job_starts_none(training: Training) -> None:
    with hold_lock(training) as holder:
        process = begin(training, "retrain", "census", "--lock-timeout", "10m")
        assert process.stderr is not None
        assert "lock" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        holder.kill()
        _, said = process.communicate(timeout=600)
    assert process.returncode == 130
    assert "No job was started. Train the model with: reconciler retrain census\n" in said
    assert "goes on" not in said
    assert training.count_calls("POST", "/start") == 0
    assert training.retrain()["outcome"] == "proposed"
    assert training.count_calls("POST", "/start") == 1


def test_a_fleet_that_is_interrupted_is_followed_and_cancelled_as_a_whole(tmp_path: Path) -> None:
    with run_training(tmp_path, "--job-seconds=3600") as training:
        write_fleet(training, 3)
        assert "No run is open." in training.run("retrain", "--fleet", "bikes", "--cancel").out
        code, said = interrupt(training, 3, "retrain", "--fleet", "bikes")
        assert code == 130
        assert "The jobs go on. Follow them with: reconciler retrain --fleet bikes." in said
        one = training.run("retrain", "bikes2", "--cancel")
        assert one.out == "Retraining/bikes2: cancelled.\n"
        rest = training.run("retrain", "--fleet", "bikes", "--cancel")
        assert rest.out == "Retraining/bikes1: cancelled.\nRetraining/bikes3: cancelled.\n"
        assert training.count_calls("POST", "/start") == 3


def test_a_fleet_that_is_killed_goes_on_with_the_jobs_that_it_started(tmp_path: Path) -> None:
    with run_training(tmp_path) as training:
        write_fleet(training, 3)
        note = tmp_path / "places"
        # One after another: the second job has just been started.
        command = ("--parallelism=1", "--fleet=bikes")
        assert run_mortal(training, 2, note, *command, among="answered POST start") == -9
        done = training.run("retrain", "--fleet", "bikes", "--json")
        results = json.loads(done.out)["results"]
        assert len({one["run"] for one in results}) == 3
        assert training.count_calls("POST", "/start") == 3


def test_the_lock_of_another_process_has_its_own_exit_code(training: Training) -> None:
    """Also a single run keeps the class of its error."""
    with hold_lock(training):
        done = training.run("retrain", "census", "--detailed-exitcode", "--lock-timeout", "0s")
    assert done.code == 5
    assert training.count_calls("POST", "/jobs") == 0


def test_a_member_that_fails_does_not_stop_the_others(training: Training) -> None:
    write_fleet(training, 3, wrong=2)
    done = training.run("retrain", "--fleet", "Fleet/bikes", "--json", "--detailed-exitcode")
    assert done.code == 6
    assert "the file manifests/none.csv cannot be read" in done.err
    results = json.loads(done.out)["results"]
    assert [one["retraining"] for one in results] == ["Retraining/bikes1", "Retraining/bikes3"]
    assert "no fleet of retrainings is called that" in training.run("retrain", "--fleet", "x").err

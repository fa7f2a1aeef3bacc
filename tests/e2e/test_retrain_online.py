"""A retrained model reaches an online endpoint: as a version, and from blue to green in git."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.contract.test_jobs import people
from tests.e2e.test_retrain import GATE, Training, run_mortal, run_training
from tests.e2e.world import SUBSCRIPTION
from tests.outputs import check_output

pytestmark = pytest.mark.e2e
W = (
    f"/subscriptions/{SUBSCRIPTION}/resourceGroups/census/providers"
    "/Microsoft.MachineLearningServices/workspaces/ml"
)
MANIFEST = """\
# Who earns more than 50,000 a year.
apiVersion: reconciler/v1
kind: OnlineEndpoint
metadata: {name: census}
spec:
  resource: {workspace: ml}
  traffic: {blue: 100} # percent
  deployments:
    # the one in service
    blue:
      model: azureml:census:1 # retrained on Mondays
      environment: azureml:sklearn:3
      code_configuration: {code: azureml:census-score:1, scoring_script: score.py}
      instance_type: Standard_DS3_v2
  rollout: {steps: [10, 100], pause: 0s, keepOld: 0s}
"""


@pytest.fixture
def training(tmp_path: Path) -> Iterator[Training]:
    with run_training(tmp_path) as made:
        (made.folder / "manifests/online.yaml").write_text(MANIFEST)
        write(made)
        # The version that is in service.
        made.emulator.send(
            "PUT",
            f"{made.emulator.url}{W}/models/census/versions/1?api-version=2024-04-01",
            {"properties": {"modelUri": made.uri("models/old.ilearner")}},
        )
        yield made


def write(training: Training, gate: str = GATE) -> None:
    """Let the retraining promote to the endpoint alone."""
    training.write(gate)
    file = training.folder / "manifests/retraining.yaml"
    head, _, _ = file.read_text().partition("  promote:")
    file.write_text(f"{head}  promote: [{{resource: OnlineEndpoint/census}}]\n")


def list_versions(training: Training) -> dict[str, Any]:
    """The registered versions of the model by their numbers; none if it has no version."""
    address = f"{training.emulator.url}{W}/models/census/versions?api-version=2024-04-01"
    status, found, _ = training.emulator.send("GET", address)
    return {one["name"]: one["properties"] for one in found["value"]} if status == 200 else {}


def read_spec(training: Training) -> Any:
    return yaml.safe_load((training.folder / "manifests/online.yaml").read_text())["spec"]


def test_a_better_model_is_a_version_and_goes_to_the_other_deployment(training: Training) -> None:
    result = training.retrain()
    assert result["outcome"] == "proposed"
    assert result["versions"] == [{"resource": "OnlineEndpoint/census", "id": "azureml:census:2"}]
    sha256 = result["digest"].removeprefix("sha256:")
    made = list_versions(training)["2"]
    assert made["modelUri"] == result["uri"]
    assert made["tags"] == {
        "sha256": sha256,
        "retraining": "Retraining/census",
        "run": result["run"],
    }
    file = training.folder / "manifests/online.yaml"
    lines = [one for one in MANIFEST.splitlines() if one not in file.read_text().splitlines()]
    assert [line.strip() for line in lines] == [
        "metadata: {name: census}",
        "traffic: {blue: 100} # percent",
        "blue:",
        "model: azureml:census:1 # retrained on Mondays",
    ]
    assert "    # the one in service\n    green:\n" in file.read_text()
    assert "model: azureml:census:2 # retrained on Mondays\n" in file.read_text()
    spec = read_spec(training)
    assert spec["traffic"] == {"green": 100}
    assert spec["deployments"]["green"]["sha256"] == sha256
    said = yaml.safe_load(file.read_text())["metadata"]["annotations"]
    assert said["lineage/run"] == result["run"]
    # The same bytes again change nothing, and are not registered again.
    again = training.retrain("--again")
    assert (again["outcome"], "versions" in again) == ("unchanged", False)
    assert sorted(list_versions(training)) == ["1", "2"]
    history = training.run("history", "OnlineEndpoint/census")
    assert "  model registered as azureml:census:2  OnlineEndpoint/census  by " in history.out
    document = json.loads(training.run("history", "OnlineEndpoint/census", "--json").out)
    check_output(document, "history")
    (registered,) = document["registrations"]
    assert (registered["version"], registered["digest"]) == ("azureml:census:2", result["digest"])


def test_a_proposal_on_a_branch_shows_the_change_of_the_deployment(training: Training) -> None:
    training.git("init", "-q")
    training.git("config", "user.name", "t")
    training.git("config", "user.email", "t@t")
    training.git("add", "-A")
    training.git("commit", "-qm", "start")
    result = training.retrain("--branch", "retrain/census")
    diff = training.git(
        "diff", "--unified=0", "HEAD", "retrain/census", "--", "manifests/online.yaml"
    )
    changed = [one.partition("#")[0].rstrip() for one in diff.splitlines() if one[0] in "-+"]
    assert "-  traffic: {blue: 100}" in changed
    assert "+  traffic: {green: 100}" in changed
    assert "-    blue:" in changed
    assert "+    green:" in changed
    message = training.git("log", "-1", "--format=%B", "retrain/census")
    assert "\nmodel  azureml:census:2 of OnlineEndpoint/census\n" in message
    # A command that is killed before its proposal makes the same one, with the same version.
    training.git("branch", "-D", "retrain/census")
    again = training.retrain("--branch", "retrain/census", "--again")
    assert again["versions"] == result["versions"]
    assert sorted(list_versions(training)) == ["1", "2"]


def test_a_refused_model_is_not_registered(training: Training) -> None:
    write(training, "  gate: [{metric: AUC, min: 1.1}]")
    assert training.retrain()["outcome"] == "refused"
    assert [*list_versions(training)] == ["1"]
    assert (training.folder / "manifests/online.yaml").read_text() == MANIFEST


def test_the_next_model_knows_the_one_that_was_applied(training: Training) -> None:
    """A rule that compares finds the model in service by the digest that the apply recorded."""
    apply = ("apply", "--auto-approve", "--target", "OnlineEndpoint/census")
    done = training.run(*apply)
    assert done.code == 0, done.said
    first = training.retrain()
    assert first["parent"] == f"sha256:{hashlib.sha256(b'old').hexdigest()}"
    planned = training.run("plan", "--target", "OnlineEndpoint/census")
    assert '+ trained model "green" = "azureml:census:2"' in planned.out
    assert "gate pass: AUC min 0.8: AUC 0." in planned.out
    assert "create deployment green (census:2)" in planned.out
    assert "delete deployment blue" in planned.out
    done = training.run(*apply)
    assert done.code == 0, done.said
    (training.folder / "manifests/census.csv").write_bytes(people(seed=5))
    # A model that a person declares is judged by the gate too.
    file = training.folder / "manifests/online.yaml"
    proposed = file.read_text()
    sha256 = first["digest"].removeprefix("sha256:")
    edited = proposed.replace("census:2", "census:1").replace(f"      sha256: {sha256}\n", "")
    file.write_text(edited.replace("green", "blue"))
    refused = training.run("plan", "--target", "OnlineEndpoint/census", "--detailed-exitcode")
    assert (refused.code, "the gate refuses its new model" in refused.out) == (3, True), (
        refused.said
    )
    file.write_text(proposed)
    second = training.retrain()
    assert second["parent"] == first["digest"]
    assert second["gates"][1]["verdict"] == "pass"
    assert second["versions"] == [{"resource": "OnlineEndpoint/census", "id": "azureml:census:3"}]
    spec = read_spec(training)
    assert (spec["traffic"], [*spec["deployments"]]) == ({"blue": 100}, ["blue"])
    assert spec["deployments"]["blue"]["model"] == "azureml:census:3"


def test_rows_that_a_kind_cannot_score_are_refused_before_a_job(
    training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kind of another vendor may have no scoring."""
    # Python keeps for a class which protocols it fits.
    monkeypatch.setattr("reconciler.cli.training.Scores", type("NoKindScores", (), {}))
    write(training, "  gate: [{metric: AUC, margin: 0.02}]")
    file = training.folder / "manifests/retraining.yaml"
    compare = "{rows: census.csv, label: income, scoredOutput: {port: output3, uri: 'URI'}}"
    compare = compare.replace("URI", training.uri("m/${run}-rows.csv"))
    file.write_text(file.read_text().replace("  promote:", f"  compare: {compare}\n  promote:"))
    done = training.run("retrain", "census")
    assert done.code == 1
    assert "OnlineEndpoint/census cannot score the rows of a comparison" in done.err
    assert "on manifests/retraining.yaml line 13, column" in done.err
    assert training.count_recorded("submitting") == 0


# The wire tests of a registration lose its replies in every run.
@pytest.mark.slow
def test_a_kill_around_the_registration_makes_no_second_version(training: Training) -> None:
    note = training.folder.parent / "places"
    assert run_mortal(training, 0, note, "census", "--again") == 0
    places = note.read_text().splitlines()
    assert [one for one in places if " PUT " in one] == ["about to send PUT 2", "answered PUT 2"]
    # The sixth line of seven is that of the registration.
    assert places.count("after ledger.record") == 7
    kills = [
        (1, "about to send PUT"),
        (1, "answered PUT"),
        (6, "before ledger.record"),
        (6, "after ledger.record"),
        (1, "before write_whole"),
    ]
    killed = training.folder.parent / "killed"
    for version, (number, name) in enumerate(kills, 3):
        (training.folder / "manifests/census.csv").write_bytes(people(seed=version))
        among = f"{name} {version}" if name.endswith("PUT") else name
        assert run_mortal(training, number, killed, among=among) == -9, name
        result = training.retrain()
        assert result["outcome"] == "proposed", name
        assert result["versions"][0]["id"] == f"azureml:census:{version}"
        assert len(list_versions(training)) == version
        spec = read_spec(training)
        (served,) = spec["traffic"]
        assert spec["deployments"][served]["model"] == f"azureml:census:{version}"

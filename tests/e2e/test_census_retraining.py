"""The example of a retraining: from the first model to a better one, and a worse one refused."""

import copy
import hashlib
import json
import random
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from tests.contract.faulty import on
from tests.contract.signatures import sign
from tests.contract.test_jobs import CONNECTION, Batch
from tests.contract.world import PREVIEW
from tests.e2e.resealed import seal
from tests.e2e.world import ROOT, SUBSCRIPTION, Done, Emulator, pass_time, run, run_emulator
from tests.outputs import check_output
from tests.storage import upload_model

pytestmark = pytest.mark.e2e
EXAMPLE = ROOT / "manifests" / "census-retraining"
FIRST = "models/census/2026-11-20.ilearner"
USUAL = "http://127.0.0.1:10000"


def read_pipeline() -> list[Any]:
    """What the activities of the pipeline in the guide do."""
    guide = (ROOT / "manifests" / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```json\n(.*?)^```", guide, re.MULTILINE | re.DOTALL)
    return [one["typeProperties"] for one in json.loads(block)["properties"]["activities"]]


class Story:
    """The example in a folder of its own, for an emulator on free ports.

    The folder of a story that has `begun` is there.
    """

    def __init__(self, folder: Path, emulator: Emulator, *, begun: bool = False) -> None:
        self.folder, self.emulator = folder, emulator
        if begun:
            return
        shutil.copytree(EXAMPLE, folder)
        cloud = {"resourceManager": emulator.url, "services": emulator.url, "blob": emulator.blob}
        self.change("reconciler.yaml", "cloud: emulator", f"cloud: {json.dumps(cloud)}")
        for name in ("census", "census-retraining"):
            self.change(f"manifests/{name}.yaml", USUAL, emulator.blob)
        upload_model(f"{emulator.blob}/devstoreaccount1/{FIRST}", b"the first model", {})

    def change(self, name: str, old: str, new: str) -> None:
        file = self.folder / name
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))

    def run(self, *arguments: str) -> Done:
        return run(self.folder, *arguments)

    def apply(self) -> None:
        done = self.run("apply", "--auto-approve")
        assert done.code == 0, done.said

    def read_plan(self) -> Any:
        document = json.loads(self.run("plan", "--json").out)
        check_output(document, "plan")
        return document

    def serve(self, model: Any) -> None:
        """Write a model into the manifest of the service by hand."""
        manifest = self.folder / "manifests/census.yaml"
        sha256 = model["digest"].removeprefix("sha256:")
        pinned = f"uri: {model['uri']}\n      sha256: {sha256}\n"
        text = re.sub(r" +sha256: .*\n", "", manifest.read_text())
        manifest.write_text(re.sub(r"uri: .*\n", pinned, text))

    def retrain(self) -> Any:
        done = self.run("retrain", "census", "--json")
        assert '"results"' in done.out, done.said
        return json.loads(done.out)["results"][0]

    def uri(self, path: str) -> str:
        return f"{self.emulator.blob}/devstoreaccount1/{path}"

    def run_batch(self, inputs: Any, outputs: Any) -> None:
        """Run the training service as the activity of Data Factory does, and wait for its end."""
        shown = self.emulator.get("census-training")["properties"]
        keys = self.emulator.send("GET", f"{self.emulator.path('census-training')}/listKeys")[1]
        path = urlsplit(shown["swaggerLocation"]).path.removesuffix("/swagger.json")
        batch = Batch(f"{self.emulator.url}{path}", keys["primary"], self.emulator.blob, "")
        for one in inputs.values():
            name = one["filePath"].rpartition("/")[2]
            data = (self.folder / "manifests" / name).read_bytes()
            upload_model(self.uri(one["filePath"]), data, {})
        named = [
            {
                port: {"ConnectionString": CONNECTION, "RelativeLocation": one["filePath"]}
                for port, one in ports.items()
            }
            for ports in (inputs, outputs)
        ]
        assert batch.run(Inputs=named[0], Outputs=named[1])["StatusCode"] == "Finished"

    def update_model(self, method: str, name: str, uri: str) -> None:
        """Give a model to the predictive service, by the version of the API that is documented."""
        document = self.emulator.get("census")
        assets = document["properties"]["assets"]
        (asset,) = (one for one in assets.values() if one["name"] == name)
        asset["locationInfo"]["uri"] = uri
        if method == "PATCH":
            document = {"properties": {"packageType": "Graph", "assets": assets}}
        else:
            # A whole definition needs what the service never shows.
            given = json.loads((self.folder / "manifests/census.definition.json").read_bytes())
            document["properties"]["commitmentPlan"] = given["properties"]["commitmentPlan"]
            document["properties"]["storageAccount"]["key"] = "a-key-of-storage"
        url = f"{self.emulator.url}{self.emulator.path('census')}?api-version={PREVIEW}"
        status, answer, headers = self.emulator.send(method, url, document)
        assert status < 300, answer
        self.emulator.finish(headers["Azure-AsyncOperation"])

    def score(self) -> dict[str, float]:
        """The probability of each age, other values being equal."""
        shown = self.emulator.get("census")["properties"]
        keys = self.emulator.send("GET", f"{self.emulator.path('census')}/listKeys")[1]
        path = urlsplit(shown["swaggerLocation"]).path.removesuffix("/swagger.json")
        columns = ["age", "workclass", "education", "hours-per-week"]
        rows = [[age, "Private", "Bachelors", "40"] for age in ("20", "45", "70")]
        table = {"ColumnNames": columns, "Values": rows}
        answer = requests.post(
            f"{self.emulator.url}{path}/execute",
            params={"api-version": "2.0", "details": "true"},
            json={"Inputs": {"input1": table}},
            headers={"Authorization": f"Bearer {keys['primary']}"},
            timeout=60,
        )
        value = answer.json()["Results"]["output1"]["value"]
        return {row[0]: float(row[-1]) for row in value["Values"]}


@pytest.fixture
def story(tmp_path: Path) -> Iterator[Story]:
    with run_emulator("--operation-seconds=0", "--job-seconds=0") as emulator:
        assert SUBSCRIPTION in (EXAMPLE / "reconciler.yaml").read_text()
        yield Story(tmp_path / "project", emulator)


def test_the_example_trains_judges_and_serves_a_better_model(story: Story) -> None:
    assert "2 resources and 1 retraining in 6 files" in story.run("validate").out
    story.apply()
    before = story.score()
    result = story.retrain()
    assert result["outcome"] == "proposed", result
    assert [one["verdict"] for one in result["gates"]] == ["pass", "no baseline", "pass"]
    assert result["gates"][2]["numbers"]["rows"] == 120
    assert story.score() == before
    story.apply()
    assert story.run("verify", "--all").out == (
        "WebService/census: proven: 120 rows are answered as recorded\n"
    )
    after = story.score()
    assert after["20"] < 0.5 < after["70"]
    assert after["20"] < after["45"] < after["70"]
    assert story.run("plan", "--detailed-exitcode").code == 0


def spoil(story: Story) -> Any:
    """Serve a good model, train a worse one, and write that into the manifest by hand."""
    story.apply()
    assert story.retrain()["outcome"] == "proposed"
    story.apply()
    header, *rows = (story.folder / "manifests/census.csv").read_text().splitlines()
    chance = random.Random(4)
    spoiled = [f"{row.rpartition(',')[0]},{chance.choice(['<=50K', '>50K'])}" for row in rows]
    (story.folder / "manifests/census.csv").write_text("\n".join([header, *spoiled]) + "\n")
    refused = story.retrain()
    assert refused["outcome"] == "refused"
    story.serve(refused)
    return refused


def test_a_plan_shows_the_verdicts_about_a_new_model(story: Story) -> None:
    story.apply()
    result = story.retrain()
    auc = result["metrics"]["AUC"]
    plan = story.run("plan")
    assert f"gate pass: AUC min 0.8: AUC {auc:.6g}" in plan.out
    assert "; the rule accepts it" in plan.out
    assert f"judged by Retraining/census, run {result['run']}" in plan.out
    (model,) = story.read_plan()["resource_changes"][0]["model"]
    first, second, third = model["gates"]
    assert first["numbers"] == {"candidate": auc}
    assert first["source"].endswith(f"/{result['run']}/evaluation.csv")
    assert (second["verdict"], second["refuses"]) == ("no baseline", False)
    assert (third["verdict"], third["rows"]) == ("pass", 120)
    # The rules are those of the manifest now.
    story.change("manifests/census-retraining.yaml", "min: 0.8", "min: 0.999")
    done = story.run("plan", "--detailed-exitcode")
    assert done.code == 3, done.said
    assert f"fail: AUC min 0.999: AUC {auc:.6g}" in done.out


LIFT = ("--allow", "gate=WebService/census")
WHY = "The campaign starts today; see \x1b[31m`@all` <b>| 4711"
SHOWN = "Reason: The campaign starts today; see \\x1b[31m`@all` <b>| 4711"


def test_a_worse_model_is_refused_with_numbers_and_lifted_with_a_reason(story: Story) -> None:
    refused = spoil(story)
    done = story.run("plan", "--detailed-exitcode")
    assert done.code == 3, done.said
    assert "WebService/census: the gate refuses its new model" in done.out
    assert f"fail: AUC min 0.8: AUC {refused['metrics']['AUC']:.6g}" in done.out
    assert '--allow gate=WebService/census --reason "WHY"' in done.out
    done = story.run("plan", *LIFT)
    assert done.code == 1
    assert "is not lifted without a reason" in done.err
    assert '--allow gate=WebService/census --reason "WHY"' in done.err
    assert "the reason is empty" in story.run("plan", *LIFT, "--reason", " ").err
    assert (
        "it has 501 characters; the most is 500"
        in story.run("plan", *LIFT, "--reason", "x" * 501).err
    )
    assert "--allow does not lift it" in story.run("plan", "--reason", "why").err
    done = story.run("plan", *LIFT, "--reason", WHY, "--out", "lifted.plan", "--detailed-exitcode")
    assert done.code == 2, done.said
    assert SHOWN in done.out
    saved = json.loads((story.folder / "lifted.plan").read_text())
    check_output(saved, "plan")
    assert saved["inputs"]["reason"] == WHY
    comment = story.run("show", "lifted.plan", "--format", "markdown").out
    assert "> ⚠ `WebService/census`: `gate fail: AUC min 0.8: AUC " in comment
    escaped = SHOWN.replace("|", "\\|")
    assert f"> ⚠ ``{escaped}``" in comment
    page = story.run("show", "lifted.plan", "--format", "html").out
    assert SHOWN.replace("<b>", "&lt;b&gt;") in page
    assert "gate fail: AUC min 0.8: AUC " in page


# The suite of the ledgers holds that a record in storage is the one in a file.
@pytest.mark.parametrize("place", ["file", pytest.param("container", marks=pytest.mark.slow)])
def test_the_ledger_keeps_the_reason(story: Story, place: str) -> None:
    if place == "container":
        where = f"ledger: {{container: {story.emulator.blob}/devstoreaccount1/{uuid.uuid4()}}}"
        story.change("reconciler.yaml", "  guards:", f"  {where}\n  guards:")
    spoil(story)
    secret = {"CENSUS_TOKEN": "the-token-of-somebody"}
    story.change(
        "manifests/census.yaml",
        "  secrets:\n",
        "  secrets:\n    /properties/keys/primary: {env: CENSUS_TOKEN}\n",
    )
    why = "Asked for with the-token-of-somebody"
    lifted = ("apply", "--auto-approve", *LIFT, "--reason", why)
    done = run(story.folder, *lifted, env=secret)
    assert done.code == 0, done.said
    kept = "Asked for with (sensitive value)"
    assert f"Reason: {kept}" in done.out
    history = story.run("history", "WebService/census").out
    assert "the guard gate was lifted  WebService/census  by " in history
    assert f"Reason: {kept}" in history
    assert "was lifted" not in story.run("history", "WebService/census-training").out
    document = json.loads(story.run("history", "--json").out)
    check_output(document, "history")
    (reason,) = document["reasons"]
    assert (reason["reason"], reason["addresses"]) == (kept, ["WebService/census"])
    assert reason["plan_digest"] == document["entries"][0]["plan_digest"]
    assert story.run("ledger", "verify").code == 0
    assert story.run("ledger", "compact").code == 0
    assert f"Reason: {kept}" in story.run("history").out
    rebuilt = run(story.folder, "ledger", "rebuild", "--auto-approve", env=secret)
    assert rebuilt.code == 0, rebuilt.said
    assert json.loads(story.run("history", "--json").out)["reasons"][0]["reason"] == kept
    # The model is in service now: it is not new.
    assert run(story.folder, "plan", "--detailed-exitcode", env=secret).code == 0


def test_a_model_that_was_not_evaluated_is_refused(story: Story) -> None:
    story.apply()
    assert story.retrain()["outcome"] == "proposed"
    story.apply()
    upload_model(f"{story.emulator.blob}/devstoreaccount1/models/other", b"another", {})
    digest = f"sha256:{hashlib.sha256(b'another').hexdigest()}"
    story.serve({"uri": f"{story.emulator.blob}/devstoreaccount1/models/other", "digest": digest})
    done = story.run("plan", "--detailed-exitcode")
    assert done.code == 3
    assert "not evaluated: AUC min 0.8: no evaluation of the model is recorded" in done.out
    # A rollback restores what was in service, and is not judged.
    back = story.run("rollback", "WebService/census", "--out", "back.plan")
    assert back.code == 0, back.said
    assert "gate" not in back.out
    assert story.run("apply", "back.plan").code == 0


def test_the_gate_is_judged_again_where_a_saved_plan_is_applied(story: Story) -> None:
    story.apply()
    assert story.retrain()["outcome"] == "proposed"
    assert story.run("plan", "--out", "saved.plan").code == 0
    story.change("manifests/census-retraining.yaml", "min: 0.8", "min: 1.5")
    done = story.run("apply", "saved.plan", "--detailed-exitcode")
    assert done.code == 3, done.said
    assert "fail: AUC min 1.5" in done.err
    story.change("manifests/census-retraining.yaml", "min: 1.5", "min: 0.7")
    done = story.run("apply", "saved.plan", "--detailed-exitcode")
    assert done.code == 4, done.said
    assert "the gate decides otherwise about its new model now" in done.err
    story.change("manifests/census-retraining.yaml", "min: 0.7", "min: 0.8")
    assert story.run("apply", "saved.plan").code == 0
    # The plan has done its step, whatever the rules are since.
    story.change("manifests/census-retraining.yaml", "min: 0.8", "min: 1.5")
    done = story.run("apply", "saved.plan")
    assert done.code == 0, done.said
    assert "this plan has already done it" in done.said


def test_a_project_can_forbid_to_lift_the_gate(story: Story) -> None:
    spoil(story)
    lifted = (*LIFT, "--reason", "why")
    assert story.run("plan", *lifted, "--out", "saved.plan").code == 0
    story.change("reconciler.yaml", "guards: {", "guards: {allow: [deletes], ")
    assert "does not let this guard be lifted" in story.run("plan", *lifted).err
    done = story.run("apply", "saved.plan", "--detailed-exitcode")
    assert done.code == 3, done.said
    assert "the gate refuses its new model" in done.err


def test_a_plan_that_claims_other_verdicts_or_no_reason_is_refused(story: Story) -> None:
    spoil(story)
    lift = ("--allow", "gate=WebService/census", "--reason", "why")
    assert story.run("plan", *lift, "--out", "saved.plan").code == 0
    made = json.loads((story.folder / "saved.plan").read_text())

    def apply(change: Callable[[Any], None]) -> Done:
        plan = copy.deepcopy(made)
        change(plan)
        (story.folder / "edited.plan").write_text(json.dumps(seal(plan)))
        return story.run("apply", "edited.plan", "--detailed-exitcode")

    def find_model(plan: Any) -> Any:
        return plan["resource_changes"][0]["model"][0]

    def say_pass(plan: Any) -> None:
        for one in find_model(plan)["gates"]:
            one |= {"verdict": "pass", "refuses": False}

    def say_better(plan: Any) -> None:
        find_model(plan)["gates"][0]["numbers"]["candidate"] = 0.99

    assert apply(say_pass).code == 4
    assert apply(say_better).code == 4
    assert apply(lambda plan: find_model(plan).pop("gates")).code == 4
    assert apply(lambda plan: find_model(plan).update(digest_before="")).code == 4
    assert apply(lambda plan: find_model(plan).update(digest_after="")).code != 0
    assert apply(lambda plan: plan["inputs"].pop("reason")).code == 3
    assert apply(lambda plan: plan["inputs"].update(reason="x" * 501)).code == 1
    assert apply(lambda plan: plan["inputs"].pop("allowed")).code == 3

    def say_rollback(plan: Any) -> None:
        plan["inputs"].pop("allowed")
        plan["inputs"].pop("reason")
        for one in plan["resource_changes"][0]["because"]:
            one["cause"] = "rollback"
        find_model(plan).pop("gates")

    assert apply(say_rollback).code == 3
    assert apply(lambda plan: None).code == 0


def test_the_example_refuses_a_worse_model_with_numbers(story: Story) -> None:
    story.apply()
    assert story.retrain()["outcome"] == "proposed"
    story.apply()
    good = story.score()
    header, *rows = (story.folder / "manifests/census.csv").read_text().splitlines()
    chance = random.Random(4)
    spoiled = [f"{row.rpartition(',')[0]},{chance.choice(['<=50K', '>50K'])}" for row in rows]
    (story.folder / "manifests/census.csv").write_text("\n".join([header, *spoiled]) + "\n")
    result = story.retrain()
    assert result["outcome"] == "refused"
    assert [one["verdict"] for one in result["gates"]] == ["fail", "fail", "fail"]
    margin = result["gates"][2]["numbers"]
    assert margin["live"] > margin["candidate"]
    assert margin["high"] < -0.02
    assert story.run("plan", "--detailed-exitcode").code == 0
    assert story.score() == good


def test_the_first_model_is_trained_before_the_service_exists(story: Story) -> None:
    done = story.run("apply", "--auto-approve", "--target", "WebService/census-training")
    assert done.code == 0, done.said
    result = story.retrain()
    assert result["outcome"] == "proposed", result
    assert [one["verdict"] for one in result["gates"]] == ["pass", "no baseline", "no baseline"]
    story.apply()
    assert story.score()["70"] > 0.5
    assert story.run("verify", "--all").out == (
        "WebService/census: proven: 120 rows are answered as recorded\n"
    )


def test_a_service_that_disappeared_is_not_a_service_without_a_model(story: Story) -> None:
    story.apply()
    assert story.retrain()["outcome"] == "proposed"
    story.emulator.send("DELETE", story.emulator.path("census"))
    story.change("manifests/census.csv", "Private", "Self-emp")
    done = story.run("retrain", "census")
    assert done.code == 1
    assert "WebService/census: does not exist" in done.err


@pytest.mark.usefixtures("patient_calls")
def test_an_old_model_that_still_answers_is_found(tmp_path: Path) -> None:
    faults = tmp_path / "faults.yaml"
    faults.write_text(json.dumps([on("stale-model", "PATCH", seconds=600)]))
    options = ("--operation-seconds=0", "--job-seconds=0", f"--faults={faults}")
    with run_emulator(*options) as emulator:
        story = Story(tmp_path / "project", emulator)
        story.change("manifests/census.yaml", "label: income}", "label: income, timeout: 1s}")
        story.apply()
        assert story.retrain()["outcome"] == "proposed"
        story.run("apply", "--auto-approve")
        pass_time(emulator.url, 600)
        story.apply()
        story.change("manifests/census.csv", "Private", "Self-emp")
        second = story.retrain()
        assert second["outcome"] == "proposed", second
        # The service reports the new model, and answers with the first one.
        assert story.run("apply", "--auto-approve", "--detailed-exitcode").code == 6
        done = story.run("verify", "WebService/census", "--detailed-exitcode", "--json")
        document = json.loads(done.out)
        check_output(document, "verify")
        (proof,) = document["resources"]
        assert (done.code, document["outcome"]) == (6, "incomplete")
        assert proof["proof"] == "old model answers"
        assert (proof["digest"], proof["before"]) == (second["digest"], second["parent"])
        pass_time(emulator.url, 600)
        assert "proven" in story.run("verify", "--all").out


def test_what_does_not_prove_anything_is_inconclusive(story: Story) -> None:
    story.apply()
    done = story.run("verify", "--all", "--detailed-exitcode")
    assert done.code == 8
    assert "inconclusive: no answers of this model are recorded" in done.out
    story.retrain()
    story.apply()
    story.change("manifests/golden.csv", "Private", "State-gov")
    assert (
        "inconclusive: its answers are recorded for other rows" in story.run("verify", "--all").out
    )
    assert "has no spec.verify" in story.run("verify", "WebService/census-training").err
    assert "give the ADDRESS of a resource, or --all" in story.run("verify").err


# Either call makes the same update, and the other commands of the two runs are the same.
@pytest.mark.parametrize("method", ["PATCH", pytest.param("PUT", marks=pytest.mark.slow)])
def test_the_pipeline_of_data_factory_is_drift_whose_cure_is_named(
    story: Story, method: str
) -> None:
    """Plays both activities of the guide's pipeline; which call updates is not known."""
    story.apply()
    assert story.retrain()["outcome"] == "proposed"
    story.apply()
    declared, good = story.emulator.model("census"), story.score()
    train, update = read_pipeline()
    story.change("manifests/census.csv", "Private", "Self-emp")
    story.run_batch(train["webServiceInputs"], train["webServiceOutputs"])
    model = story.uri(update["trainedModelFilePath"])
    story.update_model(method, update["trainedModelName"], model)
    assert story.score() != good
    done = story.run("drift", "--detailed-exitcode")
    assert done.code == 2
    assert "# WebService/census: model-swapped, last applied " in done.out
    assert f'live       "…/{update["trainedModelFilePath"]}"' in done.out
    assert "resolve: reconciler apply --target WebService/census\n" in done.out
    assert "or:      reconciler drift --accept WebService/census\n" in done.out
    done = story.run("verify", "WebService/census", "--detailed-exitcode")
    assert (done.code, "the answers are those of another model" in done.out) == (8, True)
    # Both cures do what they say.
    done = story.run("apply", "--auto-approve", "--target", "WebService/census")
    assert "0 added, 1 changed, 0 destroyed" in done.out, done.said
    assert (story.emulator.model("census"), story.score()) == (declared, good)
    story.update_model(method, update["trainedModelName"], model)
    done = story.run("drift", "--accept", "WebService/census")
    assert "2 values accepted into 1 file." in done.out, done.said
    manifest = (story.folder / "manifests/census.yaml").read_text()
    trained = requests.get(f"{model}?{sign(model)}", timeout=60).content
    assert f"uri: {model}\n      sha256: {hashlib.sha256(trained).hexdigest()}\n" in manifest
    assert story.run("plan", "--detailed-exitcode").code == 0
    assert story.emulator.model("census") == model
    # The next run writes another model to the same address.
    story.change("manifests/census.csv", "Self-emp", "State-gov")
    story.run_batch(train["webServiceInputs"], train["webServiceOutputs"])
    story.update_model(method, update["trainedModelName"], model)
    done = story.run("drift", "--detailed-exitcode")
    assert done.code == 2
    assert "# WebService/census: artifact-mutated, last applied " in done.out
    assert "resolve: reconciler drift --accept WebService/census\n" in done.out
    assert story.run("drift", "--accept", "WebService/census").code == 0
    assert story.run("drift", "--detailed-exitcode").code == 0

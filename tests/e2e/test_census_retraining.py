"""The example of a retraining: from the first model to a better one, and a worse one refused."""

import hashlib
import json
import random
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jsonschema
import pytest
import requests

from reconciler.blobs import upload_model
from reconciler.package_data import read_schema
from tests.contract.faulty import on
from tests.contract.signatures import sign
from tests.contract.test_jobs import CONNECTION, Batch
from tests.contract.world import PREVIEW
from tests.e2e.world import ROOT, SUBSCRIPTION, Done, Emulator, pass_time, run, run_emulator

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
    """The example in a folder of its own, for an emulator on free ports."""

    def __init__(self, folder: Path, emulator: Emulator) -> None:
        self.folder, self.emulator = folder, emulator
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
        jsonschema.validate(document, read_schema("output/verify"))
        (proof,) = document["resources"]
        assert done.code == 6
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


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
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

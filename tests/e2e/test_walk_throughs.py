"""The published walk-throughs of retraining on Classic web services, from the first job to scores.

Those on New web services are in `test_census_retraining`, `test_retrain` and `test_adoption`.
"""

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.casework.classic import MODEL
from tests.contract.classic import WORKSPACE, execute, write_world
from tests.contract.faulty import on, write_faults
from tests.e2e.bikes import sign
from tests.e2e.world import Done, Emulator, pass_time, run, run_emulator
from tests.outputs import check_output
from tests.storage import upload_model

pytestmark = pytest.mark.e2e
Json = Any
TRAINING, PREDICTIVE = "7" * 32, "a" * 32
LOCATIONS = {"001": 3.0, "002": -2.0, "003": 1.5}


def rentals(slope: float, seed: int) -> bytes:
    """Rentals of a location: each degree of temperature changes them by `slope`."""
    chance = random.Random(seed)
    days = [chance.randint(0, 30) for _ in range(80)]
    rows = [f"{day},{100 + slope * day + chance.gauss(0, 2):.1f}" for day in days]
    return "\n".join(["temperature,rentals", *rows]).encode()


class Rentals:
    """A fleet of endpoints of one web service, and a training service that reads one address."""

    def __init__(self, folder: Path, emulator: Emulator) -> None:
        self.folder, self.emulator = folder, emulator
        shown = self.read(TRAINING, "default")
        path = shown["ApiLocation"].partition(".net/")[2]
        self.env = {"TRAINING_KEY": shown["PrimaryKey"], "MODELS_SAS": sign()}
        self.write(
            "reconciler.yaml",
            "Project",
            "bikes",
            {
                "cloud": {
                    "resourceManager": emulator.url,
                    "services": emulator.url,
                    "blob": emulator.blob,
                },
                "defaults": {"workspace": WORKSPACE, "webService": PREDICTIVE},
                "guards": {"maxUpdates": "100%", "blobs": "skip"},
            },
        )
        (folder / "manifests").mkdir()
        (folder / "manifests" / "golden.csv").write_bytes(rentals(LOCATIONS["001"], seed=9))
        codes = "\n".join(["code", *LOCATIONS])
        (folder / "manifests" / "locations.csv").write_text(f"{codes}\n")
        self.declare("served", "Endpoint", "rentalloc${code}", self.serve())
        self.declare("trained", "Retraining", "train${code}", self.train(f"{emulator.url}/{path}"))

    def uri(self, name: str) -> str:
        return f"{self.emulator.blob}/devstoreaccount1/bikes/{name}"

    def serve(self) -> Json:
        model = {"uri": self.uri("${code}/first.ilearner"), "sas": {"env": "MODELS_SAS"}}
        verify = {"rows": "golden.csv", "label": "rentals"}
        return {"trainedModels": {MODEL: model}, "verify": verify}

    def train(self, url: str) -> Json:
        ports = {"model": ("output2", "ilearner"), "evaluation": ("output1", "csv")}
        return {
            "service": {"url": url, "apiKey": {"env": "TRAINING_KEY"}},
            "parameters": {"URI": self.uri("${code}/data.csv")},
            "outputs": {
                name: {"port": port, "uri": self.uri(f"$${{run}}/${{code}}-{name}.{ending}")}
                for name, (port, ending) in ports.items()
            },
            "inputs": {"golden": {"file": "golden.csv", "uri": self.uri("$${run}/${code}.csv")}},
            "gate": [
                {"metric": "Mean Absolute Error", "max": 200},
                {"metric": "Mean Absolute Error", "margin": 2, "firstModel": "accept"},
            ],
            "compare": {
                "rows": "golden.csv",
                "label": "rentals",
                "scoredOutput": {"port": "output3", "uri": self.uri("$${run}/${code}-scored.csv")},
            },
            "promote": [{"resource": "Endpoint/rentalloc${code}", "trainedModel": MODEL}],
        }

    def declare(self, name: str, kind: str, member: str, spec: Json) -> None:
        template = {"kind": kind, "metadata": {"name": member}, "spec": spec}
        items = {"csv": "locations.csv"}
        more = {"waves": [1, "100%"]} if kind == "Endpoint" else {}
        fleet = {"items": items, **more, "template": template}
        self.write(f"manifests/{name}.yaml", "Fleet", name, fleet)

    def write(self, file: str, kind: str, name: str, spec: Json) -> None:
        document = {"apiVersion": "reconciler/v1", "kind": kind, "metadata": {"name": name}}
        text = yaml.safe_dump({**document, "spec": spec}, sort_keys=False)
        (self.folder / file).write_text(text)

    def upload(self, seed: int) -> None:
        for code, slope in LOCATIONS.items():
            upload_model(self.uri(f"{code}/data.csv"), rentals(slope, seed), {})

    def run(self, *arguments: str) -> Done:
        return run(self.folder, *arguments, env=self.env)

    def give(self, endpoint: str, uri: str) -> None:
        """Give a model to an endpoint as the activity of Data Factory does."""
        base, _, path = uri.partition("/devstoreaccount1/")
        location = {
            "BaseLocation": f"{base}/",
            "RelativeLocation": f"devstoreaccount1/{path}",
            "SasBlobToken": f"?{self.env['MODELS_SAS']}",
        }
        path = f"/workspaces/{WORKSPACE}/webservices/{PREDICTIVE}/endpoints/{endpoint}"
        body = {"Resources": [{"Name": MODEL, "Location": location}]}
        status, answer, _ = self.emulator.send("PATCH", f"{self.emulator.url}{path}", body)
        assert status < 300, answer

    def retrain(self, name: str, *options: str) -> Json:
        done = self.run("retrain", name, *options, "--json")
        assert '"results"' in done.out, done.said
        return json.loads(done.out)["results"]

    def read(self, service: str, endpoint: str) -> Json:
        path = f"/workspaces/{WORKSPACE}/webservices/{service}/endpoints/{endpoint}"
        status, shown, _ = self.emulator.send("GET", f"{self.emulator.url}{path}")
        assert status == 200, shown
        return shown

    def score(self, endpoint: str, temperature: int) -> float:
        shown = self.read(PREDICTIVE, endpoint)
        table = {"ColumnNames": ["temperature"], "Values": [[str(temperature)]]}
        body = {"Inputs": {"input1": table}}
        where, key = shown["ApiLocation"], shown["PrimaryKey"]
        answer = execute(self.emulator.url, where, key, body).json()
        return float(answer["Results"]["output1"]["value"]["Values"][0][-1])


@contextmanager
def open_rentals(folder: Path, *options: str) -> Iterator[Rentals]:
    trains = {
        "label": "rentals",
        "rows": "golden",
        "outputs": {"output1": "evaluation", "output2": "model", "output3": "scored"},
        "parameters": ["URI"],
    }
    published = [
        {"id": TRAINING, "name": "Bikes [Training]", "kind": "training", "training": trains},
        {"id": PREDICTIVE, "name": "Bikes [Predictive]", "resources": [MODEL]},
    ]
    file = write_world(folder, {"id": WORKSPACE, "webServices": published})
    world = (f"--world={file}", "--operation-seconds=0", "--job-seconds=0")
    with run_emulator(*world, *options) as emulator:
        project = folder / "project"
        project.mkdir()
        yield Rentals(project, emulator)


def test_one_experiment_makes_a_model_for_each_endpoint(tmp_path: Path) -> None:
    with open_rentals(tmp_path) as world:
        world.upload(seed=1)
        done = world.run("retrain", "--fleet", "trained", "--json")
        assert done.code == 0, done.said
        results = json.loads(done.out)["results"]
        assert [one["outcome"] for one in results] == ["proposed"] * len(LOCATIONS)
        assert len({one["job"] for one in results}) == len(LOCATIONS)
        done = world.run("apply", "--auto-approve")
        assert "Resources: 3 added, 0 changed, 0 destroyed." in done.out, done.said
        for code, slope in LOCATIONS.items():
            warmer = world.score(f"rentalloc{code}", 30) - world.score(f"rentalloc{code}", 0)
            assert warmer == pytest.approx(30 * slope, abs=6)
        assert world.run("plan", "--detailed-exitcode").code == 0
        # A newer model replaces the first one, at the same endpoint.
        world.upload(seed=2)
        before = world.score("rentalloc001", 10)
        (result,) = world.retrain("train001")
        assert result["outcome"] == "proposed", result
        assert [one["verdict"] for one in result["gates"]] == ["pass", "pass"]
        done = world.run("apply", "--auto-approve")
        assert "Resources: 0 added, 1 changed, 0 destroyed." in done.out, done.said
        assert world.score("rentalloc001", 10) != before


def test_only_answers_show_a_second_writer_of_a_model_that_is_not_shown(tmp_path: Path) -> None:
    with open_rentals(tmp_path) as world:
        world.upload(seed=1)
        world.run("retrain", "--fleet", "trained")
        assert world.run("apply", "--auto-approve").code == 0
        good = world.score("rentalloc001", 30)
        done = world.run("verify", "Endpoint/rentalloc001")
        assert done.out == "Endpoint/rentalloc001: proven: 80 rows are answered as recorded\n"
        (other,) = world.retrain("train002", "--again")
        world.give("rentalloc001", other["uri"])
        assert world.score("rentalloc001", 30) != good
        assert world.run("drift", "--detailed-exitcode").code == 0
        done = world.run("verify", "Endpoint/rentalloc001", "--detailed-exitcode")
        assert (done.code, "the answers are those of another model" in done.out) == (8, True)


@pytest.mark.usefixtures("patient_calls")
def test_an_old_model_is_known_by_its_answers_without_its_digest(tmp_path: Path) -> None:
    """The models are not looked up in storage, so that no digest of the live one is recorded."""
    faults = write_faults(tmp_path, on("stale-model", "PATCH", seconds=3600))
    with open_rentals(tmp_path, f"--faults={faults}") as world:
        served = world.folder / "manifests" / "served.yaml"
        served.write_text(
            served.read_text().replace("label: rentals", "label: rentals\n        timeout: 1s")
        )
        world.upload(seed=1)
        world.retrain("train001")
        target = ("apply", "--auto-approve", "--target", "Endpoint/rentalloc001")
        assert world.run(*target).code == 0
        pass_time(world.emulator.url, 3600)
        world.upload(seed=2)
        (result,) = world.retrain("train001")
        assert (result["outcome"], result["parent"]) == ("proposed", None)
        done = world.run(*target, "--detailed-exitcode")
        assert done.code == 6, done.said
        assert f"It must serve {result['digest']}." in done.said
        assert "It answers as the model before, whose digest is not known." in done.said
        done = world.run("verify", "Endpoint/rentalloc001", "--detailed-exitcode")
        assert (done.code, "old model answers" in done.out) == (6, True), done.said
        assert "answers    the model before, whose digest is not known" in done.out
        shown = world.run("verify", "Endpoint/rentalloc001", "--json", "--detailed-exitcode")
        document = json.loads(shown.out)
        check_output(document, "verify")
        assert document["resources"][0]["before"] is None
        pass_time(world.emulator.url, 3600)
        assert world.run("verify", "Endpoint/rentalloc001", "--detailed-exitcode").code == 0


def test_a_fleet_is_verified_by_its_address(tmp_path: Path) -> None:
    with open_rentals(tmp_path) as world:
        world.upload(seed=1)
        world.run("retrain", "--fleet", "trained")
        assert world.run("apply", "--auto-approve").code == 0
        done = world.run("verify", "Fleet/served", "Endpoint/rentalloc002", "--detailed-exitcode")
        assert (done.code, done.out.count(": proven")) == (0, len(LOCATIONS)), done.said
        assert "Did you mean Fleet/served?" in world.run("verify", "Fleet/serve").err


@pytest.mark.parametrize("status", ["404", "204"])
def test_the_first_model_of_an_endpoint_has_no_baseline(tmp_path: Path, status: str) -> None:
    with open_rentals(tmp_path, f"--switch=classic-missing-endpoint={status}") as world:
        world.upload(seed=1)
        (result,) = world.retrain("train001")
        assert [one["verdict"] for one in result["gates"]] == ["pass", "no baseline"]
        assert result["outcome"] == "proposed"


@pytest.mark.parametrize("status", ["word", "number"])
def test_a_declared_endpoint_trains_and_its_key_is_kept_nowhere(
    tmp_path: Path, status: str
) -> None:
    """Its document has the address of its jobs and its key: the manifest names neither."""
    with open_rentals(tmp_path, f"--switch=job-status={status}") as world:
        world.upload(seed=1)
        world.write("manifests/t.yaml", "Endpoint", "t", {"resource": {"webService": TRAINING}})
        assert world.run("apply", "--auto-approve", "--target", "Endpoint/t").code == 0
        spec = {**world.train(""), "service": {"address": "Endpoint/t"}}
        world.declare("trained", "Retraining", "train${code}", spec)
        world.env["RECONCILER_LOG"] = "debug"
        done = world.run("retrain", "train001", "--json")
        assert json.loads(done.out)["results"][0]["outcome"] == "proposed", done.said
        key = world.read(TRAINING, "t")["PrimaryKey"]
        kept = [one.read_bytes() for one in world.folder.rglob("*") if one.is_file()]
        assert not [one for one in [done.said.encode(), *kept] if key[:20].encode() in one]

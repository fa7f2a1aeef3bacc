"""Batch jobs: training on real data in real storage, the queue, and what a request may say."""

import csv
import io
import json
import random
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from reconciler.emulator.training import jobs
from tests.contract.classic import WORKSPACE, check_documented, example, write_world
from tests.contract.faulty import on
from tests.contract.signatures import ACCOUNT, KEY, sign
from tests.contract.world import Service, code_of, run_service
from tests.e2e.world import definition, pass_time
from tests.storage import upload_model

pytestmark = pytest.mark.contract
Json = Any
API = {"api-version": "2.0"}
CONNECTION = "UseDevelopmentStorage=true"


def people(count: int = 300, *, seed: int = 1) -> bytes:
    """Labelled rows; the age decides the income with some noise."""
    chance = random.Random(seed)
    rows = []
    for _ in range(count):
        age = chance.randint(18, 70)
        rich = chance.gauss(age, 8) > 45
        rows.append([age, chance.choice(["Private", "State-gov"]), ">50K" if rich else "<=50K"])
    out = io.StringIO()
    csv.writer(out).writerows([["age", "workclass", "income"], *rows])
    return out.getvalue().encode()


@dataclass
class Batch:
    """The batch service of one training service. `folder` is its own container's folder."""

    url: str
    key: str
    blob: str
    folder: str

    def uri(self, name: str) -> str:
        return f"{self.blob}/{ACCOUNT}/jobs/{self.folder}/{name}"

    def at(self, name: str) -> Json:
        return {"ConnectionString": CONNECTION, "RelativeLocation": f"jobs/{self.folder}/{name}"}

    def request(self, **more: Json) -> Json:
        body = {
            "Inputs": {"input1": self.at("data.csv")},
            "Outputs": {"output1": self.at("e.csv"), "output2": self.at("m.ilearner")},
            "GlobalParameters": {},
        }
        return {**body, **more}

    def call(self, method: str, tail: str = "", body: Json = None) -> requests.Response:
        """One call; a refusal has the texts of the published table."""
        headers = {"Authorization": f"Bearer {self.key}"}
        url = f"{self.url}/jobs{tail}"
        answer = requests.request(method, url, params=API, json=body, headers=headers, timeout=120)
        if answer.status_code >= 400:
            check_documented(answer.json()["error"])
        return answer

    def submit(self, **more: Json) -> str:
        answer = self.call("POST", body=self.request(**more))
        assert answer.status_code == 200, answer.text
        return str(answer.json())

    def start(self, job: str) -> None:
        answer = self.call("POST", f"/{job}/start")
        assert (answer.status_code, answer.content) == (204, b"")

    def show(self, job: str) -> Json:
        return self.call("GET", f"/{job}").json()

    def wait(self, job: str, ended: Callable[[Json], bool] | None = None) -> Json:
        """Poll until a job has ended; the test's own limit is the patience."""
        ended = ended or (lambda said: said["StatusCode"] not in {"NotStarted", "Running"})
        while not ended(said := self.show(job)):
            time.sleep(0.05)
        return said

    def run(self, **more: Json) -> Json:
        job = self.submit(**more)
        self.start(job)
        return self.wait(job)

    def read(self, name: str) -> bytes:
        uri = self.uri(name)
        answer = requests.get(f"{uri}?{sign(uri)}", timeout=120)
        assert answer.status_code == 200
        return answer.content


def make_batch(service: Service, data: bytes | None = None) -> Batch:
    """A New training service of its own, with data."""
    name = uuid.uuid4().hex
    body = example("training.webservice.put")
    assert service.finish(service.call("PUT", service.path(name), body))["status"] == "Succeeded"
    shown = service.get(name)["properties"]
    keys = service.call("GET", service.path(name, "/listKeys")).json()
    path = urlsplit(shown["swaggerLocation"]).path.removesuffix("/swagger.json")
    batch = Batch(f"{service.url}{path}", keys["primary"], service.blob, name)
    upload_model(batch.uri("data.csv"), people() if data is None else data, {})
    return batch


@pytest.fixture(scope="session")
def shared_training(storage: str) -> Iterator[Service]:
    options = (f"--blob-url={storage}", "--blob", "--job-seconds=0")
    with run_service(*options) as running:
        running.blob = storage
        yield running


@pytest.fixture
def batch(shared_training: Service) -> Batch:
    return make_batch(shared_training)


@pytest.fixture
def slow(storage: str) -> Iterator[Batch]:
    """One whose jobs run until they are cancelled."""
    options = (f"--blob-url={storage}", "--blob", "--job-seconds=3600")
    with run_service(*options) as running:
        running.blob = storage
        yield make_batch(running)


def test_a_job_trains_a_model_and_evaluates_it(batch: Batch) -> None:
    said = batch.run()
    assert (said["StatusCode"], said["Details"]) == ("Finished", None)
    assert batch.read("m.ilearner").startswith(b"reconciler-ilearner/1\n")
    header, row = csv.reader(io.StringIO(batch.read("e.csv").decode()))
    metrics = dict(zip(header, map(float, row), strict=True))
    assert metrics["AUC"] > 0.8
    assert list(metrics)[:5] == ["Accuracy", "Precision", "Recall", "F-Score", "AUC"]


def test_equal_data_makes_equal_models_and_other_data_makes_others(
    shared_training: Service,
) -> None:
    models = []
    for data in (people(), people(), people(seed=2)):
        one = make_batch(shared_training, data)
        one.run()
        models.append(one.read("m.ilearner"))
    assert models[0] == models[1] != models[2]


def test_a_parameter_changes_the_model(batch: Batch) -> None:
    batch.run(GlobalParameters={"Number of trees": 100})
    first = batch.read("m.ilearner")
    batch.run(GlobalParameters={"Number of trees": 1})
    assert batch.read("m.ilearner") != first


def test_results_name_the_blobs_as_asked_and_open_them(batch: Batch) -> None:
    said = batch.run()
    assert set(said["Results"]) == {"output1", "output2"}
    for port, name in (("output1", "e.csv"), ("output2", "m.ilearner")):
        result = said["Results"][port]
        assert result["RelativeLocation"] == f"jobs/{batch.folder}/{name}"
        assert result["BaseLocation"].endswith("/")
        opened = requests.get(
            f"{result['BaseLocation']}{result['RelativeLocation']}{result['SasBlobToken']}",
            timeout=120,
        )
        assert opened.content == batch.read(name)
        assert "sp=r" in result["SasBlobToken"]


def test_a_leading_slash_is_not_kept(batch: Batch) -> None:
    outputs = batch.request()["Outputs"]
    outputs["output1"]["RelativeLocation"] = f"/jobs/{batch.folder}/slash.csv"
    said = batch.run(Outputs=outputs)
    assert said["Results"]["output1"]["RelativeLocation"] == f"jobs/{batch.folder}/slash.csv"
    assert batch.read("slash.csv")


def test_addresses_with_signatures_and_whole_connection_strings_work_too(batch: Batch) -> None:
    base = f"{batch.blob}/{ACCOUNT}"
    whole = f"AccountName={ACCOUNT};AccountKey={KEY};BlobEndpoint={base}"
    outputs = {
        "output1": {**batch.at("whole.csv"), "ConnectionString": whole},
        "output2": {
            "BaseLocation": f"{base}/",
            "RelativeLocation": f"jobs/{batch.folder}/signed.ilearner",
            "SasBlobToken": f"?{sign(batch.uri('signed.ilearner'), read=False)}",
        },
    }
    said = batch.run(Outputs=outputs)
    assert said["StatusCode"] == "Finished"
    assert batch.read("whole.csv")
    assert batch.read("signed.ilearner")
    # The service does not have the key of an account that it was given a signature for.
    token = outputs["output2"]["SasBlobToken"]
    assert said["Results"]["output2"]["SasBlobToken"] == token


def test_a_signature_that_only_reads_does_not_write(batch: Batch) -> None:
    outputs = {
        "output2": {
            "BaseLocation": f"{batch.blob}/{ACCOUNT}/",
            "RelativeLocation": f"jobs/{batch.folder}/refused.ilearner",
            "SasBlobToken": f"?{sign(batch.uri('refused.ilearner'))}",
        },
    }
    said = batch.run(Outputs=outputs)
    assert said["StatusCode"] == "Failed"
    assert said["Results"] is None
    assert "refused.ilearner could not be written. The server answered 403." in said["Details"]


def test_a_submitted_job_waits_for_its_start(batch: Batch) -> None:
    job = batch.submit()
    for _ in range(3):
        assert batch.show(job) == {"StatusCode": "NotStarted", "Results": None, "Details": None}
    batch.start(job)
    assert batch.wait(job)["StatusCode"] == "Finished"


def test_a_job_starts_once(batch: Batch) -> None:
    job = batch.submit()
    batch.start(job)
    batch.wait(job)
    again = batch.call("POST", f"/{job}/start")
    assert code_of(again) == (400, "InvalidOperation", "CannotStartJob")
    message = again.json()["error"]["details"][0]["message"]
    assert message == "The job cannot be started because it is in Finished state."


def test_jobs_above_the_limit_of_the_service_wait(slow: Batch) -> None:
    jobs = [slow.submit() for _ in range(5)]
    for job in jobs:
        slow.start(job)
    for job in jobs[:4]:
        slow.wait(job, lambda said: said["StatusCode"] == "Running")
    assert slow.show(jobs[4])["StatusCode"] == "NotStarted"
    assert slow.call("DELETE", f"/{jobs[0]}").status_code == 204
    slow.wait(jobs[4], lambda said: said["StatusCode"] == "Running")
    assert slow.show(jobs[0]) == {"StatusCode": "Cancelled", "Results": None, "Details": None}


def test_an_ended_job_may_be_deleted(batch: Batch) -> None:
    said = batch.run()
    assert said["StatusCode"] == "Finished"
    job = batch.submit()
    assert batch.call("DELETE", f"/{job}").status_code == 204
    assert batch.show(job)["StatusCode"] == "Cancelled"
    assert batch.call("DELETE", f"/{job}").status_code == 204


def test_jobs_belong_to_their_service(batch: Batch, shared_training: Service) -> None:
    other, job = make_batch(shared_training), batch.submit()
    assert code_of(other.call("GET", f"/{job}")) == (404, "NotFound", "")
    wrong = Batch(batch.url, "x" * 40, batch.blob, batch.folder)
    assert code_of(wrong.call("GET", f"/{job}"))[0] == 401


BAD_ENDING = {"ConnectionString": CONNECTION, "RelativeLocation": "jobs/x"}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"Inputs": {}}, "BatchJobInputsNotSpecified"),
        ({"Inputs": {"input2": BAD_ENDING}}, "InvalidInputNames"),
        ({"Inputs": {"input1": BAD_ENDING, "b": BAD_ENDING}}, "BatchJobInputsTooManySpecified"),
        ({"Input": BAD_ENDING}, "DuplicateInputInBatchCall"),
        ({"Inputs": {"input1": {}}}, "InputBlobRelativeLocationInvalid"),
        ({"Inputs": {"input1": {"RelativeLocation": "x.csv"}}}, "ContainerSegmentInvalid"),
        ({"Inputs": {"input1": {"RelativeLocation": "j/x.csv"}}}, "MissingInputBlobInformation"),
        ({"Inputs": {"input1": BAD_ENDING}}, "InvalidBlobExtension"),
        ({"Outputs": {"output2": BAD_ENDING}}, "InvalidBlobExtension"),
        ({"Outputs": {"Output2": BAD_ENDING}}, "InvalidOutputOverrideName"),
        ({"Outputs": {"output2": None}}, "MissingOutputOverrideSpecification"),
        ({"GlobalParameters": {"Number of Trees": 1}}, "UnexpectedParameter"),
        ({"GlobalParameters": []}, ""),
        ({"Outputs": [1]}, "RequestBodyInvalid"),
        (
            {"Outputs": {"output1": {"ConnectionString": "x", "RelativeLocation": "a/b.csv"}}},
            "InvalidBlobConnectionString",
        ),
        (
            {"Outputs": {"output1": {"BaseLocation": "http://x/", "RelativeLocation": "a/b.csv"}}},
            "InvalidBlob",
        ),
    ],
)
def test_a_wrong_request_is_refused_with_the_published_code(
    batch: Batch, change: Json, code: str
) -> None:
    answer = batch.call("POST", body=batch.request(**change))
    if not code:
        assert answer.status_code == 200
    else:
        assert code_of(answer) == (400, "BadArgument", code)


@pytest.mark.parametrize(
    ("data", "details"),
    [
        (b"age,income\n1,>50K\n", "The label column has 1 classes, and 2 are needed."),
        (b"age,workclass\n1,Private\n2,Private\n", 'Column "income" was not found.'),
        (b"age,income\n", "The data does not have a row."),
    ],
)
def test_data_that_cannot_be_trained_on_fails_the_job(
    shared_training: Service, data: bytes, details: str
) -> None:
    said = make_batch(shared_training, data).run()
    assert (said["StatusCode"], said["Results"]) == ("Failed", None)
    assert said["Details"].startswith(f"ModuleExecutionError: {details}")


@pytest.mark.parametrize(
    ("data", "details"),
    [
        (b"\x1f\x8b\x08" + bytes(range(256)), "The data is not CSV"),
        (b"age,income\n" + b"\x00" * 1000, "Each row must have 2 cells"),
        (b'age,income\n"open,1\n', "The data is not CSV"),
        (b"age,income\n" + b"a" * 200_000 + b",1\n", "The data is not CSV"),
        (b"age;income\n1;2\n", 'Column "income" was not found. The columns are: age;income'),
        (b"age,income\n" + b"1,2,3\n" * 10, "Each row must have 2 cells"),
        (b"," * 100_000 + b"\n", "The data does not have a row"),
        (
            b"age,income\n" + b"".join(b"%d,%de97\n" % (n, n) for n in range(50)),
            "",
        ),
        (b"age,income\n" + b"".join(b"%d,%de300\n" % (n, n) for n in range(50)), "classes"),
        (b"age,income\n" + b"1e308,0\n1e308,1\n" * 20, ""),
    ],
)
def test_hostile_data_ends_the_job(shared_training: Service, data: bytes, details: str) -> None:
    said = make_batch(shared_training, data).run()
    assert said["StatusCode"] == ("Failed" if details else "Finished")
    assert details in (said["Details"] or "")


def test_a_failure_that_nobody_thought_of_ends_the_job(
    batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(jobs, "train", fail)
    said = batch.run()
    assert said["StatusCode"] == "Failed"
    assert said["Details"] == "ModuleExecutionError: Training ended by ZeroDivisionError."


def test_data_with_tabs_is_read_as_such(batch: Batch) -> None:
    upload_model(batch.uri("data.tsv"), people().replace(b",", b"\t"), {})
    assert batch.run(Inputs={"input1": batch.at("data.tsv")})["StatusCode"] == "Finished"


def test_an_evaluation_may_be_arff(batch: Batch) -> None:
    outputs = {**batch.request()["Outputs"], "output1": batch.at("e.arff")}
    assert batch.run(Outputs=outputs)["StatusCode"] == "Finished"
    lines = batch.read("e.arff").decode().splitlines()
    assert lines[0] == "@RELATION Unnamed"
    assert '@ATTRIBUTE "AUC" NUMERIC' in lines
    assert lines.index("@DATA") == len(lines) - 2


def test_only_so_many_jobs_are_kept_and_none_that_runs(
    slow: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "_MOST_KEPT", 3)
    runs, first = slow.submit(), slow.submit()
    slow.start(runs)
    later = [slow.submit() for _ in range(2)]
    assert slow.call("GET", f"/{first}").status_code == 404
    assert slow.show(runs)["StatusCode"] in {"NotStarted", "Running"}
    assert [slow.show(one)["StatusCode"] for one in later] == ["NotStarted"] * 2


@contextmanager
def run_world(storage: str, folder: Path, name: str, training: Json) -> Iterator[Batch]:
    """The batch service of a Classic training service of a world file, while the block runs."""
    service = uuid.uuid4().hex
    published = {"id": service, "name": name, "kind": "training", "training": training}
    world = write_world(folder, {"id": WORKSPACE, "webServices": [published]})
    options = (f"--blob-url={storage}", "--blob", "--job-seconds=0", f"--world={world}")
    with run_service(*options) as running:
        headers = {"Authorization": f"Bearer {running.token}"}
        path = f"/workspaces/{WORKSPACE}/webservices/{service}/endpoints/default"
        shown = requests.get(running.url + path, headers=headers, timeout=120).json()
        url = running.url + urlsplit(shown["ApiLocation"]).path
        yield Batch(url, shown["PrimaryKey"], storage, service)


def test_a_service_that_reads_its_own_data_needs_its_address(storage: str, tmp_path: Path) -> None:
    training = {"label": "income", "outputs": {"output2": "model"}, "parameters": ["URI"]}
    with run_world(storage, tmp_path, "Many", training) as batch:
        upload_model(batch.uri("data.csv"), people(), {})
        body = {"Outputs": {"output2": batch.at("m.ilearner")}}
        answer = batch.call("POST", body=body)
        assert code_of(answer) == (400, "BadArgument", "MissingRequiredGlobalParameters")
        address = f"{batch.uri('data.csv')}?{sign(batch.uri('data.csv'))}"
        job = batch.call("POST", body={**body, "GlobalParameters": {"URI": address}}).json()
        batch.start(job)
        assert batch.wait(job)["StatusCode"] == "Finished"


def test_missing_data_fails_the_job(batch: Batch) -> None:
    said = batch.run(Inputs={"input1": batch.at("missing.csv")})
    assert said["StatusCode"] == "Failed"
    assert "Unable to access the provided Azure blob" in said["Details"]


@pytest.mark.parametrize(
    ("fault", "state", "evaluation"),
    [
        ("fail-job", "Failed", None),
        ("empty-evaluation", "Finished", 1),
        ("nan-evaluation", "Finished", 2),
        ("two-row-evaluation", "Finished", 3),
    ],
)
def test_faults_change_what_a_job_makes(
    storage: str, tmp_path: Path, fault: str, state: str, evaluation: int | None
) -> None:
    faults = tmp_path / "faults.yaml"
    faults.write_text(json.dumps([on(fault, "POST", "start", times=1)]))
    options = (f"--blob-url={storage}", "--blob", "--job-seconds=0", f"--faults={faults}")
    with run_service(*options) as running:
        running.blob = storage
        batch = make_batch(running)
        assert batch.run()["StatusCode"] == state
        if evaluation is not None:
            lines = batch.read("e.csv").decode().splitlines()
            assert len(lines) == evaluation
            assert ("NaN" in lines[-1]) is (fault == "nan-evaluation")
        assert batch.run()["StatusCode"] == "Finished"


def test_a_stuck_job_runs_until_it_is_cancelled(storage: str, tmp_path: Path) -> None:
    faults = tmp_path / "faults.yaml"
    faults.write_text(json.dumps([on("stuck-job", "POST", "start")]))
    options = (f"--blob-url={storage}", "--blob", "--job-seconds=0", f"--faults={faults}")
    with run_service(*options) as running:
        running.blob = storage
        batch = make_batch(running)
        job = batch.submit()
        batch.start(job)
        batch.wait(job, lambda said: said["StatusCode"] == "Running")
        batch.call("DELETE", f"/{job}")
        assert batch.show(job)["StatusCode"] == "Cancelled"


def test_the_status_may_be_a_number(storage: str) -> None:
    options = (f"--blob-url={storage}", "--blob", "--job-seconds=0")
    with run_service(*options, "--switch=job-status=number") as running:
        running.blob = storage
        batch = make_batch(running)
        job = batch.submit()
        assert batch.show(job)["StatusCode"] == 0
        batch.start(job)
        assert batch.wait(job, lambda said: said["StatusCode"] not in {0, 1})["StatusCode"] == 4


def test_a_started_job_goes_on_after_the_emulator_is_started_again(
    storage: str, tmp_path: Path
) -> None:
    options = (f"--blob-url={storage}", "--blob", f"--data={tmp_path / 'state'}")
    with run_service(*options, "--job-seconds=3600") as running:
        running.blob = storage
        batch = make_batch(running)
        job, waiting = batch.submit(), batch.submit()
        batch.start(job)
        batch.wait(job, lambda said: said["StatusCode"] == "Running")
    with run_service(*options, "--job-seconds=0") as running:
        moved = Batch(running.url + urlsplit(batch.url).path, batch.key, storage, batch.folder)
        assert moved.show(waiting)["StatusCode"] == "NotStarted"
        assert moved.show(job)["StatusCode"] in {"NotStarted", "Running"}


def test_a_classic_training_service_trains_as_its_world_says(storage: str, tmp_path: Path) -> None:
    training = {
        "label": "income",
        "data": "input1",
        "rows": "input2",
        "outputs": {"output1": "evaluation", "output2": "model", "output3": "scored"},
        "parameters": ["Penalty"],
    }
    with run_world(storage, tmp_path, "Census", training) as batch:
        upload_model(batch.uri("data.csv"), people(), {})
        upload_model(batch.uri("golden.csv"), people(40, seed=9), {})
        said = batch.run(
            Inputs={"input1": batch.at("data.csv"), "input2": batch.at("golden.csv")},
            Outputs={**batch.request()["Outputs"], "output3": batch.at("rows.tsv")},
            GlobalParameters={"Penalty": 10},
        )
        assert said["StatusCode"] == "Finished"
        rows = list(csv.reader(io.StringIO(batch.read("rows.tsv").decode()), delimiter="\t"))
    golden = list(csv.reader(io.StringIO(people(40, seed=9).decode())))
    assert [row[:3] for row in rows] == golden
    assert rows[0][3:] == ["Scored Labels", "Scored Probabilities"]


def test_a_service_that_trains_nothing_has_no_jobs(shared_training: Service) -> None:
    name = f"p{uuid.uuid4().hex}"
    shared_training.put(name)
    shown = shared_training.properties(name)
    keys = shared_training.call("GET", shared_training.path(name, "/listKeys")).json()
    path = urlsplit(shown["swaggerLocation"]).path.removesuffix("/swagger.json")
    batch = Batch(f"{shared_training.url}{path}", keys["primary"], "", name)
    assert batch.call("POST", body=batch.request()).status_code == 404


def score(url: str, key: str, rows: list[list[str]]) -> list[list[str]]:
    """The added columns of each row."""
    table = {"ColumnNames": ["age", "workclass"], "Values": rows}
    answer = requests.post(
        f"{url}/execute",
        params=API,
        json={"Inputs": {"input1": table}},
        headers={"Authorization": f"Bearer {key}"},
        timeout=120,
    )
    assert answer.status_code == 200, answer.text
    return [row[2:] for row in answer.json()["Results"]["output1"]["value"]["Values"]]


ROWS = [["65", "Private"], ["20", "Private"]]


def serve(service: Service, model: str) -> tuple[str, str, str]:
    """A New service that serves a model: its name, its address and its key."""
    name = f"s{uuid.uuid4().hex}"
    body = definition(model)
    del body["properties"]["input"]
    assert service.finish(service.call("PUT", service.path(name), body))["status"] == "Succeeded"
    shown = service.properties(name)
    keys = service.call("GET", service.path(name, "/listKeys")).json()
    path = urlsplit(shown["swaggerLocation"]).path.removesuffix("/swagger.json")
    return name, f"{service.url}{path}", keys["primary"]


def test_a_service_answers_with_the_model_behind_its_reference(
    shared_training: Service, batch: Batch
) -> None:
    batch.run()
    _, url, key = serve(shared_training, batch.uri("m.ilearner"))
    (old, young) = score(url, key, ROWS)
    assert (old[0], young[0]) == (">50K", "<=50K")
    assert float(old[1]) > 0.5 > float(young[1])


def test_a_stale_model_answers_for_a_while_after_an_update(storage: str, tmp_path: Path) -> None:
    faults = tmp_path / "faults.yaml"
    faults.write_text(json.dumps([on("stale-model", "PATCH", seconds=600)]))
    options = (f"--blob-url={storage}", "--blob", "--job-seconds=0", f"--faults={faults}")
    with run_service(*options) as running:
        running.blob = storage
        batch = make_batch(running)
        batch.run()
        other = batch.uri("other.ilearner")
        upload_model(other, b"another model", {})
        name, url, key = serve(running, other)
        before = score(url, key, ROWS)
        assets = running.properties(name)["assets"]
        assets["asset3"]["locationInfo"]["uri"] = batch.uri("m.ilearner")
        running.patch(name, assets=assets)
        assert running.properties(name)["assets"] == assets
        assert score(url, key, ROWS) == before
        pass_time(running.url, 600)
        assert score(url, key, ROWS) != before

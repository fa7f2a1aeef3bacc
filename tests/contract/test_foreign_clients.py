"""Published clients against the emulator: whole lives of services and plans, and scoring."""

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.contract.classic import Json, execute, resource, run_classic
from tests.contract.foreign import run_node, run_python
from tests.contract.test_jobs import make_batch
from tests.contract.world import MODEL as NEW_MODEL
from tests.contract.world import Service, run_service
from tests.e2e.world import SUBSCRIPTION, definition

pytestmark = pytest.mark.contract
# What the scripts ask, by column.
ROWS: Json = {"season": [1, 2], "hour": [8, 9], "holiday": [True, False], "note": ["x", "y"]}
COLUMNS = [*ROWS, "Scored Labels", "Scored Probabilities"]


@pytest.fixture(scope="module")
def paged() -> Iterator[Service]:
    """An emulator whose lists have several pages."""
    with run_service("--switch=list-page-size=2", "--operation-seconds=0.05") as running:
        yield running


def test_the_vendors_client_of_web_services_lives_a_whole_life(
    paged: Service, tmp_path: Path
) -> None:
    file = tmp_path / "definition.json"
    file.write_text(json.dumps(definition(NEW_MODEL)))
    run_node("web_services.js", paged.url, SUBSCRIPTION, "life", str(file), token=paged.token)


def test_the_vendors_client_of_commitment_plans_lives_a_whole_life(paged: Service) -> None:
    service = Service(paged.url, "plans")
    service.put_plan("plan-a")
    service.put(commitmentPlan={"id": service.plan("plan-a")})
    run_node("commitment_plans.js", paged.url, SUBSCRIPTION, "plans", "census", token=paged.token)


@dataclass(frozen=True)
class Endpoint:
    """Where an endpoint is scored, the key that opens it, and what it answers to each row."""

    url: str
    key: str
    labels: list[str]
    probabilities: list[float]


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """One that was given a model; its answers come from a call without any client."""
    with run_classic() as classic:
        classic.put("one")
        classic.patch("one", Resources=[resource()])
        shown = classic.get("one")
        where, key = shown["ApiLocation"], shown["PrimaryKey"]
        rows = [list(row) for row in zip(*ROWS.values(), strict=True)]
        body = {"Inputs": {"input1": {"ColumnNames": [*ROWS], "Values": rows}}}
        answer = execute(classic.url, where, key, body)
        values = answer.json()["Results"]["output1"]["value"]["Values"]
        *_, labels, probabilities = map(list, zip(*values, strict=True))
        url = classic.url + urlsplit(where).path
        yield Endpoint(url, key, labels, [float(one) for one in probabilities])


def test_azureml_scores_an_endpoint(endpoint: Endpoint) -> None:
    answers = json.loads(run_python("score_by_azureml.py", endpoint.url, endpoint.key))
    short, named, (mapped,) = answers
    one, two = zip(endpoint.labels, endpoint.probabilities, strict=True)
    assert short == [1, 8, True, "x", *one]
    assert mapped == [2, 9, False, "y", *two]
    assert named == dict(zip(COLUMNS, short, strict=True))


def test_azmlclient_scores_an_endpoint_in_both_formats(endpoint: Endpoint) -> None:
    table, objects = json.loads(run_python("by_azmlclient.py", "score", endpoint.url, endpoint.key))
    cells = [*ROWS.values(), [int(one) for one in endpoint.labels], endpoint.probabilities]
    expected = [dict(zip(COLUMNS, row, strict=True)) for row in zip(*cells, strict=True)]
    assert table == objects == expected


def test_azmlclient_runs_a_job_and_reads_its_evaluation(storage: str) -> None:
    with run_service(f"--blob-url={storage}", "--blob", "--job-seconds=0") as running:
        running.blob = storage
        batch = make_batch(running)
        people = batch.read("data.csv").decode()
        said = run_python("by_azmlclient.py", "run-job", batch.url, batch.key, storage, people)
        *progress, printed = said.splitlines()
        evaluated = json.loads(printed)
        job = next(line for line in progress if line.startswith("Starting job ")).split()[-1]
        # The client deletes each job at its end; an ended job stays as it is.
        assert batch.show(job)["StatusCode"] == "Finished"
        # A job by calls without any client, on the bytes that it uploaded, evaluates the same.
        (written,) = re.findall(r'"RelativeLocation": "(jobs/azmlclient/\S+)-output-output1', said)
        data = {**batch.at(""), "RelativeLocation": f"{written}-input-input1.csv"}
        batch.run(Inputs={"input1": data}, Outputs={"output1": batch.at("e.csv")})
        header, row = csv.reader(io.StringIO(batch.read("e.csv").decode()))
    assert evaluated == [dict(zip(header, map(pytest.approx, map(float, row)), strict=True))]

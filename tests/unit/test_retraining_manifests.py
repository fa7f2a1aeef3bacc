"""Retrainings are read with the manifests, and each mistake is reported with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.kinds import find_kinds
from reconciler.manifests.loading import Loaded, load
from reconciler.model import Address, SecretReference
from reconciler.model.training import GateRule, StorageAccess, TrainingBlob

PROJECT = """\
apiVersion: reconciler/v1
kind: Project
metadata: {name: census}
spec: {cloud: emulator, defaults: {subscription: s, resourceGroup: g}}
"""
SERVICE = """\
apiVersion: reconciler/v1
kind: WebService
metadata: {name: census}
spec:
  trainedModels:
    Census Model: {uri: "https://a.blob.core.windows.net/models/1.ilearner"}
---
apiVersion: reconciler/v1
kind: WebService
metadata: {name: census-training}
spec: {}
"""
RETRAINING = """\
apiVersion: reconciler/v1
kind: Retraining
metadata: {name: census, labels: {team: growth}}
spec:
  service: {address: WebService/census-training}
  storage: {connectionString: {env: STORAGE}}
  inputs:
    input1: {uri: "https://a.blob.core.windows.net/data/${run}.csv", file: census.csv}
  outputs:
    model: {port: output2, uri: "https://a.blob.core.windows.net/m/${run}.ilearner"}
    evaluation: {port: output1, uri: "https://a.blob.core.windows.net/m/${run}.csv"}
  parameters: {Number of trees: 100}
  schedule: "0 3 * * 1"
  timeout: 90m
  gate:
    - {metric: AUC, min: 0.85}
    - {metric: Accuracy, maxRegression: 0.01, firstModel: accept, row: 1}
    - {metric: Accuracy, margin: 0.02, onInconclusive: pass}
  compare:
    rows: golden.csv
    label: income
    scoredOutput: {port: output3, uri: "https://a.blob.core.windows.net/m/${run}-rows.csv"}
  promote: [{resource: WebService/census, trainedModel: Census Model}]
"""
FLEET = """\
apiVersion: reconciler/v1
kind: Fleet
metadata: {name: bikes}
spec:
  items: {list: [{code: '001'}]}
  template:
    kind: WebService
    metadata: {name: 'bike${code}'}
    spec: {}
"""


def _load(folder: Path, retraining: str = RETRAINING) -> Loaded:
    (folder / "manifests").mkdir(exist_ok=True)
    (folder / "reconciler.yaml").write_text(PROJECT)
    (folder / "manifests/service.yaml").write_text(SERVICE)
    (folder / "manifests/retraining.yaml").write_text(retraining)
    return load(folder, None, (), find_kinds())


def test_a_retraining_is_not_a_resource(tmp_path: Path) -> None:
    loaded = _load(tmp_path)
    assert not loaded.findings
    services = ["WebService/census", "WebService/census-training"]
    assert [str(one.address) for one in loaded.manifests] == services
    (made,) = loaded.retrainings
    assert made.address == Address("Retraining", "census")
    assert made.service == Address("WebService", "census-training")
    assert made.timeout_s == 5400
    assert made.labels == {"team": "growth"}
    assert made.gate == (
        GateRule("AUC", min=0.85),
        GateRule("Accuracy", max_regression=0.01, accepts_first=True, row=1),
        GateRule("Accuracy", margin=0.02, accepts_inconclusive=True),
    )


def test_names_of_files_are_those_from_the_folder_of_the_project(tmp_path: Path) -> None:
    (made,) = _load(tmp_path).retrainings
    access = StorageAccess(connection_string=SecretReference(env="STORAGE"))
    uri = "https://a.blob.core.windows.net/data/${run}.csv"
    assert made.inputs == (TrainingBlob("input1", uri, "manifests/census.csv", access),)
    assert made.comparison is not None
    assert made.comparison.rows == "manifests/golden.csv"


MODEL = '{port: output2, uri: "https://a.blob.core.windows.net/m/${run}.ilearner"}'


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("${run}.ilearner", "${run}.pkl", 10, "the address of this output has another ending"),
        ("${run}.ilearner", "1.ilearner", 10, "the address does not contain ${run}"),
        ("m/${run}.csv", "m/${run}${rum}.csv", 11, "unknown variable ${rum}"),
        ("port: output1", "port: output2", 10, "two outputs have this port"),
        ("${run}-rows.csv", "${run}.csv", 11, "two outputs have this address"),
        ("data/${run}.csv", "data/${run}.xls", 8, "the address of this input has another ending"),
        (", file: census.csv", "", 8, "the address of data that exists cannot contain ${run}"),
        ("file: census.csv", 'file: "c\\0.csv"', 8, "the name of the file holds the character NUL"),
        ("https://a.blob.core.windows.net/data", "http://a.blob.core.windows.net/data", 8, "uri is not https"),
        ("a.blob.core.windows.net/data", "a..blob.core.windows.net/data", 8, "uri is not an address"),
        ("a.blob.core.windows.net/m/${run}.i", "a.blob.core.windows.net:99999/m/${run}.i", 10, "uri is not an address"),
        ("https://a.blob.core.windows.net/m/${run}.i", "https://[::1/m/${run}.i", 10, "uri is not an address"),
        ("https://a.blob.core.windows.net/m/${run}.i", "https://${run}.blob.core.windows.net/m/${run}.i", 10, "uri has a variable in its host"),
        ("/m/${run}.csv", "/m/../${run}.csv", 11, "uri contains the segment . or .."),
        ("https://a.blob.core.windows.net/m/${run}.csv", "http://127.0.0.1:1/m/${run}.csv", 11, "uri is not that of a blob"),
        ("a.blob.core.windows.net/m/${run}-rows", "a b.blob.core.windows.net/m/${run}-rows", 22, "uri is not an address"),
        *(
            ("{address: WebService/census-training}", f"{{url: '{url}', apiKey: {{env: K}}}}", 5, message)
            for url, message in (
                ("https://s.example:99999/w", "url is not an address"),
                ("https://[::1/w", "url is not an address"),
                ("https://a..b/w", "url is not an address"),
                ("https://s.example/a/../w", "url contains the segment . or .."),
                ("http://127.0.0.999/w", "url is not https"),
            )
        ),
        ("file: census.csv", "file: ../../c.csv", 8, "the file is outside the project's folder"),
        ("rows: golden.csv", "rows: /golden.csv", 20, "the file is outside the project's folder"),
        ("0 3 * * 1", "0 3 * * 9", 13, "the day-of-week of the schedule is not one"),
        ("0 3 * * 1", "61 3 * * 1", 13, "the minute of the schedule is not one"),
        ("0 3 * * 1", "0 3 * *", 13, "schedule does not match the required pattern"),
        ("0 3 * * 1", "@daily", 13, "schedule does not match the required pattern"),
        ("census-training}", "census-trainin}", 5, "no manifest declares WebService/census-trainin"),
        ("{address: WebService/census-training}", "{url: 'http://a.example/w', apiKey: {env: K}}",
         5, "url does not match the required pattern"),
        ("{address: WebService/census-training}", "{url: 'https://a.example/w'}", 5, "url needs"),
        ("metric: AUC, min", "metric: Mine, maxRegression", 16, "it is not known whether a higher"),
        ("metric: Accuracy, margin", "metric: Recall, margin", 18, '"Recall" is not a metric of'),
        ("min: 0.85", "min: 0.85, onInconclusive: pass", 16, "onInconclusive needs a margin"),
        ("min: 0.85", "min: 0.85, firstModel: accept", 16, "firstModel needs maxRegression or margin"),
        ("min: 0.85", "min: 0.85, max: 1", 16, "needs exactly one of min, max, maxRegression or margin"),
        ("WebService/census,", "WebService/cansus,", 23, "no manifest declares WebService/cansus"),
        ("WebService/census,", "Retraining/census,", 23, "Retraining/census is not a service"),
        ("WebService/census,", "Project/census,", 23, "Project/census is not a service"),
        ("WebService/census-training}", "Retraining/census}", 5,
         "Retraining/census is not a service"),
        ("Census Model}", "Census Modell}", 23, "WebService/census does not declare a trained model"),
    ],
)  # fmt: skip
def test_a_mistake_is_reported_with_its_place(
    tmp_path: Path, old: str, new: str, line: int, message: str
) -> None:
    assert old in RETRAINING
    loaded = _load(tmp_path, RETRAINING.replace(old, new, 1))
    first = loaded.findings[0]
    assert first.message.startswith(message)
    assert first.place is not None
    assert (first.place.file, first.place.line) == ("manifests/retraining.yaml", line)
    assert first.subject == "Retraining/census"


@pytest.mark.parametrize("name", ["WebService/census-training}", "WebService/census,"])
def test_a_fleet_is_not_a_service(tmp_path: Path, name: str) -> None:
    text = RETRAINING.replace(name, f"Fleet/bikes{name[-1]}")
    loaded = _load(tmp_path, f"{FLEET}---\n{text}")
    assert [one.message for one in loaded.findings] == ["Fleet/bikes is not a service"]
    assert loaded.findings[0].place is not None


def test_values_are_brought_to_the_form_that_is_sent(tmp_path: Path) -> None:
    text = RETRAINING.replace("row: 1}", "row: 1.0}").replace(
        "https://a.blob.core.windows.net/m/${run}.ilearner",
        "https://A.Blob.core.windows.net:443/m/a b%2D${run}-%24{run}.ilearner",
    )
    url = "{url: 'https://S.example:443/w', apiKey: {env: K}}"
    text = text.replace("{address: WebService/census-training}", url)
    loaded = _load(tmp_path, text)
    assert not loaded.findings
    (made,) = loaded.retrainings
    assert (made.gate[1].row, type(made.gate[1].row)) == (1, int)
    uri = "https://a.blob.core.windows.net/m/a%20b-${run}-${run}.ilearner"
    assert made.model.uri == uri
    assert made.url == "https://s.example/w"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("../../rows.csv", "the file of the rows is outside the project's folder"),
        ("/rows.csv", "the file of the rows is outside the project's folder"),
        ("out.csv", "the file of the rows is outside the project's folder"),
        ('"a\\0.csv"', "the name of the file of the rows holds the character NUL"),
    ],
)
def test_rows_to_verify_that_are_no_file_of_the_project_are_refused(
    tmp_path: Path, rows: str, message: str
) -> None:
    project, outside = tmp_path / "project", tmp_path / "rows.csv"
    (project / "manifests").mkdir(parents=True)
    outside.write_text("a\n1\n")
    (project / "manifests/out.csv").symlink_to(outside)
    (project / "reconciler.yaml").write_text(PROJECT)
    spec = f"spec: {{verify: {{rows: {rows}}}}}"
    own = f"apiVersion: reconciler/v1\nkind: WebService\nmetadata: {{name: census}}\n{spec}\n"
    fleet = (
        "apiVersion: reconciler/v1\nkind: Fleet\nmetadata: {name: f}\nspec:\n"
        "  items: {list: [{code: a}, {code: b}]}\n  template:\n    kind: WebService\n"
        f"    metadata: {{name: 'f-${{code}}'}}\n    {spec}\n"
    )
    for text, line, said in ((own, 4, message), (fleet, 9, f"2 members: {message}")):
        (project / "manifests/one.yaml").write_text(text)
        (found,) = load(project, None, (), find_kinds()).findings
        assert found.message.startswith(said)
        assert found.place is not None
        assert found.place.line == line


def test_a_margin_needs_rows(tmp_path: Path) -> None:
    start, end = RETRAINING.index("  compare:"), RETRAINING.index("  promote:")
    (found,) = _load(tmp_path, RETRAINING[:start] + RETRAINING[end:]).findings
    assert found.message == "a margin needs rows to compare on"


def test_a_name_that_is_nearly_right_is_suggested(tmp_path: Path) -> None:
    (found,) = _load(tmp_path, RETRAINING.replace("Census Model}", "Census Modell}")).findings
    assert found.next_step.startswith('Did you mean "Census Model"?')


def test_a_project_may_have_only_retrainings(tmp_path: Path) -> None:
    start = RETRAINING.index("  promote:")
    _load(tmp_path)
    (tmp_path / "manifests/service.yaml").unlink()
    service = '{url: "https://a.example/w", apiKey: {env: KEY}}'
    text = RETRAINING[:start].replace("{address: WebService/census-training}", service)
    (tmp_path / "manifests/retraining.yaml").write_text(text)
    loaded = load(tmp_path, None, (), find_kinds())
    assert not loaded.findings
    assert len(loaded.retrainings) == 1


def test_a_fleet_makes_retrainings(tmp_path: Path) -> None:
    lines = RETRAINING.replace("${run}", "$${run}").splitlines()
    body = "\n".join(f"    {line}" for line in lines[3:-1])
    fleet = (
        "apiVersion: reconciler/v1\nkind: Fleet\nmetadata: {name: bikes}\nspec:\n"
        "  items: {list: [{code: '001'}, {code: '002'}]}\n  template:\n    kind: Retraining\n"
        "    metadata: {name: 'bikes${code}'}\n" + body.replace("m/$${run}", "m/${code}/$${run}")
    )
    loaded = _load(tmp_path, fleet)
    assert not loaded.findings
    assert [one.address.name for one in loaded.retrainings] == ["bikes001", "bikes002"]
    assert loaded.retrainings[1].model.uri.endswith("/m/002/${run}.ilearner")


def test_a_mistake_of_a_fleet_of_retrainings_is_reported_once(tmp_path: Path) -> None:
    lines = RETRAINING.replace("${run}", "$${run}").replace("0 3 * * 1", "0 3 * * 9").splitlines()
    fleet = (
        "apiVersion: reconciler/v1\nkind: Fleet\nmetadata: {name: bikes}\nspec:\n"
        "  items: {list: [{code: '001'}, {code: '002'}]}\n  template:\n    kind: Retraining\n"
        "    metadata: {name: 'bikes${code}'}\n" + "\n".join(f"    {line}" for line in lines[3:-1])
    )
    loaded = _load(tmp_path, fleet)
    (found,) = loaded.findings
    assert found.message.startswith("2 members: the day-of-week of the schedule is not one")
    assert loaded.retrainings == ()
    assert len(loaded.manifests) == 2


@pytest.mark.parametrize(
    "url",
    [
        "https://ussouthcentral.services.azureml.net/workspaces/w/services/s",
        "https://a.example:8443/w",
        "http://localhost:9000/w",
        "http://127.0.0.1/w",
        "http://[::1]:1/w",
    ],
)
def test_a_key_goes_to_encrypted_addresses_and_to_this_machine(tmp_path: Path, url: str) -> None:
    service = f"{{url: '{url}', apiKey: {{env: KEY}}}}"
    text = RETRAINING.replace("{address: WebService/census-training}", service)
    (made,) = _load(tmp_path, text).retrainings
    assert made.url == url


def test_a_service_of_a_fleet_that_is_not_declared_is_reported_once(tmp_path: Path) -> None:
    lines = RETRAINING.replace("${run}", "$${run}").replace("-training", "-trainin").splitlines()
    body = "\n".join(f"    {line}" for line in lines[3:-1])
    fleet = (
        "apiVersion: reconciler/v1\nkind: Fleet\nmetadata: {name: bikes}\nspec:\n"
        "  items: {list: [{code: '001'}, {code: '002'}]}\n  template:\n    kind: Retraining\n"
        "    metadata: {name: 'bikes${code}'}\n" + body.replace("m/$${run}", "m/${code}/$${run}")
    )
    (found,) = _load(tmp_path, fleet).findings
    assert found.message == "2 members: no manifest declares WebService/census-trainin"
    assert found.next_step == 'Did you mean "WebService/census-training"?'


ENDPOINT = """\
---
apiVersion: reconciler/v1
kind: OnlineEndpoint
metadata: {name: online}
spec:
  resource: {workspace: w}
  traffic: {blue: 100}
  deployments:
    blue: {model: "azureml:census:1", environment: "azureml:sklearn:3"}
"""


def _load_endpoint(folder: Path, promotion: str, old: str = "", new: str = "") -> Loaded:
    _load(folder)
    endpoint = ENDPOINT.replace(old, new) if old else ENDPOINT
    (folder / "manifests/service.yaml").write_text(SERVICE + endpoint)
    named = "{resource: WebService/census, trainedModel: Census Model}"
    (folder / "manifests/retraining.yaml").write_text(RETRAINING.replace(named, promotion))
    return load(folder, None, (), find_kinds())


@pytest.mark.parametrize(
    ("promotion", "deployments"),
    [
        ("{resource: OnlineEndpoint/online}", ()),
        ("{resource: OnlineEndpoint/online, deployments: [blue, red]}", ("blue", "red")),
    ],
)
def test_an_online_endpoint_needs_no_name_of_a_model(
    tmp_path: Path, promotion: str, deployments: tuple[str, ...]
) -> None:
    loaded = _load_endpoint(tmp_path, promotion)
    assert not loaded.findings
    (found,) = loaded.retrainings[0].promote
    assert (found.resource, found.trained_model) == (Address("OnlineEndpoint", "online"), "")
    assert found.deployments == deployments


@pytest.mark.parametrize(
    ("promotion", "change", "place", "said", "step"),
    [
        (
            "{resource: OnlineEndpoint/online, trainedModel: blue}",
            ("", ""),
            "retraining.yaml:23:13",
            "has no trainedModel",
            "deployments: [blue, green]",
        ),
        (
            "{resource: OnlineEndpoint/online, deployments: [main, next]}",
            ("", ""),
            "service.yaml:18:3",
            'gives its traffic to "blue", which is neither of main and next',
            "deployments: [blue, NAME]",
        ),
        (
            "{resource: OnlineEndpoint/online}",
            ("azureml:census:1", "azureml://registries/r/models/census/versions/1"),
            "service.yaml:20:12",
            "online serves azureml://registries/r/models/census/versions/1, which is not a version in",
            "azureml:NAME:VERSION",
        ),
        (
            "{resource: WebService/census, deployments: [blue, green]}",
            ("", ""),
            "retraining.yaml:23:13",
            "WebService/census has no deployments that alternate",
            "name a trainedModel",
        ),
        (
            "{resource: WebService/census}",
            ("", ""),
            "retraining.yaml:23:13",
            "promote does not name the trained model of WebService/census",
            'It declares "Census Model".',
        ),
    ],
)
def test_a_promotion_that_cannot_be_made_is_reported_before_any_job(
    tmp_path: Path, promotion: str, change: tuple[str, str], place: str, said: str, step: str
) -> None:
    (found,) = _load_endpoint(tmp_path, promotion, *change).findings
    assert said in found.message
    assert step in found.next_step
    assert str(found.place).endswith(place)
    assert found.subject == "Retraining/census"

"""A new model is compared with the one that a deployment of an online endpoint serves."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.test_census_retraining import FIRST, Story
from tests.e2e.world import SUBSCRIPTION, run_emulator

pytestmark = pytest.mark.e2e
ONLINE = """\
apiVersion: reconciler/v1
kind: OnlineEndpoint
metadata: {name: income}
spec:
  resource: {workspace: ml}
  traffic: {blue: 100}
  deployments:
    blue:
      model: azureml:income:1
      environment: azureml:sklearn:3
      code_configuration: {code: azureml:score:1, scoring_script: score.py}
      instance_type: Standard_F4s_v2
  rollout: {steps: [100], probe: {request: sample.json, count: 3}}
"""


@pytest.fixture
def story(tmp_path: Path) -> Iterator[Story]:
    """The example of a retraining, whose result goes to an online endpoint."""
    with run_emulator("--operation-seconds=0", "--job-seconds=0") as emulator:
        made = Story(tmp_path / "p", emulator)
        file = made.folder / "manifests/census-retraining.yaml"
        head, _, _ = file.read_text().partition("  promote:")
        file.write_text(f"{head}  promote: [{{resource: OnlineEndpoint/income}}]\n")
        (made.folder / "manifests/income.yaml").write_text(ONLINE)
        (made.folder / "manifests/sample.json").write_text('{"data": [["a", "b"]]}')
        root = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/census/providers"
        path = f"{root}/Microsoft.MachineLearningServices/workspaces/ml/models/income/versions/1"
        body = {"properties": {"modelUri": made.uri(FIRST), "modelType": "custom_model"}}
        status, answer, _ = emulator.send(
            "PUT", f"{emulator.url}{path}?api-version=2024-04-01", body
        )
        assert status == 201, answer
        made.apply()
        yield made


# `wire/test_online_rows.py` holds in every run what is sent and how answers are read.
@pytest.mark.slow
def test_the_margin_is_that_over_the_model_which_the_deployment_serves(story: Story) -> None:
    result = story.retrain()
    assert result["outcome"] == "proposed"
    assert result["versions"] == [{"resource": "OnlineEndpoint/income", "id": "azureml:income:2"}]
    (margin,) = (one for one in result["gates"] if one["rule"] == "AUC margin 0.02")
    assert margin["verdict"] == "pass"
    assert margin["numbers"]["rows"] == 120.0
    assert (
        "probe: {request: sample.json, count: 3}"
        in (story.folder / "manifests/income.yaml").read_text()
    )
    # The first model is not one of rows: its answers are random.
    assert 0.3 < margin["numbers"]["live"] < 0.7 < margin["numbers"]["candidate"]

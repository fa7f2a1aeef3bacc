"""The router of the emulator: which deployment answers a call without a name."""

from collections import Counter
from urllib.parse import urlsplit

import pytest
import requests

from tests.contract.azureml import read, run_ml

pytestmark = pytest.mark.contract


def test_the_shares_of_the_traffic_decide_who_answers() -> None:
    with run_ml() as ml:
        ml.put()
        for name in ("blue", "green"):
            ml.deploy(name)
        shown = ml.route(blue=90, green=10)
        keys = read(ml.call("POST", ml.path(tail="/listKeys")))
        address = ml.url + urlsplit(shown["properties"]["scoringUri"]).path
        counted: Counter[str] = Counter()
        for _ in range(60):
            headers = {"Authorization": f"Bearer {keys['primaryKey']}"}
            answer = requests.post(address, json={"data": [[1]]}, headers=headers, timeout=30)
            assert answer.status_code == 200, answer.text
            counted[answer.headers["azureml-model-deployment"]] += 1
    assert {*counted} == {"blue", "green"}
    assert counted["blue"] > counted["green"]

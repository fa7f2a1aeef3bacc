"""Regions: what the host of a service's own address says against the declared one."""

from typing import Any

import pytest

from reconciler.kinds.base import name_region
from reconciler.kinds.web_service import KIND
from reconciler.model import ABSENT, Manifest
from tests.plans import live, step


@pytest.mark.parametrize(
    ("address", "region"),
    [
        ("https://ussouthcentral.services.azureml.net/workspaces/w/services/s", "South Central US"),
        ("https://EuropeWest.services.azureml.net/subscriptions/s/services/x/swagger.json",
         "West Europe"),
        ("https://japaneast.services.azureml.net", "Japan East"),
        ("https://useast2.services.azureml.net/x", ""),
        ("http://127.0.0.1:8470/workspaces/w/services/s", ""),
        ("https://evil.net/ussouthcentral.services.azureml.net", ""),
        ("ussouthcentral.services.azureml.net", ""),
        ("", ""),
        (None, ""),
        (ABSENT, ""),
        (["https://japaneast.services.azureml.net"], ""),
    ],
)  # fmt: skip
def test_the_host_of_a_scoring_address_names_its_region(address: Any, region: str) -> None:
    assert name_region(address)[1] == region


@pytest.mark.parametrize(
    ("before", "after", "reported"),
    [
        ("ussouthcentral", "West Europe", True),
        ("ussouthcentral", "southcentralus", False),
        ("europewest", "West Europe", False),
        ("somewhere", "West Europe", False),
    ],
)
def test_a_location_that_the_address_contradicts_is_a_warning(
    before: str, after: str, reported: bool
) -> None:
    address = f"https://{before}.services.azureml.net/subscriptions/s/services/x/swagger.json"
    shown = {**live(swaggerLocation=address), "location": "North Europe"}
    made = step(shown, {"definition": {"location": after}})
    manifest = Manifest(made.resource.address, {}, "", "")
    said = [one for one in KIND.check_step(manifest, made) if "declared location" in one.message]
    assert [one.severity for one in said] == ["warning"] * reported

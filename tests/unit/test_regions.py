"""Regions: what the host of a service's own address says against the declared one."""

from typing import Any

import pytest

from reconciler.kinds.base import name_region
from reconciler.kinds.endpoint import KIND as ENDPOINT
from reconciler.kinds.web_service import KIND
from reconciler.model import ABSENT, Address, Manifest, Resource
from reconciler.plans.step import Comparison, make_step
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


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("region", ["southcentralus", "westeurope", "germanycentral"])
def test_an_endpoint_elsewhere_is_seen_with_and_without_the_list(listed: bool, region: str) -> None:
    address = "https://ussouthcentral.services.azureml.net/workspaces/w/services/x"
    shown = {"Name": "e", "Description": "old", "ApiLocation": address}
    manifest = Manifest(Address("Endpoint", "e"), {"definition": {"Description": "new"}}, "", "")
    resource = Resource(manifest.address, f"/{region}/workspaces/w/webservices/s/endpoints/e")
    declared = ENDPOINT.bind(manifest, shown)
    made = make_step(Comparison(resource, ENDPOINT.field, shown, declared))
    assert made is not None
    found = list(ENDPOINT.check_scope([(manifest, made)], [shown] if listed else []))
    assert [one.guard for one in found] == ["region"] * (region != "southcentralus")

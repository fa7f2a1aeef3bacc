"""The hosts of Classic's management by region, and the form of an endpoint's id.

The kind and its provider use it. It sends no call.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from reconciler.document.comparers import COMPARERS
from reconciler.kinds.ids import IdForm

# Hosts by region (azuremlps, Util.cs).
_HOSTS: Final[Mapping[str, str]] = {
    "South Central US": "management.azureml.net",
    "West Europe": "europewest.management.azureml.net",
    "Southeast Asia": "asiasoutheast.management.azureml.net",
    "Japan East": "japaneast.management.azureml.net",
    "West Central US": "uswestcentral.management.azureml.net",
    "Germany Central": "germanycentral.management.azureml.de",
}
REGIONS: Final = {COMPARERS["location"](region): region for region in _HOSTS}
HOSTS: Final = {plain: _HOSTS[region] for plain, region in REGIONS.items()}
SERVED: Final = {host: plain for plain, host in HOSTS.items()}
ID_FORM: Final = IdForm(
    noun="an endpoint",
    scope="/{region}/workspaces/{workspace}/webservices/{webService}",
    below="/endpoints/",
    pattern=re.compile(
        r"(?:https?://(?P<host>[^/]+))?(?:/(?P<region>[a-z]+))?/workspaces/(?P<workspace>[\w.-]+)"
        r"/webservices/(?P<webService>[\w.-]+)/endpoints/(?P<name>[\w.-]+)/?",
        re.IGNORECASE | re.ASCII,
    ),
    example="https://management.azureml.net/workspaces/…/webservices/…/endpoints/NAME",
    advice=" Studio shows both ids in the address of the web service's page.",
    defaults={"region": "South Central US"},
)

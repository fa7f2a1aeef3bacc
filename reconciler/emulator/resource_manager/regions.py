"""The regions of the recorded provider listings: their names, hosts and certificates.

Classic and scoring use them too. This module has no state.
"""

from __future__ import annotations

import hashlib
from typing import Final

_SERVICES: Final = {
    "South Central US": "ussouthcentral",
    "West Central US": "uswestcentral",
    "West Europe": "europewest",
    "Southeast Asia": "asiasoutheast",
    "Japan East": "japaneast",
    "East US 2": "useast2",
}
LOCATIONS: Final = tuple(_SERVICES)
_DISPLAY: Final = {name.replace(" ", "").casefold(): name for name in _SERVICES}
# The first digits of the certificates that were recorded.
_PREFIXES: Final = {"South Central US": "AB5C39", "West Central US": "189FFC"}


def display_name(location: str) -> str:
    """Return South Central US for southcentralus; an unknown region keeps its spelling."""
    return _DISPLAY.get(short_name(location), location)


def short_name(location: str) -> str:
    """Return southcentralus for South Central US."""
    return "".join(location.split()).casefold()


def services_host(location: str) -> str:
    """Return the host that answers scoring calls."""
    return f"{_SERVICES.get(display_name(location), short_name(location))}.services.azureml.net"


def thumbprint(location: str) -> str:
    """Return the thumbprint of a region's certificate: 40 hexadecimal digits."""
    tail = hashlib.sha1(short_name(location).encode(), usedforsecurity=False).hexdigest().upper()
    prefix = _PREFIXES.get(display_name(location), "")
    return prefix + tail[len(prefix) :]


def sealed_for(thumbprint_given: str) -> str:
    """Return the region of a certificate's thumbprint; empty if it is not known."""
    known = {thumbprint(name): name for name in _SERVICES}
    return known.get(thumbprint_given.upper(), "")

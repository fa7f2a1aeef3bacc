"""The limits of Azure Machine Learning: Resource Manager's buckets, and one for deployments.

Recorded since 2025: 250 reads, 200 writes and 200 deletes, counted down in the headers, and 25 PUTs
of deployments that count apart.
"""

from __future__ import annotations

from typing import Final

from reconciler.emulator.limits import Limits
from reconciler.emulator.requests import Call
from reconciler.emulator.switches import Choices

_HEADER: Final = "x-ms-ratelimit-remaining-subscription-"
# By sort: the bucket, what is refilled a second (published), and the count of the whole tenant.
_BUCKETS: Final = {
    "reads": (250.0, 25.0, 3749),
    "writes": (200.0, 10.0, 2999),
    "deletes": (200.0, 10.0, 2999),
}
_RESOURCE_REQUESTS: Final = 25.0


def count_online(limits: Limits, call: Call, choices: Choices) -> dict[str, str]:
    """Count a call and return the headers with the calls left. Refuses with 429."""
    subscription = call.segments[1]
    if call.method == "PUT" and _names_deployment(call):
        rate = 1 / int(choices["online-deployment-refill"])
        left = limits.take("deployments", subscription, _RESOURCE_REQUESTS, rate)
        return {f"{_HEADER}resource-requests": str(left)}
    sort = {"GET": "reads", "HEAD": "reads", "DELETE": "deletes"}.get(call.method, "writes")
    most, rate, tenant = _BUCKETS[sort]
    left = limits.take(f"online-{sort}", subscription, most, rate)
    return {f"{_HEADER}{sort}": str(left), f"{_HEADER}global-{sort}": str(tenant)}


def _names_deployment(call: Call) -> bool:
    words = [segment.casefold() for segment in call.segments]
    return len(words) > 1 and words[-2] == "deployments"

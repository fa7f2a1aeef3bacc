"""Names and ids of Azure Machine Learning: what a path, a model or a size of machine says.

These functions only read their arguments.
"""

from __future__ import annotations

import math
import re
from typing import Any, Final

from reconciler.emulator.azureml.replies import refuse_request
from reconciler.emulator.replies import Refusal

Json = Any
# Documented: it begins with a letter, and has 3 to 32 letters, digits and single dashes.
_NAME: Final = re.compile(r"(?=.{3,32}\Z)[A-Za-z](?:-?[A-Za-z0-9])*")
_SCOPE: Final = re.compile(r"[A-Za-z0-9._()-]{1,90}")
_WORKSPACE_ASSET: Final = (
    r"/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft\.MachineLearningServices"
    r"/workspaces/[^/]+"
)
_REGISTRY_ASSET: Final = r"azureml://(?:registries/[^/]+|locations/[^/]+/workspaces/[^/]+)"
_SIZE: Final = re.compile(r"Standard_([A-Za-z]+)(\d{1,4})([A-Za-z0-9_]{0,40})", re.IGNORECASE)


def check_name(name: str, kind: str) -> str:
    """Return the name of an endpoint or a deployment; refuse one that breaks the rule of names."""
    if not _NAME.fullmatch(name):
        message = (
            f"The {kind} name '{name[:80]}' is invalid: it must begin with a letter, and have 3 to"
            " 32 letters, digits and single dashes."
        )
        raise refuse_request("InvalidName", message)
    return name


def check_scope(*names: str) -> None:
    """Refuse names of a subscription, group or workspace that no resource can have."""
    for name in names:
        if not _SCOPE.fullmatch(name):
            raise Refusal(400, "InvalidResourceName", "The provided resource name is invalid.")


def split_asset(asset: str, kind: str) -> tuple[str, str] | None:
    """Return name and version of a model or an environment; None if the id has another form.

    `kind` is the word in the id: `models`, `environments` or `codes`.
    """
    tail = rf"/{kind}/([^/?#]+)/versions/([^/?#]+)/?"
    for prefix in (_WORKSPACE_ASSET, _REGISTRY_ASSET):
        found = re.fullmatch(prefix + tail, asset, re.IGNORECASE)
        if found:
            return found[1], found[2]
    return None


def get_family(size: str) -> str:
    """Return the family whose quota a size of machine uses."""
    found = _SIZE.fullmatch(size)
    return f"{found[1]}{found[3]}".casefold() if found else size.casefold()


def count_cores(size: str) -> int:
    """Return the cores of a machine: the number in its size, except for the old D series.

    The sizes 1 to 5 of D and DS have 1, 2, 4, 8 and 16 cores, and 11 to 14 have 2 to 16
    (documented).
    """
    found = _SIZE.fullmatch(size)
    if not found:
        return 1
    number = int(found[2])
    if found[1].casefold() in {"d", "ds"} and found[3].casefold() in {"", "_v2"}:
        return int(2 ** (number - 10 if 11 <= number <= 14 else min(number, 5) - 1))
    return max(1, number)


def count_needed(size: str, instances: int) -> int:
    """Return the cores that a deployment needs.

    A fifth is reserved for upgrades, and whole instances count (documented, and recorded as 8 for
    one machine of 4 cores).
    """
    return math.ceil(instances * 1.2 - 1e-9) * count_cores(size)

"""Reads Classic's replies: one form for every endpoint, and nothing that is about another one.

A document of the engine holds the resources by name, and one address for each. It never holds a
signature. The provider calls this module. It sends no call.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from reconciler.document.normalize import normalize
from reconciler.document.schema import Field
from reconciler.errors import Unavailable
from reconciler.model import Json
from reconciler.secrets.signatures import strip_credentials
from reconciler.transport import clean

_FOREIGN: Final = "Nothing is concluded from it. Check what answers at spec.cloud's address."


def normalize_endpoint(field: Field, raw: Json, scope: str) -> Json:
    """Return an endpoint of a web service with its resources by name, each with one address.

    Raises Unavailable for what is not an endpoint of it, or names a resource twice or not.
    """
    shown = normalize(field, raw)
    if not isinstance(shown, dict) or not isinstance(shown.get("Name"), str):
        raise Unavailable("the service did not return an endpoint", next_step="Plan again.")
    name = clean(shown["Name"])
    if not _is_below(shown, scope):
        raise make_foreign(f"the service answers with an endpoint of another web service, {name}")
    models = shown.get("Resources")
    if models is None:
        return {name: said for name, said in shown.items() if name != "Resources"}
    below = field.at(("Resources", "*"))
    named = [normalize(below, one) for one in (models if isinstance(models, list) else [None])]
    if not all(isinstance(one, dict) and isinstance(one.get("Name"), str) for one in named):
        raise make_foreign(f"the service shows a resource without a name in the endpoint {name}")
    if len({one["Name"] for one in named}) < len(named):
        raise make_foreign(f"the service shows a resource twice in the endpoint {name}")
    return {**shown, "Resources": {one["Name"]: _locate(one) for one in named}}


def _is_below(shown: Mapping[str, Json], scope: str) -> bool:
    """Whether an endpoint is of a web service; both ids must agree, if it shows them."""
    _, workspace, _, service = scope.strip("/").split("/")[-4:]
    expected = {"WorkspaceId": workspace, "WebServiceId": service}
    return all(
        isinstance(said, str) and said.casefold() == expected[name].casefold()
        for name in expected
        if (said := shown.get(name)) is not None
    )


def make_foreign(message: str) -> Unavailable:
    """Return the error for an answer that is about another resource, or about none."""
    return Unavailable(message, status=200, next_step=_FOREIGN)


def _locate(shown: dict[str, Json]) -> dict[str, Json]:
    """Join base and relative location into one address, without a signature.

    The result has no `Location` if either part is missing.
    """
    kept = {name: said for name, said in shown.items() if name != "Location"}
    said = shown.get("Location")
    parts = {name.casefold(): one for name, one in said.items()} if isinstance(said, dict) else {}
    base, relative = (parts.get(name) for name in ("baselocation", "relativelocation"))
    if isinstance(base, str) and isinstance(relative, str) and base and relative:
        kept["Location"] = strip_credentials(f"{base.rstrip('/')}/{relative.lstrip('/')}")
    return kept

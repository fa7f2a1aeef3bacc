"""Binds a manifest to the document of an online endpoint.

Traffic is one value: a deployment that a declared traffic does not name gets none. All other values
that the manifest does not declare stay. The kind calls this module.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Mapping
from typing import Final

from reconciler.document.comparers import COMPARERS
from reconciler.document.pointers import find, format_pointer, set_at
from reconciler.document.schema import Field
from reconciler.kinds.online_endpoint.forms import DEPLOYMENT, ENDPOINT, bind_words
from reconciler.kinds.online_endpoint.shares import MIRROR, TRAFFIC
from reconciler.model import (
    ABSENT,
    Absent,
    Declared,
    Finding,
    Json,
    Manifest,
    ModelReference,
    Path,
    SecretReference,
)
from reconciler.secrets.suspicion import is_suspicious
from reconciler.text.durations import parse_duration
from reconciler.text.json_text import encode_canonical

VARIABLES: Final[Path] = ("properties", "environmentVariables")
STATE: Final[Path] = ("properties", "provisioningState")
_FAILED: Final = ("Failed", "Canceled")
# Where the document of a deployment names the variables whose values it does not hold.
HIDDEN: Final = "secretVariables"
# What a new endpoint has where the manifest does not say it (code: the vendor's clients).
_STARTING: Final = {"identity": {"type": "SystemAssigned"}, "properties": {"authMode": "Key"}}
_DURATIONS: Final = {"pause": "pause_s", "keepOld": "keep_old_s"}


def bind_manifest(manifest: Manifest, live: Json | Absent) -> Declared:
    """Return what the manifest declares."""
    spec = manifest.spec
    document = bind_words(ENDPOINT, spec)
    secrets: dict[str, SecretReference] = {}
    for name, given in spec.get("deployments", {}).items():
        bound = _bind_deployment(name, given, secrets)
        _repair(bound, find(live, ("deployments", name, *STATE)))
        set_at(document, ("deployments", name), bound)
    if document:
        _repair(document, find(live, STATE))
    removed = tuple(("deployments", name) for name in find_old(spec, live))
    _complete_traffic(document, live, {str(path[-1]) for path in removed})
    if live is ABSENT and not document:
        return Declared({}, findings=(_does_not_exist(manifest),))
    return Declared(
        document,
        list_models(manifest),
        exact=spec.get("ownership") == "exact",
        starting_document=_STARTING if live is ABSENT else ABSENT,
        secrets=secrets,
        strategy=make_strategy(spec),
        removed=removed,
    )


def _bind_deployment(name: str, given: Json, secrets: dict[str, SecretReference]) -> Json:
    """Return the document of a deployment; references to secrets are added to `secrets`."""
    document = bind_words(DEPLOYMENT, given)
    variables = find(document, VARIABLES)
    if isinstance(variables, dict):
        plain = {}
        for variable, value in variables.items():
            if isinstance(value, dict):
                pointer = format_pointer(("deployments", name, *VARIABLES, variable))
                secrets[pointer] = SecretReference(**value)
            else:
                plain[variable] = value
        set_at(document, VARIABLES, plain)
    return document


def _repair(document: Json, state: Json | Absent) -> None:
    """Declare that an endpoint or a deployment has to succeed if it failed.

    It shows what was sent and does not serve it, so it has to be sent again.
    """
    if state in _FAILED:
        set_at(document, STATE, "Succeeded")


def list_secret_variables(field: Field, deployment: Json) -> list[str]:
    """Return the variables of a raw deployment whose values no document holds.

    They have the name of a secret, or a value that looks like one, such as an address with a
    password. `field` is that of the endpoint's document.
    """
    shown, below = find(deployment, VARIABLES), field.at(("deployments", "*", *VARIABLES))
    named = shown.items() if isinstance(shown, dict) else ()
    return sorted(
        name
        for name, value in named
        if value is not None
        and (below.child(name).secret or (isinstance(value, str) and is_suspicious(value)))
    )


def _complete_traffic(document: Json, live: Json | Absent, removed: set[str]) -> None:
    """Declare 0 for each live share that must end.

    They are those of the deployments that a declared map does not name, that are removed, or that
    would have live and mirrored traffic at once, which the service refuses.
    """
    served = {name for name, share in _shares(document, TRAFFIC).items() if share}
    for path, ending in ((TRAFFIC, removed), (MIRROR, removed | served)):
        is_declared, shares = find(document, path) is not ABSENT, _shares(live, path)
        ended = shares.keys() if is_declared else shares.keys() & ending
        zeros = {name: 0 for name in sorted(ended) if shares[name]}
        # A declared 0 that live does not show is there already.
        given = {n: s for n, s in _shares(document, path).items() if s or n in shares}
        if zeros or is_declared:
            set_at(document, path, {**zeros, **given})


def _shares(document: Json | Absent, path: Path) -> Mapping[str, Json]:
    found = find(document, path)
    return found if isinstance(found, dict) else {}


def find_old(spec: Json, live: Json | Absent) -> Iterator[str]:
    """Yield the live deployments that the manifest replaces and asks to delete by `keepOld`.

    A deployment is replaced if the manifest gives all traffic to others. One that has no traffic
    any more counts if it is older than each of them, so that an interrupted rollout is completed,
    and a deployment that somebody else has added since then stays.
    """
    served = {name for name, share in spec.get("traffic", {}).items() if share}
    deployments = find(live, ("deployments",))
    if "keepOld" not in spec.get("rollout", {}) or not served or not isinstance(deployments, dict):
        return
    created = [_get_creation(deployments[name]) for name in served if name in deployments]
    complete = len(created) == len(served) and all(created)
    for name in sorted(deployments.keys() - spec.get("deployments", {}).keys() - served):
        own = _get_creation(deployments[name])
        if _shares(live, TRAFFIC).get(name) or (complete and own and own < min(created)):
            yield name


def _get_creation(deployment: Json) -> str:
    """Return the creation time of a deployment, in a form whose order is that of time."""
    created = find(deployment, ("systemData", "createdAt"))
    return str(COMPARERS["instant"](created)) if isinstance(created, str) else ""


def list_models(manifest: Manifest) -> tuple[ModelReference, ...]:
    """Return the model of each deployment that the manifest names, in its own spelling."""
    return tuple(
        ModelReference(
            name=name,
            uri=given["model"],
            path=("deployments", name, "properties", "model"),
            sha256=given.get("sha256", ""),
            entry=format_pointer(("spec", "deployments", name)),
            find_place=functools.partial(
                manifest.place, format_pointer(("spec", "deployments", name, "model"))
            ),
        )
        for name, given in manifest.spec.get("deployments", {}).items()
        if "model" in given
    )


def make_strategy(spec: Json) -> Json:
    """Return the strategy of a rollout, with the digests of its samples; None without a rollout."""
    given = spec.get("rollout")
    if given is None:
        return None
    strategy = {"on_failure": given.get("onFailure", "keep")}
    if "steps" in given:
        strategy["steps"] = given["steps"]
    for word, name in _DURATIONS.items():
        if word in given:
            strategy[name] = parse_duration(given[word])
    if "probe" in given:
        probe = {"tolerance": 1e-06, "count": 20, **given["probe"]}
        samples = {one: _digest(probe[one]) for one in ("request", "expect") if one in probe}
        strategy["probe"] = {**probe, **samples}
    return strategy


def _digest(sample: Json) -> str:
    return f"sha256:{hashlib.sha256(encode_canonical(sample)).hexdigest()}"


def _does_not_exist(manifest: Manifest) -> Finding:
    return Finding(
        "the endpoint does not exist, and the manifest does not define how to create it",
        subject=str(manifest.address),
        place=manifest.place("/spec"),
        detail=("No endpoint has the name and workspace that the manifest sets.",),
        next_step="Correct spec.resource, or declare it: auth_mode, deployments and traffic.",
    )

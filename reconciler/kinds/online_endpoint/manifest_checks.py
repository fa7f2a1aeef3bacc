"""Checks a manifest of an online endpoint by itself, before any call to a service.

They cover the traffic, names, limits and identities that the service refuses (documented:
reference-yaml-endpoint-online, how-to-manage-quotas), references that are not one version, and
secrets in plain text. The kind calls this module.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from reconciler.document.pointers import format_pointer
from reconciler.document.schema import Field
from reconciler.kinds.online_endpoint.addresses import DEPLOYMENT_NAME, parse_id
from reconciler.kinds.online_endpoint.bind import VARIABLES
from reconciler.kinds.online_endpoint.shares import WHOLE, describe_shares
from reconciler.model import Finding, Json, Manifest, Path
from reconciler.plans.probes import find_row_fault
from reconciler.secrets.suspicion import SUSPICIOUS, format_name, is_suspicious

MOST_DEPLOYMENTS: Final = 20
_MOST_MIRRORED: Final = 50
_NAME: Final = "Use 3 to 32 lower-case letters, digits and single hyphens; begin with a letter."
# Where a deployment of a manifest names an asset, and of which collection.
_ASSETS: Final[tuple[tuple[Path, str, str], ...]] = (
    (("model",), "models", "model"),
    (("environment",), "environments", "environment"),
    (("code_configuration", "code"), "codes", "code"),
)
_COLLECTIONS: Final[Path] = ("data_collector", "collections")


def check_manifest(field: Field, manifest: Manifest) -> Iterator[Finding]:
    """Yield what is wrong with a manifest; `field` is that of the service's document."""
    yield from _check_traffic(manifest)
    yield from _check_mirror(manifest)
    yield from _check_names(manifest)
    yield from _check_identity(manifest)
    yield from _check_rollout(manifest)
    yield from _check_properties(field, manifest, ("properties",), manifest.spec)
    for name, given in manifest.spec.get("deployments", {}).items():
        at = ("deployments", name)
        yield from _check_settings(manifest, at, given)
        yield from _check_assets(manifest, at, given)
        yield from _check_variables(field, manifest, at, given)
        yield from _check_properties(field.at(at), manifest, (*at, "properties"), given)


def find_at(
    manifest: Manifest, path: Path, message: str, next_step: str, detail: tuple[str, ...] = ()
) -> Finding:
    """Return a finding at a place below the spec of a manifest."""
    place = manifest.place(format_pointer(("spec", *path)))
    return Finding(
        message, subject=str(manifest.address), place=place, detail=detail, next_step=next_step
    )


def _check_traffic(manifest: Manifest) -> Iterator[Finding]:
    given = manifest.spec.get("traffic", {})
    total = sum(given.values())
    if total not in {0, WHOLE}:
        said = describe_shares({name: share for name, share in given.items() if share})
        yield find_at(
            manifest,
            ("traffic",),
            f"the traffic sums to {total}, and it must sum to 100, or to 0 for none",
            "Declare the share of each deployment that answers.",
            detail=(f"It is: {said}.",),
        )


def _check_mirror(manifest: Manifest) -> Iterator[Finding]:
    mirrored = {n: s for n, s in manifest.spec.get("mirror_traffic", {}).items() if s}
    if len(mirrored) > 1:
        said = f"{' and '.join(sorted(mirrored))} get mirrored traffic, and only one deployment can"
        yield find_at(manifest, ("mirror_traffic",), said, "Keep one of them.")
    for name, share in sorted(mirrored.items()):
        at = ("mirror_traffic", name)
        if share > _MOST_MIRRORED:
            said = f"the mirrored traffic of {name} is {share}, and the limit is {_MOST_MIRRORED}"
            yield find_at(manifest, at, said, f"Mirror at most {_MOST_MIRRORED} percent.")
        if manifest.spec.get("traffic", {}).get(name):
            said = f"{name} gets live and mirrored traffic, and the service allows only one of them"
            yield find_at(manifest, at, said, "Remove it from traffic or from mirror_traffic.")


def _check_names(manifest: Manifest) -> Iterator[Finding]:
    """Yield the names that the service refuses, and too many deployments."""
    deployments = manifest.spec.get("deployments", {})
    for word in ("deployments", "traffic", "mirror_traffic"):
        for name in manifest.spec.get(word, {}):
            # A name of a wrong form is reported once, where it is declared. Only az ml needs lower
            # case, so traffic may name a deployment in capitals that another tool has made.
            share = word != "deployments"
            if share and name in deployments:
                continue
            if DEPLOYMENT_NAME.fullmatch(name.lower() if share else name) is None:
                said = f"{format_name(name, 'this')} cannot be the name of a deployment"
                yield find_at(manifest, (word, name), said, _NAME)
    if len(deployments) > MOST_DEPLOYMENTS:
        said = f"an endpoint has at most {MOST_DEPLOYMENTS} deployments, and it declares"
        step = "Distribute them over several endpoints."
        yield find_at(manifest, ("deployments",), f"{said} {len(deployments)}", step)


def _check_identity(manifest: Manifest) -> Iterator[Finding]:
    given = manifest.spec.get("identity", {})
    assigned, named = given.get("type") == "user_assigned", "user_assigned_identities" in given
    if assigned and not named:
        step = "Name them: user_assigned_identities: [/subscriptions/…/userAssignedIdentities/NAME]"
        yield find_at(manifest, ("identity",), "user_assigned needs its identities", step)
    if named and not assigned:
        step = "Declare type: user_assigned, or remove the identities."
        at = ("identity", "user_assigned_identities")
        yield find_at(manifest, at, "only type user_assigned has identities of its own", step)


def _check_rollout(manifest: Manifest) -> Iterator[Finding]:
    rollout = manifest.spec.get("rollout", {})
    steps = rollout.get("steps", [])
    if steps != sorted(set(steps)):
        said = "the steps do not rise"
        yield find_at(manifest, ("rollout", "steps"), said, "Write them in order: [10, 50, 100]")
    if "keepOld" in rollout and not manifest.spec.get("traffic"):
        said = "keepOld has no effect without traffic: no deployment is replaced"
        step = "Declare which deployment answers: traffic: {NAME: 100}"
        yield find_at(manifest, ("rollout", "keepOld"), said, step)
    probe = rollout.get("probe", {})
    if "expect" in probe and (fault := find_row_fault(probe["request"], probe["expect"])):
        step = "Write the answer to each row of the request, in the same order."
        yield find_at(manifest, ("rollout", "probe", "expect"), f"expect {fault}", step)


def _check_settings(manifest: Manifest, at: Path, given: Json) -> Iterator[Finding]:
    """Yield a warning for a setting that the service ignores, and that old files of az ml have."""
    if "max_queue_wait_ms" in given.get("request_settings", {}):
        path = (*at, "request_settings", "max_queue_wait_ms")
        found = find_at(manifest, path, "max_queue_wait_ms has no effect any more", "Remove it.")
        yield replace(found, severity="warning")


def _check_assets(manifest: Manifest, at: Path, given: Json) -> Iterator[Finding]:
    """Yield each reference that is not one version of an asset."""
    for path, collection, noun in _ASSETS:
        value = given
        for word in path:
            value = value.get(word, {})
        if isinstance(value, str):
            yield from _check_asset(manifest, (*at, *path), value, collection, noun)
    for name, one in given.get("data_collector", {}).get("collections", {}).items():
        if "data" in one:
            path = (*at, *_COLLECTIONS, name, "data")
            yield from _check_asset(manifest, path, one["data"], "data", "data asset")
    if "sha256" in given and "model" not in given:
        step = "Declare the model beside it."
        yield find_at(manifest, (*at, "sha256"), "sha256 is the digest of a model", step)


def _check_asset(
    manifest: Manifest, at: Path, text: str, collection: str, noun: str
) -> Iterator[Finding]:
    asset = parse_id(text)
    if asset is not None and asset.collection in {"", collection}:
        return
    if asset is not None:
        said = f"this is an asset of {asset.collection}, and not a {noun}"
    elif "@" in text:
        said = f"a label such as @latest can be another {noun} tomorrow"
    elif text.startswith("azureml:") and "/" not in text:
        said = f"the {noun} has no version"
    elif is_suspicious(text):
        said = f"the {noun} {SUSPICIOUS}"
    else:
        said = f"this is not a version of a registered {noun}, and reconciler uploads no files"
    step = f"Register it, and write its version, such as azureml:{_guess_name(text)}:1."
    yield find_at(manifest, at, said, step)


def _guess_name(text: str) -> str:
    """Return the name in a reference without a version, or NAME."""
    name = text.removeprefix("azureml:").partition("@")[0].partition(":")[0]
    return name if name and parse_id(f"azureml:{name}:1") is not None else "NAME"


def _check_variables(field: Field, manifest: Manifest, at: Path, given: Json) -> Iterator[Finding]:
    """Yield the secrets in plain text, and the variables that the service sets."""
    variables = field.at((*at, *VARIABLES))
    for name, value in given.get("environment_variables", {}).items():
        path, below = (*at, "environment_variables", name), variables.child(name)
        reference = isinstance(value, dict)
        shown = format_name(name, "this variable")
        if not name.strip() or "=" in name:
            said = f"{format_name(name, 'this')} cannot be the name of a variable"
            yield find_at(manifest, path, said, "Use letters, digits and underscores.")
        elif below.read_only:
            yield find_at(manifest, path, f"{shown} is set by the service", "Remove it.")
        elif reference and not below.secret:
            yield find_at(
                manifest,
                path,
                f"{shown} refers to a secret, and its name does not say so",
                "Give it a name that ends in _TOKEN, _KEY, _SECRET, _PASSWORD or _CREDENTIALS: only"
                " the values of such names are kept out of plans and of the ledger.",
            )
        elif not reference and (below.secret or is_suspicious(value)):
            why = "has the name of a secret" if below.secret else SUSPICIOUS
            yield find_at(
                manifest,
                path,
                f"{shown} {why}, and its value is in plain text here",
                "Refer to it: {env: NAME}, a variable where reconciler runs, or {file: NAME}.",
            )


def _check_properties(field: Field, manifest: Manifest, at: Path, given: Json) -> Iterator[Finding]:
    """Yield the properties that the service or the vendor's client sets."""
    below = field.at(("properties", "properties"))
    for name in given.get("properties", {}):
        if below.child(name).read_only:
            said = f"{format_name(name, 'this property')} is owned by the service"
            yield find_at(manifest, (*at, name), said, "Remove it.")

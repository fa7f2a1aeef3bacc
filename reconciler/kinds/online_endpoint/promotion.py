"""What a manifest changes when a new model goes into service: it goes to the other deployment.

The deployment with the traffic never gets another model. With `rollout.keepOld` it gets the name of
the other one in the manifest, because the service then removes the old one after that time: its
settings and comments stay where they are. Without it, the other deployment is declared beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NoReturn

from reconciler.document.pointers import format_pointer
from reconciler.errors import ManifestInvalid
from reconciler.kinds.online_endpoint.addresses import DEPLOYMENT_NAME, compare_id, parse_id
from reconciler.model import ABSENT, Edit, Finding, Json, Manifest, ModelReference

COLOURS: Final = ("blue", "green")
_TRAFFIC: Final = ("spec", "traffic")
_DEPLOYMENTS: Final = ("spec", "deployments")


def find_served(
    manifest: Manifest, models: Sequence[ModelReference], *, followed: bool
) -> ModelReference:
    """Returns the one of the declared models whose deployment has the traffic.

    Raises ManifestInvalid unless the manifest gives all traffic to one of its deployments. With
    `followed`, its model must be a version in the workspace, whose successor can be registered.
    """
    traffic = _read_shares(manifest, "traffic")
    if len(traffic) != 1:
        said = "gives traffic to more than one deployment" if traffic else "declares no traffic"
        step = "Give all traffic to the deployment in service: traffic: {blue: 100}."
        _refuse(manifest, _TRAFFIC, said, step)
    (served,) = traffic
    found = next((one for one in models if one.name == served), None)
    if found is None:
        said = f'gives its traffic to "{served}", whose model it does not declare'
        _refuse(manifest, _TRAFFIC, said, f"Declare it: deployments: {{{served}: {{model: …}}}}.")
    if followed and _find_container(found.uri) is None:
        said = f"serves {found.uri}, which is not a version in its workspace"
        step = "Name one: azureml:NAME:VERSION. The new model is registered as its next version."
        _refuse(manifest, (*_DEPLOYMENTS, served, "model"), said, step)
    return found


def is_served(manifest: Manifest, served: ModelReference, owned: Mapping[str, Json]) -> bool:
    """Whether recorded values are those of a rollout of `served` that has reached its end."""
    shares = _read_shares(manifest, "traffic")
    model = owned.get(format_pointer(served.path))
    traffic = {name: owned.get(f"/properties/traffic/{name}") for name in shares}
    return compare_id(model) == compare_id(served.uri) and traffic == shares


def _find_container(model: str) -> str | None:
    """Returns the name of a model of a workspace, from the id of a version; None for another."""
    asset = parse_id(model)
    return asset.name if asset is not None and not asset.registry else None


def name_container(model: str) -> str:
    """Returns the name of a model without its version, from an id of one that `find_served` takes.

    Raises ValueError for another id.
    """
    found = _find_container(model)
    if found is None:
        raise ValueError(f"not a version of a model: {model}")
    return found


def propose_model(
    manifest: Manifest, served: str, deployments: Sequence[str], uri: str, sha256: str
) -> Sequence[Edit]:
    """Returns the edits that let another deployment than `served` have a model and all traffic.

    `deployments` are the two names between which it alternates; empty for blue and green. Raises
    ManifestInvalid if the other one is not free.
    """
    other = _find_other(manifest, served, deployments or COLOURS)
    if "keepOld" in manifest.spec.get("rollout", {}):
        return [*_rename(manifest, served, other, uri, sha256)]
    return [*_add(manifest, served, other, uri, sha256)]


def _find_other(manifest: Manifest, served: str, deployments: Sequence[str]) -> str:
    others = [one for one in deployments if one != served]
    if len(others) != 1:
        named = " and ".join(deployments)
        said = f'gives its traffic to "{served}", which is neither of {named}'
        step = f"Name both in spec.promote of the retraining: deployments: [{served}, NAME]."
        _refuse(manifest, _TRAFFIC, said, step)
    (other,) = others
    if not DEPLOYMENT_NAME.fullmatch(other):
        said = f'would get a deployment "{other[:40]}", which is not a valid name'
        step = "Name one of 3 to 32 lower-case letters, digits and single hyphens in spec.promote."
        _refuse(manifest, _TRAFFIC, said, step)
    if _read_shares(manifest, "mirror_traffic").get(other):
        said = f'mirrors traffic to "{other}", which gets the new model'
        _refuse(manifest, ("spec", "mirror_traffic"), said, "Remove it from mirror_traffic.")
    return other


def _rename(manifest: Manifest, served: str, other: str, uri: str, sha256: str) -> Iterator[Edit]:
    """Yields the edits of the deployment in service, which becomes the other one."""
    spec, place = manifest.spec, format_pointer((*_DEPLOYMENTS, served))
    if other in spec["deployments"]:
        yield Edit(format_pointer((*_DEPLOYMENTS, other)))
    yield Edit(f"{place}/model", uri)
    if sha256 or "sha256" in spec["deployments"][served]:
        yield Edit(f"{place}/sha256", sha256 or ABSENT)
    yield Edit(place, name=other)
    yield from _move_traffic(manifest, served, other)


def _add(manifest: Manifest, served: str, other: str, uri: str, sha256: str) -> Iterator[Edit]:
    """Yields the edits that declare the other deployment with the settings of the served one."""
    settings: dict[str, Json] = {**manifest.spec["deployments"][served], "model": uri}
    settings.pop("sha256", None)
    if sha256:
        settings["sha256"] = sha256
    yield Edit(format_pointer((*_DEPLOYMENTS, other)), settings)
    yield from _move_traffic(manifest, served, other)


def _move_traffic(manifest: Manifest, served: str, other: str) -> Iterator[Edit]:
    if other in manifest.spec["traffic"]:
        yield Edit(format_pointer((*_TRAFFIC, other)))
    yield Edit(format_pointer((*_TRAFFIC, served)), name=other)


def _read_shares(manifest: Manifest, name: str) -> Mapping[str, Json]:
    """Returns the deployments that get a share; one with 0 gets none."""
    return {one: share for one, share in manifest.spec.get(name, {}).items() if share}


def _refuse(manifest: Manifest, path: tuple[str, ...], said: str, step: str) -> NoReturn:
    place = manifest.place(format_pointer(path))
    raise ManifestInvalid((Finding(said, str(manifest.address), place, next_step=step),))

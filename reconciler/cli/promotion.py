"""What a proposal edits: the model of each promoted resource, and where that model comes from."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeAlias

from reconciler.cli.context import Invocation
from reconciler.cli.loading import find_scope
from reconciler.document.pointers import format_pointer
from reconciler.engine.training.run import RUN
from reconciler.errors import ReconcilerError
from reconciler.manifests import Loaded
from reconciler.manifests.editing.accept import Acceptance, PlacedEdit, place_in_items
from reconciler.manifests.editing.environments import settle_edits
from reconciler.manifests.editing.members import CellEdit
from reconciler.model import ABSENT, Absent, Address, Edit, Fact, Manifest, ModelReference
from reconciler.model.training import Promotion, Retraining
from reconciler.package_data import read_schema
from reconciler.plans.gates import Candidate
from reconciler.plans.history import EVALUATION
from reconciler.ports import AlternatesDeployments, Kind
from reconciler.render.training import EditedPlace, format_metrics

# Returns the id of a candidate, which is registered as the next version of the model in service.
Register: TypeAlias = Callable[[Manifest, ModelReference, Candidate], str]
_ANNOTATIONS: Final = ("metadata", "annotations")
_OVERRIDES: Final = "/spec/overrides/"


def list_edits(
    retraining: Retraining,
    candidate: Candidate,
    manifests: Mapping[Address, Manifest],
    kinds: Mapping[str, Kind],
    register: Register | None = None,
) -> Iterator[Acceptance]:
    """Yields the edits of each promoted resource that does not declare the model already.

    A resource of a fleet has no metadata of its own, so that its lineage is only in the ledger and
    in the message of the commit. `register` is called for a resource whose service keeps versions
    of models, unless it declares this model. Without it nothing is registered, and the edits name
    the version in service.
    """
    for one in retraining.promote:
        manifest = manifests.get(one.resource)
        if manifest is None:
            step = "Declare it, or correct spec.promote of the retraining."
            message = "no manifest declares it"
            raise ReconcilerError(message, subject=str(one.resource), next_step=step)
        kind = kinds[one.resource.kind]
        if isinstance(kind, AlternatesDeployments):
            edits = [*_alternate(kind, manifest, one, candidate, register)]
            if edits:
                edits += _write_lineage(retraining, candidate, manifest, kind, "lineage")
                yield Acceptance(manifest, tuple(edits))
            continue
        models = {model.name: model for model in kind.list_models(manifest)}
        model = models.get(one.trained_model)
        if model is None:
            raise ReconcilerError(
                f'does not declare a trained model "{one.trained_model}"',
                subject=str(one.resource),
                next_step="Declare it, or correct spec.promote of the retraining.",
            )
        sha256 = candidate.digest.removeprefix("sha256:")
        if model.sha256.lower() == sha256:
            continue
        edits = [Edit(f"{model.entry}/uri", candidate.uri), Edit(f"{model.entry}/sha256", sha256)]
        prefix = _name_prefix(one.trained_model, models)
        edits += _write_lineage(retraining, candidate, manifest, kind, prefix)
        yield Acceptance(manifest, tuple(edits))


def _alternate(
    kind: AlternatesDeployments,
    manifest: Manifest,
    promotion: Promotion,
    candidate: Candidate,
    register: Register | None,
) -> Iterator[Edit]:
    """Yields the edits that let the other deployment have the registered model."""
    served = kind.find_served(manifest, followed=True)
    sha256 = candidate.digest.removeprefix("sha256:")
    if served.sha256.lower() == sha256:
        return
    uri = register(manifest, served, candidate) if register is not None else served.uri
    if register is not None and uri == served.uri and not served.sha256:
        return
    yield from kind.propose_model(manifest, promotion.deployments, uri, sha256)


def _write_lineage(
    retraining: Retraining, candidate: Candidate, manifest: Manifest, kind: Kind, prefix: str
) -> Iterator[Edit]:
    if manifest.member is None and _allows_annotations(kind):
        lineage = describe_lineage(retraining.address, candidate)
        yield from _annotate(manifest, {f"{prefix}/{name}": lineage[name] for name in lineage})


def check_promotions(retrainings: Iterable[Retraining]) -> None:
    """Raises ReconcilerError for a trained model to which two retrainings of one command promote.

    Each of them would replace the model of the other.
    """
    first: dict[tuple[Address, str], Retraining] = {}
    for one in retrainings:
        for promotion in one.promote:
            key = promotion.resource, promotion.trained_model
            other = first.setdefault(key, one)
            if other is not one:
                named = f' trained model "{promotion.trained_model}"' if key[1] else " endpoint"
                raise ReconcilerError(
                    f"{other.address} and {one.address} promote to the same{named}",
                    subject=str(promotion.resource),
                    next_step="Correct spec.promote, or retrain one of them at a time.",
                )


def _annotate(manifest: Manifest, said: Mapping[str, str | Absent]) -> Iterator[Edit]:
    """Yields the edits of the annotations; the first ones are one edit, which gets own lines."""
    at = format_pointer(_ANNOTATIONS)
    if at in manifest.places:
        yield from (Edit(f"{at}{format_pointer((name,))}", value) for name, value in said.items())
    else:
        yield Edit(at, {name: value for name, value in said.items() if value is not ABSENT})


def find_fleets(loaded: Loaded) -> frozenset[tuple[str, Address]]:
    """Returns all fleets of a project that have members, each with the file of its manifest."""
    members = ((one.file, one.member.fleet) for one in loaded.manifests if one.member is not None)
    trained = (
        (one.place.file, one.fleet)
        for one in loaded.retrainings
        if one.fleet is not None and one.place is not None
    )
    return frozenset([*members, *trained])


def place_models(
    invocation: Invocation, root: Path, loaded: Loaded, accepted: Iterable[Acceptance]
) -> Sequence[PlacedEdit]:
    """Returns for each edit the file that it changes: an item, a manifest, or an environment.

    Raises ManifestInvalid with a finding for each edit that is not possible.
    """
    placed = place_in_items(root, accepted, find_fleets(loaded), loaded.tokens)
    return settle_edits(root, placed, find_scope(invocation, loaded))


def check_places(
    invocation: Invocation,
    root: Path,
    loaded: Loaded,
    kinds: Mapping[str, Kind],
    retrainings: Iterable[Retraining],
) -> None:
    """Raises ManifestInvalid, before a job starts, if an environment cannot hold its model.

    A project without environments is not checked.
    """
    if loaded.environment is None:
        return
    manifests = {one.address: one for one in loaded.manifests}
    accepted: list[Acceptance] = []
    for one in retrainings:
        uri = one.model.uri.replace(RUN, "run")
        probe = Candidate("run", "", uri, f"sha256:{'0' * 64}", {}, ())
        accepted += list_edits(one, probe, manifests, kinds)
    place_models(invocation, root, loaded, accepted)


def describe_lineage(retraining: Address, candidate: Candidate) -> Mapping[str, str | Absent]:
    """Returns where a model comes from, by the name of the annotation; ABSENT for what is unknown.

    What an earlier model has and this one has not is removed, so that no annotation is of another
    model.
    """
    data = candidate.data or {}
    digests = [f"{port} {digest}" for port, digest in sorted(data.items())]
    said = {
        "retraining": str(retraining),
        "run": candidate.run,
        "job": candidate.job,
        "data": next(iter(data.values())) if len(data) == 1 else ", ".join(digests),
        "metrics": ", ".join(format_metrics(candidate)),
        "parent": candidate.parent,
    }
    return {name: value or ABSENT for name, value in said.items()}


def recall_metrics(facts: Mapping[tuple[str, str], Fact], digest: str) -> Mapping[str, float]:
    """Returns the recorded metrics of the model with a digest; empty if none are recorded."""
    fact = facts.get((EVALUATION, digest))
    metrics = fact.data.get("metrics") if fact is not None else None
    found = metrics.items() if isinstance(metrics, dict) else ()
    return {name: float(value) for name, value in found if type(value) in {int, float}}


def _name_prefix(name: str, models: Collection[str]) -> str:
    """Returns the prefix of the annotations; the model's name is in it if there are several.

    Its digest is there too if another model's name differs only in signs.
    """
    if len(models) < 2:
        return "lineage"
    plain = _write_plain(name)
    if not plain or any(one != name and _write_plain(one) == plain for one in models):
        plain = f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:8]}".lstrip("-")
    return f"{plain}.lineage"


def _write_plain(name: str) -> str:
    return "-".join(re.findall(r"[a-z0-9]+", name.casefold()))[:60]


def _allows_annotations(kind: Kind) -> bool:
    metadata = read_schema(kind.manifest_schema_name)["properties"].get("metadata", {})
    known = metadata.get("properties", {})
    return "annotations" in known or metadata.get("additionalProperties", True) is not False


def sort_edits(
    placed: Iterable[PlacedEdit], accepted: Mapping[Address, Sequence[Acceptance]]
) -> Mapping[Address, list[PlacedEdit]]:
    """Returns the edits of each retraining."""
    made_for = {id(one): address for address, ones in accepted.items() for one in ones}
    found: dict[Address, list[PlacedEdit]] = {address: [] for address in accepted}
    for one in placed:
        found[made_for[id(one.accepted)]].append(one)
    return found


def describe_places(placed: Iterable[PlacedEdit]) -> tuple[EditedPlace, ...]:
    """Returns where the edits of one retraining are, each place once."""
    return tuple(dict.fromkeys(map(_describe_place, placed)))


def _describe_place(one: PlacedEdit) -> EditedPlace:
    member, edit = one.manifest.member, one.edit
    if isinstance(edit, CellEdit):
        line = member.place.line if member is not None else 0
        return EditedPlace(one.file, "cell", one.manifest.address, edit.column, line)
    if member is None:
        return EditedPlace(one.file, "manifest", one.manifest.address)
    if edit.pointer.startswith(_OVERRIDES):
        return EditedPlace(one.file, "override", one.manifest.address)
    return EditedPlace(one.file, "item", one.manifest.address, line=member.place.line)

"""Registers a candidate as a version of a model, where the service keeps versions.

The service decides whether it has the digest already, so that a killed command registers nothing
twice. The ledger records which digest a version has, because no document of a service shows it.
"""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.engine.training.run import TrainingPorts
from reconciler.model import Address, Fact, Json, ModelReference, Resource
from reconciler.plans.gates import Candidate
from reconciler.plans.history import REGISTRATION
from reconciler.ports import RegistersModels


def register_candidate(
    ports: TrainingPorts,
    provider: RegistersModels,
    resource: Resource,
    served: ModelReference,
    candidate: Candidate,
    retraining: Address,
) -> str:
    """Returns the id of the version that has the bytes of a candidate; registers and records it.

    `served` is the model of the resource that is in service.
    """
    tags = {"retraining": str(retraining), "run": candidate.run}
    version = provider.register_model(resource, served.uri, candidate.uri, candidate.digest, tags)
    data: dict[str, Json] = {
        "resource": str(resource.address),
        "version": version,
        "digest": candidate.digest,
        "uri": candidate.uri,
        "retraining": str(retraining),
        "run": candidate.run,
    }
    ports.keep(REGISTRATION, name_registration(resource.address, version), data)
    return version


def name_registration(address: Address, version: str) -> str:
    """Returns the subject of the fact about a version that a resource can serve."""
    return f"{address} {version}"


def recall_registration(
    facts: Mapping[tuple[str, str], Fact], address: Address, version: str
) -> str:
    """Returns the digest of a version that was registered for a resource, "" if it is not known."""
    fact = facts.get((REGISTRATION, name_registration(address, version)))
    digest = fact.data.get("digest") if fact is not None else ""
    return digest if isinstance(digest, str) else ""

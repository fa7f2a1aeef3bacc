"""What the ledger of one environment proves about the models of a resource, for `promote`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from reconciler.cli.wiring import Assembly
from reconciler.document.comparers import COMPARERS
from reconciler.document.pointers import format_pointer
from reconciler.engine.training.registering import recall_registration
from reconciler.errors import ReconcilerError
from reconciler.model import Address, Edit, LastApplied, Manifest, ModelReference
from reconciler.model.values import dataclass
from reconciler.ports import AlternatesDeployments, Kind
from reconciler.secrets.signatures import strip_credentials
from reconciler.text.suggestions import ask, suggest

_SHA256: Final = "sha256:"
_CHANGE: Final = "set guards.blobs: required, apply another model, and then this one."


@dataclass(frozen=True, slots=True)
class AppliedModel:
    """A trained model that an apply has left in service: its address, and the digest in hex.

    Only a version, whose `uri` is an id, may have no digest.
    """

    name: str
    uri: str
    sha256: str


def find_manifest(assembly: Assembly, address: Address, environment: str) -> Manifest:
    """The manifest of an address in an environment; raises ReconcilerError with a similar one."""
    known = {one.address: one for one in assembly.loaded.manifests}
    if address in known:
        return known[address]
    near = suggest(str(address), map(str, known))
    raise ReconcilerError(
        f"no manifest declares it in {environment}",
        subject=str(address),
        next_step=ask(str(address), near, "{}") if near else f"reconciler list --env {environment}",
    )


def find_counterpart(assembly: Assembly, manifest: Manifest, environment: str) -> Manifest:
    """The manifest in another environment that a manifest of one environment becomes there.

    It has the same address, or it is the same document with other values.
    """
    name = manifest.place("/metadata/name")
    for one in assembly.loaded.manifests:
        same = one.member is None and manifest.member is None
        if same and one.place("/metadata/name") == name:
            return one
    return find_manifest(assembly, manifest.address, environment)


def find_applied_models(
    assembly: Assembly, manifest: Manifest, environment: str
) -> tuple[Sequence[AppliedModel], LastApplied]:
    """The models of a resource, as applied in an environment, and the state that proves them.

    Raises ReconcilerError if the resource was never applied, if the result of an apply is unknown,
    or if its manifest names another model than was applied.
    """
    address = manifest.address
    snapshot = assembly.load_snapshot()
    if any(intent.address == address for intent in snapshot.open):
        raise _refuse(address, f"an apply of it in {environment} has no known result", environment)
    state = snapshot.last_applied_by_address.get(address)
    if state is None:
        refused = _refuse(address, f"it was never applied in {environment}", environment)
        refused.next_step += f". If that has no changes: {_CHANGE}"
        raise refused
    kind = assembly.kinds[address.kind]
    if isinstance(kind, AlternatesDeployments):
        served = kind.find_served(manifest)
        if not kind.is_served(manifest, state.owned):
            said = f"no rollout of {served.uri} to all traffic was applied in {environment}"
            raise _refuse(address, said, environment)
        recorded = state.digests.get(format_pointer(served.path), "")
        digest = recorded or recall_registration(snapshot.facts, address, served.uri)
        return [AppliedModel(served.name, served.uri, digest.removeprefix(_SHA256))], state
    models = list(kind.list_models(manifest))
    if not models:
        step = "Name its models in spec.trainedModels."
        raise ReconcilerError("names no model", subject=str(address), next_step=step)
    return [_find_applied(one, address, state, environment) for one in models], state


def _find_applied(
    model: ModelReference, address: Address, state: LastApplied, environment: str
) -> AppliedModel:
    digests = {
        digest
        for pointer, digest in state.digests.items()
        if _normalize(state.owned.get(pointer)) == _normalize(model.uri)
    }
    if not digests and _normalize(model.uri) not in map(_normalize, state.owned.values()):
        said = f'the trained model "{model.name}" was changed since the last apply in {environment}'
        raise _refuse(address, said, environment)
    digest = next(iter(digests), "")
    if len(digests) > 1 or not digest.startswith(_SHA256):
        said = f'the ledger of {environment} has no digest of the trained model "{model.name}"'
        step = f"An apply records it when it changes the model. In {environment}, {_CHANGE}"
        raise ReconcilerError(said, subject=str(address), next_step=step)
    if model.pin and model.pin != digest:
        said = f'the digest of the trained model "{model.name}" was changed since the last apply in'
        raise _refuse(address, f"{said} {environment}", environment)
    return AppliedModel(model.name, strip_credentials(model.uri), digest.removeprefix(_SHA256))


def _normalize(uri: object) -> str:
    plain = strip_credentials(uri) if isinstance(uri, str) else ""
    return str(COMPARERS["blob-uri"](plain)) if plain else ""


def _refuse(address: Address, said: str, environment: str) -> ReconcilerError:
    step = f"Apply it there first: reconciler apply --env {environment} --target {address}"
    return ReconcilerError(said, subject=str(address), next_step=step)


def list_edits(applied: Iterable[AppliedModel], manifest: Manifest, kind: Kind) -> Iterator[Edit]:
    """Yields what a manifest must change to name the applied models.

    Raises ReconcilerError for a model that it does not name.
    """
    if isinstance(kind, AlternatesDeployments):
        for one in applied:
            yield from _alternate(one, manifest, kind)
        return
    known = {one.name: one for one in kind.list_models(manifest)}
    for one in applied:
        model = known.get(one.name)
        if model is None:
            near = suggest(one.name, known)
            raise ReconcilerError(
                f'does not name a trained model "{one.name}"',
                subject=str(manifest.address),
                next_step=ask(one.name, near) if near else "Name it in spec.trainedModels.",
            )
        if _normalize(model.uri) != _normalize(one.uri):
            yield Edit(f"{model.entry}/uri", one.uri)
        if model.sha256.lower() != one.sha256:
            yield Edit(f"{model.entry}/sha256", one.sha256)


def _alternate(
    applied: AppliedModel, manifest: Manifest, kind: AlternatesDeployments
) -> Sequence[Edit]:
    """Returns what a manifest must change to serve the applied model from its other deployment.

    The other deployment gets the name that it has where the model is applied, if that is another.
    """
    served = kind.find_served(manifest)
    if served.uri == applied.uri and served.sha256.lower() == applied.sha256:
        return ()
    between = (served.name, applied.name) if served.name != applied.name else ()
    return kind.propose_model(manifest, between, applied.uri, applied.sha256)


def write_message(
    address: Address, names: tuple[str, str], applied: Iterable[AppliedModel], state: LastApplied
) -> tuple[str, str]:
    """The message of the commit, and its last line; `names` are both environments."""
    source, target = names
    trailer = f"Reconciler-Promotion: {address}"
    lines = [f"Promote {address} from {source} to {target}", ""]
    for one in applied:
        lines += [f"model {one.name}", f"uri {one.uri}"]
        lines += [f"sha256 {one.sha256}"] if one.sha256 else []
    by = f"{state.by}@{state.commit[:7]}" if state.commit else state.by
    lines += [f"applied in {source} by {by} at {state.at}"]
    body = "\n".join("".join(c for c in line if c.isprintable()) for line in lines)
    return f"{body}\n\n{trailer}\n", trailer

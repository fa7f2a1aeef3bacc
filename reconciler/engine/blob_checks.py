"""Looking at the models that a plan would bring in, before anything is written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Literal

from reconciler.document.pointers import format_pointer
from reconciler.engine.runtime import Hands
from reconciler.errors import BlobExpired, BlobForbidden, ReconcilerError
from reconciler.model import (
    ABSENT,
    Absent,
    Blob,
    Finding,
    Memory,
    ModelChange,
    ModelReference,
    Step,
)
from reconciler.plans.step import Wish

_TOO_SOON: Final = timedelta(hours=1)
_SOON: Final = timedelta(days=3)
_Mode = Literal["required", "warn", "skip"]
_LIFT: Final = "To go on all the same: --allow blob={subject}, or spec.guards.blobs: warn"


@dataclass(frozen=True, slots=True)
class _Look:
    """One model to look at and what came of it."""

    subject: str
    model: ModelReference
    blob: Blob | Absent | None = None
    error: ReconcilerError | None = None


def look_at_models(
    hands: Hands, steps: Sequence[Step], wishes: Sequence[Wish], mode: _Mode
) -> tuple[list[Step], tuple[Finding, ...]]:
    """The steps with the digests that were found, and what is wrong with the bytes.

    Only models that a step brings in are looked at. With `warn` nothing refuses the plan, with
    `skip` nothing is looked at and the digest pins go unproven, which is said.
    """
    memories = {wish.resource: wish.memory for wish in wishes}
    if mode == "skip":
        looks = {}
        findings = tuple(_unproven(look) for look in _wanted(steps, wishes) if look.model.sha256)
    else:
        done = list(hands.spread(lambda look: _look(hands, look), _wanted(steps, wishes)))
        looks = {(look.subject, look.model.path): look for look in done}
        findings = tuple(
            found if mode == "required" else replace(found, severity="warning", next_step="")
            for _, look in sorted(looks.items())
            for found in _judge(look, hands.clock())
        )
    told = []
    for step in steps:
        memory = memories.get(step.resource)
        models = tuple(
            _tell(model, looks.get((str(step.resource.address), model.path)), memory)
            for model in step.models
        )
        told.append(step.having(models=models))
    return told, findings


def _wanted(steps: Sequence[Step], wishes: Sequence[Wish]) -> Iterator[_Look]:
    references = {wish.resource: wish.declared.models for wish in wishes}
    for step in steps:
        brought = {model.path for model in step.models}
        for model in references.get(step.resource, ()):
            if model.path in brought:
                yield _Look(str(step.resource.address), model)


def _look(hands: Hands, look: _Look) -> _Look:
    try:
        return replace(look, blob=hands.blobs.look(look.model))
    except ReconcilerError as error:
        return replace(look, error=error)


def _judge(look: _Look, now: datetime) -> Iterator[Finding]:
    model, blob = look.model, look.blob
    if model.sas_path and model.sas is None:
        cure = "Refer to one beside the uri: sas: {env: NAME}"
        yield _finding(look, "no signature is given, by which the service opens the model", cure)
    if look.error is not None:
        yield _finding(look, *_explain(look.error))
    elif blob is ABSENT:
        yield _finding(look, "the model blob does not exist")
    elif isinstance(blob, Blob):
        pinned = f"sha256:{model.sha256.lower()}"
        if model.sha256 and blob.digest != pinned:
            has = blob.digest or "no digest"
            yield _finding(
                look, "the model blob is not the one that was pinned", f"It is {has}, not {pinned}."
            )
        if not blob.length:
            yield _finding(look, "the model blob is empty")
        yield from _judge_end(look, blob, now)


def _judge_end(look: _Look, blob: Blob, now: datetime) -> Iterator[Finding]:
    """A signature that ends before an apply may be done refuses; one that ends soon is told."""
    left = datetime.fromisoformat(blob.expires) - now if blob.expires else _SOON
    message = f"the signature for the model blob ends at {blob.expires}"
    if left < _TOO_SOON:
        yield _finding(look, message, "That may be before it is used.")
    elif left < _SOON:
        found = _finding(look, message, "Make a new one in time.")
        yield replace(found, severity="warning", next_step="")


def _explain(error: ReconcilerError) -> tuple[str, str, str]:
    """What it means for the model, what storage said, and what to do."""
    said = f"{error.message[:1].upper()}{error.message[1:]}."
    if isinstance(error, BlobForbidden):
        return "the model blob may not be read", said, error.next_step
    if isinstance(error, BlobExpired):
        return "the signature for the model blob is not valid now", said, error.next_step
    return "the model blob could not be looked at", said, error.next_step


def _finding(look: _Look, message: str, *detail: str) -> Finding:
    return Finding(
        f'trained model "{look.model.name}": {message}',
        subject=look.subject,
        place=look.model.place,
        detail=tuple(line for line in (look.model.uri, *detail) if line),
        next_step=_LIFT.format(subject=look.subject),
        guard="blob",
    )


def _unproven(look: _Look) -> Finding:
    found = _finding(look, "its sha256 was not compared: spec.guards.blobs is skip")
    return replace(found, severity="warning", next_step="")


def _tell(model: ModelChange, look: _Look | None, memory: Memory | None) -> ModelChange:
    blob = look.blob if look else None
    pointer = format_pointer(model.path)
    # What was remembered says nothing of the bytes that somebody else put there since.
    ours = memory is not None and memory.owned.get(pointer) == model.before
    before = memory.digests.get(pointer, "") if memory is not None and ours else ""
    if not isinstance(blob, Blob):
        return replace(model, digest_before=before)
    return replace(model, digest_before=before, digest_after=blob.digest, trust=blob.trust)

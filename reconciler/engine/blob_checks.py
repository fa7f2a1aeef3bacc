"""Checks the blobs of trained models: those that a plan writes, and those that were applied.

It reads digests and expiry times through the blob port, and must not write. A signature that the
service gets is checked whatever `spec.guards.blobs` says, because the service refuses an expired
one. The planner, the rollback and the drift report call it. It is long because the findings about
planned and about applied models share their reasons.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final, Literal, TypeAlias

from reconciler.document.pointers import format_pointer
from reconciler.engine.runtime import Runtime
from reconciler.errors import BlobExpired, BlobForbidden, ReconcilerError
from reconciler.model import (
    ABSENT,
    Absent,
    Blob,
    Drift,
    Finding,
    LastApplied,
    ModelChange,
    ModelReference,
    Path,
    Resource,
    SecretReference,
    Step,
    Verdict,
)
from reconciler.model.values import dataclass
from reconciler.plans.drift import incomplete
from reconciler.plans.step import Comparison
from reconciler.secrets.sas import check_validity, read_signature
from reconciler.text.times import parse_utc

_TOO_SOON: Final = timedelta(hours=1)
# So a weekly drift check warns at least once while a week is left to create a new signature.
_SOON: Final = timedelta(days=14)
_Mode: TypeAlias = Literal["required", "warn", "skip"]
_References: TypeAlias = Mapping[Resource, Sequence[ModelReference]]
_Key: TypeAlias = tuple[str, Path]
_LIFT: Final = "To continue anyway: --allow blob={subject}, or spec.guards.blobs: warn"


@dataclass(frozen=True, slots=True)
class _BlobCheck:
    """One model to check, and the result.

    `is_located` says that the model has an id, and that its provider looks for the blob behind it.
    Then the blob may stay unknown: the service reads it, and not everybody else may.
    """

    resource: Resource
    model: ModelReference
    blob: Blob | Absent | None = None
    error: ReconcilerError | None = None
    is_located: bool = False

    @property
    def subject(self) -> str:
        """The address of the resource as text."""
        return str(self.resource.address)


def check_models(
    runtime: Runtime, steps: Sequence[Step], comparisons: Sequence[Comparison], mode: _Mode
) -> tuple[list[Step], tuple[Finding, ...]]:
    """Return the steps with the digests of their blobs, and the findings about the blobs.

    Only models that a step writes are checked. With `warn`, each finding is a warning. With
    `skip`, no blob is checked, and a warning names each digest pin that was not compared. A
    signature that a step sends and that has expired is an error with every mode.
    """
    references = {comparison.resource: comparison.declared.models for comparison in comparisons}
    last_applied_by_address = {
        comparison.resource: comparison.last_applied for comparison in comparisons
    }
    if mode == "skip":
        looks = {}
        findings = tuple(
            _unproven(check) for check in _wanted(steps, references) if check.model.sha256
        )
    else:
        wanted = _wanted(steps, references)
        done = runtime.run_all(lambda check: _check_blob(runtime, check), wanted)
        looks = {(check.subject, check.model.path): check for check in done}
        findings = tuple(
            found
            for _, check in sorted(looks.items())
            for found in _report(check, runtime.clock(), mode)
        )
    judged = {key for key, check in looks.items() if _is_judged(check)}
    findings += tuple(_check_signatures(runtime, steps, references, judged))
    completed = []
    for step in steps:
        last_applied = last_applied_by_address.get(step.resource)
        models = tuple(
            _make_model_change(
                model, looks.get((str(step.resource.address), model.path)), last_applied
            )
            for model in step.models
        )
        completed.append(step.copy_with(models=models))
    return completed, findings


def check_planned_models(
    runtime: Runtime,
    steps: Sequence[Step],
    references: _References,
    mode: _Mode,
) -> tuple[tuple[Step, ...], list[Finding]]:
    """Return the steps of a saved plan with the digests of their blobs now, and the findings.

    `references` are those of the manifests, which know the signatures. A blob whose bytes are not
    those of the plan is an error. A digest that the storage does not report now is not recorded.
    """
    wanted = [] if mode == "skip" else list(_find_planned(steps, references))
    checked = runtime.run_all(lambda one: (one[0], _check_blob(runtime, one[1])), wanted)
    looks: dict[_Key, _BlobCheck] = {}
    findings: list[Finding] = []
    for planned, check in checked:
        looks[check.subject, check.model.path] = check
        findings += _report(check, runtime.clock(), mode)
        findings += (_soften(one, mode) for one in _check_planned(check, planned))
    judged = {key for key, check in looks.items() if _is_judged(check)}
    findings += _check_signatures(runtime, steps, references, judged)
    return tuple(_confirm_digests(step, looks) for step in steps), findings


def _confirm_digests(step: Step, looks: Mapping[_Key, _BlobCheck]) -> Step:
    """Return the step with the digests that the storage reports, and no other."""
    checks = [looks.get((str(step.resource.address), model.path)) for model in step.models]
    blobs = [one.blob if one is not None else None for one in checks]
    found = [
        (blob.digest, blob.trust) if isinstance(blob, Blob) else ("", _name_trust(one))
        for one, blob in zip(checks, blobs, strict=True)
    ]
    models = tuple(
        replace(model, digest_after=digest, trust=trust)
        for model, (digest, trust) in zip(step.models, found, strict=True)
    )
    return step if models == step.models else step.copy_with(models=models)


def _name_trust(check: _BlobCheck | None) -> str:
    """Return what is said of a digest that is not known: whether its blob was looked for."""
    return "unknown" if check is not None and check.is_located else ""


def _find_planned(
    steps: Sequence[Step], references: _References
) -> Iterator[tuple[ModelChange, _BlobCheck]]:
    """Yield each model that a plan writes, with a reference that opens and pins its blob."""
    for step in steps:
        known = {model.path: model for model in references.get(step.resource, ())}
        for model in step.models:
            named = known.get(model.path, ModelReference(model.name, model.after, model.path))
            pinned = model.digest_after.removeprefix("sha256:") if model.trust == "streamed" else ""
            sha256 = pinned or (named.sha256 if named.uri == model.after else "")
            reference = replace(named, uri=model.after, sha256=sha256)
            yield model, _BlobCheck(step.resource, reference)


def _check_planned(check: _BlobCheck, planned: ModelChange) -> Iterator[Finding]:
    """Yield an error if the storage reports another digest than the plan."""
    blob, then = check.blob, planned.digest_after
    # A digest that was streamed is the pin, which is checked apart.
    if isinstance(blob, Blob) and then and planned.trust != "streamed" and blob.digest != then:
        said = f"It was {then}, and is {blob.digest or 'not reported'}."
        yield _finding(check, "its bytes are not those of the plan", said)


def _wanted(steps: Sequence[Step], references: _References) -> Iterator[_BlobCheck]:
    for step in steps:
        brought = {model.path for model in step.models}
        for model in references.get(step.resource, ()):
            if model.path in brought:
                yield _BlobCheck(step.resource, model)


def _check_blob(runtime: Runtime, check: _BlobCheck) -> _BlobCheck:
    is_located = runtime.locates_models(check.resource)
    try:
        blob = runtime.inspect(check.resource, check.model)
        return replace(check, blob=blob, is_located=is_located)
    except ReconcilerError as error:
        return replace(check, error=error, is_located=is_located)


def _report(check: _BlobCheck, now: datetime, mode: _Mode) -> Iterator[Finding]:
    """Yield the findings of an inspection, as severe as the mode says."""
    if isinstance(check.error, BlobExpired) and check.model.sas_path and check.model.sas:
        yield _refuse_expired(check, check.error)
    else:
        yield from (_soften(found, mode) for found in _check_result(check, now))


def _soften(finding: Finding, mode: _Mode) -> Finding:
    return finding if mode == "required" else replace(finding, severity="warning", next_step="")


def _is_judged(check: _BlobCheck) -> bool:
    """Whether storage has said that the signature of the model is valid, or that it is not."""
    answered = check.blob is not None or isinstance(check.error, BlobExpired)
    return answered and check.model.sas is not None


def _check_signatures(
    runtime: Runtime, steps: Sequence[Step], references: _References, judged: Collection[_Key]
) -> Iterator[Finding]:
    """Yield the findings about signatures that storage has not judged, by our own clock.

    Unless the service gets it, an expired signature is only a warning: nothing but the check of
    the blob needs it.
    """
    for step in steps:
        sent, brought = dict(step.secrets), {model.path for model in step.models}
        for model in references.get(step.resource, ()):
            at = format_pointer(model.sas_path) if model.sas_path else ""
            own = model.sas if model.path in brought else None
            check = _BlobCheck(step.resource, replace(model, sas=sent.get(at, own)))
            if check.model.sas is not None and (check.subject, model.path) not in judged:
                yield from _check_signature(runtime, check, check.model.sas, is_sent=at in sent)


def _check_signature(
    runtime: Runtime, check: _BlobCheck, reference: SecretReference, *, is_sent: bool
) -> Iterator[Finding]:
    now, name = runtime.clock(), check.model.name
    try:
        signature = read_signature(runtime.resolve(reference), str(reference), name)
        ends = check_validity(signature, name, now)
    except BlobExpired as error:
        unsent = _soften(_finding(check, *_explain(error)), "warn")
        yield _refuse_expired(check, error) if is_sent else unsent
    except ReconcilerError:
        return  # the check of the step reports a signature that is sent and cannot be read
    else:
        blob = Blob(check.model.uri, 0, "", expires=ends)
        yield from (_soften(found, "warn") for found in _check_expiry(check, blob, now))


def _refuse_expired(check: _BlobCheck, error: BlobExpired) -> Finding:
    """Return the error of a signature that the service gets, which nothing can lift."""
    message, said, cure = _explain(error)
    why = "The service reads the model with it, so the update would fail."
    cure = cure.replace("where sas refers to", f"in {check.model.sas}")
    return replace(_finding(check, message, said, why), next_step=cure)


def _check_result(check: _BlobCheck, now: datetime) -> Iterator[Finding]:
    model, blob = check.model, check.blob
    if model.sas_path and model.sas is None:
        cure = "Add a reference beside the uri: sas: {env: NAME}"
        yield _finding(check, "no signature is given, and the service needs one to read it", cure)
    if check.is_located and not isinstance(blob, Blob):
        yield from _check_unknown(check)
    elif check.error is not None:
        yield _finding(check, *_explain(check.error))
    elif blob is ABSENT:
        yield _finding(check, "the model blob does not exist")
    elif isinstance(blob, Blob):
        if model.pin and blob.digest != model.pin:
            has = blob.digest or "no digest"
            yield _finding(
                check,
                "the model blob does not match the pinned sha256",
                f"Expected {model.pin}, found {has}.",
            )
        if not blob.length:
            yield _finding(check, "the model blob is empty")
        yield from _check_expiry(check, blob, now)


def _check_unknown(check: _BlobCheck) -> Iterator[Finding]:
    """Yield what follows from bytes that are unknown: they cannot be compared with a pin."""
    if check.model.pin:
        found = None if check.error is None else check.error.message
        why = found or "No blob that can be read is known behind its id."
        yield _finding(check, "its bytes could not be compared with the pinned sha256", why)


def _check_expiry(check: _BlobCheck, blob: Blob, now: datetime) -> Iterator[Finding]:
    """Yield an error for a signature that is about to end, or a warning for one that ends soon."""
    left = _time_left(blob, now)
    message = f"the signature for the model blob expires at {blob.expires}"
    if left < _TOO_SOON:
        yield _finding(check, message, "It may expire before the apply uses it.")
    elif left < _SOON:
        found = _finding(check, message, "Create a new one before then.")
        yield replace(found, severity="warning", next_step="")


def _time_left(blob: Blob, now: datetime) -> timedelta:
    """Return how long the signature is still valid; the longest time if its end is not known.

    `now` is our time, for a storage that has not told its own.
    """
    try:
        return parse_utc(blob.expires) - (parse_utc(blob.at) if blob.at else now)
    except ValueError:
        return timedelta.max


def _explain(error: ReconcilerError) -> tuple[str, str, str]:
    """Return what an error means for the model, the message of the storage, and the next step."""
    said = f"{error.message[:1].upper()}{error.message[1:]}."
    if isinstance(error, BlobForbidden):
        return "access to the model blob is denied", said, error.next_step
    if isinstance(error, BlobExpired):
        return "the signature for the model blob is not valid now", said, error.next_step
    return "the model blob could not be checked", said, error.next_step


def _finding(check: _BlobCheck, message: str, *detail: str) -> Finding:
    return Finding(
        f'trained model "{check.model.name}": {message}',
        subject=check.subject,
        place=check.model.place,
        detail=tuple(line for line in (check.model.uri, *detail) if line),
        next_step=_LIFT.format(subject=check.subject),
        guard="blob",
    )


def _unproven(check: _BlobCheck) -> Finding:
    found = _finding(check, "its sha256 was not compared: spec.guards.blobs is skip")
    return replace(found, severity="warning", next_step="")


def _make_model_change(
    model: ModelChange, check: _BlobCheck | None, last_applied: LastApplied | None
) -> ModelChange:
    blob = check.blob if check else None
    pointer = format_pointer(model.path)
    # The recorded digest does not describe a model that another client set since.
    ours = last_applied is not None and last_applied.owned.get(pointer) == model.before
    before = last_applied.digests.get(pointer, "") if last_applied is not None and ours else ""
    if not isinstance(blob, Blob):
        return replace(model, digest_before=before, trust=_name_trust(check))
    return replace(model, digest_before=before, digest_after=blob.digest, trust=blob.trust)


def check_applied_model(
    runtime: Runtime, comparison: Comparison, model: ModelReference, wanted: str
) -> Iterator[Drift]:
    """Yield the drift of the blob of a model; `wanted` is the digest that it must have.

    With an empty `wanted` only the signature is checked.
    """
    if not wanted and runtime.locates_models(comparison.resource):
        return  # an id needs no signature
    try:
        blob = runtime.inspect(comparison.resource, model)
    except BlobExpired as error:
        yield _expiring(comparison, model, error.message)
        return
    except ReconcilerError as error:
        if wanted:
            note = f'trained model "{model.name}" could not be checked: {error.message}'
            yield incomplete(comparison.resource, note)
        return
    if isinstance(blob, Blob) and _time_left(blob, runtime.clock()) < _SOON:
        yield _expiring(comparison, model, f"the signature expires at {blob.expires}")
    if not wanted:
        return
    if blob is None:
        note = f'trained model "{model.name}": no blob that can be read is known behind its id'
        yield incomplete(comparison.resource, note)
    else:
        yield from _check_bytes(comparison, model, wanted, blob)


def _check_bytes(
    comparison: Comparison, model: ModelReference, wanted: str, blob: Blob | Absent
) -> Iterator[Drift]:
    digest = blob.digest if isinstance(blob, Blob) else ""
    if digest == wanted:
        return
    if isinstance(blob, Blob) and digest.partition(":")[0] != wanted.partition(":")[0]:
        yield Drift(
            comparison.resource,
            Verdict.NOT_OBSERVABLE,
            format_pointer(model.path),
            note="the storage reports no comparable digest; set sha256 to compare the bytes",
        )
        return
    gone = "the blob is gone; the service may still use its copy"
    yield Drift(
        comparison.resource,
        Verdict.ARTIFACT_MUTATED,
        format_pointer(model.path),
        remembered=wanted,
        live=digest or ABSENT,
        declared=model.pin or ABSENT,
        note="the bytes at this address have changed" if digest else gone,
        commands=(f"reconciler drift --accept {comparison.resource.address}",) if digest else (),
    )


def _expiring(comparison: Comparison, model: ModelReference, note: str) -> Drift:
    where = f"; create a new one and store it in {model.sas}" if model.sas else ""
    pointer = format_pointer(model.path)
    return Drift(comparison.resource, Verdict.CREDENTIAL_EXPIRING, pointer, note=f"{note}{where}")

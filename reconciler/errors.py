"""The error tree. A class exists only where some code handles it differently.

    ReconcilerError(message, subject, next_step)
    ├── ManifestInvalid(findings)      what people wrote
    ├── SchemaInvalid                  a shipped schema breaks its own rules
    ├── PlanInvalid                    a plan file cannot be read, was changed or is too new
    ├── Unplannable(findings)          not everything could be read or bound: there is no plan
    ├── PlanRefused(findings)          a guard forbids the plan
    ├── StalePlan                      live moved under a plan
    ├── LedgerInvalid                  the ledger's chain is broken, or it cannot be written
    │   └── LedgerUnwritten(entry)     what was done could not be written down
    ├── LedgerConflict                 somebody else has taken the ledger's lock since
    ├── LockHeld(holder)               somebody else holds the ledger's lock
    ├── SecretMissing                  a referenced secret is not there
    ├── BlobForbidden / BlobExpired    a model cannot be looked at (absence is a value, no error)
    ├── TooManyCalls                   more calls are needed than --max-calls allows
    ├── NotApplied(findings)           the service reports success and still has the old value
    └── ServiceError(status, code, request_id)
        ├── Unauthorized               401 and 403
        ├── Throttled                  429 and 503, for longer than is waited
        ├── Rejected                   any other refusal of the request
        │   ├── Busy                   409: another operation runs on the resource
        │   └── OperationFailed        the write was accepted, and its operation has failed
        ├── StillRunning               an operation has not ended in time
        └── Unavailable                no answer, or none that can be read
            └── ReplyLost              the same, of a write: it may have been done

Every message says what, `subject` whom it concerns, `next_step` what to do, `evidence` what is
proven of the step that it ended. No message ever holds a secret.
"""

from __future__ import annotations

from dataclasses import replace

from reconciler.model import Entry, Finding, LockOwner


class ReconcilerError(Exception):
    """Anything that ends a command with an explanation instead of a traceback.

    `evidence` is in whole sentences, and empty for an error that ended no step. Only whoever sent
    the step knows it: an error itself does not claim what was done.
    """

    evidence: str = ""

    def __init__(self, message: str, *, subject: str = "", next_step: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.subject = subject
        self.next_step = next_step

    def findings(self) -> tuple[Finding, ...]:
        """What to show, at least one."""
        return (Finding(self.message, subject=self.subject, next_step=self._advise()),)

    def _advise(self, next_step: str | None = None) -> str:
        """What is proven, and then what to do."""
        advice = self.next_step if next_step is None else next_step
        return " ".join(part for part in (self.evidence, advice) if part)


class _WithFindings(ReconcilerError):
    def __init__(self, findings: tuple[Finding, ...]) -> None:
        super().__init__(findings[0].message, subject=findings[0].subject)
        self._findings = findings

    def findings(self) -> tuple[Finding, ...]:
        if not self.evidence:
            return self._findings
        said = ((one, self._advise(one.next_step)) for one in self._findings)
        return tuple(replace(one, next_step=next_step) for one, next_step in said)


class ManifestInvalid(_WithFindings):
    """What people wrote breaks a rule; holds every finding, not only the first."""


class Unplannable(_WithFindings):
    """Not everything could be read or bound, so nothing can be said of what will happen."""


class PlanRefused(_WithFindings):
    """The plan may be looked at but not applied."""


class SchemaInvalid(ReconcilerError):
    """A schema uses a word nobody knows or contradicts itself: a bug in the schema."""


class PlanInvalid(ReconcilerError):
    """A plan file cannot be read, was changed since it was written, or is of another version."""


class StalePlan(_WithFindings):
    """Live no longer has what the plan relies on; nothing was written."""


class LedgerInvalid(ReconcilerError):
    """The ledger cannot be trusted or written; names the first bad entry."""


class LedgerUnwritten(LedgerInvalid):
    """What was done is live and could not be written down; `entry` is what is missing."""

    def __init__(self, cause: LedgerInvalid, entry: Entry) -> None:
        super().__init__(cause.message, subject=cause.subject, next_step=cause.next_step)
        self.entry = entry


class LedgerConflict(ReconcilerError):
    """Somebody else has taken the lock of the ledger since: nothing more may be written."""


class LockHeld(ReconcilerError):
    """Somebody else holds the lock of the ledger; `lock_owner` says who."""

    def __init__(
        self, message: str, lock_owner: LockOwner, *, subject: str = "", next_step: str = ""
    ) -> None:
        super().__init__(message, subject=subject, next_step=next_step)
        self.lock_owner = lock_owner


class SecretMissing(ReconcilerError):
    """A secret is referenced and is not there."""


class BlobForbidden(ReconcilerError):
    """Storage refuses to show the blob: the credential lacks a right, or there is none."""


class BlobExpired(ReconcilerError):
    """The shared access signature is past its end, or not yet valid."""


class NotApplied(_WithFindings):
    """The service reports success and still has the old value."""


class TooManyCalls(ReconcilerError):
    """More calls are needed than may be sent; no call beyond them is sent."""


class ServiceError(ReconcilerError):
    """The service answered with an error, or not at all.

    `status` is the HTTP status, 0 where there was no answer; `code` the service's innermost
    error code; `request_id` what its support asks for.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 0,
        code: str = "",
        request_id: str = "",
        subject: str = "",
        next_step: str = "",
    ) -> None:
        super().__init__(message, subject=subject, next_step=next_step)
        self.status = status
        self.code = code
        self.request_id = request_id

    def findings(self) -> tuple[Finding, ...]:
        """One finding, with the status, the service's code and the request id as detail."""
        parts = [f"status {self.status}"] if self.status else []
        parts += [f"code {self.code}"] if self.code else []
        parts += [f"request id {self.request_id}"] if self.request_id else []
        detail = (", ".join(parts),) if parts else ()
        return (
            Finding(self.message, subject=self.subject, detail=detail, next_step=self._advise()),
        )


class Unauthorized(ServiceError):
    """401: no valid token. 403: the token lacks a role; the next step names it."""


class Throttled(ServiceError):
    """429 or 503, for longer than is waited."""


class Rejected(ServiceError):
    """The service refuses the request itself; trying again will not help."""


class Busy(Rejected):
    """409: another operation runs on the resource, or somebody else writes to it."""


class OperationFailed(Rejected):
    """The service accepted a write, and says that the operation of it failed or was canceled."""


class Unavailable(ServiceError):
    """No answer, a cut-off answer, or one that is not what the service speaks."""


class ReplyLost(Unavailable):
    """A write was sent and its answer was lost or broken: it may have been done, or not."""


class StillRunning(ServiceError):
    """An operation has not ended in time; it goes on at the service, and a later run follows it."""

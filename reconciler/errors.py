"""The error tree. A class exists only where some code handles it differently.

    ReconcilerError(message, subject, next_step)
    ├── ManifestInvalid(findings)      a manifest, the project file or a flag breaks a rule
    ├── SchemaInvalid                  a shipped schema breaks its own rules
    ├── PlanInvalid                    a plan file cannot be read, was changed or is too new
    ├── Unplannable(findings)          a resource could not be read or bound, so no plan exists
    ├── PlanRefused(findings)          a guard forbids the plan
    ├── StalePlan                      live has changed since the plan was made
    ├── LedgerInvalid                  the ledger's chain is broken, or it cannot be written
    │   └── LedgerUnwritten(entry)     the result of a step could not be recorded
    ├── LedgerConflict                 another process has taken the ledger's lock since
    ├── LockHeld(lock_owner)           another process holds the ledger's lock
    ├── SecretMissing                  a referenced secret does not exist
    ├── BlobForbidden / BlobExpired    a model cannot be read (an absent model is not an error)
    ├── Interrupted                    nothing more may start between two writes of a step
    ├── TooManyCalls                   more calls are needed than --max-calls allows
    ├── NotApplied(findings)           the service reports success and still has the old value
    ├── CheckFailed(detail)            a check before or after a write of a step did not pass
    └── ServiceError(status, code, request_id)
        ├── Unauthorized               401 and 403
        ├── Throttled                  429 and 503, for longer than the client waits
        ├── Rejected                   any other refusal of the request
        │   ├── Busy                   409: another operation runs on the resource
        │   └── OperationFailed        the write was accepted, and its operation has failed
        ├── StillRunning               an operation has not ended in time
        └── Unavailable                no answer, or an answer that cannot be read
            ├── Contradicted           two answers of the service contradict each other
            └── ReplyLost              the same for a write, which may have been done

`message` says what is wrong, `subject` names the resource or the file, `next_step` says what to do,
and `evidence` says what is proven about the step that the error ended. No message ever holds a
secret.
"""

from __future__ import annotations

from dataclasses import replace

from reconciler.model import Entry, Finding, LockOwner


class ReconcilerError(Exception):
    """An error that ends a command with an explanation instead of a traceback.

    `evidence` is in whole sentences, and empty for an error that ended no step. Only the sender of
    the step sets it: an error itself does not claim what was done.
    """

    evidence: str = ""

    def __init__(self, message: str, *, subject: str = "", next_step: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.subject = subject
        self.next_step = next_step

    def findings(self) -> tuple[Finding, ...]:
        """The findings to show, at least one."""
        return (Finding(self.message, subject=self.subject, next_step=self._advise()),)

    def _advise(self, next_step: str | None = None) -> str:
        """The evidence, and then the next step."""
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
    """A manifest, the project file or a flag breaks a rule; it holds every finding."""


class Unplannable(_WithFindings):
    """A resource could not be read or bound, so no plan can be made."""


class PlanRefused(_WithFindings):
    """A guard forbids the plan: it can be shown but not applied."""


class SchemaInvalid(ReconcilerError):
    """A schema uses an unknown word or contradicts itself: a bug in the schema."""


class PlanInvalid(ReconcilerError):
    """A plan file cannot be read, was changed after it was saved, or has another version."""


class StalePlan(_WithFindings):
    """Live no longer has the values that the plan relies on; nothing was written."""


class LedgerInvalid(ReconcilerError):
    """The ledger is broken or cannot be written; the message names the first bad entry."""


class LedgerUnwritten(LedgerInvalid):
    """The ledger did not take the result of a step; `entry` is the entry that it lacks.

    The ledger cannot be written, or another process has taken its lock.
    """

    def __init__(self, cause: LedgerInvalid | LedgerConflict, entry: Entry) -> None:
        super().__init__(cause.message, subject=cause.subject, next_step=cause.next_step)
        self.entry = entry


class LedgerConflict(ReconcilerError):
    """Another process has taken the lock of the ledger since: no more may be written."""


class LockHeld(ReconcilerError):
    """Another process holds the lock of the ledger; `lock_owner` describes it.

    If the lock seems to be abandoned, it is free when it is not renewed for another `watch_s`
    seconds. Otherwise `watch_s` is 0.
    """

    def __init__(
        self,
        message: str,
        lock_owner: LockOwner,
        *,
        subject: str = "",
        next_step: str = "",
        watch_s: float = 0.0,
    ) -> None:
        super().__init__(message, subject=subject, next_step=next_step)
        self.lock_owner = lock_owner
        self.watch_s = watch_s


class ServiceMissing(ReconcilerError):
    """A service does not exist, and its jobs or its scores are needed."""


class SecretMissing(ReconcilerError):
    """A referenced secret does not exist."""


class BlobForbidden(ReconcilerError):
    """Storage refuses to show the blob: a permission or the credential is missing."""


class BlobExpired(ReconcilerError):
    """The shared access signature has expired, or is not valid yet."""


class NotApplied(_WithFindings):
    """The service reports success and still has the old value."""


class CheckFailed(ReconcilerError):
    """A check before or after a write did not pass; `detail` has what was seen, line by line."""

    def __init__(
        self,
        message: str,
        *,
        detail: tuple[str, ...] = (),
        subject: str = "",
        next_step: str = "",
    ) -> None:
        super().__init__(message, subject=subject, next_step=next_step)
        self.detail = detail

    def findings(self) -> tuple[Finding, ...]:
        """The findings to show, at least one."""
        return tuple(replace(one, detail=self.detail) for one in super().findings())


class Interrupted(ReconcilerError):
    """A step stopped between two of its writes, because nothing more may start."""


class TooManyCalls(ReconcilerError):
    """More calls are needed than --max-calls allows; no call above the limit is sent."""


class ServiceError(ReconcilerError):
    """The service answered with an error, or not at all.

    `status` is the HTTP status, or 0 without an answer. `code` is the innermost error code of the
    service. `request_id` is the id that the vendor's support asks for.
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
    """429 or 503, for longer than the client waits."""


class Rejected(ServiceError):
    """The service refuses the request itself; a retry does not help."""


class Busy(Rejected):
    """409: another operation runs on the resource, or another client writes to it."""


class OperationFailed(Rejected):
    """The service accepted a write, and says that the operation of it failed or was canceled."""


class Unavailable(ServiceError):
    """No answer, a cut-off answer, or an answer that is not in the service's format."""


class Contradicted(Unavailable):
    """The service does not find a resource that its list shows: it is neither there nor absent."""


class ReplyLost(Unavailable):
    """A write was sent and its answer was lost or broken: the write may have been done or not."""


class StillRunning(ServiceError):
    """An operation has not ended in time; it continues, and a later run follows it."""

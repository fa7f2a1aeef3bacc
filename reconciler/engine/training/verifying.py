"""Scores the rows of a resource with its live model, and proves which model answers.

The command `verify` asks once. An apply asks again until the new model answers, because a service
may answer with the old one for a while after it has reported success.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

from reconciler.engine.pool import ResumableTask
from reconciler.engine.training.comparing import find_numbers, read_file, read_rows
from reconciler.errors import (
    LedgerConflict,
    LedgerInvalid,
    ReconcilerError,
    Rejected,
    ServiceMissing,
    TooManyCalls,
    Unauthorized,
)
from reconciler.files import resolve_path
from reconciler.model import Address, Fact, Manifest, ModelReference, Snapshot
from reconciler.model.values import dataclass
from reconciler.plans.proof import Answers, Proof, Verification, find_answers, find_gap, prove
from reconciler.ports import Scorer
from reconciler.text.durations import growing_waits, parse_duration

_USUAL_TOLERANCE: Final = 1e-6
_USUAL_TIMEOUT: Final = "2m"
_FIRST_S: Final = 0.2
_LONGEST_S: Final = 10.0
_GROWTH: Final = 1.5
# A later call gets the same answer.
_FINAL: Final = (Rejected, Unauthorized, TooManyCalls, ServiceMissing)


@dataclass(frozen=True)
class GoldenRows:
    """The rows of `spec.verify`, as they are sent. `digest` is that of their file.

    `timeout_s` is how many seconds a service may take until it answers, and an apply waits so long
    for the answers of the new model.
    """

    address: Address
    columns: tuple[str, ...]
    cells: tuple[tuple[str, ...], ...]
    digest: str
    tolerance: float
    timeout_s: float


class Question:
    """Which model answers for one resource.

    `digest` is that of the model that it must serve, and `before` that of the model before; both
    are empty if they are not known. `open_scorer` is called with the seconds that a call may wait
    for a service that refuses it for now.
    """

    def __init__(
        self,
        golden: GoldenRows,
        digest: str,
        facts: Mapping[tuple[str, str], Fact],
        open_scorer: Callable[[float], Scorer],
        before: str = "",
    ) -> None:
        self.golden, self.digest = golden, digest
        self._expected, self._old, self.before = find_answers(facts, digest, before)
        self._open_scorer = open_scorer
        self._scorer: Scorer | None = None

    def ask(self, within_s: float) -> Verification:
        """Scores the rows once. A service that cannot be reached is a result, not an error.

        No call is made if no answer could prove anything. Raises LedgerConflict or LedgerInvalid
        if the lock of the ledger is lost meanwhile.
        """
        gap = find_gap(self.golden.digest, self._expected)
        if gap:
            return self._conclude(Proof.INCONCLUSIVE, gap)
        try:
            self._scorer = self._scorer or self._open_scorer(within_s)
            answered = self._scorer.score(self.golden.columns, self.golden.cells)
        except (LedgerConflict, LedgerInvalid):
            raise
        except ReconcilerError as error:
            self._scorer = None
            may_change = not isinstance(error, _FINAL)
            return self._conclude(Proof.UNREACHABLE, error.message, may_change=may_change)
        numbers = find_numbers(answered)
        if numbers is None:
            return self._conclude(Proof.INCONCLUSIVE, "the answers are not numbers")
        given = Answers(self.golden.digest, tuple(numbers))
        proof, reason, may_change = prove(given, self._expected, self._old, self.golden.tolerance)
        return self._conclude(proof, reason, may_change=may_change)

    def _conclude(self, proof: Proof, reason: str, *, may_change: bool = False) -> Verification:
        return Verification(
            self.golden.address,
            proof,
            reason,
            self.digest,
            self.before,
            len(self.golden.cells),
            may_change,
        )


def watch(
    question: Question,
    awaits: Callable[[Verification], bool],
    report: Callable[[Verification], None] = lambda _: None,
) -> ResumableTask[Verification]:
    """Asks until the result is not one to wait for, or the timeout of the rows has passed.

    Sleeps between two calls, and gives `report` each result that it does not return.
    """
    waited, waits = 0.0, growing_waits(_FIRST_S, _LONGEST_S, _GROWTH)
    timeout_s = question.golden.timeout_s
    while True:
        begun = time.monotonic()
        found = question.ask(max(0.0, timeout_s - waited))
        waited += time.monotonic() - begun
        if not awaits(found) or waited >= timeout_s:
            return found
        report(found)
        pause = min(next(waits), timeout_s - waited)
        yield pause
        waited += pause


def is_unreachable_now(found: Verification) -> bool:
    """Whether a service did not answer, and may answer later."""
    return found.proof is Proof.UNREACHABLE and found.may_change


def find_digest(snapshot: Snapshot, address: Address, models: Iterable[ModelReference]) -> str:
    """Returns the digest of the model that a resource must serve, "" if it is not known.

    It is one that the manifest pins, or else one that the last apply recorded. Of several models
    it is the first one with a recorded evaluation. `models` are those that the manifest names.
    """
    digests = [one.pin for one in models if one.pin]
    last_applied = snapshot.last_applied_by_address.get(address)
    return choose_digest(
        snapshot.facts, digests or (last_applied.digests.values() if last_applied else ())
    )


def choose_digest(facts: Mapping[tuple[str, str], Fact], digests: Iterable[str]) -> str:
    """Returns the first digest of a model whose answers are recorded, or else the first one."""
    known = [one for one in digests if one]
    return next(
        (one for one in known if find_answers(facts, one)[0] is not None), "".join(known[:1])
    )


def read_golden_rows(root: Path, manifest: Manifest) -> GoldenRows:
    """Returns the rows of a manifest with `spec.verify`.

    Raises ReconcilerError if they cannot be read, or are outside the project's folder.
    """
    spec = manifest.spec["verify"]
    path = root / Path(manifest.file).parent / spec["rows"]
    # A link may have changed since the manifests were read.
    if not resolve_path(path).is_relative_to(resolve_path(root)):
        message, step = "the rows are outside the project's folder", "Move them into the folder."
        raise ReconcilerError(message, subject=str(manifest.address), next_step=step)
    step = f"Correct spec.verify.rows of {manifest.address}."
    data = read_file(path, spec["rows"], step)
    try:
        rows = read_rows(data)
    except ValueError as error:
        raise ReconcilerError(f"the rows {error}", subject=spec["rows"], next_step=step) from error
    columns = [one for one in rows[0] if one != spec.get("label")]
    return GoldenRows(
        manifest.address,
        tuple(columns),
        tuple(tuple(row[name] for name in columns) for row in rows),
        f"sha256:{hashlib.sha256(data).hexdigest()}",
        spec.get("tolerance", _USUAL_TOLERANCE),
        parse_duration(spec.get("timeout", _USUAL_TIMEOUT)),
    )

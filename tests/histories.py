"""A drift history in memory."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from reconciler.errors import LedgerInvalid
from reconciler.model import DriftPast, DriftRun


@dataclass
class MemoryHistory:
    """Keeps what is written; `broken` makes each call fail."""

    past: DriftPast = field(default_factory=DriftPast)
    broken: bool = False

    def load(self) -> DriftPast:
        self._check()
        return self.past

    def append(self, run: DriftRun | None, since: Mapping[str, str]) -> None:
        self._check()
        runs = (*self.past.runs, *([run] if run else []))
        self.past = DriftPast(runs, since, self.past.sent)

    def note_sent(self, keys: Collection[str]) -> None:
        self._check()
        self.past = DriftPast(self.past.runs, self.past.since, self.past.sent | set(keys))

    def _check(self) -> None:
        if self.broken:
            raise LedgerInvalid("the drift history cannot be read", subject="history")

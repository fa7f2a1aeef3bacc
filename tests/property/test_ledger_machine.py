"""Several writers, power cuts, compactions and locks that are lost, against a plain model.

A cut takes away any number of the last bytes of what was not yet told as written, and never more:
what a writer was told is durable must be there afterwards, in order, once.
"""

import contextlib
import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
)

from reconciler.errors import LedgerConflict, LockHeld, ReconcilerError
from reconciler.ledgers.file import FileLedger
from reconciler.model import Action, Address, Entry, Intent, LastApplied, LockOwner, StepResult
from tests.laws import examples
from tests.ledgers import make_entry, make_intent

pytestmark = pytest.mark.property
NAMES = st.sampled_from(["a", "b", "c"])
ACTIONS = st.sampled_from([Action.CREATE, Action.UPDATE, Action.DELETE])
FATES = st.sampled_from(list(StepResult))
WRITERS = st.integers(0, 2)
GONE = (Action.DELETE, Action.FORGET)


class Ledgers(RuleBasedStateMachine):
    """Three writers with a ledger each, all of one folder."""

    begun: Bundle[Intent] = Bundle("begun")

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="reconciler-machine-"))
        self.writers = [FileLedger(self.folder) for _ in range(3)]
        self.held: dict[int, tuple[contextlib.ExitStack, int]] = {}
        self.lines = 0
        self.durable = 0  # how many bytes of the file somebody was told of
        self.entries: list[Entry] = []
        self.open: dict[int, Intent] = {}
        self.last_applied_by_address: dict[Address, LastApplied] = {}
        self.fence = 0  # the highest that was ever given away
        self.written_fence = 0

    @property
    def file(self) -> Path:
        return self.folder / "ledger.jsonl"

    def teardown(self) -> None:
        for stack, _ in self.held.values():
            stack.close()
        shutil.rmtree(self.folder)

    def fence_of(self, writer: int) -> int:
        return self.held[writer][1] if writer in self.held else 0

    def write(self, writer: int, word: Any) -> int:
        """The number that a word is given; 0 where the writer was overtaken."""
        fence = self.fence_of(writer)
        word = replace(word, fence=fence)
        work = self.writers[writer].intend if isinstance(word, Intent) else self._record(writer)
        if 0 < fence < self.fence:
            with pytest.raises(LedgerConflict):
                work(word)
            return 0
        work(word)
        self.tell()
        self.written_fence = max(self.written_fence, fence)
        return self.lines

    def tell(self) -> None:
        """A writer was told that one more line is there."""
        self.lines += 1
        self.durable = self.file.stat().st_size

    def _record(self, writer: int) -> Any:
        return self.writers[writer].record

    @rule(target=begun, writer=WRITERS, name=NAMES, action=ACTIONS, wave=st.integers(0, 3))
    def begin(self, writer: int, name: str, action: Action, wave: int) -> Intent:
        patch = ({"op": "add", "path": "/x", "value": f"{name}ä" * (wave * 40)},)
        fleet = Address("Fleet", f"f{wave}") if wave else None
        intent = make_intent(name, action, wave=wave, fleet=fleet, patch=patch, inverse=patch)
        number = self.write(writer, intent)
        intent = replace(intent, sequence=number, fence=self.fence_of(writer))
        if number:
            self.open[number] = intent
        return intent

    @rule(writer=WRITERS, intent=begun, result=FATES, value=st.integers())
    def end(self, writer: int, intent: Intent, result: StepResult, value: int) -> None:
        if intent.sequence not in self.open:
            return
        entry = make_entry(
            intent.address.name,
            intent.action,
            intent=intent.sequence,
            result=result,
            owned={"/x": value},
            patch=intent.patch,
            inverse=intent.inverse,
            step_digest=intent.step_digest,
            wave=intent.wave,
            fleet=intent.fleet,
        )
        number = self.write(writer, entry)
        if number:
            del self.open[intent.sequence]
            self.keep(replace(entry, sequence=number, fence=self.fence_of(writer)))

    @rule(writer=WRITERS, name=NAMES)
    def forget(self, writer: int, name: str) -> None:
        entry = make_entry(name, Action.FORGET)
        number = self.write(writer, entry)
        if number:
            self.keep(replace(entry, sequence=number, fence=self.fence_of(writer)))

    def keep(self, entry: Entry) -> None:
        self.entries.append(entry)
        if entry.result is StepResult.DONE:
            if entry.action in GONE:
                self.last_applied_by_address.pop(entry.address, None)
            else:
                self.last_applied_by_address[entry.address] = LastApplied.of(entry)

    @rule(writer=WRITERS, name=NAMES, data=st.data())
    def cut(self, writer: int, name: str, data: st.DataObject) -> None:
        """The power goes in the middle of a write: nobody was told that it is done."""
        patch = ({"op": "add", "path": "/x", "value": "x" * 50},)
        self.writers[writer].intend(make_intent(name, patch=patch))
        after = self.file.read_bytes()
        kept = data.draw(st.integers(self.durable, len(after) - 1), label="bytes that are kept")
        zeros = data.draw(st.integers(0, 3), label="bytes that were never written")
        self.file.write_bytes(after[:kept] + bytes(zeros))

    @rule(writer=WRITERS)
    def compact(self, writer: int) -> None:
        if self.writers[writer].compact():
            self.tell()

    @rule(writer=WRITERS)
    def reload(self, writer: int) -> None:
        self.writers[writer] = FileLedger(self.folder)

    @precondition(lambda self: len(self.held) < 3)
    @rule(writer=WRITERS, data=st.data())
    def lock(self, writer: int, data: st.DataObject) -> None:
        if writer in self.held:
            return
        me = LockOwner(f"w{writer}", "ci", "apply", "", 0, "", "2026-11-20T12:00:00Z")
        me = replace(me, pid=os.getpid())
        stack = contextlib.ExitStack()
        holding = self.writers[writer].find_lock_owner()
        if holding is not None:
            with pytest.raises(LockHeld, match=holding.who):
                stack.enter_context(self.writers[writer].lock(me, 0, lambda _: None))
            return
        lease = stack.enter_context(self.writers[writer].lock(me, 0, lambda _: None))
        assert lease.lock_owner.fence > self.fence
        self.fence = lease.lock_owner.fence
        self.held[writer] = (stack, self.fence)

    @rule(writer=WRITERS)
    def unlock(self, writer: int) -> None:
        if writer in self.held:
            stack, _ = self.held.pop(writer)
            stack.close()

    @rule(writer=WRITERS)
    def force_unlock(self, writer: int) -> None:
        holding = self.writers[writer].find_lock_owner()
        if holding is None:
            with pytest.raises(ReconcilerError, match="no lock has the id"):
                self.writers[writer].unlock("w0")
            return
        assert self.writers[writer].unlock(holding.id) == holding
        self.fence += 1

    @invariant()
    def what_was_told_is_there_once_and_in_order(self) -> None:
        ledger = FileLedger(self.folder)
        assert list(ledger.entries()) == self.entries
        snapshot = ledger.load()
        assert snapshot.last_applied_by_address == self.last_applied_by_address
        assert {one.sequence: one for one in snapshot.open} == self.open
        assert snapshot.fence == self.written_fence
        assert snapshot.known == (self.lines > 0)
        verify_report = ledger.verify()
        assert verify_report.entries == len(self.entries)
        assert all(one.severity == "warning" for one in verify_report.findings)


TestLedgers = Ledgers.TestCase
TestLedgers.settings = settings(
    examples(50),
    stateful_step_count=40,
    suppress_health_check=list(HealthCheck),
)

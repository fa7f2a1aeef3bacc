"""The loop of `watch`: reads the project before each cycle, runs the cycle, and shows it."""

from __future__ import annotations

import contextlib
import gc
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

from reconciler.cli.apply_session import check_output_open
from reconciler.cli.context import Invocation
from reconciler.cli.cycle_sink import CycleSink
from reconciler.cli.exit_codes import ExitWord, get_exit_code
from reconciler.cli.loading import find_root
from reconciler.cli.outcome import keep_entries
from reconciler.cli.output import warn
from reconciler.cli.progress import Emitter
from reconciler.cli.signals import CLOSED
from reconciler.cli.watch_telemetry import WatchTelemetry, check_projects
from reconciler.cli.wiring import Assembly, PlanFlags, assemble, lock_ledger
from reconciler.engine.applying.apply import Declarations, FailurePolicy
from reconciler.engine.applying.journal import Author
from reconciler.engine.planning.selection import PlanRequest, resolve_request
from reconciler.engine.runtime import Runtime
from reconciler.engine.unattended import Applying
from reconciler.engine.watch import Prepared, Watcher, WatchPorts
from reconciler.engine.watch_loop import Loop
from reconciler.errors import ManifestInvalid, ReconcilerError
from reconciler.files import find_checkout, resolve_path
from reconciler.ledgers.leadership import LeaderLock
from reconciler.manifests.environments import list_environments
from reconciler.manifests.folder import ALL_ENVIRONMENTS
from reconciler.model import (
    CycleEnded,
    Event,
    Finding,
    Project,
    Snapshot,
    StepStarted,
)
from reconciler.model.ledger import WATCH
from reconciler.model.values import dataclass
from reconciler.model.watch import Cycle, CycleOutcome
from reconciler.plans.quarantine import name_author
from reconciler.ports import Leadership, Lease
from reconciler.text.durations import show_duration

# A loop that waits looks this often whether stdout still has a reader, in seconds.
_LOOK_EVERY_S: Final = 5.0
# A git command that changes the checkout is waited for this long, in seconds, this many times.
_SETTLING_S: Final = 0.5
_SETTLING_TIMES: Final = 10
# After a signal, the end may take so long, in seconds: the lease of the leader is released then.
_END_WITHIN_S: Final = 5.0
# From the gravest on.
_GRAVITY: Final[Sequence[tuple[CycleOutcome, ExitWord]]] = (
    (CycleOutcome.INTERRUPTED, "interrupted"),
    (CycleOutcome.FAILED, "error"),
    (CycleOutcome.DRIFT, "drift"),
    (CycleOutcome.INCOMPLETE, "evidence-incomplete"),
    (CycleOutcome.STANDBY, "locked"),
    (CycleOutcome.IN_SYNC, "in-sync"),
)


@dataclass(frozen=True)
class WatchFlags:
    """The flags of `watch` beside those of a plan; times are in seconds."""

    interval: float
    mode: Literal["report", "apply"]
    once: bool
    unmanaged: bool
    listen: str | None
    step_timeout: float
    patience: float


def run_watch(invocation: Invocation, flags: PlanFlags, watch: WatchFlags) -> int:
    """Run the cycles until a signal ends them, or one of each; returns the exit code.

    Raises the error of an environment that cannot be watched, before the first cycle.
    """
    interruption = invocation.interruption
    interruption.hasty = True
    with interruption.listening():
        check_output_open(invocation)
        run = _WatchRun(invocation, flags, watch)
        interruption.end_reads = run.end_reads
        try:
            return run.run_once() if watch.once else run.run()
        except KeyboardInterrupt:
            if watch.once or _name_code(interruption.number):
                raise
            invocation.print_error("Ended by a signal.")
            return 0
        finally:
            run.close()


def _name_code(number: int) -> int:
    """The exit code after a signal: Ctrl-C is an interruption, and any other one the usual end."""
    return 130 if number in {0, signal.SIGINT} else 0


class _WatchRun:
    """The loop over the environments that are watched: one, or all that the project has."""

    def __init__(self, invocation: Invocation, flags: PlanFlags, watch: WatchFlags) -> None:
        self._invocation, self._flags, self._watch = invocation, flags, watch
        self._all = invocation.environment == ALL_ENVIRONMENTS
        self._names: tuple[str, ...] = (invocation.environment,)
        invocation.reads_drift_ignore = True
        if watch.mode == "report":
            invocation.policies = None  # nothing is planned, so nothing is judged
        self._sink = CycleSink(invocation)
        invocation.emitter = Emitter(self._sink)
        invocation.emitter.observers.append(self._note_writing)
        ports = WatchPorts(
            invocation.emitter,
            lambda: datetime.now(UTC),
            combine=LeaderLock,
            observers=[self._note_cycle],
        )
        self._sources: dict[str, ProjectSource] = {}
        self._loop = Loop(
            lambda name: Watcher(name, self._sources[name].prepare, ports, watch.interval),
            watch.interval,
            threading.Event().wait,
        )
        self._telemetry: WatchTelemetry | None = None
        self._is_long = False
        self._timer = threading.Timer(_END_WITHIN_S, self._exit)
        self._timer.daemon = True
        self._select()
        self._check_all()
        self._telemetry = WatchTelemetry(invocation, watch.listen, watch.interval, once=watch.once)
        self._telemetry.select(self._names)

    def _note_writing(self, event: Event) -> None:
        """Note for the signal handler whether a step may be running."""
        if isinstance(event, StepStarted | CycleEnded):
            writing = isinstance(event, StepStarted)
            self._invocation.interruption.note_writing(writing=writing)

    def _select(self) -> None:
        """Watch the environments that the project has now."""
        if self._all:
            found = list_environments(find_root(self._invocation), tuple(self._sources))
            for name in sorted(self._sources.keys() - set(found)) if found else ():
                warn(Finding(_GONE, subject=name, severity="warning"), self._invocation)
                del self._sources[name]
            self._names = found or self._names
        for name in self._names:
            if name not in self._sources:
                source = ProjectSource(self._invocation, name, self._flags, self._watch)
                self._sources[name] = source
        self._loop.select(self._names)
        if self._telemetry is not None:
            self._telemetry.select(self._names)

    def _check_all(self) -> None:
        """Raise the error of the first environment if none can be watched now."""
        errors = [error for error in map(ProjectSource.check, self._sources.values()) if error]
        if len(errors) == len(self._sources):
            raise errors[0]
        projects = (one.project for one in self._sources.values())
        check_projects(one for one in projects if one is not None)

    def _note_cycle(self, cycle: Cycle) -> None:
        source = self._sources[cycle.environment]
        if self._telemetry is not None:
            self._telemetry.note_cycle(cycle, source.project, source.runtime)

    def run_once(self) -> int:
        """Run one cycle of each environment; returns the exit code, as that of drift."""
        outcomes = {cycle.outcome for cycle in self._loop.run_once()}
        self._sink.check()
        exit_word = next(word for outcome, word in _GRAVITY if outcome in outcomes)
        return get_exit_code(exit_word, detailed=self._invocation.detailed_exitcode)

    def run(self) -> int:
        """Run cycles until stdout has no reader, or a signal raises KeyboardInterrupt."""
        while self._invocation.is_output_open():
            self._sink.check()
            if self._loop.run_next(_LOOK_EVERY_S) is not None:
                self._warn_of_length()
                # The connections of a cycle are closed when its objects are collected, and the
                # collector of this program seldom runs by itself.
                gc.collect()
            self._select()
        self._invocation.print_error(f"Ended: {CLOSED}.")
        return 1

    def end_reads(self) -> None:
        """End the process soon, also if storage does not answer: a lease that is kept expires."""
        self._timer.start()

    def _exit(self) -> None:
        self._invocation.print_error("Ended while a service did not answer.")
        interruption = self._invocation.interruption
        interruption.abort(130 if self._watch.once else _name_code(interruption.number))

    def _warn_of_length(self) -> None:
        """Warn once of cycles that take longer than the interval."""
        was_long, self._is_long = self._is_long, self._loop.took_s > self._watch.interval
        if self._is_long and not was_long:
            took, interval = show_duration(self._loop.took_s), show_duration(self._watch.interval)
            said = (
                f"the cycle took {took}, and --interval is {interval}: the next one starts at once"
            )
            warn(Finding(said, severity="warning"), self._invocation)

    def close(self) -> None:
        """Let other processes lead at once, and end the pages."""
        if self._telemetry is not None:  # before another process may send the same messages
            self._telemetry.close()
        self._loop.close()
        self._timer.cancel()


class ProjectSource:
    """One environment of the project, read before each cycle; keeps its last valid state."""

    def __init__(
        self, invocation: Invocation, environment: str, flags: PlanFlags, watch: WatchFlags
    ) -> None:
        self._invocation, self._environment = invocation, environment
        self._flags, self._watch = flags, watch
        self._valid: tuple[Assembly, PlanRequest] | None = None
        self._is_new = False
        self._leadership: tuple[tuple[str, ...], Leadership] | None = None
        self.runtime: Runtime | None = None

    @property
    def project(self) -> Project | None:
        """The last valid state of the project; None before there is one."""
        return self._valid[0].project if self._valid is not None else None

    def check(self) -> ReconcilerError | None:
        """Read the project for the first cycle; returns its error if it is invalid now."""
        try:
            self._valid = self._read()
        except ReconcilerError as error:
            return error
        self._is_new = True
        return None

    def prepare(self) -> Prepared:
        """What the next cycle works with; raises ReconcilerError without any valid state."""
        errors: tuple[Finding, ...] = ()
        self._invocation.environment = self._environment
        if not self._is_new:
            try:
                self._valid = self._read()
            except ReconcilerError as error:
                errors = (*error.findings(), _KEPT)
        self._is_new = False
        if self._valid is None:
            raise ManifestInvalid(errors[:-1])
        assembly, request = self._valid
        flags, watch = self._flags, self._watch
        made = assembly.runtime(
            flags.parallelism, flags.max_calls, watch.step_timeout, watch.patience
        )
        self.runtime = replace(made, halted=self._invocation.interruption.halted)
        return Prepared(
            runtime=self.runtime,
            request=request,
            lock_owner=assembly.lock_owner(WATCH),
            leadership=self._keep_leadership(assembly),
            applying=self._make_applying(assembly) if watch.mode == "apply" else None,
            errors=errors,
            lists_unmanaged=watch.unmanaged,
        )

    def _make_applying(self, assembly: Assembly) -> Applying:
        revision, root = assembly.revision, Path(assembly.project.root)

        def make_author(digest: str) -> Author:
            differing = revision.list_differing()
            by = name_author(revision.author)
            return Author(by, revision.host, revision.name, digest, differing)

        return Applying(
            lock=lambda: _lock_again(assembly),
            combine=lambda lock: lock,
            make_author=make_author,
            judge=assembly.judge_by_command,
            keep=lambda outcome: keep_entries(self._invocation, outcome, root),
            declared=Declarations(assembly.project.root, assembly.loaded.manifests),
            policy=FailurePolicy(read_back_s=self._watch.patience),
        )

    def _keep_leadership(self, assembly: Assembly) -> Leadership:
        """The lease of the leader; the same object as long as the ledger is in the same place.

        Only an object that has watched a silent leader for a whole lease takes its place.
        """
        project = assembly.project
        place = (project.ledger_container, project.ledger_prefix, project.root, project.ledger)
        if self._leadership is None or self._leadership[0] != place:
            self._leadership = (place, assembly.open_leadership())
        return self._leadership[1]

    def _read(self) -> tuple[Assembly, PlanRequest]:
        """Read the project while no git command changes its checkout.

        If its folder is a link that is replaced meanwhile, the project is read again.
        """
        self._invocation.environment = self._environment
        folder, lock = find_root(self._invocation), None
        for _ in range(_SETTLING_TIMES):
            place = resolve_path(folder)
            lock = _find_index_lock(folder)
            changes = lock is not None and lock.exists()
            assembly = None if changes else assemble(self._invocation, ())
            if place != resolve_path(folder):
                continue
            if assembly is not None and not (lock is not None and lock.exists()):
                request = assembly.request(self._flags)
                resolve_request(request, Snapshot({}, known=False))  # for unknown addresses
                return assembly, request
            time.sleep(_SETTLING_S)
        raise ReconcilerError(
            "a git command changes the checkout now, so its files are not read",
            subject=str(lock),
            next_step="The next cycle tries again. If no git command runs, remove this file.",
        )


@contextlib.contextmanager
def _lock_again(assembly: Assembly) -> Iterator[Lease]:
    """Take the lock of the ledger, also from an earlier cycle that could not release it.

    Each cycle gives the lock back before the next one takes it, so nothing uses that one any more.
    """
    us, left = assembly.lock_owner(WATCH), assembly.ledger.find_lock_owner()
    if left is not None and (left.host, left.pid, left.started) == (us.host, us.pid, us.started):
        assembly.ledger.unlock(left.id)
    with lock_ledger(assembly, WATCH, 0.0) as lock:
        yield lock


_GONE: Final = "is not watched any more: the project has no such environment now"
_KEPT: Final = Finding(
    "the last valid state of the project is used",
    next_step="Correct the errors above; the next cycle reads the project again.",
    severity="warning",
)


def _find_index_lock(folder: Path) -> Path | None:
    """The file that a git command has while it changes the checkout; None without a checkout."""
    place = find_checkout(folder) / ".git"
    if place.is_file():  # a linked worktree, or a submodule
        with contextlib.suppress(OSError, ValueError):
            named = place.read_text(encoding="utf-8").removeprefix("gitdir:").strip()
            return place.parent / named / "index.lock"
    return place / "index.lock" if place.is_dir() else None

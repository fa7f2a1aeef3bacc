"""The composition root: builds the runtime of one run from project, manifests and environment.

The commands call it. Only this module connects the ports to the services, the ledger and blob
storage. It is long because the parts of a run meet in one place.
"""

from __future__ import annotations

import logging
import os
import sys
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Final, Literal

from reconciler.blobs import BlobStorage
from reconciler.cli.context import Invocation
from reconciler.cli.guards import check_allowed
from reconciler.cli.loading import list_notes, load_all
from reconciler.cli.local_emulator import await_record, use_emulator
from reconciler.engine.planning.selection import PlanRequest
from reconciler.engine.runtime import Providers, Runtime
from reconciler.errors import ManifestInvalid, ReconcilerError
from reconciler.ledgers.opening import open_drift_history, open_leadership, open_ledger
from reconciler.ledgers.process import describe_process
from reconciler.manifests import PROJECT_FILE, Loaded
from reconciler.manifests.git import Revision, read_commit_authors, read_revision
from reconciler.manifests.labels import select_by_labels
from reconciler.manifests.recognition import describe_unread
from reconciler.manifests.secrets import resolve_known, secret_resolver
from reconciler.model import (
    Address,
    Finding,
    Inputs,
    LockOwner,
    Manifest,
    Plan,
    Snapshot,
    UnreadFile,
)
from reconciler.model.policies import PolicyContext
from reconciler.model.values import dataclass
from reconciler.observations import ObservationCache
from reconciler.package_data import read_schema
from reconciler.plans.guards import is_allowed
from reconciler.plans.plan_file import digest_of
from reconciler.ports import Access, Emit, Kind, Leadership, Lease, Ledger
from reconciler.secrets.redaction import Redaction
from reconciler.text.suggestions import ask, suggest
from reconciler.text.times import format_utc
from reconciler.transport import CommandRateLimiter, token_credential

_NOWHERE: Final = logging.NullHandler()


_STEP_TIMEOUT_S: Final = 1800.0


@dataclass(frozen=True)
class PlanFlags:
    """The flags of a command that shape its plan."""

    targets: Sequence[str] = ()
    excluded: Sequence[str] = ()
    selectors: Sequence[str] = ()
    allowed: Collection[str] = ()
    rotated: Sequence[str] = ()
    prune: bool = False
    destroy: bool = False
    reason: str = ""
    refresh: Literal["auto", "full", "none"] = "auto"
    parallelism: int = 10
    max_calls: int | None = None


class Assembly:
    """One project with everything that is needed to plan and apply it."""

    def __init__(self, invocation: Invocation, loaded: Loaded, kinds: Mapping[str, Kind]) -> None:
        if loaded.project is None:
            raise ManifestInvalid(loaded.findings)
        silence_library_logs()
        self._invocation = invocation
        self.kinds = kinds
        self.loaded = loaded
        self._folder = Path(loaded.project.root)
        project = replace(loaded.project, root=invocation.state_folder or loaded.project.root)
        self.project, self._shared, self._elsewhere = use_emulator(project, loaded.files)
        # A command that fails before its plan is shown reports them with the error.
        invocation.notes = self._shared

    @cached_property
    def revision(self) -> Revision:
        """The commit of the work tree and the current user; read once."""
        return read_revision(self._folder, self.loaded.files, self.loaded.walked)

    @cached_property
    def commit_authors(self) -> frozenset[str]:
        """The e-mail addresses of the authors of the commit of the work tree; read once."""
        return read_commit_authors(Path(self.project.root))

    @property
    def emit(self) -> Emit:
        """Reports each event when it happens."""
        return self._invocation.emitter

    @cached_property
    def ledger(self) -> Ledger:
        """The ledger of the project."""
        return open_ledger(self.project, os.environ, token_credential)

    def open_leadership(self) -> Leadership:
        """The lease of the leader of several `watch` processes, beside the ledger."""
        return open_leadership(self.project, os.environ, token_credential)

    def load_snapshot(self) -> Snapshot:
        """The ledger's snapshot, with a warning on standard error if the ledger has lost its lines.

        A command that makes a plan needs no such warning: the plan has it.
        """
        snapshot = self.ledger.load()
        self.warn_of(snapshot.lost)
        return snapshot

    def warn_of(self, *lost: Finding | None) -> None:
        """Print the warnings of a ledger or drift history that has lost lines; None is ignored."""
        from reconciler.render.findings import render_findings

        found = tuple(one for one in lost if one is not None)
        if found:
            paint = self._invocation.paint(sys.stderr)
            self._invocation.print_error(render_findings(found, paint=paint))

    @cached_property
    def observations(self) -> ObservationCache:
        """The cache of earlier observations; the current schemas are part of its key."""
        schemas = sorted(digest_of(read_schema(kind.schema_name)) for kind in self.kinds.values())
        folder = Path(self.project.root, self.project.ledger)
        return ObservationCache(folder, self.project.cloud.name, " ".join(schemas))

    @cached_property
    def redaction(self) -> Redaction:
        """The secrets of this run; those of the manifests are known once `connect` was called."""
        return Redaction(os.environ)

    def connect(
        self,
        max_calls: int | None = None,
        step_timeout_s: float = _STEP_TIMEOUT_S,
        patience_s: float = 0.0,
    ) -> Access:
        """What the providers need, with one rate limiter; a command calls it once.

        The client waits for an operation of the service for `step_timeout_s` seconds, and for
        `patience_s` seconds until a finished write shows.
        """
        rate_limiter = CommandRateLimiter(self.emit, most=max_calls)
        redaction = self.redaction
        resolve = secret_resolver(Path(self.project.root), os.environ, redaction.know)
        resolve_known(resolve, self.loaded.secrets)
        cloud = self.project.cloud
        return Access(
            cloud, self.emit, rate_limiter, step_timeout_s, resolve, redaction, patience_s
        )

    def runtime(
        self,
        parallelism: int,
        max_calls: int | None = None,
        step_timeout_s: float = _STEP_TIMEOUT_S,
        patience_s: float = 0.0,
    ) -> Runtime:
        """The ports of this project; a command calls it once, as `connect` says."""
        access = self.connect(max_calls, step_timeout_s, patience_s)
        return self.make_runtime(access, parallelism)

    def make_runtime(self, access: Access, parallelism: int) -> Runtime:
        """The ports of this project over the calls of `access`."""
        return Runtime(
            kinds=self.kinds,
            providers=Providers(self.kinds, access),
            ledger=self.ledger,
            observations=self.observations,
            drift_history=open_drift_history(self.project, os.environ, token_credential),
            blobs=BlobStorage(
                access.resolve,
                access.cloud.blob,
                environment=os.environ,
                token_credential=token_credential,
                redact=access.redaction.redact,
            ),
            resolve=access.resolve,
            emit=access.emit,
            clock=lambda: datetime.now(UTC),
            rate_limiter=access.rate_limiter,
            parallelism=parallelism,
        )

    def warn_of_shared(self) -> None:
        """Print a warning if `cloud: emulator` means an emulator that other projects may use.

        A command that makes a plan needs no such warning: the plan has it.
        """
        self._invocation.notes = ()
        self._invocation.print_findings(self._shared)

    def check_storage(self) -> tuple[Finding, ...]:
        """The warnings for a command that writes to storage.

        Raises ManifestInvalid if the manifests name a blob storage that is not that of the
        project's own emulator: it belongs to another project.
        """
        if self._elsewhere:
            raise ManifestInvalid(
                tuple(replace(finding, severity="error") for finding in self._elsewhere)
            )
        self._invocation.notes = ()
        return self._shared

    def lock_owner(self, why: str) -> LockOwner:
        """This process as the owner of the ledger's lock; `why` is the command."""
        return make_lock_owner(self.revision, why)

    def request(self, flags: PlanFlags, paths: Sequence[str] = ()) -> PlanRequest:
        """The request of a plan; raises ManifestInvalid for a flag with a wrong value.

        When only some `paths` were read, no resource counts as an orphan.
        """
        if self.loaded.policy_errors:
            raise ManifestInvalid(self.loaded.policy_errors)
        targets = select_addresses(
            "--target", flags.targets, flags.selectors, self.loaded.manifests
        )
        return PlanRequest(
            whole=not paths,
            prune=flags.prune,
            destroy=flags.destroy,
            manifests=self.loaded.manifests,
            defaults=self.project.defaults,
            limits=self.project.guards,
            inputs=self._inputs(flags, targets),
            targets=targets,
            excluded=parse_addresses("--exclude", flags.excluded),
            allowed=check_allowed(flags.allowed, flags.reason, self.kinds, self.project),
            rotate=parse_addresses("--rotate", flags.rotated),
            refresh=flags.refresh,
            rollouts=self.loaded.rollouts,
            retrainings=self.loaded.retrainings,
            unread=(*self.loaded.unread, *self._absent),
            notes=(
                *list_notes(self.loaded),
                *map(describe_unread, self._absent),
                *self._shared,
                *self._elsewhere,
            ),
            moved_places=self.project.moved_places,
            policies=self.loaded.policies,
            policy_context=self.policy_context,
            ignored=self.loaded.ignored,
        )

    def judge_by_command(self, plan: Plan) -> Plan:
        """The plan with what the command of --policy-command says about it, if there is one."""
        command = self._invocation.policy_command
        if not command:
            return plan
        from reconciler.cli.policy_command import judge_by_command

        self._invocation.clear_progress()
        return judge_by_command(plan, command, self.redaction.redact)

    @property
    def policy_context(self) -> PolicyContext:
        """What the policies need to know of this run, and the planner does not."""
        return PolicyContext(environment=self.project.environment)

    @property
    def _absent(self) -> list[UnreadFile]:
        """The manifests that the checkout leaves out, as one: they may be thousands."""
        absent = self.revision.absent
        more = f" and {len(absent) - 1:,} more" if len(absent) > 1 else ""
        why = "the checkout leaves it out (a sparse checkout, or a submodule)"
        return [UnreadFile(f"{name}{more}", why, None) for name in absent[:1]]

    def _inputs(self, flags: PlanFlags, targets: Sequence[Address]) -> Inputs:
        used = {manifest.address.kind for manifest in self.loaded.manifests}
        schemas = {
            kind.schema_name: digest_of(read_schema(kind.schema_name))
            for name, kind in self.kinds.items()
            if name in used
        }
        return Inputs(
            project=self.project.name,
            files=dict(sorted(self.loaded.files.items())),
            cloud=self.project.cloud.name,
            commit=self.revision.commit,
            dirty=self.revision.dirty,
            differing=self.revision.differing,
            schemas=schemas,
            targets=tuple(map(str, targets)),
            excluded=tuple(flags.excluded),
            allowed=tuple(sorted({*flags.allowed})),
            reason=self.redaction.redact(flags.reason),
            environment=self.project.environment,
        )


def assemble(
    invocation: Invocation, paths: Sequence[str], allowed: Collection[str] = ()
) -> Assembly:
    """The project with its manifests; raises ManifestInvalid with all their errors."""
    loaded, kinds = load_all(invocation, paths)
    errors = tuple(
        found
        for found in loaded.findings
        if found.severity == "error" and not (found.guard and is_allowed(found, allowed))
    )
    if errors:
        raise ManifestInvalid(errors)
    if loaded.project is not None and not invocation.state_folder:
        await_record(loaded.project)
    return Assembly(invocation, loaded, kinds)


def assemble_for_plan(invocation: Invocation, paths: Sequence[str], flags: PlanFlags) -> Assembly:
    """The project with its manifests, for a plan of it.

    Raises ManifestInvalid with all errors of the manifests, and with those that only the services
    show, so that one run reports everything that prevents the plan.
    """
    try:
        return assemble(invocation, paths, flags.allowed)
    except ManifestInvalid as error:
        found = error.findings()
        raise ManifestInvalid((*found, *_look_further(invocation, paths, flags, found))) from error


def _look_further(
    invocation: Invocation, paths: Sequence[str], flags: PlanFlags, known: Sequence[Finding]
) -> Iterator[Finding]:
    """Yield what a plan of the manifests finds beside the errors that prevent it.

    Only what has a place in a manifest is said: whether the services can be read is another matter.
    """
    from reconciler.engine.planning.plan import make_plan

    loaded, kinds = load_all(invocation, paths)
    refused = {one.address: one for one in loaded.refused if one.address.kind in kinds}
    manifests = (*loaded.manifests, *refused.values())
    if loaded.project is None or not manifests:
        return
    assembly = Assembly(invocation, replace(loaded, manifests=manifests), kinds)
    try:
        runtime = assembly.runtime(flags.parallelism, flags.max_calls)
        make_plan(runtime, assembly.request(flags, paths))
    except ReconcilerError as error:
        yield from (one for one in error.findings() if one.place and one not in known)


def assemble_project(invocation: Invocation) -> Assembly:
    """The project without its manifests."""
    name = invocation.project_file or PROJECT_FILE
    loaded, kinds = load_all(invocation, [name])
    return Assembly(invocation, loaded, kinds)


def assemble_leniently(invocation: Invocation) -> Assembly:
    """The project with the manifests that can be read now; an error in one of them is allowed."""
    return Assembly(invocation, *load_all(invocation, []))


def parse_addresses(flag: str, given: Sequence[str]) -> tuple[Address, ...]:
    """The addresses in the values of a flag; raises ManifestInvalid with every wrong value."""
    addresses, wrong = [], []
    for text in given:
        try:
            addresses.append(Address.parse(text))
        except ValueError:
            wrong.append(
                Finding(
                    f'{flag} "{text}" is not an address',
                    next_step="An address is Kind/name, such as WebService/census.",
                )
            )
    if wrong:
        raise ManifestInvalid(tuple(wrong))
    return tuple(addresses)


def select_addresses(
    name: str, given: Sequence[str], selectors: Sequence[str], manifests: Sequence[Manifest]
) -> tuple[Address, ...]:
    """The addresses in the values of a flag or an argument, or those that have the labels of -l.

    Raises ManifestInvalid for a wrong value, and ReconcilerError if both are given.
    """
    if not selectors:
        return parse_addresses(name, given)
    if given:
        raise ReconcilerError(f"{name} and -l both select resources", next_step="Give one of them.")
    return select_by_labels(manifests, selectors)


def make_lock_owner(revision: Revision, why: str) -> LockOwner:
    """This process as the owner of a lock; `why` is the command, for people to read."""
    host, pid, started = describe_process()
    return LockOwner(
        id=str(uuid.uuid4()),
        who=revision.author,
        why=why,
        host=host,
        pid=pid,
        started=started,
        since=now(),
        commit=revision.name,
    )


def lock_ledger(assembly: Assembly, why: str, within_s: float) -> AbstractContextManager[Lease]:
    """Take the lock of the project's ledger; waits for it at most `within_s` seconds."""
    return assembly.ledger.lock(assembly.lock_owner(why), within_s, assembly.emit)


def now() -> str:
    """The current time in the ledger's format, in UTC."""
    return format_utc(datetime.now(UTC))


def not_in_ledger(address: Address, known: Iterable[Address | None]) -> ReconcilerError:
    """The error for an address that is not in the ledger; it suggests a similar address."""
    names = sorted({str(one) for one in known if one is not None})
    near = suggest(str(address), names)
    hint = (
        ask(str(address), near, "{}")
        if near
        else "It was never applied, or was destroyed or forgotten."
    )
    return ReconcilerError("is not in the ledger", subject=str(address), next_step=hint)


def silence_library_logs() -> None:
    """Discard the log records of libraries; a second call has no effect."""
    logging.getLogger().addHandler(_NOWHERE)

"""Reads and writes the files of signed approvals, and reads the keyring.

The files of a folder may come from anyone: they are bounded, and never read through a link.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Final

from reconciler.cli.context import Invocation
from reconciler.cli.output import note, warn
from reconciler.cli.wiring import Assembly
from reconciler.engine.planning.selection import PlanRequest
from reconciler.errors import ManifestInvalid, ReconcilerError, StalePlan
from reconciler.files import check_path, find_checkout, is_stream, resolve_path, write_whole
from reconciler.model import Approval, Finding, Plan
from reconciler.model.values import dataclass
from reconciler.plans.approvals import (
    SIGNATURE_SUFFIX,
    SUFFIX,
    ApprovalFile,
    JudgedApprovals,
    check_required,
    judge_approvals,
    make_statement,
    read_statement,
)
from reconciler.plans.ssh_keyring import Keyring, parse_keyring
from reconciler.plans.ssh_signatures import parse_signature
from reconciler.text.counting import count

_MOST_FILES: Final = 1000
# A statement names each model: 10,000 services have about 3 MB of them.
_MOST_STATEMENT: Final = 16 << 20
_MOST_BYTES: Final = 4 * _MOST_STATEMENT
_MOST_SIGNATURE: Final = 64 << 10
_MOST_KEYRING: Final = 1 << 20
_SHARED: Final = 0o644


@dataclass(frozen=True)
class SignedApprovals:
    """The approvals of a folder with the keyring that says whose they are, as they were read.

    `required` is how many must count. `authors` are the names of the authors of the commit.
    """

    files: tuple[ApprovalFile, ...]
    keyring: Keyring
    required: int
    authors: frozenset[str] = frozenset()

    def judge(self, plan: Plan, now: datetime) -> JudgedApprovals:
        """Which approvals count for a plan now."""
        wanted = make_statement(plan)
        return judge_approvals(self.files, self.keyring, wanted, now, self.authors)

    def refuse(self, plan: Plan, judged: JudgedApprovals) -> Plan:
        """The plan, which refuses itself if it has changes and too few approvals count."""
        found = check_required(judged, self.required) if plan.steps else ()
        return replace(plan, findings=(*plan.findings, *found)) if found else plan

    def judge_again(self, plan: Plan, then: datetime, now: datetime) -> tuple[Approval, ...]:
        """The approvals that count now; raises StalePlan if one of those then has expired since."""
        judged = self.judge(plan, now)
        lost = sorted(self.judge(plan, then).approvers - judged.approvers)
        if lost:
            finding = Finding(
                f"the approval of {', '.join(lost)} has expired since: nothing was written",
                next_step="Have these changes approved again.",
            )
            raise StalePlan((finding,))
        return judged.approvals

    def report(self, invocation: Invocation, plan: Plan, now: datetime) -> Plan:
        """The plan as `refuse` returns it; prints which approvals count, and which do not."""
        judged = self.judge(plan, now)
        refused = self.refuse(plan, judged)
        if not plan.steps or refused is not plan:
            return refused
        for finding in judged.warnings:
            warn(finding, invocation)
        for one in judged.approvals:
            note(f"Approved by {one.principal} until {one.expires} ({one.key})", invocation)
        return plan

    def add_approvers(self, request: PlanRequest, clock: Callable[[], datetime]) -> PlanRequest:
        """The request of a plan whose policies ask for approvals."""
        return replace(
            request,
            find_approvers=lambda plan: self.judge(plan, clock()).approvers,
            policy_context=replace(request.policy_context, authors=self.authors),
        )


def read_approvals(
    invocation: Invocation, assembly: Assembly, folder: str, keyring: str, required: int
) -> SignedApprovals:
    """The approvals in a folder, for an apply of a project.

    Prints a warning for a keyring that the project could change. Raises ReconcilerError for a
    folder that cannot be read, and ManifestInvalid with every wrong line of the keyring.
    """
    found = read_keyring(keyring)
    for finding in _warn_of_place(keyring, assembly.project.root):
        warn(finding, invocation)
    files = tuple(_read_folder(folder))
    authors = found.list_names(assembly.commit_authors)
    return SignedApprovals(files, found, required, authors)


def read_keyring(name: str) -> Keyring:
    """The keyring in a file; raises ManifestInvalid with every wrong line."""
    text = _read_text(name)
    keyring, findings = parse_keyring(text, name)
    if findings:
        raise ManifestInvalid(findings)
    return keyring


def _read_text(name: str) -> str:
    step = "Name the file of the approvers' public keys, in the format allowed_signers of OpenSSH."
    try:
        with Path(name).open("rb") as file:
            data = file.read(_MOST_KEYRING + 1)
    except OSError as error:
        said = f"the keyring cannot be read: {error.strerror}"
        raise ReconcilerError(said, subject=name, next_step=step) from error
    if len(data) > _MOST_KEYRING:
        said = f"the keyring is larger than {_MOST_KEYRING >> 20} MB"
        raise ReconcilerError(said, subject=name, next_step=step)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        said = f"the keyring is not UTF-8 text: line {line}"
        raise ReconcilerError(said, subject=name, next_step=step) from error


def _warn_of_place(keyring: str, root: str) -> Iterator[Finding]:
    """Yield a warning for a keyring that a pull request could change."""
    path = Path(keyring)
    if not is_stream(path) and resolve_path(path).is_relative_to(find_checkout(Path(root))):
        yield Finding(
            "the keyring is in the checkout: a change of the project can also change who may"
            " approve it",
            subject=keyring,
            next_step="Keep it at a fixed path outside, or read it from the reviewed branch:"
            " --keyring <(git show origin/main:allowed_signers)",
            severity="warning",
        )


def _read_folder(name: str) -> Iterator[ApprovalFile]:
    """Yield the approvals of a folder; raises ReconcilerError if it cannot be listed."""
    try:
        with os.scandir(name) as listed:
            names = sorted(one.name for one in listed)
    except OSError as error:
        raise ReconcilerError(
            f"the folder of approvals cannot be read: {error.strerror}",
            subject=name,
            next_step="Name the folder with the files that reconciler approve has written.",
        ) from error
    found = [one for one in names if one.endswith(SUFFIX)]
    if len(found) > _MOST_FILES:
        raise ReconcilerError(
            f"the folder has {count(len(found), 'approval')}; the most is {_MOST_FILES:,}",
            subject=name,
            next_step="Delete the approvals that have expired.",
        )
    left = _MOST_BYTES
    for one in found:
        file = _read_approval(Path(name), one, left)
        left -= len(file.statement)
        yield file
    for one in names:
        if (
            one.endswith(f"{SUFFIX}{SIGNATURE_SUFFIX}")
            and one[: -len(SIGNATURE_SUFFIX)] not in names
        ):
            yield ApprovalFile(one, problem="is a signature without its statement")


def _read_approval(folder: Path, name: str, left: int) -> ApprovalFile:
    """The two files of an approval; `left` is how many bytes of statements may still be read."""
    if left <= 0:
        said = f"is not read: the approvals before it have {_MOST_BYTES >> 20} MB"
        return ApprovalFile(name, problem=said)
    try:
        statement = _read_bounded(folder / name, _MOST_STATEMENT)
    except _Unread as error:
        return ApprovalFile(name, problem=str(error))
    try:
        signature = _read_bounded(folder / f"{name}{SIGNATURE_SUFFIX}", _MOST_SIGNATURE)
    except _Unread as error:
        return ApprovalFile(name, problem=f"its signature {error}")
    return ApprovalFile(name, statement, signature)


class _Unread(Exception):
    """A file that is not read; the text follows its name."""


def _read_bounded(path: Path, most: int) -> bytes:
    """The content of a regular file; raises _Unread for a link, a device, and a long file."""
    if path.is_symlink():
        raise _Unread("is a symbolic link, and approvals are not read through links")
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise _Unread("is not a regular file")
            data = file.read(most + 1)
    except FileNotFoundError as error:
        raise _Unread("does not exist") from error
    except OSError as error:
        raise _Unread(f"cannot be read: {error.strerror}") from error
    if len(data) > most:
        raise _Unread(f"is larger than {most >> 10:,} kB")
    return data


def name_approval(plan: str, out: str, fingerprint: str) -> Path:
    """The file of a new approval: `out`, or a name of its own in a folder, or beside the plan.

    The name has a part of the key's fingerprint, so that two people do not overwrite each other.
    Raises ReconcilerError for a name that no apply would read.
    """
    mark = "".join(one for one in fingerprint.removeprefix("SHA256:") if one.isalnum())[:8]
    usual = f"{Path(plan).name.removesuffix('.plan')}.{mark}{SUFFIX}"
    if not out:
        return Path(plan).parent / usual
    if out.endswith("/") or Path(out).is_dir():
        return Path(out) / usual
    if not out.endswith(SUFFIX):
        raise ReconcilerError(
            f"the name of an approval ends in {SUFFIX}",
            subject=out,
            next_step=f"--out {Path(out).with_suffix('')}{SUFFIX}, or the folder: --out {out}/",
        )
    return Path(out)


def write_approval(path: Path, statement: bytes, signature: bytes) -> Path:
    """Write the two files of an approval, and make their folder; returns the signature's path.

    An approval may be replaced, and no other file. Raises ReconcilerError, or OSError.
    """
    beside = path.with_name(f"{path.name}{SIGNATURE_SUFFIX}")
    checkout = find_checkout(path.parent)
    for one in (path, beside):
        check_path(one, checkout)
    if not (_may_replace(path, read_statement) and _may_replace(beside, parse_signature)):
        raise ReconcilerError(
            "is not an approval, and --out replaces nothing else",
            subject=str(path),
            next_step=f"Name a new file that ends in {SUFFIX}. Nothing was written.",
        )
    path.parent.mkdir(exist_ok=True)
    write_whole(path, statement, mode=_SHARED)
    write_whole(beside, signature, mode=_SHARED)
    return beside


def _may_replace(path: Path, read: Callable[[bytes], object]) -> bool:
    """Whether a file does not exist, is empty, or has a content that can be read."""
    try:
        data = _read_bounded(path, _MOST_STATEMENT)
        return not data or bool(read(data))
    except (ValueError, KeyError, TypeError, _Unread):
        return not path.exists()

"""Says what an approval states about a plan, and judges signed approvals.

An approval is a statement in two files: its canonical JSON text, and an OpenSSH signature of
exactly these bytes. It names the digest of the changes, so it also holds when the same changes are
planned again. Import this module late: it needs `cryptography`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final

from reconciler.model import Approval, Finding, Json, Plan
from reconciler.model.values import dataclass
from reconciler.plans.changes_digest import digest_of_changes
from reconciler.plans.guards import APPROVAL
from reconciler.plans.ssh_keyring import Keyring, SignerLine, match_patterns
from reconciler.plans.ssh_signatures import BadSignature, Signature, parse_signature, verify
from reconciler.text.counting import agree, count
from reconciler.text.json_text import encode_canonical, read_json
from reconciler.text.times import parse_utc

# The namespace of the signatures: one for git, or for another program, is not an approval.
NAMESPACE: Final = "reconciler-approval"
SUFFIX: Final = ".approval.json"
SIGNATURE_SUFFIX: Final = ".sig"
FORMAT_VERSION: Final = "1.0"
MOST_PRINCIPAL: Final = 254
# What was approved longer ago is not what anyone reviewed.
MOST_DAYS: Final = 366
_MODEL: Final = ("address", "model", "digest")
_GATE: Final = ("address", "model", "retraining", "rule", "verdict")
_TEXTS: Final = ("changes_digest", "project", "environment", "expires")
_MOST_SHOWN: Final = 20
_DEEPEST: Final = 4
Row = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Statement:
    """What an approval says: these changes, with these models, until a time.

    `models` are rows of address, name and digest of each new model; the digest is empty if it is
    not known. `gates` are rows of address, model, retraining, rule and verdict. `expires` is in
    UTC. `principal` is who approves; empty for the first name that the keyring has for the key.
    """

    changes_digest: str
    project: str
    environment: str
    models: tuple[Row, ...]
    gates: tuple[Row, ...]
    expires: str = ""
    principal: str = ""


def make_statement(plan: Plan, expires: str = "", principal: str = "") -> Statement:
    """Return the statement that approves a plan."""
    changed = [(str(step.resource.address), one) for step in plan.steps for one in step.models]
    return Statement(
        changes_digest=digest_of_changes(plan),
        project=plan.inputs.project,
        environment=plan.inputs.environment,
        models=tuple(sorted((address, one.name, one.digest_after) for address, one in changed)),
        gates=tuple(
            sorted(
                (address, one.name, str(gate.retraining), gate.rule, gate.verdict)
                for address, one in changed
                for gate in one.gates
            )
        ),
        expires=expires,
        principal=principal,
    )


def statement_document(statement: Statement) -> Json:
    """Return a statement as JSON; `principal` is left out if it is empty."""
    principal = {"principal": statement.principal} if statement.principal else {}
    return {
        "format_version": FORMAT_VERSION,
        **{name: getattr(statement, name) for name in _TEXTS},
        "models": [dict(zip(_MODEL, row, strict=True)) for row in statement.models],
        "gates": [dict(zip(_GATE, row, strict=True)) for row in statement.gates],
        **principal,
    }


def encode_statement(statement: Statement) -> bytes:
    """Return the bytes that are signed: canonical JSON, and a newline as editors expect it."""
    return encode_canonical(statement_document(statement)) + b"\n"


def read_statement(data: bytes) -> Statement:
    """Return the statement in a file; raises ValueError for any bytes that are not canonical."""
    said = read_json(data, deepest=_DEEPEST)
    if not isinstance(said, dict):
        raise TypeError("not an object")
    statement = Statement(
        **{name: str(said[name]) for name in _TEXTS},
        models=tuple(_read_rows(said["models"], _MODEL)),
        gates=tuple(_read_rows(said["gates"], _GATE)),
        principal=str(said.get("principal", "")),
    )
    parse_utc(statement.expires)
    if encode_statement(statement) != data:
        raise ValueError("not canonical")
    return statement


def _read_rows(said: Json, names: Sequence[str]) -> Iterator[Row]:
    yield from (tuple(str(one[name]) for name in names) for one in said)


@dataclass(frozen=True, slots=True)
class ApprovalFile:
    """The two files of an approval as they were read. `problem` says why they could not be."""

    name: str
    statement: bytes = b""
    signature: bytes = b""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class JudgedApprovals:
    """The approvals of a plan that count.

    `rejected` has the name of each file that does not count, and why. `others` has the same of
    those that approve other changes: a folder may have many.
    """

    approvals: tuple[Approval, ...] = ()
    rejected: tuple[tuple[str, str], ...] = ()
    others: tuple[tuple[str, str], ...] = ()

    @property
    def approvers(self) -> frozenset[str]:
        """The principals whose approval counts."""
        return frozenset(one.principal for one in self.approvals)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """A warning with the files that do not count, except for those of other changes."""
        left = len(self.rejected)
        said = f"{count(left, 'approval')} {agree(left, 'does', 'do')} not count"
        warning = Finding(said, detail=_list_files(self.rejected), severity="warning")
        return (warning,) if left else ()


def _list_files(rejected: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    lines = [f"{name}: {reason}" for name, reason in rejected[:_MOST_SHOWN]]
    left = len(rejected) - len(lines)
    return (*lines, *([f"and {left:,} more"] if left else []))


class _Rejected(ValueError):
    """An approval that does not count; the text says why and follows the name of its file."""


class _OfOtherChanges(_Rejected):
    """An approval of another plan, as a folder of approvals has many."""


def judge_approvals(
    files: Iterable[ApprovalFile],
    keyring: Keyring,
    wanted: Statement,
    now: datetime,
    authors: Collection[str] = (),
) -> JudgedApprovals:
    """Return which approvals count for a plan at a time.

    `wanted` is the statement of the plan. A key counts once, and so does a principal. `authors` are
    the names of the authors of the commit, as `Keyring.list_names` returns them: a key of an author
    approves only by one of these, so that no policy takes the author for another person.
    """
    approvals: list[Approval] = []
    rejected: list[tuple[str, str]] = []
    others: list[tuple[str, str]] = []
    for file in sorted(files, key=lambda one: one.name):
        try:
            approval = _judge(file, keyring, wanted, now)
            _check_author(approval, keyring, authors)
            _check_double(approval, approvals)
        except _OfOtherChanges as error:
            others.append((file.name, str(error)))
        except _Rejected as error:
            rejected.append((file.name, str(error)))
        else:
            approvals.append(approval)
    return JudgedApprovals(tuple(approvals), tuple(rejected), tuple(others))


def _judge(file: ApprovalFile, keyring: Keyring, wanted: Statement, now: datetime) -> Approval:
    if file.problem:
        raise _Rejected(file.problem)
    try:
        signature = parse_signature(file.signature)
        lines = _find_lines(signature, keyring, now)
        verify(signature, file.statement)
    except BadSignature as error:
        raise _Rejected(f"its signature {error}") from error
    try:
        statement = read_statement(file.statement)
    except (ValueError, KeyError, TypeError) as error:
        raise _Rejected("is not a statement that reconciler approve has written") from error
    _compare(statement, wanted)
    if now >= parse_utc(statement.expires):
        raise _Rejected(f"has expired at {statement.expires}")
    if parse_utc(statement.expires) - now > timedelta(days=MOST_DAYS):
        raise _Rejected(f"expires in more than {MOST_DAYS} days, at {statement.expires}")
    principal = _find_principal(statement.principal, signature, lines)
    return Approval(principal, signature.key.fingerprint, statement.expires, file.name)


def _find_lines(signature: Signature, keyring: Keyring, now: datetime) -> list[SignerLine]:
    """Return the lines of the keyring by which the key may approve now; raises _Rejected."""
    if signature.namespace != NAMESPACE:
        said = f"is for the namespace {signature.namespace[:40]!r}, and not for {NAMESPACE}"
        raise _Rejected(f"its signature {said}")
    name = f"its key {signature.key.fingerprint}"
    lines = keyring.find(signature.key)
    if not lines:
        raise _Rejected(f"{name} is not in the keyring")
    usable = [one for one in lines if not one.find_obstacle(NAMESPACE, now)]
    if not usable:
        raise _Rejected(f"{name} {lines[0].find_obstacle(NAMESPACE, now)}")
    return usable


def _find_principal(claimed: str, signature: Signature, lines: Sequence[SignerLine]) -> str:
    """Return who has approved, as the statement claims it and the keyring confirms it."""
    name = f"its key {signature.key.fingerprint}"
    if claimed:
        if not any(match_patterns(claimed, one.principals) for one in lines):
            raise _Rejected(f"{name} is not a key of {claimed[:MOST_PRINCIPAL]} in the keyring")
        return claimed
    found = {one.name for one in lines}
    if len(found) == 1 and "" not in found:
        return found.pop()
    raise _Rejected(
        f"the keyring does not name one principal for {name.removeprefix('its ')}:"
        " approve again with --principal NAME"
    )


def _compare(statement: Statement, wanted: Statement) -> None:
    """Raise _Rejected if a statement is about another plan."""
    for name in ("project", "environment"):
        said, here = getattr(statement, name), getattr(wanted, name)
        if said != here:
            raise _OfOtherChanges(f"is for {_name(name, said)}, and this is {_name(name, here)}")
    if statement.changes_digest != wanted.changes_digest:
        raise _OfOtherChanges(
            f"approves other changes, {statement.changes_digest[:_SHORT]}…,"
            f" and these are {wanted.changes_digest[:_SHORT]}…"
            + "".join(f"; {one}" for one in _list_other(statement.models, wanted.models))
        )
    for one in _list_other(statement.models, wanted.models):
        raise _Rejected(f"approves another model: {one}")
    for one in _list_other(statement.gates, wanted.gates):
        raise _Rejected(f"was made before a verdict of a gate changed: {one}")
    if (statement.models, statement.gates) != (wanted.models, wanted.gates):
        raise _Rejected("is not a statement that reconciler approve has written")


_SHORT: Final = len("sha256:") + 8


def _name(name: str, value: str) -> str:
    return f'the {name} "{value}"' if value else f"no {name}"


def _list_other(said: Sequence[Row], here: Sequence[Row]) -> Iterator[str]:
    """Yield the first row that differs in its last value, with both values."""
    then, now = ({row[:-1]: row[-1] for row in rows} for rows in (said, here))
    for name in sorted({*then, *now}):
        known, new = then.get(name, ""), now.get(name, "")
        if known != new:
            yield f"{' '.join(name)}: {known or 'nothing'} there, and {new or 'nothing'} here"
            return


def _check_author(approval: Approval, keyring: Keyring, authors: Collection[str]) -> None:
    names = frozenset(authors)
    if approval.key in keyring.list_keys(names) and approval.principal.casefold() not in names:
        raise _Rejected(
            f"its key {approval.key} is a key of an author of the commit, who cannot approve as"
            f" {approval.principal}"
        )


def _check_double(approval: Approval, approvals: Collection[Approval]) -> None:
    for one in approvals:
        if one.principal.casefold() == approval.principal.casefold():
            raise _Rejected(f"{one.principal} has approved already, in {one.file}: it counts once")
        if one.key == approval.key:
            raise _Rejected(
                f"its key {one.key} has approved as {one.principal} already, in {one.file}"
            )


def check_required(judged: JudgedApprovals, required: int) -> tuple[Finding, ...]:
    """Return the finding that refuses a plan with fewer approvals than are required."""
    have = len(judged.approvals)
    if have >= required:
        return ()
    named = f", by {', '.join(sorted(judged.approvers))}" if have else ""
    return (
        Finding(
            f"needs {count(required, 'approval')} and has {have or 'none'}{named}",
            detail=_list_files((*judged.rejected, *judged.others)),
            next_step="Have these changes approved: reconciler plan --out FILE, and then"
            " reconciler approve FILE --key KEY",
            guard=APPROVAL,
        ),
    )

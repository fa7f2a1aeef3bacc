"""Compares a plan with the plans that reviewers have seen in pull requests.

The comment of a request has a hidden line with the digest of each step, and the status of its
commit has the start of the digest of all changes. An apply after the merge makes a new plan, and
makes its changes only if each one was reviewed: in one request, or in several that were merged
together. A change that is not left, because somebody made it before, does not forbid the others.
A review gives leave once: the hidden line says when all of a plan was applied. Otherwise the job of
an old merge, if it runs again, would undo what later requests brought.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Final

from reconciler.model import Action, Plan, Step
from reconciler.model.values import dataclass
from reconciler.plans.changes_digest import digest_of_changes, digest_of_one

# The digests of more steps make the hidden line too long for a comment.
MOST_STEPS: Final = 200
# 64 bits: no one can search for other changes with the same start.
_DIGITS: Final = 16
# The hidden line of a comment about an environment that its request does not change.
UNTOUCHED: Final = "<!-- reconciler reviewed untouched -->"
_LINE: Final = re.compile(
    r"<!-- reconciler reviewed tree=([0-9a-f]{40}|[0-9a-f]{64}|-)"
    r" steps=(many|[0-9a-f]{16}(?:,[0-9a-f]{16})*|-)( applied)? -->",
    re.ASCII,
)
_DIGEST: Final = re.compile(rf"sha256:[0-9a-f]{{{_DIGITS}}}(?![0-9a-f])", re.ASCII)
_WORDS: Final = {
    Action.CREATE: "to add",
    Action.UPDATE: "to change",
    Action.REPLACE: "to replace",
    Action.DELETE: "to destroy",
    Action.FORGET: "to forget",
    Action.ADOPT: "to adopt",
}


@dataclass(frozen=True, slots=True)
class Reviewed:
    """What the reviewers of one request saw.

    `request` is its name for people. `changes` is the digest of all changes. `steps` are the
    digests of the single steps; None if they are not known. `tree` is git's name of the files that
    were planned; empty if it is not known. `applied` says that all of it was applied before.
    """

    request: str
    changes: str
    steps: frozenset[str] | None = None
    tree: str = ""
    applied: bool = False


@dataclass(frozen=True, slots=True)
class ReviewResult:
    """How a plan compares with what was reviewed.

    `unreviewed` are its steps that no reviewer saw. `gone` counts the reviewed steps that the plan
    does not have. `unknown` says that the plan differs, and the single steps cannot be compared.
    """

    unreviewed: tuple[Step, ...] = ()
    gone: int = 0
    unknown: bool = False

    @property
    def is_reviewed(self) -> bool:
        """Whether every step of the plan was reviewed."""
        return not (self.unreviewed or self.unknown)


def compare_reviewed(plan: Plan, reviewed: Sequence[Reviewed]) -> ReviewResult:
    """Compare the steps of a plan with what the reviewers of some requests saw."""
    changes = digest_of_changes(plan)
    reviewed = [one for one in reviewed if not one.applied]
    if len(reviewed) == 1 and reviewed[0].changes == changes:
        return ReviewResult()
    known = [one.steps for one in reviewed if one.steps is not None]
    seen = frozenset[str]().union(*known)
    planned = {digest_of_one(step): step for step in plan.steps}
    unreviewed = tuple(step for digest, step in planned.items() if digest not in seen)
    gone = len(seen - planned.keys())
    if unreviewed and len(known) < len(reviewed):
        same = any(one.changes == changes for one in reviewed)
        return ReviewResult() if same else ReviewResult((), 0, unknown=True)
    return ReviewResult(unreviewed, gone)


def write_reviewed(plan: Plan, tree: str) -> str:
    """Return the hidden line of a comment: the planned files and the digest of each step."""
    steps = "many"
    if len(plan.steps) <= MOST_STEPS:
        steps = ",".join(map(digest_of_one, plan.steps)) or "-"
    return f"<!-- reconciler reviewed tree={tree or '-'} steps={steps} -->"


def read_reviewed(request: str, changes: str, body: str) -> Reviewed:
    """Return what a comment says; only its first line counts, which no text from outside is in."""
    found = _LINE.fullmatch(body.partition("\n")[0].strip())
    if found is None:
        return Reviewed(request, changes)
    tree, listed = found[1].strip("-"), found[2]
    digests = frozenset(filter(None, listed.strip("-").split(",")))
    steps = None if listed == "many" else digests
    return Reviewed(request, changes, steps, tree, applied=found[3] is not None)


def mark_applied(body: str) -> str:
    """Return a comment that says that all of its plan was applied; one without a plan as it is."""
    hidden, newline, rest = body.partition("\n")
    found = _LINE.fullmatch(hidden.strip())
    if found is None or found[3]:
        return body
    return f"{hidden.strip().removesuffix(' -->')} applied -->{newline}{rest}"


def describe_changes(plan: Plan) -> str:
    """Return the description of a status: `1 to add, 2 to change · sha256:9f86d081884c7d65`."""
    counts = Counter(step.action for step in plan.steps)
    said = ", ".join(f"{counts[one]:,} {word}" for one, word in _WORDS.items() if counts[one])
    refused = "refused: " if plan.refused else ""
    return f"{refused}{said or 'no changes'} · {_shorten(digest_of_changes(plan))}"


def is_start_of(description: str, changes: str) -> bool | None:
    """Whether a status names the digest of these changes; None if it names no digest."""
    found = _DIGEST.search(description)
    return None if found is None else found[0] == _shorten(changes)


def _shorten(digest: str) -> str:
    scheme, _, digits = digest.partition(":")
    return f"{scheme}:{digits[:_DIGITS]}"

"""What the reviewers of merged requests saw, and whether a plan may be applied after it.

A comment is believed if it is our own account's and the status of the request's commit does not
contradict it. Of a comment that somebody has edited, only the digest counts that the status
confirms.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Final

from reconciler.cli.ci.planning import list_inside
from reconciler.cli.ci.session import CiSession, name_status
from reconciler.errors import PlanRefused, StalePlan, Unauthorized
from reconciler.gitops.comments import Sticky
from reconciler.gitops.forge import Request, Requirements, Status
from reconciler.gitops.merge_result import Checkout
from reconciler.manifests.environments import find_touched
from reconciler.model import Finding, Plan, Step
from reconciler.model.values import dataclass
from reconciler.plans.changes_digest import digest_of_changes, digest_of_one
from reconciler.plans.plan_file import digest_of_plan
from reconciler.plans.reviewed import (
    UNTOUCHED,
    Reviewed,
    ReviewResult,
    compare_reviewed,
    is_start_of,
    read_reviewed,
)
from reconciler.text.commits import shorten_commit
from reconciler.text.counting import agree, count

# So many merges may wait for an apply, at most.
_MOST_COMMITS: Final = 50
_MOST_EARLIER: Final = 20
_MOST_NAMED: Final = 50
_SUBJECT: Final = "ci apply"
# The description of the status of a commit that does not change an environment.
UNCHANGED: Final = "not changed by the merge"
_MERGE: Final = "Merge a request, and run it for the commit of the merge."
_REVIEW: Final = (
    "Open a request that brings the change, and merge it after the review. Or review the plan here,"
    " and apply it by hand: reconciler apply --expect"
)
_NEWEST: Final = "If later commits are merged, run the apply of the newest commit instead. "
_CURES: Final = {
    "approved": "Let somebody other than its author approve it, and run the job again.",
    "mergeable": "Let it meet the rules of the repository, and run the job again.",
    "undiverged": "The target branch had other commits, so the plan was of other files: open a"
    " request that brings the change again, up to date with the target branch.",
}


@dataclass(frozen=True, slots=True)
class MergedRequest:
    """A merged request with its comment about one environment, if there is one.

    `doubt` says why the comment is not believed; it is empty for one that is.
    """

    request: Request
    sticky: Sticky | None
    doubt: str = ""

    @property
    def name(self) -> str:
        """The request for people."""
        return self.request.name

    @property
    def is_untouched(self) -> bool:
        """Whether the request does not change the environment."""
        return self.sticky is not None and self.sticky.body.startswith(UNTOUCHED)

    def has_shown(self, steps: Collection[str]) -> bool:
        """Whether its comment shows one of these steps, by their digests."""
        found = self.read()
        if found is None or found.applied:
            return False
        return not (found.steps or frozenset()).isdisjoint(steps)

    def read(self) -> Reviewed | None:
        """What its reviewers saw; None without a plan that can be believed."""
        if self.sticky is None or not self.sticky.changes or self.doubt:
            return None
        found = read_reviewed(self.name, self.sticky.changes, self.sticky.body)
        # The status confirms the digest of an edited comment, and nothing else in it.
        return replace(found, steps=None, tree="") if self.sticky.edited else found


class Reviews:
    """The reviews of what one commit of the target branch brought.

    `expected` is a digest that was reviewed elsewhere, or empty.
    """

    def __init__(
        self, session: CiSession, checkout: Checkout, project: str, expected: str = ""
    ) -> None:
        self._session, self._checkout = session, checkout
        self._project, self._expected = project, expected

    def find_requests(self) -> tuple[Request, ...]:
        """The merged requests of this push; raises PlanRefused if no request brought it."""
        session = self._session
        if session.flags.number:
            request = session.find_request()
            if request.state != "merged":
                raise _refuse(f"{request.name} is {request.state}, and not merged", _MERGE)
            if self._checkout.lacks(request.merge_commit):
                raise _refuse_checkout(self._checkout, request)
            return (request,)
        commits = self._checkout.list_commits(session.job.before, _MOST_COMMITS)
        found = self._list_merged(commits)
        if not found and not self._expected:
            raise _refuse(
                f"no merged request brought the commit {shorten_commit(commits[0], 12)}, so nothing"
                " of it was reviewed",
                f"{_MERGE} To apply a commit that was pushed without one, review its plan and"
                " give the digest: reconciler ci apply --expect sha256:…",
            )
        return found

    def _list_merged(self, commits: Sequence[str]) -> tuple[Request, ...]:
        forge = self._session.forge
        found = {one.number: one for commit in commits for one in forge.find_merged(commit)}
        return tuple(found[number] for number in sorted(found))

    def read_all(self, environment: str, requests: Sequence[Request]) -> list[MergedRequest]:
        """Each request with its comment, compared with the status of its commit."""
        return [self._read(environment, one) for one in requests]

    def is_changed(
        self, merged: Sequence[MergedRequest], environment: str, environments: Sequence[str]
    ) -> bool:
        """Whether this push may change an environment: by a comment, or by the files in git.

        Where the commit before the push is not known, a request with a comment about another
        environment alone does not change this one.
        """
        if not environments or not merged:
            return True
        if any(one.sticky is not None and not one.is_untouched for one in merged):
            return True
        changed = self._checkout.list_changed(self._session.job.before)
        if changed is not None:
            inside = list_inside(self._checkout.top, self._session.folder, changed)
            return environment in find_touched(self._session.folder, inside)
        others = [one for one in environments if one != environment]
        return not any(one.is_untouched for one in merged) and not any(
            self._session.find_comment(one.request, self._project, other) is not None
            for one in merged
            for other in others
        )

    def _read(self, environment: str, request: Request) -> MergedRequest:
        sticky = self._session.find_comment(request, self._project, environment)
        if sticky is None or not sticky.changes:
            return MergedRequest(request, sticky)
        name = name_status("plan", self._project, environment)
        said = self._find_status(request.head, name, request)
        confirmed = is_start_of(said.description if said else "", sticky.changes)
        if confirmed is False:
            doubt = f"The comment of {request.name} and the status of its commit disagree."
            return MergedRequest(request, sticky, doubt)
        if sticky.edited and not confirmed:
            doubt = f"The comment of {request.name} was edited, and no status confirms its digest."
            return MergedRequest(request, sticky, doubt)
        return MergedRequest(request, sticky)

    def _find_status(self, commit: str, name: str, request: Request | None = None) -> Status | None:
        """A status of a commit; None without it, or without the right to read it."""
        try:
            listed = self._session.forge.list_statuses(commit, request)
        except Unauthorized:
            return None
        # GitHub does not distinguish the case of names.
        same = (one for one in listed if one.name.casefold() == name.casefold())
        return next(same, None)

    def check(
        self,
        plan: Plan,
        known: list[MergedRequest],
        environment: str,
        requirements: Collection[str],
    ) -> None:
        """Raise Unreviewed for a step that no reviewer saw, and PlanRefused for a requirement.

        Requests that were merged since the last apply, and whose own apply did not run, are added
        to `known` if the plan has changes of them: these are due too.
        """
        if not plan.steps or plan.refused:
            return  # nothing is written, or `apply` refuses it
        result = self._compare(plan, known)
        if not result.is_reviewed:
            planned = {digest_of_one(step) for step in plan.steps}
            earlier = self._find_earlier(environment, {one.request.number for one in known})
            known += [one for one in earlier if one.has_shown(planned)]
            result = self._compare(plan, known)
        if not result.is_reviewed:
            steps = plan.steps if result.unknown else result.unreviewed
            raise Unreviewed(_describe_difference(plan, known, result), steps)
        wanted = sorted(requirements)
        unmet = tuple(one for each in known for one in self._check_requirements(each, wanted))
        if unmet:
            raise PlanRefused(unmet)

    def _compare(self, plan: Plan, known: Sequence[MergedRequest]) -> ReviewResult:
        if self._expected and self._expected in {digest_of_changes(plan), digest_of_plan(plan)}:
            return ReviewResult()
        read = (one.read() for one in known if not one.is_untouched)
        return compare_reviewed(plan, [one for one in read if one is not None])

    def _find_earlier(self, environment: str, known: Collection[int]) -> list[MergedRequest]:
        """The requests that were merged after the last commit that was applied."""
        name = name_status("apply", self._project, environment)
        commits = []
        for commit in self._checkout.list_earlier(_MOST_EARLIER):
            status = self._find_status(commit, name)
            applied = status is not None and status.state == "success"
            if applied and status is not None and status.description != UNCHANGED:
                break
            commits.append(commit)
        requests = [one for one in self._list_merged(commits) if one.number not in known]
        return self.read_all(environment, requests)

    def _check_requirements(self, one: MergedRequest, wanted: Sequence[str]) -> Iterator[Finding]:
        """Yield a finding for each requirement of the project that a request does not meet."""
        if not wanted or one.is_untouched:
            return
        found = self._session.forge.read_requirements(one.request)
        reviewed = one.read()
        tree = self._checkout.find_tree(one.request.merge_commit or self._checkout.commit)
        if reviewed is not None and reviewed.tree and tree:
            # The forge cannot say it after the merge, but the merged files are those of the plan.
            found = replace(found, undiverged=reviewed.tree == tree)
        for name in wanted:
            met = _is_met(found, name)
            if not met:
                yield _describe_unmet(one.name, name, met, found)


class Unreviewed(StalePlan):
    """The plan has changes that no reviewer saw: `steps`. Nothing was written."""

    def __init__(self, finding: Finding, steps: tuple[Step, ...]) -> None:
        super().__init__((finding,))
        self.steps = steps


def _refuse(why: str, step: str) -> PlanRefused:
    return PlanRefused((Finding(why, subject=_SUBJECT, next_step=step),))


def _refuse_checkout(checkout: Checkout, request: Request) -> PlanRefused:
    return _refuse(
        f"the checkout is at {shorten_commit(checkout.commit, 12)}, which does not have the merge"
        f" of {request.name}",
        f"Check out the target branch: git checkout {request.base} && git pull. Or its commit:"
        f" git checkout {shorten_commit(request.merge_commit, 12)}",
    )


def _describe_difference(
    plan: Plan, known: Sequence[MergedRequest], result: ReviewResult
) -> Finding:
    """The finding that nothing was written, with each step that no reviewer saw."""
    steps = plan.steps if result.unknown else result.unreviewed
    what = "the plan" if result.unknown else count(len(steps), "change")
    left = len(steps) - _MOST_NAMED
    read = [one.read() for one in known]
    again = any(one.applied for one in read if one is not None)
    newest = _NEWEST if again else ""
    number = 1 if result.unknown else len(steps)
    if again:
        why = f"{agree(number, 'was', 'were')} not reviewed after the apply of the request"
    else:
        why = f"{agree(number, 'differs', 'differ')} from what was reviewed"
    lines = [
        *_list_reviewed(known),
        f"Planned now: {digest_of_changes(plan)}.",
        *(
            f"{step.resource.address}: {step.action.value}, {digest_of_one(step)}"
            for step in steps[:_MOST_NAMED]
        ),
        *([f"and {left:,} more"] if left > 0 else []),
    ]
    if result.gone:
        lines.append(f"{count(result.gone, 'reviewed change')} of the request is not in this plan.")
    return Finding(
        f"{what} {why}: nothing was written",
        subject=_SUBJECT,
        detail=tuple(lines),
        next_step=f"{newest}{_REVIEW} {digest_of_changes(plan)}",
    )


def _list_reviewed(known: Sequence[MergedRequest]) -> Iterator[str]:
    for one in known:
        if one.doubt:
            yield one.doubt
        elif one.sticky is None:
            yield f"No comment of this program is on {one.name}."
        elif (read := one.read()) is None:
            yield f"The comment of {one.name} shows no plan."
        elif read.applied:
            yield f"The plan of {one.name} was applied before, and a review is for one apply."
        else:
            yield f"Reviewed in {one.name}: {one.sticky.changes}."


def _is_met(found: Requirements, name: str) -> bool | None:
    """Whether a requirement is met; None if the forge does not say it.

    A request that was merged was mergeable, unless the forge says that it was not.
    """
    if name == "mergeable" and found.mergeable is None:
        return True
    said: bool | None = getattr(found, name)
    return said


def _describe_unmet(request: str, name: str, met: bool | None, found: Requirements) -> Finding:
    said = f"is not {name}" if met is False else f"may not be {name}: the forge does not say it"
    return Finding(
        f"the project demands a request that is {name}, and it {said}",
        subject=request,
        detail=found.reasons,
        next_step=_CURES[name],
        guard="requirements",
    )

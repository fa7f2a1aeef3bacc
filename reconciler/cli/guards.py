"""Checks the values of `--allow` and `--reason`: guards that exist and that the project lets lift.

Only the composition root calls it. Whether an address is known is checked where a plan is made.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from reconciler.errors import ManifestInvalid
from reconciler.manifests.project import find_guards
from reconciler.model import Finding, Project
from reconciler.plans.guards import GATE, NEVER_LIFTED, is_liftable
from reconciler.ports import Kind


def check_allowed(
    allowed: Collection[str], reason: str, kinds: Mapping[str, Kind], project: Project
) -> Collection[str]:
    """The values of `--allow`; raises ManifestInvalid with every value that cannot be accepted."""
    known = find_guards(kinds)
    wrong = tuple(
        _describe_unknown(text, known) for text in allowed if text.partition("=")[0] not in known
    )
    barred = tuple(
        Finding(
            f'--allow "{text}": the project does not let this guard be lifted',
            next_step=f"Change the plan, or spec.guards.allow in {_name_file(project)}.",
        )
        for text in allowed
        if not is_liftable(text.partition("=")[0], project.guards)
    )
    found = wrong or barred or tuple(_check_reason(allowed, reason))
    if found:
        raise ManifestInvalid(found)
    return allowed


def _describe_unknown(text: str, known: Collection[str]) -> Finding:
    guard = text.partition("=")[0]
    if guard in NEVER_LIFTED:
        message = f'--allow "{text}": no flag lifts the guard {guard}'
        return Finding(message, next_step=NEVER_LIFTED[guard])
    return Finding(
        f'--allow "{text}": unknown guard', next_step=f"The guards are {', '.join(known)}."
    )


def _check_reason(allowed: Collection[str], reason: str) -> Iterator[Finding]:
    """Yield a finding for a gate that is lifted without a reason, and for a reason without one."""
    lifted = [one for one in allowed if one.partition("=")[0] == GATE]
    if lifted and not reason:
        yield Finding(
            f'--allow "{lifted[0]}": the guard {GATE} is not lifted without a reason',
            next_step=f'Say why: --allow {lifted[0]} --reason "WHY"',
        )
    if reason and not lifted:
        yield Finding(
            f"--reason says why the guard {GATE} is lifted, and --allow does not lift it",
            next_step=f"Add --allow {GATE}=ADDRESS, or leave out --reason.",
        )


def _name_file(project: Project) -> str:
    name = project.environment
    return f"{project.file} or environments/{name}.yaml" if name else project.file

"""Groups the resources of a drift report for display.

Members of one fleet with the same findings form one group; every other resource is a group of one.
The text and Markdown renderers call it. It formats no finding.
"""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.model import Address, Drift, DriftReport, Resource, ResourceStatus, Verdict
from reconciler.model.values import dataclass
from reconciler.render.words.escape import escape
from reconciler.render.words.grouping import gather
from reconciler.render.words.names import list_names
from reconciler.text.counting import count


@dataclass(frozen=True, slots=True)
class DriftGroup:
    """One resource, or several members of a fleet that are shown as one.

    The first resource represents the group. `places` has an item for each place with a finding: the
    findings of all resources at that place, in the order of `statuses`.
    """

    statuses: tuple[ResourceStatus, ...]
    places: tuple[tuple[Drift, ...], ...]

    @property
    def verdict(self) -> Verdict:
        """The verdict that all resources of the group share."""
        return self.statuses[0].verdict

    @property
    def alone(self) -> bool:
        """Whether the group has only one resource."""
        return len(self.statuses) == 1

    @property
    def fleet(self) -> Address | None:
        """The fleet of these members; None for other resources."""
        return self.statuses[0].fleet

    @property
    def title(self) -> str:
        """The subject of the group, escaped: `Fleet/rental: 1,000 members`, or the one address."""
        if self.alone:
            return escape(str(self.statuses[0].resource.address))
        return f"{escape(str(self.fleet))}: {count(len(self.statuses), 'member')}"

    def list_names(self, most: int) -> str:
        """Returns the names of all resources, as at most `most` names and ranges."""
        return list_names([one.resource.address.name for one in self.statuses], most)


def group_statuses(report: DriftReport) -> list[DriftGroup]:
    """Groups what is not in sync, in the report's order, without values that are not observable."""
    found: dict[Resource, list[Drift]] = {}
    for finding in report.findings:
        if finding.verdict is not Verdict.NOT_OBSERVABLE:
            found.setdefault(finding.resource, []).append(finding)
    # A resource of which each finding is known is counted, and not shown.
    left_out = {one.resource for one in report.known} - found.keys()
    away = [
        one
        for one in report.statuses
        if one.verdict is not Verdict.IN_SYNC and one.resource not in left_out
    ]
    return [
        DriftGroup(
            tuple(statuses),
            tuple(zip(*(found.get(one.resource, []) for one in statuses), strict=True)),
        )
        for statuses in gather(away, lambda one: _sameness(one, found.get(one.resource, [])))
    ]


def _sameness(status: ResourceStatus, findings: Sequence[Drift]) -> object:
    """The key of a group: for members all but the values, for other resources a unique key."""
    if status.fleet is None:
        return status.resource
    places = tuple((one.verdict, one.pointer, one.hidden, len(one.commands)) for one in findings)
    return status.fleet, status.resource.address.kind, status.verdict, places

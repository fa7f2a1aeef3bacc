"""Resources of which a drift report says the same: members of one fleet together, others alone."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.model import Address, Drift, DriftReport, Resource, ResourceStatus, Verdict
from reconciler.model.values import dataclass
from reconciler.render.words.counting import count
from reconciler.render.words.escape import escape
from reconciler.render.words.grouping import gather
from reconciler.render.words.names import list_names


@dataclass(frozen=True, slots=True)
class DriftGroup:
    """One resource, or several that are shown by the first of them.

    `places` holds what was found place by place: for each, one finding of every resource, in the
    order of `statuses`.
    """

    statuses: tuple[ResourceStatus, ...]
    places: tuple[tuple[Drift, ...], ...]

    @property
    def verdict(self) -> Verdict:
        """What is said of each as a whole."""
        return self.statuses[0].verdict

    @property
    def alone(self) -> bool:
        """Whether there is only one."""
        return len(self.statuses) == 1

    @property
    def fleet(self) -> Address | None:
        """Whose members they are, if any's."""
        return self.statuses[0].fleet

    @property
    def title(self) -> str:
        """Whom it is about, escaped: `Fleet/rental: 1,000 members`, or the one address."""
        if self.alone:
            return escape(str(self.statuses[0].resource.address))
        return f"{escape(str(self.fleet))}: {count(len(self.statuses), 'member')}"

    def list_names(self, most: int) -> str:
        """The names of all, at most so many of them and of ranges."""
        return list_names([one.resource.address.name for one in self.statuses], most)


def group_statuses(report: DriftReport) -> list[DriftGroup]:
    """What is not in sync, in the report's order; what is never observable is told elsewhere."""
    found: dict[Resource, list[Drift]] = {}
    for finding in report.findings:
        if finding.verdict is not Verdict.NOT_OBSERVABLE:
            found.setdefault(finding.resource, []).append(finding)
    away = [one for one in report.statuses if one.verdict is not Verdict.IN_SYNC]
    return [
        DriftGroup(
            tuple(statuses),
            tuple(zip(*(found.get(one.resource, []) for one in statuses), strict=True)),
        )
        for statuses in gather(away, lambda one: _sameness(one, found.get(one.resource, [])))
    ]


def _sameness(status: ResourceStatus, findings: Sequence[Drift]) -> object:
    """Of members all but the values; any other resource is like none but itself."""
    if status.fleet is None:
        return status.resource
    places = tuple((one.verdict, one.pointer, one.hidden, len(one.commands)) for one in findings)
    return status.fleet, status.resource.address.kind, status.verdict, places

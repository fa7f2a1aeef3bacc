"""Decides which findings of drift the rules of `.driftignore` ignore, and which rules are over.

Incomplete evidence is never ignored: what was not read may be anything. The drift report of the
engine calls this module.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Final, TypeAlias

from reconciler.model import Drift, IgnoreRule, Verdict

_NEVER: Final = (Verdict.INCOMPLETE, Verdict.NOT_OBSERVABLE)
_Matches: TypeAlias = Callable[[str], bool]


class IgnoreRules:
    """The rules of one report. `expired` are those whose last day is before `today`."""

    def __init__(self, rules: Iterable[IgnoreRule], today: str) -> None:
        """`today` is an ISO date in UTC."""
        given = list(rules)
        self.expired = tuple(one for one in given if one.until < today)
        valid = [one for one in given if one.until >= today]
        self._rules = [(one, _compile(one.address), _compile(one.pointer)) for one in valid]

    def split(self, findings: Sequence[Drift]) -> tuple[tuple[Drift, ...], tuple[Drift, ...]]:
        """Return the findings that count, and those that a rule ignores, with the rule."""
        if not self._rules:
            return tuple(findings), ()
        judged = [replace(one, rule=self._find(one)) for one in findings]
        kept = tuple(one for one in judged if one.rule is None)
        return kept, tuple(one for one in judged if one.rule is not None)

    def _find(self, finding: Drift) -> IgnoreRule | None:
        """Return the first rule that ignores a finding, if any does."""
        if finding.verdict in _NEVER:
            return None
        names = [str(one) for one in (finding.resource.address, finding.fleet) if one is not None]
        return next(
            (
                rule
                for rule, fits_address, fits_pointer in self._rules
                if rule.verdict in {None, finding.verdict}
                and any(map(fits_address, names))
                and (not rule.pointer or fits_pointer(finding.pointer))
            ),
            None,
        )


def _compile(pattern: str) -> _Matches:
    """Return whether a text matches; a text that is the pattern matches, whatever is in it."""
    match = re.compile(fnmatch.translate(pattern)).match
    return lambda text: text == pattern or match(text) is not None

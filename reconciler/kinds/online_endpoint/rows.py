"""Scores rows of a table with the deployment of an online endpoint that has the most traffic.

A retraining compares its new model with this one. The body of a call is the scoring script's own
business, so the forms of published examples are tried: that of MLflow first. The provider calls it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from reconciler.document.pointers import find
from reconciler.errors import ReconcilerError, Unavailable
from reconciler.kinds.online_endpoint.scoring import OnlineScoring, Score
from reconciler.model import Json
from reconciler.plans.evaluations import parse_number
from reconciler.text.counting import count

# The columns of an answer, by the names that the rows of a comparison have (see kinds/scoring).
_COLUMNS: Final = ("Scored Labels", "Scored Probabilities")
_LISTS: Final = ("predictions", "outputs", "result", "data")
# A call with more rows may take longer than the endpoint waits.
_MOST_ROWS: Final = 100
_REFUSALS: Final = frozenset({400, 424, 500})
_SCRIPT: Final = (
    'Let the scoring script read {"input_data": {"columns": […], "data": [[…]]}}, or'
    ' {"data": [[…]]}, and answer a list with one number for each row.'
)


class OnlineScorer:
    """The model of one deployment, for rows of a table."""

    def __init__(self, scoring: OnlineScoring, deployment: str) -> None:
        self._scoring, self._deployment = scoring, deployment
        self._form = 0

    def score(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[dict[str, str]]:
        """Returns the answer to each row: one number, under the name of each usual column.

        Raises Unavailable unless each row is answered by one number.
        """
        found: list[dict[str, str]] = []
        for first in range(0, len(rows), _MOST_ROWS):
            part = rows[first : first + _MOST_ROWS]
            found += self._send(columns, [[*map(_read_cell, row)] for row in part])
        return found

    def _send(self, columns: Sequence[str], rows: list[list[Json]]) -> list[dict[str, str]]:
        """Sends rows in the form that worked before, or in the first one that the script reads."""
        table = {"columns": [*columns], "index": [*range(len(rows))], "data": rows}
        forms: list[Json] = [{"input_data": table}, {"data": rows}]
        while True:
            found = self._scoring.score(forms[self._form], self._deployment)
            if found.status == 200 and not found.failed:
                return self._read(found, len(rows))
            refused = found.status in _REFUSALS or found.failed
            if not refused or self._form == len(forms) - 1:
                raise self._unusable(f"status {found.status} {found.reason}".rstrip(), found)
            self._form += 1

    def _read(self, found: Score, number: int) -> list[dict[str, str]]:
        answers = found.shown
        while isinstance(answers, dict):
            answers = next((answers[name] for name in _LISTS if name in answers), None)
        if not isinstance(answers, list) or len(answers) != number:
            raise self._unusable(f"no answer to each of {count(number, 'row')}", found)
        numbers = [_read_number(one) for one in answers]
        if None in numbers:
            raise self._unusable("an answer that is not one number", found)
        return [dict.fromkeys(_COLUMNS, str(one)) for one in numbers]

    def _unusable(self, what: str, found: Score) -> Unavailable:
        return Unavailable(
            f"{self._deployment} does not score rows: {what}",
            status=found.status,
            request_id=found.request_id,
            next_step=_SCRIPT,
        )


def choose_deployment(document: Json, subject: str) -> str:
    """Returns the deployment with the most traffic; raises ReconcilerError if none has any."""
    traffic = find(document, ("properties", "traffic"))
    shares = {} if not isinstance(traffic, dict) else traffic
    served = sorted((-share, name) for name, share in shares.items() if share)
    if not served:
        step = "Give traffic to a deployment."
        raise ReconcilerError("no deployment has traffic", subject=subject, next_step=step)
    return str(served[0][1])


def _read_cell(cell: str) -> Json:
    """Returns a number where the text is one, as JSON has it."""
    number = parse_number(cell)
    if number is None:
        return cell
    return int(number) if number.is_integer() and "." not in cell else number


def _read_number(answer: Json) -> float | None:
    """Returns the number of an answer; of several, as many scripts give per class, the last one."""
    if isinstance(answer, list) and answer:
        answer = answer[-1]
    if isinstance(answer, dict) and len(answer) == 1:
        (answer,) = answer.values()
    return float(answer) if type(answer) in {int, float} else None

"""The request-response service of a web service, of both generations: scores rows.

The kinds call it. Values are sent and answered as text (recorded).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from reconciler.errors import Unavailable
from reconciler.kinds.batch import VERSION, send_with_key
from reconciler.model import Json
from reconciler.text.counting import count
from reconciler.transport import Client, Reply, check_complete, clean

LABELS: Final = "Scored Labels"
PROBABILITIES: Final = "Scored Probabilities"
# A call with more rows takes longer than the service waits (about a hundred in samples).
_MOST_ROWS: Final = 100
_FOREIGN: Final = "Nothing is concluded from it. Check what answers at the address of the service."


class ScoringService:
    """Scores rows with the live model. `path` is that of the service's API, `key` its key.

    `port` is the name of the input.
    """

    def __init__(self, client: Client, path: str, key: str, port: str) -> None:
        self._client = client
        self._url = f"{path.rstrip('/')}/execute{VERSION}&details=true"
        self._key = key
        self._port = port

    def score(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[dict[str, str]]:
        """Returns for each row the columns of the answer as text, by name.

        Raises Unavailable unless each row is answered once.
        """
        found: list[dict[str, str]] = []
        for first in range(0, len(rows), _MOST_ROWS):
            part = rows[first : first + _MOST_ROWS]
            table = {"ColumnNames": [*columns], "Values": [[*row] for row in part]}
            body = {"Inputs": {self._port: table}, "GlobalParameters": {}}
            reply = send_with_key(self._client, "POST", self._url, self._key, body)
            check_complete(reply)
            answered = _read_rows(reply)
            if len(answered) != len(part):
                said = f"{count(len(part), 'row')} sent, and {count(len(answered), 'row')} answered"
                raise _unusable(said, reply)
            found += answered
        return found


def _read_rows(reply: Reply) -> list[dict[str, str]]:
    results = reply.document.get("Results") if isinstance(reply.document, dict) else None
    tables = [*results.values()] if isinstance(results, dict) else []
    value = tables[0].get("value") if len(tables) == 1 and isinstance(tables[0], dict) else None
    names = value.get("ColumnNames") if isinstance(value, dict) else None
    rows = value.get("Values") if isinstance(value, dict) else None
    if not isinstance(names, list) or not isinstance(rows, list):
        raise _unusable("the service did not answer with one table", reply)
    if not all(isinstance(row, list) and len(row) == len(names) for row in rows):
        raise _unusable("the service answers rows that do not fit their columns", reply)
    titles = [clean(str(name)) for name in names]
    if len({*titles}) < len(titles):
        raise _unusable("the service answers two columns with the same name", reply)
    return [dict(zip(titles, map(_write, row), strict=True)) for row in rows]


def _write(cell: Json) -> str:
    return "" if cell is None else str(cell)


def _unusable(message: str, reply: Reply) -> Unavailable:
    return Unavailable(message, status=reply.status, next_step=_FOREIGN)

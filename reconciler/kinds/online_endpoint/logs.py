"""Reads the log of a deployment's container: its last line explains most failures.

The probes and the operations of deployments call it.
"""

from __future__ import annotations

import re
from typing import Final

from reconciler.errors import LedgerConflict, LedgerInvalid, ReconcilerError, TooManyCalls
from reconciler.kinds.ids import quote_path
from reconciler.kinds.online_endpoint.scoring import VERSION
from reconciler.transport import Client, clean

_TAIL: Final = 50
# The names of exceptions in Python, and the words of servers and kernels.
_ERROR: Final = re.compile(
    r"\w(Error|Exception)\b|\b(error|critical|fatal|killed|crash)", re.IGNORECASE
)


def read_last_line(client: Client, deployment_id: str) -> str:
    """Returns the last line of a deployment's log that names an error, or else the last line.

    It is empty if the service shows no log. It has no known secret, and is cut. An error of the
    service is not raised, because it must not hide the failure that the line explains.
    """
    try:
        path = quote_path(deployment_id, "id of a deployment")
        body = {"containerType": "InferenceServer", "tail": _TAIL}
        reply = client.send("POST", f"{path}/getLogs{VERSION}", body, repeats=True)
    except (LedgerConflict, LedgerInvalid, TooManyCalls):
        raise
    except ReconcilerError:
        return ""
    content = reply.document.get("content") if isinstance(reply.document, dict) else None
    lines = content.splitlines() if isinstance(content, str) else []
    said = [line for line in reversed(lines) if line.strip()]
    return clean(next(filter(_ERROR.search, said), said[0] if said else ""))

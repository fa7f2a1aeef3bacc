"""Posts a message to a webhook, whose address is a secret.

No message, error or log has a part of the address. A redirect is not followed, certificates are
always verified, and plain HTTP is for this machine only. The answer has no body that is read.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from reconciler import __version__
from reconciler.model.values import dataclass
from reconciler.transport.client import make_connections
from reconciler.transport.connections import TransportError
from reconciler.transport.origins import is_address, is_loopback
from reconciler.transport.replies import read_retry_after
from reconciler.transport.request_log import RequestLog

_LATER: Final = frozenset({408, 425, 429})


@dataclass(frozen=True, slots=True)
class Delivery:
    """The result of one try to post a message.

    `problem` is empty if the webhook has taken the message. `again` says that another try may
    succeed; not before `wait_s` seconds, if the webhook asks for that.
    """

    problem: str = ""
    next_step: str = ""
    again: bool = False
    wait_s: float | None = None


def check_webhook(url: str) -> str:
    """What is wrong with the address of a webhook; empty if it can be called."""
    if not is_address(_with_path(url)):
        return "is not the URL of a webhook"
    if not url.lower().startswith("https://") and not is_loopback(url):
        return "is a URL of plain HTTP, and only this machine is called without TLS"
    return ""


def post_message(url: str, body: bytes, name: str, within_s: float) -> Delivery:
    """Post a JSON document once; `name` is that of the address in the log of requests.

    `check_webhook` has accepted the address. Neither the connection nor a part of the answer is
    waited for longer than `within_s` seconds. Raises nothing.
    """
    whole = _with_path(url)
    headers = {
        "Content-Type": "application/json; charset=utf-8",
        "Content-Length": str(len(body)),
        "User-Agent": f"reconciler/{__version__}",
        "Accept": "*/*",
        "Connection": "close",
    }
    log = RequestLog("POST", f"webhook ({name})", str)
    try:
        target = "/" + whole.partition("://")[2].partition("/")[2]
        connections = make_connections(whole, within_s, within_s)
        answer = connections.send("POST", target, headers, body)
        answer.close()
    except Exception as error:  # noqa: BLE001 - libraries raise many, and their texts have the URL
        log.failed(error)
        return _explain_failure(error, whole)
    log.answered(answer.status, str)
    return _judge(answer.status, read_retry_after(answer.headers))


def _judge(status: int, asked_s: float | None) -> Delivery:
    if 200 <= status < 300:
        return Delivery()
    if 300 <= status < 400:
        return Delivery(
            f"it redirects ({status}), and a redirect is not followed",
            "Set the address to the one that the webhook has now.",
        )
    again = status >= 500 or status in _LATER
    problem = (
        "it accepts no more messages for now (429)" if status == 429 else f"it answers {status}"
    )
    step = "" if again else "Check the address, and that the webhook still exists."
    return Delivery(problem, step, again=again, wait_s=asked_s)


def _explain_failure(error: Exception, url: str) -> Delivery:
    if not isinstance(error, TransportError):
        return Delivery(f"it cannot be called ({type(error).__name__})", "Check the address.")
    host = urlsplit(url).hostname or ""
    problem, step = (
        text.replace(host, "the host") if host else text for text in (error.said, error.next_step)
    )
    return Delivery(problem, step, again=not error.lasting)


def _with_path(url: str) -> str:
    """The URL with a path: HTTP demands one."""
    _, mark, rest = url.partition("://")
    return f"{url}/" if mark and "/" not in rest and "?" not in rest else url

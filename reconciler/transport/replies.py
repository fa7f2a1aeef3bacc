"""Parses replies, removes secrets from them, and makes an error of each refusal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from reconciler.errors import Busy, Rejected, ServiceError, Throttled, Unauthorized, Unavailable
from reconciler.model import Json
from reconciler.model.values import dataclass
from reconciler.secrets.redaction import Redaction, SecretNamed, mask
from reconciler.text.json_text import MOST_VALUES, TooMuch, read_json
from reconciler.transport.connections import Headers

LATER: Final = "Wait, then run it again. --parallelism 2 sends fewer calls at once."
_ROTATE: Final = (
    "Replace the secret that the manifest refers to, and correct the service's definition."
)
_PROXY: Final = "Check the address in spec.cloud; a proxy may be answering in its place."
# The service did nothing, because nothing differs.
NOT_MODIFIED: Final = 304
_MOST_SAID: Final = 300
# An error may quote that of another service, whose JSON is not longer.
_MOST_QUOTED: Final = 64 * 1024
_WHOLE: Final = 200
# The memory of a value beside its text, in bytes of text: a text takes twice its length.
BYTES_OF_VALUE: Final = 30
# These headers hold the next URL, which must be used unchanged.
_FOLLOWED: Final = frozenset({"azure-asyncoperation", "location"})


class ReplyTooLarge(Unavailable):
    """The answer is too long or holds too many values; a retry would return the same answer."""


@dataclass(frozen=True)
class Reply:
    """One answer. `document` is the parsed JSON body, None for an empty body.

    Known secrets are removed from `document` and from all headers except the links. `raw` is the
    unchanged body: it may be sent back or followed, and must never be recorded or shown.
    """

    status: int
    headers: Mapping[str, str]
    document: Json
    raw: Json = field(default=None, repr=False)


def parse_reply(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    redaction: Redaction,
    most_values: int = MOST_VALUES,
    next_step: str = _PROXY,
) -> Reply:
    """The answer as a value; raises Unavailable for a body that is not JSON, or ReplyTooLarge.

    A refusal needs no JSON body, because a proxy before the service may send it in any format.
    `next_step` is that of an answer which is not the service's own.
    """
    said = _redact_headers(headers, redaction)
    if not body.strip():
        return Reply(status, said, None)
    try:
        raw = read_json(body, most_values=most_values)
        document = redaction.redact_document(raw)
        return Reply(status, said, document, raw)
    except ValueError as error:
        if status >= 400:
            return Reply(status, said, None)
        if isinstance(error, TooMuch):
            raise ReplyTooLarge(
                f"the service answers more than {most_values:,} values",
                status=status,
                request_id=read_request_id(said),
                next_step=next_step,
            ) from None
        # Not chained: the error holds the body.
        named = isinstance(error, SecretNamed)
        raise Unavailable(
            "the service answers with a secret as the name of a property"
            if named
            else f"the service answers {_content_type(said)} that is not JSON",
            status=status,
            request_id=read_request_id(said),
            next_step=_ROTATE if named else next_step,
        ) from None


def _redact_headers(headers: Mapping[str, str], redaction: Redaction) -> Mapping[str, str]:
    # `Headers` joins headers with the same name, so that none is missed.
    came = dict(headers)
    shown = {name: value for name, value in came.items() if name.lower() not in _FOLLOWED}
    redacted = redaction.redact_texts(shown)
    return headers if redacted is shown else Headers({**came, **redacted}.items())


def _content_type(headers: Mapping[str, str]) -> str:
    kind = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return clean(kind)[:60] or "no content type"


def read_request_id(headers: Mapping[str, str]) -> str:
    """The service's id of the request, for its support; "" for an answer without one."""
    return clean(headers.get("x-ms-request-id", ""))


def check_complete(reply: Reply) -> None:
    """Raise Unavailable for a reply to a read that is not what the service itself says, whole.

    202 has not read yet, 203 was changed on the way, and 206 is a part.
    """
    if reply.status != _WHOLE:
        raise Unavailable(
            f"the service answers a read with status {reply.status}, which proves nothing",
            status=reply.status,
            request_id=read_request_id(reply.headers),
            next_step=_PROXY,
        )


def make_error(reply: Reply, *, local: bool = False) -> ServiceError:
    """The error of a refusal, with the service's innermost code and its request id.

    `local` says that the service is on this machine, so that it is an emulator.
    """
    code, message = _innermost(reply.document)
    foreign = reply.document is None and "html" in _content_type(reply.headers)
    said = clean(message) or f"the service answers with status {reply.status}"
    said = f"{said} and {_content_type(reply.headers)} that is not JSON" if foreign else said
    kind: type[ServiceError] = Rejected
    next_step = _PROXY if foreign else ""
    if reply.status == 401:
        kind, next_step = Unauthorized, _OTHER_EMULATOR if local else _LOG_IN
    elif reply.status == 403:
        kind, next_step = Unauthorized, "The role Contributor on the service is needed."
    elif reply.status in {429, 503}:
        kind, next_step = Throttled, LATER
    elif reply.status == 409:
        kind, next_step = Busy, "Wait until the running operation has ended, then plan again."
    elif reply.status >= 500:
        kind = Unavailable
        next_step = next_step or "If it persists, quote the request id."
    return kind(
        said,
        status=reply.status,
        code=code,
        request_id=read_request_id(reply.headers),
        next_step=next_step,
    )


_LOG_IN: Final = "Log in with az login, or set the AZURE_… variables of a service principal."
# An emulator that was started in a project has a token of its own.
_OTHER_EMULATOR: Final = (
    "The emulator at this address has another token: it may belong to another project. Start one in"
    " this project: reconciler emulator --port 0. Or set RECONCILER_EMULATOR_TOKEN to the token of"
    " that emulator."
)


def read_retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds of the Retry-After header, which holds seconds or a time; None without it.

    A time is compared with the Date of the same reply, because our clock may differ.
    """
    said = headers.get("Retry-After", "").strip()
    if said.isdecimal():
        return float(said)
    until, now = _read_time(said), read_date(headers)
    return None if until is None or now is None else max(0.0, (until - now).total_seconds())


def read_date(headers: Mapping[str, str]) -> datetime | None:
    """The time of the service when it answered, from the Date header; None without it."""
    return _read_time(headers.get("Date", "").strip())


def _read_time(said: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(said) if said else None
        return found and (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        return None


def clean(text: str) -> str:
    """A text of the service on one line, bounded, with possible credentials masked."""
    line = " ".join(text.split())
    line = mask(line)
    return line if len(line) <= _MOST_SAID else f"{line[:_MOST_SAID]}…"


def get_member(document: Json, name: str) -> Json:
    """A member of an object by its name in any casing; None without such a member."""
    if not isinstance(document, dict):
        return None
    if name in document:
        return document[name]
    casefolded = name.casefold()
    return next((value for key, value in document.items() if key.casefold() == casefolded), None)


def read_problem(document: Json) -> tuple[str, str]:
    """The code and message of an `error` or `errorInfo` object; its details come first.

    The message ends with the `target`s, if there are any: properties, or a module of the service.
    """
    details = get_member(document, "details")
    shown = details if isinstance(details, list) else []
    detail = next((one for one in shown if _text(one, "code") or _text(one, "message")), None)
    code, target = (_text(detail, name) or _text(document, name) for name in ("code", "target"))
    # A detail may say no more than a word, such as Unauthorized.
    said, outer = _text(detail, "message"), _text(document, "message")
    message = said if " " in said else outer or said
    alike = [one for one in shown if detail and _text(one, "message") == said]
    targets = dict.fromkeys([target, *(_text(one, "target") for one in alike)])
    named = clean(", ".join(one for one in targets if one and one not in message))
    return code, f"{message} (target: {named})" if message and named else message


def _innermost(document: Json) -> tuple[str, str]:
    return read_problem(get_member(document, "error") or document)


def _text(document: Json, name: str) -> str:
    value = get_member(document, name)
    return clean(_unquote(value)) if isinstance(value, str) else ""


def _unquote(text: str) -> str:
    """A text of a service, or what it says if it quotes the JSON error of another service.

    Such an error has its reasons under `errors`, by the name of the refused property.
    """
    start = text.find('{"')
    if not 0 <= start <= _MOST_SAID or len(text) > _MOST_QUOTED:
        return text
    try:
        quoted = read_json(text[start:], most_values=_WHOLE)
    except ValueError:
        return text
    shown = get_member(quoted, "errors")
    by_property = shown if isinstance(shown, dict) else {}
    reasons = [
        f"{one.rstrip('.')} ({name})"
        for name, listed in by_property.items()
        for one in (listed if isinstance(listed, list) else [listed])
        if isinstance(one, str) and one
    ]
    inner = get_member(quoted, "error")
    said = (_text(one, word) for one in (inner, quoted) for word in ("message", "detail", "title"))
    return "; ".join(reasons) or next(filter(None, said), text)
